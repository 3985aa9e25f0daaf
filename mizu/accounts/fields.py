"""Every field of an account: the single source for checks, ``describe``, import and export, API and docs.

Names and meanings are ours, aliases are the original's (its guide, chapter 1), in any case of letters. Where
the original keeps a number for a choice, we keep the number.
"""

import difflib
from collections.abc import Iterable, Mapping

from mizu.accounts.call_fields import billing_fields, calls_fields, trunk_fields
from mizu.accounts.field import OWNER, SELF, SERVER, STAFF, Field, split
from mizu.accounts.kinds import ACCOUNT, MEMBERS, PARTNERS, Value
from mizu.accounts.party_fields import (
    authorization_fields,
    contact_fields,
    identity_fields,
    numbers_fields,
)
from mizu.errors import BadRequest

__all__ = [
    "BY_NAME",
    "FIELDS",
    "GROUPS",
    "LISTS",
    "OWNER",
    "REFERENCES",
    "SELF",
    "SERVER",
    "STAFF",
    "Field",
    "field_of",
    "parsed",
]

FIELDS: tuple[Field, ...] = (
    *identity_fields(),
    *authorization_fields(),
    *numbers_fields(),
    *calls_fields(),
    *trunk_fields(),
    *billing_fields(),
    *contact_fields(),
)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(field.group for field in FIELDS))
BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}
_BY_ANY: Mapping[str, Field] = {
    **{alias.lower(): field for field in FIELDS for alias in field.aliases},
    **{field.name: field for field in FIELDS},
}
#: Columns that hold the id of another account.
REFERENCES: tuple[Field, ...] = tuple(field for field in FIELDS if field.kind is ACCOUNT)
#: Columns that hold a list of ids: ``12`` of an account, ``g7`` of a group.
LISTS: tuple[Field, ...] = tuple(field for field in FIELDS if field.kind in (PARTNERS, MEMBERS))


def field_of(name: str) -> Field:
    """The field of that name or alias, in any case of letters. :raise BadRequest: says the nearest."""
    found = _BY_ANY.get(name) or _BY_ANY.get(name.lower())
    if found is not None:
        return found
    near = difflib.get_close_matches(name.lower(), _BY_ANY, n=1)
    hint = f"; did you mean {_BY_ANY[near[0]].name}?" if near else "; 'describe' without a name lists them"
    raise BadRequest(f"there is no field {name[:60]!r}{hint}")


def parsed(assignments: Iterable[str]) -> dict[str, Value]:
    """
    Values by field name of words such as ``max_channels=30`` or ``CanDial=1``, or of JSON (``FromJson``).

    :raise BadRequest: an unknown field, a value it does not take, a field twice.
    """
    values: dict[str, Value] = {}
    for word in assignments:
        name, given = split(word)
        field = field_of(name)
        if field.name in values:
            raise BadRequest(f"{field.name} is there twice")
        values[field.name] = field.accept(given)
    return values
