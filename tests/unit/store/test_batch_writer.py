"""The writer behind the stores of calls and registrations, over a fake database and a fake clock."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mizu.errors import StoreBusy
from mizu.store.batch_writer import BatchWriter

PAUSE_S = 0.1
RETRY_S = 1.0
BATCH_MAX = 8


class Part(list[int]):
    """A batch of numbers."""

    def halves(self) -> "list[Part]":
        """Left and right."""
        middle = len(self) // 2
        return [Part(self[:middle]), Part(self[middle:])]


class Numbers:
    """Rows that are numbers; negative ones are bad. Statements stay open until :meth:`answer`."""

    def __init__(self) -> None:
        self.ready = True  # as that of a Link
        self.waits: list[int] = []
        self.kept: list[int] = []
        self.lost: list[int] = []
        self.abandoned: list[int] = []
        self.sent: list[list[int]] = []
        self.open: tuple[Part, Deferred[None]] | None = None

    def __len__(self) -> int:
        return len(self.waits)

    def pause_s(self) -> float:
        return PAUSE_S

    def take(self) -> Part:
        part, self.waits = Part(self.waits[:BATCH_MAX]), self.waits[BATCH_MAX:]
        return part

    def send(self, batch: Part) -> Deferred[None]:
        assert self.open is None, "one statement at a time"
        assert batch, "no empty statement"
        self.sent.append(list(batch))
        self.open = (batch, Deferred())
        return self.open[1]

    def committed(self, batch: Part) -> None:
        self.kept += batch

    def put_back(self, batches: Sequence[Part], busy: Failure) -> None:
        assert isinstance(busy.value, StoreBusy)
        self.waits = [number for batch in batches for number in batch] + self.waits

    def lose(self, batch: Part, why: Exception) -> None:
        assert isinstance(why, psycopg2.DataError)
        self.lost += batch

    def abandon(self, busy: Failure) -> int:
        count, self.waits, left = len(self.waits), [], self.waits
        self.abandoned += left
        return count

    # what the database does

    def answer(self, error: Exception | None = None) -> None:
        """End the open statement: with an error, or as its rows deserve."""
        assert self.open is not None
        (batch, done), self.open = self.open, None
        if error is not None:
            done.errback(error)
        elif any(number < 0 for number in batch):
            done.errback(psycopg2.DataError("bad"))
        else:
            done.callback(None)


class World:
    """A writer and what is around it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rows = Numbers()
        self.writer = BatchWriter(
            "numbers", self.rows, self.clock, retry_s=RETRY_S, ready=lambda: self.rows.ready
        )

    def put(self, *numbers: int) -> None:
        self.rows.waits += numbers
        self.writer.wake(PAUSE_S)

    def settle(self) -> None:
        """The database answers all."""
        for _ in range(200):
            if self.rows.open is not None:
                self.rows.answer()
            self.clock.advance(PAUSE_S)

    def down(self) -> None:
        """The connection is lost."""
        self.rows.ready = False
        if self.rows.open is not None:
            self.rows.answer(StoreBusy("the database is down"))


@pytest.fixture
def world() -> World:
    return World()


def told(flush: Deferred[None]) -> list[Any]:
    """What a flush says: nothing yet, that all is written, or an error."""
    seen: list[Any] = []
    flush.addCallbacks(lambda _: seen.append("written"), lambda failure: seen.append(failure.type))
    return seen


WRITTEN, BUSY = ["written"], [StoreBusy]


def test_rows_of_a_moment_go_in_one_statement(world: World) -> None:
    """In the order in which they came."""
    world.put(1, 2)
    world.put(3)
    assert world.rows.sent == []
    world.clock.advance(PAUSE_S)
    assert world.rows.sent == [[1, 2, 3]]
    assert world.writer.waiting == 3
    world.rows.answer()
    assert (world.writer.written, world.writer.statements, world.writer.waiting) == (3, 1, 0)


def test_who_is_in_a_hurry_takes_the_others_along(world: World) -> None:
    """The earliest time counts, whoever asked for it."""
    world.put(1)
    world.rows.waits.append(2)
    world.writer.wake(0.01)
    world.writer.wake(5.0)
    world.clock.advance(0.02)
    assert world.rows.sent == [[1, 2]]


def test_what_comes_during_a_statement_goes_in_the_next(world: World) -> None:
    """After the pause of its rows."""
    world.put(1)
    world.clock.advance(PAUSE_S)
    world.put(2, 3)
    world.clock.advance(5)
    assert world.rows.sent == [[1]]
    world.rows.answer()
    world.clock.advance(PAUSE_S / 2)
    assert world.rows.sent == [[1]]
    world.clock.advance(PAUSE_S)
    assert world.rows.sent == [[1], [2, 3]]


