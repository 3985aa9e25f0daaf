"""What ``twistd mizu --help-plugins`` prints."""

from collections.abc import Sequence
from dataclasses import MISSING, fields

from mizu.config_pages import meaning, toml_value
from mizu.pluginset import KINDS, Plugin, discover
from mizu.settings import default_of, hints_of, is_secret, type_name


def listing(path: Sequence[str] = ()) -> str:
    """
    Every installed plugin: type, distribution and version, settings; and what is wrong with which.

    :param path: further directories with plugin files.
    """
    installed = discover(path)
    parts = []
    for kind in KINDS:
        parts.append(f"{kind.word.capitalize()}s, [[{kind.key}]] of the configuration:\n\n")
        parts.extend(_plugin(plugin) for plugin in installed.of(kind))
    for broken in installed.broken:
        parts.append(f"Cannot be imported: {broken}\n")
    parts.extend(f"{twin}\n" for twin in installed.twins)
    return "".join(parts)


def _plugin(plugin: Plugin) -> str:
    lines = [f'  type = "{plugin.name}"  ({plugin.origin})']
    if plugin.fault:
        return f"{lines[0]}\n    broken: {plugin.fault}\n\n"
    lines.append(f"    {plugin.factory.description}")
    cls = plugin.factory.settings
    for item in fields(cls):
        default = default_of(item)
        shown = "must be given" if default is MISSING else f"default {toml_value(default)}"
        if is_secret(item.name) and default is not MISSING:
            shown = "optional"
        lines.append(f"    {item.name}  ({type_name(hints_of(cls)[item.name])}, {shown})")
        if meaning(item):
            lines.append(f"        {meaning(item)}")
    if not fields(cls):
        lines.append("    no settings")
    return "\n".join(lines) + "\n\n"
