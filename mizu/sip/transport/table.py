"""The transport table: our listeners, and which of them reaches whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mizu.config import LimitsConfig, SipConfig
from mizu.errors import ConfigError
from mizu.sip.flow import Flow, Hop
from mizu.sip.transport.connections import Connections, StreamListener
from mizu.sip.transport.reach import (
    CACHED_MAX,
    CACHED_S,
    LocalAddresses,
    family_of,
    meant_address,
    plain_host,
)
from mizu.sip.transport.report import TransportReport
from mizu.sip.transport.sink import Guard, MessageSink, Trace
from mizu.sip.transport.tls import Certificates, load, self_signed
from mizu.sip.transport.udp import CannotListen, DatagramTransport, UdpFlow
from mizu.sip.transport.udp_socket import Instruction, attach_filter, dropped_by, open_udp

__all__ = ["CannotListen", "ListenerInfo", "TransportTable", "parse_listener"]

PROTOS = ("udp", "tcp", "tls")
ANY = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
LOOPBACK = ("127.0.0.1", "::1")

#: At shutdown connections have so long to send what is left, seconds.
CLOSE_S = 2.0


Listener = TypeVar("Listener")


@dataclass(frozen=True, slots=True)
class ListenerInfo:
    """A listener as it really is."""

    proto: str  #: ``udp``, ``tcp`` or ``tls``
    host: str  #: bound address, no brackets
    port: int  #: bound port, also when 0 was asked for
    spec: str  #: as it was asked for


def parse_listener(spec: str) -> tuple[str, str, int]:
    """
    ``PROTO:HOST:PORT`` as (proto, host, port); IPv6 in brackets.

    :raise ConfigError: with what is wrong.
    """
    proto, _, address = spec.partition(":")
    host, _, port = address.rpartition(":")
    proto = proto.lower()
    if proto not in PROTOS:
        raise ConfigError([f"sip.listen: {spec!r}: the protocol must be one of {', '.join(PROTOS)}"])
    if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
        raise ConfigError([f"sip.listen: {spec!r}: write IPv6 as {proto}:[::1]:5060"])
    host = host.strip("[]")
    if not family_of(host):
        raise ConfigError([f"sip.listen: {spec!r}: {host!r} is not a numeric address"])
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError([f"sip.listen: {spec!r}: {port!r} is not a port"])
    return proto, plain_host(host), int(port)


class TransportTable:
    """Opens listeners, finds flows. Implements :class:`mizu.sip.flow.Transports`."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        guard: Guard,
        *,
        sink: MessageSink | None = None,
        sip: SipConfig,
        limits: LimitsConfig,
        data_dir: str = ".",
        log_per_source_per_minute: int = 6,
        reuse_port: bool = False,
        certificates: Certificates | None = None,
    ) -> None:
        """
        :param reactor: IReactorTime, IReactorTCP and IReactorSocket.
        :param sink: gets every message; may be set later, but before the first :meth:`listen`.
        :param data_dir: a self-signed certificate is kept under it.
        :param reuse_port: other processes may listen on the same ports.
        :param certificates: instead of those that ``sip`` names.
        """
        self._reactor = reactor
        self._sip = sip
        self._data_dir = data_dir
        self._reuse_port = reuse_port
        self._certificates = certificates
        self.sink = sink
        self._guard = guard
        self._limits = limits
        self.report = TransportReport(log_per_source_per_minute, reactor.seconds)
        self._addresses = LocalAddresses(reactor.seconds)
        self._udp: list[tuple[DatagramTransport, str]] = []
        self._streams: list[tuple[StreamListener, str]] = []
        self._programs: dict[int, Sequence[Instruction]] = {}  # by IP version
        self._flows: dict[tuple[str, int, str], UdpFlow] = {}
        self._forget_flows_at_s = 0.0
        self._reaches: frozenset[tuple[str, int]] | None = None  # as long as the listeners are the same
        self.connections = Connections(
            reactor,
            guard=guard,
            report=self.report,
            limits=limits,
            local_towards=self._local_towards,
        )

    # ------------------------------------------------------------ listeners

    def listen(self, spec: str) -> ListenerInfo:
        """
        Open a listener, ``PROTO:HOST:PORT``; port 0 lets the system choose.

        :raise ConfigError: the text is wrong, or the certificate cannot be used.
        :raise CannotListen: the address is taken, not ours, or needs privileges.
        """
        proto, host, port = parse_listener(spec)
        assert self.sink is not None, "a transport without a receiver"
        self._reaches = None
        self._flows.clear()
        self.connections.sink = self.sink
        if proto == "udp":
            udp = DatagramTransport(self.sink, self._guard, self._limits, self.report, self._local_towards)
            open_udp(
                self._reactor,
                udp,
                host,
                port,
                buffer_bytes=self._sip.udp_buffer_bytes,
                reuse_port=self._reuse_port,
            )
            udp.trace(self.connections.trace)
            self._filter(udp)
            self._udp.append((udp, spec))
            return ListenerInfo("udp", udp.host, udp.port, spec)
        certificates = self._own_certificates() if proto == "tls" else None
        listener = self.connections.listen(proto, host, port, certificates, reuse_port=self._reuse_port)
        self._streams.append((listener, spec))
        return ListenerInfo(proto, listener.host, listener.port, spec)

    def _own_certificates(self) -> Certificates:
        if self._certificates is None:
            if self._sip.tls_certificate:
                self._certificates = load(self._sip.tls_certificate, self._sip.tls_key)
            else:
                names = [*([self._sip.advertise] if self._sip.advertise else []), *self._sip.domains]
                self._certificates = self_signed(Path(self._data_dir) / "tls", names)
            self._certificates.trust(self._sip.tls_authorities, self._sip.tls_verify)
        return self._certificates

    @property
    def listeners(self) -> list[ListenerInfo]:
        """What is open, with real addresses."""
        return [ListenerInfo("udp", udp.host, udp.port, spec) for udp, spec in self._udp] + [
            ListenerInfo(one.proto, one.host, one.port, spec) for one, spec in self._streams
        ]

    def listens_at(self, host: str, port: int) -> bool:
        """
        Is that one of our listeners, in whatever spelling of its address? Names are not looked up, but for
        ``localhost``.
        """
        bound = [one.host for one in self.listeners if one.port == port]
        address = meant_address(host) if bound else ""
        if not address:
            return False
        if address in ANY or address in bound:  # who sends to no address in particular sends to himself
            return True
        everywhere = any(one in ANY for one in bound)
        return everywhere and (address in LOOPBACK or self._addresses.towards(address) == address)

    def reaches(self) -> frozenset[tuple[str, int]]:
        """(protocol, IP version 4 or 6) of every kind of listener there is."""
        if self._reaches is None:
            self._reaches = frozenset((one.proto, family_of(one.host)) for one in self.listeners)
        return self._reaches

    def _local_towards(self, bound_host: str, port: int, peer: str) -> tuple[str, int]:
        """Our address as ``peer`` can reach it: advertised, bound, or what the kernel would send from."""
        advertise = self._sip.advertise
        if advertise and family_of(advertise) in (0, family_of(peer)):
            return advertise, port
        if bound_host not in ANY:
            return bound_host, port
        return self._addresses.towards(peer) or bound_host, port

    # ------------------------------------------------------------ flows

    def flow_to(self, hop: Hop, listener: str = "") -> Flow | None:
        """See :meth:`mizu.sip.flow.Transports.flow_to`. ``None`` also at ``limits.connections``."""
        if hop.proto == "udp":
            return self._udp_flow_to(hop.host, hop.port, listener)
        family = family_of(hop.host)
        if not family or not 0 < hop.port < 65536:
            return None
        stream = self._choose(
            [(one, one.host, one.name) for one, _ in self._streams if one.proto == hop.proto],
            family,
            hop.host,
            listener,
        )
        if stream is None:
            return None
        return self.connections.open(hop, stream, self._own_certificates() if hop.proto == "tls" else None)

    def _udp_flow_to(self, host: str, port: int, listener: str) -> UdpFlow | None:
        """Flows are kept as long as local addresses are (``LocalAddresses``): calls ask for the same ones."""
        now_s = self._reactor.seconds()
        if now_s >= self._forget_flows_at_s or len(self._flows) >= CACHED_MAX:
            self._flows.clear()
            self._forget_flows_at_s = now_s + CACHED_S
        flow = self._flows.get((host, port, listener))
        if flow is None:
            family = family_of(host)
            if not family or not 0 < port < 65536:
                return None
            udp = self._choose(
                [(one, one.host, one.listener) for one, _ in self._udp], family, host, listener
            )
            if udp is not None:
                flow = self._flows[host, port, listener] = UdpFlow(udp, (host, port))
        return flow

    def _choose(
        self, candidates: list[tuple[Listener, str, str]], family: int, peer: str, listener: str
    ) -> Listener | None:
        """
        The listener to reach ``peer`` from: the one asked for, else the one bound to the address that the
        kernel would send from, else one bound to all addresses, else the first.

        :param candidates: (listener, bound host, name).
        """
        fitting = [one for one in candidates if (6 if ":" in one[1] else 4) == family]
        for one in fitting:
            if one[2] == listener:
                return one[0]
        if len(fitting) > 1:
            towards = self._addresses.towards(peer)
            fitting.sort(key=lambda one: 0 if one[1] == towards else 1 if one[1] in ANY else 2)
        return fitting[0][0] if fitting else None

    def flow_of(self, listener: str, host: str, port: int) -> Flow | None:
        """See :meth:`mizu.sip.flow.Transports.flow_of`."""
        if listener.startswith("udp:"):
            for udp, _ in self._udp:
                if udp.listener == listener:
                    return UdpFlow(udp, (host, port))
            return None
        return self.connections.find(listener, (host, port))

    # ------------------------------------------------------------ around it

    def trace(self, trace: Trace | None) -> None:
        """Show every message, in and out, to ``trace``; ``None``: to nobody, at no cost."""
        self.connections.trace = trace
        for udp, _ in self._udp:
            udp.trace(trace)

    def filter_datagrams(self, four: Sequence[Instruction], six: Sequence[Instruction]) -> bool:
        """
        Let the kernel drop datagrams at the UDP sockets, by these programs for IPv4 and IPv6 ones; none:
        nothing is dropped any more. :return: whether it takes them; if not, earlier ones stay.
        """
        before, self._programs = self._programs, {4: four, 6: six}
        try:
            for udp, _ in self._udp:
                self._filter(udp)
        except OSError:
            self._programs = before
            return False
        return True

    def _filter(self, udp: DatagramTransport) -> None:
        if self._programs:
            attach_filter(udp.listening_socket, self._programs[6 if ":" in udp.host else 4])

    def dropped(self) -> int:
        """Datagrams that the kernel dropped at the sockets: by these programs, or as a buffer was full."""
        return sum(dropped_by(udp.listening_socket) for udp, _ in self._udp)

    def counts(self) -> dict[str, int]:
        """Figures for status and metrics, since the start unless the name says what is there now."""
        udp = [one for one, _ in self._udp]
        return {
            "datagrams": sum(one.received for one in udp),
            "received_bytes": sum(one.received_bytes for one in udp) + self.connections.received_bytes,
            "sent_bytes": sum(one.sent_bytes for one in udp) + self.connections.sent_bytes,
            "stale": sum(one.stale for one in udp),
            "keepalives": sum(one.keepalives for one in udp),
            "refused": sum(one.refused for one in udp),
            "malformed": self.report.garbage,
            "send_errors": self.report.send_errors,
            "bugs": self.report.bugs,
            "log_lines_suppressed": self.report.suppressed,
            **self.connections.counts(),
        }

    def close(self) -> "Deferred[None]":
        """Close every listener, then every connection, politely for two seconds. Fires when all is closed."""
        closed = [one.close() for one, _ in self._udp]
        closed += [one.close() for one, _ in self._streams]
        self._udp, self._streams, self._reaches = [], [], None
        self._flows.clear()
        self.connections.close()
        return Deferred.fromCoroutine(self._finish(closed))

    async def _finish(self, closed: "list[Deferred[None]]") -> None:
        await DeferredList(closed, consumeErrors=True)
        until_s = self._reactor.seconds() + CLOSE_S
        while len(self.connections) and self._reactor.seconds() < until_s:
            await deferLater(self._reactor, 0.02)
        self.connections.abort()
        while len(self.connections):  # aborted: gone in the next turn of the reactor
            await deferLater(self._reactor, 0)
