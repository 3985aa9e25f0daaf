"""Requests on their way to a URI: where to (RFC 3263), over what (RFC 3261 18.1.1), and the next address when
one fails. One transaction for each address that is tried; the user sees one :class:`Outgoing`."""

from collections.abc import Callable, Sequence
from typing import Protocol

from mizu.errors import Overloaded
from mizu.sip.flow import Flow, Hop, Resolver, Transports
from mizu.sip.message import Request, Response
from mizu.sip.transaction_client import ClientTransaction
from mizu.sip.transactions import TransactionLayer
from mizu.sip.wire import request_bytes

Contact = Callable[[Flow], str]  #: value of Contact for requests over that flow


class OutgoingUser(Protocol):
    """Who sends a request. After its final response or failure only more 2xx to an INVITE can come."""

    def on_response(self, response: Response, outgoing: "Outgoing") -> None:
        """
        A response; 300-699 to INVITE are acknowledged already. A 503 comes here only from the last address.

        Every 2xx to an INVITE is passed on, repetitions too, until timer M: each wants an ACK (13.2.2.4).
        """

    def on_failure(self, code: str, outgoing: "Outgoing") -> None:
        """
        There will be no final response.

        :param code: ``timeout`` (nobody answered in time, counts as 408), ``transport`` (it could not be
            delivered anywhere, counts as 503), ``unresolved`` (the name has no address), ``cancelled``
            (cancelled before anything was sent), ``overloaded`` (too many transactions, nothing was sent).
        """


