"""What an operator sees and changes: the one place that decides it.

An operator with ``scope_account_id`` sees that account and everything below it. Whatever is outside does not
exist for them: answers are the same as for a name that nobody has. What they may change inside is said by
``changed_by`` of each field (``mizu.accounts.fields``).
"""

from collections.abc import Iterable, Iterator, Mapping

from mizu.accounts.fields import BY_NAME, OWNER, SELF, SERVER, STAFF
from mizu.accounts.kinds import Value
from mizu.errors import BadRequest, Forbidden, MizuError, NotFound
from mizu.model import AccountType, Rights

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
    for _, wrong in refused_new(scope, values):
        raise wrong


def refused_new(scope: int | None, values: Mapping[str, Value]) -> Iterator[tuple[str, MizuError]]:
    """Every field that :func:`check_new` refuses, with the reason; for who is told of all at once."""
    yield from _refused_fields(scope, values, (SELF, OWNER))
    yield from _refused_type(scope, values)


def check_change(scope: int | None, account_id: int, values: Mapping[str, Value]) -> None:
    """
    May an operator change these fields of that account, which they see?

    :raise BadRequest: a field that only the server sets.
    :raise Forbidden: a field that is not theirs to change; their own account has fewer of them.
    """
    own = scope is not None and account_id == scope
    for _, wrong in _refused_fields(scope, values, (SELF,) if own else (SELF, OWNER)):
        raise wrong
    if "type" in values:
        for _, wrong in _refused_type(scope, values):
            raise wrong
    if scope is not None and "parent_id" in values and values["parent_id"] is None:
        raise Forbidden("an account cannot be moved out of your own accounts")


#: What would take an account over, or away from whoever has it.
_HARMFUL = frozenset(("password", "pin", "enabled", "suspended", "is_template", "type", "parent_id")) | {
    "auth_type",
    "auth_ip",
    "tech_prefix",
    "call_signal_port",
}
#: What would take away everything below it too.
HARMFUL_BELOW = frozenset(("enabled", "suspended", "parent_id"))
#: For :func:`check_rights`: an account is deleted.
DELETED: Mapping[str, Value] = {"enabled": False}


def check_rights(
    own: Rights | None, before: int, values: Mapping[str, Value], *, more_below: bool = False
) -> None:
    """
    May an operator with these rights change these fields of an account?

    :param own: the operator's; ``None``: the server itself, no limit.
    :param before: what the account has.
    :param more_below: an account below it has more than the operator.
    :raise Forbidden: it has, or would get, more than the operator; or what is below it would suffer.
    """
    if own is None:
        return
    wanted = values.get("rights", before)
    if before > own and (wanted != before or not _HARMFUL.isdisjoint(values)):
        raise Forbidden(f"rights: the account has more than your own, {own.name.lower()}")
    if more_below and not HARMFUL_BELOW.isdisjoint(values):
        raise Forbidden(f"rights: an account below it has more than your own, {own.name.lower()}")
    if isinstance(wanted, int) and wanted > own and wanted != before:
        raise Forbidden(f"rights: you may give up to your own, {own.name.lower()}")


def check_delete(scope: int | None, account_id: int) -> None:
    """:raise Forbidden: nobody deletes the account that they act for."""
    if scope is not None and account_id == scope:
        raise Forbidden("you cannot delete the account that you act for")


def check_template(scope: int | None, account_id: int) -> None:
    """May other accounts be made like that one, which they see? :raise BadRequest:"""
    if scope is not None and account_id == scope:
        raise BadRequest("your own account is no template")


def check_import(scope: int | None, *, sent: bool) -> None:
    """
    May they import this file?

    :param sent: they sent it themselves; otherwise it lies on the server, whose operators put it there.
    :raise Forbidden:
    """
    if scope is not None and not sent:
        raise Forbidden("files on the server are not for you; send one: import --send FILE")


def same_reach(scope: int | None, theirs: int | None) -> bool:
    """Is what an operator with the scope ``theirs`` has under way the matter of one with ``scope``?"""
    return scope is None or scope == theirs


def may_clone(scope: int | None, name: str) -> bool:
    """Does a clone that this operator makes get the field? What they could not set is not copied either."""
    field = BY_NAME[name]
    return field.cloned and field.changed_by != SERVER and (scope is None or field.changed_by != STAFF)


def _refused_fields(
    scope: int | None, names: Iterable[str], allowed: tuple[str, ...]
) -> Iterator[tuple[str, MizuError]]:
    for name in names:
        whose = BY_NAME[name].changed_by
        if whose == SERVER:
            yield name, BadRequest(f"{name} cannot be changed")
        elif scope is not None and whose not in allowed:
            yield name, Forbidden(f"{name} is not yours to change")


def _refused_type(scope: int | None, values: Mapping[str, Value]) -> Iterator[tuple[str, MizuError]]:
    if scope is not None and values.get("type", 0) not in OWNED_TYPES:
        known = ", ".join(sorted(one.name.lower() for one in OWNED_TYPES))
        yield "type", Forbidden(f"you can make accounts of these types: {known}")
