"""Programs at the sockets drop what the gate would drop, and nothing else."""

import socket
import sys
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from mizu.guard import socket_filter
from mizu.guard.filter import Gate
from mizu.guard.socket_bans import SocketBans
from mizu.guard.socket_filter import INSTRUCTIONS_MAX, program
from mizu.guard.table import AddressTable
from mizu.sip.transport.udp_socket import attach_filter, dropped_by
from mizu.targets import Target, parse_target

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes programs at sockets so")


def passes(instructions, source: str, payload: bytes, port: int = 5060) -> bool:
    """What the kernel would say: an interpreter of classic BPF, as far as these programs use it."""
    address = ip_address(source)
    packet = port.to_bytes(2) + bytes(6) + payload
    offset = 0x100000000 - socket_filter._NETWORK
    network = {4: bytes(12), 6: bytes(8)}[address.version] + address.packed + bytes(40)

    def load(size: int, at: int) -> int:
        place = (network, at + offset - 0x100000000) if at >= socket_filter._NETWORK else (packet, at)
        data, begin = place
        assert 0 <= begin <= len(data) - size
        return int.from_bytes(data[begin : begin + size])

    register, at = 0, 0
    while True:
        operation, yes, no, operand = instructions[at]
        at += 1
        match operation:
            case socket_filter.LENGTH:
                register = len(packet)
            case socket_filter.BYTE:
                register = load(1, operand)
            case socket_filter.HALF:
                register = load(2, operand)
            case socket_filter.WORD:
                register = load(4, operand)
            case socket_filter.AND:
                register &= operand
            case socket_filter.JUMP:
                at += operand
            case socket_filter.EQUAL:
                at += yes if register == operand else no
            case socket_filter.AT_LEAST:
                at += yes if register >= operand else no
            case socket_filter.ABOVE:
                at += yes if register > operand else no
            case socket_filter.END:
                return operand != socket_filter.DROP
            case _:
                raise AssertionError(operation)


def targets(texts: list[str]) -> list[Target]:
    return [parse_target(text) for text in texts]


def gate_of(banned: list[Target], trusted: list[Target], message_bytes: int) -> Gate:
    tables = []
    for some in (banned, trusted):
        table = AddressTable()
        for target in some:
            table.add(target)
        tables.append(table)
    return Gate(message_bytes=message_bytes, now=lambda: 0.0, banned=tables[0], trusted=tables[1])


fours = st.integers(0, 40).map(lambda n: f"10.0.{n // 8}.{n % 8 * 36}")
sixes = st.integers(0, 30).map(lambda n: f"2001:db8:{n % 3}:{n % 5}::{n:x}")
some_four = st.one_of(
    fours, st.tuples(fours, st.integers(20, 32)).map("{0[0]}/{0[1]}".format), st.just("10.0.1.3-10.0.3.40")
)
some_six = st.one_of(
    sixes,
    st.tuples(sixes, st.integers(30, 128)).map("{0[0]}/{0[1]}".format),
    st.just("2001:db8::5-2001:db8::77"),
)
payloads = st.one_of(
    st.binary(min_size=15, max_size=60), st.just(b"OPTIONS sip:x SIP/2.0\r\n\r\n"), st.just(b"x" * 1020)
)


@pytest.mark.parametrize("version", [4, 6])
def test_a_program_says_what_the_gate_says(version):
    """For any bans and white list, networks and ranges too, whoever sends whatever could be a message."""
    some, host = (some_four, fours) if version == 4 else (some_six, sixes)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(some, max_size=12), st.lists(some, max_size=3), host, payloads)
    def check(banned, trusted, source, payload):
        bans, known = targets(banned), targets(trusted)
        instructions = program(version, bans, known, 1000)
        assert all(0 <= jump < 256 for one in instructions for jump in one[1:3])
        gate = gate_of(bans, known, 1000)
        assert passes(instructions, source, payload) == gate.admit(source, len(payload), payload)

    check()


def test_keep_alives_are_left_to_the_process():
    """It counts them, and knows those that keep a path through NAT open."""
    instructions = program(4, [], [], 1000)
    assert all(passes(instructions, "10.0.0.1", data) for data in (b"", b"\r\n\r\n", b"\0", b"\0" * 14))
    assert not passes(instructions, "10.0.0.1", b"\0" * 15)


