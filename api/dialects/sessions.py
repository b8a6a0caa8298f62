"""The sessions vocabulary (seed 004): `start`, tokens, `end`; or `error`, which ends a stream as well.

Order for each message: `start`, tokens, then `end` or `error`. A question to the human is an answer of its own: its
tokens, then `end`; what follows the human's answer begins with a `start` again. Both have the id of the one message
that is stored in the end, and the tokens behind a `start` are always the message from its beginning.
"""

from __future__ import annotations

import re
from typing import Any

from antiphon.api.bounds import CHUNK_DELAY_LIMIT, CHUNK_WORDS_LIMIT
from antiphon.api.dialects.base import Dialect, Frame, Sent, ShownText, name_field, numbered
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import (
    Interrupt,
    InterruptAnswered,
    Recorded,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
)
from antiphon.orchestrator.request import Request

ENDS = ("end", "error")
"""Frames behind which there is nothing more in a response."""


class SessionStart(Sent, frozen=True, kw_only=True, tag="start", rename={"message_id": "messageId"}):
    """An answer begins: the stored message that it will be."""

    message_id: str


class SessionToken(Sent, frozen=True, kw_only=True, tag="token"):
    """A piece of the answer."""

    content: str


class SessionEnd(Sent, frozen=True, kw_only=True, tag="end", rename={"message_id": "messageId"}):
    """The answer is stored as it can be read from the session's messages."""

    message_id: str


class SessionError(Sent, frozen=True, kw_only=True, tag="error"):
    """There is no more of the answer; what was said is kept."""

    error: str
    code: str


_PARTS = re.compile(r"\s+|\S+")


class Pieces:
    """Cuts a text into pieces of exactly `words` words, each with the white space behind it; 0 leaves it as it comes.

    The pieces are those of the whole text, in whatever parts it arrives: a piece is complete when the next word begins.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._held: list[str] = []
        self._count = 0
        self._in_word = False

    def cut(self, text: str) -> list[str]:
        """Take more text; returns the pieces that are complete."""
        if not self._words:
            return [text] if text else []
        pieces = []
        for part in _PARTS.findall(text):
            is_word = not part.isspace()
            if is_word and not self._in_word:
                if self._count == self._words:
                    pieces.append(self.rest())
                self._count += 1
            self._in_word = is_word
            self._held.append(part)
        return pieces

    def rest(self) -> str:
        """Take out what is not a whole piece yet."""
        rest, self._held, self._count, self._in_word = "".join(self._held), [], 0, False
        return rest


class _SessionsFold:
    def __init__(self) -> None:
        self._message_id = ""
        self._pause = 0
        self._shown = ShownText()
        self._pieces = Pieces(0)

    def feed(self, recorded: Recorded) -> list[Frame]:
        """The frames of an event."""
        frames = numbered(self._frames(recorded), recorded)
        return [Frame(data=frame, pause=self._pause if frame["type"] == "token" else 0) for frame in frames]

    def _frames(self, recorded: Recorded) -> list[Sent]:
        event = recorded.event
        if isinstance(event, RunAttempt):
            self._shown.unsay(self._pieces.rest())
        said = self._cut(self._shown.feed_text(event))
        match event:
            case RunStart():
                options = event.input.get("options", {})
                self._message_id = event.reply_id
                self._pieces = Pieces(options.get("chunk_words", 0))
                self._pause = options.get("delay_ms", 0)
                return [SessionStart(message_id=self._message_id)]
            case Interrupt():
                rest = self._shown.rest(self._shown.asked(event.text))
                return [*self._last(rest), SessionEnd(message_id=self._message_id)]
            case InterruptAnswered():
                self._message_id = event.reply_id or self._message_id
                self._pieces.rest()
                return [SessionStart(message_id=self._message_id)]
            case RunComplete():
                return [*self._last(self._shown.rest(event.text)), SessionEnd(message_id=self._message_id)]
            case RunError():
                return [*self._last(), SessionError(error=event.message, code=event.code)]
            case RunCancelled():
                return [*self._last(), SessionError(error="The message was cancelled.", code="CANCELLED")]
        return said

    def _cut(self, text: str) -> list[Sent]:
        return [SessionToken(content=piece) for piece in self._pieces.cut(text)]

    def _last(self, text: str = "") -> list[Sent]:
        """The last tokens before an end: what was held back, and `text`."""
        tokens = self._cut(text)
        rest = self._pieces.rest()
        return [*tokens, SessionToken(content=rest)] if rest else tokens


class Sessions(Dialect):
    """The vocabulary of `/sessions`. It has no WebSocket."""

    name = "sessions"
    frames = (SessionStart, SessionToken, SessionEnd, SessionError)

    def fold(self) -> _SessionsFold:
        """A fresh fold."""
        return _SessionsFold()

    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """The body of a response that is no stream."""
        return {"detail": problem.message, "code": problem.code}


def read_message(session_id: str, content: str, chunk_words: int, delay_ms: int) -> Request:
    """A message of this vocabulary. Raises `Problem`."""
    asked = {
        "chunk_words": _bounded("chunk_words", chunk_words, CHUNK_WORDS_LIMIT),
        "delay_ms": _bounded("delay_ms", delay_ms, CHUNK_DELAY_LIMIT),
    }
    return Request(
        dialect=Sessions.name,
        message=content,
        thread_name=read_session_id(session_id),
        options={name: number for name, number in asked.items() if number},
    )


def read_session_id(session_id: str) -> str:
    """A client's name for a session. Raises `Problem`."""
    name = name_field({"session_id": session_id}, "session_id")
    if name is None:
        raise Problem("BAD_REQUEST", "A session needs an id.")
    return name


def _bounded(name: str, number: int, limit: int) -> int:
    if not 0 <= number <= limit:
        raise Problem("BAD_REQUEST", f"{name} must be a number from 0 to {limit}.")
    return number
