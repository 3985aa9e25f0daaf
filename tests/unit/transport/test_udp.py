"""The UDP transport: each datagram stands alone, whatever the one before it was."""

import errno
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import sip

from mizu.config import LimitsConfig
from mizu.guard.filter import Gate
from mizu.sip.message import Request
from mizu.sip.transport.report import TransportReport
from mizu.sip.transport.udp import DatagramTransport
from mizu.sip.transport.udp_socket import _set_buffers

pytestmark = pytest.mark.usefixtures("implementation")  # compiled and in Python

PHONE = ("127.0.0.1", 5070)
STRANGER = ("192.0.2.66", 666)

OK = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:c@d>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def test_it_is_a_twisted_sip_base():
    """Code written for Twisted's SIP finds the class it knows."""
    assert issubclass(DatagramTransport, sip.Base)


# ---------------------------------------------------------------- the faults of the stock class


@pytest.mark.parametrize(
    "bad",
    [
        "no via",
        "SIP/2.0/UDP [::1;branch=z9hG4bK1",
        "SIP/2.0/UDP h;rport=abc;branch=z9hG4bK1",
        "SIP/2.0/UDP h;branch=z9hG4bK1;self=1",
        "SIP/2.0/UDP h;branch=z9hG4bK1;host=evil;port=1;transport=x",
    ],
)
def test_a_bad_via_leaves_nothing_behind(datagrams, sink, options, bad):
    """After a datagram without a usable Via the next one is served as if nothing had been."""
    transport = datagrams()
    transport.datagramReceived(options(via="" if bad == "no via" else bad, call_id="bad"), STRANGER)
    transport.datagramReceived(options(call_id="good"), PHONE)
    assert sink.messages[-1].call_id == "good"
    assert sink.messages[-1].flow.remote == PHONE
    assert transport.messages == []


def test_via_parameters_are_only_parameters(datagrams, sink, options):
    """``host=`` and ``port=`` in a Via change neither its sender nor where the answer goes."""
    transport = datagrams()
    transport.datagramReceived(
        options(via="SIP/2.0/UDP 127.0.0.1:5070;host=evil;port=1;rport;branch=z9hG4bK1"), PHONE
    )
    (request,) = sink.messages
    assert (request.via.host, request.via.port) == PHONE
    sink.flows[0].send(b"answer")
    assert transport.test_socket.sent == [(b"answer", PHONE)]


def test_a_receiver_that_raises_hurts_nobody_else(datagrams, sink, options, clean_reactor):
    """A bug of ours in one message costs that message; the next keeps its own sender."""
    transport = datagrams()
    sink.trouble = RuntimeError("a bug")
    transport.datagramReceived(options(call_id="first"), STRANGER)
    sink.trouble = None
    transport.datagramReceived(options(call_id="second"), PHONE)
    assert [(m.call_id, m.flow.remote) for m in sink.messages] == [("first", STRANGER), ("second", PHONE)]
    assert [failure.type for failure in clean_reactor] == [RuntimeError]
    clean_reactor.clear()


def test_the_same_bug_is_logged_once(datagrams, sink, options, clean_reactor):
    """However often it strikes, there is one traceback; the count goes on."""
    transport = datagrams()
    sink.trouble = RuntimeError("a bug")
    for _ in range(50):
        transport.datagramReceived(options(), PHONE)
    assert len(clean_reactor) == 1
    assert transport.test_report.bugs == 50
    clean_reactor.clear()


def test_a_body_that_is_cut_short_takes_nothing_from_the_next_sender(datagrams, sink, options):
    """A datagram that promises more body than it has is malformed, and the next one is whole."""
    transport = datagrams()
    transport.datagramReceived(options(length=500, body=b"attack", call_id="cut"), STRANGER)
    transport.datagramReceived(options(call_id="victim"), PHONE)
    assert [m.call_id for m in sink.messages] == ["victim"]
    assert sink.messages[0].body == b""
    assert len(sink.bad) == 1


def test_a_compact_content_length_frames_like_the_long_one(datagrams, sink, options):
    """``l: 4`` with a longer datagram: four bytes of body, the rest is dropped (RFC 3261 18.3)."""
    transport = datagrams()
    data = options(body=b"fourMORE", length=4).replace(b"Content-Length", b"l")
    transport.datagramReceived(data, STRANGER)
    transport.datagramReceived(options(call_id="next"), PHONE)
    assert [m.body for m in sink.messages] == [b"four", b""]


