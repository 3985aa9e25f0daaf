"""Every field of an account: the single source for checks, ``describe``, import and export, API and docs.

Names and meanings are ours, aliases are the original's (its guide, chapter 1), in any case of letters. Where
the original keeps a number for a choice, we keep the number.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mizu.accounts.kinds import (
    ACCOUNT,
    ADDRESSES,
    CURRENCY,
    FLAG,
    HOST,
    IDS,
    MOMENT,
    MONEY,
    NUMBER,
    PERCENT,
    PREFIXES,
    SECRET,
    USERNAMES,
    Kind,
    Value,
    choice,
    integer,
    optional_integer,
    text,
)
from mizu.errors import BadRequest
from mizu.model import AccountType, AuthType, Rights

STAFF = "staff"  #: only operators who are not limited to some accounts change it
OWNER = "owner"  #: also operators limited to some accounts, for every account below their own
SELF = "self"  #: these also for their own account
SERVER = "server"  #: nobody; the server does
_INT_MAX = 2**31 - 1

_NAMES_OF_TYPES = {int(one): one.name.lower() for one in AccountType}
_NAMES_OF_PROOFS = {int(one): one.name.lower() for one in AuthType}
_NAMES_OF_RIGHTS = {int(one): one.name.lower() for one in Rights}
_RTP = {
    0: "as_other_side",
    1: "untouched",
    2: "correct_sdp",
    3: "relay_both_nat",
    4: "relay_caller_nat",
    5: "relay_called_nat",
    6: "relay_any_nat",
    7: "relay_always",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an account."""

    name: str
    aliases: tuple[str, ...]  #: the original's spelling; empty: ours
    kind: Kind
    meaning: str
    group: str  #: heading in ``describe`` and in the docs
    default: Value = None
    unit: str = ""
    guide: str = "1.2"  #: section of the original's guide, as our docs number it
    changed_by: str = OWNER  #: ``STAFF``, ``OWNER``, ``SELF`` or ``SERVER``
    column: str = ""  #: in table ``account``, when it is not ``name``
    in_contact: bool = False  #: kept in the JSON column ``contact``
    cloned: bool = True  #: a clone gets the value of its template
    secret: bool = False  #: written, never read

    @property
    def stored_as(self) -> str:
        return self.column or self.name

    def parse(self, word: str) -> Value:
        """:raise BadRequest: names the field and what it wants; never repeats a secret."""
        return self.accept(word)

    def accept(self, given: object) -> Value:
        """The value for text or JSON. :raise BadRequest:"""
        try:
            return self.kind.accept(given)
        except ValueError as wrong:
            got = "" if self.secret else f", got {str(given)[:80]!r}"
            raise BadRequest(f"{self.name}: want {wrong}{got}") from None

    def described(self) -> dict[str, object]:
        """For clients and docs: JSON."""
        return {
            "name": self.name,
            "aliases": list(self.aliases),
            "kind": self.kind.name,
            "schema": dict(self.kind.schema),
            "default": self.kind.show(self.default),
            "unit": self.unit,
            "meaning": self.meaning,
            "group": self.group,
            "guide": self.guide,
            "changed_by": self.changed_by,
        }


