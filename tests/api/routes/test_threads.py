"""Seed 001's routes over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from antiphon.api.routes.threads import DEFAULT_TITLE
from antiphon.data.ids import new_id
from antiphon.orchestrator.bounds import TITLE_LIMIT
from tests.api.flows import saved, steps
from tests.api.order import check_threads
from tests.api.wire import Block, raw, sse, sse_all
from tests.support.deadline import DEADLINE
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, bearer

THREADS = "/chat/threads"
STREAMS = ["/chat/threads/{id}/messages/stream", "/threads/{id}/messages/stream"]


@pytest.fixture
async def asker(asking: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server whose graph asks a human."""
    async with httpx.AsyncClient(base_url=asking.url, timeout=DEADLINE, trust_env=False) as opened:
        yield opened


async def new_thread(client: httpx.AsyncClient, **options: Any) -> str:
    """The id of a new conversation."""
    created = await client.post(THREADS, json={"title": "A chat"}, **options)
    assert created.status_code == 201
    found: str = created.json()["thread"]["id"]
    return found


async def told(client: httpx.AsyncClient, thread: str, content: str, **headers: str) -> list[Block]:
    """The whole stream of a message."""
    path, body = STREAMS[0].format(id=thread), {"content": content}
    return await sse_all(client, "POST", path, json=body, headers=headers)


async def messages_of(client: httpx.AsyncClient, thread: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(f"{THREADS}/{thread}/messages")).json()[
        "messages"
    ]
    return found


def datas(blocks: list[Block]) -> list[dict[str, Any]]:
    return [block.data for block in blocks]


def appended(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["data"]["content"] for frame in frames if frame["type"] == "ai_response")


def whole(frames: list[dict[str, Any]]) -> str:
    (found,) = [f["data"]["accumulated"] for f in frames if f["data"].get("isComplete")]
    return str(found)


# -- conversations ---------------------------------------------------------------------------------


async def test_a_conversation_is_created_and_listed(client: httpx.AsyncClient) -> None:
    created = await client.post(THREADS, json={"title": " My plans "})
    thread = created.json()["thread"]
    assert created.status_code == 201
    assert set(thread) == {"id", "title", "createdAt", "updatedAt", "userId"}
    assert (thread["title"], thread["userId"]) == ("My plans", "local")
    assert thread["createdAt"] == thread["updatedAt"]
    assert thread["createdAt"].endswith("Z")
    assert (await client.get(THREADS)).json()["threads"][0] == thread
    assert await messages_of(client, thread["id"]) == []


async def test_the_newest_conversation_is_the_one_that_was_spoken_in(
    client: httpx.AsyncClient,
) -> None:
    first, second = [await new_thread(client) for _ in "12"]
    listed = [thread["id"] for thread in (await client.get(THREADS)).json()["threads"]]
    assert listed.index(second) < listed.index(first)
    await told(client, first, "move up")
    assert (await client.get(THREADS)).json()["threads"][0]["id"] == first


@pytest.mark.parametrize("body", [{}, {"title": None}, {"title": ""}, {"title": " \0"}])
async def test_a_conversation_without_a_title_has_the_usual_one(
    client: httpx.AsyncClient, body: Any
) -> None:
    assert (await client.post(THREADS, json=body)).json()["thread"]["title"] == DEFAULT_TITLE


@pytest.mark.parametrize("title", ["x" * (TITLE_LIMIT + 1), 1, ["x"], {}])
async def test_a_title_is_a_short_text(client: httpx.AsyncClient, title: Any) -> None:
    refused = await client.post(THREADS, json={"title": title})
    assert refused.status_code == 400
    assert set(refused.json()) == {"error", "code"}
    assert refused.json()["code"] == "BAD_REQUEST"


