"""SIP over TCP and TLS: one connection, with the same hooks as the UDP transport (RFC 3261 18, RFC 5626)."""

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any
from typing import Protocol as Shape

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mizu.config import LimitsConfig
from mizu.sip.locate import DEFAULT_PORT
from mizu.sip.message import Message, Request, Response
from mizu.sip.parser import PING, PONG, BadMessage, StreamFramer
from mizu.sip.transport.report import TransportReport
from mizu.sip.transport.sink import Guard, MessageSink, Trace

#: Messages of an outgoing connection that failed abruptly are reported as lost when the peer said nothing
#: after them; so many are remembered.
RECENT_MAX = 64
#: ... and no longer than this, seconds (64*T1): by then their transactions are over.
RECENT_S = 32.0

#: What Twisted's transports take before they ask us to stop.
_TRANSPORT_BUFFER_BYTES = 65_536


class State(Enum):
    """Of a connection."""

    OPENING = "opening"  #: TCP or TLS not ready; messages wait
    OPEN = "open"
    CLOSING = "closing"  #: nothing is read any more; what was written goes out
    CLOSED = "closed"


class Owner(Shape):
    """Who keeps the connections: see :class:`mizu.sip.transport.connections.Connections`."""

    sink: MessageSink
    guard: Guard
    report: TransportReport
    limits: LimitsConfig
    messages: int
    received_bytes: int
    sent_bytes: int
    trace: Trace | None

    def now(self) -> float:
        """Monotonic seconds."""

    def proven(self, connection: "StreamTransport") -> None:
        """Its first message has come."""

    def lost(self, connection: "StreamTransport") -> None:
        """It is closed."""


