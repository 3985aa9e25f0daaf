"""What the columns of an account accept, checked before the database sees it."""

import json
from collections.abc import Mapping

from mizu.errors import BadRequest
from mizu.model import AccountType, AuthType
from mizu.store.text import storable

#: Columns that ``add`` and ``change`` take, with what they accept.
_FIELDS: dict[str, type] = {
    "type": int,
    "auth_type": int,
    "parent_id": int,
    "enabled": bool,
    "suspended": bool,
    "can_dial": bool,
    "display_name": str,
    "caller_number": str,
    "max_contacts": int,
    "trusted_identity": bool,
    "fix_nat": bool,
    "contact": dict,
    "calling_circle": int,
    "phone_number": str,
    "short_number": str,
    "company_id": int,
    "is_company": bool,
    "tech_prefix": str,
    "max_channels": int,
    "allowed_partners": str,
    "enabled_prefixes": str,
    "enabled_tech_prefixes": str,
    "blocked_prefixes": str,
    "only_test_calls": bool,
    "test_prefix": str,
}
HA1_COLUMNS = {"MD5": "ha1_md5", "SHA-256": "ha1_sha256"}
USERNAME_MAX = 255  #: characters of one that is looked up; new ones: mizu.accounts.usernames


def columns_of(ha1: Mapping[str, str] | None, fields: Mapping[str, object]) -> dict[str, object]:
    """
    Column values for the arguments of ``add`` and ``change``, checked.

    :raise BadRequest: an unknown field, a wrong type, or text that cannot be kept.
    """
    columns: dict[str, object] = {}
    for name, value in fields.items():
        want = _FIELDS.get(name)
        if want is None:
            raise BadRequest(f"no such field: {name}; known: {', '.join(_FIELDS)}")
        if not (name == "parent_id" and value is None):
            if not isinstance(value, want) or (want is int and isinstance(value, bool)):
                raise BadRequest(f"{name}: want {want.__name__}")
            if isinstance(value, str) and not storable(value):
                raise BadRequest(f"{name}: contains bytes that are not text")
            if name in ("type", "auth_type"):
                _check_number(name, int(value))  # type: ignore[call-overload]
        columns[name] = json.dumps(value) if name == "contact" else value
    for algorithm, digest in (ha1 or {}).items():
        if algorithm not in HA1_COLUMNS:
            raise BadRequest(f"no such digest algorithm: {algorithm}; known: {', '.join(HA1_COLUMNS)}")
        columns[HA1_COLUMNS[algorithm]] = digest
    return columns


def _check_number(name: str, value: int) -> None:
    try:
        AccountType(value) if name == "type" else AuthType(value)
    except ValueError as wrong:
        raise BadRequest(f"{name}: {wrong}") from None
