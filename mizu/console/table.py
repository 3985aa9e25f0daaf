"""The command table: one list of commands for the terminal, for ``POST /console`` and for the JSON API.

It checks the operator's rights, runs the command, makes everything shown harmless and sees that changes are
noted (``mizu.console.auditing``). What the commands do is in ``mizu.console.commands``; who the operator is,
the caller knows.
"""

import difflib
import shlex
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mizu.console.arguments import TEXT, Argument
from mizu.console.auditing import DONE, Auditor, audit_log, presentable
from mizu.console.text import aligned, visible
from mizu.console.words import CommandError, SecretMissing, spoken, values_of_json, values_of_words
from mizu.errors import Forbidden, MizuError, OutcomeUnknown
from mizu.model import AuditEntry, AuditNote, Change, Operator, Rights

__all__ = [
    "LINE_MAX_CHARACTERS",
    "PERMISSIONS",
    "Command",
    "CommandError",
    "CommandResult",
    "CommandTable",
    "Invocation",
    "SecretMissing",
]

LINE_MAX_CHARACTERS = 8192
JSON_USAGE = "/api/v1/openapi.json says what this takes"  #: the hint for programs

#: least rights for each permission that a command may name
PERMISSIONS: Mapping[str, Rights] = {
    "console.help": Rights.LOGIN_ONLY,
    "status.read": Rights.USER,
    "calls.read": Rights.SALES,
    "calls.drop": Rights.ADMIN,
    "registrations.read": Rights.SALES,
    "registrations.write": Rights.ADMIN,
    "accounts.read": Rights.SALES,
    "accounts.write": Rights.ADMIN,
    "keys.rotate": Rights.GENERAL_ADMIN,
    "options.read": Rights.ADMIN,
    "options.write": Rights.GENERAL_ADMIN,
    "tokens.read": Rights.ADMIN,
    "tokens.write": Rights.ADMIN,
    "audit.read": Rights.ADMIN,
    "guard.read": Rights.SALES,
    "guard.write": Rights.ADMIN,
    "trace": Rights.ADMIN,
    "server.stop": Rights.GENERAL_ADMIN,
}


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command answers: ``lines`` for people, ``result`` (JSON) with exact values for programs."""

    lines: Sequence[str]
    result: Any = None
    changes: Sequence[Change] = ()  #: what it changed, before and after, for the audit list


@dataclass(frozen=True, slots=True)
class Invocation:
    """A parsed command line: the values by argument name, and who gave it."""

    operator: Operator
    values: Mapping[str, Any] = field(repr=False)  # may hold a password
    entry: AuditEntry | None = None  #: of what it changes, when that is noted with the change itself
    noted: list[bool] = field(default_factory=list)  #: one for each transaction that kept the entry

    def note(self, changes_of: Callable[[Any], Sequence[Change]]) -> AuditNote | None:
        """
        For a store: the entry of the audit list that it commits with the change.

        :param changes_of: what was changed, before and after, of what the store answers; pure.
        """
        if self.entry is None:
            return None
        return AuditNote(
            self.entry, lambda result: presentable(changes_of(result)), lambda: self.noted.append(True)
        )

    def text(self, name: str) -> str:
        """A text argument; empty when it was left out."""
        value = self.values[name]
        return "" if value is None else str(value)

    def number(self, name: str) -> int:
        return int(self.values[name])

    def many(self, name: str) -> list[Any]:
        """The words of an argument that takes many; empty when there are none."""
        return list(self.values[name] or ())

    def flag(self, name: str) -> bool:
        return bool(self.values[name])


@dataclass(frozen=True, slots=True)
class Command:
    """One command. ``name`` may be several words (``whitelist add``)."""

    name: str
    help: str  #: one line
    permission: str  #: a key of ``PERMISSIONS``
    run: Callable[[Invocation], Awaitable[CommandResult]]
    arguments: tuple[Argument, ...] = ()
    details: str = ""  #: more help; may have several lines
    examples: tuple[str, ...] = ()  #: whole command lines; the tests parse them
    changes: bool = False  #: noted in the audit list
    atomic: bool = False  #: the store gets ``Invocation.note`` and commits change and entry together
    emergency: bool = False  #: carried out also when the audit list cannot be written
    scoped: bool = False  #: heeds ``Operator.scope_account_id``; others are refused to such operators

    def allows(self, operator: Operator) -> bool:
        """May this operator give the command at all?"""
        if operator.scope_account_id is not None and not self.scoped:
            return False
        return operator.rights >= PERMISSIONS[self.permission]

    @property
    def usage(self) -> str:
        return " ".join((self.name, *(argument.shown() for argument in self.arguments)))

    def described(self) -> dict[str, Any]:
        """For clients: JSON."""
        return {
            "name": self.name,
            "usage": self.usage,
            "help": self.help,
            "details": self.details,
            "permission": self.permission,
            "rights": int(PERMISSIONS[self.permission]),
            "changes": self.changes,
            "arguments": [argument.described() for argument in self.arguments],
            "examples": list(self.examples),
        }


class CommandTable:
    """All commands by name. ``help`` is there from the beginning."""

    def __init__(self, commands: Iterable[Command] = (), *, auditor: Auditor | None = None) -> None:
        self._commands: dict[str, Command] = {}
        self._auditor = auditor or Auditor()
        self.add(_help_command(self))
        for command in commands:
            self.add(command)

    def add(self, command: Command) -> None:
        """:raise ValueError: the name is taken, or the permission or the arguments make no sense."""
        if command.name in self._commands:
            raise ValueError(f"command {command.name!r} is there already")
        if command.permission not in PERMISSIONS:
            raise ValueError(f"command {command.name!r}: no such permission {command.permission!r}")
        places = [argument for argument in command.arguments if not argument.option]
        if [a.required for a in places] != sorted((a.required for a in places), reverse=True):
            raise ValueError(f"command {command.name!r}: a required argument after an optional one")
        if any(a.many and (a.option or a is not places[-1]) for a in command.arguments):
            raise ValueError(f"command {command.name!r}: only the last argument by place takes many")
        if command.atomic and (command.emergency or not command.changes):
            raise ValueError(f"command {command.name!r}: what is atomic changes the database, which is there")
        if any(a.secret and a.required for a in command.arguments if a.option or a is not places[-1]):
            raise ValueError(f"command {command.name!r}: a required secret is the last argument, by place")
        self._commands[command.name] = command

    def __iter__(self) -> Iterator[Command]:
        return iter(sorted(self._commands.values(), key=lambda command: command.name))

    def __len__(self) -> int:
        return len(self._commands)

    def table(self) -> "CommandTable":
        """Itself: what stands for it while the server starts has no table yet."""
        return self

    def get(self, name: str) -> Command | None:
        return self._commands.get(name)

    def parse(self, line: str) -> tuple[Command, dict[str, Any]]:
        """
        Find the command and convert its arguments. Words are quoted as in a shell; nothing is abbreviated.

        :raise CommandError: what is wrong, with the nearest command or the usage as hint.
        :raise SecretMissing: only a secret is missing.
        """
        if len(line) > LINE_MAX_CHARACTERS:
            raise CommandError(f"a command has at most {LINE_MAX_CHARACTERS} characters")
        try:
            words = shlex.split(line)
        except ValueError as wrong:
            raise CommandError(f"quotes do not match: {wrong}") from None
        if not words:
            raise CommandError("no command", "'help' lists the commands")
        command, rest = self.find(words)
        return command, values_of_words(command.arguments, rest, f"usage: {command.usage}")

    async def run(self, line: str, operator: Operator) -> CommandResult:
        """
        Parse and run one line for this operator.

        :raise MizuError: wrong line, not allowed, or whatever the command refuses with.
        """
        return await self._run(*self.parse(line), operator)

    async def answer(self, line: str, operator: Operator) -> tuple[int, dict[str, Any]]:
        """
        Run one line and put whatever comes of it into the answer of ``POST /console``.

        :return: HTTP status, and ``{"ok", "error", "lines", "result"}``; ``argument`` names a secret that is
            missing. Raises nothing but cancellation.
        """
        return await self._answered(lambda: self.parse(line), operator)

    async def answer_call(
        self, command: Command, given: Mapping[str, Any], operator: Operator
    ) -> tuple[int, dict[str, Any]]:
        """Run a command with arguments from JSON; the answer is that of :meth:`answer`."""
        return await self._answered(
            lambda: (command, values_of_json(command.arguments, given, JSON_USAGE)), operator
        )

    async def _answered(
        self, parse: Callable[[], tuple[Command, dict[str, Any]]], operator: Operator
    ) -> tuple[int, dict[str, Any]]:
        try:
            done = await self._run(*parse(), operator)
        except MizuError as refused:
            hint = getattr(refused, "hint", "")
            lines = [visible(text) for text in (*str(refused).splitlines(), hint) if text]
            answer = {"ok": False, "error": refused.code, "lines": lines or [refused.code], "result": None}
            if isinstance(refused, SecretMissing):
                answer["argument"] = refused.argument
            return refused.http_status, answer
        except Exception:  # a fault of ours: the operator learns that, the log learns why
            audit_log.failure("a console command failed")
            text = "internal error; the server's log has the details"
            return 500, {"ok": False, "error": "internal", "lines": [text], "result": None}
        return 200, {"ok": True, "error": "", "lines": list(done.lines), "result": done.result}

    async def _run(self, command: Command, values: dict[str, Any], operator: Operator) -> CommandResult:
        """The one way to every command: rights, scope, audit."""
        reason = ""
        if operator.rights < PERMISSIONS[command.permission]:
            reason = f"{command.name!r} needs the right {command.permission!r}"
        elif operator.scope_account_id is not None and not command.scoped:
            reason = f"{command.name!r} is not for operators who are limited to some accounts"
        if reason:
            if command.changes:
                line = spoken(command.name, command.arguments, values)
                await self._auditor.refused(operator, command.name, line, Forbidden.code)
            raise Forbidden(reason)
        call = Invocation(operator, values)
        run = self._change_atomically if command.atomic else self._change if command.changes else None
        done = await (run(command, call) if run is not None else command.run(call))
        return CommandResult([visible(line) for line in done.lines], done.result, done.changes)

    async def _change(self, command: Command, call: Invocation) -> CommandResult:
        """Run a command between the two halves of its entry in the audit list."""
        operator, line = call.operator, spoken(command.name, command.arguments, call.values)
        number = await self._auditor.begin(operator, command.name, line, emergency=command.emergency)
        outcome = DONE
        changes: Sequence[Change] = ()
        try:
            done = await command.run(call)
            changes = done.changes
        except MizuError as refused:
            outcome = refused.code
            raise
        except BaseException as broken:
            outcome = type(broken).__name__
            raise
        finally:
            await self._auditor.finish(number, operator, command.name, line, outcome, changes)
        return done

    async def _change_atomically(self, command: Command, call: Invocation) -> CommandResult:
        """Run a command whose store keeps the entry of the audit list, in the transaction of the change."""
        operator, line = call.operator, spoken(command.name, command.arguments, call.values)
        call = replace(call, entry=self._auditor.entry(operator, command.name, line))
        try:
            done = await command.run(call)
        except OutcomeUnknown as unknown:
            self._auditor.doubtful(operator, command.name, line, unknown)
            raise
        except BaseException as failed:
            outcome = failed.code if isinstance(failed, MizuError) else type(failed).__name__
            await self._auditor.refused(operator, command.name, line, outcome)
            raise
        await self._auditor.done(operator, command.name, line, done.changes, noted=bool(call.noted))
        return done

    def find(self, words: list[str]) -> tuple[Command, list[str]]:
        """The command that ``words`` begin with, and the rest. :raise CommandError: names the nearest."""
        longest = max((name.count(" ") for name in self._commands), default=0) + 1
        for count in range(min(longest, len(words)), 0, -1):
            command = self._commands.get(" ".join(words[:count]))
            if command:
                return command, words[count:]
        first = words[0]
        family = sorted(name for name in self._commands if name.startswith(first + " "))
        if family:
            raise CommandError(f"{first!r} needs one word more", "one of: " + ", ".join(family))
        raise CommandError(f"no command {first[:60]!r}", self._nearest(words))

    def _nearest(self, words: list[str]) -> str:
        """A hint for what begins like no command."""
        first = words[0]
        firsts = {name.partition(" ")[0]: name for name in self._commands}
        near = difflib.get_close_matches(first, firsts, n=1, cutoff=0.5) or sorted(
            name for name in firsts if name.startswith(first)
        )
        if not near:
            return "'help' lists the commands"
        whole = " ".join((near[0], *words[1:2]))
        for name in (whole, near[0]):
            if name in self._commands:
                return f"did you mean {name!r}?"
        family = sorted(name for name in self._commands if name.startswith(near[0] + " "))
        return f"did you mean one of: {', '.join(family)}?"


def _help_command(table: CommandTable) -> Command:
    async def run(call: Invocation) -> CommandResult:
        wanted = " ".join(word for word in (call.text("command"), call.text("word")) if word)
        if not wanted:
            mine = [c for c in table if c.allows(call.operator)]
            lines = aligned(("COMMAND", "WHAT IT DOES"), [(c.name, c.help) for c in mine])
            return CommandResult(
                [*lines, "", "'help <command>' says more, with arguments and examples."],
                [c.described() for c in mine],
            )
        command = table.get(wanted)
        if command is None:
            command, _ = table.find(wanted.split() or [wanted])
        return CommandResult(_explained(command), command.described())

    return Command(
        name="help",
        help="list the commands, or explain one",
        permission="console.help",
        run=run,
        arguments=(
            Argument("command", TEXT, "the command to explain"),
            Argument("word", TEXT, "its second word, if it has one"),
        ),
        examples=("help", "help adduser"),
        scoped=True,
    )


def _explained(command: Command) -> list[str]:
    lines = [f"usage: {command.usage}", "", command.help[:1].upper() + command.help[1:] + "."]
    if command.details:
        lines += ["", *command.details.strip().splitlines()]
    if command.arguments:
        rows = []
        for argument in command.arguments:
            default = "" if argument.default in (None, False, "") else f" (default {argument.default})"
            rows.append((argument.shown(), argument.help + default))
        lines += ["", *aligned(("ARGUMENT", "MEANING"), rows)]
    if command.examples:
        lines += ["", "examples:", *(f"  {example}" for example in command.examples)]
    return lines
