"""SIP, SIPS and tel URIs: parse, print, compare (RFC 3261 19.1, RFC 3966, RFC 5118)."""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address

from mizu import native
from mizu.sip.grammar import BadMessage, host_text, parse_host_port

#: The shape of nearly every URI: nothing escaped, no parameters, no IPv6.
_match_plain = re.compile(
    r"(sips?):(?:([A-Za-z0-9_.!~*'()&=+$,-]+)@)?([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::([0-9]{1,4}))?"
).fullmatch
_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*").fullmatch
_forbidden = re.compile(r"[\x00-\x20\x7f<>\"]").search
_bad_escape = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_escaped_run = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_user_unsafe = re.compile(r"[^A-Za-z0-9\-_.!~*'()&=+$,;?/]")
_password_unsafe = re.compile(r"[^A-Za-z0-9\-_.!~*'()&=+$,]")
_param_unsafe = re.compile(r"[^A-Za-z0-9\-_.!~*'()\[\]/:&+$]")
_separators = str.maketrans("", "", "-.() ")
#: Parameters that, present in one URI only, make two URIs differ (RFC 3261 19.1.4).
_TELLING = frozenset({"user", "ttl", "method", "maddr", "transport"})


def _unescape(text: str) -> str:
    """``%HH`` to the byte it stands for, once, never twice (RFC 3986 2.4)."""
    if "%" not in text:
        return text
    if _bad_escape(text):
        raise BadMessage("Malformed escape in URI", code="bad_uri")
    return _escaped_run.sub(
        lambda run: bytes.fromhex(run.group().replace("%", "")).decode("utf-8", "surrogateescape"), text
    )


def _escape_match(match: re.Match[str]) -> str:
    return "".join([f"%{byte:02X}" for byte in match.group().encode("utf-8", "surrogateescape")])


class SipUri:
    """A ``sip:`` or ``sips:`` URI. Treat as immutable.

    ``user``, ``password`` and ``params`` hold unescaped text (it may contain NUL), ``host`` has no brackets,
    ``headers`` is the text after ``?`` as it was written.
    """

    __slots__ = ("headers", "host", "params", "password", "port", "scheme", "user")

    def __init__(  # noqa: PLR0917 - the parts in the order in which a URI has them
        self,
        scheme: str = "sip",
        user: str = "",
        password: str | None = None,
        host: str = "",
        port: int | None = None,
        params: dict[str, str | None] | None = None,
        headers: str = "",
    ) -> None:
        self.scheme = scheme
        self.user = user
        self.password = password
        self.host = host
        self.port = port
        self.params: dict[str, str | None] = {} if params is None else params
        self.headers = headers

    @classmethod
    def parse(cls, text: str) -> "SipUri":
        """:raise BadMessage: not a SIP or SIPS URI."""
        plain = _match_plain(text)
        if plain is not None:
            scheme, user, host, port = plain.groups()
            return cls(scheme, user or "", None, host, None if port is None else int(port))
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if scheme not in ("sip", "sips") or not colon:
            raise BadMessage("Not a SIP URI", code="bad_uri")
        if _forbidden(rest):
            raise BadMessage("Character that no URI may have", code="bad_uri")
        user, password = "", None
        userinfo, at, after = rest.partition("@")
        if at:
            rest = after
            user, has_password, secret = userinfo.partition(":")
            user = _unescape(user)
            if not user:
                raise BadMessage("Empty user in URI", code="bad_uri")
            password = _unescape(secret) if has_password else None
        rest, _, headers = rest.partition("?")
        place, semicolon, param_text = rest.partition(";")
        host, port_number = parse_host_port(place)
        params = _parse_uri_params(param_text) if semicolon else {}
        return cls(scheme, user, password, host, port_number, params, headers)

    def __str__(self) -> str:
        parts = [self.scheme, ":"]
        if self.user:
            parts.append(_user_unsafe.sub(_escape_match, self.user))
            if self.password is not None:
                parts += [":", _password_unsafe.sub(_escape_match, self.password)]
            parts.append("@")
        parts.append(host_text(self.host, self.port))
        for name, value in self.params.items():
            parts += [";", _param_unsafe.sub(_escape_match, name)]
            if value is not None:
                parts += ["=", _param_unsafe.sub(_escape_match, value)]
        if self.headers:
            parts += ["?", self.headers]
        return "".join(parts)

    def __repr__(self) -> str:
        return f"<SipUri {self.scheme}:{self.user}@{host_text(self.host, self.port)}>"

    @property
    def transport(self) -> str:
        """The ``transport`` parameter in lower case, or empty."""
        return (self.params.get("transport") or "").lower()

    def equals(self, other: object) -> bool:
        """Equivalence by RFC 3261 19.1.4: stricter than "reaches the same place"."""
        if not isinstance(other, SipUri):
            return False
        return (
            self.scheme == other.scheme
            and self.user == other.user
            and self.password == other.password
            and self.port == other.port
            and _same_host(self.host, other.host)
            and _same_params(self.params, other.params)
            and _header_set(self.headers) == _header_set(other.headers)
        )


