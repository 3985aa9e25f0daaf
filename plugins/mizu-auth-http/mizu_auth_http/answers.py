"""What the service says, read and checked. Pure."""

import json
from typing import Any

from mizu.model import Account, AuthAnswer, AuthQuery

LENGTHS = {"MD5": 32, "SHA-256": 64}
TEXT_MAX = 255
_HEX = frozenset("0123456789abcdef")
_OPTIONAL: dict[str, type] = {
    "enabled": bool,
    "can_dial": bool,
    "display_name": str,
    "caller_number": str,
    "trusted_identity": bool,
    "max_contacts": int,
}


class BadAnswer(ValueError):
    """The service said something that is not an answer."""


def question(query: AuthQuery) -> bytes:
    """The body that is posted: ASCII, whatever the request had in it."""
    return json.dumps(
        {
            "method": query.method,
            "username": query.username,
            "realm": query.realm,
            "source_host": query.source_host,
            "source_port": query.source_port,
            "proto": query.proto,
            "caller_number": query.caller_number,
            "called_number": query.called_number,
            "has_credentials": query.has_credentials,
        }
    ).encode("ascii")


def read_answer(status: int, body: bytes, query: AuthQuery, cache_s: float) -> AuthAnswer | None:
    """
    :param cache_s: longest time the answer may be used again.
    :return: ``None``: nobody of that name.
    :raise BadAnswer:
    """
    if status in (204, 404):
        return None
    if status != 200:
        raise BadAnswer(f"status {status}")
    try:
        said = json.loads(body)
    except ValueError as wrong:
        raise BadAnswer(f"no JSON: {wrong}") from None
    if not isinstance(said, dict):
        raise BadAnswer("no JSON object")
    account = Account(id=_number(said), username=_text(said, "username", query.username), **_fields(said))
    if query.has_credentials and account.username != query.username:
        raise BadAnswer("an answer about somebody else")
    return AuthAnswer(account, _ha1(said), min(cache_s, _cache_s(said, cache_s)))


def _number(said: dict[str, Any]) -> int:
    number = said.get("id")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 2**62:
        raise BadAnswer("id: want a positive number")
    return number


def _text(said: dict[str, Any], key: str, default: str) -> str:
    text = said.get(key, default)
    if not isinstance(text, str) or not 0 < len(text) <= TEXT_MAX or any(ord(char) < 32 for char in text):
        raise BadAnswer(f"{key}: want a text of 1 to {TEXT_MAX} characters")
    return text


def _fields(said: dict[str, Any]) -> dict[str, Any]:
    fields = {}
    for key, want in _OPTIONAL.items():
        if key not in said:
            continue
        value = said[key]
        if not isinstance(value, want) or (want is int and isinstance(value, bool)):
            raise BadAnswer(f"{key}: want {want.__name__}")
        if isinstance(value, str) and (len(value) > TEXT_MAX or any(ord(char) < 32 for char in value)):
            raise BadAnswer(f"{key}: not a text that can be used")
        fields[key] = value
    return fields


def _ha1(said: dict[str, Any]) -> dict[str, str] | None:
    if "ha1" not in said:
        raise BadAnswer("ha1 is missing; null lets in without a password")
    secrets = said["ha1"]
    if secrets is None:
        return None
    if not isinstance(secrets, dict):
        raise BadAnswer("ha1: want an object")
    for algorithm, digest in secrets.items():
        length = LENGTHS.get(algorithm)
        if length is None or not isinstance(digest, str) or len(digest) != length or set(digest) - _HEX:
            raise BadAnswer("ha1: want MD5 or SHA-256 with lower-case hexadecimal digits")
    return dict(secrets)


def _cache_s(said: dict[str, Any], default_s: float) -> float:
    value = said.get("cache_s", default_s)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise BadAnswer("cache_s: want seconds")
    return float(value)
