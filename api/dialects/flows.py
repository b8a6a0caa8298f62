"""The flow vocabulary (seed 000): elements that start and complete, chunks, one final output.

Order of a turn: status, `flow_started`, elements (which may interleave; `status` anywhere),
`final_output`, `flow_completed`; or `flow_error` in place of what is missing. Every frame is
`{type, data, timestamp}`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from antiphon.api.dialects import base
from antiphon.api.dialects.base import TOOL_EVENTS, Dialect, Fold, Questions
from antiphon.api.dialects.flow_elements import Element, Elements
from antiphon.api.dialects.flow_frames import (
    FRAMES,
    ChunkData,
    CompletedData,
    ElementCompleted,
    ElementData,
    ElementStarted,
    ErrorData,
    FinalOutput,
    FinalText,
    FlowChunk,
    FlowCompleted,
    FlowEndData,
    FlowError,
    FlowFrame,
    FlowStarted,
    FlowStatus,
    OutputData,
    StartedData,
    State,
    StatusData,
)
from antiphon.api.dialects.shown import News
from antiphon.api.dialects.words import (
    Ask,
    ClientAuth,
    ClientCancel,
    ClientDisconnect,
    ClientMessage,
    ClientPing,
    ClientResume,
    Command,
    Name,
    Text,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator import events as ev
from antiphon.orchestrator.recording.view import RECOVERED
from antiphon.orchestrator.request import HistoryMessage, Request

STATES: dict[str, State] = {
    "starting": "preparing",
    "agent_routing": "preparing",
    "rag_retrieval": "retrieving",
    "generating": "executing",
}
TIMEOUTS = ("AGENT_TIMEOUT", "MODEL_TIMEOUT", "BUDGET_EXCEEDED")
HISTORY = 200
"""Messages of a client's own history that are taken, the last ones."""


