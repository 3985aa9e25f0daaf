"""A network in memory: listeners, UDP and streams, latency, loss, duplication and reordering, all repeatable.

Every message is turned to bytes, carried, and parsed again, as between two real hosts. Nothing arrives within
the call that sends it: time must pass (:meth:`FakeClock.advance`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from mizu.config import LimitsConfig
from mizu.sip.flow import Hop
from mizu.sip.message import Message, Request
from mizu.sip.parser import BadMessage, parse_datagram
from mizu.sip.uri import SipUri, parse_uri
from mizu.testing.clock import FakeClock

Address = tuple[str, int]
DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}


class Sink(Protocol):
    """Who takes messages off the wire, for instance ``TransactionLayer.receive``."""

    def __call__(self, message: Message, flow: "FakeFlow", /) -> None: ...


@dataclass(slots=True)
class Sent:
    """One message that was put on the wire."""

    number: int  #: 0 for the first; counts every message of the wire
    at_s: float  #: when it was sent, seconds since the wire was made
    proto: str
    source: Address
    target: Address
    data: bytes
    fate: str = (
        "delivered"  #: or ``dropped``, ``duplicated``, ``delayed``, ``no listener``, ``unreachable``, ``bad``
    )

    @property
    def first_line(self) -> str:
        """Start line of the message."""
        return self.data.partition(b"\r\n")[0].decode("utf-8", "replace")

    @property
    def summary(self) -> str:
        """``INVITE``, ``180 INVITE``: status and method."""
        head, _, rest = self.first_line.partition(" ")
        if not head.startswith("SIP/"):
            return head
        for line in self.data.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"cseq":
                return f"{rest[:3]} {value.split()[-1].decode('utf-8', 'replace')}"
        return rest[:3]


@dataclass(frozen=True, slots=True)
class Faults:
    """
    What goes wrong, by the number of the message; streams are not touched, their transport repairs all this.

    :param drop: lost.
    :param duplicate: arrives twice.
    :param delay: arrives ``delay_s`` later than it should, behind what was sent after it.
    """

    drop: frozenset[int] = frozenset()
    duplicate: frozenset[int] = frozenset()
    delay: frozenset[int] = frozenset()
    delay_s: float = 0.3

    @classmethod
    def one(cls, kind: str, number: int, delay_s: float = 0.3) -> "Faults":
        """A single fault; ``kind`` is ``drop``, ``duplicate`` or ``delay``."""
        only = frozenset({number})
        return cls(
            drop=only if kind == "drop" else frozenset(),
            duplicate=only if kind == "duplicate" else frozenset(),
            delay=only if kind == "delay" else frozenset(),
            delay_s=delay_s,
        )


@dataclass(slots=True)
class RandomFaults:
    """Share (0..1) of UDP messages that something happens to; drawn from the wire's seed."""

    loss: float = 0.0
    duplication: float = 0.0
    jitter_s: float = 0.0  #: each message is late by up to this, so messages overtake each other


