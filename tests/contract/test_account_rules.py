"""Rules for accounts that the database keeps by itself, and every way to it with the same words."""

import re
import shlex
from dataclasses import replace

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from mizu.accounts.usernames import is_username
from mizu.console.commands import command_table
from mizu.errors import BadRequest, Conflict, Forbidden, MizuError, NotFound
from mizu.model import Operator, Rights
from mizu.store.migrate import migrations
from mizu.testing.console import FakeConsole

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")
NAMES = (
    "#5",
    "-",
    "*",
    "a@b",
    "x:y",
    "a,b",
    "a/b",
    "<b>",
    "a b",
    "a=b",
    "josé",
    "a" * 65,
    "*21#",
    "+361",
    "a" * 64,
)


class Console:
    """Commands on a real store."""

    def __init__(self, store, data) -> None:
        self.store = store
        self.files = data / "import"
        self.files.mkdir(exist_ok=True)
        services = replace(
            FakeConsole().services,
            accounts=store.accounts,
            records=store.records,
            groups=store.groups,
            numbers=store.numbers,
            addresses=store.addresses,
            sip_accounts=store.sip_accounts,
            imports=store.imports,
            tokens=None,
            audit=store.audit,
        )
        self.table = command_table(services)

    async def __call__(self, *words: str, who: Operator = STAFF):
        return (await self.table.run(shlex.join(words), who)).result

    async def lines(self, *words: str, who: Operator = STAFF) -> list[str]:
        """What people see."""
        return list((await self.table.run(shlex.join(words), who)).lines)

    async def refused(self, kind: type[MizuError], *words: str, who: Operator = STAFF) -> str:
        with pytest.raises(kind) as caught:
            await self(*words, who=who)
        return str(caught.value)

    async def load(self, text: str, *options: str, who: Operator = STAFF):
        """Import this text."""
        (self.files / "a.csv").write_text(text, encoding="utf-8")
        return (await self("import", "a.csv", *options, who=who))["import"]

    def reseller(self, name: str, number: int) -> Operator:
        """An operator limited to that account."""
        return Operator(name, Rights.GENERAL_ADMIN, "127.0.0.1", number)


@pytest_twisted.async_fixture
async def console(store, tmp_path):
    """What these tests use."""
    return Console(store, tmp_path)


def direct(url: str, sql: str, *params: object) -> None:
    """As somebody with psql would."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, params)
    finally:
        connection.close()


async def one_is_refused(console, orders) -> None:
    """Of two commands given at once, whichever is later."""
    done = await DeferredList(
        [Deferred.fromCoroutine(console(*words)) for words in orders], consumeErrors=True
    )
    assert sorted(good for good, _ in done) == [False, True]
    assert isinstance(next(result for good, result in done if not good).value, Conflict)


# ------------------------------------------------------------------ usernames


async def test_no_account_is_called_what_means_another(console):
    """``deluser '#5'`` deletes the account of id 5, so none is called ``#5``, whatever way it comes."""
    await console("adduser", "alice")
    assert "letters, digits" in await console.refused(BadRequest, "adduser", "#5")
    assert "letters, digits" in await console.refused(BadRequest, "clone", "alice", "#5")
    done = await console.load('username\n#5\na@b\nx:y\n-\n<b>\n"a,b"\n' + "a" * 65 + "\nbob\n")
    assert (done["added"], done["bad"]) == (1, 7)
    assert {one["column"] for one in done["problems"]} == {"username"}
    assert "letters, digits" in done["problems"][0]["text"]
    with pytest.raises(BadRequest, match="letters, digits"):
        await console.store.accounts.add("#5", {}, {})


@pytest.mark.parametrize("name", NAMES)
async def test_the_database_has_the_same_rule(store, database_url, name):
    """What is written past the server is held to the same rule, as a new row and as a new name."""
    if is_username(name):
        direct(database_url, "INSERT INTO account (username) VALUES (%s)", name)
        return
    with pytest.raises(psycopg2.errors.CheckViolation, match="no account may be called"):
        direct(database_url, "INSERT INTO account (username) VALUES (%s)", name)
    direct(database_url, "INSERT INTO account (username) VALUES ('alice')")
    with pytest.raises(psycopg2.errors.CheckViolation, match="no account may be called"):
        direct(database_url, "UPDATE account SET username = %s", name)


