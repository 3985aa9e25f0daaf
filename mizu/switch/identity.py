"""
Who a caller says it is, and whether that counts: From, P-Asserted-Identity and P-Preferred-Identity
(RFC 3325), Remote-Party-ID, Diversion (RFC 5806). Pure.

Only accounts that are marked as trusted say who calls. Of all others nothing of it is believed or passed on:
the called party sees the account. Who pays is the account in either case.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mizu.model import Account
from mizu.sip.grammar import BadMessage
from mizu.sip.headers import NameAddr
from mizu.sip.message import Request
from mizu.sip.numbers import caller_text
from mizu.sip.uri import SipUri, TelUri

#: Headers that name the caller, the most trustworthy first.
ASSERTED: Final = ("p-asserted-identity", "p-preferred-identity", "remote-party-id")
#: Headers that an account without trust must not put somebody else into.
CLAIMS: Final = (*ASSERTED, "diversion")
#: User parts that claim nothing (RFC 3323 4.1.1.3).
NOBODY: Final = frozenset(("", "anonymous", "unavailable", "restricted"))
NAME_CHARS_MAX = 256
VALUES_MAX = 8  #: of one header that are looked at


class Shown(NamedTuple):
    """What the called party sees of the caller."""

    number: str
    display: str


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """Global options on identities."""

    asserted: int = 1  #: ``parseidentity``: 0 ignored, 1 passed on, 2 also the number, 3 also the name
    display: int = (
        1  #: ``parsesipdisplayname``: 0 the name in From counts for nothing; 3: ``mizu.auth.rules``
    )
    refuses_others: bool = False  #: ``untrustedidentity`` is ``refuse``

    @classmethod
    def of(cls, option: Callable[[str], Any]) -> "IdentityRules":
        """:param option: value of a global option."""
        return cls(
            int(option("parseidentity")),
            int(option("parsesipdisplayname")),
            option("untrustedidentity") == "refuse",
        )

    def refuses(self, request: Request, account: Account) -> bool:
        """Does the request claim to be of somebody it is not of, and is it to be refused for that?"""
        return self.refuses_others and not account.trusted_identity and claims_other(request, account)

    def passes_asserted(self, account: Account) -> bool:
        """May headers that name the caller go on to the called party?"""
        return account.trusted_identity and self.asserted > 0

    def shown(self, request: Request, account: Account) -> Shown:
        """What the called party sees. :raise BadMessage: From cannot be read."""
        if not account.trusted_identity:
            return Shown(account.caller_number or account.username, account.display_name)
        who = request.from_
        number = _number_of(who)
        display = who.display if self.display else account.display_name
        if self.asserted >= 2:
            asserted = _asserted(request)
            if asserted is not None:
                number = _number_of(asserted)
                if self.asserted >= 3 and asserted.display:
                    display = asserted.display
        return Shown(number or account.caller_number or account.username, display[:NAME_CHARS_MAX])


def claims_other(request: Request, account: Account) -> bool:
    """Does From, or a header that names the caller, name somebody else than the account?"""
    own = {account.username, account.caller_number} | NOBODY
    if not _names(request.from_, own):
        return True
    for key in CLAIMS:
        if request.get(key) is None:
            continue
        for value in request.values(key)[:VALUES_MAX]:
            try:
                if not _names(NameAddr.parse(value), own):
                    return True
            except BadMessage:
                return True
    return False


def _names(who: NameAddr, own: set[str]) -> bool:
    uri = who.uri
    return isinstance(uri, SipUri | TelUri) and (uri.user in own or uri.user.lstrip("+") in own)


def _number_of(who: NameAddr) -> str:
    """Empty: none, or a text that is neither number nor name."""
    return caller_text(who.uri)


def may_pass(request: Request) -> bool:
    """Is P-Asserted-Identity fit for others to read: callers each, written as numbers or names?"""
    if request.get("p-asserted-identity") is None:
        return True
    values = request.values("p-asserted-identity")
    return len(values) <= VALUES_MAX and all(map(_readable, values))


def _readable(value: str) -> bool:
    try:
        uri = NameAddr.parse(value).uri
    except BadMessage:
        return False
    return bool(caller_text(uri)) or (isinstance(uri, SipUri) and not uri.user)


def _asserted(request: Request) -> NameAddr | None:
    """The first identity with a number in it."""
    for key in ASSERTED:
        if request.get(key) is None:
            continue
        for value in request.values(key)[:VALUES_MAX]:
            try:
                who = NameAddr.parse(value)
                if _number_of(who):
                    return who
            except BadMessage:
                continue
    return None
