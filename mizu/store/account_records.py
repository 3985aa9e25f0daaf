"""Whole account records: read, added, changed, deleted and moved by operators, inside what they may see."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from txpostgres.txpostgres import Cursor

from mizu.accounts.kinds import Value
from mizu.accounts.records import NewAccount, Node, Record, columns_of, record_of, without_itself
from mizu.accounts.scope import (
    DELETED,
    check_change,
    check_delete,
    check_new,
    check_rights,
    unknown,
    visible,
    visible_many,
)
from mizu.accounts.sealing import Keys
from mizu.accounts.ties import Tie, refuse_broken, still_pays
from mizu.accounts.usernames import check_username
from mizu.accounts.versions import check_version
from mizu.errors import BadRequest, Conflict
from mizu.model import AuditNote, Rights
from mizu.store.account_rights import over_more
from mizu.store.accounts import refusal
from mizu.store.arrays import texts
from mizu.store.audit import OTHERS
from mizu.store.fields import HA1_COLUMNS
from mizu.store.noted import NotedChanges
from mizu.store.number_rights import Asked, names_not_to_give, refused_numbers
from mizu.store.postgres import IntegrityError, Pool
from mizu.store.references import find
from mizu.store.text import storable
from mizu.store.ties import apart, left_over, naming_account

ROW = """to_jsonb(a) - ARRAY['ha1_md5', 'ha1_sha256']
 || jsonb_build_object('has_password', a.ha1_md5 IS NOT NULL OR a.ha1_sha256 IS NOT NULL)"""
_MANY_MAX = 1000  # accounts made by one call
_GET = f"SELECT {ROW} FROM account a WHERE {{match}} AND {visible('a.id')}"
_LIST = f"""SELECT {ROW} FROM account a WHERE a.username LIKE %(pattern)s AND a.username > %(after)s
 AND (%(type)s::smallint IS NULL OR a.type = %(type)s) AND {visible_many("a.id")}
 ORDER BY a.username LIMIT %(limit)s"""
_CHAIN = f"""WITH RECURSIVE up (id, parent_id, level) AS (
 SELECT a.id, a.parent_id, 0 FROM account a WHERE {{match}} AND {visible("a.id")}
 UNION ALL SELECT a.id, a.parent_id, level + 1 FROM up JOIN account a ON a.id = up.parent_id
  WHERE up.id IS DISTINCT FROM %(scope)s
) SELECT {ROW} FROM up JOIN account a USING (id) ORDER BY level"""
_TREE = """SELECT t.path, a.id, a.username, a.type, a.enabled, a.suspended,
 account_children(a.id)
 FROM account_tree(%(root)s, %(levels)s, %(after)s::text[], %(limit)s) WITH ORDINALITY t (path, id, place)
 JOIN account a ON a.id = t.id ORDER BY t.place"""
_CHANNELS = "SELECT account_id, in_use FROM channel_use WHERE account_id = ANY (%s::bigint[])"
_USERNAMES = f"""SELECT a.username FROM account a WHERE a.username LIKE %(pattern)s AND a.username > %(after)s
 AND {visible_many("a.id")} ORDER BY a.username LIMIT %(limit)s"""
_SEEN = (
    f"SELECT a.username FROM account a WHERE a.username = ANY (%(names)s::text[]) AND {visible_many('a.id')}"
)
_NAMES = f"""SELECT a.id, a.username FROM account a
 WHERE a.id = ANY (%(ids)s::bigint[]) AND {visible_many("a.id")}"""
_GROUP_NAMES = f"""SELECT g.id, g.name FROM account_group g WHERE g.id = ANY (%(ids)s::bigint[])
 AND (%(scope)s::bigint IS NULL OR (g.owner_id IS NOT NULL AND {visible_many("g.owner_id")}))"""
_GROUPS = f"""SELECT g.name FROM account_group_member m JOIN account_group g ON g.id = m.group_id
 WHERE m.account_id = %(id)s AND {visible("g.owner_id")} ORDER BY g.name"""
_LOCK_MANY = f"""SELECT {ROW} FROM account a WHERE a.username = ANY (%(names)s::text[])
 AND {visible_many("a.id")} ORDER BY a.id FOR NO KEY UPDATE OF a"""
#: What keeps an account from being deleted, and how that is said.
_USES = {"billing_account_id": "still pays for", "company_id": "is still the company of"}
_USERS = f"""SELECT a.username, {visible("a.id")} FROM account a WHERE a.{{column}} = %(id)s
 AND a.id <> %(id)s ORDER BY 2 DESC, a.username LIMIT 1000"""
_DIGESTS = tuple(HA1_COLUMNS.values())
_SECRETS = frozenset(("password", "pin"))


def matching(who: str) -> tuple[str, dict[str, object]]:
    """
    SQL condition and parameters for an account named by username, or by ``#`` and its id.

    :raise NotFound: nothing can be called that.
    """
    if who.startswith("#") and who[1:].isascii() and who[1:].isdigit() and len(who) <= 19:
        return "a.id = %(id)s", {"id": int(who[1:])}
    if not storable(who):
        raise unknown(who)
    return "a.username = %(name)s", {"name": who}


def _with_makers(records: Sequence[Record], seen: Collection[str]) -> Sequence[Record]:
    """The records with the names of those who made the accounts, where these are seen."""
    return [
        one if one["created_by"] in seen or not one["created_by"] else {**one, "created_by": OTHERS}
        for one in records
    ]


class ChangedAccount(NamedTuple):
    """What an operator wants of an account that is there."""

    who: str  #: as the operator calls it
    values: Mapping[str, Value]
    ha1: Mapping[str, str] | None  #: digests of a new password
    version: int | None  #: what the operator has seen; ``None``: whatever is there


def check_wanted(before: Record, wanted: ChangedAccount, scope: int | None) -> None:
    """
    May an operator make that change, whatever rights they have?

    :param before: the account, locked. :raise Stale: :raise BadRequest: :raise Forbidden:
    """
    check_version(f"account {wanted.who!r}", before["version"], wanted.version)
    check_change(scope, before["id"], _said(wanted))


def check_harm(before: Record, wanted: ChangedAccount, rights: Rights | None, over: Collection[int]) -> None:
    """
    May an operator with these rights make that change?

    :param wanted: its references are ids.
    :param over: accounts with somebody below them who has more rights (``over_more``). :raise Forbidden:
    """
    values = {
        name: value
        for name, value in _said(wanted).items()
        if name in _SECRETS or value != before.get(name)  # what it is already harms nobody
    }
    check_rights(rights, before["rights"], values, more_below=before["id"] in over)


def _said(wanted: ChangedAccount) -> Mapping[str, Value]:
    return {**wanted.values, "password": None} if wanted.ha1 is not None else wanted.values


def _update(columns: Sequence[str]) -> str:
    """The statement that changes these columns of rows that have other values there."""
    new = {name: f"p.{name}" for name in columns}
    if "contact" in new:
        new["contact"] = "jsonb_strip_nulls(a.contact || p.contact)"
    sets = ", ".join(f"{name} = {value}" for name, value in new.items())
    differs = " OR ".join(f"a.{name} IS DISTINCT FROM {value}" for name, value in new.items())
    if not new.keys().isdisjoint(_DIGESTS):  # somebody who sets a password anew wants that to be seen
        differs = "true"
    return f"""UPDATE account a SET {sets}, version = a.version + 1, changed_at = now()
 FROM jsonb_populate_recordset(NULL::account, %s::jsonb) p
 WHERE a.id = p.id AND ({differs}) RETURNING {ROW}"""


def _beginning(prefix: str) -> str:
    """The pattern of LIKE for what begins so."""
    for special in "\\%_":
        prefix = prefix.replace(special, "\\" + special)
    return prefix + "%"


class AccountRecords:
    """
    The accounts as operators see them. ``scope`` is ``Operator.scope_account_id``: what is outside does not
    exist. Every change of an account by an operator goes through :meth:`add`, :meth:`change`, :meth:`delete`.
    ``note`` is the entry of the audit list, committed with the change.
    """

    def __init__(self, reports: Pool, changes: NotedChanges, keys: Keys) -> None:
        self._reports = reports
        self._changes = changes
        self._keys = keys

    async def get(self, who: str, scope: int | None) -> Record:
        """The account of that username or ``#id``. :raise NotFound:"""
        match, params = matching(who)
        rows = await self._reports.query(_GET.format(match=match), {**params, "scope": scope})
        if not rows:
            raise unknown(who)
        return (await self._told([record_of(rows[0][0])], scope))[0]

    async def list(
        self, prefix: str, limit: int, after: str, scope: int | None, type_: int | None = None
    ) -> Sequence[Record]:
        """Accounts whose username begins with ``prefix``, by username, those after ``after``."""
        if not storable(prefix) or not storable(after):
            return []
        params = {
            "pattern": _beginning(prefix),
            "after": after,
            "limit": limit,
            "scope": scope,
            "type": type_,
        }
        rows = await self._reports.query(_LIST, params)
        return await self._told([record_of(row[0]) for row in rows], scope)

    async def usernames(self, prefix: str, limit: int, after: str, scope: int | None) -> Sequence[str]:
        """Of the same accounts, only their names."""
        if not storable(prefix) or not storable(after):
            return []
        params = {"pattern": _beginning(prefix), "after": after, "limit": limit, "scope": scope}
        return [row[0] for row in await self._reports.query(_USERNAMES, params)]

    async def seen(self, usernames: Collection[str], scope: int | None) -> frozenset[str]:
        """Those of these usernames whose accounts the operator sees."""
        names = texts([name for name in usernames if storable(name)])
        rows = await self._reports.query(_SEEN, {"names": names, "scope": scope})
        return frozenset(row[0] for row in rows)

    async def chain(self, who: str, scope: int | None) -> Sequence[Record]:
        """The account, its owner, the owner of that one, ... as far up as the scope goes. :raise NotFound:"""
        match, params = matching(who)
        rows = await self._reports.query(_CHAIN.format(match=match), {**params, "scope": scope})
        if not rows:
            raise unknown(who)
        return await self._told([record_of(row[0]) for row in rows], scope)

    async def _told(self, records: Sequence[Record], scope: int | None) -> Sequence[Record]:
        """As the operator may know them: who made an account is perhaps nobody whom they see."""
        if scope is None or not records:
            return records
        seen = await self.seen({one["created_by"] for one in records}, scope)
        return _with_makers(records, seen)

    async def tree(
        self, who: str | None, scope: int | None, levels: int, limit: int, after: Sequence[str] = ()
    ) -> Sequence[Node]:
        """
        The account and everything below it, each below its owner; ``None``: all that is seen.

        :param after: path of the node to go on after.
        """
        root = scope if who is None else (await self.get(who, scope))["id"]
        if not all(map(storable, after)):
            return []
        params = {"root": root, "levels": levels, "limit": limit, "after": texts(list(after))}
        names = ("id", "username", "type", "enabled", "suspended", "children")
        rows = await self._reports.query(_TREE, params)
        return [Node(tuple(row[0]), dict(zip(names, row[1:], strict=True))) for row in rows]

    async def channels(self, ids: Sequence[int]) -> Mapping[int, int]:
        """Calls under way, on all nodes, by account; of accounts that have a limit of them."""
        return dict(await self._reports.query(_CHANNELS, (list(ids),))) if ids else {}

    async def names(self, ids: Collection[str], scope: int | None) -> Mapping[str, str]:
        """
        Usernames by id, and names of groups by ``g`` and id, for showing references; what is not there, or
        not seen, is left out.
        """
        found: dict[str, str] = {}
        for letter, sql in (("", _NAMES), ("g", _GROUP_NAMES)):
            wanted = [int(one.removeprefix("g")) for one in ids if one.startswith("g") == bool(letter)]
            if wanted:
                rows = await self._reports.query(sql, {"ids": wanted, "scope": scope})
                found.update((f"{letter}{number}", name) for number, name in rows)
        return found

    async def naming(self, account_id: int, scope: int | None) -> Sequence[Tie]:
        """Whose lists of partners and ring groups name the account; it need not exist any more."""
        return await naming_account(self._reports, account_id, scope)

    async def left_over(self, account_id: int, scope: int | None) -> Sequence[Tie]:
        """What the account, and all below it, has to do with others that their owners do not see."""
        return await left_over(self._reports, account_id, scope)

    async def groups(self, account_id: int, scope: int | None) -> Sequence[str]:
        """Names of the groups it is in, those that the operator sees."""
        return [row[0] for row in await self._reports.query(_GROUPS, {"id": account_id, "scope": scope})]

    def add(
        self,
        accounts: Sequence[NewAccount],
        scope: int | None,
        by: str,
        defaults: Mapping[str, Value] | None = None,
        rights: Rights | None = None,
        note: AuditNote | None = None,
    ) -> Deferred[Sequence[Record]]:
        """
        Make accounts, all or none. An operator with a scope makes them below their own account.

        :param defaults: values that come from a template, not from the operator.
        :param rights: the operator's; nobody gives more than their own. ``None``: no limit.
        :raise Conflict: a name is taken. :raise BadRequest: :raise NotFound: an account referred to.
        :raise Forbidden: something that this operator may not give.
        """
        return self._changes.transact(note, self._add, accounts, scope, by, defaults or {}, rights)

    async def _add(
        self,
        cursor: Cursor,
        accounts: Sequence[NewAccount],
        scope: int | None,
        by: str,
        defaults: Mapping[str, Value],
        rights: Rights | None,
    ) -> Sequence[Record]:
        if len(accounts) > _MANY_MAX:
            raise BadRequest(f"at most {_MANY_MAX} accounts at once")
        rows, asked = [], []
        for wrong in (await names_not_to_give(cursor, [new.username for new in accounts], scope)).values():
            raise wrong
        for new in accounts:
            check_new(scope, new.values)
            check_rights(rights, 0, {**defaults, **new.values})
            values = without_itself({"parent_id": None, **defaults, **new.values}, new.username)
            values = await self._resolved(cursor, values, scope)
            if values["parent_id"] is None:
                values["parent_id"] = scope
            asked.append(Asked(new.username, values))
            rows.append(
                {**self.columns(values, new.ha1), "username": check_username(new.username), "created_by": by}
            )
        for refused in filter(None, await refused_numbers(cursor, asked, scope)):
            raise refused[1]
        return await insert(cursor, rows)

    def change(
        self,
        who: str,
        values: Mapping[str, Value],
        scope: int | None,
        *,
        ha1: Mapping[str, str] | None = None,
        version: int | None = None,
        rights: Rights | None = None,
        note: AuditNote | None = None,
    ) -> Deferred[tuple[Record, Record]]:
        """
        Change fields, the password, or both. The record before and after.

        :param version: what the operator has seen; anything else in the database is a conflict.
        :param rights: the operator's, as for :meth:`add`.
        :raise NotFound: :raise Stale: :raise BadRequest: :raise Forbidden: :raise Conflict:
        """

        async def change(cursor: Cursor) -> tuple[Record, Record]:
            both = await self.change_with(
                cursor, who, dict(values), scope, ha1=ha1, version=version, rights=rights
            )
            if scope is not None:
                await cursor.execute(_SEEN, {"names": texts([both[0]["created_by"]]), "scope": scope})
                before, after = _with_makers(both, frozenset(row[0] for row in cursor.fetchall()))
                return before, after
            return both

        return self._changes.transact(note, change)

    async def change_with(
        self,
        cursor: Cursor,
        who: str,
        values: dict[str, Value],
        scope: int | None,
        *,
        ha1: Mapping[str, str] | None,
        version: int | None,
        rights: Rights | None,
    ) -> tuple[Record, Record]:
        """:meth:`change` inside a transaction of the caller."""
        before = await self._lock(cursor, who, scope)
        check_wanted(before, ChangedAccount(who, values, ha1, version), scope)
        values = without_itself(await self._resolved(cursor, values, scope), before["id"])
        over = await over_more(cursor, [(before["id"], values)], rights)
        check_harm(before, ChangedAccount(who, values, ha1, version), rights, over)
        [refused] = await refused_numbers(cursor, [Asked(before["username"], values, before)], scope)
        if refused is not None:
            raise refused[1]
        return (await self.update(cursor, [(before, self.columns(values, ha1))], scope))[0]

    async def lock(self, cursor: Cursor, usernames: Sequence[str], scope: int | None) -> dict[str, Record]:
        """Those accounts by username, which nobody else changes until the end; of what is not seen, none."""
        await cursor.execute(_LOCK_MANY, {"names": texts(list(usernames)), "scope": scope})
        records = [record_of(row[0]) for row in cursor.fetchall()]
        return {record["username"]: record for record in records}

    async def update(
        self, cursor: Cursor, rows: Sequence[tuple[Record, Mapping[str, Any]]], scope: int | None
    ) -> Sequence[tuple[Record, Record]]:
        """
        Change columns of accounts that are locked; one statement for all rows with the same columns.

        :param rows: each account once, as it is, and its new columns.
        :param scope: of the operator, who is told of nothing outside.
        :return: before and after, in order. What has these values already is not touched, and keeps its
            version: it is the same record.
        :raise Conflict: :raise BadRequest: :raise NotFound: as the table's constraints say.
        :raise Conflict: an account goes to another owner, and its payer or company does not, or who has it.
        """
        moved = [
            before["id"]
            for before, columns in rows
            if columns.get("parent_id", before["parent_id"]) != before["parent_id"]
        ]
        known = {tie.key for tie in await apart(cursor, moved, scope)} if moved else set()
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for before, columns in rows:
            alike.setdefault(tuple(sorted(columns)), []).append({**columns, "id": before["id"]})
        after: dict[int, Record] = {}
        for names, changed in alike.items():
            if not names:
                continue
            try:
                await cursor.execute(_update(names), (json.dumps(changed),))
            except IntegrityError as refused:
                raise refusal(refused) from None
            for row in cursor.fetchall():
                record = record_of(row[0])
                after[record["id"]] = record
        if moved:
            refuse_broken([tie for tie in await apart(cursor, moved, scope) if tie.key not in known])
        return [(before, after.get(before["id"], before)) for before, _ in rows]

    def delete(
        self,
        who: str,
        scope: int | None,
        *,
        version: int | None = None,
        rights: Rights | None = None,
        note: AuditNote | None = None,
    ) -> Deferred[Record]:
        """
        The record that it had.

        :param version: as for :meth:`change`. :param rights: as for :meth:`add`.
        :raise NotFound: :raise Stale: :raise Conflict: something still points at it.
        """
        return self._changes.transact(note, self._delete, who, scope, version, rights)

    async def _delete(
        self, cursor: Cursor, who: str, scope: int | None, version: int | None, rights: Rights | None
    ) -> Record:
        before = await self._lock(cursor, who, scope)
        check_version(f"account {who!r}", before["version"], version)
        check_delete(scope, before["id"])
        check_rights(rights, before["rights"], DELETED)
        for column, what in _USES.items():
            await cursor.execute(_USERS.format(column=column), {"id": before["id"], "scope": scope})
            if users := cursor.fetchall():
                raise still_pays(users, what)
        try:
            await cursor.execute("DELETE FROM account WHERE id = %s", (before["id"],))
        except IntegrityError as refused:
            if refused.diag.constraint_name == "account_parent_id_fkey":
                raise Conflict(f"account {before['username']!r} still owns other accounts") from None
            raise refusal(refused) from None
        return before

    async def _lock(self, cursor: Cursor, who: str, scope: int | None) -> Record:
        """The account, which nobody else changes until the end. :raise NotFound:"""
        match, params = matching(who)
        sql = _GET.format(match=match) + " FOR NO KEY UPDATE OF a"
        await cursor.execute(sql, {**params, "scope": scope})
        row = cursor.fetchone()
        if row is None:
            raise unknown(who)
        return record_of(row[0])

    def columns(self, values: Mapping[str, Value], ha1: Mapping[str, str] | None) -> dict[str, Any]:
        """Columns of the table for values whose references are ids; ``ha1``: digests of a new password."""
        if "pin" in values:
            values = {**values, "pin": self._keys().seal(str(values["pin"] or ""))}
        columns = columns_of({name: value for name, value in values.items() if name != "password"})
        if ha1 is not None:  # a new password makes the digests of the old one worthless
            columns.update(dict.fromkeys(_DIGESTS))
            columns.update({HA1_COLUMNS[algorithm]: digest for algorithm, digest in ha1.items()})
        return columns

    async def _resolved(
        self, cursor: Cursor, values: Mapping[str, Value], scope: int | None
    ) -> dict[str, Value]:
        """The values with ids for accounts and groups that are named; they must be seen."""
        return (await find(cursor, [values], scope)).resolved(values)


