"""The four machines against the figures of RFC 3261 17 and RFC 6026: every input and timer, UDP and TCP."""

import pytest

from mizu.sip.message import Request, Response
from mizu.sip.transaction import InviteServer, OtherServer
from mizu.sip.transaction_client import InviteClient, OtherClient
from mizu.sip.transaction_tables import INVITE_CLIENT, INVITE_SERVER, OTHER_CLIENT, OTHER_SERVER, TERMINATED
from mizu.sip.transactions import ClientTransaction, ServerTransaction, TransactionLayer
from mizu.testing import FakeClock, RecordedFlow, RecordedUser

GRAIN_S = 0.1  # transactions that only linger may stay so much longer


class Rig:
    """A layer between a recorded user and a recorded flow."""

    def __init__(self, proto: str = "udp") -> None:
        self.clock = FakeClock()
        self.user = RecordedUser()
        self.flow = RecordedFlow(self.clock, proto=proto)
        self.layer = TransactionLayer(self.user, self.clock.deadlines, self.clock.mono_s)

    def client(self, method: str) -> ClientTransaction:
        request = Request(
            method,
            "sip:bob@10.0.0.2",
            [
                ("Route", "<sip:10.0.0.2;lr>"),
                ("From", "<sip:alice@a>;tag=1"),
                ("To", "<sip:bob@b>"),
                ("Call-ID", "call"),
                ("CSeq", f"7 {method}"),
                ("Max-Forwards", "70"),
            ],
        )
        return self.layer.request(request, self.flow, self.user)

    def answer(self, tx: ClientTransaction, status: int, to_tag: str = "b") -> None:
        self.layer.receive(tx.request.reply(status, to_tag=to_tag), self.flow)

    def server(self, method: str) -> ServerTransaction:
        self.send(method)
        return self.user.transactions[-1]

    def send(self, method: str, branch: str = "z9hG4bKx", to: str = "<sip:bob@b>") -> None:
        fields = [
            ("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch={branch}"),
            ("From", "<sip:alice@a>;tag=1"),
            ("To", to),
            ("Call-ID", "call"),
            ("CSeq", f"7 {method}"),
        ]
        self.layer.receive(Request(method, "sip:bob@b", fields), self.flow)

    def ends_after(self, begin_s: float, seconds: float) -> None:
        """The last transaction is gone ``seconds`` after ``begin_s``, a grain later at most."""
        now_s = self.clock.mono_s() - 1000.0
        self.clock.advance(begin_s + seconds - now_s - 0.001)
        assert len(self.layer) > 0
        self.clock.advance(GRAIN_S + 0.002)
        assert len(self.layer) == 0
        assert len(self.clock.deadlines) == 0
        assert self.layer.tallies.unexpected == 0


def respond(tx: ServerTransaction, status: int) -> Response:
    response = tx.request.reply(status, to_tag="tag")
    tx.respond(response)
    return response


# ---------------------------------------------------------------- INVITE client, figure 5


def test_invite_is_repeated_by_timer_a_until_timer_b() -> None:
    """Over UDP: after 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s; given up after 64*T1 = 32 s."""
    rig = Rig()
    tx = rig.client("INVITE")
    rig.clock.advance(31.999)
    assert rig.flow.times_s == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert len(set(rig.flow.sent)) == 1  # the same bytes
    assert rig.user.events == []
    rig.clock.advance(0.001)
    assert rig.user.events == [("timeout",)]
    assert tx.state == TERMINATED
    assert len(rig.layer) == len(rig.clock.deadlines) == 0
    assert rig.layer.tallies.timeouts == 1


def test_invite_over_a_stream_is_sent_once() -> None:
    """Timer A does not run over a reliable transport, timer B does."""
    rig = Rig("tcp")
    rig.client("INVITE")
    rig.clock.advance(31.999)
    assert rig.flow.times_s == [0]
    rig.clock.advance(0.001)
    assert rig.user.events == [("timeout",)]


