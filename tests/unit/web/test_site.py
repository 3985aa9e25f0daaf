"""The limits of the HTTP transport: sizes, connections, time."""

import json
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from mizu.web.site import CLOSE_S, IDLE_S, REQUEST_S, LimitedSite, json_bytes

BODY_MAX = 100


class Echo(Resource):
    """Answers the length of the body."""

    isLeaf = True
    seen = 0
    waits = False

    def render(self, request: Any) -> Any:
        self.seen += 1
        return NOT_DONE_YET if self.waits else b"%d" % len(request.content.read())


class Wire(StringTransport):
    """Remembers how it was closed."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Server:
    """A site with a clock, and connections to it."""

    def __init__(self, connections_max: int = 3) -> None:
        self.clock = Clock()
        self.resource = Echo()
        self.site = LimitedSite(
            self.resource, body_bytes=BODY_MAX, connections_max=connections_max, reactor=self.clock
        )

    def connect(self) -> tuple[Any, Wire]:
        channel: Any = self.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        assert channel is not None
        wire = Wire()
        channel.makeConnection(wire)
        return channel, wire


@pytest.fixture
def server() -> Server:
    return Server()


def head(length: int | None = None, *lines: bytes) -> bytes:
    extra = [b"Content-Length: %d" % length] if length is not None else []
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: x", *extra, *lines, b"", b""])


def test_a_body_within_the_limit_is_taken(server: Server):
    """Exactly the limit still passes, with and without a length said before."""
    channel, wire = server.connect()
    channel.dataReceived(head(BODY_MAX) + b"x" * BODY_MAX)
    assert wire.value().startswith(b"HTTP/1.1 200")
    assert b"100" in wire.value()
    wire.clear()
    channel.dataReceived(
        head(None, b"Transfer-Encoding: chunked") + b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n"
    )
    assert wire.value().startswith(b"HTTP/1.1 200")


def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(server: Server):
    """413 on the header alone; nothing was kept, the connection closes, no 100 Continue."""
    channel, wire = server.connect()
    channel.dataReceived(head(BODY_MAX + 1, b"Expect: 100-continue"))
    assert wire.value().startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in wire.value()
    assert wire.disconnecting
    assert server.resource.seen == 0
    answer, _, body = wire.value().partition(b"\r\n\r\n")
    assert b"x-content-type-options: nosniff" in answer
    assert json.loads(body)["error"] == "too_large"


def test_a_body_that_does_not_say_its_length_is_counted(server: Server):
    """Chunks beyond the limit end the request, also when all of it comes at once; the route never sees it."""
    channel, wire = server.connect()
    channel.dataReceived(head(None, b"Transfer-Encoding: chunked"))
    chunk = b"3c\r\n" + b"x" * 60 + b"\r\n"
    channel.dataReceived(chunk + chunk + b"0\r\n\r\n")
    assert wire.value().startswith(b"HTTP/1.1 413 ")
    assert wire.value().count(b"HTTP/1.1") == 1
    assert server.resource.seen == 0
    channel.dataReceived(head(0))  # what comes after a refusal is not a request any more
    assert server.resource.seen == 0


@pytest.mark.parametrize("length", [b"-1", b"1x", b"", b"9" * 5000, b"1, 2"])
def test_a_nonsense_length_is_400_or_413(server: Server, length: bytes):
    """Never a traceback, never a body of that size."""
    channel, wire = server.connect()
    channel.dataReceived(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
    assert wire.value()[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 413")
    assert server.resource.seen == 0


def test_one_connection_too_many_is_closed_and_room_is_made_again(server: Server):
    """The number of connections is bounded; a closed one gives its place back."""
    open_now = [server.connect() for _ in range(3)]
    assert server.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)) is None
    assert server.site.refused_connections == 1
    open_now[0][0].connectionLost(None)
    server.connect()
    assert server.site.connections == 3


def test_a_request_has_a_deadline(server: Server):
    """One byte now and then does not keep a connection: 408 when the request is not complete in time."""
    channel, wire = server.connect()
    for _ in range(REQUEST_S * 2):
        if not wire.disconnecting:
            channel.dataReceived(b"G" if not channel.requests else b"x")
        server.clock.advance(0.5)
    assert wire.value().startswith(b"HTTP/1.1 408 ")
    assert wire.disconnecting


def test_an_idle_connection_is_closed(server: Server):
    """Nobody holds a place without asking for something, before or after a request."""
    for data in (b"", head(0)):
        channel, wire = server.connect()
        if data:
            channel.dataReceived(data)
        server.clock.advance(IDLE_S + 1)
        assert wire.disconnecting
        channel.connectionLost(None)


def test_a_complete_request_may_take_its_time(server: Server):
    """The deadline is for the client; a long command is not cut off."""
    server.resource.waits = True
    channel, wire = server.connect()
    channel.dataReceived(head(0))
    server.clock.advance(10 * IDLE_S)
    assert not wire.disconnecting
    channel.connectionLost(None)


def test_a_peer_that_does_not_read_is_cut_off(server: Server):
    """Closing waits for the peer only so long."""
    channel, wire = server.connect()
    channel.dataReceived(b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
    assert wire.disconnecting
    server.clock.advance(CLOSE_S + 1)
    assert wire.aborted


def test_no_timer_is_left_when_a_connection_ends(server: Server):
    """Whatever state it was in."""
    for data in (b"", b"GET", head(0), head(BODY_MAX + 1), head(10) + b"x"):
        channel, _ = server.connect()
        channel.dataReceived(data)
        channel.connectionLost(None)
        assert server.clock.getDelayedCalls() == []
    assert server.site.connections == 0


def test_stopping_closes_idle_connections_and_lets_answers_out(server: Server):
    """An answer under way is finished and then the connection closes."""
    server.resource.waits = True
    (busy, busy_wire), (idle, idle_wire) = server.connect(), server.connect()
    busy.dataReceived(head(0))
    gone = server.site.close_connections()
    assert idle_wire.disconnecting
    assert not busy_wire.disconnecting
    busy.requests[0].finish()
    assert busy_wire.disconnecting
    for channel in (busy, idle):
        channel.connectionLost(None)
    assert gone.called
    assert not server.clock.getDelayedCalls()


def test_stopping_does_not_wait_for_a_peer_that_does_not_let_go(server: Server):
    """After two seconds what is left is cut off."""
    _, wire = server.connect()
    server.site.close_connections()
    server.clock.advance(2.1)
    assert wire.aborted


def test_every_answer_has_the_security_headers(server: Server):
    """nosniff, no-store, no frames, no server version."""
    channel, wire = server.connect()
    channel.dataReceived(head(0))
    answer = wire.value().lower()
    for line in (b"x-content-type-options: nosniff", b"cache-control: no-store", b"server: mizu\r\n"):
        assert line in answer
    assert b"twisted" not in answer


def test_json_is_ascii_without_markup():
    """E1: nothing in it can be taken for markup or a terminal command, and it reads back exactly."""
    value = {"a": "<b>&\x1b[0m\u2028\udc80", "n": [1.5, None, True]}
    raw = json_bytes(value)
    assert json.loads(raw) == value
    assert not set(b"<>&\x1b") & set(raw)
    assert raw.isascii()
