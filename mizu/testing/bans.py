"""The ban store in memory, and an export that writes down what it is told."""

from collections.abc import Sequence
from datetime import datetime

from zope.interface import implementer

from mizu.errors import StoreBusy
from mizu.interfaces import IBanAdministration, IBanExport, IBanStore, IWhiteListExport
from mizu.model import BanRecord, TrustedAddress


@implementer(IBanStore, IBanAdministration)
class MemoryBanStore:
    """Everything written at once. ``busy``: the database is away, and says so when it has what is written."""

    def __init__(self) -> None:
        self.rows: dict[str, BanRecord] = {}
        self.white: dict[str, TrustedAddress] = {}
        self.busy = False

    def _check(self) -> None:
        if self.busy:
            raise StoreBusy("the database is down")

    async def load(self) -> Sequence[BanRecord]:
        self._check()
        return list(self.rows.values())

    async def find(self, targets: Sequence[str]) -> Sequence[BanRecord]:
        self._check()
        return [self.rows[target] for target in targets if target in self.rows]

    def put(self, ban: BanRecord) -> None:
        self.rows[ban.target] = ban

    def remove(self, target: str) -> None:
        self.rows.pop(target, None)

    async def flush(self) -> None:
        self._check()

    async def clear(self, before: datetime) -> int:
        gone = [target for target, ban in self.rows.items() if ban.begun_at <= before]
        for target in gone:
            del self.rows[target]
        self._check()
        return len(gone)

    async def trusted(self) -> Sequence[TrustedAddress]:
        self._check()
        return list(self.white.values())

    async def trust(self, entry: TrustedAddress) -> None:
        self.white[entry.target] = entry
        self._check()

    async def distrust(self, target: str) -> None:
        self.white.pop(target, None)
        self._check()


@implementer(IBanExport, IWhiteListExport)
class RecordingExport:
    """``told`` has what it was told of bans, in order, ``white`` the white list."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.white: list[str] = []

    def ban(self, target: str, duration_s: float | None) -> None:
        self.told.append(("ban", target, None if duration_s is None else round(duration_s)))

    def unban(self, target: str) -> None:
        self.told.append(("unban", target))

    def begin(self, bans: Sequence[tuple[str, float | None]]) -> None:
        self.told.append(("begin", [target for target, _ in bans]))

    def whitelist(self, targets: Sequence[str]) -> None:
        self.white = list(targets)

    def close(self) -> None:
        self.told.append(("close",))
