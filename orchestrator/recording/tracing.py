"""A run's events as spans of a trace: a fold. Pure; the composition root exports the spans.

Ids are derived, never random: the trace's id is the run's own unless the request came with a trace,
and a span's id is a digest of its place in the run. So every process that executes a part of a run
writes into the same trace, and a process that takes over from a dead one can report the spans that
the dead one left open. Spans hold no text of users or models.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from antiphon.data.records import RunRecord
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AnyEvent,
    Interrupt,
    InterruptAnswered,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
    ToolComplete,
    ToolError,
    ToolStart,
    Usage,
)
from antiphon.orchestrator.recording.view import RECOVERED

LOST = "lost"
"""Status of an execution whose process died; the one that takes over reports its span."""
HANDED_BACK = "handed_back"
"""Status of an execution that ended before its run did, for another worker to go on."""

_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A finished span. Ids are hexadecimal as in W3C's trace context, times ms since the epoch."""

    trace_id: str
    id: str
    parent_id: str | None
    name: str
    started: int
    ended: int
    attributes: dict[str, str | int]
    failed: bool = False


Export = Callable[[Span], None]
"""Exports a finished span. Must not block, and must not raise."""


class ModelAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A model call begins inside an agent's span. Not an event: readers have no use for it."""

    span: str
    call: str
    model: str | None


