"""The command table: finding a command, its arguments, rights, the audit log."""

from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from mizu.console.arguments import DURATION, FLAG, SECRET, TEXT, Argument, choice, integer
from mizu.console.table import Command, CommandError, CommandResult, CommandTable, Invocation, SecretMissing
from mizu.errors import BadRequest, Forbidden, StoreBusy
from mizu.model import Operator, Rights

OWNER = Operator("alice", Rights.GENERAL_ADMIN, "127.0.0.1")


async def echo(call: Invocation) -> CommandResult:
    return CommandResult([str(dict(call.values))], dict(call.values))


def table_of(*commands: Command) -> CommandTable:
    return CommandTable(commands)


BAN = Command(
    name="ban",
    help="shut somebody out",
    permission="accounts.write",
    run=echo,
    arguments=(
        Argument("address", TEXT, "whom", required=True),
        Argument("time", DURATION, "how long", default=300.0),
        Argument("how", choice("drop", "refuse"), "what happens", option=True, default="drop"),
        Argument("limit", integer(1, 10), "how many", option=True),
        Argument("now", FLAG, "at once", option=True, default=False),
    ),
    changes=True,
)
PASS = Command(
    name="passwd",
    help="change it",
    permission="accounts.write",
    run=echo,
    arguments=(
        Argument("user", TEXT, "who", required=True),
        Argument("secret", SECRET, "what", required=True),
    ),
    changes=True,
)
LIST_ADD = Command(
    name="list add",
    help="add",
    permission="accounts.write",
    run=echo,
    arguments=(Argument("a", TEXT, "what", required=True),),
)
LIST_DEL = Command(name="list del", help="take away", permission="accounts.write", run=echo)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "ban 192.0.2.1",
            {"address": "192.0.2.1", "time": 300.0, "how": "drop", "limit": None, "now": False},
        ),
        ("ban 192.0.2.1 2h", {"time": 7200.0}),
        ("ban --how refuse 192.0.2.1", {"how": "refuse", "address": "192.0.2.1"}),
        ("ban --how=refuse 192.0.2.1 --limit 10 --now", {"how": "refuse", "limit": 10, "now": True}),
        ("ban 'a b' 30s", {"address": "a b", "time": 30.0}),
        ('ban "it\'s" ', {"address": "it's"}),
        ("ban -- --odd", {"address": "--odd"}),
        ("ban --now -- --odd 1d", {"address": "--odd", "time": 86400.0, "now": True}),
        ("  ban   x  ", {"address": "x"}),
    ],
)
def test_words_become_values(line: str, expected: dict[str, Any]):
    """Places, options in any order, --option=value, shell quotes and -- all work as in a shell."""
    command, values = table_of(BAN).parse(line)
    assert command is BAN
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "text", "hint"),
    [
        ("bam 192.0.2.1", "no command 'bam'", "did you mean 'ban'?"),
        ("ba 192.0.2.1", "no command 'ba'", "did you mean 'ban'?"),
        ("frobnicate", "no command 'frobnicate'", "'help' lists the commands"),
        ("", "no command", "'help' lists the commands"),
        ("ban", "<address> is missing", "usage: ban <address> [time]"),
        ("ban a 1s b", "one argument too many: 'b'", "usage: ban"),
        ("ban a soon", "<time>: want a duration such as 30s, 10m, 2h or 1d, got 'soon'", "usage: ban"),
        ("ban a --limit 11", "--limit: want a whole number from 1 to 10, got '11'", "usage: ban"),
        ("ban a --limit ٣", "--limit: want a whole number from 1 to 10", "usage: ban"),
        ("ban a --limit", "--limit needs a value", "usage: ban"),
        ("ban a --limt 3", "no option --limt", "did you mean --limit?"),
        ("ban a --how hard", "--how: want one of drop, refuse, got 'hard'", "usage: ban"),
        ("ban a --now=1", "--now takes no value", "usage: ban"),
        ("ban a --limit 1 --limit 2", "--limit is there twice", "usage: ban"),
        ("ban 'a", "quotes do not match", ""),
        ("ban " + "x" * 9000, "at most 8192 characters", ""),
        ("list", "'list' needs one word more", "one of: list add, list del"),
        ("lsit add x", "no command 'lsit'", "did you mean 'list add'?"),
        ("lsit", "no command 'lsit'", "did you mean one of: list add, list del?"),
        ("list ad x", "'list' needs one word more", "one of: list add, list del"),
    ],
)
def test_a_wrong_line_says_what_is_wrong_and_how_it_is_used(line: str, text: str, hint: str):
    """Nothing is guessed: an abbreviation or a typing error is answered with the nearest command."""
    with pytest.raises(CommandError) as caught:
        table_of(BAN, LIST_ADD, LIST_DEL).parse(line)
    assert text in str(caught.value)
    assert hint in caught.value.hint


