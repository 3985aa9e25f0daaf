"""What the account, group, number, address, SIP account and import commands ask of the store.

``scope`` is ``Operator.scope_account_id``: accounts outside of it do not exist for the command. What changes
something takes the entry of the audit list (``Invocation.note``), so that no command can leave it out.
"""

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any, Protocol

from mizu.accounts.addresses import FurtherAddress
from mizu.accounts.bulk import ImportJob, ImportOrder
from mizu.accounts.groups import Group, GroupKind
from mizu.accounts.kinds import Value
from mizu.accounts.numbers import PhoneNumber
from mizu.accounts.records import NewAccount, Node, Record
from mizu.accounts.rotation import SipAccount
from mizu.accounts.ties import Tie
from mizu.model import AuditEntry, AuditNote, Operator, Rights


class Records(Protocol):
    """Whole accounts; ``mizu.store.account_records.AccountRecords``, see there."""

    def get(self, who: str, scope: int | None) -> Awaitable[Record]: ...

    def list(
        self, prefix: str, limit: int, after: str, scope: int | None, type_: int | None = None
    ) -> Awaitable[Sequence[Record]]: ...

    def usernames(
        self, prefix: str, limit: int, after: str, scope: int | None
    ) -> Awaitable[Sequence[str]]: ...

    def seen(self, usernames: Collection[str], scope: int | None) -> Awaitable[frozenset[str]]: ...

    def chain(self, who: str, scope: int | None) -> Awaitable[Sequence[Record]]: ...

    def tree(
        self, who: str | None, scope: int | None, levels: int, limit: int, after: Sequence[str] = ()
    ) -> Awaitable[Sequence[Node]]: ...

    def channels(self, ids: Sequence[int]) -> Awaitable[Mapping[int, int]]: ...

    def names(self, ids: Collection[str], scope: int | None) -> Awaitable[Mapping[str, str]]: ...

    def naming(self, account_id: int, scope: int | None) -> Awaitable[Sequence[Tie]]: ...

    def left_over(self, account_id: int, scope: int | None) -> Awaitable[Sequence[Tie]]: ...

    def groups(self, account_id: int, scope: int | None) -> Awaitable[Sequence[str]]: ...

    def add(
        self,
        accounts: Sequence[NewAccount],
        scope: int | None,
        by: str,
        defaults: Mapping[str, Value] | None = None,
        *,
        rights: Rights | None,
        note: AuditNote | None,
    ) -> Awaitable[Sequence[Record]]: ...

    def change(
        self,
        who: str,
        values: Mapping[str, Value],
        scope: int | None,
        *,
        ha1: Mapping[str, str] | None = None,
        version: int | None = None,
        rights: Rights | None,
        note: AuditNote | None,
    ) -> Awaitable[tuple[Record, Record]]: ...

    def delete(
        self,
        who: str,
        scope: int | None,
        *,
        version: int | None,
        rights: Rights | None,
        note: AuditNote | None,
    ) -> Awaitable[Record]: ...


class Groups(Protocol):
    """Groups and their members; ``mizu.store.groups.PostgresGroups``, see there."""

    def list(self, prefix: str, limit: int, after: str, scope: int | None) -> Awaitable[Sequence[Group]]: ...

    def get(self, name: str, scope: int | None) -> Awaitable[Group]: ...

    def add(
        self,
        name: str,
        kind: GroupKind,
        owner: str,
        note: str,
        scope: int | None,
        entry: AuditNote | None,
    ) -> Awaitable[Group]: ...

    def change(
        self,
        name: str,
        owner: str | None,
        note: str | None,
        scope: int | None,
        version: int | None,
        entry: AuditNote | None,
    ) -> Awaitable[tuple[Group, Group]]: ...

    def delete(
        self, name: str, scope: int | None, version: int | None, entry: AuditNote | None
    ) -> Awaitable[Group]: ...

    def members(self, name: str, limit: int, after: str, scope: int | None) -> Awaitable[Sequence[str]]: ...

    def join(
        self,
        name: str,
        members: Sequence[str],
        scope: int | None,
        version: int | None,
        entry: AuditNote | None,
    ) -> Awaitable[tuple[Group, Sequence[str]]]: ...

    def leave(
        self,
        name: str,
        members: Sequence[str],
        scope: int | None,
        version: int | None,
        entry: AuditNote | None,
    ) -> Awaitable[tuple[Group, Sequence[str]]]: ...


