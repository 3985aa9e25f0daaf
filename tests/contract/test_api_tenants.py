"""Two resellers on one server: what the token of one can do to the other through the JSON API. Nothing."""

import json
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred

from mizu.model import CallAnswered, CallOpened, Operator, Rights
from mizu.testing.api import ApiProbe
from mizu.testing.console import NOON, FakeConsole, binding, live_call, store_services
from mizu.web.api_routes import ROUTES

ROOT = Operator("console", Rights.GENERAL_ADMIN, "test")
CALL_ID = "5f0c1d2e9a77" + "0" * 20  #: of the rival
RIVALS_CALL, SHARED_CALL = "a" * 32, "b" * 32  #: call records
#: bodies of routes that take one
BODIES: dict[str, Any] = {
    "adduser": {"name": "9001", "fields": {"parent_id": "rival"}},
    "set": {"display_name": "mine now"},
    "passwd": {"password": "mine now 22"},
    "move": {"parent": "shop"},
    "clone": {"name": "9002"},
    "tokens add": {"account": "rival"},
    "options set": {"value": "1"},
    "group join": {"members": ["shop1"]},
    "group set": {"note": "mine now"},
    "numbers set": {"note": "mine now"},
    "addresses add": {"address": "192.0.2.66"},
    "numbers allocate": {"account": "shop1", "number": "3615550100"},
    "sipaccounts set": {"priority": "1"},
    "sipaccounts passwd": {"password": "mine now 22"},
}


class Api(ApiProbe):
    """The API over the real store; calls and registrations are fakes."""

    def __init__(self, store):
        console = FakeConsole()
        console.registrations.rows = [binding("rival1")]
        console.calls.rows = [
            live_call(CALL_ID, caller="rival1"),
            live_call("6" * 32, caller="rival1", callee="shop1", called_number="2001", caller_number="2002"),
        ]
        super().__init__(store_services(store, console), store.operators)


@pytest_twisted.async_fixture
async def api(store):
    """A top owner, two resellers below it, a phone below each, and a token of the first reseller."""
    api = Api(store)
    for line in (
        "adduser top type=owner rights=admin",
        "adduser shop type=reseller rights=admin parent_id=top",
        "adduser rival type=reseller rights=admin parent_id=top",
        "adduser shop1 parent_id=shop",
        "adduser rival1 parent_id=rival",
        "addresses add rival1 192.0.2.1",
        "group add rivals --owner rival",
        "group join rivals rival1",
        "numbers add 3615550100 --holder rival",
        "numbers allocate rival1 3615550100",
    ):
        await api.table.run(line, ROOT)
    await record_calls(store)
    api.rivals_token = (await api.table.run("tokens add rival", ROOT)).result["token"]["id"]
    api.token = (await api.table.run("tokens add shop", ROOT)).result["secret"]
    return api


async def record_calls(store):
    """A call of the rival's phone to nobody's number, and one to the reseller's phone."""
    ids = {one["username"]: one["id"] for one in await store.records.list("", 100, "", None)}
    for number, callee in ((RIVALS_CALL, None), (SHARED_CALL, ids["shop1"])):
        opened = CallOpened(
            call_id=number,
            node="n",
            caller_account_id=ids["rival1"],
            caller_number="2002",
            called_number="2001",
            caller_sip_call_id="x@rival1",
            caller_address="udp:rival1:5060",
            setup_at=NOON,
        )
        await store.calls.open(opened)
        await store.calls.answer(CallAnswered(number, NOON, "shop1", callee, "y@shop1", "udp:shop1:5060"))


def urls_of(route, target, api):
    """The path of a route with something of the rival in it, with nothing there, and what was put in."""
    pairs = {
        "user": (target, "nobody"),
        "template": (target, "nobody"),
        "account": (target, "nobody"),
        "name": ("rivals", "nothing"),
        "member": (target, "nobody"),
        "number": ("3615550100", "3615559999"),
        "id": (CALL_ID, "9" * 32) if route.command == "drop" else (str(api.rivals_token), "999999"),
        "address": ("192.0.2.1", "192.0.2.2"),
        "target": ("192.0.2.1", "192.0.2.2"),
    }
    taken = {name: pairs[name] for name in route.places}
    theirs, nothing = (route.path.format_map({n: pair[side] for n, pair in taken.items()}) for side in (0, 1))
    return theirs, nothing, [one for pair in taken.values() for one in pair]


def acting(route, api):
    return {"if-match": "*"} if route.versioned(api.table.get(route.command)) else {}


async def everything(api):
    """All that the rival has, as the administrator sees it."""
    facts = []
    for path in (
        "/accounts/rival",
        "/accounts/rival1",
        "/accounts/rival1/addresses",
        "/accounts/top",
        "/tree",
        "/tokens?account=rival",
        "/groups",
        "/groups/rivals/members",
        "/numbers",
        "/registrations",
        "/calls",
    ):
        facts.append(json.dumps((await api.ask("GET", path))[1], sort_keys=True))
    return facts


