"""Values of global options in PostgreSQL, and how a node follows changes of others."""

# ruff: noqa: S608 - what is put into SQL text here are our own constants; values are parameters

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres.txpostgres import Cursor

from mizu.errors import StoreBusy
from mizu.model import AuditNote
from mizu.options import Options, stale
from mizu.store.noted import NotedChanges
from mizu.store.notify import Changes
from mizu.store.postgres import Pool

_LOAD = "SELECT name, value, version FROM option"
_INSERT = "INSERT INTO option (name, value, changed_by) VALUES (%(name)s, %(value)s, %(by)s)"
_NEWER = "value = %(value)s, changed_by = %(by)s, changed_at = now(), version = nextval('option_version')"
_PUT = f"{_INSERT} ON CONFLICT (name) DO UPDATE SET {_NEWER} RETURNING version"
_PUT_FIRST = f"{_INSERT} ON CONFLICT (name) DO NOTHING RETURNING version"
_PUT_OVER = f"UPDATE option SET {_NEWER} WHERE name = %(name)s AND version = %(version)s RETURNING version"
_REMOVE = "DELETE FROM option WHERE name = %(name)s"
_LOCK = "LOCK TABLE option IN SHARE ROW EXCLUSIVE MODE"
_KEPT = "SELECT value, version FROM option WHERE name = %(name)s"
_RETRY_S = 1.0

_log = Logger()


class PostgresOptionStore:
    """See :class:`mizu.options.OptionStore`."""

    def __init__(self, reports: Pool, changes: NotedChanges) -> None:
        self._reports = reports
        self._changes = changes

    def load(self) -> Deferred[Mapping[str, tuple[str, int]]]:
        """See the protocol."""
        return self._reports.query(_LOAD).addCallback(lambda rows: {row[0]: (row[1], row[2]) for row in rows})

    async def put(self, name: str, text: str, by: str, version: int | None, note: AuditNote | None) -> int:
        """See the protocol."""
        statement = _PUT if version is None else _PUT_OVER if version else _PUT_FIRST
        values = {"name": name, "value": text, "by": by, "version": version}

        async def change(cursor: Cursor) -> tuple[str | None, str, int]:
            before, found = await _locked(cursor, name)
            if before == text and version in (None, found):
                return before, text, found
            await cursor.execute(statement, values)
            row = cursor.fetchone()
            if row is None:
                raise stale(name)
            return before, text, row[0]

        return (await self._changes.transact(note, change))[2]

    async def remove(self, name: str, version: int | None, note: AuditNote | None) -> None:
        """See the protocol."""

        async def change(cursor: Cursor) -> tuple[str | None, None, int]:
            before, found = await _locked(cursor, name)
            if version not in (None, found):
                raise stale(name)
            await cursor.execute(_REMOVE, {"name": name})
            return before, None, 0

        await self._changes.transact(note, change)


async def _locked(cursor: Cursor, name: str) -> tuple[str | None, int]:
    """The text of an option that is set, and its version, or 0. Who else changes options waits."""
    await cursor.execute(_LOCK)
    await cursor.execute(_KEPT, {"name": name})
    row = cursor.fetchone()
    return (row[0], row[1]) if row is not None else (None, 0)


class OptionFollower:
    """Reloads the options of this node whenever somebody changes one; again and again until it works."""

    def __init__(self, options: Options, changes: Changes, reactor: Any) -> None:
        self._options = options
        self._reactor = reactor
        self._stopped = False
        self._waiting = False
        self._pause: Deferred[None] | None = None
        self._end = changes.subscribe("option", self._changed)

    def _changed(self, name: str | None) -> None:
        if not self._waiting:
            Deferred.fromCoroutine(self._reload()).addErrback(self._failed)

    async def _reload(self) -> None:
        self._waiting = True
        try:
            while not self._stopped:
                try:
                    await self._options.reload()
                    break
                except StoreBusy:
                    if self._stopped:
                        break
                    self._pause = deferLater(self._reactor, _RETRY_S)
                    await self._pause
        finally:
            self._waiting, self._pause = False, None
        for problem in self._options.problems:
            _log.warn("stored options: {problem}", problem=problem)

    def _failed(self, failure: Failure) -> None:
        if not self._stopped:
            _log.failure("options could not be read", failure=failure)

    def stop(self) -> None:
        """Follow no more."""
        self._stopped = True
        self._end()
        if self._pause is not None:
            self._pause.cancel()
