"""A question to the human, in every vocabulary: it ends the turn as an answer would, and the client's ordinary next
message answers it, or `POST /api/v1/runs/{id}/resume`; also at the next server. A new vocabulary is one more row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from tests.api.order import check_flows, check_sessions, check_threads
from tests.api.wire import SOON, socket, sse, sse_all
from tests.support.server import GRAPHS, ProcessServer, server_process

OPTIONS = ["Merula", "other"]
UNTOLD: dict[str, Any] = {}
"""The question's details in a vocabulary that tells it as a text alone."""


class Turn(NamedTuple):
    """What a client is told: all that it shows, what it takes for the whole answer, and the question's details."""

    shown: str
    whole: str
    question: dict[str, Any] | None
    run_id: str


def http(server: ProcessServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=SOON, trust_env=False)


async def flows(server: ProcessServer, session: str, message: str) -> Turn:
    async with socket(f"{server.ws}/api/chat/execute/asking") as opened:
        await opened.frame()
        await opened.send(message=message, session_id=session)
        frames = await opened.until("flow_completed", "flow_error")
    check_flows(frames)
    shown = "".join(one["data"]["content"] for one in frames if one["type"] == "llm_chunk")
    end = frames[-1]["data"]
    assert frames[-2]["data"]["text_output"] == end["final_output"]["text_output"]
    return Turn(shown, end["final_output"]["text_output"], end.get("interrupt"), frames[-1]["run_id"])


async def threads(server: ProcessServer, session: str, message: str) -> Turn:
    async with http(server) as client:
        key = {"idempotency-key": session}
        thread = (await client.post("/chat/threads", json={}, headers=key)).json()["thread"]["id"]
        path = f"/chat/threads/{thread}/messages/stream"
        frames = [block.data for block in await sse_all(client, "POST", path, json={"content": message})]
    check_threads(frames)
    assert frames[-1]["data"] == {"success": True}
    texts = [one["data"] for one in frames if one["type"] == "ai_response"]
    shown = "".join(one["content"] for one in texts)
    return Turn(shown, texts[-1]["accumulated"], texts[-1].get("interrupt"), frames[0]["run_id"])


def agents(frames: list[dict[str, Any]]) -> Turn:
    end = frames[-1]
    question = end["metadata"].get("interrupt")
    if question:
        assert frames[-2]["type"] == "interaction", "the question is told to those who look at interactions"
        shown = end["response"]
    else:
        shown = "".join(one["chunk"] for one in frames if one["type"] == "agent_chunk")
    return Turn(shown, end["response"], question, end["run_id"])


async def agents_stream(server: ProcessServer, session: str, message: str) -> Turn:
    body = {"query": message, "context": {"session_id": session}}
    async with http(server) as client:
        blocks = await sse_all(client, "POST", "/api/streaming/multi-agent/stream", json=body)
    return agents([block.data for block in blocks])


async def agents_socket(server: ProcessServer, session: str, message: str) -> Turn:
    async with socket(f"{server.ws}/api/streaming/ws/{uuid4()}") as opened:
        await opened.frame()
        request = {"query": message, "context": {"session_id": session}}
        await opened.send(type="multi_agent_request", request=request)
        return agents(await opened.until("complete"))


async def chat_socket(server: ProcessServer, session: str, message: str) -> Turn:
    async with socket(f"{server.ws}/ws/chat") as opened:
        await opened.send(type="message", message=message, session_id=session)
        frames = await opened.until("complete", "error")
    end = frames[-1]
    question = end["metadata"].get("interrupt")
    tokens = "".join(one["token"] for one in frames if one["type"] == "token")
    return Turn(end["response"] if question else tokens, end["response"], question, end["run_id"])


async def chat_request(server: ProcessServer, session: str, message: str) -> Turn:
    async with http(server) as client:
        told = (await client.post("/api/v1/chat", json={"message": message, "session_id": session})).json()
    return Turn(told["response"], told["response"], told["metadata"].get("interrupt"), told["run_id"])


