"""Sends runs' spans to a collector: OTLP over HTTP, in batches, from a thread of its own.

Only this file imports OpenTelemetry, and only if a collector is configured. A collector that is
slow or gone costs spans, never time: the queue is bounded and drops the oldest. OpenTelemetry's SDK
reads headers, time-outs, compression and the pace of the batches from its standard variables.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from antiphon.api.settings import Settings
from antiphon.orchestrator.recording.tracing import Export, Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

FLUSH_SECONDS = 2.0
"""How long a shutdown waits for the collector to take the last spans."""


@asynccontextmanager
async def tracing(settings: Settings) -> AsyncIterator[Export | None]:
    """Yield the function that exports a run's span; None if no collector is configured."""
    if settings.traces_url is None:
        yield None
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=settings.traces_url)
    processor = BatchSpanProcessor(exporter)
    convert = _converter(settings.otel_service_name)
    try:
        yield lambda span: processor.on_end(convert(span))
    finally:
        # The SDK would wait for half a minute; a daemon thread need not be joined.
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            processor.shutdown()  # type: ignore[no-untyped-call]
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(flushed.set)

        threading.Thread(target=flush, name="last spans", daemon=True).start()
        try:
            await asyncio.wait_for(flushed.wait(), FLUSH_SECONDS)
        except TimeoutError:
            exporter.shutdown()  # type: ignore[no-untyped-call]


def _converter(service: str) -> Callable[[Span], ReadableSpan]:
    """Return a function that converts a span to OpenTelemetry's.

    Spans have ended and have their ids, so no tracer has to begin them.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

    resource = Resource.create({"service.name": service})
    scope = InstrumentationScope("antiphon", version("antiphon"))
    sampled = TraceFlags(TraceFlags.SAMPLED)

    def place(span: Span, span_id: str) -> SpanContext:
        trace_number, span_number = int(span.trace_id, 16), int(span_id, 16)
        return SpanContext(trace_number, span_number, is_remote=False, trace_flags=sampled)

    def convert(span: Span) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=place(span, span.id),
            parent=place(span, span.parent_id) if span.parent_id else None,
            resource=resource,
            attributes=span.attributes,
            status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
            start_time=span.started * 1_000_000,
            end_time=span.ended * 1_000_000,
            instrumentation_scope=scope,
        )

    return convert
