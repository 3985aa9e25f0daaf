"""Registrations of accounts that are deleted or disabled end, on every node, wherever that was done."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.errors import StoreBusy
from mizu.interfaces import IAccountStore
from mizu.switch.location import LocationTable

#: Accounts looked up at a time.
BATCH = 200


class Departures:
    """
    :param locations: who is registered here.
    :param remove: ends the registrations of an account.
    """

    log = Logger()

    def __init__(
        self, accounts: IAccountStore, locations: LocationTable, remove: Callable[[str], object]
    ) -> None:
        self._accounts = accounts
        self._locations = locations
        self._remove = remove
        self._suspects: dict[str, None] = {}
        self._looking = False

    def __len__(self) -> int:
        """Accounts that are still to be looked at."""
        return len(self._suspects)

    def changed(self, username: str | None) -> None:
        """That account has changed; ``None``: any may have."""
        if username is None:
            self._suspects = dict.fromkeys(self._locations)
        elif self._locations.get(username):
            self._suspects[username] = None
        self.sweep()

    def sweep(self) -> None:
        """Each second: go on where the database was away."""
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
                    known = await gatherResults([self._enabled(name) for name in names], consumeErrors=True)
                except FirstError as error:
                    self._suspects.update(dict.fromkeys(names))
                    error.subFailure.raiseException()
                for name, enabled in zip(names, known, strict=True):
                    if not enabled and self._locations.get(name):
                        self._remove(name)
                        self.log.info("{name} is disabled or gone: its registrations ended", name=name)
        finally:
            self._looking = False

    def _enabled(self, name: str) -> "Deferred[bool]":
        async def ask() -> bool:
            found = await self._accounts.find(name)
            return found is not None and found[0].enabled

        return Deferred.fromCoroutine(ask())

    def _failed(self, failure: Failure) -> None:
        if failure.check(StoreBusy) is None:  # type: ignore[no-untyped-call]
            self.log.failure("accounts of registrations could not be looked up", failure)
