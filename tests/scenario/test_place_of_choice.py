"""
Nobody makes the switch send a request to a host of his choice: carriers trust its address, and a call that
reached one past routing would be free for the caller and paid by the operator.

``mallory`` is a user with a login of his own; ``carrier`` must not get one request of his doing.
"""

from collections.abc import Callable
from typing import Any

import pytest

from mizu.model import Binding, CallRequest, Route
from mizu.sip.flow import Hop
from mizu.sip.message import Response
from mizu.testing import FakeClock, FakeTransports, FakeWire
from mizu.testing.peer import SipPeer
from mizu.testing.peer_call import PeerCall

CARRIER = "10.0.2.2"
BAIT = f"<sip:1900555000@{CARRIER}>"
ROUTE = f"<sip:{CARRIER};lr>"


class Party:
    """The switch, bob who is honest, mallory who is not, and the carrier."""

    def __init__(self, World: Any, proto: str = "udp", **more: Any) -> None:
        self.world = World(
            FakeWire(FakeClock()), hosts={"carrier.example": [Hop("udp", CARRIER, 5060)]}, **more
        )
        self.bob: SipPeer = self.world.phone("bob")
        proto_of = {"proto": proto} if proto != "udp" else {}
        self.mallory: SipPeer = self.world.phone("mallory", register=False, **proto_of)
        self.carrier: SipPeer = self.world.trunk("carrier", CARRIER)

    def register(self, contact: str = "", *fields: tuple[str, str]) -> int:
        done = self.mallory.register(3600, contact or None, fields)
        self.world.until(lambda: done.done)
        return int(done.status)

    def safe(self) -> None:
        """Whatever was tried: the switch has sent the carrier nothing, and nothing is left of the calls."""
        for phone in (self.bob, self.mallory):
            for call in phone.calls:
                if call.state == "up":
                    call.hang_up()
        self.world.settled()
        assert self.sent_to_carrier == []

    @property
    def sent_to_carrier(self) -> list[str]:
        """By the switch."""
        return [
            one.summary
            for one in self.world.wire.log
            if one.source[0] == "10.0.0.1" and one.target[0] == CARRIER
        ]


@pytest.fixture
def party(World: Any) -> Party:
    return Party(World)


@pytest.mark.parametrize(
    "path",
    [
        ROUTE,
        "<sip:carrier.example;lr>",
        f"<sip:[::ffff:{CARRIER}];lr>",
        f"<sip:{CARRIER};transport=tcp;lr>",
        f"<sip:10.0.1.3;lr>, {ROUTE}",
        f"<sip:10.0.1.3;maddr={CARRIER};lr>, {ROUTE}",
    ],
)
def test_by_the_path_of_a_register(party: Party, path: str) -> None:
    """403: nothing is registered, and a call finds nobody."""
    assert party.register(BAIT, ("Path", path)) == 403
    call = party.bob.call("mallory")
    party.world.until(lambda: call.state == "failed")
    assert call.status == 480
    party.safe()


def test_by_several_path_headers(party: Party) -> None:
    """The second counts as well: the first would pass the call on."""
    assert party.register(BAIT, ("Path", "<sip:10.0.1.3;lr>"), ("Path", ROUTE)) == 403
    party.safe()


def test_by_a_path_that_was_stored_before_it_was_forbidden(party: Party) -> None:
    """Calls go back to where that REGISTER came from."""
    world = party.world
    world.locations.replace(
        "mallory",
        [
            Binding(
                world.account("mallory").id,
                "mallory",
                "sip:1900555000@" + CARRIER,
                world.clock.wall_s() + 600,
                "c",
                1,
                path=(ROUTE,),
                received_host="10.0.1.3",
                received_port=5060,
                local="udp:10.0.0.1:5060",
            )
        ],
    )
    party.bob.call("mallory")
    world.until(lambda: bool(party.mallory.calls))
    party.mallory.calls[0].reject(486)
    party.safe()


