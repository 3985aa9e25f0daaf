"""The commands about accounts, groups, numbers and SIP accounts on PostgreSQL, by staff and by a reseller."""

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults

from mizu.console.commands import command_table
from mizu.console.table import CommandTable
from mizu.errors import BadRequest, Conflict, Forbidden, MizuError, NotFound
from mizu.model import Operator, Rights
from mizu.testing.console import FakeConsole, binding, live_call, store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")
OURS, THEIRS = "5f0c1d2e9a77" + "0" * 20, "5f0c1d2e9a77" + "1" * 20  #: calls in progress


class Console:
    """A table on a real store, with words instead of lines."""

    def __init__(self, table: CommandTable) -> None:
        self.table = table
        self.who = STAFF

    async def __call__(self, *words: str, who: Operator | None = None) -> Any:
        done = await self.table.run(shlex.join(words), who or self.who)
        json.dumps(done.result, allow_nan=False)
        return done.result

    async def refused(self, kind: type[MizuError], *words: str, who: Operator | None = None) -> str:
        with pytest.raises(kind) as caught:
            await self(*words, who=who)
        return str(caught.value)


@pytest_twisted.async_fixture
async def console(store):
    """Every command, on an empty database."""
    fakes = FakeConsole()
    fakes.registrations.rows = [binding("mine1"), binding("theirs1")]
    fakes.calls.rows = [
        live_call(OURS, caller="mine1", callee="", route="trunk"),
        live_call(THEIRS, caller="theirs1", callee="theirs2", route="theirs2"),
    ]
    return Console(command_table(store_services(store, fakes, tokens=None, audit=None)))


@pytest_twisted.async_fixture
async def family(console) -> dict[str, Operator]:
    """Two resellers with what belongs to them; the operators of both."""
    await console("adduser", "owner", "type=owner")
    for name in ("mine", "theirs"):
        await console("adduser", name, "type=reseller", "parent_id=owner")
        await console("adduser", f"{name}1", f"parent_id={name}")
        await console("adduser", f"{name}2", f"parent_id={name}1", "type=sub_enduser")
        await console("addresses", "add", f"{name}1", "192.0.2.10" if name == "mine" else "198.51.100.10")
        await console("group", "add", f"{name}group", "--owner", name)
        await console("group", "join", f"{name}group", f"{name}1")
        await console("numbers", "add", "3610..3619" if name == "mine" else "3620..3629", "--holder", name)
        await console("numbers", "allocate", f"{name}1", "3610" if name == "mine" else "3620")
    await console("adduser", "carrier", "type=sip_server")
    await console("sipaccounts", "add", "carrier", "line1", "secret word")
    operators = {}
    for name in ("mine", "theirs"):
        account = (await console("get", name, "id"))["fields"]["id"]
        operators[name] = Operator(name, Rights.GENERAL_ADMIN, "127.0.0.1", account)
    return operators


async def everything(console) -> dict[str, Any]:
    """All that a reseller could have changed."""
    users = (await console("users", "--limit", "1000", who=STAFF))["users"]
    groups = (await console("group", "list", who=STAFF))["groups"]
    members = {one["name"]: await console("group", "members", one["name"], who=STAFF) for one in groups}
    numbers = (await console("numbers", "list", who=STAFF))["numbers"]
    sip = await console("sipaccounts", "list", who=STAFF)
    addresses = await console("addresses", "list", "theirs1", who=STAFF)
    contacts = (await console("regs", who=STAFF))["registrations"]
    calls = (await console("calls", who=STAFF))["calls"]
    return {
        "users": users,
        "groups": groups,
        "members": members,
        "numbers": numbers,
        "sip": sip,
        "addresses": addresses,
        "contacts": contacts,
        "calls": calls,
    }


