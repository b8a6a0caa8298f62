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
from antiphon.api.dialects.base import Dialect
from antiphon.api.problems import CODES, Problem
from antiphon.api.streams import read_cursor
from antiphon.orchestrator.events import EVENT_TYPES, Recorded
from tests.api.dialects.samples import AT, EVERYTHING, FIXED, data_of, framed, recorded, runs
from tests.api.order import CHECKS
from tests.api.recordings import SUPERSEDED

GOLDEN = Path(__file__).parents[2] / "golden"
SILENT: dict[str, set[str]] = {
    "native": set(),
    "multi_agent": {
        "message_saved",
        "sources",  # they come with `complete`
        "tool_start",
        "tool_complete",
        "tool_error",
        "tool_order",
        "interrupt_answered",
        "custom",
    },
    "flows": {
        "message_saved",
        "interaction",
        "sources",  # they come with the element that searched
        "tool_start",
        "tool_complete",
        "tool_error",
        "tool_order",
        "custom",
    },
    "chat": {
        "run_start",
        "run_attempt",  # tokens pause until the new text goes beyond what was shown
        "message_saved",
        "agent_start",
        "agent_complete",
        "agent_error",
        "interaction",
        "sources",
        "tool_start",
        "tool_complete",
        "tool_error",
        "tool_order",
        "interrupt_answered",
        "custom",
        "workflow_update",
    },
    "threads": {"sources", "tool_start", "tool_complete", "tool_error", "tool_order", "custom"},
    "sessions": {
        "run_attempt",  # tokens pause until the new text goes beyond what was shown
        "message_saved",
        "progress",
        "agent_start",
        "agent_complete",
        "agent_error",
        "interaction",
        "sources",
        "tool_start",
        "tool_complete",
        "tool_error",
        "tool_order",
        "custom",
        "workflow_update",
    },
}
"""What a vocabulary leaves out on purpose. Everything else must give a frame."""


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


# ------------------------------------------------------------------------------------------------ resuming


def test_the_same_events_give_the_same_bytes(dialect: Dialect, events: list[Recorded]) -> None:
    assert framed(dialect, events) == framed(dialect, events)


def test_a_stream_cut_behind_any_frame_resumes_exactly(dialect: Dialect, events: list[Recorded]) -> None:
    whole = framed(dialect, events)
    for had, (cursor, _) in enumerate(whole, 1):
        assert framed(dialect, events, read_cursor(cursor)) == whole[had:]


def test_frames_do_not_depend_on_how_the_log_was_read(dialect: Dialect, events: list[Recorded]) -> None:
    assert framed(dialect, events, cuts=list(range(len(events)))) == framed(dialect, events)


@given(runs(), st.lists(st.integers(0, 27), max_size=4))
@example(recorded(EVERYTHING), [])
def test_any_run_resumes_exactly_however_it_is_read(events: list[Recorded], cuts: list[int]) -> None:
    for dialect in DIALECTS.values():
        whole = framed(dialect, events, cuts=list(range(len(events))))
        assert framed(dialect, events, cuts=cuts) == whole
        for had, (cursor, _) in enumerate(whole, 1):
            assert framed(dialect, events, read_cursor(cursor), cuts) == whole[had:]


@given(runs())
def test_cursors_only_grow(events: list[Recorded]) -> None:
    for dialect in DIALECTS.values():
        cursors = [read_cursor(cursor)[1:] for cursor, _ in framed(dialect, events)]
        assert cursors == sorted(set(cursors))


# ------------------------------------------------------------------------------------------------ meaning


def test_every_event_is_mapped_or_left_out_on_purpose(dialect: Dialect) -> None:
    assert dialect.name in SILENT, "say which events the new dialect leaves out"
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
    assert every - spoken == SILENT[dialect.name]


@pytest.mark.parametrize("name", DIALECTS)
def test_frames_are_what_they_were(name: str) -> None:
    """Golden files; `UPDATE_GOLDEN=1 pytest …` writes them anew."""
    lines = [line for run, events in FIXED.items() for line in _golden(DIALECTS[name], run, recorded(events))]
    path = GOLDEN / f"{name}.jsonl"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert path.read_text(encoding="utf-8").split("\n")[:-1] == lines


