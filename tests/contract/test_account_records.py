"""What operators can do with whole account records, on PostgreSQL."""

from collections.abc import Callable

import pytest
import pytest_twisted
from twisted.internet.defer import DeferredList

from mizu.accounts.fields import FIELDS
from mizu.accounts.records import NewAccount, Record
from mizu.errors import BadRequest, Conflict, Forbidden, MizuError, NotFound

HA1 = {"MD5": "0" * 32, "SHA-256": "1" * 64}


@pytest.fixture
def records(store):
    """The records of a store that runs."""
    return store.records


async def add(records, username: str, scope: int | None = None, **values: object) -> Record:
    """One account with these field values."""
    return (await records.add([NewAccount(username, HA1, values)], scope, "tester"))[0]


async def refused(kind: type[MizuError], awaitable) -> str:
    """The text of the refusal."""
    with pytest.raises(kind) as caught:
        await awaitable
    return str(caught.value)


async def test_a_new_account_has_the_default_of_each_field(records):
    """What nobody said is as the field table says: table, code and documents agree."""
    record = await add(records, "alice")
    for field in FIELDS:
        if field.changed_by != "server" and field.name != "password":
            assert record[field.name] == (False if field.secret else field.default), field.name
    assert (record["username"], record["created_by"]) == ("alice", "tester")


async def test_every_field_keeps_what_it_is_given(records):
    """A value goes in and comes out the same, in columns, in contact data, and in the next read."""
    boss = await add(records, "boss", type=4)
    given = {}
    for field in FIELDS:
        if field.changed_by == "server" or field.name in ("password", "pin"):
            continue
        given[field.name] = {
            "flag": not field.default,
            "account": boss["id"],
            "money": 12_345_678,
            "percent": "12.50",
            "time": "2027-01-01T00:00:00+00:00",
            "prefixes": "361,362",
            "partners": "1,2",
            "number": "3615550100",
            "members": "1,g2",
            "currency": "EUR",
            "addresses": "192.0.2.1",
            "host": "sip.example.com",
            "text": "Ünï 'quoted' \\ x",
            "choice": next((n for n in field.kind.names if n != field.default), 0),
            "integer": 6,
        }[field.kind.name]
    await records.add([NewAccount("alice", HA1, given)], None, "tester")
    record = await records.get("alice", None)
    assert {name: record[name] for name in given} == given
    gone = {"parent_id": None, "billing_account_id": None, "company_id": None, "short_number": "", "type": 0}
    before, after = await records.change("alice", {"name": "", "credit": 5, **gone}, None)
    assert (before["name"], after["name"], after["credit"], after["parent_id"]) == (
        given["name"],
        "",
        5,
        None,
    )
    assert after["email"] == given["email"]
    assert await records.get("alice", None) == after


async def test_accounts_are_named_by_username_or_number(records):
    """``#12`` is the id and nothing else."""
    first = await add(records, "1")
    assert (await records.get(f"#{first['id']}", None))["username"] == "1"
    assert (await records.get("1", None))["id"] == first["id"]
    for name in ("2", "#999999", "#x", "", "\x00", "#" + "9" * 18):
        await refused(NotFound, records.get(name, None))


async def test_references_are_usernames_or_numbers(records):
    """An owner may be given either way; one that does not exist is said."""
    boss = await add(records, "boss")
    assert (await add(records, "a", parent_id="boss"))["parent_id"] == boss["id"]
    assert (await add(records, "b", parent_id=f"#{boss['id']}"))["parent_id"] == boss["id"]
    assert "parent_id" in await refused(NotFound, add(records, "c", parent_id="nobody"))


async def test_a_change_of_an_old_version_is_refused(records):
    """Two operators cannot overwrite each other unseen; at once, exactly one succeeds."""
    record = await add(records, "alice")
    changes = [
        records.change("alice", {"max_channels": n}, None, version=record["version"]) for n in (1, 2, 3)
    ]
    done = await DeferredList(changes, consumeErrors=True)
    assert sorted(good for good, _ in done) == [False, False, True]
    assert all(good or isinstance(result.value, Conflict) for good, result in done)
    assert (await records.get("alice", None))["version"] > record["version"]


