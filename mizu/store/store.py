"""The store as a whole: finds or starts PostgreSQL, migrates, opens the connections, watches over them."""

import fcntl
import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.accounts.sealing import KeyFile
from mizu.config import DatabaseConfig
from mizu.deferreds import shield_coroutine
from mizu.errors import ConfigError, StoreBusy
from mizu.interfaces import IClock
from mizu.store import accounts, callrows, locations
from mizu.store.account_addresses import PostgresAddresses
from mizu.store.account_records import AccountRecords
from mizu.store.accounts import PostgresAccountStore
from mizu.store.addresses import PostgresAuthRules
from mizu.store.audit import PostgresAuditStore
from mizu.store.bans import PostgresBanStore
from mizu.store.bulk import Imports
from mizu.store.call_history import CallHistory
from mizu.store.calls import PostgresCallStore
from mizu.store.embedded import Embedded
from mizu.store.groups import PostgresGroups
from mizu.store.key_rotation import KeyRotation
from mizu.store.locations import PostgresLocationStore
from mizu.store.migrate import migrate
from mizu.store.noted import NotedChanges
from mizu.store.notify import Changes
from mizu.store.numbers import PostgresNumbers
from mizu.store.operators import PostgresOperatorStore
from mizu.store.options import PostgresOptionStore
from mizu.store.peers import PostgresPeers
from mizu.store.postgres import Link, Pool, parse_url
from mizu.store.sip_accounts import PostgresSipAccounts
from mizu.store.target import redacted

_MIGRATION_MAX_S = 3600.0  # of one statement, waiting for the other node included
#: A plan made while a table was small would read all of it: always by the index, whatever the size.
_PREPARED_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
_REPLAN_S = 5.0  # of prepared statements; takes less than a millisecond
_BEAT_S = 5.0  # between signs of life
_FLUSH_MAX_S = 10.0  # a clean stop waits so long for the last rows
_LOCATIONS_WAITING_MAX = 500_000
_BEAT = """INSERT INTO node (name, started_at, seen_at, calls_since)
 VALUES (%(node)s, %(now)s, %(now)s, %(since)s)
 ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at, calls_since = excluded.calls_since,
 alive_at = now()"""
_SILENT_S = 120.0  # a node that gives no sign of life for so long holds no channels
_STARTED = "UPDATE node SET started_at = seen_at WHERE name = %(node)s"
_OPENING_S = 60.0  # from the INVITE to the row of its call at most


