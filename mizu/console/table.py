"""The command table: one list of commands for the terminal, for ``POST /console`` and for the JSON API.

It parses a line, checks the operator's rights, runs the command, makes everything shown harmless and writes
the audit log. What the commands do is in ``mizu.console.commands``; who the operator is, the caller knows.
"""

import difflib
import shlex
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.logger import Logger

from mizu.console.arguments import FLAG, TEXT, Argument
from mizu.console.text import aligned, visible
from mizu.errors import BadRequest, Forbidden, MizuError
from mizu.model import Change, Operator, Rights

LINE_MAX_CHARACTERS = 8192

audit_log = Logger(namespace="mizu.audit")  #: every change: who, from where, what, how it ended

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
    "trace": Rights.ADMIN,
    "server.stop": Rights.GENERAL_ADMIN,
}


class CommandError(BadRequest):
    """The line is not a command, or its arguments are wrong; ``hint`` says how it is used."""

    code = "usage"

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class SecretMissing(CommandError):
    """A secret argument was left out: an interactive client asks for it without showing it."""

    code = "secret_missing"

    def __init__(self, argument: str, hint: str) -> None:
        super().__init__(f"<{argument}> is missing", hint)
        self.argument = argument


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command answers: ``lines`` for people, ``result`` (JSON) with exact values for programs."""

    lines: Sequence[str]
    result: Any = None
    changes: Sequence[Change] = ()  #: what it changed, before and after, for the audit record


@dataclass(frozen=True, slots=True)
class Invocation:
    """A parsed command line: the values by argument name, and who gave it."""

    operator: Operator
    values: Mapping[str, Any] = field(repr=False)  # may hold a password

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
    changes: bool = False  #: written to the audit log
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

    def __init__(self, commands: Iterable[Command] = ()) -> None:
        self._commands: dict[str, Command] = {}
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
        if any(a.secret and a.required for a in command.arguments if a.option or a is not places[-1]):
            raise ValueError(f"command {command.name!r}: a required secret is the last argument, by place")
        self._commands[command.name] = command

    def __iter__(self) -> Iterator[Command]:
        return iter(sorted(self._commands.values(), key=lambda command: command.name))

    def __len__(self) -> int:
        return len(self._commands)

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
        return command, _values(command, rest)

    async def run(self, line: str, operator: Operator) -> CommandResult:
        """
        Parse and run one line for this operator.

        :raise MizuError: wrong line, not allowed, or whatever the command refuses with.
        """
        command, values = self.parse(line)
        if operator.rights < PERMISSIONS[command.permission]:
            self._audit(command, values, operator, "forbidden")
            raise Forbidden(f"{command.name!r} needs the right {command.permission!r}")
        if operator.scope_account_id is not None and not command.scoped:
            self._audit(command, values, operator, "forbidden")
            raise Forbidden(f"{command.name!r} is not for operators who are limited to some accounts")
        try:
            answer = await command.run(Invocation(operator, values))
        except MizuError as refused:
            self._audit(command, values, operator, refused.code)
            raise
        except BaseException as broken:
            self._audit(command, values, operator, type(broken).__name__)
            raise
        self._audit(command, values, operator, "ok")
        return CommandResult([visible(line) for line in answer.lines], answer.result, answer.changes)

    async def answer(self, line: str, operator: Operator) -> tuple[int, dict[str, Any]]:
        """
        Run one line and put whatever comes of it into the answer of ``POST /console``.

        :return: HTTP status, and ``{"ok", "error", "lines", "result"}``; ``argument`` names a secret that is
            missing. Raises nothing but cancellation.
        """
        try:
            done = await self.run(line, operator)
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
        near = difflib.get_close_matches(first, self._commands, n=1, cutoff=0.5) or sorted(
            name for name in self._commands if name.startswith(first)
        )
        hint = f"did you mean {near[0]!r}?" if near else "'help' lists the commands"
        raise CommandError(f"no command {first[:60]!r}", hint)

    def _audit(self, command: Command, values: Mapping[str, Any], operator: Operator, outcome: str) -> None:
        if command.changes:
            audit_log.info(
                "{who} from {source}: {command} -> {outcome}",
                who=visible(operator.name),
                source=visible(operator.source or "-"),
                command=visible(spoken(command, values)),
                outcome=outcome,
            )


def spoken(command: Command, values: Mapping[str, Any]) -> str:
    """The command line again from parsed values, secrets as ``***``; for logs."""
    words = [command.name]
    for argument in command.arguments:
        value = values.get(argument.name)
        if value is None or value == argument.default:
            continue
        text = " ".join(map(argument.spoken, value)) if argument.many else argument.spoken(value)
        if not argument.option:
            words.append(text)
        elif argument.kind is FLAG:
            words.append(f"--{argument.name}")
        else:
            words.extend((f"--{argument.name}", text))
    return " ".join(words)


def _values(command: Command, words: list[str]) -> dict[str, Any]:
    usage = f"usage: {command.usage}"
    options = {argument.name: argument for argument in command.arguments if argument.option}
    places = [argument for argument in command.arguments if not argument.option]
    values: dict[str, Any] = {argument.name: argument.default for argument in command.arguments}
    given: set[str] = set()
    waiting, only_places = iter(words), False
    try:
        for word in waiting:
            if word == "--" and not only_places:
                only_places = True
            elif word.startswith("--") and not only_places:
                name, equals, value = word[2:].partition("=")
                argument = _option(options, name)
                if name in given:
                    raise CommandError(f"--{name} is there twice")
                given.add(name)
                values[name] = _option_value(argument, value if equals else None, waiting)
            elif not places:
                raise CommandError(f"one argument too many: {word[:60]!r}")
            else:
                argument = places[0] if places[0].many else places.pop(0)
                converted = argument.convert(word)
                if argument.many:
                    converted = [*(values[argument.name] or ()), converted]
                given.add(argument.name)
                values[argument.name] = converted
    except CommandError as wrong:
        wrong.hint = wrong.hint or usage
        raise
    except BadRequest as wrong:
        raise CommandError(str(wrong), usage) from None
    missing = [a for a in command.arguments if a.required and a.name not in given]
    if missing and all(argument.secret for argument in missing):
        raise SecretMissing(missing[0].name, usage)
    if missing:
        raise CommandError(", ".join(f"<{a.name}>" for a in missing) + " is missing", usage)
    return values


def _option(options: Mapping[str, Argument], name: str) -> Argument:
    if name in options:
        return options[name]
    near = difflib.get_close_matches(name, options, n=1)
    raise CommandError(f"no option --{name[:60]}", f"did you mean --{near[0]}?" if near else "")


def _option_value(argument: Argument, value: str | None, waiting: Iterable[str]) -> Any:
    if argument.kind is FLAG:
        if value is not None:
            raise CommandError(f"--{argument.name} takes no value")
        return True
    if value is None:
        value = next(iter(waiting), None)
    if value is None:
        raise CommandError(f"--{argument.name} needs a value")
    return argument.convert(value)


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
            default = "" if argument.default in (None, False) else f" (default {argument.default})"
            rows.append((argument.shown(), argument.help + default))
        lines += ["", *aligned(("ARGUMENT", "MEANING"), rows)]
    if command.examples:
        lines += ["", "examples:", *(f"  {example}" for example in command.examples)]
    return lines
