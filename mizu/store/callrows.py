"""The SQL of the call rows: one prepared statement a kind, all rows of a round trip in it.

Columns go as array literals made here: with 100 rows that takes a third of the time that psycopg2 needs to
adapt lists, and a prepared plan halves what the database needs for a single row.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from mizu.model import CallAnswered, CallClosed, CallOpened, Cdr, ChannelLimit
from mizu.store.arrays import optionals, texts, values
from mizu.store.text import without_nul


class Take(NamedTuple):
    """A call that wants to count for these accounts and no others."""

    call_id: str
    channels: tuple[ChannelLimit, ...]


Row = CallOpened | CallAnswered | CallClosed | Take | str

#: Run on each connection that writes calls.
PREPARE = (
    """PREPARE call_open (uuid[], text[], bigint[], text[], text[], text[], text[], timestamptz[]) AS
INSERT INTO call (call_id, node, caller_account_id, caller_number, called_number, caller_sip_call_id,
 caller_address, setup_at)
SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (call_id) DO NOTHING""",
    """PREPARE call_answer (uuid[], timestamptz[], text[], bigint[], text[], text[], jsonb[]) AS
UPDATE call SET answer_at = u.answer_at, route = u.route, callee_account_id = u.callee,
 callee_sip_call_id = u.sip_call_id, callee_address = u.address, dialogs = u.dialogs
FROM unnest($1, $2, $3, $4, $5, $6, $7) u (call_id, answer_at, route, callee, sip_call_id, address, dialogs)
WHERE call.call_id = u.call_id AND call.end_at IS NULL""",
    # A call that was not answered 2xx to the caller was not answered, whatever was written before.
    """PREPARE call_close (uuid[], timestamptz[], timestamptz[], double precision[], double precision[],
 smallint[], text[], text[], text[], text[], bigint[], text[], text[]) AS
UPDATE call SET ring_at = u.ring_at, end_at = u.end_at, setup_s = u.setup_s, talk_s = u.talk_s,
 sip_status = u.sip_status, sip_reason = u.sip_reason, ended_by = u.ended_by, cause = u.cause,
 route = u.route, callee_account_id = u.callee, callee_sip_call_id = u.sip_call_id,
 callee_address = u.address, dialogs = NULL,
 answer_at = CASE WHEN u.sip_status BETWEEN 200 AND 299 THEN answer_at END
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) u (call_id, ring_at, end_at, setup_s,
 talk_s, sip_status, sip_reason, ended_by, cause, route, callee, sip_call_id, address)
WHERE call.call_id = u.call_id AND call.end_at IS NULL""",
    # Rows whose opening was reported as failed, but may have been committed all the same.
    """PREPARE call_undo (uuid[]) AS
DELETE FROM call WHERE call_id = ANY ($1) AND answer_at IS NULL AND end_at IS NULL""",
    "PREPARE channel_lock (bigint[]) AS SELECT channel_lock($1)",
    """PREPARE channel_take (uuid[], uuid[], bigint[], integer[]) AS
SELECT refused, account_id FROM channel_take($1, $2, $3, $4)""",
)

_RECENT = """SELECT c.call_id, CASE WHEN c.end_at IS NOT NULL THEN 'ended' WHEN c.answer_at IS NOT NULL
 THEN 'answered' ELSE 'setup' END, coalesce((SELECT username FROM account_ever e
 WHERE e.id = c.caller_account_id), '#' || c.caller_account_id, ''), c.caller_number, c.called_number,
 coalesce((SELECT username FROM account_ever e WHERE e.id = c.callee_account_id),
 '#' || c.callee_account_id, ''), c.route, c.caller_sip_call_id,
 c.callee_sip_call_id, c.caller_address, c.callee_address, c.setup_at, c.ring_at, c.answer_at, c.end_at,
 c.setup_s, c.talk_s, c.sip_status, c.sip_reason, c.ended_by, c.cause
