"""Who may use which route. Every route states its policy; one without is refused at start."""

import functools
import hmac
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol, TypeVar

from mizu.errors import BadRequest, Forbidden, MizuError, Unauthorized
from mizu.model import Operator, Rights

HttpRequest = Any  #: an ``IRequest``; Twisted leaves most of its methods untyped

OPEN = "open"  #: whoever reaches the port; shows nothing secret and changes nothing
TOKEN = "token"  # noqa: S105 #: a bearer token of an operator


class UnsupportedMedia(MizuError):
    """A change must come as ``application/json``: a stranger's web page cannot send that (CSRF)."""

    http_status, code = 415, "unsupported_media_type"


class Operators(Protocol):
    """Knows the bearer tokens."""

    async def of_token(self, token: str, source: str) -> Operator | None:
        """Whose token this is; ``None``: nobody's. :raise MizuError: it cannot be told now."""


class SingleToken:
    """One token, of the data directory: its holder owns the server."""

    def __init__(self, token: str, name: str = "console") -> None:
        self._token = token.encode("ascii")
        self._name = name

    async def of_token(self, token: str, source: str) -> Operator | None:
        """See the protocol; compared in constant time."""
        if hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token):
            return Operator(self._name, Rights.GENERAL_ADMIN, source)
        return None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a route demands before its function is called."""

    access: str  #: ``OPEN`` or ``TOKEN``
    answers: str  #: content type of its answer
    takes: str = ""  #: content type it demands of a body; empty: it reads none


Handler = TypeVar("Handler", bound=Callable[..., Any])


def policy_of(handler: Callable[..., Any]) -> Policy | None:
    found = getattr(handler, "policy", None)
    return found if isinstance(found, Policy) else None


def guarded(policy: Policy) -> Callable[[Handler], Callable[..., Awaitable[Any]]]:
    """Check the policy, then call the method; it gets the operator as ``operator`` when it needs a token."""

    def decorate(method: Handler) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(method)
        async def checked(self: Any, request: HttpRequest, **values: Any) -> Any:
            self.check_host(request)
            if policy.access != OPEN:
                values["operator"] = await require_operator(request, self.operators)
            if policy.takes:
                require_content_type(request, policy.takes)
            request.setHeader(b"content-type", policy.answers.encode("ascii"))
            answer = method(self, request, **values)
            return await answer if inspect.isawaitable(answer) else answer

        checked.policy = policy  # type: ignore[attr-defined]
        return checked

    return decorate


async def require_operator(request: HttpRequest, operators: Operators) -> Operator:
    """:raise Unauthorized: no token, or one that nobody has."""
    given = request.requestHeaders.getRawHeaders(b"authorization") or []
    scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Unauthorized("send the header 'Authorization: Bearer TOKEN'; the data directory has the token")
    operator = await operators.of_token(token.strip().decode("utf-8", "surrogateescape"), source_of(request))
    if operator is None:
        raise Unauthorized("this token is not valid")
    return operator


def require_content_type(request: HttpRequest, wanted: str) -> None:
    """:raise UnsupportedMedia:"""
    if content_type_of(request) != wanted:
        raise UnsupportedMedia(f"send the body as {wanted}")


def content_type_of(request: HttpRequest) -> str:
    """Without its parameters, in small letters; empty: there is none."""
    given: bytes = (request.requestHeaders.getRawHeaders(b"content-type") or [b""])[0]
    return given.partition(b";")[0].strip().lower().decode("latin-1")


def source_of(request: HttpRequest) -> str:
    """Address of the client, for logs."""
    peer = request.getClientAddress()
    return str(getattr(peer, "host", peer))


class HostCheck:
    """
    Which ``Host`` headers are answered.

    A server on loopback is asked as an address or as localhost; another name means that somebody's web page
    points its own name at us (DNS rebinding). A server that listens elsewhere may have any name.
    """

    def __init__(self, *, any_name: bool) -> None:
        self._any_name = any_name

    def __call__(self, request: HttpRequest) -> None:
        """:raise Forbidden: a foreign name. :raise BadRequest: no single host."""
        given = request.requestHeaders.getRawHeaders(b"host") or []
        if len(given) != 1:
            raise BadRequest("one Host header is needed")
        if not self._any_name and not _local_name(given[0].decode("latin-1").strip().lower()):
            raise Forbidden("this server answers to localhost and addresses only")


def _local_name(host: str) -> bool:
    if host.startswith("["):
        name = host[1:].partition("]")[0]
    else:
        name = host.partition(":")[0] if host.count(":") == 1 else host
    if name == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
