"""Further addresses of accounts (``account_address``), as operators see and change them."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from txpostgres.txpostgres import Cursor

from mizu.accounts.addresses import ENTRIES_MAX, FurtherAddress
from mizu.accounts.scope import check_change, check_rights, unknown, visible
from mizu.accounts.versions import check_version
from mizu.errors import Conflict, NotFound
from mizu.model import AuditNote, Rights
from mizu.store.account_records import matching
from mizu.store.noted import NotedChanges
from mizu.store.postgres import Pool
from mizu.store.text import clean, storable

_LIST = f"""SELECT a.username, d.address, d.port, d.note
 FROM account a LEFT JOIN account_address d ON d.account_id = a.id
 WHERE {{match}} AND {visible("a.id")} ORDER BY d.address, d.port"""
_LOCK = f"""SELECT a.id, a.username, a.version, a.rights,
 (SELECT count(*) FROM account_address d WHERE d.account_id = a.id)
 FROM account a WHERE {{match}} AND {visible("a.id")} FOR NO KEY UPDATE OF a"""
_GET = """SELECT address, port, note FROM account_address
 WHERE account_id = %(id)s AND address = %(address)s AND port = %(port)s"""
_PUT = """INSERT INTO account_address (account_id, address, port, note)
 VALUES (%(id)s, %(address)s, %(port)s, %(note)s)
 ON CONFLICT (account_id, address, port) DO UPDATE SET note = excluded.note"""
_DELETE = """DELETE FROM account_address WHERE account_id = %(id)s AND address = %(address)s
 AND (%(port)s = 0 OR port = %(port)s) RETURNING address, port, note"""
_TOUCH = "UPDATE account SET version = version + 1, changed_at = now() WHERE id = %s"


class PostgresAddresses:
    """
    Further addresses. ``who`` is a username or ``#id``, ``scope`` is ``Operator.scope_account_id``: accounts
    outside of it do not exist. Whoever may change ``auth_ip`` of an account may change these; each change is
    one of the account too: its version grows.
    """

    def __init__(self, reports: Pool, changes: NotedChanges) -> None:
        self._reports = reports
        self._changes = changes

    async def list(self, who: str, scope: int | None) -> tuple[str, Sequence[FurtherAddress]]:
        """The username, and its addresses in order. :raise NotFound: there is no such account."""
        match, params = matching(who)
        rows = await self._reports.query(_LIST.format(match=match), {**params, "scope": scope})
        if not rows:
            raise unknown(who)
        return rows[0][0], [FurtherAddress(*row[1:]) for row in rows if row[1] is not None]

    def add(
        self,
        who: str,
        new: FurtherAddress,
        scope: int | None,
        version: int | None,
        note: AuditNote | None = None,
        *,
        rights: Rights | None = None,
    ) -> Deferred[tuple[str, FurtherAddress | None, FurtherAddress]]:
        """
        One more address, or a new note for one that it has; an empty one leaves that as it is.

        :return: the username, the address before and after.
        :param version: of the account, as the operator has seen it; ``None``: any.
        :param rights: the operator's, as for ``AccountRecords.add``.
        :raise NotFound: there is no such account. :raise Stale:
        :raise Forbidden: how it proves itself is not theirs to change.
        :raise Conflict: it has as many as an account may have.
        """
        return self._changes.transact(note, self._add, who, new, scope, version, rights)

    async def _add(
        self,
        cursor: Cursor,
        who: str,
        new: FurtherAddress,
        scope: int | None,
        version: int | None,
        rights: Rights | None,
    ) -> tuple[str, FurtherAddress | None, FurtherAddress]:
        number, username, count = await self._lock(cursor, who, scope, version, rights)
        place: dict[str, Any] = {"id": number, "address": new.address, "port": new.port}
        await cursor.execute(_GET, place)
        row = cursor.fetchone()
        before = FurtherAddress(*row) if row is not None else None
        note = clean(new.note) or (before.note if before is not None else "")
        after = FurtherAddress(new.address, new.port, note)
        if before is None and count >= ENTRIES_MAX:
            raise Conflict(f"account {username!r} has {count} further addresses; more it may not have")
        if before != after:
            await cursor.execute(_PUT, {**place, "note": note})
            await cursor.execute(_TOUCH, (number,))
        return username, before, after

    def remove(
        self,
        who: str,
        address: str,
        port: int,
        scope: int | None,
        version: int | None,
        note: AuditNote | None = None,
        *,
        rights: Rights | None = None,
    ) -> Deferred[tuple[str, Sequence[FurtherAddress]]]:
        """
        One address less. The username, and what was removed.

        :param port: 0: with whatever ports.
        :raise NotFound: no such account, or it has no such address.
        :raise Stale: :raise Forbidden: as :meth:`add`.
        """
        gone = FurtherAddress(address, port, "")
        return self._changes.transact(note, self._remove, who, gone, scope, version, rights)

    async def _remove(
        self,
        cursor: Cursor,
        who: str,
        wanted: FurtherAddress,
        scope: int | None,
        version: int | None,
        rights: Rights | None,
    ) -> tuple[str, Sequence[FurtherAddress]]:
        number, username, _ = await self._lock(cursor, who, scope, version, rights)
        address, port = wanted.address, wanted.port
        gone: list[FurtherAddress] = []
        if storable(address):
            await cursor.execute(_DELETE, {"id": number, "address": address, "port": port})
            gone = [FurtherAddress(*row) for row in cursor.fetchall()]
        if not gone:
            what = f"{address!r} port {port}" if port else repr(address)
            raise NotFound(f"account {username!r} has no further address {what}")
        await cursor.execute(_TOUCH, (number,))
        return username, sorted(gone, key=lambda one: one.port)

    async def _lock(
        self, cursor: Cursor, who: str, scope: int | None, version: int | None, rights: Rights | None
    ) -> tuple[int, str, int]:
        """The account's id, username, and how many addresses it has; changes of it wait for ours."""
        match, params = matching(who)
        await cursor.execute(_LOCK.format(match=match), {**params, "scope": scope})
        row = cursor.fetchone()
        if row is None:
            raise unknown(who)
        check_version(f"account {who!r}", row[2], version)
        check_change(scope, row[0], {"auth_ip": ""})
        check_rights(rights, row[3], {"auth_ip": ""})
        return row[0], row[1], row[4]
