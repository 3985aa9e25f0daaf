"""Kinds of account fields: how text becomes a value, how a value is shown, what its JSON looks like.

A value is what PostgreSQL's ``jsonb_populate_record`` takes for the column: ``None``, ``bool``, ``int`` or
``str``. Money is an ``int`` of millionths; percentages and times are text.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from mizu.accounts.addresses import parse_entries
from mizu.errors import BadRequest

Value = bool | int | str | None

_YES = frozenset(("1", "yes", "true", "on", "y", "t"))
_NO = frozenset(("0", "no", "false", "off", "n", "f", ""))
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DECIMAL = re.compile(r"([+-]?)([0-9]{0,18})(?:\.([0-9]{0,40}))?\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]*\Z")
_NUMBER = re.compile(r"\+?[0-9*#]{1,32}\Z")
_PREFIX = re.compile(r"[0-9*#]{1,15}\Z")
_ITEM_ID = re.compile(r"[0-9]{1,18}\Z")
_REST = r"[^\s,\x00-\x1f\x7f\ud800-\udfff]{0,254}\Z"
_MEMBER = re.compile(rf"@?#[0-9]{{1,18}}\Z|@?[^\s,@#\x00-\x1f\x7f\ud800-\udfff]{_REST}")
_STORED = re.compile(r"g?[0-9]{1,18}\Z")
_USERNAME = re.compile(r"[^\s,\x00-\x1f\x7f\ud800-\udfff]{1,255}\Z")
MICRO = 1_000_000
LIST_MAX_ITEMS = 1000
NONE = "-"  #: an empty list, or no account, where an empty word is the default; nobody is called so


@dataclass(frozen=True, slots=True)
class Kind:
    """
    :param parse: text to value; raises ``ValueError`` with what it wants.
    :param show: value to the text that ``parse`` takes.
    :param schema: JSON schema of the value in the API, where it differs from text.
    :param listed: JSON may be a list, too.
    """

    name: str
    parse: Callable[[str], Value]
    show: Callable[[Value], str] = lambda value: "" if value is None else str(value)
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    to_json: Callable[[Value], Value] = lambda value: value
    names: Mapping[int, str] = field(default_factory=dict)  #: of the numbers of a choice
    listed: bool = False

    def name_of(self, value: object) -> str:
        """The word for a number of a choice; empty: it has none."""
        return self.names.get(value, "") if isinstance(value, int) else ""

    def accept(self, given: object) -> Value:
        """The value for JSON of the API, which may also be the text of it. :raise ValueError:"""
        if isinstance(given, bool):
            raise ValueError("text, a number or null")
        if isinstance(given, list | tuple):
            if not self.listed:
                raise ValueError("one value, not a list")
            return self.parse(",".join(map(self._word, given)))
        return self.parse(self._word(given))

    def _word(self, given: object) -> str:
        """One value of JSON as somebody would have written it."""
        if given is None:
            return ""
        if isinstance(given, float):
            return str(int(given)) if given.is_integer() else f"{Decimal(repr(given)):f}"
        if isinstance(given, str | int | Decimal) and not isinstance(given, bool):
            return str(given)
        raise ValueError("text, a number or null")


class _FlagKind(Kind):
    """JSON's true and false; null is neither."""

    __slots__ = ()

    def accept(self, given: object) -> Value:
        if given is None:
            raise ValueError("true or false")
        return given if isinstance(given, bool) else super().accept(given)


class _SecretKind(Kind):
    """
    Text, or nothing. What the API shows of a secret, true or false for whether there is one, is none; nor is
    a number, which has lost the zeros it began with.
    """

    __slots__ = ()

    def accept(self, given: object) -> Value:
        if given is not None and not isinstance(given, str):
            raise ValueError("text, or null for none; what is not given stays as it is")
        return super().accept(given)


def text(most: int = 255) -> Kind:
    """Printable text."""

    def parse(word: str) -> str:
        if len(word) > most or _UNPRINTABLE.search(word):
            raise ValueError(f"text of at most {most} characters on one line")
        return word.strip()

    return Kind("text", parse, schema={"type": "string", "maxLength": most})


