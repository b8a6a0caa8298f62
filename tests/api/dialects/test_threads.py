"""Seed 001's vocabulary, as a fold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api.dialects.threads import Threads
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import (
    AgentComplete,
    AgentStart,
    AnyEvent,
    Interaction,
    Interrupt,
    InterruptAnswered,
    MessageBody,
    MessageSaved,
    Progress,
    Recorded,
    RunCancelled,
    WorkflowUpdate,
)
from tests.api.dialects.samples import (
    AT,
    CANCELLED,
    EVERYTHING,
    FAILED,
    THREAD,
    USER,
    answer,
    complete,
    data_of,
    plain,
    recorded,
    retry,
    runs,
    start,
)
from tests.api.order import check_threads

THREADS = Threads()
OPENING: list[AnyEvent] = [start(), MessageSaved(message=USER)]
ASKED = Interrupt(id="i", question="Which?", options=["a", "b"])
ANSWERED = (
    InterruptAnswered(id="i", answer="a", by="ada", message_id="m-3", reply_id="m-4"),
    MessageSaved(
        message=MessageBody(id="m-3", role="user", content="a", parent="m-2", author="ada")
    ),
)


def frames(*events: AnyEvent) -> list[dict[str, Any]]:
    """The frames of a run that begins with a user's message."""
    return data_of(THREADS, recorded([*OPENING, *events]))


