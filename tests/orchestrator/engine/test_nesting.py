"""Graphs inside graphs: called by nodes and tools in every way, with every kind of checkpointer."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import interrupt

from antiphon.data.errors import Fenced
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Interrupt,
    RunCancelled,
    RunComplete,
    RunError,
)
from antiphon.orchestrator.testing import ScriptedModel, tool_call
from tests.orchestrator.support import events_of, of_type, opened, reach, side_by_side, spoken

Graph = Pregel[Any, Any, Any, Any]


class Work(MessagesState, total=False):
    calls: Annotated[int, operator.add]


def worker(checkpointer: Any) -> Graph:
    """Return a graph of two steps; a model answers in the second one."""

    model = ScriptedModel(turns=[["work ", "done"]] * 9)

    def prepare(state: Work) -> Any:
        return {"calls": 1}

    def speak(state: Work) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(Work).add_node(prepare).add_node(speak)
    return graph.add_edge(START, "prepare").add_edge("prepare", "speak").compile(checkpointer)


async def gathered(parts: Any) -> Any:
    return [part async for part in parts][-1]


def by_loop_of_its_own(inner: Graph, given: Any, config: Any) -> Any:
    return asyncio.run(inner.ainvoke(given, config))


WAYS: dict[str, Callable[[Graph, Any, Any], Any]] = {
    "invoke": lambda inner, given, config: inner.invoke(given, config),
    "stream": lambda inner, given, config: [*inner.stream(given, config, stream_mode="values")][-1],
    "ainvoke": lambda inner, given, config: inner.ainvoke(given, config),
    "astream": lambda inner, given, config: gathered(
        inner.astream(given, config, stream_mode="values"),
    ),
    "asyncio.run": by_loop_of_its_own,
}
SAVERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "inherited": (lambda: None, None),
    "none": (lambda: False, None),
    "kept": (lambda: True, None),
    "its own": (InMemorySaver, {"configurable": {"thread_id": "of its own"}}),
}


def in_a_node(way: str, inner: Graph, config: Any) -> Graph:
    def plainly(state: MessagesState) -> Any:
        return {"messages": [WAYS[way](inner, {"messages": ["go"]}, config)["messages"][-1]]}

    async def awaiting(state: MessagesState) -> Any:
        return {
            "messages": [(await WAYS[way](inner, {"messages": ["go"]}, config))["messages"][-1]],
        }

    node: Any = awaiting if way.startswith("a") and way != "asyncio.run" else plainly
    return StateGraph(MessagesState).add_node("outer", node).add_edge(START, "outer").compile()


def in_a_tool(way: str, inner: Graph, config: Any) -> Graph:
    @tool
    def plainly(topic: str) -> str:
        """Ask the worker."""
        return str(WAYS[way](inner, {"messages": [topic]}, config)["messages"][-1].content)

    @tool
    async def awaiting(topic: str) -> str:
        """Ask the worker."""
        return str((await WAYS[way](inner, {"messages": [topic]}, config))["messages"][-1].content)

    chosen: Any = awaiting if way.startswith("a") and way != "asyncio.run" else plainly
    calls = [[tool_call(chosen.name, f"c{number}", topic="x")] for number in range(2)]
    said = ["so: ", "work done"]
    return create_agent(ScriptedModel(turns=[calls[0], said, calls[1], said]), [chosen])


@pytest.mark.parametrize("place", [in_a_node, in_a_tool])
@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_graph_can_call_another_one(url: str, way: str, saver: str, place: Any) -> None:
    make, config = SAVERS[saver]
    graph = place(way, worker(make()), config)
    async with opened(url, graph) as engine:
        first = await engine.start("hello")
        for run in (first, await engine.start("again", thread_id=first.thread_id)):
            events = await events_of(run)
            assert isinstance(events[-1], RunComplete), events[-1]
            assert events[-1].text == ("work done" if place is in_a_node else "so: work done")
            assert "work done" in spoken(events).values()
            agents = [start.agent for start in of_type(events, AgentStart)]
            assert agents.count("speak") == 1
            assert of_type(events, AgentChunk)[0].agent == "speak"
            ends = [end.agent for end in of_type(events, AgentComplete)]
            assert ends.index("speak") < ends.index("outer" if place is in_a_node else "tools")


async def test_plain_functions_that_call_graphs_may_run_side_by_side(url: str) -> None:
    def calling(name: str) -> Any:
        inner = worker(None)

        def call(state: MessagesState) -> Any:
            inner.invoke({"messages": ["go"]})
            inner.invoke({"messages": ["go"]})
            return {"messages": [AIMessage(name)]}

        return call

    graph = side_by_side(**{name: calling(name) for name in "abcdefgh"})
    async with opened(url, graph) as engine:
        events = await events_of(await engine.start("hello"))
    assert isinstance(events[-1], RunComplete)
    starts = of_type(events, AgentStart)
    assert len({start.span for start in starts}) == len(starts) == 8 + 8 * 2 * 2


@pytest.mark.parametrize("saver", ["inherited", "kept"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_question_inside_goes_on_there(url: str, way: str, saver: str) -> None:
    done: list[str] = []

    def before(state: Work) -> Any:
        done.append("before")
        return {"calls": 1}

    def ask(state: Work) -> Any:
        return {"messages": [AIMessage(f"told {interrupt('sure?')} after {state['calls']}")]}

    inner = StateGraph(Work).add_node(before).add_node(ask)
    compiled = inner.add_edge(START, "before").add_edge("before", "ask").compile(SAVERS[saver][0]())
    async with opened(url, in_a_node(way, compiled, None)) as engine:
        run = await engine.start("hello")
        question = (await events_of(run))[-1]
        assert isinstance(question, Interrupt)
        assert question.question == "sure?"
        await engine.answer(run.id, "yes")
        end = (await events_of(run))[-1]
    assert isinstance(end, RunComplete)
    assert end.text == "told yes after 1"
    assert done == ["before"], "what was complete inside does not run again"


async def test_a_coroutine_that_calls_a_graph_without_awaiting_it_is_told_so(
    url: str,
    caplog: Any,
) -> None:
    inner = worker(None)

    async def outer(state: MessagesState) -> Any:
        return {"messages": inner.invoke({"messages": ["go"]})["messages"][-1]}

    graph = StateGraph(MessagesState).add_node(outer).add_edge(START, "outer").compile()
    async with opened(url, graph) as engine:
        end = (await events_of(await engine.start("hello")))[-1]
    assert isinstance(end, RunError)
    assert end.code == "SYNC_IN_ASYNC"
    assert "ainvoke" in end.message


async def test_a_thread_that_goes_on_after_its_run_stores_nothing_and_ends(url: str) -> None:
    goes_on, ended = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def wait(state: Work) -> Any:
        goes_on.wait()
        return {"messages": [AIMessage("too late")]}

    inner = StateGraph(Work).add_node(wait).add_edge(START, "wait").compile()

    def outer(state: MessagesState) -> Any:
        try:
            return inner.invoke({"messages": ["go"]})
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            ended.set()

    graph = StateGraph(MessagesState).add_node(outer).add_edge(START, "outer").compile()
    async with opened(url, graph) as engine:
        run = await engine.start("hello")
        await reach(
            run,
            lambda events: any(start.agent == "wait" for start in of_type(events, AgentStart)),
        )
        await engine.cancel(run.id)
        assert isinstance((await events_of(run))[-1], RunCancelled)
        goes_on.set()
        await asyncio.to_thread(ended.wait, 30)
        assert [type(error) for error in failures] == [Fenced]
