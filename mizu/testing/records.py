"""Whole account records in memory, over the same accounts as a fake store of ``mizu.testing.console``."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from mizu.accounts.fields import FIELDS, LISTS, REFERENCES
from mizu.accounts.kinds import SECRET, Named, Value
from mizu.accounts.records import NewAccount, Node, Record
from mizu.accounts.scope import DELETED, check_change, check_delete, check_new, check_rights, unknown
from mizu.accounts.ties import Tie
from mizu.accounts.versions import check_version
from mizu.errors import Conflict
from mizu.model import Account, AccountType, AuditNote, AuthType, Rights

_OF_ACCOUNT = {
    "type",
    "parent_id",
    "auth_type",
    "can_dial",
    "display_name",
    "caller_number",
    "max_contacts",
    "trusted_identity",
    "fix_nat",
}


class AccountRows(Protocol):
    """Accounts and digests by username; a fake account store has it."""

    rows: dict[str, tuple[Account, Mapping[str, str]]]


class MemoryRecords:
    """``mizu.console.account_services.Records`` over a fake account store."""

    def __init__(self, accounts: AccountRows) -> None:
        self._accounts = accounts
        # by account id: what an Account does not have; kept with the accounts, as they may have many of us
        self._more: dict[int, Record] = accounts.__dict__.setdefault("more", {})

    def _check(self) -> None:
        error = getattr(self._accounts, "error", None)
        if error is not None:
            raise error

    def _record(self, account: Account, ha1: Mapping[str, str]) -> Record:
        record: Record = {one.name: one.default for one in FIELDS}
        record.update({name: getattr(account, name) for name in _OF_ACCOUNT})
        more = self._more.get(account.id, {"enabled": account.enabled})
        record.update(more)
        record.update(
            id=account.id,
            username=account.username,
            version=max(1, account.version),
            type=int(account.type),
            auth_type=int(account.auth_type),
            password=bool(ha1),
            created_by="",
            created_at="2026-03-01T12:00:00+00:00",
            changed_at="2026-03-01T12:00:00+00:00",
        )
        record.update({one.name: bool(record[one.name]) for one in FIELDS if one.kind is SECRET})
        return record

    def _every(self) -> list[Record]:
        return [self._record(*row) for _, row in sorted(self._accounts.rows.items())]

    def _chain(self, record: Record) -> list[Record]:
        by_id = {one["id"]: one for one in self._every()}
        chain = [record]
        while chain[-1]["parent_id"] is not None and len(chain) < 101:
            chain.append(by_id[chain[-1]["parent_id"]])
        return chain

    def _seen(self, record: Record, scope: int | None) -> bool:
        return scope is None or any(one["id"] == scope for one in self._chain(record))

    def _find(self, who: str, scope: int | None) -> Record:
        for record in self._every():
            named = f"#{record['id']}" if who.startswith("#") else record["username"]
            if named == who and self._seen(record, scope):
                return record
        raise unknown(who)

    async def get(self, who: str, scope: int | None) -> Record:
        self._check()
        return self._find(who, scope)

    async def list(
        self, prefix: str, limit: int, after: str, scope: int | None, type_: int | None = None
    ) -> Sequence[Record]:
        self._check()
        return [
            one
            for one in self._every()
            if one["username"].startswith(prefix)
            and one["username"] > after
            and type_ in (None, one["type"])
            and self._seen(one, scope)
        ][:limit]

    async def usernames(self, prefix: str, limit: int, after: str, scope: int | None) -> Sequence[str]:
        return [one["username"] for one in await self.list(prefix, limit, after, scope)]

    async def seen(self, usernames: Collection[str], scope: int | None) -> frozenset[str]:
        self._check()
        seen = {one["username"] for one in self._every() if self._seen(one, scope)}
        return frozenset(seen.intersection(usernames))

    async def chain(self, who: str, scope: int | None) -> Sequence[Record]:
        self._check()
        chain = self._chain(self._find(who, scope))
        ids = [one["id"] for one in chain]
        return chain[: ids.index(scope) + 1] if scope in ids else chain

    async def tree(
        self, who: str | None, scope: int | None, levels: int, limit: int, after: Sequence[str] = ()
    ) -> Sequence[Node]:
        self._check()
        every = self._every()
        root = scope if who is None else self._find(who, scope)["id"]
        found: list[Node] = []

        def walk(path: tuple[str, ...], record: Record) -> None:
            below = [one for one in every if one["parent_id"] == record["id"]]
            names = ("id", "username", "type", "enabled", "suspended")
            found.append(Node(path, {**{name: record[name] for name in names}, "children": len(below)}))
            if len(path) <= levels:
                for one in below:
                    walk((*path, one["username"]), one)

        for record in every:
            if record["id"] == root or (root is None and record["parent_id"] is None):
                walk((record["username"],), record)
        return [one for one in found if one.path > tuple(after)][:limit]

    async def channels(self, ids: Sequence[int]) -> Mapping[int, int]:
        return {}

    async def names(self, ids: Collection[str], scope: int | None) -> Mapping[str, str]:
        every = {str(one["id"]): one for one in self._every() if self._seen(one, scope)}
        return {number: one["username"] for number, one in every.items() if number in ids}

    async def naming(self, account_id: int, scope: int | None) -> Sequence[Tie]:
        return ()

    async def left_over(self, account_id: int, scope: int | None) -> Sequence[Tie]:
        return []

    async def groups(self, account_id: int, scope: int | None) -> Sequence[str]:
        return []

    async def add(
        self,
        accounts: Sequence[NewAccount],
        scope: int | None,
        by: str,
        defaults: Mapping[str, Value] | None = None,
        *,
        rights: Rights | None = None,
        note: AuditNote | None = None,
    ) -> Sequence[Record]:
        self._check()
        rows = self._accounts.rows
        for new in accounts:
            check_new(scope, new.values)
            check_rights(rights, 0, {**(defaults or {}), **new.values})
            if new.username in rows:
                raise Conflict(f"there is an account {new.username!r} already")
        made = []
        for new in accounts:
            number = max((account.id for account, _ in rows.values()), default=0) + 1
            rows[new.username] = (Account(number, new.username, version=1), dict(new.ha1))
            values = {"parent_id": scope, **(defaults or {}), **new.values}
            made.append(self._put(new.username, values, scope))
        return made

    def _put(self, username: str, values: Mapping[str, Value], scope: int | None) -> Record:
        resolved = dict(values)
        for one in REFERENCES:
            who = resolved.get(one.name)
            if isinstance(who, str):
                resolved[one.name] = self._find(who, scope)["id"]
        for one in LISTS:
            named = resolved.get(one.name)
            if isinstance(named, Named):
                resolved[one.name] = ",".join(str(self._find(who, scope)["id"]) for who in named.split(","))
        account, ha1 = self._accounts.rows[username]
        known: dict[str, Any] = {name: resolved[name] for name in _OF_ACCOUNT if name in resolved}
        known |= {"type": AccountType(known["type"])} if "type" in known else {}
        known |= {"auth_type": AuthType(known["auth_type"])} if "auth_type" in known else {}
        more = self._more.setdefault(account.id, {"enabled": account.enabled, "suspended": False})
        more.update({name: value for name, value in resolved.items() if name not in _OF_ACCOUNT})
        enabled = bool(more["enabled"]) and not more["suspended"]
        self._accounts.rows[username] = (replace(account, enabled=enabled, **known), ha1)
        return self._record(*self._accounts.rows[username])

    async def change(
        self,
        who: str,
        values: Mapping[str, Value],
        scope: int | None,
        *,
        ha1: Mapping[str, str] | None = None,
        version: int | None = None,
        rights: Rights | None = None,
        note: AuditNote | None = None,
    ) -> tuple[Record, Record]:
        self._check()
        before = self._find(who, scope)
        check_version(f"account {who!r}", before["version"], version)
        given = {**values, **({"password": None} if ha1 is not None else {})}
        check_change(scope, before["id"], given)
        check_rights(rights, before["rights"], given)
        username = before["username"]
        if ha1 is None and self._put(username, values, scope) == before:
            return before, before
        account, old = self._accounts.rows[username]
        changed = replace(account, version=before["version"] + 1)
        self._accounts.rows[username] = (changed, old if ha1 is None else dict(ha1))
        return before, self._put(username, values, scope)

    async def delete(
        self,
        who: str,
        scope: int | None,
        *,
        version: int | None = None,
        rights: Rights | None = None,
        note: AuditNote | None = None,
    ) -> Record:
        self._check()
        before = self._find(who, scope)
        check_version(f"account {who!r}", before["version"], version)
        check_delete(scope, before["id"])
        check_rights(rights, before["rights"], DELETED)
        if any(one["parent_id"] == before["id"] for one in self._every()):
            raise Conflict(f"account {before['username']!r} still owns other accounts")
        del self._accounts.rows[before["username"]]
        return before
