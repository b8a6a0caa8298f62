"""Seed 004's vocabulary, as a fold."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.api.bounds import CHUNK_DELAY_LIMIT, CHUNK_WORDS_LIMIT
from antiphon.api.dialects.sessions import MessageRequest, Pieces, Sessions
from antiphon.api.dialects.shown import ShownText
from antiphon.api.dialects.words import read_object
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import (
    AnyEvent,
    Interrupt,
    InterruptAnswered,
    Recorded,
    RunCancelled,
    RunComplete,
    RunError,
)
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
    plain,
    recorded,
    retry,
    runs,
    start,
)
from tests.api.recordings import SUPERSEDED

SESSIONS = Sessions()
ASKED = Interrupt(id="i", question="Which car?")
TOLD = InterruptAnswered(id="i", answer="Merula", by="ada", message_id="m-3", reply_id="m-4")
texts = st.text(st.sampled_from("ab \n\t\u2028\u0085\r\u00a0🙂"), max_size=80) | st.text(
    max_size=40
)


def shown(events: list[AnyEvent]) -> list[str]:
    """The type of each frame; of tokens their text."""
    return [frame.get("content", frame["type"]) for frame in data_of(SESSIONS, recorded(events))]


def messages(events: list[Recorded]) -> list[str]:
    """What a client has accumulated at each end, from the last start on."""
    found, text = [], ""
    for frame in data_of(SESSIONS, events):
        match frame["type"]:
            case "start":
                text = ""
            case "token":
                text += frame["content"]
            case _:
                found.append(text)
    return found


def split(text: str, cuts: list[int]) -> list[str]:
    """A text in parts that end at `cuts`."""
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[a:b] for a, b in pairwise(edges)]


# -- the order -------------------------------------------------------------------------------------


def test_an_answer_is_a_start_tokens_and_an_end_of_one_stored_message() -> None:
    frames = data_of(
        SESSIONS, recorded([start(), answer("Hello "), answer("there"), complete("Hello there")])
    )
    assert [frame["type"] for frame in frames] == ["start", "token", "token", "end"]
    assert frames[0]["messageId"] == frames[-1]["messageId"] == start().reply_id
    assert [frame["content"] for frame in frames[1:-1]] == ["Hello ", "there"]


def test_an_error_ends_the_stream_with_what_was_said() -> None:
    assert shown(FAILED) == ["start", "Half", "error"]
    assert shown(CANCELLED) == ["start", "Half", "error"]
    assert shown(NEVER_BEGUN) == ["start", "error"]
    failed, cancelled = (data_of(SESSIONS, recorded(events))[-1] for events in (FAILED, CANCELLED))
    assert (failed["error"], failed["code"]) == ("It stopped.", "MODEL_CUT")
    assert cancelled["code"] == "CANCELLED"


def test_an_answer_that_was_never_streamed_is_a_token() -> None:
    assert shown([start(), complete("All at once")]) == ["start", "All at once", "end"]
    assert shown([start(), answer("All "), complete("All at once")]) == [
        "start",
        "All ",
        "at once",
        "end",
    ]
    assert shown([start(), complete("")]) == ["start", "end"]


def test_drafts_are_not_shown() -> None:
    assert shown(
        [start(), answer("hidden", channel="draft"), answer("hidden", channel="reasoning")]
    ) == ["start"]


# -- text that is taken back -----------------------------------------------------------------------


def test_after_a_supersession_nothing_is_said_twice() -> None:
    events = [
        start(),
        answer("One two"),
        retry("1.3"),
        answer("One"),
        answer(" two three"),
        complete("One two three"),
    ]
    assert shown(events) == ["start", "One two", " three", "end"]


def test_a_text_that_diverges_is_for_the_client_to_fetch() -> None:
    events = [
        start(),
        answer("One two"),
        retry("1.3"),
        answer("One t"),
        answer("hree"),
        complete("One three"),
    ]
    assert shown(events) == ["start", "One two", "end"]


def test_what_was_held_back_was_not_shown() -> None:
    events = [
        start(chunk_words=2),
        answer("One two thr"),
        retry("1.3"),
        answer("One two four"),
        complete("One two four"),
    ]
    assert shown(events) == ["start", "One two ", "four", "end"]


@given(runs())
@example(recorded(EVERYTHING))
def test_no_token_says_what_has_been_taken_back(events: list[Recorded]) -> None:
    fold, now = SESSIONS.fold(), ShownText()
    said = ""
    for one in events:
        now.feed(one.event)
        for frame in fold.feed(one):
            if plain(frame)["type"] == "start":
                said = ""
            if plain(frame)["type"] == "token" and not isinstance(
                one.event, RunComplete | Interrupt
            ):
                said += plain(frame)["content"]
                assert now.text.startswith(said)


def test_what_a_client_accumulates_is_what_is_stored(kind: str, events: list[Recorded]) -> None:
    end = events[-1].event
    if isinstance(end, RunComplete) and kind not in SUPERSEDED:
        assert messages(events)[-1] == end.text
    if isinstance(end, RunError | RunCancelled) and kind not in SUPERSEDED:
        assert messages(events)[-1] == end.partial_text


# -- questions -------------------------------------------------------------------------------------


def test_a_question_is_an_answer_and_what_follows_begins_with_a_start() -> None:
    events = [start(), ASKED, TOLD, answer("So "), answer("it is"), complete("So it is")]
    assert shown(events) == ["start", "Which car?", "end", "start", "So ", "it is", "end"]
    ids = [
        frame["messageId"] for frame in data_of(SESSIONS, recorded(events)) if "messageId" in frame
    ]
    assert ids == ["m-2", "m-2", "m-4", "m-4"]


def test_the_message_behind_an_answer_is_told_from_its_beginning() -> None:
    """Whether the node that asked said it again, or another one goes on."""
    again = [
        answer("Well: "),
        ASKED,
        TOLD,
        retry("1.3"),
        answer("Well: "),
        answer("Merula"),
        complete("Well: Merula"),
    ]
    assert shown([start(), *again]) == [
        "start",
        "Well: ",
        "\n\nWhich car?",
        "end",
        "start",
        "Well: ",
        "Merula",
        "end",
    ]
    on = [answer("Well: "), ASKED, TOLD, answer("Merula", span="2.1"), complete("Merula")]
    assert messages(recorded([start(), *on])) == ["Well: \n\nWhich car?", "Merula"]


@pytest.mark.parametrize(("question", "text"), [({"a": 1}, '{"a":1}'), ("", "?"), (None, "null")])
def test_a_question_of_any_kind_is_text(question: Any, text: str) -> None:
    assert shown([start(), Interrupt(id="i", question=question)]) == ["start", text, "end"]


# -- fixed chunks ----------------------------------------------------------------------------------


@given(texts, st.integers(1, 5), st.lists(st.integers(0, 80), max_size=8))
@example("  one two\n\nthree  four five ", 2, [3])
@example("one two", 2, [])
def test_pieces_are_so_many_words_and_add_up_to_the_text(
    text: str, words: int, cuts: list[int]
) -> None:
    cutter = Pieces(words)
    pieces = [piece for part in split(text, cuts) for piece in cutter.cut(part)]
    rest = cutter.rest()
    assert "".join([*pieces, rest]) == text
    assert [len(piece.split()) for piece in pieces] == [words] * len(pieces)
    assert len(rest.split()) <= words
    assert not text.strip() or rest.split()
    whole = Pieces(words)
    assert whole.cut(text) == pieces, "the pieces do not depend on how the text arrived"


@given(texts, st.integers(0, 5), st.lists(st.integers(0, 80), max_size=8))
def test_tokens_are_the_pieces_of_the_text_however_it_was_recorded(
    text: str, words: int, cuts: list[int]
) -> None:
    options = {"chunk_words": words} if words else {}
    parts = split(text, cuts)
    events = [start(**options), *(answer(part) for part in parts), complete(text)]
    tokens = shown(events)[1:-1]
    assert "".join(tokens) == text
    if words:
        cutter = Pieces(words)
        pieces, rest = cutter.cut(text), cutter.rest()
        assert tokens == [*pieces, *([rest] if rest else [])]
    else:
        assert tokens == parts


def test_a_token_goes_out_when_it_is_complete() -> None:
    fold = SESSIONS.fold()
    events = recorded(
        [
            start(chunk_words=3),
            *(answer(word) for word in ("One ", "two ", "three ", "four ", "five")),
        ]
    )
    told = [[plain(frame).get("content") for frame in fold.feed(one)] for one in events]
    assert told == [[None], [], [], [], ["One two three "], []]


def test_a_long_word_costs_no_more_than_its_length() -> None:
    cutter = Pieces(1)
    for _ in range(100_000):
        assert cutter.cut("x") == []
    assert cutter.rest() == "x" * 100_000


def test_one_event_may_hold_many_tokens() -> None:
    text = "word " * 500
    frames = data_of(SESSIONS, recorded([start(chunk_words=1), answer(text), complete(text)]))
    assert len(frames) == 502
    assert all(1 <= frame["seq"] <= 2 for frame in frames[1:-2])


def test_a_pause_is_for_tokens_alone() -> None:
    fold = SESSIONS.fold()
    events = recorded([start(delay_ms=100), answer("One "), answer("two"), complete("One two")])
    assert [frame.pause for one in events for frame in fold.feed(one)] == [0, 100, 100, 0]


# -- words -----------------------------------------------------------------------------------------


def request_of(**body: Any) -> Request:
    return SESSIONS.request(read_object({"content": "hi"} | body, MessageRequest))


def test_a_message_in_our_terms() -> None:
    assert request_of() == Request(dialect="sessions", message="hi")
    assert request_of(chunk_words=3, delay_ms=100).options == {"chunk_words": 3, "delay_ms": 100}
    assert request_of(chunk_words=0, delay_ms=None).options == {}


@pytest.mark.parametrize(
    "pace",
    [
        {"chunk_words": -1},
        {"chunk_words": CHUNK_WORDS_LIMIT + 1},
        {"delay_ms": -1},
        {"delay_ms": CHUNK_DELAY_LIMIT + 1},
    ],
)
def test_a_pace_out_of_bounds_is_refused(pace: dict[str, int]) -> None:
    with pytest.raises(Problem) as refused:
        request_of(**pace)
    assert refused.value.code == "BAD_REQUEST"


def test_there_is_no_socket() -> None:
    with pytest.raises(Problem):
        SESSIONS.read({"type": "message", "message": "hi"})
    assert SESSIONS.welcome("", Principal(id="ada"), True, AT) is None
    refused = Problem("AUTH_INVALID", "Not valid.")
    assert plain(SESSIONS.refused(refused, AT)) == {"detail": "Not valid.", "code": "AUTH_INVALID"}
