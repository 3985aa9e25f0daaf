"""Whether the ``uri`` of digest credentials names the same thing as the Request-URI (RFC 7616 3.4.6)."""

from mizu.errors import MizuError
from mizu.sip.uri import SipUri, parse_uri

_DEFAULT_PORT = {"sip": 5060, "sips": 5061}


def digest_uri_fits(digest_uri: str, request_uri: str) -> bool:
    """
    Tolerant where phones and proxies in between are known to differ and no other target is meant: URI
    parameters, letter case of the host, a default port written or not. User part, host and port must be
    the same, because a password proof for one number must not be good for another.

    :return: false also when one of them cannot be read.
    """
    if digest_uri == request_uri:
        return True
    try:
        ours, theirs = parse_uri(request_uri), parse_uri(digest_uri)
    except MizuError:
        return False
    if isinstance(ours, SipUri) and isinstance(theirs, SipUri):
        return (
            ours.scheme == theirs.scheme
            and ours.user == theirs.user
            and ours.host.lower() == theirs.host.lower()
            and _port(ours) == _port(theirs)
        )
    return type(ours) is type(theirs) and str(ours).lower() == str(theirs).lower()


def _port(uri: SipUri) -> int:
    return uri.port if uri.port is not None else _DEFAULT_PORT[uri.scheme]
