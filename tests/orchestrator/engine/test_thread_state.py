"""A graph's state from turn to turn. The oracle is LangGraph itself, with its saver in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, _messages_delta_reducer
from langgraph.pregel import Pregel
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from antiphon import Engine, Run
from antiphon.data import reads
from antiphon.orchestrator.engine.checkpoints import RunCheckpoints
from antiphon.orchestrator.engine.thread_state import unpack
from antiphon.orchestrator.events import AgentStart, Interrupt, RunComplete, RunError
from antiphon.orchestrator.graphs.served import serve_graph
from antiphon.orchestrator.request import HistoryMessage
from antiphon.orchestrator.testing import ScriptedModel, tool_call
from tests.orchestrator.support import (
    UNHURRIED,
    begin,
    events_of,
    of_type,
    opened,
    reach,
    reach_text,
    writing,
)
from tests.support.size import trials

Graph = Pregel[Any, Any, Any, Any]


# -- the same turns on both sides ------------------------------------------------------------------


async def by_langgraph(graph: Graph, turns: Sequence[str]) -> list[Any]:
    """Return the state after each turn, as LangGraph keeps it."""
    saver = InMemorySaver()
    plain = graph.copy(update={"checkpointer": saver})
    config: Any = {"configurable": {"thread_id": "thread"}}
    states: list[Any] = []
    waits = False
    for number, turn in enumerate(turns):
        given: Any = {"messages": [HumanMessage(turn, id=f"m{number}")]}
        if not hasattr(graph, "builder"):
            given = turn
        async for _ in plain.astream(
            Command(resume=turn) if waits else given,
            config,
            stream_mode="messages",
        ):
            pass  # asked for messages, so that models stream as they do here
        waits = bool((await plain.aget_state(config)).next)
        states.append(
            None if waits else await whole_state(plain, saver, list(saver.storage["thread"])),
        )
    return states


async def here(
    url: str,
    graph: Graph,
    turns: Sequence[str],
    *,
    reopened: bool = False,
) -> list[Any]:
    """Return the states that our runs leave; with a new engine for each turn if `reopened`."""
    states: list[Any] = []
    thread_id: str | None = None
    while len(states) < len(turns):
        async with opened(url, serve_graph("graph", graph)) as engine:
            for number in range(len(states), len(states) + 1 if reopened else len(turns)):
                run = await a_turn(engine, turns[number], f"m{number}", thread_id)
                thread_id, waits = run.thread_id, await run.status() == "interrupted"
                states.append(None if waits else await state_here(engine, graph, run.id))
    return states


async def a_turn(engine: Engine, text: str, message_id: str, thread_id: str | None) -> Run:
    """Run one turn to its end or question. If it ends without an answer, its state is kept, too."""
    run = await begin(engine, text, thread_id=thread_id, message_id=message_id)
    end = (await events_of(run))[-1]
    no_answer = isinstance(end, RunError) and end.code == "NO_ANSWER"
    assert no_answer or await run.status() in ("completed", "interrupted"), end
    return run


async def state_here(engine: Engine, graph: Graph, run_id: str) -> Any:
    """Return the state that a run has left."""
    record = await engine.record(run_id, "local")
    left = await engine.database.fetch(reads.graph_state, "graph", record.reply_message_id)
    if left is None:  # it had no answer: its own message is the last one of the thread
        left = await engine.database.fetch(reads.graph_state, "graph", record.input_message_id)
    assert left is not None
    base = unpack(left.value)
    async with writing(engine.database, record) as writer:
        saver = RunCheckpoints(engine.database, writer, "thread", base=base)
        copy = graph.copy(update={"checkpointer": saver})
        return await whole_state(copy, saver, [one.checkpoint.namespace for one in base])


async def whole_state(graph: Graph, saver: Any, namespaces: Sequence[str]) -> dict[str, Any]:
    """Return the values of a graph, and of its subgraphs that keep their state."""
    config: Any = {"configurable": {"thread_id": "thread"}}
    state = {"": comparable((await graph.aget_state(config)).values)}
    for namespace in {one for one in namespaces if one and ":" not in one}:
        found = await saver.aget_tuple(
            {"configurable": {"thread_id": "thread", "checkpoint_ns": namespace}},
        )
        values = found.checkpoint["channel_values"]
        own = {key: value for key, value in values.items() if ":" not in key}
        state[namespace] = comparable(own)
    return state


def comparable(value: Any) -> Any:
    """Return a value without the ids of models' messages, which differ in each execution."""
    if isinstance(value, BaseMessage):
        return (value.type, value.content, value.id if value.type == "human" else "", value.name)
    if isinstance(value, _DeltaSnapshot):
        return comparable(value.value)
    if isinstance(value, dict):
        return {key: comparable(member) for key, member in value.items()}
    return [comparable(member) for member in value] if isinstance(value, list) else value


