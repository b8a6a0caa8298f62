"""Any graph of a user's can be served, with what a request says to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.func import entrypoint
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from langgraph_sdk.auth.types import BaseUser
from pydantic import BaseModel

from antiphon.orchestrator.errors import BadContext, BadInput, BadRequest
from antiphon.orchestrator.events import RunComplete, RunError, RunStart
from antiphon.orchestrator.graphs.loading import load_graphs
from antiphon.orchestrator.graphs.served import ServedGraph, serve_graph
from antiphon.orchestrator.request import HistoryMessage, Request
from antiphon.orchestrator.testing import ScriptedModel
from tests.orchestrator.support import begin, chain, events_of, of_type, opened, saying


async def nothing(state: Any) -> dict[str, Any]:
    return {}


def graph_of(state: type[Any]) -> Any:
    return StateGraph(state).add_node("node", nothing).add_edge(START, "node").compile()


# -- talking to a graph ---------------------------------------------------------------------------


def test_messages_keep_the_ids_by_which_they_are_stored() -> None:
    served = serve_graph("g", chain(node=nothing))
    history = [
        HistoryMessage(role="user", content="one", id="m-1"),
        HistoryMessage(role="assistant", content="two"),
    ]
    given = Request(message="three", message_id="m-3")
    assert served.make_input(given, history, b"") == {
        "messages": [
            HumanMessage("one", id="m-1"),
            AIMessage("two"),
            HumanMessage("three", id="m-3"),
        ]
    }


async def test_a_graph_without_messages_is_answered_from_its_state(url: str) -> None:
    class State(TypedDict, total=False):
        question: str
        answer: str

    async def answers(state: State) -> dict[str, Any]:
        return {"answer": f"about {state['question']}"}

    graph = StateGraph(State).add_node(answers).add_edge(START, "answers").compile(name="keys")
    async with opened(url, graph) as engine:
        assert await (await engine.start("birds")).text() == "about birds"


async def test_a_graph_made_of_functions_is_served_too(url: str) -> None:
    @entrypoint()
    async def workflow(question: str) -> str:
        return f"about {question}"

    async with opened(url, workflow) as engine:
        assert await (await engine.start("birds")).text() == "about birds"


# -- what a request says -------------------------------------------------------------------------


def telling(tell: Any, **options: Any) -> Any:
    """A graph whose answer is what `tell` makes of its state and its runtime."""

    class State(TypedDict, total=False):
        topic: str
        size: int
        answer: str

    async def node(state: State, runtime: Runtime) -> dict[str, Any]:
        return {"answer": str(tell(state, runtime))}

    schema = options.pop("state", State)
    return (
        StateGraph(schema, **options)
        .add_node("node", node)
        .add_edge(START, "node")
        .compile(name="told")
    )


async def answer(engine: Any, **request: Any) -> str:
    return str(await (await begin(engine, "hello", **request)).text())


@dataclass(kw_only=True)
class Knobs:
    word: str = "default"
    times: int = 1


async def test_inputs_context_and_configurable_reach_the_graph(url: str) -> None:
    def tell(state: Any, runtime: Any) -> Any:
        configurable = get_config()["configurable"]
        known = [configurable.get(key) for key in ("word", "mine")]
        return [
            state["topic"],
            state.get("size"),
            runtime.context.word,
            runtime.context.times,
            *known,
        ]

    async with opened(url, telling(tell, context_schema=Knobs)) as engine:
        assert await answer(engine) == "['hello', None, 'default', 1, None, None]"
        told = await answer(engine, inputs={"size": 3}, context={"word": "w", "unknown": 1})
        assert told == "['hello', 3, 'w', 1, 'w', None]"
        told = await answer(
            engine, config={"configurable": {"times": 2, "mine": "m"}}, context={"word": "w"}
        )
        assert told == "['hello', None, 'w', 2, 'w', 'm']"


async def test_who_asks_and_where_is_in_the_config_and_cannot_be_said_by_a_request(
    url: str,
) -> None:
    def tell(state: Any, runtime: Any) -> Any:
        own = get_config()["configurable"]
        user, info = own["langgraph_auth_user"], runtime.server_info
        assert isinstance(user, BaseUser)
        assert (user.identity, user["identity"], "identity" in user, info.user) == (
            "ada",
            "ada",
            True,
            user,
        )
        assert user.permissions == own["langgraph_auth_permissions"] == ["internal", "public"]
        assert (info.graph_id, info.assistant_id) == ("told", "told")
        names = ("user_id", "langgraph_auth_user_id", "graph_id", "assistant_id", "run_id", "free")
        assert not any(key.startswith("__pregel_evil") for key in own)
        return [own.get(name) for name in names]

    ours = (
        *("user_id", "langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions"),
        *("graph_id", "assistant_id", "run_id", "thread_id", "checkpoint_id", "checkpoint_ns"),
        *("__pregel_evil", "profile"),
    )
    forged = dict.fromkeys((*ours, "free"), "forged")
    async with opened(url, telling(tell)) as engine:
        for forging in ({"config": {"configurable": forged}}, {"context": forged}, {}):
            run = await begin(engine, "hello", user="ada", access=["public", "internal"], **forging)
            free = "forged" if forging else None
            assert await run.text() == str(["ada", "ada", "told", "told", run.id, free])


async def test_tags_and_metadata_reach_the_graph_but_not_those_that_mean_something(
    url: str,
) -> None:
    def tell(state: Any, runtime: Any) -> Any:
        config = get_config()
        return sorted(tag for tag in config["tags"] if ":" not in tag), config["metadata"].get(
            "ticket"
        )

    config = {
        "tags": ["mine", "langsmith:hidden", "graph:step:7"],
        "metadata": {
            "ticket": 7,
            "antiphon": {"agent": ""},
            "lc_agent_name": "x",
            "langgraph_node": "x",
        },
    }
    async with opened(url, telling(tell)) as engine:
        run = await begin(engine, "hello", config=config)
        assert await run.text() == "(['mine'], 7)"
        assert [
            event.agent for event in await events_of(run) if event.type == "agent_complete"
        ] == ["node"]


async def test_what_a_request_says_is_part_of_what_it_is_but_stands_in_no_event(url: str) -> None:
    async with opened(url, telling(lambda state, runtime: runtime.context)) as engine:
        run = await begin(
            engine,
            "hello",
            context={"key": "sk-secret"},
            config={"tags": ["a"]},
            idempotency_key="k",
        )
        (start,) = of_type(await events_of(run), RunStart)
        assert start.input == {"message": "hello"}
        again = await begin(
            engine,
            "hello",
            context={"key": "sk-secret"},
            config={"tags": ["a"]},
            idempotency_key="k",
        )
        assert again.id == run.id
        for other in (
            {"context": {"key": "x"}, "config": {"tags": ["a"]}},
            {"context": {"key": "sk-secret"}},
        ):
            with pytest.raises(Exception, match="different request"):
                await begin(engine, "hello", idempotency_key="k", **other)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"inputs": []}, "The inputs must be an object."),
        ({"context": "x"}, "The context must be an object."),
        ({"config": {"configurable": 7}}, "configurable must be an object."),
        ({"config": {"metadata": []}}, "metadata must be an object."),
        ({"config": {"recursion_limit": 0}}, "recursion_limit must be a number from 1 to 10000."),
        (
            {"config": {"recursion_limit": True}},
            "recursion_limit must be a number from 1 to 10000.",
        ),
        (
            {"config": {"recursion_limit": 10_001}},
            "recursion_limit must be a number from 1 to 10000.",
        ),
        (
            {"config": {"tags": ["x" * 201]}},
            "tags must be at most 32 texts of at most 200 characters.",
        ),
        ({"config": {"tags": "x"}}, "tags must be at most 32 texts of at most 200 characters."),
        ({"context": {"big": 2**63}}, "The context holds a number that is too large."),
        ({"context": {"odd": "\ud800"}}, "The context must hold plain values."),
        ({"inputs": {"odd": object()}}, "The inputs must hold plain values."),
        ({"inputs": {7: 1}}, "The inputs must be an object."),
    ],
)
async def test_values_that_cannot_be_taken_are_refused(
    url: str, request_: dict[str, Any], told: str
) -> None:
    async with opened(url, telling(lambda state, runtime: "")) as engine:
        with pytest.raises(BadRequest) as refused:
            await begin(engine, "hello", **request_)
        assert refused.value.message == told


class Needed(BaseModel):
    topic: str
    size: int
    answer: str = ""


async def test_what_a_graph_needs_is_asked_for_by_message_and_only_once(url: str) -> None:
    graph = telling(lambda state, runtime: state.size, state=Needed, context_schema=Knobs)
    async with opened(url, graph) as engine:
        with pytest.raises(BadInput, match="needs size"):
            await engine.start("hello")
        assert await engine.threads() == []
        run = await engine.start("hello", inputs={"size": 4})
        assert await run.text() == "4"
        again = await engine.start(
            "and now?", thread_id=run.thread_id
        )  # the graph may have it from before
        assert again.thread_id == run.thread_id
        with pytest.raises(BadInput, match="size"):
            await engine.start("hello", thread_id=run.thread_id, inputs={"size": "many"})
        await again.wait()


async def test_a_context_that_does_not_fit_is_refused_by_message(url: str) -> None:
    @dataclass
    class Needy:
        tenant: str

    async with opened(
        url, telling(lambda state, runtime: runtime.context, context_schema=Needy)
    ) as engine:
        with pytest.raises(BadContext, match="needs tenant"):
            await engine.start("hello", context={"other": 1})
        assert await engine.threads() == []
        assert await answer(engine, context={"tenant": "t"}) == str(Needy("t"))


async def test_a_graph_that_keeps_no_state_needs_it_each_time(url: str) -> None:
    graph = telling(lambda state, runtime: state.size, state=Needed)
    async with opened(url, serve_graph("told", graph, state="messages")) as engine:
        run = await engine.start("hello", inputs={"size": 4})
        await run.wait()
        with pytest.raises(BadInput, match="needs size"):
            await engine.start("hello", thread_id=run.thread_id)


async def test_a_flow_or_the_team_takes_what_it_took(url: str) -> None:
    async with opened(url) as engine:
        run = await engine.start("What is the engine power?", inputs={"any": 1}, context={"x": 1})
        assert (await events_of(run))[-1].type == "run_complete"


# -- steps --------------------------------------------------------------------------------------


def looping(steps: int) -> Any:
    """A graph that takes so many steps."""

    class State(TypedDict, total=False):
        question: str
        count: int
        answer: str

    async def node(state: State) -> dict[str, Any]:
        return {"count": state.get("count", 0) + 1, "answer": "done"}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
    graph.add_conditional_edges(
        "node", lambda state: END if state["count"] >= steps else "node", [END, "node"]
    )
    return graph.compile(name="looping")


@pytest.mark.parametrize(
    ("own", "requested", "steps", "ends"),
    [
        (None, None, 90, RunComplete),
        (None, 20, 30, RunError),
        (None, 40, 30, RunComplete),
        (20, None, 30, RunError),
        (40, None, 30, RunComplete),
        (20, 40, 30, RunError),
        (9999, 20, 30, RunError),
    ],
)
async def test_a_graph_takes_as_many_steps_as_it_says_and_no_more_than_the_request(
    url: str, own: int | None, requested: int | None, steps: int, ends: type
) -> None:
    graph = looping(steps)
    if own is not None:
        graph = graph.with_config(recursion_limit=own)
    async with opened(url, graph) as engine:
        run = await begin(
            engine, "go", config={"recursion_limit": requested} if requested else None
        )
        assert isinstance((await events_of(run))[-1], ends)


def test_an_agents_own_limit_is_kept_and_the_teams_is_its_own() -> None:
    agent = serve_graph("agent", create_agent(ScriptedModel(turns=[]), []))
    assert (agent.step_limit(None), agent.step_limit(50), agent.step_limit(20_000)) == (
        9999,
        50,
        9999,
    )
    assert (
        serve_graph("plain", looping(1)).step_limit(None),
        ServedGraph("x", None, steps=60).step_limit(7),
    ) == (
        None,
        60,
    )


# -- graphs that are made for each run -----------------------------------------------------------


class Lifted:
    """A factory that notes when its graph is opened and closed, and with what config."""

    def __init__(self, build: Any) -> None:
        self.build = build
        self.seen: list[str] = []
        self.configs: list[RunnableConfig] = []

    @asynccontextmanager
    async def make(self, config: RunnableConfig) -> AsyncIterator[Any]:
        self.configs.append(config)
        self.seen.append("open")
        try:
            yield self.build(config)
        finally:
            self.seen.append("closed")


async def test_a_factory_is_entered_for_each_run_with_its_config(url: str) -> None:
    lifted = Lifted(lambda config: chain(node=saying(config["configurable"].get("word", "none"))))
    async with opened(url, ("lifted", lifted.make)) as engine:
        assert lifted.seen == []
        assert await answer(engine) == "none"
        run = await begin(
            engine, "hello", user="ada", config={"configurable": {"word": "given"}, "tags": ["t"]}
        )
        assert await run.text() == "given"
        assert lifted.seen == ["open", "closed"] * 2
    config = lifted.configs[1]
    assert (
        config["configurable"]["user_id"],
        config["configurable"]["run_id"],
        config["tags"],
    ) == (
        "ada",
        run.id,
        ["t"],
    )


async def test_a_factory_decides_by_run_what_answers(url: str) -> None:
    """The shape is that of the graph which was made: another node answers, another input is
    wanted.
    """

    def build(config: RunnableConfig) -> Any:
        if config["configurable"].get("kind") == "question":
            return telling(lambda state, runtime: runtime.context.word, context_schema=Knobs)
        return chain(first=saying("draft"), last=saying("final"))

    async with opened(url, ("made", build)) as engine:
        assert await answer(engine) == "final"
        assert (
            await answer(engine, config={"configurable": {"kind": "question", "word": "w"}}) == "w"
        )


async def test_a_graph_that_was_made_is_asked_what_it_needs(url: str) -> None:
    def build(config: RunnableConfig) -> Any:
        return telling(lambda state, runtime: state.size, state=Needed)

    async with opened(url, ("made", build)) as engine:
        (end,) = of_type(await events_of(await engine.start("hello")), RunError)
        assert (end.code, end.message) == (
            "BAD_INPUT",
            "This graph needs size in the request's `inputs`.",
        )
        assert await answer(engine, inputs={"size": 5}) == "5"


async def test_a_factory_that_fails_ends_its_run_only(url: str) -> None:
    def build(config: RunnableConfig) -> Any:
        if config["configurable"].get("broken"):
            raise OSError("db://internal is gone")
        return chain(node=saying("fine"))

    async with opened(url, ("made", build)) as engine:
        run = await begin(engine, "hello", config={"configurable": {"broken": True}})
        (end,) = of_type(await events_of(run), RunError)
        assert (end.code, "internal" in end.message) == ("AGENT_FAILED", False)
        assert await answer(engine) == "fine"


async def test_a_factory_is_left_when_its_run_is_stopped_or_asks(url: str) -> None:
    gate = asyncio.Event()

    async def asks(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"you said {interrupt('Which?')}")]}

    def build(config: RunnableConfig) -> Any:
        return (
            chain(node=asks) if config["configurable"].get("ask") else chain(node=saying("a", gate))
        )

    lifted = Lifted(build)
    async with opened(url, ("lifted", lifted.make)) as engine:
        run = await engine.start("hello")
        async for one in run:
            if one.event.type == "agent_chunk":
                break
        await engine.cancel(run.id)
        await run.wait()
        assert lifted.seen == ["open", "closed"]
        waiting = await begin(engine, "hello", config={"configurable": {"ask": True}})
        await waiting.wait()
        assert lifted.seen == ["open", "closed"] * 2
        assert await (await engine.answer(waiting.id, "this")).text() == "you said this"
        assert lifted.seen == ["open", "closed"] * 3
        assert lifted.configs[-1]["configurable"]["ask"] is True


async def test_a_run_that_another_process_continues_is_made_its_graph_anew(url: str) -> None:
    gate = asyncio.Event()
    first = Lifted(lambda config: chain(before=saying("before"), after=saying(gate)))
    async with opened(url, ("lifted", first.make)) as engine:
        run = await begin(engine, "hello", config={"configurable": {"word": "kept"}})
        async for one in run:
            if one.event.type == "agent_complete":
                break
    assert first.seen == ["open", "closed"]
    second = Lifted(
        lambda config: chain(before=saying("?"), after=saying(config["configurable"]["word"]))
    )
    async with opened(url, ("lifted", second.make)) as engine:
        assert await (await engine.run(run.id)).text() == "kept"


async def test_a_field_that_a_made_graph_does_not_have_ends_the_run(url: str) -> None:
    served = serve_graph("made", lambda config: looping(1), input="absent")
    async with opened(url, served) as engine:
        assert isinstance((await events_of(await engine.start("hello")))[-1], RunError)


def test_the_request_is_checked_by_nobody_if_the_graph_is_not_made_yet() -> None:
    served = serve_graph("made", lambda config: looping(1))
    served.check(Request(message="x", inputs={"nope": 1}), True)
    with pytest.raises(BadInput):
        served.made(looping(1)).check(Request(message="x", inputs={"nope": 1}), True)
    (again,) = load_graphs([served])
    assert again is served
