"""The OpenAPI 3.1 document of the JSON API, made from the command table and the route table."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mizu.console.arguments import ASSIGNMENT, Argument
from mizu.console.field_schemas import CHANGES, schemas
from mizu.console.table import PERMISSIONS, Command
from mizu.console.words import json_name
from mizu.web.api_routes import PREFIX, ApiRoute, RouteTable, command_path
from mizu.web.uploads import CSV

JsonObject = dict[str, Any]

_TEXT: JsonObject = {"type": "string"}
_NUMBER: JsonObject = {"type": "number"}
_WHOLE: JsonObject = {"type": "integer"}
_BOOL: JsonObject = {"type": "boolean"}
_TIME: JsonObject = {"type": "string", "format": "date-time"}
_ANY: JsonObject = {}


def _optional(schema: JsonObject) -> JsonObject:
    return {**schema, "type": [schema["type"], "null"]}


def _object(required: Mapping[str, JsonObject], **optional: JsonObject) -> JsonObject:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


#: What a member of an answer is made of. More members may come; those required do not go.
SHAPES: dict[str, JsonObject] = {
    **schemas(),
    "Node": _object(
        {
            "level": _WHOLE,
            "id": _WHOLE,
            "username": _TEXT,
            "type": _WHOLE,
            "enabled": _BOOL,
            "suspended": _BOOL,
            "children": _WHOLE,
        }
    ),
    "Registration": _object(
        {"username": _TEXT, "contact": _TEXT, "expires_at": _TIME, "proto": _TEXT, "received_host": _TEXT}
    ),
    "Call": _object(
        {
            "call_id": _TEXT,
            "state": _TEXT,
            "caller": _TEXT,
            "called_number": _TEXT,
            "setup_at": _TIME,
            "age_s": _NUMBER,
            "talk_s": _NUMBER,
        }
    ),
    "Cdr": _object(
        {
            "call_id": _TEXT,
            "state": _TEXT,
            "caller": _TEXT,
            "called_number": _TEXT,
            "setup_at": _TIME,
            "end_at": _optional(_TIME),
            "talk_s": _optional(_NUMBER),
            "cause": _TEXT,
        }
    ),
    "Option": _object(
        {
            "name": _TEXT,
            "value": _ANY,
            "text": _TEXT,
            "default": _ANY,
            "is_set": _BOOL,
            "version": _WHOLE,
            "type": _TEXT,
            "unit": _TEXT,
            "meaning": _TEXT,
            "group": _TEXT,
        }
    ),
    "Token": _object(
        {
            "id": _WHOLE,
            "username": _TEXT,
            "rights": _TEXT,
            "scope": _TEXT,
            "state": {"type": "string", "enum": ["valid", "expired", "revoked"]},
            "expires_at": _optional(_TIME),
        },
        secret={"type": "string", "description": "the token; only in the answer that makes it"},
    ),
    "AuditEntry": _object(
        {
            "id": _WHOLE,
            "begun_at": _TIME,
            "ended_at": _optional(_TIME),
            "who": _TEXT,
            "source": _TEXT,
            "command": _TEXT,
            "line": _TEXT,
            "outcome": _TEXT,
            "changes": {"type": "array", "items": {"type": "object"}},
        }
    ),
    "Name": _TEXT,
    "Group": _object(
        {
            "id": _WHOLE,
            "name": _TEXT,
            "kind": _WHOLE,
            "kind_name": _TEXT,
            "note": _TEXT,
            "version": _WHOLE,
        }
    ),
    "Number": _object(
        {
            "number": _TEXT,
            "free": _BOOL,
            "account": _TEXT,
            "holder": _TEXT,
            "note": _TEXT,
            "version": _WHOLE,
        }
    ),
    "FurtherAddress": _object({"address": _TEXT, "port": _WHOLE, "note": _TEXT}),
    "Ban": _object(
        {"target": _TEXT, "reason": _TEXT, "by": _TEXT, "begun_at": _TIME, "until_at": _optional(_TIME)}
    ),
    "Trusted": _object({"target": _TEXT, "note": _TEXT}),
    "Failure": _object({"what": _TEXT, "who": _TEXT, "count": _WHOLE, "left_s": _NUMBER}),
    "Command": _object(
        {"name": _TEXT, "usage": _TEXT, "help": _TEXT, "changes": _BOOL, "arguments": {"type": "array"}}
    ),
}
_LINES: JsonObject = {"type": "array", "items": _TEXT, "description": "for people"}
_SCHEMAS: dict[str, JsonObject] = {
    **SHAPES,
    "Done": _object({"ok": {"const": True}, "error": {"const": ""}, "lines": _LINES, "result": _ANY}),
    "Error": _object(
        {
            "ok": {"const": False},
            "error": {
                "type": "string",
                "description": "a stable word: not_found, conflict, stale, usage, ...",
            },
            "lines": _LINES,
            "result": {"type": "null"},
        }
    ),
}
_REFUSALS = {
    "400": "the request cannot be understood; the text says why",
    "401": "no valid token",
    "403": "the operator may not do this",
    "404": "there is no such thing, or not for this operator",
    "409": "the thing exists already, or its state forbids this",
    "412": "somebody changed it since the version in If-Match; nothing was changed",
    "413": "the body is too large",
    "415": "the body is not application/json",
    "428": "If-Match is missing",
    "429": "too many wrong tokens from this address",
    "500": "a fault of the server; its log has the details",
    "503": "the database or the server is busy or starting; Retry-After says when to try again",
}


def document(table: RouteTable, version: str) -> JsonObject:
    """The whole document as JSON."""
    paths: dict[str, JsonObject] = {}
    for route, command in table.routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, command)
    listing = _list_of("Command")
    paths["/commands"] = {
        "get": {
            "operationId": "listCommands",
            "summary": "every command with its arguments",
            "tags": ["commands"],
            "responses": {
                "200": _answer("the commands", listing),
                **_refusals("401", "403", "429", "500", "503"),
            },
        }
    }
    shapes = {command.name: route.shape for route, command in table.routes}
    for command in table.commands:
        paths[command_path(command.name)] = {
            "post": _command_operation(command, shapes.get(command.name, ""))
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mizu",
            "version": version,
            "description": "Operating a Mizu softswitch. Every path is a command of its console, see "
            "/commands; changes are noted in the audit list.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys([*(r.tag for r, _ in table.routes), "commands"])],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _SCHEMAS,
            "responses": {
                f"E{status}": _answer(text, {"$ref": "#/components/schemas/Error"})
                for status, text in _REFUSALS.items()
            },
        },
    }


def _operation(route: ApiRoute, command: Command) -> JsonObject:
    members: dict[str, Argument] = route.members(command)
    versioned = route.versioned(command)
    statuses = ["400", "401", "403", "404", "409", "429", "500", "503"]
    statuses += ["412"] if versioned else []
    statuses += ["428"] if versioned and not route.adds else []
    statuses += ["413", "415"] if route.has_body else []
    success = _answer(command.help, _shape_of(route))
    headers: JsonObject = {}
    if "version" in SHAPES.get(route.shape, {}).get("required", ()) and not route.items:
        headers["ETag"] = {"schema": _TEXT, "description": "the version, for If-Match"}
    if route.location:
        headers["Location"] = {"schema": _TEXT}
    if headers:
        success["headers"] = headers
    operation: JsonObject = {
        "operationId": _identifier(route),
        "summary": command.help,
        "description": _description(command),
        "tags": [route.tag],
        "parameters": [_path_parameter(route, command, name) for name in route.places],
        "responses": {str(route.status): success, **_refusals(*statuses)},
    }
    if versioned:
        operation["parameters"].append(
            {
                "name": "If-Match",
                "in": "header",
                "required": not route.adds,
                "schema": _TEXT,
                "description": "the ETag of what was seen, or *",
            }
        )
    if not route.has_body:
        operation["parameters"] += [
            {
                "name": name,
                "in": "query",
                "required": one.required,
                "schema": _schema_of(one),
                "description": one.help,
            }
            for name, one in members.items()
        ]
    elif route.body_as:
        one = next(a for a in command.arguments if json_name(a) == route.body_as)
        body = {"$ref": _ref(CHANGES[route.shape])} if one.kind is ASSIGNMENT else {"type": "object"}
        operation["requestBody"] = _body_of({**body, "minProperties": 1, "description": one.help})
    else:
        operation["requestBody"] = _body_of(_arguments_schema(members, route.shape))
    if route.upload:
        _add_upload(operation, route, members)
    return operation


def _add_upload(operation: JsonObject, route: ApiRoute, members: Mapping[str, Argument]) -> None:
    """The body may also be the file; then the other arguments are behind ``?``."""
    operation["requestBody"]["content"][CSV] = {
        "schema": {
            "type": "string",
            "description": "the file, up to [http] upload_bytes",
        }
    }
    operation["parameters"] += [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": _schema_of(one),
            "description": f"with a body of {CSV}: {_named(one.help, of_file=name == route.upload)}",
        }
        for name, one in members.items()
    ]


def _named(text: str, *, of_file: bool) -> str:
    return "what the file is called, for messages" if of_file else text


def _command_operation(command: Command, shape: str) -> JsonObject:
    members = {json_name(one): one for one in command.arguments}
    done = {"$ref": "#/components/schemas/Done"}
    statuses = ("400", "401", "403", "404", "405", "409", "412", "413", "415", "429", "500", "503")
    return {
        "operationId": "run_" + re.sub(r"\W", "_", command.name),
        "summary": command.help,
        "description": _description(command),
        "tags": ["commands"],
        "requestBody": _body_of(_arguments_schema(members, shape)),
        "responses": {
            "200": _answer("done", done),
            **_refusals(*(one for one in statuses if one in _REFUSALS)),
        },
    }


def _description(command: Command) -> str:
    needs = f"Needs the rights {PERMISSIONS[command.permission].name.lower()}."
    limited = "" if command.scoped else " Not for operators who are limited to some accounts."
    return " ".join((command.details.strip(), needs)).strip() + limited


def _identifier(route: ApiRoute) -> str:
    words = re.sub(r"[{}]", "", route.path).strip("/").replace("/", "_")
    return f"{route.method.lower()}_{words}" + ("_list" if route.items else "")


def _path_parameter(route: ApiRoute, command: Command, name: str) -> JsonObject:
    one = next(a for a in command.arguments if json_name(a) == route.argument_name(name))
    schema = dict(one.kind.schema)
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": one.help}


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}"


def _schema_of(one: Argument, shape: str = "") -> JsonObject:
    schema: JsonObject = (
        {"type": "array", "items": dict(one.kind.schema)} if one.many else dict(one.kind.schema)
    )
    if one.kind is ASSIGNMENT:
        fields = {"$ref": _ref(CHANGES[shape])} if shape in CHANGES else {"type": "object"}
        schema = {"oneOf": [fields, schema]}
    if one.null is not None and "type" in schema:
        schema = _optional(schema)
    if one.default is not None and not one.secret and "oneOf" not in schema:
        schema["default"] = one.default
    return schema


def _arguments_schema(members: Mapping[str, Argument], shape: str = "") -> JsonObject:
    schema: JsonObject = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {**_schema_of(one, shape), "description": one.help} for name, one in members.items()
        },
    }
    required = [name for name, one in members.items() if one.required]
    return {**schema, "required": required} if required else schema


def _body_of(schema: JsonObject) -> JsonObject:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _answer(text: str, schema: JsonObject) -> JsonObject:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: str) -> JsonObject:
    return {status: {"$ref": f"#/components/responses/E{status}"} for status in sorted(statuses)}


def _list_of(shape: str) -> JsonObject:
    items: JsonObject = {"$ref": f"#/components/schemas/{shape}"} if shape else {"type": "object"}
    return _object(
        {
            "items": {"type": "array", "items": items},
            "next": {"type": ["string", "null"], "description": "for 'after'; null: that is all"},
        }
    )


def _shape_of(route: ApiRoute) -> JsonObject:
    if route.items:
        return _list_of(route.shape)
    if route.shape:
        return {"$ref": f"#/components/schemas/{route.shape}"}
    return {"type": "object"}


def operations(paths: Mapping[str, JsonObject]) -> Iterable[tuple[str, str, JsonObject]]:
    """Method, path and operation of each in a document; for tests and tools."""
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield method.upper(), path, operation
