"""What a request says to a graph reaches it over every wire, or is refused by name in that wire's
words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.api.wire import SSE, socket, sse_all
from tests.support.deadline import DEADLINE
from tests.support.server import (
    ROOT,
    UNLIMITED,
    LiveServer,
    bearer,
    jwt_settings,
    running_server,
    token,
)

TELLING = ROOT / "tests" / "api" / "telling.py"
RUNS = "/api/v1/runs"
GIVEN = {
    "inputs": {"size": 3},
    "context": {"knob": "turned"},
    "config": {"configurable": {"user_id": "eve"}},
}
TOLD = ["hi", 3, "turned", "ada", "ada", "telling", "turned"]
NEEDED = "This graph needs size in the request's `inputs`."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose callers must log in, with the graph that tells what reached it as the default."""
    graphs = (f"{TELLING}:telling", f"{TELLING}:made")
    with running_server(
        tmp_path_factory.mktemp("telling"), graphs=graphs, **jwt_settings(), **UNLIMITED
    ) as live:
        yield live


@pytest.fixture
async def ada(server: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    """A caller who has logged in."""
    async with httpx.AsyncClient(
        base_url=server.url, headers=bearer("ada"), timeout=DEADLINE, trust_env=False
    ) as opened:
        yield opened


async def threads(client: httpx.AsyncClient) -> set[str]:
    """The ids of a caller's threads."""
    return {one["id"] for one in (await client.get("/api/v1/threads")).json()["threads"]}


async def test_they_reach_the_graph_over_http(ada: httpx.AsyncClient) -> None:
    blocks = await sse_all(ada, "POST", RUNS, json={"message": "hi", **GIVEN})
    assert blocks[-1].data["text"] == repr(TOLD)
    assert blocks[0].data["input"] == {"message": "hi", "inputs": {"size": 3}}
    accepted = await ada.post(RUNS, json={"message": "hi", "graph": "made", **GIVEN})
    assert accepted.status_code == 202
    blocks = await sse_all(ada, "GET", f"{RUNS}/{accepted.json()['run_id']}/events")
    assert blocks[-1].data["text"] == repr([*TOLD[:-2], "made", "turned"])


async def test_they_reach_the_graph_over_the_websocket(server: LiveServer) -> None:
    async with socket(f"{server.ws}/api/v1/ws?token={token('ada')}") as opened:
        await opened.send(type="message", message="hi", **GIVEN)
        assert (await opened.until("run_complete"))[-1]["text"] == repr(TOLD)
        await opened.send(type="message", message="hi")
        refused = await opened.frame()
        assert (refused["type"], refused["code"], refused["message"]) == (
            "error",
            "BAD_INPUT",
            NEEDED,
        )


async def test_they_are_part_of_what_a_key_stands_for(ada: httpx.AsyncClient) -> None:
    key, body = {"Idempotency-Key": "telling-1"}, {"message": "hi", **GIVEN}
    first = (await ada.post(RUNS, json=body, headers=key)).json()
    assert (await ada.post(RUNS, json=body, headers=key)).json() == first
    for name in GIVEN:
        other = await ada.post(RUNS, json={**body, name: {}}, headers=key)
        assert other.json()["code"] == "IDEMPOTENCY_CONFLICT", name


@pytest.mark.parametrize(
    ("body", "status", "code", "told"),
    [
        ({}, 422, "BAD_INPUT", NEEDED),
        ({"inputs": {"size": "many"}}, 422, "BAD_INPUT", "size: Input should be a valid integer"),
        (
            {"inputs": {"size": 1, "sise": 2}},
            422,
            "BAD_INPUT",
            "This graph takes no sise; it takes messages, size.",
        ),
        ({"inputs": [1]}, 400, "BAD_REQUEST", "inputs"),
        ({"context": "x"}, 400, "BAD_REQUEST", "context"),
        ({"config": {"configurable": []}}, 400, "BAD_REQUEST", "configurable"),
        ({"config": {"recursion_limit": 0}}, 400, "BAD_REQUEST", "recursion_limit"),
        ({"config": {"tags": "x"}}, 400, "BAD_REQUEST", "tags"),
    ],
)
async def test_what_does_not_fit_is_refused_by_name(
    ada: httpx.AsyncClient, body: dict[str, Any], status: int, code: str, told: str
) -> None:
    before = await threads(ada)
    for headers in ({}, SSE):
        refused = await ada.post(RUNS, json={"message": "hi", **body}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert told in refused.json()["message"]
    assert await threads(ada) == before


async def test_a_graph_that_is_made_for_its_run_refuses_in_it(ada: httpx.AsyncClient) -> None:
    end = (await sse_all(ada, "POST", RUNS, json={"message": "hi", "graph": "made"}))[-1].data
    assert (end["type"], end["code"], end["message"]) == ("run_error", "BAD_INPUT", NEEDED)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/chat", {"message": "hi"}),
        ("/api/streaming/multi-agent/stream", {"query": "hi"}),
        ("/api/multi-agent/process", {"query": "hi"}),
        ("/sessions/telling-1/messages/stream", {"content": "hi"}),
        ("/sessions/telling-1/messages", {"content": "hi"}),
    ],
)
async def test_a_graph_that_needs_more_says_so_in_every_vocabulary(
    ada: httpx.AsyncClient, path: str, body: dict[str, str]
) -> None:
    refused = await ada.post(path, json=body)
    assert refused.status_code == 422
    assert "BAD_INPUT" in refused.text
    assert NEEDED in refused.text
    assert (
        await ada.post(path, json=body)
    ).status_code == 422  # it left nothing behind that would be in the way


async def test_the_threads_vocabulary_says_so_too(ada: httpx.AsyncClient) -> None:
    thread = (await ada.post("/chat/threads", json={})).json()["thread"]["id"]
    for path in (f"/chat/threads/{thread}/messages", f"/chat/threads/{thread}/messages/stream"):
        refused = await ada.post(path, json={"content": "hi"})
        assert "BAD_INPUT" in refused.text
        assert NEEDED in refused.text


async def test_the_flow_vocabulary_says_so_too_and_its_inputs_fill_a_graph(
    server: LiveServer,
) -> None:
    async with socket(f"{server.ws}/api/chat/execute/telling?token={token('ada')}") as opened:
        for inputs, told in (
            ({}, NEEDED),
            ({"size": {"of": "what"}}, "size: Input should be a valid integer"),
        ):
            await opened.send(message="hi", initial_inputs=inputs)
            refused = (await opened.until("flow_completed", "flow_error"))[-1]["data"]
            assert refused["code"] == "BAD_INPUT"
            assert told in refused["error"]