#: Each command that a reseller may give, against what belongs to the sibling.
HOSTILE = {
    "describe": [["describe", "theirs1"], ["describe", "theirs"], ["describe", "owner"]],
    "get": [["get", "theirs1"]],
    "set": [
        ["set", "theirs1", "display_name=x"],
        ["set", "mine1", "parent_id=theirs"],
        ["set", "mine1", "billing_account_id=theirs1"],
        ["set", "mine1", "company_id=theirs1"],
        ["set", "mine1", "allowed_partners=theirs1"],
        ["set", "mine1", "ring_group=mine1,@theirsgroup"],
        ["set", "mine1", "phone_number=3620"],
        ["set", "mine1", "phone_number=3621"],
    ],
    "move": [["move", "theirs1", "mine"], ["move", "mine1", "theirs"], ["move", "mine1", "owner"]],
    "tree": [["tree", "theirs"], ["tree", "owner"]],
    "adduser": [
        ["adduser", "new", "phone_number=3621"],
        ["adduser", "new", "parent_id=theirs"],
        ["adduser", "new", "billing_account_id=theirs1"],
    ],
    "clone": [["clone", "theirs1", "new"], ["clone", "mine1", "new", "parent_id=theirs"]],
    "passwd": [["passwd", "theirs1", "guess what"]],
    "deluser": [["deluser", "theirs2"]],
    "enable": [["enable", "theirs1"]],
    "disable": [["disable", "theirs1"], ["disable", "theirs"]],
    "group add": [["group", "add", "new", "--owner", "theirs"]],
    "group del": [["group", "del", "theirsgroup"]],
    "group get": [["group", "get", "theirsgroup"]],
    "group set": [
        ["group", "set", "theirsgroup", "--note", "x"],
        ["group", "set", "minegroup", "--owner", "theirs"],
        ["group", "set", "minegroup", "--owner", "owner"],
    ],
    "group members": [["group", "members", "theirsgroup"]],
    "group join": [["group", "join", "theirsgroup", "mine1"], ["group", "join", "minegroup", "theirs1"]],
    "group leave": [["group", "leave", "theirsgroup", "theirs1"]],
    "addresses list": [["addresses", "list", "theirs1"]],
    "addresses add": [["addresses", "add", "theirs1", "192.0.2.66"]],
    "addresses del": [["addresses", "del", "theirs1", "198.51.100.10"]],
    "numbers allocate": [
        ["numbers", "allocate", "theirs1", "3611"],
        ["numbers", "allocate", "mine1", "3621"],
        ["numbers", "allocate", "mine1", "362*"],
    ],
    "numbers free": [["numbers", "free", "3620"]],
    "numbers get": [["numbers", "get", "3620"], ["numbers", "get", "3621"]],
    "unreg": [["unreg", "theirs1"], ["unreg", "theirs1", "sip:1001@192.0.2.1:5060"]],
    "drop": [["drop", THEIRS]],
}
#: Commands that show lists: nothing of the sibling is in them.
LISTS = {
    "users": ["users"],
    "group list": ["group", "list"],
    "numbers list": ["numbers", "list"],
    "help": ["help"],
    "regs": ["regs"],
    "calls": ["calls"],
    "cdrs": ["cdrs"],
}


async def test_every_command_is_tried_by_a_hostile_sibling(console):
    """A command that heeds the scope is in one of the two tables above; all others are refused."""
    ours = ("account", "address", "call", "group", "number", "registration", "sip_account")
    named = {
        command.name
        for command in console.table
        if command.scoped and command.run.__module__.startswith(tuple(f"mizu.console.{one}" for one in ours))
    }
    assert named - set(HOSTILE) - set(LISTS) == set()


@pytest.mark.parametrize("words", [words for many in HOSTILE.values() for words in many], ids=shlex.join)
async def test_what_belongs_to_a_sibling_does_not_exist(console, family, words):
    """The same answer as for a name that nobody has, and nothing is changed."""
    before = await everything(console)
    told = await console.refused(NotFound, *words, who=family["mine"])
    assert "owner" not in told.replace("'owner'", "")
    assert await everything(console) == before


@pytest.mark.parametrize("words", LISTS.values(), ids=shlex.join)
async def test_lists_have_nothing_of_a_sibling(console, family, words):
    """Neither names nor numbers nor counts of others."""
    done = json.dumps(await console(*words, who=family["mine"]))
    assert "theirs" not in done
    assert '"362' not in done  # a number; times may have these digits


async def test_commands_that_know_no_scope_are_refused(console, family):
    """Whatever a command was not written for, a reseller does not get."""
    for command in console.table:
        if not command.scoped:
            status, answer = await console.table.answer(command.examples[0], family["mine"])
            assert (status, answer["error"]) == (403, "forbidden"), command.name
    listed = {one["name"] for one in await console("help", who=family["mine"])}
    assert not {command.name for command in console.table if not command.scoped} & listed


