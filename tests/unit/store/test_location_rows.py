"""How registrations are written down."""

from dataclasses import asdict

from mizu.model import Binding
from mizu.store.locations import bindings_of, row_of

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


def test_what_is_written_is_read_back_whole():
    """Also where a binding has the usual values, which are left out."""
    aor, expires_at_s, stored = row_of("alice", [PLAIN, FULL])
    assert (aor, expires_at_s) == ("alice", 2000.0)
    assert "proto" not in stored[0]
    assert bindings_of("alice", stored) == [PLAIN, FULL]


def test_rows_with_every_field_are_read():
    """As versions wrote them that left nothing out."""
    whole = {name: value for name, value in asdict(PLAIN).items() if name != "aor"}
    assert bindings_of("alice", [whole | {"path": []}]) == [PLAIN]


def test_nobody_registered_is_a_row_without_bindings():
    """It takes the address of record out of the table."""
    assert row_of("alice", []) == ["alice", None, None]
