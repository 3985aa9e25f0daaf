"""Calls to the built-in answer party, which is a SIP user agent of its own on loopback."""

from collections.abc import Sequence
from dataclasses import dataclass

from zope.interface import implementer

from mizu.interfaces import IKnowsAtOnce, IRouter
from mizu.model import CallRequest, Route


@dataclass(frozen=True, slots=True)
class EchoRouterSettings:
    """Settings of the router type ``echo``: none; ``[media]`` has them."""


@implementer(IRouter, IKnowsAtOnce)
class EchoRouter:
    """Knows the numbers of ``[media] echo_numbers``, once it was told where the party listens."""

    def __init__(self, settings: EchoRouterSettings, numbers: Sequence[str]) -> None:
        self._numbers = frozenset(numbers)
        self.party_uri = ""  #: ``sip:echo@127.0.0.1:PORT``; empty: the party does not run

    async def find_routes(self, call: CallRequest) -> Sequence[Route]:
        """See :class:`mizu.interfaces.IRouter`."""
        return self.routes_now(call)

    def routes_now(self, call: CallRequest) -> Sequence[Route]:
        """See :class:`mizu.interfaces.IKnowsAtOnce`."""
        if not self.party_uri or call.called_number not in self._numbers:
            return ()
        return (
            Route(
                name="echo",
                uri=self.party_uri,
                called_number=call.called_number,
                reason="plays back what it hears",
                own=True,
            ),
        )
