"""Import of accounts from CSV: the lines, what is wrong with them, and how far an import is. Pure.

The first line names the columns: fields by our names or the original's, in any order; ``username`` must be
there. An empty cell means the default (or the template's value). Source of the format: RFC 4180.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mizu.accounts.fields import SERVER, Field, field_of
from mizu.accounts.kinds import ACCOUNT, PARTNERS, Value
from mizu.errors import BadRequest
from mizu.model import Rights

PROBLEMS_MAX = 1000  #: kept of one import; beyond it they are only counted
LINE_MAX_CHARACTERS = 65_536
NAME_MAX_CHARACTERS = 100  #: of a file's name, as messages have it
#: Lines of an import that is all or none, or a dry run, by an operator limited to some accounts: while it
#: runs, changes of owners by others wait.
AT_ONCE_LINES_MAX = 5000
#: How often a file is read at most, for lines that name accounts of later lines: a tree has 100 levels.
PASSES_MAX = 102
#: Columns of the original that we have no field for; a file may have them, and they are ignored.
NOT_KEPT = frozenset(("ip",))  # the last address of a phone: its registration has it
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  #: what a file is opened with makes of such bytes (surrogateescape)
_WHOLE = re.compile(r"[0-9]{1,18}")
_PATH = re.compile(r"[/\\]")


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What an operator wants imported."""

    file: str  #: name in the import directory, or what the operator calls a file that was sent
    sent: str = ""  #: a file that was sent: where it lies in the import directory
    dry_run: bool = False  #: check everything, change nothing
    whole: bool = False  #: all lines or none
    update: bool = False  #: accounts that are there are changed, instead of being a problem
    versions: bool = False  #: with ``update``: only what still has the version in the column ``version``
    original_ids: bool = False  #: accounts are named by their ids in the file, as the original's table does
    template: str = ""  #: account whose values are the defaults


