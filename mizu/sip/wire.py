"""Messages of ours straight to bytes, where nobody looks at them as objects: most of what a call sends.

The results are those of :meth:`mizu.sip.message.Message.to_bytes`, which is asked where anything is unusual:
a line end inside a value (it becomes a space there, so no text from outside can add a header), a header that
is there twice or not at all.
"""

from collections.abc import Iterable

from mizu import native
from mizu.sip.message import Request, reason_phrase

_compiled = native.messages


def answer_bytes(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    fields: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    copy_record_route: bool = False,
) -> bytes:
    """:meth:`mizu.sip.message.Request.reply` in bytes; the parameters are the same."""
    first = request._first
    if _compiled is not None and (status > 100 or "timestamp" not in first):
        start = f"SIP/2.0 {status} {reason_phrase(status) if reason is None else reason}"
        made = _compiled.answer(request, start, to_tag, fields, body, copy_record_route)
        if made is not None:
            return made
    if len(first) == len(request.fields) and (status > 100 or "timestamp" not in first):
        more = [f"{name}: {value}\r\n" for name, value in fields]
        routes = ""
        try:
            to = first["to"]
            if to_tag is not None and not request._has_to_tag(to):
                to = f"{to};tag={to_tag}"
            if copy_record_route and "record-route" in first:
                routes = f"Record-Route: {first['record-route']}\r\n"
            text = (
                f"SIP/2.0 {status} {reason_phrase(status) if reason is None else reason}\r\n"
                f"Via: {first['via']}\r\nFrom: {first['from']}\r\nTo: {to}\r\n"
                f"Call-ID: {first['call-id']}\r\nCSeq: {first['cseq']}\r\n"
                f"{routes}{''.join(more)}Content-Length: {len(body)}\r\n\r\n"
            )
        except KeyError:
            text = ""
        ends = 9 if routes else 8
        if text.count("\n") == ends + len(more) == text.count("\r"):
            return text.encode("utf-8", "surrogateescape") + body
    return request.reply(
        status, reason, to_tag=to_tag, fields=fields, body=body, copy_record_route=copy_record_route
    ).to_bytes()


def request_bytes(request: Request, via: str, contact: str = "") -> bytes:
    """
    A request with our Via on top, and with our Contact.

    :param request: without Content-Length, and without Contact if one is given.
    """
    if _compiled is not None:
        made = _compiled.forward(request, via, contact)
        if made is not None:
            return made
    lines = [f"{name}: {value}\r\n" for name, _, value in request.fields]
    if contact:
        lines.append(f"Contact: {contact}\r\n")
    body = request.body
    text = (
        f"{request.method} {request.uri} SIP/2.0\r\nVia: {via}\r\n"
        f"{''.join(lines)}Content-Length: {len(body)}\r\n\r\n"
    )
    if text.count("\n") == len(lines) + 4 == text.count("\r"):
        return text.encode("utf-8", "surrogateescape") + body
    whole = request.copy()
    whole.prepend("Via", via)
    if contact:
        whole.add("Contact", contact)
    return whole.to_bytes()


def top_via(wire: bytes) -> str:
    """The Via on top of a request of ours."""
    return wire.split(b"\r\n", 2)[1].partition(b": ")[2].decode("utf-8", "surrogateescape")
