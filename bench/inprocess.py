"""The switch in this process, without sockets and without a database: what its own code costs.

Time is virtual, so that every run does the same steps. Messages go straight into the UDP transport and what
it sends is kept; database statements are made in full and answered at once. Socket calls, the event loop and
PostgreSQL come on top (about 10 us for a datagram in and one out).
"""

import cProfile
import gc
import hashlib
import io
import pstats
import statistics
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from bench.peers import DOMAIN, MIZU_CONFIG, password_of, user_name
from mizu import app
from mizu.config_file import CommandLine, read_config
from mizu.interfaces import IClock
from mizu.node import Node
from mizu.observe import Metrics, StatusBoard
from mizu.sip.digest import ha1
from mizu.sip.transport.udp import DatagramTransport
from mizu.store.calls import PostgresCallStore
from mizu.store.locations import PostgresLocationStore
from mizu.testing.stores import MemoryAccountStore

US = ("127.0.0.1", 5060)
CALLER = ("127.0.0.1", 5070)
CALLEE = ("127.0.0.1", 5080)
CALLED = "49301234567"
#: Between two messages of one call, and between groups of operations, seconds of virtual time.
STEP_S = 0.005
#: Operations under way at one time; they share database statements as they would at a thousand a second.
TOGETHER = 5
#: One round of a measurement.
ROUND = {"w1": 1000, "w2": 500, "w3": 100}

