"""The built-in authorization backend: the account store."""

from collections.abc import Awaitable, Callable, Mapping

from zope.interface import implementer

from mizu.auth.interfaces import IByUsername
from mizu.interfaces import IAccountStore, IAuthBackend
from mizu.model import Account, AuthAnswer, AuthQuery, AuthType

#: How an account of one type is proved: its answer, or ``None`` when the request does not fit.
Proof = Callable[[AuthQuery, Account, Mapping[str, str]], AuthAnswer | None]


@implementer(IAuthBackend, IByUsername)
class StoreBackend:
    """
    Knows the accounts of the store whose :class:`~mizu.model.AuthType` is ``DIGEST``, by the username of
    their credentials. Accounts of any other type are unknown to it: nobody gets in without proof because a
    way to prove it is missing.

    :param accounts: an ``IAccountStore``.
    :param cache_s: how long an answer may be used again. Changes are announced by the store, so this only
        bounds how long a lost announcement matters.
    """

    def __init__(self, accounts: IAccountStore, *, cache_s: float = 300.0) -> None:
        self._accounts = accounts
        self._cache_s = cache_s
        self._proofs: dict[AuthType, Proof] = {AuthType.DIGEST: self._by_digest}

    def find(self, query: AuthQuery) -> Awaitable[AuthAnswer | None]:
        """See ``IAuthBackend``."""
        return self._find(query)

    async def _find(self, query: AuthQuery) -> AuthAnswer | None:
        if not query.has_credentials or not query.username:
            return None
        found = await self._accounts.find(query.username)
        if found is None:
            return None
        account, secrets = found
        proof = self._proofs.get(account.auth_type)
        return proof(query, account, secrets) if proof is not None else None

    def _by_digest(self, query: AuthQuery, account: Account, secrets: Mapping[str, str]) -> AuthAnswer | None:
        # An account without a stored secret cannot prove anything; an empty mapping still asks for a proof.
        return AuthAnswer(account, ha1=dict(secrets), cache_s=self._cache_s)
