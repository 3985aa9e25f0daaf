"""Files that are sent for import: a body goes to disk as it comes, once we know that its sender may.

Of operators with one reach at most one at a time, of at most so many bytes; the file is gone when the request
is over (an import that has opened it by then reads on).
"""

import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.errors import Overloaded
from mizu.web.api_routes import PREFIX, UPLOAD_PATH

CSV = "text/csv"
UNKNOWN_MAX = 20  #: senders who wait until we know them
LIMITED_MAX = 3  #: files at a time of operators limited to some accounts; one of each reach

_log = Logger(namespace="mizu.web")


class UploadBody:
    """
    What a request keeps its body in. What comes before the sender is admitted, which is little, waits.

    ``admitted`` fires when the sender is known, with whatever was wrong otherwise.
    """

    def __init__(self, path: Path, done: Callable[["UploadBody"], None]) -> None:
        self.name = f"{path.parent.name}/{path.name}"  #: as the command ``import`` takes it
        self.admitted: Deferred[None] = Deferred()
        self._path = path
        self._done = done
        self._file: BinaryIO | None = None
        self._early: list[bytes] = []
        self._size_bytes = 0
        self.closed = False

    def open(self) -> None:
        """Make the file. :raise OSError:"""
        if self.closed:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        # Unbuffered: who opens it next must find all of it.
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb", buffering=0)
        early, self._early = b"".join(self._early), []
        self._put(early)

    def write(self, data: bytes) -> None:
        """:raise OSError: the disk is full."""
        self._size_bytes += len(data)
        if self._file is None:
            self._early.append(data)
        else:
            self._put(data)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._file is not None:
            view = view[self._file.write(view) :]

    def tell(self) -> int:
        return self._size_bytes

    def seek(self, place: int, whence: int = 0) -> None:
        """Nobody reads it here."""

    def read(self, size: int = -1) -> bytes:
        return b""

    def close(self) -> None:
        """The request is over: the file goes."""
        if self.closed:
            return
        self.closed = True
        self.admitted.addErrback(lambda _: None)  # nobody is left who wants to know
        self._early.clear()
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
        self._done(self)


class Uploads:
    """
    The files on their way.

    :param directory: where they are, for themselves alone.
    :param bytes_max: of one; 0: none are taken.
    :param admit: may this sender send a file? Raises what is wrong; else the scope of their token.
    """

    def __init__(
        self, directory: Path, bytes_max: int, admit: Callable[[Any], Awaitable[int | None]]
    ) -> None:
        self._directory = directory
        self.bytes_max = bytes_max
        self._admit = admit
        self._unknown: set[UploadBody] = set()
        self._under_way: dict[int | None, UploadBody] = {}  # by scope: nobody keeps others from sending

    def clear(self) -> None:
        """At the start: remove what a process left that died."""
        if self._directory.is_dir():
            for left in self._directory.glob("*.csv"):
                left.unlink(missing_ok=True)

    def wants(self, method: bytes, uri: bytes, content_type: bytes) -> bool:
        """Is a request with this head the sending of a file?"""
        return (
            self.bytes_max > 0
            and method == b"POST"
            and uri.partition(b"?")[0] == (PREFIX + UPLOAD_PATH).encode("ascii")
            and content_type.partition(b";")[0].strip().lower() == CSV.encode("ascii")
        )

    def begin(self, request: Any) -> UploadBody:
        """
        Take a file; ``admitted`` of the answer fires, now or later. :raise Overloaded: too many wait.
        """
        if len(self._unknown) >= UNKNOWN_MAX:
            raise Overloaded("too many files are being sent; try again")
        body = UploadBody(self._directory / f"{secrets.token_hex(16)}.csv", self._over)
        self._unknown.add(body)
        Deferred.fromCoroutine(self._admitted(request, body)).addErrback(body.admitted.errback)
        return body

    async def _admitted(self, request: Any, body: UploadBody) -> None:
        try:
            scope = await self._admit(request)
        finally:
            self._unknown.discard(body)
        if not body.closed:
            self._place(scope, body)
        try:
            body.open()
        except OSError as wrong:
            _log.error("a file that is sent cannot be kept: {wrong}", wrong=wrong)
            raise Overloaded("the server cannot keep the file; its log says why") from None
        body.admitted.callback(None)

    def _place(self, scope: int | None, body: UploadBody) -> None:
        limited = sum(one is not None for one in self._under_way)
        if scope in self._under_way or (scope is not None and limited >= LIMITED_MAX):
            raise Overloaded("another file is being sent; try again when it is there")
        self._under_way[scope] = body

    def _over(self, body: UploadBody) -> None:
        self._under_way = {scope: one for scope, one in self._under_way.items() if one is not body}


def refusal_of(failure: Failure) -> tuple[int, str, str]:
    """Status, code and text for what was wrong with a sender."""
    error: Any = failure.value
    if hasattr(error, "http_status"):
        return error.http_status, error.code, str(error)
    _log.failure("a sender could not be admitted", failure=failure)
    return 500, "internal", "internal error; the server's log has the details"
