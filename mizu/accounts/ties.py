"""What accounts have to do with others that the owner of neither sees, after one of them moved. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mizu.errors import Conflict

NAMED_MAX = 20  #: in one answer; the others are counted
MEMBER = "member"  #: :attr:`Tie.field` of who is in a group


class Tie(NamedTuple):
    """One account refers to another, or a group has it."""

    id: int  #: of the account that refers; of a group: the member
    field: str  #: in which field; :data:`MEMBER`
    other: int  #: id of the account that it refers to; of a group: the group
    who: str  #: username of the one
    whom: str  #: that of the other, or the name of the group
    seen: bool  #: by the operator, both of them

    @property
    def key(self) -> tuple[int, str, int]:
        """What makes it the same one at another time."""
        return self.id, self.field, self.other


def refuse_broken(broken: Sequence[Tie]) -> None:
    """:raise Conflict: accounts would pay for, or be the company of, accounts of somebody else."""
    if broken:
        named = _named(broken, lambda tie: f"{tie.field} of {tie.who} (now {tie.whom})")
        raise Conflict(
            "parent_id: the owners would not see each other's accounts any more, and one pays for the other "
            f"or is its company; 'set' first: {named}"
        )


def remaining(ties: Sequence[Tie]) -> list[str]:
    """Sentences on what is left after a move."""
    said = [
        f"{tie.who} is still in the group {tie.whom}, which is another owner's; 'group leave' takes it out"
        if tie.field == MEMBER
        else f"{tie.who} still has {tie.whom}, of another owner, in its {tie.field}"
        for tie in ties
        if tie.seen
    ]
    more = len(ties) - len(said[:NAMED_MAX])
    return said[:NAMED_MAX] + ([f"and {more} more that are too many, or not yours to see"] if more else [])


def still_pays(payees: Sequence[tuple[str, bool]], what: str) -> Conflict:
    """:param payees: username of each, and whether the operator sees it."""
    ties = [Tie(0, "", 0, who, "", seen) for who, seen in payees]
    return Conflict(f"it {what} {_named(ties, lambda tie: tie.who)}")


def still_listed(name: str, users: Sequence[Tie]) -> Conflict:
    """:param users: whose lists name the group of that name."""
    return Conflict(
        f"group {name!r} is still used, and who uses it would be left with an empty list; 'set' first: "
        + _named(users, lambda tie: f"{tie.field} of {tie.who}")
    )


def left_in_lists(username: str, users: Sequence[Tie]) -> list[str]:
    """A sentence when lists name an account that was deleted. (No other account ever gets its id.)"""
    if not users:
        return []
    named = _named(users, lambda tie: f"{tie.field} of {tie.who}")
    return [f"{username} is still in {named}; 'set' takes it out"]


def _named(ties: Sequence[Tie], text: Callable[[Tie], str]) -> str:
    named = [text(tie) for tie in ties if tie.seen]
    words = named[:NAMED_MAX]
    if len(named) > NAMED_MAX:
        words.append(f"{len(named) - NAMED_MAX} more")
    if hidden := len(ties) - len(named):
        words.append(f"{hidden} that you do not see and staff can set")
    return ", ".join(words)
