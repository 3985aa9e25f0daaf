"""A PostgreSQL database for tests that run real servers and stores."""

from collections.abc import Iterator

import pytest

from mizu.testing.postgres import shared_postgres


@pytest.fixture
def database_url() -> Iterator[str]:
    """A migrated, empty database."""
    with shared_postgres().database() as url:
        yield url


@pytest.fixture
def empty_database_url() -> Iterator[str]:
    """A database that Mizu has not seen yet."""
    with shared_postgres().database(empty=True) as url:
        yield url
