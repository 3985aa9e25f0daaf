"""Which message belongs to which transaction, and what happens at the limits of the table."""

import pytest

from mizu.errors import MizuError, Overloaded, StoreBusy
from mizu.sip.flow import Hop
from mizu.sip.message import Request
from mizu.sip.transactions import ServerTransaction, TransactionLayer, random_token
from mizu.testing import FakeClock, RecordedFlow, RecordedUser


class Rig:
    """A layer between a recorded user and recorded flows."""

    def __init__(self, limit: int = 100) -> None:
        self.clock = FakeClock()
        self.user = RecordedUser()
        self.flow = RecordedFlow(self.clock)
        self.layer = TransactionLayer(self.user, self.clock.deadlines, self.clock.mono_s, limit=limit)

    def request(self, method: str, number: int = 1, **changes: str) -> Request:
        values = {
            "uri": "sip:bob@b",
            "branch": f";branch=z9hG4bK{number}",
            "sent_by": "10.0.0.2:5060",
            "from_": "<sip:alice@a>;tag=1",
            "to": "<sip:bob@b>",
            "call_id": f"call{number}",
            "cseq": str(number),
        } | changes
        fields = [
            ("Via", f"SIP/2.0/UDP {values['sent_by']}{values['branch']}"),
            ("From", values["from_"]),
            ("To", values["to"]),
            ("Call-ID", values["call_id"]),
            ("CSeq", f"{values['cseq']} {method}"),
            ("Max-Forwards", "70"),
        ]
        return Request(method, values["uri"], fields)

    def send(self, method: str, number: int = 1, flow: RecordedFlow | None = None, **changes: str) -> None:
        self.layer.receive(self.request(method, number, **changes), flow or self.flow)

    def new(self, method: str, number: int = 1, **changes: str) -> ServerTransaction:
        self.send(method, number, **changes)
        return self.user.transactions[-1]


def respond(tx: ServerTransaction, status: int) -> None:
    tx.respond(tx.request.reply(status, to_tag="tag"))


# ---------------------------------------------------------------- matching, 17.2.3


@pytest.mark.parametrize(
    "changes",
    [{"branch": ";branch=z9hG4bKother"}, {"sent_by": "10.0.0.3:5060"}, {"sent_by": "10.0.0.2:5070"}],
    ids=str,
)
def test_another_branch_or_sent_by_is_another_request(changes: dict[str, str]) -> None:
    """Branch and sent-by together name a transaction: two hosts may choose the same branch."""
    rig = Rig()
    rig.send("OPTIONS")
    rig.send("OPTIONS", call_id="other", **changes)
    assert len(rig.user.transactions) == 2


def test_one_branch_with_two_methods_is_two_requests() -> None:
    """The method must be the same, ACK apart."""
    rig = Rig()
    rig.send("OPTIONS")
    rig.send("INFO")
    assert [tx.request.method for tx in rig.user.transactions] == ["OPTIONS", "INFO"]


OLD = {"branch": ""}
OLD_BRANCH = {"branch": ";branch=1"}


@pytest.mark.parametrize("old", [OLD, OLD_BRANCH], ids=["no branch", "no cookie"])
def test_a_peer_of_rfc_2543_is_matched_by_all_its_headers(old: dict[str, str]) -> None:
    """Without the magic cookie: Request-URI, From tag, Call-ID, CSeq and Via decide."""
    rig = Rig()
    rig.send("OPTIONS", **old)
    rig.send("OPTIONS", **old)
    assert len(rig.user.transactions) == 1
    for change in (
        {"uri": "sip:carol@b"},
        {"from_": "<sip:alice@a>;tag=2"},
        {"call_id": "x"},
        {"cseq": "9"},
        {"sent_by": "10.0.0.9"},
    ):
        rig.send("OPTIONS", **old, **change)
    # The last one came another way with the same From, Call-ID and CSeq: merged, 482.
    assert len(rig.user.transactions) + rig.layer.tallies.merged == 6


