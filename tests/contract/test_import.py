"""Accounts from CSV files and back, on PostgreSQL."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from mizu.console.account_commands import secrets_of
from mizu.console.commands import command_table
from mizu.errors import BadRequest, Conflict, MizuError, NotFound, Overloaded
from mizu.model import Operator, Rights
from mizu.testing.console import store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")


class Importer:
    """Commands on a real store whose data directory is at hand."""

    def __init__(self, store, data: Path) -> None:
        self.store = store
        self.files = data / "import"
        self.files.mkdir()
        self.exports = data / "export"
        store.imports.digests = lambda username, password: secrets_of(username, "mizu", password)
        self.table = command_table(store_services(store, imports=store.imports))

    async def __call__(self, *words: str) -> Any:
        done = await self.table.run(shlex.join(words), STAFF)
        return done.result

    async def load(self, text: str, *options: str) -> dict[str, Any]:
        """Import this text."""
        (self.files / "a.csv").write_text(text, encoding="utf-8")
        result = (await self("import", "a.csv", *options))["import"]
        assert result["state"] != "running"
        return result

    async def refused(self, kind: type[MizuError], *words: str) -> str:
        with pytest.raises(kind) as caught:
            await self(*words)
        return str(caught.value)

    async def names(self) -> list[str]:
        return [one.username for one in await self.store.accounts.list("", 10_000, "")]

    async def versions(self) -> dict[str, int]:
        return {
            one["username"]: one["version"] for one in await self.store.records.list("", 10_000, "", None)
        }


@pytest_twisted.async_fixture
async def importer(store, tmp_path):
    """What these tests use."""
    return Importer(store, tmp_path)


def problems(result: dict[str, Any]) -> list[tuple[int, str]]:
    return [(one["line"], one["column"]) for one in result["problems"]]


async def test_a_file_becomes_accounts(importer):
    """Names of fields are ours or the original's, in any order; empty cells are the defaults."""
    text = (
        '\ufeffPassword,username,CanDial,Name,ParentID\nsecret word,top,,"Top, Ltd ""T""",\n,phone,0,,top\n'
    )
    result = await importer.load(text)
    assert (result["state"], result["lines"], result["added"], result["bad"]) == ("done", 2, 2, 0)
    top = await importer.store.records.get("top", None)
    assert (top["name"], top["can_dial"], top["created_by"]) == ('Top, Ltd "T"', True, "boss")
    phone, ha1 = await importer.store.accounts.find("phone")
    assert (phone.parent_id, phone.can_dial, ha1) == (top["id"], False, {})
    _, ha1 = await importer.store.accounts.find("top")
    assert ha1 == secrets_of("top", "mizu", "secret word")


async def test_each_bad_line_is_named(importer):
    """Line, column and reason for everything that is wrong; the good lines are imported."""
    lines = [
        "username,type,max_channels,parent_id,phone_number",
        "ok1,enduser,1,,361",
        "bad1,nonsense,x,,",
        "bad2,0,1",
        ",0,1,,",
        "bad 3,0,1,,",
        "bad4,0,1,nobody,",
        "ok1,0,1,,",
        '"bad5",0,1,,361',
        "ok2,4,0,ok1,362",
        "bad6,0,0,#999999,",
    ]
    result = await importer.load("\n".join(lines))
    assert problems(result) == [
        (3, "type"),
        (3, "max_channels"),
        (4, ""),
        (5, "username"),
        (6, "username"),
        (7, "parent_id"),
        (8, "username"),
        (9, "phone_number"),
        (11, "parent_id"),
    ]
    assert "may mean another account" in result["problems"][-1]["text"]
    assert (result["lines"], result["added"], result["bad"]) == (10, 2, 9)
    assert await importer.names() == ["ok1", "ok2"]


async def test_a_dry_run_finds_the_same_and_changes_nothing(importer):
    """What would happen, the database's own reasons included, and afterwards nothing has."""
    text = "username,parent_id,phone_number\na,,1\nb,a,1\nc,a,2\n"
    result = await importer.load(text, "--dry-run")
    assert (result["added"], problems(result)) == (2, [(3, "phone_number")])
    assert await importer.names() == []
    result = await importer.load(text)
    assert (result["added"], problems(result)) == (2, [(3, "phone_number")])