@pytest.mark.parametrize(
    "contact",
    [
        BAIT,
        "<sip:1900555000@carrier.example>",
        f"<sip:1900555000@[::ffff:{CARRIER}]>",
        f"<sip:1900555000@10.0.1.3;maddr={CARRIER}>",
        f"<sip:1900555000@{CARRIER};transport=tcp>",
        f"<sips:1900555000@{CARRIER}>",
        f"<sip:1900555000@10.0.1.3?Route=%3Csip%3A{CARRIER}%3Blr%3E>",
    ],
)
@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_by_the_contact_of_a_register(party: Party, contact: str, method: str) -> None:
    """The request goes to where the REGISTER came from."""
    assert party.register(contact) == 200
    if method == "MESSAGE":
        party.bob.message("sip:mallory@10.0.0.1", "hello")
    else:
        party.bob.call("mallory")
    party.world.until(lambda: method in [request.method for request in party.mallory.requests])
    for call in party.mallory.calls:
        call.reject(486)
    party.safe()


@pytest.mark.parametrize("contact", ["<sip:1900555000@carrier.example;transport=udp>", BAIT])
def test_by_a_contact_whose_connection_is_closed_then(World: Any, contact: str) -> None:
    """Nothing leads to such a phone any more."""
    party = Party(World, "tcp")
    world = party.world
    assert party.register(contact) == 200
    (binding,) = world.locations.get("mallory")
    flow = world.transports.flow_of(binding.local, binding.received_host, binding.received_port)
    flow.close()
    world.core.flow_closed(flow)
    call = party.bob.call("mallory")
    world.until(lambda: call.state == "failed")
    assert call.status == 480
    party.safe()


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_by_a_connection_that_ends_while_it_is_called(World: Any, method: str) -> None:
    """What should have gone over it goes nowhere."""
    party = Party(World, "tcp")
    board = party.world.board
    assert party.register("<sip:1900555000@carrier.example;transport=udp>") == 200
    found = board.targets

    def ended(account: Any) -> Any:
        targets = found(account)
        for target in targets:
            target.flow.close()
        return targets

    board.targets = ended
    if method == "INVITE":
        call = party.bob.call("mallory")
        party.world.until(lambda: call.state == "failed")
        assert call.status == 502
    else:
        sent = party.bob.message("sip:mallory@10.0.0.1", "hello")
        party.world.until(lambda: sent.done)
        assert sent.status == 502
    party.safe()


def in_call(party: Party, talk: Callable[..., Any], who: str, *fields: tuple[str, str]) -> tuple[Any, Any]:
    """
    An answered call between bob and mallory, who says the fields at its beginning and goes on talking to us.

    :return: mallory's end of it, bob's.
    """
    world, bob, mallory = party.world, party.bob, party.mallory
    assert party.register() == 200
    mallory.contact = BAIT
    caller, callee = (mallory, bob) if who == "caller" else (bob, mallory)
    out = caller.call(callee.name, fields=fields if who == "caller" else ())
    if who == "caller":
        to_us(out)
    world.until(lambda: bool(callee.calls))
    there = callee.calls[-1]
    there.answer(fields=fields if who == "callee" else ())
    world.until(lambda: out.state == "up" and bool(there.acks))
    world.pass_s(0.1)
    return (out, there) if who == "caller" else (there, out)


def to_us(call: PeerCall) -> None:
    """Mallory does not follow the Record-Route that we gave back to him."""
    establish = call._establish

    def without_routes(response: Response) -> None:
        establish(response)
        call.routes = ()

    call._establish = without_routes  # type: ignore[method-assign]


