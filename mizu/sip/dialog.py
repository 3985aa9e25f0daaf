"""Dialogs (RFC 3261 12): identifiers, sequence numbers, route set, remote target. Pure: no I/O, no clock.

A dialog knows nothing of calls, offers or timers. It makes requests that belong to it, checks those that
claim to, and can be written to JSON and read back, so that a call outlives the process.
"""

from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring as quoted
from typing import Any

from mizu.sip.headers import NameAddr, split_list
from mizu.sip.message import Request, Response, received_request
from mizu.sip.parser import BadMessage
from mizu.sip.uri import SipUri

#: What the fields of a message are made of: name as sent, lower-case key, value.
Field = tuple[str, str, str]

#: RFC 3261 8.1.1.5 wants CSeq below 2**31; beginning low leaves all of it.
FIRST_CSEQ = 1
CSEQ_LIMIT = 2**31


def uri_in(value: str) -> str:
    """
    The URI in one ``Contact``, ``Route`` or similar value, as text.

    :raise BadMessage: there is none.
    """
    if '"' not in value:
        left = value.find("<")
        if left >= 0:
            right = value.find(">", left)
            if right > left + 1:
                return value[left + 1 : right]
    uri = NameAddr.parse(value).uri_text
    if not uri:
        raise BadMessage("a name-addr without a URI", code="bad_name_addr")
    return uri


def is_loose(route: str) -> bool:
    """Does this route value name a loose router (RFC 3261 16.12.1.1)?"""
    if ";lr" not in route.lower():
        return False
    try:
        return "lr" in SipUri.parse(uri_in(route)).params
    except BadMessage:
        return False


def made_request(method: str, uri: str, fields: list[Field], body: bytes = b"") -> Request:
    """A request from fields with their keys. Where many are made, looking up each key again would be most of
    the cost."""
    first: dict[str, str] = {}
    for _, key, value in fields:
        if key not in first:
            first[key] = value
    return received_request(method, uri, fields, first, body)


def _record_route(values: Iterable[str], *, reverse: bool) -> tuple[str, ...]:
    routes = [route for line in values for route in split_list(line)]
    if reverse:
        routes.reverse()
    return tuple(routes)


class Dialog:
    """
    One peer-to-peer relation between us and a user agent, from our side.

    ``local`` and ``remote`` are whole From/To values with their tags; ``target`` is the URI requests go to;
    ``routes`` is the route set in the order of use.
    """

    __slots__ = (
        "call_id",
        "local",
        "local_cseq",
        "local_tag",
        "remote",
        "remote_cseq",
        "remote_tag",
        "routes",
        "target",
    )

    def __init__(  # noqa: PLR0917 - the parts in the order of RFC 3261 12
        self,
        call_id: str,
        local: str,
        local_tag: str,
        remote: str,
        remote_tag: str,
        target: str,
        routes: tuple[str, ...] = (),
        local_cseq: int = 0,
        remote_cseq: int = -1,
    ) -> None:
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = remote_tag
        self.target = target
        self.routes = routes
        self.local_cseq = local_cseq  #: of the newest request we sent in it; 0: none yet
        self.remote_cseq = remote_cseq  #: highest number received; -1: none yet

    @classmethod
    def as_uas(cls, request: Request, local_tag: str) -> "Dialog":
        """
        The dialog that our answer to this request makes (RFC 3261 12.1.1).

        :raise BadMessage: no usable Contact.
        """
        contact = request.get("contact")
        if contact is None:
            raise BadMessage("INVITE without Contact", code="no_contact")
        routes = request.get_all("record-route")
        return cls(
            request.call_id,
            f"{request.get('to')};tag={local_tag}",
            local_tag,
            request.get("from") or "",
            request.from_.tag or "",
            uri_in(contact),
            _record_route(routes, reverse=False) if routes else (),
            0,
            request.cseq.number,
        )

    @classmethod
    def as_uac(cls, request: Request, response: Response, local_tag: str) -> "Dialog":
        """
        The dialog that this answer to our request makes (RFC 3261 12.1.2). A missing Contact leaves the
        Request-URI as target: some gateways answer 180 without one.
        """
        contact = response.get("contact")
        routes = response.get_all("record-route")
        return cls(
            response.call_id,
            request.get("from") or "",
            local_tag,
            response.get("to") or "",
            response.to.tag or "",
            uri_in(contact) if contact else request.uri,
            _record_route(routes, reverse=True) if routes else (),
            request.cseq.number,
            -1,
        )

    def request(
        self,
        method: str,
        fields: Iterable[Field] = (),
        body: bytes = b"",
        *,
        cseq: int = 0,
        max_forwards: int = 70,
    ) -> Request:
        """
        A request in this dialog, complete but for Via and Contact (RFC 3261 12.2.1.1).

        :param cseq: a number already used, for ACK; 0: the next one.
        """
        if not cseq:
            self.local_cseq += 1
            cseq = self.local_cseq
        head: list[Field] = [
            ("From", "from", self.local),
            ("To", "to", self.remote),
            ("Call-ID", "call-id", self.call_id),
            ("CSeq", "cseq", f"{cseq} {method}"),
            ("Max-Forwards", "max-forwards", str(max_forwards)),
            *fields,
        ]
        uri = self.target
        if self.routes:
            uri, routes = self._address()
            head[:0] = [("Route", "route", route) for route in routes]
        return made_request(method, uri, head, body)

    def _address(self) -> tuple[str, tuple[str, ...]]:
        """Request-URI and Route values: loose routing, or the strict routing of RFC 2543 proxies."""
        if is_loose(self.routes[0]):
            return self.target, self.routes
        return uri_in(self.routes[0]), (*self.routes[1:], f"<{self.target}>")

    def next_hop(self) -> str:
        """The URI that the next request goes to (RFC 3261 12.2.1.1, 8.1.2)."""
        return uri_in(self.routes[0]) if self.routes else self.target

    def in_order(self, request: Request) -> bool:
        """
        Take the request's CSeq. A lower or equal number than the last is out of order and gets 500
        (RFC 3261 12.2.2); gaps are legal. Not for ACK and CANCEL.
        """
        number = request.cseq.number
        if number <= self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def refresh_target(self, message: Request | Response) -> None:
        """A target refresh (INVITE, UPDATE, or a 2xx to one) moves the remote target (RFC 3261 12.2)."""
        contact = message.get("contact")
        if contact is not None:
            try:
                self.target = uri_in(contact)
            except BadMessage:
                return  # the old one goes on working

    def to_json(self) -> str:
        """What :meth:`from_json` needs, as JSON text (a third of the price of an encoder). No secret."""
        routes = ",".join([quoted(route) for route in self.routes]) if self.routes else ""
        return (
            f'{{"call_id":{quoted(self.call_id)},"local":{quoted(self.local)},'
            f'"local_tag":{quoted(self.local_tag)},"remote":{quoted(self.remote)},'
            f'"remote_tag":{quoted(self.remote_tag)},"target":{quoted(self.target)},"routes":[{routes}],'
            f'"local_cseq":{self.local_cseq},"remote_cseq":{self.remote_cseq}}}'
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Dialog":
        """Read back :meth:`to_json`, decoded. :raise KeyError: something is missing."""
        return cls(
            value["call_id"],
            value["local"],
            value["local_tag"],
            value["remote"],
            value["remote_tag"],
            value["target"],
            tuple(value["routes"]),
            value["local_cseq"],
            value["remote_cseq"],
        )

    def __repr__(self) -> str:
        return f"<Dialog {self.call_id} {self.local_tag}/{self.remote_tag} next {self.local_cseq + 1}>"
