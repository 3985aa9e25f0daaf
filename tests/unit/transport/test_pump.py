"""The pump: one delayed call, and no deadline is ever lost."""

from datetime import UTC, datetime

import pytest
from twisted.internet.task import Clock

from mizu.sip.timers import DeadlineHeap
from mizu.sip.transport.pump import Pump, steady


class Times:
    """An IClock on a Twisted clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def mono_s(self) -> float:
        return 1000.0 + self._clock.seconds()

    def wall(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)


@pytest.fixture
def heap() -> DeadlineHeap:
    return DeadlineHeap()


@pytest.fixture
def pump(clock, heap):
    return Pump(clock, heap, Times(clock))


def test_deadlines_run_in_order_when_they_are_due(clock, heap, pump):
    """Set in any order, run in theirs, with one delayed call at a time."""
    ran = []
    for delay_s in (3, 1, 2):
        heap.at(1000 + delay_s, lambda d=delay_s: ran.append((d, clock.seconds())))
        assert len(clock.getDelayedCalls()) == 1
    for _ in range(400):
        clock.advance(0.01)
    assert [d for d, _ in ran] == [1, 2, 3]
    assert all(d <= at < d + 0.02 for d, at in ran)
    assert clock.getDelayedCalls() == []


def test_deadlines_there_before_the_pump_are_met(clock, heap):
    """The heap may be filled before there is a reactor to run it."""
    ran = []
    heap.at(1001, lambda: ran.append(1))
    Pump(clock, heap, Times(clock))
    clock.advance(1.01)
    assert ran == [1]


def test_a_callback_that_raises_costs_only_itself(clock, heap, pump, clean_reactor):
    """Those due at the same time and later still run."""
    ran = []

    def fail():
        raise ValueError("a bug")

    heap.at(1001, fail)
    heap.at(1001, lambda: ran.append("same"))
    heap.at(1002, fail)
    heap.at(1003, lambda: ran.append("later"))
    for _ in range(40):
        clock.advance(0.1)
    assert ran == ["same", "later"]
    assert pump.failures == 2
    assert len(clean_reactor) == 2
    clean_reactor.clear()


def test_a_callback_may_set_deadlines(clock, heap, pump):
    """A retransmission sets the next one."""
    ran = []

    def again():
        ran.append(clock.seconds())
        if len(ran) < 4:
            heap.at(1000 + clock.seconds() + 0.5, again)

    heap.at(1000.5, again)
    for _ in range(300):
        clock.advance(0.01)
    assert len(ran) == 4
    assert clock.getDelayedCalls() == []


def test_a_nearer_deadline_is_not_late(clock, heap, pump):
    """It moves the one delayed call forward."""
    ran = []
    heap.at(1032, lambda: ran.append("far"))
    heap.at(1000.5, lambda: ran.append("near"))
    clock.advance(0.51)
    assert ran == ["near"]
    clock.advance(31.5)
    assert ran == ["near", "far"]


def test_cancelled_deadlines_do_not_keep_the_reactor_busy(clock, heap, pump):
    """When the last one is gone, nothing is scheduled after the wake-up that was set for it."""
    for deadline in [heap.at(1000 + n, lambda: None) for n in range(1, 100)]:
        deadline.cancel()
    clock.advance(1.1)
    assert clock.getDelayedCalls() == []


def test_a_deadline_in_the_past_runs_soon(clock, heap, pump):
    """Not at once, so that who sets it has finished what he is doing."""
    ran = []
    heap.at(1, lambda: ran.append(1))
    assert ran == []
    clock.advance(0.002)
    assert ran == [1]


def test_after_stop_nothing_runs(clock, heap, pump):
    """And no timer is left behind."""
    heap.at(1001, lambda: pytest.fail("ran"))
    pump.stop()
    heap.at(1000.5, lambda: pytest.fail("ran"))
    clock.advance(5)
    assert clock.getDelayedCalls() == []


def test_a_steady_reactor_does_not_follow_the_wall_clock():
    """Timers run on monotonic time, those that were set before included; doing it twice changes nothing."""
    import time

    from twisted.internet.base import DelayedCall

    class Reactor:
        seconds = staticmethod(time.time)

        def __init__(self):
            at = time.time() + 5
            self.calls = [DelayedCall(at, print, (), {}, print, print, seconds=time.time)]

        def getDelayedCalls(self):
            return self.calls

    reactor = Reactor()
    for _ in range(2):
        steady(reactor)
    assert reactor.seconds is time.monotonic
    assert 4 < reactor.calls[0].getTime() - time.monotonic() <= 5
