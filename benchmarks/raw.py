"""System a: the bare graph, streamed without a server.

It reads a plan per line of standard input, and writes the result of each to standard output.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
import uvloop
from langchain_core.messages import HumanMessage

from benchmarks.load import WORD, Answer, LoadPlan, play
from benchmarks.one_node import graph


async def _ask() -> Answer:
    began = time.perf_counter()
    first, tokens, pieces = 0.0, 0, 0
    state: Any = {"messages": [HumanMessage("Hello")]}
    async for chunk, _ in graph.astream(state, stream_mode="messages"):
        if chunk.content:
            first = first or time.perf_counter() - began
            tokens += chunk.content.count(WORD)
            pieces += 1
    return Answer(first, tokens, pieces)


async def _serve() -> None:
    for line in sys.stdin.buffer:  # blocks the loop, which has nothing to do between two plans
        played = await play(_ask, msgspec.json.decode(line, type=LoadPlan))
        sys.stdout.buffer.write(msgspec.json.encode(played) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_serve())
