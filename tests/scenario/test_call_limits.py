"""Limits of accounts and of their owners, asked for by real calls."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mizu.errors import CallRefused, StoreBusy
from mizu.model import Route
from mizu.testing import FakeClock, FakeWire, run_with_each_fault


class Gateways:
    """A router with the gateways of each number, as they are in the account store now."""

    accounts: Any

    def __init__(self, numbers: dict[str, list[str]]) -> None:
        self._numbers = numbers

    async def find_routes(self, call: Any) -> list[Route]:
        found = []
        for name in self._numbers.get(f"n{call.called_number}", ()):
            account = (await self.accounts.find(name))[0]
            found.append(Route(name, uri=f"sip:{call.called_number}@10.9.0.{name[-1]}", gateway=account))
        return found


def carriers(World: Any, wire: FakeWire, **numbers: list[str]) -> tuple[Any, dict[str, Any]]:
    """A switch with gateways ``gw1`` and ``gw2`` that ring at 10.9.0.1 and 10.9.0.2."""
    gateways = Gateways(numbers)
    world = World(wire, routers=[("gateways", gateways)])
    gateways.accounts = world.accounts
    peers = {}
    for number in (1, 2):
        world.accounts.set(f"gw{number}", "secret", type=8)
        peers[f"gw{number}"] = world.trunk(f"gw{number}", f"10.9.0.{number}")
    return world, peers


def refused(world: Any, out: Any) -> tuple[int, str]:
    """How a call failed: the status the caller got, the cause in the call row."""
    world.until(lambda: out.state == "failed")
    world.pass_s(0.1)
    row = world.rows[-1]
    assert row.sip_status == out.status
    return out.status, row.cause


def test_a_phone_has_its_channels_and_no_more(World: Any, talk: Any) -> None:
    """The third call of two at a time is refused, with a call row; when one ends there is room again."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice = world.phone("alice", account={"max_channels": 2})
        others = [world.phone(name) for name in ("bob", "carol", "dave")]
        first, _ = talk(world, alice, others[0])
        second, _ = talk(world, alice, others[1])
        assert refused(world, alice.call("dave")) == (480, "max_channels")
        assert not others[2].calls
        first.hang_up()
        world.until(lambda: len(world.cdrs.channels) == 1)
        third, _ = talk(world, alice, others[2])
        for call in (second, third):
            call.hang_up()
        world.until(lambda: second.state == third.state == "ended")
        world.settled()
        assert not world.cdrs.channels

    run_with_each_fault(scenario)


def test_an_owner_limits_all_that_is_below(World: Any, talk: Any) -> None:
    """Calls of all its accounts count together, those that come in too; inside of them a call counts once."""
    world = World(FakeWire(FakeClock()))
    owner = world.accounts.set("acme", "x", type=4, max_channels=1)
    alice = world.phone("alice", account={"parent_id": owner.id})
    bob = world.phone("bob", account={"parent_id": owner.id})
    carol = world.phone("carol")
    out, _ = talk(world, alice, bob)
    assert refused(world, bob.call("carol")) == (480, "max_channels")
    assert refused(world, carol.call("alice")) == (486, "max_channels")
    out.hang_up()
    world.until(lambda: out.state == "ended")
    world.pass_s(0.1)
    back, _ = talk(world, carol, alice)
    assert refused(world, bob.call("carol")) == (480, "max_channels")
    back.hang_up()
    world.settled()
    assert not world.cdrs.channels


def test_a_change_of_an_owner_counts_for_the_next_call(World: Any, talk: Any) -> None:
    """Nothing is kept of what was allowed before."""
    world = World(FakeWire(FakeClock()))
    owner = world.accounts.set("acme", "x", type=4)
    alice = world.phone("alice", account={"parent_id": owner.id})
    world.phone("bob")
    world.accounts.set("acme", "x", blocked_prefixes="b")
    world.authorizer.forget(None)
    assert refused(world, alice.call("bob")) == (403, "prefix_blocked")
    world.settled()


def test_prefixes_of_the_caller_and_of_its_owners(World: Any, talk: Any) -> None:
    """A number that one of them does not allow is refused before any way is looked for."""
    world = World(FakeWire(FakeClock()))
    owner = world.accounts.set("acme", "x", type=4, enabled_prefixes="36,49")
    alice = world.phone("alice", account={"parent_id": owner.id, "blocked_prefixes": "3690"})
    world.phone("361")
    assert refused(world, alice.call("441")) == (403, "prefix")
    for number in ("36901", "+36901", "++36901", "3-690-1", "(36)901", "36.901"):
        assert refused(world, alice.call(f"sip:{number}@10.0.0.1")) == (403, "prefix_blocked")
    assert refused(world, alice.call("362")) == (404, "not_found")
    out = alice.call("361")
    world.until(lambda: out.state == "calling" and out.got(100))
    out.cancel()
    world.settled()


