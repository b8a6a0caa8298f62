"""LangGraph's and LangChain's callbacks, turned into events. The only file that knows the shape of what they send.

One inline handler sees everything in the order in which it happens: nodes, models, tools, nested graphs. A node is an
agent, and one run of it is a span; the span of a nested node has a parent. Names come, in this order, from our own
label (`add_node(..., metadata={"antiphon": {"agent": ...}})`), from the name of a `create_agent` agent, from the node.
An agent labelled `""` stays out of the log. A model call tagged `nostream` stays silent, as it does in LangGraph.

What is the answer is known only when a node's task is done: its texts stream as they come, and are taken back if the
task returns none of them, or if a later node's text is the answer. `docs/graphs.md` has the rules.
"""

from __future__ import annotations

import itertools
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
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AgentTextEnd,
    AnyEvent,
    Channel,
    Custom,
    Interaction,
    Progress,
    Role,
    RunAttempt,
    Sources,
    Superseded,
    TextRef,
    ToolComplete,
    ToolError,
    ToolStart,
    Usage,
)
from antiphon.orchestrator.graphs.shape import MIDDLEWARE, GraphShape
from antiphon.orchestrator.recording.replies import Outcome, messages_in, reply_text, updates_of
from antiphon.orchestrator.recording.texts import Key, Text, joined
from antiphon.orchestrator.recording.tracing import ModelAnswered, ModelAsked
from antiphon.orchestrator.recording.view import NO_ANSWER
from antiphon.orchestrator.recording.writer import RunWriter
from antiphon.orchestrator.structured import ModelGuard, is_structured
from antiphon.orchestrator.values import bounded, plain, storable

LABEL = "antiphon"
"""The one key of a node's metadata that is ours; everything else there is the user's own."""

OWN_EVENTS: dict[str, type[Progress | Interaction | Sources]] = {
    "progress": Progress,
    "interaction": Interaction,
    "sources": Sources,
}
"""Custom events that stand for canonical ones; all others are recorded as `custom`."""

CUSTOM_LIMIT = 1024 * 1024
"""Bytes of what a graph writes to its stream in one piece, beyond which it is cut."""
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


class _Part:
    """One text of a span while it is being said."""

    def __init__(self, span: _Span, channel: Channel, node: str) -> None:
        self.span = span
        self.number = span.parts
        self.channel = channel
        self.node = node
        self.said: list[str] = []
        self.ended = False
        span.parts += 1
        span.last = self


class _Call:
    """A model call under way. `asked` are the characters of its prompt."""

    def __init__(self, span: _Span, silent: bool, channel: Channel, node: str, asked: int) -> None:
        self.span = span
        self.silent = silent
        self.channel = channel
        self.node = node
        self.asked = asked
        self.part: _Part | None = None


