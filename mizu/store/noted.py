"""How entries of the audit list are written: alone, or in the transaction of the change they are about."""

# ruff: noqa: S608 - what is put into SQL text here are our own constants; values are parameters

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from txpostgres.txpostgres import Cursor

from mizu.deferreds import shield_coroutine
from mizu.errors import OutcomeUnknown, StoreBusy
from mizu.model import AuditEntry, AuditNote, Change
from mizu.store.arrays import texts
from mizu.store.departures import unless_left
from mizu.store.postgres import Pool
from mizu.store.text import clean, json_text

T = TypeVar("T")

CHANGES_MAX_CHARACTERS = 1_000_000  #: of one entry as JSON; more is kept without the values
_LOOK_S = 0.1  #: between two looks at what became of a transaction
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
) SELECT id, begun_at, txid_current() FROM entry"""
WRITE = f"""WITH entry AS (
 INSERT INTO audit (begun_at, ended_at, node, who, token_id, scope_account_id, source, command, line, outcome,
  objects, changes)
 VALUES (coalesce(%(begun_at)s, clock_timestamp()),
  CASE WHEN %(outcome)s <> 'begun' THEN clock_timestamp() END, %(node)s, %(who)s, %(token_id)s, %(scope)s,
  %(source)s, %(command)s, %(line)s, %(outcome)s, %(objects)s::text[], %(changes)s::jsonb)
 RETURNING id, begun_at
), {_REACH}"""
FINISH = f"""WITH entry AS (
 UPDATE audit SET outcome = %(outcome)s, ended_at = clock_timestamp(), objects = %(objects)s::text[],
  changes = %(changes)s::jsonb WHERE id = %(id)s RETURNING id, begun_at
), {_REACH}"""

#: Is a transaction over? A number that the database has not given yet is one that a crash undid. (To compare
#: with the next takes one: the snapshot's xmax would be at most that of what is under way.)
_OVER = """SELECT CASE WHEN %(transaction)s < txid_current()
 THEN txid_status(%(transaction)s) IS DISTINCT FROM 'in progress' ELSE true END"""
_THERE = "SELECT FROM audit WHERE id = %(id)s AND begun_at = %(begun_at)s"


class Written(NamedTuple):
    """An entry of the audit list as a transaction wrote it. It is there exactly if that was committed."""

    id: int
    begun_at: datetime
    transaction: int  #: its number, with epoch


@dataclass(slots=True)
class _Ready:
    """What a transaction did that is about to be committed."""

    written: Written | None = None  #: ``None``: it has not come so far
    result: Any = None


async def was_committed(reports: Pool, written: Written) -> bool | None:
    """
    What became of a transaction whose COMMIT nobody answered. ``None``: it is under way still.

    :raise StoreBusy: it cannot be asked now.
    """
    # In this order: what is over before we look for the entry does not come any more.
    over = (await reports.query(_OVER, written._asdict()))[0][0]
    if await reports.query(_THERE, written._asdict()):
        return True
    return False if over else None


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

    When the connection is lost during COMMIT, the database is asked what became of it, on another connection.
    An operator limited to some accounts changes what is theirs to the end (``mizu.store.departures``).

    :param node: name of this node.
    """

    def __init__(self, reports: Pool, node: Callable[[], str], reactor: Any) -> None:
        self._reports = reports
        self._node = node
        self._reactor = reactor
        self.settle_s = 5.0  #: an operator waits so long at most for what became of a change

    def transact(
        self, note: AuditNote | None, work: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> Deferred[T]:
        """
        As ``Pool.transact``, and the entry of ``note`` about what ``work`` answers in the same transaction.

        :param note: ``None``: it is the server's own doing, and leaves no entry.
        :raise StoreBusy: nothing was changed.
        :raise OutcomeUnknown: that is not certain; the connection was lost during COMMIT.
        """
        if note is None:
            return self._reports.transact(work, *args)
        return shield_coroutine(self._transact(note, work, args))

    async def _transact(
        self, note: AuditNote, work: Callable[..., Coroutine[Any, Any, T]], args: Sequence[Any]
    ) -> T:
        ready = _Ready()
        try:
            result: T = await self._reports.transact(self._noted, note, work, args, ready)
        except StoreBusy:
            if ready.written is None:
                raise
            made = await self.settled(ready.written)
            if made is None:
                raise OutcomeUnknown(ready.written) from None
            if not made:
                raise
            result = ready.result
        note.kept()
        return result

    async def _noted(
        self,
        cursor: Cursor,
        note: AuditNote,
        work: Callable[..., Coroutine[Any, Any, T]],
        args: Sequence[Any],
        ready: _Ready,
    ) -> T:
        ready.written = None  # it may be run again
        scope = note.entry.operator.scope_account_id
        result: T
        ready.written, result = await unless_left(cursor, scope, self._with_entry, note, work, args)
        ready.result = result
        return result

    async def _with_entry(
        self,
        cursor: Cursor,
        note: AuditNote,
        work: Callable[..., Coroutine[Any, Any, T]],
        args: Sequence[Any],
    ) -> tuple[Written, T]:
        result = await work(cursor, *args)
        return await self.write(cursor, note.entry, note.changes_of(result)), result

    async def write(self, cursor: Cursor, entry: AuditEntry, changes: Sequence[Change]) -> Written:
        """An entry about what was changed in this transaction."""
        await cursor.execute(WRITE, entry_values(self._node(), entry, changes))
        return Written(*cursor.fetchone())

    async def settled(self, written: Written) -> bool | None:
        """Was it committed? Asked until it is known, ``settle_s`` long at most; then ``None``."""
        until_s = self._reactor.seconds() + self.settle_s
        while True:
            try:
                made = await was_committed(self._reports, written)
            except StoreBusy:
                made = None
            if made is not None or self._reactor.seconds() >= until_s or self._reports.stopped:
                return made
            await deferLater(self._reactor, _LOOK_S)
