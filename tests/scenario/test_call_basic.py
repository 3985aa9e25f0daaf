"""Plain calls between two registered phones: they talk, either hangs up, one cancels, one is busy; each also
with every single message lost, doubled or late (RFC 3665 3.1, 3.8, 3.9 as seen by a switch in the middle)."""

from typing import Any

import pytest

from mizu.testing import FakeClock, FakeWire, run_with_each_fault


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


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_a_call_survives_any_single_fault(World: Any, talk: Any, who: str) -> None:
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

    run_with_each_fault(scenario)


def test_cancel_survives_any_single_fault(World: Any) -> None:
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


def test_busy_survives_any_single_fault(World: Any) -> None:
    """486 of the phone reaches the caller."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        out = alice.call("bob")
        world.until(lambda: bool(bob.calls))
        bob.calls[0].reject(486)
        world.until(lambda: out.state == "failed")
        assert out.status == 486
        world.settled()
        assert (world.row.cause, world.row.ended_by, world.row.sip_status) == ("busy", "callee", 486)

    run_with_each_fault(scenario)
