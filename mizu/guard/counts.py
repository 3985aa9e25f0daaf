"""Failures counted per key in windows of time, in bounded memory. Pure: ``now_s`` is passed in."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: So many of the oldest records are looked at when there is no room.
_LOOK = 8


class WindowCounts(Generic[K]):
    """
    How often something happened to a key within a window that begins with its first time.

    When there is no room, the oldest few records are looked at; those whose windows are over go, else the
    one with the lowest count. Who fills the table with new keys therefore pushes out other new keys, not
    the record that he has already worked up, nor that of anybody who fails more than once.
    """

    __slots__ = ("_limit", "_rows", "evicted")

    def __init__(self, limit: int) -> None:
        """:param limit: most keys remembered."""
        if limit < 1:
            raise ValueError(f"limit={limit}")
        self._limit = limit
        # A dict that loses its first keys again and again gets slow at finding the next one.
        self._rows: OrderedDict[K, tuple[int, float]] = OrderedDict()
        self.evicted = 0  #: records thrown out before their windows were over

    def add(self, key: K, now_s: float, window_s: float) -> int:
        """Count one more. :return: how many in the window that is open now, this one included."""
        row = self._rows.get(key)
        if row is not None and now_s < row[1]:
            count = row[0] + 1
            self._rows[key] = (count, row[1])
            return count
        if row is not None:
            del self._rows[key]  # a new window is a new record: to the end of the queue
        elif len(self._rows) >= self._limit:
            self._make_room(now_s)
        self._rows[key] = (1, now_s + window_s)
        return 1

    def _make_room(self, now_s: float) -> None:
        rows = self._rows
        oldest = [key for key, _ in zip(rows, range(_LOOK), strict=False)]
        over = [key for key in oldest if rows[key][1] <= now_s]
        if not over:
            self.evicted += 1
            over = [min(oldest, key=lambda key: rows[key][0])]
        for key in oldest:
            row = rows.pop(key)
            if key not in over:
                rows[key] = row  # to the end of the queue: next time others are looked at

    def get(self, key: K, now_s: float) -> int:
        """How many in the window that is open now."""
        row = self._rows.get(key)
        return row[0] if row is not None and now_s < row[1] else 0

    def until_s(self, key: K) -> float:
        """End of the key's window; 0: it has none."""
        row = self._rows.get(key)
        return row[1] if row is not None else 0.0

    def take_back(self, key: K) -> None:
        """One of the last counted was none."""
        row = self._rows.get(key)
        if row is not None and row[0] > 1:
            self._rows[key] = (row[0] - 1, row[1])
        elif row is not None:
            del self._rows[key]

    def forget(self, key: K) -> None:
        """Begin anew with this key."""
        self._rows.pop(key, None)

    def clear(self) -> None:
        """Begin anew with all."""
        self._rows.clear()

    def live(self, now_s: float) -> Iterator[tuple[K, int, float]]:
        """(key, count, seconds left) of every open window."""
        for key, (count, until_s) in list(self._rows.items()):
            if now_s < until_s:
                yield key, count, until_s - now_s

    def __len__(self) -> int:
        return len(self._rows)
