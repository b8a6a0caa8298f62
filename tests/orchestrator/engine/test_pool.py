"""Plain functions of graphs run in threads that do not block other runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import MessagesState

from antiphon import open_engine
from antiphon.orchestrator.engine.pool import NodeThreads
from antiphon.orchestrator.events import RunError
from antiphon.orchestrator.team.offline import OfflineModel
from tests.orchestrator.support import chain, events_of, opened


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


async def test_the_team_answers_while_thirty_plain_functions_hold_all_threads(
    url: str, gate: threading.Event
) -> None:
    def waits(state: MessagesState) -> dict[str, Any]:
        assert gate.wait(60)
        return {"messages": [AIMessage("waited")]}

    async with open_engine(
        url, graphs=[chain("waits", node=waits)], model=OfflineModel(seconds_per_word=0)
    ) as engine:
        waiting = [await engine.start("hello", graph="waits") for _ in range(30)]
        async with asyncio.timeout(30):
            assert (
                "81 kW"
                in await (await engine.start("What is the engine power?", graph="team")).text()
            )
        assert not gate.is_set()
        gate.set()
        assert [await run.text() for run in waiting] == ["waited"] * 30


async def test_the_end_does_not_wait_for_a_function_that_never_returns(
    gate: threading.Event,
) -> None:
    threads = NodeThreads(1)
    stuck = threads.submit(gate.wait, 60)
    queued = threads.submit(gate.wait, 60)
    threads.shutdown()
    assert queued.cancelled()
    assert not stuck.done()


@pytest.mark.parametrize("error", [StopIteration, GeneratorExit])
async def test_an_exception_that_no_future_can_hold_is_another_one(
    url: str, error: type[BaseException]
) -> None:
    """`asyncio.to_thread(next, iter([]))` would wait for ever."""

    def fails() -> None:
        raise error

    async def calls(state: MessagesState) -> dict[str, Any]:
        await asyncio.to_thread(fails)
        return {}

    loop, threads = asyncio.get_running_loop(), NodeThreads(4)
    loop.set_default_executor(threads)
    async with opened(url, chain(calls=calls)) as engine, asyncio.timeout(20):
        end = (await events_of(await engine.start("hello")))[-1]
    assert isinstance(end, RunError)
    assert end.code == "AGENT_FAILED"


async def test_what_a_function_returns_and_raises_arrives() -> None:
    threads = NodeThreads(1)
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(threads, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(threads, divmod, 7, 0)
    threads.shutdown()
