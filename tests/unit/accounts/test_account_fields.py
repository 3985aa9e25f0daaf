"""The table of account fields: names, values, and what operators may change."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.accounts.fields import FIELDS, field_of, parsed
from mizu.accounts.scope import check_change, check_new, may_clone
from mizu.accounts.sip_fields import SIP_FIELDS
from mizu.errors import BadRequest, Forbidden, MizuError
from mizu.options import OPTIONS

SCHEMA = Path(__file__).parents[3] / "mizu" / "store" / "schema"

#: Every field of the original's guide, 1.2.
ORIGINAL = """
ID Type ParentID BillingUserID IsBilledUser UserGroup RingGroup RGMode BelongsToCompany
IsCompany Name ContactName DisplayName Country UseCallingCard CanDial Phone Email Address
Billaddress TelNumber ShortTelnumber Username Password AuthIp NeedAuth AddDate AddedBy
Rights Commission Reduction LateFee PacketID BillingDay Qualification Postpaid PaymentMode
ContractNumber ContractComment ContractState Credit Enabled temporarydisabled
AllowedPartners Enabledprefixes EnabledTechPrefixes BlockPrefixes TechPrefix DomainName
Port TransIp TransPort RouteRtpCaller RouteRtpCalled filtering priority absolutepriority
calledpriority callerpriority prioritypartner onlytestcalls testprefix enableanumberlookup
ivrid iscallback isoperator pin regival Creditelapsedt stage currency discount callsigaddr
"""


@pytest.mark.parametrize("name", ORIGINAL.split())
def test_every_name_of_the_original_is_understood(name):
    """In any case of letters."""
    assert name in field_of(name).aliases
    assert field_of(name.upper()) is field_of(name.lower()) is field_of(field_of(name).name)


def test_no_two_fields_share_a_name():
    """Names and aliases lead to one field each."""
    own = [name for one in FIELDS for name in {one.name.lower(), *(alias.lower() for alias in one.aliases)}]
    assert len(own) == len(set(own)), sorted(name for name in own if own.count(name) > 1)


@pytest.mark.parametrize("one", FIELDS, ids=lambda one: one.name)
def test_each_field_explains_itself(one):
    """A meaning, a guide section, and a default that its own kind takes."""
    assert one.meaning
    assert re.fullmatch(r"[0-9.]+", one.guide)
    if one.default is not None and not one.secret:
        assert one.parse(one.kind.show(one.default)) == one.default
    assert one.described()["schema"]


def test_an_unknown_name_gets_the_nearest():
    """A slip of the finger is answered with what was meant."""
    with pytest.raises(BadRequest, match="did you mean max_channels"):
        field_of("max_chanels")
    with pytest.raises(BadRequest, match="twice"):
        parsed(["CanDial=1", "can_dial=0"])


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("credit=12.5", 12_500_000),
        ("credit=-0.000001", -1),
        ("discount=7.25", "7.25"),
        ("CanDial=yes", True),
        ("CanDial=", False),
        ("type=reseller", 4),
        ("type=4", 4),
        ("credit_expires_at=2026-12-31", "2026-12-31T00:00:00+00:00"),
        ("credit_expires_at=2026-12-31T12:00:00+02:00", "2026-12-31T10:00:00+00:00"),
        ("credit_expires_at=", None),
        ("enabled_prefixes= 36, 49,36", "36,49"),
        ("enabled_prefixes=*", "*"),
        ("phone_number=+36 (1) 555-01.00", "3615550100"),
        ("port=", None),
        ("port=5060", 5060),
        ("currency=eur", "EUR"),
        ("parent_id=#12", "#12"),
        ("parent_id=", None),
    ],
)
def test_values_as_people_write_them(word, value):
    """Each kind takes the usual ways of writing."""
    assert list(parsed([word]).values()) == [value]


@pytest.mark.parametrize(
    "word",
    [
        "credit=1.0000001",
        "credit=NaN",
        "credit=1e30",
        "credit=x",
        "discount=101",
        "discount=1.234",
        "CanDial=2",
        "type=99",
        "credit_expires_at=tomorrow",
        "enabled_prefixes=36,*",
        "enabled_prefixes=36;49",
        "allowed_partners=a b",
        "allowed_partners=#x",
        "allowed_partners=@",
        "allowed_partners=a,*",
        "ring_group=*",
        "port=0",
        "port=65536",
        "max_channels=-1",
        "max_channels=٣",
        "currency=EURO",
        "domain_name=a b",
        "display_name=a\x00b",
        "parent_id=#x",
        "parent_id=a b",
        "billing_day=29",
    ],
)
def test_values_out_of_bounds_are_refused(word):
    """The field is named, and what it wants."""
    with pytest.raises(BadRequest, match=field_of(word.partition("=")[0]).name):
        parsed([word])


def test_a_secret_is_not_repeated():
    """Not even when it is wrong."""
    with pytest.raises(BadRequest) as caught:
        parsed(["pin=" + "4711\x00"])
    assert "4711" not in str(caught.value)


#: What has broken converters elsewhere: times out of the calendar, numbers out of bounds, digits of others.
ODD = st.one_of(
    st.sampled_from(
        [
            "9999-12-31T23:59:59-14:00",
            "0001-01-01T00:00:00+14:00",
            "9e999999",
            "-9e999999",
            "1e-999999",
            "sNaN",
            "Infinity",
            "\ud800",
            "\x00",
            "9" * 5000,
            "fe80::1%eth0",
            "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "1.2.3.4/99",
        ]
    ),
    st.datetimes(timezones=st.timezones()).map(str),
    st.text("0123456789eE+-.,:/*#@_ \uff11\u0663%ab", max_size=40),
    st.text(),
)


@given(
    st.sampled_from((*FIELDS, *SIP_FIELDS)),
    st.one_of(
        ODD,
        st.integers(),
        st.booleans(),
        st.none(),
        st.floats(),
        st.lists(st.one_of(ODD, st.integers(), st.none())),
        st.dictionaries(st.text(), st.text()),
    ),
)
def test_whatever_is_given_is_a_value_or_refused(one, given):
    """By the API or in a file: never another error; and what is taken is taken again as it is shown."""
    try:
        value = one.accept(given)
    except MizuError:
        return
    if not one.secret:
        assert one.parse(one.kind.show(value) if one.kind.name != "account" else str(value or "")) == value


@pytest.mark.parametrize("text", ["1_000", "\uff11", "1e3", "\u0663", "1.", ".5", "+2.50"])
def test_amounts_are_decimal_numbers(text):
    """Plain ones, in the digits that everybody reads; nothing is read into anything else."""
    if text in ("1.", ".5", "+2.50"):
        assert parsed([f"credit={text}"]) == {"credit": int(float(text) * 1_000_000)}
        assert parsed([f"discount={text}"]) == {"discount_percent": f"{float(text):.2f}"}
        return
    for name in ("credit", "discount"):
        with pytest.raises(BadRequest):
            parsed([f"{name}={text}"])


def test_json_values_mean_what_they_say():
    """Numbers are ids for accounts, text is a username; lists are lists."""
    assert [field_of("parent_id").accept(one) for one in (12, 12.0, "12", None)] == ["#12", "#12", "12", None]
    assert field_of("allowed_partners").accept([1, "2", "@cheap"]) == "#1,2,@cheap"
    assert field_of("ring_group").accept(7) == "#7"
    assert field_of("can_dial").accept(True) is True
    assert field_of("credit").accept("1.50") == field_of("credit").accept(1.5) == 1_500_000


@pytest.mark.parametrize("given", [True, False, 4711, ["4711"], {}], ids=str)
@pytest.mark.parametrize("name", ["pin", "password"])
def test_only_text_is_a_secret(name, given):
    """What the API shows of one, whether it is set, does not become one; a number has lost its zeros."""
    with pytest.raises(BadRequest, match="want text, or null") as caught:
        field_of(name).accept(given)
    assert "4711" not in str(caught.value)
    assert field_of("pin").accept("0815") == "0815"
    assert field_of("pin").accept(None) == ""


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("parent_id", True),
        ("enabled", None),
        ("parent_id", [1]),
        ("display_name", True),
        ("type", True),
        ("max_channels", [3]),
    ],
)
def test_json_of_another_type_is_refused(name, given):
    """True is no account called 1."""
    with pytest.raises(BadRequest, match=name):
        field_of(name).accept(given)


@pytest.mark.parametrize("one", FIELDS, ids=lambda one: one.name)
def test_each_field_is_a_documented_column(one):
    """The table in the database has it, with a comment that names the original's spelling."""
    if one.in_contact or one.name == "password":
        return
    schema = "".join(path.read_text() for path in sorted(SCHEMA.glob("*.sql")))
    assert f"COMMENT ON COLUMN account.{one.stored_as} IS" in schema


