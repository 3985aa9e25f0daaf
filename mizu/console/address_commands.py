"""``addresses list|add|del``."""

from collections.abc import Sequence
from typing import Any

from mizu.accounts.addresses import FurtherAddress, parse_entry, written
from mizu.accounts.proofs import warnings
from mizu.console.account_commands import ACCOUNT_VERSION, USER
from mizu.console.account_services import Addresses
from mizu.console.arguments import TEXT, Argument
from mizu.console.paging import cut, more_line, page_arguments
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned
from mizu.console.versions import version_of
from mizu.errors import BadRequest, MizuError
from mizu.model import Change

NOTE_MAX_CHARACTERS = 200
_ADDRESS = Argument(
    "address",
    TEXT,
    "address, domain name, network or range, with :PORT or not, as in auth_ip",
    required=True,
)


def shown(one: FurtherAddress) -> dict[str, Any]:
    """An address as JSON."""
    return {"address": one.address, "port": one.port, "note": one.note}


def short(one: FurtherAddress) -> str:
    """An address as a few words."""
    return f"{one.address} port {one.port}" if one.port else one.address


async def warnings_of(services: ConsoleServices, username: str, scope: int | None) -> list[str]:
    """
    What in an account that was just changed can match nothing. Not known when the database is away by now,
    which is no reason to say that the change failed.
    """
    try:
        record = await services.records.get(username, scope)
        further = (
            (await services.addresses.list(username, scope))[1] if services.addresses is not None else ()
        )
    except MizuError:
        return []
    return warnings(record, further, open_relay=not services.options.get("enforcestrongauth"))


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    if services.addresses is None:
        return ()
    own = _AddressCommands(services, services.addresses)
    return (
        Command(
            name="addresses list",
            help="list where an account sends from besides auth_ip",
            permission="accounts.read",
            run=own.list,
            arguments=(USER, *page_arguments(1000)),
            examples=("addresses list 1001",),
            scoped=True,
        ),
        Command(
            name="addresses add",
            help="enter one more address that an account sends from",
            permission="accounts.write",
            run=own.add,
            arguments=(
                USER,
                _ADDRESS,
                Argument("note", TEXT, "what it is, for people", many=True),
                ACCOUNT_VERSION,
            ),
            details="It counts as those of auth_ip do, by the auth_type of the account. One that is there "
            "already gets the note, if there is one.",
            examples=("addresses add 1001 192.0.2.7", "addresses add 1001 192.0.2.8:5080 branch office"),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="addresses del",
            help="remove an address that an account sends from",
            permission="accounts.write",
            run=own.delete,
            arguments=(USER, _ADDRESS, ACCOUNT_VERSION),
            details="Without a port: whatever port is beside it.",
            examples=("addresses del 1001 192.0.2.7",),
            changes=True,
            atomic=True,
            scoped=True,
        ),
    )


class _AddressCommands:
    def __init__(self, services: ConsoleServices, addresses: Addresses) -> None:
        self._services = services
        self._addresses = addresses

    async def list(self, call: Invocation) -> CommandResult:
        username, found = await self._addresses.list(call.text("user"), call.operator.scope_account_id)
        some, following = cut(sorted(found, key=_order), _order, call.number("limit"), call.text("after"))
        rows = [(one.address, str(one.port) if one.port else "-", one.note) for one in some]
        lines = aligned(("ADDRESS", "PORT", "NOTE"), rows, right=(1,))
        lines = lines if rows else [f"{username} has no further addresses"]
        facts = {"username": username, "addresses": [shown(one) for one in some], "next": following}
        return CommandResult([*lines, *more_line(following)], facts)

    async def add(self, call: Invocation) -> CommandResult:
        note = " ".join(map(str, call.many("note")))
        if len(note) > NOTE_MAX_CHARACTERS:
            raise BadRequest(f"<note> may have {NOTE_MAX_CHARACTERS} characters")
        entry = parse_entry(call.text("address"))
        new = FurtherAddress(written(entry), entry.port, note)
        username, before, after = await self._addresses.add(
            call.text("user"),
            new,
            call.operator.scope_account_id,
            version_of(call),
            call.note(_added),
            rights=call.operator.rights,
        )
        result = {"username": username, "address": shown(after)}
        if before == after:
            return CommandResult([f"{username} has {short(after)} already"], result)
        self._services.on_account_changed(username)
        told = await warnings_of(self._services, username, call.operator.scope_account_id)
        lines = [f"{username} has {short(after)} now" if before is None else "note changed"]
        lines += [f"warning: {one}" for one in told]
        return CommandResult(lines, {**result, "warnings": told}, _added((username, before, after)))

    async def delete(self, call: Invocation) -> CommandResult:
        entry = parse_entry(call.text("address"))
        username, gone = await self._addresses.remove(
            call.text("user"),
            written(entry),
            entry.port,
            call.operator.scope_account_id,
            version_of(call),
            call.note(lambda done: (_change(done[0], done[1], ()),)),
            rights=call.operator.rights,
        )
        self._services.on_account_changed(username)
        lines = [f"{username} may not send from {short(one)} any more" for one in gone]
        result = {"username": username, "removed": [shown(one) for one in gone]}
        return CommandResult(lines, result, (_change(username, gone, ()),))


def _order(one: FurtherAddress) -> tuple[str, int]:
    return one.address, one.port


def _added(done: tuple[str, FurtherAddress | None, FurtherAddress]) -> tuple[Change, ...]:
    username, before, after = done
    return () if before == after else (_change(username, [before] if before else [], [after]),)


def _change(username: str, before: Sequence[FurtherAddress], after: Sequence[FurtherAddress]) -> Change:
    """For the audit list: an account is what was changed, in the addresses that differ."""
    return Change(
        "account",
        username,
        {"further_addresses": [shown(one) for one in before]},
        {"further_addresses": [shown(one) for one in after]},
        (username,),
    )
