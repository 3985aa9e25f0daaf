"""Bans and the white list in PostgreSQL. Bans are written behind: many of them in one statement."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mizu.deferreds import shield_coroutine
from mizu.errors import StoreBusy
from mizu.interfaces import IBanAdministration, IBanStore
from mizu.model import BanRecord, TrustedAddress
from mizu.store.postgres import Pool
from mizu.store.text import storable

_COLUMNS = "target, reason, banned_by, begun_at, until_at, times"
_LOAD = f"SELECT {_COLUMNS} FROM ban WHERE target > %s ORDER BY target LIMIT 5000"  # noqa: S608 - constants
_FIND = f"SELECT {_COLUMNS} FROM ban WHERE target = ANY (%s)"  # noqa: S608 - constants
_PUT = """INSERT INTO ban (target, reason, banned_by, begun_at, until_at, times)
 SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::integer[])
 ON CONFLICT (target) DO UPDATE SET reason = excluded.reason, banned_by = excluded.banned_by,
 begun_at = excluded.begun_at, until_at = excluded.until_at, times = excluded.times
 WHERE excluded.banned_by <> 'guard' OR (ban.until_at IS NOT NULL AND ban.until_at < excluded.until_at)"""
_DELETE = "DELETE FROM ban WHERE target = ANY (%s)"
_CLEAR = "WITH gone AS (DELETE FROM ban RETURNING 1) SELECT count(*) FROM gone"
_PURGE = "DELETE FROM ban WHERE until_at < now() - interval '7 days'"
_TRUSTED = "SELECT target, note, added_by, added_at FROM whitelist ORDER BY target"
_TRUST = """INSERT INTO whitelist (target, note, added_by) VALUES (%s, %s, %s)
 ON CONFLICT (target) DO UPDATE SET note = excluded.note, added_by = excluded.added_by"""
_DISTRUST = "DELETE FROM whitelist WHERE target = %s RETURNING target"

_ROWS_MAX = 500  # in one statement
_PACE_S = 0.1  # gathered so long
_RETRY_S = 1.0  # after a failure
_PURGE_S = 3600.0  # how often bans are deleted that count no more

_log = Logger()


@implementer(IBanStore, IBanAdministration)
class PostgresBanStore:
    """
    See :class:`~mizu.interfaces.IBanStore` and :class:`~mizu.interfaces.IBanAdministration`.

    :param limit: bans that may wait to be written; above it the oldest are not kept.
    """

    def __init__(self, reports: Pool, reactor: Any, limit: int = 100_000) -> None:
        self._reports = reports
        self._reactor = reactor
        self._limit = limit
        self._waiting: dict[str, BanRecord | None] = {}  # None: to be deleted
        self._writing: dict[str, BanRecord | None] = {}
        self._timer: IDelayedCall | None = None
        self._flushed: list[Deferred[None]] = []
        self._closed = False
        self._purged_s = 0.0
        self.lost = 0  #: bans that could not be kept

    def put(self, ban: BanRecord) -> None:
        """See the interface."""
        self._queue(ban.target, ban)

    def remove(self, target: str) -> None:
        """See the interface."""
        self._queue(target, None)

    def _queue(self, target: str, ban: BanRecord | None) -> None:
        self._waiting.pop(target, None)
        if len(self._waiting) >= self._limit:
            del self._waiting[next(iter(self._waiting))]
            self.lost += 1
        self._waiting[target] = ban
        if self._timer is None and not self._writing and not self._closed:
            self._timer = self._reactor.callLater(_PACE_S, self._write)

    def flush(self) -> Deferred[None]:
        """See the interface."""
        if not self._waiting and not self._writing:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._flushed.append(done)
        if not self._writing:
            self._stop_timer()
            self._write()
        return done

    def _write(self) -> None:
        self._timer = None
        taken = [target for target, _ in zip(self._waiting, range(_ROWS_MAX), strict=False)]
        self._writing = {target: self._waiting.pop(target) for target in taken}
        shield_coroutine(self._send(self._writing)).addCallbacks(self._written, self._failed)

    async def _send(self, rows: dict[str, BanRecord | None]) -> None:
        gone = [target for target, ban in rows.items() if ban is None]
        bans = [ban for ban in rows.values() if ban is not None]
        if gone:
            await self._reports.operate(_DELETE, (gone,))
        if bans:
            columns = zip(
                *((b.target, b.reason, b.by, b.begun_at, b.until_at, b.times) for b in bans), strict=True
            )
            await self._reports.operate(_PUT, tuple(list(column) for column in columns))
        if self._reactor.seconds() - self._purged_s > _PURGE_S:
            self._purged_s = self._reactor.seconds()
            await self._reports.operate(_PURGE)

    def _written(self, _: None) -> None:
        self._writing = {}
        if self._waiting and (self._flushed or len(self._waiting) >= _ROWS_MAX):
            self._write()
        elif self._waiting and not self._closed:
            self._timer = self._reactor.callLater(_PACE_S, self._write)
        else:
            self._tell(None)

    def _failed(self, failure: Failure) -> None:
        rows, self._writing = self._writing, {}
        if isinstance(failure.value, StoreBusy):
            self._waiting = {**rows, **self._waiting}  # a newer state of a target wins
        else:
            self.lost += len(rows)
            _log.failure("{count} bans cannot be kept", failure=failure, count=len(rows))
        if self._waiting and not self._closed:
            self._timer = self._reactor.callLater(_RETRY_S, self._write)
        self._tell(failure)

    def _tell(self, outcome: Failure | None) -> None:
        waiting, self._flushed = self._flushed, []
        for done in waiting:
            if outcome is None:
                done.callback(None)
            else:
                done.errback(outcome)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """No more writes. Flush first."""
        self._closed = True
        self._stop_timer()

    # ------------------------------------------------------------ reading

    def load(self) -> Deferred[Sequence[BanRecord]]:
        """See the interface."""
        return shield_coroutine(self._load())

    async def _load(self) -> Sequence[BanRecord]:
        found: list[BanRecord] = []
        after = ""
        while rows := await self._reports.query(_LOAD, (after,)):
            found += [BanRecord(*row) for row in rows]
            after = rows[-1][0]
        return self._overlaid(found, None)

    def find(self, targets: Sequence[str]) -> Deferred[Sequence[BanRecord]]:
        """See the interface."""
        return self._reports.query(_FIND, (list(targets),)).addCallback(
            lambda rows: self._overlaid([BanRecord(*row) for row in rows], targets)
        )

    def _overlaid(self, found: list[BanRecord], targets: Sequence[str] | None) -> Sequence[BanRecord]:
        """With what is not written yet."""
        newer = {**self._writing, **self._waiting}
        kept = [ban for ban in found if ban.target not in newer]
        wanted = newer if targets is None else newer.keys() & set(targets)
        return kept + [ban for target in wanted if (ban := newer[target]) is not None]

    def clear(self) -> Deferred[int]:
        """See the interface."""
        return shield_coroutine(self._clear())

    async def _clear(self) -> int:
        self._waiting.clear()
        if self._writing:  # or it would come back
            await self.flush()
        return int((await self._reports.query(_CLEAR))[0][0])

    # ------------------------------------------------------------ the white list

    def trusted(self) -> Deferred[Sequence[TrustedAddress]]:
        """See the interface."""
        return self._reports.query(_TRUSTED).addCallback(lambda rows: [TrustedAddress(*row) for row in rows])

    def trust(self, target: str, note: str, by: str) -> Deferred[None]:
        """See the interface."""
        return self._reports.operate(_TRUST, (target, note if storable(note) else "", by))

    def distrust(self, target: str) -> Deferred[bool]:
        """See the interface."""
        return self._reports.query(_DISTRUST, (target,)).addCallback(bool)
