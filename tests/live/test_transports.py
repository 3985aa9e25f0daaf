"""The transports on real loopback sockets."""

import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from mizu.config import LimitsConfig, SipConfig
from mizu.errors import ConfigError
from mizu.guard.filter import Gate
from mizu.sip.flow import Hop


class Receiver:
    """A sink whose messages can be awaited."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.bad: list[Any] = []
        self.closed: list[Any] = []
        self.answer = True
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def message_received(self, message: Any, flow: Any) -> None:
        self.messages.append(message)
        if message.is_request and self.answer:
            flow.send(message.reply(200).to_bytes())
        self._tell()

    def bad_message(self, bad: Any, data_len: int, flow: Any) -> None:
        self.bad.append(bad)
        if bad.request is not None:
            flow.send(bad.request.reply(bad.sip_status).to_bytes())
        self._tell()

    def flow_closed(self, flow: Any) -> None:
        self.closed.append(flow)
        self._tell()

    def until(self, true: Callable[[], bool]) -> "Deferred[None]":
        if true():
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append((true, waiting))
        return waiting

    def _tell(self) -> None:
        for entry in list(self._waiting):
            if entry[0]() and entry in self._waiting:
                self._waiting.remove(entry)
                entry[1].callback(None)


@pytest.fixture
def tables(tmp_path):
    """Makes transport tables and closes them at the end: ``tables(limits...)`` gives (table, receiver)."""
    from twisted.internet import reactor

    from mizu.sip.transport.table import TransportTable

    made: list[Any] = []

    def make(sip: SipConfig | None = None, **limits: Any) -> tuple[Any, Receiver]:
        receiver = Receiver()
        settings = LimitsConfig(**limits)
        guard = Gate(message_bytes=settings.message_bytes, now=reactor.seconds)
        extra = {"certificates": make.certificates} if make.certificates is not None else {}
        table = TransportTable(
            reactor,
            guard,
            sink=receiver,
            sip=sip or SipConfig(udp_buffer_bytes=65_536),
            limits=settings,
            data_dir=str(tmp_path),
            **extra,
        )
        made.append(table)
        return table, receiver

    make.certificates = None
    yield make
    for table in made:
        pytest_twisted.blockon(table.close())


def options(proto: str = "UDP", call_id: str = "1", body: bytes = b"") -> bytes:
    """An OPTIONS request."""
    return (
        "OPTIONS sip:echo@127.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/{proto} 127.0.0.1:9;branch=z9hG4bK{call_id};rport\r\n"
        "Max-Forwards: 70\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:echo@127.0.0.1>\r\n"
        f"Call-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def exchange(address: tuple[str, int], data: bytes, family: int = socket.AF_INET) -> "Deferred[bytes]":
    """Send one datagram from a plain socket and wait for the answer, in a thread."""

    def run() -> bytes:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(data, address)
            return sock.recv(65_535)

    return deferToThread(run)


def talk(
    address: tuple[str, int], data: bytes, wanted: bytes, context: ssl.SSLContext | None = None
) -> "Deferred[bytes]":
    """Connect, send, read until ``wanted`` has come or the peer has closed; in a thread."""

    def run() -> bytes:
        sock: Any = socket.create_connection(address, timeout=5)
        with sock:
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname="localhost")
            sock.sendall(data)
            got = b""
            while wanted not in got:
                try:
                    piece = sock.recv(65_535)
                except ConnectionResetError:
                    break  # as good as closed
                if not piece:
                    break
                got += piece
            sock.close()
            return got

    return deferToThread(run)


# ---------------------------------------------------------------- UDP


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_a_datagram_is_answered(tables, host, family):
    """IPv4 and IPv6, on a port the system chose and the table reports."""
    table, receiver = tables()
    listener = table.listen(f"udp:[{host}]:0" if ":" in host else f"udp:{host}:0")
    assert listener.port
    assert table.listeners == [listener]
    answer = await exchange((host, listener.port), options(), family)
    assert answer.startswith(b"SIP/2.0 200 OK\r\n")
    assert f"received={host}".encode() in answer
    assert receiver.messages[0].flow.remote[0] == host


async def test_both_families_share_a_port(tables):
    """``udp:0.0.0.0`` and ``udp:[::]`` are two listeners; neither sees the other's addresses."""
    table, receiver = tables()
    four = table.listen("udp:0.0.0.0:0")
    table.listen(f"udp:[::]:{four.port}")
    await exchange(("127.0.0.1", four.port), options())
    await exchange(("::1", four.port), options(), socket.AF_INET6)
    assert [m.flow.remote[0] for m in receiver.messages] == ["127.0.0.1", "::1"]
    assert [m.flow.local for m in receiver.messages] == [("127.0.0.1", four.port), ("::1", four.port)]


