"""The JSON API: its document is right, and every route answers as the document says."""

import json
from typing import Any

import pytest
import pytest_twisted
from openapi_spec_validator import OpenAPIV31SpecValidator
from treq.testing import StubTreq
from twisted.logger import formatEvent, globalLogPublisher

from mizu.console.table import PERMISSIONS, CommandTable
from mizu.console.token_commands import token_sha256
from mizu.errors import OutcomeUnknown, StoreBusy
from mizu.model import Operator, Rights
from mizu.testing.api import LOCAL_TOKEN, ApiProbe
from mizu.testing.console import FakeConsole, binding, call_record, live_call
from mizu.web.api_routes import PREFIX, ROUTES, RouteTable
from mizu.web.openapi import document, operations

OWNER = Operator("console", Rights.GENERAL_ADMIN, "test")
CALL_ID = "5f0c1d2e9a77" + "0" * 20

#: What each resource route is asked in these tests: path, and body where it takes one.
ASKED: dict[tuple[str, str], tuple[str, Any]] = {
    ("GET", "/accounts"): ("/accounts?prefix=10&limit=1", None),
    ("POST", "/accounts"): ("/accounts", {"name": "2001", "display_name": "Front desk"}),
    ("GET", "/accounts/{user}"): ("/accounts/1001", None),
    ("PATCH", "/accounts/{user}"): ("/accounts/1001", {"max_channels": 2, "can_dial": False}),
    ("DELETE", "/accounts/{user}"): ("/accounts/1001", None),
    ("PUT", "/accounts/{user}/password"): ("/accounts/1001/password", {"password": "correct horse"}),
    ("POST", "/accounts/{user}/enable"): ("/accounts/1001/enable", {}),
    ("POST", "/accounts/{user}/disable"): ("/accounts/1001/disable", {}),
    ("POST", "/accounts/{user}/move"): ("/accounts/1001/move", {"parent": "-"}),
    ("POST", "/accounts/{template}/clone"): (
        "/accounts/1001/clone",
        {"name": "2002", "fields": {"max_channels": 1}},
    ),
    ("GET", "/tree"): ("/tree?levels=3", None),
    ("GET", "/registrations"): ("/registrations?prefix=1001", None),
    ("DELETE", "/registrations/{user}"): ("/registrations/1001", None),
    ("GET", "/calls"): ("/calls", None),
    ("DELETE", "/calls/{id}"): (f"/calls/{CALL_ID}", None),
    ("GET", "/cdrs"): ("/cdrs?limit=1", None),
    ("GET", "/options"): ("/options?only=all", None),
    ("GET", "/options/{name}"): ("/options/maxresellers", None),
    ("PATCH", "/options/{name}"): ("/options/maxresellers", {"value": 7}),
    ("DELETE", "/options/{name}"): ("/options/maxresellers", None),
    ("GET", "/tokens"): ("/tokens?all=true", None),
    ("POST", "/tokens"): ("/tokens", {"account": "alice", "rights": "sales", "days": 3}),
    ("DELETE", "/tokens/{id}"): ("/tokens/1", None),
    ("GET", "/audit"): ("/audit?limit=1", None),
    ("GET", "/status"): ("/status", None),
}


class Api(ApiProbe):
    """The HTTP side over fakes in which the things that the tests name exist."""

    def __init__(self) -> None:
        self.console = FakeConsole()
        self.console.calls.rows = [live_call(CALL_ID)]
        self.console.cdrs.records = [call_record(), call_record("1" * 32)]
        self.console.registrations.rows = [
            binding(),
            binding(contact="sip:1001@192.0.2.2"),
            binding("1002"),
            binding("1003"),
        ]
        super().__init__(self.console.services, self.console.tokens)

    async def fill(self) -> "Api":
        for line in ("adduser 1001", "adduser 1002", "tokens add alice"):
            await self.table.run(line, OWNER)
        return self


@pytest_twisted.async_fixture
async def api():
    return await Api().fill()


DOCUMENT = Api().document
OPERATIONS = [(method, path) for method, path, _ in operations(DOCUMENT["paths"])]
RESOURCES = [one for one in OPERATIONS if not one[1].startswith("/commands")]


def test_the_document_is_valid_openapi():
    """Tools that read OpenAPI 3.1 take it."""
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_operations_have_names_of_their_own():
    """Code that is generated from the document has a function for each."""
    names = [operation["operationId"] for _, _, operation in operations(DOCUMENT["paths"])]
    assert len(names) == len(set(names))


def test_every_route_of_the_table_fits_its_command():
    """A command that loses an argument which a route needs is found here, not by a client."""
    table = RouteTable(Api().table)
    bound = [(route, table.commands.get(route.command)) for route in ROUTES]
    assert [route.problem(command) for route, command in bound if command and route.problem(command)] == []
    assert len(table.routes) == sum(command is not None for _, command in bound)


