"""``numbers list|add|get|set|del|allocate|free``."""

from collections.abc import Awaitable, Sequence
from typing import Any

from mizu.accounts.numbers import PhoneNumber, number_of, numbers_of
from mizu.console.account_services import Numbers
from mizu.console.arguments import FLAG, TEXT, Argument, integer
from mizu.console.get_set import GetSet, account_given
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, moment, plural
from mizu.console.versions import version_argument, version_of
from mizu.errors import BadRequest
from mizu.model import Change

_NUMBER = Argument("number", TEXT, "the number, with country code", required=True)
_VERSION = version_argument("the number", "numbers get")


def shown(number: PhoneNumber) -> dict[str, Any]:
    """A number as JSON."""
    return {
        "number": number.number,
        "free": number.account_id is None,
        "account_id": number.account_id,
        "account": number.account,
        "holder": number.holder,
        "allocated_at": number.allocated_at.isoformat() if number.allocated_at else None,
        "note": number.note,
        "version": number.version,
    }


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    if services.numbers is None:
        return ()
    own = _NumberCommands(services.numbers)
    return (
        Command(
            name="numbers list",
            help="list phone numbers, free and taken",
            permission="accounts.read",
            run=own.list,
            arguments=(
                Argument("prefix", TEXT, "only numbers that begin so"),
                Argument("free", FLAG, "only free ones", option=True),
                Argument("account", TEXT, "only those of this account", option=True),
                Argument("limit", integer(1, 10_000), "how many", option=True, default=200),
                Argument("after", TEXT, "go on after this number", option=True),
            ),
            examples=("numbers list", "numbers list 361 --free"),
            scoped=True,
        ),
        Command(
            name="numbers add",
            help="enter phone numbers that we were given",
            permission="accounts.write",
            run=own.add,
            arguments=(
                Argument("numbers", TEXT, "numbers, or ranges FIRST..LAST", required=True, many=True),
                Argument("holder", TEXT, "account whose operators give them out", option=True),
                Argument("note", TEXT, "where they come from", option=True),
            ),
            details="Numbers that are there already stay as they are.",
            examples=("numbers add 3615550100..3615550109", "numbers add +3615550200 --note 'carrier A'"),
            changes=True,
            atomic=True,
        ),
        *own.record.commands(),
        Command(
            name="numbers del",
            help="remove a free phone number",
            permission="accounts.write",
            run=own.delete,
            arguments=(_NUMBER, _VERSION),
            examples=("numbers del 3615550109",),
            changes=True,
            atomic=True,
        ),
        Command(
            name="numbers allocate",
            help="give an account a free phone number",
            permission="accounts.write",
            run=own.allocate,
            arguments=(
                Argument("account", TEXT, "who gets it", required=True),
                Argument(
                    "number", TEXT, "the number, or PREFIX* for any free one that begins so", default="*"
                ),
                _VERSION,
            ),
            details="Two who ask at the same time never get the same number.",
            examples=("numbers allocate 1001 3615550100", "numbers allocate 1001 361*"),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="numbers free",
            help="take a phone number back",
            permission="accounts.write",
            run=own.free,
            arguments=(_NUMBER, _VERSION),
            details="With --version it is not taken from somebody who got it meanwhile.",
            examples=("numbers free 3615550100", "numbers free 3615550100 --version 2"),
            changes=True,
            atomic=True,
            scoped=True,
        ),
    )


