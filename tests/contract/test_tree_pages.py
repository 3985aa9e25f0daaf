"""The tree of owners in pages: each account once, after its owner, however large it is."""

import random

import pytest

from mizu.store.account_records import _TREE


async def plant(store, count: int, seed: int) -> dict[str, str | None]:
    """Accounts below others at random. Username of each one's owner."""
    chance = random.Random(seed)
    owners: dict[str, str | None] = {}
    for number in range(count):
        name = f"{chance.choice('aZ9_')}{number}"
        owners[name] = chance.choice([None, None, *owners][-6:]) if owners else None
    await store._reports.operate("ALTER TABLE account DISABLE TRIGGER account_check_parent")
    for name, owner in owners.items():
        await store._reports.operate(
            "INSERT INTO account (username, parent_id) "
            "VALUES (%s, (SELECT id FROM account WHERE username = %s))",
            (name, owner),
        )
    return owners


def preorder(owners: dict[str, str | None], top: str | None, levels: int) -> list[tuple[str, ...]]:
    """What the whole tree is."""
    found: list[tuple[str, ...]] = []

    def walk(path: tuple[str, ...]) -> None:
        found.append(path)
        if len(path) <= levels:
            for name in sorted(name for name, owner in owners.items() if owner == path[-1]):
                walk((*path, name))

    for name in sorted(name for name, owner in owners.items() if owner is None) if top is None else [top]:
        walk((name,))
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_pages_are_the_tree(store, seed):
    """From any place on, with any number of levels, of all or of one account."""
    owners = await plant(store, 60, seed)
    inner = next(name for name in owners if name in owners.values())
    for top in (None, inner):
        for levels in (0, 1, 2, 100):
            whole = preorder(owners, top, levels)
            for at in range(0, len(whole) + 1, 7):
                after = whole[at - 1] if at else ()
                found = await store.records.tree(top, None, levels, 9, after)
                assert [node.path for node in found] == whole[at : at + 9]


async def test_it_goes_on_after_what_is_gone(store):
    """The account that the last page ended with, or an owner of it, was deleted or moved meanwhile."""
    owners = await plant(store, 60, 4)
    whole = preorder(owners, None, 100)
    last = whole[10]
    for path in (("a",), ("a0", "b"), ("zz",), ("Z", "Z"), (*last, "~"), (*last[:-1], last[-1] + "x", "y")):
        found = await store.records.tree(None, None, 100, 1000, path)
        assert [node.path for node in found] == [one for one in whole if one > path]


async def test_a_page_reads_what_is_in_it(store):
    """Not the whole tree: with many accounts as with few."""
    await store._reports.operate("ALTER TABLE account DISABLE TRIGGER USER")
    await store._reports.operate(
        "INSERT INTO account (username, type) SELECT 'r' || 1000 + n, 4 FROM generate_series(1, 200) n"
    )
    await store._reports.operate(
        "INSERT INTO account (username, parent_id) SELECT 'u' || n, r.id FROM generate_series(1, 20000) n "
        "JOIN account r ON r.username = 'r' || 1001 + n % 200"
    )
    await store._reports.operate("ANALYZE account")
    params = {"root": None, "levels": 100, "limit": 100, "after": ["r1100", "u10099"]}
    [(plan,)] = (await store._reports.query("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + _TREE, params))[0:1]
    top = plan[0]["Plan"]
    assert top["Actual Rows"] == 100
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 3000
