"""``mizu import --send FILE``: sends a file of the machine where one types, and shows how far it is."""

import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, BinaryIO
from urllib.parse import urlencode

from twisted.internet.task import deferLater

from mizu.accounts.bulk import file_name
from mizu.console.link import Answer, Link
from mizu.errors import BadRequest

SEND = "--send"
FLAGS = ("dry-run", "whole", "update", "versions", "original-ids")  #: options of ``import`` without a value
_POLL_S = 0.5

Tell = Callable[[str], None]


def wanted(words: Sequence[str]) -> bool:
    """Is this ``import --send ...``?"""
    return words[:1] == ["import"] and any(word == SEND or word.startswith(SEND + "=") for word in words[1:])


def parsed(words: Sequence[str]) -> tuple[str, str]:
    """The path, and the other options as the API takes them behind ``?``. :raise BadRequest:"""
    path, options = "", {"wait": "0"}
    waiting = iter(words[1:])
    for word in waiting:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise BadRequest(f"{word!r} is one too many: {SEND} names the file")
        if name in FLAGS:
            options[name.replace("-", "_")] = "true"
            continue
        if not equals:
            value = next(waiting, "")
        if not value:
            raise BadRequest(f"--{name} needs a value")
        if name == SEND[2:]:
            path = value
        elif name != "wait":  # we wait until it is over
            options[name.replace("-", "_")] = value
    return path, urlencode({**options, "file": file_name(path)})


class Counted:
    """A file that says how much of it was read."""

    def __init__(self, file: BinaryIO, tell: Tell) -> None:
        self._file = file
        self._tell = tell
        self._size_bytes = max(os.fstat(file.fileno()).st_size, 1)
        self._read_bytes = 0
        self._told = -1

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._read_bytes += len(data)
        percent = 100 * self._read_bytes // self._size_bytes
        if percent != self._told:
            self._told = percent
            self._tell(f"{percent}% sent")
        return data

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


async def send(reactor: Any, link: Link, line: str, tell: Tell) -> Answer:
    """
    Send the file and wait until the import is over. A refusal is an answer.

    :param tell: told how far it is, whenever that changes.
    :raise NotRunning: :raise BadAnswer: as of :meth:`Link.run`.
    """
    try:
        path, query = parsed(shlex.split(line))
        file = _opened(path)
    except (BadRequest, OSError, ValueError) as wrong:
        return Answer(False, [str(wrong)], None, "bad_request")
    answer = await link.send_file(f"/api/v1/imports?{query}", Counted(file, tell))
    if not answer.ok:
        return answer
    return await _over(answer.result["number"], lambda: link.run("import status"), reactor, tell)


def _opened(path: str) -> BinaryIO:
    return open(path, "rb")


async def _over(number: int, ask: Callable[[], Awaitable[Answer]], reactor: Any, tell: Tell) -> Answer:
    while True:
        answer = await ask()
        jobs = (answer.result or {}).get("imports", []) if answer.ok else []
        job = next((one for one in jobs if one["number"] == number), None)
        if job is None:
            return answer
        if job["state"] != "running":
            tell("")
            ok = job["state"] == "done"
            return Answer(ok, answer.lines, {"import": job}, "" if ok else "import_" + job["state"])
        percent = 100 * job["read_bytes"] // max(job["total_bytes"], 1)
        tell(f"{percent}% imported, {job['added']} added, {job['changed']} changed, {job['bad']} bad")
        await deferLater(reactor, _POLL_S)


def tell_terminal(text: str) -> None:
    """One line that changes, on the standard error, when that is a terminal; empty: it is over."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<70}" if text else "\r" + " " * 70 + "\r")
        sys.stderr.flush()
