"""``mizu``: the command table in a terminal. Finds the running server in its data directory.

``mizu COMMAND ...`` runs one command; without one it asks for commands with completion and history, or
reads them line by line when its input is not a terminal. Exit code: 0 done, 1 the command failed, 2 wrong
command line of ``mizu`` itself, 3 no server or no token.
"""

import argparse
import asyncio
import getpass
import json
import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

import mizu
from mizu.console.link import Answer, BadAnswer, Link
from mizu.console.rundir import NotRunning, TokenUnreadable
from mizu.console.sending import send, tell_terminal, wanted
from mizu.console.text import visible

FAILED, UNREACHABLE = 1, 3


def main(words: Sequence[str] | None = None) -> NoReturn:
    """The ``mizu`` program. Ends the process."""
    options = _options().parse_args(words)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    from twisted.internet import task  # noqa: PLC0415 - the reactor is chosen first

    interactive = not options.command and sys.stdin.isatty()
    if interactive:  # prompt_toolkit lives on asyncio, so Twisted does too
        from twisted.internet import asyncioreactor  # noqa: PLC0415

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        asyncioreactor.install(loop)  # type: ignore[no-untyped-call]
    task.react(_session, (options, interactive))
    sys.exit(0)


async def _session(reactor: Any, options: argparse.Namespace, interactive: bool) -> None:
    """Everything between the reactor's start and its stop; a ``SystemExit`` is the process's exit code."""
    link: Link | None = None
    code = 0
    try:
        link = Link(reactor, options.data)
        show = Show(as_json=options.json)
        if options.command:
            code = await run_line(link, shlex.join(options.command), show, ask_blocking)
        elif interactive:
            from mizu.console.prompt import converse  # noqa: PLC0415 - prompt_toolkit only when needed

            await converse(link, show)
        else:
            code = await run_lines(link, sys.stdin, show)
        sys.stdout.flush()
    except BrokenPipeError:  # "mizu cdrs | head"
        leave_output()
        code = FAILED
    except (NotRunning, TokenUnreadable, BadAnswer) as error:
        complain([str(error)])
        code = UNREACHABLE
    except KeyboardInterrupt:
        code = 130
    finally:
        if link is not None:
            await link.close()
    if code:
        raise SystemExit(code)


def leave_output() -> None:
    """Nobody reads it any more; what is left in buffers goes nowhere, without complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Show:
    """Prints answers: lines for people, or the exact result as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, answer: Answer) -> int:
        """:return: the exit code."""
        if not answer.ok:
            complain(answer.lines)
            return FAILED
        if self._as_json:
            sys.stdout.write(json.dumps(answer.result, indent=2) + "\n")
        else:
            sys.stdout.writelines(visible(line) + "\n" for line in answer.lines)
        sys.stdout.flush()
        return 0


def complain(lines: Sequence[str]) -> None:
    """Why it did not work, on the standard error."""
    for at, line in enumerate(lines):
        sys.stderr.write(("mizu: " if at == 0 else "      ") + visible(line) + "\n")
    sys.stderr.flush()


async def run_line(link: Link, line: str, show: Show, ask: Callable[[str], Awaitable[str]]) -> int:
    """
    Run one command; when the server misses a secret, ask for it and run it again.

    :return: the exit code.
    """
    if is_sending(line):
        return show(await send(link.reactor, link, line, tell_terminal))
    answer = await link.run(line)
    if answer.error == "secret_missing":
        try:
            secret = await ask(answer.argument)
        except EOFError:
            complain([f"no {answer.argument} given"])
            return FAILED
        answer = await link.run(with_secret(line, secret))
    return show(answer)


async def run_lines(link: Link, lines: Any, show: Show) -> int:
    """Run commands from a file, one a line, ``#`` begins a comment line; stop at the first that fails."""
    for raw in lines:
        line = raw.strip()
        if line and not line.startswith("#"):
            sending = is_sending(line)
            answer = await (send(link.reactor, link, line, tell_terminal) if sending else link.run(line))
            if code := show(answer):
                return code
    return 0


def is_sending(line: str) -> bool:
    """Does this line send a file of ours (``import --send``)?"""
    try:
        return wanted(shlex.split(line))
    except ValueError:  # quotes do not match: the server says so
        return False


def with_secret(line: str, secret: str) -> str:
    """The line with a secret as its last argument; ``--``, so that one may begin with dashes."""
    marked = line if "--" in shlex.split(line) else f"{line} --"
    return f"{marked} {shlex.quote(secret)}"


async def ask_blocking(what: str) -> str:
    """
    Ask for a secret without showing it, twice; from a pipe, take one line.

    Blocks the reactor, which has nothing else to do. :raise EOFError: there is none.
    """
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")
    while True:
        secret = getpass.getpass(f"{what}: ")
        if getpass.getpass(f"{what} again: ") == secret:
            return secret
        complain(["they differ; once more"])


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mizu",
        description="Commands for a running Mizu server. 'mizu help' lists them; "
        "without a command you are asked for them.",
    )
    parser.add_argument(
        "--data",
        default=os.environ.get("MIZU_DATA") or "./var",
        metavar="DIR",
        help="the server's data directory (default: $MIZU_DATA, else ./var)",
    )
    parser.add_argument("--json", action="store_true", help="print the exact result as JSON")
    parser.add_argument("--version", action="version", version=f"mizu {mizu.__version__}")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="command and arguments"
    )
    return parser


if __name__ == "__main__":
    main()
