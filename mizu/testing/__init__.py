"""Fakes for tests of plugins and of the switch itself: time, a network, a telephone.

A test builds a :class:`FakeClock`, a :class:`FakeWire` on it, and hosts on the wire; then it lets time pass.
The same seed gives the same run. Nothing opens a socket or waits::

    clock = FakeClock()
    wire = FakeWire(clock)
    alice = SipPeer(wire, "alice", "10.0.0.1", server="sip:10.0.0.2")
    bob = SipPeer(wire, "bob", "10.0.0.2", server="sip:10.0.0.1")
    bob.on_call = lambda call: (call.ring(), call.answer())
    call = alice.call("bob")
    clock.until(lambda: call.state == "up")
    print(wire.ladder())  # every message, a line each

* :mod:`mizu.testing.clock`: time. :mod:`mizu.testing.wire`: the network, its faults, a resolver.
* :mod:`mizu.testing.peer`: a telephone. :mod:`mizu.testing.faults`: a scenario again under each single fault.
* :mod:`mizu.testing.recorded`: a flow and a transaction user that only write down what they get.
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
