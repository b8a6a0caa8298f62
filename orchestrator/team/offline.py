"""The default model: no key, no service, no chance. It classifies by words and answers by quoting what it was given.

It is a LangChain chat model like any other: it sees the same prompts as a large one, streams, binds tools and gives
structured output. It invents nothing: where the material has no answer, it says so.
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

from antiphon.orchestrator.team.prompts import read_material
from antiphon.orchestrator.team.routing import route_by_words, split_questions
from antiphon.rag.words import stems, words

NOTHING = "I found nothing about this in the documents that I have."
COVERED = 0.5
"""Share of a question's weight that a statement must cover to count as an answer."""
NEAR = 0.72
"""A further statement is quoted if it scores at least this share of the best one."""
STATEMENTS = 3
"""Statements that are quoted for one question at most."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9„\"(])")
_BULLET = re.compile(r"^(?:[-*+]|\d+[.)])\s+")
_PIECE = re.compile(r"\s*\S+")


class OfflineModel(BaseChatModel):
    """A deterministic, extractive chat model. It speaks at a pace at which one can see that it streams."""

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
        """Let the model answer by a tool call. The only tool that it can call is `route`."""
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
    """The whole answer to a prompt; a pure function of it."""
    prompt = "\n".join(m.text for m in messages if isinstance(m, SystemMessage))
    question = next((m.text for m in reversed(messages) if m.type == "human"), "")
    material = read_material(prompt)
    calls: list[ToolCall] = []
    text = ""
    if any(tool["function"]["name"] == "route" for tool in tools or ()):
        calls = [
            ToolCall(name="route", args=_route(question, material), id="route", type="tool_call")
        ]
    else:
        text = _compose(question, material)
    asked = sum(len(words(m.text)) for m in messages)
    said = len(words(text)) or 1
    return AIMessage(
        content=text,
        tool_calls=calls,
        response_metadata={
            "finish_reason": "tool_calls" if calls else "stop",
            "model_name": "offline",
        },
        usage_metadata=UsageMetadata(
            input_tokens=asked, output_tokens=said, total_tokens=asked + said
        ),
    )


def _chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """An answer word by word, spaces and line breaks kept; the last chunk carries what is known of the whole."""
    for piece in _PIECE.findall(message.text):
        yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
    calls = [
        {
            "name": call["name"],
            "args": json.dumps(call["args"]),
            "id": call["id"],
            "index": i,
            "type": "tool_call_chunk",
        }
        for i, call in enumerate(message.tool_calls)
    ]
    yield ChatGenerationChunk(
        message=AIMessageChunk(
            content="",
            tool_call_chunks=calls,  # type: ignore[arg-type]
            response_metadata=message.response_metadata,
            usage_metadata=message.usage_metadata,
        )
    )


def _route(question: str, material: list[tuple[str, str, str, str]]) -> dict[str, Any]:
    profiles = [
        (id_, title, tuple(text.splitlines()))
        for tag, id_, title, text in material
        if tag == "specialist"
    ]
    route = route_by_words(question, profiles)
    return {
        "primary": route.primary,
        "supporting": list(route.supporting),
        "confidence": route.confidence,
        "parts": [{"agent": agent, "question": part} for agent, part in route.parts.items()],
    }


def _compose(question: str, material: list[tuple[str, str, str, str]]) -> str:
    """Quote what answers each question of the message; drafts of others are quoted as they are.

    Where nothing does, a step of a conversation is told by its goal.
    """
    sources = [(id_, title, text) for tag, id_, title, text in material if tag == "source"]
    statements = [s for rank, source in enumerate(sources) for s in _statements(*source, rank)]
    paragraphs = _drafted(material)
    known = "\n".join(paragraphs)
    for one in split_questions(question):
        found = [line for line in _quote(one, statements) if line not in known]
        if found:
            paragraphs.append("\n".join(found))
    goal = next((text for tag, _, _, text in material if tag == "step"), NOTHING)
    return "\n\n".join(paragraphs) or goal


def _drafted(material: list[tuple[str, str, str, str]]) -> list[str]:
    """The lines of all drafts without what an earlier one already said."""
    paragraphs: list[str] = []
    seen: set[str] = set()
    for tag, _, _, text in material:
        if tag == "draft":
            lines = [
                line
                for line in text.splitlines()
                if line.strip() and line != NOTHING and line not in seen
            ]
            seen.update(lines)
            if lines:
                paragraphs.append("\n".join(lines))
    return paragraphs


class _Statement:
    """One quotable line of a source: what it says, where it stands, and the words it is found by."""

    def __init__(self, source: str, heading: str, text: str, rank: int) -> None:
        self.source = source
        self.rank = rank
        self.text = text
        found = stems(text)
        self.words = set(found)
        self.pairs = set(pairwise(found))
        self.around = set(stems(heading))


def _statements(source: str, title: str, text: str, rank: int) -> list[_Statement]:
    found: list[_Statement] = []
    header: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not header:
                header = cells
            elif not set("".join(cells)) <= set("-: "):
                found.append(_Statement(source, title, _row(header, cells), rank))
            continue
        header = []
        found += [
            _Statement(source, title, s, rank) for s in _SENTENCE.split(_BULLET.sub("", line)) if s
        ]
    return found


def _row(header: list[str], cells: list[str]) -> str:
    """A table row as a sentence: two columns as `name: value`, more with the names of their columns."""
    if len(cells) <= 2:
        return f"{': '.join(cells)}."
    rest = [
        f"{name.lower()} {cell}"
        for name, cell in zip(header[1:], cells[1:], strict=False)
        if cell and cell != "-"
    ]
    return f"{cells[0]}: {', '.join(rest)}."


def _quote(question: str, statements: list[_Statement]) -> list[str]:
    """The statements that answer a question, best first, each with its source; none if nothing covers it."""
    asked = set(stems(question))
    if not asked or not statements:
        return []
    count = Counter(word for s in statements for word in s.words | s.around)
    weight = {word: math.log(1 + len(statements) / (count[word] or 0.5)) for word in asked}
    total = sum(weight.values())
    pairs = set(pairwise(stems(question)))

    def score(s: _Statement) -> float:
        inside = sum(weight[word] for word in asked & s.words)
        beside = sum(weight[word] for word in (asked & s.around) - s.words)
        brevity = 0.3 / (1 + 0.1 * len(s.words))
        phrase = 0.3 * len(pairs & s.pairs) / (len(pairs) or 1)
        return (inside + 0.6 * beside) / total * (1 + brevity + phrase + 0.1 / (1 + s.rank))

    ranked = sorted(statements, key=score, reverse=True)
    best = score(ranked[0])
    if best < COVERED or not asked & ranked[0].words:
        return []
    near = {s.text: s for s in reversed(ranked) if score(s) >= NEAR * best and asked & s.words}
    chosen = sorted(near.values(), key=score, reverse=True)[:STATEMENTS]
    return [f"{s.text} [{s.source}]" for s in chosen]
