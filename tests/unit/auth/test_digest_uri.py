"""The digest ``uri`` against the Request-URI."""

import pytest

from mizu.auth.uri_match import digest_uri_fits


@pytest.mark.parametrize(
    ("digest_uri", "request_uri"),
    [
        ("sip:mizu.test", "sip:mizu.test"),
        ("sip:MIZU.test", "sip:mizu.test"),
        ("sip:mizu.test", "sip:mizu.test:5060"),
        ("sip:mizu.test;transport=tcp", "sip:mizu.test"),
        ("sips:mizu.test:5061", "sips:mizu.test"),
        ("sip:100@mizu.test;user=phone", "sip:100@mizu.test"),
        ("sip:%31%30%30@mizu.test", "sip:100@mizu.test"),
        ("sip:[::1]:5060", "sip:[::1]"),
        ("tel:+36123", "tel:+36123"),
    ],
)
def test_the_same_target_in_other_words_fits(digest_uri: str, request_uri: str) -> None:
    """Phones and proxies write the same URI in different ways."""
    assert digest_uri_fits(digest_uri, request_uri)


@pytest.mark.parametrize(
    ("digest_uri", "request_uri"),
    [
        ("sip:100@mizu.test", "sip:200@mizu.test"),
        ("sip:mizu.test", "sip:100@mizu.test"),
        ("sip:Alice@mizu.test", "sip:alice@mizu.test"),
        ("sip:mizu.test", "sip:other.test"),
        ("sip:mizu.test:5062", "sip:mizu.test"),
        ("sip:mizu.test", "sips:mizu.test"),
        ("tel:+36123", "sip:+36123@mizu.test"),
        ("tel:+36123", "tel:+36124"),
        ("", "sip:mizu.test"),
        ("/dir/index.html", "sip:mizu.test"),
        ("sip:", "sip:mizu.test"),
        ("\0", "sip:mizu.test"),
    ],
)
def test_C4_another_target_does_not_fit(digest_uri: str, request_uri: str) -> None:
    """A proof captured for one number is no proof for another; what cannot be read is no proof at all."""
    assert not digest_uri_fits(digest_uri, request_uri)