FROM call c {where} ORDER BY c.setup_at DESC, c.call_id DESC LIMIT %(limit)s"""
_BEFORE = "WHERE (c.setup_at, c.call_id) < (SELECT setup_at, call_id FROM call WHERE call_id = %(before)s)"

#: Some calls of nodes hold no channels any more; again until it gives no row. Few at a time: the count of an
#: owner of all of them is changed for each, and each change of it in one transaction makes the next dearer.
RELEASED_MAX = 500
_RELEASE = """WITH held AS MATERIALIZED (SELECT call_id, channels FROM call
 WHERE end_at IS NULL AND channels IS NOT NULL AND node {whose} LIMIT 500),
locked AS MATERIALIZED (SELECT channel_lock(ARRAY(SELECT DISTINCT unnest(channels) FROM held)))
UPDATE call SET channels = NULL FROM held, locked
 WHERE call.call_id = held.call_id AND call.end_at IS NULL RETURNING call.call_id"""
RELEASE_OWN = _RELEASE.format(whose="= %(node)s")
#: Those of nodes that are not heard of; their rows wait for the node.
RELEASE_SILENT = _RELEASE.format(
    whose="IN (SELECT name FROM node WHERE alive_at < now() - %(silent_s)s * interval '1 second')"
)
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
    *,
    node: str,
    takes: Sequence[Take] = (),
    locked: Iterable[int] = (),
) -> tuple[str, list[str]]:
    """
    SQL and parameters that write all of these in one transaction and one round trip.

    :param takes: calls and what they want to count for from now on. With any, its rows are the calls that do
        not, each with the account that has no channel left, or none if the call is over.
    :param locked: the accounts whose channels any of these takes or gives back.
    """
    parts: list[str] = []
    params: list[str] = []
    accounts = list(locked)
    for name, columns in (
        ("channel_lock", [values(accounts)] if accounts else None),
        ("call_open", _open_columns(opens, node) if opens else None),
        ("call_answer", _answer_columns(answers) if answers else None),
        ("call_close", _close_columns(closes) if closes else None),
        ("call_undo", [texts(undo)] if undo else None),
        ("channel_take", _take_columns(takes) if takes else None),
    ):
        if columns:
            parts.append(f"EXECUTE {name} ({', '.join(['%s'] * len(columns))})")
            params += columns
    return ";".join(parts), params


# The rows are tuples whose fields are in the order of the statements' parameters.


def _open_columns(calls: Sequence[CallOpened], node: str) -> list[str]:
    ids, nodes, callers, *numbers_and_places, setup, _ = zip(*calls, strict=True)
    return [
        texts(ids),
        texts([name or node for name in nodes]),
        values(callers),
        *map(texts, numbers_and_places),
        values(setup),
    ]


def _answer_columns(calls: Sequence[CallAnswered]) -> list[str]:
    ids, at, routes, callees, sip_call_ids, addresses, dialogs = zip(*calls, strict=True)
    return [
        texts(ids),
        values(at),
        texts(routes),
        values(callees),
        texts(sip_call_ids),
        texts(addresses),
        optionals([without_nul(each) if each else None for each in dialogs]),
    ]


def _close_columns(calls: Sequence[CallClosed]) -> list[str]:
    ids, ring, end, setup_s, talk_s, status, reasons, ended_by, causes, routes, callees, *places = zip(
        *calls, strict=True
    )
    return [
        texts(ids),
        values(ring),
        values(end),
        values(setup_s),
        values(talk_s),
        values(status),
        texts(reasons),
        texts(ended_by),
        texts(causes),
        texts(routes),
        values(callees),
        *map(texts, places),
    ]


def _take_columns(takes: Sequence[Take]) -> list[str]:
    wanted = [(call_id, *one) for call_id, channels in takes for one in channels]
    ids, accounts, most = zip(*wanted, strict=True) if wanted else ((), (), ())
    return [texts([call_id for call_id, _ in takes]), texts(ids), values(accounts), values(most)]


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


def name_of(items: Sequence[Row]) -> str:
    """Which call a row is of, for the log."""
    return ", ".join(item if isinstance(item, str) else item.call_id for item in items)
