"""``banned``, ``ban``, ``unban``, ``delbanned``, ``whitelist ...`` and ``failures``."""

from datetime import UTC
from typing import Any

from mizu.console.arguments import DURATION, TEXT, Argument
from mizu.console.guard_services import FailureRow, GuardDesk
from mizu.console.paging import cut, more_line, page_arguments
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, duration, plural
from mizu.errors import BadRequest
from mizu.model import BanRecord, Change, TrustedAddress

REASON_MAX_CHARACTERS = 200


_TARGET = Argument(
    "target",
    TEXT,
    "address, network (192.0.2.0/24), range (192.0.2.5-192.0.2.9) or address:port",
    required=True,
)


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    """:return: none when the server has no guard."""
    if services.guard is None:
        return ()
    own = _GuardCommands(services, services.guard)
    return (
        Command(
            name="banned",
            help="list the senders that are kept out",
            permission="guard.read",
            run=own.banned,
            arguments=(
                Argument("target", TEXT, "only bans that keep out this address"),
                *page_arguments(100),
            ),
            details=(
                "A ban 'in doubt' was learned from messages whose source may be forged: it is short, and "
                "who answers a challenge comes through."
            ),
            examples=("banned", "banned 192.0.2.7"),
        ),
        Command(
            name="ban",
            help="keep an address, network, range or user agent out",
            permission="guard.write",
            run=own.ban,
            arguments=(
                _TARGET,
                Argument("duration", DURATION, "for so long; left out or 0: until 'unban'"),
                Argument("reason", TEXT, "why, for people", many=True),
            ),
            details=(
                "Messages from there are dropped unread and unanswered, on every node of this database. The "
                "white list wins over any ban."
            ),
            examples=("ban 192.0.2.7", "ban 192.0.2.0/24 1d scans us", "ban 2001:db8::/48 2h"),
            changes=True,
            emergency=True,
        ),
        Command(
            name="unban",
            help="let a sender in again, and forget what was counted about it",
            permission="guard.write",
            run=own.unban,
            arguments=(_TARGET,),
            details="For an address the bans of its ports end too. A network's ban ends only as a whole.",
            examples=("unban 192.0.2.7", "unban 192.0.2.0/24"),
            changes=True,
            emergency=True,
        ),
        Command(
            name="delbanned",
            help="let everybody in again: empty the ban list and all counts",
            permission="guard.write",
            run=own.delbanned,
            examples=("delbanned",),
            changes=True,
            emergency=True,
        ),
        Command(
            name="whitelist add",
            help="never ban nor slow down an address, network or range",
            permission="guard.write",
            run=own.trust,
            arguments=(_TARGET, Argument("note", TEXT, "why, for people", many=True)),
            examples=("whitelist add 192.0.2.1 our carrier",),
            changes=True,
            emergency=True,
        ),
        Command(
            name="whitelist del",
            help="take an entry off the white list",
            permission="guard.write",
            run=own.distrust,
            arguments=(_TARGET,),
            examples=("whitelist del 192.0.2.1",),
            changes=True,
            emergency=True,
        ),
        Command(
            name="whitelist list",
            help="list who is never banned",
            permission="guard.read",
            run=own.trusted,
            arguments=page_arguments(1000),
            examples=("whitelist list",),
        ),
        Command(
            name="failures",
            help="list what is counted now: failures of addresses, user agents and accounts",
            permission="guard.read",
            run=own.failures,
            arguments=page_arguments(100),
            examples=("failures", "failures --limit 10"),
        ),
    )


def shown(ban: BanRecord, proven: bool = True) -> dict[str, Any]:
    """A ban as JSON."""
    return {
        "target": ban.target,
        "reason": ban.reason,
        "by": ban.by,
        "begun_at": ban.begun_at.isoformat(timespec="seconds"),
        "until_at": ban.until_at.isoformat(timespec="seconds") if ban.until_at is not None else None,
        "times": ban.times,
        "in_doubt": not proven,
    }


def _words(call: Invocation, name: str) -> str:
    text = " ".join(map(str, call.many(name)))
    if len(text) > REASON_MAX_CHARACTERS:
        raise BadRequest(f"<{name}> may have {REASON_MAX_CHARACTERS} characters")
    return text


