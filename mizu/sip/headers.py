"""Typed values of the headers that SIP itself needs: Via, name-addr headers, CSeq. Parsed when asked for."""

import re
from functools import lru_cache

from mizu import native
from mizu.sip.grammar import (
    TOKEN_CHARS,
    BadMessage,
    host_text,
    is_token,
    params_text,
    parse_host_port,
    parse_number,
    parse_params,
    quote,
    quoted_end,
    split_list,
    unquote,
)
from mizu.sip.uri import Uri, parse_uri

__all__ = ["CSeq", "NameAddr", "Via", "parse_seconds", "split_list"]

EXPIRES_DEFAULT_S = 3600  #: what a malformed expiry counts as (RFC 3261 10.2.1.1, RFC 4475 3.1.2.4)

_plain_addr = re.compile(
    rf'(?:"([^"\\]*)"|([{TOKEN_CHARS} ]*?)) ?<([^<>\s"]+)>(?:;tag=([{TOKEN_CHARS}]+))?'
).fullmatch
#: Transports whose Via goes the short way: what a value begins with.
_PROTOS = {f"SIP/2.0/{proto} ": proto for proto in ("UDP", "TCP", "TLS")}
#: Parameters without quotes, spaces or IPv6 in them.
_is_plain_params = re.compile(rf"[{TOKEN_CHARS};=]+").fullmatch
#: Peers repeat themselves: sent-by and CSeq texts are few. Only good and short ones are kept.
_CACHED_CHARS = 64
_COOKIE = "z9hG4bK"  # RFC 3261 8.1.1.7
_sent_by = lru_cache(4096)(parse_host_port)
#: Display names that are no tokens are taken too, as if quoted, unless it is unclear where they end.
_is_display = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f,;:\"<>\\]*").fullmatch
_via_protocol = re.compile(
    rf"([{TOKEN_CHARS}]+)[ \t]*/[ \t]*([{TOKEN_CHARS}]+)[ \t]*/[ \t]*([{TOKEN_CHARS}]+)[ \t]+"
).match
_q = re.compile(r"0(?:\.([0-9]{0,3}))?|1(?:\.0{0,3})?").fullmatch


def parse_seconds(text: str) -> int:
    """``delta-seconds``. Malformed or over 2**32-1 counts as 3600 (RFC 3261 10.2.1.1)."""
    try:
        return parse_number(text, "Expires")
    except BadMessage:
        return EXPIRES_DEFAULT_S


