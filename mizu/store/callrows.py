"""The SQL of the call rows: one statement a kind, all rows of a round trip in it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from mizu.model import CallAnswered, CallClosed, CallOpened, Cdr
from mizu.store.text import clean, json_text

_OPEN = """INSERT INTO call (call_id, node, caller_account_id, caller_number, called_number, caller_sip_call_id,
 caller_address, setup_at)
SELECT * FROM unnest(%(o0)s::uuid[], %(o1)s::text[], %(o2)s::bigint[], %(o3)s::text[], %(o4)s::text[],
 %(o5)s::text[], %(o6)s::text[], %(o7)s::timestamptz[])
ON CONFLICT (call_id) DO NOTHING"""

_ANSWER = """UPDATE call SET answer_at = u.answer_at, route = u.route, callee_account_id = u.callee,
 callee_sip_call_id = u.sip_call_id, callee_address = u.address, dialogs = u.dialogs
FROM unnest(%(a0)s::uuid[], %(a1)s::timestamptz[], %(a2)s::text[], %(a3)s::bigint[], %(a4)s::text[],
 %(a5)s::text[], %(a6)s::jsonb[]) u (call_id, answer_at, route, callee, sip_call_id, address, dialogs)
WHERE call.call_id = u.call_id AND call.end_at IS NULL"""

# A call that was not answered 2xx to the caller was not answered, whatever was written before.
_CLOSE = """UPDATE call SET ring_at = u.ring_at, end_at = u.end_at, setup_s = u.setup_s, talk_s = u.talk_s,
 sip_status = u.sip_status, sip_reason = u.sip_reason, ended_by = u.ended_by, cause = u.cause, route = u.route,
 callee_account_id = u.callee, callee_sip_call_id = u.sip_call_id, callee_address = u.address, dialogs = NULL,
 answer_at = CASE WHEN u.sip_status BETWEEN 200 AND 299 THEN answer_at END
FROM unnest(%(c0)s::uuid[], %(c1)s::timestamptz[], %(c2)s::timestamptz[], %(c3)s::double precision[],
 %(c4)s::double precision[], %(c5)s::smallint[], %(c6)s::text[], %(c7)s::text[], %(c8)s::text[], %(c9)s::text[],
 %(c10)s::bigint[], %(c11)s::text[], %(c12)s::text[]) u (call_id, ring_at, end_at, setup_s, talk_s, sip_status,
 sip_reason, ended_by, cause, route, callee, sip_call_id, address)
WHERE call.call_id = u.call_id AND call.end_at IS NULL"""

_UNDO = """DELETE FROM call WHERE call_id = ANY (%(u0)s::uuid[]) AND node = %(node)s AND answer_at IS NULL
 AND end_at IS NULL"""

_RECENT = """SELECT c.call_id, CASE WHEN c.end_at IS NOT NULL THEN 'ended' WHEN c.answer_at IS NOT NULL
 THEN 'answered' ELSE 'setup' END, coalesce(a.username, '#' || c.caller_account_id, ''), c.caller_number,
 c.called_number, coalesce(b.username, '#' || c.callee_account_id, ''), c.route, c.caller_sip_call_id,
 c.callee_sip_call_id, c.caller_address, c.callee_address, c.setup_at, c.ring_at, c.answer_at, c.end_at,
 c.setup_s, c.talk_s, c.sip_status, c.sip_reason, c.ended_by, c.cause
FROM call c LEFT JOIN account a ON a.id = c.caller_account_id LEFT JOIN account b ON b.id = c.callee_account_id
{where} ORDER BY c.setup_at DESC, c.call_id DESC LIMIT %(limit)s"""
_BEFORE = "WHERE (c.setup_at, c.call_id) < (SELECT setup_at, call_id FROM call WHERE call_id = %(before)s)"

#: Ends what a process that died left open; talk time up to its last sign of life.
ORPHANS = """WITH me AS (SELECT seen_at, calls_since FROM node WHERE name = %(node)s)
UPDATE call SET end_at = greatest(me.seen_at, coalesce(answer_at, setup_at)), cause = 'orphan',
 ended_by = 'switch', dialogs = NULL, sip_status = CASE WHEN answer_at IS NULL THEN 500 ELSE 200 END,
 setup_s = extract(epoch FROM coalesce(answer_at, greatest(me.seen_at, setup_at)) - setup_at),
 talk_s = coalesce(extract(epoch FROM greatest(me.seen_at, answer_at) - answer_at), 0)
FROM me WHERE call.node = %(node)s AND call.end_at IS NULL AND call.setup_at >= me.calls_since
RETURNING call_id"""


def statement(
    opens: Sequence[CallOpened],
    answers: Sequence[CallAnswered],
    closes: Sequence[CallClosed],
    undo: Sequence[str],
    node: str,
) -> tuple[str, dict[str, object]]:
    """SQL and parameters that write all of these in one transaction and one round trip."""
    parts: list[str] = []
    params: dict[str, object] = {"node": node}
    if opens:
        parts.append(_OPEN)
        columns = zip(*[_open_row(call, node) for call in opens], strict=True)
        params.update((f"o{number}", list(column)) for number, column in enumerate(columns))
    if answers:
        parts.append(_ANSWER)
        columns = zip(*map(_answer_row, answers), strict=True)
        params.update((f"a{number}", list(column)) for number, column in enumerate(columns))
    if closes:
        parts.append(_CLOSE)
        columns = zip(*map(_close_row, closes), strict=True)
        params.update((f"c{number}", list(column)) for number, column in enumerate(columns))
    if undo:
        parts.append(_UNDO)
        params["u0"] = list(undo)
    return ";\n".join(parts), params


def _open_row(call: CallOpened, node: str) -> tuple[object, ...]:
    return (
        call.call_id,
        call.node or node,
        call.caller_account_id,
        clean(call.caller_number),
        clean(call.called_number),
        clean(call.caller_sip_call_id),
        clean(call.caller_address),
        call.setup_at,
    )


def _answer_row(call: CallAnswered) -> tuple[object, ...]:
    return (
        call.call_id,
        call.answer_at,
        clean(call.route),
        call.callee_account_id,
        clean(call.callee_sip_call_id),
        clean(call.callee_address),
        json_text(call.dialogs) if call.dialogs else None,
    )


def _close_row(call: CallClosed) -> tuple[object, ...]:
    return (
        call.call_id,
        call.ring_at,
        call.end_at,
        call.setup_s,
        call.talk_s,
        call.sip_status,
        clean(call.sip_reason),
        clean(call.ended_by),
        clean(call.cause),
        clean(call.route),
        call.callee_account_id,
        clean(call.callee_sip_call_id),
        clean(call.callee_address),
    )


def recent(limit: int, before: str) -> tuple[str, dict[str, object]] | None:
    """SQL and parameters of a page of calls, newest first; ``None``: ``before`` is no call_id."""
    if not before:
        return _RECENT.format(where=""), {"limit": limit}
    try:
        return _RECENT.format(where=_BEFORE), {"limit": limit, "before": UUID(before).hex}
    except ValueError:
        return None


def cdr_of(row: Sequence[Any]) -> Cdr:
    """A row of ``recent`` as people read it."""
    return Cdr(row[0].replace("-", ""), *row[1:])


def name_of(items: Sequence[CallOpened | CallAnswered | CallClosed | str]) -> str:
    """Which call a row is of, for the log."""
    return ", ".join(item if isinstance(item, str) else item.call_id for item in items)
