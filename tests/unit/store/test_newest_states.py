"""States that wait to be written: only the newest of each key counts."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from mizu.errors import StoreBusy
from mizu.store.newest_states import NewestStates

BUSY = Failure(StoreBusy("down"))


def make(limit: int = 100) -> tuple[NewestStates[int], list[Any]]:
    sent: list[Any] = []

    def send(rows: dict[str, int]) -> Deferred[None]:
        sent.append(rows)
        return succeed(None)

    lose: Any = lambda key, why: sent.append((key, str(why)))  # noqa: E731 - shorter
    return NewestStates(send, lose, rows_max=3, pace_s=0.5, limit=limit), sent


def test_the_newest_state_of_a_key_is_written_once() -> None:
    """In the place of the older one."""
    states, sent = make()
    assert [states.put("a", 1), states.put("b", 2), states.put("a", 3)] == [1, 2, 2]
    states.send(states.take())
    assert sent == [{"a": 3, "b": 2}]


def test_a_full_statement_does_not_wait() -> None:
    """The oldest go first."""
    states, _ = make()
    states.put("a", 1)
    assert states.pause_s() == 0.5
    for number, key in enumerate("bcd"):
        states.put(key, number)
    assert states.pause_s() == 0.0
    assert list(states.take().rows) == ["a", "b", "c"]
    assert list(states.waiting) == ["d"]


def test_what_comes_back_does_not_replace_what_is_newer() -> None:
    """And waits in front of it."""
    states, _ = make()
    for key in "abc":
        states.put(key, 1)
    batch = states.take()
    states.put("b", 2)
    states.put("d", 2)
    states.put_back([batch], BUSY)
    assert list(states.waiting.items()) == [("a", 1), ("b", 2), ("c", 1), ("d", 2)]
    assert states.under_way == {}


def test_what_is_under_way_is_known_until_it_is_written() -> None:
    """Readers overlay it on what they read."""
    states, sent = make()
    for number, key in enumerate("abc"):
        states.put(key, number)
    left, right = states.take().halves()
    states.committed(left)
    assert states.under_way == {"b": 1, "c": 2}
    first, second = right.halves()
    states.lose(first, ValueError("bad"))
    assert sent == [("b", "bad")]
    states.put_back([second], BUSY)
    assert states.under_way == {}
    assert states.waiting == {"c": 2}


def test_what_waits_is_bounded() -> None:
    """The oldest is given up, and counted; a newer state of what waits takes no place."""
    states, _ = make(limit=2)
    for key in "abbc":
        states.put(key, 1)
    assert list(states.waiting) == ["b", "c"]
    assert states.given_up == 1
    assert states.abandon(BUSY) == 2
    assert len(states) == 0
