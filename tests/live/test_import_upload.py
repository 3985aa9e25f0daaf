"""A file is sent by the ``mizu`` program to a server with its own PostgreSQL, and becomes accounts."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mizu.testing.server import MizuProcess

LINES = 3000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MizuProcess]:
    """One for all."""
    data = tmp_path_factory.mktemp("upload") / "data"
    with MizuProcess(data, "--sip", "udp:127.0.0.1:0", "--http", "127.0.0.1:0") as running:
        yield running


def mizu(server: MizuProcess, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mizu.console.client", "--data", str(server.data), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.limit(120)
def test_a_file_becomes_accounts_by_the_program(server: MizuProcess, tmp_path: Path) -> None:
    """Tried, then done; all or none when a line is bad; nothing of it is left on the server's disk."""
    file = tmp_path / "people.csv"
    heads = "username,password,Name\n"
    good = "".join(f"p{n:05d},secret {n},Person {n}\n" for n in range(LINES))
    file.write_text(heads + good)
    tried = mizu(server, "import", "--send", str(file), "--dry-run")
    assert (tried.returncode, f"{LINES} would be added" in tried.stdout) == (0, True), tried
    assert server.console("users p00")["result"]["users"] == []
    file.write_text(heads + good + "p00000,twice,\n")
    spoilt = mizu(server, "import", "--send", str(file), "--whole")
    assert "nothing was changed, because of the bad lines" in spoilt.stdout
    assert f"line {LINES + 2}" in spoilt.stdout
    assert server.console("users p00")["result"]["users"] == []
    file.write_text(heads + good)
    done = mizu(server, "--json", "import", "--send", str(file), "--whole")
    assert (done.returncode, f'"added": {LINES}' in done.stdout) == (0, True), done
    assert len(server.console("users p0 --limit 5000")["result"]["users"]) == LINES
    assert list((server.data / "import" / "uploads").iterdir()) == []
    noted = server.console("audit --limit 1000")["result"]["entries"]
    made = {c["key"] for one in noted for c in one["changes"] if c["topic"] == "account"}
    assert len(made) == LINES


def test_a_file_that_is_not_there_is_said(server: MizuProcess) -> None:
    """By the program, before anything is sent."""
    missing = mizu(server, "import", "--send", "/no/such/file.csv")
    assert (missing.returncode, "No such file" in missing.stderr) == (1, True)
