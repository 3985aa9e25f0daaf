"""The compiled way and the Python way give the same answers, whatever comes."""

import contextlib
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mizu import native
from mizu.sip import digest, headers, message, parser, uas, uri, wire
from mizu.sip.grammar import BadMessage
from mizu.sip.headers import CSeq, NameAddr, Via
from mizu.sip.message import Request, Response
from mizu.sip.names import KEYS
from mizu.sip.parser import Limits
from mizu.sip.slowparse import SINGLE

ROOT = Path(__file__).parents[3]
TORTURE = sorted((ROOT / "tests" / "data" / "rfc4475").glob("*.dat"))
needs_compiled = pytest.mark.skipif(native.messages is None, reason="mizu._messages is not built here")

REQUEST = (
    b"INVITE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5070;rport;branch=z9hG4bK77\r\nMax-Forwards: 70\r\n"
    b'From: "Al" <sip:al@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c1@192.0.2.1\r\n'
    b"CSeq: 1 INVITE\r\nContact: <sip:al@192.0.2.1:5070>\r\nContent-Type: application/sdp\r\n"
    b"X-Odd-Name: gr\xc3\xbcn\r\nContent-Length: 4\r\n\r\nv=0\n"
)
RESPONSE = (
    b"SIP/2.0 180 Ringing here\r\nv: SIP/2.0/TCP host.example.com;branch=z9hG4bK1;received=192.0.2.7\r\n"
    b"f: <sip:a@b>;tag=1\r\nt: sip:c@d;tag=2\r\ni: 17\r\nCSeq: 17 OPTIONS\r\nl: 0\r\n\r\n"
)
#: What a message is made of, and what may spoil it.
PIECES = [
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b":",
    b" ",
    b"\t",
    b",",
    b";",
    b"=",
    b"<",
    b">",
    b'"',
    b"\x00",
    b"\x7f",
    b"\xff",
    b"\xc3\xbc",
    b"\xed\xa0\x80",
    b"Via: ",
    b"v:",
    b"From",
    b"CALL-ID: x\r\n",
    b"Expires:\r\n",
    b"content-length: 2\r\n",
    b"L: 99999999999999999999\r\n",
    b"SIP/2.0",
    b"SIP/2.0/UDP ",
    b";rport",
    b";rport=",
    b";received=1.2.3.4",
    b"[::1]",
    b":65536",
    b":00080",
    b"4294967296",
    b"-",
    b".",
    b"_",
    b"%",
    b"x" * 70,
    b"0" * 30,
    b" ;",
    b"REGISTER",
    b"1 REGISTER",
    b"tag",
    b"a=b",
    b"\\",
]


def pure(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (digest, headers, message, parser, uas, wire):
        monkeypatch.setattr(module, "_compiled", None)


@pytest.fixture
def way():
    """Runs a function with the compiled part set aside."""

    def run(function, *args):
        with pytest.MonkeyPatch.context() as patch:
            pure(patch)
            return function(*args)

    return run


def all_of(made):
    """Every slot of an object of ours, and of those in it."""
    if isinstance(made, (Request, Response, Via, CSeq, NameAddr)):
        slots = [name for kind in type(made).__mro__ for name in getattr(kind, "__slots__", ())]
        # addresses may have been read already, or are when somebody asks
        views = {"_from": "from_", "_to": "to", "_contacts": "contacts"} if "_first" in slots else {}
        return (type(made), [(name, outcome(getattr, made, views.get(name, name))) for name in slots])
    if isinstance(made, list):
        return [all_of(each) for each in made]
    if isinstance(made, dict):
        return list(made.items())
    return (type(made), made)


def outcome(function, *args):
    try:
        return all_of(function(*args))
    except BadMessage as bad:
        return (str(bad), bad.sip_status, bad.code, all_of(bad.request))


def python_plain(data: bytes, limits: Limits) -> object:
    """What the Python way does before it asks the slow one: the parser's promise without that."""
    asked: list[bytes] = []

    def slow(data, limits):
        asked.append(data)

    with pytest.MonkeyPatch.context() as patch:
        pure(patch)
        patch.setattr(parser, "parse_slowly", slow)
        return parser.parse_datagram(data, limits)


def same(data: bytes, limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
    """The compiled parser takes exactly what the short Python way takes, with equal results."""
    made = native.messages.parse_plain(
        data, limits.message_bytes, limits.header_lines, limits.line_bytes, False
    )
    wanted = python_plain(data, limits)
    assert all_of(made) == all_of(wanted)
    head = data.partition(b"\r\n\r\n")[0]
    if len(head) < len(data):
        head += b"\r\n\r\n"
        streamed = native.messages.parse_plain(head, 0, limits.header_lines, limits.line_bytes, True)
        with pytest.MonkeyPatch.context() as patch:
            pure(patch)
            assert all_of(streamed) == all_of(parser._parse_head(head, limits))


@st.composite
def spoiled(draw):
    """A good message with some cuts, copies and insertions."""
    data = draw(st.sampled_from([REQUEST, RESPONSE]))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=3) | st.just(data[at:until]))
        data = data[:at] + piece + data[until if draw(st.booleans()) else at :]
    return data


