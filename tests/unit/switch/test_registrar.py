"""The registrar: RFC 3261 10.3 step by step, Path, outbound, and what goes to the store."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from mizu.auth.request import Accepted, Authorizer
from mizu.auth.store_backend import StoreBackend
from mizu.model import Account, AuthType, Binding
from mizu.sip.digest import NonceCounts, NonceSigner, answer_challenge
from mizu.sip.message import Request, Response
from mizu.switch.location import LocationTable
from mizu.switch.registrar import Registrar
from mizu.switch.registration import RegistrationRules
from mizu.switch.way_back import Proxies
from mizu.testing import FakeClock
from mizu.testing.auth import FakeAccountStore, result_now
from mizu.testing.stores import MemoryLocationStore


class PhoneFlow:
    """Where a REGISTER comes from."""

    def __init__(self, host: str = "192.0.2.1", port: int = 5070, proto: str = "udp") -> None:
        self.proto = proto
        self.reliable = proto != "udp"
        self.answer_max_bytes = 0
        self.local = ("203.0.113.5", 5060)
        self.listener = f"{proto}:0.0.0.0:5060"
        self.remote = (host, port)
        self.kept_for_s = 0.0

    def send(self, data: bytes, on_error: Callable[[str], None] | None = None) -> None:
        raise AssertionError("answers go through the transaction")

    def alive(self) -> bool:
        return True

    def keep_for(self, duration_s: float) -> None:
        self.kept_for_s = duration_s


class Transaction:
    """As much of a server transaction as the registrar uses."""

    def __init__(self, request: Request, flow: PhoneFlow) -> None:
        self.request = request
        self.flow = flow
        self.final_sent = False
        self.responses: list[Response] = []

    def respond(self, response: Response) -> None:
        self.responses.append(response)
        self.final_sent = True


class Office:
    """A registrar with its surroundings, and a phone that registers there."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.accounts = FakeAccountStore("alice", "bob", "+36 1 234".replace(" ", ""))
        self.store = MemoryLocationStore(self.clock)
        self.locations = LocationTable(options.pop("limit", 100), Proxies(options.pop("proxies", ())))
        self.changes: list[tuple[str, bool]] = []
        self.failures: list[tuple[str, str]] = []
        self.authorizer = Authorizer(
            [("accounts", StoreBackend(self.accounts))],
            realm="mizu",
            signer=NonceSigner(b"k" * 32, 1e9),
            counts=NonceCounts(1000),
            clock=self.clock,
            on_failure=lambda flow, username, code: self.failures.append((username, code)),
        )
        self.registrar = Registrar(
            self.locations,
            self.store,
            self.authorizer,
            options.pop("rules", RegistrationRules()),
            self.clock,
            on_change=lambda aor, registered: self.changes.append((aor, registered)),
            **options,
        )
        self.flow = PhoneFlow()
        self.branches = count()
        self.cseq = 0

    def request(
        self,
        *contacts: str,
        user: str = "alice",
        login: str = "",
        uri: str = "sip:mizu.test",
        to: str = "",
        call_id: str = "call-1",
        cseq: int | None = None,
        credentials: bool = True,
        flow: PhoneFlow | None = None,
        **headers: str,
    ) -> Request:
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        fields = [
            ("Via", f"SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK{next(self.branches)}"),
            ("From", f"<sip:{user}@mizu.test>;tag=1"),
            ("To", to or f"<sip:{user}@mizu.test>"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} REGISTER"),
            *[("Contact", contact) for contact in contacts],
            *[(name.replace("_", "-"), value) for name, value in headers.items()],
        ]
        if credentials:
            first = self.send(Request("REGISTER", uri, fields), flow)
            assert first.status == 401
            value = answer_challenge(
                first.get("www-authenticate") or "",
                username=login or user,
                password="secret",
                method="REGISTER",
                uri=uri,
                cnonce="c0ffee",
            )
            fields.append(("Authorization", value))
        return Request("REGISTER", uri, fields)

    def send(self, request: Request, flow: PhoneFlow | None = None) -> Response:
        tx = Transaction(request, flow or self.flow)
        self.registrar.register(tx)  # type: ignore[arg-type]
        assert len(tx.responses) == 1
        return tx.responses[0]

    def register(self, *contacts: str, flow: PhoneFlow | None = None, **headers: Any) -> Response:
        return self.send(self.request(*contacts, flow=flow, **headers), flow)

    def bindings(self, aor: str = "alice") -> list[Binding]:
        return self.locations.lookup(aor, self.clock.wall().timestamp())

    def contacts(self, aor: str = "alice") -> list[str]:
        return [binding.contact for binding in self.bindings(aor)]


