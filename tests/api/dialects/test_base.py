"""The answer as a client sees it, and the numbers of frames."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api.dialects.base import ALL_FRAMES, Fold, Sent, iso, place
from antiphon.api.dialects.shown import News, ShownText
from antiphon.orchestrator.events import (
    AgentComplete,
    AgentStart,
    AgentTextEnd,
    AnyEvent,
    Recorded,
    RunAttempt,
)
from antiphon.orchestrator.recording.texts import Texts, joined
from tests.api.dialects.samples import answer, plain, retry, texts_and_retries


def said(text: ShownText, event: AnyEvent) -> str:
    """What a client is sent of the answer now."""
    return "".join(news.text for news in text.feed(event))


@given(texts_and_retries)
def test_what_was_shown_is_never_contradicted(events: list[AnyEvent]) -> None:
    text, seen = ShownText(), ""
    for event in events:
        seen += said(text, event)
        assert text.shown == seen


@given(texts_and_retries)
def test_everything_is_shown_that_surely_stands(events: list[AnyEvent]) -> None:
    text, texts = ShownText(), Texts()
    for event in events:
        text.feed(event)
        if isinstance(event, RunAttempt):
            texts.drop(event.supersedes)
        else:
            texts.see(event)
        presentable = joined(texts.presentable())
        if presentable.startswith(text.shown) and not isinstance(event, AgentStart):
            assert text.shown == presentable


@given(texts_and_retries)
def test_the_rest_completes_what_was_shown(events: list[AnyEvent]) -> None:
    text, texts = ShownText(), Texts()
    for event in events:
        text.feed(event)
        if isinstance(event, RunAttempt):
            texts.drop(event.supersedes)
        else:
            texts.see(event)
    rest = text.rest(texts.answer)
    assert text.shown + rest == texts.answer or not texts.answer.startswith(text.shown)


def shown(*events: AnyEvent) -> list[str]:
    text = ShownText()
    return [said(text, event) for event in events]


def test_after_a_supersession_nothing_is_said_twice() -> None:
    assert shown(
        answer("One two"), retry("1.3"), answer("One"), answer(" two"), answer(" three")
    ) == [*("One two", "", "", "", " three")]


def test_a_text_that_differs_from_what_was_shown_is_not_sent() -> None:
    assert shown(
        answer("One two"), retry("1.3"), answer("One "), answer("three"), answer(" four five six")
    ) == [*("One two", "", "", "", "")]


def test_a_second_retry_can_come_back_to_what_was_shown() -> None:
    assert shown(answer("One"), retry("1.3"), answer("Two"), retry("1.3"), answer("One more")) == [
        *("One", "", "", "", " more")
    ]


def ended(span: str, part: int = 0, *, tools: bool = False) -> AgentTextEnd:
    return AgentTextEnd(span=span, agent="specs", part=part, calls_tools=tools)


def done(span: str) -> AgentComplete:
    return AgentComplete(span=span, agent="specs", text="")


def test_a_second_text_of_an_agent_follows_after_a_blank_line() -> None:
    assert shown(
        answer("Look.", "1"),
        ended("1", tools=True),
        answer("It is", "1", part=1),
        answer(" 3.", "1", part=1),
    ) == [*("Look.", "", "\n\nIt is", " 3.")]


def test_texts_that_come_at_once_are_shown_one_after_the_other() -> None:
    events = [
        answer("A", "1"),
        answer("B", "1", part=1),
        answer("a", "1"),
        ended("1"),
        answer("b", "1", part=1),
    ]
    assert shown(*events) == ["A", "", "a", "\n\nB", "b"]


def test_what_another_agent_says_waits_until_it_is_known_to_stand() -> None:
    events = [answer("A", "1"), ended("1"), answer("PASS", "2"), ended("2"), retry("2"), done("2")]
    assert shown(*events) == ["A", "", "", "", "", ""]
    assert shown(*events[:4], done("2")) == ["A", "", "", "", "\n\nPASS"]


def test_after_a_preamble_another_agent_is_shown_at_once() -> None:
    assert shown(answer("I ask B.", "1"), ended("1", tools=True), answer("B.", "2")) == [
        "I ask B.",
        "",
        "\n\nB.",
    ]


def test_what_an_agent_says_after_whom_others_run_is_kept_to_the_end() -> None:
    text = ShownText()
    passing = AgentStart(span="1", agent="specs", passing=True)
    assert [said(text, event) for event in (passing, answer("SAFE", "1"), answer("A", "2"))] == [
        "",
        "",
        "A",
    ]
    assert text.rest("A and more") == " and more"


@pytest.mark.parametrize("channel", ["draft", "reasoning"])
def test_only_the_answer_is_shown(channel: str) -> None:
    assert ShownText().feed(answer("hidden", channel=channel)) == []


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)))
def test_times_are_iso_8601_with_milliseconds_and_z(moment: datetime) -> None:
    at = int(moment.timestamp() * 1000)
    text = iso(at)
    assert text.endswith("Z")
    assert len(text) == len("2026-02-08T12:00:00.000Z")
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(at // 1000, UTC).replace(
        microsecond=at % 1000 * 1000
    )


class Many(Fold):
    """A frame for each of so many."""

    count = 1

    def frames(self, recorded: Recorded, news: list[News]) -> list[Sent | str]:
        return [Sent() for _ in range(self.count)]


@given(st.integers(1, 2**40), st.integers(1, 60), st.data())
def test_the_number_of_a_frame_is_its_place(seq: int, count: int, data: st.DataObject) -> None:
    """Over JSON and back:

    the last frame of an event completes it, those before it are counted in hundredths.
    """
    event = Recorded(thread_id="t", seq=seq, run_id="r", attempt=1, at=1, event=answer("x"))
    fold = Many()
    fold.count = count
    frames = fold.feed(event)
    numbers = [frame.seq for frame in frames]
    assert numbers == [plain(frame)["seq"] for frame in frames]
    k = data.draw(st.integers(0, count - 1))
    assert place(json.loads(json.dumps(numbers[k]))) == (
        (seq, k) if k < count - 1 else (seq, ALL_FRAMES)
    )
    assert numbers == sorted(set(numbers))
