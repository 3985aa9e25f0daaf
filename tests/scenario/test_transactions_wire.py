"""The test wire itself: what a plugin author's tests may rely on, and two stacks on a bad network."""

import pytest
from zope.interface.verify import verifyObject

from mizu.interfaces import IClock
from mizu.sip.flow import Hop
from mizu.sip.message import Message, Request
from mizu.testing import (
    FakeClock,
    FakeFlow,
    FakeResolver,
    FakeTransports,
    FakeWire,
    FaultFound,
    Faults,
    PeerCall,
    RandomFaults,
    SipPeer,
    run_with_each_fault,
)


def options(number: int = 1) -> bytes:
    fields = [
        ("Via", "SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK1;rport"),
        ("From", "<sip:a@a>;tag=1"),
        ("To", "<sip:b@b>"),
        ("Call-ID", "c"),
        ("CSeq", f"{number} OPTIONS"),
    ]
    return Request("OPTIONS", "sip:b@b", fields).to_bytes()


class Pair:
    """Two hosts and what the second one got."""

    def __init__(self, **settings: object) -> None:
        self.clock = FakeClock()
        self.wire = FakeWire(self.clock, **settings)
        self.got: list[tuple[float, int]] = []
        self.flows: list[FakeFlow] = []
        self.one = self.wire.host("udp:10.0.0.2:5060", "tcp:10.0.0.2:5060", name="one")
        self.two = self.wire.host("udp:10.0.0.1:5060", "tcp:10.0.0.1:5060", sink=self.take, name="two")

    def take(self, message: Message, flow: FakeFlow) -> None:
        self.got.append((round(self.clock.mono_s() - 1000, 3), message.cseq.number))
        self.flows.append(flow)

    def flow(self, proto: str = "udp", port: int = 5060) -> FakeFlow:
        flow = self.one.flow_to(Hop(proto, "10.0.0.1", port))
        assert flow is not None
        return flow

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.got]


def test_the_clock_is_a_clock() -> None:
    """``FakeClock`` implements ``IClock``; wall and monotonic time advance together."""
    clock = FakeClock()
    assert verifyObject(IClock, clock)
    before = clock.wall()
    clock.advance(90)
    assert (clock.wall() - before).total_seconds() == 90


def test_time_passes_in_order() -> None:
    """Each deadline runs at its own time, over all heaps; ``until`` stops where it happened."""
    clock, ran = FakeClock(), []
    clock.deadlines.at(1002, lambda: ran.append(clock.mono_s()))
    clock.deadlines.at(1001, lambda: ran.append(clock.mono_s()))
    assert clock.until(lambda: ran) == 1
    assert ran == [1001]
    clock.advance(5)
    assert ran == [1001, 1002]
    with pytest.raises(AssertionError, match="the moon"):
        clock.until(lambda: False, what="the moon")


def test_idle_is_reached_or_complained_about() -> None:
    """A timer that sets itself for ever is found."""
    clock = FakeClock()

    def again() -> None:
        clock.deadlines.at(clock.mono_s() + 10, again)

    again()
    with pytest.raises(AssertionError, match="left"):
        clock.run_until_idle(100)


def test_a_datagram_arrives_after_the_latency_with_its_source() -> None:
    """Parsed from bytes; the source is stamped on the Via as by a real transport; answers find back."""
    pair = Pair(latency_s=0.05)
    pair.flow().send(options())
    assert pair.got == []
    pair.clock.advance(1)
    assert pair.got == [(0.05, 1)]
    flow = pair.flows[0]
    assert (flow.local, flow.remote, flow.reliable) == (("10.0.0.1", 5060), ("10.0.0.2", 5060), False)


def test_single_faults_hit_the_message_they_name() -> None:
    """Lost, doubled, overtaken; the log says so."""
    pair = Pair(faults=Faults(drop=frozenset({0}), duplicate=frozenset({1}), delay=frozenset({2})))
    for number in range(4):
        pair.flow().send(options(number))
    pair.clock.advance(1)
    assert pair.numbers == [1, 1, 3, 2]
    assert [sent.fate for sent in pair.wire.log] == ["dropped", "duplicated", "delayed", "delivered"]
    assert "[dropped]" in pair.wire.ladder()
    assert pair.wire.summary() == ["OPTIONS"] * 4


def test_the_same_seed_gives_the_same_run() -> None:
    """Random faults are drawn from the seed alone."""

    def run(seed: int) -> list[tuple[float, int]]:
        pair = Pair(random=RandomFaults(loss=0.2, duplication=0.2, jitter_s=0.1), seed=seed)
        for number in range(100):
            pair.flow().send(options(number))
        pair.clock.advance(1)
        return pair.got

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert run(1) != sorted(run(1), key=lambda entry: entry[1])


def test_a_stream_keeps_order_and_is_used_again() -> None:
    """Faults do not touch it; both ends can send; closing is seen by both."""
    pair = Pair(faults=Faults(drop=frozenset(range(100))))
    flow = pair.flow("tcp")
    closed: list[FakeFlow] = []
    pair.one.on_closed = closed.append
    flow.send(options(1))
    flow.send(options(2))
    pair.clock.advance(1)
    assert pair.numbers == [1, 2]
    assert pair.flow("tcp") is flow
    theirs = pair.flows[0]
    assert pair.two.flow_of(theirs.listener, *theirs.remote) is theirs
    theirs.close()
    pair.clock.advance(1)
    assert not flow.alive()
    assert closed == [flow]
    assert pair.two.flow_of(theirs.listener, *theirs.remote) is None
    errors: list[str] = []
    flow.send(options(3), errors.append)
    assert errors == ["connection closed"]


