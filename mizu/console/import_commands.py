"""``import``, ``import status``, ``import cancel``, ``export``."""

import re
import shlex
from typing import Any, NamedTuple

from mizu.accounts.bulk import ImportJob, ImportOrder, file_name
from mizu.console.account_services import Imports
from mizu.console.arguments import DURATION, FLAG, TEXT, Argument, Kind, integer
from mizu.console.auditing import DONE
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import plural
from mizu.errors import BadRequest
from mizu.model import AuditEntry, Change

_WAIT_MAX_S = 25.0  #: clients give up on an answer a little later
_PROBLEMS_SHOWN = 50
_SENT = re.compile(r"(uploads/[0-9a-f]{32}\.csv)(?::(.*))?\Z", re.DOTALL)


class ImportFile(NamedTuple):
    """A file to import. As text it is what people call it."""

    name: str
    sent: str = ""  #: it was sent, and lies there in the import directory

    def __str__(self) -> str:
        return self.name


def import_file(word: str) -> ImportFile:
    """A name in the import directory; or where the API put a file that was sent, ``:`` and its name."""
    found = _SENT.match(word)
    if found:
        return ImportFile(file_name(found[2] or ""), found[1])
    return ImportFile(str(TEXT.convert(word)))


FILE = Kind("file", import_file, TEXT.schema)


def shown(job: ImportJob) -> dict[str, Any]:
    """An import as JSON."""
    return {
        "number": job.number,
        "file": job.order.file,
        "dry_run": job.order.dry_run,
        "whole": job.order.whole,
        "update": job.order.update,
        "original_ids": job.order.original_ids,
        "template": job.order.template,
        "by": job.by,
        "state": job.state,
        "error": job.error,
        "begun_at": job.begun_at.isoformat(),
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
        "read_bytes": job.read_bytes,
        "total_bytes": job.total_bytes,
        "lines": job.lines,
        "added": job.added,
        "changed": job.changed,
        "same": job.same,
        "bad": job.bad,
        "more_problems": job.bad > len(job.problems),
        "problems": [{"line": one.line, "column": one.column, "text": one.text} for one in job.problems],
    }


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    if services.imports is None:
        return ()
    own = _ImportCommands(services.imports, noted=services.audit is not None)
    return (
        Command(
            name="import",
            help="make accounts from a CSV file",
            permission="accounts.write",
            run=own.run,
            arguments=(
                Argument("file", FILE, "name of a .csv file in import/ of the data directory", required=True),
                Argument("dry-run", FLAG, "check everything, change nothing", option=True),
                Argument("whole", FLAG, "all lines or none", option=True),
                Argument(
                    "update", FLAG, "change accounts that are there, by the cells not empty", option=True
                ),
                Argument(
                    "versions",
                    FLAG,
                    "with --update: refuse what was changed since the version in the column 'version'",
                    option=True,
                ),
                Argument(
                    "original-ids",
                    FLAG,
                    "a table of the original: ParentID and the like name accounts by their ID in the file",
                    option=True,
                ),
                Argument("template", TEXT, "account whose settings are the defaults", option=True),
                Argument(
                    "wait", DURATION, "answer at the latest then; it goes on", option=True, default=10.0
                ),
            ),
            details="The first line names fields, as we or the original do; 'username' must be among "
            "them, 'describe' lists all. An empty cell is the default. Bad lines are named with line, column "
            "and reason, and left out. Without a password an account cannot log in until 'passwd' gives one. "
            "With --original-ids the column ID says what ParentID, BillingUserID, BelongsToCompany, "
            "AllowedPartners and prioritypartner mean; 0 is none. "
            "'mizu import --send FILE' sends a file from where you type, and waits until it is imported. "
            "Operators limited to some accounts import files that they send, into what is theirs.",
            examples=("import users.csv --dry-run", "import users.csv --whole --template 1001"),
            changes=True,
            scoped=True,
        ),
        Command(
            name="import status",
            help="how far the last import is, and what was wrong",
            permission="accounts.read",
            run=own.status,
            arguments=(
                Argument("limit", integer(1, 1000), "how many", option=True, default=100),
                Argument("after", integer(0, 2**53), "go on after this number", option=True, default=0),
            ),
            examples=("import status",),
            scoped=True,
        ),
        Command(
            name="import cancel",
            help="stop the import that runs",
            permission="accounts.write",
            run=own.cancel,
            arguments=(Argument("number", integer(1, 2**53), "which; left out: your own"),),
            details="What it has made stays, unless it was to be all or none.",
            examples=("import cancel", "import cancel 3"),
            changes=True,
            scoped=True,
        ),
        Command(
            name="export",
            help="write accounts to a CSV file",
            permission="accounts.read",
            run=own.export,
            arguments=(
                Argument(
                    "file", TEXT, "name of a new .csv file in export/ of the data directory", required=True
                ),
                Argument("prefix", TEXT, "only usernames that begin so", option=True),
            ),
            details="Every field but secrets. To import it again, with --update, copy it to import/.",
            examples=("export all.csv", "export branch.csv --prefix 20"),
            changes=True,
        ),
    )


