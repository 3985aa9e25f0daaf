"""Rows of which only the newest state counts, by key, as they wait for a writer of batches."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

V = TypeVar("V")


class States(Generic[V]):
    """A batch: states by key."""

    __slots__ = ("rows",)

    def __init__(self, rows: dict[str, V]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def halves(self) -> "Sequence[States[V]]":
        """See :class:`~mizu.store.batch_writer.Batch`."""
        items = list(self.rows.items())
        middle = len(items) // 2
        return [States(dict(items[:middle])), States(dict(items[middle:]))]


class NewestStates(Generic[V]):
    """
    See :class:`~mizu.store.batch_writer.Rows`.

    :param send: writes states, all or none.
    :param lose: told the key of a state that cannot be stored, and why.
    :param rows_max: in one statement.
    :param pace_s: gathered so long, unless ``rows_max`` are there earlier.
    :param limit: keys that may wait; above it the oldest are given up.
    """

    def __init__(
        self,
        send: Callable[[dict[str, V]], Deferred[None]],
        lose: Callable[[str, Exception], None],
        *,
        rows_max: int,
        pace_s: float,
        limit: int,
    ) -> None:
        self._send = send
        self._lose = lose
        self._rows_max = rows_max
        self._pace_s = pace_s
        self._limit = limit
        self.waiting: OrderedDict[str, V] = OrderedDict()
        self.under_way: dict[str, V] = {}  #: taken, and neither written nor given back
        self.given_up = 0  #: states that were too many

    def put(self, key: str, state: V) -> int:
        """In the place of an older one. :return: how many wait."""
        waiting = self.waiting
        if key not in waiting and len(waiting) >= self._limit:
            del waiting[next(iter(waiting))]
            self.given_up += 1
        waiting[key] = state
        return len(waiting)

    # ------------------------------------------------------------ Rows

    def __len__(self) -> int:
        return len(self.waiting)

    def pause_s(self) -> float:
        """See the protocol."""
        return 0.0 if len(self.waiting) >= self._rows_max else self._pace_s

    def take(self) -> States[V]:
        """See the protocol."""
        taken: dict[str, V]
        if len(self.waiting) <= self._rows_max:
            taken, self.waiting = self.waiting, OrderedDict()
        else:
            taken = {key: self.waiting.pop(key) for key in list(islice(self.waiting, self._rows_max))}
        self.under_way = taken.copy()
        return States(taken)

    def send(self, batch: States[V]) -> Deferred[None]:
        """See the protocol."""
        return self._send(batch.rows)

    def committed(self, batch: States[V]) -> None:
        """See the protocol."""
        self._ended(batch)

    def put_back(self, batches: Sequence[States[V]], busy: Failure) -> None:
        """See the protocol. A newer state of a key wins."""
        newer, self.waiting = self.waiting, OrderedDict()
        for batch in batches:
            self.waiting.update(batch.rows)
            self._ended(batch)
        self.waiting.update(newer)

    def lose(self, batch: States[V], why: Exception) -> None:
        """See the protocol."""
        self._ended(batch)
        self._lose(next(iter(batch.rows)), why)

    def abandon(self, busy: Failure) -> int:
        """See the protocol."""
        count = len(self.waiting)
        self.waiting = OrderedDict()
        return count

    def _ended(self, batch: States[V]) -> None:
        if len(batch) == len(self.under_way):  # the usual case: all of what was taken
            self.under_way = {}
            return
        for key in batch.rows:
            self.under_way.pop(key, None)
