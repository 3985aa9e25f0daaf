"""Operators limited to some accounts let calls seem to come from numbers of these alone."""

import pytest
import pytest_twisted

from mizu.console.commands import command_table
from mizu.errors import Forbidden
from mizu.model import Operator, Rights
from mizu.testing.console import store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")
LINES = (
    "adduser zeta type=reseller rights=admin",
    "adduser acme type=reseller rights=admin",
    "adduser 1001 parent_id=acme",
    "adduser 1002 parent_id=zeta",
    "adduser c0z parent_id=zeta",
    "adduser basic parent_id=zeta is_template=1",
    "numbers add 3615550101 --holder zeta",
    "numbers add 3615550102..3615550103 --holder acme",
    "numbers add 3615550104",
    "numbers allocate c0z 3615550104",
    "numbers allocate 1001 3615550103",
    "adduser direct parent_id=zeta phone_number=3615550105",
)
THEIRS = ("3615550101", "+3615550101", "3615550104", "3615550105", "+3615550105", "1002", "+1002")
#: Of others: held, allocated, a username; of nobody; nothing that could be a number of the table.
OTHERS = ("3615550102", "3615550103", "+3615550103", "1001", "+1001", "3699999999", "112", "*21#")


class Zeta:
    """A reseller's console."""

    def __init__(self, store, data) -> None:
        self.store, self.sent = store, 0
        self.files = data / "import" / "uploads"
        self.files.mkdir(parents=True)
        self.table = command_table(store_services(store, imports=store.imports))
        self.who = STAFF

    async def fill(self):
        for line in LINES:
            await self.run(line)
        number = (await self.store.records.get("zeta", None))["id"]
        self.who = Operator("zeta", Rights.ADMIN, "192.0.2.8", scope_account_id=number)
        return self

    async def run(self, line: str, who: Operator | None = None):
        return (await self.table.run(line, who or self.who)).result

    async def shown(self, who: str) -> str:
        return (await self.store.records.get(who, None))["caller_number"]

    async def load(self, *lines: str, options: str = "") -> dict:
        self.sent += 1
        name = f"{self.sent:032x}.csv"
        (self.files / name).write_text(
            "\n".join(("username,caller_number,country", *lines)), encoding="utf-8"
        )
        return (await self.run(f"import uploads/{name}:my.csv {options}"))["import"]


@pytest_twisted.async_fixture
async def zeta(store, tmp_path):
    """The accounts of these tests."""
    return await Zeta(store, tmp_path).fill()


@pytest.mark.parametrize("number", OTHERS)
async def test_numbers_of_others_are_refused(zeta, number):
    """By every way to the field, in the same words whether somebody has the number or nobody."""
    text = f"caller_number: {number!r} is no number of your own accounts"
    for line in (
        f"set c0z caller_number={number}",
        f"adduser new caller_number={number}",
        f"clone c0z new caller_number={number}",
    ):
        with pytest.raises(Forbidden) as caught:
            await zeta.run(line)
        assert str(caught.value) == text
    done = await zeta.load(f"new,{number},", "other,,HU")
    assert [(one["column"], one["text"]) for one in done["problems"]] == [("caller_number", text)]
    assert done["added"] == 1
    done = await zeta.load(f"c0z,{number},HU", options="--update")
    assert [(one["column"], one["text"]) for one in done["problems"]] == [("caller_number", text)]
    assert await zeta.shown("c0z") == ""


@pytest.mark.parametrize("number", THEIRS)
async def test_their_own_numbers_are_shown(zeta, number):
    """Held by them, an account's, a phone_number, a username; with a plus sign too."""
    await zeta.run(f"set c0z caller_number={number}")
    await zeta.run(f"adduser new caller_number={number}")
    done = await zeta.load(f"more,{number},")
    assert (done["added"], await zeta.shown("more")) == (1, number)


async def test_a_new_account_shows_its_own_name(zeta):
    """Which is no number of theirs before there is the account."""
    await zeta.run("adduser 1003 caller_number=1003")
    assert (await zeta.load("1004,+1004,", "1005,1004,"))["added"] == 1


async def test_what_staff_gave_stays_until_it_is_changed(zeta):
    """Staff give any number; nobody else makes copies of that, nor takes it up again."""
    await zeta.run("set c0z caller_number=3699999999", STAFF)
    await zeta.run("set basic caller_number=3699999999", STAFF)
    await zeta.run("set c0z caller_number=3699999999 country=HU")
    assert (await zeta.load("c0z,3699999999,AT", options="--update"))["changed"] == 1
    with pytest.raises(Forbidden):
        await zeta.run("clone basic new")
    await zeta.run("clone basic new caller_number=")
    assert (await zeta.load("more,,", options="--template basic"))["bad"] == 1
    await zeta.run("set c0z caller_number=")
    with pytest.raises(Forbidden):
        await zeta.run("set c0z caller_number=3699999999")
