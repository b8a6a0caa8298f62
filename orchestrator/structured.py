"""Reads structured answers of models in linear time and within bounds.

LangChain parses text that is not JSON by dropping one character after another and trying again.
That takes half a second for 8,000 characters and minutes for 100,000, and blocks every thread of
the process. It does so with answers, in its output parsers, and with the arguments of tool calls,
when it merges the pieces of a stream. `ModelGuard` keeps long broken texts from both, in any graph.
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
"""Characters that LangChain may parse whatever they are: it takes at most 0.15 s."""
LONG = 128 * 1024
"""The most characters of a structured answer, or of the arguments of an answer's tool calls.

Merging the arguments then takes 0.2 s.
"""
TRIES = 16
"""The number of braces at which an object is searched for."""

_DECODER = json.JSONDecoder(strict=False)
_BROKEN = (ValueError, RecursionError)


class ModelGarbage(OutputParserException):
    """A model's structured answer is not JSON, or exceeds the bounds."""


def find_object(text: str) -> tuple[dict[str, Any], str] | None:
    """Return the first JSON object in a text, and its JSON text; None if there is none.

    There may be a fence and prose around it. Only the first `TRIES` braces are tried, so that the
    time is linear.
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


def is_structured(call: Mapping[str, Any]) -> bool:
    """Return whether a model is asked for an object, by the keywords of `on_chat_model_start`."""
    parameters = call.get("invocation_params") or {}
    options = call.get("options") or {}
    return bool(options.get("ls_structured_output_format") or parameters.get("response_format"))


class ModelGuard:
    """Bounds structured answers and tool calls of a run's models, by LangChain's callbacks."""

    def __init__(self) -> None:
        self._structured: dict[UUID, int] = {}
        """Characters of the answer so far, by call, of calls that ask for JSON."""
        self._tool_calls: dict[UUID, _Arguments] = {}

    def start(self, call: UUID, keywords: Mapping[str, Any]) -> None:
        """Handle the start of a call, with the keywords of `on_chat_model_start`."""
        if is_structured(keywords):
            self._structured[call] = 0

    def see(self, call: UUID, chunk: object) -> None:
        """Handle a piece of an answer. Raises `ModelGarbage`."""
        if not isinstance(chunk, ChatGenerationChunk):
            return
        message = chunk.message
        if not isinstance(message, AIMessageChunk):
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
        """Handle the end of a call, with an answer or an error."""
        self._structured.pop(call, None)
        self._tool_calls.pop(call, None)

    @staticmethod
    def parse(name: str | None, answer: object) -> None:
        """Handle an answer before the parser `name` reads it: remove prose around a long object.

        Raises `ModelGarbage` for a long answer that LangChain's JSON parser could not read in time.
        """
        text = answer.text if isinstance(answer, BaseMessage) else answer
        if not isinstance(text, str) or len(text) <= SHORT:
            return
        if name not in _names(JsonOutputParser) or _is_json(text):
            return
        match = find_object(text)
        if isinstance(answer, BaseMessage):
            # In plain functions LangChain ignores what handlers raise: make the text short, too.
            answer.content = match[1] if match else text[:SHORT]
        if match is None or not isinstance(answer, BaseMessage):
            raise ModelGarbage(f"an answer of {len(text)} characters that is not JSON")


class _Arguments:
    """The arguments of one answer's tool calls, as they stream."""

    def __init__(self) -> None:
        self._messages: list[AIMessageChunk] = []
        self._texts: dict[int | str | None, list[str]] = {}
        self._size = 0
        self._check_at = SHORT

    def add(self, message: AIMessageChunk) -> None:
        """Add a piece. Raises `ModelGarbage` if arguments are too long or not an object."""
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
                self._refuse("arguments of a tool call that are not JSON")

    def check_whole(self) -> None:
        """Check a complete answer. Raises `ModelGarbage` if long arguments are not JSON."""
        if not all(_is_json(text) for text in self._long_texts()):
            self._refuse("arguments of a tool call that are not JSON")

    def _long_texts(self) -> Iterator[str]:
        if self._size > SHORT:
            for pieces in self._texts.values():
                text = "".join(pieces)
                if len(text) > SHORT:
                    yield text

    def _refuse(self, reason: str) -> None:
        """Raise `ModelGarbage`. Clears the pieces: LangChain also merges those of failed calls."""
        for message in self._messages:
            message.tool_call_chunks = []
        raise ModelGarbage(reason)


def _is_json(text: str) -> bool:
    """Return whether LangChain's first attempt to parse a text succeeds."""
    try:
        json.loads(text, strict=False)
    except _BROKEN:
        return False
    return True


def _may_become_object(text: str) -> bool:
    """Return whether a text may begin a JSON object, by the place at which a parser stops."""
    try:
        _DECODER.raw_decode(text, len(text) - len(text.lstrip()))
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string"):  # a value; names of fields are short
            return (
                text[: error.pos].rstrip()[-1:] in (":", "[", ",") or len(text) - error.pos < SHORT
            )
        return error.pos >= len(text) - len("\\u0000")
    except _BROKEN:
        return False
    return True


def _names(cls: type) -> set[str]:
    """Return the names of a class and of all its subclasses."""
    derived: list[type] = cls.__subclasses__()
    return {cls.__name__}.union(*map(_names, derived))
