"""
Public fakes of the account store and of an authorization backend, and the contract that every backend keeps.

A plugin author runs the contract by subclassing :class:`AuthBackendContract` in a test module::

    class TestMyBackend(AuthBackendContract):
        known_username = "alice"

        def make_backend(self):
            return MyBackend(...)
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mizu.auth.interfaces import IByUsername
from mizu.errors import Conflict
from mizu.interfaces import IAuthBackend, IAuthRules
from mizu.model import Account, AuthAnswer, AuthQuery, AuthRule
from mizu.sip.digest import ALGORITHMS, ha1
from mizu.testing.stores import MemoryAccountStore, StoreFaults

T = TypeVar("T")


def result_now(awaitable: Awaitable[T]) -> T:
    """
    What an awaitable that needs no network gives.

    :raise AssertionError: it has no result yet.
    """

    async def wait() -> T:
        return await awaitable

    results: list[T] = []
    failures: list[BaseException] = []
    ensureDeferred(wait()).addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    assert results, "no result yet"
    return results[0]


def all_ha1(username: str, password: str, realm: str = "mizu") -> dict[str, str]:
    """Every HA1 that an account store keeps for a password."""
    return {algorithm: ha1(username, realm, password, algorithm) for algorithm in ALGORITHMS}


def auth_query(username: str, **changes: Any) -> AuthQuery:
    """A query with credentials from a phone on loopback; ``changes`` are other fields."""
    query = AuthQuery(
        method="REGISTER",
        username=username,
        realm="mizu",
        source_host="127.0.0.1",
        source_port=5062,
        proto="udp",
        caller_number=username,
        called_number="",
        has_credentials=True,
    )
    return replace(query, **changes)


class FakeAccountStore(MemoryAccountStore):
    """
    A :class:`~mizu.testing.stores.MemoryAccountStore` that has accounts from the start.

    :param usernames: accounts to begin with.
    :param password: of each of them, in the clear.
    :ivar asked: usernames that ``find`` was asked for, in order.
    """

    def __init__(
        self,
        *usernames: str,
        password: str = "secret",  # noqa: S107 - a fake
        realm: str = "mizu",
        changed: Callable[[str], None] = lambda username: None,
    ) -> None:
        super().__init__(changed)
        self.asked: list[str] = []
        self._realm = realm
        for username in usernames:
            self.set(username, password)

    def set(self, username: str, password: str, **fields: Any) -> Account:
        """Add or change an account; ``fields`` as in ``Account``."""
        secrets = all_ha1(username, password, self._realm)
        try:
            return result_now(self.add(username, secrets, fields))
        except Conflict:
            return result_now(self.change(username, secrets, fields))

    def find(self, username: str) -> Deferred[tuple[Account, Mapping[str, str]] | None]:
        """See the interface."""
        self.asked.append(username)
        return super().find(username)


@implementer(IAuthBackend)
class FakeAuthBackend:
    """
    Answers by username from a dictionary, with and without credentials, and notes what it was asked.

    :ivar fault: raised instead of an answer.
    :ivar held: when a list, questions wait in it until :meth:`release`; what they get is what was known when
        they were asked.
    """

    def __init__(self, answers: Mapping[str, AuthAnswer] | None = None) -> None:
        self.answers = dict(answers or {})
        self.queries: list[AuthQuery] = []
        self.fault: Exception | None = None
        self.held: list[Deferred[None]] | None = None

    async def find(self, query: AuthQuery) -> AuthAnswer | None:
        self.queries.append(query)
        answer = self.answers.get(query.username)
        if self.held is not None:
            waiting: Deferred[None] = Deferred()
            self.held.append(waiting)
            await waiting
        if self.fault is not None:
            raise self.fault
        return answer

    def release(self) -> None:
        """Answer what waits."""
        held, self.held = self.held or [], None
        for waiting in held:
            waiting.callback(None)


class AuthBackendContract:
    """What Mizu relies on in every ``IAuthBackend``; see the module's text for how to run it."""

    #: somebody the backend knows, and a name it does not know
    known_username = "alice"
    unknown_username = "no-such-person"
    #: queries of that person differ by these fields (an address, say)
    known_query: Mapping[str, Any] = {}

    def make_backend(self) -> IAuthBackend:
        """The backend under test."""
        raise NotImplementedError

    def result(self, awaitable: Awaitable[T]) -> T:
        """Wait for an answer; override it where answers need a reactor."""
        return result_now(awaitable)

    def test_it_provides_the_interface(self) -> None:
        """The backend has the method of ``IAuthBackend`` with its arguments."""
        verifyObject(IAuthBackend, self.make_backend())

    def test_somebody_known_is_found(self) -> None:
        """The answer names the account, and its secrets are lower-case hexadecimal HA1s."""
        answer = self.result(self.make_backend().find(auth_query(self.known_username, **self.known_query)))
        assert answer is not None
        assert answer.account.username
        assert answer.cache_s >= 0
        for algorithm, secret in (answer.ha1 or {}).items():
            assert len(secret) == ALGORITHMS[algorithm](b"").digest_size * 2
            assert secret == secret.lower()
            int(secret, 16)

    def test_no_secret_is_printed(self) -> None:
        """Logging an answer shows no secret."""
        answer = self.result(self.make_backend().find(auth_query(self.known_username, **self.known_query)))
        assert answer is not None
        assert not any(secret in repr(answer) for secret in (answer.ha1 or {}).values())

    def test_somebody_unknown_is_none(self) -> None:
        """Unknown is an answer, not an error."""
        assert self.result(self.make_backend().find(auth_query(self.unknown_username))) is None

    def test_a_hostile_name_is_just_unknown(self) -> None:
        """Whatever is in the username: no error, and nobody is found by accident."""
        backend = self.make_backend()
        for name in ("", "' OR 1=1 --", "%", "_", "\0", "\udcff", "x" * 4000, self.known_username + "\0"):
            assert self.result(backend.find(auth_query(name))) is None

    def test_a_request_without_credentials_never_yields_a_secret_less_digest_account(self) -> None:
        """An account that needs a password is not let in because the request shows none."""
        backend = self.make_backend()
        with_credentials = self.result(backend.find(auth_query(self.known_username, **self.known_query)))
        without = self.result(
            backend.find(auth_query(self.known_username, **{**self.known_query, "has_credentials": False}))
        )
        assert with_credentials is not None
        if with_credentials.ha1 is not None:
            assert without is None or without.ha1 is not None

    def test_two_questions_at_once_get_their_own_answers(self) -> None:
        """A second question before the first is answered disturbs nothing."""
        backend = self.make_backend()
        first = backend.find(auth_query(self.known_username, **self.known_query))
        second = backend.find(auth_query(self.unknown_username))
        assert self.result(second) is None
        assert self.result(first) is not None

    def test_a_backend_by_username_ignores_where_the_request_comes_from(self) -> None:
        """With the mark ``IByUsername`` the answer holds for every source, and for credentials only."""
        backend = self.make_backend()
        if not IByUsername.providedBy(backend):
            return
        here = self.result(backend.find(auth_query(self.known_username)))
        there = self.result(backend.find(auth_query(self.known_username, source_host="192.0.2.7")))
        assert here == there
        assert self.result(backend.find(auth_query(self.known_username, has_credentials=False))) is None


@implementer(IAuthRules)
class MemoryAuthRules:
    """
    Rules of accounts in a dict, by username.

    :ivar asked: what was read: usernames, or ``None`` for everything.
    """

    def __init__(self, *rules: AuthRule) -> None:
        self.faults = StoreFaults()
        self.rules = {rule.username: rule for rule in rules}
        self.asked: list[tuple[str, ...] | None] = []

    def load(self) -> Deferred[Sequence[AuthRule]]:
        """See the interface."""
        self.asked.append(None)
        return self.faults.answer(lambda: list(self.rules.values()))

    def find(self, usernames: Sequence[str]) -> Deferred[Sequence[AuthRule]]:
        """See the interface."""
        self.asked.append(tuple(usernames))
        return self.faults.answer(lambda: [self.rules[name] for name in usernames if name in self.rules])
