"""The servers that are compared, each started the same way: pinned to one processor with its database."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from mizu.sip.digest import ha1
from mizu.testing.server import MizuProcess

HERE = Path(__file__).parent
DOMAIN = "bench.local"
#: Calls to numbers in 49... go to the called side that SIPp plays.
MIZU_CONFIG = """[sip]
realm = "bench.local"

[[routing.router]]
name = "trunks"
type = "prefix"
prefix = [{ prefix = "49", trunks = ["callee"] }]
trunk = [{ name = "callee", uri = "sip:127.0.0.1:5080" }]
"""
KAMAILIO_SQL = Path("/usr/share/kamailio/postgres")


def user_name(index: int) -> str:
    return f"u{index:06d}"


def password_of(index: int) -> str:
    return f"pw{index}x"


def write_injection(path: Path, count: int, order: str = "SEQUENTIAL") -> Path:
    """SIPp's file of users: name, domain, right authentication keyword, wrong one."""
    lines = [order]
    for index in range(1, count + 1):
        name, key = user_name(index), "[authentication username={} password={}]"
        right, wrong = key.format(name, password_of(index)), key.format(name, "wrong")
        lines.append(f"{name};{DOMAIN};{right};{wrong}")
    path.write_text("\n".join(lines) + "\n")
    return path


class Cluster:
    """A private PostgreSQL from Debian's package, run by an unprivileged account when we are root."""

    def __init__(self, directory: Path, *, cpu: str, port: int = 54329) -> None:
        self.directory, self.cpu, self.port = directory, cpu, port
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        if not versions:
            raise SystemExit("bench: PostgreSQL is missing; install Debian's package postgresql")
        self._bin = versions[-1]

    def start(self) -> None:
        data = self.directory / "data"
        self.directory.mkdir(parents=True, exist_ok=True)
        if not data.exists():
            if os.geteuid() == 0:
                subprocess.check_call(["chown", "postgres", str(self.directory)])
            self._run("initdb", "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C")
            with (data / "postgresql.conf").open("a") as conf:
                conf.write(
                    f"listen_addresses = '127.0.0.1'\nport = {self.port}\nmax_connections = 200\n"
                    f"unix_socket_directories = '{self.directory}'\nshared_buffers = 256MB\n"
                )
        if (data / "postmaster.pid").exists():  # of a run that was killed, perhaps still at work
            with suppress(subprocess.CalledProcessError):
                self._run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
        self._run("pg_ctl", "-D", str(data), "-l", str(self.directory / "log"), "-w", "start")
        for pid in self.pids():
            subprocess.call(["taskset", "-a", "-p", "-c", self.cpu, str(pid)], stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.directory / "data"), "-m", "fast", "-w", "stop")

    def pids(self) -> list[int]:
        """The postmaster; its children count with it."""
        pid = int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(
            ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
        ).stdout
        return [pid, *map(int, children.split())]

    def url(self, database: str) -> str:
        return f"postgresql://bench@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> None:
        self.sql("postgres", f"drop database if exists {database} with (force)")
        self.sql("postgres", f"create database {database}")

    def sql(self, database: str, text: str) -> None:
        command = ["psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "-d", database]
        subprocess.run([*command, "-v", "ON_ERROR_STOP=1"], input=text, text=True, check=True)

    def _run(self, program: str, *args: str) -> None:
        as_other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_other, str(self._bin / program), *args]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.directory)


class Peer(Protocol):
    """One server under load."""

    name: str
    address: tuple[str, int]

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def forgive(self) -> None:
        """Let in again whoever was banned."""

    def server_pids(self) -> list[int]: ...

    def db_pids(self) -> list[int]: ...


class MizuPeer:
    """This project."""

    name = "mizu"

    def __init__(self, cluster: Cluster, scratch: Path, *, cpu: str, users: int, number: int = 0) -> None:
        """:param number: tells those apart that run at the same time: ports, database, directory."""
        port = 5060 + number
        self.address = ("127.0.0.1", port)
        self.database = f"mizu_bench{number or ''}"
        self._cluster, self.users = cluster, users
        self._data = scratch / f"mizu{number or ''}"
        config = scratch / "mizu.toml"
        config.write_text(MIZU_CONFIG)
        self._server = MizuProcess(
            self._data,
            *("--config", str(config), "--database", cluster.url(self.database)),
            *("--sip", f"udp:127.0.0.1:{port}", "--http", f"127.0.0.1:{8099 + number}"),
            pin=cpu,
        )

    def start(self) -> None:
        subprocess.call(["rm", "-rf", str(self._data)])
        self._cluster.create(self.database)
        self._server.start()  # makes the tables
        rows = (
            "\t".join([name, *(ha1(name, DOMAIN, password_of(i), kind) for kind in ("MD5", "SHA-256"))])
            + "\n"
            for i in range(1, self.users + 1)
            for name in [user_name(i)]
        )
        copy = (
            "copy account (username, ha1_md5, ha1_sha256) from stdin;\n"
            + "".join(rows)
            + "\\.\nanalyze account;\n"
        )
        self._cluster.sql(self.database, copy)
        self._server.stop()
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def server_pids(self) -> list[int]:
        return [self._server.pid]

    def db_pids(self) -> list[int]:
        return self._cluster.pids()[:1]

    def forgive(self) -> None:
        self.console("delbanned")

    def console(self, command: str) -> dict[str, Any]:
        """:raise SystemExit: it failed."""
        answer = self._server.console(command)
        if not answer["ok"]:
            raise SystemExit(f"bench: {command}: {answer}")
        result: dict[str, Any] = answer["result"]
        return result

    @property
    def server(self) -> MizuProcess:
        return self._server


