"""Requests inside a call: hold, glare, UPDATE, INFO, MESSAGE, OPTIONS, PRACK, offers that come late."""

from typing import Any

import pytest

from mizu.testing import FakeClock, FakeWire, run_with_each_fault


def test_hold_and_resume(World: Any, talk: Any) -> None:
    """sendonly reaches the other party, its answer comes back; so does the end of the hold."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        out, there = talk(world, world.phone("alice"), world.phone("bob"))
        world.pass_s(1)
        out.reinvite(out.sdp(direction="sendonly"))
        world.until(lambda: b"sendonly" in there.remote_sdp)
        world.pass_s(3)
        resume = out.reinvite(out.sdp(direction="sendrecv"))
        world.until(lambda: resume.done)
        assert resume.status == 200
        assert b"sendrecv" in there.remote_sdp
        world.pass_s(3)
        out.hang_up()
        world.until(lambda: there.state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_both_reinvite_at_once(World: Any, talk: Any) -> None:
    """Glare: each side gets 491, the call goes on, and a retry works (RFC 3261 14.1)."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        out, there = talk(world, world.phone("alice"), world.phone("bob"))
        world.pass_s(2)
        one, two = out.reinvite(), there.reinvite()
        world.until(lambda: one.done and two.done)
        assert {one.status, two.status} <= {200, 491}
        assert 491 in (one.status, two.status)
        world.pass_s(3)
        again = out.reinvite(out.sdp(port=7000))
        world.until(lambda: again.done)
        assert again.status == 200
        world.pass_s(3)
        out.hang_up()
        world.until(lambda: there.state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_a_second_reinvite_before_the_first_is_answered(World: Any, talk: Any) -> None:
    """500 with Retry-After (RFC 3261 14.2)."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    there.on_request = lambda tx: tx.request.method == "INVITE"  # rings for ever
    out.reinvite()
    second = out.reinvite()
    world.until(lambda: second.done)
    assert second.status == 500
    assert second.final.get("retry-after")
    out.hang_up()
    world.settled()


def test_a_refused_reinvite_changes_nothing(World: Any, talk: Any) -> None:
    """488 reaches who asked; the call goes on as it was."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))

    def refuse(tx: Any) -> bool:
        if tx.request.method != "INVITE":
            return False
        tx.respond(tx.request.reply(488))
        return True

    there.on_request = refuse
    refused = out.reinvite()
    world.until(lambda: refused.done)
    assert (refused.status, out.state, there.state) == (488, "up", "up")
    there.on_request = None
    later = there.reinvite()
    world.until(lambda: later.done)
    assert later.status == 200
    world.pass_s(1)
    out.hang_up()
    world.settled()


@pytest.mark.parametrize("status", [408, 481])
def test_a_reinvite_that_finds_the_dialog_gone_ends_the_call(World: Any, talk: Any, status: int) -> None:
    """RFC 5057: the other side of the call must not hang."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))

    def refuse(tx: Any) -> bool:
        if tx.request.method != "INVITE":
            return False
        tx.respond(tx.request.reply(status))
        return True

    there.on_request = refuse
    out.reinvite()
    world.until(lambda: out.state == "ended")
    world.settled()
    assert world.row.cause == "dialog_lost"


def test_a_refresh_with_the_same_description_stays_here(World: Any, talk: Any) -> None:
    """A session refresh of one leg does not disturb the other."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    before = len(there.requests)
    same = out.reinvite(there.remote_sdp)
    world.until(lambda: same.done)
    assert same.status == 200
    assert same.final.body == out.remote_sdp
    assert len(there.requests) == before
    out.hang_up()
    world.settled()


def test_delayed_offer(World: Any) -> None:
    """INVITE without description: the offer is in the 200, the answer in the ACK, through to the phone."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        from mizu.testing import PeerCall

        out = PeerCall(alice, "sip:bob@10.0.0.1")
        alice.calls.append(out)
        answer = out.sdp(port=4444)
        out.invite(b"", ack_sdp=answer, fields=[])
        out._ack_fields = [("Content-Type", "application/sdp")]
        world.until(lambda: bool(bob.calls))
        there = bob.calls[0]
        assert not there.requests[0].body
        there.answer(there.sdp(port=5555))
        world.until(lambda: out.state == "up" and bool(there.acks))
        assert b"m=audio 5555" in out.remote_sdp
        assert b"m=audio 4444" in there.remote_sdp
        world.pass_s(1)
        out.hang_up()
        world.until(lambda: there.state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_early_media_passes(World: Any) -> None:
    """183 with a description reaches the caller, and the 200 keeps it."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    there = bob.calls[0]
    early = there.sdp(port=4800)
    there.ring(183, early)
    world.until(lambda: out.got(183))
    assert out.remote_sdp == early
    there.answer(early)
    world.until(lambda: out.state == "up")
    out.hang_up()
    world.settled()


def test_early_media_of_one_phone_and_answer_of_another(World: Any) -> None:
    """The caller sees two early dialogs, never two answers in one (RFC 3261 13.2.2.4)."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice")
    bobs = [world.phone("bob") for _ in range(2)]
    out = alice.call("bob")
    world.until(lambda: all(bob.calls for bob in bobs))
    bobs[0].calls[0].ring(183, bobs[0].calls[0].sdp(port=4801))
    world.until(lambda: out.got(183))
    first_tag = out.remote_tag
    bobs[1].calls[0].answer()
    world.until(lambda: out.state == "up")
    assert out.remote_tag != first_tag
    info = out.info(b"x")
    world.until(lambda: info.done)
    assert info.status == 200
    out.hang_up()
    world.settled()


def test_prack_on_both_legs(World: Any) -> None:
    """The phone's reliable 18x are acknowledged by us, ours by the caller, each for itself (RFC 3262)."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        alice.supported = "100rel"
        out = alice.call("bob")
        world.until(lambda: bool(bob.calls))
        there = bob.calls[0]
        assert "100rel" in (there.requests[0].get("supported") or "")
        early = there.sdp(port=4802)
        there.ring(183, early, reliable=True)
        world.until(lambda: out.got(183) and there.got("PRACK"))
        world.pass_s(2)
        there.answer(early)
        world.until(lambda: out.state == "up" and bool(there.acks))
        world.pass_s(1)
        out.hang_up()
        world.until(lambda: there.state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_a_reliable_18x_to_a_caller_without_100rel(World: Any) -> None:
    """The phone gets its PRACK from us; the caller an ordinary 183, and the answer again in the 200."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob = world.phone("alice"), world.phone("bob")
        out = alice.call("bob")
        world.until(lambda: bool(bob.calls))
        there = bob.calls[0]
        early = there.sdp(port=4803)
        there.ring(183, early, reliable=True)
        world.until(lambda: there.got("PRACK"))
        world.pass_s(1)
        there.answer(b"")
        world.until(lambda: out.state == "up")
        assert out.remote_sdp == early
        world.pass_s(1)
        out.hang_up()
        world.until(lambda: there.state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_a_caller_that_never_sends_prack(World: Any) -> None:
    """RFC 3262 3: after 64*T1 the INVITE is refused with a 5xx and the phone stops ringing."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    alice.supported, alice.auto_prack = "100rel", False
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    bob.calls[0].ring()
    world.until(lambda: out.state == "failed")
    assert out.status == 504
    world.until(lambda: bob.calls[0].state == "ended")
    world.settled()
    assert world.row.cause == "no_prack"


def test_offer_in_a_reliable_18x(World: Any) -> None:
    """Delayed offer and 100rel: the phone's offer goes to the caller reliably, its PRACK has the answer."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    alice.supported, alice.auto_prack = "100rel", False
    out = alice.call("bob", b"")
    world.until(lambda: bool(bob.calls))
    there = bob.calls[0]
    there.ring(183, there.sdp(port=4804), reliable=True)
    world.until(lambda: out.got(183))
    assert b"4804" in out.remote_sdp
    response = next(r for r in out.responses if r.status == 183)
    acknowledged = out.prack(response, out.sdp(port=4805))
    world.until(lambda: there.got("PRACK") and acknowledged.done)
    assert acknowledged.status == 200
    prack = next(r for r in there.requests if r.method == "PRACK")
    assert b"4805" in prack.body
    there.answer(b"")
    world.until(lambda: out.state == "up" and bool(there.acks))
    out.hang_up()
    world.settled()


def test_update_in_a_call(World: Any, talk: Any) -> None:
    """With a description it reaches the other party as UPDATE, or as re-INVITE where UPDATE is unknown."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        out, there = talk(world, world.phone("alice"), world.phone("bob"))
        world.pass_s(1)
        changed = out.update(out.sdp(port=4900))
        world.until(lambda: changed.done)
        assert changed.status == 200
        assert b"m=audio 4900" in there.remote_sdp
        world.pass_s(3)
        out.hang_up()
        world.until(lambda: there.state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_update_before_the_answer(World: Any) -> None:
    """In an early dialog with a finished exchange (RFC 3311), to the phone that is behind it."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    alice.supported = "100rel"
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    there = bob.calls[0]
    there.ring(183, there.sdp(), reliable=True, fields=[("Allow", "INVITE, UPDATE, PRACK")])
    world.until(lambda: out.got(183) and there.got("PRACK"))
    world.pass_s(1)
    changed = out.update(out.sdp(port=4901))
    world.until(lambda: changed.done)
    assert changed.status == 200
    assert b"m=audio 4901" in there.remote_sdp
    there.answer(b"")
    world.until(lambda: out.state == "up")
    out.hang_up()
    world.settled()


def test_update_while_an_offer_is_open(World: Any) -> None:
    """RFC 3311 5.2: before the INVITE's offer is answered another one gets 500 with Retry-After."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    bob.calls[0].ring()
    world.until(lambda: out.state == "ringing")
    early = out.update(out.sdp())
    world.until(lambda: early.done)
    assert early.status == 500
    assert early.final.get("retry-after")
    out.cancel()
    world.settled()


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_info_and_message_pass(World: Any, talk: Any, who: str) -> None:
    """With body and type, in both directions, the answer back."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        out, there = talk(world, world.phone("alice"), world.phone("bob"))
        one, other = (out, there) if who == "caller" else (there, out)
        sent = one.info(b"Signal=5\r\n")
        world.until(lambda: sent.done)
        text = one.send("MESSAGE", b"hello", [("Content-Type", "text/plain")])
        world.until(lambda: text.done)
        assert (sent.status, text.status) == (200, 200)
        info = next(r for r in other.requests if r.method == "INFO")
        assert (info.body, info.get("content-type")) == (b"Signal=5\r\n", "application/dtmf-relay")
        out.hang_up()
        world.until(lambda: there.state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_options_in_a_call_is_answered_here(World: Any, talk: Any) -> None:
    """A keepalive of one leg is no business of the other."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    asked = out.send("OPTIONS")
    world.until(lambda: asked.done)
    assert asked.status == 200
    assert not there.got("OPTIONS")
    out.hang_up()
    world.settled()


@pytest.mark.parametrize(
    ("method", "status"), [("NOTIFY", 481), ("SUBSCRIBE", 489), ("PUBLISH", 489), ("FOO", 501)]
)
def test_what_has_no_place_in_a_call(World: Any, talk: Any, method: str, status: int) -> None:
    """The RFC's answer, and the call goes on."""
    world = World(FakeWire(FakeClock()))
    out, _ = talk(world, world.phone("alice"), world.phone("bob"))
    asked = out.send(method, fields=[("Event", "presence"), ("Subscription-State", "active")])
    world.until(lambda: asked.done)
    assert (asked.status, out.state) == (status, "up")
    out.hang_up()
    world.settled()


def test_after_the_end_everything_is_481(World: Any, talk: Any) -> None:
    """The dialog is gone with the call."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    out.hang_up()
    world.until(lambda: there.state == "ended")
    world.settled()
    late = out.info(b"x")
    world.until(lambda: late.done)
    assert late.status == 481


def test_a_phone_that_moved_proves_itself(World: Any, talk: Any) -> None:
    """A re-INVITE from another address is challenged; with the password the call follows the phone."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    out, there = talk(world, alice, bob)
    moved = world.phone("alice", register=False)
    out.peer = moved
    moved.calls.append(out)
    again = out.reinvite(out.sdp(host="10.0.1.4", port=4600))
    world.until(lambda: again.done)
    assert again.responses[0].status == 407
    assert again.status == 200
    assert b"10.0.1.4" in there.remote_sdp
    there.hang_up()
    world.until(lambda: out.state == "ended")
    world.settled()
