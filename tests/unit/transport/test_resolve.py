"""The resolver: answers kept and bounded, whatever the name servers do (D4 of the survey)."""

from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns, error

from mizu.sip.flow import Hop
from mizu.sip.transport.resolve import UNDER_WAY_MAX, DnsResolver, _name_servers

REACHES = frozenset({("udp", 4), ("tcp", 4), ("tls", 4), ("udp", 6)})


class FakeNames:
    """Name servers whose zone is a dict; ``silent`` ones never answer."""

    def __init__(self) -> None:
        self.zone: dict[tuple[int, str], list[Any]] = {}
        self.ttl = 300
        self.silent = False
        self.broken = False
        self.asked: list[tuple[str, str]] = []
        self.waiting: list[tuple[Deferred[Any], Any]] = []
        self.soa_minimum: int | None = None

    def add(self, name: str, payload: Any) -> None:
        self.zone.setdefault((payload.TYPE, name), []).append((name, payload))

    def answer(self, query: Any) -> Any:
        name = query.name.name.decode()
        found = [
            dns.RRHeader(owner.encode(), payload.TYPE, dns.IN, self.ttl, payload)
            for owner, payload in self.zone.get((query.type, name), []) + self.zone.get((dns.CNAME, name), [])
        ]
        authority = []
        if not found and self.soa_minimum is not None:
            soa = dns.Record_SOA(b"ns", b"h", 1, 1, 1, 1, minimum=self.soa_minimum)
            authority = [dns.RRHeader(b"example.com", dns.SOA, dns.IN, 3600, soa)]
        return found, authority, []

    def query(self, query: Any, timeout: Any) -> Any:
        self.asked.append((dns.QUERY_TYPES[query.type], query.name.name.decode()))
        if self.broken:
            raise OSError("too many open files")
        if self.silent:
            waiting: Deferred[Any] = Deferred()
            self.waiting.append((waiting, query))
            return waiting
        return succeed(self.answer(query))


@pytest.fixture
def names() -> FakeNames:
    return FakeNames()