@needs_compiled
@settings(max_examples=600)
@given(spoiled())
def test_a_spoiled_message_is_read_alike(data):
    """Byte for byte the same message, or both leave it to the slow way."""
    same(data)


@needs_compiled
@given(st.binary(max_size=200), st.binary(max_size=40))
def test_random_bytes_are_read_alike(data, more):
    """With and without a head that could be one."""
    same(data)
    same(data + b"\r\n\r\n" + more)
    same(REQUEST[: len(data) * 3] + data + REQUEST[len(data) * 3 :])


@needs_compiled
@pytest.mark.parametrize("path", TORTURE, ids=lambda path: path.stem)
def test_the_torture_messages_are_read_alike(path):
    """RFC 4475, whole and cut at every place."""
    data = path.read_bytes()
    same(data)
    for at in range(0, len(data), 7):
        same(data[:at] + b"\r\n\r\n")
        same(data[:at])


@needs_compiled
@pytest.mark.parametrize("take", ["message_bytes", "header_lines", "line_bytes"])
def test_limits_are_drawn_at_the_same_place(take):
    """None, one less, exactly, one more, and more than any machine counts."""
    exact = {
        "message_bytes": len(REQUEST),
        "header_lines": 11,
        "line_bytes": REQUEST.index(b"\r\n\r\n"),
    }[take]
    for at in (0, exact - 1, exact, exact + 1, 10**30):
        same(REQUEST, Limits(**{take: at}))


@needs_compiled
def test_every_known_name_and_every_single_header():
    """Each spelling has its key; each header that may be there once is refused when it comes twice."""
    assert set(KEYS.values()) >= SINGLE
    for name in [*KEYS, *[name.swapcase() for name in KEYS], "X-Unknown", "x" * 63, "x" * 64, "Y" * 65]:
        line = f"{name}: 1\r\n".encode()
        same(REQUEST.replace(b"Max-Forwards: 70\r\n", line))
        same(REQUEST.replace(b"Max-Forwards: 70\r\n", line + line))


@needs_compiled
def test_a_message_of_many_headers():
    """As many as the limit lets through, all different."""
    lines = b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(3000))
    same(REQUEST.replace(b"Max-Forwards: 70\r\n", lines), Limits(header_lines=5000, line_bytes=10**6))


@needs_compiled
def test_what_it_makes_is_counted_right():
    """Whatever it was given, it leaves nothing behind and frees nothing of others."""
    hold = ("INVITE", "via", None, "")
    gc.collect()
    before = [sys.getrefcount(each) for each in hold]
    cases = [REQUEST, RESPONSE, REQUEST[:-1], REQUEST.replace(b"1 INVITE", b"x INVITE"), b"", b"\r\n\r\n"]
    cases += [REQUEST.replace(b"SIP/2.0/UDP", b"SIP / 2.0/UDP"), REQUEST.replace(b"Al", b"\xff")]
    for _ in range(200):
        for data in cases:
            with contextlib.suppress(BadMessage):
                made = parser.parse_datagram(data)
                if isinstance(made, Request):
                    native.messages.stamp(made, "192.0.2.9", 9)
                made.to_bytes()
                NameAddr.parse(made.get("from"))
                del made
    gc.collect()
    after = [sys.getrefcount(each) for each in hold]
    assert [abs(one - two) < 50 for one, two in zip(before, after, strict=True)] == [True] * len(hold)


# ---------------------------------------------------------------- the other functions


VIA_PARAMS = st.lists(
    st.sampled_from(
        [
            "rport",
            "rport=",
            "rport=9",
            "rport=x",
            "RPORT",
            "received=192.0.2.1",
            "branch=z9hG4bK1",
            "ttl=1",
            'x="a"',
            "rportx",
            "maddr=192.0.2.3",
            "x",
        ]
    ),
    max_size=4,
)


