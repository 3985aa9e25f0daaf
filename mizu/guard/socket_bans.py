"""Keeps the programs at the UDP sockets in step with bans and white list."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from mizu.errors import BadRequest
from mizu.guard.socket_filter import INSTRUCTIONS_MAX, Instruction, program
from mizu.interfaces import IAgentBanExport, IBanExport, IWhiteListExport
from mizu.targets import Target, parse_target

#: Bans of a flood are put in together.
_GATHER_S = 0.1

#: Puts the programs for IPv4 and IPv6 sockets in the place of earlier ones; whether the kernel takes them.
Attach = Callable[[Sequence[Instruction], Sequence[Instruction]], bool]


@implementer(IBanExport, IWhiteListExport, IAgentBanExport)
class SocketBans:
    """
    The newest bans, as many as fit; the others are left to the gate, as is everything where the kernel takes
    no programs.

    :param most: bans; 0: none.
    """

    log = Logger()

    def __init__(self, attach: Attach, reactor: Any, *, message_bytes: int, most: int) -> None:
        self._attach = attach
        self._reactor = reactor
        self._message_bytes = message_bytes
        self._most = most
        self._works = most > 0
        self._attaches = True
        self._banned: dict[str, Target] = {}  # the newest last
        self._trusted: list[Target] = []
        self._timer: IDelayedCall | None = None

    # ------------------------------------------------------------ IBanExport, IWhiteListExport

    def ban(self, target: str, duration_s: float | None) -> None:
        """See the interface."""
        self._put(target)
        self._soon(_GATHER_S)

    def unban(self, target: str) -> None:
        """See the interface."""
        if self._banned.pop(target, None) is not None:
            self._soon(0.0)

    def begin(self, bans: Sequence[tuple[str, float | None]]) -> None:
        """See the interface."""
        self._banned.clear()
        for target, _ in reversed(bans):  # those that last longest come first, and are kept longest here
            self._put(target)
        self._soon(0.0)

    def whitelist(self, targets: Sequence[str]) -> None:
        """See the interface."""
        self._trusted = [parse_target(target) for target in targets]
        self._soon(0.0)

    def close(self) -> None:
        """See the interface. The sockets are closed by now, or will be."""
        self._works = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------ inside

    def _put(self, text: str) -> None:
        try:
            target = parse_target(text)
        except BadRequest:
            return  # of a database that knows more than this version
        self._banned.pop(text, None)
        self._banned[text] = target

    def _soon(self, delay_s: float) -> None:
        if not self._works:
            return
        if self._timer is None:
            self._timer = self._reactor.callLater(delay_s, self._apply)
        elif self._timer.getTime() > self._reactor.seconds() + delay_s:
            self._timer.reset(delay_s)

    def _apply(self) -> None:
        self._timer = None
        fits = self._most
        while fits and not self._attached(fits):
            fits //= 2
        if not fits:
            self._attach((), ())
        if bool(fits) != self._attaches:
            self._attaches = bool(fits)
            now = (
                "drops banned senders at its sockets"
                if fits
                else "drops none at its sockets; the process does"
            )
            self.log.info("this system {now}", now=now)

    def _attached(self, most: int) -> bool:
        newest = list(self._banned.values())[-most:]
        programs = [program(one, newest, self._trusted, self._message_bytes) for one in (4, 6)]
        return max(map(len, programs)) <= INSTRUCTIONS_MAX and self._attach(*programs)
