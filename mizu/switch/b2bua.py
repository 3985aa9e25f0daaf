"""Binds calls to the rest of the server: who calls, which way, the call row, the index of dialogs.

This is the only part of call control that waits for anything: for the two writes of a call row, and for an
authorizer or router that has to ask somebody. Messages of calls in progress wait for nothing.
"""

import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.auth.request import Accepted, Authorizer, Challenge, Decision
from mizu.config import Config
from mizu.errors import MizuError, StoreBusy
from mizu.interfaces import ICallStore, IClock, IRouter
from mizu.model import CARRIERS, Account, CallAnswered, CallClosed, CallOpened, ChannelLimit
from mizu.observe import Metrics
from mizu.sip.flow import Flow, Transports
from mizu.sip.message import Request, Response
from mizu.sip.outgoing import RequestSender
from mizu.sip.timers import DeadlineHeap, TimerSettings
from mizu.sip.transactions import ServerTransaction, TransactionLayer, random_token
from mizu.sip.wire import answer_bytes
from mizu.switch.admission import new_call
from mizu.switch.call import Call, CallState
from mizu.switch.call_writes import CallWrites
from mizu.switch.callee import CalleeLeg
from mizu.switch.fields import uri_host
from mizu.switch.invitation import called_number
from mizu.switch.leg import Leg
from mizu.switch.location import LocationTable
from mizu.switch.methods import receive
from mizu.switch.pager import Pager
from mizu.switch.ports import SwitchSettings, Target, address_text
from mizu.switch.probe import Prober
from mizu.switch.way_back import Proxies, over_its_flow, port_of, way_back
from mizu.switch.ways import Ways

Pair = tuple[str, str]
DRAIN_RETRY_AFTER_S = 10
#: Contacts are made once for each local address; a host with more addresses than this makes them anew.
CONTACTS_MAX = 1000


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
        proxies=Proxies(config.registrar.path_from),
    )


def _nobody_counts(host: str, proved: bool) -> None:
    return None


def _nobody_notes(flow: Flow) -> None:
    return None


def _never_self(host: str, port: int) -> bool:
    return False