WAYS: dict[str, tuple[tuple[str, str], ...]] = {
    "contact": (),
    "record-route": (("Record-Route", ROUTE),),
    "named": (("Record-Route", "<sip:carrier.example;lr>"),),
    "strict": (("Record-Route", BAIT),),
    "second": (("Record-Route", f"{ROUTE}, <sip:10.0.1.3;lr>"), ("Record-Route", ROUTE)),
}


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("way", WAYS)
def test_by_what_a_party_of_a_call_says(party: Party, talk: Any, who: str, way: str) -> None:
    """Contact, Record-Route, Route: ACK, re-INVITE, INFO and BYE go to where it talks from."""
    of_mallory, of_bob = in_call(party, talk, who, *WAYS[way])
    for sent in (of_bob.reinvite(), of_bob.info(b"1")):
        party.world.until(lambda sent=sent: sent.done)
        assert sent.status == 200
    update = of_mallory.update(b"", fields=[field for field in WAYS[way] if field[0] != "Route"])
    party.world.until(lambda: update.done)
    assert update.status == 200
    of_bob.hang_up()
    party.world.until(lambda: of_mallory.state == "ended")
    party.safe()


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_by_a_session_timer(World: Any, talk: Any, who: str) -> None:
    """Our own refreshes go to where the party talks from, after a target refresh too."""
    party = Party(World, call={"session_expires_s": 90})
    of_mallory, _ = in_call(party, talk, who, ("Record-Route", ROUTE))
    again = of_mallory.reinvite(fields=[("Record-Route", ROUTE)])
    party.world.until(lambda: again.done)
    party.world.pass_s(200)
    assert of_mallory.state == "up"
    assert {"INVITE", "UPDATE"} & {request.method for request in of_mallory.requests[1:]}
    party.safe()


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("way", WAYS)
def test_by_having_no_tag(party: Party, who: str, way: str) -> None:
    """A re-INVITE without a To tag would begin a call at the carrier (RFC 2543): none is sent."""
    mallory, bob, world = party.mallory, party.bob, party.world
    assert party.register() == 200
    mallory.contact = BAIT
    if who == "caller":
        call = PeerCall(mallory, "sip:bob@10.0.0.1")
        mallory.calls.append(call)
        to_us(call)
        call._local = call._local.replace("<", '"x" <')
        make = call._request

        def without_tag(*parts: Any) -> Any:
            request = make(*parts)
            request.set("From", call._local)
            return request

        call._request = without_tag  # type: ignore[method-assign]
        call.invite(fields=WAYS[way])
        world.until(lambda: bool(bob.calls))
        bob.calls[0].answer()
        of_bob = bob.calls[0]
    else:
        of_bob = bob.call("mallory")
        world.until(lambda: bool(mallory.calls))
        mallory.calls[0].local_tag = ""
        mallory.calls[0].answer(fields=WAYS[way])
    world.until(lambda: of_bob.state == "up")
    world.pass_s(1)
    again = of_bob.reinvite()
    world.until(lambda: again.done)
    assert again.status == 488
    of_bob.hang_up()
    world.pass_s(1)
    party.safe()


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_by_a_forged_source_in_a_call(party: Party, talk: Any, who: str) -> None:
    """A Record-Route of his own lets nothing in that comes from there without a login."""
    world = party.world
    of_mallory, of_bob = in_call(party, talk, who, ("Record-Route", "<sip:10.0.2.77;lr>"))
    (call,) = world.board.calls.values()
    leg = next(one for one in call.legs if one.side == who)
    forged = of_mallory._request("INFO", 900, b"1", [("Content-Type", "text/plain")])
    forged.prepend("Via", "SIP/2.0/UDP 10.0.2.77;branch=z9hG4bKforged")
    strange = FakeTransports(world.wire, ["udp:10.0.2.77:5060"])
    flow = strange.flow_to(Hop("udp", "10.0.0.1", 5060))
    assert flow is not None
    flow.send(forged.to_bytes())
    world.pass_s(1)
    assert [one.summary for one in world.wire.log if one.target[0] == "10.0.2.77"] == ["407 INFO"]
    assert leg.flow.remote[0] == "10.0.1.3"
    assert not of_bob.got("INFO")
    party.safe()


@pytest.mark.parametrize(
    "to", [f"sip:1900555000@{CARRIER}", "sip:1900555000@carrier.example", "tel:1900555000"]
)
def test_by_a_transfer(party: Party, talk: Any, to: str) -> None:
    """Refer-To gives a number, which is looked for as if it were dialled; its host is nobody's business."""
    of_mallory, _ = in_call(party, talk, "callee")
    of_mallory.refer(to)
    party.world.until(
        lambda: any(b"404" in one.body for one in of_mallory.requests if one.method == "NOTIFY")
    )
    party.safe()


def test_by_a_transfer_that_replaces(party: Party, talk: Any) -> None:
    """Replaces names a call of the switch itself, or nothing."""
    of_mallory, of_bob = in_call(party, talk, "callee")
    strange = f"{of_bob.call_id}%3Bto-tag%3Da%3Bfrom-tag%3Db"
    of_mallory.refer(f"sip:1900555000@{CARRIER}?Replaces={strange}")
    party.world.until(
        lambda: any(b"481" in one.body for one in of_mallory.requests if one.method == "NOTIFY")
    )
    party.safe()