async def test_a_reseller_does_its_own_business(console, family):
    """Everything inside works: accounts, groups, numbers."""
    console.who = family["mine"]
    assert [one["username"] for one in (await console("users"))["users"]] == ["mine", "mine1", "mine2"]
    await console("adduser", "mine3", "display_name=Three")
    assert (await console("get", "mine3", "parent_id"))["fields"]["parent_id"] == console.who.scope_account_id
    await console("clone", "mine3", "mine4", "max_channels=3")
    await console("move", "mine3", "mine1")
    tree = [(one["level"], one["username"]) for one in (await console("tree"))["tree"]]
    assert tree == [(0, "mine"), (1, "mine1"), (2, "mine2"), (2, "mine3"), (1, "mine4")]
    await console("group", "add", "staff")
    await console("group", "join", "staff", "mine1", "mine3")
    assert (await console("group", "members", "staff"))["members"] == ["mine1", "mine3"]
    assert (await console("describe", "mine3"))["groups"] == ["staff"]
    assert (await console("numbers", "allocate", "mine3"))["number"]["number"] == "3611"
    await console("numbers", "free", "3611")
    await console("group", "del", "staff")
    await console("deluser", "mine4")
    await console.refused(Forbidden, "deluser", "mine")
    await console.refused(Forbidden, "set", "mine", "max_channels=0")
    await console.refused(Forbidden, "clone", "mine1", "new", "trusted_identity=1")


# ------------------------------------------------------------ addresses


async def test_further_addresses_are_entered_shown_and_removed(console, store):
    """In one spelling, so that nothing is there twice; ``describe`` has them; the rules of the store too."""
    await console("adduser", "1001", "auth_type=1", "auth_ip=192.0.2.1")
    added = await console("addresses", "add", "1001", "::ffff:192.0.2.7", "main", "office")
    assert added["address"] == {"address": "192.0.2.7", "port": 0, "note": "main office"}
    again = await console("addresses", "add", "1001", "192.0.2.7")
    assert again["address"]["note"] == "main office"
    await console("addresses", "add", "1001", "192.0.2.7:5080")
    await console("addresses", "add", "1001", "SIP.Example.com.")
    done = await console.table.run("addresses add 1001 192.0.2.77/24", STAFF)
    assert "auth_type 9 and 10" in done.lines[1]
    listed = (await console("addresses", "list", "1001"))["addresses"]
    assert [(one["address"], one["port"]) for one in listed] == [
        ("192.0.2.0/24", 0),
        ("192.0.2.7", 0),
        ("192.0.2.7", 5080),
        ("sip.example.com", 0),
    ]
    described = await console.table.run("describe 1001", STAFF)
    assert described.result["addresses"] == listed
    assert any(
        line.startswith("sends also from: 192.0.2.0/24, 192.0.2.7, 192.0.2.7 port 5080")
        for line in described.lines
    )
    (rule,) = await store.auth_rules.find(["1001"])
    assert set(rule.addresses) == {
        "192.0.2.1",
        "192.0.2.0/24",
        "192.0.2.7",
        "192.0.2.7 port 5080",
        "sip.example.com",
    }
    gone = await console("addresses", "del", "1001", "192.0.2.7:5080")
    assert [one["port"] for one in gone["removed"]] == [5080]
    await console("addresses", "add", "1001", "192.0.2.7:5090")
    gone = await console("addresses", "del", "1001", "192.0.2.7")
    assert [one["port"] for one in gone["removed"]] == [0, 5090]


async def test_a_change_of_addresses_is_one_of_the_account(console):
    """In its version and in the audit list, with the addresses that differ; a repetition changes nothing."""
    await console("adduser", "1001")
    version = (await console("get", "1001"))["version"]
    done = await console.table.run("addresses add 1001 192.0.2.7 old", STAFF)
    (change,) = done.changes
    assert (change.topic, change.key, change.before) == ("account", "1001", {"further_addresses": []})
    assert change.after == {"further_addresses": [{"address": "192.0.2.7", "port": 0, "note": "old"}]}
    done = await console.table.run("addresses add 1001 192.0.2.7 new", STAFF)
    assert [one["note"] for one in done.changes[0].before["further_addresses"]] == ["old"]
    assert not (await console.table.run("addresses add 1001 192.0.2.7 new", STAFF)).changes
    assert (await console("get", "1001"))["version"] == version + 2
    done = await console.table.run("addresses del 1001 192.0.2.7", STAFF)
    assert done.changes[0].after == {"further_addresses": []}
    assert (await console("get", "1001"))["version"] == version + 3


