"""What the process counts about itself, and the board on which its parts report their state.

Nothing here knows Prometheus, HTTP or the reactor. Counting on the path of every message is one integer
addition; whoever shows the numbers (``mizu.web.metrics``, status page, console) translates when asked.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from mizu import native

#: seconds; answers of the switch itself (RFC 6076 RRD, SDD), 0.5 ms to 32 s = 64*T1
DELAY_BOUNDS_S = (
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
    32.0,
)
#: seconds; until a person's phone rings or refuses (RFC 6076 SRD)
SESSION_DELAY_BOUNDS_S = (
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
    32.0,
    64.0,
    128.0,
)
#: seconds; how long people talk (RFC 6076 SDT)
DURATION_BOUNDS_S = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0)

METHODS = (
    *("INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "PRACK", "UPDATE"),
    *("INFO", "MESSAGE", "REFER", "NOTIFY", "SUBSCRIBE", "PUBLISH"),
)

CHALLENGE_STATUSES = frozenset((401, 402, 407))  #: RFC 6076 4.2: not a failure, the request comes again
EFFECTIVE_STATUSES = frozenset((480, 486, 600, 603))  #: RFC 6076 4.7: the network did its part
INEFFECTIVE_STATUSES = frozenset((408, 500, 503, 504))  #: RFC 6076 4.8


class Histogram:
    """Counts of values by fixed upper bounds; the last count is of values above them all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0  #: sum of all values

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """``(upper bound, values at or below it)``, without the infinite bound."""
        below, pairs = 0, []
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += count
            pairs.append((bound, below))
        return pairs

    def quantile(self, share: float) -> float | None:
        """
        Upper bound of the bucket in which that share (0..1) of the values lies.

        :return: ``None`` without values; ``inf`` when it lies above the last bound.
        """
        wanted, below = share * self.count, 0
        if not self.count:
            return None
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            if count and below >= wanted:
                return bound
        return float("inf")


