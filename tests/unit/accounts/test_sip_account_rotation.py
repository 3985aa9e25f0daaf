"""Which account at a SIP server is next, and how one leaves and comes back."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mizu.accounts.rotation import (
    SipAccount,
    charged,
    failed,
    next_account,
    restored,
    shown_number,
    succeeded,
    used,
    why_unused,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def account(number: int, **values) -> SipAccount:
    return SipAccount(id=number, sip_server_id=9, username=f"line{number}", **values)


def turns(accounts: list[SipAccount], count: int) -> list[int]:
    """The accounts of so many calls, one after the other."""
    order = []
    for call in range(count):
        chosen = next_account(accounts)
        if chosen is None:
            break
        order.append(chosen.id)
        later = used(chosen, NOON + timedelta(seconds=call))
        accounts = [later if one.id == chosen.id else one for one in accounts]
    return order


def test_equal_priority_takes_turns():
    """Round robin, those never used first, then the one used longest ago."""
    assert turns([account(1), account(2), account(3)], 7) == [1, 2, 3, 1, 2, 3, 1]
    assert turns([account(1, last_used_at=NOON), account(2)], 1) == [2]


def test_higher_priority_goes_first():
    """The others only when none of it is in rotation."""
    accounts = [account(1), account(2, priority=5), account(3, priority=5)]
    assert turns(accounts, 4) == [2, 3, 2, 3]
    assert turns([account(1), account(2, priority=5, enabled=False)], 2) == [1, 1]


def test_credit_zero_takes_it_out():
    """At 0 the server moves to the next; without a credit it is not counted."""
    low = charged(account(1, credit_micro=1_500_000), 1_000_000)
    assert (low.credit_micro, why_unused(low)) == (500_000, "")
    gone = charged(low, 1_000_000)
    assert (gone.credit_micro, why_unused(gone)) == (0, "no_credit")
    assert next_account([gone]) is None
    assert charged(account(1), 10**9) == account(1)


def test_thirty_failures_in_a_row_take_it_out():
    """29 do not; a success in between begins anew; an operator or a success brings it back."""
    one = account(1)
    for _ in range(29):
        one = failed(one)
    assert why_unused(one) == ""
    assert why_unused(succeeded(one)) == ""
    one = failed(one)
    assert (why_unused(one), why_unused(one, failures_max=31)) == ("failing", "")
    assert why_unused(succeeded(one)) == ""
    assert why_unused(restored(one)) == ""
    assert succeeded(one).failures == restored(one).failures == 0


def test_disabled_is_not_used_until_an_operator_says_so():
    """A success of a call that was under way does not enable it."""
    off = account(1, enabled=False)
    assert why_unused(off) == why_unused(succeeded(off)) == "disabled"
    assert why_unused(restored(off)) == ""


def test_the_caller_number_of_the_account_or_the_callers_own():
    """Blank keeps the real caller."""
    assert shown_number(account(1), "361") == "361"
    assert shown_number(account(1, caller_number="362"), "361") == "362"


def test_the_password_is_in_no_repr():
    """What is logged by accident has no secret."""
    assert "sesame" not in repr(account(1, password="sesame"))


events = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["use", "fail", "win", "pay", "off", "restore"])),
    max_size=200,
)


@given(events, st.lists(st.integers(-2, 2), min_size=4, max_size=4))
def test_whatever_happens_only_good_accounts_are_chosen(history, priorities):
    """After any history the choice is in rotation and none with higher priority was passed over."""
    accounts = [account(n, priority=p, credit_micro=5_000_000) for n, p in enumerate(priorities)]
    changes = {
        "use": lambda one: used(one, NOON),
        "fail": failed,
        "win": succeeded,
        "pay": lambda one: charged(one, 3_000_000),
        "off": lambda one: SipAccount(one.id, 9, one.username, enabled=False),
        "restore": restored,
    }
    for place, event in history:
        accounts[place] = changes[event](accounts[place])
        chosen = next_account(accounts, failures_max=3)
        good = [one for one in accounts if not why_unused(one, 3)]
        assert (chosen is None) == (not good)
        assert chosen is None or (chosen in good and chosen.priority == max(one.priority for one in good))
