"""Bytes to messages, with limits. Raises :class:`BadMessage` and nothing else.

There are two ways to the same result: a short one for messages without surprises (compiled, if
:mod:`mizu.native` has it), and :mod:`mizu.sip.slowparse` for the rest and for saying what is wrong. Tests
hold them to the same answers.
"""

from mizu import native
from mizu.config import LimitsConfig
from mizu.sip.grammar import BadMessage
from mizu.sip.headers import CSeq, Via
from mizu.sip.message import Field, Message, Request, Response, received_request, received_response
from mizu.sip.names import KEYS, METHODS
from mizu.sip.slowparse import (
    CONTROLS,
    SINGLE,
    Limits,
    content_length,
    is_call_id,
    parse_slowly,
    plain_key,
)

__all__ = ["BadMessage", "Limits", "StreamFramer", "parse_datagram"]

_DEFAULT = Limits()
PING = b"\r\n\r\n"  #: keepalive of RFC 5626 3.5.1, to be answered with :data:`PONG`
PONG = b"\r\n"

_compiled = native.messages
if _compiled is not None:
    _compiled.bind_names(KEYS, SINGLE, sorted(METHODS), Via.parse, CSeq.parse, BadMessage)
    _compiled.bind("request", received_request("", "", [], {}, b""))
    _compiled.bind("response", received_response(0, "", [], {}, b""))
    _compiled.bind("via", Via("", "", None, {}))
    _compiled.bind("cseq", CSeq(0, ""))


def parse_datagram(data: bytes, limits: Limits | LimitsConfig = _DEFAULT) -> Request | Response:
    """
    The one message of a datagram. What follows its Content-Length is dropped (RFC 3261 18.3).

    Checked here: the start line, that Via, From, To, Call-ID and CSeq are there and single, that CSeq has the
    method, that the top Via can be read, Content-Length. Other headers are checked when they are asked for.

    :raise BadMessage: with ``request`` set when it can be answered.
    """
    if _compiled is not None:
        message = _compiled.parse_plain(
            data, limits.message_bytes, limits.header_lines, limits.line_bytes, False
        )
        return parse_slowly(data, limits) if message is None else message
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank or len(data) > limits.message_bytes:
        return parse_slowly(data, limits)
    message = _parse_plain(head, body, limits)
    if message is None:
        return parse_slowly(data, limits)
    length = message._first.get("content-length")
    if length is not None and length != str(len(body)):
        size = content_length(length)
        if size < 0 or size > len(body):
            return parse_slowly(data, limits)
        message.body = body[:size]
    return message


def _parse_plain(  # noqa: PLR0912 - one pass over the head; splitting it would cost a third more time
    head: bytes, body: bytes, limits: Limits | LimitsConfig
) -> Request | Response | None:
    """A message without surprises; ``None``: the slow way must look at it."""
    lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    # Any control character but tab, and any line end that is not CRLF, makes this length differ.
    if len(head.translate(None, CONTROLS)) != len(head) - 2 * len(lines) + 2:
        return None
    if len(lines) > limits.header_lines or len(head) > limits.line_bytes:
        return None
    start = lines[0].split(" ", 2)
    if len(start) != 3:
        return None
    fields: list[Field] = []
    first: dict[str, str] = {}
    known_key, add = KEYS.get, fields.append
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(":")
        key = known_key(name)
        if key is None:
            key = plain_key(name)
        if not colon or not key:
            return None
        value = value.strip(" \t")
        add((name, key, value))
        if key not in first:
            first[key] = value
        elif key in SINGLE:
            return None
    if "from" not in first or "to" not in first:
        return None
    try:
        call_id = first["call-id"]
        cseq = CSeq.parse(first["cseq"])
        via_text = first["via"]
        if "," in via_text:
            return None
        via = Via.parse(via_text)
    except (KeyError, BadMessage):
        return None
    if not is_call_id(call_id):
        return None
    message: Request | Response
    method, uri, version = start
    if version == "SIP/2.0":
        if cseq.method != method or not uri or "<" in uri or "\t" in uri:
            return None
        message = received_request(method, uri, fields, first, body)
    elif method == "SIP/2.0" and len(uri) == 3 and uri.isascii() and uri.isdigit() and "100" <= uri < "700":
        message = received_response(int(uri), version, fields, first, body)
    else:
        return None
    message._via = via
    message._cseq = cseq
    return message


