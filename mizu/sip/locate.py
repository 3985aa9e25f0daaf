"""Where a request goes: RFC 3263 as steps. Pure: it says which DNS questions to ask and is given the answers.

``maddr`` of a URI is not followed: it exists for multicast and lets whoever writes a Contact aim our requests
at a third party.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from random import Random

from mizu.sip.flow import Hop
from mizu.sip.grammar import BadMessage
from mizu.sip.uri import SipUri

#: A DNS answer may hold thousands of records; so many of each kind are looked at, the rest is ignored.
NAPTR_MAX = 16
SRV_MAX = 32
ADDRESSES_MAX = 16
HOPS_MAX = 32

DEFAULT_PORT = {"udp": 5060, "tcp": 5060, "tls": 5061}

#: NAPTR services (RFC 3263 4.1, RFC 3861) that we can speak.
_NAPTR_PROTO = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
_SRV_PREFIX = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}
_SRV_PROTO = {prefix: proto for proto, prefix in _SRV_PREFIX.items()}


@dataclass(frozen=True, slots=True)
class Query:
    """One DNS question."""

    type: str  #: ``NAPTR``, ``SRV``, ``A`` or ``AAAA``
    name: str  #: lower case, without the dot at the end


@dataclass(frozen=True, slots=True)
class Naptr:
    """A NAPTR record (RFC 3403)."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Srv:
    """A SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


Record = Naptr | Srv | str  #: a ``str`` is a numeric address
Answers = Mapping[Query, Sequence[Record]]  #: a question without an entry: no answer was to be had
Steps = Generator[list[Query], Answers, list[Hop]]


def numeric_host(host: str) -> str:
    """The address in its plain spelling (IPv4-mapped IPv6 as IPv4), ``""`` when it is a name."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def locate(uri: str, reaches: Collection[tuple[str, int]], random: Random) -> Steps:
    """
    Find the hops of a SIP URI (RFC 3263 4).

    A generator: it yields lists of questions that may be asked at the same time, is sent the answers, and
    returns the hops in the order of trial; none for what cannot be reached. A numeric host needs no question.

    :param reaches: (protocol, 4 or 6) of what we can send with.
    :param random: for SRV weights and the order of equal addresses.
    """
    try:
        target = SipUri.parse(uri)
    except BadMessage:
        return []
    wanted = _wanted_proto(target)
    if wanted is None:
        return []
    secure = target.scheme == "sips"
    address = numeric_host(target.host)
    if address or target.port is not None:
        proto = wanted or ("tls" if secure else "udp")
        name = target.host.lower().rstrip(".")
        port = target.port if target.port is not None else DEFAULT_PORT[proto]
        if address:
            return _usable([Hop(proto, address, port, _tls_name(proto, address))], reaches)
        return (yield from _addresses([(proto, name, port)], name, reaches, random))
    return (yield from _by_name(target.host.lower().rstrip("."), wanted, secure, reaches, random))


def _wanted_proto(target: SipUri) -> str | None:
    """The protocol the URI asks for; ``""``: none in particular; ``None``: one that we do not speak."""
    wanted = target.transport
    if target.scheme == "sips":
        # RFC 5630 3.1: SIPS over whatever transport is that transport with TLS; there is no DTLS here.
        return "tls" if wanted in ("", "tcp", "tls") else None
    return wanted if wanted in ("", "udp", "tcp", "tls") else None


