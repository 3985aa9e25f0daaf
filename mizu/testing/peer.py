"""A telephone for tests: does what a script says, and by itself what every user agent must do.

By itself: answers challenges, acknowledges (again) every 2xx, repeats its own 2xx until the ACK comes (RFC
3261 13.3.1.4), sends PRACK for reliable provisional responses and repeats its own, ends a call whose 2xx came
after its CANCEL, answers 481 for dialogs it does not have. It shares the message and transaction layers with
the switch, and nothing of ``mizu.switch``.
"""

from collections.abc import Callable, Sequence
from itertools import count

from mizu.sip.digest import UnsupportedChallenge, answer_challenge
from mizu.sip.flow import Flow
from mizu.sip.message import Request, Response
from mizu.sip.outgoing import Outgoing, RequestSender
from mizu.sip.timers import TimerSettings
from mizu.sip.transactions import ServerTransaction, TransactionLayer
from mizu.testing.peer_call import PeerCall
from mizu.testing.wire import FakeResolver, FakeTransports, FakeWire

Fields = Sequence[tuple[str, str]]
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, MESSAGE"


class SipPeer:
    """
    One user agent on a :class:`FakeWire`.

    :param name: user part of its address, and its name in ``wire.ladder()``.
    :param host: its address on the wire.
    :param server: URI of the switch; every request outside a dialog goes there.
    :param proto: ``udp``, ``tcp`` or ``tls``.
    :param password: answers challenges when set; ``username`` is ``name`` unless given.
    :param domain: host part of its address of record; the server's host unless given.
    """

    def __init__(
        self,
        wire: FakeWire,
        name: str,
        host: str,
        *,
        server: str = "sip:10.0.0.1",
        proto: str = "udp",
        port: int = 5060,
        password: str = "",
        username: str = "",
        domain: str = "",
        timers: TimerSettings | None = None,
    ) -> None:
        self.wire = wire
        self.clock = wire.clock
        self.name = name
        self.server = server
        self.password = password
        self.username = username or name
        self.domain = domain or server.partition(":")[2].partition(":")[0].partition(";")[0]
        self.requests: list[Request] = []  #: every request that came, ACK too; repetitions are not among them
        self.responses: list[Response] = []  #: every response that came, in order
        self.strays: list[Response] = []  #: responses of no transaction
        self.calls: list[PeerCall] = []  #: calls in both directions, in order of their beginning
        self.auto_prack = True
        self.supported = ""  #: Supported header of our INVITEs, for instance ``100rel``
        #: Called with each call that comes in; without it the call waits for the script (see ``calls``).
        self.on_call: Callable[[PeerCall], None] | None = None
        #: Called first with each request but INVITE outside a call; true: it has been answered.
        self.on_request: Callable[[ServerTransaction], bool] | None = None
        self._numbers = count(1)
        self._nonce_uses: dict[str, int] = {}
        self.transports = FakeTransports(
            wire, [f"{proto}:[{host}]:{port}" if ":" in host else f"{proto}:{host}:{port}"]
        )
        wire.names[host, port] = name
        self.layer = TransactionLayer(
            self, self.clock.deadlines, self.clock.mono_s, timers=timers, token=lambda: self.word("t")
        )
        self.transports.sink = self.layer.receive
        self.sender = RequestSender(self.layer, self.transports, FakeResolver())
        self.timers = self.layer.timers
        self.contact = f"<sip:{name}@{f'[{host}]' if ':' in host else host}:{port}" + (
            f";transport={proto}>" if proto != "udp" else ">"
        )
        self._registration = (self.word("reg"), count(1))

    @property
    def address(self) -> str:
        """Its address of record."""
        return f"sip:{self.name}@{self.domain}"

    def word(self, kind: str) -> str:
        """A new word that is nowhere else in the test: tags, branches, Call-IDs."""
        return f"{kind}{next(self._numbers)}{self.name}"

    # ------------------------------------------------------------ outside a call

    def register(
        self, expires_s: int | None = 300, contact: str | None = None, fields: Fields = ()
    ) -> "Exchange":
        """
        REGISTER. All of a peer have one Call-ID and rising CSeq, as RFC 3261 10.2 asks.

        :param expires_s: ``Expires`` header; ``None``: none.
        :param contact: ``Contact`` value; empty: none (a query); default: its own.
        """
        call_id, numbers = self._registration
        more: list[tuple[str, str]] = []
        if contact != "":
            more.append(("Contact", contact or self.contact))
        if expires_s is not None:
            more.append(("Expires", str(expires_s)))

        def make(authorization: Fields) -> Request:
            registrar = f"sip:{self.domain}"
            headers = self._head("REGISTER", self.address, call_id, next(numbers))
            return Request("REGISTER", registrar, [*headers, *more, *fields, *authorization])

        return self.exchange(make)

    def unregister(self) -> "Exchange":
        """Remove its own contact."""
        return self.register(0)

    def send(self, method: str, to: str, body: bytes = b"", fields: Fields = ()) -> "Exchange":
        """A request outside a call: OPTIONS, MESSAGE, whatever a test needs."""
        call_id, numbers, tag = self.word("c"), count(1), self.word("f")

        def make(authorization: Fields) -> Request:
            headers = self._head(method, to, call_id, next(numbers), tag)
            return Request(method, to, [*headers, *fields, *authorization], body)

        return self.exchange(make)

    def message(self, to: str, text: str) -> "Exchange":
        """MESSAGE with plain text."""
        return self.send("MESSAGE", to, text.encode(), [("Content-Type", "text/plain")])

    def call(self, to: str, sdp: bytes | None = None, fields: Fields = ()) -> PeerCall:
        """
        INVITE.

        :param to: URI, or a user of our own domain.
        :param sdp: offer; default: one of its own; ``b""``: none, the offer then comes in the 2xx.
        """
        target = to if ":" in to else f"sip:{to}@{self.domain}"
        call = PeerCall(self, target)
        self.calls.append(call)
        call.invite(sdp, fields)
        return call

    def exchange(
        self,
        make: Callable[[Fields], Request],
        *,
        heard: Callable[[Response], None] | None = None,
        failed: Callable[[str], None] | None = None,
        next_hop: str | None = None,
        own_contact: bool = False,
    ) -> "Exchange":
        """
        Send a request and answer challenges.

        :param make: builds the request, with the credentials it is given; called again after a challenge.
        :param heard: called with each response but a challenge that is answered.
        :param next_hop: where to; default: the server; empty: by Route and Request-URI.
        """
        hop = self.server if next_hop is None else next_hop
        exchange = Exchange(self, make, heard, failed, next_hop=hop, own_contact=own_contact)
        exchange.send()
        return exchange

    def credentials(self, challenge: Response, request: Request) -> Fields | None:
        """What answers a 401 or 407; ``None``: we cannot."""
        name, answer = ("www-authenticate", "Authorization")
        if challenge.status == 407:
            name, answer = ("proxy-authenticate", "Proxy-Authorization")
        values = challenge.get_all(name)
        if not self.password or not values:
            return None
        uses = self._nonce_uses[values[0]] = self._nonce_uses.get(values[0], 0) + 1
        try:
            value = answer_challenge(
                values,
                username=self.username,
                password=self.password,
                method=request.method,
                uri=request.uri,
                body=request.body,
                nc=uses,
                cnonce=self.word("n"),
            )
        except UnsupportedChallenge:
            return None
        return [(answer, value)]

    def _head(self, method: str, to: str, call_id: str, number: int, tag: str = "") -> list[tuple[str, str]]:
        return [
            ("From", f"<{self.address}>;tag={tag or self.word('f')}"),
            ("To", f"<{to}>"),
            ("Call-ID", call_id),
            ("CSeq", f"{number} {method}"),
            ("Max-Forwards", "70"),
            ("User-Agent", "mizu-testing"),
        ]

    # ------------------------------------------------------------ what comes in (TransactionUser)

    def request_received(self, tx: ServerTransaction) -> None:
        """A new request."""
        request = tx.request
        self.requests.append(request)
        if request.to.tag:
            call = self._call_of(request, request.to.tag, request.from_.tag)
            if call is None:
                tx.respond(request.reply(481))
            else:
                call.request_received(tx)
        elif request.method == "INVITE":
            call = PeerCall(self, request.from_.uri_text, tx)
            self.calls.append(call)
            if self.on_call is not None:
                self.on_call(call)
        elif self.on_request is None or not self.on_request(tx):
            status = 200 if request.method in ("OPTIONS", "MESSAGE") else 405
            tx.respond(request.reply(status, to_tag=self.word("t"), fields=[("Allow", ALLOW)]))

    def ack_received(self, ack: Request, flow: Flow) -> None:
        """The ACK to a 2xx of ours."""
        self.requests.append(ack)
        call = self._call_of(ack, ack.to.tag, ack.from_.tag)
        if call is not None:
            call.ack_received(ack)

    def stray_response(self, response: Response, flow: Flow) -> None:
        """A response that no transaction waits for."""
        self.strays.append(response)
        call = self._call_of(response, response.from_.tag, response.to.tag)
        if call is not None and 200 <= response.status < 300 and response.cseq.method == "INVITE":
            call.ack_again(response)

    def _call_of(self, message: Request | Response, local_tag: str, remote_tag: str) -> PeerCall | None:
        for call in self.calls:
            same = call.call_id == message.call_id and call.local_tag == local_tag
            if same and call.remote_tag in ("", remote_tag):
                return call
        return None


