"""``tokens list``, ``tokens add``, ``tokens revoke``: with what operators use the console and the API."""

import hashlib
import secrets
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from mizu.console.arguments import FLAG, TEXT, Argument, Kind, integer
from mizu.console.services import ConsoleServices, Tokens
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, moment
from mizu.model import Change, OperatorToken, Rights

TOKEN_PREFIX = "mizu_"  # noqa: S105 - lets people, and programs that look for leaked secrets, recognize one
#: What a token may have, by name or by the original's number.
RIGHTS_WORDS = ("login_only", "user", "sales", "admin", "general_admin")
_NUMBERS = {str(int(Rights[name.upper()])): name for name in RIGHTS_WORDS}


def _rights(word: str) -> str:
    name = _NUMBERS.get(word, word)
    if name not in RIGHTS_WORDS:
        raise ValueError(f"one of {', '.join(RIGHTS_WORDS)}, or a number: {', '.join(_NUMBERS)}")
    return name


_RIGHTS = Kind(
    "choice:" + "|".join(RIGHTS_WORDS),
    _rights,
    {
        "oneOf": [
            {"type": "string", "enum": [*RIGHTS_WORDS]},
            {"type": "integer", "enum": [*map(int, _NUMBERS)]},
        ]
    },
)
LABEL_MAX_CHARACTERS = 100


def new_token() -> str:
    """256 random bits as text."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_sha256(token: str) -> bytes:
    """What is kept of a token. No salt and no slow hash: nobody can guess 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def state_of(token: OperatorToken, now: datetime) -> str:
    """``valid``, ``revoked`` or ``expired``."""
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "valid"


def shown(token: OperatorToken, now: datetime) -> dict[str, Any]:
    """A token as JSON, without what it is."""
    values = {
        key: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for key, value in asdict(token).items()
    }
    return {**values, "rights": token.rights.name.lower(), "state": state_of(token, now)}


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    if services.tokens is None:
        return ()
    own = _TokenCommands(services, services.tokens)
    return (
        Command(
            name="tokens list",
            help="list the tokens of operators",
            permission="tokens.read",
            run=own.list,
            arguments=(
                Argument("account", TEXT, "only of this account"),
                Argument("all", FLAG, "expired and revoked ones too", option=True, default=False),
                Argument("limit", integer(1, 10_000), "how many", option=True, default=100),
                Argument("after", integer(0, 2**53), "go on after this number", option=True, default=0),
            ),
            examples=("tokens list", "tokens list alice --all"),
            scoped=True,
        ),
        Command(
            name="tokens add",
            help="make a token for an account; it is shown once",
            permission="tokens.write",
            run=own.add,
            arguments=(
                Argument("account", TEXT, "whose token it is", required=True),
                Argument("rights", _RIGHTS, "left out: those of the account", option=True),
                Argument(
                    "days", integer(0, 36_500), "expires after; 0: never; left out: 'tokendays'", option=True
                ),
                Argument("label", TEXT, "what it is for", option=True, default=""),
            ),
            details="A token of a support or admin account without an owner reaches the whole server; of "
            "such an account below an owner, everything of that owner; of any other account, that account "
            "and what is below it. It never has more rights than its account: "
            "'sales' reads, 'admin' changes too.",
            examples=("tokens add alice", "tokens add shop7 --rights admin --days 30 --label 'web shop'"),
            changes=True,
            atomic=True,
            scoped=True,
        ),
        Command(
            name="tokens revoke",
            help="take a token back, at once and on every node",
            permission="tokens.write",
            run=own.revoke,
            arguments=(Argument("id", integer(1, 2**53), "its number, see 'tokens list'", required=True),),
            examples=("tokens revoke 3",),
            changes=True,
            atomic=True,
            scoped=True,
        ),
    )


class _TokenCommands:
    def __init__(self, services: ConsoleServices, tokens: Tokens) -> None:
        self._services = services
        self._tokens = tokens

    async def list(self, call: Invocation) -> CommandResult:
        limit, now = call.number("limit"), self._services.wall()
        found = list(
            await self._tokens.list(
                call.text("account"), limit + 1, call.number("after"), call.operator, every=call.flag("all")
            )
        )
        more, tokens = len(found) > limit, found[:limit]
        rows = [
            (
                str(token.id),
                token.username,
                token.rights.name.lower(),
                token.scope or "everything",
                state_of(token, now),
                moment(token.expires_at) if token.expires_at else "never",
                moment(token.used_at) if token.used_at else "never",
                token.label,
            )
            for token in tokens
        ]
        heads = ("ID", "ACCOUNT", "RIGHTS", "SCOPE", "STATE", "EXPIRES (UTC)", "USED (UTC)", "LABEL")
        lines = aligned(heads, rows, right=(0,)) if rows else ["no tokens"]
        if more:
            lines.append(f"more: --after {tokens[-1].id}")
        return CommandResult(lines, {"tokens": [shown(token, now) for token in tokens], "more": more})

    async def add(self, call: Invocation) -> CommandResult:
        now, text = self._services.wall(), call.values["days"]
        days = int(self._services.options.get("tokendays") if text is None else text)
        word, secret = call.text("rights"), new_token()
        token = await self._tokens.add(
            call.text("account"),
            token_sha256(secret),
            call.operator,
            rights=Rights[word.upper()] if word else None,
            label=call.text("label")[:LABEL_MAX_CHARACTERS],
            expires_at=now + timedelta(days=days) if days else None,
            note=call.note(lambda made: (_made(made, now),)),
        )
        facts = shown(token, now)
        until = f"until {moment(token.expires_at)} UTC" if token.expires_at else "without end"
        reach = f"{token.scope} and what is below" if token.scope else "the whole server"
        lines = [
            f"token {token.id} of {token.username}: rights {facts['rights']}, reaches {reach}, {until}",
            f"token: {secret}   (shown this once)",
        ]
        return CommandResult(lines, {"token": facts, "secret": secret}, (_made(token, now),))

    async def revoke(self, call: Invocation) -> CommandResult:
        now = self._services.wall()

        def change(token: OperatorToken) -> Change:
            after = shown(token, now)
            before = {**after, "state": "valid", "revoked_at": None}
            return Change("token", str(token.id), before, after, (token.username,))

        token = await self._tokens.revoke(
            call.number("id"), call.operator, call.note(lambda gone: (change(gone),))
        )
        lines = [f"token {token.id} of {token.username} revoked"]
        return CommandResult(lines, {"token": shown(token, now)}, (change(token),))


def _made(token: OperatorToken, now: datetime) -> Change:
    return Change("token", str(token.id), None, shown(token, now), (token.username,))
