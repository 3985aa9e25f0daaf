"""Stores in memory, for tests: they pass the contract suites of the real ones and fail when told to.

Each has ``faults``: ``faults.down = True`` makes every call fail with StoreBusy at once, ``faults.hold()``
keeps answers back until ``faults.release()``, ``faults.refuse_next(n)`` fails the next calls.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mizu.accounts.limits import limits_of
from mizu.accounts.usernames import check_username
from mizu.errors import CallRefused, Conflict, MizuError, NotFound, StoreBusy
from mizu.interfaces import IAccountStore, ICallStore, IClock, IDirectory, ILocationStore
from mizu.model import (
    Account,
    AccountType,
    AuthType,
    Binding,
    CallAnswered,
    CallClosed,
    CallOpened,
    Cdr,
    ChannelLimit,
    Limits,
)
from mizu.store.fields import columns_of

T = TypeVar("T")
Found = tuple[Account, Mapping[str, str]]


class StoreFaults:
    """What goes wrong with a fake store, on command."""

    def __init__(self) -> None:
        self.down = False  #: every call fails at once
        self._refuse = 0
        self._held: list[Callable[[], None]] | None = None

    def refuse_next(self, count: int = 1) -> None:
        """The next ``count`` calls fail with StoreBusy."""
        self._refuse = count

    def hold(self) -> None:
        """Answers wait for :meth:`release`."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Give the answers that were held, in order; later ones come at once."""
        held, self._held = self._held or [], None
        for give in held:
            give()

    @property
    def held(self) -> int:
        """Answers kept back now."""
        return len(self._held or [])

    def check(self) -> None:
        """:raise StoreBusy: a fault is set."""
        if self.down:
            raise StoreBusy("the database is down")
        if self._refuse:
            self._refuse -= 1
            raise StoreBusy("refused by the test")

    def answer(self, work: Callable[[], T]) -> Deferred[T]:
        """Do the work as a store would: now or held back, with the faults that are set."""
        try:
            self.check()
        except StoreBusy as busy:
            return fail(busy)
        if self._held is None:
            return _done(work)
        later: Deferred[T] = Deferred()

        def give() -> None:
            if not later.called:  # cancelled meanwhile
                _done(work).chainDeferred(later)

        self._held.append(give)
        return later


def _done(work: Callable[[], T]) -> Deferred[T]:
    try:
        return succeed(work())
    except MizuError as error:
        return fail(error)


def _pair(row: Mapping[str, Any]) -> tuple[object, object]:
    return row.get("company_id"), row.get("short_number")