@pytest.mark.limit(30)
@pytest.mark.parametrize("target", ["rival", "rival1", "top"])
async def test_e2_a_guessed_name_is_404_on_every_route(api, target):
    """E2: a sibling, what is below it and what is above answer as if they did not exist; nothing changes."""
    before = await everything(api)
    for route in ROUTES:
        if not route.places or api.table.get(route.command) is None:
            continue
        given = BODIES.get(route.command, {})
        body = {k: v for k, v in given.items() if k not in route.places} if route.has_body else None
        *urls, names = urls_of(route, target, api)
        answers = []
        for url in urls:
            headers = acting(route, api)
            status, value, _ = await api.ask(route.method, url, body, token=api.token, headers=headers)
            said = str(value["lines"])
            for name in sorted(names, key=len, reverse=True):
                said = said.replace(name, "N")
            answers.append((status, value["error"], said))
        assert answers[0] == answers[1], f"{route.method} {route.path}: tells that {target} exists"
        assert answers[0][0] in (403, 404), f"{route.method} {route.path}: {answers}"
    assert await everything(api) == before


async def test_e2_lists_show_the_own_subtree_only(api):
    """Accounts, tree, tokens and the audit list of a reseller have nothing of others in them."""
    _, accounts, _ = await api.ask("GET", "/accounts", token=api.token)
    assert {one["username"] for one in accounts["items"]} == {"shop", "shop1"}
    for path in (
        "/tree",
        "/tokens?all=true",
        "/audit?limit=100",
        "/accounts/shop1",
        "/groups",
        "/numbers",
        "/registrations",
        "/calls",
        "/cdrs",
    ):
        status, value, _ = await api.ask("GET", path, token=api.token)
        assert status == 200
        assert "rival" not in json.dumps(value), path
        assert "3615550100" not in json.dumps(value), path


async def test_e2_call_records_are_of_the_own_subtree_only(api):
    """A call between the two is there, with the rival's number; his other calls are not, by no way."""
    _, cdrs, _ = await api.ask("GET", "/cdrs", token=api.token)
    assert [one["call_id"] for one in cdrs["items"]] == [SHARED_CALL]
    assert (cdrs["items"][0]["caller"], cdrs["items"][0]["caller_number"]) == ("", "2002")
    for start in (RIVALS_CALL, "9" * 32):
        _, after, _ = await api.ask("GET", f"/cdrs?after={start}", token=api.token)
        assert after == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/accounts", {"name": "9001", "fields": {"parent_id": "rival"}}),
        ("/accounts", {"name": "9001", "fields": {"parent_id": "top"}}),
        ("/accounts/shop1/move", {"parent": "rival"}),
        ("/accounts/shop1/move", {"parent": "top"}),
        ("/accounts/shop1/move", {"parent": "-"}),
        ("/tokens", {"account": "rival"}),
        ("/tokens", {"account": "top"}),
    ],
)
async def test_e2_nothing_gets_out_of_the_subtree(api, path, body):
    """A reseller cannot make, move or empower anything outside of what is his."""
    before = await everything(api)
    status, value, _ = await api.ask(
        "POST", path, body, token=api.token, headers={"if-match": "*"} if "move" in path else {}
    )
    assert status in (400, 403, 404, 409), value
    assert await everything(api) == before


async def test_a_reseller_works_in_his_own_subtree(api):
    """Makes an account, changes it under its version, sees it all in the audit list."""
    status, made, headers = await api.ask("POST", "/accounts", {"name": "shop2"}, token=api.token)
    assert status == 201, made
    tag = headers.getRawHeaders("etag")[0]
    status, changed, _ = await api.ask(
        "PATCH", "/accounts/shop2", {"display_name": "Till"}, token=api.token, headers={"if-match": tag}
    )
    assert (status, changed["display_name"]) == (200, "Till")
    status, value, _ = await api.ask(
        "PATCH", "/accounts/shop2", {"display_name": "Other"}, token=api.token, headers={"if-match": tag}
    )
    assert (status, value["error"]) == (412, "stale")
    _, audit, _ = await api.ask("GET", "/audit?object=account:shop2", token=api.token)
    assert [one["command"] for one in audit["items"]] == ["set", "adduser"]
    assert audit["items"][0]["changes"][0]["after"] == {"display_name": "Till"}
    assert {one["who"] for one in audit["items"]} == {"shop"}


async def test_a_revoked_token_is_refused_at_once(api):
    """The next request with it gets 401."""
    _, tokens, _ = await api.ask("GET", "/tokens?account=shop")
    assert (await api.ask("DELETE", f"/tokens/{tokens['items'][0]['id']}"))[0] == 200
    assert (await api.ask("GET", "/accounts", token=api.token))[0] == 401


async def test_two_operators_at_once_only_one_wins(api):
    """Both have seen the same version and send at the same moment: one 200, one 412."""
    tag = (await api.ask("GET", "/accounts/shop1"))[2].getRawHeaders("etag")[0]
    both = [
        ensureDeferred(api.ask("PATCH", "/accounts/shop1", {"display_name": name}, headers={"if-match": tag}))
        for name in ("A", "B")
    ]
    statuses = sorted([(await one)[0] for one in both])
    assert statuses == [200, 412]
