"""Windows in which failures are counted."""

import pytest

from mizu.guard.counts import WindowCounts


def test_a_window_begins_with_the_first_failure() -> None:
    """What came before it is over does not count any more."""
    counts: WindowCounts[str] = WindowCounts(10)
    assert [counts.add("a", at_s, 60.0) for at_s in (0.0, 30.0, 59.9)] == [1, 2, 3]
    assert counts.get("a", 59.9) == 3
    assert counts.get("a", 60.0) == 0
    assert counts.add("a", 60.0, 60.0) == 1


def test_who_makes_new_records_does_not_push_out_the_record_worked_up() -> None:
    """A flood of forged senders, each seen once, displaces only others that were seen once."""
    counts: WindowCounts[str] = WindowCounts(100)
    for _ in range(19):
        counts.add("attacker", 0.0, 60.0)
    for number in range(10_000):
        counts.add(f"forged{number}", 0.0, 60.0)
    assert len(counts) == 100
    assert counts.get("attacker", 1.0) == 19
    assert counts.evicted == 10_000 - 99


def test_windows_that_are_over_go_first() -> None:
    """A table full of old records takes new ones at once."""
    counts: WindowCounts[str] = WindowCounts(10)
    for number in range(10):
        counts.add(f"old{number}", 0.0, 1.0)
        counts.add(f"old{number}", 0.0, 1.0)
    counts.add("new", 2.0, 60.0)
    assert counts.get("new", 2.0) == 1
    assert counts.evicted == 0


def test_a_count_may_be_taken_back_or_forgotten() -> None:
    """As when a challenge is answered after all."""
    counts: WindowCounts[str] = WindowCounts(10)
    counts.add("a", 0.0, 60.0)
    counts.add("a", 0.0, 60.0)
    counts.take_back("a")
    assert counts.get("a", 0.0) == 1
    counts.take_back("a")
    counts.take_back("a")
    assert counts.get("a", 0.0) == 0
    counts.add("b", 0.0, 60.0)
    counts.forget("b")
    assert list(counts.live(0.0)) == []


def test_a_table_without_room_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="limit=0"):
        WindowCounts(0)