@pytest.fixture
def office() -> Office:
    return Office()


PHONE = "<sip:alice@192.0.2.1:5070>"

# ---------------------------------------------------------------- the plain case


def test_a_phone_registers_and_is_told_what_is_stored(office: Office) -> None:
    """200 with the binding, the seconds given and the date; the binding knows the way back."""
    answer = office.register(PHONE, Expires="600", User_Agent="Phone/1.0")
    assert answer.status == 200
    assert answer.get_all("contact") == [f"{PHONE};expires=600"]
    assert answer.get("date") == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert answer.to.tag
    assert office.bindings() == [
        Binding(
            account_id=1,
            aor="alice",
            contact="sip:alice@192.0.2.1:5070",
            expires_at_s=office.clock.wall().timestamp() + 600,
            call_id="call-1",
            cseq=1,
            received_host="192.0.2.1",
            received_port=5070,
            local="udp:0.0.0.0:5060",
            user_agent="Phone/1.0",
        )
    ]
    assert office.store.puts == [("alice", tuple(office.bindings()))]
    assert office.changes == [("alice", True)]


def test_a_nated_phone_is_found_where_it_sends_from(office: Office) -> None:
    """The private contact is stored as it is, the public source beside it."""
    office.register("<sip:alice@10.0.0.7>", flow=PhoneFlow("198.51.100.3", 33333))
    (binding,) = office.bindings()
    assert (binding.contact, binding.received_host, binding.received_port) == (
        "sip:alice@10.0.0.7",
        "198.51.100.3",
        33333,
    )


def test_without_credentials_it_is_401_and_nothing_is_stored(office: Office) -> None:
    """RFC 3665 2.1."""
    answer = office.send(office.request(PHONE, credentials=False))
    assert answer.status == 401
    assert answer.get("www-authenticate")
    assert office.store.puts == []


def test_a_fetch_changes_nothing_and_lists_all(office: Office) -> None:
    """Without Contact the bindings are listed with what is left of their time (RFC 3665 2.3)."""
    office.register(PHONE, Expires="600")
    office.clock.advance(100)
    answer = office.register()
    assert answer.status == 200
    assert answer.get_all("contact") == [f"{PHONE};expires=500"]
    assert len(office.store.puts) == 1
    assert office.register(user="bob").get_all("contact") == []


def test_a_refresh_updates_the_binding(office: Office) -> None:
    """The same contact with a higher CSeq: one binding, a new expiry."""
    office.register(PHONE, Expires="600")
    office.clock.advance(500)
    answer = office.register(PHONE, Expires="600")
    assert answer.get_all("contact") == [f"{PHONE};expires=600"]
    assert office.changes == [("alice", True)]


def test_several_contacts_with_their_own_expiry_and_q(office: Office) -> None:
    """Contacts of one or several REGISTERs live side by side, highest q first in calls."""
    office.register("<sip:a@192.0.2.1>;q=0.5, <sip:b@192.0.2.1>;expires=120;q=1.0", Expires="600")
    answer = office.register("<sip:c@192.0.2.9>;q=0.75", call_id="other", cseq=1)
    assert answer.get_all("contact") == [
        "<sip:a@192.0.2.1>;expires=600;q=0.5",
        "<sip:b@192.0.2.1>;expires=120",
        "<sip:c@192.0.2.9>;expires=300;q=0.75",
    ]
    assert office.contacts() == ["sip:b@192.0.2.1", "sip:c@192.0.2.9", "sip:a@192.0.2.1"]


def test_contacts_are_compared_as_uris(office: Office) -> None:
    """RFC 3261 19.1.4: letter case of the host and escapes do not make another contact, ports do."""
    office.register("<sip:alice@phone.example>")
    office.register("<sip:%61lice@PHONE.example>")
    assert office.contacts() == ["sip:%61lice@PHONE.example"]
    office.register("<sip:alice@phone.example:5060>")
    assert len(office.contacts()) == 2


@pytest.mark.parametrize("removal", [{"Expires": "0"}, {}])
def test_expires_zero_removes_that_contact_only(office: Office, removal: dict[str, str]) -> None:
    """By header or by parameter (RFC 3665 2.4)."""
    office.register(PHONE, "<sip:b@192.0.2.2>")
    parameter = "" if removal else ";expires=0"
    answer = office.register(PHONE + parameter, **removal)
    assert answer.get_all("contact") == ["<sip:b@192.0.2.2>;expires=300"]
    assert office.changes == [("alice", True)]
    office.register("<sip:b@192.0.2.2>;expires=0")
    assert office.changes == [("alice", True), ("alice", False)]
    assert office.store.puts[-1] == ("alice", ())