def test_what_follows_the_body_is_no_second_message(datagrams, sink, options):
    """Surplus after Content-Length is dropped on UDP (RFC 3261 18.3)."""
    transport = datagrams()
    transport.datagramReceived(options(call_id="one") + options(call_id="smuggled"), STRANGER)
    assert [m.call_id for m in sink.messages] == ["one"]


def test_garbage_makes_a_handful_of_log_lines_and_no_traceback(datagrams, clean_reactor, clock):
    """A sender of a thousand malformed messages gets six lines a minute, and everybody together sixty."""
    from twisted.logger import globalLogPublisher

    lines: list[Any] = []
    globalLogPublisher.addObserver(lines.append)
    try:
        transport = datagrams()
        for number in range(1000):
            transport.datagramReceived(b"INVITE this is not SIP at all\r\n\r\n", STRANGER)
            transport.datagramReceived(
                b"INVITE this is not SIP at all\r\n\r\n", (f"192.0.2.{number % 250}", number)
            )
    finally:
        globalLogPublisher.removeObserver(lines.append)
    assert 6 <= len(lines) <= 60
    assert not clean_reactor
    assert transport.test_report.garbage == 2000


# ---------------------------------------------------------------- hooks


def test_requests_and_responses_arrive_at_their_hooks(datagrams, sink, options):
    """A subclass that overrides the hooks of Twisted's class sees each message, with its sender."""
    seen: list[Any] = []

    class Watching(DatagramTransport):
        def handle_request(self, message, addr):
            seen.append((message.method, addr))
            super().handle_request(message, addr)

        def handle_response(self, message, addr):
            seen.append((message.code, addr))
            super().handle_response(message, addr)

        def addMessage(self, msg):
            seen.append("added")
            super().addMessage(msg)

    transport = datagrams(Watching)
    transport.datagramReceived(options(), PHONE)
    transport.datagramReceived(OK, STRANGER)
    assert seen == ["added", ("OPTIONS", PHONE), "added", (200, STRANGER)]
    assert len(sink.messages) == 2


def test_send_message_takes_anything_with_to_string(datagrams):
    """Text is encoded, bytes pass as they are: the rule of the stock class."""

    class Text:
        def toString(self):
            return "grün"

    class Bytes:
        def toString(self):
            return b"\xff"

    transport = datagrams()
    transport.sendMessage(sip.URL(host="192.0.2.1"), Text())
    transport.sendMessage(sip.URL(host="192.0.2.1", port=99, transport="UDP"), Bytes())
    assert transport.test_socket.sent == [
        ("grün".encode(), ("192.0.2.1", 5060)),
        (b"\xff", ("192.0.2.1", 99)),
    ]


def test_send_message_refuses_names_and_other_transports(datagrams):
    """It never blocks to look a name up, and never sends by UDP what should go by TCP."""
    transport = datagrams()
    with pytest.raises(Exception, match="not a numeric address"):
        transport.sendMessage(sip.URL(host="example.com"), Request("OPTIONS", "sip:a@b"))
    with pytest.raises(RuntimeError):
        transport.sendMessage(sip.URL(host="192.0.2.1", transport="tcp"), Request("OPTIONS", "sip:a@b"))


def test_a_response_made_from_a_request_goes_back_to_it(datagrams, sink, options):
    """``responseFromRequest`` and ``deliverResponse`` do what RFC 3581 says, also between equal ports."""
    transport = datagrams()
    transport.datagramReceived(
        options(via="SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1"), ("192.0.2.9", 5060)
    )
    transport.deliverResponse(transport.responseFromRequest(200, sink.messages[0]))
    ((data, to),) = transport.test_socket.sent
    assert to == ("192.0.2.9", 5060)
    assert data.startswith(b"SIP/2.0 200 OK\r\n")


def test_twisted_messages_fed_as_text_wait_as_they_do_in_the_stock_class(datagrams, options):
    """``parser`` and ``messages`` stay for callers that use them."""
    transport = datagrams()
    transport.parser.dataReceived(options())
    transport.parser.dataDone()
    assert [m.method for m in transport.messages] == ["OPTIONS"]


# ---------------------------------------------------------------- source and answer address