async def insert(cursor: Cursor, rows: Sequence[Mapping[str, Any]], *, give: bool = True) -> list[Record]:
    """
    Insert rows of columns, in order; what a row lacks has the default of the table.

    :param give: with their records; otherwise nothing comes back.

    :raise Conflict: :raise BadRequest: :raise NotFound: as the table's constraints say.
    """
    records: list[Record] = []
    for start, end in _alike(rows):
        columns = ", ".join(rows[start])
        sql = f"""INSERT INTO account AS a ({columns}) SELECT {columns}
 FROM jsonb_populate_recordset(NULL::account, %s::jsonb)"""
        if give:
            sql += f" RETURNING {ROW}"
        prepared = [
            {**row, "contact": _kept(row["contact"])} if "contact" in row else row for row in rows[start:end]
        ]
        try:
            await cursor.execute(sql, (json.dumps(prepared),))
        except IntegrityError as refused:
            raise refusal(refused) from None
        if give:
            records += [record_of(row[0]) for row in cursor.fetchall()]
    return records


def _kept(contact: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in contact.items() if value is not None}


def _alike(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Runs of rows with the same columns: each is one statement."""
    runs: list[tuple[int, int]] = []
    for number, row in enumerate(rows):
        if runs and rows[runs[-1][0]].keys() == row.keys():
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs
