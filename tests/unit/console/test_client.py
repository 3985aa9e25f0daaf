"""The terminal client: what it prints, how it ends, what it asks for; the prompt's completion and history."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from mizu.console import client
from mizu.console.client import Show, run_line, run_lines, with_secret
from mizu.console.commands import command_table
from mizu.console.link import Answer
from mizu.console.prompt import CarefulHistory, CommandCompleter, holds_secret
from mizu.model import Operator, Rights
from mizu.testing.console import FakeConsole

COMMANDS = [command.described() for command in command_table(FakeConsole().services)]


class TableLink:
    """The command table without HTTP between."""

    def __init__(self) -> None:
        self.console = FakeConsole()
        self._table = command_table(self.console.services)

    async def run(self, line: str) -> Answer:
        _, answer = await self._table.answer(line, Operator("me", Rights.GENERAL_ADMIN))
        return Answer(
            answer["ok"], answer["lines"], answer["result"], answer["error"], answer.get("argument", "")
        )


async def never(what: str) -> str:
    raise AssertionError(f"asked for {what}")


async def test_lines_go_out_and_errors_go_to_stderr(capsys: pytest.CaptureFixture[str]):
    """Exit code 0 with the lines; 1 with reason and usage on the standard error, nothing on stdout."""
    link: Any = TableLink()
    assert await run_line(link, "adduser 1001 --password 'long enough'", Show(as_json=False), never) == 0
    assert capsys.readouterr().out == "account 1001 added\n"
    assert await run_line(link, "users --limt 3", Show(as_json=False), never) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "mizu: no option --limt\n      did you mean --limit?\n"


async def test_json_is_the_exact_result(capsys: pytest.CaptureFixture[str]):
    """For scripts: ``mizu --json users``."""
    link: Any = TableLink()
    assert await run_line(link, "users", Show(as_json=True), never) == 0
    assert json.loads(capsys.readouterr().out) == {"users": [], "more": False}


async def test_e1_the_client_does_not_trust_the_server_either(capsys: pytest.CaptureFixture[str]):
    """E1: escapes in lines are spelled out here too."""
    Show(as_json=False)(Answer(True, ["\x1b[2J"], None))
    Show(as_json=False)(Answer(False, ["\x1b[2J"], None, "x"))
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err


@pytest.mark.parametrize("secret", ["simple", "with blanks", "it's", "--dashes", '"', "$HOME `x`"])
async def test_a_missing_password_is_asked_for(secret: str):
    """``mizu passwd 1001``: any password survives the way, quotes and dashes too."""
    link: Any = TableLink()
    await link.run("adduser 1001")
    before = link.console.accounts.rows["1001"][1]

    async def ask(what: str) -> str:
        assert what == "password"
        return secret

    assert await run_line(link, "passwd 1001", Show(as_json=False), ask) == 0
    changed = link.console.accounts.rows["1001"][1]
    assert changed != before
    from mizu.console.account_commands import secrets_of

    assert changed == secrets_of("1001", "mizu", secret)
    assert link.console.changed == ["1001", "1001"]


def test_a_line_that_has_dashes_already_gets_no_more():
    """``--`` comes once."""
    assert with_secret("passwd 1001", "a b") == "passwd 1001 -- 'a b'"
    assert with_secret("passwd -- --x", "a") == "passwd -- --x a"


async def test_no_password_at_the_end_of_input(capsys: pytest.CaptureFixture[str]):
    """Nothing is changed when none is given."""
    link: Any = TableLink()

    async def ask(what: str) -> str:
        raise EOFError

    assert await run_line(link, "passwd 1001", Show(as_json=False), ask) == 1
    assert "no password given" in capsys.readouterr().err


async def test_a_file_of_commands_stops_at_the_first_that_fails(capsys: pytest.CaptureFixture[str]):
    """Comments and empty lines are skipped."""
    link: Any = TableLink()
    text = io.StringIO("# phones\nadduser 1001\n\nadduser 1001\nadduser 1002\n")
    assert await run_lines(link, text, Show(as_json=False)) == 1
    assert sorted(link.console.accounts.rows) == ["1001"]


def completions(text: str) -> set[str]:
    completer = CommandCompleter(COMMANDS)
    return {c.text for c in completer.get_completions(Document(text), CompleteEvent())}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("us", {"users"}),
        ("tra", {"trace"}),
        ("e", {"enable", "exit"}),
        ("help sh", {"shutdown"}),
        ("trace o", {"on", "off"}),
        ("trace on --", {"--address", "--user", "--limit"}),
        ("trace on --limit 3 --a", {"--address"}),
        ("users --limit 3 --l", set()),
        ("shutdown ", {"graceful", "now"}),
        ("nonsense ", set()),
    ],
)
def test_completion_comes_from_the_table(text: str, expected: set[str]):
    """Command names, choices, options not given yet."""
    assert completions(text) == expected


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("passwd 1001 hunter2", True),
        ("passwd 1001", False),
        ("passwd 1001 -- hunter2", True),
        ("adduser 1001 --password hunter2", True),
        ("adduser 1001 --password=hunter2", True),
        ("adduser 1001", False),
        ("adduser 'open --password x", True),
        ("paswd 1001 hunter2 --password x", True),
        ("users 10", False),
    ],
)
def test_e3_the_history_has_no_password(tmp_path: Path, line: str, secret: bool):
    """E3: a line that gives a password is not kept, on disk or in memory."""
    assert holds_secret(COMMANDS, line) is secret
    history = CarefulHistory(tmp_path / "history", COMMANDS)
    history.append_string(line)
    kept = (tmp_path / "history").read_text() if (tmp_path / "history").exists() else ""
    assert (line in kept) is not secret
    assert (line in history.get_strings()) is not secret


async def test_who_reads_no_further_is_no_fault(monkeypatch: pytest.MonkeyPatch):
    """``mizu status | head -1`` ends with code 1 and says nothing."""

    class NoLink(TableLink):
        def __init__(self, reactor: object, data: object) -> None:
            super().__init__()

        async def close(self) -> None:
            pass

    def broken(text: object) -> None:
        raise BrokenPipeError

    closed: list[int] = []
    monkeypatch.setattr(client, "Link", NoLink)
    monkeypatch.setattr(client.sys.stdout, "writelines", broken)
    monkeypatch.setattr(client, "leave_output", lambda: closed.append(1))
    with pytest.raises(SystemExit) as caught:
        await client._session(None, client._options().parse_args(["users"]), interactive=False)
    assert (caught.value.code, closed) == (1, [1])
