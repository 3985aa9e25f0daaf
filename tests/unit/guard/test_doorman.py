"""Who is banned, for what and for how long: the doorman over a database in memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mizu.errors import BadRequest, Conflict, NotFound, StoreBusy
from mizu.guard.desk import Desk
from mizu.guard.doorman import Doorman
from mizu.guard.filter import Gate
from mizu.options import Options
from mizu.testing import FakeClock
from mizu.testing.bans import MemoryBanStore, RecordingExport


class Flow:
    """Where a message came from."""

    def __init__(self, host: str, port: int = 5060, *, reliable: bool = False) -> None:
        self.remote = (host, port)
        self.reliable = reliable


class Post:
    """A doorman with everything around him."""

    def __init__(self, store: MemoryBanStore | None = None, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.store = store or MemoryBanStore()
        self.options = Options()
        self.export = RecordingExport()
        self.registered: set[tuple[str, str]] = set()
        self.reactor = Clock()
        self.door = Doorman(
            self.options,
            self.store,
            self.reactor,
            self.clock,
            registered_at=lambda username, host: (username, host) in self.registered,
            exports=[self.export],
        )
        self.desk = Desk(self.door, self.clock)

    def fail(self, host: str, times: int, port: int = 5060, username: str = "alice") -> None:
        for _ in range(times):
            self.door.login_failed(Flow(host, port), username, "wrong_password")  # type: ignore[arg-type]

    def spread(self, host: str, times: int) -> None:
        """Wrong passwords, each from another port."""
        for port in range(10_000, 10_000 + times):
            self.fail(host, 1, port, f"user{port}")

    def junk(self, host: str, times: int, *, reliable: bool = False) -> None:
        for _ in range(times):
            self.door.malformed(Flow(host, reliable=reliable))  # type: ignore[arg-type]

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.door.sweep()

    @property
    def banned(self) -> dict[str, int]:
        """Target to seconds from now on."""
        now_s = self.clock.wall().timestamp()
        return {
            ban.target: round(ban.until_at.timestamp() - now_s) if ban.until_at else -1
            for ban, _ in self.desk.list_bans()
        }

    def set(self, name: str, text: str) -> None:
        done(self.options.set(name, text))


def done(work: Any) -> Any:
    """What a coroutine over memory gives; it never waits."""
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


@pytest.fixture
def post() -> Iterator[Post]:
    made = Post()
    yield made
    made.door.stop()


def test_a_user_agent_with_a_wrong_password_is_banned_alone(post: Post) -> None:
    """Five in ten minutes: its address and port for five minutes. Others behind the same address go on."""
    post.fail("192.0.2.7", 4)
    assert post.banned == {}
    post.fail("192.0.2.7", 1)
    assert post.banned == {"192.0.2.7:5060": 300}
    assert ("192.0.2.7", 5060) in post.door.bans.agents
    assert "192.0.2.7" not in post.door.bans.addresses


def test_wrong_passwords_from_ever_new_ports_ban_the_address(post: Post) -> None:
    """Twenty in a minute: ten minutes, written down, told to the packet filter."""
    post.spread("192.0.2.7", 19)
    assert post.banned == {}
    post.spread("192.0.2.7", 1)
    assert post.banned == {"192.0.2.7": 600}
    assert post.store.rows["192.0.2.7"].reason == "wrong password"
    assert post.export.told == [("ban", "192.0.2.7", 600)]


def test_failures_far_apart_ban_nobody(post: Post) -> None:
    """One each few minutes is a phone that was set up wrongly."""
    for _ in range(30):
        post.fail("192.0.2.7", 1)
        post.pass_time(200)
    assert post.banned == {}


def test_each_ban_in_a_row_lasts_twice_as_long_up_to_a_day(post: Post) -> None:
    """Ten minutes, twenty, ... A quiet day makes it ten minutes again."""
    seen = []
    for _ in range(10):
        post.spread("192.0.2.7", 20)
        seen.append(post.banned["192.0.2.7"])
        post.pass_time(seen[-1] + 1)
        assert post.banned == {}
    assert seen == [600, 1200, 2400, 4800, 9600, 19_200, 38_400, 76_800, 86_400, 86_400]
    post.pass_time(86_400)
    post.spread("192.0.2.7", 20)
    assert post.banned == {"192.0.2.7": 600}


def test_C7_forged_senders_cannot_ban_a_third_party_for_long(post: Post) -> None:
    """
    Junk over UDP proves no address: at most a minute, on this node only, never a network, and the victim
    comes through with an answer to a challenge. Over TCP the address is real.
    """
    for number in range(1, 30):
        post.junk(f"192.0.2.{number}", 100)
    assert set(post.banned.values()) == {60}
    assert not any("/" in target for target in post.banned)
    assert post.store.rows == {}
    assert post.export.told == []
    assert "192.0.2.1" in post.door.bans.doubtful
    assert "192.0.2.1" not in post.door.bans.addresses
    post.pass_time(61)
    assert post.banned == {}
    post.junk("192.0.2.1", 20)
    assert post.banned == {"192.0.2.1": 60}, "no doubling of what may be somebody else's"
    post.junk("192.0.2.200", 20, reliable=True)
    assert post.banned["192.0.2.200"] == 600


def test_C7_a_million_guesses_from_a_thousand_sources_are_slowed_down_per_account(post: Post) -> None:
    """After twenty wrong ones an account is tried at a pace; phones registered for it notice nothing."""
    for number in range(20):
        post.fail(f"198.51.{number}.1", 1, username="alice")
    door, guess, home = post.door, Flow("203.0.113.5"), Flow("192.0.2.1")
    post.registered.add(("alice", "192.0.2.1"))
    assert [door.may_log_in(guess, "alice") for _ in range(100)].count(True) == 1  # type: ignore[arg-type]
    assert all(door.may_log_in(home, "alice") for _ in range(100))  # type: ignore[arg-type]
    assert all(door.may_log_in(guess, "bob") for _ in range(100))  # type: ignore[arg-type]
    post.pass_time(5)
    assert [door.may_log_in(guess, "alice") for _ in range(100)].count(True) == 1  # type: ignore[arg-type]
    assert door.slowed == 198
    post.pass_time(600)
    assert all(door.may_log_in(guess, "alice") for _ in range(100))  # type: ignore[arg-type]


def test_C7_a_name_that_does_not_exist_is_slowed_down_alike(post: Post) -> None:
    """Or the pace would tell which names exist."""
    for number in range(20):
        post.door.login_failed(Flow(f"198.51.{number}.1"), "nobody", "unknown_user")  # type: ignore[arg-type]
    tries = [post.door.may_log_in(Flow("203.0.113.5"), "nobody") for _ in range(9)]  # type: ignore[arg-type]
    assert tries.count(True) == 1


def guess(post: Post, host: str, times: int, port: int = 5060, username: str = "alice") -> None:
    """Each guess: a challenge that is answered, checked when it has its turn. Silence once banned."""
    flow = Flow(host, port)
    for _ in range(times):
        if flow.remote in post.door.bans.agents or host in post.door.bans.addresses:
            return
        post.door.challenged(flow)  # type: ignore[arg-type]
        if post.door.may_log_in(flow, username):  # type: ignore[arg-type]
            post.door.login_failed(flow, username, "wrong_password")  # type: ignore[arg-type]


@pytest.mark.parametrize("username", ["alice", "nobody"])
def test_C7_guesses_that_are_not_checked_any_more_count_as_wrong_ones(post: Post, username: str) -> None:
    """
    The slow-down of an account protects nobody who guesses: from each address, whether it came first or last,
    whether the account exists or not, five guesses ban the user agent, for certain and ever longer.
    """
    guessers = [f"198.51.{number}.7" for number in range(7)]
    for host in guessers:
        guess(post, host, 24, username=username)
    assert post.banned == {f"{host}:5060": 300 for host in guessers}
    assert {ban.reason for ban, proven in post.desk.list_bans() if proven} == {"wrong password"}
    post.pass_time(301)
    for host in guessers:
        guess(post, host, 5, username=username)
    assert post.banned == {f"{host}:5060": 600 for host in guessers}


def test_C7_guesses_that_are_not_checked_ban_addresses_and_their_network(post: Post) -> None:
    """From ever new ports, as wrong passwords do; five addresses take their /24 with them."""
    for number in range(1, 8):
        for port in range(6000, 6020):
            guess(post, f"198.51.100.{number}", 1, port)
    assert post.banned["198.51.100.3"] == 600
    assert post.banned["198.51.100.0/24"] == 600
    assert {ban.reason for ban, _ in post.desk.list_bans("198.51.100.3")} >= {"wrong password"}


def test_C7_a_right_password_out_of_turn_is_no_sign(post: Post) -> None:
    """It is not checked, so that whether a ban comes tells nothing; it answers its challenge."""
    post.spread("192.0.2.1", 19)
    for host in range(1, 6):
        post.fail(f"192.0.{host}.9", 4)
    assert post.door.may_log_in(Flow("203.0.113.1"), "alice")  # type: ignore[arg-type]
    flow = Flow("203.0.113.9")
    for _ in range(4):
        post.door.challenged(flow)  # type: ignore[arg-type]
        assert not post.door.may_log_in(flow, "alice")  # type: ignore[arg-type]
    counted = {(row.what, row.who): row.count for row in post.desk.list_failures()}
    assert counted["agent", "203.0.113.9:5060"] == 4
    assert counted["address", "203.0.113.9"] == 4


def test_C7_phones_of_the_owner_are_not_counted_while_others_guess(post: Post) -> None:
    """A registered phone is checked always; where somebody was authenticated, bans take ten times as many."""
    post.registered.add(("alice", "192.0.2.1"))
    home, flat = Flow("192.0.2.1"), Flow("192.0.2.2")
    post.door.accepted(flat, "bob", True)  # type: ignore[arg-type]
    for number in range(10):
        guess(post, f"198.51.{number}.7", 5)
    assert all(post.door.may_log_in(home, "alice") for _ in range(100))  # type: ignore[arg-type]
    assert not any(post.door.may_log_in(flat, "alice") for _ in range(49))  # type: ignore[arg-type]
    assert not any(target.startswith("192.0.2.") for target in post.banned)


def test_credentials_for_another_uri_count_like_wrong_ones(post: Post) -> None:
    """Their nonce was sent to that address: the ban is certain."""
    for port in range(20):
        post.door.login_failed(Flow("192.0.2.7", 6000 + port), "alice", "uri_mismatch")  # type: ignore[arg-type]
    assert post.banned == {"192.0.2.7": 600}


def test_enough_banned_addresses_ban_their_network(post: Post) -> None:
    """Five of a /24, unless somebody we know is in it."""
    for number in range(1, 6):
        post.spread(f"192.0.2.{number}", 20)
    assert post.banned["192.0.2.0/24"] == 600
    assert "192.0.2.99" in post.door.bans.addresses
    post.door.accepted(Flow("198.51.100.200"), "alice", True)  # type: ignore[arg-type]
    for number in range(1, 10):
        post.spread(f"198.51.100.{number}", 20)
    assert "198.51.100.0/24" not in post.banned
    assert "198.51.100.200" not in post.door.bans.addresses


def test_an_ipv6_customer_is_one_sender_and_his_provider_a_network(post: Post) -> None:
    """A /64, and the /48 around it."""
    for number in range(1, 6):
        for host in range(20):
            post.junk(f"2001:db8:7:{number}::{host:x}", 1, reliable=True)
    assert post.banned == {f"2001:db8:7:{n}::/64": 600 for n in range(1, 6)} | {"2001:db8:7::/48": 600}


def test_mapped_addresses_are_counted_as_the_ipv4_addresses_they_are(post: Post) -> None:
    """Half of the failures by each spelling are all of them."""
    post.junk("::ffff:192.0.2.9", 10, reliable=True)
    post.junk("192.0.2.9", 10, reliable=True)
    assert post.banned == {"192.0.2.9": 600}


def test_known_addresses_may_fail_ten_times_as_often(post: Post) -> None:
    """Where somebody was authenticated within the hour, and those that the operator names."""
    post.door.accepted(Flow("192.0.2.1"), "alice", True)  # type: ignore[arg-type]
    post.set("guardpeers", "192.0.2.2, 198.51.100.0/24")
    for host in ("192.0.2.1", "192.0.2.2", "198.51.100.7"):
        post.spread(host, 199)
        assert host not in post.banned
        post.spread(host, 1)
        assert post.banned[host] == 600


def test_challenges_count_only_while_they_are_not_answered(post: Post) -> None:
    """A hundred phones behind one address are challenged, and answer. Who never does is banned for a time."""
    for _ in range(100):
        post.door.challenged(Flow("192.0.2.1"))  # type: ignore[arg-type]
        post.door.accepted(Flow("192.0.2.1"), "alice", True)  # type: ignore[arg-type]
    assert post.banned == {}
    for _ in range(20):
        post.door.challenged(Flow("192.0.2.66"))  # type: ignore[arg-type]
    assert post.banned == {"192.0.2.66": 60}


def test_unknown_numbers_ban_a_dialler_that_tries_them_all(post: Post) -> None:
    """Sixty in a minute; ten times as many from where somebody is authenticated."""
    for _ in range(60):
        post.door.unknown_number("192.0.2.1", True)
    assert post.banned == {"192.0.2.1": 600}


def test_the_white_list_is_never_banned(post: Post) -> None:
    """Neither what the option names nor what the command adds."""
    done(post.desk.trust("192.0.2.0/28", "ours", "anna"))
    for host in ("192.0.2.1", "127.0.0.1", "::1"):
        post.spread(host, 1000)
        post.junk(host, 1000, reliable=True)
    assert post.banned == {}
    assert [entry.target for entry in post.desk.list_trusted()] == ["127.0.0.1", "::1", "192.0.2.0/28"]
    assert done(post.desk.ban("192.0.2.1", None, "", "anna")) == ("192.0.2.1", True)
    assert done(post.desk.distrust("192.0.2.0/28")) == "192.0.2.0/28"
    with pytest.raises(Conflict, match="guardwhitelist"):
        done(post.desk.distrust("127.0.0.1"))
    with pytest.raises(NotFound):
        done(post.desk.distrust("192.0.2.0/28"))


def test_thresholds_are_options_that_hold_at_once(post: Post) -> None:
    """No restart; 0 switches a rule off."""
    post.set("guardagentfails", "2")
    post.set("guardagentban", "1h")
    post.fail("192.0.2.7", 2)
    assert post.banned == {"192.0.2.7:5060": 3600}
    post.set("guardagentfails", "0")
    post.set("guardaddressfails", "0")
    post.fail("192.0.2.8", 1000)
    assert set(post.banned) == {"192.0.2.7:5060"}


def test_an_operator_bans_lets_in_and_clears(post: Post) -> None:
    """Addresses, networks, ranges; with and without an end; what was counted is forgotten too."""
    assert done(post.desk.ban("192.0.2.77/24", 60.0, "scans", "anna")) == ("192.0.2.0/24", False)
    done(post.desk.ban("198.51.100.5-198.51.100.9", None, "", "anna"))
    assert post.banned == {"198.51.100.5-198.51.100.9": -1, "192.0.2.0/24": 60}
    with pytest.raises(NotFound, match=r"these bans have it in them: 192\.0\.2\.0/24"):
        done(post.desk.unban("192.0.2.9"))
    assert [ban.target for ban, _ in post.desk.list_bans("192.0.2.9")] == ["192.0.2.0/24"]
    assert [ban.target for ban in done(post.desk.unban("192.0.2.0/24"))] == ["192.0.2.0/24"]
    assert "192.0.2.0/24" not in post.store.rows
    post.fail("203.0.113.1", 5)
    assert [ban.target for ban in done(post.desk.unban("203.0.113.1"))] == ["203.0.113.1:5060"]
    post.fail("203.0.113.1", 4)
    assert done(post.desk.clear()) == 1
    post.fail("203.0.113.1", 4)
    assert post.banned == {}
    assert post.store.rows == {}
    with pytest.raises(BadRequest, match="wider than a /8"):
        done(post.desk.ban("0.0.0.0/0", None, "", "anna"))


def test_a_ban_holds_here_although_the_database_is_away(post: Post) -> None:
    """The operator hears that it is not written yet."""
    post.store.busy = True
    with pytest.raises(StoreBusy):
        done(post.desk.ban("192.0.2.1", 60.0, "", "anna"))
    assert post.banned == {"192.0.2.1": 60}


def test_bans_survive_a_restart_with_their_repetitions(post: Post) -> None:
    """The second ban after a restart is still the second."""
    post.spread("192.0.2.7", 20)
    again = Post(post.store, post.clock)
    done(again.door.database.load())
    assert again.banned == {"192.0.2.7": 600}
    assert again.export.told == [("begin", ["192.0.2.7"])]
    again.pass_time(601)
    assert again.export.told[-1] == ("unban", "192.0.2.7")
    third = Post(post.store, post.clock)
    done(third.door.database.load())
    assert third.banned == {}
    third.spread("192.0.2.7", 20)
    assert third.banned == {"192.0.2.7": 1200}
    for one in (again, third):
        one.door.stop()


def test_another_node_is_told_and_follows(post: Post) -> None:
    """What one bans, lets in or clears, the other does as soon as it hears of it."""
    other = Post(post.store, post.clock)
    post.spread("192.0.2.7", 20)
    other.door.database.changed("192.0.2.7")
    assert other.banned == {"192.0.2.7": 600}
    assert other.export.told == [("ban", "192.0.2.7", 600)]
    done(other.desk.unban("192.0.2.7"))
    post.door.database.changed("192.0.2.7")
    assert post.banned == {}
    done(post.desk.trust("192.0.2.7", "", "anna"))
    other.door.database.whitelist_changed("192.0.2.7")
    assert "192.0.2.7" in other.door.trusted
    done(post.desk.ban("198.51.100.1", None, "", "anna"))
    other.door.database.changed(None)
    assert other.banned == {"198.51.100.1": -1}
    other.door.stop()


def test_what_could_not_be_read_is_read_again(post: Post) -> None:
    """The database is away when another node's change is told."""
    other = Post(post.store, post.clock)
    done(post.desk.ban("198.51.100.1", None, "", "anna"))
    post.store.busy = True
    other.door.database.changed("198.51.100.1")
    assert other.banned == {}
    post.store.busy = False
    other.reactor.advance(1.0)
    assert other.banned == {"198.51.100.1": -1}
    other.door.stop()


