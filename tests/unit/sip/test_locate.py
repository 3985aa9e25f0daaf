"""RFC 3263 as a pure machine: which questions are asked, and which hops come out, in which order."""

from random import Random

import pytest

from mizu.sip.flow import Hop
from mizu.sip.locate import HOPS_MAX, Naptr, Query, Srv, locate, srv_order

ALL = {(proto, version) for proto in ("udp", "tcp", "tls") for version in (4, 6)}
V4 = {(proto, 4) for proto in ("udp", "tcp", "tls")}


def run(uri, zone=None, reaches=V4, seed=1):
    """Walk the steps with answers from ``zone`` {(type, name): records}. Returns (hops, questions asked)."""
    asked, steps = [], locate(uri, reaches, Random(seed))
    try:
        questions = next(steps)
        while True:
            asked.append([(q.type, q.name) for q in questions])
            questions = steps.send(
                {q: zone[q.type, q.name] for q in questions if (q.type, q.name) in (zone or {})}
            )
    except StopIteration as end:
        return end.value, asked


@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        ("sip:192.0.2.1", Hop("udp", "192.0.2.1", 5060)),
        ("sip:a@192.0.2.1:5070", Hop("udp", "192.0.2.1", 5070)),
        ("sip:192.0.2.1;transport=TCP", Hop("tcp", "192.0.2.1", 5060)),
        ("sip:192.0.2.1;transport=tls", Hop("tls", "192.0.2.1", 5061, "192.0.2.1")),
        ("sips:192.0.2.1", Hop("tls", "192.0.2.1", 5061, "192.0.2.1")),
        ("sips:192.0.2.1:5099;transport=tcp", Hop("tls", "192.0.2.1", 5099, "192.0.2.1")),
        ("sip:[2001:DB8::1]:5070", Hop("udp", "2001:db8::1", 5070)),
        ("sip:[::ffff:192.0.2.1]", Hop("udp", "192.0.2.1", 5060)),
        # maddr is for multicast and lets a Contact aim us at a third party: not followed
        ("sip:192.0.2.1;maddr=203.0.113.9", Hop("udp", "192.0.2.1", 5060)),
    ],
)
def test_a_numeric_host_needs_no_question(uri, hop):
    """RFC 3263 4.1 and 4.2, numeric: protocol from scheme and parameter, default port of the protocol."""
    assert run(uri, reaches=ALL) == ([hop], [])


@pytest.mark.parametrize(
    "uri",
    [
        "tel:+123",
        "http://example.com",
        "",
        "sip:",
        "sip:192.0.2.1;transport=sctp",
        "sip:192.0.2.1;transport=ws",
        "sips:192.0.2.1;transport=udp",
        "sip:[2001:db8::1]",  # no IPv6 listener
        "sip:192.0.2.1:0",
    ],
)
def test_what_cannot_be_reached_has_no_hop(uri):
    """No exception, no question: an empty list."""
    assert run(uri, reaches=V4) == ([], [])


def test_a_protocol_without_a_listener_has_no_hop():
    """A switch that listens on UDP alone cannot send by TCP."""
    assert run("sip:192.0.2.1;transport=tcp", reaches={("udp", 4)}) == ([], [])


def test_a_name_with_a_port_is_looked_up_as_an_address():
    """No NAPTR, no SRV (4.1, 4.2)."""
    hops, asked = run("sip:gw.example.com:5080", {("A", "gw.example.com"): ["192.0.2.1"]})
    assert hops == [Hop("udp", "192.0.2.1", 5080)]
    assert asked == [[("A", "gw.example.com")]]


