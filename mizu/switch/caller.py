"""The leg that called us: its INVITE's provisional and final answers, and CANCEL.

RFC 3261 13.3, RFC 3262 3, RFC 4028 9. Each callee whose early description the caller has seen gets a To tag
of its own, as if a proxy had forked: the caller then never finds two different answers in one dialog.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mizu.model import Account
from mizu.sip.dialog import Dialog
from mizu.sip.flow import Flow
from mizu.sip.message import Request, Response
from mizu.sip.session import ASKED, OfferAnswer, ReliableProvisionals, Repeater, SessionInterval, supports
from mizu.sip.timers import Deadline
from mizu.sip.transactions import ServerTransaction
from mizu.sip.wire import answer_bytes
from mizu.switch.fields import BODY, CANCEL, RESPONSE, Names, passed_pairs
from mizu.switch.leg import Leg, LegState
from mizu.switch.ports import ALLOW, SUPPORTED, Ports

if TYPE_CHECKING:
    from mizu.switch.call import Call
    from mizu.switch.callee import CalleeLeg, Early

#: How often an unreliable provisional response is repeated.
REMIND_S = 60.0

Pair = tuple[str, str]
EarlyKey = tuple[int, str]


class CallerLeg(Leg):
    """The dialog that the caller's INVITE leads to."""

    __slots__ = (
        "_held_answer",
        "_last",
        "_media_key",
        "_reliable",
        "_reminder",
        "_tag",
        "behind",
        "early_dialogs",
        "reliable_wanted",
        "tx",
    )

    def __init__(
        self,
        call: "Call",
        ports: Ports,
        tx: ServerTransaction,
        account: Account,
        interval: SessionInterval | None,
    ) -> None:
        """
        :param interval: the session timer our 2xx will state; ``None``: none.
        :raise BadMessage: the INVITE has no usable Contact.
        """
        super().__init__(call, "caller", ports)
        request = tx.request
        self.tx = tx
        self.account = account
        self.fix_nat = account.fix_nat
        self.flow = tx.flow
        self.interval = interval
        self._tag = ports.token()
        self.dialog = Dialog.as_uas(request, self._tag)
        #: dialogs under other tags of ours, for callees whose descriptions differ
        self.early_dialogs: dict[str, Dialog] = {}
        #: who is behind each of our tags in early dialogs
        self.behind: dict[str, tuple[CalleeLeg, Early]] = {}
        self.reliable_wanted = supports(request, "100rel")
        self._reliable: ReliableProvisionals | None = None
        self._last: tuple[int, EarlyKey] | None = None
        self._media_key: EarlyKey | None = None
        self._held_answer: Callable[[], None] | None = None
        self._reminder: Deadline | None = None
        self.note_peer(request)
        ports.enter(self, request.call_id, self._tag)
        tx.on_cancel = self._cancelled

    # ------------------------------------------------------------ tags and early dialogs

    def dialog_of(self, tag: str) -> Dialog | None:
        """The dialog under one of our tags."""
        if self.dialog is not None and tag == self.dialog.local_tag:
            return self.dialog
        return self.early_dialogs.get(tag)

    def dialog_of_request(self, request: Request) -> Dialog | None:
        """The dialog under the tag of ours in To."""
        return self.dialog_of(request.to.tag) if self.sent(request) else None

    def _dialog_for(self, key: EarlyKey, with_description: bool) -> Dialog:
        """The dialog in which the caller sees that callee."""
        dialog = self.dialog
        assert dialog is not None
        if with_description and self._media_key is None:
            self._media_key = key
        if not with_description or key == self._media_key:
            return dialog
        for tag, (leg, early) in self.behind.items():
            if (leg.number, early.tag) == key and tag in self.early_dialogs:
                return self.early_dialogs[tag]
        other = Dialog.as_uas(self.tx.request, self.ports.token())
        other.remote_cseq = max(other.remote_cseq, dialog.remote_cseq)
        self.early_dialogs[other.local_tag] = other
        self.ports.enter(self, other.call_id, other.local_tag)
        return other

    def forget(self) -> None:
        super().forget()
        for tag, dialog in self.early_dialogs.items():
            self.ports.leave(dialog.call_id, tag)
        self.early_dialogs.clear()
        self.behind.clear()

    # ------------------------------------------------------------ provisional responses

    def provisional(self, leg: "CalleeLeg", early: "Early | None", response: Response, body: bytes) -> None:
        """
        Pass a 18x on. Of several phones that ring the first is told; descriptions and other statuses always.

        :param body: as the caller shall see it.
        """
        if self.state is not LegState.SETUP or self.tx.final_sent:
            return
        key = (leg.number, response.to.tag or "")
        if (
            body
            and not self.tx.request.body
            and not (early is not None and early.pending_rack and self.reliable_wanted)
        ):
            body = b""  # an offer that the caller could not answer (RFC 3262 5)
        if not body and self._last is not None:
            status, last_key = self._last
            if status == response.status and last_key != key:
                return
        self._last = (response.status, key)
        dialog = self._dialog_for(key, bool(body))
        if early is not None:
            self.behind.setdefault(dialog.local_tag, (leg, early))
        fields = self._answer_fields(response, body, RESPONSE)
        if self._reminder is not None:
            self._stop_reminder()
        status = response.status
        if not self.reliable_wanted:
            wire = self._wire(status, dialog, fields, body, response.reason)
            self.tx.answer(status, wire, dialog.local_tag)
            self._remind(status, wire)
            return
        if body:
            self.session.sent(body)
        if self._reliable is None:
            self._reliable = ReliableProvisionals(
                self.tx.respond,
                self._no_prack,
                self._repeater,
                cseq=self.tx.request.cseq.number,
                first_rseq=1 + int(self.ports.chance() * 65_000),
            )
        answer = self.tx.request.reply(
            status,
            response.reason,
            to_tag=dialog.local_tag,
            fields=fields,
            body=body,
            copy_record_route=True,
        )
        self._reliable.push(answer)

    def _remind(self, status: int, wire: bytes) -> None:
        """RFC 3261 13.3.1.1: again each minute, in case it was lost, and for the timers of proxies."""

        def again() -> None:
            if not self.tx.final_sent and self.state is LegState.SETUP:
                self.tx.answer(status, wire)
                self._remind(status, wire)

        self._reminder = self.ports.deadlines.at(self.ports.now() + REMIND_S, again)

    def _stop_reminder(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None

    def _repeater(self, send: Callable[[], None], gave_up: Callable[[], None]) -> Repeater:
        ports = self.ports
        return Repeater(
            send,
            gave_up,
            deadlines=ports.deadlines,
            now=ports.now,
            timers=ports.timers,
            longest_s=64 * ports.timers.t1_s,
        )

    def _no_prack(self) -> None:
        """RFC 3262 3: reject the INVITE with a 5xx."""
        self.call.no_prack()

    def acknowledge_provisional(self, rack: str) -> Response | None:
        """A PRACK came; ``None``: it acknowledges nothing that is open."""
        if self._reliable is None:
            return None
        response = self._reliable.acknowledge(rack)
        if response is not None and self._held_answer is not None and not self._reliable.holds_answer:
            held, self._held_answer = self._held_answer, None
            held()
        return response

    # ------------------------------------------------------------ final responses

    def accept(
        self,
        leg: "CalleeLeg",
        early: "Early | None",
        response: Response,
        body: bytes,
        on_ack: Callable[[Request], None] | None,
    ) -> None:
        """200 to the caller, at once or when what it has to acknowledge before is acknowledged."""
        if self._reliable is not None and self._reliable.holds_answer:
            self._held_answer = lambda: self.accept(leg, early, response, body, on_ack)
            return
        if self._reliable is not None:
            self._reliable.stop()
        self._stop_reminder()
        key = (leg.number, response.to.tag or "")
        changed = self._media_key is not None and key != self._media_key
        dialog = self._dialog_for(key, changed)
        if changed and self.session.complete:
            self.session = OfferAnswer()
            self.session.state, self.session.remote = ASKED, self.tx.request.body
        if self.session.complete:
            body = b""  # the answer was in a reliable provisional response
        self._settle_on(dialog)
        body = self.outgoing_description(body)
        fields = self._answer_fields(response, body, RESPONSE)
        fields += (("Allow", ALLOW), ("Supported", SUPPORTED))
        if self.interval is not None:
            fields.append(self.interval.header(uas=True)[::2])
            if self.interval.peer_knows and not self.interval.we_refresh:
                fields.append(("Require", "timer"))
        self.state = LegState.UP
        self.call.told = True
        age_s = self.call.age_s(self.ports.now())
        if not self.call.rang:
            self.ports.metrics.session_indicated(age_s)
        self.ports.metrics.session_answered(200, age_s)
        self.agree(self.interval)
        self.accept_invite(self.tx, self._wire(200, dialog, fields, body), dialog.local_tag, on_ack)

    def ack_received(self, ack: Request, flow: Flow) -> bool:
        """
        The call is set up: what only that needed is let go, most of a held call's memory.

        :return: it is the one for the INVITE of the call, from where that came: somebody there has heard our
            To tag. Later ones prove nothing: who has a call knows its tags, and may forge an address in it.
        """
        taken = super().ack_received(ack, flow)
        if not taken or not hasattr(self, "tx"):
            return False
        first = self.tx.request.cseq.number == ack.cseq.number
        heard = first and self.tx.flow.remote[0] == flow.remote[0]
        if heard:
            self.heard_at = flow.remote[0]
        if self.answer_repeat is None and self.state is LegState.UP and hasattr(self, "tx"):
            self._reliable = None
            self.tx.release()
            del self.tx
        return heard

    def _settle_on(self, dialog: Dialog) -> None:
        """That dialog is the one; what else was begun is forgotten."""
        assert self.dialog is not None
        old = self.dialog
        if dialog is not old:
            self.ports.leave(old.call_id, old.local_tag)
            self.early_dialogs.pop(dialog.local_tag, None)
        for tag, other in self.early_dialogs.items():
            self.ports.leave(other.call_id, tag)
        self.early_dialogs.clear()
        self.behind.clear()
        self.dialog = dialog

    def refuse(self, status: int, reason: str | None = None, fields: Sequence[Pair] = ()) -> None:
        """A final refusal; the leg is over with it."""
        if self._reliable is not None:
            self._reliable.stop()
        self._held_answer = None
        if not self.tx.final_sent and self.dialog is not None:
            wire = self._wire(status, self.dialog, [*fields, *self.ports.server_fields], b"", reason)
            self.tx.answer(status, wire, self.dialog.local_tag)
            self.ports.metrics.session_answered(status, self.call.age_s(self.ports.now()))
        self.finish()

    def finish(self) -> None:
        """Release what waits for a PRACK as well."""
        if self._reminder is not None:
            self._stop_reminder()
        if self._reliable is not None:
            self._reliable.stop()
        self._held_answer = None
        super().finish()

    # ------------------------------------------------------------ pieces

    def _wire(
        self, status: int, dialog: Dialog, fields: Sequence[Pair], body: bytes, reason: str | None = None
    ) -> bytes:
        return answer_bytes(
            self.tx.request,
            status,
            reason,
            to_tag=dialog.local_tag,
            fields=fields,
            body=body,
            copy_record_route=status < 300,
        )

    def _answer_fields(self, response: Response, body: bytes, names: Names) -> list[Pair]:
        """Contact, what the callee says that may pass, what describes the body, and who we are."""
        assert self.flow is not None
        fields: list[Pair] = [("Contact", self.ports.contact(self.flow)), *self.ports.server_fields]
        fields += passed_pairs(response, names)
        if body:
            described = passed_pairs(response, BODY)
            fields += described or [("Content-Type", "application/sdp")]
        return fields

    def _cancelled(self, cancel: Request) -> None:
        self.call.caller_cancelled(passed_pairs(cancel, CANCEL))
