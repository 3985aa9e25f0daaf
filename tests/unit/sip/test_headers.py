"""Typed header values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.sip.grammar import BadMessage
from mizu.sip.headers import CSeq, NameAddr, Via

pytestmark = pytest.mark.usefixtures("implementation")  # compiled and in Python


@pytest.mark.parametrize(
    ("value", "display", "uri", "params"),
    [
        ("<sip:a@h>", "", "sip:a@h", {}),
        ("<sip:a@h;lr>;tag=x", "", "sip:a@h;lr", {"tag": "x"}),
        ('"A. B" <sip:a@h>;tag=x', "A. B", "sip:a@h", {"tag": "x"}),
        ('"A \\"B\\" \\\\" <sip:a@h>', 'A "B" \\', "sip:a@h", {}),
        ('"<sip:evil@h>" <sip:a@h>', "<sip:evil@h>", "sip:a@h", {}),
        ('""<sip:a@h>', "", "sip:a@h", {}),
        ("Bob  Smith   <sip:a@h> ; Tag = x ; q", "Bob  Smith", "sip:a@h", {"tag": "x", "q": None}),
        ("Bob<sip:a@h>", "Bob", "sip:a@h", {}),
        ("J\u00fcrgen (home) <sip:a@h>", "J\u00fcrgen (home)", "sip:a@h", {}),
        ("sip:a@h;tag=1;x", "", "sip:a@h", {"tag": "1", "x": None}),
        ("sip:a@h ; tag=1", "", "sip:a@h", {"tag": "1"}),
        ("tel:+1", "", "tel:+1", {}),
        ("*", "", "*", {}),
    ],
)
def test_name_addr(value: str, display: str, uri: str, params: dict[str, str | None]) -> None:
    """RFC 3261 20.10: with brackets parameters inside are the URI's, without they are the header's."""
    address = NameAddr.parse(value)
    assert (address.display, address.uri_text, address.params) == (display, uri, params)
    again = NameAddr.parse(str(address))
    assert (again.display, again.uri_text, again.params) == (display, uri, params)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a",
        "<>",
        "<sip:a@h",
        '"a <sip:a@h>',
        '"a" sip:a@h',
        "< sip:a@h >",
        "<sip:a@h>x",
        "<sip:a@h>;",
        "<sip:a@h>;;x",
        "a, b <sip:a@h>",
        "sip:a@h?x=y",
        "sip:a@h,sip:b@h",
        "sip:a @h",
        "<sip:a@h>;tag=1;tag=2",
        "<sip:a<b@h>",
    ],
)
def test_malformed_name_addr(value: str) -> None:
    """Nothing is guessed where two readings are possible."""
    with pytest.raises(BadMessage):
        NameAddr.parse(value)


def test_the_uri_is_parsed_when_asked_for() -> None:
    """A malformed URI hurts only who needs it."""
    address = NameAddr.parse("<sip:a@h:x>;tag=1")
    assert address.tag == "1"
    with pytest.raises(BadMessage):
        _ = address.uri
    assert NameAddr.parse("<sip:a@h>").uri is not None


@pytest.mark.parametrize(
    ("q", "milli"), [("1", 1000), ("1.000", 1000), ("0", 0), ("0.5", 500), ("0.05", 50), ("0.", 0)]
)
def test_q(q: str, milli: int) -> None:
    """RFC 3261 25.1 qvalue; absent is 1."""
    assert NameAddr.parse(f"<sip:a@h>;q={q}").q_milli == milli
    assert NameAddr.parse("<sip:a@h>").q_milli == 1000


def test_reprs_are_what_is_sent() -> None:
    """For logs and failing tests."""
    values = (NameAddr.parse("<sip:a@h>;x"), Via.parse("SIP/2.0/UDP h"), CSeq.parse("1 BYE"))
    assert [repr(value) for value in values] == [
        "<NameAddr <sip:a@h>;x>",
        "<Via SIP/2.0/UDP h>",
        "<CSeq 1 BYE>",
    ]


@pytest.mark.parametrize("q", ["2", "1.1", "-1", ".5", "0.1234", "\u0661", "x"])
def test_malformed_q(q: str) -> None:
    """Refused."""
    with pytest.raises(BadMessage):
        _ = NameAddr.parse(f"<sip:a@h>;q={q}").q_milli


def test_contact_expires() -> None:
    """Malformed or too large counts as 3600 (RFC 3261 10.2.1.1)."""
    seconds = [
        NameAddr.parse(f"<sip:a@h>;expires={text}").expires_s for text in ("0", "60", "x", "280297596632815")
    ]
    assert seconds == [0, 60, 3600, 3600]
    assert NameAddr.parse("<sip:a@h>").expires_s is None
    assert NameAddr.parse("*").star


@pytest.mark.parametrize(
    ("value", "proto", "host", "port", "params"),
    [
        (
            "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;rport",
            "UDP",
            "192.0.2.1",
            5060,
            {"branch": "z9hG4bKx", "rport": None},
        ),
        ("SIP/2.0/TCP h", "TCP", "h", None, {}),
        ("sip / 2.0 / tls  h : 5061 ; Branch = x", "TLS", "h", 5061, {"branch": "x"}),
        ("SIP/2.0/UDP [2001:db8::1]:5060;received=[::1]", "UDP", "2001:db8::1", 5060, {"received": "[::1]"}),
        (
            "SIP/2.0/UDP [2001:db8::1];received=2001:db8::9",
            "UDP",
            "2001:db8::1",
            None,
            {"received": "2001:db8::9"},
        ),
        ('SIP/2.0/WS h;x="a;b, c"', "WS", "h", None, {"x": '"a;b, c"'}),
        ("SIP/2.0/UDP\th;ttl=1;maddr=224.0.0.1", "UDP", "h", None, {"ttl": "1", "maddr": "224.0.0.1"}),
    ],
)
def test_via(value: str, proto: str, host: str, port: int | None, params: dict[str, str | None]) -> None:
    """RFC 3261 20.42; what came goes out as it came."""
    via = Via.parse(value)
    assert (via.proto, via.host, via.port, via.params) == (proto, host, port, params)
    assert str(via) == value
    again = Via.parse(str(Via(proto, host, port, params)))
    assert (again.proto, again.host, again.port, again.params) == (proto, host, port, params)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0 h",
        "HTTP/2.0/UDP h",
        "SIP/2.0/UDP h;",
        "SIP/2.0/UDP h;;branch=x",
        "SIP/2.0/UDP h;branch=a;branch=b",
        "SIP/2.0/UDP h;branch=a;BRANCH=b",
        "SIP/2.0/UDP h:x",
        "SIP/2.0/UDP h:99999",
        "SIP/2.0/UDP ::1",
        "SIP/2.0/UDP h i",
        'SIP/2.0/UDP h;x="',
        "SIP/2.0/UDP h;a=b=c",
    ],
)
def test_malformed_via(value: str) -> None:
    """A Via decides where answers go: nothing is guessed."""
    with pytest.raises(BadMessage):
        Via.parse(value)


def test_a_bad_via_can_still_be_answered() -> None:
    """Leniently the sent-by and the good parameters are found."""
    via = Via.parse("SIP/2.0/UDP h:5;;branch=x;=y;rport", lenient=True)
    assert (via.host, via.port, via.params) == ("h", 5, {"branch": "x", "rport": None})
    with pytest.raises(BadMessage):
        Via.parse("SIP/2.0/UDP ;x", lenient=True)


def test_via_values() -> None:
    """Branch, received and rport, as they are used."""
    via = Via.parse("SIP/2.0/UDP h;branch=b;received=[::1];rport=5062")
    assert (via.branch, via.received, via.rport) == ("b", "::1", 5062)
    via = Via.parse("SIP/2.0/UDP h;rport=x;branch=z9hG4bK")  # a cookie alone names nothing
    assert (via.branch, via.received, via.rport) == ("", "", None)


@pytest.mark.parametrize(
    ("value", "number", "method"),
    [("1 INVITE", 1, "INVITE"), ("4294967295\t \tX-y", 2**32 - 1, "X-y"), ("0009  ACK", 9, "ACK")],
)
def test_cseq(value: str, number: int, method: str) -> None:
    """RFC 3261 20.16."""
    cseq = CSeq.parse(value)
    assert (cseq.number, cseq.method) == (number, method)
    assert cseq == CSeq.parse(str(cseq))
    assert hash(cseq) == hash(CSeq(number, method))
    assert cseq != CSeq(number, "OTHER")


@pytest.mark.parametrize(
    "value",
    ["", "1", "INVITE", "1INVITE", "-1 INVITE", "4294967296 INVITE", "1 INVITE x", "1 (", "\u0661 BYE"],
)
def test_malformed_cseq(value: str) -> None:
    """Refused."""
    with pytest.raises(BadMessage):
        CSeq.parse(value)


@given(st.text(max_size=50), st.text('<>";=,: \\sip@[]ab1/2.0UDP', max_size=40))
def test_nothing_but_bad_message(one: str, two: str) -> None:
    """Whatever the text; and what is accepted prints to something that means the same."""
    for text in (one, two, "SIP/2.0/UDP " + two, "<sip:a@h>" + two, f'"{two}" <sip:{one}>'):
        try:
            address = NameAddr.parse(text)
        except BadMessage:
            pass
        else:
            again = NameAddr.parse(str(address))
            assert again.uri_text == address.uri_text
            assert again.params == address.params
        try:
            via = Via.parse(text)
            via.stamp("192.0.2.1", 7)
            assert Via.parse(str(via)).received == "192.0.2.1" or via.host == "192.0.2.1"
            CSeq.parse(text)
        except BadMessage:
            pass
