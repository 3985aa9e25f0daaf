"""``authtest`` over a real guard: what it would do comes first."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mizu.auth.dry_run import Probe
from mizu.auth.store_backend import StoreBackend
from mizu.console import auth_commands, guard_commands
from mizu.console.auditing import Auditor
from mizu.console.table import CommandTable
from mizu.guard.desk import Desk
from mizu.guard.doorman import Doorman
from mizu.model import Operator, Rights
from mizu.options import Options
from mizu.testing import FakeClock
from mizu.testing.auth import FakeAccountStore
from mizu.testing.bans import MemoryBanStore
from mizu.testing.console import FakeAudit, FakeConsole

ANNA = Operator("anna", Rights.GENERAL_ADMIN)


class Flow:
    """Where a message came from."""

    def __init__(self, host: str, port: int) -> None:
        self.remote = (host, port)
        self.reliable = False


class Room:
    """The commands about bans and authorization; alice has an account."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.at_home: set[tuple[str, str]] = set()
        self.door = Doorman(
            Options(),
            MemoryBanStore(),
            Clock(),
            self.clock,
            registered_at=lambda username, host: (username, host) in self.at_home,
        )
        services = replace(
            FakeConsole().services,
            guard=Desk(self.door, self.clock),
            auth=Probe([("accounts", StoreBackend(FakeAccountStore("alice")))]),
            wall=self.clock.wall,
        )
        commands = (*guard_commands.commands(services), *auth_commands.commands(services))
        self.table = CommandTable(commands, auditor=Auditor(FakeAudit()))

    def say(self, line: str) -> dict[str, Any]:
        """The answer of ``POST /console``."""
        answers: list[Any] = []
        Deferred.fromCoroutine(self.table.answer(line, ANNA)).addBoth(answers.append)
        return {"status": answers[0][0], **answers[0][1]}

    def test(self, source: str, user: str = "alice", more: str = "") -> dict[str, Any]:
        """What would happen to a REGISTER from there."""
        found: dict[str, Any] = self.say(f"authtest {source} REGISTER alice alice {user} {more}")["result"]
        return found

    def guess(self, host: str, times: int) -> None:
        for port in range(times):
            self.door.login_failed(Flow(host, 6000 + port), "alice", "wrong_password")  # type: ignore[arg-type]


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.door.stop()


def test_who_is_banned_is_dropped_whatever_he_sends(room: Room) -> None:
    """The first reason says for how long and why; then what would happen without."""
    room.say("ban 10.9.9.9 1h scans us")
    answer = room.say("authtest 10.9.9.9 REGISTER alice alice alice")
    assert answer["lines"][0] == "REGISTER from 10.9.9.9:5060: dropped unread, without an answer"
    found = answer["result"]
    assert (found["outcome"], found["status"], found["account"]) == ("dropped", 0, "")
    assert found["reasons"][0].startswith("dropped: banned until ")
    assert found["reasons"][0].endswith("(10.9.9.9: scans us)")
    assert found["reasons"][1] == "without that: let in with the right password, as alice"
    room.say("ban 198.51.100.0/24")
    assert room.test("198.51.100.77")["reasons"][0].startswith(
        "dropped: banned until 'unban' (198.51.100.0/24: by anna)"
    )
    assert room.test("198.51.101.77")["outcome"] == "password"


def test_a_banned_user_agent_is_one_port(room: Room) -> None:
    """The others behind that address go on."""
    room.say("ban 10.9.9.9:5080")
    assert room.test("10.9.9.9:5080")["outcome"] == "dropped"
    assert room.test("10.9.9.9:5081")["outcome"] == "password"


def test_the_white_list_wins(room: Room) -> None:
    """And is told."""
    room.say("ban 10.9.9.0/24")
    room.say("whitelist add 10.9.9.9")
    found = room.test("10.9.9.9")
    assert (found["outcome"], found["reasons"][0]) == ("password", "white-listed: no ban holds for it")


def test_a_ban_in_doubt_is_for_those_who_prove_nothing(room: Room) -> None:
    """Over UDP without credentials; with them, or by a connection, it is passed."""
    for _ in range(20):
        room.door.malformed(Flow("192.0.2.1", 5060))  # type: ignore[arg-type]
    found = room.test("192.0.2.1", "")
    assert found["outcome"] == "dropped"
    assert "in doubt" in found["reasons"][0]
    assert room.test("192.0.2.1")["outcome"] == "password"
    assert "but in doubt: comes through" in room.test("192.0.2.1")["reasons"][0]
    assert room.test("192.0.2.1", "", "--proto tcp")["outcome"] == "challenged"


def test_a_ban_that_is_over_is_none(room: Room) -> None:
    """Whether it was swept or not."""
    room.say("ban 10.9.9.9 1m")
    room.clock.advance(61)
    assert room.test("10.9.9.9")["outcome"] == "password"


def test_an_account_that_is_slowed_down_is_told(room: Room) -> None:
    """Also that it is not this one's turn, and that then nothing is checked; not so a registered phone."""
    for number in range(20):
        room.guess(f"198.51.{number}.1", 1)
    found = room.test("192.0.2.1")
    assert found["outcome"] == "password"
    assert found["reasons"][0] == (
        "account 'alice' is slowed down after wrong passwords: one in 5 s is checked, this one has its turn"
    )
    assert room.test("192.0.2.1")["outcome"] == "password", "asking takes no turn"
    assert room.door.may_log_in(Flow("203.0.113.1", 5060), "alice")  # type: ignore[arg-type]
    found = room.test("192.0.2.1")
    assert (found["outcome"], found["status"], found["account"]) == ("challenged", 401, "")
    assert found["reasons"][0].endswith("one in 5 s is checked, the next one in 5 s")
    room.at_home.add(("alice", "192.0.2.1"))
    assert room.test("192.0.2.1")["outcome"] == "password"
    assert room.test("192.0.2.2", "")["outcome"] == "challenged"


def test_nothing_is_changed_by_asking(room: Room) -> None:
    """No count, no ban, no turn."""
    for _ in range(100):
        room.test("192.0.2.1")
    assert room.say("failures")["result"]["failures"] == []
    assert room.say("banned")["result"]["total"] == 0


def test_known_addresses_are_told(room: Room) -> None:
    """Partners and where somebody was authenticated."""
    room.door.accepted(Flow("192.0.2.1", 5060), "alice", True)  # type: ignore[arg-type]
    assert room.test("192.0.2.1")["reasons"][0] == "known address: may fail 10 times as often"
