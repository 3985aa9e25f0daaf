"""Plans of prepared statements fit the size of the tables, whatever it was when they were made."""

import pytest
from twisted.internet.task import deferLater

from mizu.store import accounts, callrows, locations
from mizu.store.postgres import Link, parse_url
from mizu.store.store import _PREPARED_PLANS

pytestmark = pytest.mark.limit(60)

FILL = """INSERT INTO account (username) SELECT 'u' || n FROM generate_series(1, 5000) n;
INSERT INTO location SELECT 'u' || n, 'n', now(), '[]' FROM generate_series(1, 5000) n;
INSERT INTO call (call_id, node, caller_number, called_number, caller_sip_call_id, caller_address, setup_at)
 SELECT gen_random_uuid(), 'n', '1', '2', 'c', 'a', now() FROM generate_series(1, 5000)"""
STATEMENTS = {
    "location_write": "'[]', 'n'",
    "call_answer": ", ".join(["NULL"] * 7),
    "call_close": ", ".join(["NULL"] * 13),
    "account_find": "'{}'",
}


async def plans(link: Link) -> dict[str, str]:
    found = {}
    for name, arguments in STATEMENTS.items():
        rows = await link.query(f"EXPLAIN EXECUTE {name} ({arguments})")
        found[name] = "\n".join(row[0] for row in rows)
    return found


async def test_a_plan_of_an_empty_table_does_not_last(database_url):
    """However long PostgreSQL does not look at a table that fills up, it is read by the key soon."""
    from twisted.internet import reactor

    setup = (*accounts.PREPARE, *callrows.PREPARE, *locations.PREPARE)
    parameters = parse_url(database_url)
    link = Link(reactor, lambda: parameters, settings=_PREPARED_PLANS, setup=setup, replan_s=0.5)
    await link.open()
    try:
        for table in ("account", "location", "call"):
            await link.operate(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            await link.operate(f"VACUUM ANALYZE {table}")
        before = await plans(link)
        assert any("Join Filter: (location" in plan for plan in before.values()), before
        await link.operate(FILL)
        await deferLater(reactor, 0.6, lambda: None)
        after = await plans(link)
    finally:
        link.stop()
    for name, key in (
        ("location_write", "Index Cond: (aor = "),
        ("call_answer", "Index Cond: (call_id = "),
        ("call_close", "Index Cond: (call_id = "),
        ("account_find", "Index Cond: (username = "),
    ):
        assert key in after[name], after[name]
