"""Calls to our own users: the called number is an account's username."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from zope.interface import implementer

from mizu.interfaces import IAccountStore, IClock, IKnowsAtOnce, IRouter
from mizu.model import Account, CallRequest, Route
from mizu.settings import setting

#: Unknown numbers are forgotten sooner: a new account can be called at once or nearly so.
UNKNOWN_CACHE_S = 5.0


@dataclass(frozen=True, slots=True)
class LocalRouterSettings:
    """Settings of the router type ``local``."""

    cache_s: float = setting(60.0, "an account that was found is looked up again after this; 0: every time")
    cache_max: int = setting(100_000, "accounts remembered")
    ring_timeout_s: float = setting(0.0, "how long phones ring; 0: [call] ring_timeout_s")


@implementer(IRouter, IKnowsAtOnce)
class LocalRouter:
    """
    Knows the numbers that are usernames of enabled accounts. Whether a phone is registered is found out when
    it is rung: a known user without one is 480, not 404.

    Answers are remembered, unknown numbers too (a caller that tries all numbers must not cost a query each
    time), and dropped by :meth:`forget`.
    """

    def __init__(self, settings: LocalRouterSettings, accounts: IAccountStore, clock: IClock) -> None:
        self._settings = settings
        self._accounts = accounts
        self._clock = clock
        self._cache: OrderedDict[str, tuple[float, tuple[Route, ...]]] = OrderedDict()
        self._epoch = 0

    async def find_routes(self, call: CallRequest) -> Sequence[Route]:
        """See :class:`mizu.interfaces.IRouter`."""
        cached = self.routes_now(call)
        if cached is not None:
            return cached
        number = call.called_number
        epoch = self._epoch
        found = await self._accounts.find(number)
        routes: tuple[Route, ...] = ()
        if found is not None and found[0].enabled:
            routes = (self._route(found[0]),)
        if epoch == self._epoch and self._settings.cache_s > 0:
            self._remember(number, routes)
        return routes

    def routes_now(self, call: CallRequest) -> Sequence[Route] | None:
        """See :class:`mizu.interfaces.IKnowsAtOnce`."""
        cached = self._cache.get(call.called_number)
        return cached[1] if cached is not None and cached[0] > self._clock.mono_s() else None

    def _route(self, account: Account) -> Route:
        return Route(
            name=account.username,
            account=account,
            called_number=account.username,
            ring_timeout_s=self._settings.ring_timeout_s,
            reason="registered contacts of the account",
        )

    def _remember(self, number: str, routes: tuple[Route, ...]) -> None:
        cache = self._cache
        keep_s = self._settings.cache_s if routes else min(self._settings.cache_s, UNKNOWN_CACHE_S)
        cache[number] = (self._clock.mono_s() + keep_s, routes)
        cache.move_to_end(number)
        while len(cache) > self._settings.cache_max:
            cache.popitem(last=False)

    def forget(self, username: str | None) -> None:
        """An account changed; ``None``: any may have."""
        self._epoch += 1
        if username is None:
            self._cache.clear()
        else:
            self._cache.pop(username, None)
