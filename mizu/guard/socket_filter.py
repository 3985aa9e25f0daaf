"""Programs that drop datagrams in the kernel, at the socket, before the process is woken for them. Pure.

They drop what the gate (:mod:`mizu.guard.filter`) would drop for its sender, its first byte or its size. The
language is that of classic BPF (``Documentation/networking/filter.rst`` of Linux); a program of a UDP socket
sees a datagram from its UDP header on.
"""

from collections.abc import Sequence

from mizu.guard.filter import MAY_BEGIN, SMALLEST_BYTES
from mizu.targets import Target

Instruction = tuple[int, int, int, int]  #: operation, jump if true, jump if false, operand
Span = tuple[int, int]  #: from, to

LENGTH, BYTE, HALF, WORD = 0x80, 0x30, 0x28, 0x20  # load: size of the packet, what is at an offset
AND = 0x54
JUMP, EQUAL, AT_LEAST, ABOVE = 0x05, 0x15, 0x35, 0x25
END = 0x06
PASS, DROP = 0xFFFFFFFF, 0
_GO_ON = 1  # stands for a jump behind the block

_UDP_HEADER_BYTES = 8
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from the beginning of the IP header
_SOURCE = {4: _NETWORK + 12, 6: _NETWORK + 8}
_WORD_BITS = 32

#: Bans of one user agent in a program: each costs a comparison for every datagram.
AGENTS_MAX = 64
#: The kernel takes no longer one.
INSTRUCTIONS_MAX = 4096


def program(
    version: int, banned: Sequence[Target], trusted: Sequence[Target], message_bytes: int
) -> list[Instruction]:
    """
    What drops these senders, and what cannot be SIP, from a socket of IP version 4 or 6.

    :param trusted: never dropped for who they are, whatever else they are in.
    :param message_bytes: largest message.
    """
    found = _shapes(message_bytes)
    mine = [target for target in banned if target.version == version]
    ours = [target for target in mine if not target.port]
    agents = [target for target in mine if target.port][-AGENTS_MAX:]
    known = [target for target in trusted if target.version == version and not target.port]
    if version == 4:
        found.append((WORD, 0, 0, _SOURCE[4]))
        found += _then(_search(_spans(known), PASS, _GO_ON))
        found += _then(_search(_spans(ours), DROP, _GO_ON))
        for agent in agents:
            source = [(WORD, 0, 0, _SOURCE[4]), (EQUAL, 0, 0, agent.first)]
            found += _all([*source, *_port(agent)], DROP)
    else:
        for targets, verdict in ((known, PASS), (ours, DROP)):
            for target in targets:
                for shift, number in target.prefixes():
                    found += _all(_prefix(number << shift, 128 - shift), verdict)
        for agent in agents:
            found += _all([*_prefix(agent.first, 128), *_port(agent)], DROP)
    found.append((END, 0, 0, PASS))
    return found


def _shapes(message_bytes: int) -> list[Instruction]:
    """Sizes and first bytes. What is too short is left to the process, which knows keep-alives."""
    first_bytes = _spans_of([value for value in range(256) if MAY_BEGIN[value]])
    checks = [
        (ABOVE, 0, 1, min(message_bytes + _UDP_HEADER_BYTES, 0xFFFFFFFF)),
        (END, 0, 0, DROP),
        (BYTE, 0, 0, _UDP_HEADER_BYTES),
        *_then(_search(first_bytes, _GO_ON, DROP)),
    ]
    return [
        (LENGTH, 0, 0, 0),
        (AT_LEAST, 1, 0, SMALLEST_BYTES + _UDP_HEADER_BYTES),
        (JUMP, 0, 0, len(checks)),
        *checks,
    ]


def _spans_of(numbers: Sequence[int]) -> list[Span]:
    return _merged([(number, number) for number in numbers])


def _spans(targets: Sequence[Target]) -> list[Span]:
    return _merged([(target.first, target.last) for target in targets])


def _merged(spans: list[Span]) -> list[Span]:
    """In order, none touching another."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _search(spans: Sequence[Span], hit: int, miss: int) -> list[Instruction]:
    """Is what is loaded in one of the spans? By halves: every way through ends in ``hit`` or ``miss``."""
    if not spans:
        return [(END, 0, 0, miss)]
    if len(spans) == 1:
        first, last = spans[0]
        ends = [(END, 0, 0, hit), (END, 0, 0, miss)]
        if first == last:
            return [(EQUAL, 0, 1, first), *ends]
        return [(AT_LEAST, 0, 2, first), (ABOVE, 1, 0, last), *ends]
    middle = len(spans) // 2
    low, high = _search(spans[:middle], hit, miss), _search(spans[middle:], hit, miss)
    return [(AT_LEAST, 0, 1, spans[middle][0]), (JUMP, 0, 0, len(low)), *low, *high]


def _then(block: list[Instruction]) -> list[Instruction]:
    """The block with a jump behind it wherever it says to go on."""
    return [
        (JUMP, 0, 0, len(block) - 1 - place) if one == (END, 0, 0, _GO_ON) else one
        for place, one in enumerate(block)
    ]


def _prefix(number: int, bits: int) -> list[Instruction]:
    """Comparisons with an IPv6 network, word for word; see :func:`_all`."""
    found: list[Instruction] = []
    for place in range(0, bits, _WORD_BITS):
        value = number >> (128 - _WORD_BITS - place) & 0xFFFFFFFF
        found.append((WORD, 0, 0, _SOURCE[6] + place // 8))
        if bits - place < _WORD_BITS:
            mask = 0xFFFFFFFF << (_WORD_BITS - bits + place) & 0xFFFFFFFF
            found.append((AND, 0, 0, mask))
            value &= mask
        found.append((EQUAL, 0, 0, value))
    return found


def _port(agent: Target) -> list[Instruction]:
    """Comparison with the port that it sends from."""
    return [(HALF, 0, 0, 0), (EQUAL, 0, 0, agent.port)]


def _all(comparisons: list[Instruction], verdict: int) -> list[Instruction]:
    """The verdict, if every comparison says equal; what comes behind, if not."""
    size = len(comparisons)
    found = [
        (operation, 0, size - place if operation == EQUAL else 0, operand)
        for place, (operation, _, _, operand) in enumerate(comparisons)
    ]
    return [*found, (END, 0, 0, verdict)]
