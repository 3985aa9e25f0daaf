"""The transaction layer: which message belongs to which transaction, and the tables with their limits.

Source: RFC 3261 17.1.3, 17.2.3, 8.2.2.2, 9.2; RFC 6026. The machines are in ``transaction``.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

from mizu.errors import MizuError, Overloaded
from mizu.sip.flow import Flow, Transports
from mizu.sip.grammar import BadMessage
from mizu.sip.message import Message, Request, Response
from mizu.sip.timers import DeadlineHeap, Lingering, TimerSettings
from mizu.sip.transaction import (
    Counts,
    InviteServer,
    Key,
    Machine,
    OtherServer,
    ServerTransaction,
    Surroundings,
)
from mizu.sip.transaction_client import ClientTransaction, ClientUser, InviteClient, OtherClient
from mizu.sip.transaction_tables import COMPLETED
from mizu.sip.wire import answer_bytes

__all__ = [
    "Answer",
    "ClientTransaction",
    "ClientUser",
    "Counts",
    "ServerTransaction",
    "TransactionLayer",
    "TransactionUser",
]

MAGIC_COOKIE = "z9hG4bK"  # RFC 3261 8.1.1.7
METHODS = (
    *("INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "PRACK", "UPDATE"),
    *("INFO", "MESSAGE", "REFER", "NOTIFY", "SUBSCRIBE", "PUBLISH"),
)
#: Doing these twice does no harm, so a second copy that came another way is only looked for while the first
#: is at work, not for 32 s after it. They are most of the traffic.
REPEATABLE = frozenset({"REGISTER", "OPTIONS"})
_KEY_PARTS = 5  # of a peer that keeps RFC 3261
RETRY_AFTER_S = 5  # told in the 503 when the table is full
_DISPENSABLE = ("server", "allow", "supported", "allow-events")  # in answers to senders nobody knows

MergeKey = tuple[str | None, str | None, str | None]


class TransactionUser(Protocol):
    """What is above the layer (RFC 3261 calls it the TU)."""

    def request_received(self, tx: ServerTransaction) -> None:
        """A new request; never ACK, never CANCEL. Answer with ``tx.respond``, now or later."""

    def ack_received(self, ack: Request, flow: Flow) -> None:
        """An ACK that ends no 300-699: one for a 2xx."""

    def stray_response(self, response: Response, flow: Flow) -> None:
        """A response of no transaction, for instance a 2xx to INVITE after timer M."""


def _words(length: int = 18, at_once: int = 128) -> Iterator[str]:
    while True:
        pool = secrets.token_hex(length * at_once // 2)
        for start in range(0, length * at_once, length):
            yield pool[start : start + length]


#: 72 bits nobody can guess, as hexadecimal; enough for a branch or a tag (RFC 3261 19.3). Drawn from the
#: system in bulk, because one call of its own for each branch would cost as much as sending the request.
random_token: Callable[[], str] = _words().__next__


class Answer(NamedTuple):
    """A final response without a body, still to be written."""

    status: int
    reason: str | None  #: ``None``: the usual phrase
    fields: tuple[tuple[str, str], ...]
    to_tag: str | None
    #: Repeat it to repetitions of the request. False: work it out again for each, and send no more than a
    #: sender may get who has proved nothing.
    keep: bool = True


class TransactionLayer:
    """
    All transactions of a process.

    :param user: gets new requests and what belongs to no transaction.
    :param deadlines: the process's heap; its owner runs it.
    :param now: monotonic seconds.
    :param limit: server transactions at a time, and as many client transactions. At the limit the oldest
        answers kept for repeated requests are forgotten first; when there is none, new requests get 503 with
        ``Retry-After``, without state.
    :param token: gives a new unguessable word of token characters.
    :param transports: with it, a response whose stream connection is gone goes over a new one (18.2.2).
    """

    def __init__(
        self,
        user: TransactionUser,
        deadlines: DeadlineHeap,
        now: Callable[[], float],
        *,
        timers: TimerSettings | None = None,
        limit: int = 200_000,
        token: Callable[[], str] = random_token,
        transports: Transports | None = None,
    ) -> None:
        self.user = user
        self.deadlines = deadlines
        self.timers = timers = timers or TimerSettings()
        self.tallies = Counts(METHODS)
        self._limit = limit
        self._now = now
        self._token = token
        self._tag_key = token().encode()
        self._servers: dict[Key, ServerTransaction] = {}
        self._answers: dict[Key, bytes] = {}  # non-INVITE in COMPLETED: the final response
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._settled: set[tuple[str, str]] = set()  # non-INVITE in COMPLETED
        self._merged: dict[MergeKey, Key] = {}
        self._merge_keys: dict[Key, MergeKey] = {}

        self.is_known: Callable[[Flow], bool] = _nobody_is_known  #: may be sent answers of any size
        #: told of a CANCEL of nothing
        self.cancel_refused: Callable[[Flow], None] = _nobody_counts
        #: Answers a new request before there is a transaction; ``None``: it needs one.
        self.at_once: Callable[[Request, Flow], Answer | None] = _never_at_once

        self._shared = shared = Surroundings(now, deadlines, timers, self.tallies)
        shared.is_proved = self.is_proved
        shared.trimmed = self._trimmed
        shared.drop_server = self._drop_server
        shared.drop_client = self._drop_client
        shared.settle_server = self._settle_server
        shared.settle_client = self._settle_client
        shared.ack_received = self._ack_received
        shared.start = self.start
        shared.transports = transports
        for timer, delay_s in (("D", timers.d_s), ("I", timers.i_s), ("L", timers.l_s), ("M", timers.m_s)):
            shared.lingering[timer] = Lingering(deadlines, delay_s, _ender(f"timer {timer}"))
        self._timer_j: Lingering[Key] = Lingering(deadlines, timers.j_s, self._forget_answer)
        self._timer_k: Lingering[tuple[str, str]] = Lingering(deadlines, timers.k_s, self._settled.discard)
        self._trying: Lingering[InviteServer] = Lingering(
            deadlines, timers.trying_s, InviteServer.trying, grain_s=0.0
        )
        self._unanswered: Lingering[Machine] = Lingering(deadlines, timers.f_s, _ender("no answer"))

    # ------------------------------------------------------------ what comes in

    def receive(self, message: Message, flow: Flow) -> None:
        """
        One parsed message. Whoever received it has stamped a request's source (18.2.1).

        A ``MizuError`` that the user raises for a new request becomes its answer; for any other exception the
        answer is 500, and it is raised on.
        """
        if isinstance(message, Request):
            try:
                self._receive_request(message, flow)
            except BadMessage as bad:  # From or To cannot be read, which only shows when they are needed
                if message.method != "ACK":
                    self._refuse(message, flow, bad.sip_status)
        elif isinstance(message, Response):
            try:
                self._receive_response(message, flow)
            except BadMessage:
                self.tallies.stray += 1  # a response nobody can read is no response

    def _receive_request(self, request: Request, flow: Flow) -> None:
        method = request.method
        via = request.via
        branch = via.branch
        matched = "INVITE" if method == "ACK" else method
        if branch and branch.startswith(MAGIC_COOKIE):
            # The source too: who knows or guesses a branch elsewhere is sent nothing of what was answered.
            key: Key = (branch, via.host, via.port, flow.remote[0], matched)
        else:
            key = _key_of_2543(request, flow.remote[0], matched)
        wire = self._answers.get(key)
        if wire is not None:
            self.tallies.repeated_in += 1
            if wire and self._fits(wire, flow):  # else it is withheld
                self.tallies.repeated_out += 1
                flow.send(wire)
            return
        tx = self._servers.get(key)
        if tx is not None:
            self._receive_again(tx, request, flow)
        elif method == "ACK":
            self._ack_received(request, flow)
        elif method == "CANCEL":
            self._receive_cancel(request, flow, key)
        else:
            self._receive_new(request, flow, key)

    def _receive_again(self, tx: ServerTransaction, request: Request, flow: Flow) -> None:
        if request.method == "ACK":
            if len(tx.key) > _KEY_PARTS and tx.to_tag != (request.to.tag or ""):
                self._ack_received(request, flow)  # RFC 2543 peers: the To tag tells (17.2.3)
            else:
                tx.step("ACK", request)
        else:
            self.tallies.repeated_in += 1
            tx.asked_again(flow)
            tx.step("INVITE" if isinstance(tx, InviteServer) else "request")

    def _receive_new(self, request: Request, flow: Flow, key: Key) -> None:
        method = request.method
        counted = self.tallies.requests_in
        counted[method if method in counted else "other"] += 1
        merge_key: MergeKey | None = None
        if self._merged or method not in REPEATABLE:
            merge_key = _merge_key(request)
            if merge_key in self._merged:
                self.tallies.merged += 1
                self._refuse(request, flow, 482)
                return
        if len(self._servers) + len(self._answers) >= self._limit and not self._make_room():
            self.tallies.refused += 1
            self._refuse(request, flow, 503)
            return
        answer = self.at_once(request, flow)
        if answer is not None:
            self._answer_at_once(request, flow, key, answer)
            return
        tx = (InviteServer if method == "INVITE" else OtherServer)(request, flow, key, self._shared)
        self._servers[key] = tx
        try:
            self.user.request_received(tx)
        except MizuError as error:
            self._answer_error(tx, error)
        except Exception:
            self._answer_error(tx, MizuError())
            raise
        finally:
            if tx.state is not COMPLETED or method not in REPEATABLE:  # most of the traffic is through
                self._wait_for(tx, request, merge_key)

    def _answer_at_once(self, request: Request, flow: Flow, key: Key, answer: Answer) -> None:
        """A non-INVITE server transaction that is in COMPLETED before anybody saw it in TRYING (17.2.2)."""
        status, reason, fields, to_tag, keep = answer
        if not keep:
            self.answer_stateless(request, flow, status, reason, to_tag=to_tag, fields=fields)
            return
        self.tallies.responses_out[status // 100] += 1
        self._answers[key] = wire = self._fitted(request, flow, status, reason, to_tag, fields)
        self._timer_j.add(key, self._now())
        if wire:
            flow.send(wire, self._send_failed)

    def _send_failed(self, reason: str) -> None:
        """The kept answer could not be sent; a repetition of the request asks for it again."""
        self.tallies.errors += 1

    def _wait_for(self, tx: ServerTransaction, request: Request, merge_key: MergeKey | None) -> None:
        """What a transaction needs that is not over yet, or whose second copy must be known."""
        if tx.pending:
            if isinstance(tx, InviteServer):
                if not tx.wire:
                    self._trying.add(tx, self._now())
            else:
                self._unanswered.add(tx, self._now())
        elif tx.key not in self._servers and tx.key not in self._answers:
            return
        if merge_key is None and request.method in REPEATABLE:
            merge_key = _merge_key(request)
        if merge_key is not None and merge_key not in self._merged:
            self._merged[merge_key] = tx.key
            self._merge_keys[tx.key] = merge_key

    def _receive_cancel(self, cancel: Request, flow: Flow, key: Key) -> None:
        self.tallies.requests_in["CANCEL"] += 1
        stem = key[:-1]
        invite = self._servers.get((*stem, "INVITE"))
        known = invite is not None or any(
            (*stem, method) in self._servers or (*stem, method) in self._answers for method in METHODS
        )
        if not known:
            self.cancel_refused(flow)
            self._refuse(cancel, flow, 481)
            return
        tag = invite.to_tag if invite is not None else ""
        answer = OtherServer(cancel, flow, key, self._shared)
        self._servers[key] = answer
        answer.respond(cancel.reply(200, to_tag=tag or self.stateless_tag(cancel)))
        if isinstance(invite, InviteServer):
            invite.cancel(cancel)

    def _receive_response(self, response: Response, flow: Flow) -> None:
        status = response.status
        self.tallies.responses_in[status // 100] += 1
        key = (response.via.branch or "", response.cseq.method)
        tx = self._clients.get(key)
        if tx is not None:
            tx.receive(response)
        elif key not in self._settled:
            self.tallies.stray += 1
            self.user.stray_response(response, flow)

    def _ack_received(self, ack: Request, flow: Flow) -> None:
        self.tallies.requests_in["ACK"] += 1
        self.user.ack_received(ack, flow)

    # ------------------------------------------------------------ what goes out

    def request(self, request: Request, flow: Flow, user: ClientUser) -> ClientTransaction:
        """
        Send a request: put our Via on top, send, repeat as needed. Not for the ACK to a 2xx.

        :raise Overloaded: the table is full; nothing was sent.
        """
        branch = self.address(request, flow)
        return self.start(request, flow, request.to_bytes(), branch, user)

    def address(self, request: Request, flow: Flow) -> str:
        """Put our Via for that flow on top, with a new branch, which is returned."""
        branch, via = self.new_via(flow)
        request.prepend("Via", via)
        return branch

    def new_via(self, flow: Flow) -> tuple[str, str]:
        """A new branch, and our Via with it for requests over that flow."""
        host, port = flow.local
        branch = MAGIC_COOKIE + self._token()
        shown = f"[{host}]" if ":" in host else host
        rport = "" if flow.reliable else ";rport"  # RFC 3581
        return branch, f"SIP/2.0/{flow.proto.upper()} {shown}:{port};branch={branch}{rport}"

    def start(
        self, request: Request, flow: Flow, wire: bytes, branch: str, user: ClientUser
    ) -> ClientTransaction:
        """
        Send a request whose Via has been made by :meth:`new_via`.

        :param wire: the request with it on top, in bytes.
        :raise Overloaded: the table is full; what belongs to a dialog is sent all the same.
        """
        method = request.method
        if len(self._clients) >= self._limit and method != "CANCEL" and not request.to.tag:
            self.tallies.refused += 1
            raise Overloaded("too many client transactions")
        counted = self.tallies.requests_out
        counted[method if method in counted else "other"] += 1
        machine = InviteClient if method == "INVITE" else OtherClient
        tx = machine(request, flow, branch, wire, user=user, shared=self._shared)
        self._clients[tx.key] = tx
        tx.begin()
        return tx

    def answer_stateless(
        self,
        request: Request,
        flow: Flow,
        status: int,
        reason: str | None = None,
        *,
        to_tag: str | None = None,
        fields: Sequence[tuple[str, str]] = (),
    ) -> None:
        """
        Answer without a transaction; nothing is kept. The parameters are those of :meth:`Request.reply`.

        What is larger than an unproved sender may be sent goes without what can be missed, or not at all.
        """
        self.tallies.responses_out[status // 100] += 1
        wire = self._fitted(request, flow, status, reason, to_tag, fields)
        if wire:
            flow.send(wire)

    def is_proved(self, flow: Flow) -> bool:
        """Is the sender certainly there, so that he may be sent what the protocol wants?"""
        return not flow.answer_max_bytes or self.is_known(flow)

    def _fits(self, wire: bytes, flow: Flow) -> bool:
        """May the sender of one request be sent this for it (``UdpFlow.answer_max_bytes``)?"""
        return len(wire) <= flow.answer_max_bytes or self.is_proved(flow)

    def _fitted(
        self,
        request: Request,
        flow: Flow,
        status: int,
        reason: str | None,
        to_tag: str | None,
        fields: Sequence[tuple[str, str]],
    ) -> bytes:
        """A response in bytes that fits: without what can be missed, or, when that does not help, nothing."""
        wire = answer_bytes(request, status, reason, to_tag=to_tag, fields=fields)
        if self._fits(wire, flow):
            return wire
        wire = self._trimmed(request.reply(status, reason, to_tag=to_tag, fields=fields), flow)
        if self._fits(wire, flow):
            return wire
        self.tallies.withheld += 1
        return b""

    def _trimmed(self, response: Response, flow: Flow) -> bytes:
        """A response in bytes; for an unproved sender without what can be missed, if he may not have all."""
        wire = response.to_bytes()
        if self._fits(wire, flow):
            return wire
        for key in _DISPENSABLE:
            response.remove(key)
        for name in ("WWW-Authenticate", "Proxy-Authenticate"):
            challenges = response.get_all(name.lower())
            if len(challenges) > 1:  # one for each algorithm: every client knows that of the shortest
                response.remove(name)
                response.add(name, min(challenges, key=len))
        return response.to_bytes()

    def _refuse(self, request: Request, flow: Flow, status: int) -> None:
        fields: Sequence[tuple[str, str]] = (("Retry-After", str(RETRY_AFTER_S)),) if status == 503 else ()
        self.answer_stateless(request, flow, status, to_tag=self.stateless_tag(request), fields=fields)

    def _answer_error(self, tx: ServerTransaction, error: MizuError) -> None:
        if tx.pending:
            status = error.sip_status
            fields = (("Retry-After", str(RETRY_AFTER_S)),) if status == 503 else ()
            tag = tx.to_tag or self.stateless_tag(tx.request)
            tx.respond(tx.request.reply(status, to_tag=tag, fields=fields))

    def stateless_tag(self, request: Request) -> str:
        """The same To tag for each repetition of a request (8.2.7)."""
        seed = f"{request.get('call-id')} {request.via.branch} {request.get('from')}"
        data = seed.encode("utf-8", "surrogateescape")
        return blake2b(data, key=self._tag_key, digest_size=6).hexdigest()

    # ------------------------------------------------------------ the tables

    def _make_room(self) -> bool:
        """Forget the oldest answer; False when there is none."""
        while True:
            key = self._timer_j.evict()
            if key is None:
                return False
            if key in self._answers:
                self._forget_answer(key)
                return True

    def _settle_server(self, tx: ServerTransaction) -> None:
        key = tx.key
        del self._servers[key]
        if tx.flow.reliable or tx.request.method in REPEATABLE:
            self._unmerge(key)
        if not tx.flow.reliable:
            self._answers[key] = tx.wire
            self._timer_j.add(key, self._now())

    def _forget_answer(self, key: Key) -> None:
        self._answers.pop(key, None)
        self._unmerge(key)

    def _drop_server(self, tx: ServerTransaction) -> None:
        if self._servers.get(tx.key, tx) is tx:  # else its connection failed late, and the key is another's
            self._servers.pop(tx.key, None)
            self._forget_answer(tx.key)

    def _unmerge(self, key: Key) -> None:
        if self._merge_keys:
            merge_key = self._merge_keys.pop(key, None)
            if merge_key is not None:
                self._merged.pop(merge_key, None)

    def _settle_client(self, tx: ClientTransaction) -> None:
        del self._clients[tx.key]
        if not tx.flow.reliable:
            if len(self._settled) >= self._limit:
                oldest = self._timer_k.evict()
                if oldest is not None:
                    self._settled.discard(oldest)
            self._settled.add(tx.key)
            self._timer_k.add(tx.key, self._now())

    def _drop_client(self, tx: ClientTransaction) -> None:
        if self._clients.get(tx.key) is tx:
            del self._clients[tx.key]

    def counts(self) -> dict[str, int]:
        """
        How many transactions are in which state, by ``"invite server proceeding"`` and so on; empty states
        are left out. Walks the table: for people and scrapes, not for the path of a message.
        """
        found: dict[str, int] = {}
        for machine in (*self._servers.values(), *self._clients.values()):
            name = f"{_NAMES[type(machine)]} {machine.state}"
            found[name] = found.get(name, 0) + 1
        if self._answers:
            found[f"{_NAMES[OtherServer]} {COMPLETED}"] = len(self._answers)
        if self._settled:
            found[f"{_NAMES[OtherClient]} {COMPLETED}"] = len(self._settled)
        return found

    def __len__(self) -> int:
        """Transactions of both sides, those included that only wait for repetitions."""
        return len(self._servers) + len(self._answers) + len(self._clients) + len(self._settled)


_NAMES: dict[type, str] = {
    InviteServer: "invite server",
    OtherServer: "server",
    InviteClient: "invite client",
    OtherClient: "client",
}


def _nobody_is_known(flow: Flow) -> bool:
    return False


def _nobody_counts(flow: Flow) -> None:
    """Nobody counts."""


def _never_at_once(request: Request, flow: Flow) -> Answer | None:
    return None


def _ender(event: str) -> Callable[[Machine], None]:
    def end(machine: Machine) -> None:
        machine.step(event)

    return end


def _merge_key(request: Request) -> MergeKey | None:
    """
    What a copy that came another way shares with the first (8.2.2.2); no proxy touches these lines.

    :return: ``None``: it has a To tag; what belongs to a dialog is never taken for such a copy.
    """
    to = request.get("to") or ""
    if "tag" in to.lower():
        try:
            if request.to.tag:
                return None
        except BadMessage:
            pass  # it is refused for that
    return (request.get("call-id"), request.get("cseq"), request.get("from"))


def _key_of_2543(request: Request, source_host: str, matched: str) -> Key:
    """A peer without the magic cookie: 17.2.3, the To tag apart, which is compared where it matters."""
    via, cseq = request.via, request.cseq
    return (
        via.branch,
        via.host,
        via.port,
        request.uri,
        request.from_.tag,
        request.call_id,
        cseq.number,
        source_host,
        matched,
    )
