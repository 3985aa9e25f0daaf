"""What each route answers, to whom."""

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import globalLogPublisher

from mizu.errors import StoreBusy
from mizu.testing.console import binding, live_call
from mizu.web.page import PAGE


async def test_healthz_says_that_the_process_lives(web: Any):
    """200 also while the database is away: a restart would not help."""
    web.board.check("database", lambda: "down")
    answer = await web.get("/healthz")
    assert (answer.code, await answer.json()) == (200, {"ok": True})


async def test_readyz_is_503_with_a_reason_until_all_is_up(web: Any):
    """A load balancer sends nothing here while the database starts; an operator reads why."""
    reason = "starting: connection refused"
    web.board.check("database", lambda: reason)
    answer = await web.get("/readyz")
    assert answer.code == 503
    assert await answer.json() == {"ready": False, "reasons": {"database": reason}}
    assert answer.headers.hasHeader("retry-after")
    reason = ""
    answer = await web.get("/readyz")
    assert (answer.code, await answer.json()) == (200, {"ready": True, "reasons": {}})


async def test_a_broken_check_is_not_ready(web: Any):
    """Not knowing is not being ready."""
    web.board.check("database", lambda: {}["missing"])
    assert (await web.get("/readyz")).code == 503


async def test_status_has_the_facts_of_every_part(web: Any):
    """Version, uptime and rates come with it; a part that fails to say something hurts no other."""
    web.board.section("calls", lambda: {"talking": 2})
    web.board.section("registrations", lambda: {}["missing"])
    web.metrics.messages_received += 50
    web.clock.now_s += 5
    facts = await (await web.get("/status")).json()
    assert facts["version"] == "1.2.3"
    assert facts["uptime_s"] == 5.0
    assert facts["state"] == "ready"
    assert facts["messages"]["received_per_s"] == 10.0
    assert facts["calls"] == {"talking": 2}
    assert facts["registrations"] == {"error": "KeyError"}


async def test_the_page_runs_its_own_script_only(web: Any):
    """A strict policy by hash; no outside resource; values go in as text."""
    answer = await web.get("/")
    policy = answer.headers.getRawHeaders("content-security-policy")
    body = await answer.content()
    assert body == PAGE
    assert len(policy) == 1
    assert "default-src 'none'" in policy[0]
    assert "unsafe" not in policy[0]
    assert b"innerHTML" not in body
    assert b"http://" not in body.replace(b"http://www.w3.org/", b"")
    assert b"https://" not in body


async def test_a_command_is_answered_with_lines_and_result(web: Any):
    """``POST /console`` with a token: ``ok``, lines for people, the exact result."""
    answer = await web.post({"command": "adduser 1001"})
    value = await answer.json()
    assert answer.code == 200
    assert value["ok"] is True
    assert value["error"] == ""
    assert value["lines"][0] == "account 1001 added"
    assert value["result"]["user"]["username"] == "1001"


@pytest.mark.parametrize("token", ["", "x", "t" * 42, "t" * 44, "\u0164" * 43])
async def test_e2_no_valid_token_no_command(web: Any, token: str):
    """E2: 401 without a token or with a wrong one, and nothing was run."""
    answer = await web.post({"command": "adduser 1001"}, token=token)
    assert answer.code == 401
    assert answer.headers.getRawHeaders("www-authenticate") == ['Bearer realm="mizu"']
    assert (await answer.json())["error"] == "unauthorized"
    assert not web.console.accounts.rows


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Basic " + "t" * 43},
        {"authorization": "t" * 43},
        {"authorization": "Bearer"},
    ],
)
async def test_e2_only_a_bearer_token_counts(web: Any, headers: dict[str, str]):
    """E2: another scheme is no token."""
    assert (await web.post({"command": "version"}, token="", headers=headers)).code == 401


