"""Addresses in the configuration: whoever sends from there is that account, without a password."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zope.interface import implementer

from mizu.accounts.addresses import AddressEntry, parse_entry
from mizu.auth.interfaces import ISelectsAtOnce
from mizu.auth.prefix_table import PrefixTable
from mizu.errors import BadRequest, CallerMismatch
from mizu.interfaces import IAccountStore, IAuthBackend
from mizu.model import AuthAnswer, AuthQuery
from mizu.settings import setting


@dataclass(frozen=True, slots=True)
class IpBackendSettings:
    """Of ``type = "ip"``."""

    senders: list[str] = setting(
        doc='"ADDRESS USERNAME": address, network, range a-b or 10.1.*.*, with :PORT when it shall count'
    )
    cache_s: float = setting(
        300.0, "an answer may be used again for so long; a change ends it at once", least=0
    )


def read_senders(lines: Sequence[str]) -> tuple[list[tuple[AddressEntry, str]], list[str]]:
    """What ``senders`` says, and one sentence for each line that says nothing."""
    senders, problems = [], []
    for line in lines:
        words = line.rsplit(maxsplit=1)
        if len(words) != 2:
            problems.append(f"senders: want 'ADDRESS USERNAME', got {line[:80]!r}")
            continue
        try:
            entry = parse_entry(words[0])
        except BadRequest as wrong:
            problems.append(f"senders: {wrong}")
            continue
        if entry.name:
            problems.append(f"senders: {words[0]!r} is a name; names belong into the addresses of an account")
            continue
        senders.append((entry, words[1]))
    return senders, problems


@implementer(IAuthBackend, ISelectsAtOnce)
class IpBackend:
    """
    :param senders: what :func:`read_senders` gave.
    :param accounts: where the accounts are; one that is not there, or is disabled, is nobody.
    """

    def __init__(
        self, senders: Sequence[tuple[AddressEntry, str]], accounts: IAccountStore, *, cache_s: float = 300.0
    ) -> None:
        self._accounts = accounts
        self._cache_s = cache_s
        self.table: PrefixTable[tuple[str, int]] = PrefixTable()
        for entry, username in senders:
            for network in entry.networks:
                self.table.add(network, (username, entry.port))

    def select(self, source_host: str, query: Callable[[], AuthQuery]) -> str | None:
        """See ``ISelectsAtOnce``. A REGISTER counts only when its To names the account."""
        found = self.table.find(source_host)
        return self._choose(found, query()) if found else None

    async def find(self, query: AuthQuery) -> AuthAnswer | None:
        """See ``IAuthBackend``."""
        found = self.table.find(query.source_host)
        username = self._choose(found, query) if found else None
        known = await self._accounts.find(username) if username is not None else None
        if known is None or not known[0].enabled:
            return None
        return AuthAnswer(known[0], None, self._cache_s)

    def _choose(self, found: Sequence[tuple[str, int]], query: AuthQuery) -> str | None:
        names = {username for username, port in found if port in (0, query.source_port)}
        if query.method == "REGISTER":
            return query.caller_number if query.caller_number in names else None
        if len(names) > 1:
            raise CallerMismatch
        return names.pop() if names else None
