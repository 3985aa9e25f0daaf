"""Which of our accounts at a SIP server comes next, and how it leaves and comes back. Pure.

Source: the original's guide, 1.4. Higher priority first; among equal ones the one that was used longest ago.
Out of rotation: credit 0, ``enabled`` false, or as many failures in a row as the threshold. Back: after a
success (of a call that was still under way), or when an operator says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

FAILURES_MAX = 30  #: the original's default; the option is ``sipaccount_maxfails``


@dataclass(frozen=True, slots=True)
class SipAccount:
    """An account that we have at a SIP server."""

    id: int
    sip_server_id: int
    username: str
    password: str = field(default="", repr=False)
    caller_number: str = ""  #: shown to the SIP server; empty: the caller's own
    credit_micro: int | None = None  #: millionths; ``None``: not counted
    enabled: bool = True
    failures: int = 0  #: failed calls in a row
    last_used_at: datetime | None = None
    priority: int = 0
    version: int = 1  #: grows with every change by an operator
    created_at: datetime | None = None  #: when it was entered


def why_unused(account: SipAccount, failures_max: int = FAILURES_MAX) -> str:
    """``disabled``, ``no_credit`` or ``failing``; empty: it is in rotation."""
    if not account.enabled:
        return "disabled"
    if account.credit_micro is not None and account.credit_micro <= 0:
        return "no_credit"
    return "failing" if account.failures >= failures_max else ""


def next_account(accounts: Iterable[SipAccount], failures_max: int = FAILURES_MAX) -> SipAccount | None:
    """The account for the next call; ``None``: none is in rotation."""
    usable = (one for one in accounts if not why_unused(one, failures_max))
    return min(usable, key=_turn, default=None)


def _turn(account: SipAccount) -> tuple[int, float, int]:
    used_s = account.last_used_at.timestamp() if account.last_used_at is not None else 0.0
    return -account.priority, used_s, account.id


def used(account: SipAccount, at: datetime) -> SipAccount:
    """A call is sent with it."""
    return replace(account, last_used_at=at)


def failed(account: SipAccount) -> SipAccount:
    """A call with it failed, by the account's own fault."""
    return replace(account, failures=account.failures + 1)


def succeeded(account: SipAccount) -> SipAccount:
    """A call with it was answered."""
    return replace(account, failures=0)


def charged(account: SipAccount, amount_micro: int) -> SipAccount:
    """A call with it cost so much; credit does not go below 0."""
    if account.credit_micro is None:
        return account
    return replace(account, credit_micro=max(0, account.credit_micro - amount_micro))


def restored(account: SipAccount) -> SipAccount:
    """An operator says it works again. Credit is given by itself."""
    return replace(account, failures=0, enabled=True)


def shown_number(account: SipAccount, caller_number: str) -> str:
    """The number that the SIP server sees as caller."""
    return account.caller_number or caller_number