def test_the_ack_of_an_rfc_2543_peer_is_told_by_its_to_tag() -> None:
    """ACK with our To tag ends our failure; one for another dialog goes up."""
    rig = Rig()
    tx = rig.new("INVITE", **OLD)
    respond(tx, 486)
    rig.send("ACK", **OLD, to="<sip:bob@b>;tag=other")
    assert tx.state == "completed"
    assert len(rig.user.acks) == 1
    rig.send("ACK", **OLD, to="<sip:bob@b>;tag=tag")
    assert tx.state == "confirmed"
    assert len(rig.user.acks) == 1


def test_an_ack_of_no_transaction_goes_up() -> None:
    """The ACK to a 2xx has a branch of its own."""
    rig = Rig()
    rig.send("ACK", 5, to="<sip:bob@b>;tag=x")
    assert rig.user.events == [("ack", "ACK")]
    assert len(rig.layer) == 0


# ---------------------------------------------------------------- merged requests, 8.2.2.2


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "OPTIONS", "REGISTER"])
def test_a_request_that_comes_two_ways_is_served_once(method: str) -> None:
    """A second copy with another branch gets 482 while the first is at work."""
    rig = Rig()
    rig.send(method)
    rig.send(method, branch=";branch=z9hG4bKfork")
    assert len(rig.user.transactions) == 1
    assert rig.flow.summary == ["482"]
    assert rig.layer.tallies.merged == 1


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_the_second_copy_may_come_after_the_answer(method: str) -> None:
    """As long as the first transaction lingers; then it is a new request."""
    rig = Rig()
    respond(rig.new(method), 200)
    rig.send(method, branch=";branch=z9hG4bKfork")
    assert rig.flow.summary == ["200", "482"]
    rig.clock.run_until_idle()
    rig.send(method, branch=";branch=z9hG4bKlate")
    assert len(rig.user.transactions) == 2


def test_another_from_tag_or_a_request_in_a_dialog_is_not_merged() -> None:
    """Call-ID and CSeq alone do not make two requests one."""
    rig = Rig()
    rig.send("MESSAGE")
    rig.send("MESSAGE", branch=";branch=z9hG4bKa", from_="<sip:alice@a>;tag=2")
    rig.send("MESSAGE", branch=";branch=z9hG4bKb", to="<sip:bob@b>;tag=x")
    assert len(rig.user.transactions) == 3
    assert rig.layer.tallies.merged == 0


# ---------------------------------------------------------------- CANCEL, 9.2


def test_cancel_is_answered_and_told() -> None:
    """The layer says 200 to the CANCEL with the To tag of the INVITE's answers; 487 is the user's."""
    rig = Rig()
    tx = rig.new("INVITE")
    told: list[Request] = []
    tx.on_cancel = told.append
    respond(tx, 180)
    rig.send("CANCEL")
    assert rig.flow.summary == ["180", "200"]
    assert rig.flow.messages[-1].cseq.method == "CANCEL"
    assert rig.flow.messages[-1].to.tag == "tag"
    assert tx.cancelled
    rig.send("CANCEL")
    assert len(told) == 1
    assert rig.flow.sent[-1] == rig.flow.sent[-2]
    respond(tx, 487)
    assert rig.flow.summary[-1] == "487"


def test_cancel_after_the_final_response_changes_nothing() -> None:
    """It gets 200 and the user is not told."""
    rig = Rig()
    tx = rig.new("INVITE")
    told: list[Request] = []
    tx.on_cancel = told.append
    respond(tx, 200)
    rig.send("CANCEL")
    assert rig.flow.summary == ["200", "200"]
    assert told == []
    assert not tx.cancelled


def test_cancel_of_nothing_gets_481() -> None:
    """Without state; a repetition gets the very same answer."""
    rig = Rig()
    rig.send("CANCEL", 5)
    rig.send("CANCEL", 5)
    assert rig.flow.summary == ["481", "481"]
    assert rig.flow.sent[0] == rig.flow.sent[1]
    assert len(rig.layer) == 0


