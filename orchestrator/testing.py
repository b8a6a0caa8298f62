"""Fakes for tests of your own graphs: a model that says what a script says, and a run as a list of
events.

    async def test_it_answers():
        graph = make_graph(ScriptedModel(turns=[["It is ", "red."]]))
        events = await events_of(graph, "Which colour is it?")
        assert events[-1].text == "It is red."

Nothing here needs a key, a service or a file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.opening import open_engine


class ScriptedModel(BaseChatModel):
    """A chat model whose n-th call is answered with the n-th turn.

    A turn is a sequence of texts and message chunks, which are streamed (`tool_call` makes one);
    of `asyncio.Event`s, which are waited for; of exceptions, which are raised; and of functions,
    which are called. A call after the last turn raises `IndexError`.
    """

    turns: Sequence[Sequence[Any]]
    _turn: int = PrivateAttr(default=0)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
        """Return this model: what it calls is in its script."""
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        return generate_from_stream(self._stream(messages))

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for item in self._next_turn():
            if isinstance(item, asyncio.Event):
                await item.wait()
                continue
            chunk = _chunk(item)
            if chunk is not None:
                yield chunk

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> Iterator[ChatGenerationChunk]:
        for item in self._next_turn():
            chunk = _chunk(item)
            if chunk is not None:
                yield chunk

    def _next_turn(self) -> Sequence[Any]:
        turn = self.turns[self._turn]
        self._turn += 1
        return turn


def tool_call(name: str, call_id: str, **arguments: Any) -> AIMessageChunk:
    """Return the piece of a turn that calls a tool."""
    call = {
        "name": name,
        "args": json.dumps(arguments),
        "id": call_id,
        "index": 0,
        "type": "tool_call_chunk",
    }
    return AIMessageChunk(content="", tool_call_chunks=[call])  # type: ignore[list-item]


def fixed_clock(at: int = 0) -> Callable[[], int]:
    """Return a clock that stands still, in milliseconds since the epoch, for
    `Environment(clock=…)`.
    """
    return lambda: at


async def events_of(graph: Any, message: str) -> list[AnyEvent]:
    """Run a graph on one message and return what happened, up to its end or its first question.

    The graph is served as `antiphon serve` serves it, from a database in memory.
    """
    async with open_engine("memory://", graphs=[graph]) as engine:
        run = await engine.start(message)
        return [recorded.event async for recorded in run]


def _chunk(item: Any) -> ChatGenerationChunk | None:
    if isinstance(item, BaseException):
        raise item
    if callable(item):
        item()
        return None
    message = AIMessageChunk(content=item) if isinstance(item, str) else item
    return ChatGenerationChunk(message=message)
