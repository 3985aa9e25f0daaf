"""RFC 3665 2: registration, each flow also with every single message lost, doubled and late."""

import pytest

from mizu.auth.request import Authorizer
from mizu.model import Account, AuthAnswer, Binding
from mizu.sip.digest import ha1
from mizu.sip.nonces import NonceCounts, NonceSigner
from mizu.sip.transactions import ServerTransaction, TransactionLayer
from mizu.switch.location import LocationTable
from mizu.switch.registrar import Registrar
from mizu.switch.registration import RegistrationRules
from mizu.testing import FakeWire, SipPeer, run_clean, run_with_each_fault
from mizu.testing.auth import FakeAuthBackend
from mizu.testing.stores import MemoryLocationStore


class RegistrarHost:
    """A host that serves REGISTER and nothing else."""

    def __init__(self, wire: FakeWire) -> None:
        clock = wire.clock
        self.locations = LocationTable(100)
        account = Account(id=1, username="bob")
        backend = FakeAuthBackend({"bob": AuthAnswer(account, {"MD5": ha1("bob", "mizu", "secret")})})
        authorizer = Authorizer(
            [("fake", backend)],
            realm="mizu",
            signer=NonceSigner(b"k" * 32, 300),
            counts=NonceCounts(1000),
            clock=clock,
        )
        self.registrar = Registrar(
            self.locations, MemoryLocationStore(clock), authorizer, RegistrationRules(), clock
        )
        self.host = wire.host("udp:10.0.0.1:5060", "tcp:10.0.0.1:5060", name="registrar")
        self.layer = TransactionLayer(self, clock.deadlines, clock.mono_s)
        self.host.sink = self.layer.receive

    def request_received(self, tx: ServerTransaction) -> None:
        assert tx.request.method == "REGISTER"
        self.registrar.register(tx)

    def bindings(self, wire: FakeWire) -> list[Binding]:
        return self.locations.lookup("bob", wire.clock.wall().timestamp())


def hosts(wire: FakeWire, password: str = "secret", proto: str = "udp") -> tuple[RegistrarHost, SipPeer]:
    server = f"sip:10.0.0.1;transport={proto}"
    return RegistrarHost(wire), SipPeer(
        wire, "bob", "10.0.0.2", server=server, proto=proto, password=password
    )


def nothing_left(wire: FakeWire, registrar: RegistrarHost, bob: SipPeer) -> None:
    wire.clock.run_until_idle(200)
    assert len(registrar.layer) == len(bob.layer) == 0
    assert registrar.layer.tallies.unexpected == bob.layer.tallies.unexpected == 0
    assert bob.strays == []


def new_registration(wire: FakeWire) -> None:
    """2.1: challenged, then registered; the contact comes back with its lifetime."""
    registrar, bob = hosts(wire)
    done = bob.register(300)
    wire.clock.until(lambda: done.done)
    assert done.status == 200
    assert [response.status for response in done.responses] == [401, 200]
    assert done.final.contacts[0].uri_text == "sip:bob@10.0.0.2:5060"
    assert 0 < int(done.final.contacts[0].params["expires"]) <= 300
    assert [binding.contact for binding in registrar.bindings(wire)] == ["sip:bob@10.0.0.2:5060"]
    nothing_left(wire, registrar, bob)


def new_registration_over_tcp(wire: FakeWire) -> None:
    """2.1 over TCP."""
    registrar, bob = hosts(wire, proto="tcp")
    done = bob.register(300)
    wire.clock.until(lambda: done.done)
    assert done.status == 200
    assert registrar.bindings(wire)[0].proto == "tcp"
    nothing_left(wire, registrar, bob)


def foreign_contact(wire: FakeWire) -> None:
    """2.2 shows a mailto contact too; a switch cannot ring one, so it says so and changes nothing."""
    registrar, bob = hosts(wire)
    done = bob.register(300)
    wire.clock.until(lambda: done.done)
    mixed = bob.register(300, "<mailto:bob@biloxi.example.com>, <sip:bob@10.0.0.9:5060>;q=0.3")
    wire.clock.until(lambda: mixed.done)
    assert mixed.status == 400
    assert [binding.contact for binding in registrar.bindings(wire)] == ["sip:bob@10.0.0.2:5060"]
    nothing_left(wire, registrar, bob)


def second_contact(wire: FakeWire) -> None:
    """2.2: a second contact is added, the first stays; the better one comes first."""
    registrar, bob = hosts(wire)
    for contact in (None, "<sip:bob@10.0.0.9:5060>;q=0.3"):
        done = bob.register(300, contact)
        wire.clock.until(lambda done=done: done.done)
        assert done.status == 200
    found = [binding.contact for binding in registrar.bindings(wire)]
    assert found == ["sip:bob@10.0.0.2:5060", "sip:bob@10.0.0.9:5060"]
    nothing_left(wire, registrar, bob)


def query(wire: FakeWire) -> None:
    """2.3: a REGISTER without Contact lists what is registered and changes nothing."""
    registrar, bob = hosts(wire)
    done = bob.register(300)
    wire.clock.until(lambda: done.done)
    before = registrar.bindings(wire)
    asked = bob.register(None, "")
    wire.clock.until(lambda: asked.done)
    assert asked.status == 200
    assert [contact.uri_text for contact in asked.final.contacts] == ["sip:bob@10.0.0.2:5060"]
    assert registrar.bindings(wire) == before
    nothing_left(wire, registrar, bob)


def cancellation(wire: FakeWire) -> None:
    """2.4: ``Contact: *`` with ``Expires: 0`` removes everything."""
    registrar, bob = hosts(wire)
    done = bob.register(300)
    wire.clock.until(lambda: done.done)
    gone = bob.register(0, "*")
    wire.clock.until(lambda: gone.done)
    assert gone.status == 200
    assert gone.final.get("contact") is None
    assert registrar.bindings(wire) == []
    nothing_left(wire, registrar, bob)


def wrong_password(wire: FakeWire) -> None:
    """2.5: challenged again, not registered."""
    registrar, bob = hosts(wire, password="wrong")
    done = bob.register(300)
    wire.clock.until(lambda: done.done)
    assert [response.status for response in done.responses] == [401, 401]
    assert registrar.bindings(wire) == []
    nothing_left(wire, registrar, bob)


FLOWS = [
    new_registration,
    new_registration_over_tcp,
    second_contact,
    foreign_contact,
    query,
    cancellation,
    wrong_password,
]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_registration_survives_any_single_fault(flow) -> None:
    """Whatever single message is lost, doubled or late, the flow ends as RFC 3665 shows it."""
    run_with_each_fault(flow)


def test_new_registration_takes_four_messages() -> None:
    """RFC 3665 2.1, message by message."""
    assert run_clean(new_registration).summary() == ["REGISTER", "401 REGISTER", "REGISTER", "200 REGISTER"]
