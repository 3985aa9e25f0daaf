"""CPU time and memory of process trees, from /proc."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """KiB, summed over a process tree. ``pss`` shares shared pages fairly."""

    pss: int
    private: int


def tree(roots: Iterable[int]) -> list[int]:
    """The given processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    todo = list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_s(roots: Iterable[int]) -> float:
    """User and system seconds used so far by the trees of these processes."""
    total = 0.0
    for pid in tree(roots):
        try:
            figures = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(figures[11]) + int(figures[12])) / TICKS_PER_S
    return total


def machine_busy_s() -> float:
    """CPU seconds used by the whole machine since boot, stolen time included: it is lost to us too."""
    with open("/proc/stat") as stat:
        figures = [int(x) for x in stat.readline().split()[1:9]]
    return (sum(figures) - figures[3] - figures[4]) / TICKS_PER_S


def udp_sent() -> int:
    """UDP datagrams over IPv4 that all processes of the machine have sent since boot."""
    names, figures = [
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")
    ]
    return int(figures[names.index("OutDatagrams")])


def memory(roots: Iterable[int]) -> Memory:
    """Memory of the trees of these processes now."""
    pss = private = 0
    for pid in tree(roots):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        figure = {key: int(kib) for key, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
        pss += figure.get("Pss", 0)
        private += figure.get("Private_Dirty", 0) + figure.get("Private_Clean", 0)
    return Memory(pss, private)
