"""The audit list in PostgreSQL: entries are begun, completed, listed and, much later, deleted."""

# ruff: noqa: S608 - what is put into SQL text here are our own constants; values are parameters

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.accounts.fields import REFERENCES
from mizu.accounts.scope import visible_many
from mizu.errors import StoreBusy
from mizu.model import AuditEntry, AuditRecord, Change, Operator
from mizu.store.noted import FINISH, WRITE, Written, change_values, entry_values, was_committed
from mizu.store.postgres import Pool
from mizu.store.text import clean

LATER_MAX = 1000  #: entries of emergencies that wait for the database
OTHERS = "operator"  #: who, instead of the names of operators that the reader does not know
_REFERENCES = frozenset(one.name for one in REFERENCES)
#: Members of a change that may name accounts or operators outside of the reader's reach.
_ABOUT_OTHERS = frozenset(("created_by", "holder", "owner", "owner_id", "scope", "used_from"))
_TIDY_ROWS = 5000  # at a time
_TIDY_S = 3600.0  # between deletions of old entries

_COLUMNS = """a.id, a.begun_at, a.ended_at, a.node, a.who, a.token_id, a.source, a.command, a.line, a.outcome,
 a.changes"""
_LIST = f"""SELECT {_COLUMNS} FROM audit a
 WHERE a.id < coalesce(%(before)s, 9223372036854775807)
 AND (%(who)s = '' OR a.who = %(who)s)
 AND (%(object)s = '' OR a.objects @> ARRAY[%(object)s])
 ORDER BY a.id DESC LIMIT %(limit)s"""
#: What an operator with a scope sees: all that was done by operators in it; of what others did, the changes
#: that concern it.
_LIST_WITHIN = f"""SELECT {_COLUMNS}, r.whole, r.places FROM audit_reach r JOIN audit a ON a.id = r.audit_id
 WHERE r.account_id = %(scope)s AND r.audit_id < coalesce(%(before)s, 9223372036854775807)
 AND (%(who)s = '' OR CASE WHEN r.whole THEN a.who ELSE '{OTHERS}' END = %(who)s)
 AND (%(object)s = '' OR CASE WHEN r.whole THEN a.objects @> ARRAY[%(object)s]
  ELSE EXISTS (SELECT FROM unnest(r.places) p WHERE a.objects[p + 1] = %(object)s) END)
 AND (r.whole OR r.places <> '{{}}')
 ORDER BY r.audit_id DESC LIMIT %(limit)s"""
_SEEN = f"SELECT a.id FROM account a WHERE a.id = ANY (%(ids)s::bigint[]) AND {visible_many('a.id')}"
_TIDY = f"""DELETE FROM audit WHERE id IN (SELECT id FROM audit
 WHERE begun_at < now() - %(days)s * interval '1 day' ORDER BY begun_at LIMIT {_TIDY_ROWS}) RETURNING id"""

_log = Logger()