def test_cancel_from_another_host_cancels_nothing() -> None:
    """Who has seen or guessed a branch elsewhere cannot end the call; another port is let through (NAT)."""
    rig = Rig()
    tx = rig.new("INVITE")
    rig.send("CANCEL", flow=RecordedFlow(remote=("10.6.6.6", 5060)))
    assert not tx.cancelled
    rig.send("CANCEL", flow=RecordedFlow(remote=("10.0.0.2", 6000)))
    assert tx.cancelled


def test_cancel_of_another_request_than_invite_has_no_effect() -> None:
    """9.2: answered 200, nothing else."""
    rig = Rig()
    tx = rig.new("MESSAGE")
    rig.send("CANCEL")
    assert rig.flow.summary == ["200"]
    assert tx.pending


# ---------------------------------------------------------------- responses, 17.1.3


def test_a_response_is_matched_by_branch_and_method() -> None:
    """Another branch, or the same with another method in CSeq, belongs to nobody."""
    rig = Rig()
    tx = rig.layer.request(rig.request("OPTIONS"), rig.flow, rig.user)
    wrong_method = tx.request.reply(200)
    wrong_method.set("CSeq", "1 INVITE")
    rig.layer.receive(wrong_method, rig.flow)
    rig.layer.receive(rig.request("OPTIONS", 7).reply(200), rig.flow)
    assert rig.user.events == [("stray", 200)] * 2
    rig.layer.receive(tx.request.reply(200), rig.flow)
    assert rig.user.events[-1] == ("response", 200)
    assert rig.layer.tallies.stray == 2


def test_our_via_names_transport_address_and_an_unguessable_branch() -> None:
    """8.1.1.7; rport over UDP (RFC 3581), brackets around IPv6."""
    rig = Rig()
    udp = rig.layer.request(rig.request("OPTIONS"), rig.flow, rig.user)
    via = udp.request.via
    assert (via.proto, via.host, via.port) == ("UDP", "10.0.0.1", 5060)
    assert via.branch == udp.branch
    assert udp.branch.startswith("z9hG4bK")
    assert "rport" in via.params
    flow = RecordedFlow(proto="tls", local=("2001:db8::1", 5061))
    tls = rig.layer.request(rig.request("OPTIONS"), flow, rig.user)
    assert (tls.request.get("via") or "").startswith("SIP/2.0/TLS [2001:db8::1]:5061;branch=")
    assert "rport" not in tls.request.via.params


def test_tokens_are_long_and_never_the_same() -> None:
    """72 bits; a thousand of them differ."""
    tokens = {random_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token) for token in tokens} == {18}


def test_a_response_nobody_can_read_is_dropped() -> None:
    """Its CSeq names no number: counted, no error."""
    rig = Rig()
    response = rig.request("OPTIONS").reply(200)
    response.set("CSeq", "many OPTIONS")
    rig.layer.receive(response, rig.flow)
    assert rig.user.events == []
    assert rig.layer.tallies.stray == 1


# ---------------------------------------------------------------- lost connections, 18.2.2


class OneTransport:
    """Gives one flow for every hop and notes the hops."""

    def __init__(self, flow: RecordedFlow) -> None:
        self.flow, self.hops = flow, []

    def flow_to(self, hop: Hop, listener: str = "") -> RecordedFlow:
        self.hops.append((hop.proto, hop.host, hop.port))
        return self.flow

    def flow_of(self, listener: str, host: str, port: int) -> None:
        return None


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_a_response_whose_connection_is_gone_goes_over_a_new_one(method: str) -> None:
    """To the source address and the port of the Via, once; then the failure is told."""
    rig = Rig()
    new = RecordedFlow(proto="tcp")
    transports = OneTransport(new)
    layer = TransactionLayer(rig.user, rig.clock.deadlines, rig.clock.mono_s, transports=transports)
    gone = RecordedFlow(proto="tcp", remote=("10.0.0.7", 40001))
    gone.fault = "connection closed"
    layer.receive(rig.request(method, sent_by="phone:5070"), gone)
    errors: list[str] = []
    tx = rig.user.transactions[0]
    tx.on_error = errors.append
    respond(tx, 200)
    assert transports.hops == [("tcp", "10.0.0.7", 5070)]
    assert new.summary == ["200"]
    assert errors == []
    new.on_error("refused")
    assert errors == ["refused"]
    assert len(transports.hops) == 1


