"""Two servers on one database: calls ask for the limits of owners on both, who is disabled is cut off."""

import time

import pytest

from mizu.testing.postgres import shared_postgres
from mizu.testing.server import MizuProcess
from mizu.testing.sip_client import Client

PASSWORD = "limits-0815"

pytestmark = pytest.mark.limit(120)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Two running servers, and an owner of two phones with one channel."""
    data = tmp_path_factory.mktemp("nodes")
    with shared_postgres().database() as url:
        options = ("--database", url, "--sip", "udp:127.0.0.1:0", "--http", "127.0.0.1:0")
        with MizuProcess(data / "one", *options) as one, MizuProcess(data / "two", *options) as two:
            for line in (
                "adduser acme type=reseller max_channels=1",
                f"adduser 7001 --password {PASSWORD} parent_id=acme",
                f"adduser 7002 --password {PASSWORD} parent_id=acme",
            ):
                answer = one.console(line)
                assert answer["ok"], answer
            yield one, two
            assert "Traceback" not in one.output + two.output


@pytest.fixture
def call(nodes):
    """Calls the echo party and stays there: status of the answer."""
    clients = [Client(node.address("udp"), source="127.2.0.9") for node in nodes]

    def place(number: int, user: str) -> int:
        return clients[number].call("9196", user, PASSWORD, stay=True).status

    yield place
    for client in clients:
        client.close()


def calls(node):
    """Who talks there. (The client does not answer the BYE, so calls that are over stay a while.)"""
    return [one for one in node.console("calls")["result"]["calls"] if one["state"] == "talking"]


def ended(node):
    """The call records of the calls that are over, newest first."""
    return [one for one in node.console("cdrs")["result"]["cdrs"] if one["state"] == "ended"]


def until(check, limit_s=5.0):
    """Wait until it is so."""
    deadline = time.monotonic() + limit_s
    while not check():
        assert time.monotonic() <= deadline, f"not within {limit_s} s"
        time.sleep(0.02)


def test_the_channel_of_an_owner_is_one_on_both_nodes(nodes, call):
    """While a phone at one node talks, another at the other node gets 480; afterwards it gets through."""
    one, two = nodes
    assert call(0, "7001") == 200
    assert call(1, "7002") == 480
    until(lambda: bool(ended(two)))
    assert (ended(two)[0]["caller"], ended(two)[0]["cause"]) == ("7002", "max_channels")
    for current in calls(one):
        one.console(f"drop {current['call_id']}")
    until(lambda: not calls(one))
    until(lambda: call(1, "7002") == 200)
    for current in calls(two):
        two.console(f"drop {current['call_id']}")
    until(lambda: not calls(two))


def test_whoever_is_below_a_disabled_owner_is_cut_off(nodes, call):
    """On the node where the call is, by a command given at the other."""
    one, two = nodes
    until(lambda: call(1, "7001") == 200)
    assert one.console("disable acme")["ok"]
    until(lambda: not calls(two))
    until(lambda: ended(one)[0]["cause"] == "account_disabled")
    assert (ended(one)[0]["caller"], ended(one)[0]["ended_by"]) == ("7001", "switch")
    assert one.console("enable acme")["ok"]


def test_a_lower_limit_and_a_blocked_prefix_count_for_the_next_call(nodes, call):
    """A change at one node, the call at the other."""
    one, _ = nodes
    assert one.console("set acme blocked_prefixes=91")["ok"]
    until(lambda: call(1, "7002") == 403, limit_s=1.0)
    assert one.console("set acme blocked_prefixes= max_channels=0")["ok"]
    until(lambda: call(1, "7002") == 200, limit_s=1.0)
    assert call(1, "7001") == 200
