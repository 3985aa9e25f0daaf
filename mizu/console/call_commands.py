"""``calls``, ``drop``, ``cdrs``."""

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from mizu.console.arguments import TEXT, Argument, integer
from mizu.console.paging import cut, more_line, page_arguments
from mizu.console.services import ConsoleServices, LiveCall
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, duration, moment, plural
from mizu.errors import BadRequest, Conflict, NotFound
from mizu.model import Cdr, Change, Operator

ID_SHOWN_CHARACTERS = 12
_WHOLE_ID = re.compile(r"[0-9a-f]{32}\Z")
ID_LEAST_CHARACTERS = 8  #: so much of a call id is enough, when only one call has it


def shown(record: Cdr | LiveCall) -> dict[str, Any]:
    """A call as JSON, times in ISO 8601 UTC, durations in seconds."""
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(record).items()
    }


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    own = _CallCommands(services)
    return (
        Command(
            name="calls",
            help="list the calls in progress",
            permission="calls.read",
            run=own.calls,
            arguments=page_arguments(200),
            details="Operators who are limited to some accounts see the calls from and to these, and of the "
            "other party its number.",
            examples=("calls",),
            scoped=True,
        ),
        Command(
            name="drop",
            help="end a call on both sides",
            permission="calls.drop",
            run=own.drop,
            arguments=(
                Argument("id", TEXT, f"its id, or the first {ID_LEAST_CHARACTERS} or more", required=True),
            ),
            examples=("drop 5f0c1d2e9a77",),
            changes=True,
            emergency=True,
            scoped=True,
        ),
        Command(
            name="cdrs",
            help="list the latest call records, newest first",
            permission="calls.read",
            run=own.cdrs,
            arguments=(
                Argument("limit", integer(1, 10_000), "how many", option=True, default=20),
                Argument("before", TEXT, "go on before this call id (whole)", option=True),
            ),
            details="Failed calls are here too. 'mizu --json cdrs' has every field. Operators who are "
            "limited to some accounts see the calls from and to these, and of the other party its number.",
            examples=("cdrs", "cdrs --limit 100"),
            scoped=True,
        ),
    )


class _CallCommands:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services

    async def calls(self, call: Invocation) -> CommandResult:
        every = sorted(await self._seen(call.operator), key=_age)
        some, following = cut(every, _age, call.number("limit"), call.text("after"))
        rows = [
            (
                c.call_id[:ID_SHOWN_CHARACTERS],
                c.state,
                c.caller or c.caller_number,
                c.called_number,
                c.callee or c.route,
                duration(c.age_s),
                duration(c.talk_s) if c.talk_s else "-",
                c.caller_address,
            )
            for c in some
        ]
        heads = ("ID", "STATE", "CALLER", "CALLED", "TO", "AGE", "TALK", "FROM ADDRESS")
        lines = aligned(heads, rows, right=(5, 6)) if rows else []
        if len(every) > len(some):
            lines.append(f"{len(some)} shown")
        lines += [f"{plural(len(every), 'call')} in progress", *more_line(following)]
        calls = [shown(c) for c in some]
        return CommandResult(lines, {"calls": calls, "total": len(every), "next": following})

    async def drop(self, call: Invocation) -> CommandResult:
        call_id = _call_id(call.text("id"), await self._seen(call.operator))
        every = self._services.calls.list()
        parties = {name for one in every if one.call_id == call_id for name in (one.caller, one.callee)}
        if not self._services.calls.drop(call_id, call.operator.name):
            raise NotFound(f"call {call_id} is over already")
        change = Change("call", call_id, {"state": "in progress"}, None, tuple(sorted(parties - {""})))
        return CommandResult([f"call {call_id[:ID_SHOWN_CHARACTERS]} ended"], {"call_id": call_id}, (change,))

    async def _seen(self, operator: Operator) -> Sequence[LiveCall]:
        """The calls in progress that the operator sees, as far as they see them."""
        every = self._services.calls.list()
        scope = operator.scope_account_id
        if scope is None:
            return every
        names = {name for one in every for name in (one.caller, one.callee) if name}
        seen = await self._services.records.seen(names, scope)
        return [_within(one, seen) for one in every if one.caller in seen or one.callee in seen]

    async def cdrs(self, call: Invocation) -> CommandResult:
        limit, before = call.number("limit"), call.text("before")
        if before and not _WHOLE_ID.match(before):
            raise BadRequest(f"before: want the whole id of a call, 32 hex digits, got {before[:60]!r}")
        found = await self._services.cdrs.recent(limit + 1, before, call.operator.scope_account_id)
        more, records = len(found) > limit, found[:limit]
        rows = [
            (
                moment(r.setup_at),
                r.call_id[:ID_SHOWN_CHARACTERS],
                r.caller or r.caller_number,
                r.called_number,
                r.callee or r.route,
                r.state if r.state != "ended" else r.cause,
                str(r.sip_status) if r.sip_status else "-",
                duration(r.talk_s) if r.talk_s else "-",
                r.ended_by,
            )
            for r in records
        ]
        heads = ("SETUP (UTC)", "ID", "CALLER", "CALLED", "TO", "OUTCOME", "SIP", "TALK", "ENDED BY")
        lines = aligned(heads, rows, right=(6, 7)) if rows else ["no call records"]
        if more:
            lines.append(f"more: --before {records[-1].call_id}")
        return CommandResult(lines, {"cdrs": [shown(r) for r in records], "more": more})


def _age(call: LiveCall) -> tuple[str, str]:
    """Oldest first."""
    return call.setup_at.astimezone(UTC).isoformat(timespec="microseconds"), call.call_id


def _within(call: LiveCall, seen: Collection[str]) -> LiveCall:
    """Without what an operator may not know of the other party: whose it is, where it is, by what carrier."""
    if call.caller not in seen:
        call = replace(call, caller="", caller_address="")
    if call.callee not in seen:
        call = replace(call, callee="", callee_address="", route="")
    return call


def _call_id(start: str, calls: Sequence[LiveCall]) -> str:
    """The call whose id begins so. :raise BadRequest: too short. :raise NotFound: :raise Conflict: many."""
    if len(start) < ID_LEAST_CHARACTERS:
        raise BadRequest(f"give at least {ID_LEAST_CHARACTERS} characters of the call id")
    found = [c.call_id for c in calls if c.call_id.startswith(start)]
    if start in found:
        return start
    if len(found) > 1:
        raise Conflict(f"{len(found)} calls begin with {start}; give more of the id")
    if not found:
        raise NotFound(f"no call {start} is in progress; 'calls' lists them")
    return found[0]
