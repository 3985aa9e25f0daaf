"""Kinds of command arguments: how a word becomes a value, and what is said when it cannot."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mizu.accounts.fields import FIELDS
from mizu.accounts.sip_fields import SIP_FIELDS
from mizu.accounts.usernames import USERNAME_MAX_CHARACTERS, WANTED, is_username
from mizu.errors import BadRequest

SECRET_MAX_CHARACTERS = 256
TEXT_MAX_CHARACTERS = 1024
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\Z")
_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)?\Z")
_DURATION_UNIT_S = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of argument: ``convert`` makes the value, or raises ``ValueError`` with what it wants."""

    name: str  #: in help and in ``help --json``; ``secret`` values are never logged, kept or shown
    convert: Callable[[str], Any]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"}, compare=False)
    """How the API writes it: JSON Schema."""


def _text(word: str) -> str:
    if len(word) > TEXT_MAX_CHARACTERS:
        raise ValueError(f"at most {TEXT_MAX_CHARACTERS} characters")
    if any(ord(c) < 32 or ord(c) == 127 for c in word):
        raise ValueError("no control characters")
    return word


def _account(word: str) -> str:
    if not is_username(word):
        raise ValueError(WANTED)
    return word


def _assignment(word: str) -> str:
    name, equals, _ = word.partition("=")
    if not equals or not _FIELD.match(name):
        raise ValueError("field=value")
    return _text(word)


def _secret(word: str) -> str:
    if not word or len(word) > SECRET_MAX_CHARACTERS:
        raise ValueError(f"1 to {SECRET_MAX_CHARACTERS} characters")
    if any(ord(c) < 32 or ord(c) == 127 for c in word):
        raise ValueError("no control characters")
    try:
        word.encode()
    except UnicodeEncodeError:
        raise ValueError("valid UTF-8") from None
    return word


def _duration(word: str) -> float:
    found = _DURATION.match(word)
    if not found:
        raise ValueError("a duration such as 30s, 10m, 2h or 1d")
    return int(found[1]) * _DURATION_UNIT_S[found[2]]


def integer(low: int, high: int) -> Kind:
    """Whole numbers between two bounds, both included."""

    def convert(word: str) -> int:
        if not re.match(r"-?[0-9]{1,18}\Z", word) or not low <= int(word) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(word)

    return Kind("int", convert, {"type": "integer", "minimum": low, "maximum": high})


def choice(*words: str) -> Kind:
    """One of the words, spelled out."""

    def convert(word: str) -> str:
        if word not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return word

    return Kind("choice:" + "|".join(words), convert, {"type": "string", "enum": list(words)})


TEXT = Kind("text", _text, {"type": "string", "maxLength": TEXT_MAX_CHARACTERS})
ACCOUNT = Kind(
    "account", _account, {"type": "string", "minLength": 1, "maxLength": USERNAME_MAX_CHARACTERS}
)  #: a username that a new account may have
SECRET = Kind("secret", _secret, {"type": "string", "format": "password", "maxLength": SECRET_MAX_CHARACTERS})
DURATION = Kind(  #: seconds, float
    "duration",
    _duration,
    {
        "oneOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9]{1,9}(ms|s|m|h|d)?$"},
        ]
    },
)
FLAG = Kind("flag", bool, {"type": "boolean"})  #: an option without a value
ASSIGNMENT = Kind("field=value", _assignment)  #: a field and its new value, ``name=value``
#: Fields whose values are logged, in small letters. What is none of them may be a secret under a wrong name.
PUBLIC_FIELDS = frozenset(
    name.lower() for one in (*FIELDS, *SIP_FIELDS) if not one.secret for name in (one.name, *one.aliases)
)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command, by place or, with ``option``, as ``--name VALUE``."""

    name: str
    kind: Kind
    help: str
    option: bool = False
    required: bool = False
    default: Any = None
    many: bool = False  #: the last argument by place may take every word that is left; its value is a list
    null: str | None = None  #: the word that ``null`` means in JSON; ``None``: as if it was left out

    @property
    def secret(self) -> bool:
        return self.kind is SECRET

    def shown(self) -> str:
        """As in a usage line: ``<name>``, ``[name]``, ``[--limit N]``, ``[--all]``."""
        what = f"--{self.name} {self._value_name()}".rstrip() if self.option else self._place_name()
        if not self.required:
            what = f"[{what}]"
        elif not self.option:
            what = f"<{what}>"
        return f"{what} ..." if self.many else what

    def spoken(self, value: Any) -> str:
        """The value as typed, for logs; what is secret is ``***``."""
        if self.secret:
            return "***"
        if self.kind is ASSIGNMENT:
            name, equals, _ = str(value).partition("=")
            if name.lower() not in PUBLIC_FIELDS:
                value = f"{name}{equals}***"
        return shlex.quote(str(value))

    def convert(self, word: str, called: str = "") -> Any:
        """
        :param called: its name where the word comes from; empty: the console's.
        :raise BadRequest: says which argument and what it wants; never repeats a secret.
        """
        try:
            return self.kind.convert(word)
        except ValueError as wrong:
            shown = word.partition("=")[0] if self.kind is ASSIGNMENT else word
            got = "" if self.secret else f", got {shown[:80]!r}"
            name = called or (f"--{self.name}" if self.option else f"<{self.name}>")
            raise BadRequest(f"{name}: want {wrong}{got}") from None

    def described(self) -> dict[str, Any]:
        """For clients that complete and ask: JSON."""
        return {
            "name": self.name,
            "kind": self.kind.name,
            "option": self.option,
            "required": self.required,
            "many": self.many,
            "default": self.default,
            "help": self.help,
        }

    def _place_name(self) -> str:
        return self.kind.name.removeprefix("choice:") if self.kind.name.startswith("choice:") else self.name

    def _value_name(self) -> str:
        if self.kind is FLAG:
            return ""
        return {"int": "N", "duration": "TIME"}.get(self.kind.name, self.name.upper().replace("-", "_"))
