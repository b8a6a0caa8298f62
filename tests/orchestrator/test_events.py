"""The vocabulary: what is stored can be read again, and says what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import antiphon
from antiphon.orchestrator.events import (
    EVENT_TYPES,
    TERMINAL,
    AgentChunk,
    Custom,
    Event,
    Hit,
    Interrupt,
    Progress,
    Recorded,
    RunCancelled,
    RunComplete,
    RunStart,
    Sources,
    Usage,
    decode,
    encode,
)
from tests.orchestrator.support import UNHURRIED

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_tags_are_the_class_names_in_snake_case() -> None:
    assert [event.__struct_config__.tag for event in EVENT_TYPES] == [
        *("run_start", "run_attempt", "message_saved", "progress"),
        *("agent_start", "agent_chunk", "agent_text_end", "agent_complete", "agent_error"),
        *("interaction", "sources", "tool_start", "tool_complete", "tool_error", "tool_order"),
        *("workflow_update", "interrupt", "interrupt_answered"),
        *("run_complete", "run_error", "run_cancelled", "custom"),
    ]


def test_every_event_says_its_tag() -> None:
    assert Progress(value=0, stage="starting", message="").type == "progress"
    assert all(issubclass(event, Event) for event in EVENT_TYPES)


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda event: event.__name__)
@settings(UNHURRIED, max_examples=25)
@given(data=st.data())
def test_every_event_survives_being_stored(event_type: type[Event], data: st.DataObject) -> None:
    event = data.draw(instances(event_type))
    assert decode(encode(event)) == event


def instances(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any value of a struct."""
    fields = {field.name: values(field.type) for field in msgspec.structs.fields(struct)}
    return st.builds(struct, **fields)


PLAIN = {
    Any: json_values,
    str: st.text(),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
}


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value of an annotation, as JSON can hold it."""
    kind, inner = get_origin(annotation) or annotation, get_args(annotation)
    if kind in PLAIN:
        return PLAIN[kind]
    if kind is list:
        return st.lists(values(inner[0]), max_size=2)
    if kind is dict:
        return st.dictionaries(st.text(), values(inner[1]), max_size=2)
    if kind in (UnionType, Union):
        return st.one_of(*map(values, inner))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return instances(kind)
    return st.from_type(annotation)


def test_defaults_are_left_out_and_come_back() -> None:
    chunk = AgentChunk(span="1.1", agent="a", text="hi")
    assert json.loads(encode(chunk)) == {
        "type": "agent_chunk",
        "span": "1.1",
        "agent": "a",
        "text": "hi",
    }
    assert decode(encode(chunk)) == chunk


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b'{"type": "unheard_of"}',
        b'{"type": "progress"}',
        b'{"type": "progress", "value": "much"}',
        b"[",
    ],
)
def test_what_is_no_event_is_refused(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(payload)


def test_fields_of_a_newer_version_are_ignored() -> None:
    assert decode(b'{"type": "custom", "name": "x", "colour": "red"}') == Custom(name="x")


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (
            b'{"type": "run_start", "input": {}, "graph": "g", "dialect": "native",'
            b' "reply_id": "m", "resumed_from": "r"}',
            RunStart(input={}, graph="g", dialect="native", reply_id="m"),
        ),
        (
            b'{"type": "sources", "query": "q", "withheld": 1,'
            b' "hits": [{"id": "h", "title": "t", "span": "3-7"}]}',
            Sources(query="q", hits=[Hit(id="h", title="t")]),
        ),
        (
            b'{"type": "run_complete", "message_id": "m", "text": "t",'
            b' "sources": [{"id": "h", "title": "t", "span": "3-7"}]}',
            RunComplete(message_id="m", text="t", sources=[Hit(id="h", title="t")]),
        ),
    ],
)
def test_events_with_fields_that_were_removed_can_be_read(payload: bytes, event: Event) -> None:
    assert decode(payload) == event


def test_only_terminal_events_end_a_run() -> None:
    recorded = Recorded(
        thread_id="t", seq=1, run_id="r", attempt=1, at=1, event=Interrupt(id="1", question="?")
    )
    assert not recorded.ends_run
    assert msgspec.structs.replace(recorded, event=RunCancelled(by="me")).ends_run
    assert len(TERMINAL) == 3


def test_usage_adds_up() -> None:
    one = Usage(input_tokens=1, output_tokens=2, total_tokens=3)
    assert one + one == Usage(input_tokens=2, output_tokens=4, total_tokens=6)


def test_events_are_values_that_nobody_changes() -> None:
    with pytest.raises(AttributeError):
        Custom(name="x").name = "y"  # type: ignore[misc]


# -- the package itself ----------------------------------------------------------------------------


def test_the_public_names_are_these() -> None:
    assert sorted(antiphon.__all__) == [
        *(
            "Agent",
            "Engine",
            "Environment",
            "Request",
            "Run",
            "RunFailed",
            "Team",
            "User",
            "events",
            "open_engine",
        )
    ]
    assert all(getattr(antiphon, name) for name in antiphon.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Manager'"):
        antiphon.Manager  # noqa: B018


def test_importing_the_package_and_its_events_does_not_import_langgraph() -> None:
    code = "import sys, antiphon.orchestrator.events; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = ("lang", "sqlalchemy", "litestar", "openai")
    assert [name for name in told.stdout.split() if name.startswith(heavy)] == []
