"""What accounts have to do with others, across the border between owners who do not see each other."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

from collections.abc import Sequence

from txpostgres.txpostgres import Cursor

from mizu.accounts.scope import visible
from mizu.accounts.ties import MEMBER, Tie
from mizu.store.postgres import Pool

_REFERENCES = ("billing_account_id", "company_id")
_LISTS = ("ring_group", "allowed_partners", "partner_priority")
_MOVED = """moved AS MATERIALIZED (
 SELECT DISTINCT s.id FROM unnest(%(ids)s::bigint[]) r (root), LATERAL account_subtree(r.root) s)"""
_BOTH_WAYS = " UNION ALL ".join(
    f"""SELECT a.id, '{name}' AS field, a.{name} AS other FROM moved m JOIN account a ON a.id = m.id
 WHERE a.{name} IS NOT NULL
 UNION ALL SELECT a.id, '{name}', a.{name} FROM moved m JOIN account a ON a.{name} = m.id
 WHERE a.id NOT IN (SELECT id FROM moved)"""
    for name in _REFERENCES
)
#: Of ``ties``, those of which neither owner sees the other's account. What is above all owns itself. Who is
#: below one owner is as far from an account as all others below it: that is asked once for all of them.
_APART = f"""pairs AS MATERIALIZED (
 SELECT t.*, x.username AS who, y.username AS whom, coalesce(x.parent_id, x.id) AS owner,
  coalesce(y.parent_id, y.id) AS others_owner
 FROM ties t JOIN account x ON x.id = t.id JOIN account y ON y.id = t.other
 WHERE (x.parent_id = y.parent_id OR y.id = x.parent_id OR x.id = y.parent_id OR x.id = y.id) IS NOT TRUE
), alike AS MATERIALIZED (SELECT DISTINCT owner, other, others_owner FROM pairs), far AS MATERIALIZED (
 SELECT owner, other FROM alike
 WHERE NOT account_within(owner, others_owner) AND NOT account_within(other, owner)
) SELECT p.id, p.field, p.other, p.who, p.whom, {visible("p.id")} AND {visible("p.other")}
FROM pairs p JOIN far USING (owner, other) ORDER BY p.who, p.field, p.whom"""
_REFERRED = f"WITH {_MOVED}, ties AS ({_BOTH_WAYS}), {_APART}"
_ITEMS = " UNION ALL ".join(
    f"""SELECT a.id, '{name}' AS field, item FROM account a, unnest(string_to_array(a.{name}, ',')) item
 WHERE a.{name} NOT IN ('', '*') AND item ~ '^[0-9]{{1,18}}$'"""
    for name in _LISTS
)
_LISTED = f"""WITH {_MOVED},
items AS (SELECT i.id, i.field, i.item::bigint AS other FROM ({_ITEMS}) i),
ties AS (SELECT * FROM items WHERE id IN (SELECT id FROM moved) OR other IN (SELECT id FROM moved)),
{_APART}"""
_IN_GROUPS = f"""WITH {_MOVED}
SELECT m.account_id, '{MEMBER}', g.id, a.username, g.name,
 {visible("m.account_id")} AND {visible("g.owner_id")}
FROM account_group_member m JOIN account_group g ON g.id = m.group_id JOIN account a ON a.id = m.account_id
WHERE (m.account_id IN (SELECT id FROM moved) OR g.owner_id IN (SELECT id FROM moved))
 AND NOT account_within(m.account_id, g.owner_id) ORDER BY a.username, g.name"""


#: In the words of the index account_listed.
_NAMING = f"""SELECT a.id, f.name, 0, a.username, '', {visible("a.id")} FROM account a,
 LATERAL (VALUES ('allowed_partners', a.allowed_partners), ('partner_priority', a.partner_priority),
  ('ring_group', a.ring_group)) f (name, list)
 WHERE (a.allowed_partners NOT IN ('', '*') OR a.partner_priority <> '' OR a.ring_group <> '')
 AND string_to_array(a.allowed_partners || ',' || a.partner_priority || ',' || a.ring_group, ',')
  && ARRAY[%(item)s] AND %(item)s = ANY (string_to_array(f.list, ',')) ORDER BY a.username, f.name"""


async def naming_group(cursor: Cursor, group_id: int, scope: int | None) -> list[Tie]:
    """Whose lists name the group."""
    await cursor.execute(_NAMING, {"item": f"g{group_id}", "scope": scope})
    return [Tie(*row) for row in cursor.fetchall()]


async def naming_account(reports: Pool, account_id: int, scope: int | None) -> list[Tie]:
    """Whose lists name the account; it need not exist any more."""
    return [Tie(*row) for row in await reports.query(_NAMING, {"item": str(account_id), "scope": scope})]


async def apart(cursor: Cursor, ids: Sequence[int], scope: int | None) -> list[Tie]:
    """Who pays for whom, and is the company of whom, of these accounts and all below, though apart."""
    await cursor.execute(_REFERRED, {"ids": list(ids), "scope": scope})
    return [Tie(*row) for row in cursor.fetchall()]


async def left_over(reports: Pool, account_id: int, scope: int | None) -> list[Tie]:
    """All that the account, and what is below it, has to do with accounts and groups apart from it."""
    values = {"ids": [account_id], "scope": scope}
    found = [await reports.query(sql, values) for sql in (_REFERRED, _LISTED, _IN_GROUPS)]
    return [Tie(*row) for rows in found for row in rows]
