"""Fakes for everything console commands reach, in memory and ready at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from mizu.console.services import ConsoleServices, LiveCall
from mizu.console.trace import MessageTrace
from mizu.errors import Conflict, NotFound
from mizu.model import (
    Account,
    AuditEntry,
    AuditNote,
    AuditRecord,
    Binding,
    Cdr,
    Change,
    Operator,
    OperatorToken,
    Rights,
)
from mizu.options import Options
from mizu.testing.records import MemoryRecords

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class FakeAccounts:
    """An account store in a dict. ``error``: raised by every method while it is set."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Account, Mapping[str, str]]] = {}
        self.error: Exception | None = None

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    async def find(self, username: str) -> tuple[Account, Mapping[str, str]] | None:
        self._check()
        return self.rows.get(username)

    async def list(self, prefix: str, limit: int, after: str) -> Sequence[Account]:
        self._check()
        names = sorted(name for name in self.rows if name.startswith(prefix) and name > after)
        return [self.rows[name][0] for name in names[:limit]]

    async def add(self, username: str, ha1: Mapping[str, str], fields: Mapping[str, object]) -> Account:
        self._check()
        if username in self.rows:
            raise Conflict(f"there is an account {username} already")
        account = replace(Account(len(self.rows) + 1, username), **fields)  # type: ignore[arg-type]
        self.rows[username] = (account, dict(ha1))
        return account

    async def change(
        self, username: str, ha1: Mapping[str, str] | None, fields: Mapping[str, object]
    ) -> Account:
        self._check()
        if username not in self.rows:
            raise NotFound(f"there is no account {username}")
        account, old = self.rows[username]
        account = replace(account, version=account.version + 1, **fields)  # type: ignore[arg-type]
        self.rows[username] = (account, old if ha1 is None else dict(ha1))
        return account

    async def delete(self, username: str) -> None:
        self._check()
        if self.rows.pop(username, None) is None:
            raise NotFound(f"there is no account {username}")


class FakeCallRecords:
    """CDRs in a list, newest first. ``seen`` has the usernames that operators with a scope see."""

    def __init__(self) -> None:
        self.records: list[Cdr] = []
        self.seen: dict[int, set[str]] = {}

    async def recent(self, limit: int, before: str, scope: int | None) -> Sequence[Cdr]:
        found = self.records
        if scope is not None:
            names = self.seen.get(scope, set())
            found = [record for record in found if {record.caller, record.callee} & names]
        ids = [record.call_id for record in found]
        start = ids.index(before) + 1 if before in ids else 0
        return found[start : start + limit]


class FakeLiveCalls:
    """Calls in progress. ``dropped`` has ``(call_id, by)``."""

    def __init__(self) -> None:
        self.rows: list[LiveCall] = []
        self.dropped: list[tuple[str, str]] = []

    def list(self) -> Sequence[LiveCall]:
        return tuple(self.rows)

    def drop(self, call_id: str, by: str) -> bool:
        found = [row for row in self.rows if row.call_id == call_id]
        self.rows = [row for row in self.rows if row.call_id != call_id]
        if found:
            self.dropped.append((call_id, by))
        return bool(found)


class FakeRegistrations:
    """Bindings in a list."""

    def __init__(self) -> None:
        self.rows: list[Binding] = []

    def list(self, prefix: str, limit: int, after: str = "") -> Sequence[Binding]:
        found = sorted((b for b in self.rows if b.aor.startswith(prefix)), key=lambda b: b.aor)
        names = sorted({b.aor for b in found if b.aor > after})[:limit]
        return [b for b in found if b.aor in names]

    def of(self, username: str) -> Sequence[Binding]:
        return [b for b in self.rows if b.aor == username]

    def count(self) -> int:
        return len(self.rows)

    def remove(self, username: str, contact: str | None) -> int:
        before = len(self.rows)
        self.rows = [b for b in self.rows if b.aor != username or (contact and b.contact != contact)]
        return before - len(self.rows)


