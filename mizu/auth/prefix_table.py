"""Networks to what belongs to them, found by address in as many steps for ten of them as for ten thousand.

One dictionary for each length of network in use: an address is looked up once in each, 33 times at most for
IPv4 and 129 times for IPv6, whatever the number of networks.
"""

from ipaddress import IPv4Address, ip_address
from typing import Generic, TypeVar

from mizu.accounts.addresses import Network, unmapped

T = TypeVar("T")

_BITS = {4: 32, 6: 128}


class PrefixTable(Generic[T]):
    """Several values may belong to one network, and networks may overlap."""

    __slots__ = ("_count", "_families", "steps")

    def __init__(self) -> None:
        # Version -> bits to shift an address right -> the network's bits -> values.
        self._families: dict[int, dict[int, dict[int, list[T]]]] = {4: {}, 6: {}}
        self._count = 0
        self.steps = 0  #: dictionary look-ups made in all, for tests of the claim above

    def __len__(self) -> int:
        return self._count

    def add(self, network: Network, value: T) -> None:
        """The value belongs to that network, too."""
        shift = _BITS[network.version] - network.prefixlen
        level = self._families[network.version].setdefault(shift, {})
        level.setdefault(int(network.network_address) >> shift, []).append(value)
        self._count += 1

    def remove(self, network: Network, value: T) -> None:
        """Undo one :meth:`add`. :raise KeyError: there was none."""
        family = self._families[network.version]
        shift = _BITS[network.version] - network.prefixlen
        bits = int(network.network_address) >> shift
        values = family[shift][bits]
        if value not in values:
            raise KeyError(network)
        values.remove(value)
        self._count -= 1
        if not values:
            del family[shift][bits]
            if not family[shift]:
                del family[shift]

    def find(self, host: str) -> list[T]:
        """Everything whose network contains this address; nothing for a text that is no address."""
        if not self._count:
            return []
        try:
            address = unmapped(ip_address(host))
        except ValueError:
            return []
        family = self._families[4 if isinstance(address, IPv4Address) else 6]
        self.steps += len(family)
        bits = int(address)
        found: list[T] = []
        for shift, level in family.items():
            values = level.get(bits >> shift)
            if values is not None:
                found += values
        return found
