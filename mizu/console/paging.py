"""Pages of lists that are not ordered by a name: where the next one begins is a text of ours.

As with lists by name (``--after NAME``), a page begins after the last thing of the one before it, whatever
was added or went away meanwhile: what is there all the time is shown once.
"""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mizu.console.arguments import Argument, Kind, integer
from mizu.errors import BadRequest

T = TypeVar("T")
Key = tuple[str | int | float, ...]

LIMIT_MAX = 10_000
CURSOR_MAX_CHARACTERS = 8000  #: the path of a deep tree is long


def _cursor(word: str) -> str:
    if len(word) > CURSOR_MAX_CHARACTERS or not word.isprintable():
        raise ValueError("what the page before ended with")
    return word


AFTER = Kind("text", _cursor, {"type": "string", "maxLength": CURSOR_MAX_CHARACTERS})


def page_arguments(limit: int) -> tuple[Argument, Argument]:
    """``--limit`` and ``--after`` of a list that is cut by :func:`cut`."""
    return (
        Argument("limit", integer(1, LIMIT_MAX), "how many", option=True, default=limit),
        Argument("after", AFTER, "go on there: what the last page ended with", option=True),
    )


def cut(items: Sequence[T], key: Callable[[T], Key], limit: int, after: str) -> tuple[list[T], str | None]:
    """
    One page.

    :param key: what the items are sorted by; no two have the same.
    :param after: of the page before; empty: from the beginning.
    :return: the page, and what the next one goes on after; ``None``: it was the last.
    :raise BadRequest: ``after`` is not what a page ended with.
    """
    rest = list(items)
    if after:
        start = place(after)
        try:
            rest = [item for item in rest if key(item) > start]
        except TypeError:
            raise _wrong() from None
    some = rest[:limit]
    return some, cursor(key(some[-1])) if len(rest) > limit else None


def cursor(key: Key) -> str:
    """The text of a place."""
    text = json.dumps(list(key), ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii").rstrip("=")


def place(after: str) -> Key:
    """The place that a text means. :raise BadRequest:"""
    try:
        if len(after) > CURSOR_MAX_CHARACTERS:
            raise ValueError
        text = base64.b64decode(after + "=" * (-len(after) % 4), b"-_", validate=True)
        found: Any = json.loads(text.decode("utf-8", "surrogatepass"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _wrong() from None
    known = isinstance(found, list) and all(type(one) in (str, int, float) for one in found)
    if not known:
        raise _wrong()
    return tuple(found)


def more_line(following: str | None) -> list[str]:
    """For people: how to see the next page; nothing when there is none."""
    return [f"more: --after {following}"] if following is not None else []


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN is no place


def _wrong() -> BadRequest:
    return BadRequest("--after: want what the page before ended with")
