"""``options``, ``options get``, ``options set``, ``options reset``."""

from difflib import get_close_matches
from typing import Any

from mizu.console.arguments import Argument, Kind, choice
from mizu.console.paging import cut, more_line, page_arguments
from mizu.console.services import ConsoleServices
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.text import aligned, plural
from mizu.console.versions import version_argument, version_of
from mizu.errors import BadRequest, NotFound
from mizu.model import Change
from mizu.options import LIST_MAX_ITEMS, TEXT_MAX_CHARACTERS, Options, OptionSpec

VALUE_SHOWN_CHARACTERS = 40  #: in the list; 'options get' shows all


def _value(word: str) -> str:
    if len(word) > TEXT_MAX_CHARACTERS:
        raise ValueError(f"at most {TEXT_MAX_CHARACTERS} characters")
    return word


NAME = Kind("option", str, {"type": "string", "maxLength": 64})
VALUE = Kind(
    "value",
    _value,
    {
        "oneOf": [
            {"type": "string", "maxLength": TEXT_MAX_CHARACTERS},
            {"type": "number"},
            {"type": "boolean"},
            {"type": "array", "items": {"type": "string"}, "maxItems": LIST_MAX_ITEMS},
        ]
    },
)
_NAME = Argument("name", NAME, "name of the option", required=True)
_VERSION = version_argument("it", "options get", 0)  # 0: it is not set


def shown(options: Options, spec: OptionSpec) -> dict[str, Any]:
    """An option as JSON: ``value`` in its own type, ``text`` as ``options set`` takes it."""
    value = options.get(spec.name)
    return {
        "name": spec.name,
        "value": _plain(value),
        "text": spec.show(value),
        "default": _plain(spec.default),
        "default_text": spec.show(spec.default),
        "is_set": options.is_set(spec.name),
        "version": options.version(spec.name),
        "type": spec.kind,
        "unit": spec.measured_in(),
        "wanted": spec.wanted(),
        "least": spec.least,
        "most": spec.most,
        "at_most": spec.at_most,
        "choices": [{"value": key, "meaning": meaning} for key, meaning in spec.choices.items()],
        "meaning": spec.meaning,
        "group": spec.group,
        "source": spec.source,
    }


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_SHOWN_CHARACTERS else text[: VALUE_SHOWN_CHARACTERS - 3] + "..."


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def commands(services: ConsoleServices) -> tuple[Command, ...]:
    own = _OptionCommands(services.options)
    return (
        Command(
            name="options",
            help="list the global options with their values",
            permission="options.read",
            run=own.every,
            arguments=(
                Argument("prefix", NAME, "only names or groups that begin so"),
                Argument(
                    "only", choice("all", "set"), "'set': only what somebody set", option=True, default="all"
                ),
                *page_arguments(1000),
            ),
            details="Options hold on every node of the database and change while it runs. What belongs to "
            "one machine is in its configuration file.",
            examples=("options", "options registration", "options --only set"),
        ),
        Command(
            name="options get",
            help="explain one option: value, default, type, unit, meaning",
            permission="options.read",
            run=own.one,
            arguments=(_NAME,),
            examples=("options get maxresellers",),
        ),
        Command(
            name="options set",
            help="give an option a value",
            permission="options.write",
            run=own.set,
            arguments=(_NAME, Argument("value", VALUE, "the new value", required=True), _VERSION),
            details="The value is checked. It holds here at once and on every node within a second.",
            examples=("options set maxresellers 5", "options set upperexpire 10m"),
            changes=True,
            atomic=True,
        ),
        Command(
            name="options reset",
            help="let the default of an option hold again",
            permission="options.write",
            run=own.reset,
            arguments=(_NAME, _VERSION),
            examples=("options reset maxresellers",),
            changes=True,
            atomic=True,
        ),
    )


