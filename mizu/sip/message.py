"""SIP messages: start line, ordered headers with their spelling, body bytes; typed views made when asked.

Parsing is in :mod:`mizu.sip.parser`. Line ends never get out: :meth:`Message.to_bytes` turns those inside a
value into spaces, so no text from outside can add a header.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mizu import native
from mizu.sip.flow import Flow
from mizu.sip.grammar import BadMessage, parse_number, split_list
from mizu.sip.headers import CSeq, NameAddr, Via, parse_seconds
from mizu.sip.names import KEYS, canonical_name, header_key, reason_phrase
from mizu.sip.uri import Uri, parse_uri

__all__ = ["Field", "Message", "Request", "Response", "reason_phrase"]

#: Raw name, key (lower-case long name), value (unfolded, stripped).
Field = tuple[str, str, str]
_CONTENT_LENGTH = "content-length"
_compiled = native.messages
#: What :meth:`Request.reply` copies (RFC 3261 8.2.6.2).
_COPIED = frozenset({"via", "from", "to", "call-id", "cseq"})


def make_field(name: str, value: str) -> Field:
    """A field from a name in any spelling."""
    return (name, header_key(name), value)


class Message:
    """What requests and responses share.

    ``fields`` is for reading; change headers by :meth:`add`, :meth:`set`, :meth:`remove` and :meth:`prepend`,
    which keep the views right. ``body`` may be assigned; Content-Length follows it.
    """

    __slots__ = ("_contacts", "_cseq", "_first", "_from", "_to", "_via", "body", "fields", "flow")

    is_request = False

    #: Declared here, filled by the subclasses and the parser.
    fields: list[Field]
    body: bytes
    flow: Flow | None  #: where it came from; set by whoever received it
    _first: dict[str, str]  # key -> first value
    _via: Via | None
    _from: NameAddr | None
    _to: NameAddr | None
    _cseq: CSeq | None
    _contacts: list[NameAddr] | None

    def __init__(self, fields: "Iterable[tuple[str, ...]] | None", body: bytes) -> None:
        """:param fields: ``(name, value)`` pairs, or fields of another message."""
        self.fields = []
        self._first = {}
        if fields is not None:
            for each in fields:
                name, value = each[0], each[-1]
                key = header_key(name)
                self.fields.append((name, key, value))
                self._first.setdefault(key, value)
        self.body = body
        self.flow = None
        self._via = self._from = self._to = self._cseq = self._contacts = None

    # ------------------------------------------------------------ headers as text

    def get(self, key: str) -> str | None:
        """First value of a header, by its key (``"call-id"``), or ``None``."""
        return self._first.get(key)

    def get_all(self, key: str) -> list[str]:
        """Every line of a header, in order."""
        if key not in self._first:
            return []
        if len(self._first) == len(self.fields):
            return [self._first[key]]
        return [value for _, each, value in self.fields if each == key]

    def has_none_of(self, keys: Mapping[str, object]) -> bool:
        """Is none of these headers there?"""
        return self._first.keys().isdisjoint(keys)

    def values(self, key: str) -> list[str]:
        """Every element of a list header: lines in order, split at their commas."""
        lines = self.get_all(key)
        if len(lines) == 1:
            return split_list(lines[0])
        return [element for line in lines for element in split_list(line)]

    @property
    def headers(self) -> Mapping[str, list[str]]:
        """Lower-case long name to the list of its lines, as ``twisted.protocols.sip`` has them. A copy."""
        found: dict[str, list[str]] = {}
        for _, key, value in self.fields:
            found.setdefault(key, []).append(value)
        return found

    # ------------------------------------------------------------ changes

    def add(self, name: str, value: str) -> None:
        """Append a header line."""
        key = header_key(name)
        self.fields.append((name, key, value))
        if self._first.setdefault(key, value) is not value or key == "contact":
            self._forget(key)

    def prepend(self, name: str, value: str) -> None:
        """Put a header line before all others: a new top Via, Route or Record-Route."""
        key = header_key(name)
        self.fields.insert(0, (name, key, value))
        self._first[key] = value
        self._forget(key)

    def set(self, name: str, value: str) -> None:
        """Replace every line of a header by one, at the place of the first; else append it."""
        key = header_key(name)
        if key in self._first:
            at = next(i for i, each in enumerate(self.fields) if each[1] == key)
            self.fields[at] = (name, key, value)
            if len(self._first) != len(self.fields):
                self.fields[at + 1 :] = [each for each in self.fields[at + 1 :] if each[1] != key]
        else:
            self.fields.append((name, key, value))
        self._first[key] = value
        self._forget(key)

    def remove(self, key: str) -> None:
        """Take out every line of a header, by its key or any spelling of its name."""
        key = header_key(key)
        if self._first.pop(key, None) is not None:
            self.fields = [each for each in self.fields if each[1] != key]
            self._forget(key)

    def remove_top(self, key: str) -> None:
        """Take out the first element of a list header, e.g. our own Via from a response."""
        rest = self.values(key)[1:]
        name = next((each[0] for each in self.fields if each[1] == key), "")
        if not rest:
            self.remove(key)
            return
        at = next(i for i, each in enumerate(self.fields) if each[1] == key)
        others = [each for each in self.fields if each[1] != key]
        others[at:at] = [(name, key, value) for value in rest]
        self.fields = others
        self._first[key] = rest[0]
        self._forget(key)

    def _forget(self, key: str) -> None:
        """Drop the typed view of a header that has changed."""
        if key == "via":
            self._via = None
        elif key == "to":
            self._to = None
        elif key == "from":
            self._from = None
        elif key == "contact":
            self._contacts = None
        elif key == "cseq":
            self._cseq = None

    # ------------------------------------------------------------ headers as values

    @property
    def via(self) -> Via:
        """The top Via. :raise BadMessage: missing or malformed."""
        via = self._via
        if via is None:
            text = self._need("via")
            if "," in text:
                text = (split_list(text) or [""])[0]
            via = self._via = Via.parse(text)
        return via

    @property
    def vias(self) -> list[Via]:
        """Every Via, topmost first. :raise BadMessage: one is malformed."""
        self._need("via")
        return [self.via, *[Via.parse(text) for text in self.values("via")[1:]]]

    @property
    def from_(self) -> NameAddr:
        """:raise BadMessage: missing or malformed."""
        value = self._from
        if value is None:
            value = self._from = NameAddr.parse(self._need("from"))
        return value

    @property
    def to(self) -> NameAddr:
        """:raise BadMessage: missing or malformed."""
        value = self._to
        if value is None:
            value = self._to = NameAddr.parse(self._need("to"))
        return value

    @property
    def call_id(self) -> str:
        """:raise BadMessage: missing."""
        return self._need("call-id")

    @property
    def cseq(self) -> CSeq:
        """:raise BadMessage: missing or malformed."""
        cseq = self._cseq
        if cseq is None:
            cseq = self._cseq = CSeq.parse(self._need("cseq"))
        return cseq

    @property
    def contacts(self) -> list[NameAddr]:
        """Every Contact in order; ``star`` of one is true for ``*``. :raise BadMessage: malformed."""
        contacts = self._contacts
        if contacts is None:
            text = self._first.get("contact")
            if text is None:
                texts = []
            elif "," in text or len(self._first) != len(self.fields):
                texts = self.values("contact")
            else:
                texts = [text]
            contacts = self._contacts = [NameAddr.parse(text) for text in texts]
        return contacts

    @property
    def max_forwards(self) -> int | None:
        """``None``: absent, or over 255, which counts as absent (RFC 4475 3.1.2.4).

        :raise BadMessage: not a number.
        """
        text = self._first.get("max-forwards")
        if text is None:
            return None
        if len(text) < 4 and text.isdigit() and text.isascii():
            number = int(text)
        else:
            number = parse_number(text, "Max-Forwards", 10**19 - 1)
        return number if number <= 255 else None

    @property
    def expires(self) -> int | None:
        """Seconds; malformed counts as 3600 (RFC 3261 10.2.1.1). ``None``: absent."""
        text = self._first.get("expires")
        return None if text is None else parse_seconds(text)

    @property
    def content_type(self) -> str:
        """``type/subtype`` in lower case without parameters; empty: absent."""
        text = self._first.get("content-type")
        return "" if text is None else "".join(text.partition(";")[0].split()).lower()

    def _need(self, key: str) -> str:
        text = self._first.get(key)
        if text is None:
            raise BadMessage(f"{canonical_name(key)} is missing", code="missing_header")
        return text

    # ------------------------------------------------------------ out

    def start_line(self) -> str:
        """The first line, without its end."""
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The message as it goes out. Content-Length is always there and always right."""
        length = str(len(self.body))
        known = self._first.get(_CONTENT_LENGTH)
        if known is not None and known != length:
            self.set("Content-Length", length)
        if _compiled is not None:
            more = length if known is None else ""
            made = _compiled.to_bytes(self.start_line(), self.fields, more, self.body)
            if made is not None:
                return made
        lines = [self.start_line(), *[f"{name}: {value}" for name, _, value in self.fields]]
        if known is None:
            lines.append("Content-Length: " + length)
        count = len(lines) + 1
        lines += ("", "")
        text = "\r\n".join(lines)
        if text.count("\n") != count or text.count("\r") != count:
            text = "\r\n".join([line.replace("\r", " ").replace("\n", " ") for line in lines])
        return text.encode("utf-8", "surrogateescape") + self.body

    def toString(self) -> bytes:
        """:meth:`to_bytes`, by the name that the ``sendMessage`` of ``twisted.protocols.sip`` calls."""
        return self.to_bytes()

    def __repr__(self) -> str:
        return f"<{self.start_line()} {self._first.get('call-id', '')}>"


