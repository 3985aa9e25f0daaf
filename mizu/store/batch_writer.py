"""Writes rows behind their makers: what gathers while a statement is under way goes in the next one together.

One statement is under way at a time. What differs between kinds of rows, how they gather and how they are
written, is in :class:`Rows`; what is the same for all of them is here: when to write, what to do with a row
that PostgreSQL does not take, and what while the database is away.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.errors import StoreBusy
from mizu.store.postgres import BadRow, always_busy, failure_of

_BAD = (*BadRow, ValueError)  # the driver finds text that it cannot send


class Batch(Protocol):
    """What one statement carries."""

    def __len__(self) -> int:
        """Rows."""

    def halves(self) -> Sequence[Self]:
        """Smaller batches, none empty, that one after the other do what this one of many rows does."""


B = TypeVar("B", bound=Batch)


class Rows(Protocol[B]):
    """
    The rows of one kind that wait, and how they are written.

    Each row taken comes back exactly once: by ``committed``, ``put_back`` or ``lose``.
    """

    def __len__(self) -> int:
        """Rows that wait."""

    def pause_s(self) -> float:
        """How long the next statement waits for more rows, asked when the last one has ended."""

    def take(self) -> B:
        """Split off what one statement may carry, the oldest first."""

    def send(self, batch: B) -> Deferred[None]:
        """
        Write a batch: all of it or nothing.

        :raise BadRow: for what is in one of its rows; ValueError counts as such.
        :raise StoreBusy: the database is in trouble; the batch may be written or not.
        """

    def committed(self, batch: B) -> None:
        """The batch is written."""

    def put_back(self, batches: Sequence[B], busy: Failure) -> None:
        """
        The database is in trouble. Nobody knows whether these are written: they wait again, in front of the
        others, in this order; none: the connection was lost before anything could be tried.
        """

    def lose(self, batch: B, why: Exception) -> None:
        """The one row of the batch cannot be stored. Log it."""

    def abandon(self, busy: Failure) -> int:
        """Forget what waits. :return: how many rows that are lost by it."""


class BatchWriter:
    """
    :param kind: of rows, in the plural, for the log.
    :param retry_s: pause after the database has refused a batch for another reason than a row in it.
    :param ready: whether there is a connection; without one nothing is tried until :meth:`recovered`.
    """

    log = Logger()

    def __init__(
        self,
        kind: str,
        rows: Rows[Any],
        reactor: Any,
        *,
        retry_s: float,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._kind = kind
        self._rows = rows
        self._reactor = reactor
        self._retry_s = retry_s
        self._ready = ready
        self._in_trouble = False  # and it is in the log
        self._flying: Any = None  # the batch under way
        self._parts: list[Any] = []  # of a batch with a bad row in it; the next one last
        self._timer: IDelayedCall | None = None
        self._flushes: list[Deferred[None]] = []
        self._closed = False
        self.written = 0  #: rows, for metrics
        self.statements = 0  #: for metrics
        self.lost = 0  #: rows that PostgreSQL would not take for what is in them

    @property
    def waiting(self) -> int:
        """Rows not yet written."""
        flying = len(self._flying) if self._flying is not None else 0
        return len(self._rows) + flying + sum(map(len, self._parts))

    @property
    def resting(self) -> bool:
        """Is nothing under way and nothing planned, so that a new row needs :meth:`wake`?"""
        return self._timer is None and self._flying is None

    def wake(self, delay_s: float) -> None:
        """
        Write in ``delay_s`` at the latest, at the earliest in the next turn of the reactor, with its whole
        burst. While a statement is under way this does nothing: what waits is asked when it has ended.
        """
        if self._flying is not None or self._closed:
            return
        delay_s = max(delay_s, 0.0)
        if self._timer is None:
            self._timer = self._reactor.callLater(delay_s, self._write)
        elif self._timer.getTime() > self._reactor.seconds() + delay_s:
            self._timer.reset(delay_s)

    def recovered(self) -> None:
        """The connection works again."""
        if len(self._rows) or self._parts:
            self.wake(0.0)

    def flush(self) -> Deferred[None]:
        """
        Write what waits without further pause. Fires when nothing waits any more. Cancelled, only the answer
        is dropped.

        :raise StoreBusy: it cannot be written now; it still waits.
        """
        done: Deferred[None] = Deferred()
        self._flushes.append(done)
        if self._flying is None:
            self._cancel_timer()
            self._write()
        return done

    def close(self) -> None:
        """No more writes; what waits is lost. Flush first."""
        self._closed = True
        self._cancel_timer()
        stopped = failure_of(StoreBusy("the store is stopped"))
        lost = self._rows.abandon(stopped)
        if lost:
            self.log.error("{count} {kind} were not written", count=lost, kind=self._kind)
        if self._flying is None:
            self._flushed(stopped if lost else None)

    # ------------------------------------------------------------ one statement after the other

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self) -> None:
        self._timer = None
        if not (self._parts or len(self._rows)):
            self._flushed()
        elif self._closed:
            self._flushed(failure_of(StoreBusy("the store is stopped")))
        elif not self._ready():
            busy = failure_of(StoreBusy("the database is down"))
            self._put_back([], busy)
            self._flushed(busy)
        else:
            self._flying = batch = self._parts.pop() if self._parts else self._rows.take()
            self.statements += 1
            sending = maybeDeferred(self._rows.send, batch)
            sending.addCallbacks(self._sent, self._failed, callbackArgs=(batch,), errbackArgs=(batch,))
            sending.addErrback(self._unexpected)

    def _sent(self, _: None, batch: Any) -> None:
        self._flying = None
        self._in_trouble = False
        self.written += len(batch)
        self._go_on()
        self._rows.committed(batch)

    def _failed(self, failure: Failure, batch: Any) -> None:
        self._flying = None
        if not isinstance(failure.value, _BAD):
            self._trouble(always_busy(failure), batch)
        elif len(batch) > 1:  # find the row by halves, so that it does not stop the others
            self._parts += reversed(batch.halves())
            self._go_on()
        else:
            self.lost += 1
            self._go_on()
            self._rows.lose(batch, failure.value)

    def _trouble(self, busy: Failure, batch: Any) -> None:
        if self._ready() and not self._in_trouble:  # else the store has told about the connection
            self._in_trouble = True
            self.log.warn("{kind} wait: {problem}", kind=self._kind, problem=busy.value)
        self._put_back([batch], busy)
        if len(self._rows):
            self.wake(self._retry_s)
        self._flushed(busy)

    def _put_back(self, batches: list[Any], busy: Failure) -> None:
        parts, self._parts = self._parts, []
        self._rows.put_back([*batches, *reversed(parts)], busy)
        if self._closed:  # it came back after the last chance
            self.close()

    def _go_on(self) -> None:
        if self._parts and self._closed:
            self._put_back([], failure_of(StoreBusy("the store is stopped")))
        elif self._parts:
            self.wake(0.0)
        elif not len(self._rows):
            self._flushed()
        else:
            self.wake(0.0 if self._flushes else self._rows.pause_s())

    def _flushed(self, busy: Failure | None = None) -> None:
        done, self._flushes = self._flushes, []
        for each in done:
            if busy is None:
                each.callback(None)
            else:
                each.errback(busy)

    def _unexpected(self, failure: Failure) -> None:
        self.log.failure("writing {kind}", failure=failure, kind=self._kind)
