"""Seed 004's routes over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from antiphon.api.dialects.sessions import Pieces
from antiphon.data.ids import new_id
from tests.api.flows import saved, saying
from tests.api.order import check_sessions
from tests.api.wire import Block, raw, sse, sse_all
from tests.support.model_server import Reply
from tests.support.server import (
    UNLIMITED,
    LiveServer,
    Teller,
    bearer,
    model_settings,
    running_server,
    wait_until,
)

ANSWER = "One two  three\n\nfour five six seven.\nEight 🙂 nine."


@pytest.fixture
def session() -> str:
    return f"/sessions/{uuid4()}"


def tokens(blocks: list[Block]) -> list[str]:
    return [block.data["content"] for block in blocks if block.data["type"] == "token"]


async def ask(client: httpx.AsyncClient, session: str, content: str, **given: Any) -> list[Block]:
    """The events of an answer, in the document's order."""
    blocks = await sse_all(
        client, "POST", f"{session}/messages/stream", json={"content": content, **given}
    )
    check_sessions([block.data for block in blocks])
    return blocks


async def messages(client: httpx.AsyncClient, session: str) -> list[tuple[str, str]]:
    """`(role, content)` of a session's messages."""
    listed = (await client.get(f"{session}/messages")).json()
    assert listed["data"] == listed["messages"]
    assert isinstance(listed["message"], str)
    return [(one["role"], one["content"]) for one in listed["messages"]]


# -- the stream ------------------------------------------------------------------------------------


async def test_an_answer_streams_and_is_stored_when_it_ends(
    client: httpx.AsyncClient, session: str
) -> None:
    async with sse(
        client, "POST", f"{session}/messages/stream", json={"content": "hi", "role": "user"}
    ) as reader:
        blocks = await reader.until("end")
        listed = (await client.get(f"{session}/messages")).json()["messages"]
        assert await reader.rest() == []
    check_sessions([block.data for block in blocks])
    assert "".join(tokens(blocks)) == "You said: hi"
    asked, answered = listed
    assert blocks[0].data["messageId"] == blocks[-1].data["messageId"] == answered["id"]
    assert set(asked) == {"id", "session_id", "content", "role", "timestamp"}
    assert [one["session_id"] for one in listed] == [session.rpartition("/")[2]] * 2
    assert [(one["role"], one["content"]) for one in listed] == [
        ("user", "hi"),
        ("assistant", "You said: hi"),
    ]
    assert answered["timestamp"].endswith("Z")


async def test_events_have_data_only_and_the_documents_headers(
    client: httpx.AsyncClient, session: str
) -> None:
    async with sse(
        client, "POST", f"{session}/messages/stream", json={"content": "headers"}
    ) as reader:
        headers = reader.response.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "no-cache" in headers["cache-control"]
        assert headers["connection"] == "keep-alive"
        for block in await reader.rest():
            assert [line.partition(b": ")[0] for line in block.raw.split(b"\n")] == [b"id", b"data"]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [(None, "*"), ("http://localhost:3000", "http://localhost:3000"), ("same", "*")],
)
async def test_a_browser_is_given_exactly_one_allowed_origin(
    live: LiveServer, client: httpx.AsyncClient, session: str, origin: str | None, allowed: str
) -> None:
    origin = live.url if origin == "same" else origin
    allowed = live.url if origin == live.url else allowed
    headers = {"origin": origin} if origin else {}
    async with sse(
        client, "POST", f"{session}/messages/stream", json={"content": "x"}, headers=headers
    ) as reader:
        given = reader.response.headers
        assert given.get_list("access-control-allow-origin") == [allowed]
        assert "access-control-allow-credentials" not in given


async def test_a_foreign_page_is_refused_in_the_documents_words(
    client: httpx.AsyncClient, session: str
) -> None:
    headers = {"origin": "https://evil.example"}
    response = await client.post(
        f"{session}/messages/stream", json={"content": "x"}, headers=headers
    )
    assert response.status_code == 403
    assert set(response.json()) == {"detail", "code"}
    assert "access-control-allow-origin" not in response.headers


