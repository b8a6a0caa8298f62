"""The native wire over HTTP."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.api.order import check_native
from tests.api.wire import SSE, sse, sse_all, text_of
from tests.support.deadline import DEADLINE
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, bearer

RUNS = "/api/v1/runs"


async def ended(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    """A run's state, once it has ended."""
    async with sse(client, "GET", f"{RUNS}/{run_id}/events") as reader:
        await reader.rest()
    state: dict[str, Any] = (await client.get(f"{RUNS}/{run_id}")).json()
    return state


async def test_a_message_is_accepted_with_the_ids_of_what_was_stored(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(RUNS, json={"message": "hello native"})
    assert response.status_code == 202
    accepted = response.json()
    assert set(accepted) == {"run_id", "thread_id", "message_id"}
    assert {UUID(one).version for one in accepted.values()} == {7}
    messages = (await client.get(f"/api/v1/threads/{accepted['thread_id']}/messages")).json()[
        "messages"
    ]
    assert (messages[0]["id"], messages[0]["content"]) == (accepted["message_id"], "hello native")


async def test_a_stream_tells_a_whole_run(client: httpx.AsyncClient) -> None:
    blocks = await sse_all(client, "POST", RUNS, json={"message": "hello stream"})
    frames = [block.data for block in blocks]
    check_native(frames)
    assert text_of(blocks) == frames[-1]["text"] == "You said: hello stream"
    for block, frame in zip(blocks, frames, strict=True):
        assert block.event == frame["type"]
        assert block.id == f"{frame['run_id']}:{frame['seq']}.0"


async def test_the_head_of_a_stream_suits_proxies_and_browsers(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    question = teller.answer("the head", Reply("one two", gate=gate, gate_at=0))
    accepted = (await client.post(RUNS, json={"message": question})).json()
    paths = [
        f"{RUNS}/{accepted['run_id']}/events",
        f"/api/v1/threads/{accepted['thread_id']}/events",
    ]
    for path in paths:
        async with client.stream("GET", path, headers={"accept-encoding": "gzip, br"}) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream; charset=utf-8")
            assert response.headers["cache-control"] == "no-cache, no-transform"
            assert response.headers["x-accel-buffering"] == "no"
            assert "content-encoding" not in response.headers
            received = b""
            async for chunk in response.aiter_raw():
                received += chunk
                if b"data: " in received:
                    break
            assert received.startswith(b": open\n\nretry: 2000\nevent: run_start\nid: ")
    gate.set()


TWICE = "Litestar adds `; charset=utf-8` to a text type that has one already (sse.MEDIA_TYPE, test_page)"


async def test_a_stream_names_its_type_once(client: httpx.AsyncClient) -> None:
    response = await client.post(RUNS, json={"message": "which type"}, headers=SSE)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_an_idle_stream_beats(asking: LiveServer, teller: Teller) -> None:
    async with httpx.AsyncClient(base_url=asking.url, trust_env=False) as client:
        thread = (await client.post(RUNS, json={"message": "hello"})).json()["thread_id"]
        async with sse(client, "GET", f"/api/v1/threads/{thread}/events") as reader:
            await reader.until("run_complete")
            for _ in range(3):
                await reader.until_heartbeat()
            await client.post(RUNS, json={"message": "again", "thread_id": thread})
            await reader.until("run_complete")
            assert reader.received.startswith(b": open\n\n")
            assert b": hb\n: hb\n" in reader.received
            assert b": hb\n\n" not in reader.received
            assert reader.retries == [b"retry: 2000"]


async def test_a_run_says_where_it_stands(client: httpx.AsyncClient, teller: Teller) -> None:
    gate = threading.Event()
    question = teller.answer("where it stands", Reply("here and there", gate=gate, gate_at=1))
    run_id = (await client.post(RUNS, json={"message": question})).json()["run_id"]
    teller.wait_asked(question)
    before = (await client.get(f"{RUNS}/{run_id}")).json()
    assert (before["run_id"], before["status"], before["text"], before["finished_at"]) == (
        run_id,
        "running",
        None,
        None,
    )
    gate.set()
    after = await ended(client, run_id)
    assert (after["status"], after["text"], after["error"], after["attempt"]) == (
        "completed",
        "here and there",
        None,
        1,
    )
    assert after["usage"]["output_tokens"] > 0
    assert after["finished_at"] >= after["created_at"]


async def test_a_failed_run_says_why(client: httpx.AsyncClient, teller: Teller) -> None:
    question = teller.answer("why not", Reply(status=400, error="the provider's own words"))
    run_id = (await client.post(RUNS, json={"message": question})).json()["run_id"]
    state = await ended(client, run_id)
    assert (state["status"], state["error"]["code"]) == ("failed", "MODEL_REFUSED")
    assert "provider's own words" not in str(state)


async def test_stop_keeps_what_was_said(client: httpx.AsyncClient, teller: Teller) -> None:
    gate = threading.Event()
    question = teller.answer("stop it", Reply("Some words and then silence", gate=gate, gate_at=2))
    async with sse(client, "POST", RUNS, json={"message": question}) as reader:
        blocks = await reader.until("agent_chunk")
        run_id = blocks[0].data["run_id"]
        while text_of(blocks) != "Some words ":
            blocks += await reader.blocks(1)
        assert (await client.post(f"{RUNS}/{run_id}/cancel")).status_code == 202
        blocks += await reader.rest()
    gate.set()
    end = blocks[-1].data
    assert (end["type"], end["by"], end["partial_text"]) == (
        "run_cancelled",
        "local",
        "Some words ",
    )


async def test_a_run_that_was_stopped_has_ended_once_and_for_all(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    question = teller.answer(
        "stop them all", Reply("Some words and then silence", gate=gate, gate_at=2)
    )
    accepted = [(await client.post(RUNS, json={"message": question})).json() for _ in range(12)]
    for one in accepted:
        async with sse(client, "GET", f"{RUNS}/{one['run_id']}/events") as reader:
            await reader.until("agent_chunk")
            assert (await client.post(f"{RUNS}/{one['run_id']}/cancel")).status_code == 202
            assert (await reader.rest())[-1].event == "run_cancelled"
        again = await client.post(f"{RUNS}/{one['run_id']}/cancel")
        assert again.json()["status"] == "cancelled"
        messages = (await client.get(f"/api/v1/threads/{one['thread_id']}/messages")).json()[
            "messages"
        ]
        assert [(m["role"], m["partial"]) for m in messages] == [
            ("user", False),
            ("assistant", True),
        ]
    gate.set()


async def test_messages_are_listed_the_oldest_first(client: httpx.AsyncClient) -> None:
    first = await sse_all(client, "POST", RUNS, json={"message": "first of two"})
    thread_id = first[0].data["thread_id"]
    await sse_all(client, "POST", RUNS, json={"message": "second of two", "thread_id": thread_id})
    messages = (await client.get(f"/api/v1/threads/{thread_id}/messages")).json()["messages"]
    assert [(m["role"], m["content"]) for m in messages] == [
        ("user", "first of two"),
        ("assistant", "You said: first of two"),
        ("user", "second of two"),
        ("assistant", "You said: second of two"),
    ]
    assert [m["parent_id"] for m in messages] == [None, *(m["id"] for m in messages[:-1])]


async def test_the_conversation_so_far_is_told_to_the_model(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    first = await sse_all(client, "POST", RUNS, json={"message": "remember the cat"})
    body = {"message": "what did I say about it", "thread_id": first[0].data["thread_id"]}
    await sse_all(client, "POST", RUNS, json=body)
    (asked,) = teller.asked("what did I say about it")
    assert [m["content"] for m in asked.messages[1:]] == [
        "remember the cat",
        "You said: remember the cat",
        "what did I say about it",
    ]


async def test_threads_are_listed_the_newest_first_without_their_owner(guarded: LiveServer) -> None:
    user = f"lister-{uuid4()}"
    async with httpx.AsyncClient(
        base_url=guarded.url, headers=bearer(user), trust_env=False
    ) as client:
        ids = []
        for message in ("one", "two", "three"):
            blocks = await sse_all(client, "POST", RUNS, json={"message": message})
            ids.append(blocks[0].data["thread_id"])
        threads = (await client.get("/api/v1/threads")).json()["threads"]
        assert [thread["id"] for thread in threads] == ids[::-1]
        assert all("user_id" not in thread for thread in threads)
        one = (await client.get(f"/api/v1/threads/{ids[0]}")).json()
        assert one == threads[-1]


# -- idempotency -----------------------------------------------------------------------------------


async def test_a_repeated_key_gives_the_same_run_and_asks_once(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    headers = {"idempotency-key": str(uuid4())}
    body = {"message": f"only once {uuid4()}"}
    answers = await asyncio.gather(
        *(client.post(RUNS, json=body, headers=headers) for _ in range(8))
    )
    assert len({answer.text for answer in answers}) == 1
    assert {answer.status_code for answer in answers} == {202}
    streamed = await sse_all(client, "POST", RUNS, json=body, headers=headers)
    assert streamed[0].data["run_id"] == answers[0].json()["run_id"]
    assert streamed[-1].event == "run_complete"
    assert len(teller.asked(body["message"])) == 1


async def test_a_key_of_another_request_is_a_conflict(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": str(uuid4())}
    await client.post(RUNS, json={"message": "this"}, headers=headers)
    response = await client.post(RUNS, json={"message": "that"}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "IDEMPOTENCY_CONFLICT")


async def test_a_key_is_its_users_own(guarded: LiveServer) -> None:
    key = {"idempotency-key": str(uuid4())}
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        runs = [
            await client.post(RUNS, json={"message": "mine"}, headers=bearer(who) | key)
            for who in ("ada", "bob")
        ]
    assert len({run.json()["run_id"] for run in runs}) == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_an_unreasonable_key_is_refused(client: httpx.AsyncClient, key: str) -> None:
    response = await client.post(RUNS, json={"message": "x"}, headers={"idempotency-key": key})
    assert (response.status_code, response.json()["code"]) == (400, "BAD_REQUEST")


# -- questions -------------------------------------------------------------------------------------


@pytest.fixture
async def asked(asking: LiveServer) -> Any:
    """A client of the server whose graph asks humans."""
    async with httpx.AsyncClient(base_url=asking.url, timeout=DEADLINE, trust_env=False) as opened:
        yield opened


async def question(client: httpx.AsyncClient, **given: Any) -> dict[str, Any]:
    blocks = await sse_all(client, "POST", RUNS, json={"message": "ask me"} | given)
    frame: dict[str, Any] = blocks[-1].data
    assert (frame["type"], frame["question"], frame["options"]) == (
        "interrupt",
        "Which car?",
        ["Merula", "other"],
    )
    return frame


async def test_whoever_has_seen_the_open_question_is_not_made_to_come_again(
    asked: httpx.AsyncClient,
) -> None:
    interrupt = await question(asked)
    path = f"{RUNS}/{interrupt['run_id']}"
    assert (
        await asked.get(f"{path}/events", params={"after": interrupt["seq"]})
    ).status_code == 204
    blocks = await sse_all(asked, "GET", f"{path}/events", params={"after": interrupt["seq"] - 1})
    assert [block.data for block in blocks] == [interrupt]
    await asked.post(f"{path}/resume", json={"answer": "Merula"})
    blocks = await sse_all(asked, "GET", f"{path}/events", params={"after": interrupt["seq"]})
    assert [blocks[0].event, blocks[-1].event] == ["interrupt_answered", "run_complete"]


async def test_a_question_is_answered_and_the_run_goes_on(asked: httpx.AsyncClient) -> None:
    interrupt = await question(asked)
    path = f"{RUNS}/{interrupt['run_id']}"
    assert (await asked.get(path)).json()["status"] == "interrupted"
    blocks = await sse_all(asked, "POST", f"{path}/resume", json={"answer": "Merula"})
    assert blocks[0].data["seq"] == interrupt["seq"] + 1
    assert (blocks[0].event, blocks[-1].event) == ("interrupt_answered", "run_complete")
    assert blocks[-1].data["text"] == "So it is: Merula "


async def test_the_next_message_of_the_thread_is_the_answer(asked: httpx.AsyncClient) -> None:
    interrupt = await question(asked)
    blocks = await sse_all(
        asked, "POST", RUNS, json={"message": "other", "thread_id": interrupt["thread_id"]}
    )
    assert {block.data["run_id"] for block in blocks} == {interrupt["run_id"]}
    assert blocks[-1].data["text"] == "So it is: other "


async def test_a_run_that_asks_nothing_cannot_be_answered(asked: httpx.AsyncClient) -> None:
    interrupt = await question(asked)
    path = f"{RUNS}/{interrupt['run_id']}/resume"
    assert (await asked.post(path, json={"answer": 1})).status_code == 202
    for _ in range(2):
        response = await asked.post(path, json={"answer": 1})
        assert (response.status_code, response.json()["code"]) == (409, "NOT_INTERRUPTED")


async def test_a_repeated_answer_with_the_same_key_is_the_same_answer(
    asked: httpx.AsyncClient,
) -> None:
    interrupt = await question(asked)
    path, key = f"{RUNS}/{interrupt['run_id']}/resume", {"idempotency-key": str(uuid4())}
    first, second = [await asked.post(path, json={"answer": "Merula"}, headers=key) for _ in "12"]
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()


async def test_a_repeated_message_does_not_answer_the_question_that_it_led_to(
    asked: httpx.AsyncClient,
) -> None:
    """The client lost the answer to its request and sends it again."""
    first = await sse_all(asked, "POST", RUNS, json={"message": "begin"})
    body, key = (
        {"message": "ask me", "thread_id": first[0].data["thread_id"]},
        {"idempotency-key": str(uuid4())},
    )
    interrupt = (await sse_all(asked, "POST", RUNS, json=body, headers=key))[-1].data
    again = await asked.post(RUNS, json=body, headers=key)
    assert again.json()["run_id"] == interrupt["run_id"]
    assert (await asked.get(f"{RUNS}/{interrupt['run_id']}")).json()["status"] == "interrupted"


@pytest.mark.parametrize(
    "answer", [None, 0, "", [], {"a": [1, {"b": None}]}, "ü🙂\u2028", [[[]]], 1.5]
)
async def test_an_answer_is_any_json(asked: httpx.AsyncClient, answer: Any) -> None:
    interrupt = await question(asked)
    response = await asked.post(f"{RUNS}/{interrupt['run_id']}/resume", json={"answer": answer})
    assert response.status_code == 202
    blocks = await sse_all(
        asked, "GET", f"{RUNS}/{interrupt['run_id']}/events", params={"after": interrupt["seq"]}
    )
    assert blocks[0].data["answer"] == answer
    assert blocks[-1].event == "run_complete"


@pytest.mark.parametrize("depth", [100, 101, 500, 700, 800, 850, 900, 950])
async def test_a_deep_answer_is_taken_or_refused_and_the_run_stays_readable(
    asked: httpx.AsyncClient, depth: int
) -> None:
    interrupt = await question(asked)
    path = f"{RUNS}/{interrupt['run_id']}"
    deep = b'{"answer":' + b"[" * depth + b"]" * depth + b"}"
    taken = await asked.post(
        f"{path}/resume", content=deep, headers={"content-type": "application/json"}
    )
    if depth > 100:
        assert (taken.status_code, taken.json()["code"]) in {
            (400, "INVALID_JSON"),
            (400, "BAD_REQUEST"),
        }
        await asked.post(f"{path}/resume", json={"answer": "shallow"})
    blocks = await sse_all(asked, "GET", f"{path}/events")
    assert blocks[-1].event == "run_complete"
    assert (await asked.get(path)).json()["status"] == "completed"


# -- double texting --------------------------------------------------------------------------------


async def test_a_busy_thread_takes_a_message_as_it_is_told_to(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    busy = teller.answer("keeping busy", Reply("slowly but surely", gate=gate, gate_at=2))
    first = (await client.post(RUNS, json={"message": busy})).json()
    teller.wait_tokens(busy, 2)
    body = {"message": "me too", "thread_id": first["thread_id"]}
    rejected = await client.post(RUNS, json=body | {"on_busy": "reject"})
    assert (rejected.status_code, rejected.json()["code"]) == (409, "BUSY")
    queued = (await client.post(RUNS, json=body)).json()
    assert (await client.get(f"{RUNS}/{queued['run_id']}")).json()["status"] == "queued"
    interrupting = (await client.post(RUNS, json=body | {"on_busy": "interrupt"})).json()
    states = [await ended(client, one["run_id"]) for one in (first, queued, interrupting)]
    gate.set()
    assert [state["status"] for state in states] == ["cancelled", "cancelled", "completed"]
    assert states[0]["text"] == "slowly but "


async def test_agents_and_modes_are_the_callers_choice(client: httpx.AsyncClient) -> None:
    body = {
        "message": "who answers",
        "agents": {"primary": "maintenance", "supporting": ["specs"]},
        "mode": "debate",
    }
    blocks = await sse_all(client, "POST", RUNS, json=body)
    assert blocks[-1].data["execution_order"].count("specs") == 2
    assert blocks[-1].data["primary_agent"] == "synthesis"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"message": "x", "agents": {"primary": "nobody"}}, "UNKNOWN_AGENT"),
        ({"message": "x", "agents": {"supporting": ["nobody"]}}, "UNKNOWN_AGENT"),
        ({"message": "x", "graph": "nothing"}, "UNKNOWN_GRAPH"),
        ({"message": "x", "mode": "panic"}, "BAD_REQUEST"),
        ({"message": "x", "on_busy": "panic"}, "BAD_REQUEST"),
        ({"message": "x", "agents": []}, "BAD_REQUEST"),
        ({"message": 1}, "BAD_REQUEST"),
        ({"message": None}, "EMPTY_MESSAGE"),
        ({}, "EMPTY_MESSAGE"),
        ({"message": " \n\t"}, "EMPTY_MESSAGE"),
        ({"message": "x" * 32_001}, "TOO_LARGE"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_its_name(
    client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    for headers in ({}, SSE):
        response = await client.post(RUNS, json=body, headers=headers)
        assert response.json()["code"] == code
        assert response.status_code in (400, 413)
        assert response.headers["content-type"] == "application/json"


async def test_a_message_of_nothing_but_nul_is_empty(client: httpx.AsyncClient) -> None:
    assert (await client.post(RUNS, json={"message": "\0"})).json().get("code") == "EMPTY_MESSAGE"


async def test_a_message_keeps_every_letter_but_nul(client: httpx.AsyncClient) -> None:
    said = " a\0b\r\n\u2028\x85\u202e🙂\ufeff\uffff e\u0301 "
    blocks = await sse_all(client, "POST", RUNS, json={"message": said})
    assert blocks[1].data["message"]["content"] == said.replace("\0", "")
