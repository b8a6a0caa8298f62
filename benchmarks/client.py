"""A lean SSE client that counts tokens and parses as little of HTTP as possible."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from benchmarks.load import WORD, Answer


class Target(msgspec.Struct, frozen=True):
    """A request to a local server. Only events that contain `marker` are text."""

    port: int
    path: str
    body: dict[str, Any]
    marker: bytes = b"data: "

    def request(self) -> bytes:
        """Return the request. The server closes the connection after its answer."""
        body = msgspec.json.encode(self.body)
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n"
            "Accept: text/event-stream\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


class _Stream(asyncio.Protocol):
    """One answer. Servers write each event in one chunk, so the chunks' framing can be ignored."""

    def __init__(self, target: Target) -> None:
        self.first, self.tokens, self.pieces = 0.0, 0, 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._target = target
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        """Send the request."""
        transport.write(self._target.request())

    def data_received(self, data: bytes) -> None:
        """Count tokens and pieces."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            tokens = event.count(WORD.encode()) if self._target.marker in event else 0
            if tokens:
                self.first = self.first or time.perf_counter()
                self.tokens += tokens
                self.pieces += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the answer."""
        self.ended.set_result(None)


async def ask(target: Target) -> Answer:
    """Ask once, and return the measured answer."""
    began = time.perf_counter()
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: _Stream(target), "127.0.0.1", target.port
    )
    await stream.ended
    return Answer(max(stream.first - began, 0.0), stream.tokens, stream.pieces)
