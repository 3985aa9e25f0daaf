"""What lies between transactions and calls: answers repeated until their ACK (RFC 3261 13.3.1.4), reliable
provisional responses (RFC 3262), offers and answers (RFC 3264, 3311), session timers (RFC 4028).

Pure: time comes in through a :class:`~mizu.sip.timers.DeadlineHeap` and a ``now`` function.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from mizu.sip.message import Message, Request, Response
from mizu.sip.timers import Deadline, DeadlineHeap, TimerSettings

# ---------------------------------------------------------------- 2xx and reliable 1xx


class Repeater:
    """Sends at once, after T1 again, doubling up to ``longest_s``, until stopped or 64*T1 passed."""

    __slots__ = (
        "_deadline",
        "_deadlines",
        "_end_s",
        "_gave_up",
        "_interval_s",
        "_longest_s",
        "_now",
        "_send",
    )

    def __init__(
        self,
        send: Callable[[], None],
        gave_up: Callable[[], None],
        *,
        deadlines: DeadlineHeap,
        now: Callable[[], float],
        timers: TimerSettings,
        longest_s: float,
    ) -> None:
        """
        :param gave_up: called once when 64*T1 passed without :meth:`stop`.
        :param longest_s: T2 for a 2xx; 64*T1 for a reliable provisional response, which only doubles.
        """
        self._send = send
        self._gave_up = gave_up
        self._deadlines = deadlines
        self._now = now
        self._longest_s = longest_s
        self._interval_s = timers.t1_s
        now_s = now()
        self._end_s = now_s + 64 * timers.t1_s
        self._deadline: Deadline | None = deadlines.at(now_s + timers.t1_s, self._again)
        send()

    def stop(self) -> None:
        """It was acknowledged, or nobody waits for it any more. May be called twice."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    @property
    def running(self) -> bool:
        return self._deadline is not None

    def _again(self) -> None:
        now_s = self._now()
        if now_s >= self._end_s:
            self._deadline = None
            self._gave_up()
            return
        self._interval_s = min(self._interval_s * 2, self._longest_s)
        self._deadline = self._deadlines.at(min(now_s + self._interval_s, self._end_s), self._again)
        self._send()


class ReliableProvisionals:
    """
    The UAS side of RFC 3262 for one INVITE: numbers 18x responses, repeats each until its PRACK, and keeps
    the next back until then (section 3: no second one before the first is acknowledged).
    """

    __slots__ = (
        "_gave_up",
        "_next",
        "_repeat",
        "_respond",
        "_waiting",
        "cseq",
        "make_repeater",
        "outstanding",
    )

    #: A peer that never acknowledges makes us keep no more than this many responses.
    WAITING_MAX = 16

    def __init__(
        self,
        respond: Callable[[Response], None],
        gave_up: Callable[[], None],
        make_repeater: Callable[[Callable[[], None], Callable[[], None]], Repeater],
        *,
        cseq: int,
        first_rseq: int,
    ) -> None:
        """
        :param respond: sends a response in the INVITE's server transaction.
        :param gave_up: 64*T1 passed without PRACK; the INVITE must be refused with a 5xx.
        :param cseq: of the INVITE. :param first_rseq: 1 .. 2**31 - 1.
        """
        self._respond = respond
        self._gave_up = gave_up
        self.make_repeater = make_repeater
        self.cseq = cseq
        self._next = first_rseq
        self._waiting: deque[Response] = deque()
        self._repeat: Repeater | None = None
        self.outstanding: Response | None = None  #: sent, not acknowledged yet

    def push(self, response: Response) -> None:
        """Send it now, or when those before it are acknowledged."""
        response.set("Require", "100rel")
        response.set("RSeq", str(self._next))
        self._next += 1
        if self.outstanding is not None:
            if len(self._waiting) < self.WAITING_MAX:
                self._waiting.append(response)
            return
        self._begin(response)

    def _begin(self, response: Response) -> None:
        self.outstanding = response
        self._repeat = self.make_repeater(lambda: self._respond(response), self._lost)

    def _lost(self) -> None:
        self.stop()
        self._gave_up()

    def acknowledge(self, rack: str) -> Response | None:
        """
        A PRACK came. :param rack: its RAck value.

        :return: the response it acknowledges; ``None``: none that is outstanding (481, section 3).
        """
        parts = rack.split()
        response = self.outstanding
        if response is None or len(parts) != 3 or parts[2].upper() != "INVITE":
            return None
        if parts[0] != response.get("rseq") or parts[1] != str(self.cseq):
            return None
        if self._repeat is not None:
            self._repeat.stop()
        self.outstanding = None
        if self._waiting:
            self._begin(self._waiting.popleft())
        return response

    @property
    def holds_answer(self) -> bool:
        """A response with a session description is not acknowledged yet: no 2xx before (section 3)."""
        return any(
            response is not None and bool(response.body) for response in (self.outstanding, *self._waiting)
        )

    def stop(self) -> None:
        """A final response went out, or the call is over."""
        if self._repeat is not None:
            self._repeat.stop()
        self._repeat = self.outstanding = None
        self._waiting.clear()


