"""What attackers try with a registrar, by the numbers of the list of threats, against a real server."""

import re
import secrets
from urllib.parse import quote

import pytest

from mizu.sip.digest import answer_challenge
from mizu.testing.postgres import shared_postgres
from mizu.testing.server import MizuProcess
from mizu.testing.sip_client import SDP, Client, NoAnswer

PASSWORD = "correct-horse"

pytestmark = pytest.mark.limit(120)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with alice and bob, dora who is disabled, and trudy who may log in from one address only."""
    data = tmp_path_factory.mktemp("mizu")
    with shared_postgres().database() as url:
        options = ("--database", url, "--sip", "udp:127.0.0.1:0", "--http", "127.0.0.1:0")
        with MizuProcess(data, *options) as process:
            for name in ("alice", "bob", "dora", "trudy"):
                assert process.console(f"adduser {name} --password {PASSWORD}")["ok"]
            assert process.console("disable dora")["ok"]
            assert process.console("set trudy auth_type=8 auth_ip=127.3.9.9")["ok"]
            yield process
        assert "Traceback" not in process.output
        assert PASSWORD not in process.output


@pytest.fixture
def client(server, request):
    """Makes phones on addresses of their own, so that one test's failures are not held against another."""
    made = []

    def make(source="", **more):
        source = source or f"127.3.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}"
        made.append(Client(server.address("udp"), source=source, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("method", "statuses"),
    [
        ("INVITE", {407}),
        ("MESSAGE", {407}),
        ("REGISTER", {401}),
        ("REFER", {403}),
        ("SUBSCRIBE", {489}),
        ("PUBLISH", {489}),
        ("INFO", {481}),
        ("UPDATE", {481}),
        ("NOTIFY", {481}),
        ("BYE", {481}),
        ("OPTIONS", {200}),
        ("BENOTIFY", {405, 501}),
    ],
)
def test_c2_each_method_without_login_has_a_policy(client, method, statuses):
    """C2: refused or challenged; OPTIONS says nothing that depends on who is asked for."""
    padding = "y" * 400  # an answer to somebody unproven is not much longer than what it answers
    assert client().request(method, f"sip:bob@mizu.test;x={padding}").status in statuses


def register_as(phone, user, to, contacts, **more):
    fields = [("Contact", contact) for contact in contacts] + [("Expires", str(more.pop("expires_s", 300)))]
    return phone._authenticated("REGISTER", "sip:mizu.test", to, user, PASSWORD, fields)


def test_c3_nobody_registers_for_somebody_else(server, client):
    """C3: with a login of one's own neither another account nor one that does not exist can be taken."""
    phone = client()
    for to in ("bob", "nobody"):
        assert register_as(phone, "alice", to, ["<sip:alice@127.3.0.1:5070>"]).status == 403
        assert register_as(phone, "alice", to, ["*"], expires_s=0).status == 403
    assert server.console("regs bob")["result"]["registrations"] == []


def test_c3_contacts_are_bounded_and_never_the_server(server, client):
    """C3: too many of them, and one that would make every call a loop, are refused as a whole."""
    host, port = server.address("udp")
    many = [f"<sip:alice@127.3.0.1:{6000 + number}>" for number in range(40)]
    assert register_as(client(), "alice", "alice", many).status == 403
    assert register_as(client(), "alice", "alice", [f"<sip:alice@{host}:{port}>"]).status == 400
    assert server.console("regs alice")["result"]["registrations"] == []


def challenged(phone, method="REGISTER", user="alice"):
    """A request, its challenge, and the header with the right answer."""
    uri = "sip:mizu.test" if method == "REGISTER" else "sip:9196@mizu.test"
    fields = [("Contact", f"<sip:{user}@{phone.address[0]}:{phone.address[1]}>")]
    body = b"" if method == "REGISTER" else SDP
    if body:
        fields.append(("Content-Type", "application/sdp"))
    asked, said = ("www-authenticate", "Authorization")
    if method != "REGISTER":
        asked, said = ("proxy-authenticate", "Proxy-Authorization")
    phone._cseq += 1
    answer = phone._exchange(phone._make(method, uri, user, user, fields, body))
    value = answer_challenge(
        answer.get(asked) or "",
        username=user,
        password=PASSWORD,
        method=method,
        uri=uri,
        body=body,
        nc=1,
        cnonce=secrets.token_hex(8),
    )
    return method, uri, fields, body, (said, value)


def send(phone, method, uri, fields, body, credentials, user="alice"):
    phone._cseq += 1
    return phone._exchange(phone._make(method, uri, user, user, [*fields, credentials], body))


def test_c4_captured_credentials_are_worth_nothing(client):
    """C4: used once they are used up; from another source, for another method or URI they never count."""
    phone, thief = client("127.3.1.1"), client("127.3.1.2")
    method, uri, fields, body, credentials = challenged(phone)
    assert send(thief, method, uri, fields, body, credentials).status == 401
    assert send(phone, method, uri, fields, body, credentials).status == 200
    for somebody in (phone, thief):
        again = send(somebody, method, uri, fields, body, credentials)
        assert again.status == 401
        assert "stale" in again.get("www-authenticate").lower()
    method, uri, fields, body, (name, value) = challenged(client("127.3.1.3"), "INVITE")
    assert send(phone, "INVITE", "sip:00900123@mizu.test", fields, body, (name, value)).status in (403, 407)
    last = send(phone, "REGISTER", "sip:mizu.test", fields, b"", ("Authorization", value))
    assert last.status in (401, 403)


def unspecific(response):
    """The response without what differs by chance."""
    text = response.to_bytes().decode()
    text = re.sub(r'nonce="[^"]*"', "nonce", text)
    return re.sub(r"(?im)^(via|from|to|call-id|cseq):.*\r\n", "", text)


def test_c6_nobody_learns_which_accounts_exist(client):
    """C6: no such user, wrong password, disabled, refused address: one answer, on REGISTER and INVITE."""
    for act in ("register", "call"):
        seen = {}
        for number, (user, word) in enumerate(
            [("no-such-user", PASSWORD), ("alice", "wrong"), ("dora", PASSWORD), ("trudy", PASSWORD)]
        ):
            phone = client(f"127.3.2.{number + 1}")
            answer = phone.register(user, word) if act == "register" else phone.call("9196", user, word)
            phone._cseq += 1
            method, uri = (
                ("REGISTER", "sip:mizu.test") if act == "register" else ("INVITE", "sip:9196@mizu.test")
            )
            # Long enough for all of an answer: what a stranger is sent depends on how much he sends.
            fields = [("Contact", "<sip:x@127.0.0.9>"), ("Subject", "y" * 400)]
            first = phone._exchange(phone._make(method, uri, user, user, fields, b""))
            assert first.status == (401 if act == "register" else 407)
            seen[user] = (unspecific(first), unspecific(answer))
        assert len(set(seen.values())) == 1, seen


HOSTILE = [
    "'; DROP TABLE account; --",
    "%",
    "a%b_c",
    "\0",
    "\u0661\u0662\u0663",
    "1" * 4000,
    "1" * 10_000,
    "+00361234",
    "00#*",
    "123;phone-context=+1",
    "..//",
    "<>",
]


@pytest.mark.parametrize("user", HOSTILE, ids=range(len(HOSTILE)))
def test_c9_hostile_names_and_numbers_are_just_unknown(server, client, user):
    """C9: as somebody who registers, who calls and who is called; nothing breaks and nobody is found."""
    phone, caller = client("127.3.3.3", timeout_s=1.0), client("127.3.3.4", timeout_s=1.0)
    escaped = quote(user, safe="")
    tries = [
        lambda: phone.request("OPTIONS", f"sip:{escaped}@mizu.test"),
        lambda: phone.register(escaped, "x"),
        lambda: caller.call(escaped, "alice", PASSWORD),
    ]
    for act in tries:
        if len(user) > 8192:  # longer than a line may be: no message, so there is nothing to answer
            with pytest.raises(NoAnswer):
                act()
            continue
        status = act().status
        assert 400 <= status < 500 or (status == 200 and act is tries[0])
    assert server.console("users alice")["ok"]
    assert len(server.console("users")["result"]["users"]) == 4


def test_who_is_online_is_seen(server, client):
    """``regs`` lists the contacts, ``describe`` says online or offline."""
    assert "offline" in "\n".join(server.console("describe bob")["lines"])
    assert client("127.3.4.1").register("bob", PASSWORD).status == 200
    told = server.console("describe bob")
    assert told["result"]["online"]
    assert "online with 1 contact" in "\n".join(told["lines"])
    assert client("127.3.4.1").register("bob", PASSWORD, expires_s=0).status == 200
