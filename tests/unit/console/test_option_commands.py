"""The commands about options, over options in memory."""

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mizu.console import option_commands
from mizu.console.auditing import Auditor
from mizu.console.table import CommandTable
from mizu.console.words import values_of_json
from mizu.errors import BadRequest
from mizu.model import Operator, Rights
from mizu.options import OPTIONS, Options
from mizu.testing.console import FakeAudit, FakeConsole

ANNA = Operator("anna", Rights.GENERAL_ADMIN)


class Room:
    """A command table over options."""

    def __init__(self) -> None:
        self.options = Options()
        services = replace(FakeConsole().services, options=self.options)
        self.commands = {command.name: command for command in option_commands.commands(services)}
        self.table = CommandTable(tuple(self.commands.values()), auditor=Auditor(FakeAudit()))

    def say(self, line: str) -> dict[str, Any]:
        """The answer of ``POST /console``."""
        answers: list[Any] = []
        Deferred.fromCoroutine(self.table.answer(line, ANNA)).addBoth(answers.append)
        return {"status": answers[0][0], **answers[0][1]}

    def given(self, name: str, value: Any) -> str:
        """The word that the API makes of a JSON value."""
        arguments = self.commands["options set"].arguments
        word: str = values_of_json(arguments, {"name": name, "value": value}, "")["value"]
        return word


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_what_get_gives_is_what_set_takes(room: Room, name: str) -> None:
    """Through the API, value or text, and whatever the type is: a program may read, keep and write back."""
    shown = room.say(f"options get {name}")["result"]["option"]
    spec = OPTIONS[name]
    for value in (shown["value"], shown["text"], shown["default"], shown["default_text"]):
        assert spec.parse(room.given(name, value)) == room.options.get(name)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("enforcestrongauth", False, False),
        ("enforcestrongauth", "off", False),
        ("guardwhitelist", [], ()),
        ("guardwhitelist", ["192.0.2.1", "10.0.0.0/8"], ("192.0.2.1", "10.0.0.0/8")),
        ("guardagentban", 90.5, 90.5),
        ("maxresellers", 7.0, 7),
    ],
)
def test_json_types_mean_what_they_are(room: Room, name: str, value: Any, meant: Any) -> None:
    """False is not 0, and an empty list is no text."""
    assert OPTIONS[name].parse(room.given(name, value)) == meant


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (["a,b"], "value: want in a list only texts without commas"),
        ([1], "only texts"),
        ([["a"]], "only texts"),
        ({"a": 1}, "value: want text, a number, true, false or a list of texts"),
        (["x" * 4001], "at most 4000 characters"),
    ],
)
def test_other_json_is_refused_with_what_it_may_be(room: Room, value: Any, complaint: str) -> None:
    """A comma would make two words of one."""
    with pytest.raises(BadRequest) as caught:
        room.given("guardscanners", value)
    assert complaint in str(caught.value)


def test_true_is_no_number(room: Room) -> None:
    """Each option says itself what it wants."""
    assert room.given("maxresellers", True) == "true"
    answer = room.say("options set maxresellers true")
    assert (answer["status"], answer["error"]) == (400, "bad_request")


def test_a_word_that_begins_no_name_is_an_error(room: Room) -> None:
    """As for ``options get``; that nothing of a group is set is none."""
    answer = room.say("options bogus")
    assert answer["status"] == 404
    assert "no option and no group begins with 'bogus'" in str(answer)
    assert "did you mean 'registration'?" in str(room.say("options registraton"))
    assert room.say("options guard --only set")["status"] == 200


def test_units_are_listed(room: Room) -> None:
    """Of durations too: a bare number is seconds."""
    lines = room.say("options guard")["lines"]
    units = {line.split()[0]: line for line in lines if line.startswith("guard")}
    assert " seconds " in units["guardagentban"]
    assert " failures " in units["guardagentfails"]


def test_what_two_options_mean_together_is_refused_with_the_way_out(room: Room) -> None:
    """Nobody has to guess what is in the way."""
    answer = room.say("options set upperexpiremin 5000")
    assert answer["status"] == 400
    assert "would be above upperexpire, which is 5m; raise upperexpire first" in str(answer)
    assert room.say("options get upperexpiremin")["result"]["option"]["at_most"] == "upperexpire"
