"""The few edits the switch makes to session descriptions: the address of a phone behind NAT, and the
origin line when a leg is connected to somebody else. All else passes byte by byte.
"""

import re
from ipaddress import ip_address, ip_network

from mizu.errors import MizuError
from mizu.sip.sdp import Sdp

_ORIGIN = re.compile(rb"^o=(\S+) (\S+) (\S+) ([^\r\n]*)", re.MULTILINE)
_DIRECTION = re.compile(rb"^a=(sendonly|recvonly|inactive)\r?\n", re.MULTILINE)


#: RFC 1918, RFC 6598 (carriers' NAT), loopback, link-local, RFC 4193. Not ``is_private``, which has more.
_PRIVATE = tuple(
    ip_network(net)
    for net in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "::1/128",
        "fe80::/10",
        "fc00::/7",
    )
)


def is_private(host: str) -> bool:
    """An address that nobody outside its own network can send to."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in net for net in _PRIVATE)


def fixed_address(body: bytes, source_host: str) -> bytes:
    """
    The description with private addresses replaced by where the phone's packets come from. Untouched when
    it has none, when the phone itself is in that network, or when it cannot be read (the callee will judge).
    """
    try:
        sdp = Sdp.parse(body)
        hosts = set(sdp.addresses)
        if not any(is_private(host) and host != source_host for host in hosts):
            return body
        sdp.rewrite_address(source_host)
        return sdp.to_bytes()
    except (MizuError, ValueError):
        return body


def same_media(one: bytes, other: bytes) -> bool:
    """Do two descriptions say the same, apart from their origin lines (and so their versions)?"""
    return _ORIGIN.sub(b"", one) == _ORIGIN.sub(b"", other)


def without_hold(body: bytes) -> bytes:
    """The description with every stream in both directions (RFC 3264 6.1: absent means ``sendrecv``)."""
    return _DIRECTION.sub(b"", body)


def continued(previous: bytes, body: bytes) -> bytes:
    """
    ``body`` as the next description in a session whose last one was ``previous`` (RFC 3264 8): same origin,
    version one higher if anything changed. For a leg whose peer was replaced.
    """
    old, new = _ORIGIN.search(previous), _ORIGIN.search(body)
    if old is None or new is None or not old[3].isdigit():
        return body
    if same_media(previous, body):
        return previous
    origin = b"o=%s %s %d %s" % (old[1], old[2], int(old[3]) + 1, old[4])
    return body[: new.start()] + origin + body[new.end() :]