def test_the_surface_is_what_we_mean_it_to_be():
    """No resource appears or goes unseen: each is asked in these tests."""
    assert set(RESOURCES) - {("GET", "/commands")} == set(ASKED)


def test_a_route_without_its_command_is_absent():
    """The table of another server, e.g. without accounts, has a document without them."""
    routes = RouteTable(CommandTable())
    assert routes.routes == []
    assert set(document(routes, "1")["paths"]) == {"/commands", "/commands/help"}


def test_every_command_has_its_generic_path():
    """``options set`` is POST /commands/options/set."""
    paths = {path for _, path in OPERATIONS}
    assert "/commands/options/set" in paths
    assert len([path for path in paths if path.startswith("/commands/")]) == len(Api().table)


@pytest.mark.parametrize(("method", "path"), sorted(ASKED))
async def test_each_route_answers_as_the_document_says(api, method, path):
    """The status, the content type and the members that the document promises."""
    url, body = ASKED[method, path]
    headers = {"if-match": "*"} if (method, path) in VERSIONED else {}
    if method in ("POST", "PUT", "PATCH"):
        api.check_body(method, path, body)
    status, value, _ = await api.ask(method, url, body, headers=headers)
    assert status in (200, 201), value
    api.check(method, path, status, value)


VERSIONED = {
    (method, path)
    for method, path, operation in operations(DOCUMENT["paths"])
    if any(one["name"] == "If-Match" for one in operation.get("parameters", ()))
}


@pytest.mark.parametrize(("method", "path"), sorted(ASKED))
async def test_e2_each_route_needs_a_token(api, method, path):
    """E2: without a token, and with a wrong one, 401 and nothing is told."""
    url, body = ASKED[method, path]
    for token in ("", "x" * 43, "mizu_" + "x" * 43):
        status, value, headers = await api.ask(method, url, body, token=token)
        assert status == 401
        api.check(method, path, status, value)
        assert headers.getRawHeaders("www-authenticate") == ['Bearer realm="mizu"']


@pytest.mark.parametrize(("method", "path"), sorted(ASKED))
async def test_e2_each_route_needs_the_rights_of_its_command(api, method, path):
    """E2: one level of rights below is refused with 403."""
    route = next(one for one in ROUTES if (one.method, one.path) == (method, path))
    command = api.table.get(route.command)
    below = max(level for level in Rights if level < PERMISSIONS[command.permission])
    await api.console.tokens.add(
        "low", token_sha256("mizu_" + "l" * 43), OWNER, rights=below, label="", expires_at=None
    )
    url, body = ASKED[method, path]
    headers = {"if-match": "*"} if (method, path) in VERSIONED else {}
    status, value, _ = await api.ask(method, url, body, token="mizu_" + "l" * 43, headers=headers)
    assert (status, value["error"]) == (403, "forbidden")
    api.check(method, path, status, value)


