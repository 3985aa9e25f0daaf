"""Answers to what is a little wrong, or said in another way, over the real store."""

from urllib.parse import quote

import pytest
import pytest_twisted

from mizu.console.commands import command_table
from mizu.errors import BadRequest, Conflict, MizuError
from mizu.model import Operator, Rights
from mizu.testing.api import ApiProbe
from mizu.testing.console import store_services
from mizu.web.routes import command_of

STAFF = Operator("boss", Rights.GENERAL_ADMIN, "127.0.0.1")


@pytest_twisted.async_fixture
async def api(store):
    """The API, over accounts of a few kinds."""
    probe = ApiProbe(store_services(store))
    for line in (
        "adduser acme type=reseller",
        "adduser carrier type=sip_server",
        "adduser alice parent_id=acme rights=admin",
    ):
        await probe.table.run(line, STAFF)
    return probe


@pytest.fixture
def run(store):
    """Runs a line as staff."""
    table = command_table(store_services(store, imports=store.imports))

    async def run(line: str):
        return (await table.run(line, STAFF)).result

    return run


async def refused(kind: type[MizuError], awaitable) -> str:
    with pytest.raises(kind) as caught:
        await awaitable
    return str(caught.value)


async def test_what_is_made_says_where_it_is(api):
    """A group and an account at a SIP server too; it is there."""
    status, value, headers = await api.ask("POST", "/groups", {"name": "ab/c"})
    assert status == 201
    assert headers.getRawHeaders("location") == ["/api/v1/groups/ab%2Fc"]
    assert (await api.ask("GET", "/groups/ab%2Fc"))[1]["name"] == value["name"] == "ab/c"
    body = {"server": "carrier", "username": "line1", "password": "x"}
    status, value, headers = await api.ask("POST", "/sip-accounts", body)
    assert (status, headers.getRawHeaders("location")) == (201, [f"/api/v1/sip-accounts/{value['id']}"])
    assert (await api.ask("GET", f"/sip-accounts/{value['id']}"))[0] == 200
    assert (await api.ask("POST", "/numbers", {"numbers": ["3615550100"]}))[0] == 200


@pytest.mark.parametrize("before", ["zz", "0" * 31, "0" * 33, "G" * 32, "1234\u0661"])
async def test_a_place_in_the_calls_that_is_none_is_refused(api, run, before):
    """As in every other list."""
    assert "32 hex digits" in await refused(BadRequest, run(f"cdrs --before {before}"))
    status, value, _ = await api.ask("GET", f"/cdrs?after={quote(before)}")
    assert (status, value["error"]) == (400, "bad_request")
    assert (await api.ask("GET", f"/cdrs?after={'0' * 32}"))[1] == {"items": [], "next": None}


async def test_rights_of_a_token_by_number(api, run):
    """The original's numbers, in the console and in JSON; no other ones."""
    assert (await run("tokens add alice --rights 40"))["token"]["rights"] == "sales"
    assert (await run("tokens add alice --rights user"))["token"]["rights"] == "user"
    for rights in (50, "50", "admin"):
        status, value, _ = await api.ask("POST", "/tokens", {"account": "alice", "rights": rights})
        assert (status, value["rights"]) == (201, "admin")
    for rights in ("10", "45", "-40", "root"):
        assert "or a number: 20, 30" in await refused(BadRequest, run(f"tokens add alice --rights {rights}"))
    assert (await api.ask("POST", "/tokens", {"account": "alice", "rights": True}))[0] == 400


async def test_a_name_at_a_sip_server_is_no_empty_one(api, run):
    """Said in words of people."""
    said = "username: want 1 to 255 characters"
    assert said in await refused(BadRequest, run("sipaccounts add carrier '' secret"))
    number = (await run("sipaccounts add carrier line1 secret"))["sip_account"]["id"]
    assert "username" in await refused(BadRequest, run(f"sipaccounts set {number} username="))


async def test_sub_endusers_have_an_owner_who_is_no_gateway(api, run):
    """By every way, and as long as they are there."""
    for line in (
        "adduser cabin type=sub_enduser",
        "adduser cabin type=1 parent_id=carrier",
        "set carrier type=sub_enduser",
    ):
        assert "a sub_enduser needs an owner" in await refused(BadRequest, run(line))
    await run("adduser cabin type=sub_enduser parent_id=alice")
    for line in ("move cabin -", "move cabin carrier"):
        assert "a sub_enduser needs an owner" in await refused(BadRequest, run(line))
    assert "owns sub-endusers" in await refused(Conflict, run("set alice type=gateway"))
    await run("set alice type=operator")
    await run("set cabin type=enduser parent_id=carrier")


async def test_a_company_that_is_none_is_said(api, run):
    """It is taken, as the original's tables have such; its own calls do not reach the short numbers."""
    [warning] = (await run("set alice company_id=acme"))["warnings"]
    assert warning.startswith("acme is no company: 'set acme is_company=1'")
    [warning] = (await run("adduser bob company_id=acme"))["warnings"]
    assert warning.startswith("acme is no company")
    assert (await run("set alice country=HU"))["warnings"] == []
    await run("set acme is_company=1")
    assert (await run("adduser carol company_id=acme"))["warnings"] == []


@pytest.mark.parametrize(
    "text", ['{"command": "users", "command": "shutdown"}', '{"command": "users", "\\u0063ommand": "users"}']
)
def test_a_member_that_is_there_twice_is_refused(text):
    """Whichever a reader before us has taken."""
    with pytest.raises(BadRequest, match="member 'command' is there twice"):
        command_of(text.encode())
