"""Tools of one task that ask a human: each gets its own answer, in any order of asking."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt
from typing_extensions import TypedDict

from antiphon import Engine, Run
from antiphon.orchestrator.errors import AnswerLost
from antiphon.orchestrator.events import Interrupt, RunError, ToolOrder
from antiphon.orchestrator.questions import tool_turns
from tests.orchestrator.support import chain, events_of, of_type, opened
from tests.support.size import trials

# -- graphs ----------------------------------------------------------------------------------------


def calls(*names: str) -> AIMessage:
    """A model's turn that calls each of these tools."""
    return AIMessage(
        "",
        tool_calls=[{"name": name, "args": {"what": name}, "id": f"id-{name}"} for name in names],
    )


def tools_of(*tools: BaseTool, node: Any = None) -> Any:
    """A graph whose one task calls these tools side by side, and that says what they return."""

    async def model(state: MessagesState) -> dict[str, Any]:
        return {"messages": [calls(*(one.name for one in tools))]}

    async def says(state: MessagesState) -> dict[str, Any]:
        return {
            "messages": [
                AIMessage(" / ".join(str(m.text) for m in state["messages"] if m.type == "tool"))
            ]
        }

    return chain(model=model, tools=node or ToolNode(list(tools)), says=says)


async def at_once() -> None:
    """Do nothing before."""


def asks(
    name: str, *questions: str, before: Callable[[], Any] = at_once, threads: bool = False
) -> BaseTool:
    """A tool that asks some questions, and does something else before each of them."""

    async def on_the_loop(what: str) -> str:
        """Ask."""
        answers = []
        for question in questions:
            await before()
            answers.append(interrupt(question))
        await before()
        return f"{name}: {' '.join(answers)}"

    def in_a_thread(what: str) -> str:
        """Ask."""
        answers = []
        for question in questions:
            before()
            answers.append(interrupt(question))
        before()
        return f"{name}: {' '.join(answers)}"

    function: Any = in_a_thread if threads else on_the_loop
    function.__name__ = name
    return tool(function)


async def question_of(run: Run) -> Interrupt:
    asked = (await events_of(run))[-1]
    assert isinstance(asked, Interrupt), asked
    return asked


async def answered(engine: Engine, run: Run) -> str:
    """Answer each question with itself until there is none; check the call that asks each."""
    while await run.wait() is None:
        asked = await question_of(run)
        assert asked.call_id == f"id-{asked.question[:-1]}"
        await run.answer(f"<{asked.question}>")
    return await run.text()


class Notes(TypedDict, total=False):
    """The state of a graph inside a tool."""

    name: str
    answer: str


# -- any order -------------------------------------------------------------------------------------


def dawdling(chance: random.Random, threads: bool) -> Callable[[], Any]:
    """Gives way to others for a moment, which is another one each time."""

    async def on_the_loop() -> None:
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)

    def in_a_thread() -> None:
        for _ in range(chance.randrange(400)):
            time.sleep(0)

    return in_a_thread if threads else on_the_loop


@pytest.mark.parametrize("threads", [False, True], ids=["coroutines", "threads"])
async def test_each_tool_gets_its_own_answer_in_many_runs(url: str, threads: bool) -> None:
    before, orders = dawdling(random.Random(8), threads), Counter[tuple[str, ...]]()
    tools = [
        asks(name, f"{name}?", before=before, threads=threads)
        for name in ("circle", "square", "star")
    ]
    quiet = asks("quiet", before=before, threads=threads)
    async with opened(url, tools_of(*tools, quiet)) as engine:
        for _ in range(trials(60, 15)):
            run = await engine.start("go")
            text = await answered(engine, run)
            assert text == "circle: <circle?> / square: <square?> / star: <star?> / quiet: "
            asked = [
                event.question for event in await events_of(run) if isinstance(event, Interrupt)
            ]
            orders[tuple(asked)] += 1
    assert len(orders) > 1, "the tools did not come to their questions in different orders"


async def test_each_tool_gets_its_own_answer_after_restarts(url: str) -> None:
    chance = random.Random(9)
    names = ("circle", "square", "star")
    graph = tools_of(
        *(asks(name, f"{name}?", f"{name}!", before=dawdling(chance, False)) for name in names)
    )
    async with opened(url, graph) as engine:
        runs = [await engine.start("go") for _ in range(5)]
        for run in runs:
            await run.wait()
    for _ in range(6):
        async with opened(url, graph) as engine:
            for known in runs:
                run = await engine.run(known.id)
                await run.answer(f"<{(await question_of(run)).question}>")
                await run.wait()
    async with opened(url, graph) as engine:
        texts = {await (await engine.run(run.id)).text() for run in runs}
    assert texts == {" / ".join(f"{name}: <{name}?> <{name}!>" for name in names)}


