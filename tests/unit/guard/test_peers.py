"""Addresses of partners: who has which, and what the guard makes of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import succeed

from mizu.auth.peer_rules import PeerRules, targets_of
from mizu.auth.rule_feed import RESOLVE_S, RuleFeed
from mizu.auth.rules import RuleIndex
from mizu.guard.doorman import Doorman
from mizu.guard.peers import PeerTable
from mizu.model import AuthRule, AuthType
from mizu.options import Options
from mizu.targets import parse_target
from mizu.testing import FakeClock
from mizu.testing.auth import MemoryAuthRules
from mizu.testing.bans import MemoryBanStore


class Flow:
    """Where a message came from."""

    def __init__(self, host: str, port: int = 5060) -> None:
        self.remote = (host, port)
        self.reliable = False


class Post:
    """A doorman who is told of partners as the server tells him."""

    def __init__(self, *trunks: str, limit: int = 100, **hosts: str) -> None:
        self.clock = FakeClock()
        self.names: dict[str, list[str]] = {}
        self.door = Doorman(
            Options(),
            MemoryBanStore(),
            None,
            self.clock,
            registered_at=lambda username, host: False,
            peers_max=limit,
        )
        self.accounts = MemoryAuthRules()
        for username, addresses in hosts.items():
            self.give(username, addresses)
        self.feed = RuleFeed(
            PeerRules(self.accounts, trunks),
            RuleIndex(),
            clock=self.clock,
            resolve=lambda name: succeed(self.names.get(name, [])),
            forget=self.changed,
        )
        self.feed.changed(None)

    def give(self, username: str, addresses: str) -> None:
        entries = tuple(addresses.split(","))
        self.accounts.rules[username] = AuthRule(username, AuthType.IP_RANGE, entries)

    def changed(self, username: str | None) -> None:
        assert username is not None
        self.door.peers_are(username, targets_of(self.feed.index, username))

    def tries(self, host: str) -> int:
        """Wrong passwords from ever new ports until the address is banned."""
        for count in range(1, 500):
            self.door.login_failed(Flow(host, count), f"user{count}", "wrong_password")  # type: ignore[arg-type]
            if host in self.door.bans.addresses:
                return count
        return 0


def test_partners_of_accounts_and_routers_have_higher_thresholds() -> None:
    """By address, network or range, of an account or a trunk, without anybody naming them again."""
    post = Post("192.0.2.1", "2001:db8::1", server="198.51.100.7", sender="203.0.113.0/28")
    assert post.tries("192.0.2.1") == 200
    assert post.tries("198.51.100.7") == 200
    assert post.tries("203.0.113.3") == 200
    assert post.tries("203.0.113.99") == 20
    assert post.door.is_known_host("2001:db8::1")
    assert post.door.counts()["peers"] == 4


def test_a_name_counts_by_the_addresses_that_it_has_now() -> None:
    """A partner that moves takes its threshold along."""
    post = Post("trunk.example", server="sip.example")
    post.names = {"trunk.example": ["192.0.2.1"], "sip.example": ["192.0.2.2", "2001:db8::2"]}
    post.clock.advance(RESOLVE_S)
    post.feed.sweep()
    assert all(map(post.door.is_known_host, ("192.0.2.1", "192.0.2.2", "2001:db8::2")))
    post.names["sip.example"] = ["192.0.2.3"]
    post.clock.advance(RESOLVE_S)
    post.feed.sweep()
    assert [host for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3") if post.door.is_known_host(host)] == [
        "192.0.2.1",
        "192.0.2.3",
    ]


def test_a_change_of_an_account_counts_at_once() -> None:
    """Another address, or none: the account was deleted, disabled, or is no carrier any more."""
    post = Post(server="192.0.2.1")
    post.give("server", "192.0.2.2")
    post.feed.changed("server")
    assert [post.door.is_known_host(host) for host in ("192.0.2.1", "192.0.2.2")] == [False, True]
    del post.accounts.rules["server"]
    post.feed.changed("server")
    assert not post.door.is_known_host("192.0.2.2")
    assert len(post.door.peers) == 0


def test_an_address_of_two_stays_with_the_other() -> None:
    """Of a trunk and its account, say, or the option."""
    post = Post("192.0.2.1", server="192.0.2.1")
    del post.accounts.rules["server"]
    post.feed.changed("server")
    assert post.door.is_known_host("192.0.2.1")


async def test_the_option_goes_on_beside_them() -> None:
    """``guardpeers`` is for those that no account and no router knows."""
    post = Post(server="192.0.2.1")
    options = post.door._options
    await options.set("guardpeers", "192.0.2.1,192.0.2.2")
    assert post.door.is_known_host("192.0.2.2")
    await options.reset("guardpeers")
    assert post.door.is_known_host("192.0.2.1")
    assert not post.door.is_known_host("192.0.2.2")


async def test_D2_a_partner_is_not_sent_more_than_others() -> None:
    """Its address may be forged; who was authenticated there, or the operator's option, says more."""
    post = Post("192.0.2.1")
    flow: Any = Flow("192.0.2.1")
    assert post.door.is_known_host("192.0.2.1")
    assert not post.door.is_known(flow)
    await post.door._options.set("guardpeers", "192.0.2.1")
    assert post.door.is_known(flow)
    await post.door._options.reset("guardpeers")
    post.door.accepted(flow, "trunk", True)
    assert post.door.is_known(flow)


