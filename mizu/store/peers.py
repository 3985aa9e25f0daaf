"""Where accounts that carry traffic send from: SIP servers, gateways, traffic senders."""

# ruff: noqa: S608 - what is put into SQL text here are numbers of our own enumerations; values are parameters

from collections.abc import Sequence
from typing import Any

from mizu.model import CARRIERS, AuthRule, AuthType
from mizu.store.addresses import PostgresRules
from mizu.store.postgres import Pool

_TYPES = ", ".join(str(int(one)) for one in sorted(CARRIERS))
#: Types that compare no address: what such an account has in ``auth_ip`` says nothing.
_NO_ADDRESS = ", ".join(
    str(int(one)) for one in (AuthType.OPEN_RELAY, AuthType.TECH_PREFIX, AuthType.DIGEST, AuthType.USERNAME)
)
_PEERS = f"""SELECT a.username, a.domain_name, a.second_host,
 CASE WHEN a.auth_type IN ({_NO_ADDRESS}) THEN '' ELSE a.auth_ip END,
 CASE WHEN a.auth_type IN ({_NO_ADDRESS}) THEN '{{}}' ELSE
  array(SELECT address FROM account_address d WHERE d.account_id = a.id ORDER BY address) END
 FROM account a WHERE a.type IN ({_TYPES}) AND a.enabled AND NOT a.suspended AND NOT a.is_template
 AND (a.parent_id IS NULL OR account_ancestors_enabled(a.parent_id))"""
_ALL = f"{_PEERS} AND a.username > %(after)s ORDER BY a.username LIMIT %(limit)s"
_SOME = f"{_PEERS} AND a.username = ANY (%(names)s)"


class PostgresPeers(PostgresRules):
    """
    Their addresses as rules of type ``IP_RANGE``: hosts that calls go to, and, where addresses count for the
    account, those that it sends from.
    """

    def __init__(self, reports: Pool) -> None:
        super().__init__(reports, _ALL, _SOME, _rules_of)


def _rules_of(rows: Sequence[Sequence[Any]]) -> list[AuthRule]:
    found = []
    for username, domain_name, second_host, auth_ip, further in rows:
        entries = [domain_name, second_host, *auth_ip.split(","), *further]
        addresses = tuple(dict.fromkeys(entry.strip() for entry in entries if entry.strip()))
        if addresses:
            found.append(AuthRule(username, AuthType.IP_RANGE, addresses))
    return found
