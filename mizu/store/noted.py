"""How entries of the audit list are written: alone, or in the transaction of the change they are about."""

# ruff: noqa: S608 - what is put into SQL text here are our own constants; values are parameters

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from txpostgres.txpostgres import Cursor

from mizu.model import AuditEntry, AuditNote, Change
from mizu.store.arrays import texts
from mizu.store.postgres import Pool
from mizu.store.text import clean, json_text

T = TypeVar("T")

CHANGES_MAX_CHARACTERS = 1_000_000  #: of one entry as JSON; more is kept without the values
_WHOLE = -1  #: place of "all changes": the account that the operator was limited to

#: Who sees the entry: the owners, as they are now, of each account that it is about.
_REACH = """concerned AS (
 SELECT account, place FROM unnest(%(accounts)s::bigint[], %(account_places)s::integer[]) c (account, place)
 UNION SELECT a.id, n.place FROM unnest(%(names)s::text[], %(name_places)s::integer[]) n (name, place)
  JOIN account a ON a.username = n.name
), owners AS (
 SELECT d.account, o.owner FROM (SELECT DISTINCT account FROM concerned) d,
  LATERAL account_owners(d.account) o (owner)
), reached AS (
 INSERT INTO audit_reach (account_id, audit_id, whole, places)
 SELECT o.owner, entry.id, bool_or(c.place < 0),
  coalesce(array_agg(DISTINCT c.place) FILTER (WHERE c.place >= 0), '{}')
 FROM entry, concerned c JOIN owners o USING (account) GROUP BY o.owner, entry.id
 ON CONFLICT (account_id, audit_id) DO UPDATE SET places = excluded.places
) SELECT id FROM entry"""
WRITE = f"""WITH entry AS (
 INSERT INTO audit (begun_at, ended_at, node, who, token_id, scope_account_id, source, command, line, outcome,
  objects, changes)
 VALUES (coalesce(%(begun_at)s, clock_timestamp()),
  CASE WHEN %(outcome)s <> 'begun' THEN clock_timestamp() END, %(node)s, %(who)s, %(token_id)s, %(scope)s,
  %(source)s, %(command)s, %(line)s, %(outcome)s, %(objects)s::text[], %(changes)s::jsonb)
 RETURNING id
), {_REACH}"""
FINISH = f"""WITH entry AS (
 UPDATE audit SET outcome = %(outcome)s, ended_at = clock_timestamp(), objects = %(objects)s::text[],
  changes = %(changes)s::jsonb WHERE id = %(id)s RETURNING id
), {_REACH}"""


def entry_values(
    node: str, entry: AuditEntry, changes: Sequence[Change] = (), begun_at: datetime | None = None
) -> dict[str, Any]:
    """Parameters of ``WRITE``."""
    operator = entry.operator
    return {
        "node": node,
        "begun_at": begun_at,
        "who": clean(operator.name),
        "token_id": operator.token_id,
        "scope": operator.scope_account_id,
        "source": clean(operator.source),
        "command": entry.command,
        "line": clean(entry.line),
        "outcome": entry.outcome,
        **change_values(changes, operator.scope_account_id),
    }


def change_values(changes: Sequence[Change], scope: int | None = None) -> dict[str, Any]:
    """Parameters of ``WRITE`` and ``FINISH`` that say what was changed, and whom that concerns."""
    found = [{"topic": c.topic, "key": c.key, "before": c.before, "after": c.after} for c in changes]
    text = json_text(found)
    if len(text) > CHANGES_MAX_CHARACTERS:
        text = json_text([{"topic": one.topic, "key": one.key} for one in changes])
    concerned = {(who, place) for place, one in enumerate(changes) for who in one.concerns}
    accounts = [(who, place) for who, place in concerned if isinstance(who, int)]
    if scope is not None:
        accounts.append((scope, _WHOLE))
    names = [(clean(who), place) for who, place in concerned if isinstance(who, str)]
    return {
        "objects": texts([clean(f"{one.topic}:{one.key}") for one in changes]),
        "changes": text,
        "accounts": [who for who, _ in accounts],
        "account_places": [place for _, place in accounts],
        "names": texts([who for who, _ in names]),
        "name_places": [place for _, place in names],
    }


class NotedChanges:
    """
    Transactions that change something: the change and its entry in the audit list are committed together, or
    neither is.

    :param node: name of this node.
    """

    def __init__(self, reports: Pool, node: Callable[[], str]) -> None:
        self._reports = reports
        self._node = node

    def transact(
        self, note: AuditNote | None, work: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> Deferred[T]:
        """
        As ``Pool.transact``, and the entry of ``note`` about what ``work`` answers in the same transaction.

        :param note: ``None``: it is the server's own doing, and leaves no entry.
        """
        if note is None:
            return self._reports.transact(work, *args)

        def committed(result: T) -> T:
            note.kept()
            return result

        return self._reports.transact(self._noted, note, work, args).addCallback(committed)

    async def _noted(
        self,
        cursor: Cursor,
        note: AuditNote,
        work: Callable[..., Coroutine[Any, Any, T]],
        args: Sequence[Any],
    ) -> T:
        result = await work(cursor, *args)
        await self.write(cursor, note.entry, note.changes_of(result))
        return result

    async def write(self, cursor: Cursor, entry: AuditEntry, changes: Sequence[Change]) -> None:
        """An entry about what was changed in this transaction."""
        await cursor.execute(WRITE, entry_values(self._node(), entry, changes))
