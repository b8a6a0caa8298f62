"""The flow vocabulary (seed 000): elements that start and complete, chunks of text, one final output.

Order of a turn: status, `flow_started`, elements (which may interleave; `status` anywhere), `final_output`,
`flow_completed`; or `flow_error` in place of what is missing. Every frame is `{type, data, timestamp}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects.base import (
    GOING_ON,
    STOPPED,
    Ask,
    Cancel,
    Command,
    Dialect,
    Frame,
    Leave,
    Login,
    Ping,
    Questions,
    Received,
    Resume,
    Sent,
    ShownText,
    built,
    name_field,
    number_field,
    numbered,
    text_field,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AnyEvent,
    Hit,
    Interaction,
    Interrupt,
    InterruptAnswered,
    Progress,
    Recorded,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
    Sources,
    WorkflowUpdate,
)
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
FIELDS = {"message", "user_id", "session_id", "conversation_history", "initial_inputs", "agent_id"}
HISTORY = 200
"""Messages of a client's own history that are taken, the last ones."""


class FlowFrame(Sent, frozen=True, kw_only=True):
    """What all frames of this vocabulary have; the time is in seconds since the epoch."""

    timestamp: float = 0.0


class StatusData(msgspec.Struct, frozen=True, kw_only=True):
    """What is going on, for people."""

    message: str
    state: State


class FlowStatus(FlowFrame, frozen=True, kw_only=True, tag="status"):
    """What is going on."""

    data: StatusData


class StartedData(msgspec.Struct, frozen=True, kw_only=True):
    """`flow_id` is this execution's."""

    flow_id: str
    agent_id: str
    start_time: float


class FlowStarted(FlowFrame, frozen=True, kw_only=True, tag="flow_started"):
    """The flow begins."""

    data: StartedData


