"""Tests of the stand-in model server, with the real clients. Nothing here sleeps: gates order
things."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Optional

import httpx
import openai
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, Field, SecretStr

from tests.support.model_server import (
    ModelRequest,
    ModelServer,
    Reply,
    ReplyLike,
    ThreadedModelServer,
    by_agent,
    by_turn,
    default_script,
    minimal_instance,
)

pytestmark = pytest.mark.filterwarnings("error")
ROOT = Path(__file__).parents[2]
MODEL = "gpt-4o-mini"
SOON = 0.25  # seconds; what "within milliseconds" may take on a loaded machine
WEATHER_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["C", "F"]},
                "days": {"type": "integer"},
            },
            "required": ["city", "unit"],
        },
    },
}


@asynccontextmanager
async def serving(
    script: ReplyLike = default_script,
) -> AsyncIterator[tuple[ModelServer, openai.AsyncOpenAI]]:
    """Start a server, and a client that does not retry."""
    async with ModelServer(script) as server, client_of(server.base_url) as client:
        yield server, client


def client_of(base_url: str, retries: int = 0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=base_url, api_key="sk-test", max_retries=retries, timeout=10)


def chat_model(server: ModelServer, **options: Any) -> ChatOpenAI:
    options = {"max_retries": 0, "timeout": 10} | options
    return ChatOpenAI(
        model=MODEL, base_url=server.base_url, api_key=SecretStr("sk-test"), **options
    )


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def ask(client: openai.AsyncOpenAI, text: str = "hi", **options: Any) -> Any:
    return await client.chat.completions.create(model=MODEL, messages=user(text), **options)


async def chunks_of(
    client: openai.AsyncOpenAI, text: str = "hi", **options: Any
) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in await ask(client, text, stream=True, **options)]


async def collect(
    stream: AsyncIterator[ChatCompletionChunk], got: list[ChatCompletionChunk]
) -> None:
    async for chunk in stream:
        got.append(chunk)


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# ----------------------------------------------------------------------------------------- ordinary answers


@pytest.mark.asyncio
async def test_stream_has_the_shape_of_openai() -> None:
    async with serving(Reply("Grüße,  two\nlines 🙂 ")) as (server, client):
        first, *middle, last = await chunks_of(client)
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert [chunk.choices[0].delta.content for chunk in middle] == [
        "Grüße,  ",
        "two\n",
        "lines ",
        "🙂 ",
    ]
    assert last.choices[0].finish_reason == "stop"
    assert last.choices[0].delta.model_dump(exclude_unset=True) == {}
    assert {(c.id, c.object, c.model) for c in [first, *middle, last]} == {
        (first.id, "chat.completion.chunk", MODEL)
    }
    (request,) = server.requests
    assert (request.completed, request.tokens_sent, request.status, request.number) == (
        True,
        4,
        200,
        0,
    )
    assert request.headers["authorization"] == "Bearer sk-test"
    assert request.received_at <= (request.first_token_at or 0) <= (request.ended_at or 0)


@pytest.mark.asyncio
async def test_stream_bytes_are_exact() -> None:
    async with ModelServer(Reply(chunks=["a", "b"])) as server, httpx.AsyncClient() as client:
        body = {"model": "m", "messages": user("hi"), "stream": True}
        response = await client.post(f"{server.base_url}/chat/completions", json=body)
        shared = (
            response.headers["x-request-id"].removeprefix("req_"),
            int(server.requests[0].received_time),
        )
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["transfer-encoding"] == "chunked"
    role: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
    deltas = [role, {"content": "a"}, {"content": "b"}, {}]
    events = [expected_chunk(shared, delta, "stop" if not delta else None) for delta in deltas]
    assert response.text == "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])


def expected_chunk(
    shared: tuple[str, int], delta: dict[str, Any], finish_reason: str | None
) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    chunk = {
        "id": f"chatcmpl-{shared[0]}",
        "object": "chat.completion.chunk",
        "created": shared[1],
        "model": "m",
        "system_fingerprint": None,
        "choices": [choice],
    }
    return json.dumps(chunk, separators=(",", ":"))


@pytest.mark.asyncio
async def test_whole_answer_reasoning_and_usage() -> None:
    async with serving(Reply("one two three", reasoning=["let me ", "think"])) as (server, client):
        answer = await ask(client, "four words are here")
    assert answer.choices[0].message.content == "one two three"
    assert answer.choices[0].message.reasoning_content == "let me think"
    assert answer.choices[0].finish_reason == "stop"
    assert (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
        answer.usage.total_tokens,
    ) == (
        4,
        6,
        10,
    )
    assert (server.requests[0].completed, server.requests[0].tokens_sent) == (True, 5)


@pytest.mark.asyncio
async def test_reasoning_is_streamed_before_the_text() -> None:
    async with serving(Reply("yes", reasoning=["hm ", "so"])) as (_, client):
        deltas = [
            chunk.choices[0].delta.model_dump(exclude_unset=True)
            for chunk in await chunks_of(client)
        ]
    assert deltas[1:-1] == [
        {"reasoning_content": "hm "},
        {"reasoning_content": "so"},
        {"content": "yes"},
    ]


@pytest.mark.asyncio
async def test_usage_is_streamed_only_when_asked_for() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15}
    async with serving(Reply("one two", usage=usage)) as (_, client):
        without = await chunks_of(client)
        with_usage = await chunks_of(client, stream_options={"include_usage": True})
    assert all(chunk.usage is None and chunk.choices for chunk in without)
    assert all(chunk.usage is None and chunk.choices for chunk in with_usage[:-1])
    assert (with_usage[-1].choices, with_usage[-1].usage and with_usage[-1].usage.total_tokens) == (
        [],
        15,
    )


@pytest.mark.asyncio
async def test_tool_calls_streamed_and_whole() -> None:
    calls: list[dict[str, Any]] = [
        {"name": "search", "arguments": {"query": "a rather long query"}},
        {"name": "stop", "id": "call_x"},
    ]
    async with serving(Reply(tool_calls=calls)) as (_, client):
        chunks = await chunks_of(client)
        whole = await ask(client)
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "tool_calls"
    parts = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert [(p.index, p.function and p.function.name) for p in parts if p.id] == [
        (0, "search"),
        (1, "stop"),
    ]
    arguments = "".join(p.function.arguments or "" for p in parts if p.index == 0 and p.function)
    assert json.loads(arguments) == {"query": "a rather long query"}
    first, second = whole.choices[0].message.tool_calls
    assert (whole.choices[0].message.content, second.id, second.function.arguments) == (
        None,
        "call_x",
        "{}",
    )
    assert first.id != next(p.id for p in parts), "ids are unique per answer"


@pytest.mark.asyncio
async def test_models() -> None:
    async with serving() as (server, client):
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).object == "model"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nonesuch")
        assert not server.requests
        assert [request.status for request in server.other_requests] == [200, 200, 404]


@pytest.mark.asyncio
async def test_keep_alive_uses_one_connection() -> None:
    async with serving() as (server, client):
        for _ in range(3):
            assert text_of(await chunks_of(client, "hello")) == "You said: hello"
        assert (server.connections_total, server.connections_open) == (1, 1)


# ------------------------------------------------------------------------------------------------ langchain


@pytest.mark.asyncio
async def test_langchain_streams_text_and_usage() -> None:
    async with ModelServer(Reply("alpha beta gamma")) as server:
        chunks = [
            chunk async for chunk in chat_model(server, stream_usage=True).astream("hi there")
        ]
    total = sum(chunks[1:], start=chunks[0])
    assert isinstance(total, AIMessageChunk)
    assert (total.content, total.response_metadata["finish_reason"]) == ("alpha beta gamma", "stop")
    assert total.usage_metadata is not None
    assert (total.usage_metadata["input_tokens"], total.usage_metadata["output_tokens"]) == (2, 3)


@pytest.mark.asyncio
async def test_langchain_forced_tool_call() -> None:
    async with ModelServer() as server:
        model = chat_model(server).bind_tools([WEATHER_TOOL], tool_choice="get_weather")
        whole = await model.ainvoke("weather?")
        chunks = [chunk async for chunk in model.astream("weather?")]
    streamed = sum(chunks[1:], start=chunks[0])
    assert isinstance(streamed, AIMessageChunk)
    for message in (whole, streamed):
        (call,) = message.tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "", "unit": "C"})
        assert call["id"]


class Step(BaseModel):
    kind: Literal["search", "answer"]
    at: int = Field(ge=3)
    children: list[Step]


class Plan(BaseModel):
    agent: Literal["billing", "support"]
    confidence: float = Field(gt=0, lt=1)
    sure: bool
    note: Optional[str]  # noqa: UP045 - the schema is the point
    step: Step
    more: list[Step]


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_langchain_structured_output(method: Any) -> None:
    schema = Plan if method != "json_mode" else None
    async with ModelServer() as server:
        answer = (
            await chat_model(server).with_structured_output(schema, method=method).ainvoke("plan")
        )
    if schema is None:
        assert answer == {}
    else:
        assert isinstance(answer, Plan)
        assert (answer.agent, answer.step.kind, answer.step.at, answer.more) == (
            "billing",
            "search",
            3,
            [],
        )


# ------------------------------------------------------------------------------------------------- failures


@pytest.mark.asyncio
async def test_429_with_retry_after_then_success() -> None:
    script = by_turn([Reply(status=429, headers={"Retry-After": "0.001"}), "fine"])
    async with ModelServer(script) as server, client_of(server.base_url, retries=1) as client:
        assert text_of(await chunks_of(client)) == "fine"
    assert [(r.status, r.completed, r.tokens_sent) for r in server.requests] == [
        (429, True, 0),
        (200, True, 1),
    ]
    assert server.requests[1].headers["x-stainless-retry-count"] == "1"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [
        (401, None, openai.AuthenticationError),
        (429, {"code": "insufficient_quota"}, openai.RateLimitError),
        (500, "broken", openai.InternalServerError),
        (503, None, openai.InternalServerError),
    ],
)
async def test_errors_have_the_shape_of_openai(
    status: int, error: Any, raised: type[openai.APIError]
) -> None:
    reply = Reply(status=status, error=error, headers={"retry-after": "7"})
    async with serving(reply) as (_, client):
        with pytest.raises(raised) as caught:
            await chunks_of(client)
    assert isinstance(caught.value, openai.APIStatusError)
    assert caught.value.response.headers["retry-after"] == "7"
    assert set(caught.value.response.json()["error"]) == {"message", "type", "param", "code"}
    expected = {401: "invalid_api_key", 429: "insufficient_quota"}
    assert caught.value.code == expected.get(status)


@pytest.mark.asyncio
@pytest.mark.parametrize("burst", [False, True])
@pytest.mark.parametrize("cut", ["rst", "close"])
async def test_cut_after_two_chunks(cut: Literal["rst", "close"], burst: bool) -> None:
    got: list[ChatCompletionChunk] = []
    async with serving(Reply("a b c d", fail_after=2, cut=cut, burst=burst)) as (server, client):
        with pytest.raises(openai.APIConnectionError):
            await collect(await ask(client, stream=True), got)
        assert [chunk.choices[0].delta.content for chunk in got] == ["", "a ", "b "]
        assert (server.requests[0].outcome, server.requests[0].tokens_sent) == ("cut", 2)


@pytest.mark.asyncio
@pytest.mark.parametrize("fail_after", [-1, 0])
@pytest.mark.parametrize("stream", [False, True])
async def test_cut_before_the_head_or_in_a_whole_answer(fail_after: int, stream: bool) -> None:
    async with serving(Reply("a b", fail_after=fail_after)) as (server, client):
        with pytest.raises(openai.APIConnectionError):
            await (chunks_of(client) if stream else ask(client))
        assert (server.requests[0].outcome, server.requests[0].tokens_sent) == ("cut", 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(("cut", "end"), [("rst", ConnectionResetError), ("close", None)])
async def test_what_a_cut_is_on_the_socket(
    cut: Literal["rst", "close"], end: type[OSError] | None
) -> None:
    async with ModelServer(Reply("a b", fail_after=1, cut=cut)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(raw_request(stream=True))
        received = await reader.readuntil(b'{"content":"a "}')
        assert b'"role":"assistant"' in received
        if end is not None:
            with pytest.raises(end):
                await reader.read()
        else:
            assert not (await reader.read()).endswith(b"0\r\n\r\n")
        writer.transport.abort()


@pytest.mark.asyncio
async def test_langchain_sees_the_cut() -> None:
    async with ModelServer(Reply("a b c", fail_after=2)) as server:
        with pytest.raises(openai.APIConnectionError):
            [chunk async for chunk in chat_model(server).astream("hi")]


@pytest.mark.asyncio
async def test_end_without_finish() -> None:
    async with serving(Reply("a b", end_without_finish=True)) as (server, client):
        chunks = await chunks_of(client, stream_options={"include_usage": True})
        whole = await ask(client)
    assert text_of(chunks) == "a b"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)
    assert whole.choices[0].finish_reason is None
    assert (server.requests[0].completed, server.connections_total) == (True, 1)


@pytest.mark.asyncio
async def test_garbage_after_one_chunk() -> None:
    async with serving(Reply("a b", garbage_after=1)) as (_, client):
        stream = await ask(client, stream=True)
        with pytest.raises(ValueError, match="Expecting"):
            [chunk async for chunk in stream]
        with pytest.raises(ValueError, match="Expecting"):
            await ask(client)


@pytest.mark.asyncio
async def test_client_disconnect_is_noticed_at_once() -> None:
    async with serving(Reply("a b c", hang_after=1)) as (server, client):
        stream = await ask(client, stream=True)
        await anext(stream)
        assert (await anext(stream)).choices[0].delta.content == "a "
        assert not server.requests[0].ended
        left_at = time.monotonic()
        await stream.close()
        request = await server.wait_ended(0)
        assert (request.closed_by_client, request.tokens_sent) == (True, 1)
        assert 0 <= (request.ended_at or 0) - left_at < SOON
        await server.wait_until(lambda: server.connections_open == 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "reply", [Reply(chunks=["x" * 1000] * 30_000, burst=b) for b in (False, True)]
)
async def test_disconnect_of_a_client_that_does_not_read(reply: Reply) -> None:
    async with ModelServer(reply) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(raw_request(stream=True))
        await server.wait_until(
            lambda: bool(server.requests) and server.requests[0].tokens_sent > 0
        )
        writer.transport.abort()
        request = await server.wait_ended(0)
        assert request.closed_by_client
        assert 0 < request.tokens_sent < 30_000
        del reader


@pytest.mark.asyncio
async def test_client_timeout_before_the_head() -> None:
    async with serving(Reply("never", hang_after=-1)) as (server, client):
        with pytest.raises(openai.APITimeoutError):
            await chunks_of(client.with_options(timeout=0.05))
        assert (await server.wait_ended(0)).closed_by_client


# ----------------------------------------------------------------------------------------- gates and pacing


@pytest.mark.asyncio
@pytest.mark.parametrize("make_gate", [asyncio.Event, threading.Event])
@pytest.mark.parametrize("burst", [False, True])
async def test_gate_holds_the_stream(make_gate: Any, burst: bool) -> None:
    gate = make_gate()
    async with serving(Reply("a b c", gate=gate, gate_at=2, burst=burst)) as (server, client):
        task = asyncio.create_task(chunks_of(client))
        await server.wait_until(
            lambda: bool(server.requests) and server.requests[0].tokens_sent == 2
        )
        assert not server.requests[0].ended
        gate.set()
        assert text_of(await task) == "a b c"
        assert server.requests[0].completed


@pytest.mark.asyncio
@pytest.mark.parametrize("reply", [Reply("a"), Reply(status=503)])
async def test_gate_holds_whole_answers_and_errors(reply: Reply) -> None:
    gate = asyncio.Event()
    held = Reply(reply.text, status=reply.status, gate=gate)
    async with serving(held) as (server, client):
        task = asyncio.create_task(ask(client))
        (request,) = await server.wait_requests(1)
        assert not request.ended
        gate.set()
        await asyncio.wait({task})
        assert isinstance(task.exception(), openai.InternalServerError) == (reply.status == 503)


@pytest.mark.asyncio
async def test_delays_are_kept() -> None:
    async with serving(Reply("a b c d e f", first_delay=0.02, delay=0.01)) as (server, client):
        await chunks_of(client)
    (request,) = server.requests
    assert (request.first_token_at or 0) - request.received_at >= 0.019
    assert (request.ended_at or 0) - (request.first_token_at or 0) >= 0.049


@pytest.mark.asyncio
async def test_burst_sends_the_same_bytes() -> None:
    pieces = [f"t{i} " for i in range(3000)]
    async with serving(by_turn([Reply(chunks=pieces), Reply(chunks=pieces, burst=True)])) as (
        server,
        client,
    ):
        plain, burst = await chunks_of(client), await chunks_of(client)
    assert [c.choices[0] for c in plain] == [c.choices[0] for c in burst]
    assert [request.tokens_sent for request in server.requests] == [3000, 3000]


# -------------------------------------------------------------------------------------------------- scripts


@pytest.mark.asyncio
async def test_by_agent_and_set_script() -> None:
    async with serving(
        by_agent({"router": "routed", "poet": by_turn(["ode", "sonnet"])}, "other")
    ) as (
        server,
        client,
    ):
        assert [await say(client, who) for who in ("a poet", "a router", "a poet", "nobody")] == [
            "ode",
            "routed",
            "sonnet",
            "other",
        ]
        server.set_script("changed")
        assert await say(client, "a poet") == "changed"


async def say(client: openai.AsyncOpenAI, system: str) -> str | None:
    messages: Any = [{"role": "system", "content": f"You are {system}."}, *user("hi")]
    answer = await client.chat.completions.create(model=MODEL, messages=messages)
    return answer.choices[0].message.content


@pytest.mark.asyncio
async def test_failing_script_is_reported_and_not_retried() -> None:
    async with (
        ModelServer(by_turn(["one"])) as server,
        client_of(server.base_url, retries=3) as client,
    ):
        await ask(client)
        with pytest.raises(
            openai.InternalServerError, match="by_turn has 1 replies, this is request 2"
        ):
            await ask(client)
        assert len(server.requests) == 2
        assert [type(error) for error in server.script_errors] == [IndexError]


@pytest.mark.asyncio
async def test_request_properties() -> None:
    seen: list[ModelRequest] = []

    def script(request: ModelRequest) -> Reply:
        seen.append(request)
        return default_script(request)

    parts = [{"type": "text", "text": "from "}, {"type": "text", "text": "parts"}]
    messages: Any = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": []},
    ]
    async with serving(script) as (server, client):
        answer = await client.chat.completions.create(
            model=MODEL, messages=messages, tools=[WEATHER_TOOL]
        )
    assert seen == server.requests
    assert (seen[0].system, seen[0].last_user, seen[0].tools[0]["name"]) == (
        "be brief",
        "from parts",
        "get_weather",
    )
    assert answer.choices[0].message.content == "You said: from parts"


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"const": 5}, 5),
        ({"type": ["string", "null"], "minLength": 2}, "xx"),
        ({"type": "integer", "exclusiveMinimum": 4, "multipleOf": 5}, 5),
        ({"type": "integer", "exclusiveMaximum": -2}, -3),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "array", "minItems": 2, "items": {"type": "boolean"}}, [False, False]),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, None),
        (
            {
                "allOf": [
                    {"required": ["a"]},
                    {"properties": {"b": {"const": 1}}, "required": ["b"]},
                ]
            },
            {"a": "", "b": 1},
        ),
        ({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}, {}),
    ],
)
def test_minimal_instance(schema: dict[str, Any], instance: Any) -> None:
    assert minimal_instance(schema) == instance


def test_minimal_instance_of_a_recursive_schema_ends() -> None:
    schema = {"properties": {"a": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["a"]}
    assert "null" in json.dumps(minimal_instance(schema))
    with pytest.raises(ValueError, match="infinite"):
        minimal_instance({"properties": {"a": {"$ref": "#"}}, "required": ["a"]})


def test_reply_refuses_contradictions() -> None:
    with pytest.raises(ValueError, match="not both"):
        Reply("text", chunks=["chunk"])
    with pytest.raises(ValueError, match="rst"):
        Reply(cut="maybe")  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------- HTTP


def raw_request(stream: bool = False, chunked: bool = False, extra: bytes = b"") -> bytes:
    body = json.dumps({"model": "m", "messages": user("hi"), "stream": stream}).encode()
    if not chunked:
        length = b"Content-Length: %d\r\n" % len(body)
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + length + extra + b"\r\n" + body
        )
    half = len(body) // 2
    parts = b"".join(b"%X;x=y\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + extra + b"\r\n"
    return head + parts + b"0\r\nTrailer: x\r\n\r\n"


@pytest.mark.asyncio
@pytest.mark.parametrize("split", [1, 50, 10_000])
async def test_pipelined_requests_in_any_fragments(split: int) -> None:
    requests = (
        raw_request()
        + raw_request(chunked=True)
        + raw_request(stream=True, extra=b"Connection: close\r\n")
    )
    async with ModelServer("ok") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for at in range(0, len(requests), split):
            writer.write(requests[at : at + split])
            await writer.drain()
        received = await reader.read()
        writer.close()
    assert (received.count(b"HTTP/1.1 200 OK\r\n"), received[-5:]) == (3, b"0\r\n\r\n")
    assert [request.completed for request in server.requests] == [True] * 3


@pytest.mark.asyncio
async def test_expect_continue() -> None:
    head, _, body = raw_request(extra=b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    async with ModelServer("ok") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nbad header: x\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", 400),
        (b"x" * 70_000, 431),
    ],
)
async def test_unparsable_requests_are_refused(sent: bytes, status: int) -> None:
    async with ModelServer() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        assert (await reader.readline()).startswith(b"HTTP/1.1 %d " % status)
        writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"{}", b'{"model":"m","messages":[]}', b'{"model":"m","messages":[1]}']
)
async def test_invalid_bodies_are_refused(content: bytes) -> None:
    async with ModelServer() as server, httpx.AsyncClient() as client:
        response = await client.post(f"{server.base_url}/chat/completions", content=content)
    assert (response.status_code, response.json()["error"]["type"]) == (
        400,
        "invalid_request_error",
    )
    assert (server.requests, len(server.other_requests)) == ([], 1)


# ----------------------------------------------------------------------------------------------- life cycle


@pytest.mark.asyncio
async def test_stop_ends_everything_and_may_be_repeated() -> None:
    before = asyncio.all_tasks()
    server = await ModelServer(Reply("a b", hang_after=1)).start()
    async with client_of(server.base_url) as client:
        stream = await ask(client, stream=True)
        await anext(stream)
        await server.wait_until(lambda: server.requests[0].tokens_sent == 1)
        await server.stop()
        await server.stop()
        assert asyncio.all_tasks() == before
        assert (server.connections_open, server.requests[0].outcome) == (0, "closed_by_server")
        with pytest.raises(openai.APIConnectionError):
            [chunk async for chunk in stream]
        with pytest.raises(openai.APIConnectionError):
            await ask(client)


@pytest.mark.asyncio
async def test_start_again_on_the_same_port() -> None:
    async with serving("ok") as (server, client):
        url = server.base_url
        await ask(client)
        await server.stop()
        await server.start()
        assert server.base_url == url
        assert text_of(await chunks_of(client)) == "ok"


@pytest.mark.asyncio
async def test_wait_until_raises() -> None:
    async with serving() as (server, client):
        with pytest.raises(TimeoutError, match=r"not within 0\.01 s"):
            await server.wait_until(lambda: False, timeout=0.01)
        waiting = asyncio.create_task(server.wait_until(lambda: bool(server.requests[0]) and False))
        await asyncio.wait({waiting}, timeout=1)
        assert isinstance(waiting.exception(), IndexError)
        await ask(client)


@pytest.mark.asyncio
async def test_many_streams_at_once() -> None:
    async with serving(Reply("a b c d e", delay=0.001)) as (server, client):
        texts = await asyncio.gather(*(chunks_of(client) for _ in range(100)))
        assert {text_of(chunks) for chunks in texts} == {"a b c d e"}
        assert all(request.completed for request in server.requests)
        assert [request.number for request in server.requests] == list(range(100))


def test_threaded_server() -> None:
    gate = threading.Event()
    threads = threading.active_count()
    with ThreadedModelServer(Reply("a b", gate=gate, gate_at=1)) as server:
        with openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:
            stream = client.chat.completions.create(model=MODEL, messages=user("hi"), stream=True)
            server.wait_until(lambda: server.requests[0].tokens_sent == 1)
            gate.set()
            assert text_of(list(stream)) == "a b"
        assert server.wait_ended(0).completed
        assert len(server.wait_requests(1)) == 1
        assert server.script_errors == []
    server.stop()
    assert threading.active_count() == threads


def test_threaded_server_reports_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = ThreadedModelServer(port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            server.start()
        with pytest.raises(RuntimeError, match="not running"):
            server.wait_requests(1)


def test_separate_process() -> None:
    command = ["-m", "tests.support.model_server"]
    options = ["--port", "0", "--tokens", "5", "--delay-ms", "1"]
    with subprocess.Popen(
        [sys.executable, "-W", "error", *command, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
            stream = client.chat.completions.create(model=MODEL, messages=user("hi"), stream=True)
            assert text_of(list(stream)) == "token0 token1 token2 token3 token4 "
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == 0
