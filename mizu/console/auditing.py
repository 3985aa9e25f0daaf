"""Every change by an operator leaves a trace in the audit list, by one of two ways.

* What a command changes in the database (``Command.atomic``) is committed together with its entry, or neither
  is: the command hands ``Invocation.note`` to the store. A command that is refused or fails changes nothing;
  it then leaves an entry of its own, with the error's code and no changes, as far as it can be written.
  When the connection is lost during the commit, the database is asked for some seconds whether it was made,
  and the operator gets the answer that is true. When that cannot be told so soon (``OutcomeUnknown``), no
  entry is written until it can: then there is one, ``ok`` if it was made and ``store_busy`` if not.
* What happens on this node, as ending a call does, has no transaction that an entry could be in. Its entry is
  written before it is done, as ``begun``, and completed after. When it cannot be written, the command is
  refused (503), but for emergencies (``Command.emergency``), which must work while the database is away:
  their entries wait in memory and are written when it is back. An entry that could not be completed stays
  ``begun``, which tells the reader that its end is unknown.

Whatever the list lacks, if only for now, is logged as critical.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Protocol

from twisted.logger import Logger

from mizu.console.text import visible
from mizu.errors import MizuError, OutcomeUnknown, StoreBusy
from mizu.model import AuditEntry, Change, Operator
from mizu.settings import redact

DONE = "ok"
CHANGES_MAX = 1000  #: of one command; of an import that makes more, the first so many are kept

audit_log = Logger(namespace="mizu.audit")  #: every change: who, from where, what, how it ended


class AuditTrail(Protocol):
    """Where entries are kept; ``mizu.store.audit``."""

    def begin(self, entry: AuditEntry) -> Awaitable[int]:
        """Keep an entry. :return: its number. :raise StoreBusy: it is not kept."""

    def finish(self, number: int, outcome: str, changes: Sequence[Change]) -> Awaitable[None]:
        """Complete an entry. :raise StoreBusy: it stays as it was."""

    def keep(self, entry: AuditEntry, changes: Sequence[Change]) -> Awaitable[int]:
        """Keep an entry that is complete. :return: its number. :raise StoreBusy: it is not kept."""

    def keep_later(self, entry: AuditEntry, changes: Sequence[Change]) -> bool:
        """Keep an entry as soon as that can be done. :return: whether there is room for it."""

    def keep_unless(self, mark: object, entry: AuditEntry) -> bool:
        """
        Keep an entry when it turns out that a change was not made; if it was, it has an entry of its own.

        :param mark: of ``OutcomeUnknown``. :return: whether there is room for it.
        """


class Auditor:
    """
    Writes the log, and the audit list if there is one, around each change.

    :param trail: ``None``: only the log.
    """

    def __init__(self, trail: AuditTrail | None = None) -> None:
        self._trail = trail

    async def begin(self, operator: Operator, command: str, line: str, *, emergency: bool) -> int | None:
        """
        Before a change.

        :return: the entry to complete.
        :raise MizuError: it could not be written, so the change must not be made.
        """
        if self._trail is None:
            return None
        try:
            return await self._trail.begin(AuditEntry(operator, command, line))
        except MizuError as wrong:
            if not emergency:
                _say(operator, line, wrong.code)
                raise
            return None

    async def finish(
        self,
        number: int | None,
        operator: Operator,
        command: str,
        line: str,
        outcome: str,
        changes: Sequence[Change] = (),
    ) -> None:
        """After a change, or after its failure. Never fails."""
        _say(operator, line, outcome)
        if self._trail is None:
            return
        kept = presentable(changes)
        if number is None:  # an emergency
            later = self._trail.keep_later(AuditEntry(operator, command, line, outcome), kept)
            when = "is written when the database is back" if later else "is not kept"
            _lost(
                f"this {when}: {operator.name} from {operator.source}: {line} -> {outcome}; changes: {kept}"
            )
            return
        try:
            await self._trail.finish(number, outcome, kept)
        except MizuError as wrong:
            _lost(f"entry {number}, {operator.name}: {line} -> {outcome}, {wrong}; changes: {kept}")
        except Exception:  # the change is made: whatever this was, the operator gets the answer
            audit_log.failure("audit entry {number} could not be completed", number=number)

    def entry(self, operator: Operator, command: str, line: str) -> AuditEntry | None:
        """For a change that is committed with its entry; ``None``: there is no list."""
        return AuditEntry(operator, command, line, DONE) if self._trail is not None else None

    async def done(
        self, operator: Operator, command: str, line: str, changes: Sequence[Change], *, noted: bool
    ) -> None:
        """
        After a change. Never fails.

        :param noted: the entry was committed with it. A store that keeps nothing gets it now.
        """
        _say(operator, line, DONE)
        if not noted:
            await self._keep(AuditEntry(operator, command, line, DONE), presentable(changes))

    async def refused(self, operator: Operator, command: str, line: str, outcome: str) -> None:
        """Nothing was changed: somebody tried what is not allowed, or it failed. Never fails."""
        _say(operator, line, outcome)
        await self._keep(AuditEntry(operator, command, line, outcome), ())

    def doubtful(self, operator: Operator, command: str, line: str, unknown: OutcomeUnknown) -> None:
        """Nobody knows yet whether something was changed. Never fails."""
        _say(operator, line, unknown.code)
        entry = AuditEntry(operator, command, line, StoreBusy.code)
        if self._trail is not None and not self._trail.keep_unless(unknown.mark, entry):
            _lost(f"{operator.name} from {operator.source}: {line}: if it has no entry, it was not made")

    async def _keep(self, entry: AuditEntry, changes: Sequence[Change]) -> None:
        if self._trail is None:
            return
        try:
            await self._trail.keep(entry, changes)
        except MizuError as wrong:
            operator = entry.operator
            _lost(f"{operator.name} from {operator.source}: {entry.line} -> {entry.outcome}: {wrong}")
        except Exception:  # the operator gets the answer all the same
            audit_log.failure("an audit entry could not be written")


def presentable(changes: Sequence[Change]) -> Sequence[Change]:
    """As they are kept: not too many, without secrets."""
    return [replace(one, before=redact(one.before), after=redact(one.after)) for one in changes[:CHANGES_MAX]]


def _lost(text: str) -> None:
    """Say loudly what the audit list does not have."""
    audit_log.critical("the audit list is incomplete: {text}", text=visible(text))


def _say(operator: Operator, line: str, outcome: str) -> None:
    audit_log.info(
        "{who} from {source}: {command} -> {outcome}",
        who=visible(operator.name),
        source=visible(operator.source or "-"),
        command=visible(line),
        outcome=outcome,
    )
