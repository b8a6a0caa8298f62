"""Structured answers of models, in linear time and within bounds.

LangChain parses what is no JSON by dropping one character after another and trying again: half a second for 8,000
characters, minutes for 100,000, holding up every thread of the process. It does so with answers, in its output parsers,
and with the arguments of tool calls, when it merges the pieces of a stream. `ModelGuard` keeps from both what would
take long, in graphs of any kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.outputs import ChatGenerationChunk

SHORT = 4096
"""Characters that LangChain may be given whatever they are: it takes 0.15 s at most."""
LONG = 128 * 1024
"""Characters of one call's structured answer, or of its tool calls' arguments: merging them takes 0.2 s."""
TRIES = 16
"""Places of a text at which an object may begin."""

_DECODER = json.JSONDecoder(strict=False)
_BROKEN = (ValueError, RecursionError)


class ModelGarbage(OutputParserException):
    """A model's structured answer is no JSON, or beyond all bounds."""


def find_object(text: str) -> tuple[dict[str, Any], str] | None:
    """The first JSON object in a text, and how it is written; None if there is none.

    There may be a fence and prose around it. Tries the first braces only, so that its time is linear.
    """
    start = text.find("{")
    for _ in range(TRIES):
        if start < 0:
            return None
        try:
            value, end = _DECODER.raw_decode(text, start)
        except _BROKEN:
            start = text.find("{", start + 1)
        else:
            return value, text[start:end]
    return None


def is_structured(asked: Mapping[str, Any]) -> bool:
    """Whether a model was asked for an object, which is for a program: by `on_chat_model_start`'s keywords."""
    parameters = asked.get("invocation_params") or {}
    options = asked.get("options") or {}
    return bool(options.get("ls_structured_output_format") or parameters.get("response_format"))


class ModelGuard:
    """Bounds the structured answers and the tool calls of one run's model calls, by the callbacks of LangChain."""

    def __init__(self) -> None:
        self._structured: dict[UUID, int] = {}
        """Characters of answers so far, of calls that are to answer in JSON."""
        self._tool_calls: dict[UUID, _Arguments] = {}

    def start(self, call: UUID, asked: Mapping[str, Any]) -> None:
        """A model is asked: `asked` are the keywords of `on_chat_model_start`."""
        if is_structured(asked):
            self._structured[call] = 0

    def see(self, call: UUID, chunk: object) -> None:
        """A piece of an answer has come. Raises `ModelGarbage`."""
        if not isinstance(chunk, ChatGenerationChunk) or not isinstance(
            message := chunk.message, AIMessageChunk
        ):
            return
        if message.tool_call_chunks:
            self._tool_calls.setdefault(call, _Arguments()).add(message)
        if call in self._structured:
            self._structured[call] += len(chunk.text)
            if self._structured[call] > LONG:
                raise ModelGarbage(f"a structured answer of more than {LONG} characters")
        if message.chunk_position == "last" and call in self._tool_calls:
            self._tool_calls[call].check_whole()

    def end(self, call: UUID) -> None:
        """A model has answered, or failed."""
        self._structured.pop(call, None)
        self._tool_calls.pop(call, None)

    @staticmethod
    def parse(name: str | None, answer: object) -> None:
        """A parser named `name` is about to read an answer, which loses prose around a long object.

        Raises `ModelGarbage` for a long answer that LangChain's parser of JSON could not read in time.
        """
        text = answer.text if isinstance(answer, BaseMessage) else answer
        if (
            not isinstance(text, str)
            or len(text) <= SHORT
            or name not in _names(JsonOutputParser)
            or _is_json(text)
        ):
            return
        found = find_object(text)
        if isinstance(
            answer, BaseMessage
        ):  # cut, because LangChain drops what handlers raise in plain functions
            answer.content = found[1] if found else text[:SHORT]
        if found is None or not isinstance(answer, BaseMessage):
            raise ModelGarbage(f"an answer of {len(text)} characters that is no JSON")


class _Arguments:
    """The arguments of one answer's tool calls while they stream."""

    def __init__(self) -> None:
        self._messages: list[AIMessageChunk] = []
        self._texts: dict[int | str | None, list[str]] = {}
        self._size = 0
        self._check_at = SHORT

    def add(self, message: AIMessageChunk) -> None:
        """Note a piece. Raises `ModelGarbage` if they have become too long, or cannot become an object."""
        self._messages.append(message)
        for piece in message.tool_call_chunks:
            text = piece["args"] or ""
            self._texts.setdefault(piece["index"], []).append(text)
            self._size += len(text)
        if self._size > LONG:
            self._refuse(f"tool calls with more than {LONG} characters of arguments")
        if self._size > self._check_at:
            self._check_at = 2 * self._size
            if not all(_may_become_object(text) for text in self._long_texts()):
                self._refuse("arguments of a tool call that are no JSON")

    def check_whole(self) -> None:
        """The answer is complete. Raises `ModelGarbage` if long arguments are no JSON."""
        if not all(_is_json(text) for text in self._long_texts()):
            self._refuse("arguments of a tool call that are no JSON")

    def _long_texts(self) -> Iterator[str]:
        if self._size > SHORT:
            for pieces in self._texts.values():
                text = "".join(pieces)
                if len(text) > SHORT:
                    yield text

    def _refuse(self, reason: str) -> None:
        """Raise, and leave nothing to LangChain: it merges and parses the pieces of failed calls, too."""
        for message in self._messages:
            message.tool_call_chunks = []
        raise ModelGarbage(reason)


def _is_json(text: str) -> bool:
    """Whether LangChain's first try succeeds, which is all that it needs then."""
    try:
        json.loads(text, strict=False)
    except _BROKEN:
        return False
    return True


def _may_become_object(text: str) -> bool:
    """Whether a text may be the beginning of a JSON object, judged by where a parser stops reading it."""
    try:
        _DECODER.raw_decode(text, len(text) - len(text.lstrip()))
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string"):  # of a value; names of fields are short
            return (
                text[: error.pos].rstrip()[-1:] in (":", "[", ",") or len(text) - error.pos < SHORT
            )
        return error.pos >= len(text) - len("\\u0000")
    except _BROKEN:
        return False
    return True


def _names(cls: type) -> set[str]:
    """The names of a class and of all that are derived from it."""
    derived: list[type] = cls.__subclasses__()
    return {cls.__name__}.union(*map(_names, derived))
