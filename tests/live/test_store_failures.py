"""The database is slow, refuses, dies: callers hear StoreBusy, nothing is spoiled, all heals."""

import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import DeferredList
from twisted.internet.task import deferLater

from mizu.clock import SystemClock
from mizu.config import DatabaseConfig
from mizu.errors import ConfigError, StoreBusy
from mizu.model import CallClosed, CallOpened
from mizu.store import Store
from mizu.testing.postgres import TestPostgres, shared_postgres

pytestmark = pytest.mark.limit(40)


async def wait(seconds):
    from twisted.internet import reactor

    await deferLater(reactor, seconds, lambda: None)


async def until(what, limit_s=15.0):
    """Wait until ``what()`` is true."""
    for _ in range(int(limit_s / 0.02)):
        if what():
            return
        await wait(0.02)
    raise AssertionError("it did not happen in time")


def make(url, directory, **settings) -> Store:
    from twisted.internet import reactor

    config = DatabaseConfig(**{"url": url, "statement_timeout_s": 0.5, "poll_s": 0.2, **settings})
    return Store(config, directory, reactor, SystemClock())


@pytest_twisted.async_yield_fixture
async def store(database_url, tmp_path) -> AsyncIterator[Store]:
    store = make(database_url, tmp_path, connections=2, waiting_max=10)
    await store.start()
    yield store
    await store.stop()


@pytest_twisted.async_yield_fixture
async def own(tmp_path) -> AsyncIterator:
    """A store on a cluster that the test may break."""
    directory = Path(shared_postgres().directory.parent) / f"mizu-own-{uuid.uuid4().hex[:8]}"
    directory.mkdir()
    server = TestPostgres(directory)
    server.start()
    server.sql("CREATE DATABASE mine TEMPLATE template_mizu")
    store = make(server.url("mine"), tmp_path)
    await store.start()
    yield store, server
    await store.stop()
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


def opened(**fields) -> CallOpened:
    known = {
        "call_id": uuid.uuid4().hex,
        "node": "n",
        "caller_account_id": 1,
        "caller_number": "1",
        "called_number": "2",
        "caller_sip_call_id": "c",
        "caller_address": "a",
        "setup_at": datetime.now(UTC),
    }
    return CallOpened(**{**known, **fields})


def closed(call_id, **fields) -> CallClosed:
    known = {
        "call_id": call_id,
        "ring_at": None,
        "end_at": datetime.now(UTC),
        "setup_s": 1.0,
        "talk_s": 1.0,
        "sip_status": 200,
        "sip_reason": "OK",
        "ended_by": "caller",
        "cause": "answered",
        "route": "r",
        "callee_account_id": 2,
        "callee_sip_call_id": "d",
        "callee_address": "b",
    }
    return CallClosed(**{**known, **fields})


async def works(store):
    """Every pooled connection answers, more often than there are connections."""
    for _ in range(6):
        assert await store._pool.query("SELECT 1") == [(1,)]


async def test_a_cancelled_caller_spoils_nothing(store):
    """The work goes on and is committed; the connection serves the next."""

    async def work(cursor):
        await cursor.execute("INSERT INTO account (username) VALUES ('kept')")
        await cursor.execute("SELECT pg_sleep(0.2)")

    running = store._pool.transact(work)
    query = store._pool.query("SELECT pg_sleep(0.2)")
    await wait(0.05)
    for deferred in (running, query):
        deferred.addErrback(lambda failure: None)
        deferred.cancel()
    await wait(0.4)
    await works(store)
    assert await store.accounts.find("kept") is not None


async def test_a_slow_statement_is_given_up_by_the_server(store):
    """StoreBusy after statement_timeout_s, in and outside a transaction; nothing is changed."""

    async def work(cursor):
        await cursor.execute("INSERT INTO account (username) VALUES ('gone')")
        await cursor.execute("SELECT pg_sleep(5)")

    with pytest.raises(StoreBusy):
        await store._pool.query("SELECT pg_sleep(5)")
    with pytest.raises(StoreBusy):
        await store._pool.transact(work)
    await works(store)
    assert await store.accounts.find("gone") is None


async def test_a_failed_transaction_changes_nothing(store):
    """An error of the work itself reaches the caller as it is."""

    async def work(cursor):
        await cursor.execute("INSERT INTO account (username) VALUES ('gone')")
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await store._pool.transact(work)
    assert await store.accounts.find("gone") is None
    await works(store)


async def test_waiting_is_bounded(store):
    """Two run, ten wait, the thirteenth is refused at once."""
    running = [store._pool.query("SELECT pg_sleep(0.1)") for _ in range(12)]
    with pytest.raises(StoreBusy, match="too many"):
        await store._pool.query("SELECT 1")
    results = await DeferredList(running)
    assert all(good for good, _ in results)


async def test_a_deadlock_is_tried_again(store):
    """One of the two is the victim and succeeds at its next attempt."""
    await store.accounts.add("a", {}, {})
    await store.accounts.add("b", {}, {})
    await store._pool.operate("ALTER ROLE CURRENT_USER SET deadlock_timeout = '50ms'")
    attempts = []

    async def work(cursor, first, second):
        attempts.append(first)
        await cursor.execute("SET LOCAL deadlock_timeout = '50ms'")
        await cursor.execute("UPDATE account SET display_name = %s WHERE username = %s", (first, first))
        await cursor.execute("SELECT pg_sleep(0.05)")
        await cursor.execute("UPDATE account SET display_name = %s WHERE username = %s", (first, second))

    results = await DeferredList([store._pool.transact(work, "a", "b"), store._pool.transact(work, "b", "a")])
    assert all(good for good, _ in results)
    assert len(attempts) >= 3


