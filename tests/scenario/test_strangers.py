"""C5 and D3: challenges that somebody else sends, and a storm of copies, at a whole switch."""

from collections.abc import Callable
from typing import Any

import pytest

from mizu.model import Route, TrunkCredentials
from mizu.sip.flow import Hop
from mizu.sip.message import Request
from mizu.sip.parser import parse_datagram
from mizu.testing import FakeClock, FakeWire, SipPeer

SERVER = ("10.0.0.1", 5060)
CHALLENGES = {
    401: [("WWW-Authenticate", 'Digest realm="carrier", nonce="abc", algorithm=MD5, qop="auth"')],
    407: [("Proxy-Authenticate", 'Digest realm="carrier", nonce="abc", algorithm=MD5, qop="auth"')],
}
FOREIGN = {
    status: [(fields[0][0], fields[0][1].replace("carrier", "evil"))] for status, fields in CHALLENGES.items()
}


class Table:
    """A router to one trunk, which asks for a password of a realm, or of any."""

    def __init__(self, realm: str) -> None:
        self.route = Route("one", uri="sip:9@10.0.3.1", credentials=TrunkCredentials("us", "pw", realm))

    async def find_routes(self, call: Any) -> list[Route]:
        return [self.route]


class Place:
    """A switch with a trunk, a phone, and a stranger who sees what is sent and answers from elsewhere."""

    def __init__(self, World: Callable[..., Any], realm: str = "carrier") -> None:
        self.wire = FakeWire(FakeClock())
        self.world = World(self.wire, routers=[("t", Table(realm))])
        self.alice: SipPeer = self.world.phone("alice")
        self.trunk: SipPeer = self.world.trunk("one", "10.0.3.1")
        self.stranger = self.wire.host("udp:10.0.9.9:5060", name="stranger")

    def sent(self, method: str) -> list[Request]:
        """Requests of the switch to the trunk."""
        found = [
            parse_datagram(one.data, self.wire.limits)
            for one in self.wire.log
            if one.source == SERVER and one.target[0] == "10.0.3.1" and one.summary == method
        ]
        return [one for one in found if isinstance(one, Request)]

    def answer_as_stranger(self, request: Request, status: int, fields: list[tuple[str, str]]) -> None:
        """A response that fits the request in everything but where it comes from."""
        flow = self.stranger.flow_to(Hop("udp", *SERVER))
        assert flow is not None
        flow.send(request.reply(status, fields=fields).to_bytes())

    def credentials(self) -> list[str]:
        """Where the switch has sent credentials."""
        return [
            f"{one.summary} to {one.target[0]}"
            for one in self.wire.log
            if one.source == SERVER and b"authorization: digest" in one.data.lower()
        ]


@pytest.mark.parametrize("realm", ["carrier", ""])
@pytest.mark.parametrize("status", [401, 407])
def test_C5_a_strangers_challenge_of_our_INVITE_gets_no_credentials(
    World: Any, status: int, realm: str
) -> None:
    """Neither he nor anybody: with the trunk's very realm, and when any realm of the trunk will do."""
    place = Place(World, realm)
    out = place.alice.call("9")
    place.world.until(lambda: bool(place.trunk.calls))
    place.answer_as_stranger(place.sent("INVITE")[0], status, CHALLENGES[status])
    place.world.until(lambda: out.state == "failed")
    assert place.credentials() == []
    assert {request.cseq.number for request in place.sent("INVITE")} == {1}
    place.world.clock.run_until_idle(limit_s=4000)


