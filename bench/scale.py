"""``python -m bench scale``: a million accounts and a hundred thousand phones, beside a thousand of both."""

import os
import statistics
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bench import procfs
from bench.load import Setup, Sipp, quantile, read_steps
from bench.peers import Cluster, MizuPeer, write_injection

#: Accounts and registrations that the large server is compared with.
SMALL = 1_000
#: Transactions linger for timer J; memory is read when they are gone.
SETTLE_S = 35
#: REGISTERs after a start whose latency is not counted: connections, prepared statements and imports.
WARM_UP = 100
#: How often the file of users is gone through until everybody is registered.
PASSES_MAX = 3
#: The scenario registers for an hour, and what is held must outlive the measurements.
FILL_S_MAX = 1800
STEP = "REGISTER->200"


@dataclass
class Run:
    """Refreshes at one rate. Processor time is that of one refresh, two REGISTERs."""

    delays_ms: list[float]
    server_us: float
    db_us: float
    others_cpu: float  #: processors used by others meanwhile

    @property
    def p99_ms(self) -> float:
        return quantile(self.delays_ms, 0.99)


@dataclass
class Size:
    """What a server with so many accounts gave. Latencies are of the second REGISTER, in ms."""

    accounts: int
    registrations: int = 0  #: held, as ``/status`` says
    fill_failed: int = 0  #: first registrations that SIPp counts as failed, see :func:`fill`
    failed: int = 0  #: refreshes
    copy_s: float = 0.0
    start_empty_s: float = 0.0  #: from spawn to ``mizu ready:`` with all accounts, nobody registered
    start_full_s: float = 0.0  #: the same with all registrations
    loaded: int = 0  #: registrations that ``/status`` says after that start
    base_pss_kib: int = 0
    full_pss_kib: int = 0
    loaded_pss_kib: int = 0
    all_phones: list[Run] = field(default_factory=list)  #: each run; answers of the accounts cached
    same_phones: list[Run] = field(default_factory=list)  #: only as many phones as the small one has
    uncached: list[Run] = field(default_factory=list)  #: after a restart: each asks PostgreSQL

    @property
    def kib_each(self) -> float:
        """Growth for each registration, with its cached account and the count of its nonce."""
        return (self.full_pss_kib - self.base_pss_kib) / max(self.registrations, 1)

    @property
    def kib_each_loaded(self) -> float:
        """Growth for each registration that was read back after a restart: the bindings alone."""
        return (self.loaded_pss_kib - self.base_pss_kib) / max(self.loaded, 1)

    def figures(self) -> dict[str, Any]:
        """All of it, the delays as their quantiles."""
        found = asdict(self) | {"kib_each": self.kib_each, "kib_each_loaded": self.kib_each_loaded}
        for name in ("all_phones", "same_phones", "uncached"):
            del found[name]
            runs: list[Run] = getattr(self, name)
            delays = together(runs)
            found |= {
                f"{name}_n": len(delays),
                f"{name}_p50_ms": quantile(delays, 0.5),
                f"{name}_p99_ms": quantile(delays, 0.99),
                f"{name}_p99_runs_ms": [run.p99_ms for run in runs],
                f"{name}_server_us": statistics.median(run.server_us for run in runs),
                f"{name}_db_us": statistics.median(run.db_us for run in runs),
                f"{name}_others_cpu": [run.others_cpu for run in runs],
            }
        return found


@dataclass
class Side:
    """One of the two servers, and how it is loaded."""

    size: Size
    peer: MizuPeer
    setup: Setup  #: its users in turn, for registering all of them
    at_random: Setup  #: the same users by chance, as phones that have nothing to do with one another come
    same: Setup  #: as many by chance as the small server has

    @property
    def phones(self) -> int:
        return self.size.registrations


