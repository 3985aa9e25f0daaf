"""Global options: matters of business that are the same on every node of a database, changed while it runs.

What belongs to one machine (addresses, files, limits of memory) is in ``mizu.config``. An option has its
default here, the value somebody gave it in the database (table ``option``), and is read from memory:
``options.get("maxresellers")`` costs a look-up in a dict. Names are spelled as in the original.

A part of the server adds a block of specifications below, and reads its options when it needs them, or
subscribes when it has derived something from them.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import inf
from types import MappingProxyType
from typing import Any, Protocol

from mizu.errors import BadRequest, NotFound, Stale
from mizu.model import AuditNote

Value = bool | int | float | str | tuple[str, ...]

KINDS = ("bool", "int", "float", "text", "choice", "duration", "list")
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
        return value

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
                return items
        raise self._wrong(text, self.wanted())


def _duration_text(seconds: float) -> str:
    for unit in ("d", "h", "m"):
        if seconds >= _UNIT_S[unit] and seconds % _UNIT_S[unit] == 0:
            return f"{seconds / _UNIT_S[unit]:.0f}{unit}"
    return f"{seconds:g}s"


# ---------------------------------------------------------------- the options, a block for each part

ACCOUNT_OPTIONS = (
    OptionSpec(
        "maxresellers",
        "int",
        10,
        "Levels of ownership below the top: how deep resellers may have resellers.",
        unit="levels",
        least=1,
        most=100,
        source="original",
        group="accounts",
    ),
    OptionSpec(
        "enforcestrongauth",
        "bool",
        True,
        "Refuse accounts that anybody can use: authorization type 0 (open relay) never matches.",
        source="original",
        group="accounts",
    ),
    OptionSpec(
        "sipaccount_maxfails",
        "int",
        30,
        "Failed calls in a row after which an account at a SIP server is not used any more.",
        unit="calls",
        least=1,
        most=1_000_000,
        group="accounts",
    ),
)

REGISTRATION_OPTIONS = (
    OptionSpec(
        "upperexpire",
        "duration",
        300.0,
        "Time that a registration lasts when the phone asks for none, or for one out of bounds.",
        least=10,
        most=86_400,
        source="original",
        group="registration",
    ),
    OptionSpec(
        "upperexpiremin",
        "duration",
        60.0,
        "Shortest registration that is accepted as asked for.",
        least=1,
        most=86_400,
        source="original",
        group="registration",
    ),
    OptionSpec(
        "upperexpiremax",
        "duration",
        3600.0,
        "Longest registration that is accepted as asked for.",
        least=10,
        most=604_800,
        source="original",
        group="registration",
    ),
    OptionSpec(
        "userofflinemin",
        "int",
        60,
        "A user who negotiated no registration time is taken as offline after so long.",
        unit="minutes",
        least=1,
        most=10_080,
        source="original",
        group="registration",
    ),
    OptionSpec(
        "sendbackregcontact",
        "int",
        2,
        "What the answer to a REGISTER repeats of its Contact.",
        choices={
            0: "nothing",
            1: "the address without parameters",
            2: "the address with the expiry that holds",
            3: "exactly what came",
        },
        source="original",
        group="registration",
    ),
)

IDENTITY_OPTIONS = (
    OptionSpec(
        "parseidentity",
        "int",
        1,
        "What is done with P-Asserted-Identity, P-Preferred-Identity and Remote-Party-ID of accounts that "
        "are trusted to say who calls; of others they are never believed.",
        choices={
            0: "ignored",
            1: "read",
            2: "the caller number is taken from them",
            3: "the caller number and name are taken from them",
        },
        source="original",
        group="identity",
    ),
    OptionSpec(
        "untrustedidentity",
        "choice",
        "replace",
        "What is done with a call or message of an account that is not trusted to say who calls, when From, "
        "P-Asserted-Identity, P-Preferred-Identity, Remote-Party-ID or Diversion names somebody else.",
        choices={"replace": "the called party sees the account", "refuse": "answered 403"},
        group="identity",
    ),
    OptionSpec(
        "parsesipdisplayname",
        "int",
        1,
        "What the display name of From is used for.",
        choices={
            0: "nothing",
            1: "the caller's name",
            2: "the name shown to the called party",
            3: "also to find the account of a call, of auth_type 5 or 7",
        },
        source="original",
        group="identity",
    ),
)

API_OPTIONS = (
    OptionSpec(
        "auditkeepdays",
        "int",
        730,
        "Entries of the audit list are deleted after so long; 0: never.",
        unit="days",
        least=0,
        most=36_500,
        group="operators",
    ),
    OptionSpec(
        "tokendays",
        "int",
        365,
        "A token of an operator expires after so long, unless 'tokens add' says otherwise; 0: never.",
        unit="days",
        least=0,
        most=36_500,
        group="operators",
    ),
)

GUARD_OPTIONS = (
    OptionSpec(
        "guardagentfails",
        "int",
        5,
        "So many wrong passwords from one address and port ban that user agent; 0: no such bans.",
        least=0,
        most=100_000,
        group="guard",
    ),
    OptionSpec(
        "guardagentwindow",
        "duration",
        600.0,
        "Wrong passwords of a user agent are counted for so long from the first on.",
        least=1,
        most=86_400,
        group="guard",
    ),
    OptionSpec(
        "guardagentban",
        "duration",
        300.0,
        "The first ban of a user agent lasts so long.",
        least=1,
        most=2_592_000,
        group="guard",
    ),
    OptionSpec(
        "guardaddressfails",
        "int",
        20,
        "So many failures from one address ban it: malformed messages, challenges never answered, wrong "
        "passwords; 0: addresses are not banned.",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardaddresswindow",
        "duration",
        60.0,
        "Failures of an address are counted for so long from the first on.",
        least=1,
        most=86_400,
        group="guard",
    ),
    OptionSpec(
        "guardaddressban",
        "duration",
        600.0,
        "The first ban of an address lasts so long.",
        least=1,
        most=2_592_000,
        group="guard",
    ),
    OptionSpec(
        "guardnumberfails",
        "int",
        60,
        "So many calls to numbers that nobody has ban the address they come from, within the time of "
        "guardaddresswindow; carriers are not counted; 0: nobody is banned for it.",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardnetworkaddresses",
        "int",
        5,
        "So many banned addresses of a network ban all of it; 0: networks are not banned.",
        least=0,
        most=65_536,
        group="guard",
    ),
    OptionSpec(
        "guardnetworkprefix4",
        "int",
        24,
        "What is a network in IPv4.",
        unit="bits",
        least=16,
        most=32,
        group="guard",
    ),
    OptionSpec(
        "guardnetworkprefix6",
        "int",
        48,
        "What is a network in IPv6, where an address means a /64.",
        unit="bits",
        least=32,
        most=64,
        group="guard",
    ),
    OptionSpec(
        "guardnetworkban",
        "duration",
        600.0,
        "The first ban of a network lasts so long.",
        least=1,
        most=2_592_000,
        group="guard",
    ),
    OptionSpec(
        "guardbanmost",
        "duration",
        86_400.0,
        "Each ban lasts twice as long as the one before, up to this.",
        least=1,
        most=31_536_000,
        group="guard",
    ),
    OptionSpec(
        "guardremember",
        "duration",
        86_400.0,
        "A ban within so long after the end of the one before is a repetition.",
        least=0,
        most=31_536_000,
        group="guard",
    ),
    OptionSpec(
        "guardunprovenban",
        "duration",
        60.0,
        "An address that never proved to be real, so that the messages may be somebody else's, is banned for "
        "so long, never with its network; 0: not at all.",
        least=0,
        most=60,
        group="guard",
    ),
    OptionSpec(
        "guardknownfactor",
        "int",
        10,
        "Addresses where somebody was authenticated lately, and those of guardpeers, may fail so many times "
        "as often.",
        least=1,
        most=10_000,
        group="guard",
    ),
    OptionSpec(
        "guardknown",
        "duration",
        3600.0,
        "For so long after a right password or an accepted request an address counts as known.",
        least=0,
        most=2_592_000,
        group="guard",
    ),
    OptionSpec(
        "guardpeers",
        "list",
        (),
        "Addresses and networks of trunks and SIP servers, which may fail guardknownfactor times as often.",
        group="guard",
    ),
    OptionSpec(
        "guardwhitelist",
        "list",
        ("127.0.0.1", "::1"),
        "Addresses and networks that are never banned and never slowed down, besides those of the command "
        "'whitelist'.",
        group="guard",
    ),
    OptionSpec(
        "guardaccountfails",
        "int",
        20,
        "After so many wrong passwords for one account, from wherever, they are checked at a pace only; "
        "phones that are registered notice nothing; 0: never.",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardaccountwindow",
        "duration",
        600.0,
        "Wrong passwords of an account are counted for so long from the first on.",
        least=1,
        most=86_400,
        group="guard",
    ),
    OptionSpec(
        "guardaccountpause",
        "duration",
        5.0,
        "While an account's password is being guessed one is checked in this time; the others are challenged "
        "again.",
        least=0,
        most=3600,
        group="guard",
    ),
    OptionSpec(
        "guardrate",
        "int",
        0,
        "Messages from one address that are read in a second, twice as many in a burst; the others are "
        "dropped. guardknownfactor times as many from known addresses, any number from the white list; "
        "0: any number from everybody.",
        unit="messages/s",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardscanners",
        "list",
        ("friendly-scanner", "sipvicious", "sundayddr", "sipcli", "sip-scan", "sipscan", "iwar", "pplsip"),
        "Requests whose User-Agent has one of these words are dropped unread; empty: none.",
        group="guard",
    ),
)

#: Every option by its name. A new block is added here.
OPTIONS: dict[str, OptionSpec] = {
    spec.name: spec
    for spec in (
        *ACCOUNT_OPTIONS,
        *REGISTRATION_OPTIONS,
        *IDENTITY_OPTIONS,
        *API_OPTIONS,
        *GUARD_OPTIONS,
    )
}


# ---------------------------------------------------------------- their values


class OptionStore(Protocol):
    """Where the values are that somebody gave; ``mizu.store.options``."""

    def load(self) -> Awaitable[Mapping[str, tuple[str, int]]]:
        """Text and version of each option that is set, by name. :raise StoreBusy:"""

    def put(
        self, name: str, text: str, by: str, version: int | None, note: AuditNote | None
    ) -> Awaitable[int]:
        """
        Keep a value; other nodes are told as it commits.

        :param version: what the caller has seen, 0 when it was not set; ``None``: whatever it is.
        :param note: entry of the audit list; its ``changes_of`` gets the texts before and after (``None``:
            not set) and the version.
        :return: the new version. :raise Stale: it has another version by now. :raise StoreBusy:
        """

    def remove(self, name: str, note: AuditNote | None) -> Awaitable[None]:
        """Forget the value: the default holds. :raise StoreBusy:"""


Subscriber = Callable[[str], None]


def stale(name: str) -> Stale:
    """What is raised when somebody was faster."""
    return Stale(f"option {name}: somebody changed it meanwhile")


class Options:
    """
    The values in force. ``get`` never waits; what was never set, or not read yet, has its default.

    :param store: where values are kept; ``None``: in memory only, for tests and tools.
    """

    def __init__(
        self, store: OptionStore | None = None, specs: Mapping[str, OptionSpec] | None = None
    ) -> None:
        self.specs: Mapping[str, OptionSpec] = OPTIONS if specs is None else specs
        self._store = store
        self._values = {name: spec.default for name, spec in self.specs.items()}
        self._versions: dict[str, int] = {}  # of those that somebody set
        self._subscribers: list[Subscriber] = []
        self._loads = 0
        self.problems: list[str] = []  #: stored values that cannot be used, and why; their defaults hold

    def get(self, name: str) -> Any:
        """The value: bool, int, float (of a duration: seconds), text or a tuple. :raise KeyError: a typo."""
        return self._values[name]

    @property
    def values(self) -> Mapping[str, Value]:
        """All values by name."""
        return MappingProxyType(self._values)

    def is_set(self, name: str) -> bool:
        """Did somebody give it a value? (It may be that of the default.)"""
        return name in self._versions

    def version(self, name: str) -> int:
        """Another one after each change; 0: it is not set."""
        return self._versions.get(name, 0)

    def __iter__(self) -> Iterator[OptionSpec]:
        """The specifications, by group and name."""
        return iter(sorted(self.specs.values(), key=lambda spec: (spec.group, spec.name)))

    def spec(self, name: str) -> OptionSpec:
        """:raise NotFound: with the nearest name."""
        found = self.specs.get(name.lower())
        if found is None:
            near = get_close_matches(name.lower(), self.specs, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise NotFound(f"there is no option {name[:60]!r}{hint}")
        return found

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """
        Call ``callback`` with the name of each option whose value changed, here or on another node.

        :return: call it to end the subscription.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    async def set(
        self,
        name: str,
        text: str,
        by: str = "",
        version: int | None = None,
        note: AuditNote | None = None,
    ) -> Value:
        """
        Give an option a value: checked, kept, in force here at once and on other nodes within a second.

        :param version: only if it still has this one, 0: only if it is not set; ``None``: in any case.
        :param note: entry of the audit list, see :meth:`OptionStore.put`.
        :raise NotFound: there is no such option.
        :raise BadRequest: the value will not do.
        :raise Stale: somebody changed it meanwhile.
        :raise StoreBusy: nothing was changed.
        """
        spec = self.spec(name)
        value = spec.parse(text)
        if self._store is not None:
            newer = await self._store.put(spec.name, spec.show(value), by, version, note)
            self._loads += 1  # a load under way may not have seen this
        else:
            self._check(spec.name, version)
            newer = self.version(spec.name) + 1
        self._versions[spec.name] = newer
        self._take({spec.name: value})
        return value

    async def reset(self, name: str, note: AuditNote | None = None) -> Value:
        """Forget what was set: the default holds again. :raise NotFound: :raise StoreBusy:"""
        spec = self.spec(name)
        if self._store is not None:
            await self._store.remove(spec.name, note)
            self._loads += 1
        self._versions.pop(spec.name, None)
        self._take({spec.name: spec.default})
        return spec.default

    def _check(self, name: str, version: int | None) -> None:
        if version is not None and version != self.version(name):
            raise stale(name)

    async def reload(self) -> None:
        """Read all values anew; when others change meanwhile, again. :raise StoreBusy: the old ones hold."""
        if self._store is None:
            return
        while True:
            self._loads += 1
            mine = self._loads
            found = await self._store.load()
            if mine == self._loads:
                break
        values, problems = {name: spec.default for name, spec in self.specs.items()}, []
        for name, (text, _) in found.items():
            spec = self.specs.get(name)
            if spec is None:
                continue  # of a newer version, or of a plugin that is not there now
            try:
                values[name] = spec.parse(text)
            except BadRequest as wrong:
                problems.append(str(wrong))
        self.problems = problems
        self._versions = {name: version for name, (_, version) in found.items() if name in self.specs}
        self._take(values)

    def _take(self, values: Mapping[str, Value]) -> None:
        changed = [name for name, value in values.items() if self._values[name] != value]
        self._values.update(values)
        for name in changed:
            for callback in list(self._subscribers):
                callback(name)
