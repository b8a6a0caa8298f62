"""Prometheus metrics: whether readers get their tokens, and whether work had to be recovered."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one application. The engine calls `observe`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        disable_created_metrics()  # type: ignore[no-untyped-call]

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"antiphon_{name}", text, labels, registry=self.registry)

        self.streams = Gauge(
            "antiphon_streams_open", "Open streams", ["transport"], registry=self.registry
        )
        self.resumes = counter("resumes", "Streams that began after an event", "transport")
        self.refusals = counter("refusals", "Requests and logins that were refused", "code")
        self.first_token = Histogram(
            "antiphon_first_token_seconds",
            "From the acceptance of a message to the first piece of its answer",
            buckets=FIRST_TOKEN,
            registry=self.registry,
        )
        self._counters = {
            "run_started": counter("runs_started", "Executions of runs begun"),
            "chunk": counter("chunks", "Pieces of text that models gave"),
            "output_tokens": counter(
                "output_tokens", "Tokens that models counted in their answers"
            ),
            "superseded": counter("superseded_attempts", "Attempts whose text was taken back"),
            "fenced": counter(
                "fenced_writes", "Writes refused because another worker had taken over"
            ),
            "recovered": counter("recovered_runs", "Runs taken up after their worker was lost"),
            "loop_blocked": counter(
                "loop_blocked_seconds", "Time for which the event loop did not run"
            ),
        }
        self._ended = counter("runs_ended", "Runs ended", "status")

    def observe(self, name: str, value: float) -> None:
        """Record a value that the engine reports under a name; unknown names are ignored."""
        if name == "first_token":
            self.first_token.observe(value)
        elif name.startswith("ended:"):
            self._ended.labels(name.partition(":")[2]).inc(value)
        elif name in self._counters:
            self._counters[name].inc(value)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)
