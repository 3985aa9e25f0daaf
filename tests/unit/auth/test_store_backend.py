"""The account store as an authorization backend."""

from typing import Any

import pytest

from mizu.auth.store_backend import StoreBackend
from mizu.errors import StoreBusy
from mizu.interfaces import IAuthBackend
from mizu.model import AuthType
from mizu.testing.auth import (
    AuthBackendContract,
    FakeAccountStore,
    FakeAuthBackend,
    all_ha1,
    auth_query,
    result_now,
)


class TestStoreBackend(AuthBackendContract):
    """The built-in backend keeps the contract."""

    def make_backend(self) -> IAuthBackend:
        return StoreBackend(FakeAccountStore("alice", "bob"))


class TestFakeBackend(AuthBackendContract):
    """So does the fake."""

    def make_backend(self) -> IAuthBackend:
        found: Any = result_now(StoreBackend(FakeAccountStore("alice")).find(auth_query("alice")))
        return FakeAuthBackend({"alice": found})


def test_a_digest_account_is_found_with_its_secrets() -> None:
    """Both HA1s come, so that either algorithm can be checked."""
    answer = result_now(StoreBackend(FakeAccountStore("alice"), cache_s=42).find(auth_query("alice")))
    assert answer is not None
    assert answer.account.username == "alice"
    assert answer.ha1 == all_ha1("alice", "secret")
    assert answer.cache_s == 42


@pytest.mark.parametrize("auth_type", [each for each in AuthType if each is not AuthType.DIGEST])
def test_an_account_proved_in_another_way_is_not_let_in(auth_type: AuthType) -> None:
    """Nobody gets in because a way to prove an account is missing; least of all an open relay."""
    accounts = FakeAccountStore()
    accounts.set("alice", "secret", auth_type=auth_type)
    for has_credentials in (True, False):
        query = auth_query("alice", has_credentials=has_credentials)
        assert result_now(StoreBackend(accounts).find(query)) is None


def test_a_disabled_account_is_found_and_says_so() -> None:
    """The authorizer needs it, to answer as for a wrong password."""
    accounts = FakeAccountStore()
    accounts.set("alice", "secret", enabled=False)
    answer = result_now(StoreBackend(accounts).find(auth_query("alice")))
    assert answer is not None
    assert not answer.account.enabled


def test_a_database_that_is_down_is_an_error_not_an_unknown_user() -> None:
    """StoreBusy passes through."""
    accounts = FakeAccountStore("alice")
    accounts.faults.down = True
    with pytest.raises(StoreBusy):
        result_now(StoreBackend(accounts).find(auth_query("alice")))


def test_no_question_reaches_the_store_without_credentials() -> None:
    """The first message of each phone costs no query."""
    accounts = FakeAccountStore("alice")
    assert result_now(StoreBackend(accounts).find(auth_query("alice", has_credentials=False))) is None
    assert accounts.asked == []
