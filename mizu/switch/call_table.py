"""The states of a call and what each event means in each of them, as data; how calls end.

:mod:`mizu.switch.call` has the methods that the table names.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from mizu.model import Route
from mizu.sip.message import Request, Response
from mizu.switch.callee import CalleeLeg, Early, Invitation

Pair = tuple[str, str]


class CallState(Enum):
    """Life of a call."""

    steps: dict[str, tuple["CallState", Callable[..., None]]]  #: event -> next state and method; by ``call``

    SETUP = auto()  #: who may call whom, by which way, is being found out
    CALLING = auto()  #: callee legs are tried
    ANSWERING = auto()  #: somebody answered; the row is being written
    TALKING = auto()
    ENDING = auto()  #: decided and written down; legs still say goodbye
    OVER = auto()


SETUP, CALLING, ANSWERING = CallState.SETUP, CallState.CALLING, CallState.ANSWERING
TALKING, ENDING, OVER = CallState.TALKING, CallState.ENDING, CallState.OVER

#: (state, event) -> (next state, method). What is not here does not happen; see ``Call._step``.
#: A method that ends the call moves it to ENDING by itself.
TABLE: dict[tuple[CallState, str], tuple[CallState, str]] = {
    (SETUP, "routed"): (CALLING, "_begin"),
    (SETUP, "refused"): (ENDING, "_refuse"),
    (SETUP, "cancelled"): (ENDING, "_abandon"),
    (SETUP, "dropped"): (ENDING, "_drop"),
    (CALLING, "progress"): (CALLING, "_progress"),
    (CALLING, "channels"): (CALLING, "_channels"),
    (CALLING, "full"): (CALLING, "_full"),
    (CALLING, "failed"): (CALLING, "_failed"),
    (CALLING, "answered"): (ANSWERING, "_answered"),
    (CALLING, "cancelled"): (ENDING, "_abandon"),
    (CALLING, "refused"): (ENDING, "_refuse"),
    (CALLING, "no_answer"): (CALLING, "_no_answer"),
    (CALLING, "dropped"): (ENDING, "_drop"),
    (CALLING, "lost"): (CALLING, "_ignore"),
    (ANSWERING, "committed"): (TALKING, "_connect"),
    (ANSWERING, "not_committed"): (ENDING, "_refuse"),
    (ANSWERING, "refused"): (ENDING, "_refuse"),
    (ANSWERING, "cancelled"): (ENDING, "_abandon"),
    (ANSWERING, "left"): (ENDING, "_left"),
    (ANSWERING, "lost"): (ENDING, "_lost"),
    (ANSWERING, "dropped"): (ENDING, "_drop"),
    (ANSWERING, "answered"): (ANSWERING, "_too_late"),
    (ANSWERING, "failed"): (ANSWERING, "_ignore"),
    (ANSWERING, "progress"): (ANSWERING, "_ignore"),
    (ANSWERING, "channels"): (ANSWERING, "_ignore"),  # of another route than the one that was answered
    (ANSWERING, "full"): (ANSWERING, "_ignore"),
    (TALKING, "left"): (ENDING, "_left"),
    (TALKING, "lost"): (ENDING, "_lost"),
    (TALKING, "refused"): (ENDING, "_refuse"),
    (TALKING, "cancelled"): (ENDING, "_abandon"),  # the 200 waits for a PRACK (RFC 3262 3)
    (TALKING, "dropped"): (ENDING, "_drop"),
    (TALKING, "answered"): (TALKING, "_too_late"),
    (TALKING, "failed"): (TALKING, "_ignore"),
    (TALKING, "progress"): (TALKING, "_ignore"),
    (TALKING, "channels"): (TALKING, "_ignore"),
    (TALKING, "full"): (TALKING, "_ignore"),
    (ENDING, "committed"): (ENDING, "_written"),
    (ENDING, "not_committed"): (ENDING, "_written"),
    (ENDING, "answered"): (ENDING, "_too_late"),
    (ENDING, "failed"): (ENDING, "_ignore"),
    (ENDING, "progress"): (ENDING, "_ignore"),
    (ENDING, "channels"): (ENDING, "_ignore"),
    (ENDING, "full"): (ENDING, "_ignore"),
    (ENDING, "cancelled"): (ENDING, "_ignore"),
    (ENDING, "refused"): (ENDING, "_ignore"),
    (ENDING, "routed"): (ENDING, "_ignore"),
    (ENDING, "left"): (ENDING, "_ignore"),
    (ENDING, "lost"): (ENDING, "_ignore"),
    (ENDING, "dropped"): (ENDING, "_ignore"),
    (ENDING, "linked"): (ENDING, "_ignore"),
    (ENDING, "no_answer"): (ENDING, "_ignore"),
    (TALKING, "linked"): (ENDING, "_linked"),
    (TALKING, "emptied"): (ENDING, "_emptied"),
}


class CallerSide(Protocol):
    """Whom the call is made for: a caller's leg, or a transfer."""

    def provisional(self, leg: CalleeLeg, early: Early | None, response: Response, body: bytes) -> None: ...

    def accept(
        self,
        leg: CalleeLeg,
        early: Early | None,
        response: Response,
        body: bytes,
        on_ack: Callable[[Request], None] | None,
    ) -> None: ...

    def refuse(self, status: int, reason: str | None = None, fields: Sequence[Pair] = ()) -> None: ...


class Gone:
    """In the place of ``Call.caller`` when the call is over."""

    def provisional(self, leg: CalleeLeg, early: Early | None, response: Response, body: bytes) -> None:
        """Nobody hears it."""

    def accept(
        self,
        leg: CalleeLeg,
        early: Early | None,
        response: Response,
        body: bytes,
        on_ack: Callable[[Request], None] | None,
    ) -> None:
        """Nobody hears it."""

    def refuse(self, status: int, reason: str | None = None, fields: Sequence[Pair] = ()) -> None:
        """Nobody hears it."""


GONE = Gone()


def nobody_more(route: Route) -> tuple[Invitation, Callable[[str], str]]:
    """In the place of ``Call.invite_to`` once somebody answered, so that the INVITE can be forgotten."""
    raise AssertionError("an answered call invites nobody")


class Outcome:
    """How a call ended; filled once."""

    __slots__ = ("cause", "end_at", "end_s", "ended_by", "reason", "status")

    def __init__(
        self, end_at: datetime, end_s: float, ended_by: str, cause: str, status: int, reason: str
    ) -> None:
        self.end_at = end_at
        self.end_s = end_s
        self.ended_by = ended_by
        self.cause = cause
        self.status = status
        self.reason = reason