async def test_accounts_of_old_names_go_on(console, database_url):
    """A name from before the rule stays usable: such an account is changed and deleted, by its id too."""
    direct(
        database_url,
        "ALTER TABLE account DISABLE TRIGGER account_new_username;"
        "INSERT INTO account (username) VALUES ('a@b'), ('#5');"
        "ALTER TABLE account ENABLE TRIGGER account_new_username",
    )
    await console("set", "a@b", "max_channels=2")
    number = next(one["id"] for one in (await console("users"))["users"] if one["username"] == "#5")
    await console("set", f"#{number}", "max_channels=2")
    await console("deluser", f"#{number}")
    await console("deluser", "a@b")


async def test_warnings_of_the_server_are_not_lost(store):
    """What a migration warns of can be logged: it is kept until it is asked for, once."""
    link = store._reports.links[0]
    await link.operate("DO $$ BEGIN RAISE WARNING 'mind this'; END $$")
    assert [text.splitlines()[0] for text in link.notices()] == ["WARNING:  mind this"]
    assert link.notices() == []


# ------------------------------------------------------------------ phone numbers


async def owner(console, number: str) -> str:
    return (await console("numbers", "get", number))["number"]["account"]


async def test_a_number_has_one_owner(console):
    """What is allocated to one account is the phone number of no other, whichever way it is tried."""
    for name in ("alice", "bob"):
        await console("adduser", name)
    await console("numbers", "add", "3610..3615")
    await console("numbers", "allocate", "bob", "3610")
    for word in ("3610", "+3610", "36-10"):
        assert "another account" in await console.refused(Conflict, "set", "alice", f"TelNumber={word}")
    assert "another account" in await console.refused(Conflict, "adduser", "carol", "phone_number=3610")
    done = await console.load("username,phone_number\ndave,+3610\nerin,3611\n")
    assert [(one["line"], one["column"]) for one in done["problems"]] == [(2, "phone_number")]
    await console("set", "bob", "phone_number=+3610")
    assert (await console("get", "bob", "phone_number"))["fields"] == {"phone_number": "3610"}
    assert [await owner(console, "3610"), await owner(console, "3611")] == ["bob", "erin"]
    assert "belongs to erin" in await console.refused(Conflict, "numbers", "allocate", "alice", "3611")


async def test_a_free_number_is_allocated_by_setting_it(console):
    """It stays the account's until ``numbers free``, which does not take the number in use."""
    await console("adduser", "alice")
    await console("numbers", "add", "3610..3611")
    free = (await console("numbers", "get", "3610"))["number"]["version"]
    await console("set", "alice", "phone_number=3610")
    assert (await console("numbers", "get", "3610"))["number"]["version"] > free
    assert "phone_number of alice" in await console.refused(Conflict, "numbers", "free", "3610")
    await console("set", "alice", "phone_number=3611")
    assert (await console("describe", "alice"))["numbers"] == ["3610", "3611"]
    assert "allocated phone numbers: 3610, 3611" in await console.lines("describe", "alice")
    await console("numbers", "free", "3610")
    assert (await console("describe", "alice"))["numbers"] == ["3611"]
    await console("deluser", "alice")
    assert await owner(console, "3611") == ""


async def test_a_number_entered_later_is_its_owners(console):
    """A phone number that an account has already is never free in the table."""
    await console("adduser", "alice", "phone_number=+3610")
    await console("adduser", "bob")
    await console("numbers", "add", "3609..3611")
    assert await owner(console, "3610") == "alice"
    assert (await console("numbers", "allocate", "bob", "360*"))["number"]["number"] == "3609"
    assert (await console("numbers", "allocate", "bob", "361*"))["number"]["number"] == "3611"


