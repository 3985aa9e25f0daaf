"""Addresses, networks and ranges as operators write them."""

import pytest

from mizu.errors import BadRequest
from mizu.targets import network_of, normal_host, parse_target, target_of


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("192.0.2.0-192.0.2.255", "192.0.2.0/24"),
        ("192.0.2.5 - 192.0.2.9", "192.0.2.5-192.0.2.9"),
        ("192.0.2.5-9", "192.0.2.5-192.0.2.9"),  # as in auth_ip of accounts
        ("192.0.2.*", "192.0.2.0/24"),
        ("10.1.*.*", "10.1.0.0/16"),
        ("10.1.*", "10.1.0.0/16"),
        ("192.0.2.7:5060", "192.0.2.7:5060"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]:5060", "[2001:db8::1]:5060"),
        ("2001:db8::/48", "2001:db8::/48"),
        ("2001:db8::1-2001:db8::9", "2001:db8::1-2001:db8::9"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("[::ffff:192.0.2.7]:5060", "192.0.2.7:5060"),
        ("0.0.0.0/8", "0.0.0.0/8"),
    ],
)
def test_every_spelling_becomes_the_shortest(given: str, shown: str) -> None:
    """Two spellings of the same thing are one ban; reading it again gives the same."""
    target = parse_target(given)
    assert target.text == shown
    assert parse_target(shown) == target


@pytest.mark.parametrize(
    "text",
    ["", "x", "192.0.2", "192.0.2.7/33", "192.0.2.9-192.0.2.5", "192.0.2.1-::1", "192.0.2.7:0", "192.0.2.7:x",
     "192.0.2.7:70000", "192.0.2.9-5", "192.0.2.5-256", "::1-9999999", "*", "*.1.2.3", "10.*.1", "1.2.3.4.*",
     "10..*", "[::1", "example.com", "192.0.2.7\n8.8.8.8", "::1/129", "-", "/"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_what_is_wanted(text: str) -> None:
    """The message repeats what was given and says what would do."""
    with pytest.raises(BadRequest, match="want an address"):
        parse_target(text)


def test_a_sender_is_an_address_or_a_64_of_ipv6() -> None:
    """An IPv6 customer has 2**64 addresses: they are one sender. With a port only the user agent is meant."""
    assert target_of("192.0.2.7").text == "192.0.2.7"
    assert target_of("2001:db8::7:1").text == "2001:db8::/64"
    assert target_of("2001:db8::7", 5060).text == "[2001:db8::7]:5060"
    assert network_of(target_of("192.0.2.7"), 24).text == "192.0.2.0/24"
    assert network_of(target_of("2001:db8:1:2::7"), 48).text == "2001:db8:1::/48"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::FFFF:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("x:y", "x:y"),
    ],
)
def test_hosts_have_one_spelling(given: str, normal: str) -> None:
    """Mapped addresses are the IPv4 addresses they are; what is none stays as it is."""
    assert normal_host(given) == normal
