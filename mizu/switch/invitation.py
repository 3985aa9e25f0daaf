"""The INVITE that callee legs get, made from the caller's: pure."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mizu.model import Account, Route
from mizu.sip.dialog import Field
from mizu.sip.message import Request
from mizu.sip.numbers import called_text
from mizu.sip.uri import SipUri
from mizu.switch.callee import Invitation
from mizu.switch.fields import (
    ASSERTING_INVITE,
    INVITE,
    TRUSTED_INVITE,
    body_fields,
    from_value,
    passed,
    uri_host,
    wants_privacy,
)
from mizu.switch.identity import may_pass
from mizu.switch.ports import ALLOW, Ports

if TYPE_CHECKING:
    from mizu.switch.call import Call
    from mizu.switch.caller import CallerLeg

#: An invitation, and the function that makes our From from a tag. Named here, because the annotations of a
#: function inside a function are worked out for each call.
Invited = tuple[Invitation, Callable[[str], str]]

#: Of an INVITE without Max-Forwards (RFC 3261 16.6, step 3).
MAX_FORWARDS_DEFAULT = 70


def called_number(request: Request, domains: frozenset[str]) -> str | None:
    """
    Who is called, by the Request-URI: a number without separators, or a name (:mod:`mizu.sip.numbers`).

    :param domains: names that are ours; empty: all.
    :return: ``None``: nobody of ours, or nobody at all.
    """
    uri = request.request_uri
    if domains and isinstance(uri, SipUri) and uri.host.lower() not in domains:
        return None
    return called_text(uri) or None


def forwards(request: Request, ceiling: int) -> int:
    """Max-Forwards of what this request leads to: one less, also across a back-to-back user agent, or a loop
    of them would never end."""
    given = request.max_forwards
    return min((MAX_FORWARDS_DEFAULT if given is None else given) - 1, ceiling)


def inviter(
    ports: Ports, call: "Call", caller: "CallerLeg", account: Account, display: str
) -> Callable[[Route], Invited]:
    """
    Makes, for a route, the invitation and the function that makes our From from a tag.

    :param display: the caller's name as the called party sees it.
    """
    request = caller.tx.request
    settings = ports.settings
    body = caller.incoming_description(request.body)
    reliable = bool(body) or caller.reliable_wanted
    fields: list[Field] = [
        ("Max-Forwards", "max-forwards", str(forwards(request, settings.max_forwards))),
        ("Allow", "allow", ALLOW),
        ("Supported", "supported", "100rel, timer, replaces" if reliable else "timer, replaces"),
    ]
    if settings.server_name:
        fields.append(("User-Agent", "user-agent", settings.server_name))
    if settings.identity.passes_asserted(account):
        asserted = passed(request, ASSERTING_INVITE)
        if not may_pass(request):
            asserted = [field for field in asserted if field[1] != "p-asserted-identity"]
        fields += asserted
    else:
        fields += passed(request, TRUSTED_INVITE if account.trusted_identity else INVITE)
    fields += body_fields(request)
    interval_s = settings.session_expires_s if settings.session_timer else 0
    invitation = Invitation(tuple(fields), body, reliable, interval_s, settings.session_min_s)
    hidden = not account.trusted_identity and wants_privacy(request)
    uri = request.request_uri
    host = settings.domain
    if not host:
        host = uri_host(uri.host) if isinstance(uri, SipUri) else uri_host(caller.tx.flow.local[0])

    def invite_to(route: Route) -> Invited:
        number = route.caller_number or call.caller_number

        def make_from(tag: str) -> str:
            return from_value(display, number=number, host=host, tag=tag, hidden=hidden)

        return invitation, make_from

    return invite_to