class KamailioPeer:
    """Debian's Kamailio: ``auth_db``, ``usrloc`` write-back, one CDR row a call."""

    name = "kamailio"

    def __init__(
        self, cluster: Cluster, scratch: Path, *, cpu: str, users: int, defines: tuple[str, ...]
    ) -> None:
        self.address = ("127.0.0.1", 5060)
        self._cluster, self._scratch, self._cpu, self._users = cluster, scratch, cpu, users
        self._defines = defines
        self._pid_file = scratch / "kamailio.pid"

    def start(self) -> None:
        self._cluster.create("kamailio_bench")
        for part in ("standard", "auth_db", "usrloc", "acc"):
            self._cluster.sql("kamailio_bench", (KAMAILIO_SQL / f"{part}-create.sql").read_text())
        rows = "".join(
            f"{name}\t{DOMAIN}\t{password_of(i)}\t{ha1(name, DOMAIN, password_of(i), 'MD5')}\n"
            for i in range(1, self._users + 1)
            for name in [user_name(i)]
        )
        self._cluster.sql(
            "kamailio_bench",
            "alter table acc_cdrs add column caller varchar(64) default '',"
            " add column callee varchar(64) default '', add column callid varchar(255) default '',"
            " add column src_ip varchar(64) default '';\n"
            "copy subscriber (username, domain, password, ha1) from stdin;\n"
            + rows
            + "\\.\nanalyze subscriber;\n",
        )
        settings = {
            "DBURL": f'"{self._cluster.url("kamailio_bench").replace("postgresql:", "postgres:")}"',
            "LISTEN": "udp:127.0.0.1:5060",
            "CHILDREN": "4",
            "USRLOC_MODE": "2",
            "UAS_URI": '"sip:127.0.0.1:5080"',
            "DBGLEVEL": "0",
            "PIKE_DENSITY": "400",
            "FIFOPATH": f'"{self._scratch}/kam.fifo"',
            "CTLPATH": f'"unix:{self._scratch}/kam.ctl"',
        }
        defines = [*self._defines, *(f"{key}={value}" for key, value in settings.items())]
        command = ["taskset", "-c", self._cpu, "kamailio", "-f", str(HERE / "servers" / "kamailio.cfg"), "-E"]
        command += [
            "-x",
            "fm",
            "-X",
            "fm",
            "-P",
            str(self._pid_file),
            "-Y",
            str(self._scratch),
            "-m",
            "1024",
            "-M",
            "16",
        ]
        command += [word for define in defines for word in ("-A", define)]
        with (self._scratch / "kamailio.log").open("wb") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log)
        wait_for_file(self._pid_file)
        time.sleep(1)

    def stop(self) -> None:
        end(int(self._pid_file.read_text()))
        self._pid_file.unlink(missing_ok=True)

    def forgive(self) -> None:
        self.stop()
        self.start()

    def server_pids(self) -> list[int]:
        return [int(self._pid_file.read_text())]

    def db_pids(self) -> list[int]:
        return self._cluster.pids()[:1]


class SippyPeer:
    """Sippy B2BUA from PyPI: ``b2bua_simple``, one static route, no authentication, no CDR."""

    name = "sippy"

    def __init__(self, scratch: Path, *, cpu: str) -> None:
        self.address = ("127.0.0.1", 5060)
        self._scratch, self._cpu = scratch, cpu
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = Path(os.environ.get("SIPPY_BIN") or Path(sys.executable).parent) / "b2bua_simple"
        if not program.exists():
            raise SystemExit(
                f"bench: {program} is missing; pip install sippy (or set SIPPY_BIN to its folder)"
            )
        command = [
            "taskset",
            "-c",
            self._cpu,
            str(program),
            "-f",
            "-l",
            "127.0.0.1",
            "-p",
            "5060",
            "-n",
            "127.0.0.1:5080",
        ]
        environment = {**os.environ, "SIPLOG_BEND": "none"}
        with (self._scratch / "sippy.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        time.sleep(2)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def forgive(self) -> None:
        """It bans nobody."""

    def server_pids(self) -> list[int]:
        return [self._process.pid] if self._process else []

    def db_pids(self) -> list[int]:
        return []


def wait_for_file(path: Path, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not (path.exists() and path.stat().st_size):
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: {path.name} did not appear; read {path.parent}")
        time.sleep(0.1)


def end(pid: int) -> None:
    """Ask a process to end and wait for it."""
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.1)