class _GuardCommands:
    def __init__(self, services: ConsoleServices, desk: GuardDesk) -> None:
        self._services = services
        self._desk = desk

    async def banned(self, call: Invocation) -> CommandResult:
        bans = sorted(self._desk.list_bans(call.text("target")), key=_begun)
        some, following = cut(bans, _begun, call.number("limit"), call.text("after"))
        now = self._services.wall()
        rows = [
            (
                ban.target,
                "-" if ban.until_at is None else duration(max(0.0, (ban.until_at - now).total_seconds())),
                str(ban.times),
                ban.by if proven else f"{ban.by}, in doubt",
                ban.reason,
            )
            for ban, proven in some
        ]
        lines = aligned(("TARGET", "ENDS IN", "TIMES", "BY", "REASON"), rows, right=(1, 2))
        lines = lines if rows else ["nobody is banned"]
        if rows:
            lines.append(f"{len(rows)} shown, {len(bans)} in all")
        result = [shown(ban, proven) for ban, proven in some]
        facts = {"bans": result, "total": len(bans), "next": following}
        return CommandResult([*lines, *more_line(following)], facts)

    async def ban(self, call: Invocation) -> CommandResult:
        given = call.values["duration"]
        target, trusted = await self._desk.ban(
            call.text("target"), given or None, _words(call, "reason"), call.operator.name
        )
        lines = [f"{target} is banned {f'for {duration(given)}' if given else 'until unban'}"]
        if trusted:
            lines.append("but it is on the white list, which wins")
        result = {"target": target, "duration_s": given or None, "trusted": trusted}
        return CommandResult(lines, result, [Change("ban", target, None, {"duration_s": given or None})])

    async def unban(self, call: Invocation) -> CommandResult:
        gone = await self._desk.unban(call.text("target"))
        lines = [f"{ban.target} is let in again" for ban in gone]
        changes = [Change("ban", ban.target, {"reason": ban.reason, "by": ban.by}, None) for ban in gone]
        return CommandResult(lines, {"ended": [shown(ban) for ban in gone]}, changes)

    async def delbanned(self, call: Invocation) -> CommandResult:
        count = await self._desk.clear()
        changes = [Change("ban", "*", {"bans": count}, None)]
        return CommandResult([f"{plural(count, 'ban')} ended"], {"bans_ended": count}, changes)

    async def trust(self, call: Invocation) -> CommandResult:
        note = _words(call, "note")
        target = await self._desk.trust(call.text("target"), note, call.operator.name)
        changes = [Change("whitelist", target, None, {"note": note})]
        return CommandResult([f"{target} is never banned from now on"], {"target": target}, changes)

    async def distrust(self, call: Invocation) -> CommandResult:
        target = await self._desk.distrust(call.text("target"))
        changes = [Change("whitelist", target, {}, None)]
        return CommandResult([f"{target} may be banned from now on"], {"target": target}, changes)

    async def trusted(self, call: Invocation) -> CommandResult:
        every = sorted(self._desk.list_trusted(), key=_entry)
        entries, following = cut(every, _entry, call.number("limit"), call.text("after"))
        rows = [
            (
                one.target,
                one.added_by or "-",
                f"{one.added_at:%Y-%m-%d %H:%M}" if one.added_at else "-",
                one.note,
            )
            for one in entries
        ]
        lines = aligned(("TARGET", "BY", "SINCE", "NOTE"), rows) if rows else ["the white list is empty"]
        result = [
            {
                "target": one.target,
                "note": one.note,
                "added_by": one.added_by,
                "added_at": one.added_at.isoformat(timespec="seconds") if one.added_at else None,
            }
            for one in entries
        ]
        return CommandResult([*lines, *more_line(following)], {"whitelist": result, "next": following})

    async def failures(self, call: Invocation) -> CommandResult:
        found = sorted(self._desk.list_failures(), key=_highest)
        some, following = cut(found, _highest, call.number("limit"), call.text("after"))
        rows = [
            (row.what, row.who, str(row.count), duration(row.left_s), "" if row.proven else "in doubt")
            for row in some
        ]
        lines = aligned(("WHAT", "WHO", "COUNT", "WINDOW ENDS IN", ""), rows, right=(2, 3))
        lines = lines if rows else ["nothing is counted now"]
        result = [
            {
                "what": row.what,
                "who": row.who,
                "count": row.count,
                "left_s": round(row.left_s, 3),
                "in_doubt": not row.proven,
            }
            for row in some
        ]
        facts = {"failures": result, "total": len(found), "next": following}
        return CommandResult([*lines, *more_line(following)], facts)


# What the lists are sorted by.


def _begun(row: tuple[BanRecord, bool]) -> tuple[str, str]:
    """The longest first."""
    return row[0].begun_at.astimezone(UTC).isoformat(timespec="microseconds"), row[0].target


def _entry(one: TrustedAddress) -> tuple[int, str]:
    """Those of the option first."""
    return int(bool(one.added_by)), one.target


def _highest(row: FailureRow) -> tuple[int, str, str]:
    """The highest counts first."""
    return -row.count, row.what, row.who
