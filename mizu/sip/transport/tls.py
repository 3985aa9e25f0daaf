"""Certificates: the configured one, or one we sign ourselves, and what others must show (RFC 3261 26.3)."""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from mizu.errors import ConfigError

#: A self-signed certificate is good for so long, and made anew when less than ``RENEW_BEFORE`` is left.
VALID = timedelta(days=825)
RENEW_BEFORE = timedelta(days=30)

#: Making the options for a name reads the system's certificates, about 10 ms; so many names are remembered.
CLIENTS_MAX = 100


class Certificates:
    """Our certificate with its key, and the trust in those of others."""

    def __init__(self, certificate: ssl.PrivateCertificate, chain: list[crypto.X509]) -> None:
        """:param chain: the intermediate certificates that are sent with it."""
        self._certificate = certificate
        self._chain = chain
        self._trust: Any = None  # None: the system's
        self._verify = True
        self._clients: dict[str, IOpenSSLClientConnectionCreator] = {}

    def trust(self, authorities_path: str, verify: bool = True) -> None:
        """
        Say whom to believe, before the first :meth:`client`.

        :param authorities_path: PEM file of those who may have signed; empty: the system's.
        :param verify: false: believe everybody; the connection is then safe from listeners, not from forgers.
        :raise ConfigError: the file cannot be used.
        """
        self._verify = verify
        if not authorities_path:
            return
        try:
            pem = Path(authorities_path).read_bytes()
            found = [
                ssl.Certificate.loadPEM(one.public_bytes(serialization.Encoding.PEM))
                for one in x509.load_pem_x509_certificates(pem)
            ]
        except (OSError, ValueError) as error:
            raise ConfigError([f"sip.tls_authorities: {authorities_path}: {_first_line(error)}"]) from error
        self._trust = ssl.trustRootFromCertificates(found)  # type: ignore[no-untyped-call]

    def server(self) -> ssl.CertificateOptions:
        """For connections that come to us: TLS 1.2 or newer; a client need not have a certificate."""
        return ssl.CertificateOptions(
            privateKey=self._certificate.privateKey.original,
            certificate=self._certificate.original,
            extraCertChain=self._chain,
        )

    def client(self, name: str) -> IOpenSSLClientConnectionCreator:
        """
        For a connection that we open: the peer must show a certificate for ``name`` (host name or numeric
        address) that somebody we trust has signed; ours is shown when the peer asks for it.

        :raise ValueError: no certificate can be for such a name.
        """
        options = self._clients.get(name)
        if options is None:
            # An idna.IDNAError is a UnicodeError, and so a ValueError.
            options = ssl.optionsForClientTLS(
                name, trustRoot=self._trust, clientCertificate=self._certificate
            )
            if not self._verify:
                options = _Believing(self.server().getContext(), name)
            if len(self._clients) >= CLIENTS_MAX:
                del self._clients[next(iter(self._clients))]
            self._clients[name] = options
        return options


@implementer(IOpenSSLClientConnectionCreator)
class _Believing:
    """A client that looks at no certificate, for ``sip.tls_verify = false``."""

    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = b"" if numeric(name) else name.encode("idna")

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._name:
            connection.set_tlsext_host_name(self._name)
        return connection


def numeric(name: str) -> bool:
    """Whether it is an address, not a name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def load(certificate_path: str, key_path: str) -> Certificates:
    """
    The configured certificate.

    :param certificate_path: PEM: our certificate first, then the intermediate ones.
    :param key_path: PEM without a passphrase; empty: it is in the same file.
    :raise ConfigError: a file is missing, is not PEM, or the two do not belong together.
    """
    try:
        pem = Path(certificate_path).read_bytes()
        first, *rest = x509.load_pem_x509_certificates(pem)
    except (OSError, ValueError) as error:
        raise ConfigError([f"sip.tls_certificate: {certificate_path}: {_first_line(error)}"]) from error
    try:
        key = serialization.load_pem_private_key(Path(key_path or certificate_path).read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError([f"sip.tls_key: {key_path or certificate_path}: {_first_line(error)}"]) from error
    if _public(key.public_key()) != _public(first.public_key()):
        raise ConfigError([f"sip.tls_key: {key_path}: is not the key of {certificate_path}"])
    pem = _key_pem(key) + first.public_bytes(serialization.Encoding.PEM)
    return Certificates(
        ssl.PrivateCertificate.loadPEM(pem),  # type: ignore[no-untyped-call]
        [crypto.X509.from_cryptography(certificate) for certificate in rest],
    )


def self_signed(directory: Path, names: list[str]) -> Certificates:
    """
    The certificate in ``directory``, made now when there is none, it is about to expire, or it lacks a name.

    :param directory: gets ``sip.pem`` with key and certificate, readable for us only.
    :param names: host names and numeric addresses it shall be good for.
    :raise ConfigError: the directory cannot be used.
    """
    path = directory / "sip.pem"
    try:
        pem = path.read_bytes() if path.exists() else b""
        if not pem or not _still_good(pem, names):
            pem = _make(names)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = directory / f"sip.pem.{os.getpid()}"
            fresh.unlink(missing_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(pem)
            fresh.replace(path)
    except OSError as error:
        raise ConfigError([f"data directory: {error.filename or directory}: {error.strerror}"]) from error
    return Certificates(ssl.PrivateCertificate.loadPEM(pem), [])  # type: ignore[no-untyped-call]


def _still_good(pem: bytes, names: list[str]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        serialization.load_pem_private_key(pem, None)
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return False
    if certificate.not_valid_after_utc < datetime.now(UTC) + RENEW_BEFORE:
        return False
    return set(_alternative_names(names)) <= set(alternative)


def _make(names: list[str]) -> bytes:
    """Key and certificate as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (names[0] if names else "mizu")[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(_alternative_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _alternative_names(names: list[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys([*names, "localhost", "127.0.0.1", "::1"]):
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name.encode("idna").decode("ascii")))
    return found


def _key_pem(key: object) -> bytes:
    private: bytes = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private


def _public(key: object) -> bytes:
    public: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
