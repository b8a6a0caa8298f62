"""Readers of event streams as people use them:

by lines, or by a library; of every vocabulary that has SSE.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import httpx_sse
import pytest
import requests

from tests.clients.support import HOSTILE, needs_node, node
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, bearer

Reader = Callable[[str, dict[str, Any], dict[str, str]], Iterator[str]]
"""Posts a body, and gives the data of each event."""


class Stream:
    """One vocabulary: how it is asked, and what its client makes of the events."""

    def __init__(
        self, path: str, ask: Callable[[str], dict[str, Any]], text: Callable[[dict[str, Any]], str]
    ) -> None:
        self.path = path
        self.ask = ask
        self._text = text

    def answer(self, data: Iterable[str]) -> str:
        return "".join(self._text(json.loads(one)) for one in data)


def _native(event: dict[str, Any]) -> str:
    text: str = (
        event["text"]
        if event["type"] == "agent_chunk" and event.get("channel", "answer") == "answer"
        else ""
    )
    return text


def _team(event: dict[str, Any]) -> str:
    text: str = (
        event["chunk"] if event["type"] == "agent_chunk" and not event.get("internal") else ""
    )
    return text


def _session(event: dict[str, Any]) -> str:
    text: str = event["content"] if event["type"] == "token" else ""
    return text


STREAMS = {
    "native": Stream("/api/v1/runs", lambda question: {"message": question}, _native),
    "multi_agent": Stream(
        "/api/streaming/multi-agent/stream", lambda question: {"query": question}, _team
    ),
    "sessions": Stream(
        f"/sessions/{uuid4()}/messages/stream", lambda question: {"content": question}, _session
    ),
    "chunks": Stream(
        f"/sessions/{uuid4()}/messages/stream",
        lambda question: {"content": question, "chunk_words": 1},
        _session,
    ),
}


def data_lines(lines: Iterable[str]) -> Iterator[str]:
    return (line[6:] for line in lines if line.startswith("data: "))


def httpx_lines(url: str, body: dict[str, Any], headers: dict[str, str]) -> Iterator[str]:
    """Splits at U+2028, U+0085 and a few more."""
    with (
        httpx.Client(trust_env=False, headers=headers) as client,
        client.stream("POST", url, json=body) as response,
    ):
        yield from data_lines(response.iter_lines())


def httpx_events(url: str, body: dict[str, Any], headers: dict[str, str]) -> Iterator[str]:
    with (
        httpx.Client(trust_env=False, headers=headers) as client,
        httpx_sse.connect_sse(client, "POST", url, json=body) as source,
    ):
        for event in source.iter_sse():
            if event.data:
                assert event.id
                yield event.data


def requests_lines(size: int) -> Reader:
    def read(url: str, body: dict[str, Any], headers: dict[str, str]) -> Iterator[str]:
        with requests.Session() as session:
            session.trust_env = False
            with session.post(url, json=body, headers=headers, stream=True) as response:
                yield from data_lines(response.iter_lines(chunk_size=size, decode_unicode=True))

    return read


READERS: dict[str, Reader] = {
    "httpx lines": httpx_lines,
    "httpx-sse": httpx_events,
    "requests lines": requests_lines(512),
    "requests lines of single bytes": requests_lines(1),
}


@pytest.fixture
def question(teller: Teller) -> str:
    return teller.answer("readers", Reply(HOSTILE, delay=0.002))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_gets_the_whole_answer(
    guarded: LiveServer, question: str, stream: str, reader: str
) -> None:
    asked = STREAMS[stream]
    headers = bearer() | {"accept": "text/event-stream"}
    assert (
        asked.answer(READERS[reader](guarded.url + asked.path, asked.ask(question), headers))
        == HOSTILE
    )


@needs_node
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("size", [None, 1])
async def test_eventsource_parser_gets_the_whole_answer(
    guarded: LiveServer, question: str, stream: str, size: int | None
) -> None:
    asked = STREAMS[stream]
    seen = await node(
        "parsed_events.mjs",
        url=guarded.url + asked.path,
        headers=bearer() | {"accept": "text/event-stream"},
        body=asked.ask(question),
        bytes=size,
    )
    assert seen["errors"] == []
    assert all(event["id"] for event in seen["events"])
    assert asked.answer(event["data"] for event in seen["events"]) == HOSTILE
