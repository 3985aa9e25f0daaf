"""``audit``: who changed what, and when."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from mizu.console.arguments import TEXT, Argument, integer
from mizu.console.services import AuditList, ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, moment
from mizu.model import AuditRecord

CHANGES_SHOWN = 3  #: of one entry, in the lines for people
VALUE_SHOWN_CHARACTERS = 60


def shown(record: AuditRecord) -> dict[str, Any]:
    """An entry as JSON."""
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(record).items()
    }


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    if services.audit is None:
        return ()
    own = _AuditCommands(services.audit)
    return (
        Command(
            name="audit",
            help="show who changed what, newest first",
            permission="audit.read",
            run=own.audit,
            arguments=(
                Argument("limit", integer(1, 1000), "how many", option=True, default=20),
                Argument("who", TEXT, "only of this operator", option=True, default=""),
                Argument("object", TEXT, "only about this, e.g. account:1001", option=True, default=""),
                Argument("before", integer(1, 2**53), "go on before this number", option=True),
            ),
            details="Refused attempts are here too. 'begun' means that the end is not known: the server or "
            "the database went away. Kept for 'auditkeepdays' days.",
            examples=("audit", "audit --who alice --limit 100", "audit --object option:maxresellers"),
            scoped=True,
        ),
    )


class _AuditCommands:
    def __init__(self, entries: AuditList) -> None:
        self._entries = entries

    async def audit(self, call: Invocation) -> CommandResult:
        before, limit = call.values["before"], call.number("limit")
        found = list(
            await self._entries.list(
                limit + 1,
                None if before is None else int(before),
                call.text("who"),
                call.text("object"),
                call.operator,
            )
        )
        more, entries = len(found) > limit, found[:limit]
        rows = [
            (str(one.id), moment(one.begun_at), one.who, one.source, one.outcome, one.line) for one in entries
        ]
        heads = ("ID", "WHEN (UTC)", "WHO", "FROM", "OUTCOME", "COMMAND")
        lines: list[str] = []
        table = aligned(heads, rows, right=(0,)) if rows else ["no entries"]
        lines.append(table[0])
        for row, one in zip(table[1:], entries, strict=True):
            lines.append(row)
            lines += [f"      {_told(change)}" for change in one.changes[:CHANGES_SHOWN]]
            if len(one.changes) > CHANGES_SHOWN:
                lines.append(f"      and {len(one.changes) - CHANGES_SHOWN} more")
        if more:
            lines.append(f"more: --before {entries[-1].id}")
        return CommandResult(lines, {"entries": [shown(one) for one in entries], "more": more})


def _told(change: Mapping[str, Any]) -> str:
    """``account:1001 display_name: A -> B``."""
    name = f"{change.get('topic')}:{change.get('key')}"
    before, after = change.get("before"), change.get("after")
    if not isinstance(before, Mapping):
        return f"{name} {'added' if isinstance(after, Mapping) else 'changed'}"
    if not isinstance(after, Mapping):
        return f"{name} removed"
    fields = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if not fields:  # of a secret nothing is kept but that it was changed
        return f"{name} {', '.join(after)} changed".replace("  ", " ")
    return f"{name} " + (", ".join(f"{key}: {_value(before, key)} -> {_value(after, key)}" for key in fields))


def _value(values: Mapping[str, Any], key: str) -> str:
    text = _plain(values.get(key))
    return text if len(text) <= VALUE_SHOWN_CHARACTERS else text[:VALUE_SHOWN_CHARACTERS] + "..."


def _plain(value: Any) -> str:
    """As ``set`` and ``describe`` show values."""
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(one, dict | list) for one in value):
        return ", ".join(map(_plain, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