async def test_what_is_no_address_of_the_account_is_said(console):
    """Neither nonsense, nor accounts or addresses that are not there."""
    await console("adduser", "1001")
    assert "192.0.2.7:5060" in await console.refused(BadRequest, "addresses", "add", "1001", "not an address")
    assert "nobody" in await console.refused(NotFound, "addresses", "add", "nobody", "192.0.2.7")
    assert "nobody" in await console.refused(NotFound, "addresses", "list", "nobody")
    assert "192.0.2.7" in await console.refused(NotFound, "addresses", "del", "1001", "192.0.2.7")
    await console.refused(BadRequest, "addresses", "add", "1001", "192.0.2.7", "x" * 201)


async def test_an_account_has_so_many_addresses_at_most(console, monkeypatch):
    """The table does not grow without end; a note can still be changed."""
    monkeypatch.setattr("mizu.store.account_addresses.ENTRIES_MAX", 2)
    await console("adduser", "1001")
    for last in (1, 2):
        await console("addresses", "add", "1001", f"192.0.2.{last}")
    assert "2 further addresses" in await console.refused(Conflict, "addresses", "add", "1001", "192.0.2.3")
    await console("addresses", "add", "1001", "192.0.2.2", "a note")


async def test_a_reseller_sees_addresses_and_changes_none(console, family):
    """How an account proves itself is for staff, as ``auth_ip`` is."""
    mine = family["mine"]
    listed = await console("addresses", "list", "mine1", who=mine)
    assert [one["address"] for one in listed["addresses"]] == ["192.0.2.10"]
    for words in (
        ["add", "mine1", "192.0.2.11"],
        ["del", "mine1", "192.0.2.10"],
        ["add", "mine", "192.0.2.12"],
    ):
        assert "auth_ip" in await console.refused(Forbidden, "addresses", *words, who=mine)
    assert (await console("addresses", "list", "mine1")) == listed


# ------------------------------------------------------------ registrations and calls


async def test_a_reseller_sees_and_ends_registrations_of_its_own(console, family):
    """Page by page, and without the count of all that there are."""
    mine = family["mine"]
    listed = await console("regs", who=mine)
    assert [one["username"] for one in listed["registrations"]] == ["mine1"]
    assert "total" not in listed
    assert (await console("regs", "--after", "mine1", who=mine))["registrations"] == []
    assert len((await console("regs", "mi", who=mine))["registrations"]) == 1
    assert (await console("regs", "%", who=mine))["registrations"] == []  # no pattern
    assert (await console("regs", "--limit", "1", who=mine))["more"] is False
    assert (await console("unreg", "mine1", who=mine))["registrations_removed"] == 1
    assert (await console("regs", who=mine))["registrations"] == []
    assert [one["username"] for one in (await console("regs"))["registrations"]] == ["theirs1"]


async def test_a_page_of_registrations_ends_where_the_next_begins(console, family, monkeypatch):
    """However the usernames of the scope are asked for, nobody is left out or told twice."""
    monkeypatch.setattr("mizu.console.registration_commands._PAGE", 1)
    top = replace(family["mine"], scope_account_id=(await console("get", "owner", "id"))["fields"]["id"])
    first = await console("regs", "--limit", "1", who=top)
    assert ([one["username"] for one in first["registrations"]], first["more"]) == (["mine1"], True)
    second = await console("regs", "--limit", "1", "--after", "mine1", who=top)
    assert ([one["username"] for one in second["registrations"]], second["more"]) == (["theirs1"], False)


async def test_a_reseller_sees_calls_of_its_own_and_of_the_other_party_the_number(console, family):
    """Not whose account it is, where it is, nor which carrier; and ends them by the start of their id."""
    mine = family["mine"]
    (call,) = (await console("calls", who=mine))["calls"]
    assert (call["call_id"], call["caller"], call["called_number"]) == (OURS, "mine1", "1002")
    assert (call["caller_address"], call["callee_address"], call["route"]) == ("udp:192.0.2.1:5060", "", "")
    (call,) = (await console("calls", who=family["theirs"]))["calls"]
    assert (call["callee"], call["callee_address"]) == ("theirs2", "udp:192.0.2.2:5060")
    await console.refused(Conflict, "drop", OURS[:12])
    assert (await console("drop", OURS[:12], who=mine))["call_id"] == OURS
    assert [one["call_id"] for one in (await console("calls"))["calls"]] == [THEIRS]


