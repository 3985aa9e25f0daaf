"""The answer party's descriptions and packets."""

from mizu.media.echo import answer_to, audio_of, echoed
from mizu.sip.sdp import Sdp

OFFER = (
    b"v=0\r\no=a 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n"
    b"m=video 5000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    b"m=audio 4000 RTP/AVP 111 0 101\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=sendonly\r\na=candidate:1 1 udp 1 10.0.0.2 4000 typ host\r\n"
)


def test_every_offered_codec_is_accepted_and_video_refused() -> None:
    """Echo needs no codec: formats and their attributes come back, other media get port 0."""
    offer = Sdp.parse(OFFER)
    media = audio_of(offer)
    assert media is not None
    answer = Sdp.parse(answer_to(offer, media, host="192.0.2.1", port=30000, version=1))
    video, audio = answer.media
    assert (video.kind, video.port) == ("video", 0)
    assert (audio.port, audio.formats, audio.address) == (30000, ("111", "0", "101"), "192.0.2.1")
    assert audio.direction == "recvonly"  # the mirror of sendonly
    assert "a=rtpmap:111 opus/48000/2" in answer.lines
    assert not any(line.startswith(("a=candidate", "a=rtpmap:96")) for line in answer.lines)


def test_encrypted_audio_is_not_accepted() -> None:
    """Without the keys an echo would be noise."""
    assert audio_of(Sdp.parse(OFFER.replace(b"m=audio 4000 RTP/AVP", b"m=audio 4000 RTP/SAVP"))) is None


def test_a_packet_comes_back_with_another_ssrc() -> None:
    """All but the SSRC is the same; an unchanged one would look like a loop to the phone."""
    packet = bytes([0x80, 0, 0, 1]) + bytes(4) + b"SSRC" + b"audio"
    back = echoed(packet)
    assert back[:8] == packet[:8]
    assert back[8:12] != packet[8:12]
    assert back[12:] == b"audio"
    assert echoed(back) == packet


def test_what_is_no_rtp_comes_back_as_it_is() -> None:
    """Short and foreign packets harm nothing."""
    for packet in (b"", b"\x80", b"hello, this is no rtp"):
        assert echoed(packet) == packet
