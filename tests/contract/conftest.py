"""A fresh PostgreSQL database for a contract suite, and the real store on it."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted

from mizu.clock import SystemClock
from mizu.config import DatabaseConfig
from mizu.store import Store
from mizu.testing.postgres import shared_postgres


@pytest.fixture
def database_url() -> Iterator[str]:
    """A migrated, empty database."""
    with shared_postgres().database() as url:
        yield url


@pytest_twisted.async_yield_fixture
async def store(database_url, tmp_path) -> AsyncIterator[Store]:
    """The real store, started."""
    from twisted.internet import reactor

    store = Store(DatabaseConfig(url=database_url), tmp_path, reactor, SystemClock())
    await store.start()
    yield store
    await store.stop()
