"""What the commands ask of the server: small protocols that ``mizu.app`` fills in, once, at start.

The commands import neither store nor switch; whatever has these methods will do. Fakes for tests are in
``mizu.testing.console``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from mizu.clock import SystemClock
from mizu.model import Account, Binding, Cdr


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
    """CDRs; ``mizu.interfaces.ICallStore.recent``."""

    def recent(self, limit: int, before: str) -> Awaitable[Sequence[Cdr]]: ...


class LiveCalls(Protocol):
    """The calls in progress on this node."""

    def list(self) -> Sequence[LiveCall]:
        """All of them, oldest first."""

    def drop(self, call_id: str, by: str) -> bool:
        """End that call on both sides. ``False``: there is no such call (any more)."""


class Registrations(Protocol):
    """The registrar's bindings."""

    def list(self, prefix: str, limit: int) -> Sequence[Binding]:
        """Live bindings of accounts whose username begins with ``prefix``, by username."""

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


@dataclass(slots=True)
class ConsoleServices:
    """Everything a command can reach."""

    accounts: Accounts
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
