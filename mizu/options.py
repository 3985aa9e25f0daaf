"""Global options: matters of business that are the same on every node of a database, changed while it runs.

What belongs to one machine (addresses, files, limits of memory) is in ``mizu.config``. An option has its
default here, the value somebody gave it in the database (table ``option``), and is read from memory:
``options.get("maxresellers")`` costs a look-up in a dict. Names are spelled as in the original.

A part of the server adds a block of specifications (``mizu.option_blocks``, ``mizu.option_guard``), and reads
its options when it needs them, or subscribes when it has derived something from them.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Protocol

from mizu.errors import BadRequest, NotFound, Stale
from mizu.model import AuditNote
from mizu.option_blocks import ACCOUNT_OPTIONS, API_OPTIONS, IDENTITY_OPTIONS, REGISTRATION_OPTIONS
from mizu.option_guard import GUARD_OPTIONS
from mizu.option_spec import KINDS, LIST_MAX_ITEMS, TEXT_MAX_CHARACTERS, OptionSpec, Value

__all__ = [
    "ACCOUNT_OPTIONS",
    "API_OPTIONS",
    "GUARD_OPTIONS",
    "IDENTITY_OPTIONS",
    "KINDS",
    "LIST_MAX_ITEMS",
    "OPTIONS",
    "REGISTRATION_OPTIONS",
    "TEXT_MAX_CHARACTERS",
    "OptionSpec",
    "OptionStore",
    "Options",
    "Value",
    "stale",
]

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

    def remove(self, name: str, version: int | None, note: AuditNote | None) -> Awaitable[None]:
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
        #: stored values that cannot be used, so that their defaults hold, or that do not go together; and why
        self.problems: list[str] = []

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
        :raise BadRequest: the value will not do, by itself or beside that of another option.
        :raise Stale: somebody changed it meanwhile.
        :raise StoreBusy: nothing was changed.
        """
        spec = self.spec(name)
        value = spec.parse(text)
        self._refuse_misfit(spec, value)
        if self._store is not None:
            newer = await self._store.put(spec.name, spec.show(value), by, version, note)
            self._loads += 1  # a load under way may not have seen this
        else:
            self._check(spec.name, version)
            newer = self.version(spec.name) + 1
        self._versions[spec.name] = newer
        self._take({spec.name: value})
        return value

    async def reset(self, name: str, note: AuditNote | None = None, *, version: int | None = None) -> Value:
        """
        Forget what was set: the default holds again.

        :param version: as for :meth:`set`. :raise NotFound: :raise Stale: :raise StoreBusy:
        :raise BadRequest: the default does not go with the value of another option.
        """
        spec = self.spec(name)
        self._refuse_misfit(spec, spec.default)
        if self._store is not None:
            await self._store.remove(spec.name, version, note)
            self._loads += 1
        else:
            self._check(spec.name, version)
        self._versions.pop(spec.name, None)
        self._take({spec.name: spec.default})
        return spec.default

    def _refuse_misfit(self, spec: OptionSpec, value: Value) -> None:
        """:raise BadRequest: another option's value has to be changed first."""
        for low, high in self._pairs():
            if spec is low and value > self._values[high.name]:  # type: ignore[operator]
                other, where, what = high, "above", "raise"
            elif spec is high and self._values[low.name] > value:  # type: ignore[operator]
                other, where, what = low, "below", "lower"
            else:
                continue
            theirs = other.show(self._values[other.name])
            raise BadRequest(
                f"{spec.name}: {spec.show(value)} would be {where} {other.name}, which is {theirs}; "
                f"{what} {other.name} first"
            )

    def _pairs(self) -> Iterator[tuple[OptionSpec, OptionSpec]]:
        """Options of which the first may not be above the second."""
        for spec in self.specs.values():
            if spec.at_most:
                yield spec, self.specs[spec.at_most]

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
                problems.append(f"{wrong}; the default holds")
        # Nodes that set one each at the same moment. Who uses them takes what lies between.
        problems += [
            f"{low.name}: {low.show(values[low.name])} is above {high.name}, {high.show(values[high.name])}"
            for low, high in self._pairs()
            if values[low.name] > values[high.name]  # type: ignore[operator]
        ]
        self.problems = problems
        self._versions = {name: version for name, (_, version) in found.items() if name in self.specs}
        self._take(values)

    def _take(self, values: Mapping[str, Value]) -> None:
        changed = [name for name, value in values.items() if self._values[name] != value]
        self._values.update(values)
        for name in changed:
            for callback in list(self._subscribers):
                callback(name)