def test_removing_what_is_not_there_is_fine(office: Office) -> None:
    """A phone that says goodbye twice."""
    assert office.register(f"{PHONE};expires=0").status == 200
    assert len(office.locations) == 0
    assert office.changes == []


def test_the_same_contact_twice_in_one_request_is_one_binding(office: Office) -> None:
    """The later one holds."""
    answer = office.register(f"{PHONE};expires=100", f"{PHONE};expires=200")
    assert answer.get_all("contact") == [f"{PHONE};expires=200"]


def test_an_address_of_record_is_compared_unescaped_and_without_parameters(office: Office) -> None:
    """RFC 3261 10.3 step 5."""
    answer = office.register(PHONE, to="<sip:%61lice:ignored@mizu.test;user=phone>")
    assert answer.status == 200
    assert office.register("<sip:x@192.0.2.1>", user="+361234").status == 200
    assert office.register("<sip:x@192.0.2.1>", login="+361234", to="<tel:+361234>", cseq=99).status == 200


# ---------------------------------------------------------------- expiry bounds


@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, 300), ("60", 60), ("3600", 3600), ("3601", 300), ("4294967295", 300), ("99999999999999", 3600)],
)
def test_expiry_out_of_bounds_is_answered_with_ours(office: Office, asked: str | None, given: int) -> None:
    """Accepted as asked for within the bounds; too long or nothing: ``upperexpire`` (guide 4.2)."""
    headers = {"Expires": asked} if asked else {}
    assert office.register(PHONE, **headers).get_all("contact") == [f"{PHONE};expires={given}"]


def test_a_malformed_expiry_counts_as_an_hour(office: Office) -> None:
    """RFC 3261 20.10."""
    assert office.register(f"{PHONE};expires=soon").get_all("contact") == [f"{PHONE};expires=3600"]


@pytest.mark.parametrize("asked", [1, 59])
def test_too_short_an_interval_is_423(office: Office, asked: int) -> None:
    """With Min-Expires, and nothing is stored, not even what came before it."""
    answer = office.register("<sip:a@192.0.2.1>;expires=600", f"<sip:b@192.0.2.1>;expires={asked}")
    assert answer.status == 423
    assert answer.get("min-expires") == "60"
    assert office.contacts() == []
    assert office.store.puts == []


def test_an_hour_is_never_too_short() -> None:
    """RFC 3261 10.3 step 7: 423 only below one hour."""
    office = Office(rules=RegistrationRules(expires_min_s=7200, expires_s=7200, expires_max_s=9000))
    assert office.register(PHONE, Expires="3599").status == 423
    assert office.register(PHONE, Expires="3600").status == 200


def test_bindings_expire(office: Office) -> None:
    """They are not rung from that second on, and swept with a note to store and listener."""
    office.register(PHONE, Expires="60")
    office.clock.advance(60)
    assert office.contacts() == []
    assert office.register().get_all("contact") == []
    assert office.registrar.expire() == 1
    assert office.store.puts[-1] == ("alice", ())
    assert office.changes[-1] == ("alice", False)
    assert len(office.locations) == 0


# ---------------------------------------------------------------- order


def test_an_older_cseq_of_the_same_call_id_is_refused(office: Office) -> None:
    """A REGISTER that was overtaken must not undo the newer one; the whole request fails (10.3 step 7)."""
    office.register(PHONE, cseq=5)
    for cseq in (4, 5):
        answer = office.register("<sip:new@192.0.2.1>", f"{PHONE};expires=0", cseq=cseq)
        assert answer.status == 500
    assert office.contacts() == ["sip:alice@192.0.2.1:5070"]


def test_another_call_id_may_update_with_any_cseq(office: Office) -> None:
    """A phone that was restarted begins to count anew."""
    office.register(PHONE, cseq=500)
    answer = office.register(PHONE, call_id="after-restart", cseq=1, Expires="120")
    assert answer.get_all("contact") == [f"{PHONE};expires=120"]


def test_star_removes_everything(office: Office) -> None:
    """RFC 3261 10.2.2."""
    office.register(PHONE)
    office.register("<sip:b@192.0.2.2>", call_id="other")
    answer = office.register("*", Expires="0")
    assert answer.status == 200
    assert answer.get_all("contact") == []
    assert office.changes[-1] == ("alice", False)