def _nobodys(host: str) -> bool:
    return False


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
        is_self: Callable[[str, int], bool] = _never_self,
        is_partners: Callable[[str], bool] = _nobodys,
    ) -> None:
        """
        :param routers: (name, router) in the order of use.
        :param calls: the store of call rows.
        :param node: name of this process in call rows.
        :param metrics: told how calls go (RFC 6076).
        :param is_self: whether host and port are one of our listeners.
        :param is_partners: whether a numeric address is a carrier's or another partner's.
        """
        self.layer = layer
        self.sender = sender
        self.deadlines = deadlines
        self.metrics = metrics or Metrics()
        self.timers: TimerSettings = layer.timers
        self.settings = settings_of(config, node)
        name = self.settings.server_name
        self.server_fields: tuple[Pair, ...] = (("Server", name),) if name else ()
        self.now: Callable[[], float] = clock.mono_s
        self.wall: Callable[[], datetime] = clock.wall
        self.token = random_token  #: 72 random bits (RFC 3261 19.3 wants 32)
        self._prober = Prober(random_token().encode())
        self._transports = transports
        self._authorizer = authorizer
        self._locations = locations
        self._is_self = is_self
        self._is_partners = is_partners
        self._domains = frozenset(domain.lower() for domain in config.sip.domains)
        self._calls: dict[str, Call] = {}
        self._dialogs: dict[tuple[str, str], Leg] = {}
        self._watched: dict[str, CalleeLeg] = {}
        self._contacts: dict[tuple[str, tuple[str, int]], str] = {}
        self._on_empty: Callable[[], None] | None = None
        self.draining = False
        self.unexpected_events = 0  #: events no state has a row for; 0 in a healthy server
        self._turned_away = 0
        self.calls_begun = 0
        ways = Ways(routers, self._unknown_number)
        self._writes = CallWrites(calls, ways)
        self.pager = Pager(self, ways.find)
        #: told the address a call came from whose number nobody has, and whether that address is proved;
        #: carriers are not told of
        self.on_unknown_number: Callable[[str, bool], None] = _nobody_counts
        #: told of a caller who has heard our answer, so that his address is real
        self.on_proved: Callable[[Flow], None] = _nobody_notes

    def nobody_has(self, tx: ServerTransaction, account: Account) -> None:
        """A call to what cannot be anybody's number or name: as one to a number that nobody has."""
        if account.type not in CARRIERS:
            self.on_unknown_number(tx.flow.remote[0], self._authorizer.proves(tx.request, tx.flow))

    def _unknown_number(self, source_host: str, proved: bool) -> None:
        self.on_unknown_number(source_host, proved)

    # ------------------------------------------------------------ what operators see

    @property
    def calls(self) -> Mapping[str, Call]:
        """Calls that are not over, by their id."""
        return self._calls

    @property
    def refused_busy(self) -> int:
        """Calls refused because of a limit of the server, a drain or the database."""
        return self._turned_away + self._writes.refused_busy

    @property
    def calls_answered(self) -> int:
        """Since the start."""
        return self._writes.answered

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

    def calls_begun_and_not_over(self) -> int:
        """How many calls there are."""
        return len(self._calls)

    def on_the_phone(self) -> Iterator[str]:
        """Usernames of the users in the calls, and of those who pay for them."""
        for call in self._calls.values():
            if call.payer is not None:
                yield call.payer.username
            for leg in call.legs:
                if leg.account is not None:
                    yield leg.account.username

    def accounts_changed(self, accounts: Mapping[str, Account | None]) -> Mapping[str, int]:
        """
        Of users who may be on the phone.

        :param accounts: by username, what they are now; ``None``: gone or disabled, their calls end, also
            those that they pay for after a transfer. :return: how many ended, by username.
        """
        ended: dict[str, int] = {}
        for call in list(self._calls.values()):
            payer = call.payer
            gone = ""
            if payer is not None and payer.username in accounts:
                call.payer = accounts[payer.username] or payer
                gone = payer.username if accounts[payer.username] is None else ""
            for leg in call.legs:
                account = leg.account
                if account is not None and account.username in accounts:
                    leg.account = accounts[account.username] or account
                    gone = account.username if accounts[account.username] is None else gone
            if gone and call.outcome is None:
                call.drop("switch", "account_disabled")
                ended[gone] = ended.get(gone, 0) + 1
        return ended

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
        if decision is None:
            self._spawn(self._ask(tx))
        elif isinstance(decision, Accepted):
            self._set_up(tx, decision.account)
        else:
            self.deny(tx, decision)

    def message(self, tx: ServerTransaction) -> None:
        """A MESSAGE outside of dialogs."""
        if self.draining:
            self._busy(tx, DRAIN_RETRY_AFTER_S)
        else:
            self._spawn(self._page(tx))

    def has_dialog(self, request: Request) -> bool:
        """Is a request with a To tag in a dialog of ours? Only if Call-ID and both tags say so."""
        leg = self._dialogs.get((request.call_id, request.to.tag))
        return leg is not None and leg.dialog_of_request(request) is not None

    def in_dialog(self, tx: ServerTransaction) -> None:
        """A request with a To tag, see :meth:`has_dialog`."""
        request = tx.request
        leg = self._dialogs.get((request.call_id, request.to.tag))
        dialog = leg.dialog_of_request(request) if leg is not None else None
        if leg is None or dialog is None:
            tx.respond(request.reply(481, fields=self.server_fields))
            return
        flow = leg.flow
        source = tx.flow.remote[0]
        if source == leg.heard_at:
            tx.prove()
        moved = leg.account is not None and flow is not None and flow.remote[0] != source
        if moved and not leg.routed_through(source):
            self.verify(tx, leg, lambda: receive(leg, tx, dialog))
        else:
            receive(leg, tx, dialog)

    def ack(self, request: Request, flow: Flow) -> bool:
        """An ACK for a 2xx of ours; all others are dropped. :return: whether it was of a call."""
        leg = self._dialogs.get((request.call_id, request.to.tag))
        if leg is None or not leg.sent(request):
            return False
        if leg.ack_received(request, flow) and not flow.reliable:
            self.on_proved(flow)
        return True

    def stray_response(self, response: Response, flow: Flow) -> bool:
        """
        A response of no transaction: a 2xx may want its ACK again, a caller was asked whether he is there.

        :return: whether it belongs to a call.
        """
        if response.cseq.method == "OPTIONS" and self._prober.is_answer(
            response.via.branch or "", flow.remote[0], self.now()
        ):
            self.on_proved(flow)
            return True
        leg = self._watched.get(response.call_id)
        if leg is not None and 200 <= response.status < 300 and response.cseq.method == "INVITE":
            leg.stray_answer(response)
        return leg is not None

    # ------------------------------------------------------------ setting up

    def _spawn(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("call set-up failed unexpectedly", failure)

    def answer(
        self, tx: ServerTransaction, status: int, reason: str | None = None, fields: Sequence[Pair] = ()
    ) -> None:
        """Refuse a request that made no call."""
        if tx.cancelled and status != 487:
            status, reason, fields = 487, None, ()
        if tx.request.method == "INVITE" and not tx.request.to.tag:
            self.metrics.session_answered(status, 0.0)
        tx.respond(
            tx.request.reply(status, reason, to_tag=self.token(), fields=[*fields, *self.server_fields])
        )

    def _busy(self, tx: ServerTransaction, retry_after_s: int) -> None:
        self._turned_away += 1
        self.answer(tx, 503, None, (("Retry-After", str(retry_after_s)),))

    def deny(self, tx: ServerTransaction, decision: Decision) -> None:
        """Tell the sender what the authorizer decided."""
        if isinstance(decision, Challenge):
            self.answer(tx, decision.status, None, decision.fields)
        elif not isinstance(decision, Accepted):
            self.answer(tx, decision.status, decision.reason, decision.fields)

    async def _ask(self, tx: ServerTransaction) -> None:
        """Who it is has to be asked for."""
        decision = await self._authorizer.authorize(tx.request, tx.flow)
        if not isinstance(decision, Accepted):
            self.deny(tx, decision)
        elif tx.cancelled:
            self.answer(tx, 487)
        else:
            self._set_up(tx, decision.account)

    def _set_up(self, tx: ServerTransaction, account: Account) -> None:
        """From INVITE to the first callee leg."""
        request, flow = tx.request, tx.flow
        call = new_call(self, tx, account, self._domains)
        if call is None:
            return
        self._calls[call.call_id] = call
        self.calls_begun += 1
        tx.answer(100, answer_bytes(request, 100))
        if not self.is_proved(flow):
            question = self._prober.question(flow, self.now())
            if tx.may_send(question):
                flow.send(question)
        opened = CallOpened(
            call.call_id,
            self.settings.node,
            account.id,
            call.caller_number,
            call.called_number,
            request.call_id,
            address_text(flow),
            call.begun_at,
            call.channels,
        )
        proved = self._authorizer.proves(request, flow)
        self._writes.begin(call, account, opened, request.uri, flow.remote[0], proved)

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

    def is_proved(self, flow: Flow) -> bool:
        return self.layer.is_proved(flow)

    def targets(self, account: Account) -> Sequence[Target]:
        """
        The account's registered contacts, each over its flow or by its address (``over_its_flow``). Without
        those to which neither leads any more, and those that are one of our own listeners. A phone that has
        its address in common with a partner (NAT) is called over its flow only: another port is perhaps his.
        """
        now_s = self.wall().timestamp()
        targets = []
        for binding in self._locations.lookup(account.username, now_s):
            flow = None
            neighbour = account.type not in CARRIERS and self._is_partners(binding.received_host)
            if neighbour or over_its_flow(binding, self.settings.proxies):
                flow = self._transports.flow_of(binding.local, binding.received_host, binding.received_port)
            if flow is None or not flow.alive():
                uri = way_back(binding, self.settings.proxies)
                if uri is None or neighbour or self._is_self(uri.host, port_of(uri)):
                    continue
                flow = None
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

    def comes_back(self, call_id: str, number: str) -> bool:
        """Is this Call-ID one of ours, of an INVITE that was sent to that number?"""
        sent = self._watched.get(call_id)
        return sent is not None and sent.goes_to(number)

    def find_leg(self, call_id: str, local_tag: str, remote_tag: str) -> Leg | None:
        """The leg of this dialog; ``None``: there is none."""
        leg = self._dialogs.get((call_id, local_tag))
        return leg if leg is not None and leg.matches(remote_tag) else None

    def commit_answer(self, call: Call, answered: CallAnswered) -> None:
        self._writes.commit_answer(call, answered)

    def take_channels(self, call: Call, channels: Sequence[ChannelLimit]) -> None:
        self._writes.take_channels(call, channels)

    def close(self, closed: CallClosed) -> None:
        self._writes.close(closed)

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
            self._turned_away += 1
            call.refused(503, "overloaded")
            return
        self._writes.begin(call, account, opened, f"sip:{call.called_number}", "")

    def verify(self, tx: ServerTransaction, leg: Leg, accept: Callable[[], None]) -> None:
        self._spawn(self._verify(tx, leg, accept))

    async def _verify(self, tx: ServerTransaction, leg: Leg, accept: Callable[[], None]) -> None:
        """A phone that moved proves itself; anybody else learns nothing about the dialog."""
        decision = await self._authorizer.authorize(tx.request, tx.flow)
        if not isinstance(decision, Accepted):
            self.deny(tx, decision)
        elif (
            leg.account is None
            or decision.account.id != leg.account.id
            or not self._authorizer.proves(tx.request, tx.flow)  # let in by a name, which anybody can write
        ):
            tx.respond(tx.request.reply(481, fields=self.server_fields))
        else:
            accept()

    def unexpected(self, text: str, call_id: str) -> None:
        self.unexpected_events += 1
        self.log.warn("call {call_id}: unexpected: {text}", call_id=call_id, text=text)