def test_a_network_with_a_partner_in_it_is_not_banned_by_itself() -> None:
    """Its neighbours are, one by one."""
    post = Post("192.0.2.200")
    for number in range(1, 9):
        assert post.tries(f"192.0.2.{number}") == 20
    assert "192.0.2.99" not in post.door.bans.addresses


def test_nobody_makes_the_whole_world_a_partner() -> None:
    """0.0.0.0/0 opens a door for its account and raises nothing for others. There is a limit."""
    post = Post("192.0.2.1", "192.0.2.2", limit=1, open="0.0.0.0/0")
    assert not post.door.is_known_host("198.51.100.1")
    assert len(post.door.peers) == 1
    assert post.door.counts()["peers_left_out"] == 2


async def test_a_database_that_is_away_is_asked_again() -> None:
    """Nobody waits for it at the start."""
    post = Post()
    post.accounts.faults.down = True
    post.give("server", "192.0.2.1")
    post.feed.changed(None)
    assert not post.door.is_known_host("192.0.2.1")
    post.accounts.faults.down = False
    post.feed.sweep()
    assert post.door.is_known_host("192.0.2.1")


TARGETS = [
    parse_target(text)
    for text in ("192.0.2.1", "192.0.2.0/30", "192.0.2.1-192.0.2.9", "2001:db8::1", "2001:db8::/64")
]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sets(st.sampled_from(TARGETS)))))
def test_what_is_in_the_table_is_what_somebody_has(steps: list[tuple[str, set[Any]]]) -> None:
    """After any history."""
    table, have = PeerTable(), dict[str, set[Any]]()
    for holder, targets in steps:
        table.put(holder, targets)
        have[holder] = targets
    every = set().union(*have.values())
    assert len(table) == len(every)
    for host in (
        "192.0.2.1",
        "192.0.2.3",
        "192.0.2.9",
        "192.0.2.10",
        "2001:db8::1",
        "2001:db8::2",
        "2001:db9::1",
    ):
        assert (host in table) == any(host in target for target in every)
        assert table.near(parse_target(host)) == any(host in target for target in every)


@pytest.mark.parametrize("asked", [["trunk sip.example", "ann"], ["ann"], []])
async def test_trunks_and_accounts_are_found_by_their_names(asked: list[str]) -> None:
    """As one set of rules; a blank in the name keeps trunks apart from accounts."""
    rules = PeerRules(MemoryAuthRules(AuthRule("ann", AuthType.IP_RANGE, ("192.0.2.1",))), ["sip.example"])
    assert [rule.username for rule in await rules.find(asked)] == asked
    assert [rule.username for rule in await rules.load()] == ["trunk sip.example", "ann"]
