"""A change in the database and its entry in the audit list are one: both are there, or neither is."""

import json

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from mizu.console.commands import command_table
from mizu.errors import Forbidden, MizuError, NotFound, StoreBusy
from mizu.model import AuditEntry, Change, Operator, Rights
from mizu.testing.console import store_services

ROOT = Operator("root", Rights.GENERAL_ADMIN, "192.0.2.7")
#: One line for each command whose change and entry are one transaction, in an order in which they work.
LINES = (
    "adduser shop type=reseller rights=admin",
    "adduser 1001 parent_id=shop",
    "clone 1001 1002",
    "passwd 1001 'open sesame'",
    "set 1001 max_channels=2",
    "move 1002 -",
    "disable 1002",
    "enable 1002",
    "deluser 1002",
    "addresses add 1001 192.0.2.9",
    "addresses del 1001 192.0.2.9",
    "group add sales",
    "group set sales --note x --owner shop",
    "group join sales 1001",
    "group leave sales 1001",
    "group del sales",
    "numbers add 3611..3612",
    "numbers set 3611 --note x --holder shop",
    "numbers allocate 1001 3611",
    "numbers free 3611",
    "numbers del 3611",
    "adduser carrier type=sip_server",
    "sipaccounts add carrier line1 secret",
    "sipaccounts set 1 Priority=3",
    "sipaccounts passwd 1 other",
    "sipaccounts del 1",
    "options set maxresellers 5",
    "options reset maxresellers",
    "tokens add shop",
    "tokens revoke 1",
)


class Office:
    """Every command over the real store, and the tables behind it."""

    def __init__(self, store, url):
        self.store, self.url = store, url
        self.table = command_table(store_services(store))

    async def run(self, line, who=ROOT):
        return await self.table.run(line, who)

    async def rows(self, sql, *values):
        return await self.store._reports.query(sql, values)

    async def entries(self, reader=ROOT, **more):
        known = {"limit": 100, "before": None, "who": "", "about": "", **more}
        return list(await self.store.audit.list(operator=reader, **known))

    async def limited(self, username):
        """An operator who is limited to that account."""
        number = (await self.store.records.get(username, None))["id"]
        return Operator(username, Rights.ADMIN, "192.0.2.8", scope_account_id=number)

    def besides(self):
        """Another connection to the database, which blocks."""
        link = psycopg2.connect(self.url)
        link.autocommit = True
        return link


@pytest.fixture
def office(store, database_url):
    return Office(store, database_url)


def test_every_atomic_command_is_in_the_table_above(office):
    """So that none is forgotten."""
    tried = {office.table.parse(line)[0].name for line in LINES}
    assert tried == {command.name for command in office.table if command.atomic}


@pytest.mark.limit(30)
async def test_the_transaction_that_changes_is_the_one_that_notes(office):
    """For every such command: the number of the transaction on the entry is that of the rows it changed."""
    changed = """SELECT count(*) FROM (SELECT xid::text::bigint AS x FROM change
 UNION ALL SELECT xmin::text::bigint FROM operator_token) c
 WHERE c.x = (SELECT xmin::text::bigint FROM audit WHERE id = %s)"""
    for line in LINES:
        before = len(await office.entries())
        await office.run(line)
        entry, *others = await office.entries()
        assert len(others) == before, line
        assert (entry.outcome, entry.who, entry.source) == ("ok", "root", "192.0.2.7")
        assert entry.changes, line
        assert entry.ended_at is not None
        assert (await office.rows(changed, entry.id))[0][0], line


async def test_what_the_database_refuses_at_the_end_is_not_noted_as_done(office):
    """The commit fails after the entry was inserted: neither is there, but an entry with the error."""
    await office.run("adduser 1001")
    with office.besides() as link, link.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';"
            "CREATE CONSTRAINT TRIGGER no AFTER UPDATE ON account DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION no()"
        )
    link.close()
    with pytest.raises(StoreBusy):
        await office.run("set 1001 max_channels=7")
    assert (await office.store.records.get("1001", None))["max_channels"] == 0
    failed, made = await office.entries()
    assert (failed.command, failed.outcome, failed.changes) == ("set", "store_busy", [])
    assert (made.command, made.outcome) == ("adduser", "ok")


