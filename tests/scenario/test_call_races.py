"""CANCEL and BYE crossing answers, and everything else that happens at the worst moment."""

from typing import Any

import pytest

from mizu.testing import FakeClock, FakeWire, run_with_each_fault


def test_cancel_before_the_phone_said_anything(World: Any) -> None:
    """The CANCEL to the phone waits for its first provisional response (RFC 3261 9.1)."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    out.cancel()
    world.until(lambda: out.state == "ended")
    assert not bob.calls[0].got("CANCEL")
    bob.calls[0].ring()
    world.until(lambda: bob.calls[0].state == "ended")
    assert bob.calls[0].status == 487
    world.settled()


@pytest.mark.parametrize("wait_s", [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05])
def test_cancel_and_200_cross(World: Any, wait_s: float) -> None:
    """However they cross: one side's view wins, nobody stays in a call alone, the row says what happened."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    bob.calls[0].ring()
    world.pass_s(0.5)
    bob.calls[0].answer()
    world.pass_s(wait_s)
    if out.state == "up":
        out.hang_up()
    else:
        out.cancel()
    world.until(lambda: bob.calls[0].state == "ended" and out.state == "ended")
    world.settled()
    assert world.row.cause in ("cancelled", "answered")
    assert (world.row.talk_s or 0) < 0.2


def test_a_200_after_our_cancel_is_acknowledged_and_ended(World: Any) -> None:
    """The phone was faster than the CANCEL: ACK and BYE, and no talk time (RFC 3261 9.1)."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        out = alice.call("bob")
        world.until(lambda: bool(bob.calls))
        there = bob.calls[0]
        there._tx.on_cancel = lambda cancel: there.answer()
        there.ring()
        world.pass_s(1)
        out.cancel()
        world.until(lambda: out.state == "ended" and there.state == "ended")
        assert there.got("BYE")
        world.settled()
        assert (world.row.cause, world.row.talk_s) == ("cancelled", 0)

    run_with_each_fault(scenario)


def test_both_hang_up_at_once(World: Any, talk: Any) -> None:
    """Crossing BYEs are both answered 200."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        out, there = talk(world, world.phone("alice"), world.phone("bob"))
        out.hang_up()
        there.hang_up()
        world.until(lambda: out.state == there.state == "ended")
        world.settled()
        assert all(call.exchanges[-1].status in (200, 481) for call in (out, there))

    run_with_each_fault(scenario)


def test_the_caller_never_acknowledges(World: Any) -> None:
    """64*T1 after the 200 without ACK: both legs get BYE (RFC 3261 13.3.1.4)."""
    wire = FakeWire(FakeClock())
    world = World(wire)
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    bob.calls[0].answer()
    world.pass_s(0.015)
    wire.unplug("10.0.1.2")
    world.until(lambda: bob.calls[0].state == "ended")
    world.settled()
    assert out.state != "ended"
    assert (world.row.cause, world.row.ended_by) == ("no_ack", "switch")


def test_a_bye_before_the_answer_is_a_cancel(World: Any) -> None:
    """RFC 3261 15: a caller may end an early dialog by BYE."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    bob.calls[0].ring()
    world.until(lambda: out.state == "ringing")
    bye = out.send("BYE")
    world.until(lambda: bob.calls[0].state == "ended")
    assert bye.status == 200
    assert out.status == 487
    world.settled()
    assert world.row.cause == "cancelled"


def test_the_callee_hangs_up_while_the_answer_is_written(World: Any) -> None:
    """The caller gets no 200 for a call that is gone already."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    world.cdrs.faults.hold()
    bob.calls[0].answer()
    world.pass_s(0.1)
    bob.calls[0].hang_up()
    world.until(lambda: out.state == "failed")
    assert out.status == 480
    assert world.board.calls
    world.cdrs.faults.release()
    world.settled()
    assert (world.row.talk_s, world.row.ended_by) == (0, "callee")


@pytest.mark.parametrize("when", ["open", "answer"])
def test_cancel_while_the_database_is_slow(World: Any, when: str) -> None:
    """The caller gets 487 at once; the row is closed when it can be."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    if when == "open":
        world.cdrs.faults.hold()
    out = alice.call("bob")
    world.pass_s(0.5)
    if when == "answer":
        world.cdrs.faults.hold()
        bob.calls[0].answer()
        world.pass_s(0.1)
    out.cancel()
    world.until(lambda: out.state == "ended")
    assert out.status == 487
    world.cdrs.faults.release()
    if when == "answer":
        world.until(lambda: bob.calls[0].state == "ended")
        assert bob.calls[0].got("ACK", "BYE")
    else:
        assert not bob.calls
    world.settled()
    assert (world.row.cause, world.row.talk_s) == ("cancelled", 0)


def test_the_database_refuses_the_call(World: Any) -> None:
    """503 with Retry-After, and no phone rings unrecorded."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    world.cdrs.faults.refuse_next()
    out = alice.call("bob")
    world.until(lambda: out.state == "failed")
    assert out.status == 503
    assert out.responses[-1].get("retry-after") == "5"
    assert not bob.calls
    world.settled()
    assert not world.rows


