"""
What the user part of a URI stands for: a telephone number, a name, or nothing that anybody could be called
(RFC 3966, RFC 3261 19.1.6). Pure.

The one place where a user part becomes the number that limits are compared with, that routes are looked up
by, and that goes out: a carrier throws away what it does not take for a digit, so a text that we compare and
a text that we send must never differ, and nothing but a number may be sent to a carrier.
"""

import re
from typing import Final

from mizu.sip.uri import OtherUri, TelUri, Uri

#: Without its plus sign. A longer one is none: 15 digits (ITU-T E.164 6.1), before them prefixes of any kind.
NUMBER_CHARS_MAX: Final = 64
#: A name longer than this is none.
NAME_CHARS_MAX: Final = 256

#: What stands between digits for people (RFC 3966 5.1.1), and the blank that some phones leave there.
_SEPARATORS: Final = str.maketrans("", "", "-.() ")
_STARTS: Final = frozenset("+0123456789*#-.() ")  #: of numbers as people write them
_plain = re.compile(r"\+?[0-9]{1,64}").fullmatch
_digits = re.compile(r"\+?[0-9*#]{1,64}").fullmatch
#: The same behind a tech prefix, which may stand before the plus sign.
_dialled = re.compile(r"(?=.{0,63}[0-9*#])[+0-9*#]{1,64}").fullmatch
#: Parameters that a telephone number may have in a user part (RFC 3966 3; ``rn``, ``tgrp``, ``cpc``,
#: ``verstat`` and others). They choose carriers and say things of the caller; none goes out.
_parameters = re.compile(
    r"(?:;[a-z][a-z0-9-]{0,31}(?:=[^;=,\s\x00-\x20\x7f]{1,128})?)+", re.ASCII | re.IGNORECASE
).fullmatch
#: Usernames are ASCII today (:mod:`mizu.accounts.usernames`); older ones, and those of other backends, have
#: letters of any script, but nothing that does not show.
_name = re.compile(r"[A-Za-z0-9_+*.#!~'()&=$@:\-\x80-\U0010ffff]{1,256}").fullmatch
_ascii_name = re.compile(r"[A-Za-z0-9_+*.#!~'()&=$@:-]{1,256}").fullmatch
#: Letters that are drawn as nothing (Unicode: ``Default_Ignorable_Code_Point``).
_invisible = re.compile("[\u115f\u1160\u3164\uffa0]").search


def is_number(text: str, tech_prefix: str = "") -> bool:
    """
    May this go out to a carrier: a plus sign or none, then ASCII digits, ``*`` and ``#``?

    :param tech_prefix: stands before the number; of a caller who is known by it.
    """
    if _plain(text) is not None:
        return True
    return _digits(text.removeprefix(tech_prefix)) is not None


def is_name(text: str) -> bool:
    """May somebody be called that? No name has control or format characters, blanks, ``;``, ``,``, ``/``."""
    if _ascii_name(text) is not None:
        return True
    if _name(text) is None or _invisible(text) is not None:
        return False
    return all(char.isascii() or char.isalpha() for char in text)


def called_text(uri: Uri) -> str:
    """
    Who is called: a number without separators and parameters, or a name.

    Pause and wait (``p``, ``w``) and the letters A to D are in no number: a text with them can be but a name,
    of one of our own users. Digits of other scripts are in neither.

    :return: empty: a text that nobody can be called, or none.
    """
    if isinstance(uri, OtherUri):
        return ""
    user = uri.user
    if _plain(user) is not None:
        return user
    number = _number_of(user)
    if number:
        return number
    return user if is_name(user) and not isinstance(uri, TelUri) else ""


def caller_text(uri: Uri) -> str:
    """
    Who calls, as written; a number with parameters without them and without separators.

    :return: empty: a text that nobody can be called, or none.
    """
    if isinstance(uri, OtherUri):
        return ""
    user = uri.user
    return user if is_name(user) else _number_of(user)


def _number_of(user: str) -> str:
    """Also one with a tech prefix before its plus sign. :return: empty: no number."""
    if user[:1] not in _STARTS:
        return ""
    number, semicolon, _ = user.partition(";")
    if semicolon and _parameters(user[len(number) :]) is None:
        return ""
    number = number.translate(_SEPARATORS)
    return number if _dialled(number) is not None else ""