class ModelAnswered(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a model call."""

    call: str
    usage: Usage = Usage()
    code: str | None = None


Happening = AnyEvent | ModelAsked | ModelAnswered
Trace = Callable[[Happening, int], None]
"""Takes what happens in a run, and its time in ms since the epoch."""


def untraced(what: Happening, at: int) -> None:
    """Trace nothing."""


class TraceContext(NamedTuple):
    """The trace of a run; `parent_id` is the span of the request that started it, if it had one."""

    trace_id: str
    parent_id: str | None = None
    sampled: bool = True


def context_of(run_id: str, traceparent: str | None) -> TraceContext:
    """Return the trace that a request came with, else one whose id is the run's own.

    A UUID has exactly the 128 bits of a trace id.
    """
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is not None:
        return TraceContext(match[1], match[2], sampled=bool(int(match[3], 16) & 1))
    return TraceContext(run_id.replace("-", ""))


def checked_traceparent(header: str | None) -> str | None:
    """Return a `traceparent` header as stored; None if it is not valid, as W3C asks."""
    return header[:55] if header and _TRACEPARENT.fullmatch(header) else None


class _Open(NamedTuple):
    """A span that has not ended."""

    key: str
    name: str
    parent: str
    started: int
    attributes: dict[str, str | int | None]


class RunSpans:
    """Turns everything that happens in a run into spans; each method returns those that ended."""

    def __init__(self, run: RunRecord, context: TraceContext) -> None:
        self.trace_id = context.trace_id
        self._run = run
        self._context = context
        self._dialect: str | None = None
        self._epoch, self._attempt = run.lease_epoch, run.attempt
        self._began = self._last = run.created_at
        self._end: dict[str, str | None] = {}
        self._open: dict[str, _Open] = {}

    def begin(self, at: int, *, after_crash: bool) -> list[Span]:
        """Begin an execution. After a crash, return the spans that the dead process left open."""
        lost = []
        if after_crash:
            self._epoch, self._attempt = self._run.lease_epoch - 1, self._run.attempt - 1
            lost = self.close(LOST, self._last)
        self._open.clear()
        self._epoch, self._attempt = self._run.lease_epoch, self._run.attempt
        self._began, self._end = at, {}
        return lost

    def see(self, what: Happening, at: int) -> list[Span]:
        """Add what happened next, at a time in ms since the epoch."""
        self._last = at
        match what:
            case AgentChunk():
                return []
            case AgentStart():
                parent = what.parent or _execution(what.span.partition(".")[0])
                name = f"agent {what.agent}"
                self._start(what.span, name, parent, at, agent=what.agent, role=what.role)
            case AgentComplete():
                return self._finish(what.span, at, finish_reason=what.finish_reason)
            case AgentError():
                return self._finish(what.span, at, code=what.code)
            case ToolStart() | ToolComplete() | ToolError() | ModelAsked() | ModelAnswered():
                return self._see_call(what, at)
            case _:
                self._see_run(what, at)
        return []

    def _see_call(self, what: Happening, at: int) -> list[Span]:
        """Add the begin or the end of a call of a tool or a model."""
        match what:
            case ToolStart():
                self._start(_tool(what), f"tool {what.name}", what.span, at, tool=what.name)
            case ToolComplete():
                return self._finish(_tool(what), at)
            case ToolError():
                return self._finish(_tool(what), at, code=what.code)
            case ModelAsked():
                name = f"model {what.model or 'unnamed'}"
                self._start(what.call, name, what.span, at, model=what.model)
            case ModelAnswered(usage=usage):
                tokens = {
                    "input_tokens": usage.input_tokens or None,
                    "output_tokens": usage.output_tokens or None,
                }
                return self._finish(what.call, at, code=what.code, **tokens)
        return []

    def _see_run(self, event: AnyEvent, at: int) -> None:
        match event:
            case RunStart():
                self._dialect, self._began = event.dialect, at
            case RunAttempt() if event.reason == RECOVERED:
                self._open.clear()
                self._began, self._end = at, {}
            case InterruptAnswered():
                self._began, self._end = at, {}
            case Interrupt():
                self._end = {"status": "interrupted"}
            case RunComplete():
                self._end = {"status": "completed"}
            case RunCancelled():
                self._end = {"status": "cancelled"}
            case RunError():
                self._end = {"status": "failed", "code": event.code}

    def close(self, status: str, at: int) -> list[Span]:
        """End the execution: return what is open, innermost first, then the execution's own span.

        `status` is used if no event has ended the run.
        """
        run, end = self._run, {"status": status, **self._end}
        reason = end["status"]
        spans = []
        for key in reversed(list(self._open)):
            spans += self._finish(key, at, finish_reason=reason)
        whole = _Open(
            key=_execution(self._epoch),
            name="run",
            parent="",
            started=self._began,
            attributes={
                "run_id": run.id,
                "thread_id": run.thread_id,
                "graph": run.graph,
                "attempt": self._attempt,
                "dialect": self._dialect,
            },
        )
        return [*spans, self._span(whole, at, {**end})]

    def _start(self, key: str, name: str, parent: str, at: int, **attributes: str | None) -> None:
        self._open[key] = _Open(key, name, parent, at, {**attributes})

    def _finish(self, key: str, at: int, **attributes: str | int | None) -> list[Span]:
        """End a span, if it is open: one of an earlier execution was reported by that one."""
        ended = self._open.pop(key, None)
        return [self._span(ended, at, attributes)] if ended is not None else []

    def _span(self, ended: _Open, at: int, attributes: dict[str, str | int | None]) -> Span:
        values = {"run_id": self._run.id, **ended.attributes, **attributes}
        return Span(
            trace_id=self._context.trace_id,
            id=self._id(ended.key),
            parent_id=self._id(ended.parent) if ended.parent else self._context.parent_id,
            name=ended.name,
            started=ended.started,
            ended=max(at, ended.started),
            attributes={name: value for name, value in values.items() if value is not None},
            failed=values.get("code") is not None or values.get("status") == LOST,
        )

    def _id(self, key: str) -> str:
        return hashlib.blake2b(f"{self._run.id} {key}".encode(), digest_size=8).hexdigest()


def _execution(epoch: int | str) -> str:
    """Return the key of an execution's own span; agents' spans begin with the same number."""
    return f"run {epoch}"


def _tool(event: ToolStart | ToolComplete | ToolError) -> str:
    return f"{event.span} {event.call_id}"
