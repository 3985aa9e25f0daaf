"""Groups, numbers, accounts at SIP servers and bans through the JSON API, over the real store."""

from types import SimpleNamespace

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred

from mizu.accounts.fields import FIELDS, SERVER
from mizu.accounts.sip_fields import SIP_FIELDS
from mizu.errors import NotFound
from mizu.model import BanRecord, Operator, Rights, TrustedAddress
from mizu.testing.api import ApiProbe
from mizu.testing.console import NOON, store_services

ROOT = Operator("console", Rights.GENERAL_ADMIN, "test")


class FakeDesk:
    """The guard's ban list and white list in memory."""

    def __init__(self):
        self.bans, self.trusted = {}, {}

    def list_bans(self, target=""):
        return [(ban, True) for ban in self.bans.values() if target in ("", ban.target)]

    async def ban(self, target, duration_s, reason, by):
        self.bans[target] = BanRecord(target, reason, by, NOON, None)
        return target, target in self.trusted

    async def unban(self, target):
        if target not in self.bans:
            raise NotFound(f"{target} is not banned")
        return [self.bans.pop(target)]

    async def clear(self):
        count = len(self.bans)
        self.bans.clear()
        return count

    def list_trusted(self):
        return list(self.trusted.values())

    async def trust(self, target, note, by):
        self.trusted[target] = TrustedAddress(target, note, by, NOON)
        return target

    async def distrust(self, target):
        if self.trusted.pop(target, None) is None:
            raise NotFound(f"{target} is not on the white list")
        return target

    def list_failures(self):
        return [SimpleNamespace(what="address", who="192.0.2.1", count=3, left_s=12.5, proven=True)]


class Api(ApiProbe):
    """Remembers what it asked, and holds every answer against the document."""

    def __init__(self, store):
        super().__init__(store_services(store, guard=FakeDesk()))

    async def get(self, path, template="", **more):
        return await self.expect(200, "GET", path, template, **more)

    async def expect(self, wanted, method, path, template="", body=None, **more):
        more.setdefault(
            "headers", {"if-match": "*"} if self.demands_version(method, template or path) else {}
        )
        status, value, _ = await self.ask(method, path, body, **more)
        assert status == wanted, value
        self.check(method, template or path.partition("?")[0], status, value)
        return value


@pytest_twisted.async_fixture
async def api(store):
    api = Api(store)
    for line in ("adduser 1001", "adduser 1002", "adduser carrier type=sip_server"):
        await api.table.run(line, ROOT)
    return api


async def test_groups(api):
    """Made, filled, listed, emptied and deleted."""
    made = await api.expect(201, "POST", "/groups", body={"name": "sales", "note": "who sells"})
    assert (made["name"], made["kind_name"]) == ("sales", "users")
    await api.expect(409, "POST", "/groups", body={"name": "sales"})
    members = "/groups/{name}/members"
    await api.expect(200, "POST", "/groups/sales/members", members, body={"members": ["1001", "1002"]})
    assert (await api.get("/groups/sales/members", members))["items"] == ["1001", "1002"]
    page = await api.get("/groups/sales/members?limit=1", members)
    assert page == {"items": ["1001"], "next": "1001"}
    page = await api.get("/groups/sales/members?limit=1&after=1001", members)
    assert page == {"items": ["1002"], "next": None}
    await api.expect(200, "DELETE", "/groups/sales/members/1001", "/groups/{name}/members/{member}")
    assert (await api.get("/groups"))["items"][0]["members"] == 1
    await api.expect(404, "POST", "/groups/sales/members", members, body={"members": ["nobody"]})
    await api.expect(200, "DELETE", "/groups/sales", "/groups/{name}")
    await api.expect(404, "DELETE", "/groups/sales", "/groups/{name}")


async def test_numbers(api):
    """Entered as a range, given to an account, taken back, removed."""
    added = await api.expect(200, "POST", "/numbers", body={"numbers": ["3615550100..3615550102"]})
    assert len(added["added"]) == 3
    allocate = "/numbers/{number}/allocate"
    taken = await api.expect(200, "POST", "/numbers/3615550101/allocate", allocate, body={"account": "1001"})
    assert (taken["number"], taken["account"], taken["free"]) == ("3615550101", "1001", False)
    await api.expect(409, "POST", "/numbers/3615550101/allocate", allocate, body={"account": "1002"})
    mine = "/accounts/{account}/numbers"
    some = await api.expect(200, "POST", "/accounts/1002/numbers", mine, body={"number": "361*"})
    assert some["number"] == "3615550100"
    assert [one["number"] for one in (await api.get("/numbers?free=true"))["items"]] == ["3615550102"]
    page = await api.get("/numbers?limit=2")
    assert page["next"] == "3615550101"
    free, path = "/numbers/{number}/free", "/numbers/3615550101/free"
    await api.expect(428, "POST", path, free, body={}, headers={})
    freed = await api.expect(200, "POST", path, free, body={}, headers={"if-match": f'"v{taken["version"]}"'})
    assert freed["free"]
    assert freed["version"] > taken["version"]
    await api.expect(200, "DELETE", "/numbers/3615550101", "/numbers/{number}")


