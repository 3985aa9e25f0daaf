"""``twistd mizu``: reads the command line, checks the whole configuration, hands over to :mod:`mizu.app`."""

import sys
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.python import usage

import mizu
from mizu.config import Config
from mizu.config_file import CommandLine, read_config
from mizu.errors import ConfigError


def complaint(wrong: ConfigError) -> str:
    """What the user sees of configuration problems: one line for each."""
    count = len(wrong.problems)
    first = (
        "mizu: the configuration has a problem:"
        if count == 1
        else f"mizu: the configuration has {count} problems:"
    )
    return "\n".join([first, *(f"  {problem}" for problem in wrong.problems)])


class Options(usage.Options):
    """
    The command line.

    A wrong configuration ends the process with code 1 and every problem on the standard error. That is
    ``SystemExit`` and not ``usage.UsageError``, for which twistd would first print two pages of help.
    """

    synopsis = "[options]"
    longdesc = "Starts the softswitch. Without --config every setting has its default."
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", "", "configuration file, TOML; etc/mizu.toml explains every setting"],
        ["data", None, "./var", "directory for everything that is kept: database, keys, tokens"],
        [
            "database",
            None,
            None,
            "an existing PostgreSQL, postgresql://...; without it we run our own in --data",
        ],
        ["http", None, None, "HOST:PORT of status and console"],
    ]
    optFlags: ClassVar[list[list[str | None]]] = [
        ["demo", None, "make two phone accounts and say what to dial"],
        ["check", None, "check the configuration and stop"],
    ]
    config: Config

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["sip"] = []

    def opt_sip(self, listen: str) -> None:
        """PROTO:HOST:PORT to listen on; PROTO is udp, tcp or tls. May be given several times."""
        self["sip"].append(listen)

    def opt_version(self) -> None:
        """Say which version this is and stop."""
        sys.stdout.write(f"mizu {mizu.__version__}\n")
        raise SystemExit(0)

    def opt_help_plugins(self) -> None:
        """List the installed plugins with their settings and stop."""
        self["help-plugins"] = True

    def command_line(self) -> CommandLine:
        return CommandLine(
            listen=self["sip"] or None,
            http=self["http"],
            database=self["database"],
            data=self["data"],
            demo=bool(self["demo"]),
        )

    def postOptions(self) -> None:
        from mizu import plugin_help, pluginset

        if self.get("help-plugins"):
            sys.stdout.write(plugin_help.listing(self._plugin_path()))
            raise SystemExit(0)
        try:
            self.config = read_config(self["config"], self.command_line(), pluginset.check)
        except ConfigError as wrong:
            raise SystemExit(complaint(wrong)) from None
        if self["check"]:
            sys.stdout.write("mizu: the configuration is good\n")
            raise SystemExit(0)

    def _plugin_path(self) -> list[str]:
        """Where else plugins are, as far as the configuration can be read."""
        try:
            return read_config(self["config"]).plugins.path
        except ConfigError as wrong:
            raise SystemExit(complaint(wrong)) from None


def makeService(options: Any) -> IService:
    """What twistd calls after the command line was read."""
    from mizu.app import make_service

    try:
        return make_service(options.config)
    except ConfigError as wrong:
        raise SystemExit(complaint(wrong)) from None