class _NumberCommands:
    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self.record = GetSet(
            family="numbers",
            noun="phone number",
            item="number",
            key=_NUMBER,
            fields=(
                Argument("holder", TEXT, "account whose operators give it out; -: staff", option=True),
                Argument("note", TEXT, "where it comes from", option=True),
            ),
            set_help="change the note of a phone number, or who gives it out",
            set_examples=("numbers set 3615550100 --holder shop --version 2",),
            set_scoped=False,
            find=self._get,
            change=self._set,
            page=_page,
            shown=shown,
            changed=_changed,
        )

    async def list(self, call: Invocation) -> CommandResult:
        limit = call.number("limit")
        found = await self._numbers.list(
            call.text("prefix").removeprefix("+"),
            limit + 1,
            call.text("after"),
            call.operator.scope_account_id,
            free=call.flag("free"),
            account=call.text("account"),
        )
        numbers = found[:limit]
        rows = [(n.number, n.account or "free", n.holder, moment(n.allocated_at), n.note) for n in numbers]
        lines = aligned(("NUMBER", "ACCOUNT", "HOLDER", "SINCE (UTC)", "NOTE"), rows)
        lines = lines if rows else ["no numbers"]
        if len(found) > limit:
            lines.append(f"more: --after {numbers[-1].number}")
        return CommandResult(lines, {"numbers": [shown(n) for n in numbers], "more": len(found) > limit})

    async def add(self, call: Invocation) -> CommandResult:
        numbers = list(dict.fromkeys(one for word in call.many("numbers") for one in numbers_of(word)))
        holder = call.text("holder")
        added = await self._numbers.add(
            numbers,
            holder,
            call.text("note"),
            call.operator.scope_account_id,
            call.note(lambda new: _entered(new, holder)),
        )
        lines = [f"{plural(len(added), 'number')} added"]
        if len(added) < len(numbers):
            lines.append(f"{len(numbers) - len(added)} were there already")
        result = {"added": list(added), "there_already": len(numbers) - len(added)}
        return CommandResult(lines, result, _entered(added, holder))

    def _get(self, call: Invocation) -> Awaitable[PhoneNumber]:
        return self._numbers.get(number_of(call.text("number")), call.operator.scope_account_id)

    def _set(self, call: Invocation) -> Awaitable[tuple[PhoneNumber, PhoneNumber]]:
        return self._numbers.change(
            number_of(call.text("number")),
            account_given(call, "holder"),
            call.values["note"],
            call.operator.scope_account_id,
            version_of(call),
            call.note(lambda done: (_changed(*done),) if done[0] != done[1] else ()),
        )

    async def delete(self, call: Invocation) -> CommandResult:
        noted = call.note(lambda gone: (_removed(gone),))
        before = await self._numbers.delete(
            number_of(call.text("number")), call.operator.scope_account_id, version_of(call), noted
        )
        return CommandResult(
            [f"number {before.number} removed"], {"number": shown(before)}, (_removed(before),)
        )

    async def allocate(self, call: Invocation) -> CommandResult:
        wanted, version = call.text("number"), version_of(call)
        if wanted.endswith("*"):
            if version is not None:
                raise BadRequest("--version is of one number; with PREFIX* nobody has seen which it is")
            prefix = wanted[:-1].removeprefix("+")
            if prefix and not (prefix.isascii() and prefix.isdigit()):
                raise BadRequest("want a number, or digits and *")
            wanted = prefix + "*"
        else:
            wanted = number_of(wanted)
        scope = call.operator.scope_account_id
        noted = call.note(lambda done: (_allocated(done),))
        number = await self._numbers.allocate(call.text("account"), wanted, scope, version, noted)
        return CommandResult(
            [f"{number.account} has {number.number} now"], {"number": shown(number)}, (_allocated(number),)
        )

    async def free(self, call: Invocation) -> CommandResult:
        before, after = await self._numbers.free(
            number_of(call.text("number")),
            call.operator.scope_account_id,
            version_of(call),
            call.note(lambda done: (_freed(done[0]),)),
        )
        return CommandResult(
            [f"{before.number} is free, {before.account} had it"], {"number": shown(after)}, (_freed(before),)
        )


# For the audit list. A number is the matter of who has it; while it is free, of who gives it out.


def _entered(added: Sequence[str], holder: str) -> tuple[Change, ...]:
    if not added:
        return ()
    facts = {"first": added[0], "last": added[-1], "count": len(added)}
    return (Change("number", added[0], None, facts, _account(holder)),)


def _changed(before: PhoneNumber, after: PhoneNumber) -> Change:
    old, new = ({"holder": one.holder, "note": one.note} for one in (before, after))
    names = [name for name in new if old[name] != new[name]]
    old, new = ({name: side[name] for name in names} for side in (old, new))
    return Change("number", after.number, old, new, _concerns(before) + _concerns(after))


def _removed(gone: PhoneNumber) -> Change:
    return Change("number", gone.number, shown(gone), None, _concerns(gone))


def _allocated(number: PhoneNumber) -> Change:
    return Change("number", number.number, {"account": ""}, {"account": number.account}, _concerns(number))


def _freed(before: PhoneNumber) -> Change:
    return Change("number", before.number, {"account": before.account}, {"account": ""}, _concerns(before))


def _concerns(number: PhoneNumber) -> tuple[int | str, ...]:
    return (number.account_id,) if number.account_id is not None else _account(number.holder)


def _account(who: str) -> tuple[int | str, ...]:
    """Of what an operator typed: a username, or ``#`` and an id."""
    if not who:
        return ()
    return (int(who[1:]),) if who.startswith("#") and who[1:].isdecimal() else (who,)


def _page(number: PhoneNumber) -> tuple[str, Sequence[tuple[str, str]]]:
    return number.number, (
        ("account", number.account or "free"),
        ("since", moment(number.allocated_at)),
        ("holder", number.holder),
        ("note", number.note),
        ("version", str(number.version)),
    )