class FlowFold(Fold):
    """Agents as elements, with what each gave; a status for what is going on."""

    def __init__(self) -> None:
        super().__init__()
        self._flow_id = ""
        self._agent_id = ""
        self._verbose = False
        self._started = 0
        self._state: State | None = None
        self._speaker = ""
        """The element that the last piece of the answer is from."""
        self._elements = Elements()

    def stamp(self, at: int) -> dict[str, Any]:
        """Return the time of the event in seconds."""
        return {"timestamp": at / 1000}

    def frames(self, recorded: ev.Recorded, news: list[News]) -> list[FlowFrame]:
        """Return the frames of an event."""
        chunks: list[FlowFrame] = [self._chunk(piece.agent, piece.text) for piece in news]
        if news:
            self._speaker = news[-1].agent
        return [*chunks, *self._of_event(recorded.event, recorded)]

    def _of_event(self, event: ev.AnyEvent, recorded: ev.Recorded) -> list[FlowFrame]:
        match event:
            case ev.RunStart():
                self._begin(event, recorded)
                return self._flow_started(recorded.at, "Preparing the flow…", "preparing")
            case ev.InterruptAnswered():
                self._elements.begin_anew()
                return self._flow_started(recorded.at, "Going on with your answer…", "executing")
            case ev.AgentStart():
                element = self._elements.begin(event)
                return [ElementStarted(ElementData(**self._fields(element)))]
            case ev.AgentChunk(channel="draft") if self._verbose:
                return [self._chunk(event.agent, event.text, channel="draft")]
            case ev.AgentComplete():
                return self._element_completed(event)
            case ev.Interaction() | ev.Sources():
                self._elements.see(event)
            case ev.Interrupt() | ev.RunComplete() | ev.RunError() | ev.RunCancelled():
                return self._end(event, recorded.at)
            case ev.RunAttempt(reason=reason) if reason == RECOVERED:
                self._elements.begin_anew(event.supersedes.spans)
        return self._going_on(event)

    def _going_on(self, event: ev.AnyEvent) -> list[FlowFrame]:
        """Return what people are to know of the work."""
        message = ""
        match event:
            case ev.Progress():
                return self._progress(event)
            case ev.WorkflowUpdate():
                message = event.message
            case ev.RunAttempt():
                message = base.attempt_message(event)
            case ev.AgentError(recoverable=True):
                message = f"{event.agent}: {event.message}"
        return [_status(message, self._state or "executing")] if message else []

    def _begin(self, event: ev.RunStart, recorded: ev.Recorded) -> None:
        options = event.input.get("options", {})
        self._flow_id = recorded.run_id or ""
        self._agent_id = str(options.get("agent_id") or event.graph)
        self._verbose = bool(options.get("verbose"))
        self._state = "preparing"

    def _flow_started(self, at: int, message: str, state: State) -> list[FlowFrame]:
        self._started = at
        started = StartedData(flow_id=self._flow_id, agent_id=self._agent_id, start_time=at / 1000)
        return [_status(message, state), FlowStarted(started)]

    def _progress(self, event: ev.Progress) -> list[FlowFrame]:
        """Return a status for each new state, each at most once in a row."""
        state = STATES.get(event.stage)
        if state is None or state == self._state:
            return []
        self._state = state
        return [_status(event.message or event.stage, state)]

    def _fields(self, element: Element) -> dict[str, Any]:
        return {"flow_id": self._flow_id, **msgspec.structs.asdict(element)}

    def _chunk(self, element_id: str, text: str, **metadata: Any) -> FlowChunk:
        chunk = ChunkData(
            flow_id=self._flow_id, element_id=element_id, content=text, metadata=metadata
        )
        return FlowChunk(chunk)

    def _element_completed(self, event: ev.AgentComplete) -> list[FlowFrame]:
        element = self._elements.complete(event)
        if element is None:
            return []
        completed = CompletedData(
            **self._fields(element),
            outputs=self._elements.outputs[element.element_id],
            execution_time=event.duration_ms / 1000,
        )
        return [ElementCompleted(completed)]

    def _end(
        self, event: ev.Interrupt | ev.RunComplete | ev.RunError | ev.RunCancelled, at: int
    ) -> list[FlowFrame]:
        match event:
            case ev.Interrupt():
                waiting = _status("Waiting for your answer.", self._state or "executing")
                return [waiting, *self._completed(event, self._elements.asking, at)]
            case ev.RunComplete():
                return self._completed(event, event.primary_agent or "", at)
            case ev.RunError():
                code = "TIMEOUT" if event.code in TIMEOUTS else "EXECUTION_ERROR"
                error = ErrorData(error=event.message, code=code, reason=event.code)
            case ev.RunCancelled():
                error = ErrorData(error="The flow was cancelled.", code="CANCELLED")
        if event.partial_text and self._speaker:
            # what there is of an answer is its element's output so far
            self._elements.outputs.setdefault(self._speaker, {"output": event.partial_text})
        done = msgspec.structs.replace(
            error,
            flow_id=self._flow_id,
            partial_execution_order=self._elements.order,
            partial_outputs=dict(self._elements.outputs),
            execution_time=self._seconds(at),
        )
        return [FlowError(done)]

    def _completed(
        self, event: ev.Interrupt | ev.RunComplete, speaker: str, at: int
    ) -> list[FlowFrame]:
        """Return what was not shown yet, and the end: chunks add up to the final output."""
        text = self.shown.final(event)
        rest = self.shown.rest(text)
        chunks: list[FlowFrame] = [self._chunk(speaker or self._speaker, rest)] if rest else []
        completed = FlowEndData(
            flow_id=self._flow_id,
            execution_order=self._elements.order,
            element_outputs=dict(self._elements.outputs),
            final_output=FinalText(text_output=text),
            execution_time=self._seconds(at),
            interrupt=Questions.of(event) if isinstance(event, ev.Interrupt) else UNSET,
        )
        output = OutputData(flow_id=self._flow_id, text_output=text)
        return [*chunks, FinalOutput(output), FlowCompleted(completed)]

    def _seconds(self, at: int) -> float:
        return max(0, at - self._started) / 1000


