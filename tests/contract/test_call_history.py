"""Call records for operators: staff see all, a reseller exactly what his accounts called or answered."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted

from mizu.model import CallAnswered, CallOpened
from mizu.store.call_history import _WITHIN

ROOT = Path(__file__).parents[2]
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_ADD = "INSERT INTO account (username, parent_id) VALUES (%s, %s) RETURNING id"


class Books:
    """Accounts by name, and calls between them; the newest call was made last."""

    def __init__(self, store):
        self.store, self.ids, self.calls = store, {}, {}

    async def account(self, name, parent=None):
        rows = await self.store._reports.query(_ADD, (name, self.ids.get(parent)))
        self.ids[name] = rows[0][0]

    async def call(self, name, caller=None, callee=None):
        call_id = uuid.uuid5(uuid.NAMESPACE_OID, name).hex
        self.calls[call_id] = name
        opened = CallOpened(
            call_id=call_id,
            node="n1",
            caller_account_id=self.ids.get(caller),
            caller_number=f"number of {caller}"[:12],
            called_number="200",
            caller_sip_call_id=f"dialog-of-{caller}",
            caller_address=f"udp:{caller}:5060",
            setup_at=T0 + timedelta(seconds=len(self.calls) // 2),  # pairs at the same moment
        )
        await self.store.calls.open(opened)
        await self.store.calls.answer(
            CallAnswered(
                call_id=call_id,
                answer_at=opened.setup_at,
                route=f"route to {callee}",
                callee_account_id=self.ids.get(callee),
                callee_sip_call_id=f"dialog-to-{callee}",
                callee_address=f"udp:{callee}:5060",
            )
        )
        return call_id

    async def seen(self, scope, limit=100, before=""):
        found = await self.store.call_history.recent(limit, before, self.ids.get(scope))
        return [self.calls[one.call_id] for one in found]


@pytest_twisted.async_fixture
async def books(store):
    """Two resellers below one owner, with phones; every pair of parties that matters has a call."""
    books = Books(store)
    for name, parent in (
        ("top", None),
        ("shop", "top"),
        ("branch", "shop"),
        ("rival", "top"),
        ("shop1", "shop"),
        ("branch1", "branch"),
        ("rival1", "rival"),
    ):
        await books.account(name, parent)
    for name, caller, callee in (
        ("out", "shop1", None),
        ("in", None, "branch1"),
        ("inside", "branch1", "shop1"),
        ("own", "shop", None),
        ("to rival", "shop1", "rival1"),
        ("from rival", "rival1", "shop1"),
        ("rival's", "rival1", None),
        ("top's", "top", None),
        ("nobody's", None, None),
    ):
        await books.call(name, caller, callee)
    return books


async def test_a_reseller_sees_exactly_the_calls_of_his_accounts(books):
    """From or to an account of his at any depth; a sibling's, those of above and of nobody are not there."""
    assert set(await books.seen("shop")) == {"from rival", "to rival", "own", "inside", "in", "out"}
    assert set(await books.seen("branch")) == {"inside", "in"}
    assert set(await books.seen("rival")) == {"rival's", "from rival", "to rival"}
    assert len(await books.seen("top")) == 8
    assert len(await books.seen(None)) == 9


async def test_of_the_other_party_only_the_number_is_shown(books):
    """Neither whose account it is, nor where it is, nor by what carrier or dialog."""
    found = {books.calls[one.call_id]: one for one in await books.store.call_history.recent(9, "", 2)}
    assert books.ids["shop"] == 2
    came, went = found["from rival"], found["to rival"]
    assert "rival" not in repr(came).replace("number of rival1"[:12], "")
    assert "rival" not in repr(went)
    assert (came.caller, came.caller_address, came.callee, came.route) == ("", "", "shop1", "route to shop1")
    assert (went.caller, went.callee, went.callee_address, went.route) == ("shop1", "", "", "")
    assert (went.called_number, went.caller_address) == ("200", "udp:shop1:5060")


@pytest.mark.parametrize("scope", [None, "top", "shop", "branch", "rival"])
@pytest.mark.parametrize("size", [1, 2, 5])
async def test_pages_together_are_the_whole(books, scope, size):
    """Nothing twice, nothing left out, also between calls of the same moment."""
    whole, walked, before = await books.seen(scope), [], ""
    while page := await books.store.call_history.recent(size, before, books.ids.get(scope)):
        walked += [books.calls[one.call_id] for one in page]
        before = page[-1].call_id
    assert walked == whole


