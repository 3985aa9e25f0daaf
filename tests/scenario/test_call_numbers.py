"""C9: what is dialled, what limits are compared with and what a carrier gets are the same number."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mizu.accounts.limits import Refusal, limits_of
from mizu.accounts.usernames import is_username
from mizu.model import Account, AccountType, CallRequest, Route
from mizu.routing.prefix import PrefixRouter, PrefixRouterSettings, PrefixSettings, TrunkSettings
from mizu.sip.grammar import BadMessage
from mizu.sip.numbers import called_text
from mizu.sip.uri import SipUri, parse_uri
from mizu.switch.admission import allowed_routes
from mizu.testing import FakeClock, FakeWire

BLOCKED = "1900555"
#: All of them a carrier that keeps digits only reads as 1900555111.
DISGUISES = [
    "1900555111",
    "+1900555111",
    "001900555111",
    "%2B1900555111",
    "++1900555111",
    "1+900555111",
    "1-900.555(111)",
    "1%20900555111",
    "%31900555111",
    "1~900555111",
    "1!900555111",
    "1/900555111",
    "1*900555111",
    "1%23900555111",
    "*1900555111",
    "*671900555111",
    "%2331%231900555111",
    "*31*001900555111",
    "1,900555111",
    "1%2C900555111",
    "1;900555111",
    "1%3B900555111",
    "1p900555111",
    "1w900555111",
    "1A900555111",
    "1x900555111",
    "1%0D%0A900555111",
    "1%00900555111",
    "1%09900555111",
    "1%C2%A0900555111",
    "1%E2%80%8B900555111",
    "1%E2%80%8D900555111",
    "1%EF%BB%BF900555111",
    "1%FF900555111",
    "%D9%A1900555111",
    "%EF%BC%91900555111",
    "1900555111;phone-context=%2B1",
    "1900555111;ext=5",
]


def outside(**trunk: Any) -> PrefixRouter:
    """Everything goes to one trunk."""
    settings = TrunkSettings(name="gw", uri="sip:10.9.0.1", **trunk)
    return PrefixRouter(PrefixRouterSettings(trunk=[settings], prefix=[PrefixSettings("", ["gw"])]))


def with_trunk(World: Any, **trunk: Any) -> tuple[Any, Any]:
    world = World(FakeWire(FakeClock()), routers=[("outside", outside(**trunk))])
    return world, world.trunk("gw", "10.9.0.1")


@pytest.mark.parametrize("user", DISGUISES)
def test_c9_a_blocked_number_in_disguise_never_goes_out(World: Any, user: str) -> None:
    """By INVITE and by MESSAGE; as SIP URI, and as tel URI, where the number ends at a semicolon."""
    world, trunk = with_trunk(World)
    alice = world.phone("alice", account={"blocked_prefixes": BLOCKED})
    uris = [f"sip:{user}@10.0.0.1", f"sip:{user}@10.0.0.1;user=phone"]
    if not user.startswith("1;"):
        uris.append(f"tel:{user}")
    for uri in uris:
        out = alice.call(uri)
        sent = alice.message(uri, "hello")
        world.until(lambda out=out, sent=sent: out.state == "failed" and sent.done)
        assert out.status == sent.status
        assert out.status in (403, 404)
    world.settled()
    assert trunk.requests == []


@pytest.mark.parametrize(
    ("uri", "number"),
    [
        ("sip:1800555@10.0.0.1", "1800555"),
        ("sip:+1-800.555@10.0.0.1", "+1800555"),
        ("sip:(1)%20800%20555@10.0.0.1", "1800555"),
        ("sip:+1800555;phone-context=example.com@10.0.0.1;user=phone", "+1800555"),
        ("tel:+1-800-555;ext=7", "+1800555"),
        ("sip:*43@10.0.0.1", "*43"),
        ("sip:1%23@10.0.0.1", "1#"),
    ],
)
def test_what_was_checked_is_what_goes_out(World: Any, uri: str, number: str) -> None:
    """In the Request-URI, in To, and in the call row."""
    world, trunk = with_trunk(World)
    out = world.phone("alice", account={"blocked_prefixes": BLOCKED}).call(uri)
    world.until(lambda: bool(trunk.calls))
    request = trunk.calls[0].requests[0]
    assert request.request_uri.user == request.to.uri.user == number
    out.cancel()
    world.settled()
    assert world.row.called_number == number


def test_what_is_no_number_and_no_user_is_answered_alike(World: Any) -> None:
    """404 for every account, limited or not; an odd text leaves no call row, for nobody could be meant."""
    world, trunk = with_trunk(World)
    free, limited = world.phone("alice"), world.phone("bob", account={"blocked_prefixes": BLOCKED})
    for user in ("1~900555111", "nobody", "1%00900555111", "1,2", "%D9%A1"):
        for phone in (free, limited):
            out = phone.call(f"sip:{user}@10.0.0.1")
            world.until(lambda out=out: out.state == "failed")
            assert out.status == 404
    world.settled()
    assert {row.cause for row in world.rows} == {"not_found"}
    assert len(world.rows) == 4
    assert trunk.requests == []


@pytest.mark.parametrize("name", ["1-2", "1.2", "*1", "1#", "a~b", "a@b", "josé"])
def test_our_own_users_are_called_by_every_name_they_have(
    World: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that looks like a number with separators too, and those of older accounts."""
    world = World(FakeWire(FakeClock()))
    if is_username(name):
        world.accounts.set(name, "secret")
    else:  # from before there was a rule for names
        monkeypatch.setattr("mizu.testing.stores.check_username", str)
        world.accounts.set(name, "secret")
    out = world.phone("alice").call(f"sip:{quote(name)}@10.0.0.1")
    world.until(lambda: out.state == "failed")
    assert out.status == 480  # known, but without a phone
    world.settled()
    assert world.row.cause == "not_registered"


