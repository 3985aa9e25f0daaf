"""Nonces and their counts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.sip.nonces import REPEATED_S, WINDOW, NonceCounts, NonceSigner

KEY = b"k" * 32
NOW = 1_700_000_000.0


def test_a_nonce_is_good_until_its_lifetime_is_over() -> None:
    """Good, then stale; nothing is stored for that."""
    signer = NonceSigner(KEY, 300)
    nonce = signer.make(NOW)
    assert signer.check(nonce, NOW) == "good"
    assert signer.check(nonce, NOW + 300) == "good"
    assert signer.check(nonce, NOW + 301) == "stale"


def test_nonces_are_never_the_same() -> None:
    """Also within a second: each challenge has its own."""
    signer = NonceSigner(KEY, 300)
    assert len({signer.make(NOW) for _ in range(1000)}) == 1000


def test_nobody_else_can_make_one() -> None:
    """Another key, a changed time, a changed signature, a cut or foreign text: not ours."""
    signer = NonceSigner(KEY, 300)
    nonce = signer.make(NOW)
    assert NonceSigner(b"x" * 32, 300).check(nonce, NOW) == "bad"
    for at in range(len(nonce)):
        changed = nonce[:at] + ("0" if nonce[at] != "0" else "1") + nonce[at + 1 :]
        assert signer.check(changed, NOW) == "bad"
    for foreign in (
        "",
        nonce[:-1],
        nonce + "0",
        "é" * len(nonce),
        "\udcff" * len(nonce),
        nonce.upper() + "x",
    ):
        assert signer.check(foreign, NOW) == "bad"


@given(st.text(max_size=60))
def test_no_text_makes_the_check_raise(text: str) -> None:
    """Any text may stand where a nonce should be."""
    assert NonceSigner(KEY, 300).check(text, NOW) == "bad"


def test_nonces_of_an_earlier_process_are_refused() -> None:
    """With a key that survives restarts: the counts are lost, so old nonces could be replayed."""
    signer = NonceSigner(KEY, 300)
    before, counts = signer.make(NOW), NonceCounts(10, since_s=NOW + 5)
    assert not counts.use(before, 1)
    assert counts.use(signer.make(NOW + 5), 1)


def test_a_clock_set_back_locks_nobody_out() -> None:
    """New nonces are good at once and come after the old ones."""
    signer = NonceSigner(KEY, 300)
    before = signer.make(NOW)
    after = signer.make(NOW - 3600)
    assert signer.check(after, NOW - 3600) == "good"
    assert after[:8] == before[:8]


def test_a_short_key_is_refused() -> None:
    """A guessable key would make every nonce guessable."""
    with pytest.raises(ValueError, match="16 to 64"):
        NonceSigner(b"short", 300)


def nonce_number(number: int) -> str:
    return f"{number:024x}" + "0" * 40


def test_a_count_is_good_once() -> None:
    """Replay of the same nonce and nc is refused, the next nc is not."""
    counts = NonceCounts(10)
    assert counts.use(nonce_number(1), 1)
    assert not counts.use(nonce_number(1), 1)
    assert counts.use(nonce_number(1), 2)
    assert counts.replays == 1


def test_counts_may_overtake_each_other_a_little() -> None:
    """Two requests in flight over UDP: both are accepted, each once; far behind is a replay."""
    counts = NonceCounts(10)
    assert counts.use(nonce_number(1), 5)
    assert counts.use(nonce_number(1), 3)
    assert not counts.use(nonce_number(1), 3)
    assert counts.use(nonce_number(1), 5 + WINDOW + 10)
    assert not counts.use(nonce_number(1), 4)


@pytest.mark.parametrize("nc", [0, -1, 2**32])
def test_impossible_counts_are_refused(nc: int) -> None:
    """nc is 1 to 2**32-1."""
    assert not NonceCounts(10).use(nonce_number(1), nc)


def test_what_was_forgotten_cannot_be_replayed() -> None:
    """At the limit the oldest nonce goes, and with it every older nonce that is not known."""
    counts = NonceCounts(3)
    for number in range(2, 7):
        assert counts.use(nonce_number(number), 1)
    assert len(counts) == 3
    for number in range(1, 7):
        assert not counts.use(nonce_number(number), 1), number
    assert counts.use(nonce_number(6), 2)
    assert counts.use(nonce_number(7), 1)


@given(st.lists(st.integers(1, 3 * WINDOW), max_size=200), st.randoms(use_true_random=False))
def test_the_window_accepts_each_count_at_most_once(ncs: list[int], order: random.Random) -> None:
    """Against a plain set: never twice, and always when it is new and not too far behind."""
    counts = NonceCounts(10)
    used: set[int] = set()
    for nc in ncs + order.sample(ncs, len(ncs)):
        accepted = counts.use(nonce_number(1), nc)
        if nc in used:
            assert not accepted
        elif not used or nc > max(used) - WINDOW:
            assert accepted
        if accepted:
            used.add(nc)


def test_a_nonce_tells_which_address_it_was_sent_to():
    """Who uses a nonce from another address has not shown that he can be reached there."""
    signer = NonceSigner(KEY, 300)
    nonce = signer.make(NOW, "192.0.2.1")
    assert signer.check(nonce, NOW) == "good"
    assert signer.issued_to(nonce, "192.0.2.1")
    assert not signer.issued_to(nonce, "192.0.2.2")
    assert not NonceSigner(b"x" * 32, 300).issued_to(nonce, "192.0.2.1")


def test_repetitions_of_a_request_get_the_same_nonce():
    """So that the challenge sent again is the same one, and the client sees that it is."""
    signer = NonceSigner(KEY, 300)
    nonce = signer.make(NOW, "192.0.2.1", "call 1")
    assert signer.make(NOW + 3.5, "192.0.2.1", "call 1") == nonce
    assert signer.check(nonce, NOW + 3.5) == "good"
    others = [("192.0.2.2", "call 1", 0), ("192.0.2.1", "call 2", 0), ("192.0.2.1", "call 1", REPEATED_S)]
    assert len({nonce, *[signer.make(NOW + after_s, *which) for *which, after_s in others]}) == 4


@pytest.mark.parametrize("lifetime_s", [1, 5, 30, 300])
def test_such_a_nonce_lives_nearly_as_long_as_others(lifetime_s):
    """Its time is that of the first repetition there could have been."""
    for after_s in range(20):
        signer = NonceSigner(KEY, lifetime_s)
        signer.make(NOW - 1000, "", "earlier")
        nonce = signer.make(NOW + after_s, "", "call")
        assert signer.check(nonce, NOW + after_s + 0.7 * lifetime_s) == "good"
        assert signer.check(nonce, NOW + after_s + lifetime_s + 1) == "stale"


def test_a_nonce_of_a_process_that_has_just_begun_is_not_one_of_the_process_before():
    """Its time is never before the start: it would be refused as a possible replay."""
    for began_s in range(20):
        signer, counts = NonceSigner(KEY, 300), NonceCounts(10, since_s=NOW + began_s)
        assert counts.use(signer.make(NOW + began_s, "", "call"), 1)
        assert counts.use(signer.make(NOW + began_s + 1, "", "another"), 1)
