"""Real attackers against a real server: SIPVicious, a SIPp flood, forged senders, from 127.0.0.x."""

import csv
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from mizu.sip.digest import answer_challenge
from mizu.testing.server import MizuProcess
from mizu.testing.sip_client import Client, NoAnswer

SIPP = Path(__file__).parent / "sipp"
USERS = ("1001", "1002")
PASSWORD = "right-one"

pytestmark = [pytest.mark.limit(90)]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """One for this file."""
    from mizu.testing.postgres import shared_postgres

    with shared_postgres().database() as url:
        yield url


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MizuProcess]:
    """
    One server for this file. SIPVicious sends from 127.0.0.1, which is not on the white list here, and
    scanners that name themselves are let through to the other defences.
    """
    with MizuProcess(
        tmp_path_factory.mktemp("guard"),
        *("--database", database, "--http", "127.0.0.1:0"),
        *("--sip", "udp:127.0.0.1:0", "--sip", "tcp:127.0.0.1:0"),
    ) as running:
        for user in USERS:
            assert running.console(f"adduser {user} --password {PASSWORD}")["ok"]
        for option in ("guardscanners", "guardwhitelist"):
            assert running.console(f"options set {option} ''")["ok"]
        yield running


@pytest.fixture(autouse=True)
def nobody_banned(server: MizuProcess) -> Iterator[None]:
    yield
    assert server.console("delbanned")["ok"]


def banned(server: MizuProcess) -> dict[str, dict[str, object]]:
    return {one["target"]: one for one in server.console("banned")["result"]["bans"]}


def installed(tool: str) -> str:
    """Where one of SIPVicious' programs is. Without it the test is skipped."""
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"{tool} is not installed (Debian: sipvicious)")
    return program


def attack(server: MizuProcess, tool: str, *arguments: str) -> str:
    """Run one of SIPVicious' programs for a few seconds, from port 5999. :return: what it says."""
    program = installed(tool)
    host, port = server.address("udp")
    command = ["timeout", "4", program, "-P", "5999", *arguments, "-p", str(port), host]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


class Bystander:
    """A customer who registers again and again from an address of his own."""

    def __init__(self, server: MizuProcess, source: str = "127.0.0.100") -> None:
        self.client = Client(server.address("udp"), source=source)
        self.delays_s: list[float] = []

    def register_while(self, busy: Callable[[], bool], least: int = 20) -> None:
        """Every registration must succeed."""
        while busy() or len(self.delays_s) < least:
            begun = time.monotonic()
            assert self.client.register("1002", PASSWORD).status == 200
            self.delays_s.append(time.monotonic() - begun)
            time.sleep(0.02)


def test_svcrack_is_silenced_before_it_finds_anything(server: MizuProcess) -> None:
    """Five wrong passwords and its user agent is banned, for real: it answered our challenges."""
    said = attack(server, "svcrack", "-u", "1001", "-r", "1000-9999")
    bans = banned(server)
    assert bans["127.0.0.1:5999"]["reason"] == "wrong password"
    assert bans["127.0.0.1:5999"]["in_doubt"] is False
    assert "found" not in said.lower()
    with pytest.raises(NoAnswer):
        probe(server, "127.0.0.1", 5999)
    assert server.console("delbanned")["result"]["bans_ended"] >= 1
    assert probe(server, "127.0.0.1", 5999).startswith("SIP/2.0 200")


@pytest.mark.parametrize("method", ["REGISTER", "INVITE", "OPTIONS"])
def test_svwar_cannot_tell_who_exists(server: MizuProcess, method: str) -> None:
    """
    It says of a name that exists what it says of one that does not, word for word: it prints the answer when
    that is the one that it got for a name made up by chance.
    """
    said = {
        # one name each time: it gives up at the first answer that tells it nothing
        name: attack(server, "svwar", "-m", method, "-e", name, "--force")
        for name in ("1001", "5551")
    }
    assert "No server response" not in said["1001"]
    assert not re.search(r"reqauth|noauth|weird", said["1001"]), said
    shapes = {mask(text, name) for name, text in said.items()}
    assert len(shapes) == 1, shapes


def mask(said: str, name: str) -> str:
    """What svwar says without what differs in each answer: nonces, branches, tags, Call-IDs, the name."""
    return re.sub(r"\b[0-9a-fA-F]{6,}\b|\bz9hG4bK[-\w]+|\btag=[-\w]+", "*", said).replace(name, "NAME")


