"""How bans wait to be written, over a database that may be away."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from mizu.errors import StoreBusy
from mizu.model import BanRecord, TrustedAddress
from mizu.store.bans import PostgresBanStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class FakePool:
    """Keeps what it is told; ``busy``: refuses."""

    def __init__(self) -> None:
        self.busy = False
        self.statements: list[tuple[str, Any]] = []
        self.rows: list[Any] = []

    def operate(self, sql: str, params: Any = None) -> Deferred[None]:
        if self.busy:
            return fail(StoreBusy("the database is down"))
        if "until_at < now()" not in sql:
            self.statements.append((sql.split(maxsplit=1)[0], params))
        return succeed(None)

    def query(self, sql: str, params: Any = None) -> Deferred[Any]:
        if self.busy:
            return fail(StoreBusy("the database is down"))
        if sql.startswith("WITH gone"):
            self.statements.append(("CLEAR", params))
            return succeed([(7,)])
        rows, self.rows = self.rows, []
        return succeed(rows)


def ban(target: str, reason: str = "x") -> BanRecord:
    return BanRecord(target, reason, "guard", NOON, None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def store(pool: FakePool, clock: Clock) -> PostgresBanStore:
    return PostgresBanStore(pool, clock, limit=3)  # type: ignore[arg-type]


def test_bans_of_a_moment_are_one_statement(store: PostgresBanStore, pool: FakePool, clock: Clock) -> None:
    """The newest state of each target; what was let in again is deleted."""
    store.put(ban("192.0.2.1", "old"))
    store.put(ban("192.0.2.1", "new"))
    store.put(ban("192.0.2.2"))
    store.remove("192.0.2.2")
    clock.advance(0.2)
    assert pool.statements[0] == ("DELETE", (["192.0.2.2"],))
    assert pool.statements[1][1][:2] == (["192.0.2.1"], ["new"])
    assert len(pool.statements) == 2


def test_what_could_not_be_written_is_written_later(
    store: PostgresBanStore, pool: FakePool, clock: Clock
) -> None:
    """A newer state wins over the one that failed; who waited is told that it is not written."""
    pool.busy = True
    store.put(ban("192.0.2.1", "old"))
    told: list[Any] = []
    store.flush().addErrback(told.append)
    assert told[0].check(StoreBusy)
    store.put(ban("192.0.2.1", "new"))
    pool.busy = False
    clock.advance(1.1)
    assert pool.statements[0][1][:2] == (["192.0.2.1"], ["new"])
    done: list[Any] = []
    store.flush().addCallback(done.append)
    assert done == [None]


def test_what_is_read_includes_what_is_not_written_yet(store: PostgresBanStore, pool: FakePool) -> None:
    """Or a node would undo its own ban by reading the table."""
    store.put(ban("192.0.2.1", "new"))
    store.remove("192.0.2.2")
    pool.rows = [("192.0.2.2", "x", "guard", NOON, None, 1), ("192.0.2.3", "x", "guard", NOON, None, 1)]
    found: list[Any] = []
    store.find(["192.0.2.1", "192.0.2.2", "192.0.2.3"]).addCallback(found.extend)
    assert sorted(one.target for one in found) == ["192.0.2.1", "192.0.2.3"]
    store.close()


def test_the_queue_is_bounded(store: PostgresBanStore, pool: FakePool, clock: Clock) -> None:
    """The oldest are not kept; they hold in memory all the same."""
    for number in range(5):
        store.put(ban(f"192.0.2.{number}"))
    assert store.lost == 2
    clock.advance(0.2)
    assert pool.statements[0][1][0] == ["192.0.2.2", "192.0.2.3", "192.0.2.4"]


def test_a_ban_that_cannot_be_kept_does_not_stop_the_others(
    store: PostgresBanStore, pool: FakePool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of its statement are written; it holds in memory all the same."""
    kept: list[str] = []

    def operate(sql: str, params: Any = None) -> Deferred[None]:
        if sql.startswith("INSERT"):
            if "bad" in params[0]:
                return fail(ValueError("A string literal cannot contain NUL"))
            kept.extend(params[0])
        return succeed(None)

    monkeypatch.setattr(pool, "operate", operate)
    for target in ("192.0.2.1", "bad", "192.0.2.2"):
        store.put(ban(target))
    clock.pump([0.2] * 10)
    assert sorted(kept) == ["192.0.2.1", "192.0.2.2"]
    assert store.lost == 1


def test_an_end_of_all_bans_waits_for_the_database(
    store: PostgresBanStore, pool: FakePool, clock: Clock
) -> None:
    """It ends those that began before it, written or not; what is read meanwhile has none of them."""
    store.put(ban("192.0.2.1"))
    pool.busy = True
    told: list[Any] = []
    store.clear(NOON).addErrback(told.append)
    assert told[0].check(StoreBusy)
    later = replace(ban("192.0.2.2"), begun_at=NOON + timedelta(seconds=1))
    store.put(later)
    pool.busy = False
    pool.rows = [("192.0.2.3", "x", "guard", NOON, None, 1)]
    found: list[Any] = []
    store.find(["192.0.2.1", "192.0.2.2", "192.0.2.3"]).addCallback(found.extend)
    assert found == [later]
    clock.advance(1.1)
    assert sorted((word, params[0]) for word, params in pool.statements) == [
        ("CLEAR", NOON),
        ("INSERT", ["192.0.2.2"]),
    ]


def test_a_ban_on_its_way_does_not_outlive_the_end_of_all(
    store: PostgresBanStore, pool: FakePool, clock: Clock
) -> None:
    """It was being written when all were ended, failed, and is not written again."""
    flying: Deferred[None] = Deferred()
    operate, pool.operate = pool.operate, lambda sql, params=None: flying  # type: ignore[method-assign]
    store.put(ban("192.0.2.1"))
    clock.advance(0.2)
    pool.operate = operate  # type: ignore[method-assign]
    counted: list[Any] = []
    store.clear(NOON).addBoth(counted.append)
    flying.errback(StoreBusy("the database is down"))
    clock.advance(1.1)
    assert [word for word, _ in pool.statements] == ["CLEAR"]


def test_the_white_list_is_written_when_the_database_is_back(
    store: PostgresBanStore, pool: FakePool, clock: Clock
) -> None:
    """The last order about a target counts, also for what is read meanwhile."""
    pool.busy = True
    refused: list[Any] = []
    for order in (
        store.trust(TrustedAddress("192.0.2.1", "old", "anna", NOON)),
        store.trust(TrustedAddress("192.0.2.1", "new", "anna", NOON)),
        store.distrust("192.0.2.2"),
    ):
        order.addErrback(refused.append)
    assert len(refused) == 3
    pool.busy = False
    pool.rows = [("192.0.2.2", "", "anna", NOON), ("192.0.2.3", "", "anna", NOON)]
    found: list[Any] = []
    store.trusted().addCallback(found.extend)
    assert [(one.target, one.note) for one in found] == [("192.0.2.1", "new"), ("192.0.2.3", "")]
    clock.advance(1.1)
    assert pool.statements == [
        ("INSERT", ("192.0.2.1", "new", "anna", NOON)),
        ("DELETE", ("192.0.2.2",)),
    ]
    clock.advance(5)
    assert len(pool.statements) == 2