async def test_resellers_set_the_numbers_that_are_theirs_to_give(console):
    """A number of somebody else, or of nobody, is no number to a reseller: by command and by import."""
    await console("adduser", "mine", "type=reseller")
    await console("adduser", "phone", "parent_id=mine", "phone_number=3699")
    await console("numbers", "add", "3610..3611", "--holder", "mine")
    await console("numbers", "add", "3620")
    reseller = console.reseller("mine", (await console("get", "mine", "id"))["fields"]["id"])
    for number in ("3620", "3630"):
        await console.refused(NotFound, "set", "phone", f"phone_number={number}", who=reseller)
        await console.refused(NotFound, "adduser", "new", f"phone_number={number}", who=reseller)
    await console("set", "phone", "phone_number=3699", "country=HU", who=reseller)
    await console("set", "phone", "phone_number=3610", who=reseller)
    await console("adduser", "new", "phone_number=3611", who=reseller)
    await console.refused(Conflict, "set", "new", "phone_number=3610", who=reseller)


@pytest.mark.parametrize("first", ["set", "allocate"])
async def test_who_sets_and_who_allocates_at_once_do_not_both_get_it(console, first):
    """One of them is refused, whoever comes first."""
    for name in ("alice", "bob"):
        await console("adduser", name)
    for number in range(3610, 3630):
        await console("numbers", "add", str(number))
        orders = [("set", "alice", f"phone_number={number}"), ("numbers", "allocate", "bob", str(number))]
        if first == "allocate":
            orders.reverse()
        await one_is_refused(console, orders)
        holder, alice = await owner(console, str(number)), await console("get", "alice", "phone_number")
        assert (holder == "alice") == (alice["fields"]["phone_number"] == str(number))


async def test_who_sets_and_who_enters_at_once_know_of_each_other(console):
    """The number belongs to the account, whichever is first."""
    await console("adduser", "alice")
    for number in map(str, range(3610, 3630)):
        await gatherResults(
            [
                Deferred.fromCoroutine(console("set", "alice", f"phone_number={number}")),
                Deferred.fromCoroutine(console("numbers", "add", number)),
            ]
        )
        assert await owner(console, number) == "alice"


# ------------------------------------------------------------------ usernames that are numbers


async def account_id(console, name: str) -> int:
    return (await console("get", name, "id"))["fields"]["id"]


async def test_nobody_is_called_by_the_number_of_another(console):
    """
    A username comes first when somebody calls, so no account may be called by a number that another one has:
    not by a reseller, nor by the administrator, in a file or one by one; with or without a plus sign.
    """
    await console("adduser", "alice", "phone_number=*3610")
    await console("adduser", "bob")
    await console("numbers", "add", "3620..3629")
    await console("numbers", "allocate", "bob", "3620")
    for number in ("*3610", "+3620", "3620"):
        said = await console.refused(Conflict, "adduser", number)
        assert "number of another account" in said
        assert "alice" not in said
        assert "bob" not in said
    done = await console.load("username\n3620\n3699\n")
    assert [(one["line"], one["column"]) for one in done["problems"]] == [(2, "username")]
    assert done["added"] == 1
    assert "username" in await console.refused(Conflict, "set", "bob", "phone_number=3699")
    assert "username" in await console.refused(Conflict, "adduser", "carol", "phone_number=+3699")
    await console("set", "3699", "phone_number=3699")


async def test_a_number_of_the_table_is_that_of_the_account_called_so(console, database_url):
    """As a free one that is set as phone number, whichever was there first. It is freed with the account."""
    await console("numbers", "add", "3610")
    await console("adduser", "+3610")
    await console("adduser", "3611")
    await console("adduser", "bob")
    await console("numbers", "add", "3611..3612")
    assert [await owner(console, number) for number in ("3610", "3611", "3612")] == ["+3610", "3611", ""]
    await console.refused(Conflict, "numbers", "allocate", "bob", "3611")
    assert "numbers del" in await console.refused(Conflict, "numbers", "free", "3611")
    await console("numbers", "del", "3611")
    assert (await console("get", "3611", "username"))["fields"] == {"username": "3611"}
    await console("deluser", "+3610")
    assert await owner(console, "3610") == ""
    await console("adduser", "3620")
    direct(  # as in a database from before that was refused
        database_url,
        """ALTER TABLE account DISABLE TRIGGER account_names_number;
        INSERT INTO account (username) VALUES ('+3620');
        ALTER TABLE account ENABLE TRIGGER account_names_number""",
    )
    assert "number 3620 " in await console.refused(Conflict, "numbers", "add", "3620")