def test_what_is_counted_can_be_looked_at(post: Post) -> None:
    """The worst first, with the time that its window still runs."""
    post.fail("192.0.2.7", 3)
    post.junk("192.0.2.8", 2)
    rows = [(row.what, row.who, row.count, row.proven) for row in post.desk.list_failures()]
    assert rows == [
        ("account", "alice", 3, True),
        ("address", "192.0.2.7", 3, True),
        ("agent", "192.0.2.7:5060", 3, True),
        ("address", "192.0.2.8", 2, False),
    ]
    assert post.door.counts()["noted_wrong_password"] == 3


def test_a_sender_without_an_address_is_nobody(post: Post) -> None:
    """A Unix socket cannot be banned."""
    post.junk("/run/mizu.sock", 1000, reliable=True)
    assert post.banned == {}


def test_rate_and_scanners_of_the_gate_follow_the_options() -> None:
    """At once; known addresses and trunks may send more, the white list anything."""
    post = Post()
    gate = Gate(
        message_bytes=1000,
        now=post.clock.mono_s,
        trusted=post.door.trusted,
        known=post.door.is_known_host,
    )
    post.door.steer(gate)

    def passing(host: str) -> int:
        return sum(
            gate.admit(host, 100, b"OPTIONS sip:a@b SIP/2.0\r\nUser-Agent: odd\r\n") for _ in range(300)
        )

    assert passing("192.0.2.1") == 300
    post.set("guardrate", "5")
    post.set("guardknownfactor", "3")
    post.set("guardpeers", "192.0.2.2")
    post.door.accepted(Flow("::ffff:192.0.2.3"), "alice", True)  # type: ignore[arg-type]
    hosts = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "127.0.0.1")
    assert [passing(host) for host in hosts] == [10, 30, 30, 300]
    post.set("guardscanners", "odd")
    post.clock.advance(10)
    assert [passing(host) for host in hosts] == [0, 0, 0, 300]
    done(post.options.reset("guardscanners"))
    done(post.options.reset("guardrate"))
    assert passing("192.0.2.1") == 300


