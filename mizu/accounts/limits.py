"""Limits of an account and of everybody who owns it. Pure: routing gives the chain, the answer says why.

A chain is the account itself, then its owner, then the owner of that one, up to the top. Source: the
original's guide, 1.2 and 5.6: owners are consulted for channels, allowed partners and prefixes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

EVERY = "*"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one account of a chain limits."""

    account_id: int
    max_channels: int = 0  #: calls at a time with everything below; 0: no limit of its own
    allowed_partners: str = EVERY  #: comma list of ids, or ``*``
    enabled_prefixes: str = EVERY  #: of called numbers, comma list, or ``*``
    blocked_prefixes: str = ""
    enabled_tech_prefixes: str = ""  #: empty: all
    test_prefix: str = ""
    only_test_calls: bool = False
    calling_circle: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is refused."""

    code: str  #: stable word for CDRs: ``max_channels``, ``partner``, ``prefix``, ...
    account_id: int  #: whose limit it is
    text: str


Chain = Sequence[Limits]


def channels(chain: Chain, in_use: Callable[[int], int]) -> Refusal | None:
    """
    Is there room for one more call?

    :param in_use: calls at a time of an account with everything below it.
    """
    for one in chain:
        if one.max_channels and in_use(one.account_id) >= one.max_channels:
            text = f"account {one.account_id} has {one.max_channels} calls at a time at most"
            return Refusal("max_channels", one.account_id, text)
    return None


def partners(sender: Chain, gateway: Chain) -> Refusal | None:
    """
    May the sender use the gateway? Each list on the one side must allow the other side: the account itself
    or one of its owners.
    """
    for side, other in ((sender, gateway), (gateway, sender)):
        ids = {str(one.account_id) for one in other}
        for one in side:
            if one.allowed_partners != EVERY and ids.isdisjoint(one.allowed_partners.split(",")):
                text = (
                    f"account {one.account_id} does not allow account {other[0].account_id if other else '-'}"
                )
                return Refusal("partner", one.account_id, text)
    return None


def prefixes(chain: Chain, called: str) -> Refusal | None:
    """May the called number, digits without tech prefix, be called?"""
    called = called.lstrip("+")
    for one in chain:
        if one.enabled_prefixes != EVERY and not _begins(called, one.enabled_prefixes):
            return Refusal("prefix", one.account_id, f"account {one.account_id} may not call {called}")
        if one.blocked_prefixes and _begins(called, one.blocked_prefixes):
            return Refusal("prefix_blocked", one.account_id, f"account {one.account_id} blocks {called}")
    return None


def tech_prefix(chain: Chain, given: str) -> Refusal | None:
    """Does a gateway and its owners allow this tech prefix? Calls without one always pass."""
    for one in chain:
        allowed = one.enabled_tech_prefixes
        if given and allowed not in ("", EVERY) and given not in allowed.split(","):
            return Refusal("tech_prefix", one.account_id, f"account {one.account_id} refuses prefix {given}")
    return None


def only_tests(chain: Chain, called: str, *, is_test: bool) -> Refusal | None:
    """Does a gateway take only test calls, or only calls with its test prefix?"""
    for one in chain:
        if one.only_test_calls and not is_test:
            return Refusal("test_calls", one.account_id, f"account {one.account_id} takes test calls only")
        if one.test_prefix and not _begins(called.lstrip("+"), one.test_prefix):
            text = f"account {one.account_id} takes only calls that begin with {one.test_prefix}"
            return Refusal("test_prefix", one.account_id, text)
    return None


def circle(caller: Limits, called: Limits) -> Refusal | None:
    """May one account call the other? Only inside the same calling circle."""
    if caller.calling_circle == called.calling_circle:
        return None
    text = f"account {called.account_id} is not in the calling circle of account {caller.account_id}"
    return Refusal("calling_circle", called.account_id, text)


def _begins(called: str, listed: str) -> bool:
    return listed == EVERY or any(prefix and called.startswith(prefix) for prefix in listed.split(","))
