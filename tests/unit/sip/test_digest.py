"""Digest values: made, read, checked, answered (RFC 7616, RFC 8760)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.sip.digest import (
    ALGORITHMS,
    Credentials,
    UnsupportedChallenge,
    answer_challenge,
    challenge,
    check,
    expected_response,
    ha1,
    parse_challenge,
    parse_credentials,
    strongest,
)

pytestmark = pytest.mark.usefixtures("implementation")  # compiled and in Python

RFC7616 = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={algorithm}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{response}", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_are_right(algorithm: str, response: str) -> None:
    """RFC 7616 3.9.1: both responses are what this password gives, and no other password does."""
    credentials = parse_credentials(RFC7616.format(algorithm=algorithm, response=response))
    assert credentials is not None
    assert credentials.nc == 1
    right = ha1("Mufasa", "http-auth@example.org", "Circle of Life", algorithm)
    wrong = ha1("Mufasa", "http-auth@example.org", "Circle of life", algorithm)
    assert check(credentials, "GET", right)
    assert not check(credentials, "GET", wrong)
    assert not check(credentials, "POST", right)


def test_a_reply_without_qop_is_computed_as_rfc_2069_says() -> None:
    """RFC 2617 3.5's values without qop, nc and cnonce."""
    credentials = Credentials(
        "Mufasa", "testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "/dir/index.html", ""
    )
    secret = ha1("Mufasa", "testrealm@host.com", "Circle Of Life")
    assert expected_response(credentials, "GET", secret) == "670fd8c2df070c60b045671b8b24ff02"


def test_upper_case_hex_is_the_same_response() -> None:
    """Some phones write hexadecimal digits in upper case."""
    credentials = parse_credentials(
        RFC7616.format(algorithm="md5", response="8CA523F5E9506FED4657C9700EEBDBEC")
    )
    assert credentials is not None
    assert credentials.algorithm == "MD5"
    assert check(credentials, "GET", ha1("Mufasa", "http-auth@example.org", "Circle of Life"))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Digest",
        "Digest ",
        "Basic dXNlcjpwYXNz",
        'Digest username="a", realm="r", nonce="n", uri="sip:x"',
        'Digest username="a", realm="r", nonce="n", response="0"',
        'Digest username="a", username="b", realm="r", nonce="n", uri="sip:x", response="0"',
        'Digest username="a", Username="b", realm="r", nonce="n", uri="sip:x", response="0"',
        'Digest username="a, realm="r", nonce="n", uri="sip:x", response="0',
        'Digestusername="a", realm="r", nonce="n", uri="sip:x", response="0"',
        'Digest username="a", realm="r", nonce="n", uri="sip:x", response="0", x="' + "y" * 5000 + '"',
    ],
)
def test_what_is_not_one_complete_set_of_credentials_is_none(value: str) -> None:
    """Incomplete, ambiguous, oversized or foreign values count as no credentials at all."""
    assert parse_credentials(value) is None


def test_spaces_and_order_and_case_do_not_matter() -> None:
    """Parameter names in any case, in any order, with any spaces."""
    credentials = parse_credentials(
        'digest  RESPONSE="00" ,Uri="sip:x" , nonce = "n",realm="r", QOP="auth",NC=0000000a,username="a\\"b"'
    )
    assert credentials is not None
    assert (credentials.username, credentials.uri, credentials.qop, credentials.nc) == (
        'a"b',
        "sip:x",
        "auth",
        10,
    )


@pytest.mark.parametrize(
    "nc",
    [
        "",
        "1",
        "0000000g",
        "000000001",
        "-0000001",
        "0x000001",
        "\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0661",
    ],
)
def test_a_malformed_nonce_count_is_zero(nc: str) -> None:
    """Only eight hexadecimal digits are a nonce count."""
    assert Credentials("a", "r", "n", "u", "0", nc_text=nc).nc == 0


@given(st.text())
def test_no_text_makes_the_parser_raise(text: str) -> None:
    """Garbage is an answer (``None``), never an error."""
    parse_credentials(text)
    parse_credentials("Digest " + text)
    parse_challenge("Digest " + text)


WORDS = [
    "username",
    "realm",
    "nonce",
    "uri",
    "response",
    "qop",
    "nc",
    "cnonce",
    "algorithm",
    "=",
    '"',
    ",",
    ";",
]
pieces = st.lists(
    st.sampled_from([*WORDS, "\\", "auth", "MD5", "00000001", "é", " ", "\t", "\udcff"]), max_size=60
)


@given(pieces)
def test_no_mixture_of_digest_words_makes_the_parser_raise(words: list[str]) -> None:
    """Nor does what looks nearly right; and what is read can be checked without an error."""
    credentials = parse_credentials("Digest " + "".join(words))
    if credentials is not None and credentials.algorithm in ALGORITHMS:
        assert not check(credentials, "REGISTER", "0" * 32)
        assert credentials.nc >= 0


