"""SIPp runs: one trial at a fixed rate, the search for the highest sustained rate, latency, memory."""

import csv
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import procfs
from bench.peers import Peer

SCENARIOS = Path(__file__).parent / "scenarios"
SCENARIO_OF = {"w1": "options", "w2": "register", "w3": "call_uac", "w3noauth": "call_uac_noauth"}
CALLED = "49301234567"
UAS = ("127.0.0.1", 5080)
#: A trial passes with fewer failures and retransmissions an operation than this.
MAX_FAILED = 0.001
MAX_RETRANSMITTED = {"w1": 0.001}
MAX_RETRANSMITTED_ELSE = 0.01
#: Processors used by others above which a trial is done again.
MAX_OTHERS = 0.25
QUIET = ["-watchdog_minor_maxtriggers", "100000", "-watchdog_major_maxtriggers", "100000"]


@dataclass
class Setup:
    """Where the load comes from and goes to."""

    peer: Peer
    users: Path  #: SIPp injection file
    scratch: Path
    generator_cpu: str = "1"
    source: str = "127.0.0.1"
    port: int = 5070
    seconds: int = 20
    probe_s: int = 5
    repeat: int = 3


@dataclass
class Trial:
    """What one run at a fixed rate gave. CPU in processors, ``us`` per operation."""

    rate: int
    seconds: int
    ok: int
    failed_part: float
    retransmitted_per_op: float
    kept: bool
    server_cpu: float
    db_cpu: float
    others_cpu: float
    server_us: float
    db_us: float
    passed: bool = False


@dataclass
class Result:
    """One work on one peer."""

    peer: str
    work: str
    rates: list[int] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    db_us: list[float] = field(default_factory=list)
    latency: dict[str, Any] = field(default_factory=dict)  #: what :func:`latency` gave at a quarter of it
    kib_each: float | None = None  #: memory of a registration or a held call

    @property
    def rate(self) -> float:
        return statistics.median(self.rates) if self.rates else 0.0

    def __str__(self) -> str:
        if not self.rates:
            return f"RESULT {self.peer} {self.work}: nothing sustained"
        spread = f"{self.rate:.0f} ({min(self.rates)}-{max(self.rates)})"
        server, database = statistics.median(self.server_us), statistics.median(self.db_us)
        cost = f"server {server:.0f} us/op, database {database:.0f} us/op"
        return f"RESULT {self.peer} {self.work}: sustained {spread} /s; {cost}"


