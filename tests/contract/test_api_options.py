"""Options over the JSON API: what is given may be given back, in its own type, as the document says."""

from typing import Any

import pytest
import pytest_twisted

from mizu.options import OPTIONS
from mizu.testing.api import ApiProbe
from mizu.testing.console import FakeConsole

ONE = "/options/{name}"


@pytest_twisted.async_fixture
async def api() -> ApiProbe:
    """Every option, in memory."""
    return ApiProbe(FakeConsole().services)


async def test_every_option_takes_what_get_gives(api: ApiProbe) -> None:
    """Read, keep, write back: value, text, default and its text; then nothing differs from before."""
    for name in OPTIONS:
        _, option, _ = await api.ask("GET", f"/options/{name}")
        for part in ("value", "text", "default", "default_text"):
            body = {"value": option[part]}
            status, answer, _ = await api.ask("PATCH", f"/options/{name}", body, headers={"if-match": "*"})
            assert status == 200, (name, body, answer)
            api.check("PATCH", ONE, status, answer)
            assert answer["value"] == option["value"], name


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("enforcestrongauth", False, "false"),
        ("guardwhitelist", ["192.0.2.0/24", "::1"], "192.0.2.0/24,::1"),
        ("guardwhitelist", [], ""),
        ("guardbanmost", 172_800, "2d"),
    ],
)
async def test_values_in_their_own_types(api: ApiProbe, name: str, value: Any, shown: str) -> None:
    """``false`` and lists are no texts, seconds need no unit."""
    status, answer, _ = await api.ask(
        "PATCH", f"/options/{name}", {"value": value}, headers={"if-match": "*"}
    )
    assert (status, answer["text"]) == (200, shown)
    again = (await api.ask("GET", f"/options/{name}"))[1]["value"]
    assert again == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guardwhitelist", ["192.0.2.1,192.0.2.2"]),
        ("guardwhitelist", [7]),
        ("guardwhitelist", ["junk"]),
        ("guardwhitelist", {"a": 1}),
        ("upperexpiremin", 5000),
        ("maxresellers", True),
        ("enforcestrongauth", 7),
    ],
)
async def test_what_will_not_do_is_refused(api: ApiProbe, name: str, value: Any) -> None:
    """400, and the old value holds."""
    before = (await api.ask("GET", f"/options/{name}"))[1]
    status, answer, _ = await api.ask(
        "PATCH", f"/options/{name}", {"value": value}, headers={"if-match": "*"}
    )
    assert status == 400
    api.check("PATCH", ONE, status, answer)
    assert (await api.ask("GET", f"/options/{name}"))[1] == before
