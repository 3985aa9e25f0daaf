"""Nobody who registers or talks to us decides which host our requests go to."""

from typing import Any

import pytest

from mizu.errors import BadRequest
from mizu.model import Account, AccountType, Binding
from mizu.sip.dialog import Dialog
from mizu.switch.way_back import (
    NO_PROXIES,
    Proxies,
    comes_by_route,
    over_its_flow,
    path_leads_back,
    stays_with,
    way_back,
    without_connection,
)
from mizu.testing import RecordedFlow

EDGE = Proxies(["198.51.100.0/28", "2001:db8::5"])


def bind(contact: str = "sip:alice@192.0.2.1:5070", **changes: Any) -> Binding:
    """A phone at 192.0.2.1, port 5070."""
    binding = Binding(
        7,
        "alice",
        contact,
        1000.0,
        "c",
        1,
        received_host="192.0.2.1",
        received_port=5070,
        local="udp:0.0.0.0:5060",
    )
    return binding._replace(**changes)


def path(*hosts: str) -> dict[str, Any]:
    return {"path": tuple(f"<sip:{host};lr>" for host in hosts)}


@pytest.mark.parametrize(
    ("contact", "changes", "over_flow"),
    [
        ("sip:alice@192.0.2.1:5070", {}, True),  # one socket for everything
        ("sip:alice@192.0.2.1", {"received_port": 5060}, True),
        ("sip:alice@192.0.2.1:5071", {}, False),  # sends from one port, listens on another
        ("sip:alice@[::ffff:192.0.2.1]:5071", {}, False),
        ("sip:alice@192.0.2.1:5070;transport=tcp", {}, False),
        ("sips:alice@192.0.2.1:5070", {}, False),
        ("sip:alice@10.0.0.7:5070", {}, True),  # behind NAT
        ("sip:alice@phone.lan:5070", {}, True),  # only its own network knows the name
        ("sip:alice@[::ffff:198.51.100.9]:5071", {}, True),
        ("sip:alice@192.0.2.1:5071;maddr=203.0.113.9", {}, False),  # never followed: locate
        ("sip:alice@192.0.2.1:5071", {"proto": "tcp"}, True),
        ("sip:alice@192.0.2.1:5071", {"instance_id": "urn:uuid:1", "reg_id": 1}, True),
        ("sip:alice@[2001:db8:0::1]:5071", {"received_host": "2001:db8::1"}, False),
        ("sip:alice@10.0.0.7", {"local": "", "received_host": "", "received_port": 0}, False),
        ("sip:alice@10.0.0.7", path("192.0.2.1"), False),  # a proxy that is the phone's peer here
        ("sip:alice@10.0.0.7", path("[::ffff:192.0.2.1]:5080;transport=tcp"), False),
        ("sip:1900@203.0.113.9", path("203.0.113.9"), True),  # of another host: stored by an older version
        ("sip:1900@203.0.113.9", path("carrier.example"), True),
        ("sip:1900@203.0.113.9", path("192.0.2.1", "203.0.113.9"), True),
        ("sip:alice@10.0.0.7", {**path("edge.example"), "received_host": "198.51.100.3"}, False),
        ("sip:alice@10.0.0.7", {**path("edge.example"), "received_host": "198.51.100.16"}, True),
    ],
)
def test_a_call_goes_where_the_phone_can_be_reached(
    contact: str, changes: dict[str, Any], over_flow: bool
) -> None:
    """Over its flow when nothing else leads back to it, else to the address it asked for."""
    assert over_its_flow(bind(contact, **changes), EDGE) is over_flow


@pytest.mark.parametrize(
    ("contact", "changes", "leads_to"),
    [
        ("sip:alice@192.0.2.1:5071", {}, "192.0.2.1"),
        ("sip:alice@10.0.0.7", path("192.0.2.1:5080"), "192.0.2.1"),
        ("sip:alice@10.0.0.7", {**path("edge.example"), "received_host": "2001:db8::5"}, "edge.example"),
        ("sip:alice@localhost:5071", {}, None),
        ("sip:alice@127.1", {"received_host": "127.0.0.1"}, None),
        ("sip:alice@203.0.113.9", {}, None),
        ("sip:alice@192.0.2.1", {"received_host": ""}, None),
        ("sip:alice@10.0.0.7", {**path("192.0.2.1"), "received_host": ""}, None),
        ("sip:alice@10.0.0.7", path("192.0.2.1", "10.0.0.1"), None),
        ("nonsense", {}, None),
        ("sip:alice@192.0.2.1", {"path": ("nonsense",)}, None),
    ],
)
def test_only_an_address_that_is_known_to_be_the_phones_is_sent_to(
    contact: str, changes: dict[str, Any], leads_to: str | None
) -> None:
    """Whatever a stored binding says, also one of an older version; else only its flow is left."""
    uri = way_back(bind(contact, **changes), EDGE)
    assert (uri.host if uri is not None else None) == leads_to


def test_without_proxies_only_the_sender_himself_may_stand_in_a_path() -> None:
    """The default."""
    assert path_leads_back(["<sip:192.0.2.1;lr>", "<sip:192.0.2.1:5090;lr>"], "192.0.2.1")
    assert not path_leads_back(["<sip:192.0.2.2;lr>"], "192.0.2.1")
    assert not path_leads_back(["<sip:localhost;lr>"], "127.0.0.1")
    assert not path_leads_back(["<sip:192.0.2.1;lr>"], "")


