"""What the limits of accounts, and of everybody who owns them, say about a call. Pure: the answer says why.

Source: the original's guide, 1.2 and 5.6: owners are consulted for channels, allowed partners and prefixes.
How many channels are in use is known to the call store alone, which counts them for all nodes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mizu.model import CARRIERS, Account, AccountType, ChannelLimit, Limits

EVERY = "*"
_PLUS, _INTERNATIONAL = "+", "00"
_SERVICE = str.maketrans("", "", "*#")
_OWNERS = (AccountType.RESELLER, AccountType.OWNER, AccountType.TRAFFIC_OWNER, AccountType.GATEWAY_OWNER)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is refused, or a route not taken."""

    code: str  #: stable word for CDRs: ``partner``, ``prefix``, ``prefix_blocked``, ...
    account_id: int  #: whose limit it is
    text: str


def limits_of(account_id: int, fields: Mapping[str, Any]) -> Limits:
    """
    The limits of an account from those of its fields that limit anything, as they are stored.

    :param fields: ``max_channels``, ``allowed_partners``, ``enabled_prefixes``, ``enabled_tech_prefixes``,
        ``blocked_prefixes``, ``only_test_calls``, ``test_prefix``, each as in ``mizu.accounts.call_fields``;
        ``members``: ids of the accounts in the groups that ``allowed_partners`` names.
    """
    partners = _listed(fields.get("allowed_partners", EVERY))
    tech_prefixes = _listed(fields.get("enabled_tech_prefixes") or EVERY)
    blocked = _listed(fields.get("blocked_prefixes", ""))
    return Limits(
        account_id,
        fields.get("max_channels", 0),
        None if partners is None else frozenset((*_ids(partners), *fields.get("members", ()))),
        _listed(fields.get("enabled_prefixes", EVERY)),
        ("",) if blocked is None else blocked,
        None if tech_prefixes is None else frozenset(tech_prefixes),
        _listed(fields.get("test_prefix") or EVERY),
        fields.get("only_test_calls", False),
    )


def _ids(items: Iterable[str]) -> Iterable[int]:
    """Those of accounts; the others are groups."""
    return (int(item) for item in items if item.isdigit())


def _listed(text: str) -> tuple[str, ...] | None:
    """The items of a comma list; ``None``: all there are."""
    return None if text == EVERY else tuple(item for item in text.split(",") if item)


def channels_wanted(*parties: Account | None) -> tuple[ChannelLimit, ...]:
    """The accounts with a limit of channels that a call of these parties counts for, each once."""
    wanted: dict[int, ChannelLimit] = {}
    for party in parties:
        for one in party.limits if party is not None else ():
            if one.max_channels:
                wanted.setdefault(one.account_id, ChannelLimit(one.account_id, one.max_channels))
    return tuple(wanted.values())


def caller_refusal(caller: Account, called: str) -> Refusal | None:
    """May the account call this number, by its own prefixes and those of its owners?"""
    return _prefixes(caller.limits, _number(caller, called)) if caller.limits else None


def party_refusal(
    caller: Account, party: Account | None, called: str, *, is_test: bool = False
) -> Refusal | None:
    """
    May the call go to this user, or by this gateway?

    :param party: ``None``: by a trunk that has no account, which no list of partners can name.
    :param is_test: it is a test call.
    """
    if party is None:
        chooser = next((one for one in caller.limits if one.partners is not None), None)
        if chooser is None:
            return None
        return Refusal("partner", chooser.account_id, "a trunk without account is on no list of partners")
    if party.type not in CARRIERS:
        return None if caller.type in CARRIERS else _circle(caller, party)
    if not (caller.limits or party.limits):
        return None
    number = _number(caller, called)
    return (
        _partners(caller, party)
        or _prefixes(party.limits, number)
        or _tech_prefix(party.limits, caller.tech_prefix)
        or _only_tests(party.limits, number.lstrip(_PLUS), is_test=is_test)
    )


def _number(caller: Account, called: str) -> str:
    """The called number without tech prefix."""
    return called.removeprefix(caller.tech_prefix)


def _partners(caller: Account, gateway: Account) -> Refusal | None:
    """Each list on the one side must name the other, or an owner of it: as account or by a group."""
    for side, other in ((caller, gateway), (gateway, caller)):
        for one in side.limits:
            if one.partners is not None and one.partners.isdisjoint((other.id, *other.owners)):
                text = f"account {one.account_id} does not allow account {other.id} as partner"
                return Refusal("partner", one.account_id, text)
    return None


def _prefixes(chain: Iterable[Limits], number: str) -> Refusal | None:
    digits = number.lstrip(_PLUS)
    for one in chain:
        if one.enabled_prefixes is not None and not digits.startswith(one.enabled_prefixes):
            return Refusal("prefix", one.account_id, f"account {one.account_id} does not allow {digits}")
        if one.blocked_prefixes and _may_begin(number, one.blocked_prefixes):
            return Refusal("prefix_blocked", one.account_id, f"account {one.account_id} blocks {digits}")
    return None


def _may_begin(number: str, prefixes: tuple[str, ...]) -> bool:
    """
    Can the far side take a number for one with such a prefix? The plus sign and 00 are one to it; it may
    leave out ``*`` and ``#``, or take what is before a part of the number for the code of a service (
    ``#31#``, ``*67``), whose length we do not know.
    """
    digits = number.lstrip(_PLUS)
    if digits.startswith(prefixes):
        return True
    if len(digits) < len(number) and (_INTERNATIONAL + digits).startswith(prefixes):
        return True
    plain = digits.translate(_SERVICE)
    if plain.startswith(_INTERNATIONAL) and plain.lstrip("0").startswith(prefixes):
        return True
    if len(plain) == len(digits):
        return False
    code = len(digits) - len(digits.lstrip("0123456789"))  # digits before the first * or #
    return any(plain.startswith(prefixes, at) for at in (0, *range(code, len(plain))))


def _tech_prefix(chain: Iterable[Limits], given: str) -> Refusal | None:
    """Calls without a tech prefix always pass."""
    for one in chain:
        if given and one.tech_prefixes is not None and given not in one.tech_prefixes:
            return Refusal("tech_prefix", one.account_id, f"account {one.account_id} refuses prefix {given}")
    return None


def _only_tests(chain: Iterable[Limits], digits: str, *, is_test: bool) -> Refusal | None:
    """Of a gateway under test (``onlytestcalls`` and ``testprefix`` of the original)."""
    for one in chain:
        if one.only_test_calls and not is_test:
            return Refusal("test_calls", one.account_id, f"account {one.account_id} takes test calls only")
        if one.test_prefixes is not None and not digits.startswith(one.test_prefixes):
            text = f"account {one.account_id} takes only calls that begin with its test prefix"
            return Refusal("test_prefix", one.account_id, text)
    return None


def _circle(caller: Account, called: Account) -> Refusal | None:
    """
    Users call each other only inside the same circle. Circle 0 is that of everybody; the others are of one
    owner at the top, so that nobody puts an account into a circle of somebody else's.
    """
    circle = caller.calling_circle
    if circle == called.calling_circle and (circle == 0 or _top(caller) == _top(called)):
        return None
    text = f"account {called.id} is not in the calling circle of account {caller.id}"
    return Refusal("calling_circle", called.id, text)


def _top(account: Account) -> int | None:
    """Who owns all of it; an owner without owner: itself; ``None``: an account of nobody's."""
    if account.owners:
        return account.owners[-1]
    return account.id if account.type in _OWNERS else None
