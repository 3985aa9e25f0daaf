"""Call rows (CDRs) in PostgreSQL. What gathers while a commit is under way goes in the next one together."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from mizu.errors import StoreBusy
from mizu.interfaces import ICallStore
from mizu.model import CallAnswered, CallClosed, CallOpened, Cdr, ChannelLimit
from mizu.store import callrows
from mizu.store.batch_writer import BatchWriter
from mizu.store.call_queue import CLOSE_PACE_S, CallQueue
from mizu.store.callrows import Take
from mizu.store.postgres import Link, Pool

_RETRY_S = 0.5  # after the database refused


@implementer(ICallStore)
class PostgresCallStore:
    """
    See :class:`~mizu.interfaces.ICallStore`.

    :param link: a connection of its own for the writes.
    :param queue_max: rows waiting to be written; at the limit ``open`` refuses, so that from there on the
        queue can grow only by the closes of the calls that are open.
    """

    def __init__(
        self, reports: Pool, link: Link, node: Callable[[], str], queue_max: int, reactor: Any
    ) -> None:
        self._reports = reports
        self._link = link
        self._queue_max = queue_max
        self._queue = CallQueue(link, node, reactor)
        self._writer = BatchWriter(
            "call rows", self._queue, reactor, retry_s=_RETRY_S, ready=lambda: link.ready
        )
        self._closed = False
        self.flush = self._writer.flush
        self.recovered = self._writer.recovered

    @property
    def open_since(self) -> datetime | None:
        """When the oldest call began whose row is open; ``None``: there is none."""
        return self._queue.open_since

    @property
    def waiting(self) -> int:
        """Rows not yet committed."""
        return self._writer.waiting

    @property
    def written(self) -> int:
        """Rows, for metrics."""
        return self._writer.written

    @property
    def statements(self) -> int:
        """Round trips, for metrics."""
        return self._writer.statements

    @property
    def lost(self) -> int:
        """Rows that PostgreSQL would not take for what is in them."""
        return self._writer.lost

    def open(self, call: CallOpened) -> Deferred[None]:
        """See the interface."""
        if self._closed or not self._link.ready:
            return fail(StoreBusy("the database is down"))
        if self._writer.waiting >= self._queue_max:
            return fail(StoreBusy("too many call rows wait for the database"))
        opened = self._soon(self._queue.add_open(call))
        if not call.channels:
            return opened
        opened.addErrback(lambda busy: None)  # what is taken for it fails for the same reason
        taken = self._soon(self._queue.add_take(Take(call.call_id, call.channels)))
        return taken.addErrback(self._undone, call.call_id)

    def _undone(self, failure: Failure, call_id: str) -> Failure:
        """The opening may be written without what was to be taken with it: then it goes again."""
        if failure.check(StoreBusy) is not None:  # type: ignore[no-untyped-call]
            self._queue.add_undo(call_id)
            if self._writer.resting:
                self._writer.wake(CLOSE_PACE_S)
        return failure

    def take(self, call_id: str, channels: Sequence[ChannelLimit]) -> Deferred[None]:
        """See the interface."""
        if self._closed or not self._link.ready:
            return fail(StoreBusy("the database is down"))
        return self._soon(self._queue.add_take(Take(call_id, tuple(channels))))

    def answer(self, call: CallAnswered) -> Deferred[None]:
        """See the interface."""
        if self._closed or not self._link.ready:
            return fail(StoreBusy("the database is down"))
        return self._soon(self._queue.add_answer(call))

    def close(self, call: CallClosed) -> None:
        """See the interface."""
        self._queue.add_close(call)
        if self._writer.resting:
            self._writer.wake(CLOSE_PACE_S)

    def _soon(self, written: Deferred[None]) -> Deferred[None]:
        if self._queue.awaited == 1:
            self._writer.wake(self._queue.pause_s())
        return written

    def stop(self) -> None:
        """No more writes; what waits is lost. Flush first."""
        self._closed = True
        self._writer.close()

    def recent(self, limit: int, before: str) -> Deferred[Sequence[Cdr]]:
        """See the interface."""
        query = callrows.recent(limit, before)
        if query is None:
            return succeed([])
        return self._reports.query(*query).addCallback(lambda rows: [callrows.cdr_of(row) for row in rows])
