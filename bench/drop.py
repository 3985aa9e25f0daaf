"""What a datagram costs that the guard throws away, beside an OPTIONS that is served: a tenth at most."""

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

from bench import flood, load, procfs
from bench.load import Setup
from bench.peers import MizuPeer

#: Kinds of drop, and the datagrams that are dropped so: by the kernel or by the process, see ``dropped`` of
#: ``/status``.
KINDS = (("banned", "nearly"), ("first_byte", "zero"))
LEAD_S = 0.5
#: Of what was sent, more must have been counted as dropped, or something else was measured.
COUNTED_PART = 0.95


@dataclass
class Row:
    """One kind of drop. Microseconds of the server's processor, its idle time taken off."""

    kind: str
    rate: int
    dropped_us: list[float]
    served_us: list[float]  #: an OPTIONS at the same rate

    @property
    def part(self) -> float:
        return statistics.median(self.dropped_us) / statistics.median(self.served_us)

    def __str__(self) -> str:
        dropped, served = statistics.median(self.dropped_us), statistics.median(self.served_us)
        return (
            f"RESULT mizu drop {self.kind:10} at {self.rate}/s: {dropped:.2f} us each "
            f"({min(self.dropped_us):.2f}-{max(self.dropped_us):.2f}), an OPTIONS {served:.1f} us, "
            f"part {100 * self.part:.1f}%"
        )


def measure(setup: Setup, rate: int) -> list[dict[str, Any]]:
    """Both kinds and OPTIONS in turns. :raise SystemExit: what was sent was not dropped."""
    peer = setup.peer
    assert isinstance(peer, MizuPeer)
    rows = [Row(kind, rate, [], []) for kind, _ in KINDS]
    load.trial(setup, "w1", rate, 1)  # warm
    for _ in range(setup.repeat):
        idle = _cpu(setup)
        served = load.trial(setup, "w1", rate, setup.seconds)
        served_us = served.server_us - idle / rate * 1e6
        for row, (kind, datagrams) in zip(rows, KINDS, strict=True):
            row.dropped_us.append(_dropped(setup, peer, kind, datagrams, rate, idle))
            row.served_us.append(served_us)
    for row in rows:
        print(row, flush=True)
    return [asdict(row) | {"part": row.part} for row in rows]


def _cpu(setup: Setup) -> float:
    """Processors that the server uses now."""
    before_s, began_s = procfs.cpu_s(setup.peer.server_pids()), time.monotonic()
    time.sleep(setup.seconds)
    return (procfs.cpu_s(setup.peer.server_pids()) - before_s) / (time.monotonic() - began_s)


def _dropped(setup: Setup, peer: MizuPeer, kind: str, datagrams: str, rate: int, idle: float) -> float:
    peer.forgive()
    if kind == "banned":
        peer.console(f"ban {flood.FLOOD_SOURCE} 10m")
    sender = flood.Flood(setup, datagrams, rate)
    time.sleep(LEAD_S)
    before = _count(peer, kind)
    began_s = time.monotonic()
    cpu = _cpu(setup) - idle
    dropped = (_count(peer, kind) - before) / (time.monotonic() - began_s)
    sent = sender.end()
    peer.forgive()
    if dropped < COUNTED_PART * sent:
        raise SystemExit(f"bench: {sent:.0f}/s were sent, but {dropped:.0f}/s dropped as {kind!r}")
    return cpu / dropped * 1e6


def _count(peer: MizuPeer, kind: str) -> int:
    dropped: dict[str, int] = peer.server.status()["dropped"]
    return dropped[kind] + dropped["socket"]
