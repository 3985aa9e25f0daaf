"""What walks a transaction table, and the two server machines (RFC 3261 17.2, RFC 6026).

No socket, no clock: messages leave through a :class:`~mizu.sip.flow.Flow`, time comes from
:class:`Surroundings`. Which message belongs to which transaction is decided in ``transactions``.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from mizu.sip.flow import Flow, Hop, Transports
from mizu.sip.message import Request, Response
from mizu.sip.timers import Deadline, DeadlineHeap, Lingering, TimerSettings
from mizu.sip.transaction_tables import (
    INVITE_SERVER,
    OTHER_SERVER,
    PROCEEDING,
    TERMINATED,
    TRYING,
    Table,
)
from mizu.sip.wire import answer_bytes

if TYPE_CHECKING:
    from mizu.sip.transaction_client import ClientTransaction, ClientUser

Step = Callable[[Any, Any], None]
Key = tuple[str | int | None, ...]  #: of a server transaction; the method comes last
Answer = tuple[int, bytes]  #: status, and the whole response
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
        "withheld",
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
        self.withheld = 0  #: answers not sent because they were larger than a forged source may be sent
        self.unexpected = 0  #: inputs a machine has no row for; anything but 0 is a fault of ours


#: Challenges, and what a request of no dialog gets: who hears this has proved nothing, so we never repeat it.
UNPROVEN = frozenset((401, 407, 481))


#: Kept for the final answer to an unproved caller when a provisional one is sent, because a client does not
#: ask again after that: a 200 with a large description.
FINAL_BYTES = 2000


class Surroundings:
    """What all transactions of one layer share."""

    __slots__ = ("ack_received", "counts", "deadlines", "drop_client", "drop_server", "is_proved",
                 "lingering", "now", "settle_client", "settle_server", "start", "timers", "transports",
                 "trimmed")  # fmt: skip

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
        self.is_proved: Callable[[Flow], bool]
        self.trimmed: Callable[[Response, Flow], bytes]
        self.transports: Transports | None
        self.start: Callable[[Request, Flow, bytes, str, ClientUser], ClientTransaction]


class Machine:
    """What walks a table."""

    __slots__ = ("_deadline", "_interval_s", "_shared", "_until_s", "state")
    _table: ClassVar[Bound]
    first_state: ClassVar[str] = TRYING

    state: str
    _shared: Surroundings
    _deadline: Deadline | None
    _interval_s: float
    _until_s: float

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
        if self.state is TERMINATED:
            self._let_go()

    def _end(self) -> None:
        """Leave the tables."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """Nobody is told of anything any more; breaks the cycle with whoever holds the transaction."""
        raise NotImplementedError

    def _stop_timers(self, _message: object) -> None:
        deadline = self._deadline
        if deadline is not None:
            self._deadline = None
            deadline.cancel()

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

    Over UDP the source may be forged. Until the sender is known to be there, each copy of the request allows
    no more bytes than ``answer_max_bytes`` of its flow; a provisional response waits until enough is left for
    a final one. So what is sent on a timer stays away from him, and a client that is really there asks again.

    The four callbacks are ``None`` until somebody wants to know.
    """

    __slots__ = (
        "_allowed_bytes",
        "_reopened",
        "cancelled",
        "final_sent",
        "flow",
        "key",
        "on_ack",
        "on_cancel",
        "on_error",
        "on_timeout",
        "request",
        "to_tag",
        "wire",
    )

    def __init__(self, request: Request, flow: Flow, key: Key, shared: Surroundings) -> None:
        self.state = self.first_state
        self._shared = shared
        self.request = request
        self.flow = flow  #: answers go here
        self.key = key
        self.final_sent = False  #: a final response was handed to the transport
        self._reopened = False
        self.cancelled = False  #: a CANCEL for this INVITE came before its final response
        self.to_tag = ""  #: To tag of our answers, as far as one was sent; INVITE only
        self.wire = b""  #: the newest response, as sent
        self._allowed_bytes: float = flow.answer_max_bytes or inf
        self.on_cancel: Callable[[Request], None] | None = (
            None  #: a CANCEL came and was answered 200; answer 487
        )
        self.on_ack: Callable[[Request], None] | None = None  #: the ACK to our 300-699
        #: timer H: our 300-699 was never acknowledged. Timer L: 64*T1 since the first 2xx, come what may.
        self.on_timeout: Callable[[], None] | None = None
        self.on_error: Callable[[str], None] | None = None  #: a response could not be delivered

    @property
    def pending(self) -> bool:
        """True as long as it wants a final response from the user."""
        return self.state in (TRYING, PROCEEDING)

    def respond(self, response: Response) -> None:
        """
        Send a response. Ignored when the state does not allow it, as for a second final response (17.2.1,
        17.2.2); a 2xx to INVITE may be sent again and again (13.3.1.4). What is too long for an unproved
        sender goes without what can be missed.
        """
        wire = response.to_bytes()
        if len(wire) > self._allowed_bytes:
            wire = self._shared.trimmed(response, self.flow)
        self.answer(response.status, wire)

    def answer(self, status: int, wire: bytes, to_tag: str = "") -> None:
        """
        :meth:`respond` with bytes, which cannot be made smaller for an unproved sender.

        :param to_tag: of the response; matters for an INVITE.
        """
        raise NotImplementedError

    def asked_again(self, flow: Flow) -> None:
        """A copy of the request has come over that flow (called by the layer)."""
        self._allowed_bytes += flow.answer_max_bytes

    def prove(self) -> None:
        """The sender has shown in this very dialog that he is there."""
        self._allowed_bytes = inf

    def may_send(self, wire: bytes) -> bool:
        """May this be sent to where the request came from, besides answers? Takes what it costs."""
        return self._may_send(200, wire)

    def _may_send(self, status: int, wire: bytes) -> bool:
        """Take what this costs from what the sender may be sent; false: it is too much for him now."""
        left = self._allowed_bytes - len(wire)
        # A 100 says nothing and would keep the client from asking again.
        if left < (FINAL_BYTES if status < 200 else 0) or (status == 100 and left != inf):
            if not self._shared.is_proved(self.flow):
                self._shared.counts.withheld += 1
                return False
            left = inf
        self._allowed_bytes = left
        return True

    def release(self) -> None:
        """The user of an answered and acknowledged INVITE needs its request no more: most of its memory."""
        if not self.flow.reliable:  # else a new connection may have to be made to where its Via says
            del self.request
            self.wire = b""

    def failed(self, reason: str) -> None:
        """A transport could not deliver our response (18.4)."""
        self._shared.counts.errors += 1
        again = self._reopen()
        if again is None:
            self.step("error", reason)
        else:
            self.flow = again
            again.send(self.wire, self.failed)

    def _reopen(self) -> Flow | None:
        """
        The connection the request came over is gone: once, a new one to where its Via says (18.2.2).

        A transaction that is over may still do this; it answers a request, whatever the tables forgot.
        """
        transports, flow = self._shared.transports, self.flow
        if transports is None or not flow.reliable or self._reopened:
            return None
        self._reopened = True
        via = self.request.via
        port = via.port or (5061 if flow.proto == "tls" else 5060)
        return transports.flow_to(Hop(flow.proto, flow.remote[0], port, via.host), flow.listener)

    def _end(self) -> None:
        self._shared.drop_server(self)

    def _reliable(self) -> bool:
        return self.flow.reliable

    def _let_go(self) -> None:
        self.on_cancel = self.on_ack = self.on_timeout = self.on_error = None

    def _send(self, answer: Answer) -> None:
        status, self.wire = answer
        self._shared.counts.responses_out[status // 100] += 1
        if self._may_send(status, self.wire):
            self.flow.send(self.wire, self.failed)

    def _send_again(self, _message: object) -> None:
        if self.wire and self._may_send(180 if self.pending else 200, self.wire):
            self._shared.counts.repeated_out += 1
            self.flow.send(self.wire, self.failed)

    def _tell_error(self, reason: str) -> None:
        if self.on_error is not None:
            self.on_error(reason)

    def _tell_timeout(self, _message: object) -> None:
        if self.on_timeout is not None:
            self.on_timeout()


class OtherServer(ServerTransaction):
    """Any request but INVITE and ACK (17.2.2). Once answered, the layer keeps only the answer's bytes."""

    __slots__ = ()

    def answer(self, status: int, wire: bytes, to_tag: str = "") -> None:
        self.step("1xx" if status < 200 else "200-699", (status, wire))

    def _answer(self, answer: Answer) -> None:
        self.final_sent = True
        self.wire = answer[1]
        self._shared.settle_server(self)  # keeps the bytes, and judges each copy of the request
        self._send(answer)


class InviteServer(ServerTransaction):
    """INVITE (17.2.1, RFC 6026 7.1)."""

    __slots__ = ()
    first_state: ClassVar[str] = PROCEEDING

    def __init__(self, request: Request, flow: Flow, key: Key, shared: Surroundings) -> None:
        super().__init__(request, flow, key, shared)
        self._deadline = None

    def _end(self) -> None:
        self._stop_timers(None)
        self._shared.drop_server(self)

    def respond(self, response: Response) -> None:
        if response.status > 100 and not self.to_tag:
            self.to_tag = response.to.tag
        super().respond(response)

    def answer(self, status: int, wire: bytes, to_tag: str = "") -> None:
        if to_tag and not self.to_tag:
            self.to_tag = to_tag
        if status >= 200:
            self.final_sent = True
        self.step("1xx" if status < 200 else "2xx" if status < 300 else "300-699", (status, wire))

    def cancel(self, cancel: Request) -> None:
        """A CANCEL came for it (called by the layer, which answers the CANCEL)."""
        if self.state is PROCEEDING and not self.cancelled:
            self.cancelled = True
            if self.on_cancel is not None:
                self.on_cancel(cancel)

    def trying(self) -> None:
        """200 ms have passed without a response from the user: 100 (17.2.1)."""
        if self.state is PROCEEDING and not self.wire:
            self.answer(100, answer_bytes(self.request, 100))

    def _start_g_h(self, answer: Answer) -> None:
        shared = self._shared
        now_s = shared.now()
        self._until_s = now_s + shared.timers.h_s
        # One answer for each copy: who is told this repeats it himself as long as he hears nothing.
        once = self.flow.reliable or answer[0] in UNPROVEN
        self._interval_s = shared.timers.h_s if once else shared.timers.g_s
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

    def _start_l(self, _answer: object) -> None:
        self._end_by("L")

    def _tell_ack(self, ack: Request) -> None:
        if self.on_ack is not None:
            self.on_ack(ack)

    def _ack_to_user(self, ack: Request) -> None:
        # A 2xx's ACK has a branch of its own (17.1.1.3); some peers use the INVITE's all the same.
        self._shared.ack_received(ack, self.flow)


InviteServer._table = bind(INVITE_SERVER, InviteServer)
OtherServer._table = bind(OTHER_SERVER, OtherServer)
