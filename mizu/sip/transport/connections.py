"""Every TCP and TLS connection there is: how many, from where, for how long, and which one to use again."""

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IConnector, IDelayedCall
from twisted.internet.protocol import ClientFactory, ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from mizu.config import LimitsConfig
from mizu.guard.limits import rate_key
from mizu.sip.flow import Hop
from mizu.sip.transport.reach import plain_host
from mizu.sip.transport.report import TransportReport
from mizu.sip.transport.sink import Guard, MessageSink, Trace
from mizu.sip.transport.stream import StreamTransport
from mizu.sip.transport.tls import Certificates
from mizu.sip.transport.udp import CannotListen

BACKLOG = 1024

#: How often connections are looked at, seconds; they live that much longer than the settings say.
SWEEP_S = 1.0

#: A connection that has sent no message may be dropped for a newcomer after this long, seconds.
UNPROVEN_S = 2.0

_Key = tuple[str, str, int]  # protocol, remote host, remote port


class StreamListener:
    """A TCP or TLS port of ours."""

    def __init__(self, proto: str, host: str, port: Any, certificates: Certificates | None) -> None:
        self.proto = proto
        self.certificates = certificates
        self._port = port
        self.host, self.port = host, int(port.getHost().port)
        shown = f"[{host}]" if ":" in host else host
        self.name = f"{proto}:{shown}:{self.port}"

    def close(self) -> "Deferred[None]":
        """Close the port. Fires when it is."""
        closed: Deferred[None] = maybeDeferred(self._port.stopListening)
        return closed


class Connections:
    """The table of connections, with its limits. Implements :class:`mizu.sip.transport.stream.Owner`."""

    def __init__(
        self,
        reactor: Any,
        *,
        guard: Guard,
        report: TransportReport,
        limits: LimitsConfig,
        local_towards: Callable[[str, int, str], tuple[str, int]],
    ) -> None:
        """
        :param reactor: IReactorTime, IReactorTCP and IReactorSocket.
        :param local_towards: our address for a peer: (bound host, bound port, peer) to (host, port).
        """
        self.reactor = reactor
        self.sink: MessageSink  # set before the first listener is opened
        self.guard = guard
        self.report = report
        self.limits = limits
        self.trace: Trace | None = None
        self.messages = 0  #: received over all connections
        self.received_bytes = 0  #: of streams, TLS not counted
        self.sent_bytes = 0  #: of streams, TLS not counted
        self.refused = 0  #: connections that were not accepted
        self.shed = 0  #: silent ones dropped for newcomers
        self._local_towards = local_towards
        self._all: dict[StreamTransport, None] = {}
        self._by_remote: dict[_Key, StreamTransport] = {}
        self._of_address: dict[str | bytes, int] = {}
        self._unproven: dict[StreamTransport, float] = {}  # oldest first
        self._sweep_call: IDelayedCall | None = None
        self._closing = False

    def now(self) -> float:
        """Monotonic seconds of the reactor."""
        return float(self.reactor.seconds())

    def __len__(self) -> int:
        return len(self._all)

    # ------------------------------------------------------------ coming in

    def listen(
        self, proto: str, host: str, port: int, certificates: Certificates | None, *, reuse_port: bool
    ) -> StreamListener:
        """
        Open a port.

        :param certificates: for ``tls``.
        :raise CannotListen: with a sentence that says why.
        """
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        factory = _Accept(self)
        try:
            with socket.socket(kind, socket.SOCK_STREAM) as sock:
                if kind == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if reuse_port:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.setblocking(False)
                sock.bind((host, port))
                sock.listen(BACKLOG)
                opened = self.reactor.adoptStreamPort(sock.fileno(), kind, factory)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CannotListen(f"{proto}:{host}:{port}: {reason}") from error
        listener = StreamListener(proto, host, opened, certificates)
        factory.listen_as(listener, certificates)
        return listener

    def accept(self, listener: StreamListener, remote: tuple[str, int]) -> StreamTransport | None:
        """A connection has come; ``None``: it is to be closed."""
        host, port = remote
        limits = self.limits
        if self._closing or not self.guard.admit_connection(host):
            self.refused += 1
            return None
        if self._of_address.get(rate_key(host), 0) >= limits.connections_per_address:
            self.refused += 1
            self.report.peer(
                "connections", listener.proto, host, port, "refused: too many connections from there"
            )
            return None
        if len(self._all) >= limits.connections and not self._shed_unproven():
            self.refused += 1
            self.report.peer(
                "connections", listener.proto, host, port, "refused: limits.connections is reached"
            )
            return None
        local = self._local_towards(listener.host, listener.port, host)
        connection = StreamTransport(self, listener.proto, listener.name, local, remote)
        connection.reopened_by(
            lambda port: self.open(Hop(listener.proto, host, port), listener, listener.certificates)
        )
        self._unproven[connection] = self.now()
        self._add(connection)
        return connection

    def _shed_unproven(self) -> bool:
        """Drop the oldest connection that never sent a message though it had time to. False: none."""
        for connection, since_s in self._unproven.items():
            if self.now() - since_s < UNPROVEN_S:
                return False
            self.shed += 1
            connection.abort("dropped for a newcomer: has sent no message")
            # Its closing may take a moment; its place is free at once.
            self._remove(connection)
            return True
        return False

    # ------------------------------------------------------------ going out

    def open(
        self, hop: Hop, listener: StreamListener, certificates: Certificates | None
    ) -> StreamTransport | None:
        """
        A connection to that address: the one there is, else a new one. ``None``: the limit is reached.

        A connection that the peer opened serves as well, unless a certificate name is asked for: its peer
        has not shown a certificate. Also ``None``: no certificate can be for the name.
        """
        key = (hop.proto, hop.host, hop.port)
        there = self._by_remote.get(key)
        if there is not None and there.alive() and (not hop.tls_name or there.tls_name == hop.tls_name):
            return there
        if self._closing or (len(self._all) >= self.limits.connections and not self._shed_unproven()):
            return None
        tls_name = (hop.tls_name or hop.host) if hop.proto == "tls" else ""
        options = None
        if certificates is not None and hop.proto == "tls":
            try:
                options = certificates.client(tls_name)
            except ValueError as wrong:
                self.report.send_failed("tls", hop.host, hop.port, f"{tls_name!r}: {wrong}")
                return None
        connection = StreamTransport(
            self,
            hop.proto,
            listener.name,
            self._local_towards(listener.host, listener.port, hop.host),
            (hop.host, hop.port),
            outgoing=True,
            tls_name=tls_name,
        )
        self._add(connection)
        factory: Any = _Open(connection)
        if options is not None:
            factory = TLSMemoryBIOFactory(options, True, factory, self.reactor)
        bind = None if listener.host in ("0.0.0.0", "::") else (listener.host, 0)  # noqa: S104 - compared only
        connector: IConnector = self.reactor.connectTCP(
            hop.host, hop.port, factory, timeout=self.limits.connection_open_s, bindAddress=bind
        )
        connection.opening_by(connector.stopConnecting)
        return connection

    def find(self, listener: str, remote: tuple[str, int]) -> StreamTransport | None:
        """The open connection that this listener accepted from there."""
        connection = self._by_remote.get((listener.partition(":")[0], *remote))
        if connection is None or not connection.alive() or connection.listener != listener:
            return None
        return connection

    # ------------------------------------------------------------ the table

    def _add(self, connection: StreamTransport) -> None:
        self._all[connection] = None
        self._by_remote[(connection.proto, *connection.remote)] = connection
        if not connection.outgoing:
            key = rate_key(connection.remote[0])
            self._of_address[key] = self._of_address.get(key, 0) + 1
        if self._sweep_call is None:
            self._sweep_call = self.reactor.callLater(SWEEP_S, self._sweep)

    def _remove(self, connection: StreamTransport) -> None:
        self._unproven.pop(connection, None)
        if connection not in self._all:
            return
        del self._all[connection]
        key = (connection.proto, *connection.remote)
        if self._by_remote.get(key) is connection:
            del self._by_remote[key]
        if not connection.outgoing:
            address = rate_key(connection.remote[0])
            left = self._of_address[address] - 1
            if left:
                self._of_address[address] = left
            else:
                del self._of_address[address]
        if not self._all and self._sweep_call is not None:
            self._sweep_call.cancel()
            self._sweep_call = None

    def proven(self, connection: StreamTransport) -> None:
        """Its first message has come: it is no longer dropped for newcomers."""
        self._unproven.pop(connection, None)

    def lost(self, connection: StreamTransport) -> None:
        """It is closed."""
        self._remove(connection)

    def _sweep(self) -> None:
        self._sweep_call = self.reactor.callLater(SWEEP_S, self._sweep)
        now_s = self.now()
        for connection in list(self._all):
            connection.check(now_s)

    def close(self) -> None:
        """Close all, and accept none any more."""
        self._closing = True
        for connection in list(self._all):
            connection.close()

    def abort(self) -> None:
        """Close at once what still is there."""
        for connection in list(self._all):
            connection.abort("shutdown")

    def counts(self) -> dict[str, int]:
        """Figures for status and metrics."""
        return {
            "stream_messages": self.messages,
            "connections": len(self._all),
            "connections_unproven": len(self._unproven),
            "connections_refused": self.refused,
            "connections_shed": self.shed,
        }