async def test_all_or_none(importer):
    """One bad line: nothing at all. None: everything."""
    good = "username\n" + "".join(f"u{n}\n" for n in range(600))
    result = await importer.load(good + "a b\n", "--whole")
    assert (result["state"], result["added"], result["bad"]) == ("done", 0, 1)
    assert await importer.names() == []
    assert (await importer.load(good, "--whole"))["added"] == 600
    assert len(await importer.names()) == 600


async def test_one_bad_line_in_a_batch_costs_only_itself(importer):
    """The others of the same statement are imported."""
    await importer("adduser", "u123")
    result = await importer.load("username\n" + "".join(f"u{n}\n" for n in range(500)))
    assert (result["added"], problems(result)) == (499, [(125, "username")])


async def test_the_update_of_accounts_that_are_there(importer):
    """Cells that are not empty change the account, others leave it; the password too."""
    await importer("adduser", "a", "max_channels=5", "country=HU")
    before = await importer.versions()
    result = await importer.load(
        "username,max_channels,country,password\na,7,,new secret\nb,1,DE,\n", "--update"
    )
    assert (result["added"], result["changed"]) == (1, 1)
    record = await importer.store.records.get("a", None)
    assert (record["max_channels"], record["country"]) == (7, "HU")
    assert record["version"] > before["a"]
    assert (await importer.store.accounts.find("a"))[1] == secrets_of("a", "mizu", "new secret")


async def test_an_update_of_many_costs_only_its_bad_lines(importer):
    """Whatever is wrong, values, versions or what the database refuses, is told line by line."""
    await importer.load("username,phone_number\n" + "".join(f"u{n},36{n}\n" for n in range(600)))
    await importer("adduser", "boss", "type=reseller")
    await importer("move", "boss", "u9")
    lines = {7: "u7,,x,", 9: "u9,,5,boss", 11: "u11,3612,5,", 13: "u13,,5,nobody"}
    text = "username,phone_number,max_channels,parent_id\n"
    text += "".join(lines.get(n, f"u{n},,{n % 5},") + "\n" for n in range(600))
    before = await importer.versions()
    result = await importer.load(text, "--update")
    assert problems(result) == [
        (9, "max_channels"),
        (11, "parent_id"),
        (13, "phone_number"),
        (15, "parent_id"),
    ]
    assert (result["changed"], result["same"]) == (476, 120)
    records = {one["username"]: one for one in await importer.store.records.list("u", 1000, "", None)}
    changed = {f"u{n}" for n in range(600) if n % 5 and n not in lines}
    assert all(records[f"u{n}"]["max_channels"] == n % 5 for n in range(600) if n not in lines)
    assert {name for name, one in records.items() if one["version"] != before[name]} == changed
    entries = await importer.store.audit.list(20, None, "", "account:u599", STAFF)
    assert next(one.changes[-1]["after"] for one in entries) == {"max_channels": 4}


async def test_an_update_that_is_all_or_none(importer):
    """One line that the database refuses, and nothing is changed; nor is anything counted."""
    await importer.load("username,phone_number\n" + "".join(f"u{n},36{n}\n" for n in range(300)))
    text = "username,phone_number,country\n" + "".join(f"u{n},,HU\n" for n in range(299))
    before = await importer.versions()
    result = await importer.load(text + "u299,361,\n", "--update", "--whole")
    assert (result["changed"], problems(result)) == (0, [(301, "phone_number")])
    assert await importer.versions() == before


async def test_what_failed_halfway_counts_nothing(importer):
    """All or none: a file that ends in the middle of quotes says so, and that nothing was added."""
    result = await importer.load("username\n" + "".join(f"u{n}\n" for n in range(600)) + '"x\n', "--whole")
    assert (result["state"], result["added"]) == ("failed", 0)
    assert await importer.names() == []


