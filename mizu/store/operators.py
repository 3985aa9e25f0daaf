"""Tokens of operators in PostgreSQL. Only their SHA-256 is kept: a token is 256 random bits, no password."""

# ruff: noqa: S608 - what is put into SQL text here are our own constants; values are parameters

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred

from mizu.errors import Conflict, Forbidden, NotFound, StoreBusy
from mizu.model import AccountType, AuditNote, Operator, OperatorToken, Rights
from mizu.store.noted import NotedChanges
from mizu.store.postgres import Pool, Rows
from mizu.store.text import clean

_USE_NOTED_S = 60  # a token's last use is noted once in so many seconds
_STAFF = (AccountType.SUPPORT, AccountType.ADMIN)

#: A token counts while its account is enabled with everything above it, and has not left the token's scope;
#: one without scope, while its account is staff of the whole server. Who is staff no more reaches only
#: themselves.
_FIND = f"""SELECT t.id, a.username, least(t.rights, a.rights),
 CASE WHEN t.scope_account_id IS NULL OR a.type IN ({_STAFF[0]:d}, {_STAFF[1]:d}) THEN t.scope_account_id
 ELSE a.id END,
 coalesce(t.used_at < now() - interval '{_USE_NOTED_S} s', true) OR t.used_from <> %(source)s
 FROM operator_token t JOIN account a ON a.id = t.account_id
 WHERE t.token_sha256 = %(sha256)s AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
 AND a.enabled AND NOT a.suspended AND NOT a.is_template
 AND (a.parent_id IS NULL OR account_ancestors_enabled(a.parent_id))
 AND CASE WHEN t.scope_account_id IS NULL
 THEN a.parent_id IS NULL AND a.type IN ({_STAFF[0]:d}, {_STAFF[1]:d})
 ELSE account_within(a.id, t.scope_account_id) END"""
_USED = "UPDATE operator_token SET used_at = now(), used_from = %(source)s WHERE id = %(id)s"
_COLUMNS = """t.id, a.username, t.rights, coalesce(s.username, ''), t.label, t.created_by, t.created_at,
 t.expires_at, t.revoked_at, t.used_at, t.used_from"""
_JOINS = "JOIN account a ON a.id = t.account_id LEFT JOIN account s ON s.id = t.scope_account_id"
_IN_SCOPE = "(%(scope)s::bigint IS NULL OR account_within(t.account_id, %(scope)s))"
_LIST = f"""SELECT {_COLUMNS} FROM operator_token t {_JOINS}
 WHERE t.id > %(after)s AND (%(username)s = '' OR a.username = %(username)s) AND {_IN_SCOPE}
 AND (%(all)s OR (t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())))
 ORDER BY t.id LIMIT %(limit)s"""
_ONE = f"SELECT {_COLUMNS} FROM operator_token t {_JOINS} WHERE t.id = %(id)s AND {_IN_SCOPE}"
_REVOKE = "UPDATE operator_token SET revoked_at = now() WHERE id = %(id)s AND revoked_at IS NULL RETURNING id"
_OWNER = """SELECT id, rights, type, parent_id,
 %(scope)s::bigint IS NULL OR account_within(parent_id, %(scope)s)
 FROM account WHERE username = %(username)s AND NOT is_template
 AND (%(scope)s::bigint IS NULL OR account_within(id, %(scope)s)) FOR SHARE"""
_ADD = """INSERT INTO operator_token
 (account_id, scope_account_id, rights, token_sha256, label, created_by, expires_at)
 VALUES (%(account)s, %(token_scope)s, %(rights)s, %(sha256)s, %(label)s, %(by)s, %(expires_at)s)
 RETURNING id"""


