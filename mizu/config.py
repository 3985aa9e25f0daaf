"""Every setting of ``mizu.toml``: name, type, default, unit, meaning. The one place that has defaults.

``etc/mizu.toml`` and the settings page are generated from here.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from mizu.settings import redact, setting


class Section:
    """What the sections have in common: printed, they show no secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        names = [item.name for item in fields(self)]  # type: ignore[arg-type]
        shown = ", ".join(f"{name}={redact(getattr(self, name), name)!r}" for name in names)
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True, slots=True, repr=False)
class SipConfig(Section):
    """``[sip]``: listeners and names."""

    listen: list[str] = setting(
        ["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"], "PROTO:HOST:PORT, PROTO is udp, tcp or tls; [::] for IPv6"
    )
    domains: list[str] = setting(
        [], "host names that are us; empty: every name in a Request-URI is taken as ours"
    )
    realm: str = setting("mizu", "digest realm; changing it makes every stored password unusable")
    advertise: str = setting(
        "", "host peers shall send to, in Via and Contact; empty: the address they reach us by"
    )
    user_agent: str = setting("mizu", "Server and User-Agent header; empty: none")
    udp_buffer_bytes: int = setting(4_194_304, "socket buffers of UDP listeners", least=65536)
    udp_max_request_bytes: int = setting(1300, "larger requests go by TCP (RFC 3261 18.1.1)", least=0)
    tls_certificate: str = setting("", "PEM file; empty: a self-signed one is made in the data directory")
    tls_key: str = setting("", "PEM file")
    tls_authorities: str = setting(
        "", "PEM file of those who may sign the certificates of peers we connect to; empty: the system's"
    )
    tls_verify: bool = setting(True, "refuse to connect to a peer whose certificate is not for its name")
    t1_s: float = setting(0.5, "round-trip estimate (RFC 3261 table 4)", least=0.01)
    t2_s: float = setting(4.0, "longest retransmission interval", least=0.01)
    t4_s: float = setting(5.0, "how long a message stays in the network", least=0.01)


@dataclass(frozen=True, slots=True, repr=False)
class LimitsConfig(Section):
    """``[limits]``: how much of everything. At the limit new work is refused, nothing else is hurt."""

    message_bytes: int = setting(65_535, "largest SIP message", least=1024)
    header_lines: int = setting(256, "most header lines of a message", least=16)
    line_bytes: int = setting(8192, "longest header line, unfolded", least=128)
    transactions: int = setting(200_000, "open SIP transactions", least=1)
    calls: int = setting(20_000, "calls at a time", least=1)
    forks: int = setting(32, "contacts rung at a time by one call", least=1)
    routes: int = setting(16, "routes tried by one call", least=1)
    registrations: int = setting(500_000, "registered contacts in all", least=1)
    socket_bans: int = setting(
        500,
        "newest bans whose datagrams the kernel drops at our UDP sockets, as it does what cannot be SIP by "
        "its first byte or size (Linux); 0: the process drops all",
        least=0,
        most=600,
    )
    udp_wait_s: float = setting(
        0.3,
        "a request over UDP that begins something and waited longer at our socket is thrown away: its sender "
        "repeats it after 0.5 s (RFC 3261 T1), and that one is answered in time; 0: none is",
        least=0,
        most=32,
    )
    connections: int = setting(10_000, "TCP and TLS connections", least=1)
    connections_per_address: int = setting(100, "TCP and TLS connections from one address", least=1)
    connection_buffer_bytes: int = setting(
        262_144, "unsent bytes after which a peer that does not read is dropped", least=1024
    )
    connection_idle_s: float = setting(
        900.0, "an idle connection that carries no registration is closed", least=1
    )
    connection_open_s: float = setting(
        5.0, "a connection must be open, TLS included, in this time", least=0.1
    )
    connection_message_s: float = setting(
        10.0, "a message must be complete so long after its first byte", least=0.1
    )
    nonces: int = setting(200_000, "nonces whose nc is remembered", least=1)
    dns_cache: int = setting(10_000, "cached DNS answers", least=1)
    auth_cache: int = setting(200_000, "cached authorization answers", least=0)
    peers: int = setting(
        50_000, "trunks and accounts of SIP servers, gateways and senders that the guard knows", least=1
    )
    trace_messages: int = setting(1000, "messages kept by trace", least=0)


@dataclass(frozen=True, slots=True, repr=False)
class RegistrarConfig(Section):
    """``[registrar]``: phones of one account. For how long is said by options (``upperexpire``...)."""

    contacts_max: int = setting(10, "contacts of one account", least=1)
    path_from: list[str] = setting(
        [],
        "addresses, networks or ranges of proxies between phones and mizu: their Path is followed wherever "
        "it leads, so they must take out what a phone has put there; from others a Path may name only "
        "the address that the REGISTER came from",
    )


