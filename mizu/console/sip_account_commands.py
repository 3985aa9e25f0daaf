"""``sipaccounts list|add|set|passwd|del|rotate-keys``."""

from typing import Any

from mizu.accounts.kinds import MONEY
from mizu.accounts.rotation import SipAccount, why_unused
from mizu.accounts.sip_fields import CHANGEABLE, SIP_FIELDS, sip_columns, sip_values
from mizu.console.account_services import SipAccounts
from mizu.console.arguments import ASSIGNMENT, SECRET, TEXT, Argument, choice, integer
from mizu.console.paging import cursor, more_line, page_arguments, place
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, moment, plural
from mizu.console.versions import version_argument, version_of
from mizu.errors import BadRequest
from mizu.model import Change

_ID = Argument("id", integer(1, 2**62), "its number, as 'sipaccounts list' shows it", required=True)
_VERSION = version_argument("it", "sipaccounts get")
_FIELDS = "fields: " + ", ".join(f"{one.name} ({', '.join(one.aliases)})" for one in CHANGEABLE)


def shown(account: SipAccount, server: str, failures_max: int) -> dict[str, Any]:
    """An account as JSON, without its password."""
    return {
        "id": account.id,
        "sip_server": server,
        "sip_server_id": account.sip_server_id,
        "username": account.username,
        "caller_number": account.caller_number,
        "credit": None if account.credit_micro is None else MONEY.show(account.credit_micro),
        "enabled": account.enabled,
        "failures": account.failures,
        "priority": account.priority,
        "version": account.version,
        "created_at": account.created_at.isoformat() if account.created_at else None,
        "last_used_at": account.last_used_at.isoformat() if account.last_used_at else None,
        "unused_because": why_unused(account, failures_max),
    }


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    if services.sip_accounts is None:
        return ()
    own = _SipAccountCommands(services, services.sip_accounts)
    return (
        Command(
            name="sipaccounts list",
            help="list our accounts at SIP servers, by server and priority",
            permission="accounts.read",
            run=own.list,
            arguments=(Argument("server", TEXT, "only at this SIP server"), *page_arguments(1000)),
            details="Those of one priority are used in turn. The original's names, from left to right: Id, "
            "ProxyID, Username, Priority, CallerNumber, Credit, SubsFails, DateEntered, LastUsed.",
            examples=("sipaccounts list", "sipaccounts list carrier"),
        ),
        Command(
            name="sipaccounts get",
            help="show an account that we have at a SIP server",
            permission="accounts.read",
            run=own.get,
            arguments=(_ID,),
            examples=("sipaccounts get 1",),
        ),
        Command(
            name="sipaccounts add",
            help="enter an account that we have at a SIP server",
            permission="accounts.write",
            run=own.add,
            arguments=(
                Argument("server", TEXT, "username of the SIP server", required=True),
                Argument("username", TEXT, "name to log in with there", required=True),
                Argument("password", SECRET, "left out: it is asked for", required=True),
                Argument("priority", TEXT, "higher is used first", option=True),
                Argument("caller-number", TEXT, "number we show there", option=True),
                Argument("credit", TEXT, "balance there; left out: not counted", option=True),
            ),
            details="The password is kept encrypted with a key outside the database.",
            examples=("sipaccounts add carrier line1 'battery staple' --priority 10",),
            changes=True,
            atomic=True,
        ),
        Command(
            name="sipaccounts set",
            help="change an account that we have at a SIP server",
            permission="accounts.write",
            run=own.set,
            arguments=(
                _ID,
                Argument("fields", ASSIGNMENT, _FIELDS, required=True, many=True),
                _VERSION,
            ),
            details="SubsFails=0 puts one that failed too often back in use.",
            examples=("sipaccounts set 1 SubsFails=0 Credit=10", "sipaccounts set 1 enabled=0"),
            changes=True,
            atomic=True,
        ),
        Command(
            name="sipaccounts passwd",
            help="change the password of an account at a SIP server",
            permission="accounts.write",
            run=own.passwd,
            arguments=(
                _ID,
                Argument("password", SECRET, "left out: it is asked for", required=True),
                _VERSION,
            ),
            examples=("sipaccounts passwd 1 'battery staple'",),
            changes=True,
            atomic=True,
        ),
        Command(
            name="sipaccounts del",
            help="delete an account at a SIP server",
            permission="accounts.write",
            run=own.delete,
            arguments=(_ID, _VERSION),
            examples=("sipaccounts del 1",),
            changes=True,
            atomic=True,
        ),
        Command(
            name="sipaccounts rotate-keys",
            help="encrypt stored secrets with a new key",
            permission="keys.rotate",
            run=own.rotate,
            arguments=(
                Argument("step", choice("all", "add", "reseal", "drop"), "which step", default="all"),
            ),
            details="One node: all at once. Several nodes: 'add' on one, copy its secret.key to the others, "
            "'reseal' there, copy again, then 'drop' and copy. The keys are in secret.key of the data "
            "directory; without them the stored secrets are lost.",
            examples=("sipaccounts rotate-keys",),
            changes=True,
        ),
    )


