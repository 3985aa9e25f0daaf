"""What crosses the switch and what does not: identities, addresses, headers; and MESSAGE outside of calls."""

from typing import Any

import pytest

from mizu.model import Route
from mizu.testing import FakeClock, FakeWire, run_with_each_fault


def ringing(World: Any, account: dict[str, Any] | None = None, **invite: Any) -> Any:
    """A call on its way, and the INVITE as the called phone got it."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice", account=account), world.phone("bob")
    out = alice.call("bob", **invite)
    world.until(lambda: bool(bob.calls))
    request = bob.calls[0].requests[0]
    out.cancel()
    world.settled()
    return request


FORGED = [
    ("P-Asserted-Identity", "<sip:boss@example.com>"),
    ("P-Preferred-Identity", "<sip:boss@example.com>"),
    ("Remote-Party-ID", "<sip:boss@example.com>"),
    ("Diversion", "<sip:boss@example.com>"),
    ("History-Info", "<sip:boss@example.com>"),
    ("Referred-By", "<sip:boss@example.com>"),
    ("Alert-Info", "<http://10.0.0.66/x>"),
    ("Call-Info", "<http://10.0.0.66/x>"),
    ("X-Secret", "boss"),
    ("Record-Route", "<sip:10.0.0.66;lr>"),
    ("Route", "<sip:10.0.0.66;lr>"),
]


def test_an_identity_cannot_be_forged(World: Any) -> None:
    """C1: the called phone sees the account that called, whatever the caller wrote."""
    request = ringing(World, {"caller_number": "100", "display_name": 'Al "x"'}, fields=FORGED)
    assert (request.from_.uri.user, request.from_.display) == ("100", 'Al "x"')
    text = request.to_bytes()
    assert b"boss" not in text
    assert b"10.0.0.66" not in text


def test_a_trusted_account_may_say_who_calls(World: Any) -> None:
    """Trunks that carry calls of others; addresses of the path still do not pass."""
    request = ringing(World, {"trusted_identity": True}, fields=FORGED)
    assert request.get("p-asserted-identity") == "<sip:boss@example.com>"
    assert "remote-party-id" not in request.headers
    assert "x-secret" not in request.headers
    assert b"Record-Route" not in request.to_bytes()


def test_topology_is_hidden(World: Any) -> None:
    """The callee's side has its own Call-ID, tags and Contact, and learns nothing of the caller's address."""
    request = ringing(World, sdp=b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n")
    text = request.to_bytes()
    assert b"10.0.1.2" not in text
    assert request.get("contact") == "<sip:mizu@10.0.0.1:5060>"
    assert len(request.vias) == 1


def test_what_is_meant_for_the_callee_passes(World: Any) -> None:
    """Subject, Priority and their like; the description byte by byte."""
    sdp = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nx=odd \xff line\r\n"
    request = ringing(World, sdp=sdp, fields=[("Subject", "lunch"), ("Priority", "urgent")])
    assert (request.get("subject"), request.get("priority")) == ("lunch", "urgent")
    assert request.body == sdp


def test_a_caller_who_wants_privacy(World: Any) -> None:
    """Privacy: id (RFC 3323): the callee sees nobody."""
    request = ringing(World, sdp=alice_sdp("192.0.2.1"), fields=[("Privacy", "id")])
    assert request.from_.uri.user == "anonymous"
    assert b"alice" not in request.to_bytes()


def test_a_phone_behind_nat(World: Any, talk: Any) -> None:
    """With fix_nat its private address in the description becomes where it sends from, in both directions."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice", account={"fix_nat": True})
    bob = world.phone("bob", account={"fix_nat": True})
    out = alice.call("bob", sdp=alice_sdp("192.168.1.5"))
    world.until(lambda: bool(bob.calls))
    there = bob.calls[0]
    assert b"c=IN IP4 10.0.1.2" in there.remote_sdp
    there.answer(alice_sdp("192.168.9.9"))
    world.until(lambda: out.state == "up")
    assert b"c=IN IP4 10.0.1.3" in out.remote_sdp
    out.hang_up()
    world.settled()


def alice_sdp(host: str) -> bytes:
    lines = ["v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0", "m=audio 4000 RTP/AVP 0"]
    return ("\r\n".join(lines) + "\r\n").encode()


