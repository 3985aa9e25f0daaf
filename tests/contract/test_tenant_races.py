"""Accounts are moved to another owner while the old one's operators change them."""

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from mizu.console.commands import command_table
from mizu.errors import MizuError, NotFound
from mizu.model import Operator, Rights
from mizu.testing.console import store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")
FAMILY = (
    "adduser zeta type=reseller rights=admin",
    "adduser acme type=reseller rights=admin",
    "adduser shop type=reseller parent_id=zeta",
    "adduser bob parent_id=shop rights=user",
    "adduser carol parent_id=zeta",
    "adduser basic parent_id=zeta is_template=1",
    "numbers add 3615550100..3615550101 --holder shop",
    "numbers allocate bob 3615550100",
    "group add team users --owner shop",
    "group add mine users --owner zeta",
)
#: What is moved to acme, and what zeta wants just then: whatever a command does with it.
WANTED = (
    ("bob", "set bob country=HU"),
    ("bob", "passwd bob other-secret-1"),
    ("bob", "disable bob"),
    ("bob", "deluser bob"),
    ("bob", "adduser dave parent_id=bob"),
    ("bob", "clone carol dave parent_id=bob"),
    ("bob", "move carol bob"),
    ("bob", "set carol ring_group=bob"),
    ("bob", "numbers free 3615550100"),
    ("bob", "numbers allocate bob 3615550101"),
    ("bob", "group join mine bob"),
    ("bob", "tokens add bob"),
    ("shop", "set bob country=HU"),
    ("shop", "adduser dave parent_id=bob"),
    ("shop", "group set team --note x"),
)
#: Entries of the audit list are what a command writes last, and an import begins with.
LAST = "LOCK TABLE audit IN EXCLUSIVE MODE"
ROW = "SELECT FROM account WHERE username = 'carol' FOR UPDATE"


class Tenants:
    """Zeta and acme, and somebody who moves accounts from one to the other."""

    def __init__(self, store, url: str, data) -> None:
        self.store, self.url = store, url
        self.files = data / "import" / "uploads"
        self.files.mkdir(parents=True)
        self.table = command_table(store_services(store, imports=store.imports))
        self.zeta = STAFF

    async def fill(self):
        for line in FAMILY:
            await self.table.run(line, STAFF)
        number = (await self.store.records.get("zeta", None))["id"]
        self.zeta = Operator("zeta", Rights.ADMIN, "192.0.2.8", scope_account_id=number)
        return self

    async def run(self, line: str, who: Operator):
        return (await self.table.run(line, who)).result

    async def while_moved(self, moved: str, line: str, *, commit: bool = True, lock: str = LAST):
        """
        Zeta's command begins before ``moved`` is acme's, and can end only after.

        :param lock: what it has to wait for.
        """
        from twisted.internet import reactor

        connection = psycopg2.connect(self.url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE account SET parent_id = (SELECT id FROM account WHERE username = 'acme') "
                    "WHERE username = %s",
                    (moved,),
                )
                cursor.execute(lock)
                wanted = ensureDeferred(self.run(line, self.zeta))
                wanted.addErrback(lambda failure: failure.value)
                waits = False
                while not waits and not wanted.called:
                    await deferLater(reactor, 0.01)
                    cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
                    [(waits,)] = cursor.fetchall()
                assert waits
            (connection.commit if commit else connection.rollback)()
        finally:
            connection.close()
        return await wanted

    async def rows(self) -> list[str]:
        """All that these commands could have changed."""
        tables = ("account", "account_group", "account_group_member", "phone_number", "account_address")
        found = []
        for table in (*tables, "operator_token"):
            sql = f"SELECT to_jsonb(t) - '{{changed_at,parent_id,version}}'::text[] FROM {table} t ORDER BY 1"
            found += [f"{table} {row[0]}" for row in await self.store._reports.query(sql)]
        return found


@pytest_twisted.async_fixture
async def tenants(store, database_url, tmp_path):
    """The accounts of these tests."""
    return await Tenants(store, database_url, tmp_path).fill()


@pytest.mark.parametrize(("moved", "line"), WANTED)
async def test_what_is_somebody_elses_meanwhile_is_not_changed(tenants, moved, line):
    """A command that has to wait for the move finds what it would find after it: no such account."""
    before = await tenants.rows()
    answer = await tenants.while_moved(moved, line)
    assert isinstance(answer, NotFound), answer
    assert await tenants.rows() == before
    with pytest.raises(NotFound):
        await tenants.run("get bob", tenants.zeta)


@pytest.mark.parametrize(
    ("moved", "line"), [("bob", "set carol country=HU"), ("carol", "set bob country=HU")]
)
async def test_what_stayed_is_changed_once(tenants, moved, line):
    """Something else left: the command begins anew, and is done and noted once."""
    assert not isinstance(await tenants.while_moved(moved, line), Exception)
    who = line.split()[1]
    assert (await tenants.store.records.get(who, None))["country"] == "HU"
    entries = await tenants.store._reports.query(
        "SELECT outcome FROM audit WHERE line LIKE %s", (line.rsplit("=", 1)[0] + "%",)
    )
    assert entries == [("ok",)]


async def test_a_move_that_is_undone_changes_nothing(tenants):
    """Whoever moved it thought better of it."""
    answer = await tenants.while_moved("bob", "set bob country=HU", commit=False)
    assert not isinstance(answer, MizuError), answer
    assert (await tenants.store.records.get("bob", None))["country"] == "HU"


@pytest.mark.parametrize("options", [("--update",), ("--update", "--whole")])
async def test_an_import_changes_what_is_still_theirs(tenants, options):
    """Line by line: the account that left is none; all or none: nothing at all."""
    name = f"{1:032x}.csv"
    (tenants.files / name).write_text("username,country\ncarol,HU\nbob,HU\n", encoding="utf-8")
    line = f"import uploads/{name}:my.csv {' '.join(options)}"
    done = (await tenants.while_moved("shop", line, lock=ROW))["import"]
    countries = [(await tenants.store.records.get(who, None))["country"] for who in ("carol", "bob")]
    if "--whole" in options:
        assert (done["state"], done["added"], done["changed"]) == ("failed", 0, 0)
        assert "meanwhile" in done["error"]
        assert countries == ["", ""]
    else:
        assert (done["state"], done["changed"], done["bad"]) == ("done", 1, 1)
        assert [one["line"] for one in done["problems"]] == [3]
        assert countries == ["HU", ""]


async def test_who_moves_inside_their_own_accounts_disturbs_nobody(tenants):
    """A move is noted for those alone who lose the account."""
    await tenants.run("move bob carol", tenants.zeta)
    await tenants.run("move bob acme", STAFF)
    rows = await tenants.store._reports.query(
        "SELECT a.username FROM account_left l JOIN account a ON a.id = l.account_id ORDER BY 1"
    )
    assert [row[0] for row in rows] == ["carol", "shop", "zeta"]
