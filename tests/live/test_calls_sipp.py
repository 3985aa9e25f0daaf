"""Calls through a real server with SIPp on both sides: what phones and trunks do every day."""

import contextlib
import itertools
import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from mizu.testing.server import MizuProcess, sipp

SCENARIOS = Path(__file__).parent / "sipp"
PASSWORD = "correct-horse"
CONFIG = """
[sip]
udp_max_request_bytes = 1300

[call]
ring_timeout_s = 2.0
"""

pytestmark = pytest.mark.limit(120)


#: Ports below the range that the system hands out for connections, none used twice.
PORTS = itertools.count(20_000 + os.getpid() % 5_000)


def free_port() -> int:
    """A port that nobody has, over UDP and TCP."""
    for port in PORTS:
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with socket.socket(socket.AF_INET, kind) as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for the module, with its own PostgreSQL and two accounts."""
    data = tmp_path_factory.mktemp("mizu")
    config = data / "mizu.toml"
    config.write_text(CONFIG)
    listen = [f"{proto}:127.0.0.1:0" for proto in ("udp", "tcp", "tls")]
    options = [word for spec in listen for word in ("--sip", spec)]
    with MizuProcess(data / "var", "--config", str(config), *options, "--http", "127.0.0.1:0") as process:
        for name in ("alice", "bob"):
            answer = process.console(f"adduser {name} --password '{PASSWORD}'")
            assert answer["ok"], answer
        yield process
    assert "Traceback" not in process.output
    assert PASSWORD not in process.output


@pytest.fixture(autouse=True)
def nothing_leaks(server):
    """After each test every call is gone; transactions wait for repetitions and are looked at once."""
    yield
    server.wait_for("no call", no_calls, timeout_s=5)


def no_calls(status) -> bool:
    return sum(status["calls"].values()) == 0


def quiet(status) -> bool:
    """Nothing is left but what waits for repetitions; after 64*T1 = 32 s that is gone, too."""
    return no_calls(status) and sum(status["transactions"].values()) == 0


class Phone:
    """SIPp with an account: registers from the port where it answers calls."""

    def __init__(self, server: MizuProcess, name: str, scratch: Path, proto: str = "udp") -> None:
        self.server, self.name, self.scratch, self.proto = server, name, scratch, proto
        self.port = free_port()
        host, port = tls_bridge(server.address("tls")) if proto == "tls" else server.address(proto)
        self.target = f"{host}:{port}"
        self.switches = ["-t", "u1"] if proto == "udp" else ["-t", "t1"]
        self._running: subprocess.Popen[str] | None = None

    def injection(self, *more: str) -> Path:
        path = self.scratch / f"{self.name}.csv"
        keyword = f"[authentication username={self.name} password={PASSWORD}]"
        path.write_text("SEQUENTIAL\n" + ";".join([self.name, keyword, *more]) + "\n")
        return path

    def run(self, scenario: str, *more: str, count: int = 1, port: int | None = None, injected=(), **extra):
        """Play a scenario as the sending side. Fails the test when SIPp does not end well."""
        done = sipp(
            *(self.target, "-sf", str(SCENARIOS / f"{scenario}.xml"), "-inf", str(self.injection(*injected))),
            *("-i", "127.0.0.1", "-p", str(port or free_port()), "-m", str(count), *self.switches),
            *("-trace_err", "-error_file", str(self.scratch / f"{scenario}.err"), *more),
            cwd=self.scratch,
            **extra,
        )
        errors = self.scratch / f"{scenario}.err"
        told = errors.read_text(errors="replace")[-3000:] if errors.exists() else done.stdout[-2000:]
        assert done.returncode == 0, f"{scenario}: sipp ended with {done.returncode}\n{told}\n"
        return done

    def register(self, expires_s: int = 300) -> None:
        # another port than the contact's: like a phone that sends from one socket and listens on another
        self.run("register", "-auth_uri", "mizu.test", injected=(str(self.port), str(expires_s)))

    def call(self, scenario: str, called: str, *more: str, **extra):
        return self.run(
            scenario, "-s", called, "-d", "300", "-auth_uri", f"{called}@mizu.test", *more, **extra
        )

    def answer(self, scenario: str, count: int = 1) -> "Answering":
        return Answering(self, scenario, count)


class Answering:
    """The called side, in the background while the ``with`` block calls it."""

    def __init__(self, phone: Phone, scenario: str, count: int) -> None:
        self.phone, self.scenario, self.count = phone, scenario, count
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._play)

    def _play(self) -> None:
        try:
            self.phone.run(self.scenario, "-d", "300", count=self.count, port=self.phone.port)
        except (AssertionError, subprocess.TimeoutExpired) as problem:
            self.failed.append(str(problem))

    def __enter__(self) -> "Answering":
        self._thread.start()
        time.sleep(0.3)  # SIPp binds its socket; it does not say when
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join(60)
        if exc[0] is None:
            assert not self.failed, self.failed[0]


def tls_bridge(server: tuple[str, int]) -> tuple[str, int]:
    """Debian's SIPp is built without TLS: a TCP listener whose connections go on to the server over TLS."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # self-signed

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                secure = context.wrap_socket(socket.create_connection(server))
                for pair in ((plain, secure), (secure, plain)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()


@pytest.fixture(params=["udp", "tcp", "tls"])
def phones(request, server, tmp_path):
    """Alice and a registered Bob over one transport."""
    alice = Phone(server, "alice", tmp_path, request.param)
    bob = Phone(server, "bob", tmp_path, request.param)
    bob.register()
    yield alice, bob
    server.console("unreg bob")


def registrations(server: MizuProcess, prefix: str) -> list[dict]:
    return server.console(f"regs {prefix}")["result"]["registrations"]


def newest(server: MizuProcess) -> dict:
    """The newest call row, once its end is written: that follows the last answer by some milliseconds."""
    deadline = time.monotonic() + 5
    while True:
        cdr = server.console("cdrs --limit 1")["result"]["cdrs"][0]
        if cdr["state"] == "ended" or time.monotonic() > deadline:
            return cdr
        time.sleep(0.05)


def test_a_phone_registers_with_digest_and_leaves(server, tmp_path):
    """REGISTER, 401, REGISTER with the password, 200; with Expires 0 the contact is gone."""
    phone = Phone(server, "alice", tmp_path)
    phone.register()
    assert [row["username"] for row in registrations(server, "alice")] == ["alice"]

    phone.register(expires_s=0)

    assert registrations(server, "alice") == []


def test_a_call_is_answered_and_hung_up_by_the_caller(server, phones):
    """Both sides see a whole call, and the CDR says who ended it."""
    alice, bob = phones
    with bob.answer("callee"):
        alice.call("caller", "bob")

    cdr = newest(server)
    assert (cdr["caller"], cdr["called_number"], cdr["cause"], cdr["ended_by"]) == (
        *("alice", "bob", "answered", "caller"),
    )
    assert cdr["sip_status"] == 200
    assert 0.2 < cdr["talk_s"] < 5


def test_a_call_is_hung_up_by_the_called_side(server, phones):
    """The same with BYE from the other side."""
    alice, bob = phones
    with bob.answer("callee_hangs_up"):
        alice.call("caller_waits", "bob")

    assert newest(server)["ended_by"] == "callee"


def test_a_caller_gives_up_while_it_rings(server, phones):
    """CANCEL is passed on; the caller gets 487, the CDR says cancelled."""
    alice, bob = phones
    with bob.answer("callee_rings"):
        alice.call("caller_cancels", "bob")

    cdr = newest(server)
    assert (cdr["sip_status"], cdr["cause"], cdr["talk_s"]) == (487, "cancelled", 0)


def test_busy_is_passed_on(server, phones):
    """486 from the phone is 486 for the caller."""
    alice, bob = phones
    with bob.answer("callee_busy"):
        alice.call("caller_refused_486", "bob")

    assert newest(server)["cause"] == "busy"


def test_nobody_answers(server, phones):
    """After ``call.ring_timeout_s`` the phone stops ringing and the caller gets 480."""
    alice, bob = phones
    with bob.answer("callee_rings"):
        alice.call("caller_refused_480", "bob")

    assert newest(server)["cause"] == "no_answer"


def test_hold_and_back_by_reinvite(server, phones):
    """Both re-INVITEs reach the called side and are answered."""
    alice, bob = phones
    with bob.answer("callee_reinvited"):
        alice.call("caller_reinvites", "bob")

    assert newest(server)["cause"] == "answered"


def test_an_unregistered_user_and_an_unknown_number(server, tmp_path):
    """480 for somebody who is not there, 404 for nobody; both leave a CDR."""
    alice = Phone(server, "alice", tmp_path)
    alice.call("caller_refused_480", "alice")
    assert newest(server)["cause"] == "not_registered"

    alice.call("caller_refused_404", "nobody-of-that-name")

    assert newest(server)["cause"] == "not_found"


def test_a_thousand_calls_at_a_steady_rate_leave_nothing_behind(server, tmp_path):
    """No call fails, and afterwards no transaction, dialog or timer is left."""
    alice, bob = Phone(server, "alice", tmp_path), Phone(server, "bob", tmp_path)
    bob.register()
    with bob.answer("callee", count=1000):
        alice.call("caller", "bob", "-r", "100", count=1000)

    status = server.wait_for("all gone", quiet, timeout_s=45)
    assert status["timers"] < 20
    cdrs = server.console("cdrs --limit 1000")["result"]["cdrs"]
    assert {cdr["cause"] for cdr in cdrs} == {"answered"}
    server.console("unreg bob")