def test_the_depth_of_the_tree_is_the_same_here_and_there():
    """The database's default for ``maxresellers`` is the option's."""
    sql = (SCHEMA / "0002_accounts.sql").read_text()
    assert f"coalesce(levels, {OPTIONS['maxresellers'].default})" in sql


# ------------------------------------------------------------ who may change what


@pytest.mark.parametrize("one", FIELDS, ids=lambda one: one.name)
def test_what_each_kind_of_operator_changes(one):
    """Staff all but what the server sets; owners what is below them; for their own account very little."""
    values = {one.name: one.default}
    allowed = {"server": (0, 0, 0), "staff": (1, 0, 0), "owner": (1, 1, 0), "self": (1, 1, 1)}[one.changed_by]
    for may, (scope, account_id) in zip(allowed, [(None, 5), (7, 5), (7, 7)], strict=True):
        if one.name == "parent_id" and scope is not None:
            continue
        if may:
            check_change(scope, account_id, values)
        else:
            with pytest.raises((Forbidden, BadRequest)):
                check_change(scope, account_id, values)


def test_a_clone_brings_nothing_that_its_maker_could_not_give():
    """A reseller who copies an account of staff's making gets no trust, money or priority with it."""
    for one in FIELDS:
        if may_clone(7, one.name) and one.name != "parent_id":
            check_new(7, {one.name: one.default})
        assert may_clone(None, one.name) or not may_clone(7, one.name)
    assert not may_clone(7, "trusted_identity")
    assert not may_clone(None, "credit")