class _ImportCommands:
    def __init__(self, imports: Imports, *, noted: bool) -> None:
        self._imports = imports
        self._noted = noted  # is there an audit list?

    async def run(self, call: Invocation) -> CommandResult:
        if float(call.values["wait"]) > _WAIT_MAX_S:
            raise BadRequest(f"--wait is at most {_WAIT_MAX_S:.0f}s; 'import status' shows how it goes on")
        if call.flag("versions") and not call.flag("update"):
            raise BadRequest("--versions is about accounts that are there: it goes with --update")
        file: ImportFile = call.values["file"]
        order = ImportOrder(
            file=file.name,
            sent=file.sent,
            dry_run=call.flag("dry-run"),
            whole=call.flag("whole"),
            update=call.flag("update"),
            versions=call.flag("versions"),
            original_ids=call.flag("original-ids"),
            template=call.text("template"),
        )
        line = f"import {shlex.quote(order.file)}"
        entry = AuditEntry(call.operator, "import", line, DONE) if self._noted else None
        job = self._imports.start(order, call.operator, entry)
        await self._imports.wait(job, float(call.values["wait"]))
        result = shown(job)
        noted = {name: value for name, value in result.items() if name != "problems"}
        return CommandResult(
            _lines(job), {"import": result}, (Change("import", str(job.number), None, noted),)
        )

    async def status(self, call: Invocation) -> CommandResult:
        jobs = self._imports.jobs(call.operator.scope_account_id)
        if not jobs:
            return CommandResult(["no imports since the server started"], {"imports": [], "more": False})
        limit = call.number("limit")
        some = [job for job in jobs if job.number > call.number("after")]
        imports = [shown(job) for job in some[:limit]]
        return CommandResult(_lines(jobs[-1]), {"imports": imports, "more": len(some) > limit})

    async def cancel(self, call: Invocation) -> CommandResult:
        number = call.values["number"]
        job = self._imports.cancel(call.operator.scope_account_id, None if number is None else int(number))
        change = Change("import", str(job.number), {"state": "running"}, {"state": "cancelled"})
        return CommandResult(
            [f"import {job.number} stops after its batch"], {"import": shown(job)}, (change,)
        )

    async def export(self, call: Invocation) -> CommandResult:
        name = call.text("file")
        count = await self._imports.export(name, call.text("prefix"), call.operator.scope_account_id)
        result = {"file": name, "accounts": count}
        return CommandResult(
            [f"{plural(count, 'account')} written to export/{name}"],
            result,
            (Change("export", name, None, result),),
        )


def _lines(job: ImportJob) -> list[str]:
    order = job.order
    kind = " (dry run: nothing is changed)" if order.dry_run else " (all or none)" if order.whole else ""
    percent = 100 * job.read_bytes // job.total_bytes if job.total_bytes else 100
    progress = f", {percent}% read" if job.state == "running" else ""
    would = "would be " if order.dry_run else ""
    same = f", {job.same} as they were" if job.same else ""
    made = f"{job.added} {would}added, {job.changed} {would}changed{same}, {job.bad} bad"
    lines = [
        f"import {job.number} of {order.file}{kind}: {job.state}{progress}",
        f"{plural(job.lines, 'line')}: {made}",
    ]
    if job.error:
        lines += job.error.splitlines()
    if order.whole and job.bad and job.state == "done":
        lines.append("nothing was changed, because of the bad lines")
    lines += [str(problem) for problem in job.problems[:_PROBLEMS_SHOWN]]
    if job.bad > _PROBLEMS_SHOWN:
        kept = len(job.problems)
        has = "them" if kept == job.bad else f"{kept:,} of all {job.bad:,}; the others are only counted"
        lines.append(f"... and {job.bad - _PROBLEMS_SHOWN:,} more; 'mizu --json import status' has {has}")
    if job.state == "running":
        lines.append("'import status' shows how it goes on")
    return lines