@pytest.mark.parametrize(
    ("contacts", "headers"),
    [
        (["*"], {}),
        (["*"], {"Expires": "60"}),
        (["*", PHONE], {"Expires": "0"}),
        ([PHONE, "*"], {"Expires": "0"}),
        (["*", "*"], {"Expires": "0"}),
        (["*;expires=0"], {}),
    ],
)
def test_star_is_alone_and_has_expires_zero(
    office: Office, contacts: list[str], headers: dict[str, str]
) -> None:
    """Everything else is 400 and changes nothing."""
    office.register(PHONE)
    assert office.register(*contacts, **headers).status == 400
    assert office.contacts() == ["sip:alice@192.0.2.1:5070"]


def test_an_overtaken_star_removes_nothing(office: Office) -> None:
    """Same Call-ID, CSeq not higher: aborted as a whole (10.3 step 6)."""
    office.register("<sip:b@192.0.2.2>", call_id="other")
    office.register(PHONE, cseq=9)
    assert office.register("*", Expires="0", cseq=9).status == 500
    assert len(office.contacts()) == 2


# ---------------------------------------------------------------- C3


def test_C3_nobody_registers_somebody_else(office: Office) -> None:
    """403 with the right password of another account, whether the name exists or not."""
    for victim in ("bob", "no-such-account", "ALICE", "alice%00"):
        answer = office.register(PHONE, login="alice", to=f"<sip:{victim}@mizu.test>")
        assert (answer.status, answer.reason) == (403, "Not Your Address Of Record")
    assert office.register(PHONE, to="<sip:mizu.test>").status == 403
    assert len(office.locations) == 0


def test_C3_nobody_removes_or_reads_somebody_elses_contacts(office: Office) -> None:
    """Nor by star, nor by a fetch."""
    office.register(PHONE)
    assert office.register("*", login="bob", Expires="0").status == 403
    answer = office.register(login="bob")
    assert answer.status == 403
    assert answer.get_all("contact") == []
    assert office.contacts() == ["sip:alice@192.0.2.1:5070"]


def test_C3_a_thousand_contacts_are_refused_whole(office: Office) -> None:
    """403, and not the first ten of them stored."""
    contacts = [f"<sip:{number}@192.0.2.1>" for number in range(1000)]
    assert office.register(*contacts).status == 403
    assert office.register(", ".join(contacts)).status == 403
    assert len(office.locations) == 0


def test_C3_contacts_of_an_account_are_bounded(office: Office) -> None:
    """One more than allowed is 403; those that are there can still be refreshed and removed."""
    for number in range(10):
        assert office.register(f"<sip:{number}@192.0.2.1>").status == 200
    assert office.register("<sip:10@192.0.2.1>").status == 403
    assert office.register("<sip:3@192.0.2.1>").status == 200
    assert office.register("<sip:3@192.0.2.1>;expires=0", "<sip:10@192.0.2.1>").status == 200
    assert len(office.contacts()) == 10


def test_an_account_may_have_its_own_bound(office: Office) -> None:
    """``max_contacts`` of the account holds instead of the setting."""
    office.accounts.set("alice", "secret", max_contacts=1)
    assert office.register(PHONE).status == 200
    assert office.register("<sip:b@192.0.2.2>").status == 403


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:alice@203.0.113.5>",
        "<sip:203.0.113.5:5060>",
        "<sip:alice@203.0.113.5:5060;transport=tcp>",
        "<sip:alice@Own.Example:5070>",
    ],
)
def test_C3_a_contact_of_the_server_itself_is_refused(contact: str) -> None:
    """400: calls to it would go round for ever."""
    office = Office(is_self=lambda host, port: (host, port) == ("own.example", 5070))
    assert office.register(contact).status == 400
    assert len(office.locations) == 0


@pytest.mark.parametrize(
    "contact",
    [
        "<tel:+361234>",
        "<mailto:alice@mizu.test>",
        "<http://192.0.2.1/>",
        "<sip:>",
        "<sip:alice@>",
        "<sip:alice@bad host>",
        "<<sip:alice@192.0.2.1>>",
        "sip:",
        f"<sip:{'a' * 1100}@192.0.2.1>",
        "<sip:alice@192.0.2.1>;q=high",
    ],
)
def test_C3_a_contact_that_cannot_be_called_is_refused(office: Office, contact: str) -> None:
    """400, and nothing is stored."""
    assert office.register(contact).status == 400
    assert len(office.locations) == 0


def test_C3_nothing_from_outside_becomes_a_header(office: Office) -> None:
    """A contact with line ends cannot add lines to the answer that lists it."""
    request = office.request("<sip:alice@192.0.2.1>")
    request.set("Contact", "<sip:alice@192.0.2.1>;q=0.5;x=\r\nEvil: 1")
    assert b"\r\nEvil" not in office.send(request).to_bytes()


