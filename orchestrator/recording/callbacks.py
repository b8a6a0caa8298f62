"""LangGraph's and LangChain's callbacks, turned into events.

This file alone knows the callbacks; `metadata.py` and `replies.py` know the shape of what they
carry.

One inline handler sees everything in the order in which it happens: nodes, models, tools, nested
graphs. A node is an agent, and one run of it is a span; the span of a nested node has a parent.
Names come, in this order, from our own label (`add_node(..., metadata={"antiphon": {"agent":
...}})`), from the name of a `create_agent` agent, from the node. An agent labelled `""` stays out
of the log. A model call tagged `nostream` stays silent, as it does in LangGraph.

What is the answer is known only when a node's task is done: its texts stream as they come, and are
taken back if the task returns none of them, or if a later node's text is the answer.
`docs/graphs.md` has the rules.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import msgspec
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, GenerationChunk, LLMResult
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent
from langgraph.types import Interrupt

from antiphon.orchestrator.budget import UNLIMITED, Limits, Meter
from antiphon.orchestrator.events import (
    AnyEvent,
    Custom,
    Interaction,
    Progress,
    Sources,
    ToolStart,
)
from antiphon.orchestrator.graphs.shape import GraphShape
from antiphon.orchestrator.recording.agents import RunningAgents
from antiphon.orchestrator.recording.answers import Answers
from antiphon.orchestrator.recording.calls import ModelCall, ModelCalls, ToolCalls
from antiphon.orchestrator.recording.metadata import (
    agent_of,
    has_step,
    is_edge,
    is_middleware,
    namespace_of,
)
from antiphon.orchestrator.recording.replies import reply_text
from antiphon.orchestrator.recording.spans import AgentSpan, Part, Spans
from antiphon.orchestrator.recording.writer import RunWriter
from antiphon.orchestrator.structured import ModelGuard, is_structured
from antiphon.orchestrator.values import bounded

OWN_EVENTS: dict[str, type[Progress | Interaction | Sources]] = {
    "progress": Progress,
    "interaction": Interaction,
    "sources": Sources,
}
"""Custom events that stand for canonical ones; all others are recorded as `custom`."""

CUSTOM_LIMIT = 1024 * 1024
"""Bytes of what a graph writes to its stream in one piece, beyond which it is cut."""


class Runnables:
    """Which agent each runnable works for, and whether what it says can be the answer.

    A runnable is known by the id that LangChain gives each run of it.
    """

    def __init__(self) -> None:
        self._spans: dict[UUID, AgentSpan] = {}
        self._aside: set[UUID] = set()
        """Runnables whose texts cannot be the answer: tools, edges, and what they call."""

    def enter(self, run_id: UUID, span: AgentSpan | None, aside: bool) -> None:
        """Note a runnable that begins. `span` is None if it works for no agent."""
        if span is not None:
            self._spans[run_id] = span
        if aside:
            self._aside.add(run_id)

    def leave(self, run_id: UUID) -> None:
        """Forget a runnable that is done."""
        self._spans.pop(run_id, None)
        self._aside.discard(run_id)

    def span_of(self, run_id: UUID | None) -> AgentSpan | None:
        """Return the span of the agent that a runnable works for."""
        return self._spans.get(run_id) if run_id else None

    def is_aside(self, run_id: UUID | None) -> bool:
        """Whether what a runnable says cannot be the answer."""
        return run_id in self._aside


class EventHandler(GraphCallbackHandler, AsyncCallbackHandler, _StreamingCallbackHandler[Any]):
    """Turns the callbacks of one execution of one run into events on its writer.

    `_StreamingCallbackHandler` makes models stream even if a node calls `invoke`.
    """

    run_inline = True
    raise_error = True

    def __init__(
        self, writer: RunWriter, shape: GraphShape, attempt: int, limits: Limits = UNLIMITED
    ) -> None:
        spans = Spans(writer, attempt)
        meter = Meter(limits, time.perf_counter())
        self.interrupts: list[Interrupt] = []
        self.breakpoint: str | None = None
        """The checkpoint at which the graph stopped of itself, without a question."""
        self.answers = Answers(spans, shape)
        self._writer = writer
        self._spans = spans
        self._runnables = Runnables()
        self._agents = RunningAgents(spans, self.answers)
        self._models = ModelCalls(spans, meter)
        self._tools = ToolCalls(writer, meter)
        self._guard = ModelGuard()

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Return the output as it is: the callbacks report all of it.

        The protocol of `_StreamingCallbackHandler` requires this method.
        """
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Return the output as it is, like `tap_output_aiter`."""
        return output

    # -- nodes and agents -------------------------------------------------------------------------

    async def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A runnable begins; if it is a node or an agent, a span begins."""
        tags, metadata, name = tags or [], metadata or {}, kwargs.get("name")
        if kwargs.get("run_type") == "parser":
            self._guard.parse(name, inputs)
        if has_step(tags):
            step = int(metadata.get("langgraph_step", 0))
            self._agents.note_step(namespace_of(metadata), step)
        begins_edge = parent_run_id in self._agents and is_edge(tags)
        aside = begins_edge or self._runnables.is_aside(parent_run_id)
        span = self._runnables.span_of(parent_run_id)
        agent = agent_of(name, tags, metadata, span)
        if agent:
            span = self._agents.begin(agent, run_id, metadata, span, aside)
            span.received = reply_text(inputs)
        self._runnables.enter(run_id, span, aside)

    async def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable is done.

        Its span's completion commits together with the task's stored result.
        """
        self._runnables.leave(run_id)
        self._agents.end(run_id, outputs)

    async def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable failed, or asks a human, which LangGraph does by an exception."""
        self._runnables.leave(run_id)
        if isinstance(error, Exception):  # else what stopped it from outside ends its span
            self._agents.fail(run_id, error)

    def close(self, finish_reason: str) -> None:
        """Complete the spans that are still open when the run ends early, innermost first."""
        self._agents.close(finish_reason)

    # -- models -----------------------------------------------------------------------------------

    async def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A model is called, for the agent whose runnable calls it."""
        self._guard.start(run_id, kwargs)
        span = self._runnables.span_of(parent_run_id)
        if span is None:
            return
        metadata = metadata or {}
        is_aside = self._runnables.is_aside(parent_run_id)
        is_aside = is_aside or is_structured(kwargs) or is_middleware(metadata)
        call = ModelCall(
            span,
            channel=span.channel_of(is_aside),
            node=self._agents.place(namespace_of(metadata)),
            prompt=sum(len(str(message.text)) for batch in messages for message in batch),
            silent="nostream" in (tags or []),
        )
        model = metadata.get("ls_model_name")
        self._models.begin(run_id, call, str(model) if model else None)

    async def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """A piece of text. Waits until the log has caught up, which slows the provider's stream."""
        self._guard.see(run_id, chunk)
        call = self._models.shown(run_id)
        if call is None:
            return
        message = chunk.message if isinstance(chunk, ChatGenerationChunk) else None
        thought = _thought(message) if message is not None else ""
        if thought:
            self._models.think(call, thought)
        text = token if isinstance(token, str) else ""
        if not text and message is not None:
            text = str(message.text)
        if text:
            self._models.say(call, text)
        await self._writer.drain()

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model's answer is complete."""
        self._guard.end(run_id)
        generations = [generation for batch in response.generations for generation in batch]
        chats = [each.message for each in generations if isinstance(each, ChatGeneration)]
        answers = [message for message in chats if isinstance(message, AIMessage)]
        self._models.end(run_id, answers)

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A model failed; if it is called again, what it had said is superseded."""
        self._guard.end(run_id)
        self._models.fail(run_id, error)

    # -- tools ------------------------------------------------------------------------------------

    async def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool is called. What models say inside it is not the answer."""
        span = self._runnables.span_of(parent_run_id)
        if span is None:
            return
        self._tools.spend(span)
        self._runnables.enter(run_id, span, aside=True)
        call_id = str(kwargs.get("tool_call_id") or run_id)
        parsed = input_str if inputs is None else inputs
        arguments = self._models.tool_arguments.get(call_id, parsed)
        call = ToolStart(
            span=span.id,
            call_id=call_id,
            name=str(kwargs.get("name") or (serialized or {}).get("name") or "tool"),
            args=bounded(arguments),
        )
        self._tools.begin(run_id, call)

    async def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool answered."""
        self._runnables.leave(run_id)
        self._tools.end(run_id, output)

    async def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool failed, or asks a human."""
        self._runnables.leave(run_id)
        self._tools.fail(run_id, error)

    # -- what a graph itself writes ---------------------------------------------------------------

    async def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A node calls `adispatch_custom_event(name, data)`.

        `agent_chunk` with a `text` lets it speak without a model. `model_cut` is our own: an answer
        ended without its end, and the model is called again.
        """
        span = self._runnables.span_of(run_id)
        text = data.get("text") if isinstance(data, dict) else None
        if name == "model_cut" and span is not None:
            span.failed += [span.last] if span.last is not None else []
        elif name == "agent_chunk" and span is not None and isinstance(text, str):
            self._speak(span, text, aside=self._runnables.is_aside(run_id))
        else:
            self._writer.emit(custom_event(name, data))

    def _speak(self, span: AgentSpan, text: str, aside: bool) -> None:
        """Record a piece of what a node says by itself."""
        if span.speech is None:
            span.speech = Part(span, span.channel_of(aside), span.node)
            self.answers.speak(span.speech)
        self._spans.say(span.speech, text)

    @property
    def waits(self) -> bool:
        """Whether the graph has stopped for a human."""
        return bool(self.interrupts) or self.breakpoint is not None

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """The graph waits for a human."""
        is_outermost = not event.checkpoint_ns or event.checkpoint_ns == ("",)
        if is_outermost:
            by_id = {interrupt.id: interrupt for interrupt in event.interrupts}  # callers repeat it
            self.interrupts = list(by_id.values())
            self.breakpoint = None if self.interrupts else event.checkpoint_id


def custom_event(name: str, data: Any) -> AnyEvent:
    """Return a canonical event if the name is one and the data fits it; else a `custom` one."""
    if (event_type := OWN_EVENTS.get(name)) is not None:
        try:
            return msgspec.convert(data, event_type)
        except msgspec.ValidationError:
            pass
    return Custom(name=name, value=bounded(data, CUSTOM_LIMIT))


def _thought(message: BaseMessage) -> str:
    """Return a model's visible thinking, from the two places where providers' bindings put it."""
    if isinstance(message.content, list):
        blocks = [block for block in message.content if isinstance(block, dict)]
        return "".join(str(b.get("reasoning") or b.get("thinking") or "") for b in blocks)
    thought = message.additional_kwargs.get("reasoning_content")
    return thought if isinstance(thought, str) else ""
