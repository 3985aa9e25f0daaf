"""Every route of the HTTP side, each with its policy; the answers for what is not a route."""

import json
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from mizu.console.table import CommandTable
from mizu.deferreds import shield
from mizu.errors import BadRequest, Forbidden, MizuError, NotFound, OutcomeUnknown, Overloaded, Unauthorized
from mizu.model import Operator
from mizu.observe import StatusBoard
from mizu.web.api import WrongMethod, members_once, methods_of, respond
from mizu.web.api_routes import PREFIX, RouteTable
from mizu.web.metrics import METRICS_CONTENT_TYPE, MetricsPage
from mizu.web.openapi import document
from mizu.web.page import PAGE, PAGE_POLICY
from mizu.web.policy import (
    OPEN,
    TOKEN,
    HostCheck,
    HttpRequest,
    Operators,
    Policy,
    guarded,
    policy_of,
    require_operator,
    source_of,
)
from mizu.web.site import json_reply

JSON = "application/json"
COMMANDS_AT_A_TIME = 32
REFUSALS_LOGGED_PER_MINUTE = 20
T = TypeVar("T")


class Commands(Protocol):
    """The command table; ``mizu.console.table.CommandTable``."""

    async def answer(self, line: str, operator: Operator) -> tuple[int, Mapping[str, Any]]:
        """Run a line: HTTP status and ``{"ok", "error", "lines", "result"}``. Raises nothing."""

    def table(self) -> CommandTable:
        """All commands. :raise MizuError: the server is still starting."""


