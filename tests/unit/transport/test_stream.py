"""Connections and their table without sockets: limits, ends, and who hears of them."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from mizu.config import LimitsConfig
from mizu.guard.filter import Gate
from mizu.sip.flow import Hop
from mizu.sip.transport.connections import UNPROVEN_S, Connections
from mizu.sip.transport.report import TransportReport
from mizu.sip.transport.stream import State, StreamTransport

PHONE = ("192.0.2.9", 33_000)


class Transport(StringTransport):
    """Writes down how it was closed; ``full`` behaves as if the peer did not read."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.full = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.full and self.producer is not None:
            self.producer.pauseProducing()

    def abortConnection(self) -> None:
        self.aborted = True


class Listener:
    proto, host, port, name, certificates = "tcp", "192.0.2.1", 5060, "tcp:192.0.2.1:5060", None


@pytest.fixture
def reactor() -> MemoryReactorClock:
    return MemoryReactorClock()


@pytest.fixture
def table(reactor, sink) -> Callable[..., Connections]:
    """Makes a table of connections with these limits."""

    def make(gate: Gate | None = None, **limits: Any) -> Connections:
        connections = Connections(
            reactor,
            guard=gate or Gate(message_bytes=65_535, now=reactor.seconds),
            report=TransportReport(6, reactor.seconds),
            limits=LimitsConfig(**limits),
            local_towards=lambda host, port, peer: (host, port),
        )
        connections.sink = sink
        return connections

    return make


def connect(connections: Connections, remote: tuple[str, int] = PHONE) -> tuple[Any, Any]:
    """A connection that has come in, and its transport; (None, None) when it was refused."""
    connection = connections.accept(Listener, remote)  # type: ignore[arg-type]
    if connection is None:
        return None, None
    transport = Transport()
    connection.makeConnection(transport)
    return connection, transport


def lose(connection: Any, kind: type[Exception] = ConnectionLost) -> None:
    connection.connectionLost(Failure(kind()))


# ---------------------------------------------------------------- reading


def test_a_receiver_that_raises_costs_one_message(table, sink, options, clean_reactor):
    """The next message of the same connection is handled."""
    connection, _ = connect(table())
    sink.trouble = RuntimeError("a bug")
    connection.dataReceived(options(proto="tcp", call_id="a"))
    sink.trouble = None
    connection.dataReceived(options(proto="tcp", call_id="b"))
    assert [m.call_id for m in sink.messages] == ["a", "b"]
    assert len(clean_reactor) == 1
    clean_reactor.clear()


def test_requests_are_stamped_with_their_source(table, sink, options):
    """received and rport also on streams (RFC 3261 18.2.1); the answer goes back over the connection."""
    connection, transport = connect(table())
    connection.dataReceived(options(proto="tcp"))
    (request,) = sink.messages
    assert (request.via.received, request.via.rport) == PHONE
    assert request.flow is connection
    request.flow.send(b"answer")
    assert transport.value() == b"answer"


def test_hooks_can_be_overridden_as_in_twisted(table, sink, options):
    """handle_request, handle_response and sendMessage are there on streams too."""
    connection, transport = connect(table())
    seen: list[Any] = []
    connection.handle_request = lambda message, addr: seen.append((message.method, addr))
    connection.dataReceived(options(proto="tcp"))

    class Text:
        def toString(self):
            return "text"

    connection.sendMessage(None, Text())
    assert seen == [("OPTIONS", PHONE)]
    assert transport.value() == b"text"


def test_after_garbage_nothing_more_is_read(table, sink, options):
    """The answer goes out, the connection closes, and what follows is ignored."""
    connection, transport = connect(table())
    connection.dataReceived(b"nonsense\r\n\r\n")
    assert transport.disconnecting
    connection.dataReceived(options(proto="tcp"))
    assert sink.messages == []
    assert not connection.alive()


def test_the_rate_limit_holds_on_streams(table, reactor, sink, options):
    """A connection does not get around the option ``guardrate``."""
    gate = Gate(message_bytes=65_535, now=reactor.seconds)
    gate.limit_rate(2)
    connection, _ = connect(table(gate))
    for _ in range(10):
        connection.dataReceived(options(proto="tcp"))
    assert len(sink.messages) == 4


# ---------------------------------------------------------------- who hears of an end


def test_an_abrupt_end_is_told_to_those_who_sent_last(table, sink):
    """A message written to a connection that is then reset has probably not arrived."""
    connection, _ = connect(table())
    told: list[str] = []
    connection.send(b"x", told.append)
    lose(connection, ConnectionLost)
    assert len(told) == 1
    assert sink.closed == [connection]


def test_a_clean_end_is_no_error(table, sink):
    """A peer that reads its answer and closes has got it."""
    connection, _ = connect(table())
    connection.send(b"x", lambda reason: pytest.fail("told"))
    lose(connection, ConnectionDone)
    assert sink.closed == [connection]