class FakeTokens:
    """Tokens in a list, with their hashes; every account has every right."""

    def __init__(self) -> None:
        self.rows: list[tuple[bytes, OperatorToken]] = []

    async def find(self, sha256: bytes, source: str) -> Operator | None:
        for known, token in self.rows:
            if known == sha256 and token.revoked_at is None:
                return Operator(token.username, token.rights, source, token_id=token.id)
        return None

    async def list(
        self, username: str, limit: int, after: int, operator: Operator, *, every: bool
    ) -> Sequence[OperatorToken]:
        found = [token for _, token in self.rows if token.id > after and username in ("", token.username)]
        return [token for token in found if every or token.revoked_at is None][:limit]

    async def add(
        self,
        username: str,
        sha256: bytes,
        by: Operator,
        *,
        rights: Rights | None,
        label: str,
        expires_at: datetime | None,
        note: AuditNote | None = None,
    ) -> OperatorToken:
        token = OperatorToken(
            id=len(self.rows) + 1,
            username=username,
            rights=rights or by.rights,
            scope="",
            label=label,
            created_by=by.name,
            created_at=NOON,
            expires_at=expires_at,
            revoked_at=None,
            used_at=None,
            used_from="",
        )
        self.rows.append((sha256, token))
        return token

    async def revoke(self, number: int, operator: Operator, note: AuditNote | None = None) -> OperatorToken:
        for place, (sha256, token) in enumerate(self.rows):
            if token.id == number:
                self.rows[place] = (sha256, replace(token, revoked_at=NOON))
                return self.rows[place][1]
        raise NotFound(f"there is no token {number}")


class FakeAudit:
    """
    The audit list in a list. ``error``: raised by everything that writes while it is set.

    The fake stores keep no entries with their changes, so those come here after the change.
    """

    def __init__(self) -> None:
        self.rows: list[AuditRecord] = []
        self.later: list[tuple[AuditEntry, Sequence[Change]]] = []
        self.doubts: list[tuple[object, AuditEntry]] = []
        self.error: Exception | None = None

    async def begin(self, entry: AuditEntry) -> int:
        if self.error is not None:
            raise self.error
        record = AuditRecord(
            id=len(self.rows) + 1,
            begun_at=NOON,
            ended_at=None,
            node="test",
            who=entry.operator.name,
            token_id=entry.operator.token_id,
            source=entry.operator.source,
            command=entry.command,
            line=entry.line,
            outcome=entry.outcome,
            changes=[],
        )
        self.rows.append(record)
        return record.id

    async def finish(self, number: int, outcome: str, changes: Sequence[Change]) -> None:
        if self.error is not None:
            raise self.error
        noted = [
            {"topic": one.topic, "key": one.key, "before": one.before, "after": one.after} for one in changes
        ]
        self.rows[number - 1] = replace(self.rows[number - 1], ended_at=NOON, outcome=outcome, changes=noted)

    async def keep(self, entry: AuditEntry, changes: Sequence[Change]) -> int:
        number = await self.begin(entry)
        await self.finish(number, entry.outcome, changes)
        return number

    def keep_later(self, entry: AuditEntry, changes: Sequence[Change]) -> bool:
        self.later.append((entry, changes))
        return True

    def keep_unless(self, mark: object, entry: AuditEntry) -> bool:
        self.doubts.append((mark, entry))
        return True

    async def list(
        self, limit: int, before: int | None, who: str, about: str, operator: Operator
    ) -> Sequence[AuditRecord]:
        found = [one for one in reversed(self.rows) if before is None or one.id < before]
        return [
            one
            for one in found
            if who in ("", one.who)
            and (not about or about in {f"{c['topic']}:{c['key']}" for c in one.changes})
        ][:limit]


