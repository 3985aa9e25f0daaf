"""Registrations of accounts that are no more."""

from mizu.model import Binding
from mizu.switch.departures import BATCH, Departures
from mizu.switch.location import LocationTable
from mizu.testing.auth import FakeAccountStore, result_now


class Office:
    """Phones that are registered, and what was removed."""

    def __init__(self, *usernames: str) -> None:
        self.accounts = FakeAccountStore(*usernames)
        self.locations = LocationTable(10_000)
        for name in usernames:
            self.locations.replace(name, [Binding(1, name, f"sip:{name}@192.0.2.1", 1e12, "c", 1)])
        self.removed: list[str] = []
        self.departures = Departures(self.accounts, self.locations, self.remove)

    def remove(self, name: str) -> None:
        self.removed.append(name)
        self.locations.replace(name, [])


def test_who_is_disabled_or_deleted_is_removed_and_nobody_else() -> None:
    """Each time an account changes it is looked up, if it is registered here."""
    office = Office("alice", "bob", "carol")
    office.accounts.set("alice", "x", enabled=False)
    result_now(office.accounts.delete("bob"))
    for name in ("alice", "bob", "carol", "dave"):
        office.departures.changed(name)
    assert office.removed == ["alice", "bob"]
    assert "dave" not in office.accounts.asked


def test_when_any_may_have_changed_all_are_looked_up() -> None:
    """In batches."""
    names = [f"u{n}" for n in range(2 * BATCH + 3)]
    office = Office(*names)
    office.accounts.set("u7", "x", enabled=False)
    office.departures.changed(None)
    assert office.removed == ["u7"]
    assert sorted(office.accounts.asked) == sorted(names)


def test_while_the_database_is_away_nobody_is_removed_and_nothing_forgotten() -> None:
    """The next sweep goes on."""
    office = Office("alice")
    office.accounts.set("alice", "x", enabled=False)
    office.accounts.faults.down = True
    office.departures.changed("alice")
    assert (office.removed, len(office.departures)) == ([], 1)
    office.accounts.faults.down = False
    office.departures.sweep()
    assert (office.removed, len(office.departures)) == (["alice"], 0)
