"""``python -m bench timing``: does the time of an answer tell which usernames exist?

REGISTERs with a wrong password, for accounts, for those with owners above them, for disabled ones and for
names of nobody, mixed by chance, one at a time over UDP to a server of its own. What somebody would learn who
measures them is printed: how far apart they are, how often he would guess right from one answer, and from how
many answers about one name he would know.
"""

import gc
import random
import secrets
import shutil
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, inf, sqrt
from pathlib import Path
from typing import Any

from mizu.sip.digest import answer_challenge
from mizu.sip.message import Request, Response
from mizu.sip.parser import parse_datagram
from mizu.testing.server import MizuProcess

DOMAIN = "mizu.test"
KINDS = ("nobody", "account", "owned", "disabled")
OWNERS = 2  #: above each account that is owned
#: Wrong passwords for one name; more would be answered at a pace, by the option guardaccountfails.
TRIES_MAX = 15  # besides the one that warms up
NONCE_S = 200.0  #: a challenge is answered for so long; nonces are good for 300 s
ANSWER_MAX_S = 2.0
RESAMPLES = 400
CONFIDENCE = 0.95  #: the interval of the difference covers it so often
#: What is compared: nine of ten answers take longer. Other work of the machine delays answers and hides what
#: they need; the fastest show it best.
FAST = 0.1
#: So far apart is not apart: a local network adds more by chance.
CLOSE_US = 5.0


@dataclass(frozen=True)
class Comparison:
    """Two samples of times, microseconds."""

    first: str
    second: str
    count: int  #: of each
    first_us: float  #: of the fast answers
    second_us: float
    median_us: float  #: of all
    least_us: float  #: interval of the difference, second minus first
    most_us: float
    rightly: float  #: how often one of each is told apart by which took longer; 0.5: never
    z: float  #: of the rank sum test of Mann and Whitney; beyond 1.96 it is no chance, of 100 in 95

    @property
    def apart(self) -> bool:
        """Are they surely so far apart that it matters?"""
        return self.least_us > CLOSE_US or self.most_us < -CLOSE_US

    @property
    def tries(self) -> float:
        """Answers about one name until the mean tells in 95 of 100 cases; normal approximation."""
        shift = abs(statistics.NormalDist().inv_cdf(min(max(self.rightly, 1e-9), 1 - 1e-9))) * sqrt(2)
        return inf if not shift else float(ceil((2 * 1.645 / shift) ** 2))

    def __str__(self) -> str:
        verdict = "TOLD APART" if self.apart else "not told apart"
        return (
            f"RESULT {self.second:8} against {self.first:8} {self.count} answers each, median "
            f"{self.median_us:.0f} us; fast ones {self.second_us:.1f} and {self.first_us:.1f} us, difference "
            f"{self.least_us:+.1f} to {self.most_us:+.1f} us; longer in {100 * self.rightly:.1f} % "
            f"(z {self.z:+.1f}), about {self.tries:.0f} tries a name: {verdict}"
        )


def compare(
    first: str, second: str, first_us: Sequence[float], second_us: Sequence[float], seed: int = 1
) -> Comparison:
    """How the second sample differs from the first."""
    chance = random.Random(seed)

    def fast_of_some(sample: Sequence[float]) -> float:
        return fast(chance.choices(sample, k=len(sample)))

    differences = sorted(fast_of_some(second_us) - fast_of_some(first_us) for _ in range(RESAMPLES))
    outside = (1 - CONFIDENCE) / 2
    rightly, z = rank_sum(first_us, second_us)
    return Comparison(
        first=first,
        second=second,
        count=min(len(first_us), len(second_us)),
        first_us=fast(first_us),
        second_us=fast(second_us),
        median_us=statistics.median([*first_us, *second_us]),
        least_us=differences[round(outside * (RESAMPLES - 1))],
        most_us=differences[round((1 - outside) * (RESAMPLES - 1))],
        rightly=rightly,
        z=z,
    )


def fast(sample: Sequence[float]) -> float:
    """What one of ten does not reach."""
    return sorted(sample)[int(FAST * len(sample))]


