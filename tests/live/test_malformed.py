"""Hostile input is normal input: the server answers as specified or stays silent, and lives on."""

import random
import socket
import time
from pathlib import Path

import pytest

from mizu.testing.server import MizuProcess

TORTURE = sorted((Path(__file__).parents[1] / "data" / "rfc4475").glob("*.dat"))
OPTIONS = (
    b"OPTIONS sip:mizu.test SIP/2.0\r\nVia: SIP/2.0/%s 127.0.0.1:%d;rport;branch=z9hG4bKalive%d\r\n"
    b"Max-Forwards: 70\r\nFrom: <sip:probe@mizu.test>;tag=p\r\nTo: <sip:mizu.test>\r\nCall-ID: alive%d\r\n"
    b"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)
MUTATED = 100_000

pytestmark = pytest.mark.limit(300)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for the module; its log must never hold a traceback."""
    data = tmp_path_factory.mktemp("mizu")
    options = ("--sip", "udp:127.0.0.1:0", "--sip", "tcp:127.0.0.1:0", "--http", "127.0.0.1:0")
    with MizuProcess(data / "var", *options) as process:
        yield process
        assert "Traceback" not in process.output


@pytest.fixture
def prober(server):
    """A socket that asks whether the server is alive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(server.address("udp"))
        probe.settimeout(5)
        yield probe


def alive(probe: socket.socket, number: int) -> bool:
    """It answers an OPTIONS. Retransmitted once, as a client would: this is UDP under a flood."""
    message = OPTIONS % (b"UDP", probe.getsockname()[1], number, number)
    for _ in range(3):
        probe.send(message)
        try:
            return probe.recv(65535).startswith(b"SIP/2.0 200 ")
        except TimeoutError:
            continue
    return False


def test_the_torture_messages_over_udp(server, prober):
    """Each of the 49 messages of RFC 4475, and the server answers the next OPTIONS."""
    assert len(TORTURE) == 49
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.connect(server.address("udp"))
        for number, path in enumerate(TORTURE):
            attacker.send(path.read_bytes())
            assert alive(prober, number), f"no answer after {path.name}"


def test_the_torture_messages_over_tcp(server, prober):
    """The same on a connection each; the server may close it, and lives on."""
    for number, path in enumerate(TORTURE):
        with socket.create_connection(server.address("tcp"), timeout=5) as connection:
            connection.sendall(path.read_bytes())
        assert alive(prober, 1000 + number), f"no answer after {path.name}"


def mutations(seed: int):
    """Valid and torture messages with bytes changed, cut, doubled and moved. The same for the same seed."""
    chance = random.Random(seed)
    corpus = [path.read_bytes() for path in TORTURE]
    corpus += [OPTIONS % (b"UDP", 5060, n, n) for n in range(5)]
    while True:
        message = bytearray(chance.choice(corpus))
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(message) + 1)
            kind = chance.randrange(6)
            if kind == 0 and at < len(message):
                message[at] = chance.randrange(256)
            elif kind == 1:
                del message[at : at + chance.randint(1, 40)]
            elif kind == 2:
                message[at:at] = message[at : at + chance.randint(1, 80)]
            elif kind == 3:
                message[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 20)))
            elif kind == 4:
                del message[at:]
            else:
                message[at:at] = chance.choice(
                    [b"\r\n", b"\r\n\r\n", b"\0", b":", b",", b";", b"<", b'"', b"\xff"]
                )
            if not message:
                break
        yield bytes(message[:60_000])


def test_a_hundred_thousand_mutated_datagrams(server, prober):
    """Alive all along, and the second half of the load needs no more memory than the first."""
    source = mutations(seed=20261123)
    memory_kib = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.connect(server.address("udp"))
        attacker.setblocking(False)
        for number in range(1, MUTATED + 1):
            message = next(source)
            try:
                attacker.send(message)
            except (BlockingIOError, ConnectionRefusedError):
                time.sleep(0.001)
            if number % 500 == 0:
                assert alive(prober, 10_000 + number), f"no answer after {number} datagrams"
            if number % (MUTATED // 2) == 0:
                server.wait_for(
                    "no transaction", lambda status: sum(status["transactions"].values()) == 0, timeout_s=60
                )
                memory_kib.append(server.rss_kib())

    first, second = memory_kib
    assert second < first * 1.05 + 2048, f"{first} KiB after half, {second} KiB at the end"
