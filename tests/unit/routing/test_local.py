"""Calls to our own users."""

from datetime import UTC, datetime

import pytest

from mizu.errors import StoreBusy
from mizu.model import Account, CallRequest
from mizu.routing.local import LocalRouter, LocalRouterSettings
from mizu.testing import FakeClock
from mizu.testing.auth import FakeAccountStore, result_now


def wanted(number: str) -> CallRequest:
    return CallRequest(
        "c", Account(1, "alice"), "alice", number, f"sip:{number}@x", "10.0.0.2", datetime.now(UTC)
    )


def make(clock: FakeClock | None = None) -> tuple[LocalRouter, FakeAccountStore]:
    store = FakeAccountStore("alice", "bob")
    return LocalRouter(LocalRouterSettings(), store, clock or FakeClock()), store


def test_a_username_is_a_route_to_its_phones() -> None:
    """The route names the account; whether it is registered is found out when it is rung."""
    router, _ = make()
    (route,) = result_now(router.find_routes(wanted("bob")))
    assert route.account is not None
    assert (route.account.username, route.name, route.uri) == ("bob", "bob", "")


def test_unknown_and_disabled_numbers_look_the_same() -> None:
    """Nobody learns from a call whether an account exists."""
    router, store = make()
    store.set("carol", "x", enabled=False)
    assert list(result_now(router.find_routes(wanted("carol")))) == []
    assert list(result_now(router.find_routes(wanted("nobody")))) == []


def test_the_store_is_asked_once_until_something_changes() -> None:
    """A busy number costs no query for each call; a change is seen at once."""
    router, store = make()
    for _ in range(3):
        result_now(router.find_routes(wanted("bob")))
    assert store.asked == ["bob"]
    router.forget("bob")
    result_now(router.find_routes(wanted("bob")))
    router.forget(None)
    result_now(router.find_routes(wanted("bob")))
    assert store.asked == ["bob"] * 3


def test_an_answer_gets_old() -> None:
    """Known numbers after their time, unknown ones after a few seconds."""
    clock = FakeClock()
    router, store = make(clock)
    for number in ("bob", "nobody"):
        result_now(router.find_routes(wanted(number)))
    clock.advance(6)
    for number in ("bob", "nobody"):
        result_now(router.find_routes(wanted(number)))
    assert store.asked == ["bob", "nobody", "nobody"]


def test_a_database_that_is_away_is_no_unknown_number() -> None:
    """The call gets 503, not 404."""
    router, store = make()
    store.faults.down = True
    with pytest.raises(StoreBusy):
        result_now(router.find_routes(wanted("bob")))


def test_the_memory_is_bounded() -> None:
    """Trying all numbers does not fill the memory."""
    store = FakeAccountStore()
    router = LocalRouter(LocalRouterSettings(cache_max=10), store, FakeClock())
    for number in range(100):
        result_now(router.find_routes(wanted(str(number))))
    assert [router.routes_now(wanted(str(number))) for number in (89, 90)] == [None, ()]
