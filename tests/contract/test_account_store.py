"""What every IAccountStore does; run over PostgreSQL and over the fake."""

import pytest
from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from mizu.errors import BadRequest, Conflict, NotFound, StoreBusy
from mizu.interfaces import IAccountStore, IDirectory
from mizu.model import AccountType, Limits
from mizu.testing.stores import MemoryAccountStore

HA1 = {"MD5": "0" * 32, "SHA-256": "1" * 64}


@pytest.fixture(params=["postgres", "memory"])
def accounts(request):
    """The implementation under test."""
    if request.param == "memory":
        return MemoryAccountStore()
    return request.getfixturevalue("store").accounts


async def raises(kind, awaitable):
    """The error that an awaitable ends with."""
    with pytest.raises(kind) as caught:
        await awaitable
    return caught.value


def test_implements_the_interface(accounts):
    """Every method is there with its arguments."""
    assert verifyObject(IAccountStore, accounts)


async def test_an_added_account_is_found_with_its_secrets(accounts):
    """What was added comes back, with the defaults of the model for the rest."""
    added = await accounts.add("alice", HA1, {"display_name": "Alice Ä", "type": 6, "max_contacts": 3})
    account, ha1 = await accounts.find("alice")
    assert account == added
    assert (account.username, account.display_name, account.type) == (
        "alice",
        "Alice Ä",
        AccountType.TRAFFIC_SENDER,
    )
    assert (account.max_contacts, account.enabled, account.can_dial, account.version) == (3, True, True, 1)
    assert dict(ha1) == HA1


@pytest.mark.parametrize(
    "username", ["nobody", "", "ALICE", "al%", "a\x00b", "\udcff", "x" * 5000, "'; DROP TABLE call--"]
)
async def test_an_unknown_name_is_none(accounts, username):
    """Any text from outside is answered, case matters, and nothing is a pattern."""
    await accounts.add("alice", HA1, {})
    assert await accounts.find(username) is None


async def test_many_look_ups_at_once_each_get_their_own(accounts):
    """Known, unknown and repeated names asked for at once are not mixed up."""
    for number in range(20):
        await accounts.add(f"u{number}", {"MD5": f"{number:032x}"}, {})
    names = [f"u{number % 30}" for number in range(200)]
    found = await gatherResults([accounts.find(name) for name in names])
    for name, answer in zip(names, found, strict=True):
        if int(name[1:]) < 20:
            assert (answer[0].username, answer[1]["MD5"]) == (name, f"{int(name[1:]):032x}")
        else:
            assert answer is None


async def test_a_name_is_taken_once(accounts):
    """The second account of a name is a conflict."""
    await accounts.add("alice", HA1, {})
    await raises(Conflict, accounts.add("alice", HA1, {}))


@pytest.mark.parametrize(
    "fields",
    [{"nonsense": 1}, {"type": "x"}, {"type": 99}, {"enabled": 1}, {"id": 7}, {"display_name": "\x00"}],
)
async def test_wrong_fields_are_refused(accounts, fields):
    """Unknown columns, wrong types and values out of range are said so, and nothing is added."""
    await raises(BadRequest, accounts.add("alice", HA1, fields))
    assert await accounts.find("alice") is None


@pytest.mark.parametrize("username", ["", "a b", "x" * 256, "\x00"])
async def test_impossible_names_are_refused(accounts, username):
    """A username is 1 to 255 characters without spaces."""
    await raises(BadRequest, accounts.add(username, HA1, {}))


async def test_a_change_keeps_the_rest_and_counts(accounts):
    """Fields change alone, a password alone; the version grows with each."""
    await accounts.add("alice", HA1, {"display_name": "A"})
    changed = await accounts.change("alice", None, {"can_dial": False})
    assert (changed.can_dial, changed.display_name, changed.version) == (False, "A", 2)
    assert dict((await accounts.find("alice"))[1]) == HA1
    await accounts.change("alice", {"MD5": "2" * 32}, {})
    account, ha1 = await accounts.find("alice")
    assert (dict(ha1), account.version) == ({"MD5": "2" * 32}, 3)  # the other digest was of the old password
    await raises(NotFound, accounts.change("bob", None, {"can_dial": False}))


async def test_a_deleted_account_is_gone(accounts):
    """It is not found any more, and cannot be deleted again."""
    await accounts.add("alice", HA1, {})
    await accounts.delete("alice")
    assert await accounts.find("alice") is None
    await raises(NotFound, accounts.delete("alice"))


async def test_an_owner_of_others_is_not_deleted(accounts):
    """Something still points at it."""
    owner = await accounts.add("owner", HA1, {"type": 4})
    await accounts.add("phone", HA1, {"parent_id": owner.id})
    await raises(Conflict, accounts.delete("owner"))
    await accounts.delete("phone")
    await accounts.delete("owner")


@pytest.mark.parametrize("field", [{"enabled": False}, {"suspended": True}])
async def test_what_stops_an_ancestor_stops_everything_below(accounts, field):
    """``enabled`` of an account is false when it or any account above is disabled or suspended."""
    top = await accounts.add("top", HA1, {})
    middle = await accounts.add("middle", HA1, {"parent_id": top.id})
    await accounts.add("phone", HA1, {"parent_id": middle.id})
    assert (await accounts.find("phone"))[0].enabled
    await accounts.change("top", None, field)
    assert [(await accounts.find(name))[0].enabled for name in ("top", "middle", "phone")] == [False] * 3


