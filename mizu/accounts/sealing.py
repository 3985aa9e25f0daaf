"""Secrets that we must be able to read again, encrypted with keys outside the database.

A sealed text is ``KEYID:TOKEN``: the token is Fernet's (AES-128-CBC with HMAC-SHA256), the id says which key
of the key file opens it. One key of the file seals; the others only open, until nothing needs them.
"""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from mizu.errors import ConfigError, MizuError

_ID_CHARACTERS = 8
_EMPTY_LINE = re.compile(r"\n\s*\n")


class SealBroken(MizuError):
    """A sealed secret cannot be opened: its key is missing, or it was changed."""

    http_status, code = 500, "seal_broken"


def new_key() -> str:
    """A random key, as a line of the key file."""
    return Fernet.generate_key().decode("ascii")


def key_id(key: str) -> str:
    """Names a key without telling it."""
    return hashlib.sha256(key.encode("ascii")).hexdigest()[:_ID_CHARACTERS]


class SealingKeys:
    """
    Seals and opens.

    :param keys: as in the key file, the sealing one first.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernets = {key_id(key): Fernet(key) for key in keys}
        self.current = key_id(keys[0])

    def __len__(self) -> int:
        return len(self._fernets)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._fernets)

    def seal(self, secret: str) -> str:
        """Empty stays empty."""
        if not secret:
            return ""
        return f"{self.current}:{self._fernets[self.current].encrypt(secret.encode()).decode('ascii')}"

    def open(self, sealed: str) -> str:
        """:raise SealBroken:"""
        if not sealed:
            return ""
        name, _, token = sealed.partition(":")
        fernet = self._fernets.get(name)
        if fernet is None:
            raise SealBroken(f"a secret was sealed with key {name[:16]!r}, which is not in the key file")
        try:
            return fernet.decrypt(token.encode("ascii", "replace")).decode()
        except (InvalidToken, UnicodeDecodeError):
            raise SealBroken("a sealed secret was changed, it cannot be opened") from None


class KeyFile:
    """
    The keys in a file that only the server's user reads. It is read again when somebody has changed it, and
    never made anew by itself: what was sealed with other keys would be lost.

    The first key seals. The others before an empty line are new: they open only, until :meth:`promote`. Those
    after it are old. Nodes that share a database share the keys: copy the file to each.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int] | None = None
        self._keys: list[str] = []  # the sealing one, and new ones
        self._old: list[str] = []
        self._sealing: SealingKeys | None = None

    def __call__(self) -> SealingKeys:
        """
        :raise SealBroken: there is no such file.
        :raise ConfigError: it is unreadable or has something else in it.
        """
        try:
            state = self.path.stat()
        except FileNotFoundError:
            text = f"{self.path} is missing: put a copy back, or copy it from another node"
            raise SealBroken(text) from None
        changed = (state.st_mtime_ns, state.st_ino)
        if self._sealing is None or changed != self._read_at:
            self._keys, self._old = self._read(state.st_mode)
            self._sealing, self._read_at = SealingKeys([*self._keys, *self._old]), changed
        return self._sealing

    @property
    def there(self) -> bool:
        """Is there such a file, whatever is in it?"""
        return os.path.lexists(self.path)

    @property
    def begun(self) -> bool:
        """Are there keys besides the one that seals: was a rotation begun and not finished?"""
        return len(self()) > 1

    def _read(self, mode: int) -> tuple[list[str], list[str]]:
        if mode & 0o077:
            raise ConfigError([f"{self.path}: others can read the keys; want mode 0600"])
        try:
            text = self.path.read_text(encoding="ascii").strip()
            new, _, old = _EMPTY_LINE.sub("\n\n", text).partition("\n\n")
            for key in text.split():
                Fernet(key)
        except (OSError, ValueError) as wrong:
            raise ConfigError([f"{self.path}: {type(wrong).__name__}; want one key a line"]) from None
        if not new:
            raise ConfigError([f"{self.path}: no keys in it; put a copy back, or remove it for a new one"])
        return new.split(), old.split()

    def make(self) -> SealingKeys:
        """A file with a new key. Nothing may be sealed yet."""
        self.write([new_key()])
        return self()

    def write(self, keys: Sequence[str], old: Sequence[str] = ()) -> None:
        """Replace the file at once, safe against a crash."""
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("\n\n".join("\n".join(some) for some in (keys, old) if some) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self._sealing = None

    def add(self) -> SealingKeys:
        """
        One more key: it opens, and does not seal yet. Copy the file to other nodes now. If there is such a
        key already, it stays the only one.
        """
        self()
        if len(self._keys) == 1:
            self.write([*self._keys, new_key()], self._old)
        return self()

    def promote(self) -> SealingKeys:
        """The newest key seals from now on; if there is no new one, the same as before."""
        self()
        if len(self._keys) > 1:
            self.write(self._keys[-1:], [*self._keys[:-1], *self._old])
        return self()

    def drop_old(self) -> SealingKeys:
        """Keep only the key that seals. Nothing may need the others."""
        self()
        self.write(self._keys[:1])
        return self()


#: Gives the keys in use now.
Keys = Callable[[], SealingKeys]
