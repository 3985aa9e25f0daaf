"""Registered contacts in PostgreSQL, written behind: many addresses of record in one statement."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from mizu.deferreds import shield_coroutine
from mizu.interfaces import IClock, ILocationStore
from mizu.model import Binding
from mizu.store.batch_writer import BatchWriter
from mizu.store.binding_rows import bindings_of, text_of
from mizu.store.newest_states import NewestStates
from mizu.store.postgres import Link, Pool

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
        self._clock = clock
        self._states: NewestStates[Sequence[Binding]] = NewestStates(
            self._send, self._lose, rows_max=_ROWS_MAX, pace_s=_PACE_S, limit=limit
        )
        self._writer = BatchWriter(
            "registrations", self._states, reactor, retry_s=_RETRY_S, ready=lambda: link.ready
        )
        self._log = Logger()
        self.flush = self._writer.flush
        self.recovered = self._writer.recovered
        self.close = self._writer.close

    @property
    def waiting(self) -> int:
        """Addresses of record not yet written."""
        return self._writer.waiting

    @property
    def written(self) -> int:
        """Rows, for metrics."""
        return self._writer.written

    @property
    def lost(self) -> int:
        """Rows that could not be kept."""
        return self._writer.lost + self._states.given_up

    def put(self, aor: str, bindings: Sequence[Binding]) -> None:
        """See the interface."""
        waiting = self._states.put(aor, bindings)
        if self._writer.resting:
            self._writer.wake(_PACE_S)
        elif waiting == _ROWS_MAX:
            self._writer.wake(0.0)

    def _send(self, states: dict[str, Sequence[Binding]]) -> Deferred[None]:
        return self._link.operate(_WRITE, (text_of(states), self._node()))

    def _lose(self, aor: str, why: Exception) -> None:
        self._log.error("registration of {aor} cannot be stored: {why}", aor=aor, why=why)

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
