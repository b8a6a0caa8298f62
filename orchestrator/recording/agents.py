"""The agents at work in one execution of a run: where their spans begin, how they end or fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from langgraph.errors import GraphBubbleUp, GraphInterrupt, is_invalid_resume
from langgraph.types import RetryPolicy

from antiphon.orchestrator.budget import BudgetExceeded
from antiphon.orchestrator.errors import describe
from antiphon.orchestrator.events import AgentError, AgentStart, Channel
from antiphon.orchestrator.graphs.shape import path_of
from antiphon.orchestrator.recording.answers import Answers
from antiphon.orchestrator.recording.metadata import LABEL, is_task_path, label_of, namespace_of
from antiphon.orchestrator.recording.spans import AgentSpan, Label, Spans


class RunningAgents:
    """The agents that have begun and not ended, by the runnable that each of them is."""

    def __init__(self, spans: Spans, answers: Answers) -> None:
        self._spans = spans
        self._answers = answers
        self._writer = spans.writer
        self._open: dict[UUID, AgentSpan] = {}
        self._steps: dict[str, int] = {}
        """The step in which each task runs, by its namespace."""
        self._failed_tasks: dict[str, AgentSpan] = {}
        self._failures: dict[str, int] = {}
        """How often each task of the outermost graph has failed."""

    def __contains__(self, run_id: UUID | None) -> bool:
        return run_id in self._open

    # -- where they run ---------------------------------------------------------------------------

    def note_step(self, namespace: str, step: int) -> None:
        """Note the step of its graph in which a task runs."""
        self._steps[namespace] = step

    def place(self, namespace: str) -> str:
        """Return a task's place in the graph, `outer@2:inner@1`.

        `namespace` is LangGraph's: `outer:id|inner:id`.
        """
        if not namespace:
            return ""
        segments = namespace.split("|")
        places = []
        for depth, segment in enumerate(segments, start=1):
            step = self._steps.get("|".join(segments[:depth]), 0)
            places.append(f"{segment.partition(':')[0]}@{step}")
        return ":".join(places)

    # -- beginning --------------------------------------------------------------------------------

    def begin(
        self,
        agent: str,
        run_id: UUID,
        metadata: Mapping[str, Any],
        enclosing: AgentSpan | None,
        aside: bool,
    ) -> AgentSpan:
        """Begin an agent's span. If `aside`, what it says is a draft and not the answer."""
        label = label_of(metadata, enclosing) or Label()
        span = self._spans.new(agent, label, enclosing)
        span.own_label = metadata.get(LABEL)
        span.after = self._writer.last_seq
        span.task = namespace_of(metadata)
        span.node = self.place(span.task)
        span.is_task = is_task_path(metadata.get("langgraph_path"))
        span.channel = _channel(label, enclosing, aside)
        if enclosing is not None and span.task != enclosing.task:
            enclosing.inside.add(span.task)
        failed = self._failed_tasks.pop(span.task, None)
        if failed is not None:
            self._spans.take_back_span(failed, "node_retry")
        self._writer.emit(
            AgentStart(
                span=span.id,
                agent=agent,
                role=span.role,
                parent=enclosing.id if enclosing else None,
                kind=label.kind,
                title=label.title,
                passing=self._passes(span),
            )
        )
        self._open[run_id] = span
        return span

    def _passes(self, span: AgentSpan) -> bool:
        """Whether another node has to run after an agent's."""
        may_answer = span.channel == "answer" and span.label.channel is None
        return may_answer and self._answers.shape.passes(path_of(span.node))

    # -- ending -----------------------------------------------------------------------------------

    def end(self, run_id: UUID, outputs: Any) -> None:
        """End the span of a runnable that has returned, if it has one."""
        span = self._open.pop(run_id, None)
        if span is not None:
            self._writer.on_loop(self._end, span, outputs)

    def _end(self, span: AgentSpan, outputs: Any) -> None:
        self._cancel_inside(span)
        answered = self._answers.returned(span, outputs)
        event = self._spans.completion(span, span.finish_reason, outputs)
        self._spans.queue(span, msgspec.structs.replace(event, answered=answered))

    def fail(self, run_id: UUID, error: Exception) -> None:
        """End the span of a runnable that raised, if it has one.

        LangGraph asks a human by an exception as well; such a span ends as `interrupted`.
        """
        span = self._open.pop(run_id, None)
        if span is not None:
            self._writer.on_loop(self._fail, span, error)

    def _fail(self, span: AgentSpan, error: Exception) -> None:
        self._cancel_inside(span)
        if is_invalid_resume(error) or isinstance(error, GraphInterrupt):
            self._writer.emit(self._spans.completion(span, "interrupted"))
        elif isinstance(error, GraphBubbleUp):
            self._writer.emit(self._spans.completion(span, span.finish_reason))
        else:
            self._report(span, error)

    def _report(self, span: AgentSpan, error: Exception) -> None:
        failure = describe(error)
        recoverable = self._recovers(span, error)
        self._failed_tasks[span.task] = span
        if recoverable and span.channel == "answer":
            self._spans.take_back_span(span, "agent_failed")  # another agent will answer
        self._writer.emit(
            AgentError(
                span=span.id,
                agent=span.agent,
                role=span.role,
                code=failure.code,
                message=failure.message,
                recoverable=recoverable,
            )
        )

    def _recovers(self, span: AgentSpan, error: Exception) -> bool:
        """Whether the run goes on after a failure.

        It does if the node has an error handler, or is tried once more.
        """
        task = span.task.partition("|")[0]
        failures = self._failures.get(task, 0) + 1
        is_node_itself = span.parent is None or span.parent.task != task
        if span.task == task and is_node_itself:
            self._failures[task] = failures
        if isinstance(error, BudgetExceeded):
            return False
        shape = self._answers.shape
        node = task.partition(":")[0]
        if node in shape.forgiving:
            return True
        for policy in shape.retries.get(node, ()):
            if _retries_on(policy, error):  # the first that fits decides
                return failures < policy.max_attempts
        return False

    def _cancel_inside(self, span: AgentSpan) -> None:
        """Complete what was begun inside a span and stopped by it, innermost first."""
        for run_id, inner in reversed(list(self._open.items())):
            if span.encloses(inner):
                self._writer.emit(self._spans.completion(self._open.pop(run_id), "cancelled"))

    def close(self, finish_reason: str) -> None:
        """Complete what is still open when the run ends early, innermost first."""
        for span in reversed(list(self._open.values())):
            self._writer.emit(self._spans.completion(span, finish_reason))
        self._open.clear()


def _channel(label: Label, enclosing: AgentSpan | None, aside: bool) -> Channel:
    """The channel of an agent: its own, or what it inherits of one that its graph has labelled."""
    if label.channel:
        return label.channel
    if aside:
        return "draft"
    return enclosing.channel if enclosing and enclosing.label.channel else "answer"


def _retries_on(policy: RetryPolicy, error: Exception) -> bool:
    """Whether a policy is about an error, as LangGraph reads it."""
    on = policy.retry_on
    if isinstance(on, type | Sequence):
        return isinstance(error, on if isinstance(on, type) else tuple(on))
    return on(error)