@implementer(IAccountStore, IDirectory)
class MemoryAccountStore:
    """Accounts in a dict. ``changed`` is told the username after each change, as the real one notifies."""

    def __init__(self, changed: Callable[[str], None] = lambda username: None) -> None:
        self.faults = StoreFaults()
        self.finds = 0  #: how often ``find`` was called
        self.called_numbers: list[str] = []  #: what ``called`` was asked for
        self.allocated: dict[str, int] = {}  #: phone numbers and the ids of the accounts that have them
        self._rows: dict[str, dict[str, Any]] = {}
        self._next_id = 1
        self._changed = changed

    def find(self, username: str) -> Deferred[Found | None]:
        """See the interface."""
        self.finds += 1

        def work() -> Found | None:
            row = self._rows.get(username)
            if row is None:
                return None
            secrets = {"MD5": row.get("ha1_md5"), "SHA-256": row.get("ha1_sha256")}
            return self._account(row), {name: value for name, value in secrets.items() if value}

        return self.faults.answer(work)

    def called(self, number: str, company_id: int | None) -> Deferred[Account | None]:
        """See ``IDirectory``."""
        self.called_numbers.append(number)

        def work() -> Account | None:
            rows = self._rows.values()
            digits = number.removeprefix("+")
            for found in (
                (r for r in rows if company_id and _pair(r) == (company_id, number) and number),
                (r for r in rows if r["username"] == number),
                (r for r in rows if digits and r.get("phone_number") == digits),
                (r for r in rows if r["id"] == self.allocated.get(digits)),
            ):
                for row in found:
                    return self._account(row)
            return None

        return self.faults.answer(work)

    def list(self, prefix: str, limit: int, after: str) -> Deferred[Sequence[Account]]:
        """See the interface."""
        return self.faults.answer(
            lambda: [
                self._account(self._rows[name])
                for name in sorted(self._rows, key=str.encode)
                if name.startswith(prefix) and name.encode() > after.encode()
            ][:limit]
        )

    def add(self, username: str, ha1: Mapping[str, str], fields: Mapping[str, object]) -> Deferred[Account]:
        """See the interface."""

        def work() -> Account:
            columns = {**columns_of(ha1, fields), "username": check_username(username)}
            if username in self._rows:
                raise Conflict(f"there is an account {username!r} already")
            row = {"id": self._next_id, "version": 1, **columns}
            self._check_parent(row)
            self._next_id += 1
            self._rows[username] = row
            self._changed(username)
            return self._account(row)

        return self.faults.answer(work)

    def change(
        self, username: str, ha1: Mapping[str, str] | None, fields: Mapping[str, object]
    ) -> Deferred[Account]:
        """See the interface."""

        def work() -> Account:
            columns = columns_of(ha1, fields)
            row = self._rows.get(username)
            if row is None:
                raise NotFound(f"there is no account {username!r}")
            if ha1 is not None:
                columns = {"ha1_md5": None, "ha1_sha256": None, **columns}
            new = {**row, **columns, "version": row["version"] + 1}
            self._check_parent(new)
            self._rows[username] = new
            self._changed(username)
            return self._account(new)

        return self.faults.answer(work)

    def delete(self, username: str) -> Deferred[None]:
        """See the interface."""

        def work() -> None:
            row = self._rows.get(username)
            if row is None:
                raise NotFound(f"there is no account {username!r}")
            if any(other.get("parent_id") == row["id"] for other in self._rows.values()):
                raise Conflict(f"account {username!r} still owns other accounts")
            del self._rows[username]
            self._changed(username)

        return self.faults.answer(work)

    def _by_id(self, account_id: int) -> dict[str, Any] | None:
        return next((row for row in self._rows.values() if row["id"] == account_id), None)

    def _check_parent(self, row: Mapping[str, Any]) -> None:
        above = row.get("parent_id")
        if above is not None and above != row["id"] and self._by_id(above) is None:
            raise NotFound("there is no account with that parent_id")
        while above is not None:
            if above == row["id"]:
                raise Conflict("an account cannot be below itself")
            above = (self._by_id(above) or {}).get("parent_id")

    def _enabled(self, row: Mapping[str, Any] | None) -> bool:
        while row is not None:
            if not row.get("enabled", True) or row.get("suspended", False):
                return False
            row = self._by_id(row["parent_id"]) if row.get("parent_id") is not None else None
        return True

    def _chain(self, row: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
        chain = []
        while row is not None:
            chain.append(row)
            row = self._by_id(row["parent_id"]) if row.get("parent_id") is not None else None
        return chain

    def _account(self, row: Mapping[str, Any]) -> Account:
        known = {name: row[name] for name in Account.__dataclass_fields__ if name in row}
        known["enabled"] = self._enabled(row)
        chain = self._chain(row)
        known["owners"] = tuple(one["id"] for one in chain[1:])
        limits = (limits_of(one["id"], one) for one in chain)
        known["limits"] = tuple(one for one in limits if one != Limits(one.account_id))
        if row.get("is_company"):
            known["company_id"] = row["id"]
        if known.get("auth_type") not in (AuthType.TECH_PREFIX, AuthType.IP_AND_TECH_PREFIX):
            known["tech_prefix"] = ""
        known["type"] = AccountType(known.get("type", 0))
        known["auth_type"] = AuthType(known.get("auth_type", AuthType.DIGEST))
        return Account(**known)


@implementer(ILocationStore)
class MemoryLocationStore:
    """Bindings in a dict. ``puts`` lists every ``put`` in order."""

    def __init__(self, clock: IClock) -> None:
        self.faults = StoreFaults()
        self.puts: list[tuple[str, tuple[Binding, ...]]] = []
        self._clock = clock
        self._kept: dict[str, tuple[Binding, ...]] = {}

    def load(self) -> Deferred[Sequence[Binding]]:
        """See the interface."""

        def work() -> Sequence[Binding]:
            now_s = self._clock.wall().timestamp()
            return [b for kept in self._kept.values() for b in kept if b.expires_at_s > now_s]

        return self.faults.answer(work)

    def put(self, aor: str, bindings: Sequence[Binding]) -> None:
        """See the interface."""
        self.puts.append((aor, tuple(bindings)))
        if bindings:
            self._kept[aor] = tuple(bindings)
        else:
            self._kept.pop(aor, None)


@implementer(ICallStore)
class MemoryCallStore:
    """Call rows in a dict: ``cdrs`` by call_id. Closes always succeed, as the real ones do in the end."""

    def __init__(self, username: Callable[[int], str] = "#{}".format) -> None:
        self.faults = StoreFaults()
        self.cdrs: dict[str, Cdr] = {}
        self.channels: dict[str, tuple[int, ...]] = {}  #: accounts that open calls count for
        self._username = username

    def _name(self, account_id: int | None) -> str:
        return "" if account_id is None else self._username(account_id)

    def open(self, call: CallOpened) -> Deferred[None]:
        """See the interface."""

        def work() -> None:
            self.cdrs.setdefault(
                call.call_id,
                Cdr(
                    call_id=call.call_id,
                    state="setup",
                    caller=self._name(call.caller_account_id),
                    caller_number=call.caller_number,
                    called_number=call.called_number,
                    callee="",
                    route="",
                    caller_sip_call_id=call.caller_sip_call_id,
                    callee_sip_call_id="",
                    caller_address=call.caller_address,
                    callee_address="",
                    setup_at=call.setup_at,
                    ring_at=None,
                    answer_at=None,
                    end_at=None,
                    setup_s=None,
                    talk_s=None,
                    sip_status=None,
                    sip_reason="",
                    ended_by="",
                    cause="",
                ),
            )
            if call.channels:
                self._take(call.call_id, call.channels)

        return self.faults.answer(work)

    def take(self, call_id: str, channels: Sequence[ChannelLimit]) -> Deferred[None]:
        """See the interface."""
        return self.faults.answer(lambda: self._take(call_id, channels))

    def _take(self, call_id: str, channels: Sequence[ChannelLimit]) -> None:
        row = self.cdrs.get(call_id)
        if row is None or row.end_at is not None:
            raise StoreBusy("the call row is not there")
        held = self.channels.get(call_id, ())
        for one in channels:
            if one.account_id not in held and self.in_use(one.account_id) >= one.most:
                raise CallRefused(480, "max_channels", f"account {one.account_id} has no channel left")
        self.channels[call_id] = tuple(one.account_id for one in channels)

    def in_use(self, account_id: int) -> int:
        """Calls under way that count for the account."""
        return sum(account_id in held for held in self.channels.values())

    def answer(self, call: CallAnswered) -> Deferred[None]:
        """See the interface."""

        def work() -> None:
            row = self.cdrs.get(call.call_id)
            if row is not None and row.end_at is None:
                self.cdrs[call.call_id] = replace(
                    row,
                    state="answered",
                    answer_at=call.answer_at,
                    route=call.route,
                    callee=self._name(call.callee_account_id),
                    callee_sip_call_id=call.callee_sip_call_id,
                    callee_address=call.callee_address,
                )

        return self.faults.answer(work)

    def close(self, call: CallClosed) -> None:
        """See the interface."""
        row = self.cdrs.get(call.call_id)
        self.channels.pop(call.call_id, None)
        if row is not None and row.end_at is None:
            self.cdrs[call.call_id] = replace(
                row,
                state="ended",
                ring_at=call.ring_at,
                end_at=call.end_at,
                answer_at=row.answer_at if 200 <= call.sip_status < 300 else None,
                setup_s=call.setup_s,
                talk_s=call.talk_s,
                sip_status=call.sip_status,
                sip_reason=call.sip_reason,
                ended_by=call.ended_by,
                cause=call.cause,
                route=call.route,
                callee=self._name(call.callee_account_id),
                callee_sip_call_id=call.callee_sip_call_id,
                callee_address=call.callee_address,
            )

    def recent(self, limit: int, before: str) -> Deferred[Sequence[Cdr]]:
        """See the interface."""

        def work() -> Sequence[Cdr]:
            rows = sorted(self.cdrs.values(), key=lambda cdr: (cdr.setup_at, cdr.call_id), reverse=True)
            if before:
                end = self.cdrs.get(before)
                if end is None:
                    return []
                rows = [c for c in rows if (c.setup_at, c.call_id) < (end.setup_at, end.call_id)]
            return rows[:limit]

        return self.faults.answer(work)


__all__ = ["MemoryAccountStore", "MemoryCallStore", "MemoryLocationStore", "StoreFaults"]