# -- graphs that keep something --------------------------------------------------------------------


def merged(old: dict[str, str] | None, new: dict[str, str]) -> dict[str, str]:
    return {**(old or {}), **new}


class Everything(MessagesState, total=False):
    turns: Annotated[int, operator.add]
    files: Annotated[dict[str, str], merged]
    active: str
    parts: Annotated[list[str], operator.add]


def last(state: Any) -> str:
    return str(state["messages"][-1].content)


def _first(messages: list[BaseMessage]) -> HumanMessage:
    return next(message for message in messages if isinstance(message, HumanMessage))


def counting(checkpointer: Any = None, name: str = "memory") -> Graph:
    """A graph that counts how often it was called in the thread, if it has a memory."""

    class Counted(TypedDict, total=False):
        called: Annotated[int, operator.add]

    def count(state: Counted) -> Counted:
        return {"called": 1}

    graph = StateGraph(Counted).add_node(count).add_edge(START, "count")
    return graph.compile(checkpointer, name=name)


def do_it_all() -> Graph:
    """A graph whose messages are commands, for most of what can happen to a state."""
    kept, forgetful = counting(True), counting()

    def obey(state: Everything) -> Any:
        command, messages = last(state), state["messages"]
        match command:
            case "remove":
                return {
                    "turns": 1,
                    "messages": [RemoveMessage(id=str(messages[0].id)), AIMessage("removed")],
                }
            case "remove all":
                return {
                    "messages": [
                        RemoveMessage(id=REMOVE_ALL_MESSAGES),
                        HumanMessage("all of it", id="kept"),
                    ]
                }
            case "edit":
                return {
                    "turns": 1,
                    "messages": [
                        HumanMessage("edited", id=_first(messages).id),
                        AIMessage("edited"),
                    ],
                }
            case "write":
                return {
                    "files": {f"{len(messages)}.txt": "text"},
                    "messages": [AIMessage("written")],
                }
            case "overwrite":
                return Command(
                    update={
                        "files": {"0.txt": f"{len(messages)}"},
                        "messages": [AIMessage("written")],
                    }
                )
            case "hand over":
                other = "b" if state.get("active") == "a" else "a"
                return Command(goto="b" if other == "b" else END, update={"active": other})
            case "split":
                return Command(goto=[Send("part", {"n": n}) for n in range(3)])
            case "call":
                kept.invoke({"called": 1})
                forgetful.invoke({"called": 1})
                return {"messages": [AIMessage("called")]}
            case "nothing":
                return {}
        return {"turns": 1, "messages": [AIMessage(f"{state.get('turns', 0)}: {command}")]}

    def b(state: Everything) -> Any:
        return {"messages": [AIMessage("b speaking", name="b")]}

    def part(state: Any) -> Any:
        return {"parts": [f"part {state['n']}"]}

    graph = StateGraph(Everything)
    graph.add_node(obey, destinations=("b", "part", END))
    graph.add_node(b).add_node(part)
    graph.add_node("memory", counting(True))
    return graph.add_edge(START, "obey").add_edge("obey", "memory").compile()


COMMANDS = (
    "remove",
    "remove all",
    "edit",
    "write",
    "overwrite",
    "hand over",
    "split",
    "call",
    "nothing",
    "say",
)


@settings(UNHURRIED, max_examples=trials(15, 6))
@given(turns=st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=6), reopened=st.booleans())
def test_any_turns_leave_the_state_that_langgraph_leaves(
    tmp_path_factory: pytest.TempPathFactory, turns: list[str], reopened: bool
) -> None:
    async def compare() -> None:
        url = f"sqlite:///{tmp_path_factory.mktemp('turns') / 'antiphon.db'}"
        assert await here(url, do_it_all(), turns, reopened=reopened) == await by_langgraph(
            do_it_all(),
            turns,
        )

    asyncio.run(compare())


