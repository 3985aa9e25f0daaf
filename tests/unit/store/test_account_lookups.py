"""How look-ups of accounts share queries, over a fake pool and a fake clock."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from mizu.errors import StoreBusy
from mizu.store.accounts import PostgresAccountStore

WAITING_MAX = 600


class FakePool:
    """Every odd number is an account. Queries stay open until :meth:`answer`."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.open: list[tuple[list[str], Deferred[Any]]] = []

    def query(self, sql: str, params: Any = None) -> Deferred[Any]:
        names = params[0].strip("{}").replace('"', "").split(",")
        self.asked.append(names)
        self.open.append((names, Deferred()))
        return self.open[-1][1]

    def answer(self, error: Exception | None = None) -> None:
        """End the oldest query."""
        names, done = self.open.pop(0)
        if error is None:
            done.callback([row(name) for name in names])
        else:
            done.errback(error)


def row(name: str) -> tuple[Any, ...]:
    """As the database gives it: with id 0 where there is no account."""
    return (
        int(name) if int(name) % 2 else 0,
        name,
        0,
        True,
        None,
        4,
        True,
        "",
        "",
        1,
        False,
        False,
        1,
        0,
        "",
        None,
        None,
        None,
        None,
        None,
        None,
        "ha1" + name,
        None,
    )


class World:
    """A store and what is around it."""

    def __init__(self) -> None:
        self.clock, self.pool = Clock(), FakePool()
        self.clock.advance(1000)
        self.store = PostgresAccountStore(self.pool, None, WAITING_MAX, self.clock)  # type: ignore[arg-type]

    def find(self, number: int) -> list[Any]:
        """What the caller is told."""
        told: list[Any] = []
        self.store.find(str(number)).addCallbacks(told.append, lambda failure: told.append(failure.type))
        return told

    def storm(self) -> None:
        """So many for a while that a query each is too much."""
        for number in range(60):
            self.find(number)
            self.find(number + 100)
            self.clock.advance(0.0002)
            while self.pool.open:
                self.pool.answer()

    def answer(self) -> None:
        """The database answers whatever is asked, after the longest pause."""
        for _ in range(3):
            while self.pool.open:
                self.pool.answer()
            self.clock.advance(0.004)


@pytest.fixture
def world() -> World:
    return World()


def test_a_lone_look_up_goes_at_once(world: World) -> None:
    """It waits for no company."""
    for number in (1, 2):
        world.clock.advance(0.01)
        told = world.find(number)
        assert world.pool.asked[-1] == [str(number)]
        world.pool.answer()
        assert len(told) == 1
    assert not world.clock.getDelayedCalls()


def test_what_comes_meanwhile_shares_a_query(world: World) -> None:
    """Every caller gets the answer about its own account."""
    told = {number: world.find(number) for number in range(10)}
    assert world.pool.asked == [["0"], ["1"]]
    while world.pool.open:
        world.pool.answer()
    assert world.pool.asked[2:] == [[str(number) for number in range(2, 10)]]
    for number, answers in told.items():
        assert len(answers) == 1
        if number % 2:
            account, ha1 = answers[0]
            assert (account.username, ha1) == (str(number), {"MD5": f"ha1{number}"})
        else:
            assert answers == [None]


def test_the_same_account_is_asked_for_once(world: World) -> None:
    """However many wait for it."""
    world.find(1), world.find(3)
    told = [world.find(5) for _ in range(7)]
    world.pool.answer()
    world.pool.answer()
    world.pool.answer()
    assert world.pool.asked == [["1"], ["3"], ["5"]]
    assert all(answers[0][0].id == 5 for answers in told)


def test_in_a_storm_queries_leave_a_pause(world: World) -> None:
    """What comes within a few milliseconds goes together; afterwards a lone look-up goes at once again."""
    world.storm()
    before = len(world.pool.asked)
    told = []
    for number in range(20):
        told.append(world.find(number))
        world.clock.advance(0.0005)
        while world.pool.open:
            world.pool.answer()
    assert len(world.pool.asked) - before <= 5
    world.answer()
    assert all(len(answers) == 1 for answers in told)
    world.clock.advance(1.0)
    world.find(7)
    assert world.pool.asked[-1] == ["7"]
    assert not world.clock.getDelayedCalls()


def test_one_caller_that_asks_again_and_again_is_not_slowed_down(world: World) -> None:
    """Nobody else is there to wait for."""
    began_s = world.clock.seconds()
    for number in range(100):
        told = world.find(number)
        while not told:
            if world.pool.open:
                world.pool.answer()
            else:
                world.clock.advance(0.001)
        world.clock.advance(0.0002)
    assert world.clock.seconds() - began_s < 100 * 0.0002 + 0.001


def test_one_query_takes_so_many_names_at_most(world: World) -> None:
    """The rest goes in the next one."""
    told = [world.find(number) for number in range(WAITING_MAX)]
    world.answer()
    assert [len(names) for names in world.pool.asked] == [1, 1, 500, 98]
    assert all(len(answers) == 1 for answers in told)


def test_a_failed_query_fails_for_all_of_its_callers(world: World) -> None:
    """And for nobody else."""
    told = [world.find(number) for number in (1, 3, 5, 5, 7)]
    world.pool.answer()
    world.pool.answer(StoreBusy("the database is down"))  # that of 3
    world.pool.answer(StoreBusy("the database is down"))  # that of 5, 5 and 7
    assert told[0][0][0].id == 1
    assert told[1:] == [[StoreBusy]] * 4
    after = world.find(9)
    world.pool.answer()
    assert after[0][0].id == 9


def test_waiting_is_bounded(world: World) -> None:
    """Two queries, then as many callers as configured; one more is refused."""
    for number in range(WAITING_MAX + 2):
        assert world.find(number) == []
    assert world.find(1) == [StoreBusy]
    world.pool.answer()
    assert world.find(1) == []


def test_a_caller_that_leaves_stops_nobody(world: World) -> None:
    """The query goes on for the others."""
    world.find(1), world.find(3)
    leaving = world.store.find("5")
    told = world.find(5)
    seen: list[Any] = []
    leaving.addErrback(lambda failure: seen.append(failure.type))
    leaving.cancel()
    for _ in range(3):
        world.pool.answer()
    assert seen == [CancelledError]
    assert told[0][0].id == 5


def test_stopped_it_leaves_no_timer(world: World) -> None:
    """Who waits in a pause is asked for at once; the pool then answers or refuses."""
    world.storm()
    told = world.find(1)
    assert world.clock.getDelayedCalls()
    world.store.stop()
    assert not world.clock.getDelayedCalls()
    world.pool.answer(StoreBusy("the store is stopped"))
    assert told == [StoreBusy]


@given(
    st.lists(
        st.one_of(st.integers(0, 9), st.sampled_from(["answer", "refuse", "turn", "while"])),
        max_size=60,
    )
)
def test_everybody_is_answered_once(steps: list[Any]) -> None:
    """In whatever order look-ups, answers and refusals come."""
    world = World()
    world.storm()
    told: list[tuple[int, list[Any]]] = []
    for step in steps:
        if isinstance(step, int):
            told.append((step, world.find(step)))
        elif step in ("answer", "refuse") and world.pool.open:
            world.pool.answer(StoreBusy("busy") if step == "refuse" else None)
        else:
            world.clock.advance(0.0 if step == "turn" else 0.002)
    world.answer()
    for number, answers in told:
        assert len(answers) == 1
        found = answers[0]
        assert found is StoreBusy or (found[0].id == number if number % 2 else found is None)
