"""The chat vocabulary (seed 003): login by message, four steps of progress, tokens, one `complete`.

Order for each message: the steps `starting`, `agent_routing`, `rag_retrieval`, `generating`, each once and none left
out, then tokens, then `complete` or `error`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects.base import (
    Ask,
    Cancel,
    Command,
    Dialect,
    Frame,
    Login,
    Name,
    Ping,
    Questions,
    Received,
    Resume,
    Sent,
    ShownText,
    Text,
    built,
    iso,
    name_field,
    number_field,
    numbered,
    text_field,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import (
    AgentComplete,
    Hit,
    Interrupt,
    InterruptAnswered,
    Progress,
    Recorded,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
)
from antiphon.orchestrator.request import Request

Step = Literal["starting", "agent_routing", "rag_retrieval", "generating"]
STEPS: dict[Step, str] = {
    "starting": "Processing started…",
    "agent_routing": "Routing to the appropriate agent…",
    "rag_retrieval": "Searching knowledge base…",
    "generating": "Generating response…",
}
_ORDER = list(STEPS)
FLUSH_SHARE = 0.02
"""Tokens are joined until they are this share of the text, which every token frame repeats…"""
FLUSH_MS = 250
"""…or until they are this old, by the record's own times."""


class ChatProgress(Sent, frozen=True, kw_only=True, tag="progress"):
    """One of the four steps."""

    step: Step
    message: str


class ChatToken(Sent, frozen=True, kw_only=True, tag="token"):
    """A piece of the answer, and the answer so far."""

    token: str
    partial_response: str


class ChatContext(msgspec.Struct, frozen=True):
    """What an answer rests on: addresses or titles of sources."""

    sources: list[str] = []


class ChatMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Who answered, how sure it is, and on what it rests; `citations` are the sources in full."""

    agent: str | UnsetType | None = UNSET
    confidence: float | UnsetType = UNSET
    context: ChatContext | UnsetType = UNSET
    citations: list[Hit] | UnsetType = UNSET
    interrupt: Questions | UnsetType = UNSET


class ChatComplete(Sent, frozen=True, kw_only=True, tag="complete"):
    """The whole answer, or a question."""

    response: str
    session_id: str | None
    metadata: ChatMetadata


class ChatError(Sent, frozen=True, kw_only=True, tag="error"):
    """Something went wrong; `reason` is the code behind PROCESSING_ERROR."""

    error: str
    code: str
    reason: str | UnsetType = UNSET


class ChatUser(msgspec.Struct, frozen=True):
    """Who has logged in."""

    id: str
    email: str | None
    name: str | None


class ChatAuthSuccess(Sent, frozen=True, kw_only=True, tag="auth_success"):
    """The login is valid."""

    user: ChatUser
    message: str = "Authentication successful"


class ChatAuthError(Sent, frozen=True, kw_only=True, tag="auth_error"):
    """The login is not valid."""

    message: str = "Invalid token"


class ChatPong(Sent, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""

    timestamp: str


class ChatAuth(Received, frozen=True, kw_only=True, tag="auth"):
    """Log in."""

    token: str


class ChatMessage(Received, frozen=True, kw_only=True, tag="message"):
    """A message. `session_id` is the client's own name for the conversation."""

    message: Text
    session_id: Name | None = None
    customer_id: Name | None = None


class ChatPing(Received, frozen=True, kw_only=True, tag="ping"):
    """A sign of life is wanted."""


class ChatCancel(Received, frozen=True, kw_only=True, tag="cancel"):
    """Stop a run: this one, or the one under way."""

    run_id: str | None = None


class ChatResume(Received, frozen=True, kw_only=True, tag="resume"):
    """Go on behind frame `last_seq` of a run."""

    run_id: str
    last_seq: float = 0


