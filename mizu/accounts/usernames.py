"""What an account may be called: one rule for the console, the API, imports and the database."""

import re

from mizu.errors import BadRequest

USERNAME_MAX_CHARACTERS = 64
#: Nothing that SIP URIs, digests (``:``), lists (``,``), paths (``/``) or our own notation (``#12`` is the
#: account of id 12, ``-`` none, ``*`` all, ``@x`` the group x) would take for something else.
_USERNAME = re.compile(r"(?![+*]\Z)[A-Za-z0-9_+*][A-Za-z0-9_+*.#!~-]{0,63}\Z")
WANTED = (
    "a username of 1 to 64 letters, digits and . _ + - * # ! ~ that begins with a letter, a digit, _, + or *"
)


def is_username(text: str) -> bool:
    """May a new account be called that?"""
    return _USERNAME.match(text) is not None


def check_username(text: str) -> str:
    """The same text. :raise BadRequest: no account may be called that."""
    if not is_username(text):
        raise BadRequest(f"want {WANTED}; got {text[:80]!r}")
    return text