@pytest.mark.parametrize(
    ("via", "source", "stamped", "answer_to"),
    [
        # RFC 3581: both filled in exactly when asked
        ("10.0.0.1:5060;rport", ("192.0.2.9", 1024), ";rport=1024;received=192.0.2.9", ("192.0.2.9", 1024)),
        ("192.0.2.9:5060;rport", ("192.0.2.9", 1024), ";rport=1024;received=192.0.2.9", ("192.0.2.9", 1024)),
        # RFC 3261 18.2.1 and 18.2.2: received when the host differs; the port is that of the Via
        ("10.0.0.1:5080", ("192.0.2.9", 1024), ";received=192.0.2.9", ("192.0.2.9", 5080)),
        ("10.0.0.1", ("192.0.2.9", 1024), ";received=192.0.2.9", ("192.0.2.9", 5060)),
        ("192.0.2.9:1024", ("192.0.2.9", 1024), "", ("192.0.2.9", 1024)),
        # a name is never equal to an address
        ("phone.example.com:5080", ("192.0.2.9", 1024), ";received=192.0.2.9", ("192.0.2.9", 5080)),
        # maddr would aim our answers at a third party
        ("10.0.0.1:5080;maddr=203.0.113.5", ("192.0.2.9", 1024), ";received=192.0.2.9", ("192.0.2.9", 5080)),
    ],
)
def test_answers_go_where_the_via_rules_say(datagrams, sink, options, via, source, stamped, answer_to):
    """received, rport and the answer's port by RFC 3261 18.2 and RFC 3581; the real source stays known."""
    transport = datagrams()
    transport.datagramReceived(options(via=f"SIP/2.0/UDP {via};branch=z9hG4bK1"), source)
    (request,), (flow,) = sink.messages, sink.flows
    assert request.flow is flow
    assert flow.remote == source
    flow.send(b"x")
    assert transport.test_socket.sent[-1][1] == answer_to
    if stamped:
        for parameter in stamped.split(";")[1:]:
            assert parameter in str(request.via)
    else:
        assert "received" not in str(request.via)


def test_a_forged_received_does_not_survive(datagrams, sink, options):
    """Nobody can make us send answers elsewhere by writing ``received`` himself."""
    transport = datagrams()
    transport.datagramReceived(
        options(via="SIP/2.0/UDP 192.0.2.9;received=203.0.113.5;branch=z9hG4bK1"), STRANGER
    )
    assert sink.messages[0].via.received == STRANGER[0]


def test_responses_are_not_stamped(datagrams, sink):
    """Only requests get ``received`` and ``rport``."""
    datagrams().datagramReceived(OK, STRANGER)
    assert sink.messages[0].get("via") == "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx"


def test_an_unreadable_request_is_answered_to_its_source(datagrams, sink, options):
    """400 goes back to where the datagram came from, so far as it can be read at all."""
    transport = datagrams()
    transport.datagramReceived(options(extra="CSeq: 2 OPTIONS"), PHONE)
    ((data, to),) = transport.test_socket.sent
    assert data.startswith(b"SIP/2.0 400 ")
    assert to == PHONE


# ---------------------------------------------------------------- before the parser


@pytest.mark.parametrize("data", [b"", b"\0", b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b"xx"])
def test_keepalives_are_taken_in_silence(datagrams, sink, data):
    """What phones send to keep a NAT binding open gets no answer and no complaint."""
    transport = datagrams()
    transport.datagramReceived(data, PHONE)
    assert (sink.messages, sink.bad, transport.test_socket.sent) == ([], [], [])
    assert transport.keepalives == 1


@pytest.mark.parametrize("data", [b"\0" * 100, b"\x80" * 500, b"GET", b" INVITE sip:a@b SIP/2.0\r\n\r\n"])
def test_what_cannot_be_sip_is_dropped_before_parsing(datagrams, sink, data):
    """No answer, no log line: the guard says no."""
    transport = datagrams()
    transport.datagramReceived(data, PHONE)
    assert (sink.messages, sink.bad) == ([], [])


def test_the_largest_datagram_is_taken_whole(datagrams, sink, options):
    """65,507 bytes is what UDP over IPv4 can carry."""
    transport = datagrams()
    head = len(options(length=65_000))
    transport.datagramReceived(options(body=b"x" * (65_507 - head)), PHONE)
    assert len(sink.messages[0].body) == 65_507 - head


# ---------------------------------------------------------------- sending


@pytest.mark.parametrize(
    "number",
    [errno.EAGAIN, errno.ENETUNREACH, errno.EPERM, errno.ECONNREFUSED, errno.EMSGSIZE, errno.ENOBUFS],
)
def test_a_refused_datagram_is_told_to_its_sender(datagrams, sink, options, number):
    """No errno of ``sendto`` climbs; the transaction hears of it once (RFC 3261 17.1.4)."""
    transport = datagrams()
    transport.datagramReceived(options(), PHONE)
    transport.test_socket.error = OSError(number, "no")
    told: list[str] = []
    sink.flows[0].send(b"x", told.append)
    sink.flows[0].send(b"x")
    assert len(told) == 1