async def test_a_long_datagram_comes_whole(tables):
    """Twisted's default would cut it at 8,192 bytes without a word."""
    table, receiver = tables()
    listener = table.listen("udp:127.0.0.1:0")
    await exchange(("127.0.0.1", listener.port), options(body=b"x" * 60_000))
    assert len(receiver.messages[0].body) == 60_000


async def test_two_tables_talk_over_udp(tables):
    """A flow to a hop reaches it, and its answer comes back to the same listener."""
    ours, receiver = tables()
    theirs, _ = tables()
    ours.listen("udp:127.0.0.1:0")
    there = theirs.listen("udp:127.0.0.1:0")
    flow = ours.flow_to(Hop("udp", "127.0.0.1", there.port))
    flow.send(options())
    await receiver.until(lambda: bool(receiver.messages))
    assert receiver.messages[0].status == 200
    assert receiver.messages[0].flow.remote == ("127.0.0.1", there.port)


async def test_the_flow_of_a_binding_is_found_by_its_listener(tables):
    """What a binding stores (listener, host, port) leads back to the phone."""
    table, receiver = tables()
    listener = table.listen("udp:127.0.0.1:0")
    await exchange(("127.0.0.1", listener.port), options())
    flow = receiver.messages[0].flow
    again = table.flow_of(flow.listener, *flow.remote)
    assert (again.listener, again.remote) == (flow.listener, flow.remote)
    assert table.flow_of("udp:127.0.0.1:1", *flow.remote) is None


async def test_what_we_do_not_listen_for_cannot_be_reached(tables):
    """No listener of that protocol or family: no flow."""
    table, _ = tables()
    table.listen("udp:127.0.0.1:0")
    assert table.flow_to(Hop("tcp", "127.0.0.1", 5060)) is None
    assert table.flow_to(Hop("udp", "::1", 5060)) is None
    assert table.flow_to(Hop("udp", "example.com", 5060)) is None
    assert table.reaches() == {("udp", 4)}


async def test_a_taken_port_is_a_clear_error(tables):
    """The text names the listener and the reason."""
    from mizu.sip.transport.table import CannotListen

    table, _ = tables()
    for proto in ("udp", "tcp"):
        port = table.listen(f"{proto}:127.0.0.1:0").port
        with pytest.raises(CannotListen, match=rf"{proto}:127.0.0.1:{port}: Address already in use"):
            table.listen(f"{proto}:127.0.0.1:{port}")


async def test_workers_may_share_a_port():
    """With ``reuse_port`` two processes (here: two tables) listen on one address."""
    from twisted.internet import reactor

    from mizu.sip.transport.table import TransportTable

    gate = Gate(message_bytes=65_535, now=reactor.seconds)
    sip = SipConfig(udp_buffer_bytes=65_536)
    workers = [
        TransportTable(reactor, gate, sink=Receiver(), sip=sip, limits=LimitsConfig(), reuse_port=True)
        for _ in range(2)
    ]
    for proto in ("udp", "tcp"):
        port = workers[0].listen(f"{proto}:127.0.0.1:0").port
        assert workers[1].listen(f"{proto}:127.0.0.1:{port}").port == port
    for worker in workers:
        await worker.close()


async def test_an_advertised_host_replaces_our_own(tables):
    """``sip.advertise`` is what peers are told; the port stays."""
    table, receiver = tables(SipConfig(advertise="sip.example.com", udp_buffer_bytes=65_536))
    listener = table.listen("udp:127.0.0.1:0")
    await exchange(("127.0.0.1", listener.port), options())
    assert receiver.messages[0].flow.local == ("sip.example.com", listener.port)


# ---------------------------------------------------------------- TCP


