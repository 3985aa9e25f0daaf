"""Listener texts, our address towards a peer, and which listener reaches whom."""

import pytest
from twisted.internet.task import Clock

from mizu.config import LimitsConfig, SipConfig
from mizu.errors import ConfigError
from mizu.sip.transport.reach import CACHED_MAX, LocalAddresses, family_of, meant_address, plain_host
from mizu.sip.transport.table import ListenerInfo, TransportTable, parse_listener


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("udp:0.0.0.0:5060", ("udp", "0.0.0.0", 5060)),
        ("TCP:127.0.0.1:0", ("tcp", "127.0.0.1", 0)),
        ("tls:[::]:5061", ("tls", "::", 5061)),
        ("udp:[2001:DB8:0:0::1]:5060", ("udp", "2001:db8::1", 5060)),
    ],
)
def test_a_listener_is_protocol_address_port(spec, parsed):
    """``PROTO:HOST:PORT``, IPv6 in brackets, in any spelling."""
    assert parse_listener(spec) == parsed


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("sctp:0.0.0.0:5060", "the protocol must be one of udp, tcp, tls"),
        ("5060", "the protocol must be one of"),
        ("udp:::1:5060", "write IPv6 as"),
        ("udp:[::1:5060", "write IPv6 as"),
        ("udp:localhost:5060", "'localhost' is not a numeric address"),
        ("udp:0.0.0.0", "is not a numeric address"),
        ("udp:0.0.0.0:", "'' is not a port"),
        ("udp:0.0.0.0:65536", "'65536' is not a port"),
        ("udp:0.0.0.0:٥٠٦٠", "is not a port"),
        ("udp:0.0.0.0:-1", "is not a port"),
    ],
)
def test_a_wrong_listener_is_explained(spec, complaint):
    """The text is for the person who wrote the configuration."""
    with pytest.raises(ConfigError, match=complaint):
        parse_listener(spec)


def test_addresses_have_one_spelling():
    """IPv4-mapped addresses are IPv4 everywhere: in bans, in Via, in bindings."""
    assert plain_host("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_host("[2001:DB8::0:1]") == "2001:db8::1"
    assert plain_host("192.0.2.1") == "192.0.2.1"
    assert [family_of(one) for one in ("192.0.2.1", "::1", "fe80::1%eth0", "host", "1.2.3", "")] == [
        4,
        6,
        6,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7F.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[::FFFF:127.0.0.1]", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
        ("LocalHost", "127.0.0.1"),
        ("phone.localhost.", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("0", "0.0.0.0"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("mizu.test", ""),
        ("face.b00c", ""),
        ("1.2.3.4.5", ""),
        ("256.256.256.256", ""),
        ("", ""),
    ],
)
def test_what_address_somebody_means(host, address):
    """All spellings that system calls take for an address; nobody is asked for names."""
    assert meant_address(host) == address


@pytest.mark.parametrize(
    ("bound", "host", "ours"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "127.1", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "[::]", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "198.51.100.7", False),
        ("127.0.0.1", "mizu.test", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "::ffff:198.51.100.7", True),
        ("0.0.0.0", "198.51.100.8", False),
        ("0.0.0.0", "::1", True),
    ],
)
def test_a_listener_of_ours_is_known_in_every_spelling(table, monkeypatch, bound, host, ours):
    """A contact there would be a loop. The machine's address is 198.51.100.7."""
    monkeypatch.setattr(TransportTable, "listeners", [ListenerInfo("udp", bound, 5660, f"udp:{bound}:5660")])
    assert table.listens_at(host, 5660) is ours
    assert not table.listens_at(host, 5661)


def test_our_address_is_asked_for_once_in_a_while(clock):
    """Cached for half a minute, because routes change."""
    asked: list[str] = []

    def ask(host: str) -> str:
        asked.append(host)
        return "198.51.100.1"

    addresses = LocalAddresses(clock.seconds, ask)
    for _ in range(3):
        assert addresses.towards("192.0.2.1") == "198.51.100.1"
    clock.advance(31)
    addresses.towards("192.0.2.1")
    assert asked == ["192.0.2.1", "192.0.2.1"]


def test_what_is_known_of_peers_is_bounded(clock):
    """A million forged senders do not fill the memory."""
    addresses = LocalAddresses(clock.seconds, lambda host: "198.51.100.1")
    for number in range(3 * CACHED_MAX):
        addresses.towards(str(number))
    assert len(addresses._known) <= CACHED_MAX


def test_the_kernel_knows_our_address_towards_loopback(clock):
    """No packet is sent to find out."""
    addresses = LocalAddresses(clock.seconds)
    assert addresses.towards("127.0.0.1") == "127.0.0.1"
    assert addresses.towards("::1") == "::1"
    assert addresses.towards("not an address") == ""


@pytest.fixture
def table(clock: Clock, guard) -> TransportTable:
    made = TransportTable(clock, guard, sip=SipConfig(), limits=LimitsConfig())
    made._addresses = LocalAddresses(clock.seconds, lambda host: "198.51.100.7")
    return made


def test_the_listener_asked_for_is_taken(table):
    """A binding goes out where it came in."""
    candidates = [("one", "198.51.100.7", "udp:a"), ("two", "0.0.0.0", "udp:b")]
    assert table._choose(candidates, 4, "192.0.2.1", "udp:b") == "two"


@pytest.mark.parametrize(
    ("hosts", "chosen"),
    [
        (["127.0.0.1", "198.51.100.7", "0.0.0.0"], "198.51.100.7"),  # bound to what the kernel sends from
        (["127.0.0.1", "0.0.0.0"], "0.0.0.0"),
        (["127.0.0.1", "10.0.0.1"], "127.0.0.1"),  # the first, for want of a better one
        (["::", "127.0.0.1"], "127.0.0.1"),
        (["::"], None),
        ([], None),
    ],
)
def test_the_listener_that_fits_best_is_taken(table, hosts, chosen):
    """By family, then by the address the kernel would send from."""
    assert table._choose([(host, host, host) for host in hosts], 4, "192.0.2.1", "") == chosen


@pytest.mark.parametrize(
    ("advertise", "bound", "peer", "told"),
    [
        ("", "0.0.0.0", "192.0.2.1", "198.51.100.7"),
        ("", "10.0.0.1", "192.0.2.1", "10.0.0.1"),
        ("203.0.113.1", "0.0.0.0", "192.0.2.1", "203.0.113.1"),
        ("sip.example.com", "10.0.0.1", "2001:db8::1", "sip.example.com"),
        ("203.0.113.1", "2001:db8::7", "2001:db8::1", "2001:db8::7"),  # IPv4 is no use to an IPv6 peer
    ],
)
def test_peers_are_told_an_address_they_can_reach(clock, guard, advertise, bound, peer, told):
    """Via and Contact: advertised, else bound, else what the kernel sends from."""
    table = TransportTable(clock, guard, sip=SipConfig(advertise=advertise), limits=LimitsConfig())
    table._addresses = LocalAddresses(clock.seconds, lambda host: "198.51.100.7")
    assert table._local_towards(bound, 5060, peer) == (told, 5060)
