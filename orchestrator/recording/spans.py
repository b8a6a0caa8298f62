"""The spans of agents and their texts, while they last, written as events.

A span is one invocation of one agent. A part is one text of it: the output of one model call, or
what the node writes by itself.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from langgraph.types import Command

from antiphon.orchestrator.budget import UNLIMITED, Limits, Meter
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentTextEnd,
    AnyEvent,
    Channel,
    Role,
    RunAttempt,
    Superseded,
    TextRef,
    Usage,
)
from antiphon.orchestrator.recording.writer import RunWriter
from antiphon.orchestrator.values import plain, storable

OUTPUTS_LIMIT = 16 * 1024
"""Bytes of a node's outputs beyond which they are left out of `agent_complete`."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What our own graphs say about a node, under `LABEL` in its metadata."""

    agent: str | None = None
    role: Role = "element"
    channel: Channel | None = None
    limits: Limits = UNLIMITED
    kind: str | None = None
    title: str | None = None


class Part:
    """One text of a span while it streams. `node` is the place in the graph that it comes from."""

    def __init__(self, span: AgentSpan, channel: Channel, node: str) -> None:
        self.span = span
        self.number = span.parts
        self.channel = channel
        self.node = node
        self.pieces: list[str] = []
        self.ended = False
        span.parts += 1
        span.last = self


class AgentSpan:
    """One invocation of one agent, while it lasts."""

    def __init__(self, id_: str, agent: str, label: Label, parent: AgentSpan | None) -> None:
        self.id = id_
        self.agent = agent
        self.label = label
        self.parent = parent
        self.own_label: Any = None
        """The label as the metadata has it; everything inside this span inherits it."""
        self.channel: Channel = "answer"
        self.task = ""
        self.node = ""
        self.after = 0
        self.started = time.perf_counter()
        self.meter = Meter(label.limits, self.started)
        self.is_task = False
        """Whether it is a function decorated with `@task`, whose value is for its caller only."""
        self.parts = 0
        self.last: Part | None = None
        self.speech: Part | None = None
        """The text that the node writes without a model, until another text begins."""
        self.failed: list[Part] = []
        """Texts of calls that failed; they are taken back if the model is called again."""
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.inside: set[str] = set()
        """Tasks of the spans that began directly inside this one."""
        self.received = ""
        """The last message that the agent received: returning just that is no answer."""

    @property
    def role(self) -> Role:
        """The agent's part in a team."""
        return self.label.role

    def channel_of(self, aside: bool) -> Channel:
        """Return the channel of a text; `aside` if it comes from something that cannot answer."""
        return "draft" if aside and self.label.channel is None else self.channel

    def encloses(self, other: AgentSpan | None) -> bool:
        """Return whether another span began inside this one, at any depth."""
        while other is not None and other.parent is not self:
            other = other.parent
        return other is not None

    def use(self, used: Usage) -> None:
        """Add the usage of a model call."""
        self.usage = used if self.usage is None else self.usage + used


class Spans:
    """The spans of one execution of a run. Writes the events about their texts and ends."""

    def __init__(self, writer: RunWriter, attempt: int) -> None:
        self.writer = writer
        self._attempt = attempt
        self._spans: dict[str, AgentSpan] = {}
        self._numbers = itertools.count(1)
        """An iterator, so that spans may begin in several threads at once."""

    def new(
        self, agent: str, label: Label | None = None, parent: AgentSpan | None = None
    ) -> AgentSpan:
        """Return a new span that begins now."""
        id_ = f"{self.writer.fence.epoch}.{next(self._numbers)}"
        span = self._spans[id_] = AgentSpan(id_, storable(agent), label or Label(), parent)
        return span

    def say(self, part: Part, text: str, channel: Channel | None = None) -> None:
        """Add a piece to a text. One with a `channel` of its own (reasoning) is no part of it."""
        text = storable(text)
        if channel is None:
            part.pieces.append(text)
        span = part.span
        self.writer.emit(
            AgentChunk(
                span=span.id,
                agent=span.agent,
                role=span.role,
                channel=channel or part.channel,
                text=text,
                part=part.number,
            )
        )

    def end(self, part: Part | None, calls_tools: bool = False) -> None:
        """Mark a text as complete, once."""
        if part is None or part.ended:
            return
        part.ended = True
        span = part.span
        self.writer.emit(
            AgentTextEnd(
                span=span.id,
                agent=span.agent,
                part=part.number,
                node=part.node,
                calls_tools=calls_tools,
            )
        )

    def end_speech(self, span: AgentSpan) -> None:
        """Mark the text that a node writes by itself as complete."""
        self.end(span.speech)
        span.speech = None

    def completion(
        self, span: AgentSpan, finish_reason: str | None, outputs: Any = None
    ) -> AgentComplete:
        """Return the event that ends a span."""
        return AgentComplete(
            span=span.id,
            agent=span.agent,
            role=span.role,
            text=self.writer.view.texts.of_span(span.id),
            duration_ms=round((time.perf_counter() - span.started) * 1000),
            outputs=plain_outputs(outputs) if span.role == "element" else {},
            usage=span.usage,
            finish_reason=finish_reason,
        )

    def queue(self, span: AgentSpan, event: AnyEvent) -> None:
        """Emit an event that ends a task, in one commit with the task's stored result."""
        if span.task:
            self.writer.hold(span.task, event, span.inside)
        else:
            self.writer.emit(event)

    def take_back(self, span: AgentSpan, parts: Sequence[Part], reason: str) -> None:
        """Take back single texts of a span."""
        texts = [TextRef(span=span.id, part=part.number) for part in parts]
        superseded = Superseded(after=span.after, agents=[span.agent], spans=[], texts=texts)
        self.writer.emit(self.attempt(reason, superseded))

    def take_back_span(self, span: AgentSpan, reason: str) -> None:
        """Take back all texts of an agent that failed, and those of the spans inside its own."""
        speaking = {text.key[0] for text in self.writer.view.texts}
        inside = [other for other in self._spans.values() if span.encloses(other)]
        spans = [each for each in (span, *inside) if each.id in speaking]
        if spans:
            superseded = Superseded(
                after=span.after,
                agents=sorted({each.agent for each in spans}),
                spans=[each.id for each in spans],
            )
            self.writer.emit(self.attempt(reason, superseded))

    def attempt(self, reason: str, superseded: Superseded) -> RunAttempt:
        """Return the event that takes texts back."""
        return RunAttempt(attempt=self._attempt, reason=reason, supersedes=superseded)

    def after(self, ids: Sequence[str]) -> int:
        """Return a sequence number below all events of these spans.

        It is 0 if one of the spans belongs to an earlier execution.
        """
        return min((self._spans[id_].after if id_ in self._spans else 0 for id_ in ids), default=0)


def plain_outputs(outputs: Any) -> dict[str, Any]:
    """Return a node's return value as plain JSON for the log; empty if it is too large."""
    update = outputs.update if isinstance(outputs, Command) else outputs
    if not isinstance(update, Mapping):
        return {}
    shown = plain(dict(update))
    if not isinstance(shown, dict):
        return {}
    return shown if len(msgspec.json.encode(shown)) <= OUTPUTS_LIMIT else {}