async def test_messages_on_a_stream_are_answered_in_order(tables):
    """Several at once, and one in pieces of a byte."""
    table, receiver = tables()
    listener = table.listen("tcp:127.0.0.1:0")
    address = ("127.0.0.1", listener.port)
    got = await talk(address, options("TCP", "a") + options("TCP", "b", b"body"), b"Call-ID: b")
    assert got.count(b"SIP/2.0 200 OK") == 2
    assert [m.body for m in receiver.messages] == [b"", b"body"]

    from twisted.internet import reactor

    def slowly() -> bytes:
        with socket.create_connection(address, timeout=5) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in options("TCP", "c"):
                sock.sendall(bytes([byte]))
            return sock.recv(65_535)

    assert b"Call-ID: c" in await deferToThread(slowly)
    await deferLater(reactor, 0)


async def test_a_ping_is_answered_with_a_pong(tables):
    """RFC 5626 3.5.1: CRLFCRLF gets CRLF."""
    table, receiver = tables()
    listener = table.listen("tcp:127.0.0.1:0")
    assert await talk(("127.0.0.1", listener.port), b"\r\n\r\n", b"\r\n") == b"\r\n"
    assert receiver.messages == []


async def test_a_stream_that_cannot_be_followed_is_answered_and_closed(tables):
    """No Content-Length: 400 and the end of the connection (RFC 3261 18.3)."""
    table, receiver = tables()
    listener = table.listen("tcp:127.0.0.1:0")
    data = options("TCP").replace(b"Content-Length: 0\r\n", b"")
    got = await talk(("127.0.0.1", listener.port), data, b"never")
    assert got.startswith(b"SIP/2.0 400 ")
    assert len(receiver.bad) == 1
    await receiver.until(lambda: bool(receiver.closed))
    assert len(table.connections) == 0


async def test_what_was_good_before_the_bad_is_still_handled(tables):
    """One piece with a good request and then garbage: the good one is answered first."""
    table, receiver = tables()
    listener = table.listen("tcp:127.0.0.1:0")
    got = await talk(("127.0.0.1", listener.port), options("TCP") + b"garbage\r\n\r\n", b"never")
    assert got.startswith(b"SIP/2.0 200 ")
    assert len(receiver.messages) == 1


async def test_two_tables_talk_over_one_connection(tables):
    """What is sent while the connection opens waits for it; the next request uses it again."""
    ours, receiver = tables()
    theirs, their_receiver = tables()
    ours.listen("tcp:127.0.0.1:0")
    hop = Hop("tcp", "127.0.0.1", theirs.listen("tcp:127.0.0.1:0").port)
    flow = ours.flow_to(hop)
    assert flow.reliable
    flow.send(options("TCP", "a"))
    flow.send(options("TCP", "b"))
    assert ours.flow_to(hop) is flow
    await receiver.until(lambda: len(receiver.messages) == 2)
    assert ours.flow_to(hop) is flow
    assert len(theirs.connections) == 1
    # The other side reaches us over the same connection, by what a binding would store.
    incoming = their_receiver.messages[0].flow
    back = theirs.flow_of(incoming.listener, *incoming.remote)
    assert back is incoming
    assert flow.local == ("127.0.0.1", ours.listeners[0].port)  # Via and Contact name the listener


async def test_a_refused_connection_is_told_to_every_waiting_message(tables):
    """Each sender hears of it once, soon, and the flow is dead."""
    table, _ = tables()
    table.listen("tcp:127.0.0.1:0")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flow = table.flow_to(Hop("tcp", "127.0.0.1", port))
    told: list[str] = []
    both: Deferred[None] = Deferred()

    def tell(reason: str) -> None:
        told.append(reason)
        if len(told) == 2:
            both.callback(None)

    flow.send(options("TCP"), tell)
    flow.send(options("TCP"), tell)
    await both
    assert not flow.alive()
    flow.send(options("TCP"), told.append)
    assert len(told) == 3
    assert "refused" in told[0]


async def test_connections_from_one_address_are_limited(tables):
    """The one too many is closed at once; the others go on, and a place that gets free can be taken."""
    table, _ = tables(connections_per_address=2)
    listener = table.listen("tcp:127.0.0.1:0")
    address = ("127.0.0.1", listener.port)

    def three() -> list[bytes]:
        socks = [socket.create_connection(address, timeout=5) for _ in range(3)]
        got = []
        for sock in socks:
            try:
                sock.sendall(options("TCP"))
                got.append(sock.recv(65_535)[:11])
            except OSError:
                got.append(b"")
        for sock in socks:
            sock.close()
        return got

    got = await deferToThread(three)
    assert got == [b"SIP/2.0 200", b"SIP/2.0 200", b""]
    assert table.counts()["connections_refused"] == 1
    assert (await talk(address, options("TCP"), b"Call-ID")).startswith(b"SIP/2.0 200")


