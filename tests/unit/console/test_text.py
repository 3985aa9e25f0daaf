"""How values are shown to people."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.console.text import aligned, duration, moment, plural, size, visible, width


@given(st.text())
def test_what_is_visible_can_do_nothing(text: str):
    """Whatever the input, no control, format, separator or surrogate character is left."""
    shown = visible(text)
    assert shown.isprintable() or all(c.isprintable() or c.isspace() for c in shown)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) <= 0xDFFF for c in shown)
    assert not {"\u202e", "\u200b", "\u2028", "\ufeff"} & set(shown)
    shown.encode()  # printable anywhere that takes UTF-8


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 水", "Zoë 水"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\r\nb\0\x7f", "a\\x0d\\x0ab\\x00\\x7f"),
        (b"\xff".decode("utf-8", "surrogateescape"), "\\xff"),
        ("\u202eevil", "\\u202eevil"),
        ("\U000e0001", "\\U000e0001"),
        ("<script>", "<script>"),
    ],
)
def test_letters_stay_and_the_rest_is_spelled_out(text: str, shown: str):
    """Names in any script are readable; what acts on a terminal is named instead."""
    assert visible(text) == shown


def test_columns_stand_under_their_heads():
    """Wide and combining characters keep the columns straight, numbers stand to the right."""
    lines = aligned(
        ("NAME", "N", "X"),
        [("水水", "5", "a"), ("e\u0301", "123", ""), ("long name", "1", "\x1b")],
        right=(1,),
    )
    assert lines == [
        "NAME         N  X",
        "水水         5  a",
        "e\u0301          123  -",
        "long name    1  \\x1b",
    ]
    assert width("水a\u0301") == 3


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0, "0.0s"),
        (0.0004, "0.4ms"),
        (3.21, "3.2s"),
        (9.99, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (125, "2m05s"),
        (3725, "1h02m"),
        (3 * 86400 + 4 * 3600, "3d04h"),
    ],
)
def test_durations(seconds: float | None, shown: str):
    """Two units at most, rounded."""
    assert duration(seconds) == shown


def test_sizes_moments_and_plurals():
    """Bytes in binary units, wall time in UTC."""
    assert [size(512), size(1536), size(5 * 2**30), size(2**41)] == ["512 B", "1.5 KiB", "5.0 GiB", "2.0 TiB"]
    assert (
        moment(datetime(2026, 3, 1, 13, 0, 5, tzinfo=timezone(timedelta(hours=1)))) == "2026-03-01 12:00:05"
    )
    assert moment(None) == "-"
    assert moment(datetime(2026, 3, 1, tzinfo=UTC)) == "2026-03-01 00:00:00"
    assert [plural(1, "call"), plural(2, "call")] == ["1 call", "2 calls"]
