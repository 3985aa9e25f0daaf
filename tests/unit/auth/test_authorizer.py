"""Who sends this request: challenges, digests, the cache of answers, and what outsiders may not find out."""

from collections import Counter
from collections.abc import Callable
from hashlib import md5
from itertools import count
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from zope.interface import directlyProvides

from mizu.auth.interfaces import IByUsername
from mizu.auth.request import Accepted, Authorizer, Challenge, Decision, Refused
from mizu.auth.rule_feed import RuleFeed
from mizu.auth.rules import RuleIndex
from mizu.auth.store_backend import StoreBackend
from mizu.errors import CallRefused, StoreBusy
from mizu.interfaces import IAuthBackend
from mizu.model import Account, AuthAnswer, AuthQuery, AuthRule, AuthType
from mizu.sip.digest import ALGORITHMS, NonceCounts, NonceSigner, answer_challenge
from mizu.sip.message import Request
from mizu.store.accounts import PostgresAccountStore
from mizu.testing import FakeClock
from mizu.testing.auth import FakeAccountStore, FakeAuthBackend, MemoryAuthRules, all_ha1, result_now

_CREDENTIALS = {"REGISTER": "Authorization", "INVITE": "Proxy_Authorization"}


class PhoneFlow:
    """Where a request comes from."""

    proto = "udp"
    reliable = False
    answer_max_bytes = 0
    local = ("127.0.0.1", 5060)
    listener = "udp:127.0.0.1:5060"

    def __init__(self, host: str = "192.0.2.1", port: int = 5070) -> None:
        self.remote = (host, port)

    def send(self, data: bytes, on_error: Callable[[str], None] | None = None) -> None:
        raise AssertionError("authorization sends nothing")

    def alive(self) -> bool:
        return True

    def keep_for(self, duration_s: float) -> None:
        """There is no connection to keep."""


class Setting:
    """An authorizer over some backends, and a phone that answers its challenges."""

    def __init__(self, *backends: IAuthBackend, **options: Any) -> None:
        self.clock = options.pop("clock", None) or FakeClock()
        self.failures: list[tuple[str, str]] = []
        self.flow = PhoneFlow()
        self.branches = count()
        options.setdefault("algorithms", ["MD5"])
        self.authorizer = Authorizer(
            [(f"b{number}", backend) for number, backend in enumerate(backends)],
            realm="mizu",
            signer=NonceSigner(b"k" * 32, 300),
            counts=NonceCounts(1000),
            clock=self.clock,
            on_failure=lambda flow, username, code: self.failures.append((username, code)),
            **options,
        )

    def request(
        self, method: str = "REGISTER", uri: str = "sip:mizu.test", user: str = "alice", **headers: str
    ) -> Request:
        fields = [
            ("Via", f"SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK{next(self.branches)}"),
            ("From", f"<sip:{user}@mizu.test>;tag=1"),
            ("To", f"<sip:{user}@mizu.test>"),
            ("Call-ID", "c"),
            ("CSeq", f"1 {method}"),
            *[(name.replace("_", "-"), value) for name, value in headers.items()],
        ]
        return Request(method, uri, fields)

    def decide(self, request: Request, flow: PhoneFlow | None = None) -> Decision:
        """As the switch does it: at once when possible, else by asking the backends."""
        decision = self.authorizer.authorize_now(request, flow or self.flow)
        if decision is None:
            decision = result_now(self.authorizer.authorize(request, flow or self.flow))
        return decision

    def challenge(self, method: str = "REGISTER", flow: PhoneFlow | None = None, **options: Any) -> str:
        """A fresh challenge's value."""
        decision = self.decide(self.request(method, **options), flow)
        assert isinstance(decision, Challenge)
        return decision.fields[0][1]

    def credentials(self, challenge: str | list[str], method: str = "REGISTER", **changes: Any) -> str:
        arguments: dict[str, Any] = {
            "username": "alice",
            "password": "secret",
            "method": method,
            "uri": "sip:mizu.test",
            "cnonce": "c0ffee",
        }
        return answer_challenge(challenge, **{**arguments, **changes})

    def log_in(self, method: str = "REGISTER", **changes: Any) -> Decision:
        """Challenge and answer, as a phone does."""
        value = self.credentials(self.challenge(method), method, **changes)
        name = "Authorization" if method == "REGISTER" else "Proxy_Authorization"
        return self.decide(self.request(method, **{name: value}))


@pytest.fixture
def accounts() -> FakeAccountStore:
    store = FakeAccountStore("alice", "bob")
    store.set("carol", "secret", enabled=False)
    return store


@pytest.fixture
def at(accounts: FakeAccountStore) -> Setting:
    return Setting(StoreBackend(accounts))


# ---------------------------------------------------------------- challenges


@pytest.mark.parametrize(
    ("method", "status", "header"),
    [
        ("REGISTER", 401, "WWW-Authenticate"),
        ("INVITE", 407, "Proxy-Authenticate"),
        ("MESSAGE", 407, "Proxy-Authenticate"),
    ],
)
def test_a_request_without_credentials_is_challenged(
    at: Setting, accounts: FakeAccountStore, method: str, status: int, header: str
) -> None:
    """401 for REGISTER, 407 for all others, without asking the database."""
    decision = at.decide(at.request(method))
    assert isinstance(decision, Challenge)
    assert decision.status == status
    assert [name for name, _ in decision.fields] == [header]
    assert "stale" not in decision.fields[0][1]
    assert accounts.asked == []


def test_each_algorithm_has_its_own_header_in_the_configured_order(accounts: FakeAccountStore) -> None:
    """RFC 8760 2.2: old phones take the MD5 they know, new ones the first they know."""
    at = Setting(StoreBackend(accounts), algorithms=["SHA-256", "MD5"])
    decision = at.decide(at.request())
    assert isinstance(decision, Challenge)
    assert [value.split("algorithm=")[1].split(",")[0] for _, value in decision.fields] == ["SHA-256", "MD5"]
    for at_place in (0, 1):
        decision = at.decide(at.request())
        assert isinstance(decision, Challenge)
        value = at.credentials(decision.fields[at_place][1])
        assert isinstance(at.decide(at.request(Authorization=value)), Accepted)


def test_a_repeated_request_gets_the_very_same_challenge(at: Setting) -> None:
    """RFC 3261 8.2.7: a client that hears it twice sees that it is a repetition. Others get their own."""
    request = at.request()
    first = at.authorizer.first_answer(request, at.flow)  # type: ignore[arg-type]
    at.clock.advance(3.5)
    assert at.authorizer.first_answer(request, at.flow) == first  # type: ignore[arg-type]
    assert at.authorizer.first_answer(at.request(), at.flow) != first  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
def test_the_right_password_is_accepted(at: Setting, method: str) -> None:
    """The decision names the account."""
    decision = at.log_in(method)
    assert isinstance(decision, Accepted)
    assert decision.account.username == decision.username == "alice"
    assert at.failures == []


def test_first_answer_challenges_without_state_and_lets_real_credentials_through(at: Setting) -> None:
    """It may be called for each repetition of a request: a repeated login is not challenged by it."""
    assert isinstance(at.authorizer.first_answer(at.request(), at.flow), Challenge)
    garbage = at.request(Authorization="Digest nonsense")
    assert isinstance(at.authorizer.first_answer(garbage, at.flow), Challenge)
    value = at.credentials(at.challenge())
    forged = at.request(Authorization=at.credentials('Digest realm="mizu", nonce="x", qop="auth"'))
    assert isinstance(at.authorizer.first_answer(forged, at.flow), Challenge)
    for _ in range(2):
        assert at.authorizer.first_answer(at.request(Authorization=value), at.flow) is None
        assert isinstance(at.decide(at.request(Authorization=value)), Accepted | Challenge)
    assert at.failures == [("alice", "bad_nonce"), ("alice", "replay")]


@pytest.mark.parametrize(
    "change",
    [
        lambda value: "Digest garbage",
        lambda value: "Basic YWxpY2U6c2VjcmV0",
        lambda value: value.replace("algorithm=MD5", "algorithm=SHA-512"),
        lambda value: value.replace("algorithm=MD5", "algorithm=MD5-sess"),
        lambda value: value.replace('realm="mizu"', 'realm="elsewhere"'),
        lambda value: value.replace(", qop=auth", ""),
        lambda value: value.replace("qop=auth", "qop=auth-int"),
        lambda value: value.replace("nc=00000001", "nc=1"),
        lambda value: value.replace("nc=00000001", "nc=00000000"),
        lambda value: value.replace('cnonce="c0ffee"', 'cnonce=""'),
        lambda value: value + ', username="bob"',
    ],
)
def test_credentials_that_are_no_answer_to_our_challenge_get_a_fresh_one(
    at: Setting, change: Callable[[str], str]
) -> None:
    """Garbage, another scheme, realm or algorithm, and replies without qop (RFC 2069)."""
    value = change(at.credentials(at.challenge()))
    decision = at.decide(at.request(Authorization=value))
    assert isinstance(decision, Challenge)
    assert not decision.stale


def test_a_good_header_among_others_is_found(at: Setting) -> None:
    """A client may send credentials for several realms."""
    good = at.credentials(at.challenge())
    request = at.request(Authorization='Digest realm="other"')
    request.add("Authorization", good)
    assert isinstance(at.decide(request), Accepted)


def test_a_hundred_headers_cost_no_hundred_checks(at: Setting) -> None:
    """Only the first few are looked at."""
    good = at.credentials(at.challenge())
    request = at.request(Authorization="Digest x=1")
    for _ in range(100):
        request.add("Authorization", "Digest x=1")
    request.add("Authorization", good)
    assert isinstance(at.decide(request), Challenge)


def test_an_old_nonce_is_stale_and_the_phone_need_not_ask_its_user(at: Setting) -> None:
    """stale=true with a new nonce, with which the same password works."""
    value = at.credentials(at.challenge())
    at.clock.advance(301)
    decision = at.decide(at.request(Authorization=value))
    assert isinstance(decision, Challenge)
    assert decision.stale
    again = at.credentials(decision.fields[0][1])
    assert isinstance(at.decide(at.request(Authorization=again)), Accepted)
    assert at.failures == []


def test_a_nonce_that_is_not_ours_is_a_failure_that_asks_nobody(
    at: Setting, accounts: FakeAccountStore
) -> None:
    """Even with the right password: otherwise an attacker could choose the nonce."""
    value = at.credentials('Digest realm="mizu", nonce="chosen", qop="auth"')
    decision = at.decide(at.request(Authorization=value))
    assert isinstance(decision, Challenge)
    assert not decision.stale
    assert at.failures == [("alice", "bad_nonce")]
    assert accounts.asked == []


# ---------------------------------------------------------------- C4


def test_C4_a_captured_answer_cannot_be_used_again(at: Setting) -> None:
    """The same nonce and nc, from the same or another address: stale; counted where it was good before."""
    value = at.credentials(at.challenge())
    assert isinstance(at.decide(at.request(Authorization=value)), Accepted)
    for flow in (at.flow, PhoneFlow("198.51.100.7", 6000)):
        decision = at.decide(at.request(Authorization=value), flow)
        assert isinstance(decision, Challenge)
        assert decision.stale
    assert at.failures == [("alice", "replay")]


