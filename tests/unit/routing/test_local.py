"""Calls to our own users."""

from datetime import UTC, datetime

import pytest

from mizu.errors import StoreBusy
from mizu.model import Account, CallRequest
from mizu.routing.local import LocalRouter, LocalRouterSettings
from mizu.testing import FakeClock
from mizu.testing.auth import FakeAccountStore, result_now


def wanted(number: str, company_id: int | None = None) -> CallRequest:
    caller = Account(1, "alice", company_id=company_id)
    return CallRequest("c", caller, "alice", number, f"sip:{number}@x", "10.0.0.2", datetime.now(UTC))


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
    assert store.called_numbers == ["bob"]
    router.account_changed("bob")
    result_now(router.find_routes(wanted("bob")))
    router.account_changed(None)
    result_now(router.find_routes(wanted("bob")))
    assert store.called_numbers == ["bob"] * 3


def test_an_answer_gets_old() -> None:
    """Known numbers after their time, unknown ones after a few seconds."""
    clock = FakeClock()
    router, store = make(clock)
    for number in ("bob", "nobody"):
        result_now(router.find_routes(wanted(number)))
    clock.advance(6)
    for number in ("bob", "nobody"):
        result_now(router.find_routes(wanted(number)))
    assert store.called_numbers == ["bob", "nobody", "nobody"]


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


def reached(router: LocalRouter, number: str, company_id: int | None = None) -> str:
    routes = result_now(router.find_routes(wanted(number, company_id)))
    return routes[0].name if routes else ""


def test_a_number_reaches_its_account() -> None:
    """By phone number and allocated number, with and without plus; in a company by short numbers first."""
    router, store = make()
    company = store.set("acme", "x", is_company=True)
    store.set("bob", "x", phone_number="3612345", short_number="12", company_id=company.id)
    store.set("12", "x")
    store.allocated["3677"] = company.id
    assert [reached(router, number) for number in ("3612345", "+3612345", "3677", "12")] == [
        "bob",
        "bob",
        "acme",
        "12",
    ]
    assert reached(router, "12", company.id) == "bob"
    assert reached(router, "12", company.id + 1) == "12"
    assert reached(router, "3677", company.id) == "acme"


def test_numbers_change_hands() -> None:
    """The next call goes to the new holder; what was nobody's is looked up anew."""
    router, store = make()
    company = store.set("acme", "x", is_company=True)
    assert [reached(router, number) for number in ("361", "12", "+3677")] == ["", "", ""]
    assert reached(router, "12", company.id) == ""
    store.set("bob", "x", phone_number="361", short_number="12", company_id=company.id)
    router.account_changed("bob")
    assert (reached(router, "361"), reached(router, "12", company.id)) == ("bob", "bob")
    store.set("bob", "x", phone_number="")
    store.set("alice", "x", phone_number="361")
    router.account_changed("bob")
    router.account_changed("alice")
    assert reached(router, "361") == "alice"
    store.allocated["3677"] = company.id
    router.number_changed("3677")
    assert (reached(router, "+3677"), reached(router, "3677")) == ("acme", "acme")
    store.allocated.clear()
    router.number_changed("3677")
    assert (reached(router, "+3677"), reached(router, "3677")) == ("", "")
    store.set("361", "x")
    router.account_changed("361")
    assert reached(router, "361") == "361"
    store.allocated["3678"] = company.id
    assert reached(router, "3678") == "acme"
    store.allocated.clear()
    router.number_changed(None)
    assert reached(router, "3678") == ""
