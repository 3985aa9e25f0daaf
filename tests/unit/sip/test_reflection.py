"""What somebody gets whose address may be forged: one answer, and not much more than he sent."""

import pytest

from mizu.sip.message import Request, Response
from mizu.sip.parser import parse_datagram
from mizu.sip.transaction import FINAL_BYTES
from mizu.sip.transactions import ServerTransaction, TransactionLayer
from mizu.testing import FakeClock, RecordedFlow, RecordedUser

INVITE = [
    ("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK1"),
    ("From", "<sip:alice@a>;tag=1"),
    ("To", "<sip:bob@b>;tag=2"),
    ("Call-ID", "c"),
    ("CSeq", "1 INVITE"),
]
CHALLENGES = [
    ("WWW-Authenticate", f'Digest realm="mizu", nonce="{"0" * 56}", algorithm=SHA-256, qop="auth"'),
    ("WWW-Authenticate", f'Digest realm="mizu", nonce="{"0" * 56}", algorithm=MD5, qop="auth"'),
]


class Rig:
    """A layer, and a flow that says how much may be sent to a stranger."""

    def __init__(self, most_bytes: int) -> None:
        self.clock = FakeClock()
        self.user = RecordedUser()
        self.flow = RecordedFlow(self.clock)
        self.flow.answer_max_bytes = most_bytes
        self.layer = TransactionLayer(self.user, self.clock.deadlines, self.clock.mono_s)

    def answer(self, *fields: tuple[str, str]) -> Response | None:
        """What is sent to a REGISTER that is challenged."""
        request = Request("REGISTER", "sip:b", [*INVITE[:-1], ("CSeq", "1 REGISTER")])
        more = (*fields, ("Server", "mizu"), ("Allow", "INVITE, ACK, BYE"))
        self.layer.answer_stateless(request, self.flow, 401, fields=more)
        if not self.flow.sent:
            return None
        response = parse_datagram(self.flow.sent[-1])
        assert isinstance(response, Response)
        return response


def test_an_answer_that_is_too_large_goes_without_what_can_be_missed() -> None:
    """Server and Allow go; of several challenges the shortest stays, which every client knows."""
    rig = Rig(400)
    response = rig.answer(*CHALLENGES)
    assert response is not None
    assert rig.flow.summary == ["401"]
    assert response.get("server") is None
    assert response.get_all("www-authenticate") == [CHALLENGES[1][1]]
    assert len(rig.flow.sent[-1]) <= 400


def test_an_answer_that_is_still_too_large_is_not_sent() -> None:
    """And counted."""
    rig = Rig(200)
    rig.answer(*CHALLENGES)
    assert rig.flow.summary == []
    assert rig.layer.tallies.withheld == 1


@pytest.mark.parametrize("most_bytes", [0, 100])
def test_connections_and_known_senders_get_the_whole_answer(most_bytes: int) -> None:
    """Nobody can forge those."""
    rig = Rig(most_bytes)
    rig.layer.is_known = lambda flow: True
    response = rig.answer(*CHALLENGES)
    assert response is not None
    assert rig.flow.summary == ["401"]
    assert response.get("server") == "mizu"


def refuse(tx: ServerTransaction) -> None:
    tx.respond(tx.request.reply(481))


def test_D2_challenges_are_not_repeated_by_themselves() -> None:
    """One challenge, or one 481, for each copy, even to the known; other refusals until the ACK."""
    for status, sent in ((401, 1), (407, 1), (481, 1), (486, 11)):
        rig = Rig(0)
        rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
        tx = rig.user.transactions[-1]
        tx.respond(tx.request.reply(status))
        rig.clock.run_until_idle()
        assert rig.flow.summary == [str(status)] * sent
        assert len(rig.layer) == 0


@pytest.mark.parametrize("status", [200, 403, 404, 416, 420, 483, 486, 501, 503])
@pytest.mark.parametrize("copies", [1, 2, 5])
def test_D2_no_answer_repeats_itself_to_an_unproved_sender(status: int, copies: int) -> None:
    """Whatever it is: no more than each of his copies allows, and nothing on a timer. A 2xx too."""
    rig = Rig(240)
    for _ in range(copies):
        rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
    tx = rig.user.transactions[-1]
    for _ in range(11 if status == 200 else 1):
        tx.respond(tx.request.reply(status, to_tag="t"))
    rig.clock.run_until_idle()
    assert 0 < sum(map(len, rig.flow.sent)) <= 240 * copies
    assert rig.layer.tallies.withheld > 0
    assert len(rig.layer) == 0


