"""Who fails too often: offences counted per address, per user agent and per account, and what follows. Pure.

An offence is *proven* when its sender is certainly at the address it came from: he answered a challenge that
was sent there, or has a connection from there. Others may be forged: they are counted apart, so that forged
senders cannot fill the table of real ones, and what follows from them is short and concerns one address.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mizu.guard.counts import WindowCounts
from mizu.guard.rules import Rules
from mizu.targets import Target, target_of

USERNAME_MAX_CHARACTERS = 255


class Offence(StrEnum):
    """What can be held against a sender; the words are those of the ban's reason."""

    WRONG_PASSWORD = "wrong password"  # noqa: S105 - a reason
    UNANSWERED = "unauthenticated requests"  #: challenged, and never answered
    MALFORMED = "malformed messages"
    UNKNOWN_NUMBER = "unknown numbers"
    USELESS = "requests that belong to nothing"  #: refused whoever sends them: no dialog, no such method...
    OPTIONS = "too many OPTIONS"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Somebody is to be banned."""

    target: Target
    first_s: float  #: for so long the first time; doubled each time after it
    most_s: float
    reason: str
    proven: bool


@dataclass(frozen=True, slots=True)
class Failures:
    """A line of what is being counted, for operators."""

    what: str  #: ``address``, ``numbers`` or ``options`` (both of an address), ``agent`` or ``account``
    who: str
    count: int
    left_s: float  #: until the window ends
    proven: bool


class Watch:
    """
    Counts, and says when it is enough.

    :param limit: senders of each kind, and accounts, counted at a time.
    """

    def __init__(self, rules: Rules, limit: int = 50_000) -> None:
        self.rules = rules
        self._limit = limit
        self._agents: WindowCounts[tuple[str, int]] = WindowCounts(limit)
        self._accounts: WindowCounts[str] = WindowCounts(limit)
        self._next_try_s: dict[str, float] = {}
        #: by whether they are proven
        self._addresses: dict[bool, WindowCounts[str]] = {
            False: WindowCounts(limit),
            True: WindowCounts(limit),
        }
        self._unanswered: dict[bool, WindowCounts[str]] = {
            False: WindowCounts(limit),
            True: WindowCounts(limit),
        }
        self._numbers: dict[bool, WindowCounts[str]] = {False: WindowCounts(limit), True: WindowCounts(limit)}
        self._useless: WindowCounts[str] = WindowCounts(limit)  # proven; the others are with _addresses
        self._options: dict[bool, WindowCounts[str]] = {False: WindowCounts(limit), True: WindowCounts(limit)}
        self.noted: dict[Offence, int] = dict.fromkeys(Offence, 0)  #: since the start

    def note(
        self, offence: Offence, host: str, port: int, now_s: float, *, proven: bool, known: bool
    ) -> Verdict | None:
        """
        Count one offence.

        :param host: numeric, normalized.
        :param now_s: monotonic.
        :param known: a trunk, or where somebody was authenticated lately: ``known_factor`` times as many.
        :return: whom to ban, when this was one too many.
        """
        self.noted[offence] += 1
        rules = self.rules
        factor = rules.known_factor if known else 1
        key = _sender(host)
        if offence is Offence.UNKNOWN_NUMBER:
            count = self._numbers[proven].add(key, now_s, rules.address_window_s)
            return self._verdict(host, 0, offence, proven, count, rules.number_fails * factor)
        if offence is Offence.OPTIONS:
            count = self._options[proven].add(key, now_s, rules.address_window_s)
            return self._verdict(host, 0, offence, proven, count, rules.options_fails * factor)
        if offence is Offence.USELESS and proven:
            # What is left of the calls of a PBX when we were restarted, before it has registered again.
            count = self._useless.add(key, now_s, rules.address_window_s)
            return self._verdict(host, 0, offence, proven, count, rules.address_fails * rules.known_factor)
        if offence is Offence.WRONG_PASSWORD and proven:
            count = self._agents.add((host, port), now_s, rules.agent_window_s)
            if 0 < rules.agent_fails * factor <= count:
                self._agents.forget((host, port))
                self._addresses[True].add(key, now_s, rules.address_window_s)
                target = target_of(host, port)
                return Verdict(target, rules.agent_ban_s, rules.ban_most_s, offence.value, True)
        table = (self._unanswered if offence is Offence.UNANSWERED else self._addresses)[proven]
        table.add(key, now_s, rules.address_window_s)
        count = self._addresses[proven].get(key, now_s) + self._unanswered[proven].get(key, now_s)
        return self._verdict(host, 0, offence, proven, count, rules.address_fails * factor)

    def _verdict(
        self, host: str, port: int, offence: Offence, proven: bool, count: int, threshold: int
    ) -> Verdict | None:
        if not 0 < threshold <= count:
            return None
        key, rules = _sender(host), self.rules
        for tables in self._of_addresses():
            tables[proven].forget(key)
        if proven:
            self._useless.forget(key)
        if proven:
            return Verdict(target_of(host), rules.address_ban_s, rules.ban_most_s, offence.value, True)
        short_s = min(rules.unproven_ban_s, rules.address_ban_s)
        return Verdict(target_of(host), short_s, short_s, offence.value, False) if short_s else None

    def _of_addresses(self) -> Iterator[dict[bool, WindowCounts[str]]]:
        yield from (self._addresses, self._unanswered, self._numbers, self._options)

    def accepted(self, host: str) -> None:
        """Somebody there answered a challenge rightly: what he sent before he was let in was no offence."""
        if len(self._unanswered[False]) or len(self._unanswered[True]) or len(self._useless):
            key = _sender(host)
            self._unanswered[False].forget(key)
            self._unanswered[True].forget(key)
            self._useless.forget(key)

    def answered(self, host: str) -> None:
        """Somebody there answered a challenge wrongly: that is counted as such, not as no answer."""
        for table in self._unanswered.values():
            table.take_back(_sender(host))

    # ------------------------------------------------------------ accounts

    def account_failed(self, username: str, now_s: float) -> None:
        """A wrong password for this account, whether it exists or not, wherever it came from."""
        if self.rules.account_fails:
            self._accounts.add(username[:USERNAME_MAX_CHARACTERS], now_s, self.rules.account_window_s)

    def is_slowed(self, username: str, now_s: float) -> bool:
        """Are passwords of this account being guessed, so that it may only be tried at a pace?"""
        threshold = self.rules.account_fails
        if not threshold or not len(self._accounts):
            return False
        return self._accounts.get(username[:USERNAME_MAX_CHARACTERS], now_s) >= threshold

    def next_try_in_s(self, username: str, now_s: float) -> float:
        """When the next password may be checked for an account that is slowed down, seconds; 0: now."""
        return max(0.0, self._next_try_s.get(username[:USERNAME_MAX_CHARACTERS], 0.0) - now_s)

    def may_try(self, username: str, now_s: float) -> bool:
        """May one more password be checked for an account that is slowed down? Takes the turn."""
        name = username[:USERNAME_MAX_CHARACTERS]
        if now_s < self._next_try_s.get(name, 0.0):
            return False
        if len(self._next_try_s) >= self._limit:
            self._next_try_s = {key: at_s for key, at_s in self._next_try_s.items() if at_s > now_s}
            if len(self._next_try_s) >= self._limit:
                return False
        self._next_try_s[name] = now_s + self.rules.account_pause_s
        return True

    # ------------------------------------------------------------ for operators

    def forget(self, target: Target | None) -> None:
        """What was counted about a sender is forgotten; ``None``: about all, accounts too."""
        if target is not None:
            for tables in self._of_addresses():
                tables[True].forget(_sender(target.host))
                tables[False].forget(_sender(target.host))
            self._useless.forget(_sender(target.host))
            self._agents.forget((target.host, target.port))
            return
        for tables in self._of_addresses():
            tables[True].clear()
            tables[False].clear()
        self._useless.clear()
        self._accounts.clear()
        self._agents.clear()
        self._next_try_s.clear()

    def failures(self, now_s: float) -> Iterator[Failures]:
        """Everything that is being counted."""
        for proven in (True, False):
            for what, tables in (
                ("address", self._addresses),
                ("address", self._unanswered),
                ("numbers", self._numbers),
                ("options", self._options),
            ):
                for host, count, left_s in tables[proven].live(now_s):
                    yield Failures(what, host, count, left_s, proven)
        for host, count, left_s in self._useless.live(now_s):
            yield Failures("address", host, count, left_s, True)
        for (host, port), count, left_s in self._agents.live(now_s):
            yield Failures("agent", target_of(host, port).text, count, left_s, True)
        for name, count, left_s in self._accounts.live(now_s):
            yield Failures("account", name, count, left_s, True)

    def counts(self) -> dict[str, int]:
        """Figures for status and metrics."""
        shown = {f"noted_{offence.name.lower()}": count for offence, count in self.noted.items()}
        watched = sum(len(tables[True]) + len(tables[False]) for tables in self._of_addresses())
        shown["watched"] = watched + len(self._useless) + len(self._agents)
        shown["accounts_watched"] = len(self._accounts)
        return shown


def _sender(host: str) -> str:
    """What counts as one sender."""
    return host if ":" not in host else target_of(host).text
