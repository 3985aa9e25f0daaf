"""The location table."""

import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mizu.errors import Overloaded
from mizu.model import Binding
from mizu.switch.location import LocationTable
from mizu.switch.way_back import Proxies


def bind(aor: str = "alice", contact: str = "sip:alice@192.0.2.1", **changes: Any) -> Binding:
    binding = Binding(
        account_id=1,
        aor=aor,
        contact=contact,
        expires_at_s=1000.0,
        call_id="c",
        cseq=1,
        local="udp:0.0.0.0:5060",
    )
    return binding._replace(**changes)


def test_lookup_gives_what_has_not_expired_highest_q_first() -> None:
    """Calls ring the preferred phone first; an expired binding is not rung, swept or not."""
    table = LocationTable(10)
    table.replace(
        "alice",
        [
            bind(contact="sip:a@h", q_milli=500),
            bind(contact="sip:b@h", q_milli=1000),
            bind(contact="sip:c@h", q_milli=1000, expires_at_s=500.0),
            bind(contact="sip:d@h", q_milli=500),
        ],
    )
    assert [each.contact for each in table.lookup("alice", 400)] == [
        "sip:b@h",
        "sip:c@h",
        "sip:a@h",
        "sip:d@h",
    ]
    assert [each.contact for each in table.lookup("alice", 500)] == ["sip:b@h", "sip:a@h", "sip:d@h"]
    assert table.lookup("Alice", 400) == []  # user parts are compared with their case (RFC 3261 19.1.4)
    assert len(table) == 4


def test_the_table_is_bounded_but_may_always_shrink() -> None:
    """At the limit nothing new gets in; what is there can be refreshed and removed."""
    table = LocationTable(2)
    table.replace("a", [bind("a")])
    table.replace("b", [bind("b")])
    with pytest.raises(Overloaded):
        table.replace("c", [bind("c")])
    with pytest.raises(Overloaded):
        table.replace("a", [bind("a"), bind("a", "sip:2@h")])
    assert table.get("c") == ()
    assert len(table.get("a")) == 1
    table.replace("a", [bind("a", expires_at_s=2000.0)])
    table.replace("b", [])
    table.replace("c", [bind("c")])
    assert sorted(table) == ["a", "c"]


def test_expire_looks_at_a_bounded_number() -> None:
    """A restart of a provider's whole network does not stop the switch for one long sweep."""
    table = LocationTable(1000)
    for number in range(100):
        table.replace(str(number), [bind(str(number))])
    assert len(table.expire(5000, limit=30)) == 30
    assert len(table) == 70


def test_a_refresh_keeps_a_binding_alive_and_a_shorter_one_ends_it_sooner() -> None:
    """The expiry that holds is the one of the newest registration."""
    table = LocationTable(10)
    table.replace("a", [bind("a", expires_at_s=100.0)])
    table.replace("a", [bind("a", expires_at_s=500.0)])
    assert table.expire(100) == []
    assert table.next_expiry_s == 500
    table.replace("a", [bind("a", expires_at_s=200.0)])
    assert table.expire(200) == ["a"]
    assert len(table) == table.addresses == 0


def test_registering_and_leaving_for_ever_does_not_grow_anything() -> None:
    """What is noted for bindings that are gone is thrown away."""
    table = LocationTable(10)
    for number in range(20_000):
        table.replace("a", [bind("a", expires_at_s=10_000.0 + number)])
        table.replace("a", [])
        table.replace("b", [bind("b", expires_at_s=50_000.0 - number)])
    assert len(table._due) <= 2000


# ---------------------------------------------------------------- connections


def over_tcp(**changes: Any) -> Binding:
    stream = {
        "proto": "tcp",
        "received_host": "192.0.2.1",
        "received_port": 40000,
        "local": "tcp:0.0.0.0:5060",
    }
    return bind(**{**stream, **changes})


@pytest.mark.parametrize(
    "binding",
    [
        over_tcp(contact="sip:alice@10.0.0.5:5060;transport=tcp"),
        over_tcp(instance_id="urn:uuid:1", reg_id=1),
        over_tcp(contact="sip:1900@carrier.example;transport=udp"),
        over_tcp(contact="sip:1900@[::ffff:198.51.100.9]"),
        over_tcp(path=("<sip:carrier.example;lr>",)),
    ],
)
def test_a_binding_that_lives_by_its_connection_dies_with_it(binding: Binding) -> None:
    """A phone behind NAT, a flow of RFC 5626, a name that may be anybody's: nothing else leads there."""
    table = LocationTable(10)
    table.replace("alice", [binding, bind(contact="sip:other@192.0.2.9")])
    assert table.close_stream("tcp:0.0.0.0:5060", "192.0.2.1", 40000) == ["alice"]
    assert [each.contact for each in table.get("alice")] == ["sip:other@192.0.2.9"]