def measure(
    cluster: Cluster,
    setup: Setup,
    server_cpu: str,
    accounts: int,
    registrations: int,
    rate: int,
    fill_rate: int,
) -> list[dict[str, Any]]:
    """
    Both sizes at the same time, on the same processor; while one is measured the other one rests.

    :param setup: its peer and users are replaced.
    :param rate: refreshes a second while latency is taken, the same for both sizes.
    :param fill_rate: first registrations a second.
    :raise SystemExit: the sizes do not go together.
    """
    if registrations > accounts or registrations < SMALL:
        raise SystemExit(f"bench: --registrations must be between {SMALL} and --accounts")
    if registrations / fill_rate > FILL_S_MAX:
        raise SystemExit(f"bench: that takes more than {FILL_S_MAX} s; raise --fill-rate")
    sides: list[Side] = []
    try:
        for number, (all_of_them, phones) in enumerate(((SMALL, SMALL), (accounts, registrations))):
            peer = MizuPeer(cluster, setup.scratch, cpu=server_cpu, users=all_of_them, number=number)
            side = Side(
                Size(all_of_them, phones),
                peer,
                *(
                    replace(
                        setup,
                        peer=peer,
                        users=write_injection(setup.scratch / f"users{count}{order}.csv", count, order),
                    )
                    for count, order in ((phones, "SEQUENTIAL"), (phones, "RANDOM"), (SMALL, "RANDOM"))
                ),
            )
            sides.append(side)
            prepare(cluster, side, fill_rate)
        # It would look at both from time to time, after different numbers of changes, in the middle of a run.
        # Not earlier: a table that fills up needs its statistics.
        cluster.sql("postgres", "alter system set autovacuum = off;\nselect pg_reload_conf() \\g /dev/null\n")
        for side in sides:
            settle(cluster, side.peer)
        for turn in range(setup.repeat):
            for side in _in_turn(sides, turn):
                settle(cluster, side.peer)
                side.size.all_phones.append(refresh(side, side.at_random, rate))
                side.size.same_phones.append(refresh(side, side.same, rate))
        for turn in range(setup.repeat):
            for side in _in_turn(sides, turn):
                after_restart(cluster, side, rate)
    finally:
        for side in sides:
            side.peer.stop()
        cluster.sql("postgres", "alter system reset autovacuum;\nselect pg_reload_conf() \\g /dev/null\n")
    table([side.size for side in sides], rate)
    return [side.size.figures() for side in sides]


def _in_turn(sides: list[Side], turn: int) -> list[Side]:
    """Each is the first as often as the other."""
    return sides[::-1] if turn % 2 else sides


def settle(cluster: Cluster, peer: MizuPeer) -> None:
    """What PostgreSQL would do some time later, in the middle of a measurement."""
    cluster.sql(peer.database, "vacuum analyze;\ncheckpoint;\n")


def prepare(cluster: Cluster, side: Side, fill_rate: int) -> None:
    """Start with its accounts and register everybody."""
    size, peer, phones = side.size, side.peer, side.phones
    began_s = time.monotonic()
    peer.start()
    size.copy_s = time.monotonic() - began_s
    settle(cluster, peer)
    size.start_empty_s = restart(peer)
    size.base_pss_kib = pss_kib(peer)
    say(size, f"accounts in {size.copy_s:.0f} s, ready after {size.start_empty_s:.2f} s")
    size.fill_failed = fill(side.setup, peer, phones, fill_rate)
    time.sleep(SETTLE_S)
    size.registrations = registered(peer)
    size.full_pss_kib = pss_kib(peer)
    say(size, f"{size.registrations} registered, {size.kib_each:.2f} KiB each")


