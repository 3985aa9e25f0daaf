"""Values that pass between the layers. Frozen, without behaviour beyond reading themselves.

What is made for each call is a named tuple: that costs a fifth of a frozen dataclass.

Times: ``..._at`` is wall time (aware UTC ``datetime``), ``..._mono_s`` is monotonic seconds of this
process, ``..._s`` is a duration in seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple


class AccountType(IntEnum):
    """What a party is. 11, 12, 14, 15 and 17 are the original's numbers; the others are ours,
    because the page of the original that has them is lost (docs: accounts)."""

    ENDUSER = 0
    SUB_ENDUSER = 1
    OPERATOR = 2
    CALLING_CARD = 3
    RESELLER = 4
    OWNER = 5
    TRAFFIC_SENDER = 6
    SIP_SERVER = 7
    GATEWAY = 8
    H323_GATEWAY = 9
    SIM_OWNER = 10
    ISDN_GATEWAY = 11
    MESSAGE_GATEWAY = 12
    TRAFFIC_OWNER = 13
    SUPPORT = 14
    ADMIN = 15
    GATEWAY_OWNER = 16
    OTHER = 17


#: Parties that carry calls for people we do not know, or to them.
CARRIERS = frozenset(
    (
        AccountType.TRAFFIC_SENDER,
        AccountType.SIP_SERVER,
        AccountType.GATEWAY,
        AccountType.H323_GATEWAY,
        AccountType.ISDN_GATEWAY,
    )
)


class AuthType(IntEnum):
    """How an account proves itself (the original's ``NeedAuth``, same numbers)."""

    OPEN_RELAY = 0
    IP = 1
    TECH_PREFIX = 2
    IP_AND_TECH_PREFIX = 3
    DIGEST = 4
    USERNAME = 5
    IP_AND_PORT = 6
    IP_AND_USERNAME = 7
    IP_AND_DIGEST = 8
    IP_RANGE = 9
    IP_RANGE_AND_DIGEST = 10


class Rights(IntEnum):
    """What an operator may do (the original's levels, same numbers)."""

    NO_ACCESS = 0
    NO_LOGIN = 10
    LOGIN_ONLY = 20
    USER = 30
    SALES = 40
    ADMIN = 50
    GENERAL_ADMIN = 60


@dataclass(frozen=True, slots=True)
class Operator:
    """Who gives a command."""

    name: str
    rights: Rights
    source: str = ""  #: address it comes from, for the audit log
    scope_account_id: int | None = None  #: sees and changes only this account and below; ``None``: everything
    token_id: int | None = None  #: the token it came with; ``None``: that of the data directory


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a command changed, for the audit record: plain JSON values, no secrets."""

    topic: str  #: ``account``, ``group``, ``number``, ``sip_account``, ``option``, ...
    key: str  #: which one: username, name, number, id
    before: Mapping[str, Any] | None  #: the changed fields before; ``None``: it was not there
    after: Mapping[str, Any] | None  #: the changed fields after; ``None``: it is gone
    concerns: tuple[int | str, ...] = ()  #: accounts whose owners may see it: ids, or usernames


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """A bearer token of an operator, as people see it; the token itself is kept nowhere."""

    id: int
    username: str  #: account it belongs to
    rights: Rights
    scope: str  #: username of the account it is limited to, with what is below; empty: not limited
    label: str  #: what it is for
    created_by: str
    created_at: datetime
    expires_at: datetime | None  #: ``None``: never
    revoked_at: datetime | None
    used_at: datetime | None
    used_from: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """The beginning of a change by an operator, as it is kept. No secret is in it."""

    operator: Operator
    command: str
    line: str  #: the whole command, secrets as ``***``
    outcome: str = "begun"


@dataclass(frozen=True, slots=True)
class AuditNote:
    """For a store: the entry that the transaction of a change writes into the audit list."""

    entry: AuditEntry
    changes_of: Callable[[Any], Sequence[Change]]  #: what was changed, of what the store answers; pure
    kept: Callable[[], None]  #: called when both are committed


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry of the audit list, as people read it."""

    id: int
    begun_at: datetime
    ended_at: datetime | None  #: ``None``: the outcome is not known
    node: str
    who: str
    token_id: int | None
    source: str
    command: str
    line: str
    outcome: str  #: ``begun``, ``ok``, or an error code
    changes: Sequence[Mapping[str, Any]]  #: ``topic``, ``key``, ``before``, ``after``


@dataclass(frozen=True, slots=True)
class Limits:
    """What one account limits for its calls and those of everything below it. Prefixes are text as stored."""

    account_id: int
    max_channels: int = 0  #: calls at a time; 0: no limit of its own
    partners: frozenset[int] | None = None  #: accounts, members of groups among them; ``None``: all
    enabled_prefixes: tuple[str, ...] | None = None  #: of called numbers; ``None``: all
    blocked_prefixes: tuple[str, ...] = ()
    tech_prefixes: frozenset[str] | None = None  #: that a gateway takes; ``None``: all
    test_prefixes: tuple[str, ...] | None = None  #: a gateway takes only calls with one; ``None``: all calls
    only_test_calls: bool = False  #: of a gateway


class ChannelLimit(NamedTuple):
    """A call counts for this account."""

    account_id: int
    most: int  #: calls at a time


@dataclass(frozen=True, slots=True)
class Account:
    """One party: what authorization, the registrar and routing need to know of it, no secret."""

    id: int
    username: str
    type: AccountType = AccountType.ENDUSER
    enabled: bool = True  #: already false when the account or an ancestor is disabled or suspended
    parent_id: int | None = None
    auth_type: AuthType = AuthType.DIGEST
    can_dial: bool = True
    display_name: str = ""
    caller_number: str = ""  #: number shown to the called party; empty: the username
    max_contacts: int = 0  #: registered contacts at a time; 0: the registrar's setting
    trusted_identity: bool = False  #: may say who calls (From, P-Asserted-Identity)
    fix_nat: bool = False  #: rewrite private SDP addresses of this phone to where it sends from
    version: int = 0  #: grows with every change of the row
    calling_circle: int = 0  #: users call each other only inside the same one
    tech_prefix: str = ""  #: its called numbers begin so, because it is known by that
    company_id: int | None = None  #: whose short numbers it may dial: of its company, itself if it is one
    owners: tuple[int, ...] = ()  #: its owner, the owner of that one, ..., upward
    limits: tuple[Limits, ...] = ()  #: of itself and its owners, upward; only of those that limit anything


@dataclass(frozen=True, slots=True)
class AuthQuery:
    """A request that wants to be somebody. Numbers and names are as the request has them, unescaped."""

    method: str
    username: str  #: of the credentials, else of From (REGISTER: of To); may be empty
    realm: str
    source_host: str  #: normalized address text; IPv4-mapped IPv6 is already IPv4
    source_port: int
    proto: str  #: ``udp``, ``tcp`` or ``tls``
    caller_number: str
    called_number: str
    has_credentials: bool
    display_name: str = ""  #: of From; not of a REGISTER


@dataclass(frozen=True, slots=True)
class AuthAnswer:
    """A backend knows who this is. With ``ha1`` the request must prove a password, without it need not."""

    account: Account
    ha1: Mapping[str, str] | None = field(default=None, repr=False)  #: ``MD5``/``SHA-256`` -> lower-case hex
    cache_s: float = 60.0  #: the answer may be used again for so long
    any_source: bool = False  #: it would be the same wherever the credentials come from


@dataclass(frozen=True, slots=True)
class AuthRule:
    """By what an account that is not known by a password alone is known (any ``AuthType`` but ``DIGEST``)."""

    username: str
    auth_type: AuthType
    addresses: tuple[str, ...] = ()  #: as stored; ``mizu.accounts.addresses`` reads them
    tech_prefix: str = ""  #: called numbers begin so
    port: int = 0  #: it sends from this port; 0: none is given


class Binding(NamedTuple):
    """One registered contact of an account (RFC 3261 10, RFC 3327, RFC 5626)."""

    account_id: int
    aor: str  #: the account's username
    contact: str  #: the URI as registered
    expires_at_s: float  #: wall time, seconds since the epoch
    call_id: str
    cseq: int
    q_milli: int = 1000  #: 0..1000
    path: tuple[str, ...] = ()  #: Path values, topmost first
    proto: str = "udp"
    received_host: str = ""  #: where the REGISTER came from
    received_port: int = 0
    local: str = ""  #: our listener it came to, ``udp:HOST:PORT``; finds the flow again
    user_agent: str = ""
    instance_id: str = ""  #: +sip.instance, without <>
    reg_id: int = 0


@dataclass(frozen=True, slots=True)
class TrunkCredentials:
    """What we say when a trunk challenges us, and to whom only."""

    username: str
    password: str = field(repr=False)
    realm: str = ""  #: answered only for this realm; empty: any realm of this trunk's own address


class CallRequest(NamedTuple):
    """A call that wants a route."""

    call_id: str  #: ours, a UUID in hex
    caller: Account
    caller_number: str
    called_number: str  #: user part of the Request-URI, unescaped
    request_uri: str
    source_host: str
    at: datetime
    source_proved: bool = False  #: the caller is certainly there: he answered a challenge, or is connected


class Route(NamedTuple):
    """One way to carry a call; the switch tries routes in order.

    Either ``account`` is set (ring every contact registered for it) or ``uri`` is (send there).
    A router may leave ``channels`` alone: the switch fills it.
    """

    name: str  #: for CDR and console: trunk name or account username
    account: Account | None = None
    uri: str = ""  #: Request-URI, its host is resolved by RFC 3263 unless ``via_uri`` is set
    via_uri: str = ""  #: next hop, when it differs from ``uri``
    called_number: str = ""  #: as sent on this route
    caller_number: str = ""  #: empty: as the call has it
    credentials: TrunkCredentials | None = None
    ring_timeout_s: float = 0.0  #: 0: the switch's own
    answer_timeout_s: float = 0.0  #: no response at all for so long: next route; 0: timer B
    fix_nat: bool = False
    reason: str = ""  #: why this route, for people
    gateway: Account | None = None  #: with ``uri``: whose limits count and whom the call row names
    own: bool = False  #: a service of this server, no partner of anybody
    channels: tuple[ChannelLimit, ...] = ()  #: what the call counts for while it goes this way

    @property
    def party(self) -> Account | None:
        """The account that is called or carries the call."""
        return self.account or self.gateway


class CallOpened(NamedTuple):
    """First state of a call row: written before the call goes on."""

    call_id: str
    node: str
    caller_account_id: int | None
    caller_number: str
    called_number: str
    caller_sip_call_id: str
    caller_address: str  #: ``proto:host:port``
    setup_at: datetime
    channels: tuple[ChannelLimit, ...] = ()  #: what the call counts for


class CallAnswered(NamedTuple):
    """Second state: committed before the 200 passes to the caller."""

    call_id: str
    answer_at: datetime
    route: str
    callee_account_id: int | None
    callee_sip_call_id: str
    callee_address: str
    dialogs: str = ""  #: JSON text: what rebuilds both dialogs; empty: nothing


@dataclass(frozen=True, slots=True)
class BanRecord:
    """A sender whose messages are dropped, as the database has it."""

    target: str  #: address, network, range ``a-b`` or ``address:port``, in its shortest spelling
    reason: str
    by: str  #: ``guard``, or the operator's name
    begun_at: datetime
    until_at: datetime | None  #: ``None``: never; in the past: over, kept to know a repetition
    times: int = 1  #: which ban in a row


@dataclass(frozen=True, slots=True)
class TrustedAddress:
    """An entry of the white list."""

    target: str
    note: str
    added_by: str
    added_at: datetime | None  #: ``None``: by option


class CallClosed(NamedTuple):
    """Last state of a call row."""

    call_id: str
    ring_at: datetime | None
    end_at: datetime
    setup_s: float  #: INVITE to answer or end, by the monotonic clock
    talk_s: float  #: answer to end, by the monotonic clock; 0: never answered
    sip_status: int  #: final status sent to the caller
    sip_reason: str
    ended_by: str  #: ``caller``, ``callee``, ``switch``, ``operator``
    cause: str  #: stable word: ``answered``, ``busy``, ``cancelled``, ``no_answer``, ...
    route: str
    callee_account_id: int | None
    callee_sip_call_id: str
    callee_address: str


@dataclass(frozen=True, slots=True)
class Cdr:
    """A call row as people read it. ``None``: has not happened."""

    call_id: str
    state: str  #: ``setup``, ``answered``, ``ended``
    caller: str
    caller_number: str
    called_number: str
    callee: str
    route: str
    caller_sip_call_id: str
    callee_sip_call_id: str
    caller_address: str
    callee_address: str
    setup_at: datetime
    ring_at: datetime | None
    answer_at: datetime | None
    end_at: datetime | None
    setup_s: float | None
    talk_s: float | None
    sip_status: int | None
    sip_reason: str
    ended_by: str
    cause: str
