"""Where a request goes, over what, and what happens when an address fails."""

from collections.abc import Callable, Sequence

import pytest

from mizu.sip.flow import Flow, Hop
from mizu.sip.message import Request
from mizu.sip.outgoing import RequestSender, target_of
from mizu.sip.transactions import TransactionLayer
from mizu.testing import FakeClock, RecordedFlow, RecordedUser

A, B, C = (Hop("udp", f"10.0.1.{number}", 5060) for number in (1, 2, 3))


class Transports:
    """One recorded flow for each hop; those in ``absent`` have no listener."""

    def __init__(self, clock: FakeClock) -> None:
        self.flows: dict[tuple[str, str], RecordedFlow] = {}
        self.absent: set[tuple[str, str]] = set()
        self.clock = clock

    def flow_to(self, hop: Hop, listener: str = "") -> RecordedFlow | None:
        key = (hop.proto, hop.host)
        if key in self.absent:
            return None
        if key not in self.flows:
            self.flows[key] = RecordedFlow(self.clock, proto=hop.proto, remote=(hop.host, hop.port))
        return self.flows[key]

    def flow_of(self, listener: str, host: str, port: int) -> Flow | None:
        return None


class Resolver:
    """Gives the same hops for everything, at once or when told."""

    def __init__(self, *hops: Hop) -> None:
        self.hops, self.asked, self.wait = hops, [], False
        self.waiting: list[Callable[[Sequence[Hop]], None]] = []

    def resolve(self, uri: str, done: Callable[[Sequence[Hop]], None]) -> None:
        self.asked.append(uri)
        if self.wait:
            self.waiting.append(done)
        else:
            done(self.hops)


class Rig:
    def __init__(self, *hops: Hop) -> None:
        self.clock = FakeClock()
        self.user = RecordedUser()
        self.layer = TransactionLayer(self.user, self.clock.deadlines, self.clock.mono_s)
        self.transports = Transports(self.clock)
        self.resolver = Resolver(*hops)
        self.sender = RequestSender(self.layer, self.transports, self.resolver)

    def send(self, method: str = "INVITE", body: bytes = b"", **options: object):
        return self.sender.send(request(method, body), self.user, **options)

    def flow(self, hop: Hop, proto: str = "udp") -> RecordedFlow:
        return self.transports.flows[proto, hop.host]

    def answer(self, hop: Hop, status: int, proto: str = "udp") -> None:
        flow = self.flow(hop, proto)
        last = next(message for message in reversed(flow.messages) if message.method in ("INVITE", "OPTIONS"))
        self.layer.receive(last.reply(status, to_tag="b"), flow)


def request(method: str, body: bytes = b"", route: str = "") -> Request:
    fields = [("Route", route)] if route else []
    fields += [
        ("From", "<sip:a@a>;tag=1"),
        ("To", "<sip:b@b>"),
        ("Call-ID", "call"),
        ("CSeq", f"1 {method}"),
        ("Max-Forwards", "70"),
    ]
    return Request(method, "sip:bob@target.example", fields, body)


# ---------------------------------------------------------------- where to


def test_a_request_goes_to_the_request_uri_without_a_route() -> None:
    """8.1.2."""
    assert target_of(request("INVITE")) == "sip:bob@target.example"


@pytest.mark.parametrize(
    ("route", "target"),
    [
        ("<sip:p1.example;lr>, <sip:p2.example;lr>", "sip:p1.example;lr"),
        ('"A, proxy" <sip:p1.example;lr>;x=y', "sip:p1.example;lr"),
        ("sip:p1.example", "sip:p1.example"),
    ],
)
def test_a_request_goes_to_its_topmost_route(route: str, target: str) -> None:
    """8.1.2, whatever is around the URI."""
    assert target_of(request("INVITE", route=route)) == target


def test_a_next_hop_that_is_given_comes_first() -> None:
    """Outbound proxies, and strict routers."""
    rig = Rig(A)
    rig.send(next_hop="sip:proxy.example")
    assert rig.resolver.asked == ["sip:proxy.example"]


def test_a_given_flow_is_used_whatever_the_size() -> None:
    """A phone behind NAT can be reached over its own flow only."""
    rig = Rig(A)
    flow = RecordedFlow()
    outgoing = rig.send(body=b"x" * 5000, flow=flow)
    assert flow.summary == ["INVITE"]
    assert outgoing.flow is flow
    assert rig.resolver.asked == []