def test_packet_filters_are_told_the_white_list(clean_reactor: list[Any]) -> None:
    """At the start and at each change, by option or by command; one that cannot take it hurts nobody."""
    post = Post()
    post.door.exports = [BadExport(), post.export]
    done(post.door.database.load())
    assert post.export.white == ["127.0.0.1", "::1"]
    done(post.desk.trust("192.0.2.9", "", "admin"))
    post.set("guardwhitelist", "198.51.100.0/24")
    assert post.export.white == ["198.51.100.0/24", "192.0.2.9"]
    done(post.desk.distrust("192.0.2.9"))
    assert post.export.white == ["198.51.100.0/24"]
    assert clean_reactor  # the log says what is wrong
    clean_reactor.clear()


class BadExport(RecordingExport):
    """Fails."""

    def whitelist(self, targets: Any) -> None:
        raise RuntimeError("no")


def test_C7_forged_calls_ban_nobody_for_certain(post: Post) -> None:
    """Calls of accounts without password to unknown numbers: in doubt, however known the address is."""
    forged: Any = Flow("192.0.2.1")
    for _ in range(700):
        post.door.accepted(forged, "open", False)
        post.door.unknown_number("192.0.2.1", False)
    assert not post.door.is_known(forged)
    assert [ban.proven for ban in post.door.bans.all()] == [False]
    assert post.store.rows == {}
    assert len(post.door.known) == 0


