"""Fields of the accounts that we have at SIP servers (the original's guide, 1.4)."""

from collections.abc import Iterable

from mizu.accounts.fields import Field
from mizu.accounts.kinds import FLAG, MONEY, NUMBER, Kind, Value, integer, text
from mizu.errors import BadRequest


def _credit(word: str) -> Value:
    return MONEY.parse(word) if word.strip() else None


def _credit_text(value: Value) -> str:
    return "" if value is None else MONEY.show(value)


_CREDIT = Kind(
    "money", _credit, _credit_text, {"type": ["string", "null"], "format": "decimal"}, _credit_text
)

SIP_FIELDS: tuple[Field, ...] = (
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
)
_BY_ANY = {name.lower(): one for one in SIP_FIELDS for name in (one.name, *one.aliases)}


def sip_columns(assignments: Iterable[str]) -> dict[str, Value]:
    """Column values of words such as ``Priority=5``. :raise BadRequest: says what is known, or wanted."""
    values: dict[str, Value] = {}
    for word in assignments:
        name, _, given = word.partition("=")
        one = _BY_ANY.get(name.lower())
        if one is None:
            known = ", ".join(one.name for one in SIP_FIELDS)
            raise BadRequest(f"there is no field {name[:60]!r}; known: {known}")
        values[one.stored_as] = one.parse(given)
    return values
