"""A question to the human, in every vocabulary: it ends the turn as an answer would, and the client's ordinary next
message answers it, or `POST /api/v1/runs/{id}/resume`; also at the next server. A new vocabulary is one more row."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from tests.api.graphs import DELETE, PAY
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


async def flows_refusal(server: ProcessServer, session: str, message: str) -> str:
    async with socket(f"{server.ws}/api/chat/execute/asking") as opened:
        await opened.frame()
        await opened.send(message=message, session_id=session)
        return str((await opened.until("flow_completed", "flow_error"))[-1]["data"]["code"])


async def refusal(server: ProcessServer, path: str, **body: Any) -> str:
    async with http(server) as client:
        response = await client.post(path, json=body)
    assert response.status_code == 422
    return str(response.json()["code"])


async def threads_refusal(server: ProcessServer, session: str, message: str) -> str:
    async with http(server) as client:
        key = {"idempotency-key": session}
        thread = (await client.post("/chat/threads", json={}, headers=key)).json()["thread"]["id"]
    return await refusal(server, f"/chat/threads/{thread}/messages/stream", content=message)


async def agents_refusal(server: ProcessServer, session: str, message: str) -> str:
    path = "/api/streaming/multi-agent/stream"
    return await refusal(server, path, query=message, context={"session_id": session})


async def agents_socket_refusal(server: ProcessServer, session: str, message: str) -> str:
    async with socket(f"{server.ws}/api/streaming/ws/{uuid4()}") as opened:
        await opened.frame()
        await opened.send(type="multi_agent_request", request={"query": message, "context": {"session_id": session}})
        return str((await opened.until("complete", "error"))[-1]["code"])


async def chat_refusal(server: ProcessServer, session: str, message: str) -> str:
    async with socket(f"{server.ws}/ws/chat") as opened:
        await opened.send(type="message", message=message, session_id=session)
        return str((await opened.until("complete", "error"))[-1]["code"])


async def chat_request_refusal(server: ProcessServer, session: str, message: str) -> str:
    return await refusal(server, "/api/v1/chat", message=message, session_id=session)


async def sessions_refusal(server: ProcessServer, session: str, message: str) -> str:
    return await refusal(server, f"/sessions/{session}/messages/stream", content=message)


Say = Callable[[ProcessServer, str, str], Awaitable[Turn]]
WIRES: list[Say] = [flows, threads, agents_stream, agents_socket, chat_socket, chat_request, sessions]
"""Each says a message in a conversation, which has the name of `session`, and reads the turn to its end."""
REFUSALS: dict[Say, Callable[[ProcessServer, str, str], Awaitable[str]]] = {
    flows: flows_refusal,
    threads: threads_refusal,
    agents_stream: agents_refusal,
    agents_socket: agents_socket_refusal,
    chat_socket: chat_refusal,
    chat_request: chat_request_refusal,
    sessions: sessions_refusal,
}
"""Each says a message that is refused, and returns the code."""


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


# -- several questions at once ----------------------------------------------------------------------


def check_both(turn: Turn) -> None:
    """Both questions are shown, the oldest first, each with its id."""
    assert turn.shown == turn.whole == f"{PAY}\n\namount: 10\n\nAlso open:\n- {DELETE}"
    if turn.question is UNTOLD:
        return
    assert turn.question is not None
    assert turn.question["question"] == PAY
    assert [one["question"] for one in turn.question["questions"]] == [PAY, DELETE]
    assert len({one["id"] for one in turn.question["questions"]}) == 2
    assert turn.question["questions"][0]["id"] == turn.question["id"]


def check_one(turn: Turn) -> None:
    """Only the second question is open."""
    assert turn.shown == turn.whole == DELETE
    if turn.question is not UNTOLD:
        assert turn.question is not None
        assert (turn.question["question"], turn.question.get("questions")) == (DELETE, None)


async def test_one_yes_is_the_answer_to_one_of_two_questions(server: ProcessServer, say: Say) -> None:
    session = str(uuid4())
    check_both(await say(server, session, "ask both"))
    check_one(await say(server, session, "yes"))
    end = await say(server, session, "no")
    assert end.shown == end.whole == "done: paid"


async def test_a_message_may_name_the_question_that_it_answers(server: ProcessServer, say: Say) -> None:
    session = str(uuid4())
    asked = await say(server, session, "ask both")
    async with http(server) as client, sse(client, "GET", f"/api/v1/runs/{asked.run_id}/events") as reader:
        [other] = (await reader.until("interrupt"))[-1].data["others"]
    await say(server, session, f'{{"{other["id"]}": "yes"}}')
    end = await say(server, session, "no")
    assert end.shown == end.whole == "done: deleted"


async def resume(client: httpx.AsyncClient, run_id: str, status: int = 202, **body: Any) -> dict[str, Any]:
    """Answer by the run's id. Returns the event at which the run stops next, or the refusal."""
    path = f"/api/v1/runs/{run_id}"
    response = await client.post(f"{path}/resume", json=body)
    assert response.status_code == status, response.text
    if status != 202:
        return dict(response.json())
    blocks = await sse_all(client, "GET", f"{path}/events")
    return dict(blocks[-1].data)