def _text(value: Any) -> str:
    """For people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else str(value)


def _order(server: str, account: SipAccount) -> tuple[str, int, int]:
    return server, -account.priority, account.id


def _place(after: str) -> tuple[str, int, int]:
    match place(after):
        case (str() as server, int() as priority, int() as number) if abs(priority) < 2**62 > abs(number):
            return server, priority, number
    raise BadRequest("--after: want what the page before ended with")


class _SipAccountCommands:
    def __init__(self, services: ConsoleServices, accounts: SipAccounts) -> None:
        self._options = services.options
        self._accounts = accounts

    def _failures_max(self) -> int:
        return int(self._options.get("sipaccount_maxfails"))

    async def list(self, call: Invocation) -> CommandResult:
        limit, after = call.number("limit"), call.text("after")
        found = list(
            await self._accounts.list(
                call.text("server"),
                limit + 1,
                _place(after) if after else None,
                call.operator.scope_account_id,
            )
        )
        following = cursor(_order(*found[limit - 1])) if len(found) > limit else None
        found = found[:limit]
        failures_max = self._failures_max()
        rows = [
            (
                str(one.id),
                server,
                one.username,
                str(one.priority),
                one.caller_number,
                "-" if one.credit_micro is None else MONEY.show(one.credit_micro),
                str(one.failures),
                moment(one.created_at),
                moment(one.last_used_at),
                why_unused(one, failures_max).replace("_", " ") or "in use",
            )
            for server, one in found
        ]
        heads = (
            "ID",
            "SERVER",
            "USERNAME",
            "PRIORITY",
            "NUMBER",
            "CREDIT",
            "FAILS",
            "ENTERED (UTC)",
            "LAST USED (UTC)",
            "STATE",
        )
        lines = aligned(heads, rows, right=(0, 3, 5, 6)) if rows else ["no accounts at SIP servers"]
        result = [shown(one, server, failures_max) for server, one in found]
        facts = {"sip_accounts": result, "next": following}
        return CommandResult([*lines, *more_line(following)], facts)

    async def add(self, call: Invocation) -> CommandResult:
        given = {"priority": "priority", "caller-number": "caller_number", "credit": "credit"}
        words = [f"{name}={call.text(option)}" for option, name in given.items() if call.text(option)]
        server, failures_max = call.text("server"), self._failures_max()

        def change(made: SipAccount) -> Change:
            facts = shown(made, server, failures_max)
            return Change("sip_account", str(made.id), None, {**facts, "password": "***"})

        account = await self._accounts.add(
            server,
            call.text("username"),
            call.text("password"),
            sip_columns(words),
            call.operator.scope_account_id,
            call.note(lambda made: (change(made),)),
        )
        lines = [f"account {account.username} at {server} added, number {account.id}"]
        result = {"sip_account": shown(account, server, failures_max)}
        return CommandResult(lines, result, (change(account),))

    async def get(self, call: Invocation) -> CommandResult:
        server, account = await self._accounts.get(call.number("id"), call.operator.scope_account_id)
        facts = shown(account, server, self._failures_max())
        rows = [(one.name, _text(facts[one.name]), ", ".join(one.aliases), one.meaning) for one in SIP_FIELDS]
        rows += [
            ("version", _text(facts["version"]), "", "grows with every change by an operator"),
            ("unused_because", facts["unused_because"], "", "why it is not used; empty: it is"),
        ]
        lines = aligned(("FIELD", "VALUE", "ORIGINAL", "MEANING"), rows)
        return CommandResult(lines, {"sip_account": facts})

    async def set(self, call: Invocation) -> CommandResult:
        return await self._change(call, sip_columns(call.many("fields")))

    async def passwd(self, call: Invocation) -> CommandResult:
        return await self._change(call, {"password": call.text("password")})

    async def _change(self, call: Invocation, values: Any) -> CommandResult:
        number = call.number("id")

        def sides(*both: SipAccount) -> list[dict[str, Any]]:
            return [sip_values({name: getattr(side, name) for name in values}) for side in both]

        def change(before: SipAccount, after: SipAccount) -> tuple[Change, ...]:
            if before == after:
                return ()
            old, new = sides(before, after)
            return (Change("sip_account", str(number), old, new),)

        server, before, after = await self._accounts.change(
            number,
            values,
            call.operator.scope_account_id,
            version_of(call),
            call.note(lambda done: change(*done[1:])),
        )
        old, new = sides(before, after)
        names = [name for name in new if old[name] != new[name] or name == "password"]
        lines = [f"{name}: {_text(old[name])} -> {_text(new[name])}" for name in names] or ["nothing changed"]
        account = shown(after, server, self._failures_max())
        return CommandResult(
            lines, {"id": number, "fields": new, "sip_account": account}, change(before, after)
        )

    async def delete(self, call: Invocation) -> CommandResult:
        failures_max = self._failures_max()

        def change(gone: SipAccount) -> Change:
            return Change("sip_account", str(gone.id), shown(gone, "", failures_max), None)

        before = await self._accounts.delete(
            call.number("id"),
            call.operator.scope_account_id,
            version_of(call),
            call.note(lambda gone: (change(gone),)),
        )
        lines = [f"account {before.username} at SIP server #{before.sip_server_id} deleted"]
        result = {"sip_account": shown(before, "", failures_max)}
        return CommandResult(lines, result, (change(before),))

    async def rotate(self, call: Invocation) -> CommandResult:
        done = dict(await self._accounts.rotate_keys(call.text("step")))
        keys = plural(len(done["keys"]), "key")
        lines = [f"{plural(done['resealed'], 'secret')} encrypted anew; {keys}, {done['current']} encrypts"]
        return CommandResult(lines, done, (Change("secret_key", done["current"], None, done),))
