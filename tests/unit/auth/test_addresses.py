"""Addresses as accounts have them, and finding one among many networks."""

import random
from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.accounts.addresses import parse_entries, parse_entry, written
from mizu.auth.prefix_table import PrefixTable
from mizu.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "networks", "port"),
    [
        ("192.0.2.7", ["192.0.2.7/32"], 0),
        (" 192.0.2.7:5080 ", ["192.0.2.7/32"], 5080),
        ("192.0.2.7 port 5080", ["192.0.2.7/32"], 5080),
        ("2001:db8::1", ["2001:db8::1/128"], 0),
        ("[2001:db8::1]", ["2001:db8::1/128"], 0),
        ("[2001:db8::1]:5080", ["2001:db8::1/128"], 5080),
        ("2001:db8::1 port 5080", ["2001:db8::1/128"], 5080),
        ("::ffff:192.0.2.7", ["192.0.2.7/32"], 0),
        ("192.0.2.0/24", ["192.0.2.0/24"], 0),
        ("192.0.2.77/24", ["192.0.2.0/24"], 0),
        ("::ffff:192.0.2.0/120", ["192.0.2.0/24"], 0),
        ("2001:db8::/32", ["2001:db8::/32"], 0),
        ("192.0.2.10-192.0.2.13", ["192.0.2.10/31", "192.0.2.12/31"], 0),
        ("192.0.2.10-13", ["192.0.2.10/31", "192.0.2.12/31"], 0),
        ("192.0.2.10 - 192.0.2.13", ["192.0.2.10/31", "192.0.2.12/31"], 0),
        ("2001:db8::-2001:db8::3", ["2001:db8::/126"], 0),
        ("10.1.*.*", ["10.1.0.0/16"], 0),
        ("10.1.*", ["10.1.0.0/16"], 0),
        ("10.1.2.*", ["10.1.2.0/24"], 0),
    ],
)
def test_addresses_and_ranges(text: str, networks: list[str], port: int) -> None:
    """Every way to write them; IPv4 in IPv6 clothing is IPv4."""
    entry = parse_entry(text)
    assert [str(network) for network in entry.networks] == networks
    assert (entry.port, entry.name) == (port, "")
    assert entry.is_range == any(sign in text for sign in "/-*")


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:5080", "192.0.2.7"),
        ("[2001:DB8:0::1]:5080", "2001:db8::1"),
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("192.0.2.7/32", "192.0.2.7/32"),
        ("10.1.*.*", "10.1.0.0/16"),
        ("192.0.2.10-13", "192.0.2.10-192.0.2.13"),
        ("192.0.2.0 - 192.0.2.255", "192.0.2.0/24"),
        ("2001:db8::1-2001:db8::3", "2001:db8::1-2001:db8::3"),
        ("SIP.Example.com.:5080", "sip.example.com"),
    ],
)
def test_one_spelling_for_what_means_the_same(text: str, spelling: str) -> None:
    """It is read back as what it was."""
    entry = parse_entry(text)
    assert written(entry) == spelling
    again = parse_entry(spelling)
    assert (again.networks, again.name, again.is_range) == (entry.networks, entry.name, entry.is_range)
    assert written(again) == spelling


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("sip.example.com", "sip.example.com", 0),
        ("SIP-1.Example.com.:5080", "sip-1.example.com", 5080),
        ("localhost", "localhost", 0),
    ],
)
def test_names(text: str, name: str, port: int) -> None:
    """Whatever is no address and could be a name is one."""
    entry = parse_entry(text)
    assert (entry.name, entry.port, entry.networks) == (name, port, ())


@pytest.mark.parametrize(
    "text",
    [
        *("", "1.2.3", "1.2.3.4.5", "300.1.1.1", "10.*.1.1", "*", "*.1", "10..*", "1.2.3.4/33", "1.2.3.4:0"),
        *("192.0.2.9-192.0.2.1", "192.0.2.1-2001:db8::1", "a b", "x" * 300, "-a.b", "[::1", "1.2.3.4-"),
        "1.2.3.4:99999",
    ],
)
def test_what_is_no_address_is_told(text: str) -> None:
    """With what it could be."""
    with pytest.raises(BadRequest):
        parse_entry(text)


def test_a_list_has_commas_and_a_limit() -> None:
    """Blanks do not matter; one wrong entry is named."""
    assert [entry.text for entry in parse_entries(" 192.0.2.1, ,sip.example.com ,10.*")] == [
        "192.0.2.1",
        "sip.example.com",
        "10.*",
    ]
    with pytest.raises(BadRequest, match="300"):
        parse_entries("192.0.2.1, 300.1.1.1")
    with pytest.raises(BadRequest, match="too many"):
        parse_entries(",".join(["192.0.2.1"] * 1001))


@given(st.text(max_size=60))
def test_any_text_is_an_entry_or_refused(text: str) -> None:
    """Nothing else happens."""
    with suppress(BadRequest):
        parse_entry(text)


def networks(count: int, lengths: tuple[int, ...]) -> list[str]:
    """Random networks of these lengths in turn, none of them in 203.0.113.0/24."""
    choose = random.Random(7)
    made = []
    for number in range(count):
        length = lengths[number % len(lengths)]
        high, middle, low = choose.randrange(1, 200), choose.randrange(256), choose.randrange(256)
        made.append(f"{high}.{middle}.{low}.{number % 256}/{length}")
    return made


def steps(count: int, lengths: tuple[int, ...]) -> int:
    """Look-ups that finding an address takes among so many networks."""
    table: PrefixTable[int] = PrefixTable()
    for number, text in enumerate(networks(count, lengths)):
        table.add(ip_network(text, strict=False), number)
    table.add(ip_network("203.0.113.7/32"), -1)
    assert -1 in table.find("203.0.113.7")
    before = table.steps
    table.find("203.0.113.7")
    return table.steps - before


@pytest.mark.parametrize("lengths", [(32,), (24, 32), tuple(range(8, 33))])
def test_ten_thousand_rules_cost_no_more_than_ten(lengths: tuple[int, ...]) -> None:
    """Counted in steps: they depend on the lengths of networks in use, and never on their number."""
    few, many = steps(len(lengths) * 10, lengths), steps(10_000, lengths)
    assert many == few <= 33


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=20), st.integers(0, 2**32 - 1)
)
def test_the_table_finds_what_contains_the_address(rules: list[tuple[int, int]], wanted: int) -> None:
    """The same as asking each network, also after some of them are gone."""
    table: PrefixTable[int] = PrefixTable()
    made = [ip_network((value, length), strict=False) for value, length in rules]
    for number, network in enumerate(made):
        table.add(network, number)
    address = ip_address(wanted)
    assert sorted(table.find(str(address))) == [n for n, network in enumerate(made) if address in network]
    for number, network in enumerate(made):
        if number % 2:
            table.remove(network, number)
    left = [n for n, network in enumerate(made) if address in network and not n % 2]
    assert sorted(table.find(f"::ffff:{address}")) == left
    assert len(table) == len(made[::2])


def test_what_is_not_there_cannot_be_removed() -> None:
    """And no text that is no address is found."""
    table: PrefixTable[str] = PrefixTable()
    table.add(ip_network("10.0.0.0/8"), "a")
    for network, value in (("10.0.0.0/9", "a"), ("11.0.0.0/8", "a"), ("10.0.0.0/8", "b")):
        with pytest.raises(KeyError):
            table.remove(ip_network(network), value)
    assert table.find("no address") == []
