"""Pieces of the SIP grammar (RFC 3261 25.1) that more than one header needs: tokens, quoted strings, lists,
parameters, numbers. Text in, text out.

Text of a message is ``str`` decoded as UTF-8 with ``surrogateescape``, so that every byte survives. "Digit"
always means the ASCII digits: other Unicode digits never count.
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING

from mizu.errors import MizuError

if TYPE_CHECKING:
    from mizu.sip.message import Request

#: Characters of ``token``, for use inside ``[...]`` of a regular expression.
TOKEN_CHARS = r"A-Za-z0-9\-.!%*_+`'~"  # noqa: S105 - the grammar's token, no secret
is_token = re.compile(f"[{TOKEN_CHARS}]+").fullmatch
_is_number = re.compile(r"[0-9]+").fullmatch
_is_host = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?").fullmatch
_is_param_value = re.compile(r"[^\x00-\x20\x7f\"<>,;?=@\\]*").fullmatch
_is_plain_params = re.compile(rf"(?:;[{TOKEN_CHARS}]+(?:=[{TOKEN_CHARS}\[\]:]*)?)*").fullmatch
#: Something in quotes, or a piece without quotes.
_quoted = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
#: As :data:`_quoted`, and what stands in angle brackets too.
#: What is never closed takes the rest, which also keeps the work linear.
_grouped = re.compile(r'"(?:[^"\\]|\\.)*"|<[^>]*>|[^",<]+|,|["<].*', re.DOTALL)
_quoted_pair = re.compile(r"\\(.)", re.DOTALL)

NUMBER_MAX = 2**32 - 1  #: of CSeq, Expires and the like (RFC 3261 20)


class BadMessage(MizuError):
    """A message, or a part of one, that cannot be understood.

    The text is safe to show to the sender as a reason phrase. ``request`` is as much of the request as can
    be answered (its top Via can be read); ``None``: say nothing.
    """

    sip_status, http_status, code = 400, 400, "bad_message"

    def __init__(
        self,
        text: str,
        sip_status: int = 400,
        code: str = "bad_message",
        request: "Request | None" = None,
    ) -> None:
        super().__init__(text)
        self.sip_status = sip_status
        self.code = code
        self.request = request


#: A number so short is read without further looks.
_SHORT_DIGITS = 10


def parse_number(text: str, what: str, maximum: int = NUMBER_MAX) -> int:
    """
    ``1*DIGIT`` with a bound. Any count of leading zeros is legal; the work is bounded all the same.

    :param what: name of the thing, for the error text.
    :raise BadMessage: anything but ASCII digits, or more than ``maximum``.
    """
    if len(text) <= _SHORT_DIGITS and text.isdigit() and text.isascii():  # nearly every number
        number = int(text)
        if number <= maximum:
            return number
    if not _is_number(text):
        raise BadMessage(f"{what} is not a number", code="bad_number")
    digits = text.lstrip("0")
    if len(digits) > 19 or int(digits or "0") > maximum:
        raise BadMessage(f"{what} is too large", code="bad_number")
    return int(digits or "0")


def split_list(value: str) -> list[str]:
    """
    The elements of a comma-separated header value, stripped. Commas in quotes or ``<>`` do not separate.

    Empty elements are dropped, as RFC 3261 7.3.1 has none but senders do.
    """
    if "," not in value:
        value = value.strip()
        return [value] if value else []
    if '"' not in value and "<" not in value:
        return [piece for part in value.split(",") if (piece := part.strip())]
    found: list[str] = []
    current: list[str] = []
    for match in _grouped.finditer(value):
        piece = match.group()
        if piece == ",":
            found.append("".join(current).strip())
            current = []
        else:
            current.append(piece)
    found.append("".join(current).strip())
    return [piece for piece in found if piece]


def parse_params(text: str) -> dict[str, str | None]:
    """
    ``*( SEMI generic-param )``, what follows a URI in ``<>`` or a Via's sent-by.

    :return: lower-case name to value as written (quotes kept); ``None`` for a parameter without ``=``.
    :raise BadMessage: an empty or repeated parameter (RFC 3261 7.3.1), or text that is none.
    """
    if not text:
        return {}
    params: dict[str, str | None] = {}
    if _is_plain_params(text):
        pieces = text.split(";")
        for piece in pieces[1:]:
            name, equals, value = piece.partition("=")
            name = name.lower()
            if name in params:
                raise BadMessage("Repeated parameter", code="bad_params")
            params[name] = value if equals else None
        return params
    pieces = _split_outside_quotes(text)
    if pieces[0].strip(" \t"):
        raise BadMessage("Text where a parameter should begin", code="bad_params")
    for piece in pieces[1:]:
        name, equals, value = piece.partition("=")
        name, value = name.strip(" \t").lower(), value.strip(" \t")
        if not is_token(name):
            raise BadMessage("Empty or malformed parameter", code="bad_params")
        if not (_is_param_value(value) or _quoted.fullmatch(value)):
            raise BadMessage("Malformed parameter value", code="bad_params")
        if name in params:
            raise BadMessage("Repeated parameter", code="bad_params")
        params[name] = value if equals else None
    return params


def _split_outside_quotes(text: str) -> list[str]:
    """Split at semicolons that are not in a quoted string."""
    if '"' not in text:
        return text.split(";")
    pieces, start, at = [], 0, 0
    while at < len(text):
        char = text[at]
        if char == '"':
            match = _quoted.match(text, at)
            if match is None:
                raise BadMessage("Quote is never closed", code="bad_quote")
            at = match.end()
            continue
        if char == ";":
            pieces.append(text[start:at])
            start = at + 1
        at += 1
    pieces.append(text[start:])
    return pieces


def params_text(params: dict[str, str | None]) -> str:
    """The inverse of :func:`parse_params`."""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params.items()])


def quoted_end(text: str) -> int:
    """
    Index after the quoted string that ``text`` begins with.

    :raise BadMessage: its end is missing.
    """
    match = _quoted.match(text)
    if match is None:
        raise BadMessage("Quote is never closed", code="bad_quote")
    return match.end()


def unquote(text: str) -> str:
    """The content of a quoted string; text without quotes as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    text = text[1:-1]
    return _quoted_pair.sub(r"\1", text) if "\\" in text else text


