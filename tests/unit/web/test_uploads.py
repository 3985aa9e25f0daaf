"""Files that are sent for import, over a real loopback port: on disk as they come, gone when it is over."""

import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.internet import reactor
from twisted.internet.task import deferLater

from mizu.accounts.bulk import ImportJob
from mizu.clock import SystemClock
from mizu.config import HttpConfig
from mizu.console.client import Show, run_line
from mizu.console.commands import command_table
from mizu.console.link import Link
from mizu.errors import Conflict
from mizu.model import Operator, Rights
from mizu.observe import Metrics, StatusBoard
from mizu.testing.console import NOON, FakeConsole
from mizu.web.server import WebServer

MOST_BYTES = 3_000_000


class Taken:
    """Imports that only keep what was in the file. ``error``: instead of a start."""

    def __init__(self, data: Path) -> None:
        self.data, self.error = data, None
        self.texts: list[bytes] = []
        self.done: list[ImportJob] = []

    def start(self, order, operator, entry=None):
        if self.error:
            raise self.error
        self.texts.append((self.data / "import" / order.sent).read_bytes())
        self.done.append(ImportJob(len(self.done) + 1, order, operator.name, None, NOON, state="done"))
        return self.done[-1]

    async def wait(self, job, seconds):
        pass

    def jobs(self, scope=None):
        return self.done


class SlowTokens:
    """A database that takes its time to know a token."""

    def __init__(self) -> None:
        self.rights = Rights.ADMIN
        self.scope: int | None = None

    async def find(self, sha256: bytes, source: str) -> Operator | None:
        await deferLater(reactor, 0.05, lambda: None)
        return Operator("alice", self.rights, source, self.scope) if self.rights else None


class Server:
    """The HTTP side on a free port."""

    def __init__(self, data: Path) -> None:
        self.data, self.imports, self.tokens = data, Taken(data), SlowTokens()
        self.left = data / "import" / "uploads" / ("0" * 32 + ".csv")
        self.left.parent.mkdir(parents=True)
        self.left.write_text("of a process that died")
        services = replace(FakeConsole().services, imports=self.imports)
        self.web = WebServer(
            reactor,
            HttpConfig(listen="127.0.0.1:0", upload_bytes=MOST_BYTES),
            data,
            board=StatusBoard(SystemClock(), Metrics(), "1", "n"),
            commands=command_table(services),
            tokens=self.tokens,
        )
        self.address = self.web.start()
        self.web.announce([])
        self.token = (data / "token").read_text().strip()

    async def send(self, body: Any, query: str = "", token: str | None = None, **headers: str) -> Any:
        sent = {
            "authorization": f"Bearer {self.token if token is None else token}",
            "content-type": "text/csv",
            **headers,
        }
        url = f"http://{self.address}/api/v1/imports{query}"
        answer = await treq.post(url, data=body, headers=sent, persistent=False)
        return answer.code, await answer.json()

    def head(self, length: int, token: str | None = None) -> bytes:
        """The beginning of a request."""
        return (
            f"POST /api/v1/imports HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/csv; charset=utf-8\r\n"
            f"authorization: Bearer {self.token if token is None else token}\r\n"
            f"content-length: {length}\r\n\r\n"
        ).encode()

    def dial(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), 5)

    def files(self) -> list[str]:
        return [one.name for one in self.left.parent.glob("*")]

    async def until(self, what) -> None:
        for _ in range(500):
            if what():
                return
            await deferLater(reactor, 0.01, lambda: None)
        raise AssertionError("it does not happen")


@pytest_twisted.async_yield_fixture
async def server(tmp_path):
    server = Server(tmp_path)
    yield server
    await server.web.stop()
    assert server.files() == []