def _identity() -> Iterable[Field]:
    group = "identity"
    server: dict[str, object] = {"changed_by": SERVER, "cloned": False}
    yield Field("id", ("ID",), integer(1, 2**62), "what everything else points at", group, **server)  # type: ignore[arg-type]
    yield Field(
        "username",
        ("Username",),
        text(255),
        "name for authentication and address of record; given when the account is made, never changed",
        group,
        cloned=False,
        changed_by=SERVER,
    )
    yield Field(
        "password",
        ("Password",),
        SECRET,
        "kept as digests only; 'passwd' changes it",
        group,
        secret=True,
        cloned=False,
        changed_by=SELF,
    )
    yield Field("type", ("Type",), choice(_NAMES_OF_TYPES), "what the party is", group, 0)
    yield Field(
        "parent_id",
        ("ParentID",),
        ACCOUNT,
        "owner in the ownership tree; 'move' changes it",
        group,
        guide="3",
    )
    yield Field("enabled", ("Enabled",), FLAG, "0: as if it were deleted, with all below it", group, True)
    yield Field(
        "suspended",
        ("temporarydisabled",),
        FLAG,
        "1: stopped for a time, with everything below it; also set when credit runs out of time",
        group,
        False,
    )
    yield Field(
        "is_template", (), FLAG, "1: only there to be cloned; it cannot log in", group, False, cloned=False
    )
    yield Field(
        "rights",
        ("Rights",),
        choice(_NAMES_OF_RIGHTS),
        "what this party may do as an operator",
        group,
        0,
        changed_by=STAFF,
    )
    yield Field("created_by", ("AddedBy",), text(), "operator who made it", group, "", **server)  # type: ignore[arg-type]
    yield Field("created_at", ("AddDate",), MOMENT, "when it was made", group, **server)  # type: ignore[arg-type]
    yield Field("changed_at", (), MOMENT, "when it was changed last", group, **server)  # type: ignore[arg-type]
    yield Field("version", (), integer(1, 2**62), "grows with every change", group, **server)  # type: ignore[arg-type]


def _authorization() -> Iterable[Field]:
    group = "authorization"
    yield Field(
        "auth_type",
        ("NeedAuth", "AuthType"),
        choice(_NAMES_OF_PROOFS),
        "how it proves itself",
        group,
        4,
        guide="4.1",
        changed_by=STAFF,
    )
    yield Field(
        "auth_ip",
        ("AuthIp",),
        ADDRESSES,
        "where it sends from: addresses and domain names; with auth_type 9 and 10 also ranges as "
        "192.0.2.0/24, 192.0.2.10-192.0.2.20 or 10.1.*.*",
        group,
        "",
        guide="4.1",
        changed_by=STAFF,
        cloned=False,
    )
    yield Field(
        "tech_prefix",
        ("TechPrefix",),
        NUMBER,
        "first digits of the numbers it calls, for auth_type 2 and 3",
        group,
        "",
        guide="4.1",
        changed_by=STAFF,
        cloned=False,
    )
    yield Field(
        "call_signal_port",
        ("callsigaddr",),
        integer(0, 65_535),
        "port it sends from, for auth_type 6; 0: none",
        group,
        0,
        guide="4.1",
        changed_by=STAFF,
        cloned=False,
    )
    yield Field(
        "trusted_identity",
        (),
        FLAG,
        "1: may say who calls (From, P-Asserted-Identity, Diversion)",
        group,
        False,
        guide="4.1",
        changed_by=STAFF,
    )
    yield Field(
        "max_contacts",
        (),
        integer(0, 1000),
        "registered at a time; 0: the registrar's setting",
        group,
        0,
        "contacts",
    )
    yield Field(
        "register_interval_s",
        ("regival",),
        integer(0, 86_400),
        "how often we register at a SIP server; 0: the global setting",
        group,
        0,
        "s",
        "1.4",
        changed_by=STAFF,
    )
    yield Field(
        "pin",
        ("pin",),
        SECRET,
        "PIN for calling cards, kept encrypted",
        group,
        "",
        secret=True,
        cloned=False,
        guide="4.5",
        column="pin_sealed",
    )
    yield Field("use_calling_card", ("UseCallingCard",), FLAG, "1: may use PIN codes", group, False)
    yield Field(
        "caller_lookup",
        ("enableanumberlookup", "anumberlookup"),
        FLAG,
        "1, on a traffic sender: an account with the caller's number takes over the call",
        group,
        False,
        guide="4.5",
        changed_by=STAFF,
    )


