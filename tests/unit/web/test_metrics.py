"""Counters, rates and what Prometheus is told."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mizu.observe import Histogram, Metrics, RateWindow, StatusBoard
from mizu.testing import FakeClock
from mizu.web.metrics import COUNTERS, HISTOGRAMS


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_scrape_shows_the_counters_of_that_moment(web: Any):
    """Nothing is copied between scrapes; names end as Prometheus wants them."""
    web.metrics.messages_received += 3
    web.metrics.request_received("INVITE")
    web.metrics.request_received("X" * 100)
    web.metrics.response_sent(200)
    web.metrics.response_sent(999)
    web.board.section("transactions", lambda: {"invite_server": 4, "note": "text"})
    web.board.section("bans", lambda: 2)
    answer = await web.get("/metrics")
    assert answer.headers.getRawHeaders("content-type")[0].startswith("text/plain; version=0.0.4")
    found = samples(await answer.text())
    assert found["mizu_messages_received_total", ()] == 3
    assert found["mizu_requests_received_total", (("method", "INVITE"),)] == 1
    assert found["mizu_requests_received_total", (("method", "other"),)] == 1
    assert found["mizu_responses_sent_total", (("class", "2xx"),)] == 1
    assert found["mizu_transactions", (("kind", "invite_server"),)] == 4
    assert found["mizu_bans", ()] == 2
    assert found["mizu_ready", ()] == 1
    assert found["mizu_info", (("version", "1.2.3"),)] == 1
    assert any(name == "process_resident_memory_bytes" for name, _ in found)
    web.metrics.messages_received += 1
    assert samples(await (await web.get("/metrics")).text())["mizu_messages_received_total", ()] == 4


async def test_histograms_are_cumulative(web: Any):
    """Session request delay keeps successful and failed apart (RFC 6076 4.3)."""
    for delay_s in (0.004, 0.3, 500.0):
        web.metrics.session_indicated(delay_s)
    web.metrics.session_answered(486, 0.01)
    found = samples(await (await web.get("/metrics")).text())
    name = "mizu_session_request_delay_seconds"
    assert found[f"{name}_bucket", (("le", "0.005"), ("outcome", "successful"))] == 1
    assert found[f"{name}_bucket", (("le", "0.5"), ("outcome", "successful"))] == 2
    assert found[f"{name}_bucket", (("le", "+Inf"), ("outcome", "successful"))] == 3
    assert found[f"{name}_count", (("outcome", "failed"),)] == 1
    assert found[f"{name}_sum", (("outcome", "successful"),)] == pytest.approx(500.304)


async def test_a_scrape_of_a_broken_part_still_has_the_rest(web: Any):
    """A section that fails is left out."""
    web.board.section("calls", lambda: {}["missing"])
    found = samples(await (await web.get("/metrics")).text())
    assert ("mizu_ready", ()) in found
    assert not any(name == "mizu_calls" for name, _ in found)


def test_a_challenged_invite_is_no_call_of_its_own():
    """The rate of new calls counts each once, not the INVITE before it that had no credentials."""
    clock = FakeClock()
    metrics = Metrics()
    board = StatusBoard(clock, metrics, "1", "n")
    board.sample()
    for _ in range(20):
        metrics.session_answered(407, 0.0)
        metrics.session_answered(200, 0.1)
    clock.advance(2)
    assert board.per_s("sessions_let_in") == 10


def test_rfc_6076_ratios():
    """100 INVITEs: 10 challenged, 5 redirected, 60 answered, 15 busy, 6 failed with 503, 4 with 404."""
    metrics = Metrics()
    outcomes = [(407, 10), (302, 5), (200, 60), (486, 15), (503, 6), (404, 4)]
    for status, times in outcomes:
        for _ in range(times):
            metrics.session_answered(status, 0.1)
    for _ in range(45):
        metrics.session_ended(60.0)
    metrics.session_ended(60.0, completed=False)
    for status, times in [(401, 50), (200, 49), (403, 1)]:
        for _ in range(times):
            metrics.registration_answered(status, 0.001)
    assert metrics.ratios() == {
        "ineffective_registration_attempts": 2.0,
        "session_establishment_ratio": pytest.approx(100 * 60 / 85, abs=0.01),
        "session_establishment_effectiveness_ratio": pytest.approx(100 * 75 / 85, abs=0.01),
        "ineffective_session_attempts": pytest.approx(100 * 6 / 90, abs=0.01),
        "session_completion_ratio": 50.0,
    }
    assert metrics.registration_delay.count == 49
    assert set(Metrics().ratios().values()) == {None}


@given(st.lists(st.floats(min_value=0, max_value=1e6, allow_nan=False)))
def test_histogram_counts_every_value_once(values: list[float]):
    """The cumulative counts are what a plain count over the values gives."""
    histogram = Histogram((0.1, 1.0, 10.0))
    for value in values:
        histogram.observe(value)
    assert histogram.cumulative() == [(b, sum(v <= b for v in values)) for b in (0.1, 1.0, 10.0)]
    assert histogram.count == len(values)
    assert histogram.total == pytest.approx(sum(values))


def test_quantiles_are_bucket_bounds():
    """Half of the values lie at or below the answer."""
    histogram = Histogram((0.1, 1.0, 10.0))
    assert histogram.quantile(0.5) is None
    for value in (0.05, 0.5, 0.6, 50.0):
        histogram.observe(value)
    assert [histogram.quantile(q) for q in (0.25, 0.5, 0.99)] == [0.1, 1.0, float("inf")]


def test_a_rate_is_of_the_last_seconds_only():
    """What happened before the window does not count; a quiet server falls to zero."""
    window = RateWindow(10.0)
    assert window.per_s(0.0, 5) == 0.0
    for second in range(21):
        window.sample(float(second), 100 * min(second, 10))
    assert window.per_s(20.0, 1000) == 0.0
    window.sample(21.0, 1500)
    assert window.per_s(21.0, 1500) == pytest.approx(50.0)
    assert window.per_s(21.0, 0) == 0.0  # a counter that went back


def test_samples_are_bounded():
    """Sampled too often, the window forgets rather than grows."""
    window = RateWindow(10.0, samples_max=8)
    for at in range(1000):
        window.sample(at / 100, at)
    assert window.per_s(10.0, 1000) == pytest.approx(100.0)


def test_names_are_documented(pytestconfig: pytest.Config):
    """Every metric of the code is explained on the HTTP page of the documentation."""
    page = (pytestconfig.rootpath / "docs" / "http.rst").read_text()
    names = [name + "_total" for name, _, _ in COUNTERS] + [name for name, _, _ in HISTOGRAMS]
    missing = [name for name in names if not re.search(rf"``{name}``", page)]
    assert not missing


async def test_a_part_may_count_for_itself(web: Any):
    """Its totals are fetched when somebody reads, and rates are made of them too."""
    sent = 0

    def update(metrics: Metrics) -> None:
        metrics.messages_sent = sent

    web.board.feed(update)
    web.board.sample()
    sent = 40
    web.clock.now_s += 4
    messages = (await (await web.get("/status")).json())["messages"]
    assert (messages["sent"], messages["sent_per_s"]) == (40, 10.0)
    assert samples(await (await web.get("/metrics")).text())["mizu_messages_sent_total", ()] == 40


def test_registrations_may_be_counted_by_the_registrar():
    """Totals by status give the same numbers as counting each answer."""
    one, other = Metrics(), Metrics()
    answers = {200: 49, 401: 50, 403: 1, 423: 2, 503: 3}
    for status, times in answers.items():
        for _ in range(times):
            one.registration_answered(status, 0.001)
    other.registrations_counted(answers)
    assert one.ratios() == other.ratios()
    assert one.registrations_ok == other.registrations_ok == 49
