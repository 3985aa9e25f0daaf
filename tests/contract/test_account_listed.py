"""A group or an account goes that lists of other accounts name: nothing opens or closes without a word."""

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from mizu.console.commands import command_table
from mizu.errors import Conflict, NotFound
from mizu.model import Operator, Rights
from mizu.store.ties import _NAMING
from mizu.testing.console import store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")
LINES = (
    "adduser acme type=reseller",
    "adduser zeta type=reseller",
    "adduser a1 parent_id=acme",
    "adduser a2 parent_id=acme",
    "adduser z1 parent_id=zeta",
    "group add ours --owner acme",
    "group join ours a2",
)


class Console:
    """Commands on a real store."""

    def __init__(self, store, data) -> None:
        self.store = store
        self.table = command_table(store_services(store, imports=store.imports))
        self.acme = STAFF

    async def __call__(self, line: str, who: Operator = STAFF):
        return (await self.table.run(line, who)).result

    async def refused(self, line: str, who: Operator = STAFF) -> str:
        with pytest.raises(Conflict) as caught:
            await self(line, who)
        return str(caught.value)


@pytest_twisted.async_fixture
async def console(store, tmp_path):
    console = Console(store, tmp_path)
    for line in LINES:
        await console(line)
    number = (await store.records.get("acme", None))["id"]
    console.acme = Operator("acme", Rights.ADMIN, "192.0.2.8", scope_account_id=number)
    return console


@pytest.mark.parametrize("field", ["allowed_partners", "partner_priority", "ring_group"])
async def test_a_group_in_use_stays(console, field):
    """Who names it is said, those of others by their number only; when nobody does any more, it goes."""
    await console(f"set a1 {field}=z1,@ours")
    await console(f"set z1 {field}=@ours")
    assert f"{field} of a1, {field} of z1" in await console.refused("group del ours")
    said = await console.refused("group del ours", console.acme)
    assert f"'set' first: {field} of a1, 1 that you do not see" in said
    assert (await console("group members ours"))["members"] == ["a2"]
    await console(f"set a1 {field}=z1")
    await console(f"set z1 {field}=")
    await console("group del ours", console.acme)


async def test_ids_that_look_alike_are_not_taken_for_it(console):
    """An account of the same id, a group whose id begins alike, all partners and none."""
    for n in range(12):
        await console(f"group add g{n}")
    number = (await console.store.groups.get("ours", None)).id
    others = [f"@g{n}" for n in range(12)]
    await console(f"set a1 ring_group={','.join(others)},#{number} allowed_partners=*")
    await console("set a2 allowed_partners=-")
    await console("group del ours")


async def test_a_deleted_account_in_lists_is_said(console):
    """It is deleted; whose lists name it is said, those of others by their number only."""
    await console("set a1 ring_group=a2,z1 allowed_partners=a2")
    await console("set z1 ring_group=a2")
    [warning] = (await console("deluser a2", console.acme))["warnings"]
    assert warning.startswith(
        "a2 is still in allowed_partners of a1, ring_group of a1, 1 that you do not see"
    )
    assert (await console.store.records.get("a1", None))["allowed_partners"] not in ("", "*")
    assert (await console("deluser a1"))["warnings"] == []


@pytest.mark.parametrize("first", ["group del ours", "set a1 ring_group=@ours"])
async def test_both_at_once(console, database_url, first):
    """One deletes the group, the other names it: whoever comes second is told."""
    other = {"group del ours": "set a1 ring_group=@ours", "set a1 ring_group=@ours": "group del ours"}[first]
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE audit IN EXCLUSIVE MODE")
            running = [ensureDeferred(console(first))]
            await waiting(cursor, 1)
            running.append(ensureDeferred(console(other)))
            for one in running:
                one.addErrback(lambda failure: failure.value)
            await waiting(cursor, 2)
        connection.rollback()
    finally:
        connection.close()
    done = [await one for one in running]
    assert not isinstance(done[0], Exception)
    assert isinstance(done[1], NotFound if first.startswith("group") else Conflict)


async def waiting(cursor, count: int) -> None:
    """Until so many wait for a lock."""
    from twisted.internet import reactor

    found = 0
    while found < count:
        await deferLater(reactor, 0.01)
        cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
        [(found,)] = cursor.fetchall()


async def test_it_is_found_by_an_index(console):
    """However many accounts there are."""
    await console.store._reports.operate(
        "INSERT INTO account (username, ring_group) "
        "SELECT 'n' || n, CASE WHEN n % 50 = 0 THEN '99' ELSE '' END FROM generate_series(1, 20000) n"
    )
    await console.store._reports.operate("ANALYZE account")
    rows = await console.store._reports.query("EXPLAIN " + _NAMING, {"item": "g5", "scope": None})
    assert any("account_listed" in row[0] for row in rows), rows
