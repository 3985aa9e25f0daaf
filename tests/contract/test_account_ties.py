"""What accounts have to do with each other when one of them goes to another owner."""

import pytest
import pytest_twisted

from mizu.console.commands import command_table
from mizu.errors import Conflict, NotFound
from mizu.model import Operator, Rights
from mizu.testing.console import store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")
FAMILY = (
    "adduser acme type=reseller",
    "adduser north type=reseller parent_id=acme",
    "adduser zeta type=reseller",
    "adduser payer parent_id=acme",
    "adduser phone parent_id=acme billing_account_id=payer",
    "adduser desk parent_id=north",
)


class Owners:
    """Two resellers, one with a branch, and their phones."""

    def __init__(self, store, data) -> None:
        self.store = store
        self.files = data / "import"
        self.files.mkdir(exist_ok=True)
        self.table = command_table(store_services(store, imports=store.imports))

    async def who(self, name: str) -> Operator:
        number = (await self.store.records.get(name, None))["id"]
        return Operator(name, Rights.ADMIN, "192.0.2.8", scope_account_id=number)

    async def __call__(self, line: str, who: Operator = STAFF):
        return (await self.table.run(line, who)).result

    async def refused(self, kind, line: str, who: Operator = STAFF) -> str:
        with pytest.raises(kind) as caught:
            await self(line, who)
        return str(caught.value)

    async def parent(self, name: str) -> str:
        chain = await self.store.records.chain(name, None)
        return chain[1]["username"] if len(chain) > 1 else "-"


@pytest_twisted.async_fixture
async def owners(store, tmp_path):
    owners = Owners(store, tmp_path)
    for line in FAMILY:
        await owners(line)
    return owners


@pytest.mark.parametrize(
    "line", ["move payer zeta", "move phone zeta", "set payer parent_id=zeta", "move phone -"]
)
async def test_nobody_pays_for_an_account_that_went_to_somebody_else(owners, line):
    """The move is refused, with what has to be set first; then it works."""
    before = [await owners.parent(name) for name in ("payer", "phone")]
    said = await owners.refused(Conflict, line)
    assert "'set' first: billing_account_id of phone (now payer)" in said
    assert [await owners.parent(name) for name in ("payer", "phone")] == before
    await owners("set phone billing_account_id=")
    assert (await owners(line))["warnings"] == []


async def test_it_is_set_with_the_move(owners):
    """What the same command sets counts."""
    await owners("adduser other parent_id=zeta")
    await owners("set phone parent_id=zeta billing_account_id=other")
    await owners.refused(Conflict, "set phone parent_id=acme billing_account_id=other")


async def test_a_company_stays_with_its_subscribers(owners):
    """As the payer does; also when the owner pays, or an account far below is concerned."""
    await owners("set payer is_company=1")
    await owners("set desk company_id=payer")
    assert "company_id of desk (now payer)" in await owners.refused(Conflict, "move north zeta")
    await owners("set desk company_id= billing_account_id=acme")
    assert "billing_account_id of desk (now acme)" in await owners.refused(Conflict, "move north zeta")
    await owners("move acme zeta")
    assert await owners.parent("acme") == "zeta"


async def test_inside_what_the_upper_owner_sees_accounts_go_down_and_up(owners):
    """The owner of the one sees the other: a phone may go to the branch though the payer does not."""
    assert (await owners("move phone north", await owners.who("acme")))["warnings"] == []
    await owners("move phone acme")
    await owners("adduser south type=reseller parent_id=acme")
    await owners("set desk billing_account_id=payer")
    await owners("move payer north")
    assert "desk (now payer)" in await owners.refused(Conflict, "move desk south", await owners.who("acme"))


async def test_a_file_moves_nobody_either(owners):
    """``import --update`` names the line."""
    (owners.files / "a.csv").write_text("username,parent_id\ndesk,zeta\npayer,zeta\n", encoding="utf-8")
    job = (await owners("import a.csv --update"))["import"]
    assert [(one["line"], one["column"]) for one in job["problems"]] == [(3, "parent_id")]
    assert [await owners.parent(name) for name in ("desk", "payer")] == ["zeta", "acme"]


async def test_what_remains_is_said(owners):
    """Lists and groups are no reason to refuse a move; whoever moves learns of them, of what they see."""
    await owners("set phone billing_account_id= ring_group=desk")
    await owners("set payer allowed_partners=desk,phone")
    await owners("group add floor --owner acme")
    await owners("group join floor desk phone")
    told = (await owners("move desk zeta"))["warnings"]
    assert told == [
        "payer still has desk, of another owner, in its allowed_partners",
        "phone still has desk, of another owner, in its ring_group",
        "desk is still in the group floor, which is another owner's; 'group leave' takes it out",
    ]
    acme = await owners.who("acme")
    assert (await owners("group members floor", acme))["members"] == ["desk", "phone"]
    await owners.refused(NotFound, "group leave floor zeta", acme)
    await owners.refused(NotFound, "group join floor desk", acme)
    assert (await owners("group leave floor desk", acme))["left"] == ["desk"]
    await owners.refused(NotFound, "group leave floor desk", acme)


async def test_tokens_of_an_account_that_goes_to_another_owner_are_told(owners):
    """Whoever has one goes on to act for the account; the owner before may be one of them."""
    await owners("set desk rights=admin")
    await owners("tokens add desk")
    told = (await owners("move desk acme"))["warnings"]
    assert told == ["desk has a token that goes on to count (1); 'tokens revoke' ends it"]
    await owners("tokens add desk")
    told = (await owners("move desk zeta"))["warnings"]
    assert told == ["desk has 2 tokens that go on to count (1, 2); 'tokens revoke' ends them"]


async def test_who_made_an_account_is_told_to_who_knows_them(owners):
    """The owner it went to learns nothing of the one before, nor of staff, by reading or changing it."""
    await owners("adduser made", await owners.who("acme"))
    await owners("move made zeta")
    zeta, acme = await owners.who("zeta"), await owners.who("acme")
    for line in ("describe made", "set made display_name=x"):
        assert (await owners(line, zeta))["user"]["created_by"] == "operator"
        assert (await owners(line))["user"]["created_by"] == "acme"
    assert (await owners("get desk created_by", acme))["fields"] == {"created_by": "operator"}
    listed = (await owners("users", zeta))["users"]
    assert {one["created_by"] for one in listed} == {"operator"}
    await owners("adduser own", zeta)
    assert (await owners("get own created_by", zeta))["fields"] == {"created_by": "zeta"}


async def test_who_is_still_paid_for_is_named(owners):
    """To who sees them; of others it is said that there are some, and who can set them."""
    said = await owners.refused(Conflict, "deluser payer", await owners.who("acme"))
    assert said == "it still pays for phone"
    await owners("set phone billing_account_id=")
    await owners("adduser stray parent_id=zeta billing_account_id=payer")
    await owners("set desk company_id=payer")
    assert await owners.refused(Conflict, "deluser payer") == "it still pays for stray"
    said = await owners.refused(Conflict, "deluser payer", await owners.who("acme"))
    assert said == "it still pays for 1 that you do not see and staff can set"
    await owners("set stray billing_account_id=")
    assert await owners.refused(Conflict, "deluser payer") == "it is still the company of desk"


async def test_a_tie_of_before_does_not_keep_an_account(owners):
    """What staff tied across owners is theirs to know: it is told again, and stays."""
    await owners("set desk billing_account_id=zeta")
    told = (await owners("move desk acme"))["warnings"]
    assert told == ["desk still has zeta, of another owner, in its billing_account_id"]
