"""The four transaction machines of RFC 3261 17, with the INVITE machines as RFC 6026 corrects them.

First the tables, as data, states and inputs in the order of the RFC's figures; then the machines that walk
them. No socket, no clock: messages leave through a :class:`~mizu.sip.flow.Flow`, time comes from
:class:`Surroundings`. Which message belongs to which transaction is decided in ``transactions``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from mizu.sip.flow import Flow
from mizu.sip.message import Request, Response
from mizu.sip.timers import Deadline, DeadlineHeap, Lingering, TimerSettings

CALLING, TRYING, PROCEEDING = "calling", "trying", "proceeding"
ACCEPTED, COMPLETED, CONFIRMED, TERMINATED = "accepted", "completed", "confirmed", "terminated"

#: state -> input -> (next state, what is done, in order). An input without a row is not possible there; it is
#: counted and nothing happens. What is done is named after the methods of the machine: ``send`` = ``_send``.
Table = Mapping[str, Mapping[str, tuple[str, tuple[str, ...]]]]

#: RFC 3261 figure 5, RFC 6026 figure 1. Timers A and B are one deadline, so are "cancelled" and C.
INVITE_CLIENT: Table = {
    CALLING: {
        "timer A": (CALLING, ("repeat",)),
        "timer B": (TERMINATED, ("tell_timeout",)),
        "error": (TERMINATED, ("tell_error",)),
        "1xx": (PROCEEDING, ("stop_timers", "start_c", "pass_up", "send_cancel")),
        "2xx": (ACCEPTED, ("stop_timers", "start_m", "pass_up")),
        "300-699": (COMPLETED, ("stop_timers", "send_ack", "start_d", "pass_up")),
    },
    PROCEEDING: {
        "1xx": (PROCEEDING, ("start_c", "pass_up")),
        "2xx": (ACCEPTED, ("stop_timers", "start_m", "pass_up")),
        "300-699": (COMPLETED, ("stop_timers", "send_ack", "start_d", "pass_up")),
        "timer C": (PROCEEDING, ("send_cancel",)),
        "no answer to CANCEL": (TERMINATED, ("tell_timeout",)),  # 9.1: 64*T1 after the CANCEL
        "error": (PROCEEDING, ()),  # the request has arrived, whatever became of a repetition
    },
    ACCEPTED: {
        "2xx": (ACCEPTED, ("pass_up",)),
        "1xx": (ACCEPTED, ()),
        "300-699": (ACCEPTED, ()),
        "timer M": (TERMINATED, ()),
        "error": (ACCEPTED, ()),
    },
    COMPLETED: {
        "300-699": (COMPLETED, ("send_ack",)),
        "1xx": (COMPLETED, ()),
        "2xx": (COMPLETED, ()),
        "timer D": (TERMINATED, ()),
        "error": (TERMINATED, ("tell_error",)),
    },
}

#: RFC 3261 figure 6. Timers E and F are one deadline. ``transactions`` keeps COMPLETED without an object.
OTHER_CLIENT: Table = {
    TRYING: {
        "timer E": (TRYING, ("repeat",)),
        "timer F": (TERMINATED, ("tell_timeout",)),
        "error": (TERMINATED, ("tell_error",)),
        "1xx": (PROCEEDING, ("pass_up",)),
        "200-699": (COMPLETED, ("stop_timers", "settle", "pass_up")),
    },
    PROCEEDING: {
        "timer E": (PROCEEDING, ("repeat",)),
        "timer F": (TERMINATED, ("tell_timeout",)),
        "error": (TERMINATED, ("tell_error",)),
        "1xx": (PROCEEDING, ("pass_up",)),
        "200-699": (COMPLETED, ("stop_timers", "settle", "pass_up")),
    },
    COMPLETED: {
        "1xx": (COMPLETED, ()),
        "200-699": (COMPLETED, ()),
        "error": (COMPLETED, ()),
        "timer K": (TERMINATED, ()),
    },
}

#: RFC 3261 figure 7, RFC 6026 figure 2 and 8.8: a transport error is told, the state stays.
INVITE_SERVER: Table = {
    PROCEEDING: {
        "INVITE": (PROCEEDING, ("send_again",)),
        "1xx": (PROCEEDING, ("send",)),
        "2xx": (ACCEPTED, ("send", "start_l")),
        "300-699": (COMPLETED, ("send", "start_g_h")),
        "ACK": (PROCEEDING, ()),
        "error": (PROCEEDING, ("tell_error",)),
    },
    COMPLETED: {
        "INVITE": (COMPLETED, ("send_again",)),
        "timer G": (COMPLETED, ("send_again",)),
        "timer H": (TERMINATED, ("tell_timeout",)),
        "ACK": (CONFIRMED, ("stop_timers", "start_i", "tell_ack")),
        "1xx": (COMPLETED, ()),
        "2xx": (COMPLETED, ()),
        "300-699": (COMPLETED, ()),
        "error": (COMPLETED, ("tell_error",)),
    },
    ACCEPTED: {
        "INVITE": (ACCEPTED, ()),
        "2xx": (ACCEPTED, ("send",)),
        "1xx": (ACCEPTED, ()),
        "300-699": (ACCEPTED, ()),
        "ACK": (ACCEPTED, ("ack_to_user",)),
        "timer L": (TERMINATED, ("tell_timeout",)),
        "error": (ACCEPTED, ("tell_error",)),
    },
    CONFIRMED: {
        "INVITE": (CONFIRMED, ()),
        "ACK": (CONFIRMED, ()),
        "1xx": (CONFIRMED, ()),
        "2xx": (CONFIRMED, ()),
        "300-699": (CONFIRMED, ()),
        "timer I": (TERMINATED, ()),
        "error": (CONFIRMED, ()),
    },
}

#: RFC 3261 figure 8. COMPLETED is kept by ``transactions`` as the bytes of the answer, without an object.
OTHER_SERVER: Table = {
    TRYING: {
        "request": (TRYING, ()),
        "1xx": (PROCEEDING, ("send",)),
        "200-699": (COMPLETED, ("answer",)),
        "no answer": (
            TERMINATED,
            ("tell_timeout",),
        ),  # not in the figure; nobody waits after 64*T1 (RFC 4320)
    },
    PROCEEDING: {
        "request": (PROCEEDING, ("send_again",)),
        "1xx": (PROCEEDING, ("send",)),
        "200-699": (COMPLETED, ("answer",)),
        "no answer": (TERMINATED, ("tell_timeout",)),
        "error": (TERMINATED, ("tell_error",)),
    },
    COMPLETED: {
        "request": (COMPLETED, ("send_again",)),
        "1xx": (COMPLETED, ()),
        "200-699": (COMPLETED, ()),
        "no answer": (COMPLETED, ()),
        "timer J": (TERMINATED, ()),
        "error": (TERMINATED, ("tell_error",)),
    },
}

Step = Callable[[Any, Any], None]
Key = tuple[str | int | None, ...]  #: of a server transaction; the method comes last
Bound = dict[str, dict[str, tuple[str, tuple[Step, ...]]]]


def bind(table: Table, machine: type) -> Bound:
    """``table`` with the machine's methods in place of their names."""
    return {
        state: {
            event: (after, tuple(getattr(machine, f"_{name}") for name in names))
            for event, (after, names) in row.items()
        }
        for state, row in table.items()
    }


