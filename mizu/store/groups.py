"""Groups and their members in PostgreSQL."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

import re
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from txpostgres.txpostgres import Cursor

from mizu.accounts.groups import MEMBER_TYPES, Group, GroupKind
from mizu.accounts.scope import unknown, visible, visible_many
from mizu.accounts.ties import still_listed
from mizu.accounts.versions import check_version
from mizu.errors import BadRequest, Conflict, Forbidden, NotFound
from mizu.model import AccountType, AuditNote
from mizu.store.account_records import matching
from mizu.store.accounts import refusal
from mizu.store.noted import NotedChanges
from mizu.store.postgres import IntegrityError, Pool, UniqueViolation
from mizu.store.text import storable
from mizu.store.ties import naming_group

NAME_MAX = 64
_NO_NAME = re.compile(r"^[@#*]|[\s,]")
MEMBERS_AT_ONCE_MAX = 1000
#: A group is managed by the operators of its owner, and of those above; one without owner by staff.
_SEEN = f"(%(scope)s::bigint IS NULL OR (g.owner_id IS NOT NULL AND {visible('g.owner_id')}))"
_COLUMNS = """g.id, g.name, g.kind, g.owner_id, coalesce(o.username, ''), g.note, g.version,
 CASE WHEN g.kind = 4 THEN (SELECT count(*) FROM sim_packet_group_member s WHERE s.group_id = g.id)
  ELSE (SELECT count(*) FROM account_group_member m WHERE m.group_id = g.id) END"""
_FROM = "FROM account_group g LEFT JOIN account o ON o.id = g.owner_id"
_GET = f"SELECT {_COLUMNS} {_FROM} WHERE g.name = %(name)s AND {_SEEN}"
_LIST = f"""SELECT {_COLUMNS} {_FROM} WHERE g.name LIKE %(pattern)s AND g.name > %(after)s
 AND {_SEEN} ORDER BY g.name LIMIT %(limit)s"""
_MEMBERS = """SELECT a.username FROM account_group_member m JOIN account a ON a.id = m.account_id
 WHERE m.group_id = %(id)s AND a.username > %(after)s ORDER BY a.username LIMIT %(limit)s"""
_SIM_PACKETS = """SELECT sim_packet_id::text FROM sim_packet_group_member
 WHERE group_id = %(id)s AND sim_packet_id::text > %(after)s ORDER BY 1 LIMIT %(limit)s"""
_JOIN = """INSERT INTO account_group_member (group_id, account_id) SELECT %s, unnest(%s::bigint[])
 ON CONFLICT DO NOTHING RETURNING account_id"""
_LEAVE = """DELETE FROM account_group_member
 WHERE group_id = %s AND account_id = ANY (%s::bigint[]) RETURNING account_id"""
_JOIN_SIM = """INSERT INTO sim_packet_group_member (group_id, sim_packet_id) SELECT %s, unnest(%s::bigint[])
 ON CONFLICT DO NOTHING RETURNING sim_packet_id"""
_LEAVE_SIM = """DELETE FROM sim_packet_group_member
 WHERE group_id = %s AND sim_packet_id = ANY (%s::bigint[]) RETURNING sim_packet_id"""
_TOUCH = "UPDATE account_group SET version = version + 1 WHERE id = %s"


class PostgresGroups:
    """
    Groups. ``scope`` is ``Operator.scope_account_id``: groups of others do not exist. ``entry`` is that of
    the audit list, committed with the change.
    """

    def __init__(self, reports: Pool, changes: NotedChanges) -> None:
        self._reports = reports
        self._changes = changes

    async def list(self, prefix: str, limit: int, after: str, scope: int | None) -> Sequence[Group]:
        """Groups whose name begins with ``prefix``, by name, those after ``after``."""
        if not storable(prefix) or not storable(after):
            return []
        for special in "\\%_":
            prefix = prefix.replace(special, "\\" + special)
        params = {"pattern": prefix + "%", "after": after, "limit": limit, "scope": scope}
        return [_group(row) for row in await self._reports.query(_LIST, params)]

    async def get(self, name: str, scope: int | None) -> Group:
        """:raise NotFound:"""
        if not storable(name):
            raise _unknown(name)
        rows = await self._reports.query(_GET, {"name": name, "scope": scope})
        if not rows:
            raise _unknown(name)
        return _group(rows[0])

    def add(
        self,
        name: str,
        kind: GroupKind,
        owner: str,
        note: str,
        scope: int | None,
        entry: AuditNote | None = None,
    ) -> Deferred[Group]:
        """
        Make a group.

        :param owner: account whose operators manage it; empty: staff, or the operator's own account.
        :raise Conflict: the name is taken. :raise NotFound: the owner.
        """
        return self._changes.transact(entry, self._add, name, kind, owner, note, scope)

    async def _add(
        self, cursor: Cursor, name: str, kind: GroupKind, owner: str, note: str, scope: int | None
    ) -> Group:
        if not 0 < len(name) <= NAME_MAX or not storable(name) or _NO_NAME.search(name):
            text = "no blanks, no commas, and no @, # or * at the beginning"
            raise BadRequest(f"a group's name has 1 to {NAME_MAX} characters, {text}")
        _check_note(note)
        owner_id = scope
        if owner:
            owner_id = (await _accounts(cursor, [owner], scope))[0][0]
        try:
            await cursor.execute(
                "INSERT INTO account_group (name, kind, owner_id, note) VALUES (%s, %s, %s, %s)",
                (name, int(kind), owner_id, note),
            )
        except UniqueViolation:
            raise Conflict(f"there is a group {name!r} already") from None
        return await _find(cursor, name, scope)

    def change(
        self,
        name: str,
        owner: str | None,
        note: str | None,
        scope: int | None,
        version: int | None,
        entry: AuditNote | None = None,
    ) -> Deferred[tuple[Group, Group]]:
        """
        The group before and after.

        :param owner: another account whose operators manage it; empty: staff; ``None``: as it is.
        :param version: what the operator has seen; anything else in the database is a conflict.
        :raise NotFound: the group or the owner. :raise Stale: :raise Forbidden: it would leave the scope.
        """
        return self._changes.transact(entry, self._change, name, owner, note, scope, version)

    async def _change(
        self,
        cursor: Cursor,
        name: str,
        owner: str | None,
        note: str | None,
        scope: int | None,
        version: int | None,
    ) -> tuple[Group, Group]:
        before = await _find(cursor, name, scope, version)
        owner_id = before.owner_id
        if owner is not None:
            if not owner and scope is not None:
                raise Forbidden("a group cannot be moved out of your own accounts")
            owner_id = (await _accounts(cursor, [owner], scope))[0][0] if owner else None
        note = before.note if note is None else note
        _check_note(note)
        if (owner_id, note) == (before.owner_id, before.note):
            return before, before
        sql = "UPDATE account_group SET owner_id = %s, note = %s, version = version + 1 WHERE id = %s"
        await cursor.execute(sql, (owner_id, note, before.id))
        return before, await _find(cursor, name, scope)

    def delete(
        self, name: str, scope: int | None, version: int | None, entry: AuditNote | None = None
    ) -> Deferred[Group]:
        """
        The group as it was; its members stay.

        :raise NotFound: :raise Stale: :raise Conflict: lists of accounts name it.
        """
        return self._changes.transact(entry, self._delete, name, scope, version)

    async def _delete(self, cursor: Cursor, name: str, scope: int | None, version: int | None) -> Group:
        group = await _find(cursor, name, scope, version, lock="UPDATE")
        if users := await naming_group(cursor, group.id, scope):
            raise still_listed(name, users)
        try:
            await cursor.execute("DELETE FROM account_group_member WHERE group_id = %s", (group.id,))
            await cursor.execute("DELETE FROM account_group WHERE id = %s", (group.id,))
        except IntegrityError:
            raise Conflict(f"group {name!r} is still used") from None
        return group

    async def members(self, name: str, limit: int, after: str, scope: int | None) -> Sequence[str]:
        """Usernames, or numbers of SIM packets, in order, those after ``after``. :raise NotFound:"""
        group = await self.get(name, scope)
        if not storable(after):
            return []
        sql = _SIM_PACKETS if group.kind is GroupKind.SIM_PACKETS else _MEMBERS
        rows = await self._reports.query(sql, {"id": group.id, "after": after, "limit": limit})
        return [row[0] for row in rows]

    def join(
        self,
        name: str,
        members: Sequence[str],
        scope: int | None,
        version: int | None,
        entry: AuditNote | None = None,
    ) -> Deferred[tuple[Group, Sequence[str]]]:
        """
        Put accounts (or SIM packets) in the group, all or none. The group, and those that were not in it yet.

        :raise NotFound: the group or a member. :raise Stale: :raise BadRequest: a member of the wrong kind.
        """
        return self._changes.transact(entry, self._alter, name, members, scope, version, True)

    def leave(
        self,
        name: str,
        members: Sequence[str],
        scope: int | None,
        version: int | None,
        entry: AuditNote | None = None,
    ) -> Deferred[tuple[Group, Sequence[str]]]:
        """Take them out. The group, and those that were in it. :raise NotFound: :raise Stale:"""
        return self._changes.transact(entry, self._alter, name, members, scope, version, False)

    async def _alter(
        self,
        cursor: Cursor,
        name: str,
        members: Sequence[str],
        scope: int | None,
        version: int | None,
        join: bool,
    ) -> tuple[Group, Sequence[str]]:
        if len(members) > MEMBERS_AT_ONCE_MAX:
            raise BadRequest(f"at most {MEMBERS_AT_ONCE_MAX} members at once")
        group = await _find(cursor, name, scope, version)
        if group.kind is GroupKind.SIM_PACKETS:
            names = {_packet(member): member for member in members}
            sql = _JOIN_SIM if join else _LEAVE_SIM
        else:
            found = await _accounts(cursor, members, scope, None if join else group.id)
            if join:
                _check_kind(group, found)
            names = {number: username for number, username, _ in found}
            sql = _JOIN if join else _LEAVE
        try:
            await cursor.execute(sql, (group.id, sorted(names)))
        except IntegrityError as refused:  # changed by somebody else meanwhile
            raise refusal(refused) from None
        altered = [names[row[0]] for row in cursor.fetchall()]
        if altered:
            await cursor.execute(_TOUCH, (group.id,))
            group = await _find(cursor, name, scope)
        return group, sorted(altered)


def _group(row: Sequence[Any]) -> Group:
    return Group(
        id=row[0],
        name=row[1],
        kind=GroupKind(row[2]),
        owner_id=row[3],
        owner=row[4],
        note=row[5],
        version=row[6],
        members=row[7],
    )


def _check_note(note: str) -> None:
    if not storable(note):
        raise BadRequest("the note contains bytes that are not text")


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no group {name!r}")


async def _find(
    cursor: Cursor, name: str, scope: int | None, version: int | None = None, lock: str = "NO KEY UPDATE"
) -> Group:
    """
    The group, which nobody else changes until the end.

    :param lock: ``UPDATE``: nor names it in a list. :raise NotFound: :raise Stale:
    """
    if not storable(name):
        raise _unknown(name)
    await cursor.execute(f"{_GET} FOR {lock} OF g", {"name": name, "scope": scope})
    row = cursor.fetchone()
    if row is None:
        raise _unknown(name)
    group = _group(row)
    check_version(f"group {name!r}", group.version, version)
    return group


async def _accounts(
    cursor: Cursor, members: Sequence[str], scope: int | None, group_id: int | None = None
) -> Sequence[tuple[int, str, int]]:
    """
    Id, username and type of each.

    :param group_id: members of this group, which is theirs, are found too when the account went to an owner
        who is not. :raise NotFound:
    """
    names = [who for who in members if not who.startswith("#") and storable(who)]
    ids = [matching(who)[1]["id"] for who in members if who.startswith("#") and "id" in matching(who)[1]]
    await cursor.execute(
        "SELECT a.id, a.username, a.type FROM account a WHERE (a.username = ANY (%(names)s::text[]) "
        f"OR a.id = ANY (%(ids)s::bigint[])) AND ({visible_many('a.id')} OR a.id IN "
        "(SELECT account_id FROM account_group_member WHERE group_id = %(group)s::bigint))",
        {"names": names, "ids": ids, "scope": scope, "group": group_id},
    )
    found: list[tuple[int, str, int]] = cursor.fetchall()
    known = {name for number, username, _ in found for name in (username, f"#{number}")}
    for who in members:
        if who not in known:
            raise unknown(who)
    return found


def _check_kind(group: Group, members: Sequence[tuple[int, str, int]]) -> None:
    allowed = MEMBER_TYPES[group.kind]
    for _, username, type_ in members:
        if type_ not in allowed:
            kind = AccountType(type_).name.lower()
            of = group.kind.name.lower()
            raise BadRequest(f"{username} is of type {kind}; group {group.name} is of {of}")


def _packet(member: str) -> int:
    if not (member.isascii() and member.isdigit() and len(member) <= 18):
        raise BadRequest(f"want the number of a SIM packet, got {member[:60]!r}")
    return int(member)
