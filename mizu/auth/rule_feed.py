"""Keeps a :class:`~mizu.auth.rules.RuleIndex` as the database has it, and its domain names resolved."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.auth.rules import RuleIndex
from mizu.errors import StoreBusy
from mizu.interfaces import IAuthRules, IClock
from mizu.model import AuthRule

#: A name is looked up again so often. The resolver keeps answers for their TTL, so that a new address is
#: seen so long after the TTL at the latest.
RESOLVE_S = 5.0
#: The last known addresses of a name that cannot be resolved are used for so long.
UNRESOLVED_S = 600.0
RESOLVING_MAX = 100  #: names looked up at a time


def _nobody(username: str | None) -> None:
    """Nobody keeps answers."""


@dataclass(slots=True)
class _Name:
    """A domain name, when to look it up again, and until when its last addresses hold."""

    due_s: float = 0.0
    good_until_s: float = 0.0
    under_way: bool = False


class RuleFeed:
    """
    :param rules: where rules are kept.
    :param resolve: the addresses of a domain name; empty: none found.
    :param forget: told the username of each account whose rule or addresses have changed.
    :param limit_name: the setting that is the index' limit.
    :param warns: whether the log says what in a rule can match nothing.
    """

    log = Logger()

    def __init__(
        self,
        rules: IAuthRules,
        index: RuleIndex,
        *,
        clock: IClock,
        resolve: Callable[[str], Awaitable[Sequence[str]]],
        forget: Callable[[str | None], None] = _nobody,
        limit_name: str = "rules_max",
        warns: bool = True,
    ) -> None:
        self.index = index
        self._rules = rules
        self._clock = clock
        self._resolve = resolve
        self._forget = forget
        self._limit_name = limit_name
        self._warns = warns
        self._dirty: set[str] = set()
        self._all_dirty = False
        self._waiting: list[Deferred[None]] | None = None  # for the load under way
        self._names: dict[str, _Name] = {}
        self._resolving = 0

    # ------------------------------------------------------------ rules

    async def prepare(self) -> None:
        """Read every rule, and ask for the addresses of their names. :raise StoreBusy:"""
        self._all_dirty = True
        await self.settle()
        self._resolve_names()

    def changed(self, username: str | None) -> None:
        """The rule of that account may be another now; ``None``: any may."""
        if username is None:
            self._all_dirty = True
        else:
            self._dirty.add(username)
        if self._waiting is None:
            self._settle_soon()

    async def settle(self) -> None:
        """Fires when everything that was changed is read. :raise StoreBusy: it cannot be read now."""
        while self._dirty or self._all_dirty or self._waiting is not None:
            if self._waiting is not None:
                loaded: Deferred[None] = Deferred()
                self._waiting.append(loaded)
                await loaded
            else:
                await self._load()

    @property
    def settled(self) -> bool:
        """Is everything read?"""
        return not self._dirty and not self._all_dirty and self._waiting is None

    def sweep(self) -> None:
        """Each second: try again what could not be read, look names up again."""
        if (self._dirty or self._all_dirty) and self._waiting is None:
            self._settle_soon()
        self._resolve_names()

    def _settle_soon(self) -> None:
        Deferred.fromCoroutine(self.settle()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(StoreBusy) is None:  # type: ignore[no-untyped-call]
            self.log.failure("rules of accounts could not be read", failure)

    async def _load(self) -> None:
        self._waiting = []
        names, self._dirty = self._dirty, set()
        everything, self._all_dirty = self._all_dirty, False
        error: Exception | None = None
        try:
            if everything:
                self._take_all(await self._rules.load())
            else:
                self._take(names, await self._rules.find(sorted(names)))
        except Exception as problem:
            error = problem
            self._dirty |= names
            self._all_dirty |= everything
        waiting, self._waiting = self._waiting, None
        for loaded in waiting:
            if error is None:
                loaded.callback(None)
            else:
                loaded.errback(error)
        if error is not None:
            raise error

    def _take_all(self, rules: Sequence[AuthRule]) -> None:
        self._told(self.index.replace_all(rules))
        if self.index.left_out:
            self.log.error(
                "{count} accounts are left out: {limit} is too low",
                count=self.index.left_out,
                limit=self._limit_name,
            )

    def _take(self, names: set[str], rules: Sequence[AuthRule]) -> None:
        found = {rule.username: rule for rule in rules}
        self._told([name for name in names if self.index.replace(name, found.get(name))])

    def _told(self, changed: Sequence[str]) -> None:
        for username in changed:
            self._forget(username)
            for problem in self.index.problems.get(username, ()) if self._warns else ():
                self.log.warn("account {username}: {problem}", username=username, problem=problem)
        if changed:
            self._resolve_names()

    # ------------------------------------------------------------ names

    def _resolve_names(self) -> None:
        wanted = self.index.names()
        if not wanted and not self._names:
            return
        for gone in self._names.keys() - set(wanted):
            if not self._names[gone].under_way:
                del self._names[gone]
        now_s = self._clock.mono_s()
        for name in wanted:
            state = self._names.setdefault(name, _Name())
            if not state.under_way and state.due_s <= now_s and self._resolving < RESOLVING_MAX:
                state.under_way = True
                self._resolving += 1
                Deferred.fromCoroutine(self._resolve_one(name, state)).addErrback(self._failed)

    async def _resolve_one(self, name: str, state: _Name) -> None:
        try:
            addresses = await self._resolve(name)
        finally:
            state.under_way = False
            self._resolving -= 1
            now_s = self._clock.mono_s()
            state.due_s = now_s + RESOLVE_S
        if addresses:
            state.good_until_s = now_s + UNRESOLVED_S
        elif now_s < state.good_until_s:
            return  # the last ones hold for a while
        for username in self.index.resolved(name, addresses):
            self._forget(username)
