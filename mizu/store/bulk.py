"""Import and export of accounts as CSV files in the data directory, in batches, on a connection of its own.

Files are named, not given by path: what is imported lies in ``DATA/import``, exports go to ``DATA/export``.
"""

import csv
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres.txpostgres import Cursor

from mizu.accounts.bulk import LINE_MAX_CHARACTERS, Heading, ImportJob, ImportLine, ImportOrder, Problem, rows
from mizu.accounts.fields import FIELDS, REFERENCES
from mizu.accounts.kinds import Value
from mizu.accounts.scope import check_new, may_clone, visible_many
from mizu.errors import BadRequest, Conflict, MizuError, NotFound, StoreBusy
from mizu.model import Operator
from mizu.store.account_records import AccountRecords, insert
from mizu.store.fields import check_username
from mizu.store.postgres import BadRow, Link

FILE_MAX_BYTES = 1_000_000_000
BATCH = 250  #: lines of one statement; what they cost the reactor at a time is a few milliseconds
JOBS_KEPT = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.csv\Z")
_KNOWN = f"""SELECT a.username, a.id FROM account a
 WHERE (a.username = ANY (%(names)s::text[]) OR a.id = ANY (%(ids)s::bigint[])) AND {visible_many("a.id")}"""  # noqa: S608
_TAKEN = "SELECT username FROM account WHERE username = ANY (%s::text[])"

_log = Logger()

#: Digests of a username and a password.
Digests = Callable[[str, str], Mapping[str, str]]


class _Undo(Exception):
    """Ends a transaction that shall leave nothing behind."""