# ------------------------------------------------------------ accounts


async def test_the_original_spelling_is_understood_and_shown(console):
    """Names of the original do for ``set`` and ``get``; ``describe`` shows them beside ours."""
    await console("adduser", "1001", "CanDial=0", "needauth=4", "MaxLines=3")
    done = await console.table.run("describe 1001", STAFF)
    assert any("can_dial" in line and "CanDial" in line and " no " in line for line in done.lines)
    got = await console("get", "1001", "maxlines", "NeedAuth")
    assert got["fields"] == {"max_channels": 3, "auth_type": 4}
    told = await console.refused(BadRequest, "set", "1001", "CanDail=1")
    assert "can_dial" in told
    assert "yes or no" in await console.refused(BadRequest, "set", "1001", "CanDial=maybe")


async def test_a_change_says_what_it_changed(console):
    """Lines for people, and before and after for the audit record; a secret never."""
    await console("adduser", "1001")
    done = await console.table.run("set 1001 max_channels=2 credit=12.5 pin=4711", STAFF)
    (change,) = done.changes
    assert (change.topic, change.key) == ("account", "1001")
    assert change.before == {"max_channels": 0, "credit": "0.00", "pin": False}
    assert change.after == {"max_channels": 2, "credit": "12.50", "pin": True}
    assert "max_channels: 0 -> 2" in done.lines
    assert "4711" not in repr(done)
    await console.refused(BadRequest, "set", "1001", "password=secret")


async def test_the_tree_is_read_in_pages(console, family):
    """Each account is in exactly one page, whatever comes and goes meanwhile."""
    whole = (await console("tree"))["tree"]
    seen, after = [], None
    while True:
        page = await console("tree", "--limit", "2", *(("--after", after) if after else ()))
        seen += page["tree"]
        after = page["next"]
        if after is None:
            break
        if len(seen) == 2:
            await console("adduser", "aaa")
    assert seen == whole
    mine = await console("tree", "--limit", "1", who=family["mine"])
    rest = await console("tree", "--after", mine["next"], who=family["mine"])
    assert [one["username"] for one in (*mine["tree"], *rest["tree"])] == ["mine", "mine1", "mine2"]
    await console.refused(BadRequest, "tree", "--after", "mine")


async def test_who_is_disabled_takes_everything_below_along(console, family):
    """The answer says how many accounts, registrations and calls that concerns here, of the whole subtree."""
    done = await console.table.run("disable owner", STAFF)
    assert done.lines == [
        "account owner disabled, and with it 6 accounts below",
        "on this node 2 registrations and 2 calls of that end; other nodes follow within a second",
    ]
    counts = {"accounts_below": 6, "registrations_removed": 2, "calls_ending": 2}
    assert counts.items() <= done.result.items()
    assert (await console("regs"))["registrations"] == []
    await console("enable", "owner")
    done = await console.table.run("deluser mine2", STAFF)
    assert done.lines == [
        "account mine2 deleted",
        "on this node nothing of that is registered or in a call",
    ]
    assert (done.result["registrations_removed"], done.result["calls_ending"]) == (0, 0)
    await console.refused(NotFound, "disable", "theirs1", who=family["mine"])


async def test_channels_in_use_are_shown(console, store, family):
    """Of the account, and of the owner whose limit is reached first, as far as the operator sees."""
    for name, most in (("owner", 20), ("mine", 10), ("mine1", 5)):
        await console("set", name, f"max_channels={most}")
    for name, in_use in (("owner", 19), ("mine", 3), ("mine1", 3)):
        sql = "INSERT INTO channel_use SELECT id, %s FROM account WHERE username = %s"
        await store._reports.operate(sql, (in_use, name))
    done = await console.table.run("describe mine1", STAFF)
    assert "channels in use: 3 of 5 calls, with everything below" in done.lines
    assert "nearest limit of an owner: owner, 19 of 20 calls in use" in done.lines
    assert [one["username"] for one in done.result["channels"]] == ["mine1", "mine", "owner"]
    done = await console.table.run("describe mine2", family["mine"])
    assert "nearest limit of an owner: mine1, 3 of 5 calls in use" in done.lines
    assert "owner, 19" not in repr(done)
    assert (await console("describe", "theirs", who=family["theirs"]))["channels"] == []


