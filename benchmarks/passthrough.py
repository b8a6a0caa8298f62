"""System b: the shortest pass-through, as written by hand. It streams, and stores nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from langchain_core.messages import HumanMessage
from litestar import Litestar, post
from litestar.params import JSONBody
from litestar.response import Stream

from benchmarks.one_node import graph


@post("/stream", status_code=200)
async def stream(data: JSONBody[dict[str, str]]) -> Stream:
    """Answer a message with one SSE event per token."""

    async def body() -> AsyncIterator[bytes]:
        state: Any = {"messages": [HumanMessage(data["message"])]}
        async for chunk, _ in graph.astream(state, stream_mode="messages"):
            if chunk.content:
                yield b"data: " + msgspec.json.encode({"text": chunk.content}) + b"\n\n"

    return Stream(body(), media_type="text/event-stream")


app = Litestar([stream], openapi_config=None, logging_config=None)