def test_a_bad_row_is_found_by_halves(world: World) -> None:
    """Only it is lost; its neighbours are written in their order, each once; nothing is sent in vain."""
    world.put(1, 2, 3, -4, 5, 6, 7, 8)
    world.settle()
    assert world.rows.lost == [-4]
    assert world.rows.kept == [1, 2, 3, 5, 6, 7, 8]
    assert world.rows.sent[1:3] == [[1, 2, 3, -4], [1, 2]]
    assert world.writer.lost == 1
    assert world.writer.written == 7
    assert world.writer.waiting == 0


def test_bad_rows_only_are_lost_only(world: World) -> None:
    """However many."""
    world.put(-1, -2, -3)
    world.settle()
    assert (world.rows.lost, world.rows.kept) == ([-1, -2, -3], [])


def test_an_outage_while_a_bad_row_is_looked_for_loses_nothing(world: World) -> None:
    """What was not written yet waits in front of what came later, in its order."""
    world.put(1, 2, 3, -4)
    world.clock.advance(PAUSE_S)
    world.rows.answer()  # bad: halves
    world.clock.advance(0)
    world.put(9)
    world.down()
    assert world.rows.waits == [1, 2, 3, -4, 9]
    world.rows.ready = True
    world.writer.recovered()
    world.settle()
    assert (world.rows.kept, world.rows.lost) == ([1, 2, 3, 9], [-4])


def test_a_connection_lost_between_halves_loses_nothing(world: World) -> None:
    """The parts that were not sent yet wait again."""
    world.put(1, -2)
    world.clock.advance(PAUSE_S)
    world.rows.answer()
    world.rows.ready = False
    world.clock.advance(0)
    assert world.rows.waits == [1, -2]
    assert world.writer.waiting == 2


def test_a_refusal_is_tried_again_after_a_pause(world: World) -> None:
    """The connection works, the statement took too long, for example."""
    world.put(1)
    world.clock.advance(PAUSE_S)
    world.rows.answer(StoreBusy("the database took too long"))
    world.clock.advance(RETRY_S / 2)
    assert world.rows.sent == [[1]]
    world.clock.advance(RETRY_S)
    assert world.rows.sent == [[1], [1]]
    world.rows.answer()
    assert world.rows.kept == [1]


def test_what_the_driver_cannot_send_is_a_bad_row(world: World) -> None:
    """Its neighbours are written."""
    world.rows.lose = lambda batch, why: world.rows.lost.extend(batch)  # type: ignore[method-assign]
    world.put(1, 2)
    world.clock.advance(PAUSE_S)
    for error in (ValueError("NUL"), None, ValueError("NUL")):
        world.rows.answer(error)
        world.clock.advance(0)
    assert (world.rows.kept, world.rows.lost) == ([1], [2])


def test_trouble_is_logged_once(world: World) -> None:
    """Not at each attempt, until it was over for a while."""
    seen: list[str] = []
    world.writer.log = SimpleNamespace(warn=lambda text, **_: seen.append(text))  # type: ignore[assignment]
    world.put(1)
    world.clock.advance(PAUSE_S)
    for _ in range(5):
        world.rows.answer(StoreBusy("too long"))
        world.clock.advance(RETRY_S)
    assert len(seen) == 1
    world.rows.answer()
    world.put(2)
    world.clock.advance(PAUSE_S)
    world.rows.answer(StoreBusy("too long"))
    assert len(seen) == 2


def test_an_unexpected_error_counts_as_a_refusal(world: World) -> None:
    """Rows are not lost for a mistake elsewhere."""
    world.put(1)
    world.clock.advance(PAUSE_S)
    world.rows.answer(KeyError("x"))
    assert world.rows.waits == [1]


def test_nothing_is_tried_while_the_database_is_away(world: World) -> None:
    """When it is back, what waits is written at once."""
    world.down()
    world.put(1, 2)
    world.clock.pump([PAUSE_S] * 50)
    assert world.rows.sent == []
    world.rows.ready = True
    world.writer.recovered()
    world.clock.advance(0)
    assert world.rows.sent == [[1, 2]]


def test_flush_writes_at_once_and_everything(world: World) -> None:
    """More than one statement, without a pause, what comes meanwhile too."""
    world.put(*range(20))
    done = told(world.writer.flush())
    for count in (8, 8, 5):
        assert len(world.rows.sent[-1]) == count
        assert done == []
        if count == 8 and len(world.rows.sent) == 1:
            world.put(99)
        world.rows.answer()
        world.clock.advance(0)
    assert done == WRITTEN
    assert world.rows.kept == [*range(20), 99]


def test_flush_with_nothing_to_write_is_done(world: World) -> None:
    """At once."""
    assert told(world.writer.flush()) == WRITTEN


def test_a_second_flush_waits_with_the_first(world: World) -> None:
    """Nobody is told that all is written while a statement is under way."""
    world.put(1)
    first, second = told(world.writer.flush()), told(world.writer.flush())
    assert first == second == []
    world.rows.answer()
    assert first == second == WRITTEN


