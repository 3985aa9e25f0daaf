"""The record of an account: its fields by name, as JSON values; to and from the columns of the table.

Money is an ``int`` of millionths, a percentage text with two places, a time ISO text in UTC. A secret field
says only whether it is set (``True``/``False``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mizu.accounts.fields import BY_NAME, FIELDS, LISTS, REFERENCES, Field
from mizu.accounts.kinds import ACCOUNT, NONE, PERCENT, SECRET, Value

Record = dict[str, Any]

_READABLE = tuple(one for one in FIELDS if one.name != "password")


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made."""

    username: str
    ha1: Mapping[str, str] = field(repr=False)  #: ``MD5``, ``SHA-256``; empty: it cannot log in
    values: Mapping[str, Value] = field(default_factory=dict, repr=False)  #: fields by name; others: defaults


class Node(NamedTuple):
    """An account in the tree of owners."""

    path: tuple[str, ...]  #: usernames from the root to itself; nodes are sorted by it
    short: dict[str, Any]  #: id, username, type, enabled, suspended, children (how many)

    @property
    def level(self) -> int:
        """Owners between it and the root, with the root."""
        return len(self.path) - 1


def record_of(row: Mapping[str, Any]) -> Record:
    """Fields by name, from the columns of a row as JSON."""
    contact = row["contact"]
    record: Record = {}
    for one in _READABLE:
        value = contact.get(one.name, one.default) if one.in_contact else row[one.stored_as]
        if one.kind is SECRET:
            value = bool(value)
        elif one.kind is PERCENT:
            value = PERCENT.show(value)
        record[one.name] = value
    record["password"] = row["has_password"]
    return record


def columns_of(values: Mapping[str, Value]) -> dict[str, Any]:
    """Columns by name, from fields; ``contact`` has the changed keys, ``None`` for what goes."""
    columns: dict[str, Any] = {}
    contact: dict[str, Any] = {}
    for name, value in values.items():
        one = BY_NAME[name]
        if one.in_contact:
            contact[name] = None if value == one.default else value
        else:
            columns[one.stored_as] = value
    if contact:
        columns["contact"] = contact
    return columns


def changed_fields(before: Record, after: Record) -> tuple[Record, Record]:
    """What differs, before and after; the fields that every change changes left out."""
    names = [name for name in after if before[name] != after[name] and name not in ("version", "changed_at")]
    return {name: before[name] for name in names}, {name: after[name] for name in names}


def secrets_given(before: Record, after: Record, names: Iterable[str]) -> list[str]:
    """Those of the fields of a change that are a secret now: no more is known of them."""
    if after["version"] == before["version"]:
        return []
    return [name for name in names if BY_NAME[name].secret and after[name]]


def given_fields(record: Record) -> Record:
    """The fields that are not at their default, for records of what was added or deleted."""
    return {
        name: value
        for name, value in record.items()
        if value != BY_NAME[name].default and name not in ("version", "changed_at", "created_at")
    }


def without_itself(values: Mapping[str, Value], itself: int | str) -> dict[str, Value]:
    """
    The values of an account that may name itself as who pays (guide 1.2): that is what nobody else means.

    :param itself: as the values name it.
    """
    payer = values.get("billing_account_id")
    return {**values, "billing_account_id": None} if payer == itself else dict(values)


def referred(records: Iterable[Record]) -> frozenset[str]:
    """What records refer to, as lists have it: ``12`` is an account, ``g7`` a group."""
    found: set[str] = set()
    for record in records:
        found.update(str(record[one.name]) for one in REFERENCES if record[one.name] is not None)
        for one in LISTS:
            found.update(record[one.name].split(","))
    return frozenset(found - {"", "*"})


def with_names(one: Field, value: Value, names: Mapping[str, str]) -> str:
    """
    The text of a value for another server, where ids mean others: names of accounts, groups as ``@name``. It
    never means more than the value: ``-`` is nothing, where an empty cell would be the default.

    :param names: of what is referred to, as :func:`referred` has it; what is not there stays an id, which no
        import takes.
    """
    if one.kind is ACCOUNT and value is not None:
        return names.get(str(value)) or f"#{value}"
    if one in LISTS and value not in ("", "*"):
        shown = zip(str(value).split(","), one.kind.show(value).split(","), strict=True)
        return ",".join(
            text if item not in names else f"@{names[item]}" if item[0] == "g" else names[item]
            for item, text in shown
        )
    text = one.kind.show(value)
    return text if text or not one.kind.show(one.default) else NONE