async def test_a_file_arrives_as_it_is(server):
    """Small and large ones, and the options behind ``?``; what a process left that died is gone."""
    assert not server.left.exists()
    for text in (b"", b"username\n1001\n", b"username\n" + b"1001\xc3\xa9\r\n" * 250_000):
        status, job = await server.send(text, "?dry_run=true&template=1001")
        assert (status, job["state"], job["dry_run"], job["template"]) == (200, "done", True, "1001")
        assert server.imports.texts.pop() == text
        assert job["file"] == "sent.csv"
    assert server.files() == []


async def test_the_file_is_on_disk_while_it_comes(server):
    """Not in memory; readable by the server's user only."""
    with server.dial() as line:
        line.sendall(server.head(2_000_000) + b"x" * 1_500_000)
        path = server.left.parent
        await server.until(lambda: [one for one in path.glob("*") if one.stat().st_size == 1_500_000])
        [file] = path.glob("*")
        assert file.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_mode & 0o077 == 0 or path.stat().st_uid == file.stat().st_uid
        status, _ = await server.send(b"username\n")  # one at a time
        assert status == 503
    await server.until(lambda: server.files() == [])  # the sender went away
    assert (await server.send(b"username\n"))[0] == 200


@pytest.mark.parametrize(("token", "error"), [("x" * 43, 401), ("", 401)])
async def test_a_stranger_fills_no_disk(server, token, error):
    """Without a token that counts the body is not taken: answered before it is sent."""
    assert (await server.send(b"username\n", token=token))[0] == error
    with server.dial() as line:
        line.setblocking(False)
        line.send(server.head(2_000_000, token) + b"x" * 1000)
        loop_answer = b""

        def answered() -> bool:
            nonlocal loop_answer
            try:
                loop_answer += line.recv(4096)
            except BlockingIOError:
                return False
            return b"\r\n\r\n" in loop_answer

        await server.until(answered)
        assert loop_answer.startswith(b"HTTP/1.1 %d" % error)
    assert server.imports.texts == []
    assert server.files() == []


@pytest.mark.parametrize("size_bytes", [20, 2_000_000])
@pytest.mark.parametrize(
    ("rights", "status"), [(Rights.ADMIN, 200), (Rights.SALES, 403), (Rights.NO_ACCESS, 401)]
)
async def test_a_sender_whom_the_database_knows_is_waited_for(server, rights, status, size_bytes):
    """The file waits meanwhile; whoever may not import is refused, before it is taken when it is large."""
    server.tokens.rights = rights
    answer = await server.send(b"x" * size_bytes, token="mizu_" + "a" * 43)
    assert answer[0] == status, answer
    assert [len(text) for text in server.imports.texts] == ([size_bytes] if status == 200 else [])
    assert server.files() == []


async def test_a_reseller_sends_files_too(server):
    """What is done with them is limited to what is his; see the tests of imports."""
    server.tokens.scope = 7
    assert (await server.send(b"username\n", token="mizu_" + "a" * 43))[0] == 200
    assert server.imports.texts == [b"username\n"]


async def test_a_slow_sender_keeps_nobody_else_from_sending(server):
    """One file at a time of each reach, three of limited ones; the administrator's comes in."""
    lines = []
    for scope in (7, 8, 9, 10):
        server.tokens.scope = scope
        lines.append(server.dial())
        lines[-1].sendall(server.head(1000, "mizu_" + "a" * 43) + b"x")
        await deferLater(reactor, 0.2, lambda: None)
    assert len(server.files()) == 3
    assert b"503" in lines[-1].recv(4096)
    server.tokens.scope = 7
    assert (await server.send(b"username\n", token="mizu_" + "a" * 43))[0] == 503
    assert (await server.send(b"username\n"))[0] == 200
    for line in lines:
        line.close()
    await server.until(lambda: server.files() == [])
    assert (await server.send(b"username\n", token="mizu_" + "a" * 43))[0] == 200


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("customers.csv", "customers.csv"),
        ("my%20file.csv", "my file.csv"),
        ("C%3A%5CUsers%5Cbob%5Clist.csv", "list.csv"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("a%0Ab%1B%5B31m%E2%80%AE.csv", "a_b_[31m_.csv"),
        ("uploads%2F" + "0" * 32 + ".csv", "0" * 32 + ".csv"),
        ("x" * 200 + ".csv", "x" * 96 + ".csv"),
        ("", "sent.csv"),
        ("%2F", "sent.csv"),
    ],
)
async def test_a_file_is_called_what_its_sender_calls_it(server, given, shown):
    """``?file=``: its name without path and control characters; where it lay is shown nowhere."""
    status, job = await server.send(b"username\n", f"?file={given}")
    assert (status, job["file"]) == (200, shown)
    assert "uploads/" not in str(job)