def _by_name(
    name: str, wanted: str, secure: bool, reaches: Collection[tuple[str, int]], random: Random
) -> Steps:
    """A name without a port: NAPTR unless the protocol is settled, then SRV, then addresses."""
    speak = {proto for proto, _ in reaches}
    services: list[tuple[str, str]] = []  # (protocol, name to ask SRV for), best first
    if wanted:
        services = [(wanted, _SRV_PREFIX[wanted] + name)]
    else:
        question = Query("NAPTR", name)
        answers = yield [question]
        services = _naptr_services(answers.get(question, ()), secure, speak)
        if not services:
            # 4.1: no NAPTR; SRV of every protocol that may be used, the safest first.
            order = ("tls",) if secure else ("udp", "tcp", "tls")
            services = [(proto, _SRV_PREFIX[proto] + name) for proto in order if proto in speak]
    questions = [Query("SRV", srv_name) for _, srv_name in services]
    answers = (yield questions) if questions else {}
    targets: list[tuple[str, str, int]] = []
    absent = False
    for (proto, _), question in zip(services, questions, strict=True):
        records = [record for record in answers.get(question, ()) if isinstance(record, Srv)][:SRV_MAX]
        absent = absent or any(record.target in ("", ".") for record in records)
        for record in srv_order(records, random):
            targets.append((proto, record.target.lower().rstrip("."), record.port))
    if not targets:
        if absent:
            return []  # RFC 2782: a target of "." says that the service is decidedly not there
        proto = wanted or ("tls" if secure else "udp")
        targets = [(proto, name, DEFAULT_PORT[proto])]
    return (yield from _addresses(targets, name, reaches, random))


def _naptr_services(records: Sequence[Record], secure: bool, speak: Collection[str]) -> list[tuple[str, str]]:
    found = []
    for record in records[:NAPTR_MAX]:
        if not isinstance(record, Naptr) or record.flags.lower() != "s":
            continue
        proto = _NAPTR_PROTO.get(record.service.upper())
        if proto is None or proto not in speak or (secure and proto != "tls"):
            continue
        srv_name = record.replacement.lower().rstrip(".")
        if srv_name:
            found.append((record.order, record.preference, proto, srv_name))
    found.sort(key=lambda one: one[:2])
    return [(proto, srv_name) for _, _, proto, srv_name in found]


def srv_order(records: Sequence[Srv], random: Random) -> list[Srv]:
    """Records in the order of trial: by priority, within one drawn by weight (RFC 2782). No ``.`` targets."""
    by_priority: dict[int, list[Srv]] = {}
    for record in records:
        if record.target not in ("", ".") and 0 < record.port < 65536:
            by_priority.setdefault(record.priority, []).append(record)
    ordered: list[Srv] = []
    for priority in sorted(by_priority):
        left = by_priority[priority]
        # The RFC's own way of drawing favours the first record when weights are small. Tenfold weights with
        # a floor of one are exact, and leave a weight of 0 the "very small chance" it shall have.
        shares = [10 * record.weight or 1 for record in left]
        while left:
            (index,) = random.choices(range(len(left)), shares)
            ordered.append(left.pop(index))
            del shares[index]
    return ordered


def _addresses(
    targets: list[tuple[str, str, int]], domain: str, reaches: Collection[tuple[str, int]], random: Random
) -> Steps:
    """Addresses of (protocol, host, port), all asked for at once. Certificates are checked for ``domain``."""
    targets = targets[:HOPS_MAX]
    versions = {version for _, version in reaches}
    types = [kind for kind, version in (("A", 4), ("AAAA", 6)) if version in versions]
    names = dict.fromkeys(name for _, name, _ in targets if not numeric_host(name))
    questions = [Query(kind, name) for name in names for kind in types]
    answers = (yield questions) if questions else {}
    hops: list[Hop] = []
    for proto, name, port in targets:
        # RFC 5922 4: the certificate must be for the domain of the URI, not for the host that SRV names.
        tls_name = _tls_name(proto, domain)
        literal = numeric_host(name)
        if literal:
            hops.append(Hop(proto, literal, port, tls_name))
        for kind in types:
            found = [one for one in answers.get(Query(kind, name), ()) if isinstance(one, str)]
            found = found[:ADDRESSES_MAX]
            random.shuffle(found)
            hops += [Hop(proto, numeric_host(one) or one, port, tls_name) for one in found]
    return _usable(hops, reaches)


def _usable(hops: list[Hop], reaches: Collection[tuple[str, int]]) -> list[Hop]:
    """Those we have a listener for, each once."""
    fitting = [hop for hop in hops if (hop.proto, 6 if ":" in hop.host else 4) in reaches and hop.port]
    return list(dict.fromkeys(fitting))[:HOPS_MAX]


def _tls_name(proto: str, name: str) -> str:
    return name if proto == "tls" else ""
