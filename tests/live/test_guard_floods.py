"""D1 and C7 against a real server: floods from hundreds of addresses, guesses from a whole network."""

import secrets
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mizu.testing.server import MizuProcess
from mizu.testing.sip_client import Client, NoAnswer

PASSWORD = "right-one"
SOURCES = 300
EACH = 70  #: datagrams of each source: 21,000 in all, sent as fast as they go

pytestmark = [pytest.mark.limit(90)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MizuProcess]:
    """One server for this file, with two customers; nobody is on its white list."""
    from mizu.testing.postgres import shared_postgres

    directory: Path = tmp_path_factory.mktemp("floods")
    with (
        shared_postgres().database() as url,
        MizuProcess(
            directory, "--database", url, "--http", "127.0.0.1:0", "--sip", "udp:127.0.0.1:0"
        ) as running,
    ):
        for user in ("1001", "1002"):
            assert running.console(f"adduser {user} --password {PASSWORD}")["ok"]
        assert running.console("options set guardwhitelist ''")["ok"]
        yield running


@pytest.fixture(autouse=True)
def nobody_banned(server: MizuProcess) -> Iterator[None]:
    yield
    assert server.console("delbanned")["ok"]


def bans_of(server: MizuProcess, reason: str) -> list[dict[str, object]]:
    found = server.console("banned --limit 1000")["result"]["bans"]
    return [one for one in found if one["reason"] == reason]


