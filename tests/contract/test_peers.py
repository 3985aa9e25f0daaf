"""Where accounts that carry traffic send from, as the database has it; and the whole way to the guard."""

import shlex
from collections.abc import Awaitable, Callable
from typing import Any

import pytest_twisted
from twisted.internet.defer import succeed

from mizu.auth.peer_rules import PeerRules, targets_of
from mizu.auth.rule_feed import RuleFeed
from mizu.auth.rules import RuleIndex
from mizu.console.commands import command_table
from mizu.model import Operator, Rights
from mizu.store import peers
from mizu.testing import FakeClock
from mizu.testing.console import FakeConsole, store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")


@pytest_twisted.async_fixture
async def say(store: Any) -> Callable[..., Awaitable[Any]]:
    """Give a command."""
    table = command_table(store_services(store, FakeConsole(), tokens=None, audit=None))
    return lambda *words: table.run(shlex.join(words), STAFF)


async def addresses(store: Any, username: str) -> tuple[str, ...]:
    """Of one account; none: it is no partner."""
    found = await store.peers.find([username])
    assert list(found) == [rule for rule in await store.peers.load() if rule.username == username]
    return found[0].addresses if found else ()


async def test_hosts_that_calls_go_to_and_addresses_that_count(store: Any, say: Any) -> None:
    """Of carriers alone; ``auth_ip`` when the auth_type compares it."""
    fields = ("domain_name=sip.example", "second_host=192.0.2.9", "auth_ip=192.0.2.1, 192.0.2.2:5070")
    await say("adduser", "server", "type=sip_server", *fields)
    await say("addresses", "add", "server", "192.0.2.3:5080")
    assert await addresses(store, "server") == ("sip.example", "192.0.2.9")
    await say("set", "server", "auth_type=1")
    every = ("sip.example", "192.0.2.9", "192.0.2.1", "192.0.2.2:5070", "192.0.2.3")
    assert await addresses(store, "server") == every
    for kind in ("gateway", "traffic_sender"):
        await say("set", "server", f"type={kind}")
        assert await addresses(store, "server") == every
    for kind in ("enduser", "reseller"):
        await say("set", "server", f"type={kind}")
        assert await addresses(store, "server") == ()


async def test_what_is_stopped_is_no_partner(store: Any, say: Any) -> None:
    """Itself or by an owner, for good or for now; a template never was one."""
    await say("adduser", "owner", "type=owner")
    await say("adduser", "gw", "type=gateway", "domain_name=192.0.2.1", "parent_id=owner")
    for stopped, again in (
        (("disable", "gw"), ("enable", "gw")),
        (("disable", "owner"), ("enable", "owner")),
        (("set", "gw", "suspended=1"), ("set", "gw", "suspended=0")),
        (("set", "gw", "is_template=1"), ("set", "gw", "is_template=0")),
    ):
        await say(*stopped)
        assert await addresses(store, "gw") == ()
        await say(*again)
        assert await addresses(store, "gw") == ("192.0.2.1",)


async def test_a_change_of_an_account_arrives(store: Any, say: Any) -> None:
    """Announced as it commits, as changes of accounts are."""
    seen: dict[str | None, list[str]] = {}
    index = RuleIndex()
    feed = RuleFeed(
        PeerRules(store.peers, ["192.0.2.200"]),
        index,
        clock=FakeClock(),
        resolve=lambda name: succeed([]),
        forget=lambda name: seen.__setitem__(name, [str(one) for one in targets_of(index, name or "")]),
    )
    await feed.prepare()
    assert seen == {"trunk 192.0.2.200": ["192.0.2.200"]}
    await say("adduser", "gw", "type=gateway", "domain_name=192.0.2.1")
    feed.changed("gw")
    await feed.settle()
    assert seen["gw"] == ["192.0.2.1"]
    await say("deluser", "gw")
    feed.changed("gw")
    await feed.settle()
    assert seen["gw"] == []


async def test_partners_are_found_among_many_accounts_by_an_index(store: Any) -> None:
    """The start of a server with a million accounts reads its few carriers alone."""
    explain = f"SET enable_seqscan = off; SET enable_bitmapscan = off; EXPLAIN {peers._ALL}"
    plan = await store._reports.query(explain, {"after": "", "limit": 10})
    assert "account_carrier" in str(plan)
