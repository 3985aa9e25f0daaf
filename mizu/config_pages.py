"""``etc/mizu.toml`` and the settings page of the documentation, made from the settings themselves.

``python -m mizu.config_pages`` prints the first, with ``--rst`` the second.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args

from mizu.config_file import sections
from mizu.interfaces import IAuthBackendFactory
from mizu.plugins import mizu_core
from mizu.settings import default_of, hints_of, type_name

UNITS = {
    "_s": "seconds",
    "_ms": "milliseconds",
    "_bytes": "bytes",
    "_per_minute": "per minute",
    "_per_s_per_address": "per second and address",
}

HEAD = """\
# mizu.toml: every setting with its default. Take the "#" away in front of what you change.
# Start with: twistd -n mizu --config mizu.toml
# Names of files and directories count from the directory of this file.
# Made from mizu/config.py by "make etc"; a test compares.
"""


def unit_of(name: str) -> str:
    """The unit a setting's name ends in, in words; empty: none."""
    return next((word for ending, word in UNITS.items() if name.endswith(ending)), "")


def toml_value(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def meaning(item: "Field[Any]") -> str:
    """The explanation of a setting with its unit and bounds."""
    notes = [unit_of(item.name)]
    least, most = item.metadata.get("least"), item.metadata.get("most")
    notes.append(f"at least {least:g}" if least else "")
    notes.append(f"at most {most:g}" if most is not None else "")
    notes.append("one of " + ", ".join(item.metadata["choices"]) if item.metadata.get("choices") else "")
    shown = ", ".join(note for note in notes if note)
    doc = str(item.metadata.get("doc") or "")
    return f"{doc} ({shown})" if doc and shown else doc or shown


def _plugins() -> Iterator[tuple[str, str, Any]]:
    """Section, list key and factory of every built-in plugin."""
    for factory in vars(mizu_core).values():
        if hasattr(factory, "build") and not isinstance(factory, type):
            auth = IAuthBackendFactory.providedBy(factory)
            yield ("auth", "backend", factory) if auth else ("routing", "router", factory)


def _is_tables(name: str, section: str) -> bool:
    return (section, name) in {("auth", "backend"), ("routing", "router"), ("guard", "export")}


def _comment(text: str) -> str:
    return f"# {text}\n" if text else ""


def _toml_plugin(cls: type, where: str) -> str:
    """Every setting of a plugin, commented out; tables in it as tables."""
    lines, tables = [], []
    hints = hints_of(cls)
    for item in fields(cls):
        inner = inner_table(hints[item.name])
        if inner is not None:
            tables.append(f"#\n#   [[{where}.{item.name}]]\n{_toml_plugin(inner, f'{where}.{item.name}')}")
            continue
        default = default_of(item)
        shown = f"{item.name} = {example_of(hints[item.name]) if default is MISSING else toml_value(default)}"
        must = "must be given: " if default is MISSING else ""
        lines.append(f"#   {shown}  # {must}{meaning(item)}\n")
    return "".join([*lines, *tables])


def inner_table(hint: Any) -> type | None:
    """The dataclass that a setting is made of, alone or in a list."""
    return next((one for one in (hint, *get_args(hint)) if isinstance(one, type) and is_dataclass(one)), None)


def example_of(hint: Any) -> str:
    """What stands in the place of a setting that has no default."""
    return {int: "0", float: "0.0", bool: "false"}.get(hint, '["..."]' if get_args(hint) else '"..."')


def toml() -> str:
    """The text of ``etc/mizu.toml``."""
    parts = [HEAD]
    for section, cls in sections().items():
        title = (cls.__doc__ or "").strip().partition("\n")[0].replace("``", "")
        parts.append(f"\n\n# ---- {title}\n[{section}]\n")
        for item in fields(cls):
            if _is_tables(item.name, section):
                parts.append(_toml_tables(section, item))
            else:
                parts.append(f"\n{_comment(meaning(item))}#{item.name} = {toml_value(default_of(item))}\n")
    return "".join(parts)


def _toml_tables(section: str, item: "Field[Any]") -> str:
    parts = [f"\n{_comment(meaning(item))}"]
    for table in default_of(item):
        parts.append(f"#[[{section}.{item.name}]]\n")
        parts.extend(f"#{key} = {toml_value(value)}\n" for key, value in table.items())
    for part, key, factory in _plugins():
        if (part, key) == (section, item.name):
            parts.append(f'#\n# with type = "{factory.name}": {factory.description}\n')
            parts.append(_toml_plugin(factory.settings, f"{section}.{item.name}"))
    return "".join(parts)


def rst() -> str:
    """The text of ``docs/settings.rst``."""
    parts = [
        "Settings\n========\n\n",
        "Every setting of ``mizu.toml``. Made from ``mizu/config.py`` by ``make etc``; a test compares.\n",
        "Names of files and directories count from the directory of the configuration file.\n",
    ]
    for section, cls in sections().items():
        title = f"[{section}]"
        text = (cls.__doc__ or "").strip().partition(": ")[2]
        parts.append(f"\n{title}\n{'-' * len(title)}\n\n")
        parts.append(f"{text[:1].upper()}{text[1:]}\n\n" if text else "")
        for item in fields(cls):
            parts.append(_rst_setting(cls, item))
        for part, key, factory in _plugins():
            if part == section:
                parts.append(_rst_plugin(f"[[{section}.{key}]]", factory))
    return "".join(parts)


def _rst_setting(cls: type, item: "Field[Any]") -> str:
    default = default_of(item)
    shown = "must be given" if default is MISSING else f"default ``{toml_value(default)}``"
    kind = type_name(hints_of(cls)[item.name])
    return f"``{item.name}``\n    {meaning(item)}.\n    *{kind}*, {shown}\n\n"


def _rst_plugin(tables: str, factory: Any) -> str:
    title = f'{tables} type = "{factory.name}"'
    text = f"\n{title}\n{'~' * len(title)}\n\n{factory.description[:1].upper()}{factory.description[1:]}.\n\n"
    return text + _rst_settings(factory.settings, tables.strip("[]"))


def _rst_settings(cls: type, where: str) -> str:
    """Every setting of a plugin, then those of the tables in it."""
    parts, tables = [], []
    for item in fields(cls):
        parts.append(_rst_setting(cls, item))
        inner = inner_table(hints_of(cls)[item.name])
        if inner is not None:
            tables.append(
                f"Of ``[[{where}.{item.name}]]``:\n\n{_rst_settings(inner, f'{where}.{item.name}')}"
            )
    return "".join([*parts, *tables])


if __name__ == "__main__":
    sys.stdout.write(rst() if "--rst" in sys.argv[1:] else toml())