def request(method: str, source: tuple[str, int]) -> bytes:
    """About somebody who may exist, without credentials, never the same."""
    host, port = source
    key, user = secrets.token_hex(8), 1000 + secrets.randbelow(1000)
    return (
        f"{method} sip:{user}@mizu.test SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{key}\r\n"
        f"From: <sip:{user}@mizu.test>;tag=1\r\nTo: <sip:{user}@mizu.test>\r\nCall-ID: {key}\r\n"
        f"CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContact: <sip:{user}@{host}:{port}>\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


class Flood:
    """Many addresses that send in turns and count what each of them gets."""

    def __init__(self, server: MizuProcess, method: str) -> None:
        self._method = method
        self._sockets = []
        for number in range(SOURCES):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((f"127.7.{number // 100}.{number % 100 + 1}", 0))
            sock.connect(server.address("udp"))
            sock.setblocking(False)
            self._sockets.append(sock)
        self.sent_bytes = [0] * SOURCES
        self.got: list[list[bytes]] = [[] for _ in range(SOURCES)]
        self.thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        for _ in range(EACH):
            for number, sock in enumerate(self._sockets):
                data = request(self._method, sock.getsockname())
                try:
                    self.sent_bytes[number] += sock.send(data)
                except BlockingIOError:
                    continue
            self._drain(0)
        self._drain(1.0)

    def _drain(self, wait_s: float) -> None:
        numbers = {sock: number for number, sock in enumerate(self._sockets)}
        end_s = time.monotonic() + wait_s
        while True:
            ready = select.select(self._sockets, [], [], max(0.0, end_s - time.monotonic()))[0]
            if not ready:
                return
            for sock in ready:
                self.got[numbers[sock]].append(sock.recv(65_535))

    def close(self) -> None:
        self.thread.join()
        for sock in self._sockets:
            sock.close()


@pytest.mark.parametrize("method", ["REGISTER", "INVITE", "OPTIONS"])
def test_D1_a_flood_from_many_sources_hurts_no_customer(server: MizuProcess, method: str) -> None:
    """
    300 addresses send 21,000 requests as fast as they can: each gets few answers, none of them a 503, never
    more than half as much again as it sent, and is dropped before the parser from then on; a customer who
    registers all the while never fails. Who asks for OPTIONS fails at nothing: that is for ``guardrate``.
    """
    customer = Client(server.address("udp"), source="127.0.0.100", timeout_s=20.0)
    reason = "rate" if method == "OPTIONS" else "banned"
    if method == "OPTIONS":
        assert server.console("options set guardrate 5")["ok"]

    def count() -> int:
        dropped = server.status()["dropped"]
        return int(dropped[reason] + (dropped["socket"] if reason == "banned" else 0))

    before = count()
    flood = Flood(server, method)
    try:
        flood.thread.start()
        done = 0
        while flood.thread.is_alive() or done < 10:
            assert customer.register("1002", PASSWORD).status == 200
            done += 1
            time.sleep(0.5 if method == "OPTIONS" else 0.05)
    finally:
        flood.close()
        customer.close()
        server.console("options reset guardrate")
    dropped = count() - before
    answers = [len(one) for one in flood.got]
    assert sum(answers) > 0
    assert not any(b" 503 " in answer.split(b"\r\n")[0] for one in flood.got for answer in one)
    for sent_bytes, one in zip(flood.sent_bytes, flood.got, strict=True):
        assert sum(map(len, one)) <= 1.5 * sent_bytes
    if method == "OPTIONS":
        assert dropped > 0
    else:
        # a challenge is sent before the twentieth is counted
        assert max(answers) <= 20
        assert dropped > SOURCES
        bans = bans_of(server, "unauthenticated requests")
        assert len(bans) > SOURCES // 2
        assert all(ban["in_doubt"] for ban in bans), "their addresses may be forged"
    assert not any("127.0.0.100" in str(ban["target"]) for ban in bans_of(server, "wrong password"))


def guesses(server: MizuProcess, sources: list[str], times: int, *, user: str, new_ports: bool) -> None:
    """Wrong passwords from each of the addresses in turn, until it gets no answer."""
    clients = {source: Client(server.address("udp"), source=source, timeout_s=0.4) for source in sources}
    for source in sources:
        for _ in range(times):
            if new_ports:
                clients[source].close()
                clients[source] = Client(server.address("udp"), source=source, timeout_s=0.4)
            try:
                assert clients[source].register(user, secrets.token_hex(4)).status == 401
            except NoAnswer:
                break
        clients[source].close()


@pytest.mark.parametrize("user", ["1001", "5551"], ids=["an account", "nobody"])
def test_C7_guessers_after_the_first_are_banned_as_the_first_is(server: MizuProcess, user: str) -> None:
    """24 wrong passwords from each of seven addresses: the first slows the account down, not the bans."""
    sources = [f"127.9.{number}.1" for number in range(1, 8)]
    owner = Client(server.address("udp"), source="127.0.0.101")
    if user == "1001":
        assert owner.register(user, PASSWORD).status == 200
    guesses(server, sources, 24, user=user, new_ports=False)
    bans = bans_of(server, "wrong password")
    assert sorted(str(ban["target"]).partition(":")[0] for ban in bans) == sources
    assert not any(ban["in_doubt"] for ban in bans)
    if user == "1001":
        assert owner.register(user, PASSWORD).status == 200, "his registered phone notices nothing"
    owner.close()


def test_C7_guessers_of_one_network_take_it_with_them(server: MizuProcess) -> None:
    """From ever new ports: twenty guesses ban an address, five addresses their /24."""
    sources = [f"127.9.9.{number}" for number in range(1, 8)]
    guesses(server, sources, 24, user="1001", new_ports=True)
    targets = {str(one["target"]) for one in server.console("banned --limit 1000")["result"]["bans"]}
    assert "127.9.9.0/24" in targets
    assert set(sources[:5]) <= targets
    with pytest.raises(NoAnswer):
        Client(server.address("udp"), source="127.9.9.77", timeout_s=0.4).register("1002", PASSWORD)


def test_a_partner_of_an_account_may_fail_more_often(server: MizuProcess) -> None:
    """Its address in an account of type SIP server is enough, from the moment that it is there."""
    assert server.console("adduser carrier type=sip_server domain_name=127.9.8.1")["ok"]
    deadline = time.monotonic() + 5.0
    while server.status()["bans"]["peers"] < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    guesses(server, ["127.9.8.1", "127.9.7.1"], 24, user="5550", new_ports=True)
    targets = {str(one["target"]) for one in server.console("banned --limit 1000")["result"]["bans"]}
    assert "127.9.7.1" in targets
    assert "127.9.8.1" not in targets
    told = server.console("authtest 127.9.8.1 INVITE x 9")["result"]["reasons"]
    assert told[0] == "known address: may fail 10 times as often"
    assert server.console("deluser carrier")["ok"]
