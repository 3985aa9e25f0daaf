"""Reads ``mizu.toml``, lays the command line over it, and finds everything that is wrong at once."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from mizu.config import Config
from mizu.errors import BadRequest, ConfigError
from mizu.settings import Listen, hints_of, read_values, split_address, unknown
from mizu.targets import parse_target

#: settings that name files; they count from the directory of the configuration file
FILE_SETTINGS = (
    ("sip", "tls_certificate"),
    ("sip", "tls_key"),
    ("sip", "tls_authorities"),
    ("plugins", "path"),
)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What the command line says; it wins over the file. ``None``: nothing."""

    listen: list[str] | None = None  #: ``--sip``
    http: str | None = None
    database: str | None = None
    data: str = "./var"
    demo: bool = False

    def values(self) -> dict[tuple[str, str], tuple[str, Any]]:
        """(section, key) to (option, value), for the options that were given."""
        given = {
            ("sip", "listen"): ("--sip", self.listen),
            ("http", "listen"): ("--http", self.http),
            ("database", "url"): ("--database", self.database),
        }
        return {key: pair for key, pair in given.items() if pair[1] is not None}


@dataclass(slots=True)
class _Reading:
    """One attempt: the problems so far and where each value came from."""

    file: str  #: as the user named it; empty: no file
    line: CommandLine
    problems: list[str] = field(default_factory=list)
    doubtful: set[tuple[str, str]] = field(default_factory=set)  #: complained about already

    @property
    def where(self) -> str:
        """What complaints about the file begin with."""
        return f"{self.file}: " if self.file else ""

    def complain(self, section: str, key: str, text: str) -> None:
        option = self.line.values().get((section, key))
        self.problems.append(f"{option[0]}: {text}" if option else f"{self.where}{section}.{key}: {text}")

    def sound(self, section: str, *keys: str) -> bool:
        return not any((section, key) in self.doubtful for key in keys)


def read_config(
    file: str = "",
    line: CommandLine | None = None,
    check_plugins: Callable[[Config, list[str], str], None] | None = None,
) -> Config:
    """
    The configuration the server runs with.

    :param file: path of the TOML file; empty: none, everything has its default.
    :param check_plugins: also looks at the plugins the configuration names
        (:func:`mizu.pluginset.check`); gets the configuration, the list of problems and what to put in
        front of a key.
    :raise ConfigError: with every problem, each with file and key.
    """
    reading = _Reading(file, line or CommandLine())
    tables = _load(reading)
    config = _assemble(tables, reading)
    _check_sip(config, reading)
    _check_proxies(config.registrar.path_from, reading)
    _check_numbers(config, reading)
    _check_outside(config, reading)
    if check_plugins is not None:
        check_plugins(config, reading.problems, reading.where)
    if reading.problems:
        raise ConfigError(reading.problems)
    return config


def _load(reading: _Reading) -> dict[str, Any]:
    if not reading.file:
        return {}
    try:
        with open(reading.file, "rb") as source:
            return tomllib.load(source)
    except OSError as wrong:
        reading.problems.append(f"{reading.file}: cannot be read: {wrong.strerror}")
    except UnicodeDecodeError as wrong:
        reading.problems.append(f"{reading.file}: not UTF-8 text, at byte {wrong.start}")
    except tomllib.TOMLDecodeError as wrong:
        reading.problems.append(f"{reading.file}: not TOML: {wrong}")
    return {}


def sections() -> dict[str, type]:
    """Section names and their classes, in the order of the file."""
    return {
        name: cls for name, cls in hints_of(Config).items() if isinstance(cls, type) and is_dataclass(cls)
    }


def _assemble(tables: Mapping[str, Any], reading: _Reading) -> Config:
    known, built = sections(), {}
    for name, table in tables.items():
        if name not in known:
            reading.problems.append(f"{reading.where}[{name}]: {unknown('section', name, known)}")
        elif not isinstance(table, dict):
            reading.problems.append(f"{reading.where}{name}: want a section, [{name}], got {table!r}")
    for name, cls in known.items():
        table = tables.get(name)
        table = table if isinstance(table, dict) else {}
        values = read_values(cls, table, f"{reading.where}{name}", reading.problems)
        reading.doubtful |= {(name, key) for key in table if key not in values}
        for section, key in FILE_SETTINGS:
            if section == name and key in values:
                values[key] = _beside(reading.file, values[key])
        for (section, key), (_option, value) in reading.line.values().items():
            if section == name:
                values[key] = value
                reading.doubtful.discard((name, key))
        built[name] = cls(**values)
    return Config(**built, data=os.path.abspath(reading.line.data), demo=reading.line.demo)


