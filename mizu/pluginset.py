"""Which plugins are installed, which of them the configuration names, and making those.

Discovery is by ``twisted.plugin`` in the package ``mizu.plugins`` and in the directories of
``[plugins] path``; nothing else calls ``getPlugins``. Its order means nothing: plugins are chosen by name,
and used in the order of the configuration.
"""

import importlib
import os
import pkgutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import twisted.plugin
from twisted.logger import Logger
from zope.interface import Interface
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

import mizu
import mizu.plugins
from mizu.config import Config, MediaConfig
from mizu.errors import ConfigError
from mizu.interfaces import (
    IAccountStore,
    IAuthBackend,
    IAuthBackendFactory,
    IAuthRules,
    IBanExport,
    IBanExportFactory,
    IClock,
    IDirectory,
    IRouter,
    IRouterFactory,
)
from mizu.model import Binding
from mizu.options import OPTIONS
from mizu.settings import read_section, unknown

if TYPE_CHECKING:
    from treq.client import HTTPClient


async def no_addresses(name: str) -> Sequence[str]:
    """Where there is no resolver."""
    return ()


def default_option(name: str) -> Any:
    """Where there is no database: the option's default. :raise KeyError: there is no such option."""
    return OPTIONS[name].default


@dataclass(frozen=True, slots=True)
class PluginServices:
    """What a plugin may use. Given to ``build``; there is no way from here to the rest of the server."""

    clock: IClock
    accounts: IAccountStore
    directory: IDirectory  #: whom a called number means
    find_bindings: Callable[[str], Sequence[Binding]]  #: live bindings of an address of record, best first
    realm: str  #: the digest realm that HA1s are made for
    media: MediaConfig
    http: "Callable[[], HTTPClient]"  #: one client for all plugins; asked for when first needed
    log: Logger
    #: takes a function that is called with the username of each account that changes; ``None``: any may have
    watch_accounts: Callable[[Callable[[str | None], None]], None] = lambda forget: None
    #: the same with phone numbers that are given to another account or nobody
    watch_numbers: Callable[[Callable[[str | None], None]], None] = lambda forget: None
    auth_rules: IAuthRules | None = None  #: by what accounts are known that need no password
    #: the addresses of a domain name, through the server's resolver; empty: none found
    addresses_of: Callable[[str], Awaitable[Sequence[str]]] = no_addresses
    option: Callable[[str], Any] = default_option  #: the value in force of a global option
    #: drops the cached authorization answers about an account; ``None``: about all
    forget_answers: Callable[[str | None], None] = lambda username: None


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of plugin."""

    word: str  #: for people
    key: str  #: the list of tables in the configuration
    factory: type[Interface]
    product: type[Interface]
    needed: bool = True  #: at least one must be configured

    def tables(self, config: Config) -> list[dict[str, Any]]:
        section, _, name = self.key.partition(".")
        tables: list[dict[str, Any]] = getattr(getattr(config, section), name)
        return tables


AUTH = Kind("auth backend", "auth.backend", IAuthBackendFactory, IAuthBackend)
ROUTER = Kind("router", "routing.router", IRouterFactory, IRouter)
BAN_EXPORT = Kind("ban export", "guard.export", IBanExportFactory, IBanExport, needed=False)
KINDS = (AUTH, ROUTER, BAN_EXPORT)


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed factory."""

    kind: Kind
    factory: Any
    module: str
    fault: str = ""  #: why it cannot be used; empty: it can

    @property
    def name(self) -> str:
        return str(getattr(self.factory, "name", "") or "(no name)")

    @property
    def origin(self) -> str:
        """Distribution and version it came with, else its file."""
        return _origin(self.module)