def test_C7_who_is_let_in_with_proof_is_out_of_doubt(post: Post) -> None:
    """The ban that forged messages brought ends at once; it is not one in a row."""
    post.junk("192.0.2.1", 20)
    assert "192.0.2.1" in post.door.bans.doubtful
    post.door.accepted(Flow("192.0.2.1"), "alice", False)  # type: ignore[arg-type]
    assert "192.0.2.1" in post.door.bans.doubtful
    post.door.accepted(Flow("192.0.2.1"), "alice", True)  # type: ignore[arg-type]
    assert post.banned == {}
    post.junk("192.0.2.1", 199)
    assert post.banned == {}  # known now


def test_an_operators_ban_is_not_ended_by_a_right_password(post: Post) -> None:
    """Nor one that was proved."""
    done(post.desk.ban("192.0.2.1", None, "", "boss"))
    post.door.accepted(Flow("192.0.2.1"), "alice", True)  # type: ignore[arg-type]
    assert post.banned == {"192.0.2.1": -1}


def test_who_shows_a_nonce_and_nothing_more_is_banned_for_certain(post: Post) -> None:
    """His address is real, so it is his own doing; whoever logs in with it is not concerned."""
    post.junk("192.0.2.1", 20)
    for _ in range(19):
        post.door.proof_shown("192.0.2.1")
    post.door.accepted(Flow("192.0.2.1"), "alice", True)  # type: ignore[arg-type]
    assert post.banned == {}
    for _ in range(20):
        post.door.proof_shown("192.0.2.2")
    assert post.banned == {"192.0.2.2": 600}