def test_svwar_would_tell_who_exists_where_answers_differ() -> None:
    """The test above could fail: svwar finds the account of a server that says 404 for the others."""
    program = installed("svwar")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5.0)
        port = str(sock.getsockname()[1])
        scan = subprocess.Popen(
            ["timeout", "8", program, "-P", "5999", "-e", "1000-1002", "-p", port, "127.0.0.1"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        for _ in range(4):  # a name by chance, then the three
            asked, sender = sock.recvfrom(65_535)
            status = b"401 Unauthorized" if b"<sip:1001@" in asked else b"404 Not Found"
            kept = re.findall(rb"(?:Via|From|To|Call-ID|CSeq): [^\r]*\r\n", asked)
            sock.sendto(b"SIP/2.0 " + status + b"\r\n" + b"".join(kept) + b"\r\n", sender)
        assert re.search(r"\b1001\b.*reqauth", scan.communicate(timeout=15)[0])


def test_a_scanner_that_goes_on_learns_nothing_and_is_banned(server: MizuProcess) -> None:
    """The same answer for every name but for its numbers; after twenty unanswered challenges, silence."""
    source, port = "127.0.0.32", 5997
    answers: dict[str, bytes] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, port))
        sock.settimeout(0.5)
        sock.connect(server.address("udp"))
        for number in range(990, 1020):
            sock.send(request("REGISTER", source, port, user=f"{number:04}"))
            try:
                answers[f"{number:04}"] = sock.recv(65_535)
            except TimeoutError:
                break
    assert len(answers) == 20
    shapes = {
        # numbers first: the four digits of a name may stand in one by chance
        re.sub(rb"[0-9a-f]{12,}|REGISTER\d+", b"*", answer).replace(user.encode(), b"USER")
        for user, answer in answers.items()
    }
    assert len(shapes) == 1, shapes
    assert banned(server)[source]["in_doubt"] is True


def test_svmap_gets_few_answers_and_then_none(server: MizuProcess) -> None:
    """A scanner that says what it is, is not answered at all when its word is on the list."""
    server.console("options set guardscanners friendly-scanner")
    try:
        said = attack(server, "svmap")
        assert "found nothing" in said.lower() or "127.0.0.1" not in said
        assert server.status()["dropped"]["scanner"] > 0
    finally:
        server.console("options set guardscanners ''")