def test_contact_is_asked_for_when_the_flow_is_known() -> None:
    """It names the address that the peer of this flow can reach."""
    rig = Rig(A)
    rig.send(contact=lambda flow: f"<sip:x@{flow.local[0]}>")
    assert rig.flow(A).messages[0].get("contact") == "<sip:x@10.0.0.1>"


def test_the_callers_request_is_not_changed() -> None:
    """Each attempt has its own Via, which only what is sent has."""
    rig = Rig(A)
    original = request("INVITE")
    rig.sender.send(original, rig.user)
    assert original.get("via") is None
    assert rig.flow(A).messages[0].get("via")


def test_a_name_without_address_is_told() -> None:
    """Nothing was sent."""
    rig = Rig()
    rig.send()
    assert rig.user.events == [("failure", "unresolved")]


def test_no_listener_of_that_kind_is_a_transport_failure() -> None:
    """IPv6 without an IPv6 listener, for instance; other addresses are tried."""
    rig = Rig(A, B)
    rig.transports.absent = {("udp", A.host)}
    rig.send()
    assert rig.flow(B).summary == ["INVITE"]
    alone = Rig(A)
    alone.transports.absent = {("udp", A.host)}
    alone.send()
    assert alone.user.events == [("failure", "transport")]


# ---------------------------------------------------------------- fail-over, RFC 3263 4.3


def test_a_dead_address_is_followed_by_the_next_one() -> None:
    """A transport error, at once or later; each attempt has a branch of its own."""
    rig = Rig(A, B, C)
    rig.transports.flow_to(A).fault = "refused"
    rig.send("OPTIONS")
    assert rig.flow(B).summary == ["OPTIONS"]
    rig.flow(B).on_error("unreachable")
    assert rig.flow(C).summary == ["OPTIONS"]
    vias = {rig.flow(hop).messages[0].via.branch for hop in (A, B, C)}
    assert len(vias) == 3
    assert all(len(rig.flow(hop).messages[0].get_all("via")) == 1 for hop in (A, B, C))
    rig.answer(C, 200)
    assert rig.user.events == [("response", 200)]


def test_silence_is_followed_by_the_next_address() -> None:
    """After timer B or F; at the end the failure is told once."""
    rig = Rig(A, B)
    rig.send()
    rig.clock.advance(32)
    assert rig.flow(B).summary == ["INVITE"]
    rig.clock.advance(32)
    assert rig.user.events == [("failure", "timeout")]
    assert len(rig.layer) == 0


def test_503_is_followed_by_the_next_address_but_told_from_the_last() -> None:
    """Other failures are told at once: they would be the same everywhere."""
    rig = Rig(A, B)
    rig.send()
    rig.answer(A, 503)
    assert rig.user.events == []
    assert rig.flow(A).summary == ["INVITE", "ACK"]
    rig.answer(B, 503)
    assert rig.user.events == [("response", 503)]
    other = Rig(A, B)
    other.send()
    other.answer(A, 500)
    assert other.user.events == [("response", 500)]


def test_a_late_answer_of_an_abandoned_address_is_ignored() -> None:
    """One request, one final response."""
    rig = Rig(A, B)
    rig.send()
    rig.answer(A, 503)
    rig.answer(A, 503)
    rig.answer(B, 180)
    rig.answer(B, 200)
    rig.answer(B, 200)
    assert rig.user.events == [("response", 180), ("response", 200), ("response", 200)]


# ---------------------------------------------------------------- size, 18.1.1

BIG = b"x" * 1300


def test_a_large_request_goes_by_tcp() -> None:
    """More than 1,300 bytes, Via included; the Via says TCP."""
    rig = Rig(A)
    rig.send(body=BIG)
    sent = rig.flow(A, "tcp").messages[0]
    assert sent.via.proto == "TCP"
    assert rig.flow(A).sent == []
    rig.answer(A, 200, "tcp")
    assert rig.user.events == [("response", 200)]


def test_a_large_request_goes_by_udp_when_tcp_is_refused() -> None:
    """18.1.1: then however large; only after that comes the next address."""
    rig = Rig(A, B)
    rig.transports.flow_to(Hop("tcp", A.host, 5060)).fault = "refused"
    rig.send(body=BIG)
    assert rig.flow(A).summary == ["INVITE"]
    assert rig.flow(A).messages[0].via.proto == "UDP"
    assert rig.user.events == []
    rig.flow(A).on_error("unreachable")
    assert rig.flow(B, "tcp").summary == ["INVITE"]


