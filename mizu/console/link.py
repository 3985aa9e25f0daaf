"""The terminal client's way to the server: one command out by HTTP, one answer back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.web.client import URI, Agent, FileBodyProducer, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from mizu.console.rundir import NotRunning, RunFile, read_token
from mizu.errors import MizuError

CONNECT_S = 5.0
ANSWER_S = 120.0  #: of a command
SEND_S = 3600.0  #: until a file is sent and answered
ANSWER_MAX_BYTES = 64 * 1024 * 1024


class BadAnswer(MizuError):
    """Something answered that is not a Mizu server, or too much of it."""

    code = "bad_answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one command."""

    ok: bool
    lines: Sequence[str]
    result: Any
    error: str = ""  #: stable word; empty when ok
    argument: str = ""  #: the secret argument that is missing


class Link:
    """
    Commands to the server of one data directory, over one connection.

    :raise NotRunning: (from the constructor, too) no server runs there.
    :raise TokenUnreadable: its token cannot be read.
    """

    def __init__(self, reactor: Any, data_dir: str, http: HTTPClient | None = None) -> None:
        self.reactor = reactor
        self._data_dir = data_dir
        self.address = self._token = ""
        self._look()
        self._pool = HTTPConnectionPool(reactor)  # type: ignore[no-untyped-call]
        self._http = http or HTTPClient(
            Agent.usingEndpointFactory(reactor, _Way(self, reactor), self._pool)  # type: ignore[no-untyped-call]
        )

    async def run(self, line: str) -> Answer:
        """
        Send one line. A refused command is an answer, not an exception.

        :raise NotRunning: the server does not answer.
        :raise BadAnswer: what answers is no Mizu server.
        """
        try:
            return await self._run(line)
        except NotRunning:  # started again since, perhaps elsewhere?
            before = (self.address, self._token)
            self._look()
            if (self.address, self._token) == before:
                raise
            return await self._run(line)

    async def send_file(self, path: str, file: Any) -> Answer:
        """
        Send a CSV file, read as it goes out; it is closed at the end. A refusal is an answer.

        :param path: of the API. :raise NotRunning: :raise BadAnswer:
        """
        try:
            response = await self._http.post(
                f"http://localhost{path}",
                data=FileBodyProducer(file),  # type: ignore[no-untyped-call]
                headers=Headers({"content-type": ["text/csv"], "authorization": [f"Bearer {self._token}"]}),
                allow_redirects=False,
                unbuffered=True,
                timeout=SEND_S,
                reactor=self.reactor,
            )
            body = await self._body(response)
        except (ConnectError, ConnectionClosed, ResponseFailed, TimeoutError, CancelledError) as error:
            why = str(error).split("\n")[0] or type(error).__name__
            raise NotRunning(f"the server at {self.address} does not take the file: {why}") from None
        finally:
            file.close()
        return _parsed(body) if response.code != 200 else Answer(True, (), _json(body))

    def _look(self) -> None:
        """Where is the server now?"""
        run = RunFile.read(self._data_dir)
        if not run.http:
            raise NotRunning("the server has no HTTP side ([http] listen is empty): no command reaches it")
        self.address = reachable(run.http)
        self._token = read_token(self._data_dir)

    async def _run(self, line: str) -> Answer:
        try:
            response = await self._http.post(
                "http://localhost/console",
                data=json.dumps({"command": line}).encode("ascii"),
                headers=Headers(
                    {"content-type": ["application/json"], "authorization": [f"Bearer {self._token}"]}
                ),
                allow_redirects=False,
                unbuffered=True,
                timeout=ANSWER_S,
                reactor=self.reactor,
            )
            body = await self._body(response)
        except (ConnectError, ConnectionClosed, ResponseFailed, TimeoutError, CancelledError) as error:
            why = str(error).split("\n")[0] or type(error).__name__
            raise NotRunning(f"the server at {self.address} does not answer: {why}") from None
        answer = _parsed(body)
        if answer.error == "unauthorized":
            raise NotRunning(
                f"the server at {self.address} refuses the token of {self._data_dir}; "
                "is it the right data directory?"
            )
        return answer

    def close(self) -> "Deferred[None]":
        """Close the connection; fires when it is closed."""
        closed: Deferred[None] = self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]
        return closed

    async def _body(self, response: Any) -> bytes:
        parts: list[bytes] = []
        received = 0

        def take(part: bytes) -> None:
            nonlocal received
            received += len(part)
            if received <= ANSWER_MAX_BYTES:
                parts.append(part)

        await response.collect(take).addTimeout(ANSWER_S, self.reactor)
        if received > ANSWER_MAX_BYTES:
            raise BadAnswer("the answer is too long; ask for less with --limit")
        return b"".join(parts)


@implementer(IAgentEndpointFactory)
class _Way:
    """Leads every request to the server's address. treq refuses IPv6 addresses in URLs (its IDNA step)."""

    def __init__(self, link: Link, reactor: Any) -> None:
        self._link, self._reactor = link, reactor

    def endpointForURI(self, uri: URI) -> HostnameEndpoint:
        host, _, port = self._link.address.rpartition(":")
        return HostnameEndpoint(self._reactor, host.strip("[]"), int(port), timeout=CONNECT_S)


def reachable(address: str) -> str:
    """``0.0.0.0:8080`` is where a server listens, not where one can go: loopback is."""
    host, _, port = address.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - looked for, not listened on
    return f"{loopback.get(host, host)}:{port}"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswer("what answers there is not a Mizu server") from None


def _parsed(body: bytes) -> Answer:
    value = _json(body)
    if not isinstance(value, Mapping) or not isinstance(value.get("ok"), bool):
        raise BadAnswer("what answers there is not a Mizu server")
    return Answer(
        ok=value["ok"],
        lines=[str(line) for line in value.get("lines") or ()],
        result=value.get("result"),
        error=str(value.get("error") or ""),
        argument=str(value.get("argument") or ""),
    )
