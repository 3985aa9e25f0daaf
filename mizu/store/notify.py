"""Tells this node what other nodes changed: LISTEN/NOTIFY, and a poll that finds what a notification missed.

The poll compares snapshots of transactions, so it sees each change once, whatever the order of commits, and
writers of different accounts do not wait for each other as they would for one version row.
"""

# ruff: noqa: S608 - only our own constants are put into SQL text

from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from mizu.errors import StoreBusy
from mizu.interfaces import IClock
from mizu.store.postgres import Link

#: Told a key, or ``None`` for "anything of this topic may have changed".
Callback = Callable[[str | None], None]

_ROWS_MAX = 10_000  # more changes than this at once: reload everything
_KEEP_S = 3600.0  # how long a change stays in the log
_CLEAN_S = 300.0  # how often old ones are deleted
_POLL = f"""SELECT pg_current_snapshot()::text, c.topic, c.key FROM (SELECT 1) one LEFT JOIN change c
 ON c.xid >= pg_snapshot_xmin(%(seen)s::pg_snapshot)
 AND NOT pg_visible_in_snapshot(c.xid, %(seen)s::pg_snapshot)
 LIMIT {_ROWS_MAX + 1}"""
_FIRST = "SELECT pg_current_snapshot()::text, NULL, NULL"
_CLEAN = f"""DELETE FROM change WHERE changed_at < now() - interval '{_KEEP_S:.0f} s'
 OR version < (SELECT max(version) FROM change) - {10 * _ROWS_MAX}"""


class Changes:
    """
    Subscriptions to changes in the database, those of this node included.

    A change may be told twice; a callback must be cheap and must not mind.
    """

    def __init__(
        self,
        reactor: Any,
        parameters: Callable[[], Mapping[str, str]],
        settings: Mapping[str, str],
        clock: IClock,
    ) -> None:
        self._clock = clock
        self._subscribers: dict[str, list[Callback]] = {}
        self.link = Link(
            reactor,
            parameters,
            settings=settings,
            setup=["LISTEN mizu"],
            changed=self._link_changed,
            observer=self._notified,
        )
        self._seen: str | None = None  # the snapshot of the last poll
        self._polled_mono_s = 0.0
        self._cleaned_mono_s = clock.mono_s()
        self._polling = False
        self.listening = True  #: tests set it to False to lose every notification
        self._log = Logger()

    def subscribe(self, topic: str, callback: Callback) -> Callable[[], None]:
        """
        Call ``callback`` with the key of each changed thing of a topic (``account``: the username).

        :return: call it to end the subscription.
        """
        self._subscribers.setdefault(topic, []).append(callback)
        return lambda: self._subscribers[topic].remove(callback)

    @property
    def version(self) -> str:
        """How far this node has seen the changes, for status; empty: not yet."""
        return self._seen or ""

    def _tell(self, topic: str, key: str | None) -> None:
        for callback in list(self._subscribers.get(topic, ())):
            try:
                callback(key)
            except Exception:
                self._log.failure("a subscriber of {topic} failed", topic=topic)

    def _reload(self) -> None:
        for topic in list(self._subscribers):
            self._tell(topic, None)

    def _notified(self, payload: str) -> None:
        if self.listening:
            topic, _, key = payload.partition(":")
            self._tell(topic, None if key == "*" else key)

    def _link_changed(self, link: Link) -> None:
        self._seen = None  # what happened while nobody listened is unknown

    async def poll(self) -> None:
        """Find changes since the last poll. Does nothing while the database is away or a poll runs."""
        if self._polling or not self.link.ready:
            return
        self._polling = True
        try:
            await self._poll()
        except StoreBusy as busy:
            self._log.debug("no poll of changes: {busy}", busy=busy)
        finally:
            self._polling = False

    async def _poll(self) -> None:
        now_s, seen = self._clock.mono_s(), self._seen
        rows = await (self.link.query(_POLL, {"seen": seen}) if seen else self.link.query(_FIRST))
        too_old = now_s - self._polled_mono_s > _KEEP_S / 2
        self._seen, self._polled_mono_s = rows[0][0], now_s
        if seen is None or too_old or len(rows) > _ROWS_MAX:
            self._reload()
        else:
            for topic, key in {(row[1], row[2]) for row in rows if row[1] is not None}:
                self._tell(topic, None if key == "*" else key)
        if now_s - self._cleaned_mono_s > _CLEAN_S:
            self._cleaned_mono_s = now_s
            await self.link.operate(_CLEAN)
