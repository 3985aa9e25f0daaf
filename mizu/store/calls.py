"""Call rows (CDRs) in PostgreSQL. What gathers while a commit is under way goes in the next one together."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mizu.errors import StoreBusy
from mizu.interfaces import ICallStore
from mizu.model import CallAnswered, CallClosed, CallOpened, Cdr
from mizu.store import callrows
from mizu.store.postgres import BadRow, Link, Pool, always_busy, failure_of

_ROWS_MAX = 500  # of one kind in one statement
_PACE_S = 0.004  # between statements while somebody waits, from _BUSY_ROWS_PER_S on: batches fill
_BUSY_ROWS_PER_S = 1000.0  # below, a statement for each is affordable, and nobody waits for company
_RATE_SHARE = 0.05  # of the newest statement in the mean of rows per second
_CLOSE_PACE_S = 0.05  # closes, for which nobody waits, ride along with others for so long
_RETRY_S = 0.5  # after the database refused


class _Batch:
    """What one round trip carries. The order of the statements is the order of a call's life."""

    __slots__ = ("answers", "closes", "opens", "undo", "waiters")

    def __init__(self) -> None:
        self.opens: list[CallOpened] = []
        self.answers: list[CallAnswered] = []
        self.closes: list[CallClosed] = []
        self.undo: list[str] = []  # call_ids of rows whose opening was reported as failed
        self.waiters: dict[int, Deferred[None]] = {}  # by id() of the open or answer

    def __len__(self) -> int:
        return len(self.opens) + len(self.answers) + len(self.closes) + len(self.undo)

    def all(self) -> list[CallOpened | CallAnswered | CallClosed | str]:
        return [*self.opens, *self.answers, *self.closes, *self.undo]

    def take(self) -> "_Batch":
        """Split off what one round trip may carry."""
        part = _Batch()
        for name in ("opens", "answers", "closes", "undo"):
            whole = getattr(self, name)
            setattr(part, name, whole[:_ROWS_MAX])
            setattr(self, name, whole[_ROWS_MAX:])
        for item in (*part.opens, *part.answers):
            part.waiters[id(item)] = self.waiters.pop(id(item))
        return part

    def take_waiting(self) -> "_Batch":
        """Split off what somebody waits for."""
        part = _Batch()
        part.opens, part.answers, part.waiters = self.opens, self.answers, self.waiters
        self.opens, self.answers, self.waiters = [], [], {}
        return part

    def halves(self) -> "list[_Batch]":
        """Two smaller batches that one after the other do what this one does: kinds apart, then halves."""
        left, right = _Batch(), _Batch()
        kinds = [name for name in ("opens", "answers", "closes", "undo") if getattr(self, name)]
        for name in kinds:
            whole = getattr(self, name)
            middle = len(whole) // 2 if len(kinds) == 1 else len(whole) * (name == kinds[0])
            setattr(left, name, whole[:middle])
            setattr(right, name, whole[middle:])
        left.waiters = right.waiters = self.waiters
        return [left, right]


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
        self._node = node
        self._queue_max = queue_max
        self._reactor = reactor
        self._next = _Batch()
        self._flying: _Batch | None = None
        self._sent_at_s = 0.0
        self._rows_per_s = 0.0  # mean over the last statements
        self._timer: IDelayedCall | None = None
        self._flushed: Deferred[None] | None = None
        self._closed = False
        self._open: dict[str, datetime] = {}  # setup times of rows not closed yet, oldest first
        self.written = 0  #: rows, for metrics
        self.statements = 0  #: round trips, for metrics
        self.lost = 0  #: rows that PostgreSQL would not take for what is in them
        self._log = Logger()

    @property
    def open_since(self) -> datetime | None:
        """When the oldest call began whose row is open; ``None``: there is none."""
        return next(iter(self._open.values()), None)

    @property
    def waiting(self) -> int:
        """Rows not yet committed."""
        return len(self._next) + (len(self._flying) if self._flying is not None else 0)

    def open(self, call: CallOpened) -> Deferred[None]:
        """See the interface."""
        if self._closed or not self._link.ready:
            return fail(StoreBusy("the database is down"))
        if self.waiting >= self._queue_max:
            return fail(StoreBusy("too many call rows wait for the database"))
        self._next.opens.append(call)
        self._open[call.call_id] = call.setup_at
        return self._wait_for(call)

    def answer(self, call: CallAnswered) -> Deferred[None]:
        """See the interface."""
        if self._closed or not self._link.ready:
            return fail(StoreBusy("the database is down"))
        self._next.answers.append(call)
        return self._wait_for(call)

    def close(self, call: CallClosed) -> None:
        """See the interface."""
        self._next.closes.append(call)
        if self._flying is None and self._timer is None:
            self._kick(_CLOSE_PACE_S)

    def _wait_for(self, call: CallOpened | CallAnswered) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._next.waiters[id(call)] = done
        if self._flying is None and len(self._next.waiters) == 1:
            self._kick(self._pause_s())
        return done  # cancelled: the answer is dropped, the write goes on

    def _pause_s(self) -> float:
        """How long the next statement waits for more rows."""
        if self._rows_per_s < _BUSY_ROWS_PER_S:
            return 0.0
        return float(self._sent_at_s + _PACE_S - self._reactor.seconds())

    def _kick(self, delay_s: float) -> None:
        """Write after ``delay_s``, at the earliest in the next turn of the reactor, with its whole burst."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flying is None and not self._closed:
            self._timer = self._reactor.callLater(max(delay_s, 0.0), self._write)

    def _write(self) -> None:
        self._timer = None
        if self._flying is not None:
            return
        if not len(self._next) or not self._link.ready:
            self._written_all()
            return
        self._flying = batch = self._next.take()
        now_s = self._reactor.seconds()
        rate = len(batch) / max(now_s - self._sent_at_s, 0.0005)
        self._rows_per_s += (rate - self._rows_per_s) * _RATE_SHARE
        self._sent_at_s = now_s
        self._send(batch).addCallbacks(
            self._sent, self._failed, callbackArgs=(batch,), errbackArgs=(batch,)
        ).addErrback(lambda broken: self._log.failure("writing calls", failure=broken))

    def _send(self, batch: _Batch) -> Deferred[None]:
        self.statements += 1
        return self._link.operate(
            *callrows.statement(batch.opens, batch.answers, batch.closes, batch.undo, self._node())
        )

    def _sent(self, _: None, batch: _Batch) -> None:
        self._flying = None
        if not len(self._next):
            self._written_all()
        elif self._flushed is not None or len(self._next) >= _ROWS_MAX:
            self._kick(0)
        elif self._next.waiters:
            self._kick(self._pause_s())
        else:
            self._kick(_CLOSE_PACE_S)
        self._committed(batch)

    def _committed(self, batch: _Batch) -> None:
        self.written += len(batch)
        for call in batch.closes:
            self._open.pop(call.call_id, None)
        for call_id in batch.undo:
            self._open.pop(call_id, None)
        for item in (*batch.opens, *batch.answers):
            batch.waiters[id(item)].callback(None)

    def _failed(self, failure: Failure, batch: _Batch) -> None:
        if isinstance(failure.value, BadRow):
            Deferred.fromCoroutine(self._bisect(batch)).addErrback(
                lambda broken: self._log.failure("writing calls", failure=broken)
            )
            return
        busy = always_busy(failure)
        if self._link.ready:  # else the store has told about the connection
            self._log.warn("call rows wait: {problem}", problem=busy.value)
        self._flying = None
        self._give_back(batch)
        waited = self._next.take_waiting()
        self._refuse(busy, batch)
        self._refuse(busy, waited)
        for call in waited.opens:
            self._open.pop(call.call_id, None)
        if self._flushed is not None:
            self._written_all()
        elif len(self._next):
            self._kick(_RETRY_S)

    def _give_back(self, batch: _Batch) -> None:
        """Nobody knows whether the batch was committed: closes come again, refused opens are undone."""
        self._next.closes = batch.closes + self._next.closes
        self._next.undo = batch.undo + [call.call_id for call in batch.opens] + self._next.undo

    def _refuse(self, failure: Failure, batch: _Batch) -> None:
        for item in (*batch.opens, *batch.answers):
            batch.waiters[id(item)].errback(failure)

    async def _bisect(self, batch: _Batch) -> None:
        """PostgreSQL does not take a row of these: find it by halves, so that it does not stop the others."""
        heap = [batch]
        while heap:
            part = heap.pop()
            if not len(part):
                continue
            try:
                await self._send(part)
            except BadRow as why:
                if len(part) > 1:
                    heap += reversed(part.halves())
                    continue
                self.lost += 1
                self._log.error(
                    "a call row cannot be stored: {why}; {row}", why=why, row=callrows.name_of(part.all())
                )
                self._refuse(failure_of(StoreBusy("the call row cannot be stored")), part)
            except Exception as error:
                self._give_back(part)
                self._refuse(always_busy(failure_of(error)), part)
            else:
                self._committed(part)
        self._sent(None, _Batch())

    def _written_all(self) -> None:
        if self._flushed is not None:
            done, self._flushed = self._flushed, None
            done.callback(None)

    def flush(self) -> Deferred[None]:
        """Write what waits now. Fires when it is written, or cannot be because the database is away."""
        if self._flushed is not None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._flushed = done
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._write()
        return done

    def recovered(self) -> None:
        """The connection works again."""
        if len(self._next):
            self._kick(0)

    def stop(self) -> None:
        """No more writes; what waits is lost. Flush first."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if len(self._next):
            self._log.error("{count} call rows were not written", count=len(self._next))
        left, self._next = self._next, _Batch()
        self._refuse(failure_of(StoreBusy("the store is stopped")), left)

    def recent(self, limit: int, before: str) -> Deferred[Sequence[Cdr]]:
        """See the interface."""
        query = callrows.recent(limit, before)
        if query is None:
            return succeed([])
        return self._reports.query(*query).addCallback(lambda rows: [callrows.cdr_of(row) for row in rows])
