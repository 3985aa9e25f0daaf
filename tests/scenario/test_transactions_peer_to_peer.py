"""Two telephones, straight at each other over a bad wire: the flows of RFC 3665 3 that need no proxy.

Each flow runs once as it should and then again with every single message lost, doubled and late.
"""

import pytest

from mizu.testing import FakeWire, PeerCall, SipPeer, run_clean, run_with_each_fault


def phones(wire: FakeWire, proto: str = "udp") -> tuple[SipPeer, SipPeer]:
    alice = SipPeer(wire, "alice", "10.0.0.1", server=f"sip:10.0.0.2;transport={proto}", proto=proto)
    bob = SipPeer(wire, "bob", "10.0.0.2", server=f"sip:10.0.0.1;transport={proto}", proto=proto)
    return alice, bob


def answered(wire: FakeWire, alice: SipPeer, bob: SipPeer) -> tuple[PeerCall, PeerCall]:
    ours = alice.call("bob")
    wire.clock.until(lambda: bob.calls, what="the INVITE came")
    theirs = bob.calls[0]
    theirs.ring()
    wire.clock.advance(1)
    theirs.answer()
    wire.clock.until(lambda: ours.state == "up" and theirs.acks, what="the call is up")
    return ours, theirs


def nothing_left(wire: FakeWire, *peers: SipPeer) -> None:
    """After all timers nothing is left anywhere, and no machine met an input it has no row for."""
    wire.clock.run_until_idle(200)
    for peer in peers:
        assert len(peer.layer) == 0, peer.layer.counts()
        assert peer.layer.tallies.unexpected == 0
        assert peer.transports.bad == []


def session(wire: FakeWire) -> None:
    """RFC 3665 3.1: INVITE, 180, 200, ACK, BYE, 200."""
    alice, bob = phones(wire)
    ours, theirs = answered(wire, alice, bob)
    assert ours.remote_sdp
    assert theirs.remote_sdp
    done = theirs.hang_up()
    wire.clock.until(lambda: done.done and ours.state == "ended")
    assert done.status == 200
    assert len(bob.calls) == 1
    assert len(theirs.acks) == 1
    assert [request.method for request in theirs.requests] == ["INVITE", "ACK"]
    nothing_left(wire, alice, bob)


def session_over_tcp(wire: FakeWire) -> None:
    """The same over TCP, where nothing is ever repeated."""
    alice, bob = phones(wire, proto="tcp")
    ours, _ = answered(wire, alice, bob)
    done = ours.hang_up()
    wire.clock.until(lambda: done.done)
    assert done.status == 200
    nothing_left(wire, alice, bob)


def reinvite(wire: FakeWire) -> None:
    """A session that is changed from either side, also by UPDATE, and asked about with INFO."""
    alice, bob = phones(wire)
    ours, theirs = answered(wire, alice, bob)
    for call in (ours, theirs):
        before = call.remote_sdp
        done = call.reinvite()
        wire.clock.until(lambda done=done: done.done)
        assert done.status == 200
        assert call.remote_sdp != before
        wire.clock.advance(1)
    for step in (ours.update, lambda: theirs.info(b"Signal=5"), ours.hang_up):
        done = step()
        wire.clock.until(lambda done=done: done.done)
        assert done.status == 200
    nothing_left(wire, alice, bob)


def cancelled(wire: FakeWire) -> None:
    """RFC 3665 3.8: the caller gives up while it rings."""
    alice, bob = phones(wire)
    ours = alice.call("bob")
    wire.clock.until(lambda: bob.calls)
    theirs = bob.calls[0]
    theirs.ring()
    wire.clock.advance(1)
    ours.cancel()
    wire.clock.until(lambda: ours.state == "ended" and theirs.state == "ended")
    assert ours.status == theirs.status == 487
    nothing_left(wire, alice, bob)


def cancelled_at_once(wire: FakeWire) -> None:
    """A CANCEL before any response waits for one (RFC 3261 9.1)."""
    alice, bob = phones(wire)
    ours = alice.call("bob")
    ours.cancel()
    wire.clock.until(lambda: ours.state in ("ended", "failed"))
    assert ours.status == 487
    nothing_left(wire, alice, bob)


def busy(wire: FakeWire) -> None:
    """RFC 3665 3.9: 486, acknowledged by the transaction layer."""
    alice, bob = phones(wire)
    bob.on_call = lambda call: call.reject(486)
    ours = alice.call("bob")
    wire.clock.until(lambda: ours.state == "failed")
    assert ours.status == 486
    nothing_left(wire, alice, bob)


def reliable_ringing(wire: FakeWire) -> None:
    """A reliable 183 is repeated until its PRACK comes, once (RFC 3262)."""
    alice, bob = phones(wire)
    alice.supported = "100rel"
    ours = alice.call("bob")
    wire.clock.until(lambda: bob.calls)
    theirs = bob.calls[0]
    theirs.ring(183, theirs.sdp(), reliable=True)
    wire.clock.until(lambda: theirs.got("PRACK"))
    wire.clock.advance(2)
    theirs.answer(b"")
    wire.clock.until(lambda: ours.state == "up" and theirs.acks)
    assert [request.method for request in theirs.requests].count("PRACK") == 1
    done = ours.hang_up()
    wire.clock.until(lambda: done.done)
    assert done.status == 200
    nothing_left(wire, alice, bob)


FLOWS = [session, session_over_tcp, reinvite, cancelled, cancelled_at_once, busy, reliable_ringing]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_flow_survives_any_single_fault(flow: object) -> None:
    """Whatever single message is lost, doubled or late, the call ends as it should and leaves nothing."""
    run_with_each_fault(flow)


def test_a_flow_without_faults_repeats_nothing() -> None:
    """On a good wire each message is sent once."""
    wire = run_clean(session)
    assert wire.summary() == [
        "INVITE",
        "180 INVITE",
        "200 INVITE",
        "ACK",
        "BYE",
        "200 BYE",
    ]