# -- an order of one's own -------------------------------------------------------------------------


class Pace:
    """Lets one tool come to its question only after another one has come to its own."""

    def __init__(self) -> None:
        self.first = "one"
        self.arrived = {"one": asyncio.Event(), "two": asyncio.Event()}
        self.waits = True

    def tool(self, name: str) -> BaseTool:
        async def before() -> None:
            self.arrived[name].set()
            if self.waits and name != self.first:
                await self.arrived[self.first].wait()
                await asyncio.sleep(0)

        return asks(name, f"{name}?", before=before)


@pytest.mark.parametrize("first", ["one", "two"])
async def test_the_tool_that_asked_first_asks_first_again(url: str, first: str) -> None:
    """LangGraph alone would give the answer of the call that comes first to the other one."""
    pace = Pace()
    pace.first = first
    async with opened(url, tools_of(pace.tool("one"), pace.tool("two"))) as engine:
        run = await engine.start("go")
        assert (await question_of(run)).question == f"{first}?"
        [order] = of_type(await events_of(run), ToolOrder)
        assert (order.asked, order.beside, order.ended) == (
            [f"id-{first}"],
            [f"id-{pace_other(first)}"],
            [],
        )
        pace.waits = False
        assert await answered(engine, run) == "one: <one?> / two: <two?>"


def pace_other(name: str) -> str:
    return "two" if name == "one" else "one"


async def test_a_tool_that_asks_twice_ends_before_others_begin(url: str) -> None:
    began: list[str] = []

    def noted(name: str) -> Callable[[], Any]:
        async def before() -> None:
            began.append(name)

        return before

    one, two = asks("one", "one?", "one!", before=noted("one")), asks("two", before=noted("two"))
    async with opened(url, tools_of(one, two)) as engine:
        run = await engine.start("go")
        await run.wait()
        began.clear()
        await run.answer("yes")
        assert (await question_of(run)).question == "one!"
        assert set(began) == {"one"}, "what was held has not begun, because the task asks again"
        await run.answer("no")
        assert await run.text() == "one: yes no / two: "


async def test_a_tool_that_has_not_begun_when_another_one_asks_runs_once(url: str) -> None:
    """LangGraph would run it beside the question, and again with the answer."""
    late, began = asyncio.Event(), []

    async def before() -> None:
        began.append("two")

    async def wraps(request: Any, execute: Any) -> Any:
        if request.tool_call["name"] == "two":
            await late.wait()
        return await execute(request)

    one, two = asks("one", "one?"), asks("two", before=before)
    node = ToolNode([one, two], awrap_tool_call=wraps)
    async with opened(url, tools_of(one, two, node=node)) as engine:
        run = await engine.start("go")
        await run.wait()
        late.set()
        assert await answered(engine, run) == "one: <one?> / two: "
    assert began == ["two"]


async def test_what_goes_on_beside_a_question_stops_at_its_next_step(url: str) -> None:
    begun, late, steps = asyncio.Event(), asyncio.Event(), []

    async def first(state: Notes) -> Notes:
        steps.append("first")
        begun.set()
        await late.wait()
        return {}

    async def second(state: Notes) -> Notes:
        steps.append("second")
        return {"answer": "done"}

    graph = StateGraph(Notes).add_node("first", first).add_node("second", second)
    inner = graph.add_edge(START, "first").add_edge("first", "second").compile()

    @tool
    async def two(what: str) -> str:
        """Runs a graph."""
        return str((await inner.ainvoke({}))["answer"])

    async with opened(url, tools_of(asks("one", "one?", before=begun.wait), two)) as engine:
        run = await engine.start("go")
        await run.wait()
        late.set()
        assert await answered(engine, run) == "one: <one?> / done"
    assert steps == ["first", "first", "second"], "it was executed again, and not twice at once"


# -- graphs that tools run -------------------------------------------------------------------------


def agent_tool(
    name: str, before: Callable[[], Any], threads: bool, second: Callable[[Notes], Any]
) -> BaseTool:
    """Return a tool with a graph of two nodes: the first passes the tool's name to the second."""
    graph = (
        StateGraph(Notes).add_node("first", lambda state: {"name": name}).add_node("second", second)
    )
    inner = graph.add_edge(START, "first").add_edge("first", "second").compile()

    async def on_the_loop(what: str) -> str:
        """Run it."""
        await before()
        return str((await inner.ainvoke({}))["answer"])

    def in_a_thread(what: str) -> str:
        """Run it."""
        before()
        return str(inner.invoke({})["answer"])

    function: Any = in_a_thread if threads else on_the_loop
    function.__name__ = name
    return tool(function)


