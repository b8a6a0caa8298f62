"""Clients that do not read: they cost one integer each, and delay nobody."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.wire import SSE, sse_all, text_of
from tests.support.model_server import Reply
from tests.support.server import ProcessServer, Teller, model_environment, server_process

TOKENS = 20_000
MEBIBYTE = 1024 * 1024
WEBSOCKET = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@pytest.fixture
def server(tmp_path: Path, teller: Teller) -> Iterator[ProcessServer]:
    with server_process(
        tmp_path, model_environment(teller) | {"ANTIPHON_DRAIN_SECONDS": "1"}
    ) as started:
        yield started


@contextmanager
def deaf(server: ProcessServer, request: bytes) -> Iterator[sockets.socket]:
    """A connection that has sent a request, with a small buffer, and reads nothing."""
    with sockets.socket() as connection:
        connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        connection.setsockopt(
            sockets.IPPROTO_TCP, sockets.TCP_MAXSEG, 88
        )  # the system keeps little for it
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(request)
        yield connection


def stream_of(run_id: str) -> bytes:
    return f"GET /api/v1/runs/{run_id}/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n".encode()


def socket_of(run_id: str, path: str) -> bytes:
    """An upgrade and, right behind it, a masked text frame that asks for the run."""
    text = json.dumps({"type": "resume", "run_id": run_id, "after": 0, "last_seq": 0}).encode()
    frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
    return (
        f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{WEBSOCKET.format(key=KEY)}\r\n".encode()
        + frame
    )


async def asked(client: httpx.AsyncClient, question: str) -> str:
    run_id: str = (await client.post("/api/v1/runs", json={"message": question})).json()["run_id"]
    return run_id


async def seconds_to_read(client: httpx.AsyncClient, run_id: str) -> float:
    begun = time.monotonic()
    blocks = await sse_all(client, "GET", f"/api/v1/runs/{run_id}/events", headers=SSE)
    assert blocks[-1].event == "run_complete"
    assert text_of(blocks) == blocks[-1].data["text"]
    assert len(text_of(blocks).split()) == TOKENS
    return time.monotonic() - begun


async def test_twelve_deaf_clients_delay_nobody_and_cost_next_to_nothing(
    server: ProcessServer, teller: Teller
) -> None:
    long = Reply(chunks=[f"token{number:06} " for number in range(TOKENS)], burst=True)
    question = teller.answer("a very long answer", long)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
        alone = max([await seconds_to_read(client, await asked(client, question)) for _ in "12"])
        before = server.memory()
        run_id = await asked(client, question)
        requests = [stream_of(run_id)] * 8 + [
            socket_of(run_id, p) for p in ("/api/v1/ws", "/ws/chat") for _ in "12"
        ]
        with ExitStack() as connections:
            for request in requests:
                connections.enter_context(deaf(server, request))
            together = await seconds_to_read(client, run_id)
            growth = server.memory() - before
            open_ = (await client.get("/metrics")).text
            assert 'antiphon_streams_open{transport="sse"} 8.0' in open_, (
                "they are all still waiting for room"
            )
            assert 'antiphon_streams_open{transport="websocket"} 4.0' in open_
            assert together < 2 * alone + 10, (
                "30 s is how long a server waits for a client that takes nothing"
            )
            assert growth < len(requests) * MEBIBYTE
            status = await asyncio.to_thread(server.terminate)
            assert status == 0, "deaf clients do not keep a server from ending, nor is it cut off"
