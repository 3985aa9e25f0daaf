"""Every command of the table: it explains itself, names a permission, its examples parse, it answers JSON."""

import json
import shlex
from typing import Any

import pytest

from mizu.console.commands import command_table
from mizu.console.table import PERMISSIONS, Command, CommandTable
from mizu.errors import Forbidden
from mizu.model import Operator, Rights
from mizu.testing.console import FakeConsole, binding, call_record, live_call

OWNER = Operator("owner", Rights.GENERAL_ADMIN, "127.0.0.1")
#: what issue 2 promises; more may come, none may go
PROMISED = {
    "help",
    "calls",
    "drop",
    "cdrs",
    "regs",
    "unreg",
    "users",
    "adduser",
    "passwd",
    "deluser",
    "enable",
    "disable",
    "trace",
    "status",
    "version",
    "shutdown",
    "options",
    "options get",
    "options set",
    "options reset",
    "tokens list",
    "tokens add",
    "tokens revoke",
    "audit",
}
CHANGES = {
    "options set",
    "options reset",
    "tokens add",
    "tokens revoke",
    "drop",
    "unreg",
    "adduser",
    "clone",
    "passwd",
    "deluser",
    "enable",
    "disable",
    "move",
    "set",
    "trace",
    "shutdown",
}


def filled() -> CommandTable:
    """Commands over fakes in which the things that the examples name exist."""
    console = FakeConsole()
    console.calls.rows = [live_call("5f0c1d2e9a77" + "0" * 20)]
    console.cdrs.records = [call_record()]
    console.registrations.rows = [binding(contact="sip:1001@192.0.2.7:5060")]
    return command_table(console.services)


COMMANDS = list(filled())
EXAMPLES = [(command.name, example) for command in COMMANDS for example in command.examples]


def test_the_promised_commands_are_there():
    """A command that somebody's script uses does not vanish."""
    assert {command.name for command in COMMANDS} >= PROMISED


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_explains_itself(command: Command):
    """One line of help, each argument explained, at least one example, a permission that exists."""
    assert command.help
    assert "\n" not in command.help
    assert command.help[0].islower()
    assert not command.help.endswith(".")
    assert command.permission in PERMISSIONS
    assert all(argument.help for argument in command.arguments)
    assert command.examples
    assert command.changes == (command.name in CHANGES)
    json.dumps(command.described())


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_each_example_is_a_command_line(name: str, example: str):
    """What help shows can be typed."""
    command, _ = filled().parse(example)
    assert command.name == name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
async def test_each_command_answers_lines_and_json(command: Command):
    """Its example, run over a server that has what it names, gives text lines and a JSON result."""
    table = filled()
    needs_it = ("passwd", "deluser", "enable", "disable", "clone", "describe", "get", "move", "set")
    if command.name in needs_it:
        await table.run("adduser 1001", OWNER)
    if command.name == "tokens revoke":
        for _ in range(3):
            await table.run("tokens add alice", OWNER)
    example = command.examples[0]
    done = await table.run(example, OWNER)
    assert done.lines
    assert all(isinstance(line, str) and line.isprintable() for line in done.lines)
    json.dumps(done.result, allow_nan=False)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
async def test_each_command_needs_its_rights(command: Command):
    """One level below is refused, whatever the arguments."""
    needed = PERMISSIONS[command.permission]
    below = [level for level in Rights if level < needed]
    with pytest.raises(Forbidden):
        await filled().run(command.examples[0], Operator("low", max(below)))


def test_changes_need_more_rights_than_reading():
    """Nobody below an administrator changes anything."""
    for command in COMMANDS:
        if command.changes:
            assert PERMISSIONS[command.permission] >= Rights.ADMIN, command.name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
async def test_hostile_arguments_get_an_answer(command: Command):
    """Whatever is typed, the answer is a status with a code and printable lines, never a fault."""
    hostile: list[Any] = [
        "'; DROP TABLE account; --",
        "%",
        "\x00",
        "\u202e1001",
        "٣",
        "9" * 1000,
        "--",
        "../../x",
        "",
    ]
    for word in hostile:
        for line in (f"{command.name} {shlex.quote(word)}", f"{command.name} 1001 {shlex.quote(word)}"):
            status, answer = await filled().answer(line, OWNER)
            assert status < 500, (line, answer)
            assert all(text.isprintable() for text in answer["lines"])
