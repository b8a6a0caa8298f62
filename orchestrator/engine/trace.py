"""Reports one execution of a run as spans, for traces."""

from __future__ import annotations

import msgspec

from antiphon.data.records import RunRecord
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.recording.tracing import (
    HANDED_BACK,
    Happening,
    RunSpans,
    Span,
    context_of,
)
from antiphon.orchestrator.request import Request


class RunTrace:
    """Exports the spans of one execution. It does nothing if they are not wanted.

    They are wanted if the engine exports spans, and the request does not refuse to be traced.
    """

    def __init__(self, run: RunRecord, environment: Environment) -> None:
        self._environment = environment
        self._spans: RunSpans | None = None
        if environment.export is not None:
            request = msgspec.json.decode(run.input, type=Request)
            context = context_of(run.id, request.traceparent)
            self._spans = RunSpans(run, context) if context.sampled else None

    @property
    def trace_id(self) -> str | None:
        """The trace's id, if there is a trace."""
        return self._spans.trace_id if self._spans is not None else None

    def replay(self, event: AnyEvent, at: int) -> None:
        """Take an event of an earlier execution, which has exported its own spans."""
        if self._spans is not None:
            self._spans.see(event, at)

    def begin(self, *, after_crash: bool) -> None:
        """Begin this execution's spans."""
        if self._spans is not None:
            self._export(self._spans.begin(self._environment.clock(), after_crash=after_crash))

    def see(self, happening: Happening, at: int) -> None:
        """Take what happens in this execution, at a time in ms."""
        if self._spans is not None:
            self._export(self._spans.see(happening, at))

    def drop(self) -> None:
        """Export no more: another worker reports how this execution ended."""
        self._spans = None

    def close(self) -> None:
        """End the open spans. There are none if the run has ended."""
        if self._spans is not None:
            self._export(self._spans.close(HANDED_BACK, self._environment.clock()))

    def _export(self, spans: list[Span]) -> None:
        if self._environment.export is not None:
            for span in spans:
                self._environment.export(span)
