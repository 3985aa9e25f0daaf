"""Groups: many-to-many, of four kinds, usable wherever one member is."""

from dataclasses import dataclass
from enum import IntEnum

from mizu.model import AccountType


class GroupKind(IntEnum):
    """What the members of a group are."""

    USERS = 1
    GATEWAYS = 2
    SENDERS = 3
    SIM_PACKETS = 4


_GATEWAYS = frozenset(
    (
        AccountType.SIP_SERVER,
        AccountType.GATEWAY,
        AccountType.H323_GATEWAY,
        AccountType.ISDN_GATEWAY,
        AccountType.MESSAGE_GATEWAY,
    )
)
_SENDERS = frozenset((AccountType.TRAFFIC_SENDER,))
#: Types of accounts that may be members; SIM packets are no accounts.
MEMBER_TYPES: dict[GroupKind, frozenset[AccountType]] = {
    GroupKind.USERS: frozenset(AccountType) - _GATEWAYS - _SENDERS,
    GroupKind.GATEWAYS: _GATEWAYS,
    GroupKind.SENDERS: _SENDERS,
    GroupKind.SIM_PACKETS: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Group:
    """One group."""

    id: int
    name: str
    kind: GroupKind
    owner_id: int | None  #: account whose operators manage it; ``None``: staff
    owner: str  #: its username, or empty
    note: str
    members: int  #: how many there are
    version: int
