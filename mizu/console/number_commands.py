"""``numbers list|add|del|allocate|free``."""

from typing import Any

from mizu.accounts.numbers import PhoneNumber, number_of, numbers_of
from mizu.console.account_services import Numbers
from mizu.console.arguments import FLAG, TEXT, Argument, integer
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, moment, plural
from mizu.errors import BadRequest
from mizu.model import Change

_NUMBER = Argument("number", TEXT, "the number, with country code", required=True)


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
        ),
        Command(
            name="numbers del",
            help="remove a free phone number",
            permission="accounts.write",
            run=own.delete,
            arguments=(_NUMBER,),
            examples=("numbers del 3615550109",),
            changes=True,
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
            ),
            details="Two who ask at the same time never get the same number.",
            examples=("numbers allocate 1001 3615550100", "numbers allocate 1001 361*"),
            changes=True,
            scoped=True,
        ),
        Command(
            name="numbers free",
            help="take a phone number back",
            permission="accounts.write",
            run=own.free,
            arguments=(_NUMBER,),
            examples=("numbers free 3615550100",),
            changes=True,
            scoped=True,
        ),
    )


class _NumberCommands:
    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

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
        added = await self._numbers.add(
            numbers, call.text("holder"), call.text("note"), call.operator.scope_account_id
        )
        lines = [f"{plural(len(added), 'number')} added"]
        if len(added) < len(numbers):
            lines.append(f"{len(numbers) - len(added)} were there already")
        result = {"added": list(added), "there_already": len(numbers) - len(added)}
        first, last = (added[0], added[-1]) if added else ("", "")
        changes = [Change("number", first, None, {"first": first, "last": last, "count": len(added)})]
        return CommandResult(lines, result, changes if added else ())

    async def delete(self, call: Invocation) -> CommandResult:
        before = await self._numbers.delete(number_of(call.text("number")), call.operator.scope_account_id)
        return CommandResult(
            [f"number {before.number} removed"],
            {"number": shown(before)},
            (Change("number", before.number, shown(before), None),),
        )

    async def allocate(self, call: Invocation) -> CommandResult:
        wanted = call.text("number")
        if wanted.endswith("*"):
            prefix = wanted[:-1].removeprefix("+")
            if prefix and not (prefix.isascii() and prefix.isdigit()):
                raise BadRequest("want a number, or digits and *")
            wanted = prefix + "*"
        else:
            wanted = number_of(wanted)
        scope = call.operator.scope_account_id
        number = await self._numbers.allocate(call.text("account"), wanted, scope)
        change = Change("number", number.number, {"account": ""}, {"account": number.account})
        return CommandResult(
            [f"{number.account} has {number.number} now"], {"number": shown(number)}, (change,)
        )

    async def free(self, call: Invocation) -> CommandResult:
        before, after = await self._numbers.free(
            number_of(call.text("number")), call.operator.scope_account_id
        )
        change = Change("number", before.number, {"account": before.account}, {"account": ""})
        return CommandResult(
            [f"{before.number} is free, {before.account} had it"], {"number": shown(after)}, (change,)
        )
