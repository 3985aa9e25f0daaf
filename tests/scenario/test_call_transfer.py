"""Transfers by REFER, carried out by the switch."""

from typing import Any

import pytest

from mizu.model import Route
from mizu.testing import FakeClock, FakeWire, run_with_each_fault


def sipfrags(call: Any) -> list[bytes]:
    return [request.body.strip() for request in call.requests if request.method == "NOTIFY"]


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_blind(World: Any, talk: Any, who: str) -> None:
    """202, NOTIFYs, a call to the target at the referrer's cost, both others joined, the referrer gone."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
        out, there = talk(world, alice, bob)
        world.pass_s(1)
        referrer, kept = (out, there) if who == "caller" else (there, out)
        referred = referrer.refer("sip:carol@10.0.0.1")
        world.until(lambda: bool(carol.calls))
        assert referred.status == 202 or not referred.done
        target = carol.calls[0]
        target.ring()
        world.pass_s(1)
        target.answer(target.sdp(port=4321))
        world.until(lambda: referrer.state == "ended")
        world.until(lambda: b"m=audio 4321" in kept.remote_sdp)
        assert sipfrags(referrer)[-1] == b"SIP/2.0 200 OK"
        assert kept.state == target.state == "up"
        world.pass_s(5)
        sent = kept.info(b"hello")
        world.until(lambda: sent.done)
        assert target.got("INFO")
        kept.hang_up()
        world.until(lambda: target.state == "ended")
        world.settled()
        first, second = world.rows
        assert (second.caller_number, second.called_number) == (referrer.peer.name, "carol")
        assert (first.cause, second.cause) == ("answered", "answered")
        assert second.caller_sip_call_id == referrer.call_id
        assert second.talk_s >= 5

    run_with_each_fault(scenario)


def test_the_target_hangs_up_after_a_blind_transfer(World: Any, talk: Any) -> None:
    """Both rows are closed, each with its own view of who ended it."""
    world = World(FakeWire(FakeClock()))
    alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
    out, there = talk(world, alice, bob)
    there.refer("sip:carol@10.0.0.1")
    world.until(lambda: bool(carol.calls))
    carol.calls[0].answer()
    world.until(lambda: there.state == "ended")
    carol.calls[0].hang_up()
    world.until(lambda: out.state == "ended")
    world.settled()
    assert [row.ended_by for row in world.rows] == ["callee", "callee"]


@pytest.mark.parametrize("status", [486, 480, 603])
def test_a_target_that_refuses(World: Any, talk: Any, status: int) -> None:
    """The referrer is told and stays in the call, which goes on."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
        out, there = talk(world, alice, bob)
        world.pass_s(1)
        there.refer("sip:carol@10.0.0.1")
        world.until(lambda: bool(carol.calls))
        carol.calls[0].reject(status)
        world.until(
            lambda: len(sipfrags(there)) > 0 and sipfrags(there)[-1].startswith(b"SIP/2.0 %d" % status)
        )
        assert (out.state, there.state) == ("up", "up")
        world.pass_s(3)
        sent = out.info(b"still there?")
        world.until(lambda: sent.done)
        assert sent.status == 200
        out.hang_up()
        world.until(lambda: there.state == "ended")
        world.settled()
        assert world.rows[1].sip_status == status

    run_with_each_fault(scenario)


