"""Arguments from JSON: as strict as from words, and in their own types."""

import pytest

from mizu.accounts.field import split
from mizu.console.arguments import ASSIGNMENT, DURATION, FLAG, SECRET, TEXT, Argument, choice, integer
from mizu.console.words import CommandError, SecretMissing, spoken, values_of_json, values_of_words

ARGUMENTS = (
    Argument("user", TEXT, "who", required=True),
    Argument("fields", ASSIGNMENT, "what", many=True),
    Argument("limit", integer(1, 10), "how many", option=True, default=5),
    Argument("time", DURATION, "how long", option=True),
    Argument("how", choice("drop", "refuse"), "in which way", option=True, default="drop"),
    Argument("dry-run", FLAG, "only look", option=True, default=False),
)
LOGIN = (Argument("user", TEXT, "who", required=True), Argument("password", SECRET, "what", required=True))


def values(**given):
    return values_of_json(ARGUMENTS, given, "usage: x")


def test_values_have_their_types_and_defaults():
    """What is left out, or null, has its default; a dash in a name is an underscore."""
    assert values(user="a", time=None) == {
        "user": "a",
        "fields": None,
        "limit": 5,
        "time": None,
        "how": "drop",
        "dry-run": False,
    }
    assert values_of_json(ARGUMENTS, {"user": "a", "dry-run": True}, "")["dry-run"] is True


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("limit", 7, 7),
        ("limit", "7", 7),
        ("limit", 7.0, 7),
        ("time", 90, 90.0),
        ("time", "2h", 7200.0),
        ("how", "refuse", "refuse"),
        ("dry_run", True, True),
        (
            "fields",
            {"a": 1, "b": True, "c": None, "d": ["x", 2], "e": "t u"},
            ["a=1", "b=true", "c=", "d=x,2", "e=t u"],
        ),
        ("fields", ["a=1", "b="], ["a=1", "b="]),
        ("fields", "a=1", ["a=1"]),
    ],
)
def test_json_values_become_what_words_would(name, given, expected):
    """Numbers, true and false, lists and objects need no quoting."""
    assert values(user="x", **{name: given})[name.replace("_", "-")] == expected


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "user is missing"),
        ({"user": None}, "user is missing"),
        ({"user": 5}, "user: want text"),
        ({"user": ["a"]}, "user: want text"),
        ({"user": "a\nb"}, "no control characters"),
        ({"user": "x" * 2000}, "at most 1024 characters"),
        ({"user": "a", "limit": 11}, "a whole number from 1 to 10"),
        ({"user": "a", "limit": 1.5}, "a whole number from 1 to 10"),
        ({"user": "a", "limit": True}, "limit: want a whole number"),
        ({"user": "a", "limit": [1]}, "limit: want a whole number"),
        ({"user": "a", "how": "hard"}, "one of drop, refuse"),
        ({"user": "a", "dry_run": "true"}, "dry_run: want true or false"),
        ({"user": "a", "dry_run": 1}, "dry_run: want true or false"),
        ({"user": "a", "fields": {"a": {"b": 1}}}, "fields: want text, numbers"),
        ({"user": "a", "fields": {"not a name": 1}}, "field=value"),
        ({"user": "a", "fields": 3}, "fields: want a list"),
        ({"user": "a", "limt": 3}, "no argument 'limt'"),
    ],
)
def test_what_will_not_do_is_refused(given, complaint):
    """With the name of the argument and what it wants."""
    with pytest.raises(CommandError) as caught:
        values_of_json(ARGUMENTS, given, "usage: x")
    assert complaint in str(caught.value)
    assert caught.value.hint


def test_a_secret_is_never_repeated():
    """Neither when it is wrong nor in the line for the log."""
    with pytest.raises(CommandError) as caught:
        values_of_json(LOGIN, {"user": "a", "password": "hunter2\x07"}, "")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SecretMissing):
        values_of_json(LOGIN, {"user": "a"}, "")
    assert spoken("passwd", LOGIN, {"user": "a b", "password": "hunter2"}) == "passwd 'a b' ***"
    assert "hunter2" not in spoken("set", ARGUMENTS, values(user="a", fields={"password": "hunter2"}))


def test_what_is_no_field_may_be_a_secret():
    """Nobody logs what was typed behind a slip of the finger; values of fields are logged."""
    for given in (["passwordx=hunter2"], {"passwordx": "hunter2"}, {"PIN": "hunter2"}):
        assert "hunter2" not in spoken("set", ARGUMENTS, values(user="a", fields=given))
    assert (
        spoken("set", ARGUMENTS, values(user="a", fields=["CanDial=0", "pin=1"]))
        == "set a CanDial=0 'pin=***'"
    )
    with pytest.raises(CommandError) as caught:
        values(user="a", fields=["pin=hunter2\x07"])
    assert "hunter2" not in str(caught.value)


def test_values_of_fields_stay_what_they_are():
    """Whether a number is an id is for the field to know: it gets a number."""
    given = {"parent_id": 3, "allowed_partners": [3, "x"], "pin": False, "credit": None, "name": "a=b"}
    words = values(user="a", fields=given)["fields"]
    assert dict(map(split, words)) == given
    assert [split(word) for word in values(user="a", fields=["name=a=b"])["fields"]] == [("name", "a=b")]


def test_errors_speak_of_json():
    """Names as in the request, not as typed in a terminal."""
    for given, text in (({"user": "a", "limit": 11}, "limit: want a whole number"), ({}, "user is missing")):
        with pytest.raises(CommandError) as caught:
            values_of_json(ARGUMENTS, given, "the document says")
        assert str(caught.value).startswith(text)
        assert caught.value.hint == "the document says"
    with pytest.raises(SecretMissing, match=r"\Apassword is missing"):
        values_of_json(LOGIN, {"user": "a"}, "")


def test_null_is_a_value_where_an_argument_says_so():
    """As the owner of an account: none."""
    parent = Argument("parent", TEXT, "who", required=True, null="-")
    assert values_of_json([parent], {"parent": None}, "") == {"parent": "-"}
    with pytest.raises(CommandError):
        values_of_json([parent], {}, "")


def test_a_secret_may_be_given_by_its_name_everywhere():
    """``passwd 1001 --password P`` is ``passwd 1001 P``; not both."""
    for words in (["a", "secret"], ["a", "--password", "secret"], ["--password=secret", "a"]):
        assert values_of_words(LOGIN, words, "") == {"user": "a", "password": "secret"}
    for words in (
        ["a", "secret", "--password", "x"],
        ["a", "--password", "x", "secret"],
        ["--user", "a", "x"],
    ):
        with pytest.raises(CommandError):
            values_of_words(LOGIN, words, "")