class Request(Message):
    """A request. ``uri`` is the Request-URI as it was written."""

    __slots__ = ("_request_uri", "method", "uri")

    is_request = True

    def __init__(
        self,
        method: str,
        uri: str,
        fields: "Iterable[tuple[str, ...]] | None" = None,
        body: bytes = b"",
    ) -> None:
        """:param fields: ``(name, value)`` pairs, or fields of another message."""
        super().__init__(fields, body)
        self.method = method
        self.uri = uri
        self._request_uri: tuple[str, Uri] | None = None

    def copy(self) -> "Request":
        """The same request to change; the body is shared."""
        return received_request(self.method, self.uri, list(self.fields), dict(self._first), self.body)

    @property
    def request_uri(self) -> Uri:
        """:raise BadMessage: the Request-URI is malformed."""
        cached = self._request_uri
        if cached is not None and cached[0] is self.uri:
            return cached[1]
        uri = parse_uri(self.uri)
        self._request_uri = (self.uri, uri)
        return uri

    def start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    def stamp_source(self, host: str, port: int) -> None:
        """
        Note on the top Via where the request really came from (RFC 3261 18.2.1, RFC 3581 4). Never raises.

        :param host: numeric address, without brackets.
        """
        try:
            via = self.via
        except BadMessage:
            return
        if not via.stamp(host, port):
            return
        line = self._first["via"]
        text = str(via)
        if "," in line:
            text = ", ".join([text, *split_list(line)[1:]])
        fields = self.fields
        at = 0
        while fields[at][1] != "via":
            at += 1
        fields[at] = (fields[at][0], "via", text)
        self._first["via"] = text

    def reply(
        self,
        status: int,
        reason: str | None = None,
        *,
        to_tag: str | None = None,
        fields: Iterable[tuple[str, ...]] = (),
        body: bytes = b"",
        copy_record_route: bool = False,
    ) -> "Response":
        """
        A response by RFC 3261 8.2.6.2: Via, From, To, Call-ID and CSeq are copied, Timestamp too in a 100.
        What the request lacks or has malformed is copied as it is, so that bad requests can be answered.

        :param reason: default: the usual phrase of ``status``.
        :param to_tag: added to To unless it has a tag.
        :param fields: more headers, ``(name, value)``.
        :param copy_record_route: for responses that make a dialog (12.1.1).
        """
        first = self._first
        if len(first) == len(self.fields) and first.keys() >= _COPIED:
            # no header is there twice, and all that is copied is there: nearly every request
            to = first["to"]
            if to_tag is not None and not self._has_to_tag(to):
                to = f"{to};tag={to_tag}"
            out = [
                ("Via", "via", first["via"]),
                ("From", "from", first["from"]),
                ("To", "to", to),
                ("Call-ID", "call-id", first["call-id"]),
                ("CSeq", "cseq", first["cseq"]),
            ]
            if copy_record_route and "record-route" in first:
                out.append(("Record-Route", "record-route", first["record-route"]))
        else:
            out = self._copied(to_tag, copy_record_route=copy_record_route)
        if status == 100 and "timestamp" in first:
            out.append(("Timestamp", "timestamp", first["timestamp"]))
        for extra in fields:
            name = extra[0]
            out.append((name, KEYS.get(name) or header_key(name), extra[-1]))
        return Response._made(status, reason_phrase(status) if reason is None else reason, out, body)

    def _copied(self, to_tag: str | None, *, copy_record_route: bool) -> list[Field]:
        """What a response copies, of any request: in its order, every Via, the first of all else."""
        wanted = _COPIED | {"record-route"} if copy_record_route else _COPIED
        seen: set[str] = set()
        out: list[Field] = []
        for field in self.fields:
            key = field[1]
            if key in wanted and (key in ("via", "record-route") or key not in seen):
                seen.add(key)
                out.append(field)
        if to_tag is not None and "to" in seen and not self._has_to_tag(self._first["to"]):
            at = next(i for i, each in enumerate(out) if each[1] == "to")
            out[at] = (out[at][0], "to", f"{out[at][2]};tag={to_tag}")
        return out

    def _has_to_tag(self, text: str) -> bool:
        if "tag" not in text.lower():
            return False
        try:
            return "tag" in self.to.params
        except BadMessage:
            return ";tag=" in text.lower()


