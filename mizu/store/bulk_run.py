"""One import of accounts from a CSV file, in batches. Which file that is: ``mizu.store.bulk``."""

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TextIO

from twisted.internet.task import deferLater
from txpostgres.txpostgres import Cursor

from mizu.accounts.bulk import (
    AT_ONCE_LINES_MAX,
    LINE_MAX_CHARACTERS,
    PASSES_MAX,
    Heading,
    ImportJob,
    ImportLine,
    LineSet,
    Problem,
    ids_among,
    rows,
)
from mizu.accounts.kinds import Value
from mizu.accounts.records import Record, without_itself
from mizu.accounts.scope import check_rights, check_template, may_clone, refused_new, unknown, visible
from mizu.accounts.usernames import check_username
from mizu.errors import BadRequest, Conflict, MizuError, StoreBusy
from mizu.model import AuditEntry, Change
from mizu.store.account_records import AccountRecords, ChangedAccount, check_harm, check_wanted, insert
from mizu.store.account_rights import over_more
from mizu.store.bulk_changes import change_of, made_of
from mizu.store.bulk_ids import FileIds, Named, NotImported, with_names
from mizu.store.departures import unless_left
from mizu.store.noted import NotedChanges, Written
from mizu.store.number_rights import Asked, names_not_to_give, refused_numbers
from mizu.store.postgres import BadRow, Collision, Link
from mizu.store.references import Known, UnknownReference, find, ids_named, mentioned

_TRIES_MAX = 4  #: of one batch
BATCH = 250  #: lines of one statement; what they cost the reactor at a time is a few milliseconds
_TAKEN = f"""SELECT a.username, {visible("a.id")} FROM account a
 WHERE a.username = ANY (%(names)s::text[])"""  # noqa: S608

_ID_REFUSED = "want a name: an id may mean another account here"
#: Digests of a username and a password.
Digests = Callable[[str, str], Mapping[str, str]]


class _Undo(Exception):
    """Ends a transaction that shall leave nothing behind."""


class _Altered(NamedTuple):
    """An account that a line changes."""

    line: ImportLine
    before: Record
    columns: Mapping[str, Any]