@implementer(IHandshakeListener, IPushProducer)
class StreamTransport(Protocol):
    """
    One TCP or TLS connection; it is its own :class:`mizu.sip.flow.Flow`.

    Everything a peer can hold back has an end: the TLS handshake, a message that is not completed, answers
    that are not read, silence. A connection that carries a registration may be silent as long as that lasts:
    see :meth:`keep_for`.
    """

    reliable = True
    answer_max_bytes = 0

    def __init__(
        self,
        owner: Owner,
        proto: str,
        listener: str,
        local: tuple[str, int],
        remote: tuple[str, int],
        *,
        outgoing: bool = False,
        tls_name: str = "",
    ) -> None:
        """
        :param proto: ``tcp`` or ``tls``.
        :param local: for Via and Contact: the address of the listener, not of this socket.
        :param tls_name: the name that the peer's certificate was checked against.
        """
        self.proto = proto
        self.listener = listener
        self.local = local
        self.remote = remote
        self.outgoing = outgoing
        self.tls_name = tls_name
        self.state = State.OPENING
        self.received = 0  #: messages
        self._owner = owner
        self._framer = StreamFramer(owner.limits)
        now_s = owner.now()
        self._since_s = now_s  # when the present state began
        self._active_s = now_s
        self._kept_until_s = now_s
        self._partial_since_s: float | None = None
        self._waiting: list[tuple[bytes, Callable[[str], None] | None]] = []
        self._waiting_bytes = 0
        self._blocked_bytes = -1  # -1: the transport takes what we write; else written since it does not
        self._recent: deque[Callable[[str], None]] = deque(maxlen=RECENT_MAX)
        self._abandon: Callable[[], None] | None = None
        self._sent_by_port = 0  # of the last request's Via; 0: no request has come
        self._reopen: Callable[[int], StreamTransport | None] | None = None

    # ------------------------------------------------------------ as a flow

    @property
    def pinned(self) -> bool:
        """Whether it carries a registration."""
        return self._owner.now() < self._kept_until_s

    def keep_for(self, duration_s: float) -> None:
        """A registration over this connection is good for so long: silence does not close it until then."""
        self._kept_until_s = max(self._kept_until_s, self._owner.now() + duration_s)

    def alive(self) -> bool:
        """False when no message can be sent any more."""
        return self.state in (State.OPENING, State.OPEN)

    def send(self, data: bytes, on_error: Callable[[str], None] | None = None) -> None:
        """See :meth:`mizu.sip.flow.Flow.send`."""
        if self.state is State.OPEN:
            self._write(data, on_error)
        elif self.state is State.OPENING:
            if self._waiting_bytes + len(data) > self._owner.limits.connection_buffer_bytes:
                self._tell(on_error, "too much is waiting for the connection")
                return
            self._waiting.append((data, on_error))
            self._waiting_bytes += len(data)
        else:
            again = self._opened_again() if data.startswith(b"SIP/2.0 ") else None
            if again is None:
                self._tell(on_error, "the connection is closed")
            else:
                again.send(data, on_error)

    def _opened_again(self) -> "StreamTransport | None":
        """
        For a response whose connection has gone: a new one to where the request came from, at the port of its
        Via (RFC 3261 18.2.2).
        """
        if self._reopen is None or not self._sent_by_port:
            return None
        return self._reopen(self._sent_by_port)

    def _write(self, data: bytes, on_error: Callable[[str], None] | None) -> None:
        if self._owner.trace is not None:
            self._traced("out", data)
        assert self.transport is not None
        self._active_s = self._owner.now()
        if on_error is not None:
            self._recent.append(on_error)
        self.transport.write(data)
        self._owner.sent_bytes += len(data)
        if self._blocked_bytes >= 0:
            self._blocked_bytes += len(data)
            if self._blocked_bytes + _TRANSPORT_BUFFER_BYTES > self._owner.limits.connection_buffer_bytes:
                self.abort("reads nothing; dropped")

    def _tell(self, on_error: Callable[[str], None] | None, reason: str) -> None:
        if on_error is None:
            return
        try:
            on_error(reason)
        except Exception:
            self._owner.report.bug(self._name())

    # ------------------------------------------------------------ as a Twisted protocol

    def connectionMade(self) -> None:
        """TCP is there; with TLS the handshake still has to be."""
        transport: Any = self.transport
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            if hasattr(transport, option):
                getattr(transport, option)(True)
        transport.registerProducer(self, True)
        if self.proto == "tcp":
            self._opened()

    def handshakeCompleted(self) -> None:
        """TLS is there."""
        if self.state is State.OPENING:
            self._opened()

    def _opened(self) -> None:
        self.state = State.OPEN
        self._since_s = self._active_s = self._owner.now()
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for data, on_error in waiting:
            self.send(data, on_error)  # an early one may close the connection: the rest is told then

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the stream: keepalives and messages, whole or in part. Never raises."""
        if self.state is not State.OPEN:
            return
        self._active_s = self._owner.now()
        self._owner.received_bytes += len(data)
        self._recent.clear()
        try:
            events = self._framer.feed(data)
        except BadMessage as bad:
            self._malformed(bad, len(data))
            return
        except Exception:
            self._owner.report.bug(self._name())
            self.abort("framing failed")
            return
        for event in events:
            if isinstance(event, Message):
                self._received(event)
            elif event == PING and self.alive():
                self.send(PONG)
        if self._framer.failed is not None and self.state is State.OPEN:
            self._malformed(self._framer.failed, len(data))
        elif not self._framer.pending_bytes:
            self._partial_since_s = None
        elif events or self._partial_since_s is None:
            self._partial_since_s = self._active_s

    def _received(self, message: Message) -> None:
        if self.state is not State.OPEN or not self._owner.guard.admit_framed(*self.remote):
            return
        if not self.received:
            self._owner.proven(self)
        self.received += 1
        self._owner.messages += 1
        message.flow = self
        try:
            if self._owner.trace is not None:
                self._traced("in", message.to_bytes())
            if isinstance(message, Request):
                message.stamp_source(*self.remote)
                self._sent_by_port = message.via.port or DEFAULT_PORT[self.proto]
            self.addMessage(message)
        except Exception:
            self._owner.report.bug(self._name())

    def _malformed(self, bad: BadMessage, size_bytes: int) -> None:
        """Answer what can be answered, and close: where the next message begins is not known any more."""
        host, port = self.remote
        self._owner.guard.note_garbage(host, port, bad.code)
        self._owner.report.malformed(self.proto, host, port, bad.code, str(bad))
        if bad.request is not None:
            bad.request.flow = self
            bad.request.stamp_source(host, port)
        try:
            self._owner.sink.bad_message(bad, size_bytes, self)
        except Exception:
            self._owner.report.bug(self._name())
        self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is closed, by whomever."""
        clean = bool(reason.check(ConnectionDone))  # type: ignore[no-untyped-call]
        self._ended(_reason(reason), clean=clean)

    def connect_failed(self, reason: Failure) -> None:
        """The outgoing connection could not be made."""
        self._ended(_reason(reason), clean=False)

    def _ended(self, reason: str, clean: bool) -> None:
        if self.state is State.CLOSED:
            return
        was_open = self.state is not State.OPENING
        self.state = State.CLOSED
        waiting, self._waiting = self._waiting, []
        recent, self._recent = self._recent, deque()
        self._owner.lost(self)
        if not was_open:
            self._owner.report.send_failed(self.proto, *self.remote, reason)
        for _, on_error in waiting:
            self._tell(on_error, reason)
        if not clean:
            for on_error in recent:
                self._tell(on_error, reason)
        if was_open:
            try:
                self._owner.sink.flow_closed(self)
            except Exception:
                self._owner.report.bug(self._name())

    # ------------------------------------------------------------ as a producer: is the peer reading?

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._blocked_bytes = max(self._blocked_bytes, 0)

    def resumeProducing(self) -> None:
        """It is empty again."""
        self._blocked_bytes = -1

    def stopProducing(self) -> None:
        """The connection is gone; :meth:`connectionLost` does the rest."""

    # ------------------------------------------------------------ the hooks of sip.Base

    def addMessage(self, msg: Any) -> None:
        """Hand one message to the hook for its kind."""
        if msg.is_request:
            self.handle_request(msg, self.remote)
        else:
            self.handle_response(msg, self.remote)

    def handle_request(self, message: Request, addr: tuple[str, int]) -> None:
        """A request has come. Override to see it first."""
        self._owner.sink.message_received(message, self)

    def handle_response(self, message: Response, addr: tuple[str, int]) -> None:
        """A response has come. Override to see it first."""
        self._owner.sink.message_received(message, self)

    def sendMessage(self, destURL: Any, message: Any) -> None:
        """Send to the one peer there is, whatever ``destURL`` says: anything that has ``toString()``."""
        data = message.toString()
        self.send(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)

    # ------------------------------------------------------------ ends

    def reopened_by(self, reopen: "Callable[[int], StreamTransport | None]") -> None:
        """:param reopen: connects to a port of the same peer."""
        self._reopen = reopen

    def opening_by(self, abandon: Callable[[], None]) -> None:
        """:param abandon: stops the attempt to connect."""
        self._abandon = abandon

    def close(self) -> None:
        """Close when what was written has gone out; the peer has ``connection_message_s`` for that."""
        if self.state is State.OPENING:
            self.abort("closed")
        elif self.state is State.OPEN:
            self.state = State.CLOSING
            self._since_s = self._owner.now()
            transport: Any = self.transport
            transport.unregisterProducer()
            transport.loseConnection()

    def abort(self, why: str) -> None:
        """Close at once; what was not sent is lost."""
        if self.state is State.CLOSED:
            return
        self._owner.report.peer("dropped", self.proto, *self.remote, why)
        transport: Any = self.transport
        if transport is None:
            self._ended(why, clean=False)
            if self._abandon is not None:
                self._abandon()
        else:
            if self.state is State.OPEN:
                self.state = State.CLOSING
                self._since_s = self._owner.now()
            transport.abortConnection()

    def check(self, now_s: float) -> None:
        """Called now and then: end what has taken too long."""
        limits = self._owner.limits
        if self._recent and now_s - self._active_s > RECENT_S:
            self._recent.clear()  # what they hold on to would make an idle connection costly
        if self.state is State.OPENING:
            if now_s - self._since_s > limits.connection_open_s:
                self.abort("was not open in time")
        elif self.state is State.CLOSING:
            if now_s - self._since_s > limits.connection_message_s:
                self.abort("does not let itself be closed")
        elif (
            self._partial_since_s is not None and now_s - self._partial_since_s > limits.connection_message_s
        ):
            self.abort("sends a message too slowly")
        elif now_s - self._active_s > limits.connection_idle_s and (
            now_s >= self._kept_until_s or self._blocked_bytes >= 0
        ):
            self.close()

    def _traced(self, direction: str, data: bytes) -> None:
        assert self._owner.trace is not None
        try:
            self._owner.trace(direction, self.proto, self.local, self.remote, data)
        except Exception:
            self._owner.report.bug("trace")

    def _name(self) -> str:
        return f"{self.proto}:{self.remote[0]}:{self.remote[1]}"

    def __repr__(self) -> str:
        return f"<{self.proto} flow {self.listener} {self.remote[0]}:{self.remote[1]} {self.state.value}>"


def _reason(failure: Failure) -> str:
    text = failure.getErrorMessage().splitlines()
    return text[0][:200] if text else failure.type.__name__ if failure.type else "closed"