def _parse_head(head: bytes, limits: Limits | LimitsConfig) -> Request | Response | None:
    """As :func:`_parse_plain` for a head with its blank line, whose body comes later."""
    if _compiled is not None:
        return _compiled.parse_plain(head, limits.message_bytes, limits.header_lines, limits.line_bytes, True)
    return _parse_plain(head[:-4], b"", limits)


class StreamFramer:
    """Cuts the bytes of one connection into messages (RFC 3261 18.3, RFC 5626 3.5.1)."""

    __slots__ = ("_buffer", "_failure", "_half_ping", "_head", "_limits", "_searched", "_wanted")

    def __init__(self, limits: Limits | LimitsConfig = _DEFAULT) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0  # no blank line ends before this index
        self._head: Request | Response | None = None  # parsed, waiting for its body
        self._wanted = 0  # bytes of that body
        self._half_ping = False
        self._failure: BadMessage | None = None

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that is not complete; 0 between messages."""
        return len(self._buffer) + (1 if self._head is not None else 0)

    def feed(self, data: bytes) -> list[Message | bytes]:
        """
        What these bytes complete, in order: messages, :data:`PING` (answer it with :data:`PONG`) and
        :data:`PONG`. Several pings in one piece are one.

        :raise BadMessage: the stream cannot be followed any further: answer if ``request`` is set, then
            close. When messages were complete before it, they are returned first and :attr:`failed` is set;
            the next call raises.
        """
        if self._failure is not None:
            raise self._failure
        self._buffer += data
        events: list[Message | bytes] = []
        try:
            while self._step(events):
                pass
        except BadMessage as bad:
            self._failure = bad
            self._buffer.clear()
            self._head = None
            if not events:
                raise
        return events

    @property
    def failed(self) -> BadMessage | None:
        """Why the connection must be closed; ``None``: it need not."""
        return self._failure

    def _step(self, events: list[Message | bytes]) -> bool:
        """One step on; false: more bytes are needed."""
        if self._head is None and not self._next_head(events):
            return False
        head = self._head
        if head is None or len(self._buffer) < self._wanted:
            return False
        head.body = bytes(self._buffer[: self._wanted])
        del self._buffer[: self._wanted]
        self._head = None
        events.append(head)
        return bool(self._buffer)

    def _next_head(self, events: list[Message | bytes]) -> bool:
        buffer = self._buffer
        if buffer[:1] == b"\r" or buffer[:1] == b"\n":
            self._keepalive(events)
        if not buffer or buffer[:1] == b"\r":
            return False
        self._half_ping = False
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) > self._limits.message_bytes:
                raise BadMessage("Message too large", 513, "too_large")
            return False
        head = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._searched = 0
        message = _parse_head(head, self._limits)
        if message is None:
            message = parse_slowly(head, self._limits, stream=True)
        length = message.get("content-length")
        request = message if isinstance(message, Request) else None
        if length is None:
            raise BadMessage("Content-Length is missing", code="no_length", request=request)
        wanted = content_length(length)
        if wanted < 0:
            raise BadMessage("Malformed Content-Length", code="bad_length", request=request)
        if len(head) + wanted > self._limits.message_bytes:
            raise BadMessage("Message too large", 513, "too_large", request)
        self._head, self._wanted = message, wanted
        return True

    def _keepalive(self, events: list[Message | bytes]) -> None:
        """Take line ends off the front, where a message may begin (RFC 3261 7.5)."""
        buffer = self._buffer
        at = len(buffer) - len(buffer.lstrip(b"\r\n"))
        if at == len(buffer) and buffer[-1:] == b"\r":
            at -= 1
        ends = buffer.count(b"\n", 0, at)
        del buffer[:at]
        self._searched = 0
        if ends == 0:
            if at:
                raise BadMessage("Carriage return without line feed", code="control_character")
            return
        if ends >= 2 or self._half_ping:
            events.append(PING)
            self._half_ping = False
        else:
            events.append(PONG)
            self._half_ping = not buffer or buffer[:1] == b"\r"