async def test_without_the_entry_there_is_no_change(office):
    """The audit list cannot be written: the change that was made before in the transaction goes with it."""
    await office.run("adduser 1001")
    link = office.besides()
    with link.cursor() as cursor:
        cursor.execute("ALTER TABLE audit ADD CONSTRAINT none CHECK (command <> 'set' OR outcome <> 'ok')")
    link.close()
    with pytest.raises(psycopg2.IntegrityError):
        await office.run("set 1001 max_channels=7")
    record = await office.store.records.get("1001", None)
    assert (record["max_channels"], record["version"]) == (0, 1)


async def test_a_connection_killed_between_change_and_entry_leaves_neither(office):
    """The change is made, the entry waits for a lock, the connection is gone: nothing of it is there."""
    from twisted.internet import reactor

    await office.run("adduser 1001")
    locking, killing = office.besides(), office.besides()
    locking.autocommit = False
    with locking.cursor() as lock, killing.cursor() as kill:
        lock.execute("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
        running = ensureDeferred(office.table.answer("set 1001 max_channels=7", ROOT))
        killed = False
        while not killed:
            await deferLater(reactor, 0.005, lambda: None)
            kill.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND query LIKE '%INSERT INTO audit%' AND pid <> pg_backend_pid()"
            )
            killed = bool(kill.fetchall())
    locking.close()
    killing.close()
    status, answer = await running
    assert (status, answer["error"]) == (503, "store_busy")
    record = await office.store.records.get("1001", None)
    assert (record["max_channels"], record["version"]) == (0, 1)
    assert [(one.command, one.outcome) for one in await office.entries()][-1] == ("adduser", "ok")
    assert not [one for one in await office.entries() if one.command == "set" and one.outcome == "ok"]


async def test_what_is_refused_or_fails_is_noted_as_such_without_changes(office):
    """One rule for all: an entry with the error's code."""
    await office.run("adduser 1001")
    for line, kind, outcome in (
        ("set 1002 max_channels=1", NotFound, "not_found"),
        ("set 1001 max_channels=1 --version 9", MizuError, "stale"),
        ("adduser 1001", MizuError, "conflict"),
        ("options set maxresellers 5 --version 3", MizuError, "stale"),
    ):
        with pytest.raises(kind):
            await office.run(line)
        entry = (await office.entries())[0]
        assert (entry.line, entry.outcome, entry.changes) == (line, outcome, [])
    with pytest.raises(Forbidden):
        await office.run("options set maxresellers 5", Operator("bob", Rights.SALES))
    assert (await office.entries())[0].outcome == "forbidden"


# ---------------------------------------------------------------- what operators with a limited reach see


@pytest_twisted.async_fixture
async def family(office):
    """Two resellers below an owner, a phone each."""
    for line in (
        "adduser top type=owner rights=admin",
        "adduser shop type=reseller rights=admin parent_id=top",
        "adduser rival type=reseller rights=admin parent_id=top",
        "adduser shop1 parent_id=shop",
        "adduser rival1 parent_id=rival",
    ):
        await office.run(line)
    return {name: await office.limited(name) for name in ("top", "shop", "rival", "shop1")}


def told(entries):
    return [(one.who, one.line, [(c["topic"], c["key"]) for c in one.changes]) for one in entries]


async def test_a_reseller_sees_what_others_did_to_his_accounts(office, family):
    """Whoever it was: of staff and of owners above only that it was an operator, and what was changed."""
    await office.run("set shop1 display_name=Till")
    await office.run("set shop1 max_channels=3", family["top"])
    await office.run("set rival1 display_name=secret", family["top"])
    await office.run("set shop1 display_name=Desk", family["shop"])
    seen = await office.entries(family["shop"])
    assert told(seen[:3]) == [
        ("shop", "set shop1 display_name=Desk", [("account", "shop1")]),
        ("operator", "set", [("account", "shop1")]),
        ("operator", "set", [("account", "shop1")]),
    ]
    assert seen[1].changes[0]["after"] == {"max_channels": 3}
    assert {(one.source, one.node, one.token_id) for one in seen if one.who == "operator"} == {("", "", None)}
    assert (seen[3].command, seen[3].changes[0]["key"]) == ("adduser", "shop1")
    assert "rival" not in json.dumps([one.changes for one in seen])
    assert "root" not in repr(seen)
    owner = await office.entries(family["top"])
    assert {one.who for one in owner} == {"top", "shop", "operator"}
    assert [one.line for one in owner if one.who == "top"] == [
        "set rival1 display_name=secret",
        "set shop1 max_channels=3",
    ]


