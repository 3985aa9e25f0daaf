"""What server and terminal client leave for each other in the data directory: the token and the run file.

``token`` (mode 0600) is the bearer token of the HTTP console; ``run.json`` says where the running server
listens. No Twisted here: both sides read and write these few bytes once.
"""

import json
import os
import secrets
import stat
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mizu.errors import ConfigError, MizuError

TOKEN_FILE = "token"  # noqa: S105 - the file's name, not a token
RUN_FILE = "run.json"
TOKEN_LEAST_CHARACTERS = 32
FILE_MAX_BYTES = 65_536


class NotRunning(MizuError):
    """No server runs with this data directory; the text says what to do."""

    code = "not_running"


class TokenUnreadable(MizuError):
    """The token file is missing, not ours to read, or damaged; the text says what to do."""

    code = "token_unreadable"


@dataclass(frozen=True, slots=True)
class RunFile:
    """Where the running server can be reached."""

    http: str  #: ``host:port``; empty: the HTTP side is off
    pid: int
    sip: list[str] = field(default_factory=list)  #: ``proto:host:port``

    def write(self, data_dir: str | Path) -> None:
        """Replace the file in one step, so that no reader sees half of it. :raise OSError:"""
        _replace(Path(data_dir) / RUN_FILE, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, data_dir: str | Path) -> "RunFile":
        """:raise NotRunning: no file, a damaged one, or one whose process is gone."""
        path = Path(data_dir) / RUN_FILE
        advice = "start it with 'twistd -n mizu', or name its data directory with --data or MIZU_DATA"
        try:
            with path.open("rb") as file:
                facts: Any = json.loads(file.read(FILE_MAX_BYTES))
            run = cls(http=str(facts["http"]), pid=int(facts["pid"]), sip=[str(s) for s in facts["sip"]])
        except FileNotFoundError:
            raise NotRunning(f"no server is running with data directory {Path(data_dir)}; {advice}") from None
        except OSError as error:
            raise NotRunning(f"cannot read {path}: {error.strerror}; run as the server's user") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise NotRunning(f"{path} is damaged; {advice}") from None
        if not _alive(run.pid):
            raise NotRunning(f"the server of {Path(data_dir)} (process {run.pid}) is gone; {advice}")
        return run

    @staticmethod
    def remove(data_dir: str | Path) -> None:
        """The server has stopped. A file that is gone already is fine."""
        (Path(data_dir) / RUN_FILE).unlink(missing_ok=True)


def server_token(data_dir: str | Path) -> str:
    """
    The console's bearer token: read, or made at the first start with mode 0600.

    A token file that others may read is closed to them.

    :raise ConfigError: it is damaged or cannot be used.
    """
    path = Path(data_dir) / TOKEN_FILE
    try:
        _create(path, secrets.token_urlsafe(32) + "\n")
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError([f"cannot write {path}: {error.strerror}"]) from None
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
        return read_token(data_dir)
    except OSError as error:
        raise ConfigError([f"cannot use {path}: {error.strerror}"]) from None
    except TokenUnreadable as error:
        raise ConfigError([str(error)]) from None


def read_token(data_dir: str | Path) -> str:
    """:raise TokenUnreadable:"""
    path = Path(data_dir) / TOKEN_FILE
    try:
        with path.open("rb") as file:
            token = file.read(FILE_MAX_BYTES).decode("ascii").strip()
    except FileNotFoundError:
        raise TokenUnreadable(f"there is no {path}; the server makes it at its first start") from None
    except OSError as error:
        raise TokenUnreadable(f"cannot read {path}: {error.strerror}; run as the server's user") from None
    except UnicodeDecodeError:
        token = ""
    if len(token) < TOKEN_LEAST_CHARACTERS or not token.isprintable() or " " in token:
        raise TokenUnreadable(f"{path} is damaged; remove it and start the server again")
    return token


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # another user's process
    except (OSError, OverflowError):
        return False
    return True


def _create(path: Path, text: str) -> None:
    """:raise FileExistsError:"""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