def test_a_provisional_response_stops_repetition_and_timer_b() -> None:
    """In Proceeding a call may ring for minutes; each provisional response is passed up."""
    rig = Rig()
    tx = rig.client("INVITE")
    rig.answer(tx, 100)
    rig.clock.advance(150)
    rig.answer(tx, 180)
    rig.answer(tx, 183)
    assert rig.user.events == [("response", 100), ("response", 180), ("response", 183)]
    assert len(rig.flow.sent) == 1
    assert tx.state == "proceeding"


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(("proto", "linger_s"), [("udp", 32), ("tcp", 0)])
def test_a_failure_is_acknowledged_and_acknowledged_again(early: bool, proto: str, linger_s: float) -> None:
    """300-699: ACK with the same branch, passed up once, every repetition acknowledged until timer D."""
    rig = Rig(proto)
    tx = rig.client("INVITE")
    if early:
        rig.answer(tx, 180)
    rig.answer(tx, 486)
    assert tx.state == "completed"
    if proto == "udp":
        rig.clock.advance(20)
        rig.answer(tx, 486)
        assert rig.flow.summary == ["INVITE", "ACK", "ACK"]
        assert rig.flow.sent[-1] == rig.flow.sent[-2]
    assert rig.user.events[-1] == ("response", 486)
    assert [event for event in rig.user.events if event == ("response", 486)] == [("response", 486)]
    rig.ends_after(0, linger_s)


def test_the_ack_to_a_failure_is_made_as_17_1_1_3_says() -> None:
    """Same target, top Via, Route, From, Call-ID and CSeq number; To from the response."""
    rig = Rig()
    tx = rig.client("INVITE")
    rig.answer(tx, 404, to_tag="other")
    invite, ack = rig.flow.messages
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri) == ("ACK", "sip:bob@10.0.0.2")
    assert ack.get_all("via") == invite.get_all("via")[:1]
    assert ack.get_all("route") == invite.get_all("route")
    for name in ("from", "call-id"):
        assert ack.get(name) == invite.get(name)
    assert ack.to.tag == "other"
    assert str(ack.cseq) == "7 ACK"


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_every_2xx_is_passed_up_until_timer_m(proto: str) -> None:
    """RFC 6026: Accepted takes more 2xx, of forks and repeated ones, for 64*T1, also over a stream."""
    rig = Rig(proto)
    tx = rig.client("INVITE")
    rig.answer(tx, 200)
    rig.answer(tx, 200)
    rig.clock.advance(10)
    rig.answer(tx, 200, to_tag="fork")
    rig.answer(tx, 486)
    rig.answer(tx, 180)
    assert rig.user.events == [("response", 200)] * 3
    assert rig.flow.summary == ["INVITE"]  # the ACK is the user's
    rig.ends_after(0, 32)
    rig.answer(tx, 200)
    assert rig.user.events[-1] == ("stray", 200)


def test_a_transport_error_ends_an_invite_at_once_or_later() -> None:
    """17.1.4: told, and gone; a repetition that fails counts as well."""
    rig = Rig()
    rig.flow.fault = "refused"
    rig.client("INVITE")
    assert rig.user.events == [("error", "refused")]
    assert len(rig.layer) == len(rig.clock.deadlines) == 0
    rig.flow.fault = ""
    rig.client("INVITE")
    rig.clock.advance(0.1)
    rig.flow.on_error("unreachable")
    assert rig.user.events[-1] == ("error", "unreachable")
    assert len(rig.layer) == 0


def test_an_error_after_a_provisional_response_means_nothing() -> None:
    """The request has arrived."""
    rig = Rig()
    tx = rig.client("INVITE")
    rig.answer(tx, 180)
    rig.flow.on_error("unreachable")
    assert tx.state == "proceeding"


def test_an_ack_that_cannot_be_sent_ends_the_transaction() -> None:
    """Figure 5: Completed, transport error."""
    rig = Rig()
    tx = rig.client("INVITE")
    rig.flow.fault = "gone"
    rig.answer(tx, 500)
    assert rig.user.events == [("error", "gone")]
    rig.clock.run_until_idle()
    assert len(rig.layer) == 0


