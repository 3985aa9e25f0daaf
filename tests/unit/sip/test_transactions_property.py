"""Whatever happens in whatever order: nothing raises, everything ends, nothing is left."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mizu.sip.message import Request
from mizu.sip.transactions import ServerTransaction, TransactionLayer
from mizu.testing import FakeClock, RecordedFlow, RecordedUser

METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "PRACK", "BREW")
STATUSES = (100, 180, 200, 202, 302, 401, 486, 487, 503, 603)
few = st.integers(0, 5)
branches = st.sampled_from(["z9hG4bKa", "z9hG4bKb", "z9hG4bKc", "old", ""])
steps = st.one_of(
    st.tuples(
        st.just("request"),
        st.sampled_from(METHODS),
        branches,
        st.booleans(),
        st.sampled_from(["", ";tag=tag", ";tag=x"]),
    ),
    st.tuples(st.just("respond"), few, st.sampled_from(STATUSES)),
    st.tuples(st.just("send"), st.sampled_from(["INVITE", "BYE", "OPTIONS"]), st.booleans()),
    st.tuples(st.just("answer"), few, st.sampled_from(STATUSES), st.booleans()),
    st.tuples(st.just("cancel"), few),
    st.tuples(st.just("error"), st.booleans()),
    st.tuples(st.just("fault"), st.booleans(), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.2, 0.5, 3.0, 6.0, 31.0, 33.0])),
    st.tuples(st.just("user answers at once"), st.sampled_from([0, 100, 200, 486])),
)


class World:
    """A layer, two flows, and a hand for each kind of step."""

    def __init__(self, limit: int) -> None:
        self.clock = FakeClock()
        self.user = RecordedUser()
        self.user.on_request = self.requested
        self.flows = {True: RecordedFlow(self.clock, proto="tcp"), False: RecordedFlow(self.clock)}
        self.layer = TransactionLayer(self.user, self.clock.deadlines, self.clock.mono_s, limit=limit)
        self.clients = []
        self.at_once = 0
        self.limit = limit

    def requested(self, tx: ServerTransaction) -> None:
        if self.at_once:
            self.respond(tx, self.at_once)

    def respond(self, tx: ServerTransaction, status: int) -> None:
        tx.respond(tx.request.reply(status, to_tag="tag"))

    def message(self, method: str, branch: str, to: str) -> Request:
        fields = [
            ("Via", f"SIP/2.0/UDP 10.0.0.2{f';branch={branch}' if branch else ''}"),
            ("From", f"<sip:a@a>;tag={branch}"),
            ("To", f"<sip:b@b>{to}"),
            ("Call-ID", "call"),
            ("CSeq", f"1 {method}"),
        ]
        return Request(method, "sip:b@b", fields)

    def do(self, step: tuple) -> None:
        kind, *rest = step
        if kind == "request":
            method, branch, stream, to = rest
            self.layer.receive(self.message(method, branch, to), self.flows[stream])
        elif kind == "respond" and rest[0] < len(self.user.transactions):
            self.respond(self.user.transactions[-1 - rest[0]], rest[1])
        elif kind == "send" and len(self.layer._clients) < self.limit:
            request = self.message(rest[0], "", "")
            request.remove("via")
            self.clients.append(self.layer.request(request, self.flows[rest[1]], self.user))
        elif kind == "answer" and rest[0] < len(self.clients):
            request = self.clients[-1 - rest[0]].request
            response = request.reply(rest[1], to_tag="b")
            if rest[2]:
                response.set("CSeq", f"1 {'CANCEL' if request.method == 'INVITE' else 'INVITE'}")
            self.layer.receive(response, self.flows[False])
        elif kind == "cancel" and rest[0] < len(self.clients):
            self.clients[-1 - rest[0]].cancel()
        elif kind == "error":
            on_error = self.flows[rest[0]].on_error
            if on_error is not None:
                on_error("unreachable")
        elif kind == "fault":
            self.flows[rest[0]].fault = "refused" if rest[1] else ""
        elif kind == "wait":
            self.clock.advance(rest[0])
        elif kind == "user answers at once":
            self.at_once = rest[0]


@settings(max_examples=300, deadline=None)
@example(  # the connection of the first fails when the second has its key
    [
        ("request", "BYE", "z9hG4bKa", True, ""),
        ("respond", 0, 200),
        ("request", "BYE", "z9hG4bKa", False, ""),
        ("error", True),
    ],
    1000,
)
@given(st.lists(steps, max_size=60), st.sampled_from([2, 1000]))
def test_any_sequence_of_events_ends_and_leaves_nothing(plan: list[tuple], limit: int) -> None:
    """After all timers the tables and the heap are empty, and no machine met an input without a row."""
    world = World(limit)
    for step in plan:
        world.do(step)
        assert (
            len(world.layer._servers) + len(world.layer._answers)
            <= limit + world.layer.tallies.requests_in["CANCEL"]
        )
    for tx in world.user.transactions:
        if tx.pending:
            world.respond(tx, 500)  # an INVITE waits for its user as long as he likes
    world.clock.run_until_idle(3000)
    assert len(world.layer) == 0, world.layer.counts()
    assert world.layer._merged == {}
    assert world.layer._merge_keys == {}
    assert len(world.clock.deadlines) == 0
    assert world.layer.tallies.unexpected == 0