@pytest.fixture
def resolver(clock: Clock, names: FakeNames, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n192.0.2.77 pbx pbx.local # ours\n2001:db8::77 pbx.local\n")
    return DnsResolver(
        clock, lambda: REACHES, random=Random(1), names=names, hosts_file=str(hosts), cache_max=50
    )


def ask(resolver, uri):
    """The list that gets the hops; empty while there is no answer."""
    got: list[Any] = []
    resolver.resolve(uri, got.append)
    return got


def test_a_numeric_host_is_answered_at_once(resolver, names, clock):
    """Before ``resolve`` returns, without a question and without a timer."""
    assert ask(resolver, "sip:a@192.0.2.1") == [[Hop("udp", "192.0.2.1", 5060)]]
    assert names.asked == []
    assert clock.getDelayedCalls() == []


def test_a_name_is_looked_up_once_for_its_ttl(resolver, names, clock):
    """The second request does not ask, and is answered before ``resolve`` returns; after the TTL it asks."""
    names.add("gw.example.com", dns.Record_A("192.0.2.1"))
    for _ in range(3):
        assert ask(resolver, "sip:gw.example.com:5060") == [[Hop("udp", "192.0.2.1", 5060)]]
    assert len(names.asked) == 2  # A and AAAA
    clock.advance(301)
    ask(resolver, "sip:gw.example.com:5060")
    assert names.asked.count(("A", "gw.example.com")) == 2
    assert clock.getDelayedCalls() == []


def test_naptr_srv_and_addresses_through_twisted_records(resolver, names):
    """The record types of ``twisted.names`` are understood."""
    names.add("example.com", dns.Record_NAPTR(10, 20, b"s", b"SIP+D2T", b"", b"_sip._tcp.example.com"))
    names.add("_sip._tcp.example.com", dns.Record_SRV(1, 1, 5070, b"s.example.com"))
    names.add("s.example.com", dns.Record_A("192.0.2.1"))
    names.add("s.example.com", dns.Record_AAAA("2001:db8::1"))  # no TCP over IPv6 here: not used
    assert ask(resolver, "sip:example.com") == [[Hop("tcp", "192.0.2.1", 5070)]]


def test_a_name_that_does_not_exist_is_remembered(resolver, names, clock):
    """Negative answers are cached too, for as long as the zone's SOA says (RFC 2308)."""
    names.soa_minimum = 20
    assert ask(resolver, "sip:nowhere.example.com:5060") == [[]]
    asked = len(names.asked)
    assert ask(resolver, "sip:nowhere.example.com:5060") == [[]]
    assert len(names.asked) == asked
    clock.advance(21)
    ask(resolver, "sip:nowhere.example.com:5060")
    assert len(names.asked) == 2 * asked


def test_nxdomain_and_failures_are_answers(resolver, names, clock):
    """The error of ``twisted.names`` means none found; a server failure is asked again sooner."""
    names.query = lambda query, timeout: fail(error.DNSNameError())
    assert ask(resolver, "sip:a.example.com:5060") == [[]]
    names.query = lambda query, timeout: fail(error.DNSServerError())
    assert ask(resolver, "sip:b.example.com:5060") == [[]]
    assert resolver.counts()["failed"] == 2
    clock.advance(6)
    del names.query
    names.add("a.example.com", dns.Record_A("192.0.2.1"))
    names.add("b.example.com", dns.Record_A("192.0.2.1"))
    assert ask(resolver, "sip:a.example.com:5060") == [[]]
    assert ask(resolver, "sip:b.example.com:5060") == [[Hop("udp", "192.0.2.1", 5060)]]


def test_d4_name_servers_that_never_answer(resolver, names, clock):
    """D4: after four seconds the caller is told that there is none; no timer stays."""
    names.silent = True
    got = ask(resolver, "sip:slow.example.com")
    clock.advance(3.9)
    assert got == []
    clock.advance(0.2)
    assert got == [[]]
    assert clock.getDelayedCalls() == []


def test_d4_a_slow_answer_is_used_by_the_next_request(resolver, names, clock):
    """D4: what comes too late for one caller is in the cache for the next, and reaches nobody twice."""
    names.silent = True
    got = ask(resolver, "sip:slow.example.com:5060")
    clock.advance(5)
    names.add("slow.example.com", dns.Record_A("192.0.2.1"))
    for waiting, query in names.waiting:
        waiting.callback(names.answer(query))
    assert got == [[]]
    assert ask(resolver, "sip:slow.example.com:5060") == [[Hop("udp", "192.0.2.1", 5060)]]


def test_d4_one_address_family_that_never_answers_does_not_cost_the_other(resolver, names, clock):
    """D4: at the end of the time the answers that did come are used."""
    names.silent = True
    got = ask(resolver, "sip:half.example.com:5060")
    names.add("half.example.com", dns.Record_A("192.0.2.1"))
    waiting, query = names.waiting[0]
    waiting.callback(names.answer(query))
    clock.advance(5)
    assert got == [[Hop("udp", "192.0.2.1", 5060)]]


def test_d4_equal_questions_are_asked_once(resolver, names, clock):
    """D4: a thousand calls to one slow name are one question for each record type."""
    names.silent = True
    answers = [ask(resolver, "sip:slow.example.com:5060") for _ in range(1000)]
    assert len(names.asked) == 2
    names.add("slow.example.com", dns.Record_A("192.0.2.1"))
    for waiting, query in names.waiting:
        waiting.callback(names.answer(query))
    assert all(got == [[Hop("udp", "192.0.2.1", 5060)]] for got in answers)
    assert clock.getDelayedCalls() == []


def test_d4_questions_under_way_are_limited(resolver, names, clock):
    """D4: callers of endless new names get no hops instead of endless sockets."""
    names.silent = True
    answers = [ask(resolver, f"sip:n{number}.example.com:5060") for number in range(2000)]
    assert len(names.asked) == UNDER_WAY_MAX
    assert answers[-1] == [[]]
    clock.advance(5)
    assert all(got == [[]] for got in answers)


def test_d4_ten_thousand_records_are_cut(resolver, names):
    """D4: a huge answer is read in part only."""
    for number in range(10_000):
        names.add("big.example.com", dns.Record_A(f"10.0.{number >> 8 & 255}.{number & 255}"))
    ((*hops,),) = ask(resolver, "sip:big.example.com:5060")
    assert len(hops) == 16


def test_d4_cname_loops_end(resolver, names):
    """D4: aliases are followed within one answer, not for ever."""
    names.add("a.example.com", dns.Record_CNAME(b"b.example.com"))
    names.add("a.example.com", dns.Record_CNAME(b"a.example.com"))
    assert ask(resolver, "sip:a.example.com:5060") == [[]]


def test_an_alias_is_followed(resolver, names):
    """CNAME and address come in one answer from a recursive server."""
    names.zone[dns.A, "www.example.com"] = [
        ("www.example.com", dns.Record_CNAME(b"real.example.com")),
        ("real.example.com", dns.Record_A("192.0.2.1")),
        ("unrelated.example.com", dns.Record_A("203.0.113.66")),
    ]
    assert ask(resolver, "sip:www.example.com:5060") == [[Hop("udp", "192.0.2.1", 5060)]]


def test_the_cache_is_bounded(resolver, names):
    """``limits.dns_cache`` answers are kept, the oldest goes first."""
    for number in range(500):
        ask(resolver, f"sip:n{number}.example.com:5060")
    assert resolver.counts()["cached"] <= 50


def test_names_in_etc_hosts_need_no_name_server(resolver, names):
    """``/etc/hosts`` is asked first, for both families, and aliases count."""
    assert ask(resolver, "sip:pbx.local:5060") == [
        [Hop("udp", "192.0.2.77", 5060), Hop("udp", "2001:db8::77", 5060)]
    ]
    assert names.asked == []
    assert ask(resolver, "sip:localhost:5060")[0][0] == Hop("udp", "127.0.0.1", 5060)


@pytest.mark.parametrize("name", ["a" * 64 + ".example.com", "-a.example.com", "x." * 130 + "com"])
def test_names_that_dns_cannot_have_are_not_asked_for(resolver, names, name):
    """They would raise inside the DNS library."""
    assert ask(resolver, f"sip:{name}:5060") == [[]]
    assert names.asked == []


def test_a_question_that_cannot_be_sent_is_an_answer(resolver, names):
    """No file descriptor left: none found, no exception."""
    names.broken = True
    assert ask(resolver, "sip:a.example.com:5060") == [[]]


def test_a_receiver_that_raises_is_logged(resolver, names, clean_reactor):
    """The bug is seen, and nobody else is hurt."""

    def fails(hops):
        raise RuntimeError("a bug")

    resolver.resolve("sip:192.0.2.1", fails)
    assert [failure.type for failure in clean_reactor] == [RuntimeError]
    clean_reactor.clear()


def test_closing_answers_everybody(resolver, names, clock):
    """At shutdown nobody is left waiting, and no timer either."""
    names.silent = True
    got = ask(resolver, "sip:slow.example.com")
    resolver.close()
    assert got == [[]]
    assert clock.getDelayedCalls() == []


def test_name_servers_come_from_resolv_conf(tmp_path):
    """Both families; the local one when the file has none or is missing."""
    conf = tmp_path / "resolv.conf"
    conf.write_text(
        "search example.com\nnameserver 192.0.2.53\nnameserver nonsense\nnameserver 2001:db8::53\n"
    )
    assert _name_servers(str(conf)) == [("192.0.2.53", 53), ("2001:db8::53", 53)]
    assert _name_servers(str(tmp_path / "missing")) == [("127.0.0.1", 53)]
