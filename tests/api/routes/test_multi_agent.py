"""Seed 002's routes over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.order import check_multi_agent
from tests.api.wire import sse, sse_all
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller

STREAM, PROCESS = "/api/streaming/multi-agent/stream", "/api/multi-agent/process"


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"primary_agent": "specs"},
        {
            "coordination_mode": "sequential",
            "primary_agent": "specs",
            "supporting_agents": ["maintenance"],
        },
        {
            "coordination_mode": "parallel",
            "primary_agent": "specs",
            "supporting_agents": ["maintenance"],
        },
        {
            "coordination_mode": "collaborative",
            "primary_agent": "specs",
            "supporting_agents": ["maintenance"],
        },
        {
            "coordination_mode": "debate",
            "primary_agent": "specs",
            "supporting_agents": ["maintenance"],
        },
        {
            "coordination_mode": "enhanced_collaborative",
            "primary_agent": "specs",
            "supporting_agents": ["maintenance"],
        },
        {
            "context": {"stream_supporting": True},
            "primary_agent": "specs",
            "supporting_agents": ["maintenance"],
        },
        {"product_id": 7, "user_id": "u-1"},
    ],
)
async def test_every_mode_is_told_in_the_documents_order(
    client: httpx.AsyncClient, request_: dict[str, Any]
) -> None:
    blocks = await sse_all(client, "POST", STREAM, json={"query": "in every mode"} | request_)
    frames = [block.data for block in blocks]
    check_multi_agent(frames)
    assert [block.event for block in blocks] == [frame["type"] for frame in frames]
    assert all(frame["timestamp"].endswith("Z") for frame in frames)
    assert frames[-1]["response"] == "You said: in every mode"


async def test_the_lines_of_a_block_come_in_the_order_that_its_parser_needs(
    client: httpx.AsyncClient,
) -> None:
    for block in await sse_all(client, "POST", STREAM, json={"query": "lines"}):
        names = [line.partition(b": ")[0] for line in block.raw.split(b"\n")]
        assert names == [b"event", b"id", b"data"]


async def test_an_error_is_told_and_then_what_there_is(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    question = teller.answer("cut short", Reply("Half of", fail_after=1), Reply(status=400))
    frames = [
        block.data for block in await sse_all(client, "POST", STREAM, json={"query": question})
    ]
    check_multi_agent(frames, superseded=True)
    assert [frame["type"] for frame in frames][-1] == "error"


async def test_the_fallback_answers_with_the_last_frame(client: httpx.AsyncClient) -> None:
    response = await client.post(PROCESS, json={"query": "all at once"})
    assert response.status_code == 200
    whole = response.json()
    assert (whole["type"], whole["response"]) == ("complete", "You said: all at once")
    assert {"primary_agent", "confidence", "sources"} <= set(whole["metadata"])


async def test_the_fallback_says_when_there_is_no_answer(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    question = teller.answer("no answer at all", Reply(status=400))
    response = await client.post(PROCESS, json={"query": question})
    assert (response.status_code, response.json()["type"], response.json()["code"]) == (
        502,
        "error",
        "MODEL_REFUSED",
    )


@pytest.mark.parametrize("path", [STREAM, PROCESS])
async def test_a_repeated_key_asks_once(
    client: httpx.AsyncClient, teller: Teller, path: str
) -> None:
    headers, body = {"idempotency-key": str(uuid4())}, {"query": f"once {uuid4()}"}
    answers = await asyncio.gather(
        *(client.post(path, json=body, headers=headers) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content.replace(b": hb\n", b"") for answer in answers}) == 1
    assert len(teller.asked(body["query"])) == 1
    other = await client.post(path, json={"query": "another"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_CONFLICT")


async def test_a_session_is_a_conversation(client: httpx.AsyncClient, teller: Teller) -> None:
    session = str(uuid4())
    for query in ("session one", "session two"):
        await sse_all(
            client, "POST", STREAM, json={"query": query, "context": {"session_id": session}}
        )
    (asked,) = teller.asked("session two")
    assert "You said: session one" in [message["content"] for message in asked.messages]


async def test_a_question_to_the_human_ends_the_turn_and_the_next_query_answers_it(
    asking: LiveServer,
) -> None:
    body = {"query": "ask me", "session_id": str(uuid4())}
    async with httpx.AsyncClient(base_url=asking.url, trust_env=False) as client:
        first = [block.data for block in await sse_all(client, "POST", STREAM, json=body)]
        assert (first[-1]["type"], first[-1]["response"]) == ("complete", "Which car?")
        assert first[-2]["type"] == "interaction", (
            "the question is shown to those who look at interactions"
        )
        assert first[-1]["metadata"]["interrupt"]["options"] == ["Merula", "other"]
        second = [
            block.data
            for block in await sse_all(client, "POST", STREAM, json=body | {"query": "Merula"})
        ]
        check_multi_agent(first + second)
        assert second[-1]["response"] == "So it is: Merula "
        async with sse(client, "POST", STREAM, json=body | {"query": "and on"}) as reader:
            assert (await reader.rest())[-1].data["response"] == "So it is: and on "
