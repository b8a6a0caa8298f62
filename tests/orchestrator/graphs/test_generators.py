"""Nodes of odd kinds: what LangGraph makes of them is what a run makes of them, and each run ends
once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from threading import Thread
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.errors import InvalidUpdateError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from antiphon.orchestrator.events import RunComplete, RunError
from antiphon.orchestrator.graphs.generators import without_generators
from tests.orchestrator.support import chain, events_of, opened

Update = dict[str, Any]


def said(text: str) -> Update:
    return {"messages": [AIMessage(text)]}


def yields(state: MessagesState) -> Iterator[Update]:
    yield said("one")
    yield said("two")


async def yields_on_loop(state: MessagesState) -> AsyncIterator[Update]:
    yield said("one")
    yield said("two")


def yields_and_fails(state: MessagesState) -> Iterator[Update]:
    yield said("one")
    raise ValueError


async def yields_on_loop_and_fails(state: MessagesState) -> AsyncIterator[Update]:
    yield said("one")
    raise ValueError


def yields_and_exits(state: MessagesState) -> Iterator[Update]:
    yield said("one")
    raise SystemExit(3)


def starts_a_thread(state: MessagesState) -> Update:
    texts: list[str] = []
    thread = Thread(target=texts.append, args=["from a thread"])
    thread.start()
    thread.join()
    return said(texts[0])


async def returns_a_future(state: MessagesState) -> Any:
    return asyncio.get_running_loop().create_future()


class PlainCallable:
    def __call__(self, state: MessagesState) -> Update:
        return said("called")


class AsyncCallable:
    async def __call__(self, state: MessagesState) -> Update:
        return said("called")


async def _partial(text: str, state: MessagesState) -> Update:
    return said(text)


def returning(value: Any) -> Callable[[MessagesState], Any]:
    return lambda state: value


ANSWERED = {
    "generator": yields,
    "async generator": yields_on_loop,
    "callable": PlainCallable(),
    "async callable": AsyncCallable(),
    "partial": partial(_partial, "partly"),
    "thread": starts_a_thread,
}
FAILED = {
    "failing generator": yields_and_fails,
    "failing async generator": yields_on_loop_and_fails,
    "text": returning("hello"),
    "number": returning(7),
    "list": returning([said("one")]),
    "tuple": returning(("messages", [])),
    "exception": returning(ValueError()),
    "class": returning(dict),
    "generator object": returning(said(text) for text in "ab"),
    "future": returns_a_future,
    "odd message": returning({"messages": object()}),
    "none for messages": returning({"messages": None}),
}
SILENT = {
    "nothing": returning(None),
    "empty": returning({}),
    "unknown key": returning({"nowhere": 1}),
    "unknown node": returning(Command(goto="nowhere")),
}


async def end_of(url: str, graph: Any) -> Any:
    """How a run ends, which it does once."""
    async with opened(url, graph) as engine, asyncio.timeout(20):
        events = await events_of(await engine.start("hello"))
    assert sum(isinstance(event, RunComplete | RunError) for event in events) == 1
    return events[-1]


@pytest.mark.parametrize("kind", ANSWERED)
async def test_a_node_that_langgraph_understands_answers(url: str, kind: str) -> None:
    graph = chain(node=ANSWERED[kind])
    plain = await graph.ainvoke({"messages": [HumanMessage("hello")]})
    assert (await end_of(url, graph)).text == plain["messages"][-1].content


@pytest.mark.parametrize("kind", FAILED)
async def test_a_node_that_langgraph_refuses_fails_its_run(url: str, kind: str) -> None:
    graph = chain(node=FAILED[kind])
    with pytest.raises((ValueError, NotImplementedError, InvalidUpdateError)):
        await graph.ainvoke({"messages": [HumanMessage("hello")]})
    end = await end_of(url, chain(node=FAILED[kind]))
    assert (end.type, end.code) == ("run_error", "AGENT_FAILED")


async def test_a_generator_that_exits_fails_its_run(url: str) -> None:
    assert (await end_of(url, chain(node=yields_and_exits))).code == "AGENT_FAILED"


@pytest.mark.parametrize("kind", SILENT)
async def test_a_node_that_says_nothing_is_no_success(url: str, kind: str) -> None:
    assert (await end_of(url, chain(node=SILENT[kind]))).code == "NO_ANSWER"


async def test_generators_in_subgraphs_work_too(url: str) -> None:
    assert (await end_of(url, chain(outer=chain(inner=yields)))).text == "two"


def test_a_graph_without_generators_stays_as_it_is() -> None:
    graph = (
        StateGraph(MessagesState)
        .add_node("node", starts_a_thread)
        .add_edge(START, "node")
        .compile()
    )
    assert without_generators(graph) is graph