def test_the_database_refuses_the_answer(World: Any) -> None:
    """Nobody talks unrecorded: 503 to the caller, BYE to the phone."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        out = alice.call("bob")
        world.until(lambda: bool(bob.calls))
        world.cdrs.faults.refuse_next()
        bob.calls[0].answer()
        world.until(lambda: out.state == "failed" and bob.calls[0].state == "ended")
        assert out.status == 503
        world.settled()
        assert (world.row.cause, world.row.sip_status, world.row.talk_s) == ("store_busy", 503, 0)

    run_with_each_fault(scenario)


def test_an_operator_ends_a_call(World: Any, talk: Any) -> None:
    """Both sides get BYE; an unknown id is told."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    (call_id,) = world.board.calls
    assert world.board.drop(call_id, "operator")
    assert not world.board.drop("nonsense", "operator")
    world.until(lambda: out.state == there.state == "ended")
    world.settled()
    assert (world.row.ended_by, world.row.cause) == ("operator", "dropped")


def test_an_operator_ends_a_ringing_call(World: Any) -> None:
    """The caller gets a refusal, the phone stops."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    bob.calls[0].ring()
    world.pass_s(0.5)
    world.board.drop(next(iter(world.board.calls)), "operator")
    world.until(lambda: out.state == "failed" and bob.calls[0].state == "ended")
    assert out.status == 480
    world.settled()


def test_graceful_shutdown(World: Any, talk: Any) -> None:
    """Draining: new calls get 503 with Retry-After, those in progress end when they end."""
    world = World(FakeWire(FakeClock()))
    alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
    out, _ = talk(world, alice, bob)
    empty: list[bool] = []
    world.board.drain(lambda: empty.append(True))
    late = carol.call("alice")
    world.until(lambda: late.state == "failed")
    assert late.status == 503
    assert late.responses[-1].get("retry-after")
    assert not empty
    out.hang_up()
    world.settled()
    assert empty == [True]


def test_no_more_calls_than_allowed(World: Any, talk: Any) -> None:
    """LimitsConfig.calls."""
    world = World(FakeWire(FakeClock()), limits={"calls": 1})
    alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
    out, _ = talk(world, alice, bob)
    late = carol.call("bob")
    world.until(lambda: late.state == "failed")
    assert late.status == 503
    out.hang_up()
    world.settled()
    again, _ = talk(world, carol, bob)
    again.hang_up()
    world.settled()


def test_a_hundred_calls_at_once(World: Any) -> None:
    """All come about, all end, nothing stays."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    bob.on_call = lambda call: (call.ring(), call.answer())
    calls = [alice.call("bob") for _ in range(100)]
    world.until(lambda: all(call.state == "up" for call in calls))
    assert world.board.counts()["talking"] == 100
    for call in calls:
        call.hang_up()
    world.settled()
    assert sum(row.cause == "answered" for row in world.rows) == 100


def test_a_call_that_comes_back_is_a_loop(World: Any) -> None:
    """A8: a route that leads to ourselves ends in 482, at once."""
    from mizu.model import Route

    class Loop:
        async def find_routes(self, call: Any) -> list[Route]:
            return [Route("self", uri=f"sip:{call.called_number}@10.0.0.1")]

    world = World(FakeWire(FakeClock()), routers=[("loop", Loop())])
    world.authorizer._open_backends = []
    alice = world.phone("alice")

    async def anybody(request: Any, flow: Any) -> Any:
        from mizu.auth.request import Accepted

        return Accepted(world.account("alice"), "alice")

    world.authorizer.authorize_now = lambda request, flow: None
    world.authorizer.authorize = anybody
    world.authorizer.first_answer = lambda request, flow: None
    out = alice.call("55")
    world.until(lambda: out.state == "failed", limit_s=5)
    assert out.status == 482
    world.settled()
    assert world.rows[0].cause == "loop"


def test_max_forwards_goes_down(World: Any) -> None:
    """Across the switch as across a proxy; at 0 the call ends with 483."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    assert bob.calls[0].requests[0].max_forwards == 69
    out.cancel()
    world.settled()


def test_guessed_tags_do_nothing(World: Any, talk: Any) -> None:
    """A7: requests with the Call-ID and wrong tags, and right ones from a stranger without password."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    stranger = world.trunk("stranger", "10.9.9.9")
    for method in ("BYE", "INVITE", "UPDATE", "INFO"):
        for tag in ("guess", out.remote_tag):
            fake = stranger.send(method, "sip:mizu@10.0.0.1")
            request = fake.request
            request.set("Call-ID", out.call_id)
            request.set("To", f"<sip:bob@10.0.0.1>;tag={tag}")
            request.set("From", f"<sip:alice@10.0.0.1>;tag={out.local_tag}")
            request.set("CSeq", f"900 {method}")
            probe = stranger.exchange(lambda auth, request=request: request)
            world.until(lambda probe=probe: probe.done)
            assert probe.status in (481, 407)
    assert (out.state, there.state) == ("up", "up")
    out.hang_up()
    world.settled()
    assert world.row.ended_by == "caller"


def test_cseq_out_of_order(World: Any, talk: Any) -> None:
    """A lower CSeq than the last is answered 500 and changes nothing (RFC 3261 12.2.2)."""
    world = World(FakeWire(FakeClock()))
    out, _ = talk(world, world.phone("alice"), world.phone("bob"))
    out.cseq -= 2
    old = out.send("INFO")
    world.until(lambda: old.done)
    assert old.status == 500
    out.cseq += 5
    out.hang_up()
    world.settled()
