"""What the commands ask of the server: small protocols that ``mizu.app`` fills in, once, at start.

The commands import neither store nor switch; whatever has these methods will do. Fakes for tests are in
``mizu.testing.console``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from mizu.clock import SystemClock
from mizu.console.account_services import Addresses, Groups, Imports, Numbers, Records, SipAccounts
from mizu.console.auditing import AuditTrail
from mizu.console.guard_services import GuardDesk
from mizu.model import (
    Account,
    AuditNote,
    AuditRecord,
    AuthQuery,
    Binding,
    Cdr,
    Operator,
    OperatorToken,
    Rights,
)
from mizu.options import Options


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A call in progress, as people read it."""

    call_id: str  #: ours, as in the CDR
    state: str  #: ``setup``, ``ringing``, ``talking``, ``ending``, ``recovered``
    caller: str  #: account username, or empty
    caller_number: str
    called_number: str
    callee: str  #: account username or trunk of the leg that rings or talks
    route: str
    caller_address: str  #: ``proto:host:port``
    callee_address: str
    setup_at: datetime
    age_s: float  #: since the INVITE, by the monotonic clock
    talk_s: float  #: since the answer; 0: not answered yet


@dataclass(frozen=True, slots=True)
class TracedMessage:
    """One SIP message kept by the trace; ``text`` is already without secrets."""

    at: datetime
    direction: str  #: ``in`` or ``out``
    proto: str
    remote: str  #: ``host:port``
    text: str


class Accounts(Protocol):
    """The part of ``mizu.interfaces.IAccountStore`` that commands use; see there."""

    def find(self, username: str) -> Awaitable[tuple[Account, Mapping[str, str]] | None]: ...

    def list(self, prefix: str, limit: int, after: str) -> Awaitable[Sequence[Account]]: ...

    def add(
        self, username: str, ha1: Mapping[str, str], fields: Mapping[str, object]
    ) -> Awaitable[Account]: ...

    def change(
        self, username: str, ha1: Mapping[str, str] | None, fields: Mapping[str, object]
    ) -> Awaitable[Account]: ...

    def delete(self, username: str) -> Awaitable[None]: ...


class CallRecords(Protocol):
    """CDRs; ``mizu.store.call_history.CallHistory``."""

    def recent(self, limit: int, before: str, scope: int | None) -> Awaitable[Sequence[Cdr]]: ...


class LiveCalls(Protocol):
    """The calls in progress on this node."""

    def list(self) -> Sequence[LiveCall]:
        """All of them, oldest first."""

    def drop(self, call_id: str, by: str) -> bool:
        """End that call on both sides. ``False``: there is no such call (any more)."""


class Registrations(Protocol):
    """The registrar's bindings."""

    def list(self, prefix: str, limit: int, after: str = "") -> Sequence[Binding]:
        """Live bindings of the first ``limit`` accounts with that prefix, by username, beyond ``after``."""

    def of(self, username: str) -> Sequence[Binding]:
        """Live bindings of that account; none: it is offline here."""

    def count(self) -> int:
        """Live bindings in all."""

    def remove(self, username: str, contact: str | None) -> int:
        """Forget one contact of an account, or all (``None``). How many there were."""


class Trace(Protocol):
    """Keeps the last SIP messages while it is on; ``mizu.console.trace.MessageTrace``."""

    def start(self, *, address: str = "", user: str = "") -> None:
        """Keep messages from or to that address (host, or host:port), that name that user; empty: any."""

    def stop(self) -> None:
        """Keep no more; what there is stays."""

    def clear(self) -> None:
        """Forget the messages."""

    def state(self) -> Mapping[str, Any]:
        """``on``, ``address``, ``user``, ``kept``, ``limit``."""

    def recent(self, limit: int) -> Sequence[TracedMessage]:
        """The last ones, oldest first."""


class Tokens(Protocol):
    """Tokens of operators. An operator with a scope sees and makes only those of accounts in it."""

    def list(
        self, username: str, limit: int, after: int, operator: Operator, *, every: bool
    ) -> Awaitable[Sequence[OperatorToken]]:
        """Of one account, or all, by number, beyond ``after``. ``every``: expired and revoked ones too."""

    def add(
        self,
        username: str,
        sha256: bytes,
        by: Operator,
        *,
        rights: Rights | None,
        label: str,
        expires_at: datetime | None,
        note: AuditNote | None,
    ) -> Awaitable[OperatorToken]:
        """
        Keep the hash of a new token.

        :param rights: ``None``: those of the account, at most the operator's own.
        :param note: entry of the audit list, committed with the change.
        :raise NotFound: no such account in the operator's scope.
        :raise Conflict: the account has less rights.
        :raise Forbidden: more rights than the operator's own.
        """

    def revoke(self, number: int, operator: Operator, note: AuditNote | None) -> Awaitable[OperatorToken]:
        """
        :raise NotFound: no such token in the operator's scope. :raise Conflict: it is revoked already.
        :raise Forbidden: it has more rights than the operator, and is not the one that they use.
        """


class AuditList(AuditTrail, Protocol):
    """The audit list for readers too."""

    def list(
        self, limit: int, before: int | None, who: str, about: str, operator: Operator
    ) -> Awaitable[Sequence[AuditRecord]]:
        """
        Newest first, those before an entry.

        :param who: only of this operator; empty: of any.
        :param about: only about this object, ``topic:key``; empty: any.
        :param operator: one with a scope sees what was changed in it, by whomever; who that was, and the
            whole command, when it was an operator limited to accounts in that scope.
        """


class DryRun(Protocol):
    """What would happen to a request; see ``mizu.auth.dry_run.DryRun``."""

    @property
    def outcome(self) -> str: ...

    @property
    def status(self) -> int: ...

    @property
    def account(self) -> str: ...

    @property
    def backend(self) -> str: ...

    @property
    def reasons(self) -> tuple[str, ...]: ...


class AuthProbe(Protocol):
    """Authorization, tried out."""

    def dry_run(self, query: AuthQuery) -> Awaitable[DryRun]: ...


@dataclass(slots=True)
class ConsoleServices:
    """Everything a command can reach."""

    accounts: Accounts
    records: Records
    cdrs: CallRecords
    calls: LiveCalls
    registrations: Registrations
    trace: Trace
    status: Callable[[], Mapping[str, Any]]  #: the facts of ``/status`` (``StatusBoard.read``)
    shutdown: Callable[[bool], None]
    """``shutdown(graceful)``: begin to stop and return at once, so that the answer still gets out."""
    realm: str  #: digest realm that stored passwords are bound to
    on_account_changed: Callable[[str], None] = field(default=lambda username: None)
    """Called with the username after each committed change, so that this node's caches forget it."""
    version: str = ""
    wall: Callable[[], datetime] = field(default=SystemClock().wall)  #: now, aware, UTC
    options: Options = field(default_factory=Options)
    groups: Groups | None = None  #: ``None``: the commands about groups are absent; so for those below
    numbers: Numbers | None = None
    addresses: Addresses | None = None
    sip_accounts: SipAccounts | None = None
    imports: Imports | None = None
    tokens: Tokens | None = None  #: ``None``: the commands about tokens are absent
    audit: AuditList | None = None  #: ``None``: changes are logged only, and ``audit`` is absent
    guard: GuardDesk | None = None  #: ``None``: the commands about bans are absent
    auth: AuthProbe | None = None  #: ``None``: ``authtest`` is absent
