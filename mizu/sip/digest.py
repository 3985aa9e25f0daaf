"""
Digest authentication (RFC 7616, RFC 8760, RFC 3261 22.4), both sides, without I/O and without a clock.

Server side: :func:`challenge`, :func:`parse_credentials`, :func:`check`. Nonces and their counts are in
``mizu.sip.nonces``. Client side: :func:`parse_challenge`, :func:`strongest`, :func:`answer_challenge`.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mizu import native
from mizu.errors import MizuError
from mizu.sip.nonces import NonceCounts, NonceSigner

__all__ = [
    "ALGORITHMS",
    "Credentials",
    "DigestChallenge",
    "NonceCounts",
    "NonceSigner",
    "UnsupportedChallenge",
    "answer_challenge",
    "challenge",
    "check",
    "expected_response",
    "ha1",
    "parse_challenge",
    "parse_credentials",
    "strongest",
]

#: Hash functions by the algorithm's canonical name; its order is weak to strong.
ALGORITHMS: dict[str, Callable[[bytes], Any]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}

#: Longest header value that is looked at. The longest real one seen is below 700 characters.
MAX_VALUE_CHARS = 4096

# name = token or quoted-string. Lengths are bounded so that no input costs more than its own length times
# a constant: a search that may begin at each character must not run to the end from each.
_PARAMETER = re.compile(
    r'([A-Za-z][A-Za-z0-9-]{0,15})[ \t]{0,4}=[ \t]{0,4}(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^\s,;"]{1,512}))'
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NC = re.compile(r"[0-9a-fA-F]{8}\Z")

_CANONICAL = {
    "MD5": "MD5",
    "md5": "MD5",
    "SHA-256": "SHA-256",
    "sha-256": "SHA-256",
}


_compiled = native.messages


class UnsupportedChallenge(MizuError):
    """The peer asks for a login in a way we do not speak: unknown scheme, algorithm or qop."""

    sip_status, code = 401, "unsupported_challenge"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def ha1(username: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """
    What is stored instead of a password: H(username:realm:password), lower-case hex.

    :param algorithm: ``MD5`` or ``SHA-256``.
    :raise KeyError: another algorithm.
    """
    digest = ALGORITHMS[algorithm](_encode(f"{username}:{realm}:{password}")).hexdigest()
    return str(digest)


# ---------------------------------------------------------------- server side


class Credentials:
    """
    An ``Authorization`` or ``Proxy-Authorization`` value. The texts are as in the header but without
    quotes; only ``username`` and ``realm`` are unescaped: they are compared, the others are hashed as sent.
    """

    __slots__ = (
        "algorithm",
        "cnonce",
        "nc",
        "nc_text",
        "nonce",
        "qop",
        "realm",
        "response",
        "uri",
        "username",
    )

    def __init__(
        self,
        username: str,
        realm: str,
        nonce: str,
        uri: str,
        response: str,
        *,
        algorithm: str = "MD5",
        qop: str = "",
        nc_text: str = "",
        cnonce: str = "",
    ) -> None:
        self.username = username
        self.realm = realm
        self.nonce = nonce
        self.uri = uri
        self.response = response
        self.algorithm = algorithm  #: canonical when known, else as received
        self.qop = qop
        self.nc_text = nc_text
        self.nc = int(nc_text, 16) if _NC.match(nc_text) else 0  #: 0: not eight hexadecimal digits
        self.cnonce = cnonce

    def __repr__(self) -> str:
        return f"<Credentials {self.username!r} realm={self.realm!r} {self.algorithm}>"


if _compiled is not None:
    _compiled.bind("credentials", Credentials("", "", "", "", ""))


def challenge(realm: str, nonce: str, algorithm: str = "MD5", *, stale: bool = False) -> str:
    """
    Value of a ``WWW-Authenticate`` or ``Proxy-Authenticate`` header; one header for each algorithm.

    :param stale: the client's password need not be asked for again, only the nonce was too old.
    """
    tail = ', stale=true, qop="auth"' if stale else ', qop="auth"'
    return f'Digest realm="{_quote(realm)}", nonce="{nonce}", algorithm={algorithm}{tail}'


def parse_credentials(value: str) -> Credentials | None:
    """
    Read an ``Authorization`` or ``Proxy-Authorization`` value.

    :return: ``None`` for everything that is not one complete set of digest credentials: another scheme, a
        parameter missing, or one that is there twice. Never raises.
    """
    if _compiled is not None and value.isascii():
        return _compiled.credentials(value)
    parameters = _parameters(value)
    if parameters is None:
        return None
    try:
        algorithm = parameters.get("algorithm", "MD5")
        return Credentials(
            _unquote(parameters["username"]),
            _unquote(parameters["realm"]),
            parameters["nonce"],
            parameters["uri"],
            parameters["response"],
            algorithm=_CANONICAL.get(algorithm) or _CANONICAL.get(algorithm.lower(), algorithm),
            qop=parameters.get("qop", ""),
            nc_text=parameters.get("nc", ""),
            cnonce=parameters.get("cnonce", ""),
        )
    except KeyError:
        return None


def _parameters(value: str) -> dict[str, str] | None:
    """Parameters of a digest header value by lower-case name; ``None``: not digest, or one comes twice."""
    if _compiled is not None and value.isascii():
        return _compiled.digest_parameters(value)
    if value[:7] not in {"Digest ", "digest "} and value[:7].lower() not in {"digest ", "digest\t"}:
        return None
    if len(value) > MAX_VALUE_CHARS:
        return None
    found = _PARAMETER.findall(value, 7)
    parameters = {name: quoted or token for name, quoted, token in found}
    if len(parameters) != len(found):
        return None
    if "".join(parameters).islower():
        return parameters
    lowered = {name.lower(): text for name, text in parameters.items()}
    return lowered if len(lowered) == len(parameters) else None


def expected_response(credentials: Credentials, method: str, ha1_hex: str) -> str:
    """
    The ``response`` that fits these credentials, lower-case hex (RFC 7616 3.4.1), with qop=auth or, when
    they have no qop, as RFC 2069.

    :raise KeyError: ``credentials.algorithm`` is not one of :data:`ALGORITHMS`.
    """
    hash_of = ALGORITHMS[credentials.algorithm]
    ha2 = hash_of(f"{method}:{credentials.uri}".encode("utf-8", "surrogateescape")).hexdigest()
    qop = credentials.qop
    count = f":{credentials.nc_text}:{credentials.cnonce}:{qop}" if qop else ""
    text = f"{ha1_hex}:{credentials.nonce}{count}:{ha2}"
    return str(hash_of(text.encode("utf-8", "surrogateescape")).hexdigest())


def check(credentials: Credentials, method: str, ha1_hex: str) -> bool:
    """Whether the password behind ``ha1_hex`` made these credentials; compared in constant time."""
    if _compiled is not None:
        right = _compiled.check_md5(credentials, method, ha1_hex)
        if right is not None:
            return right
    expected = expected_response(credentials, method, ha1_hex)
    return hmac.compare_digest(expected.encode(), _encode(credentials.response.lower()))


# ---------------------------------------------------------------- client side


class DigestChallenge:
    """A ``WWW-Authenticate`` or ``Proxy-Authenticate`` value that came to us."""

    __slots__ = ("algorithm", "nonce", "opaque", "qops", "realm", "session", "stale")

    def __init__(self, parameters: dict[str, str]) -> None:
        name = parameters.get("algorithm", "MD5").upper()
        self.session = name.endswith("-SESS")  #: HA1 takes nonce and cnonce in (RFC 7616 3.4.2)
        self.algorithm = name.removesuffix("-SESS")
        self.realm = parameters["realm"]
        self.nonce = parameters["nonce"]
        self.opaque = parameters.get("opaque")
        self.qops = [qop.strip().lower() for qop in parameters.get("qop", "").split(",") if qop.strip()]
        self.stale = parameters.get("stale", "").lower() == "true"

    @property
    def supported(self) -> bool:
        """Whether :func:`answer_challenge` can answer it."""
        return self.algorithm in ALGORITHMS and (not self.qops or bool({"auth", "auth-int"} & set(self.qops)))


def parse_challenge(value: str) -> DigestChallenge | None:
    """Read one challenge; ``None``: not digest, incomplete or ambiguous. Never raises."""
    parameters = _parameters(value)
    if parameters is None or "realm" not in parameters or "nonce" not in parameters:
        return None
    return DigestChallenge(parameters)


def strongest(values: Iterable[str], realm: str = "") -> DigestChallenge | None:
    """
    The challenge to answer among several (RFC 8760 2.4): the strongest algorithm we speak; with equal
    strength the first.

    :param realm: only challenges of this realm count; empty: any.
    """
    order = list(ALGORITHMS)
    best: DigestChallenge | None = None
    for value in values:
        offered = parse_challenge(value)
        if offered is None or not offered.supported or (realm and offered.realm != realm):
            continue
        if best is None or order.index(offered.algorithm) > order.index(best.algorithm):
            best = offered
    return best


def answer_challenge(
    challenge_value: str | Sequence[str] | DigestChallenge,
    *,
    username: str,
    password: str,
    method: str,
    uri: str,
    body: bytes = b"",
    nc: int = 1,
    cnonce: str,
    realm: str = "",
) -> str:
    """
    Our own credentials, as a client of a trunk.

    :param challenge_value: one header value, or all of them: the strongest is answered.
    :param uri: the Request-URI exactly as it is sent.
    :param body: hashed when the peer wants nothing but ``auth-int``.
    :param nc: how often this nonce has been answered, this time included.
    :param cnonce: fresh random text without quotes.
    :param realm: answer only this realm; empty: any.
    :return: value of the ``Authorization`` (after 401) or ``Proxy-Authorization`` (after 407) header.
    :raise UnsupportedChallenge: none of them can be answered.
    """
    if isinstance(challenge_value, DigestChallenge):
        offered: DigestChallenge | None = challenge_value
    else:
        values = [challenge_value] if isinstance(challenge_value, str) else challenge_value
        offered = strongest(values, realm)
    if offered is None or not offered.supported or (realm and offered.realm != realm):
        raise UnsupportedChallenge("the peer's challenge is for another realm or of a kind we do not speak")
    hash_of = ALGORITHMS[offered.algorithm]
    secret = ha1(username, _unquote(offered.realm), password, offered.algorithm)
    if offered.session:
        secret = hash_of(_encode(f"{secret}:{offered.nonce}:{cnonce}")).hexdigest()
    qop = "auth" if "auth" in offered.qops else "auth-int" if offered.qops else ""
    what = f"{method}:{uri}"
    if qop == "auth-int":
        what += f":{hash_of(body).hexdigest()}"
    ha2 = hash_of(_encode(what)).hexdigest()
    count = f":{nc:08x}:{cnonce}:{qop}" if qop else ""
    response = hash_of(_encode(f"{secret}:{offered.nonce}{count}:{ha2}")).hexdigest()
    name = offered.algorithm + ("-sess" if offered.session else "")
    parts = [
        f'Digest username="{_quote(username)}"',
        f'realm="{offered.realm}"',
        f'nonce="{offered.nonce}"',
        f'uri="{uri}"',
        f'response="{response}"',
        f"algorithm={name}",
    ]
    if qop:
        parts += [f"qop={qop}", f"nc={nc:08x}"]
    if qop or offered.session:
        parts.append(f'cnonce="{cnonce}"')
    if offered.opaque is not None:
        parts.append(f'opaque="{offered.opaque}"')
    return ", ".join(parts)


def _quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"') if '"' in text or "\\" in text else text


def _unquote(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text
