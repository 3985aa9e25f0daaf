"""Global options on two nodes of one database."""

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from mizu.clock import SystemClock
from mizu.config import DatabaseConfig
from mizu.errors import Stale
from mizu.options import Options
from mizu.store import Store
from mizu.store.options import OptionFollower


@pytest_twisted.async_yield_fixture
async def two_nodes(database_url, tmp_path):
    """Two started stores, each with options that follow the changes."""
    from twisted.internet import reactor

    nodes = []
    for name in ("one", "two"):
        config = DatabaseConfig(url=database_url, poll_s=0.3)
        store = Store(config, tmp_path / name, reactor, SystemClock())
        options = Options(store.options)
        nodes.append((store, options, OptionFollower(options, store.changes, reactor)))
    await gatherResults([store.start() for store, _, _ in nodes])
    yield nodes
    for store, _, follower in nodes:
        follower.stop()
        await store.stop()


async def until(condition):
    from twisted.internet import reactor

    while not condition():
        await deferLater(reactor, 0.01)


@pytest.mark.parametrize("notified", [True, False])
async def test_a_value_set_on_one_node_holds_on_the_other(two_nodes, notified):
    """By notification at once; with notifications lost, by the poll. So does going back to the default."""
    (_, one, _), (store, two, _) = two_nodes
    store.changes.listening = notified
    await one.set("maxresellers", "20", "admin")
    await until(lambda: two.get("maxresellers") == 20)
    await one.reset("maxresellers")
    await until(lambda: two.get("maxresellers") == 10)
    assert not two.is_set("maxresellers")


async def test_two_operators_on_two_nodes_do_not_overwrite_each_other(two_nodes):
    """Both have seen that it is not set; the second is refused. So is who saw it before it was set anew."""
    (_, one, _), (_, two, _) = two_nodes
    await one.set("maxresellers", "20", "alice", version=0)
    with pytest.raises(Stale):
        await two.set("maxresellers", "30", "bob", version=0)
    seen = one.version("maxresellers")
    await one.reset("maxresellers")
    await one.set("maxresellers", "20", "alice")
    with pytest.raises(Stale):
        await two.set("maxresellers", "30", "bob", version=seen)
    assert one.get("maxresellers") == 20
