"""The test telephone: what it does by itself, so that other tests may rely on it."""

from mizu.testing import FakeClock, FakeWire, Faults, PeerCall, SipPeer


class Phones:
    """Alice and Bob, straight at each other."""

    def __init__(self, **settings: object) -> None:
        self.clock = FakeClock()
        self.wire = FakeWire(self.clock, **settings)
        self.alice = SipPeer(self.wire, "alice", "10.0.0.1", server="sip:10.0.0.2")
        self.bob = SipPeer(self.wire, "bob", "10.0.0.2", server="sip:10.0.0.1")

    def call(self, **options: object) -> tuple[PeerCall, PeerCall]:
        ours = self.alice.call("bob", **options)
        self.clock.until(lambda: self.bob.calls)
        return ours, self.bob.calls[0]

    def up(self) -> tuple[PeerCall, PeerCall]:
        ours, theirs = self.call()
        theirs.answer()
        self.clock.until(lambda: theirs.acks)
        return ours, theirs

    def idle(self) -> None:
        self.clock.run_until_idle(2000)
        assert len(self.alice.layer) == len(self.bob.layer) == 0


def test_messages_and_options_are_answered_and_kept() -> None:
    """A script may answer otherwise by ``on_request``."""
    phones = Phones()
    first = phones.alice.message("sip:bob@10.0.0.2", "hello")
    second = phones.alice.send("OPTIONS", "sip:bob@10.0.0.2")
    third = phones.alice.send("PUBLISH", "sip:bob@10.0.0.2")
    phones.clock.advance(1)
    assert (first.status, second.status, third.status) == (200, 200, 405)
    assert phones.bob.requests[0].body == b"hello"

    def refuse(tx: object) -> bool:
        tx.respond(tx.request.reply(403))
        return True

    phones.bob.on_request = refuse
    again = phones.alice.message("sip:bob@10.0.0.2", "hello")
    phones.clock.advance(1)
    assert again.status == 403
    phones.idle()


def test_a_2xx_without_ack_is_repeated_and_the_call_ended() -> None:
    """RFC 3261 13.3.1.4: T1, doubled up to T2, for 64*T1; then BYE."""
    phones = Phones()
    ours, theirs = phones.call()
    phones.wire.unplug("10.0.0.1")
    theirs.answer()
    phones.clock.advance(31.9)
    sent = [round(entry.at_s, 2) for entry in phones.wire.log if entry.summary == "200 INVITE"]
    assert [round(at_s - sent[0], 2) for at_s in sent] == [
        *(0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5)
    ]
    phones.clock.advance(0.2)
    assert phones.wire.summary()[-1] == "BYE"
    assert theirs.state == "ended"
    assert ours.status == 408  # it never heard a word
    phones.idle()


def test_a_2xx_that_crosses_a_cancel_is_acknowledged_and_hung_up() -> None:
    """The caller wanted no call any more."""
    phones = Phones(latency_s=0.1)
    ours, theirs = phones.call()
    theirs.ring()
    phones.clock.advance(1)
    theirs.answer()
    ours.cancel()
    phones.clock.until(lambda: theirs.state == "ended")
    assert ours.got(200)
    assert theirs.got("ACK", "BYE")
    assert theirs.ended_by == "them"
    phones.idle()


def test_glare_is_refused_with_491_on_both_sides() -> None:
    """Two re-INVITEs that cross (14.2)."""
    phones = Phones()
    ours, theirs = phones.up()
    one, two = ours.reinvite(), theirs.reinvite()
    phones.clock.advance(1)
    assert (one.status, two.status) == (491, 491)
    assert ours.state == theirs.state == "up"
    ours.hang_up()
    phones.idle()


