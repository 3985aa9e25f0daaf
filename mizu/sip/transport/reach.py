"""By which of our addresses a peer reaches us."""

import re
import socket
from collections.abc import Callable
from ipaddress import ip_address

from mizu.sip.locate import numeric_host

CACHED_MAX = 4096
CACHED_S = 30.0
_old_spelling = re.compile(r"(?:0x)?[0-9a-f]+(?:\.(?:0x)?[0-9a-f]+){0,3}").fullmatch


def family_of(host: str) -> int:
    """4 or 6 for a numeric address, 0 for anything else."""
    kind, text = (socket.AF_INET6, host.partition("%")[0]) if ":" in host else (socket.AF_INET, host)
    try:
        socket.inet_pton(kind, text)
    except (OSError, ValueError, UnicodeError):
        return 0
    return 6 if kind == socket.AF_INET6 else 4


def plain_host(host: str) -> str:
    """A numeric address in its one spelling: IPv4-mapped IPv6 as IPv4, no brackets."""
    if ":" not in host:
        return host
    address = ip_address(host.strip("[]"))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def meant_address(host: str) -> str:
    """
    The address that a host written by somebody else stands for without a question to anybody: in the old
    spellings too that system calls understand (``127.1``, ``0x7f000001``), and for ``localhost``. ``""``:
    it is a name.
    """
    host = host.strip("[]").lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 6.3
        return "127.0.0.1"
    address = numeric_host(host)
    if address or not _old_spelling(host):
        return address
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return ""


class LocalAddresses:
    """
    Asks the kernel which source address it would use towards a peer (``connect`` on a UDP socket sends
    nothing). Answers are kept for half a minute, and for at most 4,096 peers, because routes change.
    """

    def __init__(self, now: Callable[[], float], ask: Callable[[str], str] | None = None) -> None:
        """
        :param now: monotonic seconds.
        :param ask: instead of the kernel, for tests.
        """
        self._now = now
        self._ask = ask or self._ask_kernel
        self._known: dict[str, str] = {}
        self._forget_at_s = 0.0

    def towards(self, host: str) -> str:
        """Our address as ``host`` (numeric) sees it; ``""`` when there is no way to it."""
        now_s = self._now()
        if now_s >= self._forget_at_s or len(self._known) >= CACHED_MAX:
            self._known.clear()
            self._forget_at_s = now_s + CACHED_S
        local = self._known.get(host)
        if local is None:
            local = self._known[host] = self._ask(host)
        return local

    @staticmethod
    def _ask_kernel(host: str) -> str:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(kind, socket.SOCK_DGRAM) as probe:
                probe.connect((host, 9))
                return str(probe.getsockname()[0])
        except (OSError, ValueError, UnicodeError):
            return ""
