"""Whoever has more rights than an operator stays where they are, and so do their tokens."""

from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted

from mizu.console.commands import command_table
from mizu.errors import Forbidden
from mizu.model import Operator, Rights
from mizu.testing.console import store_services

CONSOLE = Operator("console", Rights.GENERAL_ADMIN, "local")
BOSS = Operator("boss", Rights.ADMIN, "192.0.2.9")
PEOPLE = (
    "adduser boss type=admin rights=admin",
    "adduser firm type=owner",
    "adduser branch type=reseller parent_id=firm",
    "adduser ga type=admin rights=general_admin parent_id=branch",
    "adduser other type=owner",
    "adduser basic",
    "tokens add ga",
    "tokens add boss",
)
#: What would take ``ga`` over, or their token from them.
HARM = (
    "passwd ga another-secret-1",
    "set ga pin=4711",
    "set ga enabled=0",
    "disable ga",
    "set ga suspended=1",
    "set ga is_template=1",
    "set ga type=enduser",
    "set ga rights=admin",
    "set ga auth_type=ip",
    "set ga auth_ip=192.0.2.1",
    "set ga tech_prefix=77",
    "move ga other",
    "set ga parent_id=",
    "deluser ga",
    "addresses add ga 192.0.2.1",
    "addresses del ga 192.0.2.2",
    "tokens revoke 1",
    # and what is above
    "disable branch",
    "set branch suspended=1",
    "move branch other",
    "disable firm",
    "set firm parent_id=other",
)


@pytest_twisted.async_fixture
async def run(store, tmp_path):
    """Runs a line as an operator."""
    (tmp_path / "import").mkdir()
    table = command_table(store_services(store, imports=store.imports))

    async def run(line: str, who: Operator = BOSS) -> Any:
        return (await table.run(line, who)).result

    for line in PEOPLE:
        await run(line, CONSOLE)
    await run("addresses add ga 192.0.2.2", CONSOLE)
    return run


@pytest.mark.parametrize("line", HARM)
async def test_harm_is_refused(run, line):
    """By an operator with the rights ``admin``, who sees everything."""
    before = await run("get ga"), await run("get branch"), await run("get firm")
    with pytest.raises(Forbidden, match=r"more (rights )?than your own, admin"):
        await run(line)
    assert (await run("get ga"), await run("get branch"), await run("get firm")) == before
    assert (await run("tokens list ga"))["tokens"][0]["state"] == "valid"


@pytest.mark.parametrize("line", [line for line in HARM if line != "set ga auth_type=ip"])
async def test_who_has_as_many_rights_may(run, line):
    """A general admin."""
    await run(line, CONSOLE)


async def test_an_import_is_no_way_round(run, store, tmp_path):
    """Each line that would do harm is bad, the others are done."""
    text = "username,enabled,parent_id,country\nga,0,,\nga,,other,\nbranch,0,,\nbranch,,other,\nfirm,1,,AT\n"
    (tmp_path / "import" / "a.csv").write_text(text, encoding="utf-8")
    done = (await run("import a.csv --update"))["import"]
    assert [one["line"] for one in done["problems"]] == [2, 3, 4, 5]
    assert all("more than your own" in one["text"] for one in done["problems"])
    assert (await store.records.get("firm", None))["country"] == "AT"


async def test_what_harms_nobody_is_done(run):
    """Other fields; harmful ones with the values that they have; what is below nobody with more rights."""
    await run("set ga country=HU")
    await run("set ga enabled=1 parent_id=branch type=admin country=DE")
    await run("set branch enabled=1 country=DE")
    await run("disable other")
    await run("disable basic")


async def test_the_token_in_use_can_be_given_up(run):
    """Even when its account has lost rights since."""
    await run("set ga rights=admin", CONSOLE)
    ga = Operator("ga", Rights.ADMIN, "192.0.2.9", token_id=1)
    with pytest.raises(Forbidden):
        await run("tokens revoke 1", replace(ga, token_id=2))
    await run("tokens revoke 1", ga)
