"""Runs ``nft`` with what has changed: one run at a time, what comes meanwhile goes into the next."""

from collections.abc import Sequence
from typing import Any

from mizu.plugins.mizu_ban_nftables_dropin import NftablesSettings
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mizu.interfaces import IBanExport, IWhiteListExport
from mizu_ban_nftables import script

PACE_S = 0.2  #: changes are gathered for so long
RETRY_S = 10.0  #: after a failed run everything is told anew, so much later
CHANGES_MAX = 5000  #: more than this at once: everything is told anew


class _Run(ProcessProtocol):
    """One run of the program."""

    def __init__(self, owner: "NftablesExport", text: str) -> None:
        self._owner = owner
        self._text = text
        self._errors = b""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self._text.encode())
        transport.closeStdin()

    def errReceived(self, data: bytes) -> None:
        self._errors = (self._errors + data)[:2000]

    def processEnded(self, reason: Failure) -> None:
        code = getattr(reason.value, "exitCode", None)
        self._owner.ended(code == 0, self._errors.decode(errors="replace").strip() or f"exit code {code}")


@implementer(IBanExport, IWhiteListExport)
class NftablesExport:
    """See ``mizu.interfaces.IBanExport`` and ``IWhiteListExport``."""

    def __init__(self, settings: NftablesSettings, reactor: Any, log: Logger) -> None:
        self._settings = settings
        self._reactor = reactor
        self._log = log
        self._hosts: dict[str, float | None] = {}  # address to when its ban ends, by the reactor's clock
        self._networks: dict[str, None] = {}
        self._white: tuple[str, ...] = ()
        self._changed: dict[str, None] = {}  # addresses to be told of
        self._networks_changed = False
        self._white_changed = False
        self._anew = False
        self._timer: Any = None
        self._process: Any = None
        self._deadline: Any = None
        self._closed = False
        self.runs = 0
        self.failures = 0

    def begin(self, bans: Sequence[tuple[str, float | None]]) -> None:
        """See the interface."""
        self._hosts.clear()
        self._networks.clear()
        for target, duration_s in bans:
            self._take(target, duration_s)
        self._anew = True
        self._soon(PACE_S)

    def ban(self, target: str, duration_s: float | None) -> None:
        """See the interface."""
        self._take(target, duration_s)
        if script.is_host(target):
            self._changed[target] = None
        else:
            self._networks_changed = True
        self._soon(PACE_S)

    def unban(self, target: str) -> None:
        """See the interface."""
        if script.is_host(target):
            self._hosts.pop(target, None)
            self._changed[target] = None
        else:
            self._networks.pop(target, None)
            self._networks_changed = True
        self._soon(PACE_S)

    def whitelist(self, targets: Sequence[str]) -> None:
        """See the interface."""
        if tuple(targets) != self._white:
            self._white = tuple(targets)
            self._white_changed = True
            self._soon(PACE_S)

    def close(self) -> None:
        """Stop telling. The sets stay until the next start or the end of their times."""
        self._closed = True
        for one in (self._timer, self._deadline):
            if one is not None and one.active():
                one.cancel()

    def _take(self, target: str, duration_s: float | None) -> None:
        if script.is_host(target):
            self._hosts[target] = None if duration_s is None else self._reactor.seconds() + duration_s
        else:
            self._networks[target] = None

    def _soon(self, delay_s: float) -> None:
        if self._timer is None and self._process is None and not self._closed:
            self._timer = self._reactor.callLater(delay_s, self._tell)

    def _tell(self) -> None:
        self._timer = None
        table, lines = self._settings.table, []
        if self._anew or len(self._changed) > CHANGES_MAX:
            lines = script.begin(table, self._settings.ports)
            self._changed = dict.fromkeys(self._hosts)
            self._networks_changed = bool(self._networks)
            self._white_changed = bool(self._white)
        if self._white_changed:
            lines += script.set_ranges(table, "white", self._white)
        for host in self._changed:
            if host in self._hosts:
                until_s = self._hosts[host]
                left_s = None if until_s is None else max(1.0, until_s - self._reactor.seconds())
                lines += script.add_host(table, host, left_s)
            else:
                lines += script.remove_host(table, host)
        if self._networks_changed:
            lines += script.set_ranges(table, "nets", self._networks)
        self._anew = self._networks_changed = self._white_changed = False
        self._changed = {}
        self._run("\n".join(lines) + "\n")

    def _run(self, text: str) -> None:
        self.runs += 1
        settings = self._settings
        try:
            self._process = self._reactor.spawnProcess(
                _Run(self, text), settings.program, [settings.program, "-f", "-"], env=None
            )
        except OSError as error:
            self.ended(False, str(error))
            return
        self._deadline = self._reactor.callLater(settings.answer_max_s, self._process.signalProcess, "KILL")

    def ended(self, good: bool, why: str) -> None:
        """A run is over."""
        self._process = None
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if not good:
            self.failures += 1
            self._log.error("{program} failed, bans are not in the kernel: {why}",
                            program=self._settings.program, why=why)  # fmt: skip
            self._anew = True
            self._soon(RETRY_S)
        elif self._anew or self._changed or self._networks_changed or self._white_changed:
            self._soon(PACE_S)