def _status(message: str, state: State, timestamp: float = 0) -> FlowStatus:
    return FlowStatus(StatusData(message, state), timestamp=timestamp)


# -- what clients send -----------------------------------------------------------------------------


class HistoryItem(msgspec.Struct, frozen=True):
    """An earlier message, as the client keeps it."""

    role: str
    content: str


class FlowMessage(ClientMessage, frozen=True, kw_only=True, tag="message"):
    """A message; the `type` may be left out. The first one may log in, by `token`.

    `user_id` is the client's name for itself, for servers with auth off. `initial_inputs` are
    values for elements, by element. `agent_id` has no effect: the address names the flow.
    """

    text_field = "message"

    message: Text
    user_id: Name | None = None
    token: str | None = None
    session_id: Name | None = None
    conversation_history: list[HistoryItem] | None = None
    initial_inputs: dict[str, dict[str, Any]] | None = None
    agent_id: Any = None

    def request(self) -> Request:
        """Return the message in the engine's terms."""
        latest = (self.conversation_history or [])[-HISTORY:]
        return Request(
            message=self.message,
            thread_name=self.session_id or None,
            inputs=self.initial_inputs or {},
            history=tuple(
                HistoryMessage(role=item.role, content=item.content)
                for item in latest
                if item.role in ("user", "assistant")
            ),
        )

    def command(self) -> Command:
        """Return `Ask`."""
        return Ask(request=self.request(), token=self.token, user=self.user_id or None)


class FlowResume(ClientResume, frozen=True, kw_only=True, tag="resume"):
    """Go on after frame `last_seq` of a run. It may log in as a message may."""

    token: str | None = None
    user_id: Name | None = None

    def command(self) -> Command:
        """Return `Resume`."""
        resume = super().command()
        return msgspec.structs.replace(resume, token=self.token, user=self.user_id or None)


# -- the vocabulary --------------------------------------------------------------------------------


class Flows(Dialect):
    """The vocabulary of `/api/chat/execute/{agent_id}`."""

    name = "flows"
    fold = FlowFold
    frames = FRAMES
    asks = (ClientAuth, FlowMessage, ClientPing, ClientCancel, FlowResume, ClientDisconnect)
    final = (FlowCompleted, FlowError)
    order = (
        r"(status )*flow_started ((status|element_started|element_completed|llm_chunk) )*"
        r"(final_output flow_completed |flow_error )|flow_error "
    )
    silent = frozenset({"message_saved", "interaction", "sources", "custom", *TOOL_EVENTS})
    reading = base.TurnPaths(
        piece="llm_chunk.data.content",
        whole="flow_completed.data.final_output.text_output",
        question="flow_completed.data.interrupt",
        aside="data.metadata.channel",
    )
    doors = (
        base.Talk(
            path="/api/chat/execute/{agent_id}",
            about="Execute a flow, or a graph of the server's, for each message."
            " `?verbose=1` shows all elements' texts.",
            closes_when_idle=True,
        ),
    )

    def named(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Return a message or a login without a `type` under its own."""
        kind = frame.get("type")
        if kind not in ("message", None):
            return frame
        if "message" not in frame and isinstance(frame.get("token"), str):
            return {**frame, "type": "auth"}
        if kind is None and frame.keys() & set(FlowMessage.__struct_fields__):
            return {**frame, "type": "message"}
        return frame

    def welcome(
        self, connection_id: str, principal: Principal, asked: bool, at: int
    ) -> msgspec.Struct | None:
        """Return a `status`: authenticated, or connected with auth off."""
        if principal.expires_at is None:
            return _status("Connected.", "connected", at / 1000)
        return _status("Authenticated.", "authenticated", at / 1000)

    def pong(self, at: int) -> msgspec.Struct:
        """Return a `status`: the document has no other word for it."""
        return _status("pong", "connected", at / 1000)

    def problem(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return `flow_error`."""
        return FlowError(ErrorData(error=problem.message, code=problem.code), timestamp=at / 1000)
