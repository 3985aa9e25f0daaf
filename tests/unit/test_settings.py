"""How settings are declared and read: the same rules for the core and for plugins."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.settings import Listen, read_section, redact, setting, type_name, unknown


@dataclass(frozen=True, slots=True)
class Trunk:
    """Nested: a table of its own."""

    uri: str = setting(doc="where to send calls")
    password: str = setting("", "when it asks for one")
    weight: int = setting(1, "share of the calls", least=0, most=100)


@dataclass(frozen=True, slots=True)
class Everything:
    """One field of each kind."""

    trunk: list[Trunk] = setting([], "the trunks")
    prefixes: dict[str, str] = setting({}, "called prefix to trunk")
    numbers: tuple[int, ...] = setting((), "whole numbers", least=1)
    mode: Literal["on", "off"] = setting("on", "which")
    limit_s: float | None = setting(None, "none: no limit")
    either: int | str = setting(0, "a number or a text")
    anything: Any = setting(None, "whatever")
    labels: Mapping[str, int] = field(default_factory=dict)


def read(table: dict[str, Any]) -> tuple[Everything | None, list[str]]:
    problems: list[str] = []
    return read_section(Everything, table, "f.toml: x", problems), problems


def test_every_kind_of_value_is_read():
    """Tables in tables become dataclasses, lists become what the field says, whole numbers become numbers."""
    made, problems = read(
        {
            "trunk": [{"uri": "sip:a", "weight": 3}],
            "prefixes": {"00": "a"},
            "numbers": [1, 2],
            "mode": "off",
            "limit_s": 3,
            "either": "x",
            "anything": [{}],
            "labels": {"a": 1},
        }
    )
    assert problems == []
    assert made == Everything(
        [Trunk("sip:a", weight=3)], {"00": "a"}, (1, 2), "off", 3.0, "x", [{}], {"a": 1}
    )


def test_every_kind_of_mistake_is_told_where_it_is():
    """Down to the third table of a list."""
    made, problems = read(
        {
            "trunk": [{"uri": "sip:a"}, {"uri": 5, "wieght": 1}, {"weight": 101, "password": 7, "uri": ""}],
            "prefixes": {"00": 1},
            "numbers": [1, 0],
            "mode": "maybe",
            "limit_s": "long",
            "either": 1.5,
            "labels": [],
        }
    )
    assert made is None
    assert problems == [
        "f.toml: x.trunk[2].wieght: no such setting; did you mean 'weight'?",
        "f.toml: x.trunk[2].uri: want text, got 5",
        "f.toml: x.trunk[3].password: want text, got a secret of another type",
        "f.toml: x.trunk[3].weight: 101 is too large, the most is 100",
        "f.toml: x.prefixes.00: want text, got 1",
        "f.toml: x.numbers: 0 is too small, the least is 1",
        "f.toml: x.mode: want 'on' or 'off', got 'maybe'",
        "f.toml: x.limit_s: want number, got 'long'",
        "f.toml: x.either: want whole number or text, got 1.5",
        "f.toml: x.labels: want table, got []",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 10**400])
def test_numbers_that_nobody_can_calculate_with_are_refused(value):
    """TOML has them; as a limit or a time they would mean nothing."""
    made, problems = read({"limit_s": value})
    assert made is None
    assert f"f.toml: x.limit_s: want number, got {value!r}" in problems


def test_types_in_words():
    """An administrator reads no Python."""
    assert type_name(list[Trunk]) == "list of tables"
    assert type_name(dict[str, str]) == "table"
    assert type_name(float | None) == "number"
    assert type_name(bool) == "true or false"
    assert type_name(Any) == "anything"


def test_an_unknown_name_gets_the_nearest_or_all():
    """A slip is corrected; something quite different is answered with what there is."""
    assert unknown("setting", "expire_s", ["expires_s", "q"]) == "no such setting; did you mean 'expires_s'?"
    assert unknown("setting", "xyz", ["b", "a"]) == "no such setting; known: a, b"
    assert unknown("plugin", "xyz", []) == "no such plugin; known: none"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*Everything.__dataclass_fields__, "other"]), json_like))
def test_reading_never_raises(table):
    """Whatever is in the file: settings, or sentences about what is wrong."""
    made, problems = read(table)
    assert (made is None) == bool(problems)


@pytest.mark.parametrize(
    "text", ["udp:127.0.0.1:5060", "tcp:[::1]:0", "tls:sip.example.org:5061", "udp:0.0.0.0:65535"]
)
def test_a_listener_prints_as_it_was_written(text):
    """Messages name listeners the way the configuration does."""
    assert str(Listen.parse(text)) == text


@pytest.mark.parametrize(
    ("value", "name", "shown"),
    [
        ("hunter2", "password", "***"),
        ("hunter2", "trunk_password", "***"),
        ("hunter2", "sslpassword", "***"),
        ("", "password", ""),
        ("postgresql://u:hunter2@h:5/n", "url", "postgresql://u:***@h:5/n"),
        ("postgresql://u:hun@ter2@h/n", "url", "postgresql://u:***@h/n"),
        ("postgresql:///n?host=/run&password=hunter2", "url", "postgresql:///n?host=/run&password=***"),
        ("sip:a@b", "uri", "sip:a@b"),
        ({"token": "hunter2", "user": "u"}, "", {"token": "***", "user": "u"}),
        ([{"secret": "hunter2"}], "x", [{"secret": "***"}]),
        (5, "calls", 5),
    ],
)
def test_secrets_are_not_shown(value, name, shown):
    """Passwords by name, passwords in URLs, passwords deep inside."""
    assert redact(value, name) == shown