@needs_compiled
@settings(max_examples=400)
@given(
    VIA_PARAMS,
    st.sampled_from(
        ["192.0.2.1", "192.0.2.1:5060", "h.example.com:5070", "[2001:db8::1]:5070", "192.0.2.1:0"]
    ),
    st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
    st.sampled_from([5060, 5070, 1, 65535]),
    st.sampled_from(["", ", SIP/2.0/UDP 192.0.2.5;rport", "\r\nVia: SIP/2.0/UDP 192.0.2.5;rport"]),
)
def test_the_source_is_stamped_alike(params, place, host, port, more):
    """The same Via line, parameters, and port for answers."""
    via = ";".join([f"SIP/2.0/UDP {place}", *params]) + more
    data = REQUEST.replace(b"SIP/2.0/UDP 192.0.2.1:5070;rport;branch=z9hG4bK77", via.encode())
    try:
        one, two = parser.parse_datagram(data), parser.parse_datagram(data)
    except BadMessage:
        return
    to_port = native.messages.stamp(one, host, port)
    if to_port is None:
        assert all_of(one) == all_of(two)  # nothing was done
        return
    two.stamp_source(host, port)
    assert all_of(one) == all_of(two)
    assert to_port == (port if two.via.rport is not None else two.via.port or 5060)


@needs_compiled
@settings(max_examples=400)
@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(
            [
                '"',
                "\\",
                "<",
                ">",
                "<sip:a@b>",
                ";tag=",
                ";",
                "x",
                " ",
                "\t",
                "Al",
                "sip:a@b",
                "ü",
                "\x1c",
                ";tag=1",
            ]
        ),
        max_size=7,
    ).map("".join)
)
@example('"A" <sip:a@b>;tag=1')
@example('"A"  <sip:a@b>')
@example(" A B  <sip:a@b>;tag=a;tag=b")
def test_an_address_is_read_alike(text):
    """Display name, URI and parameters, or the same fault."""
    compiled = outcome(NameAddr.parse, text)
    with pytest.MonkeyPatch.context() as patch:
        pure(patch)
        assert compiled == outcome(NameAddr.parse, text)


DIGEST = st.lists(
    st.sampled_from(
        [
            'realm="a"',
            'Realm="a, b"',
            "nc=00000001",
            "qop=auth",
            "qop",
            "=",
            '"',
            "\\",
            '\\"',
            "\n",
            ",",
            " ",
            "    ",
            "\t",
            ";",
            "x" * 17 + "=1",
            "-a=1",
            "1a=2",
            "uri=" + "y" * 600,
            'n="',
            "algorithm=MD5",
            "\x1f",
            "=  v",
            "é",
        ]
    )
    | st.text(max_size=4),
    max_size=12,
).map("".join)


@needs_compiled
@settings(max_examples=600)
@given(st.sampled_from(["Digest ", "digest\t", "DIGEST ", "Digest", "Basic ", "Digest  "]), DIGEST)
@example("Digest ", "a" * 5000)
@example("Digest ", 'a="\\')
@example("Digest ", "a=1, A=2")
def test_digest_parameters_are_read_alike(scheme, text):
    """Same names, values and order, or neither takes it."""
    compiled = digest._parameters(scheme + text)
    with pytest.MonkeyPatch.context() as patch:
        pure(patch)
        wanted = digest._parameters(scheme + text)
    assert compiled == wanted
    assert wanted is None or list(compiled) == list(wanted)


@needs_compiled
@settings(max_examples=400)
@given(
    st.lists(
        st.sampled_from(
            [
                'username="a"',
                'username="a\\\\b\\"c"',
                "username=a\\",
                'realm="r"',
                "realm=\\r",
                'nonce="n"',
                'uri="sip:u"',
                'response="x"',
                "algorithm=md5",
                "algorithm=Sha-256",
                "algorithm=MD5-sess",
                "algorithm=SHA-512",
                "qop=auth",
                "nc=0000000A",
                "nc=zzzzzzzz",
                "nc=1",
                'nc="000000010"',
                'cnonce="c"',
                'username="ü"',
            ]
        ),
        max_size=10,
    ).map(", ".join),
    st.booleans(),
)
def test_credentials_are_read_alike(text, whole):
    """Every attribute, and the same of them are not taken."""
    if whole:
        text = f'username="a", realm="r", nonce="n", uri="sip:u", response="x"{text}'

    def read():
        found = digest.parse_credentials("Digest " + text)
        return found and [getattr(found, name) for name in found.__slots__]

    compiled = read()
    with pytest.MonkeyPatch.context() as patch:
        pure(patch)
        assert compiled == read()


