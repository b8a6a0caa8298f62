"""Seed 003's routes over HTTP, and its page."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import threading
from uuid import uuid4

import httpx

from antiphon.api.routes.chat import page_headers
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller

CHAT = "/api/v1/chat"


async def test_a_question_is_answered_with_the_documents_fields(client: httpx.AsyncClient) -> None:
    response = await client.post(
        CHAT, json={"message": "hello chat", "session_id": "s-1", "customer_id": "c-1"}
    )
    assert response.status_code == 200
    whole = response.json()
    assert set(whole) == {"response", "session_id", "metadata", "run_id"}, (
        "and the run, to answer its question by"
    )
    assert (whole["response"], whole["session_id"]) == ("You said: hello chat", "s-1")
    assert whole["metadata"]["agent"] == "specs"
    assert isinstance(whole["metadata"]["confidence"], float)
    assert whole["metadata"]["context"] == {"sources": []}


async def test_a_session_is_a_conversation(client: httpx.AsyncClient, teller: Teller) -> None:
    session = str(uuid4())
    for message in ("chat one", "chat two"):
        await client.post(CHAT, json={"message": message, "session_id": session})
    (asked,) = teller.asked("chat two")
    assert "You said: chat one" in [message["content"] for message in asked.messages]


async def test_a_session_that_the_server_named_is_a_conversation_too(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    """The test page does so: it sends null first, then the id that it was given."""
    first = (await client.post(CHAT, json={"message": "my first words", "session_id": None})).json()
    await client.post(CHAT, json={"message": "my second words", "session_id": first["session_id"]})
    (asked,) = teller.asked("my second words")
    assert "You said: my first words" in [message["content"] for message in asked.messages]


async def test_a_repeated_key_asks_once(client: httpx.AsyncClient, teller: Teller) -> None:
    headers, body = {"idempotency-key": str(uuid4())}, {"message": f"once {uuid4()}"}
    answers = await asyncio.gather(
        *(client.post(CHAT, json=body, headers=headers) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert len(teller.asked(body["message"])) == 1


async def test_an_answer_that_fails_is_told_in_the_documents_words(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    question = teller.answer("chat fails", Reply(status=400, error="the provider's own words"))
    response = await client.post(CHAT, json={"message": question})
    assert (response.status_code, response.json()["code"]) == (502, "PROCESSING_ERROR")
    assert "provider" not in response.text


async def test_an_answer_that_is_stopped_is_told(client: httpx.AsyncClient, teller: Teller) -> None:
    gate = threading.Event()
    question = teller.answer("chat stops", Reply("never to be finished", gate=gate, gate_at=1))
    waiting = asyncio.ensure_future(client.post(CHAT, json={"message": question}))
    await asyncio.to_thread(teller.wait_asked, question)
    threads = (await client.get("/api/v1/threads")).json()["threads"]
    async with client.stream("GET", f"/api/v1/threads/{threads[0]['id']}/events") as stream:
        async for line in stream.aiter_lines():
            if found := re.match(r"id: ([^:]+):", line):
                await client.post(f"/api/v1/runs/{found[1]}/cancel")
                break
    response = await waiting
    gate.set()
    assert (response.status_code, response.json()["code"]) == (502, "CANCELLED")


async def test_a_question_to_the_human_is_the_response(asking: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=asking.url, trust_env=False) as client:
        body = {"message": "ask me", "session_id": str(uuid4())}
        first = (await client.post(CHAT, json=body)).json()
        assert (first["response"], first["metadata"]["interrupt"]["options"]) == (
            "Which car?",
            ["Merula", "other"],
        )
        second = (await client.post(CHAT, json=body | {"message": "Merula"})).json()
        assert second["response"] == "So it is: Merula "


# -- the page --------------------------------------------------------------------------------------


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


async def test_the_page_allows_its_own_script_and_style_and_nothing_else(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/ws/test")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html; charset=utf-8")
    policy = dict(
        one.strip().split(" ", 1) for one in page.headers["content-security-policy"].split(";")
    )
    scripts, styles = (
        re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL) for tag in ("script", "style")
    )
    assert policy["script-src"].split() == [digest(script) for script in scripts]
    assert policy["style-src"].split() == [digest(style) for style in styles]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"


async def test_the_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/ws/test")).text
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["'](?!data:)""", page)
    assert "innerHTML" not in page
    assert not re.search(r"\son\w+\s*=\s*[\"']", page), (
        "inline handlers would be blocked by the policy"
    )
    assert not re.search(r"\sstyle\s*=", page), "inline styles would be blocked by the policy"


def test_a_page_without_script_gets_a_policy_all_the_same() -> None:
    assert "default-src 'none'" in page_headers("<p>")["Content-Security-Policy"]
