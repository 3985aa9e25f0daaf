"""Gives the pure layers their clock: one delayed call of the reactor for the nearest deadline of all."""

import time
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mizu.interfaces import IClock
from mizu.sip.timers import DeadlineHeap

#: Deadlines nearer to each other than this are run together.
GRAIN_S = 0.001


def steady(reactor: Any) -> None:
    """
    Make the reactor's own timers immune to steps of the wall clock. Call it once, early.

    Twisted's ``seconds`` is the time of day: were the clock set back an hour, every delayed call would be an
    hour late, and set forward, every timeout would strike at once. What is scheduled already is carried over.
    """
    if reactor.seconds is time.monotonic:
        return
    shift_s = time.monotonic() - reactor.seconds()
    reactor.seconds = time.monotonic
    for call in reactor.getDelayedCalls():
        call.seconds = time.monotonic
        call.time += shift_s


class Pump:
    """
    Runs the deadlines of a heap when they are due.

    An exception out of a deadline's callback is logged and costs nobody else his deadline.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime, deadlines: DeadlineHeap, clock: IClock) -> None:
        """
        :param clock: its monotonic seconds are those of the deadlines.
        """
        self._reactor = reactor
        self._deadlines = deadlines
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._due_s = 0.0  # when self._call fires, in the clock's seconds
        self._running = False
        self._stopped = False
        self.failures = 0  #: callbacks that raised
        deadlines.on_sooner = self.arm
        self.arm()

    def arm(self) -> None:
        """See to it that the nearest deadline is met. Called by the heap when it got nearer."""
        if self._running or self._stopped:
            return  # the run arms again when it ends
        due_s = self._deadlines.next_s()
        if due_s is None:
            return
        if self._call is not None:
            if due_s >= self._due_s - GRAIN_S:
                return
            self._call.cancel()
        self._due_s = due_s
        self._call = self._reactor.callLater(max(GRAIN_S, due_s - self._clock.mono_s()), self._run)

    def _run(self) -> None:
        self._call = None
        self._running = True
        try:
            self._deadlines.run(self._clock.mono_s())
        except Exception:
            self.failures += 1
            self.log.failure("a deadline raised")
        finally:
            self._running = False
            self.arm()

    def stop(self) -> None:
        """No deadline is run any more."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
