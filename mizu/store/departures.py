"""
What an operator limited to some accounts saw is still theirs when their change is committed.

Conditions on what they see (``mizu.accounts.scope``) are about the moment at which a statement begins. When
it then waits for somebody who moves the account to another owner, it goes on with what was true before. So
each change asks at its end whether anything has left their accounts meanwhile (table ``account_left``), and
is tried anew if so. What leaves later than that comes after the change: whoever moves an account that the
change has locked waits for it.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from txpostgres.txpostgres import Cursor

T = TypeVar("T")

_SEEN = "SELECT by_transaction::text FROM account_left WHERE account_id = %s"
_CHECK = "SELECT account_check_left(%s, %s::xid8)"


async def unless_left(
    cursor: Cursor, scope: int | None, work: Callable[..., Coroutine[Any, Any, T]], *args: Any
) -> T:
    """
    ``await work(cursor, *args)``, all of a transaction at isolation level read committed.

    :param scope: ``Operator.scope_account_id``; ``None``: nothing leaves the whole.
    :raise psycopg2.errors.SerializationFailure: something left; the transaction is to be tried anew.
    """
    if scope is None:
        return await work(cursor, *args)
    await cursor.execute(_SEEN, (scope,))
    row = cursor.fetchone()
    result = await work(cursor, *args)
    await cursor.execute(_CHECK, (scope, row[0] if row is not None else None))
    return result
