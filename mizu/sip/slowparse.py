"""The complete parser: folding, bare line feeds, odd spacing, control characters, and what is wrong.

:mod:`mizu.sip.parser` comes here with every message that its short way does not take.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from mizu.config import LimitsConfig
from mizu.sip.grammar import BadMessage, is_token, split_list
from mizu.sip.headers import CSeq, Via
from mizu.sip.message import Field, Request, Response, received_request, received_response
from mizu.sip.names import KEYS, METHODS, canonical_name, header_key

#: Bytes that no header may have outside a quoted pair: controls but tab.
CONTROLS = bytes([*range(9), *range(10, 32), 127])
#: Headers that a message may have once (RFC 3261 7.3.1 and table 2; 8.1.1).
SINGLE = frozenset(
    {
        "call-id",
        "content-length",  # equal values are let through
        "content-type",
        "cseq",
        "event",
        "expires",
        "from",
        "max-forwards",
        "rack",
        "refer-to",
        "replaces",
        "rseq",
        "session-expires",
        "to",
    }
)
_REQUIRED = ("via", "from", "to", "call-id", "cseq")
_blank_line = re.compile(rb"\r?\n\r?\n")
_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_quoted_pair = re.compile(r"\\[^\r\n]")
is_call_id = re.compile(r"[^ ,\t]+").fullmatch
_version = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE).fullmatch
_LENGTH_DIGITS = 20  # of a Content-Length; h11 draws the line at the same place


@dataclass(frozen=True, slots=True)
class Limits:
    """What the parser takes; :class:`mizu.config.LimitsConfig` has the same fields and may be passed."""

    message_bytes: int = 65_535
    header_lines: int = 256
    line_bytes: int = 8192

    @classmethod
    def of(cls, config: LimitsConfig) -> "Limits":
        """From the settings."""
        return cls(config.message_bytes, config.header_lines, config.line_bytes)


def plain_key(name: str) -> str:
    """The key of a header name that :data:`KEYS` lacks; empty when it is no token."""
    return _short_key(name) if len(name) < 64 else _short_key.__wrapped__(name)


@lru_cache(2048)
def _short_key(name: str) -> str:
    return header_key(name) if is_token(name) else ""


def content_length(text: str) -> int:
    """The value of a Content-Length; -1: malformed."""
    if text.isascii() and text.isdigit() and len(text) <= _LENGTH_DIGITS:
        return int(text)
    return -1


class _Reading:
    """One message being read: what is known so far, and the first thing that was wrong."""

    __slots__ = ("body", "fields", "first", "method", "problem", "status", "uri")

    def __init__(self) -> None:
        self.method = ""  # of a request
        self.uri = ""
        self.status = 0  # of a response
        self.fields: list[Field] = []
        self.first: dict[str, str] = {}
        self.body = b""
        self.problem: BadMessage | None = None

    def wrong(self, text: str, status: int = 400, code: str = "bad_message") -> None:
        """Note a problem; the first one counts."""
        if self.problem is None:
            self.problem = BadMessage(text, status, code)


def parse_slowly(data: bytes, limits: Limits | LimitsConfig, *, stream: bool = False) -> Request | Response:
    """
    As :func:`mizu.sip.parser.parse_datagram`, for any message.

    :param stream: ``data`` is a head with its blank line, the body comes later; line ends must be CRLF.
    :raise BadMessage:
    """
    if len(data) > limits.message_bytes:
        raise BadMessage("Message too large", 513, "too_large")
    data = data.lstrip(b"\r\n")
    reading = _Reading()
    end = _blank_line.search(data)
    head, rest = (data, b"") if end is None else (data[: end.start()], data[end.end() :])
    lines = _lines(head, limits, reading, stream)
    if not lines or not lines[0]:
        raise BadMessage("Empty message", code="empty")
    _read_start(lines[0], reading)
    if end is None:
        reading.wrong("Blank line after the headers is missing", code="cut")
    _read_fields(lines, limits, reading)
    via = _check_fields(reading)
    reading.body = rest
    if not stream:
        _cut_body(reading)
    return _finish(reading, via)


def _lines(head: bytes, limits: Limits | LimitsConfig, reading: _Reading, stream: bool) -> list[str]:
    """Unfolded lines: a line that begins with space or tab belongs to the one before (RFC 3261 7.3.1)."""
    text = head.decode("utf-8", "surrogateescape")
    bare = text.count("\n") != text.count("\r\n")
    if bare and stream:
        reading.wrong("Line feed without carriage return", code="bare_line_feed")
    lines: list[list[str]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line[:1] in (" ", "\t") and lines:
            lines[-1].append(line.strip(" \t"))
        else:
            lines.append([line])
        if len(lines) > limits.header_lines:
            reading.wrong("Too many headers", 513, "too_many_headers")
            break
    found = [parts[0] if len(parts) == 1 else _join(parts) for parts in lines]
    if any(len(line) > limits.line_bytes for line in found):
        reading.wrong("Header line too long", 513, "line_too_long")
        found = [line[: limits.line_bytes] for line in found]
    for line in found:
        if _control(line) and _control(_quoted_pair.sub("", line) if '"' in line else line):
            reading.wrong("Control character in a header", code="control_character")
    return found


def _join(parts: list[str]) -> str:
    return " ".join([part for part in (parts[0].rstrip(" \t"), *parts[1:]) if part])


def _read_start(line: str, reading: _Reading) -> None:
    """:raise BadMessage: nobody can be told what is wrong."""
    if line[:4].upper() == "SIP/":
        _read_status(line, reading)
        return
    pieces = [piece for piece in line.split(" ") if piece]
    if len(pieces) < 2 or not is_token(pieces[0]):
        raise BadMessage("Not a SIP message", code="bad_start_line")
    reading.method, reading.uri = pieces[0], pieces[1]
    # Several spaces, or some at the end, are let through (RFC 4475 3.1.2.9, 3.1.2.10): nothing is ambiguous.
    if line[0] == " " or len(pieces) != 3 or "\t" in line:
        reading.wrong("Malformed Request-Line", code="bad_start_line")
        if not _version(pieces[-1]):
            raise BadMessage("Not a SIP message", code="bad_start_line")
    elif not _version(pieces[2]):
        raise BadMessage("Not a SIP message", code="bad_start_line")
    elif pieces[2].upper() != "SIP/2.0":
        reading.wrong("Version Not Supported", 505, "bad_version")
    elif "<" in pieces[1]:
        reading.wrong("Request-URI in angle brackets", code="bad_start_line")


def _read_status(line: str, reading: _Reading) -> None:
    version, _, rest = line.partition(" ")
    code, _, reason = rest.lstrip(" ").partition(" ")
    if version.upper() != "SIP/2.0":
        raise BadMessage("Version Not Supported", 505, "bad_version")
    if not (len(code) == 3 and code.isascii() and code.isdigit() and "100" <= code < "700"):
        raise BadMessage("Malformed Status-Line", code="bad_start_line")
    reading.status, reading.uri = int(code), reason


def _read_fields(lines: list[str], limits: Limits | LimitsConfig, reading: _Reading) -> None:
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        key = KEYS.get(name) or plain_key(name)
        if not colon or not key:
            reading.wrong("Malformed header line", code="bad_header")
            continue
        value = value.strip(" \t")
        if key in SINGLE and key in reading.first:
            if key == "content-length":
                size = content_length(reading.first[key])
                if size < 0 or size != content_length(value):
                    reading.wrong("Differing Content-Length", code="bad_length")
            else:
                reading.wrong(f"More than one {canonical_name(key)}", code="repeated_header")
            continue  # an equal Content-Length goes out once
        reading.fields.append((name, key, value))
        reading.first.setdefault(key, value)


def _check_fields(reading: _Reading) -> Via | None:
    """What :func:`parse_datagram` promises. :return: the top Via, as far as it can be read."""
    first = reading.first
    for key in _REQUIRED:
        if key not in first:
            reading.wrong(f"{canonical_name(key)} is missing", code="missing_header")
    via: Via | None = None
    if "via" in first:
        text = (split_list(first["via"]) or [""])[0]
        try:
            via = Via.parse(text)
        except BadMessage as bad:
            reading.wrong(str(bad), code=bad.code)
            via = _lenient_via(text)
    if not is_call_id(first.get("call-id", "x")):
        reading.wrong("Malformed Call-ID", code="bad_call_id")
    if "cseq" in first:
        _check_cseq(first["cseq"], reading)
    return via


def _lenient_via(text: str) -> Via | None:
    try:
        return Via.parse(text, lenient=True)
    except BadMessage:
        return None


def _check_cseq(text: str, reading: _Reading) -> None:
    try:
        cseq = CSeq.parse(text)
    except BadMessage as bad:
        reading.wrong(str(bad), code=bad.code)
        return
    if reading.method and cseq.method != reading.method:
        if reading.method in METHODS:
            reading.wrong("CSeq has another method", code="bad_cseq")
        else:
            reading.wrong("Not Implemented", 501, "unknown_method")  # RFC 4475 3.1.2.18


def _cut_body(reading: _Reading) -> None:
    text = reading.first.get("content-length")
    if text is None:
        return
    size = content_length(text)
    if size < 0:
        reading.wrong("Malformed Content-Length", code="bad_length")
    elif size > len(reading.body):
        reading.wrong("Body shorter than Content-Length", code="cut")
    else:
        reading.body = reading.body[:size]


def _finish(reading: _Reading, via: Via | None) -> Request | Response:
    """The message, or :class:`BadMessage` with as much of the request as can be answered."""
    if reading.method:
        request = received_request(reading.method, reading.uri, reading.fields, reading.first, reading.body)
        request._via = via
        if reading.problem is not None:
            reading.problem.request = None if via is None else request
            raise reading.problem
        return request
    if reading.problem is not None:
        raise reading.problem
    response = received_response(reading.status, reading.uri, reading.fields, reading.first, reading.body)
    response._via = via
    return response
