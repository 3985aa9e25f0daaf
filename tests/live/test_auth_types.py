"""Every auth_type, right and wrong, on REGISTER and INVITE, through a real server and real UDP."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from mizu.sip.digest import ha1
from mizu.testing.postgres import shared_postgres
from mizu.testing.server import MizuProcess
from mizu.testing.sip_client import Client

PASSWORD = "correct-horse"
WRONG = "not-the-password"
ECHO = "9196"
CONFIG = """
[database]
url = "{url}"

[media]
echo_numbers = ["9196", "7779196", "8889196"]
"""
#: A port that only the account of type 6 uses.
PORT = 40_606

pytestmark = pytest.mark.limit(120)

IN, ASKED, NO = "let in", "asked for a password again", "refused"


@dataclass(frozen=True)
class Case:
    """Somebody tries to be ``user`` from there; ``register`` and ``call`` say what comes of it."""

    what: str
    user: str
    source: str
    register: str
    call: str
    password: str = WRONG
    port: int = 0
    called: str = ECHO

    def __str__(self) -> str:
        return self.what.replace(" ", "_")


#: Username: columns of its account.
ACCOUNTS: dict[str, dict[str, Any]] = {
    "t0": {"auth_type": 0},
    "t1": {"auth_type": 1, "auth_ip": "127.1.1.1, 127.1.1.2"},
    "t1more": {"auth_type": 1},  # its addresses are in account_address
    "t1name": {"auth_type": 1, "auth_ip": "localhost"},
    "t1range": {"auth_type": 1, "auth_ip": "127.1.13.0/24"},
    "t1off": {"auth_type": 1, "auth_ip": "127.1.14.1", "enabled": False},
    "t2": {"auth_type": 2, "tech_prefix": "777"},
    "t3": {"auth_type": 3, "auth_ip": "127.1.3.1", "tech_prefix": "888"},
    "t4": {"auth_type": 4},
    "t5": {"auth_type": 5},
    "t6": {"auth_type": 6, "auth_ip": "127.1.6.1", "call_signal_port": PORT},
    "t7": {"auth_type": 7, "auth_ip": "127.1.7.1"},
    "t8": {"auth_type": 8, "auth_ip": "127.1.8.1"},
    "t9": {"auth_type": 9, "auth_ip": "127.1.9.0/28, 127.1.9.100-127.1.9.110, 127.1.10.*"},
    "t10": {"auth_type": 10, "auth_ip": "127.1.11.*"},
    "twin1": {"auth_type": 1, "auth_ip": "127.1.12.1"},
    "twin2": {"auth_type": 1, "auth_ip": "127.1.12.1"},
}

CASES = [
    Case("0 is no way in while strong authorization is enforced", "t0", "127.1.0.1", ASKED, ASKED),
    Case("1 first address of the list", "t1", "127.1.1.1", IN, IN),
    Case("1 second address of the list", "t1", "127.1.1.2", IN, IN),
    Case("1 another address", "t1", "127.1.1.99", ASKED, ASKED),
    Case("1 another address and the right password", "t1", "127.1.1.99", ASKED, ASKED, password=PASSWORD),
    Case("1 address of the table", "t1more", "127.1.2.1", IN, IN),
    Case("1 second address of the table", "t1more", "127.1.2.2", IN, IN),
    Case("1 domain name", "t1name", "127.0.0.1", IN, IN),
    Case("1 not the domain's address", "t1name", "127.1.2.99", ASKED, ASKED),
    Case("1 a range does not count", "t1range", "127.1.13.1", ASKED, ASKED),
    Case("1 disabled", "t1off", "127.1.14.1", ASKED, ASKED),
    Case("1 registering as somebody else", "t4", "127.1.1.1", ASKED, IN),
    Case("2 tech prefix", "t2", "127.1.0.2", ASKED, IN, called="777" + ECHO),
    Case("2 no tech prefix", "t2", "127.1.0.2", ASKED, ASKED),
    Case("3 address and tech prefix", "t3", "127.1.3.1", ASKED, IN, called="888" + ECHO),
    Case("3 only the address", "t3", "127.1.3.1", ASKED, ASKED),
    Case("3 only the tech prefix", "t3", "127.1.3.9", ASKED, ASKED, called="888" + ECHO),
    Case("4 right password", "t4", "127.1.4.1", IN, IN, password=PASSWORD),
    Case("4 wrong password", "t4", "127.1.4.1", ASKED, ASKED),
    Case("4 nobody of that name", "nobody", "127.1.4.1", ASKED, ASKED, password=PASSWORD),
    Case("5 a username is enough", "t5", "127.1.5.1", IN, IN),
    Case("5 no username of type 5", "t4", "127.1.5.1", ASKED, ASKED),
    Case("6 address and port", "t6", "127.1.6.1", IN, IN, port=PORT),
    Case("6 address and another port", "t6", "127.1.6.1", ASKED, ASKED),
    Case("6 port and another address", "t6", "127.1.6.9", ASKED, ASKED, port=PORT),
    Case("7 address and username", "t7", "127.1.7.1", IN, IN),
    Case("7 address and another username", "t7x", "127.1.7.1", ASKED, ASKED),
    Case("7 username and another address", "t7", "127.1.7.9", ASKED, ASKED),
    Case("8 address and password", "t8", "127.1.8.1", IN, IN, password=PASSWORD),
    Case("8 address and wrong password", "t8", "127.1.8.1", ASKED, ASKED),
    Case("8 password and another address", "t8", "127.1.8.9", ASKED, ASKED, password=PASSWORD),
    Case("9 in the network", "t9", "127.1.9.15", IN, IN),
    Case("9 beside the network", "t9", "127.1.9.16", ASKED, ASKED),
    Case("9 in the range", "t9", "127.1.9.110", IN, IN),
    Case("9 beside the range", "t9", "127.1.9.111", ASKED, ASKED),
    Case("9 wildcard", "t9", "127.1.10.200", IN, IN),
    Case("10 range and password", "t10", "127.1.11.77", IN, IN, password=PASSWORD),
    Case("10 range and wrong password", "t10", "127.1.11.77", ASKED, ASKED),
    Case("10 password and another address", "t10", "127.1.99.1", ASKED, ASKED, password=PASSWORD),
    Case("two accounts at one address", "twin1", "127.1.12.1", IN, NO),
]


@dataclass
class Place:
    """A server and its database."""

    process: MizuProcess
    database: str
    clients: list[Client] = field(default_factory=list)

    def client(self, source: str, port: int = 0) -> Client:
        client = Client(self.process.address("udp"), source=source, port=port)
        self.clients.append(client)
        return client

    def sql(self, text: str) -> None:
        shared_postgres().sql(text, self.database)


def quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def insert(name: str, columns: dict[str, Any]) -> str:
    values = {"username": name, "ha1_md5": ha1(name, "mizu", PASSWORD, "MD5"), **columns}
    return f"INSERT INTO account ({', '.join(values)}) VALUES ({', '.join(map(quoted, values.values()))})"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    data = tmp_path_factory.mktemp("mizu")
    with shared_postgres().database() as url:
        database = url.split("/")[3].split("?")[0]
        statements = [insert(name, columns) for name, columns in ACCOUNTS.items()]
        statements.append(
            """INSERT INTO account_address (account_id, address)
            SELECT id, address FROM account, unnest(ARRAY['127.1.2.1', '127.1.2.2']) address
            WHERE username = 't1more'"""
        )
        shared_postgres().sql(";\n".join(statements), database)
        config = data / "mizu.toml"
        config.write_text(CONFIG.format(url=url))
        options = ("--config", str(config), "--sip", "udp:127.0.0.1:0", "--http", "127.0.0.1:0")
        with MizuProcess(data / "var", *options) as process:
            yield Place(process, database)
        assert "Traceback" not in process.output
        assert "127.1.13.0/24: a range" in process.output  # an address that does not count is told


@pytest.fixture(autouse=True)
def closed(place):
    yield
    while place.clients:
        place.clients.pop().close()


def outcome(status: int) -> str:
    return {200: IN, 401: ASKED, 407: ASKED}.get(status, f"{NO} {status}")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_register(place, case):
    """Who proves what its account asks for is registered, everybody else gets the same challenge."""
    answer = place.client(case.source, case.port).register(case.user, case.password)
    assert outcome(answer.status) == case.register


@pytest.mark.parametrize("case", CASES, ids=str)
def test_invite(place, case):
    """Who proves what its account asks for may call, everybody else gets the same challenge."""
    answer = place.client(case.source, case.port).call(case.called, case.user, case.password)
    if case.call == NO:
        assert (answer.status, answer.reason) == (403, "Caller Mismatch")
    else:
        assert outcome(answer.status) == case.call


def test_the_call_is_of_the_account_that_matched(place):
    """Whatever From says: the record of a call from a matched address names the account of the address."""
    assert place.client("127.1.1.1").call(ECHO, "t4", WRONG).status == 200
    cdr = place.process.console("cdrs --limit 1")["result"]["cdrs"][0]
    assert cdr["caller"] == "t1"


def test_open_relay_only_when_strong_authorization_is_not_enforced(place):
    """Then requests that nothing else matches are of the account of type 0; the others are as before."""
    place.sql("INSERT INTO option (name, value) VALUES ('enforcestrongauth', 'false')")
    place.process.wait_for("option", lambda _: place.client("127.1.0.3").call(ECHO, "x", "").status == 200)
    assert place.client("127.1.0.1").register("t0", "").status == 200
    assert outcome(place.client("127.1.0.1").register("t4", WRONG).status) == ASKED
    assert place.client("127.1.4.1").call(ECHO, "t4", PASSWORD).status == 200
    assert place.client("127.1.12.1").call(ECHO, "x", "").status == 403
    place.sql("DELETE FROM option WHERE name = 'enforcestrongauth'")
    place.process.wait_for("option", lambda _: place.client("127.1.0.3").call(ECHO, "x", "").status == 407)


def test_an_address_added_or_taken_away_counts_at_once(place):
    """Addresses in the table are followed as those of the account are."""
    new = place.client("127.1.2.50")
    assert new.call(ECHO, "t1more", WRONG).status == 407
    assert place.process.console("addresses add t1more 127.1.2.48/29 branch")["ok"]
    assert new.call(ECHO, "t1more", WRONG).status == 407  # a range, and the account is of type 1
    place.sql("UPDATE account SET auth_type = 9 WHERE username = 't1more'")
    place.process.wait_for("rule", lambda _: new.call(ECHO, "t1more", WRONG).status == 200)
    assert place.process.console("addresses del t1more 127.1.2.48/29")["ok"]
    place.process.wait_for("rule", lambda _: new.call(ECHO, "t1more", WRONG).status == 407)
    place.sql("UPDATE account SET auth_type = 1 WHERE username = 't1more'")


def told(place, line):
    answer = place.process.console(f"authtest {line}")
    assert answer["ok"], answer
    return answer["result"] | {"text": "\n".join(answer["lines"])}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_authtest_says_what_would_happen(place, case):
    """The same outcome as the request has, with reasons, for a caller who knows the password or not."""
    for method, real in (("REGISTER", case.register), ("INVITE", case.call)):
        called = case.user if method == "REGISTER" else case.called
        line = f"{case.source}:{case.port or 5060} {method} {case.user} {called}"
        first = told(place, line)
        if first["outcome"] == "challenged":
            second = told(place, f"{line} {case.user}")
            right = second["outcome"] == "password" and case.password == PASSWORD
            assert (IN if right else ASKED) == real, second
        else:
            assert {"accepted": IN, "refused": NO}[first["outcome"]] == real, first
        assert first["reasons"]


def test_authtest_gives_reasons(place):
    """They name the account, the address and what does not fit."""
    port = told(place, "127.1.6.1:5060 INVITE x 9196")
    assert "127.1.6.1/32 is an address of t6 (auth_type 6): its port is 40606, not 5060" in port["text"]
    assert told(place, "127.1.1.1 INVITE x 9196")["account"] == "t1"
    assert "Caller Mismatch" in told(place, "127.1.12.1 INVITE x 9196")["text"]
    assert "enforcestrongauth is on" in told(place, "127.1.0.1 INVITE x 9196")["text"]
    assert told(place, "127.1.1.1 REGISTER sip:t1@mizu.test sip:t1@mizu.test")["outcome"] == "accepted"
    wrong = place.process.console("authtest example.com INVITE x y")
    assert wrong["error"] == "bad_request"
