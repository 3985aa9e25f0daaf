"""Every flow again with each single message lost, doubled or late.

A scenario is a function that takes a :class:`~mizu.testing.wire.FakeWire`, builds its hosts on it, lets time
pass and asserts. It is run once on a perfect wire, which tells how many messages there are, and then once for
each kind of fault and each of those messages::

    def register(wire):
        server, phone = build(wire)
        done = phone.register()
        wire.clock.until(lambda: done.done)
        assert done.status == 200
        wire.clock.run_until_idle()

    def test_register_survives_any_single_fault():
        run_with_each_fault(register)

What a scenario may assert is what holds whatever was repeated: ends, not numbers of messages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mizu.testing.clock import FakeClock
from mizu.testing.wire import FakeWire, Faults

Scenario = Callable[[FakeWire], object]
KINDS = ("drop", "duplicate", "delay")
#: A message this late is overtaken by the answer to its first repetition (T1 = 0.5 s) or by whatever follows.
DELAYS_S = (0.3, 0.7)


@dataclass(frozen=True, slots=True)
class FaultRun:
    """One run of a scenario that met one fault."""

    kind: str
    number: int  #: of the message it happened to
    delay_s: float
    first_line: str  #: of that message
    messages: int  #: how many messages there were in all


class FaultFound(AssertionError):
    """A scenario failed under a fault; the text says which and shows every message."""


def run_clean(scenario: Scenario, *, latency_s: float = 0.01, seed: int = 1) -> FakeWire:
    """Run a scenario on a perfect wire, which is returned."""
    wire = FakeWire(FakeClock(), latency_s=latency_s, seed=seed)
    try:
        scenario(wire)
    except Exception as error:
        raise FaultFound(f"without any fault: {error!r}\n{wire.ladder()}") from error
    return wire


def run_with_each_fault(
    scenario: Scenario,
    *,
    kinds: Sequence[str] = KINDS,
    delays_s: Sequence[float] = DELAYS_S,
    latency_s: float = 0.01,
    seed: int = 1,
) -> list[FaultRun]:
    """
    Run a scenario without faults, then with each single one.

    :param kinds: some of ``drop``, ``duplicate``, ``delay``.
    :param delays_s: how late a delayed message is, seconds; each is tried.
    :return: the runs, all of them passed.
    :raise FaultFound: the first that did not.
    """
    clean = run_clean(scenario, latency_s=latency_s, seed=seed)
    runs = []
    for sent in clean.log:
        if sent.proto != "udp":
            continue  # a stream repairs all this below SIP
        for kind in kinds:
            for delay_s in delays_s if kind == "delay" else (0.0,):
                wire = FakeWire(
                    FakeClock(), latency_s=latency_s, seed=seed, faults=Faults.one(kind, sent.number, delay_s)
                )
                try:
                    scenario(wire)
                except Exception as error:
                    late = f" by {delay_s} s" if delay_s else ""
                    text = f"{kind}{late} of message {sent.number} ({sent.first_line}): {error!r}"
                    raise FaultFound(f"{text}\n{wire.ladder()}") from error
                runs.append(FaultRun(kind, sent.number, delay_s, sent.first_line, len(wire.log)))
    return runs