class Sipp:
    """One SIPp process that sends."""

    def __init__(
        self,
        setup: Setup,
        scenario: str,
        rate: int,
        count: int,
        *,
        hold_ms: int = 0,
        deadline_s: float,
        **more: Any,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sipp", dir=setup.scratch))
        self.statistics = self.directory / "stat.csv"
        self.messages = self.directory / "short.csv"
        domain = "bench.local"
        uri = f"{CALLED}@{domain}" if "call" in scenario else domain
        host, port = setup.peer.address
        command = [
            *more.get("prefix", ()),
            *pinned(setup.generator_cpu),
            "sipp",
            f"{host}:{port}",
            "-sf",
            str(SCENARIOS / f"{scenario}.xml"),
        ]
        command += ["-inf", str(more.get("users") or setup.users), "-i", more.get("source") or setup.source]
        command += [
            "-bind_local",
            "-p",
            str(more.get("port") or setup.port),
            "-mp",
            str(more.get("media_port") or 20000),
        ]
        command += ["-s", CALLED, "-auth_uri", uri, "-r", str(rate), "-rp", "1000", "-d", str(hold_ms)]
        command += ["-l", str(more.get("max_open") or max(3000, rate * 8)), "-nostdin", "-pause_msg_ign"]
        command += ["-trace_stat", "-stf", str(self.statistics), "-fd", "1", "-buff_size", "4194304"]
        command += [
            "-timer_resol",
            "1",
            "-max_sched_loops",
            "100000",
            *QUIET,
            "-timeout",
            f"{int(deadline_s)}s",
        ]
        command += ["-m", str(count)]
        if more.get("trace"):
            command += ["-trace_shortmsg", "-shortmessage_file", str(self.messages)]
        if more.get("counts"):
            command += ["-trace_counts"]
        self.process = silent(command, self.directory)

    def wait(self, limit_s: float) -> "Sipp":
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return self

    def rows(self) -> list[dict[str, str]]:
        try:
            with self.statistics.open() as file:
                return [row for row in csv.DictReader(file, delimiter=";") if row.get("TotalCallCreated")]
        except OSError:
            return []

    def totals(self) -> dict[str, Any]:
        rows = self.rows()
        if not rows:
            return {"created": 0, "ok": 0, "failed": 0, "retransmitted": 0, "span_s": 0.0}
        last = rows[-1]
        # the time at which the last call had been created: the first row that shows the final count
        full = next(row for row in rows if row["TotalCallCreated"] == last["TotalCallCreated"])
        return {
            "created": int(last["TotalCallCreated"]),
            "ok": int(last["SuccessfulCall(C)"]),
            "failed": int(last["FailedCall(C)"]),
            "retransmitted": int(last["Retransmissions(C)"]),
            "span_s": stamp_s(full["CurrentTime"]) - stamp_s(full["StartTime"]),
        }

    def remove(self) -> None:
        subprocess.call(["rm", "-rf", str(self.directory)])


def stamp_s(text: str) -> float:
    return float(text.rsplit(maxsplit=1)[-1])


def pinned(cpu: str) -> list[str]:
    return ["taskset", "-c", cpu] if cpu else []


def silent(command: list[str], directory: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@contextmanager
def called_side(setup: Setup) -> Iterator["subprocess.Popen[bytes]"]:
    """SIPp answering calls on the called address."""
    command = [*pinned(setup.generator_cpu), "sipp", "-sf", str(SCENARIOS / "call_uas.xml"), "-i", UAS[0]]
    command += ["-bind_local", "-p", str(UAS[1]), "-mp", "24000", "-nostdin", "-buff_size", "4194304"]
    command += ["-timer_resol", "1", "-max_sched_loops", "100000", "-deadcall_wait", "5000", *QUIET]
    process = silent(command, setup.scratch)
    time.sleep(0.4)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def nobody() -> Iterator[None]:
    yield None


def trial(setup: Setup, work: str, rate: int, seconds: int, *, again: int = 2) -> Trial:
    """One run at a fixed rate, done again when somebody else used the processors meanwhile."""
    for attempt in range(again + 1):
        result = trial_once(setup, work, rate, seconds)
        if result.others_cpu <= MAX_OTHERS or attempt == again:
            break
        print(f"  (disturbed: {result.others_cpu:.2f} processors used by others; again)", flush=True)
        time.sleep(5)
    time.sleep(1.0 if result.passed else 4.0)
    return result


def trial_once(setup: Setup, work: str, rate: int, seconds: int) -> Trial:
    peer = setup.peer
    with called_side(setup) if work.startswith("w3") else nobody() as callee:
        sipp = Sipp(setup, SCENARIO_OF[work], rate, rate * seconds, deadline_s=seconds + 6)
        generators = [sipp.process.pid] + ([callee.pid] if callee else [])
        lead_s = min(2.0, seconds / 4)
        time.sleep(lead_s)  # CPU is taken in a window inside the run
        began = time.time()
        before = [procfs.cpu_s(pids) for pids in (peer.server_pids(), peer.db_pids(), generators)]
        busy = procfs.machine_busy_s()
        time.sleep(max(0.5, seconds - 2.5 - lead_s))
        window_s = time.time() - began
        after = [procfs.cpu_s(pids) for pids in (peer.server_pids(), peer.db_pids(), generators)]
        busy = procfs.machine_busy_s() - busy
        sipp.wait(seconds + 12)
    server, database, generator = ((b - a) / window_s for a, b in zip(before, after, strict=True))
    totals = sipp.totals()
    sipp.remove()
    wanted = rate * seconds
    result = Trial(
        rate=rate,
        seconds=seconds,
        ok=totals["ok"],
        failed_part=max(wanted - totals["ok"], 0) / wanted,
        retransmitted_per_op=totals["retransmitted"] / wanted,
        kept=totals["span_s"] <= seconds * 1.03 + 1.1 and totals["created"] >= wanted,
        server_cpu=server,
        db_cpu=database,
        others_cpu=max(0.0, busy / window_s - server - database - generator),
        server_us=server / rate * 1e6,
        db_us=database / rate * 1e6,
    )
    limit = MAX_RETRANSMITTED.get(work, MAX_RETRANSMITTED_ELSE)
    result.passed = result.kept and result.failed_part < MAX_FAILED and result.retransmitted_per_op < limit
    print(
        f"  {peer.name:9} {work} {rate:6}/s {seconds:3}s {'PASS' if result.passed else 'fail'} "
        f"failed {100 * result.failed_part:.3f}% retransmitted/op {result.retransmitted_per_op:.4f} "
        f"kept {result.kept} "
        f"cpu server {server:.2f} db {database:.2f} generator {generator:.2f} others {result.others_cpu:.2f} "
        f"us/op server {result.server_us:.0f} db {result.db_us:.0f}",
        flush=True,
    )
    return result


def round_rate(rate: float) -> int:
    return round(rate / 10) * 10 if rate >= 200 else max(1, round(rate))


def warm_up(setup: Setup, work: str, users: int) -> None:
    """Every user once, at a rate that nobody finds hard: what follows is the steady state of all peers."""
    rate = {"w1": 2_000, "w2": 1_000, "w3": 250, "w3noauth": 20}[work]
    count = {"w1": 10_000, "w3noauth": 200}.get(work, users)
    with called_side(setup) if work.startswith("w3") else nobody():
        sipp = Sipp(setup, SCENARIO_OF[work], rate, count, deadline_s=count / rate + 6)
        sipp.wait(count / rate + 20).remove()
    time.sleep(1.0)


def search(setup: Setup, work: str, start: int) -> Result:
    """Bracket the highest sustained rate with short probes, then confirm it with long runs."""
    result = Result(setup.peer.name, work)
    low, high, rate = 0, None, float(start)
    while high is None:
        if trial(setup, work, round_rate(rate), setup.probe_s).passed:
            low, rate = round_rate(rate), rate * 1.6
        elif low:
            high = round_rate(rate)
        elif rate < 5:
            return result
        else:
            rate /= 2.5
    while high / low > 1.1:
        middle = round_rate((low * high) ** 0.5)
        if middle in (low, high):
            break
        if trial(setup, work, middle, setup.probe_s).passed:
            low = middle
        else:
            high = middle
    rate = low
    for _ in range(setup.repeat):
        best = trial(setup, work, round_rate(rate), setup.seconds)
        while not best.passed and rate > 5:
            rate *= 0.95
            best = trial(setup, work, round_rate(rate), setup.seconds)
        if best.passed:
            result.rates.append(best.rate)
            result.server_us.append(best.server_us)
            result.db_us.append(best.db_us)
    return result


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


def latency(setup: Setup, work: str, rate: int) -> dict[str, Any]:
    """p50 and p99 of each step in ms, from SIPp's short message trace (microsecond stamps)."""
    with called_side(setup) if work.startswith("w3") else nobody():
        seconds = setup.seconds
        sipp = Sipp(setup, SCENARIO_OF[work], rate, rate * seconds, deadline_s=seconds + 10, trace=True)
        sipp.wait(seconds + 20)
    steps = read_steps(sipp.messages)
    totals = sipp.totals()
    sipp.remove()
    figures: dict[str, Any] = {
        "peer": setup.peer.name,
        "work": work,
        "rate": rate,
        "failed": totals["failed"],
    }
    for name, values in sorted(steps.items()):
        figures[name] = {"n": len(values), "p50_ms": quantile(values, 0.5), "p99_ms": quantile(values, 0.99)}
        print(
            f"  {setup.peer.name:9} {work} at {rate}/s {name:18} n {len(values):6} "
            f"p50 {quantile(values, 0.5):7.2f} ms p99 {quantile(values, 0.99):7.2f} ms",
            flush=True,
        )
    return figures


def read_steps(trace: Path) -> dict[str, list[float]]:
    """Milliseconds between each request and each of its answers."""
    sent: dict[tuple[str, str], float] = {}
    steps: dict[str, dict[tuple[str, str], float]] = {}
    with trace.open(errors="replace") as file:
        for line in file:
            part = line.rstrip("\n").split("\t")
            if len(part) < 7:
                continue
            at_s, way, call_id, cseq, first = float(part[2]), part[3], part[4], part[5], part[6]
            if way == "S":
                if not first.startswith("ACK"):
                    sent.setdefault((call_id, cseq), at_s)
                continue
            status, began = first.split()[1], sent.get((call_id, cseq))
            if began is not None and status != "100":
                name = f"{cseq.split()[-1]}->{status}"
                steps.setdefault(name, {}).setdefault((call_id, cseq), (at_s - began) * 1000)
    return {name: list(values.values()) for name, values in steps.items()}


def memory(setup: Setup, work: str, count: int, rate: int) -> dict[str, Any]:
    """Growth of the server's memory, in KiB for each held call or registration."""
    peer = setup.peer
    before = procfs.memory(peer.server_pids())
    lead_s = count / rate
    if work.startswith("w3"):
        hold_ms = int((lead_s + 12) * 1000)
        with called_side(setup):
            sipp = Sipp(
                setup,
                SCENARIO_OF[work],
                rate,
                count,
                hold_ms=hold_ms,
                deadline_s=2 * lead_s + 32,
                max_open=count + 100,
            )
            time.sleep(lead_s + 6)
            rows = sipp.rows()
            held = int(rows[-1]["CurrentCall"]) if rows else 0
            after = procfs.memory(peer.server_pids())
            sipp.wait(2 * lead_s + 50)
    else:
        sipp = Sipp(setup, "register", rate, count, deadline_s=lead_s + 20)
        sipp.wait(lead_s + 30)
        time.sleep(35)  # the transactions of the registrations linger for timer J
        after = procfs.memory(peer.server_pids())
        held = sipp.totals()["ok"]
    sipp.remove()
    each = (after.pss - before.pss) / max(held, 1)
    print(
        f"RESULT {peer.name} memory {work}: {held} held, PSS {before.pss} -> {after.pss} KiB, "
        f"{each:.2f} KiB each",
        flush=True,
    )
    return {"peer": peer.name, "work": work, "held": held, "kib_each": each}


def record(path: Path | None, value: Any) -> None:
    """Append one JSON line."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(asdict(value) if isinstance(value, Result) else value) + "\n")


def sipp_version() -> str:
    text = subprocess.run(["sipp", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"SIPp v\S+", text)
    return found[0] if found else "SIPp?"


def processors() -> int:
    return len(os.sched_getaffinity(0))
