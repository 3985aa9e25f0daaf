"""The ban list of one node in memory: what is banned now, until when, and how often it has been. Pure."""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from mizu.guard.table import AddressTable
from mizu.targets import Target, network_of

GUARD = "guard"  #: who bans when no operator does


@dataclass(frozen=True, slots=True)
class Ban:
    """One entry. Times are wall clock seconds, so that nodes and restarts agree on them."""

    target: Target
    reason: str
    by: str  #: :data:`GUARD`, or the operator's name
    begun_s: float
    until_s: float  #: ``inf``: until somebody ends it
    times: int = 1  #: which ban in a row this is
    proven: bool = True  #: false: the sender's address may be forged; short, of this node only, not kept

    @property
    def learned(self) -> bool:
        """Made by the guard, not by an operator."""
        return self.by == GUARD


def _nobody_cares(ban: Ban) -> None:
    """Nobody is told."""


class BanList:
    """
    Bans by their target's text. Three tables stand for them in front of the parser: :attr:`addresses`,
    :attr:`doubtful` (senders who never proved that they are there) and :attr:`agents` (host and port).

    :param limit: most bans, and most doubtful ones. When it is reached the ban that ends first makes room;
        a doubtful one is not taken at all.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._bans: dict[str, Ban] = {}
        self._ends: list[tuple[float, str]] = []
        self._past: OrderedDict[str, tuple[int, float]] = (
            OrderedDict()
        )  # text: times, until when that is remembered
        self.addresses = AddressTable()
        self.doubtful = AddressTable()
        self.agents: set[tuple[str, int]] = set()
        #: told of a ban that had to make room for another one
        self.on_evicted: Callable[[Ban], None] = _nobody_cares
        self._in_network: dict[Target, set[str]] = {}
        self._network_of: dict[str, Target] = {}

    def __len__(self) -> int:
        return len(self._bans)

    def get(self, target: Target) -> Ban | None:
        """The ban of exactly this target."""
        return self._bans.get(target.text)

    def all(self) -> list[Ban]:
        """Every ban, those that end last first."""
        return sorted(self._bans.values(), key=lambda ban: (-ban.until_s, ban.target.text))

    def covering(self, host: str, port: int = 0) -> list[Ban]:
        """Every ban that keeps this sender out."""
        return [
            ban
            for ban in self.all()
            if host in ban.target and ban.target.port in (0, port or ban.target.port)
        ]

    def times(self, target: Target, now_s: float) -> int:
        """How often it was banned in a row, the ban that holds now included."""
        ban = self._bans.get(target.text)
        if ban is not None:
            return ban.times
        times, until_s = self._past.get(target.text, (0, 0.0))
        return times if now_s < until_s else 0

    def add(self, ban: Ban) -> bool:
        """
        Put a ban in, or make the one of the same target last longer. An operator's replaces any.

        :return: false: nothing changed.
        """
        text = ban.target.text
        old = self._bans.get(text)
        if old is not None:
            if ban.learned and (not old.learned or (old.until_s >= ban.until_s and old.proven >= ban.proven)):
                return False
            self._take_out(old)
        elif not ban.proven and len(self.doubtful) >= self._limit:
            return False
        elif ban.proven and len(self._bans) - len(self.doubtful) >= self._limit:
            self._make_room()
        self._bans[text] = ban
        if ban.until_s != inf:
            heapq.heappush(self._ends, (ban.until_s, text))
        target = ban.target
        if target.port:
            self.agents.add((target.host, target.port))
        elif ban.proven:
            self.addresses.add(target)
        else:
            self.doubtful.add(target)
        return True

    def remove(self, target: Target) -> Ban | None:
        """End a ban and forget that it was. :return: it; ``None``: there was none."""
        self._past.pop(target.text, None)
        ban = self._bans.get(target.text)
        if ban is not None:
            self._take_out(ban)
        return ban

    def end_doubt(self, target: Target) -> None:
        """The ban of this target ends if it is one in doubt."""
        ban = self._bans.get(target.text)
        if ban is not None and not ban.proven:
            self._take_out(ban)

    def clear(self) -> int:
        """End all, forget all. :return: how many there were."""
        count = len(self._bans)
        for ban in list(self._bans.values()):
            self._take_out(ban)
        self._past.clear()
        self._ends.clear()
        return count

    def expire(self, now_s: float, remember_s: float, limit: int = 1000) -> list[Ban]:
        """
        End what has run out; call it every second.

        :param remember_s: a target banned again within this time is banned for longer.
        :param limit: most bans ended at once.
        """
        over: list[Ban] = []
        while self._ends and self._ends[0][0] <= now_s and len(over) < limit:
            until_s, text = heapq.heappop(self._ends)
            ban = self._bans.get(text)
            if ban is None or ban.until_s != until_s:
                continue  # ended by somebody, or made longer
            self._take_out(ban)
            if ban.proven:
                self.remember(ban.target, ban.times, until_s + remember_s)
            over.append(ban)
        return over

    def remember(self, target: Target, times: int, until_s: float) -> None:
        """A ban that is over counts until then, should it be needed again."""
        self._past.pop(target.text, None)
        self._past[target.text] = (times, until_s)
        while len(self._past) > self._limit:
            del self._past[next(iter(self._past))]

    def replace(self, bans: Iterable[Ban]) -> tuple[list[Ban], list[Ban]]:
        """
        What the database holds, all of it. Doubtful bans are this node's own and stay.

        :return: bans that are new, and those that are gone.
        """
        wanted = {ban.target.text: ban for ban in bans}
        gone = [ban for text, ban in self._bans.items() if ban.proven and wanted.get(text) != ban]
        for ban in gone:
            self._take_out(ban)
        new = [ban for text, ban in wanted.items() if self._bans.get(text) != ban]
        for ban in new:
            old = self._bans.get(ban.target.text)
            if old is not None:
                self._take_out(old)
            self.add(ban)
        return new, gone

    def network_is_bad(self, target: Target, prefix4: int, prefix6: int, threshold: int) -> Target | None:
        """
        Count one banned address for its network.

        :param threshold: 0: networks are never banned.
        :return: the network, when so many of its addresses are banned now and it is not itself.
        """
        prefix = prefix4 if target.version == 4 else prefix6
        if threshold <= 0 or target.port or target.last - target.first >= 1 << 64:
            return None
        network = network_of(target, prefix)
        if network.text in self._bans or network.text == target.text:
            return None
        row = self._in_network.setdefault(network, set())
        row.add(target.text)
        self._network_of[target.text] = network
        return network if len(row) >= threshold else None

    def counts(self) -> dict[str, int]:
        """Figures for status and metrics."""
        return {
            "bans": len(self._bans),
            "addresses": len(self.addresses),
            "agents": len(self.agents),
            "doubtful": len(self.doubtful),
        }

    def _take_out(self, ban: Ban) -> None:
        text, target = ban.target.text, ban.target
        del self._bans[text]
        if target.port:
            self.agents.discard((target.host, target.port))
        else:
            (self.addresses if ban.proven else self.doubtful).remove(target)
        network = self._network_of.pop(text, None)
        if network is not None:
            row = self._in_network[network]
            row.discard(text)
            if not row:
                del self._in_network[network]

    def _make_room(self) -> None:
        """The learned ban that ends first goes."""
        while self._ends:
            until_s, text = heapq.heappop(self._ends)
            ban = self._bans.get(text)
            if ban is not None and ban.until_s == until_s and ban.proven:
                self._take_out(ban)
                self.on_evicted(ban)
                return