class Counts:
    """What a transaction layer counts about itself since it began. Plain integers, read at any time."""

    __slots__ = (
        "errors",
        "merged",
        "refused",
        "repeated_in",
        "repeated_out",
        "requests_in",
        "requests_out",
        "responses_in",
        "responses_out",
        "stray",
        "timeouts",
        "unexpected",
    )

    def __init__(self, methods: Sequence[str]) -> None:
        self.requests_in = dict.fromkeys((*methods, "other"), 0)  #: first copies, by method
        self.requests_out = dict.fromkeys((*methods, "other"), 0)  #: first copies, by method
        self.responses_in = [0] * 7  #: by the first digit of the status
        self.responses_out = [0] * 7  #: by the first digit of the status, without repetitions
        self.repeated_in = 0  #: copies of requests that are here already
        self.repeated_out = 0  #: requests and responses sent again
        self.timeouts = 0  #: timers B, F and H, and cancelled INVITEs without an end
        self.errors = 0  #: messages that a transport could not deliver
        self.merged = 0  #: answered 482 (8.2.2.2)
        self.refused = 0  #: answered 503 because the table was full
        self.stray = 0  #: responses of no transaction
        self.unexpected = 0  #: inputs a machine has no row for; anything but 0 is a fault of ours


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
        """The request cannot have arrived; counts as 503. May come before ``request()`` returns. The last call."""


class Surroundings:
    """What all transactions of one layer share."""

    __slots__ = ("ack_received", "counts", "deadlines", "drop_client", "drop_server", "lingering", "now",
                 "settle_client", "settle_server", "start", "timers")  # fmt: skip

    def __init__(
        self, now: Callable[[], float], deadlines: DeadlineHeap, timers: TimerSettings, counts: Counts
    ) -> None:
        self.now = now
        self.deadlines = deadlines
        self.timers = timers
        self.counts = counts
        self.lingering: dict[str, Lingering[Any]] = {}  #: by the timer that ends them: D, I, L, M
        self.drop_server: Callable[[ServerTransaction], None]
        self.drop_client: Callable[[ClientTransaction], None]
        self.settle_server: Callable[[ServerTransaction], None]
        self.settle_client: Callable[[ClientTransaction], None]
        self.ack_received: Callable[[Request, Flow], None]
        self.start: Callable[[Request, Flow, bytes, ClientUser], ClientTransaction]


