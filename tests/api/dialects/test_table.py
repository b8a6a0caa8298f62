"""What holds for every vocabulary. A new row of the table is tested by itself."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any, Union

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect, Frame
from antiphon.api.dialects.words import ClientPing
from antiphon.api.principal import Principal
from antiphon.api.problems import CODES, Problem
from antiphon.api.streams import read_cursor
from antiphon.orchestrator.events import EVENT_TYPES, Recorded
from tests.api.dialects.samples import AT, EVERYTHING, FIXED, data_of, framed, plain, recorded, runs
from tests.api.dialects.table import TABLE
from tests.api.order import check_run
from tests.api.recordings import SUPERSEDED

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(params=TABLE)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return TABLE[request.param]


# -- resuming --------------------------------------------------------------------------------------


def test_the_same_events_give_the_same_bytes(dialect: Dialect, events: list[Recorded]) -> None:
    assert framed(dialect, events) == framed(dialect, events)


def test_a_stream_cut_behind_any_frame_resumes_exactly(
    dialect: Dialect, events: list[Recorded]
) -> None:
    whole = framed(dialect, events)
    for had, (cursor, _) in enumerate(whole, 1):
        assert framed(dialect, events, read_cursor(cursor)) == whole[had:]


def test_frames_do_not_depend_on_how_the_log_was_read(
    dialect: Dialect, events: list[Recorded]
) -> None:
    assert framed(dialect, events, cuts=list(range(len(events)))) == framed(dialect, events)


@given(runs(), st.lists(st.integers(0, 27), max_size=4))
@example(recorded(EVERYTHING), [])
def test_any_run_resumes_exactly_however_it_is_read(
    events: list[Recorded], cuts: list[int]
) -> None:
    for dialect in TABLE.values():
        whole = framed(dialect, events, cuts=list(range(len(events))))
        assert framed(dialect, events, cuts=cuts) == whole
        for had, (cursor, _) in enumerate(whole, 1):
            assert framed(dialect, events, read_cursor(cursor), cuts) == whole[had:]


@given(runs())
def test_cursors_only_grow(events: list[Recorded]) -> None:
    for dialect in TABLE.values():
        cursors = [read_cursor(cursor)[1:] for cursor, _ in framed(dialect, events)]
        assert cursors == sorted(set(cursors))


# -- meaning ---------------------------------------------------------------------------------------


def test_every_event_is_mapped_or_left_out_on_purpose(dialect: Dialect) -> None:
    spoken: set[str] = set()
    seen: set[str] = set()
    for events in FIXED.values():
        fold = dialect.fold()
        for one in recorded(events):
            seen.add(one.event.type)
            if fold.feed(one):
                spoken.add(one.event.type)
    every = {str(event.__struct_config__.tag) for event in EVENT_TYPES}
    assert seen == every, "the samples do not hold every event"
    assert every - spoken == dialect.silent


@pytest.mark.parametrize("name", TABLE)
def test_frames_are_what_they_were(name: str) -> None:
    """Golden files, to the order of the fields; `UPDATE_GOLDEN=1 pytest …` writes them anew."""
    runs_ = FIXED.items()
    lines = [line for run, events in runs_ for line in _golden(TABLE[name], run, recorded(events))]
    path, text = GOLDEN / f"{name}.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8").splitlines() == text.splitlines()


def _golden(dialect: Dialect, run: str, events: list[Recorded]) -> list[dict[str, Any]]:
    fold = dialect.fold()
    lines = []
    for one in events:
        frames = [{"event": frame.event, "data": _json_of(frame)} for frame in fold.feed(one)]
        lines.append({"run": run, "seq": one.seq, "type": one.event.type, "frames": frames})
    return lines


def _json_of(frame: Frame) -> Any:
    return frame.data if isinstance(frame.data, str) else plain(frame)


def test_no_golden_file_is_left_behind() -> None:
    assert {path.stem for path in GOLDEN.glob("*.jsonl")} == set(TABLE)


def test_frames_come_in_the_documents_order(
    dialect: Dialect, kind: str, events: list[Recorded]
) -> None:
    fold = dialect.fold()
    frames = [frame for one in events for frame in fold.feed(one)]
    shown = [frame.data if isinstance(frame.data, str) else plain(frame) for frame in frames]
    check_run(dialect, shown, superseded=kind in SUPERSEDED)
    assert dialect.ends_turn(frames[-1].data)


@pytest.mark.parametrize("run", FIXED)
def test_frames_have_their_place(dialect: Dialect, run: str) -> None:
    fold = dialect.fold()
    for one in recorded(FIXED[run]):
        for frame in fold.feed(one):
            assert one.seq - 1 <= frame.seq <= one.seq
            if frame.data not in dialect.raw:
                sent = plain(frame)
                assert (sent["run_id"], sent["seq"]) == (one.run_id, frame.seq)


def test_frames_are_those_of_the_registry(dialect: Dialect, events: list[Recorded]) -> None:
    registry = msgspec.json.Decoder(Union[dialect.frames])  # type: ignore[valid-type]  # noqa: UP007
    for frame in data_of(dialect, events):
        registry.decode(msgspec.json.encode(frame))


def test_every_kind_of_frame_is_told_apart(dialect: Dialect) -> None:
    for classes in (dialect.sends, dialect.asks):
        tags = [str(one.__struct_config__.tag) for one in classes]
        assert len(tags) == len(set(tags))


# -- the socket's words ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES)
def test_a_problem_keeps_its_code_and_its_sentence(dialect: Dialect, code: str) -> None:
    frame = plain(dialect.problem(Problem(code, "A clean sentence."), AT))
    assert frame.get("type", "error") in ("error", "flow_error")  # an HTTP body needs no type
    told = frame.get("data", frame)
    assert told["code"] == code
    assert "A clean sentence." in told.values()


def test_a_reset_says_what_can_be_resumed(dialect: Dialect) -> None:
    frame = plain(dialect.reset(1, 42, AT))
    assert frame.get("type") == "stream_reset" or frame.get("data", frame)["code"] == "CURSOR_GONE"
    assert "42" in json.dumps(frame)


def test_a_pong_is_a_pong(dialect: Dialect) -> None:
    if ClientPing in dialect.asks:
        assert "pong" in json.dumps(plain(dialect.pong(AT)))


def test_replies_are_those_of_the_registry(dialect: Dialect) -> None:
    somebody, problem = Principal(id="somebody"), Problem("AUTH_INVALID", "Invalid token")
    replies = [
        dialect.welcome("c", somebody, True, AT),
        dialect.refused(problem, AT),
        dialect.reset(1, 2, AT),
    ]
    if dialect.asks:
        assert {type(reply) for reply in replies if reply is not None} <= set(dialect.sends)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
_types = st.sampled_from(
    [
        "auth",
        "message",
        "multi_agent_request",
        "request",
        "resume",
        "cancel",
        "answer",
        "ping",
        "disconnect",
    ]
)
_fields = st.sampled_from(
    [
        *(
            "token",
            "message",
            "session_id",
            "customer_id",
            "run_id",
            "thread_id",
            "last_seq",
            "after",
            "answer",
        ),
        *(
            "query",
            "content",
            "request",
            "context",
            "primary_agent",
            "supporting_agents",
            "coordination_mode",
        ),
        *("agents", "mode", "graph", "on_busy", "idempotency_key", "inputs", "config"),
        *("user_id", "conversation_history", "initial_inputs", "agent_id"),
    ]
)


@given(st.fixed_dictionaries({"type": _types | _json}), st.dictionaries(_fields, _json, max_size=5))
def test_any_object_is_understood_or_refused_with_a_code(
    typed: dict[str, Any], rest: dict[str, Any]
) -> None:
    for dialect in TABLE.values():
        try:
            dialect.read(typed | rest)
        except Problem as problem:
            assert problem.code in {"UNKNOWN_TYPE", "BAD_REQUEST", "EMPTY_MESSAGE"}


def test_the_table_is_keyed_by_the_dialects_own_names() -> None:
    assert all(name == dialect.name for name, dialect in DIALECTS.items())


def test_dialects_are_pure() -> None:
    """No clock, no chance, no waiting: their sources name nothing of the kind."""
    for dialect in TABLE.values():
        source = inspect.getsource(inspect.getmodule(type(dialect)) or inspect)
        for word in ("import time", "import random", "import asyncio", "uuid", "await ", "now("):
            assert word not in source