class ImportRun:
    """One import from its first line to its last; ``entry`` is what the audit list gets of each batch."""

    def __init__(
        self,
        job: ImportJob,
        file: TextIO,
        link: Link,
        *,
        records: AccountRecords,
        digests: Digests,
        reactor: Any,
        noted: NotedChanges,
        entry: AuditEntry | None,
    ) -> None:
        self._job = job
        self._file = file
        self._link = link
        link.pass_retries = True  # a batch is stored anew here
        self._records = records
        self._digests = digests
        self._reactor = reactor
        self._noted = noted
        self._entry = entry
        self._changes: list[Change] = []  # of the batch
        self._written: Written | None = None  # its entry
        self._stored = False  # everything is done but the COMMIT
        self._heading: Heading
        self._copied: dict[str, Value] = {}
        self._late: LineSet | None = None  # lines of this pass; None: all
        self._later = LineSet()  # those of the next
        self._put: list[int] = []  # of them, those of the batch
        self._ids: FileIds | None = None  # when the file has ids of its own
        self._imported = LineSet()  # then: lines that are
        self._ready: list[int] = []  # of them, those of the batch
        self._last = False  # no pass comes after this one

    async def run(self) -> None:
        """:raise MizuError: the file as a whole cannot be imported."""
        order, scope = self._job.order, self._job.scope
        if order.template:
            template = await self._records.get(order.template, scope)
            check_template(scope, template["id"])
            self._copied = {name: value for name, value in template.items() if may_clone(scope, name)}
        first = next(rows(self._lines()), None)
        if first is None:
            raise BadRequest("the file is empty; want a line of column names first")
        self._heading = Heading(
            first[1], versions=order.update and order.versions, original_ids=order.original_ids
        )
        if order.original_ids:
            await self._learn_ids()
        if order.dry_run or order.whole:
            try:
                await self._transact(self._at_once)
            except _Undo:
                pass
            except Collision:
                text = "others changed owners or the same accounts meanwhile, nothing was imported; try again"
                raise Conflict(text) from None
        else:
            await self._every(self._store_anew)
        self._job.problems.sort(key=lambda problem: problem.line)

    async def _every(self, store: Callable[[Sequence[ImportLine]], Coroutine[Any, Any, None]]) -> None:
        """
        All lines, in batches; those that name an account that is not there yet once more at the end, as long
        as that helps. What they name may be on a later line.
        """
        job = self._job
        for number in range(PASSES_MAX):
            done = job.added + job.changed + job.same
            for batch in self._batches(self._read()):
                await store(batch)
                for number_later in self._put:
                    self._later.add(number_later)
                for number_done in self._ready:
                    self._imported.add(number_done)
                self._put, self._ready = [], []
                await self._pause()
                if job.stopping:
                    return
            if self._last or not self._later:
                return
            self._late, self._later = self._later, LineSet()
            self._last = job.added + job.changed + job.same == done or number == PASSES_MAX - 2

    def _read(self) -> Iterator[tuple[int, list[str]]]:
        """The lines of this pass, from the beginning of the file."""
        for number, cells in self._body():
            if self._late is None:
                self._job.lines += 1
            done_before = self._late is not None and number not in self._late
            yield number, [] if done_before else cells

    def _body(self) -> Iterator[tuple[int, list[str]]]:
        """All lines but the heading, from the beginning of the file."""
        self._file.seek(0)
        lines = rows(self._lines())
        next(lines)
        return lines

    async def _learn_ids(self) -> None:
        """Whom the ids of the file mean: it is read once more than else."""
        ids = self._ids = FileIds(self._link)
        await ids.make()
        found: list[tuple[int, str, int]] = []
        for number, cells in self._body():
            one = self._heading.identity(cells)
            found += [(*one, number)] if one is not None else []
            if len(found) >= BATCH:
                await ids.learn(found)
                found = []
                await deferLater(self._reactor, 0)
                if self._job.stopping:
                    return
        await ids.learn(found)

    async def _store_anew(self, batch: Sequence[ImportLine]) -> None:
        """One batch; again when somebody else's change comes between. :raise StoreBusy:"""
        job = self._job
        for _ in range(_TRIES_MAX):
            bad, noted = job.bad, len(job.problems)
            try:
                await self._transact(partial(self._store, batch=batch))
                return
            except Collision:
                job.bad = bad
                del job.problems[noted:]
        raise StoreBusy("others change owners or the same accounts all the time; import the rest later")

    async def _transact(self, work: Callable[[Cursor], Coroutine[Any, Any, None]]) -> None:
        """
        Run a transaction. What it did counts only if it was committed.

        :raise StoreBusy: the connection was lost; the text says what is not known, if anything.
        :raise Collision: somebody else's change came between.
        """
        job = self._job
        counts = job.added, job.changed, job.same
        self._written, self._stored = None, False
        try:
            await self._link.transact(lambda cursor: unless_left(cursor, job.scope, work))
        except _Undo:
            if not job.order.dry_run:
                job.added, job.changed, job.same = counts
            raise
        except StoreBusy as busy:
            made: bool | None = False
            if self._stored:  # it was lost during COMMIT
                made = await self._noted.settled(self._written) if self._written is not None else None
            some = job.added - counts[0] + job.changed - counts[1]
            if not made:
                job.added, job.changed, job.same = counts
            if made is None:
                text = f"{busy}; whether the last {some} accounts were imported is not known: look for them"
                raise StoreBusy(text) from None
            raise
        except BaseException:
            job.added, job.changed, job.same = counts
            raise

    async def _at_once(self, cursor: Cursor) -> None:
        async def store(batch: Sequence[ImportLine]) -> None:
            if self._job.scope is not None and self._job.lines > AT_ONCE_LINES_MAX:
                text = (
                    f"all or none, and dry runs, of at most {AT_ONCE_LINES_MAX} lines; others wait meanwhile"
                )
                raise BadRequest(text)
            await self._store(cursor, batch)

        await self._every(store)
        if self._job.order.dry_run or self._job.bad or self._job.stopping:
            raise _Undo
        self._stored = True

    async def _pause(self) -> None:
        read_bytes = min(self._job.total_bytes, self._file.buffer.tell())
        self._job.read_bytes = max(self._job.read_bytes, read_bytes)
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
            read += 1
            line, problems = self._heading.line(number, cells) if cells else (None, [])
            for problem in problems:
                self._job.note(problem)
            if line is not None and (line := self._checked(line)) is not None:
                theirs = mentioned(line.values) | set(map(str, ids_among(line.originals.values())))
                if line.username in names or not names.isdisjoint(theirs):
                    yield batch
                    batch, names = [], set()
                batch.append(line)
                names.update((line.username, str(line.original_id)))
            if len(batch) >= BATCH or read >= 2 * BATCH:
                yield batch
                batch, names, read = [], set(), 0
        if batch:
            yield batch

    def _checked(self, line: ImportLine) -> ImportLine | None:
        refused = list(refused_new(self._job.scope, {**line.originals, **line.values}))
        if not self._job.order.update:
            refused += [
                (name, BadRequest(f"{name}: {_ID_REFUSED}, got {who!r}"))
                for name, who in ids_named(line.values)
            ]
        for name, wrong in refused:
            self._bad(line, str(wrong), name)
        try:
            check_username(line.username)
        except MizuError as wrong:
            self._bad(line, str(wrong), "username")
            return None
        return None if refused else line

    def _bad(self, line: ImportLine, text: str, field: str = "") -> None:
        """:param field: which is wrong; empty: the first that the text names."""
        fields = [one.name if one is not None else "" for one in self._heading.fields]
        words = {field} if field else set(re.findall(r"\w+", text))
        column = next((self._heading.names[n] for n, name in enumerate(fields) if name in words), "")
        self._job.note(Problem(line.line, column, text))

    async def _store(self, cursor: Cursor, batch: Sequence[ImportLine]) -> None:
        """Insert and change what the batch says, with its entry; what cannot be is noted, line by line."""
        if not batch:
            return
        self._changes, self._put, self._ready = [], [], []
        if self._ids is not None:
            batch = self._named(await self._ids.known(cursor, batch), batch)
        names = [line.username for line in batch]
        await cursor.execute(_TAKEN, {"names": names, "scope": self._job.scope})
        taken = dict(cursor.fetchall())
        known = await find(cursor, [{**self._copied, **line.values} for line in batch], self._job.scope)
        refused = await names_not_to_give(
            cursor, [name for name in names if name not in taken], self._job.scope
        )
        wanted = [Asked(line.username, {**self._copied, **line.values}) for line in batch]
        numbers = dict(zip(names, await refused_numbers(cursor, wanted, self._job.scope), strict=True))
        new: list[tuple[ImportLine, dict[str, Any]]] = []
        there: list[ImportLine] = []
        for line in batch:
            if line.username in taken:
                if self._may_change(line, seen=taken[line.username]):
                    there.append(line)
                continue
            if wrong := refused.get(line.username):
                self._bad(line, str(wrong), "username")
                continue
            if what := numbers[line.username]:
                self._bad(line, str(what[1]), what[0])
                continue
            row = self._row(line, known)
            if row is not None:
                new.append((line, row))
        await self._update(cursor, await self._altered_rows(cursor, there, known))
        await self._insert(cursor, new)
        if self._entry is not None and self._changes and not self._job.order.dry_run:
            self._written = await self._noted.write(cursor, self._entry, self._changes)
        if not (self._job.order.whole or self._job.order.dry_run):
            self._stored = True

    def _named(self, known: Mapping[int, Named], batch: Sequence[ImportLine]) -> list[ImportLine]:
        """The lines of the batch with usernames for ids of the file; bad ones left out."""
        named: list[ImportLine] = []
        for line in batch:
            try:
                values = with_names(line, known, self._imported)
                named.append(replace(line, values=values))
            except NotImported as wrong:
                self._put_off(line, wrong)
            except MizuError as wrong:
                self._bad(line, str(wrong).partition(": ")[2], str(wrong).partition(": ")[0])
        return named

    def _done(self, lines: Iterable[ImportLine]) -> None:
        """They are imported, if the transaction is."""
        if self._ids is not None:
            self._ready += [line.line for line in lines]

    def _row(self, line: ImportLine, known: Known) -> dict[str, Any] | None:
        """The columns of a new account; ``None``: the line is bad."""
        values: dict[str, Value] = {"parent_id": None, **self._copied, **line.values}
        try:
            check_rights(self._job.rights, 0, values)
        except MizuError as wrong:
            self._bad(line, str(wrong), "rights")
            return None
        try:
            values = known.resolved(without_itself(values, line.username))
        except UnknownReference as wrong:
            self._put_off(line, wrong)
            return None
        if values["parent_id"] is None:
            values["parent_id"] = self._job.scope
        ha1 = self._digests(line.username, line.password) if line.password else {}
        columns = self._records.columns(values, ha1)
        return {**columns, "username": line.username, "created_by": self._job.by}

    def _put_off(self, line: ImportLine, wrong: UnknownReference) -> None:
        """What it names may come yet; in the last pass the line is bad."""
        if self._last:
            self._bad(line, str(wrong), wrong.field)
        else:
            self._put.append(line.line)

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
        self._done(line for line, _ in new)
        self._changes += [made_of(line, row) for line, row in new]

    def _may_change(self, line: ImportLine, *, seen: bool) -> bool:
        """
        Is an account that is there to be changed? If not, the line is bad.

        :param seen: by this operator; of one that is not, they learn what ``adduser`` would say.
        """
        if not self._job.order.update or not seen:
            self._bad(line, f"there is an account of the username {line.username!r} already", "username")
            return False
        return True

    async def _altered_rows(
        self, cursor: Cursor, there: Sequence[ImportLine], known: Known
    ) -> list[_Altered]:
        """The accounts that lines change, locked, with the cells that are not empty as columns."""
        if not there:
            return []
        scope, rights = self._job.scope, self._job.rights
        records = await self._records.lock(cursor, [line.username for line in there], scope)
        asked: list[tuple[ImportLine, Record, ChangedAccount]] = []
        for line in there:
            before = records.get(line.username)
            if before is None:  # deleted a moment ago
                self._bad(line, str(unknown(line.username)), "username")
                continue
            ha1 = self._digests(line.username, line.password) if line.password else None
            try:
                values = without_itself(known.resolved(line.values), before["id"])
                wanted = ChangedAccount(line.username, values, ha1, line.version)
                check_wanted(before, wanted, scope)
                asked.append((line, before, wanted))
            except UnknownReference as wrong:
                self._put_off(line, wrong)
            except MizuError as wrong:
                self._bad(line, str(wrong))
        over = await over_more(cursor, [(before["id"], wanted.values) for _, before, wanted in asked], rights)
        found: list[_Altered] = []
        numbers = [Asked(wanted.who, wanted.values, before) for _, before, wanted in asked]
        refused = await refused_numbers(cursor, numbers, scope)
        for (line, before, wanted), what in zip(asked, refused, strict=True):
            if what is not None:
                self._bad(line, str(what[1]), what[0])
                continue
            try:
                check_harm(before, wanted, rights, over)
                found.append(_Altered(line, before, self._records.columns(wanted.values, wanted.ha1)))
            except MizuError as wrong:
                self._bad(line, str(wrong))
        return found

    async def _update(self, cursor: Cursor, altered: Sequence[_Altered]) -> None:
        """Change all; when something is wrong, halves of it, down to the line that is wrong."""
        if not altered:
            return
        scope = self._job.scope
        await cursor.execute("SAVEPOINT line")
        try:
            done = await self._records.update(cursor, [(one.before, one.columns) for one in altered], scope)
        except (MizuError, *BadRow) as wrong:
            if isinstance(wrong, StoreBusy):
                raise
            await cursor.execute("ROLLBACK TO SAVEPOINT line")
            if len(altered) == 1:
                self._bad(altered[0].line, _said(wrong))
                return
            middle = len(altered) // 2
            await self._update(cursor, altered[:middle])
            await self._update(cursor, altered[middle:])
            return
        await cursor.execute("RELEASE SAVEPOINT line")
        self._done(one.line for one in altered)
        for one, (before, after) in zip(altered, done, strict=True):
            if after is before:
                self._job.same += 1
            else:
                self._job.changed += 1
                self._changes.append(change_of(one.line, before, after))


def _said(wrong: Exception) -> str:
    return str(wrong) if isinstance(wrong, MizuError) else "the database refuses the values"


def _sorted(new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same columns together: each kind is one statement."""
    return sorted(new, key=",".join)
