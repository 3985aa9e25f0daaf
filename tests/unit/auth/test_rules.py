"""Matching a request with the rules of accounts, and keeping those fresh."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from mizu.auth.dry_run import dry_run
from mizu.auth.interfaces import IByUsername, ISelectsAtOnce
from mizu.auth.rule_feed import RESOLVE_S, UNRESOLVED_S, RuleFeed
from mizu.auth.rules import RuleIndex
from mizu.auth.store_backend import StoreBackend
from mizu.errors import CallerMismatch, StoreBusy
from mizu.model import AuthQuery, AuthRule, AuthType
from mizu.testing import FakeClock
from mizu.testing.auth import AuthBackendContract, FakeAccountStore, MemoryAuthRules, auth_query, result_now


def rule(username: str, kind: int, *addresses: str, **more: Any) -> AuthRule:
    return AuthRule(username, AuthType(kind), addresses, **more)


def invite(host: str, caller: str = "x", called: str = "9", **more: Any) -> AuthQuery:
    """An INVITE without credentials."""
    fields = {"method": "INVITE", "has_credentials": False, "called_number": called, "caller_number": caller}
    return auth_query(caller, **{**fields, "source_host": host, **more})


def index_of(*rules: AuthRule, **more: Any) -> RuleIndex:
    index = RuleIndex(**more)
    index.replace_all(rules)
    return index


def test_an_address_comes_before_a_name_and_a_name_before_the_open_relay() -> None:
    """So that an account of type 5 or 0 takes nothing from a traffic sender."""
    index = index_of(rule("trunk", 1, "192.0.2.1"), rule("ann", 5), rule("relay", 0))
    assert index.match(invite("192.0.2.1", "ann"), open_relay=True) == "trunk"
    assert index.match(invite("192.0.2.2", "ann"), open_relay=True) == "ann"
    assert index.match(invite("192.0.2.2", "bob"), open_relay=True) == "relay"
    assert index.match(invite("192.0.2.2", "bob"), open_relay=False) is None


def test_a_display_name_names_an_account_when_the_option_says_so() -> None:
    """``parsesipdisplayname`` 3: types 5 and 7, and only when the user part of From names nobody."""
    index = index_of(rule("ann", 5), rule("bob", 5), rule("pbx", 7, "192.0.2.1"), rule("relay", 0))

    def match(host: str, caller: str, shown: str, on: bool = True, **more: Any) -> str | None:
        query = invite(host, caller, display_name=shown, **more)
        return index.match(query, open_relay=False, by_display=on)

    assert match("192.0.2.2", "4930", "ann") == "ann"
    assert match("192.0.2.2", "4930", "ann", on=False) is None
    assert match("192.0.2.2", "bob", "ann") == "bob"
    assert match("192.0.2.1", "4930", "pbx") == "pbx"
    assert match("192.0.2.2", "4930", "pbx") is None
    assert match("192.0.2.2", "4930", "") is None
    assert match("192.0.2.2", "4930", "nobody") is None
    assert match("192.0.2.2", "4930", "ann", method="REGISTER") is None
    query = invite("192.0.2.2", "4930", display_name="ann")
    assert index.match(query, open_relay=True, by_display=True) == "ann"  # before the open relay
    assert "its display name names ann" in index.explain(query, open_relay=False, by_display=True)
    assert "display name" not in " ".join(index.explain(query, open_relay=False))


def test_a_display_name_of_somebody_else_at_an_address_changes_nothing() -> None:
    """Who is known by the address alone stays himself."""
    index = index_of(rule("trunk", 1, "192.0.2.1"), rule("pbx", 7, "192.0.2.3"), rule("ann", 5))
    query = invite("192.0.2.1", "4930", display_name="ann")
    assert index.match(query, open_relay=False, by_display=True) == "trunk"


@pytest.mark.parametrize(
    "rules",
    [
        (rule("a", 1, "192.0.2.1"), rule("b", 9, "192.0.2.0/24")),
        (rule("a", 1, "192.0.2.1"), rule("b", 2, tech_prefix="9")),
        (rule("a", 2, tech_prefix="9"), rule("b", 2, tech_prefix="99")),
        (rule("a", 3, "192.0.2.1", tech_prefix="9"), rule("b", 6, "192.0.2.1", port=5062)),
        (rule("a", 0), rule("b", 0)),
    ],
)
def test_two_accounts_that_match_are_a_mismatch(rules: Sequence[AuthRule]) -> None:
    """Whatever they match by: nobody can say who pays."""
    with pytest.raises(CallerMismatch):
        index_of(*rules).match(invite("192.0.2.1", called="99"), open_relay=True)


def test_senders_behind_one_address_are_told_apart() -> None:
    """By port, by tech prefix or by username; the port may stand beside the address."""
    index = index_of(
        rule("port", 6, "192.0.2.1", port=5070),
        rule("own", 6, "192.0.2.1:5071", port=5070),
        rule("prefix", 3, "192.0.2.1", tech_prefix="777"),
        rule("name", 7, "192.0.2.1"),
    )
    at = "192.0.2.1"
    assert index.match(invite(at, source_port=5070), open_relay=False) == "port"
    assert index.match(invite(at, source_port=5071), open_relay=False) == "own"
    assert index.match(invite(at, called="7779"), open_relay=False) == "prefix"
    assert index.match(invite(at, "name"), open_relay=False) == "name"
    assert index.match(invite(at), open_relay=False) is None


def test_an_empty_prefix_or_port_matches_nothing() -> None:
    """A field that was forgotten opens no door."""
    index = index_of(rule("a", 2), rule("b", 3, "192.0.2.1"), rule("c", 6, "192.0.2.1"), rule("d", 9, ""))
    assert index.match(invite("192.0.2.1", source_port=0), open_relay=False) is None
    assert "d" in index.problems


def test_every_problem_of_an_account_is_told() -> None:
    """In the log and by ``authtest``, for each account its own; put right, it is gone."""
    index = index_of(rule("a", 1, "10.1.0.0/16", "192.0.2.1", "10.5.0.0/16"), rule("b", 9))
    assert [one.partition(":")[0] for one in index.problems["a"]] == ["10.1.0.0/16", "10.5.0.0/16"]
    told = index.explain(invite("192.0.2.1", "a"), open_relay=False)
    assert "a: 10.1.0.0/16: a range; it counts with auth_type 9 and 10 only, not with 1" in told
    assert "a: 10.5.0.0/16: a range; it counts with auth_type 9 and 10 only, not with 1" in told
    index.replace("a", rule("a", 9, "10.1.0.0/16"))
    assert list(index.problems) == ["b"]


def test_nothing_is_looked_at_when_nothing_could_match() -> None:
    """The challenge of a phone with a password costs no look at its headers."""
    index = index_of(rule("trunk", 1, "192.0.2.1"))
    assert index.may_match("192.0.2.1")
    assert not index.may_match("192.0.2.2")
    index.replace("ann", rule("ann", 5))
    assert index.may_match("192.0.2.2")
    index.replace("ann", None)
    assert not index.may_match("192.0.2.2")


def test_what_is_replaced_leaves_nothing_behind() -> None:
    """After any order of changes the same is found as from a fresh start."""
    kinds = [
        rule("u", 0),
        rule("u", 1, "192.0.2.1", "sip.example"),
        rule("u", 2, tech_prefix="77"),
        rule("u", 2),
        rule("u", 5),
        rule("u", 10, "192.0.2.0/24"),
    ]
    index = RuleIndex()
    for one in kinds:
        for other in kinds:
            index.replace("u", one)
            index.resolved("sip.example", ["192.0.2.9"])
            index.replace("u", other)
            index.replace("u", None)
            assert (len(index), len(index.table), list(index.names())) == (0, 0, [])
            assert not index.may_match("192.0.2.1")


def test_rules_above_the_limit_are_left_out_and_counted() -> None:
    """Memory is bounded; nobody gets in by it."""
    index = index_of(*(rule(f"u{n}", 1, f"192.0.2.{n}") for n in range(5)), limit=3)
    assert (len(index), index.left_out) == (3, 2)


class Dns:
    """Addresses of names; ``None``: no answer yet."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.asked: list[str] = []

    async def resolve(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        return self.addresses.get(name, [])


class Office:
    """A store backend with its rules."""

    def __init__(self, *rules: AuthRule) -> None:
        self.clock, self.dns, self.rules = FakeClock(), Dns(), MemoryAuthRules(*rules)
        self.accounts = FakeAccountStore("alice")
        for one in rules:
            self.accounts.set(one.username, "secret", auth_type=int(one.auth_type))
        self.forgotten: list[str | None] = []
        self.feed = RuleFeed(
            self.rules, RuleIndex(), clock=self.clock, resolve=self.dns.resolve, forget=self.forgotten.append
        )
        self.backend = StoreBackend(self.accounts, feed=self.feed)

    def found(self, query: AuthQuery) -> str:
        answer = result_now(self.backend.find(query))
        return answer.account.username if answer is not None else ""


def test_a_name_is_looked_up_again_and_its_new_address_counts() -> None:
    """The old one no more; answers about the account are forgotten."""
    office = Office(rule("trunk", 1, "sip.example"))
    office.dns.addresses["sip.example"] = ["192.0.2.1", "2001:db8::1"]
    result_now(office.backend.prepare())
    assert office.found(invite("192.0.2.1")) == office.found(invite("2001:db8::1")) == "trunk"
    office.dns.addresses["sip.example"] = ["192.0.2.2"]
    office.backend.sweep()
    assert len(office.dns.asked) == 1
    office.forgotten.clear()
    office.clock.advance(RESOLVE_S)
    office.backend.sweep()
    assert office.forgotten == ["trunk"]
    assert [office.found(invite(f"192.0.2.{n}")) for n in (1, 2)] == ["", "trunk"]


def test_a_name_that_cannot_be_resolved_keeps_its_addresses_for_a_while() -> None:
    """An outage of DNS cuts nobody off at once, nor lets an old address in for ever."""
    office = Office(rule("trunk", 1, "sip.example"))
    office.dns.addresses["sip.example"] = ["192.0.2.1"]
    result_now(office.backend.prepare())
    office.dns.addresses.clear()
    office.clock.advance(RESOLVE_S)
    office.backend.sweep()
    assert office.found(invite("192.0.2.1")) == "trunk"
    office.clock.advance(UNRESOLVED_S)
    office.backend.sweep()
    assert office.found(invite("192.0.2.1")) == ""


def test_a_question_waits_for_the_rule_that_has_just_changed() -> None:
    """What was announced is never answered by what was there before."""
    office = Office(rule("trunk", 1, "192.0.2.1"))
    result_now(office.backend.prepare())
    office.rules.faults.hold()
    office.rules.rules["trunk"] = rule("trunk", 1, "192.0.2.2")
    office.feed.changed("trunk")
    answers: list[Any] = []
    asked: Deferred[Any] = ensureDeferred(office.backend._find(invite("192.0.2.1")))
    asked.addCallback(answers.append)
    assert not answers
    office.rules.faults.release()
    assert answers == [None]
    assert office.found(invite("192.0.2.2")) == "trunk"


def test_a_rule_that_cannot_be_read_is_read_when_it_can() -> None:
    """Until then nobody is let in or challenged by old knowledge: come again."""
    office = Office(rule("trunk", 1, "192.0.2.1"))
    result_now(office.backend.prepare())
    office.rules.faults.down = True
    office.feed.changed("trunk")
    with pytest.raises(StoreBusy):
        office.found(invite("192.0.2.1"))
    office.rules.faults.down = False
    office.backend.sweep()
    assert office.feed.settled
    assert office.found(invite("192.0.2.1")) == "trunk"


def test_one_change_reads_one_rule_and_all_may_have_changed_reads_all() -> None:
    """A password changed costs a small question."""
    office = Office(rule("trunk", 1, "192.0.2.1"))
    result_now(office.backend.prepare())
    office.feed.changed("alice")
    office.feed.changed(None)
    assert office.rules.asked == [None, ("alice",), None]


def test_both_an_address_and_a_password() -> None:
    """Types 8 and 10: from elsewhere the account is as unknown as one that does not exist."""
    office = Office(rule("both", 8, "192.0.2.1"))
    result_now(office.backend.prepare())
    here = result_now(office.backend.find(auth_query("both", source_host="192.0.2.1")))
    assert here is not None
    assert here.ha1
    assert not here.any_source
    assert office.found(auth_query("both", source_host="192.0.2.2")) == ""
    assert office.found(invite("192.0.2.1", "both")) == ""
    assert office.backend.select("192.0.2.1", lambda: invite("192.0.2.1", "both")) is None


def test_a_trial_gives_reasons_and_changes_nothing() -> None:
    """``dry_run`` asks as the authorizer does."""
    office = Office(
        rule("trunk", 1, "192.0.2.1"), rule("twin", 1, "192.0.2.9"), rule("twin2", 1, "192.0.2.9")
    )
    result_now(office.backend.prepare())
    backends = [("accounts", office.backend)]
    tried = result_now(dry_run(backends, invite("192.0.2.1")))
    assert (tried.outcome, tried.account, tried.status) == ("accepted", "trunk", 0)
    assert (result_now(dry_run(backends, invite("192.0.2.9")))).status == 403
    assert result_now(dry_run(backends, invite("192.0.2.8"))).outcome == "challenged"
    assert result_now(dry_run(backends, auth_query("alice"))).outcome == "password"
    office.accounts.faults.down = True
    assert result_now(dry_run(backends, auth_query("alice"))).status == 503


class TestStoreBackendWithRules(AuthBackendContract):
    """The backend as the server has it."""

    def make_backend(self) -> StoreBackend:
        office = Office(rule("trunk", 1, "192.0.2.1"), rule("ann", 5))
        result_now(office.backend.prepare())
        assert ISelectsAtOnce.providedBy(office.backend)
        assert not IByUsername.providedBy(office.backend)
        return office.backend


class TestStoreBackendByAddress(AuthBackendContract):
    """An account that needs no password."""

    known_username = "trunk"
    known_query: ClassVar[dict[str, Any]] = {
        "source_host": "192.0.2.1",
        "has_credentials": False,
        "method": "INVITE",
    }

    def make_backend(self) -> StoreBackend:
        office = Office(rule("trunk", 7, "192.0.2.1"))
        result_now(office.backend.prepare())
        return office.backend

    def test_a_hostile_name_is_just_unknown(self) -> None:
        """Names differ from the account's, addresses from its own."""
        backend = self.make_backend()
        for name in ("", "%", "\0", "trunk\0", "x" * 4000):
            assert result_now(backend.find(invite("192.0.2.1", name))) is None
