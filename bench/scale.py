"""``python -m bench scale``: a million accounts and a hundred thousand phones, beside a thousand of both."""

import os
import statistics
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench import procfs
from bench.load import Setup, Sipp, latency
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
class Size:
    """What a server with so many accounts and registrations gave. Latencies are of the second REGISTER."""

    accounts: int
    registrations: int  #: held, as ``/status`` says
    fill_failed: int = 0  #: first registrations that SIPp counts as failed, see :func:`fill`
    failed: int = 0  #: refreshes
    copy_s: float = 0.0
    start_empty_s: float = 0.0  #: from spawn to ``mizu ready:`` with all accounts, nobody registered
    start_full_s: float = 0.0  #: the same with all registrations
    loaded: int = 0  #: registrations that ``/status`` says after that start
    base_pss_kib: int = 0
    full_pss_kib: int = 0
    loaded_pss_kib: int = 0
    p50_ms: float = 0.0  #: median of the runs, answers of the account store cached
    p99_ms: float = 0.0
    p99_runs_ms: tuple[float, ...] = ()
    uncached_p50_ms: float = 0.0  #: after a restart: each REGISTER asks PostgreSQL
    uncached_p99_ms: float = 0.0
    others_cpu: float = 0.0  #: processors used by others while registrations were refreshed

    @property
    def kib_each(self) -> float:
        """Growth for each registration, with its cached account and the count of its nonce."""
        return (self.full_pss_kib - self.base_pss_kib) / max(self.registrations, 1)

    @property
    def kib_each_loaded(self) -> float:
        """Growth for each registration that was read back after a restart: the bindings alone."""
        return (self.loaded_pss_kib - self.base_pss_kib) / max(self.loaded, 1)


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
    Both sizes, one after the other.

    :param setup: its peer and users are replaced.
    :param rate: refreshes a second while latency is taken, the same for both sizes.
    :param fill_rate: first registrations a second.
    :raise SystemExit: the sizes do not go together.
    """
    if registrations > accounts or registrations < SMALL:
        raise SystemExit(f"bench: --registrations must be between {SMALL} and --accounts")
    if registrations / fill_rate > FILL_S_MAX:
        raise SystemExit(f"bench: that takes more than {FILL_S_MAX} s; raise --fill-rate")
    sizes = []
    for all_of_them, phones in ((SMALL, SMALL), (accounts, registrations)):
        peer = MizuPeer(cluster, setup.scratch, cpu=server_cpu, users=all_of_them)
        users = write_injection(setup.scratch / f"users{phones}.csv", phones)
        try:
            sizes.append(
                one_size(cluster, replace(setup, peer=peer, users=users), peer, phones, rate, fill_rate)
            )
        finally:
            peer.stop()
    table(sizes, rate)
    return [
        asdict(size) | {"kib_each": size.kib_each, "kib_each_loaded": size.kib_each_loaded} for size in sizes
    ]


def one_size(cluster: Cluster, setup: Setup, peer: MizuPeer, phones: int, rate: int, fill_rate: int) -> Size:
    """Start, register everybody, refresh, restart, refresh."""
    began_s = time.monotonic()
    peer.start()
    size = Size(peer.users, 0, copy_s=time.monotonic() - began_s)
    # what autovacuum would do some time later, in the middle of a measurement
    cluster.sql(peer.database, "vacuum analyze account;\ncheckpoint;\n")
    size.start_empty_s = restart(peer)
    size.base_pss_kib = pss_kib(peer)
    say(size, f"accounts in {size.copy_s:.0f} s, ready after {size.start_empty_s:.2f} s")

    size.fill_failed = fill(setup, peer, phones, fill_rate)
    time.sleep(SETTLE_S)
    size.registrations = registered(peer)
    size.full_pss_kib = pss_kib(peer)
    say(size, f"{size.registrations} registered, {size.kib_each:.2f} KiB each")

    began = procfs.machine_busy_s(), own_s(peer), time.monotonic()
    runs = [refresh(size, setup, rate) for _ in range(setup.repeat)]
    size.others_cpu = max(0.0, procfs.machine_busy_s() - began[0] - own_s(peer) + began[1]) / (
        time.monotonic() - began[2]
    )
    size.p50_ms = statistics.median(run["p50_ms"] for run in runs)
    size.p99_runs_ms = tuple(run["p99_ms"] for run in runs)
    size.p99_ms = statistics.median(size.p99_runs_ms)

    size.start_full_s = restart(peer)
    size.loaded = registered(peer)
    size.loaded_pss_kib = pss_kib(peer)
    say(size, f"ready after {size.start_full_s:.2f} s with {size.loaded} registrations")

    # each phone once: its account is not cached; the last ones of the file warm up
    lines = setup.users.read_text().splitlines()
    last = setup.scratch / "users_last.csv"
    last.write_text("\n".join([lines[0], *lines[-WARM_UP:]]) + "\n")
    size.failed += register(replace(setup, users=last), WARM_UP, WARM_UP)
    seconds = max(1, min(setup.seconds, (phones - WARM_UP) // rate))
    uncached = refresh(size, replace(setup, seconds=seconds), rate)
    size.uncached_p50_ms, size.uncached_p99_ms = uncached["p50_ms"], uncached["p99_ms"]
    return size


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


def refresh(size: Size, setup: Setup, rate: int) -> dict[str, float]:
    """One run of refreshes. :return: quantiles of the REGISTER that carries the digest."""
    figures = latency(setup, "w2", rate)
    size.failed += figures["failed"]
    step: dict[str, float] = figures[STEP]
    return step


def registered(peer: MizuPeer) -> int:
    return int(peer.server.status()["registrations"]["contacts"])


def own_s(peer: MizuPeer) -> float:
    """CPU seconds of server, PostgreSQL, this process and the SIPps that have ended."""
    return procfs.cpu_s([*peer.server_pids(), *peer.db_pids()]) + sum(os.times()[:4])


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
        (f"REGISTER at {rate}/s, p50, ms", [f"{size.p50_ms:.2f}" for size in sizes]),
        (f"REGISTER at {rate}/s, p99, ms", [f"{size.p99_ms:.2f}" for size in sizes]),
        ("  account not cached, p50, ms", [f"{size.uncached_p50_ms:.2f}" for size in sizes]),
        ("  account not cached, p99, ms", [f"{size.uncached_p99_ms:.2f}" for size in sizes]),
        ("first registrations failed in SIPp", [str(size.fill_failed) for size in sizes]),
        ("refreshes failed", [str(size.failed) for size in sizes]),
        ("processors used by others", [f"{size.others_cpu:.2f}" for size in sizes]),
    ]
    print()
    for name, values in rows:
        print(f"{name:36}" + "".join(f"{value:>12}" for value in values))
