"""Batches of datagrams on real loopback sockets: nothing is lost, turned around or told to the wrong one."""

import errno
import gc
import os
import socket
import struct
import time
from typing import Any

import pytest
from twisted.internet.interfaces import IReactorFDSet
from zope.interface import implementer

from mizu import native
from mizu.sip.transport import udp, udp_socket
from mizu.sip.transport.udp import DatagramTransport
from mizu.sip.transport.udp_socket import BatchPort, open_udp

needs_compiled = pytest.mark.skipif(native.datagrams is None, reason="mizu._datagrams is not built here")


@implementer(IReactorFDSet)
class HandReactor:
    """Reads when the test says so."""

    def __init__(self) -> None:
        self.ports: list[Any] = []

    def addReader(self, port):
        self.ports.append(port)

    def removeReader(self, port):
        if port in self.ports:
            self.ports.remove(port)

    def addWriter(self, port): ...
    def removeWriter(self, port): ...
    def removeAll(self): ...
    def getReaders(self): ...
    def getWriters(self): ...

    def callLater(self, delay_s, function, *args):
        self.later = lambda: function(*args)


@pytest.fixture(autouse=True)
def gathered(monkeypatch):
    """What is sent while even one datagram is handled waits for the end."""
    monkeypatch.setattr(udp_socket, "GATHER_FROM", 1)


@pytest.fixture
def listener(sink, guard, limits, clock):
    """``listener("127.0.0.1")`` gives a port on a real socket and its transport."""
    from mizu.sip.transport.report import TransportReport

    made: list[Any] = []

    def make(host: str = "127.0.0.1", kind: type = DatagramTransport) -> tuple[Any, Any]:
        report = TransportReport(6, clock.seconds)
        transport = kind(sink, guard, limits, report, lambda host, port, peer: (host, port))
        transport.test_report = report
        reactor = HandReactor()
        open_udp(reactor, transport, host, 0, buffer_bytes=1_000_000)
        made.append(reactor)
        return reactor.ports[0], transport

    yield make
    for reactor in made:
        for port in list(reactor.ports):
            port.stopListening()
            reactor.later()


@pytest.fixture
def phone():
    """Makes bound sockets of phones."""
    made: list[socket.socket] = []

    def make(host: str = "127.0.0.1") -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, 0))
        sock.settimeout(2)
        made.append(sock)
        return sock

    yield make
    for sock in made:
        sock.close()


@pytest.fixture
def stamped():
    """
    The system marks datagrams as they arrive, for as long as the test lasts.

    Linux begins to do so a moment after the first socket of the machine asked for it (a worker of the kernel
    throws the switch); a datagram taken in before is marked when it is read and looks young.
    """
    number = native.datagrams.SO_TIMESTAMPNS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.setsockopt(socket.SOL_SOCKET, number, 1)
        for _ in range(500):
            probe.sendto(b"?", probe.getsockname())
            arrived_ns = time.time_ns()
            time.sleep(0.01)
            (_, _, mark) = probe.recvmsg(1, 64)[1][0]
            seconds, rest_ns = struct.unpack("ll", mark)
            if seconds * 1_000_000_000 + rest_ns <= arrived_ns:
                break
        else:
            pytest.fail("the system does not mark datagrams as they arrive")
        yield


def received(sock: socket.socket) -> list[bytes]:
    """All that waits at a socket."""
    sock.setblocking(False)
    found = []
    try:
        while True:
            found.append(sock.recv(65_535))
    except BlockingIOError:
        return found


@needs_compiled
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_batch_is_handled_in_order_and_answered_in_order(listener, phone, sink, options, host):
    """More than one batch: every datagram once, each answer to its sender, nothing left waiting."""
    port, transport = listener(host)
    assert isinstance(port, BatchPort)
    phones = [phone(host), phone(host)]
    names = [f"call-{n}" for n in range(udp_socket.BATCHES * native.datagrams.BATCH + 5)]
    for n, name in enumerate(names):
        via = f"SIP/2.0/UDP {'[::1]' if ':' in host else host}:9;rport;branch=z9hG4bK{n}"
        phones[n % 2].sendto(options(call_id=name, via=via), (host, transport.port))

    def answer(message, flow):
        sink.messages.append(message)
        flow.send(message.call_id.encode())
        flow.send(b"again " + message.call_id.encode())

    sink.message_received = answer
    for _ in range(3):
        port.doRead()  # the last one finds nothing
    assert [m.call_id for m in sink.messages] == names
    assert transport.batch is None
    for which, sock in enumerate(phones):
        wanted = [each for name in names[which::2] for each in (name.encode(), b"again " + name.encode())]
        assert received(sock) == wanted
    assert {m.flow.remote for m in sink.messages} == {sock.getsockname()[:2] for sock in phones}


