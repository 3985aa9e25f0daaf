"""Our own PostgreSQL as a child process, when the configuration names no other.

Below ``DATA/pg``: ``data`` (the cluster), ``run`` (its UNIX socket; no TCP), ``lock``. It runs as another
user when we are root (see :mod:`mizu.store.binaries`), keeps fsync on, is started again when it dies, and is
stopped with us. What a killed server left running is stopped first.
"""

import fcntl
import os
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.errors import ConfigError, StoreBusy
from mizu.store.binaries import Binaries, find_binaries, let_through, server_user

SOCKET_PATH_MAX = 100  # sun_path has 107 bytes; the name of the lock file beside it needs some
_STOP_POLL_S = 1 / 64  # sums to whole seconds without rounding
_STABLE_S = 30.0  # a server that lived so long starts again at once
_SETTINGS = {
    "listen_addresses": "''",
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "shared_buffers": "64MB",
    "synchronous_commit": "on",
    "fsync": "on",
    "wal_level": "replica",
    "max_wal_senders": "2",
    "min_wal_size": "64MB",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "10min",
    "checkpoint_completion_target": "0.9",
    "autovacuum_naptime": "30s",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "log_min_messages": "warning",
    "log_line_prefix": "''",
    "logging_collector": "off",
    "log_destination": "stderr",
}

_log = Logger()


class _Program(ProcessProtocol):
    """A child: its last lines of output, and a Deferred that fires with its exit code."""

    def __init__(self, tell: bool = False) -> None:
        self.lines: deque[str] = deque(maxlen=40)
        self.ended: Deferred[int] = Deferred()
        self.alive = True
        self.tell = tell
        self._rest = b""

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-4096:]
        for raw in lines:
            line = raw.decode("utf-8", "replace").strip()
            if line:
                self.lines.append(line)
                if self.tell and not line.startswith(("LOG:", "HINT:")):
                    _log.info("PostgreSQL: {line}", line=line)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.alive = False
        code: int | None = getattr(reason.value, "exitCode", None)
        self.ended.callback(1 if code is None else code)  # None: ended by a signal

    def tail(self) -> str:
        return " | ".join(list(self.lines)[-5:])