def agent_with_tools() -> Graph:
    """An agent that calls a tool in each turn; a middleware counts its model calls for good."""

    class Calls(AgentState[Any]):
        calls: Annotated[int, operator.add]

    class CountCalls(AgentMiddleware[Any, Any, Any]):
        state_schema = Calls

        def after_model(self, state: Any, runtime: Any) -> dict[str, Any]:
            return {"calls": 1}

    @tool
    def look_up(what: str) -> str:
        """Look something up."""
        return f"found {what}"

    turns: list[list[Any]] = []
    for number in range(9):
        turns.append([tool_call("look_up", f"c{number}", what=str(number))])
        turns.append([f"answer {number}"])
    return create_agent(ScriptedModel(turns=turns), [look_up], middleware=[CountCalls()])


def swarm() -> Graph:
    """Two agents that hand over to each other. The last active one answers first."""

    class Swarm(MessagesState, total=False):
        active_agent: str

    def agent(name: str, other: str) -> Callable[[Swarm], Any]:
        async def speak(state: Swarm) -> Any:
            if last(state) == "hand over":
                gone = AIMessage(f"{name} hands over", name=name)
                return Command(goto=other, update={"active_agent": other, "messages": [gone]})
            return {"messages": [AIMessage(f"{name} speaking", name=name)]}

        return speak

    graph = StateGraph(Swarm)
    graph.add_node("a", agent("a", "b"), destinations=("b",))
    graph.add_node("b", agent("b", "a"), destinations=("a",))
    graph.add_conditional_edges(START, lambda state: state.get("active_agent", "a"), ["a", "b"])
    return graph.compile()


def workflow() -> Graph:
    """A function that returns its answer and saves something else for the next turn."""

    @task
    async def shout(text: str) -> str:
        return text.upper()

    @entrypoint()
    async def flow(text: str, *, previous: Any = None) -> Any:
        said = [*(previous or []), await shout(text)]
        if text == "both":
            return said
        return entrypoint.final(value=f"{len(said)} so far", save=said)

    return flow


def deltas(frequency: int, checkpointer: Any = None) -> Graph:
    """Messages in a delta channel, which is only sometimes stored as a whole."""

    channel = DeltaChannel(_messages_delta_reducer, snapshot_frequency=frequency)
    fields = {"messages": Annotated[list[Any], channel]}
    schema: Any = TypedDict("schema", fields)  # type: ignore[misc]

    def answer(state: Any) -> Any:
        gone = [RemoveMessage(id="m0")] if last(state) == "remove" else []
        return {"messages": [*gone, AIMessage(f"{len(state['messages'])} messages")]}

    def more(state: Any) -> Any:
        return {"messages": [AIMessage("and more")]}

    graph = StateGraph(schema).add_node(answer).add_node(more)
    graph.add_edge(START, "answer").add_edge("answer", "more")
    return graph.compile(checkpointer, name="deltas")


def around_deltas() -> Graph:
    """A graph whose subgraph keeps its messages in a delta channel."""
    inner = deltas(3, checkpointer=True)

    async def ask(state: MessagesState) -> Any:
        found = await inner.ainvoke(
            {"messages": [HumanMessage(last(state), id=state["messages"][-1].id)]},
        )
        return {"messages": [AIMessage(f"it has {len(found['messages'])} messages")]}

    return StateGraph(MessagesState).add_node(ask).add_edge(START, "ask").compile()


def asking() -> Graph:
    """A graph that asks a human in the middle, inside a subgraph that keeps its state."""

    class Asked(MessagesState, total=False):
        answers: Annotated[list[str], operator.add]

    def ask(state: Asked) -> Any:
        return {"answers": [interrupt("sure?")]} if last(state) == "ask" else {}

    inner = StateGraph(Asked).add_node(ask).add_edge(START, "ask").compile(checkpointer=True)

    def close(state: Asked) -> Any:
        return {"messages": [AIMessage(f"answered {len(state.get('answers', []))}")]}

    graph = StateGraph(Asked).add_node("inner", inner).add_node(close)
    return graph.add_edge(START, "inner").add_edge("inner", "close").compile()


def failing_inside() -> Graph:
    """A graph that goes on after its subgraph has failed half way."""

    class Halves(TypedDict, total=False):
        done: Annotated[list[str], operator.add]
        fails: bool

    def first(state: Halves) -> Any:
        return {"done": ["first"]}

    def second(state: Halves) -> Any:
        if state["fails"]:
            raise ValueError("half way")
        return {"done": ["second"]}

    graph = StateGraph(Halves).add_node(first).add_node(second)
    inner = graph.add_edge(START, "first").add_edge("first", "second").compile(checkpointer=True)

    def outer(state: MessagesState) -> Any:
        try:
            inner.invoke({"fails": last(state) == "fail", "done": []})
        except ValueError:
            return {"messages": [AIMessage("failed")]}
        return {"messages": [AIMessage("done")]}

    return StateGraph(MessagesState).add_node(outer).add_edge(START, "outer").compile()


