"""Fixed runs that hold every event there is, and strategies that make up others."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

from antiphon.api.dialects.base import Dialect, Frame
from antiphon.api.dialects.base import encoded as on_the_wire
from antiphon.api.streams import START, Cursor, Framer
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AgentTextEnd,
    AnyEvent,
    Custom,
    Hit,
    Interaction,
    Interrupt,
    InterruptAnswered,
    MessageBody,
    MessageSaved,
    OpenQuestion,
    Progress,
    Recorded,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
    Sources,
    Superseded,
    TextRef,
    ToolComplete,
    ToolError,
    ToolGraph,
    ToolOrder,
    ToolStart,
    Usage,
    WorkflowUpdate,
)
from antiphon.orchestrator.recording.view import NO_ANSWER

THREAD = "01900000-0000-7000-8000-00000000000a"
RUN = "01900000-0000-7000-8000-000000000001"
AT = 1_770_000_000_000
USER = MessageBody(id="m-1", role="user", content="What is the engine power?", author="ada")
HIT = Hit(
    id="glance#1", title="At a glance", uri="glance.md", score=4.5, snippet="| Power | 81 kW |"
)
HEADING_ONLY = Hit(id="engine#2", title="Engine › Power")


def start(**options: Any) -> RunStart:
    chosen = {"options": options} if options else {}
    return RunStart(
        input={"message": USER.content, **chosen}, graph="team", dialect="native", reply_id="m-2"
    )


def answer(text: str, span: str = "1.3", **given: Any) -> AgentChunk:
    return AgentChunk(**({"span": span, "agent": "specs", "role": "primary", "text": text} | given))


def retry(*spans: str, after: int = 0, reason: str = "model_retry") -> RunAttempt:
    superseded = Superseded(after=after, agents=["specs"], spans=list(spans))
    return RunAttempt(attempt=1, reason=reason, supersedes=superseded)


def complete(text: str, **given: Any) -> RunComplete:
    return RunComplete(message_id="m-2", text=text, **given)


EVERYTHING: list[AnyEvent] = [
    start(session_id="session 1", stream_supporting=True),
    MessageSaved(message=USER),
    Progress(value=0.0, stage="starting", message="Processing started"),
    AgentStart(span="1.1", agent="classifier", role="classifier"),
    Progress(value=0.1, stage="agent_routing", message="Routing…"),
    Interaction(
        source="classifier",
        target="specs",
        kind="route",
        query="power?",
        reason="chosen by the model",
    ),
    Interaction(source="specs", target="maintenance", kind="consult", query="service?"),
    AgentComplete(span="1.1", agent="classifier", role="classifier", text="", duration_ms=12),
    AgentStart(span="1.2", agent="maintenance", role="supporting"),
    Progress(value=0.3, stage="rag_retrieval", message="Searching…"),
    Interaction(
        source="maintenance",
        target="retriever",
        kind="retrieve",
        query="service?",
        response="2 passages",
    ),
    Sources(query="service?", hits=[HIT, HEADING_ONLY]),
    AgentChunk(span="1.2", agent="maintenance", role="supporting", channel="reasoning", text="Hm."),
    AgentChunk(
        span="1.2", agent="maintenance", role="supporting", channel="draft", text="Every 15,000 km."
    ),
    ToolStart(span="1.2", call_id="c-1", name="calendar", args={"day": 1}),
    Custom(name="unreadable", value={"type": "tool_chunk"}),  # a row of an earlier version
    ToolComplete(span="1.2", call_id="c-1", name="calendar", output=["free"]),
    ToolStart(span="1.2", call_id="c-2", name="calendar"),
    ToolError(span="1.2", call_id="c-2", name="calendar", code="TOOL_FAILED"),
    Interaction(
        source="maintenance",
        target="specs",
        kind="return",
        query="service?",
        response="Every 15,000 km.",
    ),
    AgentComplete(
        span="1.2",
        agent="maintenance",
        role="supporting",
        text="Every 15,000 km.",
        duration_ms=340,
        usage=Usage(input_tokens=10, output_tokens=4, total_tokens=14),
        finish_reason="stop",
    ),
    AgentStart(span="1.9", agent="troubleshooting", role="supporting"),
    AgentError(
        span="1.9",
        agent="troubleshooting",
        role="supporting",
        code="MODEL_TIMEOUT",
        message="The model did not answer in time.",
        recoverable=True,
    ),
    AgentStart(span="1.3", agent="specs", role="primary"),
    Progress(value=0.6, stage="generating", message="Generating…"),
    answer("One two "),
    answer("three"),
    retry("1.3", after=23),
    answer("One "),
    answer("two three\u2028four\u0085\r\n🙂"),
    WorkflowUpdate(
        workflow_id="w-1", status="transition", step="ask", previous="greet", message="greet → ask"
    ),
    Custom(name="note", value={"any": [1, None]}),
    ToolOrder(
        task="tools:1", asked=["c-1"], beside=["c-2"], graphs=[ToolGraph(call="c-1", name="agent")]
    ),
    Interrupt(
        id="i-1",
        question={"text": "Which car?"},
        reason="input_required",
        schema={"type": "string"},
        options=["Merula", "other"],
        strict=True,
        call_id="c-2",
        value={"question": {"text": "Which car?"}, "options": ["Merula", "other"]},
        prompt='{"text":"Which car?"}\n\nAlso open:\n- Which year?',
        others=[OpenQuestion(id="i-2", question="Which year?", schema={"type": "integer"})],
        questions={
            "i-1": {"question": {"text": "Which car?"}, "options": ["Merula", "other"]},
            "i-2": "Which year?",
        },
    ),
    InterruptAnswered(
        id="i-1",
        answer={"i-1": "Merula", "i-2": 2024},
        by="ada",
        message_id="m-3",
        reply_id="m-4",
        resume={"i-1": "Merula", "i-2": 2024},
    ),
    MessageSaved(
        message=MessageBody(
            id="m-3", role="user", content='{"i-1":"Merula","i-2":2024}', parent="m-2", author="ada"
        )
    ),
    Interaction(source="specs", target="synthesis", kind="handoff", query="power?"),
    answer(" five"),
    AgentComplete(
        span="1.3", agent="specs", role="primary", text="One two three\u2028four\u0085\r\n🙂 five"
    ),
    MessageSaved(
        message=MessageBody(id="m-4", role="assistant", content="…", parent="m-3", author="specs")
    ),
    Progress(value=1.0, stage="finishing", message="Done"),
    complete(
        " five",
        primary_agent="specs",
        confidence=0.95,
        sources=[HIT, HEADING_ONLY],
        usage=Usage(input_tokens=20, output_tokens=9, total_tokens=29),
        execution_order=["classifier", "maintenance", "troubleshooting", "specs"],
    ),
]
FAILED: list[AnyEvent] = [
    start(),
    MessageSaved(message=USER),
    Progress(value=0.0, stage="starting", message="Processing started"),
    AgentStart(span="1.1", agent="specs", role="primary"),
    answer("Half", span="1.1"),
    AgentError(
        span="1.1",
        agent="specs",
        role="primary",
        code="MODEL_CUT",
        message="It stopped.",
        recoverable=False,
    ),
    RunError(
        code="MODEL_CUT",
        message="It stopped.",
        retryable=True,
        partial_message_id="m-2",
        partial_text="Half",
    ),
]
CANCELLED: list[AnyEvent] = [
    start(),
    MessageSaved(message=USER),
    Progress(value=0.0, stage="starting", message="Processing started"),
    answer("Half", span="1.1"),
    RunCancelled(by="ada", partial_message_id="m-2", partial_text="Half"),
]
NEVER_BEGUN: list[AnyEvent] = [start(), MessageSaved(message=USER), RunCancelled(by="ada")]
SEVERAL: list[AnyEvent] = [
    start(),
    MessageSaved(message=USER),
    AgentStart(span="1.1", agent="outline"),
    AgentChunk(span="1.1", agent="outline", text="Let me look."),
    AgentTextEnd(span="1.1", agent="outline", node="outline@1", calls_tools=True),
    AgentComplete(span="1.1", agent="outline", text="Let me look."),
    AgentStart(span="1.2", agent="checks", passing=True),
    AgentChunk(span="1.2", agent="checks", text="SAFE"),
    AgentStart(span="1.3", agent="left"),
    AgentStart(span="1.4", agent="right"),
    AgentChunk(span="1.3", agent="left", text="It is "),
    AgentChunk(span="1.4", agent="right", text="Beside "),
    AgentChunk(span="1.3", agent="left", text="81 kW."),
    AgentChunk(span="1.4", agent="right", text="it."),
    AgentComplete(span="1.4", agent="right", text="Beside it."),
    AgentTextEnd(span="1.3", agent="left", node="left@2"),
    RunAttempt(
        attempt=1,
        reason=NO_ANSWER,
        supersedes=Superseded(after=5, agents=["checks"], spans=[], texts=[TextRef(span="1.2")]),
    ),
    AgentComplete(span="1.3", agent="left", text="It is 81 kW."),
    AgentComplete(span="1.2", agent="checks", text="SAFE"),
    complete("Let me look.\n\nIt is 81 kW.\n\nBeside it.", primary_agent="right"),
]
FIXED = {
    "everything": EVERYTHING,
    "failed": FAILED,
    "cancelled": CANCELLED,
    "never_begun": NEVER_BEGUN,
    "several": SEVERAL,
}


def recorded(events: list[AnyEvent], gaps: list[int] | None = None) -> list[Recorded]:
    """Events as the log would give them, a second apart unless `gaps` (milliseconds) are given."""
    at, found = AT, []
    for index, event in enumerate(events):
        found.append(
            Recorded(thread_id=THREAD, seq=index + 1, run_id=RUN, attempt=1, at=at, event=event)
        )
        at += gaps[index % len(gaps)] if gaps else 1000
    return found


def framed(
    dialect: Dialect, events: list[Recorded], after: Cursor = START, cuts: list[int] | None = None
) -> list[tuple[str, bytes]]:
    """`(cursor, frame as sent)` of events that a reader gets in batches that end at `cuts`."""
    framer = Framer(dialect, after)
    sent: list[tuple[str, bytes]] = []
    edges = sorted({0, len(events), *(cut for cut in cuts or [] if cut < len(events))})
    for begin, end in pairwise(edges):
        sent += [(cursor, encoded(frame)) for cursor, frame in framer.frames(events[begin:end])]
    return sent


def encoded(frame: Frame) -> bytes:
    return f"{frame.event} ".encode() + on_the_wire(frame.data)


def plain(sent: Any) -> dict[str, Any]:
    """A frame, or a reply, as a client decodes it."""
    data = sent.data if isinstance(sent, Frame) else sent
    return {} if isinstance(data, str) else dict(msgspec.json.decode(msgspec.json.encode(data)))


def data_of(dialect: Dialect, events: list[Recorded]) -> list[dict[str, Any]]:
    """The frames of events, as a client decodes them; texts that are no JSON are left out."""
    fold = dialect.fold()
    frames = [plain(frame) for one in events for frame in fold.feed(one)]
    return [frame for frame in frames if frame]


_texts = st.sampled_from(["a", "b", "ab", "a b", " ", "x" * 60])
_spans = st.sampled_from(["1.1", "1.2", "2.1"])
_answers = st.builds(answer, _texts, _spans, part=st.sampled_from([0, 0, 1]))
_text_ends = st.builds(
    AgentTextEnd,
    span=_spans,
    agent=st.just("specs"),
    part=st.sampled_from([0, 1]),
    calls_tools=st.booleans(),
)
_taken_back = st.builds(
    lambda span, part: RunAttempt(
        attempt=1,
        reason=NO_ANSWER,
        supersedes=Superseded(
            after=0, agents=["specs"], spans=[], texts=[TextRef(span=span, part=part)]
        ),
    ),
    _spans,
    st.sampled_from([0, 1]),
)
_steps = st.builds(
    Progress,
    value=st.sampled_from([0.0, 0.1, 0.6]),
    stage=st.sampled_from(
        ["starting", "agent_routing", "rag_retrieval", "generating", "finishing"]
    ),
    message=st.just("…"),
)
_middle = st.one_of(
    _answers,
    _answers,
    st.builds(retry, _spans),
    st.builds(retry, _spans, _spans),
    _text_ends,
    _taken_back,
    _steps,
    st.sampled_from(
        [event for event in EVERYTHING[2:-1] if not isinstance(event, AgentChunk | RunAttempt)]
    ),
)
_ends = st.sampled_from([[], EVERYTHING[-1:], FAILED[-1:], CANCELLED[-1:]])


@st.composite
def runs(draw: st.DrawFn) -> list[Recorded]:
    """Any events behind a start, in any order, at any pace, with or without an end."""
    middle = draw(st.lists(_middle, max_size=25))
    gaps = draw(st.lists(st.sampled_from([0, 1, 100, 251]), min_size=1, max_size=5))
    return recorded(
        [
            draw(st.sampled_from([start(), EVERYTHING[0], start(chunk_words=2)])),
            *middle,
            *draw(_ends),
        ],
        gaps,
    )


_completions = st.builds(AgentComplete, span=_spans, agent=st.just("specs"), text=st.just(""))
texts_and_retries = st.lists(
    st.one_of(_answers, _answers, st.builds(retry, _spans), _text_ends, _completions, _taken_back),
    max_size=25,
)
