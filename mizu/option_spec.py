"""What one global option is: its name, type, default, bounds and meaning, and how its text is read."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from mizu.errors import BadRequest
from mizu.targets import parse_target, refuse_too_wide

Value = bool | int | float | str | tuple[str, ...]

KINDS = ("bool", "int", "float", "text", "choice", "duration", "list", "addresses")
TEXT_MAX_CHARACTERS = 4000
LIST_MAX_ITEMS = 1000
_YES = frozenset(("true", "yes", "on", "1"))
_NO = frozenset(("false", "no", "off", "0"))
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)?\Z")
_UNIT_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """
    One option. Durations are seconds (float); their text may have a unit, ``90s``, ``10m``, ``1d``.

    ``choices`` has every allowed value with its meaning: texts for ``choice``, numbers for ``int``.
    """

    name: str  #: lower case, as in the original where that has it
    kind: str  #: one of ``KINDS``
    default: Value
    meaning: str  #: one or two sentences for operators; says what 0 or empty means
    unit: str = ""  #: of a number: ``levels``, ``minutes``; empty: none, or a duration
    least: float | None = None
    most: float | None = None
    choices: Mapping[Any, str] = field(default_factory=dict)
    source: str = ""  #: where the name comes from: ``original``, or empty for ours
    group: str = ""  #: heading in lists: ``accounts``, ``registration``, ``guard``, ...
    at_most: str = ""  #: name of another option that this one may not be above
    check: Callable[[Any], str] | None = None  #: what else a value must be, when this one is not; else ""

    def parse(self, text: str) -> Value:
        """
        The value that ``text`` means.

        :raise BadRequest: what is wrong, and what would be right.
        """
        value = self._converted(text.strip())
        if self.choices and self._unlisted(value):
            known = ", ".join(f"{key} ({meaning})" for key, meaning in self.choices.items())
            raise self._wrong(text, f"one of {known}")
        if isinstance(value, int | float) and not isinstance(value, bool) and self._out_of_bounds(value):
            raise self._wrong(text, self.wanted())
        wanted = self.check(value) if self.check is not None else ""
        if wanted:
            raise self._wrong(text, wanted)
        return value

    def measured_in(self) -> str:
        """The unit of the value as a number; empty: it is none."""
        return "seconds" if self.kind == "duration" else self.unit

    def show(self, value: Value) -> str:
        """The text of a value; ``parse`` gives the value back."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return ",".join(value)
        if self.kind == "duration" and isinstance(value, int | float):
            return _duration_text(float(value))
        return str(value)

    def wanted(self) -> str:
        """What a value must be, in words: ``a whole number from 1 to 100``."""
        words = {
            "bool": "true or false",
            "int": "a whole number",
            "float": "a number",
            "text": f"text of at most {TEXT_MAX_CHARACTERS} characters",
            "choice": "one of " + ", ".join(map(str, self.choices)),
            "duration": "a duration such as 30s, 10m, 2h or 1d",
            "list": "words with commas between them",
            "addresses": "addresses, networks or ranges with commas between them",
        }[self.kind]
        if self.kind == "int" and self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        bounds = [self.show_bound(bound) for bound in (self.least, self.most)]
        if bounds[0] and bounds[1]:
            return f"{words}{',' if ',' in words else ''} from {bounds[0]} to {bounds[1]}"
        if bounds[0]:
            return f"{words}, at least {bounds[0]}"
        return f"{words}, at most {bounds[1]}" if bounds[1] else words

    def show_bound(self, bound: float | None) -> str:
        if bound is None:
            return ""
        if self.kind == "duration":
            return _duration_text(bound)
        return str(int(bound)) if float(bound).is_integer() else str(bound)

    def _out_of_bounds(self, value: float) -> bool:
        least = -inf if self.least is None else self.least
        return not least <= value <= (inf if self.most is None else self.most)

    def _unlisted(self, value: Value) -> bool:
        return any(one not in self.choices for one in (value if isinstance(value, tuple) else (value,)))

    def _wrong(self, text: str, wanted: str) -> BadRequest:
        return BadRequest(f"{self.name}: want {wanted}, got {text[:80]!r}")

    def _converted(self, text: str) -> Value:
        if len(text) > TEXT_MAX_CHARACTERS or any(ord(c) < 32 or ord(c) == 127 for c in text):
            raise self._wrong(text, f"at most {TEXT_MAX_CHARACTERS} characters, no control characters")
        if self.kind in ("text", "choice"):
            return text
        if self.kind == "bool":
            if text.lower() in _YES | _NO:
                return text.lower() in _YES
        elif self.kind == "int":
            if re.match(r"-?\d{1,18}\Z", text, re.ASCII):
                return int(text)
        elif self.kind == "float":
            if re.match(r"-?\d{1,15}(\.\d{1,9})?\Z", text, re.ASCII):
                return float(text)
        elif self.kind == "duration":
            if found := _DURATION.match(text):
                return float(found[1]) * _UNIT_S[found[2] or ""]
        else:
            items = tuple(item.strip() for item in text.split(",") if item.strip())
            if len(items) <= LIST_MAX_ITEMS:
                return tuple(map(self._address, items)) if self.kind == "addresses" else items
        raise self._wrong(text, self.wanted())

    def _address(self, text: str) -> str:
        """An address, network or range in its one spelling. :raise BadRequest:"""
        try:
            target = parse_target(text)
            if target.port:
                raise BadRequest("it is without ports")
            refuse_too_wide(target)
        except BadRequest as wrong:
            raise BadRequest(f"{self.name}: {text[:80]!r}: {wrong}") from None
        return target.text


def _duration_text(seconds: float) -> str:
    for unit in ("d", "h", "m"):
        if seconds >= _UNIT_S[unit] and seconds % _UNIT_S[unit] == 0:
            return f"{seconds / _UNIT_S[unit]:.0f}{unit}"
    return f"{seconds:g}s"
