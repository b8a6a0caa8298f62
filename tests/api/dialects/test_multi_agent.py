"""Seed 002's vocabulary, as a fold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from antiphon.api.dialects.multi_agent import MultiAgent, MultiAgentRequest
from antiphon.api.dialects.shown import ShownText
from antiphon.api.dialects.words import Ask, Cancel, Leave, Login, Ping, Resume, read_body
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import AnyEvent, InterruptAnswered, Recorded
from antiphon.orchestrator.request import Request
from tests.api.dialects.samples import (
    AT,
    CANCELLED,
    EVERYTHING,
    FAILED,
    NEVER_BEGUN,
    answer,
    complete,
    data_of,
    framed,
    plain,
    recorded,
    retry,
    runs,
    start,
)

MULTI_AGENT = MultiAgent()


def request_of(body: dict[str, Any]) -> Request:
    """What the body of a request asks for."""
    return MULTI_AGENT.request(read_body(msgspec.json.encode(body), MultiAgentRequest))


def frames_of(events: list[AnyEvent], kind: str | None = None) -> list[dict[str, Any]]:
    return [f for f in data_of(MULTI_AGENT, recorded(events)) if kind in (None, f["type"])]


@given(runs())
def test_chunks_never_contradict_each_other(events: list[Recorded]) -> None:
    fold, answer_now = MULTI_AGENT.fold(), ShownText()
    seen = ""
    for one in events:
        answer_now.feed(one.event)
        seen = "" if isinstance(one.event, InterruptAnswered) else seen  # another message begins
        for frame in fold.feed(one):
            if plain(frame)["type"] == "agent_chunk" and not plain(frame).get("internal"):
                seen += plain(frame)["chunk"]
                assert answer_now.text == seen


def test_frames_that_were_made_do_not_change_afterwards() -> None:
    """A batch is folded before it is encoded: what a frame holds must be its own."""
    fold = MULTI_AGENT.fold()
    frames = [frame for one in recorded(EVERYTHING) for frame in fold.feed(one)]
    late = [plain(f)["interactions"] for f in frames if plain(f)["type"] == "complete"]
    at_once = [
        f["interactions"]
        for f in data_of(MULTI_AGENT, recorded(EVERYTHING))
        if f["type"] == "complete"
    ]
    assert late == at_once


def test_agents_that_do_not_answer_are_marked_internal() -> None:
    marked = {f["agent"]: f.get("internal", False) for f in frames_of(EVERYTHING, "agent_start")}
    assert marked == {
        "classifier": True,
        "maintenance": True,
        "troubleshooting": True,
        "specs": False,
    }


def test_drafts_are_sent_only_where_they_were_asked_for() -> None:
    draft = answer("A draft", channel="draft")
    assert frames_of([start(stream_supporting=True), draft], "agent_chunk")[0]["internal"] is True
    assert frames_of([start(), draft], "agent_chunk") == []


def test_complete_repeats_all_interactions() -> None:
    told = frames_of(EVERYTHING, "interaction")
    last = frames_of(EVERYTHING, "complete")[-1]
    assert [(i["from_agent"], i["to_agent"], i["query"]) for i in last["interactions"]] == [
        (i["from_agent"], i["to_agent"], i["query"]) for i in told
    ]
    assert {"from_agent", "to_agent", "query", "response", "metadata", "timestamp"} == set(
        last["interactions"][0]
    )


def test_complete_is_never_empty() -> None:
    """The document's client drops an empty one."""
    assert frames_of([start(), complete("")], "complete")[0]["response"]


def test_an_error_is_followed_by_what_there_is() -> None:
    for events, code in ((FAILED, "MODEL_CUT"), (CANCELLED, "CANCELLED")):
        error, last = frames_of(events)[-2:]
        assert (error["type"], error["code"], error["agent"]) == ("error", code, None)
        assert (last["type"], last["response"], last["metadata"]["partial"]) == (
            "complete",
            "Half",
            True,
        )
    assert frames_of(NEVER_BEGUN)[-1]["type"] == "error"


def test_a_supersession_is_told_as_progress() -> None:
    frames = frames_of([start(), answer("One"), retry("1.3"), answer("Two")])
    assert [frame["type"] for frame in frames] == ["progress", "agent_chunk", "progress"]
    assert frames[-1]["message"]


def test_each_frame_names_its_type_for_sse() -> None:
    for _, frame in framed(MULTI_AGENT, recorded(EVERYTHING)):
        event, _, data = frame.partition(b" ")
        assert b'"type":"' + event + b'"' in data


@pytest.mark.parametrize("name", ["query", "message", "content"])
def test_the_question_has_three_names(name: str) -> None:
    assert request_of({name: "hi"}) == Request(dialect="multi_agent", message="hi")


def test_a_request_says_who_and_how() -> None:
    request = {
        "query": "hi",
        "coordination_mode": "debate",
        "primary_agent": "specs",
        "supporting_agents": ["maintenance"],
        "context": {"session_id": "s", "stream_supporting": True},
        "product_id": "p",
        "user_id": "u",
    }
    assert request_of(request) == Request(
        dialect="multi_agent",
        message="hi",
        thread_name="s",
        primary="specs",
        supporting=("maintenance",),
        mode="debate",
        options={"stream_supporting": True},
    )


def test_what_a_client_may_say() -> None:
    assert MULTI_AGENT.read({"type": "auth", "token": "t"}) == Login(token="t")
    assert MULTI_AGENT.read({"type": "ping"}) == Ping()
    assert MULTI_AGENT.read({"type": "cancel"}) == Cancel()
    assert MULTI_AGENT.read({"type": "disconnect"}) == Leave()
    assert MULTI_AGENT.read({"type": "resume", "run_id": "r", "last_seq": 3}) == Resume(
        run_id="r", after=3
    )
    for frame in (
        {"type": "multi_agent_request", "request": {"query": "hi"}},
        {"type": "request", "query": "hi"},
        {"type": "message", "message": "hi"},
        {"query": "hi"},
        {"request": {"content": "hi"}},
    ):
        assert MULTI_AGENT.read(frame) == Ask(request=Request(dialect="multi_agent", message="hi"))


@pytest.mark.parametrize(
    "frame", [{}, {"type": "nonsense"}, {"type": 1}, {"type": None, "message": None}, {"answer": 1}]
)
def test_other_frames_are_refused(frame: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        MULTI_AGENT.read(frame)
    assert refused.value.code == "UNKNOWN_TYPE"


@pytest.mark.parametrize(
    "request_",
    [
        {"context": []},
        {"context": {"session_id": 1}},
        {"supporting_agents": "specs"},
        {"primary_agent": 1},
    ],
)
def test_fields_of_the_wrong_shape_are_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        request_of({"query": "hi"} | request_)
    assert refused.value.code == "BAD_REQUEST"


def test_the_words_around_a_login() -> None:
    ada = Principal(id="ada")
    assert plain(MULTI_AGENT.welcome("c-1", ada, False, AT)) == {
        "type": "connected",
        "connection_id": "c-1",
        "timestamp": "2026-02-02T02:40:00.000Z",
    }
    assert (
        plain(MULTI_AGENT.refused(Problem("AUTH_INVALID", "Invalid token"), AT))["code"]
        == "AUTH_INVALID"
    )
