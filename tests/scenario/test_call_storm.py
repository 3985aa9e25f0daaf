"""Random calls over a bad network: whatever happens, every call ends, every row is closed, nothing stays."""

from random import Random
from typing import Any

import pytest

from mizu.testing import FakeClock, FakeWire, RandomFaults


def act(world: Any, chance: Random, phones: list[Any]) -> None:
    """Something a person might do now."""
    caller, callee = chance.sample(phones, 2)
    kind = chance.choice(
        ["call", "call", "answer", "answer", "reject", "cancel", "bye", "reinvite", "hold", "info", "refer"]
    )
    if kind == "call":
        caller.call(
            callee.name, fields=chance.choice([[], [("Supported", "100rel")], [("Supported", "timer")]])
        )
        return
    calls = [call for phone in phones for call in phone.calls]
    fresh = [
        call for call in calls if call.incoming and call.state in ("calling", "ringing") and call._tx.pending
    ]
    early = [call for call in calls if not call.incoming and call.state in ("calling", "ringing")]
    up = [call for call in calls if call.state == "up"]
    if kind == "answer" and fresh:
        call = chance.choice(fresh)
        if chance.random() < 0.4:
            reliable = "100rel" in (call.requests[0].get("supported") or "") and chance.random() < 0.5
            call.ring(chance.choice([180, 183]), call.sdp() if reliable else b"", reliable=reliable)
        else:
            call.answer()
    elif kind == "reject" and fresh:
        chance.choice(fresh).reject(chance.choice([486, 480, 603, 500, 404]))
    elif kind == "cancel" and early:
        chance.choice(early).cancel()
    elif kind == "bye" and up:
        chance.choice(up).hang_up()
    elif kind in ("reinvite", "hold") and up:
        call = chance.choice(up)
        call.reinvite(call.sdp(direction="sendonly" if kind == "hold" else ""))
    elif kind == "info" and up:
        chance.choice(up).info(b"x")
    elif kind == "refer" and up:
        one, other = chance.choice(up), chance.choice(up)
        if one.peer is other.peer and one is not other and chance.random() < 0.7:
            replaces = other.replaces().replace(";", "%3B").replace("=", "%3D")
            one.refer(f"sip:{callee.name}@10.0.0.1?Replaces={replaces}")
        else:
            one.refer(f"sip:{callee.name}@10.0.0.1")


def storm(World: Any, seed: int, steps: int = 60) -> None:
    """One run, told apart by its seed."""
    chance = Random(seed)
    wire = FakeWire(FakeClock(), seed=seed)
    world = World(wire, call={"session_expires_s": 120, "ring_timeout_s": 40.0})
    phones = [world.phone(name) for name in ("alice", "bob", "carol")]
    phones.append(world.phone("bob"))
    wire.random = RandomFaults(loss=0.08, duplication=0.08, jitter_s=0.15)
    for _ in range(steps):
        act(world, chance, phones)
        world.pass_s(chance.choice([0.0, 0.01, 0.1, 1.0, 3.0]))
        if chance.random() < 0.05:
            world.cdrs.faults.refuse_next()
    wire.random = RandomFaults()
    world.pass_s(2)
    for phone in phones:
        for call in phone.calls:
            if call.state == "up":
                call.hang_up()
            elif call.state in ("calling", "ringing") and not call.incoming:
                call.cancel()
    world.pass_s(200)
    try:
        world.settled()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}\n{wire.ladder()}") from error


@pytest.mark.parametrize("seed", range(1, 61))
def test_nothing_stays_whatever_happens(World: Any, seed: int) -> None:
    """Loss, doubling, overtaking, and a database that refuses now and then."""
    storm(World, seed)