class Embedded:
    """
    The PostgreSQL in ``directory``.

    :param directory: made when it is missing.
    :param fast: no fsync, for tests only.
    """

    def __init__(self, directory: Path, reactor: Any, *, fast: bool = False) -> None:
        self.directory = directory.absolute()
        self._data = self.directory / "data"
        self._reactor = reactor
        self._fast = fast
        self._user = None
        self._binaries: Binaries | None = None
        self._lock: int | None = None
        self._run = self.directory / "run"
        self._temporary_run = False
        self._child: _Program | None = None
        self._timer: IDelayedCall | None = None
        self._stopping = False
        self._starting: Deferred[None] | None = None
        self._failures = 0
        self._started_s = 0.0
        self.restarts = 0
        self.problem = ""

    @property
    def parameters(self) -> dict[str, str]:
        """How to connect."""
        return {"host": str(self._run), "port": "5432", "user": "mizu", "dbname": "mizu"}

    @property
    def pid(self) -> int | None:
        """Process id of the server, ``None`` when it does not run."""
        transport = self._child.transport if self._child is not None and self._child.alive else None
        return transport.pid if transport is not None else None

    async def start(self) -> None:
        """
        Start it, after making the cluster the first time. Fires when it accepts connections.

        :raise ConfigError: it cannot run here; the text says why.
        """
        self._take_lock()
        self._starting = Deferred()
        try:
            await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._prepare)
            if not (self._data / "PG_VERSION").exists():
                await self._make_cluster()
            await self._stop_leftover()
            if self._stopping:
                raise StoreBusy("stopped")
            self._spawn()
            await self._until_ready()
        except BaseException:
            await self._finish()
            raise
        finally:
            self._starting.callback(None)

    def _take_lock(self) -> None:
        """:raise ConfigError: another server uses the directory."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ConfigError([f"--data: another server uses {self.directory.parent} already"]) from None
        self._lock = lock

    def _prepare(self) -> None:
        """Directories, permissions and programs; in a thread."""
        major = None
        if (self._data / "PG_VERSION").exists():
            major = int((self._data / "PG_VERSION").read_text())
        self._binaries = find_binaries(major)
        self._user = server_user(self._data)  # type: ignore[assignment]
        shutil.rmtree(self.directory / "data.new", ignore_errors=True)
        if len(str(self.directory / "run" / ".s.PGSQL.5432")) > SOCKET_PATH_MAX:
            self._run = Path(tempfile.mkdtemp(prefix="mizu-"))
            self._temporary_run = True
        self._run.mkdir(mode=0o700, exist_ok=True)
        self._run.chmod(0o700)
        if self._user is not None:
            for path in (self.directory, self._run):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
            opened = let_through(self._data, self._user) + let_through(
                self._binaries.directory / "x", self._user
            )
            if opened:
                _log.warn(
                    "PostgreSQL runs as {user}; for that, others may now enter (not list) {paths}",
                    user=self._user.pw_name,
                    paths=", ".join(map(str, opened)),
                )

    def _child_of(self, arguments: Sequence[str], *, tell: bool = False, text: bytes = b"") -> _Program:
        """Start a PostgreSQL program, as its own user."""
        assert self._binaries is not None
        program = _Program(tell)
        path = self._binaries.path(arguments[0])
        ids: Mapping[str, Any] = {}
        if self._user is not None:
            ids = {"uid": self._user.pw_uid, "gid": self._user.pw_gid}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        environment.update(LC_ALL="C", TZ="UTC", HOME=str(self.directory))
        self._reactor.spawnProcess(
            program, path, [path, *arguments[1:]], env=environment, path=str(self.directory), **ids
        )
        if text:
            program.transport.write(text)  # type: ignore[union-attr]
        program.transport.closeStdin()  # type: ignore[union-attr]
        return program

    async def _do(self, arguments: Sequence[str], text: bytes = b"") -> None:
        """Run a program to its end. :raise ConfigError: it failed."""
        program = self._child_of(arguments, text=text)
        if await program.ended:
            raise ConfigError([f"{arguments[0]} failed in {self.directory}: {program.tail()}"])

    async def _make_cluster(self) -> None:
        """initdb beside the final place, then a rename: a half-made cluster is never taken for one."""
        _log.info("making the database in {path}", path=str(self._data))
        new = str(self.directory / "data.new")
        arguments = ["initdb", "-D", new, "-U", "mizu", "--auth-local=trust", "--auth-host=reject"]
        arguments += ["-E", "UTF8", "--no-locale", "--wal-segsize=4"]
        await self._do(arguments + (["--no-sync"] if self._fast else []))
        create = b"CREATE DATABASE mizu;\n"
        await self._do(
            ["postgres", "--single", "-D", new, "-c", "log_min_messages=error", "postgres"], create
        )
        os.rename(new, self._data)

    async def _stop_leftover(self) -> None:
        """End a server that outlived the process that started it."""
        if (self._data / "postmaster.pid").exists():
            stop = self._child_of(["pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "-t", "30", "stop"])
            await stop.ended  # fails when none runs: the file of a machine that lost power

    def _spawn(self) -> None:
        settings = {**_SETTINGS, "unix_socket_directories": str(self._run)}
        assert self._binaries is not None
        if self._binaries.version >= 18:
            settings["io_method"] = "sync"  # saves three processes
        if self._fast:
            settings.update(fsync="off", full_page_writes="off")
        arguments = ["postgres", "-D", str(self._data)]
        for key, value in settings.items():
            arguments += ["-c", f"{key}={value.strip(chr(39))}"]
        self._started_s = self._reactor.seconds()
        self._child = self._child_of(arguments, tell=True)
        self._child.ended.addCallback(self._died, self._child)

    def _died(self, code: int, child: _Program) -> None:
        if self._stopping:
            return
        self.problem = f"PostgreSQL ended: {child.tail() or 'killed'}"
        if self._reactor.seconds() - self._started_s > _STABLE_S:
            self._failures = 0
        delay_s = min(0.1 * 2**self._failures, 5.0)  # its last processes may still hold the shared memory
        self._failures += 1
        _log.error("{problem}; started again in {delay_s} s", problem=self.problem, delay_s=delay_s)
        self._timer = self._reactor.callLater(delay_s, self._again)

    def _again(self) -> None:
        self._timer = None
        self.restarts += 1
        self._spawn()

    async def _until_ready(self) -> None:
        """:raise ConfigError: it has ended instead, three times."""
        pid_file = self._data / "postmaster.pid"
        while True:
            if self._failures >= 3:
                raise ConfigError([f"--data: {self.problem}"])
            if self._stopping:
                raise StoreBusy("stopped")
            try:
                lines = pid_file.read_text().splitlines()
            except OSError:
                lines = []
            if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == str(self.pid):
                self.problem = ""
                return
            await deferLater(self._reactor, 0.02, lambda: None)

    async def stop(self) -> None:
        """Stop it in order; after 10 s without. Safe to call twice, and while it starts."""
        self._stopping = True
        if self._starting is not None and not self._starting.called:
            started: Deferred[None] = Deferred()
            self._starting.addCallback(started.callback)
            await started
        await self._finish()

    async def _finish(self) -> None:
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        child, waited_s = self._child, 0.0
        if child is not None:
            child.tell = False  # that connections end now is no news
        while child is not None and child.alive:
            # again and again: a signal that comes before its handlers are there is lost
            if waited_s % 1.0 == 0.0:
                self._signal(child, signal.SIGINT if waited_s < 10.0 else signal.SIGQUIT)
            await deferLater(self._reactor, _STOP_POLL_S, lambda: None)
            waited_s += _STOP_POLL_S
        if self._temporary_run:
            shutil.rmtree(self._run, ignore_errors=True)
            self._run, self._temporary_run = self.directory / "run", False
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @staticmethod
    def _signal(child: _Program, number: int) -> None:
        with suppress(ProcessExitedAlready):
            child.transport.signalProcess(number)  # type: ignore[union-attr]
