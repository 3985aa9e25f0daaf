"""From an accepted INVITE to a call, or to the answer that refuses it; which routes the call may take."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mizu.accounts.limits import Refusal, caller_refusal, channels_wanted, party_refusal
from mizu.model import Account, CallRequest, Route
from mizu.sip.numbers import is_number
from mizu.sip.parser import BadMessage
from mizu.sip.session import agree_as_uas
from mizu.sip.transactions import ServerTransaction
from mizu.switch.call import Call
from mizu.switch.caller import CallerLeg
from mizu.switch.invitation import called_number, inviter

if TYPE_CHECKING:
    from mizu.switch.b2bua import Switchboard


def new_call(
    board: "Switchboard", tx: ServerTransaction, account: Account, domains: frozenset[str]
) -> Call | None:
    """
    The call an INVITE makes; ``None``: it was refused.

    :param domains: names that are ours; empty: all.
    """
    request = tx.request
    settings = board.settings
    number = called_number(request, domains)
    if number is None:
        board.nobody_has(tx, account)
        board.answer(tx, 404)
        return None
    if not (account.enabled and account.can_dial):
        board.answer(tx, 403)
        return None
    if board.comes_back(request.call_id, number):
        board.answer(tx, 482)
        return None
    interval = None
    if settings.session_timer:
        interval = agree_as_uas(request, ours_s=settings.session_expires_s, min_s=settings.session_min_s)
        if interval is None:
            board.answer(tx, 422, None, (("Min-SE", str(settings.session_min_s)),))
            return None
    if settings.identity.refuses(request, account):
        board.answer(tx, 403, "Identity Not Yours")
        return None
    shown = settings.identity.shown(request, account)
    channels = channels_wanted(account) if account.limits else ()
    call = Call(board.new_call_id(), board, shown.number, number, channels)
    try:
        leg = CallerLeg(call, board, tx, account, interval)
    except BadMessage as bad:
        board.answer(tx, bad.sip_status, str(bad))
        return None
    call.caller = leg
    expires_s = request.expires
    if expires_s is not None:
        call.patience_s = float(max(expires_s, 1))
    call.legs.append(leg)
    call.invite_to = inviter(board, call, leg, account, shown.display)
    return call


def allowed_routes(wanted: CallRequest, routes: Sequence[Route]) -> Sequence[Route] | Refusal:
    """
    The routes that the limits of both parties and of their owners leave, each with what the call counts for
    while it goes that way.

    :return: a refusal: they leave none of them, or the caller may not call the number.
    """
    caller, called = wanted.caller, wanted.called_number
    why = caller_refusal(caller, called)
    if why is not None:
        return why
    left = []
    for route in routes:
        refusal = None if route.own else _route_refusal(wanted, route)
        if refusal is None:
            left.append(route)
        elif why is None:
            why = refusal
    if why is not None and not left:
        return why
    if caller.limits or any(route.party is not None and route.party.limits for route in left):
        return [route._replace(channels=channels_wanted(caller, route.party)) for route in left]
    return left


def _route_refusal(wanted: CallRequest, route: Route) -> Refusal | None:
    """Why a route is not taken. Away from here go numbers alone: of what is none a carrier may make one."""
    caller, called = wanted.caller, wanted.called_number
    if route.account is None and not is_number(called, caller.tech_prefix):
        return Refusal("no_number", caller.id, f"{called!r} is no telephone number")
    return party_refusal(caller, route.party, called)
