"""How registrations are written down."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mizu.model import Binding
from mizu.store.binding_rows import bindings_of, row_of, text_of
from mizu.store.text import json_text

PLAIN = Binding(7, "alice", "sip:alice@192.0.2.1", 1000.5, "c1", 3)
FULL = Binding(
    account_id=7,
    aor="alice",
    contact="sip:alice@192.0.2.1",
    expires_at_s=2000.0,
    call_id="c2",
    cseq=9,
    q_milli=500,
    path=("<sip:p.example;lr>",),
    proto="tls",
    received_host="198.51.100.1",
    received_port=40000,
    local="tls:192.0.2.9:5061",
    user_agent="Phone",
    instance_id="urn:uuid:1",
    reg_id=1,
)


EVERY_FIELD = set(Binding.__match_args__) - {"aor"}

texts = st.text(max_size=8)
numbers = st.integers(0, 2**31)
bindings = st.builds(
    Binding,
    account_id=numbers,
    aor=st.just("alice"),
    contact=texts,
    expires_at_s=st.floats(0, 1e10),
    call_id=texts,
    cseq=numbers,
    q_milli=st.integers(0, 1000),
    path=st.lists(texts, max_size=2).map(tuple),
    proto=st.sampled_from(["udp", "tcp"]),
    received_host=texts,
    received_port=numbers,
    local=texts,
    user_agent=texts,
    instance_id=texts,
    reg_id=numbers,
)


def test_what_is_written_is_read_back_whole() -> None:
    """Also where a binding has the usual values, which are left out."""
    aor, expires_at_s, stored = json.loads(text_of({"alice": [PLAIN, FULL]}))[0]
    assert (aor, expires_at_s) == ("alice", 2000.0)
    assert "proto" not in stored[0]
    assert stored[1].keys() == EVERY_FIELD
    assert bindings_of("alice", stored) == [PLAIN, FULL]


@given(st.dictionaries(texts, st.lists(bindings, max_size=3), max_size=3))
def test_the_text_is_the_json_of_the_rows(states: dict[str, list[Binding]]) -> None:
    """Whatever is in the fields; what PostgreSQL does not take is replaced in both."""
    rows = [row_of(aor, bound) for aor, bound in states.items()]
    assert json.loads(text_of(states)) == json.loads(json_text(rows))


def test_rows_with_every_field_are_read() -> None:
    """As versions wrote them that left nothing out; a field of a later version is left out."""
    whole: dict[str, Any] = {name: getattr(PLAIN, name) for name in EVERY_FIELD}
    assert bindings_of("alice", [whole | {"path": [], "colour": "red"}]) == [PLAIN]


def test_nobody_registered_is_a_row_without_bindings() -> None:
    """It takes the address of record out of the table."""
    assert text_of({"alice": []}) == '[["alice",null,null]]'