class NameAddr:
    """``name-addr`` or ``addr-spec`` with header parameters: From, To, Contact, Route, ... (RFC 3261 20.10).

    ``display`` is unquoted, ``params`` values are as written. ``star`` is true for ``Contact: *`` only.
    Treat as immutable.
    """

    __slots__ = ("_uri", "display", "params", "uri_text")

    def __init__(self, display: str, uri_text: str, params: dict[str, str | None] | None = None) -> None:
        self.display = display
        self.uri_text = uri_text
        self.params: dict[str, str | None] = {} if params is None else params
        self._uri: Uri | None = None

    @classmethod
    def parse(cls, value: str) -> "NameAddr":
        """:raise BadMessage: unclosed quote, no URI, spaces in it, or bad parameters."""
        if _compiled is not None:
            found = _compiled.address(value)
            return cls._parse_slowly(value.strip(" \t")) if found is None else found
        plain = _plain_addr(value)
        if plain is not None:
            quoted, token, uri_text, tag = plain.groups()
            return cls(quoted or (token or "").rstrip(" "), uri_text, {} if tag is None else {"tag": tag})
        return cls._parse_slowly(value.strip(" \t"))

    @classmethod
    def _parse_slowly(cls, value: str) -> "NameAddr":
        display = ""
        if value[:1] == '"':
            end = quoted_end(value)
            display, rest = unquote(value[:end]), value[end:].lstrip(" \t")
            if rest[:1] != "<":
                raise BadMessage("No URI after the display name", code="bad_address")
        elif "<" in value:
            display, _, rest = value.partition("<")
            display, rest = display.strip(" \t"), "<" + rest
            if not _is_display(display):
                raise BadMessage("Display name needs quotes", code="bad_address")
        else:
            return cls._parse_bare(value)
        uri_text, bracket, rest = rest[1:].partition(">")
        if not bracket or not uri_text or " " in uri_text or "\t" in uri_text or "<" in uri_text:
            raise BadMessage("Malformed address", code="bad_address")
        return cls(display, uri_text, parse_params(rest.strip(" \t")))

    @classmethod
    def _parse_bare(cls, value: str) -> "NameAddr":
        """Without ``<>`` everything from the first ``;`` on belongs to the header, not to the URI."""
        uri_text, semicolon, rest = value.partition(";")
        uri_text = uri_text.rstrip(" \t")
        params = parse_params(semicolon + rest.rstrip(" \t"))
        if uri_text == "*":
            return cls("", uri_text, params)
        if ":" not in uri_text or any(char in uri_text for char in ' \t,?"<>'):
            raise BadMessage("Malformed address", code="bad_address")
        return cls("", uri_text, params)

    @property
    def uri(self) -> Uri:
        """:raise BadMessage: the URI is malformed."""
        uri = self._uri
        if uri is None:
            uri = self._uri = parse_uri(self.uri_text)
        return uri

    @property
    def star(self) -> bool:
        """The value is ``*`` (Contact of a REGISTER that removes all)."""
        return self.uri_text == "*"

    @property
    def tag(self) -> str:
        """The ``tag`` parameter, or empty."""
        return self.params.get("tag") or ""

    @property
    def expires_s(self) -> int | None:
        """The ``expires`` parameter in seconds, malformed as 3600; ``None``: there is none."""
        text = self.params.get("expires")
        return None if text is None else parse_seconds(unquote(text))

    @property
    def q_milli(self) -> int:
        """The ``q`` parameter times 1000; 1000 when absent. :raise BadMessage: it is not 0..1."""
        text = self.params.get("q")
        if text is None:
            return 1000
        match = _q(text)
        if match is None:
            raise BadMessage("Malformed q", code="bad_params")
        if text[0] == "1":
            return 1000
        return int((match.group(1) or "").ljust(3, "0"))

    def __str__(self) -> str:
        if self.star:
            return "*" + params_text(self.params)
        display = f"{quote(self.display)} " if self.display else ""
        return f"{display}<{self.uri_text}>{params_text(self.params)}"

    def __repr__(self) -> str:
        return f"<NameAddr {self}>"


_compiled = native.messages
if _compiled is not None:
    _compiled.bind("address", NameAddr("", ""))


