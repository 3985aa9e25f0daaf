"""What operators order about all bans, their end, and about the white list; kept until it is written."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.deferreds import shield
from mizu.errors import StoreBusy
from mizu.model import BanRecord, TrustedAddress
from mizu.store.postgres import Pool, Rows
from mizu.store.text import storable

_CLEAR = "WITH gone AS (DELETE FROM ban WHERE begun_at <= %s RETURNING 1) SELECT count(*) FROM gone"
_TRUST = """INSERT INTO whitelist (target, note, added_by, added_at) VALUES (%s, %s, %s, coalesce(%s, now()))
 ON CONFLICT (target) DO UPDATE SET note = excluded.note, added_by = excluded.added_by"""
_DISTRUST = "DELETE FROM whitelist WHERE target = %s"
_RETRY_S = 1.0  # after a failure

_log = Logger()


class BanOrders:
    """
    Orders that are written at once, or again and again until the database takes them.

    :param limit: entries of the white list that may wait.
    """

    def __init__(self, reports: Pool, reactor: Any, limit: int) -> None:
        self._reports = reports
        self._reactor = reactor
        self._limit = limit
        self._cleared_at: datetime | None = None  # no ban that began by then is written any more
        self._clearing = False  # those that are there are to be deleted
        self._whites: dict[str, TrustedAddress | None] = {}  # to be written; None: deleted
        self._one_by_one = DeferredLock()  # what was ordered last holds
        self._timer: IDelayedCall | None = None
        self._closed = False

    @property
    def pending(self) -> bool:
        """Is there something that the database does not have?"""
        return self._clearing or bool(self._whites)

    def clear(self, before: datetime) -> None:
        """End all bans that began by then: :meth:`write` does it."""
        self._cleared_at, self._clearing = before, True

    def is_over(self, ban: BanRecord | None) -> bool:
        """Was this ban ended with all the others?"""
        return ban is not None and self._cleared_at is not None and ban.begun_at <= self._cleared_at

    def without_ended(self, found: Sequence[BanRecord]) -> list[BanRecord]:
        """Of what was read: without what is to be deleted."""
        return [ban for ban in found if not (self._clearing and self.is_over(ban))]

    def trust(self, target: str, entry: TrustedAddress | None) -> Deferred[int]:
        """
        Put a target on the white list; ``None``: take it off. Fires when it is written.

        :raise StoreBusy: it is written later; or, when too many wait already, never.
        """
        if target not in self._whites and len(self._whites) >= self._limit:
            return fail(StoreBusy("too many changes of the white list wait for the database"))
        if entry is not None and not storable(entry.note):
            entry = replace(entry, note="")
        self._whites[target] = entry
        return self.write()

    def trusted(self, rows: Rows) -> Sequence[TrustedAddress]:
        """The white list as it was read, with what is not written yet."""
        found: dict[str, TrustedAddress | None] = {row[0]: TrustedAddress(*row) for row in rows}
        found.update(self._whites)
        return [entry for _, entry in sorted(found.items()) if entry is not None]

    def write(self) -> Deferred[int]:
        """
        Write what waits. Fires when all of it is written, with the number of bans that were ended.

        :raise StoreBusy: it is tried again, by itself.
        """
        self._stop_timer()
        return shield(self._one_by_one.run(self._write_now).addBoth(self._ended))

    def _write_now(self) -> Deferred[int]:
        return Deferred.fromCoroutine(self._write())

    def _ended(self, result: Any) -> Any:
        if self.pending and self._timer is None and not self._closed:
            self._timer = self._reactor.callLater(_RETRY_S, self._again)
        return result

    def _again(self) -> None:
        self._timer = None
        self.write().addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, StoreBusy):
            _log.failure("orders about bans could not be written", failure=failure)

    async def _write(self) -> int:
        count = 0
        cleared = self._cleared_at
        if self._clearing:
            count = int((await self._reports.query(_CLEAR, (cleared,)))[0][0])
            self._clearing = self._cleared_at != cleared
        for target, entry in list(self._whites.items()):
            if entry is None:
                await self._reports.operate(_DISTRUST, (target,))
            else:
                await self._reports.operate(_TRUST, (target, entry.note, entry.added_by, entry.added_at))
            if self._whites.get(target) is entry:  # not ordered otherwise meanwhile
                del self._whites[target]
        return count

    def close(self) -> None:
        """Try no more."""
        self._closed = True
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
