"""The ban list in memory."""

from math import inf

from mizu.guard.bans import GUARD, Ban, BanList
from mizu.targets import parse_target


def ban(text: str, until_s: float = 100.0, by: str = GUARD, times: int = 1, *, proven: bool = True) -> Ban:
    return Ban(parse_target(text), "reason", by, 0.0, until_s, times, proven)


def test_each_kind_of_ban_is_where_the_gate_looks_for_it() -> None:
    """Addresses, user agents, and addresses in doubt."""
    bans = BanList()
    for one in (ban("192.0.2.1"), ban("192.0.2.2:5060"), ban("192.0.2.3", proven=False)):
        assert bans.add(one)
    assert "192.0.2.1" in bans.addresses
    assert ("192.0.2.2", 5060) in bans.agents
    assert "192.0.2.2" not in bans.addresses
    assert "192.0.2.3" in bans.doubtful
    assert "192.0.2.3" not in bans.addresses
    assert bans.counts() == {"bans": 3, "addresses": 1, "agents": 1, "doubtful": 1}


def test_a_ban_ends_and_its_repetition_is_known_for_a_time() -> None:
    """The second in a row is the second until what was remembered is forgotten."""
    bans = BanList()
    bans.add(ban("192.0.2.1", until_s=10.0, times=2))
    assert bans.times(parse_target("192.0.2.1"), 5.0) == 2
    assert bans.expire(9.9, remember_s=100.0) == []
    assert [one.target.text for one in bans.expire(10.0, remember_s=100.0)] == ["192.0.2.1"]
    assert "192.0.2.1" not in bans.addresses
    assert bans.times(parse_target("192.0.2.1"), 109.0) == 2
    assert bans.times(parse_target("192.0.2.1"), 110.0) == 0


def test_the_guard_does_not_shorten_nor_replace_what_an_operator_did() -> None:
    """An operator's ban replaces any; the guard's only a shorter one of its own."""
    bans = BanList()
    assert bans.add(ban("192.0.2.1", until_s=50.0))
    assert not bans.add(ban("192.0.2.1", until_s=40.0))
    assert bans.add(ban("192.0.2.1", until_s=60.0))
    assert bans.add(ban("192.0.2.1", until_s=20.0, by="anna"))
    assert not bans.add(ban("192.0.2.1", until_s=90.0))
    assert bans.expire(50.0, 0.0)[0].by == "anna"
    assert len(bans) == 0
    assert bans.expire(90.0, 0.0) == []


def test_a_ban_without_end_lasts() -> None:
    """Until somebody ends it."""
    bans = BanList()
    bans.add(ban("192.0.2.0/24", until_s=inf, by="anna"))
    assert bans.expire(1e12, 0.0) == []
    assert "192.0.2.9" in bans.addresses
    removed = bans.remove(parse_target("192.0.2.0/24"))
    assert removed is not None
    assert "192.0.2.9" not in bans.addresses
    assert bans.remove(parse_target("192.0.2.0/24")) is None


def test_a_full_list_makes_room_by_what_ends_first() -> None:
    """Operators' bans without end stay; bans in doubt never push out others."""
    bans = BanList(limit=3)
    bans.add(ban("192.0.2.1", until_s=inf, by="anna"))
    bans.add(ban("192.0.2.2", until_s=20.0))
    bans.add(ban("192.0.2.3", until_s=30.0))
    bans.add(ban("192.0.2.4", until_s=40.0))
    assert [one.target.text for one in bans.all()] == ["192.0.2.1", "192.0.2.4", "192.0.2.3"]
    for number in range(10, 20):
        bans.add(ban(f"192.0.2.{number}", proven=False))
    assert bans.counts() == {"bans": 6, "addresses": 3, "agents": 0, "doubtful": 3}


def test_a_network_is_bad_when_enough_of_its_addresses_are_banned_now() -> None:
    """Those whose bans are over do not count, nor do ports, nor the network itself again."""
    bans = BanList()
    found = []
    for number in range(1, 6):
        one = ban(f"192.0.2.{number}", until_s=100.0 if number > 1 else 1.0)
        bans.add(one)
        if number == 3:
            bans.expire(2.0, 0.0)
        found.append(bans.network_is_bad(one.target, 24, 48, 4))
    assert [network.text if network else None for network in found] == [None] * 4 + ["192.0.2.0/24"]
    bans.add(ban("192.0.2.0/24"))
    bans.add(ban("192.0.2.9"))
    assert bans.network_is_bad(parse_target("192.0.2.9"), 24, 48, 4) is None
    assert bans.network_is_bad(parse_target("192.0.3.9:5060"), 24, 48, 1) is None
    assert bans.network_is_bad(parse_target("192.0.3.9"), 24, 48, 0) is None


def test_what_the_database_says_replaces_all_but_what_is_in_doubt() -> None:
    """New ones, changed ones and gone ones are told, for those who follow."""
    bans = BanList()
    bans.add(ban("192.0.2.1"))
    bans.add(ban("192.0.2.2"))
    bans.add(ban("192.0.2.3", proven=False))
    new, gone = bans.replace([ban("192.0.2.2"), ban("192.0.2.4")])
    assert [one.target.text for one in new] == ["192.0.2.4"]
    assert [one.target.text for one in gone] == ["192.0.2.1"]
    assert {one.target.text for one in bans.all()} == {"192.0.2.2", "192.0.2.3", "192.0.2.4"}
    assert "192.0.2.1" not in bans.addresses


def test_who_keeps_an_address_out_can_be_asked() -> None:
    """For the operator who wonders why."""
    bans = BanList()
    for text in ("192.0.2.7", "192.0.2.0/24", "192.0.2.7:5060", "198.51.100.0/24"):
        bans.add(ban(text))
    assert {one.target.text for one in bans.covering("192.0.2.7")} == {
        "192.0.2.7", "192.0.2.0/24", "192.0.2.7:5060",
    }  # fmt: skip
    assert {one.target.text for one in bans.covering("192.0.2.7", 5070)} == {"192.0.2.7", "192.0.2.0/24"}
    assert bans.clear() == 4
    assert bans.all() == []
