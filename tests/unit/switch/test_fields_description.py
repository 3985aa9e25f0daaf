"""Edits of headers and descriptions on their way across the switch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.sip.headers import NameAddr
from mizu.switch.description import continued, fixed_address, same_media, without_hold
from mizu.switch.fields import escaped_user, from_value, quoted_display

SDP = (
    b"v=0\r\no=a 5 7 IN IP4 192.168.1.2\r\ns=-\r\nc=IN IP4 192.168.1.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
)


def test_a_private_address_becomes_the_phones_own() -> None:
    """Where its packets really come from."""
    fixed = fixed_address(SDP, "203.0.113.5")
    assert b"192.168" not in fixed
    assert fixed.count(b"203.0.113.5") == 2


@pytest.mark.parametrize(
    ("body", "source"),
    [
        (
            SDP.replace(b"192.168.1.2", b"198.51.100.1"),
            "203.0.113.5",
        ),  # public already (a relay of the phone's)
        (SDP, "192.168.1.2"),  # it is in our network
        (b"\xff\x00 nothing", "203.0.113.5"),
        (b"", "203.0.113.5"),
    ],
)
def test_nothing_else_is_touched(body: bytes, source: str) -> None:
    """Byte by byte."""
    assert fixed_address(body, source) == body


def test_a_hold_is_lifted() -> None:
    """For a party that is connected to somebody else."""
    held = SDP + b"a=sendonly\r\na=ptime:20\r\n"
    assert without_hold(held) == SDP + b"a=ptime:20\r\n"


def test_a_session_goes_on_under_its_own_name() -> None:
    """RFC 3264 8: after a transfer the origin stays, the version rises."""
    other = (
        b"v=0\r\no=zz 99 1 IN IP4 10.0.0.9\r\ns=x\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\n"
    )
    once = continued(SDP, other)
    assert b"o=a 5 8 IN IP4 192.168.1.2\r\n" in once
    assert same_media(once, other)
    assert continued(once, other) == once  # nothing new: no new version
    assert continued(b"", other) == other


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_any_name_makes_a_legal_from(name: str) -> None:
    """Display names and numbers from anywhere cannot break out of the header."""
    value = from_value(name, number=name, host="h.example", tag="t")
    assert "\r" not in value
    assert "\n" not in value
    parsed = NameAddr.parse(value)
    assert parsed.tag == "t"
    assert parsed.uri_text.endswith("@h.example")
    if name.isascii() and name.isprintable():
        assert parsed.display == name


def test_user_parts_and_names() -> None:
    """What is legal stays readable."""
    assert escaped_user("+49-30*1") == "+49-30*1"
    assert escaped_user("a@b:c#") == "a%40b%3Ac%23"
    assert quoted_display("") == ""
    assert quoted_display('a"b\\') == '"a\\"b\\\\" '