def rank_sum(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Mann and Whitney: how often one of the second is the larger, and by how many deviations that is odd."""
    values = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks, at = 0.0, 0
    while at < len(values):  # equal ones share their ranks
        end = at
        while end < len(values) and values[end][0] == values[at][0]:
            end += 1
        ranks += (at + end + 1) / 2 * sum(which for _, which in values[at:end])
        at = end
    pairs = len(first) * len(second)
    larger = ranks - len(second) * (len(second) + 1) / 2
    spread = sqrt(pairs * (len(first) + len(second) + 1) / 12)
    return larger / pairs, (larger - pairs / 2) / spread


class Prober:
    """Somebody who tries wrong passwords and looks at the clock."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(server)
        self._socket.settimeout(ANSWER_MAX_S)
        self._host, self._port = self._socket.getsockname()
        self._challenge = ""
        self._good_until_s = 0.0

    def close(self) -> None:
        self._socket.close()

    def try_one(self, username: str) -> float:
        """
        One wrong password. :return: microseconds until the answer.

        :raise RuntimeError: no answer, or another one than a fresh challenge.
        """
        if time.monotonic() > self._good_until_s:
            self._challenge = self._ask(self._request(username).to_bytes())[1].get("www-authenticate") or ""
            self._good_until_s = time.monotonic() + NONCE_S
        request = self._request(username)
        value = answer_challenge(
            self._challenge,
            username=username,
            password="wrong",
            method="REGISTER",
            uri=request.uri,
            cnonce=secrets.token_hex(8),
        )
        request.add("Authorization", value)
        took_us, answer = self._ask(request.to_bytes())
        if answer.status != 401 or "stale" in (answer.get("www-authenticate") or "").lower():
            raise RuntimeError(f"no answer to a wrong password: {answer.status}")
        return took_us

    def _ask(self, data: bytes) -> tuple[float, Response]:
        began_ns = time.perf_counter_ns()
        self._socket.send(data)
        received = self._socket.recv(65_535)
        took_us = (time.perf_counter_ns() - began_ns) / 1000
        response = parse_datagram(received)
        if not isinstance(response, Response):
            raise RuntimeError("the server asks us something")
        return took_us, response

    def _request(self, username: str) -> Request:
        fields = [
            ("Via", f"SIP/2.0/UDP {self._host}:{self._port};rport;branch=z9hG4bK{secrets.token_hex(8)}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{username}@{DOMAIN}>;tag={secrets.token_hex(4)}"),
            ("To", f"<sip:{username}@{DOMAIN}>"),
            ("Call-ID", secrets.token_hex(12)),
            ("CSeq", "1 REGISTER"),
            ("Contact", f"<sip:{username}@{self._host}:{self._port}>"),
            ("Content-Length", "0"),
        ]
        return Request("REGISTER", f"sip:{DOMAIN}", fields)


def names_of(kind: str, count: int) -> list[str]:
    """Equally long for every kind, so that nothing else differs."""
    return [f"{kind[0]}{number:06d}" for number in range(count)]


def measure(scratch: Path, count: int, server_cpu: str) -> list[dict[str, Any]]:
    """
    Start a server with an empty database of its own, ask it, stop it.

    :param count: answers of each kind.
    :param server_cpu: processor of the server and its PostgreSQL.
    """
    names = {kind: names_of(kind, ceil(count / TRIES_MAX)) for kind in KINDS}
    options = ("--sip", "udp:127.0.0.1:0", "--http", "127.0.0.1:0")
    data = scratch / "timing"
    shutil.rmtree(data, ignore_errors=True)
    with MizuProcess(data, *options, pin=server_cpu) as server:
        owner = ""
        for number in range(OWNERS):
            told(server, f"adduser owner{number} parent_id={owner}" if number else "adduser owner0")
            owner = f"owner{number}"
        for kind, fields in (("account", ""), ("owned", f"parent_id={owner}"), ("disabled", "enabled=0")):
            told(server, f"adduser {names[kind][0]} --count {len(names[kind])} {fields}")
        prober = Prober(server.address("udp"))
        try:
            times_us = probe(prober, names, count)
        finally:
            prober.close()
    rows = [compare(KINDS[0], kind, times_us[KINDS[0]], times_us[kind]) for kind in KINDS[1:]]
    for row in rows:
        print(row, flush=True)
    return [{"peer": "mizu", "work": "timing", "apart": row.apart, **asdict(row)} for row in rows]


def told(server: MizuProcess, command: str) -> None:
    """:raise RuntimeError: the console refuses it."""
    answer = server.console(command)
    if not answer["ok"]:
        raise RuntimeError(f"{command}: {answer}")


def probe(prober: Prober, names: dict[str, list[str]], count: int) -> dict[str, list[float]]:
    """Times of each kind, asked about in an order by chance, so that what else goes on meets all of them."""
    chance = random.Random(7)
    times_us: dict[str, list[float]] = {kind: [] for kind in names}
    for kind in names:  # imports, statements and caches of the first time
        for name in names[kind][:20]:
            prober.try_one(name)
    gc.disable()
    try:
        for number in range(count):
            for kind in chance.sample(list(names), len(names)):
                times_us[kind].append(prober.try_one(names[kind][number % len(names[kind])]))
    finally:
        gc.enable()
    return times_us
