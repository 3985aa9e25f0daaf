"""What the parser takes, refuses and limits; and how a stream is cut into messages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizu.config import LimitsConfig
from mizu.sip.message import Message, Request, Response
from mizu.sip.names import COMPACT
from mizu.sip.parser import PING, PONG, BadMessage, Limits, StreamFramer, parse_datagram
from mizu.sip.slowparse import parse_slowly

pytestmark = pytest.mark.usefixtures("implementation")  # compiled and in Python

BASIC = {
    "Via": "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport",
    "Max-Forwards": "70",
    "From": "<sip:a@example.com>;tag=1",
    "To": "<sip:b@example.com>",
    "Call-ID": "c1@192.0.2.1",
    "CSeq": "1 OPTIONS",
}


def text(
    *extra: str, start: str = "OPTIONS sip:b@example.com SIP/2.0", drop: str = "", end: str = "\r\n"
) -> bytes:
    """A good request with lines added or dropped."""
    lines = [start, *[f"{name}: {value}" for name, value in BASIC.items() if name != drop], *extra, "", ""]
    return end.join(lines).encode("utf-8", "surrogateescape")


def bad(data: bytes, limits: Limits | LimitsConfig | None = None) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        parse_datagram(data, limits or Limits())
    return caught.value


def request(data: bytes) -> Request:
    message = parse_datagram(data)
    assert isinstance(message, Request)
    return message


# ---------------------------------------------------------------- single values


@pytest.mark.parametrize(
    "line",
    [
        "From: <sip:x@example.com>;tag=2",
        "f: <sip:x@example.com>",
        "FROM : <sip:x@example.com>",
        "To: <sip:x@example.com>",
        "T:<sip:x@example.com>",
        "tO\t: <sip:x@example.com>",
        "Call-ID: other",
        "i: other",
        "cALL-iD: c1@192.0.2.1",
        "CSeq: 1 OPTIONS",
        "cseq: 2 OPTIONS",
        "Max-Forwards: 70",
        "CSEQ:\r\n 1 OPTIONS",
    ],
)
def test_a_second_value_is_400(line: str) -> None:
    """Two From, To, Call-ID or CSeq, however they are spelled, are refused and not chosen from."""
    problem = bad(text(line))
    assert problem.sip_status == 400
    assert problem.code == "repeated_header"
    assert problem.request is not None


@pytest.mark.parametrize("line", ["l: 1", "CONTENT-LENGTH : 4", "Content-length:\t00"])
def test_differing_content_lengths_are_400(line: str) -> None:
    """Nobody may choose where the message ends."""
    assert bad(text("Content-Length: 3", line) + b"abc").code == "bad_length"


def test_equal_content_lengths_are_let_through() -> None:
    """The same number twice leaves no doubt."""
    message = request(text("Content-Length: 3", "l: 03") + b"abcdef")
    assert message.body == b"abc"
    assert message.to_bytes().lower().count(b"content-length") + message.to_bytes().count(b"\r\nl:") == 1


@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_a_missing_header_is_400(name: str) -> None:
    """RFC 3261 8.1.1; without a Via nobody can be answered."""
    problem = bad(text(drop=name))
    assert (problem.sip_status, problem.code) == (400, "missing_header")
    assert (problem.request is None) == (name == "Via")


def test_two_values_in_one_line_are_400() -> None:
    """A comma does not smuggle a second value in."""
    assert bad(text("CSeq: 1 OPTIONS, 2 OPTIONS", drop="CSeq")).sip_status == 400
    assert bad(text("Call-ID: a, b", drop="Call-ID")).sip_status == 400
    with pytest.raises(BadMessage):
        _ = request(text("From: <sip:a@h>;tag=1, <sip:b@h>;tag=2", drop="From")).from_


# ---------------------------------------------------------------- spelling


@pytest.mark.parametrize(("letter", "key"), COMPACT.items())
def test_every_compact_form_is_its_long_name(letter: str, key: str) -> None:
    """The whole IANA table, small and capital."""
    for name in (letter, letter.upper()):
        if key in ("via", "from", "to", "call-id"):
            long_name = {"via": "Via", "from": "From", "to": "To", "call-id": "Call-ID"}[key]
            message = request(text(f"{name}: {BASIC[long_name]}", drop=long_name))
            assert message.get(key) == BASIC[long_name]
        else:
            message = request(text(f"{name}: 0"))
            assert message.get(key) == "0"


@pytest.mark.parametrize("name", ["Via ", "VIA", "via\t", "v", "V  ", "vIa"])
def test_a_name_is_known_in_any_spelling(name: str) -> None:
    """Spaces before the colon and capitals do not count; the raw name is kept without the spaces."""
    message = request(text(f"{name}: {BASIC['Via']}", drop="Via"))
    assert message.via.branch == "z9hG4bK1"
    assert name.strip() in [raw for raw, _, _ in message.fields]


def test_folding_is_one_space() -> None:
    """RFC 3261 7.3.1: a line end with spaces or tabs after it is one space."""
    message = request(text("Subject: one\r\n  two\r\n\t\tthree  \r\n "))
    assert message.get("subject") == "one two three"


def test_line_feeds_alone_end_lines_in_datagrams() -> None:
    """Bare LF, or a mixture, is understood; a body is never touched."""
    message = request(text("Content-Length: 4", end="\n") + b"a\nb\n")
    assert message.body == b"a\nb\n"
    assert request(text("Subject: x\nPriority: y")).get("priority") == "y"


def test_line_ends_before_the_message_are_dropped() -> None:
    """RFC 3261 7.5."""
    assert request(b"\r\n\r\n\n" + text()).method == "OPTIONS"


@pytest.mark.parametrize("char", ["\0", "\x07", "\x1b", "\x7f", "\r", "\x0b", "\x0c", "\x1c"])
def test_control_characters_are_400(char: str) -> None:
    """Nothing that a log, a terminal or another parser could take for a line end passes."""
    problem = bad(text(f"Subject: a{char}b"))
    assert problem.code == "control_character"


@pytest.mark.parametrize("line", ["no colon here", ": no name", "a b: c", "N\u00e4me: x", "(x): y"])
def test_a_line_that_is_no_header_is_400(line: str) -> None:
    """Not skipped: somebody else might read it differently."""
    assert bad(text(line)).code == "bad_header"


def test_bytes_that_are_not_utf8_survive() -> None:
    """Latin-1 display names pass through unharmed."""
    message = parse_datagram(text("Subject: caf\udce9"))
    assert b"Subject: caf\xe9\r\n" in message.to_bytes()


@pytest.mark.parametrize("char", ["\x85", "\u2028", "\xa0", "\u3000"])
def test_unicode_spaces_are_text(char: str) -> None:
    """Only CR, LF, space and tab mean anything."""
    assert request(text(f"Subject: {char}a{char}b{char}")).get("subject") == f"{char}a{char}b{char}"


# ---------------------------------------------------------------- start line


@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("OPTIONS sip:b@example.com SIP/3.0", 505),
        ("OPTIONS <sip:b@example.com> SIP/2.0", 400),
        ("OPTIONS sip:b@example.com x SIP/2.0", 400),
        ("OPTIONS SIP/2.0", 400),
        ("INVITE sip:b@example.com SIP/2.0", 400),
        ("WHAT sip:b@example.com SIP/2.0", 501),
    ],
)
def test_a_bad_request_line_is_answered(start: str, status: int) -> None:
    """The status that RFC 3261 and RFC 4475 name."""
    problem = bad(text(start=start))
    assert problem.sip_status == status
    assert problem.request is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"\0",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"SIP/2.0",
        b"SIP/2.0 99 x\r\n\r\n",
        b"SIP/2.0 700 x\r\n\r\n",
        b"SIP/2.0 2000 x\r\n\r\n",
        "SIP/2.0 \u0662\u0660\u0660 OK\r\n\r\n".encode(),
        b"OPTIONS sip:x SIP/2.0\r\n\r\n",
    ],
)
def test_what_is_no_request_is_met_with_silence(data: bytes) -> None:
    """No answer where nobody asked in SIP."""
    assert bad(data).request is None


def test_status_lines() -> None:
    """Lower-case version, no reason, no space after the code."""
    for start, reason in (("SIP/2.0 200 OK", "OK"), ("sip/2.0 200 ", ""), ("SIP/2.0 200", "")):
        message = parse_datagram(text(start=start))
        assert isinstance(message, Response)
        assert (message.status, message.reason, message.code) == (200, reason, 200)


# ---------------------------------------------------------------- Content-Length


def test_surplus_of_a_datagram_is_dropped() -> None:
    """RFC 3261 18.3."""
    assert request(text("Content-Length: 2") + b"abcdef").body == b"ab"


def test_without_content_length_all_of_the_datagram_is_body() -> None:
    """RFC 3261 18.3."""
    assert request(text() + b"abcdef").body == b"abcdef"


@pytest.mark.parametrize(
    "value", ["-1", "+1", "1.0", "0x1", "", "1 2", "a", "\u0663", "9" * 21, "9" * 10_000, "7"]
)
def test_a_bad_content_length_is_400(value: str) -> None:
    """Negative, huge, longer than the datagram, or digits of another script."""
    problem = bad(text(f"Content-Length: {value}", end="\r\n") + b"abcdef", Limits(line_bytes=20_000))
    assert problem.sip_status == 400
    assert problem.request is not None


# ---------------------------------------------------------------- limits


def test_limits() -> None:
    """Each limit has its answer; the same names in the configuration are taken."""
    assert bad(text(*["X: y"] * 300)).sip_status == 513
    assert bad(text("X: " + "y" * 9000)).sip_status == 513
    assert bad(text("X: " + "y" * 5000 + "\r\n " + "z" * 5000)).code == "line_too_long"
    assert bad(b"x" * 70_000).code == "too_large"
    assert bad(text("A: b"), LimitsConfig(header_lines=5)).code == "too_many_headers"
    assert Limits.of(LimitsConfig(message_bytes=7)) == Limits(message_bytes=7)


def test_seventy_vias() -> None:
    """A long way is no fault, in lines or in one line."""
    via = "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK"
    assert len(request(text(*[f"Via: {via}{i}" for i in range(70)])).vias) == 71
    joined = ",".join(f"{via}{i}" for i in range(70))
    message = request(text("v: " + joined))
    assert [each.branch for each in message.vias][-1] == "z9hG4bK69"


def test_endless_numbers_cost_nothing() -> None:
    """10,000 digits are a wrong number, not work; leading zeros are legal."""
    limits = Limits(line_bytes=20_000)
    digits = "9" * 10_000
    assert bad(text(f"CSeq: {digits} OPTIONS", drop="CSeq"), limits).code == "bad_number"
    message = parse_datagram(text(f"CSeq: {'0' * 9_999}7 OPTIONS", drop="CSeq"), limits)
    assert message.cseq.number == 7
    message = parse_datagram(text(f"Max-Forwards: {digits}", drop="Max-Forwards"), limits)
    with pytest.raises(BadMessage):
        _ = message.max_forwards
    assert parse_datagram(text(f"Expires: {digits}"), limits).expires == 3600


@pytest.mark.parametrize("digit", ["\u0661", "\u00b2", "\uff11", "\u0967"])
def test_unicode_digits_are_no_digits(digit: str) -> None:
    """``int`` would take them; SIP does not."""
    assert bad(text(f"CSeq: {digit} OPTIONS", drop="CSeq")).sip_status == 400
    with pytest.raises(BadMessage):
        _ = request(text(f"Max-Forwards: {digit}", drop="Max-Forwards")).max_forwards
    assert request(text(f"Expires: {digit}")).expires == 3600
    assert bad(text(f"Via: SIP/2.0/UDP 192.0.2.1:{digit};branch=z9hG4bK1", drop="Via")).sip_status == 400


# ---------------------------------------------------------------- what no message can do


_pieces = st.one_of(
    st.sampled_from(
        [
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b":",
            b";",
            b",",
            b"<",
            b">",
            b'"',
            b"\\",
            b"\0",
            b"%",
            b"=",
            b"@",
            b"SIP/2.0",
            b"Via: ",
            b"v: ",
            b"CSeq: 1 OPTIONS\r\n",
            b"l: 3\r\n",
            b"Content-Length: -1\r\n",
            b"[::1]",
            b"sip:",
            b"tel:+1",
            b"*",
            b"\xff",
            "\u0661".encode(),
            b"9" * 40,
            b"\r\n\r\n",
            b";tag=",
            b";rport",
        ]
    ),
    st.binary(max_size=6),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good message with pieces cut out, doubled or put in."""
    data = text("Contact: <sip:a@192.0.2.1;lr>", 'Subject: "x"', "Content-Length: 3") + b"abc"
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        end = min(end, at + draw(st.sampled_from([0, 1, 5, 60])))
        data = data[:at] + draw(st.one_of(_pieces, st.just(data[at:end] * 2))) + data[end:]
    return data


