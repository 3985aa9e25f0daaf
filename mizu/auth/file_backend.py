"""Users of a text file, as ``htdigest`` writes it: ``user:realm:HA1`` on each line."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from twisted.logger import Logger
from zope.interface import implementer

from mizu.auth.interfaces import IByUsername
from mizu.errors import StoreBusy
from mizu.interfaces import IAuthBackend
from mizu.model import Account, AuthAnswer, AuthQuery
from mizu.settings import setting

#: The file is looked at again when a question comes and the last look is older, seconds.
LOOK_S = 1.0
FILE_MAX_BYTES = 16 * 2**20
_LENGTHS = {32: "MD5", 64: "SHA-256"}
_hex = re.compile(r"[0-9a-f]+\Z")


@dataclass(frozen=True, slots=True)
class FileBackendSettings:
    """Of ``type = "file"``."""

    path: str = setting(doc="the file: user:realm:HA1 on each line, as htdigest writes it; # is a comment")
    cache_s: float = setting(5.0, "an answer may be used again for so long", least=0)


def account_number(username: str) -> int:
    """A number for somebody the database does not know: negative, and always the same for a name."""
    return -1 - (int.from_bytes(blake2b(username.encode("utf-8", "surrogateescape"), digest_size=7).digest()))


@implementer(IAuthBackend, IByUsername)
class FileBackend:
    """
    The file is read again when it has changed. While it cannot be read, what was read last holds.

    :param mono_s: monotonic seconds.
    :param realm: lines of other realms are skipped.
    """

    log = Logger()

    def __init__(self, settings: FileBackendSettings, *, realm: str, mono_s: Callable[[], float]) -> None:
        self._settings = settings
        self._realm = realm
        self._mono_s = mono_s
        self._users: dict[str, dict[str, str]] | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._look_at_s = float("-inf")

    async def find(self, query: AuthQuery) -> AuthAnswer | None:
        """See ``IAuthBackend``. :raise StoreBusy: the file could never be read."""
        secrets = self._current().get(query.username) if query.has_credentials else None
        if secrets is None:
            return None
        account = Account(id=account_number(query.username), username=query.username)
        return AuthAnswer(account, dict(secrets), self._settings.cache_s)

    def _current(self) -> dict[str, dict[str, str]]:
        now_s, path = self._mono_s(), self._settings.path
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_S
            try:
                facts = os.stat(path)
                stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
                if stamp != self._stamp:
                    self._users = self._read(path)
                    self._stamp = stamp
            except OSError as wrong:
                self.log.error("{path}: {why}", path=path, why=wrong.strerror)
        if self._users is None:
            raise StoreBusy(f"{path} cannot be read")
        return self._users

    def _read(self, path: str) -> dict[str, dict[str, str]]:
        users: dict[str, dict[str, str]] = {}
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(FILE_MAX_BYTES)
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            # the username may contain colons, the realm and the digest do not
            user, _, rest = line.strip().rpartition(":")
            user, _, realm = user.rpartition(":")
            secret = rest.strip().lower()
            algorithm = _LENGTHS.get(len(secret))
            if not user or algorithm is None or not _hex.match(secret):
                self.log.warn("{path}, line {number}: want user:realm:HA1", path=path, number=number)
            elif realm == self._realm:
                users.setdefault(user, {})[algorithm] = secret
        return users