def looking_back() -> Graph:
    """A graph that reads its own state and history while it runs."""

    async def look(state: MessagesState, config: RunnableConfig) -> Any:
        root: Any = {
            "configurable": {**config["configurable"], "checkpoint_ns": "", "checkpoint_id": None},
        }
        now = await graph.aget_state(root)
        past = [one async for one in graph.aget_state_history(root)]
        behind = past[0].metadata["step"] - now.metadata["step"]
        told = f"{len(now.values['messages'])} messages, {now.next}, {behind}"
        return {"messages": [AIMessage(told)]}

    def look_plainly(state: MessagesState, config: RunnableConfig) -> Any:
        root: Any = {
            "configurable": {**config["configurable"], "checkpoint_ns": "", "checkpoint_id": None},
        }
        newest = next(graph.get_state_history(root, limit=1))
        same = newest.config == graph.get_state(root).config
        return {
            "messages": [
                AIMessage(f"{len(newest.values['messages'])} messages, {newest.next}, {same}"),
            ]
        }

    made = StateGraph(MessagesState).add_node(look).add_node(look_plainly)
    graph = made.add_edge(START, "look").add_edge("look", "look_plainly").compile()
    return graph


def naming_threads() -> Graph:
    """A graph that passes its config on with thread ids of its own, which are kept apart."""
    inner = counting()

    async def outer(state: MessagesState, config: RunnableConfig) -> Any:
        told = []
        for name in ("one/ü:|", "two", "two"):
            named: Any = {
                **config["configurable"],
                "thread_id": name,
                "checkpoint_ns": "",
                "checkpoint_id": None,
            }
            told.append(
                str((await inner.ainvoke({"called": 1}, {"configurable": named}))["called"]),
            )
            saver = config["configurable"]["__pregel_checkpointer"]
            listed = [one async for one in saver.alist({"configurable": {"thread_id": name}})]
            assert {one.config["configurable"]["thread_id"] for one in listed} == {name}
        return {"messages": [AIMessage(", ".join(told))]}

    return StateGraph(MessagesState).add_node(outer).add_edge(START, "outer").compile()


KEEPING = {
    "an agent with tools": (agent_with_tools, ("one", "two", "three")),
    "a swarm": (swarm, ("hello", "hand over", "hello", "again")),
    "a workflow": (workflow, ("one", "two", "both", "three")),
    "deltas, whole every time": (lambda: deltas(1), ("one", "two", "remove", "three")),
    "deltas, whole sometimes": (lambda: deltas(3), ("one", "two", "remove", "three", "four")),
    "deltas, never whole": (lambda: deltas(1000), ("one", "two", "remove", "three", "four")),
    "deltas in a subgraph": (around_deltas, ("one", "two", "three", "four")),
    "a question": (asking, ("hello", "ask", "yes", "hello", "ask", "no", "hello")),
    "a subgraph that fails": (failing_inside, ("fine", "fail", "fine", "fine")),
    "threads of its own naming": (naming_threads, ("one", "two", "three")),
    "looking back": (looking_back, ("one", "two", "three")),
}


@pytest.mark.parametrize("reopened", [False, True], ids=["at once", "reopened"])
@pytest.mark.parametrize(("graph", "turns"), KEEPING.values(), ids=KEEPING)
async def test_a_turn_begins_where_the_last_one_ended(
    url: str, graph: Callable[[], Graph], turns: tuple[str, ...], reopened: bool
) -> None:
    assert await here(url, graph(), turns, reopened=reopened) == await by_langgraph(graph(), turns)


# -- what the state has not seen -------------------------------------------------------------------


class Counted(MessagesState, total=False):
    turns: Annotated[int, operator.add]


def talking(name: str = "graph", **turns: Any) -> Graph:
    """A graph that counts its turns; `turns` are functions for certain messages."""

    async def answer(state: Counted) -> Any:
        if (special := turns.get(last(state))) is not None:
            await special()
        return {"turns": 1, "messages": [AIMessage(f"{name} {state.get('turns', 0) + 1}")]}

    return StateGraph(Counted).add_node(answer).add_edge(START, "answer").compile(name=name)


async def fails() -> None:
    raise ValueError("no")


