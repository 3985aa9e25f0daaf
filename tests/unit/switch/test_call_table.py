"""The call's state table, and what the failures of callees mean."""

import pytest

from mizu.switch.call import Call
from mizu.switch.call_table import TABLE, CallState
from mizu.switch.causes import END, FAILURES, NEXT, failure_of


def test_every_row_names_a_method() -> None:
    """The table is data; each action in it exists."""
    assert all(callable(getattr(Call, method)) for _, method in TABLE.values())


def test_every_state_but_the_last_is_left() -> None:
    """From each state a way leads to the end."""
    reached = {state for state, _ in TABLE}
    assert reached == set(CallState) - {CallState.OVER}
    for state in reached - {CallState.ENDING}:
        assert any(after is CallState.ENDING for (before, _), (after, _) in TABLE.items() if before is state)


@pytest.mark.parametrize("event", ["dropped", "cancelled", "answered", "failed", "progress", "left", "lost"])
def test_what_comes_late_changes_nothing(event: str) -> None:
    """In ENDING nothing but a late answer needs an action, and nothing leads back."""
    after, method = TABLE[CallState.ENDING, event]
    assert after is CallState.ENDING
    assert method in ("_ignore", "_too_late")


def test_an_operator_can_end_a_call_at_any_time() -> None:
    """``drop`` works in every state."""
    assert all((state, "dropped") in TABLE for state in CallState if state is not CallState.OVER)


@pytest.mark.parametrize("status", range(300, 700))
def test_no_status_misleads_the_caller(status: int) -> None:
    """Never a challenge that is not ours, never "server overloaded" for somebody else, never a redirect."""
    failure = failure_of(status)
    assert failure.status not in (401, 407, 503, 422, 421, 491)
    assert 400 <= failure.status < 700
    assert failure.then in (NEXT, END)


def test_silence_and_server_errors_try_the_next_route() -> None:
    """And a person's answer never does."""
    assert all(failure_of(status).then == NEXT for status in (408, 401, 407, *range(500, 513)))
    assert all(failure_of(status).then == END for status in (404, 480, 484, 486, 600, 603, 604))


def test_the_most_telling_failure_is_reported() -> None:
    """Declined before busy before unavailable before silence (RFC 3261 16.7, step 6)."""
    order = [603, 486, 404, 480, 408, 503]
    assert [FAILURES[status].rank for status in order] == sorted(FAILURES[status].rank for status in order)
