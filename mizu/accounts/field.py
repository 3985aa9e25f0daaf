"""What is known of one field of an account."""

from dataclasses import dataclass

from mizu.accounts.kinds import Kind, Value
from mizu.errors import BadRequest


class FromJson(str):
    """``name=value`` of the JSON API, as people are shown it; ``given`` is the value itself."""

    __slots__ = ("given", "name")

    def __new__(cls, name: str, given: object, shown: str) -> "FromJson":
        word = super().__new__(cls, f"{name}={shown}")
        word.name, word.given = name, given
        return word

    name: str
    given: object


def split(assignment: str) -> tuple[str, object]:
    """The name, and the value as it was given, of ``name=value``: text, or JSON (:class:`FromJson`)."""
    if isinstance(assignment, FromJson):
        return assignment.name, assignment.given
    name, _, given = assignment.partition("=")
    return name, given


STAFF = "staff"  #: only operators who are not limited to some accounts change it
OWNER = "owner"  #: also operators limited to some accounts, for every account below their own
SELF = "self"  #: these also for their own account
SERVER = "server"  #: nobody; the server does


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an account."""

    name: str
    aliases: tuple[str, ...]  #: the original's spelling; empty: ours
    kind: Kind
    meaning: str
    group: str  #: heading in ``describe`` and in the docs
    default: Value = None
    unit: str = ""
    guide: str = "1.2"  #: section of the original's guide, as our docs number it
    changed_by: str = OWNER  #: ``STAFF``, ``OWNER``, ``SELF`` or ``SERVER``
    column: str = ""  #: in table ``account``, when it is not ``name``
    in_contact: bool = False  #: kept in the JSON column ``contact``
    cloned: bool = True  #: a clone gets the value of its template
    secret: bool = False  #: written, never read

    @property
    def stored_as(self) -> str:
        return self.column or self.name

    def parse(self, word: str) -> Value:
        """:raise BadRequest: names the field and what it wants; never repeats a secret."""
        return self.accept(word)

    def accept(self, given: object) -> Value:
        """The value for text or JSON. :raise BadRequest:"""
        try:
            return self.kind.accept(given)
        except ValueError as wrong:
            got = "" if self.secret else f", got {str(given)[:80]!r}"
            raise BadRequest(f"{self.name}: want {wrong}{got}") from None

    def described(self) -> dict[str, object]:
        """For clients and docs: JSON."""
        return {
            "name": self.name,
            "aliases": list(self.aliases),
            "kind": self.kind.name,
            "schema": dict(self.kind.schema),
            "default": self.kind.show(self.default),
            "unit": self.unit,
            "meaning": self.meaning,
            "group": self.group,
            "guide": self.guide,
            "changed_by": self.changed_by,
        }
