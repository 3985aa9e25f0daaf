"""Binds calls to the rest of the server: who calls, which way, the call row, the index of dialogs.

This is the only part of call control that waits for anything. One coroutine for each call that is set up, one
for each answer that is written down; messages of calls in progress need none.
"""

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mizu.auth.request import Accepted, Authorizer, Challenge, Decision
from mizu.config import Config
from mizu.errors import CallRefused, MizuError, StoreBusy
from mizu.interfaces import ICallStore, IClock, IRouter
from mizu.model import Account, AccountType, CallAnswered, CallClosed, CallOpened, CallRequest, Route
from mizu.observe import Metrics
from mizu.sip.flow import Flow, Transports
from mizu.sip.message import Request, Response
from mizu.sip.outgoing import RequestSender
from mizu.sip.parser import BadMessage
from mizu.sip.session import agree_as_uas
from mizu.sip.timers import DeadlineHeap, TimerSettings
from mizu.sip.transactions import ServerTransaction, TransactionLayer, random_token
from mizu.switch.call import Call, CallState
from mizu.switch.callee import CalleeLeg
from mizu.switch.caller import CallerLeg
from mizu.switch.fields import uri_host
from mizu.switch.invitation import called_number, inviter
from mizu.switch.leg import Leg
from mizu.switch.location import LocationTable, over_its_flow
from mizu.switch.methods import receive
from mizu.switch.pager import Pager
from mizu.switch.ports import SwitchSettings, Target, address_text

Pair = tuple[str, str]
DRAIN_RETRY_AFTER_S = 10
#: Contacts are made once for each local address; a host with more addresses than this makes them anew.
CONTACTS_MAX = 1000
#: Accounts that pass on calls of people they do not know: wrong numbers are in the nature of it.
CARRIERS = frozenset(
    (AccountType.TRAFFIC_SENDER, AccountType.SIP_SERVER, AccountType.GATEWAY, AccountType.H323_GATEWAY)
)


def settings_of(config: Config, node: str) -> SwitchSettings:
    """What calls need of the configuration."""
    return SwitchSettings(
        domain=config.sip.domains[0] if config.sip.domains else "",
        server_name=config.sip.user_agent,
        node=node,
        ring_timeout_s=config.call.ring_timeout_s,
        session_timer=config.call.session_timer,
        session_expires_s=config.call.session_expires_s,
        session_min_s=config.call.session_min_s,
        options_ping_s=config.call.options_ping_s,
        max_forwards=config.call.max_forwards,
        calls=config.limits.calls,
        routes=config.limits.routes,
        forks=config.limits.forks,
    )


def _nobody_counts(host: str) -> None:
    return None