def test_oversized_texts_are_not_stored(office: Office) -> None:
    """A registration takes a bounded amount of memory."""
    assert office.register(PHONE, call_id="c" * 600).status == 400
    assert office.register(PHONE, Path=f"<sip:{'p' * 2100}@192.0.2.1;lr>").status == 400
    contact = f'{PHONE};reg-id=1;+sip.instance="<{"i" * 300}>"'
    assert office.register(contact, Supported="outbound").status == 400
    assert office.register(PHONE, User_Agent="u" * 5000).status == 200
    assert len(office.bindings()[0].user_agent) == 128


class LetsIn:
    """An authorizer that takes everybody for one account."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def authorize_now(self, request: Request, flow: PhoneFlow) -> Accepted:
        return Accepted(self.account, self.account.username)


@pytest.mark.parametrize(
    ("auth_type", "proto", "status"),
    [
        (AuthType.OPEN_RELAY, "udp", 403),
        (AuthType.TECH_PREFIX, "udp", 403),
        (AuthType.USERNAME, "udp", 403),
        (AuthType.USERNAME, "tcp", 200),
        (AuthType.IP, "udp", 200),
        (AuthType.DIGEST, "udp", 200),
    ],
)
def test_without_a_password_nobody_registers_at_the_address_of_a_partner(
    auth_type: AuthType, proto: str, status: int
) -> None:
    """It may be forged, and calls would go there; a password, a connection or a fixed address tell."""
    office = Office(is_partners=lambda host: host == "198.51.100.9")
    account = office.accounts.set("alice", "secret", auth_type=auth_type)
    office.registrar._authorizer = LetsIn(account)  # type: ignore[assignment]
    flow = PhoneFlow("198.51.100.9", 5060, proto)
    contact = "<sip:1900@198.51.100.9>"
    assert office.send(office.request(contact, credentials=False), flow).status == status
    assert len(office.bindings()) == (status == 200)
    assert office.send(office.request(PHONE, credentials=False)).status == 200


# ---------------------------------------------------------------- domains


def test_a_foreign_domain_is_not_served() -> None:
    """403 for a foreign Request-URI (we forward for nobody), 404 for a foreign address of record."""
    office = Office(domains=["Mizu.Test"])
    assert office.register(PHONE, uri="sip:mizu.TEST").status == 200
    assert office.register(PHONE, uri="sip:203.0.113.5", to="<sip:alice@203.0.113.5>").status == 200
    assert office.register(PHONE, to="<sip:alice@other.test>").status == 404
    foreign = office.request(PHONE, credentials=False, uri="sip:other.test")
    assert office.send(foreign).status == 403


# ---------------------------------------------------------------- Path and outbound


def test_path_is_stored_and_echoed(office: Office) -> None:
    """RFC 3327: calls go back through the proxies that the REGISTER passed."""
    path = "<sip:192.0.2.1;lr>, <sip:192.0.2.1:5070;lr;ob>"
    answer = office.register(PHONE, Path=path, Supported="path")
    assert answer.get("path") == path
    assert answer.get("supported") == "path, outbound"
    assert office.bindings()[0].path == ("<sip:192.0.2.1;lr>", "<sip:192.0.2.1:5070;lr;ob>")


@pytest.mark.parametrize(
    "path",
    [
        "<sip:203.0.113.77;lr>",
        "<sip:edge.example;lr>",
        "<sip:192.0.2.1;lr>, <sip:203.0.113.77;lr>",
        "<sip:203.0.113.77;lr>, <sip:192.0.2.1;lr>",
        '"192.0.2.1" <sip:192.0.2.1@203.0.113.77;lr>',
        "<sip:192.0.2.1.example;lr>",
    ],
)
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_path_of_another_address_is_refused(
    office: Office, clean_reactor: list[Any], path: str, proto: str
) -> None:
    """403, and the log tells the operator of a proxy what to set. A user could name a carrier as his."""
    lines: list[str] = []
    observer = lambda event: lines.append(formatEvent(event))  # noqa: E731
    globalLogPublisher.addObserver(observer)
    try:
        for _ in range(3):
            answer = office.register(PHONE, Path=path, flow=PhoneFlow(proto=proto))
            assert (answer.status, answer.reason) == (403, "Path Of Another Address")
    finally:
        globalLogPublisher.removeObserver(observer)
    assert len(office.locations) == 0
    (line,) = lines
    assert "from 192.0.2.1 refused" in line
    assert "path_from of [registrar]" in line
    assert office.register("<sip:alice@192.0.2.1:5070>").status == 200


def test_the_path_of_a_proxy_that_is_named_is_followed() -> None:
    """``[registrar] path_from``: over TCP and with names as well; a phone keeps its own address."""
    office = Office(proxies=["198.51.100.0/24", "2001:db8::/64"])
    path = "<sip:edge2.example;lr>, <sip:10.0.0.1;transport=tcp;lr>"
    for host, proto in (("198.51.100.9", "udp"), ("198.51.100.9", "tcp"), ("2001:db8::9", "udp")):
        assert office.register(PHONE, Path=path, flow=PhoneFlow(host, 40000, proto)).status == 200
    assert office.register(PHONE, Path=path).status == 403
    assert office.register(PHONE, Path="<sip:192.0.2.1;lr>").status == 200


def test_a_path_over_ipv6_and_in_other_spellings(office: Office) -> None:
    """Addresses are compared, not texts; ports and protocols are the proxy's business."""
    six = PhoneFlow("2001:db8::9", 40000, "tcp")
    assert office.register(PHONE, Path="<sip:[2001:DB8:0::9]:5060;transport=tcp;lr>", flow=six).status == 200
    assert office.register(PHONE, Path="<sip:[::ffff:192.0.2.1]:5090;lr>").status == 200
    assert office.register(PHONE, Path="<sip:[2001:db8::9];lr>").status == 403


