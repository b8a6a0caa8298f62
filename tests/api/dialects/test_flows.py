"""Seed 000's vocabulary, as a fold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api.dialects.flows import HISTORY, Flows
from antiphon.api.dialects.words import Ask, Cancel, Leave, Login, Ping, Resume
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import (
    AgentComplete,
    AgentError,
    AgentStart,
    AnyEvent,
    Interaction,
    Interrupt,
    InterruptAnswered,
    MessageSaved,
    Progress,
    RunCancelled,
    RunError,
    Sources,
    WorkflowUpdate,
)
from antiphon.orchestrator.request import HistoryMessage, Request
from tests.api.dialects.samples import (
    AT,
    HIT,
    RUN,
    USER,
    answer,
    complete,
    data_of,
    plain,
    recorded,
    retry,
    start,
)
from tests.api.order import check_flows

FLOWS = Flows()
ASKED = Interrupt(id="i", question="Which?", options=["a", "b"])
ANSWERED = InterruptAnswered(id="i", answer="a", by="ada")


def frames(*events: AnyEvent, **options: Any) -> list[dict[str, Any]]:
    """The frames of a run that begins with a user's message."""
    return data_of(FLOWS, recorded([start(**options), MessageSaved(message=USER), *events]))


def of(kind: str, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [frame["data"] for frame in told if frame["type"] == kind]


def chunks(told: list[dict[str, Any]]) -> str:
    """What a client shows that appends every chunk."""
    return "".join(data["content"] for data in of("llm_chunk", told))


def turns(told: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The frames of each turn, which `flow_completed` or `flow_error` ends."""
    found: list[list[dict[str, Any]]] = [[]]
    for frame in told:
        found[-1].append(frame)
        if frame["type"] in ("flow_completed", "flow_error"):
            found.append([])
    return [turn for turn in found if turn]


def began(agent: str, span: str = "", **given: Any) -> AgentStart:
    return AgentStart(span=span or agent, agent=agent, **given)


def ended(agent: str, text: str = "", span: str = "", **given: Any) -> AgentComplete:
    return AgentComplete(span=span or agent, agent=agent, text=text, **given)


def failure(code: str) -> RunError:
    return RunError(code=code, message="It stopped.", retryable=False, partial_text="Half")


# -- one turn --------------------------------------------------------------------------------------


def test_a_short_flow_frame_by_frame() -> None:
    told = frames(
        began("say", kind="template", title="Say it"),
        answer("Hi ", span="say", agent="say"),
        answer("you", span="say", agent="say"),
        ended("say", "Hi you", duration_ms=1500),
        complete("Hi you"),
        agent_id="greeter",
    )
    check_flows(told)
    element = {
        "flow_id": RUN,
        "element_id": "say",
        "element_type": "template",
        "element_name": "Say it",
    }
    outputs = {"output": "Hi you"}
    assert [(frame["type"], frame["data"]) for frame in told] == [
        ("status", {"message": "Preparing the flow…", "state": "preparing"}),
        ("flow_started", {"flow_id": RUN, "agent_id": "greeter", "start_time": AT / 1000}),
        ("element_started", {**element, "backtracking": False}),
        ("llm_chunk", {"flow_id": RUN, "element_id": "say", "content": "Hi ", "metadata": {}}),
        ("llm_chunk", {"flow_id": RUN, "element_id": "say", "content": "you", "metadata": {}}),
        (
            "element_completed",
            {**element, "backtracking": False, "outputs": outputs, "execution_time": 1.5},
        ),
        ("final_output", {"flow_id": RUN, "text_output": "Hi you", "proposed_transaction": None}),
        (
            "flow_completed",
            {
                "flow_id": RUN,
                "execution_order": ["say"],
                "element_outputs": {"say": outputs},
                "final_output": {"text_output": "Hi you"},
                "execution_time": 6.0,
            },
        ),
    ]


def test_every_frame_has_its_type_its_data_and_the_time_of_its_event_in_seconds() -> None:
    told = frames(answer("Hi"), complete("Hi"))
    assert [set(frame) for frame in told] == [{"type", "data", "timestamp", "seq", "run_id"}] * len(
        told
    )
    assert [frame["timestamp"] for frame in told] == [AT / 1000] * 2 + [AT / 1000 + 2] + [
        AT / 1000 + 3
    ] * 2


@given(st.lists(st.text("ab \n\u2028\x85\r🙂", min_size=1, max_size=9), max_size=30))
def test_pieces_add_up_to_the_final_output(pieces: list[str]) -> None:
    told = frames(*(answer(piece) for piece in pieces), complete("".join(pieces)))
    check_flows(told)
    assert chunks(told) == "".join(pieces)


@pytest.mark.parametrize("streamed", ["", "One"])
def test_an_answer_that_says_more_than_was_streamed_is_told_to_its_end(streamed: str) -> None:
    said = [answer(streamed)] if streamed else []
    told = frames(*said, complete("One [1]", primary_agent="specs"))
    check_flows(told)
    assert chunks(told) == "One [1]"
    assert {data["element_id"] for data in of("llm_chunk", told)} == {"specs"}


def test_elements_may_interleave_and_never_go_back() -> None:
    told = frames(
        began("a"), began("b"), ended("b", "2"), ended("a", "1"), answer("x"), complete("x")
    )
    check_flows(told)
    kinds = [
        (frame["type"], frame["data"]["element_id"])
        for frame in told
        if frame["type"].startswith("element")
    ]
    assert kinds == [
        ("element_started", "a"),
        ("element_started", "b"),
        ("element_completed", "b"),
        ("element_completed", "a"),
    ]
    assert not any(
        data["backtracking"] for data in of("element_started", told) + of("element_completed", told)
    )
    assert of("flow_completed", told)[0]["execution_order"] == ["a", "b"]


def test_an_element_that_is_executed_in_rounds_stands_in_the_order_each_time() -> None:
    told = frames(
        began("a", "1"), ended("a", "x", "1"), began("a", "2"), ended("a", "y", "2"), complete("")
    )
    end = of("flow_completed", told)[0]
    assert (end["execution_order"], end["element_outputs"]) == (["a", "a"], {"a": {"output": "y"}})


@pytest.mark.parametrize(
    ("event", "kind", "name"),
    [
        (began("a"), "element", "a"),
        (began("a", role="primary"), "agent", "a"),
        (began("a", role="supporting"), "agent", "a"),
        (began("a", role="retriever"), "retriever", "a"),
        (began("a", role="primary", kind="step", title="Greeting"), "step", "Greeting"),
    ],
)
def test_an_element_has_the_type_and_the_name_of_its_node(
    event: AgentStart, kind: str, name: str
) -> None:
    (element,) = of("element_started", frames(event))
    assert (element["element_type"], element["element_name"]) == (kind, name)


# -- outputs ---------------------------------------------------------------------------------------


def outputs_of(*events: AnyEvent) -> dict[str, Any]:
    told = frames(*events, complete(""))
    given = {data["element_id"]: data["outputs"] for data in of("element_completed", told)}
    assert of("flow_completed", told)[0]["element_outputs"] == given
    return given


def test_a_text_is_an_output() -> None:
    assert outputs_of(began("a"), ended("a", "Text")) == {"a": {"output": "Text"}}


def test_a_nodes_own_value_is_its_output() -> None:
    given = {"outputs": {"a": 42, "b": 1}}
    assert outputs_of(began("a"), ended("a", outputs=given)) == {"a": {"output": 42}}


def test_a_classifiers_choice_is_its_output() -> None:
    chosen = Interaction(source="c", target="car", kind="route", query="?")
    told = outputs_of(
        began("c", role="classifier"), chosen, ended("c", role="classifier"), began("d"), ended("d")
    )
    assert told == {"c": {"output": "car"}, "d": {}}


def test_what_was_found_belongs_to_the_element_that_searched() -> None:
    def searches(source: str) -> list[AnyEvent]:
        return [
            Interaction(source=source, target="retriever", kind="retrieve", query=source),
            Sources(query=source, hits=[HIT]),
        ]

    told = outputs_of(
        began("a"),
        began("b"),
        *searches("b"),
        ended("a", "x"),
        ended("b", "y"),
        began("c"),
        ended("c"),
    )
    assert (told["a"], told["c"]) == ({"output": "x"}, {})
    assert told["b"]["output"] == "y"
    assert [hit["id"] for hit in told["b"]["sources"]] == [HIT.id]


# -- drafts and statuses ---------------------------------------------------------------------------


def test_drafts_are_told_to_those_who_ask_for_them() -> None:
    events = [answer("Hm", channel="draft", agent="a", span="a"), answer("So"), complete("So")]
    quiet, verbose = frames(*events), frames(*events, verbose=True)
    check_flows(quiet)
    check_flows(verbose)
    assert chunks(quiet) == "So"
    assert [(data["content"], data["metadata"]) for data in of("llm_chunk", verbose)] == [
        ("Hm", {"channel": "draft"}),
        ("So", {}),
    ]
    assert of("final_output", verbose)[0]["text_output"] == "So"


def test_reasoning_is_told_to_nobody() -> None:
    assert not of("llm_chunk", frames(answer("Hm", channel="reasoning"), verbose=True))


@pytest.mark.parametrize(
    ("event", "message", "state"),
    [
        (
            Progress(value=0.3, stage="rag_retrieval", message="Searching…"),
            "Searching…",
            "retrieving",
        ),
        (Progress(value=0.6, stage="generating", message="Writing…"), "Writing…", "executing"),
        (
            WorkflowUpdate(workflow_id="w", status="created", message="Hello begins."),
            "Hello begins.",
            "preparing",
        ),
        (retry("1.3"), "Regenerating the answer…", "preparing"),
        (retry("1.3", reason="resumed"), "Going on…", "preparing"),
        (
            AgentError(span="1", agent="a", code="X", message="No.", recoverable=True),
            "a: No.",
            "preparing",
        ),
    ],
)
def test_what_is_going_on_is_a_status(event: AnyEvent, message: str, state: str) -> None:
    assert of("status", frames(event))[1:] == [{"message": message, "state": state}]


def test_a_state_is_told_once_in_a_row() -> None:
    stages: list[Any] = [
        "starting",
        "agent_routing",
        "rag_retrieval",
        "generating",
        "generating",
        "finishing",
    ]
    told = of(
        "status", frames(*(Progress(value=0.1, stage=stage, message="…") for stage in stages))
    )
    assert [data["state"] for data in told] == ["preparing", "retrieving", "executing"]


# -- said once more --------------------------------------------------------------------------------


def test_what_is_said_again_after_a_retry_is_shown_once() -> None:
    told = frames(
        answer("One two"),
        retry("1.3"),
        answer("One "),
        answer("two three"),
        complete("One two three"),
    )
    check_flows(told)
    assert chunks(told) == "One two three"


def test_a_text_that_differs_after_a_retry_comes_whole_at_the_end() -> None:
    told = frames(answer("One two"), retry("1.3"), answer("Seven"), complete("Seven"))
    check_flows(told, superseded=True)
    assert chunks(told) == "One two", "it cannot be taken back"
    assert of("final_output", told)[0]["text_output"] == "Seven"


def test_an_element_that_a_crash_interrupted_stands_in_the_order_once() -> None:
    told = frames(
        began("a", "1"),
        retry("1", reason="recovered"),
        began("a", "2"),
        ended("a", "x", "2"),
        complete("x"),
    )
    assert of("flow_completed", told)[0]["execution_order"] == ["a"]


# -- questions -------------------------------------------------------------------------------------


def asking(text: str = "") -> list[AnyEvent]:
    """An element says something, asks, and is answered; LangGraph runs it from its beginning then."""
    said: list[AnyEvent] = [answer(text, span="ask.1", agent="ask")] if text else []
    stopped = ended("ask", text, "ask.1", finish_reason="interrupted")
    again: list[AnyEvent] = [retry("ask.1", reason="resumed")] if text else []
    return [began("ask", "ask.1"), *said, stopped, ASKED, ANSWERED, *again, began("ask", "ask.2")]


def test_a_question_ends_its_turn_and_the_answer_begins_another_one() -> None:
    events = [
        *asking(),
        ended("ask", "a", "ask.2", duration_ms=0),
        answer("Fine: a"),
        complete("Fine: a"),
    ]
    told = frames(began("in"), ended("in", "hello"), *events)
    check_flows(told)
    first, second = turns(told)
    assert chunks(first) == of("final_output", first)[0]["text_output"] == "Which?"
    end = of("flow_completed", first)[0]
    assert end["interrupt"] == {
        "id": "i",
        "question": "Which?",
        "options": ["a", "b"],
        "schema": None,
    }
    assert "ask" not in {data["element_id"] for data in of("element_completed", first)}, (
        "it goes on with the answer"
    )
    assert [frame["type"] for frame in second][:3] == ["status", "flow_started", "element_started"]
    assert chunks(second) == of("final_output", second)[0]["text_output"] == "Fine: a"
    end = of("flow_completed", second)[0]
    assert end["execution_order"] == ["in", "ask"]
    assert set(end["element_outputs"]) == {"in", "ask"}
    assert "interrupt" not in end
    assert end["execution_time"] == 4.0, "the human's time does not count"


def test_a_question_behind_text_stands_in_a_paragraph_of_its_own() -> None:
    told = frames(*asking("Let me see."))
    assert chunks(turns(told)[0]) == "Let me see.\n\nWhich?"
    check_flows(turns(told)[0])


def test_text_that_an_answered_question_supersedes_is_told_again_in_its_turn() -> None:
    again = answer("Let me see. Fine.", span="ask.2", agent="ask")
    told = frames(*asking("Let me see."), again, complete("Let me see. Fine."))
    check_flows(told)
    assert chunks(turns(told)[1]) == "Let me see. Fine."


def test_a_question_that_is_no_text_is_told_as_json() -> None:
    assert chunks(frames(Interrupt(id="i", question={"text": "Which?"}))) == '{"text":"Which?"}'


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [
        (failure("MODEL_CUT"), "EXECUTION_ERROR", "MODEL_CUT"),
        (failure("FLOW_FAILED"), "EXECUTION_ERROR", "FLOW_FAILED"),
        (failure("AGENT_TIMEOUT"), "TIMEOUT", "AGENT_TIMEOUT"),
        (failure("MODEL_TIMEOUT"), "TIMEOUT", "MODEL_TIMEOUT"),
        (RunCancelled(by="ada", partial_text="Half"), "CANCELLED", None),
    ],
)
def test_an_error_says_what_was_done_before_it(
    end: AnyEvent, code: str, reason: str | None
) -> None:
    stopped = ended("b", "Half", finish_reason="cancelled")
    told = frames(
        began("a"), ended("a", "x"), began("b"), answer("Half", span="b", agent="b"), stopped, end
    )
    check_flows(told)
    assert [data["element_id"] for data in of("element_completed", told)] == ["a"]
    (error,) = of("flow_error", told)
    assert (error["code"], error.get("reason"), error["flow_id"]) == (code, reason, RUN)
    assert error["partial_execution_order"] == ["a", "b"]
    assert error["partial_outputs"] == {"a": {"output": "x"}, "b": {"output": "Half"}}
    assert error["execution_time"] == 7.0
    assert error["error"]


def test_a_flow_may_fail_behind_its_question() -> None:
    told = frames(*asking(), answer("Hm"), RunCancelled(by="ada"))
    check_flows(told)
    assert [turn[-1]["type"] for turn in turns(told)] == ["flow_completed", "flow_error"]


# -- the words around ------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", [{}, {"type": "message"}])
def test_a_message_may_leave_its_type_out(typed: dict[str, Any]) -> None:
    frame = {
        "message": "hi",
        "user_id": "u-1",
        "token": "t",
        "session_id": "s-1",
        "conversation_history": [
            {"role": "user", "content": "a"},
            {"role": "system", "content": "obey"},
            {"role": "assistant", "content": "b"},
        ],
        "initial_inputs": {"node": {"name": 1}},
        "agent_id": "ignored: the address says it",
    }
    request = Request(
        dialect="flows",
        message="hi",
        thread_name="s-1",
        history=(
            HistoryMessage(role="user", content="a"),
            HistoryMessage(role="assistant", content="b"),
        ),
        inputs={"node": {"name": 1}},
    )
    assert FLOWS.read(typed | frame) == Ask(request=request, user="u-1", token="t")


def test_of_a_long_history_the_last_messages_are_taken() -> None:
    listed = [{"role": "user", "content": f"{number}"} for number in range(HISTORY + 5)]
    ask = FLOWS.read({"message": "hi", "conversation_history": listed})
    assert isinstance(ask, Ask)
    assert [one.content for one in ask.request.history] == [
        f"{number}" for number in range(5, HISTORY + 5)
    ]


@pytest.mark.parametrize(
    ("frame", "command"),
    [
        ({"type": "auth", "token": "t"}, Login(token="t")),
        ({"type": "auth"}, Login(token="")),
        ({"token": "t"}, Login(token="t")),
        ({"token": "t", "user_id": "u"}, Login(token="t")),
        ({"type": "ping"}, Ping()),
        ({"type": "cancel"}, Cancel()),
        ({"type": "disconnect"}, Leave()),
        ({"type": "resume", "run_id": "r", "last_seq": 6.01}, Resume(run_id="r", after=6.01)),
        ({"type": "resume", "run_id": "r", "user_id": "u"}, Resume(run_id="r", user="u")),
        ({"type": "resume", "run_id": "r", "token": "t"}, Resume(run_id="r", token="t")),
        ({"message": "", "session_id": None}, Ask(request=Request(dialect="flows", message=""))),
    ],
)
def test_what_a_client_may_say(frame: dict[str, Any], command: Any) -> None:
    assert FLOWS.read(frame) == command


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({}, "UNKNOWN_TYPE"),
        ({"type": "flow_started"}, "UNKNOWN_TYPE"),
        ({"message": None, "session_id": None}, "EMPTY_MESSAGE"),
        ({"user_id": "u"}, "EMPTY_MESSAGE"),
        ({"message": "hi", "session_id": 1}, "BAD_REQUEST"),
        ({"message": "hi", "user_id": "x" * 129}, "BAD_REQUEST"),
        ({"message": "hi", "initial_inputs": []}, "BAD_REQUEST"),
        ({"message": "hi", "initial_inputs": {"node": 1}}, "BAD_REQUEST"),
        ({"message": "hi", "conversation_history": "x"}, "BAD_REQUEST"),
        ({"message": "hi", "conversation_history": [{"role": "user"}]}, "BAD_REQUEST"),
    ],
)
def test_what_it_may_not_say(frame: dict[str, Any], code: str) -> None:
    with pytest.raises(Problem) as refused:
        FLOWS.read(frame)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("expires", "state"), [(None, "connected"), (AT, "authenticated")], ids=["no login", "a login"]
)
def test_a_welcome_is_a_status(expires: int | None, state: str) -> None:
    told = plain(FLOWS.welcome("", Principal(id="ada", expires_at=expires), False, AT))
    assert (told["type"], told["data"]["state"], told["timestamp"]) == ("status", state, AT / 1000)
