"""What happens to call rows that wait: who is told what, and when they are written."""

from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mizu.errors import CallRefused, StoreBusy
from mizu.model import CallAnswered, CallClosed, CallOpened, ChannelLimit
from mizu.store.calls import PostgresCallStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class FakeLink:
    """Statements stay open until :meth:`answer`."""

    def __init__(self) -> None:
        self.ready = True
        self.statements: list[str] = []
        self.open: Deferred[None] | None = None

    def operate(self, sql: str, params: Any = None) -> Deferred[None]:
        assert self.open is None
        self.statements.append(sql)
        self.open = Deferred()
        return self.open

    query = operate

    def answer(self, error: Exception | None = None, rows: Any = None) -> None:
        assert self.open is not None
        done, self.open = self.open, None
        if error is None:
            done.callback(rows)
        else:
            done.errback(error)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def calls(link: FakeLink, clock: Clock) -> PostgresCallStore:
    return PostgresCallStore(None, link, lambda: "n", 5, clock)  # type: ignore[arg-type]


def opened(call_id: str, setup_at: datetime = NOON) -> CallOpened:
    return CallOpened(call_id, "n", 1, "1", "2", "c", "a", setup_at)


def answered(call_id: str) -> CallAnswered:
    return CallAnswered(call_id, NOON, "r", 2, "d", "b", {})


def closed(call_id: str) -> CallClosed:
    return CallClosed(call_id, None, NOON, 1.0, 1.0, 200, "OK", "caller", "answered", "r", 2, "d", "b")


def outcome(written: Deferred[None]) -> list[Any]:
    told: list[Any] = []
    written.addCallbacks(lambda _: told.append("written"), lambda failure: told.append(failure.type))
    return told


def test_an_opening_is_written_with_its_burst(calls: PostgresCallStore, link: FakeLink, clock: Clock) -> None:
    """In the next turn of the reactor, in one statement; each caller is told when it is committed."""
    told = [outcome(calls.open(opened(name))) for name in "ab"]
    assert link.statements == []
    clock.advance(0)
    assert len(link.statements) == 1
    assert told == [[], []]
    link.answer()
    assert told == [["written"], ["written"]]


def test_a_close_waits_for_company(calls: PostgresCallStore, link: FakeLink, clock: Clock) -> None:
    """It rides along with the next opening, or goes alone a little later."""
    calls.close(closed("a"))
    clock.advance(0.01)
    assert link.statements == []
    calls.open(opened("b"))
    clock.advance(0)
    assert "call_open" in link.statements[0]
    assert "call_close" in link.statements[0]
    link.answer()
    calls.close(closed("b"))
    clock.advance(0.06)
    assert "call_close" in link.statements[1]


def test_trouble_refuses_who_waits_and_keeps_closes(
    calls: PostgresCallStore, link: FakeLink, clock: Clock
) -> None:
    """Those under way and those behind them; what may have been opened is undone, the rest was never sent."""
    first = outcome(calls.open(opened("a")))
    calls.close(closed("x"))
    clock.advance(0)
    second, third = outcome(calls.open(opened("b"))), outcome(calls.answer(answered("a")))
    link.answer(StoreBusy("the database took too long"))
    assert first == second == third == [StoreBusy]
    assert calls.waiting == 2  # the close, and the undoing of a
    clock.advance(0.6)
    assert "call_close" in link.statements[1]
    assert "call_undo" in link.statements[1]
    assert "call_open" not in link.statements[1]
    link.answer()
    assert calls.waiting == 0
    assert calls.open_since is None


def test_a_lost_connection_leaves_nobody_waiting(
    calls: PostgresCallStore, link: FakeLink, clock: Clock
) -> None:
    """Also who came just before it was lost, when nothing had been sent."""
    told = outcome(calls.open(opened("a")))
    link.ready = False
    clock.advance(0)
    assert told == [StoreBusy]
    assert calls.waiting == 0
    assert outcome(calls.open(opened("b"))) == [StoreBusy]