class Routes:
    """
    The HTTP side of one server. No ``__slots__``: Klein keeps its bound copy by a weak reference on this.

    :param any_host: answer to every Host header; for servers that do not listen on loopback.
    """

    app = Klein()
    log = Logger(namespace="mizu.web")

    def __init__(
        self,
        *,
        board: StatusBoard,
        metrics: MetricsPage,
        commands: Commands,
        operators: Operators,
        any_host: bool = False,
    ) -> None:
        self.board = board
        self.metrics_page = metrics
        self.commands = commands
        self.operators = operators
        self.check_host = HostCheck(any_name=any_host)
        self.running = 0  #: commands under way
        self._api: RouteTable | None = None  # of the command table that is there
        self._refusals = (0, 0)  # minute, requests without a valid token in it
        for name, handler in type(self).app.endpoints.items():
            if policy_of(handler) is None:
                raise TypeError(f"route {name} has no policy")

    @app.route("/", methods=["GET"])
    @guarded(Policy(OPEN, "text/html; charset=utf-8"))
    def page(self, request: HttpRequest) -> bytes:
        """A page for people that reads ``/status``. 200."""
        request.setHeader(b"content-security-policy", PAGE_POLICY)
        return PAGE

    @app.route("/healthz", methods=["GET"])
    @guarded(Policy(OPEN, JSON))
    def healthz(self, request: HttpRequest) -> bytes:
        """The process lives and its reactor turns. 200, always."""
        return json_reply(request, {"ok": True})

    @app.route("/readyz", methods=["GET"])
    @guarded(Policy(OPEN, JSON))
    def readyz(self, request: HttpRequest) -> bytes:
        """200 ready for calls; 503 with the reasons, e.g. while the database is down or starting."""
        reasons = self.board.not_ready()
        if reasons:
            request.setHeader(b"retry-after", b"2")
        return json_reply(request, {"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @app.route("/status", methods=["GET"])
    @guarded(Policy(OPEN, JSON))
    def status(self, request: HttpRequest) -> bytes:
        """What the server does now. 200, also when it is not ready (``state`` says so)."""
        return json_reply(request, self.board.read())

    @app.route("/metrics", methods=["GET"])
    @guarded(Policy(OPEN, METRICS_CONTENT_TYPE))
    def metrics(self, request: HttpRequest) -> bytes:
        """Prometheus text format. 200."""
        return self.metrics_page.render()

    @app.route("/console", methods=["POST"])
    @guarded(Policy(TOKEN, JSON, takes=JSON))
    async def console(self, request: HttpRequest, operator: Operator) -> bytes:
        """
        Run one command of the table: ``{"command": "users 10"}``.

        200 done; 400 not a command; 401, 403 not allowed; 404, 409 as the command says; 503 try again.
        """
        line = command_of(request.content.read())
        status, answer = await self._run(self.commands.answer(line, operator))
        return self._command_reply(request, status, answer)

    @app.route("/api/v1/openapi.json", methods=["GET"])
    @guarded(Policy(OPEN, JSON))
    def openapi(self, request: HttpRequest) -> bytes:
        """The OpenAPI 3.1 document of what follows. 200; 503 while the server starts."""
        return json_reply(request, document(self._routes(), self.board.version))

    @app.route("/api/v1/<path:rest>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    @guarded(Policy(TOKEN, JSON))
    async def api(self, request: HttpRequest, operator: Operator, rest: str) -> bytes:
        """
        The JSON API: ``mizu.web.api_routes`` has its paths, the OpenAPI document says what they answer.

        Bodies must be ``application/json``, which each route that takes one checks.
        """
        path = request.path.decode("latin-1").removeprefix(PREFIX)
        status, answer, headers = await self._run(respond(self._routes(), request, path, operator))
        for name, value in headers.items():
            request.setHeader(name.encode("ascii"), value.encode("ascii"))
        return self._command_reply(request, status, answer)

    async def admit_upload(self, request: HttpRequest) -> int | None:
        """
        May the sender of these headers send a file?

        :return: the scope of their token. :raise MizuError: no, or it cannot be told now.
        """
        self.check_host(request)
        try:
            operator = await require_operator(request, self.operators)
        except Unauthorized as wrong:
            self._log_refusal(request, str(wrong))
            raise
        command = self.commands.table().get("import")
        if command is None or not command.allows(operator):
            raise Forbidden("you may not import accounts")
        return operator.scope_account_id

    def _routes(self) -> RouteTable:
        table = self.commands.table()
        if self._api is None or self._api.commands is not table:
            self._api = RouteTable(table)
        return self._api

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out a command; at most so many at a time. :raise Overloaded:"""
        if self.running >= COMMANDS_AT_A_TIME:
            work.close()
            raise Overloaded(f"{COMMANDS_AT_A_TIME} commands are under way; try again")
        self.running += 1
        running: Deferred[T] = ensureDeferred(work)
        running.addBoth(self._command_done)
        # A client that hangs up cancels us, never the command: half of it may be done.
        return await shield(running)

    @staticmethod
    def _command_reply(request: HttpRequest, status: int, answer: Any) -> bytes:
        unknown = isinstance(answer, dict) and answer.get("error") == OutcomeUnknown.code
        if status == 503 and not unknown:  # what may have been made is not simply tried again
            request.setHeader(b"retry-after", b"5")
        return json_reply(request, answer, status)

    def _command_done(self, result: Any) -> Any:
        self.running -= 1
        return result

    @app.handle_errors(MizuError)
    def refused(self, request: HttpRequest, failure: Failure) -> bytes:
        error: Any = failure.value
        if isinstance(error, Unauthorized):
            request.setHeader(b"www-authenticate", b'Bearer realm="mizu"')
            self._log_refusal(request, str(error))
        if isinstance(error, WrongMethod):
            request.setHeader(b"allow", ", ".join(error.methods).encode("ascii"))
        retry_after_s = getattr(error, "retry_after_s", None)
        if retry_after_s is not None:
            request.setHeader(b"retry-after", b"%d" % retry_after_s)
        return error_reply(request, error.code, str(error), error.http_status)

    def _log_refusal(self, request: HttpRequest, reason: str) -> None:
        """A line for each of the first few a minute: who guesses shall not fill the disk."""
        minute = int(self.board.uptime_s // 60)
        if minute != self._refusals[0]:
            self._refusals = (minute, 0)
        self._refusals = (minute, self._refusals[1] + 1)
        if self._refusals[1] <= REFUSALS_LOGGED_PER_MINUTE:
            self.log.warn("refused {source}: {reason}", source=source_of(request), reason=reason)

    @app.handle_errors(HTTPException)
    def not_a_route(self, request: HttpRequest, failure: Failure) -> bytes:
        error: Any = failure.value
        if isinstance(error, MethodNotAllowed):
            methods = ", ".join(self._methods(request) or sorted(error.valid_methods or ()))
            request.setHeader(b"allow", methods.encode("ascii"))
            return error_reply(request, "method_not_allowed", f"this path takes {methods}", 405)
        return error_reply(request, NotFound.code, "there is no such path", 404)

    @app.handle_errors(Exception)
    def broken(self, request: HttpRequest, failure: Failure) -> bytes:
        if isinstance(failure.value, CancelledError):  # the client hung up; nobody reads this
            return b""
        self.log.failure("the HTTP side failed", failure=failure)
        return error_reply(request, "internal", "internal error; the server's log has the details", 500)

    def _methods(self, request: HttpRequest) -> list[str]:
        """What a path of the API takes; empty: it is none of its routes, or the server starts."""
        path = request.path.decode("latin-1")
        if not path.startswith(PREFIX + "/"):
            return []
        try:
            return methods_of(self._routes(), path.removeprefix(PREFIX))
        except MizuError:
            return []


def command_of(body: bytes) -> str:
    """The line in ``{"command": "..."}``. :raise BadRequest: it is something else."""
    try:
        value = json.loads(body, object_pairs_hook=members_once)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    line = value.get("command") if isinstance(value, dict) else None
    if not isinstance(line, str) or set(value) != {"command"}:
        raise BadRequest('the body must be {"command": "..."}')
    return line


def error_reply(request: HttpRequest, code: str, text: str, status: int) -> bytes:
    """An error in the shape that every route answers."""
    return json_reply(request, {"ok": False, "error": code, "lines": [text], "result": None}, status)