class PostgresAuditStore:
    """
    See :class:`mizu.console.auditing.AuditTrail` and :class:`mizu.console.services.AuditList`.

    :param node: name of this node.
    :param mono_s: the monotonic clock. :param wall: now.
    """

    def __init__(
        self,
        reports: Pool,
        node: Callable[[], str],
        mono_s: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._reports = reports
        self._node = node
        self._mono_s = mono_s
        self._wall = wall
        self._later: deque[tuple[AuditEntry, Sequence[Change], datetime]] = deque()
        self._doubts: deque[tuple[Written, AuditEntry, datetime]] = deque()
        self._keeping = False
        self._tidy_next_s = 0.0
        self.keep_days: Callable[[], int] = lambda: 0  #: how long entries are kept; 0: for ever

    def begin(self, entry: AuditEntry) -> Deferred[int]:
        """See the protocol."""
        return self.keep(entry, ())

    def keep(
        self, entry: AuditEntry, changes: Sequence[Change], begun_at: datetime | None = None
    ) -> Deferred[int]:
        """See the protocol."""
        values = entry_values(self._node(), entry, changes, begun_at)
        return self._reports.query(WRITE, values).addCallback(lambda rows: rows[0][0])

    def keep_later(self, entry: AuditEntry, changes: Sequence[Change]) -> bool:
        """See the protocol."""
        if len(self._later) >= LATER_MAX:
            return False
        self._later.append((entry, changes, self._wall()))
        return True

    def keep_unless(self, mark: object, entry: AuditEntry) -> bool:
        """See the protocol."""
        if not isinstance(mark, Written):
            raise TypeError(f"{mark!r} is no mark of ours")
        if len(self._doubts) >= LATER_MAX:
            return False
        self._doubts.append((mark, entry, self._wall()))
        return True

    async def flush(self) -> None:
        """Write what waits, in order. :raise StoreBusy: the rest waits on."""
        self._keeping = True
        try:
            while self._later:
                entry = self._later.popleft()
                try:
                    await self.keep(*entry)
                except StoreBusy:
                    self._later.appendleft(entry)
                    raise
            for _ in range(len(self._doubts)):
                await self._settle()
        finally:
            self._keeping = False

    async def _settle(self) -> None:
        """Look what became of the oldest doubt: it is gone, or the newest. :raise StoreBusy:"""
        written, entry, begun_at = self._doubts[0]
        made = await was_committed(self._reports, written)
        if made is False:
            await self.keep(entry, (), begun_at)
        self._doubts.popleft()
        if made is None:
            self._doubts.append((written, entry, begun_at))

    def finish(self, number: int, outcome: str, changes: Sequence[Change]) -> Deferred[None]:
        """See the protocol."""
        values = {"id": number, "outcome": outcome, **change_values(changes)}
        return self._reports.query(FINISH, values).addCallback(lambda _: None)

    async def list(
        self, limit: int, before: int | None, who: str, about: str, operator: Operator
    ) -> Sequence[AuditRecord]:
        """See the protocol."""
        scope = operator.scope_account_id
        values: dict[str, Any] = {
            "limit": limit,
            "before": before,
            "who": clean(who),
            "object": clean(about),
            "scope": scope,
        }
        if scope is None:
            return [AuditRecord(*row) for row in await self._reports.query(_LIST, values)]
        rows = await self._reports.query(_LIST_WITHIN, values)
        records = [
            record if whole else _partly(record, places)
            for record, whole, places in ((AuditRecord(*row[:-2]), *row[-2:]) for row in rows)
        ]
        named = {number for one in records if one.who == OTHERS for number in _named(one.changes)}
        seen = {row[0] for row in await self._reports.query(_SEEN, {"ids": sorted(named), "scope": scope})}
        return [_without_others(one, seen) if one.who == OTHERS else one for one in records]

    def tidy(self) -> None:
        """
        Write what waits for the database; once an hour, delete what is too old. To be called now and then.
        Never fails.
        """
        if (self._later or self._doubts) and not self._keeping:
            Deferred.fromCoroutine(self.flush()).addErrback(self._cannot_flush)
        days, now_s = self.keep_days(), self._mono_s()
        if not days or now_s < self._tidy_next_s:
            return
        self._tidy_next_s = now_s + _TIDY_S
        Deferred.fromCoroutine(self._tidy(days)).addErrback(
            lambda failure: _log.failure("old audit entries could not be deleted", failure=failure)
        )

    @staticmethod
    def _cannot_flush(failure: Failure) -> None:
        if not isinstance(failure.value, StoreBusy):  # else it is tried again
            _log.failure("audit entries could not be written", failure=failure)

    async def _tidy(self, days: int) -> None:
        try:
            rows = await self._reports.query(_TIDY, {"days": days})
        except StoreBusy:
            return
        if len(rows) == _TIDY_ROWS:
            self._tidy_next_s = 0.0  # there may be more: next time at once


def _partly(record: AuditRecord, places: Sequence[int]) -> AuditRecord:
    """What an operator sees of what somebody outside of his reach did: that it was done, not by whom."""
    changes = [record.changes[place] for place in places]
    return replace(
        record, node="", who=OTHERS, token_id=None, source="", line=record.command, changes=changes
    )


def _named(changes: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """Accounts that the changes refer to, besides those they are about."""
    for change in changes:
        for values in (change.get("before") or {}, change.get("after") or {}):
            for name in _REFERENCES & values.keys():
                if isinstance(values[name], int):
                    yield values[name]


def _without_others(record: AuditRecord, seen: Set[int]) -> AuditRecord:
    def cut(values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if values is None:
            return None
        return {
            name: None if name in _REFERENCES and value not in seen else value
            for name, value in values.items()
            if name not in _ABOUT_OTHERS
        }

    changes = [
        {**change, "before": cut(change.get("before")), "after": cut(change.get("after"))}
        for change in record.changes
    ]
    return replace(record, changes=changes)
