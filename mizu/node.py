"""The switch of one process: transports, transactions, registrar, calls, wired to each other.

Built when the store is up; ``mizu.app`` starts and stops it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import treq.client
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool

import mizu
from mizu import pluginset
from mizu.auth.dry_run import Probe
from mizu.auth.interfaces import IKeptFresh
from mizu.auth.peer_rules import PeerRules, targets_of
from mizu.auth.request import Authorizer
from mizu.auth.rule_feed import RuleFeed
from mizu.auth.rules import RuleIndex
from mizu.config import Config
from mizu.console.account_commands import secrets_of
from mizu.console.commands import command_table
from mizu.console.services import ConsoleServices
from mizu.guard.desk import Desk
from mizu.guard.doorman import Doorman
from mizu.guard.filter import Gate
from mizu.guard.socket_bans import SocketBans
from mizu.interfaces import IBanExport, IClock, IHasPeers
from mizu.media.echo_port import EchoService
from mizu.model import Binding
from mizu.observe import Metrics, StatusBoard
from mizu.operator_view import CallsInProgress, RegisteredContacts, WireTrace
from mizu.options import IDENTITY_OPTIONS, REGISTRATION_OPTIONS, Options
from mizu.routing.echo import EchoRouter
from mizu.sip.digest import NonceCounts, NonceSigner
from mizu.sip.outgoing import RequestSender
from mizu.sip.timers import DeadlineHeap, TimerSettings
from mizu.sip.transactions import TransactionLayer
from mizu.sip.transport.pump import Pump
from mizu.sip.transport.resolve import DnsResolver
from mizu.sip.transport.table import TransportTable
from mizu.store.options import OptionFollower
from mizu.store.store import Store
from mizu.switch.b2bua import Switchboard
from mizu.switch.core import SipCore
from mizu.switch.departures import Departures
from mizu.switch.identity import IdentityRules
from mizu.switch.location import LocationTable
from mizu.switch.registrar import Registrar
from mizu.switch.registration import RegistrationRules
from mizu.switch.way_back import Proxies

#: Options that the registrar goes by.
_REGISTRATION = frozenset(spec.name for spec in REGISTRATION_OPTIONS)
#: Options on who may say who calls.
_IDENTITY = frozenset(spec.name for spec in IDENTITY_OPTIONS)
#: A stop that ends calls lets their BYEs be answered, seconds.
LAST_WORDS_S = 0.5


class Node:
    """Everything between the store below and the HTTP side above."""

    log = Logger(namespace="mizu")

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        clock: IClock,
        store: Store,
        metrics: Metrics,
        board: StatusBoard,
        tag_key: bytes,
        nonce_key: bytes,
        shutdown: Callable[[bool], None],
    ) -> None:
        """:raise ConfigError: a plugin refuses its settings."""
        self._config = config
        self._reactor = reactor
        self._clock = clock
        self._store = store
        self._http_pool: HTTPConnectionPool | None = None
        self.options = Options(store.options)  #: global options; take them by argument
        self._option_follower = OptionFollower(self.options, store.changes, reactor)
        sip, limits = config.sip, config.limits
        self._signer = NonceSigner(nonce_key, config.auth.nonce_s)
        self._doorman = doorman = Doorman(
            self.options, store.bans, reactor, clock, registered_at=self._is_registered_at
        )
        self._gate = Gate(
            message_bytes=limits.message_bytes,
            now=clock.mono_s,
            banned=doorman.bans.addresses,
            trusted=doorman.trusted,
            doubtful=doorman.bans.doubtful,
            known=doorman.is_known_host,
            agents=doorman.bans.agents,
            proves=self._was_sent_to,
            on_proof=doorman.proof_shown,
        )
        doorman.steer(self._gate)
        self._transports = TransportTable(
            reactor,
            self._gate,
            sip=sip,
            limits=limits,
            data_dir=config.data,
            log_per_source_per_minute=config.log.per_source_per_minute,
        )
        self._resolver = DnsResolver(reactor, self._transports.reaches, cache_max=limits.dns_cache)
        self._deadlines = DeadlineHeap()
        self._pump = Pump(reactor, self._deadlines, clock)
        self._locations = LocationTable(limits.registrations, Proxies(config.registrar.path_from))
        plugins = pluginset.PluginServices(
            clock=clock,
            accounts=store.accounts,
            directory=store.accounts,
            find_bindings=self._find_bindings,
            realm=sip.realm,
            media=config.media,
            http=self._http_client,
            log=Logger(namespace="mizu.plugin"),
            watch_accounts=lambda forget: self._watch("account", forget),
            watch_numbers=lambda forget: self._watch("number", forget),
            auth_rules=store.auth_rules,
            addresses_of=self._addresses_of,
            option=self.options.get,
            forget_answers=self._forget_answers,
        )
        backends = pluginset.build_auth_backends(config, plugins)
        doorman.exports = self._ban_exports(config, plugins)
        self._kept_fresh: list[Any] = [one for _, one in backends if IKeptFresh.providedBy(one)]
        self._authorizer = Authorizer(
            backends,
            realm=sip.realm,
            signer=self._signer,
            counts=NonceCounts(limits.nonces),
            clock=clock,
            algorithms=config.auth.algorithms,
            cache_limit=limits.auth_cache,
            on_failure=doorman.login_failed,
            on_accept=doorman.accepted,
            on_challenge=doorman.challenged,
            may_log_in=doorman.may_log_in,
        )
        self.core = SipCore(
            authorizer=self._authorizer,
            domains=frozenset(name.lower() for name in sip.domains),
            server_name=sip.user_agent,
            tag_key=tag_key,
            metrics=metrics,
            guard=doorman,
        )
        timers = TimerSettings(sip.t1_s, sip.t2_s, sip.t4_s)
        layer = TransactionLayer(
            self.core,
            self._deadlines,
            clock.mono_s,
            timers=timers,
            limit=limits.transactions,
            transports=self._transports,
        )
        layer.at_once = self.core.at_once
        self.core.layer = self._layer = layer
        self.core.registrar = self._registrar = Registrar(
            self._locations,
            store.locations,
            self._authorizer,
            self._registration_rules(),
            clock,
            domains=sip.domains,
            is_self=self._is_self,
            is_partners=doorman.peers.__contains__,
            server_name=sip.user_agent,
            on_answer=metrics.registration_answered,
        )
        routers = pluginset.build_routers(config, plugins)
        self._peers = self._peer_feed([router for _, router in routers])
        self._echo_routers = [router for _, router in routers if isinstance(router, EchoRouter)]
        self._echo = EchoService(
            reactor,
            clock=clock,
            deadlines=self._deadlines,
            rtp_ports=config.media.echo_rtp_ports,
            longest_s=config.media.echo_max_s,
            allowed=self._is_self,
        )
        sender = RequestSender(
            layer, self._transports, self._resolver, udp_max_request_bytes=sip.udp_max_request_bytes
        )
        self.core.switchboard = self._switchboard = Switchboard(
            layer=layer,
            sender=sender,
            transports=self._transports,
            authorizer=self._authorizer,
            routers=routers,
            locations=self._locations,
            calls=store.calls,
            clock=clock,
            deadlines=self._deadlines,
            config=config,
            node=store.node,
            metrics=metrics,
            is_self=self._is_self,
            is_partners=doorman.peers.__contains__,
        )
        self._tell_guard(layer, self._switchboard)
        self._transports.sink = self.core
        self._watch("ban", doorman.database.changed)
        self._watch("whitelist", doorman.database.whitelist_changed)
        self.options.subscribe(self._option_changed)
        self._watch("account", self._authorizer.forget)
        self._departures = Departures(
            store.accounts, self._locations, self._registrar.remove, self._switchboard
        )
        self._watch("account", self._departures.changed)
        trace = WireTrace(limits.trace_messages, clock.wall, self._transports)
        self.services = ConsoleServices(
            accounts=store.accounts,
            records=store.records,
            groups=store.groups,
            numbers=store.numbers,
            addresses=store.addresses,
            sip_accounts=store.sip_accounts,
            imports=store.imports,
            cdrs=store.call_history,
            calls=CallsInProgress(self._switchboard, clock),
            registrations=RegisteredContacts(self._locations, self._registrar, clock),
            trace=trace,
            status=board.read,
            shutdown=shutdown,
            realm=sip.realm,
            on_account_changed=self._authorizer.forget,
            version=mizu.__version__,
            options=self.options,
            tokens=store.operators,
            audit=store.audit,
            guard=Desk(doorman, clock),
            auth=Probe(backends),
        )
        store.audit.keep_days = lambda: int(self.options.get("auditkeepdays"))
        store.imports.digests = lambda username, password: secrets_of(username, sip.realm, password)
        self.commands = command_table(self.services)
        self._hang_up(board)

    def _tell_guard(self, layer: TransactionLayer, switchboard: Switchboard) -> None:
        """What the guard wants to know of requests, and they of it."""
        doorman = self._doorman
        layer.is_known = doorman.is_known
        layer.cancel_refused = doorman.useless
        switchboard.on_unknown_number = doorman.unknown_number
        switchboard.on_proved = doorman.proved

    def _peer_feed(self, routers: Sequence[Any]) -> RuleFeed:
        """Follows where partners send from, for the guard."""
        trunks = [host for router in routers if IHasPeers.providedBy(router) for host in router.peers()]
        feed = RuleFeed(
            PeerRules(self._store.peers, trunks),
            RuleIndex(self._config.limits.peers),
            clock=self._clock,
            resolve=self._hosts_of,
            forget=self._peer_changed,
            limit_name="limits.peers",
            warns=False,
        )
        self._watch("account", feed.changed)
        return feed

    def _watch(self, topic: str, forget: Callable[[str | None], None]) -> None:
        """Tell ``forget`` of every change of that kind, on whatever node it was made."""
        self._store.changes.subscribe(topic, forget)

    def _ban_exports(self, config: Config, plugins: pluginset.PluginServices) -> list[IBanExport]:
        """Who is told of bans besides the gate: our own sockets, and plugins."""
        limits = config.limits
        at_sockets = SocketBans(
            self._transports.filter_datagrams,
            self._reactor,
            message_bytes=limits.message_bytes,
            most=limits.socket_bans,
        )
        return [at_sockets, *(export for _, export in pluginset.build_ban_exports(config, plugins))]

    def _hang_up(self, board: StatusBoard) -> None:
        """Say on the status board what there is to say."""
        board.section("transports", self._transports_facts)
        board.section("transactions", self._layer.counts)
        board.section("connections", self._transports.connections.counts)
        board.section("registrations", lambda: {"contacts": len(self._locations)})
        board.section("calls", self._switchboard.counts)
        board.section("dialogs", self._switchboard.dialog_counts)
        board.feed(self._count_messages)
        board.section("authorization", self._authorizer.counts)
        board.section("bans", self._doorman.counts)
        board.section("timers", lambda: len(self._deadlines))
        board.section("dropped", lambda: {**self._gate.dropped, "socket": self._transports.dropped()})

    def _count_messages(self, metrics: Metrics) -> None:
        """What the parts count by themselves, brought over when somebody wants to see it."""
        tallies, transports = self._layer.tallies, self._transports.counts()
        metrics.responses[:] = tallies.responses_out
        metrics.messages_sent = (
            sum(tallies.responses_out) + sum(tallies.requests_out.values()) + tallies.repeated_out
        )
        metrics.bytes_received, metrics.bytes_sent = transports["received_bytes"], transports["sent_bytes"]
        metrics.messages_dropped = sum(self._gate.dropped.values()) + self._transports.dropped()
        metrics.calls_refused = self._switchboard.refused_busy

    def _transports_facts(self) -> dict[str, Any]:
        return {"listen": self.addresses, **self._transports.counts()}

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """
        Read the options, load registrations, then listen.

        :raise CannotListen: an address is taken, not ours, or needs privileges.
        """
        loaded = await self._registrar.load(lambda: deferLater(self._reactor, 0))  # HTTP is asked meanwhile
        if loaded:
            self.log.info("{count} registered contacts loaded", count=loaded)
        await self._doorman.database.load()
        for spec in self._config.sip.listen:
            self._transports.listen(spec)
        for backend in self._kept_fresh:
            await backend.prepare()  # may look names up, which takes listeners to be of use
        self._peers.changed(None)  # nobody waits for it
        if self._echo_routers and self._config.media.echo_numbers:
            uri = self._echo.start()
            for router in self._echo_routers:
                router.party_uri = uri
        self.core.ready = True

    def sweep(self) -> None:
        """Once a second: what has run out and has no timer of its own."""
        self._registrar.expire()
        self._doorman.sweep()
        self._departures.sweep()
        for backend in self._kept_fresh:
            backend.sweep()
        self._peers.sweep()
        self._store.audit.tidy()

    @property
    def calls_in_progress(self) -> int:
        return len(self._switchboard.calls)

    def drain(self, timeout_s: float) -> "Deferred[Any]":
        """Refuse new calls. Fires when the last call is over, or after ``timeout_s``."""
        self.core.draining = True
        empty: Deferred[Any] = Deferred()
        self._switchboard.drain(lambda: None if empty.called else empty.callback(None))
        if not empty.called:
            late = self._reactor.callLater(timeout_s, lambda: None if empty.called else empty.callback(None))
            empty.addBoth(lambda value: late.cancel() if late.active() else None)
        return empty

    async def stop(self) -> None:
        """End the calls that are left, close every listener and timer."""
        self.core.ready = False
        if self._switchboard.drop_all():
            await deferLater(self._reactor, LAST_WORDS_S)  # BYEs and their answers
        await maybeDeferred(self._echo.stop)
        await self._transports.close()
        self._resolver.close()
        self._pump.stop()
        self._option_follower.stop()
        self._doorman.stop()
        if self._http_pool is not None:
            await self._http_pool.closeCachedConnections()  # type: ignore[no-untyped-call]

    # ------------------------------------------------------------ what others ask

    @property
    def addresses(self) -> list[str]:
        """Where SIP listens, ``proto:host:port`` with real ports."""
        shown = (
            (one.proto, f"[{one.host}]" if ":" in one.host else one.host, one.port)
            for one in self._transports.listeners
        )
        return [f"{proto}:{host}:{port}" for proto, host, port in shown]

    def _is_self(self, host: str, port: int) -> bool:
        """A contact that points at one of our listeners would be a loop (RFC 3261 10.3 leaves it to us)."""
        return self._transports.listens_at(host, port)

    def _registration_rules(self) -> RegistrationRules:
        return RegistrationRules.of(self.options.get, self._config.registrar.contacts_max)

    def _take_identity_rules(self) -> None:
        board = self._switchboard
        board.settings = replace(board.settings, identity=IdentityRules.of(self.options.get))

    def _option_changed(self, name: str) -> None:
        if name in _IDENTITY:
            self._take_identity_rules()
        if name in _REGISTRATION:
            self._registrar.rules = self._registration_rules()

    def _forget_answers(self, username: str | None) -> None:
        """For backends, which are made before the authorizer that asks them."""
        self._authorizer.forget(username)

    def _addresses_of(self, name: str) -> "Deferred[Sequence[str]]":
        """The addresses of a domain name, kept for their TTL; empty: none found."""
        found: Deferred[Sequence[str]] = Deferred()
        uri = f"sip:{name}:5060"  # with a port only addresses are asked for (RFC 3263 4.2)
        self._resolver.resolve(uri, lambda hops: found.callback([hop.host for hop in hops]))
        return found

    async def _hosts_of(self, name: str) -> Sequence[str]:
        """Where calls to a domain go, by SRV too, and its own addresses; kept for their TTL."""
        found: Deferred[Sequence[str]] = Deferred()
        self._resolver.resolve(f"sip:{name}", lambda hops: found.callback([hop.host for hop in hops]))
        return [*await found, *await self._addresses_of(name)]

    def _peer_changed(self, username: str | None) -> None:
        """The addresses of a partner are others now."""
        assert username is not None
        self._doorman.peers_are(username, targets_of(self._peers.index, username))

    def _is_registered_at(self, username: str, host: str) -> bool:
        return any(one.received_host == host for one in self._find_bindings(username))

    def _was_sent_to(self, nonce: str, host: str) -> bool:
        """Is that a nonce of ours, still good, that was sent to this address?"""
        now_s = self._clock.wall().timestamp()
        return self._signer.check(nonce, now_s) == "good" and self._signer.issued_to(nonce, host)

    def _find_bindings(self, aor: str) -> Sequence[Binding]:
        return self._locations.lookup(aor, self._clock.wall().timestamp())

    def _http_client(self) -> treq.client.HTTPClient:
        if self._http_pool is None:
            self._http_pool = HTTPConnectionPool(self._reactor)  # type: ignore[no-untyped-call]
        agent = Agent(self._reactor, pool=self._http_pool)  # type: ignore[no-untyped-call]
        return treq.client.HTTPClient(agent)
