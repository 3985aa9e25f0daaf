"""Call records for people, newest first: of everybody, or of the accounts that an operator may see."""

# ruff: noqa: S608 - what is put into SQL text here are our own constants; values are parameters

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from mizu.model import Cdr
from mizu.store.callrows import cdr_of, recent
from mizu.store.postgres import Pool

_STATE = """CASE WHEN c.end_at IS NOT NULL THEN 'ended' WHEN c.answer_at IS NOT NULL
 THEN 'answered' ELSE 'setup' END"""
_REST = """c.setup_at, c.ring_at, c.answer_at, c.end_at, c.setup_s, c.talk_s, c.sip_status, c.sip_reason,
 c.ended_by, c.cause"""
_NAME = "(SELECT username FROM account_ever e WHERE e.id = c.{}_account_id)"
_BEFORE = "(c.setup_at, c.call_id) < (%(setup_at)s, %(call_id)s)"
_NEWEST = "ORDER BY c.setup_at DESC, c.call_id DESC LIMIT %(limit)s"

_START = """SELECT setup_at, call_id FROM call WHERE call_id = %(before)s
 AND (account_within_ever(caller_account_id, %(scope)s)
 OR account_within_ever(callee_account_id, %(scope)s))"""

#: Each account's newest calls come from its own index, so that what it costs grows with the accounts and the
#: length of the page, never with the calls there are. Of the other party an operator sees the number alone.
_WITHIN = f"""WITH mine AS MATERIALIZED (SELECT id FROM account_subtree_ever(%(scope)s)), found AS (
 (SELECT c.setup_at, c.call_id FROM mine CROSS JOIN LATERAL (SELECT setup_at, call_id FROM call c
  WHERE c.caller_account_id = mine.id {{before}} {_NEWEST}) c)
 UNION
 (SELECT c.setup_at, c.call_id FROM mine CROSS JOIN LATERAL (SELECT setup_at, call_id FROM call c
  WHERE c.callee_account_id = mine.id {{before}} {_NEWEST}) c)
), page AS MATERIALIZED (SELECT c.call_id FROM found c {_NEWEST}), shown AS (
 SELECT c.*, c.caller_account_id IN (SELECT id FROM mine) AS calls,
  c.callee_account_id IN (SELECT id FROM mine) AS called FROM page JOIN call c USING (call_id))
SELECT c.call_id, {_STATE}, CASE WHEN calls THEN {_NAME.format("caller")} ELSE '' END, c.caller_number,
 c.called_number, CASE WHEN called THEN {_NAME.format("callee")} ELSE '' END,
 CASE WHEN called THEN c.route ELSE '' END,
 CASE WHEN calls THEN c.caller_sip_call_id ELSE '' END,
 CASE WHEN called THEN c.callee_sip_call_id ELSE '' END,
 CASE WHEN calls THEN c.caller_address ELSE '' END,
 CASE WHEN called THEN c.callee_address ELSE '' END, {_REST}
FROM shown c ORDER BY c.setup_at DESC, c.call_id DESC"""


class CallHistory:
    """Reads the call rows (``mizu.console.services.CallRecords``)."""

    def __init__(self, reports: Pool) -> None:
        self._reports = reports

    async def recent(self, limit: int, before: str, scope: int | None = None) -> Sequence[Cdr]:
        """
        The newest calls.

        :param before: a call id to go on from; none of a call that is not there, or not to be seen: nothing.
        :param scope: ``Operator.scope_account_id``: only calls from or to accounts in it, by the tree of now;
            those that were deleted are where they were then.
        """
        if scope is None:
            query = recent(limit, before)
            return [cdr_of(row) for row in await self._reports.query(*query)] if query else []
        values: dict[str, Any] = {"limit": limit, "scope": scope}
        if before:
            start = await self._start(before, scope)
            if start is None:
                return []
            values.update(setup_at=start[0], call_id=start[1])
        sql = _WITHIN.format(before=f"AND {_BEFORE}" if before else "")
        return [cdr_of(row) for row in await self._reports.query(sql, values)]

    async def _start(self, before: str, scope: int) -> Sequence[Any] | None:
        try:
            values = {"before": UUID(before).hex, "scope": scope}
        except ValueError:
            return None
        rows = await self._reports.query(_START, values)
        return rows[0] if rows else None
