"""Phone numbers (DID): digits with country code; ranges of them."""

import re
from dataclasses import dataclass
from datetime import datetime

from mizu.errors import BadRequest

RANGE_MAX = 10_000  #: numbers entered by one command
_NUMBER = re.compile(r"[0-9]{1,20}\Z")


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """One number."""

    number: str
    account_id: int | None  #: who has it; ``None``: free
    account: str  #: its username, or empty
    holder: str  #: username of the account whose operators give it out; empty: staff
    allocated_at: datetime | None
    note: str
    version: int = 1  #: grows with every change


def number_of(text: str) -> str:
    """Digits alone, of ``+36 1 555-0100``. :raise BadRequest:"""
    digits = re.sub(r"[ ()./-]", "", text).removeprefix("+")
    if not _NUMBER.match(digits):
        raise BadRequest(f"want a phone number of at most 20 digits, got {text[:60]!r}")
    return digits


def numbers_of(text: str) -> list[str]:
    """
    One number, or a range ``3615550100..3615550199``, both ends included.

    :raise BadRequest: no number, a range backwards, ends of different length, too many.
    """
    first, dots, last = text.partition("..")
    start = number_of(first)
    if not dots:
        return [start]
    end = number_of(last)
    if len(end) != len(start) or end < start:
        raise BadRequest(f"want a range such as 3615550100..3615550199, got {text[:60]!r}")
    count = int(end) - int(start) + 1
    if count > RANGE_MAX:
        raise BadRequest(f"a range has at most {RANGE_MAX} numbers, this one {count}")
    return [str(number).zfill(len(start)) for number in range(int(start), int(end) + 1)]


def series(first: str, count: int) -> list[str]:
    """
    Names counted up from the digits at the end of the first one: ``desk08``, ``desk09``, ``desk10``.

    :raise BadRequest: it ends in no digits.
    """
    if count == 1:
        return [first]
    found = re.search(r"[0-9]{1,18}\Z", first)
    if not found:
        raise BadRequest(f"{first[:60]!r} does not end in digits that could be counted up")
    stem, digits = first[: found.start()], found[0]
    return [f"{stem}{str(int(digits) + number).zfill(len(digits))}" for number in range(count)]