@dataclass(frozen=True, slots=True)
class Broken:
    """A dropin that cannot be imported."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Installed:
    """Everything found, fit or not."""

    plugins: tuple[Plugin, ...]
    broken: tuple[Broken, ...]
    twins: tuple[str, ...]  #: one sentence for each dropin that hides another of the same file name

    def of(self, kind: Kind) -> list[Plugin]:
        return sorted((one for one in self.plugins if one.kind is kind), key=lambda one: one.name)

    def by_name(self, kind: Kind) -> dict[str, list[Plugin]]:
        names: dict[str, list[Plugin]] = {}
        for plugin in self.of(kind):
            names.setdefault(plugin.name, []).append(plugin)
        return names


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plugin that the configuration names, with its settings read."""

    name: str
    plugin: Plugin
    settings: object

    def build(self, services: PluginServices) -> Any:
        """:raise ConfigError: the plugin refuses its settings, or what it made is not what it should be."""
        made = self.plugin.factory.build(self.settings, services)
        kind = self.plugin.kind
        try:
            verifyObject(kind.product, made)
        except Invalid as wrong:
            raise ConfigError(
                [f"{kind.key} {self.name!r}: the plugin {self.plugin.name!r} made {wrong}"]
            ) from wrong
        return made


# ---------------------------------------------------------------- discovery


def discover(path: Sequence[str] = ()) -> Installed:
    """
    All plugins, looked for once in the life of the process.

    :param path: further directories with plugin files, ``[plugins] path``.
    """
    return _discover(tuple(os.path.abspath(one) for one in path))


@cache
def _discover(path: tuple[str, ...]) -> Installed:
    for directory in path:
        if directory not in mizu.plugins.__path__:
            mizu.plugins.__path__.append(directory)
    plugins = []
    with _quiet() as failures:
        for kind in KINDS:
            for factory in twisted.plugin.getPlugins(kind.factory, mizu.plugins):
                module = type(factory).__module__
                plugins.append(Plugin(kind, factory, module, _fault(kind, factory)))
    return Installed(tuple(plugins), _broken() if failures else (), _twins())


class _FailureList:
    """Stands in for ``twisted.python.log`` in ``twisted.plugin``, which tells of a dropin that cannot be
    imported by logging a traceback and in no other way."""

    def __init__(self) -> None:
        self.failures: list[BaseException | None] = []

    def err(self, *_ignored: object) -> None:
        self.failures.append(sys.exc_info()[1])

    def msg(self, *args: object, **fields: object) -> None:
        """Only said of a cache file that cannot be written: it costs some time at start, no more."""


@contextmanager
def _quiet() -> Iterator[list[BaseException | None]]:
    stand_in, original = _FailureList(), vars(twisted.plugin)["log"]
    vars(twisted.plugin)["log"] = stand_in
    try:
        yield stand_in.failures
    finally:
        vars(twisted.plugin)["log"] = original


def _fault(kind: Kind, factory: Any) -> str:
    try:
        verifyObject(kind.factory, factory)
    except Invalid as wrong:
        return str(wrong).strip()
    except Exception as wrong:  # an attribute may be computed, and import what is not there
        return f"{type(wrong).__name__}: {wrong}"
    if not isinstance(factory.name, str) or not factory.name:
        return "its name is not a text"
    if not (isinstance(factory.settings, type) and is_dataclass(factory.settings)):
        return "its settings are not a dataclass"
    return ""


def _dropins() -> Iterator[tuple[str, str]]:
    """Module name and file of every dropin, hidden ones too."""
    for directory in mizu.plugins.__path__:
        for found in pkgutil.iter_modules([directory]):
            yield found.name, os.path.join(directory, f"{found.name}.py")


def _broken() -> tuple[Broken, ...]:
    broken, seen = [], set()
    for name, path in _dropins():
        if name in seen:
            continue
        seen.add(name)
        try:
            importlib.import_module(f"mizu.plugins.{name}")
        except Exception as wrong:
            broken.append(Broken(path, f"{type(wrong).__name__}: {wrong}"))
    return tuple(broken)


def _twins() -> tuple[str, ...]:
    first: dict[str, str] = {}
    twins = []
    for name, path in _dropins():
        if name in first and os.path.realpath(first[name]) != os.path.realpath(path):
            twins.append(
                f"{path} is hidden by {first[name]}: two plugin files have the same name; rename one"
            )
        first.setdefault(name, path)
    return tuple(twins)


