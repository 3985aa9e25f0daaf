"""Fields of accounts: calls, trunks, billing."""

from collections.abc import Iterable

from mizu.accounts.field import SELF, STAFF, Field
from mizu.accounts.kinds import (
    ACCOUNT,
    CURRENCY,
    FLAG,
    HOST,
    MOMENT,
    MONEY,
    NUMBER,
    PARTNERS,
    PERCENT,
    PREFIXES,
    choice,
    integer,
    optional_integer,
)

_INT_MAX = 2**31 - 1
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


def calls_fields() -> Iterable[Field]:
    """Fields that say what calls it may make and gets."""
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
        PARTNERS,
        "gateway: which senders may use it; sender: which gateways it may use; accounts and groups. Owners' "
        "lists count too",
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


def trunk_fields() -> Iterable[Field]:
    """Fields that say how we reach it as a SIP server or gateway."""
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
        PARTNERS,
        "preferred for calls from these accounts and groups",
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


def billing_fields() -> Iterable[Field]:
    """Fields that say who pays what."""
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
