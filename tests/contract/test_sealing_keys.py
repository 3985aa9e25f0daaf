"""The keys of stored secrets: lost, not those of the other nodes, rotated."""

import pytest
import pytest_twisted
from twisted.logger import globalLogPublisher

from mizu.accounts.sealing import KeyFile, SealBroken
from mizu.clock import SystemClock
from mizu.config import DatabaseConfig
from mizu.console.commands import command_table
from mizu.errors import Conflict
from mizu.model import Operator, Rights
from mizu.store import Store
from mizu.testing.console import store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")
LINES = (
    "adduser carrier type=sip_server",
    "sipaccounts add carrier line1 first-secret",
    "adduser alice pin=4711",
    "adduser bob pin=4712",
)


class Node:
    """One of the servers of a database."""

    def __init__(self, url: str, data) -> None:
        from twisted.internet import reactor

        self.path = data / "secret.key"
        self.store = Store(DatabaseConfig(url=url), data, reactor, SystemClock())
        self.table = command_table(store_services(self.store, imports=self.store.imports))
        self.said: list[str] = []

    async def start(self, *, expect: str = "") -> "Node":
        globalLogPublisher.addObserver(self._heard)
        try:
            await self.store.start()
        finally:
            globalLogPublisher.removeObserver(self._heard)
        assert bool(self.said) == bool(expect), self.said
        assert all(expect in one for one in self.said)
        return self

    def _heard(self, event) -> None:
        if event.get("log_namespace") == "mizu.store.key_rotation":
            self.said.append(event["log_format"])

    async def run(self, line: str):
        return (await self.table.run(line, STAFF)).result

    async def secrets(self) -> list[str]:
        """What opens on this node."""
        keys = self.store.secret_keys()
        rows = await self.store._reports.query(
            "SELECT pin_sealed FROM account WHERE pin_sealed <> '' "
            "UNION ALL SELECT password_sealed FROM sip_account"
        )
        return sorted(keys.open(row[0]) for row in rows)


@pytest_twisted.async_yield_fixture
async def nodes(database_url, tmp_path):
    """Makes nodes; they are stopped in the end."""
    made = []

    async def node(name: str, *, expect: str = "") -> Node:
        (tmp_path / name).mkdir(exist_ok=True)
        made.append(Node(database_url, tmp_path / name))
        return await made[-1].start(expect=expect)

    yield node
    for one in made:
        await one.store.stop()


async def test_a_key_is_made_when_nothing_needs_one(nodes):
    """The first start of the first node; the second start has the same."""
    first = await nodes("a")
    for line in LINES:
        await first.run(line)
    await first.store.stop()
    again = await nodes("a")
    assert await again.secrets() == ["4711", "4712", "first-secret"]


async def test_without_its_file_a_node_makes_no_other_key(nodes):
    """Lost while it runs, or before it starts: said; nothing is stored until it is back."""
    node = await nodes("a")
    for line in LINES:
        await node.run(line)
    kept = node.path.read_bytes()
    node.path.unlink()
    for line in ("set alice pin=1", "sipaccounts passwd 1 other-secret", "sipaccounts rotate-keys"):
        with pytest.raises(SealBroken, match="put a copy back"):
            await node.run(line)
    await node.store.stop()
    node = await nodes("a", expect="is missing")
    with pytest.raises(SealBroken, match="put a copy back"):
        await node.run("set alice pin=1")
    await node.run("set alice country=HU")
    assert not node.path.exists()
    node.path.write_bytes(kept)
    node.path.chmod(0o600)
    assert await node.secrets() == ["4711", "4712", "first-secret"]
    await node.run("set alice pin=4713")


async def test_a_second_node_needs_the_key_of_the_first(nodes):
    """With one of its own it stores no secret, and rotates nothing, until the file is copied."""
    first, second = await nodes("a"), await nodes("b")
    for line in LINES:
        await first.run(line)
    for line in (
        "set alice pin=1",
        "sipaccounts passwd 1 x",
        "adduser dave pin=5",
        "sipaccounts rotate-keys",
        "sipaccounts rotate-keys add",
        "sipaccounts rotate-keys reseal",
        "sipaccounts rotate-keys drop",
        "set alice pin=1",  # still not
    ):
        with pytest.raises(Conflict, match="another key"):
            await second.run(line)
    assert await first.secrets() == ["4711", "4712", "first-secret"]
    await second.store.stop()
    second = await nodes("b", expect="another key than the other nodes")
    second.path.write_bytes(first.path.read_bytes())
    await second.run("set alice pin=4714")
    assert await first.secrets() == ["4712", "4714", "first-secret"]


async def test_without_any_secret_a_lost_file_is_made_anew(nodes):
    """Nothing is lost with it."""
    node = await nodes("a")
    await node.run("adduser alice pin=4711")
    await node.run("deluser alice")
    await node.store.stop()
    node.path.unlink()
    node = await nodes("a")
    await node.run("adduser alice pin=4711")
    assert await node.secrets() == ["4711"]


async def test_reseal_repeated_stays_with_the_new_key(nodes):
    """Every step twice; and on two nodes, with the file copied after each."""
    first, second = await nodes("a"), await nodes("b")
    for line in LINES:
        await first.run(line)
    old = first.store.secret_keys().current
    for step, current_is_old in (("add", True), ("reseal", False), ("drop", False)):
        await first.run(f"sipaccounts rotate-keys {step}")
        second.path.write_bytes(first.path.read_bytes())
        again = await first.run(f"sipaccounts rotate-keys {step}")
        assert (again["current"] == old) is current_is_old
        assert again["resealed"] == 0
        assert second.path.read_bytes() == first.path.read_bytes()
        assert await second.secrets() == await first.secrets() == ["4711", "4712", "first-secret"]
        await second.run("set alice pin=4711")
    assert len(first.store.secret_keys()) == 1


async def test_secrets_that_do_not_open_are_named_and_stop_no_other(nodes, tmp_path):
    """Each try says which; no key more is made; given anew, the rotation goes through."""
    node = await nodes("a")
    for line in LINES:
        await node.run(line)
    foreign = KeyFile(tmp_path / "foreign").make()
    await node.store._reports.operate("INSERT INTO sealing_key VALUES (%s)", (foreign.current,))
    await node.store._reports.operate(
        "UPDATE account SET pin_sealed = %s WHERE username = 'bob'", (foreign.seal("4712"),)
    )
    await node.store._reports.operate(
        "UPDATE sip_account SET password_sealed = %s", (foreign.seal("first-secret"),)
    )
    for _ in range(3):
        with pytest.raises(Conflict) as caught:
            await node.run("sipaccounts rotate-keys")
        assert "2 secrets cannot be opened" in str(caught.value)
        assert "the PIN of bob, the password of account 1 at carrier" in str(caught.value)
        assert len(node.store.secret_keys()) == 2
    with pytest.raises(Conflict, match="2 secrets are sealed with other keys"):
        await node.run("sipaccounts rotate-keys drop")
    await node.run("set bob pin=4715")
    await node.run("sipaccounts passwd 1 second-secret")
    assert len((await node.run("sipaccounts rotate-keys"))["keys"]) == 1
    assert await node.secrets() == ["4711", "4715", "second-secret"]
