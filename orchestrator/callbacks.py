"""LangGraph's and LangChain's callbacks, turned into events. The only file that knows the shape of what they send.

One inline handler sees everything in the order in which it happens: nodes, models, tools, nested graphs. A node is an
agent, and one run of it is a span; the span of a nested node has a parent. Names come, in this order, from
`add_node(..., metadata={"agent_id": ...})`, from the name of a `create_agent` agent, from the node. An `agent_id` of
`""` keeps a node out of the log. A model call tagged `nostream` stays silent, as it does in LangGraph.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, GenerationChunk, LLMResult
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.types import Command, Interrupt, RetryPolicy

from orchestrator.budget import UNLIMITED, AnswerCut, BudgetExceeded, Limits, Meter
from orchestrator.errors import describe
from orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AnyEvent,
    Channel,
    Custom,
    Interaction,
    Progress,
    Role,
    RunAttempt,
    Sources,
    Superseded,
    ToolComplete,
    ToolError,
    ToolStart,
    Usage,
)
from orchestrator.structured import ModelGuard
from orchestrator.tracing import ModelAnswered, ModelAsked
from orchestrator.writer import RunWriter

OWN_EVENTS: dict[str, type[Progress | Interaction | Sources]] = {
    "progress": Progress,
    "interaction": Interaction,
    "sources": Sources,
}
"""Custom events that stand for canonical ones; all others are recorded as `custom`."""

OUTPUTS_LIMIT = 16 * 1024
"""Bytes of a node's outputs beyond which they are left out of `agent_complete`."""


