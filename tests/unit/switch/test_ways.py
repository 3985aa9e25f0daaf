"""Routers are asked in their order, at once where they can answer so."""

from datetime import UTC, datetime

import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mizu.errors import CallRefused
from mizu.interfaces import IKnowsAtOnce, IRouter
from mizu.model import Account, AccountType, CallRequest, Route
from mizu.routing.local import LocalRouter, LocalRouterSettings
from mizu.switch.ways import Ways
from mizu.testing import FakeClock
from mizu.testing.auth import FakeAccountStore, result_now


def wanted(number: str, kind: AccountType = AccountType.ENDUSER) -> CallRequest:
    caller = Account(1, "alice", kind)
    return CallRequest("c", caller, "alice", number, f"sip:{number}@x", "10.0.0.2", datetime.now(UTC))


@implementer(IRouter, IKnowsAtOnce)
class Known:
    """Knows some numbers by heart; of others it says that it has to be asked."""

    def __init__(self, *numbers: str, unsure: bool = False) -> None:
        self.numbers = numbers
        self.unsure = unsure

    def routes_now(self, call: CallRequest) -> tuple[Route, ...] | None:
        if call.called_number == "666":
            raise CallRefused(403, "blocked")
        if call.called_number in self.numbers:
            return (Route(call.called_number),)
        return None if self.unsure else ()

    def find_routes(self, call: CallRequest) -> "Deferred[tuple[Route, ...]]":
        return succeed((Route("asked"),))


@implementer(IRouter)
class Slow:
    def find_routes(self, call: CallRequest) -> "Deferred[tuple[Route, ...]]":
        return succeed((Route("slow"),))


def ways(*routers: object) -> tuple[Ways, list[tuple[str, bool]]]:
    unknown: list[tuple[str, bool]] = []
    found = Ways([("r", router) for router in routers], lambda *told: unknown.append(told))  # type: ignore[misc]
    return found, unknown


def test_the_first_router_that_knows_answers_at_once() -> None:
    """Those behind it are not asked, those before it said that they do not know."""
    found, unknown = ways(Known("1"), Known("2"), Slow())
    assert found.now(wanted("2")) == (Route("2"),)
    assert unknown == []


@pytest.mark.parametrize("behind", [Slow(), Known(unsure=True)])
def test_who_cannot_answer_at_once_is_waited_for(behind: object) -> None:
    """``None``: the call waits for ``find``, which asks in the same order."""
    found, _ = ways(Known("1"), behind)
    assert found.now(wanted("3")) is None


def test_a_number_that_nobody_has_is_told_of() -> None:
    """Except when a carrier asks for it."""
    found, unknown = ways(Known("1"))
    assert found.now(wanted("9")) == ()
    assert unknown == [("10.0.0.2", False)]
    assert found.now(wanted("9", AccountType.GATEWAY)) == ()
    assert unknown == [("10.0.0.2", False)]


def test_a_refusal_is_raised() -> None:
    """A router that refuses ends the search."""
    found, _ = ways(Known("1"), Slow())
    with pytest.raises(CallRefused):
        found.now(wanted("666"))


def test_the_local_router_knows_at_once_what_it_has_looked_up() -> None:
    """The second call to somebody waits for nothing, until the account changes."""
    clock = FakeClock()
    router = LocalRouter(LocalRouterSettings(cache_s=60.0), FakeAccountStore("bob"), clock)
    assert router.routes_now(wanted("bob")) is None
    routes = result_now(router.find_routes(wanted("bob")))
    assert router.routes_now(wanted("bob")) == routes
    clock.advance(61)
    assert router.routes_now(wanted("bob")) is None
    result_now(router.find_routes(wanted("bob")))
    router.account_changed("bob")
    assert router.routes_now(wanted("bob")) is None
