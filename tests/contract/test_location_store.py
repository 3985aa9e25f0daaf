"""What every ILocationStore does; run over PostgreSQL and over the fake."""

import pytest
from zope.interface.verify import verifyObject

from mizu.clock import SystemClock
from mizu.interfaces import ILocationStore
from mizu.model import Binding
from mizu.testing.stores import MemoryLocationStore

pytestmark = pytest.mark.limit(20)


def binding(aor: str, **fields) -> Binding:
    """A binding that lives for a minute."""
    known = {
        "account_id": 1,
        "aor": aor,
        "contact": f"sip:{aor}@192.0.2.1:5070;transport=tcp",
        "expires_at_s": SystemClock().wall().timestamp() + 60,
        "call_id": "c@h",
        "cseq": 7,
    }
    return Binding(**{**known, **fields})


class Memory:
    """The fake, and how to wait for it: not at all."""

    def __init__(self):
        self.store = MemoryLocationStore(SystemClock())

    async def account(self, name):
        pass

    async def flush(self):
        pass


class Postgres:
    """The real one; loads only what has an account."""

    def __init__(self, store):
        self._whole, self.store = store, store.locations

    async def account(self, name):
        await self._whole.accounts.add(name, {}, {})

    async def flush(self):
        await self.store.flush()


@pytest.fixture(params=["postgres", "memory"])
def world(request):
    """The implementation under test, and what it needs around it."""
    return Memory() if request.param == "memory" else Postgres(request.getfixturevalue("store"))


def test_implements_the_interface(world):
    """Every method is there with its arguments."""
    assert verifyObject(ILocationStore, world.store)


async def test_what_was_put_is_loaded_whole(world):
    """Every field of every binding survives, odd text too."""
    await world.account("alice")
    kept = [
        binding("alice", path=("<sip:p1;lr>", "<sip:p2;lr>"), proto="tls", received_host="2001:db8::1"),
        binding(
            "alice",
            contact="sip:Ü'\"\\{},@h",
            user_agent="Phone \\u0041 \t 漢",
            instance_id="urn:uuid:1",
            reg_id=2,
            q_milli=0,
            received_port=65_535,
            local="udp:0.0.0.0:5060",
        ),
    ]
    world.store.put("alice", kept)
    await world.flush()
    assert list(await world.store.load()) == kept


async def test_the_newest_state_wins_and_empty_means_none(world):
    """Only the last put of an address of record counts."""
    for name in ("alice", "bob", "carol"):
        await world.account(name)
    world.store.put("alice", [binding("alice", cseq=1)])
    world.store.put("bob", [binding("bob")])
    await world.flush()
    world.store.put("alice", [binding("alice", cseq=2)])
    world.store.put("bob", [])
    world.store.put("carol", [])
    await world.flush()
    assert [(b.aor, b.cseq) for b in await world.store.load()] == [("alice", 2)]


async def test_expired_bindings_are_not_loaded(world):
    """One expired contact does not hide the other."""
    await world.account("alice")
    gone = binding("alice", expires_at_s=SystemClock().wall().timestamp() - 1)
    world.store.put("alice", [gone, binding("alice", cseq=9)])
    await world.flush()
    assert [b.cseq for b in await world.store.load()] == [9]


async def test_thousands_are_written_and_read(world):
    """More than one statement and more than one page."""
    names = [f"u{number}" for number in range(1234)]
    if isinstance(world, Postgres):
        world._whole._reports.operate("SELECT 1")
        insert = "INSERT INTO account (username) SELECT 'u' || n FROM generate_series(0, 1233) n"
        await world._whole._reports.operate(insert)
    for name in names:
        world.store.put(name, [binding(name)])
    await world.flush()
    assert sorted(b.aor for b in await world.store.load()) == sorted(names)


async def test_text_that_postgres_cannot_keep_does_not_stop_the_others(world):
    """NUL and bytes that are no UTF-8 are replaced; everybody else is stored as is."""
    for name in ("alice", "bob"):
        await world.account(name)
    world.store.put("bob", [binding("bob", user_agent="x\x00y\udcffz")])
    world.store.put("alice", [binding("alice")])
    await world.flush()
    assert {b.aor for b in await world.store.load()} == {"alice", "bob"}
