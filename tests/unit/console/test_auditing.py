"""No change without an entry in the audit list, whatever goes wrong."""

import pytest
from twisted.logger import LogLevel, globalLogPublisher

from mizu.console.auditing import CHANGES_MAX, Auditor
from mizu.console.table import Command, CommandResult, CommandTable
from mizu.errors import Conflict, Forbidden, StoreBusy
from mizu.model import Change, Operator, Rights
from mizu.testing.console import FakeAudit

ALICE = Operator("alice", Rights.GENERAL_ADMIN, "192.0.2.7", token_id=5)


class World:
    """A table with one changing command; ``done`` says how often it was carried out."""

    def __init__(self, *, emergency=False):
        self.audit, self.done, self.error = FakeAudit(), 0, None
        self.changes = (Change("thing", "a", {"x": 1, "password": "old"}, {"x": 2, "password": "new"}),)
        command = Command("do", "does it", "accounts.write", self._run, changes=True, emergency=emergency)
        self.table = CommandTable([command], auditor=Auditor(self.audit))

    async def _run(self, call):
        if self.error:
            raise self.error
        self.seen = self.audit.rows[-1].outcome if self.audit.rows else ""
        self.done += 1
        return CommandResult(["done"], None, self.changes)


@pytest.fixture
def logged():
    """Levels and texts of what the audit log says."""
    events = []

    def observe(event):
        if event.get("log_namespace") == "mizu.audit":
            events.append((event["log_level"], event["log_format"].format(**event)))

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


async def test_the_entry_is_there_before_the_change():
    """Begun before, completed after, with what changed and without secrets."""
    world = World()
    await world.table.run("do", ALICE)
    assert world.seen == "begun"
    [entry] = world.audit.rows
    assert (entry.who, entry.token_id, entry.source, entry.line, entry.outcome) == (
        "alice",
        5,
        "192.0.2.7",
        "do",
        "ok",
    )
    assert entry.changes[0]["after"] == {"x": 2, "password": "***"}


async def test_what_cannot_be_noted_is_not_done(logged):
    """The list cannot be written: the command is refused and was not carried out."""
    world = World()
    world.audit.error = StoreBusy("down")
    with pytest.raises(StoreBusy):
        await world.table.run("do", ALICE)
    assert world.done == 0
    assert [text for _, text in logged] == ["alice from 192.0.2.7: do -> store_busy"]


async def test_an_emergency_is_carried_out_and_shouted_about(logged):
    """Commands that must work without the database do; the log has what the list lacks for now."""
    world = World(emergency=True)
    world.audit.error = StoreBusy("down")
    await world.table.run("do", ALICE)
    assert world.done == 1
    [critical] = [text for level, text in logged if level is LogLevel.critical]
    start = "the audit list is incomplete: this is written when the database is back: "
    assert critical.startswith(start + "alice from 192.0.2.7: do -> ok")
    [(entry, changes)] = world.audit.later
    assert (entry.operator, entry.command, entry.line, entry.outcome) == (ALICE, "do", "do", "ok")
    assert changes[0].after == {"x": 2, "password": "***"}


async def test_an_entry_that_cannot_be_completed_stays_begun(logged):
    """The change is made, so the operator gets the answer; the log has the rest, without secrets."""
    world = World()
    begin = world.audit.begin

    async def last(entry):
        number = await begin(entry)
        world.audit.error = StoreBusy("down")
        return number

    world.audit.begin = last
    assert (await world.table.run("do", ALICE)).lines == ["done"]
    assert world.audit.rows[0].outcome == "begun"
    [critical] = [text for level, text in logged if level is LogLevel.critical]
    assert "entry 1, alice: do -> ok" in critical
    assert "'x': 2" in critical
    assert "new" not in critical


@pytest.mark.parametrize(
    ("error", "outcome"), [(Conflict("no"), "conflict"), (ValueError("bug"), "ValueError")]
)
async def test_a_failure_is_noted_as_one(error, outcome):
    """With the error's stable word; a fault of ours with its kind."""
    world = World()
    world.error = error
    with pytest.raises(type(error)):
        await world.table.run("do", ALICE)
    assert (world.audit.rows[0].outcome, world.audit.rows[0].changes) == (outcome, [])


@pytest.mark.parametrize(
    "operator",
    [Operator("bob", Rights.SALES), Operator("shop", Rights.GENERAL_ADMIN, scope_account_id=7)],
)
async def test_a_refused_attempt_is_noted(operator):
    """Too little rights, or a reach that the command does not heed: refused, not done, in the list."""
    world = World()
    with pytest.raises(Forbidden):
        await world.table.run("do", operator)
    assert world.done == 0
    assert [(entry.who, entry.outcome) for entry in world.audit.rows] == [(operator.name, "forbidden")]


async def test_a_flood_of_changes_is_cut():
    """An import of thousands keeps the first so many."""
    world = World()
    world.changes = tuple(Change("thing", str(number), None, {}) for number in range(CHANGES_MAX + 5))
    await world.table.run("do", ALICE)
    assert len(world.audit.rows[0].changes) == CHANGES_MAX


class Atomic(World):
    """The command's store commits the entry with the change, unless ``keeps`` is false."""

    def __init__(self, *, keeps=True):
        super().__init__()
        self.keeps = keeps
        command = Command("do", "does it", "accounts.write", self._run, changes=True, atomic=True)
        self.table = CommandTable([command], auditor=Auditor(self.audit))

    async def _run(self, call):
        note = call.note(lambda result: self.changes)
        if self.error:
            raise self.error
        if self.keeps:
            await self.audit.keep(note.entry, note.changes_of("result"))
            note.kept()
        self.done += 1
        return CommandResult(["done"], None, self.changes)


@pytest.mark.parametrize("keeps", [True, False])
async def test_an_atomic_change_has_one_entry(keeps):
    """That of the store's transaction; a store that keeps none gets one after. Without secrets."""
    world = Atomic(keeps=keeps)
    await world.table.run("do", ALICE)
    [entry] = world.audit.rows
    assert (entry.who, entry.line, entry.outcome) == ("alice", "do", "ok")
    assert entry.changes[0]["after"] == {"x": 2, "password": "***"}


@pytest.mark.parametrize(
    ("error", "outcome"), [(Conflict("no"), "conflict"), (ValueError("bug"), "ValueError")]
)
async def test_an_atomic_change_that_fails_has_an_entry_without_changes(error, outcome):
    """With the error's stable word."""
    world = Atomic()
    world.error = error
    with pytest.raises(type(error)):
        await world.table.run("do", ALICE)
    assert [(entry.outcome, entry.changes) for entry in world.audit.rows] == [(outcome, [])]


async def test_a_refusal_that_cannot_be_noted_is_shouted_about(logged):
    """Nothing was changed, so the operator gets the reason; the log has what the list lacks."""
    world = Atomic()
    world.error, world.audit.error = Conflict("no"), StoreBusy("down")
    with pytest.raises(Conflict):
        await world.table.run("do", ALICE)
    assert logged[1] == (
        LogLevel.critical,
        "the audit list is incomplete: alice from 192.0.2.7: do -> conflict: down",
    )


def test_an_emergency_is_not_atomic():
    """What must work without the database cannot wait for its transaction."""
    for more in ({"changes": True, "emergency": True}, {}):
        with pytest.raises(ValueError, match="atomic"):
            CommandTable([Command("do", "does it", "accounts.write", None, atomic=True, **more)])