@pytest.mark.parametrize("proto", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
def test_C4_a_captured_answer_is_of_no_use_elsewhere_before_it_is_used(
    at: Setting, method: str, proto: str
) -> None:
    """Over a connection neither: who reads what a phone sends shall not be faster than the phone."""
    value = at.credentials(at.challenge(method), method)
    request = at.request(method, **{_CREDENTIALS[method]: value})
    thief = PhoneFlow("198.51.100.7", 6000)
    thief.proto, thief.reliable = proto, proto != "udp"
    assert isinstance(at.authorizer.first_answer(request, thief), Challenge)
    decision = at.decide(request, thief)
    assert isinstance(decision, Challenge)
    assert decision.stale
    assert isinstance(at.decide(at.request(method, **{_CREDENTIALS[method]: value})), Accepted)
    assert at.failures == []


def test_a_phone_that_comes_from_another_node_is_told_that_its_nonce_is_old(at: Setting) -> None:
    """Each node has a key of its own; without ``stale`` a phone would take its password for wrong."""
    foreign = NonceSigner(b"other key of 32 bytes...........", 300)
    nonce = foreign.make(at.clock.wall_s(), at.flow.remote[0])
    value = at.credentials(f'Digest realm="mizu", nonce="{nonce}", qop="auth"')
    decision = at.authorizer.first_answer(at.request(Authorization=value), at.flow)
    assert isinstance(decision, Challenge)
    assert decision.stale
    assert at.failures == []
    again = at.credentials(decision.fields[0][1])
    assert isinstance(at.decide(at.request(Authorization=again)), Accepted)


def test_C4_the_next_nonce_count_is_a_new_answer(at: Setting) -> None:
    """A phone may use one nonce for many requests, counting."""
    challenge = at.challenge()
    for nc in (1, 2, 3, 5, 4):
        value = at.credentials(challenge, nc=nc)
        assert isinstance(at.decide(at.request(Authorization=value)), Accepted)


def test_C4_a_captured_answer_is_no_answer_for_another_method(at: Setting) -> None:
    """The method is part of the proof."""
    value = at.credentials(at.challenge("INVITE"), "INVITE")
    decision = at.decide(at.request("MESSAGE", Proxy_Authorization=value))
    assert isinstance(decision, Challenge)
    assert at.failures == [("alice", "wrong_password")]


def test_C4_a_captured_answer_is_no_answer_for_another_number(at: Setting) -> None:
    """The digest uri is compared with the Request-URI: 403, whoever asks."""
    value = at.credentials(at.challenge("INVITE"), "INVITE", uri="sip:100@mizu.test")
    request = at.request("INVITE", uri="sip:+900premium@mizu.test", Proxy_Authorization=value)
    decision = at.decide(request)
    assert isinstance(decision, Refused)
    assert (decision.status, decision.code) == (403, "uri_mismatch")
    assert at.failures == [("alice", "uri_mismatch")]


def test_C4_changing_the_uri_inside_the_answer_breaks_the_proof(at: Setting) -> None:
    """The uri parameter is part of what is hashed."""
    value = at.credentials(at.challenge("INVITE"), "INVITE", uri="sip:100@mizu.test")
    value = value.replace('uri="sip:100@mizu.test"', 'uri="sip:900@mizu.test"')
    decision = at.decide(at.request("INVITE", uri="sip:900@mizu.test", Proxy_Authorization=value))
    assert isinstance(decision, Challenge)


def test_C4_an_answer_captured_before_a_restart_cannot_be_used_after_it(accounts: FakeAccountStore) -> None:
    """Although the key that signs nonces is kept: stale, and the phone's next try works."""
    before = Setting(StoreBackend(accounts))
    value = before.credentials(before.challenge())
    assert isinstance(before.decide(before.request(Authorization=value)), Accepted)
    before.clock.advance(10)
    after = Setting(StoreBackend(accounts), clock=before.clock)
    decision = after.decide(after.request(Authorization=value))
    assert isinstance(decision, Challenge)
    assert decision.stale
    again = after.credentials(decision.fields[0][1])
    assert isinstance(after.decide(after.request(Authorization=again)), Accepted)


# ---------------------------------------------------------------- C6


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        ("nobody", "secret", "unknown_user"),
        ("alice", "wrong", "wrong_password"),
        ("carol", "secret", "disabled"),
        ("carol", "wrong", "wrong_password"),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_C6_unknown_wrong_and_disabled_look_the_same(
    at: Setting, accounts: FakeAccountStore, username: str, password: str, code: str, cached: bool
) -> None:
    """Same answer but for the nonce, and one question to the store each, whether the name is known to the
    cache or not; only the guard learns which it was."""
    if cached:
        at.log_in()
        at.log_in(username=username)
        at.failures.clear()
    accounts.asked.clear()
    decision = at.log_in(username=username, password=password)
    assert isinstance(decision, Challenge)
    nonce = decision.fields[0][1].split('nonce="')[1].split('"')[0]
    assert decision == Challenge(
        401, (("WWW-Authenticate", f'Digest realm="mizu", nonce="{nonce}", algorithm=MD5, qop="auth"'),)
    )
    assert at.failures == [(username, code)]
    assert accounts.asked == [username]


class Steps:
    """A login over the account store as it is, which counts what is done for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count: Counter[str] = Counter()
        clock, rules = FakeClock(), MemoryAuthRules(AuthRule("trunk", AuthType.IP, ("198.51.100.1",)))
        self.feed = RuleFeed(rules, RuleIndex(), clock=clock, resolve=lambda name: succeed([]))
        result_now(self.feed.prepare())
        accounts = PostgresAccountStore(self, self, 100, Clock())  # type: ignore[arg-type]
        self.backend = StoreBackend(accounts, feed=self.feed)
        self.at = Setting(self, clock=clock, may_log_in=self.may_log_in)
        self._monkeypatch = monkeypatch
        rest = ("", None, None, None, None, None, [], None)  # no owners, limits or groups
        self.rows = [
            (1, name, 0, enabled, None, 4, True, "", "", 1, False, False, 1, 0, *rest, ha1, None)
            for name, enabled in (("alice", True), ("carol", False))
            for ha1 in (all_ha1(name, "secret")["MD5"],)
        ]
        zeros = ("0" * 32, "0" * 64)
        self.rows.append(
            (0, "nobody", 0, False, None, 4, False, "", "", 0, False, False, 0, 0, *rest, *zeros)
        )

    def query(self, sql: str, params: Any = None) -> Deferred[list[tuple[Any, ...]]]:
        """The database: alice, and carol, who is disabled."""
        self.count["statements"] += 1
        return succeed([row for row in self.rows if row[1] in params[0]])

    def find(self, query: AuthQuery) -> Any:
        """The backend."""
        self.count["questions"] += 1
        return self.backend.find(query)

    def may_log_in(self, flow: Any, username: str) -> bool:
        """The guard."""
        self.count["turns"] += 1
        return True

    def hashed(self, data: bytes) -> Any:
        """Digest."""
        self.count["hashes"] += 1
        return md5(data, usedforsecurity=False)

    def fail(self, username: str, password: str, times: int) -> dict[str, int]:
        """Log in wrongly. :return: what that took."""
        challenge = self.at.challenge()
        requests = [
            self.at.request(
                Authorization=self.at.credentials(challenge, username=username, password=password)
            )
            for _ in range(times)
        ]
        self.count.clear()
        with self._monkeypatch.context() as patch:
            patch.setattr("mizu.sip.digest._compiled", None)  # which hashes on its own
            patch.setitem(ALGORITHMS, "MD5", self.hashed)
            for request in requests:
                assert isinstance(self.at.decide(request), Challenge)
        return dict(self.count)


@pytest.mark.parametrize("times", [1, 3])
def test_C6_every_failed_login_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """As many hashes, questions to the backend, statements and turns, whoever is claimed."""
    tried = (("nobody", "secret"), ("alice", "wrong"), ("carol", "secret"), ("carol", "wrong"))
    taken = [Steps(monkeypatch).fail(username, password, times) for username, password in tried]
    assert taken == [taken[0]] * len(tried)
    assert [taken[0][what] for what in ("turns", "questions", "statements")] == [times] * 3
    assert taken[0]["hashes"] % times == 0


def test_C6_a_secret_of_another_algorithm_is_a_wrong_password(accounts: FakeAccountStore) -> None:
    """An account without an HA1 for the algorithm cannot be told from an unknown one."""
    answer = AuthAnswer(Account(id=1, username="alice"), ha1={"SHA-256": "0" * 64})
    at = Setting(FakeAuthBackend({"alice": answer}))
    assert isinstance(at.log_in(), Challenge)


def test_C6_an_account_without_secrets_accepts_nothing() -> None:
    """An empty set of secrets still asks for a proof."""
    at = Setting(FakeAuthBackend({"alice": AuthAnswer(Account(id=1, username="alice"), ha1={})}))
    assert isinstance(at.log_in(), Challenge)


# ---------------------------------------------------------------- the cache


def test_a_known_phone_costs_no_question(at: Setting, accounts: FakeAccountStore) -> None:
    """Ten thousand users from one address: each is asked for once, from whatever address they come next."""
    at.log_in()
    moved = PhoneFlow("198.51.100.9", 1)
    value = at.credentials(at.challenge(flow=moved))
    decision = at.authorizer.authorize_now(at.request(Authorization=value), moved)
    assert isinstance(decision, Accepted)
    assert accounts.asked == ["alice"]
    assert at.authorizer.counts()["cache_hits"] == 1
    assert at.authorizer.counts()["cache_misses"] == 1


def test_a_changed_password_works_at_once_and_the_old_one_no_more_after_forget(
    at: Setting, accounts: FakeAccountStore
) -> None:
    """The new one is accepted even when the announcement is late."""
    at.log_in()
    accounts.set("alice", "new")
    assert isinstance(at.log_in(password="new"), Accepted)
    assert isinstance(at.log_in(), Challenge)
    accounts.set("alice", "newer")
    at.authorizer.forget("alice")
    assert isinstance(at.log_in(password="new"), Challenge)


def test_forgetting_while_the_store_is_asked_does_not_keep_the_old_answer(
    accounts: FakeAccountStore,
) -> None:
    """A password changed between question and answer: what was on its way is used once, not kept."""
    answer = AuthAnswer(Account(id=1, username="alice"), ha1=all_ha1("alice", "secret"))
    backend = FakeAuthBackend({"alice": answer})
    directlyProvides(backend, IAuthBackend, IByUsername)
    at = Setting(backend)
    request = at.request(Authorization=at.credentials(at.challenge()))
    backend.held = []
    pending = ensureDeferred(at.authorizer.authorize(request, at.flow))
    at.authorizer.forget("alice")
    backend.release()
    assert isinstance(result_now(pending), Accepted)
    assert len(at.authorizer.cache) == 0


def test_an_answer_is_asked_for_again_when_its_time_is_over(at: Setting, accounts: FakeAccountStore) -> None:
    """``cache_s`` bounds how long a lost announcement matters."""
    at.log_in()
    at.clock.advance(301)
    at.log_in()
    assert accounts.asked == ["alice", "alice"]


def test_forget_everything(at: Setting, accounts: FakeAccountStore) -> None:
    """``None`` drops all answers."""
    at.log_in()
    at.authorizer.forget(None)
    at.log_in()
    assert accounts.asked == ["alice", "alice"]


def test_the_cache_is_bounded(accounts: FakeAccountStore) -> None:
    """At the limit the answer asked for longest ago goes."""
    at = Setting(StoreBackend(accounts), cache_limit=1)
    at.log_in()
    at.log_in(username="bob")
    assert len(at.authorizer.cache) == 1
    at.log_in(username="bob")
    assert accounts.asked == ["alice", "bob"]


def test_a_limit_of_zero_keeps_nothing(accounts: FakeAccountStore) -> None:
    """Every login asks."""
    at = Setting(StoreBackend(accounts), cache_limit=0)
    at.log_in()
    assert isinstance(at.log_in(), Accepted)
    assert accounts.asked == ["alice", "alice"]


def test_many_requests_of_one_user_ask_once(at: Setting, accounts: FakeAccountStore) -> None:
    """A storm of logins while the store is slow is one question (D3)."""
    values = [at.credentials(at.challenge()) for _ in range(5)]
    accounts.faults.hold()
    pending = [
        ensureDeferred(at.authorizer.authorize(at.request(Authorization=value), at.flow)) for value in values
    ]
    accounts.faults.release()
    assert all(isinstance(result_now(each), Accepted) for each in pending)
    assert accounts.asked == ["alice"]


# ---------------------------------------------------------------- the database is away


def test_who_is_known_is_served_from_memory_while_the_database_is_down(
    at: Setting, accounts: FakeAccountStore
) -> None:
    """Also when the cached answer has grown old; everybody else is told to come again."""
    at.log_in()
    accounts.faults.down = True
    assert isinstance(at.log_in(), Accepted)
    at.clock.advance(600)
    assert isinstance(at.log_in(), Accepted)
    decision = at.log_in(username="bob")
    assert decision == Refused(503, "", (("Retry-After", "5"),), "store_busy")
    assert at.failures == []


def test_an_outage_does_not_make_wrong_passwords_right(at: Setting, accounts: FakeAccountStore) -> None:
    """They cannot be told from new ones now, so they are told to come again."""
    at.log_in()
    accounts.faults.down = True
    assert isinstance(at.log_in(password="wrong"), Refused)


def test_an_outage_longer_than_an_hour_ends_the_grace(at: Setting, accounts: FakeAccountStore) -> None:
    """A disabled account must not live for ever because nobody can say so."""
    at.log_in()
    accounts.faults.down = True
    at.clock.advance(300 + 3601)
    assert isinstance(at.log_in(), Refused)


def test_waiting_requests_all_learn_that_the_database_is_down(
    at: Setting, accounts: FakeAccountStore
) -> None:
    """Nobody waits for ever for somebody else's question."""
    backend = FakeAuthBackend()
    directlyProvides(backend, IAuthBackend, IByUsername)
    at = Setting(backend)
    backend.held = []
    values = [at.credentials(at.challenge()) for _ in range(3)]
    pending = [
        ensureDeferred(at.authorizer.authorize(at.request(Authorization=value), at.flow)) for value in values
    ]
    backend.fault = StoreBusy("down")
    backend.release()
    assert [result_now(each) for each in pending] == [
        Refused(503, "", (("Retry-After", "5"),), "store_busy")
    ] * 3
    assert len(backend.queries) == 1


# ---------------------------------------------------------------- backends


def test_backends_are_asked_in_order_until_one_knows() -> None:
    """The first answer holds."""
    first, second, third = FakeAuthBackend(), FakeAuthBackend(), FakeAuthBackend()
    second.answers["alice"] = AuthAnswer(Account(id=2, username="alice"), all_ha1("alice", "secret"))
    third.answers["alice"] = AuthAnswer(Account(id=3, username="alice"), all_ha1("alice", "secret"))
    at = Setting(first, second, third)
    decision = at.log_in()
    assert isinstance(decision, Accepted)
    assert decision.account.id == 2
    assert [len(each.queries) for each in (first, second, third)] == [2, 2, 0]  # with and without credentials


def test_a_source_that_needs_no_password_is_accepted_at_once() -> None:
    """An address table, say: no challenge, and the answer is kept for that source alone."""
    backend = FakeAuthBackend({"alice": AuthAnswer(Account(id=9, username="trunk"))})
    at = Setting(backend)
    assert at.authorizer.first_answer(at.request("INVITE"), at.flow) is None
    decision = at.decide(at.request("INVITE"))
    assert isinstance(decision, Accepted)
    assert (decision.account.id, decision.username) == (9, "trunk")
    assert isinstance(at.authorizer.authorize_now(at.request("INVITE"), at.flow), Accepted)
    assert at.authorizer.authorize_now(at.request("INVITE"), PhoneFlow("203.0.113.1")) is None
    query = backend.queries[0]
    assert (query.source_host, query.source_port, query.proto) == ("192.0.2.1", 5070, "udp")
    assert (query.caller_number, query.called_number, query.has_credentials) == ("alice", "", False)


def test_forget_finds_answers_by_source_too() -> None:
    """The account's name is enough, whatever the answer was kept under."""
    backend = FakeAuthBackend({"alice": AuthAnswer(Account(id=9, username="trunk"))})
    at = Setting(backend)
    at.decide(at.request("INVITE"))
    at.authorizer.forget("trunk")
    assert at.authorizer.authorize_now(at.request("INVITE"), at.flow) is None
    assert len(at.authorizer.cache) == 0


def test_an_answer_for_one_source_is_not_used_for_another() -> None:
    """Unless the backend says that its answers do not depend on the source."""
    answer = AuthAnswer(Account(id=1, username="alice"), all_ha1("alice", "secret"))
    at = Setting(FakeAuthBackend({"alice": answer}))
    at.log_in()
    elsewhere = PhoneFlow("203.0.113.1")
    value = at.credentials(at.challenge(flow=elsewhere))
    request = at.request(Authorization=value)
    assert at.authorizer.authorize_now(request, elsewhere) is None


def test_a_disabled_account_without_password_is_challenged() -> None:
    """It looks like an address that nobody knows."""
    backend = FakeAuthBackend({"alice": AuthAnswer(Account(id=9, username="trunk", enabled=False))})
    at = Setting(backend)
    assert isinstance(at.decide(at.request("INVITE")), Challenge)


def test_a_backend_may_refuse_with_its_own_status() -> None:
    """Any MizuError becomes its SIP answer."""
    backend = FakeAuthBackend()
    backend.fault = CallRefused(403, "caller_mismatch", "Caller Mismatch")
    at = Setting(backend)
    assert at.decide(at.request("INVITE")) == Refused(403, "Caller Mismatch", (), "caller_mismatch")


def test_a_broken_backend_lets_nobody_in(clean_reactor: list[Any]) -> None:
    """An unexpected error is logged and answered 500; the next backend is not asked instead."""
    broken, second = FakeAuthBackend(), FakeAuthBackend({"alice": AuthAnswer(Account(id=1, username="a"))})
    broken.fault = RuntimeError("bug")
    at = Setting(broken, second)
    decision = at.decide(at.request("INVITE"))
    assert isinstance(decision, Refused)
    assert (decision.status, decision.code) == (500, "backend_failed")
    assert second.queries == []
    assert clean_reactor.pop().type is RuntimeError


def test_a_request_that_cannot_be_read_is_refused_not_raised() -> None:
    """A broken From in a request whose sender must be found out."""
    at = Setting(FakeAuthBackend())
    request = at.request("INVITE")
    request.set("From", "<<<")
    decision = at.decide(request)
    assert isinstance(decision, Refused)
    assert decision.status == 400


def test_nothing_secret_is_printed(at: Setting) -> None:
    """Neither decisions nor cached answers show an HA1."""
    decision = at.log_in()
    entry = at.authorizer.cache.get("alice")
    secrets = all_ha1("alice", "secret").values()
    assert not any(secret in f"{decision!r} {entry!r}" for secret in secrets)


def test_asking_twice_about_the_same_request_counts_once(at: Setting) -> None:
    """Whoever asks again about the very same request gets the same decision."""
    request = at.request(Authorization=at.credentials(at.challenge()))
    at.decide(request)
    request = at.request(Authorization=at.credentials(at.challenge()))
    assert isinstance(at.decide(request), Accepted)
    assert isinstance(at.decide(request), Accepted)
    assert at.failures == []


def test_a_nonce_sent_to_another_address_is_answered_with_a_new_one() -> None:
    """Over UDP it shows nothing about who sends; a phone that moved answers by itself, unseen by its user."""
    accounts = FakeAccountStore("alice")
    challenged: list[str] = []
    at = Setting(StoreBackend(accounts), on_challenge=lambda flow: challenged.append(flow.remote[0]))
    value = at.credentials(at.challenge())
    moved = PhoneFlow("198.51.100.9", 1)
    decision = at.authorizer.first_answer(at.request(Authorization=value), moved)
    assert isinstance(decision, Challenge)
    assert decision.stale
    assert at.failures == []
    assert challenged == ["192.0.2.1", "198.51.100.9"]
    assert accounts.asked == []


def test_an_account_that_is_being_guessed_is_not_checked_out_of_turn() -> None:
    """The right password, too, is asked for again; the request that has its turn takes it once."""
    turns = [True, False, True]
    at = Setting(StoreBackend(FakeAccountStore("alice")), may_log_in=lambda flow, username: turns.pop(0))
    assert isinstance(at.log_in(), Accepted)
    refused = at.log_in()
    assert isinstance(refused, Challenge)
    assert refused.stale
    assert isinstance(at.log_in(), Accepted)


@pytest.mark.parametrize("username", ["alice", "carol", "nobody"])
def test_C6_out_of_turn_nothing_is_looked_up_for_anybody(username: str) -> None:
    """A name that exists, one that is disabled and one of nobody: the same answer, no backend, no failure."""
    accounts = FakeAccountStore("alice")
    accounts.set("carol", "secret", enabled=False)
    challenged: list[str] = []
    at = Setting(
        StoreBackend(accounts),
        may_log_in=lambda flow, username: False,
        on_challenge=lambda flow: challenged.append(flow.remote[0]),
    )
    for password in ("secret", "wrong"):
        decision = at.log_in(username=username, password=password)
        assert isinstance(decision, Challenge)
        assert decision.stale
    assert accounts.asked == []
    assert at.failures == []
    assert len(challenged) == 2, "the first request of each; the guard counts what it turns down itself"


def test_the_guard_hears_who_was_let_in() -> None:
    """Their addresses are known from then on, if they answered a challenge that was sent there."""
    let_in: list[tuple[str, str, bool]] = []
    at = Setting(
        StoreBackend(FakeAccountStore("alice")),
        on_accept=lambda flow, username, proved: let_in.append((flow.remote[0], username, proved)),
    )
    at.log_in()
    at.log_in(password="wrong")
    assert let_in == [("192.0.2.1", "alice", True)]


def test_who_a_call_is_of_may_stand_in_its_display_name() -> None:
    """Option ``parsesipdisplayname`` 3: also from the cache, for that name only; not when it is off again."""
    on = [True]
    rules = MemoryAuthRules(AuthRule("ann", AuthType.USERNAME), AuthRule("bob", AuthType.USERNAME))
    clock = FakeClock()
    feed = RuleFeed(rules, RuleIndex(), clock=clock, resolve=lambda name: succeed([]))
    accounts = FakeAccountStore()
    for name in ("ann", "bob"):
        accounts.set(name, "secret", auth_type=AuthType.USERNAME)
    at = Setting(StoreBackend(accounts, feed=feed, by_display=lambda: on[0]), clock=clock)
    result_now(feed.prepare())

    def call(shown: str) -> str:
        request = at.request("INVITE")
        request.remove("from")
        request.add("From", f"{shown} <sip:4930@mizu.test>;tag=1")
        decision = at.decide(request)
        return decision.username if isinstance(decision, Accepted) else "challenged"

    for _ in range(2):
        assert [call("ann"), call('"bob"'), call("carl")] == ["ann", "bob", "challenged"]
    assert accounts.asked == ["ann", "bob"]
    on[0] = False
    assert [call("ann"), call("bob")] == ["challenged"] * 2