class Exchange:
    """One request of a peer and what came back, challenges answered on the way."""

    def __init__(
        self,
        peer: SipPeer,
        make: Callable[[Fields], Request],
        heard: Callable[[Response], None] | None,
        failed: Callable[[str], None] | None,
        *,
        next_hop: str,
        own_contact: bool,
    ) -> None:
        self.responses: list[Response] = []  #: all, challenges too
        self.final: Response | None = None  #: the last word
        self.failure = ""  #: code, when there was no final response
        self.request: Request  #: as sent last
        self.outgoing: Outgoing
        self._peer = peer
        self._make = make
        self._heard = heard
        self._failed = failed
        self._next_hop = next_hop
        self._contact = (lambda _flow: peer.contact) if own_contact else None
        self._challenges = 0
        self._cancelled = False

    @property
    def done(self) -> bool:
        """It has ended, one way or the other."""
        return self.final is not None or bool(self.failure)

    @property
    def status(self) -> int:
        """Status of the final response; 0: none (yet)."""
        return self.final.status if self.final is not None else 0

    def send(self, authorization: Fields = ()) -> None:
        """Send it (again)."""
        self.request = self._make(authorization)
        self.outgoing = self._peer.sender.send(
            self.request, self, next_hop=self._next_hop, contact=self._contact
        )

    def cancel(self, fields: Fields = ()) -> None:
        """CANCEL an INVITE."""
        self._cancelled = True
        self.outgoing.cancel(fields)

    def on_response(self, response: Response, outgoing: Outgoing) -> None:
        """See ``OutgoingUser``."""
        self.responses.append(response)
        self._peer.responses.append(response)
        if response.status in (401, 407) and not self._cancelled and self._answerable(response):
            self._challenges += 1
            authorization = self._peer.credentials(response, self.request)
            if authorization is not None:
                self.send(authorization)
                return
        if response.status >= 200 and self.final is None:
            self.final = response
        if self._heard is not None:
            self._heard(response)

    def _answerable(self, challenge: Response) -> bool:
        """The first challenge, and one that only says that the nonce is old (RFC 7616 3.3)."""
        values = challenge.get_all("www-authenticate") + challenge.get_all("proxy-authenticate")
        stale = any("stale=true" in value.lower().replace('"', "") for value in values)
        return self._challenges == 0 or (stale and self._challenges < 3)

    def on_failure(self, code: str, outgoing: Outgoing) -> None:
        """See ``OutgoingUser``."""
        self.failure = code
        if self._failed is not None:
            self._failed(code)