async def test_a_call_of_others_is_no_place_to_go_on_from(books):
    """A guessed call id tells nothing, not even when that call was."""
    ids = {name: call_id for call_id, name in books.calls.items()}
    assert await books.seen("shop", before=ids["rival's"]) == []
    assert await books.seen("shop", before=uuid.uuid4().hex) == []
    assert await books.seen("shop", before="no such id") == []
    after = await books.seen("shop", before=ids["from rival"])
    assert set(after) == {"to rival", "own", "inside", "in", "out"}


async def test_a_moved_account_takes_its_calls_along(books):
    """What counts is whose the account is now."""
    await books.store.records.change("shop1", {"parent_id": "rival"}, None)
    assert set(await books.seen("shop")) == {"own", "inside", "in"}
    assert "out" in await books.seen("rival")


@pytest.mark.parametrize("gone", [("shop1",), ("branch1", "branch"), ("shop1", "branch1", "branch")])
async def test_calls_of_deleted_accounts_stay_with_who_was_above(books, gone):
    """Nobody hides calls from the reseller above by deleting accounts, a whole branch of them neither."""
    before = {scope: await books.seen(scope) for scope in ("shop", "top", "rival", None)}
    found = {one.call_id: one for one in await books.store.call_history.recent(100, "", books.ids["top"])}
    for name in gone:
        await books.store.records.delete(name, None)
    assert {scope: await books.seen(scope) for scope in before} == before
    assert found == {
        one.call_id: one for one in await books.store.call_history.recent(100, "", books.ids["top"])
    }
    page = await books.store.call_history.recent(3, "", books.ids["shop"])
    rest = await books.seen("shop", before=page[-1].call_id)
    assert [books.calls[one.call_id] for one in page] + rest == before["shop"]


async def test_a_new_account_of_an_old_name_has_none_of_the_calls(books):
    """The name of the one that called is shown, to who was above it; the new one has its own calls."""
    await books.store.records.delete("rival1", None)
    await books.account("rival1", "shop")
    assert set(await books.seen("shop")) == {"from rival", "to rival", "own", "inside", "in", "out"}
    assert set(await books.seen("rival")) == {"rival's", "from rival", "to rival"}
    staff = {books.calls[one.call_id]: one for one in await books.store.call_history.recent(9, "", None)}
    assert staff["rival's"].caller == "rival1"


async def test_what_is_remembered_of_deleted_accounts_can_be_pruned(books):
    """As docs/operate.rst says: a row can go when no call names it, nor a row that may not go."""
    for name in ("branch1", "branch", "rival1"):
        await books.store.records.delete(name, None)
    await books.store._reports.operate("DELETE FROM call WHERE caller_address = 'udp:rival1:5060'")
    text = (ROOT / "docs" / "operate.rst").read_text(encoding="utf-8")
    [prune] = re.findall(r"WITH RECURSIVE[^;]*;", text.replace("interval '1 day'", "interval '0 s'"))
    await books.store._reports.operate(prune)
    left = await books.store._reports.query("SELECT username FROM deleted_account ORDER BY id")
    assert [name for (name,) in left] == ["branch", "branch1", "rival1"]
    await books.store._reports.operate(
        "DELETE FROM call WHERE callee_account_id = %s", (books.ids["rival1"],)
    )
    await books.store._reports.operate(prune)
    left = await books.store._reports.query("SELECT username FROM deleted_account ORDER BY id")
    assert [name for (name,) in left] == ["branch", "branch1"]


async def test_a_page_does_not_read_the_table(store):
    """With 20,000 calls of others, a reseller's page is made from the two indexes."""
    await store._reports.operate(
        "INSERT INTO account (username) SELECT 'u' || n FROM generate_series(1, 200) n;"
        "INSERT INTO call (call_id, node, caller_account_id, callee_account_id, caller_number, called_number,"
        " caller_sip_call_id, caller_address, setup_at) SELECT gen_random_uuid(), 'n', 1 + n % 200,"
        " 1 + n % 177, '1', '2', 'x', 'udp:h:1', now() - n * interval '1 s' FROM generate_series(1, 20000) n"
    )
    plan = await store._reports.query("EXPLAIN " + _WITHIN.format(before=""), {"scope": 7, "limit": 21})
    text = "\n".join(row[0] for row in plan)
    assert "call_caller" in text
    assert "call_callee" in text
    assert "Seq Scan on call" not in text
