"""Our own vocabulary: the record itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from antiphon.api.dialects.native import Native
from antiphon.api.dialects.words import AnswerQuestion, Ask, Cancel, Leave, Login, Ping, Resume
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import AnyEvent, Recorded
from antiphon.orchestrator.request import Request
from tests.api.dialects.samples import AT, EVERYTHING, data_of, plain, recorded, runs

NATIVE = Native()
ENVELOPE = ("thread_id", "seq", "run_id", "attempt", "at")


@given(runs())
def test_a_frame_holds_everything_that_was_recorded(events: list[Recorded]) -> None:
    for one, frame in zip(events, data_of(NATIVE, events), strict=True):
        assert {name: frame[name] for name in ENVELOPE} == {
            name: getattr(one, name) for name in ENVELOPE
        }
        assert msgspec.convert(frame, AnyEvent) == one.event


def test_the_place_in_the_log_comes_first_and_the_fields_are_flat() -> None:
    frame = data_of(NATIVE, recorded(EVERYTHING))[2]
    assert list(frame) == ["type", *ENVELOPE, "value", "stage", "message"]


def test_what_a_client_may_say() -> None:
    assert NATIVE.read({"type": "auth", "token": "t"}) == Login(token="t")
    assert NATIVE.read({"type": "ping"}) == Ping()
    assert NATIVE.read({"type": "disconnect"}) == Leave()
    assert NATIVE.read({"type": "cancel", "run_id": "r"}) == Cancel(run_id="r")
    assert NATIVE.read({"type": "resume", "run_id": "r", "after": 3}) == Resume(run_id="r", after=3)
    assert NATIVE.read({"type": "resume", "thread_id": "t"}) == Resume(thread_id="t")
    assert NATIVE.read({"type": "answer", "run_id": "r", "answer": None}) == AnswerQuestion(
        run_id="r", answer=None
    )
    asked = NATIVE.read(
        {"type": "message", "message": "hi", "thread_id": "t", "idempotency_key": "k"}
    )
    assert asked == Ask(request=Request(message="hi", thread_id="t", idempotency_key="k"))


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "resume"},
        {"type": "resume", "run_id": "r", "thread_id": "t"},
        {"type": "resume", "run_id": "r", "after": -1},
        {"type": "answer", "run_id": "r"},
        {"type": "answer", "answer": 1},
        {"type": "message", "message": "hi", "agents": []},
        {"type": "message", "message": "hi", "agents": {"supporting": "specs"}},
        {"type": "message", "message": "hi", "on_busy": "panic"},
        {"type": "message", "message": "hi", "on_busy": ["reject"]},
        {"type": "message", "message": "hi", "inputs": "x"},
        {"type": "message", "message": "hi", "context": [1]},
        {"type": "message", "message": "hi", "config": 7},
    ],
)
def test_frames_of_the_wrong_shape_are_refused(frame: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        NATIVE.read(frame)
    assert refused.value.code == "BAD_REQUEST"


def test_a_message_says_who_and_how() -> None:
    asked = NATIVE.read(
        {
            "type": "message",
            "message": "hi",
            "graph": "team",
            "agents": {"primary": "specs", "supporting": ["maintenance"]},
            "mode": "debate",
            "on_busy": "reject",
            "inputs": {"size": 3},
            "context": None,
            "config": {"configurable": {"a": 1}},
        }
    )
    request = Request(
        message="hi",
        graph="team",
        primary="specs",
        supporting=("maintenance",),
        mode="debate",
        on_busy="reject",
        inputs={"size": 3},
        config={"configurable": {"a": 1}},
    )
    assert asked == Ask(request=request)


def test_the_words_around_a_login() -> None:
    ada = Principal(id="ada", email="secret@x")
    assert plain(NATIVE.welcome("", ada, True, AT)) == {
        "type": "auth_success",
        "user": {"id": "ada"},
        "at": AT,
    }
    assert NATIVE.welcome("", ada, False, AT) is None
    assert (
        plain(NATIVE.refused(Problem("AUTH_INVALID", "Invalid token"), AT))["type"] == "auth_error"
    )
    assert plain(NATIVE.reset(1, 9, AT)) == {
        "type": "stream_reset",
        "first": 1,
        "last": 9,
        "at": AT,
    }