def test_nobody_there_is_told() -> None:
    """A refused connection fails what waits for it; so does a port without UDP listener (ICMP)."""
    pair = Pair()
    errors: list[str] = []
    pair.flow("tcp", 9).send(options(), errors.append)
    pair.flow("udp", 9).send(options(), errors.append)
    pair.clock.advance(1)
    assert errors == ["connection refused"] * 2


def test_an_unplugged_host_is_silent() -> None:
    """Nothing arrives and nothing is told, until it is plugged in again."""
    pair = Pair()
    errors: list[str] = []
    pair.wire.unplug("10.0.0.1")
    pair.flow().send(options(), errors.append)
    pair.flow("tcp").send(options(), errors.append)
    pair.clock.advance(1)
    pair.wire.plug("10.0.0.1")
    pair.flow().send(options(5))
    pair.clock.advance(1)
    assert (pair.numbers, errors) == ([5], [])


def test_bytes_that_are_no_sip_are_kept_apart() -> None:
    """They reach ``bad``, not the sink."""
    pair = Pair()
    pair.flow().send(b"hello\r\n\r\n")
    pair.clock.advance(1)
    assert pair.got == []
    assert len(pair.two.bad) == 1
    assert pair.wire.log[0].fate == "bad"


def test_no_listener_of_that_kind_means_no_flow() -> None:
    """Another protocol or family; UDP flows to a known listener are always there."""
    pair = Pair()
    assert pair.one.flow_to(Hop("tls", "10.0.0.1", 5061)) is None
    assert pair.one.flow_to(Hop("udp", "2001:db8::1", 5060)) is None
    assert pair.one.flow_of("udp:10.0.0.2:5060", "10.9.9.9", 5) is not None
    assert pair.one.flow_of("udp:1.1.1.1:5060", "10.9.9.9", 5) is None


@pytest.mark.parametrize(
    ("uri", "hops"),
    [
        ("sip:a@10.0.0.9", [Hop("udp", "10.0.0.9", 5060)]),
        ("sip:10.0.0.9:5070;transport=tcp", [Hop("tcp", "10.0.0.9", 5070)]),
        ("sips:a@10.0.0.9", [Hop("tls", "10.0.0.9", 5061)]),
        ("sip:a@[2001:db8::9]", [Hop("udp", "2001:db8::9", 5060)]),
        ("sip:a@known.example", [Hop("tcp", "10.0.0.7", 5060)]),
        ("sip:a@unknown.example", []),
        ("tel:+15551234", []),
        ("rubbish", []),
    ],
)
def test_the_resolver_knows_numbers_and_its_table(uri: str, hops: list[Hop]) -> None:
    """No DNS."""
    resolver = FakeResolver({"known.example": [Hop("tcp", "10.0.0.7", 5060)]})
    found: list[Hop] = []
    resolver.resolve(uri, found.extend)
    assert found == hops
    assert resolver.asked == [uri]


def test_a_slow_resolver_answers_later() -> None:
    """For what happens in between, such as CANCEL."""
    clock, found = FakeClock(), []
    FakeResolver(clock=clock, delay_s=2).resolve("sip:10.0.0.9", found.extend)
    assert found == []
    clock.advance(2)
    assert len(found) == 1


def test_a_scenario_that_cannot_stand_a_fault_is_reported_with_its_ladder() -> None:
    """The report names the fault and shows every message."""

    def fragile(wire: FakeWire) -> None:
        got: list[Message] = []
        wire.host("udp:10.0.0.1:5060", sink=lambda message, _flow: got.append(message), name="two")
        one: FakeTransports = wire.host("udp:10.0.0.2:5060", name="one")
        one.flow_to(Hop("udp", "10.0.0.1", 5060)).send(options())
        wire.clock.advance(1)
        assert len(got) == 1

    with pytest.raises(FaultFound) as found:
        run_with_each_fault(fragile)
    assert "drop of message 0 (OPTIONS sip:b@b SIP/2.0)" in str(found.value)
    assert "one -> two" in str(found.value)


@pytest.mark.parametrize("seed", range(20))
def test_calls_on_a_very_bad_network_end_and_leave_nothing(seed: int) -> None:
    """A fifth lost, a fifth doubled, everything out of order: calls still come up, end, and nothing stays."""
    wire = FakeWire(
        FakeClock(), latency_s=0.03, random=RandomFaults(loss=0.2, duplication=0.2, jitter_s=0.2), seed=seed
    )
    alice = SipPeer(wire, "alice", "10.0.0.1", server="sip:10.0.0.2")
    bob = SipPeer(wire, "bob", "10.0.0.2", server="sip:10.0.0.1")
    ways = [
        lambda call: (call.ring(), call.answer()),
        lambda call: call.reject(486),
        PeerCall.ring,
    ]

    def in_turn(call: PeerCall) -> None:
        ways[len(bob.calls) % 3](call)

    bob.on_call = in_turn
    calls = []
    for _ in range(9):
        calls.append(alice.call("bob"))
        wire.clock.advance(10)
    for call in calls:
        if call.state == "up":
            call.hang_up()
        elif call.state in ("calling", "ringing"):
            call.cancel()
    wire.clock.run_until_idle(2000)
    assert {call.state for call in calls} <= {"ended", "failed"}
    assert len(bob.calls) <= 9
    assert {call.state for call in bob.calls} <= {"ended", "failed"}
    for peer in (alice, bob):
        assert len(peer.layer) == 0, peer.layer.counts()
        assert peer.layer.tallies.unexpected == 0
