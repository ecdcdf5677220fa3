"""The figures of /metrics."""

from collections.abc import Callable

import jax.monitoring
import prometheus_client as prometheus

_COMPILED = "/jax/core/compile/backend_compile_duration"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Telemetry:
    """Attributes:
    registry: what is exported.
    requests, seconds: by route (and method and status): answered requests, and how long they took.
    batches: histories in each batch that the model answered.
    rejected: requests turned away with 503.
    reloads: tries at a newer checkpoint by result, "swapped" or "failed".
    """

    def __init__(self, *, waiting: Callable[[], int], step: Callable[[], int | None]):
        """
        Args:
            waiting: histories that wait. step: the checkpoint that is served.
        """
        self.registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        self.requests = prometheus.Counter(
            "bert4rec_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = prometheus.Histogram(
            "bert4rec_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batches = prometheus.Histogram(
            "bert4rec_batch_histories",
            "Histories that the model answered at once.",
            buckets=(1, 2, 4, 8, 16),
            registry=registry,
        )
        self.rejected = prometheus.Counter(
            "bert4rec_rejected", "Requests turned away: too much was waiting.", registry=registry
        )
        self.reloads = prometheus.Counter(
            "bert4rec_reloads", "Tries at a newer checkpoint.", ["result"], registry=registry
        )
        for result in ("swapped", "failed"):
            self.reloads.labels(result)
        gauge = prometheus.Gauge(
            "bert4rec_waiting_histories", "Histories that wait for the model.", registry=registry
        )
        gauge.set_function(waiting)
        gauge = prometheus.Gauge(
            "bert4rec_checkpoint_step", "Training step of the model.", registry=registry
        )
        gauge.set_function(lambda: step() or 0)
        self._compilations = prometheus.Counter(
            "bert4rec_compilations",
            "Programs compiled since the server was ready: stays 0.",
            registry=registry,
        )
        jax.monitoring.register_event_duration_secs_listener(self._on_event)

    def _on_event(self, event: str, duration: float, **_) -> None:
        if event == _COMPILED:
            self._compilations.inc()
