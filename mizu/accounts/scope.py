"""What an operator sees and changes: the one place that decides it.

An operator with ``scope_account_id`` sees that account and everything below it. Whatever is outside does not
exist for them: answers are the same as for a name that nobody has. What they may change inside is said by
``changed_by`` of each field (``mizu.accounts.fields``).
"""

from collections.abc import Iterable, Mapping

from mizu.accounts.fields import BY_NAME, OWNER, SELF, SERVER, STAFF
from mizu.accounts.kinds import Value
from mizu.errors import BadRequest, Forbidden, NotFound
from mizu.model import AccountType

#: What an operator limited to some accounts may make.
OWNED_TYPES = frozenset(
    (
        AccountType.ENDUSER,
        AccountType.SUB_ENDUSER,
        AccountType.OPERATOR,
        AccountType.CALLING_CARD,
        AccountType.RESELLER,
    )
)


def visible(column: str, parameter: str = "scope") -> str:
    """SQL condition: the account whose id is in ``column`` is in the scope, or there is no scope."""
    return f"(%({parameter})s::bigint IS NULL OR account_within({column}, %({parameter})s::bigint))"


def visible_many(column: str, parameter: str = "scope") -> str:
    """The same for lists: the accounts of the scope are found once, not asked for each row."""
    ids = f"(SELECT id FROM account_subtree(%({parameter})s::bigint))"  # noqa: S608 - our own names
    return f"(%({parameter})s::bigint IS NULL OR {column} IN {ids})"


def unknown(who: str) -> NotFound:
    """There is no such account, or none that this operator may know of."""
    return NotFound(f"there is no account {who!r}")


def check_new(scope: int | None, values: Mapping[str, Value]) -> None:
    """
    May an operator make an account with these values?

    :raise BadRequest: a field that only the server sets.
    :raise Forbidden: a field or a type that is not theirs to give.
    """
    _check_fields(scope, values, (SELF, OWNER))
    _check_type(scope, values)


def check_change(scope: int | None, account_id: int, values: Mapping[str, Value]) -> None:
    """
    May an operator change these fields of that account, which they see?

    :raise BadRequest: a field that only the server sets.
    :raise Forbidden: a field that is not theirs to change; their own account has fewer of them.
    """
    own = scope is not None and account_id == scope
    _check_fields(scope, values, (SELF,) if own else (SELF, OWNER))
    if "type" in values:
        _check_type(scope, values)
    if scope is not None and "parent_id" in values and values["parent_id"] is None:
        raise Forbidden("an account cannot be moved out of your own accounts")


def check_delete(scope: int | None, account_id: int) -> None:
    """:raise Forbidden: nobody deletes the account that they act for."""
    if scope is not None and account_id == scope:
        raise Forbidden("you cannot delete the account that you act for")


def may_clone(scope: int | None, name: str) -> bool:
    """Does a clone that this operator makes get the field? What they could not set is not copied either."""
    field = BY_NAME[name]
    return field.cloned and field.changed_by != SERVER and (scope is None or field.changed_by != STAFF)


def _check_fields(scope: int | None, names: Iterable[str], allowed: tuple[str, ...]) -> None:
    for name in names:
        whose = BY_NAME[name].changed_by
        if whose == SERVER:
            raise BadRequest(f"{name} cannot be changed")
        if scope is not None and whose not in allowed:
            raise Forbidden(f"{name} is not yours to change")


def _check_type(scope: int | None, values: Mapping[str, Value]) -> None:
    if scope is not None and values.get("type", 0) not in OWNED_TYPES:
        known = ", ".join(sorted(one.name.lower() for one in OWNED_TYPES))
        raise Forbidden(f"you can make accounts of these types: {known}")