def look_at_everything(message: Message) -> None:
    """Every view, the answer, and the bytes."""
    for view in (
        "via",
        "vias",
        "from_",
        "to",
        "call_id",
        "cseq",
        "contacts",
        "max_forwards",
        "expires",
        "content_type",
        "request_uri",
        "headers",
    ):
        try:
            value = getattr(message, view, None)
            for each in value if isinstance(value, list) else [value]:
                str(each)
                if view in ("from_", "to", "contacts"):
                    str((each.uri, each.tag, each.expires_s, each.q_milli))
                if view in ("via", "vias"):
                    str((each.branch, each.received, each.rport))
        except BadMessage:
            pass
    if isinstance(message, Request):
        message.stamp_source("192.0.2.7", 5070)
        message.reply(400, to_tag="x").to_bytes()
    message.to_bytes()


@given(st.one_of(st.binary(max_size=400), mutated(), st.lists(_pieces, max_size=40).map(b"".join)))
@settings(max_examples=600, deadline=None)
def test_nothing_but_bad_message_is_raised(data: bytes) -> None:
    """Whatever arrives, parsing and looking at it ends in a message or in BadMessage."""
    try:
        look_at_everything(parse_datagram(data))
    except BadMessage as caught:
        problem = caught
    else:
        return
    assert 400 <= problem.sip_status < 600
    assert str(problem).isascii()
    assert "\n" not in str(problem)
    if problem.request is not None:
        look_at_everything(problem.request)


