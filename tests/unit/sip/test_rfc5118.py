"""The cases of RFC 5118: IPv6 in SIP. Messages are our own, made after its descriptions."""

import pytest

from mizu.sip.message import Request
from mizu.sip.parser import BadMessage, parse_datagram
from mizu.sip.sdp import Sdp
from mizu.sip.uas import refuse
from mizu.sip.uri import SipUri

pytestmark = pytest.mark.usefixtures("implementation")  # compiled and in Python


def message(
    uri: str = "sip:[2001:db8::10]",
    via: str = "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111",
    contact: str = "<sip:caller@[2001:db8::1]>",
    body: str = "",
    method: str = "REGISTER",
) -> bytes:
    return (
        f"{method} {uri} SIP/2.0\r\nTo: sip:user@example.com\r\nFrom: sip:user@example.com;tag=81x2\r\n"
        f"Via: {via}\r\nCall-ID: SSG9559905523997077@hlau_4100\r\nMax-Forwards: 70\r\n"
        f"Contact: {contact}\r\nCSeq: 98176 {method}\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def parse(data: bytes) -> Request:
    request = parse_datagram(data)
    assert isinstance(request, Request)
    return request


def status(request: Request) -> int | None:
    refusal = refuse(request, methods=("REGISTER", "INVITE", "OPTIONS", "BYE"))
    return None if refusal is None else refusal[0]


def test_4_1_a_valid_reference() -> None:
    """Addresses in brackets are hosts in the Request-URI, Via and Contact."""
    request = parse(message())
    assert status(request) is None
    assert request.request_uri.host == "2001:db8::10"
    assert request.via.host == "2001:db8::9:1"
    assert request.contacts[0].uri.host == "2001:db8::1"


def test_4_2_a_reference_without_brackets() -> None:
    """400: it cannot be told from a host with a port."""
    assert status(parse(message(uri="sip:2001:db8::10"))) == 400


def test_4_3_a_port_inside_the_brackets() -> None:
    """Legal: it is part of the address, and there is no port."""
    uri = parse(message(uri="sip:[2001:db8::10:5070]")).request_uri
    assert (uri.host, uri.port) == ("2001:db8::10:5070", None)


def test_4_4_a_port_behind_the_brackets() -> None:
    """Address and port."""
    uri = parse(message(uri="sip:[2001:db8::10]:5070")).request_uri
    assert (uri.host, uri.port) == ("2001:db8::10", 5070)


@pytest.mark.parametrize("received", ["[2001:db8::9:255]", "2001:db8::9:255"])
def test_4_5_received_with_and_without_brackets(received: str) -> None:
    """Both are taken; the brackets are no part of the address."""
    request = parse(message(via=f"SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3-111"))
    assert request.via.received == "2001:db8::9:255"
    request = parse(message(via=f"SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111;received={received}"))
    assert request.via.received == "2001:db8::9:255"


def test_4_6_and_4_8_ipv6_in_sdp() -> None:
    """Session and media addresses of both families."""
    body = (
        "v=0\r\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\r\ns=x\r\n"
        "c=IN IP6 2001:db8::20\r\nt=1 2\r\n"
        "m=audio 6000 RTP/AVP 0\r\nm=video 6024 RTP/AVP 107\r\nc=IN IP4 192.0.2.1\r\n"
    )
    request = parse(message(method="INVITE", body=body))
    assert status(request) is None
    sdp = Sdp.parse(request.body)
    assert sdp.addresses == ["2001:db8::20", "192.0.2.1"]
    assert [media.address for media in sdp.media] == ["2001:db8::20", "192.0.2.1"]


def test_4_7_both_families_in_one_message() -> None:
    """Vias of a call that came through both."""
    via = (
        "SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111,"
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144,"
        "SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200"
    )
    request = parse(message(via=via, method="BYE"))
    assert [(each.host, each.port) for each in request.vias] == [
        ("2001:db8::9:1", 6050), ("192.0.2.1", None), ("2001:db8::9:255", None),
    ]  # fmt: skip
    assert request.vias[2].received == "192.0.2.200"


def test_4_9_ipv4_mapped_addresses() -> None:
    """Legal wherever an address may stand."""
    mapped = "[::ffff:192.0.2.10]:19823"
    request = parse(message(via=f"SIP/2.0/UDP {mapped};branch=z9hG4bKbh19", contact=f"<sip:u@{mapped}>"))
    assert (request.via.host, request.via.port) == ("::ffff:192.0.2.10", 19823)
    assert request.contacts[0].uri.host == "::ffff:192.0.2.10"


def test_4_10_the_third_colon() -> None:
    """A bug in the grammar of RFC 3261: taken, and never sent by us."""
    uri = parse(message(uri="sip:user@[2001:db8:::192.0.2.1]", method="OPTIONS")).request_uri
    assert isinstance(uri, SipUri)
    assert uri.host == "2001:db8::192.0.2.1"
    assert str(uri) == "sip:user@[2001:db8::192.0.2.1]"


@pytest.mark.parametrize(
    "host", ["[2001:db8::10", "[]", "[1]", "[2001:db8::1::2]", "[::1%25eth0]", "[192.0.2.1]"]
)
def test_what_is_no_reference(host: str) -> None:
    """400 in the Request-URI, and in the Via, which could not be answered."""
    assert status(parse(message(uri=f"sip:{host}"))) == 400
    with pytest.raises(BadMessage):
        parse(message(via=f"SIP/2.0/UDP {host};branch=z9hG4bK1"))
