"""Seed 002's own clients against a live server, and naive readers of event streams."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.order import check_multi_agent
from tests.clients.support import HOSTILE, needs_node, node
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, bearer, token

STREAM = "/api/streaming/multi-agent/stream"


@pytest.fixture(params=["off", "jwt"])
def server(request: pytest.FixtureRequest, live: LiveServer, guarded: LiveServer) -> LiveServer:
    """A server without authentication, where any token will do, and one with it."""
    return live if request.param == "off" else guarded


def request_for(question: str) -> dict[str, Any]:
    return {
        "query": question,
        "coordination_mode": "collaborative",
        "primary_agent": "specs",
        "supporting_agents": ["maintenance"],
        "context": {"session_id": str(uuid4())},
    }


@needs_node
@pytest.mark.parametrize("size", [None, 1, 7])
async def test_the_javascript_client_returns_response_and_interactions(
    server: LiveServer, teller: Teller, size: int | None
) -> None:
    question = teller.answer(f"in javascript {size}", Reply(HOSTILE, delay=0.002))
    seen = await node(
        "multi_agent_stream.mjs",
        url=server.url,
        token=token(),
        request=request_for(question),
        bytes=size,
    )
    assert seen["response"] == seen["accumulated"] == HOSTILE
    assert seen["errors"] == []
    assert seen["progress"] == sorted(seen["progress"])
    assert seen["progress"][-1] == 1.0
    assert {"specs", "maintenance", "synthesis"} <= set(seen["starts"])
    assert sorted(seen["starts"]) == sorted(seen["completes"])
    pairs = [(one["from_agent"], one["to_agent"]) for one in seen["interactions"]]
    assert ("specs", "maintenance") in pairs
    assert ("maintenance", "specs") in pairs
    assert seen["metadata"]["primary_agent"] == "synthesis"


# -- naive readers ---------------------------------------------------------------------------------


class Parser:
    """The document's parser, in Python:

    `event:` and `data:` lines, accumulated response and interactions.
    """

    def __init__(self) -> None:
        self.event = ""
        self.accumulated = ""
        self.response = ""
        self.frames: list[dict[str, Any]] = []

    def lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line.startswith("event: "):
                self.event = line[7:].strip()
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                assert data["type"] == self.event
                self.frames.append(data)
                if data["type"] == "agent_chunk" and not data.get("internal"):
                    self.accumulated += data["chunk"]
                if data["type"] == "complete" and data["response"]:
                    self.response = data["response"]

    def check(self) -> None:
        check_multi_agent(self.frames)
        assert self.response == self.accumulated == HOSTILE


@pytest.fixture
def hostile(teller: Teller) -> str:
    return teller.answer("naive readers", Reply(HOSTILE, delay=0.002))


async def test_a_reader_of_lines_gets_everything(server: LiveServer, hostile: str) -> None:
    """httpx splits lines at U+2028, U+0085 and a few more."""
    parser = Parser()
    async with (
        httpx.AsyncClient(base_url=server.url, headers=bearer(), trust_env=False) as client,
        client.stream("POST", STREAM, json=request_for(hostile)) as response,
    ):
        async for line in response.aiter_lines():
            parser.lines([line])
    parser.check()


def test_a_synchronous_reader_of_lines_gets_everything(server: LiveServer, hostile: str) -> None:
    parser = Parser()
    with (
        httpx.Client(base_url=server.url, headers=bearer(), trust_env=False) as client,
        client.stream("POST", STREAM, json=request_for(hostile)) as response,
    ):
        parser.lines(response.iter_lines())
    parser.check()


async def test_readers_that_split_the_stream_anywhere_get_everything(
    server: LiveServer, hostile: str
) -> None:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(), trust_env=False) as client:
        body = (await client.post(STREAM, json=request_for(hostile))).content
    for size in (1, 2, 3, 64, len(body)):
        parser, buffer = Parser(), ""
        decoder = codecs.getincrementaldecoder("utf-8")()
        for at in range(0, len(body), size):
            *lines, buffer = (buffer + decoder.decode(body[at : at + size])).split("\n")
            parser.lines(lines)
        parser.check()
    for split in (bytes.splitlines, lambda whole: whole.decode().splitlines()):
        parser = Parser()
        parser.lines(line.decode() if isinstance(line, bytes) else line for line in split(body))
        parser.check()


async def test_a_reader_that_cares_for_data_lines_only_gets_everything(
    live: LiveServer, hostile: str
) -> None:
    """The native stream, by the crudest reader there is."""
    async with httpx.AsyncClient(base_url=live.url, trust_env=False) as client:
        headers = {"accept": "text/event-stream"}
        text = (await client.post("/api/v1/runs", json={"message": hostile}, headers=headers)).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert "".join(event["text"] for event in events if event["type"] == "agent_chunk") == HOSTILE
    assert events[-1]["text"] == HOSTILE


async def test_a_client_that_cannot_stream_falls_back(server: LiveServer, hostile: str) -> None:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(), trust_env=False) as client:
        whole = (await client.post("/api/multi-agent/process", json=request_for(hostile))).json()
        assert whole["response"] == HOSTILE
        plain = (await client.post("/api/v1/chat", json={"message": hostile})).json()
        assert plain["response"] == HOSTILE