@pytest.mark.parametrize("level", range(5))
async def test_however_far_above_what_stops_it_is(accounts, level):
    """Every owner of a chain counts, and once it is well again so is what is below."""
    names = [f"level{number}" for number in range(5)]
    parent = {}
    for name in names:
        parent = {"parent_id": (await accounts.add(name, HA1, parent)).id}
    await accounts.add("phone", HA1, parent)
    assert (await accounts.find("phone"))[0].enabled
    await accounts.change(names[level], None, {"enabled": False})
    found = [(await accounts.find(name))[0].enabled for name in (*names, "phone")]
    assert found == [number < level for number in range(5)] + [False]
    await accounts.change(names[level], None, {"enabled": True})
    assert (await accounts.find("phone"))[0].enabled


async def test_the_tree_has_no_cycle(accounts):
    """An account cannot be moved below itself; an unknown parent is refused."""
    top = await accounts.add("top", HA1, {})
    low = await accounts.add("low", HA1, {"parent_id": top.id})
    await raises(Conflict, accounts.change("top", None, {"parent_id": low.id}))
    await raises(Conflict, accounts.change("top", None, {"parent_id": top.id}))
    await raises(NotFound, accounts.add("other", HA1, {"parent_id": 999_999}))


async def test_lists_page_by_name(accounts):
    """By username, those with the prefix, after a name, no more than asked; no pattern characters."""
    for name in ("b2", "a1", "a3", "a2", "a_", "A0"):
        await accounts.add(name, HA1, {})
    assert [a.username for a in await accounts.list("", 10, "")] == ["A0", "a1", "a2", "a3", "a_", "b2"]
    assert [a.username for a in await accounts.list("a", 2, "")] == ["a1", "a2"]
    assert [a.username for a in await accounts.list("a", 2, "a2")] == ["a3", "a_"]
    assert [a.username for a in await accounts.list("a_", 2, "")] == ["a_"]
    assert list(await accounts.list("a%", 2, "")) == []


async def test_the_fake_fails_when_told():
    """StoreBusy while it is down, held answers until release."""
    accounts = MemoryAccountStore()
    accounts.faults.down = True
    await raises(StoreBusy, accounts.find("alice"))
    accounts.faults.down = False
    accounts.faults.hold()
    found = accounts.find("alice")
    assert not found.called
    accounts.faults.release()
    assert await found is None


async def test_limits_are_found_with_the_account_and_its_owners(accounts):
    """Those of each owner that limits anything, upward, however many owners there are."""
    names = ["top", "upper", "middle", "lower", "alice"]
    fields = [
        {"max_channels": 100},
        {"blocked_prefixes": "90"},
        {},
        {"allowed_partners": "5,g7", "enabled_prefixes": "36,49"},
        {"only_test_calls": True, "test_prefix": "999", "enabled_tech_prefixes": "100", "calling_circle": 3},
    ]
    ids = []
    for name, values in zip(names, fields, strict=True):
        added = await accounts.add(name, HA1, {**values, **({"parent_id": ids[-1]} if ids else {})})
        ids.append(added.id)
    top, upper, middle, lower, mine = ids
    account, _ = await accounts.find("alice")
    assert account == added
    assert account.owners == (lower, middle, upper, top)
    assert account.calling_circle == 3
    assert account.limits == (
        Limits(mine, tech_prefixes=frozenset({"100"}), test_prefixes=("999",), only_test_calls=True),
        Limits(lower, partners=frozenset({5}), enabled_prefixes=("36", "49")),
        Limits(upper, blocked_prefixes=("90",)),
        Limits(top, max_channels=100),
    )
    for number, name in enumerate(names):
        found, _ = await accounts.find(name)
        assert found.owners == tuple(reversed(ids[:number]))
        assert [one.account_id for one in found.limits] == [
            i for i in reversed(ids[: number + 1]) if i != middle
        ]


async def test_a_tech_prefix_is_that_of_who_is_known_by_it(accounts):
    """Of auth_type 2 and 3."""
    await accounts.add("sender", HA1, {"auth_type": 2, "tech_prefix": "777"})
    await accounts.add("phone", HA1, {"tech_prefix": "777"})
    assert (await accounts.find("sender"))[0].tech_prefix == "777"
    assert (await accounts.find("phone"))[0].tech_prefix == ""


async def test_a_called_number_means_an_account(accounts, request):
    """By short number in the caller's company, username, phone number, allocated number, in this order."""
    assert verifyObject(IDirectory, accounts)
    company = await accounts.add("acme", HA1, {"is_company": True})
    bob = await accounts.add(
        "bob", HA1, {"phone_number": "3612345", "short_number": "12", "company_id": company.id}
    )
    await accounts.add("12", HA1, {})
    other = await accounts.add("carol", HA1, {"enabled": False})
    if isinstance(accounts, MemoryAccountStore):
        accounts.allocated["3677"] = other.id
    else:
        sql = "INSERT INTO phone_number (number, account_id, allocated_at) VALUES ('3677', %s, now())"
        await request.getfixturevalue("store")._reports.operate(sql, (other.id,))

    async def name(number, company_id=None):
        found = await accounts.called(number, company_id)
        return found.username if found is not None else None

    assert (company.company_id, bob.company_id, other.company_id) == (company.id, company.id, None)
    assert await accounts.called("bob", None) == bob
    assert [await name(number) for number in ("3612345", "+3612345", "12", "+bob")] == [
        "bob",
        "bob",
        "12",
        None,
    ]
    assert [await name("12", one) for one in (company.id, other.id)] == ["bob", "12"]
    assert (await accounts.called("+3677", None)).enabled is False
    for odd in ("", "+", "a\x00b", "\udcff", "x" * 5000, "%"):
        assert await name(odd, company.id) is None