def _golden(dialect: Dialect, run: str, events: list[Recorded]) -> list[str]:
    fold = dialect.fold()
    lines = []
    for one in events:
        frames = [{"event": frame.event, "data": frame.data} for frame in fold.feed(one)]
        lines.append(json.dumps({"run": run, "seq": one.seq, "type": one.event.type, "frames": frames}))
    return lines


def test_no_golden_file_is_left_behind() -> None:
    assert {path.stem for path in GOLDEN.glob("*.jsonl")} == set(DIALECTS)


def test_frames_come_in_the_documents_order(dialect: Dialect, kind: str, events: list[Recorded]) -> None:
    assert dialect.name in CHECKS, "write the order of the new dialect down"
    CHECKS[dialect.name](data_of(dialect, events), superseded=kind in SUPERSEDED)


@pytest.mark.parametrize("run", FIXED)
def test_frames_survive_json(dialect: Dialect, run: str) -> None:
    fold = dialect.fold()
    for one in recorded(FIXED[run]):
        for frame in fold.feed(one):
            assert msgspec.json.decode(msgspec.json.encode(frame.data)) == msgspec.to_builtins(frame.data)
            assert frame.data["run_id"] == one.run_id
            assert one.seq - 1 <= frame.data["seq"] <= one.seq


def test_frames_are_those_of_the_registry(dialect: Dialect, events: list[Recorded]) -> None:
    registry = msgspec.json.Decoder(Union[dialect.frames])  # type: ignore[valid-type]  # noqa: UP007
    for frame in data_of(dialect, events):
        registry.decode(msgspec.json.encode(frame))


def test_every_kind_of_frame_is_told_apart(dialect: Dialect) -> None:
    for classes in (dialect.frames, dialect.asks):
        tags = [str(one.__struct_config__.tag) for one in classes]
        assert len(tags) == len(set(tags))


# -------------------------------------------------------------------------------------------- the socket's words


@pytest.mark.parametrize("code", CODES)
def test_a_problem_keeps_its_code_and_its_sentence(dialect: Dialect, code: str) -> None:
    frame = dialect.problem(Problem(code, "A clean sentence."), AT)
    assert frame.get("type", "error") in ("error", "flow_error")  # an HTTP body needs no type
    told = frame.get("data", frame)
    assert told["code"] == code
    assert "A clean sentence." in told.values()


def test_a_reset_says_what_can_be_resumed(dialect: Dialect) -> None:
    frame = dialect.reset(1, 42, AT)
    assert frame.get("type") == "stream_reset" or frame.get("data", frame)["code"] == "CURSOR_GONE"
    assert "42" in json.dumps(frame)


def test_a_pong_is_a_pong(dialect: Dialect) -> None:
    if not dialect.asks:
        pytest.skip("this vocabulary has no WebSocket")
    assert "pong" in json.dumps(dialect.pong(AT))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_types = st.sampled_from(
    ["auth", "message", "multi_agent_request", "request", "resume", "cancel", "answer", "ping", "disconnect"]
)
_fields = st.sampled_from(
    [
        *("token", "message", "session_id", "customer_id", "run_id", "thread_id", "last_seq", "after", "answer"),
        *("query", "content", "request", "context", "primary_agent", "supporting_agents", "coordination_mode"),
        *("agents", "mode", "graph", "on_busy", "idempotency_key", "inputs", "config"),
        *("user_id", "conversation_history", "initial_inputs", "agent_id"),
    ]
)


@given(st.fixed_dictionaries({"type": _types | _json}), st.dictionaries(_fields, _json, max_size=5))
def test_any_object_is_understood_or_refused_with_a_code(typed: dict[str, Any], rest: dict[str, Any]) -> None:
    for dialect in DIALECTS.values():
        try:
            dialect.read(typed | rest)
        except Problem as problem:
            assert problem.code in {"UNKNOWN_TYPE", "BAD_REQUEST"}


def test_the_table_is_keyed_by_the_dialects_own_names() -> None:
    assert all(name == dialect.name for name, dialect in DIALECTS.items())


def test_dialects_are_pure() -> None:
    """No clock, no chance, no waiting: their sources name nothing of the kind."""
    for dialect in DIALECTS.values():
        source = inspect.getsource(inspect.getmodule(type(dialect)) or inspect)
        for word in ("import time", "import random", "import asyncio", "uuid", "await ", "now("):
            assert word not in source
