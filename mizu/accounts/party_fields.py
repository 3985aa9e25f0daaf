"""Fields of accounts: who it is, how it proves itself, its numbers, facts for people."""

from collections.abc import Iterable

from mizu.accounts.field import SELF, SERVER, STAFF, Field
from mizu.accounts.kinds import (
    ACCOUNT,
    ADDRESSES,
    FLAG,
    MEMBERS,
    MOMENT,
    NUMBER,
    OWN_NUMBER,
    SECRET,
    choice,
    integer,
    text,
)
from mizu.model import AccountType, AuthType, Rights

_INT_MAX = 2**31 - 1
_NAMES_OF_TYPES = {int(one): one.name.lower() for one in AccountType}
_NAMES_OF_PROOFS = {int(one): one.name.lower() for one in AuthType}
_NAMES_OF_RIGHTS = {int(one): one.name.lower() for one in Rights}


def identity_fields() -> Iterable[Field]:
    """Fields that say who an account is and what it belongs to."""
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


def authorization_fields() -> Iterable[Field]:
    """Fields that say how it proves itself."""
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


def numbers_fields() -> Iterable[Field]:
    """Fields that say what its numbers are."""
    group = "numbers"
    yield Field(
        "phone_number",
        ("TelNumber",),
        OWN_NUMBER,
        "its phone number (DID), of this account alone; a free one of the table of numbers becomes its own",
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
        "ring_group",
        ("RingGroup",),
        MEMBERS,
        "accounts and groups that ring too when it is called",
        group,
        "",
        guide="9.1",
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


def contact_fields() -> Iterable[Field]:
    """Facts for people, kept in the JSON column."""
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
