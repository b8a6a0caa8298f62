"""Structured answers are read in linear time, whatever a model says instead."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser, StrOutputParser
from langchain_core.tools import tool
from langgraph.graph import MessagesState
from pydantic import BaseModel

from antiphon.orchestrator.events import RunComplete, RunError, ToolStart
from antiphon.orchestrator.models import chat_model
from antiphon.orchestrator.structured import LONG, SHORT, ModelGarbage, ModelGuard, find_object
from tests.orchestrator.support import UNHURRIED, chain, events_of, of_type, opened
from tests.support.model_server import ModelRequest, ModelServer, Reply, ReplyLike

SIZES = [32_000, 800_000]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values, max_size=5)
prose = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]))


def chatter(size: int, begin: str = "") -> str:
    """A text without an end to it, that is no JSON."""
    return f"{begin}{'The best specialist is the one who knows about engines. ' * (size // 50)}"[
        :size
    ]


def long_reply(text: str) -> Reply:
    """A reply in pieces that are large enough to stream quickly."""
    return Reply(chunks=[text[at : at + 500] for at in range(0, len(text), 500)], burst=True)


# -- finding an object ----------------------------------------------------------------------------


@UNHURRIED
@given(prose, objects, prose)
def test_an_object_is_found_in_prose(before: str, value: dict[str, Any], after: str) -> None:
    text = json.dumps(value)
    assert find_object(f"{before}{text}{after}") == (value, text)


@UNHURRIED
@given(
    objects,
    st.integers(0, 8),
    st.sampled_from(["```json\n{}\n```", "```\n{}```", "So:\n\n```json\n{}\n```\nDone {it}."]),
)
def test_an_object_is_found_in_a_fence(value: dict[str, Any], indent: int, around: str) -> None:
    text = json.dumps(value, indent=indent)
    assert find_object(around.replace("{}", text)) == (value, text)


@UNHURRIED
@given(st.text())
def test_any_text_has_an_object_or_none(text: str) -> None:
    found = find_object(text)
    assert found is None or (found[1] in text and json.loads(found[1], strict=False) == found[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no object",
        "[1, 2]",
        "{",
        '{"a": ',
        '{"a": "',
        "{" * 1_000_000,
        '{"a":' * 300_000,
        '{"a": "' + "x" * 1_000_000,
        chatter(1_000_000, "{"),
        '{"a": ' + "1" * 1_000_000 + "}",
    ],
    ids=lambda text: f"{text[:8]} {len(text)}",
)
def test_a_text_without_an_object_has_none_and_is_read_quickly(text: str) -> None:
    assert find_object(text) is None


# -- graphs of users ------------------------------------------------------------------------------


class Verdict(BaseModel):
    """A verdict."""

    good: bool
    why: str = ""


class OwnParser(JsonOutputParser):
    """A parser that somebody derived."""


Make = Callable[[Any], Any]
WAYS: dict[str, Make] = {
    "json_mode": lambda model: model.with_structured_output(Verdict, method="json_mode"),
    "dict schema": lambda model: model.with_structured_output(
        {"title": "verdict", **Verdict.model_json_schema()}, method="json_schema"
    ),
    "parser": lambda model: model | JsonOutputParser(),
    "pydantic parser": lambda model: model | PydanticOutputParser(pydantic_object=Verdict),
    "own parser": lambda model: model | OwnParser(),
    "text parser": lambda model: model | StrOutputParser() | JsonOutputParser(),
}


@asynccontextmanager
async def asked_model(reply: ReplyLike) -> AsyncIterator[Any]:
    """A model that answers so, on loopback."""
    async with ModelServer(reply) as server:
        model: Any = chat_model("openai:gpt-4o-mini", base_url=server.base_url)
        try:
            yield model
        finally:
            await model.root_async_client.close()


async def end_of(url: str, reply: Reply, make: Make) -> Any:
    """How a run of a graph ends whose one node asks for a verdict, and says it."""
    async with asked_model(reply) as model:
        judge = make(model)

        async def judges(state: MessagesState) -> dict[str, Any]:
            found = await judge.ainvoke("Is it good? Answer in JSON.")
            return {"messages": [AIMessage(f"found {found}"[:100])]}

        async with opened(url, chain(judges=judges)) as engine:
            return (await events_of(await engine.start("judge")))[-1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("begin", ["", "{"])
async def test_a_model_that_chats_instead_of_answering_fails_the_run(
    url: str, way: str, size: int, begin: str
) -> None:
    end = await end_of(url, long_reply(chatter(size, begin)), WAYS[way])
    assert isinstance(end, RunError)
    assert (end.code, end.retryable) == ("MODEL_GARBAGE", True)


@pytest.mark.parametrize("way", ["json_mode", "parser"])
async def test_a_plain_function_gets_an_error_too(url: str, way: str) -> None:
    async with asked_model(long_reply(chatter(800_000))) as model:
        judge = WAYS[way](model)

        def judges(state: MessagesState) -> dict[str, Any]:
            judge.invoke("Is it good? Answer in JSON.")
            return {}

        async with opened(url, chain(judges=judges)) as engine:
            assert isinstance((await events_of(await engine.start("judge")))[-1], RunError)
        model.root_client.close()


@pytest.mark.parametrize("way", ["json_mode", "parser", "pydantic parser", "own parser"])
async def test_a_long_answer_with_prose_and_a_fence_is_read(url: str, way: str) -> None:
    answer = {"good": True, "why": chatter(20_000)}
    text = f"{chatter(20_000)}\n```json\n{json.dumps(answer)}\n```\nThat is all."
    end = await end_of(url, long_reply(text), WAYS[way])
    assert isinstance(end, RunComplete)
    assert "The best specialist" in end.text


@pytest.mark.parametrize("way", WAYS)
async def test_a_long_answer_that_is_right_is_read(url: str, way: str) -> None:
    text = json.dumps({"good": True, "why": chatter(100_000)})
    assert isinstance(await end_of(url, long_reply(text), WAYS[way]), RunComplete)


async def test_a_short_answer_is_left_to_langchain_whatever_it_is(url: str) -> None:
    end = await end_of(url, Reply("no JSON"), WAYS["parser"])
    assert isinstance(end, RunError)
    assert end.code == "AGENT_FAILED"


async def test_a_parser_of_texts_may_be_given_any_text(url: str) -> None:
    end = await end_of(url, long_reply(chatter(50_000)), lambda model: model | StrOutputParser())
    assert isinstance(end, RunComplete)


# -- tool calls -----------------------------------------------------------------------------------


@tool
def store(text: str) -> str:
    """Store a text."""
    return f"{len(text)} characters"


def calling(arguments: Any) -> Callable[[ModelRequest], Reply]:
    """A model that calls the tool with these arguments, and then says what it answered."""

    def script(request: ModelRequest) -> Reply:
        last = request.messages[-1]
        if last["role"] == "tool":
            return Reply(str(last["content"]))
        return Reply(tool_calls=[{"name": "store", "arguments": arguments}], burst=True)

    return script


async def events_with(url: str, arguments: Any, *, streamed: bool = False) -> list[Any]:
    async with asked_model(calling(arguments)) as model:

        async def asks(state: MessagesState) -> dict[str, Any]:
            pieces = [
                piece
                async for piece in model.bind_tools([store]).astream([HumanMessage("store it")])
            ]
            return {"messages": [AIMessage(f"{len(pieces)} pieces")]}

        graph = chain(asks=asks) if streamed else create_agent(model, [store], name="agent")
        async with opened(url, graph) as engine:
            return await events_of(await engine.start("store it"))


async def test_a_tool_can_be_called_with_100_kilobytes(url: str) -> None:
    events = await events_with(url, {"text": chatter(100_000)})
    assert len(of_type(events, ToolStart)) == 1
    assert events[-1].text == "100000 characters"


@pytest.mark.parametrize(
    "arguments",
    [
        chatter(32_000),
        chatter(32_000, "{"),
        chatter(32_000, '{"'),
        chatter(32_000, '{"text": "x"} '),
        chatter(800_000, '{"text": "'),
        json.dumps({"text": chatter(800_000)}),
        "[" * 32_000,
    ],
    ids=["prose", "brace", "field", "behind", "unfinished", "too long", "brackets"],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_long_arguments_that_are_no_object_fail_the_run(
    url: str, arguments: str, streamed: bool
) -> None:
    end = (await events_with(url, arguments, streamed=streamed))[-1]
    assert isinstance(end, RunError)
    assert end.code == "MODEL_GARBAGE"


def test_what_the_guard_keeps_of_a_call_is_forgotten_at_its_end() -> None:
    from uuid import UUID

    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

    guard, call = ModelGuard(), UUID(int=1)
    piece = {"name": "store", "args": "{}", "id": "1", "index": 0, "type": "tool_call_chunk"}
    guard.start(call, {"invocation_params": {"response_format": {"type": "json_object"}}})
    guard.see(call, ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[piece])))
    guard.end(call)
    assert vars(guard) == vars(ModelGuard())


def test_garbage_is_what_langchain_says_of_what_it_cannot_parse() -> None:
    """Whoever handles `OutputParserException` handles it too."""
    from langchain_core.exceptions import OutputParserException

    with pytest.raises(OutputParserException):
        ModelGuard.parse("JsonOutputParser", AIMessage(chatter(SHORT + 1)))
    assert issubclass(ModelGarbage, OutputParserException)
    assert LONG > 100_000