@dataclass(frozen=True, slots=True, repr=False)
class AuthConfig(Section):
    """``[auth]``: who a request comes from. Backends, ``[[auth.backend]]``, are asked in their order."""

    nonce_s: float = setting(300.0, "a nonce is good for so long, then stale=true", least=1)
    algorithms: list[str] = setting(
        ["MD5"],
        "offered in this order: SHA-256, MD5; one header each (RFC 8760)",
        choices=("SHA-256", "MD5"),
    )
    backend: list[dict[str, Any]] = setting(
        [{"name": "accounts", "type": "store"}], "[[auth.backend]]: name, type, and the settings of that type"
    )


@dataclass(frozen=True, slots=True, repr=False)
class RoutingConfig(Section):
    """``[routing]``: where calls go. Routers, ``[[routing.router]]``, are asked in their order."""

    router: list[dict[str, Any]] = setting(
        [{"name": "echo", "type": "echo"}, {"name": "local", "type": "local"}],
        "[[routing.router]]: name, type, and the settings of that type",
    )


@dataclass(frozen=True, slots=True, repr=False)
class GuardConfig(Section):
    """``[guard]``: where bans go besides the database. Thresholds and times are global options."""

    export: list[dict[str, Any]] = setting(
        [], "[[guard.export]]: name, type, and the settings of that type; none is built in"
    )


@dataclass(frozen=True, slots=True, repr=False)
class CallConfig(Section):
    """``[call]``: what calls wait for."""

    ring_timeout_s: float = setting(120.0, "no answer after so long: 480 no answer", least=1)
    session_expires_s: int = setting(1800, "session timer offered (RFC 4028)", least=90)
    session_min_s: int = setting(90, "shorter session timers are answered 422", least=90)
    session_timer: bool = setting(True, "keep both legs refreshed; a peer that vanished ends the call")
    options_ping_s: float = setting(
        0.0, "OPTIONS inside calls whose peer has no session timer; 0: off", least=0
    )
    max_forwards: int = setting(70, "of the requests we send", least=1, most=255)
    drain_s: float = setting(30.0, "graceful shutdown waits so long for calls to end", least=0)


@dataclass(frozen=True, slots=True, repr=False)
class MediaConfig(Section):
    """``[media]``: the built-in answer party."""

    echo_numbers: list[str] = setting(
        ["9196", "echo"], "called numbers that answer and play back what they hear; empty: none"
    )
    echo_rtp_ports: str = setting("30000-30999", "UDP ports for its RTP; even ports are used")
    echo_max_s: float = setting(600.0, "longest echo call", least=1)


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseConfig(Section):
    """``[database]``: where everything is kept, and how long it may take."""

    url: str = setting(
        "",
        "postgresql://user:password@host:port/name; empty: our own PostgreSQL in the data directory",
    )
    connections: int = setting(4, "for call control", least=1)
    report_connections: int = setting(2, "for console, reports and HTTP", least=1)
    waiting_max: int = setting(1000, "queries waiting for a connection; one more is refused", least=1)
    statement_timeout_s: float = setting(2.0, "a statement is given up after this", least=0.05)
    call_queue_max: int = setting(
        100_000, "call rows waiting to be written; at the limit new calls are refused", least=1
    )
    imports: int = setting(
        3, "imports by resellers at a time, one each; staff have one besides; one more is refused", least=1
    )
    imports_kept: int = setting(100, "imports that 'import status' knows of in all", least=1)
    imports_kept_of_one: int = setting(20, "and of those by one reseller, or by staff", least=1)
    poll_s: float = setting(
        1.0, "how often the change version is read, in case a notification was lost", least=0.05
    )


@dataclass(frozen=True, slots=True, repr=False)
class HttpConfig(Section):
    """``[http]``: status, metrics and console."""

    listen: str = setting("127.0.0.1:8080", "HOST:PORT of status and console; empty: none")
    body_bytes: int = setting(1_048_576, "largest request body", least=1024)
    upload_bytes: int = setting(
        200_000_000, "largest file that is sent for import, one at a time; 0: none are taken", least=0
    )
    connections: int = setting(200, "HTTP connections at a time", least=1)


@dataclass(frozen=True, slots=True, repr=False)
class LogConfig(Section):
    """``[log]``: what is written down."""

    level: str = setting(
        "info", "what is logged: this and what is worse", choices=("debug", "info", "warn", "error")
    )
    per_source_per_minute: int = setting(6, "log lines of one kind about one address in a minute", least=0)


@dataclass(frozen=True, slots=True, repr=False)
class PluginsConfig(Section):
    """``[plugins]``: where else plugins are looked for."""

    path: list[str] = setting([], "directories with single plugin files")


@dataclass(frozen=True, slots=True, repr=False)
class Config(Section):
    """All of ``mizu.toml`` with the command line laid over it."""

    sip: SipConfig = field(default_factory=SipConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    registrar: RegistrarConfig = field(default_factory=RegistrarConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    call: CallConfig = field(default_factory=CallConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    log: LogConfig = field(default_factory=LogConfig)
    plugins: PluginsConfig = field(default_factory=PluginsConfig)
    data: str = "./var"  #: command line only: the data directory
    demo: bool = False  #: command line only
