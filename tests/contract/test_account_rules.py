"""Rules for accounts that the database keeps by itself, and every way to it with the same words."""

import shlex
from dataclasses import replace

import psycopg2
import pytest
import pytest_twisted

from mizu.accounts.usernames import is_username
from mizu.console.commands import command_table
from mizu.errors import BadRequest, MizuError
from mizu.model import Operator, Rights
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

    async def load(self, text: str, *options: str):
        """Import this text."""
        (self.files / "a.csv").write_text(text, encoding="utf-8")
        return (await self("import", "a.csv", *options))["import"]

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
