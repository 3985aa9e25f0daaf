"""The plugins that come with mizu. Nothing of mizu but its contracts is imported here at first: everybody who
asks for any plugin imports this file."""

from typing import TYPE_CHECKING, Any

from twisted.plugin import IPlugin
from twisted.python.reflect import namedAny
from zope.interface import Interface, directlyProvides

from mizu.interfaces import IAuthBackendFactory, IRouterFactory

if TYPE_CHECKING:
    from mizu.pluginset import PluginServices


class BuiltIn:
    """
    A plugin of ours. Its settings, and what makes it, are imported when somebody asks for them.

    :param kind: the interface of its factories.
    :param settings: full name of the dataclass of its settings.
    :param build: name of the function in :mod:`mizu.builtin` that makes it.
    :param check: name of the function there that finds what the types of the settings cannot say.
    """

    def __init__(
        self,
        kind: type[Interface],
        name: str,
        description: str,
        *,
        settings: str,
        build: str,
        check: str = "",
    ) -> None:
        self.name = name
        self.description = description
        self._settings = settings
        self._build = build
        self._check = check
        directlyProvides(self, IPlugin, kind)

    @property
    def settings(self) -> type:
        """See ``IAuthBackendFactory``."""
        found: type = _named(self._settings)
        return found

    def check(self, settings: Any) -> list[str]:
        """``key: what is wrong`` of settings whose types are right."""
        found: list[str] = _named(f"mizu.builtin.{self._check}")(settings) if self._check else []
        return found

    def build(self, settings: Any, services: "PluginServices") -> Any:
        """See ``IAuthBackendFactory``."""
        return _named(f"mizu.builtin.{self._build}")(settings, services)


def _named(name: str) -> Any:
    return namedAny(name)  # type: ignore[no-untyped-call]


store_backend = BuiltIn(
    IAuthBackendFactory,
    "store",
    "the accounts of the database (mizu adduser)",
    settings="mizu.auth.store_backend.StoreBackendSettings",
    build="store_backend",
)
file_backend = BuiltIn(
    IAuthBackendFactory,
    "file",
    "users of a text file, as htdigest writes it; the database does not know them",
    settings="mizu.auth.file_backend.FileBackendSettings",
    build="file_backend",
    check="check_file",
)
ip_backend = BuiltIn(
    IAuthBackendFactory,
    "ip",
    "whoever sends from an address written here is the account named beside it",
    settings="mizu.auth.ip_backend.IpBackendSettings",
    build="ip_backend",
    check="check_ip",
)
local_router = BuiltIn(
    IRouterFactory,
    "local",
    "calls to a username ring the phones registered for it",
    settings="mizu.routing.local.LocalRouterSettings",
    build="local_router",
)
prefix_router = BuiltIn(
    IRouterFactory,
    "prefix",
    "calls go to SIP trunks by the longest prefix of the called number",
    settings="mizu.routing.prefix.PrefixRouterSettings",
    build="prefix_router",
    check="check_prefix",
)
echo_router = BuiltIn(
    IRouterFactory,
    "echo",
    "the numbers of [media] echo_numbers answer and play back what they hear",
    settings="mizu.routing.echo.EchoRouterSettings",
    build="echo_router",
)
