"""The database itself keeps the ownership tree a tree: no circle, no depth over maxresellers, by no race."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.task import deferLater

from mizu.accounts.records import NewAccount
from mizu.errors import Conflict, MizuError
from mizu.store.postgres import IntegrityError, Link

ISOLATIONS = ("read committed", "repeatable read", "serializable")


@pytest_twisted.async_yield_fixture
async def links(store):
    """Two connections of their own, for transactions that overlap."""
    from twisted.internet import reactor

    links = [Link(reactor, store._where, settings={"lock_timeout": "5000"}, answer_max_s=10) for _ in "ab"]
    for link in links:
        await link.open()
    yield links
    for link in links:
        link.stop()


async def parents(store) -> dict[str, str | None]:
    """Username of each account's owner."""
    rows = await store._reports.query(
        "SELECT a.username, p.username FROM account a LEFT JOIN account p ON p.id = a.parent_id"
    )
    return dict(rows)


async def make(store, *names: str, below: str | None = None) -> dict[str, int]:
    new = [NewAccount(name, {}, {"parent_id": below, "type": 4}) for name in names]
    return {one["username"]: one["id"] for one in await store.records.add(new, None, "tester")}


async def each_points_at_the_other(links, isolation: str, column: str, one: int, other: int):
    """Two changes of a column that together make a circle, begun before either commits."""
    begun: list[Deferred[None]] = [Deferred(), Deferred()]

    def change(number: int, account: int, points_at: int):
        async def work(cursor):
            await cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
            await cursor.execute("SELECT count(*) FROM account")  # the snapshot is taken
            begun[number].callback(None)
            await DeferredList(begun)
            await cursor.execute(f"UPDATE account SET {column} = %s WHERE id = %s", (points_at, account))
            await deferLater(links[number]._reactor, 0.05)

        return links[number].transact(work)

    return await DeferredList([change(0, one, other), change(1, other, one)], consumeErrors=True)


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_two_moves_that_together_make_a_circle_do_not_both_commit(store, links, isolation):
    """
    a below b and b below a, begun before either commits. At a level of isolation that looks at an old
    snapshot neither goes through.
    """
    ids = await make(store, "a", "b")
    done = await each_points_at_the_other(links, isolation, "parent_id", ids["a"], ids["b"])
    assert sorted(good for good, _ in done) == [False, isolation == "read committed"]
    assert all(good or isinstance(result.value, IntegrityError | MizuError) for good, result in done)
    assert None in (await parents(store)).values()


async def test_a_ring_of_moves_at_once_leaves_a_tree(store):
    """Ten accounts, each moved below the next at the same time: one is refused at least."""
    names = [f"r{n}" for n in range(10)]
    await make(store, *names)
    moves = [
        store.records.change(name, {"parent_id": names[(n + 1) % 10]}, None) for n, name in enumerate(names)
    ]
    done = await DeferredList([ensureDeferred(_quiet(move)) for move in moves])
    assert not all(result for _, result in done)
    tree = await parents(store)
    for name in names:
        above, steps = name, 0
        while tree[above] is not None:
            above, steps = tree[above], steps + 1
            assert steps <= 10, tree


async def _quiet(move) -> bool:
    try:
        await move
    except MizuError:
        return False
    return True


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_two_moves_that_together_are_too_deep_do_not_both_commit(store, links, isolation):
    """One chain is hung below another while that one is hung below a third."""
    await store._reports.operate("INSERT INTO option (name, value) VALUES ('maxresellers', '3')")
    ids = await make(store, "a", "b", "c")
    ids |= await make(store, "a1", below="a")
    ids |= await make(store, "b1", below="b")
    ids |= await make(store, "c1", below="c")
    begun: list[Deferred[None]] = [Deferred(), Deferred()]

    def move(number: int, account: str, parent: str):
        async def work(cursor):
            await cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
            await cursor.execute("SELECT count(*) FROM account")
            begun[number].callback(None)
            await DeferredList(begun)
            await cursor.execute(
                "UPDATE account SET parent_id = %s WHERE id = %s", (ids[parent], ids[account])
            )

        return links[number].transact(work)

    # c below b1, and b below a1: each has 3 levels, both together 5
    done = await DeferredList([move(0, "c", "b1"), move(1, "b", "a1")], consumeErrors=True)
    assert sum(good for good, _ in done) <= 1
    depths = [len(await store.records.chain(name, None)) - 1 for name in ("a1", "b1", "c1")]
    assert max(depths) <= 3


