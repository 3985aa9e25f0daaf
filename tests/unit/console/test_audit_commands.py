"""How entries of the audit list are shown to people."""

from typing import Any

import pytest

from mizu.console.audit_commands import _told


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({"a": None, "b": False}, {"a": "x y", "b": True}, "account:1001 a: - -> x y, b: no -> yes"),
        ({"a": ["1", "2"]}, {"a": []}, "account:1001 a: 1, 2 -> -"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "account:1001 b: 2 -> 3"),
        ({"a": [{"x": True}]}, {"a": [{"x": None}]}, 'account:1001 a: [{"x": true}] -> [{"x": null}]'),
        ({"password": "***"}, {"password": "***"}, "account:1001 password changed"),
        ({}, {}, "account:1001 changed"),
        (None, {"a": 1}, "account:1001 added"),
        ({"a": 1}, None, "account:1001 removed"),
        ({"a": "x" * 99}, {"a": ""}, f"account:1001 a: {'x' * 60}... -> -"),
    ],
)
def test_a_change_is_told_as_set_and_describe_show_values(before: Any, after: Any, text: str):
    """No word of Python or JSON in it where people can do without; of a secret only that it was changed."""
    assert _told({"topic": "account", "key": "1001", "before": before, "after": after}) == text