def _beside(file: str, value: Any) -> Any:
    """A path, or several, counted from the directory of the configuration file."""
    if isinstance(value, list):
        return [_beside(file, one) for one in value]
    return os.path.join(os.path.dirname(os.path.abspath(file)), os.path.expanduser(value)) if value else value


# ---------------------------------------------------------------- checks across settings


def _check_sip(config: Config, reading: _Reading) -> None:
    sip = config.sip
    if reading.sound("sip", "listen"):
        _check_listeners(sip.listen, reading)
    if bool(sip.tls_certificate) != bool(sip.tls_key) and reading.sound("sip", "tls_certificate", "tls_key"):
        missing = "tls_key" if sip.tls_certificate else "tls_certificate"
        reading.complain("sip", missing, "tls_certificate and tls_key belong together")
    needed = ["tls_authorities"]
    if any(spec.lower().startswith("tls:") for spec in sip.listen):
        needed += ["tls_certificate", "tls_key"]
    for key in needed:
        path = getattr(sip, key)
        if path and not os.access(path, os.R_OK):
            reading.complain("sip", key, f"{path} cannot be read")
    if sip.advertise and not re.fullmatch(r"[A-Za-z0-9.-]+|\[?[0-9A-Fa-f:.]+\]?", sip.advertise):
        reading.complain("sip", "advertise", f"{sip.advertise!r} must be a host name or address without port")
    if not sip.realm or '"' in sip.realm or "\\" in sip.realm:
        reading.complain("sip", "realm", 'must be a text without " and \\')
    if sip.t1_s > sip.t2_s and reading.sound("sip", "t1_s", "t2_s"):
        reading.complain("sip", "t1_s", f"{sip.t1_s} is more than t2_s, {sip.t2_s}")


def _check_listeners(specs: list[str], reading: _Reading) -> None:
    if not specs:
        reading.complain("sip", "listen", "at least one listener is needed, like udp:0.0.0.0:5060")
    example, seen = "a listener is like udp:0.0.0.0:5060 or tcp:[::]:5060", set()
    for spec in specs:
        try:
            listen = Listen.parse(spec)
        except ValueError as wrong:
            reading.complain("sip", "listen", f"{wrong}; {example}")
            continue
        if listen.port and listen in seen:
            reading.complain("sip", "listen", f"{spec!r} is there twice")
        seen.add(listen)


def _check_proxies(texts: list[str], reading: _Reading) -> None:
    if not reading.sound("registrar", "path_from"):
        return
    for text in texts:
        try:
            if parse_target(text).port:
                reading.complain("registrar", "path_from", f"{text!r}: without a port")
        except BadRequest as wrong:
            reading.complain("registrar", "path_from", str(wrong))


def _check_numbers(config: Config, reading: _Reading) -> None:
    call, auth = config.call, config.auth
    if call.session_min_s > call.session_expires_s and reading.sound(
        "call", "session_min_s", "session_expires_s"
    ):
        text = f"{call.session_min_s} is more than session_expires_s, {call.session_expires_s}"
        reading.complain("call", "session_min_s", text)
    if reading.sound("auth", "algorithms"):
        if not auth.algorithms:
            reading.complain("auth", "algorithms", "at least one is needed: SHA-256, MD5")
        if len(set(auth.algorithms)) != len(auth.algorithms):
            reading.complain("auth", "algorithms", "names an algorithm twice")
    if reading.sound("media", "echo_rtp_ports"):
        _check_ports(config.media.echo_rtp_ports, reading)


def _check_outside(config: Config, reading: _Reading) -> None:
    """Database, HTTP, directories."""
    url = config.database.url
    if url and not re.match(r"postgres(ql)?://", url):
        text = f"must begin with postgresql://, not {url.partition(':')[0][:20]!r}"
        reading.complain("database", "url", text)
    if config.http.listen and reading.sound("http", "listen"):
        try:
            split_address(config.http.listen)
        except ValueError as wrong:
            reading.complain("http", "listen", str(wrong))
    if reading.sound("plugins", "path"):
        for path in config.plugins.path:
            if not os.path.isdir(path):
                reading.complain("plugins", "path", f"{path} is not a directory")


def _check_ports(text: str, reading: _Reading) -> None:
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    if not match or low < 1 or high > 65_535 or high - low < 1:
        reading.complain(
            "media", "echo_rtp_ports", f"{text!r} must be LOW-HIGH, ports from 1 to 65535, two or more"
        )
