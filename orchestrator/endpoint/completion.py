"""Bring what endpoints send into the one form that LangChain's binding reads. Pure.

One `Completion` reads one answer. What goes out has at most one `finish_reason`, in its last but
one chunk, and one `usage`, in its last; thoughts are in `reasoning_content`, whichever way they
came.
"""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.orchestrator.endpoint.thoughts import Thoughts
from antiphon.orchestrator.errors import (
    ModelFiltered,
    ModelLength,
    ModelReportedError,
    NoCompletion,
)

Json = dict[str, Any]
CHARACTERS_PER_TOKEN = 4
"""For endpoints that do not count: what one token is taken to be."""
REASONS = {
    "max_tokens": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
    "safety": "content_filter",
    "insufficient_system_resource": "error",
}
"""Other endpoints' words for OpenAI's reasons to finish."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Fields of a delta that hold thoughts; an endpoint may repeat them under two of these names."""


class Completion:
    """One answer while it streams. `asked` is the size of the prompt in characters."""

    def __init__(self, asked: int) -> None:
        self.reason: str | None = None
        self._asked = asked
        self._thoughts = Thoughts()
        self._usage: Json = {}
        self._head: Json = {}
        self._received = False
        """Whether there was a choice, be it empty."""
        self._characters = 0
        """Of the answer and of the thoughts."""
        self._has_answer = False
        self._calls: dict[Any, int] = {}
        """Indices of tool calls, by the index or id that the endpoint gave them."""
        self._named: set[int] = set()

    def feed(self, text: bytes) -> list[Json]:
        """Return the chunks of one JSON text. Raises `NoCompletion` for what is no completion, or
        an error.
        """
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise NoCompletion("an event that is no JSON") from None
        if not isinstance(value, dict):
            raise NoCompletion("an event that is no object")
        choice = _choice(value)
        if choice is None and (error := value.get("error")):
            self._raise(error)
        self._count(value.get("usage"))
        for name in ("id", "model", "system_fingerprint", "service_tier"):
            if value.get(name) is not None:
                self._head[name] = value[name]
        if choice is None:
            return []
        self._received = True
        reason = choice.get("finish_reason") or choice.get("done_reason")
        if self.reason is None and isinstance(reason, str) and reason != "null":
            self.reason = REASONS.get(reason, reason)
        return self._chunks(_delta(choice))

    def close(self, done: bool) -> list[Json]:
        """Return the last chunks. `done` says that the endpoint has marked its end, if without a
        reason.

        Raises `NoCompletion` if there was no answer at all, and what stands for reasons that are
        failures.
        """
        if not self._received:
            raise NoCompletion("an answer without a choice")
        thought, answer = self._thoughts.close()
        chunks = self._chunk({"reasoning_content": thought} if thought else {}, answer)
        if self.reason is None and done:
            self.reason = "stop"
        if self._calls and self.reason == "stop":
            self.reason = "tool_calls"
        self._check()
        if self.reason is not None:
            chunks.append(self._made({}, self.reason))
        return [*chunks, {**self._head, "choices": [], "usage": self._counted()}]

    def _check(self) -> None:
        """Raise if the answer has ended in a way that leaves none."""
        if self.reason == "error":
            raise ModelReportedError
        if self._has_answer or self._calls:
            return
        if self.reason == "length":
            raise ModelLength
        if self.reason == "content_filter":
            raise ModelFiltered

    def _raise(self, error: Any) -> None:
        if self._received:
            raise ModelReportedError
        raise NoCompletion(f"an error instead of an answer: {code_of(error)}")

    def _chunks(self, delta: Json) -> list[Json]:
        thought = next((words for name in THOUGHTS if (words := _words(delta.get(name)))), "")
        answer = ""
        for is_thought, words in _contents(delta.get("content")):
            if is_thought:
                thought += words
            else:
                inline, plain = self._thoughts.feed(words)
                thought, answer = thought + inline, answer + plain
        answer += _words(delta.get("refusal"))
        kept: Json = {"reasoning_content": thought} if thought else {}
        calls = self._tool_calls(delta.get("tool_calls"))
        if calls:
            kept["tool_calls"] = calls
        if delta.get("function_call"):
            kept["function_call"] = delta["function_call"]
        return self._chunk(kept, answer)

    def _chunk(self, delta: Json, answer: str) -> list[Json]:
        self._characters += len(answer) + len(delta.get("reasoning_content", ""))
        self._has_answer = self._has_answer or bool(answer.strip())
        if answer:
            delta["content"] = answer
        return [self._made(delta, None)] if delta else []

    def _made(self, delta: Json, reason: str | None) -> Json:
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def _tool_calls(self, calls: Any) -> list[Json]:
        """Tool calls with an index, a name that is not repeated, and arguments as a text."""
        return [self._tool_call(call, place) for place, call in enumerate(_objects(calls))]

    def _tool_call(self, call: Json, place: int) -> Json:
        key = call.get("index")
        if key is None:
            key = call.get("id") or place
        index = self._calls.setdefault(key, len(self._calls))
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments")
        if isinstance(arguments, dict | list):
            arguments = msgspec.json.encode(arguments).decode()
        first = index not in self._named
        if first and function.get("name"):
            self._named.add(index)
        made: Json = {"index": index, "type": "function"}
        made["function"] = {
            "name": function.get("name") if first else None,
            "arguments": arguments or "",
        }
        if first:
            made["id"] = call.get("id") or f"call_{index}"
        return made

    def _count(self, usage: Any) -> None:
        """Note what was used: the greatest of each figure, as some endpoints repeat the sum so far
        in each chunk.
        """
        if not isinstance(usage, dict):
            return
        for name, number in usage.items():
            if isinstance(number, int) and not isinstance(number, bool):
                known = self._usage.get(name, 0)
                self._usage[name] = max(number, known if isinstance(known, int) else 0)
            elif isinstance(number, dict):
                self._usage[name] = number

    def _counted(self) -> Json:
        """What was used, estimated if the endpoint did not count."""
        asked = self._usage.get("prompt_tokens") or -(-self._asked // CHARACTERS_PER_TOKEN)
        said = self._usage.get("completion_tokens") or -(-self._characters // CHARACTERS_PER_TOKEN)
        total = max(self._usage.get("total_tokens") or 0, asked + said)
        return {
            **self._usage,
            "prompt_tokens": asked,
            "completion_tokens": said,
            "total_tokens": total,
        }


def code_of(error: Any) -> str:
    """An endpoint's own code for an error, cut to what can be one: never a sentence, which may
    quote the prompt.
    """
    fields = error if isinstance(error, dict) else {}
    code = fields.get("code") or fields.get("type") or fields.get("status") or ""
    text = str(code)
    return text if len(text) <= 64 and " " not in text else ""


def _choice(value: Json) -> Json | None:
    """The first choice, or the whole value if it has the form of Ollama's own interface."""
    choices = _objects(value.get("choices"))
    if choices:
        return choices[0]
    return value if isinstance(value.get("message"), dict) else None


def _delta(choice: Json) -> Json:
    for name in ("delta", "message"):
        if isinstance(choice.get(name), dict):
            delta: Json = choice[name]
            return delta
    return {"content": choice["text"]} if isinstance(choice.get("text"), str) else {}


def _objects(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _words(value: Any) -> str:
    """The text of a field that may be a text, an object with one, or a list of these."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_words, value))
    if isinstance(value, dict):
        return next(
            (
                words
                for name in ("text", "content", "summary")
                if (words := _words(value.get(name)))
            ),
            "",
        )
    return ""


def _contents(content: Any) -> list[tuple[bool, str]]:
    """`(is_thought, text)` of a delta's content: a text, or a list of blocks."""
    if isinstance(content, str):
        return [(False, content)]
    contents = []
    for block in _objects(content):
        kind = str(block.get("type", "text"))
        if kind in ("thinking", "reasoning"):
            contents.append(
                (True, _words(block.get("thinking") or block.get("reasoning") or block))
            )
        elif kind in ("text", "output_text", "refusal"):
            contents.append((False, _words(block.get("refusal") or block)))
    return contents
