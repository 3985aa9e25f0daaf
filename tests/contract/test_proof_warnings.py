"""Warnings of what does not count, where an operator changes it; the change is made all the same."""

import shlex
from collections.abc import Awaitable, Callable
from typing import Any

import pytest_twisted

from mizu.console.commands import command_table
from mizu.errors import StoreBusy
from mizu.model import Operator, Rights
from mizu.testing.console import FakeConsole, store_services

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")
EMPTY = "auth_type 9 compares addresses, and there is none that counts: it matches nothing"


@pytest_twisted.async_fixture
async def services(store: Any) -> Any:
    return store_services(store, FakeConsole(), tokens=None, audit=None)


@pytest_twisted.async_fixture
async def say(services: Any) -> Callable[..., Awaitable[Any]]:
    """Give a command."""
    table = command_table(services)
    return lambda *words: table.run(shlex.join(words), STAFF)


def told(done: Any) -> list[str]:
    """In the lines for people and in the JSON alike."""
    assert [line for line in done.lines if line.startswith("warning: auth_type")] == [
        f"warning: {one}" for one in done.result["warnings"] if one.startswith("auth_type")
    ]
    warnings: list[str] = done.result["warnings"]
    return warnings


async def test_every_ignored_address_is_told(say: Any) -> None:
    """Of the field and of the further ones, by ``set`` and by ``addresses add``, until it is put right."""
    await say("adduser", "1001")
    done = await say("set", "1001", "auth_type=1", "auth_ip=10.1.0.0/16,10.4.4.4:5080")
    assert [one.partition(": ")[0] for one in told(done)] == ["10.1.0.0/16", "10.4.4.4:5080"]
    done = await say("addresses", "add", "1001", "10.5.0.0/16")
    assert [one.partition(": ")[0] for one in told(done)] == ["10.1.0.0/16", "10.4.4.4:5080", "10.5.0.0/16"]
    done = await say("set", "1001", "auth_type=9", "auth_ip=10.1.0.0/16")
    assert told(done) == []
    assert told(await say("set", "1001", "display_name=x")) == []


async def test_an_open_relay_is_told_for_what_it_is(say: Any) -> None:
    """It matches nothing as long as the option says so, and everybody when it does not."""
    off = ["auth_type 0 (open relay) matches nothing while the option enforcestrongauth is on"]
    await say("adduser", "1001")
    assert told(await say("set", "1001", "NeedAuth=0")) == off
    assert told(await say("adduser", "1002", "auth_type=0")) == off
    await say("options", "set", "enforcestrongauth", "off")
    assert "whoever reaches this server" in told(await say("set", "1001", "auth_ip="))[0]
    assert told(await say("set", "1001", "auth_type=4")) == []


async def test_a_new_account_that_nobody_can_use_says_so(say: Any) -> None:
    """Made or cloned, one or many: addresses and prefixes are not copied."""
    assert told(await say("adduser", "2001", "auth_type=9")) == [EMPTY]
    assert told(await say("adduser", "2101", "auth_type=9", "--count", "2")) == [EMPTY]
    await say("set", "2001", "auth_ip=10.1.0.0/16")
    assert told(await say("clone", "2001", "2002")) == [EMPTY]
    assert told(await say("clone", "2001", "2003", "auth_ip=10.2.0.0/16")) == []
    assert told(await say("adduser", "2004", "--password", "correct horse")) == []


async def test_a_change_that_was_made_is_not_called_a_failure(say: Any, services: Any) -> None:
    """When the database goes away right after it, the warnings are left out."""
    await say("adduser", "3001")
    services.addresses.list = lambda *ignored: refuse()
    done = await say("set", "3001", "auth_type=9")
    assert done.result["user"]["auth_type"] == 9
    assert told(done) == []


async def refuse() -> None:
    raise StoreBusy("gone")
