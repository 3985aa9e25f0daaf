"""Tables of the original, in which accounts are named by their ids in the same table, on PostgreSQL."""

from typing import Any

import pytest
import pytest_twisted

from mizu.console.commands import command_table
from mizu.errors import Conflict
from mizu.model import Operator, Rights
from mizu.testing.console import store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")


class Tables:
    """Imports tables of the original."""

    def __init__(self, store, tmp_path) -> None:
        self.store, self.files = store, tmp_path / "import"
        self.files.mkdir()
        self.table = command_table(store_services(store, imports=store.imports))

    async def __call__(self, line: str) -> Any:
        return (await self.table.run(line, STAFF)).result

    async def load(self, text: str, options: str = "") -> dict[str, Any]:
        (self.files / "a.csv").write_text(text, encoding="utf-8")
        done = (await self(f"import a.csv --original-ids {options}"))["import"]
        assert done["state"] == "done", done
        return done

    async def below(self) -> dict[str, str]:
        """Owner by username; empty: none."""
        records = await self.store.records.list("", 10_000, "", None)
        names = {record["id"]: record["username"] for record in records}
        return {record["username"]: names.get(record["parent_id"], "") for record in records}


@pytest_twisted.async_fixture
async def tables(store, tmp_path):
    """What these tests use."""
    return Tables(store, tmp_path)


def problems(result: dict[str, Any]) -> list[tuple[int, str]]:
    return [(one["line"], one["column"]) for one in result["problems"]]


@pytest.mark.parametrize("options", ["", "--whole"])
async def test_ids_of_the_file_say_who_owns_whom(tables, options):
    """An account that is called like somebody's id does not become the owner; 0 is nobody; order is free."""
    text = (
        "ID,Username,Type,ParentID,BillingUserID,BelongsToCompany,AllowedPartners,RingGroup\n"
        '77,orgusr,0,901,77,901,"902,@cheap",901\n'
        "901,orgres,4,0,0,0,0,\n"
        "55,901,4,0,,,,\n"
        "902,gw,8,901,901,,*,\n"
    )
    await tables("group add cheap gateways")
    result = await tables.load(text, options)
    assert (result["added"], result["problems"]) == (4, [])
    assert await tables.below() == {"orgusr": "orgres", "orgres": "", "901": "", "gw": "orgres"}
    record = {name: await tables.store.records.get(name, None) for name in ("orgusr", "orgres", "gw", "901")}
    user = record["orgusr"]
    assert user["billing_account_id"] is None
    assert user["company_id"] == record["orgres"]["id"]
    assert user["allowed_partners"].split(",")[0] == str(record["gw"]["id"])
    assert user["ring_group"] == str(record["901"]["id"])  # usernames, in the original too
    assert record["orgres"]["allowed_partners"] == ""
    assert record["gw"]["billing_account_id"] == record["orgres"]["id"]


async def test_what_ids_cannot_mean_is_a_bad_line(tables):
    """An id that no line has, one of two lines, its own, a name; never an account that was there before."""
    await tables("adduser taken type=reseller")
    text = (
        "ID,Username,Type,ParentID\n"
        "1,taken,4,\n"  # 2: an account of that name is there
        "2,child,0,1\n"  # 3: so nobody knows that the same is meant
        "3,lost,0,99\n"  # 4
        "4,first,4,\n"  # 5
        "4,second,4,\n"  # 6
        "5,below,0,4\n"  # 7
        "6,self,4,6\n"  # 8
        "7,named,0,first\n"  # 9
        "8,hash,0,#1\n"  # 10
        "x,odd,0,\n"  # 11
        "9,bad name,4,\n"  # 12
        "10,orphan,0,9\n"  # 13
    )
    result = await tables.load(text)
    assert problems(result) == [
        (2, "Username"),
        (3, "ParentID"),
        (4, "ParentID"),
        (6, "ID"),
        (8, "ParentID"),
        (9, "ParentID"),
        (10, "ParentID"),
        (11, "ID"),
        (12, "Username"),
        (13, "ParentID"),
    ]
    said = {one["line"]: one["text"] for one in result["problems"]}
    assert "line 2, which has the ID 1, was not imported" in said[3]
    assert "no line of the file has the ID 99" in said[4]
    assert "line 5 has the ID 4 already" in said[6]
    assert await tables.below() == {"taken": "", "first": "", "below": "first"}


async def test_a_table_is_imported_again_with_update(tables):
    """The same ids mean the same accounts; ``0`` takes the owner away, an empty cell leaves it."""
    table = "ID,Username,Type,ParentID\n5,top,4,\n6,a,0,5\n7,b,0,5\n"
    assert (await tables.load(table))["added"] == 3
    result = await tables.load(table, "--update")
    assert (result["same"], result["bad"]) == (3, 0)
    result = await tables.load("ID,Username,ParentID\n5,top,\n6,a,0\n7,b,\n", "--update")
    assert (result["changed"], result["same"]) == (1, 2)
    assert await tables.below() == {"top": "", "a": "", "b": "top"}


async def test_a_long_table_from_its_leaves_to_its_root(tables):
    """Batches, passes and a dry run: owners may come long after what they own."""
    lines = [
        f"{n},u{n},{4 if n % 10 == 0 else 0},{(n // 10 + 1) * 10 if n % 10 else 5000}" for n in range(1, 700)
    ]
    table = "\n".join(["ID,Username,Type,ParentID", *lines, "700,u700,4,5000", "5000,root,4,0", ""])
    result = await tables.load(table, "--dry-run")
    assert (result["added"], result["bad"], await tables.below()) == (701, 0, {})
    result = await tables.load(table)
    assert (result["added"], result["bad"]) == (701, 0)
    below = await tables.below()
    assert (below["u7"], below["u699"], below["u700"], below["root"]) == ("u10", "u700", "root", "")


async def test_without_a_column_of_ids_there_are_none(tables):
    """The heading is refused as a whole."""
    (tables.files / "a.csv").write_text("Username,ParentID\na,5\n")
    done = (await tables("import a.csv --original-ids"))["import"]
    assert (done["state"], done["error"]) == ("failed", "line 1: there is no column id")


async def test_who_pays_for_itself_has_no_other_payer(tables):
    """The original writes the own id then; it is taken everywhere, and kept as none."""
    await tables("adduser own billing_account_id=own")
    await tables("adduser other")
    await tables("set own billing_account_id=other")
    await tables("set own billing_account_id=own")
    assert (await tables.store.records.get("own", None))["billing_account_id"] is None
    (tables.files / "a.csv").write_text("Username,BillingUserID\nown,own\nnew,new\n")
    done = (await tables("import a.csv --update"))["import"]
    assert (done["added"], done["same"], done["bad"]) == (1, 1, 0)
    await tables("set own billing_account_id=other")
    with pytest.raises(Conflict):
        await tables("set other billing_account_id=own")
