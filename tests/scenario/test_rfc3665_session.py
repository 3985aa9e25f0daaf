"""The session flows of RFC 3665 section 3 with the switch in the place of the proxies, each also with every
single message lost, doubled or late. What 3.2 and 3.5 vary (several proxies, an ALG in front) is all one to a
back-to-back user agent; 3.3 (authentication) is part of every flow here; the SDP in ACK of 3.6 is
``test_delayed_offer`` in ``test_call_dialog.py``, under the same faults."""

from typing import Any

import pytest

from mizu.model import Route
from mizu.testing import FakeClock, FakeWire, run_with_each_fault


class Table:
    """A router with a fixed list for each number."""

    def __init__(self, **routes: list[Route]) -> None:
        self.routes = routes

    async def find_routes(self, call: Any) -> list[Route]:
        return self.routes.get(call.called_number, [])


def test_two_phones_talk_and_the_caller_hangs_up(World: Any, talk: Any) -> None:
    """The call row says who called whom, how long they talked and who ended it."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out, there = talk(world, alice, bob)
    world.pass_s(10)
    out.hang_up()
    world.pass_s(1)
    assert (out.state, there.state, there.ended_by) == ("ended", "ended", "them")
    world.settled()
    row = world.row
    assert (row.cause, row.ended_by, row.sip_status) == ("answered", "caller", 200)
    assert 10 <= row.talk_s <= 10.5
    assert row.callee_sip_call_id != row.caller_sip_call_id == out.call_id
    assert row.ring_at is not None


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_3_1_to_3_3_successful_session(World: Any, talk: Any, who: str) -> None:
    """Whatever single message is lost, doubled or late: the call comes about and ends on both sides."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        out, there = talk(world, alice, bob)
        world.pass_s(2)
        (out if who == "caller" else there).hang_up()
        world.until(lambda: out.state == there.state == "ended")
        world.settled()
        assert (world.row.cause, world.row.ended_by) == ("answered", who)
        assert len(bob.calls) == 1

    run_with_each_fault(scenario)


def test_3_4_session_via_a_failed_first_route(World: Any) -> None:
    """The first trunk is silent; the call goes over the second without the caller noticing."""

    def scenario(wire: FakeWire) -> None:
        routes = [
            Route("dead", uri="sip:900@10.0.3.1", answer_timeout_s=2.0),
            Route("good", uri="sip:900@10.0.3.2"),
        ]
        world = World(wire, routers=[("table", Table(**{"900": routes}))])
        alice, gateway = world.phone("alice"), world.trunk("gateway", "10.0.3.2")
        wire.unplug("10.0.3.1")
        out = alice.call("900")
        world.until(lambda: bool(gateway.calls))
        gateway.calls[0].answer()
        world.until(lambda: out.state == "up" and bool(gateway.calls[0].acks))
        world.pass_s(1)
        out.hang_up()
        world.until(lambda: gateway.calls[0].state == "ended")
        world.settled()
        assert (world.row.route, world.row.cause) == ("good", "answered")

    run_with_each_fault(scenario)


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_3_7_session_with_re_invite(World: Any, talk: Any, who: str) -> None:
    """Either side moves its media; the other learns the new address, whatever single message goes astray."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        out, there = talk(world, alice, bob)
        mover, other = (out, there) if who == "caller" else (there, out)
        moved = mover.reinvite(mover.sdp(port=7000))
        world.until(lambda: moved.done)
        if moved.status == 491:  # the ACK was late; what RFC 3261 14.1 wants of the mover
            world.pass_s(3)
            mover.reinvite(mover.sdp(port=7000))
        world.until(lambda: b"m=audio 7000" in other.remote_sdp)
        world.pass_s(3)
        mover.hang_up()
        world.until(lambda: out.state == there.state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_3_8_no_answer_and_the_caller_gives_up(World: Any) -> None:
    """A caller that gives up gets 487, the phone stops ringing."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        out = alice.call("bob")
        world.until(lambda: bool(bob.calls))
        bob.calls[0].ring()
        world.pass_s(1)
        out.cancel()
        world.until(lambda: out.state == bob.calls[0].state == "ended")
        assert out.status == 487
        world.settled()
        assert (world.row.cause, world.row.ended_by, world.row.sip_status) == ("cancelled", "caller", 487)

    run_with_each_fault(scenario)


@pytest.mark.parametrize(("status", "cause"), [(486, "busy"), (480, "unavailable"), (603, "declined")])
def test_3_9_and_3_11_unsuccessful_busy_or_unavailable(World: Any, status: int, cause: str) -> None:
    """The refusal of the phone reaches the caller."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        out = alice.call("bob")
        world.until(lambda: bool(bob.calls))
        bob.calls[0].reject(status)
        world.until(lambda: out.state == "failed")
        assert out.status == status
        world.settled()
        row = world.row
        assert (row.cause, row.ended_by, row.sip_status) == (cause, "callee", status)
        assert row.talk_s == 0

    run_with_each_fault(scenario)


def test_3_10_no_response_from_the_phone(World: Any) -> None:
    """A registered phone that lost its network: 480 when its transaction timed out."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, _ = world.phone("alice"), world.phone("bob")
        wire.unplug("10.0.1.3")
        out = alice.call("bob")
        world.until(lambda: out.state == "failed")
        assert out.status == 480
        world.settled()
        assert (world.row.cause, world.row.sip_status) == ("no_response", 480)

    run_with_each_fault(scenario)