async def test_killed_connections_come_back(store):
    """Idle and busy connections that the server ends are rebuilt; callers hear StoreBusy."""
    busy = store._pool.query("SELECT pg_sleep(0.4)")
    busy.addErrback(lambda failure: failure.trap(StoreBusy))
    await wait(0.05)
    database = store._parameters["dbname"]
    shared_postgres().sql(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        " AND application_name = 'mizu'"
    )
    await busy
    await until(lambda: store.status()["connections"] == store.status()["connections_wanted"])
    await works(store)
    seen = []
    store.changes.subscribe("account", seen.append)
    await store.accounts.add("after", {}, {})
    await until(lambda: "after" in seen or None in seen)
    await store.calls.open(opened())


async def test_a_server_that_falls_silent_is_given_up(own):
    """A backend that neither answers nor closes (here: stopped) is left; another connection takes over."""
    store, _ = own
    backends = [
        (await link.query("SELECT pg_backend_pid()"))[0][0]
        for link in (store._call_link, store._location_link)
    ]
    for backend in backends:
        os.kill(backend, signal.SIGSTOP)
    try:
        waiting = store.calls.open(opened())
        store.locations.put("alice", [])
        with pytest.raises(StoreBusy):
            await waiting
        await until(lambda: store.healthy)
        await store.calls.open(opened())
        await until(lambda: store.locations.written == 1)
    finally:
        for backend in backends:
            os.kill(backend, signal.SIGCONT)


async def test_one_bad_row_does_not_stop_the_others(store):
    """It is refused or dropped, every other row of its batch is written."""
    good = [opened() for _ in range(20)]
    bad = opened(call_id="not a uuid")
    results = [store.calls.open(call) for call in (*good[:10], bad, *good[10:])]
    for call in good:
        store.calls.close(closed(call.call_id))
    store.calls.close(closed(good[0].call_id, sip_status=99_999))  # too large for the column
    outcome = await DeferredList(results, consumeErrors=True)
    assert [ok for ok, _ in outcome].count(False) == 1
    await store.calls.flush()
    assert {cdr.state for cdr in await store.calls.recent(100, "")} == {"ended"}
    assert store.calls.lost == 2


async def test_closes_wait_out_an_outage_and_opens_are_refused(own, clean_reactor):
    """While PostgreSQL is gone: open fails at once, close is kept; when it is back, all is written."""
    store, server = own
    calls = [opened() for _ in range(50)]
    for call in calls:
        await store.calls.open(call)
    server.stop()
    for call in calls[:25]:
        store.calls.close(closed(call.call_id))
    await until(lambda: not store.healthy)
    with pytest.raises(StoreBusy):
        await store.calls.open(opened())
    with pytest.raises(StoreBusy):
        await store.accounts.find("alice")
    for call in calls[25:]:
        store.calls.close(closed(call.call_id))
    assert store.status()["problem"]
    server.run()
    await until(lambda: store.status()["connections"] == store.status()["connections_wanted"])
    await store.calls.flush()
    assert store.calls.waiting == 0
    found = await store.calls.recent(100, "")
    assert len(found) == 50
    assert {cdr.state for cdr in found} == {"ended"}


async def test_no_open_is_reported_wrong_when_connections_break(store):
    """Backends are killed under load: what open promised is there, what it refused is not."""
    kept, refused, running = [], [], []

    def note(call):
        done = store.calls.open(call)
        done.addCallbacks(lambda _: kept.append(call), lambda failure: refused.append(call))
        return done

    database = store._parameters["dbname"]
    for burst in range(60):
        running += [note(opened()) for _ in range(20)]
        if burst % 20 == 10:
            shared_postgres().sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
                " AND application_name = 'mizu'"
            )
        await wait(0.01)
    await DeferredList(running)
    for call in kept:
        store.calls.close(closed(call.call_id))
    await until(lambda: store.healthy)
    await store.calls.flush()
    found = {cdr.call_id: cdr.state for cdr in await store.calls.recent(5000, "")}
    assert found == {call.call_id: "ended" for call in kept}
    assert kept
    assert refused


async def test_a_database_that_is_not_there_is_waited_for(tmp_path):
    """No failure: start() waits, status says why, stop() ends it."""
    store = make(f"postgresql://mizu:secret@/mizu?host={tmp_path}", tmp_path / "data")
    starting = store.start()
    await until(lambda: store.state == "waiting")
    status = store.status()
    assert not store.healthy
    assert "secret" not in str(status)
    assert status["problem"]
    with pytest.raises(StoreBusy):
        await store.accounts.find("alice")
    await store.stop()
    await starting


def test_a_wrong_url_is_a_clear_error_without_the_password(tmp_path):
    """Found when the store is made."""
    with pytest.raises(ConfigError) as caught:
        make("postgresql://mizu:secret@host:port:x/mizu?nonsense=1", tmp_path)
    assert "secret" not in str(caught.value)