@pytest.mark.parametrize(
    "binding",
    [
        over_tcp(contact="sip:alice@192.0.2.1:5060;transport=tcp"),
        over_tcp(contact="sip:alice@10.0.0.5", path=("<sip:192.0.2.1:5080;lr>",)),
        over_tcp(contact="sip:alice@10.0.0.5", received_host="10.9.9.9", path=("<sip:edge.example;lr>",)),
    ],
)
def test_a_binding_that_can_be_reached_otherwise_stays_without_its_connection(binding: Binding) -> None:
    """Calls open a new connection to the contact or the Path."""
    table = LocationTable(10, Proxies(["10.9.9.9"]))
    table.replace("alice", [binding])
    assert table.close_stream("tcp:0.0.0.0:5060", binding.received_host, 40000) == ["alice"]
    assert table.get("alice") == (binding._replace(received_port=0, local=""),)
    assert table.close_stream("tcp:0.0.0.0:5060", binding.received_host, 40000) == []


def test_closing_a_connection_that_carries_no_registration_changes_nothing() -> None:
    """Nor does one that a phone has left by registering over another."""
    table = LocationTable(10)
    table.replace("alice", [over_tcp()])
    table.replace("alice", [over_tcp(received_port=40001)])
    assert table.over_stream("tcp:0.0.0.0:5060", "192.0.2.1", 40000) == []
    assert table.close_stream("tcp:0.0.0.0:5060", "192.0.2.1", 40000) == []
    assert table.over_stream("tcp:0.0.0.0:5060", "192.0.2.1", 40001) == ["alice"]


# ---------------------------------------------------------------- against a plain dictionary

AORS = ["a", "b", "c", "d"]


class TableAgainstDict(RuleBasedStateMachine):
    """Whatever is done in whatever order, the table is a dictionary of lists with expiry and a limit."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LocationTable(8)
        self.plain: dict[str, list[Binding]] = {}
        self.now_s = 0.0

    def total(self) -> int:
        return sum(map(len, self.plain.values()))

    @rule(
        aor=st.sampled_from(AORS),
        lifetimes_s=st.lists(st.integers(1, 100), max_size=4),
        tcp=st.booleans(),
        seed=st.integers(0, 3),
    )
    def register(self, aor: str, lifetimes_s: list[int], tcp: bool, seed: int) -> None:
        make = over_tcp if tcp else bind
        bindings = [
            make(
                aor=aor,
                contact=f"sip:{number}@192.0.2.{seed}",
                expires_at_s=self.now_s + lifetime_s,
                q_milli=random.Random(seed + number).choice([0, 500, 1000]),
                **({"received_port": 40000 + seed} if tcp else {}),
            )
            for number, lifetime_s in enumerate(lifetimes_s)
        ]
        old = self.plain.get(aor, [])
        if self.total() - len(old) + len(bindings) > 8 and len(bindings) > len(old):
            with pytest.raises(Overloaded):
                self.table.replace(aor, bindings)
            return
        self.table.replace(aor, bindings)
        self.plain[aor] = bindings

    @rule(passed_s=st.integers(0, 60))
    def time_passes(self, passed_s: int) -> None:
        self.now_s += passed_s

    @precondition(lambda self: self.plain)
    @rule()
    def sweep(self) -> None:
        changed = self.table.expire(self.now_s)
        expected = []
        for aor, bindings in self.plain.items():
            live = [each for each in bindings if each.expires_at_s > self.now_s]
            if len(live) < len(bindings):
                expected.append(aor)
                self.plain[aor] = live
        assert sorted(changed) == sorted(expected)

    @rule(seed=st.integers(0, 3))
    def a_connection_closes(self, seed: int) -> None:
        port = 40000 + seed
        expected = []
        for aor, bindings in self.plain.items():
            if any(each.proto == "tcp" and each.received_port == port for each in bindings):
                expected.append(aor)
                self.plain[aor] = [
                    each._replace(received_port=0, local="") if each.received_port == port else each
                    for each in bindings
                    if each.received_port != port or each.contact.endswith("192.0.2.1")
                ]
        assert self.table.close_stream("tcp:0.0.0.0:5060", "192.0.2.1", port) == sorted(expected)

    @invariant()
    def they_agree(self) -> None:
        assert len(self.table) == self.total()
        assert self.table.addresses == sum(1 for bindings in self.plain.values() if bindings)
        for aor in AORS:
            live = [each for each in self.plain.get(aor, []) if each.expires_at_s > self.now_s]
            live.sort(key=lambda each: -each.q_milli)
            assert self.table.lookup(aor, self.now_s) == live
            assert list(self.table.get(aor)) == self.plain.get(aor, [])
        used = {each.received_port for all_of in self.plain.values() for each in all_of if each.received_port}
        assert {port for _, _, port in self.table._streams} == used


TestTableAgainstDict = TableAgainstDict.TestCase
TestTableAgainstDict.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