@pytest.mark.parametrize("realm", ["carrier", ""])
@pytest.mark.parametrize("status", [401, 407])
def test_C5_a_strangers_challenge_of_our_BYE_gets_no_credentials(World: Any, status: int, realm: str) -> None:
    """In a dialog, too; the call is over here all the same."""
    place = Place(World, realm)
    out = place.alice.call("9")
    place.world.until(lambda: bool(place.trunk.calls))
    there = place.trunk.calls[0]
    there.answer()
    place.world.until(lambda: out.state == "up" and bool(there.acks))
    there.on_request = lambda tx: tx.request.method == "BYE"  # the trunk is silent
    out.hang_up()
    place.world.until(lambda: bool(place.sent("BYE")))
    place.answer_as_stranger(place.sent("BYE")[0], status, CHALLENGES[status])
    place.world.clock.run_until_idle(limit_s=4000)
    assert place.credentials() == []
    assert not place.world.board.calls


@pytest.mark.parametrize("status", [401, 407])
def test_C5_a_foreign_realm_gets_no_credentials_for_INVITE_or_BYE(World: Any, status: int) -> None:
    """From the trunk's own address: it passes on a challenge of somebody behind it."""
    place = Place(World)
    out = place.alice.call("9")
    place.world.until(lambda: bool(place.trunk.calls))
    place.trunk.calls[0].reject(status, FOREIGN[status])
    place.world.until(lambda: out.state == "failed")
    out = place.alice.call("9")
    place.world.until(lambda: len(place.trunk.calls) == 2)
    there = place.trunk.calls[1]
    there.answer()
    place.world.until(lambda: out.state == "up" and bool(there.acks))

    def challenge(tx: Any) -> bool:
        if tx.request.method == "BYE":
            tx.respond(tx.request.reply(status, fields=FOREIGN[status]))
        return bool(tx.request.method == "BYE")

    there.on_request = challenge
    out.hang_up()
    place.world.clock.run_until_idle(limit_s=4000)
    assert place.sent("BYE")
    assert place.credentials() == []


def test_C5_the_trunk_itself_gets_them_in_its_realm(World: Any) -> None:
    """The tests above could fail."""
    place = Place(World)
    place.alice.call("9")
    place.world.until(lambda: bool(place.trunk.calls))
    place.trunk.calls[0].reject(407, CHALLENGES[407])
    place.world.until(lambda: len(place.trunk.calls) == 2)
    assert place.credentials() == ["INVITE to 10.0.3.1"]


@pytest.mark.parametrize("held", [True, False], ids=["while the database is asked", "as it comes"])
def test_D3_a_storm_of_one_INVITE_is_one_transaction_one_call_and_one_lookup(World: Any, held: bool) -> None:
    """
    A thousand copies of an INVITE with credentials, before and after the database has answered: one question
    about the caller, one about the called party, one call with one row, one INVITE to the phone.
    """
    wire = FakeWire(FakeClock())
    world = World(wire)
    alice, bob = world.phone("alice", register=False), world.phone("bob")
    asked = len(world.accounts.asked)
    if held:
        world.accounts.faults.hold()
    out = alice.call("bob")
    mine: list[bytes] = []

    def with_credentials() -> bool:
        mine[:] = [
            one.data for one in wire.log if b"Proxy-Authorization" in one.data and one.target == SERVER
        ]
        return bool(mine)

    world.until(with_credentials)
    flow = alice.transports.flow_to(Hop("udp", *SERVER))
    assert flow is not None
    for _ in range(500):
        flow.send(mine[0])
    world.pass_s(0.05)
    transactions = len(world.layer)
    for _ in range(500):
        flow.send(mine[0])
    world.pass_s(0.05)
    assert len(world.layer) == transactions
    world.accounts.faults.release()
    world.until(lambda: bool(bob.calls))
    for _ in range(500):
        flow.send(mine[0])
    world.pass_s(0.2)
    assert world.accounts.asked[asked:] == ["alice"]
    assert world.accounts.called_numbers == ["bob"]
    assert len(bob.calls) == len(world.board.calls) == len(world.rows) == 1
    bob.calls[0].answer()
    world.until(lambda: out.state == "up" and bool(bob.calls[0].acks))
    out.hang_up()
    world.until(lambda: bob.calls[0].state == "ended")
    world.settled()
