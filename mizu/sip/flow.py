"""What the pure layers ask of a transport: flows, hops, name resolution. Implemented in ``sip.transport``
and, for tests, in ``mizu.testing``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Hop:
    """One address to try (RFC 3263)."""

    proto: str  #: ``udp``, ``tcp`` or ``tls``
    host: str  #: numeric IPv4 or IPv6, no brackets
    port: int
    tls_name: str = ""  #: name that the certificate must carry


class Flow(Protocol):
    """A way to one peer: a UDP listener plus remote address, or one stream connection (RFC 5626)."""

    proto: str
    reliable: bool
    local: tuple[str, int]  #: our address as this peer can reach it; goes into Via and Contact
    remote: tuple[str, int]  #: numeric host (IPv4-mapped IPv6 as IPv4), port
    listener: str  #: ``udp:HOST:PORT`` of the listener it belongs to; as stored in bindings
    #: What the request that it was made for allows as its answer, as its source may be forged; 0: anything.
    answer_max_bytes: int

    def send(self, data: bytes, on_error: Callable[[str], None] | None = None) -> None:
        """
        Send one message. Never raises.

        :param on_error: called at most once, at once or later, with a reason when the message cannot have
            been delivered (RFC 3261 18.4).
        """

    def alive(self) -> bool:
        """False when the connection is closed. A UDP flow is always alive."""

    def keep_for(self, duration_s: float) -> None:
        """Somebody can be reached over this connection so long: it is not idle until then. UDP: nothing."""


class Transports(Protocol):
    """The transport table."""

    def flow_to(self, hop: Hop, listener: str = "") -> Flow | None:
        """
        A flow to that address: an open connection is used again, else one is begun (messages wait in it,
        bounded). ``listener`` asks for one of ours. ``None``: no listener of that protocol and family.
        """

    def flow_of(self, listener: str, host: str, port: int) -> Flow | None:
        """The flow a binding was registered over, if it still is there (RFC 5626). For udp always, while
        the listener exists; for streams only the open connection."""


class Resolver(Protocol):
    """RFC 3263."""

    def resolve(self, uri: str, done: Callable[[Sequence[Hop]], None]) -> None:
        """
        Where to send a request for this SIP URI. ``done`` gets the hops in order of trial, empty: none
        found. For a numeric host it is called before ``resolve`` returns.
        """
