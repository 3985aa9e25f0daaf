"""Several phones of one user, several ways to one number, and who wins."""

from typing import Any

import pytest

from mizu.model import Route, TrunkCredentials
from mizu.testing import FakeClock, FakeWire, run_with_each_fault


class Table:
    """A router with a fixed list for each number."""

    def __init__(self, **routes: list[Route]) -> None:
        self.routes = routes

    async def find_routes(self, call: Any) -> list[Route]:
        return self.routes.get(call.called_number, [])


def test_all_phones_ring_and_the_first_answer_wins(World: Any) -> None:
    """The others are cancelled."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice = world.phone("alice")
        bobs = [world.phone("bob") for _ in range(3)]
        out = alice.call("bob")
        world.until(lambda: all(bob.calls for bob in bobs))
        for bob in bobs:
            bob.calls[0].ring()
        world.pass_s(1)
        bobs[1].calls[0].answer()
        world.until(lambda: out.state == "up" and bobs[1].calls[0].acks)
        world.until(lambda: bobs[0].calls[0].state == bobs[2].calls[0].state == "ended")
        out.hang_up()
        world.until(lambda: bobs[1].calls[0].state == "ended")
        world.settled()
        assert world.row.cause == "answered"

    run_with_each_fault(scenario)


def test_two_phones_answer_at_once(World: Any) -> None:
    """One is connected; the other gets its ACK and a BYE, and nobody is charged for it."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice")
    bobs = [world.phone("bob") for _ in range(2)]
    out = alice.call("bob")
    world.until(lambda: all(bob.calls for bob in bobs))
    for bob in bobs:
        bob.calls[0].answer()
    world.until(lambda: sorted(bob.calls[0].state for bob in bobs) == ["ended", "up"])
    loser = next(bob for bob in bobs if bob.calls[0].state == "ended")
    assert loser.calls[0].got("ACK", "BYE")
    out.hang_up()
    world.settled()
    assert world.row.cause == "answered"


def test_one_busy_phone_does_not_stop_the_others(World: Any) -> None:
    """486 of one counts only when all have refused."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice")
    bobs = [world.phone("bob") for _ in range(2)]
    out = alice.call("bob")
    world.until(lambda: all(bob.calls for bob in bobs))
    bobs[0].calls[0].reject(486)
    world.pass_s(1)
    assert out.state == "calling"
    bobs[1].calls[0].reject(480)
    world.until(lambda: out.state == "failed")
    assert out.status == 486
    world.settled()


def test_a_decline_ends_the_ringing_everywhere(World: Any) -> None:
    """603 speaks for the person, not for one phone (RFC 3261 16.7)."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice")
    bobs = [world.phone("bob") for _ in range(2)]
    out = alice.call("bob")
    world.until(lambda: all(bob.calls for bob in bobs))
    bobs[1].calls[0].ring()
    world.pass_s(0.5)
    bobs[0].calls[0].reject(603)
    world.until(lambda: out.state == "failed" and bobs[1].calls[0].state == "ended")
    assert out.status == 603
    world.settled()


def test_no_more_phones_ring_than_allowed(World: Any) -> None:
    """LimitsConfig.forks."""
    world = World(FakeWire(FakeClock()), limits={"forks": 2})
    alice = world.phone("alice")
    bobs = [world.phone("bob") for _ in range(4)]
    out = alice.call("bob")
    world.pass_s(1)
    assert sum(len(bob.calls) for bob in bobs) == 2
    out.cancel()
    world.settled()