class _Span:
    """One invocation of one agent, while it lasts."""

    def __init__(self, id_: str, agent: str, label: Label, parent: _Span | None) -> None:
        self.id = id_
        self.agent = agent
        self.label = label
        self.parent = parent
        self.own_label: Any = None
        """The label in the metadata as it is, which everything inside this span inherits."""
        self.channel: Channel = "answer"
        self.task = ""
        self.node = ""
        self.after = 0
        self.started = time.perf_counter()
        self.meter = Meter(label.limits, self.started)
        self.is_task = False
        """Whether it is a function decorated with `@task`, whose value is for its caller only."""
        self.parts = 0
        self.last: _Part | None = None
        self.speech: _Part | None = None
        """What the node says by itself, without a model, as long as nothing else is said."""
        self.failed: list[_Part] = []
        """Texts of calls that failed, which are taken back if the model is asked again."""
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.inside: set[str] = set()
        """Tasks of the spans that began directly inside this one."""
        self.given = ""
        """The last message that the agent was given: passing it on is saying nothing."""

    @property
    def role(self) -> Role:
        """Its part in a team."""
        return self.label.role

    def encloses(self, other: _Span | None) -> bool:
        """Whether another span began inside this one."""
        while other is not None and other.parent is not self:
            other = other.parent
        return other is not None

    def use(self, used: Usage) -> None:
        """Add what a call has used."""
        self.usage = used if self.usage is None else self.usage + used


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
        self.shape = shape
        self._writer = writer
        self._attempt = attempt
        self._numbers = itertools.count(1)
        """Of spans. Plain functions that call graphs begin some in threads of their own."""
        self._open: dict[UUID, _Span] = {}
        self._within: dict[UUID, _Span] = {}
        self._aside: set[UUID] = set()
        """Runnables whose texts cannot be the answer: tools, edges, and what they call."""
        self._spans: dict[str, _Span] = {}
        self._steps: dict[str, int] = {}
        """The step in which each task runs, by its namespace."""
        self._last: set[str] = set()
        """Places of tasks after which nothing ran: their nodes have no edge and returned no command."""
        self._speeches: set[Key] = set()
        """Texts that nodes said by themselves: they mean them for the reader."""
        self._calls: dict[UUID, _Call] = {}
        self._tools: dict[UUID, tuple[_Span, str, str]] = {}
        self._tool_calls: dict[str, Any] = {}
        """Arguments of tool calls as models wrote them, by call id."""
        self._failed_tasks: dict[str, _Span] = {}
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
        if _has_step(tags):
            self._steps[str(metadata.get("langgraph_checkpoint_ns", ""))] = int(metadata.get("langgraph_step", 0))
        if parent_run_id in self._aside or (parent_run_id in self._open and _is_edge(tags)):
            self._aside.add(run_id)
        agent = _agent_of(kwargs.get("name"), tags, metadata, enclosing)
        span = self._begin(agent, run_id, metadata, enclosing) if agent else enclosing
        if span is None:
            return
        self._within[run_id] = span
        if span is not enclosing:
            span.given = reply_text(inputs)
            self._open[run_id] = span

    def _begin(self, agent: str, run_id: UUID, metadata: Mapping[str, Any], enclosing: _Span | None) -> _Span:
        label = _label(metadata, enclosing) or Label()
        span = _Span(f"{self._writer.fence.epoch}.{next(self._numbers)}", agent, label, enclosing)
        self._spans[span.id] = span
        span.own_label = metadata.get(LABEL)
        span.after = self._writer.last_seq
        span.task = str(metadata.get("langgraph_checkpoint_ns", ""))
        span.node = self._place(span.task)
        span.is_task = _is_task_path(metadata.get("langgraph_path"))
        inherited: Channel = enclosing.channel if enclosing and enclosing.label.channel else "answer"
        span.channel = label.channel or ("draft" if run_id in self._aside else inherited)
        if enclosing is not None and span.task != enclosing.task:
            enclosing.inside.add(span.task)
        if failed := self._failed_tasks.pop(span.task, None):
            self._take_back_span(failed, "node_retry")
        passing = span.channel == "answer" and label.channel is None and self.shape.passes(_path(span.node))
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

    def _end(self, span: _Span, outputs: Any) -> None:
        self._close_inside(span)
        if _path(span.node) in self.shape.edgeless and not _goes_to(outputs):
            self._last.add(span.node)
        if span.node and not span.is_task:
            self._say_reply(span, storable(reply_text(outputs)))
        judged = span.channel == "answer" and span.label.channel is None
        answered = judged and self._judge(span, outputs)
        event = self._completion(span, span.finish_reason, outputs)
        self._queue(span, msgspec.structs.replace(event, answered=answered))

    def _queue(self, span: _Span, event: AnyEvent) -> None:
        """Emit what a task ends with, together with the task's stored result."""
        if span.task:
            self._writer.hold(span.task, event, span.inside)
        else:
            self._writer.emit(event)

    def _say_reply(self, span: _Span, text: str) -> None:
        """Show what a node answers by what it returns, unless it was shown already."""
        shown = [str(one) for one in self._writer.view.texts if self._is_inside(one, span)]
        whole = self._writer.view.texts.of_span(span.id)
        if not text or text == span.given or text.strip() in {one.strip() for one in [*shown, whole]}:
            return
        part = _Part(span, span.channel, span.node)
        self._say(part, text)
        self._end_part(part)

    def _judge(self, span: _Span, outputs: Any) -> bool:
        """Take back which texts turned out to be no answer, now that a task has returned its result.

        Return whether the task has returned one of its texts as an answer.
        """
        standing = self._writer.view.texts.answering()
        own = [text for text in standing if self._is_inside(text, span)]
        if not own:
            return False
        outcome = Outcome(outputs)
        whole = outcome.answers(joined(own))
        gone = [text for text in own if not (whole or text.key in self._speeches or outcome.holds(str(text)))]
        stays = [text for text in own if text not in gone]
        answered = whole or any(text.key in self._speeches or outcome.answers(str(text)) for text in stays)
        before = [text for text in standing if any(self._went_on(text, later, span) for later in stays)]
        if not answered and any(text.returned for text in before):
            gone += stays  # a remark about the answer, not an answer
        else:
            gone += before
        if gone:
            self._queue(span, self._no_answer(gone))
        return answered

    def _went_on(self, text: Text, later: Text, span: _Span) -> bool:
        """Whether the work that a text came from went on to a later text of a span that has ended."""
        if text.calls_tools or not text.ended or not text.node or self._is_inside(text, span):
            return False
        return self.shape.goes_on(text.node, later.node, self._last)

    def _is_inside(self, text: Text, span: _Span) -> bool:
        """Whether a text was said in a span, or in one that it encloses."""
        return self._writer.view.texts.is_inside(text.key[0], span.id)

    def _no_answer(self, texts: Sequence[Text]) -> RunAttempt:
        spans = [self._spans[text.key[0]] for text in texts if text.key[0] in self._spans]
        superseded = Superseded(
            after=min((span.after for span in spans), default=0),
            agents=sorted({text.agent for text in texts}),
            spans=[],
            texts=[TextRef(span=text.key[0], part=text.key[1]) for text in texts],
        )
        return RunAttempt(attempt=self._attempt, reason=NO_ANSWER, supersedes=superseded)

    def settle(self, expected: Sequence[str], author: str) -> None:
        """Make exactly the expected texts stand, when the graph has ended with them.

        `author` is shown as the agent of texts that nobody has said yet.
        """
        standing = self._writer.view.texts.answering()
        if joined(standing).strip() == joined(expected).strip():
            return
        wanted = [text.strip() for text in expected]
        kept: list[Text] = []
        for text in reversed(standing):  # of equal texts the last one
            if wanted.count(str(text).strip()) > sum(str(one).strip() == str(text).strip() for one in kept):
                kept.insert(0, text)
        said = [str(text).strip() for text in kept]
        if len(kept) < len(wanted) and said != wanted[: len(kept)]:
            kept, said = [], []  # something is missing before what stands
        if gone := [text for text in standing if text not in kept]:
            self._writer.emit(self._no_answer(gone))
        missing = [text for text, known in zip(expected, wanted, strict=True) if known not in said]
        if missing:
            self._say_finally(missing, author)

    def _say_finally(self, texts: Sequence[str], author: str) -> None:
        span = _Span(f"{self._writer.fence.epoch}.{next(self._numbers)}", author, Label(), None)
        self._spans[span.id] = span
        self._writer.emit(AgentStart(span=span.id, agent=author))
        for text in texts:
            part = _Part(span, "answer", "")
            self._say(part, text)
            self._end_part(part)
        self._writer.emit(self._completion(span, None))

    async def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable failed, or asks a human (which LangGraph does by an exception)."""
        self._within.pop(run_id, None)
        self._aside.discard(run_id)
        if not isinstance(error, Exception):
            return  # stopped from outside: how the span ends is decided by what stopped it
        span = self._open.pop(run_id, None)
        if span is not None:
            self._writer.on_loop(self._end_with_error, span, error)

    def _end_with_error(self, span: _Span, error: Exception) -> None:
        self._close_inside(span)
        if isinstance(error, GraphBubbleUp) or is_invalid_resume(error):
            asks = not isinstance(error, GraphBubbleUp) or isinstance(error, GraphInterrupt)
            self._writer.emit(self._completion(span, "interrupted" if asks else span.finish_reason))
        else:
            self._fail(span, error)

    def _fail(self, span: _Span, error: Exception) -> None:
        failure = describe(error)
        recoverable = self._recovers(span, error)
        self._failed_tasks[span.task] = span
        if recoverable and span.channel == "answer":
            self._take_back_span(span, "agent_failed")  # another agent will answer
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

    def _recovers(self, span: _Span, error: Exception) -> bool:
        """Whether the run goes on after a failure: the graph's node has an error handler, or is tried once more."""
        task = span.task.partition("|")[0]
        node = task.partition(":")[0]
        failures = self._failures.get(task, 0) + 1
        if span.task == task and (span.parent is None or span.parent.task != task):  # the node itself
            self._failures[task] = failures
        if isinstance(error, BudgetExceeded):
            return False
        policies = (policy for policy in self.shape.retries.get(node, ()) if _retries_on(policy, error))
        policy = next(policies, None)  # the first that fits decides
        return node in self.shape.forgiving or (policy is not None and failures < policy.max_attempts)

    def _completion(self, span: _Span, finish_reason: str | None, outputs: Any = None) -> AgentComplete:
        return AgentComplete(
            span=span.id,
            agent=span.agent,
            role=span.role,
            text=self._writer.view.texts.of_span(span.id),
            duration_ms=round((time.perf_counter() - span.started) * 1000),
            outputs=plain_outputs(outputs) if span.role == "element" else {},
            usage=span.usage,
            finish_reason=finish_reason,
        )

    def _close_inside(self, span: _Span) -> None:
        """Complete what was begun inside a span and stopped by it, innermost first."""
        for run_id, inner in reversed(list(self._open.items())):
            if span.encloses(inner):
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
        if span is None:
            return
        metadata = metadata or {}
        silent = "nostream" in (tags or [])
        aside = parent_run_id in self._aside or is_structured(kwargs) or _is_middleware(metadata)
        channel: Channel = "draft" if aside and span.label.channel is None else span.channel
        node = self._place(str(metadata.get("langgraph_checkpoint_ns", "")))
        asked = sum(len(str(message.text)) for batch in messages for message in batch)
        self._calls[run_id] = _Call(span, silent, channel, node, asked)
        model = metadata.get("ls_model_name")
        self._writer.note(ModelAsked(span=span.id, call=str(run_id), model=str(model) if model else None))
        if span.failed and not silent:
            self._take_back(span, span.failed, "model_retry")
            span.failed = []

    def _take_back(self, span: _Span, parts: Sequence[_Part], reason: str) -> None:
        texts = [TextRef(span=span.id, part=part.number) for part in parts]
        superseded = Superseded(after=span.after, agents=[span.agent], spans=[], texts=texts)
        self._writer.emit(RunAttempt(attempt=self._attempt, reason=reason, supersedes=superseded))

    def _take_back_span(self, span: _Span, reason: str) -> None:
        """Take back what an agent that failed had said, with all that was said inside its span."""
        speaking = {text.key[0] for text in self._writer.view.texts}
        inside = (one for one in self._spans.values() if one is span or span.encloses(one))
        spans = [one for one in inside if one.id in speaking]
        if spans:
            superseded = Superseded(
                after=span.after,
                agents=sorted({one.agent for one in spans}),
                spans=[one.id for one in spans],
            )
            self._writer.emit(RunAttempt(attempt=self._attempt, reason=reason, supersedes=superseded))

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
            self._say(self._part_of(call), thought, "reasoning")
        text = token if isinstance(token, str) else ""
        if not text and isinstance(chunk, ChatGenerationChunk):
            text = chunk.message.text
        if text:
            self._spend(call, str(text))
        await self._writer.drain()

    def _part_of(self, call: _Call) -> _Part:
        """The text that a call says, begun with its first piece."""
        if call.part is None:
            self._end_speech(call.span)
            call.part = _Part(call.span, call.channel, call.node)
        return call.part

    def _spend(self, call: _Call, text: str) -> None:
        """Say as much as the agent and the run may still say. Raises what stops the model if that is not all."""
        span, now = call.span, time.perf_counter()
        allowed, agent_limit = span.meter.say(text, now)
        allowed, run_limit = self._meter.say(allowed, now) if allowed else ("", None)
        if allowed:
            self._say(self._part_of(call), allowed)
        if run_limit or agent_limit:
            span.finish_reason = run_limit or agent_limit
        if run_limit:
            raise BudgetExceeded
        if agent_limit:
            raise AnswerCut("".join(call.part.said) if call.part else "", agent_limit)

    def _say(self, part: _Part, text: str, channel: Channel | None = None) -> None:
        text = storable(text)
        if channel is None:
            part.said.append(text)
        span = part.span
        self._writer.emit(
            AgentChunk(
                span=span.id,
                agent=span.agent,
                role=span.role,
                channel=channel or part.channel,
                text=text,
                part=part.number,
            )
        )

    def _end_part(self, part: _Part | None, calls_tools: bool = False) -> None:
        if part is None or part.ended:
            return
        part.ended = True
        span = part.span
        self._writer.emit(
            AgentTextEnd(
                span=span.id,
                agent=span.agent,
                part=part.number,
                node=part.node,
                calls_tools=calls_tools,
            )
        )

    def _end_speech(self, span: _Span) -> None:
        self._end_part(span.speech)
        span.speech = None

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
                if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                    used += self._account(call.span, generation.message)
                    calls_tools = calls_tools or bool(generation.message.tool_calls)
                    self._note_tool_calls(generation.message)
        self._end_part(call.part, calls_tools)
        self._writer.note(ModelAnswered(call=str(run_id), usage=used))

    def _note_tool_calls(self, message: AIMessage) -> None:
        for called in message.tool_calls:
            if called.get("id"):
                self._tool_calls[str(called["id"])] = called["args"]

    def _account(self, span: _Span, message: AIMessage) -> Usage:
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
        self._end_part(call.part)
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
        asks = isinstance(error, GraphBubbleUp) or is_invalid_resume(error)  # it will be called again
        if called is not None and not asks:
            span, call_id, name = called
            self._writer.emit(ToolError(span=span.id, call_id=call_id, name=name, code="TOOL_FAILED"))

    # -- what a graph itself has to say -------------------------------------------------------------------------

    async def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """`adispatch_custom_event(name, data)`. `agent_chunk` with a `text` lets a node speak without a model."""
        span = self._within.get(run_id)
        if name == "model_cut" and span is not None:  # an answer ended without its end: it will be said anew
            span.failed += [span.last] if span.last is not None else []
        elif (
            name == "agent_chunk" and span is not None and isinstance(data, dict) and isinstance(data.get("text"), str)
        ):
            if span.speech is None:
                aside = run_id in self._aside and span.label.channel is None
                span.speech = _Part(span, "draft" if aside else span.channel, span.node)
                self._speeches.add((span.id, span.speech.number))
            self._say(span.speech, data["text"])
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
    """A canonical event if the name is one and the data fits it; else a `custom` one."""
    if (known := OWN_EVENTS.get(name)) is not None:
        try:
            return msgspec.convert(data, known)
        except msgspec.ValidationError:
            pass
    return Custom(name=name, value=bounded(data, CUSTOM_LIMIT))


