"""Fields of accounts, and of accounts at SIP servers, as the OpenAPI document has them: from their tables."""

from collections.abc import Iterable, Mapping
from typing import Any

from mizu.accounts.field import OWNER, SELF, SERVER, STAFF, Field
from mizu.accounts.fields import FIELDS
from mizu.accounts.sip_fields import CHANGEABLE, SIP_FIELDS

JsonObject = dict[str, Any]

CHANGES: Mapping[str, str] = {"Account": "AccountFields", "SipAccount": "SipAccountFields"}
"""Of a shape of answers, the schema of what changes such a thing."""

_TEXT: JsonObject = {"type": "string"}
_WHO = {
    STAFF: "changed by operators not limited to some accounts",
    OWNER: "changed by operators of what is above it",
    SELF: "changed by operators of it and of what is above it",
    SERVER: "set by the server",
}
_LISTS = ("partners", "members", "prefixes", "addresses")
_ID = {"type": "integer", "minimum": 1}


def schemas() -> dict[str, JsonObject]:
    """Components by name."""
    return {
        "Account": _answer(
            (one for one in FIELDS),
            {
                "type_name": {**_TEXT, "description": "the word for type"},
                "auth_type_name": {**_TEXT, "description": "the word for auth_type"},
            },
        ),
        "AccountFields": _change(
            one for one in FIELDS if one.changed_by != SERVER and one.name != "password"
        ),
        "SipAccount": _answer(
            SIP_FIELDS,
            {
                "sip_server_id": {**_ID, "description": "id of that account"},
                "version": {**_ID, "description": "grows with every change by an operator"},
                "unused_because": {**_TEXT, "description": "why it is not used; empty: it is"},
            },
        ),
        "SipAccountFields": _change(CHANGEABLE),
    }


def _answer(fields: Iterable[Field], more: Mapping[str, JsonObject]) -> JsonObject:
    properties = {one.name: {**_shown(one), **_told(one)} for one in fields} | dict(more)
    return {"type": "object", "required": list(properties), "properties": properties}


def _change(fields: Iterable[Field]) -> JsonObject:
    properties = {one.name: {**_taken(one), **_told(one)} for one in fields}
    return {
        "type": "object",
        "description": "Fields and their new values; those left out stay as they are, or have their default "
        "in a new account. The original's names are taken as well, in any case of letters.",
        "properties": properties,
    }


def _told(one: Field) -> JsonObject:
    """What people and generators of clients are told of a field."""
    facts = [one.meaning + (f", {one.unit}" if one.unit else "")]
    if one.secret:
        facts.append("answers have whether there is one")
    if one.name == "password":
        facts.append("that which makes an account without saying one has the password, this once")
    if one.kind.names:
        facts.append(", ".join(f"{number} {name}" for number, name in one.kind.names.items()))
    if one.aliases:
        facts.append(f"original: {', '.join(one.aliases)}")
    default = one.kind.show(one.default)
    if default and not one.secret and one.changed_by != SERVER:
        facts.append(f"default {default}")
    facts.append(_WHO[one.changed_by])
    told: JsonObject = {"description": "; ".join(facts)}
    if one.aliases:
        told["x-original"] = list(one.aliases)
    if one.kind.names:
        told["x-enum-varnames"] = list(one.kind.names.values())
    if one.changed_by == SERVER:
        told["readOnly"] = True
    return told


def _shown(one: Field) -> JsonObject:
    """The JSON of a value as answers have it."""
    if one.name == "password":
        return {"type": ["boolean", "string"]}
    if one.secret:
        return {"type": "boolean"}
    if one.kind.name == "account":
        return {**_ID, "type": ["integer", "null"]}
    if one.kind.name in _LISTS:
        return dict(_TEXT)
    return dict(one.kind.schema)


def _taken(one: Field) -> JsonObject:
    """The JSON that is taken for a value; text of it always is, as in the console."""
    if one.secret:
        return {"type": ["string", "null"], "writeOnly": True, "maxLength": one.kind.schema["maxLength"]}
    if one.kind.name == "account":
        return {"anyOf": [_ID, _TEXT, {"type": "null"}]}
    if one.kind.name in ("partners", "members"):
        return {"anyOf": [_TEXT, {"type": "array", "items": {"anyOf": [_ID, _TEXT]}}, {"type": "null"}]}
    if one.kind.name in _LISTS:
        return {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}, {"type": "null"}]}
    if one.kind.name == "choice":
        words = {"type": "string", "enum": list(one.kind.names.values())}
        return {"anyOf": [dict(one.kind.schema), words]}
    if one.kind.name in ("money", "percent"):
        return {"type": ["string", "number", "null"], "format": "decimal"}
    if one.kind.schema["type"] == "string":
        return {**one.kind.schema, "type": ["string", "null"]}
    return dict(one.kind.schema)
