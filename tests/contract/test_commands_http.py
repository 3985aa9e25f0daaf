"""Every HTTP route: it has a policy, answers what the policy says, takes no other method; all else is 404."""

from typing import Any

import pytest
from treq.testing import StubTreq

from mizu.clock import SystemClock
from mizu.console.commands import command_table
from mizu.console.services import ConsoleServices
from mizu.observe import Metrics, StatusBoard
from mizu.testing.console import FakeConsole
from mizu.web.metrics import MetricsPage
from mizu.web.policy import OPEN, TOKEN, SingleToken, policy_of
from mizu.web.routes import Routes
from mizu.web.site import SECURITY_HEADERS

A_TOKEN = "t" * 43
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
#: the whole surface; a new route is added here on purpose
EXPECTED = {
    ("/", "GET"): OPEN,
    ("/healthz", "GET"): OPEN,
    ("/readyz", "GET"): OPEN,
    ("/status", "GET"): OPEN,
    ("/metrics", "GET"): OPEN,
    ("/console", "POST"): TOKEN,
    ("/api/v1/openapi.json", "GET"): OPEN,
    ("/api/v1/<path:rest>", "GET"): TOKEN,
    ("/api/v1/<path:rest>", "POST"): TOKEN,
    ("/api/v1/<path:rest>", "PUT"): TOKEN,
    ("/api/v1/<path:rest>", "PATCH"): TOKEN,
    ("/api/v1/<path:rest>", "DELETE"): TOKEN,
}


def routes() -> Routes:
    services: ConsoleServices = FakeConsole().services
    board = StatusBoard(SystemClock(), Metrics(), "1", "n")
    return Routes(
        board=board,
        metrics=MetricsPage(board),
        commands=command_table(services),
        operators=SingleToken(A_TOKEN),
    )


def walk() -> list[tuple[str, set[str], Any]]:
    app = routes().app
    return [
        (rule.rule, set(rule.methods) - {"HEAD"}, policy_of(app.endpoints[rule.endpoint]))
        for rule in app.url_map.iter_rules()
    ]


def test_the_surface_is_what_we_mean_it_to_be():
    """No route appears, and none changes its policy, unseen."""
    found = {(path, method): policy.access for path, methods, policy in walk() for method in methods}
    assert found == EXPECTED


def test_a_route_without_a_policy_stops_the_server():
    """Default deny: forgetting the policy is found at start."""

    class Careless(Routes):
        app = type(Routes.__dict__["app"])()

        @app.route("/careless")
        def careless(self, request: Any) -> bytes:
            return b""

    board = StatusBoard(SystemClock(), Metrics(), "1", "n")
    with pytest.raises(TypeError, match="careless"):
        Careless(board=board, metrics=MetricsPage(board), commands=None, operators=SingleToken(A_TOKEN))  # type: ignore[arg-type]


#: what stands below /api/v1 is asked one by one in test_api.py
FIXED = {(path, method) for path, method in EXPECTED if not path.startswith("/api/")}


@pytest.mark.parametrize(("path", "method"), sorted(FIXED))
async def test_each_route_answers_as_its_policy_says(path: str, method: str):
    """Content type, and 401 without the token where one is needed."""
    [policy] = [policy for at, methods, policy in walk() if at == path and method in methods]
    client = StubTreq(routes().app.resource())
    settings: dict[str, Any] = {"json": {"command": "version"}} if policy.takes else {}
    bare = await client.request(method, f"http://localhost{path}", **settings)
    assert bare.code == (200 if policy.access == OPEN else 401)
    answer = await client.request(
        method, f"http://localhost{path}", headers={"authorization": f"Bearer {A_TOKEN}"}, **settings
    )
    assert answer.code == 200
    assert answer.headers.getRawHeaders("content-type") == [policy.answers]


@pytest.mark.parametrize("path", sorted({path for path, _ in FIXED}))
async def test_another_method_is_405_and_says_which_one(path: str):
    """As JSON, with ``Allow``."""
    client = StubTreq(routes().app.resource())
    allowed = {method for at, method in FIXED if at == path}
    for method in METHODS - allowed - ({"HEAD"} if "GET" in allowed else set()):
        answer = await client.request(method, f"http://localhost{path}")
        assert answer.code == 405, (method, path)
        assert allowed <= set(answer.headers.getRawHeaders("allow")[0].split(", "))
        assert answer.headers.getRawHeaders("content-type") == ["application/json"]


@pytest.mark.parametrize(
    "path",
    ["/nope", "/status/", "/console/x", "/../token", "/static/page.js", "/%ff", "/%00", "/token"],
)
async def test_an_unknown_path_is_404_as_json(path: str):
    """Nothing is served from files; odd paths are just unknown."""
    answer = await StubTreq(routes().app.resource()).get(f"http://localhost{path}", allow_redirects=False)
    assert answer.code in (404, 400)
    assert "traceback" not in (await answer.text()).lower()


def test_security_headers_are_complete():
    """Every answer carries them (the site adds them before a route is called)."""
    names = {name for name, _ in SECURITY_HEADERS}
    assert {
        b"x-content-type-options",
        b"cache-control",
        b"content-security-policy",
        b"referrer-policy",
    } <= names
