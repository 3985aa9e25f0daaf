"""Bans and the white list in PostgreSQL. Bans are written behind: many of them in one statement."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from mizu.deferreds import shield_coroutine
from mizu.errors import StoreBusy
from mizu.interfaces import IBanAdministration, IBanStore
from mizu.model import BanRecord, TrustedAddress
from mizu.store.ban_orders import BanOrders
from mizu.store.batch_writer import BatchWriter
from mizu.store.newest_states import NewestStates
from mizu.store.postgres import Pool

_COLUMNS = "target, reason, banned_by, begun_at, until_at, times"
_LOAD = f"SELECT {_COLUMNS} FROM ban WHERE target > %s ORDER BY target LIMIT 5000"  # noqa: S608 - constants
_FIND = f"SELECT {_COLUMNS} FROM ban WHERE target = ANY (%s)"  # noqa: S608 - constants
_PUT = """INSERT INTO ban (target, reason, banned_by, begun_at, until_at, times)
 SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::integer[])
 ON CONFLICT (target) DO UPDATE SET reason = excluded.reason, banned_by = excluded.banned_by,
 begun_at = excluded.begun_at, until_at = excluded.until_at, times = excluded.times
 WHERE excluded.banned_by <> 'guard' OR (ban.until_at IS NOT NULL AND ban.until_at < excluded.until_at)"""
_DELETE = "DELETE FROM ban WHERE target = ANY (%s)"
_PURGE = "DELETE FROM ban WHERE until_at < now() - interval '7 days'"
_TRUSTED = "SELECT target, note, added_by, added_at FROM whitelist ORDER BY target"

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
        self._states: NewestStates[BanRecord | None] = NewestStates(  # None: to be deleted
            lambda rows: shield_coroutine(self._send(rows)),
            self._lose,
            rows_max=_ROWS_MAX,
            pace_s=_PACE_S,
            limit=limit,
        )
        self._writer = BatchWriter("bans", self._states, reactor, retry_s=_RETRY_S)
        self._purged_s = 0.0
        self._orders = BanOrders(reports, reactor, limit)

    @property
    def lost(self) -> int:
        """Bans that could not be kept."""
        return self._writer.lost + self._states.given_up

    def put(self, ban: BanRecord) -> None:
        """See the interface."""
        self._queue(ban.target, ban)

    def remove(self, target: str) -> None:
        """See the interface."""
        self._queue(target, None)

    def _queue(self, target: str, ban: BanRecord | None) -> None:
        self._states.put(target, ban)
        if self._writer.resting:
            self._writer.wake(_PACE_S)

    def _lose(self, target: str, why: Exception) -> None:
        _log.error("the ban of {target} cannot be kept: {why}", target=target, why=why)

    def flush(self) -> Deferred[None]:
        """See the interface."""
        return shield_coroutine(self._flush())

    async def _flush(self) -> None:
        await self._writer.flush()
        if self._orders.pending:
            await self._orders.write()

    def close(self) -> None:
        """No more writes. Flush first."""
        self._writer.close()
        self._orders.close()

    @property
    def pending(self) -> bool:
        """Is there something that the database does not have?"""
        return self._orders.pending or bool(self._states.waiting or self._states.under_way)

    async def _send(self, rows: dict[str, BanRecord | None]) -> None:
        rows = {target: ban for target, ban in rows.items() if not self._orders.is_over(ban)}
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
        every = {**self._states.under_way, **self._states.waiting}
        newer = {target: ban for target, ban in every.items() if not self._orders.is_over(ban)}
        kept = [ban for ban in self._orders.without_ended(found) if ban.target not in newer]
        wanted = newer if targets is None else newer.keys() & set(targets)
        return kept + [ban for target in wanted if (ban := newer[target]) is not None]

    def clear(self, before: datetime) -> Deferred[int]:
        """See the interface."""
        return shield_coroutine(self._clear(before))

    async def _clear(self, before: datetime) -> int:
        self._orders.clear(before)
        if self._states.under_way:  # or it would come back
            with suppress(StoreBusy):
                await self._writer.flush()
        return await self._orders.write()

    # ------------------------------------------------------------ the white list

    def trusted(self) -> Deferred[Sequence[TrustedAddress]]:
        """See the interface."""
        return self._reports.query(_TRUSTED).addCallback(self._orders.trusted)

    def trust(self, entry: TrustedAddress) -> Deferred[None]:
        """See the interface."""
        return self._orders.trust(entry.target, entry).addCallback(lambda _: None)

    def distrust(self, target: str) -> Deferred[None]:
        """See the interface."""
        return self._orders.trust(target, None).addCallback(lambda _: None)
