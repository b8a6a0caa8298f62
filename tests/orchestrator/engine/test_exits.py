"""A graph's `SystemExit`, `KeyboardInterrupt` or other exception ends its run, not the process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from antiphon.orchestrator.engine.exits import GraphExit, exits_contained, run_context
from antiphon.orchestrator.events import RunComplete, RunError
from tests.orchestrator.support import chain, events_of, opened, saying

ROOT = Path(__file__).parents[3]


class Unspeakable(Exception):
    """An exception whose `str` fails."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


EXCEPTIONS: dict[str, Callable[[], BaseException]] = {
    "SystemExit": lambda: SystemExit(2),
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("many", [SystemExit(1), ValueError()]),
    "BaseException": BaseException,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "RecursionError": RecursionError,
    "MemoryError": MemoryError,
    "unspeakable": Unspeakable,
}


def in_node(make: Callable[[], BaseException]) -> Pregel[Any, Any, Any, Any]:
    async def fails(state: MessagesState) -> dict[str, Any]:
        await asyncio.sleep(0)
        raise make()

    return chain("graph", fails=fails)


def in_thread(make: Callable[[], BaseException]) -> Pregel[Any, Any, Any, Any]:
    def fails(state: MessagesState) -> dict[str, Any]:
        raise make()

    return chain("graph", fails=fails)


def beside_another(make: Callable[[], BaseException]) -> Pregel[Any, Any, Any, Any]:
    async def fails(state: MessagesState) -> dict[str, Any]:
        raise make()

    async def waits(state: MessagesState) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    graph = StateGraph(MessagesState)
    for name, node in (("fails", fails), ("waits", waits)):
        graph.add_node(name, node)
        graph.add_edge(START, name)
    return graph.compile(name="graph")


def in_tools(make: Callable[[], BaseException]) -> Pregel[Any, Any, Any, Any]:
    @tool
    async def fails(number: int) -> str:
        """Fail."""
        await asyncio.sleep(0)
        raise make()

    async def calls(state: MessagesState) -> dict[str, Any]:
        two = [{"name": "fails", "args": {"number": n}, "id": f"{n}"} for n in range(2)]
        return {"messages": [AIMessage("", tool_calls=two)]}

    return chain("graph", calls=calls, tools=ToolNode([fails]))


def in_edge(make: Callable[[], BaseException]) -> Pregel[Any, Any, Any, Any]:
    async def passes(state: MessagesState) -> dict[str, Any]:
        return {}

    def fails(state: MessagesState) -> str:
        raise make()

    graph = StateGraph(MessagesState)
    graph.add_node("passes", passes)
    graph.add_edge(START, "passes")
    graph.add_conditional_edges("passes", fails, [END])
    return graph.compile(name="graph")


def in_subgraph(make: Callable[[], BaseException]) -> Pregel[Any, Any, Any, Any]:
    return chain("graph", inner=in_node(make))


def in_called_graph(make: Callable[[], BaseException]) -> Pregel[Any, Any, Any, Any]:
    inner = in_node(make)

    async def calls(state: MessagesState) -> Any:
        return await inner.ainvoke({"messages": []})

    return chain("graph", calls=calls)


def in_gather(make: Callable[[], BaseException]) -> Pregel[Any, Any, Any, Any]:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise make()

    async def gathers(state: MessagesState) -> dict[str, Any]:
        await asyncio.gather(fails(), asyncio.sleep(0))
        return {}

    return chain("graph", gathers=gathers)


PLACES = [
    in_node,
    in_thread,
    beside_another,
    in_tools,
    in_edge,
    in_subgraph,
    in_called_graph,
    in_gather,
]
THREADS = {in_thread, in_edge}
"""Places in which functions run in a thread. A `GeneratorExit` in a future is not raised there:
asyncio closes the coroutine that waits for it, and Python reports what that one still awaits."""
CASES = [
    pytest.param(place, name, id=f"{name} {place.__name__}")
    for place in PLACES
    for name in EXCEPTIONS
    if not (name == "GeneratorExit" and place in THREADS)
]


