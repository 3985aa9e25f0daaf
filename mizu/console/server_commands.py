"""``status``, ``version``, ``trace``, ``shutdown``."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mizu.console.arguments import TEXT, Argument, choice, integer
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, duration, plural, size
from mizu.errors import BadRequest


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    own = _ServerCommands(services)
    return (
        Command(
            name="status",
            help="how the server is doing",
            permission="status.read",
            run=own.status,
            details="The same facts as GET /status.",
            examples=("status",),
        ),
        Command(
            name="version",
            help="versions of the server and what it stands on",
            permission="status.read",
            run=own.version,
            examples=("version",),
        ),
        Command(
            name="trace",
            help="keep SIP messages in memory and show them",
            permission="trace",
            run=own.trace,
            arguments=(
                Argument("action", choice("show", "on", "off", "clear"), "what to do", default="show"),
                Argument("address", TEXT, "with 'on': only to or from HOST or HOST:PORT", option=True),
                Argument("user", TEXT, "with 'on': only messages that name this user", option=True),
                Argument("limit", integer(1, 1000), "with 'show': the last so many", option=True, default=20),
            ),
            details="Digest answers and nonces are replaced before a message is kept. "
            "The oldest messages go when the trace is full ([limits] trace_messages).",
            examples=("trace on --user 1001", "trace", "trace show --limit 5", "trace off"),
            changes=True,
            emergency=True,
        ),
        Command(
            name="shutdown",
            help="stop the server",
            permission="server.stop",
            run=own.shutdown,
            arguments=(
                Argument("how", choice("graceful", "now"), "graceful: let calls end first", default="now"),
            ),
            details="Graceful: new calls are refused with 503, those in progress have [call] drain_s to end.",
            examples=("shutdown graceful", "shutdown"),
            changes=True,
            emergency=True,
        ),
    )


class _ServerCommands:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services

    async def status(self, call: Invocation) -> CommandResult:
        facts = dict(self._services.status())
        return CommandResult(aligned(("WHAT", "NOW"), _facts("", facts)), facts)

    async def version(self, call: Invocation) -> CommandResult:
        versions = {"mizu": self._services.version, "python": platform.python_version()}
        for package in ("Twisted", "txpostgres", "klein"):
            try:
                versions[package.lower()] = version(package)
            except PackageNotFoundError:  # e.g. vendored without metadata
                versions[package.lower()] = "unknown"
        return CommandResult([f"{name} {number}" for name, number in versions.items()], versions)

    async def trace(self, call: Invocation) -> CommandResult:
        trace, action = self._services.trace, call.text("action")
        address, user = call.text("address"), call.text("user")
        if (address or user) and action != "on":
            raise BadRequest("--address and --user go with 'trace on'")
        if action == "on":
            trace.start(address=address, user=user)
        elif action == "off":
            trace.stop()
        elif action == "clear":
            trace.clear()
        state = dict(trace.state())
        lines = [_trace_state(state)]
        if action != "show":
            return CommandResult(lines, {"trace": state})
        messages = trace.recent(call.number("limit"))
        for message in messages:
            arrow = "<-" if message.direction == "in" else "->"
            stamp = message.at.strftime("%H:%M:%S.%f")[:-3]
            lines += ["", f"{stamp} {arrow} {message.proto} {message.remote}"]
            lines += [f"  {line}" for line in message.text.splitlines()]
        shown = [
            {
                "at": message.at.isoformat(),
                "direction": message.direction,
                "proto": message.proto,
                "remote": message.remote,
                "text": message.text,
            }
            for message in messages
        ]
        return CommandResult(lines, {"trace": state, "messages": shown})

    async def shutdown(self, call: Invocation) -> CommandResult:
        graceful = call.text("how") == "graceful"
        self._services.shutdown(graceful)
        word = "stopping when the calls in progress have ended" if graceful else "stopping"
        return CommandResult([word], {"graceful": graceful})


def _trace_state(state: Mapping[str, Any]) -> str:
    only = [f"{name} {state[name]}" for name in ("address", "user") if state.get(name)]
    what = f"trace is {'on' if state.get('on') else 'off'}" + (f" for {' and '.join(only)}" if only else "")
    return f"{what}, {plural(int(state.get('kept', 0)), 'message')} kept"


def _facts(prefix: str, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """``("calls.talking", "3")`` for each leaf; empty branches say so."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            rows += _facts(f"{path}.", value) if value else [(path, "none")]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            rows += [(path, _leaf(path, item)) for item in value] if value else [(path, "none")]
        else:
            rows.append((path, _leaf(path, value)))
    return rows


def _leaf(path: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if path.endswith("_bytes"):
            return size(value)
        return duration(value) if path.endswith("_s") and not path.endswith("per_s") else f"{value:,}"
    return "-" if value is None else str(value)
