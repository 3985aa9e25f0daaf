"""Whose token it is, and what happens to those who guess."""

import pytest

from mizu.console.token_commands import new_token, token_sha256
from mizu.errors import StoreBusy
from mizu.model import Operator, Rights
from mizu.web.operators import FAILURES_MAX, WINDOW_S, OperatorDirectory, TooManyFailures
from mizu.web.policy import SingleToken

LOCAL = "l" * 43


class Kept:
    """Tokens by hash; counts how often it is asked."""

    def __init__(self):
        self.asked, self.error, self.rows = 0, None, {}

    def give(self, name):
        token = new_token()
        self.rows[token_sha256(token)] = Operator(name, Rights.ADMIN)
        return token

    async def find(self, sha256, source):
        self.asked += 1
        if self.error:
            raise self.error
        return self.rows.get(sha256)


class Now:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def directory(kept, now):
    return OperatorDirectory(SingleToken(LOCAL), kept, now)


async def test_both_kinds_of_token_count(directory, kept):
    """That of the data directory owns the server; an operator's is who the database says."""
    token = kept.give("alice")
    assert (await directory.of_token(LOCAL, "127.0.0.1")).rights == Rights.GENERAL_ADMIN
    assert (await directory.of_token(token, "127.0.0.1")).name == "alice"
    assert await directory.of_token(new_token(), "127.0.0.1") is None


async def test_a_revoked_token_is_refused_at_once(directory, kept):
    """Nothing is remembered of a good answer but that it was good."""
    token = kept.give("alice")
    assert await directory.of_token(token, "127.0.0.1")
    kept.rows.clear()
    assert await directory.of_token(token, "127.0.0.1") is None


async def test_the_local_token_works_without_the_database(directory, kept):
    """While the database is away an operator's token gets 503, not 401; the administrator still gets in."""
    token = kept.give("alice")
    kept.error = StoreBusy("down")
    assert await directory.of_token(LOCAL, "127.0.0.1")
    with pytest.raises(StoreBusy):
        await directory.of_token(token, "127.0.0.1")


@pytest.mark.parametrize(
    "token", ["", "x", "mizu_", "mizu_" + "x" * 42, "mizu_" + "x" * 44, "\udcff" * 48, "ü" * 48]
)
async def test_what_is_no_token_is_not_looked_up(directory, kept, token):
    """The database is asked only about texts that can be tokens."""
    assert await directory.of_token(token, "127.0.0.1") is None
    assert kept.asked == 0


async def test_who_guesses_is_held_back_and_nobody_else(directory, kept, now):
    """After so many wrong ones from an address none is looked up for a minute, but good ones are."""
    alice, bob = kept.give("alice"), kept.give("bob")
    assert await directory.of_token(alice, "192.0.2.1")
    for _ in range(FAILURES_MAX):
        assert await directory.of_token(new_token(), "192.0.2.1") is None
    asked = kept.asked
    with pytest.raises(TooManyFailures):
        await directory.of_token(bob, "192.0.2.1")
    assert kept.asked == asked
    assert (await directory.of_token(alice, "192.0.2.1")).name == "alice"
    assert (await directory.of_token(bob, "192.0.2.2")).name == "bob"
    assert await directory.of_token(LOCAL, "192.0.2.1")
    now.now_s += WINDOW_S
    assert (await directory.of_token(bob, "192.0.2.1")).name == "bob"


async def test_what_is_remembered_is_bounded(directory, kept, monkeypatch):
    """Many addresses with wrong tokens do not fill the memory."""
    monkeypatch.setattr("mizu.web.operators.ADDRESSES_MAX", 5)
    for number in range(20):
        await directory.of_token("wrong", f"192.0.2.{number}")
    assert len(directory._failures) == 5