def probe(server: MizuProcess, source: str, port: int) -> str:
    """The first line that OPTIONS from that very address gets. :raise NoAnswer:"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, port))
        sock.settimeout(1.0)
        sock.connect(server.address("udp"))
        sock.send(request("OPTIONS", source, port))
        try:
            return sock.recv(65_535).split(b"\r\n")[0].decode()
        except TimeoutError:
            raise NoAnswer from None


def request(
    method: str, source: str, port: int, *, user: str = "1001", to_tag: str = "", more: str = ""
) -> bytes:
    key = f"{method}{user}{time.monotonic_ns()}"
    return (
        f"{method} sip:mizu.test SIP/2.0\r\nVia: SIP/2.0/UDP {source}:{port};rport;branch=z9hG4bK{key}\r\n"
        f"From: <sip:{user}@mizu.test>;tag=1\r\nTo: <sip:{user}@mizu.test>{to_tag}\r\nCall-ID: {key}\r\n"
        f"CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContact: <sip:{user}@{source}:{port}>\r\n{more}"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def test_a_flood_of_wrong_passwords_hurts_nobody_else(server: MizuProcess, tmp_path: Path) -> None:
    """D1: two attackers at 1,000/s each; a customer elsewhere registers without a failure all the while."""
    users = tmp_path / "users.csv"
    users.write_text(
        "SEQUENTIAL\n" + "".join(f"{u};[authentication username={u} password=no]\n" for u in USERS)
    )
    host, port = server.address("udp")
    floods = [
        subprocess.Popen(
            ["sipp", f"{host}:{port}", "-sf", str(SIPP / "register_wrong.xml"), "-inf", str(users),
             "-auth_uri", "mizu.test", "-i", source,
             "-bind_local", "-r", "1000", "-m", "4000", "-l", "3000", "-nostdin", "-timeout", "6s"],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for source in ("127.0.0.41", "127.0.0.42")
    ]  # fmt: skip
    try:
        bystander = Bystander(server)
        bystander.register_while(lambda: any(flood.poll() is None for flood in floods))
        bans = banned(server)
        for source in ("127.0.0.41", "127.0.0.42"):
            reasons = [ban["reason"] for target, ban in bans.items() if target.startswith(f"{source}:")]
            assert reasons == ["wrong password"]
        assert not any("127.0.0.100" in target for target in bans)
        dropped = server.status()["dropped"]
        assert dropped["banned"] + dropped["socket"] > 1000
        assert sorted(bystander.delays_s)[len(bystander.delays_s) // 2] < 1.0
    finally:
        for flood in floods:
            flood.kill()
            flood.wait()


class Wire:
    """
    A relay between an attacker and the server that sends from an address of its own and counts what goes
    which way: the attacker's programs do not tell what they were sent.
    """

    def __init__(self, server: MizuProcess, source: str, *, doors: int = 1) -> None:
        """:param doors: ports in front, for a program that sends one datagram to each."""
        self.source = source
        self.sent = self.answers = 0
        self.sent_since_answer = 0  #: how many went on to the server after it answered for the last time
        self._up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._up.bind((source, 0))
        self._up.connect(server.address("udp"))
        self.port: int = self._up.getsockname()[1]
        self._doors = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(doors)]
        for door in self._doors:
            door.bind(("127.0.0.1", 0))
        self._open = True
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    @property
    def ports(self) -> list[str]:
        return [str(door.getsockname()[1]) for door in self._doors]

    def _carry(self) -> None:
        attacker = None
        while self._open:
            for sock in select.select([self._up, *self._doors], [], [], 0.1)[0]:
                data, sender = sock.recvfrom(65_535)
                if sock is self._up:
                    self.answers += 1
                    self.sent_since_answer = 0
                    if attacker is not None:
                        self._doors[0].sendto(data, attacker)
                else:
                    attacker = sender
                    self.sent += 1
                    self.sent_since_answer += 1
                    self._up.send(data)

    def ask(self) -> bool:
        """OPTIONS from the attacker's very address and port. :return: was it answered?"""
        answers = self.answers
        self._up.send(request("OPTIONS", self.source, self.port))
        deadline = time.monotonic() + 1.0
        while self.answers == answers and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.answers > answers

    def close(self) -> None:
        self._open = False
        self._thread.join()
        for sock in (self._up, *self._doors):
            sock.close()


