"""What operators can count on in ``/metrics`` after calls and registrations (RFC 6076)."""

from typing import Any

from mizu.observe import StatusBoard
from mizu.testing import FakeClock, FakeWire
from mizu.web.metrics import MetricsPage


def page(world: Any) -> str:
    """What a scrape gives."""
    board = StatusBoard(world.clock, world.metrics, "1")
    board.section("calls", world.board.counts)
    board.section("dialogs", world.board.dialog_counts)
    return MetricsPage(board).render().decode()


def test_an_answered_call_is_one_session_with_its_delays_and_duration(World: Any) -> None:
    """One attempt is challenged and comes again; 180 after it gives SRD, the talk SDT, the BYEs SDD."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    rung: list[Any] = []
    bob.on_call = lambda call: (rung.append(call), call.ring())
    call = alice.call("bob")
    world.until(lambda: call.got(180))
    world.pass_s(3.0)
    rung[0].answer()
    world.until(lambda: call.state == "up" and world.board.counts()["talking"] == 1)
    assert 'mizu_calls{state="talking"} 1.0' in page(world)
    assert 'mizu_dialogs{kind="dialogs"} 2.0' in page(world)
    world.pass_s(40.0)
    call.hang_up()
    world.until(lambda: not world.board.calls)
    metrics = world.metrics
    assert (metrics.sessions_attempted, metrics.sessions_challenged) == (2, 1)
    assert (metrics.sessions_established, metrics.sessions_completed) == (1, 1)
    assert metrics.session_delay_ok.count == 1
    assert metrics.session_delay_ok.total < 1.0
    assert metrics.session_duration.total > 39.0
    assert metrics.disconnect_delay.count == 2  # of the BYE that came and the one that went out
    text = page(world)
    assert "mizu_sessions_established_total 1.0" in text
    assert 'mizu_calls{state="talking"} 0.0' in text
    assert 'mizu_dialogs{kind="dialogs"} 0.0' in text


def test_a_refused_call_is_a_failed_session_with_its_delay(World: Any) -> None:
    """486 counts as effective (RFC 6076 4.7), nothing as established."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice"), world.phone("bob")
    bob.on_call = lambda call: call.reject(486)
    call = alice.call("bob")
    world.until(lambda: call.status == 486)
    metrics = world.metrics
    assert (metrics.sessions_attempted, metrics.sessions_challenged) == (2, 1)
    assert (metrics.sessions_established, metrics.sessions_effective) == (0, 1)
    assert (metrics.session_delay_ok.count, metrics.session_delay_failed.count) == (0, 1)


def test_registrations_are_counted_with_the_challenge_and_the_answer(World: Any) -> None:
    """A phone that registers makes one challenged and one successful attempt."""
    world = World(FakeWire(FakeClock()))
    world.phone("alice")
    metrics = world.metrics
    assert (metrics.registrations_challenged, metrics.registrations_ok) == (1, 1)
    assert (metrics.registrations_attempted, metrics.registration_delay.count) == (2, 1)