def test_a_peer_that_has_spoken_since_has_got_the_message(table, sink, options):
    """Only what was sent after its last sign of life is in doubt."""
    connection, _ = connect(table())
    connection.send(b"x", lambda reason: pytest.fail("told"))
    connection.dataReceived(options(proto="tcp"))
    lose(connection, ConnectionLost)


def test_an_error_callback_that_raises_does_not_stop_the_others(table, sink, clean_reactor):
    """Every sender is told."""
    connection, _ = connect(table())
    told: list[str] = []

    def fails(reason):
        raise RuntimeError("a bug")

    connection.send(b"x", fails)
    connection.send(b"x", told.append)
    lose(connection)
    assert len(told) == 1
    clean_reactor.clear()


# ---------------------------------------------------------------- opening


def test_messages_wait_for_the_connection_and_no_more_than_allowed(table, reactor):
    """They go out in order when it opens; beyond ``connection_buffer_bytes`` the sender is told at once."""
    connections = table(connection_buffer_bytes=1024)
    flow = connections.open(Hop("tcp", "192.0.2.7", 5060), Listener, None)
    told: list[str] = []
    flow.send(b"a" * 600, told.append)
    flow.send(b"b" * 600, told.append)
    assert len(told) == 1
    transport = Transport()
    host, port, factory, _, bind = reactor.tcpClients[0]
    assert (host, port, bind) == ("192.0.2.7", 5060, ("192.0.2.1", 0))
    factory.buildProtocol(None).makeConnection(transport)
    assert transport.value() == b"a" * 600
    assert flow.state is State.OPEN


def test_a_connection_that_does_not_open_is_given_up(table, reactor, sink):
    """After ``connection_open_s`` its senders are told, and the next request tries anew."""
    connections = table(connection_open_s=3)
    hop = Hop("tcp", "192.0.2.7", 5060)
    flow = connections.open(hop, Listener, None)
    told: list[str] = []
    flow.send(b"x", told.append)
    assert connections.open(hop, Listener, None) is flow
    for _ in range(5):
        reactor.advance(1)
    assert told == ["was not open in time"]
    assert reactor.connectors[0].stoppedConnecting
    assert len(connections) == 0
    assert sink.closed == []
    assert connections.open(hop, Listener, None) is not flow


def test_a_connection_that_came_in_is_used_to_go_out(table, reactor):
    """A request for the address a phone connected from uses its connection."""
    connections = table()
    connection, _ = connect(connections)
    assert connections.open(Hop("tcp", *PHONE), Listener, None) is connection
    assert connections.find("tcp:192.0.2.1:5060", PHONE) is connection
    assert connections.find("tcp:192.0.2.2:5060", PHONE) is None
    lose(connection)
    assert connections.find("tcp:192.0.2.1:5060", PHONE) is None


# ---------------------------------------------------------------- limits


def test_an_ipv6_customer_has_one_address_for_the_limit(table):
    """Addresses of one /64 count together."""
    connections = table(connections_per_address=3)
    got = [connect(connections, (f"2001:db8::{n}", 1))[0] for n in range(1, 6)]
    assert [one is not None for one in got] == [True, True, True, False, False]
    assert connect(connections, ("2001:db8:0:1::1", 1))[0] is not None
    lose(got[0])
    assert connect(connections, ("2001:db8::9", 1))[0] is not None


def test_at_the_limit_silent_connections_make_room(table, reactor, sink, options):
    """A connection that has sent no message is dropped for a newcomer; one that has is not."""
    connections = table(connections=3)
    working, _ = connect(connections, ("192.0.2.1", 1))
    working.dataReceived(options(proto="tcp"))
    _, silent = connect(connections, ("192.0.2.2", 1))
    connect(connections, ("192.0.2.3", 1))
    assert connect(connections, ("192.0.2.4", 1))[0] is None  # they have not had time yet
    reactor.advance(UNPROVEN_S + 0.1)
    newcomer, _ = connect(connections, ("192.0.2.4", 1))
    assert newcomer is not None
    assert silent.aborted
    assert working.alive()
    assert len(connections) == 3


def test_at_the_limit_of_working_connections_newcomers_are_refused(table, reactor, options):
    """Nobody who works is dropped; no connection is opened either."""
    connections = table(connections=2)
    for number in (1, 2):
        connection, _ = connect(connections, (f"192.0.2.{number}", 1))
        connection.dataReceived(options(proto="tcp"))
    reactor.advance(60)
    assert connect(connections, ("192.0.2.3", 1))[0] is None
    assert connections.open(Hop("tcp", "192.0.2.7", 5060), Listener, None) is None
    assert connections.refused == 1


