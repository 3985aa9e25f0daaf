"""The HTTP side over fakes: routes, a board, a token."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from treq.testing import StubTreq

from mizu.console.commands import command_table
from mizu.observe import Metrics, StatusBoard
from mizu.testing.console import NOON, FakeConsole
from mizu.web.metrics import MetricsPage
from mizu.web.policy import SingleToken
from mizu.web.routes import Routes

TOKEN = "t" * 43


class SteadyClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def mono_s(self) -> float:
        return self.now_s

    def wall(self) -> Any:
        return NOON


@dataclass
class Web:
    """The routes and everything they stand on."""

    clock: SteadyClock = field(default_factory=SteadyClock)
    metrics: Metrics = field(default_factory=Metrics)
    console: FakeConsole = field(default_factory=FakeConsole)
    any_host: bool = False

    def __post_init__(self) -> None:
        self.board = StatusBoard(self.clock, self.metrics, "1.2.3", "node-a")
        self.routes = self.routes_over(command_table(self.console.services))

    def routes_over(self, commands: Any) -> Routes:
        return Routes(
            board=self.board,
            metrics=MetricsPage(self.board),
            commands=commands,
            operators=SingleToken(TOKEN),
            any_host=self.any_host,
        )

    @property
    def treq(self) -> StubTreq:
        return StubTreq(self.routes.app.resource())

    async def get(self, path: str, **headers: str) -> Any:
        return await self.treq.get(f"http://localhost{path}", headers=headers)

    async def post(self, body: Any, token: str = TOKEN, **settings: Any) -> Any:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            settings["json"] = body
        return await self.treq.post(
            "http://localhost/console", headers={**headers, **settings.pop("headers", {})}, **settings
        )


@pytest.fixture
def make_web() -> Callable[..., Web]:
    return Web


@pytest.fixture
def web() -> Web:
    return Web()
