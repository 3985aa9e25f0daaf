"""What operators see of the running switch: the ports of ``mizu.console.services`` over the real parts."""

from collections.abc import Callable, Sequence
from datetime import datetime
from heapq import nsmallest

from mizu.console.services import LiveCall
from mizu.console.trace import MessageTrace
from mizu.interfaces import IClock
from mizu.model import Binding
from mizu.sip.transport.table import TransportTable
from mizu.switch.b2bua import Switchboard
from mizu.switch.call import Call, CallState
from mizu.switch.caller import CallerLeg
from mizu.switch.location import LocationTable
from mizu.switch.ports import address_text
from mizu.switch.registrar import Registrar

#: State words of ``LiveCall``.
STATES = {
    CallState.SETUP: "setup",
    CallState.CALLING: "ringing",
    CallState.ANSWERING: "ringing",
    CallState.TALKING: "talking",
    CallState.ENDING: "ending",
    CallState.OVER: "ending",
}


class CallsInProgress:
    """The switchboard as the console sees it (``mizu.console.services.LiveCalls``)."""

    def __init__(self, switchboard: Switchboard, clock: IClock) -> None:
        self._switchboard, self._clock = switchboard, clock

    def list(self) -> Sequence[LiveCall]:
        now_s = self._clock.mono_s()
        return [shown(call, now_s) for call in list(self._switchboard.calls.values())]

    def drop(self, call_id: str, by: str) -> bool:
        return self._switchboard.drop(call_id, "operator")


def shown(call: Call, now_s: float) -> LiveCall:
    """A call as people read it."""
    caller = call.caller if isinstance(call.caller, CallerLeg) else None
    route = call.route
    callee = call.winner or next((leg for leg in call.legs if leg is not caller), None)
    return LiveCall(
        call_id=call.call_id,
        state=STATES[call.state],
        caller=caller.account.username if caller is not None and caller.account is not None else "",
        caller_number=call.caller_number,
        called_number=call.called_number,
        callee=route.account.username if route is not None and route.account is not None else "",
        route=route.name if route is not None else "",
        caller_address=address_text(caller.flow) if caller is not None and caller.flow is not None else "",
        callee_address=address_text(callee.flow) if callee is not None and callee.flow is not None else "",
        setup_at=call.begun_at,
        age_s=call.age_s(now_s),
        talk_s=call.talk_s(now_s),
    )


class RegisteredContacts:
    """The registrar as the console sees it (``mizu.console.services.Registrations``)."""

    def __init__(self, locations: LocationTable, registrar: Registrar, clock: IClock) -> None:
        self._locations, self._registrar, self._clock = locations, registrar, clock

    def list(self, prefix: str, limit: int, after: str = "") -> Sequence[Binding]:
        now_s = self._clock.wall().timestamp()
        names = nsmallest(limit, (aor for aor in self._locations if aor.startswith(prefix) and aor > after))
        return [binding for aor in names for binding in self._locations.lookup(aor, now_s)]

    def of(self, username: str) -> Sequence[Binding]:
        return self._locations.lookup(username, self._clock.wall().timestamp())

    def count(self) -> int:
        return len(self._locations)

    def remove(self, username: str, contact: str | None) -> int:
        return self._registrar.remove(username, contact)


class WireTrace(MessageTrace):
    """A trace that is asked for each message only while it is on."""

    def __init__(self, limit: int, wall: Callable[[], datetime], transports: TransportTable) -> None:
        super().__init__(limit, wall)
        self._transports = transports

    def start(self, *, address: str = "", user: str = "") -> None:
        super().start(address=address, user=user)
        self._transports.trace(self._passed)

    def stop(self) -> None:
        super().stop()
        self._transports.trace(None)

    def _passed(
        self, direction: str, proto: str, local: tuple[str, int], remote: tuple[str, int], data: bytes
    ) -> None:
        self.note(direction, proto, remote, data)