@needs_compiled
@settings(max_examples=400)
@given(
    st.lists(
        st.sampled_from(["", "a", "x" * 55, "y" * 64, "z" * 119, "ü"]) | st.text(max_size=70),
        min_size=5,
        max_size=5,
    ),
    st.sampled_from(["", "auth"]),
    st.sampled_from(["MD5", "SHA-256"]),
    st.sampled_from(
        [str, str.upper, lambda text: text[:-1], lambda text: text[::-1], lambda text: text[:-1] + "é"]
    ),
)
def test_passwords_are_judged_alike(texts, qop, algorithm, change):
    """The right response in any case is right, every other is wrong."""
    nonce, target, nc_text, cnonce, method = texts
    secret = digest.ha1("u", "r", "p", algorithm)
    made = digest.Credentials(
        "u", "r", nonce, target, "", algorithm=algorithm, qop=qop, nc_text=nc_text, cnonce=cnonce
    )
    right = digest.expected_response(made, method, secret)
    made.response = change(right)
    assert digest.check(made, method, secret) == (made.response.lower() == right)


@needs_compiled
@settings(max_examples=600)
@given(
    st.lists(
        st.sampled_from(
            [
                "sip:",
                "a",
                "u+1_.-",
                "@",
                "h",
                "h.example",
                "-",
                ".",
                "_",
                ":",
                "5060",
                "50600",
                ";",
                "transport=udp",
                "lr",
                "x=",
                "=",
                "1",
                "ü",
                " ",
                "SIP:",
            ]
        ),
        max_size=8,
    ).map("".join)
    | st.sampled_from(
        ["sip:u@h:5060;transport=udp", "sip:u@h-:1", "sip:u@h:", "sip:u@h;a=", "sip:u@h.", "sip:@h"]
    )
)
def test_plain_uris_are_recognized_alike(text):
    """As the regular expression does."""
    assert native.messages.plain_sip_uri(text) == bool(uri._plain_sip_uri(text))


@needs_compiled
@settings(max_examples=400)
@given(
    st.sampled_from(["INVITE", "REGISTER", "OPTIONS", "MESSAGE", "BYE", "SUBSCRIBE"]),
    st.sampled_from(
        ["", "0", "1", "70", "000", "255", "256", "999", "1000", "x", "99999999999999999999", "-1"]
    ),
    st.sampled_from(
        ["<sip:b@h>", "sip:b@h", "<tel:+1>", "<http://h>", "<sip:%zz@h>", "<sip:b@h>;tag=1", '"x <sip:b@h>']
    ),
    st.lists(
        st.sampled_from(
            [
                "<sip:a@h>",
                "*",
                "sip:a@h",
                "<sip:a@h:99999>",
                "<sip:a@h>, <sip:c@h>",
                "<tel:1>;x=1",
                "<sip:>",
                "x",
            ]
        ),
        max_size=2,
    ),
    st.sampled_from(["", "To", "Contact", "Max-Forwards"]),
)
def test_a_request_is_refused_alike(method, hops, to, contacts, changed):
    """What the parser read and what was changed since."""
    lines = [
        f"{method} sip:x@h SIP/2.0",
        "Via: SIP/2.0/UDP h;branch=z9hG4bK1",
        f"To: {to}",
        "From: <sip:a@h>;tag=1",
    ]
    lines += ["Call-ID: 1", f"CSeq: 1 {method}", *[f"Contact: {each}" for each in contacts]]
    lines += [f"Max-Forwards: {hops}"] if hops else []

    def refused():
        request = parser.parse_datagram("\r\n".join([*lines, "", ""]).encode())
        if changed:
            request.set(changed, "<sip:%zz@h>")
        return uas.refuse(request, methods=("INVITE", "REGISTER", "OPTIONS", "MESSAGE", "BYE", "SUBSCRIBE"))

    compiled = refused()
    with pytest.MonkeyPatch.context() as patch:
        pure(patch)
        assert compiled == refused()


VALUE = st.text(max_size=12) | st.sampled_from(["a\r\nX: y", "\n", "\r", "ü", "\udcff", ""])


@needs_compiled
@given(
    st.lists(st.tuples(st.sampled_from(["Via", "X", "Content-Length", "l", "X\n"]), VALUE), max_size=6),
    VALUE,
    st.binary(max_size=20),
)
def test_a_message_is_written_alike(fields, target, body):
    """The same bytes, line ends inside values made harmless."""
    compiled = Request("INVITE", target, fields, body).to_bytes()
    with pytest.MonkeyPatch.context() as patch:
        pure(patch)
        assert compiled == Request("INVITE", target, fields, body).to_bytes()


