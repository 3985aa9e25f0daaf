"""
The registrar: REGISTER transactions in, bindings in the location table and the store (RFC 3261 10.3,
RFC 3327, RFC 5626). What a request changes is worked out in ``mizu.switch.registration``.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from secrets import token_hex

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.auth.request import Accepted, Authorizer, Challenge, Decision
from mizu.errors import MizuError, Overloaded
from mizu.interfaces import IClock, ILocationStore
from mizu.model import Account, AuthType, Binding
from mizu.sip.flow import Flow
from mizu.sip.grammar import BadMessage
from mizu.sip.message import Request
from mizu.sip.transactions import Answer, ServerTransaction
from mizu.sip.uri import SipUri
from mizu.switch.location import LocationTable
from mizu.switch.registration import (
    FOREIGN_PATH,
    Outcome,
    RegistrationRefused,
    RegistrationRules,
    apply_register,
)
from mizu.switch.way_back import without_connection

#: Seconds after which a phone of RFC 5626 sends its keepalive, told in ``Flow-Timer``.
FLOW_TIMER_S = 120
LOAD_SLICE = 1000
#: Who is let in without a password and from anywhere: over UDP his address may be anybody's.
BY_NAME = frozenset((AuthType.OPEN_RELAY, AuthType.TECH_PREFIX, AuthType.USERNAME))
#: Seconds between two lines in the log about a Path that was refused.
PATH_LOG_S = 60.0

Fields = tuple[tuple[str, str], ...]


def _nobody(*_: object) -> None:
    """Nobody listens."""


def _never_self(host: str, port: int) -> bool:
    return False


def _nobodys(host: str) -> bool:
    return False


class Registrar:
    """
    :param locations: the table that calls are routed by; written here only.
    :param store: told of each change; memory holds even when it is away.
    :param domains: lower-case host names that are ours; empty: every name is. Our own addresses always are.
    :param is_self: whether host and port are one of our listeners; the one a REGISTER came to is known.
    :param is_partners: whether a numeric address is a carrier's or another partner's.
    :param on_change: called with (address of record, whether it is registered now) when that changes.
    :param on_answer: called with each answer's status and the seconds since its REGISTER came.
    """

    log = Logger()

    def __init__(
        self,
        locations: LocationTable,
        store: ILocationStore,
        authorizer: Authorizer,
        rules: RegistrationRules,
        clock: IClock,
        *,
        domains: Sequence[str] | frozenset[str] = (),
        is_self: Callable[[str, int], bool] = _never_self,
        is_partners: Callable[[str], bool] = _nobodys,
        server_name: str = "",
        flow_timer_s: int = FLOW_TIMER_S,
        on_change: Callable[[str, bool], None] = _nobody,
        on_answer: Callable[[int, float], None] = _nobody,
    ) -> None:
        self._locations = locations
        self._store = store
        self._authorizer = authorizer
        self.rules = rules  #: may be exchanged at any time
        self._clock = clock
        self._domains = frozenset(name.lower() for name in domains)
        self._is_self = is_self
        self._is_partners = is_partners
        self._server: Fields = (("Server", server_name),) if server_name else ()
        self._flow_timer_s = flow_timer_s
        self._on_change = on_change
        self._on_answer = on_answer
        self._undecided: Request | None = None  # the last one that the account store must be asked about
        self._came_s = 0.0  # when the REGISTER came that is being answered
        self._tag_prefix = token_hex(4)
        self._tag_number = count()
        self._date_second = 0
        self._date = ""
        self._told_of_path_s = 0.0  # when to tell next of a Path that was refused
        self.answers: dict[int, int] = {}  #: answers by status, for metrics

    # ------------------------------------------------------------ requests

    def answer_now(self, request: Request, flow: Flow) -> Answer | None:
        """
        Serve one REGISTER whose sender is known from memory, or cannot be known. Never raises.

        :return: ``None``: the account must be asked for; :meth:`register` does.
        """
        self._came_s = self._clock.mono_s()
        try:
            if self._domains and not self._is_ours(request.request_uri, flow):
                return self._answer(403, "Not Our Domain")  # RFC 3261 10.3 step 1: we forward for nobody
            decision = self._authorizer.authorize_now(request, flow)
            if decision is not None:
                return self._decided(request, flow, decision)
        except MizuError as error:
            return self._refusal(error, request, flow)
        except Exception:
            return self._failure(None)
        self._undecided = request
        return None

    def register(self, tx: ServerTransaction) -> None:
        """Answer one REGISTER, now or when the account store has answered. Never raises."""
        asked, self._undecided = self._undecided is tx.request, None
        answer = None if asked else self.answer_now(tx.request, tx.flow)
        if answer is not None:
            self._send(tx, answer)
        else:
            ensureDeferred(self._authorize(tx, self._clock.mono_s())).addErrback(self._failed, tx)

    async def _authorize(self, tx: ServerTransaction, came_s: float) -> None:
        decision = await self._authorizer.authorize(tx.request, tx.flow)
        self._came_s = came_s
        if tx.final_sent:
            return  # the transaction ended while the store was asked
        try:
            answer = self._decided(tx.request, tx.flow, decision)
        except MizuError as error:
            answer = self._refusal(error, tx.request, tx.flow)
        self._send(tx, answer)

    def _send(self, tx: ServerTransaction, answer: Answer) -> None:
        status, reason, fields, to_tag, _ = answer
        tx.respond(tx.request.reply(status, reason, to_tag=to_tag, fields=fields))

    def _failed(self, failure: Failure, tx: ServerTransaction) -> None:
        answer = self._failure(failure)
        if not tx.final_sent:
            self._send(tx, answer)

    def _failure(self, failure: Failure | None) -> Answer:
        """:param failure: ``None``: the exception being handled."""
        self.log.failure("a REGISTER could not be served", failure)
        return self._answer(500)

    def _decided(self, request: Request, flow: Flow, decision: Decision) -> Answer:
        if isinstance(decision, Accepted):
            return self._serve(request, flow, decision.account)
        if isinstance(decision, Challenge):
            return self._answer(decision.status, None, decision.fields, keep=False)
        return self._answer(decision.status, decision.reason or None, decision.fields)

    def _serve(self, request: Request, flow: Flow, account: Account) -> Answer:
        """Steps 4 to 8 for a request whose sender is known."""
        aor = account.username
        to = request.to
        # The usual case needs no parsed URI: letters and digits are seldom written in another way.
        if self._domains or not to.uri_text.startswith(f"sip:{aor}@") or not aor.isalnum():
            if to.uri.user != aor:
                # Also for names that do not exist, so that nobody can find out which do.
                return self._answer(403, "Not Your Address Of Record")
            if self._domains and isinstance(to.uri, SipUri) and not self._is_ours(to.uri, flow):
                return self._answer(404)  # step 5
        if account.auth_type in BY_NAME and not flow.reliable and self._is_partners(flow.remote[0]):
            # Forged by whoever knows the name: calls would go to a carrier, with what Contact says as number.
            return self._answer(403, "Address Of Another Account")
        now_s = self._clock.wall_s()
        old = self._locations.get(aor)
        outcome = apply_register(
            request,
            flow,
            account,
            old,
            settings=self.rules,
            now_s=now_s,
            is_self=self._is_self,
            proxies=self._locations.proxies,
        )
        if outcome.changed:
            self._locations.replace(aor, outcome.bindings)
            self._changed(aor, old, outcome.bindings)
            if flow.reliable and outcome.bindings:
                flow.keep_for(max([binding.expires_at_s for binding in outcome.bindings]) - now_s)
        return self._answer(200, None, self._success_fields(request, outcome, now_s))

    def _success_fields(self, request: Request, outcome: Outcome, now_s: float) -> Fields:
        """What a 200 carries: every binding (step 8), and what the extensions ask for."""
        fields = self._contact_fields(request, outcome, now_s)
        fields.append(("Date", self._date_text(now_s)))
        path = request.get("path")
        if path is not None:
            fields.append(("Path", ", ".join(request.values("path"))))
        if outcome.outbound:
            fields.append(("Require", "outbound"))
            fields.append(("Flow-Timer", str(self._flow_timer_s)))
        if path is not None or outcome.outbound:
            fields.append(("Supported", "path, outbound"))
        return tuple(fields)

    def _contact_fields(self, request: Request, outcome: Outcome, now_s: float) -> list[tuple[str, str]]:
        """What is said of the contacts (option ``sendbackregcontact``); who only asks is told all."""
        echo = self.rules.echo_contact
        if not outcome.changed or echo == 2:
            return [("Contact", contact_value(binding, now_s)) for binding in outcome.bindings]
        if echo == 1:
            return [("Contact", f"<{binding.contact}>") for binding in outcome.bindings]
        return [("Contact", value) for value in request.get_all("contact")] if echo == 3 else []

    # ------------------------------------------------------------ other sources of change

    async def load(self, pause: Callable[[], Awaitable[object]] | None = None) -> int:
        """
        Read back what the store has kept. Bindings made since the start win over stored ones.

        :param pause: awaited after each :data:`LOAD_SLICE` addresses of record, to let others do something.
        :return: bindings taken over.
        :raise StoreBusy: nothing was read; try again.
        """
        stored: dict[str, list[Binding]] = {}
        for kept in await self._store.load():
            binding = without_connection(kept, self._locations.proxies)  # no connection outlives the process
            if binding is not None:
                stored.setdefault(binding.aor, []).append(binding)
        now_s = self._clock.wall_s()
        loaded = 0
        for number, (aor, bindings) in enumerate(stored.items(), 1):
            if pause is not None and number % LOAD_SLICE == 0:
                await pause()
            live = [binding for binding in bindings if binding.expires_at_s > now_s]
            if not live or self._locations.get(aor):
                continue
            try:
                self._locations.replace(aor, live)
            except Overloaded:
                self.log.error("limits.registrations is too low: not every stored registration was loaded")
                break
            loaded += len(live)
            self._on_change(aor, True)
        return loaded

    def remove(self, aor: str, contact: str | None = None) -> int:
        """Unregister one contact of an address of record, or all (``None``). :return: how many there were."""
        old = self._locations.get(aor)
        kept = tuple([one for one in old if contact is not None and one.contact != contact])
        if len(kept) < len(old):
            self._locations.replace(aor, kept)
            self._changed(aor, old, kept)
        return len(old) - len(kept)

    def expire(self) -> int:
        """Drop what has expired; call it every second or so. :return: addresses of record changed."""
        # A second's share of the table, should everything expire within two minutes.
        limit = 1000 + self._locations.addresses // 100
        changed = self._locations.expire(self._clock.wall_s(), limit)
        self._announce(changed)
        return len(changed)

    def flow_closed(self, flow: Flow) -> None:
        """A connection is gone: calls must not go over it any more (see ``LocationTable.close_stream``)."""
        host, port = flow.remote
        self._announce(self._locations.close_stream(flow.listener, host, port))

    def _announce(self, changed: Sequence[str]) -> None:
        """Pass on what the table has changed by itself: these had bindings before."""
        for aor in changed:
            bindings = self._locations.get(aor)
            self._store.put(aor, bindings)
            if not bindings:
                self._on_change(aor, False)

    def _changed(self, aor: str, old: Sequence[Binding], new: Sequence[Binding]) -> None:
        self._store.put(aor, new)
        if bool(old) != bool(new):
            self._on_change(aor, bool(new))

    # ------------------------------------------------------------ pieces

    def _is_ours(self, uri: object, flow: Flow) -> bool:
        if not isinstance(uri, SipUri):
            return False
        host = uri.host.lower()
        return host in self._domains or host == flow.local[0]

    def _tell_of_path(self, request: Request, flow: Flow) -> None:
        """For the operator of a proxy that was forgotten; not more often than he reads it."""
        now_s = self._clock.mono_s()
        if now_s < self._told_of_path_s:
            return
        self._told_of_path_s = now_s + PATH_LOG_S
        self.log.warn(
            "REGISTER of {user!r} from {host} refused: its Path {path!r} names another address. If {host} is "
            "a proxy of yours, add it to path_from of [registrar]",
            user=request.to.uri.user[:64],
            host=flow.remote[0],
            path=", ".join(request.values("path"))[:256],
        )

    def _refusal(self, error: MizuError, request: Request, flow: Flow) -> Answer:
        if isinstance(error, RegistrationRefused):
            if error.code == FOREIGN_PATH:
                self._tell_of_path(request, flow)
            return self._answer(error.sip_status, error.reason or None, error.fields)
        if isinstance(error, BadMessage):
            return self._answer(error.sip_status, str(error) or None)
        retry_s = getattr(error, "retry_after_s", 0)
        return self._answer(error.sip_status, None, (("Retry-After", str(retry_s)),) if retry_s else ())

    def _answer(
        self, status: int, reason: str | None = None, fields: Fields = (), *, keep: bool = True
    ) -> Answer:
        self.answers[status] = self.answers.get(status, 0) + 1
        self._on_answer(status, self._clock.mono_s() - self._came_s)
        tag = f"{self._tag_prefix}{next(self._tag_number):x}"
        return Answer(status, reason, (*fields, *self._server), tag, keep)

    def _date_text(self, now_s: float) -> str:
        """``Date`` as RFC 3261 20.17 writes it; made once a second."""
        second = int(now_s)
        if second != self._date_second:
            self._date_second = second
            self._date = format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True)
        return self._date


def contact_value(binding: Binding, now_s: float) -> str:
    """A binding as the Contact header of an answer shows it, with the seconds that are left."""
    text = f"<{binding.contact}>;expires={max(1, round(binding.expires_at_s - now_s))}"
    if binding.q_milli != 1000:
        text += f";q={binding.q_milli / 1000:g}"
    if binding.reg_id:
        text += f';+sip.instance="<{binding.instance_id}>";reg-id={binding.reg_id}'
    return text
