"""Token and run file in the data directory."""

import json
import os
import stat
from pathlib import Path

import pytest

from mizu.console.rundir import NotRunning, RunFile, TokenUnreadable, read_token, server_token
from mizu.errors import ConfigError


def test_the_token_is_made_once_and_is_private(tmp_path: Path):
    """First start: 43 random characters, mode 0600. Later starts: the same token."""
    token = server_token(tmp_path)
    assert len(token) >= 43
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert server_token(tmp_path) == read_token(tmp_path) == token


def test_a_token_that_others_could_read_is_closed_to_them(tmp_path: Path):
    """A copied data directory with loose modes is repaired."""
    token = server_token(tmp_path)
    (tmp_path / "token").chmod(0o644)
    assert server_token(tmp_path) == token
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 64, b"x" * 40 + b"\n" + b"y" * 40])
def test_a_damaged_token_is_never_used(tmp_path: Path, content: bytes):
    """An empty or broken token must not open the console: server and client both say what to do."""
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(TokenUnreadable, match="damaged"):
        read_token(tmp_path)
    with pytest.raises(ConfigError, match="damaged"):
        server_token(tmp_path)


def test_a_missing_token_says_who_makes_it(tmp_path: Path):
    """The client tells that the server makes it; a server that cannot write says so."""
    with pytest.raises(TokenUnreadable, match="first start"):
        read_token(tmp_path)
    with pytest.raises(ConfigError, match="cannot write"):
        server_token(tmp_path / "nowhere")


def test_the_run_file_says_where_the_server_is(tmp_path: Path):
    """Written whole, read back, removed at the end; removing it twice is fine."""
    run = RunFile("127.0.0.1:8080", os.getpid(), ["udp:127.0.0.1:5060"])
    run.write(tmp_path)
    assert RunFile.read(tmp_path) == run
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    RunFile.remove(tmp_path)
    RunFile.remove(tmp_path)
    with pytest.raises(NotRunning, match="no server is running"):
        RunFile.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"http": "x", "pid": "many", "sip": []}', "[" * 70000])
def test_a_damaged_run_file_is_as_good_as_none(tmp_path: Path, text: str):
    """No traceback for a file that a crash or a hand has spoiled."""
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(NotRunning):
        RunFile.read(tmp_path)


@pytest.mark.parametrize("pid", [2**22 + 1, 2**70])
def test_a_server_that_was_killed_is_not_asked(tmp_path: Path, pid: int):
    """Its port may belong to somebody else now, who must not get the token."""
    (tmp_path / "run.json").write_text(json.dumps({"http": "127.0.0.1:1", "pid": pid, "sip": []}))
    with pytest.raises(NotRunning, match="is gone"):
        RunFile.read(tmp_path)
