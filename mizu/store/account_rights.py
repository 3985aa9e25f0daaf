"""Which accounts have somebody below them who has more rights than an operator."""

from collections.abc import Mapping, Sequence

from txpostgres.txpostgres import Cursor

from mizu.accounts.kinds import Value
from mizu.accounts.scope import HARMFUL_BELOW
from mizu.model import Rights

#: Operators are few: the index account_operators has them.
_OVER_MORE = """SELECT DISTINCT o.owner FROM account a, LATERAL account_owners(a.parent_id) o (owner)
 WHERE a.rights > 20 AND a.rights > %(own)s AND o.owner = ANY (%(ids)s::bigint[])"""


async def over_more(
    cursor: Cursor, many: Sequence[tuple[int, Mapping[str, Value]]], rights: Rights | None
) -> frozenset[int]:
    """
    Accounts whose change would harm somebody below them who has more rights.

    :param many: ids of accounts, and what is wanted of each.
    :param rights: the operator's; ``None``: no limit.
    """
    ids = [account for account, values in many if not HARMFUL_BELOW.isdisjoint(values)]
    if rights is None or rights >= max(Rights) or not ids:
        return frozenset()
    await cursor.execute(_OVER_MORE, {"own": int(rights), "ids": ids})
    return frozenset(row[0] for row in cursor.fetchall())
