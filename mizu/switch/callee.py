"""A leg that we begin: INVITE to one contact or trunk until it answers, refuses, or we no longer want it.

RFC 3261 13.2 and 9.1, RFC 3262 4, RFC 4028 7.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mizu.model import Route
from mizu.sip.dialog import Dialog, Field, made_request
from mizu.sip.flow import Flow
from mizu.sip.message import Request, Response
from mizu.sip.outgoing import Outgoing
from mizu.sip.parser import BadMessage
from mizu.sip.session import OFFERED, ReceivedProvisionals, agree_as_uac, min_se, rack_of
from mizu.sip.timers import Deadline
from mizu.sip.uri import SipUri, parse_uri
from mizu.switch.causes import NO_RESPONSE, TIMEOUT, Failure, failure_of
from mizu.switch.description import fixed_address
from mizu.switch.leg import Leg, LegState
from mizu.switch.ports import Ports, Target

if TYPE_CHECKING:
    from mizu.switch.call import Call

#: Early dialogs that one INVITE may make by forking downstream; more are not followed.
EARLY_MAX = 16


class Invitation(NamedTuple):
    """What every callee leg of a call is sent, made once."""

    fields: tuple[Field, ...]  #: all but Route, From, To, Call-ID, CSeq and the session timer's
    body: bytes
    reliable: bool  #: callees may send provisional responses reliably
    interval_s: int  #: session timer asked for; 0: none
    min_se_s: int


#: In the place of one that is not needed any more.
NO_INVITATION = Invitation((), b"", False, 0, 0)


class Early:
    """
    One early dialog: which of possibly several phones behind our INVITE it is. The dialog itself is made when
    somebody needs it; most early dialogs only ring.
    """

    __slots__ = (
        "_dialog",
        "_invite",
        "_local_tag",
        "_response",
        "answered",
        "pending_rack",
        "received",
        "tag",
    )

    def __init__(self, invite: Request, response: Response, local_tag: str) -> None:
        self._invite = invite
        self._response = response
        self._local_tag = local_tag
        self._dialog: Dialog | None = None
        self.tag = response.to.tag  #: the phone's
        self.received = ReceivedProvisionals()
        self.answered = b""  #: a description it sent reliably, or provisionally
        self.pending_rack = ""  #: its offer waits for the caller's PRACK

    @property
    def used(self) -> bool:
        """Was a request sent or received in it?"""
        return self._dialog is not None

    @property
    def dialog(self) -> Dialog:
        """:raise BadMessage: the response that made it has a Contact nobody can read."""
        dialog = self._dialog
        if dialog is None:
            dialog = self._dialog = Dialog.as_uac(self._invite, self._response, self._local_tag)
        return dialog


class CalleeLeg(Leg):
    """One INVITE of ours and the dialog it leads to."""

    __slots__ = (
        "_ack",
        "_asked_s",
        "_authorized",
        "_cseq",
        "_from",
        "_invitation",
        "_silence",
        "_tag",
        "_to",
        "call_id",
        "early",
        "invite",
        "number",
        "outgoing",
        "ringing",
        "route",
        "target",
        "wanted",
    )

    def __init__(
        self,
        call: "Call",
        ports: Ports,
        route: Route,
        target: Target,
        *,
        number: int,
        invitation: Invitation,
        from_value: Callable[[str], str],
        to_value: str,
    ) -> None:
        """:param from_value: makes our From from a tag. :param number: of this leg within the call."""
        super().__init__(call, "callee", ports)
        self.route = route
        self.target = target
        self.number = number
        self.account = route.account
        self.credentials = route.credentials
        self.fix_nat = route.fix_nat or (route.account is not None and route.account.fix_nat)
        self.flow = target.flow
        self.call_id = f"{call.call_id}-{number}"
        self.wanted = True  #: false: cancelled, a late 2xx is ended
        self.ringing = False
        self.early: dict[str, Early] = {}  #: by the phone's tag
        self.outgoing: Outgoing | None = None
        self.invite: Request
        self._invitation = invitation
        self._tag = ports.token()
        self._from = from_value(self._tag)
        self._to = to_value
        self._cseq = 0
        self._asked_s = invitation.interval_s
        self._authorized = False
        self._silence: Deadline | None = None
        self._ack: Callable[[], None] | None = None

    # ------------------------------------------------------------ the INVITE

    def start(self) -> None:
        """Send it."""
        self.ports.watch(self, self.call_id)
        self.ports.enter(self, self.call_id, self._tag)
        if self.route.answer_timeout_s > 0:
            deadline_s = self.ports.now() + self.route.answer_timeout_s
            self._silence = self.ports.deadlines.at(deadline_s, self._silent)
        self._invite(())

    def _invite(self, extra: Sequence[Field]) -> None:
        self._cseq += 1
        invitation = self._invitation
        target = self.target
        fields: list[Field] = [
            ("From", "from", self._from),
            ("To", "to", self._to),
            ("Call-ID", "call-id", self.call_id),
            ("CSeq", "cseq", f"{self._cseq} INVITE"),
            *invitation.fields,
            *extra,
        ]
        if self._asked_s:
            fields.append(("Session-Expires", "session-expires", str(self._asked_s)))
            fields.append(("Min-SE", "min-se", str(min(self._asked_s, invitation.min_se_s))))
        if target.path:
            fields[:0] = [("Route", "route", route) for route in target.path]
        self.outgoing = None
        self.invite = made_request("INVITE", target.uri, fields, invitation.body)
        self.session.refused()
        self.session.sent(invitation.body)
        flow = target.flow
        contact = self.ports.contact
        if flow is not None:
            self.outgoing = self.ports.sender.send(self.invite, self, flow=flow, contact=contact)
        else:
            self.outgoing = self.ports.sender.send(
                self.invite, self, next_hop=target.next_hop, contact=contact
            )

    def cancel(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        """We no longer want it: CANCEL, and should it have answered meanwhile, ACK and BYE (RFC 3261 9.1)."""
        self.wanted = False
        self._stop_silence()
        if self.state is LegState.SETUP:
            self.state = LegState.LEAVING
            if self.outgoing is not None:
                self.outgoing.cancel(fields)

    def _silent(self) -> None:
        """``Route.answer_timeout_s`` passed without any response: to us it is as if timer B had fired."""
        self._silence = None
        if self.state is LegState.SETUP:
            self.cancel()
            self.call.leg_failed(self, TIMEOUT, None)

    def _stop_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    # ------------------------------------------------------------ mizu.sip.outgoing.OutgoingUser

    def on_response(self, response: Response, outgoing: Outgoing) -> None:
        """A response to the INVITE."""
        if self._silence is not None:
            self._stop_silence()
        status = response.status
        if status < 200:
            if status > 100 and self.state is LegState.SETUP:
                self._provisional(response, outgoing)
        elif status < 300:
            self._accepted(response, outgoing)
        elif self.dialog is None and (self.outgoing is None or outgoing is self.outgoing):
            self._refused(response, outgoing)

    def on_failure(self, code: str, outgoing: Outgoing) -> None:
        """No final response came, or the INVITE could not be sent."""
        if outgoing is self.outgoing or self.outgoing is None:
            self._fail(NO_RESPONSE.get(code, TIMEOUT), None)

    def _fail(self, failure: Failure, response: Response | None) -> None:
        if self.dialog is not None or self.state is LegState.OVER:
            return
        wanted = self.state is LegState.SETUP
        self.finish()
        if wanted:
            self.call.leg_failed(self, failure, response)

    def _refused(self, response: Response, outgoing: Outgoing) -> None:
        status = response.status
        if self.state is LegState.SETUP:
            if status in (401, 407) and not self._authorized:
                answer = self.challenge_answer(self.invite, response, outgoing)
                if answer is not None:
                    self._authorized = True
                    self._invite([(answer[0], answer[0].lower(), answer[1])])
                    return
            elif status == 422 and self._asked_s < min_se(response):
                self._asked_s = min_se(response)
                self._invite(())
                return
        self._fail(failure_of(status), response)

    # ------------------------------------------------------------ provisional responses

    def early_of(self, response: Response) -> Early | None:
        """The early dialog of a provisional response; ``None``: it makes none."""
        tag = response.to.tag
        if not tag:
            return None
        early = self.early.get(tag)
        if early is None and len(self.early) < EARLY_MAX:
            early = Early(self.invite, response, self._tag)
            self.early[tag] = early
        return early

    def _heard_over(self, answered: Flow | None, asked: Flow | None) -> None:
        """A user's phone stays at the address that was asked: over UDP anybody writes any source address."""
        if answered is not None:
            strange = self.account is not None and asked is not None and answered.remote[0] != asked.remote[0]
            self.flow = asked if strange else answered

    def _provisional(self, response: Response, outgoing: Outgoing) -> None:
        """18x: acknowledged if it is reliable, then told to the call."""
        early = self.early_of(response)
        self._heard_over(response.flow, outgoing.flow)
        self.note_peer(response)
        rack = rack_of(response)
        if rack is not None:
            if early is None or not early.received.is_new(int(rack.split()[0])):
                return
            if response.body and not self._invitation.body and not early.answered:
                early.pending_rack = rack  # its offer; the caller's PRACK brings the answer
            else:
                try:
                    self.prack(early, rack)
                except BadMessage:
                    return
        if early is not None and response.body:
            early.answered = response.body
            if rack is not None:
                self.session.received(response.body)
        self.ringing = True
        self.call.leg_progress(self, early, response)

    def prack(
        self,
        early: Early,
        rack: str,
        fields: Sequence[Field] = (),
        body: bytes = b"",
        done: Callable[[int, Response | None], None] | None = None,
    ) -> None:
        """Acknowledge a reliable provisional response (RFC 3262 4)."""
        self.send("PRACK", [("RAck", "rack", rack), *fields], body, done=done, dialog=early.dialog)

    # ------------------------------------------------------------ 2xx

    def _accepted(self, response: Response, outgoing: Outgoing) -> None:
        dialog = self.dialog
        if dialog is not None:
            if response.to.tag == dialog.remote_tag:
                if self._ack is not None:
                    self._ack()
            else:
                self._end_other(response, outgoing)
            return
        if self.state is LegState.OVER or (self.outgoing is not None and self.outgoing is not outgoing):
            self._end_other(response, outgoing)
            return
        early = self.early.get(response.to.tag or "")
        if early is not None and early.used:
            dialog = early.dialog
            dialog.refresh_target(response)
            routes = Dialog.as_uac(self.invite, response, self._tag).routes
            dialog.routes = routes or dialog.routes  # RFC 3261 13.2.2.4: recomputed by the 2xx
        else:
            dialog = Dialog.as_uac(self.invite, response, self._tag)
        self.dialog = dialog
        self.early = {}
        self._heard_over(response.flow, outgoing.flow)
        if response.flow is not None and outgoing.flow is not None:
            host = outgoing.flow.remote[0]
            self.heard_at = host if response.flow.remote[0] == host else ""  # it has the branch of our INVITE
        self.note_peer(response)
        offered = bool(self._invitation.body)
        if not self.wanted:
            self.acknowledge_answer()
            self.state = LegState.UP
            self.hang_up()
            return
        if offered or (early is not None and early.answered):
            self.acknowledge_answer()
        self.outgoing, self._invitation = None, NO_INVITATION
        del self.invite  # a held call needs none of it
        self.state = LegState.UP
        self.agree(agree_as_uac(response, asked_s=self._asked_s) if self._asked_s else None)
        self.call.leg_answered(self, early, response)

    def acknowledge_answer(self, fields: Sequence[Field] = (), body: bytes = b"") -> None:
        """ACK the 2xx; with a description when the 2xx had the offer."""
        if self._ack is None and self.dialog is not None:
            body = self.outgoing_description(body)
            self._ack = self.acknowledge(self.dialog, self._cseq, fields, body)

    @property
    def acknowledged(self) -> bool:
        """Did we ACK its 2xx?"""
        return self._ack is not None

    def as_seen_by_caller(self, response: Response) -> bytes:
        """The description in a provisional response, its address fixed where that is asked for."""
        body = response.body
        if body and self.fix_nat and self.flow is not None:
            body = fixed_address(body, self.flow.remote[0])
        return body

    def answer_for_caller(self, early: Early | None, response: Response) -> bytes:
        """The description for our 200: in the callee's own, or reliably in a provisional response before."""
        body = response.body
        if body and (self.session.state == OFFERED or not self.session.complete):
            return self.incoming_description(body)
        if early is not None and early.answered:
            body = early.answered
            if self.fix_nat and self.flow is not None:
                body = fixed_address(body, self.flow.remote[0])
            return body
        return b""

    def _end_other(self, response: Response, outgoing: Outgoing) -> None:
        """Another phone behind a forking proxy answered too late (RFC 3261 13.2.2.4): ACK and BYE."""
        dialog = Dialog.as_uac(outgoing.request, response, self._tag)
        self.acknowledge(dialog, response.cseq.number, (), b"")
        self.send("BYE", dialog=dialog)

    def stray_answer(self, response: Response) -> None:
        """A 2xx whose client transaction is gone: its ACK was lost for long."""
        dialog = self.dialog
        if dialog is not None and response.to.tag == dialog.remote_tag and self._ack is not None:
            self._ack()

    def hang_up(self, fields: Sequence[Field] = ()) -> None:
        """BYE; a 2xx that still waits for its ACK is acknowledged first."""
        if self._ack is None:
            self.acknowledge_answer()
        super().hang_up(fields)

    def finish(self) -> None:
        """Release the INVITE's part as well."""
        if self._silence is not None:
            self._stop_silence()
        if self.state is not LegState.OVER:
            self.ports.unwatch(self.call_id)
        super().finish()
        self.outgoing = None

    def forget(self) -> None:
        self.ports.leave(self.call_id, self._tag)

    # ------------------------------------------------------------ requests of the callee

    def matches(self, remote_tag: str) -> bool:
        """Is this the tag of a dialog of this leg?"""
        if self.dialog is not None:
            return remote_tag == self.dialog.remote_tag
        return remote_tag in self.early

    def dialog_of_request(self, request: Request) -> Dialog | None:
        """The answered dialog, or the early one with that phone."""
        if self.dialog is not None:
            return super().dialog_of_request(request)
        early = self.early.get(request.from_.tag)
        return early.dialog if early is not None else None

    def goes_to(self, number: str) -> bool:
        """Was this INVITE sent to that user part? Then its coming back is a loop, not a spiral."""
        try:
            uri = parse_uri(self.target.uri)
        except BadMessage:
            return True
        return isinstance(uri, SipUri) and uri.user == number
