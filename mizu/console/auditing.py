"""Every change by an operator leaves a trace: an entry is written before the change, completed after it.

So a change without an entry cannot happen: when the entry cannot be written, the change is refused (503). Two
things are let through and logged as critical instead: commands for emergencies (``Command.emergency``), which
must work while the database is away, and the completion of an entry, as the change is made by then; such
an entry stays ``begun``, which tells the reader that its end is unknown.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Protocol

from twisted.logger import Logger

from mizu.console.text import visible
from mizu.errors import MizuError
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
            _lost(f"{operator.name} from {operator.source}: {line}: {wrong}")
            return None

    async def finish(
        self, number: int | None, operator: Operator, line: str, outcome: str, changes: Sequence[Change] = ()
    ) -> None:
        """After a change, or after its failure. Never fails."""
        _say(operator, line, outcome)
        if self._trail is None or number is None:
            return
        kept = [
            replace(one, before=redact(one.before), after=redact(one.after)) for one in changes[:CHANGES_MAX]
        ]
        try:
            await self._trail.finish(number, outcome, kept)
        except MizuError as wrong:
            _lost(f"entry {number}, {operator.name}: {line} -> {outcome}, {wrong}; changes: {kept}")
        except Exception:  # the change is made: whatever this was, the operator gets the answer
            audit_log.failure("audit entry {number} could not be completed", number=number)

    async def refused(self, operator: Operator, command: str, line: str, outcome: str) -> None:
        """Somebody tried what is not allowed. Never fails."""
        _say(operator, line, outcome)
        if self._trail is None:
            return
        try:
            await self._trail.begin(AuditEntry(operator, command, line, outcome))
        except MizuError as wrong:
            _lost(f"{operator.name} from {operator.source}: {line} -> {outcome}: {wrong}")


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
