"""Resellers import accounts: what is theirs, and nothing of anybody else, whatever is in the file."""

import json
from typing import Any

import pytest
import pytest_twisted

from mizu.accounts.bulk import AT_ONCE_LINES_MAX
from mizu.config import DatabaseConfig
from mizu.console.account_commands import secrets_of
from mizu.console.commands import command_table
from mizu.errors import Conflict, Forbidden, NotFound, Overloaded
from mizu.model import Operator, Rights
from mizu.testing.console import store_services

ROOT = Operator("console", Rights.GENERAL_ADMIN, "test")
FAMILY = (
    "adduser top type=owner rights=admin",
    "adduser shop type=reseller rights=admin parent_id=top",
    "adduser rival type=reseller rights=admin parent_id=top",
    "adduser shop1 parent_id=shop country=HU",
    "adduser rival1 parent_id=rival country=AT",
    "adduser basic parent_id=shop is_template=1 country=DE",
    "adduser secret parent_id=rival is_template=1",
)


class Shops:
    """Two resellers and what they send."""

    def __init__(self, store, data) -> None:
        self.store, self.sent = store, 0
        self.uploads = data / "import" / "uploads"
        self.uploads.mkdir(parents=True)
        store.imports.digests = lambda username, password: secrets_of(username, "mizu", password)
        self.table = command_table(store_services(store, imports=store.imports))
        self.who = {}

    async def fill(self):
        for line in FAMILY:
            await self.table.run(line, ROOT)
        for name in ("top", "shop", "rival"):
            number = (await self.store.records.get(name, None))["id"]
            self.who[name] = Operator(name, Rights.ADMIN, "192.0.2.8", scope_account_id=number)
        return self

    def put(self, text: str) -> str:
        """A file that came by HTTP, as the API calls it."""
        self.sent += 1
        name = f"{self.sent:032x}.csv"
        (self.uploads / name).write_text(text, encoding="utf-8")
        return f"uploads/{name}:my.csv"

    async def start(self, who: str, text: str, *options: str) -> dict[str, Any]:
        operator = self.who.get(who, ROOT)
        line = " ".join(("import", self.put(text), *options))
        return (await self.table.run(line, operator)).result["import"]

    async def load(self, who: str, *lines: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
        job = await self.start(who, "\n".join(lines) + "\n", *options)
        assert job["state"] != "running"
        return job

    async def status(self, who: str) -> list[dict[str, Any]]:
        return (await self.table.run("import status", self.who.get(who, ROOT))).result["imports"]

    async def everything(self) -> str:
        records = await self.store.records.list("", 1000, "", None)
        theirs = [one for one in records if one["username"] in ("top", "rival", "rival1", "secret")]
        return json.dumps(theirs, default=str)

    async def owner(self, username: str) -> str:
        chain = await self.store.records.chain(username, None)
        return chain[1]["username"]


@pytest_twisted.async_fixture
async def shops(store, tmp_path):
    return await Shops(store, tmp_path).fill()


def problems(job: dict[str, Any]) -> list[tuple[int, str]]:
    return [(one["line"], one["column"]) for one in job["problems"]]


async def test_a_reseller_imports_below_himself(shops):
    """Below his own account, or below one of his; with passwords, by his name."""
    job = await shops.load(
        "shop", "username,password,parent_id,country", "s1,open sesame,,HU", "s2,,shop1,", "s3,,s1,"
    )
    assert (job["state"], job["added"], job["bad"]) == ("done", 3, 0)
    assert [await shops.owner(name) for name in ("s1", "s2", "s3")] == ["shop", "shop1", "s1"]
    record = await shops.store.records.get("s1", shops.who["shop"].scope_account_id)
    assert (record["created_by"], record["country"]) == ("shop", "HU")
    _, ha1 = await shops.store.accounts.find("s1")
    assert ha1 == secrets_of("s1", "mizu", "open sesame")


@pytest.mark.parametrize("options", [(), ("--update",), ("--dry-run",), ("--whole", "--update")])
async def test_nothing_of_a_sibling_is_reached(shops, options):
    """E2: his accounts, those above, names that nobody has: the same answers, and nothing is changed."""
    before = await shops.everything()
    heads = "username,password,parent_id,billing_account_id,company_id"
    for name in ("rival", "rival1", "top"):
        nobody = "nobody"
        lines = [f"n1,,{name},,", f"n2,,,{name},", f"n3,,,,{name}", "n4,,#1,,"]
        job = await shops.load("shop", heads, *lines, options=options)
        other = await shops.load(
            "shop", heads, *(one.replace(name, nobody) for one in lines), options=options
        )
        assert job["added"] == other["added"] == 0
        assert problems(job) == problems(other)
        said, same = (json.dumps(one["problems"]) for one in (job, other))
        assert said.replace(name, nobody) == same
        taken = await shops.load(
            "shop", "username,password,country", f"{name},mine now 22,XX", options=options
        )
        assert problems(taken) == [(2, "username")]
        assert "already" in taken["problems"][0]["text"]
    assert await shops.everything() == before


async def test_fields_that_are_not_his_are_named_line_by_line(shops):
    """Each of them, with line, column as the file has it, and why; the other lines are imported."""
    job = await shops.load(
        "shop",
        "username,credit,Rights,trusted_identity,type,max_channels,country",
        "a1,,,,,,HU",
        "a2,100,50,,,,HU",
        "a3,,,1,,,HU",
        "a4,,,,admin,,HU",
        "a5,,,,reseller,2,HU",
    )
    assert problems(job) == [(3, "credit"), (3, "Rights"), (4, "trusted_identity"), (5, "type")]
    assert (job["added"], job["bad"]) == (2, 4)
    texts = {one["column"]: one["text"] for one in job["problems"]}
    assert "not yours to change" in texts["credit"]
    assert "reseller" in texts["type"]
    for name in ("a2", "a3", "a4"):
        with pytest.raises(NotFound):
            await shops.store.records.get(name, None)


async def test_a_file_may_do_what_adduser_may_and_no_more(shops):
    """Field by field: the import refuses what the command refuses, and takes what it takes."""
    from mizu.accounts.fields import FIELDS, SERVER

    tried = 0
    for field in FIELDS:
        if field.changed_by == SERVER or field.name in ("username", "password", "parent_id"):
            continue
        text = field.kind.show(field.default)
        if not text:
            continue
        by_line, by_file = f"l{tried}", f"f{tried}"
        tried += 1
        status, _ = await shops.table.answer(f"adduser {by_line} '{field.name}={text}'", shops.who["shop"])
        job = await shops.load("shop", f"username,{field.name}", f'{by_file},"{text}"')
        assert (status == 200) == (job["added"] == 1), (field.name, status, job["problems"])
        if status != 200:
            assert problems(job) == [(2, field.name)]
    assert tried > 20


@pytest.mark.parametrize("options", [(), ("--update",), ("--whole",)])
async def test_numbers_that_are_not_his_are_no_usernames(shops, options):
    """Each line with one is named; an account of his that is called so already is changed as any."""
    await shops.table.run("adduser 112 parent_id=shop", ROOT)
    await shops.table.run("numbers add 3615550100 --holder shop", ROOT)
    await shops.table.run("numbers add 3615550101", ROOT)
    lines = ("username,country", "112,HU", "911,", "3615550100,", "3615550101,", "1001,", "+3699999999,")
    job = await shops.load("shop", *lines, options=options)
    wrong = [(3, "username"), (5, "username"), (7, "username")]
    assert problems(job) == (wrong if options == ("--update",) else [(2, "username"), *wrong])
    assert [job["added"], job["changed"]] == [0 if options == ("--whole",) else 2, int("--update" in options)]


async def test_an_update_changes_what_set_would(shops):
    """His own accounts, by the fields that are his; of his own account fewer."""
    job = await shops.load(
        "shop", "username,country,max_channels", "shop1,DE,", "shop1,,5", "shop,,7", options=("--update",)
    )
    record = await shops.store.records.get("shop1", None)
    assert record["country"] == "DE"
    own = await shops.store.records.get("shop", None)
    assert own["max_channels"] == 0
    assert (4, "max_channels") in problems(job)


async def test_templates_are_his(shops):
    """One of his is copied; that of another does not exist; his own account is none."""
    job = await shops.load("shop", "username", "t1", options=("--template", "basic"))
    assert (job["added"], (await shops.store.records.get("t1", None))["country"]) == (1, "DE")
    answers = []
    for name in ("secret", "nobody"):
        failed = await shops.load("shop", "username", "t2", options=("--template", name))
        answers.append((failed["state"], failed["error"].replace(name, "N")))
    assert answers[0] == answers[1]
    assert answers[0][0] == "failed"
    assert (await shops.load("shop", "username", "t2", options=("--template", "shop")))["state"] == "failed"


async def test_files_of_the_server_are_not_his(shops):
    """What its operators have put in import/ is not read, nor told of."""
    (shops.uploads.parent / "staff.csv").write_text("username\nx1\n")
    for name in ("staff.csv", "nothing.csv", "../x.csv"):
        with pytest.raises(Forbidden):
            await shops.table.run(f"import {name}", shops.who["shop"])
    with pytest.raises(Forbidden):
        await shops.table.run("export all.csv", shops.who["shop"])


async def test_imports_of_others_are_not_there(shops):
    """``import status`` and ``import cancel`` are about his own; the administrator sees all."""
    text = "username\n" + "".join(f"r{n}\n" for n in range(3000))
    job = await shops.start("rival", text, "--wait 0s")
    assert job["state"] == "running"
    assert await shops.status("shop") == []
    for line in ("import cancel", f"import cancel {job['number']}", "import cancel 99"):
        with pytest.raises(NotFound) as refused:
            await shops.table.run(line, shops.who["shop"])
        assert str(refused.value).replace(str(job["number"]), "99") in (
            "no import is running",
            "import 99 does not run",
        )
    assert (await shops.status("rival"))[0]["state"] == "running"
    mine = await shops.load("shop", "username", "s1")  # nor does he wait for it
    assert (mine["state"], mine["added"]) == ("done", 1)
    with pytest.raises(Conflict):
        await shops.start("rival", text)
    assert [one["by"] for one in await shops.status("shop")] == ["shop"]
    assert [one["by"] for one in await shops.status("")] == ["rival", "shop"]
    await shops.table.run(f"import cancel {job['number']}", ROOT)
    await shops.store.imports.wait(shops.store.imports.jobs()[0], 10)
    assert (await shops.status("rival"))[0]["state"] == "cancelled"


async def test_nobody_keeps_the_administrator_from_importing(shops):
    """So many at a time by resellers, one each; staff have one besides. A full list loses one's own."""
    text = "username\n" + "".join(f"{{}}{n}\n" for n in range(2000))
    for number in range(4):
        await shops.table.run(f"adduser w{number} type=reseller rights=admin", ROOT)
        scope = (await shops.store.records.get(f"w{number}", None))["id"]
        shops.who[f"w{number}"] = Operator(f"w{number}", Rights.ADMIN, "", scope_account_id=scope)
    for number in range(3):
        await shops.start(f"w{number}", text.replace("{}", f"u{number}x"), "--wait 0s")
    with pytest.raises(Overloaded):
        await shops.start("w3", "username\nv1\n")
    assert (await shops.load("", "username", "staff1"))["added"] == 1
    shops.store.imports.stop()
    for job in shops.store.imports.jobs():
        await shops.store.imports.wait(job, 10)
    kept = DatabaseConfig().imports_kept_of_one
    for _ in range(kept + 2):
        await shops.load("shop", "username")
    assert len(await shops.status("shop")) == kept
    assert len(await shops.status("w0")) == 1


async def test_all_or_none_is_short_for_a_reseller(shops):
    """While it runs other owners wait, so it has few lines; a longer file goes line by line."""
    text = "username\n" + "".join(f"m{n}\n" for n in range(AT_ONCE_LINES_MAX + 300))
    for option in ("--whole", "--dry-run"):
        job = await shops.start("shop", text, option)
        assert (job["state"], job["added"]) == ("failed", 0)
        assert str(AT_ONCE_LINES_MAX) in job["error"]
    with pytest.raises(NotFound):
        await shops.store.records.get("m0", None)
    dry = await shops.load("shop", "username,credit", "d1,", "d2,5", options=("--dry-run",))
    assert (dry["added"], problems(dry)) == (1, [(3, "credit")])


async def test_the_audit_list_has_the_name_that_he_gave(shops):
    """He sees his import, with the file's own name; the sibling sees nothing of it."""
    await shops.load("shop", "username", "s1")
    mine = await shops.store.audit.list(20, None, "", "", shops.who["shop"])
    assert {one.line for one in mine if one.command == "import"} == {"import my.csv"}
    assert "uploads/" not in repr(mine)
    theirs = await shops.store.audit.list(20, None, "", "", shops.who["rival"])
    assert not [one for one in theirs if one.command == "import"]
    above = await shops.store.audit.list(20, None, "", "", shops.who["top"])
    assert [one.changes[0]["key"] for one in above if one.command == "import"] == ["s1", "1"]