async def test_a_repeated_key_creates_one_conversation(client: httpx.AsyncClient) -> None:
    key = {"idempotency-key": str(uuid4())}
    answers = await asyncio.gather(
        *(client.post(THREADS, json={"title": "once"}, headers=key) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    other = await client.post(THREADS, json={"title": "another"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_CONFLICT")


async def test_a_key_is_its_users_own(guarded: LiveServer) -> None:
    key = {"idempotency-key": str(uuid4())}
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        ids = {await new_thread(client, headers=bearer(user) | key) for user in ("ada", "eve")}
    assert len(ids) == 2


# -- messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STREAMS)
async def test_a_message_is_answered_in_the_documents_order(
    client: httpx.AsyncClient, path: str
) -> None:
    thread = await new_thread(client)
    blocks = await sse_all(client, "POST", path.format(id=thread), json={"content": "hello there"})
    frames = datas(blocks)
    check_threads(frames)
    assert frames[0]["data"] == {"threadId": thread}
    assert appended(frames) == whole(frames) == "You said: hello there"
    assert frames[-2]["type"] == "workflow_complete"
    assert all(frame["timestamp"].endswith("Z") for frame in frames)
    for block in blocks:
        assert [line.partition(b": ")[0] for line in block.raw.split(b"\n")] == [b"id", b"data"], (
            "no `event:` line"
        )


async def test_a_saved_message_is_the_one_that_is_listed(client: httpx.AsyncClient) -> None:
    thread = await new_thread(client)
    frames = datas(await told(client, thread, "list me"))
    user, reply = await messages_of(client, thread)
    assert frames[1]["data"]["message"] == user
    assert set(user) == {"id", "threadId", "role", "content", "createdAt"}
    assert (user["role"], user["content"], user["threadId"]) == ("user", "list me", thread)
    assert (reply["role"], reply["content"], reply["threadId"]) == (
        "assistant",
        "You said: list me",
        thread,
    )
    assert reply["metadata"]["agent"]


async def test_a_message_can_be_sent_without_a_stream(client: httpx.AsyncClient) -> None:
    thread = await new_thread(client)
    answer = await client.post(f"{THREADS}/{thread}/messages", json={"content": "no stream"})
    assert answer.status_code == 200
    assert answer.json()["response"] == "You said: no stream"
    assert answer.json()["message"] == (await messages_of(client, thread))[-1]


async def test_a_conversation_is_remembered(client: httpx.AsyncClient, teller: Teller) -> None:
    thread = await new_thread(client)
    await told(client, thread, "threads one")
    await client.post(f"{THREADS}/{thread}/messages", json={"content": "threads two"})
    (asked,) = teller.asked("threads two")
    assert "You said: threads one" in [message["content"] for message in asked.messages]


async def test_an_organization_changes_nothing(client: httpx.AsyncClient) -> None:
    thread = await new_thread(client, headers={"x-organization-id": "acme"})
    assert appended(datas(await told(client, thread, "for acme", **{"x-organization-id": "acme"})))


async def test_an_error_on_the_way_is_told_and_what_was_said_is_kept(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    thread = await new_thread(client)
    question = teller.answer(
        "threads: cut short", Reply("Half of", fail_after=1), Reply(status=400)
    )
    frames = datas(await told(client, thread, question))
    check_threads(frames, superseded=True)
    assert [frame["type"] for frame in frames[-2:]] == ["error", "done"]
    assert frames[-2]["data"]["threadId"] == thread


async def test_a_cancelled_answer_is_an_error_and_a_partial_message(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    thread = await new_thread(client)
    question = teller.answer("threads: stop me", Reply("Stop me if you can", gate=gate, gate_at=3))
    async with sse(
        client, "POST", STREAMS[0].format(id=thread), json={"content": question}
    ) as reader:
        seen = await reader.until("ai_response")
        await client.post(f"/api/v1/runs/{seen[0].data['run_id']}/cancel")
        frames = datas(seen + await reader.rest())
    gate.set()
    check_threads(frames)
    assert frames[-2]["data"]["code"] == "CANCELLED"
    partial = (await messages_of(client, thread))[-1]
    assert (partial["content"], partial["metadata"]["partial"]) == (appended(frames), True)


async def test_an_error_without_a_stream_is_a_response(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    thread = await new_thread(client)
    question = teller.answer("threads: refused", Reply(status=400))
    answer = await client.post(f"{THREADS}/{thread}/messages", json={"content": question})
    assert answer.status_code == 500
    assert (set(answer.json()), answer.json()["code"]) == ({"error", "code"}, "MODEL_REFUSED")


@pytest.mark.parametrize("path", [f"{THREADS}/{{id}}/messages", *STREAMS])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "EMPTY_MESSAGE"),
        ({"content": " "}, "EMPTY_MESSAGE"),
        ({"content": 1}, "BAD_REQUEST"),
        ([], "BAD_REQUEST"),
    ],
)
async def test_a_message_must_have_a_text(
    client: httpx.AsyncClient, path: str, body: Any, code: str
) -> None:
    refused = await client.post(path.format(id=await new_thread(client)), json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    assert set(refused.json()) == {"error", "code"}


@pytest.mark.parametrize("path", [f"{THREADS}/{{id}}/messages", *STREAMS])
async def test_an_unknown_conversation_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    for thread in (new_id(), "x", "%00", "a" * 1000):
        refused = await client.post(path.format(id=thread), json={"content": "hi"})
        assert refused.status_code == 404
        assert refused.json() == {"error": "There is no such thing here.", "code": "NOT_FOUND"}
    assert (await client.get(f"{THREADS}/{new_id()}/messages")).json()["code"] == "NOT_FOUND"


async def test_a_conversation_is_its_users_alone(guarded: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False, timeout=DEADLINE) as client:
        assert (await client.post(THREADS, json={})).status_code == 401
        thread = await new_thread(client, headers=bearer("ada"))
        for user, status in (("eve", 404), ("ada", 200)):
            listed = (await client.get(THREADS, headers=bearer(user))).json()["threads"]
            assert (thread in [one["id"] for one in listed]) == (status == 200)
            read = await client.get(f"{THREADS}/{thread}/messages", headers=bearer(user))
            assert read.status_code == status
            sent = await client.post(
                f"{THREADS}/{thread}/messages", json={"content": "hi"}, headers=bearer(user)
            )
            assert sent.status_code == status


# -- coming back, repeating ------------------------------------------------------------------------


@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_cut_behind_any_frame_resumes_exactly(
    client: httpx.AsyncClient, teller: Teller, path: str
) -> None:
    thread = await new_thread(client)
    question = teller.answer(f"cut {path}", "One\u2028two\x85three\r\nfour 🙂")
    place, body = path.format(id=thread), {"content": question}
    whole_stream = await sse_all(client, "POST", place, json=body)
    for had, block in enumerate(whole_stream[:-1], 1):
        headers = {"last-event-id": block.id}
        assert raw(await sse_all(client, "POST", place, json=body, headers=headers)) == raw(
            whole_stream[had:]
        )
    assert (
        await sse_all(
            client, "POST", place, json=body, headers={"last-event-id": whole_stream[-1].id}
        )
        == []
    )
    assert len(teller.asked(question)) == 1, "a resumption is never a second run"


async def test_a_live_stream_is_resumed_where_it_broke(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    thread = await new_thread(client)
    question = teller.answer(
        "threads: break here", Reply("One two three four", gate=gate, gate_at=2)
    )
    path, body = STREAMS[0].format(id=thread), {"content": question}
    async with sse(client, "POST", path, json=body) as reader:
        seen = await reader.until("ai_response")
    gate.set()
    rest = await sse_all(client, "POST", path, json=body, headers={"last-event-id": seen[-1].id})
    frames = datas(seen + rest)
    check_threads(frames)
    assert appended(frames) == whole(frames) == "One two three four"


async def test_another_conversations_cursor_is_gone(client: httpx.AsyncClient) -> None:
    blocks = await told(client, await new_thread(client), "here")
    path = STREAMS[0].format(id=await new_thread(client))
    refused = await client.post(
        path, json={"content": "there"}, headers={"last-event-id": blocks[2].id}
    )
    assert (refused.status_code, refused.json()["code"]) == (410, "CURSOR_GONE")


async def test_a_repeated_key_sends_once_and_says_so(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    thread = await new_thread(client)
    key, content = {"idempotency-key": str(uuid4())}, f"send me once {uuid4()}"
    first = await told(client, thread, content, **key)
    second = datas(await told(client, thread, content, **key))
    assert "wasDuplicate" not in first[1].data["data"]
    assert second[1]["data"].pop("wasDuplicate") is True
    assert second == datas(first)
    assert len(teller.asked(content)) == 1
    resumed = await told(client, thread, content, **key, **{"last-event-id": first[0].id})
    assert raw(resumed) == raw(first[1:]), "a resumption gives what the first stream gave"
    plain = await client.post(
        f"{THREADS}/{thread}/messages", json={"content": content}, headers=key
    )
    assert plain.json()["response"] == f"You said: {content}"
    other = await client.post(
        f"{THREADS}/{thread}/messages", json={"content": "another"}, headers=key
    )
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_CONFLICT")
    assert len(await messages_of(client, thread)) == 2


# -- workflows -------------------------------------------------------------------------------------


async def test_a_conversation_goes_through_the_steps_of_its_flow(client: httpx.AsyncClient) -> None:
    flow = await saved(client, steps())
    created = await client.post(THREADS, json={"title": "Steps", "agentId": flow})
    thread = created.json()["thread"]["id"]

    async def turn(content: str) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
        frames = datas(await told(client, thread, content))
        check_threads(frames)
        statuses = [
            one["data"]
            for one in frames
            if one["type"] == "workflow_status" and "workflowId" in one["data"]
        ]
        ends = [one["data"] for one in frames if one["type"] == "workflow_complete"]
        return [(one["status"], one["step"]) for one in statuses], ends

    assert await turn("hello") == ([("created", "greet")], [])
    assert await turn("tell me more") == ([("running", "greet")], [])
    assert await turn("next") == ([("step_completed", "greet"), ("transition", "ask")], [])
    statuses, [end] = await turn("next again")
    assert statuses == [("step_completed", "ask"), ("transition", "bye"), ("step_completed", "bye")]
    assert end["workflowId"]
    assert await turn("hello anew") == ([("created", "greet")], []), (
        "the conversation stays with its flow"
    )


async def test_a_conversation_cannot_begin_with_a_flow_that_is_not_there(
    client: httpx.AsyncClient,
) -> None:
    refused = await client.post(THREADS, json={"agentId": "nowhere"})
    assert (refused.status_code, refused.json()["code"]) == (400, "UNKNOWN_GRAPH")


# -- questions -------------------------------------------------------------------------------------


async def test_the_next_message_answers_a_question(asker: httpx.AsyncClient) -> None:
    thread = await new_thread(asker)
    first = datas(await told(asker, thread, "ask me"))
    check_threads(first)
    assert appended(first) == whole(first) == "Which car?"
    assert first[-2]["data"]["interrupt"]["options"] == ["Merula", "other"]
    blocks = await told(asker, thread, "Merula")
    second = datas(blocks)
    check_threads(second)
    check_threads(first + second)
    assert second[0]["run_id"] == first[0]["run_id"]
    assert second[1]["data"]["message"]["content"] == "Merula"
    assert appended(second) == whole(second) == "So it is: Merula "
    for had, block in enumerate(blocks[:-1], 1):
        again = await told(asker, thread, "Merula", **{"last-event-id": block.id})
        assert raw(again) == raw(blocks[had:])
    assert appended(datas(await told(asker, thread, "and on"))) == "So it is: and on "


async def test_a_question_and_its_answer_without_a_stream(asker: httpx.AsyncClient) -> None:
    path = f"{THREADS}/{await new_thread(asker)}/messages"
    asked = (await asker.post(path, json={"content": "ask me"})).json()
    assert asked["response"] == asked["message"]["content"] == "Which car?"
    assert asked["message"]["metadata"]["interrupt"]["question"] == "Which car?"
    answered = (await asker.post(path, json={"content": "Merula"})).json()
    assert answered["response"] == answered["message"]["content"] == "So it is: Merula "
    assert "metadata" in answered["message"]