def _origin(module: str) -> str:
    path = getattr(sys.modules.get(module), "__file__", None) or module
    if os.path.dirname(path) == os.path.dirname(mizu.plugins.__file__ or "") and module.endswith(
        ".mizu_core"
    ):
        return f"mizu {mizu.__version__}"
    tail = module.replace(".", "/") + ".py"
    for distribution in metadata.distributions():
        if any(str(file).endswith(tail) for file in distribution.files or ()):
            return f"{distribution.name} {distribution.version}"
    return f"file {path}"


# ---------------------------------------------------------------- choice


def choose(kind: Kind, config: Config, problems: list[str], where: str = "") -> list[Chosen]:
    """
    The plugins of one kind that the configuration names, in its order.

    :param where: what complaints begin with before the key: the file.
    :param problems: gets one sentence for each thing that is wrong.
    """
    installed = discover(config.plugins.path)
    for name, claims in installed.by_name(kind).items():
        if len(claims) > 1:
            origins = ", ".join(plugin.origin for plugin in claims)
            problems.append(f"two plugins call themselves {kind.word} {name!r}: {origins}; uninstall one")
    chosen, names = [], set()
    for number, table in enumerate(kind.tables(config), 1):
        here = f"{where}{kind.key}[{number}]"
        one = _choose_one(kind, table, here, installed, problems)
        if one is None:
            continue
        if one.name in names:
            problems.append(f"{here}.name: {one.name!r} is taken by an earlier {kind.word}")
        names.add(one.name)
        chosen.append(one)
    if kind.needed and not kind.tables(config):
        problems.append(f"{where}{kind.key}: at least one {kind.word} is needed")
    return chosen


def _choose_one(
    kind: Kind,
    table: Mapping[str, Any],
    here: str,
    installed: Installed,
    problems: list[str],
) -> Chosen | None:
    by_name = installed.by_name(kind)
    type_ = table.get("type")
    name = table.get("name", type_)
    for key, value in (("type", type_), ("name", name)):
        if not isinstance(value, str) or not value:
            problems.append(f"{here}.{key}: must be given, a text")
            return None
    plugins = by_name.get(str(type_))
    if not plugins:
        text = f"{here}.type: {type_!r}: {unknown(f'{kind.word} installed', str(type_), by_name)}"
        if installed.broken:
            text += "; these plugin files cannot be imported: " + "; ".join(map(str, installed.broken))
        problems.append(text)
        return None
    plugin = plugins[0]
    if plugin.fault:
        problems.append(f"{here}.type: the plugin {type_!r} ({plugin.origin}) is broken: {plugin.fault}")
        return None
    rest = {key: value for key, value in table.items() if key not in ("name", "type")}
    settings = read_section(plugin.factory.settings, rest, here, problems)
    if settings is None:
        return None
    check = getattr(plugin.factory, "check", None)  # optional: what the types cannot say
    if check is not None:
        problems.extend(f"{here}.{problem}" for problem in check(settings))
    return Chosen(str(name), plugin, settings)


def check(config: Config, problems: list[str], where: str = "") -> None:
    """Find everything that is wrong with the plugins a configuration names, without making any."""
    for kind in KINDS:
        choose(kind, config, problems, where)
    problems.extend(discover(config.plugins.path).twins)


def build(kind: Kind, config: Config, services: PluginServices) -> list[tuple[str, Any]]:
    """
    The configured plugins of a kind by their configured names, in the configuration's order.

    :raise ConfigError: with all that is wrong.
    """
    problems: list[str] = []
    chosen, made = choose(kind, config, problems), []
    for one in chosen:
        try:
            made.append((one.name, one.build(services)))
        except ConfigError as wrong:
            problems.extend(wrong.problems)
    if problems:
        raise ConfigError(problems)
    return made


def build_auth_backends(config: Config, services: PluginServices) -> list[tuple[str, IAuthBackend]]:
    """What the authorizer asks, in order. :raise ConfigError:"""
    return build(AUTH, config, services)


def build_ban_exports(config: Config, services: PluginServices) -> list[tuple[str, IBanExport]]:
    """What is told of bans, in order. :raise ConfigError:"""
    return build(BAN_EXPORT, config, services)


def build_routers(config: Config, services: PluginServices) -> list[tuple[str, IRouter]]:
    """What finds routes, in order. :raise ConfigError:"""
    return build(ROUTER, config, services)
