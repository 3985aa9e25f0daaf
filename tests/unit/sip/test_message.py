"""Messages: reading, changing, answering, printing."""

import pytest

from mizu.sip.grammar import BadMessage
from mizu.sip.message import Request, Response
from mizu.sip.names import canonical_name, header_key, reason_phrase
from mizu.sip.parser import parse_datagram

pytestmark = pytest.mark.usefixtures("implementation")  # compiled and in Python


def invite(*extra: tuple[str, str], via: str = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport") -> Request:
    return Request(
        "INVITE",
        "sip:b@example.com",
        [
            ("Via", via),
            ("From", '"A" <sip:a@example.com>;tag=1'),
            ("To", "<sip:b@example.com>"),
            ("Call-ID", "c@192.0.2.1"),
            ("CSeq", "1 INVITE"),
            *extra,
        ],
    )


def test_headers_in_every_way() -> None:
    """First value, lines, elements, and Twisted's mapping."""
    request = invite(("Route", "<sip:p1;lr>, <sip:p2;lr>"), ("route", "<sip:p3;lr>"), ("m", "<sip:a@h>"))
    assert request.get("route") == "<sip:p1;lr>, <sip:p2;lr>"
    assert request.get("nothing") is None
    assert request.get_all("route") == ["<sip:p1;lr>, <sip:p2;lr>", "<sip:p3;lr>"]
    assert request.get_all("nothing") == []
    assert request.values("route") == ["<sip:p1;lr>", "<sip:p2;lr>", "<sip:p3;lr>"]
    assert request.headers["contact"] == ["<sip:a@h>"]
    assert request.headers["route"] == request.get_all("route")
    assert request.is_request
    assert not Response(200).is_request


def test_views_follow_changes() -> None:
    """add, set, remove and prepend are seen by every view made before."""
    request = invite()
    _ = request.via, request.to, request.from_, request.contacts, request.cseq
    request.prepend("Via", "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK2")
    assert [via.branch for via in request.vias] == ["z9hG4bK2", "z9hG4bK1"]
    request.set("To", "<sip:x@h>;tag=9")
    assert request.to.tag == "9"
    request.set("From", "<sip:y@h>;tag=8")
    assert request.from_.tag == "8"
    request.add("Contact", "<sip:1@h>")
    request.add("Contact", "<sip:2@h>")
    assert [contact.uri_text for contact in request.contacts] == ["sip:1@h", "sip:2@h"]
    request.set("CSeq", "2 INVITE")
    assert request.cseq.number == 2
    request.set("Via", "SIP/2.0/TCP h")
    assert [via.proto for via in request.vias] == ["TCP"]
    request.remove("m")
    assert request.contacts == []
    request.remove("contact")
    request.remove("via")
    with pytest.raises(BadMessage):
        _ = request.via
    with pytest.raises(BadMessage):
        _ = request.vias


def test_the_top_of_a_list_can_be_taken_off() -> None:
    """One element, whether it shares its line or not."""
    request = invite(("Route", "<sip:1>, <sip:2>"), ("X-Y", "y"), ("Route", "<sip:3>"))
    for left in (["<sip:2>", "<sip:3>"], ["<sip:3>"], []):
        request.remove_top("route")
        assert request.values("route") == left
        assert parse_datagram(request.to_bytes()).values("route") == left
    request.remove_top("route")
    assert request.get("x-y") == "y"


def test_content_length_is_always_right() -> None:
    """Added, corrected, and where it was."""
    request = invite()
    assert request.to_bytes().endswith(b"Content-Length: 0\r\n\r\n")
    request.body = b"abc"
    assert request.toString().endswith(b"Content-Length: 3\r\n\r\nabc")
    request = invite(("l", "99"), ("X-Last", "1"))
    request.body = b"abc"
    assert request.to_bytes().endswith(b"Content-Length: 3\r\nX-Last: 1\r\n\r\nabc")


def test_no_text_can_add_a_header() -> None:
    """Line ends in values, names, reasons and URIs become spaces on the way out."""
    evil = "x\r\nEvil: 1\r\n\r\nbody\n"
    request = invite(("Subject", evil), ("Bad\r\nName", "v"))
    request.uri = "sip:a\r\nEvil: 1"
    answer = request.reply(200, evil, to_tag="t\r\nEvil: 2", fields=[("X", evil)])
    for data in (request.to_bytes(), answer.to_bytes()):
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"\r\nEvil" not in head
        assert body == b""
        assert data.count(b"\n") == data.count(b"\r\n")


def test_reply_copies_what_rfc_3261_asks_for() -> None:
    """8.2.6.2: every Via in order, From, To with a tag, Call-ID, CSeq; Timestamp in a 100 only."""
    request = invite(
        ("v", "SIP/2.0/UDP h2;branch=z9hG4bK0"),
        ("Timestamp", "54"),
        ("Record-Route", "<sip:p;lr>"),
        ("Subject", "s"),
    )
    answer = request.reply(180, to_tag="t1", fields=[("Server", "mizu")], body=b"b", copy_record_route=True)
    assert (answer.status, answer.reason) == (180, "Ringing")
    assert [key for _, key, _ in answer.fields] == [
        "via", "from", "to", "call-id", "cseq", "via", "record-route", "server",
    ]  # fmt: skip
    assert [via.host for via in answer.vias] == ["192.0.2.1", "h2"]
    assert answer.to.tag == "t1"
    assert answer.from_.tag == "1"
    assert (answer.cseq.number, answer.call_id, answer.body) == (1, "c@192.0.2.1", b"b")
    assert request.reply(100).get("timestamp") == "54"
    assert request.reply(100).to.tag == ""
    assert request.reply(200).get("record-route") is None


def test_reply_of_a_plain_request_is_the_same() -> None:
    """With no header twice a shorter way is taken; it must not show."""
    request = invite(("Record-Route", "<sip:p;lr>"), ("Timestamp", "54"))
    answer = request.reply(200, "Fine", to_tag="t1", copy_record_route=True)
    assert [key for _, key, _ in answer.fields] == ["via", "from", "to", "call-id", "cseq", "record-route"]
    assert answer.to_bytes().startswith(b"SIP/2.0 200 Fine\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;")
    parsed = parse_datagram(answer.to_bytes())
    assert isinstance(parsed, Response)
    assert parsed.fields[:-1] == answer.fields


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("<sip:b@h>", "<sip:b@h>;tag=new"),
        ("<sip:b@h>;TAG=old", "<sip:b@h>;TAG=old"),
        ("sip:b@h ; tag = old", "sip:b@h ; tag = old"),
        ("<sip:b@h;tag=uri>", "<sip:b@h;tag=uri>;tag=new"),
        ('";tag=x" <sip:b@h>', '";tag=x" <sip:b@h>;tag=new'),
        ("<sip:tag@h>", "<sip:tag@h>;tag=new"),
        ('"broken <sip:b@h>', '"broken <sip:b@h>;tag=new'),
        ('"broken <sip:b@h>;tag=1', '"broken <sip:b@h>;tag=1'),
    ],
)
def test_a_to_tag_is_added_where_none_is(to: str, expected: str) -> None:
    """A tag in a display name or a URI is no tag of To."""
    request = invite()
    request.set("To", to)
    assert request.reply(404, to_tag="new").get("to") == expected