async def test_of_a_change_of_many_each_owner_sees_his_part(office, family):
    """One entry about accounts of both: neither learns of the other's."""
    changes = [
        Change("account", "shop1", None, {"password": "***"}, ("shop1",)),
        Change("account", "rival1", None, {"billing_account_id": 4}, (family["rival"].scope_account_id,)),
        Change("option", "x", None, {}),
    ]
    await office.store.audit.keep(AuditEntry(ROOT, "both", "both shop1 rival1", "ok"), changes)
    for name, mine in (("shop", "shop1"), ("rival", "rival1")):
        entry = (await office.entries(family[name]))[0]
        assert told([entry]) == [("operator", "both", [("account", mine)])]
    assert entry.changes[0]["after"] == {"billing_account_id": None}
    assert [one["key"] for one in (await office.entries(family["top"]))[0].changes] == ["shop1", "rival1"]
    assert len((await office.entries())[0].changes) == 3


async def test_a_number_is_the_matter_of_who_has_it(office, family):
    """Who holds it sees it come; given to somebody else, it is not his any more."""
    await office.run("numbers add 3611..3612 --holder shop")
    await office.run("numbers allocate rival1 3611")
    assert (await office.entries(family["shop"]))[0].command == "numbers add"
    given = (await office.entries(family["rival"]))[0]
    assert (given.command, given.changes[0]["after"]) == ("numbers allocate", {"account": "rival1"})


async def test_a_move_is_seen_by_both_sides_and_names_neither_to_the_other(office, family):
    """The old owner and the new one; what happened before stays with the old, what comes is the new one's."""
    await office.run("set shop1 display_name=Before")
    await office.run("move shop1 rival")
    await office.run("set shop1 display_name=After")
    old, new = [await office.entries(family[name]) for name in ("shop", "rival")]
    assert [one.command for one in old][:2] == ["move", "set"]
    assert old[0].changes[0]["after"] == {"parent_id": None}
    assert old[0].changes[0]["before"] == {"parent_id": family["shop"].scope_account_id}
    assert [one.command for one in new][:2] == ["set", "move"]
    assert new[1].changes[0]["before"] == {"parent_id": None}
    assert [one.command for one in new][2:] == ["adduser"]  # of his own phone
    assert "After" not in repr(old)


async def test_a_deleted_account_stays_in_its_owners_list(office, family):
    """That it was deleted, and all from before."""
    await office.run("deluser shop1")
    seen = await office.entries(family["shop"])
    assert [(one.command, one.changes[0]["key"]) for one in seen] == [
        ("deluser", "shop1"),
        ("adduser", "shop1"),
    ]


async def test_the_filters_know_no_more_than_the_list(office, family):
    """Neither by the name of an operator outside, nor by an object of others, is anything found."""
    await office.run("set shop1 display_name=Till")
    await office.run("set rival1 display_name=secret")
    shop = family["shop"]
    assert await office.entries(shop, who="root") == []
    assert len(await office.entries(shop, who="operator")) == len(await office.entries(shop))
    assert await office.entries(shop, about="account:rival1") == []
    assert [one.command for one in await office.entries(shop, about="account:shop1")] == ["set", "adduser"]


@pytest.mark.parametrize("name", ["top", "shop", "rival", "shop1", None])
async def test_pages_together_are_the_whole(office, family, name):
    """Whatever the reader sees, page by page he sees it once."""
    who = family[name] if name else ROOT
    for number in range(4):
        await office.run(f"set shop1 max_channels={number}")
        await office.run(f"set rival1 max_channels={number}", family["rival"])
    whole, walked, before = await office.entries(who), [], None
    while page := await office.entries(who, limit=2, before=before):
        walked += page
        before = page[-1].id
    assert walked == whole
