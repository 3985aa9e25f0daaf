"""Makes the built-in plugins that :mod:`mizu.plugins.mizu_core` names, from their settings and what the
server lends to plugins. Imported when the first of them is made."""

from typing import TYPE_CHECKING

from mizu.auth.file_backend import FileBackend, FileBackendSettings
from mizu.auth.ip_backend import IpBackend, IpBackendSettings, read_senders
from mizu.auth.rule_feed import RuleFeed
from mizu.auth.rules import RuleIndex
from mizu.auth.store_backend import BY_DISPLAY, StoreBackend, StoreBackendSettings
from mizu.errors import ConfigError
from mizu.interfaces import IAuthBackend, IRouter
from mizu.model import Account
from mizu.routing.echo import EchoRouter, EchoRouterSettings
from mizu.routing.known import KnownAccounts
from mizu.routing.local import LocalRouter, LocalRouterSettings
from mizu.routing.prefix import PrefixRouter, PrefixRouterSettings

#: Accounts of trunks are looked up again after this; a change ends it at once.
GATEWAY_CACHE_S = 60.0

if TYPE_CHECKING:
    from mizu.pluginset import PluginServices


def store_backend(settings: StoreBackendSettings, services: "PluginServices") -> IAuthBackend:
    """Accounts of the database."""
    if services.auth_rules is None:
        return StoreBackend(services.accounts, cache_s=settings.cache_s)
    feed = RuleFeed(
        services.auth_rules,
        RuleIndex(settings.rules_max),
        clock=services.clock,
        resolve=services.addresses_of,
        forget=services.forget_answers,
    )
    services.watch_accounts(feed.changed)
    return StoreBackend(
        services.accounts,
        cache_s=settings.cache_s,
        feed=feed,
        open_relay=lambda: not services.option("enforcestrongauth"),
        by_display=lambda: services.option("parsesipdisplayname") == BY_DISPLAY,
    )


def file_backend(settings: FileBackendSettings, services: "PluginServices") -> IAuthBackend:
    """Users of a text file."""
    return FileBackend(settings, realm=services.realm, mono_s=services.clock.mono_s)


def check_file(settings: FileBackendSettings) -> list[str]:
    """The server may change its directory."""
    return [] if settings.path.startswith("/") else ["path: must be absolute"]


def ip_backend(settings: IpBackendSettings, services: "PluginServices") -> IAuthBackend:
    """Addresses of the configuration."""
    senders, problems = read_senders(settings.senders)
    if problems:
        raise ConfigError(problems)
    return IpBackend(senders, services.accounts, cache_s=settings.cache_s)


def check_ip(settings: IpBackendSettings) -> list[str]:
    """Each line must be read."""
    return read_senders(settings.senders)[1]


def local_router(settings: LocalRouterSettings, services: "PluginServices") -> IRouter:
    """Phones registered here."""
    router = LocalRouter(settings, services.directory, services.clock)
    services.watch_accounts(router.account_changed)
    services.watch_numbers(router.number_changed)
    return router


def prefix_router(settings: PrefixRouterSettings, services: "PluginServices") -> IRouter:
    """Trunks by called prefix."""
    named = len({trunk.account for trunk in settings.trunk if trunk.account})

    async def find(username: str, company_id: int | None) -> Account | None:
        found = await services.accounts.find(username)
        return found[0] if found is not None else None

    known = KnownAccounts(find, services.clock, cache_s=GATEWAY_CACHE_S, cache_max=named)
    if named:
        services.watch_accounts(known.account_changed)
    return PrefixRouter(settings, known)


def check_prefix(settings: PrefixRouterSettings) -> list[str]:
    """Trunks and prefixes must fit together."""
    try:
        PrefixRouter(settings)
    except ConfigError as wrong:
        return wrong.problems
    return []


def echo_router(settings: EchoRouterSettings, services: "PluginServices") -> IRouter:
    """The answer party."""
    return EchoRouter(settings, services.media.echo_numbers)
