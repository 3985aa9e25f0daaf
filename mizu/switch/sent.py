"""A request of ours inside a dialog, from sending to its final response."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mizu.sip.dialog import Dialog, Field
from mizu.sip.message import Request, Response
from mizu.sip.outgoing import Outgoing

if TYPE_CHECKING:
    from mizu.switch.leg import Leg

#: How a failure without response looks to whoever asked (RFC 3261 8.1.3.1).
STATUS_OF_FAILURE = {"timeout": 408, "transport": 503, "unresolved": 503}


class LegRequest:
    """
    Sends one request of a leg, answers one challenge of a trunk, acknowledges a 2xx to INVITE and repeats
    that ACK as often as the 2xx is repeated, and reports the end exactly once.
    """

    __slots__ = (
        "_ack",
        "_done",
        "_progress",
        "_tried",
        "auto_ack",
        "dialog",
        "finished",
        "leg",
        "outgoing",
        "request",
    )

    def __init__(
        self,
        leg: "Leg",
        dialog: Dialog,
        request: Request,
        done: Callable[[int, Response | None], None] | None,
        progress: Callable[[Response], None] | None,
    ) -> None:
        self.leg = leg
        self.dialog = dialog
        self.request = request
        self.outgoing: Outgoing | None = None
        self.finished = False
        self.auto_ack = True  #: false: the ACK carries an answer that somebody else has to give first
        self._done = done
        self._progress = progress
        self._tried = False
        self._ack: Callable[[], None] | None = None

    def start(self) -> None:
        if self.request.method == "INVITE" and not self.dialog.remote_tag:
            # To anybody but the party itself (RFC 2543) it would be the beginning of a call.
            self._finish(488, None)
            return
        outgoing = self.leg.send_out(self.request, self, self.dialog)
        if not self.finished:
            self.outgoing = outgoing

    def cancel(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        """CANCEL, if it still has no final response."""
        if not self.finished and self.outgoing is not None:
            self.outgoing.cancel(fields)

    def acknowledge(self, fields: Sequence[Field] = (), body: bytes = b"") -> None:
        """ACK the 2xx that came."""
        if self._ack is None:
            self._ack = self.leg.acknowledge(self.dialog, self.request.cseq.number, fields, body)

    # ------------------------------------------------------------ mizu.sip.outgoing.OutgoingUser

    def on_response(self, response: Response, outgoing: Outgoing) -> None:
        status = response.status
        if status < 200:
            if self._progress is not None and status > 100:
                self._progress(response)
            return
        if self.finished:
            if self._ack is not None and status < 300:
                self._ack()
            return
        method = self.request.method
        if status < 300:
            if method in ("INVITE", "UPDATE"):
                self.dialog.refresh_target(response)
                self.leg.note_peer(response)
                if method == "INVITE" and self.auto_ack:
                    self.acknowledge()
        elif status in (401, 407) and not self._tried:
            answer = self.leg.challenge_answer(self.request, response, outgoing)
            if answer is not None:
                self._again(answer)
                return
        self._finish(status, response)

    def on_failure(self, code: str, outgoing: Outgoing) -> None:
        self._finish(STATUS_OF_FAILURE.get(code, 503), None)

    def _again(self, answer: tuple[str, str]) -> None:
        """The same request with credentials and the next CSeq (RFC 3261 22.2)."""
        self._tried = True
        old = self.request
        self.dialog.local_cseq += 1
        fields = [field for field in old.fields if field[1] not in ("via", "cseq", "contact")]
        fields.append(("CSeq", "cseq", f"{self.dialog.local_cseq} {old.method}"))
        fields.append((answer[0], answer[0].lower(), answer[1]))
        self.request = Request(old.method, old.uri, fields, old.body)
        self.start()

    def _finish(self, status: int, response: Response | None) -> None:
        if self.finished:
            return
        self.finished = True
        self.outgoing = None  # it knows us: freed at once this way
        leg = self.leg
        if leg.client_invite is self:
            leg.client_invite = None
        done, self._done, self._progress = self._done, None, None
        if done is not None:
            done(status, response)
