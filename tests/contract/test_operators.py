"""Tokens of operators and the audit list, over PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest

from mizu.console.token_commands import new_token, token_sha256
from mizu.errors import Conflict, Forbidden, NotFound
from mizu.model import AccountType, AuditEntry, Change, Operator, Rights

ROOT = Operator("console", Rights.GENERAL_ADMIN, "127.0.0.1")


@pytest.fixture
def accounts(store):
    """Makes an account: ``await make("shop", type=4, rights=50, parent_id=...)`` gives its id."""

    async def make(username, *, rights=50, **fields):
        account = await store.accounts.add(username, {}, fields)
        await store._reports.operate("UPDATE account SET rights = %s WHERE id = %s", (rights, account.id))
        return account.id

    return make


@pytest.fixture
def give(store):
    """Makes a token: ``await give("shop")`` gives the token's text and its facts."""

    async def make(username, by=ROOT, *, rights=None, expires_at=None):
        token = new_token()
        facts = await store.operators.add(
            username, token_sha256(token), by, rights=rights, label="", expires_at=expires_at
        )
        return token, facts

    return make


async def who(store, token):
    return await store.operators.find(token_sha256(token), "192.0.2.7")


async def refused(kind, awaitable):
    with pytest.raises(kind) as caught:
        await awaitable
    return str(caught.value)


async def test_an_admin_without_an_owner_reaches_everything(store, accounts, give):
    """The token says who it is, with the account's rights and without a limit; another text is nobody's."""
    await accounts("alice", type=AccountType.ADMIN)
    token, facts = await give("alice")
    operator = await who(store, token)
    assert (
        operator.name,
        operator.rights,
        operator.scope_account_id,
        operator.token_id,
        operator.source,
    ) == (
        "alice",
        Rights.ADMIN,
        None,
        facts.id,
        "192.0.2.7",
    )
    assert await who(store, new_token()) is None


async def test_a_resellers_token_reaches_its_subtree(store, accounts, give):
    """Its scope is the account itself; that of an admin below an owner is the owner."""
    owner = await accounts("owner", type=AccountType.OWNER)
    shop = await accounts("shop", type=AccountType.RESELLER, parent_id=owner)
    await accounts("clerk", type=AccountType.ADMIN, parent_id=owner)
    shop_token, facts = await give("shop")
    clerk_token, _ = await give("clerk")
    assert (await who(store, shop_token)).scope_account_id == shop
    assert facts.scope == "shop"
    assert (await who(store, clerk_token)).scope_account_id == owner


