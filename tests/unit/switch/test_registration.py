"""The short way of the usual refresh and the full way of everything else come to the same bindings."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.errors import MizuError
from mizu.model import Account, Binding
from mizu.sip.message import Request
from mizu.switch import registration
from mizu.switch.registration import Outcome, RegistrationRules, apply_register
from mizu.testing import RecordedFlow

NOW_S = 1_700_000_000.0
ACCOUNT = Account(7, "alice")
BEFORE = Binding(
    7, "alice", "sip:alice@192.0.2.1:5070", NOW_S + 50, "c1", 5, received_host="10.0.0.2", received_port=5060
)

BINDINGS = st.sampled_from(
    [
        (),
        (BEFORE,),
        (BEFORE._replace(account_id=6, user_agent="Phone 1"),),
        (BEFORE._replace(reg_id=1, instance_id="urn:uuid:1"),),
        (BEFORE._replace(q_milli=500, path=("<sip:p@h;lr>",)),),
        (BEFORE._replace(expires_at_s=NOW_S - 1),),
        (BEFORE, BEFORE._replace(contact="sip:alice@192.0.2.9")),
    ]
)
CONTACTS = st.lists(
    st.sampled_from(
        [
            "<sip:alice@192.0.2.1:5070>",
            "<sip:ALICE@192.0.2.1:5070>",
            "sip:alice@192.0.2.1:5070;expires=90",
            "<sip:alice@192.0.2.1:5070>;expires=0",
            "<sip:alice@192.0.2.1:5070>;expires=5",
            "<sip:alice@192.0.2.1:5070>;expires=x;q=0.2",
            '<sip:alice@192.0.2.1:5070>;+sip.instance="<urn:uuid:1>";reg-id=1',
            "<sip:alice@192.0.2.77>",
            "*",
        ]
    ),
    max_size=2,
)
MORE = st.sets(
    st.sampled_from(
        [
            ("Expires", "120"),
            ("Expires", "0"),
            ("Expires", "99999999"),
            ("User-Agent", "Phone 1"),
            ("Path", "<sip:p@h;lr>"),
            ("Supported", "path, outbound"),
        ]
    ),
    max_size=3,
)


def outcome_of(request: Request, old: tuple[Binding, ...], echo_contact: int) -> Any:
    try:
        return apply_register(
            request,
            RecordedFlow(),
            ACCOUNT,
            old,
            settings=RegistrationRules(echo_contact=echo_contact),
            now_s=NOW_S,
            is_self=lambda host, port: False,
        )
    except MizuError as refusal:
        return (refusal.code, refusal.sip_status, str(refusal))


@given(
    old=BINDINGS,
    contacts=CONTACTS,
    more=MORE,
    call_id=st.sampled_from(["c1", "c2", "c" * 600]),
    cseq=st.integers(4, 7),
    echo_contact=st.integers(0, 3),
)
def test_both_ways_end_the_same(
    old: tuple[Binding, ...],
    contacts: list[str],
    more: set[tuple[str, str]],
    call_id: str,
    cseq: int,
    echo_contact: int,
) -> None:
    """Whatever is registered and whatever a phone asks for."""
    fields = [
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} REGISTER"),
        ("Via", "SIP/2.0/UDP 10.0.0.2"),
        *[("Contact", contact) for contact in contacts],
        *sorted(more),
    ]
    request = Request("REGISTER", "sip:mizu.test", fields)
    with pytest.MonkeyPatch.context() as patch:
        short = outcome_of(request, old, echo_contact)
        patch.setattr(registration, "_refreshed", lambda *_: None)
        assert outcome_of(request, old, echo_contact) == short


def test_the_usual_refresh_goes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would compare the full way with itself."""
    monkeypatch.setattr(registration, "_Update", None)
    fields = [
        ("Contact", "<sip:alice@192.0.2.1:5070>"),
        ("Expires", "120"),
        ("Call-ID", "c1"),
        ("CSeq", "6 REGISTER"),
    ]
    outcome = outcome_of(Request("REGISTER", "sip:mizu.test", fields), (BEFORE,), 2)
    assert isinstance(outcome, Outcome)
    assert outcome.changed
    assert [binding.expires_at_s for binding in outcome.bindings] == [NOW_S + 120]
