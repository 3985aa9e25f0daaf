"""The socket of a UDP listener: its buffers, and reading it with few system calls.

What waits at the socket is taken at once, and what is sent meanwhile leaves at once. That needs
:data:`mizu.native.datagrams`; without it Twisted's own port takes and sends a datagram at a time.
"""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReactorSocket
from twisted.internet.udp import Port
from twisted.logger import Logger

from mizu import native
from mizu.sip.transport.udp import MAX_DATAGRAM_BYTES, CannotListen, DatagramTransport, reason_of

#: ``SO_RCVBUFFORCE`` and ``SO_SNDBUFFORCE`` of Linux: beyond the system's limit, for root.
_FORCE = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}

#: ``SO_ATTACH_FILTER``, ``SO_DETACH_FILTER`` and ``SO_MEMINFO`` of Linux; drops are the last of nine figures.
_ATTACH_FILTER, _DETACH_FILTER, _MEMORY_FACTS = 26, 27, 55
_FACTS, _DROPS = 9, 8

#: So many batches are taken in one turn of the reactor.
BATCHES = 4
#: A smaller batch means that there is time: answers leave at once.
GATHER_FROM = 8
#: An ICMP message for something sent earlier, which means nothing here: as Twisted's port has it. And a
#: system without memory, which will have some again. All else makes the reactor give the listener up.
_PASSING = frozenset({errno.ECONNREFUSED, errno.ENOMEM, errno.ENOBUFS})

Instruction = tuple[int, int, int, int]  #: of classic BPF: operation, jump if true, jump if false, operand

_compiled = native.datagrams
_log = Logger()


class BatchPort(Port):
    """A UDP port whose protocol is told where a batch of datagrams begins and ends."""

    protocol: DatagramTransport

    def doRead(self) -> None:
        """
        Take what waits, a batch at a time: what comes while one is handled saves a turn of the reactor. Their
        number is bounded, so that a flood on one listener leaves the others and the timers their turn.
        """
        sock: socket.socket = self.socket
        protocol = self.protocol
        for _ in range(BATCHES):
            try:
                batch, stale = _compiled.receive(sock.fileno(), protocol.wait_ns)
            except OSError as error:
                if error.errno in _PASSING:
                    return
                raise
            except MemoryError:  # what was taken is lost, its senders repeat it
                _log.failure("datagrams")
                return
            if stale:
                protocol.stale += stale
            elif not batch:
                return
            self._handle(batch)
            if not self.connected:  # closed meanwhile
                return

    def _handle(self, batch: list[tuple[bytes, tuple[str, int]]]) -> None:
        protocol = self.protocol
        if len(batch) >= GATHER_FROM:
            protocol.begin_batch()
        try:
            for data, addr in batch:
                try:
                    protocol.datagramReceived(data, addr)
                except BaseException:
                    _log.failure("a datagram")
        finally:
            protocol.end_batch()


def _adopt(
    reactor: IReactorSocket, sock: socket.socket, family: socket.AddressFamily, protocol: DatagramTransport
) -> None:
    """Let the reactor read a bound socket (a copy of it)."""
    fd = sock.fileno()
    if _compiled is None or not IReactorFDSet.providedBy(reactor):
        reactor.adoptDatagramPort(fd, family, protocol, MAX_DATAGRAM_BYTES)
        return
    if protocol.wait_ns:
        with suppress(OSError):  # without it nothing is too old
            sock.setsockopt(socket.SOL_SOCKET, _compiled.SO_TIMESTAMPNS, 1)
    port: Any = BatchPort._fromListeningDescriptor(  # type: ignore[no-untyped-call]
        reactor, fd, family, protocol, MAX_DATAGRAM_BYTES
    )
    port.startListening()


def open_udp(
    reactor: IReactorSocket,
    protocol: DatagramTransport,
    host: str,
    port: int,
    *,
    buffer_bytes: int,
    reuse_port: bool = False,
) -> None:
    """
    Bind a socket and give it to the reactor.

    The socket is ours so that it has large buffers from the start: with the system's default a burst
    overflows it while the processor is idle.

    :param port: 0 lets the system choose.
    :param reuse_port: several processes share the port; the kernel keeps a source on one of them.
    :raise CannotListen: with a sentence that says why.
    """
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as sock:
            if kind == socket.AF_INET6:
                # IPv4 has its own listener: mapped addresses would make every check twice as hard.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _set_buffers(sock, buffer_bytes)
            sock.setblocking(False)
            sock.bind((host, port))
            _adopt(reactor, sock, kind, protocol)
    except (OSError, OverflowError) as error:
        raise CannotListen(f"udp:{host}:{port}: {reason_of(error)}") from error


def attach_filter(sock: socket.socket, instructions: Sequence[Instruction]) -> None:
    """
    Let the kernel drop datagrams at the socket by a program of classic BPF, instead of by an earlier one.

    :param instructions: operation, jumps and operand each; none: nothing is dropped any more.
    :raise OSError: this system takes no such program, or no so long one.
    """
    if not instructions:
        with suppress(OSError):  # there was none
            sock.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
        return
    program = ctypes.create_string_buffer(b"".join([struct.pack("HBBI", *one) for one in instructions]))
    pointer = struct.pack("HP", len(instructions), ctypes.addressof(program))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, pointer)


def dropped_by(sock: socket.socket) -> int:
    """Datagrams that the kernel dropped at the socket: by its program, or because its buffer was full."""
    try:
        facts = sock.getsockopt(socket.SOL_SOCKET, _MEMORY_FACTS, 4 * _FACTS)
    except OSError:
        return 0
    return int.from_bytes(facts[4 * _DROPS : 4 * _DROPS + 4], sys.byteorder)


def _set_buffers(sock: socket.socket, wanted_bytes: int) -> None:
    """Set both buffers; say so when the kernel gives less."""
    for option, name in ((socket.SO_RCVBUF, "receive"), (socket.SO_SNDBUF, "send")):
        sock.setsockopt(socket.SOL_SOCKET, option, wanted_bytes)
        # Linux doubles what it was asked for, for its own overhead, and reports the double.
        if sock.getsockopt(socket.SOL_SOCKET, option) >= 2 * wanted_bytes:
            continue
        try:
            sock.setsockopt(socket.SOL_SOCKET, _FORCE[option], wanted_bytes)
        except OSError:
            _log.warn(
                "the kernel gives a {name} buffer of {got} bytes instead of {wanted}: bursts will lose "
                "messages; raise net.core.{key} to {wanted}",
                name=name,
                got=sock.getsockopt(socket.SOL_SOCKET, option) // 2,
                wanted=wanted_bytes,
                key="rmem_max" if option == socket.SO_RCVBUF else "wmem_max",
            )
