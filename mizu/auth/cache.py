"""Answers of authorization backends that are used again: bounded, dropped by notification."""

from collections import OrderedDict
from dataclasses import dataclass, field

from mizu.model import Account, AuthAnswer

#: By username alone, or by source host, source port and username; both end in what ``forget`` looks for.
CacheKey = str | tuple[str, int, str, str]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request comes from this account."""

    account: Account
    username: str  #: as the credentials have it; the account's when there were none


@dataclass(slots=True)
class Entry:
    """One answer in the cache."""

    answer: AuthAnswer = field(repr=False)
    accepted: Accepted  #: made once, because every request of a registered phone gets the same
    fresh_until_s: float  #: monotonic


class AuthCache:
    """
    Answers by :data:`CacheKey`. At the limit the answer asked for longest ago goes. Each one is asked for
    again at least every ``cache_s`` while it is used, so unused ones go first, and a hit costs one look-up.

    :param limit: answers kept; 0: none.
    """

    __slots__ = ("_entries", "_limit", "_of_account", "epoch", "hits", "misses")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[CacheKey, Entry] = OrderedDict()  # a dict finds its first key slowly
        # Account username -> keys, only where one name does not lead to the entry by itself.
        self._of_account: dict[str, set[CacheKey]] = {}
        self.epoch = 0  #: grows with each :meth:`forget`
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: CacheKey) -> Entry | None:
        """The entry, fresh or not; the caller looks at ``fresh_until_s``."""
        return self._entries.get(key)

    def put(self, key: CacheKey, entry: Entry) -> None:
        """Keep an answer, instead of an earlier one under that key."""
        self._discard(key)
        if self._limit <= 0:
            return
        if len(self._entries) >= self._limit:
            self._discard(next(iter(self._entries)))
        self._entries[key] = entry
        name = entry.answer.account.username
        if key != name:
            self._of_account.setdefault(name, set()).add(key)

    def drop(self, key: CacheKey) -> None:
        """Forget one entry, if it is there."""
        self._discard(key)

    def forget(self, username: str | None) -> None:
        """Drop every answer about this account; ``None``: everything."""
        self.epoch += 1
        if username is None:
            self._entries.clear()
            self._of_account.clear()
            return
        self._discard(username)
        for key in list(self._of_account.get(username, ())):
            self._discard(key)

    def _discard(self, key: CacheKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        name = entry.answer.account.username
        keys = self._of_account.get(name)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._of_account[name]
