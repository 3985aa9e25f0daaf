"""What an account proves itself with: what of it counts, and what can match nothing. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from mizu.accounts.addresses import AddressEntry, FurtherAddress, parse_entry
from mizu.errors import BadRequest
from mizu.model import AuthRule, AuthType

#: Types that compare the source with a list of addresses.
BY_ADDRESS = frozenset(
    (
        AuthType.IP,
        AuthType.IP_AND_TECH_PREFIX,
        AuthType.IP_AND_PORT,
        AuthType.IP_AND_USERNAME,
        AuthType.IP_AND_DIGEST,
        AuthType.IP_RANGE,
        AuthType.IP_RANGE_AND_DIGEST,
    )
)
RANGES = frozenset((AuthType.IP_RANGE, AuthType.IP_RANGE_AND_DIGEST))
#: Types that a password belongs to, and a list of addresses.
BOTH = frozenset((AuthType.IP_AND_DIGEST, AuthType.IP_RANGE_AND_DIGEST))
TECH_PREFIX = frozenset((AuthType.TECH_PREFIX, AuthType.IP_AND_TECH_PREFIX))
#: Fields of an account that the above is about.
FIELDS = frozenset(("auth_type", "auth_ip", "tech_prefix", "call_signal_port"))
PROBLEMS_MAX = 20  #: sentences about one account; the others are counted


def rule_of(record: Mapping[str, Any], further: Sequence[FurtherAddress] = ()) -> AuthRule:
    """The rule that an account's fields and its further addresses make."""
    entries = [entry.strip() for entry in (record["auth_ip"] or "").split(",")]
    entries += [f"{one.address} port {one.port}" if one.port else one.address for one in further]
    return AuthRule(
        record["username"],
        AuthType(record["auth_type"]),
        tuple([entry for entry in entries if entry]),
        record["tech_prefix"] or "",
        record["call_signal_port"] or 0,
    )


def read(rule: AuthRule) -> tuple[list[AddressEntry], list[str]]:
    """The addresses of a rule that count, and a sentence on each thing in it that can match nothing."""
    kind, number = rule.auth_type, int(rule.auth_type)
    counting: list[AddressEntry] = []
    problems: list[str] = []
    if kind in TECH_PREFIX and not rule.tech_prefix:
        problems.append(f"auth_type {number} compares the tech_prefix, and there is none: it matches nothing")
    if kind not in BY_ADDRESS:
        if rule.addresses:
            problems.append(f"addresses do not count with auth_type {number}")
        return counting, problems
    for text in rule.addresses:
        try:
            entry = parse_entry(text)
        except BadRequest as wrong:
            problems.append(str(wrong))
            continue
        if entry.is_range and kind not in RANGES:
            problems.append(f"{text}: a range; it counts with auth_type 9 and 10 only, not with {number}")
            continue
        counting.append(entry)
        if entry.port and kind is not AuthType.IP_AND_PORT:
            problems.append(
                f"{text}: its port does not count, only with auth_type 6; every port of it is let in"
            )
        if kind is AuthType.IP_AND_PORT and not entry.port and not rule.port:
            problems.append(
                f"{text}: auth_type 6 compares the port, and there is none beside it nor in "
                "call_signal_port: it matches nothing"
            )
    if not counting:
        problems.append(
            f"auth_type {number} compares addresses, and there is none that counts: it matches nothing"
        )
    if len(problems) > PROBLEMS_MAX:
        problems = [*problems[:PROBLEMS_MAX], f"and {len(problems) - PROBLEMS_MAX} more like these"]
    return counting, problems


def warnings(
    record: Mapping[str, Any], further: Sequence[FurtherAddress] = (), *, open_relay: bool
) -> list[str]:
    """
    What an operator who changed these fields should know: sentences on what can match nothing, or everybody.

    :param open_relay: are accounts of type 0 known? (Option ``enforcestrongauth`` is off.)
    """
    rule = rule_of(record, further)
    problems = read(rule)[1]
    if rule.auth_type is AuthType.OPEN_RELAY:
        problems.insert(
            0,
            "auth_type 0 is an open relay: whoever reaches this server calls at its cost"
            if open_relay
            else "auth_type 0 (open relay) matches nothing while the option enforcestrongauth is on",
        )
    return problems