def after_restart(cluster: Cluster, side: Side, rate: int) -> None:
    """Each phone once: its account is not cached. The last ones of the file warm up."""
    size, peer, setup = side.size, side.peer, side.setup
    size.start_full_s = restart(peer)
    size.loaded = registered(peer)
    size.loaded_pss_kib = pss_kib(peer)
    say(size, f"ready after {size.start_full_s:.2f} s with {size.loaded} registrations")
    lines = setup.users.read_text().splitlines()
    last = setup.scratch / "users_last.csv"
    last.write_text("\n".join([lines[0], *lines[-WARM_UP:]]) + "\n")
    settle(cluster, peer)
    size.failed += register(replace(setup, users=last), WARM_UP, WARM_UP)
    seconds = max(1, min(setup.seconds, (SMALL - WARM_UP) // rate))
    size.uncached.append(refresh(side, replace(setup, seconds=seconds), rate))


def restart(peer: MizuPeer) -> float:
    """:return: seconds from spawn to ready."""
    peer.server.stop()
    began_s = time.monotonic()
    peer.server.start()
    return time.monotonic() - began_s


def fill(setup: Setup, peer: MizuPeer, phones: int, rate: int) -> int:
    """
    Register everybody.

    When others use the processors too, SIPp counts failures here: a REGISTER sent again after 500 ms is
    challenged anew, since challenges keep no transaction, and SIPp, unlike a phone, takes the second 401 for
    a wrong answer to what it sent meanwhile. While anybody is not registered, all get another turn.

    :return: what SIPp counted in all turns.
    :raise SystemExit: somebody is still not registered: the rate is too high for this machine.
    """
    failed = 0
    for _ in range(PASSES_MAX):
        failed += register(setup, phones, rate)
        if registered(peer) >= phones:
            return failed
        print(f"  {registered(peer)} of {phones} registered, {failed} failed; again", flush=True)
    raise SystemExit("bench: not everybody could be registered; lower --fill-rate")


def register(setup: Setup, count: int, rate: int) -> int:
    """Register the users of the file. :return: how many failed."""
    limit_s = count / rate + 20
    sipp = Sipp(setup, "register", rate, count, deadline_s=limit_s).wait(limit_s + 10)
    ok = int(sipp.totals()["ok"])
    sipp.remove()
    return count - ok


def refresh(side: Side, setup: Setup, rate: int) -> Run:
    """One run of refreshes."""
    peer, size, seconds = side.peer, side.size, setup.seconds
    before, busy_s, began_s = cpu_s(peer), procfs.machine_busy_s(), time.monotonic()
    sipp = Sipp(setup, "register", rate, rate * seconds, deadline_s=seconds + 10, trace=True)
    sipp.wait(seconds + 20)
    server_s, db_s, own_s = (now - then for now, then in zip(cpu_s(peer), before, strict=True))
    others_s = procfs.machine_busy_s() - busy_s - server_s - db_s - own_s
    run = Run(
        delays_ms=read_steps(sipp.messages).get(STEP, []),
        server_us=server_s / (rate * seconds) * 1e6,
        db_us=db_s / (rate * seconds) * 1e6,
        others_cpu=max(0.0, others_s) / (time.monotonic() - began_s),
    )
    size.failed += rate * seconds - int(sipp.totals()["ok"])
    sipp.remove()
    say(
        size,
        f"{setup.users.stem} n {len(run.delays_ms)} p50 {quantile(run.delays_ms, 0.5):.2f} "
        f"p99 {run.p99_ms:.2f} ms, server {run.server_us:.0f} us database {run.db_us:.0f} us each, "
        f"others {run.others_cpu:.2f}",
    )
    return run


def registered(peer: MizuPeer) -> int:
    return int(peer.server.status()["registrations"]["contacts"])


def cpu_s(peer: MizuPeer) -> tuple[float, float, float]:
    """CPU seconds of the server, of PostgreSQL, and of this process with the SIPps that have ended."""
    return procfs.cpu_s(peer.server_pids()), procfs.cpu_s(peer.db_pids()), sum(os.times()[:4])


def pss_kib(peer: MizuPeer) -> int:
    return procfs.memory(peer.server_pids()).pss


def say(size: Size, text: str) -> None:
    print(f"  mizu {size.accounts} accounts: {text}", flush=True)


def table(sizes: list[Size], rate: int) -> None:
    """The two sizes side by side."""
    rows = [
        ("accounts", [f"{size.accounts:,}" for size in sizes]),
        ("registrations held", [f"{size.registrations:,}" for size in sizes]),
        ("start, nobody registered, s", [f"{size.start_empty_s:.2f}" for size in sizes]),
        ("start, all registered, s", [f"{size.start_full_s:.2f}" for size in sizes]),
        ("registrations after that start", [f"{size.loaded:,}" for size in sizes]),
        ("server, nobody registered, MiB", [f"{size.base_pss_kib / 1024:.1f}" for size in sizes]),
        ("server, all registered, MiB", [f"{size.full_pss_kib / 1024:.1f}" for size in sizes]),
        ("memory of a registration, KiB", ["-", f"{sizes[-1].kib_each:.2f}"]),
        ("  of it after a restart, KiB", ["-", f"{sizes[-1].kib_each_loaded:.2f}"]),
        *latency_rows(f"REGISTER at {rate}/s", [size.all_phones for size in sizes]),
        *latency_rows(f"  only {SMALL:,} of the phones", [size.same_phones for size in sizes]),
        *latency_rows("  account not cached", [size.uncached for size in sizes]),
        ("first registrations failed in SIPp", [str(size.fill_failed) for size in sizes]),
        ("refreshes failed", [str(size.failed) for size in sizes]),
        (
            "processors used by others, most",
            [f"{max(run.others_cpu for run in (*size.all_phones, *size.same_phones)):.2f}" for size in sizes],
        ),
    ]
    print()
    for name, values in rows:
        print(f"{name:40}" + "".join(f"{value:>20}" for value in values))


def together(runs: list[Run]) -> list[float]:
    return [delay for run in runs for delay in run.delays_ms]


def latency_rows(name: str, sizes: list[list[Run]]) -> list[tuple[str, list[str]]]:
    """p50, p99 with the least and the most of a run, processor time."""
    p50 = [f"{quantile(together(runs), 0.5):.2f}" for runs in sizes]
    p99 = []
    for runs in sizes:
        each = [run.p99_ms for run in runs]
        p99.append(f"{quantile(together(runs), 0.99):.2f} ({min(each):.2f}-{max(each):.2f})")
    server = [f"{statistics.median(run.server_us for run in runs):.0f}" for runs in sizes]
    return [(f"{name}, p50, ms", p50), (f"{name}, p99, ms", p99), (f"{name}, server, us", server)]
