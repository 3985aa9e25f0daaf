"""A small blocking SIP client over UDP for live tests and scripts: one request at a time, with digest."""

import secrets
import socket
import time

from mizu.config import LimitsConfig
from mizu.sip.digest import answer_challenge
from mizu.sip.message import Request, Response
from mizu.sip.parser import BadMessage, parse_datagram

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)


class NoAnswer(Exception):
    """The server stayed silent."""


class Client:
    """One UDP socket. Each method sends, retransmits like RFC 3261 says, and returns the final response."""

    def __init__(
        self,
        server: tuple[str, int],
        *,
        source: str = "127.0.0.1",
        port: int = 0,
        timeout_s: float = 5.0,
    ) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((source, port))
        self._socket.connect(server)
        self.address: tuple[str, int] = self._socket.getsockname()
        self.timeout_s = timeout_s
        self._cseq = 0
        self._call_id = secrets.token_hex(8)
        self._tag = secrets.token_hex(4)

    def close(self) -> None:
        self._socket.close()

    def register(self, user: str, password: str, *, expires_s: int = 300) -> Response:
        """REGISTER this socket's address for ``user``, with the password when asked."""
        contact = f"<sip:{user}@{self.address[0]}:{self.address[1]}>"
        fields = [("Contact", contact), ("Expires", str(expires_s))]
        return self._authenticated("REGISTER", "sip:mizu.test", user, user, password, fields)

    def call(self, called: str, user: str, password: str, *, stay: bool = False) -> Response:
        """
        INVITE; an answered call is ended at once with BYE, a refused one acknowledged.

        :param stay: an answered call goes on; whatever the server sends in it gets no answer.
        """
        self._call_id = secrets.token_hex(8)
        contact = f"<sip:{user}@{self.address[0]}:{self.address[1]}>"
        fields = [("Contact", contact), ("Content-Type", "application/sdp")]
        uri = f"sip:{called}@mizu.test"
        final = self._authenticated("INVITE", uri, called, user, password, fields, SDP)
        if final.status < 300:
            target = final.contacts[0].uri_text
            self._send(self._make("ACK", target, called, user, [], b"", to=final.get("to")))
            if stay:
                return final
            self._cseq += 1
            self._exchange(self._make("BYE", target, called, user, [], b"", to=final.get("to")))
        return final

    def request(self, method: str, uri: str, *, user: str = "probe", body: bytes = b"") -> Response:
        """Any request without credentials. :raise NoAnswer:"""
        self._cseq += 1
        return self._exchange(self._make(method, uri, user, user, [], body))

    # ------------------------------------------------------------ inside

    def _authenticated(  # noqa: PLR0917 - private, and the arguments are the parts of a request
        self,
        method: str,
        uri: str,
        called: str,
        user: str,
        password: str,
        fields: list[tuple[str, str]],
        body: bytes = b"",
    ) -> Response:
        self._cseq += 1
        first = self._make(method, uri, called, user, fields, body)
        answer = self._exchange(first)
        name = {
            401: ("www-authenticate", "Authorization"),
            407: ("proxy-authenticate", "Proxy-Authorization"),
        }
        if answer.status not in name:
            return answer
        asked, said = name[answer.status]
        credentials = answer_challenge(
            answer.get(asked) or "",
            username=user,
            password=password,
            method=method,
            uri=uri,
            body=body,
            nc=1,
            cnonce=secrets.token_hex(8),
        )
        self._cseq += 1
        return self._exchange(self._make(method, uri, called, user, [*fields, (said, credentials)], body))

    def _make(  # noqa: PLR0917 - the same
        self,
        method: str,
        uri: str,
        called: str,
        user: str,
        fields: list[tuple[str, str]],
        body: bytes,
        to: str | None = None,
    ) -> Request:
        branch = f"z9hG4bK{secrets.token_hex(8)}"
        own = [
            ("Via", f"SIP/2.0/UDP {self.address[0]}:{self.address[1]};rport;branch={branch}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{user}@mizu.test>;tag={self._tag}"),
            ("To", to or f"<sip:{called}@mizu.test>"),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} {method}"),
        ]
        request = Request(method, uri)
        for name, value in (*own, *fields):
            request.add(name, value)
        request.body = body
        return request

    def _send(self, request: Request) -> None:
        self._socket.send(request.to_bytes())

    def _exchange(self, request: Request) -> Response:
        """Send until a final response comes; 300 to 699 for an INVITE is acknowledged."""
        data, interval_s = request.to_bytes(), 0.5
        deadline = time.monotonic() + self.timeout_s
        provisional = False
        while time.monotonic() < deadline:
            if not provisional:
                self._socket.send(data)
            self._socket.settimeout(interval_s)
            interval_s = min(interval_s * 2, 4.0)
            response = self._receive(request)
            if response is None:
                continue
            if response.status < 200:
                provisional = True
                continue
            if request.method == "INVITE" and response.status >= 300:
                self._acknowledge(request, response)
            return response
        raise NoAnswer(f"{request.method} {request.uri}: no final response in {self.timeout_s} s")

    def _receive(self, request: Request) -> Response | None:
        """The next response to this very request, or ``None`` when the socket's time is over."""
        while True:
            try:
                message = parse_datagram(self._socket.recv(65535), LimitsConfig())
            except (TimeoutError, ConnectionRefusedError):
                return None
            except BadMessage:
                continue
            if isinstance(message, Response) and message.get("cseq") == request.get("cseq"):
                return message

    def _acknowledge(self, invite: Request, response: Response) -> None:
        ack = Request("ACK", invite.uri)
        for name, key, value in invite.fields:
            if key in ("via", "max-forwards", "from", "call-id"):
                ack.add(name, value)
        ack.add("To", response.get("to") or "")
        ack.add("CSeq", f"{invite.cseq.number} ACK")
        self._send(ack)