def over_and_over(command: list[str], directory: Path) -> "subprocess.Popen[bytes]":
    """A program that is started again whenever it ends, in a process group of its own."""
    return subprocess.Popen(
        ["sh", "-c", f"while :; do {shlex.join(command)} || sleep 0.05; done"],
        cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def test_all_attackers_at_once_are_silenced_while_a_customer_registers(
    server: MizuProcess, tmp_path: Path
) -> None:
    """
    svmap, svwar, svcrack and three SIPp floods of wrong passwords, each from an address of its own: each is
    banned and from then on is not sent one datagram, a SIPp customer registers 50 times a second without a
    failure, and ``delbanned`` lets them all in again.
    """
    tools = {tool: installed(tool) for tool in ("svmap", "svwar", "svcrack")}
    names = (*tools, "flood 1", "flood 2", "flood 3")
    with ExitStack() as ending:
        wires = {}
        for number, name in enumerate(names, 81):
            wires[name] = Wire(server, f"127.0.0.{number}", doors=40 if name == "svmap" else 1)
            ending.callback(wires[name].close)
        wrong = tmp_path / "wrong.csv"
        wrong.write_text("SEQUENTIAL\n1001;[authentication username=1001 password=no]\n")
        more = {
            "svmap": ["-m", "REGISTER"],
            "svwar": ["-e", "1000-1100", "--force"],
            "svcrack": ["-u", "1001", "-r", "1000-9999"],
        }
        commands = [
            [tools[name], "-t", "0", "-P", str(5980 + number), *more[name],
             "-p", ",".join(wires[name].ports), "127.0.0.1"]
            for number, name in enumerate(tools)
        ] + [
            ["sipp", f"127.0.0.1:{wires[name].ports[0]}", "-sf", str(SIPP / "register_wrong.xml"),
             "-inf", str(wrong), "-auth_uri", "mizu.test", "-i", "127.0.0.1", "-r", "300", "-l", "3000",
             "-nostdin"]
            for name in names[3:]
        ]  # fmt: skip
        customer = Customer(server, tmp_path, seconds=12)
        ending.callback(customer.process.kill)
        time.sleep(1.0)
        attackers = [over_and_over(command, tmp_path) for command in commands]
        for attacker in attackers:
            ending.callback(attacker.wait)
            ending.callback(os.killpg, attacker.pid, signal.SIGKILL)
        assert customer.failures() == 0
        deadline = time.monotonic() + 30.0  # six of them share what a busy machine has left
        while True:
            banned_now = banned(server)
            at_large = [
                name
                for name, wire in wires.items()
                if not wire.sent_since_answer
                or not banned_now.keys() & {wire.source, f"{wire.source}:{wire.port}"}
            ]
            if not at_large or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert not at_large, (at_large, banned_now)
        for name, wire in wires.items():
            agent = f"{wire.source}:{wire.port}"
            assert not name.startswith("flood") or banned_now[agent]["reason"] == "wrong password"
            # 20 challenges, as many for guesses that were not checked any more, a few for wrong passwords
            assert 0 < wire.answers <= 45, (name, wire.answers)
            assert not wire.ask(), name
        assert not any(target.startswith("127.0.0.100") for target in banned_now)
        for attacker in attackers:
            os.killpg(attacker.pid, signal.SIGSTOP)
        time.sleep(0.2)
        assert server.console("delbanned")["ok"]
        assert [name for name, wire in wires.items() if not wire.ask()] == []


class Customer:
    """SIPp registers 1002 fifty times a second from an address of its own."""

    def __init__(self, server: MizuProcess, directory: Path, *, seconds: int) -> None:
        self.count = 50 * seconds
        users, self.statistics = directory / "customer.csv", directory / "customer-statistics.csv"
        users.write_text(f"SEQUENTIAL\n1002;[authentication username=1002 password={PASSWORD}];5072;300\n")
        host, port = server.address("udp")
        self.process = subprocess.Popen(
            ["sipp", f"{host}:{port}", "-sf", str(SIPP / "register.xml"), "-inf", str(users),
             "-auth_uri", "mizu.test", "-i", "127.0.0.100", "-bind_local", "-r", "50",
             "-m", str(self.count), "-nostdin", "-trace_stat", "-stf", str(self.statistics), "-fd", "1",
             "-timeout", f"{seconds + 10}s"],
            cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def failures(self) -> int:
        """Wait for its end. :return: registrations that did not succeed."""
        self.process.wait(60)
        with self.statistics.open() as file:
            last = list(csv.DictReader(file, delimiter=";"))[-1]
        return self.count - int(last["SuccessfulCall(C)"])


def test_an_owner_gets_in_while_his_password_is_guessed(server: MizuProcess) -> None:
    """From a dozen addresses, two guesses each: the account slows down, the registered phone goes on."""
    owner = Client(server.address("udp"), source="127.0.0.101")
    assert owner.register("1001", PASSWORD).status == 200
    for number in range(12):
        guesser = Client(server.address("udp"), source=f"127.0.1.{number}", timeout_s=1.0)
        for guess in range(2):
            assert guesser.register("1001", f"wrong{guess}").status == 401
        guesser.close()
    assert server.status()["bans"]["accounts_watched"] >= 1
    assert all(owner.register("1001", PASSWORD).status == 200 for _ in range(10))
    assert not any(target.startswith("127.0.1.") for target in banned(server))
    owner.close()


@pytest.mark.parametrize("to_tag", ["", ";tag=none"])
@pytest.mark.parametrize(
    "method", ["REGISTER", "OPTIONS", "INVITE", "MESSAGE", "BYE", "SUBSCRIBE", "CANCEL", "FOO"]
)
def test_D2_nobody_is_sent_more_than_half_as_much_again(
    server: MizuProcess, method: str, to_tag: str
) -> None:
    """
    A sender who proved nothing gets at most 1.5 bytes for each of his, once: small requests get no answer
    at all, and nothing is repeated.
    """
    source, port = "127.0.0.51", 5998
    tiny = (
        f"{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;rport;branch=z9hG4bK{method}{len(to_tag)}\r\n"
        f"f:<sip:a>;tag=1\r\nt:<sip:a>{to_tag}\r\ni:{method}{len(to_tag)}\r\n"
        f"CSeq:1 {method}\r\nMax-Forwards:9\r\n\r\n"
    ).encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, port))
        sock.connect(server.address("udp"))
        for sent in (request(method, source, port, to_tag=to_tag), tiny):
            sock.send(sent)
            got, end = 0, time.monotonic() + (1.2 if method == "INVITE" else 0.2)
            while (left_s := end - time.monotonic()) > 0:
                sock.settimeout(left_s)
                try:
                    got += len(sock.recv(65_535))
                except TimeoutError:
                    break
            assert got <= 1.5 * len(sent), (got, len(sent))


