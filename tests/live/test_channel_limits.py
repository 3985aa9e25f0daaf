"""Channels counted by the database: over several nodes, through the death of one, and who hears of limits."""

import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from mizu.clock import SystemClock
from mizu.config import DatabaseConfig
from mizu.errors import CallRefused
from mizu.model import CallClosed, CallOpened, ChannelLimit
from mizu.store import Store, callrows

pytestmark = pytest.mark.limit(60)


@pytest_twisted.async_yield_fixture
async def nodes(tmp_path, database_url) -> AsyncIterator:
    """Three stores on one database."""
    from twisted.internet import reactor

    made = [
        Store(DatabaseConfig(url=database_url, poll_s=0.2), tmp_path / name, reactor, SystemClock())
        for name in ("one", "two", "three")
    ]
    await gatherResults([store.start() for store in made])
    yield made
    await gatherResults([store.stop() for store in made])


def opened(*limits: tuple[int, int]) -> CallOpened:
    channels = tuple(ChannelLimit(*one) for one in limits)
    return CallOpened(uuid.uuid4().hex, "", None, "1", "2", "c", "udp:h:1", datetime.now(UTC), channels)


def closed(call_id: str) -> CallClosed:
    now = datetime.now(UTC)
    return CallClosed(call_id, None, now, 0.0, 0.0, 486, "Busy", "callee", "busy", "r", None, "", "")


async def got_in(store, call: CallOpened) -> bool:
    try:
        await store.calls.open(call)
    except CallRefused:
        return False
    return True


async def pause(seconds: float) -> None:
    from twisted.internet import reactor

    await deferLater(reactor, seconds, lambda: None)


async def counted(store) -> dict[int, int]:
    """What the database counts, and that it is what the open rows say."""
    rows = await store._reports.query("SELECT account_id, in_use FROM channel_use WHERE in_use <> 0")
    held = await store._reports.query("SELECT unnest(channels) FROM call WHERE end_at IS NULL")
    assert dict(rows) == Counter(row[0] for row in held)
    return dict(rows)


async def open_calls(store) -> list[str]:
    sql = "SELECT call_id FROM call WHERE end_at IS NULL AND node = %s"
    return [row[0].replace("-", "") for row in await store._reports.query(sql, (store.node,))]


async def test_the_last_channel_is_given_away_once(nodes):
    """Three nodes let 30 calls of two chains at a time in at once; 10 get in for the owner of both."""
    calls = [opened((number % 2 + 1, 8), (9, 10)) for number in range(30)]
    found = await gatherResults(
        [ensureDeferred(got_in(nodes[number % 3], call)) for number, call in enumerate(calls)]
    )
    assert found.count(True) == 10
    assert (await counted(nodes[0]))[9] == 10


@pytest.mark.parametrize("seed", range(3))
async def test_counts_are_those_of_the_open_rows_whatever_happens(nodes, seed):
    """Calls that begin, move to another gateway and end on all nodes at once: no deadlock, no drift."""
    chance = random.Random(seed)
    most = {account: chance.randint(1, 6) for account in range(1, 8)}

    def some() -> list[tuple[int, int]]:
        return [(account, most[account]) for account in chance.sample(sorted(most), chance.randint(1, 4))]

    async def life(store) -> None:
        call = opened(*some())
        inside = await got_in(store, call)
        await pause(chance.random() * 0.01)
        if inside and chance.random() < 0.6:
            with suppress(CallRefused):
                await store.calls.take(call.call_id, [ChannelLimit(*one) for one in some()])
            await pause(chance.random() * 0.01)
        if chance.random() < 0.9:
            store.calls.close(closed(call.call_id))

    for _ in range(5):
        await gatherResults([ensureDeferred(life(chance.choice(nodes))) for _ in range(60)])
        await gatherResults([store.calls.flush() for store in nodes])
        now = await counted(nodes[0])
        assert all(now[account] <= most[account] for account in now)
        for store in nodes:
            for call_id in await open_calls(store):
                store.calls.close(closed(call_id))
        await gatherResults([store.calls.flush() for store in nodes])
        assert await counted(nodes[0]) == {}