# ---------------------------------------------------------------- CANCEL, 9.1


def test_cancel_waits_for_a_provisional_response() -> None:
    """9.1: nothing may be cancelled before it is known to have arrived."""
    rig = Rig()
    tx = rig.client("INVITE")
    tx.cancel([("Reason", "SIP;cause=200")])
    assert rig.flow.summary == ["INVITE"]
    rig.answer(tx, 100)
    assert rig.flow.summary == ["INVITE", "CANCEL"]
    invite, cancel = rig.flow.messages
    assert cancel.get_all("via") == invite.get_all("via")
    assert cancel.get_all("route") == invite.get_all("route")
    assert cancel.get("to") == invite.get("to")
    assert cancel.get("reason") == "SIP;cause=200"
    assert str(cancel.cseq) == "7 CANCEL"
    rig.answer(tx, 180)
    tx.cancel()
    assert rig.flow.summary == ["INVITE", "CANCEL"]
    rig.layer.receive(cancel.reply(200), rig.flow)
    rig.answer(tx, 487)
    assert rig.flow.summary == ["INVITE", "CANCEL", "ACK"]
    assert rig.user.events[-1] == ("response", 487)
    rig.clock.run_until_idle(60)
    assert len(rig.layer) == 0


def test_a_cancelled_invite_without_an_end_is_given_up_after_64_t1() -> None:
    """9.1: 32 s after the CANCEL, which itself is repeated as any request."""
    rig = Rig()
    tx = rig.client("INVITE")
    rig.answer(tx, 180)
    rig.clock.advance(10)
    tx.cancel()
    rig.clock.advance(31.999)
    assert rig.user.events == [("response", 180)]
    assert rig.flow.summary.count("CANCEL") == 11
    rig.clock.advance(0.001)
    assert rig.user.events[-1] == ("timeout",)
    assert len(rig.layer) == 0


def test_nothing_is_cancelled_after_a_final_response_or_when_there_never_was_one() -> None:
    """A final response makes the CANCEL useless; without any response timer B ends the matter."""
    rig = Rig()
    tx = rig.client("INVITE")
    rig.answer(tx, 200)
    tx.cancel()
    assert rig.flow.summary == ["INVITE"]
    silent = rig.client("INVITE")
    silent.cancel()
    rig.clock.advance(33)
    assert "CANCEL" not in rig.flow.summary
    assert rig.user.events[-1] == ("timeout",)


def test_a_2xx_that_is_faster_than_the_cancel_wins() -> None:
    """It is passed up; acknowledging and hanging up is the user's."""
    rig = Rig()
    tx = rig.client("INVITE")
    rig.answer(tx, 180)
    tx.cancel()
    rig.answer(tx, 200)
    assert rig.user.events[-1] == ("response", 200)
    assert tx.state == "accepted"


def test_only_invite_can_be_cancelled() -> None:
    """9.1: CANCEL of other requests is not sent."""
    rig = Rig()
    tx = rig.client("OPTIONS")
    rig.answer(tx, 100)
    tx.cancel()
    assert rig.flow.summary == ["OPTIONS"]


def test_timer_c_cancels_a_call_that_rings_for_ever() -> None:
    """Set again by each provisional response but 100 (16.6); then 64*T1 for the end."""
    rig = Rig()
    tx = rig.client("INVITE")
    c_s = rig.layer.timers.c_s
    rig.answer(tx, 180)
    rig.clock.advance(c_s - 1)
    rig.answer(tx, 180)
    rig.clock.advance(c_s - 1)
    rig.answer(tx, 100)
    assert "CANCEL" not in rig.flow.summary
    rig.clock.advance(1)
    assert "CANCEL" in rig.flow.summary
    rig.clock.run_until_idle()
    assert rig.user.events[-1] == ("timeout",)
    assert len(rig.layer) == 0


# ---------------------------------------------------------------- non-INVITE client, figure 6