def test_a_name_may_have_two_words():
    """``list add x`` is the command ``list add`` with one argument."""
    command, values = table_of(LIST_ADD, LIST_DEL).parse("list add x")
    assert command is LIST_ADD
    assert values == {"a": "x"}


def test_a_missing_secret_is_told_apart():
    """A client learns that only the password is missing, and can ask for it; other gaps are plain errors."""
    with pytest.raises(SecretMissing) as caught:
        table_of(PASS).parse("passwd 1001")
    assert caught.value.argument == "secret"
    with pytest.raises(CommandError) as plain:
        table_of(PASS).parse("passwd")
    assert not isinstance(plain.value, SecretMissing)


def test_a_refused_secret_is_not_repeated():
    """E3: the error about a bad password does not contain it."""
    with pytest.raises(BadRequest) as caught:
        table_of(PASS).parse("passwd 1001 'hunter2\x07'")
    assert "hunter2" not in str(caught.value)


async def test_rights_are_checked_before_anything_runs():
    """An operator below the permission's level is refused, and the attempt is in the audit log."""
    clerk = Operator("bob", Rights.SALES, "192.0.2.9")
    with pytest.raises(Forbidden, match=r"accounts\.write"):
        await table_of(BAN).run("ban 192.0.2.1", clerk)


async def test_help_lists_only_what_the_operator_may_do():
    """``help`` for somebody with no rights shows no command that would be refused."""
    table = table_of(BAN)
    everything = (await table.run("help", OWNER)).result
    little = (await table.run("help", Operator("x", Rights.LOGIN_ONLY))).result
    assert [c["name"] for c in everything] == ["ban", "help"]
    assert [c["name"] for c in little] == ["help"]


async def test_help_explains_a_command_and_suggests_another_for_a_wrong_name():
    """``help ban`` has usage, arguments and defaults."""
    lines = (await table_of(BAN).run("help ban", OWNER)).lines
    assert lines[0] == "usage: ban <address> [time] [--how HOW] [--limit N] [--now]"
    assert any("default 300.0" in line for line in lines)
    with pytest.raises(CommandError) as caught:
        await table_of(BAN).run("help bann", OWNER)
    assert caught.value.hint == "did you mean 'ban'?"


@pytest.mark.parametrize("outcome", ["ok", "store_busy", "forbidden"])
async def test_changes_are_in_the_audit_log_without_secrets(outcome: str):
    """E3: who, from where, what and how it ended; a password is three stars."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)

    async def run(call: Invocation) -> CommandResult:
        if outcome == "store_busy":
            raise StoreBusy("down")
        return CommandResult([])

    command = Command("passwd", "h", "accounts.write", run, PASS.arguments, changes=True)
    rights = Rights.USER if outcome == "forbidden" else Rights.ADMIN
    try:
        await table_of(command).answer(
            "passwd 1001 hunter2hunter2", Operator("eve\x1b[2J", rights, "192.0.2.7")
        )
    finally:
        globalLogPublisher.removeObserver(events.append)
    [event] = [e for e in events if e["log_namespace"] == "mizu.audit"]
    assert event["who"] == "eve\\x1b[2J"
    assert event["source"] == "192.0.2.7"
    assert event["command"] == "passwd 1001 ***"
    assert event["outcome"] == outcome
    assert "hunter2" not in repr(events)


async def test_e1_what_comes_from_sip_cannot_touch_the_terminal():
    """E1: escapes, line ends, bidi overrides are spelled out in the lines, exact in the JSON result."""
    evil = "a\x1b[31m\r\nb\u202e\x9bc"

    async def run(call: Invocation) -> CommandResult:
        return CommandResult([evil], {"agent": evil})

    done = await table_of(Command("x", "h", "status.read", run)).run("x", OWNER)
    assert done.lines == ["a\\x1b[31m\\x0d\\x0ab\\u202e\\x9bc"]
    assert done.result == {"agent": evil}


async def test_a_fault_of_ours_is_logged_and_not_shown(clean_reactor: list[Any]):
    """The operator learns that it failed; the traceback is in the log only."""

    async def run(call: Invocation) -> CommandResult:
        raise ZeroDivisionError("inside")

    status, answer = await table_of(Command("x", "h", "status.read", run)).answer("x", OWNER)
    assert status == 500
    assert answer["error"] == "internal"
    assert "inside" not in str(answer)
    assert isinstance(clean_reactor.pop().value, ZeroDivisionError)


@pytest.mark.parametrize(
    "wrong",
    [
        Command("help", "taken", "status.read", echo),
        Command("x", "h", "no.such.permission", echo),
        Command(
            "x", "h", "status.read", echo, (Argument("a", TEXT, ""), Argument("b", TEXT, "", required=True))
        ),
        Command("x", "h", "status.read", echo, (Argument("p", SECRET, "", option=True, required=True),)),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_at_start(wrong: Command):
    """A taken name, an unknown permission or unusable arguments are found when the table is built."""
    with pytest.raises(ValueError, match=r"command '(help|x)'"):
        table_of(wrong)
