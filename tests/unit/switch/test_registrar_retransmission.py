"""A repeated REGISTER over the real transaction layer."""

from typing import Any

import pytest

from mizu.auth.request import Authorizer
from mizu.auth.store_backend import StoreBackend
from mizu.sip.digest import NonceCounts, NonceSigner, answer_challenge
from mizu.sip.flow import Hop
from mizu.sip.message import Message, Request, Response
from mizu.sip.transactions import ServerTransaction, TransactionLayer
from mizu.switch.location import LocationTable
from mizu.switch.registrar import Registrar
from mizu.switch.registration import RegistrationRules
from mizu.testing import FakeClock, FakeWire
from mizu.testing.auth import FakeAccountStore
from mizu.testing.stores import MemoryLocationStore


class OnlyRegisters:
    """As much of the core as a registrar needs."""

    registrar: Registrar
    authorizer: Authorizer

    def request_received(self, tx: ServerTransaction) -> None:
        self.registrar.register(tx)

    def ack_received(self, ack: Request, flow: Any) -> None:
        raise AssertionError("no ACK here")

    def stray_response(self, response: Response, flow: Any) -> None:
        raise AssertionError("no response here")


@pytest.mark.parametrize("known", [False, True])
def test_a_repeated_register_gets_the_same_answer_although_its_nonce_count_is_used_up(known: bool) -> None:
    """The phone did not hear our 200 and sends the same REGISTER again: the same 200, not a challenge; while
    the same credentials in a new transaction are a replay. So with a transaction, and when the account is
    known from memory and the answer needs none."""
    clock, accounts = FakeClock(), FakeAccountStore("alice")
    user, store = OnlyRegisters(), MemoryLocationStore(clock)
    user.authorizer = Authorizer(
        [("accounts", StoreBackend(accounts))],
        realm="mizu",
        signer=NonceSigner(b"k" * 32, 300),
        counts=NonceCounts(10),
        clock=clock,
    )
    user.registrar = Registrar(LocationTable(10), store, user.authorizer, RegistrationRules(), clock)
    layer = TransactionLayer(user, clock.deadlines, clock.mono_s)
    layer.at_once = user.registrar.answer_now
    answers: list[Message] = []
    wire = FakeWire(clock)

    def serve(message: Message, flow: Any) -> None:
        assert isinstance(message, Request)
        challenge = user.authorizer.first_answer(message, flow)
        if challenge is not None:
            layer.answer_stateless(message, flow, challenge.status, fields=challenge.fields)
        else:
            layer.receive(message, flow)

    wire.host("udp:203.0.113.5:5060", sink=serve)
    phone = wire.host("udp:192.0.2.1:5070", sink=lambda message, flow: answers.append(message))
    flow = phone.flow_to(Hop("udp", "203.0.113.5", 5060))
    assert flow is not None

    def send(branch: str, cseq: int = 2, **headers: str) -> Response:
        fields = [
            ("Via", f"SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK{branch}"),
            ("From", "<sip:alice@mizu.test>;tag=1"),
            ("To", "<sip:alice@mizu.test>"),
            ("Call-ID", "c"),
            ("CSeq", f"{cseq} REGISTER"),
            ("Contact", "<sip:alice@192.0.2.1:5070>"),
            *headers.items(),
        ]
        flow.send(Request("REGISTER", "sip:mizu.test", fields).to_bytes())
        clock.advance(1)
        answer = answers.pop()
        assert isinstance(answer, Response)
        assert answers == []
        return answer

    def answered(challenge: Response) -> str:
        return answer_challenge(
            challenge.get("www-authenticate") or "",
            username="alice",
            password="secret",
            method="REGISTER",
            uri="sip:mizu.test",
            cnonce="c",
        )

    if known:
        assert send("y", cseq=1, Authorization=answered(send("x", cseq=1))).status == 200
    puts, asked = len(store.puts), len(accounts.asked)
    challenge = send("a")
    assert challenge.status == 401
    value = answered(challenge)
    first = send("b", Authorization=value)
    assert first.status == 200
    assert send("b", Authorization=value).to_bytes() == first.to_bytes()
    assert layer.tallies.repeated_in == layer.tallies.repeated_out == 1
    assert len(store.puts) == puts + 1
    assert len(accounts.asked) == (asked if known else asked + 1)
    replayed = send("c", Authorization=value)
    assert replayed.status == 401
    assert "stale=true" in (replayed.get("www-authenticate") or "")
    clock.run_until_idle()
    assert len(layer) == 0