class _ChatFold:
    def __init__(self) -> None:
        self._session_id: str | None = None
        self._steps = 0
        self._shown = ShownText()
        self._waiting = ""
        self._flushed_at = 0

    def feed(self, recorded: Recorded) -> list[Frame]:
        """The frames of an event."""
        return [Frame(data=frame) for frame in numbered(self._frames(recorded), recorded)]

    def _frames(self, recorded: Recorded) -> list[Sent]:
        event = recorded.event
        if isinstance(event, RunAttempt):
            self._shown.unsay(self._waiting)
            self._waiting = ""
        self._waiting += self._shown.feed_text(event)
        match event:
            case InterruptAnswered():
                self._waiting, self._steps = "", 0  # another message begins, with its own steps
            case RunStart():
                self._session_id = event.input.get("options", {}).get("session_id") or recorded.thread_id
            case Progress(stage=stage) if stage != "finishing":
                return self._until(stage)
            case Interrupt():
                asked = Questions.of(event)
                return [
                    *self._until("generating"),
                    *self._flush(recorded.at),
                    self._complete(self._shown.asked(event.text), ChatMetadata(interrupt=asked)),
                ]
            case RunComplete():
                return [
                    *self._until("generating"),
                    *self._flush(recorded.at),
                    self._complete(event.text, _metadata(event)),
                ]
            case RunError():
                return [
                    *self._flush(recorded.at),
                    ChatError(error=event.message, code="PROCESSING_ERROR", reason=event.code),
                ]
            case RunCancelled():
                return [*self._flush(recorded.at), ChatError(error="The message was cancelled.", code="CANCELLED")]
            case AgentComplete():
                return self._flush(recorded.at)
        due = len(self._waiting) >= FLUSH_SHARE * len(self._shown.shown) or recorded.at - self._flushed_at >= FLUSH_MS
        return [*self._until("generating"), *self._flush(recorded.at)] if self._waiting and due else []

    def _until(self, step: Step) -> list[Sent]:
        """The steps up to this one that were not shown yet."""
        end = max(_ORDER.index(step) + 1, self._steps)
        due, self._steps = _ORDER[self._steps : end], end
        return [ChatProgress(step=step, message=STEPS[step]) for step in due]

    def _flush(self, at: int) -> list[Sent]:
        if not self._waiting:
            return []
        token, self._waiting, self._flushed_at = self._waiting, "", at
        return [ChatToken(token=token, partial_response=self._shown.shown)]

    def _complete(self, response: str, metadata: ChatMetadata) -> ChatComplete:
        return ChatComplete(response=response, session_id=self._session_id, metadata=metadata)


def _metadata(event: RunComplete) -> ChatMetadata:
    return ChatMetadata(
        agent=event.primary_agent,
        confidence=event.confidence if event.confidence is not None else 1.0,
        context=ChatContext([hit.uri or hit.title for hit in event.sources]),
        citations=event.sources,
    )


class Chat(Dialect):
    """The vocabulary of `/ws/chat`."""

    name = "chat"
    frames = (ChatProgress, ChatToken, ChatComplete, ChatError, ChatAuthSuccess, ChatAuthError, ChatPong)
    asks = (ChatAuth, ChatMessage, ChatPing, ChatCancel, ChatResume)

    def fold(self) -> _ChatFold:
        """A fresh fold."""
        return _ChatFold()

    def read(self, frame: dict[str, Any]) -> Command:
        """`auth`, `message`, and beyond the document `ping`, `cancel`, `resume`."""
        match frame.get("type"):
            case "auth":
                return Login(token=str(frame.get("token") or ""))
            case "message":
                return Ask(request=read_message(frame))
            case "ping":
                return Ping()
            case "cancel":
                return Cancel(run_id=name_field(frame, "run_id"))
            case "resume":
                return Resume(run_id=name_field(frame, "run_id"), after=number_field(frame, "last_seq", "after"))
        raise Problem("UNKNOWN_TYPE", "There is no such message type.")

    def welcome(self, connection_id: str, principal: Principal, asked: bool, at: int) -> dict[str, Any] | None:
        """`auth_success`."""
        return built(ChatAuthSuccess(user=ChatUser(principal.id, principal.email, principal.name)))

    def refused(self, problem: Problem, at: int) -> dict[str, Any]:
        """`auth_error`."""
        return built(ChatAuthError())

    def pong(self, at: int) -> dict[str, Any]:
        """`pong`."""
        return built(ChatPong(timestamp=iso(at)))

    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """`error`."""
        return built(ChatError(error=problem.message, code=problem.code))


def read_message(frame: dict[str, Any]) -> Request:
    """A message of this vocabulary, over WebSocket or `POST /api/v1/chat`. Raises `Problem`."""
    session_id = name_field(frame, "session_id")
    name_field(frame, "customer_id")  # checked for shape, and otherwise none of our business: identity is the token's
    message = text_field(frame, "message")
    return Request(
        dialect=Chat.name,
        message="" if message is None else message,
        thread_name=session_id,
        options={"session_id": session_id} if session_id else {},
    )
