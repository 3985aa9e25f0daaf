"""``users``, ``adduser``, ``passwd``, ``deluser``, ``enable``, ``disable``."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mizu.console.arguments import ACCOUNT, SECRET, TEXT, Argument, integer
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, plural
from mizu.model import Account
from mizu.sip.digest import ha1

ALGORITHMS = ("MD5", "SHA-256")  #: both are stored, so that a phone may use either (RFC 8760)
GENERATED_CHARACTERS = 16
_CLEAR_LETTERS = (
    "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike: typed by hand
)
WEAK_BELOW_CHARACTERS = 8

_USER = Argument("user", TEXT, "the account's username", required=True)


def new_password() -> str:
    """A random password that is easy to type on a phone: 16 characters, about 92 bits."""
    return "".join(secrets.choice(_CLEAR_LETTERS) for _ in range(GENERATED_CHARACTERS))


def secrets_of(username: str, realm: str, password: str) -> dict[str, str]:
    """What is stored instead of a password: HA1 by algorithm, lower-case hex (RFC 7616 3.4.2)."""
    return {algorithm: ha1(username, realm, password, algorithm) for algorithm in ALGORITHMS}


def shown(account: Account) -> dict[str, Any]:
    """An account as JSON."""
    return {**asdict(account), "type": account.type.name.lower(), "auth_type": account.auth_type.name.lower()}


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
                Argument("limit", integer(1, 10_000), "how many", option=True, default=100),
                Argument("after", TEXT, "go on after this username", option=True),
            ),
            examples=("users", "users 10 --limit 20"),
        ),
        Command(
            name="adduser",
            help="make an account that a phone can register with",
            permission="accounts.write",
            run=own.adduser,
            arguments=(
                Argument("name", ACCOUNT, "username and number of the account", required=True),
                Argument("password", SECRET, "left out: one is made and shown once", option=True),
                Argument("display-name", TEXT, "shown to called parties", option=True),
                Argument("caller-number", TEXT, "number shown instead of the username", option=True),
            ),
            details="The password is not kept, only its digests; nobody can read it again. "
            "A password on a command line is seen by others on this machine: leave it out, "
            "or use 'passwd' which asks for it.",
            examples=("adduser 1001", "adduser 1002 --password 'correct horse' --display-name 'Front desk'"),
            changes=True,
        ),
        Command(
            name="passwd",
            help="change the password of an account",
            permission="accounts.write",
            run=own.passwd,
            arguments=(_USER, Argument("password", SECRET, "left out: it is asked for", required=True)),
            examples=("passwd 1001 'battery staple'",),
            changes=True,
        ),
        Command(
            name="deluser",
            help="delete an account and its registrations",
            permission="accounts.write",
            run=own.deluser,
            arguments=(_USER,),
            details="Its CDRs stay.",
            examples=("deluser 1001",),
            changes=True,
        ),
        Command(
            name="enable",
            help="let an account register and call again",
            permission="accounts.write",
            run=own.enable,
            arguments=(_USER,),
            examples=("enable 1001",),
            changes=True,
        ),
        Command(
            name="disable",
            help="refuse an account everything, forget its registrations",
            permission="accounts.write",
            run=own.disable,
            arguments=(_USER,),
            details="Calls in progress go on; 'drop' ends them.",
            examples=("disable 1001",),
            changes=True,
        ),
    )


class _AccountCommands:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services

    async def users(self, call: Invocation) -> CommandResult:
        limit = call.number("limit")
        found = list(await self._services.accounts.list(call.text("prefix"), limit + 1, call.text("after")))
        more, accounts = len(found) > limit, found[:limit]
        rows = [
            (a.username, a.type.name.lower(), "yes" if a.enabled else "no", a.display_name, a.caller_number)
            for a in accounts
        ]
        lines = aligned(("USERNAME", "TYPE", "ENABLED", "DISPLAY NAME", "CALLER NUMBER"), rows)
        lines = lines if rows else ["no accounts"]
        if more:
            lines.append(f"more: --after {accounts[-1].username}")
        return CommandResult(lines, {"users": [shown(a) for a in accounts], "more": more})

    async def adduser(self, call: Invocation) -> CommandResult:
        username, given = call.text("name"), call.text("password")
        password = given or new_password()
        fields: dict[str, object] = {}
        if call.text("display-name"):
            fields["display_name"] = call.text("display-name")
        if call.text("caller-number"):
            fields["caller_number"] = call.text("caller-number")
        ha1s = secrets_of(username, self._services.realm, password)
        account = await self._services.accounts.add(username, ha1s, fields)
        self._services.on_account_changed(username)
        lines = [f"account {username} added"]
        result: dict[str, Any] = {"user": shown(account)}
        if given:
            lines += _weakness(username, given)
        else:
            lines.append(f"password: {password}   (shown this once)")
            result["password"] = password
        return CommandResult(lines, result)

    async def passwd(self, call: Invocation) -> CommandResult:
        username, password = call.text("user"), call.text("password")
        await self._change(username, secrets_of(username, self._services.realm, password), {})
        lines = [f"password of {username} changed", *_weakness(username, password)]
        return CommandResult(lines, {"username": username})

    async def deluser(self, call: Invocation) -> CommandResult:
        username = call.text("user")
        await self._services.accounts.delete(username)
        return self._ended(username, f"account {username} deleted")

    async def enable(self, call: Invocation) -> CommandResult:
        username = call.text("user")
        account = await self._change(username, None, {"enabled": True})
        return CommandResult([f"account {username} enabled"], {"user": shown(account)})

    async def disable(self, call: Invocation) -> CommandResult:
        username = call.text("user")
        await self._change(username, None, {"enabled": False})
        return self._ended(username, f"account {username} disabled")

    async def _change(
        self, username: str, ha1s: Mapping[str, str] | None, fields: Mapping[str, object]
    ) -> Account:
        account = await self._services.accounts.change(username, ha1s, fields)
        self._services.on_account_changed(username)
        return account

    def _ended(self, username: str, done: str) -> CommandResult:
        """The account may do nothing any more: its cached answers and its contacts go."""
        self._services.on_account_changed(username)
        removed = self._services.registrations.remove(username, None)
        return CommandResult(
            [f"{done}, {plural(removed, 'registration')} removed"],
            {"username": username, "registrations_removed": removed},
        )


def _weakness(username: str, password: str) -> list[str]:
    if password.lower() == username.lower():
        return ["warning: the password is the username; scanners try that first"]
    if len(password) < WEAK_BELOW_CHARACTERS:
        return [f"warning: fewer than {WEAK_BELOW_CHARACTERS} characters are guessed quickly"]
    return []