def quote(text: str) -> str:
    """A quoted string (RFC 3261 25.1). Line ends become spaces: nothing may hide a header in a name."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
    return f'"{text}"'


def parse_host(text: str) -> str:
    """
    A host name, IPv4 address or bracketed IPv6 reference, as text without brackets.

    The third colon that the ABNF of RFC 3261 lets into IPv4-mapped addresses is taken out (RFC 5118 4.10).

    :raise BadMessage: it is none of these.
    """
    if _is_host(text):
        return text
    if text[:1] == "[" and text[-1:] == "]":
        inner = text[1:-1].replace(":::", "::")
        try:
            if "%" not in inner:
                IPv6Address(inner)
                return inner
        except AddressValueError:
            pass
    raise BadMessage("Malformed host", code="bad_host")


def parse_host_port(text: str) -> tuple[str, int | None]:
    """
    ``host [ ":" port ]``, spaces around the colon allowed (they are in a Via, RFC 3261 25.1).

    :raise BadMessage: malformed host, or a port outside 0..65535.
    """
    if text[:1] == "[":
        host, bracket, rest = text.partition("]")
        host, rest = host + bracket, rest.strip(" \t")
        if rest and rest[0] != ":":
            raise BadMessage("Malformed host", code="bad_host")
        port = rest[1:] if rest else None
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
    number = None if port is None else parse_number(port.strip(" \t"), "Port", 65535)
    return parse_host(host.strip(" \t")), number


def host_text(host: str, port: int | None = None) -> str:
    """``host:port`` as it is written in a message: IPv6 gets its brackets."""
    if ":" in host:
        host = f"[{host}]"
    return host if port is None else f"{host}:{port}"