class Imports:
    """
    Imports under way and done, newest last; exports.

    :param data: the data directory.
    :param make_link: a connection whose statements may take long.
    :param digests: what is kept of a password.
    """

    def __init__(
        self,
        data: Path,
        records: AccountRecords,
        make_link: Callable[[], Link],
        reactor: Any,
        wall: Callable[[], datetime],
    ) -> None:
        self._data = data
        self._records = records
        self._make_link = make_link
        self._reactor = reactor
        self._wall = wall
        self._jobs: list[ImportJob] = []
        self._number = 0
        self._running: Deferred[None] | None = None
        self._waiters: list[Deferred[None]] = []
        self.digests: Digests = lambda username, password: {}

    def jobs(self) -> Sequence[ImportJob]:
        """The last imports, oldest first."""
        return tuple(self._jobs)

    def start(self, order: ImportOrder, operator: Operator) -> ImportJob:
        """
        Begin an import.

        :raise NotFound: no such file. :raise BadRequest: not a name. :raise Conflict: another runs.
        """
        if self._running is not None:
            raise Conflict(f"import {self._jobs[-1].number} is running; 'import status' shows how far it is")
        file, size_bytes = self._open(order.file)
        self._number += 1
        job = ImportJob(
            self._number,
            order,
            operator.name,
            operator.scope_account_id,
            self._wall(),
            total_bytes=size_bytes,
        )
        self._jobs = [*self._jobs[1 - JOBS_KEPT :], job]
        self._running = Deferred.fromCoroutine(self._run(job, file))
        self._running.addErrback(self._broken, job)
        if job.state != "running":
            self._running = None
        return job

    async def wait(self, job: ImportJob, seconds: float) -> None:
        """Until it is over, or so long."""
        if job.state == "running":
            over: Deferred[None] = Deferred()
            self._waiters.append(over)
            timer = self._reactor.callLater(seconds, over.cancel)
            try:
                await over
            except CancelledError:
                self._waiters.remove(over)
            finally:
                if timer.active():
                    timer.cancel()

    def cancel(self) -> ImportJob:
        """Stop the import that runs, after its batch. :raise NotFound: none runs."""
        if self._running is None:
            raise NotFound("no import is running")
        self._jobs[-1].stopping = True
        return self._jobs[-1]

    def stop(self) -> None:
        """The server stops: so does an import, after its batch."""
        if self._running is not None:
            self._jobs[-1].stopping = True

    def _open(self, name: str) -> tuple[TextIO, int]:
        if not _NAME.match(name):
            raise BadRequest(f"want the name of a .csv file in {self._data / 'import'}, got {name[:80]!r}")
        directory = self._data / "import"
        directory.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as missing:
            raise NotFound(f"there is no file {name} in {directory}: {missing.strerror}") from None
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_size > FILE_MAX_BYTES:
            os.close(descriptor)
            raise BadRequest(f"{name} is no regular file of at most {FILE_MAX_BYTES} bytes")
        return os.fdopen(
            descriptor, encoding="utf-8-sig", errors="surrogateescape", newline=""
        ), state.st_size

    def _broken(self, failure: Failure, job: ImportJob) -> None:
        job.state, job.error = "failed", "internal error; the server's log has the details"
        _log.failure("import {number} failed", failure=failure, number=job.number)
        self._over(job)

    def _over(self, job: ImportJob) -> None:
        self._running, waiters, self._waiters = None, self._waiters, []
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

    async def _run(self, job: ImportJob, file: TextIO) -> None:
        link = self._make_link()
        try:
            await deferLater(self._reactor, 0)
            await link.open()
            await _Import(job, file, link, self._records, self.digests, self._reactor).run()
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

        :raise Conflict: the file is there already.
        """
        if not _NAME.match(name):
            raise BadRequest(f"want the name of a .csv file, got {name[:80]!r}")
        directory = self._data / "export"
        directory.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise Conflict(f"{directory / name} is there already") from None
        count, after = 0, ""
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            fields = [one for one in FIELDS if not one.secret]
            writer.writerow([one.name for one in fields])
            while batch := await self._records.list(prefix, BATCH, after, scope):
                writer.writerows([one.kind.show(record[one.name]) for one in fields] for record in batch)
                count, after = count + len(batch), batch[-1]["username"]
        return count


class _Import:
    """One import from its first line to its last."""

    def __init__(
        self,
        job: ImportJob,
        file: TextIO,
        link: Link,
        records: AccountRecords,
        digests: Digests,
        reactor: Any,
    ) -> None:
        self._job = job
        self._file = file
        self._link = link
        self._records = records
        self._digests = digests
        self._reactor = reactor
        self._heading: Heading
        self._copied: dict[str, Value] = {}

    async def run(self) -> None:
        """:raise MizuError: the file as a whole cannot be imported."""
        order, scope = self._job.order, self._job.scope
        if order.template:
            template = await self._records.get(order.template, scope)
            self._copied = {name: value for name, value in template.items() if may_clone(scope, name)}
        lines = rows(self._lines())
        first = next(lines, None)
        if first is None:
            raise BadRequest("the file is empty; want a line of column names first")
        self._heading = Heading(first[1])
        if order.dry_run or order.whole:
            try:
                await self._link.transact(lambda cursor: self._at_once(cursor, lines))
            except _Undo:
                if not order.dry_run:
                    self._job.added = self._job.changed = 0
            return
        for batch in self._batches(lines):
            await self._link.transact(partial(self._store, batch=batch))
            await self._pause()
            if self._job.stopping:
                return

    async def _at_once(self, cursor: Cursor, lines: Iterator[tuple[int, list[str]]]) -> None:
        for batch in self._batches(lines):
            await self._store(cursor, batch)
            await self._pause()
            if self._job.stopping:
                break
        if self._job.order.dry_run or self._job.bad or self._job.stopping:
            raise _Undo

    async def _pause(self) -> None:
        self._job.read_bytes = min(self._job.total_bytes, self._file.buffer.tell())
        await deferLater(self._reactor, 0)  # calls are being carried meanwhile

    def _lines(self) -> Iterator[str]:
        while line := self._file.readline(LINE_MAX_CHARACTERS + 1):
            if len(line) > LINE_MAX_CHARACTERS:
                raise BadRequest(f"a line has more than {LINE_MAX_CHARACTERS} characters")
            if "\x00" in line:
                raise BadRequest("a line has a NUL; is this a CSV file in UTF-8?")
            yield line

    def _batches(self, lines: Iterator[tuple[int, list[str]]]) -> Iterator[list[ImportLine]]:
        """Good lines in batches; no batch refers to an account of itself. Bad lines are noted."""
        batch: list[ImportLine] = []
        names: set[str] = set()
        read = 0
        for number, cells in lines:
            self._job.lines += 1
            read += 1
            line, problems = self._heading.line(number, cells)
            for problem in problems:
                self._job.note(problem)
            if line is not None and (line := self._checked(line)) is not None:
                if line.username in names or any(line.values.get(one.name) in names for one in REFERENCES):
                    yield batch
                    batch, names = [], set()
                batch.append(line)
                names.add(line.username)
            if len(batch) >= BATCH or read >= 2 * BATCH:
                yield batch
                batch, names, read = [], set(), 0
        if batch:
            yield batch

    def _checked(self, line: ImportLine) -> ImportLine | None:
        try:
            check_username(line.username)
            check_new(self._job.scope, line.values)
        except MizuError as wrong:
            self._bad(line, str(wrong))
            return None
        return line

    def _bad(self, line: ImportLine, text: str) -> None:
        fields = [one.name if one is not None else "" for one in self._heading.fields]
        column = next((self._heading.names[n] for n, name in enumerate(fields) if name and name in text), "")
        self._job.note(Problem(line.line, column, text))

    async def _store(self, cursor: Cursor, batch: Sequence[ImportLine]) -> None:
        """Insert and change what the batch says; what cannot be is noted, line by line."""
        if not batch:
            return
        await cursor.execute(_TAKEN, ([line.username for line in batch],))
        taken = {row[0] for row in cursor.fetchall()}
        known = await self._known(cursor, batch)
        new: list[tuple[ImportLine, dict[str, Any]]] = []
        for line in batch:
            if line.username in taken:
                await self._change(cursor, line)
                continue
            row = self._row(line, known)
            if row is not None:
                new.append((line, row))
        await self._insert(cursor, new)

    async def _known(self, cursor: Cursor, batch: Sequence[ImportLine]) -> Mapping[str, int]:
        wanted = {line.values.get(one.name) for line in batch for one in REFERENCES}
        wanted |= {self._copied.get(one.name) for one in REFERENCES}
        names = [who for who in wanted if isinstance(who, str) and not who.startswith("#")]
        ids = [int(who[1:]) for who in wanted if isinstance(who, str) and who.startswith("#")]
        ids += [who for who in wanted if isinstance(who, int)]
        if not names and not ids:
            return {}
        await cursor.execute(_KNOWN, {"names": names, "ids": ids, "scope": self._job.scope})
        found: dict[str, int] = {}
        for username, number in cursor.fetchall():
            found[username] = found[f"#{number}"] = number
        return found

    def _row(self, line: ImportLine, known: Mapping[str, int]) -> dict[str, Any] | None:
        """The columns of a new account; ``None``: the line is bad."""
        values: dict[str, Value] = {"parent_id": None, **self._copied, **line.values}
        for one in REFERENCES:
            who = values.get(one.name)
            if who is not None:
                found = known.get(who if isinstance(who, str) else f"#{who}")
                if found is None:
                    self._bad(line, f"{one.name}: there is no account {who!r}")
                    return None
                values[one.name] = found
        if values["parent_id"] is None:
            values["parent_id"] = self._job.scope
        ha1 = self._digests(line.username, line.password) if line.password else {}
        columns = self._records.columns(values, ha1)
        return {**columns, "username": line.username, "created_by": self._job.by}

    async def _insert(self, cursor: Cursor, new: Sequence[tuple[ImportLine, dict[str, Any]]]) -> None:
        """Insert all; when something is wrong, halves of it, down to the line that is wrong."""
        if not new:
            return
        await cursor.execute("SAVEPOINT line")
        try:
            await insert(cursor, _sorted([row for _, row in new]), give=False)
        except (MizuError, *BadRow) as wrong:
            if isinstance(wrong, StoreBusy):
                raise
            await cursor.execute("ROLLBACK TO SAVEPOINT line")
            if len(new) == 1:
                self._bad(new[0][0], _said(wrong))
                return
            middle = len(new) // 2
            await self._insert(cursor, new[:middle])
            await self._insert(cursor, new[middle:])
            return
        await cursor.execute("RELEASE SAVEPOINT line")
        self._job.added += len(new)

    async def _change(self, cursor: Cursor, line: ImportLine) -> None:
        """Change an account that is there: the cells that are not empty."""
        if not self._job.order.update:
            self._bad(line, f"there is an account of the username {line.username!r} already")
            return
        ha1 = self._digests(line.username, line.password) if line.password else None
        await cursor.execute("SAVEPOINT line")
        try:
            await self._records.change_with(
                cursor, line.username, dict(line.values), self._job.scope, ha1, None
            )
        except (MizuError, *BadRow) as wrong:
            if isinstance(wrong, StoreBusy):
                raise
            await cursor.execute("ROLLBACK TO SAVEPOINT line")
            self._bad(line, _said(wrong))
            return
        await cursor.execute("RELEASE SAVEPOINT line")
        self._job.changed += 1


def _said(wrong: Exception) -> str:
    return str(wrong) if isinstance(wrong, MizuError) else "the database refuses the values"


def _sorted(new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same columns together: each kind is one statement."""
    return sorted(new, key=",".join)
