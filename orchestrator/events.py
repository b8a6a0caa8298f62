"""The canonical vocabulary: everything that can happen in a thread, one class each.

The classes are frozen and tagged; the wire tag is the class name in snake case. `Recorded` is an
event with its place in the log. Pure: this file imports nothing but msgspec.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["classifier", "retriever", "supporting", "primary", "synthesis", "element"]
Channel = Literal["answer", "draft", "reasoning"]
Stage = Literal["starting", "agent_routing", "rag_retrieval", "generating", "finishing"]
InteractionKind = Literal["route", "consult", "handoff", "retrieve", "return"]


def _tag(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def as_text(value: Any) -> str:
    """Return a question or an answer as people read it: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=_tag, omit_defaults=True):
    """Base of all events."""

    @property
    def type(self) -> str:
        """The wire tag."""
        tag: str = self.__struct_config__.tag  # type: ignore[assignment]
        return tag


class MessageBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stored message as events carry it. `parent` is the message that it follows."""

    id: str
    role: str
    content: str
    parent: str | None = None
    author: str | None = None
    partial: bool = False


class Hit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One retrieved passage. `score` is the ranker's; higher is better."""

    id: str
    title: str
    uri: str | None = None
    score: float = 0.0
    snippet: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the model counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
        )


class TextRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One text: part `part` of a span."""

    span: str
    part: int = 0


class Superseded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Text that no longer stands: all of `spans`, and the single `texts`, numbered above `after`.

    `agents` are the agents of both.
    """

    after: int
    agents: list[str]
    spans: list[str]
    texts: list[TextRef] = []


class ToolGraph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph that a tool call runs."""

    call: str
    name: str


class RunStart(Event, frozen=True):
    """A run was accepted. The answer's message will have the id `reply_id`."""

    input: dict[str, Any]
    graph: str
    dialect: str
    reply_id: str


class RunAttempt(Event, frozen=True):
    """Text no longer stands; readers drop what is superseded.

    `reason` is `recovered` or `resumed` if the run begins again after a crash or a human's answer;
    `node_retry`, `model_retry` or `agent_failed` after a failure inside it; and `no_answer` for
    text that turned out not to be the answer, because another agent went on with the work and
    answers.
    """

    attempt: int
    reason: str
    supersedes: Superseded


class MessageSaved(Event, frozen=True):
    """A message was stored."""

    message: MessageBody


class Progress(Event, frozen=True):
    """How far a run is: 0 to 1, never back."""

    value: float
    stage: Stage
    message: str


class AgentStart(Event, frozen=True):
    """An agent begins. A span is one invocation of one agent.

    `kind` and `title` are those of a flow's element. With `passing`, the graph cannot end with this
    agent: another node has to run after it.
    """

    span: str
    agent: str
    role: Role = "element"
    parent: str | None = None
    kind: str | None = None
    title: str | None = None
    passing: bool = False


class AgentChunk(Event, frozen=True):
    """A piece of an agent's text. Each model call gives one text, which is a `part` of the span."""

    span: str
    agent: str
    text: str
    role: Role = "element"
    channel: Channel = "answer"
    part: int = 0


class AgentTextEnd(Event, frozen=True):
    """One text of an agent is complete. With `calls_tools`, the model went on to call tools.

    `node` is the place in the graph that it comes from: nodes with their steps, `outer@2:inner@1`.
    """

    span: str
    agent: str
    part: int = 0
    node: str = ""
    calls_tools: bool = False


class AgentComplete(Event, frozen=True):
    """An agent is done. `text` is what stands of its answers or drafts, joined by a blank line.

    With `answered`, its node returned one of its texts as an answer.
    """

    span: str
    agent: str
    text: str
    role: Role = "element"
    duration_ms: int = 0
    outputs: dict[str, Any] = {}
    usage: Usage | None = None
    finish_reason: str | None = None
    answered: bool = False


class AgentError(Event, frozen=True):
    """An agent failed. If `recoverable`, the run goes on without it."""

    span: str
    agent: str
    code: str
    message: str
    recoverable: bool
    role: Role = "element"


class Interaction(Event, frozen=True):
    """One agent turns to another."""

    source: str
    target: str
    kind: InteractionKind
    query: str
    response: str | None = None
    reason: str | None = None


class Sources(Event, frozen=True):
    """What was retrieved for a query."""

    query: str
    hits: list[Hit]


class ToolStart(Event, frozen=True):
    """A tool is called."""

    span: str
    call_id: str
    name: str
    args: Any = None


class ToolComplete(Event, frozen=True):
    """A tool answered."""

    span: str
    call_id: str
    name: str
    output: Any = None


class ToolError(Event, frozen=True):
    """A tool failed."""

    span: str
    call_id: str
    name: str
    code: str