async def test_a_template_has_the_defaults(importer):
    """What a line does not say is as in the template."""
    await importer("adduser", "t", "max_channels=5", "country=HU", "is_template=1")
    await importer.load("username,max_channels\na,7\nb,\n", "--template", "t")
    a, b = [await importer.store.records.get(name, None) for name in "ab"]
    assert [(one["max_channels"], one["country"], one["is_template"]) for one in (a, b)] == [
        (7, "HU", False),
        (5, "HU", False),
    ]
    assert (await importer.load("username\nc\n", "--template", "nobody"))["state"] == "failed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("usrname\na\n", "did you mean username"),
        ("username,Username\na,b\n", "twice"),
        ("type\n0\n", "no column username"),
        ('username\n"a\n', "line"),
        ("username\n" + "x" * 70_000, "65536"),
        ("username\na\x00b\n", "NUL"),
        ("Username;Type\na;0\n", "want commas between columns"),
    ],
)
async def test_what_is_no_table_of_accounts_is_refused(importer, text, said):
    """The reason is about the file; nothing is changed."""
    result = await importer.load(text)
    assert result["state"] == "failed"
    assert said in result["error"]
    assert await importer.names() == []


async def test_bytes_that_are_not_text_are_named(importer):
    """A file in another encoding is a bad line, not a fault."""
    (importer.files / "a.csv").write_bytes(b"username,name\na,J\xf3zsef\nb,ok\n")
    result = (await importer("import", "a.csv"))["import"]
    assert problems(result) == [(2, "name")]
    assert result["problems"][0]["text"] == "is no text in UTF-8"
    (importer.files / "a.csv").write_bytes(b"username,name\nJ\xf3zsef,b\n")
    [problem] = (await importer("import", "a.csv"))["import"]["problems"]
    assert problem == {"line": 2, "column": "username", "text": "is no text in UTF-8"}


@pytest.mark.parametrize(
    "name", ["../a.csv", "/etc/passwd", "a.txt", "link.csv", "dir.csv", "none.csv", ".csv", ""]
)
async def test_only_files_of_the_directory_are_read(importer, tmp_path, name):
    """No path, no link, no directory, no device."""
    (tmp_path / "a.csv").write_text("username\na\n")
    (importer.files / "link.csv").symlink_to(tmp_path / "a.csv")
    (importer.files / "dir.csv").mkdir()
    with pytest.raises((BadRequest, NotFound)):
        await importer("import", name)
    assert await importer.names() == []


async def test_an_export_can_be_imported_again(importer):
    """Every field but secrets comes out and goes in; a second export says the same."""
    await importer("adduser", "top", "type=4", "credit=12.5", 'name=Ü, "x"', "pin=4711")
    await importer(
        "adduser", "phone", "parent_id=top", "enabled_prefixes=36,49", "credit_expires_at=2027-01-01"
    )
    assert (await importer("export", "one.csv"))["accounts"] == 2
    text = (importer.exports / "one.csv").read_text()
    assert "4711" not in text
    assert (importer.exports / "one.csv").stat().st_mode & 0o777 == 0o600
    await importer.refused(Conflict, "export", "one.csv")
    await importer.refused(BadRequest, "export", "../one.csv")
    result = await importer.load(text, "--update")
    assert (result["changed"], result["same"], result["bad"]) == (0, 2, 0)
    before = await importer.store.records.get("phone", None)
    await importer("deluser", "phone")
    assert (await importer.load(text, "--update"))["added"] == 1
    after = await importer.store.records.get("phone", None)
    own = ("id", "version", "created_by", "created_at", "changed_at", "password")
    assert {n: v for n, v in before.items() if n not in own} == {
        n: v for n, v in after.items() if n not in own
    }


