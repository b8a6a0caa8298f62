"""kill -9 and SIGTERM at chosen moments: nothing is lost, nothing is told twice, clients resume
exactly."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.order import TERMINAL, check_chat, check_multi_agent, check_native
from tests.api.wire import SOON, SSE, Block, Socket, SseReader, raw, socket, sse, sse_all
from tests.support.deadline import DEADLINE
from tests.support.model_server import Reply
from tests.support.server import ProcessServer, Teller, model_environment, server_process

ROUTE = json.dumps({"primary": "specs", "supporting": [], "confidence": 0.9, "parts": []})
TEXT = "One two three four five six."
PATIENT = {"ANTIPHON_DRAIN_SECONDS": str(2 * DEADLINE)}
RUNS, STREAM = "/api/v1/runs", "/api/streaming/multi-agent/stream"


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory, teller: Teller) -> Iterator[ProcessServer]:
    """A server process that every test ends in its own way, and starts again on the same database."""
    with server_process(
        tmp_path_factory.mktemp("mortal"), model_environment(teller) | PATIENT
    ) as server:
        yield server


@pytest.fixture
async def client(mortal: ProcessServer) -> Any:
    async with httpx.AsyncClient(base_url=mortal.url, timeout=SOON, trust_env=False) as opened:
        yield opened


async def whole_run(client: httpx.AsyncClient, run_id: str) -> list[Block]:
    return await sse_all(client, "GET", f"{RUNS}/{run_id}/events")


async def check_stored_once(client: httpx.AsyncClient, blocks: list[Block], question: str) -> None:
    """One question, one answer, one terminal event, and numbers without a gap."""
    frames = [block.data for block in blocks]
    check_native(frames, superseded=True)
    assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))
    assert [frame["type"] for frame in frames if frame["type"] in TERMINAL] == ["run_complete"]
    thread_id = frames[0]["thread_id"]
    messages = (await client.get(f"/api/v1/threads/{thread_id}/messages")).json()["messages"]
    assert sorted((m["role"], m["content"], m["partial"]) for m in messages) == [
        ("assistant", TEXT, False),
        ("user", question, False),
    ]
    assert (await client.get(f"{RUNS}/{frames[0]['run_id']}")).json()["status"] == "completed"


async def until_shown(reader: SseReader, text: str) -> list[Block]:
    """Events until so much of the answer was shown."""
    blocks: list[Block] = []
    while (
        "".join(str(b.data.get("text" if b.event == "agent_chunk" else "", "")) for b in blocks)
        != text
    ):
        blocks += await reader.blocks(1)
    return blocks


@pytest.mark.parametrize(
    "moment", ["accepted", "message_saved", "routing", "first token", "last token"]
)
async def test_a_run_survives_the_death_of_its_server(
    mortal: ProcessServer, client: httpx.AsyncClient, teller: Teller, moment: str
) -> None:
    gate = threading.Event()
    question = f"killed: {moment}"
    pieces = {"first token": 1, "last token": len(TEXT.split())}.get(moment, 0)
    teller.answer(question, Reply(TEXT, gate=gate, gate_at=pieces), TEXT)
    if moment == "routing":
        teller.answer(question, Reply(ROUTE, gate=gate, gate_at=-1), ROUTE, agent="route")
    headers = {"idempotency-key": str(uuid4())}
    body = {"message": question}
    had: list[Block] = []
    if moment == "accepted":
        accepted = await client.post(RUNS, json=body, headers=headers)
        assert accepted.status_code == 202
        mortal.kill()
    else:
        async with sse(client, "POST", RUNS, json=body, headers=headers) as reader:
            if moment == "message_saved":
                had = await reader.until("message_saved")
            elif moment == "routing":
                had = await reader.until("progress") + await reader.until("progress")
            else:
                had = await until_shown(reader, TEXT if moment == "last token" else "One ")
            mortal.kill()
    gate.set()
    mortal.start()
    resumption = headers | ({"last-event-id": had[-1].id} if had else {})
    had += await sse_all(client, "POST", RUNS, json=body, headers=resumption)
    blocks = await whole_run(client, had[0].data["run_id"])
    assert raw(had) == raw(blocks)
    await check_stored_once(client, blocks, question)
    if moment == "accepted":
        assert had[0].data["run_id"] == accepted.json()["run_id"]
        assert had[1].data["message"]["id"] == accepted.json()["message_id"]
    again = await client.post(RUNS, json=body, headers=headers)
    assert again.json()["run_id"] == had[0].data["run_id"], "the key is remembered across the crash"


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_every_vocabulary_resumes_exactly_at_the_next_server(
    mortal: ProcessServer, client: httpx.AsyncClient, teller: Teller, end: str
) -> None:
    gate = threading.Event()
    questions = {name: f"{end}: {name}" for name in ("native", "agents", "chat", "waiting")}
    for question in questions.values():
        teller.answer(question, Reply(TEXT, gate=gate, gate_at=3), TEXT)
    agents = {"query": questions["agents"], "context": {"session_id": str(uuid4())}}
    async with AsyncExitStack() as open_:
        native = await open_.enter_async_context(
            sse(client, "POST", RUNS, json={"message": questions["native"]})
        )
        second = await open_.enter_async_context(sse(client, "POST", STREAM, json=agents))
        chat = await open_.enter_async_context(socket(f"{mortal.ws}/ws/chat"))
        idle = await open_.enter_async_context(socket(f"{mortal.ws}/api/v1/ws"))
        await chat.send(type="message", message=questions["chat"])
        had_native = await until_shown(native, "One two three ")
        had_agents = await second.until("agent_chunk")
        while "".join(b.data.get("chunk", "") for b in had_agents) != "One two three ":
            had_agents += await second.blocks(1)
        had_chat = await shown_in_chat(chat, "One two three ")
        # one that waits in the queue of a thread that is busy
        thread = {"message": questions["waiting"], "thread_id": had_native[0].data["thread_id"]}
        waiting = (await client.post(RUNS, json=thread)).json()
        if end == "terminate":
            status, ends = await asyncio.gather(
                asyncio.to_thread(mortal.terminate),
                ended_without_an_end([native, second], [chat, idle]),
            )
            assert status == 0, "it has not waited for `drain_seconds`: that would be too long"
            had_native += ends[0]
            had_agents += ends[1]
            had_chat += ends[2]
        else:
            mortal.kill()
    gate.set()
    mortal.start()
    had_native += await sse_all(
        client,
        "GET",
        f"{RUNS}/{had_native[0].data['run_id']}/events",
        headers={"last-event-id": had_native[-1].id},
    )
    had_agents += await sse_all(
        client, "POST", STREAM, json=agents, headers={"last-event-id": had_agents[-1].id}
    )
    last = json.loads(had_chat[-1])
    async with socket(f"{mortal.ws}/ws/chat") as chat:
        await chat.send(type="resume", run_id=last["run_id"], last_seq=last["seq"])
        had_chat += await chat.texts_until("complete")
    blocks = await whole_run(client, had_native[0].data["run_id"])
    assert raw(had_native) == raw(blocks)
    check_native([block.data for block in blocks])
    from_start = {"last-event-id": f"{had_agents[0].data['run_id']}:0.0"}
    assert raw(had_agents) == raw(
        await sse_all(client, "POST", STREAM, json=agents, headers=from_start)
    )
    check_multi_agent([block.data for block in had_agents])
    async with socket(f"{mortal.ws}/ws/chat") as chat:
        await chat.send(type="resume", run_id=last["run_id"], last_seq=0)
        assert had_chat == await chat.texts_until("complete")
    check_chat([json.loads(frame) for frame in had_chat])
    queued = await whole_run(client, waiting["run_id"])
    assert (queued[-1].event, queued[-1].data["text"]) == ("run_complete", TEXT)


async def shown_in_chat(chat: Socket, text: str) -> list[str]:
    frames: list[str] = []
    while not frames or json.loads(frames[-1]).get("partial_response") != text:
        frames.append(await chat.text())
    return frames


async def ended_without_an_end(streams: list[SseReader], sockets: list[Socket]) -> list[list[Any]]:
    """What streams still bring until the server leaves them: no terminal event, and code 1012 on sockets."""
    ends: list[list[Any]] = [await stream.rest() for stream in streams]
    for end in ends:
        assert not TERMINAL & {block.data["type"] for block in end}
        assert "complete" not in {block.data["type"] for block in end}
    told: list[str] = []
    for one in sockets:
        frames: list[str] = []
        code = await last_frames(one, frames)
        assert code in (1012, 1001)
        told += frames
    assert not {"complete", "error"} & {json.loads(frame)["type"] for frame in told}
    return [*ends, told]


async def last_frames(one: Socket, frames: list[str]) -> int:
    from websockets.exceptions import ConnectionClosed

    try:
        while True:
            frames.append(await one.text())
    except ConnectionClosed:
        code = one.connection.close_code
        assert code is not None
        return code


async def test_a_document_client_is_shown_a_run_anew_that_its_server_died_with(
    mortal: ProcessServer, teller: Teller
) -> None:
    """It cannot say what it has, and nobody else knows."""
    gate = threading.Event()
    question = teller.answer(f"died {uuid4()}", Reply("one two three", gate=gate, gate_at=1))
    url = f"{mortal.ws}/api/streaming/ws/{uuid4()}"
    async with socket(url) as opened:
        await opened.send(type="multi_agent_request", request={"query": question})
        await opened.until("agent_chunk")
        mortal.kill()
    gate.set()
    mortal.start()
    async with socket(url) as opened:
        assert (await opened.frame())["type"] == "connected"
        frames = await opened.until("complete")
    check_multi_agent(frames)
    assert frames[-1]["response"] == "one two three"


async def test_a_client_that_lost_the_acknowledgement_asks_again_with_its_key(
    mortal: ProcessServer, client: httpx.AsyncClient, teller: Teller
) -> None:
    """The message was stored, the answer to the request was not seen: the same request leads to the same run."""
    question, headers = (
        teller.answer("never acknowledged", TEXT),
        SSE | {"idempotency-key": str(uuid4())},
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", mortal.port)
    body = json.dumps({"message": question}).encode()
    head = f"POST {RUNS} HTTP/1.1\r\nhost: localhost\r\nidempotency-key: {headers['idempotency-key']}\r\n"
    writer.write(
        f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    await asyncio.to_thread(teller.wait_asked, question)
    mortal.kill()
    writer.close()
    assert reader is not None
    mortal.start()
    blocks = await sse_all(client, "POST", RUNS, json={"message": question}, headers=headers)
    await check_stored_once(client, blocks, question)