class FakeFlow:
    """A way to one peer over a :class:`FakeWire` (implements ``mizu.sip.flow.Flow``)."""

    __slots__ = (
        "_peer",
        "_transports",
        "_waiting",
        "answer_max_bytes",
        "kept_for_s",
        "listener",
        "local",
        "proto",
        "reliable",
        "remote",
        "state",
    )

    def __init__(
        self, transports: "FakeTransports", proto: str, local: Address, remote: Address, listener: str
    ) -> None:
        self.proto = proto
        self.reliable = proto != "udp"
        self.answer_max_bytes = 0
        self.local = local
        self.remote = remote
        self.listener = listener
        self.state = "open"  #: streams only: ``connecting``, ``open``, ``closed``
        self._transports = transports
        self.kept_for_s = 0.0  #: what :meth:`keep_for` was told last
        self._peer: FakeFlow | None = None  # streams only: the other end
        self._waiting: list[tuple[bytes, Callable[[str], None] | None]] = []

    def send(self, data: bytes, on_error: Callable[[str], None] | None = None) -> None:
        """Put a message on the wire. Nothing is delivered before time passes."""
        if self.state == "closed":
            if on_error is not None:
                on_error("connection closed")
        elif self.state == "connecting":
            self._waiting.append((data, on_error))
        else:
            self._transports.wire.carry(self, data, on_error)

    def alive(self) -> bool:
        """False when the stream is closed."""
        return self.state != "closed"

    def keep_for(self, duration_s: float) -> None:
        """See the protocol; :attr:`kept_for_s` tells tests."""
        self.kept_for_s = duration_s

    def close(self) -> None:
        """Close a stream; the other end sees it one latency later."""
        if self.reliable and self.state != "closed":
            self._gone()
            peer = self._peer
            if peer is not None:
                self._transports.wire.later(peer._gone)

    def connected(self, peer: "FakeFlow") -> None:
        """The other end has accepted (called by the wire)."""
        self.state, self._peer = "open", peer
        waiting, self._waiting = self._waiting, []
        for data, on_error in waiting:
            self.send(data, on_error)

    def refused(self, reason: str) -> None:
        """Nobody accepts there (called by the wire)."""
        waiting, self._waiting = self._waiting, []
        self._gone()
        for _, on_error in waiting:
            if on_error is not None:
                on_error(reason)

    def arrived(self, data: bytes) -> None:
        """Bytes came from the other end of a stream (called by the wire)."""
        if self.state == "open":
            self._transports.take(data, self)

    @property
    def peer(self) -> "FakeFlow | None":
        """The other end of an open stream."""
        return self._peer

    def _gone(self) -> None:
        if self.state != "closed":
            self.state = "closed"
            self._transports.forget(self)

    def __repr__(self) -> str:
        (here, port), (there, remote_port) = self.local, self.remote
        return f"<{self.proto} {here}:{port} to {there}:{remote_port} {self.state}>"


class FakeTransports:
    """
    The listeners of one host (implements ``mizu.sip.flow.Transports``).

    :param listen: ``udp:10.0.0.1:5060``, ``tcp:[2001:db8::1]:5060``; the first of a protocol is the default.
    :param sink: gets each message; may be set later as ``sink``.
    """

    def __init__(self, wire: "FakeWire", listen: Sequence[str], sink: Sink | None = None) -> None:
        self.wire = wire
        self.sink = sink
        self.bad: list[BadMessage] = []  #: what could not be parsed
        self.on_closed: Callable[[FakeFlow], None] | None = None  #: told of closed streams
        self.listeners = {spec: parse_listener(spec) for spec in listen}
        self.flows: dict[
            tuple[str, Address], FakeFlow
        ] = {}  # open and opening streams, by (listener, remote)
        self._port = 40000
        for proto, address in self.listeners.values():
            wire.listen(proto, address, self)

    def flow_to(self, hop: Hop, listener: str = "") -> FakeFlow | None:
        """See ``mizu.sip.flow.Transports``."""
        for spec, (proto, local) in self.listeners.items():
            same_family = (":" in local[0]) == (":" in hop.host)
            if proto == hop.proto and same_family and listener in ("", spec):
                remote = (hop.host, hop.port)
                if proto == "udp":
                    return FakeFlow(self, proto, local, remote, spec)
                return self.flows.get((spec, remote)) or self._connect(proto, local, remote, spec)
        return None

    def flow_of(self, listener: str, host: str, port: int) -> FakeFlow | None:
        """See ``mizu.sip.flow.Transports``."""
        found = self.listeners.get(listener)
        if found is None:
            return None
        if found[0] == "udp":
            return FakeFlow(self, "udp", found[1], (host, port), listener)
        return self.flows.get((listener, (host, port)))

    def close(self) -> None:
        """Take the host off the network: nothing answers any more, streams end."""
        for flow in list(self.flows.values()):
            flow.close()
        for proto, address in self.listeners.values():
            self.wire.unlisten(proto, address)

    def _connect(self, proto: str, local: Address, remote: Address, listener: str) -> FakeFlow:
        self._port += 1
        flow = FakeFlow(self, proto, local, remote, listener)
        flow.state = "connecting"
        self.flows[listener, remote] = flow
        self.wire.connect(flow, (local[0], self._port))
        return flow

    def accept(self, proto: str, local: Address, remote: Address, peer: FakeFlow) -> FakeFlow:
        """A stream comes in (called by the wire)."""
        listener = next(spec for spec, found in self.listeners.items() if found == (proto, local))
        flow = FakeFlow(self, proto, local, remote, listener)
        self.flows[listener, remote] = flow
        flow.connected(peer)
        return flow

    def forget(self, flow: FakeFlow) -> None:
        """A stream has ended (called by the flow)."""
        if self.flows.get((flow.listener, flow.remote)) is flow:
            del self.flows[flow.listener, flow.remote]
        if self.on_closed is not None:
            self.on_closed(flow)

    def take(self, data: bytes, flow: FakeFlow) -> bool:
        """Parse what arrived and hand it to the sink (called by the wire). False: it is no SIP."""
        try:
            message = parse_datagram(data, self.wire.limits)
        except BadMessage as bad:
            self.bad.append(bad)
            return False
        if isinstance(message, Request):
            message.stamp_source(*flow.remote)
        message.flow = flow
        if self.sink is not None:
            self.sink(message, flow)
        return True


