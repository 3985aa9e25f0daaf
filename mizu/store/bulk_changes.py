"""What lines of an import made and changed, as the audit list has it."""

from collections.abc import Mapping
from typing import Any

from mizu.accounts.bulk import ImportLine
from mizu.accounts.fields import BY_NAME, LISTS, REFERENCES
from mizu.accounts.kinds import Value
from mizu.accounts.records import Record, changed_fields, secrets_given
from mizu.model import Change


def made_of(line: ImportLine, row: Mapping[str, Any]) -> Change:
    """An account that was made: what the line says of it."""
    values = {
        name: row.get(name) if BY_NAME[name] in (*REFERENCES, *LISTS) else one
        for name, one in line.values.items()
    }
    owner = row.get("parent_id")
    after = _plain(values, password=bool(line.password))
    return Change("account", line.username, None, after, (owner,) if owner is not None else ())


def change_of(line: ImportLine, before: Record, after: Record) -> Change:
    """What differs since the line; of secrets, that they are new."""
    old, new = changed_fields(before, after)
    concerns = {before["id"], before["parent_id"], after["parent_id"]} - {None}
    secrets = dict.fromkeys(secrets_given(before, after, line.values))
    password = bool(line.password)
    return Change(
        "account",
        line.username,
        _plain({**old, **secrets}, password=password),
        _plain({**new, **secrets}, password=password, new=" (new)"),
        tuple(concerns),
    )


def _plain(values: Mapping[str, Value], *, password: bool, new: str = "") -> dict[str, Any]:
    plain = {
        name: f"***{new}" if BY_NAME[name].secret else BY_NAME[name].kind.to_json(value)
        for name, value in values.items()
    }
    return {**plain, "password": f"***{new}"} if password else plain