@pytest.mark.parametrize(("host", "other"), [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")])
def test_one_user_agent_is_dropped_and_its_neighbours_are_not(host, other):
    """By address and port, the newest ones; a white-listed address is never dropped."""
    version = ip_address(host).version
    agent = f"[{host}]" if version == 6 else host
    hello = b"OPTIONS sip:x SIP/2.0"
    instructions = program(version, targets([f"{agent}:5061", f"{agent}:5060"]), [], 1000)
    found = [passes(instructions, *one) for one in ((host, hello, 5060), (host, hello, 5061))]
    assert found == [False, False]
    assert passes(instructions, host, hello, 5062)
    assert passes(instructions, other, hello, 5060)
    assert passes(program(version, targets([f"{agent}:5060"]), targets([host]), 1000), host, hello)
    many = targets([f"{agent}:{6000 + number}" for number in range(100)])
    instructions = program(version, many, [], 1000)
    assert [passes(instructions, host, hello, port) for port in (6000, 6099)] == [True, False]


def test_bans_of_the_other_version_are_no_part_of_a_program():
    """Sockets are of one version."""
    banned = targets(["10.0.0.1", "2001:db8::/32"])
    assert program(4, banned, [], 1000) == program(4, banned[:1], [], 1000)
    assert program(6, banned, [], 1000) == program(6, banned[1:], [], 1000)


@linux
def test_the_most_bans_there_may_be_fit():
    """As many as the setting takes, of the form that needs most, are a program that the kernel takes."""
    bans = targets([f"10.{n // 100}.{n % 100}.8-10.{n // 100}.{n % 100}.13" for n in range(600)])
    instructions = program(4, bans, targets(["127.0.0.1", "192.0.2.0/24"]), 65_535)
    assert len(instructions) <= INSTRUCTIONS_MAX
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        attach_filter(sock, instructions)


@linux
def test_the_kernel_drops_by_it_and_counts():
    """A real socket: the banned sender is not heard, the other one is; without a program both are."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(2.0)
        attach_filter(server, program(4, targets(["127.0.0.66"]), [], 1000))

        def send(source: str, data: bytes) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.bind((source, 0))
                client.sendto(data, server.getsockname())

        hello = b"OPTIONS sip:x SIP/2.0\r\n\r\n"
        send("127.0.0.66", hello)
        send("127.0.0.1", b"\0" * 100)
        send("127.0.0.1", b"A" * 1001)
        send("127.0.0.1", hello)
        assert server.recvfrom(100)[1][0] == "127.0.0.1"
        assert dropped_by(server) == 3
        attach_filter(server, ())
        send("127.0.0.66", hello)
        assert server.recvfrom(100)[1][0] == "127.0.0.66"


class Kernel:
    """Takes programs up to a length."""

    def __init__(self, longest: int = INSTRUCTIONS_MAX) -> None:
        self.longest = longest
        self.programs: list[tuple] = []

    def attach(self, four, six) -> bool:
        if max(len(four), len(six)) > self.longest:
            return False
        self.programs.append((four, six))
        return True

    def lets_in(self, source: str) -> bool:
        return passes(self.programs[-1][":" in source], source, b"OPTIONS sip:x SIP/2.0")


def make(kernel: Kernel, most: int = 100) -> tuple[SocketBans, Clock]:
    clock = Clock()
    return SocketBans(kernel.attach, clock, message_bytes=1000, most=most), clock


def test_bans_are_put_in_together_and_taken_out_at_once():
    """A flood of bans costs a program each tenth of a second; who is let in again is heard at once."""
    kernel = Kernel()
    bans, clock = make(kernel)
    bans.whitelist(["10.0.0.9"])
    bans.begin([("10.0.0.1", None), ("2001:db8::/64", 60.0)])
    clock.advance(0)
    assert len(kernel.programs) == 1
    for number in range(2, 50):
        bans.ban(f"10.0.0.{number}", 300.0)
    clock.advance(0.05)
    assert len(kernel.programs) == 1
    clock.advance(0.06)
    assert len(kernel.programs) == 2
    found = [kernel.lets_in(one) for one in ("10.0.0.1", "10.0.0.49", "2001:db8::7", "10.0.0.9", "10.0.0.50")]
    assert found == [False, False, False, True, True]
    bans.unban("10.0.0.1")
    bans.unban("10.9.9.9")
    clock.advance(0)
    assert kernel.lets_in("10.0.0.1")
    bans.ban("10.0.0.1", None)
    bans.close()
    assert not clock.getDelayedCalls()


def test_the_newest_bans_are_in_and_no_more_than_the_kernel_takes():
    """Where it takes none at all, the process goes on alone."""
    kernel = Kernel(longest=150)
    bans, clock = make(kernel)
    bans.begin([(f"10.0.{number}.1", None) for number in range(100)])
    clock.advance(0)
    assert not kernel.lets_in("10.0.0.1")  # the one that lasts longest
    assert kernel.lets_in("10.0.99.1")
    bans.ban("10.0.99.1", None)
    clock.advance(0.2)
    assert not kernel.lets_in("10.0.99.1")
    deaf = Kernel(longest=0)
    bans, clock = make(deaf)
    bans.begin([("10.0.0.1", None)])
    clock.advance(0)
    assert deaf.programs == [((), ())]
    deaf.longest = INSTRUCTIONS_MAX  # it lacked memory
    bans.ban("10.0.0.2", None)
    clock.advance(0.2)
    assert not deaf.lets_in("10.0.0.1")