def note(state: Notes) -> Notes:
    return {"answer": f"{state['name']}={interrupt(state['name'] + '?')}"}


@pytest.mark.parametrize("threads", [False, True], ids=["coroutines", "threads"])
async def test_graphs_that_tools_run_side_by_side_are_not_mixed_up(url: str, threads: bool) -> None:
    """An answer finds its graph, and a graph its state: LangGraph numbers both by arrival."""
    before = dawdling(random.Random(11), threads)
    tools = [agent_tool(name, before, threads, note) for name in ("ann", "bob", "cid")]
    async with opened(url, tools_of(*tools)) as engine:
        for _ in range(15):
            run = await engine.start("go")
            assert await answered(engine, run) == "ann=<ann?> / bob=<bob?> / cid=<cid?>"


async def test_graphs_that_tools_run_side_by_side_go_on_after_a_restart(url: str) -> None:
    names, order = ("ann", "bob", "cid"), ["ann", "bob", "cid"]
    begun, gate = {name: asyncio.Event() for name in names}, asyncio.Event()

    def in_turn(name: str) -> Callable[[], Any]:
        async def before() -> None:
            for _ in range(50 * order.index(name)):
                await asyncio.sleep(0)

        return before

    async def second(state: Notes) -> Notes:
        begun[state["name"]].set()
        await gate.wait()
        return {"answer": f"{state['name']} went on"}

    graph = tools_of(*(agent_tool(name, in_turn(name), False, second) for name in names))
    async with opened(url, graph) as engine:
        run = await engine.start("go")
        await asyncio.gather(*(event.wait() for event in begun.values()))
    order.reverse()
    gate.set()
    async with opened(url, graph) as engine:
        text = await (await engine.run(run.id)).text()
    assert text == "ann went on / bob went on / cid went on"


# -- code that calls tools in its own way ----------------------------------------------------------


async def test_tools_that_are_called_one_after_the_other_are_not_held(url: str) -> None:
    quiet, one, two = asks("quiet"), asks("one", "one?"), asks("two", "two?")

    async def node(state: MessagesState) -> dict[str, Any]:
        asked: Any = state["messages"][-1]
        by_name = {"quiet": quiet, "one": one, "two": two}
        return {
            "messages": [await by_name[call["name"]].ainvoke(call) for call in asked.tool_calls]
        }

    async with opened(url, tools_of(quiet, one, two, node=node)) as engine:
        assert (
            await answered(engine, await engine.start("go"))
            == "quiet:  / one: <one?> / two: <two?>"
        )


async def test_calls_that_are_made_anew_are_not_held(url: str) -> None:
    """A node that asks its model again gets calls with other ids."""
    count = 0
    one, quiet = asks("one", "one?"), asks("quiet")

    async def node(state: MessagesState) -> dict[str, Any]:
        nonlocal count
        count += 1
        made = [
            {"name": name, "args": {"what": "x"}, "id": f"{name}-{count}", "type": "tool_call"}
            for name in "qo"
        ]
        results = await asyncio.gather(quiet.ainvoke(made[0]), one.ainvoke(made[1]))
        return {"messages": [AIMessage(" / ".join(result.content for result in results))]}

    async with opened(url, chain(node=node)) as engine:
        run = await engine.start("go")
        await run.wait()
        await run.answer("yes")
        assert await run.text() == "quiet:  / one: yes"


async def test_calls_without_ids_are_told_apart_by_what_they_are_given(url: str) -> None:
    pace = Pace()
    one, two = pace.tool("one"), pace.tool("two")
    pace.first = "two"

    async def node(state: MessagesState) -> dict[str, Any]:
        said = await asyncio.gather(*(each.ainvoke({"what": each.name}) for each in (one, two)))
        return {"messages": [AIMessage(" / ".join(said))]}

    async with opened(url, chain(node=node)) as engine:
        run = await engine.start("go")
        assert (await question_of(run)).question == "two?"
        pace.waits = False
        await run.answer("<two?>")
        assert (await question_of(run)).question == "one?"
        await run.answer("<one?>")
        assert await run.text() == "one: <one?> / two: <two?>"