WRONG = {
    "Require": "Require: z\r\n",
    "Max-Forwards": "Max-Forwards: 0\r\n",
    "scheme": "",
}


@pytest.mark.parametrize("what", WRONG)
def test_D2_requests_of_dialogs_that_do_not_exist_are_answered_once_and_leave_nothing(
    server: MizuProcess, what: str
) -> None:
    """Whatever else is wrong with them, by whatever timer, whoever sends them; after some he is banned."""
    source, sock = "127.0.0.52", socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((source, 0))
        sock.connect(server.address("udp"))
        sent = got = 0
        uri = "http://a" if what == "scheme" else "sip:a"
        forwards = "" if what == "Max-Forwards" else "Max-Forwards: 9\r\n"
        for number in range(25):
            data = (
                f"INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP a;rport;branch=z9hG4bK{what}{number}\r\n"
                f"From: <sip:a>;tag=1\r\nTo: <sip:a>;tag=z\r\nCall-ID: {what}{number}\r\n"
                f"CSeq: 1 INVITE\r\n{forwards}{WRONG[what]}\r\n"
            ).encode()
            sock.send(data)
            sent += len(data)
        end = time.monotonic() + 2.5  # three repetitions of an INVITE's answer
        while (left_s := end - time.monotonic()) > 0:
            sock.settimeout(left_s)
            with suppress(TimeoutError):
                got += len(sock.recv(65_535))
        assert got <= 1.5 * sent
        assert "invite server completed" not in server.status()["transactions"]
        assert banned(server)[source]["in_doubt"] is True


@pytest.mark.parametrize("method", ["PUBLISH", "SUBSCRIBE", "BYE", "CANCEL", "REFER", "FOO", "ACK"])
def test_requests_that_mean_nothing_are_not_answered_for_ever(server: MizuProcess, method: str) -> None:
    """Twenty in a minute, then silence."""
    source, answers = "127.0.0.53", 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.connect(server.address("udp"))
        sock.settimeout(0.5)
        for number in range(60):
            sock.send(request(method, source, sock.getsockname()[1]))
            if method != "ACK" and number % 10 == 9:
                time.sleep(0.05)
        with suppress(TimeoutError):
            while sock.recv(65_535):
                answers += 1
        assert answers == (0 if method == "ACK" else 20)
        assert banned(server)[source]["in_doubt"] is True


def test_C7_calls_in_the_name_of_an_open_account_ban_nobody_for_certain(server: MizuProcess) -> None:
    """
    Whoever forges a customer's address on calls of an account without password to numbers that do not exist:
    he is slowed down at most, his login is heard, and the address is not known for it.
    """
    source = "127.0.0.62"
    assert server.console("adduser open5 NeedAuth=5")["ok"]
    known = server.status()["bans"]["known_addresses"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 5993))
        sock.connect(server.address("udp"))
        for _ in range(150):
            sock.send(request("INVITE", source, 5993, user="open5").replace(b"sip:", b"sip:7712345@", 1))
            time.sleep(0.005)
        time.sleep(0.5)
        assert server.status()["bans"]["known_addresses"] == known
        assert banned(server)[source]["in_doubt"] is True
        assert banned(server)[source]["reason"] == "unknown numbers"
    customer = Client(server.address("udp"), source=source, timeout_s=3.0)
    assert customer.register("1002", PASSWORD).status == 200
    assert source not in banned(server)
    customer.close()
    assert server.console("deluser open5")["ok"]


