"""A whole switch on the fake wire: transactions, core, registrar, switchboard; only sockets, DNS and database
are fakes. A scenario builds a :class:`World` on the wire it is given and ends with :meth:`World.settled`."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mizu.auth.request import Authorizer
from mizu.auth.store_backend import StoreBackend
from mizu.config import CallConfig, Config, LimitsConfig, RegistrarConfig, SipConfig
from mizu.interfaces import IRouter
from mizu.model import Account, Cdr
from mizu.observe import Metrics
from mizu.routing.local import LocalRouter, LocalRouterSettings
from mizu.sip.nonces import NonceCounts, NonceSigner
from mizu.sip.outgoing import RequestSender
from mizu.sip.timers import TimerSettings
from mizu.sip.transactions import TransactionLayer
from mizu.switch.b2bua import Switchboard
from mizu.switch.core import SipCore
from mizu.switch.location import LocationTable
from mizu.switch.registrar import Registrar
from mizu.switch.registration import RegistrationRules
from mizu.switch.way_back import Proxies
from mizu.testing import FakeResolver, FakeWire, PeerCall, SipPeer
from mizu.testing.auth import FakeAccountStore, result_now
from mizu.testing.stores import MemoryCallStore, MemoryLocationStore

SERVER_HOST = "10.0.0.1"


class World:
    """One switch and the phones around it."""

    def __init__(
        self,
        wire: FakeWire,
        *,
        routers: Sequence[tuple[str, IRouter]] | None = None,
        call: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        registrar: dict[str, Any] | None = None,
        domains: Sequence[str] = (),
        hosts: dict[str, Any] | None = None,
        partners: Sequence[str] = (),
    ) -> None:
        self.wire = wire
        self.clock = wire.clock
        self.config = Config(
            sip=SipConfig(domains=list(domains)),
            call=CallConfig(**(call or {})),
            limits=LimitsConfig(**(limits or {})),
            registrar=RegistrarConfig(**(registrar or {})),
        )
        self.accounts = FakeAccountStore(realm="mizu")
        self.cdrs = MemoryCallStore()
        self.locations = LocationTable(10_000, Proxies(self.config.registrar.path_from))
        self.authorizer = Authorizer(
            [("accounts", StoreBackend(self.accounts))],
            realm="mizu",
            signer=NonceSigner(b"k" * 32, 300.0),
            counts=NonceCounts(1000),
            clock=self.clock,
        )
        self.metrics = Metrics()
        self.core = SipCore(
            authorizer=self.authorizer,
            domains=frozenset(domains),
            server_name="mizu",
            tag_key=b"t" * 32,
            metrics=self.metrics,
        )
        self.transports = wire.host(
            f"udp:{SERVER_HOST}:5060", f"tcp:{SERVER_HOST}:5060", sink=self.core.message_received, name="mizu"
        )
        timers = TimerSettings()
        self.layer = TransactionLayer(self.core, self.clock.deadlines, self.clock.mono_s, timers=timers)
        self.local = LocalRouter(LocalRouterSettings(), self.accounts, self.clock)
        self.board = Switchboard(
            layer=self.layer,
            sender=RequestSender(self.layer, self.transports, FakeResolver(hosts or {})),
            transports=self.transports,
            authorizer=self.authorizer,
            routers=[*(routers or ()), ("local", self.local)],
            locations=self.locations,
            calls=self.cdrs,
            clock=self.clock,
            deadlines=self.clock.deadlines,
            config=self.config,
            node="test",
            metrics=self.metrics,
            is_partners=frozenset(partners).__contains__,
        )
        self.core.layer = self.layer
        self.layer.at_once = self.core.at_once
        self.core.registrar = Registrar(
            self.locations,
            MemoryLocationStore(self.clock),
            self.authorizer,
            RegistrationRules(),
            self.clock,
            on_answer=self.metrics.registration_answered,
        )
        self.core.switchboard = self.board
        self.core.ready = True
        self._next_host = 1
        self._known: dict[str, Account] = {}

    # ------------------------------------------------------------ people

    def phone(
        self, name: str, *, register: bool = True, account: dict[str, Any] | None = None, **more: Any
    ) -> SipPeer:
        """A phone with an account of its name; registered when this returns, unless told otherwise."""
        if name not in self._known:
            self._known[name] = self.accounts.set(name, "secret", **(account or {}))
        self._next_host += 1
        peer = SipPeer(
            self.wire,
            name,
            f"10.0.1.{self._next_host}",
            server=f"sip:{SERVER_HOST}" + (f";transport={more['proto']}" if "proto" in more else ""),
            password="secret",
            username=name,
            **more,
        )
        if register:
            done = peer.register(3600)
            self.until(lambda: done.done)
            assert done.status == 200
        return peer

    def trunk(self, name: str, host: str, **more: Any) -> SipPeer:
        """A peer without an account."""
        return SipPeer(self.wire, name, host, server=f"sip:{SERVER_HOST}", **more)

    def account(self, name: str) -> Account:
        """The account of that name."""
        return self._known[name]

    def change_account(self, name: str, **fields: Any) -> None:
        """Change an account as an operator would: caches forget it."""
        self._known[name] = result_now(self.accounts.change(name, None, fields))
        self.authorizer.forget(name)
        self.local.account_changed(name)

    # ------------------------------------------------------------ time

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    def until(self, condition: Callable[[], bool], limit_s: float = 64.0) -> None:
        """Let time pass until something is so. :raise AssertionError: it never was."""
        end_s = self.clock.mono_s() + limit_s
        while not condition():
            assert self.clock.mono_s() < end_s, f"waited {limit_s} s in vain\n{self.wire.ladder()}"
            self.clock.advance(0.005)

    # ------------------------------------------------------------ what was left

    @property
    def rows(self) -> list[Cdr]:
        """Call rows in the order of their beginning."""
        return list(self.cdrs.cdrs.values())

    @property
    def row(self) -> Cdr:
        """The only call row."""
        assert len(self.rows) == 1, self.rows
        return self.rows[0]

    def settled(self) -> None:
        """Every call is over and closed, and when the timers have run out nothing is left of any."""
        self.clock.run_until_idle(limit_s=4000)
        board = self.board
        assert not board.calls, f"calls left: {[(c.state, c.legs) for c in board.calls.values()]}"
        assert not board._dialogs, f"dialogs left: {board._dialogs}"
        assert not board._watched
        assert len(board.pager) == 0
        assert len(self.layer) == 0, self.layer.counts()
        assert len(self.clock.deadlines) == 0
        assert board.unexpected_events == 0
        assert all(row.state == "ended" for row in self.rows), self.rows


def talk(world: World, caller: SipPeer, callee: SipPeer, **more: Any) -> tuple[PeerCall, PeerCall]:
    """A call from one phone to another, answered: both ends of it."""
    begun = len(callee.calls)
    out = caller.call(callee.name, **more)
    world.until(lambda: len(callee.calls) > begun)
    there = callee.calls[-1]
    there.ring()
    there.answer()
    world.until(lambda: out.state == "up" and bool(there.acks))
    world.pass_s(0.1)
    return out, there


@pytest.fixture(name="World")
def world_class() -> type[World]:
    """The class; a scenario makes its own world on the wire it is given."""
    return World


@pytest.fixture(name="talk")
def talk_function() -> Callable[..., tuple[PeerCall, PeerCall]]:
    """Brings two phones into an answered call."""
    return talk