def _unknown(options: Options, prefix: str) -> NotFound:
    near = get_close_matches(prefix, {*options.specs, *(spec.group for spec in options)}, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "; 'options' lists them all"
    return NotFound(f"no option and no group begins with {prefix[:60]!r}{hint}")


def _order(spec: OptionSpec) -> tuple[str, str]:
    return spec.group, spec.name


class _OptionCommands:
    def __init__(self, options: Options) -> None:
        self._options = options

    async def every(self, call: Invocation) -> CommandResult:
        prefix = call.text("prefix").lower()
        specs = [
            spec for spec in self._options if spec.name.startswith(prefix) or spec.group.startswith(prefix)
        ]
        if not specs:
            raise _unknown(self._options, prefix)
        if call.text("only") == "set":
            specs = [spec for spec in specs if self._options.is_set(spec.name)]
        some, following = cut(specs, _order, call.number("limit"), call.text("after"))
        rows = [
            (
                spec.name,
                _cut(spec.show(self._options.get(spec.name))),
                _cut(spec.show(spec.default)) if self._options.is_set(spec.name) else "",
                spec.kind,
                spec.measured_in(),
                spec.group,
            )
            for spec in some
        ]
        heads = ("OPTION", "VALUE", "INSTEAD OF", "TYPE", "UNIT", "GROUP")
        lines = aligned(heads, rows) if rows else ["no options"]
        changed = sum(self._options.is_set(spec.name) for spec in specs)
        lines += ["", f"{plural(len(specs), 'option')}, {changed} set; 'options get <name>' explains one."]
        found = [shown(self._options, spec) for spec in some]
        return CommandResult([*lines, *more_line(following)], {"options": found, "next": following})

    async def one(self, call: Invocation) -> CommandResult:
        return self._told(self._options.spec(call.text("name")))

    async def set(self, call: Invocation) -> CommandResult:
        spec = self._options.spec(call.text("name"))
        before = shown(self._options, spec)
        await self._options.set(
            spec.name,
            call.text("value"),
            call.operator.name,
            version_of(call),
            call.note(lambda done: (self._noted(spec, done),) if done[0] != done[1] else ()),
        )
        return self._changed(spec, before)

    async def reset(self, call: Invocation) -> CommandResult:
        spec = self._options.spec(call.text("name"))
        before = shown(self._options, spec)
        noted = call.note(lambda done: (self._noted(spec, done),))
        await self._options.reset(spec.name, noted, version=version_of(call))
        return self._changed(spec, before)

    @staticmethod
    def _noted(spec: OptionSpec, done: tuple[str | None, str | None, int]) -> Change:
        """For the audit list, of the texts that the database had and has."""

        def side(text: str | None) -> dict[str, Any]:
            try:
                value = spec.default if text is None else spec.parse(text)
            except BadRequest:  # kept by another version
                value = text or ""
            return {"value": _plain(value), "is_set": text is not None}

        return Change("option", spec.name, side(done[0]), side(done[1]))

    def _changed(self, spec: OptionSpec, before: dict[str, Any]) -> CommandResult:
        after = shown(self._options, spec)
        change = Change(
            "option",
            spec.name,
            {"value": before["value"], "is_set": before["is_set"]},
            {"value": after["value"], "is_set": after["is_set"]},
        )
        line = f"{spec.name} is {after['text'] or 'empty'}, was {before['text'] or 'empty'}"
        return CommandResult([line], {"option": after, "before": before["value"]}, (change,))

    def _told(self, spec: OptionSpec) -> CommandResult:
        facts = shown(self._options, spec)
        rows = [
            ("value", facts["text"] + ("" if facts["is_set"] else "   (the default)")),
            ("default", facts["default_text"]),
            ("type", f"{spec.kind}: {spec.wanted()}"),
            ("at most", spec.at_most),
            ("unit", spec.measured_in()),
            ("group", spec.group),
            ("version", str(facts["version"]) if facts["is_set"] else "0, not set"),
            ("name of", "the original" if spec.source == "original" else "ours"),
        ]
        lines = [
            spec.name,
            "",
            *(f"  {what:8} {text}".rstrip() for what, text in rows if text),
            "",
            spec.meaning,
        ]
        if spec.choices:
            lines += ["", *(f"  {key}  {meaning}" for key, meaning in spec.choices.items())]
        return CommandResult(lines, {"option": facts})