def test_an_unknown_target(World: Any, talk: Any) -> None:
    """404 in the NOTIFY; nothing else happens."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    there.refer("sip:nobody@10.0.0.1")
    world.until(lambda: any(b"404" in frag for frag in sipfrags(there)))
    assert (out.state, there.state) == ("up", "up")
    out.hang_up()
    world.settled()


def test_the_referrer_leaves_early(World: Any, talk: Any) -> None:
    """A BYE right after the 202 is usual; the transfer goes on without it."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
        out, there = talk(world, alice, bob)
        world.pass_s(1)
        referred = there.refer("sip:carol@10.0.0.1")
        world.until(lambda: referred.done)
        there.hang_up()
        world.until(lambda: bool(carol.calls))
        world.pass_s(2)
        assert out.state == "up"
        carol.calls[0].answer()
        world.until(lambda: bool(carol.calls[0].acks))
        world.pass_s(2)
        out.hang_up()
        world.until(lambda: carol.calls[0].state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_the_referrer_left_and_the_target_refuses(World: Any, talk: Any) -> None:
    """Nobody is left to talk to: the kept party is told goodbye."""
    world = World(FakeWire(FakeClock()))
    alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
    out, there = talk(world, alice, bob)
    there.refer("sip:carol@10.0.0.1")
    world.until(lambda: bool(carol.calls))
    there.hang_up()
    world.pass_s(1)
    carol.calls[0].reject(486)
    world.until(lambda: out.state == "ended")
    world.settled()
    assert world.rows[0].cause == "transfer_failed"


def test_the_kept_party_hangs_up_meanwhile(World: Any, talk: Any) -> None:
    """The target stops ringing, the referrer is told and gone."""
    world = World(FakeWire(FakeClock()))
    alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
    out, there = talk(world, alice, bob)
    there.refer("sip:carol@10.0.0.1")
    world.until(lambda: bool(carol.calls))
    carol.calls[0].ring()
    world.pass_s(0.5)
    out.hang_up()
    world.until(lambda: there.state == "ended" and carol.calls[0].state == "ended")
    world.settled()
    assert world.rows[1].cause == "cancelled"


@pytest.mark.parametrize("who", ["kept", "target"])
def test_attended(World: Any, talk: Any, who: str) -> None:
    """Refer-To with Replaces joins the two calls of the referrer; both rows end when the others hang up."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
        out, there = talk(world, alice, bob)
        world.pass_s(1)
        held = there.reinvite(there.sdp(direction="sendonly"))
        world.until(lambda: held.done)
        world.pass_s(1)
        asking, target = talk(world, bob, carol)
        world.pass_s(1)
        replaces = asking.replaces().replace(";", "%3B").replace("=", "%3D")
        there.refer(f"sip:carol@10.0.0.1?Replaces={replaces}")
        world.until(lambda: there.state == "ended" and asking.state == "ended")
        assert sipfrags(there)[-1] == b"SIP/2.0 200 OK"
        assert out.state == target.state == "up"
        assert b"10.0.1.4" in out.remote_sdp
        assert b"10.0.1.2" in target.remote_sdp
        assert b"sendonly" not in out.remote_sdp
        world.pass_s(5)
        one, other = (out, target) if who == "kept" else (target, out)
        one.hang_up()
        world.until(lambda: other.state == "ended")
        world.settled()
        assert len(world.rows) == 2
        assert all(row.cause == "answered" and row.talk_s >= 5 for row in world.rows)

    run_with_each_fault(scenario)


def test_somebody_elses_call_cannot_be_taken_over(World: Any, talk: Any) -> None:
    """Replaces names a dialog of another account: refused, nobody is disturbed."""
    world = World(FakeWire(FakeClock()))
    names = ["alice", "bob", "carol", "dave"]
    alice, bob, carol, dave = (world.phone(name) for name in names)
    out, there = talk(world, alice, bob)
    other, other_there = talk(world, carol, dave)
    replaces = other.replaces().replace(";", "%3B").replace("=", "%3D")
    there.refer(f"sip:dave@10.0.0.1?Replaces={replaces}")
    world.until(lambda: any(b"481" in frag for frag in sipfrags(there)))
    assert {call.state for call in (out, there, other, other_there)} == {"up"}
    out.hang_up()
    other.hang_up()
    world.settled()


def test_a_trunk_may_not_transfer(World: Any) -> None:
    """Only a party with an account of ours, which pays for the new call."""

    class Trunk:
        async def find_routes(self, call: Any) -> list[Route]:
            return [Route("t", uri="sip:9@10.0.3.1")] if call.called_number == "9" else []

    world = World(FakeWire(FakeClock()), routers=[("t", Trunk())])
    alice, one = world.phone("alice"), world.trunk("one", "10.0.3.1")
    world.phone("carol")
    out = alice.call("9")
    world.until(lambda: bool(one.calls))
    one.calls[0].answer()
    world.until(lambda: out.state == "up")
    world.pass_s(1)
    referred = one.calls[0].refer("sip:carol@10.0.0.1")
    world.until(lambda: referred.done)
    assert (referred.status, out.state) == (403, "up")
    out.hang_up()
    world.settled()


@pytest.mark.parametrize("refer_to", ["<sip:>", "nonsense", "<mailto:x@example.com>", "<sip:c@x;method=BYE>"])
def test_a_refer_to_that_is_none(World: Any, talk: Any, refer_to: str) -> None:
    """A clear refusal; no call is made."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    referred = there.send("REFER", fields=[("Refer-To", refer_to)])
    world.until(lambda: referred.done)
    assert referred.status in (400, 603)
    assert len(world.rows) == 1
    out.hang_up()
    world.settled()


def test_a_refer_without_notifications(World: Any, talk: Any) -> None:
    """Refer-Sub: false (RFC 4488): no NOTIFY, but the transfer."""
    world = World(FakeWire(FakeClock()))
    alice, bob, carol = world.phone("alice"), world.phone("bob"), world.phone("carol")
    out, there = talk(world, alice, bob)
    referred = there.refer("sip:carol@10.0.0.1", [("Refer-Sub", "false")])
    world.until(lambda: bool(carol.calls))
    assert referred.final.get("refer-sub") == "false"
    carol.calls[0].answer()
    world.until(lambda: there.state == "ended")
    assert sipfrags(there) == []
    out.hang_up()
    world.settled()
