"""Several nodes on one database: migrations, changes, calls left open by a node that died."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from mizu.clock import SystemClock
from mizu.config import DatabaseConfig
from mizu.errors import ConfigError
from mizu.model import CallAnswered, CallClosed, CallOpened
from mizu.store import Store
from mizu.store.migrate import migrations
from mizu.testing.postgres import shared_postgres

pytestmark = pytest.mark.limit(30)


async def until(what, limit_s=10.0):
    """Wait until ``what()`` is true."""
    from twisted.internet import reactor

    for _ in range(int(limit_s / 0.02)):
        if what():
            return
        await deferLater(reactor, 0.02, lambda: None)
    raise AssertionError("it did not happen in time")


@pytest_twisted.async_yield_fixture
async def node(tmp_path) -> AsyncIterator:
    """Makes stores, each with its own data directory unless told; all are stopped at the end."""
    from twisted.internet import reactor

    made = []

    def make(url, name="one", **settings):
        config = DatabaseConfig(url=url, **{"poll_s": 0.2, **settings})
        store = Store(config, tmp_path / name, reactor, SystemClock())
        made.append(store)
        return store

    yield make
    await gatherResults([store.stop() for store in made])


async def test_two_nodes_that_start_at_once_migrate_once(node, empty_database_url):
    """Both come up, each file was run once."""
    stores = [node(empty_database_url, name) for name in ("one", "two", "three")]
    await gatherResults([store.start() for store in stores])
    rows = await stores[0]._reports.query("SELECT version, name FROM schema_migration ORDER BY 1")
    assert rows == [(version, name) for version, name, _ in migrations()]
    assert all(store.healthy for store in stores)


async def test_a_newer_database_is_refused(node, database_url):
    """A clear error, nothing is changed, and it is not retried for ever."""
    database = database_url.split("/")[3].split("?")[0]
    shared_postgres().sql("INSERT INTO schema_migration VALUES (9999, '9999_future.sql')", database)
    with pytest.raises(ConfigError, match="schema version 9999"):
        await node(database_url).start()


async def test_every_table_and_column_has_a_comment(node, empty_database_url):
    """The catalog explains itself."""
    store = node(empty_database_url)
    await store.start()
    undocumented = await store._reports.query(
        """SELECT c.relname, a.attname FROM pg_class c
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 OR a.attrelid = c.oid AND a.attnum = 0
           WHERE c.relkind IN ('r', 'v', 'p') AND c.relnamespace = 'public'::regnamespace
           AND NOT a.attisdropped
           AND col_description(c.oid, a.attnum) IS NULL
           UNION ALL SELECT c.relname, '' FROM pg_class c
           WHERE c.relkind IN ('r', 'v', 'p') AND c.relnamespace = 'public'::regnamespace
           AND obj_description(c.oid, 'pg_class') IS NULL"""
    )
    assert undocumented == []


@pytest.mark.parametrize("notified", [True, False])
async def test_a_change_on_one_node_is_seen_on_the_other(node, database_url, notified):
    """By notification at once; with notifications lost, by the poll."""
    one, two = node(database_url, "one"), node(database_url, "two", poll_s=0.3 if not notified else 60.0)
    await gatherResults([one.start(), two.start()])
    two.changes.listening = notified
    seen = []
    two.changes.subscribe("account", seen.append)
    for step in (
        lambda: one.accounts.add("alice", {}, {}),
        lambda: one.accounts.change("alice", {"MD5": "0" * 32}, {}),
        lambda: one.accounts.delete("alice"),
    ):
        await step()
        await until(lambda: "alice" in seen)
        seen.clear()


async def test_what_stops_an_owner_is_told_for_everything_below(node, database_url):
    """The names below a disabled account are told too, and only those."""
    store = node(database_url)
    await store.start()
    top = await store.accounts.add("top", {}, {})
    low = await store.accounts.add("low", {}, {"parent_id": top.id})
    await store.accounts.add("lower", {}, {"parent_id": low.id})
    await store.accounts.add("other", {}, {})
    await store.changes.poll()
    store.changes.listening = False
    seen = []
    store.changes.subscribe("account", seen.append)
    await store.accounts.change("top", None, {"enabled": False})
    await store.changes.poll()
    assert sorted(seen) == ["low", "lower", "top"]
    seen.clear()
    await store.accounts.change("top", None, {"display_name": "Top"})
    await store.changes.poll()
    assert seen == ["top"]


_JOIN = "INSERT INTO account_group_member SELECT g.id, a.id FROM account_group g, account a WHERE "
_MOVE = "UPDATE account_group_member m SET"
_OF = "m.account_id = (SELECT id FROM account WHERE username ="
_GROUPS = (
    # what is done, and who is told
    (_JOIN + "g.name = 'one' AND a.username IN ('a', 'b')", {"a", "b"}),
    (_JOIN + "g.name = 'two' AND a.username = 'c'", {"c"}),
    ("UPDATE account_group SET note = 'x', version = version + 1", set()),
    ("UPDATE account_group SET owner_id = (SELECT id FROM account WHERE username = 'top')", {"a", "b", "c"}),
    (f"{_MOVE} group_id = g.id FROM account_group g WHERE g.name = 'one' AND {_OF} 'c')", {"c"}),
    (f"{_MOVE} account_id = a.id FROM account a WHERE a.username = 'd' AND {_OF} 'c')", {"c", "d"}),
    (
        "DELETE FROM account_group_member WHERE account_id = (SELECT id FROM account WHERE username = 'b')",
        {"b"},
    ),
    ("ALTER TABLE account_group ADD COLUMN enabled boolean NOT NULL DEFAULT true", set()),
    (
        "UPDATE account_group SET enabled = false WHERE name = 'one'",
        {"a", "d"},
    ),  # a column of a later version
    ("DELETE FROM account_group WHERE name = 'one'", {"a", "d"}),
)


async def test_what_changes_a_group_is_told_for_its_members(node, database_url):
    """Who joins, leaves or changes groups, and all members when the group becomes another; nobody else."""
    store = node(database_url)
    await store.start()
    for name in ("top", "a", "b", "c", "d", "other"):
        await store.accounts.add(name, {}, {})
    sql = "INSERT INTO account_group (kind, name) VALUES (1, 'one'), (1, 'two')"
    await store._reports.operate(sql)
    await store.changes.poll()
    store.changes.listening = False
    seen = []
    store.changes.subscribe("account", seen.append)
    for sql, told in _GROUPS:
        await store._reports.operate(sql)
        await store.changes.poll()
        assert sorted(seen) == sorted(told), sql
        seen.clear()


async def test_very_many_changes_at_once_are_one(node, database_url):
    """A bulk statement says "anything may have changed" instead of thousands of names."""
    store = node(database_url)
    await store.start()
    store.changes.listening = False
    seen = []
    store.changes.subscribe("account", seen.append)
    await store._reports.operate(
        "INSERT INTO account (username) SELECT 'u' || n FROM generate_series(1, 3000) n"
    )
    await store.changes.poll()
    assert seen == [None]


async def test_a_change_committed_out_of_order_is_not_missed(node, database_url):
    """A transaction that began before a poll and commits after it is found by the next poll."""
    store = node(database_url)
    await store.start()
    store.changes.listening = False
    seen = []
    store.changes.subscribe("account", seen.append)

    async def slow(cursor):
        await cursor.execute("INSERT INTO account (username) VALUES ('slow')")
        await store.accounts.add("fast", {}, {})
        await store.changes.poll()
        assert seen == ["fast"]
        seen.clear()

    await store._pool.transact(slow)
    await store.changes.poll()
    assert seen == ["slow"]


async def test_calls_of_a_dead_node_are_closed_when_it_starts_again(node, database_url):
    """Cause orphan, ended by the switch, talk time up to the last sign of life; other nodes' calls stay."""
    one, two = node(database_url, "one"), node(database_url, "two")
    await gatherResults([one.start(), two.start()])
    begun = datetime.now(UTC)
    ids = ["1" * 32, "2" * 32, "3" * 32, "4" * 32]
    for call_id, store in zip(ids, (one, one, two, one), strict=True):
        await store.calls.open(CallOpened(call_id, store.node, None, "1", "2", "x", "udp:h:1", begun))
    await one.calls.answer(CallAnswered(ids[0], begun + timedelta(seconds=0.5), "r", None, "y", "udp:h:2"))
    closed = CallClosed(ids[3], None, begun, 0.0, 0.0, 486, "Busy", "callee", "busy", "r", None, "", "")
    one.calls.close(closed)
    await one.stop()
    await two._reports.operate(
        "UPDATE node SET seen_at = %s WHERE name = %s", (begun + timedelta(seconds=8), one.node)
    )

    again = node(database_url, "one")
    await again.start()
    assert again.node == one.node
    found = {cdr.call_id: cdr for cdr in await again.calls.recent(10, "")}
    answered, ringing, other, busy = (found[call_id] for call_id in ids)
    assert (answered.state, answered.cause, answered.ended_by, answered.sip_status) == (
        "ended",
        "orphan",
        "switch",
        200,
    )
    assert answered.talk_s == pytest.approx(7.5)
    assert answered.end_at == begun + timedelta(seconds=8)
    assert (ringing.state, ringing.cause, ringing.talk_s, ringing.answer_at) == ("ended", "orphan", 0.0, None)
    assert other.state == "setup"
    assert busy.cause == "busy"


async def test_one_data_directory_serves_one_server(node, database_url):
    """The second is told who is there; after the first has stopped it works."""
    one, twin = node(database_url, "same"), node(database_url, "same")
    await one.start()
    with pytest.raises(ConfigError, match="another server uses"):
        await twin.start()
    assert one.healthy
    await one.stop()
    await node(database_url, "same").start()
