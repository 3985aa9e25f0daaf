"""The database goes away under load and comes back: nobody has to restart anything."""

import contextlib
import os
import signal
import threading
import time

import pytest

from mizu.testing.server import MizuProcess
from mizu.testing.sip_client import Client, NoAnswer

pytestmark = pytest.mark.limit(120)
PASSWORD = "pw-alice-1"
OUTAGE_S = 4.0


@pytest.fixture
def server(tmp_path):
    """A server with its own PostgreSQL and two accounts."""
    options = ("--sip", "udp:127.0.0.1:0", "--http", "127.0.0.1:0")
    with MizuProcess(tmp_path / "var", *options) as process:
        for name in ("alice", "bob"):
            assert process.console(f"adduser {name} --password '{PASSWORD}'")["ok"]
        yield process
    assert "Traceback" not in process.output


class Load(threading.Thread):
    """A phone that registers again and again, from its own socket."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.statuses: list[int] = []
        self.stopping = False

    def run(self) -> None:
        with contextlib.closing(Client(self.address)) as phone:
            while not self.stopping:
                try:
                    self.statuses.append(phone.register("alice", PASSWORD).status)
                except NoAnswer:
                    self.statuses.append(0)
                time.sleep(0.01)


def test_registered_phones_are_served_from_memory_and_all_heals(server):
    """
    PostgreSQL is killed with SIGKILL and cannot come back for some seconds. A phone that was known registers
    all the time; calls and unknown phones get 503 with Retry-After; ``/readyz`` says 503. Then it comes back
    by itself, calls and their rows work again, and nothing was restarted but PostgreSQL.
    """
    data = server.data / "pg" / "data"
    load = Load(server.address("udp"))
    load.start()
    server.wait_for("a registration", lambda status: status["registrations"]["contacts"] == 1)

    with contextlib.closing(Client(server.address("udp"))) as caller:
        assert caller.call("bob", "alice", PASSWORD).status == 480  # nobody there, but the switch is

        postmaster = int((data / "postmaster.pid").read_text().split()[0])
        hidden = data.with_name("hidden")
        data.rename(hidden)  # it cannot be started again until this is taken back
        os.kill(postmaster, signal.SIGKILL)
        server.wait_for("the outage", lambda status: not status["database"]["healthy"])
        before = len(load.statuses)
        until = time.monotonic() + OUTAGE_S
        refused = []
        while time.monotonic() < until:
            answer = caller.call("bob", "alice", PASSWORD)
            refused.append((answer.status, bool(answer.get("retry-after"))))
            time.sleep(0.05)
        ready = server.get("/readyz")[0]
        stranger = caller.register("bob", PASSWORD)  # never seen: only the database knows him
        served = len(load.statuses) - before
        hidden.rename(data)

        assert ready == 503
        assert set(refused) == {(503, True)}
        assert (stranger.status, bool(stranger.get("retry-after"))) == (503, True)
        assert served > 10
        server.wait_for("the database is back", lambda status: status["database"]["healthy"], timeout_s=60)
        assert server.get("/readyz")[0] == 200
        assert caller.register("bob", PASSWORD).status == 200
        assert caller.register("bob", PASSWORD, expires_s=0).status == 200
        assert caller.call("bob", "alice", PASSWORD).status == 480
    load.stopping = True
    load.join(10)
    assert set(load.statuses) == {200}
    assert server.console("cdrs --limit 1")["result"]["cdrs"][0]["caller"] == "alice"
