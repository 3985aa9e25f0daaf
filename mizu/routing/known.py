"""Accounts that routers need, as they were found in the store a short while ago."""

from collections import OrderedDict

from mizu.interfaces import IAccountStore, IClock
from mizu.model import Account

#: Unknown names are forgotten sooner: a new account can be called at once or nearly so.
UNKNOWN_CACHE_S = 5.0


class KnownAccounts:
    """
    Enabled accounts by username. Answers are remembered, unknown names too (a caller that tries all numbers
    must not cost a query each time), and dropped by :meth:`forget`.

    :param cache_s: an account that was found is looked up again after this; 0: every time.
    :param cache_max: names remembered.
    """

    def __init__(self, accounts: IAccountStore, clock: IClock, *, cache_s: float, cache_max: int) -> None:
        self._accounts = accounts
        self._clock = clock
        self._cache_s = cache_s
        self._cache_max = cache_max
        self._cache: OrderedDict[str, tuple[float, Account | None]] = OrderedDict()
        self._epoch = 0

    def now(self, username: str) -> tuple[Account | None] | None:
        """What is remembered. :return: ``None``: nothing, ask :meth:`find`; ``(None,)``: no such account."""
        cached = self._cache.get(username)
        return (cached[1],) if cached is not None and cached[0] > self._clock.mono_s() else None

    async def find(self, username: str) -> Account | None:
        """The account; ``None``: there is none, or it is not enabled. :raise StoreBusy:"""
        cached = self.now(username)
        if cached is not None:
            return cached[0]
        epoch = self._epoch
        found = await self._accounts.find(username)
        account = found[0] if found is not None and found[0].enabled else None
        if epoch == self._epoch and self._cache_s > 0:
            self._remember(username, account)
        return account

    def _remember(self, username: str, account: Account | None) -> None:
        cache = self._cache
        keep_s = self._cache_s if account is not None else min(self._cache_s, UNKNOWN_CACHE_S)
        cache[username] = (self._clock.mono_s() + keep_s, account)
        cache.move_to_end(username)
        while len(cache) > self._cache_max:
            cache.popitem(last=False)

    def forget(self, username: str | None) -> None:
        """An account changed; ``None``: any may have."""
        self._epoch += 1
        if username is None:
            self._cache.clear()
        else:
            self._cache.pop(username, None)