def test_a_name_does_not_go_out_whoever_routes_it(World: Any) -> None:
    """A router of somebody else's may know ways for names: they end here too."""

    class Everything:
        async def find_routes(self, call: Any) -> list[Route]:
            return [Route("gw", uri=str(SipUri("sip", call.called_number, None, "10.9.0.1")))]

    world = World(FakeWire(FakeClock()), routers=[("all", Everything())])
    trunk = world.trunk("gw", "10.9.0.1")
    out = world.phone("alice").call("sip:1~900555111@10.0.0.1")
    world.until(lambda: out.state == "failed")
    assert out.status == 404
    world.settled()
    assert world.row.cause == "no_number"
    assert trunk.requests == []


@pytest.mark.parametrize(("user", "status"), [("1%00900555111", 404), ("1,900", 404), ("%D9%A1", 404)])
def test_nobody_is_transferred_to_such_a_text(World: Any, talk: Any, user: str, status: int) -> None:
    """REFER is refused; the call goes on."""
    world = World(FakeWire(FakeClock()))
    out, there = talk(world, world.phone("alice"), world.phone("bob"))
    referred = there.refer(f"sip:{user}@10.0.0.1")
    world.until(lambda: referred.done)
    assert (referred.status, out.state) == (status, "up")
    out.hang_up()
    world.settled()
    assert len(world.rows) == 1


@pytest.mark.parametrize("user", ["1900-555-111", "1*900555111", "1~900555111", "+1900555111"])
def test_a_transfer_has_the_limits_of_who_asks_for_it(World: Any, talk: Any, user: str) -> None:
    """C10: no blocked number in disguise by REFER either."""
    world, trunk = with_trunk(World)
    alice, bob = world.phone("alice"), world.phone("bob", account={"blocked_prefixes": BLOCKED})
    out, there = talk(world, alice, bob)
    referred = there.refer(f"sip:{user}@10.0.0.1")
    world.until(lambda: referred.done)
    world.pass_s(1)
    assert trunk.requests == []
    assert world.rows[-1].sip_status in (403, 404)
    out.hang_up()
    world.settled()