async def test_a_token_counts_only_while_its_account_does(store, accounts, give):
    """Disabled, suspended above, revoked, expired, or moved out of its scope: the token is nobody's."""
    owner = await accounts("owner", type=AccountType.OWNER)
    other = await accounts("other", type=AccountType.OWNER)
    clerk = await accounts("clerk", type=AccountType.ADMIN, parent_id=owner)
    token, facts = await give("clerk")
    run = store._reports.operate
    for spoil, mend in (
        (
            "UPDATE account SET enabled = false WHERE id = %s",
            "UPDATE account SET enabled = true WHERE id = %s",
        ),
        (
            "UPDATE account SET is_template = true WHERE id = %s",
            "UPDATE account SET is_template = false WHERE id = %s",
        ),
    ):
        await run(spoil, (clerk,))
        assert await who(store, token) is None
        await run(mend, (clerk,))
        assert await who(store, token) is not None
    await run("UPDATE account SET suspended = true WHERE id = %s", (owner,))
    assert await who(store, token) is None
    await run("UPDATE account SET suspended = false WHERE id = %s", (owner,))
    await run("UPDATE account SET parent_id = %s WHERE id = %s", (other, clerk))
    assert await who(store, token) is None
    await run("UPDATE account SET parent_id = %s WHERE id = %s", (owner, clerk))
    assert (await store.operators.revoke(facts.id, ROOT)).revoked_at is not None
    assert await who(store, token) is None
    late, _ = await give("clerk", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert await who(store, late) is None


async def test_a_token_without_limit_dies_when_its_account_is_no_longer_staff(store, accounts, give):
    """An admin who becomes somebody's customer does not keep the whole server."""
    alice = await accounts("alice", type=AccountType.ADMIN)
    token, _ = await give("alice")
    await store._reports.operate("UPDATE account SET type = 0 WHERE id = %s", (alice,))
    assert await who(store, token) is None


@pytest.mark.parametrize("kind", [AccountType.SUPPORT, AccountType.ADMIN])
async def test_a_token_of_staff_of_an_owner_reaches_itself_alone_when_it_is_no_longer_staff(
    store, accounts, give, kind
):
    """From the next request on. Staff again, the token reaches what it did."""
    shop = await accounts("shop", type=AccountType.RESELLER)
    clerk = await accounts("clerk", type=kind, parent_id=shop)
    token, _ = await give("clerk")
    run = store._reports.operate
    for other in set(AccountType) - {AccountType.SUPPORT, AccountType.ADMIN}:
        await run("UPDATE account SET type = %s WHERE id = %s", (int(other), clerk))
        assert (await who(store, token)).scope_account_id == clerk
    await run("UPDATE account SET type = %s WHERE id = %s", (int(kind), clerk))
    assert (await who(store, token)).scope_account_id == shop


async def test_rights_are_the_least_of_account_token_and_maker(store, accounts, give):
    """Nobody gives more than the account has, nor more than the own; less rights take effect at once."""
    alice = await accounts("alice", type=AccountType.ADMIN, rights=50)
    await accounts("phone", rights=0)
    seller = Operator("bob", Rights.SALES)
    assert "only the rights admin" in await refused(Conflict, give("alice", rights=Rights.GENERAL_ADMIN))
    assert "up to your own, sales" in await refused(Forbidden, give("alice", seller, rights=Rights.ADMIN))
    assert "set phone rights=" in await refused(Conflict, give("phone"))
    assert (await give("alice", seller))[1].rights == Rights.SALES
    token, _ = await give("alice")
    await store._reports.operate("UPDATE account SET rights = 30 WHERE id = %s", (alice,))
    assert (await who(store, token)).rights == Rights.USER


async def test_a_limited_operator_sees_and_makes_tokens_in_his_subtree_only(store, accounts, give):
    """A sibling's account and token are as if they did not exist; the own scope cannot be widened."""
    top = await accounts("top", type=AccountType.OWNER)
    shop = await accounts("shop", type=AccountType.RESELLER, parent_id=top)
    await accounts("rival", type=AccountType.RESELLER, parent_id=top)
    await accounts("desk", type=AccountType.ADMIN, parent_id=shop)
    _, rivals = await give("rival")
    mine = Operator("shop", Rights.ADMIN, scope_account_id=shop)
    assert await refused(NotFound, give("rival", mine)) == "there is no account 'rival'"
    assert await refused(NotFound, give("top", mine)) == "there is no account 'top'"
    assert (
        await refused(NotFound, store.operators.revoke(rivals.id, mine)) == f"there is no token {rivals.id}"
    )
    assert await refused(NotFound, store.operators.revoke(99_999, mine)) == "there is no token 99999"
    desk, facts = await give("desk", mine)
    assert (await who(store, desk)).scope_account_id == shop
    assert [one.id for one in await store.operators.list("", 10, 0, mine, every=False)] == [facts.id]
    await store._reports.operate("UPDATE account SET type = 15 WHERE id = %s", (shop,))
    own, _ = await give("shop", mine)  # an admin's natural reach would be the owner above
    assert (await who(store, own)).scope_account_id == shop


async def test_lists_go_on_where_they_ended(store, accounts, give):
    """By number; revoked ones are there when asked for."""
    await accounts("alice", type=AccountType.ADMIN)
    numbers = [(await give("alice"))[1].id for _ in range(3)]
    await store.operators.revoke(numbers[1], ROOT)
    assert [t.id for t in await store.operators.list("alice", 10, 0, ROOT, every=False)] == [
        numbers[0],
        numbers[2],
    ]
    assert [t.id for t in await store.operators.list("", 10, numbers[0], ROOT, every=True)] == numbers[1:]
    assert "revoked already" in await refused(Conflict, store.operators.revoke(numbers[1], ROOT))


async def test_the_last_use_is_noted(store, accounts, give):
    """When and from where; a token that nobody uses is seen as such."""
    await accounts("alice", type=AccountType.ADMIN)
    token, facts = await give("alice")
    assert facts.used_at is None
    await who(store, token)
    seen = (await store.operators.list("", 10, 0, ROOT, every=False))[0]
    assert seen.used_at is not None
    assert seen.used_from == "192.0.2.7"


async def test_the_token_itself_is_kept_nowhere(store, accounts, give):
    """E3: neither the token nor its random part is in the table."""
    await accounts("alice", type=AccountType.ADMIN)
    token, _ = await give("alice")
    rows = await store._reports.query("SELECT t::text FROM operator_token t")
    assert token.removeprefix("mizu_") not in str(rows)


# ---------------------------------------------------------------- audit


async def test_an_entry_is_begun_and_completed(store):
    """Before the change it says what is going to happen, after it how that went and what changed."""
    operator = Operator("alice", Rights.ADMIN, "192.0.2.7", token_id=5)
    number = await store.audit.begin(AuditEntry(operator, "options set", "options set maxresellers 5"))
    begun = (await store.audit.list(10, None, "", "", ROOT))[0]
    assert (begun.id, begun.outcome, begun.ended_at, begun.changes) == (number, "begun", None, [])
    change = Change("option", "maxresellers", None, {"value": 5})
    await store.audit.finish(number, "ok", [change])
    done = (await store.audit.list(10, None, "alice", "option:maxresellers", ROOT))[0]
    assert (done.who, done.source, done.token_id, done.outcome) == ("alice", "192.0.2.7", 5, "ok")
    assert done.line == "options set maxresellers 5"
    assert done.ended_at is not None
    assert done.changes == [{"topic": "option", "key": "maxresellers", "before": None, "after": {"value": 5}}]


async def test_the_list_is_filtered_and_paged(store):
    """Newest first; by who, by object, by what came before."""
    numbers = []
    for name in ("alice", "bob", "alice"):
        entry = AuditEntry(Operator(name, Rights.ADMIN), "x", "x")
        numbers.append(await store.audit.begin(entry))
    await store.audit.finish(
        numbers[0], "ok", [Change("account", "1001", {}, {}), Change("account", "1002", {}, {})]
    )

    async def listed(limit=10, before=None, who="", about=""):
        return [one.id for one in await store.audit.list(limit, before, who, about, ROOT)]

    assert await listed() == numbers[::-1]
    assert await listed(who="alice") == [numbers[2], numbers[0]]
    assert await listed(about="account:1002") == [numbers[0]]
    assert await listed(limit=1, before=numbers[2]) == [numbers[1]]


async def test_a_limited_operator_sees_the_entries_of_his_subtree(store, accounts):
    """Those of operators who are limited to it or to something below; a rival's are not there."""
    top = await accounts("top")
    shop = await accounts("shop", parent_id=top)
    desk = await accounts("desk", parent_id=shop)
    rival = await accounts("rival", parent_id=top)
    for scope in (None, top, shop, desk, rival):
        await store.audit.begin(
            AuditEntry(Operator(f"of {scope}", Rights.ADMIN, scope_account_id=scope), "x", "x")
        )
    seen = await store.audit.list(10, None, "", "", Operator("shop", Rights.ADMIN, scope_account_id=shop))
    assert {one.who for one in seen} == {f"of {shop}", f"of {desk}"}


async def test_an_entry_with_very_large_values_keeps_what_was_changed(store):
    """Beyond a bound the values go, the names stay."""
    number = await store.audit.begin(AuditEntry(ROOT, "x", "x"))
    changes = [Change("account", str(one), None, {"text": "x" * 10_000}) for one in range(200)]
    await store.audit.finish(number, "ok", changes)
    entry = (await store.audit.list(1, None, "", "account:199", ROOT))[0]
    assert len(entry.changes) == 200
    assert entry.changes[0] == {"topic": "account", "key": "0"}


async def test_old_entries_are_deleted(store):
    """After the time that the option says, and not before."""
    old = await store.audit.begin(AuditEntry(ROOT, "x", "x"))
    new = await store.audit.begin(AuditEntry(ROOT, "x", "x"))
    await store._reports.operate(
        "UPDATE audit SET begun_at = now() - interval '11 days' WHERE id = %s", (old,)
    )
    await store.audit._tidy(10)
    assert [one.id for one in await store.audit.list(10, None, "", "", ROOT)] == [new]


async def test_strange_text_from_outside_is_kept(store):
    """NUL and bytes that are no UTF-8 do not stop the entry."""
    number = await store.audit.begin(AuditEntry(Operator("a\x00\udcff", Rights.ADMIN), "x", "x \x00"))
    await store.audit.finish(number, "ok", [Change("account", "\x00", None, {"a": "\x00\udcff"})])
    assert (await store.audit.list(1, None, "", "", ROOT))[0].who == "a\ufffd\ufffd"
