"""Which phone numbers an operator may give to accounts, as usernames and as callers too."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from txpostgres.txpostgres import Cursor

from mizu.accounts.kinds import Value
from mizu.accounts.records import Record
from mizu.accounts.scope import visible, visible_many
from mizu.errors import BadRequest, Forbidden, MizuError, NotFound
from mizu.options import OPTIONS
from mizu.store.arrays import texts

#: SQL condition: an operator with a scope sees the free numbers that they may give out, and those of their
#: accounts.
NUMBER_SEEN = f"""(%(scope)s::bigint IS NULL OR CASE WHEN n.account_id IS NULL
 THEN n.holder_id IS NOT NULL AND {visible_many("n.holder_id")} ELSE {visible_many("n.account_id")} END)"""
_SEEN = f"SELECT n.number FROM phone_number n WHERE n.number = ANY (%(numbers)s::text[]) AND {NUMBER_SEEN}"
_TABLE = f"SELECT n.number, {NUMBER_SEEN} FROM phone_number n WHERE n.number = ANY (%(numbers)s::text[])"
#: Numbers that calls may seem to come from: of the table, or that accounts are called by.
_SHOWN = f"""SELECT w.number FROM (SELECT number, ltrim(number, '+') AS digits
 FROM unnest(%(numbers)s::text[]) number) w
 WHERE EXISTS (SELECT FROM phone_number n WHERE n.number = w.digits AND {NUMBER_SEEN})
 OR EXISTS (SELECT FROM account a WHERE a.username IN (w.digits, '+' || w.digits) AND {visible("a.id")})
 OR EXISTS (SELECT FROM account a WHERE a.phone_number = w.digits AND a.phone_number <> ''
  AND {visible("a.id")})"""
_LENGTHS = ("resellernumbermin", "resellernumbermax")
_OPTIONS = "SELECT name, value FROM option WHERE name = ANY (%s::text[])"
#: A username that can be dialled as a number; with a plus sign or without, it is the same one.
_DIALLED = re.compile(r"\+?([0-9*#]+)\Z")


class Asked(NamedTuple):
    """What an operator wants of an account, as far as numbers go."""

    username: str
    values: Mapping[str, Value]  #: those that templates give too
    before: Record | None = None  #: the account; ``None``: it is new


async def refused_numbers(
    cursor: Cursor, asked: Sequence[Asked], scope: int | None
) -> Sequence[tuple[str, MizuError] | None]:
    """
    The field and the reason for each of whom the operator may not give what is asked; staff give everything.
    That a number is taken already, the database says.
    """
    if scope is None:
        return [None] * len(asked)
    own = [_changed(one, "phone_number") for one in asked]
    shown = [_changed(one, "caller_number") for one in asked]
    free = await _those(cursor, _SEEN, own, scope)
    theirs = await _those(cursor, _SHOWN, shown, scope)
    return [
        ("phone_number", NotFound(f"phone_number: there is no number {number!r} that you may give out"))
        if number and number not in free
        else ("caller_number", Forbidden(f"caller_number: {caller!r} is no number of your own accounts"))
        if caller and caller not in theirs and _digits(caller) != _digits(one.username)
        else None
        for one, number, caller in zip(asked, own, shown, strict=True)
    ]


def _changed(one: Asked, field: str) -> str:
    """The number that it gets there; empty: none, or the one that it has."""
    number = str(one.values.get(field) or "")
    return "" if one.before is not None and one.before[field] == number else number


async def _those(cursor: Cursor, sql: str, numbers: Collection[str], scope: int) -> frozenset[str]:
    """Those of these numbers that the statement gives."""
    wanted = {number for number in numbers if number}
    if not wanted:
        return frozenset()
    await cursor.execute(sql, {"numbers": texts(list(wanted)), "scope": scope})
    return frozenset(row[0] for row in cursor.fetchall())


def _digits(number: str) -> str:
    return number.removeprefix("+")


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
