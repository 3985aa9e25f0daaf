"""Session timers (RFC 4028) on each leg, and parties that vanish."""

from typing import Any

import pytest

from mizu.model import Route
from mizu.testing import FakeClock, FakeWire

TIMER = [("Supported", "timer")]


def test_we_refresh_a_party_without_session_timers(World: Any, talk: Any) -> None:
    """Both phones get an UPDATE at half the interval, and the call lives as long as they answer."""
    world = World(FakeWire(FakeClock()), call={"session_expires_s": 200})
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    world.pass_s(450)
    assert (out.state, there.state) == ("up", "up")
    refreshes = [r.method for r in (*out.requests, *there.requests) if r.method in ("UPDATE", "INVITE")]
    assert refreshes.count("UPDATE") + refreshes.count("INVITE") - 1 >= 8
    out.hang_up()
    world.settled()
    assert world.row.cause == "answered"


@pytest.mark.parametrize("gone", ["caller", "callee"])
def test_a_vanished_party_ends_the_call(World: Any, talk: Any, gone: str) -> None:
    """The refresh is not answered: BYE to the other, the row says why."""
    wire = FakeWire(FakeClock())
    world = World(wire, call={"session_expires_s": 200})
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    wire.unplug("10.0.1.2" if gone == "caller" else "10.0.1.3")
    stays = there if gone == "caller" else out
    world.until(lambda: stays.state == "ended", limit_s=250)
    world.settled()
    assert (world.row.cause, world.row.ended_by) == ("session_expired", "switch")
    assert 100 <= world.row.talk_s <= 140


def test_a_caller_that_refreshes_itself(World: Any) -> None:
    """It asked for a timer: the 200 says it refreshes; as long as it does the call lives, then it ends."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob", fields=[*TIMER, ("Session-Expires", "120")])
    world.until(lambda: bool(bob.calls))
    bob.calls[0].answer()
    world.until(lambda: out.state == "up")
    final = next(r for r in out.responses if r.status == 200)
    assert final.get("session-expires") == "120;refresher=uac"
    assert final.get("require") == "timer"
    for _ in range(3):
        world.pass_s(60)
        refresh = out.update(b"", [*TIMER, ("Session-Expires", "120;refresher=uac")])
        world.until(lambda refresh=refresh: refresh.done)
        assert refresh.status == 200
        assert (refresh.final.get("session-expires") or "").startswith("120")
    assert out.state == "up"
    world.until(lambda: out.state == "ended", limit_s=125)
    world.settled()
    assert world.row.cause == "session_expired"


def test_a_timer_below_ours(World: Any) -> None:
    """422 with Min-SE."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice")
    world.phone("bob")
    out = alice.call("bob", fields=[*TIMER, ("Session-Expires", "30")])
    world.until(lambda: out.state == "failed")
    assert (out.status, out.responses[-1].get("min-se")) == (422, "90")
    world.settled()


def test_a_callee_that_wants_a_longer_timer(World: Any) -> None:
    """Its 422 is answered with its own Min-SE, without the caller noticing."""
    world = World(FakeWire(FakeClock()), call={"session_expires_s": 100})
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    bob.calls[0].reject(422, [("Min-SE", "500")])
    world.until(lambda: len(bob.calls) == 2)
    again = bob.calls[1].requests[0]
    assert (again.get("session-expires"), again.get("min-se")) == ("500", "90")
    bob.calls[1].answer(fields=[("Session-Expires", "500;refresher=uac"), ("Require", "timer")])
    world.until(lambda: out.state == "up")
    out.hang_up()
    world.settled()


def test_a_refresh_is_refused_once_by_glare(World: Any, talk: Any) -> None:
    """491 to our refresh: again soon, and the call goes on."""
    world = World(FakeWire(FakeClock()), call={"session_expires_s": 200})
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    refused: list[str] = []

    def once(tx: Any) -> bool:
        if refused or tx.request.method not in ("UPDATE", "INVITE"):
            return False
        refused.append(tx.request.method)
        tx.respond(tx.request.reply(491))
        return True

    there.on_request = once
    world.pass_s(300)
    assert refused
    assert (out.state, there.state) == ("up", "up")
    out.hang_up()
    world.settled()
    assert world.row.cause == "answered"


def test_options_when_there_is_no_session_timer(World: Any, talk: Any) -> None:
    """[call] options_ping_s: a party that does not answer ends the call."""
    wire = FakeWire(FakeClock())
    world = World(wire, call={"session_timer": False, "options_ping_s": 20.0})
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    world.pass_s(100)
    assert out.got("OPTIONS")
    assert there.got("OPTIONS")
    wire.unplug("10.0.1.3")
    world.until(lambda: out.state == "ended", limit_s=60)
    world.settled()
    assert world.row.cause == "no_options"


def test_a_180_is_repeated_each_minute(World: Any) -> None:
    """RFC 3261 13.3.1.1: a lost 180 does not stay lost."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    bob.calls[0].ring()
    world.pass_s(100)
    assert sum(response.status == 180 for response in out.responses) == 2
    out.cancel()
    world.settled()


def test_a_bye_nobody_answers(World: Any, talk: Any) -> None:
    """The party is gone when we hang up: the leg is over after 64*T1 all the same."""
    wire = FakeWire(FakeClock())
    world = World(wire)
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    wire.unplug("10.0.1.3")
    out.hang_up()
    world.settled()
    assert there.state == "up"
    assert world.row.cause == "answered"


def test_a_trunk_whose_silence_is_long(World: Any) -> None:
    """Nobody anywhere: the call ends with a clear status when the last trunk timed out."""

    class Dead:
        async def find_routes(self, call: Any) -> list[Route]:
            return [Route(f"t{n}", uri=f"sip:9@10.0.3.{n}", answer_timeout_s=3.0) for n in (1, 2)]

    wire = FakeWire(FakeClock())
    world = World(wire, routers=[("dead", Dead())])
    for n in (1, 2):
        wire.unplug(f"10.0.3.{n}")
    out = world.phone("alice").call("9")
    world.until(lambda: out.state == "failed", limit_s=10)
    assert out.status == 480
    world.settled()
    assert (world.row.cause, world.row.route) == ("no_response", "t2")


def test_a_caller_that_waits_only_so_long(World: Any) -> None:
    """Expires in the INVITE (RFC 3261 13.3.1): ringing ends then."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob", fields=[("Expires", "15")])
    world.until(lambda: bool(bob.calls))
    bob.calls[0].ring()
    world.until(lambda: out.state == "failed", limit_s=16)
    world.settled()
    assert world.row.cause == "no_answer"