def test_an_offer_may_come_in_the_2xx_and_the_answer_in_the_ack() -> None:
    """INVITE without a body."""
    phones = Phones()
    ours = phones.alice.call("bob", sdp=b"")
    ours._ack_sdp = ours.sdp()
    phones.clock.until(lambda: phones.bob.calls)
    theirs = phones.bob.calls[0]
    assert theirs.remote_sdp == b""
    theirs.answer()
    phones.clock.until(lambda: theirs.acks)
    assert ours.remote_sdp
    assert theirs.remote_sdp == theirs.acks[0].body != b""
    ours.hang_up()
    phones.idle()


def test_a_transfer_is_accepted_and_can_name_a_dialog() -> None:
    """REFER gets 202; ``replaces`` names the call as the other side sees it (RFC 3891)."""
    phones = Phones()
    ours, theirs = phones.up()
    assert theirs.call_id in ours.replaces()
    assert f"to-tag={theirs.local_tag}" in ours.replaces()
    done = ours.refer("sip:carol@10.0.0.3")
    other = theirs.send("NOTIFY", fields=[("Event", "refer")])
    phones.clock.advance(1)
    assert (done.status, other.status) == (202, 200)
    assert theirs.requests[-1].get("refer-to") == "<sip:carol@10.0.0.3>"
    theirs.hang_up()
    phones.idle()


def test_requests_of_dead_or_unknown_dialogs_get_481() -> None:
    """After the BYE the dialog is gone."""
    phones = Phones()
    ours, theirs = phones.up()
    done = ours.hang_up()
    phones.clock.until(lambda: done.done)
    late = ours.info(b"Signal=1")
    theirs.local_tag = "nobody"
    later = ours.info(b"Signal=1")
    phones.clock.advance(1)
    assert (late.status, later.status) == (481, 481)
    phones.idle()


def test_a_bye_before_the_answer_ends_the_invite_with_487() -> None:
    """A caller may end an early dialog by BYE (15)."""
    phones = Phones()
    ours, theirs = phones.call()
    theirs.ring()
    phones.clock.advance(1)
    ours.hang_up()
    phones.clock.advance(1)
    assert ours.got(487)
    assert theirs.state == "ended"
    phones.idle()


def test_nobody_there_is_a_failed_call() -> None:
    """Silence is 408, a closed port 503."""
    phones = Phones()
    phones.wire.unplug("10.0.0.2")
    silent = phones.alice.call("bob")
    phones.clock.advance(33)
    phones.wire.plug("10.0.0.2")
    phones.bob.transports.close()
    closed = phones.alice.call("bob")
    phones.clock.advance(1)
    assert (silent.state, silent.status) == ("failed", 408)
    assert (closed.state, closed.status) == ("failed", 503)


def test_prack_can_be_left_to_the_script() -> None:
    """A reliable 180 is repeated until then; a PRACK for nothing gets 481."""
    phones = Phones()
    phones.alice.auto_prack = False
    ours, theirs = phones.call()
    theirs.ring(reliable=True)
    phones.clock.advance(4)
    assert phones.wire.summary().count("180 INVITE") == 4
    ringing = ours.responses[0]
    first, second = ours.prack(ringing), None
    phones.clock.advance(1)
    second = ours.prack(ringing)
    phones.clock.advance(1)
    assert (first.status, second.status) == (200, 481)
    theirs.reject(603)
    phones.clock.advance(1)
    assert ours.status == 603
    phones.idle()


def test_a_late_2xx_is_acknowledged_with_the_same_ack() -> None:
    """Long after the transaction is gone (timer M)."""
    phones = Phones(faults=Faults(delay=frozenset({1}), delay_s=40.0))
    ours, theirs = phones.call()
    theirs.answer()  # message 1 arrives 40 s late, its repetitions in time
    phones.clock.advance(50)
    assert ours.state == theirs.state == "up"
    assert len(phones.alice.strays) == 1
    acks = [entry.data for entry in phones.wire.log if entry.summary == "ACK"]
    assert len(acks) == 2
    assert len(set(acks)) == 1
    ours.hang_up()
    phones.idle()
