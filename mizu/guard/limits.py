"""Rates per key, in bounded memory. Pure: the caller passes ``now_s`` in (monotonic seconds)."""

from collections import OrderedDict
from socket import AF_INET6, inet_pton


def rate_key(host: str) -> str | bytes:
    """What counts as one sender: an IPv4 address, or the /64 that an IPv6 customer has to himself."""
    if ":" not in host:
        return host
    try:
        return inet_pton(AF_INET6, host.partition("%")[0])[:8]
    except OSError:
        return host


class TokenBuckets:
    """
    A token bucket per key.

    One float is kept for each key (the time at which its bucket will be full again, as in the generic cell
    rate algorithm), so that 100,000 keys cost about 15 MB. A bucket that is full says nothing and is
    the only kind that is ever thrown out: no sender can get rid of his own record by making others. When
    ``limit`` keys are in debt at one time, keys beyond it share one bucket of ``limit`` times their rate.
    """

    __slots__ = ("_burst_s", "_full_at_s", "_interval_s", "_limit", "_shared_full_at_s")

    def __init__(self, rate_per_s: float, burst_s: float = 2.0, limit: int = 100_000) -> None:
        """
        :param rate_per_s: tokens that flow into a bucket each second; more than 0.
        :param burst_s: how many seconds' worth of tokens a full bucket holds.
        :param limit: most keys remembered.
        :raise ValueError: a rate, burst or limit that makes no sense.
        """
        if rate_per_s <= 0 or burst_s <= 0 or limit < 1:
            raise ValueError(f"rate_per_s={rate_per_s} burst_s={burst_s} limit={limit}")
        self._interval_s = 1.0 / rate_per_s
        # A burst of less than one token would never let anything pass.
        self._burst_s = max(burst_s, self._interval_s)
        self._limit = limit
        self._full_at_s: OrderedDict[str | bytes, float] = OrderedDict()
        self._shared_full_at_s = 0.0

    def take(self, key: str | bytes, now_s: float) -> bool:
        """Take one token; false when the bucket of this key is empty (nothing is taken then)."""
        full_at_s = self._full_at_s.get(key)
        if full_at_s is None:
            if len(self._full_at_s) >= self._limit and not self._forget_full(now_s):
                return self._take_shared(now_s)
            self._full_at_s[key] = now_s + self._interval_s
            return True
        debt_until_s = (full_at_s if full_at_s > now_s else now_s) + self._interval_s
        if debt_until_s - now_s > self._burst_s + 1e-9:
            return False
        self._full_at_s[key] = debt_until_s
        return True

    def _forget_full(self, now_s: float) -> bool:
        """Look at the eight oldest records; forget those that are full. False: none was."""
        table = self._full_at_s
        freed = False
        for _ in range(min(8, len(table))):
            key = next(iter(table))
            full_at_s = table.pop(key)
            if full_at_s > now_s:
                table[key] = full_at_s  # still in debt: to the end of the queue
            else:
                freed = True
        return freed

    def _take_shared(self, now_s: float) -> bool:
        debt_until_s = max(self._shared_full_at_s, now_s) + self._interval_s / self._limit
        if debt_until_s - now_s > self._burst_s:
            return False
        self._shared_full_at_s = debt_until_s
        return True

    def __len__(self) -> int:
        """Keys remembered now."""
        return len(self._full_at_s)


class Sampler:
    """
    Says which of many equal events are worth a log line: so many a minute for each (kind, source), and ten
    times as many for each kind whatever the source, so that forged sources cannot fill a disk.
    """

    __slots__ = ("_counts", "_limit", "_minute", "_per_source", "suppressed")

    def __init__(self, per_source_per_minute: int, limit: int = 10_000) -> None:
        """
        :param per_source_per_minute: lines of one kind about one source in a minute; 0: none at all.
        :param limit: most (kind, source) pairs counted in a minute; further ones are suppressed.
        """
        self._per_source = per_source_per_minute
        self._limit = limit
        self._minute = -1
        self._counts: dict[tuple[str, str], int] = {}
        self.suppressed = 0  #: events since the start that were not let through

    def admit(self, kind: str, source: str, now_s: float) -> bool:
        """Whether this event is to be logged."""
        minute = int(now_s // 60)
        counts = self._counts
        if minute != self._minute:
            self._minute = minute
            counts.clear()
        whole, own = (kind, ""), (kind, source)
        total, count = counts.get(whole, 0), counts.get(own, 0)
        if count >= self._per_source or total >= 10 * self._per_source or len(counts) >= self._limit:
            self.suppressed += 1
            return False
        counts[whole], counts[own] = total + 1, count + 1
        return True
