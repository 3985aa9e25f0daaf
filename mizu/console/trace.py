"""The message trace: while it is on, the last SIP messages are kept in memory, without their secrets."""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from mizu.console.services import TracedMessage

TEXT_MAX_BYTES = 16_384  #: of one message; the rest is cut off

_SECRET_HEADERS = re.compile(
    r"^((?:Proxy-)?Authori[sz]ation|(?:WWW|Proxy)-Authenticate|(?:Proxy-)?Authentication-Info)"
    r"([ \t]*:)((?:[^\r\n]|\r?\n[ \t])*)",
    re.IGNORECASE | re.MULTILINE,
)
_SECRET_PARAMETERS = re.compile(
    r"\b(response|nonce|nextnonce|cnonce|rspauth|opaque|auts)([ \t\r\n]*=[ \t\r\n]*)"
    r'("(?:[^"\\]|\\.)*"?|[^,\s]*)',
    re.IGNORECASE,
)
_OTHER_SCHEME = re.compile(r"\A(\s*)(?!Digest\b)([^\s,]+)(\s+)(.+)", re.IGNORECASE | re.DOTALL)
_CRYPTO_KEY = re.compile(r"(a=crypto:[^\r\n]*?inline:)[^\r\n|\s]*", re.IGNORECASE)
_ICE_PASSWORD = re.compile(r"(a=ice-pwd:)[^\r\n]*", re.IGNORECASE)
_URI_PASSWORD = re.compile(r"(sips?:[^\s:@<>;]+:)[^\s@<>]+@", re.IGNORECASE)


def redacted(text: str) -> str:
    """
    A SIP message without what could be replayed or guessed from: digest answers, nonces, whole credentials
    of other schemes, passwords in SIP URIs, SRTP keys (RFC 4568) and ICE passwords in its body.
    """
    text = _SECRET_HEADERS.sub(_without_secrets, text)
    text = _URI_PASSWORD.sub(r"\1***@", text)
    text = _CRYPTO_KEY.sub(r"\1***", text)
    return _ICE_PASSWORD.sub(r"\1***", text)


def _without_secrets(found: re.Match[str]) -> str:
    name, colon, value = found.groups()
    value = _SECRET_PARAMETERS.sub(r"\1\2***", value)
    if "authorization" in name.lower():
        value = _OTHER_SCHEME.sub(r"\1\2\3***", value)  # Basic, Bearer: all of it is the secret
    return f"{name}{colon}{value}"


class MessageTrace:
    """
    Keeps the last ``limit`` messages. Check :attr:`on` before :meth:`note`, so that an idle trace costs the
    path of a message one attribute.
    """

    def __init__(self, limit: int, wall: Callable[[], datetime]) -> None:
        self.on = False
        self._messages: deque[TracedMessage] = deque(maxlen=limit)
        self._limit = limit
        self._wall = wall
        self._host, self._port, self._user = "", 0, b""
        self._address = ""

    def start(self, *, address: str = "", user: str = "") -> None:
        self._address, self._user = address, user.encode("utf-8", "surrogateescape")
        self._host, self._port = _split_address(address)
        self.on = True

    def stop(self) -> None:
        self.on = False

    def clear(self) -> None:
        self._messages.clear()

    def state(self) -> Mapping[str, Any]:
        return {
            "on": self.on,
            "address": self._address,
            "user": self._user.decode("utf-8", "surrogateescape"),
            "kept": len(self._messages),
            "limit": self._limit,
        }

    def recent(self, limit: int) -> Sequence[TracedMessage]:
        return list(self._messages)[-limit:]

    def note(self, direction: str, proto: str, remote: tuple[str, int], data: bytes) -> None:
        """
        A message passed by.

        :param direction: ``in`` or ``out``.
        :param remote: numeric host and port of the other side.
        :param data: the bytes on the wire.
        """
        host, port = remote[0], remote[1]
        if self._host and (host != self._host or (self._port and port != self._port)):
            return
        if self._user and self._user not in data:  # names the user in its URIs or its credentials
            return
        text = redacted(data[:TEXT_MAX_BYTES].decode("utf-8", "surrogateescape"))
        if len(data) > TEXT_MAX_BYTES:
            text += f"\n... {len(data) - TEXT_MAX_BYTES} bytes more"
        shown_host = f"[{host}]" if ":" in host else host
        self._messages.append(TracedMessage(self._wall(), direction, proto, f"{shown_host}:{port}", text))


def _split_address(address: str) -> tuple[str, int]:
    """``host``, ``host:port``, ``[v6]``, ``[v6]:port`` or bare ``v6``; port 0: any."""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        return host, int(port[1:]) if port[1:].isdecimal() else 0
    if address.count(":") == 1:
        host, _, port = address.partition(":")
        return host, int(port) if port.isdecimal() else 0
    return address, 0