def of(kind: str, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [frame["data"] for frame in told if frame["type"] == kind]


def appended(told: list[dict[str, Any]]) -> str:
    """What a client shows that appends every `content`."""
    return "".join(data["content"] for data in of("ai_response", told))


def turns(told: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The streams of a run, which `done` ends."""
    found: list[list[dict[str, Any]]] = [[]]
    for frame in told:
        found[-1].append(frame)
        if frame["type"] == "done":
            found.append([])
    return [turn for turn in found if turn]


def test_every_frame_has_its_type_its_data_and_the_time_of_its_event() -> None:
    told = frames(answer("Hi"), complete("Hi"))
    assert [set(frame) for frame in told] == [{"type", "data", "timestamp", "seq", "run_id"}] * len(
        told
    )
    assert told[0]["timestamp"] == "2026-02-02T02:40:00.000Z"
    assert [frame["timestamp"] for frame in told] == sorted(frame["timestamp"] for frame in told)


def test_a_short_answer_frame_by_frame() -> None:
    told = frames(answer("Hi "), answer("you"), complete("Hi you"))
    message = {
        "id": USER.id,
        "threadId": THREAD,
        "role": "user",
        "content": USER.content,
        "createdAt": "2026-02-02T02:40:01.000Z",
    }
    assert [(frame["type"], frame["data"]) for frame in told] == [
        ("connected", {"threadId": THREAD}),
        ("message_saved", {"message": message}),
        ("ai_response", {"content": "Hi ", "isComplete": False}),
        ("ai_response", {"content": "you", "isComplete": False}),
        ("ai_response", {"content": "", "isComplete": True, "accumulated": "Hi you"}),
        ("workflow_complete", {"message": "The answer is complete."}),
        ("done", {"success": True}),
    ]


@given(st.lists(st.text("ab \n\u2028🙂", min_size=1, max_size=9), max_size=30))
def test_pieces_add_up_to_the_whole(pieces: list[str]) -> None:
    told = frames(*(answer(piece) for piece in pieces), complete("".join(pieces)))
    check_threads(told)
    assert appended(told) == "".join(pieces) == of("ai_response", told)[-1]["accumulated"]


def test_an_answer_that_was_not_streamed_is_one_piece() -> None:
    told = frames(complete("All at once"))
    check_threads(told)
    assert appended(told) == "All at once"


def test_an_answer_that_says_more_than_was_streamed_is_told_to_its_end() -> None:
    told = frames(answer("One"), complete("One [1]"))
    check_threads(told)
    assert appended(told) == "One [1]"


def test_what_is_said_again_after_a_retry_is_shown_once() -> None:
    told = frames(
        answer("One two"),
        retry("1.3"),
        answer("One "),
        answer("two three"),
        complete("One two three"),
    )
    check_threads(told)
    assert appended(told) == "One two three"
    assert {"status": "running", "message": "Regenerating the answer…"} in of(
        "workflow_status", told
    )


def test_a_text_that_differs_after_a_retry_comes_whole_at_the_end() -> None:
    told = frames(answer("One two"), retry("1.3"), answer("Seven"), complete("Seven"))
    check_threads(told, superseded=True)
    assert appended(told) == "One two", "it cannot be taken back"
    assert of("ai_response", told)[-1]["accumulated"] == "Seven"


@given(runs())
def test_every_stream_that_ends_ends_with_done(events: list[Recorded]) -> None:
    told = data_of(THREADS, events)
    if events[-1].ends_run:
        assert told[-1]["type"] == "done"
        assert len(of("error", told)) + len(of("workflow_complete", told)) <= 1


@pytest.mark.parametrize(
    ("events", "code", "sentence"),
    [(FAILED, "MODEL_CUT", "It stopped."), (CANCELLED, "CANCELLED", "The run was cancelled.")],
)
def test_an_error_says_why_and_then_the_stream_is_done(
    events: list[AnyEvent], code: str, sentence: str
) -> None:
    told = data_of(THREADS, recorded(events))
    check_threads(told)
    assert of("error", told) == [
        {"error": sentence, "message": sentence, "code": code, "threadId": THREAD}
    ]
    assert told[-1]["data"] == {"success": False, "error": True}
    assert not of("workflow_complete", told)


# -- statuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (
            Progress(value=0.1, stage="agent_routing", message="Routing…"),
            {"status": "running", "message": "Routing…"},
        ),
        (
            Progress(value=0.1, stage="generating", message=""),
            {"status": "running", "message": "generating"},
        ),
        (
            AgentStart(span="1", agent="specs"),
            {"status": "running", "agent": "specs", "message": "specs is working…"},
        ),
        (
            AgentComplete(span="1", agent="specs", text="Hi"),
            {"status": "step_completed", "agent": "specs", "message": "specs is done."},
        ),
        (
            Interaction(source="specs", target="service", kind="consult", query="secret"),
            {"status": "transition", "agent": "service", "message": "specs → service: consult"},
        ),
        (retry("1.3", reason="resumed"), {"status": "running", "message": "Going on…"}),
        (
            WorkflowUpdate(workflow_id="w", status="created", message="A plan"),
            {"status": "created", "workflowId": "w", "message": "A plan"},
        ),
        (
            WorkflowUpdate(workflow_id="w", status="transition", step="ask", previous="greet"),
            {
                "status": "transition",
                "step": "ask",
                "workflowId": "w",
                "message": "ask: transition",
            },
        ),
    ],
)
def test_what_is_going_on_is_a_status(event: AnyEvent, status: dict[str, Any]) -> None:
    assert of("workflow_status", frames(event)) == [status]


@pytest.mark.parametrize("reason", ["interrupted", "cancelled", "failed"])
def test_an_agent_that_was_stopped_has_not_completed_its_step(reason: str) -> None:
    assert not of(
        "workflow_status", frames(AgentComplete(span="1", agent="a", text="", finish_reason=reason))
    )


def test_the_end_of_a_workflow_is_told_at_the_end_of_the_answer() -> None:
    ended = WorkflowUpdate(
        workflow_id="w", status="completed", step="bye", message="All steps done"
    )
    told = frames(ended, answer("Bye"), complete("Bye"))
    check_threads(told)
    assert of("workflow_complete", told) == [{"message": "All steps done", "workflowId": "w"}]
    assert not of("workflow_status", told)


@pytest.mark.parametrize("status", ["created", "running", "transition", "step_completed"])
def test_a_workflow_that_goes_on_is_not_complete(status: Any) -> None:
    told = frames(
        WorkflowUpdate(workflow_id="w", status=status, step="ask"), answer("And?"), complete("And?")
    )
    check_threads(told)
    assert not of("workflow_complete", told)
    assert told[-1]["data"] == {"success": True}


def test_drafts_reasoning_and_stored_replies_are_not_told() -> None:
    reply = MessageSaved(message=MessageBody(id="m-2", role="assistant", content="Hi"))
    assert len(
        frames(answer("x", channel="draft"), answer("x", channel="reasoning"), reply)
    ) == len(frames())


# -- questions -------------------------------------------------------------------------------------


def test_a_question_is_a_whole_answer_but_no_end_of_the_work() -> None:
    told = frames(ASKED)
    check_threads(told)
    assert appended(told) == "Which?"
    assert of("ai_response", told)[-1] == {
        "content": "",
        "isComplete": True,
        "accumulated": "Which?",
        "interrupt": {"id": "i", "question": "Which?", "options": ["a", "b"]},
    }


def test_a_question_behind_text_stands_in_a_paragraph_of_its_own() -> None:
    told = frames(answer("Let me see."), ASKED)
    check_threads(told)
    assert appended(told) == "Let me see.\n\nWhich?"


def test_a_question_that_is_no_text_is_told_as_json() -> None:
    assert appended(frames(Interrupt(id="i", question={"text": "Which?"}))) == '{"text":"Which?"}'


def test_an_answered_question_opens_a_stream_with_a_text_of_its_own() -> None:
    told = frames(answer("Let me see."), ASKED, *ANSWERED, answer(" Fine."), complete(" Fine."))
    check_threads(told)
    first, second = turns(told)
    assert [frame["type"] for frame in second][:2] == ["connected", "message_saved"]
    saved = second[1]["data"]["message"]
    assert (saved["id"], saved["role"], saved["content"]) == ("m-3", "user", "a")
    assert saved["metadata"] == {"answers": "i"}
    assert (appended(first), appended(second)) == ("Let me see.\n\nWhich?", " Fine.")


def test_text_that_an_answered_question_supersedes_is_told_again_in_the_new_stream() -> None:
    """LangGraph runs the node that asked from its beginning."""
    again = retry("1.3", reason="resumed")
    told = frames(
        answer("Let me see."), ASKED, *ANSWERED, again, answer("Let me see. Fine."), complete("…")
    )
    assert appended(turns(told)[1]) == "Let me see. Fine."


@pytest.mark.parametrize("end", [FAILED[-1], RunCancelled(by="ada")])
def test_a_run_may_fail_behind_its_question(end: AnyEvent) -> None:
    check_threads(frames(ASKED, *ANSWERED, answer("Hm"), end))


# -- the words around ------------------------------------------------------------------------------


def test_a_repeated_message_is_marked_and_nothing_else_differs() -> None:
    repeated = data_of(THREADS.repeated(), recorded(EVERYTHING))
    marked = [frame for frame in repeated if frame["data"].pop("wasDuplicate", None)]
    assert [frame["type"] for frame in marked] == ["message_saved"] * 2
    assert repeated == data_of(THREADS, recorded(EVERYTHING))


def test_a_problem_is_an_error_and_a_code_alone() -> None:
    told = {"error": "Why.", "code": "BUSY"}
    assert (
        plain(THREADS.problem(Problem("BUSY", "Why."), AT))
        == plain(THREADS.refused(Problem("BUSY", "Why."), AT))
        == told
    )


def test_there_is_nothing_to_say_on_a_websocket() -> None:
    assert THREADS.asks == ()
    assert THREADS.welcome("c", Principal(id="ada"), True, AT) is None
    with pytest.raises(Problem):
        THREADS.read({"type": "message", "message": "hi"})


def test_a_long_answer_costs_bytes_in_proportion_to_its_length() -> None:
    count = 1000
    told = frames(*(answer("word ") for _ in range(count)), complete("word " * count))
    assert len(msgspec.json.encode(told)) < 300 * count
