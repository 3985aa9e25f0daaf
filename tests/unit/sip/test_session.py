"""Answers until their ACK, reliable provisional responses, offers and answers, session timers."""

import pytest

from mizu.sip.message import Request, Response
from mizu.sip.session import (
    OfferAnswer,
    ReceivedProvisionals,
    ReliableProvisionals,
    Repeater,
    agree_as_uac,
    agree_as_uas,
    glare_wait_s,
    rack_of,
)
from mizu.sip.timers import TimerSettings
from mizu.testing import FakeClock


def repeater(clock: FakeClock, longest_s: float = 4.0) -> tuple[Repeater, list[float], list[float]]:
    began_s = clock.mono_s()
    sent: list[float] = []
    given_up: list[float] = []
    made = Repeater(
        lambda: sent.append(round(clock.mono_s() - began_s, 3)),
        lambda: given_up.append(round(clock.mono_s() - began_s, 3)),
        deadlines=clock.deadlines,
        now=clock.mono_s,
        timers=TimerSettings(),
        longest_s=longest_s,
    )
    return made, sent, given_up


def test_a_2xx_is_repeated_until_64_t1() -> None:
    """RFC 3261 13.3.1.4: T1, doubling up to T2, for 32 s."""
    clock = FakeClock()
    _, sent, given_up = repeater(clock)
    clock.run_until_idle()
    assert sent == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert given_up == [32.0]


def test_an_ack_stops_it() -> None:
    """Nothing more is sent, nothing is kept."""
    clock = FakeClock()
    made, sent, given_up = repeater(clock)
    clock.advance(1)
    made.stop()
    made.stop()
    clock.run_until_idle()
    assert (sent, given_up, len(clock.deadlines)) == ([0, 0.5], [], 0)


def provisionals() -> tuple[FakeClock, ReliableProvisionals, list[Response], list[str]]:
    clock = FakeClock()
    sent: list[Response] = []
    lost: list[str] = []

    def make(send: object, gave_up: object) -> Repeater:
        return Repeater(
            send,  # type: ignore[arg-type]
            gave_up,  # type: ignore[arg-type]
            deadlines=clock.deadlines,
            now=clock.mono_s,
            timers=TimerSettings(),
            longest_s=32.0,
        )

    made = ReliableProvisionals(sent.append, lambda: lost.append("lost"), make, cseq=1, first_rseq=10)
    return clock, made, sent, lost


def test_one_reliable_response_at_a_time() -> None:
    """RFC 3262 3: the second waits for the PRACK of the first, numbers rise by one."""
    _, made, sent, _ = provisionals()
    made.push(Response(180))
    made.push(Response(183, body=b"sdp"))
    assert [response.get("rseq") for response in sent] == ["10"]
    assert made.holds_answer
    assert made.acknowledge("11 1 INVITE") is None
    assert made.acknowledge("10 2 INVITE") is None
    assert made.acknowledge("10 1 BYE") is None
    assert made.acknowledge("nonsense") is None
    assert made.acknowledge("10 1 INVITE") is sent[0]
    assert [response.get("rseq") for response in sent] == ["10", "11"]
    assert made.acknowledge("11 1 INVITE") is sent[1]
    assert not made.holds_answer
    assert made.acknowledge("11 1 INVITE") is None


def test_without_prack_it_gives_up() -> None:
    """After 64*T1; the repetitions only double."""
    clock, made, sent, lost = provisionals()
    made.push(Response(180))
    clock.run_until_idle()
    assert (len(sent), lost) == (7, ["lost"])


def test_a_final_response_ends_the_repetition() -> None:
    """Whatever was waiting is dropped."""
    clock, made, sent, lost = provisionals()
    made.push(Response(180))
    made.push(Response(183))
    made.stop()
    clock.run_until_idle()
    assert (len(sent), lost) == (1, [])


def test_what_is_reliable() -> None:
    """Require: 100rel and a number; everything else needs no PRACK."""
    good = Response(183, fields=[("Require", "100rel"), ("RSeq", "5"), ("CSeq", "2 INVITE")])
    assert rack_of(good) == "5 2 INVITE"
    assert rack_of(Response(183, fields=[("RSeq", "5"), ("CSeq", "2 INVITE")])) is None
    assert rack_of(Response(183, fields=[("Require", "100rel"), ("RSeq", "x"), ("CSeq", "2 INVITE")])) is None


def test_received_numbers_must_follow() -> None:
    """RFC 3262 4: repeated and overtaking responses are not taken."""
    received = ReceivedProvisionals()
    assert [received.is_new(number) for number in (7, 7, 9, 8, 9)] == [True, False, False, True, True]


def test_offers_and_answers() -> None:
    """Who may offer when (RFC 3264, RFC 3311 5.2)."""
    session = OfferAnswer()
    assert session.clash() == 0
    session.sent(b"offer")
    assert session.clash() == 491
    session.received(b"answer")
    assert (session.clash(), session.complete) == (0, True)
    session.received(b"offer 2")
    assert session.clash() == 500
    session.refused()
    assert session.clash() == 0
    session.sent(b"")
    assert session.clash() == 0


def asks(*fields: tuple[str, str]) -> Request:
    return Request("INVITE", "sip:x", list(fields))


TIMER = ("Supported", "timer")


@pytest.mark.parametrize(
    ("request_", "seconds", "ours", "knows"),
    [
        (asks(), 1800, True, False),
        (asks(TIMER), 1800, False, True),
        (asks(TIMER, ("Session-Expires", "600")), 600, False, True),
        (asks(TIMER, ("Session-Expires", "600;refresher=uas")), 600, True, True),
        (asks(TIMER, ("x", "7200;refresher=uac")), 1800, False, True),
        (asks(TIMER, ("Min-SE", "3000")), 3000, False, True),
        (asks(("Session-Expires", "30")), 90, True, False),
        (asks(TIMER, ("Session-Expires", "soon")), 1800, False, True),
    ],
)
def test_the_timer_we_grant(request_: Request, seconds: int, ours: bool, knows: bool) -> None:
    """RFC 4028 9, table 2."""
    agreed = agree_as_uas(request_, ours_s=1800, min_s=90)
    assert agreed is not None
    assert (agreed.interval_s, agreed.we_refresh, agreed.peer_knows) == (seconds, ours, knows)


def test_a_timer_that_is_too_short() -> None:
    """The caller is told (422), if it can understand that."""
    assert agree_as_uas(asks(TIMER, ("Session-Expires", "30")), ours_s=1800, min_s=90) is None


def test_the_timer_we_are_granted() -> None:
    """RFC 4028 7.2: without the header the peer knows no timers and we refresh."""
    none = agree_as_uac(Response(200), asked_s=1800)
    assert (none.interval_s, none.we_refresh, none.peer_knows) == (1800, True, False)
    theirs = agree_as_uac(Response(200, fields=[("Session-Expires", "300;refresher=uas")]), asked_s=1800)
    assert (theirs.interval_s, theirs.we_refresh) == (300, False)
    assert theirs.act_s == 268  # 32 s before the end (RFC 4028 10)
    mine = agree_as_uac(Response(200, fields=[("Session-Expires", "90;refresher=uac")]), asked_s=1800)
    assert (mine.act_s, mine.expire_s) == (45, 60)
    assert mine.header(uas=True) == ("Session-Expires", "session-expires", "90;refresher=uas")


def test_waiting_after_glare() -> None:
    """RFC 3261 14.1."""
    assert glare_wait_s(True, 0) == 2.1
    assert glare_wait_s(True, 1) == 4.0
    assert (glare_wait_s(False, 0), glare_wait_s(False, 1)) == (0, 2.0)
