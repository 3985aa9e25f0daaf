"""What a callee's failure means: try the next route or end, which status the caller gets, which word the
CDR keeps. One table, no code path elsewhere decides this.

Rules behind the table (RFC 3261 16.7 and 21, adapted to a back-to-back user agent):

* an answer a person or their phone gave (busy, declined, unknown, moved) ends the call; one that says that
  *this way* does not work (silence, 5xx, broken transport, a trunk that refuses our login) tries the next;
* 401 and 407 of a trunk are between us and the trunk: the caller would answer with its own password;
* 503 means "this server is overloaded"; passed on, the caller would take it for us, so it becomes 500;
* 3xx is not followed, since a phone could send calls, at its owner's cost, to anywhere; the caller learns
  that the party is unavailable, and no foreign address;
* statuses about one hop's protocol (400, 405, 420, 481, ...) are our fault or the far end's, never the
  caller's: 500.
"""

from dataclasses import dataclass
from typing import Final

NEXT: Final = "next"  #: the next route may do better
END: Final = "end"  #: somebody's answer


@dataclass(frozen=True, slots=True)
class Failure:
    """How one call attempt failed, as seen from the caller."""

    status: int  #: for the caller
    cause: str  #: stable word for the CDR
    then: str  #: :data:`NEXT` or :data:`END`
    rank: int  #: of several forks' failures the lowest is reported


#: Callee's status -> what it means. Missing ones: by class, see :func:`failure_of`.
FAILURES: Final[dict[int, Failure]] = {
    401: Failure(502, "trunk_login", NEXT, 70),
    402: Failure(403, "refused", END, 40),
    403: Failure(403, "refused", END, 40),
    404: Failure(404, "not_found", END, 30),
    407: Failure(502, "trunk_login", NEXT, 70),
    408: Failure(480, "no_response", NEXT, 60),
    410: Failure(410, "gone", END, 30),
    415: Failure(415, "not_acceptable", END, 25),
    421: Failure(500, "incompatible", NEXT, 65),
    430: Failure(480, "no_response", NEXT, 60),
    480: Failure(480, "unavailable", END, 35),
    482: Failure(482, "loop", NEXT, 75),
    483: Failure(483, "loop", NEXT, 75),
    484: Failure(484, "incomplete_number", END, 30),
    485: Failure(485, "ambiguous", END, 30),
    486: Failure(486, "busy", END, 10),
    487: Failure(480, "unavailable", END, 50),
    488: Failure(488, "not_acceptable", END, 25),
    491: Failure(480, "unavailable", END, 50),
    493: Failure(488, "not_acceptable", END, 25),
    500: Failure(500, "failed", NEXT, 65),
    501: Failure(500, "failed", NEXT, 65),
    502: Failure(502, "failed", NEXT, 65),
    503: Failure(500, "congestion", NEXT, 65),
    504: Failure(504, "failed", NEXT, 65),
    513: Failure(513, "too_large", END, 45),
    580: Failure(580, "not_acceptable", END, 25),
    600: Failure(486, "busy", END, 5),
    603: Failure(603, "declined", END, 5),
    604: Failure(404, "not_found", END, 6),
    606: Failure(488, "not_acceptable", END, 7),
    607: Failure(603, "declined", END, 5),
}
_BY_CLASS: Final[dict[int, Failure]] = {
    3: Failure(480, "redirected", END, 45),
    4: Failure(500, "incompatible", END, 55),
    5: Failure(500, "failed", NEXT, 65),
    6: Failure(603, "declined", END, 5),
}

#: Failures without a response, by the word of :class:`mizu.sip.outgoing.OutgoingUser.on_failure` and ours.
TIMEOUT: Final = Failure(480, "no_response", NEXT, 60)
NO_RESPONSE: Final[dict[str, Failure]] = {
    "timeout": TIMEOUT,
    "transport": Failure(502, "unreachable", NEXT, 66),
    "unresolved": Failure(502, "unreachable", NEXT, 66),
    "overloaded": Failure(503, "overloaded", END, 67),  # we are the server that is: no more transactions
}
NOT_REGISTERED: Final = Failure(480, "not_registered", NEXT, 36)
NO_ANSWER: Final = Failure(480, "no_answer", END, 34)
#: As many calls as the called user, or the gateway, or one of their owners may have at a time.
USER_FULL: Final = Failure(486, "max_channels", NEXT, 11)
GATEWAY_FULL: Final = Failure(480, "max_channels", NEXT, 37)
NO_ROUTE: Final = Failure(404, "not_found", END, 30)

#: Reason phrases that say more than the status alone.
REASONS: Final[dict[str, str]] = {
    "not_registered": "Not Registered",
    "no_answer": "No Answer",
    "no_response": "No Response",
    "redirected": "Temporarily Unavailable",
    "congestion": "All Circuits Busy",
    "unreachable": "Destination Unreachable",
    "trunk_login": "Destination Unreachable",
    "prefix": "Number Not Allowed",
    "prefix_blocked": "Number Blocked",
    "partner": "Gateway Not Allowed",
    "tech_prefix": "Gateway Not Allowed",
    "test_calls": "Gateway Not Allowed",
    "test_prefix": "Gateway Not Allowed",
    "gateway_disabled": "Temporarily Unavailable",
}


#: What the caller is told when a limit refuses the call. That there is a user in another circle is nobody's
#: business, and a text that is no number is nobody's; a 503 for one caller who has all his channels would be
#: taken as one for everybody.
REFUSED: Final[dict[str, int]] = {"calling_circle": 404, "no_number": 404}
REFUSED_ELSE: Final = 403
CALLER_FULL: Final = (480, "Channel Limit Reached")


def failure_of(status: int) -> Failure:
    """What a final response of 300 to 699 from a callee means."""
    return FAILURES.get(status) or _BY_CLASS.get(status // 100) or _BY_CLASS[5]
