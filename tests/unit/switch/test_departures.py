"""Registrations of accounts that are no more."""

from collections.abc import Mapping

from mizu.model import Account, Binding
from mizu.switch.departures import ANY_EACH_SWEEPS, BATCH, CALLS_FEW, HEARD_MAX, Departures
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
        self.talking: list[str] = []
        self.ended: list[str] = []
        self.fresh: list[str] = []
        self.count = 0
        self.departures = Departures(self.accounts, self.locations, self.remove, self)

    def remove(self, name: str) -> None:
        self.removed.append(name)
        self.locations.replace(name, [])

    def calls_begun_and_not_over(self) -> int:
        return self.count or len(self.talking)

    def on_the_phone(self) -> list[str]:
        return self.talking

    def accounts_changed(self, accounts: Mapping[str, Account | None]) -> Mapping[str, int]:
        here = {name: account for name, account in accounts.items() if name in self.talking}
        self.ended += [name for name, account in here.items() if account is None]
        self.fresh += [name for name, account in here.items() if account is not None]
        return {name: 1 for name, account in here.items() if account is None}


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


def test_calls_of_who_is_disabled_end_and_others_get_what_is_new() -> None:
    """Registered or not; who is not on the phone is not looked up for it."""
    office = Office("alice")
    for name in ("bob", "carol", "dave"):
        office.accounts.set(name, "x", enabled=name != "bob")
    office.talking = ["bob", "carol"]
    for name in ("bob", "carol", "dave"):
        office.departures.changed(name)
    assert (office.ended, office.fresh, office.removed) == (["bob"], ["carol"], [])
    assert "dave" not in office.accounts.asked


def test_many_calls_are_looked_through_once_a_second() -> None:
    """However many accounts change meanwhile; with too many changes everybody on the phone is looked up."""
    office = Office()
    for name in ("bob", "carol"):
        office.accounts.set(name, "x", enabled=name != "bob")
    office.talking = ["bob", "carol"]
    office.count = CALLS_FEW + 1
    office.departures.changed("bob")
    assert office.ended == []
    office.departures.sweep()
    assert office.ended == ["bob"]
    for number in range(HEARD_MAX + 2):
        office.departures.changed(f"x{number}")
    office.departures.sweep()
    assert (office.ended, office.fresh) == (["bob", "bob"], ["carol"])


def test_everybody_is_looked_up_no_more_often_than_now_and_then() -> None:
    """However often very many accounts change at once; the last time is not forgotten."""
    office = Office("alice", "bob")
    for _ in range(5):
        office.departures.changed(None)
    assert sorted(office.accounts.asked) == ["alice", "bob"]
    office.accounts.set("bob", "x", enabled=False)
    for _ in range(ANY_EACH_SWEEPS):
        assert office.removed == []
        office.departures.sweep()
    assert office.removed == ["bob"]
