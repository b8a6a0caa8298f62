"""Graphs that treat their process badly, as `--graph` would serve them.

The message is the path of a file: the first time, while there is none, a node creates it and is
then stuck for longer than any test; the second time it answers at once."""

from __future__ import annotations

import argparse
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

HOURS = 10_000.0
DONE = {"messages": [AIMessage("done")]}


def _is_first(state: MessagesState) -> bool:
    path = Path(str(state["messages"][-1].content))
    first = not path.exists()
    path.touch()
    return first


def _sleep() -> None:
    time.sleep(HOURS)


def _spin() -> None:
    end = time.monotonic() + HOURS
    while time.monotonic() < end:
        pass


def _backtrack() -> None:
    """A match that takes longer than anybody lives, in C, and never gives the interpreter's lock away."""
    re.match(r"(a+)+$", "a" * 200 + "b")


def _exit() -> None:
    argparse.ArgumentParser().parse_args(["--no-such-option"])


def _in_thread(stuck: Callable[[], None]) -> Any:
    def node(state: MessagesState) -> dict[str, Any]:
        if _is_first(state):
            stuck()
        return DONE

    return _graph(node)


def _on_loop(stuck: Callable[[], None]) -> Any:
    async def node(state: MessagesState) -> dict[str, Any]:
        if _is_first(state):
            stuck()
        return DONE

    return _graph(node)


THIRTY = threading.Barrier(30)


def _meet(state: MessagesState) -> dict[str, Any]:
    """Wait for 29 others."""
    THIRTY.wait(30)
    return DONE


def _graph(node: Any) -> Any:
    return StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()


sleeps, sleeps_on_loop = _in_thread(_sleep), _on_loop(_sleep)
spins, spins_on_loop = _in_thread(_spin), _on_loop(_spin)
backtracks, backtracks_on_loop = _in_thread(_backtrack), _on_loop(_backtrack)
exits, exits_on_loop = _in_thread(_exit), _on_loop(_exit)
meets = _graph(_meet)
