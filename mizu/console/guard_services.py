"""What the commands about bans ask of the guard."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from mizu.model import BanRecord, TrustedAddress


class FailureRow(Protocol):
    """What is being counted about one sender or account; ``mizu.guard.watch.Failures``."""

    @property
    def what(self) -> str: ...

    @property
    def who(self) -> str: ...

    @property
    def count(self) -> int: ...

    @property
    def left_s(self) -> float: ...

    @property
    def proven(self) -> bool: ...


class Outlook(Protocol):
    """What the guard would do with a request; ``mizu.guard.desk.Outlook``."""

    @property
    def dropped(self) -> bool: ...

    @property
    def unchecked(self) -> bool: ...

    @property
    def reasons(self) -> tuple[str, ...]: ...


class GuardDesk(Protocol):
    """The guard as operators use it; ``mizu.guard.desk.Desk``, where each method is described."""

    def list_bans(self, target: str = "") -> Sequence[tuple[BanRecord, bool]]: ...

    def ban(
        self, target: str, duration_s: float | None, reason: str, by: str
    ) -> Awaitable[tuple[str, bool]]: ...

    def unban(self, target: str) -> Awaitable[Sequence[BanRecord]]: ...

    def clear(self) -> Awaitable[int]: ...

    def list_trusted(self) -> Sequence[TrustedAddress]: ...

    def trust(self, target: str, note: str, by: str) -> Awaitable[str]: ...

    def distrust(self, target: str) -> Awaitable[str]: ...

    def list_failures(self) -> Sequence[FailureRow]: ...

    def outlook(self, host: str, port: int, proto: str, username: str) -> Outlook: ...