@pytest.mark.parametrize(("place", "exception"), CASES)
async def test_whatever_a_graph_raises_ends_its_run_once_and_no_other(
    url: str, place: Any, exception: str
) -> None:
    gate = asyncio.Event()
    other = chain("other", says=saying("still ", gate, "here"))
    async with opened(url, place(EXCEPTIONS[exception]), other) as engine:
        beside = await engine.start("hello", graph="other")
        run = await engine.start("hello", graph="graph")
        async with asyncio.timeout(20):
            end = (await events_of(run))[-1]
        assert isinstance(end, RunError)
        assert (end.code, end.message, await run.status()) == (
            "AGENT_FAILED",
            "An agent failed.",
            "failed",
        )
        gate.set()
        assert await beside.text() == "still here"
        assert await (await engine.start("again", graph="other")).status() in {
            "running",
            "completed",
        }


async def test_a_task_that_nobody_waits_for_harms_nobody(url: str) -> None:
    async def exits() -> None:
        raise SystemExit(1)

    async def leaves(state: MessagesState) -> dict[str, Any]:
        left = asyncio.create_task(exits())
        await asyncio.wait([left])
        return {"messages": [AIMessage(type(left.exception()).__name__)]}

    async with opened(url, chain(leaves=leaves)) as engine:
        end = (await events_of(await engine.start("hello")))[-1]
    assert isinstance(end, RunComplete)
    assert end.text == "GraphExit"


# -- the task factory ------------------------------------------------------------------------------


async def test_an_existing_factory_is_kept_and_comes_back() -> None:
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **options)

    async def raises(error: BaseException) -> None:
        raise error

    loop.set_task_factory(factory)
    try:
        with exits_contained():
            with exits_contained():
                await asyncio.create_task(asyncio.sleep(0))
            with pytest.raises(GraphExit):
                await asyncio.create_task(raises(SystemExit(1)), context=run_context())
        assert loop.get_task_factory() is factory
        assert made == ["sleep", "_contained"]
    finally:
        loop.set_task_factory(None)


async def test_two_users_may_end_in_any_order() -> None:
    first, second = exits_contained(), exits_contained()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert asyncio.get_running_loop().get_task_factory() is not None
    second.__exit__(None, None, None)
    assert asyncio.get_running_loop().get_task_factory() is None


async def test_only_tasks_of_runs_are_wrapped() -> None:
    async def name() -> str:
        task: Any = asyncio.current_task()
        return str(task.get_coro().__qualname__)

    with exits_contained():
        assert (await asyncio.create_task(name())).endswith("name")
        assert await asyncio.create_task(name(), context=run_context()) == "_contained"


async def test_a_task_that_is_cancelled_before_it_begins_leaves_nothing_behind() -> None:
    """Warnings are errors here: Python warns of a coroutine that was never awaited."""
    with exits_contained():
        task = asyncio.create_task(asyncio.sleep(0), context=run_context())
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        del task
        gc.collect()


# -- a real Ctrl-C ---------------------------------------------------------------------------------

SCRIPT = """
import asyncio, sys, time
from langgraph.graph import START, MessagesState, StateGraph
from antiphon import open_engine

async def blocks(state):
    print("blocking", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pass

graph = StateGraph(MessagesState).add_node(blocks).add_edge(START, "blocks").compile()

async def main():
    async with open_engine(sys.argv[1], graphs=[graph]) as engine:
        await (await engine.start("hello")).wait()

if sys.argv[2] == "run":
    asyncio.run(main())
else:
    asyncio.new_event_loop().run_until_complete(main())
"""


@pytest.mark.parametrize("way", ["run", "loop"])
def test_ctrl_c_still_stops_a_script_whose_node_blocks(url: str, way: str) -> None:
    """`asyncio.run` cancels at the first one, too late for a blocked loop; the second raises."""
    script = [sys.executable, "-c", SCRIPT, url, way]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "blocking\n"
            for _ in range(20):
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                    break
            _, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT
