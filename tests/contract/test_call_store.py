"""What every ICallStore does; run over PostgreSQL and over the fake."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults
from zope.interface.verify import verifyObject

from mizu.errors import CallRefused, StoreBusy
from mizu.interfaces import ICallStore
from mizu.model import CallAnswered, CallClosed, CallOpened, ChannelLimit
from mizu.testing.stores import MemoryCallStore

T0 = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def opened(number: int = 0, **fields) -> CallOpened:
    """A call that began ``number`` seconds after T0."""
    known = {
        "call_id": uuid.uuid4().hex,
        "node": "n1",
        "caller_account_id": None,
        "caller_number": "100",
        "called_number": "200",
        "caller_sip_call_id": "a@h",
        "caller_address": "udp:192.0.2.1:5060",
        "setup_at": T0 + timedelta(seconds=number),
    }
    return CallOpened(**{**known, **fields})


def answered(call: CallOpened, **fields) -> CallAnswered:
    known = {
        "call_id": call.call_id,
        "answer_at": call.setup_at + timedelta(seconds=2),
        "route": "local",
        "callee_account_id": None,
        "callee_sip_call_id": "b@h",
        "callee_address": "tcp:[2001:db8::1]:5060",
        "dialogs": json.dumps({"a": {"tag": "x\x00\udcff", "routes": ["<sip:h;lr>"]}}, ensure_ascii=False),
    }
    return CallAnswered(**{**known, **fields})


def closed(call: CallOpened, **fields) -> CallClosed:
    known = {
        "call_id": call.call_id,
        "ring_at": call.setup_at + timedelta(seconds=1),
        "end_at": call.setup_at + timedelta(seconds=12.5),
        "setup_s": 2.0,
        "talk_s": 10.5,
        "sip_status": 200,
        "sip_reason": "OK",
        "ended_by": "callee",
        "cause": "answered",
        "route": "local",
        "callee_account_id": None,
        "callee_sip_call_id": "b@h",
        "callee_address": "tcp:[2001:db8::1]:5060",
    }
    return CallClosed(**{**known, **fields})


@pytest.fixture(params=["postgres", "memory"])
def calls(request):
    """The implementation under test."""
    return MemoryCallStore() if request.param == "memory" else request.getfixturevalue("store").calls


async def settled(calls):
    """What was written so far is committed."""
    if hasattr(calls, "flush"):
        await calls.flush()


async def rows(calls, limit=100):
    await settled(calls)
    return {cdr.call_id: cdr for cdr in await calls.recent(limit, "")}


def test_implements_the_interface(calls):
    """Every method is there with its arguments."""
    assert verifyObject(ICallStore, calls)


async def test_a_call_lives_through_its_states(calls):
    """setup, answered, ended: with times, parties, addresses and the final status."""
    call = opened()
    await calls.open(call)
    cdr = (await rows(calls))[call.call_id]
    assert (cdr.state, cdr.setup_at, cdr.answer_at, cdr.caller_number, cdr.called_number) == (
        "setup",
        T0,
        None,
        "100",
        "200",
    )
    await calls.answer(answered(call))
    cdr = (await rows(calls))[call.call_id]
    assert (cdr.state, cdr.answer_at, cdr.route) == ("answered", T0 + timedelta(seconds=2), "local")
    calls.close(closed(call))
    cdr = (await rows(calls))[call.call_id]
    assert (cdr.state, cdr.ring_at, cdr.end_at) == (
        "ended",
        T0 + timedelta(seconds=1),
        T0 + timedelta(seconds=12.5),
    )
    assert (cdr.setup_s, cdr.talk_s, cdr.sip_status, cdr.sip_reason) == (2.0, 10.5, 200, "OK")
    assert (cdr.ended_by, cdr.cause, cdr.callee_sip_call_id) == ("callee", "answered", "b@h")
    assert (cdr.caller_address, cdr.callee_address) == ("udp:192.0.2.1:5060", "tcp:[2001:db8::1]:5060")


async def test_a_failed_call_has_a_row_and_no_answer(calls):
    """Whatever was written before: without a 2xx to the caller it was not answered."""
    call = opened()
    await calls.open(call)
    await calls.answer(answered(call))
    calls.close(
        closed(
            call, sip_status=487, sip_reason="Request Terminated", talk_s=0.0, cause="cancelled", ring_at=None
        )
    )
    cdr = (await rows(calls))[call.call_id]
    assert (cdr.state, cdr.answer_at, cdr.ring_at, cdr.sip_status, cdr.cause) == (
        "ended",
        None,
        None,
        487,
        "cancelled",
    )


async def test_the_same_write_twice_changes_nothing(calls):
    """A retry after an unknown outcome is safe; what is closed stays closed."""
    call = opened()
    await calls.open(call)
    await calls.open(call._replace(caller_number="999"))
    calls.close(closed(call))
    calls.close(closed(call, cause="other", talk_s=99.0))
    await settled(calls)
    await calls.answer(answered(call, route="late"))
    cdr = (await rows(calls))[call.call_id]
    assert (cdr.caller_number, cdr.cause, cdr.talk_s, cdr.route, cdr.state) == (
        "100",
        "answered",
        10.5,
        "local",
        "ended",
    )


async def test_everything_of_a_call_at_once_keeps_its_order(calls):
    """Open, answer and close given without waiting end as a closed call."""
    several = [opened(number) for number in range(1200)]
    done = [calls.open(call) for call in several] + [calls.answer(answered(call)) for call in several]
    for call in several:
        calls.close(closed(call))
    await gatherResults(done)
    found = await rows(calls, 2000)
    assert len(found) == 1200
    assert {cdr.state for cdr in found.values()} == {"ended"}
    assert all(cdr.answer_at is not None for cdr in found.values())


async def test_a_close_without_a_row_is_nothing(calls):
    """Not an error, and no row."""
    calls.close(closed(opened()))
    assert await rows(calls) == {}


async def test_pages_go_back_in_time(calls):
    """Newest first, no gap and no repetition, also when calls began together."""
    several = [opened(number // 3) for number in range(10)]
    for call in several:
        await calls.open(call)
    await settled(calls)
    seen, before = [], ""
    while page := await calls.recent(4, before):
        seen += [cdr.call_id for cdr in page]
        before = page[-1].call_id
    assert sorted(seen) == sorted(call.call_id for call in several)
    when = {call.call_id: call.setup_at for call in several}
    assert [when[c] for c in seen] == sorted(when.values(), reverse=True)
    assert list(await calls.recent(4, uuid.uuid4().hex)) == []
    assert list(await calls.recent(4, "no such id")) == []


async def test_text_from_sip_is_stored_whatever_it_is(calls):
    """Quotes, braces, backslashes, NUL, bytes that are no UTF-8: nothing is refused, sane text is exact."""
    odd = "a'b\"c\\d{e},f\tg\nh;NULL ä漢\U0001f600 -- %s %(x)s $1"
    call = opened(caller_number=odd, caller_sip_call_id="NULL")
    bad = opened(1, called_number="x\x00y\udcff")
    await gatherResults([calls.open(call), calls.open(bad)])
    await calls.answer(answered(call, route=odd, callee_address=""))
    calls.close(closed(call, sip_reason=odd, route=odd))
    found = await rows(calls)
    cdr = found[call.call_id]
    assert (cdr.caller_number, cdr.caller_sip_call_id, cdr.sip_reason, cdr.route) == (odd, "NULL", odd, odd)
    assert bad.call_id in found


# ---------------------------------------------------------------- channels


def of(*limits: tuple[int, int]) -> tuple[ChannelLimit, ...]:
    return tuple(ChannelLimit(*one) for one in limits)


async def outcome(awaitable) -> str:
    """``ok``, or the code of the error."""
    try:
        await awaitable
    except (CallRefused, StoreBusy) as error:
        return error.code
    return "ok"


async def test_channels_are_counted_from_the_opening_to_the_close(calls):
    """The third call of two at a time is refused and has its row; a call that ends makes room for one."""
    first, second, third, fourth = (opened(number, channels=of((7, 2))) for number in range(4))
    assert [await outcome(calls.open(call)) for call in (first, second, third)] == [
        "ok",
        "ok",
        "max_channels",
    ]
    calls.close(closed(third, sip_status=503, cause="max_channels"))
    assert (await rows(calls))[third.call_id].cause == "max_channels"
    assert await outcome(calls.open(opened(5, channels=of((7, 2))))) == "max_channels"
    calls.close(closed(first))
    assert await outcome(calls.open(fourth)) == "ok"


async def test_every_account_of_the_chain_must_have_a_channel(calls):
    """A call that one of them refuses counts for none of them."""
    assert await outcome(calls.open(opened(channels=of((1, 5), (9, 1))))) == "ok"
    assert await outcome(calls.open(opened(channels=of((2, 1), (9, 1))))) == "max_channels"
    assert await outcome(calls.open(opened(channels=of((2, 1))))) == "ok"


async def test_many_calls_at_once_get_what_there_is(calls):
    """Whatever order they come in, no more are let in than there are channels, and no fewer."""
    wanted = [opened(number, channels=of((3, 7))) for number in range(30)]
    found = await gatherResults([ensureDeferred(outcome(calls.open(call))) for call in wanted])
    assert found.count("ok") == 7
    assert found.count("max_channels") == 23


async def test_a_call_that_goes_another_way_gives_its_channels_back(calls):
    """What it takes is instead of what it had; what it has already is not asked for again."""
    call, other = opened(channels=of((1, 1))), opened(channels=of((5, 1)))
    await calls.open(call)
    assert await outcome(calls.take(call.call_id, of((1, 1), (5, 1)))) == "ok"
    assert await outcome(calls.open(other)) == "max_channels"
    calls.close(closed(other))
    assert await outcome(calls.take(call.call_id, of((1, 1), (6, 1)))) == "ok"
    assert await outcome(calls.open(opened(channels=of((5, 1))))) == "ok"
    assert await outcome(calls.take(call.call_id, of((1, 1), (5, 1)))) == "max_channels"
    assert await outcome(calls.open(opened(channels=of((6, 1))))) == "max_channels"  # as before
    assert await outcome(calls.take(call.call_id, ())) == "ok"
    assert await outcome(calls.open(opened(channels=of((1, 1), (6, 1))))) == "ok"


async def test_a_call_that_is_over_takes_nothing(calls):
    """Nor one that never was."""
    call = opened()
    await calls.open(call)
    calls.close(closed(call))
    await settled(calls)
    assert await outcome(calls.take(call.call_id, of((1, 1)))) == "store_busy"
    assert await outcome(calls.take(uuid.uuid4().hex, of((1, 1)))) == "store_busy"
    assert await outcome(calls.open(opened(channels=of((1, 1))))) == "ok"


async def test_a_close_and_an_opening_at_once(calls):
    """Who hangs up and calls again at once finds the channel free."""
    call = opened(channels=of((1, 1)))
    await calls.open(call)
    for number in range(5):
        again = opened(number, channels=of((1, 1)))
        calls.close(closed(call))
        assert await outcome(calls.open(again)) == "ok"
        call = again