def test_a_path_of_the_server_itself_is_refused() -> None:
    """400, as a contact is."""
    office = Office(is_self=lambda host, port: (host, port) == ("192.0.2.1", 5060))
    assert office.register(PHONE, Path="<sip:192.0.2.1;lr>").status == 400
    assert office.register(PHONE, Path="<sip:192.0.2.1:5080;lr>").status == 200


@pytest.mark.parametrize("path", ["<sip:edge.example>", "<tel:+361>", "nonsense", "<sip:edge.example;lr"])
def test_a_path_that_cannot_be_followed_is_refused(office: Office, path: str) -> None:
    """400."""
    assert office.register(PHONE, Path=path).status == 400


INSTANCE = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'


def outbound(number: int, reg_id: int = 1) -> str:
    return f"<sip:alice@10.0.0.{number}>;reg-id={reg_id}{INSTANCE}"


def test_outbound_replaces_the_binding_of_the_same_flow(office: Office) -> None:
    """RFC 5626: a phone that moved is one binding, whatever its contact says; a second flow is another."""
    answer = office.register(outbound(1), Supported="path, Outbound")
    assert answer.get("require") == "outbound"
    assert answer.get("flow-timer") == "120"
    assert answer.get_all("contact") == [
        '<sip:alice@10.0.0.1>;expires=300;+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>";reg-id=1'
    ]
    office.register(outbound(2), Supported="outbound", call_id="moved")
    assert office.contacts() == ["sip:alice@10.0.0.2"]
    office.register(outbound(2, reg_id=2), Supported="outbound", call_id="second")
    assert office.contacts() == ["sip:alice@10.0.0.2"] * 2
    office.register(outbound(9) + ";expires=0", Supported="outbound", call_id="bye")
    assert [each.reg_id for each in office.bindings()] == [2]


def test_reg_id_without_outbound_support_is_ignored(office: Office) -> None:
    """Then contacts are compared as URIs, as ever."""
    answer = office.register(outbound(1))
    assert answer.get("require") is None
    assert office.bindings()[0].reg_id == 0
    assert office.register(f"{PHONE};reg-id=1", Supported="outbound").get("require") is None


def test_two_flows_in_one_request_are_refused(office: Office) -> None:
    """RFC 5626 6: one reg-id for each REGISTER."""
    assert office.register(outbound(1), outbound(2, reg_id=2), Supported="outbound").status == 400


def test_a_first_hop_without_outbound_is_told(office: Office) -> None:
    """439 when a proxy in between has not promised to keep the flow."""
    request = office.request(outbound(1), Supported="outbound")
    request.prepend("Via", "SIP/2.0/UDP edge.example;branch=z9hG4bKy")
    assert office.send(request).status == 439
    request = office.request(outbound(1), Supported="outbound", Path="<sip:192.0.2.1;lr;ob>")
    request.prepend("Via", "SIP/2.0/UDP edge.example;branch=z9hG4bKz")
    assert office.send(request).status == 200


# ---------------------------------------------------------------- connections