async def test_a_copy_of_an_account_is_never_allowed_more(importer):
    """Nothing allowed stays nothing; a list that names what is gone is refused, not taken without it."""
    await importer("adduser", "gw", "type=gateway")
    gone = (await importer("adduser", "gone", "type=gateway"))["user"]["id"]
    await importer("adduser", "e1", "enabled_prefixes=", "allowed_partners=")
    await importer("adduser", "e2", "allowed_partners=gone")
    await importer("adduser", "e3", "allowed_partners=gone,gw", "ring_group=gw")
    await importer("deluser", "gone")
    await importer("export", "one.csv", "--prefix", "e")
    text = (importer.exports / "one.csv").read_text()
    result = await importer.load(text.replace("e1,", "c1,").replace("e2,", "c2,").replace("e3,", "c3,"))
    assert problems(result) == [(3, "allowed_partners"), (4, "allowed_partners")]
    assert all(f"#{gone}" in one["text"] for one in result["problems"])
    assert await importer.names() == ["c1", "e1", "e2", "e3", "gw"]
    copy = await importer.store.records.get("c1", None)
    assert (copy["enabled_prefixes"], copy["allowed_partners"]) == ("", "")


async def test_nothing_is_written_as_a_dash(importer):
    """An empty cell would be the template's value, or leave what is there: ``-`` is none."""
    await importer("adduser", "boss1", "type=reseller")
    fields = ["parent_id=boss1", "blocked_prefixes=36", "ring_group=boss1"]
    await importer("adduser", "like", *fields)
    text = "username,blocked_prefixes,ring_group,parent_id,display_name\n{},-,-,-,-\n"
    assert (await importer.load(text.format("a"), "--template", "like"))["added"] == 1
    assert (await importer.load(text.format("like"), "--update"))["changed"] == 1
    for name in ("a", "like"):
        record = await importer.store.records.get(name, None)
        none = (record["blocked_prefixes"], record["ring_group"], record["parent_id"])
        assert (none, record["display_name"]) == (("", "", None), "-")


async def test_no_cell_ends_an_import(importer):
    """Times out of the calendar and numbers out of bounds are bad lines; so is what nobody has thought of."""
    lines = ["Username,Creditelapsedt,credit,discount", "a,,1.5,", "b,9999-12-31T23:59:59-14:00,,"]
    lines += [
        "c,0001-01-01T00:00:00+14:00,,",
        "d,,9e999999,",
        "e,,,-9e999999",
        "f,,1_000,",
        "g,,,\uff11",
        "h,,2,",
    ]
    result = await importer.load("\n".join(lines))
    columns = ["Creditelapsedt", "Creditelapsedt", "credit", "discount", "credit", "discount"]
    assert problems(result) == list(enumerate(columns, start=3))
    assert (result["state"], await importer.names()) == ("done", ["a", "h"])


async def test_an_export_that_fails_leaves_no_file(importer, monkeypatch):
    """Half of a table is never taken for the whole: not after an error, nor after a server that ended."""
    await importer("adduser", "a")
    listed = importer.store.records.list

    async def failing(prefix, limit, after, scope):
        if after:
            raise OSError(28, "No space left on device")
        return await listed(prefix, limit, after, scope)

    monkeypatch.setattr(importer.store.records, "list", failing)
    assert "No space left" in await importer.refused(Overloaded, "export", "one.csv")
    assert list(importer.exports.iterdir()) == []
    monkeypatch.undo()
    (importer.exports / "one.csv.part").write_text("half")
    assert (await importer("export", "one.csv"))["accounts"] == 1
    assert [path.name for path in importer.exports.iterdir()] == ["one.csv"]


async def test_of_many_problems_it_is_said_what_is_kept(importer):
    """A thousand are kept, fifty are shown, all are counted; nobody is sent to look for what is not there."""
    for count, said, more in ((60, "10 more", False), (1200, "1,150 more", True)):
        (importer.files / "a.csv").write_text("username,type\n" + "".join(f"u{n},x\n" for n in range(count)))
        done = await importer.table.run("import a.csv", STAFF)
        assert said in done.lines[-1]
        assert ("1,000 of all 1,200; the others are only counted" in done.lines[-1]) is more
        result = done.result["import"]
        assert (result["bad"], len(result["problems"])) == (count, min(count, 1000))
        assert result["more_problems"] is more