#: A value for every field that is not its default; of text where nothing is said.
OTHER = {
    "type": 4,
    "parent_id": "acme",
    "enabled": False,
    "suspended": True,
    "is_template": True,
    "rights": 20,
    "auth_type": 9,
    "auth_ip": ["192.0.2.0/24", "sip.example.com:5080"],
    "tech_prefix": "99",
    "phone_number": "3615550777",
    "short_number": "12",
    "company_id": "acme",
    "billing_account_id": "acme",
    "allowed_partners": ["gw", "@cheap"],
    "partner_priority": ["gw"],
    "ring_group": ["1001", "1002"],
    "ring_mode": 1,
    "enabled_prefixes": ["36", "49"],
    "credit": "12.5",
    "credit_expires_at": "2031-02-03T04:05:06Z",
    "late_fee": -0.25,
    "currency": "EUR",
    "domain_name": "sip.example.com",
    "second_host": "192.0.2.9",
    "rtp_when_caller": 1,
    "rtp_when_called": 7,
    "contract_state": 3,
    "stage": 9,
    "payment_mode": 3,
    "filtering": 6,
    "billing_day": 28,
    "register_interval_s": 60,
}
BY_KIND = {"integer": 5, "percent": "7.25", "number": "361", "prefixes": "36", "text": "a, b=c"}


@pytest.mark.parametrize("filled", [True, False], ids=["filled", "defaults"])
async def test_what_is_read_can_be_sent_back(api, filled):
    """Every field as ``GET`` gives it, by ``PATCH``, changes nothing: ids are not taken for usernames."""
    for line in (
        "adduser acme type=reseller is_company=1",
        "adduser gw type=gateway",
        "group add cheap gateways",
    ):
        await api.table.run(line, ROOT)
    acme = (await api.get("/accounts/acme", "/accounts/{user}"))["id"]
    fields = [one for one in FIELDS if one.changed_by != SERVER and not one.secret]
    assert set(OTHER) <= {one.name for one in fields}
    given = {}
    for one in fields if filled else ():
        usual = not one.default if one.kind.name == "flag" else BY_KIND.get(one.kind.name)
        given[one.name] = OTHER.get(one.name, usual)
    body = {"name": "e1", "fields": given}
    api.check_body("POST", "/accounts", body)
    await api.expect(201, "POST", "/accounts", body=body)
    path, template = "/accounts/e1", "/accounts/{user}"
    seen = await api.get(path, template)
    for one in fields if filled else ():
        assert seen[one.name] != one.kind.to_json(one.default), one.name
    for number in {acme, *range(1, 50)}:
        await api.table.run(f"adduser {number} type=reseller", ROOT)
    same = {one.name: seen[one.name] for one in fields}
    api.check_body("PATCH", template, same)
    await api.expect(200, "PATCH", path, template, body=same)
    assert await api.get(path, template) == seen
    again = {"parent_id": seen["parent_id"]}
    changed = await api.expect(200, "PATCH", "/accounts/1002", template, body=again)
    assert changed["parent_id"] == (acme if filled else None)


@pytest.mark.parametrize(
    ("shape", "fields"), [("Account", FIELDS), ("SipAccount", SIP_FIELDS)], ids=["accounts", "sip accounts"]
)
def test_the_document_has_every_field(api, shape, fields):
    """With its type, meaning, the original's name and numbers; in requests those that can be changed."""
    schemas = api.document["components"]["schemas"]
    answer, change = schemas[shape], schemas[f"{shape}Fields"]["properties"]
    for one in fields:
        shown = answer["properties"][one.name]
        assert one.name in answer["required"]
        assert one.meaning in shown["description"]
        assert shown.get("x-original", []) == list(one.aliases)
        assert shown.get("readOnly", False) == (one.changed_by == SERVER)
        assert (one.name in change) == (one.changed_by != SERVER and one.name != "password")
        if one.kind.names:
            assert shown["enum"] == list(one.kind.names)
            assert all(f"{number} {name}" in shown["description"] for number, name in one.kind.names.items())
    paths = api.document["paths"]
    for path in ("/accounts/{user}", "/sip-accounts/{id}"):
        body = paths[path]["patch"]["requestBody"]["content"]["application/json"]["schema"]
        assert body["$ref"].endswith("Fields")