async def test_a_request_names_the_question_that_it_answers(server: ProcessServer) -> None:
    async with http(server) as client:
        asked = (await sse_all(client, "POST", "/api/v1/runs", json={"message": "ask both"}))[-1].data
        run_id, second = asked["run_id"], asked["others"][0]["id"]
        assert asked["questions"] == {asked["id"]: {"question": PAY, "amount": 10}, second: DELETE}
        for wrong in ({"answer": "yes", "id": "0" * 32}, {"answer": {"0" * 32: "yes"}}):
            refused = await resume(client, run_id, 409, **wrong)
            assert refused["code"] == "UNKNOWN_QUESTION"
        left = await resume(client, run_id, answer="yes", id=second)
        assert (left["id"], left["question"], left.get("others")) == (asked["id"], PAY, None)
        refused = await resume(client, run_id, 409, answer="yes", id=second)
        assert refused["code"] == "UNKNOWN_QUESTION", "it was answered already"
        assert (await resume(client, run_id, answer="no"))["text"] == "done: deleted"


async def test_a_frame_names_the_question_that_it_answers(server: ProcessServer) -> None:
    async with socket(f"{server.ws}/api/v1/ws") as opened:
        await opened.send(type="message", message="ask both")
        asked = (await opened.until("interrupt"))[-1]
        answer = {"type": "answer", "run_id": asked["run_id"]}
        refused = await opened.ask(**answer, answer="yes", id="0" * 32)
        assert (refused["type"], refused["code"]) == ("error", "UNKNOWN_QUESTION")
        await opened.send(**answer, answer="yes", id=asked["others"][0]["id"])
        assert (await opened.until("interrupt"))[-1]["id"] == asked["id"]
        await opened.send(**answer, answer={asked["id"]: "yes"})
        assert (await opened.until("run_complete"))[-1]["text"] == "done: deleted, paid"


# -- breakpoints and reviews ------------------------------------------------------------------------

STOPPED = "Dear Bob\n\nThe graph has stopped before `send`. Shall it go on?"


def check_breakpoint(turn: Turn) -> None:
    assert turn.shown.endswith(STOPPED)
    if turn.question is not UNTOLD:
        assert turn.question is not None
        assert turn.question["options"] == ["yes", "no"]


async def test_a_breakpoint_knows_yes_from_no_and_from_other_words(server: ProcessServer, say: Say) -> None:
    ends = {"yes": "sent: Dear Bob", "no, stop, do not send!": "Stopped before `send`."}
    for answer, end in ends.items():
        session = str(uuid4())
        asked = await say(server, session, "draft it")
        check_breakpoint(asked)
        for unclear in ("yes but do not send", "What is the weather?"):
            assert await REFUSALS[say](server, session, unclear) == "ANSWER_UNCLEAR"
        answered = await say(server, session, answer)
        assert answered.shown == answered.whole == end
        assert answered.run_id == asked.run_id


async def test_a_review_of_a_tool_call_is_answered_in_words(server: ProcessServer, say: Say) -> None:
    for answer, end in {"yes, please": "decided: approve", "no": "decided: reject"}.items():
        session = str(uuid4())
        asked = await say(server, session, "review it")
        assert asked.whole == 'Look at this.\n\nmail(to="ada")\n\nAnswer with approve or reject.'
        assert await REFUSALS[say](server, session, "who is Ada?") == "ANSWER_UNCLEAR"
        assert await REFUSALS[say](server, session, '{"type": "edit"}') == "ANSWER_INVALID"
        answered = await say(server, session, answer)
        assert answered.shown == answered.whole == end


async def test_a_breakpoint_is_not_passed_because_the_server_died_there(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.touch()
    with server_process(tmp_path, {"TRAP": str(trap)}, "--graph", f"{GRAPHS}:dying") as server:
        async with http(server) as client:
            started = await client.post("/api/v1/runs", json={"message": "draft it"})
            path = f"/api/v1/runs/{started.json()['run_id']}"
            assert server.process is not None
            assert await asyncio.to_thread(server.process.wait, SOON) == -signal.SIGKILL
        server.kill()
        assert not trap.exists()
        server.start()
        async with http(server) as client:
            asked = (await sse_all(client, "GET", f"{path}/events"))[-1].data
            assert (asked["type"], asked["reason"]) == ("interrupt", "breakpoint")
            assert asked["value"] == {"next": ["send"], "state": {"question": "draft it", "draft": "Dear Bob"}}
            assert (await resume(client, asked["run_id"], answer="yes"))["text"] == "sent: Dear Bob"