def integer(least: int, most: int) -> Kind:
    """A whole number between two bounds, both included."""

    def parse(word: str) -> int:
        if not _INTEGER.match(word.strip()) or not least <= int(word) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(word)

    return Kind("integer", parse, schema={"type": "integer", "minimum": least, "maximum": most})


def optional_integer(least: int, most: int) -> Kind:
    """A whole number, or nothing."""
    inner = integer(least, most)

    def parse(word: str) -> Value:
        try:
            return inner.parse(word) if word.strip() else None
        except ValueError as wrong:
            raise ValueError(f"{wrong}, or nothing") from None

    return Kind("integer", parse, schema={**inner.schema, "type": ["integer", "null"]})


def choice(names: Mapping[int, str]) -> Kind:
    """One of the original's numbers; a name stands for its number."""
    by_name = {name: number for number, name in names.items()}

    def parse(word: str) -> int:
        word = word.strip().lower()
        if word in by_name:
            return by_name[word]
        if not _INTEGER.match(word) or int(word) not in names:
            raise ValueError("one of " + ", ".join(f"{number} {name}" for number, name in names.items()))
        return int(word)

    def show(value: Value) -> str:
        return str(value)

    return Kind("choice", parse, show, {"type": "integer", "enum": list(names)}, names=names)


def _flag(word: str) -> bool:
    word = word.strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueError("yes or no (1 or 0)")


def _places(word: str, most: int) -> int | None:
    """A decimal number in millionths; ``None``: it is none, or has more than ``most`` places."""
    found = _DECIMAL.match(word.strip())
    if not found:
        return None
    sign, whole, places = found[1], found[2], (found[3] or "").rstrip("0")
    if not whole + (found[3] or "") or len(places) > most:
        return None
    number = int(whole or "0") * MICRO + int(places.ljust(6, "0"))
    return -number if sign == "-" else number


def _money(word: str) -> int:
    micro = _places(word, 6) if word.strip() else 0
    if micro is None or abs(micro) >= 10**18:
        raise ValueError("an amount such as 12.50, at most 6 decimal places")
    return micro


def _money_text(value: Value) -> str:
    amount = Decimal(int(value or 0)) / MICRO
    shown = f"{amount:f}"
    whole, point, places = shown.partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}" if point else f"{whole}.00"


def _percent(word: str) -> str:
    micro = _places(word, 2) if word.strip() else 0
    if micro is None or not 0 <= micro <= 100 * MICRO:
        raise ValueError("a percentage from 0 to 100, at most 2 decimal places")
    return f"{micro // MICRO}.{micro % MICRO // 10_000:02}"


def _percent_text(value: Value) -> str:
    return f"{Decimal(str(value or 0)):.2f}"


def _moment(word: str) -> str | None:
    word = word.strip()
    if not word:
        return None
    try:
        at = datetime.fromisoformat(word)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):  # in UTC it would be before the year 1, or after 9999
        raise ValueError("a date or time such as 2026-12-31 or 2026-12-31T23:59:59Z, or nothing") from None
    return at.isoformat(timespec="seconds")


def _host(word: str) -> str:
    word = word.strip()
    if len(word) > 253 or not _HOST.match(word):
        raise ValueError("a domain name or an address, or nothing")
    return word


def _addresses(word: str) -> str:
    try:
        return ", ".join(entry.text for entry in parse_entries(word))
    except BadRequest as wrong:
        raise ValueError(f"addresses with commas between: {wrong}") from None


def _number(word: str) -> str:
    word = re.sub(r"[ ()./-]", "", word)
    if word and not _NUMBER.match(word):
        raise ValueError("a phone number of at most 32 digits, or nothing")
    return word


def _own_number(word: str) -> str:
    """As the table of phone numbers has it."""
    return _number(word).removeprefix("+")