async def said_by(engine: Engine, graph: Graph, run: Run) -> list[tuple[str, str]]:
    """The messages in the state that a run has left, and the number of turns that it counts."""
    state = (await state_here(engine, graph, run.id))[""]
    told = [(kind, content) for kind, content, *_ in state["messages"]]
    assert len({id_ for kind, _, id_, _ in state["messages"] if kind == "human"}) == len(
        [kind for kind, *_ in told if kind == "human"]
    )
    return [*told, ("turns", state["turns"])]


async def test_the_message_of_a_failed_run_is_in_the_next_ones_state_and_nothing_else_of_it(
    url: str,
) -> None:
    graph = talking(fail=fails)
    async with opened(url, serve_graph("graph", graph)) as engine:
        run = await engine.start("one")
        await events_of(run)
        for text in ("fail", "fail", "two", "three"):
            run = await engine.start(text, thread_id=run.thread_id)
            await events_of(run)
        assert await said_by(engine, graph, run) == [
            *[("human", "one"), ("ai", "graph 1"), ("human", "fail"), ("human", "fail")],
            *[
                ("human", "two"),
                ("ai", "graph 2"),
                ("human", "three"),
                ("ai", "graph 3"),
                ("turns", 3),
            ],
        ]


async def test_the_first_message_of_a_thread_may_fail(url: str) -> None:
    graph = talking(fail=fails)
    async with opened(url, serve_graph("graph", graph)) as engine:
        run = await engine.start("fail")
        await events_of(run)
        run = await engine.start("one", thread_id=run.thread_id)
        await events_of(run)
        assert await said_by(engine, graph, run) == [
            ("human", "fail"),
            ("human", "one"),
            ("ai", "graph 1"),
            ("turns", 1),
        ]


