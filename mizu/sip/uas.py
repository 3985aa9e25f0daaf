"""What every user agent server checks before it looks at what a request wants (RFC 3261 8.2)."""

from collections.abc import Collection, Mapping

from mizu import native
from mizu.sip.grammar import BadMessage, split_list
from mizu.sip.message import Request
from mizu.sip.names import METHODS, reason_phrase
from mizu.sip.uri import plain_sip_uri

Refusal = tuple[int, str, list[tuple[str, str]]]

_compiled = native.messages
_SDP = "application/sdp"
#: Bodies that a method may carry; a method without a row may carry any.
_BODIES: Mapping[str, tuple[str, ...]] = {
    "INVITE": (_SDP, "multipart/"),
    "UPDATE": (_SDP, "multipart/"),
    "PRACK": (_SDP, "multipart/"),
}
#: Methods whose bodies we ignore, so nothing is wrong with them.
_BODY_IGNORED = frozenset({"ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER"})
#: Requests that we carry on to somebody: with no hop left they may not (RFC 7332 4). Others end here, as at
#: any endpoint (RFC 4475 3.3.11).
_CARRIED = frozenset({"INVITE", "MESSAGE"})
#: Requests whose Contact we read.
_CONTACT_READ = frozenset({"INVITE", "NOTIFY", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE"})
_DEFAULT_SCHEMES = ("sip", "sips", "tel")


def refuse(
    request: Request,
    *,
    methods: Collection[str],
    schemes: Collection[str] = _DEFAULT_SCHEMES,
    supported: Collection[str] = frozenset(),
) -> Refusal | None:
    """
    Why a request must be refused, in the order of RFC 3261 8.2. After ``None`` these can be read without
    :class:`BadMessage`: ``request_uri``, ``from_``, ``to``, ``max_forwards`` and, where the method has a use
    for them, ``contacts``; of a REGISTER ``to.uri`` too, which is a SIP URI then.

    :param methods: what is served here.
    :param supported: option tags that may stand in Require.
    :return: status, reason phrase, more headers; ``None``: go on. An ACK is never refused (17).
    """
    method = request.method
    if method == "ACK":
        return None
    if method not in methods:
        allow = [("Allow", ", ".join(methods))]
        status = 405 if method in METHODS else 501
        return status, reason_phrase(status), allow
    try:
        uri = request.request_uri
        if uri.scheme not in schemes:
            return 416, reason_phrase(416), []
        if uri.headers:
            raise BadMessage("Headers in Request-URI", code="bad_uri")  # RFC 3261 19.1.1, table 1
        usual = _compiled is not None and _compiled.usual_headers(
            request, method in _CONTACT_READ, method == "REGISTER"
        )
        refusal = None if usual else _refuse_headers(request, method)
    except BadMessage as bad:
        return bad.sip_status, str(bad), []
    if refusal is None and method != "CANCEL" and request.get("require") is not None:
        unknown = [tag for tag in request.values("require") if tag.lower() not in supported]
        if unknown:
            refusal = 420, reason_phrase(420), [("Unsupported", ", ".join(unknown))]
    if refusal is None and (request.body or method == "INVITE"):
        refusal = _refuse_body(request, method)
    return refusal


def _refuse_headers(request: Request, method: str) -> Refusal | None:
    """:raise BadMessage: a header that everybody needs is malformed."""
    to = request.to
    _ = request.from_
    hops = request.max_forwards
    if method == "REGISTER" and not plain_sip_uri(to.uri_text) and to.uri.scheme not in ("sip", "sips"):
        raise BadMessage("To is not a SIP URI", code="bad_uri")  # RFC 3261 10.3
    if method in _CONTACT_READ:
        contacts = request.contacts
        for contact in contacts:
            if contact.uri_text != "*":
                if not plain_sip_uri(contact.uri_text):
                    _ = contact.uri
            elif method != "REGISTER" or len(contacts) > 1:
                raise BadMessage("Contact * where it must not be", code="bad_address")  # RFC 3261 10.3 6
    if hops == 0 and method in _CARRIED:
        return 483, reason_phrase(483), []
    return None


def _refuse_body(request: Request, method: str) -> Refusal | None:
    """415 and 406 (RFC 3261 8.2.3, 13.2.1)."""
    if request.body and method not in _BODY_IGNORED and not _optional(request):
        kind = request.content_type
        if not kind:
            return 400, "Content-Type is missing", []  # RFC 3261 20.15
        known = _BODIES.get(method)
        if known is not None and not kind.startswith(known):
            return 415, reason_phrase(415), [("Accept", _SDP)]
        coding = request.get("content-encoding")
        if coding is not None and coding.strip().lower() != "identity":
            return 415, reason_phrase(415), [("Accept-Encoding", "identity")]
    if method == "INVITE" and not _takes_sdp(request):
        warning = '399 mizu "No session description of a type in Accept can be made"'
        return 406, reason_phrase(406), [("Warning", warning)]
    return None


def _optional(request: Request) -> bool:
    """The sender says that the body may be ignored (RFC 3261 20.11)."""
    text = request.get("content-disposition")
    return text is not None and "handling=optional" in text.lower().replace(" ", "")


def _takes_sdp(request: Request) -> bool:
    """Whether Accept lets us answer with SDP; without the header it does (RFC 3261 20.1)."""
    if request.get("accept") is None:
        return True
    for line in request.get_all("accept"):
        for element in split_list(line):
            kind = "".join(element.partition(";")[0].split()).lower()
            if kind in (_SDP, "application/*", "*/*") or kind.startswith("multipart/"):
                return True
    return False
