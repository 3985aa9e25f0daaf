"""Calls to our own users: the called number is one of an account."""

from collections.abc import Sequence
from dataclasses import dataclass

from zope.interface import implementer

from mizu.interfaces import IClock, IDirectory, IKnowsAtOnce, IRouter
from mizu.model import Account, CallRequest, Route
from mizu.routing.known import KnownAccounts
from mizu.settings import setting
from mizu.sip.grammar import BadMessage
from mizu.sip.numbers import is_name
from mizu.sip.uri import SipUri, parse_uri


@dataclass(frozen=True, slots=True)
class LocalRouterSettings:
    """Settings of the router type ``local``."""

    cache_s: float = setting(60.0, "an account that was found is looked up again after this; 0: every time")
    cache_max: int = setting(100_000, "accounts remembered")
    ring_timeout_s: float = setting(0.0, "how long phones ring; 0: [call] ring_timeout_s")


@implementer(IRouter, IKnowsAtOnce)
class LocalRouter:
    """
    Knows the numbers of enabled accounts: usernames, phone numbers, numbers allocated to them, and short
    numbers for callers of the same company. Whether a phone is registered is found out when it is rung: a
    known user without one is 480, not 404.

    Answers are remembered and dropped by :meth:`account_changed` and :meth:`number_changed`.
    """

    def __init__(self, settings: LocalRouterSettings, directory: IDirectory, clock: IClock) -> None:
        self._ring_timeout_s = settings.ring_timeout_s
        self._known = KnownAccounts(
            directory.called, clock, cache_s=settings.cache_s, cache_max=settings.cache_max
        )
        self.account_changed = self._known.account_changed
        self.number_changed = self._known.number_changed

    async def find_routes(self, call: CallRequest) -> Sequence[Route]:
        """See :class:`mizu.interfaces.IRouter`."""
        company_id = call.caller.company_id
        written = _as_written(call)
        account = await self._known.find(written, company_id) if written else None
        return self._routes(account or await self._known.find(call.called_number, company_id))

    def routes_now(self, call: CallRequest) -> Sequence[Route] | None:
        """See :class:`mizu.interfaces.IKnowsAtOnce`."""
        company_id = call.caller.company_id
        written = _as_written(call)
        known = self._known.now(written, company_id) if written else (None,)
        if known == (None,):
            known = self._known.now(call.called_number, company_id)
        return self._routes(known[0]) if known is not None else None

    def _routes(self, account: Account | None) -> Sequence[Route]:
        if account is None:
            return ()
        return (
            Route(
                name=account.username,
                account=account,
                called_number=account.username,
                ring_timeout_s=self._ring_timeout_s,
                reason="registered contacts of the account",
            ),
        )


def _as_written(call: CallRequest) -> str:
    """
    What was called, where that is another text than the number: ``1-2`` is the number 12, and may be a
    username. Empty: it is the same.
    """
    called, uri_text = call.called_number, call.request_uri
    if f":{called}@" in uri_text or uri_text.endswith(f":{called}"):
        return ""
    try:
        uri = parse_uri(uri_text)
    except BadMessage:
        return ""
    return uri.user if isinstance(uri, SipUri) and uri.user != called and is_name(uri.user) else ""
