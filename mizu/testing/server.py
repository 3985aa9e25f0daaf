"""A real server as a child process: for live tests, benches and whoever wants to script one."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

READY = re.compile(r"^mizu ready: (?P<rest>.*)$", re.MULTILINE)


class MizuProcess:
    """``twistd -n mizu`` in a child process, with its log kept in the data directory.

    Used as a context manager it starts, waits for ``mizu ready:`` and stops again. It blocks: not for use
    inside a reactor, which a test gets around with ``deferToThread``.
    """

    def __init__(
        self,
        data: Path,
        *args: str,
        pin: str = "",
        python: str = sys.executable,
        env: dict[str, str] | None = None,
    ) -> None:
        """
        :param data: the data directory; made when missing.
        :param args: more options of ``twistd mizu``.
        :param pin: processor list for ``taskset``; empty: any.
        """
        self.data = data
        self.log_path = data / "server.log"
        prefix = ["taskset", "-c", pin] if pin else []
        pid_file = data / "twistd.pid"
        self._command = [
            *prefix,
            python,
            "-c",
            "from twisted.scripts.twistd import run; run()",
            "-n",
            f"--pidfile={pid_file}",
            "mizu",
            "--data",
            str(data),
            *args,
        ]
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.ready_line = ""

    def __enter__(self) -> "MizuProcess":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    @property
    def output(self) -> str:
        """All that it printed since it was first started."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def spawn(self) -> None:
        """Start and do not wait."""
        self.data.mkdir(parents=True, exist_ok=True)
        self._log = self.log_path.open("ab")
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, env=self._env
        )

    def start(self, timeout_s: float = 60.0) -> None:
        """:raise RuntimeError: it ended, or was not ready in time; the text has the end of its log."""
        seen = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.spawn()
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with self.log_path.open("rb") as log:
                log.seek(seen)
                found = READY.search(log.read().decode(errors="replace"))
            if found:
                self.ready_line = found["rest"]
                return
            if self._process is not None and self._process.poll() is not None:
                raise RuntimeError(
                    f"the server ended with {self._process.returncode}:\n{self.output[-4000:]}"
                )
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"the server was not ready after {timeout_s} s:\n{self.output[-4000:]}")

    def stop(self, timeout_s: float = 40.0) -> int | None:
        """Ask it to end (SIGTERM), then make it. :return: its exit code."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        code = self.wait(timeout_s)
        if self._log is not None:
            self._log.close()
        return code

    def wait(self, timeout_s: float) -> int:
        """Wait for its end, kill it when that takes too long. :return: its exit code."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        """``kill -9``."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    # ------------------------------------------------------------ talking to it

    def address(self, proto: str) -> tuple[str, int]:
        """Where it listens: ``udp``, ``tcp``, ``tls`` or ``http``, read from its ready line."""
        for word in self.ready_line.split():
            kind, _, rest = word.partition(":")
            if kind == proto:
                host, _, port = rest.rpartition(":")
                return host.strip("[]"), int(port)
        raise LookupError(f"no {proto} in {self.ready_line!r}")

    def get(self, path: str) -> tuple[int, Any]:
        """One HTTP GET. :return: status, and the JSON (or text) of the body."""
        return self._http(urllib.request.Request(self._url(path)))  # noqa: S310 - our own server

    def console(self, command: str) -> dict[str, Any]:
        """One console command through HTTP, with the token of the data directory."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            self._url("/console"),
            data=json.dumps({"command": command}).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": "Bearer " + (self.data / "token").read_text().strip(),
            },
        )
        answer = self._http(request)[1]
        assert isinstance(answer, dict), answer
        return answer

    def status(self) -> dict[str, Any]:
        answer = self.get("/status")[1]
        assert isinstance(answer, dict), answer
        return answer

    def wait_for(self, condition: str, check: Any, timeout_s: float = 20.0) -> dict[str, Any]:
        """Poll ``/status`` until ``check(status)`` is true. :raise AssertionError: it was not in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            status = self.status()
            if check(status):
                return status
            if time.monotonic() > deadline:
                raise AssertionError(f"{condition} not seen in {timeout_s} s: {status}")
            time.sleep(0.1)

    def rss_kib(self) -> int:
        """Resident memory of the server process, KiB."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def _url(self, path: str) -> str:
        host, port = self.address("http")
        return f"http://{host}:{port}{path}"

    @staticmethod
    def _http(request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            status, body = refused.code, refused.read()
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode(errors="replace")


def sipp(*args: str, timeout_s: float = 60.0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run SIPp to its end: exit code and output. :raise FileNotFoundError: it is not installed."""
    command: Sequence[str] = ["sipp", "-nostdin", *args]
    return subprocess.run(  # noqa: S603 - our own command line
        command,
        timeout=timeout_s,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )
