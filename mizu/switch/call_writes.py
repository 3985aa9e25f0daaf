"""What calls wait for: the writes of their rows, and routers that have to ask somebody.

A call goes on by itself when it is told how that ended. Nothing else of call control waits for the database.
"""

from collections.abc import Awaitable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.accounts.limits import Refusal
from mizu.errors import CallRefused, MizuError, StoreBusy
from mizu.interfaces import ICallStore
from mizu.model import (
    Account,
    CallAnswered,
    CallClosed,
    CallOpened,
    CallRequest,
    ChannelLimit,
    Route,
)
from mizu.switch.admission import allowed_routes
from mizu.switch.call import Call
from mizu.switch.causes import CALLER_FULL, REASONS, REFUSED, REFUSED_ELSE
from mizu.switch.ways import Ways

Pair = tuple[str, str]


def _begun(work: Awaitable[Any]) -> "Deferred[Any]":
    """What a store was asked for, under way."""
    return work if isinstance(work, Deferred) else ensureDeferred(work)  # type: ignore[arg-type]


class CallWrites:
    """
    :param store: where the rows are.
    :param ways: where calls may go.
    """

    log = Logger()

    def __init__(self, store: ICallStore, ways: Ways) -> None:
        self._store = store
        self._ways = ways
        self.refused_busy = 0  #: calls refused because of the database
        self.answered = 0  #: calls whose answer was written

    def close(self, closed: CallClosed) -> None:
        """The last state of a row; nobody waits for it."""
        self._store.close(closed)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("call set-up failed unexpectedly", failure)

    # ------------------------------------------------------------ set-up

    def begin(
        self,
        call: Call,
        account: Account,
        opened: CallOpened,
        request_uri: str,
        source_host: str,
        source_proved: bool = False,
    ) -> None:
        """
        Open the row of its call, find routes; ``call.routed()`` or ``call.refused()`` follows. The parameters
        are those of ``CallRequest``.
        """
        call.payer = account
        wanted = CallRequest(
            call.call_id,
            account,
            call.caller_number,
            call.called_number,
            request_uri,
            source_host,
            call.begun_at,
            source_proved,
        )
        written = _begun(self._store.open(opened))
        written.addCallbacks(self._opened, self._not_opened, (call, wanted), errbackArgs=(call,))
        written.addErrback(self._failed)

    def _not_opened(self, failure: Failure, call: Call) -> None:
        """The row could not be written; or it is, and the caller has no channel left."""
        if isinstance(failure.value, CallRefused):
            call.row_opened()
            if call.outcome is not None:
                call.setup_over()
            else:
                call.refused(CALLER_FULL[0], failure.value.code, CALLER_FULL[1])
        else:
            self._refused(failure, call)

    def _opened(self, _: object, call: Call, wanted: CallRequest) -> None:
        """The row is there; which way?"""
        call.row_opened()
        if call.outcome is not None:
            call.setup_over()
            return
        try:
            routes = self._ways.now(wanted)
        except Exception:
            self._refused(Failure(), call)  # type: ignore[no-untyped-call]
            return
        if routes is not None:
            self._found(routes, call, wanted)
        else:
            found = Deferred.fromCoroutine(self._ways.find(wanted))
            found.addCallbacks(self._found, self._refused, (call, wanted), errbackArgs=(call,))
            found.addErrback(self._failed)

    def _found(self, routes: Sequence[Route], call: Call, wanted: CallRequest) -> None:
        if call.outcome is not None:
            call.setup_over()
            return
        allowed = allowed_routes(wanted, routes)
        if isinstance(allowed, Refusal):
            if allowed.code == "calling_circle":
                self._ways.nobody(wanted)
            status = REFUSED.get(allowed.code, REFUSED_ELSE)
            call.refused(status, allowed.code, REASONS.get(allowed.code))
        else:
            call.routed(allowed)

    def _refused(self, failure: Failure, call: Call) -> None:
        """The row could not be written, or a router will not have the call."""
        error = failure.value
        fields: Sequence[Pair] = ()
        if isinstance(error, StoreBusy):
            self.refused_busy += 1
            fields = (("Retry-After", str(error.retry_after_s)),)
        elif not isinstance(error, MizuError):
            self.log.failure(
                "finding a route failed; call {call_id} was refused", failure, call_id=call.call_id
            )
            error = MizuError()
        if call.outcome is not None:
            call.setup_over()
        else:
            call.refused(error.sip_status, error.code, REASONS.get(error.code), fields)

    # ------------------------------------------------------------ the answer

    def commit_answer(self, call: Call, answered: CallAnswered) -> None:
        """Write it; ``call.committed()`` or ``call.not_committed()`` follows."""
        written = _begun(self._store.answer(answered))
        written.addCallbacks(self._committed, self._not_committed, (call,), errbackArgs=(call,))
        written.addErrback(self._failed)

    def _committed(self, _: object, call: Call) -> None:
        self.answered += 1
        call.committed()

    def _not_committed(self, failure: Failure, call: Call) -> None:
        error = failure.value
        if isinstance(error, StoreBusy):
            self.refused_busy += 1
            call.not_committed(error.retry_after_s)
        else:
            self.log.failure("the answer of call {call_id} was not written", failure, call_id=call.call_id)
            call.not_committed(StoreBusy.retry_after_s)

    # ------------------------------------------------------------ channels

    def take_channels(self, call: Call, channels: Sequence[ChannelLimit]) -> None:
        """See :meth:`mizu.switch.ports.Ports.take_channels`."""
        taken = _begun(self._store.take(call.call_id, channels))
        taken.addCallbacks(self._taken, self._not_taken, (call,), errbackArgs=(call,))
        taken.addErrback(self._failed)

    def _taken(self, _: object, call: Call) -> None:
        call.channels_taken()

    def _not_taken(self, failure: Failure, call: Call) -> None:
        error = failure.value
        if isinstance(error, CallRefused):
            call.no_channel()
            return
        if isinstance(error, StoreBusy):
            self.refused_busy += 1
        else:
            self.log.failure("channels of call {call_id} were not taken", failure, call_id=call.call_id)
        retry_after_s = error.retry_after_s if isinstance(error, StoreBusy) else StoreBusy.retry_after_s
        call.channels_unknown(retry_after_s)
