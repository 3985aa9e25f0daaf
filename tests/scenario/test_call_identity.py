"""C1: an authenticated caller chooses neither who pays nor, unless trusted, who is shown to call."""

from dataclasses import replace
from typing import Any

import pytest

from mizu.options import OPTIONS
from mizu.switch.identity import IdentityRules
from mizu.testing import FakeClock, FakeWire

BOSS = '"The Boss" <sip:200@example.com>'
ASSERTED = [("P-Asserted-Identity", BOSS)]
EVERY_CLAIM = ["P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion"]


def called(World: Any, rules: IdentityRules, account: dict[str, Any], **invite: Any) -> tuple[Any, Any]:
    """A call from alice, and the INVITE that bob's phone got (``None``: it was refused)."""
    world = World(FakeWire(FakeClock()))
    world.board.settings = replace(world.board.settings, identity=rules)
    alice, bob = world.phone("alice", account=account), world.phone("bob")
    out = alice.call("bob", **invite)
    world.until(lambda: bool(bob.calls) or out.state == "failed")
    request = bob.calls[0].requests[0] if bob.calls else None
    if request is not None:
        assert world.row.caller == f"#{world.account('alice').id}"  # whoever is shown: the account pays
        out.cancel()
    world.settled()
    return out, request


def test_the_options_have_these_rules() -> None:
    """What holds when nobody set an option."""
    assert IdentityRules.of(lambda name: OPTIONS[name].default) == IdentityRules()


@pytest.mark.parametrize("parse", [0, 1, 2, 3])
@pytest.mark.parametrize("header", EVERY_CLAIM)
def test_c1_no_claim_of_an_untrusted_account_counts(World: Any, parse: int, header: str) -> None:
    """C1: whatever the options say about identities, they are those of trusted accounts."""
    rules = IdentityRules(asserted=parse, display=parse)
    _, request = called(World, rules, {"caller_number": "100", "display_name": "Al"}, fields=[(header, BOSS)])
    assert (request.from_.uri.user, request.from_.display) == ("100", "Al")
    assert b"Boss" not in request.to_bytes()


@pytest.mark.parametrize("header", EVERY_CLAIM)
def test_c1_a_claim_can_be_refused(World: Any, header: str) -> None:
    """C1: with ``untrustedidentity`` = refuse the call is answered 403 and nobody's phone rings."""
    rules = IdentityRules(refuses_others=True)
    out, request = called(World, rules, {}, fields=[(header, BOSS)])
    assert request is None
    assert out.status == 403


def test_c1_what_is_the_caller_s_own_is_not_refused(World: Any) -> None:
    """Its username, its number, and nothing at all are no claims."""
    rules = IdentityRules(refuses_others=True)
    own = [
        ("P-Asserted-Identity", "<sip:100@example.com>, <tel:+100>"),
        ("P-Preferred-Identity", "<sip:alice@example.com>"),
        ("Remote-Party-ID", "<sip:anonymous@anonymous.invalid>;privacy=full"),
    ]
    _, request = called(World, rules, {"caller_number": "100"}, fields=own)
    assert request is not None


@pytest.mark.parametrize("claim", ["<sip:200@", "nonsense<", '<http://x/>, "', ""])
def test_c1_a_claim_that_cannot_be_read_is_a_claim(World: Any, claim: str) -> None:
    """It is refused or left out, and breaks nothing."""
    fields = [("P-Asserted-Identity", claim)]
    assert called(World, IdentityRules(), {}, fields=fields)[1] is not None
    trusted = {"trusted_identity": True}
    _, request = called(World, IdentityRules(asserted=3), trusted, fields=fields)
    assert request.from_.uri.user == "alice"


@pytest.mark.parametrize(
    ("parse", "number", "display", "passed_on"),
    [(0, "alice", "", False), (1, "alice", "", True), (2, "200", "", True), (3, "200", "The Boss", True)],
)
def test_what_a_trusted_account_says_counts_as_the_option_says(
    World: Any, parse: int, number: str, display: str, passed_on: bool
) -> None:
    """``parseidentity``: ignored, passed on, also the number, also the name."""
    _, request = called(World, IdentityRules(asserted=parse), {"trusted_identity": True}, fields=ASSERTED)
    assert (request.from_.uri.user, request.from_.display) == (number, display)
    assert (request.get("p-asserted-identity") is not None) == passed_on


@pytest.mark.parametrize(
    "claim",
    ["sip:1%0D%0AX:y@e.example", "sip:1%00@e.example", "tel:1%E2%80%8B2", "sip:%D9%A1@e.example", "urn:x:y"],
)
def test_c9_a_trusted_account_s_claim_is_a_number_or_a_name(World: Any, claim: str) -> None:
    """C9: with a character that is in neither it is neither shown nor passed on."""
    trusted = {"trusted_identity": True, "caller_number": "100"}
    asserted = ("P-Asserted-Identity", f'"Al" <{claim}>')
    _, request = called(World, IdentityRules(asserted=3), trusted, fields=[asserted])
    assert request.from_.uri.user == "alice"
    assert request.get("p-asserted-identity") is None
    assert b"%0D" not in request.to_bytes()


def test_parameters_of_the_caller_s_number_are_not_part_of_it(World: Any) -> None:
    """They say which carrier it belongs to, and the like."""
    asserted = ("P-Asserted-Identity", "<sip:+3615;cpc=payphone@e.example;user=phone>")
    _, request = called(World, IdentityRules(asserted=2), {"trusted_identity": True}, fields=[asserted])
    assert request.from_.uri.user == "+3615"


def test_a_message_has_the_same_rules(World: Any) -> None:
    """MESSAGE names the account as INVITE does, and is refused as INVITE is."""
    world = World(FakeWire(FakeClock()))
    alice, bob = world.phone("alice", account={"caller_number": "100"}), world.phone("bob")
    sent = alice.message("sip:bob@10.0.0.1", "hello")
    world.until(lambda: sent.done)
    assert [r.from_.uri.user for r in bob.requests if r.method == "MESSAGE"] == ["100"]
    world.settled()
