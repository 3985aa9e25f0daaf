"""The page of global options in the documentation, made from the options themselves.

``python -m mizu.option_pages`` prints it.
"""

import sys
from itertools import groupby

from mizu.options import Options, OptionSpec

HEAD = """\
Options
=======

Matters of business that hold on every node of a database and change while it runs. Made from
``mizu/options.py`` by ``make etc``; a test compares. What belongs to one machine (addresses, files, limits of
memory) is in its configuration file, see `settings.rst <settings.rst>`_.

::

    $ mizu options registration          list those of a group, or whose name begins so
    $ mizu options get upperexpire       explain one: value, default, type, unit, meaning
    $ mizu options set upperexpire 10m   give it a value; wrong ones are refused with what would be right
    $ mizu options reset upperexpire     let its default hold again
    $ mizu options --only set            what somebody set

Through the JSON API: ``GET /api/v1/options``, ``PATCH /api/v1/options/upperexpire`` with
``{"value": "10m"}``, ``DELETE`` for the default; see `api.rst <api.rst>`_.

A value is checked, kept in the table ``option``, and holds on the node at once, on the others within a
second: by notification, or by the poll that finds what a notification missed. Who set what is in the audit
list (``mizu audit --object option:upperexpire``). A stored value that this version cannot use is logged, and
the default holds.

Names are spelled as in the original where it has them; those are marked *(original)*. Durations are written
``30s``, ``10m``, ``2h``, ``1d``; a bare number is seconds. Lists have commas between their words. Where an
option may not be above another one, the answer names the one that has to be changed first.
"""


def rst() -> str:
    """The whole page."""
    parts = [HEAD]
    for group, specs in groupby(Options(), key=lambda spec: spec.group):
        title = group[:1].upper() + group[1:]
        parts.append(f"\n{title}\n{'-' * len(title)}\n\n")
        parts += [_option(spec) for spec in specs]
    return "".join(parts)


def _option(spec: OptionSpec) -> str:
    default = spec.show(spec.default)
    facts = [f"*{spec.wanted()}*", f"default ``{default}``" if default else "default empty"]
    if spec.unit:
        facts.append(spec.unit)
    if spec.at_most:
        facts.append(f"not above ``{spec.at_most}``")
    lines = [f"``{spec.name}``" + (" *(original)*" if spec.source == "original" else "")]
    lines.append(f"    {spec.meaning.replace('*', chr(92) + '*')}")
    lines.append(f"    {', '.join(facts)}.")
    if spec.choices:
        lines.append("")
        lines += [f"    * ``{key}``: {meaning}" for key, meaning in spec.choices.items()]
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    sys.stdout.write(rst())
