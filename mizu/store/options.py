"""Values of global options in PostgreSQL, and how a node follows changes of others."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.errors import StoreBusy
from mizu.options import Options
from mizu.store.notify import Changes
from mizu.store.postgres import Pool

_LOAD = "SELECT name, value FROM option"
_PUT = """INSERT INTO option (name, value, changed_by) VALUES (%(name)s, %(value)s, %(by)s)
 ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_by = excluded.changed_by,
 changed_at = now(), version = option.version + 1"""
_REMOVE = "DELETE FROM option WHERE name = %(name)s"
_RETRY_S = 1.0

_log = Logger()


class PostgresOptionStore:
    """See :class:`mizu.options.OptionStore`."""

    def __init__(self, reports: Pool) -> None:
        self._reports = reports

    def load(self) -> Deferred[Mapping[str, str]]:
        """See the protocol."""
        return self._reports.query(_LOAD).addCallback(dict)

    def put(self, name: str, text: str, by: str) -> Deferred[None]:
        """See the protocol."""
        return self._reports.operate(_PUT, {"name": name, "value": text, "by": by})

    def remove(self, name: str) -> Deferred[None]:
        """See the protocol."""
        return self._reports.operate(_REMOVE, {"name": name})


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
                    self._pause = deferLater(self._reactor, _RETRY_S)
                    await self._pause
        finally:
            self._waiting, self._pause = False, None
        for problem in self._options.problems:
            _log.warn("a stored option cannot be used, its default holds: {problem}", problem=problem)

    def _failed(self, failure: Failure) -> None:
        if not self._stopped:
            _log.failure("options could not be read", failure=failure)

    def stop(self) -> None:
        """Follow no more."""
        self._stopped = True
        self._end()
        if self._pause is not None:
            self._pause.cancel()
