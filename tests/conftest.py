"""What holds for every test: it ends in time, leaves no timer, and no error goes by unseen.

``reactor`` is imported inside functions only: an import at the top would fix the reactor before pytest has
read ``--reactor``.
"""

import functools
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from mizu.testing.postgres import TestPostgres

PURE_TESTS = Path(__file__).parent / "unit" / "sip"
LIMIT_S = 10  # of a test without @pytest.mark.limit(seconds)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"limit(seconds): the test may wait so long; default {LIMIT_S}")


def pytest_collection_finish() -> None:
    """What is imported now stays for the run; the collection after each test need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Fail a test that waits longer than its limit. (Hypothesis tests wait for nothing.)"""
    from twisted.internet import reactor

    mark, test = pyfuncitem.get_closest_marker("limit"), pyfuncitem.obj
    limit_s = float(mark.args[0] if mark else LIMIT_S)
    if not hasattr(test, "hypothesis"):

        @functools.wraps(test)
        def limited(**fixtures: Any) -> Any:
            return maybeDeferred(test, **fixtures).addTimeout(limit_s, reactor)  # type: ignore[arg-type]

        pyfuncitem.obj = limited
        return (yield)
    inner = test.hypothesis.inner_test
    try:
        return (yield)
    finally:
        # pytest_twisted wraps it at each run, which a test with parameters has several of
        test.hypothesis.inner_test = inner


def _what(call: Any) -> Callable[..., Any]:
    """What a delayed call will run. A periodic one of a module-wide fixture is a new call each time."""
    return call.func  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def clean_reactor(request: pytest.FixtureRequest) -> Iterator[list[Failure]]:
    """
    A test may leave no timer and no unexpected error.

    Yields the failures logged so far; a test that provokes one takes it off the list.
    """
    from twisted.internet import reactor

    before = [_what(call) for call in reactor.getDelayedCalls()]  # type: ignore[attr-defined]
    failures: list[Failure] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    yield failures
    # Makes "Unhandled error in Deferred" appear now, in this test. The pure layer has no Deferreds, and half
    # of all tests: there a look at the youngest objects will do, which takes a tenth of the time.
    gc.collect(0 if PURE_TESTS in request.path.parents else 2)
    globalLogPublisher.removeObserver(observe)
    left = [call for call in reactor.getDelayedCalls() if _what(call) not in before]  # type: ignore[attr-defined]
    for call in left:
        call.cancel()
    assert not left, f"timers left behind: {left}"
    assert not failures, f"errors logged: {[failure.getTraceback() for failure in failures]}"


@pytest.fixture
def postgres() -> "TestPostgres":
    """One PostgreSQL for the whole run; started by the first test that asks."""
    from mizu.testing.postgres import shared_postgres

    return shared_postgres()


@pytest.fixture
def database_url(postgres: "TestPostgres") -> Iterator[str]:
    """A database of the test's own, with the schema in it."""
    with postgres.database() as url:
        yield url
