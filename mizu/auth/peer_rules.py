"""Where our partners send from: trunks of routers, and accounts that carry traffic.

For the guard, which takes more from them before it bans; nobody is let in by it.
"""

from collections.abc import Iterable, Sequence

from zope.interface import implementer

from mizu.auth.rules import RuleIndex
from mizu.interfaces import IAuthRules
from mizu.model import AuthRule, AuthType
from mizu.targets import Target


@implementer(IAuthRules)
class PeerRules:
    """
    Addresses of partners as rules, so that :class:`~mizu.auth.rule_feed.RuleFeed` keeps them fresh.

    :param accounts: rules of accounts, all of type ``IP_RANGE``.
    :param trunks: hosts of routers' trunks, which are not in the database.
    """

    def __init__(self, accounts: IAuthRules, trunks: Iterable[str]) -> None:
        self._accounts = accounts
        # No username has a blank in it.
        rules = [AuthRule(f"trunk {host}", AuthType.IP_RANGE, (host,)) for host in sorted(set(trunks))]
        self._trunks = {rule.username: rule for rule in rules}

    async def load(self) -> Sequence[AuthRule]:
        """See the interface."""
        return [*self._trunks.values(), *await self._accounts.load()]

    async def find(self, usernames: Sequence[str]) -> Sequence[AuthRule]:
        """See the interface."""
        trunks = [self._trunks[name] for name in usernames if name in self._trunks]
        return [*trunks, *await self._accounts.find([name for name in usernames if name not in self._trunks])]


def targets_of(index: RuleIndex, username: str) -> list[Target]:
    """The addresses of a partner, those of its domain names included; empty: it has none any more."""
    networks = [place.network for place in index.places_of(username)]
    return [
        Target(network.version, int(network.network_address), int(network.broadcast_address))
        for network in networks
    ]