async def test_who_hangs_up_before_he_is_known_leaves_nothing(server):
    """Neither a file nor an error."""
    with server.dial() as line:
        line.sendall(server.head(100, "mizu_" + "a" * 43) + b"x")
        await deferLater(reactor, 0.02, lambda: None)
    await deferLater(reactor, 0.1, lambda: None)
    assert (await server.send(b"username\n"))[0] == 200


async def test_a_file_has_so_many_bytes_at_most(server):
    """By its length, or as it comes when it does not say one."""
    status, answer = await server.send(b"x" * (MOST_BYTES + 1))
    assert (status, answer["error"]) == (413, "too_large")

    with server.dial() as line:
        head = server.head(0).replace(b"content-length: 0", b"transfer-encoding: chunked")
        line.setblocking(False)
        line.send(head)
        chunk = b"%x\r\n%b\r\n" % (60_000, b"x" * 60_000)
        answer, waiting = b"", chunk * 60

        def refused() -> bool:
            nonlocal answer, waiting
            with suppress(OSError):
                waiting = waiting[line.send(waiting[:60_000]) :] if waiting else b""
            with suppress(OSError):
                answer += line.recv(4096)
            return b"too_large" in answer

        await server.until(refused)
    assert server.imports.texts == []


async def test_what_the_command_refuses_is_an_answer(server):
    """Another import runs, an option that is none: the file is gone all the same."""
    server.imports.error = Conflict("import 1 is running")
    assert (await server.send(b"username\n"))[0] == 409
    assert (await server.send(b"username\n", "?no_such=1"))[0] == 400
    assert server.files() == []


async def test_other_bodies_are_not_files(server):
    """Neither another type nor another path gets the larger bound."""
    big = b"x" * 2_000_000
    assert (await server.send(big, **{"content-type": "application/json"}))[0] == 413
    url = f"http://{server.address}/api/v1/exports"
    headers = {"authorization": f"Bearer {server.token}", "content-type": "text/csv"}
    assert (await treq.post(url, data=big, headers=headers, persistent=False)).code == 413


async def test_the_client_sends_a_file(server, tmp_path, capsys):
    """``mizu import --send FILE``: the whole file, with its options, until it is imported."""
    file = tmp_path / "my accounts.csv"
    file.write_bytes(b"username\n" + b"1001\n" * 100_000)
    link = Link(reactor, str(tmp_path))

    async def never(what):
        raise AssertionError

    try:
        show = Show(as_json=False)
        assert await run_line(link, f"import --send '{file}' --whole --template=1001", show, never) == 0
        assert await run_line(link, "import --send /no/such/file", show, never) == 1
        assert await run_line(link, f"import --send '{file}' --no-such x", show, never) == 1
        assert await run_line(link, f"import a.csv --send '{file}'", show, never) == 1
    finally:
        await link.close()
    [text] = server.imports.texts
    assert text == file.read_bytes()
    order = server.imports.done[0].order
    assert (order.whole, order.template, order.dry_run) == (True, "1001", False)
    printed = capsys.readouterr()
    assert "import 1 of my accounts.csv" in printed.out
    assert "No such file" in printed.err