class PostgresOperatorStore:
    """See :class:`mizu.console.services.Tokens`."""

    def __init__(self, reports: Pool, changes: NotedChanges) -> None:
        self._reports = reports
        self._changes = changes

    async def find(self, sha256: bytes, source: str) -> Operator | None:
        """
        Whose token has this hash; ``None``: nobody's, or it does not count any more.

        :raise StoreBusy: it cannot be told now.
        """
        rows = await self._reports.query(_FIND, {"sha256": sha256, "source": source})
        if not rows:
            return None
        number, username, rights, scope, note_use = rows[0]
        if note_use:
            with suppress(StoreBusy):  # the next use will be noted
                await self._reports.operate(_USED, {"id": number, "source": source})
        return Operator(username, Rights(rights), source, scope, number)

    def list(
        self, username: str, limit: int, after: int, operator: Operator, *, every: bool
    ) -> Deferred[Sequence[OperatorToken]]:
        """See the protocol."""
        values = {
            "username": clean(username),
            "limit": limit,
            "after": after,
            "all": every,
            "scope": operator.scope_account_id,
        }
        return self._reports.query(_LIST, values).addCallback(_tokens_of)

    def add(
        self,
        username: str,
        sha256: bytes,
        by: Operator,
        *,
        rights: Rights | None,
        label: str,
        expires_at: datetime | None,
        note: AuditNote | None = None,
    ) -> Deferred[OperatorToken]:
        """See the protocol."""
        values = {
            "username": clean(username),
            "sha256": sha256,
            "label": clean(label),
            "expires_at": expires_at,
            "by": clean(by.name),
            "scope": by.scope_account_id,
        }
        return self._changes.transact(note, _add, values, rights, by)

    def revoke(
        self, number: int, operator: Operator, note: AuditNote | None = None
    ) -> Deferred[OperatorToken]:
        """See the protocol."""
        values = {"id": number, "scope": operator.scope_account_id}
        return self._changes.transact(note, _revoke, values, operator)


async def _add(cursor: Any, values: dict[str, Any], wanted: Rights | None, by: Operator) -> OperatorToken:
    username = values["username"]
    await cursor.execute(_OWNER, values)
    found = cursor.fetchone()
    if found is None:
        raise NotFound(f"there is no account {username!r}")
    account_id, own, kind, parent_id, parent_in_scope = found
    if own < Rights.LOGIN_ONLY:
        raise Conflict(
            f"account {username!r} has the rights {Rights(own).name.lower()}; give it some: "
            f"set {username} rights=user"
        )
    rights = Rights(min(own, by.rights)) if wanted is None else wanted
    if rights > own:
        raise Conflict(f"account {username!r} has only the rights {Rights(own).name.lower()}")
    if rights > by.rights:
        raise Forbidden(f"you may give rights up to your own, {by.rights.name.lower()}")
    scope = parent_id if kind in _STAFF else account_id
    if kind in _STAFF and by.scope_account_id is not None and not parent_in_scope:
        scope = by.scope_account_id
    await cursor.execute(_ADD, {**values, "account": account_id, "token_scope": scope, "rights": int(rights)})
    return await _one(cursor, {"id": cursor.fetchone()[0], "scope": None})


async def _revoke(cursor: Any, values: dict[str, Any], by: Operator) -> OperatorToken:
    token = await _one(cursor, values)
    if token.rights > by.rights and token.id != by.token_id:
        raise Forbidden(f"token {token.id} has more rights than your own, {by.rights.name.lower()}")
    if token.revoked_at is not None:
        raise Conflict(f"token {token.id} is revoked already")
    await cursor.execute(_REVOKE, values)
    return await _one(cursor, values)


async def _one(cursor: Any, values: dict[str, Any]) -> OperatorToken:
    await cursor.execute(_ONE, values)
    rows = cursor.fetchall()
    if not rows:
        raise NotFound(f"there is no token {values['id']}")
    return _tokens_of(rows)[0]


def _tokens_of(rows: Rows) -> list[OperatorToken]:
    return [OperatorToken(row[0], row[1], Rights(row[2]), *row[3:]) for row in rows]