@pytest.mark.parametrize(("what", "most", "connected"), [("useless", 20, 200), ("asked", 200, 200)])
def test_requests_without_meaning_are_counted(post: Post, what: str, most: int, connected: int) -> None:
    """
    What belongs to no dialog, methods that do not exist; OPTIONS may be ten times as many. Over a connection
    that is what is left of a PBX's calls after a restart.
    """
    for host, least, reliable in (("192.0.2.1", most, False), ("192.0.2.2", connected, True)):
        for _ in range(least - 1):
            getattr(post.door, what)(Flow(host, reliable=reliable))
        assert host not in post.banned
        getattr(post.door, what)(Flow(host, reliable=reliable))
    assert post.banned == {"192.0.2.1": 60, "192.0.2.2": 600}


def test_a_PBX_that_registers_again_starts_anew(post: Post) -> None:
    """What it sent over its connection before that counts no more."""
    pbx: Any = Flow("192.0.2.1", reliable=True)
    for _ in range(199):
        post.door.useless(pbx)
    post.door.accepted(pbx, "pbx", True)
    for _ in range(199):
        post.door.useless(pbx)
    assert post.banned == {}


@pytest.mark.parametrize("what", ["useless", "asked"])
def test_keep_alives_of_an_office_are_no_offence(post: Post, what: str) -> None:
    """Known over a connection it may send what it likes; over UDP ten times as much, then it is slowed."""
    for host, reliable in (("192.0.2.1", False), ("192.0.2.2", True)):
        post.door.accepted(Flow(host, reliable=reliable), "alice", True)  # type: ignore[arg-type]
        for _ in range(3000):
            getattr(post.door, what)(Flow(host, reliable=reliable))
    assert post.banned == {"192.0.2.1": 60}
    assert "192.0.2.1" in post.door.bans.doubtful


def test_a_ban_that_makes_room_ends_in_the_kernel_too() -> None:
    """The list is full: the one that ends first goes, here and in the packet filter."""
    export = RecordingExport()
    options, clock = Options(), FakeClock()
    door = Doorman(
        options,
        MemoryBanStore(),
        Clock(),
        clock,
        registered_at=lambda username, host: False,
        exports=[export],
        limit=2,
    )
    desk = Desk(door, clock)
    for number in (1, 2, 3):
        done(desk.ban(f"192.0.2.{number}", 60.0 * number, "", "boss"))
    assert sorted(ban.target.text for ban in door.bans.all()) == ["192.0.2.2", "192.0.2.3"]
    assert [one[:2] for one in export.told if one[0] == "unban"] == [("unban", "192.0.2.1")]
    door.stop()