def _goes_to(outputs: Any) -> bool:
    """Whether a node's return value says which node is next."""
    commands = outputs if isinstance(outputs, list | tuple) else [outputs]
    return any(isinstance(one, Command) and one.goto for one in commands)


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


def _label(metadata: Mapping[str, Any], enclosing: _Span | None) -> Label | None:
    """A node's own label; None if it has none, or only that of the node around it, which it inherits."""
    found = metadata.get(LABEL)
    if found is None or (enclosing is not None and found == enclosing.own_label):
        return None
    try:
        return msgspec.convert(found, Label)
    except msgspec.ValidationError:
        return None  # the user's own use of the key


def _agent_of(name: str | None, tags: list[str], metadata: Mapping[str, Any], enclosing: _Span | None) -> str | None:
    """The agent that begins with this runnable, or None if it belongs to what is around it."""
    created = metadata.get("lc_agent_name")
    node = metadata.get("langgraph_node")
    is_node = name == node and (_has_step(tags) or _is_task_path(metadata.get("langgraph_path")))
    if "langsmith:hidden" in tags or (name or "").startswith("__"):
        return None
    if created and isinstance(created, str):  # the inner nodes of a `create_agent` agent are that agent
        is_agent = name == created and not is_node
        return created if is_agent and not (enclosing and enclosing.agent == created) else None
    if not is_node or name is None or MIDDLEWARE.match(name):
        return None
    label = _label(metadata, enclosing)
    if label is None or label.agent is None:
        return name
    return label.agent or None


