"""``describe``, ``get``, ``set``, ``move``, ``tree``."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from mizu.accounts.addresses import FurtherAddress
from mizu.accounts.fields import FIELDS, field_of
from mizu.accounts.kinds import Value
from mizu.accounts.proofs import FIELDS as PROOFS
from mizu.accounts.records import Record, referred
from mizu.accounts.ties import remaining
from mizu.console.account_commands import ACCOUNT_VERSION, USER, assigned
from mizu.console.account_show import (
    altered,
    assignments,
    differences,
    field_list,
    json_value,
    page,
    shown,
)
from mizu.console.address_commands import short, warnings_of
from mizu.console.address_commands import shown as address_shown
from mizu.console.arguments import ASSIGNMENT, TEXT, Argument, integer
from mizu.console.company import company_warnings
from mizu.console.paging import cursor, more_line, page_arguments, place
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import plural
from mizu.console.versions import version_of
from mizu.errors import MizuError
from mizu.model import AccountType, Binding, Operator, OperatorToken

ADDRESSES_SHOWN = 20  #: of the further addresses, in ``describe`` for people
TOKENS_SHOWN = 20  #: of an account, after it moved
NUMBERS_SHOWN = 100  #: of the allocated phone numbers, in ``describe``


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    own = _FieldCommands(services)
    return (
        Command(
            name="describe",
            help="everything about an account, or about the fields of accounts",
            permission="accounts.read",
            run=own.describe,
            arguments=(Argument("user", TEXT, "left out: the fields that accounts have"),),
            examples=("describe 1001", "describe"),
            scoped=True,
        ),
        Command(
            name="get",
            help="fields of an account, as 'set' takes them",
            permission="accounts.read",
            run=own.get,
            arguments=(USER, Argument("fields", TEXT, "names of fields; left out: all", many=True)),
            examples=("get 1001", "get 1001 max_channels CanDial"),
            scoped=True,
        ),
        Command(
            name="set",
            help="change fields of an account",
            permission="accounts.write",
            run=own.set,
            arguments=(
                USER,
                Argument("fields", ASSIGNMENT, "fields and their new values", required=True, many=True),
                ACCOUNT_VERSION,
            ),
            details="Names are those of 'describe', or the original's. An empty value is the empty text, "
            "or none. With --version nothing is changed when somebody else changed the account meanwhile.",
            examples=("set 1001 max_channels=2 display_name='Front desk'", "set 1001 CanDial=0"),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="move",
            help="give an account, with everything below it, to another owner",
            permission="accounts.write",
            run=own.move,
            arguments=(
                USER,
                Argument("parent", TEXT, "the new owner, or - for none", required=True, null="-"),
                ACCOUNT_VERSION,
            ),
            details="Refused when it would make a circle, or more levels than the option maxresellers, and "
            "when an account would pay for one of somebody else, or be its company.",
            examples=("move 1001 -",),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="tree",
            help="who owns whom",
            permission="accounts.read",
            run=own.tree,
            arguments=(
                Argument("user", TEXT, "only this account and what is below it"),
                Argument("levels", integer(0, 100), "how deep", option=True, default=100),
                *page_arguments(500),
            ),
            examples=("tree", "tree 1001 --levels 1"),
            scoped=True,
        ),
    )


def _online(contacts: Sequence[Binding]) -> str:
    if not contacts:
        return "no, offline"
    until = datetime.fromtimestamp(max(one.expires_at_s for one in contacts), UTC)
    return f"yes, online with {plural(len(contacts), 'contact')} until {until.isoformat(timespec='seconds')}"


def _also_from(addresses: Sequence[FurtherAddress]) -> list[str]:
    """A line when there are any; the rest of a long list is for ``addresses list``."""
    if not addresses:
        return []
    more = len(addresses) - ADDRESSES_SHOWN
    text = ", ".join(short(one) for one in addresses[:ADDRESSES_SHOWN])
    return [f"sends also from: {text}{f' and {more} more' if more > 0 else ''}"]


def _numbers(numbers: Sequence[str]) -> list[str]:
    """A line when there are any; the rest of a long list is for ``numbers list``."""
    if not numbers:
        return []
    more = " and more" if len(numbers) > NUMBERS_SHOWN else ""
    return [f"allocated phone numbers: {', '.join(numbers[:NUMBERS_SHOWN])}{more}"]


def _tokens(username: str, ids: Sequence[int]) -> list[str]:
    """A sentence when there are any: who has one may be of the owner before."""
    if not ids:
        return []
    many = len(ids) > 1
    what = f"{len(ids)} tokens that go" if many else "a token that goes"
    numbers = ", ".join(map(str, ids))
    return [f"{username} has {what} on to count ({numbers}); 'tokens revoke' ends {'them' if many else 'it'}"]


class ChannelLimit(NamedTuple):
    """A limit of calls at a time, and how much of it is used, on all nodes."""

    username: str
    own: bool  #: of the account itself; otherwise of an owner
    in_use: int
    max_channels: int


def _channels(limits: Sequence[ChannelLimit]) -> list[str]:
    """Lines when there are limits: the account's own, and that of an owner which is reached first."""
    lines = [
        f"channels in use: {one.in_use} of {plural(one.max_channels, 'call')}, with everything below"
        for one in limits
        if one.own
    ]
    above = [one for one in limits if not one.own]
    if above:
        one = min(above, key=lambda one: one.max_channels - one.in_use)
        calls = plural(one.max_channels, "call")
        lines.append(f"nearest limit of an owner: {one.username}, {one.in_use} of {calls} in use")
    return lines


