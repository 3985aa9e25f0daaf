"""What a request inside a dialog means for the call: which are answered here, which go to the other party.

One function for each method, found by :data:`METHODS`. RFC 3261 12.2, 14, 15; RFC 2976/6086 INFO; RFC 3262
PRACK; RFC 3311 UPDATE; RFC 3428 MESSAGE; RFC 3515 REFER; RFC 6665 NOTIFY.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mizu.sip.dialog import Dialog, Field
from mizu.sip.message import Request, Response
from mizu.sip.session import agree_as_uas
from mizu.sip.transactions import ServerTransaction
from mizu.sip.wire import answer_bytes
from mizu.switch.callee import CalleeLeg, Early
from mizu.switch.caller import CallerLeg
from mizu.switch.fields import BYE, OTHER, OTHER_RESPONSE, body_fields, passed, passed_pairs
from mizu.switch.leg import SDP, Leg, LegState
from mizu.switch.ports import ALLOW, SUPPORTED
from mizu.switch.refer import refer

if TYPE_CHECKING:
    from mizu.switch.sent import LegRequest

Pair = tuple[str, str]
#: Statuses of in-dialog requests that say the dialog or its session is gone (RFC 5057 5.1).
GONE = frozenset({408, 481})


def receive(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """A request in a dialog of this leg; its sender has been checked."""
    request = tx.request
    if leg.state is LegState.OVER or (leg.state is LegState.LEAVING and request.method != "BYE"):
        leg.reply(tx, 481)
        return
    if not dialog.in_order(request):
        leg.reply(tx, 500, (("Retry-After", "0"),), reason="CSeq Out of Order")
        return
    leg.flow = tx.flow
    method = METHODS.get(request.method)
    if method is None:
        leg.reply(tx, 405, (("Allow", ALLOW),))
    else:
        method(leg, tx, dialog)


# ---------------------------------------------------------------- the end


def bye(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """RFC 3261 15.1.2. Before the answer only the caller may (15); to us it is then a CANCEL."""
    if leg.state is LegState.SETUP:
        if not isinstance(leg, CallerLeg):
            leg.reply(tx, 481)
            return
        leg.reply(tx, 200)
        leg.call.caller_cancelled(passed_pairs(tx.request, BYE))
        return
    leg.reply(tx, 200)
    leg.ports.metrics.bye_answered(0.0)  # at once, by the switch itself
    crossing = leg.state is LegState.LEAVING
    fields = passed(tx.request, BYE)
    if leg.answer_repeat is not None:
        leg.stop_answer()
    if crossing:
        leg.finish()
        return
    leg.state = LegState.LEAVING
    if leg.transfer is None or not leg.transfer.party_left(leg):
        leg.call.party_left(leg, fields)
    leg.finish()


# ---------------------------------------------------------------- offers in an answered call


def invite(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """re-INVITE (RFC 3261 14.2): a new offer, a hold, a session refresh, a moved phone."""
    request = tx.request
    if leg.answer_repeat is not None and leg.on_ack is None:
        leg.stop_answer()  # who sends the next INVITE has our 2xx; its ACK was lost and told nothing new
    if leg.state is LegState.SETUP or leg.server_invite is not None or leg.answer_repeat is not None:
        # 14.2: one after the other. An early dialog has no session that could be changed by INVITE.
        leg.reply(tx, 500, (("Retry-After", str(1 + int(leg.ports.chance() * 9))),))
        return
    if leg.client_invite is not None or leg.session.state != "stable":
        leg.reply(tx, 491)
        return
    if _too_small(leg, tx):
        return
    dialog.refresh_target(request)
    leg.note_peer(request)
    if request.body and request.body == leg.session.remote and leg.session.local and not leg.fix_nat:
        _accept_again(leg, tx)
        return
    peer = leg.peer
    if peer is None or peer.state is not LegState.UP or leg.transfer is not None:
        leg.reply(tx, 491)
        return
    if peer.busy:
        leg.reply(tx, 491)
        return
    leg.server_invite = tx
    tx.answer(100, answer_bytes(request, 100))
    body = leg.incoming_description(request.body)
    relay = _Relay(leg, tx, peer)
    tx.on_cancel = relay.cancelled
    fields: list[Field] = [("Allow", "allow", ALLOW), ("Supported", "supported", SUPPORTED)]
    if peer.interval is not None:
        fields.append(peer.interval.header(uas=False))
    sent = _offer(peer, "INVITE", [*fields, *body_fields(request)], body, relay.done, relay.progress)
    relay.sent = sent
    if not request.body:
        sent.auto_ack = False


def _offer(
    peer: Leg,
    method: str,
    fields: list[Field],
    body: bytes,
    done: Callable[[int, Response | None], None],
    progress: Callable[[Response], None] | None = None,
) -> "LegRequest":
    """Send an offer (or, without a body, the wish for one) to the other party."""
    body = peer.outgoing_description(body)
    sent = peer.send(method, fields, body, done, progress)
    if method == "INVITE" and not sent.finished:
        peer.client_invite = sent
    return sent


def _accept_again(leg: Leg, tx: ServerTransaction) -> None:
    """The very offer that holds already: a refresh. The answer that holds is given again."""
    leg.session.received(tx.request.body)
    leg.session.sent(leg.session.local)
    fields = [*_invite_answer_fields(leg, tx.request), ("Content-Type", "application/sdp")]
    _answer_invite(leg, tx, fields, leg.session.local, None)


def _answer_invite(
    leg: Leg,
    tx: ServerTransaction,
    fields: list[Pair],
    body: bytes,
    on_ack: Callable[[Request], None] | None,
) -> None:
    request = tx.request
    leg.accept_invite(tx, answer_bytes(request, 200, fields=fields, body=body), request.to.tag, on_ack)


def _invite_answer_fields(leg: Leg, request: Request) -> list[Pair]:
    """Contact, what we can, and the session timer as agreed by this request."""
    assert leg.flow is not None
    fields: list[Pair] = [
        ("Contact", leg.ports.contact(leg.flow)),
        ("Allow", ALLOW),
        ("Supported", SUPPORTED),
        *leg.ports.server_fields,
    ]
    interval = leg.interval
    if interval is not None:
        settings = leg.ports.settings
        agreed = agree_as_uas(request, ours_s=interval.interval_s, min_s=settings.session_min_s) or interval
        leg.agree(agreed)
        name, _, value = agreed.header(uas=True)
        fields.append((name, value))
        if agreed.peer_knows and not agreed.we_refresh:
            fields.append(("Require", "timer"))
    return fields


def _too_small(leg: Leg, tx: ServerTransaction) -> bool:
    """422 when the request wants a session timer below ours (RFC 4028 9)."""
    settings = leg.ports.settings
    if leg.interval is None or agree_as_uas(
        tx.request, ours_s=settings.session_expires_s, min_s=settings.session_min_s
    ):
        return False
    leg.reply(tx, 422, (("Min-SE", str(settings.session_min_s)),))
    return True


class _Relay:
    """A re-INVITE or UPDATE of one party on its way through the other."""

    __slots__ = ("leg", "peer", "sent", "tx")

    def __init__(self, leg: Leg, tx: ServerTransaction, peer: Leg) -> None:
        self.leg = leg
        self.tx = tx
        self.peer = peer
        self.sent: LegRequest | None = None

    def cancelled(self, cancel: Request) -> None:
        """CANCEL of the re-INVITE: 487 comes back from the other party, or its answer was faster."""
        if self.sent is not None:
            self.sent.cancel()

    def progress(self, response: Response) -> None:
        """18x of a re-INVITE: somebody is asked."""
        if not self.tx.final_sent:
            self.leg.reply(self.tx, response.status, body=b"", reason=response.reason)

    def done(self, status: int, response: Response | None) -> None:
        """The other party's final answer."""
        leg, peer, tx = self.leg, self.peer, self.tx
        if response is not None and 200 <= status < 300:
            self._accepted(response)
            return
        peer.session.refused()
        if leg.state in (LegState.SETUP, LegState.UP):
            leg.session.refused()
            if leg.server_invite is tx:
                leg.server_invite = None
            if not tx.final_sent:
                _pass_refusal(leg, tx, status, response)
        if status in GONE and peer.state is LegState.UP:
            peer.call.lost(peer, "dialog_lost")

    def _accepted(self, response: Response) -> None:
        leg, peer, tx = self.leg, self.peer, self.tx
        body = peer.incoming_description(response.body)
        if tx.request.method == "INVITE":
            peer.refreshed_by(response)
        if leg.state not in (LegState.SETUP, LegState.UP) or tx.final_sent:
            if self.sent is not None and not self.sent.auto_ack:
                self.sent.acknowledge()
            return
        if tx.cancelled:
            # The answer was faster than the CANCEL; what was agreed holds on both sides all the same.
            pass
        body = leg.outgoing_description(body)
        fields = _invite_answer_fields(leg, tx.request)
        fields += [(name, value) for name, _, value in body_fields(response)]
        if tx.request.method == "INVITE":
            on_ack = None if self.sent is None or self.sent.auto_ack else self.acknowledged
            _answer_invite(leg, tx, fields, body, on_ack)
        else:
            tx.answer(200, answer_bytes(tx.request, 200, fields=fields, body=body))

    def acknowledged(self, ack: Request) -> None:
        """The ACK brings the answer to an offer that the other party's 2xx made."""
        if self.sent is not None:
            body = self.peer.outgoing_description(self.leg.incoming_description(ack.body))
            self.sent.acknowledge(body_fields(ack), body)