@pytest.mark.parametrize(
    ("via", "stamped"),
    [
        ("SIP/2.0/UDP 192.0.2.9:5070;branch=b", "SIP/2.0/UDP 192.0.2.9:5070;branch=b"),
        ("SIP/2.0/UDP h;branch=b", "SIP/2.0/UDP h;branch=b;received=192.0.2.9"),
        (
            "SIP/2.0/UDP 192.0.2.9;rport;branch=b",
            "SIP/2.0/UDP 192.0.2.9;rport=5061;branch=b;received=192.0.2.9",
        ),
        ("SIP/2.0/UDP h;branch=b;rport", "SIP/2.0/UDP h;branch=b;rport=5061;received=192.0.2.9"),
        ("SIP/2.0/UDP h;rport=1;branch=b", "SIP/2.0/UDP h;rport=1;branch=b;received=192.0.2.9"),
        ("SIP/2.0/UDP 192.0.2.9;received=192.0.2.66", "SIP/2.0/UDP 192.0.2.9;received=192.0.2.9"),
        ("SIP/2.0/UDP h;RPORT;rportx", "SIP/2.0/UDP h;rport=5061;rportx;received=192.0.2.9"),
        ('SIP/2.0/UDP h;x=";rport";rport', 'SIP/2.0/UDP h;x=";rport";rport=5061;received=192.0.2.9'),
        ("SIP/2.0/UDP h;rport,SIP/2.0/UDP g", "SIP/2.0/UDP h;rport=5061;received=192.0.2.9, SIP/2.0/UDP g"),
    ],
)
def test_the_source_is_stamped_on_the_top_via(via: str, stamped: str) -> None:
    """RFC 3261 18.2.1, RFC 3581 4: received when it differs or rport is asked for; never a forged one."""
    request = invite(("Via", "SIP/2.0/UDP lower;rport"), via=via)
    request.stamp_source("192.0.2.9", 5061)
    assert request.get_all("via") == [stamped, "SIP/2.0/UDP lower;rport"]
    assert request.get("via") == stamped
    assert request.reply(200).get("via") == stamped


