"""Chat models by spec: `offline`, or `openai:<model>` for everything that speaks OpenAI's protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from pydantic import SecretStr
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from orchestrator.budget import AnswerCut
from orchestrator.errors import ModelCut, describe

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
"""Silence of a model after which its answer counts as lost, unless said otherwise."""
ATTEMPTS = 3
"""How often a model is asked again after an answer broke off. Refusals before the first token (429, 5xx) are retried
inside the OpenAI client, with its back-off and the server's Retry-After."""


def chat_model(
    spec: str, *, api_key: str | None = None, base_url: str | None = None, seconds: float = READ_SECONDS
) -> BaseChatModel:
    """A chat model by its spec. Raises `ValueError` for a spec that is none.

    `seconds` is the silence after which an answer counts as lost. `openai:<model>` speaks to `base_url` (OpenAI itself
    when None); its binding is imported only here: it costs half a second and tens of megabytes that the offline model
    does not need.
    """
    kind, _, name = spec.partition(":")
    if kind == "offline" and not name:
        from orchestrator.offline import OfflineModel

        return OfflineModel()
    if kind == "openai" and name:
        return _openai(name, api_key, base_url, seconds)
    raise ValueError(f"unknown model {spec!r}: use 'offline' or 'openai:<model>'")


def _openai(name: str, api_key: str | None, base_url: str | None, seconds: float) -> BaseChatModel:
    import httpx2
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
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


MODEL_CUT = "model_cut"


async def ask(model: BaseChatModel, messages: Sequence[BaseMessage], max_tokens: int) -> str:
    """The text of a model's whole answer. One that breaks off is asked for again, and the log supersedes it.

    One that reaches the agent's limits is stopped, and what was said is the answer. Raises what the model raised last,
    or `ModelCut` for an answer that ended without saying that it ended.
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
    """Whether an answer was lost on its way. A refusal is not: the client has asked again already, and waited."""
    refused = hasattr(error, "status_code") or type(error).__name__ == "APIConnectionError"
    return describe(error).retryable and not refused


class StructuredOutput:
    """Asks a model for an object of a schema, in the first way that its endpoint understands; remembers which one."""

    def __init__(self, model: BaseChatModel, schema: dict[str, Any]) -> None:
        self._ways = [model.with_structured_output(schema, **options) for options in _ways(model)]

    async def ask(self, messages: Sequence[BaseMessage], config: RunnableConfig) -> Any | None:
        """The object, or None where the endpoint gives none in any way. Raises when it cannot be reached."""
        for way in list(self._ways):
            try:
                if (found := await way.ainvoke(list(messages), config)) is not None:
                    return found
            except Exception as error:
                code = describe(error).code
                if code not in NO_STRUCTURE:
                    raise
                if code in REFUSED:
                    self._ways = [other for other in self._ways if other is not way]
        return None


REFUSED = frozenset({"MODEL_REFUSED", "MODEL_NOT_FOUND"})
"""Failures that mean "never in this way"."""
NO_STRUCTURE = frozenset({"MODEL_REFUSED", "MODEL_GARBAGE", "MODEL_NOT_FOUND", "AGENT_FAILED"})
"""Failures that mean "not in this way", as opposed to "not now"."""


def _ways(model: BaseChatModel) -> list[dict[str, Any]]:
    if model._llm_type != "openai-chat":
        return [{}]
    return [{"method": method} for method in ("json_schema", "function_calling", "json_mode")]