def _listed(word: str, pattern: re.Pattern[str], wanted: str) -> str:
    if word.strip() == NONE:
        return ""
    items = [item.strip() for item in word.split(",") if item.strip()]
    if len(items) > LIST_MAX_ITEMS:
        raise ValueError(f"at most {LIST_MAX_ITEMS} of them")
    if "*" in items:
        if len(set(items)) > 1:
            raise ValueError(f"{wanted}; * stands alone")
        return "*"
    for item in items:
        if not pattern.match(item):
            raise ValueError(f"{wanted}; {item[:40]!r} is none")
    return ",".join(dict.fromkeys(items))


def _prefixes(word: str) -> str:
    return _listed(word, _PREFIX, "prefixes of up to 15 digits with commas between them, or *")


class Named(str):
    """Names of accounts and groups as somebody wrote them, commas between; the store puts ids there."""

    __slots__ = ()


def _members(word: str, more: str = "") -> str:
    wanted = "usernames, or # and an account id, and groups as @name, with commas between them" + more
    listed = _listed(word, _MEMBER, wanted)
    return Named(listed) if listed not in ("", "*") else listed


def _partners(word: str) -> str:
    return _members(word, ", or *")


def _ring(word: str) -> str:
    if word.strip() == "*":
        raise ValueError("usernames and groups as @name; * is not taken here")
    return _members(word)


def _shown_members(value: Value) -> str:
    """As ``set`` takes it: ``#12`` for an account, ``@#7`` for a group."""
    if isinstance(value, Named):
        return value
    items = str(value or "").split(",")
    return ",".join(
        item if not _STORED.match(item) else f"@#{item[1:]}" if item[0] == "g" else f"#{item}"
        for item in items
    )


def _currency(word: str) -> str:
    word = word.strip().upper()
    if word and not re.match(r"[A-Z]{3}\Z", word):
        raise ValueError("three letters such as EUR, or nothing")
    return word


def _account(word: str) -> str | None:
    """A username, or ``#12`` for the account of id 12; the store finds out which it is."""
    word = word.strip()
    if word in ("", NONE):
        return None
    # ``@`` stands before groups, which are no accounts. (Nobody is called so: mizu.accounts.usernames.)
    if word[0] == "@" or (word[0] == "#" and not _ITEM_ID.match(word[1:])) or not _USERNAME.match(word):
        raise ValueError("a username, or # and an account id, or nothing")
    return word


class _AccountKind(Kind):
    """A JSON number is the id of an account, text is a username or ``#12``; also in a list."""

    __slots__ = ()

    def _word(self, given: object) -> str:
        word = super()._word(given)
        return f"#{word}" if isinstance(given, int | float) else word


FLAG = _FlagKind("flag", _flag, lambda value: "1" if value else "0", {"type": "boolean"})
MONEY = Kind("money", _money, _money_text, {"type": "string", "format": "decimal"}, _money_text)
PERCENT = Kind("percent", _percent, _percent_text, {"type": "string", "format": "decimal"}, _percent_text)
MOMENT = Kind("time", _moment, schema={"type": ["string", "null"], "format": "date-time"})
HOST = Kind("host", _host)
ADDRESSES = Kind("addresses", _addresses, listed=True)
NUMBER = Kind("number", _number)
OWN_NUMBER = Kind("number", _own_number)  #: without a plus sign
PREFIXES = Kind("prefixes", _prefixes, listed=True)
PARTNERS = _AccountKind("partners", _partners, _shown_members, to_json=_shown_members, listed=True)
MEMBERS = _AccountKind("members", _ring, _shown_members, to_json=_shown_members, listed=True)
CURRENCY = Kind("currency", _currency)
ACCOUNT = _AccountKind(
    "account", _account, lambda value: f"#{value}" if value else "", {"type": ["integer", "string", "null"]}
)
SECRET = _SecretKind(
    "secret",
    text(256).parse,
    lambda value: "***" if value else "",
    {"type": "string", "writeOnly": True, "maxLength": 256},
)
