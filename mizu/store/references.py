"""Who is meant by names in the fields of accounts: the one place where they become ids."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

from collections.abc import Iterable, Iterator, Mapping

from txpostgres.txpostgres import Cursor

from mizu.accounts.fields import LISTS, REFERENCES
from mizu.accounts.kinds import Named, Value
from mizu.accounts.scope import visible_many
from mizu.errors import NotFound
from mizu.store.arrays import texts
from mizu.store.text import storable

_ACCOUNTS = f"""SELECT a.id, a.username FROM account a
 WHERE (a.username = ANY (%(names)s::text[]) OR a.id = ANY (%(ids)s::bigint[])) AND {visible_many("a.id")}"""
#: A group is seen by the operators of its owner, and of those above.
_GROUPS = f"""SELECT g.id, g.name FROM account_group g
 WHERE (g.name = ANY (%(names)s::text[]) OR g.id = ANY (%(ids)s::bigint[]))
 AND (%(scope)s::bigint IS NULL OR (g.owner_id IS NOT NULL AND {visible_many("g.owner_id")}))
 ORDER BY g.id FOR KEY SHARE OF g"""  # whoever deletes it looks who names it after that


class UnknownReference(NotFound):
    """A field names what is not there, or what this operator does not see."""

    def __init__(self, field: str, who: str) -> None:
        what = f"group {who[1:]!r}" if who.startswith("@") else f"account {who!r}"
        super().__init__(f"{field}: there is no {what}")
        self.field = field
        self.who = who


class Known:
    """What was found of what some values refer to."""

    def __init__(self, found: Mapping[str, str], scope: int | None) -> None:
        self._found = found
        self._scope = scope

    def resolved(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The values with ids in the place of names. :raise UnknownReference:"""
        done = dict(values)
        for field, who in _named(values, self._scope):
            if who not in self._found:
                raise UnknownReference(field, who)
        for one in REFERENCES:
            account = done.get(one.name)
            if isinstance(account, str):
                done[one.name] = int(self._found[account])
        for one in LISTS:
            listed = done.get(one.name)
            if isinstance(listed, Named):
                done[one.name] = ",".join(dict.fromkeys(self._found[item] for item in listed.split(",")))
        return done


async def find(cursor: Cursor, many: Iterable[Mapping[str, Value]], scope: int | None) -> Known:
    """What all these values refer to, in two queries at most."""
    wanted = {who for values in many for _, who in _named(values, scope)}
    found: dict[str, str] = {}
    for sign, stored, sql in (("", "", _ACCOUNTS), ("@", "g", _GROUPS)):
        mine = [who.removeprefix("@") for who in wanted if who.startswith("@") == bool(sign)]
        if not mine:
            continue
        ids = [int(who[1:]) for who in mine if _is_id(who)]
        names = texts([who for who in mine if not _is_id(who) and storable(who)])
        await cursor.execute(sql, {"names": names, "ids": ids, "scope": scope})
        for number, name in cursor.fetchall():
            found[f"{sign}{name}"] = found[f"{sign}#{number}"] = f"{stored}{number}"
    return Known(found, scope)


def mentioned(values: Mapping[str, Value]) -> frozenset[str]:
    """The names, and ids as ``#12``, by which these values refer to accounts."""
    return frozenset(who for _, who in _named(values, None) if not who.startswith("@"))


def ids_named(values: Mapping[str, Value]) -> list[tuple[str, str]]:
    """Field and text of what is named by its id."""
    return [(field, who) for field, who in _named(values, None) if _is_id(who.removeprefix("@"))]


def _is_id(who: str) -> bool:
    return who[:1] == "#" and who[1:].isascii() and who[1:].isdigit() and len(who) <= 19


def _named(values: Mapping[str, Value], scope: int | None) -> Iterator[tuple[str, str]]:
    """
    Field and name of all that the values refer to. An id that is there already was looked up once; who is
    limited to some accounts must see it all the same.
    """
    for one in REFERENCES:
        who = values.get(one.name)
        if isinstance(who, str):
            yield one.name, who
        elif who is not None and scope is not None:
            yield one.name, f"#{who}"
    for one in LISTS:
        listed = values.get(one.name)
        if isinstance(listed, Named):
            for item in listed.split(","):
                yield one.name, item