def test_a_known_user_without_a_phone(World: Any) -> None:
    """480, not 404; the row says why."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice")
    world.phone("bob", register=False)
    out = alice.call("bob")
    world.until(lambda: out.state == "failed")
    assert out.status == 480
    world.settled()
    assert world.row.cause == "not_registered"


def test_an_unknown_number(World: Any) -> None:
    """404, and there is a row. The guard hears of it, and that the caller is certainly there."""
    world, told = World(FakeWire(FakeClock())), []
    world.board.on_unknown_number = lambda *where: told.append(where)
    alice = world.phone("alice")
    out = alice.call("nobody")
    world.until(lambda: out.state == "failed")
    assert out.status == 404
    world.settled()
    assert (world.row.cause, world.row.ended_by) == ("not_found", "switch")
    assert told == [("10.0.1.2", True)]
    odd = alice.call("1%00")
    world.until(lambda: odd.state == "failed")
    assert odd.status == 404
    world.settled()
    assert told == [("10.0.1.2", True)] * 2


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 407, 401])
def test_a_trunk_that_cannot_is_passed_over(World: Any, status: int) -> None:
    """Over to the next trunk; the caller never sees the first one's trouble."""
    routes = [Route("one", uri="sip:9@10.0.3.1"), Route("two", uri="sip:9@10.0.3.2")]
    world = World(FakeWire(FakeClock()), routers=[("t", Table(**{"9": routes}))])
    alice = world.phone("alice")
    one, two = world.trunk("one", "10.0.3.1"), world.trunk("two", "10.0.3.2")
    out = alice.call("9")
    world.until(lambda: bool(one.calls))
    one.calls[0].reject(status)
    world.until(lambda: bool(two.calls))
    two.calls[0].answer()
    world.until(lambda: out.state == "up")
    assert not out.got(status) or status == 407  # 407: our own challenge
    out.hang_up()
    world.settled()
    assert world.row.route == "two"


@pytest.mark.parametrize("status", [404, 486, 403, 484, 600])
def test_an_answer_of_the_far_end_ends_the_call(World: Any, status: int) -> None:
    """No second trunk is bothered when a person is busy."""
    routes = [Route("one", uri="sip:9@10.0.3.1"), Route("two", uri="sip:9@10.0.3.2")]
    world = World(FakeWire(FakeClock()), routers=[("t", Table(**{"9": routes}))])
    alice = world.phone("alice")
    one, two = world.trunk("one", "10.0.3.1"), world.trunk("two", "10.0.3.2")
    out = alice.call("9")
    world.until(lambda: bool(one.calls))
    one.calls[0].reject(status)
    world.until(lambda: out.state == "failed")
    assert not two.calls
    world.settled()


@pytest.mark.parametrize(("theirs", "ours"), [(503, 500), (401, 502), (302, 480), (420, 500), (600, 486)])
def test_what_the_caller_sees_of_a_failure(World: Any, theirs: int, ours: int) -> None:
    """Statuses that would mislead the caller are translated."""
    world = World(
        FakeWire(FakeClock()), routers=[("t", Table(**{"9": [Route("one", uri="sip:9@10.0.3.1")]}))]
    )
    alice, one = world.phone("alice"), world.trunk("one", "10.0.3.1")
    out = alice.call("9")
    world.until(lambda: bool(one.calls))
    one.calls[0].reject(theirs, [("Contact", "<sip:premium@evil.example>")])
    world.until(lambda: out.state == "failed")
    assert out.status == ours
    assert all("evil" not in (response.get("contact") or "") for response in out.responses)
    world.settled()


CHALLENGE = [("Proxy-Authenticate", 'Digest realm="carrier", nonce="abc", algorithm=MD5, qop="auth"')]


def credentialed(realm: str = "") -> list[Route]:
    return [Route("one", uri="sip:9@10.0.3.1", credentials=TrunkCredentials("us", "pw", realm))]


