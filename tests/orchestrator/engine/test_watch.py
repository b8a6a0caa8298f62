"""Blocks of the event loop are reported once for each node, and counted."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import MessagesState
from langgraph.prebuilt import ToolNode

from antiphon.orchestrator.engine import watch
from antiphon.orchestrator.engine.watch import BLOCKED_SECONDS, PAUSE_SECONDS, watched_loop
from tests.orchestrator.support import chain, opened, saying

LONG_ENOUGH = 2 * (BLOCKED_SECONDS + PAUSE_SECONDS)


def block() -> None:
    time.sleep(LONG_ENOUGH)


async def blocks(state: MessagesState) -> dict[str, Any]:
    block()
    return {"messages": [AIMessage("done")]}


@tool
async def blocking_tool() -> str:
    """Block."""
    block()
    return "done"


async def calls_tool(state: MessagesState) -> dict[str, Any]:
    return {
        "messages": [AIMessage("", tool_calls=[{"name": "blocking_tool", "args": {}, "id": "1"}])]
    }


def waits_in_a_thread(state: MessagesState) -> dict[str, Any]:
    block()
    return {"messages": [AIMessage("done")]}


class Lines(logging.Handler):
    """Collects the lines that are logged; `logged` is set at the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.logged = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.logged.set()


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    watch.log.addHandler(handler)
    yield handler
    watch.log.removeHandler(handler)


async def seconds_blocked(url: str, graph: Any) -> list[float]:
    """Run a graph, and return the blocks that were observed until the loop had rested."""
    observed: list[float] = []

    def observe(name: str, value: float) -> None:
        if name == "loop_blocked":
            observed.append(value)

    async with opened(url, graph, observe=observe) as engine:
        await (await engine.start("hello")).wait()
        await asyncio.sleep(LONG_ENOUGH)
    return observed


@pytest.mark.parametrize(
    ("graph", "node"),
    [
        (chain(blocks=blocks), "blocks"),
        (chain(calls=calls_tool, tools=ToolNode([blocking_tool])), "tools"),
        (chain(outer=chain(inner=blocks)), "inner"),
    ],
    ids=["node", "tool", "subgraph"],
)
async def test_a_node_that_blocks_the_loop_is_named_with_its_place(
    url: str, lines: Lines, graph: Any, node: str
) -> None:
    observed = await seconds_blocked(url, graph)
    line = block.__code__.co_firstlineno + 1
    assert any(
        text.startswith(f"node `{node}` ({Path(__file__).name}:{line}) blocked")
        for text in lines.texts
    )
    assert max(observed) >= BLOCKED_SECONDS


async def test_a_plain_function_does_not_block_the_loop(url: str, lines: Lines) -> None:
    await seconds_blocked(url, chain(waits=waits_in_a_thread))
    assert not any("waits" in text for text in lines.texts)


async def test_what_never_ends_is_reported_meanwhile(
    url: str, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LONG_SECONDS", 0.1)

    async def blocks_until_reported(state: MessagesState) -> dict[str, Any]:
        assert lines.logged.wait(20)
        return {}

    async with opened(url, chain(stuck=blocks_until_reported, says=saying("on"))) as engine:
        assert await (await engine.start("hello")).text() == "on"
    assert lines.texts[0].startswith(f"node `stuck` ({Path(__file__).name}:")
    assert "still does" in lines.texts[0]


async def test_the_same_node_is_reported_once_in_a_while(url: str, lines: Lines) -> None:
    async with opened(url, chain(blocks=blocks)) as engine:
        for _ in range(3):
            await (await engine.start("hello")).wait()
    assert len([text for text in lines.texts if "`blocks`" in text]) == 1


async def test_what_is_no_run_is_counted_and_not_reported(lines: Lines) -> None:
    """A cell of a notebook, for example."""
    observed = asyncio.Event()
    with watched_loop(lambda name, value: observed.set()):
        await asyncio.sleep(0)
        block()
        await asyncio.wait_for(observed.wait(), 20)
    assert lines.texts == []