def test_a_row_that_cannot_be_stored_is_refused_alone(
    calls: PostgresCallStore, link: FakeLink, clock: Clock
) -> None:
    """The others of its statement are written; it is not taken for an open call."""
    told = [outcome(calls.open(opened(name))) for name in "ab"]
    clock.advance(0)
    link.answer(psycopg2.DataError("bad"))
    clock.advance(0)
    link.answer(psycopg2.DataError("bad"))
    clock.advance(0)
    link.answer()
    assert told == [[StoreBusy], ["written"]]
    assert calls.lost == 1
    calls.close(closed("b"))
    clock.advance(0.1)
    link.answer()
    assert calls.open_since is None


def test_openings_are_bounded_closes_are_not(calls: PostgresCallStore, link: FakeLink, clock: Clock) -> None:
    """The calls that are open may always end."""
    told = [outcome(calls.open(opened(str(number)))) for number in range(7)]
    assert [bool(each) for each in told] == [False] * 5 + [True] * 2
    calls.close(closed("0"))
    assert calls.waiting == 6
    clock.advance(0)
    link.answer()


def test_when_the_oldest_open_call_began(calls: PostgresCallStore, link: FakeLink, clock: Clock) -> None:
    """Known from its opening to its close being written."""
    calls.open(opened("a"))
    calls.open(opened("b", NOON.replace(hour=13)))
    clock.advance(0)
    link.answer()
    assert calls.open_since == NOON
    calls.close(closed("a"))
    clock.advance(0.1)
    link.answer()
    assert calls.open_since == NOON.replace(hour=13)


def test_stopped_it_refuses(calls: PostgresCallStore, link: FakeLink, clock: Clock) -> None:
    """Who waits is told, and whoever comes later."""
    told = outcome(calls.open(opened("a")))
    calls.stop()
    assert told == [StoreBusy]
    assert outcome(calls.open(opened("b"))) == [StoreBusy]
    assert not clock.getDelayedCalls()


# ---------------------------------------------------------------- channels

ONE, TWO = "1" * 32, "2" * 32


def limited(call_id: str, *accounts: int) -> CallOpened:
    return opened(call_id)._replace(channels=tuple(ChannelLimit(one, 5) for one in accounts))


def test_channels_are_taken_with_the_opening(calls: PostgresCallStore, link: FakeLink, clock: Clock) -> None:
    """In one round trip, after what it gives back, under one lock; who gets none is told so."""
    first, second = (outcome(calls.open(limited(call_id, 7, 9))) for call_id in (ONE, TWO))
    clock.advance(0)
    (sql,) = link.statements
    names = [part.split()[1] for part in sql.split(";")]
    assert names == ["channel_lock", "call_open", "channel_take"]
    link.answer(rows=[(TWO, 9)])
    assert (first, second) == (["written"], [CallRefused])
    calls.close(closed(ONE))
    calls.close(closed(TWO))
    clock.advance(1)
    assert "channel_lock" in link.statements[-1]
    link.answer()
    calls.close(closed(ONE))
    clock.advance(1)
    assert "channel_lock" not in link.statements[-1]  # nothing is remembered of calls that are closed


def test_an_opening_without_its_channels_goes_again(
    calls: PostgresCallStore, link: FakeLink, clock: Clock
) -> None:
    """The row was written, what was to be taken with it failed later: the caller hears 503, the row goes."""
    told = outcome(calls.open(limited(ONE, 7)))
    clock.advance(0)
    link.answer(rows=[(ONE, None)])  # the row is not there (any more)
    assert told == [StoreBusy]
    clock.advance(1)
    assert "call_undo" in link.statements[-1]
    link.answer()
    assert calls.open_since is None
    assert not calls._queue._counted


def test_channels_while_the_database_is_in_trouble(
    calls: PostgresCallStore, link: FakeLink, clock: Clock
) -> None:
    """Who waits for them is told at once; nothing is taken later for a call that was refused."""
    calls.open(limited(ONE, 7))
    clock.advance(0)
    link.answer(rows=[])
    told = outcome(calls.take(ONE, [ChannelLimit(8, 1)]))
    clock.advance(0)
    link.answer(psycopg2.OperationalError("gone"))
    assert told == [StoreBusy]
    clock.advance(10)
    assert "channel_take" not in link.statements[-1] or len(link.statements) == 2
    calls.close(closed(ONE))
    clock.advance(1)
    assert "channel_lock" in link.statements[-1]  # of 7 and 8: nobody knows what was taken
