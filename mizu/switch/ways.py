"""Which way a call goes: the routers, in their order, at once where they can."""

from collections.abc import Callable, Sequence

from mizu.interfaces import IKnowsAtOnce, IRouter
from mizu.model import CARRIERS, CallRequest, Route


class Ways:
    """
    :param routers: (name, router) in the order of use.
    :param unknown: told the address a call came from whose number nobody has, and whether that is proved;
        carriers are not told of.
    """

    def __init__(self, routers: Sequence[tuple[str, IRouter]], unknown: Callable[[str, bool], None]) -> None:
        self._routers = [
            (router, router if IKnowsAtOnce.providedBy(router) else None) for _, router in routers
        ]
        self._unknown = unknown

    def now(self, wanted: CallRequest) -> Sequence[Route] | None:
        """
        The routes, as far as they are known without waiting.

        :return: ``None``: ``await find(...)`` instead. :raise CallRefused: :raise StoreBusy:
        """
        for _, at_once in self._routers:
            routes = at_once.routes_now(wanted) if at_once is not None else None
            if routes is None or routes:
                return routes
        return self.nobody(wanted)

    async def find(self, wanted: CallRequest) -> Sequence[Route]:
        """Ask the routers in order until one knows. :raise CallRefused: :raise StoreBusy:"""
        for router, _ in self._routers:
            routes = await router.find_routes(wanted)
            if routes:
                return routes
        return self.nobody(wanted)

    def nobody(self, wanted: CallRequest) -> Sequence[Route]:
        """Nobody has that number; no routes."""
        if wanted.source_host and wanted.caller.type not in CARRIERS:
            self._unknown(wanted.source_host, wanted.source_proved)
        return ()