def test_a_closed_listener_tells_its_senders(datagrams, sink, options):
    """Flows may outlive their listener."""
    transport = datagrams()
    transport.datagramReceived(options(), PHONE)
    transport.stopProtocol()
    told: list[str] = []
    sink.flows[0].send(b"x", told.append)
    assert len(told) == 1


def test_a_flow_finds_its_local_address_when_asked(datagrams, sink, options):
    """``local`` is for Via and Contact; other names are still missing attributes."""
    transport = datagrams()
    transport.datagramReceived(options(), PHONE)
    flow = sink.flows[0]
    assert flow.local == ("127.0.0.1", 5060)
    assert flow.listener == "udp:127.0.0.1:5060"
    assert flow.alive()
    with pytest.raises(AttributeError):
        _ = flow.nothing


def test_tracing_shows_both_directions_and_can_be_switched_off(datagrams, sink, options):
    """``trace`` sees the bytes as they are on the wire."""
    transport, seen = datagrams(), []
    transport.trace(lambda *record: seen.append(record))
    transport.datagramReceived(options(), PHONE)
    sink.flows[0].send(b"answer")
    transport.trace(None)
    sink.flows[0].send(b"unseen")
    assert seen == [
        ("in", "udp", ("127.0.0.1", 5060), PHONE, options()),
        ("out", "udp", ("127.0.0.1", 5060), PHONE, b"answer"),
    ]


# ---------------------------------------------------------------- anything at all

PIECES = st.sampled_from(
    [
        b"OPTIONS sip:a@b SIP/2.0\r\n",
        b"SIP/2.0 200 OK\r\n",
        b"Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK1;rport\r\n",
        b"v: SIP/2.0/UDP [::1]\r\n",
        b"Via : ,,;=\r\n",
        b"From: <sip:a@b>;tag=1\r\n",
        b"t: <sip:a@b>\r\n",
        b"Call-ID: x\r\n",
        b"CSeq: 1 OPTIONS\r\n",
        b"l: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"\r\n",
        b"\n",
        b" folded\r\n",
        b"\xff\x00",
    ]
)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=40)), max_size=14).map(b"".join))
def test_no_datagram_does_harm(data):
    """Whatever comes, nothing is raised or logged as our error, and the next request is served."""
    got: list[Any] = []

    class Sink:
        def message_received(self, message, flow):
            got.append(message)

        def bad_message(self, bad, data_len, flow):
            if bad.request is not None:
                flow.send(bad.request.reply(bad.sip_status).to_bytes())

        def flow_closed(self, flow):
            pass

    class Port:
        def getHandle(self):
            return self

        def getsockname(self):
            return ("127.0.0.1", 5060)

        def sendto(self, data, to):
            assert to[0] == STRANGER[0]

    report = TransportReport(0, lambda: 0.0)
    gate = Gate(message_bytes=65_535, now=lambda: 0.0)
    transport = DatagramTransport(Sink(), gate, LimitsConfig(), report, lambda host, port, peer: (host, port))
    transport.makeConnection(Port())
    transport.datagramReceived(data, STRANGER)
    transport.datagramReceived(
        b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK2\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:a@b>\r\nCall-ID: next\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\r\n",
        PHONE,
    )
    assert report.bugs == 0
    assert got[-1].call_id == "next"


# ---------------------------------------------------------------- the socket


@pytest.mark.parametrize(("privileged", "warned"), [(False, True), (True, False)])
def test_a_buffer_that_the_kernel_cuts_is_reported(privileged, warned):
    """Linux doubles what it grants; root may go beyond the system's limit; else a line says what to raise."""
    from twisted.logger import globalLogPublisher

    class Sock:
        granted = 212_992

        def setsockopt(self, level, option, value):
            if option in (32, 33):  # the forced ones
                if not privileged:
                    raise PermissionError(errno.EPERM, "no")
                self.granted = value
            elif option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self.granted = min(value, 212_992)

        def getsockopt(self, level, option):
            return 2 * self.granted

    lines: list[Any] = []
    globalLogPublisher.addObserver(lines.append)
    try:
        _set_buffers(Sock(), 4_194_304)
    finally:
        globalLogPublisher.removeObserver(lines.append)
    assert [line["key"] for line in lines] == (["rmem_max", "wmem_max"] if warned else [])
