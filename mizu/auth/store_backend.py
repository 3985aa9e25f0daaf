"""The built-in authorization backend: the account store, every ``auth_type``."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from zope.interface import alsoProvides, implementer

from mizu.accounts.proofs import BOTH
from mizu.auth.interfaces import IByUsername, IExplains, IKeptFresh, ISelectsAtOnce
from mizu.auth.rule_feed import RuleFeed
from mizu.interfaces import IAccountStore, IAuthBackend
from mizu.model import Account, AuthAnswer, AuthQuery, AuthType
from mizu.settings import setting

BY_DISPLAY = 3  #: of the option ``parsesipdisplayname``


@dataclass(frozen=True, slots=True)
class StoreBackendSettings:
    """Of ``type = "store"``."""

    cache_s: float = setting(
        300.0, "an answer may be used again for so long; a change ends it at once", least=0
    )
    rules_max: int = setting(
        200_000, "accounts with another auth_type than 4, kept in memory; more are unknown", least=1
    )


def _never() -> bool:
    return False


@implementer(IAuthBackend, IExplains)
class StoreBackend:
    """
    Knows the accounts of the store, each as its ``AuthType`` says: by digest (4), by what the rules say (0 to
    3, 5 to 7, 9), or by both (8, 10).

    :param accounts: an ``IAccountStore``.
    :param cache_s: how long an answer may be used again. Changes are announced by the store, so this only
        bounds how long a lost announcement matters.
    :param feed: the rules. Without them only accounts of type 4 are known: nobody gets in without proof
        because a way to prove it is missing.
    :param open_relay: whether accounts of type 0 are known (option ``enforcestrongauth`` is off).
    :param by_display: whether the display name may name the account (option ``parsesipdisplayname`` is 3).
    """

    def __init__(
        self,
        accounts: IAccountStore,
        *,
        cache_s: float = 300.0,
        feed: RuleFeed | None = None,
        open_relay: Callable[[], bool] = _never,
        by_display: Callable[[], bool] = _never,
    ) -> None:
        self._accounts = accounts
        self._cache_s = cache_s
        self._feed = feed
        self._open_relay = open_relay
        self._by_display = by_display
        if feed is None:
            alsoProvides(self, IByUsername)
        else:
            alsoProvides(self, ISelectsAtOnce, IKeptFresh)

    # ------------------------------------------------------------ IAuthBackend

    def find(self, query: AuthQuery) -> Awaitable[AuthAnswer | None]:
        """See ``IAuthBackend``."""
        return self._find(query)

    async def _find(self, query: AuthQuery) -> AuthAnswer | None:
        if query.has_credentials and query.username:
            found = await self._accounts.find(query.username)
            if found is not None and found[0].auth_type is AuthType.DIGEST:
                # Without a stored secret it can prove nothing: an empty mapping still asks for a proof.
                return AuthAnswer(found[0], dict(found[1]), self._cache_s, any_source=True)
            if found is not None and found[0].auth_type in BOTH:
                return await self._by_both(query, *found)
        return await self._by_rules(query)

    async def _by_both(
        self, query: AuthQuery, account: Account, secrets: Mapping[str, str]
    ) -> AuthAnswer | None:
        """Types 8 and 10. From elsewhere the account is as good as unknown."""
        if self._feed is None:
            return None
        await self._feed.settle()
        if not self._feed.index.admits(account.username, query.source_host):
            return None
        return AuthAnswer(account, dict(secrets), self._cache_s)

    async def _by_rules(self, query: AuthQuery) -> AuthAnswer | None:
        if self._feed is None:
            return None
        await self._feed.settle()
        username = self._match(query)
        if username is None:
            return None
        found = await self._accounts.find(username)
        rule = self._feed.index.get(username)
        if found is None or rule is None or found[0].auth_type is not rule.auth_type:
            return None  # changed while it was read
        return AuthAnswer(found[0], None, self._cache_s)

    def _match(self, query: AuthQuery) -> str | None:
        assert self._feed is not None
        return self._feed.index.match(query, open_relay=self._open_relay(), by_display=self._by_display())

    async def explain(self, query: AuthQuery) -> list[str]:
        """See ``IExplains``."""
        told = []
        if query.has_credentials:
            found = await self._accounts.find(query.username)
            if found is None:
                told.append(f"there is no account {query.username!r}")
            else:
                kind = found[0].auth_type
                told.append(f"{query.username} has auth_type {int(kind)} ({kind.name.lower()})")
                if kind in BOTH and self._feed is not None:
                    await self._feed.settle()
                    good = self._feed.index.admits(query.username, query.source_host)
                    verb = "is" if good else "is not"
                    told.append(f"{query.source_host} {verb} an address of {query.username}")
        if self._feed is not None:
            await self._feed.settle()
            told += self._feed.index.explain(
                query, open_relay=self._open_relay(), by_display=self._by_display()
            )
        return told

    # ------------------------------------------------------------ with rules: at once, and kept fresh

    def select(self, source_host: str, query: Callable[[], AuthQuery]) -> str | None:
        """See ``ISelectsAtOnce``."""
        if self._feed is None or not self._feed.index.may_match(source_host):
            return None
        return self._match(query())

    async def prepare(self) -> None:
        """See ``IKeptFresh``."""
        if self._feed is not None:
            await self._feed.prepare()

    def sweep(self) -> None:
        """See ``IKeptFresh``."""
        if self._feed is not None:
            self._feed.sweep()