@dataclass
class FakeConsole:
    """All fakes together; :attr:`services` is what the command table takes."""

    accounts: FakeAccounts = field(default_factory=FakeAccounts)
    cdrs: FakeCallRecords = field(default_factory=FakeCallRecords)
    calls: FakeLiveCalls = field(default_factory=FakeLiveCalls)
    registrations: FakeRegistrations = field(default_factory=FakeRegistrations)
    trace: MessageTrace = field(default_factory=lambda: MessageTrace(100, lambda: NOON))
    facts: dict[str, object] = field(default_factory=lambda: {"state": "ready", "version": "test"})
    shutdowns: list[bool] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  #: usernames that caches were told to forget
    options: Options = field(default_factory=Options)
    tokens: FakeTokens = field(default_factory=FakeTokens)
    audit: FakeAudit = field(default_factory=FakeAudit)

    @property
    def services(self) -> ConsoleServices:
        return ConsoleServices(
            accounts=self.accounts,
            records=MemoryRecords(self.accounts),
            cdrs=self.cdrs,
            calls=self.calls,
            registrations=self.registrations,
            trace=self.trace,
            status=lambda: self.facts,
            shutdown=self.shutdowns.append,
            realm="mizu",
            on_account_changed=self.changed.append,
            version="test",
            wall=lambda: NOON,
            options=self.options,
            tokens=self.tokens,
            audit=self.audit,
        )


def live_call(call_id: str = "c0ffee00" * 4, **values: object) -> LiveCall:
    """A talking call from 1001 to 1002; change what matters to the test."""
    call = LiveCall(
        call_id=call_id,
        state="talking",
        caller="1001",
        caller_number="1001",
        called_number="1002",
        callee="1002",
        route="1002",
        caller_address="udp:192.0.2.1:5060",
        callee_address="udp:192.0.2.2:5060",
        setup_at=NOON,
        age_s=65.0,
        talk_s=60.0,
    )
    return replace(call, **values)  # type: ignore[arg-type]


def call_record(call_id: str = "c0ffee00" * 4, **values: object) -> Cdr:
    """The record of an answered call that the caller ended; change what matters to the test."""
    record = Cdr(
        call_id=call_id,
        state="ended",
        caller="1001",
        caller_number="1001",
        called_number="1002",
        callee="1002",
        route="1002",
        caller_sip_call_id="a@phone",
        callee_sip_call_id="b@mizu",
        caller_address="udp:192.0.2.1:5060",
        callee_address="udp:192.0.2.2:5060",
        setup_at=NOON,
        ring_at=NOON,
        answer_at=NOON,
        end_at=NOON,
        setup_s=5.0,
        talk_s=60.0,
        sip_status=200,
        sip_reason="OK",
        ended_by="caller",
        cause="answered",
    )
    return replace(record, **values)  # type: ignore[arg-type]


def binding(username: str = "1001", contact: str = "sip:1001@192.0.2.1:5060", **values: object) -> Binding:
    """A registered phone; it expires five minutes after ``NOON``."""
    found = Binding(
        account_id=1,
        aor=username,
        contact=contact,
        expires_at_s=NOON.timestamp() + 300,
        call_id="r@phone",
        cseq=1,
        received_host="192.0.2.1",
        received_port=5060,
        local="udp:0.0.0.0:5060",
        user_agent="Phone 1.0",
    )
    return found._replace(**values)  # type: ignore[arg-type]


def store_services(store: Any, console: FakeConsole | None = None, **more: Any) -> ConsoleServices:
    """
    What commands reach: everything that is in a real store, fakes for the rest.

    :param store: a ``mizu.store.Store`` that is started.
    :param console: the fakes; left out: new ones.
    :param more: services instead of these, or besides.
    """
    kept = {
        "accounts": store.accounts,
        "records": store.records,
        "cdrs": store.call_history,
        "groups": store.groups,
        "numbers": store.numbers,
        "addresses": store.addresses,
        "sip_accounts": store.sip_accounts,
        "tokens": store.operators,
        "audit": store.audit,
        "options": Options(store.options),
    }
    return replace((console or FakeConsole()).services, **{**kept, **more})
