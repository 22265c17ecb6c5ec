"""Prometheus metrics; names and help say what an operator of the service wants to know. No label holds personal data."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

_LATENCY_BUCKETS: Final = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
_LAG_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_THREADS: Final = ("MainThread", "mamori-log", "mamori-inference")


class _Work(Collector):
    """What the process has done so far: CPU by thread, and scores; read when scraped."""

    def __init__(self, scores: Callable[[], tuple[int, int]]) -> None:
        self._scores = scores

    def collect(self) -> Iterable[CounterMetricFamily]:
        """The counters now."""
        threads = CounterMetricFamily(
            "mamori_thread_cpu_seconds", "CPU time of the event loop, the log's writer and the model", labels=["thread"]
        )
        # Threads that live as long as the process: the clock of one that is gone must not be read.
        for thread in threading.enumerate() if sys.platform == "linux" else ():
            if thread.ident is not None and thread.name.startswith(_THREADS):
                clock = time.pthread_getcpuclockid(thread.ident)
                threads.add_metric([thread.name], time.clock_gettime(clock))
        yield threads
        scored, cached = self._scores()
        yield CounterMetricFamily("mamori_scored", "Utterances that the model scored", value=scored)
        yield CounterMetricFamily(
            "mamori_score_cache_hits", "Utterances whose score was known from the same input", value=cached
        )


class Metrics:
    """All metrics of one process.

    Args:
        live_calls, partitions, queue_depth, log_depth, subscribers, behind, disk_free, not_monitored, log_wait, score_wait:
            read when scraped.
        scores: how many the model made, and how many the cache.
    """

    def __init__(
        self,
        *,
        live_calls: Callable[[], float],
        partitions: Callable[[], float],
        queue_depth: Callable[[], float],
        log_depth: Callable[[], float],
        subscribers: Callable[[], float],
        behind: Callable[[], float],
        disk_free: Callable[[], float],
        not_monitored: Callable[[], float],
        log_wait: Callable[[], float],
        score_wait: Callable[[], float],
        scores: Callable[[], tuple[int, int]],
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Work(scores))
        self._lag = Histogram(
            "mamori_loop_lag_seconds",
            "How late the event loop comes to what falls due",
            buckets=_LAG_BUCKETS,
            registry=self._registry,
        )
        self._events = Counter("mamori_events_total", "Events that became durable", registry=self._registry)
        self._alerts = Counter("mamori_alert_events_total", "Alert events published", registry=self._registry)
        self._observed = Counter(
            "mamori_alert_events_observed_total",
            "Alert events of observed calls, told to nobody",
            registry=self._registry,
        )
        self._unscored = Counter(
            "mamori_unscored_total", "Utterances that got no score", ["reason"], registry=self._registry
        )
        self._formats = Counter(
            "mamori_format_total",
            "Messages in platforms' own formats, and what was wrong with some",
            ["format", "what"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "mamori_alert_latency_seconds",
            "From receipt of the trigger to the alert",
            buckets=_LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._deliveries = Counter(
            "mamori_deliveries_total", "Attempts to deliver", ["kind", "verdict"], registry=self._registry
        )
        self._refused = Counter(
            "mamori_calls_refused_total",
            "Attempts to begin a call that were refused for lack of room",
            registry=self._registry,
        )
        self._faults = Counter(
            "mamori_faults_total", "Failures of our own that were gone on after", ["part"], registry=self._registry
        )
        for name, text, read in (
            ("mamori_live_calls", "Calls that are followed now", live_calls),
            ("mamori_partitions", "Partitions of a cluster whose calls are followed here, of 32", partitions),
            ("mamori_score_queue", "Utterances that wait for a score", queue_depth),
            ("mamori_log_queue", "Batches that wait for the disk", log_depth),
            ("mamori_subscribers", "Open alert streams", subscribers),
            ("mamori_subscribers_behind", "Open alert streams whose listener does not read", behind),
            ("mamori_disk_free_bytes", "Room that is left on the disk of the data directory", disk_free),
            ("mamori_log_wait_seconds", "Since when the write under way waits for the disk", log_wait),
            ("mamori_score_wait_seconds", "Since when the oldest utterance waits for its score", score_wait),
            ("mamori_calls_not_monitored", "Live calls of which something was not heard or not scored", not_monitored),
        ):
            Gauge(name, text, registry=self._registry).set_function(read)

    def add_checks(self, checks: Callable[[], Mapping[str, str]], well: frozenset[str]) -> None:
        """Shows each check of `/readyz`, read when scraped.

        Args:
            checks: name and state of each.
            well: states that are well.
        """
        gauge = Gauge(
            "mamori_check", "A check of /readyz: 1 while it is well, else 0", ["check"], registry=self._registry
        )

        def is_well(name: str) -> float:
            return float(checks()[name] in well)

        for name in checks():
            gauge.labels(name).set_function(partial(is_well, name))

    def observe(self, name: str, value: float) -> None:
        """Counts what the runtime reports."""
        if name == "events":
            self._events.inc(value)
        elif name == "loop_lag_s":
            self._lag.observe(value)
        elif name == "alerts":
            self._alerts.inc(value)
        elif name == "alerts_observed":
            self._observed.inc(value)
        elif name == "alert_latency_s":
            self._latency.observe(value)
        elif name.startswith("delivery_"):
            self._deliveries.labels(*name.split("_")[1:]).inc(value)
        elif name == "refused":
            self._refused.inc(value)
        elif name.startswith("fault_"):
            self._faults.labels(name.removeprefix("fault_")).inc(value)
        elif name.startswith("unscored_"):
            self._unscored.labels(name.removeprefix("unscored_")).inc(value)

    def observe_format(self, form: str, what: str) -> None:
        """Counts a message of a format (`messages`), or something to hear about it."""
        self._formats.labels(form, what).inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