class ToolOrder(Event, frozen=True):
    """The order of what tool calls did in one task of the graph; the last event of a task counts.

    `asked` are the calls that asked a human, `beside` those under way at that time, `ended` those
    that had ended; `graphs` are the graphs that they ran, each with its call. LangGraph finds
    answers and checkpoints by this order, so it must be the same if the task is executed again.
    """

    task: str
    asked: list[str] = []
    beside: list[str] = []
    ended: list[str] = []
    graphs: list[ToolGraph] = []


class WorkflowUpdate(Event, frozen=True):
    """The step that a conversation in steps has reached. `completed` ends the workflow."""

    workflow_id: str
    status: Literal["created", "running", "transition", "step_completed", "completed"]
    step: str | None = None
    previous: str | None = None
    message: str = ""


class OpenQuestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An open question of a run.

    If it is `strict`, an answer must fit `schema`; else `schema` and `options` are hints. `call_id`
    is the tool call that asks, if one does.
    """

    id: str
    question: Any
    options: list[Any] | None = None
    schema: dict[str, Any] | None = None
    strict: bool = False
    call_id: str | None = None


class Interrupt(Event, frozen=True):
    """The graph asks a human and waits.

    The fields up to `call_id` are those of the oldest open question, `others` are the rest. `value`
    is all that the graph sent with the question; if there are several, `questions` has the value of
    each open question by id. `prompt` is the question with all that must be read before answering
    it, if that is more than `question`.
    """

    id: str
    question: Any
    reason: str = "input_required"
    schema: dict[str, Any] | None = None
    options: list[Any] | None = None
    strict: bool = False
    call_id: str | None = None
    value: Any = None
    prompt: str = ""
    others: list[OpenQuestion] = []
    questions: dict[str, Any] = {}

    @property
    def open(self) -> list[OpenQuestion]:
        """All open questions of the run, the oldest first."""
        names = OpenQuestion.__struct_fields__
        return [OpenQuestion(**{name: getattr(self, name) for name in names}), *self.others]

    @property
    def text(self) -> str:
        """The question as people read it, with the others below it; never empty."""
        return self.prompt or as_text(self.question) or "?"


class InterruptAnswered(Event, frozen=True):
    """The human answered question `id`, by message `message_id`.

    `resume` is what the graph receives: answers by question, none after a breakpoint. With `stops`,
    the run ends at the breakpoint. The run's next message will have the id `reply_id`.
    """

    id: str
    answer: Any
    by: str
    message_id: str | None = None
    reply_id: str | None = None
    resume: dict[str, Any] = {}
    stops: bool = False


class RunComplete(Event, frozen=True):
    """The run ended with an answer, stored as message `message_id`."""

    message_id: str
    text: str
    primary_agent: str | None = None
    confidence: float | None = None
    sources: list[Hit] = []
    usage: Usage = Usage()
    execution_order: list[str] = []


class RunError(Event, frozen=True):
    """The run failed. `partial_text` is what it had answered."""

    code: str
    message: str
    retryable: bool
    partial_message_id: str | None = None
    partial_text: str = ""


class RunCancelled(Event, frozen=True):
    """The user `by` stopped the run. `partial_text` is what it had answered."""

    by: str
    partial_message_id: str | None = None
    partial_text: str = ""


class Custom(Event, frozen=True):
    """A value that a user's own graph writes to its stream."""

    name: str
    value: Any = None


AnyEvent = (
    RunStart
    | RunAttempt
    | MessageSaved
    | Progress
    | AgentStart
    | AgentChunk
    | AgentTextEnd
    | AgentComplete
    | AgentError
    | Interaction
    | Sources
    | ToolStart
    | ToolComplete
    | ToolError
    | ToolOrder
    | WorkflowUpdate
    | Interrupt
    | InterruptAnswered
    | RunComplete
    | RunError
    | RunCancelled
    | Custom
)

EVENT_TYPES: tuple[type[Event], ...] = AnyEvent.__args__
TERMINAL = (RunComplete, RunError, RunCancelled)
"""Exactly one of these ends a run; no event of the run follows it."""

encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(AnyEvent)


def decode(payload: bytes) -> AnyEvent:
    """Return an event from its stored form. Raises `msgspec.ValidationError`."""
    event: AnyEvent = _decoder.decode(payload)
    return event


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its place in the log.

    `seq` is dense per thread, `at` is in milliseconds since the epoch.
    """

    thread_id: str
    seq: int
    run_id: str | None
    attempt: int
    at: int
    event: AnyEvent

    @property
    def ends_run(self) -> bool:
        """Whether this is the run's terminal event."""
        return isinstance(self.event, TERMINAL)
