"""Limits of an account and of its owners."""

from typing import Any

import pytest

from mizu.accounts.limits import (
    caller_refusal,
    channels_wanted,
    limits_of,
    party_refusal,
)
from mizu.model import Account, AccountType, Limits


def account(first_id: int, *chain: dict[str, Any], type_: AccountType = AccountType.ENDUSER, **fields: Any):
    """An account and its owners: of ids ``first_id`` and upward, each with its limits."""
    limits = [limits_of(number, one) for number, one in enumerate(chain, first_id)]
    return Account(
        first_id,
        f"u{first_id}",
        type=type_,
        owners=tuple(range(first_id + 1, first_id + len(chain))),
        limits=tuple(one for one in limits if one != Limits(one.account_id)),
        **fields,
    )


def gateway(first_id: int, *chain: dict[str, Any], **fields: Any):
    return account(first_id, *chain, type_=AccountType.GATEWAY, **fields)


def code(refusal):
    return refusal.code if refusal is not None else None


def test_a_call_counts_for_everybody_who_limits_channels():
    """For the account and each owner with a limit, once, whichever side they are on."""
    caller = account(11, {"max_channels": 2}, {}, {"max_channels": 10})
    callee = account(21, {}, {"max_channels": 5})
    assert channels_wanted(caller) == ((11, 2), (13, 10))
    assert channels_wanted(caller, callee) == ((11, 2), (13, 10), (22, 5))
    assert channels_wanted(caller, caller, None) == ((11, 2), (13, 10))
    assert channels_wanted(account(1, {})) == ()


@pytest.mark.parametrize(
    ("sender", "carrier", "allowed"),
    [
        (("*", "*"), ("*",), True),
        (("21", "*"), ("*",), True),
        (("22,21", "*"), ("*",), True),
        (("2", "*"), ("*",), False),
        (("*", "99"), ("*",), False),
        (("*", "21"), ("11",), True),
        (("*",), ("12",), False),
        (("22",), ("*", "*"), True),
        (("*",), ("*", "99"), False),
        (("",), ("*",), False),
        (("g7",), ("*",), True),
        (("g8", "g7"), ("*",), False),
        (("*",), ("g5,99",), True),
        (("*", "*"), ("g5",), True),
        (("7",), ("*",), False),
    ],
)
def test_both_sides_and_their_owners_choose_their_partners(sender, carrier, allowed):
    """A list names the account of the other side, one of its owners, or a group of any of them."""
    members = {"g5": [12, 11], "g7": [21]}  # as the store adds them

    def listed(text):
        found = [member for group in members if group in text for member in members[group]]
        return {"allowed_partners": text, "members": found}

    left = account(11, *map(listed, sender))
    right = gateway(21, *map(listed, carrier))
    assert code(party_refusal(left, right, "361")) == (None if allowed else "partner")


def test_partners_are_about_gateways_only():
    """Users call each other whatever their lists say; a trunk without account can be on no list."""
    chosen = account(11, {"allowed_partners": "21"})
    assert party_refusal(chosen, account(31, {"allowed_partners": "99"}), "361") is None
    assert code(party_refusal(chosen, None, "361")) == "partner"
    assert party_refusal(account(11, {"max_channels": 1}), None, "361") is None


@pytest.mark.parametrize(
    ("enabled", "blocked", "owner", "called", "refused"),
    [
        ("*", "", "*", "3611234567", None),
        ("361,49", "", "*", "3611234567", None),
        ("361,49", "", "*", "+3611234567", None),
        ("361,49", "", "*", "441234567", "prefix"),
        ("*", "3690123", "*", "36901234567", "prefix_blocked"),
        ("*", "3690123", "*", "3690124", None),
        ("*", "*", "*", "3690124", "prefix_blocked"),
        ("36", "", "49", "361", "prefix"),
        ("", "", "*", "361", "prefix"),
    ],
)
def test_owners_limit_the_numbers_that_may_be_called(enabled, blocked, owner, called, refused):
    """Allowed by the account and by each owner, blocked by none of them: of callers and of gateways."""
    chain = ({"enabled_prefixes": enabled, "blocked_prefixes": blocked}, {"enabled_prefixes": owner})
    assert code(caller_refusal(account(1, *chain), called)) == refused
    assert code(party_refusal(account(9, {}), gateway(1, *chain), called)) == refused
    assert party_refusal(account(9, {}), account(1, *chain), called) is None


