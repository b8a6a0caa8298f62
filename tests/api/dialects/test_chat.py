"""Seed 003's vocabulary, as a fold."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.api.dialects.chat import Chat
from antiphon.api.dialects.shown import ShownText
from antiphon.api.dialects.words import Ask, Cancel, Login, Ping, Resume
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import (
    AgentChunk,
    AnyEvent,
    InterruptAnswered,
    Progress,
    Recorded,
    RunAttempt,
)
from antiphon.orchestrator.request import Request
from tests.api.dialects.samples import (
    AT,
    answer,
    complete,
    data_of,
    plain,
    recorded,
    retry,
    runs,
    start,
)

CHAT = Chat()
GENERATING = Progress(value=0.6, stage="generating", message="…")


def shown(events: list[AnyEvent], gaps: list[int] | None = None) -> list[tuple[str, str]]:
    """`(type, step or token or text)` of each frame."""
    frames = data_of(CHAT, recorded(events, gaps))
    return [
        (f["type"], f.get("step") or f.get("token") or f.get("response") or f.get("code"))
        for f in frames
    ]


def test_steps_that_a_graph_does_not_report_are_told_before_the_first_token() -> None:
    steps = ["starting", "agent_routing", "rag_retrieval", "generating"]
    assert shown([start(), answer("Hi")]) == [
        *(("progress", step) for step in steps),
        ("token", "Hi"),
    ]


def test_a_step_is_told_once_however_often_it_is_recorded() -> None:
    assert (
        len(
            shown(
                [
                    start(),
                    GENERATING,
                    GENERATING,
                    Progress(value=0.6, stage="starting", message="…"),
                ]
            )
        )
        == 4
    )


@given(
    st.lists(st.text("ab \n🙂", min_size=1, max_size=9), max_size=60),
    st.sampled_from([0, 1, 100, 251]),
)
def test_tokens_add_up_to_the_answer_at_any_pace(pieces: list[str], gap: int) -> None:
    events: list[AnyEvent] = [
        start(),
        *(answer(piece) for piece in pieces),
        complete("".join(pieces)),
    ]
    frames = data_of(CHAT, recorded(events, [gap]))
    tokens = [frame["token"] for frame in frames if frame["type"] == "token"]
    assert "".join(tokens) == frames[-1]["response"]
    assert all(frame["partial_response"] for frame in frames if frame["type"] == "token")


def test_a_long_answer_costs_bytes_in_proportion_to_its_length() -> None:
    """`partial_response` repeats the text in every frame; tokens are joined so that this stays
    bearable.
    """
    count = 10_000
    frames = data_of(CHAT, recorded([start(), *(answer("word ") for _ in range(count))], [1]))
    size = len(msgspec.json.encode(frames))
    assert size < 100 * count * len("word ")


def test_the_first_token_and_a_slow_one_leave_at_once() -> None:
    assert shown([start(), GENERATING, answer("a" * 500), answer("b")], [1])[-1] == (
        "token",
        "a" * 500,
    )
    assert shown([start(), GENERATING, answer("a" * 500), answer("b")], [251])[-1] == ("token", "b")


def test_a_session_is_echoed_or_made() -> None:
    def session(**options: str) -> str:
        found: str = data_of(CHAT, recorded([start(**options), complete("x")]))[-1]["session_id"]
        return found

    assert session(session_id="mine") == "mine"
    assert session() == recorded([start()])[0].thread_id


@given(runs())
@example(
    recorded([start(), answer("a" * 500), answer("b"), retry("1.3"), answer("c")], [1, 1, 1, 251])
)
def test_no_token_says_what_has_been_taken_back(events: list[Recorded]) -> None:
    fold, answer_now = CHAT.fold(), ShownText()
    shown = ""
    for one in events:
        answer_now.feed(one.event)
        shown = "" if isinstance(one.event, InterruptAnswered) else shown  # another message begins
        for frame in fold.feed(one):
            if plain(frame)["type"] == "token":
                shown += plain(frame)["token"]
                assert answer_now.text.startswith(shown)


def test_after_a_supersession_nothing_is_sent_until_the_text_goes_beyond_what_was_sent() -> None:
    events: list[AnyEvent] = [
        start(),
        GENERATING,
        answer("a" * 500),
        answer("b"),
        retry("1.3"),
        answer("a" * 500),
    ]
    assert [frame for frame in shown(events, [1]) if frame[0] == "token"] == [("token", "a" * 500)]
    assert shown([*events, answer("b!")], [1, 1, 1, 1, 1, 300])[-1] == ("token", "b!")


@given(runs())
def test_partial_response_is_the_sum_of_the_tokens(events: list[Recorded]) -> None:
    fold, shown = CHAT.fold(), ""
    for one in events:
        shown = "" if isinstance(one.event, InterruptAnswered) else shown
        for frame in fold.feed(one):
            if plain(frame)["type"] == "token":
                shown += plain(frame)["token"]
                assert plain(frame)["partial_response"] == shown


@given(runs())
def test_a_frame_that_does_not_complete_its_event_says_so_by_its_number(
    events: list[Recorded],
) -> None:
    fold = CHAT.fold()
    for one in events:
        numbers = [plain(frame)["seq"] for frame in fold.feed(one)]
        assert all(one.seq - 1 < number < one.seq for number in numbers[:-1])
        assert numbers[-1:] in ([], [one.seq])


def test_an_error_says_why_in_words_and_in_a_code_of_the_document() -> None:
    from tests.api.dialects.samples import CANCELLED, FAILED

    failed, cancelled = (data_of(CHAT, recorded(events))[-1] for events in (FAILED, CANCELLED))
    assert (failed["type"], failed["code"], failed["reason"], failed["error"]) == (
        "error",
        "PROCESSING_ERROR",
        "MODEL_CUT",
        "It stopped.",
    )
    assert (cancelled["type"], cancelled["code"]) == ("error", "CANCELLED")


def test_a_question_to_the_human_is_the_response() -> None:
    from antiphon.orchestrator.events import Interrupt

    frames = data_of(
        CHAT, recorded([start(), Interrupt(id="i", question="Which?", options=["a", "b"])])
    )
    assert frames[-1]["response"] == "Which?"
    assert frames[-1]["metadata"]["interrupt"]["options"] == ["a", "b"]


def test_what_a_client_may_say() -> None:
    assert CHAT.read({"type": "auth", "token": "t"}) == Login(token="t")
    assert CHAT.read({"type": "auth"}) == Login(token="")
    assert CHAT.read({"type": "ping"}) == Ping()
    assert CHAT.read({"type": "cancel"}) == Cancel()
    assert CHAT.read({"type": "resume", "run_id": "r", "last_seq": 3}) == Resume(
        run_id="r", after=3
    )
    said = CHAT.read({"type": "message", "message": "hi", "session_id": None, "customer_id": None})
    assert said == Ask(request=Request(dialect="chat", message="hi"))
    named = CHAT.read({"type": "message", "message": "hi", "session_id": "s", "customer_id": "c"})
    request = Request(dialect="chat", message="hi", thread_name="s", options={"session_id": "s"})
    assert named == Ask(request=request)


@pytest.mark.parametrize("kind", [None, "", "nonsense", 1, [], {"a": 1}])
def test_other_types_are_refused(kind: object) -> None:
    with pytest.raises(Problem) as refused:
        CHAT.read({"type": kind})
    assert refused.value.code == "UNKNOWN_TYPE"


def test_the_words_around_a_login() -> None:
    ada = Principal(id="ada", email="a@x", name="Ada")
    assert plain(CHAT.welcome("", ada, True, AT)) == {
        "type": "auth_success",
        "message": "Authentication successful",
        "user": {"id": "ada", "email": "a@x", "name": "Ada"},
    }
    assert plain(CHAT.refused(Problem("AUTH_INVALID", "secret detail"), AT)) == {
        "type": "auth_error",
        "message": "Invalid token",
    }


def test_events_of_no_interest_are_recorded_events_all_the_same() -> None:
    """A chunk of a draft or of reasoning never becomes a token."""
    drafts = [answer("hidden", channel="draft"), answer("hidden", channel="reasoning")]
    assert all(isinstance(one, AgentChunk | RunAttempt) for one in drafts)
    assert shown([start(), GENERATING, *drafts])[-1] == ("progress", "generating")