@needs_compiled
@pytest.mark.parametrize(("waiting", "gathers"), [(3, False), (4, True)])
def test_answers_leave_at_once_while_there_is_time(
    monkeypatch, listener, phone, sink, options, waiting, gathers
):
    """Only where many datagrams wait does the first answer wait for the last."""
    monkeypatch.setattr(udp_socket, "GATHER_FROM", 4)
    port, transport = listener()
    sock = phone()
    seen: list[bool] = []
    sink.message_received = lambda message, flow: seen.append(transport.batch is not None)
    for _ in range(waiting):
        sock.sendto(options(), ("127.0.0.1", transport.port))
    port.doRead()
    assert seen == [gathers] * waiting


@needs_compiled
def test_what_is_sent_in_a_batch_is_bounded(listener, phone, sink, options):
    """One message that makes very many leave does not make them wait without end."""
    port, transport = listener()
    sock = phone()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
    waited: list[int] = []

    def flood(message, flow):
        for n in range(500):
            flow.send(b"%d" % n)
            waited.append(len(transport.batch))

    sink.message_received = flood
    sock.sendto(options(), ("127.0.0.1", transport.port))
    port.doRead()
    assert max(waited) < udp.BATCH_MESSAGES
    assert received(sock) == [b"%d" % n for n in range(500)]


@needs_compiled
@pytest.mark.parametrize(
    ("to", "size", "number"),
    [
        (("127.0.0.1", 9), 65_600, errno.EMSGSIZE),
        (("::1", 9), 10, errno.EAFNOSUPPORT),
        (("example.com", 9), 10, errno.EAFNOSUPPORT),
        (("127.0.0.1", 70_000), 10, errno.EINVAL),
        (("255.255.255.255", 9), 10, errno.EACCES),
    ],
)
def test_the_failure_of_one_is_told_to_it_alone(listener, phone, sink, options, to, size, number):
    """Those before and after it in the batch go out; it hears the system's reason, once."""
    port, transport = listener()
    sock = phone()
    told: list[str] = []
    others: list[str] = []

    def answer(message, flow):
        flow.send(b"before", others.append)
        udp.UdpFlow(transport, to).send(b"x" * size, told.append)
        udp.UdpFlow(transport, to).send(b"x" * size)
        flow.send(b"after", others.append)

    sink.message_received = answer
    sock.sendto(options(), ("127.0.0.1", transport.port))
    port.doRead()
    assert told == [os.strerror(number)]
    assert others == []
    assert received(sock) == [b"before", b"after"]


@needs_compiled
def test_a_full_socket_buffer_is_told(monkeypatch, listener, phone, sink, options):
    """EAGAIN of some: they hear of it; what they do about it leaves at once."""
    port, transport = listener()
    sock = phone()
    real = native.datagrams

    class Full:
        def send(self, fd, family, messages):
            assert real.send(fd, family, [messages[0]]) == []
            return [(n, errno.EAGAIN) for n in range(1, len(messages))]

    monkeypatch.setattr(native, "datagrams", Full())
    told: list[str] = []

    def answer(message, flow):
        flow.send(b"first", told.append)
        flow.send(b"second", lambda reason: flow.send(b"instead of second", told.append))
        flow.send(b"third", told.append)

    sink.message_received = answer
    sock.sendto(options(), ("127.0.0.1", transport.port))
    port.doRead()
    assert told == [os.strerror(errno.EAGAIN)]
    assert received(sock) == [b"first", b"instead of second"]


@needs_compiled
def test_a_receiver_that_raises_costs_nothing_of_the_batch(listener, phone, sink, options, clean_reactor):
    """A bug in one message: the others of its batch are handled, and what was to be sent is sent."""

    class Breaking(DatagramTransport):
        def datagramReceived(self, datagram, addr):
            super().datagramReceived(datagram, addr)
            raise RuntimeError("a bug")

    port, transport = listener(kind=Breaking)
    sock = phone()
    sink.answer = b"answer"
    for n in range(3):
        sock.sendto(options(call_id=str(n)), ("127.0.0.1", transport.port))
    port.doRead()
    assert received(sock) == [b"answer"] * 3
    assert [failure.type for failure in clean_reactor] == [RuntimeError] * 3
    clean_reactor.clear()


