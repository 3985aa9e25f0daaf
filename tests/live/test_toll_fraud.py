"""A user with a login of his own wants a call to reach a carrier past routing, from the server's address."""

import secrets
import socket
import time

import pytest

from mizu.testing.postgres import shared_postgres
from mizu.testing.server import MizuProcess
from mizu.testing.sip_client import Client

PASSWORD = "correct-horse"

pytestmark = pytest.mark.limit(120)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with mallory, bob, and the account of a carrier."""
    data = tmp_path_factory.mktemp("mizu")
    with shared_postgres().database() as url:
        sip = ("--sip", "udp:127.0.0.1:0", "--sip", "tcp:127.0.0.1:0")
        with MizuProcess(data, "--database", url, *sip, "--http", "127.0.0.1:0") as process:
            for name in ("mallory", "bob"):
                assert process.console(f"adduser {name} --password {PASSWORD}")["ok"]
            yield process
        assert "Traceback" not in process.output


class Carrier:
    """Listens where carriers do, and counts what comes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def heard(self, wait_s: float = 0.5) -> bytes:
        """What comes within that time; empty: nothing."""
        self._socket.settimeout(wait_s)
        try:
            return self._socket.recv(65535)
        except TimeoutError:
            return b""

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def carrier():
    one = Carrier()
    yield one
    one.close()


@pytest.fixture
def phone(server):
    """Makes phones over UDP."""
    made = []

    def make(**more):
        source = f"127.5.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}"
        made.append(Client(server.address("udp"), source=source, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Connection(Client):
    """A phone over TCP."""

    def __init__(self, server) -> None:
        super().__init__(server, source="127.5.9.9")
        self._socket.close()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.5.9.9", 0))
        self._socket.connect(server)
        self.address = self._socket.getsockname()

    def _make(self, *parts, **more):
        request = super()._make(*parts, **more)
        via = request.get("via") or ""
        request.set("Via", via.replace("/UDP", "/TCP"))
        request.set("Content-Length", str(len(request.body)))
        return request


def register(phone, contact, *fields):
    all_fields = [("Contact", contact), ("Expires", "300"), *fields]
    return phone._authenticated("REGISTER", "sip:mizu.test", "mallory", "mallory", PASSWORD, all_fields)


def registered(server):
    return server.console("regs mallory")["result"]["registrations"]


def test_by_a_path(server, phone, carrier):
    """403 says why, the log what to do about a proxy that was forgotten; nothing is registered."""
    answer = register(
        phone(),
        f"<sip:1900555000@127.0.0.1:{carrier.port}>",
        ("Path", f"<sip:127.0.0.1:{carrier.port};lr>"),
    )
    assert (answer.status, answer.reason) == (403, "Path Of Another Address")
    assert registered(server) == []
    assert phone(timeout_s=8.0).call("mallory", "bob", PASSWORD).status == 480
    assert carrier.heard() == b""
    assert "path_from" in server.output


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_by_a_contact_over_a_connection_that_is_closed_then(server, phone, carrier, host):
    """A name in a Contact is nobody's address."""
    connection = Connection(server.address("tcp"))
    assert register(connection, f"<sip:1900555000@{host}:{carrier.port};transport=udp>").status == 200
    assert len(registered(server)) == 1
    connection.close()
    end_s = time.monotonic() + 10
    while registered(server) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert registered(server) == []
    assert phone(timeout_s=8.0).call("mallory", "bob", PASSWORD).status == 480
    assert carrier.heard() == b""


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0", "127.1", "0x7f000001", "2130706433"]
)
def test_a_contact_of_the_server_itself(server, phone, host):
    """In every spelling: calls to it would go round."""
    port = server.address("udp")[1]
    assert register(phone(), f"<sip:mallory@{host}:{port}>").status == 400
    assert registered(server) == []
