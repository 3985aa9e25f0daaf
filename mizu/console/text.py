"""How commands show things to people: nothing unprintable, aligned columns, readable times and sizes."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

_PLAIN = re.compile(r"[\x20-\x7e]*\Z")
#: shown escaped: controls, formats (bidi overrides, zero width), line separators, surrogates, unassigned
_HIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"))


def visible(text: str) -> str:
    """
    ``text`` with everything that could move a cursor, colour a terminal or hide itself spelled out.

    ESC becomes ``\\x1b``, a line feed ``\\x0a``, a right-to-left override ``\\u202e``. Whatever
    comes from SIP passes through here before a person sees it. A backslash stays: this is for eyes.
    """
    if _PLAIN.match(text):
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if " " <= character <= "~":
        return character
    if unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, kept by surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width(text: str) -> int:
    """Columns that ``text`` takes in a terminal: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def aligned(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """
    A table as lines: heads, then rows, columns two blanks apart.

    :param right: columns (from 0) whose cells stand to the right, for numbers.
    """
    cells = [list(heads), *([visible(cell) or "-" for cell in row] for row in rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(heads))]
    to_right = frozenset(right)
    lines = []
    for row in cells:
        padded = []
        for column, cell in enumerate(row):
            space = " " * (widths[column] - width(cell))
            padded.append(space + cell if column in to_right else cell + space)
        lines.append("  ".join(padded).rstrip())
    return lines


def duration(seconds: float | None) -> str:
    """``0.4ms``, ``3.2s``, ``45s``, ``2m05s``, ``1h02m``, ``3d04h``; ``-`` for ``None``."""
    if seconds is None:
        return "-"
    if 0 < seconds < 0.0995:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count_bytes: float) -> str:
    """``512 B``, ``1.5 KiB``, ``12.0 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count_bytes < 1024:
            return f"{count_bytes:.0f} B" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.1f} TiB"


def moment(at: datetime | None) -> str:
    """Wall time in UTC to the second, ``2026-03-01 12:00:05``; ``-`` for ``None``."""
    return "-" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def plural(count: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