def test_a_long_hostile_value_costs_no_more_than_its_length() -> None:
    """The patterns a search could stumble over at every character are read once (no time is measured: a
    quadratic search over these would outlast the test's limit)."""
    for unit in ("a", 'a="', "a=\\", ' ="', 'a ="\\"', "\\"):
        for _ in range(200):
            assert parse_credentials("Digest " + (unit * 4096)[:4000]) is None


safe_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30)


@given(safe_text, safe_text, safe_text, st.sampled_from(sorted(ALGORITHMS)), st.integers(1, 2**32 - 1))
def test_our_client_convinces_our_server(
    username: str, realm: str, password: str, algorithm: str, nc: int
) -> None:
    """For every name, realm and password, quotes and backslashes included, the two sides fit together."""
    value = answer_challenge(
        challenge(realm, "abc", algorithm),
        username=username,
        password=password,
        method="INVITE",
        uri="sip:1@x",
        nc=nc,
        cnonce="c",
    )
    credentials = parse_credentials(value)
    assert credentials is not None
    assert (credentials.username, credentials.realm, credentials.nc) == (username, realm, nc)
    assert check(credentials, "INVITE", ha1(username, realm, password, algorithm))


def test_a_challenge_offers_qop_auth_and_says_when_only_the_nonce_was_old() -> None:
    """What phones need to read."""
    assert challenge("mizu", "n1") == 'Digest realm="mizu", nonce="n1", algorithm=MD5, qop="auth"'
    assert ", stale=true" in challenge("mizu", "n1", stale=True)


def test_the_strongest_algorithm_is_answered() -> None:
    """RFC 8760 2.4, whatever the order of the headers; unknown algorithms and schemes are passed over."""
    values = [
        'Digest realm="t", nonce="1", algorithm=SHA-512-256, qop="auth"',
        'Digest realm="t", nonce="2", algorithm=MD5, qop="auth"',
        'Digest realm="t", nonce="3", algorithm=SHA-256, qop="auth"',
        'Basic realm="t"',
    ]
    best = strongest(values)
    assert best is not None
    assert best.nonce == "3"
    value = answer_challenge(
        values, username="u", password="p", method="INVITE", uri="sip:x", cnonce="c", body=b"v=0"
    )
    assert "algorithm=SHA-256," in value


def test_C5_another_realm_gets_nothing() -> None:
    """Credentials of a trunk are for its realm; a challenge of a stranger is not answered."""
    with pytest.raises(UnsupportedChallenge):
        answer_challenge(
            'Digest realm="evil", nonce="1"',
            username="u",
            password="p",
            method="BYE",
            uri="sip:x",
            cnonce="c",
            realm="trunk",
        )


@pytest.mark.parametrize(
    "value",
    [
        'Digest realm="t", nonce="1", algorithm=FOO',
        'Digest realm="t", nonce="1", qop="x"',
        "Digest realm=t",
        "?",
    ],
)
def test_what_we_do_not_speak_is_an_error_with_a_name(value: str) -> None:
    """The caller can tell this from a wrong password."""
    with pytest.raises(UnsupportedChallenge):
        answer_challenge(value, username="u", password="p", method="BYE", uri="sip:x", cnonce="c")


def test_a_challenge_without_qop_is_answered_the_old_way() -> None:
    """RFC 2069 peers get neither qop nor nc nor cnonce, and their opaque back."""
    value = answer_challenge(
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc"',
        username="Mufasa",
        password="Circle Of Life",
        method="GET",
        uri="/dir/index.html",
        cnonce="c",
    )
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in value
    assert 'opaque="5ccc"' in value
    assert "qop" not in value
    assert "nc=" not in value


def test_auth_int_and_sess_are_answered_when_nothing_else_is_offered() -> None:
    """The body is part of the proof with auth-int, and the session key with -sess (RFC 7616 3.4.2, 3.4.3)."""

    def answer(body: bytes, value: str) -> str:
        return answer_challenge(
            value, username="u", password="p", method="INVITE", uri="sip:x", cnonce="c", body=body
        )

    only_int = 'Digest realm="t", nonce="1", qop="auth-int"'
    assert "qop=auth-int" in answer(b"a", only_int)
    assert answer(b"a", only_int) != answer(b"b", only_int)
    both = 'Digest realm="t", nonce="1", qop="auth-int,auth"'
    assert answer(b"a", both) == answer(b"b", both)
    session = answer(b"", 'Digest realm="t", nonce="1", algorithm=MD5-sess, qop="auth"')
    assert "algorithm=MD5-sess" in session
    plain = answer(b"", 'Digest realm="t", nonce="1", algorithm=MD5, qop="auth"')
    assert session.split('response="')[1][:32] != plain.split('response="')[1][:32]


def test_no_secret_is_printed() -> None:
    """A logged Credentials object shows who, never the proof."""
    assert "5ecre7" not in repr(Credentials("a", "r", "n", "u", "5ecre7"))
