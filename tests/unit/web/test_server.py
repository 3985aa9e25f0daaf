"""Start, reach and stop the HTTP side over a real loopback port, with the terminal's own client."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import globalLogPublisher

from mizu.clock import SystemClock
from mizu.config import HttpConfig
from mizu.console.commands import command_table
from mizu.console.link import BadAnswer, Link, reachable
from mizu.console.rundir import NotRunning
from mizu.errors import ConfigError
from mizu.observe import Metrics, StatusBoard
from mizu.testing.console import FakeConsole
from mizu.web.server import WebServer, is_loopback, split_listen


def web_server(data_dir: Path, listen: str = "127.0.0.1:0") -> WebServer:
    board = StatusBoard(SystemClock(), Metrics(), "1", "n")
    return WebServer(
        reactor,
        HttpConfig(listen=listen),
        data_dir,
        board=board,
        commands=command_table(FakeConsole().services),
    )


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
async def test_the_client_finds_the_server_by_its_data_directory(tmp_path: Path, listen: str):
    """Address and token come from the directory, over IPv4 and IPv6; a stopped server is told apart."""
    server = web_server(tmp_path, listen)
    server.start()
    server.announce(["udp:127.0.0.1:5060"])
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["http"] == server.address
    assert run["sip"] == ["udp:127.0.0.1:5060"]
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    link = Link(reactor, str(tmp_path))
    try:
        added = await link.run("adduser 1001")
        again = await link.run("adduser 1001")
        ask = await link.run("passwd 1001")
    finally:
        await link.close()
        await server.stop()
    assert (added.ok, added.lines[0]) == (True, "account 1001 added")
    assert (again.ok, again.error) == (False, "conflict")
    assert (ask.error, ask.argument) == ("secret_missing", "password")
    assert not (tmp_path / "run.json").exists()
    with pytest.raises(NotRunning, match="no server is running"):
        Link(reactor, str(tmp_path))


async def test_a_server_that_came_back_elsewhere_is_found(tmp_path: Path):
    """An open prompt goes on after a restart, on another port and with another token."""
    first = web_server(tmp_path)
    first.start()
    first.announce([])
    link = Link(reactor, str(tmp_path))
    assert (await link.run("version")).ok
    await first.stop()
    with pytest.raises(NotRunning):
        await link.run("version")
    (tmp_path / "token").unlink()
    second = web_server(tmp_path)
    second.start()
    second.announce([])
    try:
        assert (await link.run("version")).ok
    finally:
        await link.close()
        await second.stop()


async def test_a_wrong_token_says_which_directory(tmp_path: Path):
    """E2: the console does not answer, and the user learns where to look."""
    server = web_server(tmp_path)
    server.start()
    server.announce([])
    (tmp_path / "token").write_text("w" * 43)
    link = Link(reactor, str(tmp_path))
    try:
        with pytest.raises(NotRunning, match="right data directory"):
            await link.run("users")
    finally:
        await link.close()
        await server.stop()


async def test_something_else_on_the_port_is_no_server(tmp_path: Path):
    """An answer that is not ours is not shown as one."""
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    port: Any = reactor.listenTCP(0, Site(Resource()), interface="127.0.0.1")  # type: ignore[attr-defined]
    server = web_server(tmp_path)
    server.start()
    server.address = f"127.0.0.1:{port.getHost().port}"
    server.announce([])
    link = Link(reactor, str(tmp_path))
    try:
        with pytest.raises(BadAnswer, match="not a Mizu server"):
            await link.run("users")
    finally:
        await link.close()
        await server.stop()
        await port.stopListening()


async def test_an_address_that_is_taken_is_a_configuration_error(tmp_path: Path):
    """One sentence with the key, no traceback."""
    first, second = web_server(tmp_path), web_server(tmp_path)
    first.start()
    second._config = HttpConfig(listen=first.address)
    try:
        with pytest.raises(ConfigError, match=r"http\.listen: cannot listen"):
            second.start()
    finally:
        await second.stop()
        await first.stop()


async def test_listening_beyond_loopback_is_warned_about(tmp_path: Path):
    """Loudly, with what to do; loopback is silent."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    server, local = web_server(tmp_path, "0.0.0.0:0"), web_server(tmp_path)
    try:
        local.start()
        assert not [e for e in events if e["log_level"].name == "warn"]
        server.start()
        assert "beyond loopback" in next(e for e in events if e["log_level"].name == "warn")["log_format"]
    finally:
        globalLogPublisher.removeObserver(events.append)
        await server.stop()
        await local.stop()


async def test_no_http_side_is_fine(tmp_path: Path):
    """An empty address means none; the client says so."""
    server = web_server(tmp_path, "")
    assert server.start() == ""
    server.announce([])
    with pytest.raises(NotRunning, match="no HTTP side"):
        Link(reactor, str(tmp_path))
    await server.stop()


@pytest.mark.parametrize("text", ["", "8080", "host", "::1:8080", "a:b", "a:70000", "[]:1", ":80", "a:-1"])
def test_a_wrong_address_is_named(text: str):
    """HOST:PORT, IPv6 in brackets."""
    with pytest.raises(ConfigError, match=r"http\.listen"):
        split_listen(text)


def test_addresses():
    """What is loopback, and where a client goes for an address that means any."""
    assert split_listen("[::1]:80") == ("::1", 80)
    assert split_listen("localhost:0") == ("localhost", 0)
    assert [is_loopback(h) for h in ("127.0.0.5", "::1", "localhost", "0.0.0.0", "::", "192.0.2.1", "x")] == [
        *(True, True, True),
        *(False, False, False, False),
    ]
    assert reachable("0.0.0.0:1") == "127.0.0.1:1"
    assert reachable("[::]:1") == "[::1]:1"
    assert reachable("192.0.2.1:1") == "192.0.2.1:1"
