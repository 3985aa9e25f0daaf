"""Whoever really is at an address comes through a ban that somebody's forged messages have brought."""

import pytest

from mizu.guard.doubt import Doubt
from mizu.guard.filter import Gate

REGISTER = b"REGISTER sip:mizu SIP/2.0\r\nCall-ID: 1\r\n\r\n"
T1_COPIES_S = (0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5)  # RFC 3261 17.1.2.2


def doubt(rate_per_s: float = 500, pause_s: float = 5.0, limit: int = 100_000) -> Doubt:
    made = Doubt(limit)
    made.limit_rate(rate_per_s, pause_s)
    return made


def admitted(
    made: Doubt, host: str, data: bytes, times_s: tuple[float, ...], start_s: float = 100.0
) -> list[float]:
    return [at_s for at_s in times_s if made.admit(host, data, start_s + at_s, known=False)]


def test_a_phone_that_repeats_its_request_is_heard() -> None:
    """Its second copy comes through, and then one in five seconds."""
    assert admitted(doubt(), "192.0.2.1", REGISTER, T1_COPIES_S) == [0.5, 7.5, 15.5, 23.5, 31.5]


def test_what_is_never_repeated_is_not_heard() -> None:
    """Scanners and floods, however many; nor is a copy that was doubled on the way."""
    made = doubt()
    for n in range(10_000):
        assert not made.admit("192.0.2.1", b"REGISTER %d" % n, 100 + n / 1000, known=False)
        assert not made.admit("192.0.2.1", b"REGISTER %d" % n, 100 + n / 1000, known=False)
    assert len(made) == 10_000


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("per_s", [1, 2, 5, 20, 100, 2000])
@pytest.mark.parametrize("repeats", [False, True])
def test_a_phone_is_heard_beside_a_forger(per_s: int, repeats: bool, known: bool) -> None:
    """Who forges its address, with ever new junk or always the same, does not keep it out."""
    made, heard = doubt(), 0
    for start in range(10):
        begun_s = 100.0 + 10 * start
        junk = [b"junk" if repeats else b"junk %d %d" % (start, tick) for tick in range(8 * per_s)]
        events = [(begun_s + tick / per_s, data) for tick, data in enumerate(junk)]
        phone = REGISTER + b"%d" % start
        events += [(begun_s + at_s, phone) for at_s in (0.0, 0.5, 1.5, 3.5)]
        passed = {data for at_s, data in sorted(events) if made.admit("192.0.2.1", data, at_s, known=known)}
        heard += phone in passed
    assert heard == 10


def test_a_flood_of_copies_is_bounded() -> None:
    """Twenty a second of one address: each is answered with little more than itself."""
    made = doubt()
    passed = 0
    for second in range(10):
        for n in range(1000):
            passed += made.admit("192.0.2.1", b"junk %d" % n, 100 + second, known=False)
    assert 0 < passed <= 20 * 10 + 40


def test_a_flood_does_not_push_out_what_a_phone_repeats() -> None:
    """40,000 a second, all different, from the same address."""
    made = doubt()
    heard = []
    for n in range(80_000):
        at_s = n / 40_000
        made.admit("192.0.2.1", b"junk %d" % n, 100 + at_s, known=False)
        if at_s in T1_COPIES_S and made.admit("192.0.2.1", REGISTER, 100 + at_s, known=False):
            heard.append(at_s)
    assert heard == [0.5]


def test_what_is_remembered_is_bounded() -> None:
    """The first to come is forgotten; it is heard with its next copies."""
    made = doubt(limit=100)
    made.admit("192.0.2.1", REGISTER, 100.0, known=False)
    for n in range(100):
        made.admit(f"198.51.100.{n}", REGISTER, 100.1, known=False)
    assert len(made) == 100
    assert admitted(made, "192.0.2.1", REGISTER, (0.5, 1.5)) == [1.5]
    for n in range(200):
        admitted(made, f"198.51.100.{n}", REGISTER, (10.0, 10.5))
    assert len(made) == 100


def test_a_copy_that_comes_too_late_is_a_first_one() -> None:
    """More than eight seconds later it is no repetition of SIP."""
    assert admitted(doubt(), "192.0.2.1", REGISTER, (0.0, 9.0, 9.5)) == [9.5]


def test_known_addresses_are_only_slowed_down() -> None:
    """A trunk sends on, whatever is forged; a flood from its address is cut to the rate."""
    made = doubt(rate_per_s=500)
    for n in range(10_000):  # a hundred a second
        assert made.admit("192.0.2.1", REGISTER, 100 + n / 100, known=True)
    passed = sum(made.admit("192.0.2.2", b"%d" % n, 100 + n / 40_000, known=True) for n in range(400_000))
    assert 5000 <= passed <= 6000 + 1
    assert not doubt(rate_per_s=0).admit("192.0.2.1", REGISTER, 100.0, known=True)


def test_the_gate_asks_whom_it_lets_through() -> None:
    """Doubtful senders only; banned ones stay out, whatever they repeat."""
    now = [100.0]
    shown: list[str] = []
    gate = Gate(
        message_bytes=1000,
        now=lambda: now[0],
        banned={"192.0.2.9"},
        doubtful={"192.0.2.1", "192.0.2.2"},
        known=lambda host: host == "192.0.2.2",
        proves=lambda nonce, host: nonce == "a" * 16,
        on_proof=shown.append,
    )
    gate.limit_doubtful(500, 5)

    def passes(host: str, data: bytes = REGISTER) -> bool:
        return gate.admit(host, len(data), data)

    assert [passes(host) for host in ("192.0.2.1", "192.0.2.2", "192.0.2.9")] == [False, True, False]
    now[0] += 0.5
    assert [passes(host) for host in ("192.0.2.1", "192.0.2.9")] == [True, False]
    assert shown == []
    with_nonce = REGISTER[:-2] + b'Authorization: Digest nonce="' + b"a" * 16 + b'"\r\n\r\n'
    assert passes("192.0.2.1", with_nonce)
    assert not passes("192.0.2.9", with_nonce)
    assert shown == ["192.0.2.1"]
    assert gate.dropped["banned"] == 4
