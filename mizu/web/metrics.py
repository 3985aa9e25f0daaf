"""``/metrics``: translates the counters of ``mizu.observe`` for Prometheus when it asks, never before.

An own registry, so that nothing of another library shows up by accident. Names of RFC 6076 are kept where the
RFC defines the number; ``docs/http.rst`` explains each.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from mizu.observe import Histogram, Metrics, StatusBoard

METRICS_CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

#: counter name, attribute of ``Metrics``, help
COUNTERS = (
    ("mizu_messages_received", "messages_received", "SIP messages received that could be parsed"),
    ("mizu_messages_sent", "messages_sent", "SIP messages sent"),
    ("mizu_messages_bad", "messages_bad", "SIP messages received that could not be parsed"),
    ("mizu_messages_dropped", "messages_dropped", "datagrams turned away before the parser"),
    ("mizu_received_bytes", "bytes_received", "bytes of SIP received"),
    ("mizu_sent_bytes", "bytes_sent", "bytes of SIP sent"),
    ("mizu_calls_refused", "calls_refused", "INVITEs refused for a limit or for want of the database"),
    ("mizu_registration_attempts", "registrations_attempted", "REGISTERs with a final answer"),
    ("mizu_registrations_successful", "registrations_ok", "REGISTERs answered 2xx"),
    ("mizu_registration_challenges", "registrations_challenged", "REGISTERs answered 401, 402 or 407"),
    (
        "mizu_ineffective_registration_attempts",
        "registrations_ineffective",
        "RFC 6076 4.2 IRA: REGISTERs answered 4xx (but 401, 402, 407), 5xx or 6xx",
    ),
    ("mizu_session_attempts", "sessions_attempted", "INVITEs for a new session with a final answer"),
    ("mizu_sessions_established", "sessions_established", "INVITEs for a new session answered 200"),
    ("mizu_session_redirects", "sessions_redirected", "INVITEs for a new session answered 3xx"),
    ("mizu_session_challenges", "sessions_challenged", "INVITEs for a new session answered 401, 402 or 407"),
    (
        "mizu_sessions_unanswered_effective",
        "sessions_effective",
        "INVITEs answered 480, 486, 600 or 603: counted as effective by RFC 6076 4.7 SEER",
    ),
    (
        "mizu_ineffective_session_attempts",
        "sessions_ineffective",
        "RFC 6076 4.8 ISA: INVITEs answered 408, 500, 503 or 504",
    ),
    ("mizu_sessions_completed", "sessions_completed", "RFC 6076 4.9: established sessions ended by a BYE"),
)

#: histogram name, attribute of ``Metrics``, help, labels
HISTOGRAMS: tuple[tuple[str, str, tuple[tuple[str, Mapping[str, str]], ...]], ...] = (
    (
        "mizu_registration_request_delay_seconds",
        "RFC 6076 4.1 RRD: REGISTER to its 2xx, as seen by the switch",
        (("registration_delay", {}),),
    ),
    (
        "mizu_session_request_delay_seconds",
        "RFC 6076 4.3 SRD: INVITE to the first 18x or 200 (successful), or to the failure (failed)",
        (
            ("session_delay_ok", {"outcome": "successful"}),
            ("session_delay_failed", {"outcome": "failed"}),
        ),
    ),
    (
        "mizu_session_disconnect_delay_seconds",
        "RFC 6076 4.4 SDD: BYE to its final answer",
        (("disconnect_delay", {}),),
    ),
    (
        "mizu_session_duration_seconds",
        "RFC 6076 4.5 SDT: 200 to BYE",
        (("session_duration", {}),),
    ),
)

#: section of the status board -> (gauge name, label, help): one sample for each number in it
GAUGES = {
    "transactions": ("mizu_transactions", "kind", "open SIP transactions"),
    "calls": ("mizu_calls", "state", "calls in progress"),
    "dialogs": ("mizu_dialogs", "kind", "dialogs of calls, and MESSAGEs on their way"),
    "registrations": ("mizu_registrations", "kind", "live registrations"),
    "database": ("mizu_database", "what", "numbers of the database connection"),
    "bans": ("mizu_bans", "kind", "bans in force"),
    "authorization": ("mizu_authorization", "what", "authorization answers and caches"),
    "timers": ("mizu_timers", "", "deadlines waiting"),
    "dropped": ("mizu_dropped_before_parser", "reason", "datagrams turned away, since the process began"),
    "transports": ("mizu_transports", "what", "numbers of the transports"),
    "connections": ("mizu_connections", "kind", "open connections"),
    "http": ("mizu_http", "what", "the HTTP side"),
    "tables": ("mizu_table_size", "table", "entries of bounded tables"),
}


class BoardCollector(Collector):
    """Reads counters and status board at the moment of a scrape."""

    def __init__(self, board: StatusBoard) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        metrics = self._board.refresh()
        yield InfoMetricFamily("mizu", "the server", {"version": self._board.version})
        ready = GaugeMetricFamily("mizu_ready", "1: ready for calls")
        facts = self._board.read()
        ready.add_metric((), 0.0 if facts["not_ready"] else 1.0)
        yield ready
        yield _gauge("mizu_uptime_seconds", "since the process began", self._board.uptime_s)
        for name, attribute, text in COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(metrics, attribute))
        yield _requests(metrics)
        yield _responses(metrics)
        for name, text, series in HISTOGRAMS:
            yield _histogram(name, text, [(getattr(metrics, at), labels) for at, labels in series])
        for ratio, value in metrics.ratios().items():
            if value is not None:
                yield _gauge(f"mizu_{ratio}_percent", "RFC 6076, since the process began", value)
        for section, (name, label, text) in GAUGES.items():
            yield from _section(name, label, text, facts.get(section))


class MetricsPage:
    """The text of ``/metrics``."""

    def __init__(self, board: StatusBoard) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(BoardCollector(board))
        ProcessCollector(registry=self._registry)  # memory, CPU, open files of this process

    def render(self) -> bytes:
        return generate_latest(self._registry)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _requests(metrics: Metrics) -> CounterMetricFamily:
    family = CounterMetricFamily("mizu_requests_received", "SIP requests received", labels=("method",))
    for method, count in metrics.requests.items():
        family.add_metric((method,), count)
    family.add_metric(("other",), metrics.requests_other)
    return family


def _responses(metrics: Metrics) -> CounterMetricFamily:
    family = CounterMetricFamily("mizu_responses_sent", "SIP responses sent", labels=("class",))
    for digit in range(1, 7):
        family.add_metric((f"{digit}xx",), metrics.responses[digit])
    return family


def _histogram(
    name: str, text: str, series: list[tuple[Histogram, Mapping[str, str]]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=tuple(series[0][1]))
    for histogram, labels in series:
        buckets = [(str(bound), float(count)) for bound, count in histogram.cumulative()]
        buckets.append(("+Inf", float(histogram.count)))
        family.add_metric(tuple(labels.values()), buckets, sum_value=histogram.total)
    return family


def _section(name: str, label: str, text: str, value: Any) -> Iterator[GaugeMetricFamily]:
    """A gauge for each number in a section of the board; a section that is one number has no label."""
    if isinstance(value, int | float):
        yield _gauge(name, text, value)
    elif isinstance(value, Mapping):
        family = GaugeMetricFamily(name, text, labels=(label,))
        for key, number in value.items():
            if isinstance(number, int | float):
                family.add_metric((str(key),), number)
        if family.samples:
            yield family