async def test_what_changes_nothing_leaves_the_version(console, store):
    """Other operators' versions stay good, no node hears of it, and the audit list names no object."""
    await console("adduser", "1001", "max_channels=2", "name=Ann", "discount_percent=1.5", "credit=3")
    await console("adduser", "1002", "parent_id=1001", "credit_expires_at=2027-01-01")
    heard = "SELECT count(*) FROM change WHERE key IN ('1001', '1002')"
    before = await store._reports.query(heard)
    versions = {who: (await console("get", who))["version"] for who in ("1001", "1002")}
    same = ["set 1001 max_channels=2 name=Ann discount_percent=1.50 credit=3.0 country=", "enable 1001"]
    same += ["move 1002 1001", "set 1002 credit_expires_at=2027-01-01 parent_id=1001"]
    for line in same:
        done = await console.table.run(line, STAFF)
        user = done.result["user"]
        assert (done.changes, user["version"]) == ((), versions[user["username"]]), line
    assert await store._reports.query(heard) == before
    done = await console.table.run("set 1001 max_channels=2 name=Bob", STAFF)
    assert done.changes[0].before == {"name": "Ann"}
    seen = [versions["1001"], done.result["user"]["version"]]
    for _ in range(2):  # somebody who sets a password anew wants that to be seen
        await console("passwd", "1001", "battery staple")
        seen.append((await console("get", "1001"))["version"])
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("line", "shown_by"),
    [
        ("group set minegroup --note '' --owner mine", "group get minegroup"),
        ("numbers set 3610 --note '' --holder mine", "numbers get 3610"),
        ("sipaccounts set 1 Enabled=1", "sipaccounts get 1"),
    ],
)
async def test_what_changes_nothing_leaves_other_versions_too(console, family, line, shown_by):
    """Of groups, numbers and accounts at SIP servers; no entry of the audit list says that it was changed."""
    before = await console(*shlex.split(shown_by))
    done = await console.table.run(line, STAFF)
    assert (done.changes, await console(*shlex.split(shown_by))) == ((), before)


async def test_an_update_of_what_somebody_changed_is_refused(console):
    """``--version`` is what ``get`` showed."""
    await console("adduser", "1001")
    version = (await console("get", "1001"))["version"]
    await console("set", "1001", "country=HU", "--version", str(version))
    await console.refused(Conflict, "set", "1001", "country=DE", "--version", str(version))
    assert (await console("get", "1001", "country"))["fields"] == {"country": "HU"}


async def test_a_batch_has_its_own_passwords(console):
    """Names count up, widths stay, each password is another one; a taken name spoils all."""
    users = (await console("adduser", "desk08", "--count", "4", "type=0"))["users"]
    assert [one["username"] for one in users] == ["desk08", "desk09", "desk10", "desk11"]
    assert len({one["new_password"] for one in users}) == 4
    await console.refused(Conflict, "adduser", "desk05", "--count", "4")
    await console.refused(NotFound, "get", "desk05")
    await console.refused(BadRequest, "adduser", "desk", "--count", "2")


async def test_a_clone_is_like_its_template(console):
    """Settings are copied; numbers, credit, password and contact data are not; a template cannot log in."""
    await console("adduser", "owner", "type=reseller")
    words = ["max_channels=4", "enabled_prefixes=36,49", "parent_id=owner", "credit=5", "email=a@b", "pin=1"]
    await console("adduser", "template", "is_template=1", "phone_number=361", *words)
    await console("clone", "template", "1001", "max_channels=2")
    fields = (await console("get", "1001"))["fields"]
    owner = (await console("get", "owner", "id"))["fields"]["id"]
    assert (fields["max_channels"], fields["enabled_prefixes"], fields["parent_id"]) == (2, "36,49", owner)
    assert (fields["phone_number"], fields["credit"], fields["email"], fields["pin"]) == (
        "",
        "0.00",
        "",
        False,
    )
    assert fields["is_template"] is False
    assert (await console("describe", "template"))["stopped_by"] == "it is a template"


