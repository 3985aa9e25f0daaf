"""Fields of the accounts that we have at SIP servers (the original's guide, 1.4)."""

from collections.abc import Iterable, Mapping
from typing import Any

from mizu.accounts.field import SERVER, Field, split
from mizu.accounts.kinds import FLAG, MOMENT, MONEY, NUMBER, Kind, Value, integer, text
from mizu.errors import BadRequest


def _credit(word: str) -> Value:
    return MONEY.parse(word) if word.strip() else None


def _credit_text(value: Value) -> str:
    return "" if value is None else MONEY.show(value)


_CREDIT = Kind(
    "money", _credit, _credit_text, {"type": ["string", "null"], "format": "decimal"}, _credit_text
)

#: Every field, in the order that people see; those that the server sets are shown only.
SIP_FIELDS: tuple[Field, ...] = (
    Field("id", ("Id",), integer(1, 2**62), "its number", "sip", guide="1.4", changed_by=SERVER),
    Field(
        "sip_server",
        ("ProxyID",),
        text(255),
        "SIP server that it belongs to",
        "sip",
        guide="1.4",
        changed_by=SERVER,
    ),
    Field("username", ("Username",), text(255), "name to log in with", "sip", guide="1.4"),
    Field(
        "caller_number",
        ("CallerNumber",),
        NUMBER,
        "number we show; empty: the caller's own",
        "sip",
        "",
        guide="1.4",
    ),
    Field(
        "credit",
        ("Credit",),
        _CREDIT,
        "balance there; 0: not used; empty: not counted",
        "sip",
        guide="1.4",
        column="credit_micro",
    ),
    Field("enabled", ("Enabled",), FLAG, "0: not used", "sip", True, guide="1.4"),
    Field("failures", ("SubsFails",), integer(0, 1_000_000), "failed calls in a row", "sip", 0, guide="1.4"),
    Field(
        "priority",
        ("Priority",),
        integer(-1_000_000, 1_000_000),
        "higher is used first, equal ones in turn",
        "sip",
        0,
        guide="1.4",
    ),
    Field(
        "created_at", ("DateEntered",), MOMENT, "when it was entered", "sip", guide="1.4", changed_by=SERVER
    ),
    Field("last_used_at", ("LastUsed",), MOMENT, "last call with it", "sip", guide="1.4", changed_by=SERVER),
)
CHANGEABLE: tuple[Field, ...] = tuple(one for one in SIP_FIELDS if one.changed_by != SERVER)
_BY_ANY = {name.lower(): one for one in SIP_FIELDS for name in (one.name, *one.aliases)}


def sip_columns(assignments: Iterable[str]) -> dict[str, Value]:
    """Column values of words such as ``Priority=5``, or of JSON. :raise BadRequest: says what is known."""
    values: dict[str, Value] = {}
    for word in assignments:
        name, given = split(word)
        if name.lower() == "password":
            raise BadRequest(
                "password: 'sipaccounts passwd' changes it; on a command line others could see it"
            )
        one = _BY_ANY.get(name.lower())
        if one is None:
            known = ", ".join(one.name for one in CHANGEABLE)
            raise BadRequest(f"there is no field {name[:60]!r}; known: {known}")
        if one.changed_by == SERVER:
            raise BadRequest(f"{one.name} cannot be changed")
        values[one.stored_as] = one.accept(given)
    return values


def sip_values(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by name as JSON, of columns; a password as ``***``."""
    shown: dict[str, Any] = {}
    for column, value in columns.items():
        one = next((one for one in CHANGEABLE if one.stored_as == column), None)
        if one is None:
            shown[column] = "***"
        else:
            shown[one.name] = None if value is None else one.kind.to_json(value)
    return shown
