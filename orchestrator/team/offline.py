"""The default model, which needs no key and no service, and is deterministic.

It classifies by words and answers by quoting the material of its prompt. It is a LangChain chat
model like any other: it gets the same prompts as a large one, streams, binds tools and gives
structured output. If the material has no answer, it says so.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from antiphon.orchestrator.team.prompts import Material, read_material
from antiphon.orchestrator.team.routing import route_by_words, split_questions
from antiphon.rag.words import stems, words

NOTHING = "I found nothing about this in the documents that I have."
COVERED = 0.5
"""The share of a question's weight that a statement must cover to be an answer."""
NEAR = 0.72
"""A further statement is quoted if it scores at least this share of the best one."""
STATEMENTS = 3
"""The most statements that are quoted for one question."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9„\"(])")
_BULLET = re.compile(r"^(?:[-*+]|\d+[.)])\s+")
_PIECE = re.compile(r"\s*\S+")


class OfflineModel(BaseChatModel):
    """A deterministic, extractive chat model. Its pace is slow enough to see that it streams."""

    seconds_per_word: float = 0.004

    @property
    def _llm_type(self) -> str:
        return "antiphon-offline"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools. The only tool that it can call is `route`."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = _answer(messages, kwargs.get("tools"))
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(_answer(messages, kwargs.get("tools"))):
            await asyncio.sleep(self.seconds_per_word)
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(_answer(messages, kwargs.get("tools"))):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _answer(messages: list[BaseMessage], tools: list[dict[str, Any]] | None) -> AIMessage:
    """Return the whole answer to a prompt; a pure function."""
    prompt = "\n".join(message.text for message in messages if isinstance(message, SystemMessage))
    questions = [message.text for message in messages if message.type == "human"]
    question = questions[-1] if questions else ""
    material = read_material(prompt)
    calls: list[ToolCall] = []
    text = ""
    if any(tool["function"]["name"] == "route" for tool in tools or ()):
        route = _route(question, material)
        calls = [ToolCall(name="route", args=route, id="route", type="tool_call")]
    else:
        text = _compose(question, material)
    read = sum(len(words(message.text)) for message in messages)
    written = len(words(text)) or 1
    finish_reason = "tool_calls" if calls else "stop"
    return AIMessage(
        content=text,
        tool_calls=calls,
        response_metadata={"finish_reason": finish_reason, "model_name": "offline"},
        usage_metadata=UsageMetadata(
            input_tokens=read, output_tokens=written, total_tokens=read + written
        ),
    )


def _chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """Yield an answer word by word, with its white space; the last chunk has calls and metadata."""
    for piece in _PIECE.findall(message.text):
        yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
    calls = [
        {
            "name": call["name"],
            "args": json.dumps(call["args"]),
            "id": call["id"],
            "index": index,
            "type": "tool_call_chunk",
        }
        for index, call in enumerate(message.tool_calls)
    ]
    yield ChatGenerationChunk(
        message=AIMessageChunk(
            content="",
            tool_call_chunks=calls,  # type: ignore[arg-type]
            response_metadata=message.response_metadata,
            usage_metadata=message.usage_metadata,
        )
    )


def _route(question: str, material: list[Material]) -> dict[str, Any]:
    specialists = [part for part in material if part.tag == "specialist"]
    candidates = [(part.id, part.title, tuple(part.text.splitlines())) for part in specialists]
    route = route_by_words(question, candidates)
    return {
        "primary": route.primary,
        "supporting": list(route.supporting),
        "confidence": route.confidence,
        "parts": [{"agent": agent, "question": part} for agent, part in route.parts.items()],
    }


def _compose(question: str, material: list[Material]) -> str:
    """Return the drafts, and quotations that answer each question of the message.

    If there are none, return the goal of the conversation's step, if it has one.
    """
    statements: list[_Statement] = []
    for rank, source in enumerate(part for part in material if part.tag == "source"):
        statements += _statements(source, rank)
    paragraphs = _drafted(material)
    drafted = "\n".join(paragraphs)
    for clause in split_questions(question):
        quotations = [line for line in _quote(clause, statements) if line not in drafted]
        if quotations:
            paragraphs.append("\n".join(quotations))
    goals = [part.text for part in material if part.tag == "step"]
    return "\n\n".join(paragraphs) or (goals[0] if goals else NOTHING)


def _drafted(material: list[Material]) -> list[str]:
    """Return the lines of each draft, without lines that an earlier draft has."""
    paragraphs: list[str] = []
    seen: set[str] = {NOTHING}
    for draft in material:
        if draft.tag != "draft":
            continue
        lines = [line for line in draft.text.splitlines() if line.strip() and line not in seen]
        seen.update(lines)
        if lines:
            paragraphs.append("\n".join(lines))
    return paragraphs


class _Statement:
    """A quotable line of a source, and the words by which it is found."""

    def __init__(self, source: str, heading: str, text: str, rank: int) -> None:
        self.source = source
        self.rank = rank
        self.text = text
        stemmed = stems(text)
        self.words = set(stemmed)
        self.pairs = set(pairwise(stemmed))
        self.around = set(stems(heading))


def _statements(source: Material, rank: int) -> list[_Statement]:
    """Return the sentences and the table rows of a source."""
    lines: list[str] = []
    header: list[str] = []
    for line in map(str.strip, source.text.splitlines()):
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not header:
                header = cells
            elif not set("".join(cells)) <= set("-: "):
                lines.append(_row(header, cells))
            continue
        header = []
        lines += filter(None, _SENTENCE.split(_BULLET.sub("", line)))
    return [_Statement(source.id, source.title, line, rank) for line in lines]


def _row(header: list[str], cells: list[str]) -> str:
    """Return a table row as a sentence: `name: value`, or with the names of its columns."""
    if len(cells) <= 2:
        return f"{': '.join(cells)}."
    columns = zip(header[1:], cells[1:], strict=False)
    named = [f"{name.lower()} {cell}" for name, cell in columns if cell and cell != "-"]
    return f"{cells[0]}: {', '.join(named)}."


def _quote(question: str, statements: list[_Statement]) -> list[str]:
    """Return the statements that answer a question, best first, each with its source, if any."""
    wanted = set(stems(question))
    if not wanted or not statements:
        return []
    count = Counter(word for line in statements for word in line.words | line.around)
    weight = {word: math.log(1 + len(statements) / (count[word] or 0.5)) for word in wanted}
    total = sum(weight.values())
    pairs = set(pairwise(stems(question)))

    def score(line: _Statement) -> float:
        inside = sum(weight[word] for word in wanted & line.words)
        beside = sum(weight[word] for word in (wanted & line.around) - line.words)
        brevity = 0.3 / (1 + 0.1 * len(line.words))
        phrase = 0.3 * len(pairs & line.pairs) / (len(pairs) or 1)
        return (inside + 0.6 * beside) / total * (1 + brevity + phrase + 0.1 / (1 + line.rank))

    ranked = sorted(statements, key=score, reverse=True)
    best = score(ranked[0])
    if best < COVERED or not wanted & ranked[0].words:
        return []
    near: dict[str, _Statement] = {}
    for line in reversed(ranked):  # of equal texts, the best one stays
        if score(line) >= NEAR * best and wanted & line.words:
            near[line.text] = line
    chosen = sorted(near.values(), key=score, reverse=True)[:STATEMENTS]
    return [f"{line.text} [{line.source}]" for line in chosen]