@pytest.mark.parametrize("text", ["edge.example", "192.0.2.1:5060", "192.0.2.0/33", ""])
def test_a_proxy_is_named_by_addresses(text: str) -> None:
    """A name could be pointed elsewhere by whoever answers for it; a port says nothing over TCP."""
    with pytest.raises(BadRequest):
        Proxies([text])


def test_a_proxy_is_known_in_every_spelling_of_its_address() -> None:
    """IPv4 mapped into IPv6 as well."""
    assert "198.51.100.3" in EDGE
    assert "::ffff:198.51.100.3" in EDGE
    assert "2001:db8:0::5" in EDGE
    assert "198.51.100.16" not in EDGE
    assert "edge.example" not in EDGE


def test_of_a_connection_that_was_gone_before_only_what_is_sure_is_taken_over() -> None:
    """A row of an older version, which did not keep where it came from."""
    gone = bind(proto="tcp", received_host="", received_port=0, local="")
    assert without_connection(gone) is None
    kept = gone._replace(received_host="192.0.2.1")
    assert without_connection(kept) is kept


USER = Account(1, "alice")
CARRIER = Account(2, "carrier", type=AccountType.SIP_SERVER)


def dialog(target: str, *routes: str, tag: str = "t") -> Dialog:
    return Dialog("c", "<sip:a@b>;tag=1", "1", "<sip:c@d>", tag, target, routes)


@pytest.mark.parametrize(
    ("account", "talk", "proxies", "stays"),
    [
        (USER, dialog("sip:alice@192.0.2.1:5090"), NO_PROXIES, False),  # its connection is gone
        (USER, dialog("sip:1900@203.0.113.9"), NO_PROXIES, True),
        (USER, dialog("sip:1900@carrier.example"), NO_PROXIES, True),
        (USER, dialog("sip:alice@10.0.0.7", "<sip:192.0.2.1;lr>", "<sip:x;lr>"), NO_PROXIES, False),
        (USER, dialog("sip:1900@203.0.113.9", "<sip:203.0.113.9;lr>"), NO_PROXIES, True),
        (USER, dialog("sip:alice@192.0.2.1", "<sip:edge.example;lr>"), NO_PROXIES, True),
        (USER, dialog("sip:alice@192.0.2.1", "<sip:edge.example;lr>"), Proxies(["192.0.2.1"]), True),
        (USER, dialog("sip:alice@10.0.0.7", "<sip:192.0.2.2;lr>"), Proxies(["192.0.2.0/24"]), False),
        (USER, dialog("sip:1900@x", "<sip:203.0.113.9;lr>"), Proxies(["192.0.2.1"]), True),
        (USER, dialog("sip:1900@203.0.113.9"), Proxies(["192.0.2.1"]), True),
        (USER, dialog("tel:+1900"), NO_PROXIES, True),
        (CARRIER, dialog("sip:c@203.0.113.9", "<sip:203.0.113.8;lr>"), NO_PROXIES, False),
        (None, dialog("sip:c@203.0.113.9"), NO_PROXIES, False),
        (None, dialog("sip:c@203.0.113.9", tag=""), NO_PROXIES, True),
        (CARRIER, dialog("sip:c@d", "<sip:203.0.113.8;lr>", tag=""), Proxies(["203.0.113.8"]), True),
    ],
)
def test_a_party_of_a_call_is_found_where_it_talks_from(
    account: Account | None, talk: Dialog, proxies: Proxies, stays: bool
) -> None:
    """Users, and whoever has no tag: a request without one would begin a call at any host it reaches."""
    flow = RecordedFlow(remote=("192.0.2.1", 5070))
    assert stays_with(flow, talk, account, proxies) is stays


@pytest.mark.parametrize(
    ("account", "host", "proxies", "comes"),
    [
        (USER, "203.0.113.9", NO_PROXIES, False),
        (USER, "203.0.113.9", Proxies(["192.0.2.1"]), True),
        (USER, "203.0.113.10", Proxies(["192.0.2.1"]), False),
        (USER, "203.0.113.10", Proxies(["192.0.2.1", "203.0.113.10"]), True),
        (CARRIER, "203.0.113.9", NO_PROXIES, True),
        (CARRIER, "203.0.113.99", NO_PROXIES, False),
        (CARRIER, "203.0.113.90", NO_PROXIES, False),
        (None, "203.0.113.9", NO_PROXIES, True),
    ],
)
def test_a_request_may_come_from_a_proxy_of_its_route_set(
    account: Account | None, host: str, proxies: Proxies, comes: bool
) -> None:
    """Of a user only where the operator's own proxies stand between; addresses are compared whole."""
    flow = RecordedFlow(remote=("192.0.2.1", 5070))
    talk = dialog(
        "sip:alice@192.0.2.1", "<sip:192.0.2.1;lr>", "<sip:[::ffff:203.0.113.9];lr>", "<sip:x.example;lr>"
    )
    assert comes_by_route(host, flow, talk, account, proxies) is comes
