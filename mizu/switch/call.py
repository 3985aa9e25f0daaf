"""One call: who calls, whom we try, which answer wins, how it ends, what its row says.

A state machine without I/O. Events come as method calls from the legs and from :mod:`mizu.switch.b2bua`;
:data:`mizu.switch.call_table.TABLE` says what each means in each state. The legs know how to speak SIP; this
module does not.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from mizu.model import Account, ChannelLimit, Route
from mizu.sip.dialog import Field
from mizu.sip.message import Request, Response
from mizu.sip.timers import Deadline
from mizu.switch.call_row import answer_row, closed_row
from mizu.switch.call_table import (
    CALLING,
    ENDING,
    GONE,
    OVER,
    SETUP,
    TABLE,
    TALKING,
    CallerSide,
    CallState,
    Outcome,
    nobody_more,
)
from mizu.switch.callee import CalleeLeg, Early, Invitation
from mizu.switch.causes import (
    END,
    GATEWAY_FULL,
    NO_ANSWER,
    NO_ROUTE,
    NOT_REGISTERED,
    REASONS,
    USER_FULL,
    Failure,
)
from mizu.switch.fields import REFUSAL, body_fields, escaped_user, passed_pairs
from mizu.switch.leg import Leg, LegState
from mizu.switch.ports import Ports, Target

__all__ = ["TABLE", "Call", "CallState"]

Pair = tuple[str, str]


class Call:
    """A call and its legs."""

    __slots__ = (
        "_best",
        "_channels_pending",
        "_commit_pending",
        "_numbered",
        "_opened",
        "_ring_timeout",
        "_routes",
        "_setup_pending",
        "_starting",
        "_tried",
        "_winner_early",
        "_winner_response",
        "answer_s",
        "begun_at",
        "call_id",
        "called_number",
        "caller",
        "caller_number",
        "channels",
        "invite_to",
        "legs",
        "outcome",
        "patience_s",
        "payer",
        "ports",
        "ring_at",
        "route",
        "setup_s",
        "state",
        "told",
        "winner",
    )

    def __init__(
        self,
        call_id: str,
        ports: Ports,
        caller_number: str,
        called_number: str,
        channels: tuple[ChannelLimit, ...] = (),
    ) -> None:
        self.call_id = call_id
        self.channels = channels  #: what it counts for now
        self.payer: Account | None = None  #: who calls, or had the call transferred, and pays for it
        self.ports = ports
        self.caller_number = caller_number
        self.called_number = called_number
        self.state = SETUP
        self.caller: CallerSide
        self.legs: list[Leg] = []  #: those that are not over yet
        self.begun_at = ports.wall()
        self.outcome: Outcome | None = None
        self.winner: CalleeLeg | None = None
        self.route: Route | None = None  #: the one being tried, or that was answered
        self.invite_to: Callable[[Route], tuple[Invitation, Callable[[str], str]]]
        self._routes: list[Route] = []  # still to try, next one last
        self._best: tuple[Failure, Response | None] | None = None
        self.setup_s = ports.now()
        self.answer_s: float | None = None
        self.ring_at: datetime | None = None
        self._ring_timeout: Deadline | None = None
        self._opened = False
        self._commit_pending = False
        self._channels_pending = False
        self._setup_pending = True
        self._winner_early: Early | None = None
        self._winner_response: Response | None = None
        self._numbered = 0
        self._starting = False
        self._tried: CalleeLeg | None = None
        self.patience_s = float("inf")  #: the caller wants to wait no longer (Expires, RFC 3261 13.3.1)
        self.told = False  #: the caller has been told that somebody answered

    @property
    def rang(self) -> bool:
        """Has the caller heard of anybody who rings?"""
        return self.ring_at is not None

    def age_s(self, now_s: float) -> float:
        """Since the INVITE came, by the monotonic clock."""
        return now_s - self.setup_s

    def talk_s(self, now_s: float) -> float:
        """Since the answer; 0: nobody has answered."""
        return 0.0 if self.answer_s is None else now_s - self.answer_s

    # ------------------------------------------------------------ events

    def _step(self, event: str, *args: object) -> None:
        row = self.state.steps.get(event)
        if row is None:
            self.ports.unexpected(f"{event} in {self.state.name}", self.call_id)
            return
        self.state = row[0]
        row[1](self, *args)
        if self.state is ENDING:
            self._release()

    def row_opened(self) -> None:
        """The call row is written; from now on it will be closed, too."""
        self._opened = True
        if self.outcome is not None:
            self._close_row()

    def routed(self, routes: Sequence[Route]) -> None:
        """Set-up is done: try these."""
        self._setup_pending = False
        self._step("routed", routes)

    def refused(
        self, status: int, cause: str, reason: str | None = None, fields: Sequence[Pair] = ()
    ) -> None:
        """The call will not be made."""
        self._setup_pending = False
        self._step("refused", status, cause, reason, fields)

    def caller_cancelled(self, fields: Sequence[Pair] = ()) -> None:
        """CANCEL, or a BYE before the answer."""
        self._step("cancelled", fields)

    def no_prack(self) -> None:
        """The caller did not acknowledge a reliable provisional response (RFC 3262 3)."""
        self._step("refused", 504, "no_prack", "No PRACK", ())

    def leg_progress(self, leg: CalleeLeg, early: Early | None, response: Response) -> None:
        self._step("progress", leg, early, response)

    def leg_failed(self, leg: CalleeLeg, failure: Failure, response: Response | None) -> None:
        self._step("failed", leg, failure, response)

    def leg_answered(self, leg: CalleeLeg, early: Early | None, response: Response) -> None:
        self._step("answered", leg, early, response)

    def committed(self) -> None:
        """The answer is in the call row."""
        self._commit_pending = False
        self._step("committed")

    def not_committed(self, retry_after_s: int) -> None:
        """It could not be written: nobody may talk unrecorded."""
        self._commit_pending = False
        self._step("not_committed", 503, "store_busy", None, (("Retry-After", str(retry_after_s)),))

    def channels_taken(self) -> None:
        """The route that is tried has its channels."""
        self._channels_pending = False
        assert self.route is not None
        self.channels = self.route.channels
        self._step("channels")

    def no_channel(self) -> None:
        """It gets none: the called user, the gateway or one of their owners has as many calls as allowed."""
        self._channels_pending = False
        self._step("full")

    def channels_unknown(self, retry_after_s: int) -> None:
        """The database is in trouble: nobody may talk uncounted."""
        self._channels_pending = False
        self._step("refused", 503, "store_busy", None, (("Retry-After", str(retry_after_s)),))

    def party_left(self, leg: Leg, fields: Sequence[Field] = ()) -> None:
        """BYE of one party, already answered."""
        if not leg.detached:
            self._step("left", leg, fields)

    def lost(self, leg: Leg, cause: str) -> None:
        """One party is gone without a word."""
        if leg.detached:
            leg.hang_up()
        else:
            self._step("lost", leg, cause)

    def drop(self, by: str, cause: str = "dropped") -> None:
        """Somebody else ends the call. :param by: ``operator`` or ``switch``."""
        self._step("dropped", by, cause)

    def leg_over(self, leg: Leg) -> None:
        """The leg holds nothing any more."""
        if leg in self.legs:
            self.legs.remove(leg)
        if not self.legs:
            if self.state is ENDING:
                self._release()
            elif self.state is TALKING:
                self._step("emptied", leg)

    # ------------------------------------------------------------ trying

    def _begin(self, routes: Sequence[Route]) -> None:
        self._routes = list(routes[: self.ports.settings.routes])
        self._routes.reverse()
        if not self._routes:
            self._best = (NO_ROUTE, None)
        self._try_next()

    def _try_next(self) -> None:
        """The next route that has somewhere to send to; the end of the call when there is none."""
        while self._routes and self.state is CALLING:
            route = self._routes.pop()
            self.route = route
            targets = self._targets(route)
            if not targets:
                self._note(NOT_REGISTERED, None)
                continue
            if route.channels != self.channels:
                self._stop_ringing()
                self._channels_pending = True
                self.ports.take_channels(self, route.channels)
            else:
                self._ring(route, targets)
            return
        if self.state is CALLING:
            failure, response = self._best or (NO_ROUTE, None)
            self.state = ENDING
            self._give_up(failure, response)
            self._release()

    def _channels(self) -> None:
        route = self.route
        assert route is not None
        targets = self._targets(route)
        if targets:
            self._ring(route, targets)
        else:
            self._note(NOT_REGISTERED, None)
            self._try_next()

    def _full(self) -> None:
        assert self.route is not None
        self._note(USER_FULL if self.route.account is not None else GATEWAY_FULL, None)
        self._try_next()

    def _targets(self, route: Route) -> Sequence[Target]:
        if route.account is not None:
            return self.ports.targets(route.account)[: self.ports.settings.forks]
        return (Target(route.uri, next_hop=route.via_uri or route.uri),)

    def _ring(self, route: Route, targets: Sequence[Target]) -> None:
        ports = self.ports
        invitation, from_value = self.invite_to(route)
        timeout_s = min(route.ring_timeout_s or ports.settings.ring_timeout_s, self.patience_s)
        if self._ring_timeout is not None:
            self._stop_ringing()
        self._ring_timeout = ports.deadlines.at(ports.now() + timeout_s, self._rang_out)
        host = ports.settings.domain
        called = escaped_user(route.called_number or self.called_number)
        self._starting = True  # a leg may fail before the next is begun
        for target in targets:
            to_uri = route.uri
            if not to_uri:
                to_uri = f"sip:{called}@{host}" if host else target.uri
            self._numbered += 1
            leg = CalleeLeg(
                self,
                ports,
                route,
                target,
                number=self._numbered,
                invitation=invitation,
                from_value=from_value,
                to_value=f"<{to_uri}>",
            )
            self._tried = leg
            self.legs.append(leg)
            leg.start()
            if self.state is not CALLING:
                break
        self._starting = False
        self._judge()

    def _rang_out(self) -> None:
        self._ring_timeout = None
        self._step("no_answer")

    def _no_answer(self) -> None:
        self._give_up(NO_ANSWER, None)

    def _stop_ringing(self) -> None:
        if self._ring_timeout is not None:
            self._ring_timeout.cancel()
            self._ring_timeout = None

    # ------------------------------------------------------------ what callees say

    def _progress(self, leg: CalleeLeg, early: Early | None, response: Response) -> None:
        if self.ring_at is None:
            self.ring_at = self.ports.wall()
            if self.caller_leg is not None:
                self.ports.metrics.session_indicated(self.ports.now() - self.setup_s)
        body = leg.as_seen_by_caller(response)
        self.caller.provisional(leg, early, response, body)

    def _failed(self, leg: CalleeLeg, failure: Failure, response: Response | None) -> None:
        self._note(failure, response)
        if failure.status >= 600 or (response is not None and response.status >= 600):
            self._give_up(failure, response)  # RFC 3261 16.7: nobody else will say otherwise
            return
        self._judge()

    def _note(self, failure: Failure, response: Response | None) -> None:
        """Of all failures the most telling one is reported (RFC 3261 16.7, step 6)."""
        if self._best is None or failure.rank <= self._best[0].rank:
            self._best = (failure, response)

    def _judge(self) -> None:
        """When the last fork of a route has failed: another route, or the end."""
        if self.state is not CALLING or self._starting or self._channels_pending:
            return
        for leg in self.legs:
            if leg.state is LegState.SETUP and leg.side == "callee":
                return
        best = self._best
        if best is not None and best[0].then == END:
            self._give_up(*best)
        else:
            self._try_next()

    def _give_up(self, failure: Failure, response: Response | None) -> None:
        """Nobody answered; the caller learns why."""
        self.state = ENDING
        fields: Sequence[Pair] = ()
        reason = REASONS.get(failure.cause)
        if response is not None:
            fields = passed_pairs(response, REFUSAL)
            if response.status == failure.status:
                reason = response.reason
        self._end(
            "callee" if response is not None else "switch", failure.cause, failure.status, reason, fields
        )
        self._release()

    def _answered(self, leg: CalleeLeg, early: Early | None, response: Response) -> None:
        """The first 2xx wins."""
        self._stop_ringing()
        self.winner = leg
        self.route = leg.route
        self._winner_early, self._winner_response = early, response
        self.answer_s = self.ports.now()
        for other in tuple(self.legs):
            if isinstance(other, CalleeLeg) and other is not leg:
                other.cancel((("Reason", 'SIP;cause=200;text="Call completed elsewhere"'),))
        self._commit_pending = True
        self.ports.commit_answer(self, answer_row(self, leg))

    @property
    def caller_leg(self) -> Leg | None:
        """The leg that called; ``None``: it is over, or a transfer made the call."""
        for leg in self.legs:
            if leg.side == "caller":
                return leg
        return None

    def _too_late(self, leg: CalleeLeg, early: Early | None, response: Response) -> None:
        """A second phone answered in the moment the first did, or when all was over."""
        leg.hang_up()

    def _connect(self) -> None:
        """The answer is written down: tell the caller."""
        leg, response = self.winner, self._winner_response
        assert leg is not None
        assert response is not None
        early, self._winner_early, self._winner_response = self._winner_early, None, None
        self.invite_to = nobody_more
        caller = self.caller_leg
        if caller is not None:
            caller.peer, leg.peer = leg, caller
        body = leg.answer_for_caller(early, response)
        self.caller.accept(leg, early, response, body, None if leg.acknowledged else self._answer_came)

    def _answer_came(self, ack: Request) -> None:
        """The caller's ACK brings the answer to the callee's offer."""
        leg, caller = self.winner, self.caller_leg
        if leg is not None and leg.state is LegState.UP:
            body = ack.body
            if caller is not None:
                body = caller.incoming_description(body)
            leg.acknowledge_answer(body_fields(ack), body)

    # ------------------------------------------------------------ the end

    def _refuse(self, status: int, cause: str, reason: str | None, fields: Sequence[Pair]) -> None:
        self._end("switch", cause, status, reason, fields)

    def _abandon(self, fields: Sequence[Pair]) -> None:
        self._end("caller", "cancelled", 487, None, (), fields)

    def _drop(self, by: str, cause: str) -> None:
        self._end(by, cause, 480, None, ())

    def _left(self, leg: Leg, fields: Sequence[Field]) -> None:
        self._end(leg.side, "answered", 480, None, (), [(name, value) for name, _, value in fields])

    def _lost(self, leg: Leg, cause: str) -> None:
        reason = ("Reason", f'SIP;cause=408;text="{cause}"')
        self._end("switch", cause, 480, None, (), (reason,))

    def _end(
        self,
        ended_by: str,
        cause: str,
        status: int,
        reason: str | None,
        fields: Sequence[Pair],
        goodbye: Sequence[Pair] = (),
    ) -> None:
        """
        The one way to the end: fixes the outcome, refuses or hangs up every leg, closes the row.

        :param status: for a caller that has no final answer yet. :param goodbye: headers of BYE and CANCEL.
        """
        if self._ring_timeout is not None:
            self._stop_ringing()
        self._routes.clear()
        ports = self.ports
        talking = self.told
        if talking:
            status, reason = 200, None
            ports.metrics.session_ended(self.talk_s(ports.now()), completed=cause == "answered")
        self.outcome = Outcome(ports.wall(), ports.now(), ended_by, cause, status, reason or "")
        bye: list[Field] = [(name, name.lower(), value) for name, value in goodbye]
        if not talking:
            self.caller.refuse(status, reason, fields)
        for leg in tuple(self.legs):
            if isinstance(leg, CalleeLeg) and leg.dialog is None:
                leg.cancel(goodbye)
            else:
                self._part(leg, ended_by, cause, bye)
        if self._opened:
            self._close_row()

    def _part(self, leg: Leg, ended_by: str, cause: str, bye: Sequence[Field]) -> None:
        """Hang up a leg, and the call of the party it talks to when that is another one."""
        transfer = leg.transfer
        if transfer is not None:
            transfer.call_ended(leg)
        peer, leg.peer = leg.peer, None
        leg.hang_up(bye)
        if peer is not None and peer.call is not self and peer.peer is leg:
            peer.peer = None
            peer.call.linked_end(peer, cause)

    def linked_end(self, leg: Leg, cause: str) -> None:
        """A transfer had joined ``leg`` with a leg of another call, which is over."""
        self._step("linked", leg, cause)

    def _linked(self, leg: Leg, cause: str) -> None:
        self._end("callee" if leg.side == "caller" else "caller", cause, 480, None, ())

    def _emptied(self, leg: Leg) -> None:
        """Both parties were transferred away, one after the other: they talk in other calls now."""
        self._end(leg.side, "answered", 480, None, ())

    def _close_row(self) -> None:
        """Hand the row's last state over, once the answer is known to be written or not."""
        outcome = self.outcome
        if outcome is None or self._commit_pending:
            return
        self._opened = False
        self.ports.close(closed_row(self, outcome, self._tried))

    def _written(self, *args: object) -> None:
        """The call ended while its answer was being written; now its end can be."""
        if self._opened:
            self._close_row()

    def _release(self) -> None:
        """Gone when nothing is under way any more."""
        if (
            self.state is not ENDING
            or self.legs
            or self._commit_pending
            or self._channels_pending
            or self._setup_pending
            or self._opened
        ):
            return
        self.state = OVER
        self.ports.remove(self)
        # Legs know their call: without these it is freed at once, not when the collector comes by.
        self.winner = self._tried = self._winner_early = self._winner_response = self._best = None
        self.caller, self.invite_to = GONE, nobody_more

    def setup_over(self) -> None:
        """Set-up found the call ended meanwhile; nothing more comes from it."""
        self._setup_pending = False
        if self.state is ENDING:
            self._release()

    def _ignore(self, *args: object) -> None:
        """What may still come, and changes nothing."""


for _state in CallState:
    _state.steps = {
        event: (after, getattr(Call, name))
        for (before, event), (after, name) in TABLE.items()
        if before is _state
    }