class _FieldCommands:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services
        self._records = services.records

    async def describe(self, call: Invocation) -> CommandResult:
        if not call.text("user"):
            return CommandResult(field_list(), {"fields": [one.described() for one in FIELDS]})
        scope = call.operator.scope_account_id
        chain = await self._records.chain(call.text("user"), scope)
        record = chain[0]
        names = await self._records.names(referred([record]), scope)
        groups = list(await self._records.groups(record["id"], scope))
        owners = [one["username"] for one in chain[1:]]
        stopped = stopped_by(chain)
        addresses = await self._addresses(record["username"], scope)
        numbers = await self._numbers(record["username"], scope)
        contacts = self._services.registrations.of(record["username"])
        limits = await self._limits(chain)
        lines = [
            f"account {record['username']}, #{record['id']}, version {record['version']}",
            f"owners, nearest first: {', '.join(owners) or 'none'}",
            f"groups: {', '.join(groups) or 'none'}",
            *_numbers(numbers),
            *_also_from(addresses),
            f"may be used: {'no, ' + stopped if stopped else 'yes'}",
            f"registered here: {_online(contacts)}",
            *_channels(limits),
            "",
            *page(record, names),
        ]
        result = {"user": shown(record), "owners": owners, "groups": groups, "stopped_by": stopped}
        online = {"online": bool(contacts), "contacts": [one.contact for one in contacts]}
        further = {"addresses": [address_shown(one) for one in addresses]}
        allocated = {"numbers": numbers[:NUMBERS_SHOWN], "more_numbers": len(numbers) > NUMBERS_SHOWN}
        channels = {"channels": [one._asdict() for one in limits]}
        return CommandResult(lines, {**result, **online, **further, **allocated, **channels})

    async def _limits(self, chain: Sequence[Record]) -> list[ChannelLimit]:
        """Those that calls of an account are held to, as far up as the operator sees."""
        limited = [one for one in chain if one["max_channels"]]
        in_use = await self._records.channels([one["id"] for one in limited])
        return [
            ChannelLimit(one["username"], one is chain[0], in_use.get(one["id"], 0), one["max_channels"])
            for one in limited
        ]

    async def _numbers(self, username: str, scope: int | None) -> list[str]:
        """Of those allocated to it, one more than are shown."""
        if self._services.numbers is None:
            return []
        found = await self._services.numbers.list(
            "", NUMBERS_SHOWN + 1, "", scope, free=False, account=username
        )
        return [one.number for one in found]

    async def _addresses(self, username: str, scope: int | None) -> Sequence[FurtherAddress]:
        if self._services.addresses is None:
            return ()
        return (await self._services.addresses.list(username, scope))[1]

    async def get(self, call: Invocation) -> CommandResult:
        record = await self._records.get(call.text("user"), call.operator.scope_account_id)
        wanted = [field_of(name) for name in call.many("fields")] or FIELDS
        values = {one.name: json_value(one.name, record[one.name]) for one in wanted}
        return CommandResult(
            assignments(record, wanted),
            {"username": record["username"], "version": record["version"], "fields": values},
        )

    async def set(self, call: Invocation) -> CommandResult:
        return await self._change(call, assigned(call))

    async def move(self, call: Invocation) -> CommandResult:
        parent = call.text("parent")
        return await self._change(call, {"parent_id": parent if parent not in ("-", "") else None})

    async def _change(self, call: Invocation, values: dict[str, Value]) -> CommandResult:
        version = version_of(call)
        noted = call.note(lambda done: altered(*done, given=values))
        before, after = await self._records.change(
            call.text("user"),
            values,
            call.operator.scope_account_id,
            version=version,
            rights=call.operator.rights,
            note=noted,
        )
        self._services.on_account_changed(after["username"])
        lines = differences(before, after, values) or ["nothing changed"]
        lines.append(f"account {after['username']} is at version {after['version']}")
        told: list[str] = []
        if PROOFS & values.keys():
            told = await warnings_of(self._services, after["username"], call.operator.scope_account_id)
        told += await company_warnings(self._services, values, after, call.operator.scope_account_id)
        if before["parent_id"] != after["parent_id"]:
            told += await self._left_over(after, call.operator)
        lines += [f"warning: {one}" for one in told]
        return CommandResult(
            lines, {"user": shown(after), "warnings": told}, altered(before, after, given=values)
        )

    async def _left_over(self, moved: Record, operator: Operator) -> list[str]:
        """What is still between it and others. Not known when the database is away by now."""
        tokens: Sequence[OperatorToken] = ()
        try:
            ties = await self._records.left_over(moved["id"], operator.scope_account_id)
            if self._services.tokens is not None:
                tokens = await self._services.tokens.list(
                    moved["username"], TOKENS_SHOWN, 0, operator, every=False
                )
        except MizuError:
            return []
        return [*remaining(ties), *_tokens(moved["username"], [one.id for one in tokens])]

    async def tree(self, call: Invocation) -> CommandResult:
        limit, after = call.number("limit"), call.text("after")
        start = [str(one) for one in place(after)] if after else []
        found = await self._records.tree(
            call.text("user") or None, call.operator.scope_account_id, call.number("levels"), limit + 1, start
        )
        lines = []
        for node in found[:limit]:
            one = node.short
            state = "" if one["enabled"] and not one["suspended"] else "  (stopped)"
            kind = AccountType(one["type"]).name.lower()
            lines.append(f"{'  ' * node.level}{one['username']}  {kind} #{one['id']}{state}")
        following = cursor(found[limit - 1].path) if len(found) > limit else None
        nodes = [{"level": node.level, **node.short} for node in found[:limit]]
        return CommandResult(
            [*(lines or ["no accounts"]), *more_line(following)], {"tree": nodes, "next": following}
        )


def stopped_by(chain: Sequence[Record]) -> str:
    """Why an account may do nothing: what it, or the nearest owner that stops it, says. Empty: it may."""
    for number, one in enumerate(chain):
        who = "it" if number == 0 else f"its owner {one['username']}"
        if not one["enabled"]:
            return f"{who} is disabled"
        if one["suspended"]:
            return f"{who} is suspended"
        if number == 0 and one["is_template"]:
            return "it is a template"
    return ""