# ---------------------------------------------------------------- limits


def test_at_the_limit_new_requests_get_503_without_state() -> None:
    """With Retry-After; open transactions go on, and when one ends there is room again."""
    rig = Rig(limit=3)
    open_ones = [rig.new("INVITE", number) for number in range(3)]
    rig.send("INVITE", 10)
    refusal = rig.flow.messages[-1]
    assert refusal.status == 503
    assert refusal.get("retry-after")
    assert len(rig.layer) == 3
    assert rig.layer.tallies.refused == 1
    rig.send("ACK", 10)  # its ACK disturbs nothing
    respond(open_ones[0], 200)
    assert rig.flow.summary[-1] == "200"
    rig.clock.advance(33)
    rig.send("INVITE", 11)
    assert rig.user.transactions[-1].request.cseq.number == 11


def test_at_the_limit_the_oldest_kept_answers_go_first() -> None:
    """Lingering answers give way to new work; the newer ones are still repeated."""
    rig = Rig(limit=3)
    rig.user.on_request = lambda tx: respond(tx, 200)
    for number in range(10):
        rig.send("OPTIONS", number)
    assert rig.layer.tallies.refused == 0
    assert len(rig.layer) == 3
    rig.send("OPTIONS", 9)
    assert len(rig.user.transactions) == 10
    rig.send("OPTIONS", 0)
    assert len(rig.user.transactions) == 11
    rig.clock.run_until_idle()
    assert len(rig.layer) == 0


def test_at_the_limit_we_send_nothing_new_but_finish_what_is_there() -> None:
    """A new request raises; one inside a dialog and a CANCEL are sent all the same."""
    rig = Rig(limit=1)
    tx = rig.layer.request(rig.request("INVITE"), rig.flow, rig.user)
    with pytest.raises(Overloaded):
        rig.layer.request(rig.request("INVITE", 2), rig.flow, rig.user)
    rig.layer.request(rig.request("BYE", 3, to="<sip:bob@b>;tag=x"), rig.flow, rig.user)
    rig.layer.receive(tx.request.reply(180, to_tag="b"), rig.flow)
    tx.cancel()
    assert rig.flow.summary == ["INVITE", "BYE", "CANCEL"]


# ---------------------------------------------------------------- faults of the user


def test_an_error_the_user_raises_on_purpose_is_the_answer() -> None:
    """Each MizuError knows its status; 503 says when to come back."""
    rig = Rig()

    def busy(tx: ServerTransaction) -> None:
        raise StoreBusy("the database is away")

    rig.user.on_request = busy
    rig.send("REGISTER")
    assert rig.flow.messages[0].status == 503
    assert rig.flow.messages[0].get("retry-after")


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_any_other_error_is_answered_500_and_raised_on(method: str) -> None:
    """The peer gets an answer, the log a traceback, the table no leftover."""
    rig = Rig()

    def wrong(tx: ServerTransaction) -> None:
        raise ZeroDivisionError

    rig.user.on_request = wrong
    with pytest.raises(ZeroDivisionError):
        rig.send(method)
    assert rig.flow.summary == ["500"]
    rig.clock.run_until_idle()
    assert len(rig.layer) == 0


