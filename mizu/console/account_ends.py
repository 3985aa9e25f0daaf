"""What ends on this node when an account, with everything below it, may do nothing any more."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mizu.console.services import ConsoleServices
from mizu.console.text import plural

PAGE = 10_000  #: accounts asked for at a time


@dataclass(slots=True)
class Ending:
    """What an account, with everything below it, has on this node. Other nodes end theirs by themselves."""

    accounts_below: int = 0
    registered: list[str] = field(default_factory=list)  #: usernames
    registrations: int = 0
    calls: int = 0  #: as caller or called party

    def lines(self, done: str) -> Sequence[str]:
        """For people. :param done: what was done to the account."""
        below = f", and with it {plural(self.accounts_below, 'account')} below" if self.accounts_below else ""
        if not self.registrations and not self.calls:
            return [f"{done}{below}", "on this node nothing of that is registered or in a call"]
        what = f"{plural(self.registrations, 'registration')} and {plural(self.calls, 'call')}"
        return [f"{done}{below}", f"on this node {what} of that end; other nodes follow within a second"]

    def result(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "accounts_below": self.accounts_below,
            "registrations_removed": self.registrations,
            "calls_ending": self.calls,
        }


async def ending(services: ConsoleServices, who: str, scope: int | None) -> Ending:
    """Look before the account is changed: what ends then is gone at once. :raise NotFound:"""
    root = await services.records.get(who, scope)
    calls = [{one.caller, one.callee} for one in services.calls.list()]
    on_the_phone = set().union(*calls)
    found = Ending(accounts_below=-1)
    concerned: set[str] = set()
    after = ""
    while names := await services.records.usernames("", PAGE, after, root["id"]):
        after = names[-1]
        found.accounts_below += len(names)
        concerned.update(on_the_phone.intersection(names))
        for name in names:
            if contacts := services.registrations.of(name):
                found.registered.append(name)
                found.registrations += len(contacts)
        if len(names) < PAGE:
            break
    found.calls = sum(not concerned.isdisjoint(parties) for parties in calls)
    return found