def _parse_uri_params(text: str) -> dict[str, str | None]:
    params: dict[str, str | None] = {}
    for piece in text.split(";"):
        name, equals, value = piece.partition("=")
        name = _unescape(name).lower()
        if not name or "@" in piece:
            raise BadMessage("Empty or malformed URI parameter", code="bad_uri")
        if name in params:
            raise BadMessage("Repeated URI parameter", code="bad_uri")
        params[name] = _unescape(value) if equals else None
    return params


def _same_host(one: str, two: str) -> bool:
    if ":" in one and ":" in two:
        return IPv6Address(one) == IPv6Address(two)
    return one.lower() == two.lower()


def _same_params(one: dict[str, str | None], two: dict[str, str | None]) -> bool:
    for name in one.keys() | two.keys():
        if name in one and name in two:
            if (one[name] or "").lower() != (two[name] or "").lower():
                return False
        elif name in _TELLING:
            return False
    return True


def _header_set(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    pairs = (piece.partition("=") for piece in text.split("&"))
    return sorted((_lenient_unescape(name).lower(), _lenient_unescape(value)) for name, _, value in pairs)


def _lenient_unescape(text: str) -> str:
    try:
        return _unescape(text)
    except BadMessage:
        return text


class TelUri:
    """A ``tel:`` URI (RFC 3966). ``user`` is the number as written; there is no host."""

    __slots__ = ("params", "user")
    scheme = "tel"
    host = ""
    port = None
    headers = ""
    transport = ""

    def __init__(self, user: str, params: dict[str, str | None] | None = None) -> None:
        self.user = user
        self.params: dict[str, str | None] = {} if params is None else params

    @classmethod
    def parse(cls, text: str) -> "TelUri":
        """:raise BadMessage: not a tel URI."""
        scheme, colon, rest = text.partition(":")
        if scheme.lower() != "tel" or not colon or _forbidden(rest):
            raise BadMessage("Not a tel URI", code="bad_uri")
        number, semicolon, params = rest.partition(";")
        number = _unescape(number)
        if not number.translate(_separators):
            raise BadMessage("Empty number in tel URI", code="bad_uri")
        return cls(number, _parse_uri_params(params) if semicolon else {})

    @property
    def number(self) -> str:
        """The number without visual separators."""
        return self.user.translate(_separators)

    def __str__(self) -> str:
        parts = ["tel:", _user_unsafe.sub(_escape_match, self.user)]
        for name, value in self.params.items():
            parts += [";", _param_unsafe.sub(_escape_match, name)]
            if value is not None:
                parts += ["=", _param_unsafe.sub(_escape_match, value)]
        return "".join(parts)

    def __repr__(self) -> str:
        return f"<TelUri {self.user}>"

    def equals(self, other: object) -> bool:
        """RFC 3966 4: separators do not count, every parameter does."""
        if not isinstance(other, TelUri):
            return False
        mine = {name: (value or "").lower() for name, value in self.params.items()}
        theirs = {name: (value or "").lower() for name, value in other.params.items()}
        return self.number.lower() == other.number.lower() and mine == theirs


class OtherUri:
    """A URI of a scheme we know nothing of: kept as text, answered 416 in a Request-URI."""

    __slots__ = ("scheme", "text")
    user = ""
    host = ""
    port = None
    headers = ""
    transport = ""

    def __init__(self, scheme: str, text: str) -> None:
        self.scheme = scheme
        self.text = text

    @property
    def params(self) -> dict[str, str | None]:
        """None are known."""
        return {}

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<OtherUri {self.text}>"

    def equals(self, other: object) -> bool:
        """Character by character."""
        return isinstance(other, OtherUri) and self.text == other.text


Uri = SipUri | TelUri | OtherUri


#: Is this ``sip:user@host[:port][;name=value]`` without anything that needs a second look? Then
#: :func:`parse_uri` takes it, and who only wants to know that can do without. ``None``: perhaps not.
_plain_sip_uri: Callable[[str], object] = re.compile(
    r"sip:[A-Za-z0-9_.+-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,4})?"
    r"(?:;[A-Za-z]+=[A-Za-z0-9]+)?"
).fullmatch
plain_sip_uri = _plain_sip_uri if native.messages is None else native.messages.plain_sip_uri


def parse_uri(text: str) -> Uri:
    """
    Any URI. ``scheme`` is lower-case in what is returned.

    :raise BadMessage: no scheme, a character that no URI may have, or a SIP or tel URI that is malformed.
    """
    return _parse_cached(text) if len(text) < _CACHED_CHARS else _parse_uri(text)


def _parse_uri(text: str) -> Uri:
    if text[:4] == "sip:":
        return SipUri.parse(text)
    scheme, colon, rest = text.partition(":")
    if not colon or not _scheme(scheme):
        raise BadMessage("URI without a scheme", code="bad_uri")
    lower = scheme.lower()
    if lower in ("sip", "sips"):
        return SipUri.parse(text)
    if lower == "tel":
        return TelUri.parse(text)
    if not rest or _forbidden(rest):
        raise BadMessage("Character that no URI may have", code="bad_uri")
    return OtherUri(lower, text)


#: The same URI stands in From, To and Contact of each message of a dialog. Only good ones are kept.
_parse_cached = lru_cache(4096)(_parse_uri)
_CACHED_CHARS = 96