class Machine:
    """What walks a table."""

    __slots__ = ("_deadline", "_interval_s", "_shared", "_until_s", "state")
    _table: ClassVar[Bound]
    first_state = TRYING

    def __init__(self, shared: Surroundings) -> None:
        self.state = self.first_state
        self._shared = shared
        self._deadline: Deadline | None = None
        self._interval_s = 0.0
        self._until_s = 0.0

    def step(self, event: str, message: Any = None) -> None:
        """One input. When something done for it ends the transaction, the rest is left."""
        if self.state is TERMINATED:
            return
        row = self._table[self.state].get(event)
        if row is None:
            self._shared.counts.unexpected += 1
            return
        self.state = after = row[0]
        if after is TERMINATED:
            self._end()  # first, so that the user finds it gone
        for action in row[1]:
            action(self, message)
            if self.state is not after and self.state is TERMINATED:
                break

    def _end(self) -> None:
        raise NotImplementedError

    def _stop_timers(self, _message: object) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_by(self, timer: str) -> None:
        """Timers D, I, L, M: once over UDP; over a reliable transport D and I are zero."""
        shared = self._shared
        now_s = shared.now()
        if timer in "DI" and self._reliable():
            shared.deadlines.at(now_s, lambda: self.step(f"timer {timer}"))
        else:
            shared.lingering[timer].add(self, now_s)

    def _reliable(self) -> bool:
        raise NotImplementedError


