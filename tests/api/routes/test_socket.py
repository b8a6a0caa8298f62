"""WebSocket conversations with a real server."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.order import check_chat, check_multi_agent, check_native
from tests.api.wire import Socket, socket, sse, sse_all
from tests.support.deadline import DEADLINE
from tests.support.model_server import Reply
from tests.support.server import (
    LiveServer,
    Teller,
    bearer,
    jwt_settings,
    model_settings,
    running_server,
    token,
)

NATIVE, CHAT = "/api/v1/ws", "/ws/chat"


def multi_agent(connection: str | None = None) -> str:
    return f"/api/streaming/ws/{connection or uuid4()}"


# --------------------------------------------------------------------------------------------------- a whole run


async def test_chat_tells_a_run_in_the_documents_order(live: LiveServer) -> None:
    async with socket(live.ws + CHAT) as opened:
        await opened.send(type="message", message="hello socket", session_id=None, customer_id=None)
        frames = await opened.until("complete")
    check_chat(frames)
    assert frames[-1]["response"] == "You said: hello socket"
    assert frames[-1]["session_id"]


async def test_multi_agent_tells_a_run_in_the_documents_order(live: LiveServer) -> None:
    async with socket(live.ws + multi_agent("my-id")) as opened:
        connected = await opened.frame()
        assert (connected["type"], connected["connection_id"]) == ("connected", "my-id")
        await opened.send(type="multi_agent_request", request={"query": "hello agents"})
        frames = await opened.until("complete")
    check_multi_agent(frames)
    assert frames[-1]["response"] == "You said: hello agents"


async def test_native_tells_a_run_and_mixes_several(live: LiveServer) -> None:
    async with socket(live.ws + NATIVE) as opened:
        for message in ("mixed one", "mixed two"):
            await opened.send(type="message", message=message)
        frames = await opened.until("run_complete") + await opened.until("run_complete")
    runs = {frame["run_id"] for frame in frames}
    assert len(runs) == 2
    for run in runs:
        check_native([frame for frame in frames if frame["run_id"] == run])


async def test_frames_are_those_of_the_stream(live: LiveServer, client: httpx.AsyncClient) -> None:
    blocks = await sse_all(client, "POST", "/api/v1/runs", json={"message": "the same"})
    async with socket(live.ws + NATIVE) as opened:
        await opened.send(type="resume", run_id=blocks[0].data["run_id"], after=0)
        assert await opened.texts_until("run_complete") == [block.text for block in blocks]


async def test_messages_are_answered_one_after_the_other(live: LiveServer, teller: Teller) -> None:
    gate = threading.Event()
    slow = teller.answer("the slow one", Reply("slow", gate=gate, gate_at=0))
    async with socket(live.ws + CHAT) as opened:
        for message in (slow, "the quick one"):
            await opened.send(type="message", message=message, session_id=str(uuid4()))
        await asyncio.to_thread(teller.wait_asked, "the quick one")
        gate.set()
        first, second = await opened.until("complete"), await opened.until("complete")
    for frames, response in ((first, "slow"), (second, "You said: the quick one")):
        check_chat(frames)
        assert frames[-1]["response"] == response


async def test_the_tenth_waiting_message_is_too_many(live: LiveServer, teller: Teller) -> None:
    gate = threading.Event()
    held = teller.answer("the queue is full", Reply("at last", gate=gate, gate_at=0))
    async with socket(live.ws + CHAT) as opened:
        for _ in range(10):
            await opened.send(type="message", message=held, session_id="one")
        frames = await opened.until("error")
        assert frames[-1]["code"] == "BUSY"
        gate.set()
        responses = [(await opened.until("complete"))[-1]["response"] for _ in range(9)]
    assert responses == ["at last"] * 9


@pytest.mark.parametrize("path", [NATIVE, CHAT, multi_agent("pinging")])
async def test_a_ping_is_answered_while_a_run_goes_on(
    live: LiveServer, teller: Teller, path: str
) -> None:
    gate = threading.Event()
    held = teller.answer(f"ping {path}", Reply("and pong", gate=gate, gate_at=1))
    async with socket(live.ws + path) as opened:
        await opened.send(type="message", message=held)
        await opened.until("token", "agent_chunk")
        await opened.send(type="ping")
        assert [frame["type"] for frame in await opened.until("pong")][-1] == "pong"
        gate.set()
        await opened.until("complete", "run_complete")


@pytest.mark.parametrize(
    ("path", "end"),
    [(CHAT, "error"), (multi_agent("cancel"), "complete"), (NATIVE, "run_cancelled")],
)
async def test_cancel_stops_what_is_being_answered(
    live: LiveServer, teller: Teller, path: str, end: str
) -> None:
    gate = threading.Event()
    held = teller.answer(f"cancel {end}", Reply("some words and no more", gate=gate, gate_at=2))
    async with socket(live.ws + path) as opened:
        await opened.send(type="message", message=held)
        frame = (await opened.until("token", "agent_chunk"))[-1]
        await opened.send(type="cancel", **({"run_id": frame["run_id"]} if path == NATIVE else {}))
        frames = await opened.until(end)
        assert (await opened.ask(type="ping"))["type"] == "pong", "the socket stays open"
    gate.set()
    if path == CHAT:
        assert frames[-1]["code"] == "CANCELLED"
    elif path == NATIVE:
        assert frames[-1]["partial_text"]
    else:
        assert frames[-1]["metadata"]["partial"] is True
        assert frames[-2]["code"] == "CANCELLED"


async def test_a_cancel_right_behind_its_message_is_heard(live: LiveServer, teller: Teller) -> None:
    gate = threading.Event()
    held = teller.answer("cancel at once", Reply("never said", gate=gate, gate_at=0))
    async with socket(live.ws + CHAT) as opened:
        for _ in range(5):
            await opened.send(type="message", message=held)
            await opened.send(type="cancel")
            assert (await opened.until("error", "complete"))[-1].get("code") == "CANCELLED"
    gate.set()


async def test_a_question_is_answered_over_the_socket(asking: LiveServer) -> None:
    async with socket(asking.ws + NATIVE) as opened:
        await opened.send(type="message", message="ask me")
        interrupt = (await opened.until("interrupt"))[-1]
        await opened.send(type="answer", run_id=interrupt["run_id"], answer="Merula")
        frames = await opened.until("run_complete")
        assert frames[0]["type"] == "interrupt_answered"
        assert frames[-1]["text"] == "So it is: Merula "
        again = await opened.ask(type="answer", run_id=interrupt["run_id"], answer="Merula")
        assert (again["type"], again["code"]) == ("error", "NOT_INTERRUPTED")


async def test_a_question_is_answered_by_the_next_chat_message(asking: LiveServer) -> None:
    async with socket(asking.ws + CHAT) as opened:
        session = str(uuid4())
        await opened.send(type="message", message="ask me", session_id=session)
        first = await opened.until("complete")
        assert first[-1]["response"] == "Which car?"
        await opened.send(type="message", message="Merula", session_id=session)
        second = await opened.until("complete")
    assert second[-1]["response"] == "So it is: Merula "
    check_chat([*first, *second])


async def test_a_repeated_key_gives_the_same_run(live: LiveServer, teller: Teller) -> None:
    message = {"type": "message", "message": f"once {uuid4()}", "idempotency_key": str(uuid4())}
    async with socket(live.ws + NATIVE) as opened:
        runs = set()
        for _ in range(3):
            await opened.send(**message)
            runs.add((await opened.until("run_complete"))[-1]["run_id"])
    assert len(runs) == 1
    assert len(teller.asked(message["message"])) == 1


async def test_a_goodbye_closes(live: LiveServer) -> None:
    for path in (NATIVE, multi_agent()):
        async with socket(live.ws + path) as opened:
            await opened.send(type="disconnect")
            assert await opened.closed() == 1000


# -------------------------------------------------------------------------------------------------------- logins


@pytest.mark.parametrize("path", [NATIVE, CHAT, multi_agent("login")])
@pytest.mark.parametrize("way", ["header", "subprotocol", "query", "message"])
async def test_there_are_four_ways_to_log_in(guarded: LiveServer, path: str, way: str) -> None:
    options: dict[str, Any] = {}
    if way == "header":
        options["additional_headers"] = bearer()
    if way == "subprotocol":
        options["subprotocols"] = ["chat.v1", f"bearer.{token()}"]
    query = f"?token={token()}" if way == "query" else ""
    async with socket(guarded.ws + path + query, **options) as opened:
        assert opened.connection.subprotocol == ("chat.v1" if way == "subprotocol" else None)
        if way == "message":
            assert (await opened.ask(type="auth", token=f"Bearer {token()}"))["type"] in (
                "auth_success",
                "connected",
            )
        await opened.send(type="message", message="logged in")
        frames = await opened.until("complete", "run_complete")
    assert all(frame["type"] != "error" for frame in frames)


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        (["{}"], "{}"),
        (["{}", "chat.v1"], "chat.v1"),
        (["other", "{}"], "{}"),
        (["chat.v1"], "chat.v1"),
        (["other"], None),
    ],
)
async def test_a_subprotocol_that_was_offered_is_selected(
    guarded: LiveServer, offered: list[str], selected: str | None
) -> None:
    """Browsers give up where none is, and where one is that they did not offer."""
    bearer_protocol = f"bearer.{token()}"
    names: Any = [name.format(bearer_protocol) for name in offered]
    async with socket(guarded.ws + CHAT, subprotocols=names) as opened:
        expected = None if selected is None else selected.format(bearer_protocol)
        assert opened.connection.subprotocol == expected
        if "{}" in offered:
            assert (await opened.frame())["type"] == "auth_success"
    assert bearer_protocol not in guarded.log


async def test_chat_says_who_logged_in(guarded: LiveServer) -> None:
    mine = token("ada", email="a@x", name="Ada")
    expected = {"id": "ada", "email": "a@x", "name": "Ada"}
    async with socket(guarded.ws + CHAT) as opened:
        success = await opened.ask(type="auth", token=mine)
        assert success == {
            "type": "auth_success",
            "message": "Authentication successful",
            "user": expected,
        }
    async with socket(f"{guarded.ws}{CHAT}?token={mine}") as opened:
        assert (await opened.frame())["user"] == expected


async def test_with_auth_off_any_token_will_do(live: LiveServer) -> None:
    async with socket(live.ws + CHAT) as opened:
        assert (await opened.ask(type="auth", token="anything"))["type"] == "auth_success"
    async with socket(f"{live.ws}{CHAT}?token=anything") as opened:
        assert (await opened.frame())["type"] == "auth_success"
    async with socket(live.ws + CHAT) as opened:
        assert (await opened.ask(type="ping"))["type"] == "pong", (
            "nobody logged in, nothing is said"
        )


@pytest.mark.parametrize("query", ["", "?token=", "?token=bad"])
async def test_the_third_bad_login_closes_the_chat(guarded: LiveServer, query: str) -> None:
    async with socket(guarded.ws + CHAT + query) as opened:
        seen = 0
        if query:
            assert await opened.frame() == {"type": "auth_error", "message": "Invalid token"}
            seen = 1
        for number in range(seen, 3):
            assert await opened.ask(type="auth", token="bad") == {
                "type": "auth_error",
                "message": "Invalid token",
            }
            if number < 2:
                assert (await opened.ask(type="message", message="hi"))["code"] == "AUTH_REQUIRED"
        assert await opened.closed() == 4401


async def test_a_bad_login_can_be_mended(guarded: LiveServer) -> None:
    async with socket(f"{guarded.ws}{CHAT}?token=bad") as opened:
        assert (await opened.frame())["type"] == "auth_error"
        assert (await opened.ask(type="auth", token=token()))["type"] == "auth_success"
        await opened.send(type="message", message="mended")
        assert (await opened.until("complete"))[-1]["response"] == "You said: mended"


async def test_the_documents_first_five_errors_in_a_row(guarded: LiveServer) -> None:
    """Too early, bad login, good login, empty message, then a whole run."""
    async with socket(guarded.ws + CHAT) as opened:
        assert (await opened.ask(type="message", message="early"))["code"] == "AUTH_REQUIRED"
        assert (await opened.ask(type="auth", token="bad"))["type"] == "auth_error"
        assert (await opened.ask(type="auth", token=token()))["type"] == "auth_success"
        for empty in ({"message": ""}, {"message": " \n"}, {}):
            assert (await opened.ask(type="message", **empty))["code"] == "EMPTY_MESSAGE"
        await opened.send(type="message", message="now")
        check_chat(await opened.until("complete"))


async def test_a_connection_id_is_its_users_own(guarded: LiveServer) -> None:
    path = multi_agent()
    async with socket(guarded.ws + path, additional_headers=bearer("ada")) as opened:
        await opened.send(type="message", message="ada's secret")
        await opened.until("complete")
    async with socket(f"{guarded.ws}{path}?last_seq=0", additional_headers=bearer("eve")) as opened:
        assert (await opened.frame())["type"] == "connected"
        assert (await opened.ask(type="ping"))["type"] == "pong"


# ------------------------------------------------------------------------------------------- coming back, seed 002


async def until_text(opened: Socket, text: str) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    while "".join(frame.get("chunk", "") for frame in frames if not frame.get("internal")) != text:
        frames.append(await opened.frame())
    return frames


async def test_a_client_that_keeps_its_connection_id_gets_what_it_missed(
    live: LiveServer, teller: Teller
) -> None:
    """As its document describes it: it says nothing about what it has seen."""
    gate = threading.Event()
    held = teller.answer("come back", Reply("one two three", gate=gate, gate_at=2))
    url = live.ws + multi_agent()
    async with socket(url) as opened:
        await opened.send(type="multi_agent_request", request={"query": held})
        frames = (await until_text(opened, "one two "))[1:]
    async with socket(url) as opened:
        assert (await opened.frame())["type"] == "connected"
        gate.set()
        frames += await opened.until("complete")
    check_multi_agent(frames)
    async with socket(url) as opened:
        assert (await opened.frame())["type"] == "connected"
        assert (await opened.ask(type="ping"))["type"] == "pong", (
            "nothing is left, nothing is said again"
        )


@pytest.mark.parametrize("session", [None, "my-session"])
async def test_a_client_with_a_connection_id_comes_back_to_a_server_that_was_started_anew(
    tmp_path: Path, teller: Teller, session: str | None
) -> None:
    question = teller.answer(f"anew {session}", Reply("one two three", delay=0.002))
    path = multi_agent("anew")
    with running_server(tmp_path, **model_settings(teller)) as server:
        async with socket(server.ws + path) as opened:
            body = {"query": question, "context": {"session_id": session}}
            await opened.send(type="multi_agent_request", request=body)
            whole = (await opened.texts_until("complete"))[1:]
    with running_server(tmp_path, **model_settings(teller)) as server:
        seen = json.loads(whole[4])["seq"]
        async with socket(f"{server.ws}{path}?last_seq={seen}") as opened:
            assert (await opened.texts_until("complete"))[1:] == whole[5:]


async def test_a_document_client_is_not_left_waiting_by_a_server_that_was_started_anew(
    tmp_path: Path, teller: Teller
) -> None:
    """It knows nothing of `last_seq`: without a word from the server it waits for ever."""
    gate = threading.Event()
    question = teller.answer("left waiting", Reply("one two three", gate=gate, gate_at=1))
    path = multi_agent("waiting")
    with running_server(tmp_path, **model_settings(teller)) as server:
        async with socket(server.ws + path) as opened:
            await opened.send(type="multi_agent_request", request={"query": question})
            await opened.until("agent_chunk")
    gate.set()
    with running_server(tmp_path, **model_settings(teller)) as server:
        async with socket(server.ws + path) as opened:
            assert (await opened.until("complete"))[-1]["response"] == "one two three"


async def test_a_server_that_was_started_anew_does_not_repeat_what_was_shown_to_its_end(
    tmp_path: Path, teller: Teller
) -> None:
    path = multi_agent("shown")
    with running_server(tmp_path, **model_settings(teller)) as server:
        async with socket(server.ws + path) as opened:
            await opened.send(type="multi_agent_request", request={"query": "all shown"})
            await opened.until("complete")
    with running_server(tmp_path, **model_settings(teller)) as server:
        async with socket(server.ws + path) as opened:
            assert (await opened.frame())["type"] == "connected"
            assert (await opened.ask(type="ping"))["type"] == "pong"


# ------------------------------------------------------------------------------------------------- slow readers


async def test_a_socket_that_takes_nothing_is_given_up_and_its_run_goes_on(
    tmp_path: Path, teller: Teller
) -> None:
    long = Reply(chunks=[f"{'word' * 100} {number} " for number in range(5_000)], burst=True)
    question = teller.answer("too much to read", long)
    with running_server(
        tmp_path, **model_settings(teller), **jwt_settings(), send_seconds=0.5
    ) as server:
        async with socket(server.ws + NATIVE, additional_headers=bearer(), max_queue=1) as stuck:
            await stuck.send(type="message", message=question)
            run_id = (await stuck.frame())["run_id"]
            stuck.connection.transport.pause_reading()
            async with httpx.AsyncClient(
                base_url=server.url, headers=bearer(), timeout=DEADLINE, trust_env=False
            ) as client:
                await read_to_its_end(client, run_id)
                await given_up(client)
            stuck.connection.transport.resume_reading()
            assert await stuck.closed() == 1006


async def test_a_stream_that_is_not_read_is_given_up_and_its_run_goes_on(
    tmp_path: Path, teller: Teller
) -> None:
    long = Reply(chunks=[f"{'word' * 100} {number} " for number in range(5_000)], burst=True)
    question = teller.answer("too much to stream", long)
    with running_server(tmp_path, **model_settings(teller), send_seconds=0.5) as server:
        async with httpx.AsyncClient(
            base_url=server.url, timeout=DEADLINE, trust_env=False
        ) as client:
            run_id = (await client.post("/api/v1/runs", json={"message": question})).json()[
                "run_id"
            ]
            async with client.stream("GET", f"/api/v1/runs/{run_id}/events") as stuck:
                assert stuck.status_code == 200
                await read_to_its_end(client, run_id)
                await given_up(client, "sse")
                with pytest.raises(httpx.TransportError):
                    async for _ in stuck.aiter_raw():
                        pass


async def read_to_its_end(client: httpx.AsyncClient, run_id: str) -> None:
    """Read a run up to `run_complete`, without a gap. On a busy machine this reader may be taken
    for a slow one as well: then it comes back, as clients do.
    """
    numbers: list[int] = []
    headers: dict[str, str] = {}
    path, last = f"/api/v1/runs/{run_id}/events", ""
    async with asyncio.timeout(DEADLINE):
        while last != "run_complete":
            with suppress(httpx.TransportError):
                async with sse(client, "GET", path, headers=headers) as reader:
                    while (block := await reader.block()) is not None:
                        numbers.append(block.data["seq"])
                        headers, last = {"last-event-id": block.id}, block.event or ""
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def given_up(client: httpx.AsyncClient, transport: str = "websocket") -> None:
    """Wait until the server counts no such stream any more."""
    async with asyncio.timeout(DEADLINE):
        while (
            f'antiphon_streams_open{{transport="{transport}"}} 1.0'
            in (await client.get("/metrics")).text
        ):
            pass


@pytest.mark.parametrize("depth", [300, 600, 800, 850, 900, 950])
async def test_a_deep_answer_over_a_socket_is_refused(asking: LiveServer, depth: int) -> None:
    async with socket(asking.ws + "/api/v1/ws") as opened:
        await opened.send(type="message", message="ask me")
        run = (await opened.until("interrupt"))[-1]["run_id"]
        deep = "[" * depth + "]" * depth
        await opened.connection.send(f'{{"type":"answer","run_id":"{run}","answer":{deep}}}')
        told = await opened.text()
        while not re.search(r'"type":"(error|run_complete|run_error)"', told):
            told = await opened.text()
        assert '"code":"INVALID_JSON"' in told or '"code":"BAD_REQUEST"' in told
        assert (await opened.ask(type="ping"))["type"] == "pong"
