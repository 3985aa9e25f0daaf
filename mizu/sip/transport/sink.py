"""Who stands around the transports: the receiver of messages and the guard in front of the parser."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mizu.sip.flow import Flow
    from mizu.sip.message import Request, Response
    from mizu.sip.parser import BadMessage


class MessageSink(Protocol):
    """Receives what the transports have read."""

    def message_received(self, message: "Request | Response", flow: "Flow") -> None:
        """One message; a request has been stamped with its source (RFC 3261 18.2.1, RFC 3581)."""

    def bad_message(self, bad: "BadMessage", data_len: int, flow: "Flow") -> None:
        """
        Something that is not SIP. ``bad.request``, when there, is enough of it to send an answer over
        ``flow``. A stream is closed after this returns, and what was sent before still goes out.
        """

    def flow_closed(self, flow: "Flow") -> None:
        """A stream has ended; never called for UDP."""


class Guard(Protocol):
    """In front of the parser; implemented by :class:`mizu.guard.filter.Gate`."""

    def admit(self, host: str, size_bytes: int, first: bytes, port: int = 0) -> bool:
        """Whether a datagram may be parsed. ``first``: how it begins, at least one byte."""

    def admit_connection(self, host: str) -> bool:
        """Whether a connection may be accepted."""

    def admit_framed(self, host: str, port: int = 0) -> bool:
        """Whether one more message of an accepted connection may be handled."""

    def note_garbage(self, host: str, port: int, code: str) -> None:
        """A message from there could not be parsed."""


#: Told of each message: ``in`` or ``out``, protocol, our address, theirs, the bytes.
Trace = Callable[[str, str, tuple[str, int], tuple[str, int], bytes], None]