def test_without_the_option_nothing_is_touched(World: Any) -> None:
    """SDP passes through untouched unless asked for."""
    request = ringing(World, sdp=alice_sdp("192.168.1.5"))
    assert request.body == alice_sdp("192.168.1.5")


def test_an_account_that_may_not_call(World: Any) -> None:
    """403; no phone rings, no row."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice", account={"can_dial": False}), world.phone("bob")
    out = alice.call("bob")
    world.until(lambda: out.state == "failed")
    assert out.status == 403
    assert not bob.calls
    world.settled()


def test_a_foreign_domain(World: Any) -> None:
    """With domains configured we are nobody's proxy."""
    world = World(FakeWire(FakeClock()), domains=["mizu.example"])
    alice = world.phone("alice", domain="mizu.example")
    out = alice.call("sip:bob@elsewhere.example")
    world.until(lambda: out.state == "failed")
    assert out.status == 404
    world.settled()


def test_the_called_number_reaches_the_router_unescaped(World: Any) -> None:
    """C9: as one text, never as part of a URI."""
    asked: list[str] = []

    class Router:
        async def find_routes(self, call: Any) -> list[Route]:
            asked.append(call.called_number)
            return []

    world = World(FakeWire(FakeClock()), routers=[("r", Router())])
    alice = world.phone("alice")
    for user in ("%2B49-1", "a%40b", "'OR'1=1"):
        out = alice.call(f"sip:{user}@10.0.0.1")
        world.until(lambda out=out: out.state == "failed")
        assert out.status == 404
    assert asked == ["+491", "a@b", "'OR'1=1"]
    world.settled()


def test_tcp_caller_and_udp_callee(World: Any, talk: Any) -> None:
    """Each leg has its own transport, and our Contact says so."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice", proto="tcp"), world.phone("bob")
    out, there = talk(world, alice, bob)
    assert out.target == "sip:mizu@10.0.0.1:5060;transport=tcp"
    there.hang_up()
    world.until(lambda: out.state == "ended")
    world.settled()


def test_udp_caller_and_tcp_callee(World: Any, talk: Any) -> None:
    """The phone is reached over the connection it registered on."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob", proto="tcp"))
    out.hang_up()
    world.until(lambda: there.state == "ended")
    world.settled()


def test_a_message_reaches_every_phone(World: Any) -> None:
    """RFC 3428: text and type pass, the first 200 is the answer."""

    def scenario(wire: FakeWire) -> None:
        world = World(wire)
        alice = world.phone("alice")
        bobs = [world.phone("bob") for _ in range(2)]
        sent = alice.message("sip:bob@10.0.0.1", "hello")
        world.until(lambda: sent.done)
        assert sent.status == 200
        world.pass_s(2)
        for bob in bobs:
            texts = [r for r in bob.requests if r.method == "MESSAGE"]
            assert [r.body for r in texts] == [b"hello"]
            assert texts[0].get("content-type") == "text/plain"
            assert texts[0].from_.uri.user == "alice"
        world.settled()

    run_with_each_fault(scenario)


@pytest.mark.parametrize(("to", "status"), [("bob", 480), ("nobody", 404)])
def test_a_message_to_nobody(World: Any, to: str, status: int) -> None:
    """Nothing is kept for later, and the sender is told."""
    world = World(FakeWire(FakeClock()))
    alice = world.phone("alice")
    world.phone("bob", register=False)
    sent = alice.message(f"sip:{to}@10.0.0.1", "hello")
    world.until(lambda: sent.done)
    assert sent.status == status
    world.settled()


def test_a_message_without_password(World: Any) -> None:
    """C2: nobody sends messages unauthenticated."""
    world = World(FakeWire(FakeClock()))
    world.phone("bob")
    sent = world.trunk("stranger", "10.9.9.9").message("sip:bob@10.0.0.1", "spam")
    world.until(lambda: sent.done)
    assert sent.status == 407
    world.settled()


@pytest.mark.parametrize("method", ["REFER", "INFO", "UPDATE", "BYE", "NOTIFY", "PRACK"])
def test_in_dialog_methods_outside_of_dialogs(World: Any, method: str) -> None:
    """C2: each is refused."""
    world = World(FakeWire(FakeClock()))
    sent = world.phone("alice").send(method, "sip:bob@10.0.0.1")
    world.until(lambda: sent.done)
    assert sent.status in (403, 405, 481)
    world.settled()
