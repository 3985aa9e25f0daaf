"""The static prefix table."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.errors import CallRefused, ConfigError
from mizu.interfaces import IHasPeers
from mizu.model import Account, CallRequest, Route
from mizu.routing.known import KnownAccounts
from mizu.routing.prefix import PrefixRouter, PrefixRouterSettings, PrefixSettings, TrunkSettings
from mizu.testing import FakeClock
from mizu.testing.auth import FakeAccountStore, result_now


def router(*rows: tuple[str, list[str]], **trunks: TrunkSettings) -> PrefixRouter:
    names = {name for _, used in rows for name in used}
    table = [
        trunks.get(name) or TrunkSettings(name=name, uri=f"sip:{name}.example") for name in sorted(names)
    ]
    return PrefixRouter(PrefixRouterSettings(trunk=table, prefix=[PrefixSettings(p, t) for p, t in rows]))


def wanted(number: str, tech_prefix: str = "") -> CallRequest:
    caller = Account(1, "alice", tech_prefix=tech_prefix)
    return CallRequest("c", caller, "alice", number, f"sip:{number}@x", "h", datetime.now(UTC))


def routes_for(found: PrefixRouter, number: str) -> list[Route]:
    now = found.routes_now(wanted(number))
    assert now is not None
    return list(now)


def test_the_longest_prefix_wins() -> None:
    """0044 beats 00, and its trunks come in the order of the table."""
    found = router(("00", ["a"]), ("0044", ["b", "a"]), ("", ["c"]))
    assert [route.name for route in routes_for(found, "00441234")] == ["b", "a"]
    assert [route.name for route in routes_for(found, "0033")] == ["a"]
    assert [route.name for route in routes_for(found, "12")] == ["c"]


def test_no_prefix_means_another_router_is_asked() -> None:
    """An unknown number is an empty answer, no error."""
    assert routes_for(router(("00", ["a"])), "1") == []
    assert routes_for(router(("00", ["a"])), "") == []


def test_digits_are_stripped_and_added() -> None:
    """The trunk gets the number as it wants it, the URI keeps its port and parameters."""
    trunk = TrunkSettings(
        name="t", uri="sip:x@gw.example:5070;transport=tcp", strip=2, add="+", username="u", password="p"
    )
    (route,) = routes_for(router(("00", ["t"]), t=trunk), "0044123")
    assert route.uri == "sip:+44123@gw.example:5070;transport=tcp"
    assert route.called_number == "+44123"
    assert route.credentials is not None
    assert "password" not in repr(trunk)


@pytest.mark.parametrize(
    "text", ["1@evil.example;x=y?z", "alice", "1~2", "1p2", "1-2", "1 2", "1+2", "\u0661", "+", ""]
)
def test_what_is_no_number_has_no_trunk(text: str) -> None:
    """Whatever is dialled cannot change where the call goes, nor be made a number by a carrier."""
    assert routes_for(router(("", ["t"]), ("1", ["t"])), text) == []


def test_signs_of_a_number_are_no_digits() -> None:
    """A service code and a tech prefix are found by the prefixes that have them, and go out escaped."""
    found = router(("*", ["a"]), ("777#", ["b"]), ("1", ["c"]))
    assert [routes_for(found, number)[0].uri for number in ("*43", "777#361", "1*2#")] == [
        "sip:*43@a.example",
        "sip:777%23361@b.example",
        "sip:1*2%23@c.example",
    ]
    assert routes_for(found, "777#+361") == []
    (route,) = found.routes_now(wanted("777#+361", tech_prefix="777#")) or ()
    assert route.uri == "sip:777%23+361@b.example"


@pytest.mark.parametrize("prefix", ["alice", "36-1", "36 ", "\u0661"])
def test_a_prefix_that_no_number_has_is_a_mistake(prefix: str) -> None:
    """It is told at start; calls would never take it."""
    with pytest.raises(ConfigError) as raised:
        router((prefix, ["t"]))
    assert raised.value.problems == [f"prefix {prefix!r} is no beginning of a number: digits, *, #, +"]


def test_every_mistake_in_the_table_is_told() -> None:
    """Unknown trunk, trunk twice, prefix twice, bad URI: all at once."""
    settings = PrefixRouterSettings(
        trunk=[TrunkSettings("a", "sip:a"), TrunkSettings("a", "sip:a"), TrunkSettings("b", "no uri")],
        prefix=[PrefixSettings("1", ["a"]), PrefixSettings("1", ["z"]), PrefixSettings("2", [])],
    )
    with pytest.raises(ConfigError) as raised:
        PrefixRouter(settings)
    assert len(raised.value.problems) == 5


@given(st.sets(st.text("0123456789", max_size=5), min_size=1), st.text("0123456789", min_size=1, max_size=8))
def test_the_same_as_a_naive_scan(prefixes: set[str], number: str) -> None:
    """The look-up by lengths finds what a scan over all prefixes finds."""
    found = router(*[(prefix, [f"t{prefix}"]) for prefix in sorted(prefixes)])
    best = max((prefix for prefix in prefixes if number.startswith(prefix)), key=len, default=None)
    assert [route.name for route in routes_for(found, number)] == ([] if best is None else [f"t{best}"])


def test_a_trunk_may_be_an_account() -> None:
    """The route names its gateway, looked up once; a gateway that is disabled or gone is not used."""
    store = FakeAccountStore("gw1", "gw2")

    async def find(username: str, company_id: int | None) -> Account | None:
        found = await store.find(username)
        return found[0] if found is not None else None

    known = KnownAccounts(find, FakeClock(), cache_s=60.0, cache_max=2)
    trunks = [TrunkSettings(name, f"sip:{name}.example", account=name) for name in ("gw1", "gw2")]
    prefixes = [PrefixSettings("00", ["gw1", "gw2"])]
    found = PrefixRouter(PrefixRouterSettings(trunk=trunks, prefix=prefixes), known)
    assert found.routes_now(wanted("001")) is None
    routes = result_now(found.find_routes(wanted("001")))
    assert [route.gateway.username for route in routes if route.gateway] == ["gw1", "gw2"]
    assert [route.party for route in routes_for(found, "002")] == [route.gateway for route in routes]
    assert store.asked == ["gw1", "gw2"]
    store.set("gw1", "x", enabled=False)
    known.account_changed("gw1")
    assert [route.name for route in result_now(found.find_routes(wanted("001")))] == ["gw2"]
    store.set("gw2", "x", enabled=False)
    known.account_changed("gw2")
    with pytest.raises(CallRefused) as raised:
        result_now(found.find_routes(wanted("001")))
    assert raised.value.code == "gateway_disabled"


def test_hosts_of_trunks_are_told_to_the_guard() -> None:
    """Without ports and parameters, each once, whether a prefix leads there or not."""
    trunks = [
        TrunkSettings(name=f"t{number}", uri=uri)
        for number, uri in enumerate(
            (
                "sip:192.0.2.1:5070",
                "sip:192.0.2.1",
                "sip:SIP.example.com;transport=tcp",
                "sip:[2001:db8::1]:5080",
            )
        )
    ]
    router = PrefixRouter(PrefixRouterSettings(trunk=trunks))
    assert IHasPeers.providedBy(router)
    assert router.peers() == ["192.0.2.1", "2001:db8::1", "sip.example.com"]