@pytest.mark.parametrize(
    "body",
    [{"pin": False}, {"parent_id": True}, {"parent_id": [1]}, {"type": 99}, {"enabled": 1}, {"port": 0}, {}],
    ids=str,
)
async def test_what_the_document_forbids_is_refused(api, body):
    """Both say no."""
    with pytest.raises(AssertionError):
        api.check_body("PATCH", "/accounts/{user}", body)
    if body != {"enabled": 1}:  # 1 is yes as text is; clients made from the document write true
        await api.expect(400, "PATCH", "/accounts/1001", "/accounts/{user}", body=body)


async def test_a_pin_is_text(api):
    """What ``GET`` says of a PIN is none. That it was changed is said and noted, not what it is."""
    path, template = "/accounts/1001", "/accounts/{user}"
    for one in (False, True, 4711):
        await api.expect(400, "PATCH", path, template, body={"pin": one})
    assert not (await api.get(path, template))["pin"]
    await api.expect(200, "PATCH", path, template, body={"pin": "0815"})
    assert (await api.get(path, template))["pin"] is True
    done = await api.table.run("set 1001 PIN=1234", ROOT)
    assert done.lines[0] == "pin: changed"
    [change] = done.changes
    assert (change.before, change.after) == ({"pin": "***"}, {"pin": "*** (new)"})
    assert "1234" not in repr(done)
    assert (await api.table.run("set 1001 pin= max_channels=2", ROOT)).lines[0] == "pin: set -> -"
    done = await api.table.run("set 1001 pin= max_channels=3", ROOT)
    assert done.lines[0] == "max_channels: 2 -> 3"
    await api.expect(200, "PATCH", path, template, body={"pin": None})


async def test_further_addresses(api):
    """Entered, listed, shown with the account, removed; a network and a port stand in the path quoted."""
    listing, one = "/accounts/{user}/addresses", "/accounts/{user}/addresses/{address}"
    path = "/accounts/1001/addresses"
    for text in ("192.0.2.0/28", "192.0.2.99:5080"):
        body = {"address": text, "note": ["branch"]}
        added = await api.expect(200, "POST", path, listing, body=body)
        assert (added["username"], added["note"]) == ("1001", "branch")
    assert [one["address"] for one in (await api.get(path, listing))["items"]] == [
        "192.0.2.0/28",
        "192.0.2.99",
    ]
    shown = await api.get("/accounts/1001", "/accounts/{user}")
    assert [one["port"] for one in shown["addresses"]] == [0, 5080]
    await api.expect(404, "DELETE", f"{path}/192.0.2.99%3A5081", one)
    for text in ("192.0.2.0%2F28", "192.0.2.99%3A5080"):
        await api.expect(200, "DELETE", f"{path}/{text}", one)
    assert (await api.get(path, listing))["items"] == []
    await api.expect(400, "POST", path, listing, body={"address": "no address"})
    await api.expect(404, "GET", "/accounts/nobody/addresses", listing)


async def test_accounts_at_sip_servers(api):
    """Their passwords go in and never come out."""
    secret = "battery staple 22"
    made = await api.expect(
        201,
        "POST",
        "/sip-accounts",
        body={"server": "carrier", "username": "line1", "password": secret, "priority": "10"},
    )
    one = f"/sip-accounts/{made['id']}"
    listed = await api.get("/sip-accounts?server=carrier")
    assert [(item["username"], item["priority"]) for item in listed["items"]] == [("line1", 10)]
    changed = await api.expect(
        200, "PATCH", one, "/sip-accounts/{id}", body={"enabled": False}, headers={"if-match": "*"}
    )
    assert changed["fields"]["enabled"] in (False, 0)
    await api.expect(428, "PATCH", one, "/sip-accounts/{id}", body={"enabled": True}, headers={})
    seen = {"if-match": f'"v{made["version"]}"'}
    await api.expect(412, "PATCH", one, "/sip-accounts/{id}", body={"enabled": True}, headers=seen)
    await api.expect(200, "PUT", f"{one}/password", "/sip-accounts/{id}/password", body={"password": secret})
    audit = await api.get("/audit")
    assert secret not in str([made, listed, changed, audit])
    await api.expect(200, "DELETE", one, "/sip-accounts/{id}")
    await api.expect(404, "DELETE", one, "/sip-accounts/{id}")


