"""Writes how an execution ends: with an answer, a question, a failure, or as cancelled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.data.records import GraphState, Message, RunRecord, RunStatus
from antiphon.orchestrator.engine.graph_run import GraphResult
from antiphon.orchestrator.engine.log import body_of
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.errors import NoAnswer, describe
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    AnyEvent,
    Interrupt,
    MessageSaved,
    Progress,
    RunCancelled,
    RunComplete,
    RunError,
    encode,
)
from antiphon.orchestrator.graphs.served import Conclusion, ServedGraph
from antiphon.orchestrator.questions.questions import stopped_text, unsaid
from antiphon.orchestrator.recording.callbacks import EventHandler
from antiphon.orchestrator.recording.replies import Output, expected_texts
from antiphon.orchestrator.recording.texts import GAP
from antiphon.orchestrator.recording.writer import RunWriter
from antiphon.orchestrator.request import Request
from antiphon.orchestrator.values import storable

log = logging.getLogger("antiphon.run")


class RunEnd:
    """The last commit of an execution. Each method that ends the run returns its successor.

    That is the id of the thread's next queued run, or None.
    """

    def __init__(
        self,
        served: ServedGraph,
        run: RunRecord,
        environment: Environment,
        writer: RunWriter,
        handler: EventHandler,
    ) -> None:
        self._served = served
        self._run = run
        self._environment = environment
        self._writer = writer
        self._view = writer.view
        self._handler = handler

    async def ask(self, question: Interrupt) -> None:
        """Pause with a question, which is stored as the reply after the text so far."""
        answer = self._view.answer
        question = unsaid(question, answer)
        text = f"{answer}{GAP}{question.text}" if answer else question.text
        reply = self._reply(text)
        await self._writer.pause(reply, MessageSaved(message=body_of(reply)), question)

    async def complete(self, result: GraphResult, labels: Mapping[str, str]) -> str | None:
        """End with the answer in the graph's output, which is then the text that stands.

        `labels` are for the log line of a failure.
        """
        self._writer.release()
        try:
            end = self._conclusion(result.output)
        except Exception as error:
            # The run has done its work: it fails once, and is not tried again. Its state is kept,
            # at the message without a reply: the graph has come to its end, only words are missing.
            state = result.state
            if state is not None:
                state = msgspec.structs.replace(state, message_id=self._run.input_message_id)
            return await self.fail(error, labels, state)
        reply = self._reply(end.text, end.author)
        terminal = RunComplete(
            message_id=reply.id,
            text=end.text,
            primary_agent=end.author,
            confidence=end.confidence,
            sources=self._view.cited(end.text),
            usage=self._view.usage,
            execution_order=self._view.order,
        )
        left = self._served.leave(result.output)
        return await self._finish("completed", terminal, reply, left, result.state)

    async def stop_at(self, breakpoint_: Interrupt, state: GraphState | None) -> str | None:
        """End at a breakpoint, because the human said no. Nothing went wrong."""
        reply = self._reply(stopped_text(breakpoint_))
        span, agent, text = f"{self._writer.fence.epoch}.0", self._served.name, reply.content
        self._writer.emit(AgentStart(span=span, agent=agent))
        self._writer.emit(AgentChunk(span=span, agent=agent, text=text))
        self._writer.emit(AgentComplete(span=span, agent=agent, text=text))
        terminal = RunComplete(
            message_id=reply.id,
            text=text,
            usage=self._view.usage,
            execution_order=self._view.order,
        )
        return await self._finish("completed", terminal, reply, graph_state=state)

    async def cancel(self, by: str) -> str | None:
        """End with the text so far, because a user has stopped the run."""
        reply = self._partial_reply("cancelled")
        terminal = RunCancelled(
            by=by,
            partial_message_id=reply.id if reply else None,
            partial_text=reply.content if reply else "",
        )
        return await self._finish("cancelled", terminal, reply)

    async def fail(
        self, error: BaseException, labels: Mapping[str, str], state: GraphState | None = None
    ) -> str | None:
        """End with an error, and the text so far."""
        reply = self._partial_reply("failed")
        failure = describe(error)
        log.error("a run failed with %s", failure.code, exc_info=error, extra=labels)
        terminal = RunError(
            code=failure.code,
            message=failure.message,
            retryable=failure.retryable,
            partial_message_id=reply.id if reply else None,
            partial_text=reply.content if reply else "",
        )
        return await self._finish("failed", terminal, reply, graph_state=state)

    def _conclusion(self, output: Any) -> Conclusion:
        """Return the run's answer. Raises `NoAnswer` if there is no text and no output."""
        view = self._view
        last_agent = view.order[-1] if view.order else None
        if self._served.conclude is not None:
            end = self._served.conclude(output)
            text = storable(end.text) or view.answer
            return end._replace(text=text, author=end.author or last_agent)
        request = msgspec.json.decode(self._run.input, type=Request)
        message_id = self._run.input_message_id
        graph_output = Output(output, request.message, message_id, request.inputs)
        expected = [storable(text) for text in expected_texts(graph_output, view)]
        if not expected and not view.wrote:
            raise NoAnswer
        author = view.author_of(expected[-1]) if expected else ""
        self._handler.answers.settle(expected, author)
        texts = view.texts.answering()
        return Conclusion(view.answer, texts[-1].agent if texts else last_agent)

    def _partial_reply(self, status: RunStatus) -> Message | None:
        """Close what is open, and return the text so far as a reply, if there is any."""
        self._handler.close(status)
        self._writer.release()
        for span in self._view.open_spans():
            self._writer.emit(msgspec.structs.replace(span, finish_reason=status))
        if self._view.waiting:  # the text is stored already, with the question
            return None
        text = self._view.answer
        return self._reply(text, partial=True) if text else None

    async def _finish(
        self,
        status: RunStatus,
        terminal: RunComplete | RunCancelled | RunError,
        reply: Message | None,
        state: bytes | None = None,
        graph_state: GraphState | None = None,
    ) -> str | None:
        last: list[AnyEvent] = []
        if reply is not None:
            last.append(MessageSaved(message=body_of(reply)))
        if status == "completed":
            last.append(Progress(value=1.0, stage="finishing", message="Done"))
        successor = await self._writer.finish(
            status,
            reply,
            encode(terminal),
            *last,
            terminal,
            state=state,
            graph_state=graph_state,
        )
        self._environment.observe(f"ended:{status}", 1)
        return successor

    def _reply(self, text: str, author: str | None = None, *, partial: bool = False) -> Message:
        return Message(
            id=self._run.reply_message_id,
            thread_id=self._run.thread_id,
            run_id=self._run.id,
            role="assistant",
            content=text,
            parent_id=self._view.reply_to or self._run.input_message_id,
            author=author or self._served.name,
            partial=partial,
            created_at=self._environment.clock(),
        )