async def test_a_peer_that_never_reads_is_dropped(tables):
    """At ``connection_buffer_bytes`` unsent the connection ends; memory does not grow without end."""
    table, receiver = tables(connection_buffer_bytes=200_000)
    listener = table.listen("tcp:127.0.0.1:0")
    receiver.answer = False
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", listener.port))
        sock.sendall(options("TCP"))
        await receiver.until(lambda: bool(receiver.messages))
        flow = receiver.messages[0].flow

        from twisted.internet import reactor

        told: list[str] = []
        for _ in range(2000):
            flow.send(b"x" * 10_000, told.append)
            if not flow.alive():
                break
            await deferLater(reactor, 0)
        await receiver.until(lambda: bool(receiver.closed))
    assert not flow.alive()
    assert told


async def test_a_slow_sender_is_dropped(tables):
    """A message has to be complete ``connection_message_s`` after its first byte."""
    table, receiver = tables(connection_message_s=0.1)
    listener = table.listen("tcp:127.0.0.1:0")
    got = await talk(("127.0.0.1", listener.port), options("TCP")[:-10], b"never")
    assert got == b""
    await receiver.until(lambda: bool(receiver.closed))


async def test_an_idle_connection_is_closed_unless_it_carries_a_registration(tables):
    """``connection_idle_s``; ``keep_for`` is what the registrar calls."""
    table, receiver = tables(connection_idle_s=1)
    listener = table.listen("tcp:127.0.0.1:0")
    with (
        socket.create_connection(("127.0.0.1", listener.port)) as kept,
        socket.create_connection(("127.0.0.1", listener.port)) as idle,
    ):
        kept.sendall(options("TCP", "kept"))
        await receiver.until(lambda: len(receiver.messages) == 1)
        receiver.messages[0].flow.keep_for(60)
        idle.sendall(options("TCP", "idle"))
        await receiver.until(lambda: len(receiver.messages) == 2)
        await receiver.until(lambda: bool(receiver.closed))
    assert receiver.closed == [receiver.messages[1].flow]
    assert receiver.messages[0].flow.pinned


# ---------------------------------------------------------------- TLS


async def test_tls_works_with_the_certificate_made_at_start(tables, tmp_path):
    """Without configuration there is a self-signed one, its key for us only."""
    table, receiver = tables()
    listener = table.listen("tls:127.0.0.1:0")
    path = tmp_path / "tls" / "sip.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    context = ssl.create_default_context(cadata=path.read_text()[path.read_text().index("-----BEGIN CERT") :])
    got = await talk(("127.0.0.1", listener.port), options("TLS"), b"Call-ID", context)
    assert got.startswith(b"SIP/2.0 200 OK")
    assert receiver.messages[0].flow.proto == "tls"


async def test_outgoing_tls_refuses_a_certificate_nobody_signed(tables):
    """The system's trust is the default: a self-signed peer is not believed, and the senders hear of it."""
    ours, _ = tables()
    theirs, their_receiver = tables()
    ours.listen("tls:127.0.0.1:0")
    hop = Hop("tls", "127.0.0.1", theirs.listen("tls:127.0.0.1:0").port, "localhost")
    told: Deferred[str] = Deferred()
    ours.flow_to(hop).send(options("TLS"), told.callback)
    assert "certificate" in (await told).lower()
    assert their_receiver.messages == []


@pytest.mark.parametrize(("name", "works"), [("localhost", True), ("trunk.example.com", False)])
async def test_outgoing_tls_checks_the_name(tables, tmp_path, name, works):
    """A trusted certificate for another name is refused."""
    from mizu.sip.transport.tls import self_signed

    trusted = self_signed(tmp_path / "own", [])
    trusted.trust(str(tmp_path / "own" / "sip.pem"))
    tables.certificates = trusted
    ours, receiver = tables()
    theirs, _ = tables()
    ours.listen("tls:127.0.0.1:0")
    hop = Hop("tls", "127.0.0.1", theirs.listen("tls:127.0.0.1:0").port, name)
    told: list[str] = []
    flow = ours.flow_to(hop)
    flow.send(options("TLS"), lambda reason: (told.append(reason), receiver._tell()))
    await receiver.until(lambda: bool(receiver.messages or told))
    assert bool(receiver.messages) is works
    assert bool(told) is not works
    if works:
        assert ours.flow_to(hop) is flow
        other = Hop("tls", hop.host, hop.port, "other.example.com")
        assert ours.flow_to(other) is not flow  # its certificate was checked for another name


