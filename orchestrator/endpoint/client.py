"""The model object for `openai:<name>`: LangChain's, over a reader of streams that expects any
dialect of the protocol.

`ChatOpenAI` accepts chunks as dictionaries from whatever its public field `async_client` holds.
`Completions` stands there: it leaves authentication, retries and errors of HTTP to the `openai`
package, and reads the body itself. That is also several times cheaper per token than the package's
typed chunks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Self

import httpx2
import openai
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from antiphon.orchestrator.endpoint.completion import Completion, Json, code_of
from antiphon.orchestrator.endpoint.reading import BodyReader
from antiphon.orchestrator.endpoint.request import (
    Capabilities,
    is_about_context,
    is_about_filter,
    size,
    trimmed,
    without_limit,
)
from antiphon.orchestrator.errors import (
    ContextTooLong,
    ModelFiltered,
    ModelQuota,
    NoCompletion,
)

log = logging.getLogger("antiphon.model")

CONNECT_SECONDS = 5.0
DRAIN_SECONDS = 0.5
ROUNDS = 12
"""How often a request is fitted to an endpoint that refuses it."""
OUT_OF_CREDIT = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "credit_balance_too_low"}
)

_capabilities: dict[tuple[str, str], Capabilities] = {}
"""What was learned, by base URL and model."""


def open_model(
    name: str, api_key: str | None, base_url: str | None, seconds: float, *, trims: bool = True
) -> EndpointModel:
    """A model of an endpoint. `seconds` is the silence after which an answer counts as lost.

    `trims` says what is done about a conversation that has become too long for the model: its older
    half is left out, or the run fails with MODEL_CONTEXT.
    """
    model = EndpointModel(
        model=name,
        api_key=SecretStr(api_key or "none"),
        base_url=base_url,
        timeout=httpx2.Timeout(seconds, connect=CONNECT_SECONDS),
        max_retries=3,
        streaming=True,
        stream_usage=True,
        stream_chunk_timeout=None,
        use_responses_api=False,
    )
    capabilities = _capabilities.setdefault((base_url or "", name), Capabilities())
    model.async_client = Completions(model.async_client, capabilities, seconds, trims=trims)
    return model


class EndpointModel(ChatOpenAI):
    """`ChatOpenAI` that keeps a model's thoughts apart, in
    `additional_kwargs["reasoning_content"]`.
    """

    def _get_request_payload(
        self, input_: Any, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        messages: Sequence[BaseMessage] = self._convert_input(input_).to_messages()
        for message, sent in zip(messages, payload.get("messages", ()), strict=False):
            thoughts = message.additional_kwargs.get("reasoning_content")
            if isinstance(message, AIMessage) and message.tool_calls and thoughts:
                sent["reasoning_content"] = thoughts
        return payload

    def _convert_chunk_to_generation_chunk(
        self, chunk: Json, default_chunk_class: type, base_generation_info: Json | None
    ) -> ChatGenerationChunk | None:
        made = super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )
        if made is not None and chunk.get("choices"):
            thoughts = chunk["choices"][0]["delta"].get("reasoning_content")
            if thoughts:
                made.message.additional_kwargs["reasoning_content"] = thoughts
        return made


class Completions:
    """Stands where `ChatOpenAI` expects `client.chat.completions`."""

    def __init__(
        self, inner: Any, capabilities: Capabilities, seconds: float, *, trims: bool
    ) -> None:
        self._inner = inner
        self._capabilities = capabilities
        self._seconds = seconds
        self._trims = trims

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def create(self, **payload: Any) -> Any:
        """Ask. Raises what the `openai` package raises for refusals, or what a refusal means as an
        error of ours.
        """
        if not payload.get("stream"):
            return await self._inner.create(**payload)
        for rounds_left in reversed(range(ROUNDS)):
            fitted = self._capabilities.fit(payload)
            opening = self._inner.with_streaming_response.create(**fitted)
            try:
                response = await opening.__aenter__()
            except openai.APIStatusError as error:
                payload = self._asked_otherwise(error, payload)
                if not rounds_left:
                    raise
            else:
                return Answer(opening, response, Completion(size(fitted)), self._seconds)
        raise AssertionError("each request is either answered or refused")

    def _asked_otherwise(self, error: openai.APIStatusError, payload: Json) -> Json:
        """Return another request after a refusal. Raises if there is none to try."""
        said = f"{error.message} {error.body}"
        code = code_of(error.body)
        reason = f"HTTP {error.status_code} {code}".removesuffix(f" {error.status_code}")
        log.warning("a model's endpoint refused a request: %s", reason.strip())
        log.debug("it answered: %s", said)
        if code in OUT_OF_CREDIT or error.status_code == 402:
            raise ModelQuota from error
        if error.status_code not in (400, 413, 422, 501):
            raise error
        if is_about_context(said):
            return without_limit(payload) or self._shorter(error, payload)
        if is_about_filter(said):
            raise ModelFiltered from error
        if not self._capabilities.learn(said, payload):
            raise error
        log.warning(
            "it will be asked without %s from now on",
            ", ".join(sorted(self._capabilities.refused)) or "nothing",
        )
        return payload

    def _shorter(self, error: openai.APIStatusError, payload: Json) -> Json:
        """Return the request with the newer half of its conversation. Raises `ContextTooLong`."""
        shorter = trimmed(payload["messages"]) if self._trims else None
        if shorter is None:
            raise ContextTooLong from error
        left_out = len(payload["messages"]) - len(shorter)
        log.warning("a conversation is too long for its model: %s messages are left out", left_out)
        return {**payload, "messages": shorter}


class Answer:
    """A streamed answer as `ChatOpenAI` reads it: an asynchronous context of dictionaries."""

    def __init__(self, opening: Any, response: Any, completion: Completion, seconds: float) -> None:
        self._opening = opening
        self._bytes = response.iter_bytes()
        self._request = response.http_request
        self._reader = BodyReader()
        self._completion = completion
        self._seconds = seconds
        self._chunks: deque[Json] = deque()
        self._ended = False
        self._deadline = asyncio.get_running_loop().time() + seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._opening.__aexit__(*exception)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Json:
        """The next chunk. Raises `openai.APITimeoutError` after a silence: comments and empty
        chunks are silence.
        """
        while not self._chunks:
            if self._ended:
                await self._drain()
                raise StopAsyncIteration
            await self._read()
        return self._chunks.popleft()

    async def _read(self) -> None:
        try:
            await self._read_on()
        except NoCompletion as error:
            log.warning("a model's endpoint sent %s", error.detail)
            raise

    async def _read_on(self) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                data = await anext(self._bytes, None)
        except TimeoutError:
            raise openai.APITimeoutError(self._request) from None
        if data is None:
            self._ended = True
            self._take(self._reader.close())
            self._chunks.extend(self._completion.close(self._reader.done))
            return
        self._take(self._reader.feed(data))
        if self._chunks:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        if self._reader.done:
            self._ended = True
            self._chunks.extend(self._completion.close(done=True))

    async def _drain(self) -> None:
        """Read what comes after `[DONE]`, so that the connection can be used again; it should be
        nothing.
        """
        with contextlib.suppress(TimeoutError, httpx2.HTTPError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await anext(self._bytes, None)

    def _take(self, texts: Sequence[bytes]) -> None:
        for text in texts:
            self._chunks.extend(self._completion.feed(text))
