"""The sessions vocabulary (seed 004): `start`, tokens, `end`; or `error`, which ends a stream too.

Order for each message: `start`, tokens, then `end` or `error`. A question to the human is an answer
of its own: its tokens, then `end`; what follows the human's answer begins with a `start` again.
Both have the id of the one message that is stored in the end, and the tokens after a `start` are
always the message from its beginning.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from antiphon.api.bounds import CHUNK_DELAY_LIMIT, CHUNK_WORDS_LIMIT
from antiphon.api.dialects.base import (
    TOOL_EVENTS,
    Dialect,
    Fold,
    Sent,
    Stream,
    Turn,
    TurnPaths,
    Wait,
    iso,
)
from antiphon.api.dialects.shown import News
from antiphon.api.dialects.words import ClientMessage, Text
from antiphon.api.problems import Problem
from antiphon.data import records
from antiphon.orchestrator import events as ev
from antiphon.orchestrator.request import Request

# -- what the server sends -------------------------------------------------------------------------


class SessionStart(Sent, frozen=True, tag="start", rename={"message_id": "messageId"}):
    """An answer begins: the stored message that it will be."""

    message_id: str


class SessionToken(Sent, frozen=True, tag="token"):
    """A piece of the answer."""

    content: str


class SessionEnd(Sent, frozen=True, tag="end", rename={"message_id": "messageId"}):
    """The answer is stored as it can be read from the session's messages."""

    message_id: str


class SessionError(Sent, frozen=True, tag="error"):
    """There is no more of the answer; what was shown is kept."""

    error: str
    code: str


class SessionMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a session."""

    id: str
    session_id: str
    content: str
    role: str
    timestamp: str


class SessionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer as it is stored."""

    data: SessionMessage
    message: str


class SessionsProblem(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    detail: str
    code: str


_PARTS = re.compile(r"\s+|\S+")


class Pieces:
    """Cuts a text into pieces of exactly `words` words and the white space after each; 0 leaves it.

    The pieces are those of the whole text, in whatever parts it arrives: a piece is complete when
    the next word begins.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._held: list[str] = []
        self._count = 0
        self._in_word = False

    def cut(self, text: str) -> list[str]:
        """Take more text; return the pieces that are complete."""
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


class SessionsFold(Fold):
    """One stored message for each `start`, in tokens of so many words."""

    def __init__(self) -> None:
        super().__init__()
        self._message_id = ""
        self._pause = 0
        self._pieces = Pieces(0)

    def drop_held(self) -> str:
        """Drop what is not a whole token yet."""
        return self._pieces.rest()

    def pause(self, frame: Sent) -> int:
        """Return the client's `delay_ms`, for tokens alone."""
        return self._pause if isinstance(frame, SessionToken) else 0

    def frames(self, recorded: ev.Recorded, news: list[News]) -> list[Sent]:
        """Return the frames of an event."""
        event = recorded.event
        tokens = self._cut("".join(piece.text for piece in news))
        match event:
            case ev.RunStart():
                options = event.input.get("options", {})
                self._pieces = Pieces(options.get("chunk_words", 0))
                self._pause = options.get("delay_ms", 0)
                return self._start(event.reply_id)
            case ev.InterruptAnswered():
                self._pieces.rest()
                return self._start(event.reply_id or self._message_id)
            case ev.Interrupt() | ev.RunComplete():
                rest = self.shown.rest(self.shown.final(event))
                return [*self._last(rest), SessionEnd(self._message_id)]
            case ev.RunError():
                return [*self._last(), SessionError(event.message, event.code)]
            case ev.RunCancelled():
                return [*self._last(), SessionError("The message was cancelled.", "CANCELLED")]
        return tokens

    def _start(self, message_id: str) -> list[Sent]:
        self._message_id = message_id
        return [SessionStart(message_id)]

    def _cut(self, text: str) -> list[Sent]:
        return [SessionToken(piece) for piece in self._pieces.cut(text)]

    def _last(self, text: str = "") -> list[Sent]:
        """Return the last tokens before an end: what was held back, and `text`."""
        tokens = self._cut(text)
        rest = self._pieces.rest()
        return [*tokens, SessionToken(rest)] if rest else tokens


# -- what clients send -----------------------------------------------------------------------------


class MessageRequest(ClientMessage, frozen=True, kw_only=True):
    """A message. `chunk_words` and `delay_ms` set the size and the pace of tokens.

    0 words sends the answer as it comes. The body counts more than the query, and that more than
    the server's settings.
    """

    text_field = "content"

    content: Text
    role: Literal["user"] | None = None
    chunk_words: Annotated[int, msgspec.Meta(ge=0, le=CHUNK_WORDS_LIMIT)] | None = None
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=CHUNK_DELAY_LIMIT)] | None = None

    def request(self) -> Request:
        """Return the message in the engine's terms."""
        options = {"chunk_words": self.chunk_words, "delay_ms": self.delay_ms}
        return Request(
            message=self.content,
            options={name: number for name, number in options.items() if number},
        )


# -- the vocabulary --------------------------------------------------------------------------------

HEADERS = {"Connection": "keep-alive", "Access-Control-Allow-Origin": "*"}
"""The document's own. Foreign pages are refused at the door all the same."""
PACE = {"chunk_words": "chunk_words", "delay_ms": "chunk_delay_ms"}


class Sessions(Dialect):
    """The vocabulary of `/sessions`. It has no WebSocket."""

    name = "sessions"
    fold = SessionsFold
    frames = (SessionStart, SessionToken, SessionEnd, SessionError)
    final = (SessionEnd, SessionError)
    order = r"start (token )*(end |error )|error "
    silent = frozenset(
        {
            "run_attempt",  # tokens pause until the new text goes beyond what was shown
            *("message_saved", "progress", "agent_start", "agent_complete", "agent_error"),
            *("interaction", "sources", "custom", "workflow_update"),
            *TOOL_EVENTS,
        }
    )
    reading = TurnPaths(piece="token.content")
    one_turn = True
    bad_request = 422
    response_headers = HEADERS
    doors = (
        Stream(
            path="/sessions/{session_id}/messages/stream",
            about="Send a message; the response is an SSE stream: `start`, tokens, `end` or"
            " `error`.",
            body=MessageRequest,
            defaults=PACE,
        ),
        Wait(
            path="/sessions/{session_id}/messages",
            about="Send a message and wait for the answer: `{data: message, message}`.",
            body=MessageRequest,
            answer=SessionAnswer,
        ),
    )

    def problem(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return the body of a response that is no stream."""
        return SessionsProblem(problem.message, problem.code)

    def answer(self, turn: Turn) -> msgspec.Struct | None:
        """Return the stored message. Raises `Problem`, by status 502, if there is none."""
        if isinstance(turn.last, SessionError):
            raise Problem(turn.last.code, turn.last.error, status=502)
        if not isinstance(turn.last, SessionEnd) or turn.message is None:
            return None
        stored = session_message(turn.message, turn.place["session_id"])
        return SessionAnswer(data=stored, message="The message was answered.")


def session_message(message: records.Message, session_id: str) -> SessionMessage:
    """Return a stored message as clients of this vocabulary read it."""
    return SessionMessage(
        id=message.id,
        session_id=session_id,
        content=message.content,
        role=message.role,
        timestamp=iso(message.created_at),
    )