def test_users_call_inside_their_circle(World: Any, talk: Any) -> None:
    """Calls and messages."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice", account={"calling_circle": 5})
    bob = world.phone("bob", account={"calling_circle": 5})
    carol = world.phone("carol")
    out, _ = talk(world, alice, bob)
    out.hang_up()
    world.until(lambda: out.state == "ended")
    assert refused(world, alice.call("carol")) == (404, "calling_circle")
    sent = carol.message("sip:bob@10.0.0.1", "hello")
    world.until(lambda: sent.done)
    assert sent.status == 404
    world.settled()
    assert sum("MESSAGE sip:" in line for line in world.wire.ladder().splitlines()) == 2  # both of carol


def test_gateways_that_are_no_partners_are_left_out(World: Any) -> None:
    """The next one is used; without any the call is refused, and the row says why."""
    world, gateways = carriers(World, FakeWire(FakeClock()), n361=["gw1", "gw2"])
    second = world.accounts.set("gw2", "secret")
    alice = world.phone("alice", account={"allowed_partners": str(second.id)})
    out = alice.call("361")
    world.until(lambda: bool(gateways["gw2"].calls))
    assert not gateways["gw1"].calls
    gateways["gw2"].calls[0].answer()
    world.until(lambda: out.state == "up")
    out.hang_up()
    world.until(lambda: out.state == "ended")
    world.accounts.set("gw2", "secret", allowed_partners="999")
    assert refused(world, alice.call("361")) == (403, "partner")
    world.settled()
    assert (world.rows[0].route, world.rows[0].callee) == ("gw2", f"#{second.id}")


@pytest.mark.parametrize("held", [False, True])
def test_a_full_gateway_is_passed_over(World: Any, talk: Any, held: bool) -> None:
    """The call takes the next one, and counts for that only; when all are full the caller hears it."""
    world, gateways = carriers(World, FakeWire(FakeClock()), n361=["gw1", "gw2"])
    first = world.accounts.set("gw1", "secret", max_channels=1)
    second = world.accounts.set("gw2", "secret", max_channels=1)
    alice = world.phone("alice", account={"max_channels": 9})
    calls = []
    for name in ("gw1", "gw2"):
        if held:
            world.cdrs.faults.hold()
        calls.append(alice.call("361"))
        while held and not gateways[name].calls:
            world.pass_s(0.01)
            world.cdrs.faults.release()
            world.cdrs.faults.hold()
        world.cdrs.faults.release()
        world.until(lambda name=name: bool(gateways[name].calls))
        gateways[name].calls[0].answer()
        world.until(lambda: calls[-1].state == "up")
    assert (world.cdrs.in_use(first.id), world.cdrs.in_use(second.id)) == (1, 1)
    assert refused(world, alice.call("361")) == (480, "max_channels")
    for call in calls:
        call.hang_up()
    world.until(lambda: all(call.state == "ended" for call in calls))
    world.settled()
    assert not world.cdrs.channels


def test_a_gateway_that_fails_gives_its_channel_back(World: Any) -> None:
    """While the call is tried elsewhere."""
    world, gateways = carriers(World, FakeWire(FakeClock()), n361=["gw1", "gw2"])
    first = world.accounts.set("gw1", "secret", max_channels=1)
    alice = world.phone("alice")
    out = alice.call("361")
    world.until(lambda: bool(gateways["gw1"].calls))
    assert world.cdrs.in_use(first.id) == 1
    gateways["gw1"].calls[0].reject(503)
    world.until(lambda: bool(gateways["gw2"].calls))
    assert world.cdrs.in_use(first.id) == 0
    gateways["gw2"].calls[0].answer()
    world.until(lambda: out.state == "up")
    out.hang_up()
    world.settled()


class HeldTakes:
    """The store's ``take`` answers when told."""

    def __init__(self, store: Any) -> None:
        self.waiting: list[tuple[Deferred[None], Any]] = []
        self._take = store.take
        store.take = self

    def __call__(self, call_id: str, channels: Any) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.waiting.append((done, lambda: self._take(call_id, channels)))
        return done

    def answer(self, error: Exception | None = None) -> None:
        done, take = self.waiting.pop(0)
        if error is None:
            take().chainDeferred(done)
        else:
            done.errback(Failure(error))