@needs_compiled
@pytest.mark.parametrize(
    ("error", "logged"),
    [(OSError(errno.ENOMEM, ""), 0), (OSError(errno.ECONNREFUSED, ""), 0), (MemoryError(), 1)],
)
def test_a_moment_without_memory_does_not_cost_the_listener(
    monkeypatch, listener, phone, sink, options, clean_reactor, error, logged
):
    """An exception would make the reactor forget the port for ever."""
    port, transport = listener()
    sock = phone()
    sock.sendto(options(), ("127.0.0.1", transport.port))

    class Failing:
        @staticmethod
        def receive(fd, wait_ns):
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(udp_socket, "_compiled", Failing)
        port.doRead()
    port.doRead()
    assert len(sink.messages) == 1
    assert [failure.type for failure in clean_reactor] == [MemoryError] * logged
    clean_reactor.clear()


@needs_compiled
def test_an_error_of_the_socket_is_told_to_the_reactor(monkeypatch, listener):
    """It would come again at once, and for ever."""
    port, _ = listener()

    class Failing:
        @staticmethod
        def receive(fd, wait_ns):
            raise OSError(errno.ENOTSOCK, "no socket")

    monkeypatch.setattr(udp_socket, "_compiled", Failing)
    with pytest.raises(OSError, match="no socket"):
        port.doRead()


@needs_compiled
def test_closing_while_a_batch_is_handled(listener, phone, sink, options):
    """What was sent before leaves; what is sent after the end is told that it did not."""
    port, transport = listener()
    sock = phone()
    told: list[str] = []

    def answer(message, flow):
        flow.send(b"early")
        transport.close()
        flow.send(b"late")
        port.reactor.later()  # the port is gone now
        flow.send(b"too late", told.append)
        sink.message_received = lambda message, flow: flow.send(b"later still", told.append)

    sink.message_received = answer
    for _ in range(2):
        sock.sendto(options(), ("127.0.0.1", transport.port))
    port.doRead()
    assert received(sock) == [b"early", b"late"]
    assert told == [os.strerror(errno.EBADF)] * 2


@needs_compiled
def test_a_trace_that_begins_in_a_batch_keeps_the_order(listener, phone, sink, options):
    """From then on each message is seen when it leaves."""
    port, transport = listener()
    sock = phone()
    seen: list[Any] = []

    def answer(message, flow):
        flow.send(b"unseen")
        transport.trace(lambda *record: seen.append(record[4]))
        flow.send(b"seen")

    sink.message_received = answer
    sock.sendto(options(), ("127.0.0.1", transport.port))
    port.doRead()
    assert received(sock) == [b"unseen", b"seen"]
    assert seen == [b"seen"]
    sock.sendto(options(), ("127.0.0.1", transport.port))
    port.doRead()
    assert [data[:7] for data in seen] == [b"seen", b"OPTIONS", b"unseen", b"seen"]


@needs_compiled
def test_datagrams_of_every_size_arrive_whole(listener, phone, guard):
    """Empty, one byte, and the largest there is."""
    got: list[bytes] = []

    class Raw(DatagramTransport):
        def datagramReceived(self, datagram, addr):
            got.append(datagram)

    port, transport = listener(kind=Raw)
    sock = phone()
    sizes = [0, 1, 1500, 65_507, 0, 9000]
    for size in sizes:
        sock.sendto(os.urandom(size), ("127.0.0.1", transport.port))
    port.doRead()
    assert [len(each) for each in got] == sizes


@pytest.fixture
def collecting():
    """``collecting(function)`` calls it once in the midst of things: when the collector of garbage runs."""
    before = gc.get_threshold()
    calls: list[Any] = []

    def begin(function):
        def once(phase, info):
            if phase == "stop" and not calls:
                calls.append(None)
                function()

        begin.held = [(n, n) for n in range(3000)]  # what is there to be used again is used up
        begin.added = once
        gc.collect()
        gc.callbacks.append(once)
        gc.set_threshold(8)

    begin.added = begin.held = None
    yield begin
    gc.set_threshold(*before)
    if begin.added is not None:
        gc.callbacks.remove(begin.added)


@needs_compiled
def test_who_receives_while_somebody_receives_gets_his_own(phone, collecting):
    """The collector may run anything, another listener's turn too: no datagram changes its socket."""
    one, two, sender = phone(), phone(), phone()
    for n in range(30):
        sender.sendto(b"one %d" % n, one.getsockname())
        sender.sendto(b"two %d" % n, two.getsockname())
    inner: list[Any] = []
    collecting(lambda: inner.extend(native.datagrams.receive(two.fileno(), 0)[0]))
    outer, _ = native.datagrams.receive(one.fileno(), 0)
    assert [data for data, _ in outer] == [b"one %d" % n for n in range(30)]
    inner += native.datagrams.receive(two.fileno(), 0)[0]
    assert [data for data, _ in inner] == [b"two %d" % n for n in range(30)]