class Switchboard:
    """All calls of a process. Implements :class:`mizu.switch.ports.Ports`."""

    log = Logger()

    def __init__(
        self,
        *,
        layer: TransactionLayer,
        sender: RequestSender,
        transports: Transports,
        authorizer: Authorizer,
        routers: Sequence[tuple[str, IRouter]],
        locations: LocationTable,
        calls: ICallStore,
        clock: IClock,
        deadlines: DeadlineHeap,
        config: Config,
        node: str = "",
        metrics: Metrics | None = None,
    ) -> None:
        """
        :param routers: (name, router) in the order of use.
        :param calls: the store of call rows.
        :param node: name of this process in call rows.
        :param metrics: told how calls go (RFC 6076).
        """
        self.layer = layer
        self.sender = sender
        self.deadlines = deadlines
        self.metrics = metrics or Metrics()
        self.timers: TimerSettings = layer.timers
        self.settings = settings_of(config, node)
        self.now: Callable[[], float] = clock.mono_s
        self.wall: Callable[[], datetime] = clock.wall
        self._transports = transports
        self._authorizer = authorizer
        self._routers = list(routers)
        self._locations = locations
        self._store = calls
        self._domains = frozenset(domain.lower() for domain in config.sip.domains)
        self._calls: dict[str, Call] = {}
        self._dialogs: dict[tuple[str, str], Leg] = {}
        self._watched: dict[str, CalleeLeg] = {}
        self._contacts: dict[tuple[str, tuple[str, int]], str] = {}
        self._on_empty: Callable[[], None] | None = None
        self.draining = False
        self.unexpected_events = 0  #: events no state has a row for; 0 in a healthy server
        self.refused_busy = 0  #: calls refused because of a limit, a drain or the database
        self.calls_begun = 0
        self.calls_answered = 0
        self.pager = Pager(self, self.find_routes)
        #: told the address a call came from whose number nobody has; carriers are not told of
        self.on_unknown_number: Callable[[str], None] = _nobody_counts

    # ------------------------------------------------------------ what operators see

    @property
    def calls(self) -> Mapping[str, Call]:
        """Calls that are not over, by their id."""
        return self._calls

    def counts(self) -> dict[str, int]:
        """Calls by state."""
        found = {state.name.lower(): 0 for state in CallState if state is not CallState.OVER}
        for call in self._calls.values():
            found[call.state.name.lower()] += 1
        return found

    def dialog_counts(self) -> dict[str, int]:
        """Dialogs, and MESSAGEs on their way."""
        return {"dialogs": len(self._dialogs), "messages": len(self.pager)}

    def drop(self, call_id: str, by: str) -> bool:
        """End a call. :param by: ``operator`` or ``switch``. :return: whether there was such a call."""
        call = self._calls.get(call_id)
        if call is None or call.outcome is not None:
            return False
        call.drop(by)
        return True

    def drop_all(self, by: str = "switch", cause: str = "shutdown") -> int:
        """End every call. :return: how many."""
        calls = [call for call in self._calls.values() if call.outcome is None]
        for call in calls:
            call.drop(by, cause)
        return len(calls)

    def drain(self, on_empty: Callable[[], None]) -> None:
        """No new calls from now on; ``on_empty`` is called once when the last is over, perhaps at once."""
        self.draining = True
        self._on_empty = on_empty
        self._check_empty()

    def _check_empty(self) -> None:
        if self._on_empty is not None and not self._calls:
            on_empty, self._on_empty = self._on_empty, None
            on_empty()

    # ------------------------------------------------------------ from the core

    def invite(self, tx: ServerTransaction) -> None:
        """An INVITE outside of dialogs."""
        if self.draining or len(self._calls) >= self.settings.calls:
            self._busy(tx, DRAIN_RETRY_AFTER_S)
            return
        decision = self._authorizer.authorize_now(tx.request, tx.flow)
        if decision is not None and not isinstance(decision, Accepted):
            self.deny(tx, decision)
            return
        self._spawn(self._set_up(tx, decision))

    def message(self, tx: ServerTransaction) -> None:
        """A MESSAGE outside of dialogs."""
        if self.draining:
            self._busy(tx, DRAIN_RETRY_AFTER_S)
        else:
            self._spawn(self._page(tx))

    def in_dialog(self, tx: ServerTransaction) -> None:
        """A request with a To tag. Belongs to a leg only if Call-ID and both tags say so."""
        request = tx.request
        tag = request.to.tag
        leg = self._dialogs.get((request.call_id, tag))
        if leg is None or not leg.matches(request.from_.tag):
            tx.respond(request.reply(481, fields=self._server()))
            return
        dialog = leg.dialog_of_tags(tag, request.from_.tag)
        if dialog is None:
            tx.respond(request.reply(481, fields=self._server()))
            return
        flow = leg.flow
        source = tx.flow.remote[0]
        moved = leg.account is not None and flow is not None and flow.remote[0] != source
        if moved and not leg.routed_through(source):
            self.verify(tx, leg, lambda: receive(leg, tx, dialog))
        else:
            receive(leg, tx, dialog)

    def ack(self, request: Request, flow: Flow) -> None:
        """An ACK for a 2xx of ours; all others are dropped."""
        leg = self._dialogs.get((request.call_id, request.to.tag))
        if leg is not None and leg.matches(request.from_.tag):
            leg.ack_received(request, flow)

    def stray_response(self, response: Response, flow: Flow) -> None:
        """A response of no transaction: a 2xx may still want its ACK again."""
        if 200 <= response.status < 300 and response.cseq.method == "INVITE":
            leg = self._watched.get(response.call_id)
            if leg is not None:
                leg.stray_answer(response)

    # ------------------------------------------------------------ setting up

    def _spawn(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: self.log.failure("call set-up failed unexpectedly", failure)
        )

    def _server(self) -> tuple[Pair, ...]:
        name = self.settings.server_name
        return (("Server", name),) if name else ()

    def answer(
        self, tx: ServerTransaction, status: int, reason: str | None = None, fields: Sequence[Pair] = ()
    ) -> None:
        """Refuse a request that made no call."""
        if tx.cancelled and status != 487:
            status, reason, fields = 487, None, ()
        if tx.request.method == "INVITE" and not tx.request.to.tag:
            self.metrics.session_answered(status, 0.0)
        tx.respond(tx.request.reply(status, reason, to_tag=self.token(), fields=[*fields, *self._server()]))

    def _busy(self, tx: ServerTransaction, retry_after_s: int) -> None:
        self.refused_busy += 1
        self.answer(tx, 503, None, (("Retry-After", str(retry_after_s)),))

    def deny(self, tx: ServerTransaction, decision: Decision) -> None:
        """Tell the sender what the authorizer decided."""
        if isinstance(decision, Challenge):
            self.answer(tx, decision.status, None, decision.fields)
        elif not isinstance(decision, Accepted):
            self.answer(tx, decision.status, decision.reason, decision.fields)

    async def _set_up(self, tx: ServerTransaction, decision: Decision | None) -> None:
        """From INVITE to the first callee leg."""
        request = tx.request
        if decision is None:
            decision = await self._authorizer.authorize(request, tx.flow)
        if not isinstance(decision, Accepted):
            self.deny(tx, decision)
            return
        if tx.cancelled:
            self.answer(tx, 487)
            return
        call = self._new_call(tx, decision.account)
        if call is None:
            return
        tx.respond(request.reply(100))
        caller = call.caller_leg
        assert isinstance(caller, CallerLeg)
        opened = CallOpened(
            call_id=call.call_id,
            node=self.settings.node,
            caller_account_id=decision.account.id,
            caller_number=call.caller_number,
            called_number=call.called_number,
            caller_sip_call_id=request.call_id,
            caller_address=address_text(tx.flow),
            setup_at=call.begun_at,
        )
        await self._find_way(call, decision.account, opened, request.uri, tx.flow.remote[0])

    def _new_call(self, tx: ServerTransaction, account: Account) -> Call | None:
        """The call an INVITE makes; ``None``: it was refused."""
        request = tx.request
        number = called_number(request, self._domains)
        if number is None:
            self.answer(tx, 404)
            return None
        if not (account.enabled and account.can_dial):
            self.answer(tx, 403)
            return None
        again = self._watched.get(request.call_id)
        if again is not None and again.goes_to(number):
            self.answer(tx, 482)
            return None
        settings = self.settings
        interval = None
        if settings.session_timer:
            interval = agree_as_uas(request, ours_s=settings.session_expires_s, min_s=settings.session_min_s)
            if interval is None:
                self.answer(tx, 422, None, (("Min-SE", str(settings.session_min_s)),))
                return None
        if settings.identity.refuses(request, account):
            self.answer(tx, 403, "Identity Not Yours")
            return None
        shown = settings.identity.shown(request, account)
        call = Call(self.new_call_id(), self, shown.number, number)
        try:
            leg = CallerLeg(call, self, tx, account, interval)
        except BadMessage as bad:
            self.answer(tx, bad.sip_status, str(bad))
            return None
        call.caller = leg
        if request.expires is not None:
            call.patience_s = float(max(request.expires, 1))
        call.legs.append(leg)
        call.invite_to = inviter(self, call, leg, account, shown.display)
        self._calls[call.call_id] = call
        self.calls_begun += 1
        return call

    async def _find_way(
        self, call: Call, account: Account, opened: CallOpened, request_uri: str, source_host: str
    ) -> None:
        """Routes and the call row; then the call goes on by itself."""
        wanted = CallRequest(
            call.call_id,
            account,
            call.caller_number,
            call.called_number,
            request_uri,
            source_host,
            call.begun_at,
        )
        refusal: tuple[int, str, str | None, Sequence[Pair]] | None = None
        routes: Sequence[Route] = ()
        try:
            await self._store.open(opened)
            call.row_opened()
            routes = await self.find_routes(wanted)
        except StoreBusy as busy:
            self.refused_busy += 1
            refusal = (503, busy.code, None, (("Retry-After", str(busy.retry_after_s)),))
        except CallRefused as refused:
            refusal = (refused.sip_status, refused.code, None, ())
        except MizuError as error:
            refusal = (error.sip_status, error.code, None, ())
        except Exception:
            self.log.failure("finding a route failed; call {call_id} was refused", call_id=call.call_id)
            refusal = (500, "internal", None, ())
        if call.outcome is not None:
            call.setup_over()
        elif refusal is not None:
            call.refused(*refusal)
        else:
            call.routed(routes)

    async def find_routes(self, wanted: CallRequest) -> Sequence[Route]:
        """Ask the routers in order until one knows. :raise CallRefused: :raise StoreBusy:"""
        for _, router in self._routers:
            routes = await router.find_routes(wanted)
            if routes:
                return routes
        if wanted.source_host and wanted.caller.type not in CARRIERS:
            self.on_unknown_number(wanted.source_host)
        return ()

    async def _page(self, tx: ServerTransaction) -> None:
        decision = await self._authorizer.authorize(tx.request, tx.flow)
        if not isinstance(decision, Accepted):
            self.deny(tx, decision)
            return
        number = called_number(tx.request, self._domains)
        if number is None:
            self.answer(tx, 404)
            return
        try:
            await self.pager.send(tx, decision.account, number)
        except StoreBusy as busy:
            self._busy(tx, busy.retry_after_s)
        except MizuError as error:
            self.answer(tx, error.sip_status)

    # ------------------------------------------------------------ mizu.switch.ports.Ports

    def token(self) -> str:
        """72 random bits (RFC 3261 19.3 wants 32)."""
        return random_token()

    def chance(self) -> float:
        return random.random()  # noqa: S311 - spreads retries, protects nothing

    def contact(self, flow: Flow) -> str:
        """Our Contact as the peer of that flow reaches it."""
        key = (flow.proto, flow.local)
        found = self._contacts.get(key)
        if found is None:
            host, port = flow.local
            transport = "" if flow.proto == "udp" else f";transport={flow.proto}"
            found = f"<sip:mizu@{uri_host(host)}:{port}{transport}>"
            if len(self._contacts) >= CONTACTS_MAX:
                self._contacts.clear()
            self._contacts[key] = found
        return found

    def targets(self, account: Account) -> Sequence[Target]:
        """The account's registered contacts, each over its flow or by its address (``over_its_flow``)."""
        now_s = self.wall().timestamp()
        targets = []
        for binding in self._locations.lookup(account.username, now_s):
            flow = None
            if over_its_flow(binding):
                flow = self._transports.flow_of(binding.local, binding.received_host, binding.received_port)
            targets.append(Target(binding.contact, flow, "", binding.path))
        return targets

    def enter(self, leg: Leg, call_id: str, tag: str) -> None:
        self._dialogs[call_id, tag] = leg

    def leave(self, call_id: str, tag: str) -> None:
        self._dialogs.pop((call_id, tag), None)

    def watch(self, leg: Leg, call_id: str) -> None:
        assert isinstance(leg, CalleeLeg)
        self._watched[call_id] = leg

    def unwatch(self, call_id: str) -> None:
        self._watched.pop(call_id, None)

    def find_leg(self, call_id: str, local_tag: str, remote_tag: str) -> Leg | None:
        """The leg of this dialog; ``None``: there is none."""
        leg = self._dialogs.get((call_id, local_tag))
        return leg if leg is not None and leg.matches(remote_tag) else None

    def commit_answer(self, call: Call, answered: CallAnswered) -> None:
        self._spawn(self._commit(call, answered))

    async def _commit(self, call: Call, answered: CallAnswered) -> None:
        try:
            await self._store.answer(answered)
        except StoreBusy as busy:
            self.refused_busy += 1
            call.not_committed(busy.retry_after_s)
        except Exception:
            self.log.failure("the answer of call {call_id} was not written", call_id=call.call_id)
            call.not_committed(StoreBusy.retry_after_s)
        else:
            self.calls_answered += 1
            call.committed()

    def close(self, closed: CallClosed) -> None:
        self._store.close(closed)

    def remove(self, call: Call) -> None:
        self._calls.pop(call.call_id, None)
        self._check_empty()

    def new_call_id(self) -> str:
        """A version 4 UUID in hex, made from random bytes at a tenth of the price of ``uuid4``."""
        digits = random_token() + random_token()
        return f"{digits[:12]}4{digits[13:16]}a{digits[17:32]}"

    def begin_transfer(self, call: Call, account: Account, opened: CallOpened) -> None:
        self._calls[call.call_id] = call
        self.calls_begun += 1
        if self.draining or len(self._calls) > self.settings.calls:
            self.refused_busy += 1
            call.refused(503, "overloaded")
            return
        uri = f"sip:{call.called_number}"
        self._spawn(self._find_way(call, account, opened, uri, ""))

    def verify(self, tx: ServerTransaction, leg: Leg, accept: Callable[[], None]) -> None:
        self._spawn(self._verify(tx, leg, accept))

    async def _verify(self, tx: ServerTransaction, leg: Leg, accept: Callable[[], None]) -> None:
        """A phone that moved proves itself; anybody else learns nothing about the dialog."""
        decision = await self._authorizer.authorize(tx.request, tx.flow)
        if not isinstance(decision, Accepted):
            self.deny(tx, decision)
        elif leg.account is None or decision.account.id != leg.account.id:
            tx.respond(tx.request.reply(481, fields=self._server()))
        else:
            accept()

    def unexpected(self, text: str, call_id: str) -> None:
        self.unexpected_events += 1
        self.log.warn("call {call_id}: unexpected: {text}", call_id=call_id, text=text)
