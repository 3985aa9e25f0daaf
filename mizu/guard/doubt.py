"""Who comes through a ban that is in doubt. Pure: times are passed in.

Somebody may be forging the address, so whoever really is there must not be shut out by it:

* where somebody is known (authenticated lately, or a partner's), a ban in doubt is only a limit of the rate,
  far above what phones and trunks send;
* elsewhere a datagram comes through when it is a copy of one that was dropped before: a SIP client that gets
  no answer sends its request again, byte by byte (RFC 3261 17.1), forgers and scanners seldom do. One in some
  seconds, which is enough for a challenge; who answers that has proved his address.
"""

from collections import OrderedDict

from mizu.guard.limits import TokenBuckets, rate_key

REPEATED_AFTER_S = 0.3  #: below T1 (0.5 s), above what duplicates on the way take
REMEMBERED_S = 8.0  #: twice T2, the longest time between two copies


class Doubt:
    """
    :param limit: datagrams remembered at a time, the newest ones, and addresses that came through. A flood of
        40,000 a second does not push out what a phone repeats after half a second.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._rate = 0.0
        self._pause_s = 0.0
        self._buckets: TokenBuckets | None = None
        self._seen_s: OrderedDict[int, float] = OrderedDict()  # hash of sender and datagram to when it came
        self._next_s: OrderedDict[str | bytes, float] = OrderedDict()

    def limit_rate(self, rate_per_s: float, pause_s: float) -> None:
        """
        :param rate_per_s: messages of a known address in doubt; 0: none.
        :param pause_s: between two copies that come through from one that is not known.
        """
        self._pause_s = pause_s
        if rate_per_s != self._rate:
            self._rate = rate_per_s
            self._buckets = TokenBuckets(rate_per_s, limit=self._limit) if rate_per_s > 0 else None

    def admit(self, host: str, data: bytes, now_s: float, *, known: bool) -> bool:
        """
        May this datagram in, although its address is banned in doubt?

        :param host: numeric, of the sender.
        :param data: the whole datagram.
        :param now_s: monotonic.
        :param known: somebody was authenticated there lately, or it is a partner's.
        """
        key = rate_key(host)
        if known:
            return self._buckets is not None and self._buckets.take(key, now_s)
        what = hash((key, data))
        first_s = self._seen_s.get(what)
        if first_s is None or now_s - first_s > REMEMBERED_S:
            self._seen_s.pop(what, None)
            self._seen_s[what] = now_s
            if len(self._seen_s) > self._limit:
                self._seen_s.popitem(last=False)
            return False
        if now_s - first_s < REPEATED_AFTER_S or now_s < self._next_s.get(key, 0.0):
            return False
        del self._seen_s[what]
        self._next_s.pop(key, None)
        self._next_s[key] = now_s + self._pause_s
        if len(self._next_s) > self._limit:
            self._next_s.popitem(last=False)
        return True

    def __len__(self) -> int:
        """Datagrams remembered."""
        return len(self._seen_s)