TO = [
    "<sip:b@example.com>",
    "<sip:b@example.com>;tag=9",
    "<sip:tag@b>",
    "sip:b@c;TAG=1",
    '"a>;tag=x',
    "<sip:b>;x=1>;tag=b",
    '"<sip:tag>" <sip:b>;tag=',
    "<sip:b>;tag=a;x",
    "tag",
    ">;tag=a",
    '<sip:b>;x="y>;tag=b"',
    "ü <sip:b>",
]


@needs_compiled
@settings(max_examples=400)
@given(
    st.sampled_from(TO),
    st.sampled_from([100, 180, 200, 404]),
    st.sampled_from([None, "", "Own words", "ü", "a\r\nX: b"]),
    st.sampled_from([None, "t1", "", "ü"]),
    st.lists(st.tuples(st.sampled_from(["Contact", "X", "X\n"]), VALUE), max_size=3),
    st.sampled_from([b"", b"v=0", b"x" * 5000]),
    st.booleans(),
    st.sampled_from(
        ["", "Record-Route: <sip:p;lr>\r\n", "Timestamp: 1\r\n", "Via: SIP/2.0/UDP x\r\n", "X: \xff\r\n"]
    ),
    st.booleans(),
)
def test_an_answer_is_written_alike(to, status, reason, tag, fields, body, routes, more, whole):
    """The bytes of ``reply``, whatever of the request is copied."""
    data = REQUEST.replace(
        b"<sip:bob@example.com>\r\nCall", to.encode() + b"\r\n" + more.encode("latin-1") + b"Call"
    )
    request = parser.parse_datagram(data)
    if not whole:
        request.remove("cseq")

    def asked(given):
        return wire.answer_bytes(
            request, status, reason, to_tag=tag, fields=given, body=body, copy_record_route=routes
        )

    compiled = [asked(fields), asked(tuple(fields))]
    with pytest.MonkeyPatch.context() as patch:
        pure(patch)
        wanted = request.reply(
            status, reason, to_tag=tag, fields=fields, body=body, copy_record_route=routes
        ).to_bytes()
        assert compiled == [wanted] * 2
        assert asked(fields) == wanted


@needs_compiled
@given(
    st.sampled_from(["INVITE", "ü", ""]),
    VALUE,
    st.lists(st.tuples(st.sampled_from(["Via", "X", "X\n"]), VALUE), max_size=6),
    VALUE,
    VALUE,
    st.binary(max_size=20) | st.just(b"x" * 5000),
)
def test_a_request_of_ours_is_written_alike(method, target, fields, via, contact, body):
    """With our Via on top and our Contact."""
    request = Request(method, target, fields, body)
    compiled = wire.request_bytes(request, via, contact)
    with pytest.MonkeyPatch.context() as patch:
        pure(patch)
        assert compiled == wire.request_bytes(request, via, contact)


# ---------------------------------------------------------------- which is taken


CHOICE = """
import sys
from mizu import native
from mizu.sip import parser
print(native.in_use(), parser._compiled is None)
print(parser.parse_datagram(%r).via)
"""


def run(code: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_environment_sets_the_compiled_parts_aside():
    """``MIZU_PURE_PYTHON=1``: everything works without them."""
    told = run(CHOICE % REQUEST, MIZU_PURE_PYTHON="1")
    assert told == [
        "{'messages': False, 'datagrams': False} True",
        "SIP/2.0/UDP 192.0.2.1:5070;rport;branch=z9hG4bK77",
    ]


def test_without_the_compiled_parts_everything_works_in_python():
    """As it is where no compiler was."""
    hide = "import sys; sys.modules['mizu._messages'] = sys.modules['mizu._datagrams'] = None\n"
    told = run(hide + CHOICE % REQUEST)
    assert told == [
        "{'messages': False, 'datagrams': False} True",
        "SIP/2.0/UDP 192.0.2.1:5070;rport;branch=z9hG4bK77",
    ]


@needs_compiled
def test_classes_that_are_not_as_expected_are_refused():
    """It writes into objects: it must know them."""

    class Other:
        __slots__ = ("number",)

    class Open:
        pass

    for which, template in (("cseq", Other()), ("cseq", Open()), ("via", 1)):
        with pytest.raises(TypeError):
            native.messages.bind(which, template)
    with pytest.raises(ValueError, match="knows no"):
        native.messages.bind("other", CSeq(1, "X"))
    native.messages.bind("cseq", CSeq(0, ""))