def test_a_trunk_that_asks_for_a_password_gets_it_once(World: Any) -> None:
    """407 from the trunk is answered with its credentials; the caller's own are not used."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire, routers=[("t", Table(**{"9": credentialed("carrier")}))])
        alice, one = world.phone("alice"), world.trunk("one", "10.0.3.1")
        out = alice.call("9")
        world.until(lambda: bool(one.calls))
        one.calls[0].reject(407, CHALLENGE)
        world.until(lambda: len(one.calls) == 2)
        again = one.calls[1].requests[0]
        assert 'username="us"' in (again.get("proxy-authorization") or "")
        assert again.cseq.number == 2
        one.calls[1].answer()
        world.until(lambda: out.state == "up" and one.calls[1].acks)
        out.hang_up()
        world.until(lambda: one.calls[1].state == "ended")
        world.settled()

    run_with_each_fault(scenario)


def test_a_foreign_realm_gets_no_credentials(World: Any) -> None:
    """C5: only the configured realm is answered."""
    world = World(FakeWire(FakeClock()), routers=[("t", Table(**{"9": credentialed("other")}))])
    alice, one = world.phone("alice"), world.trunk("one", "10.0.3.1")
    out = alice.call("9")
    world.until(lambda: bool(one.calls))
    one.calls[0].reject(407, CHALLENGE)
    world.until(lambda: out.state == "failed")
    assert (out.status, len(one.calls)) == (502, 1)
    world.settled()


def test_a_trunk_that_does_not_like_the_password(World: Any) -> None:
    """One try, no endless circle."""
    world = World(FakeWire(FakeClock()), routers=[("t", Table(**{"9": credentialed()}))])
    alice, one = world.phone("alice"), world.trunk("one", "10.0.3.1")
    out = alice.call("9")
    for count in (1, 2):
        world.until(lambda count=count: len(one.calls) == count)
        one.calls[-1].reject(407, CHALLENGE)
    world.until(lambda: out.state == "failed")
    assert (out.status, len(one.calls)) == (502, 2)
    world.settled()
    assert world.row.cause == "trunk_login"


def test_bye_on_a_trunk_that_challenges_it(World: Any) -> None:
    """In-dialog requests are answered for, too."""
    world = World(FakeWire(FakeClock()), routers=[("t", Table(**{"9": credentialed()}))])
    alice, one = world.phone("alice"), world.trunk("one", "10.0.3.1")
    out = alice.call("9")
    world.until(lambda: bool(one.calls))
    there = one.calls[0]
    there.answer()
    world.until(lambda: out.state == "up")
    byes = []

    def challenge_once(tx: Any) -> bool:
        if tx.request.method != "BYE":
            return False
        byes.append(tx.request)
        if len(byes) == 1:
            tx.respond(tx.request.reply(407, fields=CHALLENGE))
            return True
        return False

    there.on_request = challenge_once
    out.hang_up()
    world.until(lambda: there.state == "ended")
    assert "proxy-authorization" in byes[1].headers
    world.settled()


def test_a_trunk_that_no_transport_reaches(World: Any) -> None:
    """Connection refused: the next trunk at once."""
    routes = [Route("one", uri="sip:9@10.0.3.1;transport=tcp"), Route("two", uri="sip:9@10.0.3.2")]
    world = World(FakeWire(FakeClock()), routers=[("t", Table(**{"9": routes}))])
    alice, two = world.phone("alice"), world.trunk("two", "10.0.3.2")
    out = alice.call("9")
    world.until(lambda: bool(two.calls), limit_s=2)
    two.calls[0].answer()
    world.until(lambda: out.state == "up")
    out.hang_up()
    world.settled()


def test_nobody_answers(World: Any) -> None:
    """The ring timeout ends the call with 480 and stops the phone."""
    world = World(FakeWire(FakeClock()), call={"ring_timeout_s": 20.0})
    alice, bob = world.phone("alice"), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: bool(bob.calls))
    bob.calls[0].ring()
    world.until(lambda: out.state == "failed")
    assert out.status == 480
    world.until(lambda: bob.calls[0].state == "ended")
    world.settled()
    assert (world.row.cause, world.row.ended_by) == ("no_answer", "switch")
    assert 20 <= world.row.setup_s <= 20.5


def test_a_forking_proxy_behind_a_trunk(World: Any) -> None:
    """Two 2xx from one INVITE: the first is connected, the second gets ACK and BYE (RFC 3261 13.2.2.4)."""
    world = World(
        FakeWire(FakeClock()), routers=[("t", Table(**{"9": [Route("one", uri="sip:9@10.0.3.1")]}))]
    )
    alice, one = world.phone("alice"), world.trunk("one", "10.0.3.1")
    out = alice.call("9")
    world.until(lambda: bool(one.calls))
    there = one.calls[0]
    there.answer()
    tx = there._tx
    second = tx.request.reply(
        200, to_tag="second", fields=[("Contact", "<sip:x@10.0.3.1>")], body=there.sdp()
    )
    tx.respond(second)
    world.until(lambda: any(r.method == "BYE" and r.to.tag == "second" for r in one.requests))
    assert any(r.method == "ACK" and r.to.tag == "second" for r in one.requests)
    assert out.state == "up"
    out.hang_up()
    world.settled()