def test_a_closed_connection_takes_its_flow_bindings_along(office: Office) -> None:
    """And what stays reachable otherwise stays, without the dead flow."""
    tcp = PhoneFlow(proto="tcp", port=40000)
    office.register("<sip:alice@10.0.0.7;transport=tcp>", flow=tcp)
    office.register("<sip:bob@192.0.2.1;transport=tcp>", user="bob", flow=tcp)
    office.registrar.flow_closed(tcp)
    assert office.contacts() == []
    assert office.bindings("bob")[0].received_port == 0
    assert office.changes[-1] == ("alice", False)
    assert [aor for aor, _ in office.store.puts[-2:]] == ["alice", "bob"]
    office.registrar.flow_closed(PhoneFlow())
    assert len(office.store.puts) == 4


# ---------------------------------------------------------------- limits, store


def test_a_full_table_is_503_and_known_phones_go_on() -> None:
    """``limits.registrations``."""
    office = Office(limit=1)
    office.register(PHONE)
    answer = office.register("<sip:bob@192.0.2.2>", user="bob")
    assert answer.status == 503
    assert answer.get("retry-after") == "5"
    assert office.register(PHONE).status == 200
    assert office.contacts("bob") == []


def test_the_database_is_down(office: Office) -> None:
    """Phones known to memory are served; others are told to come again."""
    office.register(PHONE)
    office.accounts.faults.down = True
    office.store.faults.down = True
    assert office.register(PHONE).status == 200
    answer = office.register("<sip:bob@192.0.2.2>", user="bob")
    assert (answer.status, answer.get("retry-after")) == (503, "5")


def test_bindings_survive_a_restart(office: Office) -> None:
    """What the store kept is there again, less what has expired; newer ones win."""
    office.register(PHONE, "<sip:short@192.0.2.1>;expires=60")
    office.register("<sip:bob@192.0.2.2>", user="bob")
    after = Office()
    after.clock.advance(100)
    after.store = office.store
    after.registrar._store = office.store
    after.register("<sip:bob@192.0.2.99>", user="bob")
    pauses: list[int] = []

    async def pause() -> None:
        pauses.append(1)

    assert result_now(after.registrar.load(pause)) == 1
    assert pauses == []
    assert after.contacts() == ["sip:alice@192.0.2.1:5070"]
    assert after.contacts("bob") == ["sip:bob@192.0.2.99"]


def test_a_connection_does_not_survive_a_restart(office: Office) -> None:
    """A phone behind NAT registered over TCP is gone until it comes again; others are called anew."""
    tcp = PhoneFlow(proto="tcp", port=40000)
    office.register("<sip:alice@10.0.0.7;transport=tcp>", flow=tcp)
    office.register("<sip:bob@192.0.2.1;transport=tcp>", user="bob", flow=tcp)
    after = Office()
    after.registrar._store = office.store
    assert result_now(after.registrar.load()) == 1
    assert after.bindings("bob")[0].received_port == 0


def test_more_stored_than_fits_is_loaded_as_far_as_it_goes(clean_reactor: list[Any]) -> None:
    """A lowered limit does not keep the server from starting."""
    office = Office(limit=1)
    now_s = office.clock.wall().timestamp()
    binding = Binding(1, "a", "sip:a@h", now_s + 100, "c", 1)
    office.store.put("a", [binding])
    office.store.put("b", [binding._replace(aor="b")])
    assert result_now(office.registrar.load()) == 1
    assert len(office.locations) == 1


def test_an_operator_removes_all_contacts(office: Office) -> None:
    """``unreg``."""
    office.register(PHONE, "<sip:b@192.0.2.2>")
    assert office.registrar.remove("alice") == 2
    assert office.registrar.remove("alice") == 0
    assert office.store.puts[-1] == ("alice", ())
    assert office.changes[-1] == ("alice", False)


def test_an_operator_removes_one_contact(office: Office) -> None:
    """``unreg`` with the contact as ``regs`` shows it."""
    office.register(PHONE, "<sip:b@192.0.2.2>")
    assert office.registrar.remove("alice", "sip:none@192.0.2.2") == 0
    assert office.registrar.remove("alice", "sip:b@192.0.2.2") == 1
    assert office.contacts() == ["sip:alice@192.0.2.1:5070"]
    assert office.store.puts[-1] == ("alice", tuple(office.bindings()))


def test_an_answer_that_comes_too_late_is_dropped(office: Office) -> None:
    """The transaction ended while the store was asked: nothing is stored or sent."""
    request = office.request(PHONE)
    office.accounts.faults.hold()
    tx = Transaction(request, office.flow)
    office.registrar.register(tx)  # type: ignore[arg-type]
    assert tx.responses == []
    tx.final_sent = True
    office.accounts.faults.release()
    assert tx.responses == []
    assert len(office.locations) == 0