def _numbers() -> Iterable[Field]:
    group = "numbers"
    yield Field(
        "phone_number",
        ("TelNumber",),
        NUMBER,
        "its phone number (DID), of this account alone",
        group,
        "",
        cloned=False,
    )
    yield Field(
        "short_number",
        ("ShortTelnumber",),
        NUMBER,
        "extension inside its company",
        group,
        "",
        cloned=False,
    )
    yield Field("company_id", ("BelongsToCompany",), ACCOUNT, "company whose short numbers it uses", group)
    yield Field("is_company", ("IsCompany",), FLAG, "1: a company with several subscribers", group, False)
    yield Field(
        "calling_circle",
        ("UserGroup",),
        integer(0, _INT_MAX),
        "accounts call each other only inside the same circle; 0 is a circle too",
        group,
        0,
    )
    yield Field(
        "display_name", ("DisplayName",), text(), "name shown to the called party", group, "", changed_by=SELF
    )
    yield Field(
        "caller_number", (), NUMBER, "number shown to the called party; empty: the username", group, ""
    )
    yield Field(
        "ring_group", ("RingGroup",), USERNAMES, "who else rings when it is called", group, "", guide="9.1"
    )
    yield Field(
        "ring_mode",
        ("RGMode",),
        choice({0: "fork", 1: "round_robin"}),
        "how they ring",
        group,
        0,
        guide="9.1",
    )
    yield Field("country", ("Country",), text(64), "country of its numbers, for the number rules", group, "")


def _calls() -> Iterable[Field]:
    group = "calls"
    yield Field("can_dial", ("CanDial",), FLAG, "1: may place calls", group, True)
    yield Field(
        "max_channels",
        ("MaxLines", "MaxChannels"),
        integer(0, _INT_MAX),
        "calls at a time, with everything below it; 0: no limit of its own. Every owner's limit counts too",
        group,
        0,
        "calls",
    )
    yield Field(
        "allowed_partners",
        ("AllowedPartners",),
        IDS,
        "gateway: which senders may use it; sender: which gateways it may use. Owners' lists count too",
        group,
        "*",
    )
    yield Field(
        "enabled_prefixes", ("Enabledprefixes",), PREFIXES, "called prefixes that are allowed", group, "*"
    )
    yield Field(
        "enabled_tech_prefixes",
        ("EnabledTechPrefixes",),
        PREFIXES,
        "gateway: tech prefixes that are allowed; empty: all",
        group,
        "",
        changed_by=STAFF,
    )
    yield Field(
        "blocked_prefixes", ("BlockPrefixes",), PREFIXES, "called prefixes that are blocked", group, ""
    )
    yield Field(
        "filtering",
        ("filtering",),
        integer(0, 6),
        "strictness of black and white lists; 0: none",
        group,
        0,
        guide="5.8",
    )
    yield Field(
        "forward_always",
        (),
        NUMBER,
        "calls go to this number; empty: no",
        group,
        "",
        guide="9.1",
        changed_by=SELF,
    )
    yield Field(
        "forward_busy", (), NUMBER, "calls go there when it is busy", group, "", guide="9.1", changed_by=SELF
    )
    yield Field(
        "forward_no_answer",
        (),
        NUMBER,
        "calls go there when nobody answers",
        group,
        "",
        guide="9.1",
        changed_by=SELF,
    )
    yield Field(
        "do_not_disturb", (), FLAG, "1: nobody gets through", group, False, guide="9.1", changed_by=SELF
    )
    yield Field("voicemail", (), FLAG, "1: has a mailbox", group, False, guide="9.1")
    yield Field("recording", (), FLAG, "1: calls are recorded", group, False, guide="9.1")
    yield Field(
        "ivr_id",
        ("ivrid",),
        integer(0, _INT_MAX),
        "a call to it starts this IVR; 0: none",
        group,
        0,
        guide="9.7",
    )
    yield Field(
        "callback_mode",
        ("iscallback",),
        integer(0, 99),
        "callback behaviour of an access number",
        group,
        0,
        guide="9.5",
    )
    yield Field("operator_kind", ("isoperator",), integer(0, 99), "6: a PIN user", group, 0, guide="4.5")