def test_a_large_request_goes_by_udp_without_a_tcp_listener() -> None:
    """There is no other way."""
    rig = Rig(A)
    rig.transports.absent = {("tcp", A.host)}
    rig.send(body=BIG)
    assert rig.flow(A).summary == ["INVITE"]


def test_exactly_the_limit_still_goes_by_udp() -> None:
    """The limit is a setting."""
    rig = Rig(A)
    rig.send()
    size = len(rig.flow(A).sent[0])
    exact = Rig(A)
    exact.sender = RequestSender(exact.layer, exact.transports, exact.resolver, udp_max_request_bytes=size)
    exact.send()
    assert exact.flow(A).summary == ["INVITE"]
    above = Rig(A)
    above.sender = RequestSender(
        above.layer, above.transports, above.resolver, udp_max_request_bytes=size - 1
    )
    above.send()
    assert above.flow(A, "tcp").summary == ["INVITE"]


# ---------------------------------------------------------------- cancel


def test_cancel_stops_the_search_for_other_addresses() -> None:
    """After it no other address is tried."""
    rig = Rig(A, B)
    outgoing = rig.send()
    outgoing.cancel()
    outgoing.cancel()
    rig.answer(A, 503)
    assert rig.user.events == [("response", 503)]
    assert ("udp", B.host) not in rig.transports.flows


def test_cancel_before_the_address_is_known_sends_nothing() -> None:
    """The end is told when the resolver answers."""
    rig = Rig(A)
    rig.resolver.wait = True
    outgoing = rig.send()
    outgoing.cancel()
    rig.resolver.waiting[0]([A])
    assert rig.user.events == [("failure", "cancelled")]
    assert rig.transports.flows == {}


def test_cancel_reaches_the_address_that_rings() -> None:
    """With the headers given."""
    rig = Rig(A)
    outgoing = rig.send()
    rig.answer(A, 180)
    outgoing.cancel([("Reason", "x")])
    assert rig.flow(A).summary == ["INVITE", "CANCEL"]
    assert rig.flow(A).messages[1].get("reason") == "x"
    rig.answer(A, 487)
    outgoing.cancel()
    assert rig.user.events == [("response", 180), ("response", 487)]


def test_a_full_table_is_a_failure_of_its_own() -> None:
    """Nothing was sent."""
    rig = Rig(A)
    rig.layer._limit = 0
    rig.send()
    assert rig.user.events == [("failure", "overloaded")]


# ---------------------------------------------------------------- ACK to a 2xx


def test_an_ack_is_sent_once_and_its_bytes_again() -> None:
    """13.2.2.4: outside any transaction, with its own branch."""
    rig = Rig(A)
    sent = rig.sender.send_ack(request("ACK"))
    sent.resend()
    flow = rig.flow(A)
    assert flow.summary == ["ACK", "ACK"]
    assert flow.sent[0] == flow.sent[1]
    assert len(rig.layer) == 0
    over = RecordedFlow()
    rig.sender.send_ack(request("ACK"), flow=over)
    assert over.summary == ["ACK"]
    assert over.messages[0].via.branch != flow.messages[0].via.branch


def test_an_ack_waits_for_its_address() -> None:
    """Repeating it meanwhile does nothing; an address without listener is passed over."""
    rig = Rig(A)
    rig.resolver.wait = True
    rig.transports.absent = {("udp", A.host)}
    sent = rig.sender.send_ack(request("ACK"))
    sent.resend()
    rig.resolver.waiting[0]([A, B])
    assert rig.flow(B).summary == ["ACK"]


def test_an_error_of_an_attempt_that_was_given_up_changes_nothing() -> None:
    """Its ACK could not be sent, for instance; the newer attempt counts."""
    rig = Rig(A, B)
    rig.send()
    late = rig.flow(A).on_error
    rig.answer(A, 503)
    late_ack = rig.flow(A).on_error
    for on_error in (late, late_ack):
        on_error("unreachable")
    rig.answer(B, 200)
    assert rig.user.events == [("response", 200)]


def test_an_ack_without_any_listener_goes_nowhere() -> None:
    """The peer will repeat its 2xx and give up."""
    rig = Rig(A)
    rig.transports.absent = {("udp", A.host)}
    rig.sender.send_ack(request("ACK")).resend()
    assert rig.transports.flows == {}
