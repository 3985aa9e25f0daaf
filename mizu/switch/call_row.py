"""What the row of a call says: at the answer, at the end."""

from typing import TYPE_CHECKING

from mizu.model import CallAnswered, CallClosed
from mizu.sip.message import reason_phrase
from mizu.switch.call_table import Outcome
from mizu.switch.callee import CalleeLeg
from mizu.switch.ports import address_text

if TYPE_CHECKING:
    from mizu.switch.call import Call


def answer_row(call: "Call", leg: CalleeLeg) -> CallAnswered:
    """The leg answered: who it is, and what rebuilds both dialogs."""
    assert leg.dialog is not None
    dialogs = f'{{"callee":{leg.dialog.to_json()}'
    caller = call.caller_leg
    if caller is not None and caller.dialog is not None:
        dialogs += f',"caller":{caller.dialog.to_json()}'
    route = leg.route
    party = route.party
    return CallAnswered(
        call.call_id,
        call.ports.wall(),
        route.name,
        party.id if party is not None else None,
        leg.call_id,
        address_text(leg.flow) if leg.flow is not None else "",
        dialogs + "}",
    )


def closed_row(call: "Call", outcome: Outcome, tried: CalleeLeg | None) -> CallClosed:
    """
    The call is over.

    :param tried: the leg that was tried last, for a call that nobody answered.
    """
    leg, route = call.winner or tried, call.route
    party = route.party if route is not None else None
    answer_s = call.answer_s if call.told else None
    until_s = answer_s if answer_s is not None else outcome.end_s
    return CallClosed(
        call_id=call.call_id,
        ring_at=call.ring_at,
        end_at=outcome.end_at,
        setup_s=max(until_s - call.setup_s, 0.0),
        talk_s=max(outcome.end_s - answer_s, 0.0) if answer_s is not None else 0.0,
        sip_status=outcome.status,
        sip_reason=outcome.reason or reason_phrase(outcome.status),
        ended_by=outcome.ended_by,
        cause=outcome.cause,
        route=route.name if route is not None else "",
        callee_account_id=party.id if party is not None else None,
        callee_sip_call_id=leg.call_id if leg is not None else "",
        callee_address=address_text(leg.flow) if leg is not None and leg.flow is not None else "",
    )
