"""The plugin of mizu-ban-nftables. What is heavy to import is imported when an export is built."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from mizu.interfaces import IBanExport, IBanExportFactory
from mizu.settings import setting

if TYPE_CHECKING:
    from mizu.pluginset import PluginServices


@dataclass(frozen=True, slots=True)
class NftablesSettings:
    """Of ``type = "nftables"``."""

    program: str = setting("nft", "the program, by name or path; needs the right to change the packet filter")
    table: str = setting("mizu", "its table in the family inet; nobody else may use it")
    ports: list[int] = setting([], "only packets to these ports are dropped; empty: to any")
    answer_max_s: float = setting(10.0, "a run of the program is given up after this", least=1)


@implementer(IPlugin, IBanExportFactory)
class NftablesFactory:
    """Drops packets of banned senders before they reach the server."""

    name = "nftables"
    description = "keeps banned addresses and networks out in the kernel (nftables sets)"
    settings = NftablesSettings

    def check(self, settings: NftablesSettings) -> list[str]:
        """What the types of the settings cannot say."""
        problems = []
        if not re.match(r"[a-z][a-z0-9_]{0,30}\Z", settings.table):
            problems.append("table: want a lower-case word")
        if any(not 0 < port < 65_536 for port in settings.ports):
            problems.append("ports: want numbers from 1 to 65535")
        return problems

    def build(self, settings: NftablesSettings, services: "PluginServices") -> IBanExport:
        """An export; the program is run for the first time when the server starts."""
        from mizu_ban_nftables.export import NftablesExport
        from twisted.internet import reactor

        return NftablesExport(settings, reactor, services.log)


nftables = NftablesFactory()
