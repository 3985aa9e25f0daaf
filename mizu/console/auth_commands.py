"""``authtest``."""

from dataclasses import dataclass
from typing import Any

from mizu.accounts.addresses import parse_entry
from mizu.console.arguments import TEXT, Argument, choice
from mizu.console.guard_services import GuardDesk, Outlook
from mizu.console.services import AuthProbe, ConsoleServices, DryRun
from mizu.console.table import Command, CommandResult, Invocation
from mizu.errors import BadRequest
from mizu.model import AuthQuery
from mizu.sip.grammar import BadMessage
from mizu.sip.uri import SipUri, parse_uri

PORT = 5060
_WORDS = {
    "dropped": "dropped unread, without an answer",
    "accepted": "let in without a password",
    "password": "let in with the right password",
    "challenged": "asked for a password",
    "refused": "refused",
}


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    if services.auth is None:
        return ()
    own = _AuthCommands(services.auth, services.guard, services.realm)
    return (
        Command(
            name="authtest",
            help="what would happen to a request from an address, and why",
            permission="accounts.read",
            run=own.authtest,
            arguments=(
                Argument("source", TEXT, "address it comes from, HOST or HOST:PORT", required=True),
                Argument("method", TEXT, "REGISTER, INVITE or MESSAGE", required=True),
                Argument("from", TEXT, "user or URI of From", required=True),
                Argument("to", TEXT, "user or URI of To: the called number", required=True),
                Argument("user", TEXT, "username of its credentials; left out: it has none"),
                Argument("proto", choice("udp", "tcp", "tls"), "transport", option=True, default="udp"),
            ),
            details="Nothing is changed and no password is checked: credentials count as right. Bans, the "
            "white list and accounts that are slowed down are looked at first.",
            examples=(
                "authtest 192.0.2.7 INVITE 1001 9196",
                "authtest 192.0.2.7:5080 REGISTER 1001 1001 1001",
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class _AuthCommands:
    probe: AuthProbe
    guard: GuardDesk | None
    realm: str

    async def authtest(self, call: Invocation) -> CommandResult:
        method = call.text("method").upper()
        if method not in ("REGISTER", "INVITE", "MESSAGE"):
            raise BadRequest("method: want REGISTER, INVITE or MESSAGE; nothing else is authorized")
        host, port = source_of(call.text("source"))
        caller, called = user_of(call.text("from")), user_of(call.text("to"))
        registers = method == "REGISTER"
        claimed = called if registers else caller
        tried = await self.probe.dry_run(
            AuthQuery(
                method=method,
                username=call.text("user") or claimed,
                realm=self.realm,
                source_host=host,
                source_port=port,
                proto=call.text("proto"),
                caller_number=claimed,
                called_number="" if registers else called,
                has_credentials=bool(call.text("user")),
            )
        )
        found = _found(tried)
        if self.guard is not None:
            outlook = self.guard.outlook(host, port, call.text("proto"), call.text("user"))
            found = _guarded(found, outlook, 401 if registers else 407)
        lines = [f"{method} from {host}:{port}: {_summary(found)}"]
        lines += [f"  {reason}" for reason in found["reasons"]]
        return CommandResult(lines, found)


def _found(tried: DryRun) -> dict[str, Any]:
    return {
        "outcome": tried.outcome,
        "status": tried.status,
        "account": tried.account,
        "backend": tried.backend,
        "reasons": list(tried.reasons),
    }


def _guarded(found: dict[str, Any], outlook: Outlook, asks: int) -> dict[str, Any]:
    """What becomes of it when the guard has looked at it first."""
    reasons = [*outlook.reasons, *found["reasons"]]
    if outlook.dropped:
        reasons.insert(len(outlook.reasons), f"without that: {_summary(found)}")
        return {"outcome": "dropped", "status": 0, "account": "", "backend": "", "reasons": reasons}
    if outlook.unchecked:
        return {"outcome": "challenged", "status": asks, "account": "", "backend": "", "reasons": reasons}
    return {**found, "reasons": reasons}


def _summary(found: dict[str, Any]) -> str:
    whose = (
        f", as {found['account']}"
        if found["account"] and found["outcome"] in ("accepted", "password")
        else ""
    )
    return f"{_WORDS[found['outcome']]}{whose}" + (f", {found['status']}" if found["status"] else "")


def source_of(word: str) -> tuple[str, int]:
    """Address and port. :raise BadRequest:"""
    entry = parse_entry(word)
    if entry.name or entry.is_range:
        raise BadRequest("source: want one address, as 192.0.2.7 or 192.0.2.7:5080")
    return str(entry.networks[0].network_address), entry.port or PORT


def user_of(word: str) -> str:
    """The user part of a URI, or the word itself. :raise BadRequest:"""
    if not word.lower().startswith(("sip:", "sips:", "tel:")):
        return word
    try:
        uri = parse_uri(word)
    except BadMessage as bad:
        raise BadRequest(f"{word[:80]!r}: {bad}") from None
    return uri.user if isinstance(uri, SipUri) else word.partition(":")[2].partition(";")[0]