@pytest.mark.parametrize("error", [None, StoreBusy(), CallRefused(480, "max_channels")])
def test_a_caller_that_gives_up_while_channels_are_asked_for(World: Any, error: Exception | None) -> None:
    """The call ends with its CANCEL, whatever the answer is."""
    world, gateways = carriers(World, FakeWire(FakeClock()), n361=["gw1"])
    world.accounts.set("gw1", "secret", max_channels=1)
    takes = HeldTakes(world.cdrs)
    out = world.phone("alice").call("361")
    world.until(lambda: bool(takes.waiting))
    out.cancel()
    world.until(lambda: world.row.state == "ended")
    assert len(world.board.calls) == 1
    takes.answer(error)  # none: the store finds the row closed
    world.settled()
    assert world.row.cause == "cancelled"
    assert not gateways["gw1"].calls
    assert not world.cdrs.channels


def test_nobody_talks_uncounted(World: Any) -> None:
    """When the channels of a gateway cannot be asked for, the call is refused with 503."""
    world, gateways = carriers(World, FakeWire(FakeClock()), n361=["gw1"])
    world.accounts.set("gw1", "secret", max_channels=1)
    takes = HeldTakes(world.cdrs)
    out = world.phone("alice").call("361")
    world.until(lambda: bool(takes.waiting))
    takes.answer(StoreBusy())
    assert refused(world, out) == (503, "store_busy")
    assert not gateways["gw1"].calls
    world.settled()


def test_a_transfer_is_a_call_of_who_asked_for_it(World: Any, talk: Any) -> None:
    """It counts for the referrer; without a channel the referrer is told, and the call goes on."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice", account={"max_channels": 1})
    bob, carol = world.phone("bob"), world.phone("carol")
    out, there = talk(world, alice, bob)
    out.refer("sip:carol@10.0.0.1")
    world.until(
        lambda: any(request.method == "NOTIFY" and b"480" in request.body for request in out.requests)
    )
    assert not carol.calls
    assert out.state == there.state == "up"
    out.hang_up()
    world.settled()
    assert world.rows[1].cause == "max_channels"


def test_a_disabled_account_is_cut_off(World: Any, talk: Any) -> None:
    """Whether it called or was called; its call record says why."""
    world = World(FakeWire(FakeClock()))
    alice, bob, carol = (world.phone(name) for name in ("alice", "bob", "carol"))
    out, there = talk(world, alice, bob)
    other, far = talk(world, carol, bob)
    assert set(world.board.on_the_phone()) == {"alice", "bob", "carol"}
    assert world.board.accounts_changed({"alice": None}) == {"alice": 1}
    world.until(lambda: out.state == there.state == "ended")
    assert (other.state, far.state) == ("up", "up")
    assert world.board.accounts_changed({"bob": None}) == {"bob": 1}
    world.until(lambda: other.state == far.state == "ended")
    world.settled()
    assert {(row.cause, row.ended_by) for row in world.rows} == {("account_disabled", "switch")}


def test_a_transfer_asks_what_the_account_may_now(World: Any, talk: Any) -> None:
    """Not what it could when the call began."""
    world = World(FakeWire(FakeClock()))
    alice, bob, carol = (world.phone(name) for name in ("alice", "bob", "carol"))
    out, _ = talk(world, alice, bob)
    world.change_account("alice", can_dial=False)
    assert world.board.accounts_changed({"alice": world.account("alice")}) == {}
    referred = out.refer("sip:carol@10.0.0.1")
    world.until(lambda: referred.done)
    assert referred.status == 403
    out.hang_up()
    world.settled()
    assert not carol.calls


def test_who_is_disabled_pays_for_no_transferred_call(World: Any, talk: Any) -> None:
    """The calls that he had joined, and left, end too: they are his."""
    world = World(FakeWire(FakeClock()))
    alice, bob, carol = (world.phone(name) for name in ("alice", "bob", "carol"))
    out, there = talk(world, alice, bob)
    out.refer("sip:carol@10.0.0.1")
    world.until(lambda: bool(carol.calls))
    carol.calls[0].answer()
    world.until(lambda: out.state == "ended")
    world.pass_s(2)
    assert (there.state, carol.calls[0].state) == ("up", "up")
    assert "alice" in world.board.on_the_phone()
    assert sum(world.board.accounts_changed({"alice": None}).values()) >= 1
    world.until(lambda: there.state == carol.calls[0].state == "ended")
    world.settled()
    assert {row.cause for row in world.rows} <= {"answered", "account_disabled"}