async def test_verification_can_be_switched_off(tables):
    """``sip.tls_verify = false``: for peers with a certificate that nobody signed."""
    ours, receiver = tables(SipConfig(tls_verify=False, udp_buffer_bytes=65_536))
    theirs, _ = tables()
    ours.listen("tls:127.0.0.1:0")
    for name in ("", "trunk.example.com"):
        hop = Hop("tls", "127.0.0.1", theirs.listen("tls:127.0.0.1:0").port, name)
        ours.flow_to(hop).send(options("TLS"))
    await receiver.until(lambda: len(receiver.messages) == 2)


async def test_authorities_that_cannot_be_read_are_a_clear_error(tables, tmp_path):
    """The complaint names the setting and the file."""
    for name, text in (("missing.pem", None), ("empty.pem", "")):
        if text is not None:
            (tmp_path / name).write_text(text)
        table, _ = tables(SipConfig(tls_authorities=str(tmp_path / name), udp_buffer_bytes=65_536))
        with pytest.raises(ConfigError, match=f"sip.tls_authorities: .*{name}"):
            table.listen("tls:127.0.0.1:0")


async def test_a_name_that_no_certificate_can_have_is_no_flow(tables):
    """Names come from Contact headers: none of them may raise."""
    table, _ = tables()
    table.listen("tls:127.0.0.1:0")
    for name in ("a_b.example.com", "a" * 70 + ".example.com", "\u2602.example.com", "x..example.com"):
        assert table.flow_to(Hop("tls", "127.0.0.1", 5061, name)) is None


async def test_a_tls_handshake_must_come_to_an_end(tables):
    """A client that connects and says nothing is dropped after ``connection_open_s``."""
    table, _ = tables(connection_open_s=0.1)
    listener = table.listen("tls:127.0.0.1:0")
    assert await talk(("127.0.0.1", listener.port), b"", b"never") == b""
    from twisted.internet import reactor

    while len(table.connections):
        await deferLater(reactor, 0.01)


async def test_plain_text_on_a_tls_port_ends_the_connection(tables, clean_reactor):
    """SIP without TLS there is not understood, and leaves no traceback."""
    table, receiver = tables()
    listener = table.listen("tls:127.0.0.1:0")
    await talk(("127.0.0.1", listener.port), options("TCP"), b"never")
    assert receiver.messages == []
    assert not clean_reactor


@pytest.mark.parametrize(
    ("certificate", "key", "complaint"),
    [
        ("missing.pem", "", "sip.tls_certificate: .*No such file"),
        ("own/sip.pem", "missing.pem", "sip.tls_key: .*No such file"),
        ("own/sip.pem", "other/sip.pem", "is not the key of"),
        ("empty.pem", "", "sip.tls_certificate"),
    ],
)
async def test_a_certificate_that_cannot_be_used_is_a_clear_error(
    tables, tmp_path, certificate, key, complaint
):
    """The complaint names the setting and the file."""
    from mizu.sip.transport.tls import self_signed

    for name in ("own", "other"):
        self_signed(tmp_path / name, [])
    (tmp_path / "empty.pem").write_text("")
    sip = SipConfig(
        tls_certificate=str(tmp_path / certificate),
        tls_key=str(tmp_path / key) if key else "",
        udp_buffer_bytes=65_536,
    )
    table, _ = tables(sip)
    with pytest.raises(ConfigError, match=complaint):
        table.listen("tls:127.0.0.1:0")


async def test_a_configured_certificate_is_used(tables, tmp_path):
    """``sip.tls_certificate`` with the key in the same file."""
    from mizu.sip.transport.tls import self_signed

    self_signed(tmp_path / "own", ["sip.example.com"])
    path = tmp_path / "own" / "sip.pem"
    table, _ = tables(SipConfig(tls_certificate=str(path), udp_buffer_bytes=65_536))
    listener = table.listen("tls:127.0.0.1:0")
    context = ssl.create_default_context(cadata=path.read_text()[path.read_text().index("-----BEGIN CERT") :])
    assert (await talk(("127.0.0.1", listener.port), options("TLS"), b"Call-ID", context)).startswith(
        b"SIP/2.0 200"
    )