class Store:
    """
    PostgreSQL behind the store interfaces.

    ``accounts``, ``locations``, ``calls`` and the other stores may be used from ``start()`` on; while the
    database is away they raise :class:`~mizu.errors.StoreBusy` at once.
    """

    def __init__(self, config: DatabaseConfig, data_dir: str | Path, reactor: Any, clock: IClock) -> None:
        self._config = config
        self._data = Path(data_dir).absolute()
        self._reactor = reactor
        self._clock = clock
        self._log = Logger()
        self._parameters = parse_url(config.url) if config.url else {}
        self.embedded = None if config.url else Embedded(self._data / "pg", reactor)
        self._tick = LoopingCall(self._check)
        self._tick.clock = reactor
        # Of signs of life: the last one, and since when none failed.
        self._beat_mono_s = self._steady_since_s = 0.0
        self._beating = False
        self._lock: int | None = None
        self._was_healthy = False
        self._stopping = False
        self._pause: Deferred[None] | None = None
        self._preparing: Link | None = None
        self.state = "stopped"  #: stopped, starting, waiting, ready, stopping
        self._problem = ""
        self.schema_version = 0
        settings = {
            "statement_timeout": f"{config.statement_timeout_s * 1000:.0f}",
            "lock_timeout": "500",
            "idle_in_transaction_session_timeout": "5000",
            "timezone": "UTC",
        }

        def link(changed: Callable[[Link], None], times: float = 1.0, setup: Sequence[str] = ()) -> Link:
            answer_s = config.statement_timeout_s * times
            ours = {**settings, "statement_timeout": f"{answer_s * 1000:.0f}"}
            if setup:
                ours.update(_PREPARED_PLANS)
            return Link(
                reactor,
                self._where,
                settings=ours,
                setup=setup,
                replan_s=_REPLAN_S if setup else 0.0,
                changed=changed,
                answer_max_s=answer_s,
            )

        self._pool = Pool(
            lambda changed: link(changed, setup=accounts.PREPARE), config.connections, config.waiting_max
        )
        self._reports = Pool(
            lambda changed: link(changed, 10.0), config.report_connections, config.waiting_max
        )
        self._call_link = link(self._call_link_changed, setup=callrows.PREPARE)
        self._location_link = link(self._location_link_changed, setup=locations.PREPARE)
        self.accounts = PostgresAccountStore(self._pool, self._reports, config.waiting_max, reactor)
        self.secret_keys = KeyFile(self._data / "secret.key")
        self.noted = NotedChanges(self._reports, lambda: self.node, reactor)
        self.records = AccountRecords(self._reports, self.noted, self.secret_keys)
        patient = {**settings, "statement_timeout": "60000", "lock_timeout": "10000"}
        self.imports = Imports(
            self._data,
            self.records,
            self.noted,
            lambda: Link(reactor, self._where, settings=patient, answer_max_s=_MIGRATION_MAX_S),
            reactor,
            clock.wall,
            config=config,
        )
        self.groups = PostgresGroups(self._reports, self.noted)
        self.numbers = PostgresNumbers(self._reports, self.noted)
        self.addresses = PostgresAddresses(self._reports, self.noted)
        self.sip_accounts = PostgresSipAccounts(self._reports, self.noted, self.secret_keys, self.records)
        self.auth_rules = PostgresAuthRules(self._reports)
        self.peers = PostgresPeers(self._reports)
        self.locations = PostgresLocationStore(
            self._reports,
            self._location_link,
            node=lambda: self.node,
            limit=_LOCATIONS_WAITING_MAX,
            reactor=reactor,
            clock=clock,
        )
        self.calls = PostgresCallStore(
            self._reports, self._call_link, lambda: self.node, config.call_queue_max, reactor
        )
        self.call_history = CallHistory(self._reports)
        self.options = PostgresOptionStore(self._reports, self.noted)
        self.bans = PostgresBanStore(self._reports, reactor)
        self.operators = PostgresOperatorStore(self._reports, self.noted)
        self.audit = PostgresAuditStore(self._reports, lambda: self.node, clock.mono_s, clock.wall)
        self.changes = Changes(reactor, self._where, settings, clock)
        self._links = [self._call_link, self._location_link, self.changes.link]

    def _where(self) -> Mapping[str, str]:
        return self.embedded.parameters if self.embedded is not None else self._parameters

    @cached_property
    def node(self) -> str:
        """The identity of this process's calls; made once and kept in the data directory."""
        self._data.mkdir(parents=True, exist_ok=True)
        path = self._data / "node"
        try:
            name = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            name = ""
        if not name:
            name = f"{socket.gethostname()[:40]}-{uuid.uuid4().hex[:8]}"
            path.write_text(name + "\n", encoding="utf-8")
        return name

    @property
    def healthy(self) -> bool:
        """Can calls be written and accounts be found now?"""
        return self.state == "ready" and self._pool.ready > 0 and self._call_link.ready

    def status(self) -> dict[str, object]:
        """For ``/status``: plain values, no secrets."""
        return {
            "state": self.state,
            "healthy": self.healthy,
            "problem": self.problem,
            "place": redacted(self._where()),
            "embedded": self.embedded is not None,
            "embedded_restarts": self.embedded.restarts if self.embedded is not None else 0,
            "schema_version": self.schema_version,
            "node": self.node,
            "connections": self._pool.ready + self._reports.ready + sum(link.ready for link in self._links),
            "connections_wanted": len(self._pool.links) + len(self._reports.links) + len(self._links),
            "queries_waiting": self._pool.waiting + self._reports.waiting,
            "calls_waiting": self.calls.waiting,
            "calls_written": self.calls.written,
            "calls_lost": self.calls.lost,
            "call_statements": self.calls.statements,
            "locations_waiting": self.locations.waiting,
            "locations_written": self.locations.written,
            "locations_lost": self.locations.lost,
            "changes_seen": self.changes.version,
        }

    @property
    def problem(self) -> str:
        """Why it is not healthy, one line without secrets; empty: it is."""
        if self.healthy:
            return ""
        if self.embedded is not None and self.embedded.problem:
            return self.embedded.problem
        links = [*self._links, *self._pool.links]
        return self._problem or next((link.problem for link in links if link.problem), "")

    def start(self) -> Deferred[None]:
        """
        Fires when all works. A database that is down is waited for, without end.

        :raise ConfigError: waiting would not help: two servers on one data directory, a newer database, ...
        """
        if self.state != "stopped" or self._stopping:
            raise RuntimeError("a store is started once")
        return shield_coroutine(self._start())

    async def _start(self) -> None:
        self.state = "starting"
        try:
            self._take_lock()
            if self.embedded is not None:
                await self.embedded.start()
            await self._prepare()
        except BaseException:
            await self._close()
            raise
        if self._stopping:
            return
        for pool in (self._pool, self._reports):
            pool.start()
        for link in self._links:
            link.start()
        self._tick.start(self._config.poll_s, now=False)
        while not (self._pool.ready and self._reports.ready and all(link.ready for link in self._links)):
            await deferLater(self._reactor, 0.01, lambda: None)
            if self._stopping:
                return
        self.state, self._problem = "ready", ""
        await self.changes.poll()
        self._watch()

    def _take_lock(self) -> None:
        """:raise ConfigError: another server uses the data directory."""
        if self._lock is not None:
            return
        self._data.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ConfigError([f"--data: another server uses {self._data} already"]) from None
        self._lock = lock

    async def _prepare(self) -> None:
        """Migrate and clean up, again and again until it works."""
        delay_s = 0.25
        while not self._stopping:
            link = Link(
                self._reactor, self._where, settings={"timezone": "UTC"}, answer_max_s=_MIGRATION_MAX_S
            )
            self._preparing = link
            try:
                await link.open()
                self.schema_version = await migrate(link)
                await self._adopt(link)
                await KeyRotation(self._reports, self.secret_keys).begin(link)
                return
            except StoreBusy as busy:
                self.state, self._problem = "waiting", str(busy)
                self._log.warn(
                    "the database {place} is not there: {problem}; next attempt in {delay_s} s",
                    place=redacted(self._where()),
                    problem=self._problem,
                    delay_s=round(delay_s, 1),
                )
            finally:
                self._preparing = None
                link.stop()
            self._pause = deferLater(self._reactor, delay_s, lambda: None)
            try:
                await self._pause
            except CancelledError:
                return
            delay_s = min(delay_s * 1.7, 10.0)

    async def _adopt(self, link: Link) -> None:
        """Close what an earlier process of this node left open, and sign on."""
        while await link.query(callrows.RELEASE_OWN, {"node": self.node}):
            pass
        orphans = await link.query(callrows.ORPHANS, {"node": self.node})
        if orphans:
            self._log.warn(
                "{count} calls were left open by the last run: closed as orphans", count=len(orphans)
            )
        await link.operate(_BEAT, self._life())
        await link.operate(_STARTED, {"node": self.node})
        self._beat_mono_s = self._steady_since_s = self._clock.mono_s()

    def _life(self) -> dict[str, object]:
        """The sign of life. Times are of this node's clock, as those of its calls."""
        now = self._clock.wall()
        since = (self.calls.open_since or now) - timedelta(seconds=_OPENING_S)
        return {"node": self.node, "now": now, "since": since}

    def _call_link_changed(self, link: Link) -> None:
        if link.ready:
            self.calls.recovered()
        self._watch()

    def _location_link_changed(self, link: Link) -> None:
        if link.ready:
            self.locations.recovered()

    def _watch(self) -> None:
        """One log line when the database goes, one when it is back."""
        if self.state != "ready" or self.healthy == self._was_healthy:
            return
        self._was_healthy = self.healthy
        if self.healthy:
            self._log.info("the database {place} is there", place=redacted(self._where()))
        else:
            self._log.error("the database is gone: {problem}", problem=self.problem)

    def _check(self) -> None:
        """Each ``poll_s``: silent servers, missed changes, the sign of life."""
        for pool in (self._pool, self._reports):
            pool.check()
        for link in self._links:
            link.check()
        self._watch()
        Deferred.fromCoroutine(self.changes.poll()).addErrback(self._unexpected)
        if self._clock.mono_s() - self._beat_mono_s >= _BEAT_S and not self._beating and self.healthy:
            self._beating = True
            Deferred.fromCoroutine(self._beat()).addErrback(self._unexpected)

    def _unexpected(self, failure: Failure) -> None:
        self._log.failure("watching the database", failure=failure)

    async def _beat(self) -> None:
        try:
            await self._reports.operate(_BEAT, self._life())
            now_s = self._clock.mono_s()
            if now_s - self._beat_mono_s > 3 * _BEAT_S:
                self._steady_since_s = now_s
            self._beat_mono_s = now_s
            # When the database was away, the others shall have been heard of first.
            if now_s - self._steady_since_s > _SILENT_S:
                await self._release()
        except StoreBusy:
            pass  # the next one will do
        finally:
            self._beating = False

    async def _release(self) -> None:
        count = 0
        while released := await self._reports.query(callrows.RELEASE_SILENT, {"silent_s": _SILENT_S}):
            count += len(released)
        if count:
            self._log.warn(
                "{count} calls of nodes that are not heard of hold no channels any more", count=count
            )

    def stop(self) -> Deferred[None]:
        """Write what waits, close everything, stop our own PostgreSQL. Never fails."""
        self._stopping = True
        return shield_coroutine(self._stop())

    async def _stop(self) -> None:
        self.imports.stop()
        if self.state == "ready":
            self.state = "stopping"
            entries = Deferred.fromCoroutine(self.audit.flush())
            for flush in (self.calls.flush(), self.locations.flush(), self.bans.flush(), entries):
                flush.addTimeout(_FLUSH_MAX_S, self._reactor)
                try:
                    await flush
                except (StoreBusy, TimeoutError):
                    self._log.error("not everything could be written before the stop")
        await self._close()
        self.state = "stopped"

    async def _close(self) -> None:
        if self._tick.running:
            self._tick.stop()
        if self._pause is not None:
            self._pause.cancel()
        if self._preparing is not None:
            self._preparing.stop()
        self.accounts.stop()
        self.calls.stop()
        self.locations.close()
        self.bans.close()
        for pool in (self._pool, self._reports):
            pool.stop()
        for link in self._links:
            link.stop()
        if self.embedded is not None:
            await self.embedded.stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
