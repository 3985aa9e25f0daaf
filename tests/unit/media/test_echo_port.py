"""The echo's RTP sockets: whom they answer, and which ports they take."""

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import CannotListenError

from mizu.errors import ConfigError
from mizu.media.echo_port import EchoRtp, EchoRtpPorts

PACKET = bytes([0x80, 0, 0, 1]) + bytes(8) + b"audio"


class FakeTransport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[tuple[bytes, tuple[str, int]]] = []

    def write(self, data: bytes, addr: tuple[str, int]) -> None:
        self.written.append((data, addr))


class FakeReactor:
    """Listens on every port that is not taken."""

    def __init__(self, taken: range = range(0)) -> None:
        self.taken = set(taken)

    def listenUDP(self, port: int, protocol: Any, interface: str) -> Any:
        if port in self.taken:
            raise CannotListenError(interface, port, OSError("in use"))
        self.taken.add(port)
        return SimpleNamespace(
            getHost=lambda: SimpleNamespace(port=port), stopListening=lambda: self.taken.discard(port)
        )


def test_only_the_first_sender_hears_itself() -> None:
    """A stranger who finds the port gets nothing back, so it is no reflector."""
    rtp = EchoRtp("127.0.0.1")
    rtp.transport = transport = FakeTransport()  # type: ignore[assignment]
    rtp.aim("10.0.0.2", 4000)
    rtp.datagramReceived(PACKET, ("10.0.0.2", 4000))
    rtp.datagramReceived(PACKET, ("10.9.9.9", 4000))
    assert [addr for _, addr in transport.written] == [("10.0.0.2", 4000)]
    assert rtp.packets == 1


def test_a_new_description_may_bring_a_new_sender() -> None:
    """A phone that moved its media is heard again; the same description again changes nothing."""
    rtp = EchoRtp("127.0.0.1")
    rtp.transport = transport = FakeTransport()  # type: ignore[assignment]
    rtp.aim("10.0.0.2", 4000)
    rtp.datagramReceived(PACKET, ("10.0.0.2", 4000))
    rtp.aim("10.0.0.2", 4000)
    rtp.datagramReceived(PACKET, ("10.9.9.9", 1))
    rtp.aim("10.0.0.3", 5000)
    rtp.datagramReceived(PACKET, ("10.0.0.3", 5000))
    assert [addr[0] for _, addr in transport.written] == ["10.0.0.2", "10.0.0.3"]


def test_even_ports_of_the_range_and_no_more() -> None:
    """RFC 3550 11; when all are taken the call is refused, and a closed one can be used again."""
    reactor = FakeReactor()
    ports = EchoRtpPorts(reactor, "30000-30005")
    opened = [ports.open("127.0.0.1") for _ in range(4)]
    assert opened[3] is None
    taken = [rtp for rtp in opened if rtp is not None]
    assert sorted(rtp.port for rtp in taken) == [30000, 30002, 30004]
    taken[0].close()
    taken[0].close()
    again = ports.open("127.0.0.1")
    assert again is not None
    assert again.port == taken[0].port


@pytest.mark.parametrize("span", ["", "x-y", "30000", "9-1", "1-100", "60000-70000"])
def test_a_range_that_is_none(span: str) -> None:
    """The configuration is told, with its key."""
    with pytest.raises(ConfigError, match=r"media\.echo_rtp_ports"):
        EchoRtpPorts(FakeReactor(), span)
