"""An attack is stopped while the database is away: that holds on this node, and is written later."""

import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from mizu.clock import SystemClock
from mizu.config import DatabaseConfig
from mizu.console.commands import command_table
from mizu.guard.desk import Desk
from mizu.guard.doorman import Doorman
from mizu.model import Operator, Rights
from mizu.options import Options
from mizu.store import Store
from mizu.testing.console import FakeConsole
from mizu.testing.postgres import TestPostgres, shared_postgres

pytestmark = pytest.mark.limit(60)
ANNA = Operator("anna", Rights.ADMIN, "192.0.2.200")


class Site:
    """A guard and its commands on a cluster that the test may stop."""

    def __init__(self, server, store) -> None:
        from twisted.internet import reactor

        self.server, self.store = server, store
        clock = SystemClock()
        self.door = Doorman(
            Options(store.options), store.bans, reactor, clock, registered_at=lambda username, host: False
        )
        services = replace(FakeConsole().services, guard=Desk(self.door, clock), audit=store.audit)
        self.table = command_table(services)

    async def say(self, line):
        return (await self.table.answer(line, ANNA))[0]

    async def until(self, what):
        from twisted.internet import reactor

        for _ in range(1000):
            self.store.audit.tidy()
            if what():
                return
            await deferLater(reactor, 0.02, lambda: None)
        raise AssertionError("it did not happen in time")

    async def column(self, sql):
        return [row[0] for row in await self.store._reports.query(sql)]


@pytest_twisted.async_yield_fixture
async def site(tmp_path) -> AsyncIterator[Site]:
    from twisted.internet import reactor

    directory = Path(shared_postgres().directory.parent) / f"mizu-own-{uuid.uuid4().hex[:8]}"
    directory.mkdir()
    server = TestPostgres(directory)
    server.start()
    server.sql("CREATE DATABASE mine TEMPLATE template_mizu")
    config = DatabaseConfig(url=server.url("mine"), statement_timeout_s=0.5, poll_s=0.2)
    store = Store(config, tmp_path, reactor, SystemClock())
    await store.start()
    site = Site(server, store)
    yield site
    site.door.stop()
    await store.stop()
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


async def test_what_holds_without_the_database_is_written_when_it_is_back(site):
    """Bans ended and made, the white list changed, and the audit list of all that; nothing comes back."""
    for line in ("ban 192.0.2.1", "ban 192.0.2.2", "whitelist add 203.0.113.1", "whitelist add 203.0.113.2"):
        assert await site.say(line) == 200
    site.server.stop()
    await site.until(lambda: not site.store.healthy)
    for line in (
        "ban 192.0.2.3",
        "delbanned",
        "ban 192.0.2.4 1h late",
        "whitelist del 203.0.113.1",
        "whitelist add 203.0.113.3 our carrier",
    ):
        assert await site.say(line) == 503, line
    assert [ban.target.text for ban in site.door.bans.all()] == ["192.0.2.4"]
    assert "203.0.113.1" not in site.door.trusted
    assert "203.0.113.3" in site.door.trusted

    site.server.run()
    await site.until(lambda: site.store.healthy)
    await site.until(lambda: not site.store.bans.pending and not site.store.audit._later)
    await site.store.bans.flush()
    assert await site.column("SELECT target FROM ban") == ["192.0.2.4"]
    assert await site.column("SELECT target FROM whitelist ORDER BY 1") == ["203.0.113.2", "203.0.113.3"]
    await site.door.database.read({None})
    assert [ban.target.text for ban in site.door.bans.all()] == ["192.0.2.4"]
    assert [one.target for one in site.door.trusted_by_command] == ["203.0.113.2", "203.0.113.3"]
    noted = await site.column("SELECT command FROM audit WHERE outcome = 'store_busy' ORDER BY id")
    assert noted == ["ban", "delbanned", "ban", "whitelist del", "whitelist add"]
    assert await site.column("SELECT count(*) FROM audit WHERE begun_at > clock_timestamp()") == [0]
