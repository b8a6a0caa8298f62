"""A TCP proxy that cuts: each connection is reset, closed or swallowed after a random number of the server's bytes."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable

WAYS = ("reset", "close", "swallow")
REACH = (400, 4000, 16_000, 16_000)
"""Bytes after which a connection is cut at the latest: in its head, in one event, and behind several. An event with
sources has 4 kB; a reader that never gets so far would be cut at the same place again and again.
"""
FINE = 600
"""Bytes that a connection that goes in pieces of one byte is given so."""


class Proxy:
    """Listens on a port of its own; `cuts` counts what it did, by kind. An async context manager.

    Connections are cut until there is `enough`: from then on they stay whole.
    """

    def __init__(
        self, target: Callable[[], int], rng: random.Random, enough: Callable[[], bool]
    ) -> None:
        self.port = 0
        self.cuts: Counter[str] = Counter()
        self._target, self._rng, self._enough = target, rng, enough
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, down: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(down, to_client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, down: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        way, fine = self._rng.choice(WAYS), self._rng.random() < 0.2
        left = self._rng.randrange(self._rng.choice(REACH))
        to_server: asyncio.StreamWriter | None = None
        try:
            up, to_server = await asyncio.open_connection("127.0.0.1", self._target())
            asking = asyncio.ensure_future(_pass_on(down, to_server))
            while data := await up.read(1 if fine and left < FINE else 65536):
                whole = self._enough()
                to_client.write(data if whole else data[:left])
                await to_client.drain()
                left -= len(data)
                if left <= 0 and not whole:
                    self.cuts[way] += 1
                    if way == "swallow":
                        await asking  # until the client gives up
                    elif way == "reset":
                        linger = struct.pack("ii", 1, 0)
                        to_client.get_extra_info("socket").setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, linger
                        )
                    break
            if way != "reset":
                to_client.close()
        except OSError:
            pass
        finally:
            to_client.transport.abort()
            if to_server is not None:
                asking.cancel()
                to_server.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