class _Accept(ServerFactory):
    """Builds a connection for whoever comes, when there is room."""

    noisy = False

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._listener: StreamListener | None = None
        self._tls: TLSMemoryBIOFactory | None = None
        self._next: StreamTransport | None = None

    def listen_as(self, listener: StreamListener, certificates: Certificates | None) -> None:
        self._listener = listener
        if listener.proto == "tls":
            assert certificates is not None
            self._tls = TLSMemoryBIOFactory(
                certificates.server(), False, _Handed(self), self._connections.reactor
            )

    def buildProtocol(self, addr: Any) -> Any:
        if self._listener is None:
            return None
        host, port = plain_host(addr.host), addr.port
        connection = self._connections.accept(self._listener, (host, port))
        if connection is None or self._tls is None:
            return connection
        self._next = connection
        return self._tls.buildProtocol(addr)

    def handed(self) -> StreamTransport | None:
        """The connection that TLS is wrapped around next."""
        connection, self._next = self._next, None
        return connection


class _Handed(ServerFactory):
    """Between TLS and the connection that was accepted already."""

    noisy = False

    def __init__(self, accept: _Accept) -> None:
        self._accept = accept

    def buildProtocol(self, addr: Any) -> Any:
        return self._accept.handed()


class _Open(ClientFactory):
    """For one outgoing connection."""

    noisy = False

    def __init__(self, connection: StreamTransport) -> None:
        self._connection = connection

    def buildProtocol(self, addr: Any) -> Any:
        return self._connection if self._connection.alive() else None

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._connection.connect_failed(reason)
