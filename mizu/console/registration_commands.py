"""``regs`` and ``unreg``."""

from datetime import UTC, datetime
from typing import Any

from mizu.console.arguments import TEXT, Argument, integer
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, duration, plural
from mizu.errors import NotFound
from mizu.model import Binding, Change


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
        ),
    )


class _RegistrationCommands:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services

    async def regs(self, call: Invocation) -> CommandResult:
        limit, now_s = call.number("limit"), self._services.wall().timestamp()
        found = self._services.registrations.list(call.text("prefix"), limit + 1, call.text("after"))
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
        total = self._services.registrations.count()
        lines = lines if rows else ["nothing registered"]
        lines.append(f"{plural(len(rows), 'contact')} shown, {total} registered in all")
        if more:
            lines.append(f"more: --after {last[0]}")
        result = {"registrations": [shown(b) for b in bindings], "more": more, "total": total}
        return CommandResult(lines, result)

    async def unreg(self, call: Invocation) -> CommandResult:
        username, contact = call.text("user"), call.text("contact")
        removed = self._services.registrations.remove(username, contact or None)
        if not removed:
            what = f"contact {contact} of {username}" if contact else f"{username}"
            raise NotFound(f"{what} is not registered")
        return CommandResult(
            [f"{plural(removed, 'registration')} of {username} removed"],
            {"username": username, "registrations_removed": removed},
            (Change("registration", username, {"contacts": removed}, {"contacts": 0} if contact else None),),
        )


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
