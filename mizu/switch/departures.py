"""Registrations and calls of accounts that are gone or disabled end, on every node, wherever that was done.

What is above an account stops it too: whoever is below hears of the change (``account_changed`` in the
database). Calls that a disabled gateway carries go on: to disable one is how it is taken out of service.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.errors import StoreBusy
from mizu.interfaces import IAccountStore
from mizu.model import Account
from mizu.switch.location import LocationTable

#: Accounts looked up at a time.
BATCH = 200
#: With more calls it is found out once a second who has one, not at each change.
CALLS_FEW = 200
#: When any account may have changed, everybody here is looked up; no more often than each so many sweeps.
ANY_EACH_SWEEPS = 10
#: Changes remembered until then; with more, any may have changed.
HEARD_MAX = 10_000


class Callers(Protocol):
    """The calls in progress; see :class:`mizu.switch.b2bua.Switchboard`."""

    def calls_begun_and_not_over(self) -> int:
        """How many."""

    def on_the_phone(self) -> Iterable[str]:
        """Usernames of the users in them."""

    def accounts_changed(self, accounts: Mapping[str, Account | None]) -> Mapping[str, int]:
        """What they are now; ``None``: gone or disabled, their calls end. :return: how many ended of whom."""


class Departures:
    """
    :param locations: who is registered here.
    :param remove: ends the registrations of an account.
    :param calls: who is on the phone here.
    """

    log = Logger()

    def __init__(
        self,
        accounts: IAccountStore,
        locations: LocationTable,
        remove: Callable[[str], object],
        calls: Callers,
    ) -> None:
        self._accounts = accounts
        self._locations = locations
        self._remove = remove
        self._calls = calls
        self._heard: set[str] = set()
        self._any_heard = False
        self._rest = 0  # sweeps until everybody may be looked at again
        self._postponed = False
        self._suspects: dict[str, None] = {}
        self._looking = False

    def __len__(self) -> int:
        """Accounts that are still to be looked at."""
        return len(self._suspects)

    def changed(self, username: str | None) -> None:
        """That account has changed; ``None``: any may have."""
        if username is None and self._rest > 0:
            self._postponed = True
            return
        if username is None:
            self._rest = ANY_EACH_SWEEPS
            self._suspects = dict.fromkeys(self._locations)
        elif self._locations.get(username):
            self._suspects[username] = None
        if username is None or len(self._heard) >= HEARD_MAX:
            self._any_heard = True
            self._heard.clear()
        elif not self._any_heard:
            self._heard.add(username)
        if self._calls.calls_begun_and_not_over() <= CALLS_FEW:
            self._sweep()
        else:
            self._begin()

    def sweep(self) -> None:
        """Each second: who is on the phone of those that changed; go on where the database was away."""
        self._rest = max(self._rest - 1, 0)
        if self._postponed and not self._rest:
            self._postponed = False
            self.changed(None)
            return
        self._sweep()

    def _sweep(self) -> None:
        if self._any_heard or self._heard:
            busy = set(self._calls.on_the_phone())
            self._suspects.update(dict.fromkeys(busy if self._any_heard else busy & self._heard))
            self._heard.clear()
            self._any_heard = False
        self._begin()

    def _begin(self) -> None:
        if self._suspects and not self._looking:
            self._looking = True
            Deferred.fromCoroutine(self._look()).addErrback(self._failed)

    async def _look(self) -> None:
        try:
            while self._suspects:
                names = [name for name, _ in zip(self._suspects, range(BATCH), strict=False)]
                for name in names:
                    del self._suspects[name]  # changed again meanwhile, it is looked at again
                try:
                    known = await gatherResults([self._find(name) for name in names], consumeErrors=True)
                except FirstError as error:
                    self._suspects.update(dict.fromkeys(names))
                    error.subFailure.raiseException()
                self._found(dict(zip(names, known, strict=True)))
        finally:
            self._looking = False

    def _find(self, name: str) -> "Deferred[Account | None]":
        async def ask() -> Account | None:
            found = await self._accounts.find(name)
            return found[0] if found is not None and found[0].enabled else None

        return Deferred.fromCoroutine(ask())

    def _found(self, accounts: Mapping[str, Account | None]) -> None:
        for name, count in self._calls.accounts_changed(accounts).items():
            self.log.info("{name} is disabled or gone: {count} calls ended", name=name, count=count)
        for name, account in accounts.items():
            if account is None and self._locations.get(name):
                self._remove(name)
                self.log.info("{name} is disabled or gone: its registrations ended", name=name)

    def _failed(self, failure: Failure) -> None:
        if failure.check(StoreBusy) is None:  # type: ignore[no-untyped-call]
            self.log.failure("accounts of registrations and calls could not be looked up", failure)
