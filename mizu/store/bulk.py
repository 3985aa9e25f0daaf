"""Import and export of accounts as CSV files in the data directory, in batches, on a connection of its own.

Files are named, not given by path: what is imported lies in ``DATA/import``, exports go to ``DATA/export``.
"""

import csv
import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.accounts.bulk import ImportJob, ImportOrder
from mizu.accounts.fields import FIELDS
from mizu.accounts.records import referred, with_names
from mizu.accounts.scope import check_import, same_reach
from mizu.config import DatabaseConfig
from mizu.errors import BadRequest, Conflict, MizuError, NotFound, Overloaded
from mizu.model import AuditEntry, Operator
from mizu.store.account_records import AccountRecords
from mizu.store.bulk_run import BATCH, Digests, ImportRun
from mizu.store.noted import NotedChanges
from mizu.store.postgres import Link

FILE_MAX_BYTES = 1_000_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.csv\Z")
_SENT = re.compile(r"uploads/[0-9a-f]{32}\.csv\Z")  #: came by HTTP (``mizu.web.uploads``)

_log = Logger()


class Imports:
    """
    Imports under way and done, newest last; exports.

    ``scope`` is ``Operator.scope_account_id``: imports by operators with another reach do not exist for one
    who has one. Nobody waits for them either: each reach has an import at a time of its own.

    :param data: the data directory.
    :param config: how many imports there may be (``imports``...).
    :param make_link: a connection whose statements may take long.
    :param digests: what is kept of a password.
    """

    def __init__(
        self,
        data: Path,
        records: AccountRecords,
        noted: NotedChanges,
        make_link: Callable[[], Link],
        reactor: Any,
        wall: Callable[[], datetime],
        *,
        config: DatabaseConfig,
    ) -> None:
        self._data = data
        self._config = config
        self._records = records
        self._noted = noted
        self._make_link = make_link
        self._reactor = reactor
        self._wall = wall
        self._jobs: list[ImportJob] = []
        self._number = 0
        self._exporting: set[str] = set()  # names of files that are being written
        self._running: dict[int, ImportJob] = {}  # by number
        self._waiters: dict[int, list[Deferred[None]]] = {}
        self.digests: Digests = lambda username, password: {}

    def jobs(self, scope: int | None = None) -> Sequence[ImportJob]:
        """The last imports, oldest first."""
        return [job for job in self._jobs if same_reach(scope, job.scope)]

    def start(self, order: ImportOrder, operator: Operator, entry: AuditEntry | None = None) -> ImportJob:
        """
        Begin an import.

        :param entry: for the audit list, committed with each batch and what that changed.
        :raise NotFound: no such file. :raise BadRequest: not a name. :raise Conflict: another runs.
        :raise Forbidden: the file is not theirs. :raise Overloaded: too many run.
        """
        scope = operator.scope_account_id
        check_import(scope, sent=bool(order.sent))
        mine = self._running_of(scope)
        if mine is not None:
            raise Conflict(f"import {mine.number} is running; 'import status' shows how far it is")
        others = sum(job.scope is not None for job in self._running.values())
        if scope is not None and others >= self._config.imports:
            raise Overloaded("other imports are running; try again when they are over")
        file, size_bytes = self._open(order)
        self._number += 1
        job = ImportJob(
            self._number,
            order,
            operator.name,
            scope,
            self._wall(),
            rights=operator.rights,
            total_bytes=size_bytes,
        )
        self._keep(job)
        self._running[job.number] = job
        Deferred.fromCoroutine(self._run(job, file, entry)).addErrback(self._broken, job)
        return job

    def _running_of(self, scope: int | None) -> ImportJob | None:
        """That of the same reach; of staff, none of others."""
        return next((job for job in self._running.values() if job.scope == scope), None)

    def _keep(self, job: ImportJob) -> None:
        """In the list; the oldest of the same reach goes, so that nobody's are pushed out by another."""
        alike = [one for one in self._jobs if one.scope == job.scope and one.state != "running"]
        full = len(self._jobs) >= self._config.imports_kept
        over = [one for one in self._jobs if one.state != "running"] if full else []
        of_one = self._config.imports_kept_of_one
        gone = {one.number for one in (*alike[: max(0, len(alike) + 1 - of_one)], *over[:1])}
        self._jobs = [*(one for one in self._jobs if one.number not in gone), job]

    async def wait(self, job: ImportJob, seconds: float) -> None:
        """Until it is over, or so long."""
        if job.state == "running":
            over: Deferred[None] = Deferred()
            waiting = self._waiters.setdefault(job.number, [])
            waiting.append(over)
            timer = self._reactor.callLater(seconds, over.cancel)
            try:
                await over
            except CancelledError:
                waiting.remove(over)
            finally:
                if timer.active():
                    timer.cancel()

    def cancel(self, scope: int | None = None, number: int | None = None) -> ImportJob:
        """
        Stop an import that runs, after its batch.

        :param number: which; ``None``: the one that operators with this reach have under way.
        :raise NotFound: it does not run.
        """
        job = self._running_of(scope) if number is None else self._running.get(number)
        if job is None or not same_reach(scope, job.scope):
            raise NotFound("no import is running" if number is None else f"import {number} does not run")
        job.stopping = True
        return job

    def stop(self) -> None:
        """The server stops: so does every import, after its batch."""
        for job in self._running.values():
            job.stopping = True

    def _open(self, order: ImportOrder) -> tuple[TextIO, int]:
        name, sent = order.sent or order.file, bool(order.sent)
        if not (_SENT if sent else _NAME).match(name):
            raise BadRequest(f"want the name of a .csv file in {self._data / 'import'}, got {name[:80]!r}")
        directory = self._data / "import"
        directory.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as missing:
            where = "" if sent else f" in {directory}"
            raise NotFound(f"there is no file {order.file}{where}: {missing.strerror}") from None
        if sent:  # for this import alone
            os.unlink(directory / name)
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_size > FILE_MAX_BYTES:
            os.close(descriptor)
            raise BadRequest(f"{order.file} is no regular file of at most {FILE_MAX_BYTES} bytes")
        return os.fdopen(
            descriptor, encoding="utf-8-sig", errors="surrogateescape", newline=""
        ), state.st_size

    def _broken(self, failure: Failure, job: ImportJob) -> None:
        job.state, job.error = "failed", "internal error; the server's log has the details"
        _log.failure("import {number} failed", failure=failure, number=job.number)
        self._over(job)

    def _over(self, job: ImportJob) -> None:
        self._running.pop(job.number, None)
        waiters = self._waiters.pop(job.number, [])
        job.ended_at = self._wall()
        _log.info(
            "import {number} of {file} by {by}: {state}; {lines} lines, {added} added, {changed} changed, "
            "{bad} bad",
            number=job.number,
            file=job.order.file,
            by=job.by,
            state=job.state,
            lines=job.lines,
            added=job.added,
            changed=job.changed,
            bad=job.bad,
        )
        for waiter in waiters:
            waiter.callback(None)

    async def _run(self, job: ImportJob, file: TextIO, entry: AuditEntry | None) -> None:
        link = self._make_link()
        try:
            await deferLater(self._reactor, 0)
            await link.open()
            run = ImportRun(
                job,
                file,
                link,
                records=self._records,
                digests=self.digests,
                reactor=self._reactor,
                noted=self._noted,
                entry=entry,
            )
            await run.run()
            job.state = "cancelled" if job.stopping else "done"
        except MizuError as wrong:
            job.state, job.error = "failed", str(wrong)
        finally:
            file.close()
            link.stop()
        self._over(job)

    async def export(self, name: str, prefix: str, scope: int | None) -> int:
        """
        Write the accounts whose username begins with ``prefix`` as CSV, without secrets. How many.

        The file has that name when it is whole; until then ``.part`` follows it.

        :raise Conflict: the file is there already. :raise Overloaded: it cannot be written.
        """
        if not _NAME.match(name):
            raise BadRequest(f"want the name of a .csv file, got {name[:80]!r}")
        directory = self._data / "export"
        directory.mkdir(mode=0o700, exist_ok=True)
        whole, part = directory / name, directory / f"{name}.part"
        if whole.exists() or whole.is_symlink() or name in self._exporting:
            raise Conflict(f"{whole} is there already")
        self._exporting.add(name)
        try:
            part.unlink(missing_ok=True)  # of a server that ended meanwhile
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                count = await self._write(file, prefix, scope)
            os.rename(part, whole)
        except OSError as wrong:
            raise Overloaded(f"{whole} cannot be written: {wrong.strerror}") from None
        finally:
            self._exporting.discard(name)
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return count

    async def _write(self, file: TextIO, prefix: str, scope: int | None) -> int:
        """Heading and accounts. How many."""
        count, after = 0, ""
        writer = csv.writer(file, lineterminator="\n")
        fields = [one for one in FIELDS if not one.secret]
        writer.writerow([one.name for one in fields])
        while batch := await self._records.list(prefix, BATCH, after, scope):
            names = await self._records.names(referred(batch), scope)
            writer.writerows([with_names(one, record[one.name], names) for one in fields] for record in batch)
            count, after = count + len(batch), batch[-1]["username"]
        return count
