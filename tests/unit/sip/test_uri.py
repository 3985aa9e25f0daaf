"""URIs: parse, print, compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.sip.grammar import BadMessage
from mizu.sip.uri import OtherUri, SipUri, TelUri, parse_uri, plain_sip_uri


def test_the_parts_of_a_sip_uri() -> None:
    """RFC 3261 19.1.1."""
    uri = SipUri.parse(
        "SIPS:al%69ce;x=1?/:pass%20word@[2001:DB8::1]:5061;transport=TCP;lr;n%61me=%41?Subject=a%20b&p=q"
    )
    assert (uri.scheme, uri.user, uri.password) == ("sips", "alice;x=1?/", "pass word")
    assert (uri.host, uri.port) == ("2001:DB8::1", 5061)
    assert uri.params == {"transport": "TCP", "lr": None, "name": "A"}
    assert uri.transport == "tcp"
    assert uri.headers == "Subject=a%20b&p=q"
    assert "word" not in repr(uri)


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@example.com",
        "sip:alice:secret@example.com;transport=tcp",
        "sips:1212@gateway.example.com",
        "sip:example.com:5080",
        "sip:+1-212-555-1212:1234@gateway.com;user=phone",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
        "sip:alice;day=tuesday@atlanta.com",
        "sip:%00@[::ffff:192.0.2.1]:1",
        "sip:caf%C3%A9@example.com;lr;ob",
    ],
)
def test_printing_gives_what_was_parsed(text: str) -> None:
    """Examples of RFC 3261 19.1.3 and more."""
    assert str(SipUri.parse(text)) == text
    assert str(parse_uri(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        "sip:@h",
        "sip:a@",
        "sip:a@b@c",
        "sip:a b@h",
        "sip:a@h ",
        "sip:a%4@h",
        "sip:a@h;",
        "sip:a@h;;x",
        "sip:a@h;x=1;X=2",
        "sip:a@h:99999",
        "sip:a@2001:db8::1",
        "sip:a@[2001:db8::1",
        "sip:<a>@h",
        "http:a@h",
        'sip:"a"@h',
        "sip:a\x00@h",
    ],
)
def test_malformed_sip_uris(text: str) -> None:
    """BadMessage, with 400."""
    with pytest.raises(BadMessage) as caught:
        SipUri.parse(text)
    assert caught.value.sip_status == 400


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("tel:+1-212-555", "tel:+1212555"),
        ("urn:x:y", "urn:x:y"),
    ],
)
def test_equal_uris(one: str, two: str) -> None:
    """RFC 3261 19.1.4, first list."""
    assert parse_uri(one).equals(parse_uri(two))
    assert parse_uri(two).equals(parse_uri(one))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@h", "sips:a@h"),
        ("sip:a@h", "sip:a:p@h"),
        ("sip:a@h;user=phone", "sip:a@h"),
        ("tel:1", "tel:1;phone-context=x"),
        ("tel:1", "sip:1@h"),
        ("urn:x", "urn:y"),
    ],
)
def test_different_uris(one: str, two: str) -> None:
    """RFC 3261 19.1.4, second list."""
    assert not parse_uri(one).equals(parse_uri(two))
    assert not parse_uri(two).equals(parse_uri(one))


def test_tel_uris() -> None:
    """RFC 3966."""
    uri = parse_uri("TEL:+1-201-555-0123;ext=12;phone-context=x")
    assert isinstance(uri, TelUri)
    assert (uri.scheme, uri.user, uri.number, uri.host) == ("tel", "+1-201-555-0123", "+12015550123", "")
    assert uri.params == {"ext": "12", "phone-context": "x"}
    assert str(uri) == "tel:+1-201-555-0123;ext=12;phone-context=x"
    for text in ("tel:", "tel:--", "tel: 1"):
        with pytest.raises(BadMessage):
            parse_uri(text)


def test_other_schemes_are_kept_as_text() -> None:
    """So that they can be answered 416."""
    uri = parse_uri("Soap.Beep://192.0.2.103:3002")
    assert isinstance(uri, OtherUri)
    assert (uri.scheme, uri.host, uri.user, uri.params) == ("soap.beep", "", "", {})
    assert str(uri) == "Soap.Beep://192.0.2.103:3002"
    for text in ("nothing", ":x", "1a:x", "x:", "x:a b"):
        with pytest.raises(BadMessage):
            parse_uri(text)


def test_malformed_escapes_in_uri_headers_hurt_nobody() -> None:
    """They are kept as text; a URI with them equals itself and no other."""
    uri = SipUri.parse("sip:a@h?x=%zz")
    assert uri.equals(SipUri.parse("sip:a@h?x=%zz"))
    assert not uri.equals(SipUri.parse("sip:a@h?x=zz"))
    assert repr(parse_uri("tel:1")) == "<TelUri 1>"
    assert repr(parse_uri("urn:x")) == "<OtherUri urn:x>"


@given(
    user=st.text(min_size=1, max_size=20),
    password=st.none() | st.text(max_size=10),
    host=st.sampled_from(["example.com", "192.0.2.1", "2001:db8::1"]),
    port=st.none() | st.integers(0, 65535),
    params=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), st.none() | st.text(max_size=8), max_size=3
    ),
)
def test_any_text_survives_escaping(
    user: str, password: str | None, host: str, port: int | None, params: dict[str, str | None]
) -> None:
    """A user name may hold anything: what is printed is legal and parses to the same."""
    uri = SipUri("sip", user, password, host, port, params)
    again = SipUri.parse(str(uri))
    assert (again.user, again.password, again.host, again.port) == (user, password, host, port)
    assert again.params == params
    assert str(again) == str(uri)


@given(st.text(max_size=60) | st.text('sip:@;?=%[]<>"ab1. ', max_size=30).map(lambda text: "sip:" + text))
def test_only_bad_message_is_raised(text: str) -> None:
    """Whatever the text."""
    try:
        uri = parse_uri(text)
    except BadMessage:
        return
    assert parse_uri(str(uri)).equals(uri)


@given(st.from_regex(r"sips?:[a-zA-Z0-9_.+@:;=-]{1,20}@?[a-zA-Z0-9_.:;=-]{0,20}", fullmatch=True))
def test_what_looks_plain_is_a_uri_without_a_closer_look(text: str) -> None:
    """Senders of such URIs are let through on their looks: all of them must be SIP URIs."""
    if plain_sip_uri(text):
        assert parse_uri(text).scheme == "sip"


@pytest.mark.parametrize("text", ["sip:1001@192.0.2.1:5060", "sip:a.b@h", "sip:a@h;transport=tcp"])
def test_what_phones_send_looks_plain(text: str) -> None:
    """Nearly every Contact is one of these."""
    assert plain_sip_uri(text)


@pytest.mark.parametrize(
    "text", ["sip:a@h:99999", "sip:a@-h", "sip:a@h;x=1;x=2", "sip:a@h?x", "sip:@h", "tel:1"]
)
def test_what_needs_a_closer_look_is_not_plain(text: str) -> None:
    """Some of them are good, some not."""
    assert not plain_sip_uri(text)
