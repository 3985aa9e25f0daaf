"""Whatever operators change has a version: who has seen an older one changes nothing, by console or API."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred

from mizu.console.versions import VERSION
from mizu.errors import BadRequest, Stale
from mizu.model import Operator, Rights
from mizu.testing.api import ApiProbe
from mizu.testing.console import store_services
from mizu.web.api_routes import ROUTES

ROOT = Operator("console", Rights.GENERAL_ADMIN, "test")
READY = (
    "adduser 1001",
    "adduser 1002",
    "adduser carrier type=sip_server",
    "addresses add 1001 192.0.2.1",
    "group add sales",
    "group join sales 1002",
    "numbers add 3611..3612",
    "numbers allocate 1001 3612",
    "sipaccounts add carrier line1 secret",
    "options set maxresellers 6",
)
#: Commands that change something and make new things only, or things without a version.
NEW = {
    *("adduser", "clone", "group add", "numbers add", "sipaccounts add", "tokens add", "tokens revoke"),
    *("sipaccounts rotate-keys", "import", "import cancel", "export"),
}


@dataclass(frozen=True)
class Case:
    """A change over the API, what it is of, and the same on the console."""

    method: str
    path: str  #: template
    url: str
    of: str  #: what has the version
    line: str
    body: Any = None


ACCOUNT, GROUP, SIP = "/accounts/1001", "/groups/sales", "/sip-accounts/1"
OPTION = "/options/maxresellers"
CASES = [
    Case("PATCH", "/accounts/{user}", ACCOUNT, ACCOUNT, "set 1001 country=HU", {"country": "HU"}),
    Case("DELETE", "/accounts/{user}", ACCOUNT, ACCOUNT, "deluser 1001"),
    Case(
        "PUT",
        "/accounts/{user}/password",
        ACCOUNT + "/password",
        ACCOUNT,
        "passwd 1001 'battery staple'",
        {"password": "battery staple"},
    ),
    Case("POST", "/accounts/{user}/enable", ACCOUNT + "/enable", ACCOUNT, "enable 1001", {}),
    Case("POST", "/accounts/{user}/disable", ACCOUNT + "/disable", ACCOUNT, "disable 1001", {}),
    Case("POST", "/accounts/{user}/move", ACCOUNT + "/move", ACCOUNT, "move 1001 1002", {"parent": "1002"}),
    Case(
        "POST",
        "/accounts/{user}/addresses",
        ACCOUNT + "/addresses",
        ACCOUNT,
        "addresses add 1001 192.0.2.2",
        {"address": "192.0.2.2"},
    ),
    Case(
        "DELETE",
        "/accounts/{user}/addresses/{address}",
        ACCOUNT + "/addresses/192.0.2.1",
        ACCOUNT,
        "addresses del 1001 192.0.2.1",
    ),
    Case("PATCH", "/groups/{name}", GROUP, GROUP, "group set sales --note x", {"note": "x"}),
    Case("DELETE", "/groups/{name}", GROUP, GROUP, "group del sales"),
    Case(
        "POST",
        "/groups/{name}/members",
        GROUP + "/members",
        GROUP,
        "group join sales 1001",
        {"members": ["1001"]},
    ),
    Case(
        "DELETE",
        "/groups/{name}/members/{member}",
        GROUP + "/members/1002",
        GROUP,
        "group leave sales 1002",
    ),
    Case(
        "PATCH",
        "/numbers/{number}",
        "/numbers/3611",
        "/numbers/3611",
        "numbers set 3611 --note x",
        {"note": "x"},
    ),
    Case("DELETE", "/numbers/{number}", "/numbers/3611", "/numbers/3611", "numbers del 3611"),
    Case(
        "POST",
        "/numbers/{number}/allocate",
        "/numbers/3611/allocate",
        "/numbers/3611",
        "numbers allocate 1001 3611",
        {"account": "1001"},
    ),
    Case("POST", "/numbers/{number}/free", "/numbers/3612/free", "/numbers/3612", "numbers free 3612", {}),
    Case("PATCH", "/sip-accounts/{id}", SIP, SIP, "sipaccounts set 1 Enabled=0", {"Enabled": "0"}),
    Case(
        "PUT",
        "/sip-accounts/{id}/password",
        SIP + "/password",
        SIP,
        "sipaccounts passwd 1 'battery staple'",
        {"password": "battery staple"},
    ),
    Case("DELETE", "/sip-accounts/{id}", SIP, SIP, "sipaccounts del 1"),
    Case("PATCH", "/options/{name}", OPTION, OPTION, "options set maxresellers 5", {"value": 5}),
    Case("DELETE", "/options/{name}", OPTION, OPTION, "options reset maxresellers"),
]
#: What changes each, by the beginning of ``Case.of``.
MEANWHILE = {
    "/accounts": "set 1001 max_channels=7",
    "/groups": "group set sales --note meanwhile",
    "/numbers": "numbers set {} --note meanwhile",
    "/sip-accounts": "sipaccounts set 1 Priority=7",
    "/options": "options set maxresellers 7",
}
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.line.partition(" -")[0])


class Api(ApiProbe):
    """The API and the console over the real store."""

    def __init__(self, store):
        super().__init__(store_services(store))

    async def tag(self, case: Case) -> str:
        status, value, headers = await self.ask("GET", case.of)
        assert status == 200, value
        [tag] = headers.getRawHeaders("etag")
        assert tag == f'"v{value["version"]}"'
        return tag

    async def send(self, case: Case, tag: str | None) -> tuple[int, Any, Any]:
        answer = await self.ask(
            case.method, case.url, case.body, headers={} if tag is None else {"if-match": tag}
        )
        self.check(case.method, case.path, *answer[:2])
        return answer

    async def change(self, case: Case) -> None:
        """Another operator changes it."""
        of = "/" + case.of.split("/")[1]
        await self.table.run(MEANWHILE[of].format(case.of.rpartition("/")[2]), ROOT)

    async def everything(self) -> str:
        paths = (ACCOUNT, ACCOUNT + "/addresses", "/groups", GROUP + "/members", "/numbers", SIP, OPTION)
        return json.dumps([(await self.ask("GET", path))[1] for path in paths])


@pytest_twisted.async_fixture
async def api(store):
    api = Api(store)
    for line in READY:
        await api.table.run(line, ROOT)
    return api


def test_every_change_of_what_is_there_takes_a_version(api):
    """No command that changes something with a version goes without; none is missing in these tests."""
    families = ("accounts.write", "options.write", "tokens.write")
    changing = {one.name for one in api.table if one.changes and one.permission in families}
    versioned = {one.name for one in api.table if any(a.name == VERSION for a in one.arguments)}
    assert changing - NEW == versioned
    assert {api.table.parse(case.line)[0].name for case in CASES} == versioned
    routes = {(r.method, r.path) for r in ROUTES if (c := api.table.get(r.command)) and r.versioned(c)}
    assert routes == {(case.method, case.path) for case in CASES}


def test_only_what_adds_may_go_without(api):
    """Over the API everything else demands ``If-Match``."""
    free = {(r.method, r.path) for r in ROUTES if r.adds}
    assert free == {
        ("POST", "/groups/{name}/members"),
        ("POST", "/numbers/{number}/allocate"),
        ("POST", "/accounts/{user}/addresses"),
    }
    assert {(case.method, case.path) for case in CASES if api.demands_version(case.method, case.path)} == {
        (case.method, case.path) for case in CASES
    } - free


@BY_NAME
async def test_what_was_changed_meanwhile_is_not_changed(api, case):
    """412 ``stale``, and everything is as the other operator left it; the same on the console."""
    tag = await api.tag(case)
    await api.change(case)
    before = await api.everything()
    for old in (tag, '"v99"', '"x"'):
        status, value, _ = await api.send(case, old)
        assert (status, value["error"]) == (412, "stale")
    with pytest.raises(Stale, match="somebody changed it meanwhile"):
        await api.table.run(f"{case.line} --version {tag[2:-1]}", ROOT)
    assert await api.everything() == before


@BY_NAME
async def test_without_a_version_nothing_is_overwritten_over_the_api(api, case):
    """428, but where something is only added."""
    before = await api.everything()
    status, value, _ = await api.send(case, None)
    if api.demands_version(case.method, case.path):
        assert (status, value["error"]) == (428, "precondition_required")
        assert await api.everything() == before
    else:
        assert status == 200


@BY_NAME
async def test_what_was_seen_is_changed(api, case):
    """With its ETag; and with ``*``, whatever it is."""
    tag = await api.tag(case)
    status, value, _ = await api.send(case, tag)
    assert status == 200, value
    for line in READY:  # what was deleted is there again
        await api.table.answer(line, ROOT)


@BY_NAME
async def test_the_console_takes_the_version_that_get_shows(api, case):
    """``--version``, and in any case without it."""
    tag = await api.tag(case)
    await api.table.run(f"{case.line} --version {tag[2:-1]}", ROOT)


@BY_NAME
async def test_of_two_at_once_one_wins(api, case):
    """Both have seen the same version, and send at the same moment: one is made, the other refused."""
    if case.line == "enable 1001":  # what is enabled is not changed by it, and keeps its version
        await api.ask("POST", ACCOUNT + "/disable", {}, headers={"if-match": "*"})
    tag = await api.tag(case)
    both = [ensureDeferred(api.send(case, tag)) for _ in range(2)]
    statuses = sorted([(await one)[0] for one in both])
    assert statuses[0] == 200
    assert statuses[1] in (404, 412)


async def test_the_answer_has_the_next_version(api):
    """So that one change can follow another without reading again."""
    tag = (await api.ask("GET", ACCOUNT))[2].getRawHeaders("etag")[0]
    for method, path, body in (
        ("PUT", ACCOUNT + "/password", {"password": "battery staple"}),
        ("POST", ACCOUNT + "/disable", {}),
        ("POST", ACCOUNT + "/enable", {}),
        ("PATCH", ACCOUNT, {"country": "HU"}),
    ):
        status, value, headers = await api.ask(method, path, body, headers={"if-match": tag})
        assert status == 200, value
        tag = headers.getRawHeaders("etag")[0]
    assert tag == (await api.ask("GET", ACCOUNT))[2].getRawHeaders("etag")[0]


async def test_any_free_number_has_no_version(api):
    """Nobody has seen which one it will be."""
    with pytest.raises(BadRequest):
        await api.table.run("numbers allocate 1001 361* --version 1", ROOT)
    status, value, _ = await api.ask(
        "POST", "/accounts/1001/numbers", {"number": "3611"}, headers={"if-match": '"v1"'}
    )
    assert (status, value["error"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("path", "remove", "again", "change"),
    [
        (ACCOUNT, "deluser 1001", "adduser 1001", {"country": "HU"}),
        (GROUP, "group del sales", "group add sales", {"note": "mine"}),
        ("/numbers/3611", "numbers del 3611", "numbers add 3611", {"note": "mine"}),
    ],
)
async def test_what_was_made_anew_is_not_what_was_seen(api, path, remove, again, change):
    """Under the same name there is another one: no version of the old one is ever that of the new one."""
    tags = []
    for _ in range(3):
        tags.append((await api.ask("GET", path))[2].getRawHeaders("etag")[0])
        await api.ask("PATCH", path, {name: f"a{len(tags)}" for name in change}, headers={"if-match": "*"})
    for _ in range(3):
        await api.table.run(remove, ROOT)
        await api.table.run(again, ROOT)
        for tag in tags:
            assert (await api.ask("PATCH", path, change, headers={"if-match": tag}))[0] == 412
        tags.append((await api.ask("GET", path))[2].getRawHeaders("etag")[0])
    assert len(set(tags)) == 6
