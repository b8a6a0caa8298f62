"""How much an agent may say and a run may spend, counted while it streams. Pure.

A piece of text that a model streams counts as one token, as providers stream them. A sentence ends
with `.`, `!`, `?` or `…` before a space, or with a line break; figures such as `2.4` do not end
one.
"""

from __future__ import annotations

import re

import msgspec

from antiphon.data.errors import AntiphonError

_SENTENCE_END = re.compile(r"[.!?…]+[\"')\]]*(?=\s)|(?<=[^\s.!?…\"')\]])\n")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be spent; None is no limit. `seconds` count from the beginning."""

    tokens: int | None = None
    sentences: int | None = None
    seconds: float | None = None
    tool_calls: int | None = None


UNLIMITED = Limits()


class BudgetExceeded(AntiphonError):
    """The run has spent what it may. The text so far is kept."""

    code = "BUDGET_EXCEEDED"
    message = "The answer was stopped because its budget is used up."


class AnswerCut(Exception):
    """An agent has reached a limit: `text` is its text up to there, `reason` names the limit.

    It is not in the tree of errors because nothing went wrong and no client sees it: it only stops
    the model's stream, and `models.ask` catches it and returns the text.
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(reason)
        self.text = text
        self.reason = reason


class Meter:
    """Counts what one agent or one run spends."""

    def __init__(self, limits: Limits, started: float) -> None:
        self._limits = limits
        self._started = started
        self._tokens = 0
        self._tool_calls = 0
        self._sentences = 0
        self._tail = ""
        """The text since the last sentence ended, or the last piece if sentences are unlimited."""

    def say(self, text: str, now: float) -> tuple[str, str | None]:
        """Return how much of a piece of text may be said, and the limit that it reaches, if any.

        Text is never cut inside a word: the first piece to be dropped begins a new word.
        """
        limits = self._limits
        if limits.seconds is not None and now - self._started > limits.seconds:
            return "", "max_seconds"
        self._tokens += 1
        if limits.tokens is not None and self._tokens > limits.tokens:
            rest = re.match(r"\S*", text)
            word = rest[0] if rest and self._tail and not self._tail[-1].isspace() else ""
            return (text, None) if word == text else (word, "max_tokens")
        if limits.sentences is None:
            self._tail = text or self._tail
            return text, None
        return self._up_to_sentence(text, limits.sentences)

    def _up_to_sentence(self, text: str, limit: int) -> tuple[str, str | None]:
        before, self._tail = len(self._tail), self._tail + text
        for match in list(_SENTENCE_END.finditer(self._tail)):
            self._sentences += 1
            if self._sentences == limit:
                return self._tail[before : match.end()].rstrip("\n"), "max_sentences"
        ends = [match.end() for match in _SENTENCE_END.finditer(self._tail)]
        self._tail = self._tail[ends[-1] :] if ends else self._tail
        return text, None

    def call_tool(self) -> bool:
        """Count a tool call. Return whether it is allowed."""
        self._tool_calls += 1
        return self._limits.tool_calls is None or self._tool_calls <= self._limits.tool_calls