class ElementData(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the flow."""

    flow_id: str
    element_id: str
    element_type: str
    element_name: str
    backtracking: bool = False


class ElementStarted(FlowFrame, frozen=True, kw_only=True, tag="element_started"):
    """An element begins."""

    data: ElementData


class ChunkData(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of text; `metadata.channel` is `draft` where it is not the answer's."""

    flow_id: str
    element_id: str
    content: str
    metadata: dict[str, Any] = {}


class FlowChunk(FlowFrame, frozen=True, kw_only=True, tag="llm_chunk"):
    """A piece of the answer; with `?verbose=1` of other elements' texts as well."""

    data: ChunkData


class CompletedData(ElementData, frozen=True, kw_only=True):
    """What an element gave: `output`, and `sources` where it searched; the time is in seconds."""

    outputs: dict[str, Any] = {}
    execution_time: float = 0.0


class ElementCompleted(FlowFrame, frozen=True, kw_only=True, tag="element_completed"):
    """An element is done."""

    data: CompletedData


class OutputData(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    flow_id: str
    text_output: str
    proposed_transaction: None = None


class FinalOutput(FlowFrame, frozen=True, kw_only=True, tag="final_output"):
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


class FlowCompleted(FlowFrame, frozen=True, kw_only=True, tag="flow_completed"):
    """The flow is done; the last frame of a turn."""

    data: FlowEndData


class ErrorData(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, and what was done before; `reason` is the code behind EXECUTION_ERROR and TIMEOUT."""

    error: str
    code: str
    flow_id: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    partial_execution_order: list[str] = []
    partial_outputs: dict[str, Any] = {}
    execution_time: float = 0.0


class FlowError(FlowFrame, frozen=True, kw_only=True, tag="flow_error"):
    """Something went wrong; the last frame of a turn."""

    data: ErrorData


class HistoryItem(msgspec.Struct, frozen=True):
    """An earlier message, as the client keeps it."""

    role: str
    content: str


class FlowMessage(Received, frozen=True, kw_only=True, tag="message"):
    """A message; the tag may be left out. The first one may log in, by `token`.

    `user_id` says who asks where the server asks for no login. `initial_inputs` are values for elements, by element.
    """

    message: str
    user_id: str | None = None
    token: str | None = None
    session_id: str | None = None
    conversation_history: list[HistoryItem] | None = None
    initial_inputs: dict[str, dict[str, Any]] | None = None
    agent_id: str | None = None


class FlowPing(Received, frozen=True, kw_only=True, tag="ping"):
    """A sign of life is wanted."""


class FlowCancel(Received, frozen=True, kw_only=True, tag="cancel"):
    """Stop the flow under way."""


class FlowResume(Received, frozen=True, kw_only=True, tag="resume"):
    """Go on behind frame `last_seq` of a run. It may log in as a message may, by `token` or `user_id`."""

    run_id: str
    last_seq: float = 0
    token: str | None = None
    user_id: str | None = None


class FlowDisconnect(Received, frozen=True, kw_only=True, tag="disconnect"):
    """Goodbye."""


class _Element(msgspec.Struct):
    """What is known of one agent at work."""

    id: str
    type: str
    name: str


class _FlowFold:
    def __init__(self) -> None:
        self._flow_id = ""
        self._agent_id = ""
        self._verbose = False
        self._started = 0
        self._state: State | None = None
        self._shown = ShownText()
        self._speaker = ""
        """The element that said something of the answer last."""
        self._elements: dict[str, _Element] = {}
        self._searcher = ""
        self._found: dict[str, list[Hit]] = {}
        self._chosen: dict[str, str] = {}
        """What classifiers chose."""
        self._order: dict[str, str] = {}
        """Elements in the order in which they began, by span."""
        self._asking: list[str] = []
        """Spans that ended with a question, whose elements begin anew with the answer."""
        self._outputs: dict[str, Any] = {}

    def feed(self, recorded: Recorded) -> list[Frame]:
        """The frames of an event."""
        frames = numbered(self._frames(recorded), recorded)
        return [Frame(data=frame | {"timestamp": recorded.at / 1000}) for frame in frames]

    def _frames(self, recorded: Recorded) -> list[FlowFrame]:
        news = self._shown.feed(recorded.event)
        if news:
            self._speaker = news[-1].agent
        return [*(self._chunk(one.agent, one.text) for one in news), *self._of_event(recorded)]

    def _of_event(self, recorded: Recorded) -> list[FlowFrame]:
        event = recorded.event
        match event:
            case RunStart():
                options = event.input.get("options", {})
                self._flow_id = recorded.run_id or ""
                self._agent_id = str(options.get("agent_id") or event.graph)
                self._verbose = bool(options.get("verbose"))
                self._state = "preparing"
                return [_status("Preparing the flow…", "preparing"), self._begun(recorded.at)]
            case InterruptAnswered():
                self._begin_anew(self._asking)
                self._asking = []
                return [_status("Going on with your answer…", "executing"), self._begun(recorded.at)]
            case AgentStart():
                element = self._elements[event.span] = _element(event)
                self._order[event.span] = element.id
                return [ElementStarted(data=ElementData(**self._of(element)))]
            case AgentChunk(channel="draft") if self._verbose:
                return [self._chunk(event.agent, event.text, channel="draft")]
            case AgentComplete():
                return self._completed(event)
            case Interaction(kind="route"):
                self._chosen[event.source] = event.target
            case Interaction(kind="retrieve"):
                self._searcher = event.source
            case Sources():
                self._found.setdefault(self._searcher, []).extend(event.hits)
            case Interrupt():
                return self._question(event, recorded.at)
            case RunComplete():
                return self._end(event.text, event.primary_agent or "", recorded.at)
            case RunError():
                code = "TIMEOUT" if event.code in TIMEOUTS else "EXECUTION_ERROR"
                self._keep_part(event.partial_text)
                return [self._error(event.message, code, recorded.at, event.code)]
            case RunCancelled():
                self._keep_part(event.partial_text)
                return [self._error("The flow was cancelled.", "CANCELLED", recorded.at)]
            case RunAttempt(reason=reason) if reason == RECOVERED:
                self._begin_anew(event.supersedes.spans)
        return self._told(event)

    def _told(self, event: AnyEvent) -> list[FlowFrame]:
        """What is only told to people."""
        message = ""
        match event:
            case Progress():
                return self._progress(event)
            case WorkflowUpdate():
                message = event.message
            case RunAttempt():
                message = "Going on…" if event.reason in GOING_ON else "Regenerating the answer…"
            case AgentError(recoverable=True):
                message = f"{event.agent}: {event.message}"
        return [_status(message, self._state or "executing")] if message else []

    def _begun(self, at: int) -> FlowStarted:
        self._started = at
        return FlowStarted(data=StartedData(flow_id=self._flow_id, agent_id=self._agent_id, start_time=at / 1000))

    def _progress(self, event: Progress) -> list[FlowFrame]:
        """A status for each new state, each at most once in a row."""
        state = STATES.get(event.stage)
        if state is None or state == self._state:
            return []
        self._state = state
        return [_status(event.message or event.stage, state)]

    def _of(self, element: _Element) -> dict[str, Any]:
        return {
            "flow_id": self._flow_id,
            "element_id": element.id,
            "element_type": element.type,
            "element_name": element.name,
        }

    def _begin_anew(self, spans: Sequence[str]) -> None:
        """These elements did not come to their end, and are executed once more."""
        for span in spans:
            self._order.pop(span, None)

    def _keep_part(self, text: str) -> None:
        """What was said of an answer that never came to its end is its element's output so far."""
        if text and self._speaker:
            self._outputs.setdefault(self._speaker, {"output": text})

    def _chunk(self, element_id: str, text: str, **metadata: Any) -> FlowChunk:
        data = ChunkData(flow_id=self._flow_id, element_id=element_id, content=text, metadata=metadata)
        return FlowChunk(data=data)

    def _completed(self, event: AgentComplete) -> list[FlowFrame]:
        if event.finish_reason in STOPPED:
            if event.finish_reason == "interrupted":
                self._asking.append(event.span)
            return []
        element = self._elements.get(event.span) or _Element(event.agent, event.role, event.agent)
        outputs: dict[str, Any] = {}
        given = event.outputs.get("outputs")
        if event.text:
            outputs["output"] = event.text
        elif isinstance(given, dict) and element.id in given:
            outputs["output"] = given[element.id]
        elif chosen := self._chosen.pop(element.id, None):
            outputs["output"] = chosen
        if found := self._found.pop(element.id, None):
            outputs["sources"] = [msgspec.to_builtins(hit) for hit in found]
        self._outputs[element.id] = outputs
        seconds = event.duration_ms / 1000
        return [ElementCompleted(data=CompletedData(**self._of(element), outputs=outputs, execution_time=seconds))]

    def _question(self, event: Interrupt, at: int) -> list[FlowFrame]:
        """A question to the human ends the turn, behind what was said in it; the client's next message answers it."""
        asking = self._elements[self._asking[-1]].id if self._asking else ""
        details = Questions.of(event)
        waiting = _status("Waiting for your answer.", self._state or "executing")
        return [waiting, *self._end(self._shown.asked(event.text), asking, at, details)]

    def _end(self, text: str, speaker: str, at: int, question: Questions | UnsetType = UNSET) -> list[FlowFrame]:
        """What was not shown yet, and the end: the chunks of a turn add up to its final output."""
        rest = self._shown.rest(text)
        completed = FlowEndData(
            flow_id=self._flow_id,
            execution_order=list(self._order.values()),
            element_outputs=dict(self._outputs),
            final_output=FinalText(text_output=text),
            execution_time=self._seconds(at),
            interrupt=question,
        )
        return [
            *([self._chunk(speaker or self._speaker, rest)] if rest else []),
            FinalOutput(data=OutputData(flow_id=self._flow_id, text_output=text)),
            FlowCompleted(data=completed),
        ]

    def _error(self, message: str, code: str, at: int, reason: str | UnsetType = UNSET) -> FlowError:
        return FlowError(
            data=ErrorData(
                error=message,
                code=code,
                flow_id=self._flow_id,
                reason=reason,
                partial_execution_order=list(self._order.values()),
                partial_outputs=dict(self._outputs),
                execution_time=self._seconds(at),
            )
        )

    def _seconds(self, at: int) -> float:
        return max(0, at - self._started) / 1000


def _element(event: AgentStart) -> _Element:
    kind = event.kind or ("agent" if event.role in ("primary", "supporting") else event.role)
    return _Element(event.agent, kind, event.title or event.agent)


def _status(message: str, state: State) -> FlowStatus:
    return FlowStatus(data=StatusData(message=message, state=state))


class Flows(Dialect):
    """The vocabulary of `/api/chat/execute/{agent_id}`."""

    name = "flows"
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
    asks = (FlowMessage, FlowPing, FlowCancel, FlowResume, FlowDisconnect)

    def fold(self) -> _FlowFold:
        """A fresh fold."""
        return _FlowFold()

    def read(self, frame: dict[str, Any]) -> Command:
        """A message, with or without a type; beyond the document `auth`, `ping`, `cancel`, `resume`, `disconnect`."""
        match frame.get("type"):
            case "auth":
                return Login(token=str(frame.get("token") or ""))
            case "ping":
                return Ping()
            case "cancel":
                return Cancel()
            case "disconnect":
                return Leave()
            case "resume":
                return Resume(
                    run_id=name_field(frame, "run_id"),
                    after=number_field(frame, "last_seq", "after"),
                    token=_token(frame),
                    user=name_field(frame, "user_id"),
                )
            case "message" | None:
                if "message" not in frame and isinstance(frame.get("token"), str):
                    return Login(token=frame["token"])
                if frame.get("type") == "message" or FIELDS & frame.keys():
                    return Ask(request=read_message(frame), token=_token(frame), user=name_field(frame, "user_id"))
        raise Problem("UNKNOWN_TYPE", "There is no such message type.")

    def welcome(self, connection_id: str, principal: Principal, asked: bool, at: int) -> dict[str, Any] | None:
        """A `status`: connected, or authenticated where the client said who it is."""
        known = principal.expires_at is not None
        status = _status("Authenticated.", "authenticated") if known else _status("Connected.", "connected")
        return built(status) | {"timestamp": at / 1000}

    def pong(self, at: int) -> dict[str, Any]:
        """A `status`: the document has no other word for it."""
        return built(_status("pong", "connected")) | {"timestamp": at / 1000}

    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """A `flow_error`."""
        return built(FlowError(data=ErrorData(error=problem.message, code=problem.code), timestamp=at / 1000))


def read_message(frame: dict[str, Any]) -> Request:
    """A message of this vocabulary. Raises `Problem`."""
    message = text_field(frame, "message")
    inputs = frame.get("initial_inputs")
    if inputs is not None and not (isinstance(inputs, dict) and all(isinstance(one, dict) for one in inputs.values())):
        raise Problem("BAD_REQUEST", "initial_inputs must be an object of objects.")
    return Request(
        dialect=Flows.name,
        message="" if message is None else message,
        thread_name=name_field(frame, "session_id"),
        inputs=inputs or {},
        history=_history(frame.get("conversation_history")),
    )


def _token(frame: dict[str, Any]) -> str | None:
    token = frame.get("token")
    return token if isinstance(token, str) else None


def _history(listed: Any) -> tuple[HistoryMessage, ...]:
    if listed is None:
        return ()
    try:
        items = msgspec.convert(listed, list[HistoryItem])
    except msgspec.ValidationError:
        message = "conversation_history must be a list of objects with role and content."
        raise Problem("BAD_REQUEST", message) from None
    kept = [item for item in items[-HISTORY:] if item.role in ("user", "assistant")]
    return tuple(HistoryMessage(role=item.role, content=item.content) for item in kept)
