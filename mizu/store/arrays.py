"""PostgreSQL array literals of whole columns, made faster than by adapting each value.

Source: PostgreSQL manual, 8.15.6 "Array Input and Output Syntax".
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from mizu.store.text import clean


def texts(column: Sequence[str]) -> str:
    """An array of texts, cleaned of what PostgreSQL cannot keep."""
    joined = '","'.join(column)
    if joined.count('"') == 2 * (len(column) - 1) and "\\" not in joined:
        return clean('{"' + joined + '"}') if column else "{}"
    return optionals(column)


def optionals(column: Iterable[str | None]) -> str:
    """An array of texts and NULLs."""
    return clean("{" + ",".join(["NULL" if text is None else _quoted(text) for text in column]) + "}")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def values(column: Iterable[float | datetime | None]) -> str:
    """An array of numbers, times and NULLs."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in column]) + "}"
