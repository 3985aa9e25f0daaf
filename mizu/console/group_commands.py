"""``group list|add|get|set|del|join|leave|members``."""

from collections.abc import Awaitable, Sequence
from dataclasses import asdict
from typing import Any

from mizu.accounts.groups import Group, GroupKind
from mizu.console.account_services import Groups
from mizu.console.arguments import TEXT, Argument, choice, integer
from mizu.console.get_set import GetSet, account_given
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, plural
from mizu.console.versions import version_argument, version_of
from mizu.model import Change

_KINDS = {kind.name.lower(): kind for kind in GroupKind}
_NAME = Argument("name", TEXT, "the group's name", required=True)
_VERSION = version_argument("the group", "group get")
_MEMBERS = Argument(
    "members", TEXT, "usernames, or # and ids; numbers of SIM packets", required=True, many=True
)


def shown(group: Group) -> dict[str, Any]:
    """A group as JSON."""
    return {**asdict(group), "kind": int(group.kind), "kind_name": group.kind.name.lower()}


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    if services.groups is None:
        return ()
    own = _GroupCommands(services, services.groups)
    return (
        Command(
            name="group list",
            help="list groups",
            permission="accounts.read",
            run=own.list,
            arguments=(
                Argument("prefix", TEXT, "only groups whose name begins so"),
                Argument("limit", integer(1, 10_000), "how many", option=True, default=200),
                Argument("after", TEXT, "go on after this name", option=True),
            ),
            examples=("group list",),
            scoped=True,
        ),
        Command(
            name="group add",
            help="make a group",
            permission="accounts.write",
            run=own.add,
            arguments=(
                _NAME,
                Argument("kind", choice(*_KINDS), "what its members are", default="users"),
                Argument("owner", TEXT, "account whose operators manage it; left out: staff", option=True),
                Argument("note", TEXT, "what it is for", option=True),
            ),
            details="A group stands wherever routing, billing and limits take one member.",
            examples=("group add sales", "group add carriers gateways --note 'cheap ones'"),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        *own.record.commands(),
        Command(
            name="group del",
            help="delete a group; its members stay",
            permission="accounts.write",
            run=own.delete,
            arguments=(_NAME, _VERSION),
            details="Refused while an account names it in ring_group, allowed_partners or partner_priority.",
            examples=("group del sales",),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="group members",
            help="list the members of a group",
            permission="accounts.read",
            run=own.members,
            arguments=(
                _NAME,
                Argument("limit", integer(1, 10_000), "how many", option=True, default=200),
                Argument("after", TEXT, "go on after this member", option=True),
            ),
            examples=("group members sales",),
            scoped=True,
        ),
        Command(
            name="group join",
            help="put members in a group",
            permission="accounts.write",
            run=own.join,
            arguments=(_NAME, _MEMBERS, _VERSION),
            details="All or none: a name that does not exist, or is of another kind, is refused.",
            examples=("group join sales 1001 1002",),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="group leave",
            help="take members out of a group",
            permission="accounts.write",
            run=own.leave,
            arguments=(_NAME, _MEMBERS, _VERSION),
            examples=("group leave sales 1002",),
            changes=True,
            atomic=True,
            scoped=True,
        ),
    )


class _GroupCommands:
    def __init__(self, services: ConsoleServices, groups: Groups) -> None:
        self._services = services
        self._groups = groups
        self.record = GetSet(
            family="group",
            noun="group",
            item="group",
            key=_NAME,
            fields=(
                Argument("owner", TEXT, "account whose operators manage it; -: staff", option=True),
                Argument("note", TEXT, "what it is for", option=True),
            ),
            set_help="change the note of a group, or who manages it",
            set_examples=("group set sales --note 'who sells'", "group set sales --owner shop --version 3"),
            set_scoped=True,
            find=self._get,
            change=self._set,
            page=_page,
            shown=shown,
            changed=_change,
        )

    async def list(self, call: Invocation) -> CommandResult:
        limit = call.number("limit")
        found = await self._groups.list(
            call.text("prefix"), limit + 1, call.text("after"), call.operator.scope_account_id
        )
        groups = found[:limit]
        rows = [(g.name, g.kind.name.lower(), str(g.members), g.owner, g.note) for g in groups]
        lines = aligned(("GROUP", "KIND", "MEMBERS", "OWNER", "NOTE"), rows, right=(2,))
        lines = lines if rows else ["no groups"]
        if len(found) > limit:
            lines.append(f"more: --after {groups[-1].name}")
        return CommandResult(lines, {"groups": [shown(g) for g in groups], "more": len(found) > limit})

    async def add(self, call: Invocation) -> CommandResult:
        scope = call.operator.scope_account_id
        kind = _KINDS[call.text("kind")]
        group = await self._groups.add(
            call.text("name"),
            kind,
            call.text("owner"),
            call.text("note"),
            scope,
            call.note(lambda made: (_change(None, made),)),
        )
        return CommandResult([f"group {group.name} added"], {"group": shown(group)}, (_change(None, group),))

    def _get(self, call: Invocation) -> Awaitable[Group]:
        return self._groups.get(call.text("name"), call.operator.scope_account_id)

    def _set(self, call: Invocation) -> Awaitable[tuple[Group, Group]]:
        return self._groups.change(
            call.text("name"),
            account_given(call, "owner"),
            call.values["note"],
            call.operator.scope_account_id,
            version_of(call),
            call.note(lambda done: (_change(*done),) if done[0] != done[1] else ()),
        )

    async def delete(self, call: Invocation) -> CommandResult:
        noted = call.note(lambda gone: (_change(gone, None),))
        group = await self._groups.delete(
            call.text("name"), call.operator.scope_account_id, version_of(call), noted
        )
        lines = [f"group {group.name} deleted, it had {plural(group.members, 'member')}"]
        return CommandResult(lines, {"group": shown(group)}, (_change(group, None),))

    async def members(self, call: Invocation) -> CommandResult:
        name, limit = call.text("name"), call.number("limit")
        scope = call.operator.scope_account_id
        found = await self._groups.members(name, limit + 1, call.text("after"), scope)
        members = list(found[:limit])
        lines = members or ["no members"]
        if len(found) > limit:
            lines = [*lines, f"more: --after {members[-1]}"]
        return CommandResult(lines, {"group": name, "members": members, "more": len(found) > limit})

    async def join(self, call: Invocation) -> CommandResult:
        group, joined = await self._groups.join(
            call.text("name"),
            call.many("members"),
            call.operator.scope_account_id,
            version_of(call),
            call.note(lambda done: _altered(*done, joined=True)),
        )
        return self._altered(group, joined, "joined")

    async def leave(self, call: Invocation) -> CommandResult:
        group, left = await self._groups.leave(
            call.text("name"),
            call.many("members"),
            call.operator.scope_account_id,
            version_of(call),
            call.note(lambda done: _altered(*done, joined=False)),
        )
        return self._altered(group, left, "left")

    def _altered(self, group: Group, members: Sequence[str], word: str) -> CommandResult:
        for member in members:
            self._services.on_account_changed(member)
        lines = [f"{plural(len(members), 'member')} {word} {group.name}"]
        result = {"group": group.name, word: list(members), "version": group.version}
        return CommandResult(lines, result, _altered(group, members, joined=word == "joined"))


def _page(group: Group) -> tuple[str, Sequence[tuple[str, str]]]:
    return group.name, (
        ("kind", group.kind.name.lower()),
        ("members", str(group.members)),
        ("owner", group.owner),
        ("note", group.note),
        ("version", str(group.version)),
    )


def _change(before: Group | None, after: Group | None) -> Change:
    """For the audit list: only what differs."""
    old, new = (shown(one) if one is not None else {} for one in (before, after))
    if before is not None and after is not None:
        names = [name for name in new if old[name] != new[name] and name != "version"]
        old, new = ({name: side[name] for name in names} for side in (old, new))
    both = [one for one in (before, after) if one is not None]
    owners = {one.owner_id for one in both if one.owner_id is not None}
    return Change(
        "group",
        both[-1].name,
        old if before is not None else None,
        new if after is not None else None,
        tuple(owners),
    )


def _altered(group: Group, members: Sequence[str], *, joined: bool) -> tuple[Change, ...]:
    here: dict[str, list[str]] = {"members": list(members)}
    gone: dict[str, list[str]] = {"members": []}
    before, after = (gone, here) if joined else (here, gone)
    owner = (group.owner_id,) if group.owner_id is not None else ()
    return (Change("group", group.name, before, after, owner),) if members else ()