def test_stamping_never_raises() -> None:
    """A request that cannot be answered is left alone."""
    request = invite(via="nonsense")
    request.stamp_source("192.0.2.9", 5061)
    assert request.get("via") == "nonsense"
    Request("X", "y").stamp_source("192.0.2.9", 1)


def test_ipv6_sources_are_stamped_without_brackets() -> None:
    """RFC 3261 25.1 via-received."""
    request = invite(via="SIP/2.0/UDP [2001:db8::1];rport")
    request.stamp_source("2001:db8::1", 5061)
    assert request.get("via") == "SIP/2.0/UDP [2001:db8::1];rport=5061;received=2001:db8::1"
    assert parse_datagram(request.to_bytes()).via.received == "2001:db8::1"


def test_scalars() -> None:
    """Max-Forwards over 255 counts as absent, malformed Expires as 3600 (RFC 4475 3.1.2.4)."""
    assert invite().max_forwards is None
    assert invite(("Max-Forwards", "0070")).max_forwards == 70
    assert invite(("Max-Forwards", "256")).max_forwards is None
    with pytest.raises(BadMessage):
        _ = invite(("Max-Forwards", "many")).max_forwards
    assert invite().expires is None
    assert invite(("Expires", "0")).expires == 0
    assert invite(("Expires", "tomorrow")).expires == 3600
    assert invite(("c", "Application / SDP ; charset=x")).content_type == "application/sdp"
    assert invite().content_type == ""


def test_the_request_uri_view_follows_the_text() -> None:
    """Parsed once for each text."""
    request = invite()
    assert request.request_uri is request.request_uri
    request.uri = "sip:other@h"
    assert request.request_uri.user == "other"


def test_names() -> None:
    """Every spelling has its key; ours go out as the RFCs write them."""
    assert [header_key(name) for name in ("CALL-ID", "call-Id", "I", " i\t", "X-Foo")] == [
        "call-id", "call-id", "call-id", "call-id", "x-foo",
    ]  # fmt: skip
    assert [canonical_name(key) for key in ("cseq", "www-authenticate", "rack", "sip-etag", "x-foo")] == [
        "CSeq", "WWW-Authenticate", "RAck", "SIP-ETag", "X-Foo",
    ]  # fmt: skip
    assert reason_phrase(422) == "Session Interval Too Small"
    assert reason_phrase(499) == "Request Failure"
    assert reason_phrase(999) == "Unknown"


def test_reprs_are_short() -> None:
    """Start line and Call-ID; no header that could hold a secret."""
    request = invite(("Authorization", 'Digest response="secret"'))
    assert repr(request) == "<INVITE sip:b@example.com SIP/2.0 c@192.0.2.1>"
