"""An untouched message goes out as it came in; and we read what Twisted's own parser reads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizu.sip.message import Request
from mizu.sip.names import COMPACT
from mizu.sip.parser import parse_datagram
from mizu.sip.uri import SipUri

NAMES = [
    "Subject",
    "X-Odd",
    "P-Asserted-Identity",
    "s",
    "k",
    "CONTACT",
    "route",
    "Record-Route",
    "m",
    "User-agent",
    "x_y",
]
_text = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x7f" + "".join(map(chr, range(32)))
    ),
    max_size=40,
)
_values = _text.map(lambda value: value.strip(" \t"))


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """A legal message with odd spacing: (as received, as it must go out, body)."""
    lines = [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx;rport=5"),
        ("f", '"x, y" <sip:a@example.com>;tag=1'),
        ("TO", "sip:b@example.com"),
        ("Call-ID", "q@x"),
        ("CSeq", "7 MESSAGE"),
        *draw(st.lists(st.tuples(st.sampled_from(NAMES), _values), max_size=6)),
    ]
    lines = draw(st.permutations(lines))
    body = draw(st.binary(max_size=60))
    received, expected = ["MESSAGE sip:b@example.com SIP/2.0"], ["MESSAGE sip:b@example.com SIP/2.0"]
    end = draw(st.sampled_from(["\r\n", "\r\n", "\n"]))
    for name, value in [*lines, ("Content-Length", str(len(body)))]:
        before = draw(st.sampled_from(["", "", " ", "\t"]))
        after = draw(st.sampled_from([" ", " ", "", "\t ", end + " "]))
        tail = draw(st.sampled_from(["", "", " "]))
        received.append(f"{name}{before}:{after}{value}{tail}")
        expected.append(f"{name}: {value}")
    return (
        end.join([*received, "", ""]).encode() + body,
        "\r\n".join([*expected, "", ""]).encode() + body,
        body,
    )


@given(messages())
@settings(max_examples=400, deadline=None)
def test_relaying_changes_only_line_ends_and_the_space_around_colons(
    message: tuple[bytes, bytes, bytes],
) -> None:
    """Names keep their spelling, values their bytes, headers their order, bodies everything."""
    received, expected, body = message
    parsed = parse_datagram(received)
    assert parsed.to_bytes() == expected
    assert parsed.body == body


@given(messages())
@settings(max_examples=100, deadline=None)
def test_parse_print_parse_is_stable(message: tuple[bytes, bytes, bytes]) -> None:
    """What we print we read again as the same, and print the same."""
    once = parse_datagram(message[0])
    again = parse_datagram(once.to_bytes())
    assert again.fields == once.fields
    assert again.to_bytes() == once.to_bytes()


@pytest.fixture(scope="module")
def stock_parse():  # type: ignore[no-untyped-def]
    """Twisted's parser; imported late because the import fixes the reactor."""
    from twisted.protocols import sip

    def parse(data: bytes):  # type: ignore[no-untyped-def]
        found = []
        parser = sip.MessagesParser(found.append)
        parser.dataReceived(data)
        parser.dataDone()
        return found

    return parse


_host = st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z][a-z0-9]{0,5}){0,2}", fullmatch=True)
_user = st.from_regex(r"[a-z0-9_.+]{1,10}", fullmatch=True)


@given(
    user=_user,
    host=_host,
    port=st.none() | st.integers(1, 65535),
    method=st.sampled_from(["INVITE", "OPTIONS", "REGISTER", "MESSAGE"]),
    extra=st.lists(
        st.tuples(
            st.sampled_from(["Subject", "s", "User-Agent", "X-Thing", "m", "k", "Route"]),
            st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1, max_size=20),
        ),
        max_size=5,
    ),
    body=st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=30),
)
@settings(max_examples=150, deadline=None)
def test_what_the_stock_parser_accepts_means_the_same_to_us(stock_parse, **case) -> None:  # type: ignore[no-untyped-def]
    """Same method, URI, header values and body as twisted.protocols.sip, for all it accepts without harm."""
    place = case["host"] if case["port"] is None else f"{case['host']}:{case['port']}"
    lines = [
        f"{case['method']} sip:{case['user']}@{place} SIP/2.0",
        f"Via: SIP/2.0/UDP {place};branch=z9hG4bKx",
        "From: <sip:a@example.com>;tag=1",
        "t: <sip:b@example.com>",
        "Call-ID: q@x",
        f"CSeq: 7 {case['method']}",
        *[f"{name}: {value}" for name, value in case["extra"]],
        f"Content-Length: {len(case['body'])}",
    ]
    data = ("\r\n".join([*lines, "", ""]) + case["body"]).encode()
    (stock,) = stock_parse(data)
    ours = parse_datagram(data)
    assert isinstance(ours, Request)
    assert ours.method == stock.method
    uri = ours.request_uri
    assert isinstance(uri, SipUri)
    assert (uri.user, uri.host, uri.port) == (stock.uri.username, stock.uri.host, stock.uri.port)
    assert ours.body.decode() == stock.body
    theirs = {COMPACT.get(key, key): values for key, values in stock.headers.items()}  # it knows nine of them
    assert dict(ours.headers) == theirs
