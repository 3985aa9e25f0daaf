"""Every interface that a plugin, a store or a fake implements. No code here.

Rules: at most five methods each; results are awaitable (Deferred or coroutine) where a network could
stand behind them and plain otherwise; new methods come in a new interface (``IRouter2``), never in an
old one.
"""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any

from zope.interface import Attribute, Interface

from mizu.model import (
    Account,
    AuthAnswer,
    AuthQuery,
    AuthRule,
    BanRecord,
    Binding,
    CallAnswered,
    CallClosed,
    CallOpened,
    CallRequest,
    Cdr,
    ChannelLimit,
    Route,
    TrustedAddress,
)


class IClock(Interface):
    """Monotonic and wall time."""

    def mono_s() -> float:
        """Seconds that never jump; only differences mean something."""

    def wall() -> datetime:
        """Now, aware, in UTC."""

    def wall_s() -> float:
        """The same in seconds since the epoch, for what is done for each message."""


# ---------------------------------------------------------------- plugins


class IAuthBackend(Interface):
    """Says who a request comes from. Asked in the configuration's order until one knows."""

    def find(query: AuthQuery) -> Awaitable[AuthAnswer | None]:
        """
        Who is this? May be called again before an earlier call has answered.

        :return: ``None`` for somebody it does not know. Unknown is an answer, not an error: the next
            backend is asked, and at the end the request is challenged all the same, so that names
            cannot be probed.
        :raise StoreBusy: it cannot say now; the request is answered 503.
        """


class IAuthBackendFactory(Interface):
    """The plugin: a cheap, stateless, named factory."""

    name = Attribute("str: what ``type`` in the configuration says; unique among plugins.")
    description = Attribute("str: one line for ``twistd mizu --help-plugins``.")
    settings = Attribute(
        "type: frozen dataclass of its settings; unknown keys and wrong types are found by the core."
    )

    def build(settings: Any, services: Any) -> IAuthBackend:
        """
        Make a backend from an instance of ``settings``; no I/O yet.

        :param services: a ``mizu.pluginset.PluginServices``.
        :raise ConfigError: names the wrong key.
        """


class IRouter(Interface):
    """Finds ways to carry a call. Asked in the configuration's order until one knows."""

    def find_routes(call: CallRequest) -> Awaitable[Sequence[Route]]:
        """
        Routes in the order of use. May be called again before an earlier call has answered.

        ``call.called_number`` is what limits are compared with: a route with a URI is made from it, never
        from ``call.request_uri``. It is a number (``mizu.sip.numbers.is_number``) or a name; routes with a
        URI are not taken for names, but to services of this server (``own``).

        :return: empty when this router does not know the number; the next router is asked, and after the
            last one the call gets 404.
        :raise CallRefused: the call must not be carried; no other router is asked.
        :raise StoreBusy: it cannot say now; the call gets 503.
        """


class IHasPeers(Interface):
    """
    A router that knows hosts which calls go to, and come from. They may fail more often before the guard bans
    them; nobody is let in by it.
    """

    def peers() -> Sequence[str]:
        """Addresses and domain names, without ports. Asked once, after the router is made."""


class IKnowsAtOnce(Interface):
    """A router that often needs to ask nobody. Optional beside ``IRouter``; saves waiting on each call."""

    def routes_now(call: CallRequest) -> Sequence[Route] | None:
        """As ``IRouter.find_routes``, from memory. ``None``: ``find_routes`` has to be asked."""


class IRouterFactory(Interface):
    """The plugin: a cheap, stateless, named factory."""

    name = Attribute("str: what ``type`` in the configuration says; unique among plugins.")
    description = Attribute("str: one line for ``twistd mizu --help-plugins``.")
    settings = Attribute("type: frozen dataclass of its settings.")

    def build(settings: Any, services: Any) -> IRouter:
        """Make a router; no I/O yet. See :meth:`IAuthBackendFactory.build`."""


# ---------------------------------------------------------------- stores


class IAccountStore(Interface):
    """Accounts and their secrets."""

    def find(username: str) -> Awaitable[tuple[Account, Mapping[str, str]] | None]:
        """
        The account and its HA1s (``MD5``, ``SHA-256``), or ``None``. A disabled account is returned with
        ``enabled`` false. ``username`` is any text that came from outside. :raise StoreBusy:
        """

    def list(prefix: str, limit: int, after: str) -> Awaitable[Sequence[Account]]:
        """Accounts whose username begins with ``prefix``, by username, those after ``after``."""

    def add(username: str, ha1: Mapping[str, str], fields: Mapping[str, object]) -> Awaitable[Account]:
        """``fields``: other columns by their ``Account`` names. :raise Conflict: the name is taken."""

    def change(
        username: str, ha1: Mapping[str, str] | None, fields: Mapping[str, object]
    ) -> Awaitable[Account]:
        """Change a password, columns, or both. :raise NotFound:"""

    def delete(username: str) -> Awaitable[None]:
        """:raise NotFound: there is no such account. :raise Conflict: something still points at it."""