def _pass_refusal(leg: Leg, tx: ServerTransaction, status: int, response: Response | None) -> None:
    """A refusal inside a dialog as the other party shall see it: a challenge is not for it."""
    if status in (401, 407):
        status, response = 403, None
    fields: list[Pair] = []
    reason = None
    if response is not None:
        reason = response.reason
        fields = passed_pairs(response, {"retry-after": "Retry-After"})
    leg.reply(tx, status, fields, reason=reason)


def update(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """UPDATE (RFC 3311): without a description a refresh, answered here; with one an offer."""
    request = tx.request
    if _too_small(leg, tx):
        return
    dialog.refresh_target(request)
    leg.note_peer(request)
    if not request.body:
        leg.reply(tx, 200, [pair for pair in _invite_answer_fields(leg, request) if pair[0] != "Server"])
        return
    clash = leg.session.clash()
    if leg.state is LegState.UP and leg.client_invite is not None:
        clash = 491
    if clash:
        leg.reply(tx, clash, (("Retry-After", str(1 + int(leg.ports.chance() * 9))),) if clash == 500 else ())
        return
    partner = _partner(leg, dialog)
    if partner is None or partner[0].session.clash() or leg.transfer is not None:
        leg.reply(tx, 491)
        return
    peer, peer_dialog = partner
    method = "UPDATE" if peer.can("UPDATE") else "INVITE"
    if method == "INVITE" and (peer.state is not LegState.UP or peer.busy):
        leg.reply(tx, 488 if peer.state is not LegState.UP else 491)
        return
    body = leg.incoming_description(request.body)
    relay = _Relay(leg, tx, peer)
    fields: list[Field] = [("Allow", "allow", ALLOW), ("Supported", "supported", SUPPORTED)]
    if method == "INVITE":
        relay.sent = _offer(peer, method, [*fields, *body_fields(request)], body, relay.done)
        return
    body = peer.outgoing_description(body)
    relay.sent = peer.send(method, [*fields, *body_fields(request)], body, relay.done, dialog=peer_dialog)


def _partner(leg: Leg, dialog: Dialog) -> tuple[Leg, Dialog] | None:
    """The other party and its dialog, before the answer too: who is behind this early dialog."""
    if leg.state is LegState.UP:
        peer = leg.peer
        if peer is None or peer.state is not LegState.UP or peer.dialog is None:
            return None
        return peer, peer.dialog
    if isinstance(leg, CallerLeg):
        behind = leg.behind.get(dialog.local_tag)
        return (behind[0], behind[1].dialog) if behind is not None else None
    caller = leg.call.caller_leg
    if isinstance(caller, CallerLeg) and isinstance(leg, CalleeLeg):
        for tag, (other, early) in caller.behind.items():
            if other is leg and early.dialog is dialog:
                found = caller.dialog_of(tag)
                return (caller, found) if found is not None else None
    return None


def prack(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """PRACK of the caller (RFC 3262 3)."""
    request = tx.request
    if not isinstance(leg, CallerLeg) or leg.acknowledge_provisional(request.get("rack") or "") is None:
        leg.reply(tx, 481)
        return
    if not request.body:
        leg.reply(tx, 200)
        return
    behind = leg.behind.get(dialog.local_tag)
    if behind is None:
        leg.reply(tx, 488)
        return
    callee, early = behind
    if early.pending_rack:
        _answer_early(leg, tx, callee, early)
    elif callee.can("UPDATE") and not callee.session.clash() and not leg.session.clash():
        body = callee.outgoing_description(leg.incoming_description(request.body))
        relay = _Relay(leg, tx, callee)
        relay.sent = callee.send("UPDATE", body_fields(request), body, relay.done, dialog=early.dialog)
    else:
        leg.reply(tx, 488)


def _answer_early(leg: CallerLeg, tx: ServerTransaction, callee: CalleeLeg, early: Early) -> None:
    """The PRACK answers the offer in a callee's reliable provisional response."""
    rack, early.pending_rack = early.pending_rack, ""
    body = callee.outgoing_description(leg.incoming_description(tx.request.body))
    callee.prack(early, rack, body_fields(tx.request), body)
    leg.reply(tx, 200)


# ---------------------------------------------------------------- requests that change nothing here


def options(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """Is the dialog alive (RFC 3261 11)? Each leg is a dialog of its own, so it is answered here."""
    leg.reply(tx, 200, (("Allow", ALLOW), ("Accept", "application/sdp"), ("Supported", SUPPORTED)))


def pass_on(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """INFO and MESSAGE: to the other party, its answer back."""
    partner = _partner(leg, dialog)
    if partner is None:
        leg.reply(tx, 481 if leg.state is LegState.UP else 480)
        return
    peer, peer_dialog = partner
    request = tx.request

    def done(status: int, response: Response | None) -> None:
        if response is None:
            leg.reply(tx, status)
        elif status >= 300:
            _pass_refusal(leg, tx, status, response)
        else:
            fields = [*passed(response, OTHER_RESPONSE), *body_fields(response)]
            pairs = [(name, value) for name, _, value in fields]
            leg.reply(tx, status, pairs, response.body, response.reason)
        if status in GONE and peer.state is LegState.UP:
            peer.call.lost(peer, "dialog_lost")

    fields = [*passed(request, OTHER), *body_fields(request)]
    peer.send(request.method, fields, request.body, done, dialog=peer_dialog)


def notify(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """We subscribe to nothing in a dialog, so no NOTIFY belongs to anything (RFC 6665 4.1.3)."""
    leg.reply(tx, 481, reason="Subscription Does Not Exist")


def subscribe(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """No event package but the implicit one of REFER (RFC 6665 4.2.1)."""
    leg.reply(tx, 489, (("Allow-Events", "refer"),))


METHODS: dict[str, Callable[[Leg, ServerTransaction, Dialog], None]] = {
    "BYE": bye,
    "INVITE": invite,
    "UPDATE": update,
    "PRACK": prack,
    "OPTIONS": options,
    "INFO": pass_on,
    "MESSAGE": pass_on,
    "NOTIFY": notify,
    "SUBSCRIBE": subscribe,
    "REFER": refer,
}
__all__ = ["METHODS", "SDP", "receive"]
