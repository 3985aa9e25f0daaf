"""Dialogs: identifiers, sequence numbers, routes, and their way through JSON."""

import json

import pytest

from mizu.sip.dialog import Dialog, is_loose, uri_in
from mizu.sip.message import Request
from mizu.sip.parser import BadMessage

ROUTES = [
    ("Record-Route", "<sip:p2.example;lr>"),
    ("Record-Route", "<sip:p1.example;lr>, <sip:p0.example;lr>"),
]


def invite(*more: tuple[str, str]) -> Request:
    fields = [
        ("From", '"A, B" <sip:a@x>;tag=f'),
        ("To", "<sip:b@y>"),
        ("Call-ID", "c1"),
        ("CSeq", "7 INVITE"),
        ("Contact", "<sip:a@10.0.0.2:5070;transport=tcp>;expires=60"),
    ]
    return Request("INVITE", "sip:b@y", [*fields, *more])


def test_the_called_side() -> None:
    """RFC 3261 12.1.1: the route set in the order it came, the peer's Contact as target."""
    dialog = Dialog.as_uas(invite(*ROUTES), "l")
    assert dialog.routes == ("<sip:p2.example;lr>", "<sip:p1.example;lr>", "<sip:p0.example;lr>")
    assert (dialog.target, dialog.remote_tag, dialog.remote_cseq) == (
        "sip:a@10.0.0.2:5070;transport=tcp",
        "f",
        7,
    )
    bye = dialog.request("BYE")
    assert bye.get("from") == "<sip:b@y>;tag=l"
    assert bye.get("to") == '"A, B" <sip:a@x>;tag=f'
    assert (bye.uri, str(bye.cseq)) == (dialog.target, "1 BYE")
    assert dialog.next_hop() == "sip:p2.example;lr"


def test_the_calling_side() -> None:
    """RFC 3261 12.1.2: the route set reversed, CSeq goes on from the INVITE's."""
    request = invite()
    response = request.reply(200, to_tag="r", fields=[*ROUTES, ("Contact", "sip:b@10.0.0.3;x=y")])
    dialog = Dialog.as_uac(request, response, "f")
    assert dialog.routes == ("<sip:p0.example;lr>", "<sip:p1.example;lr>", "<sip:p2.example;lr>")
    assert dialog.target == "sip:b@10.0.0.3"  # without <> the parameters are the header's (20.10)
    assert str(dialog.request("INFO").cseq) == "8 INFO"
    assert str(dialog.request("ACK", cseq=7).cseq) == "7 ACK"
    assert str(dialog.request("BYE").cseq) == "9 BYE"


def test_a_strict_router() -> None:
    """RFC 3261 12.2.1.1: it becomes the Request-URI, the target goes to the end of the route."""
    dialog = Dialog.as_uas(invite(("Record-Route", "<sip:old.example>"), ("Record-Route", "<sip:p;lr>")), "l")
    request = dialog.request("BYE")
    assert request.uri == "sip:old.example"
    assert request.get_all("route") == ["<sip:p;lr>", "<sip:a@10.0.0.2:5070;transport=tcp>"]


def test_sequence_numbers_of_the_peer() -> None:
    """RFC 3261 12.2.2: rising, with gaps; anything else is out of order."""
    dialog = Dialog.as_uas(invite(), "l")

    def with_cseq(number: int) -> Request:
        return Request("INFO", "sip:x", [("CSeq", f"{number} INFO")])

    assert dialog.in_order(with_cseq(8))
    assert not dialog.in_order(with_cseq(8))
    assert not dialog.in_order(with_cseq(3))
    assert dialog.in_order(with_cseq(100))


def test_a_target_refresh() -> None:
    """A new Contact moves the target; none, or one nobody can read, leaves it."""
    dialog = Dialog.as_uas(invite(), "l")
    dialog.refresh_target(Request("INVITE", "sip:x", [("Contact", "<sip:a@new>")]))
    assert dialog.target == "sip:a@new"
    for broken in ([], [("Contact", "<>")], [("Contact", '"x')]):
        dialog.refresh_target(Request("UPDATE", "sip:x", broken))
        assert dialog.target == "sip:a@new"


def test_a_dialog_survives_json() -> None:
    """What is written with the answered call rebuilds the very same dialog."""
    dialog = Dialog.as_uas(invite(*ROUTES), "l")
    dialog.request("BYE")
    again = Dialog.from_json(json.loads(dialog.to_json()))
    for name in ("call_id", "local", "local_tag", "remote", "remote_tag", "target", "routes"):
        assert getattr(again, name) == getattr(dialog, name)
    assert (again.local_cseq, again.remote_cseq) == (dialog.local_cseq, dialog.remote_cseq)


def test_an_invite_without_contact_makes_no_dialog() -> None:
    """It could never be answered in the dialog."""
    request = invite()
    request.remove("contact")
    with pytest.raises(BadMessage):
        Dialog.as_uas(request, "l")


@pytest.mark.parametrize(
    ("value", "uri"),
    [
        ("<sip:a@b>", "sip:a@b"),
        ("sip:a@b", "sip:a@b"),
        ("Bob <sip:a@b;x=y>;q=1", "sip:a@b;x=y"),
        ('"<sip:fake@evil>" <sip:a@b>', "sip:a@b"),
    ],
)
def test_the_uri_of_a_value(value: str, uri: str) -> None:
    """Quotes and angle brackets are respected: a display name is no address."""
    assert uri_in(value) == uri


def test_loose_routing_is_a_parameter_not_a_text() -> None:
    """``;lr`` counts only as a parameter of the URI."""
    assert is_loose("<sip:p;lr>")
    assert is_loose("<sip:p;lr=on;x>")
    assert not is_loose("<sip:p>;lr")
    assert not is_loose("<sip:p;lrx>")
