"""Addresses from which somebody was authenticated lately. Pure: times are passed in."""

from collections import OrderedDict

from mizu.errors import BadRequest
from mizu.targets import Target, network_of, target_of

_SWEEP = 500  # entries looked at a second


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
        self._networks: dict[Target, int] = {}  # /24s and /48s to how many known hosts they have

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
        return any(
            one.version == network.version and one.first <= network.last and network.first <= one.last
            for one in self._networks
        )

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


def _network(host: str) -> Target | None:
    try:
        target = target_of(host)
    except BadRequest:
        return None
    return network_of(target, 24 if target.version == 4 else 48)
