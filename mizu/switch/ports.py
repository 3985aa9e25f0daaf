"""What calls and legs ask of the rest of the switch. Implemented by :mod:`mizu.switch.b2bua`; tests give
their own. Nothing here waits: answers of slow things come back as calls of methods.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mizu.model import Account, CallAnswered, CallClosed, CallOpened, ChannelLimit
from mizu.observe import Metrics
from mizu.sip.dialog import Dialog
from mizu.sip.flow import Flow
from mizu.sip.outgoing import RequestSender
from mizu.sip.timers import DeadlineHeap, TimerSettings
from mizu.sip.transactions import ServerTransaction
from mizu.switch.identity import IdentityRules
from mizu.switch.way_back import NO_PROXIES, Proxies

if TYPE_CHECKING:
    from mizu.switch.call import Call
    from mizu.switch.leg import Leg

#: What an INVITE, and every answer that makes a dialog, says we understand.
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, REFER, NOTIFY"
SUPPORTED = "100rel, timer, replaces"


@dataclass(frozen=True, slots=True)
class SwitchSettings:
    """The part of the configuration that calls look at. Times in seconds."""

    domain: str = ""  #: host in our From; empty: as the caller addressed us
    server_name: str = "mizu"  #: ``Server`` and ``User-Agent``; empty: none
    node: str = ""  #: which process owns the call, for its row
    ring_timeout_s: float = 120.0
    session_timer: bool = True
    session_expires_s: int = 1800
    session_min_s: int = 90
    options_ping_s: float = 0.0
    max_forwards: int = 70
    calls: int = 20_000  #: at a time
    routes: int = 16  #: tried by one call
    forks: int = 32  #: contacts rung at a time by one call
    identity: IdentityRules = field(default_factory=IdentityRules)
    proxies: Proxies = NO_PROXIES  #: whose Path and Record-Route are followed


class Target(NamedTuple):
    """One place to send an INVITE to."""

    uri: str  #: Request-URI
    flow: Flow | None = None  #: only over this one; ``None``: resolve ``next_hop``
    next_hop: str = ""  #: URI to resolve; empty: topmost of ``path``, else ``uri``
    path: tuple[str, ...] = ()  #: Route values (RFC 3327)


class Ports(Protocol):
    """What :class:`~mizu.switch.call.Call` and :class:`~mizu.switch.leg.Leg` need."""

    settings: SwitchSettings
    sender: RequestSender
    deadlines: DeadlineHeap
    metrics: Metrics
    timers: TimerSettings
    server_fields: tuple[tuple[str, str], ...]  #: who we are, in answers
    now: Callable[[], float]  #: monotonic seconds
    token: Callable[[], str]  #: a new random word that nobody can guess, good as tag or Call-ID

    def wall(self) -> datetime:
        """Now, in UTC."""

    def chance(self) -> float:
        """A random number from 0 to 1, for waiting times."""

    def contact(self, flow: Flow) -> str:
        """Our Contact as the peer of this flow reaches it."""

    def is_proved(self, flow: Flow) -> bool:
        """Is whoever sent a request over this flow certainly there?"""

    def targets(self, account: Account) -> Sequence[Target]:
        """Where an account's phones are, best first; empty: none is registered."""

    def enter(self, leg: "Leg", call_id: str, tag: str) -> None:
        """From now on requests of this Call-ID and To tag are the leg's."""

    def leave(self, call_id: str, tag: str) -> None:
        """They are not any more."""

    def watch(self, leg: "Leg", call_id: str) -> None:
        """The leg sends an INVITE with this Call-ID of ours: late 2xx and loops are found by it."""

    def unwatch(self, call_id: str) -> None:
        """The leg is over."""

    def find_leg(self, call_id: str, local_tag: str, remote_tag: str) -> "Leg | None":
        """The leg of this dialog, by all three (Replaces, RFC 3891)."""

    def commit_answer(self, call: "Call", answered: CallAnswered) -> None:
        """Write it down; ``call.committed()`` or ``call.not_committed()`` follows."""

    def take_channels(self, call: "Call", channels: Sequence[ChannelLimit]) -> None:
        """The call counts for these accounts and no others; ``call.channels_taken()``, ``call.no_channel()``
        or ``call.channels_unknown()`` follows."""

    def close(self, closed: CallClosed) -> None:
        """The call row's last state."""

    def remove(self, call: "Call") -> None:
        """The call is over and holds nothing any more."""

    def new_call_id(self) -> str:
        """The id of one more call."""

    def begin_transfer(self, call: "Call", account: Account, opened: CallOpened) -> None:
        """Write the row of the call a REFER asks for and find its routes; ``call.routed()`` or
        ``call.refused()`` follows."""

    def verify(self, tx: ServerTransaction, leg: "Leg", accept: Callable[[], None]) -> None:
        """A request of the leg's dialog came from another address: make its sender prove the account, then
        call ``accept``."""

    def unexpected(self, text: str, call_id: str) -> None:
        """Something happened that the state table has no row for; counted and logged."""


def address_text(flow: Flow) -> str:
    """``proto:host:port`` of the peer, as call rows have it."""
    host, port = flow.remote
    return f"{flow.proto}:[{host}]:{port}" if ":" in host else f"{flow.proto}:{host}:{port}"


__all__ = ["ALLOW", "SUPPORTED", "Dialog", "Ports", "SwitchSettings", "Target", "address_text"]
