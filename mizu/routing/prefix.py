"""Calls to SIP trunks by the longest prefix of the called number, from a table in the configuration."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zope.interface import implementer

from mizu.errors import CallRefused, ConfigError
from mizu.interfaces import IHasPeers, IKnowsAtOnce, IRouter
from mizu.model import Account, CallRequest, Route, TrunkCredentials
from mizu.routing.known import KnownAccounts
from mizu.settings import setting
from mizu.sip.grammar import BadMessage
from mizu.sip.numbers import is_number
from mizu.sip.uri import SipUri


@dataclass(frozen=True, slots=True)
class TrunkSettings:
    """``[[routing.router.trunk]]``: one way out."""

    name: str = setting(doc="for call rows and for the prefixes")
    uri: str = setting(doc="where to: sip:HOST, sip:HOST:PORT;transport=tcp, ...; its user part is not used")
    account: str = setting(
        "", "username of its gateway or SIP server account, whose limits count, and its owners'; empty: none"
    )
    username: str = setting("", "answers the trunk's challenges; empty: never")
    password: str = field(default="", repr=False, metadata=setting("", "goes with username").metadata)
    realm: str = setting("", "only challenges of this realm are answered; empty: of any, from the trunk")
    strip: int = setting(0, "digits taken from the front of the called number", least=0, most=64)
    add: str = setting("", "put before the called number, after strip")
    caller_number: str = setting("", "number shown to the trunk; empty: the caller's")
    answer_timeout_s: float = setting(5.0, "silence for so long: next trunk; 0: timer B, 32 s", least=0)
    ring_timeout_s: float = setting(0.0, "how long it rings; 0: [call] ring_timeout_s", least=0)
    fix_nat: bool = setting(False, "replace private addresses in its session descriptions by its own")


@dataclass(frozen=True, slots=True)
class PrefixSettings:
    """``[[routing.router.prefix]]``: which numbers go where."""

    prefix: str = setting(doc="beginning of the called number; empty: every number")
    trunks: list[str] = setting(doc="names of trunks in the order of trial")


@dataclass(frozen=True, slots=True)
class PrefixRouterSettings:
    """Settings of the router type ``prefix``."""

    trunk: list[TrunkSettings] = setting([], "[[routing.router.trunk]] tables")
    prefix: list[PrefixSettings] = setting([], "[[routing.router.prefix]] tables")


_prefix = re.compile(r"[+0-9*#]*").fullmatch
#: A called number is not looked up by more than this; no prefix is longer.
PREFIX_CHARS_MAX = 64


@implementer(IRouter, IKnowsAtOnce, IHasPeers)
class PrefixRouter:
    """
    Longest prefix wins; its trunks are tried in order, the next one on silence, 5xx or 408. Names are for
    other routers: what goes out to a trunk is a number (:mod:`mizu.sip.numbers`).

    One dictionary look-up for each length that any prefix has, however many prefixes there are.

    :param accounts: finds the accounts of trunks; a trunk whose account is not there or disabled is not used.
    """

    def __init__(self, settings: PrefixRouterSettings, accounts: KnownAccounts | None = None) -> None:
        """:raise ConfigError: an unknown trunk, a prefix or trunk that is there twice, a bad URI."""
        self._accounts = accounts
        problems: list[str] = []
        trunks: dict[str, TrunkSettings] = {}
        for trunk in settings.trunk:
            if trunk.name in trunks:
                problems.append(f"trunk {trunk.name!r} is there twice")
            trunks[trunk.name] = trunk
            try:
                SipUri.parse(trunk.uri)
            except BadMessage as bad:
                problems.append(f"trunk {trunk.name!r}: uri {trunk.uri!r}: {bad}")
        self._table: dict[str, tuple[TrunkSettings, ...]] = {}
        for row in settings.prefix:
            if row.prefix in self._table:
                problems.append(f"prefix {row.prefix!r} is there twice")
            if len(row.prefix) > PREFIX_CHARS_MAX:
                problems.append(f"prefix {row.prefix!r} is longer than {PREFIX_CHARS_MAX} characters")
            if _prefix(row.prefix) is None:
                problems.append(f"prefix {row.prefix!r} is no beginning of a number: digits, *, #, +")
            missing = [name for name in row.trunks if name not in trunks]
            problems += [f"prefix {row.prefix!r}: there is no trunk {name!r}" for name in missing]
            if not row.trunks:
                problems.append(f"prefix {row.prefix!r} names no trunk")
            self._table[row.prefix] = tuple(trunks[name] for name in row.trunks if name in trunks)
        if problems:
            raise ConfigError(problems)
        #: URIs with NUL in the place of a number that needs no escapes
        self._patterns = {
            name: _with_user(trunk.uri, "u").replace(":u", ":\0", 1) for name, trunk in trunks.items()
        }
        self._hosts = sorted({SipUri.parse(trunk.uri).host.strip("[]").lower() for trunk in trunks.values()})
        self._lengths = sorted({len(prefix) for prefix in self._table}, reverse=True)
        self._credentials = {
            name: TrunkCredentials(trunk.username, trunk.password, trunk.realm)
            for name, trunk in trunks.items()
            if trunk.username
        }

    async def find_routes(self, call: CallRequest) -> Sequence[Route]:
        """See :class:`mizu.interfaces.IRouter`."""
        prefix, trunks = self._trunks(call)
        gateways = {}
        for trunk in trunks:
            if trunk.account and self._accounts is not None:
                gateways[trunk.account] = await self._accounts.find(trunk.account)
        return self._routes(call.called_number, prefix, trunks, gateways)

    def routes_now(self, call: CallRequest) -> Sequence[Route] | None:
        """See :class:`mizu.interfaces.IKnowsAtOnce`."""
        prefix, trunks = self._trunks(call)
        gateways = {}
        for trunk in trunks:
            if trunk.account:
                known = self._accounts.now(trunk.account) if self._accounts is not None else (None,)
                if known is None:
                    return None
                gateways[trunk.account] = known[0]
        return self._routes(call.called_number, prefix, trunks, gateways)

    def peers(self) -> Sequence[str]:
        """See :class:`mizu.interfaces.IHasPeers`."""
        return self._hosts

    def _trunks(self, call: CallRequest) -> tuple[str, Sequence[TrunkSettings]]:
        """The longest prefix of a number and its trunks; none: no prefix fits, or it is no number."""
        number = call.called_number
        if not is_number(number, call.caller.tech_prefix):
            return "", ()
        for length in self._lengths:
            trunks = self._table.get(number[:length]) if length <= len(number) else None
            if trunks is not None:
                return number[:length], trunks
        return "", ()

    def _routes(
        self,
        number: str,
        prefix: str,
        trunks: Sequence[TrunkSettings],
        gateways: Mapping[str, Account | None],
    ) -> Sequence[Route]:
        """
        The routes of a number; empty: no prefix fits.

        :raise CallRefused: one does, but the accounts of all its trunks are disabled or not there.
        """
        routes = []
        for trunk in trunks:
            gateway = gateways[trunk.account] if trunk.account else None
            if gateway is not None or not trunk.account:
                routes.append(self._route(trunk, number, prefix, gateway))
        if trunks and not routes:
            raise CallRefused(480, "gateway_disabled", f"every gateway for prefix {prefix!r} is disabled")
        return routes

    def _route(self, trunk: TrunkSettings, number: str, prefix: str, gateway: Account | None) -> Route:
        called = trunk.add + number[trunk.strip :]
        if called.isascii() and called.removeprefix("+").isalnum():
            uri = self._patterns[trunk.name].replace("\0", called)
        else:
            uri = _with_user(trunk.uri, called)
        return Route(
            trunk.name,
            None,
            uri,
            "",
            called,
            trunk.caller_number,
            self._credentials.get(trunk.name),
            trunk.ring_timeout_s,
            trunk.answer_timeout_s,
            trunk.fix_nat,
            f"prefix {prefix!r}",
            gateway,
        )


def _with_user(uri: str, user: str) -> str:
    parsed = SipUri.parse(uri)
    parsed.user = user
    return str(parsed)


__all__ = ["PrefixRouter", "PrefixRouterSettings", "PrefixSettings", "TrunkSettings"]