class IDirectory(Interface):
    """Whom a number reaches."""

    def called(number: str, company_id: int | None) -> Awaitable[Account | None]:
        """
        The account that a called number means: by short number in the company of who calls, by username, by
        the phone number of the account, by a number allocated to it, whichever comes first (guide 1.5).

        A disabled account is returned with ``enabled`` false. :param number: any text from outside.
        :param company_id: ``Account.company_id`` of who calls. :raise StoreBusy:
        """


class IAuthRules(Interface):
    """By what accounts are known that need no password, or not only one."""

    def load() -> Awaitable[Sequence[AuthRule]]:
        """Every rule of accounts that are enabled, with everything above them. :raise StoreBusy:"""

    def find(usernames: Sequence[str]) -> Awaitable[Sequence[AuthRule]]:
        """The rules of these accounts; none for an account that has none (any more). :raise StoreBusy:"""


class ILocationStore(Interface):
    """Where the registrar's bindings survive a restart. Memory answers look-ups, not this."""

    def load() -> Awaitable[Sequence[Binding]]:
        """Every binding that has not expired."""

    def put(aor: str, bindings: Sequence[Binding]) -> None:
        """
        All bindings of one address of record from now on; empty: none.

        Never waits and never fails: writes are combined, only the newest state of an address of record
        is kept while the database is away.
        """


class IBanStore(Interface):
    """Where bans survive a restart and reach the other nodes."""

    def load() -> Awaitable[Sequence[BanRecord]]:
        """Every ban, also those that are over and still count. :raise StoreBusy:"""

    def find(targets: Sequence[str]) -> Awaitable[Sequence[BanRecord]]:
        """The bans of these targets, as far as there are any. :raise StoreBusy:"""

    def put(ban: BanRecord) -> None:
        """Keep it. Never waits and never fails; tried again while the database is away."""

    def remove(target: str) -> None:
        """Forget it. Never waits and never fails; tried again while the database is away."""


class IBanAdministration(Interface):
    """What operators do to bans and to the white list."""

    def flush() -> Awaitable[None]:
        """Fires when everything put and removed so far is written. :raise StoreBusy: later, by itself."""

    def clear(before: datetime) -> Awaitable[int]:
        """
        Forget every ban that began by then. :return: how many there were. :raise StoreBusy: later, by itself.
        """

    def trusted() -> Awaitable[Sequence[TrustedAddress]]:
        """The white list. :raise StoreBusy:"""

    def trust(entry: TrustedAddress) -> Awaitable[None]:
        """Put a target on the white list. :raise StoreBusy: later, by itself."""

    def distrust(target: str) -> Awaitable[None]:
        """Take it off, if it is on it. :raise StoreBusy: later, by itself."""


class IBanExport(Interface):
    """Keeps banned senders out before they reach the process: a packet filter. Must not block."""

    def ban(target: str, duration_s: float | None) -> None:
        """
        Keep out an address, network or range ``a-b`` from now on.

        :param duration_s: ``None``: until :meth:`unban`. The end of a ban is told as well.
        """

    def unban(target: str) -> None:
        """Let it in again."""

    def begin(bans: Sequence[tuple[str, float | None]]) -> None:
        """These (target, duration) and no others; at the start, and after ``delbanned``."""

    def close() -> None:
        """The server stops."""


class IWhiteListExport(Interface):
    """Additionally provided by an :class:`IBanExport` that lets the white list through in any case."""

    def whitelist(targets: Sequence[str]) -> None:
        """
        These addresses, networks and ranges ``a-b``, and no others, are never kept out. Told at the start,
        before ``begin``, and whenever the white list changes; must not block.
        """


class IAgentBanExport(Interface):
    """
    Additionally provided by an :class:`IBanExport` that can keep out one user agent: it is told of bans of
    ``address:port`` (``[address]:port``) too.
    """


class IBanExportFactory(Interface):
    """The plugin: a cheap, stateless, named factory."""

    name = Attribute("str: what ``type`` in the configuration says; unique among plugins.")
    description = Attribute("str: one line for ``twistd mizu --help-plugins``.")
    settings = Attribute("type: frozen dataclass of its settings.")

    def build(settings: Any, services: Any) -> IBanExport:
        """Make an export; no I/O yet. See :meth:`IAuthBackendFactory.build`."""


class ICallStore(Interface):
    """
    The call rows (CDRs), and how many calls are under way of the accounts that limit them, on all nodes
    together. Writes of concurrent calls are combined into one statement a commit.
    """

    def open(call: CallOpened) -> Awaitable[None]:
        """
        Committed when it fires, and the call counts for ``call.channels``.

        :raise StoreBusy: nothing was written; refuse the call with 503.
        :raise CallRefused: one of them has no channel left; the row is written, close it.
        """

    def take(call_id: str, channels: Sequence[ChannelLimit]) -> Awaitable[None]:
        """
        From now until it is closed the call counts for these accounts and no others.

        :raise CallRefused: one of them has no channel left; the call counts for what it did before.
        :raise StoreBusy: the database is in trouble; end the call.
        """

    def answer(call: CallAnswered) -> Awaitable[None]:
        """Committed when it fires. :raise StoreBusy: it is not; end the call."""

    def close(call: CallClosed) -> None:
        """Never waits. Kept and retried in order until it is committed, while the process lives."""

    def recent(limit: int, before: str) -> Awaitable[Sequence[Cdr]]:
        """Newest first; ``before``: a call_id to page on from, or empty."""
