"""Who comes through a ban that is in doubt. Pure: times are passed in.

Somebody may be forging the address, so whoever really is there must not be shut out by it:

* where somebody is known (authenticated lately, or a partner's), a ban in doubt is first a limit of the rate,
  far above what phones and trunks send;
* beyond that, and elsewhere, a datagram comes through when it is a copy of one that was dropped before: a SIP
  client that gets no answer sends its message again, byte by byte (RFC 3261 17.1), forgers and scanners
  seldom do. Each datagram once in some seconds, so that who repeats one does not keep out another, and so
  many a second of one address. It is enough for a challenge; who answers that has proved his address.
"""

from collections import OrderedDict

from mizu.guard.limits import TokenBuckets, rate_key

REPEATED_AFTER_S = 0.3  #: below T1 (0.5 s), above what duplicates on the way take
REMEMBERED_S = 8.0  #: twice T2, the longest time between two copies
#: Copies of one address that come through; an answer to each is at most 1.5 times as long.
REPEATED_PER_S = 20


class Doubt:
    """
    :param limit: datagrams remembered at a time, the newest ones, and addresses whose rate is. A flood of
        40,000 a second does not push out what a phone repeats after half a second.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._rate = 0.0
        self._pause_s = 0.0
        self._known: TokenBuckets | None = None
        self._repeated = TokenBuckets(REPEATED_PER_S, limit=limit)
        self._may_pass_s: OrderedDict[int, float] = OrderedDict()  # hash of sender and datagram; newest last

    def limit_rate(self, rate_per_s: float, pause_s: float) -> None:
        """
        :param rate_per_s: messages of a known address in doubt that come through in any case; 0: none.
        :param pause_s: between two copies of one datagram that come through.
        """
        self._pause_s = pause_s
        if rate_per_s != self._rate:
            self._rate = rate_per_s
            self._known = TokenBuckets(rate_per_s, limit=self._limit) if rate_per_s > 0 else None

    def admit(self, host: str, data: bytes, now_s: float, *, known: bool) -> bool:
        """
        May this datagram in, although its address is banned in doubt?

        :param host: numeric, of the sender.
        :param data: the whole datagram.
        :param now_s: monotonic.
        :param known: somebody was authenticated there lately, or it is a partner's.
        """
        key = rate_key(host)
        if known and self._known is not None and self._known.take(key, now_s):
            return True
        what = hash((key, data))
        may_pass_s = self._may_pass_s.get(what)
        if may_pass_s is None or now_s > may_pass_s + REMEMBERED_S:
            self._remember(what, now_s + REPEATED_AFTER_S)
            return False
        if now_s < may_pass_s or not self._repeated.take(key, now_s):
            return False
        self._remember(what, now_s + self._pause_s)
        return True

    def _remember(self, what: int, may_pass_s: float) -> None:
        self._may_pass_s.pop(what, None)
        self._may_pass_s[what] = may_pass_s
        if len(self._may_pass_s) > self._limit:
            self._may_pass_s.popitem(last=False)

    def __len__(self) -> int:
        """Datagrams remembered."""
        return len(self._may_pass_s)