async def test_many_are_made_or_none(records):
    """One name that is taken spoils the batch, and nothing of it stays."""
    await add(records, "x3")
    new = [NewAccount(f"x{n}", HA1, {}) for n in range(5)]
    assert "username" in await refused(Conflict, records.add(new, None, "tester"))
    await refused(NotFound, records.get("x0", None))


async def test_numbers_belong_to_one_account(records):
    """A phone number is of one account alone, a short number once in a company, and only there."""
    firm = await add(records, "firm", is_company=True)
    await add(records, "a", phone_number="361", company_id=firm["id"], short_number="10")
    assert "phone_number" in await refused(Conflict, add(records, "b", phone_number="361"))
    other = {"company_id": firm["id"], "short_number": "10"}
    assert "short_number" in await refused(Conflict, add(records, "b", **other))
    assert "company_id" in await refused(BadRequest, add(records, "b", short_number="10"))
    assert "company" in await refused(Conflict, records.delete("firm", None))


async def test_a_pin_is_kept_encrypted(records, store, tmp_path):
    """Readers learn only that there is one; the key file is the server's alone."""
    record = await add(records, "alice", pin="4711")
    assert record["pin"] is True
    rows = await store._reports.query("SELECT pin_sealed FROM account")
    assert "4711" not in rows[0][0]
    assert store.secret_keys().open(rows[0][0]) == "4711"
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


async def test_the_chain_and_the_tree(records):
    """A chain goes up to the top, a tree down, both with levels in order."""
    top = await add(records, "top", type=4)
    middle = await add(records, "middle", type=4, parent_id=top["id"])
    await add(records, "phone", parent_id=middle["id"])
    await add(records, "other")
    assert [one["username"] for one in await records.chain("phone", None)] == ["phone", "middle", "top"]
    tree = await records.tree(None, None, 100, 100)
    assert [(one.level, one.path[-1]) for one in tree] == [
        (0, "other"),
        (0, "top"),
        (1, "middle"),
        (2, "phone"),
    ]
    assert [one.path[-1] for one in await records.tree("top", None, 1, 100)] == ["top", "middle"]
    assert len(await records.tree(None, None, 100, 2)) == 2


async def test_a_subtree_moves_as_one(records, store):
    """What hangs below goes along; circles and too many levels are refused."""
    await store._reports.operate("INSERT INTO option (name, value) VALUES ('maxresellers', '3')")
    parent = None
    for name in ("a", "b", "c"):
        parent = (await add(records, name, type=4, parent_id=parent))["id"]
    await add(records, "x", type=4)
    await add(records, "y", type=4, parent_id="x")
    await records.change("c", {"parent_id": "y"}, None)
    assert [one["username"] for one in await records.chain("c", None)] == ["c", "y", "x"]
    assert "below itself" in await refused(Conflict, records.change("x", {"parent_id": "c"}, None))
    assert "maxresellers" in await refused(Conflict, records.change("x", {"parent_id": "b"}, None))
    await records.change("x", {"parent_id": "a"}, None)
    assert "maxresellers" in await refused(Conflict, add(records, "z", parent_id="c"))
    assert [one["username"] for one in await records.chain("c", None)] == ["c", "y", "x", "a"]


# ------------------------------------------------------------ what a reseller sees and changes


@pytest_twisted.async_fixture
async def family(records):
    """Two resellers of one owner; ids by name."""
    ids = {}
    for name, parent, type_ in (
        ("owner", None, 5),
        ("mine", "owner", 4),
        ("phone", "mine", 0),
        ("shop", "mine", 4),
        ("cabin", "shop", 1),
        ("theirs", "owner", 4),
        ("victim", "theirs", 0),
    ):
        ids[name] = (await add(records, name, type=type_, parent_id=parent))["id"]
    return ids


