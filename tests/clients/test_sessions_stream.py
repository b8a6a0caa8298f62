"""Seed 004's own client against a live server."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.clients.support import HOSTILE, needs_node, node
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, token

PACES: list[dict[str, Any]] = [{}, {"chunk_words": 3, "delay_ms": 5}, {"chunk_words": 1}]


@pytest.fixture(params=["off", "jwt"])
def server(request: pytest.FixtureRequest, live: LiveServer, guarded: LiveServer) -> LiveServer:
    """A server without authentication, where any token will do, and one with it."""
    return live if request.param == "off" else guarded


async def send(
    server: LiveServer, content: str, size: int | None = None, **given: Any
) -> dict[str, Any]:
    """What the page has seen of an answer, and what it read anew at its end."""
    message = {"content": content, "role": "user"} | given
    return await node(
        "sessions_stream.mjs",
        url=server.url,
        token=token(),
        session=str(uuid4()),
        message=message,
        bytes=size,
    )


@needs_node
@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("size", [None, 0, 1, 7])
async def test_the_page_shows_the_answer_and_finds_it_stored(
    server: LiveServer, teller: Teller, size: int | None, pace: dict[str, Any]
) -> None:
    question = teller.answer(f"on the page {size} {pace}", Reply(HOSTILE, delay=0.002))
    seen = await send(server, question, size, **pace)
    assert seen["text"] == HOSTILE
    assert (seen["errors"], seen["unparsed"], seen["thrown"]) == ([], [], None)
    (asked, answered) = seen["messages"]
    assert (asked["role"], asked["content"]) == ("user", question)
    assert (answered["role"], answered["content"]) == ("assistant", HOSTILE)
    assert seen["started"] == seen["ended"] == [answered["id"]]


@needs_node
async def test_the_page_is_told_what_went_wrong(server: LiveServer, teller: Teller) -> None:
    broken = teller.answer("this breaks the page", Reply(status=400))
    seen = await send(server, broken)
    assert (len(seen["started"]), len(seen["errors"]), seen["ended"]) == (1, 1, [])
    refused = await send(server, " ")
    assert refused["thrown"] == "The message is empty."


@needs_node
async def test_the_page_is_told_that_its_token_is_bad(guarded: LiveServer) -> None:
    seen = await node(
        "sessions_stream.mjs",
        url=guarded.url,
        token="bad",
        session="s",
        message={"content": "hi"},
        bytes=None,
    )
    assert seen["thrown"]
    assert not seen["started"]


async def test_a_client_that_cannot_stream_falls_back(live: LiveServer, teller: Teller) -> None:
    question = teller.answer("without a stream", HOSTILE)
    async with httpx.AsyncClient(base_url=live.url, trust_env=False) as client:
        answer = await client.post(
            f"/sessions/{uuid4()}/messages", json={"content": question, "role": "user"}
        )
    assert answer.json()["data"]["content"] == HOSTILE
