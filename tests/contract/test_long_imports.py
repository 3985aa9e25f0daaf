"""While an import that is all or none takes its time, others work, or are told what to do."""

import psycopg2
import pytest
import pytest_twisted

from mizu.console.commands import command_table
from mizu.errors import StoreBusy
from mizu.model import Operator, Rights
from mizu.testing.console import store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")
#: What a dry run does, before it is undone.
MADE = """INSERT INTO account (username, parent_id, billing_account_id) VALUES
 ('new1', (SELECT id FROM account WHERE username = 'shop'), (SELECT id FROM account WHERE username = 'shop')),
 ('new2', NULL, NULL)"""


@pytest_twisted.async_fixture
async def run(store, tmp_path):
    """Runs a line as staff."""
    (tmp_path / "import").mkdir()
    table = command_table(store_services(store, imports=store.imports))

    async def run(line: str, who: Operator = STAFF):
        return (await table.run(line, who)).result

    for line in ("adduser shop type=reseller", "adduser other type=reseller", "adduser alice parent_id=shop"):
        await run(line)
    return run


@pytest.fixture
def importing(database_url):
    """A dry run that goes on and on."""
    connection = psycopg2.connect(database_url)
    with connection.cursor() as cursor:
        cursor.execute(MADE)
    yield connection
    connection.close()


@pytest.mark.parametrize(
    "line",
    [
        "adduser bob parent_id=shop billing_account_id=shop",
        "adduser bob parent_id=other",
        "clone alice bob",
        "set alice country=HU enabled=0",
        "deluser alice",
    ],
)
async def test_others_work_meanwhile(run, importing, line):
    """Accounts are made, changed and deleted, below the same owner too."""
    await run(line)


@pytest.mark.parametrize("line", ["move alice other", "adduser new1", "set alice billing_account_id=shop"])
async def test_who_has_to_wait_is_told(run, importing, line):
    """In words that say why and what to do; when it is over, it works."""
    with pytest.raises(StoreBusy, match=r"an import that is all or none.*try again when that is over"):
        await run(line)
    importing.rollback()
    await run(line)


async def test_imports_at_once_keep_the_tree(run, importing, tmp_path):
    """What is moved below a new account, and what is made below one that is moved, waits for the other."""
    (tmp_path / "import" / "a.csv").write_text("username,parent_id\nbob,shop\ncarol,bob\n", encoding="utf-8")
    done = (await run("import a.csv --whole"))["import"]
    assert (done["added"], done["bad"]) == (2, 0)
    importing.commit()
    await run("move shop other")
    with pytest.raises(Exception, match="below itself"):
        await run("move other new1")
