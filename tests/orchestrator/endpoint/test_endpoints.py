"""Each peculiarity of `docs/endpoints.md`, over a real HTTP connection to a server that has it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

from antiphon.orchestrator.endpoint.client import ROUNDS, EndpointModel, open_model
from antiphon.orchestrator.errors import describe
from tests.support.model_server import ModelRequest, ModelServer, Reply, ReplyLike

PAGE = Path(__file__).parents[3] / "docs" / "endpoints.md"
TEXT = "The power is 81 kW."
THOUGHT = "First I look."


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more})


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def stream(*pieces: bytes, done: bool = True) -> Reply:
    return Reply(raw=[*pieces, b"data: [DONE]\n\n"] if done else pieces)


def words(**options: Any) -> list[bytes]:
    return [chunk({"content": "The power "}, **options), chunk({"content": "is 81 kW."}, **options)]


def whole(message: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], **more}).encode()


def thinking(text: str) -> dict[str, Any]:
    return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}


STOP = chunk({}, "stop")
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
HALF = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}

ANSWERS: dict[str, Reply] = {
    "finish_reason null": stream(*words(), chunk({"content": ""})),
    "finish_reason empty": stream(*words(finish=""), chunk({}, "")),
    "finish_reason left out": stream(
        *[piece.replace(b', "finish_reason": null', b"") for piece in words()]
    ),
    "finish_reason twice": stream(*words(), STOP, STOP),
    "finish_reason with each chunk": stream(*words(finish="stop")),
    "delta null": stream(*words(), chunk(None), chunk(None, "stop")),
    "choices null": stream(event({"choices": None}), *words(), STOP),
    "prompt_filter_results first": stream(
        event({"choices": [], "prompt_filter_results": []}), *words(), STOP
    ),
    "no role, or an empty one": stream(chunk({"role": ""}), *words(), STOP),
    "no white space after data:": stream(
        *[piece.replace(b"data: ", b"data:") for piece in words()], STOP
    ),
    "CRLF": stream(*[piece.replace(b"\n", b"\r\n") for piece in words()], STOP),
    "comments": stream(b": OPENROUTER PROCESSING\n\n", *words(), b": ping\n\n", STOP),
    "a byte order mark": stream(b"\xef\xbb\xbf", *words(), STOP),
    "no [DONE]": stream(*words(), STOP, done=False),
    "no line break at the end": stream(*words(), STOP[:-2], done=False),
    "a whole completion as JSON": Reply(
        raw=[whole({"content": TEXT})], content_type="application/json"
    ),
    "a whole completion in one event": stream(b"data: " + whole({"content": TEXT}) + b"\n\n"),
    "Ollama's own form": Reply(
        raw=[
            json.dumps(
                {"message": {"role": "assistant", "content": TEXT}, "done_reason": "stop"}
            ).encode()
        ],
        content_type="application/json",
    ),
    "text instead of a delta": stream(
        event({"choices": [{"text": TEXT, "finish_reason": "stop"}]})
    ),
    "content in blocks": stream(chunk({"content": [{"type": "text", "text": TEXT}]}), STOP),
    "a refusal": stream(chunk({"refusal": "The power "}), chunk({"refusal": "is 81 kW."}), STOP),
    "cut by the limit": stream(*words(), chunk({}, "length")),
    "filtered after some text": stream(*words(), chunk({}, "content_filter")),
}
"""What is understood as the answer `TEXT`, without thoughts."""

THOUGHTS: dict[str, Reply] = {
    "reasoning_content": stream(
        chunk({"reasoning_content": "First "}),
        chunk({"reasoning_content": "I look."}),
        *words(),
        STOP,
    ),
    "reasoning": stream(chunk({"reasoning": THOUGHT, "content": ""}), *words(), STOP),
    "reasoning under two names": stream(
        chunk({"reasoning": THOUGHT, "reasoning_content": THOUGHT}), *words(), STOP
    ),
    "<think> in the text": stream(
        chunk({"content": "<thi"}),
        chunk({"content": "nk>First I look.</th"}),
        chunk({"content": "ink>\n\n"}),
        *words(),
        STOP,
    ),
    "blocks of thinking": stream(
        chunk(thinking(THOUGHT)), chunk({"content": [{"type": "text", "text": TEXT}]}), STOP
    ),
    "blocks, then strings": stream(
        chunk(thinking("First ")), chunk(thinking("I look.")), *words(), STOP
    ),
    "a whole completion with thoughts": Reply(
        raw=[whole({"content": TEXT, "reasoning": THOUGHT})], content_type="application/json"
    ),
}
"""What is understood as the answer `TEXT` after `THOUGHT`."""

FAILURES: dict[str, tuple[ReplyLike, str]] = {
    "an error object instead of a stream": (
        Reply(
            raw=[b'{"error": {"message": "secret words", "code": 500}}'],
            content_type="application/json",
        ),
        "MODEL_GARBAGE",
    ),
    "an error object as the first event": (
        stream(event({"error": {"message": "no"}})),
        "MODEL_GARBAGE",
    ),
    "an error object in mid-stream": (
        stream(*words(), event({"error": {"message": "no"}})),
        "MODEL_UNAVAILABLE",
    ),
    "a page of HTML": (
        Reply(raw=[b"<html><body>Welcome</body></html>"], content_type="text/html"),
        "MODEL_GARBAGE",
    ),
    "an empty body": (Reply(raw=[]), "MODEL_GARBAGE"),
    "only [DONE]": (stream(), "MODEL_GARBAGE"),
    "an event that is no JSON": (stream(b"data: {oops\n\n"), "MODEL_GARBAGE"),
    "finish_reason error": (stream(*words(), chunk({}, "error")), "MODEL_UNAVAILABLE"),
    "length without text": (
        stream(chunk({"reasoning_content": "hm"}), chunk({}, "length")),
        "MODEL_LENGTH",
    ),
    "filtered without text": (stream(chunk({}, "content_filter")), "MODEL_FILTERED"),
    "a filtered prompt": (
        Reply(status=400, error={"code": "content_filter", "message": "content management policy"}),
        "MODEL_FILTERED",
    ),
    "out of credit, 402": (Reply(status=402, error="pay"), "MODEL_QUOTA"),
    "out of credit, 429": (
        Reply(
            status=429,
            error={"code": "insufficient_quota", "message": "x"},
            headers={"x-should-retry": "false"},
        ),
        "MODEL_QUOTA",
    ),
    "4xx": (Reply(status=422, error="no"), "MODEL_REFUSED"),
    "a prompt that is too long": (
        Reply(status=400, error={"code": "context_length_exceeded", "message": "too long"}),
        "MODEL_CONTEXT",
    ),
    "only comments, for ever": (
        Reply(raw=[b": ping\n\n"], raw_forever=b": ping\n\n", delay=0.05),
        "MODEL_TIMEOUT",
    ),
    "only empty chunks, for ever": (
        Reply(raw=[], raw_forever=chunk({}), delay=0.05),
        "MODEL_TIMEOUT",
    ),
}

REFUSED: dict[str, str] = {
    "stream_options": "Unrecognized request argument supplied: stream_options",
    "max_completion_tokens": "max_completion_tokens: Extra inputs are not permitted",
    "parallel_tool_calls": "property 'parallel_tool_calls' is unsupported",
    "temperature": "Unsupported value: 'temperature' does not support 0.5 with this model.",
}
"""Parameters that an endpoint may refuse, and how it says so."""


@asynccontextmanager
async def served(
    reply: ReplyLike, seconds: float = 20.0, **options: Any
) -> AsyncIterator[tuple[ModelServer, EndpointModel]]:
    async with ModelServer(reply) as server:
        model = open_model("m", "key", server.base_url, seconds, **options)
        try:
            yield server, model
        finally:
            await model.root_async_client.close()


async def answer(reply: ReplyLike, seconds: float = 20.0) -> AIMessage:
    async with served(reply, seconds) as (_, model):
        return await model.ainvoke("What is the power?")


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_understood(name: str) -> None:
    message = await answer(ANSWERS[name])
    assert (message.text, message.additional_kwargs) == (TEXT, {})
    reasons = {"cut by the limit": "length", "filtered after some text": "content_filter"}
    assert message.response_metadata["finish_reason"] == reasons.get(name, "stop")
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] > 0


@pytest.mark.parametrize("name", THOUGHTS)
async def test_thoughts_are_no_part_of_the_answer(name: str) -> None:
    message = await answer(THOUGHTS[name])
    assert message.text == TEXT
    assert message.additional_kwargs == {"reasoning_content": THOUGHT}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_has_a_code(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    reply, code = FAILURES[name]
    with pytest.raises(Exception) as failed:
        await answer(reply, seconds=0.5 if code == "MODEL_TIMEOUT" else 20.0)
    assert describe(failed.value).code == code
    assert "secret words" not in caplog.text


async def test_a_stream_without_any_end_has_no_reason() -> None:
    message = await answer(stream(*words(), done=False))
    assert message.text == TEXT
    assert "finish_reason" not in message.response_metadata, "it may have been cut"


def refusing(names: set[str], said: str) -> Callable[[ModelRequest], Reply]:
    def script(request: ModelRequest) -> Reply:
        refused = names & set(request.body)
        return Reply(status=400, error=said) if refused else Reply(TEXT)

    return script


@pytest.mark.parametrize("name", REFUSED)
async def test_what_an_endpoint_refuses_is_remembered(name: str) -> None:
    async with served(refusing({name}, REFUSED[name])) as (server, model):
        given = {"max_tokens": 50, "parallel_tool_calls": False, "temperature": 0.5}
        for _ in range(2):
            message = await model.bind(**given).ainvoke("hi")
            assert message.text == TEXT
        bodies = [set(request.body) for request in server.requests]
    assert len(bodies) == 3, "asked again once, and never again by any model object"
    assert name in bodies[0]
    assert name not in bodies[1] | bodies[2]
    assert bodies[1] >= bodies[0] - {name}


async def test_an_endpoint_that_knows_nothing_but_messages_is_asked_plainly() -> None:
    names = {"stream_options", "max_tokens", "max_completion_tokens", "temperature"}
    async with served(refusing(names, "Extra fields are not permitted")) as (server, model):
        message = await model.bind(max_tokens=50, temperature=0.5).ainvoke("hi")
        assert (message.text, len(server.requests)) == (TEXT, 2)


async def test_usage_in_each_chunk_is_not_added_up() -> None:
    reply = stream(
        *words(usage=HALF), chunk({}, "stop", usage=USAGE), event({"choices": [], "usage": USAGE})
    )
    usage = (await answer(reply)).usage_metadata
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 5, 12)


async def test_usage_that_is_not_sent_is_estimated() -> None:
    usage = (await answer(stream(*words(), STOP))).usage_metadata
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"]) == (6, 5), "four characters are a token"


CALLS = {
    "Gemini: no index": [{"id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}}],
    "Ollama: an object": [{"function": {"name": "f", "arguments": {"x": 1}}}],
    "a name with each piece": [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": ": 1}"}},
    ],
    "arguments null at first": [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": None}},
        {"index": 0, "function": {"arguments": '{"x": 1}'}},
    ],
}


@pytest.mark.parametrize("name", CALLS)
async def test_tool_calls_of_all_kinds_are_understood(name: str) -> None:
    pieces = [chunk({"tool_calls": [call]}) for call in CALLS[name]]
    message = await answer(stream(*pieces, STOP))
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("f", {"x": 1})]
    assert message.tool_calls[0]["id"]
    assert message.response_metadata["finish_reason"] == "tool_calls"


async def test_a_conversation_that_is_too_long_is_trimmed_and_asked_again() -> None:
    def script(request: ModelRequest) -> Reply:
        if len(request.messages) > 4:
            return Reply(status=400, error="maximum context length is 10 tokens")
        return Reply(TEXT)

    talk: list[Any] = [SystemMessage("Be brief.")]
    for number in range(6):
        talk += [HumanMessage(f"question {number}"), AIMessage(f"answer {number}")]
    talk.append(HumanMessage("the newest"))
    async with served(script) as (server, model):
        assert (await model.ainvoke(talk)).text == TEXT
        sent = server.requests[-1].messages
    async with served(script, trims=False) as (_, model):
        with pytest.raises(Exception) as failed:
            await model.ainvoke(talk)
    assert sent[0]["content"] == "Be brief."
    assert (sent[1]["role"], sent[-1]["content"]) == ("user", "the newest")
    assert describe(failed.value).code == "MODEL_CONTEXT"


async def test_neighbours_of_one_role_are_joined() -> None:
    async with served(TEXT) as (server, model):
        await model.ainvoke([HumanMessage("failed"), HumanMessage("again")])
        assert [one["content"] for one in server.requests[0].messages] == ["failed\n\nagain"]


async def test_an_endpoint_that_needs_its_thoughts_back_gets_them() -> None:
    def script(request: ModelRequest) -> Reply:
        if any("reasoning_content" in message for message in request.messages):
            return Reply(TEXT)
        return Reply(status=400, error="Missing `reasoning_content` field in the assistant message")

    call = {"name": "f", "args": {}, "id": "a"}
    thought = AIMessage("", tool_calls=[call], additional_kwargs={"reasoning_content": "hm"})
    async with served(script) as (_, model):
        message = await model.ainvoke([HumanMessage("hi"), thought])
    assert message.text == TEXT


async def test_why_it_failed_is_in_the_log_without_what_was_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="antiphon.model")
    refusal = Reply(status=400, error={"code": "bad_thing", "message": "you asked about the power"})
    with pytest.raises(openai.BadRequestError):
        await answer(refusal)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == ["a model's endpoint refused a request: HTTP 400 bad_thing"]
    assert "you asked about the power" in caplog.text


PARITY: dict[str, ReplyLike] = {
    "text": Reply("one two three", usage=USAGE),
    "a tool": Reply(tool_calls=[{"name": "f", "arguments": {"x": [1, 2]}}], usage=USAGE),
    "two tools": Reply(
        tool_calls=[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"y": 1}}],
        usage=USAGE,
    ),
    "cut": Reply("one two", finish_reason="length", usage=USAGE),
}


@pytest.mark.parametrize("name", PARITY)
async def test_what_openai_itself_sends_is_read_as_langchain_reads_it(name: str) -> None:
    async with served(PARITY[name]) as (server, model):
        stock = ChatOpenAI(model="m", api_key="key", base_url=server.base_url, stream_usage=True)  # type: ignore[arg-type]
        theirs = await read(stock)
        await stock.root_async_client.close()
        ours = await read(model)
    for message in (theirs, ours):
        message.id = None
        for call in message.tool_call_chunks:
            call["id"] = None
        for made in message.tool_calls:
            made["id"] = None
    assert ours == theirs


async def read(model: ChatOpenAI) -> AIMessageChunk:
    pieces = [piece async for piece in model.astream("hi") if isinstance(piece, AIMessageChunk)]
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    return total


async def test_the_connection_is_used_again() -> None:
    async with served(TEXT) as (server, model):
        for _ in range(3):
            await model.ainvoke("hi")
        assert server.connections_open == 1


async def test_the_page_lists_every_case() -> None:
    known = {*ANSWERS, *THOUGHTS, *FAILURES, *REFUSED, *CALLS}
    listed = set(re.findall(r"^\| ([^|]+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {name.replace("`", "") for name in listed} >= known


async def test_an_endpoint_that_refuses_something_new_each_time_is_left_with_its_own_refusal() -> (
    None
):
    given = {f"option_{number}": 1 for number in range(100)}

    def script(request: ModelRequest) -> Reply:
        name = next(name for name in request.body if name.startswith("option_"))
        return Reply(status=400, error=f"unknown field {name}")

    async with served(script) as (server, model):
        with pytest.raises(openai.BadRequestError):
            await model.bind(extra_body=given).ainvoke("hi")
        assert len(server.requests) == ROUNDS