class Response(Message):
    """A response."""

    __slots__ = ("reason", "status")

    def __init__(
        self,
        status: int,
        reason: str | None = None,
        fields: "Iterable[tuple[str, ...]] | None" = None,
        body: bytes = b"",
    ) -> None:
        """:param reason: default: the usual phrase of ``status``."""
        super().__init__(fields, body)
        self.status = status
        self.reason = reason_phrase(status) if reason is None else reason

    @classmethod
    def _made(cls, status: int, reason: str, fields: list[Field], body: bytes) -> "Response":
        """Without another look at the fields."""
        self = cls.__new__(cls)
        self.status = status
        self.reason = reason
        self.fields = fields
        self._first = first = {}
        for _, key, value in fields:
            if key not in first:
                first[key] = value
        self.body = body
        self.flow = None
        self._via = self._from = self._to = self._cseq = self._contacts = None
        return self

    @property
    def code(self) -> int:
        """:attr:`status`, by the name that ``twisted.protocols.sip`` has for it."""
        return self.status

    def start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"


def received_request(
    method: str, uri: str, fields: list[Field], first: dict[str, str], body: bytes
) -> Request:
    """For the parser: a request from fields it has indexed already."""
    self: Any = Request.__new__(Request)
    self.method = method
    self.uri = uri
    self.fields = fields
    self._first = first
    self.body = body
    self.flow = self._via = self._from = self._to = self._cseq = self._contacts = self._request_uri = None
    return self  # type: ignore[no-any-return]


def received_response(
    status: int, reason: str, fields: list[Field], first: dict[str, str], body: bytes
) -> Response:
    """For the parser: a response from fields it has indexed already."""
    self: Any = Response.__new__(Response)
    self.status = status
    self.reason = reason
    self.fields = fields
    self._first = first
    self.body = body
    self.flow = self._via = self._from = self._to = self._cseq = self._contacts = None
    return self  # type: ignore[no-any-return]
