"""Clients that see what is on the wire:

SSE as raw bytes, WebSockets as raw text. All frames are checked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.api.registry import check_frame
from tests.support.deadline import DEADLINE

SSE = {"accept": "text/event-stream"}
SOON = DEADLINE
"""Seconds after which something that must happen counts as not happening."""


@dataclass(frozen=True)
class Block:
    """One event of an SSE stream: its lines as they were sent, without comments and `retry`."""

    raw: bytes

    @property
    def id(self) -> str:
        return self._field(b"id")

    @property
    def event(self) -> str:
        return self._field(b"event")

    @property
    def text(self) -> str:
        return self._field(b"data")

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.text)
        return data

    def _field(self, name: bytes) -> str:
        start = name + b": "
        return b"\n".join(
            line[len(start) :] for line in self.raw.split(b"\n") if line.startswith(start)
        ).decode()


class SseReader:
    """An SSE response, event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.comments: list[bytes] = []
        self.retries: list[bytes] = []
        self.received = b""
        self.first: dict[str, Any] = {}
        """The first event's data, once it was read."""
        self._chunks = response.aiter_raw()
        self._buffer = b""
        self._lines: list[bytes] = []

    async def block(self) -> Block | None:
        """The next event, or None at the end of the stream."""
        async with asyncio.timeout(SOON):
            while True:
                if (line := self._line()) is None:
                    if not await self._more():
                        return None
                elif line:
                    self._keep(line)
                elif self._lines:
                    block, self._lines = Block(b"\n".join(self._lines)), []
                    check_frame(self.response.request.url.path, block.text)
                    if not self.first and block.text.startswith("{"):
                        self.first = block.data
                    return block

    async def blocks(self, count: int) -> list[Block]:
        """The next so many events."""
        found = [await self.block() for _ in range(count)]
        assert None not in found, "the stream ended early"
        return [block for block in found if block is not None]

    async def until(self, event: str) -> list[Block]:
        """Events up to and including the first of this type."""
        found: list[Block] = []
        while (block := await self.block()) is not None:
            found.append(block)
            if block.data["type"] == event:
                return found
        raise AssertionError(f"no {event} in {[one.data['type'] for one in found]}")

    async def rest(self) -> list[Block]:
        """Everything up to the end of the stream."""
        found: list[Block] = []
        while (block := await self.block()) is not None:
            found.append(block)
        return found

    async def until_heartbeat(self) -> None:
        """Wait for the next heartbeat of an idle stream."""
        async with asyncio.timeout(SOON):
            seen = self.received.count(b": hb\n")
            while self.received.count(b": hb\n") == seen:
                assert await self._more(), "the stream ended"

    def _keep(self, line: bytes) -> None:
        if line.startswith(b":"):
            self.comments.append(line)
        elif line.startswith(b"retry:"):
            self.retries.append(line)
        else:
            self._lines.append(line)

    def _line(self) -> bytes | None:
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return None
        self._buffer = rest
        return line

    async def _more(self) -> bool:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            return False
        self._buffer += chunk
        self.received += chunk
        return True


@asynccontextmanager
async def sse(
    client: httpx.AsyncClient, method: str, path: str, **options: Any
) -> AsyncIterator[SseReader]:
    """An SSE response that is cut when the block ends."""
    options["headers"] = SSE | (options.get("headers") or {})
    async with client.stream(method, path, **options) as response:
        assert response.status_code == 200, (response.status_code, await response.aread())
        yield SseReader(response)


async def sse_all(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> list[Block]:
    """All events of an SSE response, up to its end."""
    async with sse(client, method, path, **options) as reader:
        return await reader.rest()


def raw(blocks: Sequence[Block]) -> list[bytes]:
    return [block.raw for block in blocks]


def text_of(blocks: Sequence[Block]) -> str:
    """The answer's text in a native stream."""
    chunks = [block.data for block in blocks if block.event == "agent_chunk"]
    return "".join(chunk["text"] for chunk in chunks if chunk.get("channel", "answer") == "answer")


class Socket:
    """A WebSocket whose frames are JSON texts."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **frame: Any) -> None:
        await self.connection.send(json.dumps(frame))

    async def text(self) -> str:
        """The next frame as it was sent."""
        async with asyncio.timeout(SOON):
            frame = await self.connection.recv()
        assert isinstance(frame, str)
        assert self.connection.request is not None
        check_frame(self.connection.request.path.partition("?")[0], frame)
        return frame

    async def frame(self) -> dict[str, Any]:
        """The next frame."""
        frame: dict[str, Any] = json.loads(await self.text())
        return frame

    async def texts_until(self, *types: str) -> list[str]:
        """Frames as they were sent, up to and including the first of one of these types."""
        found: list[str] = []
        while not found or json.loads(found[-1])["type"] not in types:
            found.append(await self.text())
        return found

    async def until(self, *types: str) -> list[dict[str, Any]]:
        """Frames up to and including the first of one of these types."""
        return [json.loads(one) for one in await self.texts_until(*types)]

    async def ask(self, **frame: Any) -> dict[str, Any]:
        """Send a frame; returns the next one."""
        await self.send(**frame)
        return await self.frame()

    async def closed(self) -> int:
        """Wait until the server closes the connection. Returns the code."""
        async with asyncio.timeout(SOON):
            with suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
            await self.connection.wait_closed()
        code = self.connection.close_code
        assert code is not None
        return code


@asynccontextmanager
async def socket(url: str, **options: Any) -> AsyncIterator[Socket]:
    """A WebSocket that is cut when the block ends."""
    opened = await connect(url, proxy=None, compression=None, max_size=None, **options)
    try:
        yield Socket(opened)
    finally:
        opened.transport.abort()
        await opened.wait_closed()
