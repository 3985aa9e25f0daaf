"""W5 ``tools``: SIPVicious and SIPp floods of wrong passwords while customers register, and calm in turns."""

import csv
import os
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench import flood, load, procfs
from bench.load import Setup, Sipp
from bench.peers import MizuPeer, user_name

KIND = "tools"
#: SIPVicious: program, the address it sends from, what it is told. ``-t 0``: as fast as it can.
TOOLS = (
    # one request to each target: forty times the same one
    ("svmap", "127.0.0.61", ("-m", "REGISTER")),
    ("svwar", "127.0.0.62", ("--force", "-e", "1000-9999")),
    ("svcrack", "127.0.0.63", ("-u", user_name(1), "-r", "1000-999999")),
)
SVMAP_TARGETS = 40
#: Runs one of these programs of Debian's: svwar and svcrack do not heed their ``-b``, and 127.0.0.1 is on
#: the white list.
FROM_SOURCE = """
import os, runpy, socket, sys
source, sys.argv = sys.argv[1], sys.argv[2:]
sys.path.insert(0, os.path.dirname(os.path.realpath(sys.argv[0])))
bind = socket.socket.bind
socket.socket.bind = lambda sock, address: bind(sock, (source, address[1]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TOOL_PORT = 5_981
#: SIPp floods of wrong passwords, and how many registrations each begins in a second.
FLOOD_SOURCES = ("127.0.0.64", "127.0.0.65", "127.0.0.66")
FLOOD_PORT = 5_077
FLOOD_PER_S = 1_000
ANSWER_S = 1.0  #: a probe that is not answered for so long is not answered
#: Attackers share the processor of the server, as packets of strangers would, and get what it leaves: on
#: that of the SIPp whose delays are measured they would delay that instead.
LEFTOVERS = ("chrt", "--idle", "0")


@dataclass
class Attack:
    """One peer, attacked. Delays are of the REGISTER with credentials, of all phases of a kind together."""

    peer: str
    legitimate_per_s: int
    phases: int  #: under attack; as many and one more were calm
    calm_p50_ms: float
    calm_p99_ms: float
    calm_p99_phases_ms: tuple[float, ...]
    attack_p50_ms: float
    attack_p99_ms: float
    attack_p99_phases_ms: tuple[float, ...]
    failed: int  #: legitimate registrations
    retransmitted_per_op: float  #: under attack
    calm_server_cpu: float
    server_cpu: float  #: under attack, in processors
    datagrams_per_s: float  #: under attack, of everybody on the machine, answers too
    flood_sent: float  #: REGISTERs a second of the SIPp floods together
    flood_answers: int  #: that they got in all phases
    flood_answers_late: int  #: of these in the second half of a phase
    attackers: int
    silenced: int  #: attackers that got no answer after the last phase
    banned: int | None  #: of them as the server says; None: it does not say
    tools_missing: tuple[str, ...]  #: of SIPVicious, not installed

    @property
    def p99_ratio(self) -> float:
        return self.attack_p99_ms / self.calm_p99_ms

    def __str__(self) -> str:
        banned = "" if self.banned is None else f", {self.banned} on its ban list"
        missing = f"; WITHOUT {', '.join(self.tools_missing)}: not installed" if self.tools_missing else ""
        return (
            f"RESULT {self.peer} w5 tools: legitimate {self.legitimate_per_s}/s, {self.failed} failed, "
            f"retransmitted/op {self.retransmitted_per_op:.3f}; "
            f"calm p50 {self.calm_p50_ms:.2f} p99 {self.calm_p99_ms:.2f} ms "
            f"({_range(self.calm_p99_phases_ms)}), "
            f"attacked p50 {self.attack_p50_ms:.2f} p99 {self.attack_p99_ms:.2f} ms "
            f"({_range(self.attack_p99_phases_ms)}), p99 ratio {self.p99_ratio:.2f}; "
            f"server cpu calm {self.calm_server_cpu:.2f} attacked {self.server_cpu:.2f}; "
            f"{self.datagrams_per_s:.0f} datagrams/s; "
            f"{self.silenced} of {self.attackers} attackers silenced{banned}; "
            f"floods sent {self.flood_sent:.0f}/s, got {self.flood_answers} answers, "
            f"{self.flood_answers_late} of them in the second half{missing}"
        )


def measure(setup: Setup, legitimate_per_s: int, server_cpu: str) -> list[dict[str, Any]]:
    """Calm, attack, calm, attack, ... calm: a machine that changes meanwhile shows in the calm phases."""
    elsewhere = replace(setup, generator_cpu=server_cpu)
    missing = tuple(tool for tool, _, _ in TOOLS if shutil.which(tool) is None)
    for tool in missing:
        print(
            f"bench: {tool} is not installed (Debian: sipvicious); the attack goes on without it", flush=True
        )
    peer = setup.peer
    if isinstance(peer, MizuPeer):
        # else each of its datagrams is dropped for its User-Agent, and the other defences have no work
        peer.console("options set guardscanners ''")
    load.warm_up(setup, "w2", legitimate_per_s * setup.seconds)
    calm, attacked = [flood.legitimate(setup, "calm", legitimate_per_s)], []
    datagrams, sent, answers = 0.0, 0.0, [0, 0]
    silenced, banned = 0, None
    for _ in range(setup.repeat):
        peer.forgive()
        with attackers(elsewhere, missing) as floods:
            time.sleep(flood.LEAD_S)
            before, began_s = procfs.udp_sent(), time.monotonic()
            attacked.append(flood.legitimate(setup, KIND, legitimate_per_s))
            datagrams += (procfs.udp_sent() - before) / (time.monotonic() - began_s) / setup.repeat
            time.sleep(1.0)  # SIPp writes its counts once a second
            counts = [_counts(sipp) for sipp in floods]
        silenced, banned = _silenced(setup), _banned(setup)
        for rows in counts:
            sent += rows[-1][0] / (len(rows) * setup.repeat)
            answers[0] += rows[-1][1]
            answers[1] += rows[-1][1] - rows[len(rows) // 2][1]
        time.sleep(flood.REST_S)
        calm.append(flood.legitimate(setup, "calm", legitimate_per_s))
    calm_ms = [delay for phase in calm for delay in phase.delays_ms]
    attacked_ms = [delay for phase in attacked for delay in phase.delays_ms]
    result = Attack(
        peer=peer.name,
        legitimate_per_s=legitimate_per_s,
        phases=setup.repeat,
        calm_p50_ms=load.quantile(calm_ms, 0.5),
        calm_p99_ms=load.quantile(calm_ms, 0.99),
        calm_p99_phases_ms=tuple(load.quantile(phase.delays_ms, 0.99) for phase in calm),
        attack_p50_ms=load.quantile(attacked_ms, 0.5),
        attack_p99_ms=load.quantile(attacked_ms, 0.99),
        attack_p99_phases_ms=tuple(load.quantile(phase.delays_ms, 0.99) for phase in attacked),
        failed=sum(phase.count - phase.ok for phase in (*calm, *attacked)),
        retransmitted_per_op=statistics.mean(phase.retransmitted / phase.count for phase in attacked),
        calm_server_cpu=statistics.mean(phase.server_cpu for phase in calm),
        server_cpu=statistics.mean(phase.server_cpu for phase in attacked),
        datagrams_per_s=datagrams,
        flood_sent=sent,
        flood_answers=answers[0],
        flood_answers_late=answers[1],
        attackers=len(_addresses()),
        silenced=silenced,
        banned=banned,
        tools_missing=missing,
    )
    print(result, flush=True)
    return [asdict(result) | {"p99_ratio": result.p99_ratio}]


@contextmanager
def attackers(setup: Setup, missing: tuple[str, ...]) -> Iterator[list[Sipp]]:
    """All of them at work; the tools begin again whenever they give up. :return: the SIPp floods."""
    host, port = setup.peer.address
    prefix = [*LEFTOVERS, *load.pinned(setup.generator_cpu)]
    seconds, tools = setup.seconds + 5, []
    for tool, source, words in TOOLS:
        if tool in missing:
            continue
        targets = [host] * (SVMAP_TARGETS if tool == "svmap" else 1)
        program = ["/usr/bin/python3", "-c", FROM_SOURCE, source, str(shutil.which(tool))]
        own = ["-t", "0", "-x", source, "-P", str(TOOL_PORT), "-p", str(port)]
        command = shlex.join([*prefix, *program, *own, *words, *targets])
        tools.append(
            subprocess.Popen(
                ["sh", "-c", f"while :; do {command}; sleep 0.05; done"],
                cwd=setup.scratch,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
    floods = [
        Sipp(
            setup,
            "register_wrong",
            FLOOD_PER_S,
            FLOOD_PER_S * seconds * 2,  # it is ended by us
            deadline_s=seconds * 2,
            source=source,
            port=FLOOD_PORT,
            media_port=26_000 + 100 * number,
            counts=True,
            prefix=LEFTOVERS,
        )
        for number, source in enumerate(FLOOD_SOURCES)
    ]
    try:
        yield floods
    finally:
        for process in tools:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for sipp in floods:
            sipp.process.kill()
            sipp.process.wait()
            sipp.remove()


def _counts(sipp: Sipp) -> list[tuple[int, int]]:
    """Requests sent and answers got so far, once a second."""
    (path,) = sipp.directory.glob("*_counts.csv")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file, delimiter=";") if row.get("0_REGISTER_Sent")]

    def total(row: dict[str, str], *ends: str) -> int:
        return sum(int(value) for name, value in row.items() if name and name.endswith(ends))

    return [(total(row, "REGISTER_Sent"), total(row, "_Recv", "401_Retrans", "_Unexp")) for row in rows]


def _addresses() -> list[tuple[str, int]]:
    tools = [(source, TOOL_PORT) for tool, source, _ in TOOLS if shutil.which(tool)]
    return tools + [(source, FLOOD_PORT) for source in FLOOD_SOURCES]


def _silenced(setup: Setup) -> int:
    """How many attackers get no answer now, where they sent from."""
    socks = []
    for source, port in _addresses():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((source, port))
        sock.setblocking(False)
        text = (
            "OPTIONS sip:bench.local SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {source}:{port};rport;branch=z9hG4bK{time.monotonic_ns()}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:probe@bench.local>;tag=1\r\nTo: <sip:probe@bench.local>\r\n"
            f"Call-ID: {time.monotonic_ns()}@{source}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        sock.sendto(text.encode(), setup.peer.address)
        socks.append(sock)
    time.sleep(ANSWER_S)
    silent = 0
    for sock in socks:
        try:
            sock.recv(65_535)
        except BlockingIOError:
            silent += 1
        sock.close()
    return silent


def _banned(setup: Setup) -> int | None:
    if not isinstance(setup.peer, MizuPeer):
        return None
    bans = setup.peer.console("banned")["bans"]
    hosts = {ban["target"].partition(":")[0] for ban in bans}
    return sum(source in hosts for source, _ in _addresses())


def _range(values: tuple[float, ...]) -> str:
    return f"{min(values):.2f}-{max(values):.2f}"
