"""Addresses of trunks, SIP servers and senders of traffic, by who has them. Pure."""

from collections.abc import Iterable

from mizu.guard.table import AddressTable
from mizu.targets import WIDEST, Target


class PeerTable(AddressTable):
    """
    An :class:`~mizu.guard.table.AddressTable` whose targets belong to somebody: each leaves the table with
    the last one who has it.

    :param limit: most targets; more are left out, and :attr:`left_out` counts them.
    """

    __slots__ = ("_holders", "_limit", "_of", "left_out")

    def __init__(self, limit: int = 200_000) -> None:
        super().__init__()
        self._limit = limit
        self._of: dict[str, frozenset[Target]] = {}
        self._holders: dict[Target, int] = {}
        self.left_out = 0  #: since the start

    def put(self, holder: str, targets: Iterable[Target]) -> None:
        """
        From now on that holder has these targets and no others; none: it is forgotten. What is wider than a
        ban may be is left out: more would be known by it than any partner has.
        """
        before, after = self._of.pop(holder, frozenset()), set()
        for target in frozenset(targets):
            fits = (
                target.last - target.first
                < 1 << (32 if target.version == 4 else 128) - WIDEST[target.version]
            )
            if fits and (target in self._holders or len(self._holders) < self._limit):
                after.add(target)
                if target not in before:
                    self._holders[target] = self._holders.get(target, 0) + 1
                    self.add(target)
            else:
                self.left_out += 1
        for target in before - after:
            self._holders[target] -= 1
            if not self._holders[target]:
                del self._holders[target]
                self.remove(target)
        if after:
            self._of[holder] = frozenset(after)

    def near(self, network: Target) -> bool:
        """Is one of them in this network?"""
        return any(
            one.version == network.version and one.first <= network.last and network.first <= one.last
            for one in self._holders
        )