@pytest.mark.parametrize("status", [300, 301, 302, 305, 380])
def test_by_a_redirection(party: Party, status: int) -> None:
    """A phone that moved says so to its owner; the switch calls nobody it was not told to by a route."""
    assert party.register() == 200
    call = party.bob.call("mallory")
    party.world.until(lambda: bool(party.mallory.calls))
    party.mallory.calls[0].reject(status, [("Contact", BAIT)])
    party.world.until(lambda: call.state == "failed")
    assert call.status == 480
    party.safe()


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "REGISTER", "OPTIONS"])
def test_by_a_route_of_his_own(party: Party, method: str) -> None:
    """A Route of a request that comes to us is not followed: this is no proxy."""
    fields = [("Route", ROUTE), ("Route", "<sip:10.0.0.1;lr>")]
    if method == "INVITE":
        party.mallory.call("1900555000", fields=fields)
        party.mallory.call(f"sip:1900555000@{CARRIER}", fields=fields)
    elif method == "REGISTER":
        assert party.register("", *fields) == 200
    else:
        party.mallory.send(method, f"sip:1900555000@{CARRIER}", fields=fields)
    party.world.pass_s(5)
    party.safe()


@pytest.mark.parametrize(
    "contact", ["<sip:1900555000@10.0.1.3:5080>", "<sip:1900555000@10.0.1.3;transport=tcp>"]
)
@pytest.mark.parametrize("path", ["", "<sip:10.0.1.3:5080;lr>"])
def test_by_the_port_of_a_neighbour(World: Any, contact: str, path: str) -> None:
    """A partner behind the same NAT as mallory is not reached by naming his port."""
    party = Party(World, partners=["10.0.1.3"])
    assert party.register(contact, *([("Path", path)] if path else [])) == 200
    party.bob.call("mallory")
    party.world.until(lambda: bool(party.mallory.calls))
    party.mallory.calls[0].reject(486)
    party.safe()


class FixedRoute:
    """Everything goes to one trunk."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    async def find_routes(self, call: CallRequest) -> list[Route]:
        return [Route(name="trunk", uri=self.uri)] if call.called_number == "555" else []


def test_a_proxy_of_the_operator_is_followed(World: Any) -> None:
    """``[registrar] path_from``: its Path and Record-Route may name what they like."""
    party = Party(World, registrar={"path_from": ["10.0.1.0/24"]})
    assert party.register(BAIT, ("Path", "<sip:carrier.example;lr>")) == 200
    party.bob.call("mallory")
    party.world.until(lambda: bool(party.carrier.calls))
    assert party.carrier.requests[0].values("route") == ["<sip:carrier.example;lr>"]
    party.carrier.calls[0].reject(486)
    party.world.settled()


def test_a_trunk_may_move_a_call_to_another_host_of_its_own(World: Any) -> None:
    """Carriers are trusted by the operator; many have a gateway that answers for others."""
    party = Party(World, routers=[("trunks", FixedRoute(f"sip:555@{CARRIER}"))])
    other = party.world.trunk("other", "10.0.2.9")
    party.carrier.contact = "<sip:555@10.0.2.9>"
    call = party.bob.call("555")
    party.world.until(lambda: bool(party.carrier.calls))
    party.carrier.calls[0].answer()
    party.world.until(lambda: call.state == "up")
    call.hang_up()
    party.world.pass_s(1)
    assert {request.method for request in other.requests} == {"ACK", "BYE"}
    party.world.settled()


def test_an_answer_from_a_strange_address_does_not_move_a_call(party: Party, talk: Any) -> None:
    """Over UDP anybody writes any source: what is said to a phone afterwards goes to where it was called."""
    world = party.world
    assert party.register() == 200
    call = party.bob.call("mallory")
    world.until(lambda: bool(party.mallory.calls))
    there = party.mallory.calls[0]
    leg = next(one for one in world.board.calls.values()).legs[-1]
    home = leg.flow
    strange = world.transports.flow_of("udp:10.0.0.1:5060", CARRIER, 5060)
    asked = leg.outgoing.flow
    leg._heard_over(strange, asked)
    assert leg.flow.remote == asked.remote
    leg.flow = home
    there.answer()
    world.until(lambda: call.state == "up")
    party.safe()