SDP = (
    "v=0\r\no=- 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)


@implementer(IClock)
class VirtualClock:
    """The reactor's seconds."""

    def __init__(self, reactor: MemoryReactorClock) -> None:
        self._reactor = reactor
        self._began = datetime.now(UTC)
        self._began_s = self._began.timestamp()

    def mono_s(self) -> float:
        return float(self._reactor.seconds())

    def wall(self) -> datetime:
        return self._began + timedelta(seconds=self._reactor.seconds())

    def wall_s(self) -> float:
        return self._began_s + float(self._reactor.seconds())


class AnsweringLink:
    """In the place of a database connection: every statement is done in the next turn of the reactor."""

    ready = True

    def __init__(self, reactor: MemoryReactorClock) -> None:
        self._reactor = reactor
        self.statements = 0

    def operate(self, sql: str, params: Any = None) -> "Deferred[None]":
        self.statements += 1
        done: Deferred[None] = Deferred()
        self._reactor.callLater(0, done.callback, None)
        return done


class InProcessStore:
    """What the node needs of a store."""

    node = "bench"

    def __init__(self, reactor: MemoryReactorClock, clock: IClock, users: int) -> None:
        link: Any = AnsweringLink(reactor)
        nobody: Any = None
        self.accounts = MemoryAccountStore()
        for i in range(1, users + 1):
            name = user_name(i)
            self.accounts.add(
                name, {kind: ha1(name, DOMAIN, password_of(i), kind) for kind in ("MD5", "SHA-256")}, {}
            )
        self.locations: Any = PostgresLocationStore(
            nobody, link, node=lambda: self.node, limit=100_000, reactor=reactor, clock=clock
        )
        self.locations.load = lambda: succeed([])
        self.calls = PostgresCallStore(nobody, link, lambda: self.node, 100_000, reactor)
        self.changes = self

    def subscribe(self, topic: str, callback: Callable[..., Any]) -> None:
        """Nothing changes."""

    def __getattr__(self, name: str) -> Any:
        """Tables that no message needs."""
        return SimpleNamespace()


class Switch:
    """A node, one UDP listener that is no socket, and the time that its code has taken."""

    def __init__(self, scratch: Path, users: int = 1000) -> None:
        self.reactor: Any = MemoryReactorClock()
        clock = VirtualClock(self.reactor)
        file = scratch / "inprocess.toml"
        file.write_text(MIZU_CONFIG)
        config = read_config(str(file), CommandLine(data=str(scratch / "inprocess")))
        store: Any = InProcessStore(self.reactor, clock, users)
        metrics = Metrics()
        self.node = Node(
            config,
            reactor=self.reactor,
            clock=clock,
            store=store,
            metrics=metrics,
            board=StatusBoard(clock, metrics, "bench", "bench"),
            tag_key=bytes(16),
            nonce_key=bytes(32),
            shutdown=lambda graceful: None,
        )
        table: Any = self.node._transports
        self.out: list[tuple[bytes, tuple[str, int]]] = []
        self._udp = DatagramTransport(
            self.node.core, table._guard, table._limits, table.report, table._local_towards
        )
        self._udp.host, self._udp.port = US
        self._udp.listener = f"udp:{US[0]}:{US[1]}"
        self._udp.sendto = lambda data, to: self.out.append((data, to))
        table._udp.append((self._udp, self._udp.listener))
        table._reaches = None
        self.node.core.ready = True
        self.users = users
        self.spent_s = 0.0
        self.profile: cProfile.Profile | None = None
        self._digests: dict[int, str] = {}

    def _timed(self, work: Callable[..., Any], *args: Any) -> None:
        profile = self.profile
        if profile is not None:
            profile.enable()
        began = time.thread_time()
        work(*args)
        self.spent_s += time.thread_time() - began
        if profile is not None:
            profile.disable()

    def feed(self, messages: list[bytes], source: tuple[str, int]) -> list[tuple[bytes, tuple[str, int]]]:
        """Give these datagrams to the server, let a moment pass. :return: what it sent."""
        self.out.clear()
        self._timed(self._receive, messages, source)
        self._timed(self.reactor.advance, STEP_S)
        return list(self.out)

    def _receive(self, messages: list[bytes], source: tuple[str, int]) -> None:
        received = self._udp.datagramReceived
        for message in messages:
            received(message, source)

    def authorization(self, i: int, header: str, method: str, uri: str, answer: bytes) -> str:
        """The header that answers a challenge, as SIPp writes it."""
        name = user_name(i)
        nonce = answer.split(b'nonce="')[1].split(b'"')[0].decode()
        secret = self._digests.get(i) or self._digests.setdefault(i, ha1(name, DOMAIN, password_of(i), "MD5"))
        ha2 = hashlib.md5(f"{method}:{uri}".encode()).hexdigest()
        response = hashlib.md5(f"{secret}:{nonce}:00000001:6b8b4567:auth:{ha2}".encode()).hexdigest()
        return (
            f'{header}: Digest username="{name}",realm="{DOMAIN}",cnonce="6b8b4567",nc=00000001,qop=auth,'
            f'uri="{uri}",nonce="{nonce}",response="{response}",algorithm=MD5\r\n'
        )


def message(
    start: str, name: str, to: str, n: int, step: str, cseq: str, more: str = "", body: str = ""
) -> bytes:
    """A request as SIPp's scenarios write it."""
    return (
        f"{start} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5070;rport;branch=z9hG4bK-77-{n}-{step}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:{name}@{DOMAIN}>;tag=77t{n}\r\nTo: {to}\r\n"
        f"Call-ID: {n}-77@127.0.0.1\r\nCSeq: {cseq}\r\n{more}User-Agent: bench\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def header(data: bytes, name: bytes) -> str:
    """First line of a header of ours, whole."""
    return next(line for line in data.split(b"\r\n") if line.startswith(name + b": ")).decode()


def options(switch: Switch, numbers: list[int]) -> None:
    """W1."""
    requests = [
        message(
            f"OPTIONS sip:{DOMAIN}",
            "u",
            f"<sip:{DOMAIN}>",
            n,
            "1",
            "1 OPTIONS",
            "Contact: <sip:u@127.0.0.1:5070>\r\nAccept: application/sdp\r\n",
        )
        for n in numbers
    ]
    answers = switch.feed(requests, CALLER)
    assert all(data.startswith(b"SIP/2.0 200") for data, _ in answers)
    assert len(answers) == len(numbers)


def register(switch: Switch, numbers: list[int]) -> None:
    """W2."""
    uri = f"sip:{DOMAIN}"

    def requests(step: int, extra: list[str]) -> list[bytes]:
        made = []
        for n, more in zip(numbers, extra, strict=True):
            name = user_name(n % switch.users + 1)
            contact = f"Contact: <sip:{name}@127.0.0.1:5070>\r\nExpires: 3600\r\n{more}"
            to = f"<sip:{name}@{DOMAIN}>"
            made.append(message(f"REGISTER {uri}", name, to, n, str(step), f"{step} REGISTER", contact))
        return made

    challenges = switch.feed(requests(1, [""] * len(numbers)), CALLER)
    answers = [
        switch.authorization(n % switch.users + 1, "Authorization", "REGISTER", uri, data)
        for n, (data, _) in zip(numbers, challenges, strict=True)
    ]
    accepted = switch.feed(requests(2, answers), CALLER)
    assert all(data.startswith(b"SIP/2.0 200") for data, _ in accepted), accepted[0][0]


def set_up(switch: Switch, numbers: list[int]) -> list[tuple[int, str, str, list[str]]]:
    """W3 as far as the caller's ACK. :return: for each call number, To, next URI, and the callee's view."""
    uri = f"sip:{CALLED}@{DOMAIN}"
    to = f"<{uri}>"

    def of(n: int, method: str, step: int, target: str, to: str, more: str = "", body: str = "") -> bytes:
        name = user_name(n % switch.users + 1)
        cseq = {"BYE": 3}.get(method, min(step, 2) if method == "INVITE" else 1 if step == 1 else 2)
        return message(f"{method} {target}", name, to, n, f"{step}", f"{cseq} {method}", more, body)

    def invites(step: int, extra: list[str]) -> list[bytes]:
        made = []
        for n, more in zip(numbers, extra, strict=True):
            name = user_name(n % switch.users + 1)
            fields = f"Contact: <sip:{name}@127.0.0.1:5070>\r\n{more}Content-Type: application/sdp\r\n"
            made.append(of(n, "INVITE", step, uri, to, fields, SDP))
        return made

    challenged = [data for data, _ in switch.feed(invites(1, [""] * len(numbers)), CALLER)]
    assert all(data.startswith(b"SIP/2.0 407") for data in challenged), challenged
    switch.feed(
        [of(n, "ACK", 1, uri, header(data, b"To")[4:]) for n, data in zip(numbers, challenged, strict=True)],
        CALLER,
    )
    credentials = [
        switch.authorization(n % switch.users + 1, "Proxy-Authorization", "INVITE", uri, data)
        for n, data in zip(numbers, challenged, strict=True)
    ]
    switch.feed(invites(2, credentials), CALLER)
    offered = [data for data, to_whom in pending(switch, 4) if to_whom == CALLEE]
    assert len(offered) == len(numbers), (len(offered), switch.out)
    ringing = [answer_of(data, 180, k) for k, data in zip(numbers, offered, strict=True)]
    switch.feed(ringing, CALLEE)
    body = SDP.replace(" 0 101", "")
    switch.feed([answer_of(data, 200, k, body) for k, data in zip(numbers, offered, strict=True)], CALLEE)
    answers = [data for data, to_whom in pending(switch, 4) if data.startswith(b"SIP/2.0 200")]
    assert len(answers) == len(numbers), (len(answers), switch.out)
    by_call = {header(data, b"Call-ID")[9:]: data for data in answers}
    calls = []
    for n in numbers:
        data = by_call[f"{n}-77@127.0.0.1"]
        target = header(data, b"Contact").split("<")[1].split(">")[0]
        calls.append((n, header(data, b"To")[4:], target, []))
    switch.feed([of(n, "ACK", 3, target, to) for n, to, target, _ in calls], CALLER)
    return calls


def pending(switch: Switch, steps: int) -> list[tuple[bytes, tuple[str, int]]]:
    """What it has sent and sends while the database answers."""
    sent = list(switch.out)
    for _ in range(steps):
        sent += switch.feed([], CALLER)
    return sent


def call(switch: Switch, numbers: list[int]) -> None:
    """W3."""
    calls = set_up(switch, numbers)
    byes = []
    for n, to, target, _ in calls:
        name = user_name(n % switch.users + 1)
        byes.append(message(f"BYE {target}", name, to, n, "4", "3 BYE"))
    sent = switch.feed(byes, CALLER)
    to_callee = [data for data, to_whom in sent if to_whom == CALLEE]
    assert len(to_callee) == len(numbers), sent
    switch.feed([answer_of(data, 200, 0) for data in to_callee], CALLEE)


def answer_of(request: bytes, status: int, tag: int, body: str = "") -> bytes:
    """The called side's response."""
    copied = [header(request, name) for name in (b"Via", b"From", b"To", b"Call-ID", b"CSeq")]
    if "tag=" not in copied[2]:
        copied[2] += f";tag=88u{tag}"
    more = "Content-Type: application/sdp\r\n" if body else ""
    lines = "\r\n".join(copied)
    return (
        f"SIP/2.0 {status} {'OK' if status == 200 else 'Ringing'}\r\n{lines}\r\n"
        f"Contact: <sip:127.0.0.1:5080;transport=UDP>\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


WORKS = {"w1": options, "w2": register, "w3": call}


def measure(work: str, scratch: Path, rounds: int, top: int) -> dict[str, Any]:
    """us per operation of several rounds, and where the time goes in one more under the profiler."""
    switch = Switch(scratch)
    app.calm_collector()
    count, run = ROUND[work], WORKS[work]
    first = 0
    figures: list[float] = []
    for turn in range(rounds + 1):
        switch.spent_s = 0.0
        first = operate(switch, run, first, count)
        if turn:  # the first one fills caches
            figures.append(switch.spent_s / count * 1e6)
    best, middle = min(figures), statistics.median(figures)
    print(f"{work}: best {best:.1f} us/op, median {middle:.1f} us/op of {rounds} rounds of {count}")
    if top:
        switch.profile = cProfile.Profile()
        operate(switch, run, first, count)
        show(switch.profile, count, top)
    return {"work": work, "best_us": best, "median_us": middle}


def operate(switch: Switch, run: Callable[[Switch, list[int]], None], first: int, count: int) -> int:
    """So many operations from that number on. :return: the next number."""
    for start in range(first, first + count, TOGETHER):
        run(switch, list(range(start, start + TOGETHER)))
    return first + count


def show(profile: cProfile.Profile, count: int, top: int) -> None:
    """The functions that take most, by their own time and with what they call, in us per operation."""
    stats: Any = pstats.Stats(profile, stream=io.StringIO())
    rows = []
    for (file, line, name), (_, calls, own, whole, _) in stats.stats.items():
        place = f"{'/'.join(Path(file).parts[-2:])}:{line} {name}" if line else name
        rows.append((own / count * 1e6, whole / count * 1e6, calls / count, place))
    total = sum(row[0] for row in rows)
    for title, column in (("own time", 0), ("with what it calls", 1)):
        print(f"\n{title} (under the profiler {total:.0f} us/op)\n{'own':>7} {'whole':>7} {'calls':>6}")
        for own, whole, calls, place in sorted(rows, key=lambda row: -row[column])[:top]:
            print(f"{own:7.1f} {whole:7.1f} {calls:6.1f} {place}")


def held(work: str, scratch: Path, count: int) -> dict[str, Any]:
    """Bytes of Python objects for each registration or held call, by ``tracemalloc``."""
    switch = Switch(scratch, users=count if work == "w2" else 1000)
    run = set_up if work == "w3" else register
    warm = 20
    for start in range(0, warm, TOGETHER):
        run(switch, list(range(start, start + TOGETHER)))
    switch.reactor.pump([1.0] * 40)
    gc.collect()
    tracemalloc.start()
    for start in range(warm, warm + count, TOGETHER):
        run(switch, list(range(start, start + TOGETHER)))
    switch.out.clear()
    fresh = tracemalloc.get_traced_memory()[0] / count
    switch.reactor.pump([1.0] * 40)  # transactions are over
    switch.out.clear()
    gc.collect()
    settled = tracemalloc.get_traced_memory()[0] / count
    print(f"{work}: {fresh:.0f} bytes each just after set-up, {settled:.0f} when its transactions are over")
    for line in tracemalloc.take_snapshot().statistics("lineno")[:25]:
        place, size, number = line.traceback[0], line.size / count, line.count / count
        print(f"{size:8.0f} bytes {number:6.2f} objects  {place.filename}:{place.lineno}")
    tracemalloc.stop()
    return {"work": work, "fresh_bytes": fresh, "settled_bytes": settled}