async def test_bans_and_the_white_list(api):
    """A network in a path has its slash quoted."""
    await api.expect(
        200, "POST", "/bans", body={"target": "192.0.2.0/24", "duration": "1d", "reason": "scans us"}
    )
    assert (await api.get("/bans"))["items"][0]["reason"] == "scans us"
    await api.expect(200, "DELETE", "/bans/192.0.2.0%2F24", "/bans/{target}")
    await api.expect(404, "DELETE", "/bans/192.0.2.0%2F24", "/bans/{target}")
    await api.expect(200, "POST", "/bans", body={"target": "192.0.2.7", "duration": 90})
    assert (await api.expect(200, "DELETE", "/bans"))["bans_ended"] == 1
    await api.expect(200, "POST", "/whitelist", body={"target": "192.0.2.8", "note": ["our", "carrier"]})
    assert (await api.get("/whitelist"))["items"][0]["note"] == "our carrier"
    await api.expect(200, "DELETE", "/whitelist/192.0.2.8", "/whitelist/{target}")
    assert (await api.get("/failures"))["items"][0]["count"] == 3


async def test_every_change_is_in_the_audit_list(api):
    """With what it was before and after, by the thing that changed."""
    await api.expect(201, "POST", "/groups", body={"name": "sales"})
    await api.expect(200, "POST", "/bans", body={"target": "192.0.2.7"})
    for about in ("group:sales", "ban:192.0.2.7", "account:1001"):
        entries = (await api.get(f"/audit?object={about}"))["items"]
        assert len(entries) == 1, about
        assert entries[0]["changes"][0]["before"] is None
        assert entries[0]["outcome"] == "ok"


async def tag_of(api, path, template):
    """What ``If-Match`` wants, from the answer to a GET."""
    status, value, headers = await api.ask("GET", path)
    assert status == 200, value
    api.check("GET", template, status, value)
    [tag] = headers.getRawHeaders("etag")
    assert tag == f'"v{value["version"]}"'
    return tag


CHANGES = [
    ("/groups/sales", "/groups/{name}", {"note": "A"}, {"owner": "1001"}),
    ("/numbers/3611", "/numbers/{number}", {"note": "A"}, {"holder": "1001"}),
    ("/sip-accounts/1", "/sip-accounts/{id}", {"Priority": "3"}, {"Enabled": "0"}),
]


@pytest.mark.parametrize(("path", "template", "first", "second"), CHANGES)
async def test_two_operators_do_not_overwrite_each_other_unseen(api, path, template, first, second):
    """Groups, numbers, SIP accounts: without a version 428, with an old one 412, and nothing was changed."""
    for line in ("group add sales", "numbers add 3611", "sipaccounts add carrier line1 secret"):
        await api.table.run(line, ROOT)
    tag = await tag_of(api, path, template)
    await api.expect(428, "PATCH", path, template, body=first, headers={})
    changed = await api.expect(200, "PATCH", path, template, body=first, headers={"if-match": tag})
    assert changed["version"] > int(tag[2:-1])
    stale = await api.expect(412, "PATCH", path, template, body=second, headers={"if-match": tag})
    assert "somebody changed it meanwhile" in stale["lines"][0]
    now = await api.get(path, template)
    assert {name: changed[name] for name in now} == now
    await api.expect(200, "PATCH", path, template, body=second, headers={"if-match": "*"})
    await api.expect(404, "GET", path[:-1] + "9", template)


async def test_of_two_at_once_one_wins(api):
    """Both have seen the same version and send at the same moment."""
    for line in ("group add sales", "numbers add 3611", "sipaccounts add carrier line1 secret"):
        await api.table.run(line, ROOT)
    for path, template, first, second in CHANGES:
        headers = {"if-match": await tag_of(api, path, template)}
        both = [ensureDeferred(api.ask("PATCH", path, body, headers=headers)) for body in (first, second)]
        assert sorted([(await one)[0] for one in both]) == [200, 412], path


async def test_a_number_is_not_taken_from_somebody_who_got_it_meanwhile(api):
    """Freed and given to another since it was seen: 412, he keeps it."""
    await api.table.run("numbers add 3611", ROOT)
    await api.table.run("numbers allocate 1001 3611", ROOT)
    tag = await tag_of(api, "/numbers/3611", "/numbers/{number}")
    await api.table.run("numbers free 3611", ROOT)
    await api.table.run("numbers allocate 1002 3611", ROOT)
    free = "/numbers/{number}/free"
    await api.expect(412, "POST", "/numbers/3611/free", free, body={}, headers={"if-match": tag})
    assert (await api.get("/numbers/3611", "/numbers/{number}"))["account"] == "1002"


async def test_joining_a_group_is_a_change_of_it(api):
    """So that who changes the group has seen its members."""
    await api.table.run("group add sales", ROOT)
    tag = await tag_of(api, "/groups/sales", "/groups/{name}")
    await api.table.run("group join sales 1001", ROOT)
    headers = {"if-match": tag}
    await api.expect(412, "PATCH", "/groups/sales", "/groups/{name}", body={"note": "x"}, headers=headers)