def _trunk() -> Iterable[Field]:
    group = "trunk"
    staff = STAFF
    port = optional_integer(1, 65_535)
    yield Field(
        "domain_name", ("DomainName",), HOST, "domain or address of a SIP server", group, "", changed_by=staff
    )
    yield Field(
        "port", ("Port",), port, "its signalling port; empty: by DNS, else 5060", group, changed_by=staff
    )
    yield Field(
        "second_host", ("TransIp",), HOST, "its second signalling address", group, "", changed_by=staff
    )
    yield Field("second_port", ("TransPort",), port, "port of that address", group, changed_by=staff)
    yield Field(
        "rtp_when_caller",
        ("RouteRtpCaller",),
        choice(_RTP),
        "media when it calls",
        group,
        0,
        changed_by=staff,
    )
    yield Field(
        "rtp_when_called",
        ("RouteRtpCalled",),
        choice(_RTP),
        "media when it is called",
        group,
        2,
        changed_by=staff,
    )
    yield Field(
        "fix_nat", (), FLAG, "1: private addresses in its SDP become where it sends from", group, False
    )
    low = -1_000_000
    number = integer(low, -low)
    yield Field(
        "priority",
        ("priority",),
        number,
        "order among routes, higher first",
        group,
        0,
        guide="5.6",
        changed_by=staff,
    )
    yield Field(
        "absolute_priority",
        ("absolutepriority",),
        number,
        "order before everything else, higher first",
        group,
        0,
        guide="5.6",
        changed_by=staff,
    )
    yield Field(
        "called_priority",
        ("calledpriority",),
        PREFIXES,
        "preferred for calls to these prefixes",
        group,
        "",
        guide="5.6",
        changed_by=staff,
    )
    yield Field(
        "caller_priority",
        ("callerpriority",),
        PREFIXES,
        "preferred for calls from these prefixes",
        group,
        "",
        guide="5.6",
        changed_by=staff,
    )
    yield Field(
        "partner_priority",
        ("prioritypartner",),
        IDS,
        "preferred for calls from these accounts",
        group,
        "",
        guide="5.6",
        changed_by=staff,
    )
    yield Field(
        "only_test_calls",
        ("onlytestcalls",),
        FLAG,
        "1: takes test calls only",
        group,
        False,
        changed_by=staff,
    )
    yield Field(
        "test_prefix",
        ("testprefix",),
        PREFIXES,
        "takes only calls with this prefix; empty: all",
        group,
        "",
        changed_by=staff,
    )


def _billing() -> Iterable[Field]:
    group = "billing"
    staff = STAFF
    yield Field(
        "billing_account_id", ("BillingUserID",), ACCOUNT, "whose credit is used; empty: its own", group
    )
    yield Field("payer_only", ("IsBilledUser",), FLAG, "1: only pays, uses no service", group, False)
    yield Field("postpaid", ("Postpaid",), FLAG, "1: pays afterwards", group, False, changed_by=staff)
    yield Field(
        "credit",
        ("Credit",),
        MONEY,
        "prepaid: what it has; postpaid: what it may spend in a month",
        group,
        0,
        "units of currency",
        changed_by=staff,
        column="credit_micro",
        cloned=False,
    )
    yield Field(
        "credit_expires_at",
        ("Creditelapsedt",),
        MOMENT,
        "when prepaid credit ends",
        group,
        guide="6.6",
        changed_by=staff,
        cloned=False,
    )
    yield Field(
        "currency",
        ("currency",),
        CURRENCY,
        "currency of its invoices; empty: the native one",
        group,
        "",
        guide="6.7",
    )
    yield Field("packet_id", ("PacketID",), optional_integer(1, _INT_MAX), "price packet", group, guide="6.1")
    yield Field(
        "discount_percent",
        ("discount",),
        PERCENT,
        "taken off its prices before charging",
        group,
        "0.00",
        "%",
        guide="6.4",
    )
    yield Field(
        "commission_percent",
        ("Commission",),
        PERCENT,
        "a salesperson's part of the prices",
        group,
        "0.00",
        "%",
        changed_by=staff,
    )
    yield Field(
        "reduction_percent",
        ("Reduction",),
        PERCENT,
        "discount a salesperson may give, out of the commission",
        group,
        "0.00",
        "%",
        changed_by=staff,
    )
    yield Field(
        "late_fee",
        ("LateFee",),
        MONEY,
        "charged for late payment",
        group,
        0,
        "units of currency",
        column="late_fee_micro",
    )
    yield Field(
        "billing_day", ("BillingDay",), integer(1, 28), "day of the month invoices are made", group, 1
    )
    yield Field(
        "payment_mode",
        ("PaymentMode",),
        choice({0: "check", 1: "bank_transfer", 2: "cash", 3: "other"}),
        "how it pays",
        group,
        1,
    )
    yield Field(
        "stage",
        ("stage",),
        choice({0: "normal", 9: "early_payment"}),
        "9: a reseller who pays when credit is handed out",
        group,
        0,
        guide="3",
        changed_by=staff,
    )