async def sessions(server: ProcessServer, session: str, message: str) -> Turn:
    async with http(server) as client:
        path = f"/sessions/{session}/messages"
        frames = [block.data for block in await sse_all(client, "POST", f"{path}/stream", json={"content": message})]
        stored = (await client.get(path)).json()["data"]
    check_sessions(frames)
    shown = "".join(one["content"] for one in frames if one["type"] == "token")
    whole = next(one["content"] for one in stored if one["id"] == frames[-1]["messageId"])
    return Turn(shown, whole, UNTOLD, frames[0]["run_id"])


Say = Callable[[ProcessServer, str, str], Awaitable[Turn]]
WIRES: list[Say] = [flows, threads, agents_stream, agents_socket, chat_socket, chat_request, sessions]
"""Each says a message in a conversation, which has the name of `session`, and reads the turn to its end."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    """A server whose default graph asks."""
    with server_process(tmp_path_factory.mktemp("questions"), None, "--graph", f"{GRAPHS}:asking") as process:
        yield process


@pytest.fixture(params=WIRES)
def say(request: pytest.FixtureRequest) -> Say:
    wire: Say = request.param
    return wire


def check_question(turn: Turn) -> None:
    assert turn.shown == turn.whole == "Which car?"
    if turn.question is UNTOLD:
        return
    assert turn.question is not None
    assert (turn.question["question"], turn.question["options"]) == ("Which car?", OPTIONS)


def check_answer(turn: Turn, text: str = "Merula") -> None:
    assert turn.shown == turn.whole == f"So it is: {text} "
    assert turn.question in (None, UNTOLD)


async def test_the_clients_next_message_answers(server: ProcessServer, say: Say) -> None:
    session = str(uuid4())
    asked = await say(server, session, "ask me")
    check_question(asked)
    answered = await say(server, session, "Merula")
    check_answer(answered)
    assert answered.run_id == asked.run_id
    after = await say(server, session, "and on")
    check_answer(after, "and on")
    assert after.run_id != asked.run_id


async def test_another_conversation_is_not_the_answer(server: ProcessServer, say: Say) -> None:
    session = str(uuid4())
    check_question(await say(server, session, "ask me"))
    check_answer(await say(server, str(uuid4()), "elsewhere"), "elsewhere")
    check_answer(await say(server, session, "Merula"))


async def test_a_request_of_its_own_answers(server: ProcessServer, say: Say) -> None:
    session = str(uuid4())
    asked = await say(server, session, "ask me")
    async with http(server) as client:
        path = f"/api/v1/runs/{asked.run_id}"
        async with sse(client, "POST", f"{path}/resume", json={"answer": "Merula"}) as reader:
            assert (await reader.until("run_complete"))[-1].data["text"] == "So it is: Merula "
        assert (await client.get(path)).json()["status"] == "completed"
        again = await client.post(f"{path}/resume", json={"answer": "other"})
        assert (again.status_code, again.json()["code"]) == (409, "NOT_INTERRUPTED")
    check_answer(await say(server, session, "and on"), "and on")


async def test_questions_in_all_vocabularies_outlive_their_server(server: ProcessServer) -> None:
    open_ = [(say, str(uuid4()), by_request) for say in WIRES for by_request in (False, True)]
    asked = [await say(server, session, "ask me") for say, session, _ in open_]
    server.kill()
    server.start()
    for (say, session, by_request), turn in zip(open_, asked, strict=True):
        check_question(turn)
        if by_request:
            path = f"/api/v1/runs/{turn.run_id}/resume"
            async with http(server) as client, sse(client, "POST", path, json={"answer": "other"}) as reader:
                assert (await reader.until("run_complete"))[-1].data["text"] == "So it is: other "
        else:
            answered = await say(server, session, "Merula")
            check_answer(answered)
            assert answered.run_id == turn.run_id
