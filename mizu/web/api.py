"""Carries out requests to the JSON API: finds the route, gathers the arguments, runs the command, answers."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

from mizu.console.arguments import FLAG
from mizu.console.table import Command
from mizu.console.versions import VERSION
from mizu.console.words import json_name
from mizu.errors import BadRequest, MizuError, NotFound, Stale
from mizu.model import Operator
from mizu.web.api_routes import ITSELF, NEXT, PREFIX, ApiRoute, RouteTable
from mizu.web.policy import HttpRequest, UnsupportedMedia, content_type_of, require_content_type
from mizu.web.uploads import CSV

JSON = "application/json"
QUERY_MAX_FIELDS = 50
_ENTITY_TAG = re.compile(r'"v(\d{1,18})"\Z')


class PreconditionRequired(MizuError):
    """Changes of what is there must say of which version: nobody overwrites what he has not seen."""

    http_status, code = 428, "precondition_required"


class WrongMethod(MizuError):
    """The path has no such method."""

    http_status, code = 405, "method_not_allowed"

    def __init__(self, methods: list[str]) -> None:
        super().__init__(f"this path takes {', '.join(methods)}")
        self.methods = methods


async def respond(
    table: RouteTable, request: HttpRequest, path: str, operator: Operator
) -> tuple[int, Any, dict[str, str]]:
    """
    Answer one request below ``PREFIX``.

    :return: status, JSON value, headers. :raise MizuError: what is wrong with the request.
    """
    method = request.method.decode("latin-1")
    method = "GET" if method == "HEAD" else method
    if path == "/commands" and method == "GET":
        return 200, {"items": [command.described() for command in table.commands], "next": None}, {}
    if path.startswith("/commands/"):
        return await _run_command(table, request, path, method, operator)
    found = table.find(path)
    if not found:
        raise NotFound("there is no such path")
    for route, command, named in found:
        if route.method == method:
            return await _run_route(table, request, route, command, named, operator)
    raise WrongMethod(methods_of(table, path))


def methods_of(table: RouteTable, path: str) -> list[str]:
    """What a path below ``PREFIX`` takes; empty: there is no such path."""
    if path in table.by_path:
        return ["POST"]
    methods = {"GET"} if path == "/commands" else {route.method for route, _, _ in table.find(path)}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


async def _run_command(
    table: RouteTable, request: HttpRequest, path: str, method: str, operator: Operator
) -> tuple[int, Any, dict[str, str]]:
    command = table.by_path.get(path)
    if command is None:
        raise NotFound("there is no such command; GET /api/v1/commands lists them")
    if method != "POST":
        raise WrongMethod(["POST"])
    status, answer = await table.commands.answer_call(command, _body(request), operator)
    return status, answer, {}


async def _run_route(
    table: RouteTable,
    request: HttpRequest,
    route: ApiRoute,
    command: Command,
    named: Mapping[str, str],
    operator: Operator,
) -> tuple[int, Any, dict[str, str]]:
    if route.upload and content_type_of(request) == CSV:
        arguments = await _arguments_of_file(request, route, command)
    else:
        arguments = _arguments(request, route, command, named)
    status, answer = await table.commands.answer_call(command, arguments, operator)
    if not answer["ok"]:
        return status, answer, {}
    if route.items:
        return 200, _listed(route, command, arguments, answer["result"]), {}
    value = _cut(route, answer["result"])
    headers = {}
    if isinstance(value.get("version"), int):
        headers["etag"] = f'"v{value["version"]}"'
    if route.location and all(name in value for name in re.findall(r"\{(\w+)\}", route.location)):
        quoted = {name: quote(str(one), safe="") for name, one in value.items()}
        headers["location"] = PREFIX + route.location.format_map(quoted)
    return route.status, value, headers


def _arguments(
    request: HttpRequest, route: ApiRoute, command: Command, named: Mapping[str, str]
) -> dict[str, Any]:
    given: dict[str, Any] = {route.argument_name(name): value for name, value in named.items()}
    members = route.members(command)
    query = _query(request)
    if route.has_body:
        if query:
            raise BadRequest("arguments belong into the body, not behind '?'")
        body = _body(request)
        if route.body_as:
            given[route.body_as] = body
        else:
            _take(given, route, members, body)
    else:
        _take(
            given,
            route,
            members,
            {name: _of_query(members.get(name), value) for name, value in query.items()},
        )
    version = _version(request, route, command)
    if version is not None:
        given[VERSION] = version
    return given


async def _arguments_of_file(request: HttpRequest, route: ApiRoute, command: Command) -> dict[str, Any]:
    """The body is a file, and there by now; everything else is behind ``?``."""
    upload = getattr(request, "upload", None)
    if upload is None:
        raise UnsupportedMedia("this server takes no files here")
    await upload.admitted
    members = route.members(command)
    values = {name: _of_query(members.get(name), text) for name, text in _query(request).items()}
    name = values.pop(route.upload, "")  # what it is called; the command makes that presentable
    given: dict[str, Any] = {}
    _take(given, route, members, values)
    return {**given, route.upload: f"{upload.name}:{name}"}


def _take(
    given: dict[str, Any], route: ApiRoute, members: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    for name, value in values.items():
        if name not in members:
            known = ", ".join(members) or "none"
            raise BadRequest(f"no argument {name[:60]!r}; known: {known}")
        given[route.argument_name(name)] = value


def _of_query(argument: Any, text: str) -> Any:
    """A text behind ``?`` as JSON would have it."""
    if argument is not None and argument.kind is FLAG:
        if text not in ("true", "false"):
            raise BadRequest(f"{json_name(argument)}: want true or false")
        return text == "true"
    return text.split(",") if argument is not None and argument.many else text


def _query(request: HttpRequest) -> dict[str, str]:
    _, _, text = request.uri.partition(b"?")
    try:
        pairs = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_MAX_FIELDS
        )
    except ValueError:
        raise BadRequest("what follows '?' cannot be read") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise BadRequest("an argument is there twice")
    return values


def _body(request: HttpRequest) -> dict[str, Any]:
    """:raise BadRequest: not a JSON object. :raise UnsupportedMedia: it does not say that it is JSON."""
    require_content_type(request, JSON)
    try:
        value = json.loads(
            request.content.read(), parse_constant=_no_constant, object_pairs_hook=members_once
        )
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


def members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """
    A JSON object: who reads the same member twice must not take the other one (RFC 8259 4).

    :raise BadRequest: it has one twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise BadRequest(f"member {next(one for one in names if names.count(one) > 1)[:60]!r} is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _version(request: HttpRequest, route: ApiRoute, command: Command) -> int | None:
    """The version that ``If-Match`` names; ``None``: any (RFC 9110 13.1.1)."""
    given = request.requestHeaders.getRawHeaders(b"if-match") or []
    if not route.versioned(command):
        if given:
            raise BadRequest("If-Match has no meaning here; nothing was changed")
        return None
    if not given and route.adds:
        return None
    if not given:
        raise PreconditionRequired(
            "send If-Match with the ETag of what you have seen, or If-Match: * to overwrite whatever is there"
        )
    text = b",".join(given).decode("latin-1").strip()
    if text == "*":
        return None
    found = _ENTITY_TAG.match(text)
    if not found:
        raise Stale("If-Match names no version of this")
    return int(found[1])


def _listed(
    route: ApiRoute, command: Command, arguments: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[str, Any]:
    items = result[route.items]
    following = result["next"] if route.cursor == NEXT else None
    if route.paged and items and route.cursor != NEXT:
        usual = next(one.default for one in command.arguments if one.name == "limit")
        full = len(items) >= int(arguments.get("limit") or usual)
        if result.get("more", full):
            last = items[-1]
            following = str(last if route.cursor == ITSELF else last[route.cursor])
    return {"items": items, "next": following}


def _cut(route: ApiRoute, result: Any) -> dict[str, Any]:
    """The answer of a route for one thing: an object."""
    if not isinstance(result, Mapping):
        return {"result": result}
    inner = result.get(route.item) if route.item else None
    if not isinstance(inner, Mapping):
        return dict(result)
    return {**inner, **{name: value for name, value in result.items() if name != route.item}}
