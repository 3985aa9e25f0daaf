"""``python -m bench compare``: Mizu beside its peers, in one run on one machine. See README.rst here."""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench import attack, drop, flood, inprocess, load, scale, timing
from bench.peers import Cluster, KamailioPeer, MizuPeer, Peer, SippyPeer, write_injection

#: First rate tried, by peer and work.
START = {
    ("mizu", "w1"): 20_000,
    ("mizu", "w2"): 6_000,
    ("mizu", "w3"): 1_000,
    ("kamailio", "w1"): 30_000,
    ("kamailio", "w2"): 4_000,
    ("kamailio", "w3"): 1_000,
    ("sippy", "w3noauth"): 100,
}
WHAT = ("compare", "rate", "latency", "memory", "w5", "profile", "held", "scale", "timing", "drop")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what",
        choices=["compare", "rate", "latency", "memory", "w5", "profile", "held", "scale", "timing", "drop"],
    )
    parser.add_argument("--peers", default="mizu,kamailio,sippy")
    parser.add_argument(
        "--works", default="w1,w2,w3", help="w1 OPTIONS, w2 digest REGISTER, w3 digest call, w5 floods"
    )
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument(
        "--rate", type=int, default=200, help="of rate, latency, memory, scale and drop, per second"
    )
    parser.add_argument(
        "--count",
        type=int,
        default=2_000,
        help="held calls or registrations of memory, answers of each kind of timing",
    )
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--server-cpu", default="0", help="processor of the server and of PostgreSQL")
    parser.add_argument("--generator-cpu", default="1", help="processor of SIPp")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "mizu-bench")
    parser.add_argument("--out", type=Path, help="append one JSON line a result")
    parser.add_argument(
        "--floods",
        default=",".join((*flood.KINDS, attack.KIND)),
        help="of w5; tools: SIPVicious and SIPp together",
    )
    parser.add_argument(
        "--legitimate-rate", type=int, default=flood.LEGITIMATE_PER_S, help="of w5 tools, per second"
    )
    parser.add_argument("--flood-rates", default=",".join(map(str, flood.RATES)), help="of w5, per second")
    parser.add_argument("--rounds", type=int, default=40, help="of profile")
    parser.add_argument("--top", type=int, default=30, help="functions that profile shows; 0: none")
    parser.add_argument("--accounts", type=int, default=1_000_000, help="of scale")
    parser.add_argument("--registrations", type=int, default=100_000, help="of scale")
    parser.add_argument("--fill-rate", type=int, default=1_000, help="first registrations a second of scale")
    options = parser.parse_args()
    if options.what == "w5":
        options.works = "w5"
    options.scratch.mkdir(parents=True, exist_ok=True)
    options.scratch.chmod(0o755)
    if options.what in ("profile", "held"):
        for work in options.works.split(","):
            if options.what == "profile":
                load.record(
                    options.out, inprocess.measure(work, options.scratch, options.rounds, options.top)
                )
            elif work != "w1":
                load.record(options.out, inprocess.held(work, options.scratch, options.count))
        return
    if options.what == "timing":
        for row in timing.measure(options.scratch, options.count, options.server_cpu):
            load.record(options.out, row)
        return
    print(f"{load.sipp_version()}, {load.processors()} processors", flush=True)
    users = write_injection(options.scratch / "users.csv", options.users)
    cluster = Cluster(options.scratch / "pg", cpu=options.server_cpu)
    cluster.start()
    try:
        if options.what == "drop":
            for row in dropped(options, cluster, users):
                load.record(options.out, row)
            return
        if options.what == "scale":
            for row in at_scale(options, cluster, users):
                load.record(options.out, row)
            return
        results = [
            run(options, peer, work, users)
            for work in options.works.split(",")
            for peer in make_peers(options, cluster, work)
        ]
    finally:
        cluster.stop()
    if options.what == "compare":
        table([result for result in results if isinstance(result, load.Result)])


def make_peers(options: argparse.Namespace, cluster: Cluster, work: str) -> list[Peer]:
    chosen: list[Peer] = []
    common = {"cpu": options.server_cpu, "users": options.users}
    for name in options.peers.split(","):
        if name == "mizu":
            chosen.append(MizuPeer(cluster, options.scratch, **common))
        elif name == "kamailio":
            defines = {
                "w1": ("WITH_OPTIONS_ONLY",),
                "w3": ("WITH_CDR",),
                "w5": ("WITH_PIKE",),
            }.get(work, ())
            chosen.append(KamailioPeer(cluster, options.scratch, defines=defines, **common))
        elif name == "sippy" and work.startswith("w3"):
            chosen.append(SippyPeer(options.scratch, cpu=options.server_cpu))
    return chosen


