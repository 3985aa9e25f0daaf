"""The resolver against a name server on loopback: real datagrams, a truncated answer over TCP, silence."""

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import DatagramProtocol
from twisted.names import client, dns, error
from twisted.names.server import DNSServerFactory

from mizu.sip.flow import Hop


class Zone:
    """Answers from a dict; an ``IResolver`` as far as the server asks."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[Any]] = {}

    def query(self, query: Any, timeout: Any = None) -> Any:
        found = self.records.get((query.name.name.decode(), query.type))
        if found is None:
            return fail(error.DomainError())
        return succeed(
            ([dns.RRHeader(query.name.name, query.type, dns.IN, 60, one) for one in found], [], [])
        )


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def resolver(zone: Zone, tmp_path):
    """A resolver whose one name server is ours."""
    from twisted.internet import reactor

    from mizu.sip.transport.resolve import DnsResolver

    factory = DNSServerFactory(clients=[zone])
    factory.noisy = False
    stream = reactor.listenTCP(0, factory, interface="127.0.0.1")
    port = stream.getHost().port
    datagrams = reactor.listenUDP(port, dns.DNSDatagramProtocol(factory), interface="127.0.0.1")
    names = client.Resolver(servers=[("127.0.0.1", port)], reactor=reactor)
    yield DnsResolver(
        reactor, lambda: {("udp", 4), ("tcp", 4)}, names=names, hosts_file=str(tmp_path / "no-hosts")
    )
    for opened in (stream, datagrams):
        pytest_twisted.blockon(opened.stopListening())


def hops(resolver: Any, uri: str) -> "Deferred[list[Hop]]":
    found: Deferred[list[Hop]] = Deferred()
    resolver.resolve(uri, found.callback)
    return found


async def test_the_full_way_over_the_wire(resolver, zone):
    """NAPTR, SRV and A of a domain, as a name server sends them."""
    zone.records = {
        ("example.test", dns.NAPTR): [
            dns.Record_NAPTR(1, 1, b"s", b"SIP+D2T", b"", b"_sip._tcp.example.test")
        ],
        ("_sip._tcp.example.test", dns.SRV): [dns.Record_SRV(1, 1, 5070, b"sip.example.test")],
        ("sip.example.test", dns.A): [dns.Record_A("127.0.0.9")],
    }
    assert await hops(resolver, "sip:bob@example.test") == [Hop("tcp", "127.0.0.9", 5070)]


async def test_an_answer_too_long_for_a_datagram_comes_by_tcp(resolver, zone):
    """The truncated answer is asked for again over TCP, and cut to what we look at."""
    zone.records["big.example.test", dns.A] = [
        dns.Record_A(f"127.0.{n >> 8}.{n & 255}") for n in range(1, 500)
    ]
    assert len(await hops(resolver, "sip:big.example.test:5060")) == 16


async def test_an_unknown_name_has_no_hops(resolver):
    """NXDOMAIN for every question."""
    assert await hops(resolver, "sip:nowhere.example.test") == []


@pytest.mark.limit(20)
async def test_a_silent_name_server_costs_four_seconds(tmp_path):
    """No answer at all: none found, in the time promised; the library's own timers end with it."""
    from twisted.internet import reactor

    from mizu.sip.transport.resolve import SEARCH_S, DnsResolver

    silent = reactor.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
    names = client.Resolver(servers=[("127.0.0.1", silent.getHost().port)], reactor=reactor)
    resolver = DnsResolver(reactor, lambda: {("udp", 4)}, names=names, hosts_file=str(tmp_path / "no-hosts"))
    before_s = reactor.seconds()
    assert await hops(resolver, "sip:slow.example.test:5060") == []
    assert reactor.seconds() - before_s <= SEARCH_S + 1
    await silent.stopListening()