def _contact() -> Iterable[Field]:
    group = "contact"
    for name, alias, meaning in (
        ("name", "Name", "name of the person or company"),
        ("contact_name", "ContactName", "whom to ask for"),
        ("phone", "Phone", "where to call the customer; no SIP number"),
        ("email", "Email", "e-mail address"),
        ("address", "Address", "postal address"),
        ("billing_address", "Billaddress", "address on invoices"),
        ("contract_number", "ContractNumber", "number of the contract"),
        ("contract_comment", "ContractComment", "about the contract"),
        ("qualification", "Qualification", "remark of the sales people"),
    ):
        yield Field(
            name, (alias,), text(1000), meaning, group, "", in_contact=True, changed_by=SELF, cloned=False
        )
    states = {0: "unknown", 1: "not_applicable", 2: "in_progress", 3: "active", 4: "terminated"}
    yield Field(
        "contract_state",
        ("ContractState",),
        choice(states),
        "state of the contract",
        group,
        0,
        in_contact=True,
    )


FIELDS: tuple[Field, ...] = (
    *_identity(),
    *_authorization(),
    *_numbers(),
    *_calls(),
    *_trunk(),
    *_billing(),
    *_contact(),
)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(field.group for field in FIELDS))
BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}
_BY_ANY: Mapping[str, Field] = {
    **{alias.lower(): field for field in FIELDS for alias in field.aliases},
    **{field.name: field for field in FIELDS},
}
#: Columns that hold the id of another account.
REFERENCES: tuple[Field, ...] = tuple(field for field in FIELDS if field.kind is ACCOUNT)


def field_of(name: str) -> Field:
    """The field of that name or alias, in any case of letters. :raise BadRequest: says the nearest."""
    found = _BY_ANY.get(name) or _BY_ANY.get(name.lower())
    if found is not None:
        return found
    near = difflib.get_close_matches(name.lower(), _BY_ANY, n=1)
    hint = f"; did you mean {_BY_ANY[near[0]].name}?" if near else "; 'describe --fields' lists them"
    raise BadRequest(f"there is no field {name[:60]!r}{hint}")


def parsed(assignments: Iterable[str]) -> dict[str, Value]:
    """
    Values by field name of words such as ``max_channels=30`` or ``CanDial=1``.

    :raise BadRequest: an unknown field, a value it does not take, a field twice.
    """
    values: dict[str, Value] = {}
    for word in assignments:
        name, _, given = word.partition("=")
        field = field_of(name)
        if field.name in values:
            raise BadRequest(f"{field.name} is there twice")
        values[field.name] = field.parse(given)
    return values


def accepted(given: Mapping[str, object]) -> dict[str, Value]:
    """Values by field name of a JSON object of the API. :raise BadRequest:"""
    values: dict[str, Value] = {}
    for name, value in given.items():
        field = field_of(name)
        if field.name in values:
            raise BadRequest(f"{field.name} is there twice")
        values[field.name] = field.accept(value)
    return values
