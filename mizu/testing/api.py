"""Asks the JSON API as a client would, without sockets, and compares its answers with its own document."""

import json
from collections.abc import Mapping
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from mizu.clock import SystemClock
from mizu.console.commands import command_table
from mizu.console.services import ConsoleServices
from mizu.console.table import CommandTable
from mizu.observe import Metrics, StatusBoard
from mizu.web.api_routes import PREFIX, RouteTable
from mizu.web.metrics import MetricsPage
from mizu.web.openapi import document
from mizu.web.operators import OperatorDirectory, TokenStore
from mizu.web.policy import SingleToken
from mizu.web.routes import Routes

LOCAL_TOKEN = "t" * 43  #: that of the data directory


class ApiProbe:
    """
    The HTTP side over some services.

    :param tokens: tokens of operators; ``None``: only ``LOCAL_TOKEN`` counts.
    """

    def __init__(self, services: ConsoleServices, tokens: TokenStore | None = None) -> None:
        self.table: CommandTable = command_table(services)
        clock = SystemClock()
        board = StatusBoard(clock, Metrics(), "1.2.3", "node-a")
        self.routes = Routes(
            board=board,
            metrics=MetricsPage(board),
            commands=self.table,
            operators=OperatorDirectory(SingleToken(LOCAL_TOKEN), tokens, clock.mono_s),
        )
        self.document = document(RouteTable(self.table), "1.2.3")

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = LOCAL_TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, Any]:
        """One request below ``/api/v1``. :return: status, JSON, headers."""
        from twisted.internet import reactor  # noqa: PLC0415 - an import at the top would fix it too early

        treq: Any = StubTreq(self.routes.app.resource())  # type: ignore[no-untyped-call]
        sent = {**(headers or {}), **({"authorization": f"Bearer {token}"} if token else {})}
        more: dict[str, Any] = {} if body is None else {"json": body}

        async def request() -> tuple[int, Any, Any]:
            answer = await treq.request(method, f"http://localhost{PREFIX}{path}", headers=sent, **more)
            text = await answer.content()
            kinds = answer.headers.getRawHeaders("content-type")
            assert kinds == ["application/json"], f"{method} {path}: {kinds}"
            return answer.code, json.loads(text), answer.headers

        done: Deferred[tuple[int, Any, Any]] = ensureDeferred(request())
        while not done.called:
            treq.flush()
            await deferLater(reactor, 0.002)
        return await done

    def demands_version(self, method: str, path: str) -> bool:
        """Must that operation have ``If-Match``? As the document says."""
        operation = self.document["paths"].get(path.partition("?")[0], {}).get(method.lower(), {})
        return any(one["name"] == "If-Match" and one["required"] for one in operation.get("parameters", ()))

    def check(self, method: str, path: str, status: int, value: Any) -> None:
        """:raise AssertionError: the document has no such answer of that operation (``/accounts/{user}``)."""
        responses = self.document["paths"][path][method.lower()]["responses"]
        assert str(status) in responses, f"{method} {path}: {status} is not in the document: {value}"
        response = responses[str(status)]
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        self._hold(f"{method} {path} {status}", response["content"]["application/json"]["schema"], value)

    def check_body(self, method: str, path: str, body: Any) -> None:
        """:raise AssertionError: the document says that the operation takes no such JSON."""
        asked = self.document["paths"][path][method.lower()]["requestBody"]
        self._hold(f"{method} {path}", asked["content"]["application/json"]["schema"], body)

    def _hold(self, what: str, schema: Mapping[str, Any], value: Any) -> None:
        from jsonschema import (  # type: ignore[import-untyped]  # noqa: PLC0415 - needed by tests only
            Draft202012Validator,
        )
        from referencing import Registry  # noqa: PLC0415
        from referencing.jsonschema import DRAFT202012  # noqa: PLC0415

        schema = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
        registry: Any = Registry().with_resource("urn:api", DRAFT202012.create_resource(self.document))
        errors = list(Draft202012Validator(schema, registry=registry).iter_errors(value))
        assert not errors, f"{what}: {errors[0].message} at {list(errors[0].path)}"
