"""The option ``--version`` of commands that change what is there; over the API it is ``If-Match``."""

from mizu.console.arguments import Argument, integer
from mizu.console.table import Invocation

VERSION = "version"  #: name of the option, with every such command


def version_argument(what: str, shown_by: str, least: int = 1) -> Argument:
    """
    :param what: that has a version, e.g. ``the account``.
    :param shown_by: the command that shows it.
    :param least: the version of what was never changed.
    """
    text = f"only if {what} is still at this version, as '{shown_by}' shows it"
    return Argument(VERSION, integer(least, 2**62), text, option=True)


def version_of(call: Invocation) -> int | None:
    """What the operator has seen; ``None``: whatever is there may be changed."""
    seen = call.values[VERSION]
    return None if seen is None else int(seen)
