"""Addresses where somebody was authenticated."""

from mizu.guard.known import KnownHosts
from mizu.targets import parse_target


def test_an_address_is_known_for_its_time() -> None:
    """Each success makes it longer; sweeping forgets what is over, with its network."""
    known = KnownHosts()
    known.add("192.0.2.1", 10.0)
    known.add("192.0.2.1", 20.0)
    assert known.has("192.0.2.1", 19.9)
    assert not known.has("192.0.2.1", 20.0)
    assert known.near(parse_target("192.0.2.0/24"))
    assert known.near(parse_target("192.0.0.0/16"))
    assert not known.near(parse_target("192.0.3.0/24"))
    known.sweep(20.0)
    assert len(known) == 0
    assert not known.near(parse_target("192.0.2.0/24"))


def test_the_table_is_bounded() -> None:
    """At the limit new ones are not taken; those that are known stay known."""
    known = KnownHosts(limit=2)
    for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        known.add(host, 10.0)
    assert [known.has(host, 1.0) for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1")] == [True, True, False]
    known.sweep(5.0)
    assert len(known) == 2
