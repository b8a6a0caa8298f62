"""Clients: one HTTP exchange, an SSE stream and a WebSocket, and the reader that resumes over
either until the end."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.chaos.ledger import ENDS, Ask, Ledger

LOST = (OSError, EOFError, TimeoutError, WebSocketException)
PATIENCE = 120.0
"""Seconds after which a reader that has not seen the end counts as having lost it."""


async def _request(
    port: int, method: str, path: str, body: Any, headers: dict[str, str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int, dict[str, str]]:
    data = b"" if body is None else json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = {
            "Host": "127.0.0.1",
            "Content-Length": str(len(data)),
            "Connection": "close",
            **headers,
        }
        if data:
            lines["Content-Type"] = "application/json"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
        await writer.drain()
        status, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = (line.partition(":") for line in rest if line)
        return (
            reader,
            writer,
            int(status.split()[1]),
            {name.lower(): value.strip() for name, _, value in fields},
        )
    except BaseException:
        writer.transport.abort()
        raise


async def exchange(
    port: int, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """One request: status and decoded body."""
    status, content = await _exchange(port, method, path, body, headers)
    return status, json.loads(content) if content else None


async def text(port: int, path: str) -> str:
    """What is found at a path."""
    return (await _exchange(port, "GET", path, None, {}))[1].decode()


async def _exchange(
    port: int, method: str, path: str, body: Any, headers: dict[str, str]
) -> tuple[int, bytes]:
    async with asyncio.timeout(20):
        reader, writer, status, fields = await _request(port, method, path, body, headers)
        try:
            return status, await reader.readexactly(int(fields.get("content-length", 0)))
        finally:
            writer.transport.abort()


async def _blocks(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, str]]:
    """The fields of each piece of an SSE body (heartbeats are empty), until its clean end; EOFError for another one."""
    rest = b""
    async for piece in _body(reader):
        rest += piece
        *blocks, rest = rest.replace(b": hb\n", b"").split(b"\n\n")
        for block in blocks or [b""]:
            lines = (line.partition(": ") for line in block.decode().split("\n"))
            yield {name: value for name, _, value in lines}


async def _body(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """A chunked body as it comes in: a chunk may hold many events, and those before a cut are the client's."""
    while left := int(await reader.readuntil(b"\r\n"), 16):
        while left:
            if not (piece := await reader.read(left)):
                raise EOFError
            left -= len(piece)
            yield piece
        await reader.readexactly(2)


class Reader:
    """One logical reader: starts a message (or finds it started), and follows its run over any number of connections.

    `ways` are the transports, of which each connection takes one by chance. A `fresh` reader is one connection that
    reads what there is. `idle` seconds without any byte count as a dead connection.
    """

    def __init__(
        self,
        name: str,
        ask: Ask,
        ledger: Ledger,
        ports: Callable[[], Sequence[int]],
        rng: random.Random,
        ways: Sequence[str] = ("sse", "ws"),
        idle: float = 3.0,
        fresh: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        self.name = f"{name}{' afresh' if fresh else ''}"
        self.ask, self.idle, self.patience = ask, idle, patience
        self.ends: list[str] = []
        self.seq, self.last_id = 0, ""
        self.done = False
        self.seen_at: dict[str, float] = {}
        """When the first event of each type came, on the event loop's clock."""
        self._ledger, self._ports, self._rng, self._ways, self._fresh = (
            ledger,
            ports,
            rng,
            ways,
            fresh,
        )

    def __repr__(self) -> str:
        return self.name

    async def follow(self) -> None:
        try:
            async with asyncio.timeout(self.patience):
                while not self.done:
                    had, way = self.seq, self._rng.choice(self._ways)
                    connect_by = self._sse if way == "sse" else self._ws
                    try:
                        self.ends.append(await connect_by(self._rng.choice(self._ports())))
                    except LOST as error:
                        self.ends.append(type(error).__name__)
                    if not self.done:
                        if self.seq > had:
                            self._ledger.broken(way, self.ask)
                        await asyncio.sleep(0.02)
        except TimeoutError:
            self._ledger.problem(
                "lost", f"{self} never saw the end of {self.ask.run_id}: {self.ends[-5:]}"
            )

    async def _sse(self, port: int) -> str:
        run_id, resume = self.ask.run_id, {"Last-Event-ID": self.last_id} if self.last_id else {}
        async with asyncio.timeout(self.idle) as patience:
            if run_id is None or (not self._fresh and self._rng.random() < 0.3):
                headers = {"Accept": "text/event-stream", "Idempotency-Key": self.ask.key, **resume}
                opened = await _request(port, "POST", "/api/v1/runs", self.ask.body, headers)
            else:
                opened = await _request(port, "GET", f"/api/v1/runs/{run_id}/events", None, resume)
            reader, writer, status, _ = opened
            try:
                if status != 200:
                    return self._refused(status)
                async for block in _blocks(reader):
                    patience.reschedule(asyncio.get_running_loop().time() + self.idle)
                    if "data" in block:
                        self._take(json.loads(block["data"]))
                        if block["id"] != self.last_id:
                            self._ledger.problem(
                                "other", f"{self}: {block['id']} instead of {self.last_id}"
                            )
                return "eof"
            finally:
                writer.transport.abort()

    def _refused(self, status: int) -> str:
        if status != 503:
            self._ledger.problem(
                "lost", f"{self} was answered {status} behind {self.seq} of {self.ask.run_id}"
            )
            self.done = True
        return str(status)

    async def _ws(self, port: int) -> str:
        opening = connect(
            f"ws://127.0.0.1:{port}/api/v1/ws",
            proxy=None,
            ping_interval=None,
            open_timeout=self.idle,
            close_timeout=0.1,
        )
        async with opening as socket:
            if self.ask.run_id is None:
                first = {"type": "message", "idempotency_key": self.ask.key, **self.ask.body}
            else:
                first = {"type": "resume", "run_id": self.ask.run_id, "after": self.seq}
            await socket.send(json.dumps(first))
            pinged = False
            while not self.done:
                try:
                    async with asyncio.timeout(self.idle / 2):
                        frame = json.loads(await socket.recv())
                except TimeoutError:
                    if pinged:
                        socket.transport.abort()
                        raise
                    pinged = True
                    await socket.send('{"type": "ping"}')
                    continue
                except ConnectionClosed as closed:
                    return f"closed {closed.rcvd.code if closed.rcvd else 'abruptly'}"
                pinged = False
                if "seq" in frame:
                    self._take(frame)
                elif frame["type"] == "stream_reset":
                    return self._refused(410)
                elif frame["type"] == "error":
                    return self._refused(503 if frame["code"] == "UNAVAILABLE" else 500)
            return "done"

    def _take(self, event: dict[str, Any]) -> None:
        self._ledger.deliver(self, event)
        self.seq, self.ask.run_id, self.ask.thread_id = (
            event["seq"],
            event["run_id"],
            event["thread_id"],
        )
        self.last_id = f"{event['run_id']}:{event['seq']}.0"
        self.seen_at.setdefault(event["type"], asyncio.get_running_loop().time())
        if event["type"] in ENDS:
            self.done, self.ask.end = True, event["type"]
