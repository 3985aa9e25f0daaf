"""Session descriptions."""

from hypothesis import given
from hypothesis import strategies as st

from mizu.sip.sdp import Media, Sdp

BODY = (
    b"v=0\r\no=a 5 7 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\na=sendonly\r\n"
    b"m=audio 6000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtcp:6001 IN IP4 10.0.0.1\r\nz=unknown \xff\r\n"
    b"m=video 0/2 RTP/SAVP 96\r\nc=IN IP4 10.0.0.2\r\na=recvonly\r\n"
)


def test_what_a_switch_needs_is_read() -> None:
    """Media with port, direction and address; what a section does not say it has from the session."""
    sdp = Sdp.parse(BODY)
    assert sdp.addresses == ["10.0.0.1", "10.0.0.2"]
    assert sdp.version == 7
    assert sdp.media == [
        Media("audio", 6000, "RTP/AVP", ("0", "8"), "sendonly", "10.0.0.1"),
        Media("video", 0, "RTP/SAVP", ("96",), "recvonly", "10.0.0.2"),
    ]


def test_unchanged_it_prints_as_it_came() -> None:
    """Unknown lines and bytes that are not UTF-8 included; LF becomes CRLF."""
    assert Sdp.parse(BODY).to_bytes() == BODY
    assert Sdp.parse(BODY.replace(b"\r\n", b"\n")).to_bytes() == BODY


def test_addresses_are_rewritten_everywhere() -> None:
    """o=, every c= and a=rtcp; nothing else."""
    sdp = Sdp.parse(BODY)
    assert sdp.rewrite_address("192.0.2.7")
    assert sdp.to_bytes() == BODY.replace(b"10.0.0.1", b"192.0.2.7").replace(b"10.0.0.2", b"192.0.2.7")
    assert not sdp.rewrite_address("192.0.2.7")


def test_ipv6_changes_the_family_too() -> None:
    """RFC 4566 5.7."""
    sdp = Sdp.parse(BODY)
    sdp.rewrite_address("2001:db8::1")
    assert b"c=IN IP6 2001:db8::1\r\n" in sdp.to_bytes()
    assert b"o=a 5 7 IN IP6 2001:db8::1\r\n" in sdp.to_bytes()


def test_hold_and_multicast_stay() -> None:
    """0.0.0.0 means "send me nothing"; a group is nobody's own address."""
    body = b"c=IN IP4 0.0.0.0\r\nc=IN IP4 224.2.1.1/127\r\nc=IN IP4 239.1.1.1\r\nc=IN IP6 ::\r\n"
    sdp = Sdp.parse(body)
    assert not sdp.rewrite_address("192.0.2.7")
    assert sdp.to_bytes() == body


def test_the_version_grows() -> None:
    """RFC 3264 8; without an o= nothing happens."""
    sdp = Sdp.parse(BODY)
    sdp.bump_version()
    assert sdp.version == 8
    sdp = Sdp.parse(b"o=broken\r\n")
    sdp.bump_version()
    assert sdp.version is None


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"m=", b"c=", b"o=", b"a=rtcp:", b" ", b"\r\n", b"1", b"IN", b"\xb2"])).map(
        b"".join
    )
)
def test_nothing_raises(body: bytes) -> None:
    """Bodies are the peers' business: strange ones are carried on."""
    sdp = Sdp.parse(body)
    assert isinstance(sdp.media, list)
    assert isinstance(sdp.addresses, list)
    sdp.bump_version()
    sdp.rewrite_address("192.0.2.7")
    assert Sdp.parse(sdp.to_bytes()).lines == sdp.lines