@pytest.mark.parametrize(
    ("method", "path"), sorted(one for one in ASKED if one[0] in ("POST", "PUT", "PATCH"))
)
async def test_e2_a_body_must_be_a_json_object(api, method, path):
    """E2, CSRF: what a foreign web page can send unasked is refused; so is broken JSON."""
    url, _ = ASKED[method, path]
    treq = StubTreq(api.routes.app.resource())
    for content_type, data, expected in (
        ("text/plain", b"{}", 415),
        ("application/x-www-form-urlencoded", b"a=1", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[]", 400),
        ("application/json", b'{"value": NaN}', 400),
        ("application/json", b"[" * 5000, 400),
    ):
        answer = await treq.request(
            method,
            f"http://localhost{PREFIX}{url}",
            data=data,
            headers={"content-type": content_type, "authorization": f"Bearer {LOCAL_TOKEN}", "if-match": "*"},
        )
        value = json.loads(await answer.content())
        assert answer.code == expected, value
        api.check(method, path, expected, value)


@pytest.mark.parametrize(("method", "path"), sorted(ASKED))
async def test_an_unknown_argument_is_refused(api, method, path):
    """A typing error does not do something else than was meant."""
    url, body = ASKED[method, path]
    headers = {"if-match": "*"} if (method, path) in VERSIONED else {}
    if body is None:
        url += ("&" if "?" in url else "?") + "nonsense=1"
    status, value, _ = await api.ask(
        method, url, None if body is None else {**body, "nonsense": 1}, headers=headers
    )
    assert status == 400
    api.check(method, path, status, value)


async def test_each_command_runs_by_its_name(api):
    """The generic form takes typed arguments and answers as the console does."""
    status, value, _ = await api.ask("POST", "/commands/options/set", {"name": "maxresellers", "value": 3})
    assert (status, value["ok"], value["lines"]) == (200, True, ["maxresellers is 3, was 10"])
    api.check("POST", "/commands/options/set", status, value)
    status, value, _ = await api.ask(
        "POST", "/commands/options/set", {"name": "maxresellers", "value": "many"}
    )
    assert (status, value["error"]) == (400, "bad_request")
    status, value, _ = await api.ask("POST", "/commands/options/set", {"name": "maxresellers"})
    assert (status, value["error"], value["lines"][0]) == (400, "usage", "value is missing")
    status, value, _ = await api.ask("POST", "/commands/passwd", {"user": "1001"})
    assert (status, value["error"]) == (400, "secret_missing")
    status, value, _ = await api.ask("POST", "/commands/nothing/here", {})
    assert status == 404
    status, value, headers = await api.ask("GET", "/commands/options")
    assert (status, headers.getRawHeaders("allow")) == (405, ["POST"])
    status, value, _ = await api.ask("GET", "/commands")
    api.check("GET", "/commands", status, value)


async def test_what_is_made_says_where_it_is(api):
    """201, Location and ETag; a generated password is shown this once."""
    status, value, headers = await api.ask("POST", "/accounts", {"name": "#1"})
    assert status == 400
    status, value, headers = await api.ask("POST", "/accounts", {"name": "20+1"})
    assert (status, value["username"]) == (201, "20+1")
    assert headers.getRawHeaders("location") == ["/api/v1/accounts/20%2B1"]
    assert headers.getRawHeaders("etag") == [f'"v{value["version"]}"']
    assert len(value["password"]) == 16
    assert (await api.ask("GET", "/accounts/20%2B1"))[1]["username"] == "20+1"
    assert (await api.ask("POST", "/accounts", {"name": "20+1"}))[1]["error"] == "conflict"


async def test_two_operators_do_not_overwrite_each_other(api):
    """An update names the version it is meant for: without 428, with an old one 412, nothing is changed."""
    path, tag = "/accounts/1001", (await api.ask("GET", "/accounts/1001"))[2].getRawHeaders("etag")[0]
    assert (await api.ask("PATCH", path, {"max_channels": 1}))[0] == 428
    status, value, headers = await api.ask("PATCH", path, {"max_channels": 1}, headers={"if-match": tag})
    assert (status, value["max_channels"]) == (200, 1)
    newer = headers.getRawHeaders("etag")[0]
    assert newer != tag
    for old in (tag, '"v999999"', newer.strip('"'), f"W/{newer}", f'{tag}, "v2"'):
        status, value, _ = await api.ask("PATCH", path, {"max_channels": 9}, headers={"if-match": old})
        assert (status, value["error"]) == (412, "stale")
        api.check("PATCH", "/accounts/{user}", status, value)
    assert (await api.ask("GET", path))[1]["max_channels"] == 1
    assert (await api.ask("PATCH", path, {"max_channels": 2}, headers={"if-match": "*"}))[0] == 200
    assert (await api.ask("DELETE", path, headers={"if-match": tag}))[0] == 412
    assert (await api.ask("GET", path, headers={"if-match": newer}))[0] == 400


async def test_lists_are_paged(api):
    """``limit`` and ``after``: following ``next`` shows each item once."""
    lists = (("/accounts", "username"), ("/cdrs", "call_id"), ("/audit", "id"), ("/registrations", "contact"))
    for path, member in lists:
        seen, after = [], ""
        while True:
            _, page, _ = await api.ask("GET", f"{path}?limit=1" + (f"&after={after}" if after else ""))
            seen += [item[member] for item in page["items"]]
            after = page["next"]
            if after is None:
                break
        everything = (await api.ask("GET", path))[1]["items"]
        assert seen == [item[member] for item in everything]
        assert len(seen) >= 2, path


async def test_wrong_paths_methods_and_queries(api):
    """Each has a stable word and says what is right."""
    for path in ("/nothing", "/accounts/", "/accounts/a/b/c", "/accounts//", "//accounts"):
        assert (await api.ask("GET", path))[0] == 404, path
    status, _, headers = await api.ask("PUT", "/accounts", {})
    assert (status, headers.getRawHeaders("allow")) == (405, ["GET, HEAD, POST"])
    answer = await StubTreq(api.routes.app.resource()).request("OPTIONS", f"http://localhost{PREFIX}/tree")
    assert (answer.code, answer.headers.getRawHeaders("allow")) == (405, ["GET, HEAD"])
    for query in ("limit=0", "limit=x", "limit=1&limit=2", "all=1"):
        assert (await api.ask("GET", f"/tokens?{query}"))[0] == 400, query
    assert (await api.ask("POST", "/accounts?name=9", {"name": "9"}))[0] == 400


async def test_errors_speak_of_the_request(api):
    """Not of options of a terminal."""
    status, value, _ = await api.ask("GET", "/accounts?limit=x")
    assert (status, value["lines"][0]) == (400, "limit: want a whole number from 1 to 10000, got 'x'")
    assert value["lines"][1] == "/api/v1/openapi.json says what this takes"


async def test_an_owner_is_taken_away_by_null(api):
    """As ``parent_id`` of an account does; an empty text too."""
    await api.ask("POST", "/accounts", {"name": "top"})
    await api.ask("POST", "/accounts", {"name": "sub", "fields": {"parent_id": "top"}})
    for none in (None, ""):
        any_version = {"if-match": "*"}
        status, value, _ = await api.ask("POST", "/accounts/sub/move", {"parent": none}, headers=any_version)
        assert (status, value["parent_id"]) == (200, None)
        status, value, _ = await api.ask("POST", "/accounts/sub/move", {"parent": "top"}, headers=any_version)
        assert status == 200
    assert (await api.ask("POST", "/accounts/sub/move", {}, headers=any_version))[0] == 400


async def test_e1_what_comes_from_sip_is_harmless(api):
    """E1: markup, escapes and line breaks in names reach a reader as JSON escapes in ASCII."""
    hostile = "<script>alert(1)</script>\x1b[31m\r\n\u202e"
    api.console.registrations.rows = [binding(user_agent=hostile)]
    treq = StubTreq(api.routes.app.resource())
    answer = await treq.get(
        f"http://localhost{PREFIX}/registrations", headers={"authorization": f"Bearer {LOCAL_TOKEN}"}
    )
    text = await answer.content()
    assert all(32 <= byte < 127 or byte == 10 for byte in text)
    assert b"<" not in text
    assert json.loads(text)["items"][0]["user_agent"] == hostile


async def test_e3_no_secret_in_the_audit_list_nor_in_the_log(api):
    """E3: passwords and tokens that went through the API are in neither, right or wrong ones."""
    events = []
    globalLogPublisher.addObserver(events.append)
    anyone = {"if-match": "*"}
    await api.ask("PUT", "/accounts/1001/password", {"password": "hunter2hunter2"}, headers=anyone)
    await api.ask("POST", "/accounts", {"name": "3001", "password": "swordfish-22"})
    _, token, _ = await api.ask("POST", "/tokens", {"account": "alice"})
    await api.ask("PUT", "/accounts/1001/password", {"password": "tooth\x07fairy"}, headers=anyone)
    await api.ask("GET", "/accounts", token="mizu_" + "s3cr3t" * 7 + "x")
    globalLogPublisher.removeObserver(events.append)
    text = repr(api.console.audit.rows) + repr(events) + "".join(map(str, map(formatEvent, events)))
    assert "tooth" not in text
    assert "s3cr3t" not in text
    for secret in ("hunter2hunter2", "swordfish-22", token["secret"], token["secret"].removeprefix("mizu_")):
        assert secret not in text
    assert "passwd 1001" in text


async def test_an_emergency_needs_no_audit_list(api):
    """The list cannot be written: a call is ended all the same."""
    api.console.audit.error = StoreBusy("down")
    assert (await api.ask("DELETE", f"/calls/{CALL_ID}"))[0] == 200  # an emergency: it is logged as critical


async def test_the_document_is_open_and_says_what_is_there(api):
    """Tools fetch it without a token; it has no secret."""
    status, value, _ = await api.ask("GET", "/openapi.json", token="")
    assert status == 200
    assert value == DOCUMENT


async def test_what_may_have_been_made_is_not_simply_tried_again(api):
    """503 ``outcome_unknown`` has no ``Retry-After``; no entry says yet what became of it."""
    rows = len(api.console.audit.rows)
    anyone = {"if-match": "*"}
    api.console.accounts.error = OutcomeUnknown("mark")
    status, value, headers = await api.ask("PATCH", "/accounts/1001", {"max_channels": 1}, headers=anyone)
    assert (status, value["error"], headers.getRawHeaders("retry-after")) == (503, "outcome_unknown", None)
    api.check("PATCH", "/accounts/{user}", status, value)
    assert [(mark, entry.outcome) for mark, entry in api.console.audit.doubts] == [("mark", "store_busy")]
    assert len(api.console.audit.rows) == rows
    api.console.accounts.error = StoreBusy("the database is down")
    status, value, headers = await api.ask("PATCH", "/accounts/1001", {"max_channels": 1}, headers=anyone)
    assert (status, value["error"], headers.getRawHeaders("retry-after")) == (503, "store_busy", ["5"])
