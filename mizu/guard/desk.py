"""What operators want of the guard: see, ban, let in again, trust. The commands are in ``mizu.console``."""

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import TypeVar

from mizu.errors import BadRequest, Conflict, NotFound, StoreBusy
from mizu.guard.bans import Ban
from mizu.guard.doorman import Doorman
from mizu.guard.follower import record_of
from mizu.guard.watch import Failures
from mizu.interfaces import IClock
from mizu.model import BanRecord, TrustedAddress
from mizu.targets import Target, normal_host, parse_target, refuse_too_wide

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the guard would do with a request, with its reasons."""

    dropped: bool  #: unread and unanswered
    unchecked: bool  #: its password would not be checked: the challenge is repeated
    reasons: tuple[str, ...]


class Desk:
    """
    Every change holds on this node at once, and on the others when it is written. While the database is away
    it is kept in memory and written when that is back; StoreBusy says so, and undoes nothing.
    """

    def __init__(self, doorman: Doorman, clock: IClock) -> None:
        self._door = doorman
        self._clock = clock

    def list_bans(self, target: str = "") -> Sequence[tuple[BanRecord, bool]]:
        """
        What is banned now, longest first, and whether the address is proven.

        :param target: only the ban of this very target, and those that keep this address out; empty: all.
        :raise BadRequest: no target.
        """
        now_s = self._door.wall_s()
        bans = [ban for ban in self._door.bans.all() if ban.until_s > now_s]
        if target:
            wanted = parse_target(target)
            bans = [ban for ban in bans if ban.target == wanted or _keeps_out(ban.target, wanted)]
        return [(record_of(ban), ban.proven) for ban in bans]

    def outlook(self, host: str, port: int, proto: str, username: str) -> Outlook:
        """
        What would happen to a request from there. Nothing is counted, nobody's turn is taken.

        :param username: of its credentials; empty: it has none.
        """
        door, host = self._door, normal_host(host)
        bans = [ban for ban in door.bans.covering(host, port) if ban.until_s > door.wall_s()]
        certain = [ban for ban in bans if ban.proven]
        dropped, reasons = False, []
        if host in door.trusted:
            reasons.append("white-listed: no ban holds for it")
        else:
            through = bool(username) or proto != "udp"  # a ban in doubt is for what may be forged
            dropped = bool(certain) or (bool(bans) and not through)
            reasons = [_told(ban, dropped) for ban in certain or bans]
            if not dropped and door.is_known_host(host):
                reasons.append(f"known address: may fail {door.rules.known_factor} times as often")
        wait_s = door.try_in_s(username, host) if username else None
        if wait_s is not None:
            turn = f"the next one in {wait_s:.0f} s" if wait_s else "this one has its turn"
            reasons.append(
                f"account {username!r} is slowed down after wrong passwords: one in "
                f"{door.rules.account_pause_s:g} s is checked, {turn}"
            )
        return Outlook(dropped, bool(wait_s), tuple(reasons))

    async def ban(self, target: str, duration_s: float | None, reason: str, by: str) -> tuple[str, bool]:
        """
        Keep somebody out; replaces a ban of the same target.

        :param duration_s: ``None``: until ``unban``.
        :return: the target as it is spelled from now on, and whether the white list has it, so that the ban
            has no effect.
        :raise BadRequest: no target, or one that is too wide.
        :raise StoreBusy: it holds on this node and is written later.
        """
        found = parse_target(target)
        refuse_too_wide(found)
        now_s = self._door.wall_s()
        until_s = inf if duration_s is None else now_s + duration_s
        ban = Ban(found, reason, by, now_s, until_s)
        self._door.bans.add(ban)
        self._door.banned_since_start += 1
        self._door.store.put(record_of(ban))
        self._door.export(ban)
        await _written(self._door.store.flush())
        return found.text, found.host in self._door.trusted

    async def unban(self, target: str) -> list[BanRecord]:
        """
        Let somebody in again; what was counted about him is forgotten.

        :return: the bans that ended: of this very target, and for an address also those of its ports.
        :raise NotFound: it is not banned, or only as part of a network, which the text names.
        :raise StoreBusy: it holds on this node and is written later.
        """
        found = parse_target(target)
        gone = [ban for ban in self._door.bans.all() if ban.target == found or _is_port_of(ban.target, found)]
        if not gone:
            wider = [ban.target.text for ban in self._door.bans.covering(found.host, found.port)]
            hint = f"; these bans have it in them: {', '.join(wider)}" if wider else ""
            raise NotFound(f"{found.text} is not banned{hint}")
        for ban in gone:
            self._door.bans.remove(ban.target)
            self._door.export_end(ban)
            self._door.store.remove(ban.target.text)
        self._door.watch.forget(found)
        await _written(self._door.store.flush())
        return [record_of(ban) for ban in gone]

    async def clear(self) -> int:
        """
        End every ban, forget what was counted. :return: how many.

        :raise StoreBusy: it holds on this node and is written later.
        """
        count = self._door.bans.clear()
        self._door.watch.forget(None)
        self._door.export_all()
        stored: int = await _written(self._door.store.clear(self._clock.wall()))
        return max(count, stored)

    def list_trusted(self) -> Sequence[TrustedAddress]:
        """The white list: of the option, then of the database."""
        return [*self._door.trusted_by_option, *self._door.trusted_by_command]

    async def trust(self, target: str, note: str, by: str) -> str:
        """
        Put somebody on the white list. :return: its spelling.

        :raise BadRequest: no target, or one that is too wide.
        :raise StoreBusy: it holds on this node and is written later.
        """
        found = parse_target(target)
        if found.port:
            raise BadRequest("the white list has addresses, networks and ranges, no ports")
        refuse_too_wide(found)
        entry = TrustedAddress(found.text, note, by, self._clock.wall())
        others = [one for one in self._door.trusted_by_command if one.target != found.text]
        self._door.trust_these([*others, entry])
        await _written(self._door.store.trust(entry))
        return found.text

    async def distrust(self, target: str) -> str:
        """
        Take somebody off the white list. :return: its spelling.

        :raise NotFound: it is not on it. :raise Conflict: it is, by the option.
        :raise StoreBusy: it holds on this node and is written later.
        """
        found = parse_target(target)
        with suppress(StoreBusy):  # then by what is known here
            await self._door.database.read({"whitelist"})
        others = [one for one in self._door.trusted_by_command if one.target != found.text]
        if len(others) == len(self._door.trusted_by_command):
            if any(entry.target == found.text for entry in self._door.trusted_by_option):
                raise Conflict(f"{found.text} is there by the option guardwhitelist; change that")
            raise NotFound(f"{found.text} is not on the white list")
        self._door.trust_these(others)
        await _written(self._door.store.distrust(found.text))
        return found.text

    def list_failures(self) -> list[Failures]:
        """What is being counted now, the highest counts first."""
        found = list(self._door.watch.failures(self._clock.mono_s()))
        return sorted(found, key=lambda row: (-row.count, row.what, row.who))


async def _written(writing: Awaitable[T]) -> T:
    """:raise StoreBusy: not yet, in words for the operator."""
    try:
        return await writing
    except StoreBusy as busy:
        raise StoreBusy(f"it holds on this node; it is written when the database is back ({busy})") from None


def _told(ban: Ban, dropped: bool) -> str:
    until = "'unban'"
    if ban.until_s != inf:
        until = datetime.fromtimestamp(ban.until_s, UTC).isoformat(timespec="seconds")
    where = f"banned until {until} ({ban.target}: {ban.reason or f'by {ban.by}'})"
    if dropped:
        return (
            f"dropped: {where}"
            if ban.proven
            else f"dropped: {where}, in doubt: an answered challenge comes through"
        )
    return f"{where}, but in doubt: comes through"


def _keeps_out(target: Target, address: Target) -> bool:
    """Is that one address among these, all of it or at some port?"""
    return (
        address.first == address.last
        and address.host in target
        and address.port in {0, target.port or address.port}
    )


def _is_port_of(target: Target, address: Target) -> bool:
    return bool(target.port) and address.is_address and target.host == address.host
