"""Messages made as bytes are those that the objects would have made."""

from typing import Any

import pytest

from mizu.sip.message import Request
from mizu.sip.wire import answer_bytes, request_bytes, top_via

pytestmark = pytest.mark.usefixtures("implementation")  # compiled and in Python

USUAL = [
    ("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKx"),
    ("From", "<sip:alice@a>;tag=1"),
    ("To", "<sip:bob@b>"),
    ("Call-ID", "call"),
    ("CSeq", "7 INVITE"),
    ("Max-Forwards", "70"),
    ("Record-Route", "<sip:p1;lr>"),
]
REQUESTS = {
    "usual": USUAL,
    "two Vias": [("Via", "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKy"), *USUAL],
    "two Record-Routes": [*USUAL, ("Record-Route", "<sip:p2;lr>")],
    "To tag": [field if field[0] != "To" else ("To", "<sip:bob@b>;tag=2") for field in USUAL],
    "no To": [field for field in USUAL if field[0] != "To"],
    "Timestamp": [*USUAL, ("Timestamp", "54.21")],
    "line end": [field if field[0] != "From" else ("From", "<sip:alice@a>;tag=1\r\nX: y") for field in USUAL],
}
ANSWERS: list[dict[str, Any]] = [
    {"status": 100},
    {"status": 180, "to_tag": "t", "copy_record_route": True},
    {
        "status": 200,
        "to_tag": "t",
        "fields": [("Contact", "<sip:me>"), ("Server", "m\xfc")],
        "body": b"v=0\r\n",
        "copy_record_route": True,
    },
    {"status": 486, "reason": "Out", "to_tag": "t", "fields": [("Reason", "a\nInjected: b")]},
]


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: str(answer["status"]))
def test_an_answer_in_bytes_is_the_answer(name: str, answer: dict[str, Any]) -> None:
    """Byte for byte, also where a header is missing, doubled, or has a line end in it."""
    request = Request("INVITE", "sip:bob@b", REQUESTS[name])
    assert answer_bytes(request, **answer) == request.reply(**answer).to_bytes()


@pytest.mark.parametrize("contact", ["", "<sip:me@10.0.0.1>", "<sip:me>\r\nX: y"])
@pytest.mark.parametrize("more", [[], [("Subject", "a\r\nInjected: b")]], ids=["plain", "line end"])
def test_a_request_in_bytes_is_the_request(contact: str, more: list[tuple[str, str]]) -> None:
    """With our Via on top and our Contact; the request itself does not change."""
    fields = [*USUAL[1:], *more]
    request = Request("INVITE", "sip:bob@b", fields, b"v=0\r\n")
    whole = Request("INVITE", "sip:bob@b", [("Via", "SIP/2.0/UDP 10.0.0.1;branch=1"), *fields], b"v=0\r\n")
    if contact:
        whole.add("Contact", contact)
    wire = request_bytes(request, "SIP/2.0/UDP 10.0.0.1;branch=1", contact)
    assert wire == whole.to_bytes()
    assert top_via(wire) == "SIP/2.0/UDP 10.0.0.1;branch=1"
    assert request.get("via") is None