def test_C7_junk_in_the_name_of_a_customer_does_not_keep_him_out(server: MizuProcess) -> None:
    """A phone that was never here repeats its request as phones do, and is heard; again and again."""
    source = "127.0.0.63"
    customer = Client(server.address("udp"), source=source, timeout_s=5.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        forger.bind((source, 0))
        forger.connect(server.address("udp"))
        for minute in range(3):
            for _ in range(25 if not minute else 250):
                forger.send(b"REGISTER nonsense without any header\r\n\r\n")
            time.sleep(0.3)
            assert banned(server)[source]["in_doubt"] is True
            assert customer.register("1002", PASSWORD).status == 200
            assert source not in banned(server)
    customer.close()


def test_a_nonce_in_any_header_is_no_pass(server: MizuProcess) -> None:
    """Who shows one proves his address, and is banned for certain for what he does there."""
    source, port = "127.0.0.64", 5992
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, port))
        sock.settimeout(1.0)
        sock.connect(server.address("udp"))
        sock.send(request("REGISTER", source, port))
        found = re.search(rb'nonce="([^"]+)"', sock.recv(65_535))
        assert found is not None
        answers = 0
        for _ in range(200):
            more = b'X-A: a, nonce="' + found[1] + b'"\r\nContact'
            sock.send(request("REGISTER", source, port).replace(b"Contact", more, 1))
            time.sleep(0.002)
        with suppress(TimeoutError):
            while sock.recv(65_535):
                answers += 1
        assert banned(server)[source]["in_doubt"] is False
        assert answers <= 45


def test_junk_bans_in_doubt_and_an_answered_challenge_comes_through(server: MizuProcess) -> None:
    """Somebody forges the address of a customer: who holds a nonce that was sent there is let in."""
    source, port = "127.0.0.61", 5996
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, port))
        sock.settimeout(1.0)
        sock.connect(server.address("udp"))
        sock.send(request("REGISTER", source, port))
        found = re.search(rb"WWW-Authenticate: (.*)\r\n", sock.recv(65_535))
        assert found is not None
        for _ in range(30):
            sock.send(b"REGISTER nonsense without any header\r\n\r\n")
        time.sleep(0.3)
        assert banned(server)[source]["in_doubt"] is True
        with pytest.raises(NoAnswer):
            probe(server, source, 5995)
        credentials = answer_challenge(
            found[1].decode(),
            username="1001",
            password=PASSWORD,
            method="REGISTER",
            uri="sip:mizu.test",
            nc=1,
            cnonce="c0ffee",
        )
        sock.send(request("REGISTER", source, port, more=f"Authorization: {credentials}\r\n"))
        assert sock.recv(65_535).startswith(b"SIP/2.0 200")


def test_every_node_of_a_database_keeps_out_whom_one_has_banned(
    server: MizuProcess, database: str, tmp_path: Path
) -> None:
    """Within a second of the command, both ways; and a node that starts later knows."""
    before = server.console("ban 127.0.0.71 1h")
    assert before["ok"], before
    with MizuProcess(
        tmp_path / "other", "--database", database, "--sip", "udp:127.0.0.1:0", "--http", "127.0.0.1:0"
    ) as other:
        with pytest.raises(NoAnswer):
            probe(other, "127.0.0.71", 5994)
        assert probe(other, "127.0.0.72", 5994).startswith("SIP/2.0 200")
        server.console("ban 127.0.0.72 1h")
        server.console("unban 127.0.0.71")
        time.sleep(1.0)
        with pytest.raises(NoAnswer):
            probe(other, "127.0.0.72", 5994)
        assert probe(other, "127.0.0.71", 5994).startswith("SIP/2.0 200")
        other.console("whitelist add 127.0.0.72 ours")
        time.sleep(1.0)
        assert probe(server, "127.0.0.72", 5994).startswith("SIP/2.0 200")
        server.console("whitelist del 127.0.0.72")


def test_bans_survive_a_restart(server: MizuProcess) -> None:
    """Who is banned is banned before the first listener opens."""
    server.console("ban 127.0.0.73 1h")
    server.stop()
    server.start()
    with pytest.raises(NoAnswer):
        probe(server, "127.0.0.73", 5993)
    assert server.console("unban 127.0.0.73")["ok"]
    assert probe(server, "127.0.0.73", 5993).startswith("SIP/2.0 200")