async def test_resellers_give_short_numbers_and_their_own_as_usernames(console, database_url):
    """
    By command and template; files: ``test_import_tenants``. What may be dialled to reach somebody else is not
    theirs to give: emergency numbers, long ones, numbers of the table that are others'. The administrator
    sets how long they may be.
    """
    await console("adduser", "mine", "type=reseller")
    await console("numbers", "add", "3615550100", "--holder", "mine")
    await console("numbers", "add", "3615550101", "9196")
    reseller = console.reseller("mine", await account_id(console, "mine"))
    for name in ("112", "+112", "9196", "3615550101", "36301234567", "+36301234567", "*98", "0" * 64):
        assert "4 to 7 digits" in await console.refused(Forbidden, "adduser", name, who=reseller)
    for name in ("3615550100", "1001", "*1002", "+1003", "0036x"):
        await console("adduser", name, who=reseller)
    assert await owner(console, "3615550100") == "3615550100"
    await console.refused(Forbidden, "clone", "1001", "113", who=reseller)
    await console.refused(Forbidden, "adduser", "9999998", "--count", "3", who=reseller)
    direct(database_url, "INSERT INTO option (name, value) VALUES ('resellernumbermin', '3')")
    direct(database_url, "INSERT INTO option (name, value) VALUES ('resellernumbermax', '4')")
    assert "3 to 4 digits" in await console.refused(Forbidden, "adduser", "10011", who=reseller)
    await console("adduser", "115", who=reseller)
    await console("adduser", "36301234567")


@pytest.mark.parametrize("first", ["adduser", "set"])
async def test_who_is_called_and_who_sets_a_number_at_once_do_not_both_get_it(console, first):
    """One of them is refused, whoever comes first."""
    await console("adduser", "alice")
    for number in map(str, range(3610, 3630)):
        orders = [("adduser", f"+{number}"), ("set", "alice", f"phone_number={number}")]
        if first == "set":
            orders.reverse()
        await one_is_refused(console, orders)


@pytest.mark.parametrize("first", ["adduser", "allocate"])
async def test_who_is_called_and_who_allocates_a_number_at_once_do_not_both_get_it(console, first):
    """As above."""
    await console("adduser", "alice")
    await console("numbers", "add", "3610..3630")
    for number in map(str, range(3610, 3630)):
        orders = [("adduser", number), ("numbers", "allocate", "alice", number)]
        if first == "allocate":
            orders.reverse()
        await one_is_refused(console, orders)


async def test_who_is_called_and_who_enters_a_number_at_once_know_of_each_other(console):
    """The number belongs to the account, whichever is first."""
    for number in map(str, range(3610, 3630)):
        await gatherResults(
            [
                Deferred.fromCoroutine(console("adduser", number)),
                Deferred.fromCoroutine(console("numbers", "add", number)),
            ]
        )
        assert await owner(console, number) == number


def test_numbers_that_two_have_from_before_are_named(database_url):
    """Nobody loses anything when the database is changed; what is certain is entered."""
    old = """INSERT INTO account (username, phone_number, parent_id) VALUES ('shop', '', NULL),
        ('3610', '', NULL), ('bob', '3610', NULL), ('+3611', '', 1), ('3612', '', 1), ('3613', '', 1);
        INSERT INTO phone_number (number, account_id, holder_id) VALUES
        ('3611', 1, NULL), ('3612', NULL, NULL), ('3613', NULL, 1)"""
    said = as_before(database_url, 14, old)
    assert [text.partition(": ")[2].strip() for text in said] == [
        f"{who}: its calls go to the former"
        for who in (
            "account #2 has the username 3610, which is the phone_number of account #3",
            "account #4 has the username +3611, a number that is allocated to account #1",
            "account #5 has the username 3612, a number that is free in the table of numbers",
        )
    ]
    told = rows(database_url, "SELECT number, account_id FROM phone_number ORDER BY number")
    assert told == [("3611", 1), ("3612", None), ("3613", 6)]
    direct(database_url, "UPDATE account SET max_channels = 1 WHERE id IN (2, 3)")
    direct(database_url, "UPDATE account SET phone_number = '' WHERE id = 3")


