"""Accounts that routers need, as they were found in the store a short while ago."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from mizu.interfaces import IClock
from mizu.model import Account

#: Unknown numbers are forgotten sooner: a new account can be called at once or nearly so.
UNKNOWN_CACHE_S = 5.0

#: A number, and the company of who calls it (``Account.company_id``).
Called = tuple[str, int | None]


class KnownAccounts:
    """
    Enabled accounts by what was called. Answers are remembered, unknown numbers too (a caller that tries all
    numbers must not cost a query each time), and dropped when an account or a number changes.

    :param find: asks the store.
    :param cache_s: an account that was found is looked up again after this; 0: every time.
    :param cache_max: accounts remembered, and as many other answers.
    """

    def __init__(
        self,
        find: Callable[[str, int | None], Awaitable[Account | None]],
        clock: IClock,
        *,
        cache_s: float,
        cache_max: int,
    ) -> None:
        self._find = find
        self._clock = clock
        self._cache_s = cache_s
        self._cache_max = cache_max
        self._lasting: OrderedDict[str, tuple[float, Account]] = OrderedDict()
        self._names: dict[str, set[str]] = {}  # username -> numbers in _lasting
        #: Unknown numbers, and what is dialled in companies: a change of any account may change it.
        self._passing: OrderedDict[Called, tuple[float, Account | None]] = OrderedDict()
        self._epoch = 0

    def now(self, number: str, company_id: int | None = None) -> tuple[Account | None] | None:
        """What is remembered. :return: ``None``: nothing, ask :meth:`find`; ``(None,)``: no such account."""
        cached = self._lasting.get(number) if company_id is None else None
        found = cached or self._passing.get((number, company_id))
        return (found[1],) if found is not None and found[0] > self._clock.mono_s() else None

    async def find(self, number: str, company_id: int | None = None) -> Account | None:
        """The account; ``None``: there is none, or it is not enabled. :raise StoreBusy:"""
        cached = self.now(number, company_id)
        if cached is not None:
            return cached[0]
        epoch = self._epoch
        account = await self._find(number, company_id)
        if account is not None and not account.enabled:
            account = None
        if epoch == self._epoch and self._cache_s > 0:
            self._remember(number, company_id, account)
        return account

    def _remember(self, number: str, company_id: int | None, account: Account | None) -> None:
        keep_s = self._cache_s if account is not None else min(self._cache_s, UNKNOWN_CACHE_S)
        until_s = self._clock.mono_s() + keep_s
        self._discard(number)
        if account is not None and company_id is None:
            self._lasting[number] = (until_s, account)
            self._names.setdefault(account.username, set()).add(number)
            if len(self._lasting) > self._cache_max:
                self._discard(next(iter(self._lasting)))
        else:
            self._passing[number, company_id] = (until_s, account)
            self._passing.move_to_end((number, company_id))
            if len(self._passing) > self._cache_max:
                self._passing.popitem(last=False)

    def _discard(self, number: str) -> None:
        cached = self._lasting.pop(number, None)
        if cached is not None:
            username = cached[1].username
            numbers = self._names[username]
            numbers.discard(number)
            if not numbers:
                del self._names[username]

    def account_changed(self, username: str | None) -> None:
        """An account changed, its numbers perhaps too; ``None``: any may have."""
        self._epoch += 1
        self._passing.clear()
        if username is None:
            self._lasting.clear()
            self._names.clear()
        else:
            for number in [*self._names.get(username, ()), username]:
                self._discard(number)

    def number_changed(self, number: str | None) -> None:
        """A phone number was given to another account; ``None``: any may have been."""
        if number is None:
            self.account_changed(None)
        else:
            self._epoch += 1
            self._passing.clear()
            self._discard(number)
            self._discard(f"+{number}")
