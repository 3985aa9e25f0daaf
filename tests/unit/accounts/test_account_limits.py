"""Limits of an account and of its owners."""

import pytest

from mizu.accounts.limits import (
    Limits,
    channels,
    circle,
    only_tests,
    partners,
    prefixes,
    tech_prefix,
)


def chain(*limits: dict) -> list[Limits]:
    """Accounts 1, 2, ... upward."""
    return [Limits(number, **values) for number, values in enumerate(limits, 1)]


@pytest.mark.parametrize(
    ("maxima", "in_use", "refused_by"),
    [
        ((0, 0), (100, 100), None),
        ((2, 0), (1, 9), None),
        ((2, 0), (2, 9), 1),
        ((2, 10), (1, 10), 2),
        ((0, 1), (0, 1), 2),
        ((0, 0, 5), (0, 0, 5), 3),
    ],
)
def test_every_owner_limits_the_calls_at_a_time(maxima, in_use, refused_by):
    """0 is no limit of its own; an owner's limit counts everything below it."""
    found = channels(chain(*({"max_channels": most} for most in maxima)), lambda one: in_use[one - 1])
    assert (found.account_id if found else None) == refused_by
    assert found is None or found.code == "max_channels"


@pytest.mark.parametrize(
    ("sender", "gateway", "allowed"),
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
    ],
)
def test_both_sides_and_their_owners_choose_their_partners(sender, gateway, allowed):
    """A list names the account of the other side or one of its owners; ``*`` allows all, empty none."""
    left = [Limits(11 + n, allowed_partners=one) for n, one in enumerate(sender)]
    right = [Limits(21 + n, allowed_partners=one) for n, one in enumerate(gateway)]
    assert (partners(left, right) is None) == allowed


@pytest.mark.parametrize(
    ("enabled", "blocked", "owner", "called", "code"),
    [
        ("*", "", "*", "3611234567", None),
        ("361,49", "", "*", "3611234567", None),
        ("361,49", "", "*", "+3611234567", None),
        ("361,49", "", "*", "441234567", "prefix"),
        ("*", "3690123", "*", "36901234567", "prefix_blocked"),
        ("*", "3690123", "*", "3690124", None),
        ("36", "", "49", "361", "prefix"),
        ("", "", "*", "361", "prefix"),
    ],
)
def test_owners_limit_the_numbers_that_may_be_called(enabled, blocked, owner, called, code):
    """Allowed by the account and by each owner, blocked by none of them."""
    mine = {"enabled_prefixes": enabled, "blocked_prefixes": blocked}
    found = prefixes(chain(mine, {"enabled_prefixes": owner}), called)
    assert (found.code if found else None) == code


def test_a_gateway_chooses_its_tech_prefixes():
    """Empty or ``*``: all; a call without one always passes."""
    assert tech_prefix(chain({"enabled_tech_prefixes": "100,200"}), "100") is None
    assert tech_prefix(chain({"enabled_tech_prefixes": "100,200"}), "300").code == "tech_prefix"
    assert tech_prefix(chain({"enabled_tech_prefixes": "100"}), "") is None
    assert tech_prefix(chain({}), "300") is None
    assert tech_prefix(chain({"enabled_tech_prefixes": "*"}), "300") is None


def test_a_gateway_under_test_takes_test_calls_only():
    """``onlytestcalls`` and ``testprefix`` of the original."""
    assert only_tests(chain({"only_test_calls": True}), "361", is_test=False).code == "test_calls"
    assert only_tests(chain({"only_test_calls": True}), "361", is_test=True) is None
    assert only_tests(chain({"test_prefix": "999"}), "361", is_test=True).code == "test_prefix"
    assert only_tests(chain({"test_prefix": "999"}), "999361", is_test=False) is None


def test_accounts_call_each_other_inside_their_circle():
    """``UserGroup`` of the original; 0 is a circle like any other."""
    assert circle(Limits(1), Limits(2)) is None
    assert circle(Limits(1, calling_circle=5), Limits(2, calling_circle=5)) is None
    assert circle(Limits(1, calling_circle=5), Limits(2)).code == "calling_circle"
