"""The routes of the JSON API as a table: each says which command it is, and how its answer is cut out.

A route is there when its command is; what it does, who may, and what is noted in the audit list, are the
command's. ``mizu.web.api`` carries them out, ``mizu.web.openapi`` describes them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from mizu.console.table import Command, CommandTable
from mizu.console.versions import VERSION
from mizu.console.words import json_name

PREFIX = "/api/v1"
UPLOAD_PATH = "/imports"  #: takes a file as its body, too
ITSELF = "."  #: cursor of a list of texts
NEXT = ">"  #: cursor of a list whose command says itself where the next page begins: ``next``
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class ApiRoute:
    """One method of one path."""

    method: str
    path: str  #: below ``PREFIX``; ``{user}`` is the argument of that name
    command: str
    tag: str  #: heading in the document
    renamed: Mapping[str, str] = field(default_factory=dict)  #: name here -> argument of the command
    upload: str = ""  #: argument that may be a file sent as the body (``text/csv``), others behind ``?``
    body_as: str = ""  #: the whole body is this argument; empty: its members are arguments
    items: str = ""  #: member of the result that is the list; the answer is ``{"items", "next"}``
    cursor: str = ""  #: member of an item that ``after`` takes; for a route with ``items``
    item: str = ""  #: member of the result that is the answer; others are put beside its members
    shape: str = ""  #: schema of an item, in ``mizu.web.openapi.SHAPES``; empty: any object
    without: tuple[str, ...] = ()  #: arguments that make no sense here
    adds: bool = False  #: it only adds to what is there: ``If-Match`` may be left out
    status: int = 200
    location: str = ""  #: path of what was made, e.g. ``/accounts/{username}``, from members of the answer

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the quoted path."""
        parts = _NAME.split(self.path)
        return re.compile(
            "".join(
                f"(?P<{part}>[^/]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts)
            )
            + r"\Z"
        )

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Names in the path."""
        return tuple(_NAME.findall(self.path))

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")

    @property
    def paged(self) -> bool:
        return bool(self.cursor)

    def argument_name(self, name: str) -> str:
        return self.renamed.get(name, name)

    def versioned(self, command: Command) -> bool:
        """Does it take ``If-Match``? It demands it, unless it only ``adds``."""
        return VERSION not in self.without and any(one.name == VERSION for one in command.arguments)

    def members(self, command: Command) -> dict[str, Any]:
        """Arguments that are neither in the path nor the version, by the name they have here."""
        names = {self.argument_name(name) for name in self.places}
        back = {argument: name for name, argument in self.renamed.items()}
        return {
            back.get(json_name(one), json_name(one)): one
            for one in command.arguments
            if json_name(one) not in names and one.name != VERSION and one.name not in self.without
        }

    def problem(self, command: Command) -> str:
        """Why it cannot stand for that command; empty: it can."""
        known = {json_name(one) for one in command.arguments}
        wanted = {*map(self.argument_name, self.places), *self.renamed.values()}
        if self.body_as:
            wanted.add(self.body_as)
        if self.paged:
            wanted |= {self.argument_name("after"), "limit"}
        missing = sorted(wanted - known)
        return f"{self.method} {self.path}: {command.name!r} has no {', '.join(missing)}" if missing else ""


def _list(path: str, command: str, tag: str, items: str, shape: str, **more: Any) -> ApiRoute:
    return ApiRoute("GET", path, command, tag, items=items, shape=shape, **more)


def _do(method: str, path: str, command: str, tag: str, **more: Any) -> ApiRoute:
    return ApiRoute(method, path, command, tag, **more)


_ACCOUNT: dict[str, Any] = {"item": "user", "shape": "Account"}
_NEW_ACCOUNT: dict[str, Any] = {**_ACCOUNT, "status": 201, "location": "/accounts/{username}"}
_SIP_ACCOUNT: dict[str, Any] = {"item": "sip_account", "shape": "SipAccount"}
_GROUP: dict[str, Any] = {"item": "group", "shape": "Group"}
_NUMBER: dict[str, Any] = {"item": "number", "shape": "Number"}
_ADDRESS: dict[str, Any] = {"item": "address", "shape": "FurtherAddress"}
_OPTION: dict[str, Any] = {"item": "option", "shape": "Option"}

#: Every resource route. One whose command is not there is absent.
ROUTES: tuple[ApiRoute, ...] = (
    _list("/accounts", "users", "accounts", "users", "Account", cursor="username"),
    _do("POST", "/accounts", "adduser", "accounts", without=("count",), **_NEW_ACCOUNT),
    _do("GET", "/accounts/{user}", "describe", "accounts", **_ACCOUNT),
    _do("PATCH", "/accounts/{user}", "set", "accounts", body_as="fields", **_ACCOUNT),
    _do("DELETE", "/accounts/{user}", "deluser", "accounts"),
    _do("PUT", "/accounts/{user}/password", "passwd", "accounts"),
    _do("POST", "/accounts/{user}/enable", "enable", "accounts", **_ACCOUNT),
    _do("POST", "/accounts/{user}/disable", "disable", "accounts", **_ACCOUNT),
    _do(
        "POST",
        "/accounts/{template}/clone",
        "clone",
        "accounts",
        without=("count",),
        **_NEW_ACCOUNT,
    ),
    _do("POST", "/accounts/{user}/move", "move", "accounts", **_ACCOUNT),
    _list("/tree", "tree", "accounts", "tree", "Node", cursor=NEXT),
    _list("/imports", "import status", "accounts", "imports", "", cursor="number"),
    _do("POST", UPLOAD_PATH, "import", "accounts", item="import", upload="file"),
    _do("DELETE", "/imports", "import cancel", "accounts", item="import"),
    _do("POST", "/exports", "export", "accounts"),
    _do("GET", "/authtest", "authtest", "accounts"),
    _list("/groups", "group list", "groups", "groups", "Group", cursor="name"),
    _do("POST", "/groups", "group add", "groups", status=201, location="/groups/{name}", **_GROUP),
    _do("GET", "/groups/{name}", "group get", "groups", **_GROUP),
    _do("PATCH", "/groups/{name}", "group set", "groups", **_GROUP),
    _do("DELETE", "/groups/{name}", "group del", "groups", **_GROUP),
    _list("/groups/{name}/members", "group members", "groups", "members", "Name", cursor=ITSELF),
    _do("POST", "/groups/{name}/members", "group join", "groups", adds=True),
    _do("DELETE", "/groups/{name}/members/{member}", "group leave", "groups", renamed={"member": "members"}),
    _list("/numbers", "numbers list", "numbers", "numbers", "Number", cursor="number"),
    _do("POST", "/numbers", "numbers add", "numbers"),
    _do("GET", "/numbers/{number}", "numbers get", "numbers", **_NUMBER),
    _do("PATCH", "/numbers/{number}", "numbers set", "numbers", **_NUMBER),
    _do("DELETE", "/numbers/{number}", "numbers del", "numbers", **_NUMBER),
    _do("POST", "/numbers/{number}/allocate", "numbers allocate", "numbers", adds=True, **_NUMBER),
    _do("POST", "/numbers/{number}/free", "numbers free", "numbers", **_NUMBER),
    _do("POST", "/accounts/{account}/numbers", "numbers allocate", "numbers", without=(VERSION,), **_NUMBER),
    _list(
        "/accounts/{user}/addresses",
        "addresses list",
        "accounts",
        "addresses",
        "FurtherAddress",
        cursor=NEXT,
    ),
    _do("POST", "/accounts/{user}/addresses", "addresses add", "accounts", adds=True, **_ADDRESS),
    _do("DELETE", "/accounts/{user}/addresses/{address}", "addresses del", "accounts"),
    _list("/sip-accounts", "sipaccounts list", "sip-accounts", "sip_accounts", "SipAccount", cursor=NEXT),
    _do(
        "POST",
        "/sip-accounts",
        "sipaccounts add",
        "sip-accounts",
        status=201,
        location="/sip-accounts/{id}",
        **_SIP_ACCOUNT,
    ),
    _do("GET", "/sip-accounts/{id}", "sipaccounts get", "sip-accounts", **_SIP_ACCOUNT),
    _do("PATCH", "/sip-accounts/{id}", "sipaccounts set", "sip-accounts", body_as="fields", **_SIP_ACCOUNT),
    _do("PUT", "/sip-accounts/{id}/password", "sipaccounts passwd", "sip-accounts", **_SIP_ACCOUNT),
    _do("DELETE", "/sip-accounts/{id}", "sipaccounts del", "sip-accounts", **_SIP_ACCOUNT),
    _list("/bans", "banned", "guard", "bans", "Ban", cursor=NEXT),
    _do("POST", "/bans", "ban", "guard"),
    _do("DELETE", "/bans", "delbanned", "guard"),
    _do("DELETE", "/bans/{target}", "unban", "guard"),
    _list("/whitelist", "whitelist list", "guard", "whitelist", "Trusted", cursor=NEXT),
    _do("POST", "/whitelist", "whitelist add", "guard"),
    _do("DELETE", "/whitelist/{target}", "whitelist del", "guard"),
    _list("/failures", "failures", "guard", "failures", "Failure", cursor=NEXT),
    _list("/registrations", "regs", "registrations", "registrations", "Registration", cursor="username"),
    _do("DELETE", "/registrations/{user}", "unreg", "registrations"),
    _list("/calls", "calls", "calls", "calls", "Call", cursor=NEXT),
    _do("DELETE", "/calls/{id}", "drop", "calls"),
    _list("/cdrs", "cdrs", "calls", "cdrs", "Cdr", cursor="call_id", renamed={"after": "before"}),
    _list("/options", "options", "options", "options", "Option", cursor=NEXT),
    _do("GET", "/options/{name}", "options get", "options", **_OPTION),
    _do("PATCH", "/options/{name}", "options set", "options", **_OPTION),
    _do("DELETE", "/options/{name}", "options reset", "options", **_OPTION),
    _list("/tokens", "tokens list", "tokens", "tokens", "Token", cursor="id"),
    _do("POST", "/tokens", "tokens add", "tokens", status=201, item="token", shape="Token"),
    _do("DELETE", "/tokens/{id}", "tokens revoke", "tokens", item="token", shape="Token"),
    _list("/audit", "audit", "audit", "entries", "AuditEntry", cursor="id", renamed={"after": "before"}),
    _do("GET", "/status", "status", "server"),
)


def command_path(name: str) -> str:
    """Path of a command in its generic form."""
    return "/commands/" + name.replace(" ", "/")


class RouteTable:
    """The routes of one command table."""

    def __init__(self, commands: CommandTable, routes: tuple[ApiRoute, ...] = ROUTES) -> None:
        self.commands = commands
        self.routes = [
            (route, command) for route, command in _bound(commands, routes) if not route.problem(command)
        ]
        self.by_path = {command_path(command.name): command for command in commands}

    def find(self, path: str) -> list[tuple[ApiRoute, Command, dict[str, str]]]:
        """Routes of a path (quoted, below ``PREFIX``), one for each method, with the names in the path."""
        found = []
        for route, command in self.routes:
            if match := route.pattern.match(path):
                named = {name: unquote(text) for name, text in match.groupdict().items()}
                found.append((route, command, named))
        return found


def _bound(commands: CommandTable, routes: tuple[ApiRoute, ...]) -> list[tuple[ApiRoute, Command]]:
    pairs = [(route, commands.get(route.command)) for route in routes]
    return [(route, command) for route, command in pairs if command is not None]
