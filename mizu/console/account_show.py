"""How accounts are shown: as JSON, as one line, as a page."""

from collections.abc import Iterable, Mapping
from typing import Any

from mizu.accounts.fields import BY_NAME, FIELDS, GROUPS, LISTS, Field
from mizu.accounts.kinds import Value
from mizu.accounts.records import Record, changed_fields, given_fields, secrets_given
from mizu.console.text import aligned
from mizu.model import AccountType, AuthType, Change


def shown(record: Record) -> dict[str, Any]:
    """An account as JSON: exact values, money and percentages as decimal text; type words beside numbers."""
    values = {name: json_value(name, value) for name, value in record.items()}
    return {
        **values,
        "type_name": AccountType(record["type"]).name.lower(),
        "auth_type_name": AuthType(record["auth_type"]).name.lower(),
    }


def json_value(name: str, value: Any) -> Any:
    one = BY_NAME[name]
    return value if one.secret else one.kind.to_json(value)


def text_value(one: Field, value: Any, names: Mapping[str, str] | None = None) -> str:
    """A value for people; ``names`` has the usernames of accounts that are referred to."""
    if one.secret:
        return "set" if value else ""
    if one.kind.name == "flag":
        return "yes" if value else "no"
    if one.kind.name == "account":
        return f"{(names or {}).get(str(value), '')} #{value}".strip() if value else ""
    if one in LISTS:
        return _members(str(value), one, names or {})
    if one.kind.name == "choice":
        return f"{value} {one.kind.name_of(value)}".strip()
    return one.kind.show(value)


def _members(value: str, one: Field, names: Mapping[str, str]) -> str:
    """``carrier #12, @cheap``; without names as ``set`` takes it."""
    shown = zip(value.split(","), one.kind.show(value).split(","), strict=True)
    return ", ".join(
        text if item not in names else f"@{names[item]}" if item[0] == "g" else f"{names[item]} {text}"
        for item, text in shown
    )


def page(record: Record, names: Mapping[str, str]) -> list[str]:
    """Every field of an account with its value, the original's name, and what it means."""
    lines: list[str] = []
    for group in GROUPS:
        fields = [one for one in FIELDS if one.group == group]
        rows = [
            (one.name, text_value(one, record[one.name], names), ", ".join(one.aliases), one.meaning)
            for one in fields
        ]
        lines += ["", *aligned((group.upper(), "VALUE", "ORIGINAL", "MEANING"), rows)]
    return lines[1:]


def field_list() -> list[str]:
    """Every field there is."""
    rows = [
        (one.name, ", ".join(one.aliases), one.kind.name, one.unit, text_value(one, one.default), one.meaning)
        for one in FIELDS
    ]
    return aligned(("FIELD", "ORIGINAL", "KIND", "UNIT", "DEFAULT", "MEANING"), rows)


def assignments(record: Record, fields: Iterable[Field]) -> list[str]:
    """``field=value`` lines, as ``set`` takes them."""
    return [
        f"{one.name}={text_value(one, record[one.name]) if one.secret else one.kind.show(record[one.name])}"
        for one in fields
    ]


def differences(before: Record, after: Record, given: Iterable[str] = ()) -> list[str]:
    """``field: old -> new`` lines. :param given: fields of the change, for secrets among them."""
    old, new = changed_fields(before, after)
    lines = []
    for name in new:
        was, now = (text_value(BY_NAME[name], side[name]) or "-" for side in (old, new))
        lines.append(f"{name}: {was} -> {now}")
    return lines + [f"{name}: changed" for name in secrets_given(before, after, given) if name not in new]


def change_of(before: Record | None, after: Record | None, *, secrets: Iterable[str] = ()) -> Change:
    """For the audit record: only what differs; of ``secrets`` that were changed, ``***``."""
    if before is not None and after is not None:
        old, new = changed_fields(before, after)
    else:
        old, new = given_fields(before or {}), given_fields(after or {})
    for name in secrets:
        old, new = {**old, name: "***"}, {**new, name: "*** (new)"}
    key = str((after or before or {})["username"])
    owners = {one["parent_id"] for one in (before, after) if one is not None}
    own = {before["id"]} if before is not None and after is not None else set()
    return Change(
        "account",
        key,
        _plain(old) if before is not None else None,
        _plain(new) if after is not None else None,
        tuple(sorted((owners | own) - {None})),
    )


def altered(before: Record, after: Record, *, given: Iterable[str] = ()) -> tuple[Change, ...]:
    """For the audit record: nothing when nothing was changed. :param given: as for :func:`differences`."""
    same = [name for name in secrets_given(before, after, given) if before[name] == after[name]]
    secrets = {*same, *({"password"} & {*given})}
    return (change_of(before, after, secrets=secrets),) if before != after else ()


def _plain(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: json_value(name, value) for name, value in values.items()}
