"""Every SIP message passes here first: the policy of each method, and who takes it from there.

Default deny: a method without a row in ``POLICIES`` is answered 405, an in-dialog request that belongs to no
dialog 481. Source: RFC 3261 8.2 and 11, RFC 6665, RFC 3903.
"""

from hashlib import blake2b
from typing import Protocol

from mizu.auth.request import Authorizer
from mizu.observe import Metrics
from mizu.sip.flow import Flow
from mizu.sip.message import Message, Request, Response
from mizu.sip.parser import BadMessage
from mizu.sip.transactions import Answer, ServerTransaction, TransactionLayer
from mizu.sip.uas import Refusal, refuse

#: What happens to a request outside a dialog, and inside one. ``dialog`` = only the call it belongs to may
#: say; ``authorize`` = the sender must prove an account first; ``open`` = anybody, answered without state.
POLICIES: dict[str, tuple[str, str]] = {
    "INVITE": ("authorize", "dialog"),
    "ACK": ("silence", "dialog"),
    "CANCEL": ("transaction", "transaction"),
    "BYE": ("481", "dialog"),
    "REGISTER": ("authorize", "authorize"),
    "OPTIONS": ("open", "dialog"),
    "MESSAGE": ("authorize", "dialog"),
    "INFO": ("481", "dialog"),
    "UPDATE": ("481", "dialog"),
    "PRACK": ("481", "dialog"),
    "REFER": ("403", "dialog"),  # only the parties of a call may transfer it
    "NOTIFY": ("481", "dialog"),  # RFC 6665 4.1.3: no subscription that it could belong to
    "SUBSCRIBE": ("489", "dialog"),  # RFC 6665 4.2.1: no event package here
    "PUBLISH": ("489", "489"),  # RFC 3903 6
}
METHODS = tuple(POLICIES)
ALLOW = ", ".join(m for m in METHODS if m not in ("SUBSCRIBE", "PUBLISH"))
SUPPORTED = frozenset({"100rel", "timer", "replaces", "path", "outbound", "norefersub"})
#: Answers whose text and headers never change.
FIXED: dict[str, tuple[int, tuple[tuple[str, str], ...]]] = {
    "403": (403, ()),
    "481": (481, ()),
    "489": (489, (("Allow-Events", "refer"),)),
}


class RegistrarPort(Protocol):
    def answer_now(self, request: Request, flow: Flow) -> Answer | None: ...

    def register(self, tx: ServerTransaction) -> None: ...

    def flow_closed(self, flow: Flow) -> None: ...


class SwitchboardPort(Protocol):
    def invite(self, tx: ServerTransaction) -> None: ...

    def message(self, tx: ServerTransaction) -> None: ...

    def has_dialog(self, request: Request) -> bool: ...

    def in_dialog(self, tx: ServerTransaction) -> None: ...

    def ack(self, request: Request, flow: Flow) -> bool: ...

    def stray_response(self, response: Response, flow: Flow) -> bool: ...


class GuardPort(Protocol):
    """Who counts what senders do wrong; ``mizu.guard.doorman``."""

    def malformed(self, flow: Flow) -> None: ...

    def useless(self, flow: Flow) -> None: ...

    def asked(self, flow: Flow) -> None: ...


class _NoGuard:
    def malformed(self, flow: Flow) -> None:
        """Nobody counts."""

    useless = asked = malformed


