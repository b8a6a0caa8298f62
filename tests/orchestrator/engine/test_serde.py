"""The values that a graph's state may hold, and the errors for those that cannot be stored."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langgraph.checkpoint.conformance.test_utils import generate_checkpoint
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy, Send
from typing_extensions import TypedDict

from antiphon.orchestrator.engine import serde
from antiphon.orchestrator.engine.serde import (
    dump_checkpoint,
    dump_metadata,
    dump_value,
    load_checkpoint,
    serializer,
)
from antiphon.orchestrator.errors import StateNotStorable, StateTooLarge
from antiphon.orchestrator.events import RunComplete, RunError
from tests.orchestrator.support import UNHURRIED, events_of, opened

NUMBERS = st.booleans() | st.integers() | st.floats(allow_nan=False)
ATOMS = st.none() | NUMBERS | st.text() | st.binary()
KEYS = st.text() | st.integers() | st.binary() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@UNHURRIED
@given(values=st.dictionaries(st.text(), VALUES, max_size=5))
def test_plain_values_come_back_as_they_were(values: dict[str, Any]) -> None:
    checkpoint = generate_checkpoint(channel_values=values)
    stored = dump_checkpoint(serializer(), checkpoint)
    assert load_checkpoint(serializer(), *stored) == checkpoint


def test_a_checkpoint_that_was_stored_as_a_whole_can_be_read() -> None:
    checkpoint = generate_checkpoint(channel_values={"x": 1})
    assert load_checkpoint(serializer(), *serializer().dumps_typed(checkpoint)) == checkpoint


def test_an_odd_value_needs_nothing_of_its_neighbours() -> None:
    """Only pickle takes one of them, and pickle does not take the other."""

    def local() -> Any:
        from pydantic import BaseModel

        class Local(BaseModel):
            x: int = 1

        return Local()

    checkpoint = generate_checkpoint(channel_values={"odd": 1j, "local": local()})
    stored = dump_checkpoint(serializer(), checkpoint)
    values = load_checkpoint(serializer(), *stored)["channel_values"]
    assert values["odd"] == 1j
    assert "local" in values


class Gone:
    """A class that is renamed between two turns."""


def test_a_value_that_cannot_be_read_back_is_left_out_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored = dump_checkpoint(
        serializer(),
        generate_checkpoint(channel_values={"x": 1, "gone": Gone()}),
    )
    monkeypatch.delattr(f"{__name__}.Gone")
    assert load_checkpoint(serializer(), *stored)["channel_values"] == {"x": 1}
    assert "gone" in caplog.text


def test_notes_about_a_checkpoint_lose_only_what_cannot_be_stored() -> None:
    metadata: Any = {"source": "loop", "step": 1, "huge": 2**100}
    stored = dump_metadata(serializer(), metadata)
    assert serializer().loads_typed(("msgpack", stored)) == {"source": "loop", "step": 1}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("conn", sqlite3.connect(":memory:"), "`conn` holds a sqlite3.Connection."),
        ("conn", {"a": [1, {"b": (threading.Lock(),)}]}, "`conn` holds a _thread.lock."),
        (
            "calls",
            [AIMessage("", additional_kwargs={"f": (n for n in ())})],
            "`calls` holds a generator.",
        ),
        ("__return__", lambda: 1, "what a task returned holds a function."),
    ],
)
def test_what_cannot_be_stored_is_named(key: str, value: Any, told: str) -> None:
    with pytest.raises(StateNotStorable) as error:
        dump_value(serializer(), key, value)
    assert error.value.message == f"The graph's state cannot be stored: {told}"


def test_a_cycle_can_be_stored() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    (back,) = [serializer().loads_typed(dump_value(serializer(), "x", cycle))]
    assert back[0] is back


def test_a_state_that_is_too_large_names_its_largest_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serde, "STATE_BYTES", 1_000_000)
    checkpoint = generate_checkpoint(channel_values={"small": "x", "blob": "x" * 1_000_000})
    with pytest.raises(StateTooLarge) as error:
        dump_checkpoint(serializer(), checkpoint)
    told = error.value.message
    assert told.startswith("The graph's state is too large: it has 1.0 MB and may have 1.0 MB;")
    assert told.endswith("most of it is in `blob`.")


# -- in runs ---------------------------------------------------------------------------------------


class State(MessagesState, total=False):
    conn: Any


def one_node(node: Any, **options: Any) -> Any:
    graph = StateGraph(State).add_node("node", node, **options)
    return graph.add_edge(START, "node").compile()


def keeps(value: Any) -> Any:
    """Return a node that stores a value in the first turn, and counts its executions."""
    executed: list[str] = []

    def node(state: State) -> Any:
        executed.append("node")
        kept = {"conn": value} if len(state["messages"]) == 1 else {}
        return {"messages": [AIMessage("hello")], **kept}

    node.executed = executed  # type: ignore[attr-defined]
    return node


def sends(state: State) -> Any:
    return {}


def a_send() -> Any:
    graph = StateGraph(State).add_node(sends).add_node("other", lambda state: {})
    graph.add_edge(START, "sends").add_conditional_edges(
        "sends",
        lambda state: [Send("other", threading.Lock())],
    )
    return graph.compile()


@task
def locked() -> Any:
    return threading.Lock()


@entrypoint()
def by_a_task(text: str) -> Any:
    return str(locked().result())


@entrypoint()
def saving(text: str) -> Any:
    return entrypoint.final(value="done", save=threading.Lock())


NOT_STORABLE = {
    "a key": (
        lambda: one_node(keeps(sqlite3.connect(":memory:"))),
        "`conn` holds a sqlite3.Connection.",
    ),
    "a part": (lambda: one_node(keeps([{"x": threading.Lock()}])), "`conn` holds a _thread.lock."),
    "a send": (a_send, "a `Send` holds a _thread.lock."),
    "a task": (lambda: by_a_task, "what a task returned holds a _thread.lock."),
    "a save": (lambda: saving, "what the entrypoint saves holds a _thread.lock."),
}


@pytest.mark.parametrize(("graph", "told"), NOT_STORABLE.values(), ids=NOT_STORABLE)
async def test_a_state_that_cannot_be_stored_ends_the_run_once(
    url: str,
    graph: Any,
    told: str,
) -> None:
    async with opened(url, graph()) as engine:
        run = await engine.start("hello")
        end = (await events_of(run))[-1]
        record = await engine.record(run.id, "local")
    assert isinstance(end, RunError)
    assert (end.code, end.retryable) == ("STATE_NOT_STORABLE", False)
    assert end.message == f"The graph's state cannot be stored: {told}"
    assert (record.status, record.attempt) == ("failed", 1)


@pytest.mark.parametrize(
    ("value", "code"),
    [(threading.Lock(), "STATE_NOT_STORABLE"), ("x" * (serde.STATE_BYTES + 1), "STATE_TOO_LARGE")],
)
async def test_it_is_not_tried_again_and_the_thread_goes_on(
    url: str,
    value: Any,
    code: str,
) -> None:
    node = keeps(value)
    graph = one_node(node, retry_policy=RetryPolicy(max_attempts=3, initial_interval=0.0))
    async with opened(url, graph) as engine:
        run = await engine.start("hello")
        end = (await events_of(run))[-1]
        assert isinstance(end, RunError)
        assert end.code == code
        assert node.executed == ["node"]
        again = await engine.start("hello again", thread_id=run.thread_id)
        assert isinstance((await events_of(again))[-1], RunComplete)


async def test_what_subgraphs_keep_counts_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each checkpoint is small enough; the state that the thread would keep is not."""
    monkeypatch.setattr(serde, "STATE_BYTES", 100_000)

    class Inner(TypedDict, total=False):
        text: str

    def inner(name: str) -> Any:
        graph = StateGraph(Inner).add_node("fill", lambda state: {"text": "x" * 60_000})
        return graph.add_edge(START, "fill").compile(checkpointer=True, name=name)

    graph = StateGraph(State).add_node("one", inner("one")).add_node("two", inner("two"))
    async with opened(url, graph.add_edge(START, "one").add_edge("one", "two").compile()) as engine:
        end = (await events_of(await engine.start("hello")))[-1]
    assert isinstance(end, RunError)
    assert end.code == "STATE_TOO_LARGE"