HOSTILE: list[tuple[str, Callable]] = [
    ("get", lambda r, who, s: r.get(who, s)),
    ("chain", lambda r, who, s: r.chain(who, s)),
    ("tree", lambda r, who, s: r.tree(who, s, 10, 10)),
    ("change", lambda r, who, s: r.change(who, {"display_name": "x"}, s)),
    ("password", lambda r, who, s: r.change(who, {}, s, ha1=HA1)),
    ("delete", lambda r, who, s: r.delete(who, s)),
    ("move there", lambda r, who, s: r.change("phone", {"parent_id": who}, s)),
    ("make there", lambda r, who, s: add(r, "new", s, parent_id=who)),
    ("bill", lambda r, who, s: r.change("phone", {"billing_account_id": who}, s)),
    ("company", lambda r, who, s: r.change("phone", {"company_id": who}, s)),
    ("make billed", lambda r, who, s: add(r, "new", s, billing_account_id=who)),
]


@pytest.mark.parametrize("who", ["victim", "theirs", "owner", "#id"])
@pytest.mark.parametrize("name", [name for name, _ in HOSTILE])
async def test_what_is_outside_does_not_exist(records, family, name, who):
    """A reseller gets the same answer for accounts of others as for names that nobody has."""
    scope = family["mine"]
    who = f"#{family['victim']}" if who == "#id" else who
    attack = dict(HOSTILE)[name]
    before = {one["username"]: one for one in await records.list("", 100, "", None)}
    told = await refused(NotFound, attack(records, who, scope))
    assert told == (await refused(NotFound, attack(records, "nobody", scope))).replace("nobody", who)
    assert {one["username"]: one for one in await records.list("", 100, "", None)} == before


async def test_a_reseller_works_with_what_is_below(records, family):
    """List, chain and tree end at the own account; what is below is read and changed."""
    scope = family["mine"]
    assert [one["username"] for one in await records.list("", 100, "", scope)] == [
        "cabin",
        "mine",
        "phone",
        "shop",
    ]
    assert [one["username"] for one in await records.chain("cabin", scope)] == ["cabin", "shop", "mine"]
    assert [one.path[-1] for one in await records.tree(None, scope, 10, 10)] == [
        "mine",
        "phone",
        "shop",
        "cabin",
    ]
    assert (await records.change("cabin", {"display_name": "C", "max_channels": 1}, scope))[1][
        "display_name"
    ] == "C"
    new = await add(records, "new", scope)
    assert new["parent_id"] == scope
    await records.change("new", {"parent_id": "shop"}, scope)
    await records.delete("new", scope)


@pytest.mark.parametrize(
    ("who", "values"),
    [
        ("mine", {"max_channels": 0}),
        ("mine", {"parent_id": None}),
        ("mine", {"enabled": True}),
        ("mine", {"allowed_partners": "*"}),
        ("phone", {"parent_id": None}),
        ("phone", {"credit": 10**9}),
        ("phone", {"trusted_identity": True}),
        ("phone", {"rights": 60}),
        ("phone", {"auth_type": 0}),
        ("phone", {"type": 15}),
        ("phone", {"type": 7}),
    ],
)
async def test_a_reseller_gives_itself_nothing(records, family, who, values):
    """Own limits, money, rights, trust and types of staff or trunks are not a reseller's to change."""
    before = await records.get(who, None)
    await refused(Forbidden, records.change(who, values, family["mine"]))
    if who != "mine" and "parent_id" not in values:
        await refused(Forbidden, add(records, "new", family["mine"], **values))
    assert await records.get(who, None) == before


async def test_a_reseller_changes_its_own_password_and_contact_data(records, family):
    """Of the own account, that and no more; it cannot be deleted either."""
    await records.change("mine", {"email": "me@example.com"}, family["mine"], ha1={"MD5": "2" * 32})
    await refused(Forbidden, records.delete("mine", family["mine"]))


@pytest.mark.parametrize("name", ["id", "username", "version", "created_by", "created_at"])
async def test_nobody_changes_what_the_server_sets(records, name):
    """Not even staff."""
    await add(records, "alice")
    await refused(BadRequest, records.change("alice", {name: "1"}, None))
