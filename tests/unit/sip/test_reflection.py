"""What somebody gets whose address may be forged: one answer, and not much more than he sent."""

import pytest

from mizu.sip.message import Request, Response
from mizu.sip.parser import parse_datagram
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
        self.flow.answer_max_bytes = most_bytes  # type: ignore[attr-defined]
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


def test_D2_what_a_forged_INVITE_gets_is_not_repeated_by_itself() -> None:
    """One challenge, or one 481, for each copy; other refusals are repeated until the ACK."""
    for status, sent in ((401, 1), (407, 1), (481, 1), (486, 11)):
        rig = Rig(0)
        rig.layer.receive(Request("INVITE", "sip:b", INVITE), rig.flow)
        tx = rig.user.transactions[-1]
        tx.respond(tx.request.reply(status))
        rig.clock.run_until_idle()
        assert rig.flow.summary == [str(status)] * sent
        assert len(rig.layer) == 0


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
