"""The message trace keeps what was asked for and no secret."""

import pytest

from mizu.console.trace import TEXT_MAX_BYTES, MessageTrace, redacted
from mizu.testing.console import NOON

REGISTER = (
    b"REGISTER sip:mizu SIP/2.0\r\n"
    b"From: <sip:1001@mizu>;tag=1\r\n"
    b'Authorization: Digest username="1001", realm="mizu", nonce="N0NCE", uri="sip:mizu",\r\n'
    b' response="0123456789abcdef0123456789abcdef", cnonce="CN0NCE", nc=00000001\r\n'
    b"User-Agent: Phone\r\n\r\n"
)
PEER = ("192.0.2.1", 5060)


def trace() -> MessageTrace:
    return MessageTrace(3, lambda: NOON)


@pytest.mark.parametrize(
    ("line", "gone", "kept"),
    [
        ('Authorization: Digest username="u", response="SECRET", nonce="SECRET"', "SECRET", 'username="u"'),
        ('authorization : Digest response = "SECRET"', "SECRET", "Digest"),
        ("Authorization: Digest response=SECRET,uri=x", "SECRET", "uri=x"),
        ('Proxy-Authorization: Digest username="u",\r\n response="SECRET"', "SECRET", 'username="u"'),
        ('Authorization: Digest response="SEC\\"RET', "RET", "Digest"),
        ("Authorization: Basic SECRET", "SECRET", "Basic"),
        ("Proxy-Authorization: Bearer SECRET", "SECRET", "Bearer"),
        ('WWW-Authenticate: Digest realm="r", nonce="SECRET", opaque="SECRET"', "SECRET", 'realm="r"'),
        ('Proxy-Authenticate: Digest nonce="SECRET"', "SECRET", "Digest"),
        ('Authentication-Info: nextnonce="SECRET", rspauth="SECRET", qop=auth', "SECRET", "qop=auth"),
        ("Contact: <sip:1001:SECRET@192.0.2.1>", "SECRET", "sip:1001:***@192.0.2.1"),
        ("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRET|2^20", "SECRET", "AES_CM"),
        ("a=ice-pwd:SECRET", "SECRET", "a=ice-pwd"),
    ],
)
def test_e3_secrets_are_replaced(line: str, gone: str, kept: str):
    """E3: what could be replayed or guessed from never gets into memory; the rest stays readable."""
    shown = redacted(f"OPTIONS sip:x SIP/2.0\r\n{line}\r\nSubject: after\r\n\r\n")
    assert gone not in shown
    assert kept in shown
    assert "Subject: after" in shown


def test_a_message_without_secrets_is_unchanged():
    """Redaction touches nothing else."""
    text = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKresponse\r\n\r\na=sendrecv"
    assert redacted(text) == text


def test_only_messages_of_that_user_or_address_are_kept():
    """The filter is by remote address, with or without port, and by a name that the message has."""
    kept = trace()
    kept.start(address="192.0.2.1:5060", user="1001")
    kept.note("in", "udp", PEER, REGISTER)
    kept.note("in", "udp", ("192.0.2.1", 5062), REGISTER)
    kept.note("in", "udp", ("192.0.2.2", 5060), REGISTER)
    kept.note("in", "udp", PEER, REGISTER.replace(b"1001", b"1002"))
    assert [m.remote for m in kept.recent(10)] == ["192.0.2.1:5060"]
    assert "0123456789abcdef" not in kept.recent(1)[0].text
    kept.start(address="2001:db8::1")
    kept.note("out", "tcp", ("2001:db8::1", 5061), b"x")
    assert kept.recent(1)[0].remote == "[2001:db8::1]:5061"
    kept.start(address="[2001:db8::1]:1")
    kept.note("out", "tcp", ("2001:db8::1", 5061), b"y")
    assert kept.recent(1)[0].text == "x"


def test_memory_is_bounded():
    """The oldest messages go, a huge one is cut."""
    kept = trace()
    kept.start()
    for number in range(5):
        kept.note("in", "udp", PEER, b"%d" % number)
    kept.note("in", "udp", PEER, b"x" * (TEXT_MAX_BYTES + 7))
    assert [m.text[:1] for m in kept.recent(10)] == ["3", "4", "x"]
    assert kept.recent(1)[0].text.endswith("... 7 bytes more")
    assert kept.state() == {"on": True, "address": "", "user": "", "kept": 3, "limit": 3}
    kept.stop()
    assert not kept.on
    kept.clear()
    assert not kept.recent(10)
