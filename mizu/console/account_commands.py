"""``users``, ``adduser``, ``clone``, ``passwd``, ``deluser``, ``enable``, ``disable``."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mizu.accounts.fields import parsed
from mizu.accounts.kinds import Value
from mizu.accounts.numbers import series
from mizu.accounts.proofs import warnings
from mizu.accounts.records import NewAccount, Record
from mizu.accounts.scope import check_template, may_clone
from mizu.accounts.ties import left_in_lists
from mizu.console.account_ends import Ending, ending
from mizu.console.account_show import altered, change_of, shown
from mizu.console.arguments import ACCOUNT, ASSIGNMENT, SECRET, TEXT, Argument, integer
from mizu.console.company import company_warnings
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, plural
from mizu.console.versions import version_argument, version_of
from mizu.errors import BadRequest, MizuError
from mizu.model import AccountType, Change
from mizu.sip.digest import ha1

ALGORITHMS = ("MD5", "SHA-256")  #: both are stored, so that a phone may use either (RFC 8760)
GENERATED_CHARACTERS = 16
_CLEAR_LETTERS = (
    "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike: typed by hand
)
WEAK_BELOW_CHARACTERS = 8
_PASSWORD = ("password",)
COUNT_MAX = 1000  #: accounts made by one command

USER = Argument("user", TEXT, "the account's username, or # and its id", required=True)
ACCOUNT_VERSION = version_argument("the account", "get")
_COUNT = Argument("count", integer(1, COUNT_MAX), "so many, counted up from the name", option=True, default=1)


def new_password() -> str:
    """A random password that is easy to type on a phone: 16 characters, about 92 bits."""
    return "".join(secrets.choice(_CLEAR_LETTERS) for _ in range(GENERATED_CHARACTERS))


def secrets_of(username: str, realm: str, password: str) -> dict[str, str]:
    """What is stored instead of a password: HA1 by algorithm, lower-case hex (RFC 7616 3.4.2)."""
    return {algorithm: ha1(username, realm, password, algorithm) for algorithm in ALGORITHMS}


def assigned(call: Invocation, name: str = "fields") -> dict[str, Value]:
    """Field values of the words ``field=value``. :raise BadRequest: also for a password."""
    values = parsed(call.many(name))
    if "password" in values:
        raise BadRequest("password: 'passwd' changes it; on a command line others could see it")
    return values


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    own = _AccountCommands(services)
    return (
        Command(
            name="users",
            help="list accounts",
            permission="accounts.read",
            run=own.users,
            arguments=(
                Argument("prefix", TEXT, "only usernames that begin so"),
                Argument("type", TEXT, "only of this type, number or name", option=True),
                Argument("limit", integer(1, 10_000), "how many", option=True, default=100),
                Argument("after", TEXT, "go on after this username", option=True),
            ),
            examples=("users", "users 10 --limit 20", "users --type reseller"),
            scoped=True,
        ),
        Command(
            name="adduser",
            help="make an account that a phone can register with, or many",
            permission="accounts.write",
            run=own.adduser,
            arguments=(
                Argument("name", ACCOUNT, "username and number of the account", required=True),
                Argument("fields", ASSIGNMENT, "other fields, see 'describe'", many=True),
                Argument("password", SECRET, "left out: one is made and shown once", option=True),
                Argument("display-name", TEXT, "shown to called parties", option=True),
                Argument("caller-number", TEXT, "number shown instead of the username", option=True),
                _COUNT,
            ),
            details="The password is not kept, only its digests; nobody can read it again. "
            "A password on a command line is seen by others on this machine: leave it out, "
            "or use 'passwd' which asks for it. With --count all are made or none, "
            "each with its own password.",
            examples=(
                "adduser 1001",
                "adduser 1002 --password 'correct horse' --display-name 'Front desk'",
                "adduser 2000 --count 20 type=enduser max_channels=2",
            ),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="clone",
            help="make accounts like another one",
            permission="accounts.write",
            run=own.clone,
            arguments=(
                Argument(
                    "template", TEXT, "account to copy: any, best one with is_template=1", required=True
                ),
                Argument("name", ACCOUNT, "username of the new account", required=True),
                Argument("fields", ASSIGNMENT, "fields that differ", many=True),
                _COUNT,
            ),
            details="Numbers, credit, PIN, contact data and the password are not copied; a password is made "
            "and shown once.",
            examples=("clone 1001 1003", "clone 1001 3000 --count 10 max_channels=1"),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="passwd",
            help="change the password of an account",
            permission="accounts.write",
            run=own.passwd,
            arguments=(
                USER,
                Argument("password", SECRET, "left out: it is asked for", required=True),
                ACCOUNT_VERSION,
            ),
            examples=("passwd 1001 'battery staple'",),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="deluser",
            help="delete an account and its registrations",
            permission="accounts.write",
            run=own.deluser,
            arguments=(USER, ACCOUNT_VERSION),
            details="Its CDRs stay. An account that owns others, or pays for them, is not deleted. Whose "
            "lists name it is said.",
            examples=("deluser 1001", "deluser 1001 --version 3"),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="enable",
            help="let an account register and call again",
            permission="accounts.write",
            run=own.enable,
            arguments=(USER, ACCOUNT_VERSION),
            examples=("enable 1001",),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="disable",
            help="refuse an account and all below it everything, forget its registrations",
            permission="accounts.write",
            run=own.disable,
            arguments=(USER, ACCOUNT_VERSION),
            details="Their calls end too, on every node. Calls that a disabled gateway carries go on.",
            examples=("disable 1001",),
            changes=True,
            atomic=True,
            scoped=True,
        ),
    )


class _AccountCommands:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services
        self._records = services.records

    async def users(self, call: Invocation) -> CommandResult:
        limit = call.number("limit")
        type_ = parsed([f"type={call.text('type')}"])["type"] if call.text("type") else None
        found = list(
            await self._records.list(
                call.text("prefix"),
                limit + 1,
                call.text("after"),
                call.operator.scope_account_id,
                int(type_) if type_ is not None else None,
            )
        )
        more, records = len(found) > limit, found[:limit]
        rows = [
            (
                r["username"],
                AccountType(r["type"]).name.lower(),
                "no" if not r["enabled"] else "suspended" if r["suspended"] else "yes",
                r["display_name"],
                r["caller_number"],
            )
            for r in records
        ]
        lines = aligned(("USERNAME", "TYPE", "ENABLED", "DISPLAY NAME", "CALLER NUMBER"), rows)
        lines = lines if rows else ["no accounts"]
        if more:
            lines.append(f"more: --after {records[-1]['username']}")
        return CommandResult(lines, {"users": [shown(r) for r in records], "more": more})

    async def adduser(self, call: Invocation) -> CommandResult:
        values = assigned(call)
        for option, name in (("display-name", "display_name"), ("caller-number", "caller_number")):
            if call.text(option):
                values.update(parsed([f"{name}={call.text(option)}"]))
        return await self._add(call, values, {}, call.text("password"))

    async def clone(self, call: Invocation) -> CommandResult:
        scope = call.operator.scope_account_id
        template = await self._records.get(call.text("template"), scope)
        check_template(scope, template["id"])
        copied = {name: value for name, value in template.items() if may_clone(scope, name)}
        return await self._add(call, assigned(call), copied, "")

    async def _add(
        self, call: Invocation, values: dict[str, Value], copied: dict[str, Value], given: str
    ) -> CommandResult:
        names = series(call.text("name"), call.number("count"))
        if given and len(names) > 1:
            raise BadRequest("--password is for one account; with --count each gets its own")
        passwords = [given or new_password() for _ in names]
        realm = self._services.realm
        new = [
            NewAccount(name, secrets_of(name, realm, password), values)
            for name, password in zip(names, passwords, strict=True)
        ]
        operator = call.operator
        records = await self._records.add(
            new,
            operator.scope_account_id,
            operator.name,
            copied,
            rights=operator.rights,
            note=call.note(_made),
        )
        for name in names:
            self._services.on_account_changed(name)
        changes = _made(records)
        open_relay = not self._services.options.get("enforcestrongauth")
        told = warnings(records[0], open_relay=open_relay)  # the others have the same fields
        told += await company_warnings(self._services, values, records[0], operator.scope_account_id)
        if len(records) > 1:
            done = self._added_many(records, passwords, changes)
            lines = [*done.lines, *(f"warning: {one}" for one in told)]
            return CommandResult(lines, {**done.result, "warnings": told}, changes)
        lines = [f"account {names[0]} added", *(f"warning: {one}" for one in told)]
        result: dict[str, Any] = {"user": shown(records[0]), "warnings": told}
        if given:
            lines += _weakness(names[0], given)
        else:
            lines.append(f"password: {passwords[0]}   (shown this once)")
            result["password"] = passwords[0]
        return CommandResult(lines, result, changes)

    def _added_many(self, records: Any, passwords: list[str], changes: list[Any]) -> CommandResult:
        rows = [(r["username"], password) for r, password in zip(records, passwords, strict=True)]
        lines = [
            f"{plural(len(records), 'account')} added; passwords are shown this once",
            *aligned(("USERNAME", "PASSWORD"), rows),
        ]
        users = [
            {**shown(record), "new_password": password}
            for record, password in zip(records, passwords, strict=True)
        ]
        return CommandResult(lines, {"users": users}, changes)

    async def passwd(self, call: Invocation) -> CommandResult:
        password, scope = call.text("password"), call.operator.scope_account_id
        username = await self._username(call)
        ha1s = secrets_of(username, self._services.realm, password)
        noted = call.note(lambda done: altered(*done, given=_PASSWORD))
        before, after = await self._records.change(
            username,
            {},
            scope,
            ha1=ha1s,
            version=version_of(call),
            rights=call.operator.rights,
            note=noted,
        )
        self._services.on_account_changed(username)
        lines = [f"password of {username} changed", *_weakness(username, password)]
        result = {"username": username, "version": after["version"]}
        return CommandResult(lines, result, altered(before, after, given=_PASSWORD))

    async def _username(self, call: Invocation) -> str:
        """The digests are made of the username, so ``#12`` will not do."""
        who = call.text("user")
        if not who.startswith("#"):
            return who
        return str((await self._records.get(who, call.operator.scope_account_id))["username"])

    async def deluser(self, call: Invocation) -> CommandResult:
        scope = call.operator.scope_account_id
        ends = await ending(self._services, call.text("user"), scope)
        noted = call.note(lambda gone: (change_of(gone, None),))
        before = await self._records.delete(
            call.text("user"), scope, version=version_of(call), rights=call.operator.rights, note=noted
        )
        done = self._ended(before["username"], "deleted", ends)
        told: list[str] = []
        with suppress(MizuError):  # not known when the database is away by now
            told = left_in_lists(before["username"], await self._records.naming(before["id"], scope))
        lines = [*done.lines, *(f"warning: {one}" for one in told)]
        return CommandResult(lines, {**done.result, "warnings": told}, (change_of(before, None),))

    async def enable(self, call: Invocation) -> CommandResult:
        before, after = await self._change(call, {"enabled": True})
        lines = [f"account {after['username']} enabled"]
        if after["suspended"]:
            lines.append("it is still suspended: 'set ... suspended=0'")
        return CommandResult(lines, {"user": shown(after)}, altered(before, after))

    async def disable(self, call: Invocation) -> CommandResult:
        ends = await ending(self._services, call.text("user"), call.operator.scope_account_id)
        before, after = await self._change(call, {"enabled": False})
        done = self._ended(after["username"], "disabled", ends)
        result = {**done.result, "user": shown(after)}
        return CommandResult(done.lines, result, altered(before, after))

    async def _change(self, call: Invocation, values: dict[str, Value]) -> tuple[Record, Record]:
        noted = call.note(lambda done: altered(*done))
        before, after = await self._records.change(
            call.text("user"),
            values,
            call.operator.scope_account_id,
            version=version_of(call),
            rights=call.operator.rights,
            note=noted,
        )
        self._services.on_account_changed(after["username"])
        return before, after

    def _ended(self, username: str, done: str, ends: Ending) -> CommandResult:
        """The account may do nothing any more: its cached answers go, and the contacts of all concerned."""
        self._services.on_account_changed(username)
        for name in ends.registered:
            self._services.registrations.remove(name, None)
        return CommandResult(
            ends.lines(f"account {username} {done}"), {"username": username, **ends.result()}
        )


def _made(records: Sequence[Record]) -> list[Change]:
    return [change_of(None, record, secrets=_PASSWORD) for record in records]


def _weakness(username: str, password: str) -> list[str]:
    if password.lower() == username.lower():
        return ["warning: the password is the username; scanners try that first"]
    if len(password) < WEAK_BELOW_CHARACTERS:
        return [f"warning: fewer than {WEAK_BELOW_CHARACTERS} characters are guessed quickly"]
    return []