class Metrics:
    """
    The counters of one process. Add to the attributes directly; call the methods where RFC 6076 needs a rule.

    The RFC's delays are defined between user agents; here they are what the switch itself can see: from the
    request's arrival to the answer it sent, without the network between it and the phone.
    """

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "calls_refused",
        "disconnect_delay",
        "messages_bad",
        "messages_dropped",
        "messages_received",
        "messages_sent",
        "registration_delay",
        "registrations_attempted",
        "registrations_challenged",
        "registrations_ineffective",
        "registrations_ok",
        "requests",
        "requests_other",
        "responses",
        "session_delay_failed",
        "session_delay_ok",
        "session_duration",
        "sessions_attempted",
        "sessions_challenged",
        "sessions_completed",
        "sessions_effective",
        "sessions_established",
        "sessions_ineffective",
        "sessions_redirected",
    )

    def __init__(self) -> None:
        self.messages_received = 0  #: SIP messages that parsed
        self.messages_sent = 0
        self.messages_bad = 0  #: could not be parsed
        self.messages_dropped = 0  #: turned away before the parser (bans, rate, size)
        self.bytes_received = 0
        self.bytes_sent = 0
        self.calls_refused = 0  #: INVITEs refused because a limit was reached or the database was away
        self.requests = dict.fromkeys(METHODS, 0)  #: requests received, by method
        self.requests_other = 0  #: requests of methods not in ``METHODS``: a stranger cannot grow the table
        self.responses = [0] * 7  #: responses sent, index is the status's first digit
        self.registrations_attempted = 0  #: REGISTERs with a final answer
        self.registrations_ok = 0
        self.registrations_challenged = 0
        self.registrations_ineffective = 0  #: IRA, RFC 6076 4.2
        self.sessions_attempted = 0  #: INVITEs that begin a session, with a final answer
        self.sessions_established = 0
        self.sessions_redirected = 0  #: answered 3xx
        self.sessions_challenged = 0  #: answered 401, 402, 407
        self.sessions_effective = 0  #: failed with 480, 486, 600, 603
        self.sessions_ineffective = 0  #: ISA, RFC 6076 4.8
        self.sessions_completed = 0  #: established and ended by a BYE
        self.registration_delay = Histogram(DELAY_BOUNDS_S)
        self.session_delay_ok = Histogram(SESSION_DELAY_BOUNDS_S)
        self.session_delay_failed = Histogram(SESSION_DELAY_BOUNDS_S)
        self.disconnect_delay = Histogram(DELAY_BOUNDS_S)
        self.session_duration = Histogram(DURATION_BOUNDS_S)

    def request_received(self, method: str) -> None:
        if method in self.requests:
            self.requests[method] += 1
        else:
            self.requests_other += 1

    def response_sent(self, status: int) -> None:
        self.responses[status // 100 if 100 <= status < 700 else 0] += 1

    def registration_answered(self, status: int, delay_s: float) -> None:
        """A REGISTER got its final answer ``delay_s`` after it came (RFC 6076 4.1, 4.2)."""
        self.registrations_attempted += 1
        if status < 300:
            self.registrations_ok += 1
            self.registration_delay.observe(delay_s)
        elif status in CHALLENGE_STATUSES:
            self.registrations_challenged += 1
        elif status >= 400:
            self.registrations_ineffective += 1

    def registrations_counted(self, answers: Mapping[int, int]) -> None:
        """Take over totals of the registrar: REGISTERs by final status. For ``StatusBoard.feed``."""
        self.registrations_attempted = sum(answers.values())
        self.registrations_ok = sum(n for status, n in answers.items() if status < 300)
        self.registrations_challenged = sum(answers.get(status, 0) for status in CHALLENGE_STATUSES)
        self.registrations_ineffective = sum(
            n for status, n in answers.items() if status >= 400 and status not in CHALLENGE_STATUSES
        )

    @property
    def sessions_let_in(self) -> int:
        """INVITEs that were not merely asked who sends them."""
        return self.sessions_attempted - self.sessions_challenged

    def session_indicated(self, delay_s: float) -> None:
        """A caller got its first 18x, or a 200 without one, ``delay_s`` after its INVITE (RFC 6076 4.3.1)."""
        self.session_delay_ok.observe(delay_s)

    def session_answered(self, status: int, delay_s: float) -> None:
        """A new session's INVITE got its final answer after ``delay_s`` (RFC 6076 4.3.2, 4.6 to 4.8)."""
        self.sessions_attempted += 1
        if status < 300:
            self.sessions_established += 1
            return
        if status < 400:
            self.sessions_redirected += 1
        elif status in CHALLENGE_STATUSES:
            self.sessions_challenged += 1
        else:
            self.session_delay_failed.observe(delay_s)
            if status in EFFECTIVE_STATUSES:
                self.sessions_effective += 1
            elif status in INEFFECTIVE_STATUSES:
                self.sessions_ineffective += 1

    def session_ended(self, duration_s: float, *, completed: bool = True) -> None:
        """An established session is over (RFC 6076 4.5, 4.9). ``completed``: by a BYE, not by a timeout."""
        self.session_duration.observe(duration_s)
        if completed:
            self.sessions_completed += 1

    def bye_answered(self, delay_s: float) -> None:
        """A BYE of ours got its final answer, or one to us was answered, after ``delay_s`` (RFC 6076 4.4)."""
        self.disconnect_delay.observe(delay_s)

    def ratios(self) -> dict[str, float | None]:
        """
        The RFC 6076 percentages since the process began; ``None`` while there is nothing to divide by.

        Challenged INVITEs are left out of every denominator besides the redirected ones, because the same
        attempt comes again with credentials.
        """
        sessions = self.sessions_let_in
        direct = sessions - self.sessions_redirected
        registrations = self.registrations_attempted - self.registrations_challenged
        return {
            "ineffective_registration_attempts": percent(self.registrations_ineffective, registrations),
            "session_establishment_ratio": percent(self.sessions_established, direct),
            "session_establishment_effectiveness_ratio": percent(
                self.sessions_established + self.sessions_effective, direct
            ),
            "ineffective_session_attempts": percent(self.sessions_ineffective, sessions),
            "session_completion_ratio": percent(self.sessions_completed, sessions),
        }


def percent(part: int, whole: int) -> float | None:
    """``part`` of ``whole`` in percent, two decimals; ``None`` when ``whole`` is not positive."""
    return round(100.0 * part / whole, 2) if whole > 0 else None


class RateWindow:
    """Rate per second of a growing counter over the last ``window_s`` seconds, from samples of it."""

    __slots__ = ("_samples", "window_s")

    def __init__(self, window_s: float = 10.0, samples_max: int = 64) -> None:
        self.window_s = window_s
        self._samples: deque[tuple[float, int]] = deque(maxlen=samples_max)

    def sample(self, now_s: float, value: int) -> None:
        """Take the counter's value at ``now_s`` (monotonic); call about once a second."""
        samples = self._samples
        samples.append((now_s, value))
        while len(samples) > 2 and samples[1][0] <= now_s - self.window_s:
            samples.popleft()

    def per_s(self, now_s: float, value: int) -> float:
        """Rate from the oldest sample in the window to ``value`` at ``now_s``; 0 before the first sample."""
        start = next(((at, was) for at, was in self._samples if at >= now_s - self.window_s), None)
        if start is None or now_s <= start[0]:
            return 0.0
        return max(0.0, (value - start[1]) / (now_s - start[0]))


class Clock(Protocol):
    """What is needed of ``mizu.interfaces.IClock``."""

    def mono_s(self) -> float: ...

    def wall(self) -> datetime: ...


class StatusBoard:
    """
    Where the parts of the server hang up what they can say about themselves.

    A *section* is a function that gives JSON-ready facts for ``/status``; a *check* is a function that says
    why the server is not ready, or nothing. Both are called when somebody asks, must be quick and must not
    wait. A section that raises is shown as an error and hurts no other.
    """

    RATES = (
        "messages_received",
        "messages_sent",
        "messages_dropped",
        "registrations_ok",
        "sessions_let_in",
    )

    def __init__(self, clock: Clock, metrics: Metrics, version: str, node: str = "") -> None:
        self.metrics = metrics
        self.version = version
        self.node = node
        self._clock = clock
        self._started_mono_s = clock.mono_s()
        self._started_at = clock.wall()
        self._sections: dict[str, Callable[[], Any]] = {}
        self._checks: dict[str, Callable[[], str]] = {}
        self._feeds: list[Callable[[Metrics], None]] = []
        self._rates = {name: RateWindow() for name in self.RATES}
        self.sample()

    def section(self, name: str, read: Callable[[], Any]) -> None:
        """Show ``read()`` (a mapping, list, number or text) under ``name``. :raise ValueError: taken."""
        if name in self._sections or name in ("state", "version", "messages"):
            raise ValueError(f"status section {name!r} is there already")
        self._sections[name] = read

    def check(self, name: str, reason: Callable[[], str]) -> None:
        """The server is ready while ``reason()`` gives an empty text; else the text says why it is not."""
        self._checks[name] = reason

    def feed(self, update: Callable[[Metrics], None]) -> None:
        """
        Bring counters up to date from a part that counts for itself, before anybody reads them.

        ``update`` sets attributes of the metrics, and costs the path of messages nothing.
        """
        self._feeds.append(update)

    def refresh(self) -> Metrics:
        """The counters of this moment."""
        for update in self._feeds:
            update(self.metrics)
        return self.metrics

    def sample(self) -> None:
        """Take the samples that rates are made of; call once a second."""
        self.refresh()
        now_s = self._clock.mono_s()
        for name, window in self._rates.items():
            window.sample(now_s, getattr(self.metrics, name))

    def not_ready(self) -> dict[str, str]:
        """Name and reason of every check that fails; empty: ready."""
        reasons = {}
        for name, check in self._checks.items():
            try:
                reason = check()
            except Exception as error:  # a broken check must not look like a ready server
                reason = f"the check itself failed: {type(error).__name__}"
            if reason:
                reasons[name] = reason
        return reasons

    @property
    def uptime_s(self) -> float:
        return self._clock.mono_s() - self._started_mono_s

    def read(self) -> dict[str, Any]:
        """Everything, as ``/status`` shows it. Nothing secret may be hung up: anyone local can read it."""
        self.refresh()
        not_ready = self.not_ready()
        facts: dict[str, Any] = {
            "state": "not_ready" if not_ready else "ready",
            "not_ready": not_ready,
            "version": self.version,
            "compiled": native.in_use(),
            "node": self.node,
            "started_at": self._started_at.isoformat(timespec="seconds"),
            "uptime_s": round(self.uptime_s, 1),
            "messages": self._messages(),
            "rfc6076_percent": self.metrics.ratios(),
        }
        for name, section in self._sections.items():
            try:
                facts[name] = section()
            except Exception as error:
                facts[name] = {"error": type(error).__name__}
        return facts

    def per_s(self, counter: str) -> float:
        """Rate of one of :attr:`RATES` over the last ten seconds."""
        return self._rates[counter].per_s(self._clock.mono_s(), getattr(self.metrics, counter))

    def _messages(self) -> Mapping[str, Any]:
        metrics = self.metrics
        return {
            "received": metrics.messages_received,
            "sent": metrics.messages_sent,
            "bad": metrics.messages_bad,
            "dropped": metrics.messages_dropped,
            "received_per_s": round(self.per_s("messages_received"), 1),
            "sent_per_s": round(self.per_s("messages_sent"), 1),
            "dropped_per_s": round(self.per_s("messages_dropped"), 1),
            "registrations_per_s": round(self.per_s("registrations_ok"), 1),
            "calls_per_s": round(self.per_s("sessions_let_in"), 1),
        }
