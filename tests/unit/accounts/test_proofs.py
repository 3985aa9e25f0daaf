"""What in the fields of an account counts for its auth_type, and what is told of the rest."""

import pytest

from mizu.accounts.addresses import FurtherAddress
from mizu.accounts.proofs import PROBLEMS_MAX, read, rule_of, warnings
from mizu.model import AuthRule, AuthType


def problems(kind: int, *addresses: str, prefix: str = "", port: int = 0) -> list[str]:
    return read(AuthRule("u", AuthType(kind), addresses, prefix, port))[1]


@pytest.mark.parametrize("kind", [1, 3, 6, 7, 8])
def test_each_range_that_does_not_count_is_told(kind: int) -> None:
    """All of them, not the last one; and that nothing is left when that is so."""
    told = problems(kind, "10.1.0.0/16", "10.5.0.0/16", prefix="7", port=5060)
    assert told[:2] == [
        f"10.1.0.0/16: a range; it counts with auth_type 9 and 10 only, not with {kind}",
        f"10.5.0.0/16: a range; it counts with auth_type 9 and 10 only, not with {kind}",
    ]
    assert (
        told[2] == f"auth_type {kind} compares addresses, and there is none that counts: it matches nothing"
    )
    assert not problems(kind, "10.1.0.1", prefix="7", port=5060)


@pytest.mark.parametrize("kind", [9, 10])
def test_types_of_ranges_take_every_address(kind: int) -> None:
    """A single one is a range of one."""
    assert problems(kind, "10.1.0.0/16", "10.1.*.*", "192.0.2.1", "sip.example.com") == []


@pytest.mark.parametrize("kind", [1, 3, 6, 7, 8, 9, 10])
def test_without_an_address_nobody_can_use_it(kind: int) -> None:
    """As after the clone of an account whose addresses are not copied."""
    assert any("there is none that counts: it matches nothing" in one for one in problems(kind, prefix="7"))


@pytest.mark.parametrize("kind", [2, 3])
def test_without_a_prefix_nobody_can_use_it(kind: int) -> None:
    """Types that compare it."""
    addresses = ("192.0.2.1",) if kind == 3 else ()
    assert problems(kind, *addresses) == [
        f"auth_type {kind} compares the tech_prefix, and there is none: it matches nothing"
    ]
    assert problems(kind, *addresses, prefix="777") == []


def test_type_6_needs_a_port_beside_each_address_or_for_all() -> None:
    """The address without one is named."""
    (told,) = problems(6, "192.0.2.1:5070", "192.0.2.2")
    assert told.startswith("192.0.2.2: auth_type 6 compares the port, and there is none")
    assert problems(6, "192.0.2.1:5070", "192.0.2.2", port=5060) == []


@pytest.mark.parametrize("kind", [1, 3, 7, 8, 9, 10])
def test_a_port_that_does_not_count_is_told(kind: int) -> None:
    """Who writes one means that the others are kept out, and they are not."""
    (told,) = problems(kind, "10.4.4.4:5080", prefix="7")
    assert told == "10.4.4.4:5080: its port does not count, only with auth_type 6; every port of it is let in"


@pytest.mark.parametrize("kind", [0, 2, 4, 5])
def test_addresses_of_types_that_compare_none_are_told(kind: int) -> None:
    """An account of type 5 with addresses looks safer than it is."""
    assert problems(kind, "192.0.2.1", prefix="7") == [f"addresses do not count with auth_type {kind}"]
    assert problems(kind, prefix="7") == []


def test_a_long_list_is_cut() -> None:
    """A thousand ranges are no reason for a thousand sentences."""
    told = problems(1, *(f"10.{number}.0.0/16" for number in range(200)))
    assert len(told) == PROBLEMS_MAX + 1
    assert told[-1] == f"and {201 - PROBLEMS_MAX} more like these"


def test_a_rule_is_made_of_an_account_and_its_further_addresses() -> None:
    """As the database makes it."""
    record = {
        "username": "u",
        "auth_type": 6,
        "auth_ip": "192.0.2.1, ,192.0.2.2",
        "tech_prefix": "",
        "call_signal_port": 0,
    }
    further = (FurtherAddress("192.0.2.3", 5070), FurtherAddress("192.0.2.4"))
    rule = rule_of(record, further)
    assert rule.addresses == ("192.0.2.1", "192.0.2.2", "192.0.2.3 port 5070", "192.0.2.4")
    told = [one.split(":")[0] for one in warnings(record, further, open_relay=False)]
    assert told == ["192.0.2.1", "192.0.2.2", "192.0.2.4"]
