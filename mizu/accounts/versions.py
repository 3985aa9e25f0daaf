"""Versions of records: what keeps two operators from overwriting each other unseen. Pure.

Whatever operators change has a version that grows with each change. Who changes or deletes it may say which
version they have seen; the store compares in the transaction that changes the row, which it has locked.
"""

from mizu.errors import Stale


def check_version(what: str, found: int, seen: int | None) -> None:
    """
    Is it what the operator has seen?

    :param what: for the message, e.g. ``account '1001'``.
    :param found: the version in the database. :param seen: ``None``: whatever is there may be changed.
    :raise Stale: somebody was faster.
    """
    if seen is not None and seen != found:
        raise Stale(f"{what} is at version {found}: somebody changed it meanwhile")