def test_an_error_after_the_answer_changes_nothing() -> None:
    """One final response."""
    rig = Rig()

    def late(tx: ServerTransaction) -> None:
        respond(tx, 200)
        raise MizuError

    rig.user.on_request = late
    rig.send("OPTIONS")
    assert rig.flow.summary == ["200"]


def test_a_from_that_cannot_be_read_is_answered_400() -> None:
    """Also when it only shows while matching (RFC 2543 peers)."""
    rig = Rig()
    rig.send("OPTIONS", branch="", from_='"unclosed <sip:a@b')
    assert rig.flow.summary == ["400"]
    assert rig.user.events == []


# ---------------------------------------------------------------- counting


def test_the_layer_counts_what_it_does() -> None:
    """By method and class of status; unknown methods of strangers share one counter."""
    rig = Rig()
    rig.user.on_request = lambda tx: respond(tx, 404)
    rig.send("OPTIONS")
    rig.send("OPTIONS")
    for number in range(5):
        rig.send(f"X{number}", number)
    tallies = rig.layer.tallies
    assert tallies.requests_in["OPTIONS"] == 1
    assert tallies.requests_in["other"] == 5
    assert len(tallies.requests_in) < 20
    assert tallies.responses_out[4] == 6
    assert tallies.repeated_in == tallies.repeated_out == 1
    tx = rig.layer.request(rig.request("BYE"), rig.flow, rig.user)
    rig.layer.receive(tx.request.reply(200), rig.flow)
    assert tallies.requests_out["BYE"] == 1
    assert tallies.responses_in[2] == 1


def test_open_transactions_are_counted_by_machine_and_state() -> None:
    """What the status page shows."""
    rig = Rig()
    rig.send("INVITE")
    respond(rig.new("INVITE", 2), 200)
    respond(rig.new("INVITE", 3), 486)
    rig.send("INFO", 4)
    respond(rig.new("INFO", 5), 200)
    rig.layer.request(rig.request("INVITE", 6), rig.flow, rig.user)
    tx = rig.layer.request(rig.request("BYE", 7), rig.flow, rig.user)
    rig.layer.receive(tx.request.reply(200), rig.flow)
    assert rig.layer.counts() == {
        "invite server proceeding": 1,
        "invite server accepted": 1,
        "invite server completed": 1,
        "server trying": 1,
        "server completed": 1,
        "invite client calling": 1,
        "client completed": 1,
    }
    assert len(rig.layer) == 7


def test_settled_client_transactions_are_bounded_too() -> None:
    """At the limit the oldest stops swallowing repetitions."""
    rig = Rig(limit=2)
    sent = []
    for number in range(4):
        tx = rig.layer.request(rig.request("OPTIONS", number), rig.flow, rig.user)
        rig.layer.receive(tx.request.reply(200), rig.flow)
        sent.append(tx)
    assert len(rig.layer) == 2
    rig.layer.receive(sent[3].request.reply(200), rig.flow)
    assert rig.layer.tallies.stray == 0
    rig.layer.receive(sent[0].request.reply(200), rig.flow)
    assert rig.layer.tallies.stray == 1
    rig.clock.run_until_idle()
    assert len(rig.layer) == 0


def test_an_input_without_a_row_is_counted_and_changes_nothing() -> None:
    """It cannot happen; if it does, the server goes on."""
    rig = Rig()
    tx = rig.new("INVITE")
    tx.step("timer K")
    assert tx.state == "proceeding"
    assert rig.layer.tallies.unexpected == 1


def test_who_holds_an_ended_transaction_keeps_nothing_else_alive() -> None:
    """Callbacks and users are let go, so that calls are freed without the cycle collector."""
    rig = Rig()
    client = rig.layer.request(rig.request("BYE"), rig.flow, rig.user)
    rig.layer.receive(client.request.reply(200), rig.flow)
    assert client.user is not rig.user
    server = rig.new("INVITE", 2)
    server.on_timeout = lambda: None
    respond(server, 200)
    rig.clock.run_until_idle()
    assert server.on_timeout is None
