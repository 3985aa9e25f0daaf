"""Text from outside, made fit for PostgreSQL, which takes neither NUL nor lone surrogates."""

import json
import re
from collections.abc import Mapping
from typing import Any

_UNFIT = re.compile("[\x00\ud800-\udfff]")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def clean(text: str) -> str:
    """The text with each NUL and each lone surrogate (a byte that was no UTF-8) as U+FFFD."""
    if text.isascii() and "\x00" not in text:
        return text
    return _UNFIT.sub("\ufffd", text)


def storable(text: str) -> bool:
    """Could this text be in the database at all?"""
    return _UNFIT.search(text) is None


def json_text(value: Any) -> str:
    """The value as JSON that PostgreSQL takes, its text cleaned."""
    text = _encode(value)
    if "\\u0000" in text:  # a NUL, or a backslash before "u0000": cannot be told apart here
        text = _encode(_without_nul(value))
    return text if text.isascii() else _UNFIT.sub("\ufffd", text)


def without_nul(json: str) -> str:
    """JSON text without NULs in its strings, which PostgreSQL does not take."""
    return json.replace("\\u0000", "\\ufffd") if "\\u0000" in json else json


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(item) for item in value]
    return value
