"""A call as a :class:`~mizu.testing.peer.SipPeer` sees it: one dialog from INVITE to BYE, any direction."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mizu.sip.grammar import split_list
from mizu.sip.headers import NameAddr
from mizu.sip.message import Request, Response
from mizu.sip.outgoing import SentAck
from mizu.sip.timers import Deadline
from mizu.sip.transactions import ServerTransaction

if TYPE_CHECKING:
    from mizu.testing.peer import Exchange, SipPeer

Fields = Sequence[tuple[str, str]]


class Repeated:
    """A response that is sent again and again until it is confirmed: T1, 2*T1, ... up to ``ceiling_s``."""

    def __init__(
        self,
        tx: ServerTransaction,
        response: Response,
        peer: "SipPeer",
        ceiling_s: float,
        lost: Callable[[], None],
    ) -> None:
        self.response = response
        self._tx, self._peer, self._ceiling_s, self._lost = tx, peer, ceiling_s, lost
        self._interval_s = peer.timers.t1_s
        self._until_s = peer.clock.mono_s() + 64 * peer.timers.t1_s
        self._deadline: Deadline | None = None
        tx.respond(response)
        self._arm()

    def confirmed(self) -> None:
        """It has arrived."""
        if self._deadline is not None:
            self._deadline.cancel()

    def _arm(self) -> None:
        now_s = self._peer.clock.mono_s()
        self._deadline = self._peer.clock.deadlines.at(
            min(now_s + self._interval_s, self._until_s), self._due
        )

    def _due(self) -> None:
        if self._peer.clock.mono_s() >= self._until_s:
            self._lost()
            return
        self._interval_s = min(2 * self._interval_s, self._ceiling_s)
        self._tx.respond(self.response)
        self._arm()


class PeerCall:
    """
    One call.

    ``state``: ``calling``, ``ringing``, ``up``, ``ended`` (it was up, or was cancelled by the caller),
    ``failed`` (it was refused; ``status`` says how).
    """

    def __init__(self, peer: "SipPeer", remote: str, tx: ServerTransaction | None = None) -> None:
        """:param tx: the INVITE, of a call that comes in."""
        self.peer = peer
        self.incoming = tx is not None
        self.state = "calling"
        self.status = 0  #: final status of the first INVITE; 408 or 503 when there was none
        self.ended_by = ""  #: ``us`` or ``them``
        self.requests: list[Request] = []  #: requests that came in this call, INVITE and ACK too
        self.responses: list[Response] = []  #: responses that came in this call
        self.acks: list[Request] = []  #: ACKs to our 2xx that came, without repetitions
        self.exchanges: list[Exchange] = []  #: our requests in this call
        #: Called first with each request in the dialog; true: it has been answered.
        self.on_request: Callable[[ServerTransaction], bool] | None = None
        self.remote_sdp = b""  #: the newest that came
        self.local_tag = peer.word("t")
        self.remote_tag = ""
        self.target = remote  #: URI our requests in the dialog go to
        self.routes: tuple[str, ...] = ()
        self.cseq = 0
        self._sdp_version = 0
        self._invite: Exchange | None = None  # our newest INVITE
        self._acks_sent: dict[tuple[int, str], SentAck] = {}
        self._ack_sdp = b""
        self._cancelled = False
        self._repeated: dict[int, Repeated] = {}  # our unconfirmed 2xx, by CSeq
        self._reliable: dict[int, Repeated] = {}  # our unconfirmed reliable 1xx, by RSeq
        self._rseq = 0
        self._rseq_seen = 0
        self._tx = tx
        self._local = f"<{peer.address}>"
        self._remote = f"<{remote}>"
        if tx is None:
            self.call_id = peer.word("call")
        else:
            request = tx.request
            self.call_id = request.call_id
            self._local = request.get("to") or ""
            self._remote = request.get("from") or ""
            self.remote_tag = request.from_.tag
            self.routes = tuple(request.values("record-route"))
            self._take(request)
            self.requests.append(request)
            tx.on_cancel = self._cancel_received

    # ------------------------------------------------------------ what the script does

    def invite(self, sdp: bytes | None = None, fields: Fields = (), ack_sdp: bytes = b"") -> "Exchange":
        """Send INVITE or re-INVITE; ``sdp`` default: our own; ``ack_sdp`` goes into the ACK."""
        body = self.sdp() if sdp is None else sdp
        self._ack_sdp = ack_sdp
        extra = list(fields)
        if self.peer.supported:
            extra.append(("Supported", self.peer.supported))
        self._invite = self._exchange("INVITE", body, extra, self._invite_answered, self._invite_failed)
        return self._invite

    reinvite = invite

    def ring(
        self, status: int = 180, sdp: bytes = b"", fields: Fields = (), *, reliable: bool = False
    ) -> None:
        """
        A provisional response.

        :param reliable: with ``RSeq``, repeated until PRACK comes (RFC 3262).
        """
        tx = self._pending()
        if reliable:
            self._rseq += 1
            fields = [*fields, ("Require", "100rel"), ("RSeq", str(self._rseq))]
        response = self._reply(tx, status, sdp, fields)
        self.state = "ringing" if self.state == "calling" else self.state
        if reliable:
            self._reliable[self._rseq] = Repeated(tx, response, self.peer, 1e9, lambda: None)
        else:
            tx.respond(response)

    def answer(self, sdp: bytes | None = None, fields: Fields = ()) -> None:
        """200, repeated until the ACK comes; without one in 64*T1 the call is ended (13.3.1.4)."""
        tx = self._pending()
        self._answer(tx, self.sdp() if sdp is None else sdp, fields)
        self.state, self.status = "up", 200

    def reject(self, status: int = 486, fields: Fields = (), reason: str | None = None) -> None:
        """Refuse the call."""
        tx = self._pending()
        self._stop_reliable()
        tx.respond(tx.request.reply(status, reason, to_tag=self.local_tag, fields=fields))
        self.state, self.status, self.ended_by = "failed", status, "us"

    def cancel(self, fields: Fields = ()) -> None:
        """CANCEL our INVITE."""
        assert self._invite is not None, "there is no INVITE of ours"
        self._cancelled = True
        self._invite.cancel(fields)

    def hang_up(self, fields: Fields = ()) -> "Exchange":
        """BYE."""
        self._ended("us")
        return self._exchange("BYE", b"", fields)

    def info(self, body: bytes, content_type: str = "application/dtmf-relay") -> "Exchange":
        """INFO."""
        return self._exchange("INFO", body, [("Content-Type", content_type)])

    def update(self, sdp: bytes | None = None, fields: Fields = ()) -> "Exchange":
        """UPDATE, with an offer unless ``sdp`` is ``b""``."""
        return self._exchange("UPDATE", self.sdp() if sdp is None else sdp, fields)

    def refer(self, to: str, fields: Fields = ()) -> "Exchange":
        """REFER: transfer the other party to ``to``. NOTIFYs are answered and kept in ``requests``."""
        return self._exchange("REFER", b"", [("Refer-To", f"<{to}>"), ("Referred-By", self._local), *fields])

    def prack(self, response: Response, sdp: bytes = b"") -> "Exchange":
        """PRACK for a reliable provisional response (done by itself unless ``peer.auto_prack`` is off)."""
        rack = f"{response.get('rseq')} {response.cseq.number} {response.cseq.method}"
        return self._exchange("PRACK", sdp, [("RAck", rack)])

    def send(self, method: str, body: bytes = b"", fields: Fields = ()) -> "Exchange":
        """Any other request in the dialog."""
        return self._exchange(method, body, fields)

    def replaces(self) -> str:
        """Value of a ``Replaces`` header that names this dialog, seen from the other side (RFC 3891)."""
        return f"{self.call_id};to-tag={self.remote_tag};from-tag={self.local_tag}"

    def sdp(self, host: str = "", port: int = 4000, direction: str = "") -> bytes:
        """A new description of our media, its version one higher than the last."""
        self._sdp_version += 1
        host = host or next(iter(self.peer.transports.listeners.values()))[1][0]
        family = "IP6" if ":" in host else "IP4"
        lines = [
            "v=0",
            f"o={self.peer.name} 1 {self._sdp_version} IN {family} {host}",
            "s=-",
            f"c=IN {family} {host}",
            "t=0 0",
            f"m=audio {port} RTP/AVP 0 8",
        ]
        if direction:
            lines.append(f"a={direction}")
        return ("\r\n".join(lines) + "\r\n").encode()

    def got(self, *methods_or_statuses: str | int) -> bool:
        """Whether such a request (``"BYE"``) or response (``180``) has come, every one of them."""
        have: set[str | int] = {request.method for request in self.requests}
        have |= {response.status for response in self.responses}
        return have.issuperset(methods_or_statuses)

    # ------------------------------------------------------------ our requests

    def _exchange(
        self,
        method: str,
        body: bytes = b"",
        fields: Fields = (),
        heard: Callable[[Response], None] | None = None,
        failed: Callable[[str], None] | None = None,
    ) -> "Exchange":
        def make(authorization: Fields) -> Request:
            self.cseq += 1
            return self._request(method, self.cseq, body, [*fields, *authorization])

        def listen(response: Response) -> None:
            self.responses.append(response)
            if heard is not None:
                heard(response)

        outside = not self.remote_tag
        exchange = self.peer.exchange(
            make,
            heard=listen,
            failed=failed,
            next_hop=None if outside else "",
            own_contact=method in ("INVITE", "UPDATE", "REFER", "SUBSCRIBE"),
        )
        self.exchanges.append(exchange)
        return exchange

    def _request(self, method: str, number: int, body: bytes, fields: Fields) -> Request:
        tag = f";tag={self.remote_tag}" if self.remote_tag and not self.incoming else ""
        local = f"{self._local};tag={self.local_tag}"
        headers = [("Route", route) for route in self.routes]
        headers += [
            ("From", local),
            ("To", f"{self._remote}{tag}"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{number} {method}"),
            ("Max-Forwards", "70"),
            *fields,
        ]
        if body and not any(name.lower() == "content-type" for name, _ in fields):
            headers.append(("Content-Type", "application/sdp"))
        return Request(method, self.target, headers, body)

    def _invite_answered(self, response: Response) -> None:
        status, number = response.status, response.cseq.number
        if status < 200:
            self._provisional(response)
            return
        first = self.state in ("calling", "ringing")
        if status >= 300:
            if first:
                self.status = status
                self.state = "ended" if self._cancelled else "failed"
                self.ended_by = "us" if self._cancelled else "them"
            return
        if response.to.tag != self.remote_tag and self.remote_tag and not first:
            return  # another fork: not ours to keep; it is acknowledged by nobody in these tests
        again = (number, response.to.tag) in self._acks_sent
        if first:
            self.remote_tag = ""  # the 2xx decides, whatever early dialog was there
            self.state, self.status = "up", status
        if not again:
            self._establish(response)
            self._take(response)
        self.ack_again(response)
        if self._cancelled and not again and first:
            self.hang_up()

    def ack_again(self, response: Response) -> None:
        """Acknowledge a 2xx; the first ACK is made once, then its bytes are repeated."""
        key = (response.cseq.number, response.to.tag)
        sent = self._acks_sent.get(key)
        if sent is not None:
            sent.resend()
            return
        ack = self._request("ACK", response.cseq.number, self._ack_sdp, [])
        self._acks_sent[key] = self.peer.sender.send_ack(ack)

    def _invite_failed(self, code: str) -> None:
        if self.state in ("calling", "ringing"):
            self.state, self.status = "failed", 408 if code == "timeout" else 503

    def _provisional(self, response: Response) -> None:
        if response.status == 100:
            return
        if self.state == "calling":
            self.state = "ringing"
        if response.to.tag:
            self._establish(response)
        self._take(response)
        rseq = response.get("rseq")
        if rseq and int(rseq) > self._rseq_seen and self.peer.auto_prack:
            self._rseq_seen = int(rseq)
            self.prack(response)

    def _establish(self, response: Response) -> None:
        if not self.remote_tag or self.state == "ringing":
            self.remote_tag = response.to.tag
            self.routes = tuple(reversed(response.values("record-route")))

    def _take(self, message: Request | Response) -> None:
        contact = message.get("contact")
        if contact:
            self.target = NameAddr.parse(split_list(contact)[0]).uri_text
        if message.body:
            self.remote_sdp = message.body

    # ------------------------------------------------------------ their requests

    def request_received(self, tx: ServerTransaction) -> None:
        """A request in this dialog (called by the peer)."""
        request = tx.request
        self.requests.append(request)
        if self.state in ("ended", "failed"):
            tx.respond(request.reply(481))
        elif self.on_request is not None and self.on_request(tx):
            pass
        elif request.method == "BYE":
            tx.respond(request.reply(200))
            if self._tx is not None and self._tx.pending:
                self._tx.respond(self._tx.request.reply(487, to_tag=self.local_tag))
            self._ended("them")
        elif request.method == "INVITE":
            self._reinvited(tx)
        elif request.method == "PRACK":
            self._pracked(tx)
        elif request.method == "UPDATE":
            self._take(request)
            tx.respond(self._reply(tx, 200, self.sdp() if request.body else b"", ()))
        else:
            tx.respond(request.reply(202 if request.method == "REFER" else 200))

    def ack_received(self, ack: Request) -> None:
        """The ACK to a 2xx of ours (called by the peer)."""
        repeated = self._repeated.pop(ack.cseq.number, None)
        if repeated is not None:
            repeated.confirmed()
            self.acks.append(ack)
            self.requests.append(ack)
            if ack.body:
                self.remote_sdp = ack.body

    def _reinvited(self, tx: ServerTransaction) -> None:
        if self._invite is not None and not self._invite.done:
            tx.respond(tx.request.reply(491))
            return
        self._take(tx.request)
        self._answer(tx, self.sdp(), ())

    def _pracked(self, tx: ServerTransaction) -> None:
        rseq = (tx.request.get("rack") or "0").split()[0]
        waiting = self._reliable.pop(int(rseq), None) if rseq.isdigit() else None
        if waiting is None:
            tx.respond(tx.request.reply(481))
            return
        waiting.confirmed()
        tx.respond(self._reply(tx, 200, self.sdp() if tx.request.body else b"", ()))

    def _cancel_received(self, cancel: Request) -> None:
        self.requests.append(cancel)
        tx = self._pending()
        self._stop_reliable()
        tx.respond(tx.request.reply(487, to_tag=self.local_tag))
        self.state, self.status, self.ended_by = "ended", 487, "them"

    def _answer(self, tx: ServerTransaction, sdp: bytes, fields: Fields) -> None:
        self._stop_reliable()
        response = self._reply(tx, 200, sdp, fields)
        number = tx.request.cseq.number
        self._repeated[number] = Repeated(
            tx, response, self.peer, self.peer.timers.t2_s, self._not_acknowledged
        )

    def _not_acknowledged(self) -> None:
        self._repeated.clear()
        if self.state == "up":
            self.hang_up()

    def _reply(self, tx: ServerTransaction, status: int, sdp: bytes, fields: Fields) -> Response:
        headers = [*fields, ("Contact", self.peer.contact)]
        if sdp:
            headers.append(("Content-Type", "application/sdp"))
        return tx.request.reply(
            status,
            to_tag=self.local_tag,
            fields=headers,
            body=sdp,
            copy_record_route=tx.request.method == "INVITE",
        )

    def _pending(self) -> ServerTransaction:
        assert self._tx is not None, "not a call that came in"
        assert self._tx.pending, f"the INVITE is answered already ({self.status})"
        return self._tx

    def _stop_reliable(self) -> None:
        for waiting in self._reliable.values():
            waiting.confirmed()
        self._reliable.clear()

    def _ended(self, by: str) -> None:
        if self.state != "ended":
            self.state, self.ended_by = "ended", by
        for repeated in self._repeated.values():
            repeated.confirmed()
        self._repeated.clear()

    def __repr__(self) -> str:
        way = "from" if self.incoming else "to"
        return f"<call of {self.peer.name} {way} {self._remote} {self.state} {self.status}>"
