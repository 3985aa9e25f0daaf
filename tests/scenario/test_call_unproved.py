"""D2: callers whom their address or name lets in, over UDP, so that somebody else may have written it."""

from collections.abc import Callable
from typing import Any

import pytest

from mizu.testing import FakeClock, FakeWire, SipPeer

SERVER = ("10.0.0.1", 5060)


class Place:
    """A switch that takes nobody's address for real before he acknowledged an answer."""

    def __init__(self, World: Callable[..., Any]) -> None:
        self.wire = FakeWire(FakeClock())
        self.world = World(self.wire)
        self.alice: SipPeer = self.world.phone("alice")
        self.bob: SipPeer = self.world.phone("bob")
        self.alice_host, self.bob_host = (
            next(iter(one.transports.listeners.values()))[1][0] for one in (self.alice, self.bob)
        )
        self.proved: set[str] = set()
        self.world.layer.is_known = lambda flow: flow.remote[0] in self.proved
        self.world.board.on_proved = lambda flow: self.proved.add(flow.remote[0])
        self.proved.add(self.bob_host)
        self.alice.layer.is_known = self.bob.layer.is_known = lambda flow: True  # phones know their switch
        self.wire.may_be_forged = True
        self.begun = len(self.wire.log)

    def sent(self, *, there: bool) -> list[Any]:
        """What went from the switch to alice, or from her to it."""
        ends = (SERVER[0], self.alice_host)
        log = self.wire.log[self.begun :]
        return [one for one in log if (one.source[0], one.target[0]) == (ends if there else ends[::-1])]

    @property
    def ratio(self) -> float:
        """Bytes to alice for each of hers."""
        out, back = (sum(len(one.data) for one in self.sent(there=there)) for there in (True, False))
        return out / back


@pytest.fixture
def place(World: Callable[..., Any]) -> Place:
    return Place(World)


def test_D2_a_caller_who_is_there_notices_nothing(place: Place) -> None:
    """He is asked by OPTIONS whether he is there, and his answer proves it."""
    call = place.alice.call("bob")
    place.world.until(lambda: bool(place.bob.calls))
    there = place.bob.calls[-1]
    there.ring()
    place.world.pass_s(0.1)
    assert [one.summary for one in place.sent(there=True)] == ["407 INVITE", "OPTIONS", "180 INVITE"]
    assert place.proved == {place.alice_host, place.bob_host}
    there.answer()
    place.world.until(lambda: call.state == "up" and bool(there.acks))
    there.hang_up()
    place.world.until(lambda: call.state == "ended")
    place.world.settled()


@pytest.mark.parametrize("padding", [0, 1000])
def test_D2_a_caller_who_does_not_answer_OPTIONS_gets_his_call(place: Place, padding: int) -> None:
    """Ringing is told when his client has asked again; enough is left for a 200, whose ACK proves him."""
    place.alice.on_request = lambda tx: tx.request.method == "OPTIONS"
    call = place.alice.call("bob", fields=[("Subject", "y" * padding)])
    place.world.until(lambda: bool(place.bob.calls))
    there = place.bob.calls[-1]
    there.ring()
    place.world.pass_s(0.3)
    assert [one.summary for one in place.sent(there=True)] == ["407 INVITE", "OPTIONS"]
    place.world.pass_s(0.5 if padding else 4)
    assert [one.summary for one in place.sent(there=True)] == ["407 INVITE", "OPTIONS", "180 INVITE"]
    place.world.pass_s(5)
    assert place.proved == {place.bob_host}
    there.answer()
    place.world.until(lambda: call.state == "up" and bool(there.acks))
    place.world.pass_s(0.1)
    assert place.proved == {place.alice_host, place.bob_host}
    assert place.ratio <= 1.5
    there.hang_up()
    place.world.until(lambda: call.state == "ended")
    place.world.settled()


def vanish(place: Place) -> Any:
    """One INVITE in alice's name, which she never sent. :return: the call, as bob has it."""
    place.alice.call("bob")
    place.world.until(lambda: bool(place.world.board.calls))
    place.wire.unplug(place.alice_host)
    place.world.until(lambda: bool(place.bob.calls))
    return place.bob.calls[-1]


def test_D2_a_caller_who_is_not_there_is_not_buried(place: Place) -> None:
    """One answer, no repetition, no BYE; the callee hears of the end."""
    there = vanish(place)
    there.ring()
    there.answer()
    place.world.settled()
    assert [one.summary for one in place.sent(there=True)] == ["407 INVITE", "OPTIONS", "200 INVITE"]
    assert place.ratio <= 1.5
    assert there.state == "ended"
    assert place.world.row.cause == "no_ack"


def test_D2_a_refused_call_is_not_refused_for_ever(place: Place) -> None:
    """486 to somebody who may not be there, as often as his INVITE was long enough for."""
    vanish(place).reject(486)
    place.world.settled()
    answers = [one.summary for one in place.sent(there=True)]
    assert answers[:3] == ["407 INVITE", "OPTIONS", "486 INVITE"]
    assert len(answers) <= 4
    assert place.ratio <= 1.5


def test_a_long_call_ends_with_a_BYE_whatever_is_known_of_its_caller(place: Place) -> None:
    """He has proved that he is there in this very call; that an ACK of later is lost changes nothing."""
    call = place.alice.call("bob")
    place.world.until(lambda: bool(place.bob.calls))
    there = place.bob.calls[-1]
    there.answer()
    place.world.until(lambda: call.state == "up" and bool(there.acks))
    place.world.pass_s(1)
    place.proved.clear()  # an hour later
    place.proved.add(place.bob_host)
    (switch_call,) = place.world.board.calls.values()
    switch_call.caller._no_ack()
    place.world.until(lambda: call.state == "ended")
    assert "BYE" in [one.summary for one in place.sent(there=True)]
    place.world.settled()