def _has_step(tags: Sequence[str]) -> bool:
    return any(tag.startswith("graph:step:") for tag in tags)


def _is_task_path(path: Any) -> bool:
    """Whether a path in a graph is that of a function decorated with `@task`, called by another one."""
    return isinstance(path, tuple) and len(path) > 3 and path[0] == "__pregel_push" and path[-1] is True


def _is_edge(tags: Sequence[str]) -> bool:
    """Whether a runnable directly inside a node's run is one of its edges: they follow the node's own function."""
    return any(tag.startswith("seq:step:") and tag != "seq:step:1" for tag in tags)


def _is_middleware(metadata: Mapping[str, Any]) -> bool:
    """Whether a model is asked by middleware, for example for a summary."""
    node = metadata.get("langgraph_node")
    return isinstance(node, str) and MIDDLEWARE.match(node) is not None


def _path(place: str) -> str:
    """A place without its steps."""
    return ":".join(part.rpartition("@")[0] for part in place.split(":"))


def _reasoning(message: BaseMessage) -> str:
    """A model's visible thinking, from the two places where providers' bindings put it."""
    if isinstance(message.content, list):
        blocks = [block for block in message.content if isinstance(block, dict)]
        return "".join(str(b.get("reasoning") or b.get("thinking") or "") for b in blocks)
    thought = message.additional_kwargs.get("reasoning_content")
    return thought if isinstance(thought, str) else ""


def plain_outputs(outputs: Any) -> dict[str, Any]:
    """A node's return value for the log: a plain dictionary of bounded size."""
    update = outputs.update if isinstance(outputs, Command) else outputs
    if not isinstance(update, Mapping):
        return {}
    shown = plain(dict(update))
    if not isinstance(shown, dict):
        return {}
    return shown if len(msgspec.json.encode(shown)) <= OUTPUTS_LIMIT else {}
