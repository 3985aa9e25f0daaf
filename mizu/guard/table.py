"""Is this address in the list? At a price that does not depend on the size of the list. Pure."""

from socket import AF_INET, AF_INET6, inet_pton

from mizu.targets import Target


class AddressTable:
    """
    A set of addresses, networks and ranges, IPv4 and IPv6, asked with ``host in table``.

    Single IPv4 addresses are in a dict by their text, which is how the system gives them. Everything else is
    in a dict for each prefix length in use: a look-up tries those lengths, 33 or 129 at most and in practice
    two or three, however many networks there are. Targets may overlap; each is removed by itself.
    """

    __slots__ = ("_hosts", "_nets", "_targets")

    def __init__(self) -> None:
        self._targets: set[Target] = set()
        self._hosts: set[str] = set()
        #: version to shift to (number >> shift) to how many targets have it
        self._nets: dict[int, dict[int, dict[int, int]]] = {4: {}, 6: {}}

    def add(self, target: Target) -> None:
        """Put it in; twice is once. Ports are not looked at."""
        if target in self._targets:
            return
        self._targets.add(target)
        if target.version == 4 and target.first == target.last:
            self._hosts.add(target.host)
            return
        nets = self._nets[target.version]
        for shift, number in target.prefixes():
            row = nets.setdefault(shift, {})
            row[number] = row.get(number, 0) + 1

    def remove(self, target: Target) -> None:
        """Take it out; nothing happens when it is not there."""
        if target not in self._targets:
            return
        self._targets.remove(target)
        if target.version == 4 and target.first == target.last:
            self._hosts.discard(target.host)
            return
        nets = self._nets[target.version]
        for shift, number in target.prefixes():
            row = nets[shift]
            row[number] -= 1
            if not row[number]:
                del row[number]
            if not row:
                del nets[shift]

    def clear(self) -> None:
        """Take everything out."""
        self._targets.clear()
        self._hosts.clear()
        self._nets = {4: {}, 6: {}}

    def __contains__(self, host: object) -> bool:
        if not self._targets:  # the usual state of most tables, asked for every datagram
            return False
        if host in self._hosts:
            return True
        assert isinstance(host, str)
        nets = self._nets
        if ":" not in host:
            return bool(nets[4]) and self._covered(AF_INET, 4, host)
        return self._covered(AF_INET6, 6, host.partition("%")[0])

    def _covered(self, family: int, version: int, host: str) -> bool:
        try:
            number = int.from_bytes(inet_pton(family, host), "big")
        except OSError:
            return False
        if version == 6 and number >> 32 == 0xFFFF:
            number &= 0xFFFF_FFFF
            version = 4
        for shift, row in self._nets[version].items():
            if number >> shift in row:
                return True
        return version == 4 and family == AF_INET6 and _dotted(number) in self._hosts

    def __len__(self) -> int:
        """Targets in it."""
        return len(self._targets)


def _dotted(number: int) -> str:
    return ".".join(str(number >> shift & 0xFF) for shift in (24, 16, 8, 0))