def test_a_banned_address_cannot_connect(table, reactor):
    """The guard is asked before anything else."""
    gate = Gate(message_bytes=65_535, now=reactor.seconds, banned={"192.0.2.9"})
    assert connect(table(gate))[0] is None


def test_a_peer_that_does_not_read_is_cut_off(table):
    """Counted from the moment the transport's own buffer is full."""
    connection, transport = connect(table(connection_buffer_bytes=100_000))
    transport.full = True
    for _ in range(5):
        connection.send(b"x" * 10_000)
    assert transport.aborted
    assert not connection.alive()


def test_a_peer_that_reads_again_is_not_cut_off(table):
    """The count starts anew each time the buffer was emptied."""
    connection, transport = connect(table(connection_buffer_bytes=100_000))
    for _ in range(20):
        transport.full = True
        connection.send(b"x" * 10_000)
        connection.resumeProducing()
    assert connection.alive()


def test_a_connection_that_will_not_close_is_cut_off(table, reactor):
    """A peer that does not take the rest has ``connection_message_s`` for it."""
    connections = table(connection_message_s=5)
    connection, transport = connect(connections)
    connection.close()
    reactor.advance(3)
    assert not transport.aborted
    for _ in range(3):
        reactor.advance(1)
    assert transport.aborted


def test_a_message_sent_byte_by_byte_has_one_deadline(table, reactor, sink, options):
    """Each byte does not start the time again; a complete message does."""
    connections = table(connection_message_s=5)
    connection, transport = connect(connections)
    data = options(proto="tcp")
    for byte in data[:4]:
        connection.dataReceived(bytes([byte]))
        reactor.advance(1)
    connection.dataReceived(data[4:])
    for _ in range(10):
        reactor.advance(1)
    assert not transport.aborted
    for byte in data[:7]:
        connection.dataReceived(bytes([byte]))
        reactor.advance(1)
    assert transport.aborted


def test_silence_ends_a_connection_but_not_one_with_a_registration(table, reactor):
    """``connection_idle_s``, or the time the registration is good for."""
    connections = table(connection_idle_s=10)
    _, idle = connect(connections, ("192.0.2.1", 1))
    registered, kept = connect(connections, ("192.0.2.2", 1))
    registered.keep_for(30)
    for _ in range(15):
        reactor.advance(1)
    assert idle.disconnecting
    assert not kept.disconnecting
    for _ in range(17):
        reactor.advance(1)
    assert kept.disconnecting


def test_no_connections_no_timer(table, reactor):
    """The sweep runs only while there is something to look at."""
    connections = table()
    connection, _ = connect(connections)
    assert len(reactor.getDelayedCalls()) == 1
    lose(connection)
    assert reactor.getDelayedCalls() == []
    assert connections.counts()["connections"] == 0


def test_a_connection_is_a_flow(table):
    """What the layers above ask of it."""
    connection, _ = connect(table())
    assert isinstance(connection, StreamTransport)
    assert (connection.proto, connection.reliable, connection.listener) == ("tcp", True, "tcp:192.0.2.1:5060")
    assert (connection.local, connection.remote) == (("192.0.2.1", 5060), PHONE)


def test_an_idle_connection_holds_on_to_no_transaction(table, reactor):
    """Half a minute after the last message nobody is told any more, and nothing is kept for telling."""
    connection, _ = connect(table())
    connection.send(b"x", lambda reason: pytest.fail("told"))
    for _ in range(34):
        reactor.advance(1)
    assert not connection._recent
    lose(connection, ConnectionLost)


@pytest.mark.parametrize(("via", "port"), [("192.0.2.9:5070", 5070), ("192.0.2.9", 5060)])
def test_an_answer_outlives_its_connection(table, reactor, sink, options, via, port):
    """It goes to the port of the Via over a new connection (RFC 3261 18.2.2); a request does not."""
    connection, _ = connect(table())
    connection.dataReceived(options(via=f"SIP/2.0/TCP {via};branch=z9hG4bK1"))
    lose(connection, ConnectionDone)
    told: list[str] = []
    connection.send(b"OPTIONS sip:a@b SIP/2.0", told.append)
    assert len(told) == 1
    assert reactor.tcpClients == []
    connection.send(b"SIP/2.0 200 OK", told.append)
    (client,) = reactor.tcpClients
    assert client[:2] == ("192.0.2.9", port)
    transport = Transport()
    client[2].buildProtocol(None).makeConnection(transport)
    assert transport.value() == b"SIP/2.0 200 OK"
    assert len(told) == 1
    lose(client[2].buildProtocol(None), ConnectionDone)


def test_an_answer_nobody_asked_for_opens_no_connection(table, reactor):
    """Without a request there is no Via to go by."""
    connection, _ = connect(table())
    lose(connection, ConnectionDone)
    told: list[str] = []
    connection.send(b"SIP/2.0 200 OK", told.append)
    assert len(told) == 1
    assert reactor.tcpClients == []