class FakeWire:
    """
    The network between the hosts of a test.

    :param clock: moves the messages; the wire's deadlines run before those of ``clock.deadlines``.
    :param latency_s: from one host to any other.
    :param faults: what happens to single messages.
    :param random: what happens to any message, decided by ``seed`` alone.
    """

    def __init__(
        self,
        clock: FakeClock,
        *,
        latency_s: float = 0.01,
        faults: Faults | None = None,
        random: RandomFaults | None = None,
        seed: int = 1,
    ) -> None:
        self.clock = clock
        self.latency_s = latency_s
        self.faults = faults or Faults()
        self.random = random or RandomFaults()
        self.limits = LimitsConfig()
        self.may_be_forged = False  #: UDP flows allow 1.5 times the request as its answer, as real ones do
        self.log: list[Sent] = []  #: every message, in the order of sending
        self.names: dict[Address, str] = {}  #: how :meth:`ladder` calls an address
        self._seeded = Random(seed)  # noqa: S311 - repeatable on purpose
        self._listeners: dict[tuple[str, Address], FakeTransports] = {}
        self._unreachable: set[str] = set()
        self._began_s = clock.mono_s()

    def host(self, *listen: str, sink: Sink | None = None, name: str = "") -> FakeTransports:
        """A host with those listeners. ``name`` is how :meth:`ladder` calls it."""
        transports = FakeTransports(self, listen, sink)
        for _, address in transports.listeners.values():
            self.names[address] = name or f"{address[0]}:{address[1]}"
        return transports

    def unplug(self, host: str) -> None:
        """From now on nothing reaches or leaves that address, silently."""
        self._unreachable.add(host)

    def plug(self, host: str) -> None:
        """Undo :meth:`unplug`."""
        self._unreachable.discard(host)

    def summary(self) -> list[str]:
        """Every message sent so far: ``["INVITE", "100 INVITE", ...]``."""
        return [sent.summary for sent in self.log]

    def ladder(self) -> str:
        """Every message sent so far, a line each: number, time, from, to, start line, what became of it."""
        lines = []
        for sent in self.log:
            source, target = self._name(sent.source), self._name(sent.target)
            fate = "" if sent.fate == "delivered" else f"  [{sent.fate}]"
            lines.append(
                f"{sent.number:3} {sent.at_s:8.3f}s {sent.proto} "
                f"{source:>10} -> {target:<10} {sent.first_line}{fate}"
            )
        return "\n".join(lines)

    def _name(self, address: Address) -> str:
        return self.names.get(address) or f"{address[0]}:{address[1]}"

    # ------------------------------------------------------------ called by flows and transports

    def listen(self, proto: str, address: Address, transports: FakeTransports) -> None:
        """A host listens there."""
        assert (proto, address) not in self._listeners, f"two listeners at {proto}:{address}"
        self._listeners[proto, address] = transports

    def unlisten(self, proto: str, address: Address) -> None:
        """It does no more."""
        self._listeners.pop((proto, address), None)

    def later(self, what: Callable[[], None], extra_s: float = 0.0) -> None:
        """Do something when a message sent now would arrive."""
        self.clock.deadlines.at(self.clock.mono_s() + self.latency_s + extra_s, what)

    def connect(self, flow: FakeFlow, source: Address) -> None:
        """A stream is opened from ``source``."""

        def arrive() -> None:
            if flow.remote[0] in self._unreachable or source[0] in self._unreachable:
                return  # it will connect never; the transaction's own timer ends the wait
            there = self._listeners.get((flow.proto, flow.remote))
            if there is None:
                self.later(lambda: flow.refused("connection refused"))
                return
            end = there.accept(flow.proto, flow.remote, source, flow)
            self.later(lambda: flow.connected(end))

        self.later(arrive)

    def carry(self, flow: FakeFlow, data: bytes, on_error: Callable[[str], None] | None) -> None:
        """A message leaves."""
        at_s = self.clock.mono_s() - self._began_s
        sent = Sent(len(self.log), at_s, flow.proto, flow.local, flow.remote, data)
        self.log.append(sent)
        if not self._unreachable.isdisjoint((flow.local[0], flow.remote[0])):
            sent.fate = "unreachable"
        elif flow.reliable:
            peer = flow.peer
            assert peer is not None
            self.later(lambda: peer.arrived(data))
        else:
            for extra_s in self._arrivals(sent):
                self.later(lambda: self._arrive(sent, on_error), extra_s)

    def _arrivals(self, sent: Sent) -> Iterable[float]:
        faults, chance, seeded = self.faults, self.random, self._seeded
        jitter_s = seeded.uniform(0, chance.jitter_s) if chance.jitter_s else 0.0
        if sent.number in faults.drop or (chance.loss and seeded.random() < chance.loss):
            sent.fate = "dropped"
            return ()
        if sent.number in faults.duplicate or (chance.duplication and seeded.random() < chance.duplication):
            sent.fate = "duplicated"
            return (jitter_s, jitter_s)
        if sent.number in faults.delay:
            sent.fate = "delayed"
            return (faults.delay_s + jitter_s,)
        return (jitter_s,)

    def _arrive(self, sent: Sent, on_error: Callable[[str], None] | None) -> None:
        there = self._listeners.get((sent.proto, sent.target))
        if there is None:
            sent.fate = "no listener"
            if on_error is not None:
                self.later(lambda: on_error("connection refused"))  # ICMP port unreachable
            return
        listener = next(spec for spec, found in there.listeners.items() if found == (sent.proto, sent.target))
        flow = FakeFlow(there, sent.proto, sent.target, sent.source, listener)
        if self.may_be_forged:
            flow.answer_max_bytes = len(sent.data) * 3 // 2
        if not there.take(sent.data, flow):
            sent.fate = "bad"