@pytest.mark.parametrize(
    ("called", "refused"),
    [
        ("001900555111", True),
        ("+001900555111", True),
        ("0001900555111", True),
        ("01900555111", False),
        ("1*900555111", True),
        ("1900#555111", True),
        ("*1900555111", True),
        ("#31#1900555111", True),
        ("*671900555111", True),
        ("*31*001900555111", True),
        ("361#1900555", True),
        ("361900555", False),
        ("#31#361900554", False),
        ("*43", False),
        ("36155501#", False),
        ("00881", True),
        ("+881", True),
        ("881", False),
    ],
)
def test_a_blocked_prefix_is_blocked_however_it_may_be_read(called, refused):
    """00 is a plus sign; ``*`` and ``#`` may be left out, or end the code of a service. Of gateways too."""
    limits = {"blocked_prefixes": "1900555,*21,0088"}
    found = code(caller_refusal(account(1, limits), called))
    assert found == code(party_refusal(account(9, {}), gateway(1, limits), called))
    assert found == ("prefix_blocked" if refused else None)


def test_an_allowed_prefix_is_compared_as_dialled():
    """But for the plus sign: how 00 and service codes are meant is known to who writes the list."""
    sender = account(1, {"enabled_prefixes": "36,0049,*21"})
    for called in ("361", "+361", "0049", "*21*361#"):
        assert caller_refusal(sender, called) is None
    for called in ("0036", "49", "#31#361", "3*6", "*361"):
        assert code(caller_refusal(sender, called)) == "prefix"


def test_the_tech_prefix_of_the_caller_is_no_part_of_the_number():
    """Who is known by a tech prefix dials it in front of every number."""
    sender = account(1, {"enabled_prefixes": "36"}, tech_prefix="777")
    assert caller_refusal(sender, "777361") is None
    assert code(caller_refusal(sender, "77749")) == "prefix"


def test_a_gateway_chooses_its_tech_prefixes():
    """Empty or ``*``: all; a call without one always passes."""
    only = gateway(2, {"enabled_tech_prefixes": "100,200"})
    assert party_refusal(account(1, {}, tech_prefix="100"), only, "100361") is None
    assert code(party_refusal(account(1, {}, tech_prefix="300"), only, "300361")) == "tech_prefix"
    assert party_refusal(account(1, {}), only, "361") is None
    for every in ("", "*"):
        one = gateway(2, {"enabled_tech_prefixes": every})
        assert party_refusal(account(1, {}, tech_prefix="300"), one, "300361") is None


def test_a_gateway_under_test_takes_test_calls_only():
    """``onlytestcalls`` and ``testprefix`` of the original."""
    caller = account(1, {})
    tested = gateway(2, {"only_test_calls": True})
    assert code(party_refusal(caller, tested, "361")) == "test_calls"
    assert party_refusal(caller, tested, "361", is_test=True) is None
    by_prefix = gateway(2, {}, {"test_prefix": "999"})
    assert code(party_refusal(caller, by_prefix, "361", is_test=True)) == "test_prefix"
    assert party_refusal(caller, by_prefix, "999361") is None


def test_accounts_call_each_other_inside_their_circle():
    """``UserGroup`` of the original; 0 is a circle like any other; carriers are in none."""
    five = account(1, {}, calling_circle=5)
    assert party_refusal(account(1, {}), account(2, {}), "2") is None
    assert party_refusal(five, account(2, {}, calling_circle=5), "2") is None
    assert code(party_refusal(five, account(2, {}), "2")) == "calling_circle"
    assert party_refusal(five, gateway(2, {}), "2") is None
    carrier = account(3, {}, type_=AccountType.TRAFFIC_SENDER)
    assert party_refusal(carrier, five, "1") is None


def test_a_circle_is_of_one_owner_at_the_top():
    """A reseller cannot put its account into the circle of another one's."""
    ours, theirs = account(1, {}, {}, {}, calling_circle=5), account(3, {}, {}, calling_circle=5)
    same_top = account(2, {}, {}, calling_circle=5)
    assert ours.owners[-1] == same_top.owners[-1] == 3
    assert party_refusal(ours, same_top, "2") is None
    assert code(party_refusal(ours, theirs, "3")) == "calling_circle"
    owner = account(3, {}, type_=AccountType.RESELLER, calling_circle=5)
    assert party_refusal(ours, owner, "3") is None
    assert code(party_refusal(ours, account(9, {}, calling_circle=5), "9")) == "calling_circle"
    assert party_refusal(account(8, {}, calling_circle=5), account(9, {}, calling_circle=5), "9") is None
    assert party_refusal(account(1, {}, {}, {}), account(7, {}, {}), "7") is None