@pytest.mark.parametrize(("most_bytes", "copies"), [(240, 10), (1000, 3), (3000, 1)])
def test_D2_a_final_answer_comes_before_a_provisional_one(most_bytes: int, copies: int) -> None:
    """What an unproved caller may be sent is kept for the answer; a client that asks again hears of it."""
    rig = Rig(most_bytes)
    rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
    tx = rig.user.transactions[-1]
    tx.respond(tx.request.reply(180, to_tag="t"))
    for _ in range(copies - 1):
        assert rig.flow.summary == []
        rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
    assert rig.flow.summary == ["180"]
    large = tx.request.reply(200, to_tag="t", fields=[("X", "y" * (FINAL_BYTES - 300))])
    tx.respond(large)
    assert rig.flow.summary == ["180", "200"]


@pytest.mark.parametrize("method", ["REGISTER", "INVITE", "BYE", "CANCEL"])
def test_D2_a_copy_from_elsewhere_gets_nothing_of_what_was_answered(method: str) -> None:
    """Who saw or made the first one sends copies in the name of somebody: they are no copies."""
    rig, victim = Rig(0), RecordedFlow()
    victim.remote, victim.answer_max_bytes = ("192.0.2.66", 5060), 150
    request = Request(method, "sip:b", [*INVITE[:-1], ("CSeq", f"1 {method}")])
    if method == "CANCEL":
        rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
    rig.layer.receive(request, rig.flow)
    if method != "CANCEL":
        tx = rig.user.transactions[-1]
        tx.respond(tx.request.reply(200, to_tag="secret", fields=[("X", "y" * 1000)]))
    sent = len(rig.flow.sent)
    for _ in range(3):
        rig.layer.receive(Request(method, "sip:b", [*INVITE[:-1], ("CSeq", f"1 {method}")]), victim)
    assert sum(map(len, victim.sent)) <= 450
    assert not any(b"secret" in one for one in victim.sent)
    assert len(rig.flow.sent) == sent
    rig.layer.receive(request, rig.flow)
    assert len(rig.flow.sent) == sent + (method != "INVITE")


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_D2_a_sender_who_is_proved_gets_what_the_protocol_wants(method: str) -> None:
    """From the first answer on, or from the moment at which he is known."""
    rig = Rig(10)
    request = Request(method, "sip:b", [*INVITE[:-1], ("CSeq", f"1 {method}")])
    rig.layer.receive(request, rig.flow)
    tx = rig.user.transactions[-1]
    rig.layer.is_known = lambda flow: True
    tx.respond(tx.request.reply(486, to_tag="t"))
    rig.clock.run_until_idle()
    assert rig.flow.summary == ["486"] * (11 if method == "INVITE" else 1)


def test_D2_each_copy_of_a_challenged_INVITE_gets_the_challenge_again() -> None:
    """So a client whose challenge was lost gets it all the same."""
    rig = Rig(0)
    for _ in range(3):
        rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
        if len(rig.user.transactions) == 1 and not rig.flow.summary:
            tx = rig.user.transactions[-1]
            tx.respond(tx.request.reply(407))
    assert rig.flow.summary == ["407"] * 3
    rig.clock.run_until_idle()
    assert len(rig.layer) == 0


def test_D2_a_challenge_of_a_transaction_is_no_longer_than_it_may_be() -> None:
    """As one without a transaction: Server and Allow go, and all challenges but the shortest."""
    rig = Rig(400)
    rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
    tx = rig.user.transactions[-1]
    tx.respond(tx.request.reply(401, fields=[*CHALLENGES, ("Server", "mizu"), ("Allow", "INVITE, ACK, BYE")]))
    rig.clock.run_until_idle()
    assert [len(sent) <= 400 for sent in rig.flow.sent] == [True]
    response = parse_datagram(rig.flow.sent[0])
    assert response.get_all("www-authenticate") == [CHALLENGES[1][1]]


@pytest.mark.parametrize("method", ["INVITE", "BYE"])
def test_D2_a_481_that_is_too_large_is_not_sent_nor_its_repetitions(method: str) -> None:
    """Whatever the transaction does."""
    rig = Rig(50)
    for _ in range(3):
        rig.layer.receive(Request(method, "sip:b", [*INVITE[:-1], ("CSeq", f"1 {method}")]), rig.flow)
        if rig.user.transactions:
            refuse(rig.user.transactions.pop())
    rig.clock.run_until_idle()
    assert rig.flow.summary == []


def test_D3_a_storm_of_copies_is_one_transaction() -> None:
    """A thousand copies of one INVITE: the user hears of one; each later copy gets the answer again."""
    rig = Rig(0)
    for _ in range(500):
        rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
    assert len(rig.user.transactions) == 1
    assert rig.flow.summary == []
    rig.user.transactions[0].respond(rig.user.transactions[0].request.reply(486))
    for _ in range(499):
        rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
    assert len(rig.user.transactions) == 1
    assert rig.flow.summary == ["486"] * 500
