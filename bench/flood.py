"""W5: legitimate registrations while another address floods the server."""

import random
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from bench import load, procfs
from bench.load import Setup, Sipp

KINDS = ("bytes", "nearly", "wrong")  #: random bytes, nearly SIP, wrong passwords
RATES = (2_000, 10_000, 40_000)
LEGITIMATE_PER_S = 50
LEGITIMATE_SOURCE, FLOOD_SOURCE = "127.0.0.77", "127.0.0.66"
LEAD_S = 1.0  #: the flood runs so long before the registrations begin
REST_S = 3.0


@dataclass
class Row:
    """One flood. Rates in datagrams and calls a second, CPU in processors."""

    peer: str
    flood: str
    asked: int
    sent: float
    succeeded_part: float
    retransmitted_per_op: float
    server_cpu: float
    p50_ms: float  #: REGISTER with credentials to 200
    p99_ms: float

    def __str__(self) -> str:
        return (
            f"RESULT {self.peer} w5 {self.flood:7} asked {self.asked:6}/s sent {self.sent:7.0f}/s: "
            f"legitimate success {100 * self.succeeded_part:6.2f}% retransmitted/op "
            f"{self.retransmitted_per_op:.3f} p50 {self.p50_ms:.1f} p99 {self.p99_ms:.1f} ms "
            f"server cpu {self.server_cpu:.2f}"
        )


def measure(setup: Setup, kinds: tuple[str, ...], rates: tuple[int, ...]) -> list[dict[str, Any]]:
    """No flood first, then every kind at every rate, each against a server that has banned nobody."""
    load.warm_up(setup, "w2", LEGITIMATE_PER_S * setup.seconds)  # those that register below, once
    rows = [_one(setup, "none", 0)]
    for kind in kinds:
        for rate in rates:
            setup.peer.forgive()
            rows.append(_one(setup, kind, rate))
            time.sleep(REST_S)
    return [asdict(row) for row in rows]


def _one(setup: Setup, kind: str, rate: int) -> Row:
    flood = Flood(setup, kind, rate) if rate else None
    time.sleep(LEAD_S)
    phase = legitimate(setup, kind, LEGITIMATE_PER_S)
    row = Row(
        peer=setup.peer.name,
        flood=kind,
        asked=rate,
        sent=flood.end() if flood is not None else 0.0,
        succeeded_part=phase.ok / phase.count,
        retransmitted_per_op=phase.retransmitted / phase.count,
        server_cpu=phase.server_cpu,
        p50_ms=load.quantile(phase.delays_ms, 0.5),
        p99_ms=load.quantile(phase.delays_ms, 0.99),
    )
    print(row, flush=True)
    return row


@dataclass
class Phase:
    """What the customers had of it."""

    count: int
    ok: int
    retransmitted: int
    server_cpu: float
    delays_ms: list[float]  #: REGISTER with credentials to 200


def legitimate(setup: Setup, kind: str, rate: int) -> Phase:
    """Customers register at this rate for ``setup.seconds``."""
    seconds, peer = setup.seconds, setup.peer
    count = rate * seconds
    sipp = Sipp(
        setup,
        "register",
        rate,
        count,
        deadline_s=seconds + 2,
        source=LEGITIMATE_SOURCE,
        trace=True,
    )
    before_s, began_s = procfs.cpu_s(peer.server_pids()), time.monotonic()
    time.sleep(seconds)
    cpu = (procfs.cpu_s(peer.server_pids()) - before_s) / (time.monotonic() - began_s)
    sipp.wait(seconds + 10)
    totals = sipp.totals()
    delays_ms = load.read_steps(sipp.messages).get("REGISTER->200", [])
    sipp.remove()
    phase = Phase(count, totals["ok"], totals["retransmitted"], cpu, delays_ms)
    print(
        f"  {peer.name:9} w5 {kind:6} {rate}/s failed {count - phase.ok} retransmitted {phase.retransmitted} "
        f"p50 {load.quantile(delays_ms, 0.5):.2f} p99 {load.quantile(delays_ms, 0.99):.2f} ms "
        f"server cpu {cpu:.2f}",
        flush=True,
    )
    return phase


class Flood:
    """Somebody who sends too much, until :meth:`end`."""

    def __init__(self, setup: Setup, kind: str, rate: int) -> None:
        self._seconds = setup.seconds + 3
        self._sipp: Sipp | None = None
        self._process: subprocess.Popen[str] | None = None
        if kind == "wrong":
            self._sipp = Sipp(
                setup,
                "register_wrong",
                rate,
                rate * self._seconds,
                deadline_s=self._seconds,
                source=FLOOD_SOURCE,
                port=setup.port + 7,
                media_port=26_000,
            )
            return
        host, port = setup.peer.address
        # It shares a processor with the SIPp whose delays are measured, and must not be what delays it.
        command = ["nice", *load.pinned(setup.generator_cpu), sys.executable, "-m", "bench.flood"]
        self._process = subprocess.Popen(
            [*command, kind, str(rate), str(self._seconds), host, str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> float:
        """Wait for its end. :return: what it sent, per second."""
        if self._sipp is not None:
            self._sipp.wait(self._seconds + 20)
            created = self._sipp.totals()["created"]
            self._sipp.remove()
            return float(created) / self._seconds
        assert self._process is not None
        out, _ = self._process.communicate(timeout=self._seconds + 20)
        return int(out or 0) / self._seconds


def datagrams(kind: str) -> list[bytes]:
    """A few hundred different ones, made in advance and the same in every run."""
    chance = random.Random(7)
    made = []
    for number in range(500):
        if kind == "zero":
            made.append(bytes(chance.randint(20, 600)))
            continue
        if kind == "bytes":
            made.append(chance.randbytes(chance.randint(20, 600)))
            continue
        made.append(
            b"INVITE sip:%d@x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=%d\r\nFrom: <<>>;;\r\nTo: \r\n"
            b"CSeq: x\r\nCall-ID\r\nContent-Length: 99999\r\n\r\n" % (number, number)
        )
    return made


def send(kind: str, rate: int, seconds: float, to: tuple[str, int]) -> int:
    """Send at that rate, in portions of a millisecond. :return: how many were sent."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((FLOOD_SOURCE, 0))
    sock.setblocking(False)
    ready, sent = datagrams(kind), 0
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < seconds:
        for _ in range(int(passed_s * rate) - sent):
            try:
                sock.sendto(ready[sent % len(ready)], to)
            except OSError:
                break
            sent += 1
        time.sleep(0.001)
    sock.close()
    return sent


if __name__ == "__main__":
    print(send(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), (sys.argv[4], int(sys.argv[5]))))