async def test_one_import_at_a_time_and_it_can_be_stopped(importer):
    """A second one waits for its turn by being refused; a stopped one says how far it came."""
    (importer.files / "a.csv").write_text("username\n" + "".join(f"u{n}\n" for n in range(5000)))
    job = (await importer("import", "a.csv", "--wait", "0s"))["import"]
    assert job["state"] == "running"
    await importer.refused(Conflict, "import", "a.csv")
    await importer("import", "cancel")
    await importer.store.imports.wait(importer.store.imports.jobs()[-1], 5)
    job = (await importer("import", "status"))["imports"][-1]
    assert job["state"] == "cancelled"
    assert job["added"] == len(await importer.names()) < 5000
    await importer.refused(NotFound, "import", "cancel")


async def test_what_an_import_makes_is_noted_where_it_is_made(importer):
    """Each batch with its entry in one transaction, without secrets; owners of the accounts see it."""
    await importer.load("username,type\nshop,10\nother,10\n")
    shop = await importer.store.records.get("shop", None)
    heads = "username,password,pin,parent_id,max_channels\n"
    lines = "1001,open sesame,4711,shop,2\n1002,,,other,3\n,,,,\nx,,,nobody,\n"
    result = await importer.load(heads + lines)
    assert (result["added"], result["bad"]) == (2, 1)
    entries = await importer.store.audit.list(10, None, "", "", STAFF)
    batch = next(one for one in entries if one.changes and one.changes[0]["key"] == "1001")
    assert (batch.who, batch.command, batch.line, batch.outcome) == ("boss", "import", "import a.csv", "ok")
    assert batch.changes[0]["after"] == {
        "parent_id": shop["id"],
        "max_channels": 2,
        "pin": "***",
        "password": "***",
    }
    same = """SELECT count(*) FROM change c JOIN audit e ON c.xid::text = e.xmin::text
 WHERE e.id = %s AND c.key IN ('1001', '1002')"""
    assert (await importer.store._reports.query(same, (batch.id,)))[0][0] == 2
    mine = replace(STAFF, name="shop", scope_account_id=shop["id"])
    [seen] = await importer.store.audit.list(10, None, "", "", mine)
    assert (seen.who, seen.line, [one["key"] for one in seen.changes]) == ("operator", "import", ["1001"])


@pytest.mark.parametrize("option", ["--dry-run", "--whole"])
async def test_what_an_import_does_not_make_is_not_noted(importer, option):
    """All or none, and a line is bad; or nothing at all: no entry says that accounts were made."""
    await importer.load("username,max_channels\n1001,2\n1002,many\n", option)
    entries = await importer.store.audit.list(10, None, "", "", STAFF)
    assert [(one["topic"]) for entry in entries for one in entry.changes] == ["import"]


async def test_an_update_by_import_is_noted_with_what_was_before(importer):
    """Before and after, as with ``set``."""
    await importer.load("username,max_channels\n1001,2\n")
    await importer.load("username,max_channels\n1001,5\n", "--update")
    entries = await importer.store.audit.list(10, None, "", "account:1001", STAFF)
    assert [(one.changes[0]["before"], one.changes[0]["after"]) for one in entries] == [
        ({"max_channels": 2}, {"max_channels": 5}),
        (None, {"max_channels": 2}),
    ]


async def test_a_file_that_was_sent_is_read_once(importer):
    """It is gone as the import begins, whatever becomes of that; other places of uploads are refused."""
    (importer.files / "uploads").mkdir()
    name = f"uploads/{'a1' * 16}.csv"
    (importer.files / name).write_text("username\n1001\n", encoding="utf-8")
    assert (await importer("import", name))["import"]["added"] == 1
    assert not (importer.files / name).exists()
    await importer.refused(NotFound, "import", name)
    for wrong in ("uploads/x.csv", "uploads/../a.csv", f"uploads/{'A1' * 16}.csv"):
        await importer.refused(BadRequest, "import", wrong)


