"""Fakes for tests of plugins and of the switch itself: time, a network, a telephone.

A test builds a :class:`FakeClock`, a :class:`FakeWire` on it, and hosts on the wire; then it lets time pass.
The same seed gives the same run.
"""

from mizu.testing.clock import FakeClock
from mizu.testing.wire import (
    FakeFlow,
    FakeResolver,
    FakeTransports,
    FakeWire,
    Faults,
    RandomFaults,
    Sent,
)

__all__ = [
    "FakeClock",
    "FakeFlow",
    "FakeResolver",
    "FakeTransports",
    "FakeWire",
    "Faults",
    "RandomFaults",
    "Sent",
]
