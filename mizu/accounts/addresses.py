"""How an address, a range of addresses or a name is written in an account's list of addresses. Pure.

``192.0.2.7``, ``192.0.2.7:5060``, ``[2001:db8::1]:5060``, ``192.0.2.7 port 5060``, ``sip.example.com``,
``sip.example.com:5080``, ``192.0.2.0/24``, ``192.0.2.10-192.0.2.20``, ``192.0.2.10-20``, ``10.1.*.*``.
IPv4-mapped IPv6 addresses are the IPv4 addresses they carry.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)

from mizu.errors import BadRequest

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ENTRIES_MAX = 1000  #: addresses of one account
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_name_ok = re.compile(rf"(?=.{{1,253}}\Z)(?!(?:.*\.)?\d+\.?\Z){_LABEL}(?:\.{_LABEL})*\.?\Z")
_with_port = re.compile(r"(?P<host>.+?)(?: port |:)(?P<port>[0-9]{1,5})\Z")


@dataclass(frozen=True, slots=True)
class AddressEntry:
    """One entry of an account's list, read."""

    text: str
    networks: tuple[Network, ...] = ()  #: none for a name
    name: str = ""  #: a domain name, lower case; its addresses are asked from DNS
    is_range: bool = False  #: more than one address: only for the auth types of ranges
    port: int = 0  #: 0: none given


@dataclass(frozen=True, slots=True)
class FurtherAddress:
    """An address that an account sends from besides those of its field ``auth_ip``."""

    address: str  #: as :func:`written` writes it
    port: int = 0  #: it sends from, for auth type 6; 0: that of the account
    note: str = ""  #: for people


def parse_entry(text: str) -> AddressEntry:
    """:raise BadRequest: says what it can be."""
    word = text.strip().lower()
    host, port = _split_port(word)
    try:
        networks, is_range = _networks(host)
    except ValueError:
        if not _name_ok.match(host):
            raise BadRequest(
                f"{text[:80]!r} is no address: want 192.0.2.7, 192.0.2.7:5060, a domain name, 192.0.2.0/24, "
                "192.0.2.10-192.0.2.20 or 10.1.*.*"
            ) from None
        return AddressEntry(text, name=host.rstrip("."), port=port)
    return AddressEntry(text, networks, is_range=is_range, port=port)


def written(entry: AddressEntry) -> str:
    """The one spelling, without port, of everything that means the same; :func:`parse_entry` reads it."""
    if entry.name:
        return entry.name
    first, last = entry.networks[0], entry.networks[-1]
    if not entry.is_range:
        return str(first.network_address)
    return str(first) if first == last else f"{first.network_address}-{last.broadcast_address}"


def parse_entries(text: str) -> list[AddressEntry]:
    """A list with commas between. :raise BadRequest: names the first wrong entry."""
    words = [word.strip() for word in text.split(",")]
    entries = [parse_entry(word) for word in words if word]
    if len(entries) > ENTRIES_MAX:
        raise BadRequest(f"{len(entries)} addresses are too many: an account may have {ENTRIES_MAX}")
    return entries


def _split_port(word: str) -> tuple[str, int]:
    if word.startswith("["):
        host, bracket, rest = word[1:].partition("]")
        found = re.fullmatch(r"(?: port |:)([0-9]{1,5})", rest)
        if not bracket or (rest and not found):
            return word, 0  # read as an address, this is none
        return host, _port(found[1]) if found else 0
    found = _with_port.match(word)
    if found and (" port " in word or word.count(":") == 1):
        return found["host"], _port(found["port"])
    return word, 0


def _port(digits: str) -> int:
    port = int(digits)
    if not 0 < port < 65536:
        raise BadRequest(f"{digits} is no port: want 1 to 65535")
    return port


def _networks(host: str) -> tuple[tuple[Network, ...], bool]:
    """The networks that are meant. :raise ValueError: it is neither address nor range."""
    if "*" in host:
        return (_wildcard(host),), True
    if "/" in host:
        return (unmapped_network(ip_network(host, strict=False)),), True
    if "-" in host:
        return tuple(_range(*host.split("-", 1))), True
    return (ip_network(unmapped(ip_address(host))),), False


def _wildcard(host: str) -> IPv4Network:
    """``10.1.*.*`` and ``10.1.*``: whole bytes from the left, then only stars."""
    parts = host.split(".")
    given = [part for part in parts if part != "*"]
    if parts[: len(given)] != given or len(parts) > 4 or not given or "" in given:
        raise ValueError(host)
    return IPv4Network((".".join([*given, *["0"] * (4 - len(given))]), 8 * len(given)))


def _range(first: str, last: str) -> Sequence[Network]:
    low = unmapped(ip_address(first.strip()))
    last = last.strip()
    if last.isascii() and last.isdigit() and isinstance(low, IPv4Address):  # 192.0.2.10-20
        last = f"{str(low).rpartition('.')[0]}.{last}"
    high = unmapped(ip_address(last))
    if isinstance(low, IPv4Address) and isinstance(high, IPv4Address):
        return list(summarize_address_range(low, high))
    if isinstance(low, IPv6Address) and isinstance(high, IPv6Address):
        return list(summarize_address_range(low, high))
    raise ValueError("two families")


def unmapped(address: Address) -> Address:
    """IPv4 in IPv6 clothing as IPv4."""
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, IPv4Address) else address


def unmapped_network(network: Network) -> Network:
    """The same for a network, where it lies in ``::ffff:0:0/96``."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network