def test_a_request_is_repeated_by_timer_e_until_timer_f() -> None:
    """Over UDP: doubled up to T2 = 4 s, given up after 32 s."""
    rig = Rig()
    rig.client("OPTIONS")
    rig.clock.advance(31.999)
    assert rig.flow.times_s == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert rig.user.events == []
    rig.clock.advance(0.001)
    assert rig.user.events == [("timeout",)]
    assert len(rig.layer) == len(rig.clock.deadlines) == 0


def test_in_proceeding_a_request_is_repeated_every_t2() -> None:
    """A provisional response does not stop timer E, it slows it down; timer F stays."""
    rig = Rig()
    tx = rig.client("OPTIONS")
    rig.clock.advance(0.1)
    rig.answer(tx, 100)
    rig.clock.advance(31.9)
    assert rig.flow.times_s == [0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    assert rig.user.events == [("response", 100), ("timeout",)]


def test_a_request_over_a_stream_is_sent_once_and_given_up_by_timer_f() -> None:
    """Timer E does not run over a reliable transport."""
    rig = Rig("tls")
    rig.client("BYE")
    rig.clock.advance(32)
    assert rig.flow.times_s == [0]
    assert rig.user.events == [("timeout",)]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("status", [200, 302, 481, 603])
def test_a_final_response_is_passed_up_once_and_repetitions_swallowed_until_timer_k(
    early: bool, status: int
) -> None:
    """Timer K = T4 = 5 s over UDP."""
    rig = Rig()
    tx = rig.client("BYE")
    if early:
        rig.answer(tx, 100)
    rig.answer(tx, status)
    rig.clock.advance(4)
    rig.answer(tx, status)
    assert rig.user.events[-1] == ("response", status)
    assert rig.user.events.count(("response", status)) == 1
    assert rig.flow.summary == ["BYE"]
    rig.ends_after(0, 5)
    rig.answer(tx, status)
    assert rig.user.events[-1] == ("stray", status)


def test_over_a_stream_timer_k_is_zero() -> None:
    """The transaction is gone with its final response."""
    rig = Rig("tcp")
    tx = rig.client("BYE")
    rig.answer(tx, 200)
    assert len(rig.layer) == len(rig.clock.deadlines) == 0


@pytest.mark.parametrize("early", [False, True])
def test_a_transport_error_ends_a_request(early: bool) -> None:
    """Figure 6: from Trying and from Proceeding."""
    rig = Rig()
    tx = rig.client("BYE")
    if early:
        rig.answer(tx, 100)
    rig.flow.on_error("unreachable")
    assert rig.user.events[-1] == ("error", "unreachable")
    assert len(rig.layer) == len(rig.clock.deadlines) == 0
    rig.answer(tx, 200)
    assert rig.user.events[-1] == ("stray", 200)


# ---------------------------------------------------------------- INVITE server, figure 7 and RFC 6026


def test_an_invite_nobody_answers_gets_100_after_200_ms() -> None:
    """17.2.1: unless the user answers earlier; the 100 is what a repeated INVITE gets."""
    rig = Rig()
    rig.server("INVITE")
    rig.clock.advance(0.199)
    assert rig.flow.sent == []
    rig.clock.advance(0.002)
    assert rig.flow.summary == ["100"]
    rig.send("INVITE")
    assert rig.flow.summary == ["100", "100"]
    assert rig.user.events == [("request", "INVITE")]


def test_an_invite_answered_in_time_gets_no_100() -> None:
    """One response is enough."""
    rig = Rig()
    tx = rig.server("INVITE")
    rig.clock.advance(0.1)
    respond(tx, 180)
    rig.clock.advance(1)
    assert rig.flow.summary == ["180"]


def test_a_repeated_invite_gets_the_newest_provisional_response() -> None:
    """And nothing while there is none."""
    rig = Rig()
    tx = rig.server("INVITE")
    rig.send("INVITE")
    assert rig.flow.sent == []
    respond(tx, 100)
    respond(tx, 183)
    rig.send("INVITE")
    assert rig.flow.summary == ["100", "183", "183"]
    assert rig.layer.tallies.repeated_in == 2


def test_a_failure_is_repeated_by_timer_g_until_timer_h() -> None:
    """Over UDP: doubled up to T2; without ACK given up after 32 s, which is told."""
    rig = Rig()
    tx = rig.server("INVITE")
    late: list[str] = []
    tx.on_timeout = lambda: late.append("H")
    respond(tx, 486)
    rig.clock.advance(31.999)
    assert rig.flow.times_s == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert late == []
    rig.clock.advance(0.001)
    assert late == ["H"]
    assert len(rig.layer) == len(rig.clock.deadlines) == 0


def test_a_failure_over_a_stream_is_sent_once_but_waits_for_its_ack() -> None:
    """Timer G does not run over a reliable transport, timer H does."""
    rig = Rig("tcp")
    tx = rig.server("INVITE")
    respond(tx, 486)
    rig.clock.advance(31.999)
    assert rig.flow.times_s == [0]
    assert len(rig.layer) == 1
    rig.clock.advance(0.001)
    assert len(rig.layer) == 0


@pytest.mark.parametrize(("proto", "linger_s"), [("udp", 5), ("tcp", 0)])
def test_the_ack_stops_repetition_and_is_swallowed_until_timer_i(proto: str, linger_s: float) -> None:
    """Timer I = T4 over UDP, zero over a stream; the ACK is told once and is no business of the user's."""
    rig = Rig(proto)
    tx = rig.server("INVITE")
    acks: list[Request] = []
    tx.on_ack = acks.append
    respond(tx, 486)
    rig.send("INVITE")
    rig.clock.advance(1)
    rig.send("ACK", to="<sip:bob@b>;tag=tag")
    assert tx.state == "confirmed"
    sent = len(rig.flow.sent)
    rig.send("ACK")
    rig.send("INVITE")
    assert len(acks) == 1
    assert rig.user.acks == []
    rig.ends_after(1, linger_s)
    assert len(rig.flow.sent) == sent


def test_after_a_2xx_the_transaction_stays_for_timer_l() -> None:
    """RFC 6026: INVITEs are swallowed, more 2xx are sent, ACKs go up, for 64*T1."""
    rig = Rig()
    tx = rig.server("INVITE")
    late: list[str] = []
    tx.on_timeout = lambda: late.append("L")
    respond(tx, 180)
    ok = respond(tx, 200)
    assert tx.final_sent
    assert tx.state == "accepted"
    rig.send("INVITE")
    assert rig.flow.summary == ["180", "200"]
    rig.clock.advance(1)
    tx.respond(ok)
    rig.send("ACK", to="<sip:bob@b>;tag=tag")
    rig.send("ACK", branch="z9hG4bKother", to="<sip:bob@b>;tag=tag")
    assert rig.flow.summary == ["180", "200", "200"]
    assert len(rig.user.acks) == 2
    assert late == []
    rig.ends_after(0, 32)
    assert late == ["L"]


@pytest.mark.parametrize("first", [200, 486])
def test_a_second_final_response_is_not_sent(first: int) -> None:
    """17.2.1: the first one holds."""
    rig = Rig()
    tx = rig.server("INVITE")
    respond(tx, first)
    respond(tx, 500)
    respond(tx, 180)
    assert rig.flow.summary == [str(first)]


@pytest.mark.parametrize("status", [180, 200, 486])
def test_a_transport_error_is_told_and_the_invite_stays(status: int) -> None:
    """RFC 6026 8.8: the user decides; a repeated request may find another way."""
    rig = Rig()
    tx = rig.server("INVITE")
    errors: list[str] = []
    tx.on_error = errors.append
    rig.flow.fault = "refused"
    respond(tx, status)
    assert errors == ["refused"]
    assert len(rig.layer) == 1
    rig.flow.fault = ""
    if status == 180:
        respond(tx, 503)
    rig.clock.run_until_idle(100)
    assert len(rig.layer) == 0


# ---------------------------------------------------------------- non-INVITE server, figure 8


@pytest.mark.parametrize("early", [False, True])
def test_the_answer_is_repeated_until_timer_j(early: bool) -> None:
    """Over UDP a repeated request gets the same bytes for 64*T1 = 32 s, and then is a new one."""
    rig = Rig()
    tx = rig.server("OPTIONS")
    rig.send("OPTIONS")
    assert rig.flow.sent == []  # Trying: nothing to repeat
    if early:
        respond(tx, 100)
        rig.send("OPTIONS")
        assert rig.flow.summary == ["100", "100"]
    respond(tx, 200)
    rig.clock.advance(31.9)
    rig.send("OPTIONS")
    assert rig.flow.sent[-1] == rig.flow.sent[-2]
    assert rig.user.events == [("request", "OPTIONS")]
    rig.ends_after(0, 32)
    rig.send("OPTIONS")
    assert rig.user.events == [("request", "OPTIONS")] * 2


def test_over_a_stream_timer_j_is_zero() -> None:
    """Nothing is kept once it is answered."""
    rig = Rig("tcp")
    tx = rig.server("OPTIONS")
    rig.clock.advance(1)
    respond(tx, 200)
    assert len(rig.layer) == 0


def test_a_second_final_response_is_discarded() -> None:
    """17.2.2: the first one holds, also for repeated requests."""
    rig = Rig()
    tx = rig.server("REGISTER")
    respond(tx, 200)
    respond(tx, 500)
    respond(tx, 100)
    rig.send("REGISTER")
    assert rig.flow.summary == ["200", "200"]
    assert tx.final_sent
    assert not tx.pending


@pytest.mark.parametrize("status", [100, 200])
def test_a_transport_error_ends_a_server_transaction(status: int) -> None:
    """Figure 8: told, and gone."""
    rig = Rig()
    tx = rig.server("MESSAGE")
    errors: list[str] = []
    tx.on_error = errors.append
    rig.flow.fault = "refused"
    respond(tx, status)
    assert errors == ["refused"]
    assert len(rig.layer) == 0
    respond(tx, 200)
    assert len(rig.flow.sent) == 1


def test_a_request_the_user_forgets_is_forgotten() -> None:
    """Nobody waits for an answer after 64*T1 (RFC 4320); the table must not keep it for ever."""
    rig = Rig()
    tx = rig.server("INFO")
    late: list[str] = []
    tx.on_timeout = lambda: late.append("late")
    rig.ends_after(0, 32)
    assert late == ["late"]
    respond(tx, 200)
    assert rig.flow.sent == []


# ---------------------------------------------------------------- the tables


@pytest.mark.parametrize(
    ("table", "machine"),
    [
        (INVITE_CLIENT, InviteClient),
        (OTHER_CLIENT, OtherClient),
        (INVITE_SERVER, InviteServer),
        (OTHER_SERVER, OtherServer),
    ],
)
def test_every_state_of_a_table_is_reachable_and_can_end(table: dict, machine: type) -> None:
    """From the first state every other one can be reached, and from each the end."""
    reached, new = set(), {machine.first_state}
    while new:
        state = new.pop()
        reached.add(state)
        if state != TERMINATED:
            new |= {after for after, _ in table[state].values()} - reached
    assert reached == {*table, TERMINATED}
    for state, row in table.items():
        assert any(after != state for after, _ in row.values())


def test_a_released_transaction_still_swallows_repetitions() -> None:
    """An acknowledged INVITE keeps its place until timer L, without its request."""
    rig = Rig()
    tx = rig.server("INVITE")
    tx.respond(tx.request.reply(200, to_tag="b"))
    tx.release()
    assert not hasattr(tx, "request")
    sent = len(rig.flow.sent)
    rig.send("INVITE")
    tx.failed("too late")
    assert len(rig.flow.sent) == sent
    assert len(rig.user.transactions) == 1
    rig.clock.advance(rig.layer.timers.l_s + GRAIN_S)
    assert len(rig.layer) == 0
