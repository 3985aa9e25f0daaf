"""Registered contacts in PostgreSQL, written behind: many addresses of record in one statement."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mizu.deferreds import shield_coroutine
from mizu.interfaces import IClock, ILocationStore
from mizu.model import Binding
from mizu.store.postgres import BadRow, Link, Pool
from mizu.store.text import json_text

#: One parameter, a JSON list of [aor, expires_at_s, bindings]; the newest node to write an aor wins.
PREPARE = (
    """PREPARE location_write (jsonb, text) AS WITH given AS (
 SELECT r->>0 AS aor, to_timestamp((r->>1)::double precision) AS expires_at, r->2 AS bindings
 FROM jsonb_array_elements($1) r
), gone AS (
 DELETE FROM location USING given WHERE location.aor = given.aor AND given.expires_at IS NULL
)
INSERT INTO location (aor, node, expires_at, bindings)
SELECT aor, $2, expires_at, bindings FROM given WHERE expires_at IS NOT NULL ORDER BY aor
ON CONFLICT (aor) DO UPDATE SET node = excluded.node, expires_at = excluded.expires_at,
 bindings = excluded.bindings""",
)
_WRITE = "EXECUTE location_write (%s, %s)"
_LOAD = """SELECT l.aor, l.bindings FROM location l JOIN account a ON a.username = l.aor
 WHERE l.aor > %s AND l.expires_at > now() ORDER BY l.aor LIMIT 500"""
_PURGE = "DELETE FROM location WHERE expires_at < now() - interval '1 hour'"

_ROWS_MAX = 500  # in one statement
_PACE_S = 0.1  # gathered at least so long, unless _ROWS_MAX are there earlier
_RETRY_S = 1.0  # after a failure

_FIELDS = tuple(field.name for field in fields(Binding) if field.name != "aor")
_values_of = attrgetter(*_FIELDS)
#: What most bindings have in a field; it is not written.
_USUAL = tuple(field.default for field in fields(Binding) if field.name != "aor")


def row_of(aor: str, bindings: Sequence[Binding]) -> list[object]:
    """What the statement takes for one address of record."""
    if not bindings:
        return [aor, None, None]
    return [
        aor,
        max(binding.expires_at_s for binding in bindings),
        [_item_of(binding) for binding in bindings],
    ]


def _item_of(binding: Binding) -> dict[str, object]:
    row = zip(_FIELDS, _values_of(binding), _USUAL, strict=True)
    return {name: value for name, value, usual in row if value != usual}


def bindings_of(aor: str, stored: Sequence[dict[str, Any]]) -> list[Binding]:
    """The bindings of one row. Fields that this version does not know are left out, missing ones as usual."""
    found = []
    for item in stored:
        known = {name: item[name] for name in _FIELDS if name in item}
        known["path"] = tuple(known.get("path", ()))
        found.append(Binding(aor=aor, **known))
    return found


@implementer(ILocationStore)
class PostgresLocationStore:
    """
    See :class:`~mizu.interfaces.ILocationStore`.

    :param link: a connection of its own for the writes.
    :param limit: addresses of record that may wait to be written; above it the oldest states are lost from
        the database (not from memory) until the phone registers again.
    """

    def __init__(
        self, pool: Pool, link: Link, *, node: Callable[[], str], limit: int, reactor: Any, clock: IClock
    ) -> None:
        self._pool = pool
        self._link = link
        self._node = node
        self._limit = limit
        self._reactor = reactor
        self._clock = clock
        self._waiting: dict[str, Sequence[Binding]] = {}
        self._timer: IDelayedCall | None = None
        self._writing = False
        self._flushed: Deferred[None] | None = None
        self._closed = False
        self.written = 0  #: rows, for metrics
        self.lost = 0  #: rows that could not be kept
        self._log = Logger()

    @property
    def waiting(self) -> int:
        """Addresses of record not yet written."""
        return len(self._waiting)

    def put(self, aor: str, bindings: Sequence[Binding]) -> None:
        """See the interface."""
        waiting = self._waiting
        if aor not in waiting and len(waiting) >= self._limit:
            del waiting[next(iter(waiting))]
            self.lost += 1
        waiting[aor] = bindings
        if self._timer is None and not self._writing and not self._closed:
            self._timer = self._reactor.callLater(_PACE_S, self._write)
        elif len(waiting) == _ROWS_MAX and not self._writing and self._timer is not None:
            self._timer.reset(0)

    def _write(self) -> None:
        self._timer = None
        if self._writing:
            return
        if not self._waiting or not self._link.ready:
            self._written_all()
            return
        self._writing = True
        taken = self._take()
        self._send(taken).addCallbacks(self._sent, self._failed, callbackArgs=(taken,), errbackArgs=(taken,))

    def _take(self) -> dict[str, Sequence[Binding]]:
        if len(self._waiting) <= _ROWS_MAX:
            taken, self._waiting = self._waiting, {}
            return taken
        names = [name for name, _ in zip(self._waiting, range(_ROWS_MAX), strict=False)]
        return {name: self._waiting.pop(name) for name in names}

    def _send(self, taken: dict[str, Sequence[Binding]]) -> Deferred[None]:
        text = json_text([row_of(aor, bindings) for aor, bindings in taken.items()])
        return self._link.operate(_WRITE, (text, self._node()))

    def _sent(self, _: None, taken: dict[str, Sequence[Binding]]) -> None:
        self.written += len(taken)
        self._writing = False
        if len(self._waiting) >= _ROWS_MAX or (self._flushed is not None and self._waiting):
            self._write()
        elif self._waiting:
            self._timer = self._reactor.callLater(_PACE_S, self._write)
        else:
            self._written_all()

    def _failed(self, failure: Failure, taken: dict[str, Sequence[Binding]]) -> None:
        self._writing = False
        if isinstance(failure.value, BadRow) and len(taken) == 1:
            self.lost += 1
            self._log.error(
                "registration of {aor} cannot be stored: {why}", aor=next(iter(taken)), why=failure.value
            )
        elif isinstance(failure.value, BadRow):
            self._writing = True
            shield_coroutine(self._one_by_one(taken)).addErrback(
                lambda broken: self._log.failure("writing registrations", failure=broken)
            )
            return
        else:
            for aor, bindings in taken.items():
                self._waiting.setdefault(aor, bindings)  # unless there is a newer state
        if self._flushed is not None:
            self._written_all()
        elif not self._closed:
            self._timer = self._reactor.callLater(_RETRY_S, self._write)

    async def _one_by_one(self, taken: dict[str, Sequence[Binding]]) -> None:
        """A row of these is bad: find it by halves, write the others."""
        heap = [taken]
        while heap:
            part = heap.pop()
            try:
                await self._send(part)
                self.written += len(part)
            except BadRow as why:
                if len(part) > 1:
                    items = list(part.items())
                    heap += [dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])]
                else:
                    self.lost += 1
                    self._log.error(
                        "registration of {aor} cannot be stored: {why}", aor=next(iter(part)), why=why
                    )
            except Exception:
                for aor, bindings in part.items():
                    self._waiting.setdefault(aor, bindings)
        self._sent(None, {})

    def _written_all(self) -> None:
        if self._flushed is not None:
            done, self._flushed = self._flushed, None
            done.callback(None)

    def flush(self) -> Deferred[None]:
        """Write what waits now. Fires when it is written, or cannot be because the database is away."""
        if self._flushed is not None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._flushed = done
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write()
        return done

    def recovered(self) -> None:
        """The connection works again."""
        if self._waiting and self._timer is None and not self._writing and not self._closed:
            self._timer = self._reactor.callLater(0, self._write)

    def close(self) -> None:
        """No more writes, what waits is dropped. Flush first."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def load(self) -> Deferred[Sequence[Binding]]:
        """See the interface. Reads pages of 500, so that the reactor is never held for long."""
        return shield_coroutine(self._load())

    async def _load(self) -> Sequence[Binding]:
        await self._pool.operate(_PURGE)
        now_s = self._clock.wall().timestamp()
        found: list[Binding] = []
        after = ""
        while rows := await self._pool.query(_LOAD, (after,)):
            for aor, stored in rows:
                found += [b for b in bindings_of(aor, stored) if b.expires_at_s > now_s]
            after = rows[-1][0]
        return found
