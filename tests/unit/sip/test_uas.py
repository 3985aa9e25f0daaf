"""What a user agent server refuses before it looks any further (RFC 3261 8.2)."""

import pytest

from mizu.sip.message import Request
from mizu.sip.uas import Refusal, refuse

METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "REGISTER", "OPTIONS", "MESSAGE")


def request(
    method: str, *fields: tuple[str, str], uri: str = "sip:b@example.com", body: bytes = b""
) -> Request:
    basic = {
        "From": "<sip:a@example.com>;tag=1",
        "To": "<sip:b@example.com>",
        "Call-ID": "c",
        "CSeq": f"1 {method}",
    }
    given = {name for name, _ in fields}
    return Request(method, uri, [*[(n, v) for n, v in basic.items() if n not in given], *fields], body)


def refusal(
    method: str, *fields: tuple[str, str], uri: str = "sip:b@example.com", body: bytes = b""
) -> Refusal | None:
    return refuse(
        request(method, *fields, uri=uri, body=body), methods=METHODS, supported={"100rel", "timer"}
    )


def status(
    method: str, *fields: tuple[str, str], uri: str = "sip:b@example.com", body: bytes = b""
) -> int | None:
    found = refusal(method, *fields, uri=uri, body=body)
    return None if found is None else found[0]


@pytest.mark.parametrize("method", ["INVITE", "CANCEL", "BYE", "REGISTER", "OPTIONS", "MESSAGE"])
def test_a_good_request_goes_on(method: str) -> None:
    """Nothing is refused without a reason; tel and sips are served too."""
    assert refusal(method) is None
    assert refusal(method, uri="tel:+1") is None
    assert refusal(method, uri="sips:b@h;lr") is None


def test_methods() -> None:
    """Known elsewhere: 405; known to nobody: 501. Both say what is served."""
    found = refusal("PUBLISH")
    assert found == (405, "Method Not Allowed", [("Allow", ", ".join(METHODS))])
    found = refusal("FETCH")
    assert found is not None
    assert (found[0], found[2]) == (501, [("Allow", ", ".join(METHODS))])
    assert status("invite") == 501  # methods have capitals (RFC 3261 7.1)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://x", 416),
        ("urn:service:sos", 416),
        ("nonsense", 400),
        ("sip:a@b@c", 400),
        ("sip:h?Subject=x", 400),
    ],
)
def test_request_uri(uri: str, expected: int) -> None:
    """Unknown schemes 416, malformed ones 400."""
    assert status("INVITE", uri=uri) == expected


@pytest.mark.parametrize(
    "field",
    [
        ("From", '"x <sip:a@h>'), ("To", "<sip:a@h"), ("To", "nobody"), ("Contact", "<sip:a@h>;;"),
        ("Max-Forwards", "x"), ("Contact", "<sip:a@h:x>"), ("Contact", "*"),
    ],
)  # fmt: skip
def test_malformed_headers_are_400(field: tuple[str, str]) -> None:
    """What everybody needs is checked at once, so nobody else has to."""
    assert status("INVITE", field) == 400


def test_register_needs_a_sip_address_of_record() -> None:
    """RFC 3261 10.3: To is a SIP URI; ``*`` stands alone."""
    assert status("REGISTER", ("To", "<tel:+1>")) == 400
    assert status("REGISTER", ("Contact", "*"), ("Expires", "0")) is None
    assert status("REGISTER", ("Contact", "*, <sip:a@h>")) == 400
    assert status("REGISTER", ("Contact", "<mailto:a@h>")) is None


def test_require() -> None:
    """Every unknown option tag is listed; CANCEL and ACK are never refused for one (RFC 3261 8.2.2.3)."""
    found = refusal("INVITE", ("Require", "100rel, x"), ("Require", "Timer, y"))
    assert found == (420, "Bad Extension", [("Unsupported", "x, y")])
    assert status("CANCEL", ("Require", "x")) is None
    assert status("INVITE", ("Proxy-Require", "x")) is None


def test_an_ack_is_never_refused() -> None:
    """There is no answer to an ACK."""
    assert status("ACK", ("Require", "x"), uri="nonsense") is None


def test_hops() -> None:
    """What would go on needs a hop left; what is for us does not."""
    assert status("INVITE", ("Max-Forwards", "0")) == 483
    assert status("MESSAGE", ("Max-Forwards", "0")) == 483
    assert status("OPTIONS", ("Max-Forwards", "0")) is None
    assert status("BYE", ("Max-Forwards", "0")) is None
    assert status("INVITE", ("Max-Forwards", "1")) is None


def test_bodies() -> None:
    """415 says what would do; a body that may be ignored is no reason."""
    assert status("INVITE", ("Content-Type", "application/sdp;x=y"), body=b"v=0") is None
    assert status("INVITE", ("c", "multipart/mixed;boundary=x"), body=b"v=0") is None
    assert refusal("INVITE", ("c", "text/plain"), body=b"x") == (
        415, "Unsupported Media Type", [("Accept", "application/sdp")],
    )  # fmt: skip
    assert (
        status("INVITE", ("c", "text/plain"), ("Content-Disposition", "x; handling = optional"), body=b"x")
        is None
    )
    assert status("INVITE", body=b"x") == 400
    assert status("MESSAGE", ("c", "text/plain"), body=b"x") is None
    assert status("BYE", body=b"x") is None
    found = refusal("MESSAGE", ("c", "text/plain"), ("e", "gzip"), body=b"x")
    assert found is not None
    assert (found[0], found[2]) == (415, [("Accept-Encoding", "identity")])
    assert status("MESSAGE", ("c", "text/plain"), ("e", "identity"), body=b"x") is None


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/sdp", None),
        ("text/plain, */*;q=0.1", None),
        ("application / *", None),
        ("text/plain", 406),
        ("", 406),
    ],
)
def test_accept(accept: str, expected: int | None) -> None:
    """An INVITE that could not be answered with SDP is 406 (RFC 4475 3.3.15)."""
    assert status("INVITE", ("Accept", accept)) == expected
    assert status("OPTIONS", ("Accept", accept)) is None
