"""Settings as frozen dataclasses: how a field is declared, and how a table of a TOML file becomes one.

The same rules read the sections of ``mizu.toml`` and the settings of plugins. Every complaint is collected,
so that one look shows all that is wrong.
"""

import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

T = TypeVar("T")

#: names that end so are not shown when settings are printed
SECRET_NAMES = ("password", "secret", "token", "ha1", "private_key")


def setting(
    default: Any = MISSING,
    doc: str = "",
    *,
    least: float | None = None,
    most: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """
    A field with its explanation; a list or dict default is copied for each instance.

    :param default: left out: the setting must be given.
    :param least: smallest number allowed (for each number of a list).
    :param most: largest number allowed.
    :param choices: the only texts allowed (for each text of a list).
    """
    metadata = {"doc": doc, "least": least, "most": most, "choices": tuple(choices)}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def is_secret(name: str) -> bool:
    """Whether the value of a setting of this name must not be shown."""
    return name.lower().endswith(SECRET_NAMES)


def default_of(item: "Field[Any]") -> Any:
    """The default of a field, ``MISSING`` when it must be given."""
    return item.default_factory() if item.default_factory is not MISSING else item.default


def hints_of(cls: type) -> dict[str, Any]:
    """Field names and their types, resolved."""
    hints = typing.get_type_hints(cls)
    return {item.name: hints[item.name] for item in fields(cls) if item.init}


@dataclass(frozen=True, slots=True)
class Listen:
    """``PROTO:HOST:PORT`` taken apart. IPv6 is without its brackets."""

    proto: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, protos: Sequence[str] = ("udp", "tcp", "tls")) -> "Listen":
        """:raise ValueError: says what is wrong with the text."""
        proto, colon, rest = text.partition(":")
        if not colon or proto.lower() not in protos:
            raise ValueError(f"{text!r} must begin with {' or '.join(p + ':' for p in protos)}")
        host, port = split_address(rest)
        return cls(proto.lower(), host, port)

    def __str__(self) -> str:
        return f"{self.proto}:{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def split_address(text: str) -> tuple[str, int]:
    """``HOST:PORT``, an IPv6 host in brackets. :raise ValueError: says what is wrong with the text."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} must be HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, like [::1]:5060")
    if not host:
        raise ValueError(f"{text!r} has no host")
    if not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ValueError(f"{text!r}: the port must be a number from 0 to 65535")
    return host, int(port)


def read_section(cls: type[T], table: Mapping[str, Any], where: str, problems: list[str]) -> T | None:
    """
    Build ``cls``, a dataclass of settings, from a TOML table.

    :param where: file and key of the table, what every complaint begins with.
    :param problems: gets one sentence for each thing that is wrong.
    :return: ``None`` when anything was wrong.
    """
    before = len(problems)
    values = read_values(cls, table, where, problems)
    return cls(**values) if len(problems) == before else None


def read_values(cls: type, table: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """What of ``table`` is right, by field name; see :func:`read_section`."""
    hints, values = hints_of(cls), {}
    known = {item.name: item for item in fields(cls) if item.init}
    for key in table:
        if key not in known:
            problems.append(f"{_at(where, key)}: {unknown('setting', key, known)}")
    for name, item in known.items():
        here = _at(where, name)
        if name in table:
            before = len(problems)
            value = _convert(table[name], hints[name], here, problems)
            if len(problems) == before:
                _check(value, item, here, problems)
            if len(problems) == before:
                values[name] = value
        elif default_of(item) is MISSING:
            meaning = item.metadata.get("doc") or type_name(hints[name])
            problems.append(f"{here}: must be given ({meaning})")
    return values


def unknown(kind: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """What to say of a name that does not exist: the nearest one that does, else all."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    if near:
        return f"no such {kind}; did you mean {near[0]!r}?"
    return f"no such {kind}; known: {', '.join(sorted(known)) or 'none'}"


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where and not where.endswith(" ") else f"{where}{key}"


