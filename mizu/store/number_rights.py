"""Which phone numbers an operator may give to accounts."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

from collections.abc import Collection

from txpostgres.txpostgres import Cursor

from mizu.accounts.scope import visible_many
from mizu.errors import NotFound
from mizu.store.arrays import texts

#: SQL condition: an operator with a scope sees the free numbers that they may give out, and those of their
#: accounts.
NUMBER_SEEN = f"""(%(scope)s::bigint IS NULL OR CASE WHEN n.account_id IS NULL
 THEN n.holder_id IS NOT NULL AND {visible_many("n.holder_id")} ELSE {visible_many("n.account_id")} END)"""
_SEEN = f"SELECT n.number FROM phone_number n WHERE n.number = ANY (%(numbers)s::text[]) AND {NUMBER_SEEN}"


async def not_to_give(cursor: Cursor, numbers: Collection[str], scope: int | None) -> frozenset[str]:
    """
    Those of these numbers that the operator may give to nobody. Limited to some accounts, they give what the
    table of numbers has for them; staff give any. That one is taken already, the database says.
    """
    if scope is None or not numbers:
        return frozenset()
    await cursor.execute(_SEEN, {"numbers": texts(list(numbers)), "scope": scope})
    return frozenset(numbers) - {row[0] for row in cursor.fetchall()}


def no_such_number(number: str) -> NotFound:
    """The refusal."""
    return NotFound(f"phone_number: there is no number {number!r} that you may give out")