class ServerTransaction(Machine):
    """
    A request that came, until its last answer can be forgotten. Made by the layer.

    The four callbacks are ``None`` until somebody wants to know.
    """

    __slots__ = ("cancelled", "final_sent", "flow", "key", "on_ack", "on_cancel", "on_error", "on_timeout",
                 "request", "to_tag", "wire")  # fmt: skip

    def __init__(self, request: Request, flow: Flow, key: Key, shared: Surroundings) -> None:
        super().__init__(shared)
        self.request = request
        self.flow = flow  #: answers go here
        self.key = key
        self.final_sent = False  #: a final response was handed to the transport
        self.cancelled = False  #: a CANCEL for this INVITE came before its final response
        self.to_tag = ""  #: To tag of our answers, as far as one was sent; INVITE only
        self.wire = b""  #: the newest response, as sent
        self.on_cancel: Callable[[Request], None] | None = (
            None  #: a CANCEL came and was answered 200; answer 487
        )
        self.on_ack: Callable[[Request], None] | None = None  #: the ACK to our 300-699
        #: timer H: our 300-699 was never acknowledged. Timer L: 64*T1 since the first 2xx, acknowledged or not.
        self.on_timeout: Callable[[], None] | None = None
        self.on_error: Callable[[str], None] | None = None  #: a response could not be delivered

    @property
    def pending(self) -> bool:
        """True as long as it wants a final response from the user."""
        return self.state in (TRYING, PROCEEDING)

    def respond(self, response: Response) -> None:
        """
        Send a response. Ignored when the state does not allow it, as for a second final response (17.2.1,
        17.2.2); a 2xx to INVITE may be sent again and again (13.3.1.4).
        """
        raise NotImplementedError

    def failed(self, reason: str) -> None:
        """A transport could not deliver our response (18.4)."""
        self._shared.counts.errors += 1
        self.step("error", reason)

    def _end(self) -> None:
        self._stop_timers(None)
        self._shared.drop_server(self)

    def _reliable(self) -> bool:
        return self.flow.reliable

    def _send(self, response: Response) -> None:
        self.wire = wire = response.to_bytes()
        self._shared.counts.responses_out[response.status // 100] += 1
        self.flow.send(wire, self.failed)

    def _send_again(self, _message: object) -> None:
        if self.wire:
            self._shared.counts.repeated_out += 1
            self.flow.send(self.wire, self.failed)

    def _tell_error(self, reason: str) -> None:
        if self.on_error is not None:
            self.on_error(reason)

    def _tell_timeout(self, _message: object) -> None:
        if self.on_timeout is not None:
            self.on_timeout()


class OtherServer(ServerTransaction):
    """Any request but INVITE and ACK (17.2.2). When it is answered, the layer keeps the answer's bytes only."""

    __slots__ = ()

    def respond(self, response: Response) -> None:
        self.step("1xx" if response.status < 200 else "200-699", response)

    def _answer(self, response: Response) -> None:
        self.final_sent = True
        self.wire = wire = response.to_bytes()
        shared = self._shared
        shared.settle_server(self)
        shared.counts.responses_out[response.status // 100] += 1
        self.flow.send(wire, self.failed)


class InviteServer(ServerTransaction):
    """INVITE (17.2.1, RFC 6026 7.1)."""

    __slots__ = ()
    first_state = PROCEEDING

    def respond(self, response: Response) -> None:
        status = response.status
        if status > 100 and not self.to_tag:
            self.to_tag = response.to.tag or ""
        if status >= 200:
            self.final_sent = True
        self.step("1xx" if status < 200 else "2xx" if status < 300 else "300-699", response)

    def cancel(self, cancel: Request) -> None:
        """A CANCEL came for it (called by the layer, which answers the CANCEL)."""
        if self.state is PROCEEDING and not self.cancelled:
            self.cancelled = True
            if self.on_cancel is not None:
                self.on_cancel(cancel)

    def trying(self) -> None:
        """200 ms have passed without a response from the user: 100 (17.2.1)."""
        if self.state is PROCEEDING and not self.wire:
            self.step("1xx", self.request.reply(100))

    def _start_g_h(self, _response: object) -> None:
        shared = self._shared
        now_s = shared.now()
        self._until_s = now_s + shared.timers.h_s
        self._interval_s = shared.timers.h_s if self.flow.reliable else shared.timers.g_s
        self._deadline = shared.deadlines.at(min(now_s + self._interval_s, self._until_s), self._due)

    def _due(self) -> None:
        shared = self._shared
        now_s = shared.now()
        self._deadline = None
        if now_s >= self._until_s:
            shared.counts.timeouts += 1
            self.step("timer H")
            return
        self._interval_s = min(2 * self._interval_s, shared.timers.t2_s)
        self._deadline = shared.deadlines.at(min(now_s + self._interval_s, self._until_s), self._due)
        self.step("timer G")

    def _start_i(self, _ack: object) -> None:
        self._end_by("I")

    def _start_l(self, _response: object) -> None:
        self._end_by("L")

    def _tell_ack(self, ack: Request) -> None:
        if self.on_ack is not None:
            self.on_ack(ack)

    def _ack_to_user(self, ack: Request) -> None:
        # A 2xx's ACK has a branch of its own (17.1.1.3); some peers use the INVITE's all the same.
        self._shared.ack_received(ack, self.flow)


class ClientTransaction(Machine):
    """A request we sent, until its last response can be swallowed. Made by the layer."""

    __slots__ = ("branch", "flow", "key", "request", "user", "wire")

    def __init__(
        self, request: Request, flow: Flow, branch: str, wire: bytes, user: ClientUser, shared: Surroundings
    ) -> None:
        super().__init__(shared)
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

    def _settle(self, _response: object) -> None:
        self._shared.settle_client(self)


class InviteClient(ClientTransaction):
    """INVITE (17.1.1, RFC 6026 7.2), with its CANCEL (9.1)."""

    __slots__ = ("_ack", "_cancel_fields", "_cancel_sent")
    first_state = CALLING

    def __init__(
        self, request: Request, flow: Flow, branch: str, wire: bytes, user: ClientUser, shared: Surroundings
    ) -> None:
        super().__init__(request, flow, branch, wire, user, shared)
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
        # 16.6: set again by each provisional response but 100; here 100 starts it as well.
        if self._cancel_sent or (response.status == 100 and self._deadline is not None):
            return
        self._stop_timers(None)
        self._deadline = self._shared.deadlines.at(self._shared.now() + self._shared.timers.c_s, self._due)

    def _send_cancel(self, _message: object) -> None:
        if self._cancel_fields is None or self._cancel_sent or self.state is not PROCEEDING:
            return
        self._cancel_sent = True
        shared = self._shared
        self._stop_timers(None)
        self._deadline = shared.deadlines.at(shared.now() + shared.timers.b_s, self._due)
        cancel = follow_up(self.request, "CANCEL", self.request.get("to") or "")
        for name, value in self._cancel_fields:
            cancel.add(name, value)
        shared.start(cancel, self.flow, cancel.to_bytes(), NOBODY)

    def _start_d(self, _response: object) -> None:
        self._end_by("D")

    def _start_m(self, _response: object) -> None:
        self._end_by("M")

    def _send_ack(self, response: Response) -> None:
        if not self._ack:
            self._ack = follow_up(self.request, "ACK", response.get("to") or "").to_bytes()
        else:
            self._shared.counts.repeated_out += 1
        self.flow.send(self._ack, self.failed)


def follow_up(request: Request, method: str, to: str) -> Request:
    """
    The CANCEL of an INVITE or the ACK to its 300-699: same target, top Via, route, CSeq number (9.1, 17.1.1.3).

    :param to: To of the request for CANCEL, of the response for ACK.
    """
    fields = [("Via", request.get("via") or "")]
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
InviteServer._table = bind(INVITE_SERVER, InviteServer)
OtherServer._table = bind(OTHER_SERVER, OtherServer)
