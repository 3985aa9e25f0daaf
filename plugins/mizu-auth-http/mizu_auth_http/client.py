"""One POST with a total deadline, a bounded answer, no redirects, and no way into networks of others."""

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, GzipDecoder, HTTPConnectionPool, ResponseDone
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer


class Forbidden(Exception):
    """The service is where we must not connect to."""


class TooLong(Exception):
    """The answer has more bytes than we take."""


class Redirected(Exception):
    """The service sends us elsewhere; questions are not for others."""


def allowed(address: str, *, private_targets: bool) -> bool:
    """May we connect there? Private and loopback if told, link-local never: clouds keep secrets there."""
    number = ip_address(address.partition("%")[0])
    mapped = getattr(number, "ipv4_mapped", None)
    number = mapped or number
    if number.is_multicast or number.is_unspecified or number.is_link_local:
        return False
    return number.is_global or private_targets


@implementer(IStreamClientEndpoint)
class CheckedEndpoint:
    """Resolves, checks, and connects to what was checked: a second answer of the DNS changes nothing."""

    def __init__(self, poster: "Poster", reactor: Any, uri: URI) -> None:
        self._poster, self._reactor, self._uri = poster, reactor, uri

    def connect(self, factory: Any) -> "Deferred[Any]":
        """See ``IStreamClientEndpoint``."""
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: Any) -> Any:
        host = self._uri.host.decode("ascii").strip("[]")
        address = await self._poster.address_of(host)
        endpoint: Any = HostnameEndpoint(self._reactor, address, self._uri.port)
        if self._uri.scheme == b"https":
            endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint)
        return await endpoint.connect(factory)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, poster: "Poster", reactor: Any) -> None:
        self._poster, self._reactor = poster, reactor

    def endpointForURI(self, uri: URI) -> CheckedEndpoint:
        return CheckedEndpoint(self._poster, self._reactor, uri)


class Poster:
    """
    :param deadline_s: for connecting, asking and reading, together.
    :param addresses_of: resolves a name.
    :param reactor: ``None``: the one of the process.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        deadline_s: float,
        body_max_bytes: int,
        private_targets: bool,
        addresses_of: Callable[[str], Awaitable[Sequence[str]]],
        reactor: Any = None,
    ) -> None:
        self._url = url
        self._headers: dict[bytes | str, bytes | str] = {
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._deadline_s = deadline_s
        self._body_max_bytes = body_max_bytes
        self._private_targets = private_targets
        self._addresses_of = addresses_of
        self._reactor = reactor
        self._pool: HTTPConnectionPool | None = None
        self._client: HTTPClient | None = None

    def post(self, body: bytes) -> "Deferred[tuple[int, bytes]]":
        """Status and body of the answer. Fails within the deadline at the latest."""
        client = self._client or self._made_client()
        asked = Deferred.fromCoroutine(self._post(client, body))
        return asked.addTimeout(self._deadline_s, self._reactor, onTimeoutCancel=_late)

    def _made_client(self) -> HTTPClient:
        if self._reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - importing it makes it

            self._reactor = reactor
        self._pool = HTTPConnectionPool(self._reactor)  # type: ignore[no-untyped-call]
        self._pool.maxPersistentPerHost = 8
        endpoints = _Endpoints(self, self._reactor)
        agent = Agent.usingEndpointFactory(self._reactor, endpoints, self._pool)  # type: ignore[no-untyped-call]
        self._client = HTTPClient(agent)
        return self._client

    async def _post(self, client: HTTPClient, body: bytes) -> tuple[int, bytes]:
        response = await client.post(
            self._url, data=body, headers=self._headers, allow_redirects=False, unbuffered=True
        )
        whole: Deferred[bytes] = Deferred()
        reader = _Body(whole, self._body_max_bytes)
        response.deliverBody(reader)
        problem: Exception | None = None
        if 300 <= response.code < 400:
            problem = Redirected(f"status {response.code}")
        elif isinstance(response.original, GzipDecoder):
            problem = TooLong("a packed answer: nobody knows how long it is")
        if problem is not None:
            whole.addErrback(lambda _: b"")
            reader.give_up(problem)
            raise problem
        return response.code, await whole

    async def address_of(self, host: str) -> str:
        """An address that may be connected to. :raise Forbidden:"""
        try:
            ip_address(host)
            found: Sequence[str] = [host]
        except ValueError:
            found = await self._addresses_of(host)
        if not found:
            raise Forbidden(f"{host} has no address")
        good = [one for one in found if allowed(one, private_targets=self._private_targets)]
        if not good:
            raise Forbidden(f"{host} is at {found[0]}, a place private_targets does not allow")
        return good[0]

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._pool is not None:
            await self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]


def _late(_result: object, deadline_s: float) -> Any:
    raise TimeoutError(deadline_s, "Deferred")  # whatever the part that was cancelled makes of it


class _Body(Protocol):
    """Collects an answer up to a limit."""

    def __init__(self, whole: "Deferred[bytes]", limit: int) -> None:
        self._whole: Deferred[bytes] | None = whole
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0
        whole.addErrback(self._cancelled)

    def dataReceived(self, data: bytes) -> None:
        self._length += len(data)
        if self._length > self._limit:
            self.give_up(TooLong(f"more than {self._limit} bytes"))
        else:
            self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        whole, self._whole = self._whole, None
        if whole is None or whole.called:
            return
        if isinstance(reason.value, ResponseDone):
            whole.callback(b"".join(self._parts))
        else:
            whole.errback(reason)

    def _cancelled(self, failure: Failure) -> Failure:
        self._leave()
        return failure

    def give_up(self, problem: Exception) -> None:
        """Read no more."""
        whole, self._whole = self._whole, None
        self._parts.clear()
        self._leave()
        if whole is not None and not whole.called:
            whole.errback(problem)

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