async def test_e2_a_web_page_of_a_stranger_can_send_no_command(web: Any):
    """E2, CSRF: what a foreign form may send unasked (simple content types) is refused."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json5", ""):
        headers = {"content-type": kind} if kind else {}
        answer = await web.post(None, data=b'{"command": "adduser 1001"}', headers=headers)
        assert answer.code == 415, kind
    assert not web.console.accounts.rows


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io"]
)
async def test_e2_a_foreign_name_for_this_server_is_refused(web: Any, host: str):
    """E2, DNS rebinding: on loopback only localhost and addresses are names of ours."""
    answer = await web.treq.get(f"http://{host}/status")
    assert answer.code == 403


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "127.0.0.9:80"])
async def test_own_names_are_answered(web: Any, host: str):
    """localhost and numeric addresses, with or without port."""
    assert (await web.treq.get(f"http://{host}/status")).code == 200


async def test_a_server_for_others_has_any_name(make_web: Any):
    """Beyond loopback a proxy or a DNS name may stand in front."""
    assert (await make_web(any_host=True).treq.get("http://sip.example/status")).code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"users"',
        b"{}",
        b'{"command": 1}',
        b'{"command": "users", "as": "root"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
async def test_a_body_that_is_no_command_is_400(web: Any, body: bytes):
    """Only ``{"command": "..."}`` is taken; unknown keys are not ignored."""
    answer = await web.post(None, data=body, headers={"content-type": "application/json"})
    assert answer.code == 400
    assert (await answer.json())["error"] == "bad_request"


@pytest.mark.parametrize(
    ("command", "status", "code"),
    [
        ("usres", 400, "usage"),
        ("passwd 1001", 400, "secret_missing"),
        ("deluser nobody", 404, "not_found"),
        ("drop 123", 400, "bad_request"),
    ],
)
async def test_a_refused_command_has_a_status_and_a_stable_code(
    web: Any, command: str, status: int, code: str
):
    """Programs look at ``error``, people read ``lines``."""
    answer = await web.post({"command": command})
    value = await answer.json()
    assert (answer.code, value["ok"], value["error"]) == (status, False, code)
    assert value["lines"]


async def test_a_database_that_is_away_is_503_and_try_again(web: Any):
    """``Retry-After`` says when."""
    web.console.accounts.error = StoreBusy("the database is starting")
    answer = await web.post({"command": "users"})
    assert answer.code == 503
    assert answer.headers.hasHeader("retry-after")
    assert (await answer.json())["lines"] == ["the database is starting"]


async def test_e1_sip_text_leaves_as_ascii_json(web: Any):
    """E1: markup, escapes, odd bytes of a phone's name are harmless in every answer, exact when decoded."""
    evil = "<script>alert(1)</script>\x1b[2J\r\nX: y\udcff"
    web.console.registrations.rows = [binding(user_agent=evil, contact=f"sip:{evil}@x")]
    web.console.calls.rows = [live_call(caller=evil)]
    web.board.section("last", lambda: evil)
    for answer in (
        await web.post({"command": "regs"}),
        await web.post({"command": "calls"}),
        await web.get("/status"),
        await web.post({"command": f"regs '{evil}"}),
    ):
        body = await answer.content()
        assert all(32 <= byte < 127 or byte == 10 for byte in body)
        assert b"<" not in body
        assert json.loads(body)
    regs = await (await web.post({"command": "regs"})).json()
    assert regs["result"]["registrations"][0]["user_agent"] == evil
    assert any("\\x1b[2J\\x0d\\x0aX: y\\xff" in line for line in regs["lines"])


async def test_e3_the_log_has_no_password_and_no_token(web: Any):
    """E3: commands with passwords, right and wrong tokens: none of them is in any log event."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        await web.post({"command": "adduser 1001 --password hunter2hunter2"})
        await web.post({"command": "passwd 1001 hunter2hunter2"})
        await web.post({"command": "passwd 1001 hunter2hunter2 more"})
        await web.post({"command": "adduser 1002"})
        await web.post({"command": "users"}, token="guess-" * 8)
    finally:
        globalLogPublisher.removeObserver(events.append)
    made = web.console.accounts.rows["1002"][1]["MD5"]
    stored = web.console.accounts.rows["1001"][1]["MD5"]
    shown = repr(events)
    assert "adduser 1001 --password ***" in shown
    for secret in ("hunter2", "t" * 43, "guess-", made, stored):
        assert secret not in shown


async def test_a_client_that_hangs_up_stops_no_command(web: Any):
    """The command goes on to its end: half of it may be done already."""
    gate: Deferred[None] = Deferred()
    done: list[str] = []

    class Slow:
        async def answer(self, line: str, operator: Any) -> Any:
            await gate
            done.append(line)
            return 200, {"ok": True}

    routes = web.routes_over(Slow())

    class Request:
        class content:
            read = staticmethod(lambda: b'{"command": "slow"}')

    work = ensureDeferred(type(routes).console.__wrapped__(routes, Request(), None))
    work.addErrback(lambda failure: None)
    work.cancel()
    assert routes.running == 1
    gate.callback(None)
    assert done == ["slow"]
    assert routes.running == 0


async def test_too_many_commands_at_a_time_are_turned_away(web: Any):
    """Each waits for the database; their number is bounded."""
    web.routes.running = 32
    answer = await web.post({"command": "users"})
    assert (answer.code, (await answer.json())["error"]) == (503, "overloaded")


async def test_a_fault_of_ours_shows_no_traceback(web: Any, clean_reactor: list[Any]):
    """500 as JSON; the log has the rest."""
    web.routes.metrics_page = None
    answer = await web.get("/metrics")
    assert answer.code == 500
    assert (await answer.json())["error"] == "internal"
    assert isinstance(clean_reactor.pop().value, AttributeError)
