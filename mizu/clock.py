"""Time: the one place that reads a clock. Everything else is given seconds."""

import time
from datetime import UTC, datetime

from zope.interface import implementer

from mizu.interfaces import IClock


@implementer(IClock)
class SystemClock:
    """The machine's own clocks."""

    mono_s = staticmethod(time.monotonic)  # asked for several times a message: no frame of our own

    def wall(self) -> datetime:
        return datetime.now(UTC)

    wall_s = staticmethod(time.time)