async def test_describe_says_who_stops_an_account(console, store):
    """A stopped owner stops everything below, and is named."""
    await console("adduser", "top", "type=reseller")
    await console("adduser", "phone", "parent_id=top")
    await console("set", "top", "temporarydisabled=1")
    assert (await console("describe", "phone"))["stopped_by"] == "its owner top is suspended"
    assert not (await store.accounts.find("phone"))[0].enabled


# ------------------------------------------------------------ groups


async def test_members_are_of_the_kind_of_their_group(console):
    """Users, gateways, senders and SIM packets do not mix; one wrong member spoils all."""
    await console("adduser", "phone")
    await console("adduser", "gw", "type=gateway")
    await console("adduser", "sender", "type=traffic_sender")
    for kind, good, bad in (
        ("users", "phone", "gw"),
        ("gateways", "gw", "sender"),
        ("senders", "sender", "phone"),
    ):
        await console("group", "add", f"g-{kind}", kind)
        assert (await console("group", "join", f"g-{kind}", good))["joined"] == [good]
        assert kind in await console.refused(BadRequest, "group", "join", f"g-{kind}", good, bad)
    await console("group", "add", "sims", "sim_packets")
    assert (await console("group", "join", "sims", "7", "8"))["joined"] == ["7", "8"]
    assert (await console("group", "leave", "sims", "8", "9"))["left"] == ["8"]
    await console.refused(BadRequest, "group", "join", "sims", "phone")
    assert (await console("group", "members", "sims"))["members"] == ["7"]


async def test_one_account_in_many_groups(console):
    """Many-to-many; joining again is nothing new; a deleted account is in none."""
    await console("adduser", "a")
    for name in ("one", "two"):
        await console("group", "add", name)
        await console("group", "join", name, "a")
    assert (await console("group", "join", "two", "a"))["joined"] == []
    assert (await console("describe", "a"))["groups"] == ["one", "two"]
    await console("deluser", "a")
    assert [one["members"] for one in (await console("group", "list"))["groups"]] == [0, 0]
    await console.refused(Conflict, "group", "add", "one")


async def test_who_joins_a_group_is_told_to_every_node(console, store):
    """Cached answers about an account are dropped when its groups change."""
    told: list[str | None] = []
    await console("adduser", "a")
    await console("group", "add", "g")
    store.changes.subscribe("account", told.append)
    await console("group", "join", "g", "a")
    await store.changes.poll()
    assert "a" in told


# ------------------------------------------------------------ numbers


async def test_concurrent_allocations_get_different_numbers(console):
    """Twenty ask at once for ten numbers: ten get one each, ten are told that there is none."""
    await console("numbers", "add", "36100..36109")
    await console("adduser", "u00", "--count", "20")
    lines = [f"numbers allocate u{n:02d} 361*" for n in range(20)]
    answers = await gatherResults([_later(console.table.answer(line, STAFF)) for line in lines])
    got = [answer["result"]["number"]["number"] for status, answer in answers if status == 200]
    assert sorted(got) == [f"3610{n}" for n in range(10)]
    assert sorted({status for status, _ in answers}) == [200, 404]


async def test_one_number_for_two_is_given_once(console):
    """Both ask for the same: one gets it, the other is told who has it."""
    await console("numbers", "add", "361")
    await console("adduser", "a")
    await console("adduser", "b")
    lines = ["numbers allocate a 361", "numbers allocate b 361"]
    answers = await gatherResults([_later(console.table.answer(line, STAFF)) for line in lines])
    assert sorted(status for status, _ in answers) == [200, 409]
    await console.refused(Conflict, "numbers", "del", "361")
    await console("numbers", "free", "+361")
    await console.refused(Conflict, "numbers", "free", "361")
    await console("numbers", "del", "361")
    await console.refused(NotFound, "numbers", "allocate", "a", "361")


async def test_numbers_are_entered_once(console):
    """Ranges keep leading zeros; what is there stays."""
    await console("numbers", "add", "008..011", "+36 1 555-0100")
    assert (await console("numbers", "add", "007..009"))["there_already"] == 2
    listed = [one["number"] for one in (await console("numbers", "list"))["numbers"]]
    assert listed == ["007", "008", "009", "010", "011", "3615550100"]
    for wrong in ("5..3", "1..200000", "x", "1..22", ""):
        await console.refused(BadRequest, "numbers", "add", wrong)


def _later(coroutine: Any) -> Any:
    from twisted.internet.defer import ensureDeferred

    return ensureDeferred(coroutine)


