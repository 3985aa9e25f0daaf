"""What a user part stands for: a telephone number, a name, or nothing."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mizu.sip.grammar import BadMessage
from mizu.sip.numbers import NUMBER_CHARS_MAX, called_text, caller_text, is_name, is_number
from mizu.sip.uri import SipUri, parse_uri


@pytest.mark.parametrize(
    ("uri", "called"),
    [
        ("sip:3615550100@x", "3615550100"),
        ("sip:+3615550100@x", "+3615550100"),
        ("sip:+36-1-555.01(00)@x", "+3615550100"),
        ("sip:%2B36%201%20555@x", "+361555"),
        ("sip:%33%36@x", "36"),
        ("sips:+361@x;user=phone", "+361"),
        ("tel:+36-1-555", "+361555"),
        ("tel:361;phone-context=example.com", "361"),
        ("tel:361;ext=5;isub=9", "361"),
        ("sip:+361;phone-context=+36@x;user=phone", "+361"),
        ("sip:+361;ext=5;rn=+3620;npdi@x", "+361"),
        ("sip:+12125551212;verstat=TN-Validation-Passed@x", "+12125551212"),
        ("tel:+361;x-of-tomorrow=1;y", "+361"),
        ("sip:1;x=900555111@x", "1"),
        ("sip:*43@x", "*43"),
        ("sip:%2331%23361@x", "#31#361"),
        ("sip:777%23+361@x", "777#+361"),
        ("sip:alice@x", "alice"),
        ("sip:a%40b@x", "a@b"),
        ("sip:a-b.c@x", "a-b.c"),
        ("sip:jos%C3%A9@x", "josé"),
        ("sip:1-2a@x", "1-2a"),
    ],
)
def test_a_number_has_no_separators_and_no_parameters(uri, called):
    """RFC 3966: what people put between digits and what is said about a number is no part of it."""
    assert called_text(parse_uri(uri)) == called


@pytest.mark.parametrize(
    "uri",
    [
        "sip:x",
        "mailto:x@y",
        "sip:1;900@x",
        "sip:1;900=5@x",
        "sip:1;ext=5;900@x",
        "sip:1%3B900555111@x",
        "sip:1/900@x",
        "sip:1,900@x",
        "sip:1%2C900@x",
        "sip:1?900@x",
        "sip:1%25900@x",
        "sip:1%22900@x",
        "sip:1%0D%0A900@x",
        "sip:1%00900@x",
        "sip:1%09900@x",
        "sip:1%7F900@x",
        "sip:1%C2%85900@x",
        "sip:1%C2%A0900@x",
        "sip:1%C2%AD900@x",
        "sip:1%E2%80%8B900@x",
        "sip:1%E2%80%AE900@x",
        "sip:1%EF%BB%BF900@x",
        "sip:1%E3%85%A4900@x",
        "sip:1%FF900@x",
        "sip:%D9%A1%D9%A9@x",  # Arabic-Indic digits
        "sip:%EF%BC%91%EF%BC%99@x",  # fullwidth digits
        "sip:%C2%B2@x",
        "sip:a%20b@x",
        "tel:1p900",
        "tel:1A900",
        "tel:alice",
        "tel:1~900",
        "tel:%D9%A1",
        "sip:" + "1" * 257 + "@x",
        "sip:" + "a" * 257 + "@x",
    ],
)
def test_c9_nobody_can_be_called_that(uri):
    """C9: control characters, what does not show, other scripts' digits, and what separates lists."""
    assert called_text(parse_uri(uri)) == ""


@pytest.mark.parametrize(
    "text", ["1~900", "1p900", "1w900", "1A900", "1!900", "1+900", "+", "++1", "+1+2", "", "1 2", "1\n"]
)
def test_what_is_no_number(text):
    """It may be a name; it is never sent to a carrier."""
    assert not is_number(text)


def test_a_tech_prefix_stands_before_the_number():
    """Of who is known by it, with a plus sign behind it or none."""
    for number in ("777#+361", "777#361", "+361", "361"):
        assert is_number(number, "777#")
    assert not is_number("777#+361")
    assert not is_number("777#+3+61", "777#")
    assert not is_number("777#", "777#")


def test_a_number_has_an_end():
    """Longer ones are names of nobody."""
    assert is_number("1" * NUMBER_CHARS_MAX)
    assert not is_number("1" * (NUMBER_CHARS_MAX + 1))
    assert called_text(SipUri("sip", "1" * (NUMBER_CHARS_MAX + 1) + "-", None, "x")).endswith("-")


@pytest.mark.parametrize(
    ("uri", "caller"),
    [
        ("sip:+36-1-555@x", "+36-1-555"),
        ("sip:+361;cpc=payphone@x", "+361"),
        ("tel:+36-1;ext=5", "+36-1"),
        ("sip:alice@x", "alice"),
        ("sip:100-1@x", "100-1"),
        ("sip:1%0D%0AFrom:%20x@x", ""),
        ("sip:1%00@x", ""),
        ("sip:1%E2%80%8B2@x", ""),
        ("sip:%D9%A1@x", ""),
        ("sip:1,2@x", ""),
        ("urn:service:sos", ""),
    ],
)
def test_who_calls_is_shown_as_written_or_not_at_all(uri, caller):
    """Nothing else than a number or a name is passed on as the caller."""
    assert caller_text(parse_uri(uri)) == caller


@given(st.text(max_size=70))
@example("1\u0661")
def test_a_number_is_ascii(text):
    """Whatever the text: what counts as a number has a plus sign at most at its front, then these alone."""
    allowed = set(string.digits + "*#")
    digits = text.removeprefix("+")
    assert is_number(text) == (0 < len(digits) <= NUMBER_CHARS_MAX and set(digits) <= allowed)


@given(st.text(max_size=40))
def test_a_number_and_a_name_survive_the_wire(text):
    """What was found in a user part and is sent as one is found there again, the same."""
    try:
        called = called_text(parse_uri(str(SipUri("sip", text, None, "x"))))
    except BadMessage:
        return
    if called:
        assert called_text(parse_uri(str(SipUri("sip", called, None, "x")))) == called
        assert is_number(called) or is_name(called)