def test_naptr_then_srv_then_addresses():
    """The full way: the zone's own order of protocols counts (the example of RFC 3263 4.1)."""
    zone = {
        ("NAPTR", "example.com"): [
            Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.example.com"),
            Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com"),
            Naptr(90, 50, "S", "sip+d2t", "_sip._tcp.example.com"),
            Naptr(1, 1, "u", "SIP+D2U", "_sip._udp.example.com"),  # not a SRV one
            Naptr(1, 1, "s", "HTTP+D2T", "_http._tcp.example.com"),
        ],
        ("SRV", "_sips._tcp.example.com"): [Srv(1, 1, 5061, "s1.example.com")],
        ("SRV", "_sip._tcp.example.com"): [Srv(1, 1, 5060, "s2.example.com")],
        ("SRV", "_sip._udp.example.com"): [Srv(1, 1, 5062, "s2.example.com")],
        ("A", "s1.example.com"): ["192.0.2.1"],
        ("A", "s2.example.com"): ["192.0.2.2"],
    }
    hops, asked = run("sip:bob@Example.COM", zone)
    assert hops == [
        Hop("tls", "192.0.2.1", 5061, "example.com"),  # the certificate is for the domain (RFC 5922)
        Hop("tcp", "192.0.2.2", 5060),
        Hop("udp", "192.0.2.2", 5062),
    ]
    assert [len(questions) for questions in asked] == [1, 3, 2]


def test_sips_uses_tls_services_only():
    """Other services in the zone are no way for a SIPS URI."""
    zone = {
        ("NAPTR", "example.com"): [
            Naptr(1, 1, "s", "SIP+D2U", "_sip._udp.example.com"),
            Naptr(2, 1, "s", "SIPS+D2T", "_sips._tcp.example.com"),
        ],
        ("SRV", "_sips._tcp.example.com"): [Srv(1, 1, 5061, "s.example.com")],
        ("SRV", "_sip._udp.example.com"): [Srv(1, 1, 5060, "s.example.com")],
        ("A", "s.example.com"): ["192.0.2.1"],
    }
    assert run("sips:example.com", zone)[0] == [Hop("tls", "192.0.2.1", 5061, "example.com")]


def test_without_naptr_the_srv_records_of_each_protocol_count():
    """4.1: no NAPTR, so SRV is asked for what we speak."""
    zone = {
        ("SRV", "_sip._tcp.example.com"): [Srv(1, 1, 5070, "s.example.com")],
        ("A", "s.example.com"): ["192.0.2.1"],
    }
    hops, asked = run("sip:example.com", zone)
    assert hops == [Hop("tcp", "192.0.2.1", 5070)]
    assert asked[1] == [
        ("SRV", f"_{s}._{p}.example.com") for s, p in (("sip", "udp"), ("sip", "tcp"), ("sips", "tcp"))
    ]


def test_a_protocol_in_the_uri_skips_naptr():
    """``transport=tcp``: only its SRV."""
    zone = {
        ("SRV", "_sip._tcp.example.com"): [Srv(1, 1, 5070, "s.example.com")],
        ("A", "s.example.com"): ["192.0.2.1"],
    }
    hops, asked = run("sip:example.com;transport=tcp", zone)
    assert hops == [Hop("tcp", "192.0.2.1", 5070)]
    assert asked[0] == [("SRV", "_sip._tcp.example.com")]


def test_without_srv_the_name_itself_is_tried():
    """UDP and 5060, or TLS and 5061 for SIPS (4.1, 4.2); both families when we have both."""
    zone = {("A", "pbx.local"): ["192.0.2.1"], ("AAAA", "pbx.local"): ["2001:db8::1"]}
    assert run("sip:pbx.local", zone, reaches=ALL)[0] == [
        Hop("udp", "192.0.2.1", 5060),
        Hop("udp", "2001:db8::1", 5060),
    ]
    assert run("sips:pbx.local", zone)[0] == [Hop("tls", "192.0.2.1", 5061, "pbx.local")]


def test_a_dot_as_target_means_the_service_is_not_there():
    """RFC 2782: no fall-back to the name's address."""
    zone = {("SRV", "_sip._udp.example.com"): [Srv(0, 0, 0, ".")], ("A", "example.com"): ["192.0.2.1"]}
    assert run("sip:example.com;transport=udp", zone)[0] == []


def test_nothing_found_is_an_answer():
    """No records at all: no hops."""
    assert run("sip:nowhere.example.com", {})[0] == []


