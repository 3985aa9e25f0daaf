"""Ids that accounts have in the file they are imported from, and whom its lines mean by them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from txpostgres.txpostgres import Cursor

from mizu.accounts.bulk import ImportLine, LineSet, ids_among, is_original_id
from mizu.accounts.fields import BY_NAME
from mizu.accounts.kinds import Value
from mizu.accounts.usernames import is_username
from mizu.errors import BadRequest, Conflict
from mizu.store.arrays import texts
from mizu.store.postgres import Link
from mizu.store.references import UnknownReference

#: Of the import's own connection: a long file needs no more memory, and it is gone with the connection.
_MAKE = (
    "CREATE TEMPORARY TABLE import_id (id bigint PRIMARY KEY, username text NOT NULL, line bigint NOT NULL)"
)
_LEARN = """INSERT INTO import_id (id, username, line)
 SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[]) ON CONFLICT DO NOTHING"""
_FIND = "SELECT id, username, line FROM import_id WHERE id = ANY (%s::bigint[])"
_PAYER = "billing_account_id"


class Named(NamedTuple):
    """The first line that has an id."""

    username: str
    line: int


class NotImported(UnknownReference):
    """The line that has the id is a bad one, or comes later."""

    def __init__(self, field: str, number: int, line: int) -> None:
        super().__init__(field, f"#{number}")
        self.args = (f"{field}: line {line}, which has the ID {number}, was not imported",)


class FileIds:
    """Usernames and lines by id, of one import."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def make(self) -> None:
        """:raise StoreBusy: also when the database lets nobody make temporary tables."""
        await self._link.operate(_MAKE)

    async def learn(self, found: Sequence[tuple[int, str, int]]) -> None:
        """Id, username and line of some lines. Of two with the same id the first counts."""
        if found:
            ids, names, lines = zip(*found, strict=True)
            await self._link.operate(_LEARN, (list(ids), texts(list(names)), list(lines)))

    async def known(self, cursor: Cursor, batch: Sequence[ImportLine]) -> Mapping[int, Named]:
        """Of all ids that these lines have and name."""
        wanted = {line.original_id for line in batch}
        wanted.update(*(ids_among(line.originals.values()) for line in batch))
        await cursor.execute(_FIND, (sorted(wanted),))
        return {row[0]: Named(row[1], row[2]) for row in cursor.fetchall()}


def with_names(line: ImportLine, known: Mapping[int, Named], imported: LineSet) -> dict[str, Value]:
    """
    The values of a line with usernames for ids of the file. Only accounts of lines that were imported are
    meant: another one here may have the username of one that was not.

    :raise NotImported: it may come yet. :raise BadRequest: :raise Conflict: what is wrong with the line.
    """
    first = known[line.original_id]
    if first.line != line.line:
        raise Conflict(f"id: line {first.line} has the ID {line.original_id} already")
    values = dict(line.values)
    for field, text in line.originals.items():
        items = [item.strip() for item in text.split(",")]
        if field == _PAYER and items == [str(line.original_id)]:  # it pays for itself
            values[field] = None
            continue
        names = [
            _name(field, item, line, known, imported) if is_original_id(item) else item for item in items
        ]
        values[field] = BY_NAME[field].parse(",".join(names))
    return values


def _name(field: str, item: str, line: ImportLine, known: Mapping[int, Named], imported: LineSet) -> str:
    found = known.get(int(item))
    if found is None:
        raise BadRequest(f"{field}: no line of the file has the ID {item}")
    if found.line == line.line:
        raise BadRequest(f"{field}: the account itself cannot be meant here")
    if not is_username(found.username) or found.line not in imported:
        raise NotImported(field, int(item), found.line)
    return found.username