# ------------------------------------------------------------ accounts at SIP servers


async def test_passwords_at_sip_servers_are_encrypted(console, store):
    """The database has them only sealed; routing reads them; no command shows them."""
    await console("adduser", "carrier", "type=sip_server")
    added = await console("sipaccounts", "add", "carrier", "line1", "open sesame", "--credit", "7.5")
    rows = await store._reports.query("SELECT password_sealed FROM sip_account")
    assert "sesame" not in rows[0][0]
    server = added["sip_account"]["sip_server_id"]
    assert [one.password for one in await store.sip_accounts.for_calls(server)] == ["open sesame"]
    listed = await console.table.run("sipaccounts list carrier", STAFF)
    assert "sesame" not in repr(listed)
    assert listed.result["sip_accounts"][0]["credit"] == "7.50"
    await console.refused(Conflict, "sipaccounts", "add", "carrier", "line1", "x")
    await console.refused(NotFound, "sipaccounts", "add", "nobody", "line1", "x")
    await console("adduser", "phone")
    await console.refused(BadRequest, "sipaccounts", "add", "phone", "line1", "x")


async def test_keys_are_rotated(console, store):
    """Everything opens before, between and after the steps; old keys go only when nothing needs them."""
    await console("adduser", "carrier", "type=sip_server", "pin=4711")
    added = await console("sipaccounts", "add", "carrier", "line1", "open sesame")
    server = added["sip_account"]["sip_server_id"]
    first = store.secret_keys().current
    await console("sipaccounts", "rotate-keys", "add")
    assert store.secret_keys().current == first
    assert (await console("sipaccounts", "rotate-keys", "reseal"))["resealed"] == 2
    assert store.secret_keys().current != first
    await console("sipaccounts", "rotate-keys", "drop")
    assert first not in store.secret_keys().ids
    assert [one.password for one in await store.sip_accounts.for_calls(server)] == ["open sesame"]
    assert (await console("sipaccounts", "rotate-keys"))["resealed"] == 2
    assert [one.password for one in await store.sip_accounts.for_calls(server)] == ["open sesame"]
    await console("sipaccounts", "rotate-keys", "add")
    store.secret_keys.promote()
    await console.refused(Conflict, "sipaccounts", "rotate-keys", "drop")


async def test_an_operator_puts_an_account_back_in_use(console, store):
    """Failures take it out of rotation, as does credit 0; ``set`` brings it back."""
    await console("adduser", "carrier", "type=sip_server")
    added = (await console("sipaccounts", "add", "carrier", "line1", "pw", "--credit", "1"))["sip_account"]
    for _ in range(30):
        await store.sip_accounts.failed(added["id"])

    async def why() -> str:
        return (await console("sipaccounts", "list"))["sip_accounts"][0]["unused_because"]

    assert await why() == "failing"
    await console("sipaccounts", "set", str(added["id"]), "SubsFails=0")
    assert await why() == ""
    await store.sip_accounts.charged(added["id"], 2_000_000)
    assert await why() == "no_credit"
    await console("sipaccounts", "set", str(added["id"]), "Credit=", "Priority=3")
    assert await why() == ""
    await console("sipaccounts", "set", str(added["id"]), "Enabled=0")
    assert await why() == "disabled"
    await console("sipaccounts", "passwd", str(added["id"]), "new")
    await console("sipaccounts", "del", str(added["id"]))
    await console.refused(NotFound, "sipaccounts", "del", str(added["id"]))


# ------------------------------------------------------------ each of them


async def test_hostile_arguments_get_an_answer(console, family):
    """Whatever anybody types, the answer is a status with printable lines, never a fault."""
    words = ["'; DROP TABLE account; --", "%", "\x00", "\u202e1", "9" * 1000, "#0", "#" + "9" * 18, "a=b", ""]
    for command in console.table:
        if command.name in ("shutdown", "sipaccounts rotate-keys"):
            continue
        for word in words:
            for tail in ([word], ["1001", word], [word, "display_name=x"], ["1001", f"display_name={word}"]):
                for who in (STAFF, family["mine"]):
                    status, answer = await console.table.answer(f"{command.name} {shlex.join(tail)}", who)
                    assert status < 500, (command.name, tail, answer)
                    assert all(line.isprintable() for line in answer["lines"])
