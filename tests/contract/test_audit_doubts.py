"""The connection to the database is lost during COMMIT: operator and audit list get what is true, once."""

import psycopg2
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from mizu.console.account_commands import secrets_of
from mizu.console.commands import command_table
from mizu.model import AuditEntry, Operator, Rights
from mizu.store.noted import Written, was_committed
from mizu.testing.console import store_services

ROOT = Operator("root", Rights.GENERAL_ADMIN, "192.0.2.7")
#: Each COMMIT of a change of an account by ``set`` or ``import`` waits for a lock that a test holds.
SLOW = """CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
 WHEN (NEW.command IN ('set', 'import') AND NEW.outcome = 'ok') EXECUTE FUNCTION slow()"""


class Office:
    """Commands over the real store, and a COMMIT that waits."""

    def __init__(self, store, url, data):
        self.store = store
        store.imports.digests = lambda username, password: secrets_of(username, "mizu", password)
        self.files = data / "import"
        self.files.mkdir()
        self.table = command_table(store_services(store, imports=store.imports))
        self.link = psycopg2.connect(url)
        self.link.autocommit = True
        self.ask(SLOW)

    def ask(self, sql):
        with self.link.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def hold(self):
        self.ask("SELECT pg_advisory_lock(4711)")

    def release(self):
        self.ask("SELECT pg_advisory_unlock(4711)")

    def waiting(self):
        """Processes of the database whose COMMIT waits."""
        return self.ask("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    async def until(self, what):
        for _ in range(1000):
            if what():
                return
            await deferLater(reactor, 0.005, lambda: None)
        raise AssertionError("it does not happen")

    async def begin(self, line):
        """The command is in the midst of its COMMIT."""
        self.hold()
        running = ensureDeferred(self.table.answer(line, ROOT))
        await self.until(self.waiting)
        return running

    def cut(self):
        """Our end of the connection is closed; the database has not noticed."""
        for link in self.store._reports.links:
            if link._busy_since_s is not None:
                link._close()

    def kill(self):
        """The database ends the process: what it was about is rolled back."""
        self.ask(f"SELECT pg_terminate_backend({self.waiting()[0][0]})")

    async def entries(self, command="set"):
        found = await self.store.audit.list(100, None, "", "", ROOT)
        return [one.outcome for one in found if one.command == command]

    async def channels(self):
        return (await self.store.records.get("1001", None))["max_channels"]

    async def tidied(self):
        """What runs now and then has run."""
        self.store.audit.tidy()
        await self.until(lambda: not self.store.audit._keeping)


@pytest_twisted.async_yield_fixture
async def office(store, database_url, tmp_path):
    office = Office(store, database_url, tmp_path)
    await office.table.run("adduser 1001", ROOT)
    yield office
    office.link.close()


async def test_a_change_that_was_made_is_answered_as_made(office):
    """The database committed and could not say so: it is asked on another connection. One entry, ``ok``."""
    running = await office.begin("set 1001 max_channels=7")
    office.cut()
    await deferLater(reactor, 0.2, lambda: None)
    assert not running.called  # nobody knows yet, and nobody says so
    office.release()
    status, answer = await running
    assert (status, answer["result"]["user"]["max_channels"]) == (200, 7)
    assert await office.channels() == 7
    assert await office.entries() == ["ok"]


async def test_a_change_that_was_not_made_is_answered_as_not_made(office):
    """The database gave up during COMMIT: 503 ``store_busy``, one entry that says so."""
    running = await office.begin("set 1001 max_channels=7")
    office.kill()
    status, answer = await running
    assert (status, answer["error"]) == (503, "store_busy")
    assert await office.channels() == 0
    assert await office.entries() == ["store_busy"]
    office.release()


async def test_both_ends_lost_it_and_it_was_not_made(office):
    """We lost the connection, and then the database ended the process."""
    running = await office.begin("set 1001 max_channels=7")
    office.cut()
    office.kill()
    assert (await running)[1]["error"] == "store_busy"
    assert (await office.channels(), await office.entries()) == (0, ["store_busy"])
    office.release()


@pytest.mark.parametrize("made", [True, False])
async def test_what_is_not_known_in_time_is_said_to_be_unknown(office, made):
    """503 ``outcome_unknown`` and no entry; when it is known, one entry that is true."""
    office.store.noted.settle_s = 0.1
    running = await office.begin("set 1001 max_channels=7")
    office.cut()
    status, answer = await running
    assert (status, answer["error"]) == (503, "outcome_unknown")
    assert "look before you repeat it" in answer["lines"][0]
    await office.tidied()
    assert await office.entries() == []
    if not made:
        office.kill()
    office.release()
    await office.until(lambda: not office.waiting())
    await deferLater(reactor, 0.1, lambda: None)
    for _ in range(2):
        await office.tidied()
        assert await office.entries() == (["ok"] if made else ["store_busy"])
    assert await office.channels() == (7 if made else 0)


@pytest.mark.parametrize("made", [True, False])
async def test_the_counts_of_an_import_are_what_was_committed(office, made):
    """It ends, and says of no line that it was imported which was not."""
    (office.files / "a.csv").write_text("username\na\nb\n")
    running = await office.begin("import a.csv")
    link = office.store.imports
    assert link.jobs()[-1].state == "running"
    if made:
        office.release()
    else:
        office.kill()
    _, answer = await running
    job = answer["result"]["import"]
    assert (job["state"], job["added"]) == (("done", 2) if made else ("failed", 0))
    names = [one["username"] for one in await office.store.records.list("", 10, "", None)]
    assert names == (["1001", "a", "b"] if made else ["1001"])
    if not made:
        office.release()


async def test_a_number_of_a_transaction_that_a_crash_undid_is_over(office):
    """The database does not know it, or gave it to another: what counts is whether the entry is there."""
    number = await office.store.audit.keep(AuditEntry(ROOT, "x", "x", "ok"), ())
    begun_at = office.ask(f"SELECT begun_at FROM audit WHERE id = {number}")[0][0]
    for transaction in (1, 3, 2**40):
        assert await was_committed(office.store._reports, Written(number, begun_at, transaction)) is True
        gone = Written(number + 1, begun_at, transaction)
        assert await was_committed(office.store._reports, gone) is False
