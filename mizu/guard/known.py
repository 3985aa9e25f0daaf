"""Addresses from which somebody was authenticated lately. Pure: times are passed in."""

from collections import OrderedDict

from mizu.errors import BadRequest
from mizu.targets import Target, target_of

_SWEEP = 500  # entries looked at a second
_SHIFT = {4: 8, 6: 80}  # networks are counted as /24s and /48s: bits of an address below them
_Network = tuple[int, int]  # version, and the number above those bits


class KnownHosts:
    """
    Hosts with the time until which they are known. Only who was authenticated comes in, so nobody else can
    fill it; at the limit new ones are not taken.

    :param limit: most hosts.
    """

    __slots__ = ("_limit", "_networks", "_until_s")

    def __init__(self, limit: int = 500_000) -> None:
        self._limit = limit
        self._until_s: OrderedDict[str, float] = OrderedDict()
        self._networks: dict[_Network, int] = {}  # to how many known hosts they have

    def add(self, host: str, until_s: float) -> None:
        """Known until then. The usual case, a host that is known already, costs one assignment."""
        table = self._until_s
        if host not in table:
            if len(table) >= self._limit:
                return
            network = _network(host)
            if network is not None:
                self._networks[network] = self._networks.get(network, 0) + 1
        table[host] = until_s

    def has(self, host: str, now_s: float) -> bool:
        """Is this host known now?"""
        return self._until_s.get(host, 0.0) > now_s

    def near(self, network: Target) -> bool:
        """May there be known hosts in this network? Looks at whole /24s and /48s, so it errs to yes."""
        version, shift = network.version, _SHIFT[network.version]
        first, last = network.first >> shift, network.last >> shift
        if last - first < len(self._networks):
            return any((version, number) in self._networks for number in range(first, last + 1))
        return any(one == version and first <= number <= last for one, number in self._networks)

    def sweep(self, now_s: float) -> None:
        """Forget some of those that are not known any more; call it every second."""
        table = self._until_s
        for _ in range(min(_SWEEP, len(table))):
            host = next(iter(table))
            until_s = table.pop(host)
            if until_s > now_s:
                table[host] = until_s  # to the end of the queue
                continue
            network = _network(host)
            if network is not None:
                self._networks[network] -= 1
                if not self._networks[network]:
                    del self._networks[network]

    def __len__(self) -> int:
        return len(self._until_s)


def _network(host: str) -> _Network | None:
    try:
        target = target_of(host)
    except BadRequest:
        return None
    return target.version, target.first >> _SHIFT[target.version]
