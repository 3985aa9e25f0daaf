"""Which phone numbers an operator may give to accounts, as usernames too."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

import re
from collections.abc import Collection, Mapping

from txpostgres.txpostgres import Cursor

from mizu.accounts.scope import visible_many
from mizu.errors import BadRequest, Forbidden, NotFound
from mizu.options import OPTIONS
from mizu.store.arrays import texts

#: SQL condition: an operator with a scope sees the free numbers that they may give out, and those of their
#: accounts.
NUMBER_SEEN = f"""(%(scope)s::bigint IS NULL OR CASE WHEN n.account_id IS NULL
 THEN n.holder_id IS NOT NULL AND {visible_many("n.holder_id")} ELSE {visible_many("n.account_id")} END)"""
_SEEN = f"SELECT n.number FROM phone_number n WHERE n.number = ANY (%(numbers)s::text[]) AND {NUMBER_SEEN}"
_TABLE = f"SELECT n.number, {NUMBER_SEEN} FROM phone_number n WHERE n.number = ANY (%(numbers)s::text[])"
_LENGTHS = ("resellernumbermin", "resellernumbermax")
_OPTIONS = "SELECT name, value FROM option WHERE name = ANY (%s::text[])"
#: A username that can be dialled as a number; with a plus sign or without, it is the same one.
_DIALLED = re.compile(r"\+?([0-9*#]+)\Z")


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


async def names_not_to_give(
    cursor: Cursor, usernames: Collection[str], scope: int | None
) -> dict[str, Forbidden]:
    """
    Those of these usernames that the operator may give to no account, with the reason: calls to a number go
    to the account that is called so, whoever else they are meant for. Limited to some accounts, they give
    short ones (options ``resellernumbermin``, ``resellernumbermax``), and what the table of numbers has for
    them.
    """
    numbers = {name: found[1] for name in usernames if (found := _DIALLED.match(name))}
    if scope is None or not numbers:
        return {}
    await cursor.execute(_TABLE, {"numbers": texts(list(numbers.values())), "scope": scope})
    theirs: Mapping[str, bool] = dict(cursor.fetchall())
    least, most = await _lengths(cursor)
    return {
        name: Forbidden(
            f"username: {name[:64]!r} is not yours to give; want letters in it, {least} to {most} digits, "
            "or a number that 'numbers list --free' shows"
        )
        for name, number in numbers.items()
        if not theirs.get(number, least <= len(number) <= most)
    }


async def _lengths(cursor: Cursor) -> tuple[int, int]:
    """As the database has them now; what it has and cannot be used, as by default."""
    values = {name: OPTIONS[name].default for name in _LENGTHS}
    await cursor.execute(_OPTIONS, (texts(list(_LENGTHS)),))
    for name, text in cursor.fetchall():
        try:
            values[name] = OPTIONS[name].parse(text)
        except BadRequest:
            continue
    least, most = (values[name] for name in _LENGTHS)
    assert isinstance(least, int)
    assert isinstance(most, int)
    return least, most
