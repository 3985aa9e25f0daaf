"""The audit list in PostgreSQL: entries are begun, completed, listed and, much later, deleted."""

# ruff: noqa: S608 - what is put into SQL text here are our own constants; values are parameters

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mizu.errors import StoreBusy
from mizu.model import AuditEntry, AuditRecord, Change, Operator
from mizu.store.arrays import texts
from mizu.store.postgres import Pool
from mizu.store.text import clean, json_text

CHANGES_MAX_CHARACTERS = 1_000_000  #: of one entry as JSON; more is kept without the values
_TIDY_ROWS = 5000  # at a time
_TIDY_S = 3600.0  # between deletions of old entries

_BEGIN = """INSERT INTO audit (node, who, token_id, scope_account_id, source, command, line, outcome)
 VALUES (%(node)s, %(who)s, %(token_id)s, %(scope)s, %(source)s, %(command)s, %(line)s, %(outcome)s)
 RETURNING id"""
_FINISH = """UPDATE audit SET outcome = %(outcome)s, ended_at = clock_timestamp(),
 objects = %(objects)s::text[], changes = %(changes)s::jsonb WHERE id = %(id)s"""
_LIST = """SELECT id, begun_at, ended_at, node, who, token_id, source, command, line, outcome, changes
 FROM audit
 WHERE id < coalesce(%(before)s, 9223372036854775807)
 AND (%(who)s = '' OR who = %(who)s)
 AND (%(object)s = '' OR objects @> ARRAY[%(object)s])
 AND (%(scope)s::bigint IS NULL OR account_within(scope_account_id, %(scope)s))
 ORDER BY id DESC LIMIT %(limit)s"""
_TIDY = f"""DELETE FROM audit WHERE id IN (SELECT id FROM audit
 WHERE begun_at < now() - %(days)s * interval '1 day' ORDER BY begun_at LIMIT {_TIDY_ROWS}) RETURNING id"""

_log = Logger()


class PostgresAuditStore:
    """
    See :class:`mizu.console.auditing.AuditTrail` and :class:`mizu.console.services.AuditList`.

    :param node: name of this node.
    :param mono_s: the monotonic clock.
    """

    def __init__(self, reports: Pool, node: Callable[[], str], mono_s: Callable[[], float]) -> None:
        self._reports = reports
        self._node = node
        self._mono_s = mono_s
        self._tidy_next_s = 0.0
        self.keep_days: Callable[[], int] = lambda: 0  #: how long entries are kept; 0: for ever

    def begin(self, entry: AuditEntry) -> Deferred[int]:
        """See the protocol."""
        operator = entry.operator
        values = {
            "node": self._node(),
            "who": clean(operator.name),
            "token_id": operator.token_id,
            "scope": operator.scope_account_id,
            "source": clean(operator.source),
            "command": entry.command,
            "line": clean(entry.line),
            "outcome": entry.outcome,
        }
        return self._reports.query(_BEGIN, values).addCallback(lambda rows: rows[0][0])

    def finish(self, number: int, outcome: str, changes: Sequence[Change]) -> Deferred[None]:
        """See the protocol."""
        text = json_text([asdict(one) for one in changes])
        if len(text) > CHANGES_MAX_CHARACTERS:
            text = json_text([{"topic": one.topic, "key": one.key} for one in changes])
        values = {
            "id": number,
            "outcome": outcome,
            "objects": texts([clean(f"{one.topic}:{one.key}") for one in changes]),
            "changes": text,
        }
        return self._reports.operate(_FINISH, values)

    def list(
        self, limit: int, before: int | None, who: str, about: str, operator: Operator
    ) -> Deferred[Sequence[AuditRecord]]:
        """See the protocol."""
        values: dict[str, Any] = {
            "limit": limit,
            "before": before,
            "who": clean(who),
            "object": clean(about),
            "scope": operator.scope_account_id,
        }
        query = self._reports.query(_LIST, values)
        return query.addCallback(lambda rows: [AuditRecord(*row) for row in rows])

    def tidy(self) -> None:
        """Delete what is too old, once an hour; to be called now and then. Never fails."""
        days, now_s = self.keep_days(), self._mono_s()
        if not days or now_s < self._tidy_next_s:
            return
        self._tidy_next_s = now_s + _TIDY_S
        Deferred.fromCoroutine(self._tidy(days)).addErrback(
            lambda failure: _log.failure("old audit entries could not be deleted", failure=failure)
        )

    async def _tidy(self, days: int) -> None:
        try:
            rows = await self._reports.query(_TIDY, {"days": days})
        except StoreBusy:
            return
        if len(rows) == _TIDY_ROWS:
            self._tidy_next_s = 0.0  # there may be more: next time at once