# ------------------------------------------------------------ whatever is dialled

NUMBER = "1900555111"
TRUNKS = outside()


def ways_out(uri_text: str, caller: Account) -> list[str]:
    """The numbers that leave on a trunk when this is called, as a switch without network decides it."""
    try:
        uri = parse_uri(uri_text)
    except BadMessage:
        return []
    called = called_text(uri)
    if not called:
        return []
    wanted = CallRequest("c", caller, "alice", called, uri_text, "h", datetime.now(UTC))
    anything = Route("any", uri=str(SipUri("sip", called, None, "10.9.0.2")))
    routes = allowed_routes(wanted, [*(TRUNKS.routes_now(wanted) or ()), anything])
    return [] if isinstance(routes, Refusal) else [str(SipUri.parse(route.uri).user) for route in routes]


def read(number: str) -> str:
    """As a carrier reads it that keeps nothing but digits."""
    return "".join(char for char in number if char in "0123456789")


def blocked_caller(**fields: Any) -> Account:
    limits = limits_of(1, {"blocked_prefixes": BLOCKED})
    return Account(1, "alice", type=AccountType.ENDUSER, limits=(limits,), **fields)


junk = st.text(max_size=3).map(lambda text: "".join(char for char in text if char not in "0123456789"))
likely = st.text("+*#-.() ~!,;/pwA\r\n\x00\u200b\u0661\uff11:@=&$?%", max_size=3)


@given(st.lists(junk | likely, min_size=11, max_size=11), st.sampled_from(("", "00")), st.booleans())
@example([""] * 11, "", False)
@example(["", "*", *[""] * 9], "", False)
@example(["", "+", *[""] * 9], "00", False)
def test_c9_no_non_digits_carry_a_blocked_number_out(between: list[str], zeros: str, raw: bool) -> None:
    """Whatever stands around and between its digits, escaped or not, in a SIP and in a tel URI."""
    user = zeros + between[0] + "".join(digit + more for digit, more in zip(NUMBER, between[1:], strict=True))
    written = user if raw else quote(user.encode("utf-8", "surrogatepass"), safe="")
    for uri in (f"sip:{written}@x", f"tel:{written}"):
        for number in ways_out(uri, blocked_caller()):
            assert not read(number).startswith((BLOCKED, "00" + BLOCKED)), (uri, number)


@given(st.text("0123456789+*#-. ~pw;,", min_size=1, max_size=20))
def test_c9_nothing_goes_out_that_reads_as_a_blocked_number(user: str) -> None:
    """Neither all of its digits, nor what is behind the code of a service."""
    for number in ways_out(f"sip:{quote(user, safe='')}@x", blocked_caller()):
        assert set(number.removeprefix("+")) <= set("0123456789*#")
        assert not read(number).startswith((BLOCKED, "00" + BLOCKED))
        if "*" in number or "#" in number:
            behind = min(number.find(sign) for sign in "*#" if sign in number)
            assert BLOCKED not in read(number[behind:])


@pytest.mark.parametrize("tech_prefix", ["777", "777#", "*9*"])
def test_a_tech_prefix_hides_nothing(tech_prefix: str) -> None:
    """The number behind it is compared, and both go out as they were dialled."""
    caller = blocked_caller(tech_prefix=tech_prefix)
    for number in (NUMBER, f"+{NUMBER}", f"00{NUMBER}", "1-900-555-111", "1*900555111", "1~900555111"):
        assert ways_out(f"sip:{quote(tech_prefix + number)}@x", caller) == []
    for number in ("361", "+361", "0036", "1800"):
        assert ways_out(f"sip:{quote(tech_prefix + number)}@x", caller) == [tech_prefix + number] * 2