async def test_the_depth_follows_the_option(store):
    """What is there stays when the option is lowered; nothing new goes below it."""
    below = None
    for n in range(6):
        await make(store, f"d{n}", below=below)
        below = f"d{n}"
    await store._reports.operate("INSERT INTO option (name, value) VALUES ('maxresellers', '3')")
    with pytest.raises(Conflict, match="maxresellers"):
        await make(store, "new", below="d5")
    with pytest.raises(Conflict, match="maxresellers"):
        await make(store, "new", below="d3")
    await make(store, "new", below="d2")
    await store.records.change("d5", {"display_name": "still changed"}, None)


async def test_sql_from_elsewhere_cannot_make_a_circle_either(store):
    """The rule is the database's: a hand-written UPDATE is refused too."""
    ids = await make(store, "a")
    ids |= await make(store, "b", below="a")
    for parent in ("a", "b"):
        with pytest.raises(IntegrityError):
            await store._reports.operate(
                "UPDATE account SET parent_id = %s WHERE id = %s", (ids[parent], ids["a"])
            )


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_two_changes_that_together_make_a_circle_of_payers_do_not_both_commit(store, links, isolation):
    """a pays for b and b for a, begun before either commits."""
    ids = await make(store, "a", "b")
    done = await each_points_at_the_other(links, isolation, "billing_account_id", ids["a"], ids["b"])
    assert sorted(good for good, _ in done) == [False, isolation == "read committed"]


async def test_payers_end_somewhere(store):
    """No account pays for itself by way of others; a chain of payers is fine; itself is none."""
    await make(store, "a", "b", "c")
    for account, payer in (("a", "b"), ("b", "c")):
        await store.records.change(account, {"billing_account_id": payer}, None)
    for account, payer in (("c", "a"), ("c", "b")):
        with pytest.raises(Conflict, match="pay for each other in a circle"):
            await store.records.change(account, {"billing_account_id": payer}, None)
    _, itself = await store.records.change("c", {"billing_account_id": "c"}, None)
    assert itself["billing_account_id"] is None
    await store.records.change("b", {"billing_account_id": None}, None)
    await store.records.change("c", {"billing_account_id": "a"}, None)


async def test_a_circle_of_payers_from_before_can_be_opened(store):
    """What an older version let in is walked to no endless loop, and its accounts can be changed."""
    ids = await make(store, "a", "b", "c")
    await store._reports.operate("ALTER TABLE account DISABLE TRIGGER account_other_payer")
    for account, payer in (("a", "b"), ("b", "a")):
        await store._reports.operate(
            "UPDATE account SET billing_account_id = %s WHERE id = %s", (ids[payer], ids[account])
        )
    await store._reports.operate("ALTER TABLE account ENABLE TRIGGER account_other_payer")
    await store.records.change("c", {"billing_account_id": "a"}, None)
    await store.records.change("a", {"display_name": "still changed"}, None)
    await store.records.change("a", {"billing_account_id": None}, None)


@pytest.mark.parametrize("field", ["enabled", "suspended", "is_template"])
async def test_what_stops_an_owner_stops_a_whole_branch(store, field):
    """Four levels below, and lets them go again; a template stops only itself."""
    below = None
    for n in range(5):
        await make(store, f"s{n}", below=below)
        below = f"s{n}"
    await store.records.change("s0", {field: field != "enabled"}, None)
    stopped = [not (await store.accounts.find(f"s{n}"))[0].enabled for n in range(5)]
    assert stopped == ([True] * 5 if field != "is_template" else [True, False, False, False, False])
    await store.records.change("s0", {field: field == "enabled"}, None)
    assert all([(await store.accounts.find(f"s{n}"))[0].enabled for n in range(5)])