def rack_of(response: Response) -> str | None:
    """The RAck value that acknowledges a reliable provisional response; ``None``: it is not reliable."""
    rseq = response.get("rseq")
    if rseq is None or not rseq.isdecimal() or "100rel" not in (response.get("require") or "").lower():
        return None
    cseq = response.cseq
    return f"{rseq} {cseq.number} {cseq.method}"


class ReceivedProvisionals:
    """The UAC side of RFC 3262 for one early dialog: which reliable responses are new and in order."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = -1

    def is_new(self, rseq: int) -> bool:
        """Section 4: the first may have any number, each later one must follow; others are not taken."""
        if self._last >= 0 and rseq != self._last + 1:
            return False
        self._last = rseq
        return True


# ---------------------------------------------------------------- offers and answers

STABLE, OFFERED, ASKED = "stable", "offered", "asked"


class OfferAnswer:
    """
    Where one leg stands in RFC 3264: ``stable``, ``offered`` (our offer waits for an answer), ``asked``
    (the peer's offer waits for ours).

    ``local`` and ``remote`` are the newest descriptions sent and received, for refreshes and transfers.
    """

    __slots__ = ("complete", "local", "remote", "state")

    def __init__(self) -> None:
        self.state = STABLE
        self.local = b""
        self.remote = b""
        self.complete = False  #: at least one offer was answered

    def sent(self, body: bytes) -> None:
        """We send a description: an answer if the peer waits for one, else an offer."""
        if not body:
            return
        self.local = body
        if self.state == ASKED:
            self.state, self.complete = STABLE, True
        else:
            self.state = OFFERED

    def received(self, body: bytes) -> None:
        """The peer sent one."""
        if not body:
            return
        self.remote = body
        if self.state == OFFERED:
            self.state, self.complete = STABLE, True
        else:
            self.state = ASKED

    def refused(self) -> None:
        """The open offer, whoever made it, was refused: what was agreed before holds (RFC 6337 3.4)."""
        self.state = STABLE

    def clash(self) -> int:
        """
        Status for an UPDATE with an offer that comes now, 0 if it may (RFC 3311 5.2): 491 when ours is open,
        500 with Retry-After when the peer's own one is.
        """
        return {STABLE: 0, OFFERED: 491, ASKED: 500}[self.state]


# ---------------------------------------------------------------- session timers


@dataclass(frozen=True, slots=True)
class SessionInterval:
    """What both sides of one leg agreed on."""

    interval_s: int
    we_refresh: bool
    #: the peer knows RFC 4028; without that it takes our refreshes but will not check them
    peer_knows: bool
    #: when the session is to be ended: before the interval is over by the smaller of 32 s and a third of it
    #: (RFC 4028 10)
    expire_s: float = field(init=False)
    #: after so long without a refresh: send one (half the interval), or end the session
    act_s: float = field(init=False)

    def __post_init__(self) -> None:
        expire_s = self.interval_s - min(32.0, self.interval_s / 3)
        object.__setattr__(self, "expire_s", expire_s)
        object.__setattr__(self, "act_s", self.interval_s / 2 if self.we_refresh else expire_s)

    def header(self, *, uas: bool) -> tuple[str, str, str]:
        """``Session-Expires`` with the refresher in the roles of the transaction it goes into."""
        refresher = "uas" if self.we_refresh == uas else "uac"
        return "Session-Expires", "session-expires", f"{self.interval_s};refresher={refresher}"


@lru_cache(maxsize=256)
def interval_of(interval_s: int, we_refresh: bool, peer_knows: bool) -> SessionInterval:
    """A :class:`SessionInterval`; nearly all calls of a server have the same few."""
    return SessionInterval(interval_s, we_refresh, peer_knows)


def read_interval(message: Message, name: str) -> tuple[int, str] | None:
    """
    ``Session-Expires`` or ``Min-SE``: seconds and refresher (may be empty). ``None``: absent or no number,
    which is treated as absent, since the header is optional.
    """
    value = message.get(name)
    if value is None:
        return None
    number, _, params = value.partition(";")
    number = number.strip()
    if not number.isdecimal() or len(number) > 10:
        return None
    refresher = ""
    for param in params.lower().split(";"):
        key, _, word = param.partition("=")
        if key.strip() == "refresher":
            refresher = word.strip()
    return int(number), refresher


def min_se(response: Message) -> int:
    """The ``Min-SE`` of a 422, in seconds; 0: none, or not a time anybody can mean."""
    floor = read_interval(response, "min-se")
    return floor[0] if floor is not None and floor[0] <= 86_400 else 0


def supports(message: Message, option: str) -> bool:
    """Is the option tag in Supported or Require?"""
    for name in ("supported", "require"):
        value = message.get(name)
        if value is None:
            continue
        if option in value.lower():
            return True
        if any(option in line.lower() for line in message.get_all(name)):
            return True
    return False


#: What a peer that knows session timers says.
_TIMER_KEYS = dict.fromkeys(("session-expires", "min-se", "supported", "require"))


def agree_as_uas(request: Request, *, ours_s: int, min_s: int) -> SessionInterval | None:
    """
    What our 2xx to this INVITE or UPDATE says (RFC 4028 9).

    A peer that knows session timers refreshes itself unless it asked us to; for one that does not, we do.

    :return: ``None``: what it asks is below ``min_s``; answer 422 with Min-SE.
    """
    if request.has_none_of(_TIMER_KEYS):
        return interval_of(max(ours_s, min_s), True, False)
    knows = supports(request, "timer")
    asked = read_interval(request, "session-expires")
    floor = read_interval(request, "min-se")
    floor_s = floor[0] if floor is not None else 0
    if asked is None:
        return interval_of(max(ours_s, min_s, floor_s), not knows, knows)
    asked_s, refresher = asked
    if asked_s < min_s:
        # Only the sender of the first hop may be told; a proxy that inserted the header for a UAC without
        # support gets the smallest value we take instead (RFC 4028 9, table 2).
        if knows:
            return None
        asked_s = min_s
    interval_s = max(min(asked_s, ours_s), min_s, floor_s)
    return interval_of(interval_s, refresher == "uas" or not knows, knows)


def agree_as_uac(response: Response, *, asked_s: int) -> SessionInterval:
    """
    What the 2xx to our INVITE or UPDATE says (RFC 4028 7.2). Without Session-Expires the peer does not
    know timers, and refreshing is ours.
    """
    granted = read_interval(response, "session-expires")
    if granted is None:
        return interval_of(asked_s, True, False)
    interval_s, refresher = granted
    return interval_of(max(interval_s, 1), refresher != "uas", True)


def glare_wait_s(owns_call_id: bool, chance: float) -> float:
    """
    How long to wait after a 491 to our re-INVITE (RFC 3261 14.1): 2.1 to 4 s for the owner of the Call-ID,
    0 to 2 s for the other, in steps of 10 ms. :param chance: 0..1.
    """
    low_s, high_s = (2.1, 4.0) if owns_call_id else (0.0, 2.0)
    return round(low_s + (high_s - low_s) * chance, 2)
