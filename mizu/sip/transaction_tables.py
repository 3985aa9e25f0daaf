"""The four transaction machines of RFC 3261 17 as data, the INVITE machines as RFC 6026 corrects them.

States and inputs in the order of the RFC's figures. The machines that walk the tables are in ``transaction``
(server) and ``transaction_client``.
"""

from collections.abc import Mapping

CALLING, TRYING, PROCEEDING = "calling", "trying", "proceeding"
ACCEPTED, COMPLETED, CONFIRMED, TERMINATED = "accepted", "completed", "confirmed", "terminated"

#: state -> input -> (next state, what is done, in order). An input without a row is not possible there; it is
#: counted and nothing happens. What is done is named after the methods of the machine: ``send`` = ``_send``.
Table = Mapping[str, Mapping[str, tuple[str, tuple[str, ...]]]]

#: RFC 3261 figure 5, RFC 6026 figure 1. Timers A and B are one deadline, so are "cancelled" and C. ``accept``
#: starts timer M and passes the response up.
INVITE_CLIENT: Table = {
    CALLING: {
        "timer A": (CALLING, ("repeat",)),
        "timer B": (TERMINATED, ("tell_timeout",)),
        "error": (TERMINATED, ("tell_error",)),
        "1xx": (PROCEEDING, ("start_c", "pass_up", "send_cancel")),
        "2xx": (ACCEPTED, ("accept",)),
        "300-699": (COMPLETED, ("stop_timers", "send_ack", "start_d", "pass_up")),
    },
    PROCEEDING: {
        "1xx": (PROCEEDING, ("start_c", "pass_up")),
        "2xx": (ACCEPTED, ("accept",)),
        "300-699": (COMPLETED, ("stop_timers", "send_ack", "start_d", "pass_up")),
        "timer C": (PROCEEDING, ("send_cancel",)),
        "no answer to CANCEL": (TERMINATED, ("tell_timeout",)),  # 9.1: 64*T1 after the CANCEL
        "error": (PROCEEDING, ()),  # the request has arrived, whatever became of a repetition
    },
    ACCEPTED: {
        "2xx": (ACCEPTED, ("pass_up",)),
        "1xx": (ACCEPTED, ()),
        "300-699": (ACCEPTED, ()),
        "timer M": (TERMINATED, ()),
        "error": (ACCEPTED, ()),
    },
    COMPLETED: {
        "300-699": (COMPLETED, ("send_ack",)),
        "1xx": (COMPLETED, ()),
        "2xx": (COMPLETED, ()),
        "timer D": (TERMINATED, ()),
        "error": (TERMINATED, ("tell_error",)),
    },
}

#: RFC 3261 figure 6. Timers E and F are one deadline. ``finish`` passes the response up; ``transactions``
#: keeps COMPLETED without an object.
OTHER_CLIENT: Table = {
    TRYING: {
        "timer E": (TRYING, ("repeat",)),
        "timer F": (TERMINATED, ("tell_timeout",)),
        "error": (TERMINATED, ("tell_error",)),
        "1xx": (PROCEEDING, ("pass_up",)),
        "200-699": (COMPLETED, ("finish",)),
    },
    PROCEEDING: {
        "timer E": (PROCEEDING, ("repeat",)),
        "timer F": (TERMINATED, ("tell_timeout",)),
        "error": (TERMINATED, ("tell_error",)),
        "1xx": (PROCEEDING, ("pass_up",)),
        "200-699": (COMPLETED, ("finish",)),
    },
    COMPLETED: {
        "1xx": (COMPLETED, ()),
        "200-699": (COMPLETED, ()),
        "error": (COMPLETED, ()),
        "timer K": (TERMINATED, ()),
    },
}

#: RFC 3261 figure 7, RFC 6026 figure 2 and 8.8: a transport error is told, the state stays.
INVITE_SERVER: Table = {
    PROCEEDING: {
        "INVITE": (PROCEEDING, ("send_again",)),
        "1xx": (PROCEEDING, ("send",)),
        "2xx": (ACCEPTED, ("send", "start_l")),
        "300-699": (COMPLETED, ("send", "start_g_h")),
        "ACK": (PROCEEDING, ()),
        "error": (PROCEEDING, ("tell_error",)),
    },
    COMPLETED: {
        "INVITE": (COMPLETED, ("send_again",)),
        "timer G": (COMPLETED, ("send_again",)),
        "timer H": (TERMINATED, ("tell_timeout",)),
        "ACK": (CONFIRMED, ("stop_timers", "start_i", "tell_ack")),
        "1xx": (COMPLETED, ()),
        "2xx": (COMPLETED, ()),
        "300-699": (COMPLETED, ()),
        "error": (COMPLETED, ("tell_error",)),
    },
    ACCEPTED: {
        "INVITE": (ACCEPTED, ()),
        "2xx": (ACCEPTED, ("send",)),
        "1xx": (ACCEPTED, ()),
        "300-699": (ACCEPTED, ()),
        "ACK": (ACCEPTED, ("ack_to_user",)),
        "timer L": (TERMINATED, ("tell_timeout",)),
        "error": (ACCEPTED, ("tell_error",)),
    },
    CONFIRMED: {
        "INVITE": (CONFIRMED, ()),
        "ACK": (CONFIRMED, ()),
        "1xx": (CONFIRMED, ()),
        "2xx": (CONFIRMED, ()),
        "300-699": (CONFIRMED, ()),
        "timer I": (TERMINATED, ()),
        "error": (CONFIRMED, ()),
    },
}

#: RFC 3261 figure 8. COMPLETED is kept by ``transactions`` as the bytes of the answer, without an object.
OTHER_SERVER: Table = {
    TRYING: {
        "request": (TRYING, ()),
        "1xx": (PROCEEDING, ("send",)),
        "200-699": (COMPLETED, ("answer",)),
        "no answer": (
            TERMINATED,
            ("tell_timeout",),
        ),  # not in the figure; nobody waits after 64*T1 (RFC 4320)
    },
    PROCEEDING: {
        "request": (PROCEEDING, ("send_again",)),
        "1xx": (PROCEEDING, ("send",)),
        "200-699": (COMPLETED, ("answer",)),
        "no answer": (TERMINATED, ("tell_timeout",)),
        "error": (TERMINATED, ("tell_error",)),
    },
    COMPLETED: {
        "request": (COMPLETED, ("send_again",)),
        "1xx": (COMPLETED, ()),
        "200-699": (COMPLETED, ()),
        "no answer": (COMPLETED, ()),
        "timer J": (TERMINATED, ()),
        "error": (TERMINATED, ("tell_error",)),
    },
}
