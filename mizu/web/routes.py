"""Every route of the HTTP side, each with its policy; the answers for what is not a route."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from mizu.deferreds import shield
from mizu.errors import BadRequest, MizuError, NotFound, Overloaded, Unauthorized
from mizu.model import Operator
from mizu.observe import StatusBoard
from mizu.web.metrics import METRICS_CONTENT_TYPE, MetricsPage
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
    source_of,
)
from mizu.web.site import json_reply

JSON = "application/json"
COMMANDS_AT_A_TIME = 32


class Commands(Protocol):
    """The command table; ``mizu.console.table.CommandTable``."""

    async def answer(self, line: str, operator: Operator) -> tuple[int, Mapping[str, Any]]:
        """Run a line: HTTP status and ``{"ok", "error", "lines", "result"}``. Raises nothing."""


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
        if self.running >= COMMANDS_AT_A_TIME:
            raise Overloaded(f"{COMMANDS_AT_A_TIME} commands are under way; try again")
        self.running += 1
        work: Deferred[tuple[int, Mapping[str, Any]]] = ensureDeferred(self.commands.answer(line, operator))
        work.addBoth(self._command_done)
        # A client that hangs up cancels us, never the command: half of it may be done.
        status, answer = await shield(work)
        if status == 503:
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
            self.log.warn("refused {source}: {reason}", source=source_of(request), reason=str(error))
        retry_after_s = getattr(error, "retry_after_s", None)
        if retry_after_s is not None:
            request.setHeader(b"retry-after", b"%d" % retry_after_s)
        return error_reply(request, error.code, str(error), error.http_status)

    @app.handle_errors(HTTPException)
    def not_a_route(self, request: HttpRequest, failure: Failure) -> bytes:
        error: Any = failure.value
        if isinstance(error, MethodNotAllowed):
            methods = ", ".join(sorted(error.valid_methods or ()))
            request.setHeader(b"allow", methods.encode("ascii"))
            return error_reply(request, "method_not_allowed", f"this path takes {methods}", 405)
        return error_reply(request, NotFound.code, "there is no such path", 404)

    @app.handle_errors(Exception)
    def broken(self, request: HttpRequest, failure: Failure) -> bytes:
        if isinstance(failure.value, CancelledError):  # the client hung up; nobody reads this
            return b""
        self.log.failure("the HTTP side failed", failure=failure)
        return error_reply(request, "internal", "internal error; the server's log has the details", 500)


def command_of(body: bytes) -> str:
    """The line in ``{"command": "..."}``. :raise BadRequest: it is something else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    line = value.get("command") if isinstance(value, dict) else None
    if not isinstance(line, str) or set(value) != {"command"}:
        raise BadRequest('the body must be {"command": "..."}')
    return line


def error_reply(request: HttpRequest, code: str, text: str, status: int) -> bytes:
    """An error in the shape that every route answers."""
    return json_reply(request, {"ok": False, "error": code, "lines": [text], "result": None}, status)
