"""The HTTP transport: limits on connections, sizes and time, and headers that every answer carries.

What the routes answer is in ``mizu.web.routes``. Plain HTTP/1.1; a proxy in front does TLS for the world.
"""

import json
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from mizu.errors import MizuError
from mizu.web.uploads import UploadBody, Uploads, refusal_of

IDLE_S = 60  #: a connection without a request is closed
REQUEST_S = 20  #: a request must be complete so long after its first byte
LINGER_S = 2  #: after a refusal: how long to read on, so that the answer is not lost in a reset
LENGTH_LINE_MAX_BYTES = 80  #: of a Content-Length header
STOP_S = 2  #: at the end, answers under way have so long to get out
CLOSE_S = 15  #: a peer that does not read its answer is cut off

SECURITY_HEADERS = (
    (b"server", b"mizu"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_HARMLESS = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def json_bytes(value: Any) -> bytes:
    """JSON in ASCII: no control character, no byte above 127 and no ``<`` gets out raw."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False).translate(_HARMLESS).encode("ascii") + b"\n"


def json_reply(request: Any, value: Any, status: int = 200) -> bytes:
    """The one way routes answer JSON (Klein makes an empty page of a dict)."""
    body = json_bytes(value)
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))
    request.setHeader(b"content-type", b"application/json")
    return body


class LimitedRequest(Request):
    """A request whose body is counted before it is kept."""

    channel: "LimitedChannel"
    upload: UploadBody | None = None  #: where the body goes that is a file
    _received_bytes = 0

    def gotLength(self, length: int | None) -> None:
        if self.upload is None:
            super().gotLength(length)  # type: ignore[no-untyped-call]
        else:
            self.content = self.upload

    def handleContentChunk(self, data: bytes) -> None:
        self._received_bytes += len(data)
        if self.channel.refused:
            return
        most = self.channel.most_bytes(self)
        if self._received_bytes > most:
            self.channel.refuse(413, "too_large", f"a body has at most {most} bytes")
            return
        try:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]
        except OSError as wrong:
            self.channel.site.log_refusals.error("a body cannot be kept: {wrong}", wrong=wrong)
            self.channel.refuse(503, "overloaded", "the server cannot keep the body; its log says why")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self.channel.refused:
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    def render(self, resrc: IResource) -> None:
        for name, value in SECURITY_HEADERS:
            self.setHeader(name, value)  # type: ignore[no-untyped-call]
        super().render(resrc)  # type: ignore[no-untyped-call]


class LimitedChannel(HTTPChannel):
    """One connection: a request has a deadline, a refusal is answered, a peer that never reads is dropped."""

    refused = False
    site: "LimitedSite"
    transport: Any
    _deadline: IDelayedCall | None = None
    _closing: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        if self.refused:
            return
        if self._deadline is None and not self._handlingRequest:
            self._deadline = self.callLater(REQUEST_S, self._too_slow)  # type: ignore[no-untyped-call]
        elif self._deadline is not None and self._deadline.active() and self._uploading():
            self._deadline.reset(REQUEST_S)  # a file may take as long as it moves
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        if not self.refused:
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def rawDataReceived(self, data: bytes) -> None:
        if not self.refused:
            super().rawDataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        if line[:15].lower() == b"content-length:" and len(line) > LENGTH_LINE_MAX_BYTES:
            self.refuse(413, "too_large", f"a body has at most {self.site.body_bytes} bytes")
            return False  # Twisted would fail to make an int of thousands of digits
        received: bool = super().headerReceived(line)  # type: ignore[no-untyped-call]
        return received

    def allHeadersReceived(self) -> None:
        if self.refused:
            return
        request: LimitedRequest = self.requests[-1]
        uploads = self.site.uploads
        kind = (request.requestHeaders.getRawHeaders(b"content-type") or [b""])[0]
        is_file = uploads is not None and uploads.wants(self._command, self._path, kind)
        most = uploads.bytes_max if uploads is not None and is_file else self.site.body_bytes
        if self.length is not None and self.length > most:
            self.refuse(413, "too_large", f"a body has at most {most} bytes")
            return
        if uploads is not None and is_file and not self._begin_upload(uploads, request):
            return
        super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def _begin_upload(self, uploads: Uploads, request: LimitedRequest) -> bool:
        """Let no more in until we know who sends. :return: whether to go on."""
        request.client = self.getPeer()  # type: ignore[no-untyped-call]
        try:
            request.upload = body = uploads.begin(request)
        except MizuError as busy:
            self.refuse(busy.http_status, busy.code, str(busy))
            return False
        if not body.admitted.called:
            self._networkProducer.pauseProducing()

        def admitted(result: Any) -> Any:
            coming = self.requests[-1:] == [request] and not self._handlingRequest and not self.refused
            if coming and isinstance(result, Failure):
                self.refuse(*refusal_of(result))
            elif not self.refused and self.transport is not None:
                self._networkProducer.resumeProducing()
            return result  # for who awaits it once all is there

        body.admitted.addBoth(admitted)
        return not self.refused

    def _uploading(self) -> bool:
        return bool(self.requests) and getattr(self.requests[-1], "upload", None) is not None

    def most_bytes(self, request: LimitedRequest) -> int:
        """Of a request's body."""
        if request.upload is not None and self.site.uploads is not None:
            return self.site.uploads.bytes_max
        return self.site.body_bytes

    def allContentReceived(self) -> None:
        self._stop(self._deadline)
        self._deadline = None
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def refuse(self, status: int, code: str, text: str) -> None:
        """Answer at once, take no more of the request, close."""
        self.refused = True
        for request in self.requests:
            if getattr(request, "upload", None) is not None:
                request.upload.close()
        body = json_bytes({"ok": False, "error": code, "lines": [text], "result": None})
        reason = {408: b"Request Timeout", 413: b"Content Too Large"}.get(status, b"Refused")
        head = [b"HTTP/1.1 %d %s" % (status, reason), b"content-type: application/json"]
        head += [name + b": " + value for name, value in SECURITY_HEADERS]
        head += [b"content-length: %d" % len(body), b"connection: close", b"", b""]
        self.transport.writeSequence([b"\r\n".join(head), body])
        self._stop(self._deadline)
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is None:
            self.loseConnection()
            return
        half_close()
        if self._closing is None:
            self._closing = self.callLater(LINGER_S, self.transport.abortConnection)  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        if self._closing is None:
            self._closing = self.callLater(CLOSE_S, self.transport.abortConnection)  # type: ignore[no-untyped-call]
        super().loseConnection()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._stop(self._deadline)
        self._stop(self._closing)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.site.connection_closed(self)

    def _too_slow(self) -> None:
        self.refuse(408, "too_slow", f"a request must be complete within {REQUEST_S} s")

    def _stop(self, call: IDelayedCall | None) -> None:
        if call is not None and call.active():
            call.cancel()


class LimitedSite(Site):
    """
    A Twisted site with bounds.

    :param body_bytes: largest request body; more is answered 413 before it is kept.
    :param connections_max: at a time; one more is closed as it comes.
    """

    log_refusals = Logger(namespace="mizu.web")
    protocol = LimitedChannel  # type: ignore[assignment]  # no HTTP/2 here
    requestFactory = LimitedRequest
    displayTracebacks = False

    def __init__(self, resource: IResource, *, body_bytes: int, connections_max: int, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            resource, timeout=IDLE_S, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.body_bytes = body_bytes
        self.connections_max = connections_max
        self.refused_connections = 0
        self.uploads: Uploads | None = None  #: ``None``: no files are taken
        self._channels: set[LimitedChannel] = set()
        self._gone: Deferred[None] | None = None
        self._clock = reactor

    @property
    def connections(self) -> int:
        return len(self._channels)

    def buildProtocol(self, addr: IAddress) -> Protocol | None:  # type: ignore[override]
        if len(self._channels) >= self.connections_max:
            if self.refused_connections % 1000 == 0:  # the first, and then not a line for each of a flood
                self.log_refusals.warn(
                    "HTTP: {n} connections are open, no more taken", n=self.connections_max
                )
            self.refused_connections += 1
            return None
        channel: LimitedChannel = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        self._channels.add(channel)
        return channel

    def connection_closed(self, channel: LimitedChannel) -> None:
        self._channels.discard(channel)
        self._tell_when_gone()

    def close_connections(self) -> "Deferred[None]":
        """Close what is idle and let answers under way get out. Fires when no connection is left."""
        for channel in tuple(self._channels):
            if channel.requests:
                channel.persistent = 0
            else:
                channel.loseConnection()
        gone: Deferred[None] = Deferred()
        self._gone = gone
        late = self._clock.callLater(STOP_S, self._abort_connections)
        self._tell_when_gone()
        return gone.addBoth(lambda _: late.cancel() if late.active() else None)

    def _abort_connections(self) -> None:
        for channel in tuple(self._channels):
            channel.transport.abortConnection()

    def _tell_when_gone(self) -> None:
        if not self._channels and self._gone is not None:
            gone, self._gone = self._gone, None
            gone.callback(None)

    def log(self, request: Any) -> None:
        """No line for each request: pages poll. Changes are in the audit log, refusals in ours."""

    def getResourceFor(self, request: Any) -> IResource:
        """One resource answers every path; nothing is created per path element."""
        request.site = self
        request.sitepath = []
        found: IResource = self.resource
        return found
