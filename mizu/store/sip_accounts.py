"""Accounts that we have at SIP servers, in PostgreSQL; their passwords sealed (``mizu.accounts.sealing``)."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from txpostgres.txpostgres import Cursor

from mizu.accounts.kinds import Value
from mizu.accounts.rotation import SipAccount
from mizu.accounts.scope import unknown, visible
from mizu.accounts.sealing import KeyFile
from mizu.accounts.versions import check_version
from mizu.errors import BadRequest, Conflict, NotFound
from mizu.model import AccountType, AuditNote
from mizu.store.account_records import AccountRecords, matching
from mizu.store.accounts import refusal
from mizu.store.key_rotation import KeyRotation
from mizu.store.noted import NotedChanges
from mizu.store.postgres import IntegrityError, Pool, UniqueViolation
from mizu.store.text import storable

_COLUMNS = """s.id, s.sip_server_id, s.username, s.password_sealed, s.caller_number, s.credit_micro,
 s.enabled, s.failures, s.last_used_at, s.priority, s.version, a.username, s.created_at"""
_FROM = "FROM sip_account s JOIN account a ON a.id = s.sip_server_id"
_ORDER = "ORDER BY a.username, s.priority DESC, s.last_used_at NULLS FIRST, s.id LIMIT 10000"
_LISTED = "ORDER BY a.username, -s.priority::bigint, s.id LIMIT %(limit)s"
_ONE = f"SELECT {_COLUMNS} {_FROM} WHERE s.id = %(id)s AND {visible('s.sip_server_id')}"
_OF_SERVER = f"SELECT {_COLUMNS} {_FROM} WHERE s.sip_server_id = %(server)s {_ORDER}"
#: Fields that ``change`` takes, by column.
CHANGEABLE = ("username", "password", "caller_number", "credit_micro", "enabled", "failures", "priority")
_USED = "UPDATE sip_account SET last_used_at = now() WHERE id = %s"
_FAILED = "UPDATE sip_account SET failures = failures + 1 WHERE id = %s"
_SUCCEEDED = "UPDATE sip_account SET failures = 0 WHERE id = %s AND failures <> 0"
_CHARGED = "UPDATE sip_account SET credit_micro = greatest(0, credit_micro - %s) WHERE id = %s"


class PostgresSipAccounts:
    """
    Accounts at SIP servers. ``scope`` is ``Operator.scope_account_id``; ``note`` is the entry of the audit
    list, committed with the change.
    """

    def __init__(self, reports: Pool, changes: NotedChanges, keys: KeyFile, records: AccountRecords) -> None:
        self._reports = reports
        self._changes = changes
        self._keys = keys
        self._records = records
        self._rotation = KeyRotation(reports, keys)

    async def list(
        self, server: str, limit: int, after: tuple[str, int, int] | None, scope: int | None
    ) -> Sequence[tuple[str, SipAccount]]:
        """
        Username of the SIP server and the account without password, by server, priority and number.

        :param server: only there; empty: everywhere.
        :param after: only those beyond: username of the server, priority times -1, number.
        """
        where, params = "true", dict[str, object]()
        if server:
            match, named = matching(server)
            where, params = match, named
        if after is not None:
            if not storable(after[0]):
                return []
            where += " AND (a.username, -s.priority::bigint, s.id) > (%(after)s, %(priority)s, %(beyond)s)"
            params = {**params, "after": after[0], "priority": after[1], "beyond": after[2]}
        sql = f"SELECT {_COLUMNS} {_FROM} WHERE {where} AND {visible('s.sip_server_id')} {_LISTED}"
        rows = await self._reports.query(sql, {**params, "limit": limit, "scope": scope})
        if not rows and server:
            await self._records.get(server, scope)
        return [(row[11], _account(row)) for row in rows]

    async def for_calls(self, sip_server_id: int) -> Sequence[SipAccount]:
        """With passwords, for routing. :raise SealBroken: the key file lacks a key."""
        keys = self._keys()
        rows = await self._reports.query(_OF_SERVER, {"server": sip_server_id})
        return [_account(row, keys.open(row[3])) for row in rows]

    async def get(self, number: int, scope: int | None) -> tuple[str, SipAccount]:
        """Username of the SIP server and the account, without password. :raise NotFound:"""
        rows = await self._reports.query(_ONE, {"id": number, "scope": scope})
        if not rows:
            raise _missing(number)
        return rows[0][11], _account(rows[0])

    def add(
        self,
        server: str,
        username: str,
        password: str,
        values: Mapping[str, Value],
        scope: int | None,
        note: AuditNote | None = None,
    ) -> Deferred[SipAccount]:
        """:raise NotFound: the SIP server. :raise Conflict: it has that username. :raise BadRequest:"""
        return self._changes.transact(note, self._add, server, username, password, values, scope)

    async def _add(
        self,
        cursor: Cursor,
        server: str,
        username: str,
        password: str,
        values: Mapping[str, Value],
        scope: int | None,
    ) -> SipAccount:
        match, params = matching(server)
        sql = f"SELECT a.id, a.type FROM account a WHERE {match} AND {visible('a.id')}"
        await cursor.execute(sql, {**params, "scope": scope})
        found = cursor.fetchone()
        if found is None:
            raise unknown(server)
        if found[1] != AccountType.SIP_SERVER:
            raise BadRequest(f"{server} is of type {AccountType(found[1]).name.lower()}, not sip_server")
        columns = self._sealed({**values, "username": username, "password": password})
        columns["sip_server_id"] = found[0]
        names = ", ".join(columns)
        places = ", ".join(f"%({name})s" for name in columns)
        try:
            await cursor.execute(f"INSERT INTO sip_account ({names}) VALUES ({places}) RETURNING id", columns)
        except UniqueViolation:
            raise Conflict(f"{server} has an account {username!r} already") from None
        except IntegrityError as refused:  # changed by somebody else meanwhile
            raise refusal(refused) from None
        return _account(await self._find(cursor, cursor.fetchone()[0], scope))

    def change(
        self,
        number: int,
        values: Mapping[str, Value],
        scope: int | None,
        version: int | None,
        note: AuditNote | None = None,
    ) -> Deferred[tuple[str, SipAccount, SipAccount]]:
        """
        Username of the SIP server, the account before and after.

        :param version: what the operator has seen; anything else in the database is a conflict.
        :raise NotFound: :raise Conflict: :raise Stale:
        """
        return self._changes.transact(note, self._change, number, values, scope, version)

    async def _change(
        self, cursor: Cursor, number: int, values: Mapping[str, Value], scope: int | None, version: int | None
    ) -> tuple[str, SipAccount, SipAccount]:
        row = await self._find(cursor, number, scope, version)
        columns = self._sealed(values)
        sets = "".join(f"{name} = %({name})s, " for name in columns)
        differs = " OR ".join(f"{name} IS DISTINCT FROM %({name})s" for name in columns) or "false"
        sql = f"UPDATE sip_account SET {sets}version = version + 1 WHERE id = %(id)s AND ({differs})"
        try:
            await cursor.execute(sql, {**columns, "id": number})
        except UniqueViolation:
            raise Conflict(f"{row[11]} has an account {values['username']!r} already") from None
        except IntegrityError as refused:
            raise refusal(refused) from None
        return row[11], _account(row), _account(await self._find(cursor, number, scope))

    def delete(
        self, number: int, scope: int | None, version: int | None, note: AuditNote | None = None
    ) -> Deferred[SipAccount]:
        """The account as it was. :raise NotFound: :raise Stale:"""
        return self._changes.transact(note, self._delete, number, scope, version)

    async def _delete(
        self, cursor: Cursor, number: int, scope: int | None, version: int | None
    ) -> SipAccount:
        before = _account(await self._find(cursor, number, scope, version))
        await cursor.execute("DELETE FROM sip_account WHERE id = %s", (number,))
        return before

    async def _find(
        self, cursor: Cursor, number: int, scope: int | None, version: int | None = None
    ) -> Sequence[Any]:
        """The row, which nobody else changes until the end. :raise NotFound: :raise Stale:"""
        await cursor.execute(_ONE + " FOR UPDATE OF s", {"id": number, "scope": scope})
        row: Sequence[Any] | None = cursor.fetchone()
        if row is None:
            raise _missing(number)
        check_version(f"SIP account {number}", row[10], version)
        return row

    def _sealed(self, values: Mapping[str, Value]) -> dict[str, Any]:
        columns = {name: value for name, value in values.items() if name != "password"}
        for name in values:
            if name not in CHANGEABLE:
                raise BadRequest(f"there is no field {name!r}; known: {', '.join(CHANGEABLE)}")
        if "password" in values:
            columns["password_sealed"] = self._keys().seal(str(values["password"]))
        return columns

    # ------------------------------------------------------------ calls

    def used(self, number: int) -> Deferred[None]:
        """A call is sent with it."""
        return self._reports.operate(_USED, (number,))

    def failed(self, number: int) -> Deferred[None]:
        """A call with it failed, by the account's own fault."""
        return self._reports.operate(_FAILED, (number,))

    def succeeded(self, number: int) -> Deferred[None]:
        """A call with it was answered."""
        return self._reports.operate(_SUCCEEDED, (number,))

    def charged(self, number: int, amount_micro: int) -> Deferred[None]:
        """A call with it cost so much."""
        return self._reports.operate(_CHARGED, (amount_micro, number))

    async def rotate_keys(self, step: str) -> Mapping[str, Any]:
        """See ``KeyRotation.rotate``."""
        return await self._rotation.rotate(step)


def _missing(number: int) -> NotFound:
    return NotFound(f"there is no SIP account {number}")


def _account(row: Sequence[Any], password: str = "") -> SipAccount:
    return SipAccount(
        id=row[0],
        sip_server_id=row[1],
        username=row[2],
        password=password,
        caller_number=row[4],
        credit_micro=row[5],
        enabled=row[6],
        failures=row[7],
        last_used_at=row[8],
        priority=row[9],
        version=row[10],
        created_at=row[12],
    )
