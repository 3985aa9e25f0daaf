"""Every list of the JSON API, page by page: together the pages are the whole, whatever it is sorted by."""

from datetime import timedelta

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from mizu.accounts.bulk import ImportJob, ImportOrder
from mizu.guard.desk import Desk
from mizu.guard.doorman import Doorman
from mizu.model import CallOpened, Operator, Rights
from mizu.options import Options
from mizu.testing import FakeClock
from mizu.testing.api import ApiProbe
from mizu.testing.bans import MemoryBanStore
from mizu.testing.console import NOON, FakeConsole, binding, live_call, store_services
from mizu.web.api_routes import ROUTES

ROOT = Operator("console", Rights.GENERAL_ADMIN, "test")
LISTS = [route for route in ROUTES if route.items]
LINES = (
    "adduser 1001",
    "adduser 10 --count 6",
    "adduser carrier type=sip_server",
    "adduser backup type=sip_server",
    "group add sales",
    "group add gates gateways",
    "group add buyers",
    "group join sales 1001 10 11 12 13",
    "numbers add 3611..3615",
    "adduser shop type=reseller rights=admin",
    *(f"tokens add shop --label {n}" for n in range(5)),
    *(f"addresses add 1001 192.0.2.{n}" for n in (9, 10, 1)),
    "addresses add 1001 192.0.2.9:5061",
    "addresses add 1001 192.0.2.9:5060",
    *(f"sipaccounts add carrier line{n} secret --priority {n % 3 - 1}" for n in range(5)),
    "sipaccounts add backup line1 secret",
    *(f"ban 198.51.100.{n}" for n in range(5)),
    *(f"whitelist add 203.0.113.{n}" for n in range(5)),
    "options set guardwhitelist 203.0.113.2,203.0.113.9",
)


class FakeImports:
    """Five that are over."""

    def jobs(self, scope):
        return [
            ImportJob(number, ImportOrder(f"{number}.csv"), "boss", None, NOON, state="done")
            for number in range(3, 8)
        ]


class Api(ApiProbe):
    """Every command, over the real store and a real guard."""

    def __init__(self, store):
        console = FakeConsole()
        console.registrations.rows = [binding(f"10{n}") for n in range(5)] + [binding("102", "sip:b@h")]
        console.calls.rows = [
            live_call(f"{n:x}" * 32, setup_at=NOON - timedelta(seconds=n // 2)) for n in range(7)
        ]
        options = Options(store.options)
        clock = FakeClock()
        self.door = Doorman(
            options, MemoryBanStore(), Clock(), clock, registered_at=lambda username, host: False
        )
        guard = Desk(self.door, clock)
        super().__init__(store_services(store, console, imports=FakeImports(), guard=guard, options=options))


@pytest_twisted.async_yield_fixture
async def api(store):
    """At least five of everything that has a list."""
    api = Api(store)
    for line in LINES:
        await api.table.run(line, ROOT)
    for n in range(6):
        opened = CallOpened(
            call_id=f"{n}c" * 16,
            node="n",
            caller_account_id=None,
            caller_number="1",
            called_number="2",
            caller_sip_call_id="x",
            caller_address="udp:h:1",
            setup_at=NOON + timedelta(seconds=n // 2),
        )
        await store.calls.open(opened)
        for _ in range(1 + n // 2):
            api.door.unknown_number(f"198.18.0.{n}", True)
    yield api
    api.door.stop()


def path_of(route):
    return route.path.replace("{user}", "1001").replace("{name}", "sales")


def test_every_list_has_pages():
    """``limit`` and ``after`` are there for each."""
    assert not [route.path for route in LISTS if not route.paged]


@pytest.mark.limit(30)
async def test_the_pages_of_every_list_are_the_whole(api):
    """In pages of one, two and three: in the same order, nothing twice, nothing left out."""
    for route in LISTS:
        path = path_of(route)
        status, value, _ = await api.ask("GET", f"{path}?limit=1000")
        assert status == 200, (path, value)
        whole, ends = value["items"], value["next"]
        assert ends is None, path
        assert len(whole) >= 5 or route.path in ("/groups",), path
        for size in (2, 3) if len(whole) > 20 else (1, 2, 3):
            walked, more = [], ""
            while more is not None:
                status, value, _ = await api.ask("GET", f"{path}?limit={size}{more}")
                assert status == 200, (path, value)
                api.check("GET", route.path, status, value)
                walked += value["items"]
                more = None if value["next"] is None else f"&after={value['next']}"
            assert walked == whole, (path, size)


async def test_what_went_away_is_still_a_place_to_go_on_from(api):
    """The last of a page is gone when the next is asked for: nothing else is missed."""
    _, first, _ = await api.ask("GET", "/bans?limit=2")
    _, second, _ = await api.ask("GET", "/bans?limit=2&after=" + first["next"])
    await api.table.run("unban " + first["items"][1]["target"], ROOT)
    _, again, _ = await api.ask("GET", "/bans?limit=2&after=" + first["next"])
    assert again == second


@pytest.mark.parametrize(
    "after", ["x", "%00", "WzFd", "W10", "bnVsbA", "WyJhIiwxLDJd", "W05hTl0", "W1tdLFtdXQ", "9" * 5000]
)
async def test_a_place_that_no_page_ended_with_is_refused_or_empty(api, after):
    """Whatever is sent as ``after``, the answer is a list or 400, never a fault."""
    for route in LISTS:
        status, value, _ = await api.ask("GET", f"{path_of(route)}?limit=2&after={after}")
        assert status in (200, 400), (route.path, value)