class Outgoing:
    """A request on its way. Made by :meth:`RequestSender.send`."""

    __slots__ = ("_branch", "_cancel_fields", "_contact", "_done", "_hops", "_sender", "_udp_after", "flow",
                 "request", "tx", "user")  # fmt: skip

    def __init__(
        self, sender: "RequestSender", request: Request, user: OutgoingUser, contact: Contact | None
    ) -> None:
        self.request = request  #: without our Via and Contact
        self.flow: Flow | None = None  #: where it was sent last
        self.tx: ClientTransaction | None = None  #: the transaction it was sent in last
        self.user = user
        self._sender = sender
        self._branch = ""  # of the last attempt
        self._contact = contact
        self._hops: list[Hop] = []  # still to try, next one last
        self._udp_after: Hop | None = None  # tried when the TCP that stands in for it fails (18.1.1)
        self._cancel_fields: tuple[tuple[str, str], ...] | None = None
        self._done = False

    def cancel(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        """
        Cancel an INVITE (9.1); no further address is tried. Its end is told as always: 487, a faster 2xx, or
        ``on_failure``. Nothing happens for other requests that are sent already, and after the end.

        :param fields: more headers for the CANCEL, for instance ``Reason``.
        """
        if self._done or self._cancel_fields is not None:
            return
        self._cancel_fields = tuple(fields)
        self._hops.clear()
        self._udp_after = None
        if self.tx is not None:
            self.tx.cancel(fields)

    # ------------------------------------------------------------ the way there

    def resolved(self, hops: Sequence[Hop]) -> None:
        """The addresses to try (called by the sender's resolver, once)."""
        if self._cancel_fields is not None:
            self._fail("cancelled")
        elif not hops:
            self._fail("unresolved")
        else:
            self._hops = list(reversed(hops))
            self._try_next("transport")

    def _try_next(self, code: str) -> None:
        """Send to the next address that has a flow; ``code`` is told when there is none."""
        transports, tcp_rule = self._sender.transports, self._sender.udp_max_request_bytes
        while self._hops:
            hop = self._hops.pop()
            self._udp_after = None
            flow = transports.flow_to(hop)
            if flow is None:
                continue
            branch, wire = self._address(flow)
            if len(wire) > tcp_rule and hop.proto == "udp":
                stream = transports.flow_to(Hop("tcp", hop.host, hop.port))
                if stream is not None:
                    self._udp_after = hop
                    self._start(stream, *self._address(stream))
                    return
            self._start(flow, branch, wire)
            return
        self._fail(code)

    def over(self, flow: Flow) -> None:
        """Send over that flow and nowhere else (called by the sender)."""
        self._start(flow, *self._address(flow))

    def _address(self, flow: Flow) -> tuple[str, bytes]:
        """A new branch, and the request with it for that flow."""
        branch, via = self._sender.layer.new_via(flow)
        contact = self._contact(flow) if self._contact is not None else ""
        return branch, request_bytes(self.request, via, contact)

    def _start(self, flow: Flow, branch: str, wire: bytes) -> None:
        self.flow = flow
        self._branch = branch
        try:
            # A transport error may be told before start() returns, and the next attempt be under way by then.
            tx = self._sender.layer.start(self.request, flow, wire, branch, self)
        except Overloaded:
            self._fail("overloaded")
            return
        if self._branch is branch:
            self.tx = tx

    # ------------------------------------------------------------ what comes back (ClientUser)

    def on_response(self, response: Response, tx: ClientTransaction) -> None:
        """See :class:`ClientUser`."""
        if tx.branch != self._branch:
            return  # of an address that was given up; a 2xx from there comes as a stray response
        self.tx = tx
        if response.status >= 200:
            if response.status == 503 and not self._done and self._more():
                self._try_next("transport")
                return
            self._done = True
        self.user.on_response(response, self)

    def on_timeout(self, tx: ClientTransaction) -> None:
        """See :class:`ClientUser`."""
        self._failed(tx, "timeout")

    def on_transport_error(self, reason: str, tx: ClientTransaction) -> None:
        """See :class:`ClientUser`."""
        self._failed(tx, "transport")

    def _failed(self, tx: ClientTransaction, code: str) -> None:
        if tx.branch != self._branch or self._done:
            return
        self.tx = tx
        if code == "transport" and self._udp_after is not None:
            hop, self._udp_after = self._udp_after, None
            flow = self._sender.transports.flow_to(hop)
            if flow is not None:
                self._start(flow, *self._address(flow))  # 18.1.1: no TCP there, so UDP, however large
                return
        if self._more():
            self._try_next(code)
        else:
            self._fail(code)

    def _more(self) -> bool:
        return bool(self._hops) and self._cancel_fields is None

    def _fail(self, code: str) -> None:
        self._done = True
        self.user.on_failure(code, self)


class SentAck:
    """An ACK to a 2xx. The same bytes are sent again when the 2xx comes again (13.2.2.4)."""

    __slots__ = ("_ack", "_flow", "_sender", "_wire")

    def __init__(self, sender: "RequestSender", ack: Request) -> None:
        self._sender = sender
        self._ack: Request | None = ack  # until it is sent
        self._flow: Flow | None = None
        self._wire = b""

    def resolved(self, hops: Sequence[Hop]) -> None:
        """The addresses it may go to: the first that can be had."""
        for hop in hops:
            flow = self._sender.transports.flow_to(hop)
            if flow is not None:
                self.over(flow)
                return

    def over(self, flow: Flow) -> None:
        """Send it (called by the sender, once)."""
        ack, self._ack = self._ack, None
        assert ack is not None
        layer = self._sender.layer
        layer.tallies.requests_out["ACK"] += 1
        self._flow, self._wire = flow, request_bytes(ack, layer.new_via(flow)[1])
        flow.send(self._wire)

    def resend(self) -> None:
        """Send the same bytes again; nothing as long as its address is being looked up."""
        if self._flow is not None:
            self._flow.send(self._wire)


class RequestSender:
    """
    Sends requests to URIs.

    :param udp_max_request_bytes: a larger request, its Via included, goes by TCP to an address found for UDP,
        and by UDP after all when no TCP can be had there (RFC 3261 18.1.1).
    """

    __slots__ = ("layer", "resolver", "transports", "udp_max_request_bytes")

    def __init__(
        self,
        layer: TransactionLayer,
        transports: Transports,
        resolver: Resolver,
        *,
        udp_max_request_bytes: int = 1300,
    ) -> None:
        self.layer = layer
        self.transports = transports
        self.resolver = resolver
        self.udp_max_request_bytes = udp_max_request_bytes

    def send(
        self,
        request: Request,
        user: OutgoingUser,
        *,
        flow: Flow | None = None,
        next_hop: str = "",
        contact: Contact | None = None,
    ) -> Outgoing:
        """
        Send a request, not an ACK.

        :param request: without our Via and Contact; it is not changed.
        :param user: told of responses and failure; may be told before this returns.
        :param flow: send over this one, whatever the size, and try nothing else.
        :param next_hop: URI to send to; else the topmost Route, else the Request-URI (8.1.2). A caller whose
            first route is a strict router gives the Request-URI here.
        :param contact: gives the Contact for the flow that was chosen.
        """
        outgoing = Outgoing(self, request, user, contact)
        if flow is not None:
            outgoing.over(flow)
        else:
            self.resolver.resolve(next_hop or target_of(request), outgoing.resolved)
        return outgoing

    def send_ack(self, ack: Request, *, flow: Flow | None = None, next_hop: str = "") -> SentAck:
        """
        Send the ACK to a 2xx, with a branch of its own, outside any transaction (13.2.2.4).

        :param ack: without our Via.
        :param flow: send over this one; else the first address of ``next_hop``, as in :meth:`send`.
        """
        sent = SentAck(self, ack)
        if flow is not None:
            sent.over(flow)
        else:
            self.resolver.resolve(next_hop or target_of(ack), sent.resolved)
        return sent


def target_of(request: Request) -> str:
    """URI that a request goes to: its topmost Route, else its Request-URI (8.1.2)."""
    routes = request.values("route")
    if not routes:
        return request.uri
    route = routes[0]
    before, angle, rest = route.partition("<")
    return rest.partition(">")[0] if angle else before.strip()