async def test_a_number_of_a_deleted_account_is_free_as_any(console):
    """It was allocated at no time, and what was seen of it before is not what it is now."""
    await console("adduser", "alice")
    await console("numbers", "add", "3610", "--holder", "alice")
    await console("numbers", "allocate", "alice", "3610")
    before = (await console("numbers", "get", "3610"))["number"]
    await console("deluser", "alice")
    after = (await console("numbers", "get", "3610"))["number"]
    assert (after["free"], after["allocated_at"], after["holder"]) == (True, None, "")
    assert after["version"] > before["version"]


async def test_who_gives_a_number_out_is_shown_to_who_sees_them(console):
    """An account that went to another owner with its number says nothing about the one before."""
    for shop in ("north", "south"):
        await console("adduser", shop, "type=reseller")
    await console("adduser", "phone", "parent_id=north")
    await console("numbers", "add", "3610", "--holder", "north")
    await console("numbers", "allocate", "phone", "3610")
    await console("move", "phone", "south")
    south = console.reseller("south", await account_id(console, "south"))
    assert (await console("numbers", "get", "3610"))["number"]["holder"] == "north"
    assert (await console("numbers", "get", "3610", who=south))["number"]["holder"] == ""
    assert [one["holder"] for one in (await console("numbers", "list", who=south))["numbers"]] == [""]


# ------------------------------------------------------------------ rights


async def test_nobody_gives_rights_above_their_own(console):
    """By command, clone or import, to others or to themselves; nor takes them from who has more."""
    alice = Operator("alice", Rights.ADMIN, "127.0.0.1")
    await console("adduser", "alice", "type=admin", "rights=admin")
    await console("adduser", "root", "type=admin", "rights=60")
    for words in (
        ("set", "alice", "rights=60"),
        ("adduser", "al2", "type=admin", "rights=general_admin"),
        ("clone", "root", "al2"),
        ("set", "root", "rights=0"),
        ("disable", "root"),
        ("set", "root", "suspended=1"),
        ("deluser", "root"),
        ("passwd", "root", "--password", "Mine-now-4711"),
    ):
        assert "rights: " in await console.refused(Forbidden, *words, who=alice)
    for options in ((), ("--whole",), ("--update",)):
        done = await console.load("username,type,Rights\nal2,15,60\nalice,15,60\n", *options, who=alice)
        assert (done["added"], done["changed"], done["bad"]) == (0, 0, 2)
    assert (done["problems"][0]["column"], done["problems"][1]["column"]) == ("Rights", "Rights")
    done = await console.load("username\nal2\n", "--template", "root", who=alice)
    assert done["bad"] == 1
    await console("adduser", "al2", "type=admin", "rights=50", who=alice)
    await console("clone", "root", "al3", "rights=40", who=alice)
    await console("set", "root", "display_name=Root", "rights=60", who=alice)
    await console("set", "alice", "rights=40", who=alice)
    await console("set", "alice", "rights=60")


