"""By what accounts are known that need no password, or not only one: addresses, ports and tech prefixes."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from zope.interface import implementer

from mizu.interfaces import IAuthRules
from mizu.model import AuthRule, AuthType
from mizu.store.postgres import Pool, Rows
from mizu.store.text import storable

_RULES = """SELECT a.username, a.auth_type, a.auth_ip, a.tech_prefix, a.call_signal_port,
 array(SELECT CASE WHEN port = 0 THEN address ELSE address || ' port ' || port END
  FROM account_address d WHERE d.account_id = a.id ORDER BY address, port)
 FROM account a WHERE a.auth_type <> 4 AND a.enabled AND NOT a.suspended
 AND (a.parent_id IS NULL OR account_ancestors_enabled(a.parent_id))"""
_ALL = f"{_RULES} AND a.username > %(after)s ORDER BY a.username LIMIT %(limit)s"
_SOME = f"{_RULES} AND a.username = ANY (%(names)s)"
_PAGE = 5000


@implementer(IAuthRules)
class PostgresRules:
    """
    Rules of accounts, read page by page.

    :param all_: takes ``after``, a username, and ``limit``. :param some: takes ``names``.
    :param rules_of: the rules in rows of either; a row begins with the username.
    """

    def __init__(
        self, reports: Pool, all_: str, some: str, rules_of: Callable[[Rows], Sequence[AuthRule]]
    ) -> None:
        self._reports = reports
        self._all = all_
        self._some = some
        self._rules_of = rules_of

    def load(self) -> Deferred[Sequence[AuthRule]]:
        """See the interface."""
        return ensureDeferred(self._load())

    async def _load(self) -> Sequence[AuthRule]:
        found: list[AuthRule] = []
        after = ""
        while True:
            rows = await self._reports.query(self._all, {"after": after, "limit": _PAGE})
            found += self._rules_of(rows)
            if len(rows) < _PAGE:
                return found
            after = rows[-1][0]

    def find(self, usernames: Sequence[str]) -> Deferred[Sequence[AuthRule]]:
        """See the interface."""
        names = [name for name in usernames if storable(name)]
        if not names:
            return succeed([])
        return self._reports.query(self._some, {"names": names}).addCallback(self._rules_of)


class PostgresAuthRules(PostgresRules):
    """By what accounts are known that need no password, or not only one."""

    def __init__(self, reports: Pool) -> None:
        super().__init__(reports, _ALL, _SOME, lambda rows: [_rule_of(row) for row in rows])


def _rule_of(row: Sequence[Any]) -> AuthRule:
    addresses = [entry.strip() for entry in row[2].split(",")]
    return AuthRule(
        username=row[0],
        auth_type=AuthType(row[1]),
        addresses=tuple([entry for entry in addresses if entry] + list(row[5])),
        tech_prefix=row[3],
        port=row[4],
    )