class Via:
    """One Via value (RFC 3261 20.42). ``proto`` is upper-case, ``host`` has no brackets.

    ``params`` values are as written. :meth:`stamp` is the only way to change one.
    """

    __slots__ = ("_text", "host", "params", "port", "proto")

    def __init__(
        self, proto: str, host: str, port: int | None, params: dict[str, str | None], text: str = ""
    ) -> None:
        """:param text: how it was received; empty: made by us."""
        self.proto = proto
        self.host = host
        self.port = port
        self.params = params
        self._text = text

    @classmethod
    def parse(cls, value: str, lenient: bool = False) -> "Via":
        """
        One value; the caller has split the list.

        :param lenient: drop parameters that cannot be understood, so that the sender can be told.
        :raise BadMessage: malformed.
        """
        sent_by, semicolon, rest = value.partition(";")
        proto = _PROTOS.get(sent_by[:12])
        if proto is None or (semicolon and not _is_plain_params(rest)):
            return cls._parse_slowly(value, lenient)
        params: dict[str, str | None] = {}
        if semicolon:
            pieces = rest.split(";")
            for piece in pieces:
                name, equals, text = piece.partition("=")
                if "=" in text:
                    return cls._parse_slowly(value, lenient)
                params[name.lower()] = text if equals else None
            if "" in params or len(params) != len(pieces):
                return cls._parse_slowly(value, lenient)
        place = sent_by[12:]
        host, port = _sent_by(place) if len(place) < _CACHED_CHARS else parse_host_port(place)
        return cls(proto, host, port, params, value)

    @classmethod
    def _parse_slowly(cls, value: str, lenient: bool) -> "Via":
        protocol = _via_protocol(value)
        if protocol is None or protocol.group(1).upper() != "SIP":
            raise BadMessage("Malformed Via", code="bad_via")
        sent_by, semicolon, rest = value[protocol.end() :].partition(";")
        host, port = parse_host_port(sent_by.strip(" \t"))
        try:
            params = parse_params((semicolon + rest).rstrip(" \t"))
        except BadMessage:
            if not lenient:
                raise
            params = {}
            for piece in rest.split(";"):
                name, equals, text = piece.partition("=")
                name, text = name.strip(" \t").lower(), text.strip(" \t")
                if is_token(name) and (is_token(text) or not equals):
                    params.setdefault(name, text if equals else None)
        return cls(protocol.group(3).upper(), host, port, params, value)

    @property
    def branch(self) -> str:
        """The ``branch`` parameter; empty: none, or only the cookie of RFC 3261, which names nothing either.

        Both are matched as RFC 2543 does (RFC 4475 3.2.1).
        """
        branch = self.params.get("branch") or ""
        return "" if branch == _COOKIE else branch

    @property
    def received(self) -> str:
        """The ``received`` parameter without brackets (RFC 5118 4.5), or empty."""
        text = self.params.get("received") or ""
        return text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text

    @property
    def rport(self) -> int | None:
        """The value of ``rport``; ``None`` when absent, without value, or not a port."""
        text = self.params.get("rport")
        try:
            return parse_number(text, "rport", 65535) if text else None
        except BadMessage:
            return None

    def stamp(self, host: str, port: int) -> bool:
        """
        Note where the request came from (RFC 3261 18.2.1, RFC 3581 4). A ``received`` that the sender wrote
        itself never survives: it would send our answers to somebody else.

        :return: whether the value changed.
        """
        params = self.params
        wants_rport = "rport" in params and not params["rport"]
        if not wants_rport and "received" not in params and self.host == host:
            return False
        text = self._text
        if (
            wants_rport
            and "received" not in params
            and text.count(";rport") == 1
            and '"' not in text
            and (text[-6:] == ";rport" or ";rport;" in text)
        ):
            params["rport"], params["received"] = str(port), host
            self._text = f"{text.replace(';rport', f';rport={port}')};received={host}"
            return True
        if wants_rport:
            params["rport"] = str(port)
        params["received"] = host
        self._text = ""
        return True

    def __str__(self) -> str:
        if not self._text:
            place = host_text(self.host, self.port)
            self._text = f"SIP/2.0/{self.proto} {place}{params_text(self.params)}"
        return self._text

    def __repr__(self) -> str:
        return f"<Via {self}>"


class CSeq:
    """Sequence number and method (RFC 3261 20.16). Immutable: equal texts may share one."""

    __slots__ = ("method", "number")

    def __init__(self, number: int, method: str) -> None:
        self.number = number
        self.method = method

    @staticmethod
    def parse(value: str) -> "CSeq":
        """:raise BadMessage: not a number up to 2**32-1 and a method."""
        return _parse_cseq(value) if len(value) < _CACHED_CHARS else _parse_cseq.__wrapped__(value)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"

    def __repr__(self) -> str:
        return f"<CSeq {self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CSeq) and self.number == other.number and self.method == other.method

    def __hash__(self) -> int:
        return hash((self.number, self.method))


@lru_cache(4096)
def _parse_cseq(value: str) -> CSeq:
    pieces = [piece for piece in value.replace("\t", " ").split(" ") if piece]
    if len(pieces) != 2 or not is_token(pieces[1]):
        raise BadMessage("Malformed CSeq", code="bad_cseq")
    return CSeq(parse_number(pieces[0], "CSeq"), pieces[1])
