"""LangGraph's and LangChain's callbacks, turned into events. With `metadata.py` and `replies.py` the only
place that knows the shape of what they send.

One inline handler sees everything in the order in which it happens: nodes, models, tools, nested graphs. A node is an
agent, and one run of it is a span; the span of a nested node has a parent. Names come, in this order, from our own
label (`add_node(..., metadata={"antiphon": {"agent": ...}})`), from the name of a `create_agent` agent, from the node.
An agent labelled `""` stays out of the log. A model call tagged `nostream` stays silent, as it does in LangGraph.

What is the answer is known only when a node's task is done: its texts stream as they come, and are taken back if the
task returns none of them, or if a later node's text is the answer. `docs/graphs.md` has the rules.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, GenerationChunk, LLMResult
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent
from langgraph.errors import GraphBubbleUp, GraphInterrupt, is_invalid_resume
from langgraph.types import Command, Interrupt, RetryPolicy

from antiphon.orchestrator.budget import UNLIMITED, AnswerCut, BudgetExceeded, Limits, Meter
from antiphon.orchestrator.errors import describe
from antiphon.orchestrator.events import (
    AgentError,
    AgentStart,
    AnyEvent,
    Channel,
    Custom,
    Interaction,
    Progress,
    Sources,
    ToolComplete,
    ToolError,
    ToolStart,
    Usage,
)
from antiphon.orchestrator.graphs.shape import GraphShape, path_of
from antiphon.orchestrator.recording.answers import Answers
from antiphon.orchestrator.recording.metadata import (
    LABEL,
    agent_of,
    has_step,
    is_edge,
    is_middleware,
    is_task_path,
    label_of,
)
from antiphon.orchestrator.recording.replies import messages_in, reply_text, updates_of
from antiphon.orchestrator.recording.spans import Call, Label, Part, Span, Spans
from antiphon.orchestrator.recording.tracing import ModelAnswered, ModelAsked
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


class EventHandler(GraphCallbackHandler, AsyncCallbackHandler, _StreamingCallbackHandler[Any]):
    """Turns the callbacks of one execution of one run into events on its writer.

    `_StreamingCallbackHandler` makes models stream even where a node calls `invoke`.
    """

    run_inline = True
    raise_error = True

    def __init__(
        self, writer: RunWriter, shape: GraphShape, attempt: int, limits: Limits = UNLIMITED
    ) -> None:
        self.interrupts: list[Interrupt] = []
        self.breakpoint: str | None = None
        """The checkpoint at which the graph stopped of itself, without a question."""
        self._writer = writer
        self._spans = Spans(writer, attempt)
        self.answers = Answers(self._spans, shape)
        self._open: dict[UUID, Span] = {}
        self._within: dict[UUID, Span] = {}
        self._aside: set[UUID] = set()
        """Runnables whose texts cannot be the answer: tools, edges, and what they call."""
        self._steps: dict[str, int] = {}
        """The step in which each task runs, by its namespace."""
        self._calls: dict[UUID, Call] = {}
        self._tools: dict[UUID, tuple[Span, str, str]] = {}
        self._tool_calls: dict[str, Any] = {}
        """Arguments of tool calls as models wrote them, by call id."""
        self._failed_tasks: dict[str, Span] = {}
        self._failures: dict[str, int] = {}
        self._meter = Meter(limits, time.perf_counter())
        self._guard = ModelGuard()

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Part of the streaming marker's protocol: nothing to see here, the callbacks report it all."""
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """See `tap_output_aiter`."""
        return output

    # -- nodes and agents ---------------------------------------------------------------------------------------

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
        tags, metadata = tags or [], metadata or {}
        if kwargs.get("run_type") == "parser":
            self._guard.parse(kwargs.get("name"), inputs)
        enclosing = self._within.get(parent_run_id) if parent_run_id else None
        if has_step(tags):
            self._steps[str(metadata.get("langgraph_checkpoint_ns", ""))] = int(
                metadata.get("langgraph_step", 0)
            )
        if parent_run_id in self._aside or (parent_run_id in self._open and is_edge(tags)):
            self._aside.add(run_id)
        agent = agent_of(kwargs.get("name"), tags, metadata, enclosing)
        span = self._begin(agent, run_id, metadata, enclosing) if agent else enclosing
        if span is None:
            return
        self._within[run_id] = span
        if span is not enclosing:
            span.given = reply_text(inputs)
            self._open[run_id] = span

    def _begin(
        self, agent: str, run_id: UUID, metadata: Mapping[str, Any], enclosing: Span | None
    ) -> Span:
        label = label_of(metadata, enclosing) or Label()
        span = self._spans.new(agent, label, enclosing)
        span.own_label = metadata.get(LABEL)
        span.after = self._writer.last_seq
        span.task = str(metadata.get("langgraph_checkpoint_ns", ""))
        span.node = self._place(span.task)
        span.is_task = is_task_path(metadata.get("langgraph_path"))
        inherited: Channel = (
            enclosing.channel if enclosing and enclosing.label.channel else "answer"
        )
        span.channel = label.channel or ("draft" if run_id in self._aside else inherited)
        if enclosing is not None and span.task != enclosing.task:
            enclosing.inside.add(span.task)
        if failed := self._failed_tasks.pop(span.task, None):
            self._spans.take_back_span(failed, "node_retry")
        passing = (
            span.channel == "answer"
            and label.channel is None
            and self.answers.shape.passes(path_of(span.node))
        )
        self._writer.emit(
            AgentStart(
                span=span.id,
                agent=agent,
                role=span.role,
                parent=enclosing.id if enclosing else None,
                kind=label.kind,
                title=label.title,
                passing=passing,
            )
        )
        return span

    def _place(self, namespace: str) -> str:
        """A task's place in the graph, `outer@2:inner@1`, from its namespace `outer:id|inner:id`."""
        if not namespace:
            return ""
        segments = namespace.split("|")
        places = []
        for depth, segment in enumerate(segments, start=1):
            step = self._steps.get("|".join(segments[:depth]), 0)
            places.append(f"{segment.partition(':')[0]}@{step}")
        return ":".join(places)

    async def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable is done; its span's completion is seen together with the task's stored result."""
        self._within.pop(run_id, None)
        self._aside.discard(run_id)
        span = self._open.pop(run_id, None)
        if span is not None:
            self._writer.on_loop(self._end, span, outputs)

    def _end(self, span: Span, outputs: Any) -> None:
        self._close_inside(span)
        answered = self.answers.returned(span, outputs)
        event = self._spans.completion(span, span.finish_reason, outputs)
        self._spans.queue(span, msgspec.structs.replace(event, answered=answered))

    async def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable failed, or asks a human (which LangGraph does by an exception)."""
        self._within.pop(run_id, None)
        self._aside.discard(run_id)
        if not isinstance(error, Exception):
            return  # stopped from outside: how the span ends is decided by what stopped it
        span = self._open.pop(run_id, None)
        if span is not None:
            self._writer.on_loop(self._end_with_error, span, error)

    def _end_with_error(self, span: Span, error: Exception) -> None:
        self._close_inside(span)
        if isinstance(error, GraphBubbleUp) or is_invalid_resume(error):
            asks = not isinstance(error, GraphBubbleUp) or isinstance(error, GraphInterrupt)
            self._writer.emit(
                self._spans.completion(span, "interrupted" if asks else span.finish_reason)
            )
        else:
            self._fail(span, error)

    def _fail(self, span: Span, error: Exception) -> None:
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

    def _recovers(self, span: Span, error: Exception) -> bool:
        """Whether the run goes on after a failure: the graph's node has an error handler, or is tried once more."""
        task = span.task.partition("|")[0]
        node = task.partition(":")[0]
        failures = self._failures.get(task, 0) + 1
        if span.task == task and (
            span.parent is None or span.parent.task != task
        ):  # the node itself
            self._failures[task] = failures
        if isinstance(error, BudgetExceeded):
            return False
        policies = (
            policy
            for policy in self.answers.shape.retries.get(node, ())
            if _retries_on(policy, error)
        )
        policy = next(policies, None)  # the first that fits decides
        return node in self.answers.shape.forgiving or (
            policy is not None and failures < policy.max_attempts
        )

    def _close_inside(self, span: Span) -> None:
        """Complete what was begun inside a span and stopped by it, innermost first."""
        for run_id, inner in reversed(list(self._open.items())):
            if span.encloses(inner):
                self._writer.emit(self._spans.completion(self._open.pop(run_id), "cancelled"))

    def close(self, finish_reason: str) -> None:
        """Complete what is still open when the run ends early, innermost first."""
        for span in reversed(list(self._open.values())):
            self._writer.emit(self._spans.completion(span, finish_reason))
        self._open.clear()

    # -- models -------------------------------------------------------------------------------------------------

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
        """A model is asked, for the span that it is asked in."""
        self._guard.start(run_id, kwargs)
        span = self._within.get(parent_run_id) if parent_run_id else None
        if span is None:
            return
        metadata = metadata or {}
        silent = "nostream" in (tags or [])
        aside = parent_run_id in self._aside or is_structured(kwargs) or is_middleware(metadata)
        channel: Channel = "draft" if aside and span.label.channel is None else span.channel
        node = self._place(str(metadata.get("langgraph_checkpoint_ns", "")))
        asked = sum(len(str(message.text)) for batch in messages for message in batch)
        self._calls[run_id] = Call(span, silent, channel, node, asked)
        model = metadata.get("ls_model_name")
        self._writer.note(
            ModelAsked(span=span.id, call=str(run_id), model=str(model) if model else None)
        )
        if span.failed and not silent:
            self._spans.take_back(span, span.failed, "model_retry")
            span.failed = []

    async def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """A piece of text. Waits while the log is behind, which holds the provider's stream back."""
        self._guard.see(run_id, chunk)
        call = self._calls.get(run_id)
        if call is None or call.silent:
            return
        if isinstance(chunk, ChatGenerationChunk) and (thought := _reasoning(chunk.message)):
            self._spans.say(self._part_of(call), thought, "reasoning")
        text = token if isinstance(token, str) else ""
        if not text and isinstance(chunk, ChatGenerationChunk):
            text = chunk.message.text
        if text:
            self._spend(call, str(text))
        await self._writer.drain()

    def _part_of(self, call: Call) -> Part:
        """The text that a call says, begun with its first piece."""
        if call.part is None:
            self._spans.end_speech(call.span)
            call.part = Part(call.span, call.channel, call.node)
        return call.part

    def _spend(self, call: Call, text: str) -> None:
        """Say as much as the agent and the run may still say. Raises what stops the model if that is not all."""
        span, now = call.span, time.perf_counter()
        allowed, agent_limit = span.meter.say(text, now)
        allowed, run_limit = self._meter.say(allowed, now) if allowed else ("", None)
        if allowed:
            self._spans.say(self._part_of(call), allowed)
        if run_limit or agent_limit:
            span.finish_reason = run_limit or agent_limit
        if run_limit:
            raise BudgetExceeded
        if agent_limit:
            raise AnswerCut("".join(call.part.said) if call.part else "", agent_limit)

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model's answer is complete: note what it used."""
        self._guard.end(run_id)
        call = self._calls.pop(run_id, None)
        if call is None:
            return
        used = Usage()
        calls_tools = False
        for generations in response.generations:
            for generation in generations:
                if isinstance(generation, ChatGeneration) and isinstance(
                    generation.message, AIMessage
                ):
                    used += self._account(call.span, generation.message)
                    calls_tools = calls_tools or bool(generation.message.tool_calls)
                    self._note_tool_calls(generation.message)
        self._spans.end(call.part, calls_tools)
        self._writer.note(ModelAnswered(call=str(run_id), usage=used))

    def _note_tool_calls(self, message: AIMessage) -> None:
        for called in message.tool_calls:
            if called.get("id"):
                self._tool_calls[str(called["id"])] = called["args"]

    def _account(self, span: Span, message: AIMessage) -> Usage:
        """Note what an answer used, and return it."""
        usage, counted = Usage(), message.usage_metadata
        if counted:
            usage = Usage(
                input_tokens=int(counted.get("input_tokens") or 0),
                output_tokens=int(counted.get("output_tokens") or 0),
                total_tokens=int(counted.get("total_tokens") or 0),
            )
            span.use(usage)
        reason = message.response_metadata.get("finish_reason")
        span.finish_reason = reason if reason and isinstance(reason, str) else span.finish_reason
        return usage

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A model failed; if it is asked again, what it had said is superseded."""
        self._guard.end(run_id)
        call = self._calls.pop(run_id, None)
        if call is None:
            return
        if call.part is not None:
            call.span.failed.append(call.part)
        said = (
            len(call.part.said) if call.part else 0
        )  # a piece of text is a token, four characters of a prompt are one
        asked = call.asked // 4
        call.span.use(Usage(input_tokens=asked, output_tokens=said, total_tokens=asked + said))
        self._spans.end(call.part)
        failed = isinstance(error, Exception) and not isinstance(error, AnswerCut)
        self._writer.note(
            ModelAnswered(call=str(run_id), code=describe(error).code if failed else None)
        )

    # -- tools --------------------------------------------------------------------------------------------------

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
        span = self._within.get(parent_run_id) if parent_run_id else None
        if span is None:
            return
        if not self._meter.call_tool() or not span.meter.call_tool():
            span.finish_reason = "max_tool_calls"
            raise BudgetExceeded
        name = str(kwargs.get("name") or (serialized or {}).get("name") or "tool")
        call_id = str(kwargs.get("tool_call_id") or run_id)
        self._tools[run_id] = (span, call_id, name)
        self._within[run_id] = span
        self._aside.add(run_id)
        given = self._tool_calls.get(call_id, input_str if inputs is None else inputs)
        self._writer.emit(ToolStart(span=span.id, call_id=call_id, name=name, args=bounded(given)))

    async def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool answered."""
        self._within.pop(run_id, None)
        self._aside.discard(run_id)
        if called := self._tools.pop(run_id, None):
            span, call_id, name = called
            words = bounded(tool_words(output, call_id))
            self._writer.emit(ToolComplete(span=span.id, call_id=call_id, name=name, output=words))

    async def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool failed."""
        self._within.pop(run_id, None)
        self._aside.discard(run_id)
        called = self._tools.pop(run_id, None)
        asks = isinstance(error, GraphBubbleUp) or is_invalid_resume(
            error
        )  # it will be called again
        if called is not None and not asks:
            span, call_id, name = called
            self._writer.emit(
                ToolError(span=span.id, call_id=call_id, name=name, code="TOOL_FAILED")
            )

    # -- what a graph itself has to say -------------------------------------------------------------------------

    async def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """`adispatch_custom_event(name, data)`. `agent_chunk` with a `text` lets a node speak without a model."""
        span = self._within.get(run_id)
        if (
            name == "model_cut" and span is not None
        ):  # an answer ended without its end: it will be said anew
            span.failed += [span.last] if span.last is not None else []
        elif (
            name == "agent_chunk"
            and span is not None
            and isinstance(data, dict)
            and isinstance(data.get("text"), str)
        ):
            if span.speech is None:
                aside = run_id in self._aside and span.label.channel is None
                span.speech = Part(span, "draft" if aside else span.channel, span.node)
                self.answers.speak(span.speech)
            self._spans.say(span.speech, data["text"])
        else:
            self._writer.emit(custom_event(name, data))

    @property
    def waits(self) -> bool:
        """Whether the graph has stopped for a human."""
        return bool(self.interrupts) or self.breakpoint is not None

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """The graph waits for a human."""
        if not event.checkpoint_ns or event.checkpoint_ns == ("",):
            self.interrupts = list(
                {one.id: one for one in event.interrupts}.values()
            )  # callers repeat it
            self.breakpoint = None if self.interrupts else event.checkpoint_id


def custom_event(name: str, data: Any) -> AnyEvent:
    """A canonical event if the name is one and the data fits it; else a `custom` one."""
    if (known := OWN_EVENTS.get(name)) is not None:
        try:
            return msgspec.convert(data, known)
        except msgspec.ValidationError:
            pass
    return Custom(name=name, value=bounded(data, CUSTOM_LIMIT))


def tool_words(output: Any, call_id: str) -> Any:
    """What a tool says by its output, without the state that a command of it carries."""
    for update in updates_of(output):
        answers = [one for one in messages_in(update) if isinstance(one, ToolMessage)]
        own = [one for one in answers if one.tool_call_id == call_id] or answers
        if own:
            return own[-1].content
    if isinstance(output, Command):
        return "" if output.goto == () else f"goes to {output.goto}"
    return output.content if isinstance(output, BaseMessage) else output


def _retries_on(policy: RetryPolicy, error: Exception) -> bool:
    """Whether a policy is about an error, as LangGraph reads it."""
    on = policy.retry_on
    if isinstance(on, type | Sequence):
        return isinstance(error, on if isinstance(on, type) else tuple(on))
    return on(error)


def _reasoning(message: BaseMessage) -> str:
    """A model's visible thinking, from the two places where providers' bindings put it."""
    if isinstance(message.content, list):
        blocks = [block for block in message.content if isinstance(block, dict)]
        return "".join(str(b.get("reasoning") or b.get("thinking") or "") for b in blocks)
    thought = message.additional_kwargs.get("reasoning_content")
    return thought if isinstance(thought, str) else ""