def at_scale(options: argparse.Namespace, cluster: Cluster, users: Path) -> list[dict[str, Any]]:
    """Mizu with few and with very many accounts and registrations."""
    setup = load.Setup(
        peer=MizuPeer(cluster, options.scratch, cpu=options.server_cpu, users=options.users),
        users=users,
        scratch=options.scratch,
        generator_cpu=options.generator_cpu,
        seconds=options.seconds,
        repeat=options.repeat,
    )
    return scale.measure(
        cluster,
        setup,
        options.server_cpu,
        accounts=options.accounts,
        registrations=options.registrations,
        rate=options.rate,
        fill_rate=options.fill_rate,
    )


def dropped(options: argparse.Namespace, cluster: Cluster, users: Path) -> list[dict[str, Any]]:
    """What the guard's work costs."""
    peer = MizuPeer(cluster, options.scratch, cpu=options.server_cpu, users=options.users)
    setup = load.Setup(
        peer=peer,
        users=users,
        scratch=options.scratch,
        generator_cpu=options.generator_cpu,
        seconds=options.seconds,
        repeat=options.repeat,
    )
    peer.start()
    try:
        return drop.measure(setup, options.rate)
    finally:
        peer.stop()


def run(options: argparse.Namespace, peer: Peer, work: str, users: Path) -> object:
    """One work on one peer."""
    if peer.name == "sippy":
        work = "w3noauth"  # it cannot authenticate without a RADIUS server
    setup = load.Setup(
        peer=peer,
        users=users,
        scratch=options.scratch,
        generator_cpu=options.generator_cpu,
        seconds=options.seconds,
        repeat=options.repeat,
    )
    result: object
    peer.start()
    try:
        if work == "w5":
            result = flooded(options, setup)
            for row in result:
                load.record(options.out, row)
        elif options.what == "compare":
            result = compared(options, setup, work)
        elif options.what == "rate":
            result = [load.trial(setup, work, options.rate, options.seconds) for _ in range(options.repeat)]
        elif options.what == "latency":
            result = load.latency(setup, work, options.rate)
        else:
            result = load.memory(setup, work, options.count, options.rate)
    finally:
        peer.stop()
    if not isinstance(result, list):
        load.record(options.out, result)
    return result


def flooded(options: argparse.Namespace, setup: load.Setup) -> list[dict[str, Any]]:
    """W5."""
    kinds = options.floods.split(",")
    rates = tuple(map(int, options.flood_rates.split(",")))
    raw = tuple(kind for kind in kinds if kind != attack.KIND)
    rows = flood.measure(setup, raw, rates) if raw else []
    return rows + (
        attack.measure(setup, options.legitimate_rate, options.server_cpu) if attack.KIND in kinds else []
    )


def compared(options: argparse.Namespace, setup: load.Setup, work: str) -> load.Result:
    """Rate and CPU, latencies at a quarter of that rate, and in a new process memory."""
    load.warm_up(setup, work, options.users)
    result = load.search(setup, work, START[setup.peer.name, work])
    print(result, flush=True)
    if not result.rates or work == "w1":
        return result
    result.latency = load.latency(setup, work, max(1, round(result.rate / 4)))
    setup.peer.stop()
    setup.peer.start()
    if work == "w2":
        count, rate = options.users, 1_000
    else:
        rate = min(100, max(1, round(result.rate / 4)))
        count = min(options.count, 20 * rate)
    result.kib_each = float(load.memory(setup, work, count, rate)["kib_each"])
    return result


def table(results: list[load.Result]) -> None:
    """Rates and their ratios: absolute figures change from machine to machine, ratios much less."""
    ours = {result.work: result for result in results if result.peer == "mizu"}
    print(
        f"\n{'work':9} {'peer':9} {'rate /s':>9} {'mizu/peer':>10} {'us/op':>7} {'db us/op':>9} "
        f"{'KiB each':>9}  p50 / p99 ms at a quarter of the rate"
    )
    for result in results:
        mine = ours.get(result.work.removesuffix("noauth"))
        ratio = f"{mine.rate / result.rate:.2f}" if mine and result.rate else "-"
        server = f"{statistics.median(result.server_us):.0f}" if result.rates else "-"
        database = f"{statistics.median(result.db_us):.0f}" if result.rates else "-"
        kib = f"{result.kib_each:.1f}" if result.kib_each is not None else "-"
        steps = ", ".join(
            f"{name} {step['p50_ms']:.1f} / {step['p99_ms']:.1f}"
            for name, step in result.latency.items()
            if isinstance(step, dict)
        )
        print(
            f"{result.work:9} {result.peer:9} {result.rate:9.0f} {ratio:>10} {server:>7} {database:>9} "
            f"{kib:>9}  {steps}"
        )


if __name__ == "__main__":
    main()
