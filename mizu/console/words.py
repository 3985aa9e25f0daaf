"""From words of a command line, or from a JSON object, to the values of a command's arguments, and back."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mizu.accounts.field import FromJson
from mizu.console.arguments import ASSIGNMENT, FLAG, TEXT_MAX_CHARACTERS, Argument
from mizu.errors import BadRequest

JSON_LIST_MAX_ITEMS = 10_000


class CommandError(BadRequest):
    """The line is not a command, or its arguments are wrong; ``hint`` says how it is used."""

    code = "usage"

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class SecretMissing(CommandError):
    """A secret argument was left out: an interactive client asks for it without showing it."""

    code = "secret_missing"

    def __init__(self, argument: str, hint: str, called: str = "") -> None:
        super().__init__(f"{called or f'<{argument}>'} is missing", hint)
        self.argument = argument


def values_of_words(arguments: Sequence[Argument], words: Sequence[str], usage: str) -> dict[str, Any]:
    """
    The values by argument name, from the words after the command's name; defaults for what is left out.

    :raise CommandError: what is wrong; its hint is the usage.
    :raise SecretMissing: only a secret is missing.
    """
    options = {argument.name: argument for argument in arguments if argument.option}
    places = [argument for argument in arguments if not argument.option]
    values: dict[str, Any] = {argument.name: argument.default for argument in arguments}
    given: set[str] = set()
    waiting, only_places = iter(words), False
    try:
        for word in waiting:
            if word == "--" and not only_places:
                only_places = True
            elif word.startswith("--") and not only_places:
                name, equals, value = word[2:].partition("=")
                argument = _option(options, name, places)
                if name in given:
                    raise CommandError(f"--{name} is there twice")
                given.add(name)
                values[name] = _option_value(argument, value if equals else None, waiting)
            elif not places:
                raise CommandError(f"one argument too many: {word[:60]!r}")
            else:
                argument = places[0] if places[0].many else places.pop(0)
                converted = argument.convert(word)
                if argument.many:
                    converted = [*(values[argument.name] or ()), converted]
                given.add(argument.name)
                values[argument.name] = converted
    except BadRequest as wrong:
        raise _with_usage(wrong, usage) from None
    _check_missing(arguments, given, usage, lambda argument: f"<{argument.name}>")
    return values


def _with_usage(wrong: BadRequest, usage: str) -> CommandError:
    if isinstance(wrong, CommandError):
        wrong.hint = wrong.hint or usage
        return wrong
    return CommandError(str(wrong), usage)


def _check_missing(
    arguments: Iterable[Argument], given: set[str], usage: str, called: Callable[[Argument], str]
) -> None:
    missing = [a for a in arguments if a.required and a.name not in given]
    if missing and all(argument.secret for argument in missing):
        raise SecretMissing(missing[0].name, usage, called(missing[0]))
    if missing:
        verb = "are" if len(missing) > 1 else "is"
        raise CommandError(f"{', '.join(map(called, missing))} {verb} missing", usage)


def _option(options: Mapping[str, Argument], name: str, places: list[Argument]) -> Argument:
    """The option of that name. A secret may be given so everywhere; then it is no argument by place."""
    if name in options:
        return options[name]
    secret = next((one for one in places if one.secret and one.name == name), None)
    if secret is not None:
        places.remove(secret)
        return secret
    near = difflib.get_close_matches(name, options, n=1)
    raise CommandError(f"no option --{name[:60]}", f"did you mean --{near[0]}?" if near else "")


def _option_value(argument: Argument, value: str | None, waiting: Iterator[str]) -> Any:
    if argument.kind is FLAG:
        if value is not None:
            raise CommandError(f"--{argument.name} takes no value")
        return True
    if value is None:
        value = next(waiting, None)
    if value is None:
        raise CommandError(f"--{argument.name} needs a value")
    return argument.convert(value)


def json_name(argument: Argument) -> str:
    """The name of an argument in JSON: ``display_name`` for ``display-name``."""
    return argument.name.replace("-", "_")


def values_of_json(arguments: Sequence[Argument], given: Mapping[str, Any], usage: str) -> dict[str, Any]:
    """
    The values by argument name from a JSON object: texts, numbers, true and false, as each argument wants.

    ``null`` counts as left out, but for an argument that says what it means (``Argument.null``). An argument
    that takes many is a list; assignments are an object.

    :raise CommandError: what is wrong. :raise SecretMissing: only a secret is missing.
    """
    known = {json_name(argument): argument for argument in arguments}
    values: dict[str, Any] = {argument.name: argument.default for argument in arguments}
    there: set[str] = set()
    try:
        for name, value in given.items():
            argument = known.get(name.replace("-", "_"))
            if argument is None:
                near = difflib.get_close_matches(name, known, n=1)
                raise CommandError(f"no argument {name[:60]!r}", f"did you mean {near[0]!r}?" if near else "")
            if value is None and argument.null is None:
                continue
            there.add(argument.name)
            values[argument.name] = _json_value(argument, argument.null if value is None else value)
    except BadRequest as wrong:
        raise _with_usage(wrong, usage) from None
    _check_missing(arguments, there, usage, json_name)
    return values


def _json_value(argument: Argument, value: Any) -> Any:
    if argument.kind is FLAG:
        if not isinstance(value, bool):
            raise _wrong_type(argument, "true or false")
        return value
    if not argument.many:
        return argument.convert(_json_word(argument, value), json_name(argument))
    if argument.kind is ASSIGNMENT and isinstance(value, Mapping):
        value = [_assigned(argument, name, one) for name, one in value.items()]
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or len(value) > JSON_LIST_MAX_ITEMS:
        raise _wrong_type(argument, f"a list of at most {JSON_LIST_MAX_ITEMS}")
    words = [
        one if isinstance(one, FromJson) else argument.convert(_json_word(argument, one), json_name(argument))
        for one in value
    ]
    if argument.required and not words:
        raise _wrong_type(argument, "at least one")
    return words


def _json_word(argument: Argument, value: Any) -> str:
    """The word that an operator would have typed."""
    if isinstance(value, str):
        return value
    schema = argument.kind.schema
    types = {one.get("type") for one in schema.get("oneOf", (schema,))}
    if isinstance(value, bool):
        if "boolean" in types:
            return "true" if value else "false"
    elif isinstance(value, int | float):
        if types & {"integer", "number"}:
            return str(int(value)) if float(value).is_integer() else str(value)
    elif isinstance(value, list) and "array" in types:
        if all(isinstance(one, str) and "," not in one for one in value):
            return ",".join(value)
        raise _wrong_type(argument, "in a list only texts without commas")
    if "array" in types:
        raise _wrong_type(argument, "text, a number, true, false or a list of texts")
    raise _wrong_type(argument, "a whole number" if types & {"integer", "number"} else "text")


def _assigned(argument: Argument, name: str, value: Any) -> FromJson:
    """A field and its value as it is: whether a number is an id, the field's kind knows."""
    shown = _plain(argument, value)[: TEXT_MAX_CHARACTERS - len(name) - 1]
    argument.convert(f"{name}={shown}", json_name(argument))
    return FromJson(name, value, shown)


def _plain(argument: Argument, value: Any) -> str:
    """The text of a field's value, for people: lists are joined by commas, ``null`` is empty."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list):
        return ",".join(_plain(argument, one) for one in value)
    raise _wrong_type(argument, "text, numbers, true, false or lists of them")


def _wrong_type(argument: Argument, wanted: str) -> CommandError:
    return CommandError(f"{json_name(argument)}: want {wanted}")


def spoken(name: str, arguments: Iterable[Argument], values: Mapping[str, Any]) -> str:
    """The command line again from parsed values, secrets as ``***``; for logs."""
    words = [name]
    for argument in arguments:
        value = values.get(argument.name)
        if value is None or value == argument.default:
            continue
        text = " ".join(map(argument.spoken, value)) if argument.many else argument.spoken(value)
        if not argument.option:
            words.append(text)
        elif argument.kind is FLAG:
            words.append(f"--{argument.name}")
        else:
            words.extend((f"--{argument.name}", text))
    return " ".join(words)
