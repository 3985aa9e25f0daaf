"""MESSAGE outside of dialogs (RFC 3428): to every registered contact of the called account, or to a trunk.

The first 2xx is the answer; without one the most telling failure. Nothing is stored for later.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from mizu.accounts.limits import Refusal
from mizu.model import Account, CallRequest, Route
from mizu.sip.dialog import Field
from mizu.sip.message import Request, Response
from mizu.sip.outgoing import Outgoing
from mizu.sip.transactions import ServerTransaction
from mizu.sip.uri import SipUri
from mizu.switch.admission import allowed_routes
from mizu.switch.causes import (
    END,
    NO_RESPONSE,
    NO_ROUTE,
    NOT_REGISTERED,
    REASONS,
    REFUSED,
    REFUSED_ELSE,
    TIMEOUT,
    Failure,
    failure_of,
)
from mizu.switch.fields import OTHER, body_fields, from_value, passed, uri_host
from mizu.switch.invitation import forwards
from mizu.switch.ports import Target

if TYPE_CHECKING:
    from mizu.switch.b2bua import Switchboard

FindRoutes = Callable[[CallRequest], Awaitable[Sequence[Route]]]


class Page:
    """One MESSAGE on its way."""

    __slots__ = ("_best", "_fields", "_from", "_open", "_pager", "_routes", "_starting", "number", "tx")

    def __init__(
        self,
        pager: "Pager",
        tx: ServerTransaction,
        number: str,
        routes: Sequence[Route],
        fields: list[Field],
        make_from: Callable[[Route, str], str],
    ) -> None:
        self.tx = tx
        self.number = number
        self._pager = pager
        self._routes = deque(routes)
        self._fields = fields
        self._from = make_from
        self._open = 0
        self._starting = False
        self._best: Failure = NO_ROUTE

    def next(self) -> None:
        """Try the next route; answer when there is none."""
        board = self._pager.board
        while self._routes:
            route = self._routes.popleft()
            targets: Sequence[Target] = (Target(route.uri, next_hop=route.via_uri or route.uri),)
            if route.account is not None:
                targets = board.targets(route.account)[: board.settings.forks]
            if not targets:
                self._note(NOT_REGISTERED)
                continue
            self._starting = True
            for target in targets:
                self._send(route, target)
            self._starting = False
            self._judge()
            return
        if not self.tx.final_sent:
            board.answer(self.tx, self._best.status)
        self._pager.over(self)

    def _send(self, route: Route, target: Target) -> None:
        board = self._pager.board
        fields: list[Field] = [("Route", "route", value) for value in target.path]
        fields += (
            ("From", "from", self._from(route, board.token())),
            ("To", "to", f"<{target.uri}>"),
            ("Call-ID", "call-id", board.new_call_id()),
            ("CSeq", "cseq", "1 MESSAGE"),
        )
        request = Request("MESSAGE", target.uri, fields + self._fields, self.tx.request.body)
        self._open += 1
        flow = target.flow
        if flow is not None:
            board.sender.send(request, self, flow=flow)
        else:
            board.sender.send(request, self, next_hop=target.next_hop)

    def on_response(self, response: Response, outgoing: Outgoing) -> None:
        """A final response settles one contact."""
        if response.status < 200:
            return
        self._open -= 1
        if response.status < 300:
            self._routes.clear()
            if not self.tx.final_sent:
                self._pager.board.answer(self.tx, response.status)
        else:
            self._note(failure_of(response.status))
        self._judge()

    def on_failure(self, code: str, outgoing: Outgoing) -> None:
        """So does silence."""
        self._open -= 1
        self._note(NO_RESPONSE.get(code, TIMEOUT))
        self._judge()

    def _note(self, failure: Failure) -> None:
        if self._best is NO_ROUTE or failure.rank <= self._best.rank:
            self._best = failure

    def _judge(self) -> None:
        if self._open or self._starting:
            return
        if self._best.then == END:
            self._routes.clear()
        self.next()


class Pager:
    """The messages under way."""

    def __init__(self, board: "Switchboard", find_routes: FindRoutes) -> None:
        self.board = board
        self._find_routes = find_routes
        self._pages: set[Page] = set()

    def __len__(self) -> int:
        return len(self._pages)

    def over(self, page: Page) -> None:
        self._pages.discard(page)

    async def send(self, tx: ServerTransaction, account: Account, number: str) -> None:
        """Carry an authorized MESSAGE. :raise CallRefused: :raise StoreBusy:"""
        board = self.board
        request = tx.request
        if not (account.enabled and account.can_dial):
            board.answer(tx, 403)
            return
        if board.settings.identity.refuses(request, account):
            board.answer(tx, 403, "Identity Not Yours")
            return
        shown = board.settings.identity.shown(request, account)
        wanted = CallRequest(
            board.new_call_id(), account, shown.number, number, request.uri, tx.flow.remote[0], board.wall()
        )
        routes = allowed_routes(wanted, await self._find_routes(wanted))
        if isinstance(routes, Refusal):
            board.answer(tx, REFUSED.get(routes.code, REFUSED_ELSE), REASONS.get(routes.code))
            return
        uri = request.request_uri
        host = board.settings.domain or uri_host(uri.host if isinstance(uri, SipUri) else tx.flow.local[0])
        fields: list[Field] = [
            ("Max-Forwards", "max-forwards", str(forwards(request, board.settings.max_forwards))),
            *passed(request, OTHER),
            *body_fields(request),
        ]

        def make_from(route: Route, tag: str) -> str:
            number = route.caller_number or shown.number
            return from_value(shown.display, number=number, host=host, tag=tag)

        page = Page(self, tx, number, routes[: board.settings.routes], fields, make_from)
        self._pages.add(page)
        page.next()
