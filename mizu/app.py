"""The composition root: builds every part from the configuration, starts and stops them in order.

Start: HTTP first, so that ``/healthz`` and ``/readyz`` can say what is going on; then the store, retried for
as long as it takes; then the switch from what the store holds; at last the SIP listeners. Stop: no new calls,
wait for those in progress when asked to, then the same in reverse.
"""

import gc
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

import mizu
from mizu.clock import SystemClock
from mizu.config import Config
from mizu.console.table import CommandTable
from mizu.demo import Demo
from mizu.errors import MizuError
from mizu.model import Operator
from mizu.node import Node
from mizu.observe import Metrics, StatusBoard
from mizu.sip.transport.pump import steady
from mizu.store.store import Store
from mizu.web.server import WebServer

STARTING = "the server is still starting; /readyz says what it waits for"
#: The registrar drops expired contacts, and the auth backends are asked whether they changed, this often.
SWEEP_S = 1.0
#: New objects before each collection of the youngest, then how many of those before the older ones. Messages
#: and transactions are freed by counting references; what the collector walks through is mostly alive. The
#: first two bound its pauses (5,000 objects take about 5 ms, and every call waits meanwhile), the last one
#: makes walks through everything rare: with (700, 10, 10), Python's own, the collector takes a third
#: of the time of a busy server.
COLLECT_AFTER = (1_000, 4, 12_500)


def make_service(config: Config) -> IService:
    """What ``twistd mizu`` runs. Opens nothing: twistd may fork before it starts services."""
    return MizuService(config, global_reactor)


class NotUpYet(MizuError):
    """The server is still starting; ``/readyz`` says what it waits for."""

    http_status, code = 503, "starting"


@implementer(IService)
class MizuService(Service):
    """The whole server."""

    log = Logger(namespace="mizu")

    def __init__(self, config: Config, reactor: Any) -> None:
        self._config = config
        self._reactor = reactor
        self._clock = SystemClock()
        self._data = Path(config.data)
        self._metrics = Metrics()
        self.exit_code = 0  #: what the process shall end with
        self._store: Store
        self._board: StatusBoard
        self._web: WebServer
        self._node: Node | None = None
        self._sweep = LoopingCall(self._swept)
        self._stopping = False

    # ------------------------------------------------------------ starting

    def startService(self) -> None:
        """Begin to start; ``mizu ready:`` is printed when all is up."""
        super().startService()  # type: ignore[no-untyped-call]
        steady(self._reactor)
        starting = Deferred.fromCoroutine(self._start())
        starting.addErrback(self._cannot_start)

    async def _start(self) -> None:
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._store = Store(self._config.database, self._data, self._reactor, self._clock)
        self._board = StatusBoard(self._clock, self._metrics, mizu.__version__, self._store.node)
        self._board.check("database", self._database_problem)
        self._board.check("switch", lambda: "" if self._node is not None else "starting")
        self._board.section("database", self._store.status)
        self._web = WebServer(
            self._reactor,
            self._config.http,
            self._data,
            board=self._board,
            commands=self,
            tokens=self._store.operators,
        )
        self._web.start()
        await self._store.start()
        if self._stopping:
            return
        node = Node(
            self._config,
            reactor=self._reactor,
            clock=self._clock,
            store=self._store,
            metrics=self._metrics,
            board=self._board,
            tag_key=secrets.token_bytes(16),
            nonce_key=kept_key(self._data / "nonce.key"),
            shutdown=self.shut_down,
        )
        await node.start()
        if self._stopping:
            await node.stop()
            return
        self._node = node
        self._sweep.clock = self._reactor
        self._sweep.start(SWEEP_S, now=False)
        demo = await Demo(node.services, self._config).prepare() if self._config.demo else []
        calm_collector()
        self._announce(node, demo)

    def _announce(self, node: Node, demo: list[str]) -> None:
        self._web.announce(node.addresses)
        for line in demo:
            say(line)
        http = [f"http:{self._web.address}"] if self._web.address else []
        say(f"mizu ready: {' '.join([*node.addresses, *http])} data={self._data}")

    def _cannot_start(self, failure: Any) -> None:
        if isinstance(failure.value, MizuError):
            for line in str(failure.value).splitlines():
                say(f"mizu: {line}", error=True)
        else:
            self.log.failure("the server cannot start", failure)
        self.end(1)

    def _database_problem(self) -> str:
        return "" if self._store.healthy else self._store.problem or "starting"

    def _swept(self) -> None:
        if self._node is not None:
            self._node.sweep()

    # ------------------------------------------------------------ console

    async def answer(self, line: str, operator: Operator) -> tuple[int, Mapping[str, Any]]:
        """One console command (``mizu.web.routes.Commands``)."""
        if self._node is None:
            raise NotUpYet(STARTING)
        return await self._node.commands.answer(line, operator)

    def table(self) -> CommandTable:
        """The commands, for the JSON API. :raise NotUpYet:"""
        if self._node is None:
            raise NotUpYet(STARTING)
        return self._node.commands

    # ------------------------------------------------------------ stopping

    def shut_down(self, graceful: bool) -> None:
        """Begin to stop and return at once. ``graceful``: refuse new calls and wait for those in progress."""
        if self._node is None or not graceful:
            self._reactor.callLater(0.1, self.end, 0)
            return
        self.log.info("shutting down: no new calls, waiting for {calls}", calls=self._node.calls_in_progress)
        drained = self._node.drain(self._config.call.drain_s)
        drained.addBoth(lambda _: self.end(0))

    def end(self, exit_code: int) -> None:
        """Stop the process; services are stopped on the way."""
        if exit_code and not self.exit_code:
            self.exit_code = exit_code
            # twistd has no way to end with a code of our choice; by now everything else is closed
            self._reactor.addSystemEventTrigger("after", "shutdown", _leave, exit_code)
        if self._reactor.running and not self._stopping:
            self._reactor.stop()
        elif not self._reactor.running:
            self._reactor.callWhenRunning(self._reactor.stop)

    def stopService(self) -> "Deferred[None]":
        """Close in reverse order. Fires when everything is closed."""
        self._stopping = True
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._sweep.running:
            self._sweep.stop()
        node, self._node = self._node, None
        steps: list[tuple[str, Callable[[], Any]]] = [("switch", node.stop)] if node is not None else []
        if hasattr(self, "_web"):
            steps.append(("http", self._web.stop))
        if hasattr(self, "_store"):
            steps.append(("store", self._store.stop))
        for name, step in steps:
            try:
                await maybeDeferred(step)
            except Exception:
                self.log.failure("{part} did not stop cleanly", part=name)


def calm_collector() -> None:
    """What is there by now stays until the end: never look at it again, and at the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def kept_key(path: Path) -> bytes:
    """A random key that outlives restarts, readable by us alone."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) < 32:
        key = secrets.token_bytes(32)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
    return key


def say(line: str, *, error: bool = False) -> None:
    """A line for the person at the terminal, whatever the log goes to."""
    stream = sys.__stderr__ if error else sys.__stdout__
    if stream is not None:
        stream.write(line + "\n")
        stream.flush()


def _leave(exit_code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(exit_code)
