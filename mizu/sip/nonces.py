"""
Nonces that need no memory until they are used: the time and a serial number are in them, signed.

A nonce is 32 hexadecimal digits (8 of issue time in seconds, 16 of a number, 8 that say which address
it was sent to) and 32 of signature. Only a nonce that was used with the right password takes memory, in
:class:`NonceCounts`.
"""

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

_STAMP_CHARS = 24
_SOURCE_END = 32
_NONCE_CHARS = 64
_NUMBER_MASK = (1 << 64) - 1
#: Repetitions of a request within so many seconds get the same nonce: timer E of RFC 3261 17.1.2.2 sends
#: the first three of them within 3.5 s.
REPEATED_S = 8
_HEX = frozenset("0123456789abcdef")

#: Addresses whose tags are kept.
SOURCES_MAX = 4096

#: Nonce counts may arrive out of order by so much (UDP); a lower one is taken for a replay.
WINDOW = 32
_WINDOW_MASK = (1 << WINDOW) - 1
_NC_BITS = 32
_NC_MASK = (1 << _NC_BITS) - 1


class NonceSigner:
    """
    Makes and checks nonces.

    :param key: 16 to 64 secret bytes; who has it can make nonces. With a new key every nonce given out
        before is ``bad``.
    :param lifetime_s: a nonce is ``good`` for so long.
    """

    __slots__ = ("_first_s", "_lifetime_s", "_now_s", "_repeated_s", "_serial", "_signature", "_source_tag")

    def __init__(self, key: bytes, lifetime_s: float) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError("a nonce key has 16 to 64 bytes")
        # Copied for each nonce: that takes a third less time than to begin with the key.
        self._signature = hashlib.blake2b(key=key, digest_size=16)
        self._source_tag = _source_tags(key)
        self._lifetime_s = lifetime_s
        self._repeated_s = max(1, min(REPEATED_S, int(lifetime_s / 4)))
        self._now_s = 0.0
        self._first_s = 0  # the first second a nonce was made in
        self._serial = secrets.randbits(31)

    def make(self, now_s: float, source: str = "", request: str = "") -> str:
        """
        A new nonce, unique in this process.

        :param now_s: wall time, seconds since the epoch. When the clock is set back, time stands still here
            until it catches up: nonces stay ordered, nobody is locked out.
        :param source: the address it is sent to.
        :param request: what tells one request from another. Then the nonce is the same for repetitions of
            that request (:data:`REPEATED_S`), so that a challenge sent again is the same challenge
            (RFC 3261 8.2.7).
        """
        self._now_s = now_s = max(self._now_s, now_s)
        second = int(now_s)
        if request:
            self._first_s = first_s = self._first_s or second
            # Not before the first: what is older than this process counts as used (:class:`NonceCounts`).
            second = max(second - second % self._repeated_s, first_s)
            number = hash(request) & _NUMBER_MASK
        else:
            self._serial = number = (self._serial + 1) & _NUMBER_MASK
        stamp = f"{second:08x}{number:016x}{self._source_tag(source)}"
        return stamp + self._sign(stamp)

    def check(self, nonce: str, now_s: float) -> Literal["good", "stale", "bad"]:
        """``bad``: not ours. ``stale``: ours, but too old. Replays are :class:`NonceCounts`' business."""
        if len(nonce) != _NONCE_CHARS or not nonce.isascii():
            return "bad"
        stamp = nonce[:_SOURCE_END]
        if not hmac.compare_digest(self._sign(stamp), nonce[_SOURCE_END:]):
            return "bad"
        self._now_s = max(self._now_s, now_s)
        return "stale" if self._now_s - int(stamp[:8], 16) > self._lifetime_s else "good"

    def issued_to(self, nonce: str, source: str) -> bool:
        """
        Was this nonce, which :meth:`check` found good, sent to that address? Then who uses it from there
        has received it there: the address is not forged.
        """
        return nonce[_STAMP_CHARS:_SOURCE_END] == self._source_tag(source)

    @staticmethod
    def may_be_anothers(nonce: str) -> bool:
        """Does a nonce that :meth:`check` finds bad look like one of a node that has another key?"""
        return len(nonce) == _NONCE_CHARS and _HEX.issuperset(nonce)

    def _sign(self, stamp: str) -> str:
        signature = self._signature.copy()
        signature.update(stamp.encode())
        return signature.hexdigest()


def _source_tags(key: bytes) -> Callable[[str], str]:
    """What says in a nonce which address it was sent to. A phone's second request asks again for the same."""

    @lru_cache(SOURCES_MAX)
    def tag_of(source: str) -> str:
        return hashlib.blake2b(source.encode(), key=key, digest_size=4, person=b"source").hexdigest()

    return tag_of


class NonceCounts:
    """
    Which nonce counts were used (RFC 7616 3.4, ``nc``). Each may be used once.

    Bounded: at the limit the nonce used first is forgotten, and from then on every unknown nonce that was
    issued no later than a forgotten one is refused too, so that forgetting never makes a replay possible.

    :param limit: nonces remembered; about 130 bytes each.
    :param since_s: wall time of the start; nonces issued before it are refused, because a process before
        this one, with the same key, may have accepted them.
    """

    __slots__ = ("_floor", "_limit", "_order", "_used", "replays")

    def __init__(self, limit: int, *, since_s: float = 0.0) -> None:
        self._limit = max(1, limit)
        # stamp -> highest count, and above it the bits of lower counts not seen yet. A client that counts
        # as it should has only the small number, which costs nothing.
        self._used: dict[str, int] = {}
        self._order: deque[str] = deque()  # by first use; a dictionary that loses its first key again and
        # again would walk past all that it has lost to find the next one
        self._floor = ""
        self.refuse_before(since_s)
        self.replays = 0  #: refused uses, for metrics

    def __len__(self) -> int:
        return len(self._used)

    def refuse_before(self, wall_s: float) -> None:
        """From now on refuse every nonce that was issued before this second, unless it is known."""
        self._floor = max(self._floor, f"{int(wall_s):08x}{0:016x}")

    def use(self, nonce: str, nc: int) -> bool:
        """
        Take one count of a nonce that :meth:`NonceSigner.check` found good.

        :param nc: 1 to 2**32 - 1.
        :return: false when it was used already, is out of range, or cannot be told any more.
        """
        if not 0 < nc <= _NC_MASK:
            return False
        stamp = nonce[:_STAMP_CHARS]
        state = self._used.get(stamp)
        if state is None:
            if stamp <= self._floor:
                self.replays += 1
                return False
            self._used[stamp] = nc | (((1 << min(nc - 1, WINDOW)) - 1) << _NC_BITS)
            self._order.append(stamp)
            if len(self._used) > self._limit:
                oldest = self._order.popleft()
                del self._used[oldest]
                self._floor = max(self._floor, oldest)
            return True
        highest, missing = state & _NC_MASK, state >> _NC_BITS
        ahead = nc - highest
        if ahead > WINDOW:
            missing = _WINDOW_MASK
        elif ahead > 0:
            missing = ((missing << ahead) | ((1 << (ahead - 1)) - 1)) & _WINDOW_MASK
        else:
            bit = 1 << (-ahead - 1) if ahead else 0
            if not 0 < bit <= _WINDOW_MASK or not missing & bit:
                self.replays += 1
                return False
            missing &= ~bit
            nc = highest
        self._used[stamp] = nc | (missing << _NC_BITS)
        return True
