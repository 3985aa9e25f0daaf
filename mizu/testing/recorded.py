"""Fakes without a network: a flow that keeps what is sent over it, a user that keeps what it is told."""

from collections.abc import Callable
from typing import Any

from mizu.sip.flow import Flow
from mizu.sip.message import Request, Response
from mizu.sip.parser import parse_datagram
from mizu.sip.transactions import ServerTransaction
from mizu.testing.clock import FakeClock


class RecordedFlow:
    """
    A flow to nowhere (implements ``mizu.sip.flow.Flow``).

    :param clock: when given, ``times_s`` says when each message was sent.
    :ivar fault: when set, everything sent fails at once with this reason.
    """

    def __init__(
        self,
        clock: FakeClock | None = None,
        *,
        proto: str = "udp",
        local: tuple[str, int] = ("10.0.0.1", 5060),
        remote: tuple[str, int] = ("10.0.0.2", 5060),
    ) -> None:
        self.proto = proto
        self.reliable = proto != "udp"
        self.answer_max_bytes = 0
        self.local = local
        self.remote = remote
        self.listener = f"{proto}:{local[0]}:{local[1]}"
        self.sent: list[bytes] = []
        self.times_s: list[float] = []  #: since the clock's start, rounded to milliseconds
        self.fault = ""
        self.on_error: Callable[[str], None] | None = None  #: of the newest message; call it to fail late
        self._clock = clock
        self._began_s = clock.mono_s() if clock is not None else 0.0

    def send(self, data: bytes, on_error: Callable[[str], None] | None = None) -> None:
        """See ``mizu.sip.flow.Flow``."""
        self.sent.append(data)
        self.on_error = on_error
        if self._clock is not None:
            self.times_s.append(round(self._clock.mono_s() - self._began_s, 3))
        if self.fault and on_error is not None:
            on_error(self.fault)

    def alive(self) -> bool:
        """Always."""
        return True

    def keep_for(self, duration_s: float) -> None:
        """There is no connection to keep."""

    @property
    def messages(self) -> list[Request | Response]:
        """Everything sent, parsed."""
        return [parse_datagram(data) for data in self.sent]

    @property
    def summary(self) -> list[str]:
        """Everything sent, in short: ``["INVITE", "180"]``."""
        return [m.method if isinstance(m, Request) else str(m.status) for m in self.messages]


class RecordedUser:
    """
    Whoever is above the transaction layer: transaction user, client user and outgoing user in one.

    :ivar events: what it was told, in order: ``("request", "INVITE")``, ``("response", 200)``,
        ``("timeout",)``, ``("error", reason)``, ``("ack", "ACK")``, ``("stray", 200)``,
        ``("failure", code)``.
    :ivar on_request: called with each new server transaction.
    """

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.transactions: list[ServerTransaction] = []
        self.responses: list[Response] = []
        self.acks: list[Request] = []
        self.on_request: Callable[[ServerTransaction], None] | None = None

    def request_received(self, tx: ServerTransaction) -> None:
        """See ``TransactionUser``."""
        self.events.append(("request", tx.request.method))
        self.transactions.append(tx)
        if self.on_request is not None:
            self.on_request(tx)

    def ack_received(self, ack: Request, flow: Flow) -> None:
        """See ``TransactionUser``."""
        self.events.append(("ack", ack.method))
        self.acks.append(ack)

    def stray_response(self, response: Response, flow: Flow) -> None:
        """See ``TransactionUser``."""
        self.events.append(("stray", response.status))

    def on_response(self, response: Response, tx: object) -> None:
        """See ``ClientUser`` and ``OutgoingUser``."""
        self.events.append(("response", response.status))
        self.responses.append(response)

    def on_timeout(self, tx: object) -> None:
        """See ``ClientUser``."""
        self.events.append(("timeout",))

    def on_transport_error(self, reason: str, tx: object) -> None:
        """See ``ClientUser``."""
        self.events.append(("error", reason))

    def on_failure(self, code: str, outgoing: object) -> None:
        """See ``OutgoingUser``."""
        self.events.append(("failure", code))
