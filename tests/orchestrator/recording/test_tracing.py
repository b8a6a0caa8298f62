"""A run's events as spans: their parents, when they are exported, and by whom after a crash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.data.records import RunRecord
from antiphon.orchestrator.events import (
    AgentComplete,
    AgentError,
    AgentStart,
    Interrupt,
    InterruptAnswered,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
    Superseded,
    ToolComplete,
    ToolError,
    ToolStart,
    Usage,
)
from antiphon.orchestrator.recording.tracing import (
    HANDED_BACK,
    ModelAnswered,
    ModelAsked,
    RunSpans,
    Span,
    TraceContext,
    checked_traceparent,
    context_of,
)
from antiphon.orchestrator.recording.view import RECOVERED
from antiphon.orchestrator.testing import ScriptedModel
from tests.orchestrator.support import asking, begin, chain, opened

RUN_ID = "0192f0c1-7b7a-7000-8000-000000000001"
VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def record(attempt: int = 1, epoch: int = 1) -> RunRecord:
    return RunRecord(
        id=RUN_ID,
        thread_id="t",
        user_id="ada@example.com",
        graph="team",
        status="running",
        input=b"{}",
        input_message_id="m",
        reply_message_id="r",
        attempt=attempt,
        charges=1,
        crashes=0,
        lease_epoch=epoch,
        owner="w",
        emitted=0,
        first_seq=1,
        last_seq=None,
        cancel_requested_by=None,
        result=None,
        created_at=5,
        finished_at=None,
    )


def spans_of(run: RunRecord | None = None) -> RunSpans:
    spans = RunSpans(run or record(), context_of(RUN_ID, None))
    spans.see(RunStart(input={"message": "hi"}, graph="team", dialect="chat", reply_id="r"), 5)
    return spans


def fed(spans: RunSpans, *events: Any, at: int = 10) -> list[Span]:
    """The spans that ended with these events, which happen one millisecond after the other."""
    return [span for k, event in enumerate(events) for span in spans.see(event, at + k)]


def only(spans: list[Span]) -> Span:
    (span,) = spans
    return span


def test_what_happens_inside_an_agent_lies_below_it_and_the_agent_below_the_run() -> None:
    spans = spans_of()
    assert spans.begin(9, after_crash=False) == []
    model, tool, inner, outer = fed(
        spans,
        AgentStart(span="1.1", agent="specs", role="primary"),
        AgentStart(span="1.2", agent="nested", parent="1.1"),
        ModelAsked(span="1.2", call="c", model="m"),
        ModelAnswered(call="c", usage=Usage(input_tokens=3, output_tokens=4, total_tokens=7)),
        ToolStart(span="1.2", call_id="t", name="search", args={"q": "hi"}),
        ToolComplete(span="1.2", call_id="t", name="search", output="hi"),
        AgentComplete(span="1.2", agent="nested", text="hi"),
        AgentComplete(span="1.1", agent="specs", text="hi", role="primary", finish_reason="stop"),
    )
    assert fed(spans, RunComplete(message_id="r", text="hi"), at=20) == []
    run = only(spans.close(HANDED_BACK, 21))
    assert [one.name for one in (model, tool, inner, outer, run)] == [
        "model m",
        "tool search",
        "agent nested",
        "agent specs",
        "run",
    ]
    assert model.parent_id == tool.parent_id == inner.id
    assert (inner.parent_id, outer.parent_id, run.parent_id) == (outer.id, run.id, None)
    assert [(one.started, one.ended) for one in (model, tool, inner, outer, run)] == [
        (12, 13),
        (14, 15),
        (11, 16),
        (10, 17),
        (9, 21),
    ]
    assert {one.trace_id for one in (model, tool, inner, outer, run)} == {RUN_ID.replace("-", "")}
    assert model.attributes == {
        "run_id": RUN_ID,
        "model": "m",
        "input_tokens": 3,
        "output_tokens": 4,
    }
    assert outer.attributes == {
        "run_id": RUN_ID,
        "agent": "specs",
        "role": "primary",
        "finish_reason": "stop",
    }
    assert (run.attributes["status"], run.attributes["dialect"]) == ("completed", "chat")
    assert not any(
        value == "hi" or "ada" in str(value)
        for one in (model, tool, run)
        for value in one.attributes.values()
    )


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        (RunComplete(message_id="r", text=""), "completed", None),
        (RunCancelled(by="ada@example.com"), "cancelled", None),
        (RunError(code="CRASH_LOOP", message="no", retryable=False), "failed", "CRASH_LOOP"),
        (Interrupt(id="i", question="?"), "interrupted", None),
    ],
)
def test_the_run_says_how_it_ended(event: Any, status: str, code: str | None) -> None:
    spans = spans_of()
    spans.begin(9, after_crash=False)
    spans.see(event, 10)
    run = only(spans.close(HANDED_BACK, 11))
    assert (run.attributes["status"], run.attributes.get("code"), run.failed) == (
        status,
        code,
        code is not None,
    )
    assert "ada" not in str(run.attributes)


def test_what_fails_says_its_code() -> None:
    spans = spans_of()
    spans.begin(9, after_crash=False)
    failed = fed(
        spans,
        AgentStart(span="1.1", agent="a"),
        ModelAsked(span="1.1", call="c", model=None),
        ModelAnswered(call="c", code="MODEL_TIMEOUT"),
        ToolStart(span="1.1", call_id="t", name="search"),
        ToolError(span="1.1", call_id="t", name="search", code="TOOL_FAILED"),
        AgentError(span="1.1", agent="a", code="AGENT_FAILED", message="no", recoverable=False),
    )
    assert [(span.attributes["code"], span.failed) for span in failed] == [
        ("MODEL_TIMEOUT", True),
        ("TOOL_FAILED", True),
        ("AGENT_FAILED", True),
    ]


def test_what_is_open_when_an_execution_ends_ends_with_it() -> None:
    spans = spans_of()
    spans.begin(9, after_crash=False)
    fed(spans, AgentStart(span="1.1", agent="a"), ModelAsked(span="1.1", call="c", model="m"))
    assert [(span.name, span.ended) for span in spans.close(HANDED_BACK, 30)] == [
        ("model m", 30),
        ("agent a", 30),
        ("run", 30),
    ]


def test_a_tool_that_asks_a_human_ends_with_the_question() -> None:
    spans = spans_of()
    spans.begin(9, after_crash=False)
    fed(spans, ToolStart(span="1.1", call_id="t", name="ask"), Interrupt(id="i", question="?"))
    assert spans.close(HANDED_BACK, 30)[0].attributes["finish_reason"] == "interrupted"


def test_after_a_crash_the_next_execution_tells_what_the_lost_one_could_not() -> None:
    first = spans_of()
    first.begin(9, after_crash=False)
    past = [
        AgentStart(span="1.1", agent="a"),
        AgentComplete(span="1.1", agent="a", text=""),
        AgentStart(span="1.2", agent="b"),
    ]
    told = fed(first, *past)
    second = spans_of(record(attempt=2, epoch=2))
    fed(second, *past)
    unfinished, lost = second.begin(50, after_crash=True)
    assert (unfinished.name, unfinished.ended, unfinished.parent_id) == ("agent b", 12, lost.id)
    assert (lost.attributes["status"], lost.attributes["attempt"], lost.ended, lost.failed) == (
        "lost",
        1,
        12,
        True,
    )
    assert only(told).parent_id == lost.id, "the lost execution's own spans lie below it"
    superseded = Superseded(after=1, agents=["b"], spans=["1.2"])
    again = fed(
        second,
        RunAttempt(attempt=2, reason=RECOVERED, supersedes=superseded),
        AgentStart(span="2.1", agent="b"),
        AgentComplete(span="2.1", agent="b", text=""),
        RunComplete(message_id="r", text=""),
        at=60,
    )
    run = only(second.close(HANDED_BACK, 70))
    assert only(again).parent_id == run.id != lost.id
    assert (run.attributes["attempt"], run.attributes["status"]) == (2, "completed")


def test_an_execution_that_was_lost_after_an_answer_began_with_the_answer() -> None:
    spans = spans_of(record(attempt=2, epoch=3))
    fed(spans, Interrupt(id="i", question="?"), InterruptAnswered(id="i", answer="yes", by="ada"))
    lost = only(spans.begin(50, after_crash=True))
    assert (lost.started, lost.ended, lost.attributes["status"]) == (11, 11, "lost")


def test_what_an_earlier_execution_began_is_not_told_again() -> None:
    spans = spans_of(record(attempt=2, epoch=2))
    fed(spans, AgentStart(span="1.1", agent="a"))
    assert spans.begin(50, after_crash=False) == []
    assert fed(spans, AgentComplete(span="1.1", agent="a", text="")) == []


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-0-0-0",
        VALID.upper(),
        VALID + "-more",
        VALID + "0",
        VALID.replace("00-", "ff-"),
        "00-" + "0" * 32 + VALID[35:],
        VALID[:36] + "0" * 16 + "-01",
        VALID + "\n",
    ],
)
def test_a_trace_that_is_not_valid_is_none(header: str | None) -> None:
    assert checked_traceparent(header) is None
    assert context_of(RUN_ID, header) == TraceContext(RUN_ID.replace("-", ""))


def test_a_valid_one_is_taken_also_of_a_later_version() -> None:
    assert context_of(RUN_ID, checked_traceparent(VALID)) == TraceContext(
        VALID[3:35], VALID[36:52], True
    )
    assert checked_traceparent("01" + VALID[2:] + "-more") == "01" + VALID[2:]
    assert not context_of(RUN_ID, VALID[:-1] + "2").sampled


@given(st.text())
def test_any_header_is_judged(header: str) -> None:
    assert context_of(RUN_ID, checked_traceparent(header)).trace_id


async def test_an_engine_gives_the_spans_of_its_runs(url: str) -> None:
    spans: list[Span] = []
    graph = chain(speaker=asking(ScriptedModel(turns=[("Hello",)])))
    async with opened(url, graph, export=spans.append) as engine:
        run = await begin(engine, "a question", traceparent=VALID)
        await run.wait()
        (start, *_) = [recorded.event async for recorded in run]
        assert "traceparent" not in start.input  # type: ignore[union-attr]
    model, agent, whole = spans
    assert (whole.trace_id, whole.parent_id, agent.parent_id, model.parent_id) == (
        VALID[3:35],
        VALID[36:52],
        whole.id,
        agent.id,
    )
