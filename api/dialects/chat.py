"""The chat vocabulary (seed 003): login by message, four steps, tokens, one `complete`.

Order for each message: the steps `starting`, `agent_routing`, `rag_retrieval`, `generating`, each
once and none left out, then tokens, then `complete` or `error`.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects.base import (
    TOOL_EVENTS,
    Dialect,
    Fold,
    Questions,
    Sent,
    Talk,
    Turn,
    TurnPaths,
    Wait,
    iso,
)
from antiphon.api.dialects.shown import News
from antiphon.api.dialects.words import (
    ClientAuth,
    ClientCancel,
    ClientMessage,
    ClientPing,
    ClientResume,
    Name,
    Text,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator import events as ev
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


# -- what the server sends -------------------------------------------------------------------------


class ChatProgress(Sent, frozen=True, tag="progress"):
    """One of the four steps."""

    step: Step
    message: str


class ChatToken(Sent, frozen=True, tag="token"):
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
    citations: list[ev.Hit] | UnsetType = UNSET
    interrupt: Questions | UnsetType = UNSET


class ChatComplete(Sent, frozen=True, tag="complete"):
    """The whole answer, or a question."""

    response: str
    session_id: str | None
    metadata: ChatMetadata


class ChatError(Sent, frozen=True, tag="error"):
    """Something went wrong; `reason` is the code behind PROCESSING_ERROR."""

    error: str
    code: str
    reason: str | UnsetType = UNSET


class ChatUser(msgspec.Struct, frozen=True):
    """Who has logged in."""

    id: str
    email: str | None
    name: str | None


class ChatAuthSuccess(Sent, frozen=True, tag="auth_success"):
    """The login is valid."""

    user: ChatUser
    message: str = "Authentication successful"


class ChatAuthError(Sent, frozen=True, tag="auth_error"):
    """The login is not valid."""

    message: str = "Invalid token"


class ChatPong(Sent, frozen=True, tag="pong"):
    """The answer to a ping."""

    timestamp: str


class ChatResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer, or a question."""

    response: str
    session_id: str | None
    metadata: ChatMetadata
    run_id: str


class ChatFold(Fold):
    """Steps, tokens that are joined by size and age, and the whole at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._session_id: str | None = None
        self._steps = 0
        self._waiting = ""
        self._flushed_at = 0

    def drop_held(self) -> str:
        """Drop the tokens that wait to be joined."""
        waiting, self._waiting = self._waiting, ""
        return waiting

    def frames(self, recorded: ev.Recorded, news: list[News]) -> list[Sent]:
        """Return the frames of an event."""
        event, at = recorded.event, recorded.at
        self._waiting += "".join(piece.text for piece in news)
        match event:
            case ev.InterruptAnswered():
                self._waiting, self._steps = "", 0  # another message begins, with its own steps
            case ev.RunStart():
                options = event.input.get("options", {})
                self._session_id = options.get("session_id") or recorded.thread_id
            case ev.Progress(stage=stage) if stage != "finishing":
                return self._until(stage)
            case ev.Interrupt() | ev.RunComplete():
                return [*self._until("generating"), *self._flush(at), self._complete(event)]
            case ev.RunError():
                error = ChatError(event.message, "PROCESSING_ERROR", event.code)
                return [*self._flush(at), error]
            case ev.RunCancelled():
                return [*self._flush(at), ChatError("The message was cancelled.", "CANCELLED")]
            case ev.AgentComplete():
                return self._flush(at)
        large = len(self._waiting) >= FLUSH_SHARE * len(self.shown.shown)
        old = at - self._flushed_at >= FLUSH_MS
        if self._waiting and (large or old):
            return [*self._until("generating"), *self._flush(at)]
        return []

    def _until(self, step: Step) -> list[Sent]:
        """Return the steps up to this one that were not shown yet."""
        end = max(_ORDER.index(step) + 1, self._steps)
        due, self._steps = _ORDER[self._steps : end], end
        return [ChatProgress(step, STEPS[step]) for step in due]

    def _flush(self, at: int) -> list[Sent]:
        if not self._waiting:
            return []
        self._flushed_at = at
        return [ChatToken(self.drop_held(), self.shown.shown)]

    def _complete(self, event: ev.Interrupt | ev.RunComplete) -> ChatComplete:
        if isinstance(event, ev.Interrupt):
            metadata = ChatMetadata(interrupt=Questions.of(event))
        else:
            metadata = ChatMetadata(
                agent=event.primary_agent,
                confidence=event.confidence if event.confidence is not None else 1.0,
                context=ChatContext([hit.uri or hit.title for hit in event.sources]),
                citations=event.sources,
            )
        return ChatComplete(self.shown.final(event), self._session_id, metadata)


# -- what clients send -----------------------------------------------------------------------------


class ChatRequest(ClientMessage, frozen=True, kw_only=True):
    """A message. `session_id` is the client's own name for the conversation.

    `customer_id` has no effect: who asks, the token alone says.
    """

    text_field = "message"

    message: Text
    session_id: Name | None = None
    customer_id: Name | None = None

    def request(self) -> Request:
        """Return the message in the engine's terms."""
        return Request(
            message=self.message,
            thread_name=self.session_id or None,
            options={"session_id": self.session_id} if self.session_id else {},
        )


class ChatMessage(ChatRequest, frozen=True, kw_only=True, tag="message"):
    """A message. `session_id` is the client's own name for the conversation."""


# -- the vocabulary --------------------------------------------------------------------------------


class Chat(Dialect):
    """The vocabulary of `/ws/chat`."""

    name = "chat"
    fold = ChatFold
    frames = (ChatProgress, ChatToken, ChatComplete, ChatError)
    replies = (ChatAuthSuccess, ChatAuthError, ChatPong)
    asks = (ClientAuth, ChatMessage, ClientPing, ClientCancel, ClientResume)
    final = (ChatComplete, ChatError)
    order = r"(progress ){0,4}(token )*(complete |error )"
    silent = frozenset(
        {
            *("run_start", "message_saved", "interrupt_answered"),
            "run_attempt",  # tokens pause until the new text goes beyond what was shown
            *("agent_start", "agent_complete", "agent_error", "interaction", "sources"),
            *("custom", "workflow_update"),
            *TOOL_EVENTS,
        }
    )
    reading = TurnPaths(
        piece="token.token",
        whole="complete.response",
        question="complete.metadata.interrupt",
        asks_in_pieces=False,
    )
    greets = False
    doors = (
        Wait(
            path="/api/v1/chat",
            about="Ask and wait: `{response, session_id, metadata, run_id}`.",
            body=ChatRequest,
            answer=ChatResponse,
            failure=ChatError,
        ),
        Talk(path="/ws/chat", about="The chat vocabulary over WebSocket."),
    )

    def answer(self, turn: Turn) -> msgspec.Struct | None:
        """Return `complete` without its type and number, or `error` as it is."""
        match turn.last:
            case ChatComplete() as whole:
                return ChatResponse(
                    response=whole.response,
                    session_id=whole.session_id,
                    metadata=whole.metadata,
                    run_id=whole.run_id or "",
                )
            case ChatError() as error:
                return error
        return None

    def welcome(
        self, connection_id: str, principal: Principal, asked: bool, at: int
    ) -> msgspec.Struct | None:
        """Return `auth_success`."""
        return ChatAuthSuccess(ChatUser(principal.id, principal.email, principal.name))

    def refused(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return `auth_error`."""
        return ChatAuthError()

    def pong(self, at: int) -> msgspec.Struct:
        """Return `pong`."""
        return ChatPong(iso(at))

    def problem(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return `error`."""
        return ChatError(problem.message, problem.code)
