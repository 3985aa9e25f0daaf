"""Times of RFC 3261 table 4 and the deadlines of everything that waits: one heap, no clock, no reactor."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Item = TypeVar("Item")

COMPACT_FROM = 512  # cancelled entries; below this a heap is not worth rebuilding


@dataclass(frozen=True, slots=True)
class TimerSettings:
    """
    T1, T2 and T4 and every timer that follows from them, in seconds (RFC 3261 table 4, RFC 6026).

    A timer that RFC 3261 sets to zero over a reliable transport is zero there in the machines as well; these
    are the values over UDP.
    """

    t1_s: float = 0.5  #: round-trip estimate
    t2_s: float = 4.0  #: longest interval of a repeated non-INVITE request or INVITE response
    t4_s: float = 5.0  #: how long a message stays in the network
    trying_s: float = 0.2  #: an INVITE nobody has answered gets 100 after so long (17.2.1)
    #: Timer C (16.6): an INVITE that got a provisional response is cancelled after so long without another.
    #: A switch has its own ring timeout; this one only keeps a forgotten call from staying for ever.
    c_s: float = 900.0

    a_s: float = field(init=False)  #: first repetition of INVITE, then doubled
    b_s: float = field(init=False)  #: INVITE without any response
    d_s: float = field(init=False)  #: repeated 300-699 are acknowledged so long
    e_s: float = field(init=False)  #: first repetition of other requests, doubled up to T2
    f_s: float = field(init=False)  #: other requests without final response
    g_s: float = field(init=False)  #: first repetition of a 300-699 to INVITE, doubled up to T2
    h_s: float = field(init=False)  #: 300-699 to INVITE without ACK
    i_s: float = field(init=False)  #: repeated ACKs are swallowed so long
    j_s: float = field(init=False)  #: repeated other requests get their answer again so long
    k_s: float = field(init=False)  #: repeated responses to other requests are swallowed so long
    l_s: float = field(init=False)  #: repeated INVITEs are swallowed so long after a 2xx (RFC 6026)
    m_s: float = field(init=False)  #: more 2xx to an INVITE are taken so long after the first (RFC 6026)

    def __post_init__(self) -> None:
        if not 0 < self.t1_s <= self.t2_s:
            raise ValueError(f"t1_s={self.t1_s} t2_s={self.t2_s}: T1 must be above 0 and not above T2")
        long_s = 64 * self.t1_s
        for name in ("a_s", "e_s", "g_s"):
            object.__setattr__(self, name, self.t1_s)
        for name in ("b_s", "f_s", "h_s", "j_s", "l_s", "m_s"):
            object.__setattr__(self, name, long_s)
        for name in ("i_s", "k_s"):
            object.__setattr__(self, name, self.t4_s)
        object.__setattr__(self, "d_s", max(32.0, long_s))  # "at least 32 seconds"


class Deadline:
    """Something that will be called, unless it is cancelled before."""

    __slots__ = ("callback", "heap")

    heap: "DeadlineHeap"
    callback: Callable[[], None] | None  #: ``None``: called or cancelled

    def cancel(self) -> None:
        """Never call it. Harmless when it was called or cancelled already. Costs no search."""
        if self.callback is not None:
            self.callback = None
            heap = self.heap
            heap.cancelled += 1
            if heap.cancelled > COMPACT_FROM:
                heap.compact()

    @property
    def pending(self) -> bool:
        """Neither called nor cancelled yet."""
        return self.callback is not None


class DeadlineHeap:
    """
    Every deadline of a process. The owner runs it when ``next_s()`` has come.

    Cancelled entries stay until they come to the top or make up half of the heap, which is then rebuilt; so a
    cancelled deadline costs no search and the heap never holds more than twice what is alive (plus
    ``COMPACT_FROM``).
    """

    __slots__ = ("_entries", "_number", "_running", "cancelled", "on_sooner", "run_s")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Deadline]] = []
        self._number = 0  # deadlines of one instant run in the order they were set
        self.cancelled = 0  #: entries that will not be called
        self._running = False
        self.run_s = 0.0  #: what the newest :meth:`run` was told the time is
        #: called when the nearest deadline got nearer, except from within :meth:`run`, after which the caller
        #: asks ``next_s()`` anyway
        self.on_sooner: Callable[[], None] | None = None

    def at(self, deadline_s: float, callback: Callable[[], None]) -> Deadline:
        """Call ``callback`` at ``deadline_s`` (monotonic seconds); in the past: at the next run."""
        deadline = Deadline()
        deadline.callback = callback
        deadline.heap = self
        self._number = number = self._number + 1
        entries = self._entries
        heappush(entries, (deadline_s, number, deadline))
        if entries[0][2] is deadline and self.on_sooner is not None and not self._running:
            self.on_sooner()
        return deadline

    def next_s(self) -> float | None:
        """When the nearest deadline is; ``None``: there is none."""
        entries = self._entries
        while entries:
            if entries[0][2].callback is not None:
                return entries[0][0]
            heappop(entries)
            self.cancelled -= 1
        return None

    def run(self, now_s: float) -> int:
        """
        Call everything that is due at ``now_s``, in order.

        What a callback sets for ``now_s`` or earlier runs in the next call, so one run always ends. A
        callback that raises ends the run; what is left stays due.

        :return: how many were called.
        """
        entries, last, called = self._entries, self._number, 0
        later: list[tuple[float, int, Deadline]] = []
        self._running = True
        self.run_s = now_s
        try:
            while entries and entries[0][0] <= now_s:
                entry = heappop(entries)
                deadline = entry[2]
                callback = deadline.callback
                if callback is None:
                    self.cancelled -= 1
                elif entry[1] > last:
                    later.append(entry)
                else:
                    deadline.callback = None
                    called += 1
                    callback()
        finally:
            for entry in later:
                heappush(self._entries, entry)
            self._running = False
        return called

    def compact(self) -> None:
        """Throw the cancelled entries out if they are more than half (called by :class:`Deadline`)."""
        if self.cancelled * 2 > len(self._entries):
            # In place, because a run may be under way and hold the list.
            self._entries[:] = [entry for entry in self._entries if entry[2].callback is not None]
            heapify(self._entries)
            self.cancelled = 0

    def __len__(self) -> int:
        """Deadlines that are neither called nor cancelled."""
        return len(self._entries) - self.cancelled


class Lingering(Generic[Item]):
    """
    Things that all stay for the same time: first in, first out, one deadline for all of them.

    A transaction that is over waits here for its last repetitions. That costs one append instead of a heap
    entry with an object and a bound method each, and the reactor wakes once per ``grain_s`` instead of once
    for each of them.

    :param delay_s: how long each stays.
    :param drop: called with each one whose time is over, up to ``grain_s`` late.
    """

    __slots__ = ("_armed", "_deadlines", "_drop", "_queue", "delay_s", "grain_s")

    def __init__(
        self, deadlines: DeadlineHeap, delay_s: float, drop: Callable[[Item], None], grain_s: float = 0.1
    ) -> None:
        self._deadlines = deadlines
        self._drop = drop
        self._queue: deque[tuple[float, Item]] = deque()
        self._armed = False
        self.delay_s = delay_s
        self.grain_s = grain_s

    def add(self, item: Item, now_s: float) -> None:
        """``item`` stays from now on."""
        until_s = now_s + self.delay_s
        self._queue.append((until_s, item))
        if not self._armed:
            self._arm(until_s)

    def evict(self) -> Item | None:
        """Take out the one that is here longest, without calling ``drop``; ``None``: it is empty."""
        return self._queue.popleft()[1] if self._queue else None

    def _arm(self, until_s: float) -> None:
        self._armed = True
        self._deadlines.at(until_s + self.grain_s, self._expire)

    def _expire(self) -> None:
        queue, drop = self._queue, self._drop
        due_s = self._deadlines.run_s
        while queue and queue[0][0] <= due_s:
            drop(queue.popleft()[1])
        if queue:
            self._arm(queue[0][0])
        else:
            self._armed = False

    def __len__(self) -> int:
        return len(self._queue)
