"""Our own PostgreSQL: made, kept, killed, started again, alone on its directory."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from mizu.clock import SystemClock
from mizu.config import DatabaseConfig
from mizu.errors import ConfigError, StoreBusy
from mizu.model import CallOpened
from mizu.store import Store
from mizu.store.embedded import SOCKET_PATH_MAX, Embedded

pytestmark = pytest.mark.limit(60)


async def wait(seconds):
    from twisted.internet import reactor

    await deferLater(reactor, seconds, lambda: None)


async def signal_of(script):
    """The signal that ended a Python script."""
    ended = await deferToThread(subprocess.run, [sys.executable, "-c", script], timeout=50, check=False)
    return -ended.returncode


async def until(what, limit_s=20.0):
    """Wait until ``what()`` is true."""
    for _ in range(int(limit_s / 0.02)):
        if what():
            return
        await wait(0.02)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def directory():
    """A short path: a data directory may be anywhere, but pytest's own are long."""
    path = Path(tempfile.mkdtemp(prefix="mizu-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest_twisted.async_yield_fixture
async def make() -> AsyncIterator:
    """Makes stores with an embedded PostgreSQL; all are stopped at the end."""
    from twisted.internet import reactor

    made = []

    def build(path):
        store = Store(DatabaseConfig(poll_s=0.2), path, reactor, SystemClock())
        made.append(store)
        return store

    yield build
    for store in made:
        await store.stop()


def opened() -> CallOpened:
    return CallOpened(uuid.uuid4().hex, "", None, "1", "2", "c", "a", datetime.now(UTC))


async def test_a_second_start_keeps_the_data(make, directory):
    """Stopped in order and started again: the account is there, the socket is private, no TCP port."""
    first = make(directory / "var")
    await first.start()
    await first.accounts.add("alice", {}, {})
    assert (await first._reports.query("SHOW listen_addresses"))[0][0] == ""
    assert (await first._reports.query("SHOW fsync"))[0][0] == "on"
    assert (directory / "var/pg/run").stat().st_mode & 0o777 == 0o700
    await first.stop()
    assert first.embedded.pid is None
    second = make(directory / "var")
    await second.start()
    assert await second.accounts.find("alice") is not None
    assert second.status()["embedded"]


async def test_a_killed_postmaster_heals_under_load(make, directory, clean_reactor):
    """kill -9 while calls are written: what open promised is there, the same store works on."""
    store = make(directory / "var")
    await store.start()
    kept, refused = [], []

    def note(call):
        store.calls.open(call).addCallbacks(
            lambda _: kept.append(call.call_id), lambda failure: refused.append(call.call_id)
        )

    for kill in range(2):
        for step in range(30):
            note(opened())
            if step == 15:
                os.kill(store.embedded.pid, signal.SIGKILL)
            await wait(0.01)
        await until(lambda kill=kill: store.healthy and store.embedded.restarts > kill)
    assert kept
    assert refused
    await until(lambda: store.status()["connections"] == store.status()["connections_wanted"])
    await store.calls.open(opened())
    await store.calls.flush()
    rows = await store._reports.query("SELECT call_id::text FROM call")
    found = {row[0].replace("-", "") for row in rows}
    assert set(kept) <= found
    assert not set(refused) & found


async def test_a_server_left_behind_is_replaced(make, directory):
    """The process that started PostgreSQL was killed: the next start takes the data over, nothing is lost."""
    script = f"""
import os, sys
from twisted.internet import reactor, defer, task
from mizu.clock import SystemClock
from mizu.config import DatabaseConfig
from mizu.store import Store
async def main(reactor):
    store = Store(DatabaseConfig(), {str(directory / "var")!r}, reactor, SystemClock())
    await store.start()
    await store.accounts.add("alice", {{}}, {{}})
    os.kill(os.getpid(), 9)
task.react(lambda reactor: defer.ensureDeferred(main(reactor)))
"""
    ended = await signal_of(script)
    assert ended == signal.SIGKILL
    left = int((directory / "var/pg/data/postmaster.pid").read_text().split()[0])
    os.kill(left, 0)  # it is still there
    store = make(directory / "var")
    await store.start()
    assert await store.accounts.find("alice") is not None
    assert store.embedded.pid != left


async def test_two_servers_on_one_directory_are_refused(make, directory):
    """The second says so, the first goes on."""
    from twisted.internet import reactor

    first = make(directory / "var")
    await first.start()
    with pytest.raises(ConfigError, match="another server uses"):
        await make(directory / "var").start()
    with pytest.raises(ConfigError, match="another server uses"):
        await Embedded(directory / "var" / "pg", reactor).start()
    await first.accounts.add("alice", {}, {})


async def test_a_long_path_has_its_socket_elsewhere(directory):
    """The path of a UNIX socket has a limit, the data directory has not."""
    from twisted.internet import reactor

    embedded = Embedded(directory / ("d" * 60) / ("e" * 60), reactor, fast=True)
    await embedded.start()
    run = Path(embedded.parameters["host"])
    assert len(str(run / ".s.PGSQL.5432")) <= SOCKET_PATH_MAX
    assert os.listdir(run)
    await embedded.stop()
    assert run.name not in os.listdir(run.parent)


async def test_a_half_made_cluster_is_made_again(directory):
    """Killed during the first start: what it left is thrown away."""
    from twisted.internet import reactor

    (directory / "pg/data.new/base").mkdir(parents=True)
    embedded = Embedded(directory / "pg", reactor, fast=True)
    await embedded.start()
    await embedded.stop()
    assert (directory / "pg/data/PG_VERSION").exists()
    assert not (directory / "pg/data.new").exists()


async def test_data_that_is_broken_is_a_clear_error(directory, clean_reactor):
    """PostgreSQL's own reason is told, and start() does not go on for ever."""
    from twisted.internet import reactor

    embedded = Embedded(directory / "pg", reactor, fast=True)
    await embedded.start()
    await embedded.stop()
    (directory / "pg/data/global/pg_control").unlink()
    with pytest.raises(ConfigError, match="pg_control"):
        await Embedded(directory / "pg", reactor).start()


async def test_stopping_while_starting_ends_cleanly(make, directory):
    """Nothing is left running."""
    store = make(directory / "var")
    starting = store.start()
    starting.addErrback(lambda failure: failure.trap(StoreBusy, ConfigError))
    await wait(0.2)
    await store.stop()
    await starting
    assert store.embedded.pid is None
