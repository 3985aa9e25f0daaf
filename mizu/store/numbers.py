"""Phone numbers (DID) in PostgreSQL. Two who allocate at once never get the same one."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from txpostgres.txpostgres import Cursor

from mizu.accounts.numbers import RANGE_MAX, PhoneNumber
from mizu.accounts.scope import unknown, visible, visible_many
from mizu.accounts.versions import check_version
from mizu.errors import BadRequest, Conflict, NotFound
from mizu.model import AuditNote
from mizu.store.account_records import matching
from mizu.store.arrays import texts
from mizu.store.noted import NotedChanges
from mizu.store.number_rights import NUMBER_SEEN
from mizu.store.postgres import IntegrityError, Pool
from mizu.store.text import storable

#: Who gives it out may be somebody whom the operator of the account that has it does not see.
_COLUMNS = f"""n.number, n.account_id, coalesce(a.username, ''),
 CASE WHEN {visible("n.holder_id")} THEN coalesce(h.username, '') ELSE '' END, n.allocated_at, n.note,
 n.version"""
_FROM = """FROM phone_number n LEFT JOIN account a ON a.id = n.account_id
 LEFT JOIN account h ON h.id = n.holder_id"""
_HELD = f"(%(scope)s::bigint IS NULL OR (n.holder_id IS NOT NULL AND {visible_many('n.holder_id')}))"
_LIST = f"""SELECT {_COLUMNS} {_FROM} WHERE n.number LIKE %(pattern)s AND n.number > %(after)s
 AND (NOT %(free)s OR n.account_id IS NULL) AND (%(account)s::bigint IS NULL OR n.account_id = %(account)s)
 AND {NUMBER_SEEN} ORDER BY n.number LIMIT %(limit)s"""
_GET = f"SELECT {_COLUMNS} {_FROM} WHERE n.number = %(number)s AND {NUMBER_SEEN}"
_ADD = """INSERT INTO phone_number (number, holder_id, note)
 SELECT unnest(%s::text[]), %s, %s ON CONFLICT DO NOTHING RETURNING number"""
#: From before the database saw to it: a free number that an account of somebody else is called by.
_NO_NAME = """NOT EXISTS (SELECT FROM account u WHERE u.username IN (n.number, '+' || n.number)
 AND u.id <> %(account)s)"""
_ALLOCATE = f"""UPDATE phone_number SET account_id = %(account)s, allocated_at = now(),
 version = version + 1 WHERE number = (
 SELECT n.number FROM phone_number n WHERE n.account_id IS NULL AND {{which}} AND {_HELD}
 ORDER BY n.number LIMIT 1 FOR UPDATE{{skip}}) AND account_id IS NULL RETURNING number"""


class PostgresNumbers:
    """
    Phone numbers. ``scope`` is ``Operator.scope_account_id``: numbers of others do not exist. ``entry`` is
    that of the audit list, committed with the change.
    """

    def __init__(self, reports: Pool, changes: NotedChanges) -> None:
        self._reports = reports
        self._changes = changes

    async def list(
        self, prefix: str, limit: int, after: str, scope: int | None, *, free: bool, account: str
    ) -> Sequence[PhoneNumber]:
        """Numbers that begin with ``prefix``, in order, after ``after``. :raise NotFound: the account."""
        if not prefix.isascii() or not storable(prefix) or not storable(after):
            return []
        owner = None
        if account:
            match, params = matching(account)
            sql = f"SELECT a.id FROM account a WHERE {match} AND {visible('a.id')}"
            rows = await self._reports.query(sql, {**params, "scope": scope})
            if not rows:
                raise unknown(account)
            owner = rows[0][0]
        for special in "\\%_":
            prefix = prefix.replace(special, "\\" + special)
        params = {"pattern": prefix + "%", "after": after, "limit": limit}
        params.update(free=free, account=owner, scope=scope)
        return [PhoneNumber(*row) for row in await self._reports.query(_LIST, params)]

    async def get(self, number: str, scope: int | None) -> PhoneNumber:
        """:raise NotFound:"""
        rows = await self._reports.query(_GET, {"number": number, "scope": scope})
        if not rows:
            raise _missing(number)
        return PhoneNumber(*rows[0])

    def add(
        self,
        numbers: Sequence[str],
        holder: str,
        note: str,
        scope: int | None,
        entry: AuditNote | None = None,
    ) -> Deferred[Sequence[str]]:
        """
        Enter numbers. Those that are new; the others stay as they are.

        :param holder: account whose operators may give them out; empty: staff, or the operator's own.
        """
        return self._changes.transact(entry, self._add, numbers, holder, note, scope)

    async def _add(
        self, cursor: Cursor, numbers: Sequence[str], holder: str, note: str, scope: int | None
    ) -> Sequence[str]:
        if len(numbers) > RANGE_MAX:
            raise BadRequest(f"at most {RANGE_MAX} numbers at once")
        holder_id = await self._account(cursor, holder, scope) if holder else scope
        try:
            await cursor.execute(_ADD, (texts(numbers), holder_id, note))
        except IntegrityError as refused:
            raise Conflict(str(refused.diag.message_primary)) from None  # it names the number
        return sorted(row[0] for row in cursor.fetchall())

    def change(
        self,
        number: str,
        holder: str | None,
        note: str | None,
        scope: int | None,
        version: int | None,
        entry: AuditNote | None = None,
    ) -> Deferred[tuple[PhoneNumber, PhoneNumber]]:
        """
        The number before and after.

        :param holder: another account whose operators may give it out; empty: staff; ``None``: as it is.
        :param version: what the operator has seen; anything else in the database is a conflict.
        :raise NotFound: the number or the holder. :raise Stale:
        """
        return self._changes.transact(entry, self._change, number, holder, note, scope, version)

    async def _change(
        self,
        cursor: Cursor,
        number: str,
        holder: str | None,
        note: str | None,
        scope: int | None,
        version: int | None,
    ) -> tuple[PhoneNumber, PhoneNumber]:
        before = await self._seen(cursor, number, scope, version)
        sets: dict[str, Any] = {}
        if holder is not None:
            sets["holder_id"] = await self._account(cursor, holder, scope) if holder else None
        if note is not None:
            sets["note"] = note
        columns = "".join(f"{name} = %({name})s, " for name in sets)
        differs = " OR ".join(f"{name} IS DISTINCT FROM %({name})s" for name in sets) or "false"
        sql = f"""UPDATE phone_number SET {columns}version = version + 1
 WHERE number = %(number)s AND ({differs})"""
        await cursor.execute(sql, {**sets, "number": number})
        return before, await self._get(cursor, number, scope)

    def allocate(
        self,
        account: str,
        wanted: str,
        scope: int | None,
        version: int | None,
        entry: AuditNote | None = None,
    ) -> Deferred[PhoneNumber]:
        """
        Give an account a free number.

        :param wanted: the number, or ``PREFIX*`` for the first free one that begins so.
        :param version: of the number, as the operator has seen it; ``None`` with ``PREFIX*``.
        :raise NotFound: no such account, no such free number. :raise Conflict: that number is taken.
        :raise Stale:
        """
        return self._changes.transact(entry, self._allocate, account, wanted, scope, version)

    async def _allocate(
        self, cursor: Cursor, account: str, wanted: str, scope: int | None, version: int | None
    ) -> PhoneNumber:
        owner = await self._account(cursor, account, scope)
        any_of = wanted.endswith("*")
        if version is not None:
            await self._seen(cursor, wanted, scope, version)
        which = f"n.number LIKE %(wanted)s AND {_NO_NAME}" if any_of else "n.number = %(wanted)s"
        params: dict[str, Any] = {"account": owner, "scope": scope}
        params["wanted"] = wanted[:-1] + "%" if any_of else wanted
        skip = " SKIP LOCKED" if any_of else ""
        try:
            await cursor.execute(_ALLOCATE.format(which=which, skip=skip), params)
        except IntegrityError:  # from before both were told of each other
            text = "another account has that number as its phone_number or username"
            raise Conflict(text) from None
        row = cursor.fetchone()
        if row is not None:
            return await self._get(cursor, row[0], scope)
        if any_of:
            raise NotFound(f"no number that begins with {wanted[:-1]!r} is free")
        found = await self._get(cursor, wanted, scope)
        if found.account_id is None:
            raise NotFound(f"there is no number {wanted!r} that you may give out")
        raise Conflict(f"number {wanted} belongs to {found.account} already")

    def free(
        self, number: str, scope: int | None, version: int | None, entry: AuditNote | None = None
    ) -> Deferred[tuple[PhoneNumber, PhoneNumber]]:
        """
        Take a number back. Before and after.

        :param version: what the operator has seen, so that it is taken from whom they mean.
        :raise NotFound: :raise Conflict: it was free, or is the account's ``phone_number``. :raise Stale:
        """
        return self._changes.transact(entry, self._free, number, scope, version)

    async def _free(
        self, cursor: Cursor, number: str, scope: int | None, version: int | None
    ) -> tuple[PhoneNumber, PhoneNumber]:
        before = await self._seen(cursor, number, scope, version)
        if before.account_id is None:
            raise Conflict(f"number {number} is free already")
        sql = """UPDATE phone_number SET account_id = NULL, allocated_at = NULL, version = version + 1
 WHERE number = %s RETURNING version"""
        try:
            await cursor.execute(sql, (number,))
        except IntegrityError as refused:
            if refused.diag.constraint_name == "phone_number_name":
                text = f"number {number} is the username of {before.account}; 'numbers del' takes it away"
                raise Conflict(text) from None
            text = f"number {number} is the phone_number of {before.account}; 'set' another or none first"
            raise Conflict(text) from None
        [(newer,)] = cursor.fetchall()
        return before, PhoneNumber(number, None, "", before.holder, None, before.note, newer)

    def delete(
        self, number: str, scope: int | None, version: int | None, entry: AuditNote | None = None
    ) -> Deferred[PhoneNumber]:
        """
        Remove a free number for good, or one that an account is called by, which keeps it.

        :raise NotFound: :raise Stale: :raise Conflict: an account has it.
        """
        return self._changes.transact(entry, self._delete, number, scope, version)

    async def _delete(
        self, cursor: Cursor, number: str, scope: int | None, version: int | None
    ) -> PhoneNumber:
        before = await self._seen(cursor, number, scope, version)
        if before.account_id is not None and before.account.removeprefix("+") != number:
            raise Conflict(f"number {number} belongs to {before.account}; 'numbers free' takes it back")
        await cursor.execute("DELETE FROM phone_number WHERE number = %s", (number,))
        return before

    async def _seen(self, cursor: Cursor, number: str, scope: int | None, version: int | None) -> PhoneNumber:
        """The number, which nobody else changes until the end. :raise Stale: it has another version."""
        found = await self._get(cursor, number, scope, " FOR UPDATE OF n")
        check_version(f"number {number}", found.version, version)
        return found

    async def _get(self, cursor: Cursor, number: str, scope: int | None, lock: str = "") -> PhoneNumber:
        await cursor.execute(_GET + lock, {"number": number, "scope": scope})
        row = cursor.fetchone()
        if row is None:
            raise _missing(number)
        return PhoneNumber(*row)

    async def _account(self, cursor: Cursor, who: str, scope: int | None) -> int:
        match, params = matching(who)
        sql = f"SELECT a.id FROM account a WHERE {match} AND {visible('a.id')} FOR KEY SHARE OF a"
        await cursor.execute(sql, {**params, "scope": scope})
        row = cursor.fetchone()
        if row is None:
            raise unknown(who)
        return int(row[0])


def _missing(number: str) -> NotFound:
    return NotFound(f"there is no number {number!r}")
