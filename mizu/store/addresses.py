"""By what accounts are known that need no password, or not only one: addresses, ports and tech prefixes."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from zope.interface import implementer

from mizu.errors import NotFound
from mizu.interfaces import IAuthRules
from mizu.model import AuthRule, AuthType
from mizu.store.postgres import Pool
from mizu.store.text import storable

_RULES = """SELECT a.username, a.auth_type, a.auth_ip, a.tech_prefix, a.call_signal_port,
 array(SELECT CASE WHEN port = 0 THEN address ELSE address || ' port ' || port END
  FROM account_address d WHERE d.account_id = a.id ORDER BY address, port)
 FROM account a WHERE a.auth_type <> 4 AND a.enabled AND NOT a.suspended
 AND (a.parent_id IS NULL OR account_ancestors_enabled(a.parent_id))"""
_ALL = f"{_RULES} AND a.username > %(after)s ORDER BY a.username LIMIT %(limit)s"
_SOME = f"{_RULES} AND a.username = ANY (%(names)s)"
_ADD = """INSERT INTO account_address (account_id, address, port, note)
 SELECT id, %(address)s, %(port)s, %(note)s FROM account WHERE username = %(username)s
 ON CONFLICT (account_id, address, port) DO UPDATE SET note = excluded.note RETURNING account_id"""
_REMOVE = """DELETE FROM account_address d USING account a WHERE a.id = d.account_id
 AND a.username = %(username)s AND d.address = %(address)s RETURNING d.account_id"""
_PAGE = 5000


@implementer(IAuthRules)
class PostgresAuthRules:
    """See :class:`~mizu.interfaces.IAuthRules`."""

    def __init__(self, reports: Pool) -> None:
        self._reports = reports

    def load(self) -> Deferred[Sequence[AuthRule]]:
        """See the interface."""
        return ensureDeferred(self._load())

    async def _load(self) -> Sequence[AuthRule]:
        found: list[AuthRule] = []
        after = ""
        while True:
            rows = await self._reports.query(_ALL, {"after": after, "limit": _PAGE})
            found += [_rule_of(row) for row in rows]
            if len(rows) < _PAGE:
                return found
            after = rows[-1][0]

    def find(self, usernames: Sequence[str]) -> Deferred[Sequence[AuthRule]]:
        """See the interface."""
        names = [name for name in usernames if storable(name)]
        if not names:
            return succeed([])
        query = self._reports.query(_SOME, {"names": names})
        return query.addCallback(lambda rows: [_rule_of(row) for row in rows])

    async def add(self, username: str, address: str, port: int = 0, note: str = "") -> None:
        """One more address of an account. :raise NotFound: there is no such account."""
        values = {"username": username, "address": address, "port": port, "note": note}
        if not storable(username + address + note) or not await self._reports.query(_ADD, values):
            raise NotFound(f"there is no account {username!r}")

    async def remove(self, username: str, address: str) -> None:
        """One address less, with whatever port. :raise NotFound: it has no such address."""
        values = {"username": username, "address": address}
        if not storable(username + address) or not await self._reports.query(_REMOVE, values):
            raise NotFound(f"{username!r} has no address {address!r}")


def _rule_of(row: Sequence[Any]) -> AuthRule:
    addresses = [entry.strip() for entry in row[2].split(",")]
    return AuthRule(
        username=row[0],
        auth_type=AuthType(row[1]),
        addresses=tuple([entry for entry in addresses if entry] + list(row[5])),
        tech_prefix=row[3],
        port=row[4],
    )