def test_a_flush_during_a_statement_waits_for_it(world: World) -> None:
    """And for what came after it, without a pause."""
    world.put(1)
    world.clock.advance(PAUSE_S)
    world.put(2)
    done = told(world.writer.flush())
    world.rows.answer()
    assert done == []
    world.clock.advance(0)
    world.rows.answer()
    assert done == WRITTEN


def test_a_flush_waits_for_the_search_for_a_bad_row(world: World) -> None:
    """Every good row is written when it is done."""
    world.put(1, -2, 3)
    done = told(world.writer.flush())
    while not done:
        world.rows.answer()
        world.clock.advance(0)
    assert (world.rows.kept, world.rows.lost) == ([1, 3], [-2])


def test_a_flush_does_not_wait_for_a_database_that_is_away(world: World) -> None:
    """It fails when the connection is lost, or at once; what waits still waits."""
    world.put(1)
    first = told(world.writer.flush())
    world.down()
    assert first == BUSY
    assert told(world.writer.flush()) == BUSY
    assert world.rows.waits == [1]


def test_a_cancelled_flush_stops_nothing(world: World) -> None:
    """Only its answer is dropped; the others get theirs."""
    world.put(1)
    first, second = world.writer.flush(), world.writer.flush()
    first.addErrback(lambda failure: None)
    first.cancel()
    said = told(second)
    world.rows.answer()
    assert world.rows.kept == [1]
    assert said == WRITTEN


def test_closed_it_writes_no_more(world: World) -> None:
    """What waits is given up, what is under way is not taken for lost before it ends."""
    world.put(1)
    world.clock.advance(PAUSE_S)
    world.put(2)
    world.writer.close()
    assert world.rows.abandoned == [2]
    world.rows.answer(StoreBusy("the store is stopped"))
    assert world.rows.abandoned == [2, 1]
    world.put(3)
    world.clock.pump([PAUSE_S] * 50)
    assert world.rows.sent == [[1]]
    assert told(world.writer.flush()) == BUSY
    assert not world.clock.getDelayedCalls()


def test_closed_during_the_search_for_a_bad_row(world: World) -> None:
    """The parts that were not sent are given up."""
    world.put(1, -2)
    world.clock.advance(PAUSE_S)
    world.rows.answer()
    world.clock.advance(0)
    world.writer.close()
    world.rows.answer()
    assert world.rows.kept == [1]
    assert world.rows.abandoned == [-2]
    assert not world.clock.getDelayedCalls()


def test_an_answer_at_once_is_fine(world: World) -> None:
    """As that of a link that refuses without asking anybody."""
    world.rows.send = lambda batch: fail(StoreBusy("the store is stopped"))  # type: ignore[method-assign]
    world.put(1)
    world.clock.advance(PAUSE_S)
    assert world.rows.waits == [1]
    world.rows.send = lambda batch: succeed(None)  # type: ignore[method-assign]
    world.clock.advance(RETRY_S)
    assert world.rows.kept == [1]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: each row is somewhere, and in one place only."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.made = 0
        self.flushes: list[list[Any]] = []

    @rule(count=st.integers(1, 12), bad=st.integers(0, 11))
    def put(self, count: int, bad: int) -> None:
        numbers = range(self.made + 1, self.made + 1 + count)
        self.made += count
        self.world.put(*[-number if index == bad else number for index, number in enumerate(numbers)])

    @rule(seconds=st.sampled_from([0.0, PAUSE_S, RETRY_S]))
    def time_goes_by(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @precondition(lambda self: self.world.rows.open is not None)
    @rule(busy=st.booleans())
    def the_database_answers(self, busy: bool) -> None:
        self.world.rows.answer(StoreBusy("too long") if busy else None)

    @rule()
    def the_connection_is_lost(self) -> None:
        self.world.down()

    @rule()
    def the_connection_is_back(self) -> None:
        self.world.rows.ready = True
        self.world.writer.recovered()

    @rule()
    def flush(self) -> None:
        self.flushes.append(told(self.world.writer.flush()))

    @invariant()
    def every_row_is_in_one_place(self) -> None:
        rows = self.world.rows
        known = len(rows.kept) + len(rows.lost) + self.world.writer.waiting
        assert known == self.made
        assert len(set(rows.kept)) == len(rows.kept)
        assert all(number < 0 for number in rows.lost)

    @invariant()
    def something_is_planned_while_rows_wait(self) -> None:
        if self.world.rows.ready and self.world.writer.waiting:
            assert not self.world.writer.resting

    @invariant()
    def no_flush_waits_for_nothing(self) -> None:
        if not self.world.writer.waiting:
            assert all(self.flushes)

    def teardown(self) -> None:
        self.the_connection_is_back()
        self.world.settle()
        assert self.world.writer.waiting == 0
        assert {abs(number) for number in self.world.rows.kept + self.world.rows.lost} == set(
            range(1, self.made + 1)
        )


TestAnyOrder: Any = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
