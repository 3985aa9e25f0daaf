"""Time that only moves when a test says so."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from zope.interface import implementer

from mizu.interfaces import IClock
from mizu.sip.timers import DeadlineHeap


@implementer(IClock)
class FakeClock:
    """
    A clock and the heap of deadlines that goes with it.

    Give ``clock.deadlines`` to everything that waits; :meth:`advance` runs them in order of time.
    """

    def __init__(self, start_s: float = 1000.0, wall: datetime | None = None) -> None:
        """:param wall: wall time at the start; 2026-01-01 when left out."""
        self._now_s = self._start_s = start_s
        self._wall = wall or datetime(2026, 1, 1, tzinfo=UTC)
        self.deadlines = DeadlineHeap()
        self._heaps = [self.deadlines]

    def mono_s(self) -> float:
        """Seconds since some beginning."""
        return self._now_s

    def wall(self) -> datetime:
        """The wall time that belongs to it."""
        return self._wall + timedelta(seconds=self._now_s - self._start_s)

    def wall_s(self) -> float:
        """The same in seconds since the epoch."""
        return self._wall.timestamp() + self._now_s - self._start_s

    def add(self, deadlines: DeadlineHeap) -> None:
        """Run this heap as well; of one instant, heaps run in the order they were added."""
        self._heaps.append(deadlines)

    def advance(self, seconds: float) -> None:
        """Let that much time pass; whatever falls due runs at its own time, in order."""
        self._run_until(self._now_s + seconds)

    def until(self, happened: Callable[[], object], limit_s: float = 60.0, what: str = "") -> float:
        """
        Let time pass until ``happened()`` is true, looking after each instant in which something ran.

        :return: how many seconds that took.
        :raise AssertionError: it has not happened within ``limit_s``, or nothing waits any more.
        """
        began_s, end_s = self._now_s, self._now_s + limit_s
        while not happened():
            next_s = self._next_s()
            if next_s is None or next_s > end_s:
                raise AssertionError(f"not within {limit_s} s: {what or happened}")
            self._run_until(next_s)
        return self._now_s - began_s

    def run_until_idle(self, limit_s: float = 3600.0) -> float:
        """
        Let time pass until nothing waits any more.

        :return: how many seconds that took.
        :raise AssertionError: something still waits after ``limit_s``.
        """
        began_s, end_s = self._now_s, self._now_s + limit_s
        while (next_s := self._next_s()) is not None:
            assert next_s <= end_s, f"{sum(map(len, self._heaps))} deadlines are left after {limit_s} s"
            self._run_until(next_s)
        return self._now_s - began_s

    def _next_s(self) -> float | None:
        return min((next_s for heap in self._heaps if (next_s := heap.next_s()) is not None), default=None)

    def _run_until(self, end_s: float) -> None:
        while (next_s := self._next_s()) is not None and next_s <= end_s:
            self._now_s = max(self._now_s, next_s)
            for heap in self._heaps:
                heap.run(self._now_s)
        self._now_s = end_s
