"""Time: the one place that reads a clock. Everything else is given seconds."""

import time
from datetime import UTC, datetime

from zope.interface import implementer

from mizu.interfaces import IClock


@implementer(IClock)
class SystemClock:
    """The machine's own clocks."""

    def mono_s(self) -> float:
        return time.monotonic()

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def wall_s(self) -> float:
        return time.time()