class Numbers(Protocol):
    """Phone numbers; ``mizu.store.numbers.PostgresNumbers``, see there."""

    def add(
        self,
        numbers: Sequence[str],
        holder: str,
        note: str,
        scope: int | None,
        entry: AuditNote | None,
    ) -> Awaitable[Sequence[str]]: ...

    def get(self, number: str, scope: int | None) -> Awaitable[PhoneNumber]: ...

    def list(
        self, prefix: str, limit: int, after: str, scope: int | None, *, free: bool, account: str
    ) -> Awaitable[Sequence[PhoneNumber]]: ...

    def change(
        self,
        number: str,
        holder: str | None,
        note: str | None,
        scope: int | None,
        version: int | None,
        entry: AuditNote | None,
    ) -> Awaitable[tuple[PhoneNumber, PhoneNumber]]: ...

    def allocate(
        self, account: str, wanted: str, scope: int | None, version: int | None, entry: AuditNote | None
    ) -> Awaitable[PhoneNumber]: ...

    def free(
        self, number: str, scope: int | None, version: int | None, entry: AuditNote | None
    ) -> Awaitable[tuple[PhoneNumber, PhoneNumber]]: ...

    def delete(
        self, number: str, scope: int | None, version: int | None, entry: AuditNote | None
    ) -> Awaitable[PhoneNumber]: ...


class Addresses(Protocol):
    """Further addresses of accounts; ``mizu.store.account_addresses.PostgresAddresses``, see there."""

    def list(self, who: str, scope: int | None) -> Awaitable[tuple[str, Sequence[FurtherAddress]]]: ...

    def add(
        self,
        who: str,
        new: FurtherAddress,
        scope: int | None,
        version: int | None,
        note: AuditNote | None,
        *,
        rights: Rights | None,
    ) -> Awaitable[tuple[str, FurtherAddress | None, FurtherAddress]]: ...

    def remove(
        self,
        who: str,
        address: str,
        port: int,
        scope: int | None,
        version: int | None,
        note: AuditNote | None,
        *,
        rights: Rights | None,
    ) -> Awaitable[tuple[str, Sequence[FurtherAddress]]]: ...


class SipAccounts(Protocol):
    """Accounts at SIP servers; ``mizu.store.sip_accounts.PostgresSipAccounts``, see there."""

    def list(
        self, server: str, limit: int, after: tuple[str, int, int] | None, scope: int | None
    ) -> Awaitable[Sequence[tuple[str, SipAccount]]]: ...

    def get(self, number: int, scope: int | None) -> Awaitable[tuple[str, SipAccount]]: ...

    def add(
        self,
        server: str,
        username: str,
        password: str,
        values: Mapping[str, Value],
        scope: int | None,
        note: AuditNote | None,
    ) -> Awaitable[SipAccount]: ...

    def change(
        self,
        number: int,
        values: Mapping[str, Value],
        scope: int | None,
        version: int | None,
        note: AuditNote | None,
    ) -> Awaitable[tuple[str, SipAccount, SipAccount]]: ...

    def delete(
        self, number: int, scope: int | None, version: int | None, note: AuditNote | None
    ) -> Awaitable[SipAccount]: ...

    def rotate_keys(self, step: str) -> Awaitable[Mapping[str, Any]]: ...


class Imports(Protocol):
    """Imports and exports; ``mizu.store.bulk.Imports``, see there."""

    def start(self, order: ImportOrder, operator: Operator, entry: AuditEntry | None) -> ImportJob: ...

    def jobs(self, scope: int | None) -> Sequence[ImportJob]: ...

    def wait(self, job: ImportJob, seconds: float) -> Awaitable[None]: ...

    def cancel(self, scope: int | None, number: int | None) -> ImportJob: ...

    def export(self, name: str, prefix: str, scope: int | None) -> Awaitable[int]: ...
