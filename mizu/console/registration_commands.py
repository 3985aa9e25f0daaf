"""``regs`` and ``unreg``."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mizu.accounts.scope import unknown
from mizu.console.arguments import TEXT, Argument, integer
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, duration, plural
from mizu.errors import NotFound
from mizu.model import Binding, Change

_PAGE = 5000  # usernames asked for at once


def shown(binding: Binding) -> dict[str, Any]:
    """A registered contact as JSON."""
    return {
        "username": binding.aor,
        "contact": binding.contact,
        "expires_at": datetime.fromtimestamp(binding.expires_at_s, UTC).isoformat(timespec="seconds"),
        "q": binding.q_milli / 1000,
        "proto": binding.proto,
        "received_host": binding.received_host,
        "received_port": binding.received_port,
        "path": list(binding.path),
        "user_agent": binding.user_agent,
        "instance_id": binding.instance_id,
        "reg_id": binding.reg_id,
        "call_id": binding.call_id,
        "cseq": binding.cseq,
    }


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    own = _RegistrationCommands(services)
    return (
        Command(
            name="regs",
            help="list registered contacts",
            permission="registrations.read",
            run=own.regs,
            arguments=(
                Argument("prefix", TEXT, "only accounts whose username begins so"),
                Argument("limit", integer(1, 10_000), "how many accounts", option=True, default=100),
                Argument("after", TEXT, "go on after this username", option=True),
            ),
            examples=("regs", "regs 10"),
            scoped=True,
        ),
        Command(
            name="unreg",
            help="forget the registration of an account",
            permission="registrations.write",
            run=own.unreg,
            arguments=(
                Argument("user", TEXT, "the account's username", required=True),
                Argument("contact", TEXT, "only this contact URI, as 'regs' shows it"),
            ),
            details="The phone comes back with its next REGISTER; 'disable' keeps it out.",
            examples=("unreg 1001", "unreg 1001 sip:1001@192.0.2.7:5060"),
            changes=True,
            emergency=True,
            scoped=True,
        ),
    )


class _RegistrationCommands:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services

    async def regs(self, call: Invocation) -> CommandResult:
        limit, now_s = call.number("limit"), self._services.wall().timestamp()
        scope = call.operator.scope_account_id
        found = await self._found(call.text("prefix"), limit + 1, call.text("after"), scope)
        names = list(dict.fromkeys(b.aor for b in found))
        more, last = len(names) > limit, names[:limit][-1:]
        bindings = [b for b in found if not more or b.aor <= last[0]]
        rows = [
            (
                b.aor,
                b.contact,
                f"{b.proto}:{_host(b.received_host)}:{b.received_port}",
                duration(max(0.0, b.expires_at_s - now_s)),
                b.user_agent[:40],
            )
            for b in bindings
        ]
        lines = aligned(
            ("USERNAME", "CONTACT", "RECEIVED FROM", "EXPIRES IN", "USER AGENT"), rows, right=(3,)
        )
        lines = lines if rows else ["nothing registered"]
        lines.append(f"{plural(len(rows), 'contact')} shown")
        result: dict[str, Any] = {"registrations": [shown(b) for b in bindings], "more": more}
        if scope is None:  # of how much there is besides, an operator with a scope learns nothing
            result["total"] = self._services.registrations.count()
            lines[-1] += f", {result['total']} registered in all"
        if more:
            lines.append(f"more: --after {last[0]}")
        return CommandResult(lines, result)

    async def _found(self, prefix: str, limit: int, after: str, scope: int | None) -> Sequence[Binding]:
        """Bindings of so many registered accounts that the operator sees, by username."""
        registrations = self._services.registrations
        if scope is None:
            return registrations.list(prefix, limit, after)
        found: list[Binding] = []
        accounts = 0
        while True:
            names = await self._services.records.usernames(prefix, _PAGE, after, scope)
            for bindings in map(registrations.of, names):
                found += bindings
                accounts += bool(bindings)
                if accounts == limit:
                    return found
            if len(names) < _PAGE:
                return found
            after = names[-1]

    async def unreg(self, call: Invocation) -> CommandResult:
        username, contact = call.text("user"), call.text("contact")
        scope = call.operator.scope_account_id
        if scope is not None and username not in await self._services.records.seen([username], scope):
            raise unknown(username)
        removed = self._services.registrations.remove(username, contact or None)
        if not removed:
            what = f"contact {contact} of {username}" if contact else f"{username}"
            raise NotFound(f"{what} is not registered")
        return CommandResult(
            [f"{plural(removed, 'registration')} of {username} removed"],
            {"username": username, "registrations_removed": removed},
            (
                Change(
                    "registration",
                    username,
                    {"contacts": removed},
                    {"contacts": 0} if contact else None,
                    (username,),
                ),
            ),
        )


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
