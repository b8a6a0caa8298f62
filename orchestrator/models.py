"""Chat models by spec: `offline`, or `openai:<model>` for any endpoint of OpenAI's protocol."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from antiphon.orchestrator.budget import AnswerCut
from antiphon.orchestrator.errors import ModelCut, describe
from antiphon.orchestrator.structured import find_object

log = logging.getLogger("antiphon.model")

READ_SECONDS = 60.0
"""The default silence of a model after which its answer is lost."""
ATTEMPTS = 3
"""How often a model is asked if its answer breaks off.

The OpenAI client itself retries refusals before the first token (429, 5xx), with its back-off and
the server's Retry-After.
"""


def chat_model(
    spec: str,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    seconds: float = READ_SECONDS,
    trims: bool = True,
) -> BaseChatModel:
    """Return a chat model by its spec. Raises `ValueError` for an unknown spec.

    `seconds` is the silence after which an answer is lost. `trims` says whether a conversation that
    is too long for the model loses its older half, or fails. `openai:<model>` uses the endpoint
    `base_url`, or OpenAI itself if None. Its client is imported only if needed: the import takes
    half a second and tens of megabytes.
    """
    kind, _, name = spec.partition(":")
    if kind == "offline" and not name:
        from antiphon.orchestrator.team.offline import OfflineModel

        return OfflineModel()
    if kind == "openai" and name:
        from antiphon.orchestrator.endpoint.client import open_model

        return open_model(name, api_key, base_url, seconds, trims=trims)
    raise ValueError(f"unknown model {spec!r}: use 'offline' or 'openai:<model>'")


MODEL_CUT = "model_cut"
"""The custom event of an answer that broke off. The log then supersedes the answer's text."""


async def ask(model: BaseChatModel, messages: Sequence[BaseMessage], max_tokens: int) -> str:
    """Return the text of a model's whole answer, asking again if it breaks off.

    An answer that reaches the agent's limits is stopped, and its text so far is returned. Raises
    the model's last error, or `ModelCut` if the answer ended without a finish reason.
    """
    async for attempt in AsyncRetrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.2, max=5),
        retry=retry_if_exception(_broke_off),
        reraise=True,
    ):
        with attempt:
            try:
                answer = await model.bind(max_tokens=max_tokens).ainvoke(list(messages))
            except AnswerCut as cut:
                return cut.text
            if not answer.response_metadata.get("finish_reason"):
                await adispatch_custom_event(MODEL_CUT, {})
                raise ModelCut
            return str(answer.text)
    raise AssertionError("tenacity either returns or raises")


def _broke_off(error: BaseException) -> bool:
    """Return whether an answer was lost on its way.

    A refusal was not: the client has already retried it.
    """
    refused = hasattr(error, "status_code") or type(error).__name__ == "APIConnectionError"
    return describe(error).retryable and not refused


class StructuredOutput:
    """Asks a model for an object of a schema, in the first way that its endpoint supports.

    It remembers the ways that an endpoint refuses. It reads the stream itself, within bounds: a
    model that answers with long prose is stopped.
    """

    def __init__(self, model: BaseChatModel, schema: dict[str, Any]) -> None:
        self._model = model
        self._schema = schema
        is_openai = model._llm_type == "openai-chat"
        self._ways = ["json_schema", "function_calling", "json_mode"] if is_openai else ["any_tool"]

    async def ask(
        self, messages: Sequence[BaseMessage], config: RunnableConfig
    ) -> dict[str, Any] | None:
        """Return the object, or None if the endpoint gives none in any way.

        Raises what the model raises if the endpoint cannot be reached.
        """
        try:
            async with asyncio.timeout(OBJECT_SECONDS):
                for way in list(self._ways):
                    answer = await self._ask(way, messages, config)
                    if answer is not None:
                        return answer
        except (_TooLong, TimeoutError):
            log.warning("a model that was asked for an object answered at length, and was stopped")
        return None

    async def _ask(
        self, way: str, messages: Sequence[BaseMessage], config: RunnableConfig
    ) -> dict[str, Any] | None:
        """Return the object that one way gives, if any. A refused way is not tried again."""
        try:
            return await _read_object(self._request(way), messages, config)
        except (_TooLong, TimeoutError):
            raise
        except Exception as error:
            code = describe(error).code
            if code not in NO_STRUCTURE:
                raise
            if code in REFUSED:
                self._ways = [other for other in self._ways if other != way]
            return None

    def _request(self, way: str) -> Runnable[Any, Any]:
        """Return the model, bound to what one way sends.

        Formats are written into the body directly; as an argument of the client, they would make it
        parse the whole answer again with each piece.
        """
        schema, name = self._schema, self._schema["title"]
        if way == "any_tool":
            return self._model.bind_tools([schema], tool_choice="any").bind(
                max_tokens=OBJECT_TOKENS
            )
        if way == "function_calling":
            return self._model.bind_tools([schema], tool_choice=name).bind(max_tokens=OBJECT_TOKENS)
        body: dict[str, Any] = dict(getattr(self._model, "extra_body", None) or {})
        body["response_format"] = {"type": "json_object"}
        if way == "json_schema":
            description = schema.get("description", "")
            described = {"name": name, "description": description, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        return self._model.bind(extra_body=body, max_tokens=OBJECT_TOKENS)


OBJECT_TOKENS = 4096
"""The most tokens of an answer with an object, including reasoning."""
OBJECT_CHARACTERS = 32 * 1024
OBJECT_SECONDS = 60.0
"""Bounds for endpoints that ignore the limit of tokens, and for slow ones."""
PAUSE_PIECES = 32
"""Pieces of an answer that are read before other tasks have a turn."""
REFUSED = frozenset({"MODEL_REFUSED", "MODEL_NOT_FOUND"})
"""Failures that mean "never in this way"."""
NO_STRUCTURE = frozenset({"MODEL_REFUSED", "MODEL_GARBAGE", "MODEL_NOT_FOUND", "AGENT_FAILED"})
"""Failures that mean "not in this way", as opposed to "not now"."""


class _TooLong(Exception):
    """An answer exceeded its bounds."""


async def _read_object(
    model: Runnable[Any, Any], messages: Sequence[BaseMessage], config: RunnableConfig
) -> dict[str, Any] | None:
    """Return the object in a model's text or in the arguments of its tool call; None if none.

    Raises `_TooLong`, which stops the model, if its answer exceeds the bounds.
    """
    pieces: list[str] = []
    size, end = 0, ""
    answer: Any = model.astream(list(messages), config)
    async with aclosing(answer):
        async for message in answer:
            piece = f"{message.text}{_take_arguments(message)}"
            pieces.append(piece)
            reasoning = str(message.additional_kwargs.get("reasoning_content", ""))
            size += len(piece) + len(reasoning)
            end = message.response_metadata.get("finish_reason") or end
            if size > OBJECT_CHARACTERS:
                raise _TooLong
            if len(pieces) % PAUSE_PIECES == 0:
                await asyncio.sleep(0)  # many pieces may arrive at once
    match = find_object("".join(pieces))
    if match is None and end == "length":
        raise _TooLong
    return match[0] if match else None


def _take_arguments(message: AIMessage) -> str:
    """Remove and return the arguments of a piece's tool calls.

    Otherwise LangChain would parse all of them again with each piece.
    """
    if not isinstance(message, AIMessageChunk):  # a whole answer of a model that does not stream
        return "".join(json.dumps(call["args"]) for call in message.tool_calls)
    pieces, message.tool_call_chunks = message.tool_call_chunks, []
    return "".join(piece["args"] or "" for piece in pieces)