@pytest.mark.parametrize("known", [True, False])
def test_a_fault_of_ours_is_answered_500_and_logged(
    office: Office, clean_reactor: list[Any], known: bool
) -> None:
    """The phone is not left without an answer, whether the account was in the cache or not."""
    if known:
        office.register(PHONE)

    def broken(aor: str, bindings: object) -> None:
        raise RuntimeError("bug")

    office.store.put = broken  # type: ignore[method-assign, assignment]
    assert office.register(PHONE).status == 500
    assert clean_reactor.pop().type is RuntimeError


def test_a_foreign_kind_of_request_uri_is_not_our_domain() -> None:
    """tel: and unknown schemes have no host that could be ours."""
    office = Office(domains=["mizu.test"])
    assert office.send(office.request(PHONE, credentials=False, uri="tel:+361234")).status == 403


def test_a_stored_contact_that_cannot_be_read_does_no_harm(office: Office) -> None:
    """Written by another version, say: it is compared as text and goes when its time is over."""
    office.register("<sip:b@192.0.2.2>")
    (binding,) = office.bindings()
    office.locations.replace("alice", [binding._replace(contact="::", proto="tcp", received_port=7)])
    assert office.register(PHONE).status == 200
    assert len(office.contacts()) == 2
    office.locations.close_stream(binding.local, binding.received_host, 7)
    assert office.contacts() == ["sip:alice@192.0.2.1:5070"]


def test_answers_name_the_server_when_they_shall() -> None:
    """``sip.user_agent``."""
    office = Office(server_name="mizu")
    assert office.register(PHONE).get("server") == "mizu"


def test_answers_are_counted_by_status(office: Office) -> None:
    """For metrics."""
    office.register(PHONE)
    office.register("*")
    assert office.registrar.answers == {401: 2, 200: 1, 400: 1}


def test_a_connection_that_carries_a_registration_is_kept_as_long() -> None:
    """It is not closed as idle before the last of its contacts expires; a datagram has nothing to keep."""
    office = Office()
    stream, datagrams = PhoneFlow(proto="tcp"), PhoneFlow()
    office.register("<sip:alice@192.0.2.1;transport=tcp>;expires=600", flow=stream)
    assert stream.kept_for_s == 600
    office.register("<sip:alice@192.0.2.1>;expires=900", flow=datagrams)
    assert datagrams.kept_for_s == 0


@pytest.mark.parametrize(
    ("echo", "told"),
    [
        (0, []),
        (1, ["<sip:alice@192.0.2.1:5070>"]),
        (2, ["<sip:alice@192.0.2.1:5070>;expires=300;q=0.5"]),
        (3, ["<sip:alice@192.0.2.1:5070>;q=0.5;expires=7200;x=y"]),
    ],
)
def test_the_answer_repeats_of_the_contact_what_the_option_says(echo: int, told: list[str]) -> None:
    """``sendbackregcontact``: nothing, the address, with the expiry that holds, exactly what came."""
    office = Office(rules=RegistrationRules(echo_contact=echo))
    answer = office.register("<sip:alice@192.0.2.1:5070>;q=0.5;expires=7200;x=y")
    assert answer.get_all("contact") == told
    expires_in_s = office.bindings()[0].expires_at_s - office.clock.wall().timestamp()
    assert expires_in_s == 300
    assert len(office.register().get_all("contact")) == 1  # who only asks is told


@pytest.mark.parametrize(("echo", "lasts_s"), [(0, 1800), (1, 1800), (2, 300), (3, 1800)])
def test_a_phone_that_was_told_no_time_is_offline_after_userofflinemin(echo: int, lasts_s: int) -> None:
    """It asked for none, and the answer had none."""
    office = Office(rules=RegistrationRules(echo_contact=echo, offline_s=1800))
    office.register(PHONE)
    assert office.bindings()[0].expires_at_s - office.clock.wall().timestamp() == lasts_s


def test_rules_are_made_of_the_options_in_force() -> None:
    """Set one by one they may contradict each other: the bounds hold."""
    values = {"upperexpire": 5.0, "upperexpiremin": 60.0, "upperexpiremax": 900.0}
    values |= {"userofflinemin": 10, "sendbackregcontact": 1}
    rules = RegistrationRules.of(values.__getitem__, 4)
    assert (rules.expires_s, rules.expires_min_s, rules.expires_max_s) == (60, 60, 900)
    assert (rules.offline_s, rules.echo_contact, rules.contacts_max) == (600, 1, 4)
    values["upperexpiremax"] = 30.0
    assert RegistrationRules.of(values.__getitem__, 4).expires_max_s == 60
