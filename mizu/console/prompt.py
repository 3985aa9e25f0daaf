"""The interactive prompt: completion from the server's own command table, history without secrets.

Runs on asyncio (prompt_toolkit's home), which the client has made Twisted's reactor too.
"""

import asyncio
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.patch_stdout import patch_stdout
from twisted.internet.defer import Deferred

from mizu.console.client import Show, complain, run_line
from mizu.console.link import BadAnswer, Link
from mizu.console.rundir import NotRunning

LEAVE = ("exit", "quit")

Described = Mapping[str, Any]  #: a command as ``help`` describes it


class Interrupted(Exception):
    """Ctrl-C. Not ``KeyboardInterrupt``, which asyncio lets out of its loop at once."""


class CommandCompleter(Completer):
    """Completes command names, options and choices; what an account is called, only the server knows."""

    def __init__(self, commands: Sequence[Described]) -> None:
        self._commands = commands

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor.lstrip()
        *done, word = before.split(" ") if before else [""]
        done = [each for each in done if each]
        for text, meaning in self._candidates(done):
            if text.startswith(word):
                yield Completion(text, start_position=-len(word), display_meta=meaning)

    def _candidates(self, done: list[str]) -> Iterable[tuple[str, str]]:
        if not done or done == ["help"]:
            yield from self._next_words([])
            if not done:
                yield from ((word, "leave the prompt") for word in LEAVE)
            return
        command = command_of(self._commands, done)
        if command is None:
            yield from self._next_words(done)
            return
        given = done[len(str(command["name"]).split()) :]
        places = [a for a in command["arguments"] if not a["option"]]
        at = len([each for each in given if not each.startswith("--")])
        if at < len(places) and places[at]["kind"].startswith("choice:"):
            for choice in places[at]["kind"].removeprefix("choice:").split("|"):
                yield choice, places[at]["help"]
        for argument in command["arguments"]:
            if argument["option"] and f"--{argument['name']}" not in given:
                yield f"--{argument['name']}", argument["help"]

    def _next_words(self, done: list[str]) -> Iterable[tuple[str, str]]:
        for command in self._commands:
            words = command["name"].split()
            if words[: len(done)] == done and len(words) > len(done):
                yield words[len(done)], command["help"]


class CarefulHistory(FileHistory):
    """Remembers lines between sessions (mode 0600), but none that holds a password."""

    def __init__(self, path: Path, commands: Sequence[Described]) -> None:
        super().__init__(str(path))
        self._commands = commands

    def append_string(self, string: str) -> None:
        if not holds_secret(self._commands, string):
            super().append_string(string)


def command_of(commands: Sequence[Described], words: Sequence[str]) -> Described | None:
    """The command that a line of these words begins with; the longest name wins."""
    fitting = [c for c in commands if list(words[: len(c["name"].split())]) == c["name"].split()]
    return max(fitting, key=lambda command: len(command["name"].split()), default=None)


def holds_secret(commands: Sequence[Described], line: str) -> bool:
    """Whether a line gives a secret argument. When in doubt, it does."""
    try:
        words = shlex.split(line)
    except ValueError:
        return True
    command = command_of(commands, words)
    if command is None:
        return any(word.startswith("--pass") for word in words) or (bool(words) and words[0] == "passwd")
    secrets = [argument for argument in command["arguments"] if argument["kind"] == "secret"]
    options = {f"--{argument['name']}" for argument in secrets if argument["option"]}
    if any(word.partition("=")[0] in options for word in words):
        return True
    # By place: one word more than the command's name and its other places is taken for the secret. Values of
    # options are counted as places here, which errs on the careful side.
    places = [a for a in command["arguments"] if not a["option"]]
    given = [w for w in words[len(command["name"].split()) :] if not w.startswith("--")]
    return any(at < len(given) for at, argument in enumerate(places) if argument["kind"] == "secret")


async def converse(link: Link, show: Show) -> None:
    """Ask for commands until the user leaves. A server that goes away does not end it."""
    answer = await link.run("help")
    commands = answer.result if answer.ok else []
    session: PromptSession[str] = PromptSession(
        history=CarefulHistory(_history_path(), commands),
        completer=CommandCompleter(commands),
        complete_while_typing=True,
        auto_suggest=AutoSuggestFromHistory(),
        interrupt_exception=Interrupted,
    )
    greeting = f"connected to {link.address}; 'help' lists the commands, Tab completes, 'exit' leaves\n"
    sys.stdout.write(greeting)
    while True:
        try:
            line = (await _asked(session, "mizu> ")).strip()
        except Interrupted:  # Ctrl-C empties the line
            continue
        except EOFError:  # Ctrl-D
            return
        if line in LEAVE:
            return
        if not line:
            continue
        try:
            await run_line(link, line, show, _ask_hidden)
        except Interrupted:
            complain(["left as it was"])
        except (NotRunning, BadAnswer) as error:
            complain([str(error)])


async def _asked(session: "PromptSession[str]", text: str, **settings: Any) -> str:
    with patch_stdout():
        work = session.prompt_async(text, handle_sigint=False, **settings)
        return await Deferred.fromFuture(asyncio.ensure_future(work))


async def _ask_hidden(what: str) -> str:
    """Ask twice without showing it, nor keeping it. :raise EOFError: Ctrl-D. :raise Interrupted: Ctrl-C."""
    session: PromptSession[str] = PromptSession(interrupt_exception=Interrupted)
    while True:
        secret = await _asked(session, f"{what}: ", is_password=True)
        if await _asked(session, f"{what} again: ", is_password=True) == secret:
            return secret
        complain(["they differ; once more"])


def _history_path() -> Path:
    """``$XDG_STATE_HOME/mizu/history``, made readable to its owner only."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mizu"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = state / "history"
        path.touch(mode=0o600)
    except OSError:  # a home that cannot be written: remember for this session only
        return Path(os.devnull)
    return path
