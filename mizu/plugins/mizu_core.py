"""The plugins that come with mizu. Nothing of mizu but its contracts is imported here at first: everybody who
asks for any plugin imports this file."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from mizu.errors import ConfigError
from mizu.interfaces import IAuthBackend, IAuthBackendFactory, IRouter, IRouterFactory
from mizu.settings import setting

if TYPE_CHECKING:
    from mizu.auth.file_backend import FileBackendSettings
    from mizu.auth.ip_backend import IpBackendSettings
    from mizu.pluginset import PluginServices
    from mizu.routing.echo import EchoRouterSettings
    from mizu.routing.local import LocalRouterSettings
    from mizu.routing.prefix import PrefixRouterSettings


@dataclass(frozen=True, slots=True)
class StoreBackendSettings:
    """Of ``type = "store"``."""

    cache_s: float = setting(
        300.0, "an answer may be used again for so long; a change ends it at once", least=0
    )
    rules_max: int = setting(
        200_000, "accounts with another auth_type than 4, kept in memory; more are unknown", least=1
    )


@implementer(IPlugin, IAuthBackendFactory)
class StoreBackendFactory:
    """Accounts of the database."""

    name = "store"
    description = "the accounts of the database (mizu adduser)"

    settings = StoreBackendSettings

    def build(self, settings: StoreBackendSettings, services: "PluginServices") -> IAuthBackend:
        from mizu.auth.store_backend import BY_DISPLAY, StoreBackend

        if services.auth_rules is None:
            return StoreBackend(services.accounts, cache_s=settings.cache_s)
        from mizu.auth.rule_feed import RuleFeed
        from mizu.auth.rules import RuleIndex

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


@implementer(IPlugin, IAuthBackendFactory)
class FileBackendFactory:
    """Users of a text file."""

    name = "file"
    description = "users of a text file, as htdigest writes it; the database does not know them"

    @property
    def settings(self) -> "type[FileBackendSettings]":
        from mizu.auth.file_backend import FileBackendSettings

        return FileBackendSettings

    def check(self, settings: "FileBackendSettings") -> list[str]:
        """The server may change its directory."""
        return [] if settings.path.startswith("/") else ["path: must be absolute"]

    def build(self, settings: "FileBackendSettings", services: "PluginServices") -> IAuthBackend:
        from mizu.auth.file_backend import FileBackend

        return FileBackend(settings, realm=services.realm, mono_s=services.clock.mono_s)


@implementer(IPlugin, IAuthBackendFactory)
class IpBackendFactory:
    """Addresses of the configuration."""

    name = "ip"
    description = "whoever sends from an address written here is the account named beside it"

    @property
    def settings(self) -> "type[IpBackendSettings]":
        from mizu.auth.ip_backend import IpBackendSettings

        return IpBackendSettings

    def check(self, settings: "IpBackendSettings") -> list[str]:
        """Each line must be read."""
        from mizu.auth.ip_backend import read_senders

        return read_senders(settings.senders)[1]

    def build(self, settings: "IpBackendSettings", services: "PluginServices") -> IAuthBackend:
        from mizu.auth.ip_backend import IpBackend, read_senders

        senders, problems = read_senders(settings.senders)
        if problems:
            raise ConfigError(problems)
        return IpBackend(senders, services.accounts, cache_s=settings.cache_s)


@implementer(IPlugin, IRouterFactory)
class LocalRouterFactory:
    """Phones registered here."""

    name = "local"
    description = "calls to a username ring the phones registered for it"

    @property
    def settings(self) -> "type[LocalRouterSettings]":
        from mizu.routing.local import LocalRouterSettings

        return LocalRouterSettings

    def build(self, settings: "LocalRouterSettings", services: "PluginServices") -> IRouter:
        from mizu.routing.local import LocalRouter

        router = LocalRouter(settings, services.accounts, services.clock)
        services.watch_accounts(router.forget)
        return router


@implementer(IPlugin, IRouterFactory)
class PrefixRouterFactory:
    """Trunks by called prefix."""

    name = "prefix"
    description = "calls go to SIP trunks by the longest prefix of the called number"

    @property
    def settings(self) -> "type[PrefixRouterSettings]":
        from mizu.routing.prefix import PrefixRouterSettings

        return PrefixRouterSettings

    def check(self, settings: "PrefixRouterSettings") -> list[str]:
        """Trunks and prefixes must fit together."""
        from mizu.routing.prefix import PrefixRouter

        try:
            PrefixRouter(settings)
        except ConfigError as wrong:
            return wrong.problems
        return []

    def build(self, settings: "PrefixRouterSettings", services: "PluginServices") -> IRouter:
        from mizu.routing.prefix import PrefixRouter

        return PrefixRouter(settings)


@implementer(IPlugin, IRouterFactory)
class EchoRouterFactory:
    """The answer party."""

    name = "echo"
    description = "the numbers of [media] echo_numbers answer and play back what they hear"

    @property
    def settings(self) -> "type[EchoRouterSettings]":
        from mizu.routing.echo import EchoRouterSettings

        return EchoRouterSettings

    def build(self, settings: "EchoRouterSettings", services: "PluginServices") -> IRouter:
        from mizu.routing.echo import EchoRouter

        return EchoRouter(settings, services.media.echo_numbers)


store_backend = StoreBackendFactory()
file_backend = FileBackendFactory()
ip_backend = IpBackendFactory()
local_router = LocalRouterFactory()
prefix_router = PrefixRouterFactory()
echo_router = EchoRouterFactory()
