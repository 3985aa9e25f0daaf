"""The commands about bans, over a real guard with a database in memory."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mizu.console import guard_commands
from mizu.console.auditing import Auditor
from mizu.console.table import CommandTable
from mizu.errors import StoreBusy
from mizu.guard.desk import Desk
from mizu.guard.doorman import Doorman
from mizu.model import Operator, Rights
from mizu.options import Options
from mizu.testing import FakeClock
from mizu.testing.bans import MemoryBanStore
from mizu.testing.console import FakeAudit, FakeConsole

ANNA = Operator("anna", Rights.ADMIN)


class Room:
    """A command table over a guard."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryBanStore()
        self.door = Doorman(
            Options(), self.store, Clock(), self.clock, registered_at=lambda username, host: False
        )
        services = replace(FakeConsole().services, guard=Desk(self.door, self.clock), wall=self.clock.wall)
        self.audit = FakeAudit()
        self.table = CommandTable(guard_commands.commands(services), auditor=Auditor(self.audit))

    def say(self, line: str, who: Operator = ANNA) -> dict[str, Any]:
        """The answer of ``POST /console``."""
        answers: list[Any] = []
        Deferred.fromCoroutine(self.table.answer(line, who)).addBoth(answers.append)
        return {"status": answers[0][0], **answers[0][1]}


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.door.stop()


def test_a_ban_is_made_shown_and_ended(room: Room) -> None:
    """With its reason, and for how long it still lasts."""
    assert room.say("banned")["lines"] == ["nobody is banned"]
    made = room.say("ban 192.0.2.77/24 2h scans us")
    assert made["lines"] == ["192.0.2.0/24 is banned for 2h00m"]
    assert made["result"] == {"target": "192.0.2.0/24", "duration_s": 7200.0, "trusted": False}
    shown = room.say("banned 192.0.2.5")
    assert shown["result"]["total"] == 1
    assert shown["result"]["bans"][0]["reason"] == "scans us"
    assert shown["result"]["bans"][0]["by"] == "anna"
    assert "192.0.2.0/24" in shown["lines"][1]
    assert room.say("banned 192.0.3.5")["result"]["total"] == 0
    assert room.say("unban 192.0.2.0/24")["lines"] == ["192.0.2.0/24 is let in again"]
    assert room.say("unban 192.0.2.0/24")["status"] == 404


def test_a_ban_without_a_duration_has_no_end(room: Room) -> None:
    """Nor one for 0 seconds."""
    assert room.say("ban 192.0.2.1")["lines"] == ["192.0.2.1 is banned until unban"]
    assert room.say("ban 192.0.2.2 0")["result"]["duration_s"] is None
    assert room.say("banned")["result"]["bans"][0]["until_at"] is None
    assert room.say("delbanned")["lines"] == ["2 bans ended"]
    assert room.store.rows == {}


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("ban nonsense", "want an address"),
        ("ban 0.0.0.0/0", "wider than a /8"),
        ("ban 192.0.2.1 soon", "duration"),
        ("ban", "<target> is missing"),
        (f"ban 192.0.2.1 1h {'x' * 201}", "200 characters"),
        ("whitelist add 192.0.2.1:5060", "no ports"),
        ("whitelist del 192.0.2.1", "not on the white list"),
        ("whitelist del 127.0.0.1", "guardwhitelist"),
        ("whitelist", "needs one word more"),
    ],
)
def test_what_cannot_be_done_is_said(room: Room, line: str, word: str) -> None:
    """In words, with a status of the 400s."""
    answer = room.say(line)
    assert 400 <= answer["status"] < 500
    assert word in " ".join(answer["lines"])


def test_the_white_list_wins_and_says_so(room: Room) -> None:
    """A ban of a trusted address is taken, and has no effect."""
    assert room.say("whitelist add 192.0.2.1 our carrier")["ok"]
    assert room.say("ban 192.0.2.1")["lines"][1] == "but it is on the white list, which wins"
    listed = room.say("whitelist list")
    assert [one["target"] for one in listed["result"]["whitelist"]] == ["127.0.0.1", "::1", "192.0.2.1"]
    assert listed["result"]["whitelist"][2]["note"] == "our carrier"
    assert room.say("whitelist del 192.0.2.1")["ok"]


def test_without_the_database_a_ban_still_holds_here(room: Room) -> None:
    """Neither the audit list nor the ban list can be written: an attack is stopped all the same."""
    room.audit.error, room.store.busy = StoreBusy("down"), True
    assert room.say("ban 192.0.2.7")["status"] == 503
    assert room.say("banned 192.0.2.7")["result"]["total"] == 1
    assert room.say("unban 192.0.2.7")["status"] == 503
    assert room.say("banned")["result"]["total"] == 0
    answer = room.say("whitelist add 192.0.2.7 ours")
    assert (answer["status"], answer["error"]) == (503, "store_busy")
    assert "it holds on this node" in answer["lines"][0]
    assert room.say("ban 192.0.2.7")["status"] == 503
    assert "192.0.2.7" in room.door.trusted
    assert room.say("whitelist del 192.0.2.7")["status"] == 503
    assert room.say("whitelist del 192.0.2.7")["status"] == 404
    assert "192.0.2.7" not in room.door.trusted
    assert room.say("delbanned")["status"] == 503
    assert room.say("banned")["result"]["total"] == 0
    commands = [entry.command for entry, _ in room.audit.later]
    assert commands == ["ban", "unban", "whitelist add", "ban", "whitelist del", "whitelist del", "delbanned"]


def test_failures_are_shown_as_they_are_counted(room: Room) -> None:
    """Before they are enough."""
    assert room.say("failures")["lines"] == ["nothing is counted now"]
    for _ in range(3):
        room.door.unknown_number("192.0.2.9", True)
    assert room.say("failures")["result"]["failures"][0]["count"] == 3


def test_operators_below_admin_may_only_look(room: Room) -> None:
    """Sales sees who is banned and changes nothing."""
    sales = Operator("sam", Rights.SALES)
    assert room.say("banned", sales)["ok"]
    for line in ("ban 192.0.2.1", "unban 192.0.2.1", "delbanned", "whitelist add 192.0.2.1"):
        assert room.say(line, sales)["status"] == 403


def test_the_examples_are_commands(room: Room) -> None:
    """What help shows can be typed."""
    for command in room.table:
        for example in command.examples:
            if not example.startswith("help"):
                assert room.table.parse(example)[0] is command


def test_a_server_without_a_guard_has_no_such_commands() -> None:
    """Tools and tests."""
    assert guard_commands.commands(FakeConsole().services) == ()
