"""The two client machines (RFC 3261 17.1, RFC 6026), the CANCEL of an INVITE and the ACK to its failure."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from mizu.sip.flow import Flow
from mizu.sip.message import Request, Response
from mizu.sip.transaction import Machine, Surroundings, bind
from mizu.sip.transaction_tables import (
    CALLING,
    INVITE_CLIENT,
    OTHER_CLIENT,
    PROCEEDING,
)
from mizu.sip.wire import top_via


class ClientUser(Protocol):
    """Who sends requests through the layer."""

    def on_response(self, response: Response, tx: "ClientTransaction") -> None:
        """
        A response that is not a repetition of one already passed up.

        Exception: every 2xx to an INVITE is passed up, repetitions as well, until timer M; each wants an ACK
        (RFC 3261 13.2.2.4). 300-699 to an INVITE are acknowledged already.
        """

    def on_timeout(self, tx: "ClientTransaction") -> None:
        """No final response in time (timers B, F; after a CANCEL 64*T1). Counts as 408. The last call."""

    def on_transport_error(self, reason: str, tx: "ClientTransaction") -> None:
        """
        The request cannot have arrived; counts as 503. May come before ``request()`` returns. The last call.
        """


class ClientTransaction(Machine):
    """A request we sent, until its last response can be swallowed. Made by the layer."""

    __slots__ = ("branch", "flow", "key", "request", "user", "wire")

    def __init__(
        self,
        request: Request,
        flow: Flow,
        branch: str,
        wire: bytes,
        *,
        user: ClientUser,
        shared: Surroundings,
    ) -> None:
        self.state = self.first_state
        self._shared = shared
        self._deadline = None
        self.request = request
        self.flow = flow
        self.branch = branch
        self.key = (branch, request.method)
        self.user = user
        self.wire = wire

    def cancel(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        """Only an INVITE can be cancelled (9.1); nothing happens for other requests."""

    def begin(self) -> None:
        """Send the request and start the first timers (called by the layer, once)."""
        shared = self._shared
        now_s = shared.now()
        self._until_s = now_s + shared.timers.f_s  # = timer B
        self._interval_s = shared.timers.f_s if self.flow.reliable else shared.timers.e_s  # = timer A
        self._deadline = shared.deadlines.at(min(now_s + self._interval_s, self._until_s), self._due)
        self.flow.send(self.wire, self.failed)

    def receive(self, response: Response) -> None:
        """A response that belongs here (called by the layer)."""
        raise NotImplementedError

    def failed(self, reason: str) -> None:
        """A transport could not deliver our request (18.4)."""
        self._shared.counts.errors += 1
        self.step("error", reason)

    def _due(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        self._stop_timers(None)
        self._shared.drop_client(self)

    def _let_go(self) -> None:
        self.user = NOBODY

    def _reliable(self) -> bool:
        return self.flow.reliable

    def _repeat(self, _message: object) -> None:
        self._shared.counts.repeated_out += 1
        self.flow.send(self.wire, self.failed)

    def _pass_up(self, response: Response) -> None:
        self.user.on_response(response, self)

    def _tell_timeout(self, _message: object) -> None:
        self._shared.counts.timeouts += 1
        self.user.on_timeout(self)

    def _tell_error(self, reason: str) -> None:
        self.user.on_transport_error(reason, self)


class OtherClient(ClientTransaction):
    """Any request but INVITE and ACK (17.1.2)."""

    __slots__ = ()

    def receive(self, response: Response) -> None:
        self.step("1xx" if response.status < 200 else "200-699", response)

    def _due(self) -> None:
        shared = self._shared
        now_s = shared.now()
        self._deadline = None
        if now_s >= self._until_s:
            self.step("timer F")
            return
        # 17.1.2.2: doubled up to T2; T2 at once when a provisional response has come.
        t2_s = shared.timers.t2_s
        self._interval_s = t2_s if self.state is PROCEEDING else min(2 * self._interval_s, t2_s)
        self._deadline = shared.deadlines.at(min(now_s + self._interval_s, self._until_s), self._due)
        self.step("timer E")

    def _finish(self, response: Response) -> None:
        self._stop_timers(response)
        self._shared.settle_client(self)
        user, self.user = self.user, NOBODY
        user.on_response(response, self)


class InviteClient(ClientTransaction):
    """INVITE (17.1.1, RFC 6026 7.2), with its CANCEL (9.1)."""

    __slots__ = ("_ack", "_cancel_fields", "_cancel_sent")
    first_state: ClassVar[str] = CALLING

    def __init__(
        self,
        request: Request,
        flow: Flow,
        branch: str,
        wire: bytes,
        *,
        user: ClientUser,
        shared: Surroundings,
    ) -> None:
        super().__init__(request, flow, branch, wire, user=user, shared=shared)
        self._ack = b""
        self._cancel_fields: tuple[tuple[str, str], ...] | None = None
        self._cancel_sent = False

    def cancel(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        """
        Cancel the INVITE: at once when a provisional response has come, else when one comes (9.1).

        The end is told as always: a final response (487, or a 2xx that was faster), or ``on_timeout`` when
        there is none 64*T1 later. Nothing happens after a final response or a second time.

        :param fields: more headers for the CANCEL, for instance ``Reason``.
        """
        if self._cancel_fields is None and self.state in (CALLING, PROCEEDING):
            self._cancel_fields = tuple(fields)
            if self.state is PROCEEDING:
                self._send_cancel(None)

    def receive(self, response: Response) -> None:
        status = response.status
        self.step("1xx" if status < 200 else "2xx" if status < 300 else "300-699", response)

    def _due(self) -> None:
        shared = self._shared
        now_s = shared.now()
        self._deadline = None
        if self.state is PROCEEDING:
            if self._cancel_sent:
                self.step("no answer to CANCEL")
            elif now_s < self._until_s:
                self._deadline = shared.deadlines.at(self._until_s, self._due)
            else:
                self._cancel_fields = self._cancel_fields or ()
                self.step("timer C")
        elif now_s >= self._until_s:
            self.step("timer B")
        else:
            self._interval_s *= 2  # 17.1.1.2: no ceiling but timer B
            self._deadline = shared.deadlines.at(min(now_s + self._interval_s, self._until_s), self._due)
            self.step("timer A")

    def _start_c(self, response: Response) -> None:
        # 16.6: set again by each provisional response but 100; here 100 starts it as well. The deadline of
        # timer A stays; when it comes, it is put off to the end of timer C.
        if self._cancel_sent or (response.status == 100 and self._interval_s == 0.0):
            return
        self._interval_s = 0.0  # A and B are over
        self._until_s = self._shared.now() + self._shared.timers.c_s

    def _send_cancel(self, _message: object) -> None:
        if self._cancel_fields is None or self._cancel_sent or self.state is not PROCEEDING:
            return
        self._cancel_sent = True
        shared = self._shared
        self._stop_timers(None)
        self._deadline = shared.deadlines.at(shared.now() + shared.timers.b_s, self._due)
        cancel = follow_up(self, "CANCEL", self.request.get("to") or "")
        for name, value in self._cancel_fields:
            cancel.add(name, value)
        shared.start(cancel, self.flow, cancel.to_bytes(), self.branch, NOBODY)

    def _start_d(self, _response: object) -> None:
        self._end_by("D")

    def _accept(self, response: Response) -> None:
        self._stop_timers(response)
        self.wire = b""  # never sent again
        shared = self._shared
        shared.lingering["M"].add(self, shared.now())
        self.user.on_response(response, self)

    def _send_ack(self, response: Response) -> None:
        if not self._ack:
            self._ack = follow_up(self, "ACK", response.get("to") or "").to_bytes()
        else:
            self._shared.counts.repeated_out += 1
        self.flow.send(self._ack, self.failed)


def follow_up(invite: ClientTransaction, method: str, to: str) -> Request:
    """
    The CANCEL of an INVITE or the ACK to its 300-699: same target, top Via, route and CSeq number (9.1,
    17.1.1.3).

    :param to: To of the request for CANCEL, of the response for ACK.
    """
    request = invite.request
    fields = [("Via", top_via(invite.wire))]
    fields += [("Route", value) for value in request.get_all("route")]
    fields += [
        ("Max-Forwards", "70"),
        ("From", request.get("from") or ""),
        ("To", to),
        ("Call-ID", request.call_id),
        ("CSeq", f"{request.cseq.number} {method}"),
    ]
    follower = Request(method, request.uri)
    for name, value in fields:
        follower.add(name, value)
    return follower


class Nobody:
    """Takes the responses nobody waits for: those to CANCEL."""

    def on_response(self, response: Response, tx: ClientTransaction) -> None:
        """The INVITE's own response says what matters."""

    def on_timeout(self, tx: ClientTransaction) -> None:
        """The INVITE has its own timer."""

    def on_transport_error(self, reason: str, tx: ClientTransaction) -> None:
        """The INVITE has its own timer."""


NOBODY = Nobody()
InviteClient._table = bind(INVITE_CLIENT, InviteClient)
OtherClient._table = bind(OTHER_CLIENT, OtherClient)
