"""What ``nft -f -`` is told. Pure text."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from math import ceil

#: Longest timeout that every version takes.
_MOST_S = 2_000_000


def numbers(target: str) -> tuple[int, int, int]:
    """(version, first, last) of an address, network or range."""
    if "-" in target:
        low, _, high = target.partition("-")
        first, last = ip_address(low), ip_address(high)
        return first.version, int(first), int(last)
    network = ip_network(target)
    return network.version, int(network.network_address), int(network.broadcast_address)


def is_host(target: str) -> bool:
    """One address."""
    return "-" not in target and "/" not in target


def merged(targets: Iterable[str], version: int) -> list[str]:
    """Ranges without overlaps, which sets of intervals do not take."""
    spans = sorted(span[1:] for span in map(numbers, targets) if span[0] == version)
    joined: list[list[int]] = []
    for first, last in spans:
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], last)
        else:
            joined.append([first, last])
    make = type(ip_address("0.0.0.0" if version == 4 else "::"))  # noqa: S104 - arithmetic
    return [f"{make(first)}-{make(last)}" if first != last else str(make(first)) for first, last in joined]


def family(target: str) -> str:
    return "6" if ":" in target else "4"


def begin(table: str, ports: Sequence[int]) -> list[str]:
    """
    Our table, empty: made anew, so that nothing of an earlier run is left. What is in a set ``white`` leaves
    its chain before the bans are looked at; other tables still decide about it.
    """
    lines = [f"add table inet {table}", f"delete table inet {table}", f"add table inet {table}"]
    for version, kind in (("4", "ipv4_addr"), ("6", "ipv6_addr")):
        lines.append(f"add set inet {table} hosts{version} {{ type {kind}; flags timeout; }}")
        lines.append(f"add set inet {table} nets{version} {{ type {kind}; flags interval; }}")
        lines.append(f"add set inet {table} white{version} {{ type {kind}; flags interval; }}")
    lines.append(f"add chain inet {table} input {{ type filter hook prerouting priority -300; }}")
    only = f" th dport {{ {', '.join(map(str, ports))} }}" if ports else ""
    for word, version in (("ip", "4"), ("ip6", "6")):
        lines.append(f"add rule inet {table} input {word} saddr @white{version} return")
        for name in ("hosts", "nets"):
            lines.append(f"add rule inet {table} input {word} saddr @{name}{version}{only} drop")
    return lines


def add_host(table: str, host: str, duration_s: float | None) -> list[str]:
    """Also when it is there already: then with the new time."""
    timeout = f" timeout {min(ceil(duration_s), _MOST_S)}s" if duration_s is not None else ""
    element = f"element inet {table} hosts{family(host)}"
    return [*remove_host(table, host), f"add {element} {{ {host}{timeout} }}"]


def remove_host(table: str, host: str) -> list[str]:
    """Also when it is not there: deleting what is missing would fail the whole script."""
    element = f"element inet {table} hosts{family(host)}"
    return [f"add {element} {{ {host} }}", f"delete {element} {{ {host} }}"]


def set_ranges(table: str, name: str, targets: Iterable[str]) -> list[str]:
    """All networks and ranges of one set: they are few, and may overlap."""
    targets = list(targets)
    lines = []
    for version in (4, 6):
        lines.append(f"flush set inet {table} {name}{version}")
        ranges = merged(targets, version)
        for at in range(0, len(ranges), 500):
            part = ", ".join(ranges[at : at + 500])
            lines.append(f"add element inet {table} {name}{version} {{ {part} }}")
    return lines
