"""The 49 messages of RFC 4475, each with what a registrar and user agent server does with it.

A verdict is what comes of :func:`parse_datagram`, then of :func:`refuse`, then of the views that a UAS or
registrar looks at. ``ACCEPT``: nothing is wrong with it here; ``SILENCE``: no answer; a number: that answer.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from mizu.sip.message import Message, Request, Response
from mizu.sip.parser import BadMessage, Limits, StreamFramer, parse_datagram
from mizu.sip.uas import refuse

pytestmark = pytest.mark.usefixtures("implementation")  # compiled and in Python

DATA = Path(__file__).parents[2] / "data" / "rfc4475"
ACCEPT, SILENCE = "accept", "silence"
METHODS = (
    "INVITE", "ACK", "CANCEL", "BYE", "REGISTER", "OPTIONS", "MESSAGE", "INFO", "UPDATE", "PRACK", "REFER",
    "NOTIFY", "SUBSCRIBE", "PUBLISH",
)  # fmt: skip

#: name -> verdict, why (section of RFC 4475)
VERDICTS: dict[str, tuple[object, str]] = {
    "wsinv": (ACCEPT, "3.1.1.1 folding and spaces wherever they are legal"),
    "intmeth": (501, "3.1.1.2 well formed; endpoints answer 501 with Allow"),
    "esc01": (ACCEPT, "3.1.1.3 well formed escapes"),
    "escnull": (ACCEPT, "3.1.1.4 well formed; the NULs in the users must survive"),
    "esc02": (501, "3.1.1.5 % is no escape in a method, so the method is unknown"),
    "lwsdisp": (ACCEPT, "3.1.1.6 a bug of the grammar; accept"),
    "longreq": (ACCEPT, "3.1.1.7 long values"),
    "dblreq": (ACCEPT, "3.1.1.8 the REGISTER counts, what follows it in the datagram does not"),
    "semiuri": (ACCEPT, "3.1.1.9 the semicolon belongs to the user"),
    "transports": (ACCEPT, "3.1.1.10 transports nobody knows in lower Vias"),
    "mpart01": (ACCEPT, "3.1.1.11 binary body with NULs"),
    "unreason": (ACCEPT, "3.1.1.12 UTF-8 in the reason phrase"),
    "noreason": (ACCEPT, "3.1.1.13 empty reason phrase"),
    "badinv01": (400, "3.1.2.1 separators without anything between them"),
    "clerr": (400, "3.1.2.2 Content-Length larger than the datagram"),
    "ncl": (400, "3.1.2.3 negative Content-Length"),
    "scalar02": (400, "3.1.2.4 because of the CSeq over 2**32-1"),
    "scalarlg": (SILENCE, "3.1.2.5 responses are discarded"),
    "quotbal": (400, "3.1.2.6 quote never closed"),
    "ltgtruri": (400, "3.1.2.7 Request-URI in angle brackets"),
    "lwsruri": (400, "3.1.2.8 space in the Request-URI"),
    "lwsstart": (ACCEPT, "3.1.2.9 may be ignored; the spaces do not go out again"),
    "trws": (ACCEPT, "3.1.2.10 may be ignored; the spaces do not go out again"),
    "escruri": (400, "3.1.2.11 headers in the Request-URI"),
    "baddate": (ACCEPT, "3.1.2.12 not to be rejected by who does not use Date"),
    "regbadct": (400, "3.1.2.13 URI with headers not in angle brackets"),
    "badaspec": (400, "3.1.2.14 spaces in addr-spec"),
    "baddn": (400, "3.1.2.15 comma in a display name without quotes"),
    "badvers": (505, "3.1.2.16 unknown version"),
    "mismatch01": (400, "3.1.2.17 CSeq with another method"),
    "mismatch02": (501, "3.1.2.18 501 is better than 400 for an unknown method"),
    "bigcode": (SILENCE, "3.1.2.19 status over 699: drop"),
    "badbranch": (ACCEPT, "3.2.1 falls back to RFC 2543 matching"),
    "insuf": (400, "3.3.1 no Call-ID, From, To"),
    "unkscm": (416, "3.3.2 unknown scheme of the Request-URI"),
    "novelsc": (416, "3.3.3 a scheme that is never served here"),
    "unksm2": (400, "3.3.4 a registrar needs a SIP URI in To"),
    "bext01": (420, "3.3.5 Require of what is not supported, listed in Unsupported"),
    "invut": (415, "3.3.6 unknown Content-Type"),
    "regaut01": (ACCEPT, "3.3.7 unknown authorization scheme: challenged later, by whoever authorizes"),
    "multi01": (400, "3.3.8 several Call-ID, To, From, Max-Forwards, CSeq"),
    "mcl01": (400, "3.3.9 differing Content-Length"),
    "bcast": (ACCEPT, "3.3.10 well formed; its second Via matches nothing of ours"),
    "zeromf": (ACCEPT, "3.3.11 an endpoint processes it: OPTIONS is for us"),
    "cparam01": (ACCEPT, "3.3.12 a contact parameter"),
    "cparam02": (ACCEPT, "3.3.13 a URI parameter"),
    "regescrt": (ACCEPT, "3.3.14 a header in the contact URI"),
    "sdp01": (406, "3.3.15 Accept without application/sdp"),
    "inv2543": (ACCEPT, "3.4.1 RFC 2543: no branch, no tag, no Content-Length, no Max-Forwards"),
}  # fmt: skip


def load(name: str) -> bytes:
    return (DATA / f"{name}.dat").read_bytes()


def verdict(data: bytes) -> tuple[object, Message | None, list[tuple[str, str]]]:
    """What our server does, the message, and headers that go with a refusal."""
    try:
        message = parse_datagram(data)
    except BadMessage as bad:
        return (SILENCE if bad.request is None else bad.sip_status), bad.request, []
    try:
        assert message.vias
        _ = (
            message.from_.tag,
            message.to.tag,
            message.call_id,
            message.cseq,
            message.contacts,
            message.expires,
        )
    except BadMessage as bad:
        return (bad.sip_status if isinstance(message, Request) else SILENCE), message, []
    if isinstance(message, Request):
        refusal = refuse(message, methods=METHODS)
        if refusal is not None:
            return refusal[0], message, refusal[2]
    return ACCEPT, message, []


def accepted(name: str) -> Message:
    got, message, _ = verdict(load(name))
    assert got == ACCEPT
    assert message is not None
    return message


def test_the_table_has_every_file() -> None:
    """No message of the RFC is left out."""
    assert sorted(path.stem for path in DATA.glob("*.dat")) == sorted(VERDICTS)
    assert len(VERDICTS) == 49


@pytest.mark.parametrize("name", VERDICTS)
def test_each_message_gets_its_verdict(name: str) -> None:
    """RFC 4475 as a registrar and UAS answers it."""
    assert verdict(load(name))[0] == VERDICTS[name][0], VERDICTS[name][1]


@pytest.mark.parametrize("name", [name for name, (what, _) in VERDICTS.items() if isinstance(what, int)])
def test_each_refusal_can_be_sent(name: str) -> None:
    """A refused message leaves enough to build an answer that its sender can match."""
    got, request, extra = verdict(load(name))
    assert isinstance(request, Request)
    assert isinstance(got, int)
    request.stamp_source("192.0.2.77", 5099)
    answer = request.reply(got, to_tag="t", fields=extra)
    text = answer.to_bytes()
    again = text.split(b"\r\n")
    assert again[0].startswith(b"SIP/2.0 %d " % got)
    assert any(line.lower().startswith((b"via:", b"v:")) for line in again)
    if "from" in request.headers and name not in ("multi01", "scalar02", "badinv01"):
        assert parse_datagram(text).to_bytes() == text


@pytest.mark.parametrize("name", [name for name, (what, _) in VERDICTS.items() if what == ACCEPT])
def test_each_accepted_message_can_go_out_again(name: str) -> None:
    """Printing and parsing it a second time changes nothing more."""
    message = accepted(name)
    once = message.to_bytes()
    again = parse_datagram(once)
    assert again.fields[: len(message.fields)] == message.fields
    assert again.body == message.body
    assert again.to_bytes() == once


@pytest.mark.parametrize("name", VERDICTS)
def test_each_message_on_a_stream(name: str) -> None:
    """Over TCP each message is delivered, waited for, or closes the connection; nothing else is raised."""
    framer = StreamFramer(Limits())
    try:
        events = framer.feed(load(name))
    except BadMessage:
        events = []
    if name == "clerr":
        assert not events
        assert framer.pending_bytes
    elif name in ("inv2543", "ncl", "mcl01", "bigcode", "scalarlg"):
        assert not events
        assert framer.failed is not None
    elif name == "baddn":  # the file ends without its blank line
        assert not events
    elif VERDICTS[name][0] == ACCEPT:
        assert events
        assert isinstance(events[0], Message)


# ---------------------------------------------------------------- what must have been understood


def test_wsinv_is_understood() -> None:
    """3.1.1.1: every odd spelling means what it says."""
    message = accepted("wsinv")
    assert message.to.tag == "1918181833n"
    assert message.from_.display == 'J Rosenberg \\"'
    assert message.from_.tag == "98asjd8"
    assert message.max_forwards == 68
    assert (message.cseq.number, message.cseq.method) == (9, "INVITE")
    assert [(via.proto, via.host, via.branch) for via in message.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert message.get("subject") == ""
    assert message.get("newfangledheader") == "newfangled value continued newfangled value"
    assert message.get("unknownheaderwithunusualvalue") == ";;,,;;,;"
    contact = message.contacts[0]
    assert contact.display == 'Quoted string ""'
    assert contact.params == {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    assert contact.q_milli == 330


def test_intmeth_is_understood() -> None:
    """3.1.1.2: unusual characters stay where they are."""
    message = parse_datagram(load("intmeth"))
    assert isinstance(message, Request)
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.request_uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.via.branch == "z9hG4bK-.!%66*_+`'~"
    assert message.to.display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"


def test_esc01_is_unescaped_once() -> None:
    """3.1.1.3: ``%25%34%31`` is ``%41`` and never ``A``."""
    message = accepted("esc01")
    assert isinstance(message, Request)
    assert message.request_uri.user == "sips:user@example.com"
    assert message.to.uri.user == "user"
    assert message.from_.uri.user == "I have spaces"
    uri = message.contacts[0].uri
    assert uri.user == "caller"
    assert uri.params == {"lr": None, "name": "value%41"}


def test_escnull_keeps_the_nul() -> None:
    """3.1.1.4: the address of record is not cut at the NUL, and the two contacts differ."""
    message = accepted("escnull")
    assert message.to.uri.user == "null-\x00-null"
    one, two = message.contacts
    assert (one.uri.user, two.uri.user) == ("\x00", "\x00\x00")
    assert not one.uri.equals(two.uri)


def test_esc02_has_two_contacts() -> None:
    """3.1.1.5: ``C%6Fntact`` is not Contact."""
    message = parse_datagram(load("esc02"))
    assert [contact.uri_text for contact in message.contacts] == [
        "sip:alias1@host1.example.com",
        "sip:alias3@host3.example.com",
    ]
    assert message.to.display == "%Z%45"


def test_longreq_has_all_its_vias() -> None:
    """3.1.1.7: 34 Vias in every spelling, in order."""
    message = accepted("longreq")
    assert len(message.vias) == 34
    assert message.via.host == "sip33.example.com"
    assert message.vias[-1].received == "192.0.2.5"
    assert len(message.from_.tag) == 155


def test_dblreq_ends_at_its_content_length() -> None:
    """3.1.1.8: nothing of the INVITE after it is seen."""
    message = accepted("dblreq")
    assert isinstance(message, Request)
    assert message.method == "REGISTER"
    assert message.body == b""
    assert b"INVITE" not in message.to_bytes()


def test_semiuri_and_transports_and_mpart01() -> None:
    """3.1.1.9 to 3.1.1.11."""
    message = accepted("semiuri")
    assert isinstance(message, Request)
    assert message.request_uri.user == "user;par=u@example.net"
    assert [via.proto for via in accepted("transports").vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]
    body = accepted("mpart01").body
    assert b"\x00" in body
    assert body.rstrip().endswith(b"--7a9cbec02ceef655--")


def test_reason_phrases() -> None:
    """3.1.1.12, 3.1.1.13."""
    odd, empty = accepted("unreason"), accepted("noreason")
    assert isinstance(odd, Response)
    assert isinstance(empty, Response)
    assert odd.reason.startswith("= 2**3 * 5**2 \u043d\u043e")
    assert (empty.status, empty.reason) == (100, "")


@pytest.mark.parametrize("name", ["lwsstart", "trws"])
def test_spaces_of_the_request_line_do_not_go_out(name: str) -> None:
    """3.1.2.9, 3.1.2.10: liberal in, strict out."""
    first_line = accepted(name).to_bytes().split(b"\r\n")[0]
    assert first_line.count(b" ") == 2
    assert first_line.endswith(b" SIP/2.0")


def test_what_goes_with_a_refusal() -> None:
    """Allow with 501, Unsupported with 420, Accept with 415, Warning with 406."""
    expected: dict[str, tuple[str, Callable[[str], bool]]] = {
        "intmeth": ("Allow", lambda text: "INVITE" in text),
        "bext01": ("Unsupported", lambda text: text == "nothingSupportsThis, nothingSupportsThisEither"),
        "invut": ("Accept", lambda text: text == "application/sdp"),
        "sdp01": ("Warning", lambda text: text.startswith("399 ")),
    }
    for name, (header, good) in expected.items():
        fields = dict(verdict(load(name))[2])
        assert good(fields[header])


def test_contact_and_uri_parameters_are_told_apart() -> None:
    """3.3.12 to 3.3.14: what stands outside the brackets belongs to the contact, not to the URI."""
    outside = accepted("cparam01").contacts[0]
    assert outside.uri.params == {}
    assert outside.params == {"unknownparam": None}
    inside = accepted("cparam02").contacts[0]
    assert inside.uri.params == {"unknownparam": None}
    assert inside.params == {}
    assert accepted("regescrt").contacts[0].uri.headers == "Route=%3Csip:sip.example.com%3E"


def test_a_cookie_alone_is_no_branch() -> None:
    """3.2.1: such requests are told apart as RFC 2543 does, not taken for one another."""
    via = accepted("badbranch").via
    assert via.params["branch"] == "z9hG4bK"
    assert via.branch == ""


def test_inv2543_takes_the_rest_of_the_datagram() -> None:
    """3.4.1: without Content-Length the body is all that follows."""
    message = accepted("inv2543")
    assert message.body.startswith(b"v=0\r\n")
    assert message.via.branch == ""
    assert message.from_.tag == ""
