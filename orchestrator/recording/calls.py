"""The calls of models and tools that are under way in one execution of a run, as events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from langchain_core.messages import AIMessage
from langgraph.errors import GraphBubbleUp, is_invalid_resume

from antiphon.orchestrator.budget import AnswerCut, BudgetExceeded, Meter
from antiphon.orchestrator.errors import describe
from antiphon.orchestrator.events import Channel, ToolComplete, ToolError, ToolStart, Usage
from antiphon.orchestrator.recording.replies import tool_words
from antiphon.orchestrator.recording.spans import AgentSpan, Part, Spans
from antiphon.orchestrator.recording.tracing import ModelAnswered, ModelAsked
from antiphon.orchestrator.recording.writer import RunWriter
from antiphon.orchestrator.values import bounded

CHARACTERS_PER_TOKEN = 4
"""Of a prompt, to estimate what a call used that failed."""


class ModelCall:
    """A model call under way, for the span of the agent that makes it.

    `node` is the place in the graph that calls, `prompt` the length of the prompt in characters. A
    `silent` call shows nothing of its answer.
    """

    def __init__(
        self, span: AgentSpan, *, channel: Channel, node: str, prompt: int, silent: bool
    ) -> None:
        self.span = span
        self.channel = channel
        self.node = node
        self.prompt = prompt
        self.silent = silent
        self.part: Part | None = None
        """The text of its answer, once there is any."""


class ModelCalls:
    """Turns what models say into texts of their agents, as far as budgets allow."""

    def __init__(self, spans: Spans, meter: Meter) -> None:
        """`meter` counts what the whole run spends."""
        self.tool_arguments: dict[str, Any] = {}
        """Arguments of tool calls as models wrote them, by call id."""
        self._spans = spans
        self._writer = spans.writer
        self._meter = meter
        self._calls: dict[UUID, ModelCall] = {}

    def begin(self, run_id: UUID, call: ModelCall, model: str | None) -> None:
        """Begin a call. What an earlier call that failed has said no longer stands."""
        self._calls[run_id] = call
        self._writer.note(ModelAsked(span=call.span.id, call=str(run_id), model=model))
        if call.span.failed and not call.silent:
            self._spans.take_back(call.span, call.span.failed, "model_retry")
            call.span.failed = []

    def shown(self, run_id: UUID) -> ModelCall | None:
        """Return the call under way, if what it says is shown."""
        call = self._calls.get(run_id)
        return None if call is None or call.silent else call

    def think(self, call: ModelCall, thought: str) -> None:
        """Record a piece of a model's visible thinking."""
        self._spans.say(self._part_of(call), thought, "reasoning")

    def say(self, call: ModelCall, text: str) -> None:
        """Record as much of a piece of text as the agent and the run may still say.

        Raises `BudgetExceeded` or `AnswerCut`, which stop the model, if a limit is reached.
        """
        span, now = call.span, time.perf_counter()
        run_limit = None
        allowed, agent_limit = span.meter.say(text, now)
        if allowed:
            allowed, run_limit = self._meter.say(allowed, now)
        if allowed:
            self._spans.say(self._part_of(call), allowed)
        if run_limit or agent_limit:
            span.finish_reason = run_limit or agent_limit
        if run_limit:
            raise BudgetExceeded
        if agent_limit:
            raise AnswerCut("".join(call.part.pieces) if call.part else "", agent_limit)

    def _part_of(self, call: ModelCall) -> Part:
        """Return the text that a call says, begun with its first piece."""
        if call.part is None:
            self._spans.end_speech(call.span)
            call.part = Part(call.span, call.channel, call.node)
        return call.part

    def end(self, run_id: UUID, messages: Sequence[AIMessage]) -> None:
        """End a call with its answers; note what it used and which tools it calls."""
        call = self._calls.pop(run_id, None)
        if call is None:
            return
        used = Usage()
        for message in messages:
            used += _account(call.span, message)
            for tool_call in message.tool_calls:
                if tool_call.get("id"):
                    self.tool_arguments[str(tool_call["id"])] = tool_call["args"]
        self._spans.end(call.part, calls_tools=any(message.tool_calls for message in messages))
        self._writer.note(ModelAnswered(call=str(run_id), usage=used))

    def fail(self, run_id: UUID, error: BaseException) -> None:
        """End a call that failed. If the model is called again, what it said is taken back.

        The usage is an estimate: each piece of text counts as one token.
        """
        call = self._calls.pop(run_id, None)
        if call is None:
            return
        pieces = 0
        if call.part is not None:
            call.span.failed.append(call.part)
            pieces = len(call.part.pieces)
        prompt = call.prompt // CHARACTERS_PER_TOKEN
        usage = Usage(input_tokens=prompt, output_tokens=pieces, total_tokens=prompt + pieces)
        call.span.use(usage)
        self._spans.end(call.part)
        failed = isinstance(error, Exception) and not isinstance(error, AnswerCut)
        code = describe(error).code if failed else None
        self._writer.note(ModelAnswered(call=str(run_id), code=code))


def _account(span: AgentSpan, message: AIMessage) -> Usage:
    """Add what an answer used to its agent's usage, and return it."""
    usage, counted = Usage(), message.usage_metadata
    if counted:
        usage = Usage(
            input_tokens=int(counted.get("input_tokens") or 0),
            output_tokens=int(counted.get("output_tokens") or 0),
            total_tokens=int(counted.get("total_tokens") or 0),
        )
        span.use(usage)
    reason = message.response_metadata.get("finish_reason")
    if reason and isinstance(reason, str):
        span.finish_reason = reason
    return usage


class ToolCalls:
    """Records the calls of tools."""

    def __init__(self, writer: RunWriter, meter: Meter) -> None:
        """`meter` counts what the whole run spends."""
        self._writer = writer
        self._meter = meter
        self._calls: dict[UUID, ToolStart] = {}

    def spend(self, span: AgentSpan) -> None:
        """Count a call. Raises `BudgetExceeded` if the run or the agent may not make another."""
        if not self._meter.call_tool() or not span.meter.call_tool():
            span.finish_reason = "max_tool_calls"
            raise BudgetExceeded

    def begin(self, run_id: UUID, call: ToolStart) -> None:
        """Begin a call."""
        self._calls[run_id] = call
        self._writer.emit(call)

    def end(self, run_id: UUID, output: Any) -> None:
        """End a call with its output, which is cut if it is too large."""
        call = self._calls.pop(run_id, None)
        if call is None:
            return
        words = bounded(tool_words(output, call.call_id))
        self._writer.emit(
            ToolComplete(span=call.span, call_id=call.call_id, name=call.name, output=words)
        )

    def fail(self, run_id: UUID, error: BaseException) -> None:
        """End a call that raised. One that asks a human did not fail: it will be made again."""
        call = self._calls.pop(run_id, None)
        asks = isinstance(error, GraphBubbleUp) or is_invalid_resume(error)
        if call is not None and not asks:
            self._writer.emit(
                ToolError(span=call.span, call_id=call.call_id, name=call.name, code="TOOL_FAILED")
            )
