"""Calls to the built-in answer party."""

from typing import Any

from mizu.config import MediaConfig
from mizu.media.echo import EchoParty
from mizu.routing.echo import EchoRouter, EchoRouterSettings
from mizu.sip.transactions import TransactionLayer
from mizu.testing import FakeClock, FakeWire, run_with_each_fault


class FakeRtp:
    """A port that only remembers."""

    def __init__(self) -> None:
        self.host, self.port, self.packets = "10.0.0.9", 30000, 7
        self.aimed: list[tuple[str, int]] = []
        self.closed = False

    def aim(self, host: str, port: int) -> None:
        self.aimed.append((host, port))

    def close(self) -> None:
        self.closed = True


class FakeRtpPorts:
    """Gives out fake ports."""

    def __init__(self) -> None:
        self.opened: list[FakeRtp] = []

    def open(self, towards: str) -> FakeRtp:
        self.opened.append(FakeRtp())
        return self.opened[-1]


def echo_world(World: Any, wire: FakeWire, longest_s: float = 600.0) -> tuple[Any, EchoParty, FakeRtpPorts]:
    router = EchoRouter(EchoRouterSettings(), MediaConfig().echo_numbers)
    router.party_uri = "sip:echo@10.0.0.9:5060"
    world = World(wire, routers=[("echo", router)])
    ports = FakeRtpPorts()
    party = EchoParty(
        ports,
        deadlines=world.clock.deadlines,
        now=world.clock.mono_s,
        token=world.board.token,
        allowed=lambda host, port: host == "10.0.0.1",
        longest_s=longest_s,
    )
    party.layer = TransactionLayer(party, world.clock.deadlines, world.clock.mono_s)
    wire.host("udp:10.0.0.9:5060", sink=party.layer.receive, name="echo")
    return world, party, ports


def test_the_echo_number_answers_whatever_single_fault(World: Any) -> None:
    """A newcomer calls 9196 and is answered; hanging up frees the port."""

    def scenario(wire: FakeWire) -> None:
        world, party, ports = echo_world(World, wire)
        alice = world.phone("alice")
        out = alice.call("9196")
        world.until(lambda: out.state == "up")
        world.pass_s(5)
        assert b"m=audio 30000" in out.remote_sdp
        out.hang_up()
        world.until(lambda: party.counts().calls == 0)
        assert ports.opened[0].closed
        world.settled()
        assert (world.row.route, world.row.cause) == ("echo", "answered")

    run_with_each_fault(scenario)


def test_a_forgotten_echo_call_ends(World: Any) -> None:
    """After the configured time the party hangs up."""
    wire = FakeWire(FakeClock())
    world, party, ports = echo_world(World, wire, longest_s=30.0)
    out = world.phone("alice").call("9196")
    world.until(lambda: out.state == "ended", limit_s=40)
    world.settled()
    assert (world.row.ended_by, ports.opened[0].closed, party.counts().packets) == ("callee", True, 7)


def test_nobody_but_the_switch_is_answered(World: Any) -> None:
    """The party is no open reflector."""
    wire = FakeWire(FakeClock())
    world, party, _ = echo_world(World, wire)
    stranger = world.trunk("stranger", "10.9.9.9")
    stranger.server = "sip:10.0.0.9"
    out = stranger.call("sip:echo@10.0.0.9")
    world.until(lambda: out.state == "failed")
    assert (out.status, party.counts().answered) == (403, 0)


def test_hold_on_an_echo_call(World: Any) -> None:
    """A re-INVITE with a held stream is answered with its mirror."""
    wire = FakeWire(FakeClock())
    world, _, _ = echo_world(World, wire)
    out = world.phone("alice").call("9196")
    world.until(lambda: out.state == "up")
    world.pass_s(1)
    out.reinvite(out.sdp(direction="sendonly"))
    world.until(lambda: b"a=recvonly" in out.remote_sdp)
    out.hang_up()
    world.settled()