@given(mutated())
@settings(max_examples=400, deadline=None)
def test_the_short_way_and_the_complete_way_agree(data: bytes) -> None:
    """Being fast changes no verdict."""

    def outcome(parse: object) -> object:
        try:
            message = parse(data, Limits())  # type: ignore[operator]
        except BadMessage as problem:
            return (problem.sip_status, str(problem), problem.request is None)
        return (message.start_line(), message.fields, message.body, str(message.via), str(message.cseq))

    assert outcome(parse_datagram) == outcome(parse_slowly)


@given(
    st.lists(st.sampled_from([text("l: 0"), text("l: 2") + b"ab", b"\r\n\r\n", b"\r\n"]), max_size=6),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_a_stream_may_be_cut_anywhere(parts: list[bytes], data: st.DataObject) -> None:
    """Where the network cuts the bytes makes no difference to the messages."""
    whole = b"".join(parts)
    framer, messages, at = StreamFramer(), [], 0
    while at < len(whole):
        step = data.draw(st.integers(1, 60))
        messages += [each for each in framer.feed(whole[at : at + step]) if isinstance(each, Message)]
        at += step
    expected = [part for part in parts if part.strip()]
    assert len(messages) == len(expected)
    assert [each.body for each in messages] == [b"ab" if part.endswith(b"ab") else b"" for part in expected]


@given(mutated(), st.integers(1, 50))
@settings(max_examples=300, deadline=None)
def test_a_stream_raises_nothing_but_bad_message(data: bytes, step: int) -> None:
    """The same for connections; memory stays bounded."""
    framer = StreamFramer(Limits(message_bytes=2000))
    try:
        for at in range(0, len(data), step):
            for event in framer.feed(data[at : at + step]):
                if isinstance(event, Message):
                    look_at_everything(event)
            assert framer.pending_bytes <= 2000 + step
    except BadMessage:
        pass


# ---------------------------------------------------------------- streams


def test_messages_on_a_stream_come_when_complete() -> None:
    """Head, body and the next message in pieces."""
    framer = StreamFramer(LimitsConfig())
    data = text("Content-Length: 4") + b"abcd"
    assert framer.feed(data[:50]) == []
    assert framer.pending_bytes == 50
    assert framer.feed(data[50:-1]) == []
    assert framer.pending_bytes
    first, second = framer.feed(data[-1:] + data)
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert (first.body, second.body) == (b"abcd", b"abcd")
    assert framer.pending_bytes == 0


def test_keepalives() -> None:
    """RFC 5626 3.5.1: a double CRLF asks, a single one answers; half a ping may come later."""
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r\n") == [PING]
    assert framer.feed(b"\r\n") == [PONG]
    assert framer.feed(b"\r\n") == [PING]
    assert framer.feed(b"\r\n\r") == [PONG]
    assert framer.feed(b"\n") == [PING]
    message = text("l: 0")
    events = framer.feed(b"\r\n\r\n" + message + b"\r\n\r\n")
    assert [isinstance(event, Message) for event in events] == [False, True, False]
    assert framer.feed(b"\r\n" * 1000) == [PING]


@pytest.mark.parametrize(
    "lines", [(), ("Content-Length: -1",), ("Content-Length: x",), ("l: 1", "Content-Length: 2")]
)
def test_a_stream_without_a_sure_length_ends(lines: tuple[str, ...]) -> None:
    """RFC 3261 18.3: without a good Content-Length nobody knows where the next message begins."""
    framer = StreamFramer()
    with pytest.raises(BadMessage) as caught:
        framer.feed(text(*lines))
    assert caught.value.sip_status == 400
    assert caught.value.request is not None
    assert framer.failed is caught.value
    with pytest.raises(BadMessage):
        framer.feed(text("l: 0"))


def test_what_was_complete_before_the_fault_is_delivered() -> None:
    """A good message is not lost because a bad one followed in the same segment."""
    framer = StreamFramer()
    events = framer.feed(text("l: 0") + b"nonsense\r\n\r\n")
    assert len(events) == 1
    assert framer.failed is not None


def test_stream_limits() -> None:
    """Neither an endless head nor an announced giant body is waited for."""
    framer = StreamFramer(Limits(message_bytes=1000))
    for _ in range(10):
        framer.feed(b"x" * 100)
    with pytest.raises(BadMessage):
        framer.feed(b"x")
    with pytest.raises(BadMessage) as caught:
        StreamFramer(Limits(message_bytes=1000)).feed(text("l: 999999"))
    assert caught.value.sip_status == 513


def test_a_slow_sender_is_not_searched_again() -> None:
    """Byte by byte costs as much as all at once: what was searched is not searched again."""
    framer = StreamFramer()
    for byte in b"x" * 5000:
        framer.feed(bytes([byte]))
        assert framer._searched == framer.pending_bytes