async def test_what_a_cancelled_run_had_said_is_in_the_next_ones_state(url: str) -> None:
    model = ScriptedModel(turns=[["whole"], ["half", asyncio.Event()], ["whole again"]])

    async def answer(state: Counted) -> Any:
        return {"turns": 1, "messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(Counted).add_node(answer).add_edge(START, "answer").compile()
    async with opened(url, serve_graph("graph", graph)) as engine:
        run = await engine.start("one")
        await events_of(run)
        run = await engine.start("two", thread_id=run.thread_id)
        await reach_text(run, "half")
        await engine.cancel(run.id)
        await events_of(run)
        run = await engine.start("three", thread_id=run.thread_id)
        await events_of(run)
        assert await said_by(engine, graph, run) == [
            *[("human", "one"), ("ai", "whole"), ("human", "two"), ("ai", "half")],
            *[("human", "three"), ("ai", "whole again"), ("turns", 2)],
        ]


async def test_graphs_that_share_a_thread_have_states_of_their_own_and_hear_of_each_other(
    url: str,
) -> None:
    one, other = talking("one"), talking("other")
    async with opened(url, serve_graph("graph", one), serve_graph("other", other)) as engine:
        run = await engine.start("first")
        await events_of(run)
        for name in ("other", "other", "graph"):
            run = await engine.start(f"to {name}", thread_id=run.thread_id, graph=name)
            await events_of(run)
        assert await said_by(engine, one, run) == [
            *[("human", "first"), ("ai", "one 1"), ("human", "to other"), ("ai", "other 1")],
            *[
                ("human", "to other"),
                ("ai", "other 2"),
                ("human", "to graph"),
                ("ai", "one 2"),
                ("turns", 2),
            ],
        ]


async def test_a_message_that_takes_the_last_one_back_does_not_find_it_in_the_state(
    url: str,
) -> None:
    never = asyncio.Event()
    graph = talking(wait=never.wait)
    async with opened(url, serve_graph("graph", graph)) as engine:
        run = await engine.start("one")
        await events_of(run)
        waiting = await engine.start("wait", thread_id=run.thread_id)
        await reach(waiting, lambda events: bool(of_type(events, AgentStart)))
        run = await begin(engine, "two", thread_id=run.thread_id, on_busy="rollback")
        await events_of(run)
        assert await said_by(engine, graph, run) == [
            *[
                ("human", "one"),
                ("ai", "graph 1"),
                ("human", "two"),
                ("ai", "graph 2"),
                ("turns", 2),
            ],
        ]


async def test_a_graph_is_given_only_what_its_state_has_not_seen(url: str) -> None:
    graph = serve_graph("graph", talking(fail=fails))
    inputs: list[list[str]] = []

    def watched(given: Any, history: Any, left: bytes) -> Any:
        made = graph.make_input(given, history, left)
        inputs.append([message.content for message in made["messages"]])
        return made

    async with opened(url, dataclasses.replace(graph, make_input=watched)) as engine:
        run = await engine.start("one")
        await events_of(run)
        for text in ("two", "fail", "three"):
            run = await engine.start(text, thread_id=run.thread_id)
            await events_of(run)
    assert inputs == [["one"], ["two"], ["fail"], ["fail", "three"]]


async def test_a_conversation_that_the_client_keeps_counts_where_there_is_no_state(
    url: str,
) -> None:
    graph = talking()
    history = [
        HistoryMessage(role="user", content="before"),
        HistoryMessage(role="assistant", content="yes"),
    ]
    async with opened(url, serve_graph("graph", graph)) as engine:
        run = await begin(engine, "one", history=history)
        await events_of(run)
        more = [
            *history,
            HistoryMessage(role="user", content="one"),
            HistoryMessage(role="assistant", content="1"),
        ]
        run = await begin(engine, "two", thread_id=run.thread_id, history=more)
        await events_of(run)
        state = (await state_here(engine, graph, run.id))[""]
    assert [content for _, content, *_ in state["messages"]] == [
        "before",
        "yes",
        "one",
        "graph 1",
        "two",
        "graph 2",
    ]


async def test_a_graph_may_begin_each_turn_from_the_messages_alone(url: str) -> None:
    graph = talking()
    async with opened(url, serve_graph("graph", graph, state="messages")) as engine:
        run = await engine.start("one")
        await events_of(run)
        run = await engine.start("two", thread_id=run.thread_id)
        end = (await events_of(run))[-1]
        assert isinstance(end, RunComplete)
        assert end.text == "graph 1", "the counter begins anew"
        record = await engine.record(run.id, "local")
        assert (
            await engine.database.fetch(reads.graph_state, "graph", record.reply_message_id) is None
        )


async def test_a_subgraph_that_keeps_its_state_takes_its_input_in_when_the_run_goes_on(
    url: str,
) -> None:
    """LangGraph 1.2 takes the subgraph's output of the turn before for the answer."""
    inner = counting(True)

    def call(state: MessagesState) -> Any:
        told = AIMessage(f"called {inner.invoke({'called': 0})['called']}")
        return Command(
            goto=END if isinstance(state["messages"][-1], AIMessage) else "call",
            update={"messages": [told]},
        )

    made = StateGraph(MessagesState).add_node("call", call, destinations=("call", END))
    graph = made.add_edge(START, "call").compile(interrupt_before=["call"])
    async with opened(url, graph) as engine:
        run = await engine.start("hello")
        for turn in range(3):
            for _ in range(2):
                assert isinstance((await events_of(run))[-1], Interrupt)
                await engine.answer(run.id, "continue")
            end = (await events_of(run))[-1]
            assert isinstance(end, RunComplete)
            assert end.text == f"called {2 + 2 * turn}"
            run = await engine.start("hello", thread_id=run.thread_id)


async def test_a_run_that_stops_between_its_last_node_and_its_end_is_completed_by_the_next_process(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[str] = []

    async def note() -> None:
        executed.append("node")

    graph = serve_graph("graph", talking(hello=note))
    leave, reached = RunCheckpoints.leave, asyncio.Event()

    async def never(self: RunCheckpoints) -> Any:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(RunCheckpoints, "leave", never)
    async with opened(url, graph) as engine:
        run = await engine.start("hello")
        await reached.wait()
    monkeypatch.setattr(RunCheckpoints, "leave", leave)
    async with opened(url, graph) as engine:
        run = await engine.run(run.id)
        end = (await events_of(run))[-1]
        assert isinstance(end, RunComplete)
        assert (end.text, executed) == ("graph 1", ["node"])
        assert await said_by(engine, talking(), run) == [
            ("human", "hello"),
            ("ai", "graph 1"),
            ("turns", 1),
        ]


async def test_a_graph_sees_the_thread_and_the_run_that_it_works_for(url: str) -> None:
    seen: list[tuple[str, str]] = []

    async def answer(state: MessagesState, config: RunnableConfig) -> Any:
        conf = config["configurable"]
        seen.append((conf["thread_id"], conf["run_id"]))
        return {"messages": [AIMessage(f"hello {len(seen)}")]}

    graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
    async with opened(url, graph) as engine:
        first = await engine.start("hello")
        await events_of(first)
        second = await engine.start("hello", thread_id=first.thread_id)
        await events_of(second)
    assert seen == [(first.thread_id, first.id), (first.thread_id, second.id)]
