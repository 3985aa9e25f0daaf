"""SIP over UDP (RFC 3261 18) on Twisted's ``sip.Base``: its hooks are kept, its ``datagramReceived`` is not.

The stock method keeps a message it cannot handle at the head of its list and so becomes deaf after one bad
datagram, and takes the start of the next datagram as the missing end of a short one. Here every datagram
stands alone: whatever it holds, nothing of it is left when the next one is read.

Not served: IPv6 link-local peers. Twisted's port drops the interface from their addresses, and without it
there is no way back to them.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import InvalidAddressError
from twisted.logger import Logger
from twisted.protocols import sip

from mizu import native
from mizu.config import LimitsConfig
from mizu.errors import MizuError
from mizu.sip.message import Request, Response
from mizu.sip.parser import BadMessage, parse_datagram
from mizu.sip.transport.reach import family_of
from mizu.sip.transport.report import TransportReport
from mizu.sip.transport.sink import Guard, MessageSink, Trace

#: What UDP senders use to keep a NAT binding open (RFC 5626 has STUN for that; nearly all phones send line
#: ends or a zero byte). No SIP message is so short, and no answer is wanted.
KEEPALIVE_BYTES = 4

MAX_DATAGRAM_BYTES = 65_535

_HOOKS = ("addMessage", "handle_request", "handle_response")

#: So many messages wait for the end of a batch at most.
BATCH_MESSAGES = 64
#: A message, where to, and who hears of its failure.
Outgoing = tuple[bytes, tuple[str, int], Callable[[str], None] | None]

_compiled = native.messages


class CannotListen(MizuError):
    """A listener cannot be opened: the address is taken, not ours, or the port needs privileges."""

    code = "cannot_listen"


class UdpFlow:
    """
    A UDP listener and a remote address. Cheap: one is made for each datagram.

    ``remote`` is where the datagram really came from. Messages go to the port that RFC 3261 18.2.2 and
    RFC 3581 name, which is another one when a request did not ask for ``rport`` and its Via has its own.
    ``maddr`` is not followed: it would let anybody aim our answers at somebody else.

    ``answer_max_bytes`` is what a stateless answer to the request it was made for may have, unless the
    sender is known: he may have forged his address, and we shall not send more to it than he did. 0: any.
    """

    __slots__ = ("_to", "_udp", "answer_max_bytes", "listener", "local", "remote")

    proto = "udp"
    reliable = False
    listener: str
    local: tuple[str, int]
    remote: tuple[str, int]

    def __init__(
        self,
        udp: "DatagramTransport",
        remote: tuple[str, int],
        to: tuple[str, int] | None = None,
        answer_max_bytes: int = 0,
    ) -> None:
        self._udp = udp
        self.remote = remote
        self.answer_max_bytes = answer_max_bytes
        self._to = to or remote
        self.listener = udp.listener

    def __getattr__(self, name: str) -> Any:
        # ``local`` is found out only when somebody asks: most flows answer one request and are gone.
        if name == "local":
            self.local = local = self._udp.local_towards(self.remote[0])
            return local
        raise AttributeError(name)

    def send(self, data: bytes, on_error: Callable[[str], None] | None = None) -> None:
        """See :meth:`mizu.sip.flow.Flow.send`."""
        udp = self._udp
        udp.sent_bytes += len(data)
        batch = udp.batch
        if batch is not None:
            batch.append((data, self._to, on_error))
            if len(batch) >= BATCH_MESSAGES:
                udp.send_batch()
            return
        try:
            udp.sendto(data, self._to)
        except OSError as error:
            udp.send_failed(self._to, error, on_error)

    def alive(self) -> bool:
        """UDP has no end."""
        return True

    def keep_for(self, duration_s: float) -> None:
        """Nothing to keep: as :meth:`mizu.sip.transport.stream.StreamTransport.keep_for`."""

    def __repr__(self) -> str:
        return f"<udp flow {self.listener} {self.remote[0]}:{self.remote[1]}>"


class DatagramTransport(sip.Base):
    """
    One UDP listener. Requests arrive at :meth:`handle_request`, responses at :meth:`handle_response`,
    and messages leave through :meth:`sendMessage` or a flow, as with any ``twisted.protocols.sip.Base``.
    """

    log = Logger()
    noisy = False  # no log line for start and stop

    def __init__(
        self,
        sink: MessageSink,
        guard: Guard,
        limits: LimitsConfig,
        report: TransportReport,
        local_towards: Callable[[str, int, str], tuple[str, int]],
    ) -> None:
        """
        :param local_towards: our address for a peer: (bound host, bound port, peer) to (host, port).
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._sink = sink
        self._guard = guard
        self._limits = limits
        self._report = report
        self._local_towards = local_towards
        self._admit = guard.admit
        #: a subclass wants to see messages on their way to the sink
        self._hooked = any(
            getattr(type(self), name) is not getattr(DatagramTransport, name) for name in _HOOKS
        )
        self._trace: Trace | None = None
        self._socket: Any = None
        self._socket_sendto: Callable[[bytes, tuple[str, int]], Any] = _closed
        self.sendto: Callable[[bytes, tuple[str, int]], Any] = _closed
        #: what is sent while a batch of datagrams is handled; ``None``: messages leave at once
        self.batch: list[Outgoing] | None = None
        self.host = ""  #: bound address
        self.port = 0  #: bound port
        self.listener = ""  #: ``udp:HOST:PORT``
        self.received = 0  #: datagrams that went to the parser
        self.received_bytes = 0  #: of these
        self.sent_bytes = 0  #: of all messages
        self.keepalives = 0
        self.refused = 0  #: datagrams the guard did not admit
        self.stale = 0  #: requests thrown away because they had waited too long at the socket
        self.wait_ns = int(limits.udp_wait_s * 1e9)  #: what is too long; 0: nothing is

    # ------------------------------------------------------------ as a Twisted protocol

    def startProtocol(self) -> None:
        """The port is open. Learn its address, and send by its socket: ``Port.write`` costs twice as much."""
        port: Any = self.transport
        sock = port.getHandle()
        self.host, self.port = sock.getsockname()[:2]
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.listener = f"udp:{shown}:{self.port}"
        self._socket = sock
        self._socket_sendto = sock.sendto
        self.trace(self._trace)

    def stopProtocol(self) -> None:
        """The port is closed."""
        self.end_batch()
        self.sendto = self._socket_sendto = _closed

    def begin_batch(self) -> None:
        """Several datagrams come together: what is sent from now on waits for :meth:`end_batch`."""
        if self._trace is None:
            self.batch = []

    def send_batch(self) -> None:
        """Send what waits; the batch goes on."""
        batch, self.batch = self.batch, []
        if batch:
            self._send_all(batch)

    def end_batch(self) -> None:
        """Send what waits, in its order. From now on messages leave at once."""
        batch, self.batch = self.batch, None
        if batch:
            self._send_all(batch)

    def _send_all(self, batch: "list[Outgoing]") -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            refused = native.datagrams.send(self._socket.fileno(), family, batch)
        except Exception:  # a message that is none: a bug of ours, which costs this batch
            self._report.bug(f"udp:{self.host}:{self.port}")
            return
        for index, number in refused:
            _, to, on_error = batch[index]
            self.send_failed(to, OSError(number, os.strerror(number)), on_error)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """One datagram: keepalive, nothing, or one message. Never raises."""
        size_bytes = len(datagram)
        if size_bytes <= KEEPALIVE_BYTES:
            self.keepalives += 1
            return
        host = addr[0]
        if not self._admit(host, size_bytes, datagram, addr[1]):
            self.refused += 1
            return
        self.received += 1
        self.received_bytes += size_bytes
        if self._trace is not None:
            self._traced("in", addr, datagram)
        try:
            message = parse_datagram(datagram, self._limits)
            flow = self._stamp(message, addr, size_bytes) if message.is_request else UdpFlow(self, addr)
            message.flow = flow
            if self._hooked:
                self.addMessage(message)
            else:
                self._sink.message_received(message, flow)
        except BadMessage as bad:
            self._malformed(bad, size_bytes, addr)
        except Exception:
            self._report.bug(f"udp:{host}:{addr[1]}")

    def _stamp(self, request: Any, addr: tuple[str, int], size_bytes: int) -> UdpFlow:
        """Put the source into the top Via (18.2.1, RFC 3581); the flow that answers it (18.2.2)."""
        most = size_bytes * 3 // 2
        if _compiled is not None:
            to_port = _compiled.stamp(request, addr[0], addr[1])
            if to_port is not None:
                return UdpFlow(self, addr, None if to_port == addr[1] else (addr[0], to_port), most)
        request.stamp_source(addr[0], addr[1])
        via = request.via
        if via.rport is None:
            port = via.port or sip.PORT
            if port != addr[1]:
                return UdpFlow(self, addr, (addr[0], port), most)
        return UdpFlow(self, addr, None, most)

    def _malformed(self, bad: BadMessage, size_bytes: int, addr: tuple[str, int]) -> None:
        host, port = addr
        self._guard.note_garbage(host, port, bad.code)
        self._report.malformed("udp", host, port, bad.code, str(bad))
        flow = UdpFlow(self, addr)
        try:
            if bad.request is not None:
                bad.request.flow = flow = self._stamp(bad.request, addr, size_bytes)
            self._sink.bad_message(bad, size_bytes, flow)
        except Exception:
            self._report.bug(f"udp:{host}:{port}")

    # ------------------------------------------------------------ the hooks of sip.Base

    def addMessage(self, msg: Any) -> None:
        """
        Hand one message to the hook for its kind.

        A Twisted message, from a caller that feeds text to ``parser``, has no sender: it waits in
        ``messages``, as it does in the stock class.
        """
        flow = getattr(msg, "flow", None)
        if flow is None:
            self.messages.append(msg)
        elif msg.is_request:
            self.handle_request(msg, flow.remote)
        else:
            self.handle_response(msg, flow.remote)

    def handle_request(self, message: Request, addr: tuple[str, int]) -> None:
        """A request has come. Override to see it first."""
        flow = message.flow
        assert flow is not None
        self._sink.message_received(message, flow)

    def handle_response(self, message: Response, addr: tuple[str, int]) -> None:
        """A response has come. Override to see it first."""
        flow = message.flow
        assert flow is not None
        self._sink.message_received(message, flow)

    def sendMessage(self, destURL: sip.URL, message: Any) -> None:
        """
        Send to a physical address, as in the stock class: anything that has ``toString()``.

        :raise RuntimeError: the URL asks for a transport other than UDP.
        :raise InvalidAddressError: its host is a name; the socket would block to look it up.
        """
        if (destURL.transport or "udp").lower() != "udp":
            raise RuntimeError("only UDP supported here")
        if not family_of(destURL.host):
            raise InvalidAddressError(destURL.host, "not a numeric address")  # type: ignore[no-untyped-call]
        data = message.toString()
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        UdpFlow(self, (destURL.host, destURL.port or self.PORT)).send(data)

    def _fixupNAT(self, message: Any, sourcePeer: tuple[str, int]) -> None:
        """RFC 3581 and 18.2.1, on requests only."""
        if message.is_request:
            message.stamp_source(*sourcePeer)

    def deliverResponse(self, responseMessage: Response) -> None:
        """
        Send a response where its top Via says: ``received`` and ``rport`` (RFC 3261 18.2.2, RFC 3581).

        Only numeric addresses: a name would have to be looked up, which is the resolver's business.
        """
        via = responseMessage.via
        port = via.rport if isinstance(via.rport, int) and via.rport > 0 else via.port or self.PORT
        url = sip.URL(host=via.received or via.host, port=port)  # type: ignore[no-untyped-call]
        self.sendMessage(url, responseMessage)

    def responseFromRequest(self, code: int, request: Request) -> Response:
        """The response that RFC 3261 8.2.6.2 describes; no To tag yet."""
        return request.reply(code)

    # ------------------------------------------------------------ around it

    @property
    def listening_socket(self) -> socket.socket:
        """The one it listens at."""
        port: Any = self.transport
        found: socket.socket = port.socket
        return found

    def local_towards(self, host: str) -> tuple[str, int]:
        """Our address as that peer can reach it."""
        return self._local_towards(self.host, self.port, host)

    def send_failed(
        self, to: tuple[str, int], error: OSError, on_error: Callable[[str], None] | None
    ) -> None:
        """The system refused a datagram; the transaction is told (17.1.4), nothing climbs."""
        reason = reason_of(error)
        self._report.send_failed("udp", to[0], to[1], reason)
        if on_error is not None:
            try:
                on_error(reason)
            except Exception:
                self._report.bug(f"udp:{to[0]}:{to[1]}")

    def trace(self, trace: Trace | None) -> None:
        """Show every message to ``trace``; ``None``: to nobody, at no cost."""
        self.end_batch()  # while somebody looks on, each message leaves at once
        self._trace = trace
        self.sendto = self._socket_sendto if trace is None else self._traced_sendto

    def _traced_sendto(self, data: bytes, to: tuple[str, int]) -> None:
        self._traced("out", to, data)
        self._socket_sendto(data, to)

    def _traced(self, direction: str, addr: tuple[str, int], data: bytes) -> None:
        assert self._trace is not None
        try:
            self._trace(direction, "udp", (self.host, self.port), addr, data)
        except Exception:
            self._report.bug("trace")

    def close(self) -> "Deferred[None]":
        """Close the port. Fires when it is."""
        port: Any = self.transport
        closed: Deferred[None] = maybeDeferred(port.stopListening)
        return closed


def _closed(data: bytes, to: tuple[str, int]) -> None:
    raise OSError(errno.EBADF, "the listener is closed")


def reason_of(error: Exception) -> str:
    """What the system says of an error."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) else str(error)
