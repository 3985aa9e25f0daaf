"""Sockets of the answer party: one UDP socket on loopback for SIP, one for the audio of each call."""

import socket
from collections.abc import Callable
from secrets import randbelow, token_hex
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from mizu.errors import ConfigError
from mizu.interfaces import IClock
from mizu.media.echo import EchoParty, echoed
from mizu.sip.message import Request
from mizu.sip.parser import BadMessage, parse_datagram
from mizu.sip.timers import DeadlineHeap
from mizu.sip.transactions import TransactionLayer

LOOPBACK = "127.0.0.1"
MAX_DATAGRAM_BYTES = 65_535


def local_address_towards(host: str) -> str:
    """Our address from which packets to ``host`` leave; loopback when there is no way there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return LOOPBACK


class EchoRtp(DatagramProtocol):
    """One RTP port: latches on to the first sender and sends its packets back."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.port = 0
        self.packets = 0
        self._source: tuple[str, int] | None = None
        self._aimed: tuple[str, int] | None = None
        self._listening: Any = None

    def opened(self, listening: Any) -> None:
        """It listens."""
        self._listening = listening
        self.port = listening.getHost().port

    def aim(self, host: str, port: int) -> None:
        """See :class:`mizu.media.echo.RtpPort`: a new description may mean a new sender."""
        if self._aimed != (host, port):
            self._aimed = (host, port)
            self._source = None

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Echo it, if it comes from the one we talk to."""
        if self._source is None:
            self._source = addr
        elif self._source != addr:
            return
        transport = self.transport
        if transport is not None:
            self.packets += 1
            try:
                transport.write(echoed(datagram), addr)
            except OSError:
                return  # the caller is gone; its BYE, or the time limit, ends the call

    def close(self) -> None:
        """Stop listening."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.stopListening()


class EchoRtpPorts:
    """Even ports of the configured range (RFC 3550 11)."""

    def __init__(self, reactor: Any, span: str) -> None:
        """:param span: ``30000-30999``. :raise ConfigError: it is no range of ports."""
        first, _, last = span.partition("-")
        try:
            self._ports = [port for port in range(int(first), int(last) + 1) if port % 2 == 0]
        except ValueError:
            self._ports = []
        if not self._ports or self._ports[0] < 1024 or self._ports[-1] > 65_534:
            raise ConfigError([f"media.echo_rtp_ports: {span!r} is no range FIRST-LAST within 1024-65535"])
        self._reactor = reactor

    def open(self, towards: str) -> EchoRtp | None:
        """See :class:`mizu.media.echo.RtpPorts`."""
        host = local_address_towards(towards)
        begin = randbelow(len(self._ports))
        for offset in range(min(len(self._ports), 50)):
            port = self._ports[(begin + offset) % len(self._ports)]
            rtp = EchoRtp(host)
            try:
                rtp.opened(self._reactor.listenUDP(port, rtp, interface=host))
            except CannotListenError:
                continue
            return rtp
        return None


class EchoFlow:
    """To one peer over the party's SIP socket."""

    __slots__ = ("_sip", "listener", "local", "remote")

    proto = "udp"
    reliable = False
    answer_max_bytes = 0

    def __init__(self, sip: "EchoSip", remote: tuple[str, int]) -> None:
        self._sip = sip
        self.remote = remote
        self.local = sip.local
        self.listener = f"udp:{sip.local[0]}:{sip.local[1]}"

    def send(self, data: bytes, on_error: Callable[[str], None] | None = None) -> None:
        """See :class:`mizu.sip.flow.Flow`."""
        transport = self._sip.transport
        if transport is None:
            return
        try:
            transport.write(data, self.remote)
        except OSError as error:
            if on_error is not None:
                on_error(str(error))

    def alive(self) -> bool:
        return True

    def keep_for(self, duration_s: float) -> None:
        """There is no connection to keep."""


class EchoSip(DatagramProtocol):
    """The party's SIP socket. Only the switch talks to it, so it needs no guard."""

    log = Logger()

    def __init__(self, layer: TransactionLayer) -> None:
        self.layer = layer
        self.local = (LOOPBACK, 0)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """One message. What is none is dropped."""
        try:
            message = parse_datagram(datagram)
        except BadMessage:
            return
        flow = EchoFlow(self, addr)
        message.flow = flow
        if isinstance(message, Request):
            message.stamp_source(*addr)
        try:
            self.layer.receive(message, flow)
        except Exception:
            self.log.failure("the echo party failed on a message")


class EchoService:
    """Starts and stops the answer party."""

    def __init__(
        self,
        reactor: Any,
        *,
        clock: IClock,
        deadlines: DeadlineHeap,
        rtp_ports: str,
        longest_s: float,
        allowed: Callable[[str, int], bool],
    ) -> None:
        """
        :param deadlines: the process's heap. :param rtp_ports: ``FIRST-LAST``.
        :param allowed: is (host, port) one of our SIP listeners?
        :raise ConfigError: ``rtp_ports`` is no range.
        """
        self._reactor = reactor
        self.party = EchoParty(
            EchoRtpPorts(reactor, rtp_ports),
            deadlines=deadlines,
            now=clock.mono_s,
            token=lambda: token_hex(9),
            allowed=allowed,
            longest_s=longest_s,
        )
        layer = TransactionLayer(self.party, deadlines, clock.mono_s, limit=10_000)
        self.party.layer = layer
        self._sip = EchoSip(layer)
        self._listening: Any = None

    def start(self) -> str:
        """Listen on loopback. :return: the URI to send calls to."""
        self._listening = self._reactor.listenUDP(
            0, self._sip, interface=LOOPBACK, maxPacketSize=MAX_DATAGRAM_BYTES
        )
        port = self._listening.getHost().port
        self._sip.local = (LOOPBACK, port)
        return f"sip:echo@{LOOPBACK}:{port}"

    def stop(self) -> Any:
        """End its calls and close its sockets. :return: a Deferred, or ``None`` when it never started."""
        self.party.close()
        listening, self._listening = self._listening, None
        return listening.stopListening() if listening is not None else None
