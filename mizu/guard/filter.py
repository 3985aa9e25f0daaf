"""What is thrown away before the parser sees it: banned senders, sizes and first bytes that cannot be SIP,
senders that are too fast, scanners that name themselves. Cheap and silent: what is dropped gets no answer and
no log line, only a count."""

import re
from collections.abc import Callable, Container, Iterable

from mizu.guard.doubt import Doubt
from mizu.guard.limits import TokenBuckets, rate_key

#: The shortest message that could be one: ``A a SIP/2.0`` with its line ends.
SMALLEST_BYTES = 15

_TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~"

#: By value of the first byte: may a SIP message begin so? A token (RFC 3261 25.1), or the line ends that
#: 7.5 allows before a start line.
MAY_BEGIN = bytes(byte in _TOKEN or byte in b"\r\n" for byte in range(256))

_AGENT_BYTES = 200  # of a User-Agent line that are looked at
_AGENTS_MAX = 1000  # different User-Agent lines whose verdict is remembered

_NONCE = re.compile(rb'nonce="([0-9a-f]{16,200})"')


def _proves_nothing(nonce: str, host: str) -> bool:
    return False


def _nobody_is_known(host: str) -> bool:
    return False


def _nobody_counts(host: str) -> None:
    """Nobody counts."""


class Gate:
    """
    The checks in front of the parser, in the order of their price.

    The containers are asked with ``in``: ``banned``, ``trusted`` and ``doubtful`` for an address text
    (IPv4-mapped addresses as IPv4), ``agents`` for (address, port). A trusted sender is neither banned nor
    slowed down, but his sizes are checked.
    """

    def __init__(
        self,
        *,
        message_bytes: int,
        now: Callable[[], float],
        banned: Container[str] = frozenset(),
        trusted: Container[str] = frozenset(),
        doubtful: Container[str] = frozenset(),
        known: Callable[[str], bool] = _nobody_is_known,
        agents: Container[tuple[str, int]] = frozenset(),
        proves: Callable[[str, str], bool] = _proves_nothing,
        on_proof: Callable[[str], None] = _nobody_counts,
        addresses_max: int = 100_000,
    ) -> None:
        """
        :param message_bytes: largest message.
        :param now: monotonic seconds.
        :param doubtful: banned for what somebody else may have sent: who proves himself comes through, and
            whom :class:`~mizu.guard.doubt.Doubt` lets through.
        :param known: whether this address may send more than others.
        :param proves: whether a nonce was sent to an address (nonce, address).
        :param on_proof: told of an address that came through by such a nonce.
        :param addresses_max: senders whose rate is known at a time.
        """
        self._message_bytes = message_bytes
        self._now = now
        self._banned = banned
        self._trusted = trusted
        self._doubtful = doubtful
        self._agents = agents
        self._known = known
        self._proves = proves
        self._on_proof = on_proof
        self._doubt = Doubt()
        self._addresses_max = addresses_max
        self._rates = (0.0, 1)
        self._buckets: TokenBuckets | None = None
        self._more: TokenBuckets | None = None  # for those who are known, when the others are empty
        self._scanners: tuple[bytes, ...] = ()
        self._judged: dict[bytes, bool] = {}  # User-Agent line -> is it a scanner's; peers repeat themselves
        self.dropped = dict.fromkeys(("banned", "size", "first_byte", "rate", "scanner", "connection"), 0)
        self.garbage: dict[str, int] = {}  #: malformed messages by their code

    def know_scanners(self, names: Iterable[str]) -> None:
        """Drop what has one of these words in its User-Agent, from now on. None: nothing is looked for."""
        self._scanners = tuple([name.lower().encode() for name in names if name])
        self._judged = {}

    def limit_doubtful(self, rate_per_s: float, pause_s: float) -> None:
        """How many messages of a doubtful sender come through, see :meth:`Doubt.limit_rate`."""
        self._doubt.limit_rate(rate_per_s, pause_s)

    def limit_rate(self, rate_per_s: float, known_factor: int = 1) -> None:
        """
        From now on let so many messages a second through from one sender, from known ones ``known_factor``
        times as many; 0: any number. Every sender begins anew when that is a change.
        """
        if (rate_per_s, known_factor) == self._rates:
            return
        self._rates = (rate_per_s, known_factor)
        more = rate_per_s * (known_factor - 1)
        self._buckets = TokenBuckets(rate_per_s, limit=self._addresses_max) if rate_per_s > 0 else None
        self._more = TokenBuckets(more, limit=self._addresses_max) if more > 0 else None

    def admit(self, host: str, size_bytes: int, first: bytes, port: int = 0) -> bool:
        """
        Whether a datagram may go to the parser.

        :param host: numeric address of the sender.
        :param first: how it begins, at least one byte; may be all of it.
        """
        if host in self._banned and host not in self._trusted:
            self.dropped["banned"] += 1
            return False
        if self._agents and (host, port) in self._agents and host not in self._trusted:
            self.dropped["banned"] += 1
            return False
        if not SMALLEST_BYTES <= size_bytes <= self._message_bytes:
            self.dropped["size"] += 1
            return False
        if not MAY_BEGIN[first[0]]:
            self.dropped["first_byte"] += 1
            return False
        if self._scanners and self._is_scanner(first) and host not in self._trusted:
            self.dropped["scanner"] += 1
            return False
        if host in self._doubtful and host not in self._trusted and not self._comes_through(host, first):
            self.dropped["banned"] += 1
            return False
        return self._buckets is None or self._in_time(host)

    def _is_scanner(self, data: bytes) -> bool:
        # Spelled as all of these programs spell it: this is looked at in every datagram.
        at = data.find(b"\nUser-Agent:")
        if at < 0:
            return False
        line = data[at : at + _AGENT_BYTES].partition(b"\r")[0]
        judged = self._judged.get(line)
        if judged is None:
            if len(self._judged) >= _AGENTS_MAX:
                self._judged.clear()
            lower = line.lower()
            judged = self._judged[line] = any(word in lower for word in self._scanners)
        return judged

    def _comes_through(self, host: str, data: bytes) -> bool:
        """A sender who is banned in doubt."""
        if self._shows_proof(host, data):
            self._on_proof(host)
            return True
        return self._doubt.admit(host, data, self._now(), known=self._known(host))

    def _shows_proof(self, host: str, data: bytes) -> bool:
        """Credentials with a nonce of ours that was sent to this very address cannot be forged."""
        at = data.find(b' nonce="')  # not "cnonce"
        if at < 0:
            at = data.find(b',nonce="')
        found = _NONCE.match(data, at + 1) if at >= 0 else None
        return found is not None and self._proves(found[1].decode(), host)

    def admit_connection(self, host: str) -> bool:
        """Whether a TCP or TLS connection from this address may be accepted."""
        if host in self._banned and host not in self._trusted:
            self.dropped["connection"] += 1
            return False
        return True

    def admit_framed(self, host: str, port: int = 0) -> bool:
        """Whether one more message of an accepted connection may be handled (bans may be newer than it)."""
        if (host in self._banned or (self._agents and (host, port) in self._agents)) and (
            host not in self._trusted
        ):
            self.dropped["banned"] += 1
            return False
        return self._buckets is None or self._in_time(host)

    def _in_time(self, host: str) -> bool:
        assert self._buckets is not None
        key, now_s = rate_key(host), self._now()
        if host in self._trusted or self._buckets.take(key, now_s):
            return True
        if self._more is not None and self._known(host) and self._more.take(key, now_s):
            return True
        self.dropped["rate"] += 1
        return False

    def note_garbage(self, host: str, port: int, code: str) -> None:
        """A message from there could not be parsed; ``code`` is the stable word of the error."""
        self.garbage[code] = self.garbage.get(code, 0) + 1