async def test_a_tool_that_another_one_calls_does_not_wait_for_it(url: str) -> None:
    inner = asks("inner", "inner?")

    @tool
    async def outer(what: str) -> str:
        """Calls another tool, by way of a chain."""
        chained = RunnableLambda(lambda given: given) | inner
        return f"{await chained.ainvoke({'what': what})} {interrupt('outer?')}"

    async with opened(url, tools_of(outer, asks("quiet"))) as engine:
        run = await engine.start("go")
        assert (await question_of(run)).question == "inner?"
        await run.answer("1")
        assert (await question_of(run)).question == "outer?"
        await run.answer("2")
        assert await run.text() == "inner: 1 2 / quiet: "


async def test_tools_that_a_plain_function_calls_in_threads_are_ordered_as_well(url: str) -> None:
    before = dawdling(random.Random(10), True)
    names = ("one", "two", "three")
    node = ToolNode([asks(name, f"{name}?", before=before, threads=True) for name in names])

    def plain_node(state: MessagesState, config: RunnableConfig) -> Any:
        return node.invoke(state, config)

    graph = tools_of(*node.tools_by_name.values(), node=plain_node)
    async with opened(url, graph) as engine:
        for _ in range(10):
            assert (
                await answered(engine, await engine.start("go"))
                == "one: <one?> / two: <two?> / three: <three?>"
            )


async def test_a_tool_that_a_coroutine_calls_without_waiting_does_not_stop_the_server(
    url: str,
) -> None:
    one, two = (
        asks(name, *more, before=int, threads=True) for name, *more in (("one", "one?"), ("two",))
    )

    async def node(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        asked: Any = state["messages"][-1]
        return {
            "messages": [
                each.invoke(call, config)
                for each, call in zip((one, two), asked.tool_calls, strict=True)
            ]
        }

    async with opened(url, tools_of(one, two, node=node)) as engine:
        assert await answered(engine, await engine.start("go")) == "one: <one?> / two: "


async def test_a_tool_that_was_cut_off_is_waited_for_no_longer(url: str) -> None:
    """It asked before; now it hangs, and its caller gives it up."""
    hangs = asyncio.Event()

    @tool
    async def slow(what: str) -> str:
        """Asks, and hangs."""
        interrupt("slow?")
        await hangs.wait()
        return ""

    quick = asks("quick")

    async def node(state: MessagesState) -> dict[str, Any]:
        asked: Any = state["messages"][-1]
        first = asyncio.create_task(slow.ainvoke(asked.tool_calls[0]))
        second = asyncio.create_task(quick.ainvoke(asked.tool_calls[1]))
        await asyncio.wait([first, second], timeout=0.05)
        if first.done():
            await first
        first.cancel()
        return {"messages": [await second]}

    async with opened(url, tools_of(slow, quick, node=node)) as engine:
        run = await engine.start("go")
        await run.wait()
        await run.answer("yes")
        assert await run.text() == "quick: "


async def test_an_answer_whose_tool_is_not_called_again_is_given_to_no_other(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_turns, "BEGIN_SECONDS", 0.05)
    one, two, runs = asks("one", "one?"), asks("two", "two?"), 0

    async def node(state: MessagesState) -> dict[str, Any]:
        nonlocal runs
        runs += 1
        asked: Any = state["messages"][-1]
        made = list(zip((one, two), asked.tool_calls, strict=True))[runs > 1 :]
        return {"messages": await asyncio.gather(*(each.ainvoke(call) for each, call in made))}

    async with opened(url, tools_of(one, two, node=node)) as engine:
        run = await engine.start("go")
        await run.wait()
        await run.answer("yes")
        assert isinstance(end := await run.wait(), RunError)
        assert end.code == AnswerLost.code


# -- an execution that ends ------------------------------------------------------------------------


async def test_what_is_held_when_the_run_is_cancelled_never_begins(url: str) -> None:
    hangs, began, two_began, asked = asyncio.Event(), [], threading.Event(), threading.Event()

    @tool
    async def one(what: str) -> str:
        """Asks, and hangs."""
        await asyncio.to_thread(two_began.wait)
        interrupt("one?")
        hangs.set()
        await asyncio.Event().wait()
        return ""

    @tool
    def two(what: str) -> str:
        """Runs in a thread."""
        began.append(what)
        two_began.set()
        asked.wait()
        return ""

    async with opened(url, tools_of(one, two)) as engine:
        run = await engine.start("go")
        await run.wait()
        asked.set()
        await run.answer("yes")
        await hangs.wait()
        await run.cancel()
        assert await run.wait() is not None
    assert began == ["two"], "it ran beside the question, and was held behind the answer"


async def test_held_calls_make_no_noise_in_the_log(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with opened(url, tools_of(asks("one", "one?", "one!"), asks("two"))) as engine:
        assert await answered(engine, await engine.start("go")) == "one: <one?> <one!> / two: "
    assert caplog.records == []