class SipCore:
    """Takes parsed messages from the transports and transactions from the layer (its two roles)."""

    def __init__(
        self,
        *,
        authorizer: Authorizer,
        domains: frozenset[str],
        server_name: str,
        tag_key: bytes,
        metrics: Metrics,
        guard: GuardPort | None = None,
    ) -> None:
        """
        :param guard: told of messages that are none.
        :param domains: lower-case host names that are ours; empty: all.
        :param server_name: ``Server`` header; empty: none.
        :param tag_key: secret from which To tags of stateless answers are made (RFC 3261 8.2.7).
        """
        self._authorizer = authorizer
        self._domains = domains
        self._tag_maker = blake2b(key=tag_key, digest_size=6)  # copied for each tag: cheaper than the key
        self._metrics = metrics
        self._guard: GuardPort = guard or _NoGuard()
        self._server = (("Server", server_name),) if server_name else ()
        self._options_fields = (("Allow", ALLOW), ("Supported", ", ".join(sorted(SUPPORTED))), *self._server)
        self._checked: Request | None = None  # passed the checks before its transaction was made
        self.draining = False  #: set when a graceful shutdown has begun: no new calls
        self.ready = False  #: cleared while start-up is not complete
        self.layer: TransactionLayer
        self.registrar: RegistrarPort
        self.switchboard: SwitchboardPort

    # ------------------------------------------------------------ from the transports

    def message_received(self, message: Message, flow: Flow) -> None:
        """One parsed message. What can be answered without state is, before a transaction exists."""
        metrics = self._metrics
        metrics.messages_received += 1
        if isinstance(message, Request):
            method = message.method
            metrics.request_received(method)
            if method == "REGISTER":
                if self._ready_to_challenge(message, method) and self._challenged(message, flow, method):
                    return
            elif method not in ("ACK", "CANCEL") and not self._in_dialog(message):
                policy = POLICIES.get(method)
                if policy is not None and self._answer_stateless(message, flow, method, policy[0]):
                    return
        self.layer.receive(message, flow)

    def bad_message(self, bad: BadMessage, data_len: int, flow: Flow) -> None:
        """A message that is none. Answered when it can be, never with more bytes than RFC 3261 asks for."""
        self._metrics.messages_bad += 1
        self._guard.malformed(flow)
        request = bad.request
        if request is None or request.method == "ACK":
            return
        fields = self._server
        if bad.sip_status in (405, 501):
            fields = (*fields, ("Allow", ALLOW))
        self._reply_stateless(request, flow, bad.sip_status, fields, str(bad) or None)

    def flow_closed(self, flow: Flow) -> None:
        """A stream connection is gone."""
        self.registrar.flow_closed(flow)

    # ------------------------------------------------------------ from the transaction layer

    def at_once(self, request: Request, flow: Flow) -> Answer | None:
        """
        What needs no state gets none, so that nobody fills the tables who has proved nothing: what is wrong
        with a request, requests of dialogs that do not exist, a REGISTER with credentials over UDP.

        :return: ``None``: it needs a transaction, and will get one.
        """
        registers = request.method == "REGISTER"
        if not self.ready and registers:
            return None
        if self._checked is not request:
            refusal = refuse(request, methods=METHODS, supported=SUPPORTED)
            if refusal is not None:
                self._guard.useless(flow)
                return self._refusal(request, refusal)
            self._checked = request
        if registers:
            return None if flow.reliable else self.registrar.answer_now(request, flow)
        if self._in_dialog(request) and not self.switchboard.has_dialog(request):
            self._guard.useless(flow)
            return Answer(481, None, self._server, None, keep=False)
        return None

    def request_received(self, tx: ServerTransaction) -> None:
        """A new server transaction."""
        request = tx.request
        checked, self._checked = self._checked, None
        refusal = None if checked is request else refuse(request, methods=METHODS, supported=SUPPORTED)
        if refusal is not None:
            status, reason, fields, tag, _ = self._refusal(request, refusal)
            tx.respond(request.reply(status, reason, to_tag=tag, fields=fields))
            return
        outside, inside = POLICIES[request.method]
        policy = inside if self._in_dialog(request) else outside
        if policy == "dialog":
            self.switchboard.in_dialog(tx)
        elif policy == "authorize":
            self._authorized(tx, request)
        elif policy == "open":
            self._answer_options(tx.request, tx.flow)
        else:
            status, headers = FIXED.get(policy, FIXED["481"])
            tx.respond(request.reply(status, to_tag=self._tag(request), fields=(*headers, *self._server)))

    def ack_received(self, ack: Request, flow: Flow) -> None:
        """An ACK for a 2xx. One that belongs to no call is dropped, as all ACKs are (RFC 3261 17)."""
        if not self.switchboard.ack(ack, flow) and not self._ends_refusal(ack):
            self._guard.useless(flow)

    def stray_response(self, response: Response, flow: Flow) -> None:
        """A response that no client transaction waits for: a 2xx may still need its ACK."""
        if not self.switchboard.stray_response(response, flow):
            self._guard.useless(flow)

    # ------------------------------------------------------------ inside

    def _authorized(self, tx: ServerTransaction, request: Request) -> None:
        if not self.ready:
            self._busy(tx, request)
        elif request.method == "REGISTER":
            self.registrar.register(tx)
        elif self.draining:
            self._busy(tx, request)
        elif request.method == "INVITE":
            self.switchboard.invite(tx)
        else:
            self.switchboard.message(tx)

    def _busy(self, tx: ServerTransaction, request: Request) -> None:
        fields = (("Retry-After", "10"), *self._server)
        tx.respond(request.reply(503, to_tag=self._tag(request), fields=fields))

    def _answer_stateless(self, request: Request, flow: Flow, method: str, policy: str) -> bool:
        """
        Answer now, or say that a transaction is needed. Such answers are never repeated by us, and not much
        larger than the request (``UdpFlow.answer_max_bytes``), so a forged source gets one small answer
        for each datagram and no more.
        """
        asks = policy == "authorize"
        early = asks and self._ready_to_challenge(request, method)
        if early and self._challenged(request, flow, method):
            return True  # RFC 3261 8.2: who it is comes before every other look at the request
        refusal = refuse(request, methods=METHODS, supported=SUPPORTED)
        if refusal is not None:
            status, reason, fields, tag, _ = self._refusal(request, refusal)
            self._guard.useless(flow)
            self.layer.answer_stateless(request, flow, status, reason, to_tag=tag, fields=fields)
            self._count(method, status)
            return True
        if policy in FIXED:
            status, headers = FIXED[policy]
            self._guard.useless(flow)
            self._reply_stateless(request, flow, status, (*headers, *self._server))
            return True
        if policy == "open":
            self._guard.asked(flow)
            self._answer_options(request, flow)
            return True
        if not asks:
            return False
        self._checked = request
        return self.ready and not early and self._challenged(request, flow, method)

    def _ready_to_challenge(self, request: Request, method: str) -> bool:
        """Has the request no credentials at all?"""
        header = "authorization" if method == "REGISTER" else "proxy-authorization"
        return self.ready and request.get(header) is None

    def _challenged(self, request: Request, flow: Flow, method: str) -> bool:
        """Challenge a request whose credentials cannot be good, or that has none. Keeps no state."""
        try:
            challenge = self._authorizer.first_answer(request, flow)
        except BadMessage:
            return False  # refused for what is wrong with it
        if challenge is None:
            return False
        self._reply_stateless(request, flow, challenge.status, (*challenge.fields, *self._server))
        self._count(method, challenge.status)
        return True

    def _refusal(self, request: Request, refusal: Refusal) -> Answer:
        status, reason, extra = refusal
        return Answer(status, reason, (*extra, *self._server), self._tag(request), keep=False)

    def _count(self, method: str, status: int) -> None:
        """What is answered at once counts as well (RFC 6076)."""
        if method == "REGISTER":
            self._metrics.registration_answered(status, 0.0)
        elif method == "INVITE":
            self._metrics.session_answered(status, 0.0)

    def _answer_options(self, request: Request, flow: Flow) -> None:
        """RFC 3261 11.2. The same for every user part, so that names cannot be probed."""
        if self.draining or not self.ready:
            self._reply_stateless(request, flow, 503, (("Retry-After", "10"), *self._server))
        elif self._domains and request.request_uri.host.lower() not in self._domains:
            self._reply_stateless(request, flow, 404, self._server)
        else:
            self._reply_stateless(request, flow, 200, self._options_fields)

    def _reply_stateless(
        self,
        request: Request,
        flow: Flow,
        status: int,
        fields: tuple[tuple[str, str], ...],
        reason: str | None = None,
    ) -> None:
        tag = self._tag(request)
        self.layer.answer_stateless(request, flow, status, reason, to_tag=tag, fields=fields)

    def _tag(self, request: Request) -> str | None:
        """The same To tag for each repetition of a request (RFC 3261 8.2.7); none when it has one."""
        return None if self._in_dialog(request) else self._made_tag(request)

    def _made_tag(self, request: Request) -> str:
        seed = f"{request.get('via')}{request.get('call-id')}{request.get('from')}"
        maker = self._tag_maker.copy()
        maker.update(seed.encode("utf-8", "surrogateescape"))
        return maker.hexdigest()

    def _ends_refusal(self, ack: Request) -> bool:
        """Is it for a refusal that was sent without state? It has what the To tag of that was made from."""
        try:
            return ack.to.tag in (self._made_tag(ack), self.layer.stateless_tag(ack))
        except BadMessage:
            return False

    @staticmethod
    def _in_dialog(request: Request) -> bool:
        to = request.get("to")
        if to is None or "tag" not in to.lower():
            return False
        try:
            return bool(request.to.tag)
        except BadMessage:
            return False