def as_before(url: str, version: int, sql: str) -> list[str]:
    """
    Make the database anew as it was at that version, with what the statement puts there, and bring it up to
    date. The warnings.
    """
    direct(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    connection = psycopg2.connect(url)
    try:
        for number, _, text in migrations():
            if number == version + 1:
                direct(url, sql)
                del connection.notices[:]
            with connection, connection.cursor() as cursor:
                cursor.execute(text)
        return [text.splitlines()[0] for text in connection.notices if text.startswith("WARNING")]
    finally:
        connection.close()


def rows(url: str, sql: str) -> list[tuple[object, ...]]:
    """What the statement gives."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        connection.close()


def test_a_database_of_before_is_brought_up_to_date(database_url):
    """Names and numbers by the looser rules stop no update: what is wrong is named, what can be mended is."""
    old = """INSERT INTO account (username, phone_number) VALUES ('a@b', '+3610'), ('bob', '3611'),
        ('carol', '3612'), ('dave', '+3613'), ('erin', '3613');
        INSERT INTO phone_number (number, account_id) VALUES ('3610', NULL), ('3611', NULL), ('3612', 2)"""
    said = as_before(database_url, 8, old)
    assert [text.partition(": ")[2].strip() for text in said] == [
        "account #1 is called 'a@b', which no new account may be: name it by its id in commands",
        (
            "account #3 (carol) has the phone_number 3612, which is allocated to account #2: "
            "one of them must lose it"
        ),
    ]
    assert rows(database_url, "SELECT number, account_id FROM phone_number ORDER BY number") == [
        ("3610", 1),
        ("3611", 2),
        ("3612", 2),
    ]
    told = rows(database_url, "SELECT phone_number FROM account ORDER BY id")
    assert [number for (number,) in told] == ["3610", "3611", "3612", "+3613", "3613"]
    direct(database_url, "UPDATE account SET max_channels = 1, phone_number = phone_number WHERE id = 3")


async def test_accounts_deleted_before_are_known_from_the_audit_list(console, database_url):
    """Their calls get names and owners when the database is changed, as if it had been so from the start."""
    await console("adduser", "shop", "type=reseller")
    await console("adduser", "branch", "type=reseller", "parent_id=shop")
    await console("adduser", "phone", "parent_id=branch", "max_channels=3")
    for name in ("phone", "branch"):
        await console("deluser", name)
    sql = "SELECT id, username, parent_id, type FROM deleted_account ORDER BY id"
    kept = rows(database_url, sql)
    assert [row[1:3] for row in kept] == [("branch", 1), ("phone", 2)]
    text = next(text for number, _, text in migrations() if number == 16)
    [old] = re.findall(r"^INSERT INTO deleted_account .*?;", text, re.DOTALL | re.MULTILINE)
    direct(database_url, f"DELETE FROM deleted_account; {old}")
    assert rows(database_url, sql) == kept


# ------------------------------------------------------------------ names in lists, kinds of accounts


async def test_lists_name_accounts_and_groups(console):
    """By username, ``#`` and id, and ``@`` and the name of a group; kept as ids, shown with names."""
    for name in ("alice", "1001", "gw"):
        await console("adduser", name, *(["type=gateway"] if name == "gw" else []))
    await console("group", "add", "cheap", "gateways")
    ids = {one["username"]: one["id"] for one in (await console("users"))["users"]}
    await console("set", "alice", f"AllowedPartners=gw,@cheap,#{ids['1001']},gw", "ring_group=1001,@cheap")
    record = await console.store.records.get("alice", None)
    group = (await console.store.groups.get("cheap", None)).id
    assert record["allowed_partners"] == f"{ids['gw']},g{group},{ids['1001']}"
    assert record["ring_group"] == f"{ids['1001']},g{group}"
    shown = (await console("get", "alice", "allowed_partners"))["fields"]["allowed_partners"]
    assert shown == f"#{ids['gw']},@#{group},#{ids['1001']}"
    await console("set", "alice", f"allowed_partners={shown}")
    assert (await console.store.records.get("alice", None))["allowed_partners"] == record["allowed_partners"]
    page = "\n".join(await console.lines("describe", "alice"))
    assert f"gw #{ids['gw']}, @cheap, 1001 #{ids['1001']}" in page
    await console("clone", "alice", "bob")
    assert (await console.store.records.get("bob", None))["ring_group"] == record["ring_group"]
    await console("deluser", "gw")
    assert f"#{ids['gw']}, @cheap, 1001" in "\n".join(await console.lines("describe", "alice"))
    await console("set", "alice", "allowed_partners=*", "ring_group=", "prioritypartner=bob")


async def test_lists_name_only_what_is_there(console):
    """A number is a username: neither a slip nor the id of another server passes; an import says where."""
    await console("adduser", "alice")
    for word, wanted in (
        ("99999", "no account '99999'"),
        ("#99999", "no account '#99999'"),
        ("@x", "no group 'x'"),
    ):
        for field in ("AllowedPartners", "prioritypartner", "RingGroup"):
            assert wanted in await console.refused(NotFound, "set", "alice", f"{field}={word}")
        assert wanted in await console.refused(NotFound, "adduser", "bob", f"ring_group={word}")
    done = await console.load('username,max_channels,RingGroup\na,1,"alice,nobody"\nb,1,alice\nc,1,@x\n')
    assert [(one["line"], one["column"]) for one in done["problems"]] == [(2, "RingGroup"), (4, "RingGroup")]
    alice = (await console.store.records.get("alice", None))["id"]
    assert (await console.store.records.get("b", None))["ring_group"] == str(alice)


async def test_resellers_name_what_they_see(console):
    """Accounts and groups of others are not there, in lists and in what ``describe`` shows."""
    await console("adduser", "mine", "type=reseller")
    await console("adduser", "phone", "parent_id=mine")
    await console("adduser", "theirs", "type=gateway")
    await console("group", "add", "cheap", "gateways")
    await console("group", "add", "ours", "users", "--owner", "mine")
    await console("set", "phone", "allowed_partners=theirs,@cheap")
    reseller = console.reseller("mine", (await console("get", "mine", "id"))["fields"]["id"])
    for word in ("theirs", "@cheap", "@#1", "#3"):
        await console.refused(NotFound, "set", "phone", f"ring_group={word}", who=reseller)
    page = "\n".join(await console.lines("describe", "phone", who=reseller))
    assert "theirs" not in page
    assert "cheap" not in page
    await console("set", "phone", "ring_group=mine,@ours", who=reseller)
    assert "@ours" in "\n".join(await console.lines("describe", "phone", who=reseller))


async def test_a_group_keeps_its_kind(console, database_url):
    """Neither a change of type nor a row written past the server puts another kind in a group."""
    await console("adduser", "alice")
    await console("group", "add", "us", "users")
    await console("group", "join", "us", "alice")
    assert "group leave" in await console.refused(Conflict, "set", "alice", "type=sip_server")
    await console("set", "alice", "type=reseller")
    done = await console.load("username,Type\nalice,7\n", "--update")
    assert [(one["line"], one["column"]) for one in done["problems"]] == [(2, "Type")]
    await console("adduser", "carrier", "type=sip_server")
    with pytest.raises(psycopg2.errors.CheckViolation, match="not of the kind"):
        direct(
            database_url,
            "INSERT INTO account_group_member (group_id, account_id) "
            "SELECT g.id, a.id FROM account_group g, account a WHERE a.username = 'carrier'",
        )
    await console("group", "leave", "us", "alice")
    await console("set", "alice", "type=sip_server")


async def test_a_sip_server_stays_one_while_we_have_accounts_there(console):
    """Their passwords would be kept for nothing."""
    await console("adduser", "carrier", "type=sip_server")
    made = await console("sipaccounts", "add", "carrier", "line1", "secret word")
    assert "sipaccounts del" in await console.refused(Conflict, "set", "carrier", "type=enduser")
    await console("sipaccounts", "del", str(made["sip_account"]["id"]))
    await console("set", "carrier", "type=enduser")


@pytest.mark.parametrize("first", ["join", "type"])
async def test_who_joins_and_who_changes_the_type_at_once_do_not_both_do(console, first):
    """Whoever comes first, the group has members of its kind."""
    await console("group", "add", "us", "users")
    for number in range(10):
        await console("adduser", f"u{number}")
        orders = [("group", "join", "us", f"u{number}"), ("set", f"u{number}", "type=gateway")]
        if first == "type":
            orders.reverse()
        done = await DeferredList(
            [Deferred.fromCoroutine(console(*words)) for words in orders], consumeErrors=True
        )
        assert sorted(good for good, _ in done) == [False, True]
        refused = next(result for good, result in done if not good).value
        assert isinstance(refused, Conflict | BadRequest)


def test_ring_groups_of_before_hold_ids(database_url):
    """Names become ids; who is no account is named and left out."""
    old = """INSERT INTO account (username, ring_group) VALUES ('a', 'b,gone,c'), ('b', ''), ('c', 'a')"""
    said = as_before(database_url, 10, old)
    assert ["'gone'" in text for text in said] == [True]
    told = rows(database_url, "SELECT ring_group FROM account ORDER BY id")
    assert [listed for (listed,) in told] == ["2,3", "", "1"]


# ------------------------------------------------------------------ accounts at SIP servers


async def test_accounts_at_sip_servers_show_what_the_original_has(console):
    """Every field of the original by its name; those that the server sets say that they cannot be changed."""
    await console("adduser", "carrier", "type=sip_server")
    added = await console("sipaccounts", "add", "carrier", "line1", "secret word", "--credit", "5")
    made = added["sip_account"]
    number = str(made["id"])
    page = await console.lines("sipaccounts", "get", number)
    names = "Id ProxyID Username Priority CallerNumber Credit DateEntered LastUsed Enabled SubsFails"
    for original in names.split():
        assert any(original in line for line in page), original
    assert any(line.split()[:3] == ["enabled", "yes", "Enabled"] for line in page)
    assert made["created_at"].startswith("20")
    assert (await console("sipaccounts", "list"))["sip_accounts"][0]["created_at"] == made["created_at"]
    for word in ("DateEntered", "LastUsed", "ProxyID", "Id"):
        assert "cannot be changed" in await console.refused(
            BadRequest, "sipaccounts", "set", number, f"{word}=1"
        )
    assert "passwd" in await console.refused(BadRequest, "sipaccounts", "set", number, "Password=x")
    lines = await console.lines("sipaccounts", "set", number, "Credit=0", "Enabled=0")
    assert lines == ["credit: 5.00 -> 0.00", "enabled: yes -> no"]
    done = await console("sipaccounts", "set", number, "Credit=")
    assert done["fields"] == {"credit": None}
    assert await console.lines("sipaccounts", "passwd", number, "other word") == ["password: *** -> ***"]


async def test_many_accounts_at_once_cost_what_as_many_single_ones_do(database_url):
    """Numeric names and payers are looked up one by one, though the table was small when that was planned."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    with connection.cursor() as cursor:

        def read() -> int:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                """SELECT seq_tup_read + (
                       SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid
                   ) FROM pg_stat_user_tables t WHERE relname = 'account'"""
            )
            return int(cursor.fetchone()[0])

        cursor.execute("INSERT INTO account (username) SELECT 'few' || n FROM generate_series(1, 500) n")
        cursor.execute("ANALYZE account")
        before = read()
        cursor.execute(
            """INSERT INTO account (username, billing_account_id)
               SELECT (36100000 + n)::text, (SELECT min(id) FROM account) FROM generate_series(1, 3000) n"""
        )
        assert read() - before < 60_000
    connection.close()


async def test_a_number_and_the_same_with_a_plus_sign_are_one(console):
    """Nobody gets calls to another's username by putting the sign before it or leaving it away."""
    await console("adduser", "5551234")
    await console("adduser", "+5559876")
    for name in ("+5551234", "5559876"):
        assert "number of another account" in await console.refused(Conflict, "adduser", name)
    done = await console.load("username\n+5551234\n5551235\n+5551236\n5551236\n")
    assert [one["line"] for one in done["problems"]] == [2, 5]


@pytest.mark.parametrize("field", ["parent_id", "company_id", "billing_account_id"])
async def test_a_group_is_no_account(console, field):
    """Where one account is wanted; of an import it is a bad line and nothing more."""
    await console("adduser", "alice")
    await console("group", "add", "sales")
    for word in ("@sales", "@#1"):
        assert field in await console.refused(BadRequest, "set", "alice", f"{field}={word}")
    done = await console.load(f"username,{field}\nbob,@sales\ncarol,\n")
    assert (done["added"], [(one["line"], one["column"]) for one in done["problems"]]) == (1, [(2, field)])
