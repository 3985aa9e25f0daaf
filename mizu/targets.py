"""Addresses, networks and ranges as people write them: ``192.0.2.7``, ``192.0.2.0/24``,
``192.0.2.5-192.0.2.90``, ``192.0.2.5-90``, ``10.1.*.*``, ``[2001:db8::1]:5060``. IPv4 addresses mapped into
IPv6 are taken as the IPv4 addresses they are. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range

from mizu.errors import BadRequest

#: The last IPv6 number before ``::ffff:0:0``; mapped IPv4 addresses are the 32 bits above.
_MAPPED = 0xFFFF << 32
_BITS = {4: 32, 6: 128}

#: Widest network that one ban or one entry of the white list may have, bits: more is a slip of the finger.
WIDEST = {4: 8, 6: 16}


def normal_host(host: str) -> str:
    """A numeric address in the one spelling that tables use: no scope, no mapped IPv4. Else unchanged."""
    if ":" not in host:
        return host
    try:
        address: IPv4Address | IPv6Address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    assert isinstance(address, IPv6Address)
    return str(address.ipv4_mapped or address)


@dataclass(frozen=True)
class Target:
    """What a ban or an entry of the white list is about. Two with the same ``text`` are the same."""

    version: int  #: 4 or 6
    first: int
    last: int
    port: int = 0  #: one user agent behind a single address; 0: all of it

    @cached_property
    def text(self) -> str:
        """The shortest exact spelling."""
        first, last = self._address(self.first), self._address(self.last)
        if self.port:
            return f"[{first}]:{self.port}" if self.version == 6 else f"{first}:{self.port}"
        if self.first == self.last:
            return str(first)
        size = self.last - self.first + 1
        if size & (size - 1) == 0 and self.first % size == 0:
            return f"{first}/{_BITS[self.version] - size.bit_length() + 1}"
        return f"{first}-{last}"

    @property
    def host(self) -> str:
        """The address; of a network its first one."""
        return str(self._address(self.first))

    @property
    def is_address(self) -> bool:
        """One whole address."""
        return self.first == self.last and not self.port

    def prefixes(self) -> Iterator[tuple[int, int]]:
        """The fewest (shift, number >> shift) that are exactly these addresses."""
        ends: tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]
        if self.version == 4:
            ends = (IPv4Address(self.first), IPv4Address(self.last))
        else:
            ends = (IPv6Address(self.first), IPv6Address(self.last))
        for network in summarize_address_range(*ends):
            shift = network.max_prefixlen - network.prefixlen
            yield shift, int(network.network_address) >> shift

    def __contains__(self, host: str) -> bool:
        """Is that address among these? Slow; tables have :class:`mizu.guard.table.AddressTable`."""
        try:
            address = ip_address(normal_host(host))
        except ValueError:
            return False
        return address.version == self.version and self.first <= int(address) <= self.last

    def __str__(self) -> str:
        return self.text

    def _address(self, number: int) -> IPv4Address | IPv6Address:
        return IPv4Address(number) if self.version == 4 else IPv6Address(number)


def parse_target(text: str) -> Target:
    """
    Read an address, ``address:port``, a network or a range.

    A network may be given by any of its addresses: ``192.0.2.7/24`` is ``192.0.2.0/24``.

    :raise BadRequest: says what is wanted.
    """
    words = text.strip()
    try:
        if "/" in words:
            return _normal(*_network(words))
        if "*" in words:
            return _normal(*_network(_whole_bytes(words)))
        if "-" in words:
            low, high = (end.strip() for end in words.split("-", 1))
            if high.isdigit() and "." in low:  # 192.0.2.5-90
                high = f"{low.rpartition('.')[0]}.{high}"
            first, last = ip_address(low), ip_address(high)
            if first.version != last.version or int(first) > int(last):
                raise ValueError("the ends of the range")
            return _normal(first.version, int(first), int(last))
        if words.startswith("[") or words.count(":") == 1:
            host, _, port = words.rpartition(":")
            number = int(port) if port.isascii() and port.isdigit() else 0
            if not 0 < number < 65_536:
                raise ValueError("the port")
            one = ip_address(host.removeprefix("[").removesuffix("]"))
            return _normal(one.version, int(one), int(one), number)
        one = ip_address(words.partition("%")[0])
        return _normal(one.version, int(one), int(one))
    except ValueError:
        raise BadRequest(
            f"want an address, a network such as 192.0.2.0/24 or 2001:db8::/48, a range such as "
            f"192.0.2.5-192.0.2.90, or address:port; got {text[:80]!r}"
        ) from None


def target_of(host: str, port: int = 0) -> Target:
    """
    What is banned when this sender misbehaves: his IPv4 address, or the /64 that an IPv6 customer has to
    himself; with ``port`` only the user agent there.

    :raise BadRequest: not a numeric address.
    """
    one = parse_target(host)
    if port:
        return Target(one.version, one.first, one.last, port)
    return one if one.version == 4 else network_of(one, 64)


def refuse_too_wide(target: Target) -> None:
    """:raise BadRequest: more addresses than one ban may have."""
    bits = WIDEST[target.version]
    if target.last - target.first >= 1 << (_BITS[target.version] - bits):
        raise BadRequest(f"{target.text} is wider than a /{bits}; give its parts when that is meant")


def network_of(target: Target, prefix: int) -> Target:
    """The network of so many bits around the first address of ``target``."""
    shift = max(0, _BITS[target.version] - prefix)
    first = target.first >> shift << shift
    return Target(target.version, first, first + (1 << shift) - 1)


def _whole_bytes(words: str) -> str:
    """``10.1.*.*`` and ``10.1.*`` as a network: bytes, then only stars. :raise ValueError: something else."""
    parts = words.split(".")
    given = [part for part in parts if part != "*"]
    if parts[: len(given)] != given or len(parts) > 4 or not given:
        raise ValueError(words)
    return f"{'.'.join([*given, *['0'] * (4 - len(given))])}/{8 * len(given)}"


def _network(words: str) -> tuple[int, int, int]:
    network = ip_network(words, strict=False)
    return network.version, int(network.network_address), int(network.broadcast_address)


def _normal(version: int, first: int, last: int, port: int = 0) -> Target:
    """Mapped IPv4 becomes IPv4."""
    if version == 6 and first >> 32 == 0xFFFF and last >> 32 == 0xFFFF:
        return Target(4, first - _MAPPED, last - _MAPPED, port)
    return Target(version, first, last, port)
