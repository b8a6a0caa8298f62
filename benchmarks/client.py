"""A lean SSE client: it counts, and understands no more of HTTP than it must."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from benchmarks.load import WORD, Answer


class Target(msgspec.Struct, frozen=True):
    """What to ask where. Only events that contain `marker` are text for the reader."""

    port: int
    path: str
    body: dict[str, Any]
    marker: bytes = b"data: "

    def request(self) -> bytes:
        """The request as bytes; the server closes the connection behind its answer."""
        body = msgspec.json.encode(self.body)
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n"
            f"Accept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


class _Stream(asyncio.Protocol):
    """One answer. Servers write an event into one chunk of the body, so its framing can be ignored."""

    def __init__(self, target: Target) -> None:
        self.first, self.tokens, self.pieces = 0.0, 0, 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._target = target
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        transport.write(self._target.request())

    def data_received(self, data: bytes) -> None:
        """Count."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            if self._target.marker in event and (tokens := event.count(WORD.encode())):
                self.first = self.first or time.perf_counter()
                self.tokens += tokens
                self.pieces += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """The answer has ended."""
        self.ended.set_result(None)


async def ask(target: Target) -> Answer:
    """One streamed answer."""
    began = time.perf_counter()
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: _Stream(target), "127.0.0.1", target.port
    )
    await stream.ended
    return Answer(max(stream.first - began, 0.0), stream.tokens, stream.pieces)
