"""Deferreds whose work must not be stopped from outside."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.errors import MizuError

T = TypeVar("T")

_log = Logger()


def shield(inner: Deferred[T]) -> Deferred[T]:
    """
    Mirror ``inner`` but keep cancellation from it: its work goes on when the caller leaves.

    A result that comes after the caller left is dropped; a failure that comes then is logged, as nobody
    else will see it.
    """
    outer: Deferred[T] = Deferred()

    def deliver(result: T) -> None:
        if not outer.called:
            outer.callback(result)

    def fail(failure: Failure) -> None:
        if not outer.called:
            outer.errback(failure)
        elif isinstance(failure.value, MizuError):
            _log.info("work failed after its caller had left: {reason}", reason=failure.getErrorMessage())
        else:
            _log.failure("work failed after its caller had left", failure=failure)

    inner.addCallbacks(deliver, fail)
    return outer


def shield_coroutine(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """Start a coroutine whose Deferred may be cancelled without stopping it."""
    return shield(Deferred.fromCoroutine(work))
