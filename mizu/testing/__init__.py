"""Fakes for tests of plugins and of the switch itself: time, a network, a telephone.

A test builds a :class:`FakeClock`, a :class:`FakeWire` on it, and hosts on the wire; then it lets time pass.
The same seed gives the same run.
"""

from mizu.testing.clock import FakeClock
from mizu.testing.faults import FaultFound, FaultRun, run_clean, run_with_each_fault
from mizu.testing.peer import Exchange, SipPeer
from mizu.testing.peer_call import PeerCall
from mizu.testing.recorded import RecordedFlow, RecordedUser
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
    "Exchange",
    "FakeClock",
    "FakeFlow",
    "FakeResolver",
    "FakeTransports",
    "FakeWire",
    "FaultFound",
    "FaultRun",
    "Faults",
    "PeerCall",
    "RandomFaults",
    "RecordedFlow",
    "RecordedUser",
    "Sent",
    "SipPeer",
    "run_clean",
    "run_with_each_fault",
]
