"""A PostgreSQL for tests: one cluster a test run, one database a test, each copied from a migrated template.

Plain blocking functions; a conftest wraps them in a fixture:

    @pytest.fixture
    def database_url():
        with shared_postgres().database() as url:
            yield url
"""

# ruff: noqa: S603 - programs that find_binaries() found, arguments of our own

import atexit
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from mizu.store.binaries import find_binaries, let_through, server_user
from mizu.store.migrate import TABLE, migrations

_FAST = [
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "max_connections=200",
    "autovacuum=off",
]
_FAST += ["shared_buffers=32MB", "listen_addresses=", "log_min_messages=fatal", "max_wal_size=1GB"]


class TestPostgres:
    """A cluster in ``directory``, running between :meth:`start` and :meth:`stop`."""

    __test__ = False  # pytest takes a class of this name for tests

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._binaries = find_binaries()
        self._user = server_user(directory / "data")
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def _options(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def start(self) -> None:
        """Make the cluster and the template. :raise RuntimeError: it does not come up in 30 s."""
        if self._user is not None:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
            let_through(self.directory / "data", self._user)
            let_through(self._binaries.directory / "x", self._user)
        data = str(self.directory / "data")
        arguments = ["-D", data, "-U", "mizu", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [self._binaries.path("initdb"), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **self._options(),
        )
        self.run()
        self.sql("CREATE DATABASE template_mizu")
        script = [TABLE]
        for version, name, sql in migrations():
            script += [sql, f"INSERT INTO schema_migration (version, name) VALUES ({version}, '{name}')"]  # noqa: S608
        self.sql(";\n".join(script), "template_mizu")

    def run(self) -> None:
        """Start the server on its data, and wait until it accepts connections."""
        arguments = [self._binaries.path("postgres"), "-D", str(self.directory / "data")]
        arguments += ["-c", f"unix_socket_directories={self.directory}"]
        for setting in _FAST:
            arguments += ["-c", setting]
        self._process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, cwd="/", **self._options())
        for _ in range(600):
            try:
                return self.sql("SELECT 1")
            except subprocess.CalledProcessError:
                time.sleep(0.05)
        raise RuntimeError("PostgreSQL does not start")

    def sql(self, text: str, database: str = "postgres") -> None:
        """Run statements. :raise subprocess.CalledProcessError:"""
        command = [self._binaries.path("psql"), "-h", str(self.directory), "-U", "mizu", "-d", database]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        subprocess.run(
            [*command, "-qX", "-v", "ON_ERROR_STOP=1"],
            input=text.encode(),
            check=True,
            capture_output=True,
            env=environment,
        )

    def url(self, database: str) -> str:
        return f"postgresql://mizu@/{database}?host={self.directory}"

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """The URL of a new database with Mizu's schema (``empty``: without), dropped afterwards."""
        name = f"test_{next(self._numbers)}"
        template = "template0" if empty else "template_mizu"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            if self._process is not None and self._process.poll() is None:
                self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def stop(self) -> None:
        """Stop the server, whoever is connected; the data stays."""
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: "fast" shutdown
            self._process.wait(30)
            self._process = None


@contextmanager
def running_postgres() -> Iterator[TestPostgres]:
    """A cluster in a temporary directory, removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="mizu-pg-"))
    server = TestPostgres(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@lru_cache(maxsize=1)
def shared_postgres() -> TestPostgres:
    """The one cluster of this process, started at the first call and removed when the process ends."""
    running = running_postgres()
    server = running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    return server