@needs_compiled
def test_messages_are_sent_whole_whatever_becomes_of_their_list(phone, collecting):
    """Somebody empties it while the system is asked."""
    sender, sock = phone(), phone()
    bad = (b"", ("no address", 9), None)
    messages: list[Any] = []
    for n in range(20):
        messages += [(b"%d" % n * 2000, sock.getsockname(), None), bad]
    collecting(messages.clear)
    refused = native.datagrams.send(sender.fileno(), socket.AF_INET, messages)
    assert refused == [(n, errno.EAFNOSUPPORT) for n in range(1, 40, 2)]
    assert received(sock) == [b"%d" % n * 2000 for n in range(20)]


@needs_compiled
@pytest.mark.parametrize(
    "where",
    [("127.0.0.1\0.example", 9), ("127.0.0.1", 65_536), ("127.0.0.1", -1), ("\udcff", 9), (b"", 9), ()],
)
def test_an_address_that_is_none_is_refused(phone, where):
    """Nothing is guessed from its beginning, and the messages after it go."""
    sender, sock = phone(), phone()
    messages = [(b"no", where, None), (b"yes", sock.getsockname(), None)]
    assert native.datagrams.send(sender.fileno(), socket.AF_INET, messages) == [(0, errno.EINVAL)]
    assert received(sock) == [b"yes"]


def test_without_the_compiled_part_twisted_reads_the_socket(monkeypatch, sink, guard, limits, clock):
    """The same listener, a datagram at a time."""
    from mizu.sip.transport.report import TransportReport

    monkeypatch.setattr(udp_socket, "_compiled", None)
    asked: list[Any] = []

    class Reactor(HandReactor):
        def adoptDatagramPort(self, fd, family, protocol, most_bytes):
            asked.append((family, protocol, most_bytes))

    report = TransportReport(6, clock.seconds)
    transport = DatagramTransport(sink, guard, limits, report, lambda host, port, peer: (host, port))
    open_udp(Reactor(), transport, "127.0.0.1", 0, buffer_bytes=65_536)
    assert asked == [(socket.AF_INET, transport, 65_535)]


@needs_compiled
def test_requests_that_waited_too_long_are_thrown_away_and_nothing_else(
    stamped, listener, phone, sink, options
):
    """
    Their senders are about to repeat them, so they lose nothing; answering them would be work for nobody.
    What belongs to a call that is up, and every response, is handled however old it is.
    """
    port, transport = listener()
    transport.wait_ns = 20_000_000
    sock, to = phone(), ("127.0.0.1", transport.port)
    for start in ("BYE", "ACK", "REGISTER", "INVITE", "MESSAGE", "SUBSCRIBE", "PUBLISH"):
        sock.sendto(options(call_id=f"old-{start}", method=start), to)
    ringing = options(call_id="old-180").replace(
        b"OPTIONS sip:echo@127.0.0.1 SIP/2.0", b"SIP/2.0 180 Ringing", 1
    )
    assert ringing.startswith(b"SIP/2.0 180")
    sock.sendto(ringing, to)
    time.sleep(0.05)
    sock.sendto(options(call_id="young"), to)
    port.doRead()
    assert [m.call_id for m in sink.messages] == ["old-BYE", "old-ACK", "old-180", "young"]
    assert transport.stale == 5
    transport.wait_ns = 0
    sock.sendto(options(call_id="old-OPTIONS"), to)
    time.sleep(0.05)
    port.doRead()
    assert [m.call_id for m in sink.messages][4:] == ["old-OPTIONS"]
    assert transport.stale == 5


@needs_compiled
def test_the_young_behind_many_old_ones_are_found_in_the_same_turn(stamped, listener, phone, sink, options):
    """A batch of nothing but old requests does not end the reading."""
    port, transport = listener()
    transport.wait_ns = 20_000_000
    sock, to = phone(), ("127.0.0.1", transport.port)
    for n in range(native.datagrams.BATCH):
        sock.sendto(options(call_id=f"old-{n}"), to)
    time.sleep(0.05)
    sock.sendto(options(call_id="young"), to)
    port.doRead()
    assert [m.call_id for m in sink.messages] == ["young"]
    assert transport.stale == native.datagrams.BATCH
