"""Follows the bans and the white list of the database, which other nodes change too."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.errors import BadRequest, StoreBusy
from mizu.guard.bans import Ban
from mizu.model import BanRecord
from mizu.targets import parse_target

if TYPE_CHECKING:
    from mizu.guard.doorman import Doorman

_RETRY_S = 1.0

_log = Logger(namespace="mizu.guard")


class BanFollower:
    """
    Reads again what was changed; while the database is away, as soon as it is back.

    :param door: whose bans and white list these are.
    """

    def __init__(self, door: "Doorman", reactor: Any) -> None:
        self._door = door
        self._reactor = reactor
        self._stale: set[str | None] = set()  # targets to be read again; None: all
        self._reading = False
        self._stopped = False
        self._pause: Deferred[None] | None = None

    def changed(self, target: str | None) -> None:
        """Another node, or this one, changed a ban; ``None``: any may have been."""
        self._stale.add(target)
        self._read_soon()

    def whitelist_changed(self, target: str | None) -> None:
        """Another node, or this one, changed the white list."""
        self._stale.add("whitelist")
        self._read_soon()

    def _read_soon(self) -> None:
        if not self._reading and not self._stopped:
            self._reading = True
            Deferred.fromCoroutine(self._read()).addErrback(self._cannot_read)

    def _cannot_read(self, failure: Failure) -> None:
        self._reading = False
        if not self._stopped:
            _log.failure("bans could not be read", failure=failure)

    async def _read(self) -> None:
        while self._stale and not self._stopped:
            stale, self._stale = self._stale, set()
            try:
                await self.read(stale)
            except StoreBusy:
                self._stale |= stale
                self._pause = deferLater(self._reactor, _RETRY_S)
                await self._pause
                self._pause = None
        self._reading = False

    async def read(self, stale: set[str | None]) -> None:
        """Read these targets from the database; ``None``: all, ``whitelist``: that. :raise StoreBusy:"""
        if "whitelist" in stale or None in stale:
            self._door.trust_these(await self._door.store.trusted())
        targets = [target for target in stale if target is not None and target != "whitelist"]
        if None in stale:
            self._take_all(await self._door.store.load())
        elif targets:
            found = {record.target: record for record in await self._door.store.find(targets)}
            for target in targets:
                self._take(target, found.get(target))

    def _take(self, target: str, record: BanRecord | None) -> None:
        """What the database says about one target."""
        try:
            old = self._door.bans.get(parse_target(target))
        except BadRequest:
            return  # of a newer version
        ban = _ban(record) if record is not None else None
        now_s = self._door.wall_s()
        if ban is not None and ban.until_s > now_s:
            if ban != old and (old is None or old.proven is False or not _same(ban, old)):
                if old is not None:
                    self._door.bans.remove(old.target)
                self._door.bans.add(ban)
                self._door.export(ban)
                if ban.learned:
                    rules = self._door.rules
                    self._door.bans.network_is_bad(
                        ban.target, rules.network_prefix4, rules.network_prefix6, 1 << 30
                    )
            return
        if old is not None and old.proven:
            self._door.bans.remove(old.target)
            self._door.export_end(old)
        if ban is not None:
            self._door.bans.remember(ban.target, ban.times, ban.until_s + self._door.rules.remember_s)

    def _take_all(self, records: Sequence[BanRecord]) -> None:
        now_s = self._door.wall_s()
        bans = [ban for ban in map(_ban, records) if ban is not None]
        self._door.bans.replace([ban for ban in bans if ban.until_s > now_s])
        for ban in bans:
            if ban.until_s <= now_s:
                self._door.bans.remember(ban.target, ban.times, ban.until_s + self._door.rules.remember_s)
        self._door.export_all()

    async def load(self) -> None:
        """Read the bans and the white list; when the database is away, as soon as it is back."""
        try:
            await self.read({None})
        except StoreBusy:
            self.changed(None)

    def stop(self) -> None:
        """Nothing is read any more."""
        self._stopped = True
        if self._pause is not None:
            self._pause.cancel()


def _same(ban: Ban, other: Ban) -> bool:
    """Equal but for what the database rounds away."""
    return (
        (ban.reason, ban.by, ban.times) == (other.reason, other.by, other.times)
        and (ban.until_s == other.until_s or abs(ban.until_s - other.until_s) < 0.01)
    )  # fmt: skip


def record_of(ban: Ban) -> BanRecord:
    until_at = None if ban.until_s == inf else datetime.fromtimestamp(ban.until_s, UTC)
    begun_at = datetime.fromtimestamp(ban.begun_s, UTC)
    return BanRecord(ban.target.text, ban.reason, ban.by, begun_at, until_at, ban.times)


def _ban(record: BanRecord) -> Ban | None:
    """``None``: a target of a newer version that this one cannot read."""
    try:
        target = parse_target(record.target)
    except BadRequest:
        return None
    until_s = inf if record.until_at is None else record.until_at.timestamp()
    return Ban(target, record.reason, record.by, record.begun_at.timestamp(), until_s, record.times)
