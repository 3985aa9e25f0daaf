"""The pieces that headers are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.sip.grammar import (
    BadMessage,
    host_text,
    params_text,
    parse_host_port,
    parse_number,
    parse_params,
    quote,
    split_list,
    unquote,
)


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ("", []),
        (" , ,", []),
        ("a", ["a"]),
        ("a, b ,c", ["a", "b", "c"]),
        ('"x, y" <sip:a>, <sip:b,c>;p="1,2"', ['"x, y" <sip:a>', '<sip:b,c>;p="1,2"']),
        (r'"a\", b" <sip:a>,b', [r'"a\", b" <sip:a>', "b"]),
        ('"never closed, b', ['"never closed, b']),
        ("<sip:a, b", ["<sip:a, b"]),
        ("a, <b", ["a", "<b"]),
    ],
)
def test_lists_split_at_commas_outside_quotes_and_brackets(value: str, elements: list[str]) -> None:
    """A comma in a name or a URI does not make two values of one."""
    assert split_list(value) == elements


@pytest.mark.parametrize("piece", ['\\"', "<", '"\\', '",', "<,"])
def test_splitting_hostile_text_is_linear(piece: str) -> None:
    """Quotes that are never closed cost one look at the text, not one each (8 KiB and 1 MiB alike)."""
    assert split_list('"' + piece * 300_000 + ",")


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        (";a", {"a": None}),
        (";Tag=Xy;lr;q=0.5", {"tag": "Xy", "lr": None, "q": "0.5"}),
        (" ; a = b ;\tc ", {"a": "b", "c": None}),
        (';a="x;y=\\"z"; b', {"a": '"x;y=\\"z"', "b": None}),
        (";received=[2001:db8::1]", {"received": "[2001:db8::1]"}),
        (";a=", {"a": ""}),
    ],
)
def test_parameters(text: str, params: dict[str, str | None]) -> None:
    """Names in lower case, values as written."""
    assert parse_params(text) == params


@pytest.mark.parametrize(
    "text", [";", ";;a", ";a;", "a", ";a=b;A=c", ';a="x', ";a=b c", ";a b", ";a=b=c", "; a; a ", ";(=1"]
)
def test_malformed_parameters(text: str) -> None:
    """Empty, repeated, unclosed, or something else."""
    with pytest.raises(BadMessage):
        parse_params(text)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9-]*", fullmatch=True),
        st.none() | st.from_regex(r"[a-zA-Z0-9.]+", fullmatch=True),
    )
)
def test_parameters_print_as_they_parse(params: dict[str, str | None]) -> None:
    """There and back."""
    assert parse_params(params_text(params)) == params


@given(st.text())
def test_quoting_keeps_text_but_line_ends(text: str) -> None:
    """What we quote comes out the same; line ends become spaces, so that no header can hide in a name."""
    quoted = quote(text)
    assert "\r" not in quoted
    assert "\n" not in quoted
    assert unquote(quoted) == text.replace("\r", " ").replace("\n", " ")


def test_numbers_have_bounds() -> None:
    """ASCII digits only, zeros in front for free."""
    assert parse_number("0" * 50 + "12", "X") == 12
    assert parse_number("4294967295", "X") == 2**32 - 1
    for text in ("4294967296", "", "-1", "1_0", " 1", "\u0661", "1" * 5000):
        with pytest.raises(BadMessage):
            parse_number(text, "X")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("example.com", "example.com", None),
        ("192.0.2.1:5060", "192.0.2.1", 5060),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1] : 5070", "2001:db8::1", 5070),
        ("host_name.example. : 1", "host_name.example.", 1),
    ],
)
def test_hosts(text: str, host: str, port: int | None) -> None:
    """Names, IPv4, IPv6 in brackets, each with a port or without."""
    assert parse_host_port(text) == (host, port)
    assert parse_host_port(host_text(host, port)) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":5060",
        "h:",
        "h:65536",
        "h:x",
        "2001:db8::1",
        "[::1",
        "[::g]",
        "[::1%eth0]",
        "[::1]x",
        "a b",
        "h@i",
        "-a",
    ],
)
def test_malformed_hosts(text: str) -> None:
    """An IPv6 address needs its brackets, a port its digits."""
    with pytest.raises(BadMessage):
        parse_host_port(text)
