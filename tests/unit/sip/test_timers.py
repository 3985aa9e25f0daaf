"""Timer values and the heap of deadlines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.sip.timers import COMPACT_FROM, DeadlineHeap, Lingering, TimerSettings


def test_defaults_are_those_of_table_4() -> None:
    """RFC 3261 table 4 and RFC 6026, with T1 = 500 ms, T2 = 4 s, T4 = 5 s."""
    timers = TimerSettings()
    assert (timers.a_s, timers.e_s, timers.g_s) == (0.5, 0.5, 0.5)
    assert (timers.b_s, timers.f_s, timers.h_s, timers.j_s, timers.l_s, timers.m_s) == (32,) * 6
    assert timers.d_s == 32
    assert (timers.i_s, timers.k_s) == (5, 5)
    assert timers.c_s > 180


def test_timers_follow_t1_but_d_stays_above_32_s() -> None:
    """A short T1 for a fast network shortens everything but timer D, which is at least 32 s."""
    timers = TimerSettings(t1_s=0.1, t2_s=1, t4_s=2)
    assert timers.b_s == pytest.approx(6.4)
    assert timers.d_s == 32
    assert timers.k_s == 2


@pytest.mark.parametrize(("t1_s", "t2_s"), [(0, 4), (-1, 4), (5, 4)])
def test_impossible_values_are_refused(t1_s: float, t2_s: float) -> None:
    """T1 must be positive and not above T2."""
    with pytest.raises(ValueError, match="T1"):
        TimerSettings(t1_s=t1_s, t2_s=t2_s)


def test_deadlines_run_in_order_of_time_then_of_setting() -> None:
    """Two deadlines of one instant run in the order they were set."""
    heap, ran = DeadlineHeap(), []
    for at_s, name in ((2, "c"), (1, "a"), (1, "b")):
        heap.at(at_s, lambda name=name: ran.append(name))
    assert heap.next_s() == 1
    assert heap.run(1) == 2
    assert ran == ["a", "b"]
    assert heap.run(5) == 1
    assert ran == ["a", "b", "c"]
    assert heap.next_s() is None


def test_a_cancelled_deadline_never_runs() -> None:
    """Also when it is cancelled by one that runs in the same instant; cancelling twice is harmless."""
    heap, ran = DeadlineHeap(), []
    late = heap.at(1.5, lambda: ran.append("late"))
    heap.at(1, late.cancel)
    gone = heap.at(1, lambda: ran.append("gone"))
    gone.cancel()
    gone.cancel()
    assert len(heap) == 2
    heap.run(2)
    late.cancel()
    assert ran == []
    assert len(heap) == 0
    assert not late.pending


def test_one_run_ends_even_if_a_callback_sets_itself_again() -> None:
    """What is set for now runs in the next run."""
    heap, ran = DeadlineHeap(), []

    def again() -> None:
        ran.append(1)
        heap.at(0, again)

    heap.at(0, again)
    assert heap.run(10) == 1
    assert heap.run(10) == 1
    assert len(ran) == 2


def test_the_pump_is_told_only_when_the_nearest_deadline_gets_nearer() -> None:
    """One call per nearer deadline, none for later ones, none from within a run."""
    heap, told = DeadlineHeap(), []
    heap.on_sooner = lambda: told.append(heap.next_s())
    heap.at(5, lambda: heap.at(1, lambda: None))
    heap.at(6, lambda: None)
    heap.at(4, lambda: None)
    assert told == [5, 4]
    heap.run(5)
    assert told == [5, 4]
    assert heap.next_s() == 1


def test_a_callback_that_raises_loses_nothing_else() -> None:
    """The rest stays due."""
    heap, ran = DeadlineHeap(), []

    def wrong() -> None:
        raise ZeroDivisionError

    heap.at(1, wrong)
    heap.at(1, lambda: ran.append("fine"))
    with pytest.raises(ZeroDivisionError):
        heap.run(1)
    heap.run(1)
    assert ran == ["fine"]
    assert len(heap) == 0


def test_cancelled_deadlines_do_not_pile_up() -> None:
    """Of 100,000 deadlines set and cancelled, a few hundred entries are left at most."""
    heap = DeadlineHeap()
    keep = heap.at(1e6, lambda: None)
    for number in range(100_000):
        heap.at(float(number), lambda: None).cancel()
    assert len(heap) == 1
    assert len(heap._entries) <= 2 * COMPACT_FROM
    assert keep.pending


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=1500), st.integers(0, 60))
def test_heap_behaves_like_a_sorted_list(plan: list[tuple[int, bool]], now_s: int) -> None:
    """Whatever is set and cancelled: exactly what is due and alive runs, in order."""
    heap, ran = DeadlineHeap(), []
    for number, (at_s, cancelled) in enumerate(plan):
        deadline = heap.at(at_s, lambda entry=(at_s, number): ran.append(entry))
        if cancelled:
            deadline.cancel()
    alive = [(at_s, number) for number, (at_s, cancelled) in enumerate(plan) if not cancelled]
    assert len(heap) == len(alive)
    assert heap.run(now_s) == sum(at_s <= now_s for at_s, _ in alive)
    assert ran == sorted(entry for entry in alive if entry[0] <= now_s)
    heap.run(1000)
    assert len(heap) == 0
    assert heap.next_s() is None


def test_lingering_things_share_one_deadline() -> None:
    """Each is dropped after its time, up to a grain late; one heap entry serves them all."""
    heap, dropped = DeadlineHeap(), []
    line: Lingering[str] = Lingering(heap, 32, dropped.append, grain_s=0.1)
    line.add("a", 0)
    line.add("b", 0.05)
    line.add("c", 10)
    assert len(heap) == 1
    heap.run(32.0)
    assert dropped == []
    heap.run(32.1)
    assert dropped == ["a", "b"]
    assert heap.next_s() == pytest.approx(42.1)
    heap.run(50)
    assert dropped == ["a", "b", "c"]
    assert len(heap) == len(line) == 0


def test_lingering_catches_up_after_a_pause_of_the_process() -> None:
    """However late the run comes, everything due is dropped in one go."""
    heap, dropped = DeadlineHeap(), []
    line: Lingering[int] = Lingering(heap, 5, dropped.append)
    for number in range(1000):
        line.add(number, number * 0.1)
    heap.run(1000)
    assert len(dropped) == 1000
    assert len(heap) == 0


def test_the_longest_waiting_can_be_evicted() -> None:
    """To make room; it is not dropped a second time."""
    heap, dropped = DeadlineHeap(), []
    line: Lingering[str] = Lingering(heap, 5, dropped.append)
    assert line.evict() is None
    line.add("a", 0)
    line.add("b", 1)
    assert line.evict() == "a"
    heap.run(100)
    heap.run(100)
    assert dropped == ["b"]