async def test_a_node_that_died_holds_no_channels(nodes):
    """Others free them when it is silent for long; its rows stay open until it closes them."""
    one, two, _ = nodes
    call = opened((5, 1))
    assert await got_in(one, call)
    assert not await got_in(two, opened((5, 1)))
    one._tick.stop()  # it says nothing any more
    await two._reports.operate(
        "UPDATE node SET alive_at = now() - interval '10 minutes' WHERE name = %s", (one.node,)
    )
    await two._beat()
    assert await counted(two) == {
        5: 1
    }  # the database may have been away: two itself is heard of for long first
    two._steady_since_s -= 600.0
    await two._beat()
    assert await counted(two) == {}
    assert await got_in(two, opened((5, 1)))
    open_rows = await two._reports.query(
        "SELECT call_id FROM call WHERE end_at IS NULL AND node = %s", (one.node,)
    )
    assert [row[0].replace("-", "") for row in open_rows] == [call.call_id]


async def test_a_restart_frees_the_channels_of_its_orphans(nodes, tmp_path, database_url):
    """What the last run left open is closed, and counts no more."""
    from twisted.internet import reactor

    one, two, _ = nodes
    assert await got_in(one, opened((5, 1)))
    await one.stop()
    assert await counted(two) == {5: 1}
    nodes[0] = Store(DatabaseConfig(url=database_url), tmp_path / "one", reactor, SystemClock())
    await nodes[0].start()
    assert await counted(two) == {}


async def test_many_calls_of_a_dead_node_are_freed_in_portions(nodes):
    """However many one owner has: some at a time, so that nobody waits long for the count."""
    one, two, _ = nodes
    fill = """INSERT INTO call (call_id, node, caller_number, called_number, caller_sip_call_id,
     caller_address, setup_at, channels)
     SELECT gen_random_uuid(), %s, '1', '2', 'c', 'a', now(), ARRAY[5]::bigint[]
     FROM generate_series(1, 1200)"""
    await one._reports.operate(fill, (one.node,))
    assert await counted(two) == {5: 1200}
    first = await two._reports.query(callrows.RELEASE_OWN, {"node": one.node})
    assert len(first) == callrows.RELEASED_MAX
    assert await counted(two) == {5: 700}
    one._tick.stop()
    await two._reports.operate(
        "UPDATE node SET alive_at = now() - interval '10 minutes' WHERE name = %s", (one.node,)
    )
    await two._release()
    assert await counted(two) == {}


async def test_a_limit_of_an_owner_reaches_every_node_at_once(nodes):
    """Whoever is below is looked up anew; so for a group of partners that somebody joins."""
    one, two, _ = nodes
    heard: list[str | None] = []
    two.changes.subscribe("account", heard.append)
    top = await one.accounts.add("top", {}, {"type": 4})
    middle = await one.accounts.add("middle", {}, {"parent_id": top.id})
    await one.accounts.add("alice", {}, {"parent_id": middle.id})
    group = (await one._reports.query("INSERT INTO account_group (kind, name) VALUES (2, 'g') RETURNING id"))[
        0
    ][0]

    async def hears() -> set[str | None]:
        for _ in range(200):
            if "alice" in heard:
                break
            await pause(0.02)
        found = set(heard)
        heard.clear()
        return found

    await hears()
    await one.accounts.change("top", None, {"max_channels": 3})
    assert await hears() >= {"top", "middle", "alice"}
    assert (await two.accounts.find("alice"))[0].limits[0].max_channels == 3
    carrier = await one.accounts.add("carrier", {}, {"type": 8})
    await one.accounts.change("middle", None, {"allowed_partners": f"g{group}"})
    assert await hears() >= {"middle", "alice"}
    assert (await two.accounts.find("alice"))[0].limits[0].partners == frozenset()
    join = "INSERT INTO account_group_member VALUES (%s, %s)"
    await one._reports.operate(join, (group, carrier.id))
    assert await hears() >= {"carrier", "middle", "alice"}
    assert (await two.accounts.find("alice"))[0].limits[0].partners == {carrier.id}
    deep = await one.accounts.add("deep", {}, {"parent_id": (await one.accounts.find("alice"))[0].id})
    assert (await two.accounts.find("deep"))[0].limits == (await two.accounts.find("alice"))[0].limits
    assert deep.owners[-1] == top.id
    await one._reports.operate("DELETE FROM account_group WHERE id = %s", (group,))
    assert await hears() >= {"carrier", "middle", "alice", "deep"}
    assert (await two.accounts.find("deep"))[0].limits[0].partners == frozenset()