def _check(value: Any, item: "Field[Any]", where: str, problems: list[str]) -> None:
    least, most = item.metadata.get("least"), item.metadata.get("most")
    choices = item.metadata.get("choices") or ()
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, int | float) and not isinstance(one, bool):
            if least is not None and one < least:
                problems.append(f"{where}: {one} is too small, the least is {least}")
            if most is not None and one > most:
                problems.append(f"{where}: {one} is too large, the most is {most}")
        elif isinstance(one, str) and choices and one not in choices:
            problems.append(f"{where}: {one!r} is not one of {', '.join(choices)}")


def type_name(hint: Any) -> str:
    """A type in the words of somebody who writes a TOML file."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(one) for one in args if one is not types.NoneType)
    if origin is Literal:
        return " or ".join(repr(one) for one in args)
    if origin in (list, tuple, Sequence):
        inner = type_name(args[0]) if args else "anything"
        return "list of tables" if inner == "table" else f"list of {inner}"
    if (
        origin in (dict, Mapping)
        or hint in (dict, Mapping)
        or (isinstance(hint, type) and is_dataclass(hint))
    ):
        return "table"
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", list: "list"}
    return names.get(hint, "anything")


def _wrong(value: Any, hint: Any, where: str, problems: list[str]) -> None:
    shown = "a secret of another type" if is_secret(where.rpartition(".")[2]) else repr(value)
    problems.append(f"{where}: want {type_name(hint)}, got {shown}")


def _convert(value: Any, hint: Any, where: str, problems: list[str]) -> Any:
    """``value`` as the type ``hint`` wants it; a complaint when it is not of that type."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return value
    if hint is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    if origin in (Union, types.UnionType):
        return _convert_union(value, hint, where, problems)
    if origin is Literal:
        if value in args:
            return value
    elif origin in (list, tuple, Sequence):
        if isinstance(value, list):
            inner = args[0] if args else Any
            made = [_convert(one, inner, f"{where}[{n}]", problems) for n, one in enumerate(value, 1)]
            return made if origin is list else tuple(made)
    elif origin in (dict, Mapping):
        if isinstance(value, dict):
            return {key: _convert(one, args[1], _at(where, key), problems) for key, one in value.items()}
    elif is_dataclass(hint):
        if isinstance(value, dict):
            return read_section(hint, value, where, problems)  # type: ignore[arg-type]
    elif type(value) is hint and (hint is not float or math.isfinite(value)):
        return value
    _wrong(value, hint, where, problems)
    return None


def _convert_union(value: Any, hint: Any, where: str, problems: list[str]) -> Any:
    """The first alternative that takes the value."""
    for one in get_args(hint):
        if one is types.NoneType:
            continue
        attempt: list[str] = []
        made = _convert(value, one, where, attempt)
        if not attempt:
            return made
    _wrong(value, hint, where, problems)
    return None


def redact(value: Any, name: str = "") -> Any:
    """A copy of a setting's value fit for a log: secrets, and passwords inside URLs, become ``***``."""
    if name and is_secret(name) and value:
        return "***"
    if isinstance(value, str):
        return _redact_url(value)
    if isinstance(value, Mapping):
        return {key: redact(one, str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redact(one, name) for one in value]
    return value


def _redact_url(text: str) -> str:
    """``scheme://user:password@host`` without the password; ``password=...`` of a query or DSN too."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    authority, slash, tail = rest.partition("/")
    login, at, host = authority.rpartition("@")
    if at and ":" in login:
        login = login.partition(":")[0] + ":***"
    head, question, query = tail.partition("?")
    if question:
        parts = [part.partition("=") for part in query.split("&")]
        query = "&".join(f"{key}{equals}{'***' if is_secret(key) else one}" for key, equals, one in parts)
    return f"{scheme}{mark}{login}{at}{host}{slash}{head}{question}{query}"