@dataclass(slots=True)
class FakeResolver:
    """
    RFC 3263 without DNS: numeric hosts as they are, names from ``hosts``. Implements
    ``mizu.sip.flow.Resolver``.

    Answers at once, or with ``delay_s`` when a clock is given.
    """

    hosts: Mapping[str, Sequence[Hop]] = field(default_factory=dict)
    clock: FakeClock | None = None
    delay_s: float = 0.0
    asked: list[str] = field(default_factory=list)  #: every URI, in order

    def resolve(self, uri: str, done: Callable[[Sequence[Hop]], None]) -> None:
        """See ``mizu.sip.flow.Resolver``."""
        self.asked.append(uri)
        hops = self._hops(uri)
        if self.clock is not None and self.delay_s > 0:
            self.clock.deadlines.at(self.clock.mono_s() + self.delay_s, lambda: done(hops))
        else:
            done(hops)

    def _hops(self, text: str) -> Sequence[Hop]:
        try:
            uri = parse_uri(text)
        except BadMessage:
            return ()
        if not isinstance(uri, SipUri):
            return ()
        known = self.hosts.get(uri.host)
        if known is not None:
            return known
        if ":" not in uri.host and not uri.host.replace(".", "").isdigit():
            return ()
        proto = "tls" if uri.scheme == "sips" else (uri.transport or "udp").lower()
        return (Hop(proto, uri.host, uri.port or DEFAULT_PORTS.get(proto, 5060)),)


def parse_listener(spec: str) -> tuple[str, Address]:
    """``udp:10.0.0.1:5060`` or ``tcp:[::1]:5060`` as protocol and address."""
    proto, _, rest = spec.partition(":")
    host, _, port = rest.rpartition(":")
    return proto, (host.strip("[]"), int(port))
