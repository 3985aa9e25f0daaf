"""A receiver that writes down what it gets, and listeners whose sockets are lists."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from mizu.config import LimitsConfig
from mizu.guard.filter import Gate


class RecordingSink:
    """Writes down what a transport hands over; raises ``trouble`` while it is set."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.flows: list[Any] = []
        self.bad: list[Any] = []
        self.bad_flows: list[Any] = []
        self.closed: list[Any] = []
        self.trouble: Exception | None = None
        self.answer: bytes | None = None

    def message_received(self, message: Any, flow: Any) -> None:
        self.messages.append(message)
        self.flows.append(flow)
        if self.trouble is not None:
            raise self.trouble
        if self.answer is not None:
            flow.send(self.answer)

    def bad_message(self, bad: Any, data_len: int, flow: Any) -> None:
        self.bad.append(bad)
        self.bad_flows.append(flow)
        if bad.request is not None:
            flow.send(bad.request.reply(bad.sip_status).to_bytes())

    def flow_closed(self, flow: Any) -> None:
        self.closed.append(flow)


class FakeSocket:
    """A UDP socket: what is sent is kept, or refused with ``error``."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.error: OSError | None = None

    def getsockname(self) -> tuple[str, int]:
        return self.address

    def sendto(self, data: bytes, to: tuple[str, int]) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((data, to))


class FakePort:
    """What the reactor gives a datagram protocol."""

    def __init__(self, socket: FakeSocket) -> None:
        self.socket = socket

    def getHandle(self) -> FakeSocket:
        return self.socket


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits() -> LimitsConfig:
    return LimitsConfig()


@pytest.fixture
def guard(clock: Clock) -> Gate:
    return Gate(message_bytes=65_535, now=clock.seconds)


@pytest.fixture
def datagrams(sink: RecordingSink, guard: Gate, limits: LimitsConfig, clock: Clock) -> Callable[..., Any]:
    """Makes a UDP transport on a fake socket: ``datagrams()`` or with a subclass of the transport."""
    from mizu.sip.transport.report import TransportReport
    from mizu.sip.transport.udp import DatagramTransport

    def make(kind: type = DatagramTransport, address: tuple[str, int] = ("127.0.0.1", 5060)) -> Any:
        report = TransportReport(6, clock.seconds)
        transport = kind(sink, guard, limits, report, lambda host, port, peer: (host, port))
        transport.makeConnection(FakePort(FakeSocket(address)))
        transport.test_socket = transport.transport.socket
        transport.test_report = report
        return transport

    return make


@pytest.fixture
def options() -> Callable[..., bytes]:
    """Bytes of an OPTIONS request; keyword arguments replace its parts."""

    def make(
        via: str = "SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK1;rport",
        call_id: str = "a@b",
        extra: str = "",
        body: bytes = b"",
        length: int | None = None,
        method: str = "OPTIONS",
        proto: str = "",
    ) -> bytes:
        if proto:
            via = via.replace("UDP", proto.upper())
        lines = [
            f"{method} sip:echo@127.0.0.1 SIP/2.0",
            *([f"Via: {via}"] if via else []),
            "Max-Forwards: 70",
            "From: <sip:alice@127.0.0.1>;tag=1",
            "To: <sip:echo@127.0.0.1>",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {method}",
            *([extra] if extra else []),
            f"Content-Length: {len(body) if length is None else length}",
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    return make