def test_priorities_come_in_order_and_weights_in_proportion():
    """RFC 2782: lower priority first; within one, weight 3 comes first three times as often as weight 1."""
    records = [Srv(10, 3, 1, "heavy"), Srv(10, 1, 2, "light"), Srv(5, 0, 3, "first"), Srv(20, 0, 4, "last")]
    random, heavy = Random(7), 0
    for _ in range(4000):
        order = [record.target for record in srv_order(records, random)]
        assert (order[0], order[3]) == ("first", "last")
        heavy += order[1] == "heavy"
    assert 0.68 < heavy / 4000 < 0.82


def test_weight_zero_is_drawn_seldom_but_is_drawn():
    """Its chance is small, and it is never lost."""
    records = [Srv(1, 0, 1, "zero"), Srv(1, 50, 2, "fifty")]
    first = [srv_order(records, Random(seed))[0].target for seed in range(2000)]
    assert 0 < first.count("zero") < 200


def test_equal_seeds_give_equal_orders():
    """The choice is the injected random's alone."""
    zone = {("A", "many.example.com"): [f"192.0.2.{n}" for n in range(1, 12)]}
    assert (
        run("sip:many.example.com:5060", zone, seed=3)[0] == run("sip:many.example.com:5060", zone, seed=3)[0]
    )
    assert (
        run("sip:many.example.com:5060", zone, seed=3)[0] != run("sip:many.example.com:5060", zone, seed=4)[0]
    )


def test_d4_ten_thousand_records_are_cut():
    """D4: however much a zone answers, the work and the number of trials stay bounded."""
    zone = {
        ("NAPTR", "big.example.com"): [
            Naptr(n, 0, "s", "SIP+D2U", f"s{n}.example.com") for n in range(10_000)
        ],
        ("A", "addresses.example.com"): [f"10.{n >> 8 & 255}.{n & 255}.1" for n in range(10_000)],
    }
    for number in range(16):
        zone["SRV", f"s{number}.example.com"] = [Srv(n, 1, 5060, f"t{n}.example.com") for n in range(10_000)]
    for number in range(10_000):
        zone["A", f"t{number}.example.com"] = [f"10.0.{number >> 8 & 255}.{number & 255}"]
    hops, asked = run("sip:big.example.com", zone)
    assert len(hops) == HOPS_MAX
    assert max(len(questions) for questions in asked) <= 2 * HOPS_MAX
    assert len(run("sip:addresses.example.com:5060", zone)[0]) <= HOPS_MAX


def test_d4_records_that_point_at_themselves_end():
    """D4: a SRV whose target is its own owner, NAPTR that names the domain again: three rounds."""
    zone = {
        ("NAPTR", "loop.example.com"): [Naptr(1, 1, "s", "SIP+D2U", "loop.example.com")],
        ("SRV", "loop.example.com"): [Srv(1, 1, 5060, "loop.example.com")],
    }
    hops, asked = run("sip:loop.example.com", zone)
    assert hops == []
    assert len(asked) == 3


def test_records_of_the_wrong_kind_are_ignored():
    """What a resolver hands over is looked at, not believed."""
    zone = {("NAPTR", "x.example.com"): ["192.0.2.1"], ("A", "x.example.com"): [Srv(1, 1, 1, "y")]}
    assert run("sip:x.example.com", zone)[0] == []


def test_the_same_address_is_tried_once():
    """Two names for one server are one hop."""
    zone = {
        ("SRV", "_sip._udp.example.com"): [
            Srv(1, 0, 5060, "a.example.com"),
            Srv(2, 0, 5060, "b.example.com"),
        ],
        ("A", "a.example.com"): ["192.0.2.1"],
        ("A", "b.example.com"): ["192.0.2.1"],
    }
    assert run("sip:example.com;transport=udp", zone)[0] == [Hop("udp", "192.0.2.1", 5060)]


def test_a_query_is_a_plain_value():
    """Equal questions are equal, so that they can be asked once."""
    assert Query("A", "x") == Query("A", "x")
    assert len({Query("A", "x"), Query("A", "x")}) == 1
