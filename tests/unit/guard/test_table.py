"""The table of addresses against a list that is searched from end to end."""

from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from mizu.guard.table import AddressTable
from mizu.targets import Target, parse_target

V4 = st.integers(0xC0000200, 0xC00002FF)  # crowded, so that things overlap
V6 = st.integers(0x20010DB8 << 96, (0x20010DB8 << 96) + 300)


def ranges(numbers: st.SearchStrategy[int], version: int) -> st.SearchStrategy[Target]:
    return st.tuples(numbers, numbers).map(lambda ends: Target(version, min(ends), max(ends)))


def networks(numbers: st.SearchStrategy[int], version: int) -> st.SearchStrategy[Target]:
    def network(number: int, bits: int) -> Target:
        first = number >> bits << bits
        return Target(version, first, first + (1 << bits) - 1)

    return st.builds(network, numbers, st.integers(0, 10))


TARGETS = (
    ranges(V4, 4) | networks(V4, 4) | ranges(V6, 6) | networks(V6, 6) | V4.map(lambda n: Target(4, n, n))
)
HOSTS = V4.map(lambda n: str(IPv4Address(n))) | V6.map(lambda n: str(IPv6Address(n)))


class AddressTableAgainstList(RuleBasedStateMachine):
    """Whatever is put in and taken out, the table says what the list says."""

    def __init__(self) -> None:
        super().__init__()
        self.table = AddressTable()
        self.list: list[Target] = []

    @rule(where=TARGETS)
    def add(self, where: Target) -> None:
        self.table.add(where)
        if where not in self.list:
            self.list.append(where)

    @rule(where=TARGETS)
    def remove_any(self, where: Target) -> None:
        self.table.remove(where)
        if where in self.list:
            self.list.remove(where)

    @rule(data=st.data())
    def remove_one_that_is_there(self, data: st.DataObject) -> None:
        if self.list:
            target = data.draw(st.sampled_from(self.list))
            self.list.remove(target)
            self.table.remove(target)

    @rule()
    def clear(self) -> None:
        self.list.clear()
        self.table.clear()

    @rule(host=HOSTS)
    def ask(self, host: str) -> None:
        assert (host in self.table) == any(host in target for target in self.list)
        assert len(self.table) == len(self.list)


TestAddressTable = AddressTableAgainstList.TestCase
TestAddressTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(target=ranges(V4, 4) | ranges(st.integers(0, 2**128 - 1), 6))
def test_the_prefixes_of_a_range_are_exactly_the_range(target: Target) -> None:
    """No address too many, none missing."""
    pieces = sorted((number << shift, (number + 1 << shift) - 1) for shift, number in target.prefixes())
    assert pieces[0][0] == target.first
    assert pieces[-1][1] == target.last
    assert all(before[1] + 1 == after[0] for before, after in pairwise(pieces))


@pytest.mark.parametrize("host", ["::ffff:192.0.2.7", "192.0.2.7"])
@pytest.mark.parametrize("ban", ["192.0.2.7", "192.0.2.0/24", "192.0.2.6-192.0.2.8"])
def test_mapped_addresses_are_found_as_what_they_are(host: str, ban: str) -> None:
    """A listener on :: may show IPv4 senders as mapped ones."""
    table = AddressTable()
    table.add(parse_target(ban))
    assert host in table


def test_what_is_no_address_is_never_in_it() -> None:
    """Unix sockets and fakes have other words there."""
    table = AddressTable()
    table.add(parse_target("192.0.2.0/24"))
    table.add(parse_target("2001:db8::/32"))
    assert "nonsense" not in table
    assert "a:b" not in table
    assert "2001:db8::1%eth0" in table


def test_a_look_up_does_not_get_dearer_with_the_size() -> None:
    """It looks at one dict for each prefix length in use, whatever is in them."""
    table = AddressTable()
    for number in range(20_000):
        table.add(Target(4, 0x0A000000 + number, 0x0A000000 + number))
        first = 0x0B000000 + number * 256
        table.add(Target(4, first, first + 255))
    assert [len(rows) for rows in table._nets.values()] == [1, 0]
    assert "10.0.0.5" in table
    assert "11.0.9.200" in table
    assert "12.0.0.1" not in table