def file_name(text: str) -> str:
    """What messages call a file that somebody sent: one name without path, no longer than a line bears."""
    name = "".join(c if c.isprintable() else "_" for c in _PATH.split(text)[-1]).strip()
    return name[-NAME_MAX_CHARACTERS:] or "sent.csv"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line was not imported."""

    line: int  #: of the file, the heading is line 1
    column: str  #: as the heading has it; empty: the line as a whole
    text: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", column {self.column}" if self.column else "")
        return f"{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class ImportLine:
    """A good line."""

    line: int
    username: str
    password: str = field(repr=False)
    values: Mapping[str, Value] = field(repr=False)
    version: int | None = None  #: of the account, as the file has it
    original_id: int = 0  #: with ``original_ids``: in the file
    originals: Mapping[str, str] = field(default_factory=dict, repr=False)  #: fields that name such ids


@dataclass(slots=True)
class ImportJob:
    """How far an import is. Counted as it goes on."""

    number: int
    order: ImportOrder
    by: str
    scope: int | None
    begun_at: datetime
    rights: Rights | None = None  #: of who began it; ``None``: no limit
    state: str = "running"  #: running, done, failed, cancelled
    stopping: bool = False  #: it ends after its batch
    total_bytes: int = 0
    read_bytes: int = 0
    lines: int = 0  #: without the heading
    added: int = 0
    changed: int = 0
    same: int = 0  #: accounts that were as their line says already
    bad: int = 0
    problems: list[Problem] = field(default_factory=list)
    error: str = ""  #: why it failed as a whole
    ended_at: datetime | None = None

    def note(self, problem: Problem) -> None:
        self.bad += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


class Heading:
    """
    The columns of a file.

    :param versions: there must be a column ``version`` with a number in each line; otherwise one is ignored.
    :param original_ids: the same of ``id``; owners, companies, payers and partners are named by such ids.
    :raise BadRequest: an unknown column, one twice, no ``username``; each named.
    """

    def __init__(self, cells: Iterable[str], *, versions: bool = False, original_ids: bool = False) -> None:
        self._versions = versions
        self._original_ids = original_ids
        self.names = [cell.strip() for cell in cells]
        self.fields: list[Field | None] = []
        problems = []
        for name in self.names:
            try:
                self.fields.append(None if name.lower() in NOT_KEPT else field_of(name))
            except BadRequest as wrong:
                hint = "; want commas between columns" if ";" in name or "\t" in name else ""
                problems.append(f"line 1, column {name or '(empty)'}: {wrong}{hint}")
        known = [one.name for one in self.fields if one is not None]
        problems += [
            f"line 1, column {name}: is there twice" for name in dict.fromkeys(known) if known.count(name) > 1
        ]
        if "username" not in known:
            problems.append("line 1: there is no column username")
        for name in ["version"] * versions + ["id"] * original_ids:
            if name not in known:
                problems.append(f"line 1: there is no column {name}")
        if problems:
            raise BadRequest("\n".join(problems))

    def line(self, number: int, cells: list[str]) -> tuple[ImportLine | None, list[Problem]]:
        """The values of a line, or everything that is wrong with it."""
        if len(cells) != len(self.names):
            return None, [Problem(number, "", f"has {len(cells)} cells, the heading {len(self.names)}")]
        if problems := [
            Problem(number, name, "is no text in UTF-8")
            for name, cell in zip(self.names, cells, strict=True)
            if _NOT_UTF8.search(cell)
        ]:
            return None, problems
        line = _Cells()
        for name, one, cell in zip(self.names, self.fields, cells, strict=True):
            try:
                if one is not None:
                    self._read(line, one, cell)
            except BadRequest as wrong:
                problems.append(Problem(number, name, str(wrong).partition(": ")[2]))
        if not line.username:
            problems.append(Problem(number, "username", "is empty"))
        if problems:
            return None, problems
        return ImportLine(
            number, line.username, line.password, line.values, line.version, line.original_id, line.originals
        ), []

    def _read(self, line: "_Cells", one: Field, cell: str) -> None:
        """:raise BadRequest: after the name of the field, what it wants."""
        if one.name == "username":
            line.username = cell.strip()
        elif one.name == "password":
            line.password = cell
        elif one.name == "version" and self._versions:
            line.version = _whole(one, cell, "the version of the account")
        elif one.name == "id" and self._original_ids:
            line.original_id = _whole(one, cell, "the id by which other lines name the account")
        elif cell.strip() and one.changed_by != SERVER:  # an export can be imported again
            value = _value(one, cell)
            if self._original_ids and one.kind in (ACCOUNT, PARTNERS):
                _read_named(line, one, cell, value)
            else:
                line.values[one.name] = value

    def identity(self, cells: list[str]) -> tuple[int, str] | None:
        """With ``original_ids``: id and username of a line; ``None``: it is a bad one."""
        if len(cells) != len(self.names):
            return None
        found = {one.name: cell.strip() for one, cell in zip(self.fields, cells, strict=True) if one}
        if not _WHOLE.fullmatch(found["id"]) or _NOT_UTF8.search(found["username"]):
            return None
        return int(found["id"]), found["username"]


@dataclass(slots=True)
class _Cells:
    """What a line has been found to say so far."""

    username: str = ""
    password: str = ""
    version: int | None = None
    original_id: int = 0
    values: dict[str, Value] = field(default_factory=dict)
    originals: dict[str, str] = field(default_factory=dict)


def _read_named(line: _Cells, one: Field, cell: str, value: Value) -> None:
    """A field that names accounts by their ids in the file; 0 is none, groups are named as ever."""
    if cell.strip() == "0":
        line.values[one.name] = None if one.kind is ACCOUNT else ""
    elif "#" in cell or (one.kind is ACCOUNT and value is not None and not ids_among([cell])):
        raise BadRequest(f"{one.name}: want an id as the column ID has it, or 0 for none; got {cell[:80]!r}")
    elif ids_among([cell]):
        line.originals[one.name] = cell
    else:
        line.values[one.name] = value


def _whole(one: Field, cell: str, wanted: str) -> int:
    if not _WHOLE.fullmatch(cell.strip()):
        raise BadRequest(f"{one.name}: want {wanted}")
    return int(cell)


def is_original_id(item: str) -> bool:
    """Is this item of a list an id of the file? Otherwise it is a name."""
    return _WHOLE.fullmatch(item) is not None


def ids_among(cells: Iterable[str]) -> set[int]:
    """The ids of the file in cells."""
    items = (item.strip() for cell in cells for item in cell.split(","))
    return {int(item) for item in items if is_original_id(item)}


def _value(one: Field, cell: str) -> Value:
    """:raise BadRequest: whatever is wrong with the cell: it costs its line, not those after it."""
    try:
        return one.parse(cell)
    except BadRequest:
        raise
    except Exception as fault:  # of ours
        kind = type(fault).__name__
        raise BadRequest(f"{one.name}: this cannot be read, by a fault of the server ({kind})") from fault


def rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """
    Line number and cells of each line of a file that is not empty.

    :raise BadRequest: quotes that do not match, a line too long.
    """
    reader = csv.reader(lines, strict=True)
    try:
        before = 0
        for cells in reader:
            number, before = before + 1, reader.line_num
            if cells and any(cells):
                yield number, cells
    except csv.Error as wrong:
        raise BadRequest(f"line {reader.line_num}: {wrong}") from None


class LineSet:
    """Numbers of lines, one bit each, so that a long file needs no more than a little of memory."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        return number >> 3 < len(self._bits) and bool(self._bits[number >> 3] & 1 << (number & 7))

    def add(self, number: int) -> None:
        """One that is not in it yet."""
        if number >> 3 >= len(self._bits):
            self._bits.extend(bytes((number >> 3) + 1 - len(self._bits)))
        self._bits[number >> 3] |= 1 << (number & 7)
        self._count += 1
