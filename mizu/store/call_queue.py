"""Call rows that wait to be written: openings, answers, channels somebody waits for; closes nobody does."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.errors import CallRefused, StoreBusy
from mizu.model import CallAnswered, CallClosed, CallOpened
from mizu.store import callrows
from mizu.store.callrows import Take
from mizu.store.postgres import Link, failure_of

CLOSE_PACE_S = 0.05  #: closes, for which nobody waits, ride along with others for so long
_ROWS_MAX = 500  # of one kind in one statement
#: Between statements while somebody waits, from _BUSY_ROWS_PER_S on: the more come, the more wait together,
#: for a statement and its commit cost far more than a row, here and in PostgreSQL.
_PACE_PER_ROW_S = 8e-6  # times rows per second
_PACE_MOST_S = 0.02
_BUSY_ROWS_PER_S = 2000.0  # below, a statement for each is affordable, and nobody waits for company
_RATE_SHARE = 0.05  # of the newest statement in the mean of rows per second
_KINDS = ("opens", "answers", "closes", "undo", "takes")
_AWAITED = ("opens", "answers", "takes")


class CallBatch:
    """
    What one round trip carries. The order of the statements is the order of a call's life, but that channels
    are taken last: after those that the same round trip gives back.
    """

    __slots__ = ("answers", "closes", "opens", "refused", "takes", "undo", "waiters")

    def __init__(self) -> None:
        self.opens: list[CallOpened] = []
        self.answers: list[CallAnswered] = []
        self.closes: list[CallClosed] = []
        self.undo: list[str] = []  # call_ids of rows whose opening was reported as failed
        self.takes: list[Take] = []
        self.waiters: dict[int, Deferred[None]] = {}  # by id() of the open, answer or take
        self.refused: dict[str, int | None] = {}  # call_ids without a channel: of which account; None: over

    def __len__(self) -> int:
        return len(self.opens) + len(self.answers) + len(self.closes) + len(self.undo) + len(self.takes)

    def all(self) -> list[callrows.Row]:
        """Its rows."""
        return [*self.opens, *self.answers, *self.closes, *self.undo, *self.takes]

    @property
    def awaited(self) -> list[CallOpened | CallAnswered | Take]:
        """Its rows that somebody waits for."""
        return [*self.opens, *self.answers, *self.takes]

    def take(self) -> "CallBatch":
        """Split off what one round trip may carry."""
        part = CallBatch()
        for name in _KINDS:
            whole = getattr(self, name)
            setattr(part, name, whole[:_ROWS_MAX])
            setattr(self, name, whole[_ROWS_MAX:])
        for item in part.awaited:
            part.waiters[id(item)] = self.waiters.pop(id(item))
        return part

    def take_waiting(self) -> "CallBatch":
        """Split off what somebody waits for."""
        part = CallBatch()
        for name in _AWAITED:
            setattr(part, name, getattr(self, name))
            setattr(self, name, [])
        part.waiters, self.waiters = self.waiters, {}
        return part

    def halves(self) -> "list[CallBatch]":
        """See :class:`~mizu.store.batch_writer.Batch`: kinds apart, then halves."""
        left, right = CallBatch(), CallBatch()
        kinds = [name for name in _KINDS if getattr(self, name)]
        for name in kinds:
            whole = getattr(self, name)
            middle = len(whole) // 2 if len(kinds) == 1 else len(whole) * (name == kinds[0])
            setattr(left, name, whole[:middle])
            setattr(right, name, whole[middle:])
        left.waiters = right.waiters = self.waiters
        return [left, right]

    def refuse(self, busy: Failure) -> None:
        """Tell whoever waits."""
        for item in self.awaited:
            self.waiters[id(item)].errback(busy)


class CallQueue:
    """
    See :class:`~mizu.store.batch_writer.Rows`.

    Trouble refuses every opening and answer, those that wait for their turn too: a caller is told 503 now
    rather than left waiting. Closes are kept, and openings that may have been written are undone.
    """

    log = Logger()

    def __init__(self, link: Link, node: Callable[[], str], reactor: Any) -> None:
        self._link = link
        self._node = node
        self._reactor = reactor
        self._next = CallBatch()
        self._taken_at_s = 0.0
        self._rows_per_s = 0.0  # mean over the last statements
        self._open: dict[str, datetime] = {}  # setup times of rows not closed yet, oldest first
        self._counted: dict[str, set[int]] = {}  # accounts that calls may be counted for, until their end

    @property
    def open_since(self) -> datetime | None:
        """When the oldest call began whose row is open; ``None``: there is none."""
        return next(iter(self._open.values()), None)

    # ------------------------------------------------------------ what comes in

    def add_open(self, call: CallOpened) -> Deferred[None]:
        """Fires when it is written."""
        self._next.opens.append(call)
        self._open[call.call_id] = call.setup_at
        return self._wait_for(call)

    def add_answer(self, call: CallAnswered) -> Deferred[None]:
        """Fires when it is written."""
        self._next.answers.append(call)
        return self._wait_for(call)

    def add_take(self, take: Take) -> Deferred[None]:
        """Fires when the call counts for them. :raise CallRefused: one has no channel left."""
        self._next.takes.append(take)
        self._counted.setdefault(take.call_id, set()).update(one.account_id for one in take.channels)
        return self._wait_for(take)

    def add_close(self, call: CallClosed) -> None:
        """Nobody waits for it."""
        self._next.closes.append(call)

    def add_undo(self, call_id: str) -> None:
        """The opening of that call was reported as failed; nobody waits for the end of its row."""
        self._next.undo.append(call_id)

    def _wait_for(self, call: CallOpened | CallAnswered | Take) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._next.waiters[id(call)] = done
        return done  # cancelled: the answer is dropped, the write goes on

    @property
    def awaited(self) -> int:
        """Rows that wait for their turn and that somebody waits for."""
        return len(self._next.waiters)

    # ------------------------------------------------------------ Rows

    def __len__(self) -> int:
        return len(self._next)

    def pause_s(self) -> float:
        """See the protocol."""
        if len(self._next) >= _ROWS_MAX:
            return 0.0
        if not self._next.waiters:
            return CLOSE_PACE_S
        if self._rows_per_s < _BUSY_ROWS_PER_S:
            return 0.0
        pace_s = min(_PACE_MOST_S, self._rows_per_s * _PACE_PER_ROW_S)
        return float(self._taken_at_s + pace_s - self._reactor.seconds())

    def take(self) -> CallBatch:
        """See the protocol."""
        batch = self._next.take()
        now_s = self._reactor.seconds()
        rate = len(batch) / max(now_s - self._taken_at_s, 0.0005)
        self._rows_per_s += (rate - self._rows_per_s) * _RATE_SHARE
        self._taken_at_s = now_s
        return batch

    def send(self, batch: CallBatch) -> Deferred[None]:
        """See the protocol."""
        sql, params = callrows.statement(
            batch.opens,
            batch.answers,
            batch.closes,
            batch.undo,
            takes=batch.takes,
            locked=self._locked(batch),
            node=self._node(),
        )
        if not batch.takes:
            return self._link.operate(sql, params)

        def taken(rows: Sequence[tuple[str, int | None]]) -> None:
            batch.refused = {call_id.replace("-", ""): account_id for call_id, account_id in rows}

        return self._link.query(sql, params).addCallback(taken)

    def _locked(self, batch: CallBatch) -> set[int]:
        """The accounts whose channels the batch may take or give back."""
        if not self._counted:
            return set()
        ended = [closed.call_id for closed in batch.closes]
        calls = (*ended, *batch.undo, *(take.call_id for take in batch.takes))
        return set().union(*(self._counted.get(call_id, ()) for call_id in calls))

    def committed(self, batch: CallBatch) -> None:
        """See the protocol."""
        for closed in batch.closes:
            self._forget(closed.call_id)
        for call_id in batch.undo:
            self._forget(call_id)
        for item in (*batch.opens, *batch.answers):
            batch.waiters[id(item)].callback(None)
        for take in batch.takes:
            waiter = batch.waiters[id(take)]
            if take.call_id not in batch.refused:
                waiter.callback(None)
            elif (account_id := batch.refused[take.call_id]) is None:
                waiter.errback(failure_of(StoreBusy("the call row is not there")))
            else:
                text = f"account {account_id} has as many calls as it may have at a time"
                waiter.errback(failure_of(CallRefused(480, "max_channels", text)))

    def _forget(self, call_id: str) -> None:
        """Its row is closed, or gone."""
        self._open.pop(call_id, None)
        if self._counted:
            self._counted.pop(call_id, None)

    def put_back(self, batches: Sequence[CallBatch], busy: Failure) -> None:
        """See the protocol."""
        for batch in reversed(batches):
            self._next.closes = batch.closes + self._next.closes
            self._next.undo = batch.undo + [call.call_id for call in batch.opens] + self._next.undo
        waited = self._next.take_waiting()
        for call in waited.opens:
            self._forget(call.call_id)
        for batch in (*batches, waited):
            batch.refuse(busy)

    def lose(self, batch: CallBatch, why: Exception) -> None:
        """See the protocol."""
        row = callrows.name_of(batch.all())
        self.log.error("a call row cannot be stored: {why}; {row}", why=why, row=row)
        for call in batch.opens:  # a row that cannot be closed stays open, for the next start to close
            self._forget(call.call_id)
        batch.refuse(failure_of(StoreBusy("the call row cannot be stored")))

    def abandon(self, busy: Failure) -> int:
        """See the protocol."""
        left, self._next = self._next, CallBatch()
        left.refuse(busy)
        return len(left)
