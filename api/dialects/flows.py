"""The flow vocabulary (seed 000): elements that start and complete, chunks of text, one final output.

Order of a turn: status, `flow_started`, elements (which may interleave; `status` anywhere),
`final_output`, `flow_completed`; or `flow_error` in place of what is missing. Every frame is
`{type, data, timestamp}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects import base
from antiphon.api.dialects.base import TOOL_EVENTS, Dialect, Fold, Questions, Sent
from antiphon.api.dialects.shown import News
from antiphon.api.dialects.words import (
    Ask,
    ClientAuth,
    ClientCancel,
    ClientDisconnect,
    ClientPing,
    ClientResume,
    Command,
    Message,
    Name,
    Text,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator import events as ev
from antiphon.orchestrator.recording.view import RECOVERED
from antiphon.orchestrator.request import HistoryMessage, Request

State = Literal["connected", "authenticated", "retrieving", "preparing", "executing"]
STATES: dict[str, State] = {
    "starting": "preparing",
    "agent_routing": "preparing",
    "rag_retrieval": "retrieving",
    "generating": "executing",
}
TIMEOUTS = ("AGENT_TIMEOUT", "MODEL_TIMEOUT", "BUDGET_EXCEEDED")
HISTORY = 200
"""Messages of a client's own history that are taken, the last ones."""


# -- what the server sends -------------------------------------------------------------------------


class FlowFrame(Sent, frozen=True, kw_only=True):
    """What all frames of this vocabulary have; the time is in seconds since the epoch."""

    timestamp: float = 0.0


class StatusData(msgspec.Struct, frozen=True):
    """What is going on, for people."""

    message: str
    state: State


class FlowStatus(FlowFrame, frozen=True, tag="status"):
    """What is going on."""

    data: StatusData


class StartedData(msgspec.Struct, frozen=True, kw_only=True):
    """`flow_id` is this execution's."""

    flow_id: str
    agent_id: str
    start_time: float


class FlowStarted(FlowFrame, frozen=True, tag="flow_started"):
    """The flow begins."""

    data: StartedData


