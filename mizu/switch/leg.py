"""One leg of a call: our dialog with one party, whoever began it, and the requests that go through it.

What a leg does by itself: acknowledge, repeat answers until they are acknowledged, keep the session timer,
answer a trunk's challenge, notice that its party is gone, say goodbye. What requests mean to the other
party is decided in :mod:`mizu.switch.methods`; which legs form a call, in :mod:`mizu.switch.call`.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

from mizu.model import Account, TrunkCredentials
from mizu.sip.dialog import Dialog, Field
from mizu.sip.digest import UnsupportedChallenge, answer_challenge
from mizu.sip.flow import Flow
from mizu.sip.message import Message, Request, Response
from mizu.sip.outgoing import Outgoing
from mizu.sip.session import OfferAnswer, Repeater, SessionInterval, agree_as_uac, glare_wait_s, min_se
from mizu.sip.timers import Deadline
from mizu.sip.transactions import ServerTransaction
from mizu.sip.wire import answer_bytes
from mizu.switch.description import continued, fixed_address
from mizu.switch.ports import ALLOW, SUPPORTED, Ports
from mizu.switch.sent import LegRequest
from mizu.switch.way_back import comes_by_route, stays_with

if TYPE_CHECKING:
    from mizu.switch.call import Call
    from mizu.switch.refer import Transfer

Pair = tuple[str, str]
SDP: list[Field] = [("Content-Type", "content-type", "application/sdp")]


class LegState(Enum):
    """Life of a leg."""

    SETUP = auto()  #: the INVITE has no final answer yet
    UP = auto()  #: answered
    LEAVING = auto()  #: we hang up: CANCEL or BYE is out, or waits until it may go
    OVER = auto()


class Leg:
    """A dialog of ours with one party, and what is under way in it."""

    __slots__ = (
        "_agreed_s",
        "_bye_after_ack",
        "_bye_fields",
        "_bye_s",
        "_expire",
        "_unheard",
        "account",
        "allow",
        "answer_cseq",
        "answer_repeat",
        "call",
        "client_invite",
        "contact",
        "credentials",
        "detached",
        "dialog",
        "fix_nat",
        "flow",
        "heard_at",
        "interval",
        "on_ack",
        "own_origin",
        "peer",
        "ports",
        "refer_count",
        "server_invite",
        "session",
        "side",
        "state",
        "transfer",
    )

    def __init__(self, call: "Call", side: str, ports: Ports) -> None:
        self.call = call
        self.side = side  #: ``caller`` or ``callee``, within its call
        self.ports = ports
        self.state = LegState.SETUP
        self.dialog: Dialog | None = None
        self.flow: Flow | None = None
        self.peer: Leg | None = None  #: the leg it talks to; may belong to another call after a transfer
        self.account: Account | None = None  #: whose phone it is; ``None``: a trunk
        self.credentials: TrunkCredentials | None = None
        self.fix_nat = False
        self.session = OfferAnswer()
        self.allow = ""  #: the party's newest Allow
        self.own_origin = False  #: its descriptions come from a party other than at the beginning
        self.interval: SessionInterval | None = None
        self._expire: Deadline | None = None
        self._agreed_s = 0.0
        self.server_invite: ServerTransaction | None = None  #: an INVITE of the party without final answer
        self.client_invite: LegRequest | None = None  #: a re-INVITE of ours without final answer
        self.answer_repeat: Repeater | None = None  #: our 2xx until its ACK
        self.answer_cseq = -1
        self.heard_at = ""  #: host that has shown in this dialog that it hears us, by ACK or answer
        self.on_ack: Callable[[Request], None] | None = None
        self.transfer: Transfer | None = None  #: the transfer this party takes part in, while it goes on
        self.refer_count = 0
        self.detached = False  #: transferred away: what it does no longer touches the call
        self._bye_after_ack = False
        self._unheard = False  # our 2xx was never acknowledged, and its address may be forged
        self._bye_s = 0.0
        self._bye_fields: Sequence[Field] = ()

    # ------------------------------------------------------------ whose request is it

    def sent(self, request: Request) -> bool:
        """Did the party send this request, by its From?"""
        dialog = self.dialog
        if dialog is not None and request.get("from") == dialog.remote:
            return True  # word by word what it always was: nearly all requests
        return self.matches(request.from_.tag)

    def matches(self, remote_tag: str) -> bool:
        """Is this the party's tag in a dialog of this leg?"""
        return self.dialog is not None and remote_tag == self.dialog.remote_tag

    def dialog_of_request(self, request: Request) -> Dialog | None:
        """The dialog this request is in; ``None``: the party did not send it."""
        return self.dialog if self.sent(request) else None

    def routed_through(self, host: str) -> bool:
        """Is that host a proxy of the dialog's route set, so that requests may come from there?"""
        dialog, flow = self.dialog, self.flow
        if dialog is None or flow is None:
            return False
        return comes_by_route(host, flow, dialog, self.account, self.ports.settings.proxies)

    # ------------------------------------------------------------ sending

    @property
    def sticky(self) -> bool:
        """
        Requests go back over the flow the party's came from, whatever its Contact says: phones behind NAT
        (RFC 5626). Trunks, and phones behind a proxy that recorded its route, are found by URI.
        """
        dialog = self.dialog
        return (self.account is not None or self.fix_nat) and (dialog is None or not dialog.routes)

    def _way(self, dialog: Dialog) -> Flow | None:
        """The flow that a request of this dialog goes over; ``None``: to where its routes or target lead."""
        flow = self.flow
        if flow is None or (self.sticky and flow.alive()):
            return flow
        return flow if stays_with(flow, dialog, self.account, self.ports.settings.proxies) else None

    def send(
        self,
        method: str,
        fields: Sequence[Field] = (),
        body: bytes = b"",
        done: Callable[[int, Response | None], None] | None = None,
        progress: Callable[[Response], None] | None = None,
        dialog: Dialog | None = None,
    ) -> LegRequest:
        """
        A request in the dialog.

        :param done: gets the final status and response; 408 or 503 and ``None`` when there was none.
        :param dialog: an early dialog other than the leg's.
        """
        dialog = dialog or self.dialog
        assert dialog is not None
        request = dialog.request(method, fields, body, max_forwards=self.ports.settings.max_forwards)
        sent = LegRequest(self, dialog, request, done, progress)
        sent.start()
        return sent

    def send_out(self, request: Request, user: LegRequest, dialog: Dialog) -> Outgoing:
        """Give a request of this dialog to the sender, over the right way."""
        flow = self._way(dialog)
        contact = self.ports.contact
        if flow is not None:
            return self.ports.sender.send(request, user, flow=flow, contact=contact)
        return self.ports.sender.send(request, user, next_hop=dialog.next_hop(), contact=contact)

    def acknowledge(
        self, dialog: Dialog, cseq: int, fields: Sequence[Field], body: bytes
    ) -> Callable[[], None]:
        """ACK a 2xx (RFC 3261 13.2.2.4). :return: sends the same ACK again."""
        ack = dialog.request("ACK", fields, body, cseq=cseq, max_forwards=self.ports.settings.max_forwards)
        flow = self._way(dialog)
        if flow is not None:
            return self.ports.sender.send_ack(ack, flow=flow).resend
        return self.ports.sender.send_ack(ack, next_hop=dialog.next_hop()).resend

    def challenge_answer(self, request: Request, response: Response, outgoing: Outgoing) -> Pair | None:
        """
        Credentials for a trunk's challenge: only for the trunk's own realm, and only to the hop that was
        asked (a stranger's challenge gets nothing).
        """
        credentials = self.credentials
        if credentials is None:
            return None
        name, answer = ("www-authenticate", "Authorization")
        if response.status == 407:
            name, answer = ("proxy-authenticate", "Proxy-Authorization")
        asked, answered = outgoing.flow, response.flow
        if asked is not None and answered is not None and asked.remote[0] != answered.remote[0]:
            return None
        try:
            value = answer_challenge(
                response.get_all(name),
                username=credentials.username,
                password=credentials.password,
                method=request.method,
                uri=request.uri,
                body=request.body,
                cnonce=self.ports.token(),
                realm=credentials.realm,
            )
        except UnsupportedChallenge:
            return None
        return answer, value

    def reply(
        self,
        tx: ServerTransaction,
        status: int,
        fields: Sequence[Pair] = (),
        body: bytes = b"",
        reason: str | None = None,
    ) -> None:
        """Answer a request of the dialog."""
        request = tx.request
        fields = [*fields, *self.ports.server_fields]
        if status == 481:
            tx.respond(request.reply(status, reason, fields=fields, body=body))
        else:
            wire = answer_bytes(request, status, reason, fields=fields, body=body)
            tx.answer(status, wire, request.to.tag)

    def shown_number(self) -> str:
        """The number this party is known by to others."""
        if self.side == "caller":
            return self.call.caller_number
        return self.call.called_number

    # ------------------------------------------------------------ descriptions

    def next_description(self, body: bytes) -> bytes:
        """The description as this party shall see it."""
        if body and self.own_origin and self.session.local:
            return continued(self.session.local, body)
        return body

    def outgoing_description(self, body: bytes) -> bytes:
        """The description as this party shall see it; counts as sent."""
        if body:
            if self.own_origin:
                body = self.next_description(body)
            self.session.sent(body)
        return body

    def incoming_description(self, body: bytes, flow: Flow | None = None) -> bytes:
        """The party's description as the other one shall see it; counts as received."""
        if body:
            flow = flow or self.flow
            if self.fix_nat and flow is not None:
                body = fixed_address(body, flow.remote[0])
            self.session.received(body)
        return body

    def note_peer(self, message: Message) -> None:
        """Remember what the party says it can do."""
        allow = message.get("allow")
        if allow is not None:
            self.allow = ", ".join(message.get_all("allow")).upper()

    def can(self, method: str) -> bool:
        """Did the party say that it takes this method?"""
        return method in self.allow

    # ------------------------------------------------------------ INVITEs of the party

    def accept_invite(
        self,
        tx: ServerTransaction,
        wire: bytes,
        to_tag: str,
        on_ack: Callable[[Request], None] | None,
    ) -> None:
        """
        Answer the party's INVITE with a 200 and repeat that until the ACK comes (RFC 3261 13.3.1.4).

        :param wire: the 200. :param to_tag: of it.
        """
        if self.answer_repeat is not None:
            self.stop_answer()
        self.server_invite = None
        self.answer_cseq = tx.request.cseq.number
        self.on_ack = on_ack
        self.answer_repeat = Repeater(
            lambda: tx.answer(200, wire, to_tag),
            self._no_ack,
            deadlines=self.ports.deadlines,
            now=self.ports.now,
            timers=self.ports.timers,
            longest_s=self.ports.timers.t2_s,
        )

    def ack_received(self, ack: Request, flow: Flow) -> bool:
        """
        An ACK for one of our 2xx. Repeated and foreign ones are dropped.

        :return: it was taken.
        """
        dialog = self.dialog
        if self.answer_repeat is None or dialog is None or ack.cseq.number != self.answer_cseq:
            return False
        if self.account is not None and self.flow is not None and flow.remote[0] != self.flow.remote[0]:
            return False  # from an address that never proved anything; the real one follows
        self.stop_answer()
        on_ack, self.on_ack = self.on_ack, None
        if on_ack is not None:
            on_ack(ack)
        if self._bye_after_ack:
            self._send_bye()
        return True

    def stop_answer(self) -> None:
        if self.answer_repeat is not None:
            self.answer_repeat.stop()
            self.answer_repeat = None

    def _no_ack(self) -> None:
        self.answer_repeat = None
        self.on_ack = None
        if self.side == "caller" and self.flow is not None and self.flow.remote[0] != self.heard_at:
            self._unheard = not self.ports.is_proved(self.flow)
        if self._bye_after_ack:
            self._send_bye()
        elif self.state is LegState.UP:
            self.call.lost(self, "no_ack")

    # ------------------------------------------------------------ leaving

    def hang_up(self, fields: Sequence[Field] = ()) -> None:
        """End an answered leg: BYE, at once or as soon as our 2xx is acknowledged (RFC 3261 15)."""
        if self.state is not LegState.UP:
            return
        self.state = LegState.LEAVING
        self.stop_timers()
        self._bye_fields = fields
        if self.server_invite is not None and not self.server_invite.final_sent:
            self.reply(self.server_invite, 487)
            self.server_invite = None
        if self.answer_repeat is not None:
            self._bye_after_ack = True
        else:
            self._send_bye()

    def _send_bye(self) -> None:
        self._bye_after_ack = False
        if self._unheard:  # a forged caller; the one who owns the address shall not hear of it eleven times
            self.finish()
            return
        self._bye_s = self.ports.now()
        self.send("BYE", self._bye_fields, done=self._bye_done)

    def _bye_done(self, status: int, response: Response | None) -> None:
        if response is not None:
            self.ports.metrics.bye_answered(self.ports.now() - self._bye_s)
        # Whatever the party says, for us it is over: 481 and silence are answers to a BYE, too.
        self.finish()

    def finish(self) -> None:
        """The leg is over: release what it holds and tell the call. May be called twice."""
        if self.state is LegState.OVER:
            return
        self.state = LegState.OVER
        if self._expire is not None:
            self.stop_timers()
        if self.answer_repeat is not None:
            self.stop_answer()
        self.on_ack = None
        if self.server_invite is not None and not self.server_invite.final_sent:
            self.reply(self.server_invite, 487)
        self.server_invite = None
        self.forget()
        self.call.leg_over(self)

    def forget(self) -> None:
        """Take the leg's dialogs out of the index."""
        if self.dialog is not None:
            self.ports.leave(self.dialog.call_id, self.dialog.local_tag)

    # ------------------------------------------------------------ session timer

    def agree(self, interval: SessionInterval | None) -> None:
        """
        Begin a session timer, or go on with a new agreement after a refresh. ``None``: none; the party is
        asked by OPTIONS now and then, if the configuration wants that.
        """
        self.interval = interval
        if self._expire is not None:
            self.stop_timers()
        if self.state is not LegState.UP and self.state is not LegState.SETUP:
            return
        now_s = self._agreed_s = self.ports.now()
        ping_s = self.ports.settings.options_ping_s
        if interval is not None:
            act = self._refresh if interval.we_refresh else self._expired
            self._expire = self.ports.deadlines.at(now_s + interval.act_s, act)
        elif ping_s > 0:
            self._expire = self.ports.deadlines.at(now_s + ping_s, self._ping)

    def _ping(self) -> None:
        self._expire = None
        if self.state is LegState.UP:
            self.send("OPTIONS", done=self._ping_answered)

    def _ping_answered(self, status: int, response: Response | None) -> None:
        """Any answer but "no such dialog" and silence proves that the party is there."""
        if self.state is not LegState.UP:
            return
        if status in (408, 481):
            self.call.lost(self, "no_options")
        elif self.interval is None:
            self.agree(None)

    def stop_timers(self) -> None:
        if self._expire is not None:
            self._expire.cancel()
            self._expire = None

    def _expired(self) -> None:
        self._expire = None
        self.call.lost(self, "session_expired")

    def _refresh(self) -> None:
        """Half of the interval is over: UPDATE if the party takes it, else re-INVITE with what it knows."""
        self._expire = None
        interval = self.interval
        if self.state is not LegState.UP or interval is None:
            return
        if self.busy:
            self._retry_refresh()
            return
        fields = [
            interval.header(uas=False),
            ("Supported", "supported", SUPPORTED),
            ("Min-SE", "min-se", str(self.ports.settings.session_min_s)),
        ]
        if self.can("UPDATE"):
            self.send("UPDATE", fields, done=self._refreshed)
            return
        fields.append(("Allow", "allow", ALLOW))
        self.reinvite([*fields, *SDP] if self.session.local else fields, self.session.local, self._refreshed)

    @property
    def busy(self) -> bool:
        """An INVITE or an offer is under way in the dialog, in either direction."""
        return (
            self.client_invite is not None
            or self.server_invite is not None
            or self.answer_repeat is not None
            or self.session.state != "stable"
        )

    def reinvite(
        self,
        fields: Sequence[Field],
        body: bytes,
        done: Callable[[int, Response | None], None],
        progress: Callable[[Response], None] | None = None,
    ) -> LegRequest:
        """A re-INVITE of ours. The 2xx is acknowledged by whoever takes it in ``done``."""
        self.session.sent(body)
        sent = self.send("INVITE", fields, body, done, progress)
        if not sent.finished:
            self.client_invite = sent
        return sent

    def _refreshed(self, status: int, response: Response | None) -> None:
        """The answer to a refresh."""
        interval = self.interval
        if self.state is not LegState.UP or interval is None:
            return
        if response is not None and 200 <= status < 300:
            if response.cseq.method == "INVITE":
                self.session.received(response.body)
            self.refreshed_by(response)
            return
        self.session.refused()
        if status in (408, 481):
            self.call.lost(self, "session_expired")
        elif status == 422 and response is not None and interval.interval_s < min_se(response):
            self.interval = SessionInterval(min_se(response), True, True)
            self._refresh()
        elif interval.peer_knows or status in (491, 503):
            self._retry_refresh()
        else:
            # It refuses refreshes but is there, and it does not count the interval itself.
            self.agree(interval)

    def refreshed_by(self, response: Response) -> None:
        """A 2xx to a refresh of ours, or to any re-INVITE or UPDATE: the agreement begins again."""
        if self.interval is None:
            return
        self.agree(agree_as_uac(response, asked_s=self.interval.interval_s))

    def _retry_refresh(self) -> None:
        """Glare or a passing failure: again soon. A party that stays away runs into the expiry."""
        now_s = self.ports.now()
        if self.interval is None or now_s >= self._agreed_s + self.interval.expire_s:
            self.call.lost(self, "session_expired")
            return
        wait_s = glare_wait_s(self.side == "callee", self.ports.chance())
        self._expire = self.ports.deadlines.at(now_s + max(wait_s, 0.1), self._refresh)
