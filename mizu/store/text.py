"""Text from outside, made fit for PostgreSQL, which takes neither NUL nor lone surrogates."""

import re

_UNFIT = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """The text with each NUL and each lone surrogate (a byte that was no UTF-8) as U+FFFD."""
    if text.isascii() and "\x00" not in text:
        return text
    return _UNFIT.sub("\ufffd", text)


def storable(text: str) -> bool:
    """Could this text be in the database at all?"""
    return _UNFIT.search(text) is None