class ElementData(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the flow."""

    flow_id: str
    element_id: str
    element_type: str
    element_name: str
    backtracking: bool = False


class ElementStarted(FlowFrame, frozen=True, tag="element_started"):
    """An element begins."""

    data: ElementData


class ChunkData(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of text; `metadata.channel` is `draft` if it is not the answer's."""

    flow_id: str
    element_id: str
    content: str
    metadata: dict[str, Any] = {}


class FlowChunk(FlowFrame, frozen=True, tag="llm_chunk"):
    """A piece of the answer; with `?verbose=1` of other elements' texts as well."""

    data: ChunkData


class CompletedData(ElementData, frozen=True, kw_only=True):
    """What an element gave: `output`, and `sources` if it searched; the time is in seconds."""

    outputs: dict[str, Any] = {}
    execution_time: float = 0.0


class ElementCompleted(FlowFrame, frozen=True, tag="element_completed"):
    """An element is done."""

    data: CompletedData


class OutputData(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    flow_id: str
    text_output: str
    proposed_transaction: None = None


class FinalOutput(FlowFrame, frozen=True, tag="final_output"):
    """The whole answer, or a question to the human."""

    data: OutputData


class FinalText(msgspec.Struct, frozen=True, kw_only=True):
    """The answer once more."""

    text_output: str


class FlowEndData(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, in order, and what each element gave; the time is in seconds."""

    flow_id: str
    execution_order: list[str]
    element_outputs: dict[str, Any]
    final_output: FinalText
    execution_time: float
    interrupt: Questions | UnsetType = UNSET


class FlowCompleted(FlowFrame, frozen=True, tag="flow_completed"):
    """The flow is done; the last frame of a turn."""

    data: FlowEndData


class ErrorData(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, and what was done before.

    `reason` is the exact code of EXECUTION_ERROR and TIMEOUT.
    """

    error: str
    code: str
    flow_id: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    partial_execution_order: list[str] = []
    partial_outputs: dict[str, Any] = {}
    execution_time: float = 0.0


class FlowError(FlowFrame, frozen=True, tag="flow_error"):
    """Something went wrong; the last frame of a turn."""

    data: ErrorData


class _Element(msgspec.Struct, frozen=True):
    """One agent at work, by the names that frames have for it."""

    element_id: str
    element_type: str
    element_name: str

    @classmethod
    def of(cls, event: ev.AgentStart) -> _Element:
        """Return the element that begins."""
        plain = "agent" if event.role in ("primary", "supporting") else event.role
        return cls(event.agent, event.kind or plain, event.title or event.agent)


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
        self._elements: dict[str, _Element] = {}
        self._searcher = ""
        self._hits: dict[str, list[ev.Hit]] = {}
        """What was found, by the element that searched."""
        self._chosen: dict[str, str] = {}
        """What classifiers chose."""
        self._order: dict[str, str] = {}
        """Elements in the order in which they began, by span."""
        self._asking: list[str] = []
        """Spans that ended with a question, whose elements begin anew with the answer."""
        self._outputs: dict[str, Any] = {}

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
                status = _status("Preparing the flow…", "preparing")
                return [status, self._flow_started(recorded.at)]
            case ev.InterruptAnswered():
                self._begin_anew(self._asking)
                self._asking = []
                status = _status("Going on with your answer…", "executing")
                return [status, self._flow_started(recorded.at)]
            case ev.AgentStart():
                element = self._elements[event.span] = _Element.of(event)
                self._order[event.span] = element.element_id
                return [ElementStarted(ElementData(**self._fields(element)))]
            case ev.AgentChunk(channel="draft") if self._verbose:
                return [self._chunk(event.agent, event.text, channel="draft")]
            case ev.AgentComplete():
                return self._element_completed(event)
            case ev.Interaction(kind="route"):
                self._chosen[event.source] = event.target
            case ev.Interaction(kind="retrieve"):
                self._searcher = event.source
            case ev.Sources():
                self._hits.setdefault(self._searcher, []).extend(event.hits)
            case ev.Interrupt() | ev.RunComplete() | ev.RunError() | ev.RunCancelled():
                return self._end(event, recorded.at)
            case ev.RunAttempt(reason=reason) if reason == RECOVERED:
                self._begin_anew(event.supersedes.spans)
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
                goes_on = event.reason in base.GOING_ON
                message = "Going on…" if goes_on else "Regenerating the answer…"
            case ev.AgentError(recoverable=True):
                message = f"{event.agent}: {event.message}"
        return [_status(message, self._state or "executing")] if message else []

    def _begin(self, event: ev.RunStart, recorded: ev.Recorded) -> None:
        options = event.input.get("options", {})
        self._flow_id = recorded.run_id or ""
        self._agent_id = str(options.get("agent_id") or event.graph)
        self._verbose = bool(options.get("verbose"))
        self._state = "preparing"

    def _flow_started(self, at: int) -> FlowStarted:
        self._started = at
        started = StartedData(flow_id=self._flow_id, agent_id=self._agent_id, start_time=at / 1000)
        return FlowStarted(started)

    def _progress(self, event: ev.Progress) -> list[FlowFrame]:
        """Return a status for each new state, each at most once in a row."""
        state = STATES.get(event.stage)
        if state is None or state == self._state:
            return []
        self._state = state
        return [_status(event.message or event.stage, state)]

    def _fields(self, element: _Element) -> dict[str, Any]:
        return {"flow_id": self._flow_id, **msgspec.structs.asdict(element)}

    def _begin_anew(self, spans: Sequence[str]) -> None:
        """Forget elements that did not come to their end, and are executed once more."""
        for span in spans:
            self._order.pop(span, None)

    def _chunk(self, element_id: str, text: str, **metadata: Any) -> FlowChunk:
        chunk = ChunkData(
            flow_id=self._flow_id, element_id=element_id, content=text, metadata=metadata
        )
        return FlowChunk(chunk)

    def _element_completed(self, event: ev.AgentComplete) -> list[FlowFrame]:
        if event.finish_reason in base.STOPPED:
            if event.finish_reason == "interrupted":
                self._asking.append(event.span)
            return []
        unknown = _Element(event.agent, event.role, event.agent)
        element = self._elements.get(event.span) or unknown
        outputs = self._outputs[element.element_id] = self._outputs_of(element.element_id, event)
        completed = CompletedData(
            **self._fields(element), outputs=outputs, execution_time=event.duration_ms / 1000
        )
        return [ElementCompleted(completed)]

    def _outputs_of(self, element_id: str, event: ev.AgentComplete) -> dict[str, Any]:
        """Return what an element gave: its text, its own value, or what it chose."""
        outputs: dict[str, Any] = {}
        values = event.outputs.get("outputs")
        if event.text:
            outputs["output"] = event.text
        elif isinstance(values, dict) and element_id in values:
            outputs["output"] = values[element_id]
        elif element_id in self._chosen:
            outputs["output"] = self._chosen.pop(element_id)
        if element_id in self._hits:
            outputs["sources"] = self._hits.pop(element_id)
        return outputs

    def _end(
        self, event: ev.Interrupt | ev.RunComplete | ev.RunError | ev.RunCancelled, at: int
    ) -> list[FlowFrame]:
        match event:
            case ev.Interrupt():
                waiting = _status("Waiting for your answer.", self._state or "executing")
                asking = self._elements[self._asking[-1]].element_id if self._asking else ""
                return [waiting, *self._completed(event, asking, at)]
            case ev.RunComplete():
                return self._completed(event, event.primary_agent or "", at)
            case ev.RunError():
                code = "TIMEOUT" if event.code in TIMEOUTS else "EXECUTION_ERROR"
                error = ErrorData(error=event.message, code=code, reason=event.code)
            case ev.RunCancelled():
                error = ErrorData(error="The flow was cancelled.", code="CANCELLED")
        if event.partial_text and self._speaker:
            # what there is of an answer is its element's output so far
            self._outputs.setdefault(self._speaker, {"output": event.partial_text})
        done = msgspec.structs.replace(
            error,
            flow_id=self._flow_id,
            partial_execution_order=list(self._order.values()),
            partial_outputs=dict(self._outputs),
            execution_time=self._seconds(at),
        )
        return [FlowError(done)]

    def _completed(
        self, event: ev.Interrupt | ev.RunComplete, speaker: str, at: int
    ) -> list[FlowFrame]:
        """Return what was not shown yet, and the end: a turn's chunks add up to its final output."""
        text = self.shown.final(event)
        rest = self.shown.rest(text)
        chunks: list[FlowFrame] = [self._chunk(speaker or self._speaker, rest)] if rest else []
        completed = FlowEndData(
            flow_id=self._flow_id,
            execution_order=list(self._order.values()),
            element_outputs=dict(self._outputs),
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


class FlowMessage(Message, frozen=True, kw_only=True, tag="message"):
    """A message; the `type` may be left out. The first one may log in, by `token`.

    `user_id` is the client's name for itself, for servers with auth off. `initial_inputs` are values
    for elements, by element. `agent_id` has no effect: the address names the flow.
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
    frames = (
        FlowStatus,
        FlowStarted,
        ElementStarted,
        FlowChunk,
        ElementCompleted,
        FinalOutput,
        FlowCompleted,
        FlowError,
    )
    asks = (ClientAuth, FlowMessage, ClientPing, ClientCancel, FlowResume, ClientDisconnect)
    final = (FlowCompleted, FlowError)
    order = (
        r"(status )*flow_started ((status|element_started|element_completed|llm_chunk) )*"
        r"(final_output flow_completed |flow_error )|flow_error "
    )
    silent = frozenset({"message_saved", "interaction", "sources", "custom", *TOOL_EVENTS})
    reading = base.Reading(
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
