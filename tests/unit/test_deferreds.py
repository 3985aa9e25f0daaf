"""Work that its caller cannot stop."""

import pytest
from twisted.internet.defer import CancelledError, Deferred

from mizu.deferreds import shield
from mizu.errors import StoreBusy


def test_a_result_and_a_failure_pass_through():
    """As if there were no shield."""
    inner, failing = Deferred(), Deferred()
    seen = []
    shield(inner).addCallback(seen.append)
    shield(failing).addErrback(lambda failure: seen.append(failure.value.args))
    inner.callback(1)
    failing.errback(KeyError(2))
    assert seen == [1, (2,)]


@pytest.mark.parametrize("late", ["result", "refusal", "error"])
def test_a_cancelled_caller_leaves_the_work_alone(late, clean_reactor):
    """The work is not cancelled; its late result is dropped, its late failure logged."""
    cancelled = []
    inner = Deferred(cancelled.append)
    outer = shield(inner)
    outer.addErrback(lambda failure: failure.trap(CancelledError))
    outer.cancel()
    assert outer.called
    assert cancelled == []
    if late == "result":
        inner.callback(1)
    elif late == "refusal":
        inner.errback(StoreBusy("no"))
    else:
        inner.errback(KeyError("late"))
        assert [failure.type for failure in clean_reactor] == [KeyError]
        clean_reactor.clear()