class GraphShape(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known of a graph to judge its nodes. Paths are node names joined by `:`."""

    nodes: frozenset[str] = frozenset()
    answering: frozenset[str] = frozenset()
    """Nodes whose text is the answer: those that can be the last."""
    forgiving: frozenset[str] = frozenset()
    """Nodes whose failure does not fail the run: they have an error handler."""
    retries: Mapping[str, Sequence[RetryPolicy]] = {}
    """Nodes that are tried again, while their policies allow it."""


class _Span:
    """One invocation of one agent, while it lasts."""

    def __init__(
        self,
        span: str,
        agent: str,
        role: Role,
        channel: Channel,
        parent: _Span | None,
        task: str,
        after: int,
        limits: Limits,
    ) -> None:
        self.id = span
        self.agent = agent
        self.role = role
        self.channel = channel
        self.parent = parent
        self.task = task
        self.after = after
        self.started = time.perf_counter()
        self.meter = Meter(limits, self.started)
        self.text: list[str] = []
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.model_failed = False
        self.given = ""
        """The last message that the agent was given: passing it on is saying nothing."""
        self.asked = 0
        """Characters that the model call under way was asked with."""
        self.before_call = 0
        """Pieces that were said before the model call under way."""

    def spend_unaccounted(self) -> None:
        """Count what a call has used that was stopped before its provider told: a piece of text is a token, and four
        characters of a prompt are one."""
        said = len(self.text) - self.before_call
        used = Usage(input_tokens=self.asked // 4, output_tokens=said, total_tokens=self.asked // 4 + said)
        self.usage = used if self.usage is None else self.usage + used

    def spoke(self) -> None:
        """Note that text was shown, here and therefore in every enclosing span."""
        span: _Span | None = self
        while span is not None:
            span.has_text = True
            span = span.parent

    has_text = False


class EventHandler(GraphCallbackHandler, AsyncCallbackHandler, _StreamingCallbackHandler[Any]):
    """Turns the callbacks of one execution of one run into events on its writer.

    `_StreamingCallbackHandler` makes models stream even where a node calls `invoke`.
    """

    run_inline = True
    raise_error = True

    def __init__(self, writer: RunWriter, shape: GraphShape, attempt: int, limits: Limits = UNLIMITED) -> None:
        self.interrupts: list[Interrupt] = []
        self.breakpoint: str | None = None
        """The checkpoint at which the graph stopped of itself, without a question."""
        self._writer = writer
        self._shape = shape
        self._attempt = attempt
        self._count = 0
        self._open: dict[UUID, _Span] = {}
        self._within: dict[UUID, _Span] = {}
        self._models: dict[UUID, tuple[_Span, bool]] = {}
        self._tools: dict[UUID, tuple[_Span, str, str]] = {}
        self._failed_tasks: dict[str, _Span] = {}
        self._failures: dict[str, int] = {}
        self._meter = Meter(limits, time.perf_counter())
        self._guard = ModelGuard()

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Part of the streaming marker's protocol: nothing to see here, the callbacks tell it all."""
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
        """A runnable begins; where it is a node or an agent, a span begins."""
        if kwargs.get("run_type") == "parser":
            self._guard.parse(kwargs.get("name"), inputs)
        enclosing = self._within.get(parent_run_id) if parent_run_id else None
        agent = _agent_of(kwargs.get("name"), tags or [], metadata or {}, enclosing)
        span = self._begin(agent, metadata or {}, enclosing) if agent else enclosing
        if agent and span is not None:
            span.given = reply_text(inputs)
        if span is not None:
            self._within[run_id] = span
            if span is not enclosing:
                self._open[run_id] = span

    def _begin(self, agent: str, metadata: Mapping[str, Any], enclosing: _Span | None) -> _Span:
        self._count += 1
        task = str(metadata.get("langgraph_checkpoint_ns", ""))
        role: Role = metadata.get("role", "element") if _own(metadata, enclosing) else "element"
        span = _Span(
            span=f"{self._writer.fence.epoch}.{self._count}",
            agent=agent,
            role=role,
            channel=self._channel(task, metadata, enclosing),
            parent=enclosing,
            task=task,
            after=self._writer.last_seq,
            limits=_limits(metadata, enclosing),
        )
        if failed := self._failed_tasks.pop(task, None):
            self._supersede(failed, "node_retry")
        parent = enclosing.id if enclosing else None
        kind, title = (metadata.get(one) if _own(metadata, enclosing) else None for one in ("kind", "title"))
        self._writer.emit(AgentStart(span=span.id, agent=agent, role=role, parent=parent, kind=kind, title=title))
        return span

    def _channel(self, task: str, metadata: Mapping[str, Any], enclosing: _Span | None) -> Channel:
        if "channel" in metadata and _own(metadata, enclosing):
            channel: Channel = metadata["channel"]
            return channel
        path = ":".join(part.partition(":")[0] for part in task.split("|")) if task else ""
        if path in self._shape.nodes:
            return "answer" if path in self._shape.answering else "draft"
        return enclosing.channel if enclosing else "answer"

    async def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable is done; its span's completion is seen together with the task's stored result."""
        self._within.pop(run_id, None)
        span = self._open.pop(run_id, None)
        if span is None:
            return
        self._close_inside(span)
        if not span.has_text and (text := reply_text(outputs)) and text != span.given:
            self._say(span, text, span.channel)
        event = self._completion(span, span.finish_reason, outputs)
        if span.task:
            self._writer.hold(span.task, event)
        else:
            self._writer.emit(event)

    async def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable failed, or asks a human (which LangGraph does by an exception)."""
        self._within.pop(run_id, None)
        if not isinstance(error, Exception):
            return  # stopped from outside: how the span ends is for whoever stopped it
        span = self._open.pop(run_id, None)
        if span is None:
            return
        self._close_inside(span)
        if isinstance(error, GraphBubbleUp):
            asks = isinstance(error, GraphInterrupt)
            self._writer.emit(self._completion(span, "interrupted" if asks else span.finish_reason))
        else:
            self._fail(span, error)

    def _fail(self, span: _Span, error: Exception) -> None:
        failure = describe(error)
        recoverable = self._goes_on(span, error)
        self._failed_tasks[span.task] = span
        if recoverable and span.channel == "answer":
            self._supersede(span, "agent_failed")  # somebody else will answer
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

    def _goes_on(self, span: _Span, error: Exception) -> bool:
        """Whether the run goes on after a failure: the graph's node has an error handler, or is tried once more."""
        task = span.task.partition("|")[0]
        node = task.partition(":")[0]
        failures = self._failures.get(task, 0) + 1
        if span.task == task and (span.parent is None or span.parent.task != task):  # the node itself
            self._failures[task] = failures
        if isinstance(error, BudgetExceeded):
            return False
        policies = (policy for policy in self._shape.retries.get(node, ()) if _retries_on(policy, error))
        policy = next(policies, None)  # the first that fits decides
        return node in self._shape.forgiving or (policy is not None and failures < policy.max_attempts)

    def _completion(self, span: _Span, finish_reason: str | None, outputs: Any = None) -> AgentComplete:
        return AgentComplete(
            span=span.id,
            agent=span.agent,
            role=span.role,
            text="".join(span.text),
            duration_ms=round((time.perf_counter() - span.started) * 1000),
            outputs=plain_outputs(outputs) if span.role == "element" else {},
            usage=span.usage,
            finish_reason=finish_reason,
        )

    def _close_inside(self, span: _Span) -> None:
        """Complete what was begun inside a span and stopped by it, innermost first."""
        for run_id, inner in reversed(list(self._open.items())):
            enclosing = inner.parent
            while enclosing is not None and enclosing is not span:
                enclosing = enclosing.parent
            if enclosing is span:
                self._writer.emit(self._completion(self._open.pop(run_id), "cancelled"))

    def close(self, finish_reason: str) -> None:
        """Complete what is still open when the run ends early, innermost first."""
        for span in reversed(list(self._open.values())):
            self._writer.emit(self._completion(span, finish_reason))
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
        silent = "nostream" in (tags or [])
        if span is None:
            return
        self._models[run_id] = (span, silent)
        model = (metadata or {}).get("ls_model_name")
        self._writer.note(ModelAsked(span=span.id, call=str(run_id), model=str(model) if model else None))
        if span.model_failed and not silent:
            self._supersede(span, "model_retry")
        span.before_call = len(span.text)
        span.asked = sum(len(str(message.text)) for batch in messages for message in batch)

    def _supersede(self, span: _Span, reason: str) -> None:
        """Take back what a failed call had said, before it is said again; what earlier calls had said is repeated."""
        kept = "".join(span.text[: span.before_call]) if reason == "model_retry" else ""
        span.model_failed = False
        if span.has_text:
            superseded = Superseded(after=span.after, agents=[span.agent], spans=[span.id])
            self._writer.emit(RunAttempt(attempt=self._attempt, reason=reason, supersedes=superseded))
        span.text.clear()
        span.has_text = False
        if kept:
            self._say(span, kept, span.channel)

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
        span, silent = self._models.get(run_id, (None, True))
        if span is None or silent:
            return
        if isinstance(chunk, ChatGenerationChunk) and (thought := _reasoning(chunk.message)):
            self._say(span, thought, "reasoning")
        text = token if isinstance(token, str) else ""
        if not text and isinstance(chunk, ChatGenerationChunk):
            text = chunk.message.text
        if text:
            self._spend(span, str(text))
        await self._writer.drain()

    def _spend(self, span: _Span, text: str) -> None:
        """Say as much as the agent and the run may still say. Raises what stops the model where that is not all."""
        now = time.perf_counter()
        allowed, agent_limit = span.meter.say(text, now)
        allowed, run_limit = self._meter.say(allowed, now) if allowed else ("", None)
        if allowed:
            self._say(span, allowed, span.channel)
        if run_limit or agent_limit:
            span.finish_reason = run_limit or agent_limit
        if run_limit:
            raise BudgetExceeded
        if agent_limit:
            raise AnswerCut("".join(span.text), agent_limit)

    def _say(self, span: _Span, text: str, channel: Channel) -> None:
        text = storable(text)
        if channel != "reasoning":
            span.text.append(text)
            span.spoke()
        self._writer.emit(AgentChunk(span=span.id, agent=span.agent, role=span.role, channel=channel, text=text))

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model's answer is complete: note what it used."""
        self._guard.end(run_id)
        span, _ = self._models.pop(run_id, (None, True))
        if span is None:
            return
        used = Usage()
        for generations in response.generations:
            for generation in generations:
                if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                    used += self._account(span, generation.message)
        self._writer.note(ModelAnswered(call=str(run_id), usage=used))

    def _account(self, span: _Span, message: AIMessage) -> Usage:
        """Note what an answer used, and return it."""
        usage, counted = Usage(), message.usage_metadata
        if counted:
            usage = Usage(
                input_tokens=counted["input_tokens"],
                output_tokens=counted["output_tokens"],
                total_tokens=counted["total_tokens"],
            )
            span.usage = usage if span.usage is None else span.usage + usage
        span.finish_reason = message.response_metadata.get("finish_reason") or span.finish_reason
        return usage

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A model failed; if it is asked again, what it had said is superseded."""
        self._guard.end(run_id)
        span, _ = self._models.pop(run_id, (None, True))
        if span is not None:
            span.model_failed = True
            span.spend_unaccounted()
            failed = isinstance(error, Exception) and not isinstance(error, AnswerCut)
            self._writer.note(ModelAnswered(call=str(run_id), code=describe(error).code if failed else None))

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
        """A tool is called."""
        span = self._within.get(parent_run_id) if parent_run_id else None
        if span is None:
            return
        if not self._meter.call_tool() or not span.meter.call_tool():
            span.finish_reason = "max_tool_calls"
            raise BudgetExceeded
        name = kwargs.get("name") or (serialized or {}).get("name") or "tool"
        call_id = str(kwargs.get("tool_call_id") or run_id)
        self._tools[run_id] = (span, call_id, name)
        self._within[run_id] = span
        args = plain(input_str if inputs is None else inputs)
        self._writer.emit(ToolStart(span=span.id, call_id=call_id, name=name, args=args))

    async def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool answered."""
        self._within.pop(run_id, None)
        if called := self._tools.pop(run_id, None):
            span, call_id, name = called
            content = output.content if isinstance(output, BaseMessage) else output
            self._writer.emit(ToolComplete(span=span.id, call_id=call_id, name=name, output=plain(content)))

    async def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool failed."""
        self._within.pop(run_id, None)
        called = self._tools.pop(run_id, None)
        if called is not None and not isinstance(
            error, GraphBubbleUp
        ):  # that one asks a human, and will be called again
            span, call_id, name = called
            self._writer.emit(ToolError(span=span.id, call_id=call_id, name=name, code="TOOL_FAILED"))

    # -- what a graph itself has to say -------------------------------------------------------------------------

    async def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """`adispatch_custom_event(name, data)`. `agent_chunk` with a `text` lets a node speak without a model."""
        span = self._within.get(run_id)
        if name == "model_cut" and span is not None:  # an answer ended without its end: what it said will be said anew
            span.model_failed = True
        elif (
            name == "agent_chunk" and span is not None and isinstance(data, dict) and isinstance(data.get("text"), str)
        ):
            self._say(span, data["text"], span.channel)
        else:
            self._writer.emit(custom_event(name, data))

    @property
    def waits(self) -> bool:
        """Whether the graph has stopped for a human."""
        return bool(self.interrupts) or self.breakpoint is not None

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """The graph waits for a human."""
        if not event.checkpoint_ns or event.checkpoint_ns == ("",):
            self.interrupts = list(event.interrupts)
            self.breakpoint = None if self.interrupts else event.checkpoint_id


def custom_event(name: str, data: Any) -> AnyEvent:
    """A canonical event where the name is one and the data fits it; else a `custom` one."""
    if (known := OWN_EVENTS.get(name)) is not None:
        try:
            return msgspec.convert(data, known)
        except msgspec.ValidationError:
            pass
    return Custom(name=name, value=plain(data))


def _retries_on(policy: RetryPolicy, error: Exception) -> bool:
    """Whether a policy is about an error, as LangGraph reads it."""
    on = policy.retry_on
    if isinstance(on, type | Sequence):
        return isinstance(error, on if isinstance(on, type) else tuple(on))
    return on(error)


def _limits(metadata: Mapping[str, Any], enclosing: _Span | None) -> Limits:
    """An agent's own limits, from its node's label."""
    return (
        msgspec.convert(metadata["limits"], Limits) if "limits" in metadata and _own(metadata, enclosing) else UNLIMITED
    )


def _own(metadata: Mapping[str, Any], enclosing: _Span | None) -> bool:
    """Whether labels in the metadata are this node's own: nested runnables inherit those of the node around them."""
    return enclosing is None or metadata.get("agent_id") != enclosing.agent


def _agent_of(name: str | None, tags: list[str], metadata: Mapping[str, Any], enclosing: _Span | None) -> str | None:
    """The agent that begins with this runnable, or None where it belongs to what is around it."""
    created = metadata.get("lc_agent_name")
    is_node = name == metadata.get("langgraph_node") and any(tag.startswith("graph:step:") for tag in tags)
    if "langsmith:hidden" in tags or (name or "").startswith("__"):
        return None
    if created:  # the inner nodes of a `create_agent` agent (model, tools) are that agent
        is_agent = name == created and not is_node
        return created if is_agent and not (enclosing and enclosing.agent == created) else None
    if not is_node:
        return None
    labelled = metadata.get("agent_id")
    if labelled is None or (enclosing is not None and labelled == enclosing.agent):
        return name
    return str(labelled) or None


def _reasoning(message: BaseMessage) -> str:
    """A model's visible thinking, from the two places where providers' bindings put it."""
    if isinstance(message.content, list):
        blocks = [block for block in message.content if isinstance(block, dict)]
        return "".join(str(b.get("reasoning") or b.get("thinking") or "") for b in blocks)
    thought = message.additional_kwargs.get("reasoning_content")
    return thought if isinstance(thought, str) else ""


def reply_text(outputs: Any) -> str:
    """The text that a node's return value or a graph's final state answers with, or an empty string."""
    if isinstance(outputs, list):
        return next((text for one in reversed(outputs) if (text := reply_text(one))), "")
    if isinstance(outputs, Command):
        return reply_text(outputs.update)
    if isinstance(outputs, AIMessage | AIMessageChunk):
        return str(outputs.text)
    if isinstance(outputs, str):
        return outputs
    if not isinstance(outputs, Mapping):
        return ""
    messages = outputs.get("messages")
    if isinstance(messages, BaseMessage):
        return reply_text(messages)
    if isinstance(messages, list) and messages and isinstance(messages[-1], AIMessage):
        return str(messages[-1].text)
    answer = next((outputs[key] for key in ANSWER_KEYS if isinstance(outputs.get(key), str)), "")
    return str(answer)


ANSWER_KEYS = ("answer", "output", "response", "result")
"""Where a graph without `messages` may leave its answer."""


def plain(value: Any) -> Any:
    """A value as plain JSON types; what cannot be one is told by its type's name."""
    try:
        built = msgspec.to_builtins(value, enc_hook=_describe_object, str_keys=True)
        msgspec.json.encode(built)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, text that is no Unicode, cycles
        return f"<{type(value).__name__}>"
    return built


def storable(text: str) -> str:
    """A text without lone surrogates, which cannot be stored."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _describe_object(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        return {"role": value.type, "content": str(value.text)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return f"<{type(value).__name__}>"


def plain_outputs(outputs: Any) -> dict[str, Any]:
    """A node's return value for the log: a plain dictionary of bounded size."""
    update = outputs.update if isinstance(outputs, Command) else outputs
    if not isinstance(update, Mapping):
        return {}
    shown = plain(dict(update))
    if not isinstance(shown, dict):
        return {}
    return shown if len(msgspec.json.encode(shown)) <= OUTPUTS_LIMIT else {}