async def test_a_failed_answer_is_an_error_without_an_end(
    client: httpx.AsyncClient, teller: Teller, session: str
) -> None:
    question = teller.answer(
        f"fails {session}", Reply("Half of it", fail_after=1), Reply(status=400)
    )
    blocks = await ask(client, session, question)
    last = blocks[-1].data
    assert (last["type"], last["code"]) == ("error", "MODEL_REFUSED")
    assert last["error"]
    # elsewhere: a model is sent two messages in a row of one conversation as one
    waited = await client.post(f"/sessions/{uuid4()}/messages", json={"content": question})
    assert (waited.status_code, set(waited.json())) == (502, {"detail", "code"})


async def test_text_that_was_replaced_is_right_after_the_refresh(
    client: httpx.AsyncClient, teller: Teller, session: str
) -> None:
    question = teller.answer(
        f"replaced {session}", Reply("One two three four", fail_after=2), "One two, then seven."
    )
    blocks = await ask(client, session, question)
    shown = "".join(tokens(blocks))
    assert blocks[-1].data["type"] == "end"
    assert "One two three".startswith(shown) or shown == "One two, then seven."
    assert (await messages(client, session))[-1] == ("assistant", "One two, then seven.")


async def test_a_repeated_key_asks_once(
    client: httpx.AsyncClient, teller: Teller, session: str
) -> None:
    path, body, headers = (
        f"{session}/messages/stream",
        {"content": f"once {session}"},
        {"idempotency-key": session},
    )
    answers = await asyncio.gather(
        *(client.post(path, json=body, headers=headers) for _ in range(5))
    )
    assert len({answer.content.replace(b": hb\n", b"") for answer in answers}) == 1
    assert len(teller.asked(body["content"])) == 1
    fallback = await client.post(f"{session}/messages", json=body, headers=headers)
    assert fallback.json()["data"]["content"] == f"You said: once {session}"
    assert len(await messages(client, session)) == 2
    other = await client.post(path, json={"content": "another"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_CONFLICT")


# -- fixed chunks ----------------------------------------------------------------------------------


def pieces(text: str, words: int) -> list[str]:
    cutter = Pieces(words)
    return [*cutter.cut(text), cutter.rest()]


@pytest.mark.parametrize("way", ["body", "query", "both"])
async def test_chunks_are_so_many_words(
    client: httpx.AsyncClient, teller: Teller, session: str, way: str
) -> None:
    question = teller.answer(f"chunks {way}", ANSWER)
    body = {"content": question} | ({"chunk_words": 3} if way != "query" else {})
    params = {} if way == "body" else {"chunk_words": 3 if way == "query" else 2}
    blocks = await sse_all(client, "POST", f"{session}/messages/stream", json=body, params=params)
    assert (
        tokens(blocks)
        == pieces(ANSWER, 3)
        == ["One two  three\n\n", "four five six ", "seven.\nEight 🙂 ", "nine."]
    )


async def test_chunks_keep_their_distance(
    client: httpx.AsyncClient, teller: Teller, session: str
) -> None:
    question = teller.answer(f"paced {session}", ANSWER)
    clock = asyncio.get_running_loop().time
    body = {"content": question, "chunk_words": 3, "delay_ms": 100}
    async with sse(client, "POST", f"{session}/messages/stream", json=body) as reader:
        await reader.until("token")
        begun = clock()
        blocks = await reader.rest()
    assert clock() - begun > 0.25
    assert len(tokens(blocks)) == 3


async def test_a_reader_that_leaves_in_a_pause_is_let_go(
    live: LiveServer, client: httpx.AsyncClient, teller: Teller, session: str
) -> None:
    question = teller.answer(f"leaves {session}", "word " * 500)
    body = {"content": question, "chunk_words": 1, "delay_ms": 1000}

    def streams() -> float:
        text = httpx.get(f"{live.url}/metrics", trust_env=False).text
        (line,) = [
            one
            for one in text.splitlines()
            if one.startswith('antiphon_streams_open{transport="sse"}')
        ]
        return float(line.split()[-1])

    before = await asyncio.to_thread(streams)
    async with sse(client, "POST", f"{session}/messages/stream", json=body) as reader:
        await reader.until("token")
        assert await asyncio.to_thread(streams) > before
    await asyncio.to_thread(wait_until, lambda: streams() <= before, "the stream stayed", 10)
    assert (await messages(client, session))[0] == ("user", question)


@pytest.fixture(scope="module")
def chunking(tmp_path_factory: pytest.TempPathFactory, teller: Teller) -> Iterator[LiveServer]:
    """A server whose streams come in chunks unless a request says otherwise."""
    folder = tmp_path_factory.mktemp("chunking")
    given = model_settings(teller) | UNLIMITED | {"chunk_words": 3, "chunk_delay_ms": 1}
    with running_server(folder, **given) as server:
        yield server


async def test_chunks_can_be_a_setting(chunking: LiveServer, teller: Teller, session: str) -> None:
    question = teller.answer("chunks by setting", ANSWER)
    async with httpx.AsyncClient(base_url=chunking.url, trust_env=False) as client:
        assert tokens(await ask(client, session, question)) == pieces(ANSWER, 3)
        freely = await ask(client, session, question, chunk_words=0, delay_ms=0)
        assert "".join(tokens(freely)) == ANSWER
        assert tokens(freely) != pieces(ANSWER, 3)


# -- sessions --------------------------------------------------------------------------------------


async def test_a_session_is_made_listed_read_and_deleted(guarded: LiveServer) -> None:
    user = f"user-{uuid4()}"
    async with httpx.AsyncClient(
        base_url=guarded.url, headers=bearer(user), trust_env=False
    ) as client:
        made = await client.post("/sessions", json={"title": "Plans"})
        assert made.status_code == 201
        plans = made.json()["data"]
        assert made.json()["session"] == plans
        assert set(plans) == {"id", "title", "created_at", "updated_at"}
        untitled = (await client.post("/sessions")).json()["data"]
        assert untitled["title"] is None
        await ask(client, "/sessions/my own", "hi")
        await ask(client, f"/sessions/{plans['id']}", "hi")
        listed = (await client.get("/sessions")).json()
        assert listed["data"] == listed["sessions"]
        assert [one["id"] for one in listed["data"]] == [plans["id"], "my own", untitled["id"]]
        for one in listed["data"]:
            assert (await client.get(f"/sessions/{one['id']}")).json()["data"] == one
            assert (await client.get(f"/sessions/{one['id']}/messages")).status_code == 200
            gone = await client.delete(f"/sessions/{one['id']}")
            assert (gone.status_code, gone.json()["data"]) == (200, one)
            for method in ("GET", "DELETE"):
                answer = await client.request(method, f"/sessions/{one['id']}")
                assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
            assert (await client.get(f"/sessions/{one['id']}/messages")).status_code == 404
        assert (await client.get("/sessions")).json()["data"] == []


async def test_a_session_is_a_conversation(
    client: httpx.AsyncClient, teller: Teller, session: str
) -> None:
    await ask(client, session, "session one")
    await ask(client, session, f"two {session}")
    (asked,) = teller.asked(f"two {session}")
    assert "You said: session one" in [message["content"] for message in asked.messages]


async def test_the_fallback_answers_with_the_stored_message(
    client: httpx.AsyncClient, session: str
) -> None:
    answer = await client.post(
        f"{session}/messages", json={"content": "all at once", "role": "user"}
    )
    assert answer.status_code == 200
    listed = (await client.get(f"{session}/messages")).json()["messages"]
    assert answer.json()["data"] == listed[-1]
    assert answer.json()["data"]["content"] == "You said: all at once"
    assert isinstance(answer.json()["message"], str)


async def test_a_session_that_is_deleted_while_it_answers_ends_its_stream(
    client: httpx.AsyncClient, teller: Teller, session: str
) -> None:
    gate = threading.Event()
    question = teller.answer(f"deleted {session}", Reply("Going on and on", gate=gate, gate_at=2))
    async with sse(
        client, "POST", f"{session}/messages/stream", json={"content": question}
    ) as reader:
        had = await reader.until("token")
        assert (await client.delete(session)).status_code == 200
        rest = await reader.rest()
        assert not rest or rest[-1].data["code"] == "CANCELLED"
    gate.set()
    assert (await client.get(session)).status_code == 404
    resumed = await client.post(
        f"{session}/messages/stream",
        json={"content": question},
        headers={"last-event-id": had[-1].id},
    )
    assert (resumed.status_code, resumed.json()["code"]) == (410, "CURSOR_GONE")
    await ask(client, session, "anew")
    assert len(await messages(client, session)) == 2


async def test_whoever_follows_a_thread_that_is_deleted_comes_to_an_end(
    client: httpx.AsyncClient, session: str
) -> None:
    first = (await ask(client, session, "followed"))[0]
    run = (await client.get(f"/api/v1/runs/{first.data['run_id']}")).json()
    async with sse(client, "GET", f"/api/v1/threads/{run['thread_id']}/events") as reader:
        await reader.until("run_complete")
        await client.delete(session)
        assert await reader.rest() == []


# -- whose it is -----------------------------------------------------------------------------------


async def test_what_is_somebody_elses_is_as_good_as_missing(guarded: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        mine = (await client.post("/sessions", headers=bearer("ada"))).json()["data"]["id"]
        await client.post(
            f"/sessions/{mine}/messages", json={"content": "secret"}, headers=bearer("ada")
        )
        await client.post(
            "/sessions/ours/messages", json={"content": "secret"}, headers=bearer("ada")
        )
        for method, path in (("GET", ""), ("GET", "/messages"), ("DELETE", "")):
            answers = [
                await client.request(method, f"/sessions/{one}{path}", headers=bearer("eve"))
                for one in (mine, "ours", new_id())
            ]
            assert [answer.status_code for answer in answers] == [404] * 3
            assert len({answer.text for answer in answers}) == 1
        for one in (mine, "ours"):  # under the same name eve begins a session of her own
            await client.post(
                f"/sessions/{one}/messages", json={"content": "hers"}, headers=bearer("eve")
            )
            hers = (await client.get(f"/sessions/{one}/messages", headers=bearer("eve"))).json()[
                "data"
            ]
            assert [message["content"] for message in hers] == ["hers", "You said: hers"]
            await client.delete(f"/sessions/{one}", headers=bearer("eve"))
            his = (await client.get(f"/sessions/{one}/messages", headers=bearer("ada"))).json()[
                "data"
            ]
            assert his[0]["content"] == "secret"


async def test_a_cursor_of_another_session_or_user_is_gone(
    guarded: LiveServer, session: str
) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        path = f"{session}/messages/stream"
        blocks = await sse_all(client, "POST", path, json={"content": "x"}, headers=bearer("ada"))
        await client.post("/sessions/other/messages", json={"content": "x"}, headers=bearer("ada"))
        for path, user in (("/sessions/other", "ada"), (session, "eve")):
            answer = await client.post(
                f"{path}/messages/stream",
                json={"content": "x"},
                headers=bearer(user) | {"last-event-id": blocks[0].id},
            )
            assert (answer.status_code, answer.json()["code"]) == (410, "CURSOR_GONE")


async def test_nobody_comes_in_without_a_login(guarded: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        for method, path in (
            ("POST", "/messages/stream"),
            ("POST", "/messages"),
            ("GET", ""),
            ("DELETE", ""),
        ):
            answer = await client.request(method, f"/sessions/s{path}", json={"content": "x"})
            assert (answer.status_code, answer.json()["code"]) == (401, "AUTH_REQUIRED")
            assert set(answer.json()) == {"detail", "code"}
            assert answer.headers["www-authenticate"] == "Bearer"


# -- bad requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"content": ""}, "EMPTY_MESSAGE"),
        ({"content": " \n"}, "EMPTY_MESSAGE"),
        ({}, "EMPTY_MESSAGE"),
        ({"content": None}, "EMPTY_MESSAGE"),
        ({"content": ["x"]}, "BAD_REQUEST"),
        ({"content": "x", "role": "assistant"}, "BAD_REQUEST"),
        ({"content": "x", "chunk_words": -1}, "BAD_REQUEST"),
        ({"content": "x", "chunk_words": 1001}, "BAD_REQUEST"),
        ({"content": "x", "chunk_words": 1.5}, "BAD_REQUEST"),
        ({"content": "x", "delay_ms": 1001}, "BAD_REQUEST"),
        ({"content": "x", "delay_ms": "fast"}, "BAD_REQUEST"),
    ],
)
@pytest.mark.parametrize("path", ["/messages/stream", "/messages"])
async def test_a_bad_message_is_unprocessable(
    client: httpx.AsyncClient, session: str, path: str, body: dict[str, Any], code: str
) -> None:
    answer = await client.post(session + path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert set(answer.json()) == {"detail", "code"}
    assert (await client.get(session)).status_code == 404, "a refused message leaves no session"


@pytest.mark.parametrize("query", ["chunk_words=x", "chunk_words=-1", "delay_ms=1001", "delay_ms="])
async def test_a_bad_pace_is_unprocessable(
    client: httpx.AsyncClient, session: str, query: str
) -> None:
    answer = await client.post(f"{session}/messages/stream?{query}", json={"content": "x"})
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")


@pytest.mark.parametrize("name", ["x" * 129, "a%00b"])
async def test_a_session_of_an_impossible_name_is_unprocessable(
    client: httpx.AsyncClient, name: str
) -> None:
    for method, path in (("GET", ""), ("GET", "/messages"), ("DELETE", ""), ("POST", "/messages")):
        answer = await client.request(method, f"/sessions/{name}{path}", json={"content": "x"})
        assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")


# -- questions -------------------------------------------------------------------------------------


async def test_a_question_is_an_answer_and_the_next_message_answers_it(
    asking: LiveServer, session: str
) -> None:
    async with httpx.AsyncClient(base_url=asking.url, trust_env=False) as client:
        first = await ask(client, session, "ask me")
        assert "".join(tokens(first)) == "Which car?"
        assert await messages(client, session) == [("user", "ask me"), ("assistant", "Which car?")]
        second = await ask(client, session, "Merula")
        assert "".join(tokens(second)) == "So it is: Merula "
        assert first[0].data["messageId"] != second[0].data["messageId"]
        assert await messages(client, session) == [
            ("user", "ask me"),
            ("assistant", "Which car?"),
            ("user", "Merula"),
            ("assistant", "So it is: Merula "),
        ]
        third = await ask(client, session, "and on")
        assert "".join(tokens(third)) == "So it is: and on "


async def test_each_of_two_turns_resumes_and_repeats_as_it_was(
    asking: LiveServer, session: str
) -> None:
    path = f"{session}/messages/stream"
    async with httpx.AsyncClient(base_url=asking.url, trust_env=False) as client:
        turns = []
        for content in ("ask me", "Merula"):
            request = {
                "json": {"content": content},
                "headers": {"idempotency-key": f"{session} {content}"},
            }
            turns.append((request, await sse_all(client, "POST", path, **request)))
        for request, blocks in turns:
            assert raw(await sse_all(client, "POST", path, **request)) == raw(blocks)
            for count in range(1, len(blocks)):
                headers = {"last-event-id": blocks[count - 1].id}
                assert raw(await sse_all(client, "POST", path, json={}, headers=headers)) == raw(
                    blocks[count:]
                )


async def test_the_fallback_asks_and_is_answered(asking: LiveServer, session: str) -> None:
    async with httpx.AsyncClient(base_url=asking.url, trust_env=False) as client:
        for content, told in (("ask me", "Which car?"), ("Merula", "So it is: Merula ")):
            answer = await client.post(f"{session}/messages", json={"content": content})
            assert answer.json()["data"]["content"] == told
        assert (await client.delete(session)).status_code == 200


async def test_a_session_that_waits_for_a_human_can_be_deleted(
    asking: LiveServer, session: str
) -> None:
    async with httpx.AsyncClient(base_url=asking.url, trust_env=False) as client:
        await ask(client, session, "ask me")
        assert (await client.delete(session)).status_code == 200
        assert (await client.get(f"{session}/messages")).status_code == 404


async def test_a_session_may_belong_to_a_flow(client: httpx.AsyncClient) -> None:
    flow = await saved(client, saying("You said {{ message }}."))
    session = (await client.post("/sessions", json={"agent_id": flow})).json()["data"]["id"]
    for content in ("one", "two"):
        assert (
            "".join(tokens(await ask(client, f"/sessions/{session}", content)))
            == f"You said {content}."
        )
    refused = await client.post("/sessions", json={"agent_id": "nowhere"})
    assert (refused.status_code, refused.json()["code"]) == (422, "UNKNOWN_GRAPH")