async def test_an_update_may_name_the_versions_it_is_for(importer):
    """``--versions``: a line whose account was changed since the file was written is refused."""
    await importer.load("username,max_channels\na,1\nb,1\n")
    before = await importer.versions()
    await importer("export", "one.csv")
    await importer("set", "a", "max_channels=7")
    text = f"username,max_channels,version\na,2,{before['a']}\nb,2,{before['b']}\nc,2,0\nd,2,\n"
    result = await importer.load(text, "--update", "--versions")
    assert (result["changed"], result["added"]) == (1, 1)
    assert problems(result) == [(2, "version"), (5, "version")]
    assert "somebody changed it meanwhile" in result["problems"][0]["text"]
    assert (await importer.store.records.get("a", None))["max_channels"] == 7
    again = await importer.load((importer.exports / "one.csv").read_text(), "--update", "--versions")
    assert (again["changed"], again["bad"]) == (0, 2)
    missing = await importer.load("username\na\n", "--update", "--versions")
    assert "no column version" in missing["error"]
    await importer.refused(BadRequest, "import", "a.csv", "--versions")


async def test_an_export_keeps_owners_on_another_server(importer, database_url):
    """References are written by name: who has the id of somebody's owner there does not become the owner."""
    await importer("adduser", "zoe", "type=reseller")
    await importer("adduser", "gw", "type=gateway")
    await importer("group", "add", "cheap", "gateways")
    words = ["company_id=zoe", "short_number=1", "billing_account_id=zoe", "allowed_partners=gw,@cheap"]
    await importer("adduser", "alice", "parent_id=zoe", "ring_group=zoe", *words)
    await importer("export", "one.csv")
    text = (importer.exports / "one.csv").read_text()
    assert "#" not in text
    for name in ("alice", "gw", "zoe"):
        await importer("deluser", name)
    for name in ("other1", "other2", "other3"):
        await importer("adduser", name, "type=reseller")
    result = await importer.load(text)
    assert (result["added"], problems(result)) == (3, [])
    ids = {name: (await importer.store.records.get(name, None))["id"] for name in ("zoe", "gw")}
    alice = await importer.store.records.get("alice", None)
    assert {alice[name] for name in ("parent_id", "company_id", "billing_account_id")} == {ids["zoe"]}
    assert alice["ring_group"] == str(ids["zoe"])
    assert alice["allowed_partners"].split(",")[0] == str(ids["gw"])
    refused = await importer.load("username,id,ParentID,RingGroup\na,7,#1,\nb,8,,@#1\n")
    assert problems(refused) == [(2, "ParentID"), (3, "RingGroup")]
    updated = await importer.load(f"username,ParentID\na,#{ids['zoe']}\n", "--update")
    assert updated["added"] == 1


@pytest.mark.parametrize("options", [[], ["--whole"], ["--dry-run"]], ids=str)
@pytest.mark.limit(60)
async def test_owners_may_come_after_what_they_own(importer, options):
    """In whatever order the lines are; what is nowhere is said once, by line, with the others in order."""
    levels = [f"u{9 - n:02}," + (f"u{9 - n - 1:02}" if n < 9 else "") for n in range(10)]
    many = [f"a{n:04},z{n % 7}" for n in range(1500)] + [f"z{n}," for n in range(7)]
    text = "\n".join(["username,parent_id", *levels, *many]) + "\n"
    result = await importer.load(text, *options)
    assert (result["lines"], result["added"], problems(result)) == (1517, 1517, [])
    if options == ["--dry-run"]:
        assert await importer.names() == []
        return
    tree = [(one["level"], one["username"]) for one in (await importer("tree", "u00"))["tree"]]
    assert tree == [(n, f"u{n:02}") for n in range(10)]


async def test_what_cannot_be_resolved_is_said_with_its_line_and_column(importer):
    """Accounts that own each other, and one that is nowhere; also where accounts are changed."""
    text = "username,id,parent_id\na,37,b\nb,38,a\nc,39,nobody\nd,40,e\nx y,41,\ne,42,\n"
    result = await importer.load(text)
    assert (result["lines"], result["added"], result["bad"]) == (6, 2, 4)
    assert problems(result) == [(2, "parent_id"), (3, "parent_id"), (4, "parent_id"), (6, "username")]
    assert result["problems"][0]["text"] == "parent_id: there is no account 'b'"
    update = await importer.load("username,parent_id\ne,d\nd,f\nf,\n", "--update")
    assert (update["added"], update["changed"]) == (1, 1)
    assert problems(update) == [(2, "parent_id")]
    assert "below itself" in update["problems"][0]["text"]
